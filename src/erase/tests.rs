//! A pass that dies at any write is finished by running it again, and readers never see half of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Asked, forget};
use crate::config::{Environment, Overrides, Settings};
use crate::lake::Lake;
use crate::lake::snapshots::Snapshots;
use crate::schema::published;
use crate::snapshot::day::{self, Run, Steps};
use crate::snapshot::setup::Project;

/// A store in which the process dies at one write or removal, before or after it.
#[derive(Debug)]
struct Dying {
    inner: Arc<InMemory>,
    chosen: usize,
    after: bool,
    done: Arc<AtomicUsize>,
}

fn dead() -> StoreError {
    StoreError::Generic { store: "dying", source: "the process died".into() }
}

impl Dying {
    fn new(inner: InMemory, chosen: usize, after: bool) -> Self {
        Self { inner: Arc::new(inner), chosen, after, done: Arc::default() }
    }

    fn is_dead(&self) -> bool {
        self.done.load(Ordering::SeqCst) > self.chosen
    }

    /// Whether this write is done, and whether it is answered.
    fn next(done: &AtomicUsize, chosen: usize, after: bool) -> (bool, bool) {
        let number = done.fetch_add(1, Ordering::SeqCst);
        (number < chosen || number == chosen && after, number < chosen)
    }
}

