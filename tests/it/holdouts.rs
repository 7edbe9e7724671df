//! Who is held out, what claims whom, differences, and what an export changed.

use serde_json::Value;

use crate::landing_files::TinyShop;

/// Forty consenting customers; those with an odd number have an order, those that three divides two.
fn shop() -> TinyShop {
    let shop = TinyShop::empty();
    let mut customers = "customer_id,created_at,email,email_consent,email_consent_at\n".to_owned();
    let mut orders = "order_id,ordered_at,total,customer_id\n".to_owned();
    for n in 0..40 {
        customers.push_str(&format!("c{n},2025-01-10T10:00:00Z,c{n}@example.com,subscribed,2025-01-10T10:00:00Z\n"));
        for order in 0..(u8::from(n % 2 == 1) + u8::from(n % 3 == 0)) {
            orders.push_str(&format!("o{n}-{order},2026-01-01T10:00:00Z,10.00,c{n}\n"));
        }
    }
    shop.land("customers/all", &customers).land("orders/all", &orders);
    shop.segment("everyone", "number_of_orders >= 0");
    shop.segment_with("buyers", "number_of_orders >= 1", "priority = 2");
    shop.segment_with("repeat", "number_of_orders >= 2", "priority = 1");
    shop.night("2026-03-01");
    shop
}

