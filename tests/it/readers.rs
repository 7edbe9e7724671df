//! Who reads what a night published: other Delta readers, other processes, programs that read the command line's output.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvial::calendar::{Clock, parse_date};
use alluvial::config::{Environment, Overrides, Settings};
use alluvial::engine::{Engine, Params};
use alluvial::schema::published;
use alluvial::segments::compile::Tables;
use alluvial::snapshot::reading::Reading;
use alluvial::snapshot::segments::{catalogue, definitions, prepare};
use alluvial::snapshot::setup::Project;
use alluvial::{land, lifecycle, profile, segments};
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::collect;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::scalar::ScalarValue;
use datafusion_proto::bytes::{physical_plan_from_bytes, physical_plan_to_bytes};

use crate::harness::assert_ran;
use crate::landing_files::TinyShop;

const D1: &str = "2026-03-01";
const D2: &str = "2026-03-02";

async fn open(shop: &TinyShop) -> Project {
    let root = shop.folder.path();
    let settings = Settings::load(root, &Environment::of(root, []), &Overrides::default()).unwrap();
    Box::pin(Project::open(settings, &BTreeMap::new(), true)).await.unwrap()
}

/// The lines of a text, sorted.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test]
async fn delta_rs_opens_every_table_and_reads_the_same_rows() {
    let shop = TinyShop::new();
    shop.settings("[landing]\nmax_reject_ratio = \"50%\"");
    shop.night(D1);
    shop.land("orders/bad", "order_id,ordered_at,total\n,2026-02-10T10:00:00Z,1.00");
    shop.night(D2);
    shop.night_with(D1, &["--force"]);
    shop.night_with(D2, &["--force"]);
    let project = open(&shop).await;
    let ours = Box::pin(Reading::open(&project)).await.unwrap();
    let mut absent = Vec::new();
    for table in published::tables() {
        let folder = shop.folder.path().join("lake/tables").join(table.name);
        if !folder.join("_delta_log").is_dir() {
            absent.push(table.name);
            continue;
        }
        let theirs = project.engine.session();
        let url = url::Url::from_directory_path(&folder).unwrap();
        let delta = Box::pin(deltalake_core::open_table(url)).await.unwrap();
        let provider = delta.table_provider().await.unwrap();
        theirs.register_table(table.name, provider).unwrap();
        let columns: Vec<String> =
            ours.session.table(table.name).await.unwrap().schema().fields().iter().map(|f| f.name().clone()).collect();
        let columns = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {columns} FROM {}", table.name);
        let read = async |session: &SessionContext| {
            let batches = Box::pin(async { session.sql(&sql).await.unwrap().collect().await.unwrap() }).await;
            sorted(&pretty_format_batches(&batches).unwrap().to_string())
        };
        let (here, there) = (read(&ours.session).await, read(&theirs).await);
        assert!(here.lines().count() > 4 || table.name == "segment_changes", "{}: {here}", table.name);
        assert_eq!(here, there, "{}", table.name);
    }
    // So small a shop is scored by the benchmark, and has exported nothing.
    assert_eq!(absent, ["lifecycle_models", "exports", "export_members"]);
}

