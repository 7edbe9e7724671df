//! What the demo shop promises.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::calendar::parse_date;

/// A landed shop, read back.
struct Landed {
    summary: Summary,
    files: BTreeMap<String, Bytes>,
}

fn options(customers: u64, days: u32) -> Options {
    let zone = Zone::parse("Europe/Copenhagen").unwrap();
    Options { days, ..Options::new(customers, parse_date("2026-11-18").unwrap(), zone, "DKK") }
}

async fn generate_into(store: &Arc<InMemory>, options: &Options) -> Result<Summary> {
    generate(options, Arc::clone(store) as Arc<dyn ObjectStore>, &Path::from("lake/landing"), &mut |_| {}).await
}

async fn files(store: &InMemory) -> BTreeMap<String, Bytes> {
    let mut files = BTreeMap::new();
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    for file in found {
        let bytes = store.get(&file.location).await.unwrap().bytes().await.unwrap();
        files.insert(file.location.to_string(), bytes);
    }
    files
}

async fn landed(options: &Options) -> Landed {
    let store = Arc::new(InMemory::new());
    let summary = generate_into(&store, options).await.unwrap();
    Landed { summary, files: files(&store).await }
}

impl Landed {
    /// The batches of a table, each with the date in its folder's name.
    fn batches(&self, table: Table) -> Vec<(NaiveDate, RecordBatch)> {
        let prefix = format!("lake/landing/{}/dt=", table.name());
        let mut batches = Vec::new();
        for (path, bytes) in self.files.iter().filter(|(path, _)| path.starts_with(&prefix)) {
            let date = parse_date(&path[prefix.len()..prefix.len() + 10]).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap().build().unwrap();
            batches.extend(reader.map(|batch| (date, batch.unwrap())));
        }
        batches
    }

    /// A column of a table as text.
    fn texts(&self, table: Table, column: &str) -> Vec<Option<String>> {
        let mut values = Vec::new();
        for (_, batch) in self.batches(table) {
            let Some(column) = batch.column_by_name(column) else {
                values.extend(std::iter::repeat_n(None, batch.num_rows()));
                continue;
            };
            let column = cast(column, &DataType::Utf8).unwrap();
            values.extend(column.as_string::<i32>().iter().map(|value| value.map(str::to_owned)));
        }
        values
    }

    /// How many different values a column has.
    fn distinct(&self, table: Table, column: &str) -> usize {
        self.texts(table, column).into_iter().flatten().collect::<BTreeSet<_>>().len()
    }

    fn count(&self, table: Table, column: &str, holds: impl Fn(Option<&str>) -> bool) -> usize {
        self.texts(table, column).iter().filter(|value| holds(value.as_deref())).count()
    }
}

#[tokio::test]
async fn the_same_options_land_the_same_bytes_on_any_number_of_threads() {
    // More than one round, the last one and its last chunk cut short.
    let one = landed(&Options { threads: 1, ..options(8_500, 60) }).await;
    for threads in [2, 5] {
        let other = landed(&Options { threads, ..options(8_500, 60) }).await;
        assert!(one.files == other.files, "{threads} threads land other bytes");
        assert_eq!(one.summary, other.summary);
    }
    let other = landed(&Options { seed: 2, ..options(8_500, 60) }).await;
    assert!(one.files.keys().all(|path| !other.files.contains_key(path)), "another shop has the same names");
    assert_ne!(one.summary.rows(Table::Events), other.summary.rows(Table::Events));
}

#[tokio::test]
async fn landing_twice_changes_nothing_and_another_shop_is_refused() {
    let store = Arc::new(InMemory::new());
    generate_into(&store, &options(50, 40)).await.unwrap();
    let before = files(&store).await;
    generate_into(&store, &options(50, 40)).await.unwrap();
    assert!(before == files(&store).await);
    let error = generate_into(&store, &options(51, 40)).await.unwrap_err();
    assert_eq!(error.code(), "demo.not_empty");
    assert!(before == files(&store).await);
}

