//! Live state: what is claimed, being run, to be tried again, held, final. Small objects under `<lake>/state/jobs/`,
//! each created once.
//!
//! What a plan needs stands in the objects' names, so that planning costs listings and no reads:
//!
//! ```text
//! state/jobs/<job>/schedules/000002.json             the schedule, and since when it counts
//! state/jobs/<job>/days/2026-11-19/000001-claim.json somebody runs the day: attempt 1
//! state/jobs/<job>/days/2026-11-19/000001-retry.json it failed, and is tried again
//! state/jobs/<job>/days/2026-11-19/000002-final.json it is settled
//! state/jobs/<job>/closed/2026-01-01_2026-02-28.json these days are skipped
//! ```
//!
//! Attempts only grow. A claim without an end is a run that goes on, or one that died; which of the two is told by the
//! leader's epoch or by the claim's own heartbeat, never by a clock of another machine.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::definition::Job;
use super::due::{Known, Since};
use super::report::RunStatus;
use super::schedule::Schedule;
use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::lake::{Created, Lake};

/// Of how many jobs the state is read at once.
const AT_ONCE: usize = 8;

/// Below the lake's root.
pub const JOBS: &str = "state/jobs";

/// What the newest object of a day says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Somebody runs it, or died running it.
    Claim,
    /// The attempt came to nothing; the next may follow.
    Retry,
    /// It is computed and waits for a person.
    Held,
    /// It is settled.
    Final,
}

/// A day of a job, by its newest attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayState {
    /// The newest attempt, from 1.
    pub attempt: u32,
    /// What became of it.
    pub mark: Mark,
    /// Attempts that came to nothing since the day was last settled.
    pub failures: u32,
    /// Whether an earlier attempt settled it already.
    pub settled: bool,
}

/// Who runs a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Makes this body differ from every other.
    pub nonce: String,
    /// The run.
    pub run_id: String,
    /// The attempt at the day by this job.
    pub attempt: u32,
    /// When.
    pub at: DateTime<Utc>,
    /// The epoch of the scheduler that runs it; none: a person does, and its heartbeat stands beside it.
    pub epoch: Option<u64>,
    /// Attempts that came to nothing before this one.
    pub failures: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Makes this body differ from every other.
    pub nonce: String,
    /// The run; empty where none was begun.
    pub run_id: String,
    /// How it ended.
    pub status: RunStatus,
    /// When.
    pub at: DateTime<Utc>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it may be tried again.
    pub not_before: Option<DateTime<Utc>>,
}

/// What the state says of one job.
#[derive(Debug, Clone, Default)]
pub struct JobState {
    /// What planning needs.
    pub known: Known,
    /// The days that have any object.
    pub days: BTreeMap<NaiveDate, DayState>,
    /// The schedule that is known newest, as written.
    latest: Option<(u32, Written)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    nonce: String,
    at: DateTime<Utc>,
    schedule: Option<String>,
    timezone: String,
}

/// A body that nobody else writes.
pub fn nonce() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

fn body(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal("jobs.state", error.to_string()).with_source(error))
}

async fn read<T: DeserializeOwned>(lake: &Lake, path: &str) -> Result<T> {
    let bytes = lake.get(path).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::storage("jobs.state", format!("this record cannot be read: {error}"))
            .in_file(path)
            .with_hint("delete it: what it says is then found out anew")
    })
}

fn folder(job: &str) -> String {
    format!("{JOBS}/{job}")
}

fn day_folder(job: &str, as_of: NaiveDate) -> String {
    format!("{JOBS}/{job}/days/{as_of}")
}

fn path(job: &str, as_of: NaiveDate, attempt: u32, mark: &str) -> String {
    format!("{}/{attempt:06}-{mark}.json", day_folder(job, as_of))
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Mark::Claim => "claim",
            Mark::Retry => "retry",
            Mark::Held => "held",
            Mark::Final => "final",
        }
    }

    fn parse(word: &str) -> Option<Mark> {
        [Mark::Claim, Mark::Retry, Mark::Held, Mark::Final].into_iter().find(|mark| mark.word() == word)
    }
}

impl JobState {
    /// Reads what the state says of some jobs, in their order, several at once: each is a few listings that wait for the
    /// store.
    ///
    /// # Errors
    /// What the store refuses, and records that cannot be read.
    pub async fn read_all(lake: &Lake, jobs: impl IntoIterator<Item = &str>) -> Result<Vec<JobState>> {
        let reads: Vec<_> = jobs.into_iter().map(|job| JobState::read(lake, job)).collect();
        futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await
    }

