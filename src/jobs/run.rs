//! Running a job for one day, and the record of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::definition::{Job, Step};
use super::meter::{Running, StepMeter, Watcher};
use super::report::{
    LeftOut, ModelReport, Rejects, RunReport, RunStatus, SegmentSize, StageSize, StepReport, TableRows,
};
use crate::calendar::Clock;
use crate::error::{Error, Kind, Result};
use crate::lake::parts::{self, Partition};
use crate::lake::table::{Commit, Fence, Table};
use crate::schema::landed::instant_type;
use crate::schema::published;
use crate::snapshot::day::{self, Published, Run, Steps, Summary};
use crate::snapshot::model::{self, Fitted};
use crate::snapshot::setup::Project;

/// Runs a job for one as-of date and records the run in `job_runs`.
///
/// # Errors
/// Those of the job's steps; the run is recorded as failed then, where the lake takes the record.
pub async fn run(
    project: &Project,
    job: &Job,
    as_of: NaiveDate,
    force: bool,
    clock: Clock,
    watcher: &dyn Watcher,
) -> Result<RunReport> {
    let started = clock.now();
    let run = Run { id: run_id(started), as_of, at: started, force };
    let mut metered = Metered { meter: StepMeter::new(watcher), running: None, rows: None, attempt: None };
    let outcome = Box::pin(steps(project, job, &run, &mut metered)).await;
    metered.close();
    let attempt = metered.attempt;
    let steps = metered.meter.into_steps();
    match outcome {
        Ok(done) => {
            let mut report = match &done.day {
                Some(Published::Now(summary)) => report(job, &run, RunStatus::Succeeded, Some(summary), steps),
                Some(Published::Unchanged(day)) => {
                    let mut report = report(job, &run, RunStatus::Unchanged, None, steps);
                    if done.fitted.is_none() {
                        report.run_id.clone_from(&day.run_id);
                    }
                    report.previous_as_of = day.previous_as_of;
                    report.as_known = day.as_known;
                    report.customers = day.row_counts.get("customer_profile").copied().unwrap_or(0);
                    report
                }
                None => report(job, &run, RunStatus::Succeeded, None, steps),
            };
            tell_of_fit(&mut report, done.fitted.as_ref());
            // A day that is left as it is leaves no record, unless something else was done.
            if report.status == RunStatus::Succeeded || done.fitted.is_some() {
                let record = Record { report: &report, attempt, started, finished: clock.now(), error: None };
                Box::pin(record.keep(project)).await?;
            }
            Ok(report)
        }
        Err(error) => {
            let status = if error.kind() == Kind::Superseded { RunStatus::Superseded } else { RunStatus::Failed };
            let report = report(job, &run, status, None, steps);
            let record = Record { report: &report, attempt, started, finished: clock.now(), error: Some(&error) };
            // A lake that refuses the record has most likely refused the run: that is the failure to tell.
            if let Err(unkept) = Box::pin(record.keep(project)).await {
                tracing::warn!(code = unkept.code(), "the failed run could not be recorded");
            }
            Err(error)
        }
    }
}

/// Fits a lifecycle model as of a day and keeps it, without a job and without a record of a run.
///
/// # Errors
/// Those of [`model::fit_day`].
pub async fn fit_now(project: &Project, as_of: NaiveDate, clock: Clock, watcher: &dyn Watcher) -> Result<Fitted> {
    let at = clock.now();
    let run = Run { id: run_id(at), as_of, at, force: false };
    let mut metered = Metered { meter: StepMeter::new(watcher), running: None, rows: None, attempt: None };
    let fitted = Box::pin(model::fit_day(project, &run, &mut metered)).await;
    metered.close();
    fitted
}

/// Ids that sort by time: runs of one process are told apart, and so are those of two machines.
fn run_id(at: DateTime<Utc>) -> String {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, at.timestamp_subsec_nanos());
    uuid::Uuid::new_v7(stamp).simple().to_string()
}

/// What the steps of a run came to.
#[derive(Default)]
struct Finished {
    day: Option<Published>,
    fitted: Option<Fitted>,
}

