//! Nights: what a run publishes, and what a second one leaves alone.

use serde_json::Value;

use crate::landing_files::{CUSTOMERS, ITEMS, NIGHTLY, ORDERS, TinyShop};

/// A lake key: guests have the same ids in every lake that has it.
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const D1: &str = "2026-03-01";
const D2: &str = "2026-03-02";
const D3: &str = "2026-03-03";

fn text<'a>(report: &'a Value, key: &str) -> &'a str {
    report[key].as_str().unwrap_or("-")
}

#[test]
fn a_night_publishes_every_table_and_its_views() {
    let shop = TinyShop::after_a_night();
    assert_eq!(text(&shop.night(D2), "previous_as_of"), D1);
    for (table, columns, rows) in [
        ("customer_profile", "as_of, customer_id, amount_spent, rfm_group, lifecycle_stage, churn_risk", "9"),
        ("customer_contacts", "customer_id, email, phone, first_name, email_consent, email_consent_at", "5"),
        ("orders", "order_id, customer_id, ordered_on, is_counted, net_amount", "6"),
        ("order_items", "order_id, product_id, customer_id, ordered_on, quantity", "7"),
        (
            "lifecycle",
            "as_of, customer_id, stage, previous_stage, stage_since, reason, explanation, order_days, \
             days_since_last_order, p_order_90d, p_order_365d, vitality, p_alive, expected_orders, predicted_value, \
             cant_lose, confidence, model",
            "9",
        ),
        ("lifecycle_transitions", "as_of, from_stage, to_stage, customers", "8"),
        ("lifecycle_health", "as_of, model, tier, buyers, churned_then", "2"),
        ("lifecycle_models", "as_of, model, tier, r, alpha, a, b, value_cut, input_manifest, version", "0"),
        (
            "segments",
            "as_of, segment, name, description, owner, store, tags, query, sql, priority, goal, definition_hash, \
             defined_on",
            "8",
        ),
        ("segment_members", "as_of, segment, customer_id", "17"),
        ("segment_changes", "as_of, previous_as_of, segment, customer_id, change, cause", "3"),
        (
            "segment_sizes",
            "as_of, previous_as_of, segment, members, entered, exited, email_reachable, sms_reachable, buyers, \
             amount_spent, orders_30d, revenue_30d, goal_base, goal_members",
            "8",
        ),
        ("segment_overlap", "as_of, segment_a, segment_b, members_a, members_b, both", "8"),
        ("rejects", "run_id, as_of, \"table\", key, file, \"row\", \"column\", rule, value", "0"),
        (
            "snapshots",
            "as_of, previous_as_of, run_id, published_at, as_known, stale, timezone, manifest, table_versions, \
             row_counts, definition_hash",
            "2",
        ),
        (
            "job_runs",
            "run_id, job, as_of, attempt, status, started_at, finished_at, step, \"rows\", left_out, error",
            "2",
        ),
        ("customer_profile_latest", "as_of, customer_id", "5"),
        ("lifecycle_latest", "as_of, customer_id", "5"),
        ("segment_members_latest", "as_of, segment, customer_id", "10"),
        ("segment_sizes_latest", "as_of, segment", "4"),
        ("customer_tags", "customer_id, tag", "3"),
        ("customer_lists", "customer_id, list", "1"),
        ("segment.danes", "customer_id, amount_spent", "3"),
        ("landed.orders", "order_id, total, status", "7"),
        ("landed.events", "event_id", "0"),
    ] {
        let sql = format!("SELECT count(*) FROM (SELECT {columns} FROM {table})");
        assert_eq!(shop.one(&sql), rows, "{table}");
    }
    assert_eq!(
        shop.rows(
            "SELECT customer_id, number_of_orders, amount_spent FROM customer_profile_latest WHERE customer_id < 'e'"
        ),
        ["a 2 300.00", "b 2 120.30", "c 0 0.00", "d 1 500.00"]
    );
    assert_eq!(shop.changes(D2), ["buyers d entered data", "danes d entered data", "repeat b entered data"]);
    assert_eq!(shop.changes(D1), Vec::<String>::new(), "a segment's first day has no changes");
    assert_eq!(
        shop.rows("SELECT DISTINCT as_of, previous_as_of FROM segment_sizes ORDER BY 1"),
        [format!("{D1} -"), format!("{D2} {D1}")]
    );
    assert_eq!(shop.rows("SELECT customer_id, tag FROM customer_tags ORDER BY 1, 2"), ["a news", "a vip", "c news"]);
}

