//! The commit recipe.

use super::*;
use crate::lake::parts::{FILE_ROWS, Partition, write};
use crate::lake::testing::{self, Fault, FaultyStore};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::datatypes::Field;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use object_store::memory::InMemory;
use std::sync::atomic::Ordering;

pub(super) fn day(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, number).unwrap()
}

pub(super) fn published(keeps: Keeps) -> Published {
    let columns = vec![Field::new("id", DataType::Utf8, true)];
    // What is only appended to has no key.
    let key: &'static [&'static str] = if keeps == Keeps::Appended { &[] } else { &["id"] };
    Published { name: "t", keeps, key, columns, open: true, contact: false }
}

pub(super) fn ids(ids: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(ids.to_vec())) as ArrayRef)]).unwrap()
}

/// What one run does with one table: files written, not yet committed.
pub(super) struct Work {
    table: Table,
    as_of: NaiveDate,
    run_id: String,
    attempt: i64,
    schema: SchemaRef,
    files: Vec<DataFile>,
    strict: bool,
}

pub(super) async fn work_with(lake: &Lake, keeps: Keeps, as_of: NaiveDate, attempt: i64, rows: RecordBatch) -> Work {
    let published = published(keeps);
    let table = Table::open(lake, &published).await.unwrap();
    let schema = table.file_schema(&rows.schema()).unwrap();
    let run_id = uuid::Uuid::now_v7().simple().to_string();
    let stream = futures::stream::iter([Ok(rows.clone())]).boxed();
    let partition =
        Partition { table: &published, schema: Arc::clone(&schema), as_of, run_id: &run_id, file_rows: FILE_ROWS };
    let stream = Box::pin(RecordBatchStreamAdapter::new(rows.schema(), stream));
    let files = write(lake, &partition, stream).await.unwrap();
    Work { table, as_of, run_id, attempt, schema, files, strict: false }
}

async fn work(lake: &Lake, as_of: NaiveDate, attempt: i64, rows: &[&str]) -> Work {
    work_with(lake, Keeps::Days, as_of, attempt, ids(rows)).await
}

impl Work {
    pub(super) async fn commit(&self) -> Result<Outcome> {
        let fence = match self.table.published.keeps {
            Keeps::Appended => Fence::of_run(&self.run_id),
            _ => Fence::of_day(self.as_of, self.attempt),
        };
        let commit = Commit {
            days: &[self.as_of],
            files: &self.files,
            schema: Arc::clone(&self.schema),
            fence,
            run_id: &self.run_id,
            definition_hash: "hash",
            source: "snapshots/x.json",
            at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            strict: self.strict,
        };
        Box::pin(self.table.commit(&commit)).await
    }
}

/// The rows of each day, as the log names them.
pub(super) async fn content(lake: &Lake, keeps: Keeps) -> BTreeMap<String, u64> {
    let table = Table::open(lake, &published(keeps)).await.unwrap();
    let mut rows = BTreeMap::new();
    for file in table.files() {
        assert!(lake.exists(&file.path).await.unwrap());
        let day = file.as_of.map_or_else(|| "all".to_owned(), |day| day.to_string());
        *rows.entry(day).or_default() += file.rows.unwrap();
    }
    rows
}

pub(super) fn rows_of(days: &[(&str, u64)]) -> BTreeMap<String, u64> {
    days.iter().map(|(day, rows)| ((*day).to_owned(), *rows)).collect()
}

#[tokio::test]
async fn a_run_again_replaces_its_day_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&folder), testing::memory()] {
        assert_eq!(
            work(&lake, day(1), 1, &["a", "b"]).await.commit().await.unwrap(),
            Outcome::Committed { version: 1 }
        );
        assert_eq!(work(&lake, day(2), 1, &["a"]).await.commit().await.unwrap(), Outcome::Committed { version: 2 });
        let again = work(&lake, day(1), 2, &["a", "b", "c"]).await;
        assert_eq!(again.commit().await.unwrap(), Outcome::Committed { version: 3 });
        assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-01", 3), ("2026-11-02", 1)]));
        let nothing = work(&lake, day(1), 3, &[]).await;
        nothing.commit().await.unwrap();
        assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-02", 1)]));

        let table = Table::open(&lake, &published(Keeps::Days)).await.unwrap();
        assert_eq!(table.committed_by(&again.run_id, 100).await.unwrap(), Some(3));
        assert_eq!(table.committed_by("nobody", 100).await.unwrap(), None);
        assert_eq!(table.attempt("2026-11-01").await.unwrap(), Some(3));
    }
}

