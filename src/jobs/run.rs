//! Running a job for one day, and the record of it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::definition::{Job, Step};
use super::export::{self, Delivered};
use super::meter::{Running, StepMeter, Watcher};
use super::record::Record;
use super::report::{
    ExportReport, LeftOut, ModelReport, Rejects, RunReport, RunStatus, SegmentSize, StageSize, StepReport, TableRows,
};
use super::upkeep;
use crate::calendar::Clock;
use crate::error::{Error, Kind, Result};
use crate::snapshot::day::{self, Published, Run, Steps, Summary};
use crate::snapshot::held;
use crate::snapshot::model::{self, Fitted};
use crate::snapshot::setup::Project;

/// What is asked of a run.
#[derive(Debug, Clone)]
pub struct Request {
    /// The day.
    pub as_of: NaiveDate,
    /// Whether a published day is computed again though nothing has changed.
    pub force: bool,
    /// The run's id, from [`run_id`].
    pub run_id: String,
    /// Why the input is not what was waited for, if it is not.
    pub partial: Option<String>,
}

/// How a run ended: what it did, as far as it came, and why not further.
#[derive(Debug)]
pub struct Ended {
    /// What it did.
    pub report: RunReport,
    /// Why it failed.
    pub error: Option<Error>,
    /// Why the day is held.
    pub reasons: Vec<String>,
    /// What moved so much that a person should look.
    pub unusual: Vec<String>,
}

/// Runs a job for one as-of date and records the run in `job_runs`.
///
/// # Errors
/// Those of the job's steps; the run is recorded as failed then, where the lake takes the record.
pub async fn run(
    project: &Project,
    job: &Job,
    request: &Request,
    clock: Clock,
    watcher: &dyn Watcher,
) -> Result<RunReport> {
    let ended = Box::pin(ended(project, job, request, clock, watcher)).await;
    ended.error.map_or(Ok(ended.report), Err)
}

/// Runs a job for one as-of date, records the run, and says how it ended.
pub async fn ended(project: &Project, job: &Job, request: &Request, clock: Clock, watcher: &dyn Watcher) -> Ended {
    let started = clock.now();
    let run = Run { id: request.run_id.clone(), as_of: request.as_of, at: started, force: request.force };
    let mut metered = Metered::new(watcher);
    let (done, mut error) = Box::pin(steps(project, job, &run, &mut metered)).await;
    let (attempt, steps) = metered.end();
    let mut reasons = Vec::new();
    let mut unusual = Vec::new();
    let mut report = match &done.day {
        Some(Published::Now(summary)) => {
            unusual.clone_from(&summary.unusual);
            report(&job.name, &run, RunStatus::Succeeded, Some(summary), steps)
        }
        Some(Published::Held(summary, why)) => {
            reasons.clone_from(why);
            report(&job.name, &run, RunStatus::Held, Some(summary), steps)
        }
        Some(Published::Unchanged(day)) => {
            let mut report = report(&job.name, &run, RunStatus::Unchanged, None, steps);
            if !done.worked {
                report.run_id.clone_from(&day.run_id);
            }
            report.previous_as_of = day.previous_as_of;
            report.as_known = day.as_known;
            report.customers = day.row_counts.get("customer_profile").copied().unwrap_or(0);
            report
        }
        None => report(&job.name, &run, RunStatus::Succeeded, None, steps),
    };
    tell_of_fit(&mut report, done.fitted.as_ref());
    report.exports = done.exports;
    unusual.extend(done.waiting.iter().cloned());
    report.warnings.extend(done.told);
    report.warnings.extend(done.waiting);
    report.warnings.extend(reasons.iter().map(|reason| format!("held: {reason}")));
    if let Some(partial) = &request.partial {
        report.warnings.push(format!("the day was begun although its input is not complete: {partial}"));
    }
    if let Some(error) = &error {
        report.run_id.clone_from(&run.id);
        report.status = if error.kind() == Kind::Superseded { RunStatus::Superseded } else { RunStatus::Failed };
    }
    // A day that is left as it is leaves no record, unless something else was done; a held one is not settled yet.
    let quiet = report.status == RunStatus::Unchanged && !done.worked;
    if !quiet {
        let unkept = keep(project, &report, attempt, (started, clock.now()), error.as_ref()).await;
        error = error.or(unkept.map(|unkept| unrecorded(unkept, &report)));
    }
    Ended { report, error, reasons, unusual }
}