#[test]
fn what_has_not_changed_is_not_computed_again() {
    let shop = TinyShop::new();
    let first = shop.night(D1);
    let before = shop.files("lake");
    let second = shop.night(D1);
    assert_eq!((text(&second, "status"), text(&second, "run_id")), ("unchanged", text(&first, "run_id")));
    assert_eq!(second["customers"], first["customers"]);
    assert_eq!(shop.files("lake"), before, "nothing is written");
    assert_eq!(shop.one("SELECT count(*) FROM job_runs"), "1");

    // Whatever an answer depends on makes it another day.
    shop.segment("danes", "customer_countries CONTAINS 'DE'");
    assert_eq!(text(&shop.night(D1), "status"), "succeeded");
    assert_eq!(text(&shop.night(D1), "status"), "unchanged");
    shop.settings("[lifecycle]\nloyal_orders = 2");
    assert_eq!(text(&shop.night(D1), "status"), "succeeded");
    shop.land("orders/more", "order_id,ordered_at,total,customer_id\no9,2026-02-01T00:00:00Z,1.00,c");
    let third = shop.night(D1);
    assert_eq!(text(&third, "status"), "succeeded");
    assert_eq!(shop.one("SELECT max(attempt) FROM job_runs"), "4");
    assert_eq!(text(&shop.night(D1), "run_id"), text(&third, "run_id"));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let shop = TinyShop::after_a_night();
    shop.night(D2);
    let first = shop.bytes(D2);
    assert!(first.len() >= 11 && first.values().flatten().count() >= 11, "{first:?}");
    let again = shop.with("ALLUVIAL_ENGINE__THREADS", "1");
    assert_eq!(text(&again.night_with(D2, &["--force"]), "status"), "succeeded");
    assert_eq!(again.bytes(D2), first, "computed again, on one thread");

    // The same rows in other files and another order.
    let shuffled = TinyShop::after_a_night().with("ALLUVIAL_ENGINE__THREADS", "3");
    for (table, lines) in [("orders", ORDERS), ("order_items", ITEMS), ("customers", CUSTOMERS)] {
        std::fs::remove_file(shuffled.landed(&format!("{table}/all"))).unwrap();
        let lines: Vec<&str> = lines.trim().lines().collect();
        for (number, part) in lines[1..].chunks(3).enumerate() {
            let mut part = part.to_vec();
            part.reverse();
            let part = format!("{}\n{}", lines[0], part.join("\n"));
            shuffled.land(&format!("{table}/{}", 9 - number), &part);
        }
    }
    shuffled.night(D2);
    assert_eq!(shuffled.bytes(D2), first, "from shuffled files");
}

#[test]
fn lines_without_numbers_give_the_same_bytes_too() {
    let items = [
        "o1,p1,Cups,Nord,2026-02-01T10:00:00Z",
        "o1,p1,Cups,Syd,2026-02-01T10:00:00Z",
        "o1,p1,Pans,Nord,",
        "o1,p1,Pans,Nord,2026-01-01T10:00:00Z",
    ];
    let bytes = |items: Vec<&str>| {
        let shop = TinyShop::empty().with("ALLUVIAL_LAKE_KEY", KEY);
        shop.land("orders/all", "order_id,ordered_at,total,customer_id\no1,2026-01-01T00:00:00Z,1.00,a");
        for (number, item) in items.iter().enumerate() {
            shop.land(
                &format!("order_items/{number}"),
                &format!("order_id,product_id,category,brand,returned_at\n{item}"),
            );
        }
        shop.night(D1);
        shop.bytes(D1)["order_items"].clone()
    };
    let first = bytes(items.to_vec());
    let mut reversed = items.to_vec();
    reversed.reverse();
    assert_eq!(bytes(reversed), first);
}

