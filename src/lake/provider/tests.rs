//! Reading published days.

use super::*;
use crate::lake::manifest::TableFiles;
use crate::lake::parts::{DataFile, FILE_ROWS, Partition, write};
use crate::lake::schema::file_schema;
use crate::lake::testing::{self, Fault, FaultyStore};
use arrow::array::{Int64Array, StringArray, StringViewArray, StructArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::SessionConfig;
use datafusion_proto::bytes::{physical_plan_from_bytes, physical_plan_to_bytes};
use object_store::memory::InMemory;
use std::sync::atomic::Ordering;

fn date(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, number).unwrap()
}

fn named(name: &str) -> Published {
    crate::schema::published::named(name).unwrap()
}

fn session(lake: &Lake) -> SessionContext {
    let runtime = Arc::new(RuntimeEnv::default());
    lake.register(&runtime);
    SessionContext::new_with_config_rt(SessionConfig::new().with_target_partitions(2), runtime)
}

async fn written(lake: &Lake, table: &Published, as_of: NaiveDate, rows: RecordBatch) -> (TableFiles, Vec<DataFile>) {
    let schema = file_schema(table, None, &rows.schema()).unwrap();
    let stream = futures::stream::iter([Ok(rows.clone())]).boxed();
    let partition = Partition { table, schema: Arc::clone(&schema), as_of, run_id: "run", file_rows: FILE_ROWS };
    let stream = Box::pin(RecordBatchStreamAdapter::new(rows.schema(), stream));
    let files = write(lake, &partition, stream).await.unwrap();
    (TableFiles::new(files.clone(), &schema).unwrap(), files)
}

fn members(rows: &[(&str, &str)]) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("segment", Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.0))) as ArrayRef),
        ("customer_id", Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.1))) as ArrayRef),
    ])
    .unwrap()
}

/// Orders of the newest day, with a column of the shop's own.
fn orders(ids: &[&str]) -> RecordBatch {
    let text = |value: &'static str| Arc::new(StringArray::from(vec![value; ids.len()])) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable([
        ("order_id", Arc::new(StringArray::from(ids.to_vec())) as ArrayRef, true),
        ("customer_id", text("c1"), true),
        ("ordered_on", arrow::array::new_null_array(&DataType::Date32, ids.len()), true),
        ("is_counted", arrow::array::new_null_array(&DataType::Boolean, ids.len()), true),
        ("net_amount", arrow::array::new_null_array(&DataType::Decimal128(18, 2), ids.len()), true),
        ("channel", text("web"), true),
    ])
    .unwrap()
}

/// Three days of members, and orders of each; manifests oldest first.
async fn three_days(lake: &Lake) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    for number in 1..=3 {
        let mut manifest = Manifest::new(date(number), "run", "UTC");
        let all = [("big", "c1"), ("big", "c2"), ("new", "c3")];
        let rows = members(&all[..number as usize]);
        let (files, _) = written(lake, &named("segment_members"), date(number), rows).await;
        manifest.tables.insert("segment_members".to_owned(), files);
        let (files, _) =
            written(lake, &named("orders"), date(number), orders(&["o1", "o2"][..(number as usize).min(2)])).await;
        manifest.tables.insert("orders".to_owned(), files);
        manifest.keep(lake).await.unwrap();
        manifests.push(manifest);
    }
    manifests
}

fn published_day(manifest: &Manifest) -> PublishedDay {
    PublishedDay {
        as_of: manifest.as_of,
        previous_as_of: None,
        run_id: manifest.run_id.clone(),
        published_at: chrono::DateTime::UNIX_EPOCH,
        as_known: None,
        stale: false,
        timezone: "UTC".to_owned(),
        manifest: manifest.path(),
        table_versions: BTreeMap::new(),
        row_counts: BTreeMap::new(),
        definition_hash: String::new(),
    }
}

