//! The loop that runs the jobs by their schedules.
//!
//! One step looks who leads, and as the leader settles what died, closes what is not run any more, tells what is late,
//! and runs the one day that is owed longest, whatever its job: one at a time, since each may use all the memory that
//! there is. Nothing is kept in memory that the next leader would miss. Time, chance, the store and the work itself are
//! given, so that a year can be simulated in a second (`simulation`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::alert::{self, Alert, Event};
use super::definition::Job;
use super::due::{self, Due, Owed, Reach};
use super::lease::{BEAT, LEASE, Lease, Standing};
use super::pulse::Pulse;
use super::report::RunStatus;
use super::state::{self, Claim, End, JobState, Mark, nonce};
use super::time::{Time, backoff};
use crate::calendar::Zone;
use crate::error::Result;
use crate::lake::Lake;

/// How long a plan stands before it is looked at again, though nothing is due.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a scheduler is asked to run.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The day.
    pub as_of: NaiveDate,
    /// The run's id.
    pub run_id: String,
    /// Why the input is not what was waited for, if it is not.
    pub partial: Option<String>,
    /// Whether the attempt before stood still: this one goes by the plans that cannot.
    pub careful: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// How.
    pub status: RunStatus,
    /// Why it failed or is held: code and message.
    pub error: Option<String>,
    /// Whether the same may succeed later.
    pub transient: bool,
    /// What a person should look at, though the day is published.
    pub unusual: Vec<String>,
}

/// A line of the record for what no run has recorded itself.
#[derive(Debug, Clone)]
pub struct Noted<'a> {
    /// The run; of a stretch of skipped days its own id.
    pub run_id: &'a str,
    /// The day.
    pub as_of: NaiveDate,
    /// How it ended.
    pub status: RunStatus,
    /// When.
    pub at: DateTime<Utc>,
    /// In a sentence.
    pub message: &'a str,
}

/// What a scheduler asks of the rest of the program.
#[async_trait(?Send)]
pub trait Work: Send + Sync {
    /// The jobs as their files say now. A faulty file is told and left out.
    fn jobs(&self) -> Result<Vec<Job>>;
    /// Runs a day.
    async fn run(&self, job: &Job, asked: &Asked) -> Ran;
    /// Whether a run has published a day.
    async fn published_by(&self, as_of: NaiveDate, run_id: &str) -> Result<bool>;
    /// Published days for which something has been landed since, as far back as is waited for: the oldest first, and
    /// after it every day that is chained to it.
    async fn restated(&self, job: &Job, as_of: NaiveDate) -> Result<Vec<NaiveDate>>;
    /// Why a day's input is not complete; none where it is.
    async fn lacking(&self, job: &Job, as_of: NaiveDate) -> Result<Option<String>>;
    /// Adds a line to the record.
    async fn note(&self, job: &Job, noted: &Noted<'_>) -> Result<()>;
    /// Tells an alert to whom the job names. False: it is to be tried again.
    async fn tell(&self, job: Option<&Job>, alert: &Alert) -> bool;
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A day was run.
    Ran {
        /// The job.
        job: String,
        /// The day.
        as_of: NaiveDate,
        /// How it ended.
        status: RunStatus,
    },
    /// There is nothing to do for so long.
    Wait(Duration),
    /// Another scheduler leads: look again after so long.
    Standby(Duration),
}

/// One scheduler.
pub struct Scheduler<'a> {
    lake: &'a Lake,
    work: &'a dyn Work,
    time: &'a dyn Time,
    shop: Zone,
    lease: Lease,
    awake_since: Option<DateTime<Utc>>,
    /// When to plan again at the latest: by the machine's clock, and by time that passed.
    plan: Option<(DateTime<Utc>, Duration)>,
    /// The heartbeats of runs that no scheduler watches over.
    watched: BTreeMap<(String, NaiveDate, u32), Seen>,
    /// Days to restate before a due one, by job and due day.
    restating: BTreeMap<(String, NaiveDate), Vec<NaiveDate>>,
    /// Through what its heartbeat goes on while a day is worked on, and how often.
    beating: Option<(Lake, Duration)>,
}

/// A heartbeat, and since when it has been the same.
type Seen = (Option<Vec<u8>>, Duration);

