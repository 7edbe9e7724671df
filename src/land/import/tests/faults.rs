use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, UploadPart,
};
use rand::{Rng, SeedableRng};

use super::*;
use crate::error::{Error, Kind};
use crate::land::import;

/// Lands one file that is faulty: the error, after a look that nothing was landed and that the file is named.
async fn fault(table: Table, name: &str, bytes: impl AsRef<[u8]>) -> Error {
    let bench = Bench::new();
    let error = bench.land(table, name, bytes).await.unwrap_err();
    assert!(error.place().file.as_deref().is_some_and(|file| file.ends_with(name)), "{error} {error:?}");
    assert!(bench.objects().await.is_empty());
    error
}

#[tokio::test]
async fn csv_faults_have_their_place() {
    let row = "1,2026-11-18T10:00:00Z,9.90";
    let header = "order_id,ordered_at,total";
    for (text, code, line, column, message) in [
        (format!("{header}\n{row}\n{row},x\n"), "land.csv_columns", 3, Some(29), "3 columns, but this line has 4"),
        (format!("{header}\n1,2026\n"), "land.csv_columns", 2, None, "3 columns, but this line has 2"),
        (format!("{header}\n{row}\n2,\"2026\n\n"), "land.csv_quote", 3, Some(3), "never closed"),
        (format!("{header}\n1,\"20\"26,9\n"), "land.csv_quote", 2, Some(7), "follows the quote"),
        (format!("{header},total\n{row},1\n"), "land.repeated_column", 1, None, "3 and 4 are both named `total`"),
        (format!("{header},\n{row},1\n"), "land.unnamed_column", 1, None, "column 4 has no name"),
        (
            format!("order_id,ordered,total\n{row}\n"),
            "land.missing_column",
            1,
            None,
            "`ordered_at` of orders is missing",
        ),
        (format!("{row}\n{row}\n"), "land.missing_header", 1, None, "names no column of orders"),
    ] {
        let error = fault(Table::Orders, "a.csv", &text).await;
        assert_eq!((error.code(), error.kind()), (code, Kind::Input), "{text}");
        assert_eq!((error.place().line, error.place().column), (Some(line), column), "{text}");
        assert!(error.message().contains(message), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    let error = fault(Table::Orders, "a.csv", b"order_id,ordered_at,total\n1,2026-11-18T10:00:00Z,9\n2,\xe9,1\n").await;
    assert_eq!((error.code(), error.place().line, error.place().column), ("land.not_utf8", Some(3), Some(3)));
    let error = fault(Table::Customers, "a.csv", "custmer_id,city\n1,Aarhus\n").await;
    assert!(error.hint().unwrap().contains("`custmer_id`"), "{error:?}");
}

#[tokio::test]
async fn a_file_without_header_shows_no_value() {
    let error = fault(Table::Customers, "a.csv", "17,Ada Lovelace,ada@example.com\n18,Bo Ek,bo@example.com\n").await;
    let told = format!("{error} {:?}", error.hint());
    assert!(!told.contains("Ada") && !told.contains("ada@"), "{told}");
}

#[tokio::test]
async fn json_faults_have_their_place() {
    let good = "{\"customer_id\":1}";
    for (text, code, line, column) in [
        (format!("{good}\n{{\"customer_id\":}}\n"), "land.json_line", Some(2), Some(16)),
        (format!("{good}\n[1]\n"), "land.json_line", Some(2), Some(1)),
        ("{\n \"customer_id\": 1\n}\n".to_owned(), "land.json_line", Some(1), Some(2)),
        (format!("{good}\n{{\"city\":1,\"city\":2}}"), "land.repeated_column", Some(2), None),
        ("{\"custmer_id\":1}".to_owned(), "land.missing_column", None, None),
        ("{\"customer_id\":1,\"\":2}".to_owned(), "land.unnamed_column", None, None),
        (" \n\n".to_owned(), "land.empty_file", None, None),
    ] {
        let error = fault(Table::Customers, "a.jsonl", &text).await;
        assert_eq!((error.code(), error.place().line, error.place().column), (code, line, column), "{text}");
        assert!(error.hint().is_some(), "{error}");
    }
    let wide: Vec<String> = (0..3_000).map(|n| format!("\"k{n}\":1")).collect();
    let error = fault(Table::Customers, "a.jsonl", format!("{{{}}}", wide.join(","))).await;
    assert_eq!((error.code(), error.place().line), ("land.too_many_columns", Some(1)));
}

#[tokio::test]
async fn files_that_are_none() {
    assert_eq!(fault(Table::Orders, "a.csv", "").await.code(), "land.empty_file");
    assert_eq!(fault(Table::Orders, "a.csv", "\n\n").await.code(), "land.empty_file");
    assert_eq!(fault(Table::Orders, "a.parquet", "").await.code(), "land.empty_file");
    let bench = Bench::new();
    let absent = bench.folder.path().join("absent.csv");
    for (file, code) in [(absent, "land.no_file"), (bench.folder.path().to_owned(), "land.not_a_file")] {
        let error = bench.import(&bench.request(Table::Orders, std::slice::from_ref(&file))).await.unwrap_err();
        assert_eq!((error.code(), error.place().file.as_deref()), (code, file.to_str()));
    }
    assert_eq!(bench.import(&bench.request(Table::Orders, &[])).await.unwrap_err().kind(), Kind::Usage);
}

#[tokio::test]
async fn parquet_faults_name_the_file() {
    use arrow::array::{ArrayRef, BooleanArray, Int64Array};
    let columns = |total: ArrayRef| {
        let ids = Arc::new(Int64Array::from((0..5_000).collect::<Vec<_>>())) as ArrayRef;
        let at = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![1; 5_000])) as ArrayRef;
        RecordBatch::try_from_iter([("order_id", ids), ("ordered_at", at), ("total", total)]).unwrap()
    };
    let whole = parquet_of(&columns(Arc::new(Int64Array::from(vec![1; 5_000]))));
    assert!(Bench::new().land(Table::Orders, "a.parquet", &whole).await.is_ok());
    for cut in [whole.len() - 1, whole.len() - 8, whole.len() / 2, 11, 4] {
        let error = fault(Table::Orders, "a.parquet", &whole[..cut]).await;
        assert_eq!(error.code(), "land.parquet_cut_short", "{cut}: {error}");
    }
    let mut beyond = whole.clone();
    let at = beyond.len() - 8;
    beyond[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(fault(Table::Orders, "a.parquet", &beyond).await.code(), "land.parquet_cut_short");
    let mut damaged = whole.clone();
    damaged[4..200].fill(0xff);
    assert_eq!(fault(Table::Orders, "a.parquet", &damaged).await.kind(), Kind::Input);
    let error =
        fault(Table::Orders, "a.parquet", parquet_of(&columns(Arc::new(BooleanArray::from(vec![true; 5_000]))))).await;
    assert_eq!(error.code(), "land.column_type");
    let error = fault(Table::Events, "a.parquet", &whole).await;
    assert_eq!(error.code(), "land.missing_column");
    assert_eq!(fault(Table::Orders, "a.parquet", "order_id,ordered_at,total\n").await.code(), "land.unknown_format");
}

#[tokio::test]
async fn damaged_parquet_is_refused_or_read_whole() {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    let ids = Arc::new(Int64Array::from((0..400).collect::<Vec<_>>())) as ArrayRef;
    let at = Arc::new(StringArray::from(vec!["2026-11-18 10:00"; 400])) as ArrayRef;
    let total = Arc::new(Int64Array::from(vec![5; 400])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("order_id", ids), ("ordered_at", at), ("total", total)]).unwrap();
    let whole = parquet_of(&batch);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let bench = Bench::new();
    for _ in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(4..bytes.len() - 8);
            bytes[at] = random.random();
        }
        if let Err(error) = bench.land(Table::Orders, "a.parquet", &bytes).await {
            assert!(error.place().file.is_some(), "{error:?}");
        }
    }
}