#[test]
fn a_rerun_replaces_its_day_and_nothing_else() {
    let shop = TinyShop::after_a_night();
    shop.night(D2);
    let other = |shop: &TinyShop| {
        let live = |table: &str| shop.rows(&format!("SELECT * FROM {table} WHERE as_of = DATE '{D2}' ORDER BY 2, 3"));
        ["customer_profile", "lifecycle", "segment_members", "segment_changes", "segment_sizes", "segments"].map(live)
    };
    let (rows, bytes, newest) = (other(&shop), shop.bytes(D2), shop.rows("SELECT * FROM orders ORDER BY order_id"));
    // c had ordered on the 1st: that is known only now.
    shop.land("orders/late", "order_id,ordered_at,total,customer_id\no8,2026-03-01T12:00:00Z,70.00,c");
    let report = shop.night(D1);
    assert_eq!(text(&report, "status"), "succeeded");
    assert_eq!(
        shop.one(&format!("SELECT amount_spent FROM customer_profile WHERE as_of = DATE '{D1}' AND customer_id = 'c'")),
        "70.00"
    );
    assert_eq!(other(&shop), rows, "the other day's rows");
    assert_eq!(shop.bytes(D2), bytes, "the other day's files");
    assert_eq!(shop.rows("SELECT * FROM orders ORDER BY order_id"), newest, "the newest day's facts");
    assert_eq!(
        shop.rows("SELECT as_of, stale FROM snapshots ORDER BY 1"),
        [format!("{D1} false"), format!("{D2} true")]
    );
    assert!(report["warnings"].to_string().contains("run them again"), "{}", report["warnings"]);
    assert_eq!(text(&shop.night(D2), "status"), "succeeded", "a stale day is computed again");
    assert_eq!(
        shop.rows("SELECT as_of, stale FROM snapshots ORDER BY 1"),
        [format!("{D1} false"), format!("{D2} false")]
    );
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "7");
}

#[test]
fn days_are_published_in_any_order() {
    let shop = TinyShop::new();
    assert_eq!(text(&shop.night(D3), "previous_as_of"), "-");
    let contacts = shop.rows("SELECT * FROM customer_contacts ORDER BY 1");
    assert_eq!(text(&shop.night(D1), "previous_as_of"), "-");
    let second = shop.night(D2);
    assert_eq!(text(&second, "previous_as_of"), D1);
    assert_eq!(
        shop.rows("SELECT as_of, previous_as_of, stale FROM snapshots ORDER BY 1"),
        [format!("{D1} - false"), format!("{D2} {D1} false"), format!("{D3} - true")]
    );
    assert_eq!(shop.changes(D2), ["buyers d entered data", "danes d entered data", "repeat b entered data"]);
    assert_eq!(shop.changes(D3), Vec::<String>::new());
    assert_eq!(
        shop.rows("SELECT * FROM customer_contacts ORDER BY 1"),
        contacts,
        "contacts stay those of the newest day"
    );
    assert_eq!(shop.one("SELECT count(*) FROM orders WHERE order_id = 'o6'"), "1", "so do the orders");
    assert_eq!(shop.one("SELECT max(as_of) FROM customer_profile_latest"), D3);
}

