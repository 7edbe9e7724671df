//! Segments of published days by other definitions: the same day as a whole night would publish, and no other.

use serde_json::Value;

use crate::harness::Folder;
use crate::landing_files::{TinyShop, copy};

const D1: &str = "2026-03-01";
const D2: &str = "2026-03-02";
const D3: &str = "2026-03-03";
const SEGMENTS: [&str; 5] = ["segment_changes", "segment_members", "segment_overlap", "segment_sizes", "segments"];

const EVENTS: &str = "
event_id,occurred_at,type,customer_id,anonymous_id,product_id
e1,2026-02-01T10:00:00Z,product_viewed,,v1,p1
e2,2026-02-27T10:00:00Z,added_to_cart,b,,p1
e3,2026-02-28T10:00:00Z,email_opened,a,,
e4,2026-03-02T09:00:00Z,product_viewed,c,,p2
";

/// A shop with events whose three days are published.
fn published() -> TinyShop {
    let shop = TinyShop::new();
    shop.land("events/all", EVENTS)
        .land("identities/all", "anonymous_id,customer_id,linked_at\nv1,a,2026-02-02T10:00:00Z")
        .land("products/all", "product_id,title,category\np1,Cup,Kitchen > Cups\np2,Pan,Kitchen > Pans");
    for day in [D1, D2, D3] {
        shop.night(day);
    }
    shop
}

/// The same project in another folder.
fn twin(shop: &TinyShop) -> TinyShop {
    let twin = TinyShop::empty();
    copy(shop.folder.path(), twin.folder.path());
    twin
}

/// New, edited and removed segments of every kind: of the profile, the contacts, the lifecycle, of orders, lines, events, of
/// changes of membership and of stage, with a goal, and of one another.
fn edit(folder: &Folder) {
    let segment = |id: &str, query: &str, more: &str| {
        let text = format!("name = \"{id}\"\nquery = \"{query}\"\n{more}\n");
        folder.write(&format!("sql/segments/{id}.toml"), &text);
    };
    segment("danes", "customer_countries CONTAINS 'DE'", "");
    segment("mail", "email STARTS WITH 'a'", "");
    segment("loyal", "lifecycle_stage IN ('nurture_needed', 'high_potential')", "");
    segment("lately", "orders_placed MATCHES (date >= -30d, sum_amount >= 100)", "");
    segment("pans", "products_purchased MATCHES (category = 'Kitchen > Pans')", "");
    segment("viewed", "storefront.product_viewed MATCHES (date >= -60d)", "");
    segment("cart", "carts_abandoned MATCHES (date >= -30d)", "");
    segment("came", "segment_entered MATCHES (id = 'buyers', date >= -30d)", "");
    segment("moved", "lifecycle_changed MATCHES ()", "");
    segment("both", "segment('danes') OR segment('lately')", "");
    segment("goal", "number_of_orders <= 1", "goal = \"number_of_orders > 1\"\ngoal_days = 1");
    std::fs::remove_file(folder.path().join("sql/segments/repeat.toml")).unwrap();
}