    /// Reads what the state says of a job.
    ///
    /// # Errors
    /// What the store refuses, and records that cannot be read.
    pub async fn read(lake: &Lake, job: &str) -> Result<JobState> {
        let mut state = JobState::default();
        let closed_folder = format!("{}/closed", folder(job));
        for object in lake.list(&closed_folder).await? {
            let name = object.path.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
            let days = name.split_once('_').and_then(|(first, last)| Some((day(first)?, day(last)?)));
            let Some((first, last)) = days else { continue };
            if name.starts_with("0001-01-01") {
                state.known.through = state.known.through.max(Some(last));
            } else {
                state.known.closed.extend(first.iter_days().take_while(|day| *day <= last));
            }
        }
        let days_folder = format!("{}/days", folder(job));
        let objects = match state.known.through {
            // The names of a day come after its folder's own.
            Some(through) => {
                let next = through.succ_opt().unwrap_or(through);
                lake.list_after(&days_folder, &format!("{days_folder}/{next}")).await?
            }
            None => lake.list(&days_folder).await?,
        };
        let mut marks: BTreeMap<NaiveDate, BTreeSet<(u32, Mark)>> = BTreeMap::new();
        for object in &objects {
            let mut parts = object.path.rsplit('/');
            let file = parts.next().and_then(|name| name.strip_suffix(".json")?.split_once('-'));
            let as_of = parts.next().and_then(day);
            let (Some((attempt, mark)), Some(as_of)) = (file, as_of) else { continue };
            if let (Ok(attempt), Some(mark)) = (attempt.parse(), Mark::parse(mark)) {
                marks.entry(as_of).or_default().insert((attempt, mark));
            }
        }
        for (as_of, marks) in marks {
            let Some((attempt, mark)) = marks.last().copied() else { continue };
            let settled = marks.iter().rev().find(|(_, mark)| matches!(mark, Mark::Final | Mark::Held));
            let since = settled.map_or(0, |(attempt, _)| *attempt);
            let failed = marks.iter().filter(|(attempt, mark)| *mark == Mark::Retry && *attempt > since).count();
            match settled.map(|(_, mark)| *mark) {
                Some(Mark::Final) => {
                    state.known.closed.insert(as_of);
                }
                Some(_) => {
                    state.known.waiting.insert(as_of);
                }
                None => {}
            }
            let failures = u32::try_from(failed).unwrap_or(u32::MAX);
            state.days.insert(as_of, DayState { attempt, mark, failures, settled: settled.is_some() });
        }
        let schedules = lake.list(&format!("{}/schedules", folder(job))).await?;
        for object in &schedules {
            let number = object.path.rsplit('/').next().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            let Some(number) = number else { continue };
            let written: Written = read(lake, &object.path).await?;
            // A zone or a schedule of a later release than this one owes nothing.
            let schedule = written.schedule.as_deref().and_then(|text| Schedule::parse(text).ok());
            let zone = Zone::parse(&written.timezone).unwrap_or(Zone::UTC);
            state.known.schedules.push(Since { at: written.at, schedule, zone });
            state.latest = Some((number, written));
        }
        Ok(state)
    }

    /// Notes the schedule of a job's file, from now on, if it is another one than the last that was noted.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn note_schedule(&mut self, lake: &Lake, job: &Job, now: DateTime<Utc>) -> Result<()> {
        let text = job.schedule.as_ref().map(|schedule| schedule.as_str().to_owned());
        let timezone = job.zone.name().to_owned();
        let same = |written: &Written| written.schedule == text && written.timezone == timezone;
        if self.latest.as_ref().is_some_and(|(_, written)| same(written)) || (self.latest.is_none() && text.is_none()) {
            return Ok(());
        }
        let number = self.latest.as_ref().map_or(0, |(number, _)| *number) + 1;
        let at = self.latest.as_ref().map_or(now, |(_, written)| now.max(written.at));
        let written = Written { nonce: nonce(), at, schedule: text, timezone };
        let below = format!("{}/schedules/{number:06}.json", folder(&job.name));
        if lake.put_new(&below, body(&written)?).await? == Created::Ours {
            self.known.schedules.push(Since { at, schedule: job.schedule.clone(), zone: job.zone });
            self.latest = Some((number, written));
        }
        Ok(())
    }

    /// Claims the next attempt at a day. None: somebody else was faster.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn claim(
        &mut self,
        lake: &Lake,
        job: &str,
        as_of: NaiveDate,
        run_id: &str,
        at: DateTime<Utc>,
        epoch: Option<u64>,
    ) -> Result<Option<Claim>> {
        let before = self.days.get(&as_of);
        let attempt = before.map_or(0, |day| day.attempt) + 1;
        let failures = before.map_or(0, |day| day.failures);
        let claim = Claim { nonce: nonce(), run_id: run_id.to_owned(), attempt, at, epoch, failures };
        match lake.put_new(&path(job, as_of, attempt, "claim"), body(&claim)?).await? {
            Created::Taken => Ok(None),
            Created::Ours => {
                let settled = before.is_some_and(|day| day.settled);
                self.days.insert(as_of, DayState { attempt, mark: Mark::Claim, failures, settled });
                Ok(Some(claim))
            }
        }
    }
}