async fn registered(lake: &Lake) -> SessionContext {
    let days: Vec<_> = three_days(lake).await.iter().map(published_day).collect();
    let ctx = session(lake);
    register_published(&ctx, lake, &days).await.unwrap();
    ctx
}

async fn answer(ctx: &SessionContext, sql: &str) -> String {
    let batches = Box::pin(async { ctx.sql(sql).await.unwrap().collect().await.unwrap() }).await;
    pretty_format_batches(&batches).unwrap().to_string()
}

async fn lines(ctx: &SessionContext, sql: &str) -> Vec<String> {
    let table = answer(ctx, sql).await;
    table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(|line| line.trim_matches(['|', ' ']).to_owned())
        .collect()
}

#[tokio::test]
async fn days_are_read_from_their_manifests() {
    let folder = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&folder), testing::memory()] {
        let ctx = registered(&lake).await;
        let counts = lines(&ctx, "SELECT as_of, count(*) FROM segment_members GROUP BY as_of ORDER BY as_of").await;
        assert_eq!(counts, ["2026-11-01 | 1", "2026-11-02 | 2", "2026-11-03 | 3"]);
        let all = lines(&ctx, "SELECT * FROM segment_members ORDER BY as_of, customer_id LIMIT 2").await;
        assert_eq!(all, ["2026-11-01 | big     | c1", "2026-11-02 | big     | c1"]);
        let latest = lines(&ctx, "SELECT customer_id, as_of FROM segment_members_latest WHERE segment = 'new'").await;
        assert_eq!(latest, ["c3          | 2026-11-03"]);
        assert_eq!(lines(&ctx, "SELECT order_id, channel FROM orders ORDER BY 1").await.len(), 2);
        assert_eq!(lines(&ctx, "SELECT count(*) FROM segment_sizes").await, ["0"], "a table without rows is there");
    }
}

#[tokio::test]
async fn files_that_no_manifest_names_are_not_read() {
    let lake = testing::memory();
    let ctx = registered(&lake).await;
    let (_, held) = written(&lake, &named("segment_members"), date(4), members(&[("held", "c9")])).await;
    assert!(lake.exists(&held[0].path).await.unwrap());
    assert_eq!(lines(&ctx, "SELECT count(*) FROM segment_members WHERE segment = 'held'").await, ["0"]);
}

#[tokio::test]
async fn other_days_are_not_touched_and_counting_reads_nothing() {
    let (lake, _) = testing::faulty(FaultyStore::new(Arc::new(InMemory::new()), Fault::None));
    let ctx = registered(&lake).await;
    for (filter, files) in [
        ("as_of = DATE '2026-11-02'", 1),
        ("as_of >= DATE '2026-11-02' AND segment = 'big'", 2),
        ("as_of IN (DATE '2026-11-01', DATE '2026-11-03')", 2),
        ("as_of = DATE '2026-11-02' OR segment = 'big'", 3),
        ("segment = 'big'", 3),
    ] {
        let sql = format!("SELECT customer_id FROM segment_members WHERE {filter}");
        let plan = ctx.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert_eq!(text.matches("part-00000-run.parquet").count(), files, "{filter}: {text}");
    }
    let none = "SELECT customer_id FROM segment_members WHERE as_of > DATE '2027-01-01'";
    assert_eq!(lines(&ctx, none).await, Vec::<String>::new());
    let plan = ctx.sql("SELECT count(*) FROM segment_members").await.unwrap().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert!(!text.contains("parquet"), "rows are counted from the manifest: {text}");
}