#[test]
fn every_change_has_its_cause() {
    let shop = TinyShop::new();
    shop.segment("gone", "number_of_orders >= 1").segment("german", "customer_countries CONTAINS 'DE'");
    shop.segment("off", "number_of_orders >= 1").segment("subscribed", "email_subscription_status = 'SUBSCRIBED'");
    shop.night(D1);
    let guest = shop.one("SELECT customer_id FROM customer_profile WHERE customer_id LIKE 'guest:%'");

    shop.segment("german", "customer_countries CONTAINS 'DE' OR customer_countries CONTAINS 'DK'");
    shop.segment_with("off", "number_of_orders >= 1", "active = false");
    std::fs::remove_file(shop.folder.path().join("sql/segments/gone.toml")).unwrap();
    shop.segment("fresh", "number_of_orders >= 1");
    // c leaves, and the guest opens an account.
    shop.land(
        "customers/later",
        "customer_id,created_at,updated_at,deleted_at,email,email_consent
         c,2026-02-01T10:00:00Z,2026-03-02T11:00:00Z,2026-03-02T11:00:00Z,cid@example.com,subscribed
         e,2026-03-02T09:00:00Z,2026-03-02T09:00:00Z,,guest@example.com,never",
    );
    shop.night(D2);
    let changes = shop.changes(D2);
    for expected in [
        "buyers d entered data".to_owned(),
        "buyers e entered merged".to_owned(),
        format!("buyers {guest} exited merged"),
        "danes c exited deleted_customer".to_owned(),
        "german a entered definition".to_owned(),
        "german d entered definition".to_owned(),
        "german c exited deleted_customer".to_owned(),
        "gone a exited deactivated".to_owned(),
        format!("gone {guest} exited deactivated"),
        "off b exited deactivated".to_owned(),
        "prospects c exited deleted_customer".to_owned(),
        "subscribed c exited deleted_customer".to_owned(),
        "subscribed d entered data".to_owned(),
    ] {
        assert!(changes.contains(&expected) || expected.starts_with("german c"), "{expected}: {changes:#?}");
    }
    assert!(!changes.iter().any(|change| change.starts_with("fresh")), "a first day has no changes: {changes:#?}");
    assert!(!changes.iter().any(|change| change.starts_with("german c")), "c was in no German segment: {changes:#?}");
    assert!(!changes.iter().any(|change| change.contains("merged data")), "{changes:#?}");
    assert_eq!(
        shop.rows(&format!(
            "SELECT segment, entered, exited, previous_as_of FROM segment_sizes WHERE as_of = DATE '{D2}' ORDER BY 1"
        )),
        [
            "buyers 2 1 2026-03-01",
            "danes 1 1 2026-03-01",
            "fresh 0 0 -",
            "german 2 0 2026-03-01",
            "prospects 0 1 2026-03-01",
            "repeat 1 0 2026-03-01",
            "subscribed 1 1 2026-03-01"
        ]
    );
    // The person who was a guest goes on: the stage is the same one.
    assert_eq!(
        shop.one(&format!(
            "SELECT previous_stage, stage, stage_since FROM lifecycle WHERE customer_id = 'e' AND as_of = DATE '{D2}'"
        )),
        format!("high_potential nurture_needed {D2}")
    );
}

#[test]
fn a_setting_that_moves_people_is_the_cause() {
    let shop = TinyShop::after_a_night();
    shop.settings("[customers]\nexclude = \"customer_countries CONTAINS 'DE'\"");
    let report = shop.night(D2);
    assert_eq!(report["left_out"].to_string().matches("excluded").count(), 1, "{}", report["left_out"]);
    assert_eq!(shop.one("SELECT count(*) FROM customer_profile_latest WHERE customer_id = 'b'"), "0");
    assert_eq!(shop.one("SELECT count(*) FROM orders WHERE customer_id = 'b'"), "0");
    let changes = shop.changes(D2);
    assert!(changes.contains(&"buyers b exited settings".to_owned()), "b is excluded, not deleted: {changes:#?}");
}

