/// What is faulty stops with a place, and nothing is landed.
mod faults;
/// Landed values as the run reads them.
mod round_trip;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::write::{PART, Writer};
use super::{Imported, Request, import};
use crate::calendar::{Zone, parse_date};
use crate::error::Result;
use crate::land::TableOptions;
use crate::schema::landed::Table;

/// A lake in memory and a folder of files to land.
struct Bench {
    folder: TempDir,
    store: Arc<dyn ObjectStore>,
}

impl Bench {
    fn new() -> Self {
        Self::on(Arc::new(InMemory::new()))
    }

    fn on(store: Arc<dyn ObjectStore>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn request(&self, table: Table, files: &[PathBuf]) -> Request {
        Request {
            table,
            files: files.to_vec(),
            zone: Zone::parse("Europe/Copenhagen").unwrap(),
            land_day: parse_date("2026-11-19").unwrap(),
            settings: TableOptions::default(),
            fields: BTreeMap::new(),
        }
    }

    async fn import(&self, request: &Request) -> Result<Vec<Imported>> {
        import(&self.store, &Path::from("landing"), request).await
    }

    async fn land(&self, table: Table, name: &str, bytes: impl AsRef<[u8]>) -> Result<Imported> {
        let file = self.file(name, bytes);
        Ok(self.import(&self.request(table, &[file])).await?.remove(0))
    }

    /// Everything in the lake, with its bytes.
    async fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let found: Vec<_> = self.store.list(None).try_collect().await.unwrap();
        let mut objects = BTreeMap::new();
        for meta in found {
            let bytes = self.store.get(&meta.location).await.unwrap().bytes().await.unwrap();
            objects.insert(meta.location.to_string(), bytes.to_vec());
        }
        objects
    }

    async fn batches(&self, path: &Path) -> Vec<RecordBatch> {
        let bytes = self.store.get(path).await.unwrap().bytes().await.unwrap();
        ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap().map(Result::unwrap).collect()
    }

    async fn shown(&self, path: &Path) -> String {
        arrow::util::pretty::pretty_format_batches(&self.batches(path).await).unwrap().to_string()
    }
}

const ORDERS: &str = "order_id,ordered_at,total\n1,2026-11-18T10:00:00Z,9.90\n2,2026-11-18T11:00:00Z,12.10\n";

fn parquet_of(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn the_same_bytes_land_once_whatever_the_day_and_name() {
    let bench = Bench::new();
    let first = bench.land(Table::Orders, "a.csv", ORDERS).await.unwrap();
    assert_eq!((first.rows, first.already), (2, false));
    assert!(first.path.as_ref().starts_with("landing/orders/dt=2026-11-19/"), "{}", first.path);
    assert_eq!(first.path.filename().unwrap().len(), 16 + ".parquet".len());
    let before = bench.objects().await;
    let copy = bench.file("b.csv", ORDERS);
    let mut request = bench.request(Table::Orders, &[copy.clone(), copy.clone()]);
    request.land_day = parse_date("2026-12-24").unwrap();
    for again in bench.import(&request).await.unwrap() {
        assert_eq!(again, Imported { file: copy.clone(), already: true, ..first.clone() });
    }
    assert_eq!(bench.objects().await, before);
    // Another table is another place.
    let other = bench.land(Table::Customers, "c.csv", "customer_id\n1\n").await.unwrap();
    assert!(!other.already);
    assert_eq!(bench.objects().await.len(), 2);
}

#[tokio::test]
async fn one_command_with_the_same_bytes_twice_lands_them_once() {
    let bench = Bench::new();
    let files = [bench.file("a.csv", ORDERS), bench.file("b.csv", ORDERS)];
    let landed = bench.import(&bench.request(Table::Orders, &files)).await.unwrap();
    assert_eq!(landed.iter().map(|file| file.already).collect::<Vec<_>>(), [false, true]);
    assert_eq!(bench.objects().await.len(), 1);
}

#[tokio::test]
async fn the_landed_bytes_depend_on_the_file_alone() {
    let (one, two) = (Bench::new(), Bench::new());
    one.land(Table::Orders, "a.csv", ORDERS).await.unwrap();
    two.land(Table::Orders, "b.csv", ORDERS).await.unwrap();
    assert_eq!(one.objects().await, two.objects().await);
}

#[tokio::test]
async fn a_file_in_a_day_folder_keeps_its_day() {
    let bench = Bench::new();
    let landed = bench.land(Table::Orders, "dt=2026-11-02/a.csv", ORDERS).await.unwrap();
    assert!(landed.path.as_ref().starts_with("landing/orders/dt=2026-11-02/"), "{}", landed.path);
}

#[tokio::test]
async fn landing_again_in_another_zone_says_that_nothing_changed() {
    let bench = Bench::new();
    let file = bench.file("a.csv", ORDERS.replace('Z', ""));
    let mut request = bench.request(Table::Orders, &[file]);
    let first = bench.import(&request).await.unwrap().remove(0);
    assert!(bench.shown(&first.path).await.contains("2026-11-18T09:00:00Z"));
    assert_eq!(bench.import(&request).await.unwrap()[0].warnings, first.warnings);
    request.zone = Zone::UTC;
    let again = bench.import(&request).await.unwrap().remove(0);
    assert!(again.already);
    assert!(again.warnings[0].contains("landed with its times read in Europe/Copenhagen"), "{:?}", again.warnings);
}

#[tokio::test]
async fn a_local_lake_gets_the_file_and_nothing_else() {
    let lake = tempfile::tempdir().unwrap();
    let store = object_store::local::LocalFileSystem::new_with_prefix(lake.path()).unwrap();
    let bench = Bench::on(Arc::new(store));
    let landed = bench.land(Table::Orders, "a.csv", ORDERS).await.unwrap();
    let folder = lake.path().join("landing/orders/dt=2026-11-19");
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [landed.path.filename().unwrap()]);
    assert_eq!(bench.batches(&landed.path).await[0].num_rows(), 2);
}