impl std::fmt::Display for Dying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dying")
    }
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let (done, answered) = Self::next(&self.done, self.chosen, self.after);
        let result = if done { Some(self.inner.put_opts(location, payload, options).await?) } else { None };
        result.filter(|_| answered).ok_or_else(dead)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        match Self::next(&self.done, self.chosen, self.after).1 {
            true => self.inner.put_multipart_opts(location, options).await,
            false => Err(dead()),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        if self.is_dead() { Err(dead()) } else { self.inner.get_opts(location, options).await }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let (inner, done, chosen, after) = (Arc::clone(&self.inner), Arc::clone(&self.done), self.chosen, self.after);
        locations
            .then(move |location| {
                let (inner, done) = (Arc::clone(&inner), Arc::clone(&done));
                async move {
                    let location = location?;
                    let (removes, answered) = Self::next(&done, chosen, after);
                    if removes {
                        inner.delete(&location).await?;
                    }
                    if answered { Ok(location) } else { Err(dead()) }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if self.is_dead() { futures::stream::iter([Err(dead())]).boxed() } else { self.inner.list(prefix) }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

struct Quiet;

impl Steps for Quiet {
    fn begin(&mut self, _step: &'static str) {}
    fn rows(&mut self, _rows: u64) {}
    fn attempt(&mut self, _attempt: i64) {}
}

const WORDS: [&str; 4] = ["ann-7731", "ann@example.com", "visitor-55", "Annabel"];
const CUSTOMERS: &str = "customer_id,email,name\nann-7731,ann@example.com,Annabel\nbob-1,bob@example.com,Bob\n";
const ORDERS: &str = "order_id,ordered_at,total,customer_id,email\n\
    1,2026-01-01T10:00:00Z,10.00,ann-7731,\n2,2026-01-02T10:00:00Z,10.00,,Ann@example.com\n\
    3,2026-01-03T10:00:00Z,10.00,bob-1,\n";
const IDENTITIES: &str = "anonymous_id,customer_id,linked_at\nvisitor-55,ann-7731,2026-01-01T10:00:00Z\n";

fn at() -> DateTime<Utc> {
    "2026-03-10T10:00:00Z".parse().unwrap()
}

fn days() -> [NaiveDate; 2] {
    ["2026-03-01", "2026-03-02"].map(|day| day.parse().unwrap())
}

fn asked() -> Asked {
    Asked { emails: ["ann@example.com".to_owned()].into(), ..Asked::default() }
}

/// Text columns only: landed values are read whatever their type.
fn parquet(lines: &str) -> Vec<u8> {
    let head = lines.lines().next().unwrap();
    let fields: Vec<_> = head
        .split(',')
        .map(|name| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, true))
        .collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let reader = arrow::csv::ReaderBuilder::new(Arc::clone(&schema)).with_header(true).build(lines.as_bytes()).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    for batch in reader {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.into_inner().unwrap()
}

async fn project(store: Arc<dyn ObjectStore>, folder: &tempfile::TempDir) -> Project {
    let lake = Lake::over(&url::Url::parse("memory:///toy/").unwrap(), store).unwrap();
    let environment = Environment::of(folder.path(), []);
    let settings = Settings::load(folder.path(), &environment, &Overrides::default()).unwrap();
    Box::pin(Project::over(settings, lake, b"the key of the toy", &BTreeMap::new())).await.unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "[project]\nname = \"toy\"\ntimezone = \"UTC\"\ncurrency = \"EUR\"\n[engine]\nthreads = 2\n";
    std::fs::write(folder.path().join("alluvial.toml"), text).unwrap();
    std::fs::create_dir_all(folder.path().join("sql/segments")).unwrap();
    std::fs::write(
        folder.path().join("sql/segments/all.toml"),
        "name = \"all\"\ndescription = \"a test's\"\nquery = \"number_of_orders >= 0\"\n",
    )
    .unwrap();
    folder
}

/// A lake with two published days.
async fn published_days(folder: &tempfile::TempDir) -> InMemory {
    let store = Arc::new(InMemory::new());
    for (table, lines) in [("customers", CUSTOMERS), ("orders", ORDERS), ("identities", IDENTITIES)] {
        let path = Path::from(format!("toy/landing/{table}/all.parquet"));
        store.put(&path, Bytes::from(parquet(lines)).into()).await.unwrap();
    }
    for as_of in days() {
        let project = project(Arc::clone(&store) as Arc<dyn ObjectStore>, folder).await;
        let run = Run { id: uuid::Uuid::now_v7().simple().to_string(), as_of, at: at(), force: false };
        Box::pin(day::publish(&project, &run, &mut Quiet)).await.unwrap();
    }
    store.fork()
}

/// The texts of an object: its bytes, and what they decode to.
fn text_of(path: &str, bytes: Bytes) -> String {
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if path.ends_with(".parquet") && !bytes.is_empty() {
        let batches: Vec<_> =
            ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap().map(Result::unwrap).collect();
        text.push_str(&pretty_format_batches(&batches).unwrap().to_string());
    }
    text
}

async fn holders(store: &InMemory) -> Vec<String> {
    let mut found = Vec::new();
    let objects: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    for object in objects {
        let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        let text = text_of(object.location.as_ref(), bytes);
        found.extend(
            WORDS.iter().filter(|word| text.contains(**word)).map(|word| format!("{}: {word}", object.location)),
        );
    }
    found
}

/// For each published day whether it holds the person, after a look that the day is whole.
async fn seen(lake: &Lake) -> Vec<bool> {
    let snapshots = Box::pin(Snapshots::read(lake)).await.unwrap();
    let newest = snapshots.latest().unwrap().as_of;
    let mut seen = Vec::new();
    for day in snapshots.days() {
        let mut manifest = Box::pin(snapshots.manifest(day)).await.unwrap();
        let kept = |name: &str| day.as_of == newest || published::named(name).is_some_and(|table| table.by_day());
        manifest.tables.retain(|name, _| kept(name));
        Box::pin(manifest.verify(lake)).await.unwrap();
        let mut texts = String::new();
        for file in manifest.tables.values().flat_map(|table| &table.files) {
            texts.push_str(&text_of(&file.path, lake.get(&file.path).await.unwrap()));
        }
        assert!(texts.contains("bob-1"), "{}", day.as_of);
        seen.push(WORDS.iter().any(|word| texts.contains(word)));
        assert_eq!(day.row_counts["segment_members"], manifest.tables["segment_members"].rows());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_dies_is_finished_by_running_it_again() {
    Box::pin(dies_at_every(6)).await;
}

/// The long form: every write of a pass, before and after it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the long form of the test above: takes minutes, and is run by hand"]
async fn a_pass_that_dies_anywhere_is_finished_by_running_it_again() {
    Box::pin(dies_at_every(1)).await;
}

async fn dies_at_every(step: usize) {
    let folder = folder();
    let base = published_days(&folder).await;
    assert!(holders(&base).await.len() > 8);
    let clean = Arc::new(Dying::new(base.fork(), usize::MAX, false));
    let one = project(Arc::clone(&clean) as Arc<dyn ObjectStore>, &folder).await;
    let told = Box::pin(forget(&one, &asked(), false, at())).await.unwrap();
    assert_eq!(told.receipt.unwrap().finished_at, Some(at()));
    assert_eq!(holders(&clean.inner).await, [""; 0]);
    assert_eq!(seen(&one.lake).await, [false, false]);
    let operations = clean.done.load(Ordering::SeqCst);
    assert!(operations > 25, "{operations} writes");
    let mut halves = 0;
    for chosen in (0..operations).step_by(step) {
        for after in [false, true] {
            let store = Arc::new(Dying::new(base.fork(), chosen, after));
            let dying = project(Arc::clone(&store) as Arc<dyn ObjectStore>, &folder).await;
            let died = Box::pin(forget(&dying, &asked(), false, at())).await;
            assert!(died.is_err(), "{chosen} {after}: it said that all is done");
            let left = Arc::new(store.inner.fork());
            let survivor = project(Arc::clone(&left) as Arc<dyn ObjectStore>, &folder).await;
            let days = seen(&survivor.lake).await;
            assert!(
                days == [true, true] || days == [false, false],
                "{chosen} {after}: readers see half of it, {days:?}"
            );
            halves += usize::from(days == [false, false] && !holders(&left).await.is_empty());
            Box::pin(forget(&survivor, &asked(), false, at()))
                .await
                .unwrap_or_else(|e| panic!("{chosen} {after}: {e}"));
            assert_eq!(holders(&left).await, [""; 0], "{chosen} {after}");
            assert_eq!(seen(&survivor.lake).await, [false, false], "{chosen} {after}");
            // And then there is nothing left, nor a pass that has not come to its end.
            let again = project(Arc::clone(&left) as Arc<dyn ObjectStore>, &folder).await;
            let told = Box::pin(forget(&again, &asked(), false, at())).await.unwrap();
            assert!(told.receipt.is_none() && told.before == 1, "{chosen} {after}: {told:?}");
        }
    }
    assert!(halves > 0, "some died between the commit and the last old file: {halves}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_that_was_computed_meanwhile_is_refused() {
    let folder = folder();
    let store = Arc::new(published_days(&folder).await);
    let share = || Arc::clone(&store) as Arc<dyn ObjectStore>;
    // The night opened its project before anybody was forgotten.
    let night = project(share(), &folder).await;
    let one = project(share(), &folder).await;
    Box::pin(forget(&one, &asked(), false, at())).await.unwrap();
    let run = Run { id: "late".to_owned(), as_of: "2026-03-03".parse().unwrap(), at: at(), force: false };
    let refused = Box::pin(day::publish(&night, &run, &mut Quiet)).await.unwrap_err();
    assert_eq!(refused.code(), "lake.forgotten_since");
    assert_eq!(refused.kind(), crate::error::Kind::Transient, "a scheduler tries it again");
    assert_eq!(seen(&one.lake).await, [false, false]);
    let next = project(share(), &folder).await;
    let run = Run { id: "next".to_owned(), ..run };
    Box::pin(day::publish(&next, &run, &mut Quiet)).await.unwrap();
    assert_eq!(seen(&one.lake).await, [false; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_people_leave_the_same_bytes() {
    let folder = folder();
    let base = published_days(&folder).await;
    let mut all = Vec::new();
    for _ in 0..2 {
        let store = Arc::new(base.fork());
        let one = project(Arc::clone(&store) as Arc<dyn ObjectStore>, &folder).await;
        Box::pin(forget(&one, &asked(), false, at())).await.unwrap();
        let snapshots = Box::pin(Snapshots::read(&one.lake)).await.unwrap();
        let mut files = Vec::new();
        for day in snapshots.days() {
            let manifest = Box::pin(snapshots.manifest(day)).await.unwrap();
            for (table, described) in &manifest.tables {
                files.extend(described.files.iter().map(|file| (table.clone(), file.size, file.rows, file.crc32c)));
            }
        }
        all.push((files, one.lake.get("landing/orders/all.parquet").await.unwrap()));
    }
    assert_eq!(all[0], all[1]);
}
