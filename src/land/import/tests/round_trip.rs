use arrow::util::pretty::pretty_format_batches;
use chrono::{DateTime, Utc};
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::local::LocalFileSystem;

use super::*;
use crate::engine::{Engine, Limits};
use crate::land::{self, Source};
use crate::schema::landed::Reading;

/// Lands files in a local lake and reads a table back as a run does.
struct Run {
    bench: Bench,
    lake: TempDir,
}

impl Run {
    fn new() -> Self {
        let lake = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(lake.path()).unwrap();
        Self { bench: Bench::on(Arc::new(store)), lake }
    }

    async fn read(&self, sql: &str, fields: BTreeMap<String, Reading>) -> (String, land::Landed) {
        let limits = Limits { memory: 1 << 30, threads: 2, spill: None };
        let engine = Engine::new(limits, land::read::functions(), None).unwrap();
        let session = engine.session();
        let root = Path::from_absolute_path(self.lake.path().canonicalize().unwrap()).unwrap();
        let source = |table: Table| Source {
            table,
            address: ObjectStoreUrl::local_filesystem(),
            store: Arc::new(LocalFileSystem::new()),
            prefix: root.clone().join("landing").join(table.name()),
            pattern: None,
        };
        let options = land::Options {
            zone: Zone::parse("Europe/Copenhagen").unwrap(),
            currency: "DKK".into(),
            as_of: parse_date("2026-11-19").unwrap(),
            horizon: "2026-11-21T00:00:00Z".parse::<DateTime<Utc>>().unwrap(),
            max_reject_ratio: 1.0,
            lookback_days: 3,
            tables: Default::default(),
            statuses: land::statuses(&Default::default()),
            fields,
            without_forgotten: false,
        };
        let sources: Vec<Source> = Table::ALL.into_iter().map(source).collect();
        let landed = land::land(&engine, &session, &sources, &options).await.unwrap();
        let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
        (pretty_format_batches(&batches).unwrap().to_string(), landed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_a_csv_file_are_read_with_their_types() {
    let run = Run::new();
    let text = "order_id;ordered_at;total;status;test;coupon_codes;refunded\n\
                7;2026-11-18 00:30;\"1234.50\";Completed;no;\"A, B\";\n\
                8;2026-11-18;99;paid;false;\"[\"\"C\"\"]\";9.5\n\
                9;18/11/2026 10:00;1;paid;;;\n";
    let landed = run.bench.land(Table::Orders, "orders.csv", text).await.unwrap();
    assert_eq!(landed.warnings, ["one value of `ordered_at` is no time (line 4): its row will be rejected"]);
    let (shown, landed) = run
        .read(
            "SELECT order_id, ordered_at, total, status, test, coupon_codes, refunded FROM landed_orders ORDER BY order_id",
            BTreeMap::new(),
        )
        .await;
    insta::assert_snapshot!(shown, @"
    +----------+----------------------+---------+--------+-------+--------------+----------+
    | order_id | ordered_at           | total   | status | test  | coupon_codes | refunded |
    +----------+----------------------+---------+--------+-------+--------------+----------+
    | 7        | 2026-11-17T23:30:00Z | 1234.50 | paid   | false | [A, B]       |          |
    | 8        | 2026-11-17T23:00:00Z | 99.00   | paid   | false | [C]          | 9.50     |
    +----------+----------------------+---------+--------+-------+--------------+----------+
    ");
    let reject = &landed.rejects[0];
    assert_eq!((reject.row, reject.column.as_str(), reject.rule.as_str()), (2, "ordered_at", "unparsable_time"));
    assert_eq!(reject.value.as_deref(), Some("18/11/2026 10:00"));
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_json_lines_are_read_with_their_types() {
    let run = Run::new();
    let text = "{\"customer_id\":7,\"created_at\":\"2026-11-18 00:30\",\"email_valid\":false,\"tags\":[\"a,b\",\"c\"],\"latitude\":55.1,\"points\":12,\"vip\":true,\"badges\":[\"x\"],\"since\":\"2020-02-01\"}\n\
                {\"customer_id\":8.0,\"country\":\"Denmark\",\"points\":3.5,\"birthday\":\"1990-01-02\"}\n";
    run.bench.land(Table::Customers, "customers.jsonl", text).await.unwrap();
    let fields = BTreeMap::from([("since".to_owned(), Reading::Date)]);
    let (shown, landed) = run
        .read(
            "SELECT customer_id, created_at, email_valid, tags, latitude, country, birthday, points, vip, badges, since \
             FROM landed_customers ORDER BY customer_id",
            fields,
        )
        .await;
    insta::assert_snapshot!(shown, @"
    +-------------+----------------------+-------------+----------+----------+---------+------------+--------+------+--------+------------+
    | customer_id | created_at           | email_valid | tags     | latitude | country | birthday   | points | vip  | badges | since      |
    +-------------+----------------------+-------------+----------+----------+---------+------------+--------+------+--------+------------+
    | 7           | 2026-11-17T23:30:00Z | false       | [a,b, c] | 55.1     |         |            | 12.0   | true | [x]    | 2020-02-01 |
    | 8           |                      |             |          |          | DK      | 1990-01-02 | 3.5    |      |        |            |
    +-------------+----------------------+-------------+----------+----------+---------+------------+--------+------+--------+------------+
    ");
    assert!(landed.rejects.is_empty() && landed.warnings.is_empty(), "{landed:?}");
    assert_eq!(landed.tables[&Table::Customers].custom["points"], Reading::Float);
}
