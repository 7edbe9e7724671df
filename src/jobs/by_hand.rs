//! A run that a person, or somebody else's scheduler, has asked for: claimed as the scheduler's own are, with a heartbeat
//! of its own, tried again as the job says.

use std::time::Duration;

use chrono::NaiveDate;

use super::alert::{self, Alert};
use super::definition::Job;
use super::lease::{self, BEAT, LEASE};
use super::meter::Watcher;
use super::pulse::Pulse;
use super::report::RunStatus;
use super::run::{Ended, Request, ended, run_id, unrecorded};
use super::state::{Claim, End, JobState, Mark, nonce};
use super::time::{SystemTime, Time, backoff};
use super::webhook::Webhooks;
use crate::calendar::Clock;
use crate::error::{Error, Kind, Result};
use crate::lake::Lake;
use crate::snapshot::setup::Project;

/// What is run, and how.
pub struct ByHand<'a> {
    /// The project.
    pub project: &'a Project,
    /// The job.
    pub job: &'a Job,
    /// The present.
    pub clock: Clock,
    /// Who watches the steps.
    pub watcher: &'a dyn Watcher,
    /// Whether a published day is computed again though nothing has changed.
    pub force: bool,
}

impl ByHand<'_> {
    /// Runs a day, and again where it failed for a passing reason, as often as the job says.
    ///
    /// # Errors
    /// A state that cannot be read or written; how the run itself ended is told by [`Ended`].
    pub async fn run(&self, as_of: NaiveDate) -> Result<Ended> {
        let time = SystemTime::new(self.clock);
        loop {
            let (ended, again) = Box::pin(self.attempt(as_of)).await?;
            let Some(failures) = again else { return Ok(ended) };
            let wait = backoff(failures, time.chance());
            if let Some(error) = &ended.error {
                tracing::warn!(code = error.code(), "{error}; it is tried again in {} s", wait.as_secs());
            }
            time.sleep(wait).await;
        }
    }

    /// One attempt, and how many have failed if there is to be another.
    async fn attempt(&self, as_of: NaiveDate) -> Result<(Ended, Option<u32>)> {
        let (lake, job) = (&self.project.lake, self.job);
        let now = self.clock.now();
        let run_id = run_id(now);
        let claim = loop {
            let mut state = JobState::read(lake, &job.name).await?;
            // Whoever claims at the same moment is no reason not to: the commit recipe settles who publishes.
            if let Some(claim) = state.claim(lake, &job.name, as_of, &run_id, now, None).await? {
                break (claim, state.known.closed.contains(&as_of));
            }
        };
        let (claim, was_closed) = claim;
        let beating =
            Lake::open(self.project.settings.lake.url.as_str(), &self.project.cloud, &self.project.settings.root)?;
        let pulse = Pulse::start(beating, claim.beats(&job.name, as_of), BEAT)?;
        let request = Request { as_of, force: self.force, run_id, partial: None };
        let running = Box::pin(ended(self.project, job, &request, self.clock, self.watcher));
        let ended = match job.timeout {
            None => running.await,
            Some(timeout) => match tokio::time::timeout(timeout, running).await {
                Ok(ended) => ended,
                Err(_) => self.too_slow(&request, timeout),
            },
        };
        drop(pulse);
        let transient = ended.error.as_ref().is_some_and(|error| error.kind() == Kind::Transient);
        let again = transient && claim.failures < job.retries;
        let status = ended.report.status;
        // What changed nothing leaves nothing behind, once the day is settled.
        if status == RunStatus::Unchanged && was_closed {
            claim.forget(lake, &job.name, as_of).await?;
            return Ok((ended, None));
        }
        let mark = match status {
            RunStatus::Held => Mark::Held,
            _ if again => Mark::Retry,
            // A person looks at a failure of what the scheduler has not tried; the scheduler may still.
            RunStatus::Failed | RunStatus::Superseded | RunStatus::Abandoned => Mark::Retry,
            RunStatus::Succeeded | RunStatus::Unchanged | RunStatus::Skipped => Mark::Final,
        };
        let end = End {
            nonce: nonce(),
            run_id: claim.run_id.clone(),
            status,
            at: self.clock.now(),
            error: match &ended.error {
                Some(error) => Some(format!("{}: {error}", error.code())),
                None if status == RunStatus::Held => Some(ended.reasons.join("; ")),
                None => None,
            },
            not_before: None,
        };
        let kept = claim.end(lake, &job.name, as_of, mark, &end).await;
        let error = ended.error.or(kept.err().map(|unkept| unrecorded(unkept, &ended.report)));
        let ended = Ended { error, ..ended };
        Ok((ended, again.then_some(claim.failures + 1)))
    }

    fn too_slow(&self, request: &Request, timeout: Duration) -> Ended {
        let message = format!("it took longer than the {} s that the job gives it", timeout.as_secs());
        let error = Error::new(Kind::Transient, "run.timeout", message).with_hint("raise `timeout` of the job");
        let report =
            super::report::RunReport::nothing(&self.job.name, request.as_of, &request.run_id, RunStatus::Failed);
        Ended { report, error: Some(error), reasons: Vec::new(), unusual: Vec::new() }
    }

    /// Puts an alert into the outbox, and tells all that is in it as far as this job's webhook takes it.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn tell(&self, alert: &Alert, webhooks: &Webhooks) -> Result<()> {
        let lake = &self.project.lake;
        alert.raise(lake).await?;
        for alert in alert::pending(lake).await?.iter().filter(|alert| alert.job == self.job.name) {
            match &self.job.on_failure {
                None => alert.settle(lake).await?,
                Some(url) => match webhooks.send(url, alert, self.clock.now()).await {
                    Ok(()) => alert.settle(lake).await?,
                    Err(error) => tracing::warn!(code = error.code(), "{error}"),
                },
            }
        }
        Ok(())
    }
}