#[tokio::test]
async fn a_shop_is_as_dense_as_promised() {
    let shop = landed(&options(6_000, 730)).await;
    let per_customer = |count: usize| count as f64 / 6_000.0;
    assert_eq!(shop.distinct(Table::Customers, "customer_id"), 6_000);
    let orders = per_customer(shop.distinct(Table::Orders, "order_id"));
    assert!((1.65..1.95).contains(&orders), "{orders} orders a customer");
    let events = per_customer(shop.distinct(Table::Events, "event_id"));
    assert!((27.0..31.0).contains(&events), "{events} events a customer");
    let lines = shop.texts(Table::OrderItems, "order_id").into_iter().zip(shop.texts(Table::OrderItems, "line"));
    let lines = per_customer(lines.collect::<BTreeSet<_>>().len());
    assert!((3.3..3.9).contains(&lines), "{lines} lines a customer");
    // About half never order.
    let buyers = shop.texts(Table::Orders, "customer_id").into_iter().flatten().filter(|id| id.starts_with('c'));
    let buyers = per_customer(buyers.collect::<BTreeSet<_>>().len());
    assert!((0.45..0.58).contains(&buyers), "{buyers} buyers a customer");
    // A few dozen files a table at most.
    assert!(shop.summary.tables.iter().all(|table| table.files <= 40), "{:?}", shop.summary);
    // Popularity is skewed: a tenth of the products has more than a quarter of the lines.
    let mut sold: BTreeMap<String, usize> = BTreeMap::new();
    shop.texts(Table::OrderItems, "product_id").into_iter().flatten().for_each(|id| *sold.entry(id).or_default() += 1);
    let mut sold: Vec<usize> = sold.into_values().collect();
    sold.sort_unstable_by(|a, b| b.cmp(a));
    let top: usize = sold[..sold.len() / 10].iter().sum();
    assert!(4 * top > sold.iter().sum(), "the top tenth sells {top}");
    // December sells more than February.
    let months = |month: &str| shop.count(Table::Orders, "ordered_at", |at| at.is_some_and(|at| at.starts_with(month)));
    assert!(months("2025-12") * 2 > months("2026-02") * 3);
}