#[tokio::test]
async fn the_log_is_for_every_reader_and_says_who() {
    let lake = testing::memory();
    let run = work(&lake, day(1), 1, &["a"]).await;
    run.commit().await.unwrap();
    let created =
        String::from_utf8(lake.get("tables/t/_delta_log/00000000000000000000.json").await.unwrap().into()).unwrap();
    assert!(created.contains(r#""minReaderVersion":1,"minWriterVersion":2"#), "{created}");
    assert!(created.contains(r#""partitionColumns":["as_of"]"#), "{created}");
    let body = lake.get("tables/t/_delta_log/00000000000000000001.json").await.unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    for expected in [
        run.run_id.as_str(),
        r#""definitionHash":"hash""#,
        r#""source":"snapshots/x.json""#,
        r#""predicate":"as_of = '2026-11-01'""#,
        r#""appId":"2026-11-01","version":1"#,
        r#"{\"numRecords\":1}"#,
        "\"partitionValues\":{\"as_of\":\"2026-11-01\"}",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!text.contains("minValues"), "no value of a column stands in the log");
}

#[tokio::test]
async fn a_stale_writer_is_refused() {
    let lake = testing::memory();
    // Both begin; the second, later attempt commits first.
    let stale = work(&lake, day(1), 1, &["old"]).await;
    let fresh = work(&lake, day(1), 2, &["new", "newer"]).await;
    fresh.commit().await.unwrap();
    assert_eq!(stale.commit().await.unwrap(), Outcome::Superseded { attempt: 2 });
    // It opens the table again, as a process that slept would: still refused.
    let reopened = work(&lake, day(1), 1, &["old"]).await;
    assert_eq!(reopened.commit().await.unwrap(), Outcome::Superseded { attempt: 2 });
    // The same run again has committed already.
    assert_eq!(fresh.commit().await.unwrap(), Outcome::Committed { version: 1 });
    assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-01", 2)]));
}

#[tokio::test]
async fn a_later_attempt_that_began_before_an_earlier_one_landed_must_begin_again() {
    let lake = testing::memory();
    work(&lake, day(2), 1, &["x"]).await.commit().await.unwrap();
    let early = work(&lake, day(1), 1, &["a"]).await;
    let late = work(&lake, day(1), 2, &["a", "b"]).await;
    early.commit().await.unwrap();
    let error = late.commit().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("lake.conflict", Kind::Transient));
    work(&lake, day(1), 3, &["a", "b"]).await.commit().await.unwrap();
    assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-01", 2), ("2026-11-02", 1)]));
}

#[tokio::test]
async fn days_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&folder), testing::memory()] {
        let mut works = Vec::new();
        for number in 1..=6 {
            works.push(work(&lake, day(number), 1, &["a"]).await);
        }
        // All began before the table was there: of six who create it one does, and all go on from it.
        let outcomes = futures::future::join_all(works.iter().map(Work::commit)).await;
        let mut versions: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        versions.sort_by_key(|outcome| format!("{outcome:?}"));
        let expected: Vec<_> = (1..=6).map(|version| Outcome::Committed { version }).collect();
        assert_eq!(versions, expected);
        assert_eq!(content(&lake, Keeps::Days).await.len(), 6);
    }
}

#[tokio::test]
async fn racing_attempts_at_one_day_never_double_it() {
    let folder = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&folder), testing::memory()] {
        let mut works = Vec::new();
        for attempt in 1..=5 {
            works.push(work(&lake, day(1), attempt, &["a", "b"]).await);
        }
        let outcomes = futures::future::join_all(works.iter().map(Work::commit)).await;
        let committed = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Committed { .. }))).count();
        assert!(committed >= 1, "{outcomes:?}");
        assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-01", 2)]));
    }
}

#[tokio::test]
async fn a_strict_commit_fails_after_any_change() {
    let lake = testing::memory();
    work(&lake, day(1), 1, &["a"]).await.commit().await.unwrap();
    let strict = Work { strict: true, ..work(&lake, day(2), 1, &["a"]).await };
    work(&lake, day(3), 1, &["a"]).await.commit().await.unwrap();
    assert_eq!(strict.commit().await.unwrap_err().code(), "lake.moved");
    Work { strict: true, ..work(&lake, day(2), 1, &["a"]).await }.commit().await.unwrap();
}