async fn steps(project: &Project, job: &Job, run: &Run, metered: &mut Metered<'_>) -> Result<Finished> {
    for step in &job.steps {
        step.check_supported()?;
    }
    let mut done = Finished::default();
    for step in &job.steps {
        match step {
            Step::Snapshot => done.day = Some(Box::pin(day::publish(project, run, metered)).await?),
            Step::Fit => done.fitted = Some(Box::pin(model::fit_day(project, run, metered)).await?),
            Step::Export(_) => {}
        }
    }
    Ok(done)
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
struct Metered<'a> {
    meter: StepMeter<'a>,
    running: Option<Running>,
    rows: Option<u64>,
    attempt: Option<i64>,
}

impl Metered<'_> {
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

fn report(job: &Job, run: &Run, status: RunStatus, summary: Option<&Summary>, steps: Vec<StepReport>) -> RunReport {
    let mut report = RunReport {
        as_of: run.as_of,
        run_id: run.id.clone(),
        job: job.name.clone(),
        status,
        previous_as_of: None,
        as_known: None,
        tables: Vec::new(),
        rejects: Vec::new(),
        left_out: Vec::new(),
        customers: 0,
        stages: Vec::new(),
        model: None,
        segments: Vec::new(),
        steps,
        warnings: Vec::new(),
    };
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

/// One row of `job_runs`.
struct Record<'a> {
    report: &'a RunReport,
    /// None where the run failed before it began one.
    attempt: Option<i64>,
    started: DateTime<Utc>,
    finished: DateTime<Utc>,
    error: Option<&'a Error>,
}

impl Record<'_> {
    async fn keep(&self, project: &Project) -> Result<()> {
        let published = published::named("job_runs")
            .ok_or_else(|| Error::internal("jobs.record", "the contract has no table `job_runs`"))?;
        let lake = &project.lake;
        let table = Box::pin(Table::open(lake, &published)).await?;
        let batch = self.batch()?;
        let schema = table.file_schema(&batch.schema())?;
        let stream = RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)]).boxed());
        let run_id = self.report.run_id.as_str();
        let partition = Partition {
            table: &published,
            schema: Arc::clone(&schema),
            as_of: self.report.as_of,
            run_id,
            file_rows: parts::FILE_ROWS,
        };
        let files = Box::pin(parts::write(lake, &partition, Box::pin(stream))).await?;
        let commit = Commit {
            days: &[self.report.as_of],
            files: &files,
            schema,
            fence: Fence::of_run(run_id),
            run_id,
            definition_hash: "",
            source: "",
            at: self.finished,
            strict: false,
        };
        Box::pin(table.commit(&commit)).await?;
        Ok(())
    }

    fn batch(&self) -> Result<RecordBatch> {
        let report = self.report;
        let status = serde_json::to_value(report.status).ok().and_then(|status| status.as_str().map(str::to_owned));
        let rows: BTreeMap<&str, u64> = report.tables.iter().map(|table| (table.table.as_str(), table.rows)).collect();
        let mut left_out: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for left in &report.left_out {
            left_out.entry(&left.table).or_default().insert(&left.reason, left.rows);
        }
        let json = |value: serde_json::Value| Some(value.to_string());
        let last = report.steps.last().map(|step| step.step.clone());
        let text = |value: Option<String>| Arc::new(StringArray::from(vec![value]));
        let instant = |at: DateTime<Utc>| {
            Arc::new(TimestampMicrosecondArray::from(vec![at.timestamp_micros()]).with_timezone("UTC"))
        };
        let field = |name: &str, kind: DataType| Field::new(name, kind, true);
        let schema = Schema::new(vec![
            field("run_id", DataType::Utf8),
            field("job", DataType::Utf8),
            field("attempt", DataType::Int64),
            field("status", DataType::Utf8),
            field("started_at", instant_type()),
            field("finished_at", instant_type()),
            field("step", DataType::Utf8),
            field("rows", DataType::Utf8),
            field("left_out", DataType::Utf8),
            field("error", DataType::Utf8),
        ]);
        Ok(RecordBatch::try_new(
            Arc::new(schema),
            vec![
                text(Some(report.run_id.clone())),
                text(Some(report.job.clone())),
                Arc::new(Int64Array::from(vec![self.attempt])),
                text(status),
                instant(self.started),
                instant(self.finished),
                text(last),
                text(json(serde_json::json!(rows))),
                text(json(serde_json::json!(left_out))),
                text(self.error.map(|error| format!("{}: {error}", error.code()))),
            ],
        )?)
    }
}
