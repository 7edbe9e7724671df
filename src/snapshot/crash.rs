//! Every store operation of a toy night as a crash point, and every write as one whose answer is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::rows::stream;
use super::writing::Writing;
use crate::error::Result;
use crate::lake::manifest::{Manifest, Previous};
use crate::lake::parts::{self, Partition};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::lake::table::{Commit, Fence, Table};
use crate::lake::{Lake, inspect};
use crate::schema::published;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
    /// It is done, and the answer is lost.
    LostAnswer,
    /// It is done, the answer is lost, and the client's own repetition finds it done.
    LostThenRival,
    /// It is never done.
    LostRequest,
}

/// A store in which one operation meets its fate.
#[derive(Debug)]
struct Fateful {
    inner: InMemory,
    chosen: usize,
    fate: Fate,
    done: AtomicUsize,
    writes: AtomicUsize,
}

fn lost() -> StoreError {
    StoreError::Generic { store: "fateful", source: "connection reset".into() }
}

impl Fateful {
    fn new(inner: InMemory, chosen: usize, fate: Fate) -> Self {
        Self { inner, chosen, fate, done: AtomicUsize::new(0), writes: AtomicUsize::new(0) }
    }

    fn dies(&self) -> bool {
        matches!(self.fate, Fate::DiesBefore | Fate::DiesAfter)
    }

    /// Whether this operation is done, and what is answered if not what the store says.
    fn next(&self, writes: bool) -> (bool, Option<StoreError>) {
        let counter = if self.dies() { &self.done } else { &self.writes };
        if !self.dies() && !writes {
            return (true, None);
        }
        let number = counter.fetch_add(1, Ordering::SeqCst);
        if self.dies() && number > self.chosen {
            return (false, Some(lost()));
        }
        if number != self.chosen {
            return (true, None);
        }
        match self.fate {
            Fate::DiesBefore | Fate::LostRequest => (false, Some(lost())),
            Fate::DiesAfter | Fate::LostAnswer => (true, Some(lost())),
            Fate::LostThenRival => {
                (true, Some(StoreError::AlreadyExists { path: String::new(), source: "409".into() }))
            }
        }
    }

    fn counted(&self) -> usize {
        if self.dies() { self.done.load(Ordering::SeqCst) } else { self.writes.load(Ordering::SeqCst) }
    }
}

impl std::fmt::Display for Fateful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fateful")
    }
}