#[tokio::test]
async fn every_table_reads_as_the_contract_says_and_keeps_to_its_days() {
    for layout in [Layout::Compact, Layout::Daily] {
        let options = Options { layout, ..options(2_100, 400) };
        let shop = landed(&options).await;
        let first_day = options.last_day - chrono::TimeDelta::days(399);
        let begin = options.zone.start_of_day(first_day).timestamp_micros();
        for table in Table::ALL {
            let batches = shop.batches(table);
            let rows: usize = batches.iter().map(|(_, batch)| batch.num_rows()).sum();
            assert!(rows > 0, "{} is empty", table.name());
            assert_eq!(rows as u64, shop.summary.rows(table));
            for (folder, batch) in batches {
                assert!(folder >= first_day && folder <= options.last_day);
                let end = options.zone.cutoff(folder).timestamp_micros();
                for column in table.columns().iter().filter(|column| column.required) {
                    assert!(batch.column_by_name(column.name).is_some(), "{} lacks {}", table.name(), column.name);
                }
                for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                    let Some(known) = table.column(field.name()) else { continue };
                    let read = cast(column, &known.reading.data_type()).unwrap();
                    assert_eq!(read.null_count(), column.null_count(), "{} of {}", field.name(), table.name());
                    if *column.data_type() == crate::schema::landed::instant_type() {
                        let times = column.as_primitive::<TimestampMicrosecondType>();
                        let sane = times.iter().flatten().filter(|at| *at != tables::FAR_FUTURE);
                        // A row is landed on the day of its version, so nothing in it is later than its folder.
                        assert!(sane.clone().all(|at| at >= begin && at < end), "{} of {}", field.name(), table.name());
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_shop_has_the_irregularities_of_real_ones() {
    let shop = landed(&options(4_000, 730)).await;
    let some = |table, column, value: &str| {
        assert!(shop.count(table, column, |found| found == Some(value)) > 0, "no {value} in {column}");
    };
    for (column, values) in [
        ("country", &["DK", "Denmark", "DNK", "dk", "SE"][..]),
        ("email_consent", &["subscribed", "unsubscribed", "pending", "never", "maybe"]),
        ("sms_consent", &["subscribed", "unsubscribed", "never"]),
        ("email_opt_in", &["single", "confirmed"]),
        ("membership", &["Bronze", "Silver", "Gold", "Platinum"]),
        ("email_valid", &["true", "false"]),
    ] {
        values.iter().for_each(|value| some(Table::Customers, column, value));
    }
    for status in "fulfilled Fulfilled paid completed processing authorized pending on-hold draft cancelled voided \
                   canceled failed expired refunded partially_refunded teleported"
        .split_whitespace()
    {
        some(Table::Orders, "status", status);
    }
    for currency in ["DKK", "SEK", "EUR", "XTS"] {
        some(Table::Orders, "currency", currency);
    }
    for (column, value) in [("test", "true"), ("recurring", "true"), ("customer_id", "0"), ("channel", "pos")] {
        some(Table::Orders, column, value);
    }
    let types: BTreeSet<String> = shop.texts(Table::Events, "type").into_iter().flatten().collect();
    for known in crate::schema::landed::EVENT_TYPES {
        assert!(types.contains(*known), "no {known}");
    }
    assert!(types.contains("wishlist_added") && types.contains("quiz_completed"));
    some(Table::Events, "bounce", "hard");
    some(Table::Events, "bounce", "soft");
    some(Table::Events, "machine", "true");

    // Missing fields.
    for column in
        "created_at updated_at email phone last_name gender birthday language country city latitude membership \
                   shoe_size"
            .split_whitespace()
    {
        let missing = shop.count(Table::Customers, column, |value| value.is_none());
        assert!(missing > 0 && (missing as u64) < shop.summary.rows(Table::Customers), "{missing} {column}");
    }
    // Later versions, and rows landed twice.
    assert!(shop.summary.rows(Table::Customers) > 4_200);
    let versions = shop.texts(Table::Orders, "order_id").into_iter().zip(shop.texts(Table::Orders, "updated_at"));
    let versions: Vec<_> = versions.filter(|(id, _)| id.is_some()).collect();
    let different: BTreeSet<_> = versions.iter().collect();
    assert!(different.len() < versions.len() && shop.distinct(Table::Orders, "order_id") < different.len());
    let events = shop.summary.rows(Table::Events) as usize;
    assert!(shop.distinct(Table::Events, "event_id") < events - 1);
    // Guests, orders of nobody, and orders whose customer was never landed.
    let orders: Vec<_> = (shop.texts(Table::Orders, "customer_id").into_iter())
        .zip(shop.texts(Table::Orders, "email"))
        .zip(shop.texts(Table::Orders, "phone"))
        .collect();
    type Text = Option<String>;
    let has =
        |test: &dyn Fn(&Text, &Text, &Text) -> bool| orders.iter().any(|((id, email), phone)| test(id, email, phone));
    let guest = |email: &Option<String>| email.as_deref().is_some_and(|email| email.starts_with("guest."));
    assert!(has(&|id, email, _| id.is_none() && guest(email)));
    assert!(has(&|id, email, _| id.is_none() && email.is_some() && !guest(email)));
    assert!(has(&|id, email, phone| id.is_none() && email.is_none() && phone.is_some()));
    assert!(has(&|id, email, phone| id.is_none() && email.is_none() && phone.is_none()));
    assert!(has(&|id, _, _| id.as_deref().is_some_and(|id| id.starts_with('x'))));
    // Returned lines, lines that the products table must describe, and old files without collections.
    assert!(shop.count(Table::OrderItems, "returned_quantity", |value| value.is_some()) > 100);
    assert!(shop.count(Table::OrderItems, "title", |value| value.is_none()) > 100);
    assert!(shop.count(Table::OrderItems, "quantity", |value| value.is_none()) > 10);
    let with = shop.batches(Table::OrderItems).iter().filter(|(_, b)| b.column_by_name("labels").is_some()).count();
    assert!(with > 0 && with < shop.batches(Table::OrderItems).len());
    // Merged customers, visitors linked, and visitors never linked.
    let linked: BTreeSet<String> = shop.texts(Table::Identities, "anonymous_id").into_iter().flatten().collect();
    assert!(linked.iter().any(|id| id.starts_with('c')));
    let visitors: BTreeSet<String> = shop.texts(Table::Events, "anonymous_id").into_iter().flatten().collect();
    assert!(visitors.intersection(&linked).count() > 100 && visitors.difference(&linked).count() > 100);
    // Accounts that share an address in another spelling, and deleted ones.
    let emails: Vec<String> = shop.texts(Table::Customers, "email").into_iter().flatten().collect();
    let lower: BTreeSet<String> = emails.iter().map(|email| email.to_lowercase()).collect();
    assert!(lower.len() < emails.iter().collect::<BTreeSet<_>>().len());
    assert!(shop.count(Table::Customers, "deleted_at", |value| value.is_some()) > 0);
}

#[tokio::test]
async fn broken_rows_are_there_and_few() {
    let shop = landed(&options(4_000, 730)).await;
    let far = |value: Option<&str>| value.is_some_and(|value| value.starts_with("2199"));
    let null = |value: Option<&str>| value.is_none();
    let minus = |value: Option<&str>| value.is_some_and(|value| value.starts_with('-'));
    let is = |wrong: &'static str| move |value: Option<&str>| value == Some(wrong);
    let counts = [
        (Table::Customers, shop.count(Table::Customers, "customer_id", null)),
        (Table::Customers, shop.count(Table::Customers, "email_consent", is("maybe"))),
        (Table::Orders, shop.count(Table::Orders, "order_id", null)),
        (Table::Orders, shop.count(Table::Orders, "status", is("teleported"))),
        (Table::Orders, shop.count(Table::Orders, "currency", is("XTS"))),
        (Table::Orders, shop.count(Table::Orders, "total", minus)),
        (Table::Orders, shop.count(Table::Orders, "ordered_at", far)),
        (Table::OrderItems, shop.count(Table::OrderItems, "product_id", null)),
        (Table::OrderItems, shop.count(Table::OrderItems, "quantity", minus)),
        (Table::Events, shop.count(Table::Events, "event_id", null)),
        (Table::Events, shop.count(Table::Events, "occurred_at", far)),
        (Table::Identities, shop.count(Table::Identities, "anonymous_id", null)),
    ];
    for table in Table::ALL {
        let broken: usize = counts.iter().filter(|(of, _)| *of == table).map(|(_, count)| count).sum();
        let kinds = counts.iter().filter(|(of, _)| *of == table).all(|(_, count)| *count > 0);
        assert!(kinds, "{counts:?}");
        assert!(400 * broken <= shop.summary.rows(table) as usize, "{broken} broken {}", table.name());
    }
}

#[tokio::test]
async fn nobody_can_be_reached() {
    let shop = landed(&options(1_500, 200)).await;
    for table in [Table::Customers, Table::Orders] {
        for email in shop.texts(table, "email").into_iter().flatten() {
            let domain = email.rsplit('@').next().unwrap().to_lowercase();
            assert!(["example.com", "example.org", "example.net"].contains(&domain.as_str()), "{email}");
        }
        assert!(shop.texts(table, "phone").into_iter().flatten().all(|phone| phone.starts_with("+999")));
    }
}

#[tokio::test]
async fn money_adds_up() {
    let shop = landed(&options(800, 300)).await;
    let mut orders = 0;
    for (_, batch) in shop.batches(Table::Orders) {
        let cents = |name: &str| {
            let column = cast(batch.column_by_name(name).unwrap(), &DataType::Decimal128(18, 2)).unwrap();
            column.as_primitive::<arrow::datatypes::Decimal128Type>().values().to_vec()
        };
        let (total, subtotal, discount, shipping) =
            (cents("total"), cents("subtotal"), cents("discount"), cents("shipping"));
        for n in 0..batch.num_rows() {
            assert_eq!(total[n].abs(), subtotal[n] - discount[n] + shipping[n]);
            orders += 1;
        }
        let refunded = batch.column_by_name("refunded").unwrap();
        let refunded = refunded.as_primitive::<arrow::datatypes::Decimal128Type>();
        assert!(refunded.iter().enumerate().all(|(n, refunded)| refunded.is_none_or(|r| r > 0 && r <= total[n])));
    }
    assert!(orders > 500);
    for (_, batch) in shop.batches(Table::OrderItems) {
        let column = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
        let (bought, back) = (column("quantity"), column("returned_quantity"));
        assert!(
            bought
                .iter()
                .zip(&back)
                .all(|(bought, back)| back.is_none_or(|back| back >= 1 && back <= bought.unwrap_or(1)))
        );
    }
}

#[tokio::test]
async fn the_smallest_shop_and_the_shortest_history_work() {
    for (customers, days) in [(1, 1), (1, 730), (300, 1), (40, 10)] {
        for layout in [Layout::Compact, Layout::Daily] {
            let shop = landed(&Options { layout, ..options(customers, days) }).await;
            assert_eq!(shop.distinct(Table::Customers, "customer_id") as u64, customers);
        }
    }
    // A zone whose midnight is skipped in spring, a currency without cents of its own, and one that nobody knows.
    for (zone, currency) in [("America/Santiago", "JPY"), ("Pacific/Apia", "EUR"), ("UTC", "ABC")] {
        let zone = Zone::parse(zone).unwrap();
        let shop = landed(&Options { zone, currency: currency.to_owned(), ..options(30, 400) }).await;
        assert!(shop.summary.rows(Table::Orders) > 0);
    }
}

#[tokio::test]
async fn sizes_out_of_range_are_refused() {
    let store = Arc::new(InMemory::new());
    for (customers, days, code) in [
        (0, 730, "demo.customers"),
        (50_000_001, 730, "demo.customers"),
        (10, 0, "demo.days"),
        (10, 4_000, "demo.days"),
    ] {
        assert_eq!(generate_into(&store, &options(customers, days)).await.unwrap_err().code(), code);
    }
    assert!(files(&store).await.is_empty());
}

#[tokio::test]
async fn progress_ends_with_everybody() {
    let mut seen = Vec::new();
    let store = Arc::new(InMemory::new());
    generate(&options(20, 30), store, &Path::from("landing"), &mut |progress| seen.push(progress)).await.unwrap();
    assert_eq!(seen, [Progress { customers: 20, of: 20 }]);
}