#[tokio::test]
async fn a_newest_day_table_never_goes_back() {
    let lake = testing::memory();
    let newest = |number, attempt, rows| work_with(&lake, Keeps::Newest, day(number), attempt, ids(rows));
    newest(5, 1, &["a", "b"]).await.commit().await.unwrap();
    let outcome = newest(4, 1, &["x"]).await.commit().await.unwrap();
    assert_eq!(outcome, Outcome::NewerDay { as_of: day(5) });
    let slept = newest(5, 2, &["slept"]).await;
    newest(6, 1, &["a", "b", "c"]).await.commit().await.unwrap();
    assert_eq!(slept.commit().await.unwrap(), Outcome::NewerDay { as_of: day(6) });
    assert_eq!(content(&lake, Keeps::Newest).await, rows_of(&[("all", 3)]));
    newest(6, 2, &["a"]).await.commit().await.unwrap();
    assert_eq!(content(&lake, Keeps::Newest).await, rows_of(&[("all", 1)]));
}

#[tokio::test]
async fn two_who_fill_an_empty_newest_day_table_do_not_double_it() {
    let lake = testing::memory();
    let one = work_with(&lake, Keeps::Newest, day(5), 1, ids(&["a"])).await;
    let two = work_with(&lake, Keeps::Newest, day(6), 1, ids(&["a", "b"])).await;
    one.commit().await.unwrap();
    assert_eq!(two.commit().await.unwrap_err().code(), "lake.conflict");
    assert_eq!(content(&lake, Keeps::Newest).await, rows_of(&[("all", 1)]));
}

#[tokio::test]
async fn appends_add_up_and_each_run_appends_once() {
    let lake = testing::memory();
    let mut works = Vec::new();
    for _ in 0..4 {
        works.push(work_with(&lake, Keeps::Appended, day(1), 1, ids(&["a", "b"])).await);
    }
    for outcome in futures::future::join_all(works.iter().map(Work::commit)).await {
        assert!(matches!(outcome.unwrap(), Outcome::Committed { .. }));
    }
    assert!(matches!(works[0].commit().await.unwrap(), Outcome::Committed { .. }));
    assert_eq!(content(&lake, Keeps::Appended).await, rows_of(&[("2026-11-01", 8)]));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found() {
    for fault in [Fault::LostAnswer, Fault::LostAnswerThenRival, Fault::LostAnswerThenPrecondition] {
        for spared in 0..3 {
            let store = FaultyStore::once(Arc::new(InMemory::new()), fault, "_delta_log", spared);
            let (lake, store) = testing::faulty(store);
            let first = work(&lake, day(1), 1, &["a"]).await.commit().await.unwrap();
            assert_eq!(first, Outcome::Committed { version: 1 }, "{fault:?} {spared}");
            let second = work(&lake, day(1), 2, &["a", "b"]).await.commit().await.unwrap();
            assert_eq!(second, Outcome::Committed { version: 2 }, "{fault:?} {spared}");
            assert!(store.spared.load(Ordering::SeqCst) > 3, "it struck");
            assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-01", 2)]));
        }
    }
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_an_error_and_may_be_tried_again() {
    let store = FaultyStore::once(Arc::new(InMemory::new()), Fault::LostRequest, "_delta_log", 1);
    let (lake, _) = testing::faulty(store);
    let run = work(&lake, day(1), 1, &["a"]).await;
    let error = run.commit().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error}");
    assert_eq!(content(&lake, Keeps::Days).await, BTreeMap::new());
    run.commit().await.unwrap();
    assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-01", 1)]));
}

#[tokio::test]
async fn custom_columns_widen_the_table() {
    let lake = testing::memory();
    work(&lake, day(1), 1, &["a"]).await.commit().await.unwrap();
    let wider = RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
        ("shoe_size", Arc::new(Int64Array::from(vec![42])) as ArrayRef),
    ])
    .unwrap();
    // Two days gain the column at once: the second commits on top of the first's wider schema.
    let two = work_with(&lake, Keeps::Days, day(2), 1, wider.clone()).await;
    let three = work_with(&lake, Keeps::Days, day(3), 1, wider).await;
    two.commit().await.unwrap();
    three.commit().await.unwrap();
    work(&lake, day(4), 1, &["a"]).await.commit().await.unwrap();
    let table = Table::open(&lake, &published(Keeps::Days)).await.unwrap();
    let names: Vec<_> = table.schema().unwrap().unwrap().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["id", "shoe_size"]);
    assert_eq!(content(&lake, Keeps::Days).await.len(), 4);
    let text = RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
        ("shoe_size", Arc::new(StringArray::from(vec!["large"])) as ArrayRef),
    ])
    .unwrap();
    assert_eq!(table.file_schema(&text.schema()).unwrap_err().code(), "lake.column_type");
}

