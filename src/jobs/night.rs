//! What a scheduler runs, over a project: its jobs, its input, its runs and its alerts.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate};

use super::alert::Alert;
use super::definition::{self, Job, Step};
use super::meter::Watcher;
use super::readiness::{Input, Ready, lacking};
use super::record::Record;
use super::report::{RunReport, RunStatus};
use super::run::{Request, ended};
use super::scheduler::{Asked, Noted, Ran, STALLED, Work};
use super::webhook::Webhooks;
use crate::calendar::Clock;
use crate::config::{Environment, Overrides, Settings};
use crate::engine::Params;
use crate::engine::statement::plan_text;
use crate::error::{Error, Kind, Result};
use crate::lake::snapshots::Snapshots;
use crate::land::{self, LandedFile};
use crate::schema::landed::Table;
use crate::snapshot::late;
use crate::snapshot::setup::Project;

/// How often a run is looked at, and for how long it may do nothing at all.
const LOOK: Duration = Duration::from_secs(15);
const STILL: Duration = Duration::from_secs(600);

/// A project's nights.
pub struct Nights<'a> {
    /// The settings as they were when the scheduler began; each run reads them anew.
    pub settings: Settings,
    /// The environment.
    pub environment: &'a Environment,
    /// What the command line settles over both.
    pub overrides: Overrides,
    /// The present.
    pub clock: Clock,
    /// Who watches the steps.
    pub watcher: &'a dyn Watcher,
    /// How alerts are delivered.
    pub webhooks: Webhooks,
}

impl Nights<'_> {
    async fn open(&self, writes: bool) -> Result<Project> {
        let settings = Settings::load(&self.settings.root, self.environment, &self.overrides)?;
        Box::pin(Project::open(settings, &self.environment.cloud(), writes)).await
    }

    async fn run_it(&self, job: &Job, asked: &Asked) -> Result<Ran> {
        let mut project = self.open(true).await?;
        if asked.careful {
            project.engine.be_careful();
        }
        let request =
            Request { as_of: asked.as_of, force: false, run_id: asked.run_id.clone(), partial: asked.partial.clone() };
        let running = std::pin::pin!(ended(&project, job, &request, self.clock, self.watcher));
        let ended = match futures::future::select(running, std::pin::pin!(stands_still(&project))).await {
            futures::future::Either::Left((ended, _)) => ended,
            futures::future::Either::Right(((), _)) => {
                let error = Error::new(
                    Kind::Transient,
                    STALLED,
                    format!("nothing moved for {} minutes, and the run was given up", STILL.as_secs() / 60),
                );
                let noted = Noted {
                    run_id: &asked.run_id,
                    as_of: asked.as_of,
                    status: RunStatus::Failed,
                    at: self.clock.now(),
                    message: &format!("{STALLED}: {error}"),
                };
                self.note(job, &noted).await?;
                return Err(error);
            }
        };
        let error = match &ended.error {
            Some(error) => Some(format!("{}: {error}", error.code())),
            None if ended.report.status == RunStatus::Held => Some(ended.reasons.join("; ")),
            None => None,
        };
        Ok(Ran {
            status: ended.report.status,
            transient: ended.error.as_ref().is_some_and(|error| error.kind() == Kind::Transient),
            error,
            unusual: ended.unusual,
        })
    }

    async fn input(&self, ready: &Ready, as_of: NaiveDate) -> Result<Input> {
        let project = self.open(false).await?;
        let now = self.clock.now();
        let mut input = Input::default();
        if let Some(marker) = &ready.marker {
            input.marked = project.lake.exists(&marker.replace("{as_of}", &as_of.to_string())).await?;
        }
        if ready.quiet_for.is_some() {
            input.written = project.lake.list("landing").await?.iter().map(|object| object.modified).max();
        }
        if ready.newest_within.is_some() || ready.rows.is_some() {
            let session = project.engine.session();
            let options = project.landing(as_of, now);
            let of_rows = |table: Table, _: &LandedFile| matches!(table, Table::Orders | Table::Events);
            let found = Box::pin(land::find_some(&session, &project.sources, &options, of_rows)).await?;
            let times = [(Table::Orders, "ordered_at"), (Table::Events, "occurred_at")]
                .map(|(table, column)| format!("SELECT {column} AS at FROM ({})", found.rows_sql(table, &options)));
            let days: Vec<NaiveDate> =
                (0..=8).filter_map(|weeks| as_of.checked_sub_days(Days::new(7 * weeks))).collect();
            let counts: Vec<String> = days
                .iter()
                .map(|day| format!("count(*) FILTER (WHERE local_date(at, $zone) = DATE '{day}')"))
                .collect();
            let sql = format!(
                "SELECT CAST(max(at) FILTER (WHERE at <= arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')) AS BIGINT), {} \
                 FROM ({})",
                now.timestamp_micros(),
                counts.join(", "),
                times.join(" UNION ALL ")
            );
            let params = Params::new().with("zone", project.settings.project.zone.name());
            for batch in plan_text(&session, &sql, &params).await?.collect().await? {
                use arrow::array::{Array, AsArray};
                let value = |column: usize| {
                    let column = batch.column(column).as_primitive::<arrow::datatypes::Int64Type>();
                    column.is_valid(0).then(|| column.value(0))
                };
                input.newest = value(0).and_then(DateTime::from_timestamp_micros);
                let mut counts: Vec<u64> =
                    (1..=days.len()).map(|column| value(column).map_or(0, i64::unsigned_abs)).collect();
                input.rows = counts.remove(0);
                while counts.last() == Some(&0) {
                    counts.pop();
                }
                input.rows_before = counts;
            }
        }
        Ok(input)
    }
}

