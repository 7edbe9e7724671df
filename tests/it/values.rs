//! How landed values are read (contract §2, "Reading values").

use alluvial::schema::landed::Table;

use crate::shop::Shop;

const DAY: &str = "2026-11-10";

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_of_every_unit_and_zone() {
    let shop = Shop::new("Europe/Copenhagen");
    // A zoned timestamp is converted; one without a zone is UTC.
    for (number, kind) in
        ["s", "ms", "us", "ns", "s@UTC", "ms@+02:00", "us@Europe/Copenhagen", "ns@America/New_York"].iter().enumerate()
    {
        shop.land(
            &format!("orders/{number}.parquet"),
            &format!("order_id | ordered_at:{kind} | total\no{number} | 2026-07-01T10:00:00 | 1"),
        );
    }
    let day = shop.day(DAY).await;
    assert_eq!(
        day.rows("SELECT order_id, ordered_at FROM landed_orders ORDER BY 1").await,
        [
            "o0|2026-07-01T10:00:00Z",
            "o1|2026-07-01T10:00:00Z",
            "o2|2026-07-01T10:00:00Z",
            "o3|2026-07-01T10:00:00Z",
            "o4|2026-07-01T10:00:00Z",
            "o5|2026-07-01T08:00:00Z",
            "o6|2026-07-01T08:00:00Z",
            "o7|2026-07-01T14:00:00Z",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn text_times_are_rfc_3339_and_dates_are_local_day_starts() {
    let shop = Shop::new("Europe/Copenhagen");
    shop.land(
        "orders/1.parquet",
        "order_id | ordered_at | total
         o1 | 2026-07-01T10:00:00+02:00 | 1
         o2 | 2026-07-01T10:00:00.123456Z | 1
         o3 | 2026-07-01 | 1
         o4 | 2026-07-01T10:00:00 | 1
         o5 | 01/07/2026 | 1",
    )
    // On the day that summer time begins the local day starts an hour east of UTC, on the day after two.
    .land("orders/2.parquet", "order_id | ordered_at:date | total\nd1 | 2026-03-29 | 1\nd2 | 2026-03-30 | 1");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.rows("SELECT order_id, ordered_at FROM landed_orders ORDER BY 1").await,
        [
            "d1|2026-03-28T23:00:00Z",
            "d2|2026-03-29T22:00:00Z",
            "o1|2026-07-01T08:00:00Z",
            "o2|2026-07-01T10:00:00.123456Z",
            "o3|2026-06-30T22:00:00Z",
        ]
    );
    let rejects = day.rejects(Table::Orders);
    assert_eq!(
        rejects,
        [
            "1.parquet|3|o4|ordered_at|unparsable_time|2026-07-01T10:00:00",
            "1.parquet|4|o5|ordered_at|unparsable_time|01/07/2026"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_calendar_has_are_faulty() {
    let shop = Shop::new("UTC");
    // Ten million million seconds are 317,000 years: more than microseconds can hold.
    shop.land("orders/1.parquet", "order_id | ordered_at:seconds | total\no1 | 10000000000000 | 1\no2 | 1 | 1");
    let day = shop.day(DAY).await;
    assert_eq!(day.rows("SELECT order_id FROM landed_orders").await, ["o2"]);
    assert_eq!(day.landed.table(Table::Orders).rejected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_any_decimal_float_integer_or_text() {
    let shop = Shop::new("UTC");
    for (number, (kind, value)) in [
        ("dec(18,2)", "12.34"),
        ("dec(38,6)", "12.345000"),
        ("dec(9,1)", "12.3"),
        ("float", "12.345"),
        ("float32", "12.5"),
        ("int", "12"),
        ("int32", "12"),
        ("text", " 12.34 "),
        ("dict", "12.34"),
    ]
    .iter()
    .enumerate()
    {
        shop.land(
            &format!("orders/{number}.parquet"),
            &format!(
                "order_id | ordered_at | total:{kind} | tax:{kind}\no{number} | 2026-11-01T10:00:00Z | {value} | "
            ),
        );
    }
    let day = shop.day(DAY).await;
    assert_eq!(
        day.rows("SELECT total FROM landed_orders ORDER BY order_id").await,
        ["12.34", "12.35", "12.30", "12.35", "12.50", "12.00", "12.00", "12.34", "12.34"]
    );
    assert_eq!(day.rows("SELECT arrow_typeof(total) FROM landed_orders LIMIT 1").await, ["Decimal128(18, 2)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_do_not_fit_are_faulty() {
    let shop = Shop::new("UTC");
    let wide = "99999999999999999";
    shop.land("orders/1.parquet", &format!("order_id | ordered_at | total:int\no1 | 2026-11-01T10:00:00Z | {wide}"))
        .land(
            "orders/2.parquet",
            &format!("order_id | ordered_at | total:dec(30,2)\no2 | 2026-11-01T10:00:00Z | {wide}"),
        )
        .land("orders/3.parquet", "order_id | ordered_at | total:float\no3 | 2026-11-01T10:00:00Z | NaN")
        .land("orders/4.parquet", "order_id | ordered_at | total:float\no4 | 2026-11-01T10:00:00Z | inf");
    let day = shop.day(DAY).await;
    let rules: Vec<String> =
        day.landed.rejects.iter().map(|reject| format!("{} {}", reject.key.clone().unwrap(), reject.rule)).collect();
    assert_eq!(rules, ["o1 unparsable_number", "o2 unparsable_number", "o3 unparsable_number", "o4 unparsable_number"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_strings_whatever_they_were() {
    let shop = Shop::new("UTC");
    for (number, (kind, value)) in [
        ("int", "42"),
        ("int32", "42"),
        ("uint64", "42"),
        ("float", "42"),
        ("dec(38,0)", "42"),
        ("text", "  42 "),
        ("large", "42"),
        ("dict", "42"),
    ]
    .iter()
    .enumerate()
    {
        shop.land(
            &format!("orders/{number}.parquet"),
            &format!(
                "order_id | ordered_at | total | customer_id:{kind}\no{number} | 2026-11-01T10:00:00Z | 1 | {value}"
            ),
        );
    }
    // A missing number in a float column is NaN in some exports.
    shop.land(
        "orders/nan.parquet",
        "order_id | ordered_at | total | customer_id:float\nnan | 2026-11-01T10:00:00Z | 1 | NaN",
    );
    let day = shop.day(DAY).await;
    assert_eq!(day.profile("customer_id, number_of_orders").await, ["42|8"]);
    assert_eq!(day.left_out("orders", "no_customer"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_trimmed_and_blank_is_null() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | city | region:null | gender:int | language:dict\n ' c1 ' | ' Århus ' | | 1 | da\nc2 | '  ' | | | ''",
    );
    let day = shop.day(DAY).await;
    assert_eq!(day.profile("customer_id, city, region, gender, language").await, ["c1|Århus|-|1|da", "c2|-|-|-|-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_from_lists_json_and_commas() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers/1.parquet",
        "customer_id | tags | lists:list
         c1 | [\"a\", \"b, c\", 3, null, \" d \"] | x; y
         c2 | a, b ,,c |
         c3 | [] |
         c4 | | ",
    )
    .land("customers/2.parquet", "customer_id | lists:ints\nc5 | 1;2");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, tags, lists").await,
        ["c1|[a, b, c, 3, d]|[x, y]", "c2|[a, b, c]|[]", "c3|[]|[]", "c4|[]|[]", "c5|[]|[1, 2]"]
    );
    assert_eq!(day.profile("cardinality(tags)").await, ["4", "3", "0", "0", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn countries_become_alpha_2_and_what_cannot_is_told() {
    let shop = Shop::new("UTC");
    let names = [
        ("dk", "DK"),
        ("DNK", "DK"),
        ("Denmark", "DK"),
        ("united states", "US"),
        ("United States of America", "US"),
        ("UK", "GB"),
        ("Great Britain", "GB"),
        ("Russia", "RU"),
        ("South Korea", "KR"),
        ("Czech Republic", "CZ"),
        ("Vietnam", "VN"),
        ("Turkey", "TR"),
        ("The Netherlands", "NL"),
        ("Côte d'Ivoire", "CI"),
        ("Atlantis", "Atlantis"),
    ];
    let mut text = "customer_id | country".to_owned();
    for (number, (name, _)) in names.iter().enumerate() {
        text.push_str(&format!("\nc{number:02} | {name}"));
    }
    shop.land("customers", &text);
    let day = shop.day(DAY).await;
    let wanted: Vec<&str> = names.iter().map(|(_, code)| *code).collect();
    assert_eq!(day.profile("country").await, wanted);
    let told: Vec<&String> = day.landed.warnings.iter().filter(|told| told.contains("country")).collect();
    assert!(told.len() == 1 && told[0].contains("`Atlantis`"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_go_through_the_alias_map() {
    let mut shop = Shop::new("UTC");
    shop.status_aliases.insert("Klar-til afhentning".into(), "paid".into());
    let known = [
        ("Completed", "paid"),
        ("processing", "paid"),
        ("fulfilled", "paid"),
        ("authorized", "paid"),
        ("partially_paid", "paid"),
        ("PAID", "paid"),
        ("on-hold", "pending"),
        ("On Hold", "pending"),
        ("draft", "pending"),
        ("voided", "cancelled"),
        ("failed", "cancelled"),
        ("expired", "cancelled"),
        ("canceled", "cancelled"),
        ("cancelled", "cancelled"),
        ("refunded", "refunded"),
        ("partially refunded", "partially_refunded"),
        ("klar til afhentning", "paid"),
        ("", "-"),
    ];
    let mut text = "order_id | ordered_at | total | status".to_owned();
    for (number, (status, _)) in known.iter().enumerate() {
        text.push_str(&format!("\no{number:02} | 2026-11-01T10:00:00Z | 1 | {status}"));
    }
    shop.land("orders", &text);
    let day = shop.day(DAY).await;
    let wanted: Vec<&str> = known.iter().map(|(_, status)| *status).collect();
    assert_eq!(day.rows("SELECT status FROM landed_orders ORDER BY order_id").await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn consents_are_read_in_any_case() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | email_consent | sms_consent | email_valid | phone_valid:int\nc1 | SUBSCRIBED | opted in | true | 1\nc2 | Never | | no | 0",
    );
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("email_subscription_status, sms_subscription_status").await,
        ["subscribed|not_subscribed", "invalid|invalid"]
    );
    let told: Vec<&String> = day.landed.warnings.iter().filter(|told| told.contains("consent")).collect();
    assert!(told.len() == 1 && told[0].contains("`sms_consent`") && told[0].contains("`opted in`"), "{told:?}");
}