#[test]
fn goals_look_at_who_was_a_member() {
    let shop = TinyShop::new();
    shop.segment_with("prospects", "number_of_orders = 0", "goal = \"number_of_orders >= 1\"\ngoal_days = 1");
    shop.segment_with("guests", "customer_id STARTS WITH 'guest:'", "goal = \"number_of_orders >= 1\"\ngoal_days = 2");
    let goals = |day: &str| {
        shop.rows(&format!(
            "SELECT segment, goal_base, goal_members FROM segment_sizes WHERE as_of = DATE '{day}' \
             AND segment IN ('prospects', 'guests') ORDER BY 1"
        ))
    };
    shop.night(D1);
    assert_eq!(goals(D1), ["guests - -", "prospects - -"], "no day before");
    shop.land(
        "orders/c",
        "order_id,ordered_at,updated_at,total,customer_id\no8,2026-03-02T11:00:00Z,2026-03-02T11:00:00Z,9.00,c",
    );
    shop.night(D2);
    assert_eq!(goals(D2), ["guests - -", "prospects 1 1"]);
    // The guest's orders become an account's: the person was a member, and has ordered.
    shop.land(
        "customers/e",
        "customer_id,created_at,updated_at,email\ne,2026-03-03T09:00:00Z,2026-03-03T09:00:00Z,guest@example.com",
    );
    shop.night(D3);
    assert_eq!(goals(D3), ["guests 1 1", "prospects 0 0"]);
}

#[test]
fn sizes_and_facts_add_up_to_the_profile() {
    let shop = TinyShop::new();
    shop.land("rates/all", "date,currency,rate\n2026-01-01,EUR,7.46038");
    shop.land(
        "orders/abroad",
        "order_id,ordered_at,updated_at,total,customer_id,currency,refunded,discount
         x1,2026-02-10T10:00:00Z,2026-02-10T10:00:00Z,33.33,b,EUR,11.11,1.01
         x2,2026-02-11T10:00:00Z,2026-02-11T10:00:00Z,0.01,b,EUR,,
         x3,2026-02-11T10:00:00Z,2026-02-11T10:00:00Z,19.99,a,dkk,19.99,",
    );
    shop.night(D2);
    let profile = "SELECT customer_id, number_of_orders AS n, amount_spent AS s, refunded_amount AS r, items_bought AS i, \
                   items_returned AS t, last_order_date AS l FROM customer_profile_latest WHERE number_of_orders > 0";
    let orders = "SELECT customer_id, count(*) AS n, CAST(sum(net_amount) AS DECIMAL(28, 2)) AS s, \
                  CAST(sum(refunded) AS DECIMAL(28, 2)) AS r, max(ordered_at) AS l FROM orders WHERE is_counted GROUP BY 1";
    let items = "SELECT customer_id, sum(quantity) AS i, sum(returned_quantity) AS t FROM order_items WHERE is_counted GROUP BY 1";
    assert_eq!(
        shop.rows(&format!(
            "SELECT p.customer_id, p.n - o.n, p.s - o.s, p.r - o.r, p.l = o.l, p.i - coalesce(i.i, 0), p.t - coalesce(i.t, 0) \
             FROM ({profile}) p FULL JOIN ({orders}) o ON o.customer_id = p.customer_id \
             FULL JOIN ({items}) i ON i.customer_id = p.customer_id ORDER BY 1"
        ))
        .iter()
        .filter(|row| !row.ends_with(" 0 0.00 0.00 true 0 0"))
        .count(),
        0
    );
    assert_eq!(
        shop.one("SELECT amount_spent, refunded_amount FROM customer_profile_latest WHERE customer_id = 'b'"),
        "286.14 82.88"
    );
    let sizes = "SELECT s.segment, s.members - m.members, s.buyers - m.buyers, s.amount_spent - m.spent, \
                 s.email_reachable - m.reachable FROM segment_sizes_latest s JOIN ( \
                   SELECT segment, count(*) AS members, count(*) FILTER (WHERE number_of_orders > 0) AS buyers, \
                          sum(amount_spent) AS spent, count(*) FILTER (WHERE email_reachable) AS reachable \
                   FROM segment_members_latest JOIN customer_profile_latest p USING (customer_id) GROUP BY segment \
                 ) m ON m.segment = s.segment ORDER BY 1";
    assert_eq!(
        shop.rows(sizes),
        ["buyers 0 0 0.00 0", "danes 0 0 0.00 0", "prospects 0 0 0.00 0", "repeat 0 0 0.00 0"]
    );
    let recent = "SELECT orders_30d, revenue_30d FROM segment_sizes_latest WHERE segment = 'buyers'";
    // a: 200.00 and 0.00; b: 40.20, 165.77 and 0.07; d: 500.00; the guest: 20.00.
    assert_eq!(shop.one(recent), "7 926.04");
}

