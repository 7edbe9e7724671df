//! Which of several landed versions serves a day, and what a day can see (contract §2, "Versions", "Point in time").

use alluvial::land::TableOptions;
use alluvial::profile::Versions;
use alluvial::schema::landed::Table;

use crate::shop::Shop;

/// Orders of one customer: `order | total | updated_at`, a file a call.
fn orders(shop: &Shop, path: &str, rows: &[(&str, u32, &str)]) {
    let mut text = "order_id | ordered_at | total | customer_id | updated_at".to_owned();
    for (order, total, updated) in rows {
        text.push_str(&format!("\n{order} | 2026-11-01T10:00:00Z | {total} | c1 | {updated}"));
    }
    shop.land(path, &text);
}

const TOTALS: &str = "SELECT order_id, total FROM landed_orders ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_at_or_before_the_cutoff_wins() {
    let shop = Shop::new("Europe/Copenhagen");
    orders(
        &shop,
        "orders/1.parquet",
        &[
            ("a", 1, "2026-11-01T10:00:00Z"),
            ("a", 2, "2026-11-10T22:59:59Z"),
            ("a", 3, "2026-11-10T23:00:01Z"), // past the cutoff of 10 November
            ("b", 1, "2026-11-10T23:00:00Z"), // at the cutoff
            ("b", 2, "2026-11-01T10:00:00Z"),
            ("c", 1, "2026-11-12T10:00:00Z"), // all later: the oldest serves
            ("c", 2, "2026-11-11T10:00:00Z"),
            ("c", 3, "2026-11-13T10:00:00Z"),
        ],
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.rows(TOTALS).await, ["a|2.00", "b|1.00", "c|2.00"]);
    assert_eq!(day.profiled.versions, Versions { rows: 3, later: 1, unknown: 0 });
    let day = shop.day("2026-11-13").await;
    assert_eq!(day.rows(TOTALS).await, ["a|3.00", "b|1.00", "c|3.00"]);
    assert_eq!(day.profiled.versions, Versions { rows: 3, later: 0, unknown: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_as_old_as_its_updated_at_else_its_folder() {
    let shop = Shop::new("Europe/Copenhagen");
    orders(&shop, "orders/dt=2026-11-02/1.parquet", &[("a", 1, ""), ("b", 1, "2026-11-05T10:00:00Z"), ("d", 1, "")]);
    orders(&shop, "orders/dt=2026-11-04/1.parquet", &[("a", 2, ""), ("b", 2, "2026-11-03T10:00:00Z"), ("d", 2, "")]);
    // Without a version time a row yields to those that have one at or before the cutoff.
    orders(&shop, "orders/z.parquet", &[("a", 9, ""), ("e", 1, ""), ("e", 2, "")]);
    orders(&shop, "orders/y.parquet", &[("e", 3, "")]);
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.rows(TOTALS).await, ["a|2.00", "b|1.00", "d|2.00", "e|2.00"]);
    assert_eq!(day.profiled.versions, Versions { rows: 4, later: 0, unknown: 1 });
    // The folder's day ends with the cutoff of that day, so it is visible on that day and not before.
    let day = shop.day("2026-11-03").await;
    assert_eq!(day.rows(TOTALS).await, ["a|1.00", "b|2.00", "d|1.00", "e|2.00"]);
    let day = shop.day("2026-11-04").await;
    assert_eq!(day.rows(TOTALS).await, ["a|2.00", "b|2.00", "d|2.00", "e|2.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ties_go_to_the_last_file_and_then_the_last_row() {
    let shop = Shop::new("UTC");
    let at = "2026-11-02T10:00:00Z";
    let late = "2026-12-02T10:00:00Z";
    orders(
        &shop,
        "orders/b.parquet",
        &[("a", 3, at), ("a", 4, at), ("late", 3, late), ("late", 4, late), ("none", 4, "")],
    );
    orders(
        &shop,
        "orders/a.parquet",
        &[("a", 1, at), ("a", 2, at), ("late", 1, late), ("none", 1, ""), ("none", 2, "")],
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.rows(TOTALS).await, ["a|4.00", "late|4.00", "none|4.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_version_leaves_the_one_before() {
    let shop = Shop::new("UTC");
    shop.land(
        "orders",
        "order_id | ordered_at | total | customer_id | updated_at
         a | 2026-11-01T10:00:00Z | 1 | c1 | 2026-11-01T10:00:00Z
         a | 2026-11-01T10:00:00Z | -2 | c1 | 2026-11-02T10:00:00Z
         b | 2026-11-01T10:00:00Z | x | c1 | 2026-11-02T10:00:00Z",
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.rows(TOTALS).await, ["a|1.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_products_landed_twice_count_once() {
    let shop = Shop::new("UTC");
    let event = "event_id | occurred_at | type | customer_id\ne1 | 2026-11-09T10:00:00Z | page_viewed | c1\ne1 | 2026-11-09T10:00:00Z | page_viewed | c1";
    shop.land("customers", "customer_id\nc1")
        .land("events/dt=2026-11-09/a.parquet", event)
        .land("events/dt=2026-11-10/a.parquet", event)
        .land("products/dt=2026-11-01/a.parquet", "product_id | title\np1 | old")
        .land("products/dt=2026-11-09/a.parquet", "product_id | title\np1 | new");
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.profile("page_views_30d").await, ["1"]);
    assert_eq!(day.rows("SELECT title FROM landed_products").await, ["new"]);
    assert_eq!(shop.day("2026-11-05").await.rows("SELECT title FROM landed_products").await, ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_later_versions_only_are_told() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | created_at | updated_at | city
         c1 | 2026-01-01T00:00:00Z | 2026-12-01T00:00:00Z | later
         c2 | 2026-01-01T00:00:00Z | 2026-01-01T00:00:00Z | before
         c3 | 2026-01-01T00:00:00Z | | unknown
         c4 | 2026-11-11T00:00:00Z | 2026-12-01T00:00:00Z | not yet",
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.profile("customer_id, city").await, ["c1|later", "c2|before", "c3|unknown"]);
    assert_eq!(day.profiled.versions, Versions { rows: 3, later: 1, unknown: 1 });
}

const LINES: &str = "SELECT order_id, line, product_id, quantity FROM order_items ORDER BY 1, 3, 2";

fn three_orders(shop: &Shop, updated: &str) {
    shop.land(
        "orders",
        &format!(
            "order_id | ordered_at | total | customer_id | updated_at
             a | 2026-11-01T10:00:00Z | 1 | c1 | {updated}
             b | 2026-11-01T10:00:00Z | 1 | c1 | {updated}"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_an_order_are_those_of_its_newest_version() {
    let shop = Shop::new("UTC");
    three_orders(&shop, "2026-11-02T10:00:00Z");
    shop.land(
        "order_items/1.parquet",
        "order_id | product_id | line:int | quantity:int | updated_at
         a | p1 | 1 | 1 | 2026-11-01T10:00:00Z
         a | p2 | 2 | 1 | 2026-11-01T10:00:00Z
         a | p1 | 1 | 5 | 2026-11-03T10:00:00Z
         a | p3 | 3 | 5 | 2026-11-03T10:00:00Z
         a | p9 | 1 | 9 | 2026-11-20T10:00:00Z
         b | p1 | 1 | 1 | 2026-11-20T10:00:00Z
         b | p2 | 2 | 1 | 2026-11-21T10:00:00Z",
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.rows(LINES).await, ["a|1|p1|5", "a|3|p3|5", "b|1|p1|1"]);
    let day = shop.day("2026-11-02").await;
    assert_eq!(day.rows(LINES).await, ["a|1|p1|1", "a|2|p2|1", "b|1|p1|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_without_updated_at_are_as_old_as_their_folder() {
    let shop = Shop::new("UTC");
    three_orders(&shop, "");
    shop.land("order_items/dt=2026-11-01/a.parquet", "order_id | product_id\na | p1\na | p1\na | p2\nb | p1")
        .land("order_items/dt=2026-11-03/a.parquet", "order_id | product_id\na | p1");
    let lines = "SELECT order_id, product_id, count(*) FROM order_items GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(shop.day("2026-11-10").await.rows(lines).await, ["a|p1|1", "b|p1|1"]);
    assert_eq!(shop.day("2026-11-02").await.rows(lines).await, ["a|p1|2", "a|p2|1", "b|p1|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_number_twice_in_one_set_is_the_last() {
    let shop = Shop::new("UTC");
    // Neither lines nor folders have a time, so the order's serves: one set.
    three_orders(&shop, "2026-11-02T10:00:00Z");
    shop.land("order_items/1.parquet", "order_id | product_id | line:int\na | p1 | 1\na | p2 | 1\nb | p1 | \nb | p1 |")
        .land(
            "order_items/2.parquet",
            "order_id | product_id | line:int\na | p3 | 1\na | p4 | 2\na | p5 | -1\na | p6 | -1",
        );
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.rows(LINES).await, ["a|1|p3|1", "a|2|p4|1", "a|-1|p6|1", "b|-|p1|1", "b|-|p1|1"]);
    // Without any version time all rows are lines and none is merged.
    three_orders(&shop, "");
    let day = shop.day("2026-11-10").await;
    assert_eq!(
        day.rows(LINES).await,
        ["a|1|p1|1", "a|1|p2|1", "a|1|p3|1", "a|2|p4|1", "a|-1|p5|1", "a|-1|p6|1", "b|-|p1|1", "b|-|p1|1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_missing_from_the_newest_dump_is_deleted() {
    let mut shop = Shop::new("UTC");
    shop.tables.insert(Table::Customers, TableOptions { full_dump: true, ..TableOptions::default() });
    let created = "2026-01-01T00:00:00Z";
    shop.land(
        "customers/dt=2026-11-03/a.parquet",
        &format!("customer_id | created_at\nc1 | {created}\nc2 | {created}"),
    )
    .land("customers/dt=2026-11-05/a.parquet", &format!("customer_id | created_at\nc2 | {created}"))
    .land("customers/dt=2026-11-05/b.parquet", &format!("customer_id | created_at | email\nc3 | {created} | a@b.dk"))
    .land(
        "orders",
        "order_id | ordered_at | total | customer_id | email
             o1 | 2026-11-01T10:00:00Z | 1 | c1 |
             o2 | 2026-11-01T10:00:00Z | 1 | c8 |
             o3 | 2026-11-01T10:00:00Z | 1 | | guest@b.dk",
    );
    let day = shop.day("2026-11-10").await;
    let found = day.profile("split_part(customer_id, ':', 1)").await;
    assert_eq!(found, ["c2", "c3", "c8", "guest"], "customers made from orders and guests are in no dump");
    assert_eq!((day.left_out("customers", "deleted"), day.left_out("orders", "customer_left_out")), (1, 1));
    let day = shop.day("2026-11-04").await;
    assert_eq!(day.profile("split_part(customer_id, ':', 1)").await, ["c1", "c2", "c8", "guest"]);
    // Before the first dump nothing is known to be missing.
    let day = shop.day("2026-11-02").await;
    assert_eq!(day.left_out("customers", "deleted"), 0);
    assert_eq!(day.profile("split_part(customer_id, ':', 1)").await, ["c1", "c2", "c3", "c8", "guest"]);
    // Files outside dt folders are no dumps.
    let mut shop = Shop::new("UTC");
    shop.tables.insert(Table::Customers, TableOptions { full_dump: true, ..TableOptions::default() });
    shop.land("customers", "customer_id\nc1");
    assert_eq!(shop.day("2026-11-10").await.profile("customer_id").await, ["c1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_customers_are_left_out_from_their_time_on() {
    let shop = Shop::new("Europe/Copenhagen");
    shop.land(
        "customers",
        "customer_id | created_at | deleted_at
         c1 | 2026-01-01T00:00:00Z | 2026-11-10T22:59:59Z
         c2 | 2026-01-01T00:00:00Z | 2026-11-10T23:00:00Z",
    )
    .land("orders", "order_id | ordered_at | total | customer_id\no1 | 2026-11-01T10:00:00Z | 1 | c1")
    .land("events", "event_id | occurred_at | type | customer_id\ne1 | 2026-11-01T10:00:00Z | searched | c1");
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.profile("customer_id").await, ["c2"]);
    assert_eq!(day.left_out("customers", "deleted"), 1);
    assert_eq!(day.left_out("orders", "customer_left_out"), 1);
    assert_eq!(day.left_out("events", "customer_left_out"), 1);
    assert_eq!(day.rows("SELECT count(*) FROM orders").await, ["0"]);
    assert_eq!(shop.day("2026-11-09").await.profile("customer_id").await, ["c1", "c2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_count_from_their_own_time_on() {
    let shop = Shop::new("Europe/Copenhagen");
    // The cutoff of 10 November is 23:00 UTC.
    shop.land(
        "customers",
        "customer_id | created_at
         c1 | 2026-11-10T22:59:59.999999Z
         c2 | 2026-11-10T23:00:00Z
         c3 | 2026-11-20T00:00:00Z",
    )
    .land(
        "orders",
        "order_id | ordered_at | total | customer_id
         o1 | 2026-11-10T22:59:59Z | 1 | c1
         o2 | 2026-11-10T23:00:00Z | 1 | c1
         o3 | 2026-11-02T00:00:00Z | 1 | c3",
    )
    .land("order_items", "order_id | product_id\no1 | p1\no2 | p1\no9 | p1")
    .land(
        "events",
        "event_id | occurred_at | type | customer_id | anonymous_id
         e1 | 2026-11-10T22:59:59Z | page_viewed | c1 |
         e2 | 2026-11-10T23:00:00Z | page_viewed | c1 |
         e3 | 2026-11-10T10:00:00Z | page_viewed | | v1
         e4 | 2026-11-10T10:00:00Z | page_viewed | | v2",
    )
    .land(
        "identities",
        "anonymous_id | customer_id | linked_at\nv1 | c1 | 2026-11-10T22:00:00Z\nv2 | c1 | 2026-11-10T23:00:00Z",
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(
        day.profile("customer_id, number_of_orders, items_bought, page_views_30d").await,
        ["c1|1|1|2", "c3|1|0|0"],
        "a customer exists from the first order, were the account made later"
    );
    // c3's account is not made yet: it is known from the order only.
    assert_eq!(day.profile("created_at").await, ["2026-11-10T22:59:59.999999Z", "2026-11-02T00:00:00Z"]);
    assert_eq!(day.left_out("order_items", "order_not_landed"), 1, "of o9");
    assert_eq!(day.left_out("order_items", "order_comes_later"), 1, "of o2");
    assert_eq!(day.left_out("events", "visitor_never_linked"), 1);
    let day = shop.day("2026-11-11").await;
    assert_eq!(
        day.profile("customer_id, number_of_orders, items_bought, page_views_30d").await,
        ["c1|2|2|4", "c2|0|0|0", "c3|1|0|0"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_exists_from_the_first_order_of_any_status() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | created_at\nc1 | 2026-11-20T00:00:00Z\nc2 | 2026-11-20T00:00:00Z\nc3 | 2026-01-05T00:00:00Z",
    )
    .land(
        "orders",
        "order_id | ordered_at | total | customer_id | status
             o1 | 2026-11-02T00:00:00Z | 1 | c1 | cancelled
             o3 | 2026-01-02T00:00:00Z | 1 | c3 | pending",
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.profile("customer_id, number_of_orders, cancelled_orders").await, ["c1|0|1", "c3|0|0"]);
    assert_eq!(
        day.profile("created_at").await,
        ["2026-11-02T00:00:00Z", "2026-01-05T00:00:00Z"],
        "as landed, once it is past"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_created_at_is_the_next_best_time() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers/dt=2026-11-05/a.parquet",
        "customer_id | updated_at | email_subscribed_at | email_consent_at
         c1 | 2026-11-04T00:00:00Z | 2026-11-03T00:00:00Z | 2026-11-02T00:00:00Z
         c2 | 2026-11-04T00:00:00Z | 2026-11-03T00:00:00Z | 2026-11-02T00:00:00Z
         c3 | 2026-11-04T00:00:00Z | | 2026-11-02T00:00:00Z
         c4 | 2026-11-04T00:00:00Z | |
         c5 | | |",
    )
    .land("customers/z.parquet", "customer_id\nc6")
    .land("orders", "order_id | ordered_at | total | customer_id\no1 | 2026-11-01T00:00:00Z | 1 | c1");
    let day = shop.day("2026-11-10").await;
    assert_eq!(
        day.profile("customer_id, created_at").await,
        [
            "c1|2026-11-01T00:00:00Z",
            "c2|2026-11-03T00:00:00Z",
            "c3|2026-11-02T00:00:00Z",
            "c4|2026-11-04T00:00:00Z",
            "c5|2026-11-06T00:00:00Z",
            "c6|2026-11-05T00:00:00Z", // the first landed day
        ]
    );
    assert_eq!(shop.day("2026-11-03").await.profile("customer_id").await, ["c1", "c2", "c3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_and_returns_count_from_their_own_time_on() {
    let shop = Shop::new("UTC");
    shop.land(
        "orders",
        "order_id | ordered_at | total | customer_id | status | refunded | refunded_at
         o1 | 2026-11-01T10:00:00Z | 10 | c1 | partially_refunded | 4 | 2026-11-11T00:00:00Z
         o2 | 2026-11-01T10:00:00Z | 10 | c1 | partially_refunded | 3 |
         o3 | 2026-11-01T10:00:00Z | 10 | c2 | refunded | | 2026-11-10T23:59:59Z
         o4 | 2026-11-01T10:00:00Z | 10 | c3 | refunded | 10 | 2026-11-11T00:00:00Z",
    )
    .land(
        "order_items",
        "order_id | product_id | quantity:int | returned_quantity:int | returned_at
         o1 | p1 | 3 | 1 | 2026-11-11T00:00:00Z
         o1 | p2 | 3 | 2 | 2026-11-10T00:00:00Z
         o2 | p1 | 3 | 3 |",
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(
        day.profile("customer_id, number_of_orders, amount_spent, refunded_amount, items_bought, items_returned").await,
        ["c1|2|17.00|3.00|9|5", "c2|1|0.00|10.00|0|0", "c3|1|10.00|0.00|0|0"]
    );
    assert_eq!(
        day.rows("SELECT customer_id, order_days, all_refunded FROM buyers ORDER BY 1").await,
        ["c1|1|false", "c2|0|true", "c3|1|false"]
    );
    let day = shop.day("2026-11-11").await;
    assert_eq!(
        day.profile("amount_spent, refunded_amount, items_returned").await,
        ["13.00|7.00|6", "0.00|10.00|0", "0.00|10.00|0"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn local_days_have_23_and_25_hours() {
    let shop = Shop::new("Europe/Copenhagen");
    // 25 October 2026 is 25 hours long and ends at 23:00 UTC; 29 March 2026 is 23 hours long and ends at 22:00 UTC.
    shop.land(
        "orders",
        "order_id | ordered_at | total | customer_id
         m0 | 2026-03-28T22:59:59Z | 1 | c1
         m1 | 2026-03-28T23:00:00Z | 1 | c1
         m2 | 2026-03-29T21:59:59Z | 1 | c1
         m3 | 2026-03-29T22:00:00Z | 1 | c1
         o1 | 2026-10-24T22:00:00Z | 1 | c1
         o2 | 2026-10-25T22:59:59Z | 1 | c1
         o3 | 2026-10-25T23:00:00Z | 1 | c1",
    );
    let day = shop.day("2026-11-10").await;
    assert_eq!(
        day.rows("SELECT order_id, ordered_on FROM orders ORDER BY 1").await,
        [
            "m0|2026-03-28",
            "m1|2026-03-29",
            "m2|2026-03-29",
            "m3|2026-03-30",
            "o1|2026-10-25",
            "o2|2026-10-25",
            "o3|2026-10-26"
        ]
    );
    let orders = "number_of_orders, days_since_last_order";
    assert_eq!(shop.day("2026-03-28").await.profile(orders).await, ["1|0"]);
    assert_eq!(shop.day("2026-03-29").await.profile(orders).await, ["3|0"]);
    assert_eq!(shop.day("2026-10-25").await.profile(orders).await, ["6|0"]);
    assert_eq!(shop.day("2026-10-24").await.profile(orders).await, ["4|208"]);
    // Far from Greenwich.
    let shop = Shop::new("Pacific/Auckland");
    shop.land("orders", "order_id | ordered_at | total | customer_id\na | 2026-11-09T10:59:59Z | 1 | c1\nb | 2026-11-09T11:00:00Z | 1 | c1");
    assert_eq!(shop.day("2026-11-09").await.profile(orders).await, ["1|0"]);
    assert_eq!(shop.day("2026-11-12").await.profile(orders).await, ["2|2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_wait_for_their_order_for_some_days() {
    let mut shop = Shop::new("UTC");
    three_orders(&shop, "");
    shop.land("order_items/dt=2026-11-06/a.parquet", "order_id | product_id\nx | p1\nx | p2\na | p1")
        .land("order_items/dt=2026-11-07/a.parquet", "order_id | product_id\ny | p1\nb | p1")
        .land("order_items/z.parquet", "order_id | product_id\nz | p1");
    let day = shop.day("2026-11-10").await;
    assert_eq!(
        day.rejects(Table::OrderItems),
        ["a.parquet|0|x|order_id|order_not_landed|x", "a.parquet|1|x|order_id|order_not_landed|x"]
    );
    assert_eq!(day.landed.table(Table::OrderItems).rejected(), 2);
    assert_eq!(day.left_out("order_items", "order_not_landed"), 2, "y is on its way, and nobody knows how old z is");
    assert_eq!(day.rows("SELECT order_id FROM order_items ORDER BY 1").await, ["a", "b"]);
    assert!(shop.day("2026-11-09").await.rejects(Table::OrderItems).is_empty());
    shop.lookback_days = 2;
    assert_eq!(shop.day("2026-11-10").await.rejects(Table::OrderItems).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_rejected_order_are_counted_and_not_rejected() {
    let shop = Shop::new("UTC");
    shop.land(
        "orders",
        "order_id | ordered_at | total | customer_id
         good | 2026-11-01T00:00:00Z | 1 | c1
         bad | 2026-11-01T00:00:00Z | -1 | c1
         mended | 2026-11-01T00:00:00Z | -1 | c1
         mended | 2026-11-01T00:00:00Z | 1 | c1
         | 2026-11-01T00:00:00Z | 1 | c1",
    )
    .land("order_items/dt=2026-11-01/a.parquet", "order_id | product_id\ngood | p1\nbad | p1\nbad | p2\nmended | p1");
    let day = shop.day("2026-11-10").await;
    assert_eq!(day.rows("SELECT order_id FROM order_items ORDER BY 1").await, ["good", "mended"]);
    assert_eq!(day.left_out("order_items", "order_rejected"), 2);
    assert_eq!(day.left_out("order_items", "order_not_landed"), 0);
    assert!(
        day.rejects(Table::OrderItems).is_empty(),
        "the fault is the order's: {:?}",
        day.rejects(Table::OrderItems)
    );
}