/// Why a run could not be recorded, which may have done all that it should.
pub(super) fn unrecorded(error: Error, report: &RunReport) -> Error {
    if report.status != RunStatus::Succeeded {
        return error;
    }
    error.after(
        &format!("the run for {} succeeded, and could not be recorded", report.as_of),
        "make sure that the lake can be written; what the run did stands",
    )
}

/// Records a run; why that failed, if it did.
pub(super) async fn keep(
    project: &Project,
    report: &RunReport,
    attempt: Option<i64>,
    (started, finished): (DateTime<Utc>, DateTime<Utc>),
    error: Option<&Error>,
) -> Option<Error> {
    let record = Record { report, attempt, started, finished, error, note: None };
    let unkept = Box::pin(record.keep_all(project)).await.err()?;
    if error.is_some() {
        // A lake that refuses the record has most likely refused the run: that is the failure to tell.
        tracing::warn!(code = unkept.code(), "the failed run could not be recorded");
    }
    Some(unkept)
}

/// Fits a lifecycle model as of a day and keeps it, without a job and without a record of a run.
///
/// # Errors
/// Those of [`model::fit_day`].
pub async fn fit_now(project: &Project, as_of: NaiveDate, clock: Clock, watcher: &dyn Watcher) -> Result<Fitted> {
    let at = clock.now();
    let run = Run { id: run_id(at), as_of, at, force: false };
    let mut metered = Metered::new(watcher);
    let fitted = Box::pin(model::fit_day(project, &run, &mut metered)).await;
    metered.close();
    fitted
}

/// Ids that sort by time: runs of one process are told apart, and so are those of two machines.
pub fn run_id(at: DateTime<Utc>) -> String {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, at.timestamp_subsec_nanos());
    uuid::Uuid::new_v7(stamp).simple().to_string()
}

/// What the steps of a run came to.
#[derive(Default)]
struct Finished {
    day: Option<Published>,
    fitted: Option<Fitted>,
    /// Whether a step did something besides publishing the day.
    worked: bool,
    /// What steps have to say.
    told: Vec<String>,
    /// What was delivered.
    exports: Vec<ExportReport>,
    /// Why exports wait for a person.
    waiting: Vec<String>,
}

