//! An export from beginning to end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::chosen::{Chosen, WRITTEN};
use super::deliver::Written;
use super::ledger::{self, Record};
use super::members;
use super::row::{self, Use};
use crate::error::{Error, Result};
use crate::snapshot::reading::Reading;
use crate::snapshot::setup::Project;

pub use super::deliver::{Destination, Place, Tap};

/// Is told how an export goes on.
pub trait Steps: Send {
    /// A step begins.
    fn begin(&mut self, step: &'static str);
    /// How many rows the present step is to write.
    fn expect(&mut self, rows: u64);
    /// How many it has written.
    fn rows(&mut self, rows: u64);
    /// The ledger has a delivery whose bytes are about to leave.
    fn recorded(&mut self, _report: &Report) {}
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Steps for Unwatched {
    fn begin(&mut self, _step: &'static str) {}
    fn expect(&mut self, _rows: u64) {}
    fn rows(&mut self, _rows: u64) {}
}

/// Whose members an export delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The members of one or several published segments.
    Segments(Vec<String>),
    /// Whoever a query names.
    Query(String),
}

/// Since when a difference is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The last export to the destination.
    Last,
    /// The last one on this day or before it.
    Day(NaiveDate),
}

/// An export as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whose members.
    pub whose: Whose,
    /// The segments whose members stay out.
    pub exclude: Vec<String>,
    /// The published day; the newest where none is given.
    pub as_of: Option<NaiveDate>,
    /// The name of the format.
    pub format: String,
    /// The share that is held out of this export, from 0 to 1.
    pub holdout: f64,
    /// Whether a customer goes only to the first of the segments, by priority; what lost to what is told.
    pub exclusive: bool,
    /// Whether only what changed is written.
    pub since: Option<Since>,
    /// Rows of a file, where the export is cut into several.
    pub rows_per_file: Option<u64>,
    /// Whether a byte order mark makes spreadsheets read UTF-8.
    pub bom: bool,
    /// Whether contact columns are blank where their channel may not be used. Only formats for no channel can do without,
    /// and the ledger tells who asked for it.
    pub consent_check: bool,
    /// Who asks.
    pub requested_by: String,
    /// Whether what whoever asks has delivered of the same published day to the same place already is left alone.
    pub once: bool,
}

/// How many members came how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Members on the exported day, exclusions taken off.
    pub members: u64,
    /// Of those, deleted or erased since; they are in no later count.
    pub gone: u64,
    /// Who has an address that the channel can use.
    pub with_address: u64,
    /// And consented to it.
    pub consented: u64,
    /// And is not suppressed.
    pub not_suppressed: u64,
    /// One of those who share an address.
    pub one_per_address: u64,
    /// And is not held out.
    pub not_held_out: u64,
    /// Rows that are written; fewer than the step before only where a difference is.
    pub written: u64,
}

/// Members of a segment who went to another one, which comes before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The segment that they are in too.
    pub segment: String,
    /// The segment that they went to.
    pub to: String,
    /// How many.
    pub customers: u64,
}

/// What an export came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Its id in the ledger; none of a dry run.
    pub export_id: Option<String>,
    /// The segments in the order in which they claim customers.
    pub segments: Vec<String>,
    /// The published day.
    pub as_of: NaiveDate,
    /// The format.
    pub format: String,
    /// Whether it was delivered before, and is left alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub already: bool,
    /// The files, as people write them.
    pub files: Vec<String>,
    /// How many members came how far.
    pub counts: Counts,
    /// Rows to take off the destination, and customers to take off whose address is not known any more.
    pub removed: Option<(u64, u64)>,
    /// The state of consent to advertising of every row, for formats of that channel; `mixed` where rows differ.
    pub ads_consent: Option<&'static str>,
    /// Rows by state of consent, where each has a file of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<(&'static str, u64)>,
    /// What went to a segment that comes before.
    pub lost: Vec<Lost>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Ten rows of what would be written, contact data masked.
#[derive(Debug)]
pub struct Sample {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
}