fn backfill(shop: &TinyShop, more: &[&str]) -> Value {
    let arguments = ["run", "--from", D1, "--to", D3, "--only", "segments", "--format", "json"];
    let ran = shop.run(&[&arguments, more].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn statuses(reports: &Value) -> Vec<&str> {
    reports.as_array().unwrap().iter().map(|report| report["status"].as_str().unwrap()).collect()
}

#[test]
fn a_backfill_of_definitions_gives_the_bytes_of_whole_nights() {
    let shop = published();
    let whole = twin(&shop);
    edit(&shop.folder);
    edit(&whole.folder);
    let before = [D1, D2, D3].map(|day| shop.manifest(day));
    let reports = backfill(&shop, &[]);
    assert_eq!(statuses(&reports), ["succeeded"; 3]);
    let steps: Vec<&str> =
        reports[0]["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["land", "profile", "segments", "write", "publish"], "no lifecycle");
    let ran = whole.run(&["run", "nightly", "--from", D1, "--to", D3, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    for (day, before) in [D1, D2, D3].iter().zip(&before) {
        assert_eq!(shop.bytes(day), whole.bytes(day), "{day}");
        let now = shop.manifest(day);
        for (table, files) in before["tables"].as_object().unwrap() {
            // A first day has no changes, and so no file of them.
            if files["files"].as_array().unwrap().is_empty() {
                continue;
            }
            let kept = now["tables"].get(table) == Some(files);
            // What is kept for the newest day only is not named by the others any more, as whole nights do it.
            let newest_only = ["customer_contacts", "orders", "order_items"].contains(&table.as_str());
            assert_eq!(kept, !SEGMENTS.contains(&table.as_str()) && (!newest_only || *day == D3), "{day} {table}");
        }
        for key in ["inputs", "model", "timezone", "as_of"] {
            assert_eq!(now[key], before[key], "{day} {key}");
        }
        assert_eq!(now["definitions"], whole.manifest(day)["definitions"], "{day}");
    }
    let told = "SELECT as_of, previous_as_of, as_known, stale, row_counts, definition_hash FROM snapshots ORDER BY 1";
    assert_eq!(shop.rows(told), whole.rows(told));
    assert_eq!(shop.members("danes", D3), ["b"]);
    let changes = "SELECT * FROM segment_changes ORDER BY as_of, segment, customer_id";
    assert_eq!(shop.rows(changes), whole.rows(changes));
    assert!(shop.rows(changes).len() > 5, "{:?}", shop.rows(changes));
    assert_eq!(shop.rows("SELECT DISTINCT job FROM job_runs ORDER BY 1"), ["nightly", "segments"]);

    // Once more, there is nothing to do; and whole nights have nothing to do either.
    let files = shop.files("lake");
    assert_eq!(statuses(&backfill(&shop, &[])), ["unchanged"; 3]);
    assert_eq!(shop.files("lake"), files, "nothing is written");
    for day in [D1, D2, D3] {
        assert_eq!(shop.night(day)["status"], "unchanged");
    }
    assert_eq!(statuses(&backfill(&shop, &["--force"])), ["succeeded"; 3]);
    assert_eq!([D1, D2, D3].map(|day| shop.bytes(day)), [D1, D2, D3].map(|day| whole.bytes(day)));
}

#[test]
fn days_after_a_backfill_are_stale_as_after_any_other() {
    let shop = published();
    shop.segment("danes", "customer_countries CONTAINS 'DE'");
    let ran = shop.run(&["run", "nightly", "--as-of", D1, "--only", "segments", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((report["job"].as_str(), report["as_of"].as_str()), (Some("nightly"), Some(D1)));
    assert!(report["warnings"].to_string().contains("2 later published days"), "{}", report["warnings"]);
    let stale = "SELECT as_of, stale FROM snapshots ORDER BY 1";
    assert_eq!(shop.rows(stale), [format!("{D1} false"), format!("{D2} true"), format!("{D3} true")]);
    // Their lifecycle goes on from the same one: that of the day before was not touched.
    let reports = backfill(&shop, &[]);
    assert_eq!(statuses(&reports), ["unchanged", "succeeded", "succeeded"]);
    assert!(!reports.to_string().contains("later published days"), "{reports}");
    assert_eq!(shop.rows(stale), [format!("{D1} false"), format!("{D2} false"), format!("{D3} false")]);
}

#[test]
fn days_that_a_night_would_publish_otherwise_are_named_and_left_out() {
    let shop = TinyShop::after_a_night();
    shop.night(D3);
    shop.segment("danes", "customer_countries CONTAINS 'DE'");
    let told = |shop: &TinyShop, code: i32| {
        let ran = shop.run(&["run", "--from", D1, "--to", D3, "--only", "segments", "--format", "csv"]);
        assert_eq!(ran.code, code, "{}", ran.shown());
        ran.stderr
    };
    assert_eq!(told(&shop, 1), format!("{D2} is left out: it is not published\n"));
    assert_eq!([D1, D3].map(|day| shop.members("danes", day)), [["b"], ["b"]], "the others are done");

    // What has been landed since is not read.
    shop.segment("danes", "customer_countries CONTAINS 'DK'");
    shop.land("orders/late", "order_id,ordered_at,total,customer_id\no8,2026-02-20T12:00:00Z,70.00,c");
    shop.segment("lately", "orders_placed MATCHES (date >= -30d)");
    told(&shop, 1);
    let lately = [D1, D3].map(|day| shop.members("lately", day));
    assert!(lately.iter().all(|members| !members.contains(&"c".to_owned())), "{lately:?}");
    // The day is still restated for it.
    assert_eq!(shop.night(D1)["status"], "succeeded");
    assert!(shop.members("lately", D1).contains(&"c".to_owned()));
    shop.segment("lately", "orders_placed MATCHES (date >= -20d)");
    let restated = told(&shop, 1);
    assert!(restated.contains(&format!("{D3} is left out: the day before it has another lifecycle")), "{restated}");

    std::fs::remove_file(shop.landed("orders/late")).unwrap();
    let gone = told(&shop, 1);
    let gone = gone.lines().next().unwrap();
    assert_eq!(
        gone,
        format!(
            "{D1} is left out: landing/orders/late.parquet is not there any more as it was read; run the day whole"
        )
    );
    shop.settings("[lifecycle]\nloyal_orders = 2");
    let before = shop.files("lake");
    shop.land("orders/late", "order_id,ordered_at,total,customer_id\no8,2026-02-20T12:00:00Z,70.00,c");
    let other = told(&shop, 1);
    assert_eq!(other.lines().count(), 3, "{other}");
    assert_eq!(
        shop.files("lake/tables"),
        before.iter().filter_map(|file| file.strip_prefix("tables/")).collect::<Vec<_>>()
    );
    assert!(told(&twin_of_settings(), 1).contains("the settings are not what it was published with"));
}

/// A shop whose one day was published by other settings.
fn twin_of_settings() -> TinyShop {
    let shop = TinyShop::after_a_night();
    shop.settings("[lifecycle]\nloyal_orders = 2");
    shop
}

#[test]
fn a_backfill_that_fails_leaves_the_day_as_it_is() {
    let shop = TinyShop::after_a_night();
    let whole = twin(&shop);
    let shown = |shop: &TinyShop| (shop.bytes(D1), shop.rows("SELECT * FROM segment_members ORDER BY 2, 3"));
    let before = shown(&shop);
    let run = |shop: &TinyShop| shop.run(&["run", "--as-of", D1, "--only", "segments"]);
    for shop in [&shop, &whole] {
        shop.segment("danes", "customer_countries CONTAINS 'DE'");
    }
    // A folder stands where the commit that publishes the day would go. (Such a fault is tried again in vain, after long
    // waits; one that is for good is not.)
    shop.segment("broken", "number_of_orders >");
    let ran = run(&shop);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("sql/segments/broken.toml"), "{}", ran.stderr);
    assert_eq!(shown(&shop), before);
    std::fs::remove_file(shop.folder.path().join("sql/segments/broken.toml")).unwrap();
    // A published file that is not as it was written is found before anything is made of it.
    let profile = shop.manifest(D1)["tables"]["customer_profile"]["files"][0]["path"].as_str().unwrap().to_owned();
    let path = shop.folder.path().join("lake").join(&profile);
    let sound = std::fs::read(&path).unwrap();
    let mut damaged = sound.clone();
    damaged[20] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let ran = run(&shop);
    assert!(ran.code == 1 && ran.stderr.contains("lake.damaged") && ran.stderr.contains(&profile), "{}", ran.stderr);
    std::fs::write(&path, sound).unwrap();
    assert_eq!(shown(&shop), before);
    assert_eq!(run(&shop).code, 0);
    whole.night(D1);
    assert_eq!(shown(&shop), shown(&whole));
}

#[test]
fn a_profile_that_is_not_kept_any_more_is_computed_and_not_stored() {
    let shop = published();
    let whole = twin(&shop);
    shop.settings("[retention]\ncustomer_profile = 1");
    let ran = shop.folder.run_with(&["vacuum"], &[("ALLUVIAL_NOW", "2026-04-01T05:00:00Z")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(shop.manifest(D1)["tables"].get("customer_profile").is_none(), "{}", shop.manifest(D1));
    edit(&shop.folder);
    edit(&whole.folder);
    assert_eq!(statuses(&backfill(&shop, &[])), ["succeeded"; 3]);
    let ran = whole.run(&["run", "nightly", "--from", D1, "--to", D3, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (bytes, expected) = (shop.bytes(D1), whole.bytes(D1));
    assert!(!bytes.contains_key("customer_profile"));
    for table in SEGMENTS {
        assert_eq!(bytes[table], expected[table], "{table}");
    }
    assert_eq!(shop.bytes(D3), whole.bytes(D3));
}

#[test]
fn a_backfill_of_definitions_is_priced_before_it_starts() {
    let shop = TinyShop::after_a_night();
    let price = |more: &[&str]| {
        let arguments = ["run", "--from", D1, "--to", D3, "--plan", "--format", "json"];
        let ran = shop.run(&[&arguments, more].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        serde_json::from_str::<Value>(&ran.stdout).unwrap()[0].clone()
    };
    let (segments, whole) = (price(&["--only", "segments"]), price(&["nightly"]));
    let counts = |price: &Value| ["days", "published", "computed"].map(|key| price[key].as_u64().unwrap());
    assert_eq!((counts(&segments), counts(&whole)), ([3, 1, 1], [3, 1, 2]));
    assert_eq!(segments["job"], "segments");
    let bytes: u64 = SEGMENTS.iter().flat_map(|table| shop.bytes(D1)[*table].clone()).map(|(size, _)| size).sum();
    assert_eq!(segments["bytes"], bytes);
    assert!(segments["seconds"].as_u64().is_some_and(|seconds| seconds >= 1), "{segments}");
    assert_eq!(shop.one("SELECT count(*) FROM job_runs"), "1", "nothing is run");
    // Without either, nobody knows what to run.
    assert_eq!(shop.run(&["run", "--as-of", D1]).code, 2);
}
