//! What a backfill will cost, told from what nights have cost.

use chrono::NaiveDate;

use crate::cli::rows::{Cell, Rows};
use crate::error::Result;
use crate::jobs::definition::Job;
use crate::jobs::record::Details;
use crate::jobs::report::RunStatus;
use crate::lake::snapshots::Snapshots;
use crate::snapshot::redefined::TABLES;
use crate::snapshot::setup::Project;

/// Runs that are looked at for how long a day takes.
const RECENT: usize = 20;

/// The price of running a job for some days: how many are published and only looked at, how many are computed, and what
/// those take, by the median of the newest runs of the job and the size of the newest published day.
pub(super) async fn of(project: &Project, job: &Job, days: &[NaiveDate]) -> Result<Rows> {
    let snapshots = Box::pin(Snapshots::read(&project.lake)).await?;
    let published = days.iter().filter(|day| snapshots.day(**day).is_some_and(|day| !day.stale)).count();
    let mut runs = Vec::new();
    for details in newest(project).await? {
        if details.report.job == job.name {
            runs.push(seconds(&details, |_| true));
        }
    }
    let price = Price {
        job: &job.name,
        published,
        computed: days.len() - published,
        seconds: median(runs),
        bytes: bytes(&snapshots, |_| true).await?,
    };
    Ok(price.rows(days))
}

/// The price of computing the segments of some days again: how many of them are published, and so computed unless nothing
/// has changed; and what that takes, by the median of the newest such runs. Where there are none yet: by that of the
/// newest nights, without the steps that are not done.
pub(super) async fn of_segments(project: &Project, name: &str, days: &[NaiveDate]) -> Result<Rows> {
    let snapshots = Box::pin(Snapshots::read(&project.lake)).await?;
    let published = days.iter().filter(|day| snapshots.day(**day).is_some()).count();
    let (mut runs, mut nights) = (Vec::new(), Vec::new());
    for details in newest(project).await? {
        let steps: Vec<&str> = details.report.steps.iter().map(|step| step.step.as_str()).collect();
        if steps.contains(&"lifecycle") {
            nights.push(seconds(&details, |step| ["land", "segments", "write", "publish"].contains(&step)));
        } else if steps.contains(&"segments") {
            runs.push(seconds(&details, |_| true));
        }
    }
    let price = Price {
        job: name,
        published,
        computed: published,
        seconds: median(runs).or(median(nights)),
        bytes: bytes(&snapshots, |table| TABLES.contains(&table)).await?,
    };
    Ok(price.rows(days))
}

/// The newest runs that did what they were to do.
async fn newest(project: &Project) -> Result<Vec<Details>> {
    let mut newest = Details::newest(&project.lake, RECENT).await?;
    newest.retain(|details| details.report.status == RunStatus::Succeeded);
    Ok(newest)
}

/// What some steps of a run took.
fn seconds(details: &Details, is_counted: impl Fn(&str) -> bool) -> f64 {
    details.report.steps.iter().filter(|step| is_counted(&step.step)).map(|step| step.seconds).sum()
}

fn median(mut seconds: Vec<f64>) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

/// The size of some tables on the newest published day.
async fn bytes(snapshots: &Snapshots, is_counted: impl Fn(&str) -> bool) -> Result<Option<u64>> {
    let Some(newest) = snapshots.latest() else { return Ok(None) };
    let manifest = Box::pin(snapshots.manifest(newest)).await?;
    let counted = manifest.tables.iter().filter(|(name, _)| is_counted(name));
    Ok(Some(counted.flat_map(|(_, table)| &table.files).map(|file| file.size).sum()))
}

struct Price<'a> {
    job: &'a str,
    published: usize,
    computed: usize,
    /// Of one day.
    seconds: Option<f64>,
    /// Of one day.
    bytes: Option<u64>,
}

impl Price<'_> {
    fn rows(&self, days: &[NaiveDate]) -> Rows {
        let mut rows = Rows::new(&["job", "from", "to", "#days", "#published", "#computed", "#seconds", "#bytes"]);
        let edge = |day: Option<&NaiveDate>| Cell::maybe(day, |day| Cell::text(day.to_string()));
        #[expect(clippy::cast_precision_loss, reason = "a range has few days")]
        let seconds = self.seconds.map(|each| each * self.computed as f64);
        rows.push(vec![
            Cell::text(self.job),
            edge(days.first()),
            edge(days.last()),
            Cell::count(days.len() as u64),
            Cell::count(self.published as u64),
            Cell::count(self.computed as u64),
            Cell::maybe(seconds, |seconds| Cell::count(seconds.ceil() as u64)),
            Cell::maybe(self.bytes, |bytes| Cell::count(bytes * self.computed as u64)),
        ]);
        rows
    }
}
