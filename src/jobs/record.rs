//! The record of a run: one row of `job_runs` once it is settled, and its details beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::{DateTime, Utc};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::report::{RunReport, RunStatus};
use crate::error::{Error, Kind, Result};
use crate::lake::Lake;
use crate::lake::parts::{self, Partition};
use crate::lake::table::{Commit, Fence, Table};
use crate::schema::landed::instant_type;
use crate::schema::published;
use crate::snapshot::setup::Project;

/// Where the details of runs are kept.
pub const RUNS: &str = "state/runs";

/// What a run did, in full: what `alluvial runs show` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// The report, its steps' times and memory included.
    pub report: RunReport,
    /// The attempt at the day; none where the run failed before it began one.
    pub attempt: Option<i64>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Why it failed, the outermost first.
    pub errors: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The manifest that names its input files, below the lake's root, if it came so far.
    pub manifest: String,
}

impl Details {
    fn of(record: &Record<'_>) -> Self {
        let mut errors: Vec<String> = record.error.map(told).into_iter().collect();
        // What lies under a fault of data may quote the data; what lies under a store's refusal is the system's own word.
        let of_the_system = |error: &&Error| matches!(error.kind(), Kind::Storage | Kind::Transient | Kind::Resources);
        let mut cause = record.error.filter(of_the_system).and_then(std::error::Error::source);
        while let Some(below) = cause {
            let text = below.to_string();
            if errors.last().is_none_or(|above| !above.contains(&text)) {
                errors.push(text);
            }
            cause = below.source();
        }
        let report = record.report.clone();
        Self {
            manifest: format!("snapshots/{}/{}.json", report.as_of, report.run_id),
            attempt: record.attempt,
            started_at: record.started,
            finished_at: record.finished,
            errors,
            hint: record.error.and_then(|error| error.hint().map(str::to_owned)),
            report,
        }
    }

    async fn keep(&self, lake: &Lake) -> Result<()> {
        let body = serde_json::to_vec(self)
            .map_err(|error| Error::internal("jobs.record", error.to_string()).with_source(error))?;
        lake.put_new(&format!("{RUNS}/{}.json", self.report.run_id), body).await.map(drop)
    }

    /// The details of the newest runs, the newest first.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn newest(lake: &Lake, most: usize) -> Result<Vec<Details>> {
        // Ids sort by time.
        let objects = lake.list(RUNS).await?;
        let mut found = Vec::new();
        for object in objects.iter().rev().take(most) {
            if let Some(bytes) = lake.find(&object.path).await?
                && let Ok(details) = serde_json::from_slice(&bytes)
            {
                found.push(details);
            }
        }
        Ok(found)
    }

    /// The details of the run whose id begins so.
    ///
    /// # Errors
    /// `runs.unknown` for no such run, or several; what the store refuses.
    pub async fn find(lake: &Lake, id: &str) -> Result<Details> {
        let objects = lake.list(RUNS).await?;
        let found: Vec<&str> = objects
            .iter()
            .map(|object| object.path.as_str())
            .filter(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with(id)))
            .collect();
        let [only] = found.as_slice() else {
            let message = match found.len() {
                0 => format!("there is no run `{id}`"),
                several => format!("{several} runs have ids that begin with `{id}`"),
            };
            return Err(Error::not_found("runs.unknown", message).with_hint("`alluvial runs` lists the runs"));
        };
        let bytes = lake.get(only).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::storage("runs.unreadable", format!("the details of the run cannot be read: {error}")).in_file(*only)
        })
    }
}

/// An error as the record keeps it.
fn told(error: &Error) -> String {
    format!("{}: {error}", error.code())
}

/// One run: a row of `job_runs`, and its details.
#[derive(Debug)]
pub struct Record<'a> {
    /// What it did.
    pub report: &'a RunReport,
    /// None where the run failed before it began one.
    pub attempt: Option<i64>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// Why it failed.
    pub error: Option<&'a Error>,
    /// What is to be said of a run that ended otherwise than by itself.
    pub note: Option<&'a str>,
}

impl Record<'_> {
    /// Keeps the details, and the row unless the day is held and so not settled yet.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn keep_all(&self, project: &Project) -> Result<()> {
        Details::of(self).keep(&project.lake).await?;
        if self.report.status == RunStatus::Held {
            return Ok(());
        }
        self.keep(&project.lake).await
    }

    /// Appends the row.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn keep(&self, lake: &Lake) -> Result<()> {
        let published = published::named("job_runs")
            .ok_or_else(|| Error::internal("jobs.record", "the contract has no table `job_runs`"))?;
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
        let mut rows: BTreeMap<&str, u64> =
            report.tables.iter().map(|table| (table.table.as_str(), table.rows)).collect();
        if !report.exports.is_empty() {
            let fresh = report.exports.iter().filter(|export| !export.already);
            rows.insert("exports", fresh.map(|export| export.written).sum());
        }
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
                text(Some(report.status.word().to_owned())),
                instant(self.started),
                instant(self.finished),
                text(last),
                text(json(serde_json::json!(rows))),
                text(json(serde_json::json!(left_out))),
                text(self.error.map(told).or_else(|| self.note.map(str::to_owned))),
            ],
        )?)
    }
}