fn day(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

impl Claim {
    /// The claim of an attempt; none where a person has taken it back.
    ///
    /// # Errors
    /// What the store refuses, and a record that cannot be read.
    pub async fn read(lake: &Lake, job: &str, as_of: NaiveDate, attempt: u32) -> Result<Option<Claim>> {
        match read(lake, &path(job, as_of, attempt, "claim")).await {
            Ok(claim) => Ok(Some(claim)),
            Err(error) if error.code() == "lake.not_found" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says that the run goes on; only a run that no scheduler watches over needs to.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn beat(&self, lake: &Lake, job: &str, as_of: NaiveDate) -> Result<()> {
        lake.put(&self.beats(job, as_of), nonce()).await
    }

    /// The newest heartbeat, whatever it says.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn last_beat(&self, lake: &Lake, job: &str, as_of: NaiveDate) -> Result<Option<Vec<u8>>> {
        Ok(lake.find(&self.beats(job, as_of)).await?.map(|bytes| bytes.to_vec()))
    }

    /// The object of its heartbeat.
    pub(super) fn beats(&self, job: &str, as_of: NaiveDate) -> String {
        path(job, as_of, self.attempt, "beat")
    }

    /// Ends the attempt. False: somebody else has ended it.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn end(&self, lake: &Lake, job: &str, as_of: NaiveDate, mark: Mark, end: &End) -> Result<bool> {
        let created = lake.put_new(&path(job, as_of, self.attempt, mark.word()), body(end)?).await?;
        // A heartbeat that stays behind is swept with the day's other objects.
        if self.epoch.is_none() {
            lake.delete(&self.beats(job, as_of)).await?;
        }
        Ok(created == Created::Ours)
    }

    /// Takes the claim back: nothing was done.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn forget(&self, lake: &Lake, job: &str, as_of: NaiveDate) -> Result<()> {
        lake.delete(&self.beats(job, as_of)).await?;
        lake.delete(&path(job, as_of, self.attempt, "claim")).await
    }
}

impl End {
    /// How an attempt ended.
    ///
    /// # Errors
    /// What the store refuses, and a record that cannot be read.
    pub async fn read(lake: &Lake, job: &str, as_of: NaiveDate, attempt: u32, mark: Mark) -> Result<End> {
        read(lake, &path(job, as_of, attempt, mark.word())).await
    }
}

impl End {
    /// Ends an attempt that somebody else has begun: a held day that a person accepts.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn keep(&self, lake: &Lake, job: &str, as_of: NaiveDate, attempt: u32, mark: Mark) -> Result<bool> {
        let created = lake.put_new(&path(job, as_of, attempt, mark.word()), body(self)?).await?;
        Ok(created == Created::Ours)
    }
}

/// Closes days that are not to be run any more: one record for a stretch of them. False: it is closed already.
///
/// # Errors
/// What the store refuses.
pub async fn close(lake: &Lake, job: &str, first: NaiveDate, last: NaiveDate, end: &End) -> Result<bool> {
    let below = format!("{}/closed/{first}_{last}.json", folder(job));
    Ok(lake.put_new(&below, body(end)?).await? == Created::Ours)
}

