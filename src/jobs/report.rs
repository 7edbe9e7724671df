//! What a run did, for people and programs.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// The day is published.
    Succeeded,
    /// The day was published before and nothing has changed.
    Unchanged,
    /// The day is computed, but waits to be accepted.
    Held,
    /// Another run published the day meanwhile.
    Superseded,
    /// It failed.
    Failed,
    /// It was missed and is not run any more.
    Skipped,
    /// Whoever ran it died.
    Abandoned,
}

impl RunStatus {
    /// The word of `job_runs` and of reports.
    pub fn word(self) -> &'static str {
        match self {
            RunStatus::Succeeded => "succeeded",
            RunStatus::Unchanged => "unchanged",
            RunStatus::Held => "held",
            RunStatus::Superseded => "superseded",
            RunStatus::Failed => "failed",
            RunStatus::Skipped => "skipped",
            RunStatus::Abandoned => "abandoned",
        }
    }
}

/// What one run for one as-of date did. The field names are those of `alluvial run --format json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The day that it is about.
    pub as_of: NaiveDate,
    /// The run; of an unchanged day the one that published it.
    pub run_id: String,
    /// The job.
    pub job: String,
    /// How it ended.
    pub status: RunStatus,
    /// The published day that this one is compared with.
    pub previous_as_of: Option<NaiveDate>,
    /// Whether every version that served was known on the day; `None` where it cannot be told.
    pub as_known: Option<bool>,
    /// Rows in, by landed table.
    pub tables: Vec<TableRows>,
    /// Faulty rows, by table and rule.
    pub rejects: Vec<Rejects>,
    /// Rows that are not faulty, only left out, by table and reason.
    pub left_out: Vec<LeftOut>,
    /// Rows of the customer profile.
    pub customers: u64,
    /// Customers by lifecycle stage, in the order of the stages.
    pub stages: Vec<StageSize>,
    /// With which lifecycle model; `None` where no stages were computed.
    pub model: Option<ModelReport>,
    /// Segments by id.
    pub segments: Vec<SegmentSize>,
    /// Audiences that were delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportReport>,
    /// Time and memory, by step, in order.
    pub steps: Vec<StepReport>,
    /// What someone should look at.
    pub warnings: Vec<String>,
}

impl RunReport {
    /// The report of a run that has done nothing yet.
    pub fn nothing(job: &str, as_of: NaiveDate, run_id: &str, status: RunStatus) -> Self {
        Self {
            as_of,
            run_id: run_id.to_owned(),
            job: job.to_owned(),
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
            exports: Vec::new(),
            steps: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Rows of one landed table that a run read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// The landed table.
    pub table: String,
    /// Its files.
    pub files: u64,
    /// Rows in those files.
    pub rows: u64,
    /// Faulty ones among them.
    pub rejected: u64,
}

/// Faulty rows of one table that broke one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejects {
    /// The landed table.
    pub table: String,
    /// The rule.
    pub rule: String,
    /// How many rows.
    pub rows: u64,
}

/// Rows of one table that were left out for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The landed table.
    pub table: String,
    /// The reason.
    pub reason: String,
    /// How many rows.
    pub rows: u64,
}

/// Customers of one lifecycle stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSize {
    /// The stage.
    pub stage: String,
    /// Customers in it.
    pub customers: u64,
}

/// A lifecycle model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReport {
    /// Its name; `benchmark` where the shop is too small or too young for one of its own.
    pub model: String,
    /// The day whose buyers it was fitted to; `None` for the benchmark.
    pub fitted_on: Option<NaiveDate>,
    /// The model that the run's step `fit` made for the nights after it.
    pub next: Option<String>,
}

/// Members of one segment and how they changed since the published day before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSize {
    /// The segment's id.
    pub segment: String,
    /// Members.
    pub members: u64,
    /// Members who were none on the day before; `None` on the segment's first day.
    pub entered: Option<u64>,
    /// The reverse.
    pub exited: Option<u64>,
}

/// An audience that a step delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReport {
    /// Its id in the ledger.
    pub export_id: String,
    /// The segments; none of a query.
    pub segments: Vec<String>,
    /// The format.
    pub format: String,
    /// The files, as people write them; none where it was delivered before.
    pub files: Vec<String>,
    /// Members on the day.
    pub members: u64,
    /// Rows written.
    pub written: u64,
    /// Whether it was delivered before, and is left alone.
    pub already: bool,
}

/// Time and memory of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step.
    pub step: String,
    /// How long it took.
    pub seconds: f64,
    /// The most memory that the process held during the step, in units of 10⁶ bytes; `None` where the system does not
    /// tell.
    pub peak_rss_mb: Option<u64>,
    /// Rows that it wrote or handed on, where that means something.
    pub rows: Option<u64>,
}