#[test]
fn rejects_are_told_once() {
    let shop = TinyShop::new();
    shop.settings("[landing]\nmax_reject_ratio = \"50%\"");
    shop.land(
        "orders/bad",
        "order_id,ordered_at,updated_at,total,customer_id,status
         ,2026-02-10T10:00:00Z,,1.00,a,paid
         bad,2026-02-10T10:00:00Z,,1.00,a,wobbly",
    );
    let told = "SELECT \"table\", key, file, \"row\", \"column\", rule, value FROM rejects ORDER BY file, \"row\"";
    let counted = |report: &Value| report["rejects"].to_string();
    let first = shop.night(D1);
    let both = [
        "orders - landing/orders/bad.parquet 0 order_id null_id -",
        "orders bad landing/orders/bad.parquet 1 status unknown_status wobbly",
    ];
    let found = shop.rows(told);
    assert_eq!(found, both);
    let second = shop.night(D2);
    assert_eq!(counted(&second), counted(&first), "every run counts them");
    shop.night_with(D1, &["--force"]);
    assert_eq!(shop.rows(told), found, "only the run that saw them first tells them");

    shop.land(
        "orders/worse",
        "order_id,ordered_at,updated_at,total,customer_id,status\nworse,2026-02-10T10:00:00Z,,-1.00,a,paid",
    );
    let third = shop.night(D3);
    assert_eq!(
        shop.rows("SELECT key, rule, value FROM rejects WHERE file LIKE '%worse%'"),
        ["worse negative_value -1.00"]
    );
    assert_eq!(shop.rows("SELECT count(*), count(DISTINCT run_id) FROM rejects"), ["3 2"]);
    assert!(counted(&third).contains("negative_value"), "{third}");

    // The same file landed again with other rows is another file.
    shop.land(
        "orders/worse",
        "order_id,ordered_at,updated_at,total,customer_id,status\nworst,2026-02-10T10:00:00Z,,-1.00,a,paid",
    );
    shop.night(D3);
    assert_eq!(shop.rows("SELECT key FROM rejects WHERE file LIKE '%worse%' ORDER BY 1"), ["worse", "worst"]);
}