/// Waits while a scheduler that is alive runs a day of one of these jobs: between the days of a backfill the night goes
/// first.
///
/// # Errors
/// What the store refuses.
pub async fn give_way(lake: &Lake, jobs: &[String], time: &dyn Time) -> Result<()> {
    let mut seen: Option<(Option<Vec<u8>>, Duration)> = None;
    while let Some((epoch, beat)) = lease::leader(lake).await? {
        if !is_running(lake, jobs, epoch).await? {
            return Ok(());
        }
        let now = time.elapsed();
        match &seen {
            Some((known, since)) if *known == beat => {
                if now.saturating_sub(*since) >= LEASE {
                    return Ok(());
                }
            }
            _ => seen = Some((beat, now)),
        }
        time.sleep(BEAT).await;
    }
    Ok(())
}

/// Whether the scheduler of an epoch runs a day of one of these jobs.
async fn is_running(lake: &Lake, jobs: &[String], epoch: u64) -> Result<bool> {
    for job in jobs {
        for (as_of, day) in JobState::read(lake, job).await?.days.iter().filter(|(_, day)| day.mark == Mark::Claim) {
            let claim = Claim::read(lake, job, *as_of, day.attempt).await?;
            if claim.is_some_and(|claim| claim.epoch == Some(epoch)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::jobs::lease::Lease;
    use crate::jobs::simulation::{self, Task, World};
    use std::sync::Arc;

    #[test]
    fn a_backfill_waits_for_the_night_and_not_for_a_dead_one() {
        for (dies, least, most) in [(false, 600, 620), (true, 40, 80)] {
            let world = Arc::new(World::new(1));
            let lake = simulation::lake(&world);
            let day = parse_date("2026-01-01").unwrap();
            let began = std::cell::Cell::new(false);
            let waited = std::cell::Cell::new(None);
            {
                let night: Task<'_> = Box::pin(async {
                    let mut lease = Lease::new();
                    lease.tend(&lake, &*world).await.unwrap();
                    let mut state = JobState::read(&lake, "nightly").await.unwrap();
                    let claimed = state.claim(&lake, "nightly", day, "r", world.now(), lease.epoch()).await;
                    let claim = claimed.unwrap().unwrap();
                    began.set(true);
                    for _ in 0..if dies { 0 } else { 600 / BEAT.as_secs() } {
                        world.sleep(BEAT).await;
                        lease.tend(&lake, &*world).await.unwrap();
                    }
                    if dies {
                        world.sleep(Duration::from_secs(3_600)).await;
                    }
                    let (status, at) = (RunStatus::Succeeded, world.now());
                    let end = End { nonce: nonce(), run_id: "r".to_owned(), status, at, error: None, not_before: None };
                    claim.end(&lake, "nightly", day, Mark::Final, &end).await.unwrap();
                });
                let backfill: Task<'_> = Box::pin(async {
                    while !began.get() {
                        world.sleep(Duration::from_secs(1)).await;
                    }
                    let since = world.elapsed();
                    give_way(&lake, &["nightly".to_owned()], &*world).await.unwrap();
                    waited.set(Some((world.elapsed() - since).as_secs()));
                });
                world.run(&mut [Some(night), Some(backfill)], Duration::from_secs(7_200), |_| Duration::ZERO);
            }
            let waited = waited.get().unwrap();
            assert!((least..=most).contains(&waited), "{waited} s, dies: {dies}");
        }
    }
}