/// Encodes a plan, decodes it in another session, and compares what both give.
async fn survives(engine: &Engine, session: &SessionContext, name: &str, frame: DataFrame) {
    let plan = Box::pin(frame.create_physical_plan()).await.unwrap();
    let bytes = physical_plan_to_bytes(Arc::clone(&plan)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let elsewhere = engine.session();
    let sent = physical_plan_from_bytes(&bytes, &elsewhere.task_ctx());
    let sent = sent.unwrap_or_else(|error| panic!("{name}: {error}"));
    let there = Box::pin(collect(sent, elsewhere.task_ctx())).await.unwrap();
    let here = Box::pin(collect(plan, session.task_ctx())).await.unwrap();
    let shown = |batches: &[arrow::array::RecordBatch]| sorted(&pretty_format_batches(batches).unwrap().to_string());
    assert_eq!(shown(&there), shown(&here), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nights_plans_survive_being_sent_elsewhere() {
    let shop = TinyShop::new();
    shop.land("events/all", EVENTS)
        .land("identities/all", "anonymous_id,customer_id,linked_at\nv1,a,2026-02-02T10:00:00Z");
    shop.land("rates/all", "date,currency,rate\n2026-01-01,EUR,7.46038").land(
        "orders/abroad",
        "order_id,ordered_at,updated_at,total,customer_id,currency\nx1,2026-02-10T10:00:00Z,2026-02-10T10:00:00Z,3.00,b,EUR",
    );
    shop.segment("both", "segment('danes') AND number_of_orders > 1").segment("mail", "email_reachable = true");
    let project = open(&shop).await;
    let (engine, session) = (&project.engine, project.engine.session());
    let as_of = parse_date(D2).unwrap();
    let options = project.landing(as_of, Clock::System.now());
    let landed = Box::pin(land::land(engine, &session, &project.sources, &options)).await.unwrap();
    let profiling = project.profiling(as_of, None, alluvial::profile::KeptRows::default());
    let profiled = Box::pin(profile::build(engine, &session, &landed, &profiling)).await.unwrap();
    assert_eq!((profiled.customers, profiled.buyers), (5, 4));

    for table in ["customers", "orders", "order_items", "products", "events", "identities", "rates"] {
        let name = format!("landed_{table}");
        survives(engine, &session, &name, session.table(name.as_str()).await.unwrap()).await;
    }
    let zone = project.settings.project.zone;
    let instant = |at: chrono::DateTime<chrono::Utc>| {
        ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("UTC".into()))
    };
    let params = Params::new()
        .with("cutoff", instant(zone.cutoff(as_of)))
        .with("window_start", instant(zone.start_of_day(as_of - chrono::Days::new(89))))
        .with("as_of", ScalarValue::Date32(Some(arrow::datatypes::Date32Type::from_naive_date(as_of))))
        .with("zone", zone.name())
        .with("currency", "DKK")
        .with("counted", ",paid,refunded,partially_refunded,")
        .with("buyers", 4_i64)
        .with("first_landed", instant(zone.start_of_day(as_of)));
    for statement in profile::STATEMENTS {
        let frame = engine.plan(&session, statement, &params).await.unwrap();
        survives(engine, &session, statement.name, frame).await;
    }

    let empty = datafusion::datasource::MemTable::try_new(lifecycle::columns::lifecycle(), vec![vec![]]).unwrap();
    session.register_table("previous_lifecycle", Arc::new(empty)).unwrap();
    let texts = |statement: &alluvial::engine::Statement| engine.text(statement);
    let classifier = lifecycle::Classifier::benchmark();
    let settings = &project.settings.lifecycle;
    let scored = Box::pin(lifecycle::score(&session, as_of, settings, &classifier, &texts)).await.unwrap();
    for view in ["lifecycle_scores", "lifecycle_flags"] {
        survives(engine, &session, view, session.table(view).await.unwrap()).await;
    }
    survives(engine, &session, "lifecycle/stage", scored.rows.clone()).await;
    engine.materialize(&session, "lifecycle_today", scored.rows, true).await.unwrap();
    survives(engine, &session, "lifecycle/transitions", lifecycle::transitions(&session, &texts).await.unwrap()).await;

    // What a fit and the health of a model read.
    let order_days = lifecycle::fit::order_days(&session, settings, &texts).await.unwrap();
    survives(engine, &session, "lifecycle/order_days", order_days.clone()).await;
    let day = |date| ScalarValue::Date32(Some(arrow::datatypes::Date32Type::from_naive_date(date)));
    let seen_on = as_of - chrono::Days::new(30);
    let params = Params::new().with("seen_until", day(seen_on)).with("told_until", day(as_of));
    let seen = engine.night_session();
    seen.register_table("order_days", order_days.into_view()).unwrap();
    let histories = engine.plan(&seen, &lifecycle::statements::HISTORIES, &params).await.unwrap();
    survives(engine, &seen, "lifecycle/histories", histories).await;
    let seen =
        lifecycle::fit::as_seen(engine, seen.table_provider("order_days").await.unwrap(), seen_on, as_of, &texts);
    let seen = Box::pin(seen).await.unwrap();
    Box::pin(lifecycle::score(&seen, seen_on, settings, &classifier, &texts)).await.unwrap();
    let [r, alpha, a, b] = classifier.parameters.values();
    let params = Params::new().with("r", r).with("alpha", alpha).with("a", a).with("b", b);
    let seen_day = arrow::datatypes::Date32Type::from_naive_date(seen_on);
    let params = params.with("churned_silence_least", 30_i64).with("as_of", ScalarValue::Int32(Some(seen_day)));
    for statement in [lifecycle::statements::MERGED, lifecycle::statements::ORDER_VALUES, lifecycle::statements::HEALTH]
    {
        let frame = engine.plan(&seen, &statement, &params).await.unwrap();
        assert!(frame.clone().count().await.unwrap() > 0, "{}", statement.name);
        survives(engine, &seen, statement.name, frame).await;
    }

    let (catalogue, _) = Box::pin(catalogue(&project, &landed)).await.unwrap();
    let prepared = prepare(&project, definitions(&project).unwrap(), &catalogue, as_of).unwrap();
    let shared = prepared.segments.shared(prepared.scope, &Tables::of_the_night()).unwrap();
    let contacts = shared.contacts.as_ref().map(|(contacts, _)| contacts);
    for tested in [Some(&shared.profile), contacts].into_iter().flatten() {
        let frame = segments::evaluate::plan(&session, tested).await.unwrap();
        survives(engine, &session, "segments", frame).await;
    }
}

const EVENTS: &str = "
event_id,occurred_at,type,customer_id,anonymous_id,product_id
e1,2026-02-01T10:00:00Z,page_viewed,,v1,
e2,2026-02-27T10:00:00Z,added_to_cart,b,,p1
e3,2026-02-28T10:00:00Z,email_opened,a,,
";

#[test]
fn every_list_has_three_formats() {
    let shop = TinyShop::after_a_night();
    shop.night(D2);
    shop.folder.write("more.csv", "product_id,title\np9,Pot\n");
    for command in [
        &["run", "nightly", "--as-of", D2][..],
        &["run", "nightly", "--as-of", D2, "--force"],
        &["segments"],
        &["segment", "show", "repeat"],
        &["segment", "show", "--query", "last_order_date >= -30d"],
        &["segment", "preview", "repeat"],
        &["segment", "members", "repeat"],
        &["segment", "history", "repeat"],
        &["attributes"],
        &["attributes", "amount_spent"],
        &["lifecycle"],
        &["query", "SELECT * FROM customer_profile_latest"],
        &["query", "SELECT * FROM lifecycle_latest"],
        &["check"],
        &["land", "products", "more.csv"],
        &["init", "another"],
    ] {
        let ran = |format: &str| {
            let ran = shop.run(&[command, &["--format", format]].concat());
            assert_eq!(ran.code, 0, "{}", ran.shown());
            ran.stdout
        };
        let json: serde_json::Value = serde_json::from_str(&ran("json")).unwrap();
        let filled = json.as_array().map_or_else(|| json.as_object().map_or(0, serde_json::Map::len), Vec::len);
        assert!(filled > 0, "{command:?}: {json}");
        let csv = ran("csv");
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(csv.as_bytes());
        let columns = reader.headers().unwrap().len();
        let rows: Result<Vec<csv::StringRecord>, _> = reader.records().collect();
        assert!(columns > 0 && rows.is_ok_and(|rows| !rows.is_empty() || command[0] == "run"), "{command:?}: {csv}");
        let table = ran("table");
        assert!(!table.is_empty() && !table.starts_with(['{', '[']), "{command:?}: {table}");
    }
    assert_ran!(shop.run(&["segment", "members", "repeat"]), @r"
    $ alluvial segment members repeat
    exit code 0
    ----- stdout -----
    customer_id  name      city    region  postal_code  country  number_of_orders  amount_spent  discount_amount  coupons_used  negative_reviews  items_returned  last_order_date       email            entered_on
    a            Ann Ager  Aarhus                       DK                      2        300.00            10.00             2                 0               1  2026-02-27T10:00:00Z  ann@example.com  2026-03-01
    b            Bob Berg  Berlin                       DE                      2        120.30             0.00             0                 0               0  2026-03-02T12:00:00Z  bob@example.com  2026-03-02
    ----- stderr -----
    ");
    assert_ran!(shop.run(&["segments"]), @r"
    $ alluvial segments
    exit code 0
    ----- stdout -----
    id         name       active  as_of       members  entered  exited
    buyers     buyers     true    2026-03-02        4        1       0
    danes      danes      true    2026-03-02        3        1       0
    prospects  prospects  true    2026-03-02        1        0       0
    repeat     repeat     true    2026-03-02        2        1       0
    ----- stderr -----
    ");
    assert_ran!(shop.run(&["segment", "history", "repeat", "--format", "csv"]), @r"
    $ alluvial segment history repeat --format csv
    exit code 0
    ----- stdout -----
    as_of,members,entered,exited
    2026-03-01,1,,
    2026-03-02,2,1,0
    ----- stderr -----
    ");
    assert_ran!(shop.run(&["lifecycle", "--as-of", D2]), @r"
    $ alluvial lifecycle --as-of 2026-03-02
    exit code 0
    ----- stdout -----
    stages as of 2026-03-02
    stage           customers  share  amount_spent  share_of_spend  predicted_value  cant_lose
    high_potential          2    0.4        620.30          0.6597           857.70          0
    nurture_needed          2    0.4        320.00          0.3403           354.31          0
    prospect                1    0.2          0.00               0                           0

    moves since 2026-03-01
    from_stage      to_stage        customers
    high_potential  nurture_needed          1
    new             high_potential          1
    nurture_needed  high_potential          1

    the model
    fact                    value      meaning
    model                   benchmark  what scored the day
    tier                    benchmark  how much history stands behind it: full, small, or the benchmark
    dropout_identified      false      whether the shop's data tells dropout from silence
    actual/expected buyers  16.84      buyers who ordered of the buyers of 2025-12-02: 1, expected 0.1
    actual/expected orders  14.48      order days of the buyers of 2025-12-02: 1, expected 0.1
    actual/expected spend   28.99      spend of the buyers of 2025-12-02: 200, expected 6.9
    calibration_error       0.941      mean distance of chance and outcome, by tenths of chance
    audit of churned        0 of 0     churned who ordered in 90 days; above 20% at a fit the label would be withheld
    ----- stderr -----
    ");
    assert_ran!(shop.run(&["segment", "sql", "repeat"]), @r"
    $ alluvial segment sql repeat
    exit code 0
    ----- stdout -----
    SELECT p.customer_id
    FROM customer_profile_latest p
    WHERE p.number_of_orders > 1
    ORDER BY p.customer_id
    ----- stderr -----
    ");
}

#[test]
fn what_cannot_be_answered_says_why() {
    let shop = TinyShop::new();
    assert_ran!(shop.run(&["segment", "members", "repeat"]), @r"
    $ alluvial segment members repeat
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[snapshot.none]: no day is published yet
      = help: publish one with `alluvial run nightly`
    ");
    assert_ran!(shop.run(&["segments", "--as-of", D1]), @r"
    $ alluvial segments --as-of 2026-03-01
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[snapshot.none]: no day is published yet
      = help: publish one with `alluvial run nightly`
    ");
    shop.night(D2);
    assert_ran!(shop.run(&["segment", "members", "repaet"]), @r"
    $ alluvial segment members repaet
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[segment.not_published]: no published day has a segment `repaet`
      = help: did you mean `repeat`?
    ");
    assert_ran!(shop.run(&["lifecycle", "--as-of", D1]), @r"
    $ alluvial lifecycle --as-of 2026-03-01
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[snapshot.no_such_day]: 2026-03-01 is not published; the newest day is 2026-03-02
      = help: publish it with `alluvial run nightly --as-of 2026-03-01`
    ");
    assert_ran!(shop.run(&["query", "SELECT * FROM customer_profiles"]), @r"
    $ alluvial query 'SELECT * FROM customer_profiles'
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[query.unknown_table]: there is no table `customer_profiles`
      = help: did you mean `customer_profile`?
    ");
    assert_ran!(shop.run(&["query", "SELECT custmer_id FROM customer_profile"]), @r"
    $ alluvial query 'SELECT custmer_id FROM customer_profile'
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[query.unknown_column]: there is no column `custmer_id`
      = help: did you mean `customer_id`?
    ");
    assert_ran!(shop.run(&["query", "SELEKT 1"]), @r"
    $ alluvial query 'SELEKT 1'
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[engine.sql_syntax]: sql parser error: Expected: an SQL statement, found: SELEKT at Line: 1, Column: 1
    ");
    assert_ran!(shop.run(&["query", "DROP TABLE customer_profile"]), @r"
    $ alluvial query 'DROP TABLE customer_profile'
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[query.read_only]: only queries are answered here
      = help: write a `SELECT`; tables are published by `alluvial run`
    ");
    assert_ran!(shop.run(&["query", "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'"]), @r"
    $ alluvial query 'CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd''
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[query.read_only]: only queries are answered here
      = help: write a `SELECT`; tables are published by `alluvial run`
    ");
    assert_ran!(shop.run(&["query", "COPY customer_profile TO '/tmp/x.csv'"]), @r"
    $ alluvial query 'COPY customer_profile TO '/tmp/x.csv''
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[query.read_only]: only queries are answered here
      = help: write a `SELECT`; tables are published by `alluvial run`
    ");
    assert_ran!(shop.run(&["query", "SELECT * FROM landed.order"]), @r"
    $ alluvial query 'SELECT * FROM landed.order'
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[query.unknown_table]: there is no table `landed.order`
      = help: did you mean `landed.orders`?
    ");
    assert_ran!(shop.run(&["run", "nihgtly", "--as-of", D1]), @r"
    $ alluvial run nihgtly --as-of 2026-03-01
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[jobs.unknown]: there is no job `nihgtly`
      = help: did you mean `nightly`?
    ");
    assert_ran!(shop.run(&["run", "nightly", "--from", D2, "--to", D1]), @r"
    $ alluvial run nightly --from 2026-03-02 --to 2026-03-01
    exit code 2
    ----- stdout -----
    ----- stderr -----
    error[run.empty_range]: the range ends on 2026-03-01, before it begins on 2026-03-02
    ");
    assert_ran!(shop.run(&["run", "nightly", "--as-of", "2026-02-30"]), @r"
    $ alluvial run nightly --as-of 2026-02-30
    exit code 2
    ----- stdout -----
    ----- stderr -----
    error: invalid value '2026-02-30' for '--as-of <DATE>': `2026-02-30` is not a date that exists; write a day as `yyyy-mm-dd`, such as `2026-11-19`

    For more information, try '--help'.
    ");
    assert_ran!(shop.run(&["segment", "preview", "--query", "number_of_ordres > 1"]), @r"
    $ alluvial segment preview --query 'number_of_ordres > 1'
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[segment.unknown_attribute]: there is no attribute `number_of_ordres`
     --> --query:1:1
      |
    1 | number_of_ordres > 1
      | ^^^^^^^^^^^^^^^^
      |
      = help: did you mean `number_of_orders`?
    ");
}
