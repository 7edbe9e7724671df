//! Merging small files.

use super::*;
use crate::lake::table::tests::{content, day, ids, published, rows_of, work_with};
use crate::lake::testing::{self, Fault, FaultyStore};
use arrow::array::AsArray;
use bytes::Bytes;
use object_store::memory::InMemory;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).unwrap()
}

async fn append(lake: &Lake, number: u32, rows: &[&str]) {
    work_with(lake, Keeps::Appended, day(number), 1, ids(rows)).await.commit().await.unwrap();
}

async fn open(lake: &Lake) -> Table {
    Table::open(lake, &published(Keeps::Appended)).await.unwrap()
}

async fn compact(lake: &Lake) -> Result<Compacted> {
    Box::pin(Table::compact(lake, &published(Keeps::Appended), now())).await
}

/// The rows of a version's files of a day, in their order.
async fn rows(lake: &Lake, table: &Table, number: u32) -> Vec<String> {
    let mut rows = Vec::new();
    for file in table.files().into_iter().filter(|file| file.as_of == Some(day(number))) {
        let schema = table.schema().unwrap().unwrap();
        let batches: Vec<_> = read(lake.clone(), file, schema).await.unwrap().try_collect().await.unwrap();
        for batch in batches {
            rows.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    rows
}

/// The bytes of a day's files.
async fn bytes(lake: &Lake, number: u32) -> Vec<Bytes> {
    let mut bytes = Vec::new();
    for file in open(lake).await.files().into_iter().filter(|file| file.as_of == Some(day(number))) {
        bytes.push(lake.get(&file.path).await.unwrap());
    }
    bytes
}

#[tokio::test]
async fn the_small_files_of_a_day_become_one_and_readers_of_the_version_before_go_on() {
    let mut merged = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&folder), testing::memory()] {
        for values in [&["c", "a"][..], &["b"], &["e", "d"], &["b"]] {
            append(&lake, 1, values).await;
        }
        append(&lake, 2, &["x"]).await;
        let before = open(&lake).await;
        let expected = rows(&lake, &before, 1).await;
        assert_eq!(expected, ["c", "a", "b", "e", "d", "b"]);
        assert_eq!(compact(&lake).await.unwrap(), Compacted { before: 4, after: 1 });
        let after = open(&lake).await;
        assert_eq!((after.files().len(), after.version()), (2, Some(6)), "one file a day, in one commit");
        assert_eq!(rows(&lake, &after, 1).await, expected, "in the order in which they came");
        assert_eq!(content(&lake, Keeps::Appended).await, rows_of(&[("2026-11-01", 6), ("2026-11-02", 1)]));
        assert_eq!(rows(&lake, &before, 1).await, expected, "the old files are still there");
        let lately = after.removed_since(now() - chrono::TimeDelta::days(1)).await.unwrap();
        assert_eq!(lately.len(), 4);
        assert!(
            before.files().iter().filter(|file| file.as_of == Some(day(1))).all(|file| lately.contains(&file.path))
        );
        assert!(after.removed_since(now()).await.unwrap().is_empty());
        let log = lake.get("tables/t/_delta_log/00000000000000000006.json").await.unwrap();
        let log = std::str::from_utf8(&log).unwrap();
        assert!(log.contains("OPTIMIZE") && !log.contains(r#""dataChange":true"#), "{log}");
        // Nothing is left to do, until something is appended.
        assert_eq!(compact(&lake).await.unwrap(), Compacted::default());
        assert_eq!(open(&lake).await.version(), Some(6));
        append(&lake, 1, &["f"]).await;
        assert_eq!(compact(&lake).await.unwrap(), Compacted { before: 2, after: 1 });
        assert_eq!(rows(&lake, &open(&lake).await, 1).await, ["c", "a", "b", "e", "d", "b", "f"]);
        merged.push(bytes(&lake, 1).await);
    }
    assert_eq!(merged[0], merged[1], "the same files become the same bytes");
}

#[tokio::test]
async fn tables_that_manifests_name_are_left_alone() {
    let lake = testing::memory();
    for keeps in [Keeps::Days, Keeps::Newest] {
        let done = Box::pin(Table::compact(&lake, &published(keeps), now())).await.unwrap();
        assert_eq!(done, Compacted::default());
    }
}

#[tokio::test]
async fn what_is_appended_meanwhile_stays_and_what_was_forgotten_does_not_come_back() {
    let lake = testing::memory();
    for number in [1, 1, 2, 2] {
        append(&lake, number, &["a", "b"]).await;
    }
    let published = published(Keeps::Appended);
    let merged = Box::pin(merge(&lake, &published, "merging")).await.unwrap();
    assert_eq!(merged.len(), 2);
    // Somebody is taken out of a file of the second day, and a run appends to the first.
    let lost = merged[1].old[0].clone();
    let without = [(lost, None)].into();
    assert!(Box::pin(Table::replace_files(&lake, &published, &without, "forget", now())).await.unwrap());
    append(&lake, 1, &["c"]).await;
    let done = Box::pin(replace(&lake, &published, &merged, "merging", now())).await.unwrap();
    assert_eq!(done, Compacted { before: 2, after: 1 });
    assert_eq!(content(&lake, Keeps::Appended).await, rows_of(&[("2026-11-01", 5), ("2026-11-02", 2)]));
    assert!(!lake.exists(&merged[1].new[0].path).await.unwrap(), "what was written for nothing is removed");
}

#[tokio::test]
async fn merging_and_appending_at_once_lose_nothing() {
    let lake = testing::memory();
    for _ in 0..4 {
        append(&lake, 1, &["a", "b"]).await;
    }
    let appending = async {
        for _ in 0..6 {
            append(&lake, 1, &["c"]).await;
        }
    };
    let merging = async {
        for _ in 0..3 {
            compact(&lake).await.unwrap();
        }
    };
    tokio::join!(appending, merging);
    assert_eq!(content(&lake, Keeps::Appended).await, rows_of(&[("2026-11-01", 14)]));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found() {
    for fault in [Fault::LostAnswer, Fault::LostAnswerThenRival, Fault::LostRequest] {
        let base = Arc::new(InMemory::new());
        let (lake, _) = testing::faulty(FaultyStore::once(Arc::clone(&base) as _, Fault::None, "", 0));
        append(&lake, 1, &["a"]).await;
        append(&lake, 1, &["b"]).await;
        let store = FaultyStore::once(base, fault, "_delta_log", 0);
        let (lake, _) = testing::faulty(store);
        let done = compact(&lake).await;
        assert_eq!(content(&lake, Keeps::Appended).await, rows_of(&[("2026-11-01", 2)]));
        let is_merged = open(&lake).await.files().len() == 1;
        assert_eq!(done.is_ok(), is_merged, "{fault:?}: {done:?}");
        assert_eq!(is_merged, fault != Fault::LostRequest);
        compact(&lake).await.unwrap();
        assert_eq!(open(&lake).await.files().len(), 1);
        assert_eq!(rows(&lake, &open(&lake).await, 1).await, ["a", "b"]);
    }
}