#[tokio::test]
async fn one_faulty_file_keeps_all_from_being_landed() {
    let bench = Bench::new();
    let files = [bench.file("a.csv", ORDERS), bench.file("b.csv", "order_id,ordered_at,total\n1\n")];
    let error = bench.import(&bench.request(Table::Orders, &files)).await.unwrap_err();
    assert!(error.place().file.as_deref().unwrap().ends_with("b.csv"));
    assert!(bench.objects().await.is_empty());
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_not_landed() {
    let bench = Bench::new();
    for (table, name, before, after) in [
        (Table::Orders, "a.csv", ORDERS.to_owned(), ORDERS.replace("9.90", "9.91")),
        (Table::Customers, "a.jsonl", "{\"customer_id\":1}".to_owned(), "{\"customer_id\":2}".to_owned()),
    ] {
        let file = bench.file(name, before);
        let request = Arc::new(bench.request(table, std::slice::from_ref(&file)));
        let checked = import::check(&request, &file).await.unwrap();
        bench.file(name, after);
        let path = Path::from("landing/x.parquet");
        let error = import::land_file(&bench.store, &path, &file, checked, Zone::UTC).await.unwrap_err();
        assert_eq!(error.code(), "land.file_changed");
        assert!(bench.objects().await.is_empty());
    }
}

/// A store of which uploads fail: at a part, or at the end.
#[derive(Debug)]
struct Failing {
    inner: InMemory,
    at_end: bool,
    aborted: Arc<std::sync::atomic::AtomicBool>,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a failing store")
    }
}