#[async_trait(?Send)]
impl Work for Nights<'_> {
    fn jobs(&self) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for name in definition::names(&self.settings.root)? {
            match Job::load(&self.settings, &name) {
                Ok(job) => jobs.push(job),
                Err(error) => tracing::error!(job = name, code = error.code(), "the job's file is faulty: {error}"),
            }
        }
        Ok(jobs)
    }

    async fn run(&self, job: &Job, asked: &Asked) -> Ran {
        tracing::info!(job = job.name, as_of = %asked.as_of, run = asked.run_id, "begins");
        let ran = match Box::pin(self.run_it(job, asked)).await {
            Ok(ran) => ran,
            Err(error) => Ran {
                status: RunStatus::Failed,
                transient: error.kind() == Kind::Transient,
                error: Some(format!("{}: {error}", error.code())),
                unusual: Vec::new(),
            },
        };
        let error = ran.error.clone().unwrap_or_default();
        tracing::info!(job = job.name, as_of = %asked.as_of, status = ran.status.word(), error, "ends");
        ran
    }

    async fn published_by(&self, as_of: NaiveDate, run_id: &str) -> Result<bool> {
        let project = self.open(false).await?;
        let snapshots = Box::pin(Snapshots::read(&project.lake)).await?;
        Ok(snapshots.day(as_of).is_some_and(|day| day.run_id == run_id))
    }

    async fn restated(&self, job: &Job, as_of: NaiveDate) -> Result<Vec<NaiveDate>> {
        if !job.steps.contains(&Step::Snapshot) {
            return Ok(Vec::new());
        }
        let project = self.open(false).await?;
        Box::pin(late::days(&project, as_of, self.clock.now())).await
    }

    async fn lacking(&self, job: &Job, as_of: NaiveDate) -> Result<Option<String>> {
        let Some(ready) = &job.ready else { return Ok(None) };
        let input = Box::pin(self.input(ready, as_of)).await?;
        Ok(lacking(ready, &input, self.settings.project.zone.cutoff(as_of), self.clock.now()))
    }

    async fn note(&self, job: &Job, noted: &Noted<'_>) -> Result<()> {
        let project = self.open(false).await?;
        note(&project, &job.name, noted).await
    }

    async fn tell(&self, job: Option<&Job>, alert: &Alert) -> bool {
        tracing::warn!(event = alert.event.word(), job = alert.job, "{}", alert.message);
        let Some(url) = job.and_then(|job| job.on_failure.as_ref()) else { return true };
        match self.webhooks.send(url, alert, self.clock.now()).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(code = error.code(), "{error}");
                // What the configuration forbids will not go through by itself.
                error.kind() == Kind::Definition
            }
        }
    }
}

/// Records a run that ended otherwise than by itself.
///
/// # Errors
/// What the store refuses.
pub async fn note(project: &Project, job: &str, noted: &Noted<'_>) -> Result<()> {
    let report = RunReport::nothing(job, noted.as_of, noted.run_id, noted.status);
    let record = Record {
        report: &report,
        attempt: None,
        started: noted.at,
        finished: noted.at,
        error: None,
        note: Some(noted.message).filter(|message| !message.is_empty()),
    };
    Box::pin(record.keep(&project.lake)).await
}

/// Ends once a run has got nowhere for long: a query that hangs uses no processor time and asks no store for anything.
async fn stands_still(project: &Project) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if watch.stood_still(used(), project.answers()) >= STILL {
            return;
        }
    }
}

/// What was seen of a run.
#[derive(Debug, Default)]
struct Watch {
    used: Option<Duration>,
    answers: u64,
    still: Duration,
}

impl Watch {
    /// For how long it has stood still, by a look every [`LOOK`]. A store that answers slowly is one that answers.
    fn stood_still(&mut self, used: Option<Duration>, answers: u64) -> Duration {
        match (self.used, used) {
            // What the heartbeat and this look themselves use is far below a second in ten minutes.
            (Some(before), Some(now))
                if answers == self.answers && now.saturating_sub(before) < Duration::from_secs(2) =>
            {
                self.still += LOOK;
            }
            _ => *self = Self { used, answers, still: Duration::ZERO },
        }
        self.still
    }
}

/// Processor time that this process has used; none off Linux.
fn used() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // A tick of this interface is a hundredth of a second on every Linux.
    Some(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_slow_store_does_not_stand_still() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let looks = 2 * STILL.as_secs() / LOOK.as_secs();
        let mut watch = Watch::default();
        // No processor time to speak of: two answers a minute are enough, for however long.
        let slow: Vec<Duration> = (0..looks).map(|look| watch.stood_still(seconds(9), look / 2)).collect();
        assert!(slow.iter().all(|still| *still < 2 * LOOK), "{slow:?}");
        // Nothing but computing.
        let busy: Vec<Duration> = (0..looks).map(|look| watch.stood_still(seconds(9 + 3 * look), 0)).collect();
        assert!(busy.iter().all(|still| *still < 2 * LOOK), "{busy:?}");
        // Neither.
        let looked = 1 + (0..looks).position(|_| watch.stood_still(seconds(99), 0) >= STILL).unwrap() as u64;
        assert_eq!(looked, STILL.as_secs() / LOOK.as_secs());
        // Where processor time cannot be told, nothing is given up.
        assert!((0..looks).all(|_| watch.stood_still(None, 0) < STILL));
    }

    #[test]
    fn processor_time_grows_with_work() {
        let Some(before) = used() else { return };
        let began = std::time::Instant::now();
        let mut sum = 0_u64;
        while began.elapsed() < Duration::from_millis(120) {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert!(used().unwrap() >= before + Duration::from_millis(30), "{sum}");
    }
}
