//! Segments of published days by the definitions as they are now: a backfill of definitions.
//!
//! Such a run is nobody's night. It claims no day and settles none; what fences it from a night is the commit recipe.

use chrono::NaiveDate;

use super::meter::Watcher;
use super::report::{RunReport, RunStatus};
use super::run::{Ended, Metered, keep, report, run_id};
use super::time::{SystemTime, Time, backoff};
use crate::calendar::Clock;
use crate::error::Kind;
use crate::snapshot::day::Run;
use crate::snapshot::redefined::{self, Redefined};
use crate::snapshot::setup::Project;

/// What such runs are called in `job_runs` where no job is named.
pub const NAME: &str = "segments";

/// How often a day is begun again after a passing fault.
const RETRIES: u32 = 3;

/// A backfill of definitions.
pub struct Redefine<'a> {
    /// The project.
    pub project: &'a Project,
    /// What the runs are called in `job_runs`.
    pub name: &'a str,
    /// The present.
    pub clock: Clock,
    /// Who watches the steps.
    pub watcher: &'a dyn Watcher,
    /// Whether days whose definitions are what they were are computed, too.
    pub force: bool,
    /// The last day of the backfill.
    pub until: NaiveDate,
}

/// What became of a day.
#[derive(Debug)]
pub enum Done {
    /// It was computed, or left as it is because nothing has changed, or failed.
    Ended(Box<Ended>),
    /// It stays as it is, for this reason.
    LeftOut(String),
}

impl Redefine<'_> {
    /// Computes the segments of a day and records the run; a day that was begun in vain for a passing fault is begun again.
    pub async fn day(&self, as_of: NaiveDate) -> Done {
        let time = SystemTime::new(self.clock);
        let mut failures = 0;
        loop {
            let done = Box::pin(self.attempt(as_of)).await;
            let Done::Ended(ended) = &done else { return done };
            let again = ended.error.as_ref().filter(|error| {
                // A night that has published the day meanwhile is what to begin from.
                let passing = error.kind() == Kind::Transient || error.code() == "lake.day_changed";
                passing && failures < RETRIES
            });
            let Some(error) = again else { return done };
            failures += 1;
            let wait = backoff(failures, time.chance());
            tracing::warn!(code = error.code(), "{error}; it is tried again in {} s", wait.as_secs());
            time.sleep(wait).await;
        }
    }

    async fn attempt(&self, as_of: NaiveDate) -> Done {
        let started = self.clock.now();
        let run = Run { id: run_id(started), as_of, at: started, force: self.force };
        let mut metered = Metered::new(self.watcher);
        let done = Box::pin(redefined::publish(self.project, &run, self.until, &mut metered)).await;
        let (attempt, steps) = metered.end();
        let mut ended = match done {
            Ok(Redefined::LeftOut(why)) => return Done::LeftOut(why),
            Ok(Redefined::Unchanged(day)) => {
                let mut report = RunReport::nothing(self.name, as_of, &day.run_id, RunStatus::Unchanged);
                report.previous_as_of = day.previous_as_of;
                report.as_known = day.as_known;
                report.customers = day.row_counts.get("lifecycle").copied().unwrap_or(0);
                report.steps = steps;
                let ended = Ended { report, error: None, reasons: Vec::new(), unusual: Vec::new() };
                return Done::Ended(Box::new(ended));
            }
            Ok(Redefined::Now(summary)) => Ended {
                report: report(self.name, &run, RunStatus::Succeeded, Some(&summary), steps),
                error: None,
                reasons: Vec::new(),
                unusual: summary.unusual,
            },
            Err(error) => {
                let superseded = error.kind() == Kind::Superseded;
                let status = if superseded { RunStatus::Superseded } else { RunStatus::Failed };
                let report = report(self.name, &run, status, None, steps);
                Ended { report, error: Some(error), reasons: Vec::new(), unusual: Vec::new() }
            }
        };
        let times = (started, self.clock.now());
        let unkept = keep(self.project, &ended.report, attempt, times, ended.error.as_ref()).await;
        ended.error = ended.error.or(unkept);
        Done::Ended(Box::new(ended))
    }
}
