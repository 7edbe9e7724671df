//! Whether the newest day of every job is as new as its schedule says.
//!
//! A job that says with `late_after` how long after a tick its day must be settled is late by the clock, whatever became of
//! the run: it hangs, it failed for good, its day is held, or nothing runs at all.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::definition::{Job, Step};
use super::due;
use super::report::RunStatus;
use super::state::{End, JobState, Mark};
use crate::calendar::Zone;
use crate::error::Result;
use crate::lake::Lake;
use crate::lake::snapshots::Snapshots;

/// A job whose newest day is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The job.
    pub job: String,
    /// The newest day that it has done: for a job with a step `snapshot`, the newest published one.
    pub newest: Option<NaiveDate>,
    /// The day that it should have done.
    pub expected: NaiveDate,
    /// The tick that owed it.
    pub due_at: DateTime<Utc>,
    /// When it began to be too old.
    pub late_since: DateTime<Utc>,
}

/// The jobs whose newest day is too old at an instant, in their order. A schedule counts from when a scheduler has first
/// seen it. `shop` is the zone of the as-of dates.
///
/// # Errors
/// What the store refuses, and records that cannot be read.
pub async fn stale(
    lake: &Lake,
    jobs: &[Job],
    snapshots: &Snapshots,
    shop: Zone,
    now: DateTime<Utc>,
) -> Result<Vec<Stale>> {
    let mut stale = Vec::new();
    let watched = jobs.iter().filter_map(|job| Some((job, TimeDelta::from_std(job.late_after?).ok()?)));
    let watched: Vec<(&Job, TimeDelta)> = watched.collect();
    let states = JobState::read_all(lake, watched.iter().map(|(job, _)| job.name.as_str())).await?;
    for ((job, late_after), state) in watched.into_iter().zip(states) {
        let Some(tick) = due::last_tick(&state.known, now - late_after - TimeDelta::microseconds(1)) else { continue };
        let Some(expected) = shop.local_date(tick).pred_opt() else { continue };
        let newest = if job.steps.contains(&Step::Snapshot) {
            snapshots.latest().map(|day| day.as_of)
        } else {
            Box::pin(newest_done(lake, job, &state, expected)).await?
        };
        if newest.is_none_or(|newest| newest < expected) {
            let (due_at, late_since) = (tick, tick + late_after);
            stale.push(Stale { job: job.name.clone(), newest, expected, due_at, late_since });
        }
    }
    Ok(stale)
}

/// The newest day that the job has done, looked for from the newest one on; `enough` is as good as any later one.
async fn newest_done(lake: &Lake, job: &Job, state: &JobState, enough: NaiveDate) -> Result<Option<NaiveDate>> {
    let settled: BTreeSet<NaiveDate> =
        state.days.iter().filter(|(_, day)| day.mark == Mark::Final).map(|(as_of, _)| *as_of).collect();
    // Of an old day what became of it may be gone; it is too old in any case.
    for as_of in settled.into_iter().rev() {
        let Some(day) = state.days.get(&as_of) else { continue };
        let end = End::read(lake, &job.name, as_of, day.attempt, Mark::Final).await?;
        if matches!(end.status, RunStatus::Succeeded | RunStatus::Unchanged) {
            return Ok(Some(as_of));
        }
        if as_of < enough {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::jobs::state::nonce;
    use crate::lake::testing;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    async fn told(lake: &Lake, job: &Job, now: &str) -> Vec<String> {
        let snapshots = Box::pin(Snapshots::read(lake)).await.unwrap();
        let stale = Box::pin(stale(lake, std::slice::from_ref(job), &snapshots, Zone::UTC, at(now))).await.unwrap();
        stale.iter().map(|one| format!("{} {:?}", one.expected, one.newest.map(|day| day.to_string()))).collect()
    }

    async fn settle(lake: &Lake, day: &str, status: RunStatus) {
        let day = parse_date(day).unwrap();
        let mut state = JobState::read(lake, "weekly").await.unwrap();
        let claim = state.claim(lake, "weekly", day, "r", at("2026-03-02T05:00:00Z"), None).await.unwrap().unwrap();
        let end = End { nonce: nonce(), run_id: "r".to_owned(), status, at: claim.at, error: None, not_before: None };
        claim.end(lake, "weekly", day, Mark::Final, &end).await.unwrap();
    }

    #[tokio::test]
    async fn a_job_is_late_by_the_clock_and_by_what_became_of_its_day() {
        let lake = testing::memory();
        let text = "schedule = \"0 5 * * 1\"\nlate_after = \"3h\"\n[[steps]]\nrun = \"fit\"";
        let job = Job::parse("weekly", "jobs/weekly.toml", text, Zone::UTC).unwrap();
        let nothing = Vec::<String>::new();
        assert_eq!(told(&lake, &job, "2026-03-02T12:00:00Z").await, nothing, "nobody has seen the schedule");
        let mut state = JobState::read(&lake, "weekly").await.unwrap();
        // A Monday after its tick: the first tick that counts is the next Monday's.
        state.note_schedule(&lake, &job, at("2026-03-02T06:00:00Z")).await.unwrap();
        assert_eq!(told(&lake, &job, "2026-03-08T23:00:00Z").await, nothing);
        assert_eq!(told(&lake, &job, "2026-03-09T08:00:00Z").await, nothing, "it has three hours");
        assert_eq!(told(&lake, &job, "2026-03-09T08:00:01Z").await, ["2026-03-08 None"]);
        settle(&lake, "2026-03-08", RunStatus::Failed).await;
        assert_eq!(told(&lake, &job, "2026-03-09T08:00:01Z").await, ["2026-03-08 None"], "settled, but not done");
        settle(&lake, "2026-03-08", RunStatus::Succeeded).await;
        assert_eq!(told(&lake, &job, "2026-03-16T07:00:00Z").await, nothing);
        assert_eq!(told(&lake, &job, "2026-03-20T00:00:00Z").await, ["2026-03-15 Some(\"2026-03-08\")"]);
        let without = Job { late_after: None, ..job };
        assert_eq!(told(&lake, &without, "2026-03-20T00:00:00Z").await, nothing, "it never says what too late is");
    }
}