/// Runs the steps in their order. One that fails keeps those from running that need it, and no others; the first failure
/// is the run's.
async fn steps(project: &Project, job: &Job, run: &Run, metered: &mut Metered<'_>) -> (Finished, Option<Error>) {
    let mut done = Finished::default();
    if let Err(error) = export::check(project, job) {
        return (done, Some(error));
    }
    let mut failed = None;
    let mut complete = vec![false; job.steps.len()];
    for (place, step) in job.steps.iter().enumerate() {
        let needs = job.needs.get(place).map(Vec::as_slice).unwrap_or_default();
        if needs.iter().any(|needed| !complete.get(*needed).is_some_and(|complete| *complete)) {
            continue;
        }
        match Box::pin(one_step(project, job, step, run, &mut done, metered)).await {
            Ok(went_on) => {
                if let Some(complete) = complete.get_mut(place) {
                    *complete = went_on;
                }
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    (done, failed)
}

/// Runs one step; false where what needs it has to wait.
async fn one_step(
    project: &Project,
    job: &Job,
    step: &Step,
    run: &Run,
    done: &mut Finished,
    metered: &mut Metered<'_>,
) -> Result<bool> {
    match step {
        Step::Snapshot => {
            let day = &*done.day.insert(Box::pin(day::publish(project, run, metered)).await?);
            if !matches!(day, Published::Unchanged(_)) {
                held::replaced(&project.lake, run.as_of, &run.id).await?;
            }
            return Ok(!matches!(day, Published::Held(..)));
        }
        Step::Fit => {
            done.fitted = Some(Box::pin(model::fit_day(project, run, metered)).await?);
            done.worked = true;
        }
        Step::Upkeep => {
            metered.begin("upkeep");
            let kept = Box::pin(upkeep::run(project, run.at)).await?;
            metered.rows(kept.objects());
            done.told.extend(kept.warnings);
            done.worked = true;
        }
        Step::Export(audience) => {
            // Whatever the step says that it needs: nothing is delivered of a day that waits for a person.
            if matches!(done.day, Some(Published::Held(..))) {
                return Ok(false);
            }
            metered.begin("export");
            match Box::pin(export::deliver(project, job, audience, run)).await? {
                Delivered::Waits(why) => {
                    done.waiting.push(why);
                    return Ok(false);
                }
                Delivered::Done(exports) => {
                    metered.rows(exports.iter().filter(|export| !export.already).map(|export| export.written).sum());
                    done.worked |= exports.iter().any(|export| !export.already);
                    done.exports.extend(exports);
                }
            }
        }
    }
    Ok(true)
}

/// Says in a report what its step `fit` made.
fn tell_of_fit(report: &mut RunReport, fitted: Option<&Fitted>) {
    match fitted {
        None => {}
        Some(Fitted::Model(model)) => {
            let told = report.model.get_or_insert_with(|| ModelReport {
                model: model.classifier.name.clone(),
                fitted_on: Some(model.fitted_on),
                next: None,
            });
            told.next = Some(model.classifier.name.clone());
        }
        Some(Fitted::TooLittle(population)) => report.warnings.push(population.too_little(report.as_of)),
    }
}

/// Passes the steps of a day on to the meter.
pub(super) struct Metered<'a> {
    meter: StepMeter<'a>,
    running: Option<Running>,
    rows: Option<u64>,
    attempt: Option<i64>,
}

impl<'a> Metered<'a> {
    pub(super) fn new(watcher: &'a dyn Watcher) -> Self {
        Self { meter: StepMeter::new(watcher), running: None, rows: None, attempt: None }
    }

    /// Which attempt at the day it was, and the steps.
    pub(super) fn end(mut self) -> (Option<i64>, Vec<StepReport>) {
        self.close();
        (self.attempt, self.meter.into_steps())
    }

    fn close(&mut self) {
        if let Some(running) = self.running.take() {
            self.meter.finish(running, self.rows.take());
        }
    }
}

impl Steps for Metered<'_> {
    fn begin(&mut self, step: &'static str) {
        self.close();
        self.running = Some(self.meter.start(step));
    }

    fn rows(&mut self, rows: u64) {
        self.rows = Some(rows);
    }

    fn attempt(&mut self, attempt: i64) {
        self.attempt = Some(attempt);
    }
}

pub(super) fn report(
    job: &str,
    run: &Run,
    status: RunStatus,
    summary: Option<&Summary>,
    steps: Vec<StepReport>,
) -> RunReport {
    let mut report = RunReport::nothing(job, run.as_of, &run.id, status);
    report.steps = steps;
    let Some(summary) = summary else { return report };
    report.previous_as_of = summary.previous;
    report.as_known = summary.as_known;
    report.customers = summary.profiled.customers;
    for (table, found) in summary.landed.tables.iter().filter(|(_, found)| !found.files.is_empty()) {
        report.tables.push(TableRows {
            table: table.name().to_owned(),
            files: found.files.len() as u64,
            rows: found.rows,
            rejected: found.rejected(),
        });
        let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
        for ((rule, _), rows) in &found.faults {
            *rules.entry(rule).or_default() += rows;
        }
        report.rejects.extend(rules.into_iter().map(|(rule, rows)| Rejects {
            table: table.name().to_owned(),
            rule: rule.to_owned(),
            rows,
        }));
    }
    report.left_out = summary
        .profiled
        .left_out
        .iter()
        .map(|((table, reason), rows)| LeftOut {
            table: (*table).to_owned(),
            reason: (*reason).to_owned(),
            rows: *rows,
        })
        .collect();
    report.stages = summary
        .stages
        .iter()
        .map(|(stage, customers)| StageSize { stage: stage.clone(), customers: *customers })
        .collect();
    let (model, fitted_on) = summary.model.clone();
    report.model = Some(ModelReport { model, fitted_on, next: None });
    report.segments = summary
        .sizes
        .iter()
        .map(|(size, previous)| SegmentSize {
            segment: size.segment.clone(),
            members: size.members,
            entered: previous.map(|_| size.entered),
            exited: previous.map(|_| size.exited),
        })
        .collect();
    report.warnings.clone_from(&summary.warnings);
    let versions = summary.profiled.versions;
    if versions.later > 0 {
        report.warnings.push(format!(
            "{} of {} customers and orders are served by a version later than the cutoff: the day is not as known",
            versions.later, versions.rows
        ));
    }
    if let Some((first, last)) = summary.stale.first().zip(summary.stale.last()) {
        let days = summary.stale.len();
        report.warnings.push(format!(
            "{days} later published days from {first} to {last} compare with an older {}: run them again",
            run.as_of
        ));
    }
    report
}