/// Exports an audience: chooses whom the channel may reach, writes them to `destination`, and records who was treated and
/// who was held out. `claimed` are segments that come before in the same delivery: their members are not in it.
///
/// # Errors
/// A segment, day or format that is not there; faults of a query; `audience.no_consent` and `audience.ads_requires` where
/// nothing says who consented; what the store refuses. Nothing is written then.
pub async fn export(
    project: &Project,
    request: &Request,
    claimed: &[String],
    destination: &Destination,
    at: DateTime<Utc>,
    steps: &mut dyn Steps,
) -> Result<Report> {
    let chosen = Box::pin(Chosen::new(project, request, claimed, at, steps)).await?;
    let shown = destination.shown();
    let export_id = export_id(at);
    let place = match destination {
        Destination::Stream(_) if request.since.is_some() => {
            return Err(Error::usage("audience.since_stream", "a difference is two files, and a stream is one")
                .with_hint("write `--to FILE`: what to add goes to FILE.add, what to remove to FILE.remove"));
        }
        Destination::Stream(_) => {
            return Box::pin(chosen.stream(request, destination, &export_id, at, steps)).await;
        }
        Destination::File(place) => place,
    };
    let difference = match request.since {
        None => None,
        Some(since) => Some(Box::pin(chosen.difference(since, &shown)).await?),
    };
    steps.begin("write");
    let mut report = chosen.report(request);
    let mut pending: Vec<Written> = Vec::new();
    let outcome = Box::pin(async {
        let (to, rows) = match &difference {
            None => {
                steps.expect(report.counts.not_held_out);
                (place.clone(), WRITTEN)
            }
            Some(difference) => (place.with_word("add"), difference.added.as_str()),
        };
        for part in chosen.parts() {
            let to = part.word.map_or_else(|| to.clone(), |word| to.with_word(word));
            let rows = format!("(SELECT * FROM {rows} WHERE {})", part.condition);
            let rows = row::rows_sql(&rows, chosen.used(request), false);
            let written = chosen.write(request, &Destination::File(to), &rows, steps).await?;
            report.counts.written += written.rows;
            if let Some(word) = part.word {
                report.split.push((word, written.rows));
            }
            pending.push(written);
        }
        if let Some(difference) = &difference {
            let remove = Destination::File(place.with_word("remove"));
            let rows = row::rows_sql(&difference.removed, Use::All, false);
            let removed = chosen.write(request, &remove, &rows, steps).await?;
            report.removed = Some((removed.rows, difference.all_removed.saturating_sub(removed.rows)));
            pending.push(removed);
        }
        steps.begin("record");
        chosen.members(&export_id).await
    })
    .await;
    let members = match outcome {
        Ok(members) => members,
        Err(error) => {
            for written in pending {
                written.abort().await;
            }
            return Err(error);
        }
    };
    for written in pending {
        let (_, files) = written.publish().await?;
        report.files.extend(files);
    }
    chosen.keep(request, &export_id, &report, shown, at, members).await?;
    report.export_id = Some(export_id);
    Ok(report)
}

/// Where files go, as it is written: `{as_of}` stands for the day, `{segment}` for a segment's id.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// A path or URL.
    pub to: &'a str,
    /// The clouds' usual variables.
    pub cloud: &'a BTreeMap<String, String>,
    /// Where relative paths begin.
    pub base: &'a Path,
}