#[tokio::test]
async fn separators_compression_and_marks() {
    use std::io::Write;
    let bench = Bench::new();
    let semicolons = "\u{feff}\"order_id\";ordered_at;total;note\r\n1;2026-11-18T10:00:00Z;9.90;\"a;\r\nb\"\r\n";
    let tabs = "order_id\tordered_at\ttotal\n1\t2026-11-18T10:00:00Z\t9.90\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(semicolons.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    for (name, bytes) in [("a.csv", semicolons.as_bytes()), ("b.tsv", tabs.as_bytes()), ("c.csv.gz", &gzip)] {
        let landed = bench.land(Table::Orders, name, bytes).await.unwrap();
        let shown = bench.shown(&landed.path).await;
        assert!(shown.contains("| 1        | 2026-11-18T10:00:00Z | 9.90 "), "{shown}");
        assert_eq!((landed.rows, landed.already), (1, false));
    }
}

#[tokio::test]
async fn whole_parquet_is_copied_and_text_times_get_an_offset() {
    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    let bench = Bench::new();
    let batch = |times: [&str; 2]| {
        RecordBatch::try_from_iter([
            ("order_id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
            ("ordered_at", Arc::new(StringArray::from(times.to_vec()))),
            ("total", Arc::new(Float64Array::from(vec![9.9, 12.1]))),
        ])
        .unwrap()
    };
    let whole = parquet_of(&batch(["2026-11-18T10:00:00Z", "nonsense"]));
    let landed = bench.land(Table::Orders, "a.parquet", &whole).await.unwrap();
    assert_eq!(bench.objects().await[landed.path.as_ref()], whole);
    assert_eq!(landed.warnings, ["one value of `ordered_at` is no time (row 1): its row will be rejected"]);
    let local = parquet_of(&batch(["2026-11-18T10:00:00Z", "2026-11-18 10:00:00"]));
    let landed = bench.land(Table::Orders, "b.parquet", &local).await.unwrap();
    let shown = bench.shown(&landed.path).await;
    assert!(shown.contains("| 1        | 2026-11-18T10:00:00Z | 9.9"), "{shown}");
    assert!(shown.contains("| 2        | 2026-11-18T09:00:00Z | 12.1"), "{shown}");
}

#[tokio::test]
async fn slips_and_what_will_be_rejected_are_told() {
    let bench = Bench::new();
    let text = "order_id,ordered_at,total,custmer_id,gift\n1,18.11.2026,9.90,7,x\n";
    let landed = bench.land(Table::Orders, "a.csv", text).await.unwrap();
    assert_eq!(
        landed.warnings,
        [
            "column `custmer_id` is unknown to orders: is it meant to be `customer_id`?",
            "one value of `ordered_at` is no time (line 2): its row will be rejected",
        ]
    );
    let landed = bench.land(Table::Orders, "b.csv", "order_id,ordered_at,total\n").await.unwrap();
    assert_eq!((landed.rows, landed.warnings), (0, vec!["the file has no rows".to_owned()]));
}

#[tokio::test]
async fn a_mapped_column_serves_for_the_contracts() {
    let bench = Bench::new();
    let file = bench.file("a.csv", "nr,placed,total\n1,2026-11-18 10:00,9.90\n");
    let mut request = bench.request(Table::Orders, &[file]);
    assert_eq!(bench.import(&request).await.unwrap_err().code(), "land.missing_column");
    request.settings.columns = [("order_id", "nr"), ("ordered_at", "placed")]
        .map(|(contract, landed)| (contract.to_owned(), landed.to_owned()))
        .into();
    let landed = bench.import(&request).await.unwrap().remove(0);
    assert!(landed.warnings.is_empty(), "{:?}", landed.warnings);
    assert!(bench.shown(&landed.path).await.contains("| 1  | 2026-11-18T09:00:00Z | 9.90"));
}

#[tokio::test]
async fn json_lines_keep_what_was_written() {
    let bench = Bench::new();
    let text = concat!(
        "{\"event_id\":17.0,\"occurred_at\":\"2026-11-18 10:00\",\"type\":\"searched\",\"value\":1.10,",
        "\"properties\":{\"q\": \"sh\\u00f8e\",\"n\":[1]},\"machine\":false,\"score\":7,\"seen\":[\"a\",\"b\"],\"odd\":null}\n\n",
        "{\"type\":\"searched\",\"occurred_at\":\"2026-11-18T10:00:00Z\",\"event_id\":\"x\\\"y\",\"score\":0.5,\"late\":true}\n",
    );
    let landed = bench.land(Table::Events, "a.jsonl", text).await.unwrap();
    let shown = bench.shown(&landed.path).await;
    assert_eq!(landed.warnings, ["column `odd` has no value in any line and is left out"]);
    insta::assert_snapshot!(shown, @r#"
    +----------+----------------------+----------+-------+----------------------------+---------+-------+--------+------+
    | event_id | occurred_at          | type     | value | properties                 | machine | score | seen   | late |
    +----------+----------------------+----------+-------+----------------------------+---------+-------+--------+------+
    | 17       | 2026-11-18T09:00:00Z | searched | 1.10  | {"q": "sh\u00f8e","n":[1]} | false   | 7.0   | [a, b] |      |
    | x"y      | 2026-11-18T10:00:00Z | searched |       |                            |         | 0.5   |        | true |
    +----------+----------------------+----------+-------+----------------------------+---------+-------+--------+------+
    "#);
    let batch = &bench.batches(&landed.path).await[0];
    let types: Vec<String> = batch.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    let text = "Utf8, Utf8, Utf8, Utf8, Utf8, Utf8";
    assert_eq!(types.join(", "), format!("{text}, Float64, List(Utf8, field: 'element'), Boolean"));
}

#[test]
fn a_large_file_streams_in_parts_and_row_groups() {
    use rand::{Rng, SeedableRng};
    use std::fmt::Write as _;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut text = "order_id,ordered_at,total,note\n".to_owned();
    for row in 0..300_000 {
        writeln!(text, "{row},2026-11-18 10:00:00,{}.50,{}", row % 90, hex::encode(random.random::<[u8; 32]>()))
            .unwrap();
    }
    let bench = Bench::new();
    let file = bench.file("large.csv", &text);
    drop(text);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = Arc::new(bench.request(Table::Orders, std::slice::from_ref(&file)));
    let checked = runtime.block_on(super::check(&request, &file)).unwrap();
    assert_eq!(checked.rows, 300_000);
    // Nobody keeps more than a part: the writer waits until the one before is taken.
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
    let (zone, from) = (request.zone, file.clone());
    let writing = std::thread::spawn(move || super::write(&from, &checked, zone, sender).unwrap());
    let mut parts = Vec::new();
    while let Some(part) = receiver.blocking_recv() {
        assert!(part.len() <= PART);
        parts.push(part);
    }
    assert_eq!(writing.join().unwrap().0, 300_000);
    assert!(parts.len() > 1, "{}", parts.len());
    let whole = bytes::Bytes::from(parts.concat());
    let builder = ParquetRecordBatchReaderBuilder::try_new(whole).unwrap();
    let rows: Vec<i64> = builder.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert!(rows.len() > 2 && rows.iter().all(|rows| *rows <= 128 << 10), "{rows:?}");
    assert_eq!(rows.iter().sum::<i64>(), 300_000);
    let landed = runtime.block_on(bench.import(&request)).unwrap();
    assert_eq!((landed[0].rows, landed[0].already), (300_000, false));
}

#[test]
fn wide_rows_do_not_fill_the_memory() {
    use super::columns::{Column, Landing, schema};
    use super::json::Value;
    use super::write::Rows;
    use rand::{Rng, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let noise: String = (0..1 << 20).map(|_| char::from(random.random_range(b'0'..=b'o'))).collect();
    let columns = [Column { name: "a".into(), reading: None, landing: Landing::Text }];
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
    let taking = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while let Some(part) = receiver.blocking_recv() {
            bytes.extend_from_slice(&part);
        }
        bytes
    });
    let mut writer = Writer::new(schema(&columns), None, sender).unwrap();
    let mut rows = Rows::new(&mut writer, &columns, Zone::UTC);
    for row in 0..112 {
        let text = format!("{row}{noise}");
        rows.push(|_| Some(Value::Text(text.as_str().into()))).unwrap();
    }
    rows.flush().unwrap();
    writer.finish().unwrap();
    let whole = bytes::Bytes::from(taking.join().unwrap());
    let builder = ParquetRecordBatchReaderBuilder::try_new(whole).unwrap();
    assert!(builder.metadata().num_row_groups() > 1);
    assert_eq!(builder.metadata().file_metadata().num_rows(), 112);
}