#[tokio::test]
async fn a_plan_survives_being_sent_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let lake = testing::folder(&folder);
    let ctx = registered(&lake).await;
    for sql in [
        "SELECT segment, count(DISTINCT customer_id) FROM segment_members WHERE as_of > DATE '2026-11-01' GROUP BY 1 ORDER BY 1",
        "SELECT m.as_of, o.order_id FROM segment_members m JOIN orders o ON o.customer_id = m.customer_id ORDER BY 1, 2",
    ] {
        let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let bytes = physical_plan_to_bytes(Arc::clone(&plan)).unwrap();
        let elsewhere = session(&lake);
        let sent = physical_plan_from_bytes(&bytes, &elsewhere.task_ctx()).unwrap();
        let there = collect(sent, elsewhere.task_ctx()).await.unwrap();
        let here = collect(plan, ctx.task_ctx()).await.unwrap();
        assert_eq!(
            pretty_format_batches(&there).unwrap().to_string(),
            pretty_format_batches(&here).unwrap().to_string()
        );
        assert!(there.iter().map(RecordBatch::num_rows).sum::<usize>() > 0);
    }
}

#[tokio::test]
async fn columns_that_an_older_day_lacks_are_null_there() {
    let lake = testing::memory();
    let table = Published { key: &[], columns: Vec::new(), open: true, ..named("lifecycle_transitions") };
    let of = |columns: Vec<(&str, ArrayRef)>| {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    };
    let one = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let field = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
    let narrow = Arc::new(StructArray::from(vec![(field("a"), one(1))])) as ArrayRef;
    let wide = Arc::new(StructArray::from(vec![(field("a"), one(2)), (field("b"), one(3))])) as ArrayRef;
    let mut manifests = Vec::new();
    for (number, rows) in [
        (1, of(vec![("tier", one(1)), ("gone", one(5)), ("detail", narrow)])),
        (2, of(vec![("tier", one(2)), ("fresh", one(6)), ("detail", wide)])),
    ] {
        let mut manifest = Manifest::new(date(number), "run", "UTC");
        let (files, _) = written(&lake, &table, date(number), rows).await;
        manifest.tables.insert(table.name.to_owned(), files);
        manifests.push(manifest);
    }
    let ctx = session(&lake);
    ctx.register_table("m", Arc::new(DayTable::over(&lake, &table, &manifests).unwrap())).unwrap();
    let rows = lines(&ctx, "SELECT tier, fresh, gone, detail['a'] AS a, detail['b'] AS b FROM m ORDER BY tier").await;
    assert_eq!(rows, ["1    |       | 5    | 1", "2    | 6     |      | 2 | 3"]);
}

#[tokio::test]
async fn a_file_that_is_gone_or_another_is_named() {
    let lake = testing::memory();
    let manifests = three_days(&lake).await;
    let path = manifests[1].tables["segment_members"].files[0].path.clone();
    let failure = async |lake: &Lake| {
        let ctx = session(lake);
        ctx.register_table("m", Arc::new(DayTable::over(lake, &named("segment_members"), &manifests).unwrap()))
            .unwrap();
        assert_eq!(lines(&ctx, "SELECT customer_id FROM m WHERE as_of = DATE '2026-11-01'").await, ["c1"]);
        let error = Box::pin(async { ctx.sql("SELECT customer_id FROM m").await?.collect().await }).await.unwrap_err();
        Error::from(error)
    };
    lake.put(&path, "something else").await.unwrap();
    let error = failure(&lake).await;
    assert_eq!((error.code(), error.place().file.as_deref()), ("lake.damaged", Some(path.as_str())));
    lake.delete(&path).await.unwrap();
    let error = failure(&lake).await;
    assert_eq!((error.code(), error.place().file.as_deref()), ("lake.not_found", Some(path.as_str())));
}

#[tokio::test]
async fn datafusion_reads_through_our_store() {
    let (lake, store) = testing::faulty(FaultyStore::new(Arc::new(InMemory::new()), Fault::None));
    let ctx = registered(&lake).await;
    let before = store.reads.load(Ordering::SeqCst);
    assert_eq!(lines(&ctx, "SELECT customer_id FROM segment_members_latest").await.len(), 3);
    assert!(store.reads.load(Ordering::SeqCst) > before + 1);
}