/// Closes every day up to one, so that the records of those days may go. Only upkeep does.
///
/// # Errors
/// What the store refuses.
pub async fn close_through(lake: &Lake, job: &str, last: NaiveDate, at: DateTime<Utc>) -> Result<()> {
    let end =
        End { nonce: nonce(), run_id: String::new(), status: RunStatus::Skipped, at, error: None, not_before: None };
    lake.put_new(&format!("{}/closed/0001-01-01_{last}.json", folder(job)), body(&end)?).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::lake::testing;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    fn end(status: RunStatus) -> End {
        let at = at("2026-11-20T04:01:00Z");
        End { nonce: nonce(), run_id: "r".to_owned(), status, at, error: None, not_before: None }
    }

    #[tokio::test]
    async fn a_day_is_its_newest_attempt() {
        let lake = testing::memory();
        let (d, now) = (parse_date("2026-11-19").unwrap(), at("2026-11-20T04:00:00Z"));
        let mut state = JobState::read(&lake, "nightly").await.unwrap();
        let mut rival = state.clone();
        let claim = state.claim(&lake, "nightly", d, "r1", now, Some(1)).await.unwrap().unwrap();
        assert_eq!(rival.claim(&lake, "nightly", d, "r2", now, Some(1)).await.unwrap(), None, "one claims");
        let read = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!(read.days[&d], DayState { attempt: 1, mark: Mark::Claim, failures: 0, settled: false });
        assert_eq!(Claim::read(&lake, "nightly", d, 1).await.unwrap(), Some(claim.clone()));

        assert!(claim.end(&lake, "nightly", d, Mark::Retry, &end(RunStatus::Failed)).await.unwrap());
        let mut read = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!(read.days[&d], DayState { attempt: 1, mark: Mark::Retry, failures: 1, settled: false });
        assert!(read.known.closed.is_empty(), "it is still owed");
        let second = read.claim(&lake, "nightly", d, "r3", now, Some(1)).await.unwrap().unwrap();
        assert_eq!((second.attempt, second.failures), (2, 1));
        assert!(second.end(&lake, "nightly", d, Mark::Final, &end(RunStatus::Succeeded)).await.unwrap());
        assert!(!second.end(&lake, "nightly", d, Mark::Final, &end(RunStatus::Failed)).await.unwrap(), "once");
        let mut read = JobState::read(&lake, "nightly").await.unwrap();
        assert!(read.known.closed.contains(&d));
        assert_eq!(End::read(&lake, "nightly", d, 2, Mark::Final).await.unwrap().status, RunStatus::Succeeded);

        // A run of a settled day that died leaves it settled, and one that was forgotten leaves no trace.
        let third = read.claim(&lake, "nightly", d, "r4", now, None).await.unwrap().unwrap();
        third.beat(&lake, "nightly", d).await.unwrap();
        let read = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!(read.days[&d], DayState { attempt: 3, mark: Mark::Claim, failures: 0, settled: true });
        assert!(read.known.closed.contains(&d));
        third.forget(&lake, "nightly", d).await.unwrap();
        assert_eq!(JobState::read(&lake, "nightly").await.unwrap().days[&d].attempt, 2);
        assert_eq!(JobState::read(&lake, "weekly").await.unwrap().days.len(), 0, "another job's days are its own");
    }

    #[tokio::test]
    async fn skipped_stretches_and_old_days_are_closed() {
        let lake = testing::memory();
        let d = |text| parse_date(text).unwrap();
        let skipped = end(RunStatus::Skipped);
        assert!(close(&lake, "nightly", d("2026-01-01"), d("2026-01-03"), &skipped).await.unwrap());
        let state = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!(state.known.closed.len(), 3);
        let mut state = state;
        for text in ["2025-11-30", "2025-12-31", "2026-01-05"] {
            let claim = state.claim(&lake, "nightly", d(text), "r", skipped.at, None).await.unwrap().unwrap();
            claim.end(&lake, "nightly", d(text), Mark::Final, &end(RunStatus::Succeeded)).await.unwrap();
        }
        close_through(&lake, "nightly", d("2025-12-31"), skipped.at).await.unwrap();
        let state = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!(state.known.through, Some(d("2025-12-31")));
        assert_eq!(state.days.keys().copied().collect::<Vec<_>>(), [d("2026-01-05")], "older ones are not even listed");
    }

    #[tokio::test]
    async fn a_schedule_counts_from_when_it_was_first_seen() {
        let lake = testing::memory();
        let job = |schedule: &str| {
            let text = format!("{schedule}\n[[steps]]\nrun = \"snapshot\"");
            Job::parse("nightly", "jobs/nightly.toml", &text, Zone::UTC).unwrap()
        };
        let (first, later) = (at("2026-11-20T04:00:00Z"), at("2026-11-21T04:00:00Z"));
        let mut state = JobState::read(&lake, "nightly").await.unwrap();
        state.note_schedule(&lake, &job(""), first).await.unwrap();
        assert!(state.known.schedules.is_empty(), "by hand only: nothing to note");
        state.note_schedule(&lake, &job("schedule = \"0 4 * * *\""), first).await.unwrap();
        state.note_schedule(&lake, &job("schedule = \"0 4 * * *\""), later).await.unwrap();
        let mut state = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!(state.known.schedules.iter().map(|since| since.at).collect::<Vec<_>>(), [first]);
        state.note_schedule(&lake, &job("schedule = \"0 5 * * *\""), later).await.unwrap();
        let state = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!(state.known.schedules.iter().map(|since| since.at).collect::<Vec<_>>(), [first, later]);
    }
}
