//! One customer: what is shown, and everything that is held.

use serde_json::Value;

use crate::landing_files::TinyShop;

const D1: &str = "2026-03-01";
const D2: &str = "2026-03-02";

#[test]
fn a_customer_is_shown_with_stage_and_segments_now_and_before() {
    let shop = TinyShop::after_a_night();
    // b is a prospect no more, and a second order brings the segment of those who came back.
    shop.segment("few", "number_of_orders <= 1");
    shop.night(D2);
    let ran = shop.run(&["customer", "b", "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["customer_id"], &told["as_of"]), (&Value::from("b"), &Value::from(D2)));
    assert!(told["sentence"].as_str().unwrap().len() > 20, "{told}");
    let segments: Vec<(&str, &str)> = told["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["segment"].as_str().unwrap(), row["since"].as_str().unwrap()))
        .collect();
    assert_eq!(segments, [("buyers", D1), ("repeat", D2)]);
    let fact = |name: &str| {
        let rows = told["profile"].as_array().unwrap().iter();
        rows.filter(|row| row["fact"] == name).map(|row| row["value"].clone()).next()
    };
    assert_eq!(fact("email"), Some(Value::from("bob@example.com")));
    assert_eq!(fact("number_of_orders").map(|value| value.to_string().replace('"', "")), Some("2".to_owned()));
    assert_eq!(fact("phone"), None, "what is missing is not shown");

    let ran = shop.run(&["customer", "b", "--as-of", D1]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("b as of 2026-03-01: ") && !ran.stdout.contains("bob@example.com"),
        "{}",
        ran.stdout
    );
    let ran = shop.run(&["customer", "nobody"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("customer.not_found"), "{}", ran.stderr);
}

#[test]
fn everything_that_is_held_is_written_down() {
    let shop = TinyShop::after_a_night();
    shop.land("identities/all", "anonymous_id,customer_id,linked_at\nv1,a,2026-01-01T10:00:00Z\n");
    shop.land("events/all", "event_id,occurred_at,type,customer_id,anonymous_id\ne1,2026-01-01T10:00:00Z,page_viewed,,v1\ne2,2026-01-01T10:00:00Z,page_viewed,b,\n");
    shop.night(D2);
    let ran = shop.run(&["customer", "a", "--export", "-"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let held: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(held["identities"]["emails"], serde_json::json!(["ann@example.com"]));
    assert_eq!(held["identities"]["orders"], serde_json::json!(["o1", "o2"]));
    let rows = |part: &str, table: &str| held[part][table].as_array().unwrap().len();
    assert_eq!(rows("landed", "customers"), 1);
    assert_eq!((rows("landed", "orders"), rows("landed", "order_items")), (2, 3));
    assert_eq!((rows("landed", "events"), rows("landed", "identities")), (1, 1));
    assert_eq!((rows("published", "customer_profile"), rows("published", "customer_contacts")), (2, 1));
    assert!(rows("published", "segment_members") >= 4 && rows("published", "lifecycle") == 2);
    assert_eq!(held["landed"]["customers"][0]["first_name"], "Ann");
    assert!(!ran.stdout.contains("bob@example.com"), "nobody else's");

    let ran = shop.run(&["customer", "a", "--export", "ann.json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(shop.folder.read("ann.json").contains("ann@example.com"));
    let ran = shop.run(&["customer", "nobody", "--export", "-"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
}
