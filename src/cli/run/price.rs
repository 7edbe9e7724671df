//! What a backfill will cost, told from what nights have cost.

use chrono::NaiveDate;

use crate::cli::rows::{Cell, Rows};
use crate::error::Result;
use crate::jobs::definition::Job;
use crate::jobs::record::Details;
use crate::jobs::report::RunStatus;
use crate::lake::snapshots::Snapshots;
use crate::snapshot::setup::Project;

/// Runs that are looked at for how long a day takes.
const RECENT: usize = 20;

/// The price of running a job for some days: how many are published and only looked at, how many are computed, and what
/// those take, by the median of the newest runs of the job and the size of the newest published day.
pub(super) async fn of(project: &Project, job: &Job, days: &[NaiveDate]) -> Result<Rows> {
    let snapshots = Box::pin(Snapshots::read(&project.lake)).await?;
    let published = days.iter().filter(|day| snapshots.day(**day).is_some_and(|day| !day.stale)).count();
    let computed = days.len() - published;
    let mut seconds: Vec<f64> = Vec::new();
    for details in Details::newest(&project.lake, RECENT).await? {
        if details.report.job == job.name && details.report.status == RunStatus::Succeeded {
            seconds.push(details.report.steps.iter().map(|step| step.seconds).sum());
        }
    }
    seconds.sort_by(f64::total_cmp);
    let each = seconds.get(seconds.len() / 2).copied();
    let bytes: Option<u64> = match snapshots.latest() {
        Some(newest) => {
            let manifest = Box::pin(snapshots.manifest(newest)).await?;
            Some(manifest.tables.values().flat_map(|table| &table.files).map(|file| file.size).sum())
        }
        None => None,
    };
    let mut rows = Rows::new(&["job", "from", "to", "#days", "#published", "#computed", "#seconds", "#bytes"]);
    let edge = |day: Option<&NaiveDate>| Cell::maybe(day, |day| Cell::text(day.to_string()));
    #[expect(clippy::cast_precision_loss, reason = "a range has few days")]
    let seconds = each.map(|each| each * computed as f64);
    rows.push(vec![
        Cell::text(&job.name),
        edge(days.first()),
        edge(days.last()),
        Cell::count(days.len() as u64),
        Cell::count(published as u64),
        Cell::count(computed as u64),
        Cell::maybe(seconds, |seconds| Cell::count(seconds.ceil() as u64)),
        Cell::maybe(bytes, |bytes| Cell::count(bytes * computed as u64)),
    ]);
    Ok(rows)
}
