//! Every column of the customer profile (contract §3).

use std::collections::BTreeMap;

use crate::shop::{Day, Shop};

const DAY: &str = "2026-11-10";

/// Orders as `order | customer | at | total | more …`.
fn orders(shop: &Shop, more: &str, rows: &str) {
    shop.land("orders", &format!("order_id | customer_id | ordered_at | total{more}\n{rows}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn landed_attributes_and_contacts() {
    let mut shop = Shop::new("UTC");
    shop.contact_fields.insert("secret".into());
    shop.land(
        "customers",
        "customer_id | created_at | store | email | phone | name | first_name | last_name | gender | birthday | language | country | region | city | postal_code | address | latitude | longitude | registration_source | membership | tags | lists | secret
         c1 | 2026-01-01T00:00:00Z | dk | ' A@B.dk ' | 12 | N | F | L | f | 1980-02-29 | da | Denmark | 84 | Aarhus | 8000 | Vej 1 | 56.1 | 10.2 | web | gold | t1,t2 | l1 | shh",
    );
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_no, customer_id, created_at, store, gender, birthday, language, country, region, city, registration_source, membership, tags, lists, customer_email_domain").await,
        ["0|c1|2026-01-01T00:00:00Z|dk|f|1980-02-29|da|DK|84|Aarhus|web|gold|[t1, t2]|[l1]|b.dk"]
    );
    assert_eq!(
        day.rows("SELECT customer_id, name, first_name, last_name, email, phone, address, postal_code, latitude, longitude, secret FROM contacts").await,
        ["c1|N|F|L|A@B.dk|12|Vej 1|8000|56.1|10.2|shh"]
    );
    let schema = day.session.table("profile").await.unwrap();
    for contact in [
        "name",
        "first_name",
        "last_name",
        "email",
        "phone",
        "address",
        "postal_code",
        "latitude",
        "longitude",
        "secret",
    ] {
        assert!(schema.schema().field_with_unqualified_name(contact).is_err(), "{contact} is no profile column");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_domain_is_what_stands_after_the_at_sign() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | email\nc1 | A@Example.COM\nc2 | nonsense\nc3 | \"odd@local\"@b.dk\nc4 | a@\nc5 |",
    );
    assert_eq!(shop.day(DAY).await.profile("customer_email_domain").await, ["example.com", "-", "b.dk", "-", "-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_columns_over_counted_orders() {
    let shop = Shop::new("UTC");
    orders(
        &shop,
        " | status | refunded | discount | coupon_codes",
        "o1 | c1 | 2026-11-01T00:00:00Z | 10.00 | paid | | 1.50 | A,B
         o2 | c1 | 2026-11-01T12:00:00Z | 10.00 | paid | | 0.50 | [\"A\"]
         o3 | c1 | 2026-11-03T06:00:00Z | 0.01 | refunded | 0.01 | |
         o4 | c1 | 2026-11-09T00:00:00Z | 500.00 | cancelled | | 9 | C
         o5 | c1 | 2026-11-09T00:00:00Z | 500.00 | pending | | 9 | C
         o6 | c2 | 2026-11-10T23:59:59Z | 0 | paid | | |
         o7 | c3 | 2026-11-10T23:59:59Z | 5 | pending | | |",
    );
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, number_of_orders, amount_spent, highest_order_amount, first_order_date, last_order_date, days_since_last_order, discount_amount, refunded_amount, coupons_used, cancelled_orders").await,
        [
            "c1|3|20.00|10.00|2026-11-01T00:00:00Z|2026-11-03T06:00:00Z|7|2.00|0.01|3|1",
            "c2|1|0.00|0.00|2026-11-10T23:59:59Z|2026-11-10T23:59:59Z|0|0.00|0.00|0|0",
            "c3|0|0.00|-|-|-|-|0.00|0.00|0|0",
        ]
    );
    assert_eq!(
        day.profile("average_order_amount, average_days_between_orders").await,
        ["6.6667|1.125", "0.0000|-", "-|-"]
    );
    let types = "arrow_typeof(amount_spent), arrow_typeof(average_order_amount), arrow_typeof(highest_order_amount), arrow_typeof(number_of_orders), arrow_typeof(days_since_last_order), arrow_typeof(average_days_between_orders), arrow_typeof(coupons_used), arrow_typeof(rfm_recency), arrow_typeof(amount_spent_percentile)";
    assert_eq!(
        day.profile(types).await[0],
        "Decimal128(28, 2)|Decimal128(18, 4)|Decimal128(18, 2)|Int64|Int64|Float64|Int64|Int64|Float64"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn averages_round_half_away_from_zero() {
    let shop = Shop::new("UTC");
    // 0.13 / 8 = 0.01625; a refund of more than the total makes it negative.
    let mut rows = String::new();
    for order in 0..8 {
        let cents = if order == 0 { 13 } else { 0 };
        rows.push_str(&format!("a{order} | c1 | 2026-11-01T00:00:00Z | 0.{cents:02} | \nb{order} | c2 | 2026-11-01T00:00:00Z | 0.00 | 0.{cents:02}\n"));
    }
    orders(&shop, " | refunded", &rows);
    assert_eq!(
        shop.day(DAY).await.profile("average_order_amount, amount_spent, highest_order_amount").await,
        ["0.0163|0.13|0.13", "-0.0163|-0.13|0.00"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn items_favourites_and_their_ties() {
    let shop = Shop::new("UTC");
    orders(
        &shop,
        " | status",
        "o1 | c1 | 2026-11-01T00:00:00Z | 1 |
         o2 | c1 | 2026-11-02T00:00:00Z | 1 |
         o3 | c1 | 2026-11-03T00:00:00Z | 1 | cancelled
         o4 | c2 | 2026-11-01T00:00:00Z | 1 |",
    );
    shop.land(
        "order_items",
        "order_id | product_id | quantity:int | returned_quantity:int | category | brand
         o1 | p1 | 2 | 1 | tea | x
         o1 | p2 | | | coffee | x
         o2 | p1 | 1 | | coffee | y
         o2 | p3 | 9 | | |
         o2 | p4 | 2 | | milk | y
         o3 | p9 | 99 | 9 | sugar | z
         o4 | p1 | 1 | | b |
         o4 | p2 | 1 | | a |",
    );
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, items_bought, items_returned, categories_bought, products_bought, favorite_category, favorite_brand").await,
        // tea, coffee and milk: two each; coffee and milk on 2 November; coffee by name. x and y three each, y later.
        ["c1|15|1|3|4|coffee|y", "c2|2|0|2|2|a|-"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn event_windows_are_local_days() {
    let shop = Shop::new("Europe/Copenhagen");
    shop.land("customers", "customer_id\nc1\nc2");
    // Of 10 November: 30 days from 12 October (+2), 90 days from 13 August (+2).
    let mut text = "event_id | customer_id | type | occurred_at | machine:bool | rating:float".to_owned();
    let mut number = 0;
    let mut event = |kind: &str, at: &str, more: &str| {
        number += 1;
        text.push_str(&format!("\ne{number} | c1 | {kind} | {at} | {more}"));
    };
    for kind in ["page_viewed", "product_viewed"] {
        event(kind, "2026-10-11T21:59:59Z", " | ");
        event(kind, "2026-10-11T22:00:00Z", " | ");
        event(kind, "2026-11-10T22:59:59Z", " | ");
        event(kind, "2026-11-10T23:00:00Z", " | ");
    }
    for kind in ["email_opened", "email_clicked"] {
        event(kind, "2026-08-12T21:59:59Z", " | ");
        event(kind, "2026-08-12T22:00:00Z", "false | ");
        event(kind, "2026-10-01T10:00:00Z", "true | ");
        event(kind, "2026-11-10T22:59:59Z", " | ");
    }
    event("email_clicked", "2026-11-09T10:00:00Z", " | ");
    event("review_submitted", "2020-01-01T10:00:00Z", " | 3");
    event("review_submitted", "2026-11-01T10:00:00Z", " | 1");
    event("review_submitted", "2026-11-01T10:00:00Z", " | 3.5");
    event("review_submitted", "2026-11-01T10:00:00Z", " | ");
    event("gift_wrapped", "2026-11-10T22:59:59.5Z", " | ");
    shop.land("events", &text);
    assert_eq!(
        shop.day(DAY).await.profile("customer_id, page_views_30d, product_views_30d, email_opens_90d, email_clicks_90d, negative_reviews, last_seen_date").await,
        ["c1|2|2|2|3|2|2026-11-10T22:59:59Z", "c2|0|0|0|0|0|-"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn being_seen_is_one_of_six_events() {
    let kinds = ["page_viewed", "product_viewed", "category_viewed", "searched", "added_to_cart", "checkout_started"];
    let shop = Shop::new("UTC");
    let mut events = "event_id | occurred_at | type | customer_id".to_owned();
    let mut customers = "customer_id".to_owned();
    for (number, kind) in kinds.iter().chain(&["removed_from_cart", "email_opened", "wished"]).enumerate() {
        customers.push_str(&format!("\nc{number}"));
        events.push_str(&format!("\ne{number} | 2026-01-0{}T00:00:00Z | {kind} | c{number}", number + 1));
    }
    shop.land("customers", &customers).land("events", &events);
    let day = shop.day(DAY).await;
    let seen = day.rows("SELECT customer_id FROM profile WHERE last_seen_date IS NOT NULL ORDER BY 1").await;
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4", "c5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn carts_and_checkouts_are_abandoned_without_an_order_after() {
    let shop = Shop::new("UTC");
    let mut customers = "customer_id".to_owned();
    (1..=9).for_each(|number| customers.push_str(&format!("\nc{number}")));
    shop.land("customers", &customers).land(
        "events",
        "event_id | customer_id | type | occurred_at | product_id
         1 | c1 | added_to_cart | 2026-11-01T10:00:00Z | p1
         2 | c1 | added_to_cart | 2026-11-02T10:00:00Z | p2
         3 | c1 | removed_from_cart | 2026-11-02T11:00:00Z | p2
         4 | c2 | added_to_cart | 2026-11-02T10:00:00Z | p1
         5 | c3 | added_to_cart | 2026-11-02T10:00:00Z | p1
         6 | c4 | added_to_cart | 2026-11-02T10:00:00Z | p1
         7 | c5 | added_to_cart | 2026-11-02T10:00:00Z |
         8 | c5 | removed_from_cart | 2026-11-02T10:00:00Z |
         9 | c6 | added_to_cart | 2026-11-02T10:00:00Z | p1
         10 | c6 | removed_from_cart | 2026-11-02T11:00:00Z | p2
         11 | c6 | checkout_started | 2026-01-02T12:00:00Z |
         12 | c7 | checkout_started | 2026-11-02T12:00:00Z |
         13 | c8 | added_to_cart | 2026-01-02T10:00:00Z | p1
         14 | c8 | removed_from_cart | 2026-11-02T10:00:00Z | p1
         15 | c9 | added_to_cart | 2026-11-02T10:00:00Z | p1
         16 | c9 | removed_from_cart | 2026-11-01T10:00:00Z | p1",
    );
    orders(
        &shop,
        " | status",
        "o2 | c2 | 2026-11-02T10:00:00Z | 1 | paid
         o3 | c3 | 2026-11-02T09:59:59Z | 1 | paid
         o4 | c4 | 2026-11-03T10:00:00Z | 1 | cancelled
         o7 | c7 | 2026-11-03T10:00:00Z | 1 | pending",
    );
    assert_eq!(
        shop.day(DAY).await.profile("customer_id, abandoned_cart_date, abandoned_checkout_date").await,
        [
            "c1|2026-11-01T10:00:00Z|-",                    // the later one was taken out again
            "c2|-|-",                                       // an order at the same instant
            "c3|2026-11-02T10:00:00Z|-",                    // an order before
            "c4|2026-11-02T10:00:00Z|-",                    // an order that was cancelled
            "c5|2026-11-02T10:00:00Z|-",                    // removed at the same instant is not later
            "c6|2026-11-02T10:00:00Z|2026-01-02T12:00:00Z", // another product was removed
            "c7|-|-",                                       // any status counts
            "c8|-|-",
            "c9|2026-11-02T10:00:00Z|-",
        ]
    );
}

/// What the contract says of ranks, computed the plain way: by customer (percentile, recency, frequency, monetary).
fn scores(people: &[(&str, i64, i64, i64)]) -> Vec<String> {
    let n = people.len();
    let below = |value: i64, of: fn(&(&str, i64, i64, i64)) -> i64| people.iter().filter(|one| of(one) < value).count();
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let percent = |count: usize| if n == 1 { 0.0 } else { 100.0 * count as f64 / (n - 1) as f64 };
    let score = |count: usize| if n == 1 { 1 } else { 1 + (5 * count / (n - 1)).min(4) };
    people
        .iter()
        .map(|one| {
            let (r, f, m) = (below(one.1, |p| p.1), below(one.2, |p| p.2), below(one.3, |p| p.3));
            format!("{}|{:?}|{}|{}|{}", one.0, percent(m), score(r), score(f), score(m))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn percentiles_and_scores_with_ties() {
    // Customer, day of November of the last order, orders, euros.
    let people: Vec<(&str, i64, i64, i64)> = vec![
        ("a", 1, 1, 10),
        ("b", 1, 1, 10),
        ("c", 2, 2, 20),
        ("d", 3, 2, 20),
        ("e", 4, 3, 20),
        ("f", 5, 1, 70),
        ("g", 9, 6, 5),
    ];
    let shop = Shop::new("UTC");
    let mut rows = String::new();
    for (customer, day, count, euros) in &people {
        for order in 0..*count {
            let total = if order == 0 { *euros } else { 0 };
            // Same local day, other hours: equal recency.
            let hour = if *customer == "a" { 1 } else { 20 };
            rows.push_str(&format!("{customer}{order} | {customer} | 2026-11-{day:02}T{hour:02}:00:00Z | {total}\n"));
        }
    }
    orders(&shop, "", &rows);
    shop.land("customers", "customer_id\nz");
    let day = shop.day(DAY).await;
    let columns = "customer_id, amount_spent_percentile, rfm_recency, rfm_frequency, rfm_monetary";
    let mut wanted = scores(&people);
    wanted.push("z|-|-|-|-".into());
    assert_eq!(day.profile(columns).await, wanted);
    assert_eq!(day.rows("SELECT rfm_group FROM profile WHERE customer_id = 'z'").await, ["prospects"]);
    // One buyer.
    let shop = Shop::new("UTC");
    orders(&shop, "", "o1 | a | 2026-11-01T00:00:00Z | 1");
    assert_eq!(shop.day(DAY).await.profile(&format!("{columns}, rfm_group")).await, ["a|0.0|1|1|1|dormant"]);
}

/// Shopify's table, as the contract writes it.
fn group(r: i64, f: i64, m: i64) -> &'static str {
    let fm = (f + m + 1) / 2;
    match (r, fm) {
        (5, 4..) => "champions",
        (5 | 4, 3) => "active",
        (5, _) => "new",
        (4, 4..) => "loyal",
        (4, _) => "promising",
        (3, 5) => "loyal",
        (3, 3..) => "needs_attention",
        (3, _) => "promising",
        (2, 5) => "previously_loyal",
        (2, 3..) => "at_risk",
        (2, _) => "almost_lost",
        (_, 5) => "previously_loyal",
        (_, 4) => "at_risk",
        (_, 3) => "almost_lost",
        _ => "dormant",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rfm_groups_follow_the_table() {
    // Thirty buyers whose scores meet in many combinations: strides that are coprime to thirty.
    let shop = Shop::new("UTC");
    let mut rows = String::new();
    for buyer in 0_i64..60 {
        let (day, count, euros) = (1 + buyer * 7 % 9, 1 + buyer * 11 % 13, 1 + buyer * 17 % 60);
        for order in 0..count {
            let total = if order == 0 { euros } else { 0 };
            rows.push_str(&format!("{buyer}-{order} | b{buyer:02} | 2026-11-0{day}T00:00:00Z | {total}\n"));
        }
    }
    orders(&shop, "", &rows);
    let day = shop.day(DAY).await;
    let mut seen = BTreeMap::new();
    for row in day.profile("rfm_recency, rfm_frequency, rfm_monetary, rfm_group").await {
        let cells: Vec<&str> = row.split('|').collect();
        let [r, f, m] = [0, 1, 2].map(|cell| cells[cell].parse::<i64>().unwrap());
        assert_eq!(cells[3], group(r, f, m), "{row}");
        *seen.entry((r, (f + m + 1) / 2)).or_insert(0) += 1;
    }
    assert!(seen.len() >= 20, "most cells of the table are met: {seen:?}");
}

async fn consents(day: &Day) -> Vec<String> {
    day.profile("customer_id, email_subscription_status, email_reachable, sms_subscription_status, sms_reachable").await
}

#[tokio::test(flavor = "multi_thread")]
async fn consents_as_landed() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | email | phone | email_consent | sms_consent | email_valid:bool | phone_valid:bool
         c1 | a@b.dk | 1 | subscribed | subscribed | |
         c2 | | | subscribed | subscribed | |
         c3 | a@b.dk | 1 | unsubscribed | unsubscribed | true | true
         c4 | a@b.dk | 1 | pending | pending | |
         c5 | a@b.dk | 1 | never | never | |
         c6 | a@b.dk | 1 | | | |
         c7 | a@b.dk | 1 | subscribed | subscribed | false | false
         c8 | a@b.dk | 1 | unsubscribed | | false | false",
    );
    assert_eq!(
        consents(&shop.day(DAY).await).await,
        [
            "c1|subscribed|true|subscribed|true",
            "c2|subscribed|false|subscribed|false",
            "c3|unsubscribed|false|unsubscribed|false",
            "c4|pending|false|pending|false",
            "c5|not_subscribed|false|not_subscribed|false",
            "c6|not_subscribed|false|not_subscribed|false",
            "c7|invalid|false|invalid|false",
            "c8|invalid|false|invalid|false",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_a_consent_unless_it_is_later() {
    let shop = Shop::new("UTC");
    let mut customers = "customer_id | email | email_consent | email_consent_at".to_owned();
    let mut events = "event_id | customer_id | type | occurred_at | bounce".to_owned();
    let mut number = 0;
    let mut case = |consent: &str, at: &str, kind: &str, bounce: &str| {
        number += 1;
        customers.push_str(&format!("\nc{number:02} | a@b.dk | {consent} | {at}"));
        events.push_str(&format!("\ne{number} | c{number:02} | {kind} | 2026-11-05T10:00:00Z | {bounce}"));
    };
    let (before, same, after) = ("2026-11-01T00:00:00Z", "2026-11-05T10:00:00Z", "2026-11-06T00:00:00Z");
    case("subscribed", before, "email_unsubscribed", "");
    case("subscribed", "", "email_marked_as_spam", "");
    case("subscribed", same, "email_unsubscribed", "");
    case("subscribed", after, "email_unsubscribed", "");
    case("pending", before, "email_unsubscribed", "");
    case("never", before, "email_unsubscribed", "");
    case("subscribed", before, "email_bounced", "hard");
    case("subscribed", before, "email_bounced", "soft");
    case("subscribed", after, "email_bounced", "hard");
    case("unsubscribed", after, "email_bounced", "hard");
    case("never", "", "email_bounced", "hard");
    case("subscribed", before, "email_bounced", "");
    shop.land("customers", &customers).land("events", &events);
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("email_subscription_status, email_reachable").await,
        [
            "unsubscribed|false",
            "unsubscribed|false",
            "unsubscribed|false",
            "subscribed|true",
            "unsubscribed|false",
            "not_subscribed|false",
            "invalid|false",
            "subscribed|true",
            "subscribed|true",
            "invalid|false",
            "invalid|false",
            "subscribed|true",
        ]
    );
    // The event is not visible yet.
    assert_eq!(shop.day("2026-11-04").await.profile("email_subscription_status").await[0], "subscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_version_that_becomes_subscribed_is_an_opt_in() {
    let shop = Shop::new("UTC");
    let version = |path: &str, rows: &str| {
        shop.land(
            &format!("customers/dt={path}/a.parquet"),
            &format!("customer_id | email | city | email_consent\n{rows}"),
        );
    };
    version(
        "2026-11-01",
        "c1 | a@b.dk | A | subscribed\nc2 | a@b.dk | A | subscribed\nc3 | a@b.dk | A |\nc4 | a@b.dk | A | unsubscribed\nc5 | a@b.dk | A | never",
    );
    version(
        "2026-11-06",
        "c1 | a@b.dk | B | subscribed\nc2 | a@b.dk | B | unsubscribed\nc3 | a@b.dk | B | subscribed\nc4 | a@b.dk | B | pending\nc5 | a@b.dk | B | subscribed",
    );
    version("2026-11-08", "c1 | a@b.dk | C | subscribed\nc2 | a@b.dk | C | subscribed\nc4 | a@b.dk | C | subscribed");
    let mut events = "event_id | customer_id | type | occurred_at".to_owned();
    for customer in 1..=5 {
        events.push_str(&format!("\ne{customer} | c{customer} | email_unsubscribed | 2026-11-05T10:00:00Z"));
    }
    events.push_str("\ne9 | c5 | email_marked_as_spam | 2026-11-07T10:00:00Z");
    shop.land("events", &events);
    let status = "email_subscription_status";
    assert_eq!(
        shop.day(DAY).await.profile(status).await,
        ["unsubscribed", "subscribed", "subscribed", "subscribed", "unsubscribed"]
    );
    // Before the versions of the 8th: pending is no opt-in, and was ended.
    assert_eq!(
        shop.day("2026-11-07").await.profile(status).await,
        ["unsubscribed", "unsubscribed", "subscribed", "unsubscribed", "unsubscribed"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscribed_date_of_who_is_subscribed() {
    let shop = Shop::new("UTC");
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    shop.land(
        "customers",
        &format!(
            "customer_id | email | email_consent | email_consent_at | email_subscribed_at
             c1 | a@b.dk | subscribed | {second} | {first}
             c2 | a@b.dk | subscribed | {second} |
             c3 | a@b.dk | unsubscribed | {second} |
             c4 | a@b.dk | unsubscribed | {second} | {first}
             c5 | a@b.dk | subscribed | {second} |"
        ),
    )
    .land("events", "event_id | customer_id | type | occurred_at\ne5 | c5 | email_unsubscribed | 2026-03-01T00:00:00Z");
    assert_eq!(
        shop.day(DAY).await.profile("email_subscribed_date").await,
        ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "-", "2026-01-01T00:00:00Z", "-"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn buyers_have_their_order_days() {
    let mut shop = Shop::new("Europe/Copenhagen");
    orders(
        &shop,
        " | status | recurring:bool | refunded",
        "o1 | c1 | 2026-11-01T10:00:00Z | 10 | | |
         o2 | c1 | 2026-11-01T22:59:00Z | 5 | | true |
         o3 | c1 | 2026-11-01T23:00:00Z | 5 | | true | 1
         o4 | c1 | 2026-11-05T10:00:00Z | 5 | refunded | |
         o5 | c1 | 2026-11-06T10:00:00Z | 5 | cancelled | |
         o6 | c2 | 2026-11-06T10:00:00Z | 5 | refunded | |
         o7 | c3 | 2026-11-06T10:00:00Z | 5 | pending | |
         o8 | c4 | 2026-11-06T10:00:00Z | 0 | | |
         o9 | c5 | 2026-11-06T10:00:00Z | 0 | refunded | |",
    );
    let buyers =
        "SELECT customer_id, order_days, first_order_on, last_order_on, spend, all_refunded FROM buyers ORDER BY 1";
    assert_eq!(
        shop.day(DAY).await.rows(buyers).await,
        [
            "c1|2|2026-11-01|2026-11-02|19.00|false",
            "c2|0|-|-|0.00|true",
            "c4|1|2026-11-06|2026-11-06|0.00|false",
            "c5|0|-|-|0.00|true"
        ]
    );
    shop.ignore_renewals = true;
    assert_eq!(shop.day(DAY).await.rows(buyers).await[0], "c1|1|2026-11-01|2026-11-01|10.00|false");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_their_customers_number() {
    let mut shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | created_at | deleted_at
         c1 | 2026-01-01T00:00:00Z |
         c2 | 2026-01-01T00:00:00Z | 2026-02-01T00:00:00Z
         c3 | 2026-01-01T00:00:00Z |",
    )
    .land("identities", "anonymous_id | customer_id | linked_at\nv1 | c3 | 2026-11-01T00:00:00Z")
    .land(
        "events",
        "event_id | occurred_at | type | customer_id | anonymous_id | product_id
         e1 | 2026-11-01T00:00:01Z | product_viewed | c1 | | p1
         e2 | 2026-11-01T00:00:02Z | email_sent | | v1 |
         e3 | 2026-11-01T00:00:03Z | product_viewed | | v9 | p1
         e4 | 2026-11-01T00:00:04Z | product_viewed | c2 | | p1
         e5 | 2026-11-01T00:00:05Z | product_viewed | c3 | v9 | p2
         e5 | 2026-11-01T00:00:06Z | product_viewed | c3 | v9 | p3",
    );
    let day = shop.day(DAY).await;
    let columns = "customer_no, occurred_at, type, product_id";
    let expected = [
        "0|2026-11-01T00:00:01Z|product_viewed|p1",
        "1|2026-11-01T00:00:02Z|email_sent|-",
        "1|2026-11-01T00:00:06Z|product_viewed|p3",
    ];
    assert_eq!(day.rows(&format!("SELECT {columns} FROM events_owned ORDER BY occurred_at")).await, expected);
    assert_eq!(day.rows("SELECT event_id FROM events_owned ORDER BY 1").await, ["e1", "e2", "e5"]);
    assert_eq!((day.left_out("events", "visitor_never_linked"), day.left_out("events", "customer_left_out")), (1, 1));

    // The columns that somebody asks for are kept, whatever else the events have.
    shop.event_columns = Some(["type", "product_id", "occurred_at", "no_such"].map(str::to_owned).into());
    let kept = shop.day(DAY).await;
    let owned = format!("SELECT {columns} FROM events_owned WHERE customer_no");
    assert_eq!(kept.rows(&format!("{owned} >= 0 ORDER BY occurred_at")).await, expected);
    let of_nobody = ["-2|2026-11-01T00:00:03Z|product_viewed|p1", "-1|2026-11-01T00:00:04Z|product_viewed|p1"];
    assert_eq!(kept.rows(&format!("{owned} < 0 ORDER BY occurred_at")).await, of_nobody);
    assert!(
        kept.session.table("events_owned").await.unwrap().schema().field_with_unqualified_name("event_id").is_err()
    );
    assert_eq!(
        kept.profile("customer_id, product_views_30d").await,
        day.profile("customer_id, product_views_30d").await
    );
}
