//! Data files.

use super::*;
use crate::lake::manifest::verify_file;
use crate::lake::testing;
use crate::schema::published::{Keeps, named};
use arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, StringViewArray};
use arrow::datatypes::Field;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 19).unwrap()
}

fn table() -> Published {
    Published {
        name: "t",
        keeps: Keeps::Days,
        key: &["id"],
        columns: vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
        ],
        open: false,
        contact: false,
    }
}

fn schema(table: &Published) -> SchemaRef {
    Arc::new(Schema::new(table.columns.clone()))
}

/// Rows from `range`, as a session has them.
fn rows(range: std::ops::Range<usize>) -> RecordBatch {
    let n: Vec<Option<i64>> = range.clone().map(|i| (i % 7 != 0).then_some((i * i % 1000) as i64)).collect();
    let x: Vec<f64> = range.clone().map(|i| (i as f64).sin()).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(StringViewArray::from_iter_values(range.map(|i| format!("customer {i:07}")))) as ArrayRef),
        ("n", Arc::new(Int64Array::from(n)) as ArrayRef),
        ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
    ])
    .unwrap()
}

fn stream(batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let schema = batches.first().map_or_else(|| rows(0..1).schema(), RecordBatch::schema);
    let batches = futures::stream::iter(batches.into_iter().map(Ok));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed()))
}

fn cut(count: usize, size: usize) -> Vec<RecordBatch> {
    (0..count).step_by(size).map(|start| rows(start..count.min(start + size))).collect()
}

async fn written(
    lake: &Lake,
    table: &Published,
    run_id: &str,
    file_rows: usize,
    batches: Vec<RecordBatch>,
) -> Result<Vec<DataFile>> {
    let partition = Partition { table, schema: schema(table), as_of: day(), run_id, file_rows };
    write(lake, &partition, stream(batches)).await
}

async fn bytes(lake: &Lake, file: &DataFile) -> Bytes {
    lake.store().get(&lake.path(&file.path)).await.unwrap().bytes().await.unwrap()
}

#[tokio::test]
async fn the_same_rows_give_the_same_bytes_however_they_come() {
    let lake = testing::memory();
    let count = GROUP_ROWS + 20_000;
    let mut first: Option<Vec<Bytes>> = None;
    for (run, size) in [count, 8_192, 1_000, 77_777].into_iter().enumerate() {
        let files = written(&lake, &table(), &format!("run-{run}"), GROUP_ROWS, cut(count, size)).await.unwrap();
        assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [GROUP_ROWS as u64, 20_000]);
        assert_eq!(files[1].path, format!("tables/t/as_of=2026-11-19/part-00001-run-{run}.parquet"));
        let mut all = Vec::new();
        for file in &files {
            verify_file(&lake, file).await.unwrap();
            all.push(bytes(&lake, file).await);
        }
        assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "batches of {size}");
    }
}

#[tokio::test]
async fn a_local_folder_holds_the_same_bytes_and_they_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (local, memory) = (testing::folder(&folder), testing::memory());
    let ours = written(&local, &table(), "run", FILE_ROWS, cut(30_000, 4_000)).await.unwrap();
    let theirs = written(&memory, &table(), "run", FILE_ROWS, cut(30_000, 4_000)).await.unwrap();
    assert_eq!(ours, theirs);
    let read = ParquetRecordBatchReaderBuilder::try_new(bytes(&local, &ours[0]).await).unwrap();
    assert_eq!(read.metadata().file_metadata().created_by(), Some(CREATED_BY));
    let batches: Vec<RecordBatch> = read.build().unwrap().map(Result::unwrap).collect();
    let back = arrow::compute::concat_batches(&schema(&table()), &batches).unwrap();
    assert_eq!(back, conform(&rows(0..30_000), &schema(&table())).unwrap());
}

#[tokio::test]
async fn large_files_go_up_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let lake = testing::folder(&folder);
    // Noise that does not compress, so that the file is larger than one part of an upload.
    let noisy = |start: usize| {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(start as u64 + 1);
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed ^ (seed >> 29)
        };
        let x: Vec<f64> = (0..8_192).map(|_| f64::from_bits(noise() >> 2)).collect();
        let n: Vec<i64> = (0..8_192).map(|_| noise() as i64).collect();
        let mut columns = rows(start..start + 8_192).columns().to_vec();
        columns[1] = Arc::new(Int64Array::from(n));
        columns[2] = Arc::new(Float64Array::from(x));
        RecordBatch::try_new(rows(0..1).schema(), columns).unwrap()
    };
    let batches = (0..100).map(|i| noisy(i * 8_192)).collect();
    let files = written(&lake, &table(), "run", FILE_ROWS, batches).await.unwrap();
    assert!(files[0].size > UPLOAD_BYTES as u64, "{files:?}");
    verify_file(&lake, &files[0]).await.unwrap();
}