#[tokio::test]
async fn a_local_lake_is_read_through_our_store_too() {
    // DataFusion brings a store for local files of its own; ours must stand in its place.
    let folder = tempfile::tempdir().unwrap();
    let lake = testing::folder(&folder);
    let runtime = RuntimeEnv::default();
    lake.register(&runtime);
    let found = runtime.object_store(lake.store_url()).unwrap();
    assert!(found.to_string().contains("DurableFileSystem"), "{found}");
}

#[tokio::test]
async fn logs_are_read_at_their_newest_version() {
    let lake = testing::memory();
    let ctx = session(&lake);
    register_logs(&ctx, &lake).await.unwrap();
    assert_eq!(lines(&ctx, "SELECT count(*) FROM job_runs").await, ["0"]);
    assert_eq!(lines(&ctx, "SELECT count(*) FROM snapshots").await, ["0"]);

    let day = published_day(&three_days(&lake).await[0]);
    let snapshots = crate::lake::snapshots::Snapshots::read(&lake).await.unwrap();
    Box::pin(snapshots.publish(&day, None, &[], 1)).await.unwrap();
    let ctx = session(&lake);
    register_logs(&ctx, &lake).await.unwrap();
    let rows = lines(&ctx, "SELECT as_of, run_id, stale FROM snapshots").await;
    assert_eq!(rows, ["2026-11-01 | run    | false"]);
}

fn bytes_scanned(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned")).map_or(0, |sum| sum.as_usize());
    own + plan.children().into_iter().map(bytes_scanned).sum::<usize>()
}

#[tokio::test]
async fn a_query_for_one_segment_of_one_day_reads_its_row_groups_and_no_others() {
    const GROUP: usize = 262_144;
    let lake = testing::memory();
    let segments: Vec<&str> = ["a", "b", "c"].iter().flat_map(|segment| std::iter::repeat_n(*segment, GROUP)).collect();
    let mut customers: Vec<String> =
        (0..3 * GROUP).map(|at| format!("{:08x}", at.wrapping_mul(2_654_435_761) % 0xffff_ffff)).collect();
    customers.chunks_mut(GROUP).for_each(<[String]>::sort_unstable);
    let rows: Vec<(&str, &str)> = segments.into_iter().zip(customers.iter().map(String::as_str)).collect();
    let mut days = Vec::new();
    for number in 1..=2 {
        let mut manifest = Manifest::new(date(number), "run", "UTC");
        let (files, _) = written(&lake, &named("segment_members"), date(number), members(&rows)).await;
        manifest.tables.insert("segment_members".to_owned(), files);
        manifest.keep(&lake).await.unwrap();
        days.push(published_day(&manifest));
    }
    let ctx = session(&lake);
    register_published(&ctx, &lake, &days).await.unwrap();
    let read = async |sql: &str| {
        let plan = Box::pin(async { ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap() }).await;
        let rows = Box::pin(collect(Arc::clone(&plan), ctx.task_ctx())).await.unwrap();
        (rows.iter().map(RecordBatch::num_rows).sum::<usize>(), bytes_scanned(&plan))
    };
    let (everything, both_days) = read("SELECT segment, customer_id FROM segment_members").await;
    assert_eq!(everything, 6 * GROUP);
    let day = "SELECT segment, customer_id FROM segment_members WHERE as_of = DATE '2026-11-02'";
    let (all, one_day) = read(day).await;
    assert_eq!(all, 3 * GROUP);
    assert!(one_day * 19 / 10 < both_days && one_day * 21 / 10 > both_days, "{one_day} of {both_days}");
    let (one, one_group) = read(&format!("{day} AND segment = 'b'")).await;
    assert_eq!(one, GROUP);
    // A third of the day, and what stands between the groups.
    assert!(one_group * 28 / 10 < one_day, "{one_group} of {one_day}");
    let (none, nothing) = read(&format!("{day} AND segment = 'd'")).await;
    assert_eq!((none, nothing), (0, 0));
}
