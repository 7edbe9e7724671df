//! Attributes that a project computes, and what a query can name, by the program itself.

use crate::functions::{DAY, lines, sample};
use crate::landing_files::TinyShop;

const WEEKEND: &str = "-- Counted orders on a Saturday or Sunday.\n-- weekend_share: their share of all counted orders\n\
    SELECT o.customer_id, count(*) FILTER (WHERE date_part('dow', o.ordered_on) IN (0, 6)) AS weekend_orders,\n\
           avg(CASE WHEN date_part('dow', o.ordered_on) IN (0, 6) THEN 1.0 ELSE 0.0 END) AS weekend_share\n\
    FROM orders o WHERE o.is_counted GROUP BY o.customer_id\n";
const DAYS: &str = "-- Days since anything happened.\n\
    SELECT p.customer_id, date_diff_days AS quiet_days FROM (\n\
      SELECT p.customer_id, max(p.as_of) - CAST(max(e.occurred_at) AS DATE) AS gap,\n\
             CAST(max(p.as_of) AS INT) - CAST(CAST(max(e.occurred_at) AS DATE) AS INT) AS date_diff_days\n\
      FROM customer_profile_latest p JOIN events e ON e.customer_id = p.customer_id GROUP BY p.customer_id) p\n";

#[test]
fn a_projects_query_becomes_a_column_and_an_attribute() {
    let folder = sample();
    folder.write("sql/attributes/weekend.sql", WEEKEND);
    folder.write("sql/attributes/quiet.sql", DAYS);
    folder.write(
        "sql/segments/weekend.toml",
        "name = \"w\"\ndescription = \"d\"\nquery = \"weekend_orders >= 1 AND weekend_share > 0.5\"\n",
    );
    folder.write("sql/segments/busy.toml", "name = \"b\"\ndescription = \"d\"\nquery = \"quiet_days <= 10\"\n");
    folder.write("sql/segments/other.toml", "name = \"o\"\ndescription = \"d\"\nquery = \"number_of_orders >= 1\"\n");
    let checked = folder.run(&["check", "--format", "json"]);
    let checked: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(checked["ok"], true, "{checked:#}");
    let ran = folder.run(&["run", "nightly", "--as-of", DAY]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let csv = |sql: &str| folder.run(&["query", sql, "--format", "csv"]).stdout;
    // The same file answers by hand, and its answer is the published column.
    for (file, column) in [(WEEKEND, "weekend_orders"), (DAYS, "quiet_days")] {
        let (_, query) = file.split_once("\nSELECT").unwrap();
        let byhand = csv(&format!("SELECT customer_id, {column} FROM (SELECT{query}) ORDER BY customer_id"));
        let published = csv(&format!(
            "SELECT customer_id, {column} FROM customer_profile_latest WHERE {column} IS NOT NULL ORDER BY customer_id"
        ));
        assert_eq!(byhand, published, "{column}");
        assert!(lines(&published).len() > 100, "{published}");
    }
    for (id, condition) in [("weekend", "weekend_orders >= 1 AND weekend_share > 0.5"), ("busy", "quiet_days <= 10")] {
        let members = csv(&format!("SELECT count(*) FROM segment_members_latest WHERE segment = '{id}'"));
        let profile = csv(&format!("SELECT count(*) FROM customer_profile_latest WHERE {condition}"));
        assert_eq!(lines(&members), lines(&profile), "{id}");
        let alone = folder.run(&["query", &folder.run(&["segment", "sql", id]).stdout, "--format", "csv"]);
        assert_eq!(lines(&alone.stdout).len().to_string(), lines(&members)[0], "{id}");
    }
    let shown = folder.run(&["attributes", "weekend_share"]).stdout;
    assert!(shown.contains("their share of all counted orders"), "{shown}");

    // Another text is another definition of the segments that name it, and of no other.
    let hash = "SELECT segment, definition_hash FROM segments_latest ORDER BY segment";
    let before = csv(hash);
    let again = folder.run(&["run", "nightly", "--as-of", DAY]);
    assert!(format!("{}{}", again.stdout, again.stderr).contains("nothing has changed"), "{}", again.stdout);
    folder.write("sql/attributes/weekend.sql", &WEEKEND.replace("(0, 6)", "(0, 5, 6)"));
    assert_eq!(folder.run(&["run", "nightly", "--as-of", DAY]).code, 0);
    let after = csv(hash);
    let differ: Vec<&str> =
        before.lines().zip(after.lines()).filter(|(a, b)| a != b).map(|(a, _)| a.split(',').next().unwrap()).collect();
    assert_eq!(differ, ["weekend"]);
}

#[test]
fn a_wrong_query_stops_the_run_and_is_told_with_its_file() {
    let folder = sample();
    folder.write("sql/attributes/twice.sql", "SELECT customer_id, 1 AS one FROM orders");
    let ran = folder.run(&["run", "nightly", "--as-of", DAY]);
    assert_eq!(ran.code, 1);
    for word in ["attribute.several_rows", "sql/attributes/twice.sql", "GROUP BY customer_id"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    folder.write("sql/attributes/twice.sql", "SELECT 1 AS one FROM orders");
    folder.write("sql/attributes/taken.sql", "SELECT customer_id, 1 AS country, nothing FROM orders");
    let checked = folder.run(&["check"]);
    assert_eq!(checked.code, 1);
    for word in ["attribute.no_customer", "attribute.sql", "sql/attributes/twice.sql", "sql/attributes/taken.sql"] {
        assert!(checked.stderr.contains(word), "{word}: {}", checked.stderr);
    }
    let ran = folder.run(&["run", "nightly", "--as-of", DAY]);
    assert!(ran.code == 1 && ran.stderr.contains("attribute.no_customer"), "{}", ran.stderr);
}

#[test]
fn functions_are_listed_and_shown_with_all_that_they_can_be_asked() {
    let folder = sample();
    let listed = folder.run(&["attributes", "--format", "json"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let functions = listed.as_array().unwrap().iter().filter(|one| one["type"] == "function").count();
    assert_eq!(functions, 31);
    let shown = folder.run(&["attributes", "email.opened", "--format", "json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["name"], "shopify_email.opened");
    let asked = |name: &str| shown["parameters"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert_eq!((&asked("activity_id")["type"], &asked("count")["asks"]), (&"id".into(), &"aggregate".into()));
    assert_eq!(asked("machine")["asks"], "column");
    let text = folder.run(&["attributes", "products_purchased"]);
    assert_eq!(text.code, 0);
    for word in ["items of counted orders", "tag, label", "sum_amount", "aggregate", "column.quantity", "unit_price"] {
        assert!(text.stdout.contains(word), "{word}: {}", text.stdout);
    }
}

#[test]
fn a_query_reads_columns_of_orders_that_the_contract_does_not_know() {
    let shop = TinyShop::new();
    shop.land(
        "orders/gifts",
        "order_id,ordered_at,updated_at,total,customer_id,wrapped,gift_note\n\
         g1,2026-02-10T10:00:00Z,2026-02-10T10:00:00Z,3.00,b,yes,for you\n\
         g2,2026-02-11T10:00:00Z,2026-02-11T10:00:00Z,4.00,b,no,",
    );
    let file = "SELECT customer_id, count(*) FILTER (WHERE wrapped = 'yes') AS gifts, max(gift_note) AS note \
                FROM orders GROUP BY customer_id";
    shop.folder.write("sql/attributes/gifts.sql", file);
    shop.night("2026-03-02");
    assert_eq!(
        shop.rows("SELECT customer_id, gifts, note FROM customer_profile_latest WHERE gifts > 0"),
        ["b 1 for you"]
    );
    // What no query names is not kept.
    shop.folder.write("sql/attributes/gifts.sql", &file.replace("wrapped = 'yes'", "recurring"));
    shop.night("2026-03-02");
    let columns = shop.rows("SELECT column_name FROM information_schema.columns WHERE table_name = 'orders'");
    assert!(columns.contains(&"gift_note".to_owned()) && !columns.contains(&"wrapped".to_owned()), "{columns:?}");
}