#[test]
fn a_run_that_fails_while_it_publishes_shows_nothing() {
    let shop = TinyShop::after_a_night();
    let shown = |shop: &TinyShop| {
        let count = |table: &str| shop.one(&format!("SELECT count(*), max(as_of) FROM {table}"));
        ["snapshots", "customer_profile", "segment_members", "segment_changes", "lifecycle", "segment_sizes"].map(count)
    };
    let (before, contacts) = (shown(&shop), shop.rows("SELECT * FROM customer_contacts"));
    // What the store says may pass, so a run would be tried again.
    shop.folder.write("jobs/nightly.toml", &format!("retries = 0\n{NIGHTLY}"));
    // A folder stands where the commit that publishes the day would go.
    let log = shop.folder.path().join("lake/tables/snapshots/_delta_log/00000000000000000002.json");
    std::fs::create_dir(&log).unwrap();
    shop.land("orders/bad", "order_id,ordered_at,total,customer_id,status\n,2026-03-01T00:00:00Z,1.00,a,paid");
    shop.settings("[landing]\nmax_reject_ratio = 1.0");
    let ran = shop.run(&["run", "nightly", "--as-of", D2]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(
        shop.files("lake").iter().any(|file| file.contains(&format!("customer_profile/as_of={D2}"))),
        "files are there"
    );
    assert_eq!(shown(&shop), before, "and none of them is seen");
    assert_eq!(shop.rows("SELECT * FROM customer_contacts"), contacts);
    assert_eq!(
        shop.rows("SELECT as_of, status, step FROM job_runs ORDER BY started_at"),
        [format!("{D1} succeeded publish"), format!("{D2} failed publish")]
    );

    std::fs::remove_dir(&log).unwrap();
    assert_eq!(text(&shop.night(D2), "status"), "succeeded");
    assert_eq!(shop.one("SELECT max(as_of) FROM customer_profile"), D2);
    assert_eq!(shop.one("SELECT count(*), count(DISTINCT customer_id) FROM customer_contacts"), "5 5");
    assert_eq!(shop.one("SELECT count(*) FROM rejects"), "1", "the failed run's reject is not told twice");
}

#[test]
fn every_final_run_is_recorded() {
    let shop = TinyShop::after_a_night();
    shop.segment("wrong", "number_of_ordres > 1");
    assert_eq!(shop.run(&["run", "nightly", "--as-of", D2]).code, 1);
    std::fs::remove_file(shop.folder.path().join("sql/segments/wrong.toml")).unwrap();
    shop.land("orders/bad", "order_id,ordered_at,total\n,2026-03-01T00:00:00Z,1.00");
    assert_eq!(shop.run(&["run", "nightly", "--as-of", D2]).code, 1);
    std::fs::remove_file(shop.landed("orders/bad")).unwrap();
    shop.night(D2);
    shop.night(D2);
    let runs = shop
        .rows("SELECT as_of, job, status, attempt, step, split_part(error, ':', 1) FROM job_runs ORDER BY started_at");
    assert_eq!(
        runs,
        [
            "2026-03-01 nightly succeeded 1 publish -",
            "2026-03-02 nightly failed 1 land segment.unknown_attribute",
            "2026-03-02 nightly failed 1 land land.too_many_rejects",
            "2026-03-02 nightly succeeded 1 publish -",
        ]
    );
    assert_eq!(
        shop.one("SELECT \"rows\", left_out, started_at <= finished_at FROM job_runs WHERE status = 'succeeded' AND as_of = DATE '2026-03-01'"),
        r#"{"customers":4,"order_items":8,"orders":7} {"order_items":{"order_comes_later":3}} true"#
    );
}

#[test]
fn a_range_is_published_day_by_day() {
    let shop = TinyShop::after_a_night();
    let ran = shop.run(&["run", "nightly", "--from", D2, "--to", D3, "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let reports: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let days: Vec<(&str, &str)> =
        reports.iter().map(|report| (text(report, "as_of"), text(report, "previous_as_of"))).collect();
    assert_eq!(days, [(D2, D1), (D3, D2)]);
    // b's order of the 3rd is cancelled: nothing moves.
    assert_eq!(shop.changes(D3), Vec::<String>::new());
    assert_eq!([D1, D2, D3].map(|day| shop.members("repeat", day).len()), [1, 2, 2]);
    let ran = shop.run(&["run", "nightly", "--from", D2, "--to", D3, "--format", "csv"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "as_of,segment,members,entered,exited\n"), "nothing has changed");

    // The days before one that fails stay.
    shop.land("orders/late", "order_id,ordered_at,total\n,2026-03-01T00:00:00Z,1.00");
    let ran = shop.run(&["run", "nightly", "--from", D2, "--to", D3]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(shop.one("SELECT count(*) FROM snapshots"), "3");
}

#[test]
fn a_projects_own_statements_are_used_and_told() {
    let shop = TinyShop::new();
    shop.night(D1);
    let manifest_dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let built_in = std::fs::read_to_string(manifest_dir.join("sql/profile/item_stats.sql")).unwrap();
    shop.folder.write("sql/profile/item_stats.sql", &built_in);
    let report = shop.night(D1);
    assert_eq!(text(&report, "status"), "unchanged", "a copy of the built-in text changes nothing");
    shop.folder.write(
        "sql/profile/item_stats.sql",
        &built_in.replace("favorite(category, quantity,", "favorite(category, -quantity,"),
    );
    let report = shop.night(D1);
    assert_eq!(text(&report, "status"), "succeeded");
    assert!(
        report["warnings"].to_string().contains("sql/profile/item_stats.sql is the project's own"),
        "{}",
        report["warnings"]
    );
    assert_eq!(
        shop.one("SELECT favorite_category FROM customer_profile_latest WHERE customer_id = 'a'"),
        "Kitchen > Pans"
    );

    let stage = std::fs::read_to_string(manifest_dir.join("sql/lifecycle/transitions.sql")).unwrap();
    shop.folder.write("sql/lifecycle/transitions.sql", &stage.replace("'new'", "'nobody'"));
    let report = shop.night(D1);
    assert_eq!(text(&report, "status"), "succeeded", "an overridden lifecycle is another answer");
    assert!(report["warnings"].to_string().contains("sql/lifecycle/transitions.sql"), "{}", report["warnings"]);
    assert_eq!(shop.one("SELECT DISTINCT from_stage FROM lifecycle_transitions"), "nobody");
    shop.folder.write("sql/profile/item_stats.sql", "SELECT nothing FROM order_items");
    let ran = shop.run(&["run", "nightly", "--as-of", D1]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("--> sql/profile/item_stats.sql"), "{}", ran.stderr);
}

#[test]
fn contact_fields_stay_out_of_the_profile() {
    let shop = TinyShop::new();
    shop.land(
        "customers/all",
        "customer_id,created_at,email,vat_number,shoe_size:int
         a,2025-01-10T10:00:00Z,ann@example.com,DK12345678,41
         b,2025-06-01T10:00:00Z,bob@example.com,,",
    );
    shop.settings("[fields.vat_number]\ncontact = true\n[fields.shoe_size]\ntype = \"number\"\nrequired = true");
    let report = shop.night(D1);
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = ";
    let profile = shop.rows(&format!("{columns} 'customer_profile'"));
    assert!(profile.contains(&"shoe_size".to_owned()), "{profile:?}");
    for contact in
        ["vat_number", "email", "phone", "first_name", "last_name", "name", "address", "postal_code", "latitude"]
    {
        assert!(!profile.contains(&contact.to_owned()), "{contact}");
    }
    assert_eq!(
        shop.rows("SELECT customer_id, vat_number FROM customer_contacts ORDER BY 1 LIMIT 2"),
        ["a DK12345678", "b -"]
    );
    assert_eq!(shop.one("SELECT shoe_size FROM customer_profile WHERE customer_id = 'a'"), "41.0");
    // Contact data is nowhere but in the contacts and in what was landed.
    for file in
        shop.files("lake").iter().filter(|file| !file.starts_with("landing") && !file.contains("customer_contacts"))
    {
        let bytes = std::fs::read(shop.folder.path().join("lake").join(file)).unwrap();
        for canary in ["DK12345678", "ann@example.com", "guest@example.com"] {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "{canary} in {file}");
        }
    }
    assert!(
        report["warnings"].to_string().contains("`shoe_size`"),
        "a required field that is missing is counted: {}",
        report["warnings"]
    );
}