struct Candidate {
    job: Job,
    state: JobState,
    due: Due,
    partial: Option<String>,
}

impl<'a> Scheduler<'a> {
    /// A scheduler over a lake, for a shop in `shop`.
    pub fn new(lake: &'a Lake, work: &'a dyn Work, time: &'a dyn Time, shop: Zone) -> Self {
        Self {
            lake,
            work,
            time,
            shop,
            lease: Lease::new(),
            awake_since: None,
            plan: None,
            watched: BTreeMap::new(),
            restating: BTreeMap::new(),
            beating: None,
        }
    }

    /// Beats on a thread of its own while a day is worked on, through `lake`, the same one opened once more: a run that
    /// keeps every thread busy does not lose its lease.
    #[must_use]
    pub fn beating(mut self, lake: Lake, every: Duration) -> Self {
        self.beating = Some((lake, every));
        self
    }

    fn pulse(&self) -> Option<Pulse> {
        let ((lake, every), object) = (self.beating.as_ref()?, self.lease.beat_object()?);
        let pulse = Pulse::start(lake.clone(), object, *every);
        pulse.inspect_err(|error| tracing::warn!(code = error.code(), "{error}")).ok()
    }

    /// Stands down, so that another can lead at once.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn stop(&mut self) -> Result<()> {
        self.lease.resign(self.lake).await
    }

    /// Does the next thing, and says how long there is nothing else to do.
    ///
    /// # Errors
    /// What the store refuses: the next step begins anew.
    pub async fn step(&mut self) -> Result<Step> {
        let Standing::Leader(epoch) = self.lease.tend(self.lake, self.time).await? else {
            self.awake_since = None;
            self.plan = None;
            return Ok(Step::Standby(BEAT));
        };
        let now = self.time.now();
        let awake_since = *self.awake_since.get_or_insert(now);
        if let Some((next, latest)) = self.plan
            && now < next
            && self.time.elapsed() < latest
        {
            return Ok(Step::Wait(self.until(next, now)));
        }
        let mut next = now + TimeDelta::from_std(LOOK_AGAIN).unwrap_or_default();
        let mut candidates = Vec::new();
        let jobs = self.work.jobs()?;
        let states = JobState::read_all(self.lake, jobs.iter().map(|job| job.name.as_str())).await?;
        for (job, mut state) in jobs.iter().zip(states) {
            state.note_schedule(self.lake, job, now).await?;
            self.recover(job, &mut state, epoch).await?;
            let reach = Reach { catch_up: job.catch_up, days: job.max_catch_up_days };
            let owed = due::owed(&state.known, reach, self.shop, now, awake_since);
            self.skip(job, &owed, now).await?;
            self.tell_late(job, &owed, now).await?;
            next = due::next_tick(&state.known, now).map_or(next, |tick| next.min(tick));
            let Some(due) = owed.run.first().copied() else { continue };
            match state.days.get(&due.as_of) {
                Some(day) if day.mark == Mark::Claim => continue,
                Some(day) if day.mark == Mark::Retry => {
                    let end = End::read(self.lake, &job.name, due.as_of, day.attempt, Mark::Retry).await?;
                    if let Some(not_before) = end.not_before.filter(|at| *at > now) {
                        next = next.min(not_before);
                        continue;
                    }
                }
                _ => {}
            }
            candidates.push(Candidate { job: job.clone(), state, due, partial: None });
        }
        candidates.sort_by(|a, b| (a.due.tick, &a.job.name).cmp(&(b.due.tick, &b.job.name)));
        // What has to be looked at before a day is begun may be long work, too.
        let _pulse = if candidates.is_empty() { None } else { self.pulse() };
        for mut candidate in candidates {
            if self.wait_for_input(&mut candidate, now).await? {
                self.plan = None;
                let step = self.work_on(candidate, epoch).await?;
                self.deliver(&jobs).await?;
                return Ok(step);
            }
        }
        self.deliver(&jobs).await?;
        self.plan = Some((next, self.time.elapsed() + LOOK_AGAIN));
        Ok(Step::Wait(self.until(next, now)))
    }

    fn until(&self, next: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
        (next - now).to_std().unwrap_or_default().min(BEAT)
    }

    /// Settles attempts whose runner is gone.
    async fn recover(&mut self, job: &Job, state: &mut JobState, epoch: u64) -> Result<()> {
        let open: Vec<(NaiveDate, u32)> = state
            .days
            .iter()
            .filter(|(_, day)| day.mark == Mark::Claim)
            .map(|(as_of, day)| (*as_of, day.attempt))
            .collect();
        for (as_of, attempt) in open {
            let Some(claim) = Claim::read(self.lake, &job.name, as_of, attempt).await? else { continue };
            if claim.epoch.is_none_or(|theirs| theirs > epoch) && !self.is_gone(job, as_of, &claim).await? {
                continue;
            }
            self.watched.remove(&(job.name.clone(), as_of, attempt));
            let now = self.time.now();
            let mut end = End {
                nonce: nonce(),
                run_id: claim.run_id.clone(),
                status: RunStatus::Succeeded,
                at: now,
                error: None,
                not_before: None,
            };
            let mark = if self.work.published_by(as_of, &claim.run_id).await? {
                let message = format!("{as_of} was published by a run that died before it could say so");
                let alert = Alert::about(Event::RunRecovered, &job.name, as_of, &claim.run_id, &message, now);
                alert.of_run(&claim.run_id).raise(self.lake).await?;
                end.error = Some(message);
                Mark::Final
            } else if claim.failures < job.retries {
                end.status = RunStatus::Abandoned;
                end.error = Some("whoever ran it is gone".to_owned());
                Mark::Retry
            } else {
                end.status = RunStatus::Failed;
                end.error = Some(format!("whoever ran it is gone, after {} attempts", claim.failures + 1));
                Mark::Final
            };
            let message = end.error.clone().unwrap_or_default();
            let noted = Noted { run_id: &claim.run_id, as_of, status: end.status, at: now, message: &message };
            self.work.note(job, &noted).await?;
            if end.status == RunStatus::Failed {
                self.tell_failed(job, as_of, &claim.run_id, &message).await?;
            }
            claim.end(self.lake, &job.name, as_of, mark, &end).await?;
        }
        if state.days.values().any(|day| day.mark == Mark::Claim) {
            *state = JobState::read(self.lake, &job.name).await?;
        }
        Ok(())
    }

    /// Whether a run that no scheduler watches over has shown no sign of life for a whole lease.
    async fn is_gone(&mut self, job: &Job, as_of: NaiveDate, claim: &Claim) -> Result<bool> {
        let beat = claim.last_beat(self.lake, &job.name, as_of).await?;
        let now = self.time.elapsed();
        let key = (job.name.clone(), as_of, claim.attempt);
        match self.watched.get(&key) {
            Some((seen, since)) if *seen == beat => Ok(now.saturating_sub(*since) >= LEASE),
            _ => {
                self.watched.insert(key, (beat, now));
                Ok(false)
            }
        }
    }

    /// Closes the days that are not run any more, one record a stretch, and tells once of those that are too far back.
    async fn skip(&self, job: &Job, owed: &Owed, now: DateTime<Utc>) -> Result<()> {
        let (Some(first), Some(last)) = (owed.skip.first().copied(), owed.skip.last().copied()) else { return Ok(()) };
        // Days between them that are still to be run end a stretch.
        let kept: BTreeSet<NaiveDate> = owed.run.iter().map(|due| due.as_of).collect();
        let last_closed = kept.first().and_then(|first| first.pred_opt()).map_or(last, |before| before.min(last));
        let days = owed.skip.len();
        let message = format!("{days} days from {first} to {last} were missed and are not run any more");
        let end = End {
            nonce: nonce(),
            run_id: String::new(),
            status: RunStatus::Skipped,
            at: now,
            error: Some(message.clone()),
            not_before: None,
        };
        if state::close(self.lake, &job.name, first, last_closed.max(first), &end).await? {
            let run_id = nonce();
            let noted = Noted { run_id: &run_id, as_of: last, status: RunStatus::Skipped, at: now, message: &message };
            self.work.note(job, &noted).await?;
        }
        if owed.truncated {
            Alert::about(Event::CatchUpTruncated, &job.name, last, "", message, now).raise(self.lake).await?;
        }
        Ok(())
    }

    async fn tell_late(&self, job: &Job, owed: &Owed, now: DateTime<Utc>) -> Result<()> {
        let Some(late_after) = job.late_after.and_then(|late| TimeDelta::from_std(late).ok()) else { return Ok(()) };
        // Of a backlog only the newest is news.
        let Some(due) = owed.run.last().filter(|due| now > due.tick + late_after) else { return Ok(()) };
        let message = format!("{} is not settled yet; it was due at {}", due.as_of, due.tick.to_rfc3339());
        Alert::about(Event::RunLate, &job.name, due.as_of, "", message, now).raise(self.lake).await
    }

    async fn tell_failed(&self, job: &Job, as_of: NaiveDate, run_id: &str, message: &str) -> Result<()> {
        let alert = Alert::about(Event::RunFailed, &job.name, as_of, run_id, message, self.time.now());
        alert.of_run(run_id).raise(self.lake).await
    }

    /// Whether a due day can be begun: its input is there, or was waited for long enough.
    async fn wait_for_input(&self, candidate: &mut Candidate, now: DateTime<Utc>) -> Result<bool> {
        let Candidate { job, due, .. } = candidate;
        let Some(ready) = &job.ready else { return Ok(true) };
        let Some(lacking) = self.work.lacking(job, due.as_of).await? else { return Ok(true) };
        let deadline = ready.deadline(due, job.zone);
        let message = format!("{} is not begun: {lacking}; waiting until {}", due.as_of, deadline.to_rfc3339());
        Alert::about(Event::InputNotReady, &job.name, due.as_of, "", message, now).raise(self.lake).await?;
        if now < deadline {
            return Ok(false);
        }
        candidate.partial = Some(lacking);
        Ok(true)
    }

    /// Runs what has to come before the due day, or the day itself.
    async fn work_on(&mut self, candidate: Candidate, epoch: u64) -> Result<Step> {
        let Candidate { job, state, due, partial } = candidate;
        let key = (job.name.clone(), due.as_of);
        let before = match self.restating.get_mut(&key) {
            Some(days) => days,
            None => {
                let mut days = self.work.restated(&job, due.as_of).await?;
                days.reverse();
                self.restating.retain(|(name, _), _| *name != job.name);
                self.restating.entry(key.clone()).or_insert(days)
            }
        };
        if let Some(restated) = before.pop() {
            return self.run(&job, state, restated, None, None, epoch).await;
        }
        self.run(&job, state, due.as_of, Some(&due), partial, epoch).await
    }

    async fn run(
        &mut self,
        job: &Job,
        mut state: JobState,
        as_of: NaiveDate,
        due: Option<&Due>,
        partial: Option<String>,
        epoch: u64,
    ) -> Result<Step> {
        let run_id = nonce();
        let careful = match state.days.get(&as_of).filter(|day| day.mark == Mark::Retry) {
            Some(day) => {
                let end = End::read(self.lake, &job.name, as_of, day.attempt, Mark::Retry).await?;
                end.error.is_some_and(|error| error.starts_with(STALLED))
            }
            None => false,
        };
        let claimed = state.claim(self.lake, &job.name, as_of, &run_id, self.time.now(), Some(epoch)).await?;
        let Some(claim) = claimed else { return Ok(Step::Wait(Duration::ZERO)) };
        let gives_up = partial.is_some() && job.ready.as_ref().is_some_and(|ready| !ready.then_run);
        let ran = if gives_up {
            let why = format!("input.not_ready: {}", partial.unwrap_or_default());
            let noted = Noted { run_id: &run_id, as_of, status: RunStatus::Failed, at: self.time.now(), message: &why };
            self.work.note(job, &noted).await?;
            Some(Ran { status: RunStatus::Failed, error: Some(why), transient: false, unusual: Vec::new() })
        } else {
            let asked = Asked { as_of, run_id: run_id.clone(), partial, careful };
            self.watch_over(job, &asked, due).await?
        };
        // Whoever leads now settles what this one has claimed.
        let Some(ran) = ran else { return Ok(Step::Standby(Duration::ZERO)) };
        let status = self.settle(job, as_of, &claim, ran).await?;
        Ok(Step::Ran { job: job.name.clone(), as_of, status })
    }

    /// Runs a day and leads meanwhile. None: another leads now.
    async fn watch_over(&mut self, job: &Job, asked: &Asked, due: Option<&Due>) -> Result<Option<Ran>> {
        let (work, time, lake) = (self.work, self.time, self.lake);
        let began = time.elapsed();
        let mut running = work.run(job, asked);
        loop {
            let tick = time.sleep(BEAT);
            match futures::future::select(running, tick).await {
                futures::future::Either::Left((ran, _)) => return Ok(Some(ran)),
                futures::future::Either::Right(((), rest)) => running = rest,
            }
            match self.lease.tend(lake, time).await {
                Ok(Standing::Leader(_)) => {}
                Ok(Standing::Standby) => return Ok(None),
                // A store that does not answer now may do so in time.
                Err(error) => tracing::warn!(code = error.code(), "the heartbeat could not be written: {error}"),
            }
            if let Some(timeout) = job.timeout.filter(|timeout| time.elapsed().saturating_sub(began) >= *timeout) {
                let error = format!("run.timeout: it took longer than {} s", timeout.as_secs());
                let noted = Noted {
                    run_id: &asked.run_id,
                    as_of: asked.as_of,
                    status: RunStatus::Failed,
                    at: time.now(),
                    message: &error,
                };
                drop(running);
                work.note(job, &noted).await?;
                return Ok(Some(Ran {
                    status: RunStatus::Failed,
                    error: Some(error),
                    transient: true,
                    unusual: Vec::new(),
                }));
            }
            if let Some(due) = due {
                let owed = Owed { run: vec![*due], ..Owed::default() };
                self.tell_late(job, &owed, time.now()).await?;
            }
        }
    }

    /// Records how an attempt ended, and tells whom it concerns.
    async fn settle(&self, job: &Job, as_of: NaiveDate, claim: &Claim, ran: Ran) -> Result<RunStatus> {
        let now = self.time.now();
        let mut end = End {
            nonce: nonce(),
            run_id: claim.run_id.clone(),
            status: ran.status,
            at: now,
            error: ran.error,
            not_before: None,
        };
        let message = end.error.clone().unwrap_or_default();
        let mark = match ran.status {
            RunStatus::Succeeded | RunStatus::Unchanged | RunStatus::Skipped => Mark::Final,
            RunStatus::Held => Mark::Held,
            // Whoever was faster has published the day; the next attempt sees that, or computes what is left.
            RunStatus::Superseded if claim.failures < job.retries => Mark::Retry,
            RunStatus::Failed if ran.transient && claim.failures < job.retries => {
                let wait = backoff(claim.failures + 1, self.time.chance());
                end.not_before = TimeDelta::from_std(wait).ok().map(|wait| now + wait);
                Mark::Retry
            }
            RunStatus::Superseded | RunStatus::Failed | RunStatus::Abandoned => Mark::Final,
        };
        // Before the day is settled: who dies in between tells it twice at most, and never not at all.
        match (ran.status, mark) {
            (RunStatus::Held, _) => {
                let message = format!("{as_of} is held: {message}; `alluvial publish --accept {as_of}` publishes it");
                let alert = Alert::about(Event::PublishHeld, &job.name, as_of, &claim.run_id, message, now);
                alert.of_run(&claim.run_id).raise(self.lake).await?;
            }
            (RunStatus::Failed | RunStatus::Superseded, Mark::Final) => {
                self.tell_failed(job, as_of, &claim.run_id, &message).await?;
            }
            _ => {}
        }
        if !ran.unusual.is_empty() {
            let message = ran.unusual.join("; ");
            let alert = Alert::about(Event::PublishUnusual, &job.name, as_of, &claim.run_id, message, now);
            alert.of_run(&claim.run_id).raise(self.lake).await?;
        }
        claim.end(self.lake, &job.name, as_of, mark, &end).await?;
        Ok(end.status)
    }

    /// Tells what is in the outbox.
    async fn deliver(&self, jobs: &[Job]) -> Result<()> {
        for alert in alert::pending(self.lake).await? {
            let job = jobs.iter().find(|job| job.name == alert.job);
            if self.work.tell(job, &alert).await {
                alert.settle(self.lake).await?;
            }
        }
        Ok(())
    }
}

/// The code of a run that stood still, as it stands before its message.
pub const STALLED: &str = "engine.stalled";

#[cfg(test)]
mod tests;
