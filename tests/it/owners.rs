//! Whose order it is, who is whom, what counts, and in which money (contract §2).

use alluvial::schema::landed::Table;

use crate::shop::Shop;

const DAY: &str = "2026-11-10";

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_its_customers_else_the_addresss_else_a_guests() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | email | phone | created_at
         c1 | Anna@Example.com | | 2026-01-02T00:00:00Z
         c2 | anna@example.com | 111 | 2026-01-01T00:00:00Z
         c3 | b@example.com | 111 | 2026-01-03T00:00:00Z
         c4 | late@example.com | | 2026-11-20T00:00:00Z",
    )
    .land(
        "orders",
        "order_id | ordered_at | total | customer_id | email | phone
         o1 | 2026-11-01T10:00:00Z | 1 | c1 | b@example.com |
         o2 | 2026-11-01T10:00:00Z | 1 | | ' ANNA@example.COM ' |
         o3 | 2026-11-01T10:00:00Z | 1 | '' | | 111
         o4 | 2026-11-01T10:00:00Z | 1 | 0 | nobody@example.com | 111
         o5 | 2026-11-01T10:00:00Z | 1 | | Guest@Example.com | 999
         o6 | 2026-11-02T10:00:00Z | 1 | | guest@example.com |
         o7 | 2026-11-01T10:00:00Z | 1 | | | 222
         o8 | 2026-11-01T10:00:00Z | 1 | | |
         o9 | 2026-11-01T10:00:00Z | 1 | c9 | |
         o10 | 2026-11-03T10:00:00Z | 1 | | late@example.com |",
    );
    let day = shop.day(DAY).await;
    let owner = "CASE WHEN starts_with(customer_id, 'guest:') THEN 'guest' ELSE customer_id END";
    assert_eq!(
        day.rows(&format!("SELECT order_id, {owner} FROM orders ORDER BY length(order_id), order_id")).await,
        ["o1|c1", "o2|c2", "o3|c2", "o4|c2", "o5|guest", "o6|guest", "o7|guest", "o9|c9", "o10|guest"]
    );
    assert_eq!(day.left_out("orders", "no_customer"), 1);
    let guests = day.rows("SELECT customer_id, email, phone FROM contacts WHERE starts_with(customer_id, 'guest:') ORDER BY email NULLS LAST").await;
    assert_eq!(guests.len(), 3);
    assert!(guests[0].ends_with("|guest@example.com|999"), "the latest order that has the value: {guests:?}");
    assert!(guests[2].ends_with("|-|222"));
    // From the day of the account on, the guest is the account's.
    let day = shop.day("2026-11-20").await;
    assert_eq!(day.rows("SELECT customer_id FROM orders WHERE order_id = 'o10'").await, ["c4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_id_is_a_keyed_hash_of_the_address() {
    use hmac::{Hmac, KeyInit, Mac};
    let shop = Shop::new("UTC");
    shop.land("orders", "order_id | ordered_at | total | email\no1 | 2026-11-01T10:00:00Z | 1 | Guest@Example.com");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"a lake's key").unwrap();
    mac.update(b"guest@example.com");
    let id = format!("guest:{}", &hex::encode(mac.finalize().into_bytes())[..16]);
    assert_eq!(shop.day(DAY).await.profile("customer_id").await, [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_a_deleted_customer_goes_to_the_living_one() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | email | created_at | deleted_at
         c1 | a@b.dk | 2026-01-01T00:00:00Z | 2026-02-01T00:00:00Z
         c2 | a@b.dk | 2026-03-01T00:00:00Z |
         c3 | gone@b.dk | 2026-01-01T00:00:00Z | 2026-02-01T00:00:00Z",
    )
    .land(
        "orders",
        "order_id | ordered_at | total | email
         o1 | 2026-11-01T10:00:00Z | 1 | a@b.dk
         o2 | 2026-01-10T10:00:00Z | 1 | gone@b.dk",
    );
    let day = shop.day(DAY).await;
    assert_eq!(day.profile("customer_id, number_of_orders").await, ["c2|1"], "nobody deleted comes back as a guest");
    assert_eq!(day.left_out("orders", "customer_left_out"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_merge_customers_and_visitors() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | email | city | created_at
         a | a@b.dk | A | 2026-01-01T00:00:00Z
         b | b@b.dk | B | 2026-01-02T00:00:00Z
         c | c@b.dk | C | 2026-01-03T00:00:00Z
         x | x@b.dk | X | 2026-01-01T00:00:00Z
         y | y@b.dk | Y | 2026-01-01T00:00:00Z
         s | s@b.dk | S | 2026-01-01T00:00:00Z
         t | t@b.dk | T | 2026-01-01T00:00:00Z",
    )
    .land(
        "identities",
        "anonymous_id | customer_id | linked_at
         a | b | 2026-05-01T00:00:00Z
         b | c | 2026-06-01T00:00:00Z
         v1 | a | 2026-07-01T00:00:00Z
         v2 | x | 2026-07-01T00:00:00Z
         v2 | y | 2026-08-01T00:00:00Z
         v2 | x | 2026-11-11T00:00:00Z
         x | y | 2026-07-01T00:00:00Z
         y | x | 2026-08-01T00:00:00Z
         s | t | 2026-07-01T00:00:00Z
         s | s | 2026-08-01T00:00:00Z",
    )
    .land(
        "orders",
        "order_id | ordered_at | total | customer_id | email
         o1 | 2026-11-01T10:00:00Z | 1 | a |
         o2 | 2026-11-01T10:00:00Z | 2 | b |
         o3 | 2026-11-01T10:00:00Z | 4 | | a@b.dk
         o4 | 2026-11-01T10:00:00Z | 8 | y |
         o5 | 2026-11-01T10:00:00Z | 16 | s |",
    )
    .land(
        "events",
        "event_id | occurred_at | type | customer_id | anonymous_id
         e1 | 2026-11-01T10:00:00Z | page_viewed | a |
         e2 | 2026-11-01T10:00:00Z | page_viewed | | v1
         e3 | 2026-11-01T10:00:00Z | page_viewed | | v2
         e4 | 2026-11-01T10:00:00Z | page_viewed | | b
         e5 | 2026-11-01T10:00:00Z | page_viewed | | v3",
    );
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, city, amount_spent, page_views_30d").await,
        // A chain ends at its last customer; in a circle the latest link stands (y into x); a link to itself undoes one.
        ["c|C|7.00|3", "s|S|16.00|0", "t|T|0.00|0", "x|X|8.00|1"]
    );
    assert_eq!(day.left_out("events", "visitor_never_linked"), 1);
    // Before the merges.
    let day = shop.day("2026-06-30").await;
    assert_eq!(day.profile("customer_id").await, ["c", "s", "t", "x", "y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_reaches_customers_that_were_never_landed() {
    let shop = Shop::new("UTC");
    shop.land("customers", "customer_id | city | created_at\nold | A | 2026-01-01T00:00:00Z\nfuture | F | 2026-11-20T00:00:00Z\npast | P | 2026-01-01T00:00:00Z")
        .land(
            "identities",
            "anonymous_id | customer_id | linked_at\nold | new | 2026-05-01T00:00:00Z\npast | future | 2026-05-01T00:00:00Z",
        )
        .land("orders", "order_id | ordered_at | total | customer_id\no1 | 2026-11-01T10:00:00Z | 1 | old");
    let day = shop.day(DAY).await;
    // Who exists does not cease to when it is linked to an account that is made later.
    assert_eq!(day.profile("customer_id, number_of_orders").await, ["future|0", "new|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_before_the_link_count_too() {
    let shop = Shop::new("UTC");
    shop.land("customers", "customer_id | created_at\nc1 | 2026-01-01T00:00:00Z")
        .land("identities", "anonymous_id | customer_id | linked_at\nv1 | c1 | 2026-11-09T00:00:00Z")
        .land(
            "events",
            "event_id | occurred_at | type | anonymous_id\ne1 | 2026-11-01T10:00:00Z | product_viewed | v1",
        );
    assert_eq!(shop.day(DAY).await.profile("product_views_30d").await, ["1"]);
    let before = shop.day("2026-11-08").await;
    assert_eq!(before.profile("product_views_30d").await, ["0"]);
    assert_eq!(before.left_out("events", "visitor_never_linked"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_orders_are_paid_refunded_and_what_is_set() {
    let mut shop = Shop::new("UTC");
    let mut text = "order_id | ordered_at | total | customer_id | status | test:bool".to_owned();
    for (number, status) in ["paid", "", "refunded", "partially_refunded", "pending", "cancelled"].iter().enumerate() {
        text.push_str(&format!("\no{number} | 2026-11-01T10:00:00Z | 10 | c1 | {status} | "));
    }
    text.push_str(
        "\nt1 | 2026-11-01T10:00:00Z | 10 | c1 | paid | true\nt2 | 2026-11-01T10:00:00Z | 10 | c2 | paid | true",
    );
    shop.land("orders", &text);
    let columns = "customer_id, number_of_orders, amount_spent, refunded_amount, cancelled_orders";
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile(columns).await,
        ["c1|4|30.00|10.00|1"],
        "a refunded order without an amount is refunded whole"
    );
    assert_eq!(day.left_out("orders", "test"), 2);
    assert_eq!((day.profiled.orders, day.profiled.buyers), (6, 1));
    assert_eq!(
        day.rows("SELECT order_id, is_counted, status, net_amount FROM orders ORDER BY 1").await,
        [
            "o0|true|paid|10.00",
            "o1|true|paid|10.00",
            "o2|true|refunded|0.00",
            "o3|true|partially_refunded|10.00",
            "o4|false|pending|10.00",
            "o5|false|cancelled|10.00"
        ]
    );
    shop.counted.push("pending".into());
    assert_eq!(shop.day(DAY).await.profile(columns).await, ["c1|5|40.00|10.00|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_customers_are_left_out_and_counted() {
    let mut shop = Shop::new("UTC");
    shop.exclude = Some("SELECT customer_id FROM landed_customers WHERE membership = 'staff'".into());
    shop.land("customers", "customer_id | membership | email\nc1 | staff | a@b.dk\nc2 | gold |\nc3 | |")
        .land("orders", "order_id | ordered_at | total | customer_id | email\no1 | 2026-11-01T10:00:00Z | 1 | c1 |\no2 | 2026-11-01T10:00:00Z | 1 | | a@b.dk\no3 | 2026-11-01T10:00:00Z | 1 | c2 |")
        .land("order_items", "order_id | product_id\no1 | p\no3 | p")
        .land("events", "event_id | occurred_at | type | customer_id\ne1 | 2026-11-01T10:00:00Z | searched | c1");
    let day = shop.day(DAY).await;
    assert_eq!(day.profile("customer_id, number_of_orders").await, ["c2|1", "c3|0"]);
    assert_eq!(day.profiled.customers, 2);
    let left = [
        day.left_out("customers", "excluded"),
        day.left_out("orders", "customer_left_out"),
        day.left_out("order_items", "order_left_out"),
        day.left_out("events", "customer_left_out"),
    ];
    assert_eq!(left, [1, 2, 1, 1]);
    assert_eq!(day.rows("SELECT count(*) FROM contacts").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_converted_with_the_rate_of_the_orders_local_day() {
    let shop = Shop::new("Europe/Copenhagen");
    shop.land(
        "rates",
        "date | currency | rate
         2026-11-01 | SEK | 0.10
         2026-11-05 | sek | 0.115
         2026-11-20 | SEK | 9
         1999-01-01 | GBP | 1.5
         2026-11-01 | EUR | 7",
    )
    .land(
        "orders",
        "order_id | ordered_at | total | customer_id | currency | refunded | discount
         o1 | 2026-11-04T22:59:59Z | 10.00 | c1 | sek | | 1
         o2 | 2026-11-04T23:00:00Z | 10.00 | c2 | SEK | | 1
         o3 | 2026-11-09T10:00:00Z | 10.05 | c3 | SEK | 0.05 |
         o4 | 2026-11-09T10:00:00Z | 10.00 | c4 | GBP | |
         o5 | 2026-11-09T10:00:00Z | 10.00 | c5 | EUR | |
         o6 | 2026-11-09T10:00:00Z | 10.00 | c6 | | |
         o7 | 2026-10-31T10:00:00Z | 10.00 | c7 | SEK | |
         o8 | 2026-11-09T10:00:00Z | 10.00 | c8 | USD | |
         o9 | 2026-12-24T10:00:00Z | 10.00 | c9 | SEK | |",
    )
    .land("order_items", "order_id | product_id | unit_price\no1 | p1 | 10\no1 | p2 |\no6 | p2 | ")
    .land("products", "product_id | price\np1 | 3\np2 | 3");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, amount_spent, refunded_amount, discount_amount").await,
        [
            "c1|1.00|0.00|0.10",
            "c2|1.15|0.00|0.12", // 0.115, half away from zero
            "c3|1.15|0.01|0.00", // 1.15575 and 0.00575, each rounded before they are subtracted
            "c4|15.00|0.00|0.00",
            "c5|10.00|0.00|0.00", // the shop's own currency is never converted
            "c6|10.00|0.00|0.00"
        ]
    );
    let rejects = day.rejects(Table::Orders);
    assert_eq!(rejects, ["part.parquet|6|o7|currency|no_rate|SEK", "part.parquet|7|o8|currency|no_rate|USD"]);
    // The product's price is in the shop's currency already.
    assert_eq!(
        day.rows("SELECT order_id, product_id, unit_price FROM order_items ORDER BY 1, 2").await,
        ["o1|p1|1.0000", "o1|p2|3.0000", "o6|p2|3.0000"]
    );
    // A backfilled day does not take the orders that are to come for faulty ones.
    assert_eq!(shop.day("2026-11-05").await.rejects(Table::Orders).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_currencies_and_no_rates_stop_the_day() {
    let shop = Shop::new("UTC");
    shop.land("orders", "order_id | ordered_at | total | currency\no1 | 2026-11-01T10:00:00Z | 1 | EUR\no2 | 2026-11-01T10:00:00Z | 1 | SEK");
    let error = shop.try_day(DAY).await.err().unwrap();
    assert_eq!(error.code(), "land.no_rates");
    assert!(error.message().contains("SEK") && error.hint().unwrap().contains("rates"));
    // One currency in any spelling needs none.
    let mut shop = Shop::new("UTC");
    shop.currency = "eur".into();
    shop.land("orders", "order_id | ordered_at | total | currency | customer_id\no1 | 2026-11-01T10:00:00Z | 1 | eur | c\no2 | 2026-11-01T10:00:00Z | 1 | EUR | c");
    assert_eq!(shop.day(DAY).await.profile("amount_spent").await, ["2.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_take_from_the_products_what_they_lack() {
    let shop = Shop::new("UTC");
    shop.land("orders", "order_id | ordered_at | total | customer_id\no1 | 2026-11-01T10:00:00Z | 1 | c1")
        .land("order_items", "order_id | product_id | title | category | labels:list\no1 | p1 | own | | x\no1 | p2 | | |\no1 | p3 | | |")
        .land("products", "product_id | title | category | brand | labels | collections | price\np1 | P1 | cat | b | l,m | k | 2.5\np2 | P2 | | b | l,m | |");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.rows("SELECT product_id, title, category, brand, labels, collections, unit_price, quantity FROM order_items ORDER BY 1").await,
        ["p1|own|cat|b|[x]|[k]|2.5000|1", "p2|P2|-|b|[l, m]|-|-|1", "p3|-|-|-|-|-|-|1"]
    );
}