#[derive(Debug)]
struct FailingUpload {
    inner: Box<dyn MultipartUpload>,
    at_end: bool,
    aborted: Arc<std::sync::atomic::AtomicBool>,
}

fn refused() -> object_store::Error {
    object_store::Error::Generic { store: "failing", source: "the disk is full".into() }
}

#[async_trait]
impl MultipartUpload for FailingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        if self.at_end { self.inner.put_part(data) } else { Box::pin(async { Err(refused()) }) }
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        Err(refused())
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.aborted.store(true, std::sync::atomic::Ordering::SeqCst);
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(&self, at: &Path, data: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(at, data, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(at, options).await?;
        Ok(Box::new(FailingUpload { inner, at_end: self.at_end, aborted: Arc::clone(&self.aborted) }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_fails_shows_nothing() {
    for at_end in [false, true] {
        let aborted = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let store = Failing { inner: InMemory::new(), at_end, aborted: Arc::clone(&aborted) };
        let bench = Bench::on(Arc::new(store));
        let error = bench.land(Table::Orders, "a.csv", ORDERS).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Transient, "{error:?}");
        assert!(error.message().contains("the disk is full"), "{error}");
        assert!(aborted.load(std::sync::atomic::Ordering::SeqCst));
        assert!(bench.objects().await.is_empty());
    }
}

#[tokio::test]
async fn mutated_text_lands_whole_or_names_the_file() {
    let csv = "\u{feff}customer_id,created_at,email,tags,city\r\n1,2026-11-18 10:00,a@x.dk,\"[\"\"a\"\",\"\"b\"\"]\",Århus\r\n\
               2,\"2026-01-01\",,\"x, \"\"y\"\"\",\r\n";
    let json = "{\"customer_id\":1,\"created_at\":\"2026-11-18 10:00\",\"tags\":[\"a\",1],\"vip\":true,\"n\":1.50}\n\
                {\"customer_id\":\"x\\u00f8\",\"city\":\"Århus\",\"vip\":null,\"n\":-2e3,\"o\":{\"p\":[{}]}}\n";
    let alphabet: &[&[u8]] = &[
        b"\"",
        b",",
        b";",
        b"\n",
        b"\r",
        b"\t",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\\",
        b"\\u",
        b"\xff",
        b"\xc3",
        b"\0",
        b" ",
        b"null",
        b"1e999",
        b"9",
        b"PAR1",
        b"\x1f\x8b",
        b"customer_id",
    ];
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2026);
    let bench = Bench::new();
    let (mut landed, mut refused) = (0, 0);
    for round in 0..2_000 {
        let (name, text) = if round % 2 == 0 { ("a.csv", csv) } else { ("a.jsonl", json) };
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..random.random_range(1..5) {
            let at = random.random_range(0..=bytes.len());
            match random.random_range(0..4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.retain({
                    let mut index = 0;
                    move |_| {
                        index += 1;
                        index != at
                    }
                }),
                _ => {
                    let piece = alphabet[random.random_range(0..alphabet.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        let before = bench.objects().await.len();
        match bench.land(Table::Customers, name, &bytes).await {
            Ok(file) => {
                landed += 1;
                let rows: usize = bench.batches(&file.path).await.iter().map(RecordBatch::num_rows).sum();
                assert_eq!(u64::try_from(rows).unwrap(), file.rows, "{}", String::from_utf8_lossy(&bytes));
            }
            Err(error) => {
                refused += 1;
                assert!(error.place().file.as_deref().is_some_and(|file| file.ends_with(name)), "{error:?}");
                assert!(matches!(error.kind(), Kind::Input), "{error:?}");
                assert_eq!(bench.objects().await.len(), before);
            }
        }
    }
    // Both ways must have been taken, or the mutations prove nothing.
    assert!(landed > 200 && refused > 200, "{landed} landed, {refused} refused");
}
