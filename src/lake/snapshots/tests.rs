//! Publishing.

use super::*;
use crate::lake::testing;

fn date(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, number).unwrap()
}

fn day(number: u32, previous: Option<&PublishedDay>, run_id: &str) -> PublishedDay {
    PublishedDay {
        as_of: date(number),
        previous_as_of: previous.map(|day| day.as_of),
        run_id: run_id.to_owned(),
        published_at: DateTime::from_timestamp(1_800_000_000, 123_456_000).unwrap(),
        as_known: if number.is_multiple_of(2) { Some(true) } else { None },
        stale: false,
        timezone: "Europe/Copenhagen".to_owned(),
        manifest: format!("snapshots/{}/{run_id}.json", date(number)),
        table_versions: BTreeMap::from([("segments".to_owned(), 7)]),
        row_counts: BTreeMap::from([("segments".to_owned(), u64::from(number))]),
        definition_hash: "hash".to_owned(),
    }
}

fn previous(day: &PublishedDay) -> Previous {
    Previous { as_of: day.as_of, run_id: day.run_id.clone(), manifest: day.manifest.clone() }
}

async fn publish(lake: &Lake, number: u32, run_id: &str, stale: &[NaiveDate], attempt: i64) -> Result<Outcome> {
    let snapshots = Snapshots::read(lake).await?;
    let before = snapshots.latest_before(date(number)).cloned();
    let row = day(number, before.as_ref(), run_id);
    Box::pin(snapshots.publish(&row, before.as_ref().map(previous).as_ref(), stale, attempt)).await
}

#[tokio::test]
async fn published_days_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&folder), testing::memory()] {
        assert!(Snapshots::read(&lake).await.unwrap().days().is_empty());
        for number in [3, 1, 2] {
            assert!(matches!(
                publish(&lake, number, &format!("r{number}"), &[], 1).await,
                Ok(Outcome::Committed { .. })
            ));
        }
        let snapshots = Snapshots::read(&lake).await.unwrap();
        let one = day(1, None, "r1");
        let two = day(2, Some(&one), "r2");
        let three = day(3, None, "r3");
        assert_eq!(snapshots.days(), [one.clone(), two.clone(), three.clone()]);
        assert_eq!(snapshots.latest(), Some(&three));
        assert_eq!(snapshots.latest_before(date(3)), Some(&two));
        assert_eq!(snapshots.latest_before(date(1)), None);
        assert_eq!(snapshots.day(date(2)), Some(&two));
    }
}

#[tokio::test]
async fn a_restated_day_replaces_its_row_and_marks_the_later_ones() {
    let lake = testing::memory();
    for number in 1..=4 {
        publish(&lake, number, &format!("r{number}"), &[], 1).await.unwrap();
    }
    publish(&lake, 2, "again", &[date(3), date(4), date(9)], 2).await.unwrap();
    let snapshots = Snapshots::read(&lake).await.unwrap();
    let seen: Vec<_> = snapshots.days().iter().map(|day| (day.run_id.as_str(), day.stale)).collect();
    assert_eq!(seen, [("r1", false), ("again", false), ("r3", true), ("r4", true)]);
    // The late day is computed again, and is no longer stale.
    publish(&lake, 3, "r3b", &[], 2).await.unwrap();
    assert!(!Snapshots::read(&lake).await.unwrap().day(date(3)).unwrap().stale);
}

#[tokio::test]
async fn an_older_attempt_cannot_publish() {
    let lake = testing::memory();
    let stale = Snapshots::read(&lake).await.unwrap();
    publish(&lake, 1, "new", &[], 2).await.unwrap();
    let row = day(1, None, "old");
    let outcome = Box::pin(stale.publish(&row, None, &[], 1)).await.unwrap();
    assert_eq!(outcome, Outcome::Superseded { attempt: 2 });
    assert_eq!(Snapshots::read(&lake).await.unwrap().latest().unwrap().run_id, "new");
}

#[tokio::test]
async fn a_day_that_goes_on_from_another_one_is_published_over_that_only() {
    let lake = testing::memory();
    publish(&lake, 1, "r1", &[], 1).await.unwrap();
    let began = Snapshots::read(&lake).await.unwrap();
    let standing = began.latest().cloned().unwrap();
    let over = began.clone().over(&standing);
    // Whichever attempt it is: what it keeps of the day is the old one's.
    publish(&lake, 1, "whole", &[], 2).await.unwrap();
    let error = Box::pin(over.publish(&day(1, None, "segments"), None, &[], 3)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("lake.day_changed", Kind::Superseded));
    let now = Snapshots::read(&lake).await.unwrap();
    let over = now.clone().over(now.latest().unwrap());
    publish(&lake, 2, "r2", &[], 1).await.unwrap();
    Box::pin(over.publish(&day(1, None, "segments"), None, &[], 3)).await.unwrap();
    assert_eq!(Snapshots::read(&lake).await.unwrap().day(date(1)).unwrap().run_id, "segments");
}

#[tokio::test]
async fn a_run_that_publishes_again_has_published_already() {
    let lake = testing::memory();
    let began = Snapshots::read(&lake).await.unwrap();
    let row = day(1, None, "r1");
    Box::pin(began.publish(&row, None, &[], 1)).await.unwrap();
    let later = PublishedDay {
        published_at: DateTime::from_timestamp(1_900_000_000, 0).unwrap(),
        timezone: "a longer name".to_owned(),
        ..row.clone()
    };
    let again = Box::pin(Snapshots::read(&lake).await.unwrap().publish(&later, None, &[], 1)).await;
    assert_eq!(again.unwrap(), Outcome::Committed { version: 1 });
    let files = lake.list("tables/snapshots/as_of=2026-11-01").await.unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(Snapshots::read(&lake).await.unwrap().days(), [row]);
}

#[tokio::test]
async fn other_days_may_be_published_meanwhile_but_not_the_one_before() {
    let lake = testing::memory();
    publish(&lake, 1, "r1", &[], 1).await.unwrap();
    let began = Snapshots::read(&lake).await.unwrap();
    let one = began.latest().cloned().unwrap();
    publish(&lake, 9, "r9", &[], 1).await.unwrap();
    let five = day(5, Some(&one), "r5");
    Box::pin(began.publish(&five, Some(&previous(&one)), &[], 1)).await.unwrap();
    assert_eq!(Snapshots::read(&lake).await.unwrap().days().len(), 3);

    // Day 8 was computed after day 5, which is published again before day 8 is.
    let began = Snapshots::read(&lake).await.unwrap();
    publish(&lake, 5, "r5b", &[], 2).await.unwrap();
    let eight = day(8, Some(&five), "r8");
    let error = Box::pin(began.publish(&eight, Some(&previous(&five)), &[], 1)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("lake.previous_changed", Kind::Superseded));
    assert!(Snapshots::read(&lake).await.unwrap().day(date(8)).is_none());
}
