//! Functions over rows, by the program itself on the sample shop: a night's members are those that the segment's own SQL
//! gives when it is run by hand.

use std::path::Path;

use crate::harness::Folder;

pub(crate) const DAY: &str = "2026-11-18";

/// Queries of every table that functions read, each with somebody in it and somebody not.
const QUERIES: [(&str, &str); 18] = [
    ("bought-category", "products_purchased MATCHES (category = 'Women > Shoes', date >= -365d)"),
    (
        "bought-often",
        "products_purchased MATCHES (sum_quantity >= 5) AND products_purchased MATCHES (brand IS NOT NULL)",
    ),
    ("bought-dear", "products_purchased MATCHES (max_unit_price >= 300)"),
    ("never-bought", "products_purchased NOT MATCHES ()"),
    ("returned", "products_returned MATCHES (date >= -12m)"),
    ("spent-lately", "orders_placed MATCHES (date >= -90d, sum_amount >= 500)"),
    ("few-orders", "orders_placed MATCHES (date >= -12m, count BETWEEN 0 AND 1)"),
    ("coupon", "orders_placed MATCHES (coupon IN ('WELCOME10', 'vip20'))"),
    ("cancelled", "orders_cancelled MATCHES ()"),
    ("viewed", "storefront.product_viewed MATCHES (date >= -30d, count >= 2)"),
    ("viewed-category", "storefront.product_viewed MATCHES (category IN ('Women', 'Men > Shoes'), date >= -90d)"),
    ("opened", "shopify_email.opened MATCHES (date >= -60d, machine != true)"),
    ("searched", "storefront.searched MATCHES (term IS NOT NULL)"),
    ("cart", "carts_abandoned MATCHES (date >= -30d)"),
    ("view-abandoned", "views_abandoned MATCHES (date >= -14d)"),
    ("entered", "segment_entered MATCHES (date >= -30d)"),
    ("exported", "audiences_exported NOT MATCHES (date >= -30d)"),
    ("mixed", "segment('viewed') AND NOT segment('spent-lately') OR carts_abandoned MATCHES (count >= 3)"),
];

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            _ = std::fs::copy(entry.path(), &to).unwrap()
        }
    }
}

pub(crate) fn sample() -> Folder {
    let folder = Folder::project();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample"), &folder.path().join("lake/landing"));
    folder.write("jobs/nightly.toml", "schedule = \"0 4 * * *\"\n\n[[steps]]\nrun = \"snapshot\"\n");
    folder
}

pub(crate) fn lines(text: &str) -> Vec<&str> {
    text.lines().skip(1).collect()
}

#[test]
fn a_segments_own_sql_gives_its_members() {
    let folder = sample();
    for (id, query) in QUERIES {
        folder.write(&format!("sql/segments/{id}.toml"), &format!("name = \"{id}\"\nquery = \"{query}\"\n"));
    }
    // Several days, so that there are changes to look back on.
    for day in ["2026-11-01", "2026-11-10", DAY] {
        let ran = folder.run(&["run", "nightly", "--as-of", day]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let everybody =
        lines(&folder.run(&["query", "SELECT customer_id FROM customer_profile_latest", "--format", "csv"]).stdout)
            .len();
    let mut empty = Vec::new();
    for (id, _) in QUERIES {
        let sql = folder.run(&["segment", "sql", id]);
        let alone = folder.run(&["query", &sql.stdout, "--format", "csv"]);
        assert_eq!(alone.code, 0, "{id}\n{}\n{}", sql.stdout, alone.stderr);
        let members =
            format!("SELECT customer_id FROM segment_members_latest WHERE segment = '{id}' ORDER BY customer_id");
        let members = folder.run(&["query", &members, "--format", "csv"]).stdout;
        assert_eq!(lines(&alone.stdout), lines(&members), "{id}\n{}", sql.stdout);
        let members = lines(&members).len();
        let some = (1..everybody).contains(&members) || id == "exported";
        if !some {
            empty.push(format!("{id}: {} of {everybody}", members));
        }
    }
    assert!(empty.is_empty(), "these test nothing: {empty:?}");
    let preview = folder.run(&["segment", "preview", "viewed", "--format", "json"]).stdout;
    let preview: serde_json::Value = serde_json::from_str(&preview).unwrap();
    assert!(preview["members"].as_u64().unwrap() > 0 && preview["customers"] == everybody);
    let past = folder.run(&["segment", "preview", "viewed", "--as-of", "2026-11-10"]);
    assert_eq!(past.code, 1);
    assert!(past.stderr.contains("as of the newest published day"), "{}", past.stderr);
}