#[tokio::test]
async fn a_column_that_became_something_else_meanwhile_is_a_conflict() {
    let lake = testing::memory();
    work(&lake, day(1), 1, &["a"]).await.commit().await.unwrap();
    let of = |name: &str, column: ArrayRef| {
        RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["a"])) as ArrayRef), (name, column)])
            .unwrap()
    };
    let number = of("size", Arc::new(Int64Array::from(vec![42])));
    let two = work_with(&lake, Keeps::Days, day(2), 1, number.clone()).await;
    let other_case = work_with(&lake, Keeps::Days, day(4), 1, of("Size", Arc::new(Int64Array::from(vec![42])))).await;
    work_with(&lake, Keeps::Days, day(3), 1, of("size", Arc::new(StringArray::from(vec!["L"]))))
        .await
        .commit()
        .await
        .unwrap();
    for work in [two, other_case] {
        let error = work.commit().await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("lake.conflict", Kind::Transient));
    }
    // Computed again, the number is text like the others.
    work_with(&lake, Keeps::Days, day(2), 2, number).await.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_of_many_threads_works_too() {
    let lake = testing::memory();
    work(&lake, day(1), 1, &["a"]).await.commit().await.unwrap();
    work(&lake, day(2), 1, &["a"]).await.commit().await.unwrap();
    assert_eq!(content(&lake, Keeps::Days).await.len(), 2);
}

#[tokio::test]
async fn files_of_another_day_are_not_committed() {
    let lake = testing::memory();
    let run = work(&lake, day(1), 1, &["a"]).await;
    let wrong = Work { as_of: day(2), ..run };
    assert_eq!(wrong.commit().await.unwrap_err().code(), "lake.wrong_day");
}

#[tokio::test]
async fn a_torn_newest_commit_is_refused_with_the_repair() {
    let folder = tempfile::tempdir().unwrap();
    let lake = testing::folder(&folder);
    work(&lake, day(1), 1, &["a"]).await.commit().await.unwrap();
    work(&lake, day(2), 1, &["a"]).await.commit().await.unwrap();
    let newest = "tables/t/_delta_log/00000000000000000002.json";
    let whole = lake.get(newest).await.unwrap();
    for torn in [&b""[..], b"\n", &whole[..whole.len() / 2]] {
        lake.put(newest, torn.to_vec()).await.unwrap();
        let error = Table::open(&lake, &published(Keeps::Days)).await.unwrap_err();
        assert_eq!(error.code(), "lake.torn_commit");
        assert_eq!(error.place().file.as_deref(), Some(newest));
    }
    lake.delete(newest).await.unwrap();
    assert_eq!(content(&lake, Keeps::Days).await, rows_of(&[("2026-11-01", 1)]));
    work(&lake, day(2), 2, &["a"]).await.commit().await.unwrap();
}

#[tokio::test]
async fn many_commits_read_back() {
    let lake = testing::memory();
    for attempt in 1..=40_u32 {
        work(&lake, day(attempt % 20 + 1), i64::from(attempt), &["a"]).await.commit().await.unwrap();
    }
    let table = Table::open(&lake, &published(Keeps::Days)).await.unwrap();
    assert_eq!(table.version(), Some(40));
    assert_eq!(table.files().len(), 20);
    let log = lake.list("tables/t/_delta_log").await.unwrap();
    assert_eq!(log.len(), 41, "no checkpoint and no cleaning in the publishing path");
}

#[tokio::test]
async fn delta_reads_and_writes_through_our_store() {
    let (lake, store) = testing::faulty(FaultyStore::once(Arc::new(InMemory::new()), Fault::None, "", 0));
    work(&lake, day(1), 1, &["a"]).await.commit().await.unwrap();
    let before = store.reads.load(Ordering::SeqCst);
    let table = Table::open(&lake, &published(Keeps::Days)).await.unwrap();
    assert_eq!(table.version(), Some(1));
    assert!(store.reads.load(Ordering::SeqCst) > before + 1);
}