fn export(shop: &TinyShop, arguments: &[&str]) -> Value {
    let ran = shop.run(&[&["export"], arguments, &["--format", "email", "--report", "json", "--quiet"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The customers of a written file.
fn ids(shop: &TinyShop, file: &str) -> Vec<String> {
    let text = shop.folder.read(file);
    csv::Reader::from_reader(text.as_bytes()).records().map(|row| row.unwrap()[0].to_owned()).collect()
}

/// Python: `[n for n in range(40) if int.from_bytes(sha256(b"everyone\0c%d" % n).digest()[:8], "big") / 2**64 < p]`.
#[test]
fn the_hash_alone_tells_who_is_held_out() {
    let shop = shop();
    let report = export(&shop, &["everyone", "--holdout", "30%", "--to", "a.csv"]);
    let id = report[0]["export_id"].as_str().unwrap();
    let held = |id: &str| {
        shop.rows(&format!(
            "SELECT customer_id FROM export_members WHERE export_id = '{id}' AND variant = 'holdout' \
             ORDER BY CAST(substr(customer_id, 2) AS INT)"
        ))
    };
    let expected_30: Vec<String> =
        [1, 3, 7, 8, 10, 11, 15, 23, 24, 30, 31, 34, 38].iter().map(|n| format!("c{n}")).collect();
    assert_eq!(held(id), expected_30);
    assert_eq!(ids(&shop, "a.csv").len(), 40 - expected_30.len());
    assert!(ids(&shop, "a.csv").iter().all(|id| !expected_30.contains(id)), "nobody who is held out is written");
    // A larger share only adds.
    let report = export(&shop, &["everyone", "--holdout", "0.5", "--to", "b.csv"]);
    let more = held(report[0]["export_id"].as_str().unwrap());
    assert!(expected_30.iter().all(|id| more.contains(id)) && more.len() > expected_30.len());
    // The project's own share has a salt of its own, and is held out of everything.
    shop.settings("[exports]\nholdout = \"20%\"");
    let report = export(&shop, &["everyone", "--to", "c.csv"]);
    let expected: Vec<String> = [3, 4, 5, 16, 18, 21, 23, 24, 33].iter().map(|n| format!("c{n}")).collect();
    assert_eq!(held(report[0]["export_id"].as_str().unwrap()), expected);
}

#[test]
fn a_customer_goes_to_the_first_segment_alone() {
    let shop = shop();
    let arguments =
        ["everyone", "buyers", "repeat", "--exclusive", "--holdout", "50%", "--to", "out/{segment}-{as_of}.csv"];
    let reports = export(&shop, &arguments);
    let of = |report: &Value| {
        (report["segments"][0].as_str().unwrap().to_owned(), report["counts"]["members"].as_u64().unwrap())
    };
    let sizes: Vec<(String, u64)> = reports.as_array().unwrap().iter().map(of).collect();
    assert_eq!(sizes, [("repeat".to_owned(), 7), ("buyers".to_owned(), 20), ("everyone".to_owned(), 13)]);
    assert_eq!(reports[1]["lost"], serde_json::json!([{"segment": "buyers", "to": "repeat", "customers": 7}]));
    let mut all: Vec<String> = Vec::new();
    for (segment, members) in &sizes {
        let written = ids(&shop, &format!("out/{segment}-2026-03-01.csv"));
        assert!((written.len() as u64) < *members, "somebody of each is held out");
        all.extend(written);
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "whoever is held out of one segment gets no other instead");
    // In one file, each is once, and what lost to what is told.
    let report = export(&shop, &["everyone", "buyers", "repeat", "--exclusive", "--to", "one.csv"]);
    assert_eq!(report[0]["counts"]["written"], 40);
    assert_eq!(report[0]["lost"].as_array().unwrap().len(), 3);
    let report = export(&shop, &["everyone", "--exclude", "buyers", "--to", "rest.csv"]);
    assert_eq!(report[0]["counts"]["written"], 13);
    let report = export(&shop, &["--query", "number_of_orders = 2", "--to", "query.csv"]);
    assert_eq!(report[0]["counts"]["written"], 7);
    assert_eq!(shop.rows("SELECT query, segments FROM exports WHERE query IS NOT NULL"), ["number_of_orders = 2 -"]);
}

#[test]
fn a_difference_is_what_to_add_and_what_to_remove() {
    let shop = shop();
    let first = export(&shop, &["buyers", "--since", "last", "--to", "list.csv"]);
    assert_eq!((&first[0]["counts"]["written"], &first[0]["removed"]), (&Value::from(27), &serde_json::json!([0, 0])));
    let again = export(&shop, &["buyers", "--since", "last", "--to", "list.csv"]);
    assert_eq!((&again[0]["counts"]["written"], &again[0]["removed"]), (&Value::from(0), &serde_json::json!([0, 0])));
    // c1 unsubscribes, c3 is deleted, c2 orders.
    shop.land(
        "customers/dt=2026-03-20/later",
        "customer_id,created_at,email,email_consent,email_consent_at,updated_at,deleted_at\n\
         c1,2025-01-10T10:00:00Z,c1@example.com,unsubscribed,2026-03-20T10:00:00Z,2026-03-20T10:00:00Z,\n\
         c3,2025-01-10T10:00:00Z,,,,2026-03-20T10:00:00Z,2026-03-20T10:00:00Z\n",
    );
    shop.land("orders/more", "order_id,ordered_at,total,customer_id\nn1,2026-03-02T10:00:00Z,10.00,c2\n");
    shop.night("2026-03-02");
    let third = export(&shop, &["buyers", "--since", "last", "--to", "list.csv"]);
    assert_eq!((&third[0]["counts"]["written"], &third[0]["removed"]), (&Value::from(1), &serde_json::json!([1, 1])));
    assert_eq!(
        (ids(&shop, "list.add.csv"), ids(&shop, "list.remove.csv")),
        (vec!["c2".to_owned()], vec!["c1".to_owned()])
    );
    // A full export is possible at any time.
    let full = export(&shop, &["buyers", "--to", "list.csv"]);
    assert_eq!(full[0]["counts"]["written"], 26);
    let ran = shop.run(&["export", "buyers", "--format", "email", "--since", "last", "--to", "-"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

#[test]
fn the_treated_and_those_held_out_are_compared() {
    let shop = TinyShop::empty();
    let mut customers = "customer_id,created_at,email,email_consent,email_consent_at\n".to_owned();
    for n in 0..400 {
        customers.push_str(&format!("c{n},2025-01-10T10:00:00Z,c{n}@example.com,subscribed,2025-01-10T10:00:00Z\n"));
    }
    shop.land("customers/all", &customers);
    shop.segment("everyone", "number_of_orders >= 0");
    shop.night("2026-03-01");
    let arguments =
        ["export", "everyone", "--format", "email", "--holdout", "50%", "--to", "a.csv", "--report", "json", "--quiet"];
    let exported = shop.folder.run_with(&arguments, &[("ALLUVIAL_NOW", "2026-03-02T06:00:00Z")]);
    let report: Value = serde_json::from_str(&exported.stdout).unwrap();
    let id = report[0]["export_id"].as_str().unwrap().to_owned();
    let variants =
        shop.rows(&format!("SELECT variant, customer_id FROM export_members WHERE export_id = '{id}' ORDER BY 1, 2"));
    // Half of the treated order for 20, a tenth of those held out for 10; orders before and long after do not count.
    let mut orders = "order_id,ordered_at,total,customer_id\n".to_owned();
    let (mut treated, mut held) = (0_u32, 0_u32);
    for row in &variants {
        let (variant, customer) = row.split_once(' ').unwrap();
        let (place, every, total) = match variant {
            "treatment" => (&mut treated, 2, "20.00"),
            _ => (&mut held, 10, "10.00"),
        };
        if *place % every == 0 {
            orders.push_str(&format!("o-{customer},2026-03-05T10:00:00Z,{total},{customer}\n"));
        }
        *place += 1;
        orders.push_str(&format!("early-{customer},2026-03-02T05:00:00Z,5.00,{customer}\n"));
    }
    shop.land("orders/all", &orders);
    // Prospects who all become buyers at once are held, until somebody says that it is right.
    assert_eq!(shop.run(&["run", "nightly", "--as-of", "2026-03-20"]).code, 1);
    let accepted = shop.run(&["publish", "--accept", "2026-03-20"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let ran = shop.run(&["lift", &id, "--days", "14", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lift: Value = serde_json::from_str(&ran.stdout).unwrap();
    let close = |found: &Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-9;
    let (buyers, others) = (f64::from(treated.div_ceil(2)), f64::from(held.div_ceil(10)));
    let (treated, held) = (f64::from(treated), f64::from(held));
    assert!(close(&lift["treated"]["customers"], treated) && close(&lift["held_out"]["customers"], held), "{lift}");
    assert!(close(&lift["conversion"]["difference"], buyers / treated - others / held), "{lift}");
    assert!(close(&lift["spend"]["difference"], 20.0 * buyers / treated - 10.0 * others / held), "{lift}");
    assert!(lift["conversion"]["from"].as_f64().unwrap() > 0.2, "so large a difference is told");
    assert_eq!((&lift["too_small"], &lift["not_over"]), (&Value::Null, &Value::Null));
    let ran = shop.run(&["lift", &id]);
    assert!(ran.stderr.contains("the 30 days are not over"), "{}", ran.stderr);
    let ran = shop.run(&["lift", "nothing"]);
    assert_eq!(ran.code, 1);
}
