//! Which files are read, how their columns are understood, and what stops a run (contract §2).

use std::fs;

use alluvial::error::Kind;
use alluvial::land::TableOptions;
use alluvial::schema::landed::{Reading, Table};

use crate::shop::Shop;

const DAY: &str = "2026-11-10";

#[tokio::test(flavor = "multi_thread")]
async fn files_are_found_with_and_without_dt_folders_and_hidden_ones_are_not() {
    let shop = Shop::new("Europe/Copenhagen");
    let row = |id: &str| format!("order_id | ordered_at | total\n{id} | 2026-11-01T10:00:00Z | 1.00");
    shop.land("orders/z.parquet", &row("a"))
        .land("orders/dt=2026-11-02/part.parquet", &row("b"))
        .land("orders/store=dk/dt=2026-11-03/more/part.parquet", &row("c"))
        .land("orders/_staged/part.parquet", &row("staged"))
        .land("orders/.part.parquet", &row("hidden"))
        .land("orders/_part.parquet", &row("hidden"))
        .land("orders/part.parquet.tmp", &row("other"))
        .land("orders_old/part.parquet", &row("other"));
    fs::write(shop.path("orders/README.txt"), "no data").unwrap();
    let day = shop.day(DAY).await;
    assert_eq!(day.rows("SELECT order_id FROM landed_orders ORDER BY 1").await, ["a", "b", "c"]);
    let orders = day.landed.table(Table::Orders);
    let days: Vec<String> = orders.files.iter().map(|file| file.dt.map_or("-".into(), |dt| dt.to_string())).collect();
    assert_eq!(days, ["2026-11-02", "2026-11-03", "-"]);
    assert_eq!(orders.rows, 3);
    // The end of the folder's local day: Copenhagen is an hour east of UTC in November.
    let at = orders.files[0].version_at.unwrap();
    assert_eq!(at.to_rfc3339(), "2026-11-02T23:00:00+00:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_table_may_differ_in_order_optional_and_other_columns() {
    let shop = Shop::new("UTC");
    shop.land("orders/1.parquet", "order_id | ordered_at | total\no1 | 2026-11-01T10:00:00Z | 1.00")
        .land(
            "orders/2.parquet",
            "note | channel | total:dec(18,2) | ordered_at:us@UTC | order_id:int\nhello | web | 2.00 | 2026-11-02T10:00:00Z | 2",
        )
        .land("orders/3.parquet", "order_id | _file | _row | total:null | ordered_at | total\n");
    // Two columns of one name are a faulty file.
    let (code, message, file, _) = fault(&shop).await;
    assert_eq!(code, "land.column_twice");
    assert!(message.contains("`total`") && file.ends_with("orders/3.parquet"), "{message} {file}");
    shop.land(
        "orders/3.parquet",
        "order_id | _file | _row:int | _landed | _version | ordered_at | total:int\n3 | x | 7 | y | z | 2026-11-03T10:00:00Z | 3",
    );
    let day = shop.day(DAY).await;
    assert_eq!(
        day.rows("SELECT order_id, ordered_at, total, channel, status FROM landed_orders ORDER BY 1").await,
        ["2|2026-11-02T10:00:00Z|2.00|web|-", "3|2026-11-03T10:00:00Z|3.00|-|-", "o1|2026-11-01T10:00:00Z|1.00|-|-"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_columns_of_customers_are_custom_properties() {
    let shop = Shop::new("UTC");
    shop.land(
        "customers",
        "customer_id | Loyalty Tier | points:int | balance:dec(18,3) | active:bool | renews_at:us@UTC | born:date | topics:list | number_of_orders:int
         c1 | gold | 12 | 1.250 | true | 2031-01-01T00:00:00Z | 1980-02-29 | a;b | 99
         c2 |  |  |  |  |  |  |  | ",
    );
    let day = shop.day(DAY).await;
    let columns = "customer_id, \"Loyalty_Tier\", points, balance, active, renews_at, born, topics, number_of_orders, property_number_of_orders";
    assert_eq!(
        day.profile(columns).await,
        ["c1|gold|12|1.250|true|2031-01-01T00:00:00Z|1980-02-29|[a, b]|0|99", "c2|-|-|-|-|-|-|-|0|-"]
    );
    let custom = &day.profiled.properties;
    assert_eq!(custom["points"], Reading::Integer);
    assert_eq!(custom["Loyalty Tier"], Reading::Text);
    assert!(day.rejects(Table::Customers).is_empty(), "a renewal years ahead is no faulty time");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_differ_between_files_take_the_declared_the_widest_or_text() {
    let mut shop = Shop::new("UTC");
    shop.fields.insert("score".into(), Reading::Float);
    shop.land(
        "customers/1.parquet",
        "customer_id | points:int | price:dec(18,2) | seen:date | code:int | flag:bool | topics:list | score | rate:dec(9,3) | when:ms | count:int
         c1 | 12 | 1.25 | 2026-11-01 | 7 | true | a;b | 1.5 | 0.125 | 2026-11-01T10:00:00 | 5",
    )
    .land(
        "customers/2.parquet",
        "customer_id | points:float | price:int | seen:us@UTC | code | flag | topics | score:int | rate | when | count:null
         c2 | 1.5 | 3 | 2026-11-02T10:00:00Z | x7 | maybe | c, d | 2 | low | soon |",
    )
    .land("customers/3.parquet", "customer_id | price:dec(10,3)\nc3 | 1.125");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, points, price, seen, code, flag, topics, score, rate, \"when\", count").await,
        [
            "c1|12.0|1.250|2026-11-01T00:00:00Z|7|true|[a, b]|1.5|0.125|2026-11-01T10:00:00|5",
            "c2|1.5|3.000|2026-11-02T10:00:00Z|x7|maybe|[c, d]|2.0|low|soon|-",
            "c3|-|1.125|-|-|-|-|-|-|-|-"
        ]
    );
    let told = |name: &str| day.landed.warnings.iter().filter(|told| told.contains(&format!("`{name}`"))).count();
    assert_eq!((told("code"), told("flag")), (1, 1), "{:?}", day.landed.warnings);
    assert_eq!((told("points"), told("price"), told("seen"), told("score"), told("count")), (0, 0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_fields_are_read_as_declared() {
    let mut shop = Shop::new("UTC");
    for (name, reading) in [
        ("tier", Reading::Text),
        ("children", Reading::Float),
        ("member", Reading::Boolean),
        ("anniversary", Reading::Date),
        ("interests", Reading::List),
    ] {
        shop.fields.insert(name.into(), reading);
    }
    shop.land(
        "customers",
        "customer_id | tier:int | children | member | anniversary | interests
         c1 | 3 | 2 | yes | 2020-05-01 | tea, coffee
         c2 | 4 | two | perhaps | May 2020 | [\"tea\"]",
    );
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, tier, children, member, anniversary, interests").await,
        ["c1|3|2.0|true|2020-05-01|[tea, coffee]", "c2|4|-|-|-|[tea]"]
    );
    // A property that cannot be read costs nobody the customer.
    assert!(day.rejects(Table::Customers).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_may_have_any_name() {
    let names = [
        "since_at",
        "root",
        "heir",
        "id",
        "h",
        "v",
        "n",
        "place",
        "before",
        "left_out",
        "is_landed",
        "last_open_order_at",
        "has_email",
        "customer_no",
        "as_of",
        "select",
        "Order",
        "fm",
        "kind",
        "first",
        "earliest_at",
        "resubscribed_at",
        "cart_at",
        "number_of_orders",
        "City",
        "two words",
        "it's \"quoted\"",
        "æøå",
    ];
    let shop = Shop::new("UTC");
    let header = format!("customer_id | updated_at | {}", names.join(" | "));
    let cells: Vec<String> = (0..names.len()).map(|number| number.to_string()).collect();
    let (first, second) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    let row = |id: &str, at: &str| format!("{id} | {at} | {}", cells.join(" | "));
    // Two versions of one, and a merge of the other, so that every statement meets the columns.
    shop.land("customers", &format!("{header}\n{}\n{}\n{}", row("c1", first), row("c1", second), row("c2", first)))
        .land("identities", &format!("anonymous_id | customer_id | linked_at\nc2 | c3 | {first}"));
    let day = shop.day(DAY).await;
    assert_eq!(day.profiled.properties.len(), names.len());
    let columns: Vec<String> = day.rows("SELECT * FROM profile").await[0].split('|').map(str::to_owned).collect();
    let found = cells.iter().filter(|cell| columns.contains(cell)).count();
    assert!(found >= names.len() - 1, "{columns:?}");
    assert_eq!(day.profile("customer_id").await, ["c1", "c3"]);
    // Two names that are one for Delta Lake.
    shop.land("customers", "customer_id | two words | Two_Words | Two_words\nc1 | 1 | 2 | 3");
    let day = shop.day(DAY).await;
    assert_eq!(day.profile("\"Two_Words\"").await, ["2"]);
    assert_eq!(day.landed.warnings.iter().filter(|told| told.contains("is not read")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_may_be_read_from_a_column_of_another_name() {
    let mut shop = Shop::new("UTC");
    shop.fields.insert("tier".into(), Reading::Text);
    let columns = [("tier".into(), "_level".into()), ("since".into(), "member since".into())].into();
    shop.tables.insert(Table::Customers, TableOptions { columns, ..TableOptions::default() });
    shop.land("customers", "customer_id | _level:int | member since:date | _other\nc1 | 3 | 2020-05-01 | x");
    let day = shop.day(DAY).await;
    assert_eq!(day.profile("customer_id, tier, since").await, ["c1|3|2020-05-01"]);
    assert_eq!(day.profiled.properties.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_mapped_ids_prefixed_and_minor_units_read() {
    let mut shop = Shop::new("UTC");
    let mapped = |pairs: &[(&str, &str)]| TableOptions {
        columns: pairs.iter().map(|(name, landed)| ((*name).into(), (*landed).into())).collect(),
        id_prefix: Some("se-".into()),
        money_minor: true,
        ..TableOptions::default()
    };
    shop.tables.insert(Table::Customers, mapped(&[("customer_id", "id"), ("city", "Town"), ("region", "nowhere")]));
    shop.tables.insert(Table::Orders, mapped(&[("order_id", "number"), ("ordered_at", "placed")]));
    shop.tables.insert(Table::OrderItems, mapped(&[]));
    shop.land("customers", "id:int | Town | city\n1 | Aarhus | wrong")
        .land(
            "orders",
            "number:int | placed | total:int | discount:float | customer_id:int
             7 | 2026-11-01T10:00:00Z | 1999 | 50 | 1
             8 | 2026-11-01T10:00:00Z | 1 |  | 0",
        )
        .land("order_items", "order_id:int | product_id:int | unit_price:int\n7 | 3 | 1234");
    let day = shop.day(DAY).await;
    assert_eq!(day.profile("customer_id, city, amount_spent, discount_amount").await, ["se-1|Aarhus|19.99|0.50"]);
    assert_eq!(day.rows("SELECT order_id, product_id, unit_price FROM order_items").await, ["se-7|se-3|12.3400"]);
    assert_eq!(day.left_out("orders", "no_customer"), 1, "`0` is nobody, prefixed or not");
    let told = day.landed.warnings.iter().find(|told| told.contains("`nowhere`"));
    assert!(told.is_some_and(|told| told.contains("region")), "a mapping to a column that no file has is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_missing_tables_are_no_fault() {
    // Nothing at all.
    let day = Shop::new("UTC").day(DAY).await;
    assert_eq!(day.profile("customer_id").await, [] as [&str; 0]);
    assert_eq!((day.profiled.customers, day.profiled.orders, day.profiled.buyers), (0, 0, 0));
    assert!(day.rows("SELECT * FROM buyers").await.is_empty() && day.rows("SELECT * FROM contacts").await.is_empty());
    // Files without rows.
    let shop = Shop::new("UTC");
    shop.land("customers", "customer_id | email")
        .land("orders", "order_id | ordered_at:us@UTC | total:dec(18,2) | customer_id")
        .land("events", "event_id | occurred_at | type")
        .land("rates", "date:date | currency | rate:float");
    let day = shop.day(DAY).await;
    assert_eq!(day.profiled.customers, 0);
    // No orders yet: prospects.
    shop.land("customers", "customer_id | email\nc1 | a@b.dk");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, number_of_orders, amount_spent, average_order_amount, rfm_group, rfm_recency").await,
        ["c1|0|0.00|-|prospects|-"]
    );
    // No customers landed: those of the orders.
    let shop = Shop::new("UTC");
    shop.land("orders", "order_id | ordered_at | total | customer_id\no1 | 2026-11-01T10:00:00Z | 5 | c9");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.profile("customer_id, created_at, number_of_orders, tags, lists").await,
        ["c9|2026-11-01T10:00:00Z|1|[]|[]"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_before_anything_is_empty() {
    let shop = Shop::new("UTC");
    shop.land("customers/dt=2026-11-05/a.parquet", "customer_id | created_at\nc1 | 2026-11-01T00:00:00Z")
        .land(
            "orders/dt=2026-11-05/a.parquet",
            "order_id | ordered_at | total | customer_id | currency\no1 | 2026-11-02T00:00:00Z | 5 | c1 | SEK",
        )
        .land("events", "event_id | occurred_at | type | customer_id\ne1 | 2026-11-02T00:00:00Z | page_viewed | c1")
        .land("rates", "date | currency | rate\n2026-11-01 | SEK | 0.1");
    let day = shop.day("2026-10-01").await;
    assert_eq!((day.profiled.customers, day.profiled.orders), (0, 0));
    assert!(day.landed.rejects.is_empty());
    assert!(day.profiled.left_out.is_empty(), "{:?}", day.profiled.left_out);
}

async fn fault(shop: &Shop) -> (&'static str, String, String, String) {
    let Err(error) = shop.try_day(DAY).await else { panic!("the day should not have been built") };
    assert_eq!(error.kind(), Kind::Input);
    let file = error.place().file.clone().unwrap_or_default();
    (error.code(), error.message().to_owned(), file, error.hint().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_column_that_is_missing_stops_and_names_the_file() {
    let shop = Shop::new("UTC");
    shop.land("orders/a.parquet", "order_id | ordered_at | total\no1 | 2026-11-01T10:00:00Z | 5")
        .land("orders/b.parquet", "order_id | orderd_at | total\no2 | 2026-11-01T10:00:00Z | 5");
    let (code, message, file, hint) = fault(&shop).await;
    assert_eq!(code, "land.missing_column");
    assert!(message.contains("`ordered_at`") && file.ends_with("orders/b.parquet"), "{message} {file}");
    assert!(hint.contains("`orderd_at`") && hint.contains("[tables.orders]"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_an_impossible_type_stops_and_names_the_file() {
    for (table, text, column) in [
        ("orders", "order_id | ordered_at:int | total\n", "ordered_at"),
        ("orders", "order_id | ordered_at | total:bool\n", "total"),
        ("orders", "order_id:list | ordered_at | total\n", "order_id"),
        ("customers", "customer_id | birthday:bool\n", "birthday"),
        ("customers", "customer_id | tags:int\n", "tags"),
        ("customers", "customer_id | email:list\n", "email"),
    ] {
        let shop = Shop::new("UTC");
        shop.land(table, text);
        let (code, message, file, hint) = fault(&shop).await;
        assert_eq!(code, "land.column_type", "{table}.{column}");
        assert!(message.contains(&format!("`{column}`")) && file.ends_with("part.parquet"), "{message} {file}");
        assert!(hint.contains("land"), "{hint}");
    }
    // A declared field whose column cannot be that.
    let mut shop = Shop::new("UTC");
    shop.fields.insert("since".into(), Reading::Date);
    shop.land("customers", "customer_id | since:bool\n");
    assert_eq!(fault(&shop).await.0, "land.column_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_parquet_stops_and_is_named() {
    let shop = Shop::new("UTC");
    fs::write(shop.path("orders/torn.parquet"), "PAR1 and then nothing of the kind PAR1").unwrap();
    let (_, _, file, _) = fault(&shop).await;
    assert!(file.ends_with("orders/torn.parquet"), "{file}");
    fs::write(shop.path("orders/torn.parquet"), "").unwrap();
    let (_, _, file, _) = fault(&shop).await;
    assert!(file.ends_with("orders/torn.parquet"), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_rows_go_to_rejects_with_their_place() {
    let shop = Shop::new("UTC");
    shop.land(
        "orders",
        "order_id | ordered_at | total | customer_id | status | refunded | email | updated_at
         o1 | 2026-11-01T10:00:00Z | 10.00 | c1 | paid | | |
          | 2026-11-01T10:00:00Z | 10.00 | c1 | paid | | |
         o3 | yesterday | 10.00 | c1 | paid | | |
         o4 | 2031-11-01T10:00:00Z | 10.00 | c1 | paid | | |
         o5 | 2026-11-01T10:00:00Z | -10.00 | c1 | paid | | |
         o6 | 2026-11-01T10:00:00Z | ten | c1 | paid | | |
         o7 | 2026-11-01T10:00:00Z | 10.00 | c1 | lost in space | | |
         o8 | | 10.00 | c1 | paid | | |
         o9 | 2026-11-01T10:00:00Z | | c1 | paid | | |
         o10 | 2026-11-01T10:00:00Z | 10.00 | c1 | paid | -1 | |
         o11 | 2026-11-01T10:00:00Z | 10.00 | c1 | paid | | a@b.dk | soon",
    )
    .land(
        "order_items",
        "order_id | product_id | quantity | returned_quantity:int | unit_price
         o1 | p1 | 1 | |
         o1 | | 1 | |
         o1 | p2 | -1 | |
         o1 | p3 | two | |
         o1 | p4 | 1 | -1 |
         o1 | p5 | 1 | | -0.01",
    )
    .land("events", "event_id | occurred_at | type\n | 2026-11-01T10:00:00Z | page_viewed\ne2 | 2026-11-01T10:00:00Z | ''\ne3 | never | searched")
    .land("customers", "customer_id | email | created_at | birthday\n'' | a@b.dk | |\nc2 | a@b.dk | 1 May |\nc3 | | | 1980-02-29 00:00:00\nc4 | | | in spring")
    .land("identities", "anonymous_id | customer_id | linked_at\n | c1 | 2026-11-01T10:00:00Z\nx | 0 | 2026-11-01T10:00:00Z")
    .land("rates", "date | currency | rate\nsome day | SEK | 0.1\n2026-11-01 | SEK | 0\n2026-11-01 | SEK | -1")
    .land("suppressions", "channel | identifier\npigeon | a@b.dk\nemail | a@b.dk");
    let day = shop.day(DAY).await;
    assert_eq!(
        day.rejects(Table::Orders),
        [
            "part.parquet|1|-|order_id|null_id|-",
            "part.parquet|2|o3|ordered_at|unparsable_time|yesterday",
            "part.parquet|3|o4|ordered_at|far_future_time|2031-11-01T10:00:00Z",
            "part.parquet|4|o5|total|negative_value|-10.00",
            "part.parquet|5|o6|total|unparsable_number|ten",
            "part.parquet|6|o7|status|unknown_status|lost in space",
            "part.parquet|7|o8|ordered_at|missing_value|-",
            "part.parquet|8|o9|total|missing_value|-",
            "part.parquet|9|o10|refunded|negative_value|-1",
            "part.parquet|10|o11|updated_at|unparsable_time|soon",
        ]
    );
    assert_eq!(
        day.rejects(Table::OrderItems),
        [
            "part.parquet|1|o1|product_id|null_id|-",
            "part.parquet|2|o1|quantity|negative_value|-1",
            "part.parquet|3|o1|quantity|unparsable_number|two",
            "part.parquet|4|o1|returned_quantity|negative_value|-1",
            "part.parquet|5|o1|unit_price|negative_value|-0.01",
        ]
    );
    assert_eq!(day.rejects(Table::Events).len(), 3);
    assert_eq!(
        day.rejects(Table::Customers),
        [
            "part.parquet|0|-|customer_id|null_id|-",
            "part.parquet|1|c2|created_at|unparsable_time|1 May",
            "part.parquet|3|c4|birthday|unparsable_time|in spring",
        ]
    );
    assert_eq!(day.rejects(Table::Identities).len(), 2);
    assert_eq!(
        day.rejects(Table::Rates),
        [
            "part.parquet|0|-|date|unparsable_time|some day",
            "part.parquet|1|-|rate|not_positive|0",
            "part.parquet|2|-|rate|not_positive|-1"
        ]
    );
    assert_eq!(day.rejects(Table::Suppressions), ["part.parquet|0|-|channel|unknown_value|pigeon"]);
    assert_eq!(day.landed.table(Table::Orders).rejected(), 10);
    assert_eq!(day.profile("customer_id, number_of_orders, items_bought").await, ["c1|1|1", "c3|0|0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_values_of_contact_columns_are_masked() {
    let mut shop = Shop::new("UTC");
    // The same column serves as an address and as a time, so that it can be at fault.
    let mapped = [("updated_at".to_owned(), "phone".to_owned())].into();
    shop.tables.insert(Table::Orders, TableOptions { columns: mapped, ..TableOptions::default() });
    shop.land("orders", "order_id | ordered_at | total | phone\no1 | 2026-11-01T10:00:00Z | 1 | +45 1234");
    let day = shop.day(DAY).await;
    assert_eq!(day.rejects(Table::Orders), ["part.parquet|0|o1|updated_at|unparsable_time|(masked)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_faulty_rows_stop_the_day() {
    let mut shop = Shop::new("UTC");
    shop.max_reject_ratio = 0.01;
    let rows = |bad: usize, all: usize| {
        let mut text = "order_id | ordered_at | total".to_owned();
        for row in 0..all {
            text.push_str(&format!("\no{row} | 2026-11-01T10:00:00Z | {}", if row < bad { "-1" } else { "1" }));
        }
        text
    };
    shop.land("orders", &rows(1, 100));
    assert_eq!(shop.day(DAY).await.landed.table(Table::Orders).rejected(), 1, "one in a hundred is not more than 1%");
    shop.land("orders", &rows(2, 100));
    let (code, message, _, hint) = fault(&shop).await;
    assert_eq!(code, "land.too_many_rejects");
    assert!(message.contains("orders: 2 of 100") && message.contains("negative_value in total: 2"), "{message}");
    assert!(hint.contains("refund"), "{hint}");
}