/// Exports to files: one export, or with `{segment}` in the path one a segment.
///
/// # Errors
/// Those of [`export`] and of [`Place::open`].
pub async fn deliver(
    project: &Project,
    request: &Request,
    target: &Target<'_>,
    at: DateTime<Utc>,
    steps: &mut dyn Steps,
) -> Result<Vec<Report>> {
    let reading = Box::pin(Reading::open(project)).await?;
    let day = reading.day(request.as_of)?.as_of;
    let to = target.to.replace("{as_of}", &day.to_string());
    let request = Request { as_of: Some(day), ..request.clone() };
    let segments = match &request.whose {
        Whose::Segments(ids) if to.contains("{segment}") => members::ranked(&reading, ids, day).await?,
        Whose::Query(_) if to.contains("{segment}") => {
            return Err(Error::usage("audience.destination", "a query has no id to stand for `{segment}`")
                .with_hint("name the file, or save the query as a segment"));
        }
        _ => {
            let place = Place::open(&to, target.cloud, target.base)?;
            return match Box::pin(delivered(&reading, &request, &place)).await? {
                Some(before) => Ok(vec![before]),
                None => Ok(vec![export(project, &request, &[], &Destination::File(place), at, steps).await?]),
            };
        }
    };
    let mut lost = Vec::new();
    if request.exclusive && segments.len() > 1 {
        lost = members::losses(&reading, &segments, day).await?;
    }
    let mut reports = Vec::new();
    for (place, id) in segments.iter().enumerate() {
        // Ids are letters, digits, dashes and underscores: none leads out of the folder.
        let file = Place::open(&to.replace("{segment}", id), target.cloud, target.base)?;
        let one = Request { whose: Whose::Segments(vec![id.clone()]), ..request.clone() };
        if let Some(before) = Box::pin(delivered(&reading, &one, &file)).await? {
            reports.push(before);
            continue;
        }
        let claimed = if request.exclusive { segments.get(..place).unwrap_or_default() } else { &[] };
        let mut report = export(project, &one, claimed, &Destination::File(file), at, steps).await?;
        report.lost = lost.iter().filter(|lost| lost.segment == *id).cloned().collect();
        reports.push(report);
    }
    Ok(reports)
}

/// What was delivered to a place since the day was published, where the request asks for it to be left alone.
async fn delivered(reading: &Reading, request: &Request, place: &Place) -> Result<Option<Report>> {
    let Some(day) = request.as_of.filter(|_| request.once) else { return Ok(None) };
    let published_at = reading.day(Some(day))?.published_at;
    let record = ledger::delivered(reading, &place.shown(), &request.requested_by, day).await?;
    let same = |record: &Record| {
        record.created_at >= published_at
            && record.format == request.format
            && match &request.whose {
                // The ledger has them in the order in which they claim customers.
                Whose::Segments(ids) => {
                    ids.iter().collect::<BTreeSet<_>>() == record.segments.iter().collect::<BTreeSet<_>>()
                }
                Whose::Query(query) => record.query.as_ref() == Some(query),
            }
    };
    let Some(record) = record.filter(same) else { return Ok(None) };
    Ok(Some(Report {
        export_id: Some(record.export_id),
        segments: record.segments,
        as_of: day,
        format: record.format,
        already: true,
        files: Vec::new(),
        counts: serde_json::from_str(&record.counts).unwrap_or_default(),
        removed: None,
        ads_consent: None,
        split: Vec::new(),
        lost: Vec::new(),
        warnings: Vec::new(),
    }))
}

/// What an export would come to, and ten of its rows with contact data masked. Nothing is written or recorded.
///
/// # Errors
/// Those of [`export`].
pub async fn dry_run(
    project: &Project,
    request: &Request,
    claimed: &[String],
    at: DateTime<Utc>,
    steps: &mut dyn Steps,
) -> Result<(Report, Sample)> {
    let chosen = Box::pin(Chosen::new(project, request, claimed, at, steps)).await?;
    let first = format!("(SELECT * FROM {WRITTEN} ORDER BY customer_id LIMIT 10)");
    let rows = row::rows_sql(&first, chosen.used(request), true);
    let frame = chosen.mapped(&rows).await?;
    let schema = std::sync::Arc::clone(frame.schema().inner());
    let mut report = chosen.report(request);
    report.counts.written = report.counts.not_held_out;
    Ok((report, Sample { schema, rows: frame.collect().await? }))
}

/// Ids that sort by time.
fn export_id(at: DateTime<Utc>) -> String {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, at.timestamp_subsec_nanos());
    uuid::Uuid::new_v7(stamp).simple().to_string()
}