#[tokio::test]
async fn no_rows_are_no_file() {
    let lake = testing::memory();
    assert_eq!(written(&lake, &table(), "run", FILE_ROWS, Vec::new()).await.unwrap(), []);
    assert_eq!(written(&lake, &table(), "run", FILE_ROWS, vec![rows(0..0)]).await.unwrap(), []);
    assert_eq!(lake.list("").await.unwrap(), []);
}

#[tokio::test]
async fn rows_out_of_order_or_twice_are_refused() {
    let lake = testing::memory();
    for batches in [
        vec![rows(5..9), rows(0..5)],
        vec![rows(0..5), rows(4..9)],
        vec![arrow::compute::concat_batches(&rows(0..1).schema(), &[rows(1..2), rows(0..1)]).unwrap()],
    ] {
        let error = written(&lake, &table(), "run", FILE_ROWS, batches).await.unwrap_err();
        assert_eq!(error.code(), "lake.not_sorted");
    }
    assert_eq!(lake.list("").await.unwrap(), [], "nothing half written is visible");
}

#[tokio::test]
async fn rows_of_another_day_are_refused() {
    let lake = testing::memory();
    let with_day = |offset: i32| {
        let rows = rows(0..2);
        let day = Date32Type::from_naive_date(day());
        let mut columns = vec![("as_of", Arc::new(Date32Array::from(vec![day, day + offset])) as ArrayRef)];
        columns.extend(["id", "n", "x"].map(|name| (name, Arc::clone(rows.column_by_name(name).unwrap()))));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let files = written(&lake, &table(), "run", FILE_ROWS, vec![with_day(0)]).await.unwrap();
    let read = ParquetRecordBatchReaderBuilder::try_new(bytes(&lake, &files[0]).await).unwrap();
    assert!(read.schema().field_with_name(AS_OF).is_err(), "the day is in the folder's name only");
    let error = written(&lake, &table(), "run", FILE_ROWS, vec![with_day(1)]).await.unwrap_err();
    assert_eq!(error.code(), "lake.wrong_day");
}

#[tokio::test]
async fn run_ids_cannot_leave_the_folder() {
    let lake = testing::memory();
    for run_id in ["", "../../x", "a/b", "a b", "å", &"x".repeat(101)] {
        let error = written(&lake, &table(), run_id, FILE_ROWS, vec![rows(0..2)]).await.unwrap_err();
        assert_eq!(error.code(), "lake.run_id");
    }
}

#[tokio::test]
async fn contact_columns_leave_no_trace_in_footers() {
    let lake = testing::memory();
    let contacts = named("customer_contacts").unwrap();
    let batch = RecordBatch::try_from_iter([
        ("customer_id", Arc::new(StringViewArray::from(vec!["c1", "c2"])) as ArrayRef),
        ("email", Arc::new(StringViewArray::from(vec!["canary@example.org", "canary@example.org"])) as ArrayRef),
    ])
    .unwrap();
    let schema = crate::lake::schema::file_schema(&contacts, None, &batch.schema()).unwrap();
    let partition = Partition { table: &contacts, schema, as_of: day(), run_id: "run", file_rows: FILE_ROWS };
    let files = write(&lake, &partition, stream(vec![batch])).await.unwrap();
    assert_eq!(files[0].path, "tables/customer_contacts/part-00000-run.parquet");
    let body = bytes(&lake, &files[0]).await;
    let read = ParquetRecordBatchReaderBuilder::try_new(body.clone()).unwrap();
    let group = read.metadata().row_group(0);
    assert!(group.column(0).statistics().is_some());
    assert!(group.column(1).statistics().is_none());
    let footer = u32::from_le_bytes(body[body.len() - 8..body.len() - 4].try_into().unwrap()) as usize;
    let footer = &body[body.len() - 8 - footer..];
    assert!(!footer.windows(6).any(|text| text == b"canary"));
}