#[async_trait]
impl ObjectStore for Fateful {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let (done, answer) = self.next(true);
        let result = if done { Some(self.inner.put_opts(location, payload, options).await?) } else { None };
        answer.map_or_else(|| result.ok_or_else(lost), Err)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        match self.next(true) {
            (_, Some(answer)) => Err(answer),
            (_, None) => self.inner.put_multipart_opts(location, options).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        match self.next(false) {
            (_, Some(answer)) => Err(answer),
            (_, None) => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.next(false) {
            (_, Some(answer)) => futures::stream::iter([Err(answer)]).boxed(),
            (_, None) => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        match self.next(false) {
            (_, Some(answer)) => Err(answer),
            (_, None) => self.inner.list_with_delimiter(prefix).await,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn lake_over(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::over(&url::Url::parse("memory:///toy/").unwrap(), store).unwrap()
}

fn day(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, number).unwrap()
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// The rows that a night publishes for a day: three tables, one of each kind.
fn members(as_of: NaiveDate) -> Vec<String> {
    (0..3).map(|number| format!("c{number}-{as_of}")).collect()
}

/// A night as `day` makes it, of a handful of rows.
async fn night(lake: &Lake, as_of: NaiveDate, run_id: &str) -> Result<()> {
    let at = DateTime::<Utc>::UNIX_EPOCH;
    let snapshots = Box::pin(Snapshots::read(lake)).await?;
    let mut writing = Box::pin(Writing::begin(lake, run_id, as_of, at)).await?;
    let before = match snapshots.latest_before(as_of) {
        Some(day) => Some((day.clone(), Box::pin(snapshots.manifest(day)).await?)),
        None => None,
    };
    let ids = members(as_of);
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for (table, columns) in [
        ("segment_members", vec![("segment", texts(&["s"; 3])), ("customer_id", texts(&ids))]),
        ("customer_contacts", vec![("customer_id", texts(&ids))]),
        (
            "lifecycle_transitions",
            vec![
                ("from_stage", texts(&["new"])),
                ("to_stage", texts(&["loyal"])),
                ("customers", Arc::new(Int64Array::from(vec![3])) as ArrayRef),
            ],
        ),
    ] {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))?;
        Box::pin(writing.write(table, stream(batch.schema(), std::iter::once(Ok(batch))))).await?;
    }
    let mut manifest = Manifest::new(as_of, run_id, "UTC");
    manifest.previous = before.as_ref().map(|(day, _)| Previous {
        as_of: day.as_of,
        run_id: day.run_id.clone(),
        manifest: day.manifest.clone(),
    });
    writing.describe(&mut manifest)?;
    let path = manifest.keep(lake).await?;
    let table_versions = Box::pin(writing.commit("", &path)).await?;
    let published = PublishedDay {
        as_of,
        previous_as_of: before.map(|(day, _)| day.as_of),
        run_id: run_id.to_owned(),
        published_at: at,
        as_known: None,
        stale: false,
        timezone: "UTC".to_owned(),
        manifest: path,
        table_versions,
        row_counts: manifest.tables.iter().map(|(name, files)| (name.clone(), files.rows())).collect(),
        definition_hash: String::new(),
    };
    Box::pin(writing.publish(&snapshots, &published, &manifest, &[])).await
}

/// The published days, after a look that each is whole: its files are there, as written, with all rows.
async fn whole_days(lake: &Lake) -> Vec<NaiveDate> {
    let snapshots = Box::pin(Snapshots::read(lake)).await.unwrap();
    for day in snapshots.days() {
        let manifest = Box::pin(snapshots.manifest(day)).await.unwrap();
        Box::pin(manifest.verify(lake)).await.unwrap();
        assert_eq!(manifest.tables.len(), 3, "{}", day.as_of);
        assert_eq!(manifest.tables["segment_members"].rows(), 3);
    }
    snapshots.days().iter().map(|day| day.as_of).collect()
}

/// The newest versions of the tables hold the day once, and nothing twice.
async fn tables_are_right(lake: &Lake, days: &[NaiveDate]) {
    let open = |name: &'static str| {
        let table = published::named(name).unwrap();
        async move { Box::pin(Table::open(lake, &table)).await.unwrap() }
    };
    let rows = |table: &Table, day: Option<NaiveDate>| -> u64 {
        table.files().iter().filter(|file| day.is_none() || file.as_of == day).map(|file| file.rows.unwrap()).sum()
    };
    let members = open("segment_members").await;
    for day in days {
        assert_eq!(rows(&members, Some(*day)), 3, "{day}");
    }
    assert_eq!(rows(&open("customer_contacts").await, None), 3);
    assert_eq!(rows(&open("snapshots").await, None), days.len() as u64);
}

/// A store in which the first day is published.
async fn after_the_first() -> InMemory {
    let store = Arc::new(InMemory::new());
    Box::pin(night(&lake_over(Arc::clone(&store) as Arc<dyn ObjectStore>), day(1), "first")).await.unwrap();
    store.fork()
}

#[tokio::test]
async fn a_night_that_dies_at_any_operation_leaves_whole_days() {
    let base = after_the_first().await;
    let clean = Arc::new(Fateful::new(base.fork(), usize::MAX, Fate::DiesBefore));
    Box::pin(night(&lake_over(Arc::clone(&clean) as Arc<dyn ObjectStore>), day(2), "clean")).await.unwrap();
    let operations = clean.counted();
    assert!(operations > 60, "{operations} operations");
    let mut published = 0;
    for chosen in 0..operations {
        for fate in [Fate::DiesBefore, Fate::DiesAfter] {
            let store = Arc::new(Fateful::new(base.fork(), chosen, fate));
            let died = Box::pin(night(&lake_over(Arc::clone(&store) as Arc<dyn ObjectStore>), day(2), "dying")).await;
            let survivor = lake_over(Arc::new(store.inner.fork()));
            let found = whole_days(&survivor).await;
            assert!(found == [day(1)] || found == [day(1), day(2)], "{fate:?} {chosen}: {found:?}");
            assert!(died.is_err() || found.len() == 2, "{fate:?} {chosen}: it said that the day is published");
            published += usize::from(found.len() == 2);
            // The next run does the day again, whatever it finds.
            Box::pin(night(&survivor, day(2), "again")).await.unwrap_or_else(|e| panic!("{fate:?} {chosen}: {e}"));
            assert_eq!(whole_days(&survivor).await, [day(1), day(2)], "{fate:?} {chosen}");
            tables_are_right(&survivor, &[day(1), day(2)]).await;
        }
    }
    assert!(published >= 1, "some of them died after the commit that publishes");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_settled() {
    let base = after_the_first().await;
    let clean = Arc::new(Fateful::new(base.fork(), usize::MAX, Fate::LostAnswer));
    Box::pin(night(&lake_over(Arc::clone(&clean) as Arc<dyn ObjectStore>), day(2), "clean")).await.unwrap();
    let writes = clean.counted();
    assert!(writes >= 8, "{writes} writes");
    for chosen in 0..writes {
        for fate in [Fate::LostAnswer, Fate::LostThenRival, Fate::LostRequest] {
            let store = Arc::new(Fateful::new(base.fork(), chosen, fate));
            let lake = lake_over(Arc::clone(&store) as Arc<dyn ObjectStore>);
            let said = Box::pin(night(&lake, day(2), "run")).await;
            let found = whole_days(&lake).await;
            assert_eq!(said.is_ok(), found == [day(1), day(2)], "{fate:?} {chosen}: {said:?}, and {found:?}");
            if said.is_err() {
                Box::pin(night(&lake, day(2), "again")).await.unwrap();
            }
            tables_are_right(&lake, &[day(1), day(2)]).await;
        }
    }
}

/// The same runs in the ledger of exports, one file each, in two days.
async fn ledger() -> InMemory {
    let store = Arc::new(InMemory::new());
    let lake = lake_over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let table = published::named("export_members").unwrap();
    for (number, id) in [(1, "e1"), (1, "e2"), (2, "e3"), (2, "e4"), (1, "e5")] {
        let opened = Box::pin(Table::open(&lake, &table)).await.unwrap();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("export_id", texts(&[id; 2]), true),
            ("customer_id", texts(&["a", "b"]), true),
            ("variant", texts(&["treatment"; 2]), true),
        ])
        .unwrap();
        let schema = opened.file_schema(&batch.schema()).unwrap();
        let rows = stream(batch.schema(), std::iter::once(Ok(batch)));
        let partition = Partition {
            table: &table,
            schema: Arc::clone(&schema),
            as_of: day(number),
            run_id: id,
            file_rows: parts::FILE_ROWS,
        };
        let files = Box::pin(parts::write(&lake, &partition, rows)).await.unwrap();
        let commit = Commit {
            days: &[day(number)],
            files: &files,
            schema,
            fence: Fence::of_run(id),
            run_id: id,
            definition_hash: "",
            source: "",
            at: DateTime::<Utc>::UNIX_EPOCH,
            strict: false,
        };
        Box::pin(opened.commit(&commit)).await.unwrap();
    }
    store.fork()
}

/// Every file that the newest version names is there and has the rows that the log tells.
async fn ledger_is_whole(lake: &Lake) -> usize {
    let table = Box::pin(Table::open(lake, &published::named("export_members").unwrap())).await.unwrap();
    let mut rows = 0;
    for file in table.files() {
        let read = inspect::parquet(lake.store().as_ref(), &lake.path(&file.path), file.size).await.unwrap();
        assert_eq!(Some(read.rows), file.rows);
        rows += read.rows;
    }
    assert_eq!(rows, 10, "nothing is lost and nothing is twice");
    table.files().len()
}

#[tokio::test]
async fn merging_small_files_may_die_at_any_operation() {
    let base = ledger().await;
    let at = DateTime::<Utc>::UNIX_EPOCH;
    let table = published::named("export_members").unwrap();
    let over = |store: &Arc<Fateful>| lake_over(Arc::clone(store) as Arc<dyn ObjectStore>);
    let clean = Arc::new(Fateful::new(base.fork(), usize::MAX, Fate::DiesBefore));
    Box::pin(Table::compact(&over(&clean), &table, at)).await.unwrap();
    assert_eq!(ledger_is_whole(&lake_over(Arc::new(clean.inner.fork()))).await, 2);
    let mut merged = 0;
    for chosen in 0..clean.counted() {
        for fate in [Fate::DiesBefore, Fate::DiesAfter, Fate::LostAnswer, Fate::LostThenRival, Fate::LostRequest] {
            let store = Arc::new(Fateful::new(base.fork(), chosen, fate));
            let died = Box::pin(Table::compact(&over(&store), &table, at)).await;
            let survivor = lake_over(Arc::new(store.inner.fork()));
            let files = ledger_is_whole(&survivor).await;
            assert!(files == 5 || files == 2, "{fate:?} {chosen}: one commit, or none");
            assert!(died.is_err() || files == 2, "{fate:?} {chosen}: it said that it is done");
            merged += usize::from(died.is_err() && files == 2);
            Box::pin(Table::compact(&survivor, &table, at)).await.unwrap();
            assert_eq!(ledger_is_whole(&survivor).await, 2, "{fate:?} {chosen}: the next upkeep finishes it");
        }
    }
    assert!(merged >= 1, "some of them died after the commit");
}
