//! `alluvial doctor`.

mod bucket;

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::Outcome;
use super::opened::Call;
use super::output::{List, Output};
use super::rows::{Cell, Rows};
use crate::cli::jobs::instant;
use crate::config::Settings;
use crate::erase::receipt::unfinished;
use crate::error::{Error, Result};
use crate::jobs::definition::{self, Job};
use crate::jobs::lease;
use crate::lake::snapshots::Snapshots;
use crate::lake::table::Table;
use crate::lake::{Lake, disk};
use crate::schema::published;
use crate::snapshot::{held, upkeep};

/// How many ticks are told.
const TICKS: usize = 10;
/// Less free room than this is told.
const LITTLE: u64 = 2_000_000_000;

/// What `alluvial doctor` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Read every file of every published day, not of the newest only
    #[arg(long)]
    pub all: bool,
}

/// Examines the store, the tables, the newest day's files, what lies about, and says when the jobs tick next.
///
/// # Errors
/// Settings that are wrong; what is found out of order is a finding, and the outcome is faulty.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let now = call.environment.clock()?.now();
        let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
        let mut examined = Examined { rows: Rows::new(&["check", "finding", "said", "help"]), faulty: false };
        examined.note("store", Box::pin(lake.probe()).await, &format!("{} keeps its word", lake.place()));
        examined.fact(
            "time zones",
            &format!("data of {}; the shop is in {}", chrono_tz::IANA_TZDB_VERSION, settings.project.zone),
        );
        Box::pin(examined.tables(&lake)).await;
        Box::pin(examined.days(&lake, args.all, now)).await;
        examined.state(&lake, now).await;
        examined.place(&lake).await;
        let bytes = examined.bytes(&lake).await;
        let ticks = ticks(&settings, now, &mut examined)?;
        let outcome = if examined.faulty { Outcome::Faulty } else { Outcome::Done };
        let lists = vec![
            List { key: "checks", heading: "what was looked at".to_owned(), rows: examined.rows },
            List { key: "bytes", heading: "what the lake holds".to_owned(), rows: bytes },
            List { key: "ticks", heading: format!("the next {TICKS} ticks"), rows: ticks },
        ];
        output.lists(&[], lists)?;
        Ok(outcome)
    })
}

struct Examined {
    rows: Rows,
    faulty: bool,
}

impl Examined {
    fn row(&mut self, check: &str, finding: &str, said: &str, help: Option<&str>) {
        self.rows.push(vec![Cell::text(check), Cell::text(finding), Cell::text(said), Cell::maybe(help, Cell::text)]);
    }

    fn fact(&mut self, check: &str, said: &str) {
        self.row(check, "ok", said, None);
    }

    fn look(&mut self, check: &str, said: &str, help: &str) {
        self.row(check, "look", said, Some(help));
    }

    fn fault(&mut self, check: &str, error: &Error) {
        self.faulty = true;
        self.row(check, "fault", &format!("{}: {error}", error.code()), error.hint());
    }

    fn note(&mut self, check: &str, found: Result<()>, well: &str) {
        match found {
            Ok(()) => self.fact(check, well),
            Err(error) => self.fault(check, &error),
        }
    }

    /// Every table opens, and its newest commit is whole.
    async fn tables(&mut self, lake: &Lake) {
        let mut opened = 0;
        for table in published::tables() {
            match Box::pin(Table::open(lake, &table)).await {
                Ok(table) => opened += usize::from(table.version().is_some()),
                Err(error) => self.fault(&format!("table {}", table.name), &error),
            }
        }
        self.fact("tables", &format!("{opened} are there and open at their newest commit"));
    }

    /// The files of published days are as they were written; what nothing names.
    async fn days(&mut self, lake: &Lake, all: bool, now: DateTime<Utc>) {
        let snapshots = match Box::pin(Snapshots::read(lake)).await {
            Ok(snapshots) => snapshots,
            Err(error) => return self.fault("published days", &error),
        };
        let Some(newest) = snapshots.latest() else {
            return self.look("published days", "none yet", "publish one with `alluvial run nightly`");
        };
        let days: Vec<_> = snapshots.days().iter().filter(|day| all || day.as_of == newest.as_of).collect();
        for day in &days {
            let verified = match Box::pin(snapshots.manifest(day)).await {
                // Contacts and facts are those of the newest day only.
                Ok(mut manifest) => {
                    let is_newest = day.as_of == newest.as_of;
                    manifest
                        .tables
                        .retain(|name, _| is_newest || published::named(name).is_some_and(|table| table.by_day()));
                    Box::pin(manifest.verify(lake)).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = verified {
                self.fault(&format!("files of {}", day.as_of), &error);
            }
        }
        let stale = snapshots.days().iter().filter(|day| day.stale).count();
        self.fact(
            "published days",
            &format!(
                "{}, the newest is {}; {} were read and compared with their checksums",
                snapshots.days().len(),
                newest.as_of,
                days.len()
            ),
        );
        if stale > 0 {
            self.look(
                "stale days",
                &format!("{stale} compare with an older day before them"),
                "run them again, the oldest first",
            );
        }
        match Box::pin(upkeep::orphans(lake, &snapshots, now)).await {
            Ok(orphans) if orphans.is_empty() => self.fact("files that nothing names", "none"),
            Ok(orphans) => {
                let bytes: u64 = orphans.iter().map(|object| object.size).sum();
                self.look(
                    "files that nothing names",
                    &format!("{} with {bytes} bytes", orphans.len()),
                    "`alluvial vacuum` removes them",
                );
            }
            Err(error) => self.fault("files that nothing names", &error),
        }
    }

    /// What waits for a person, and who leads.
    async fn state(&mut self, lake: &Lake, now: DateTime<Utc>) {
        match held::waiting(lake).await {
            Ok(held) if held.is_empty() => self.fact("held days", "none"),
            Ok(held) => {
                let days: Vec<String> = held.iter().map(|held| held.as_of.to_string()).collect();
                self.look("held days", &days.join(", "), "`alluvial publish` says why, `--accept DAY` publishes one");
            }
            Err(error) => self.fault("held days", &error),
        }
        match unfinished(lake).await {
            Ok(passes) if passes.is_empty() => {}
            Ok(passes) => self.look(
                "forgetting",
                &format!("{} passes died before everything was erased", passes.len()),
                "run `alluvial forget` again for the same people, or for anybody: it finishes them",
            ),
            Err(error) => self.fault("forgetting", &error),
        }
        match lease::last_beat(lake).await {
            Ok(None) => self.look(
                "scheduler",
                "none has ever led",
                "run `alluvial scheduler`, or `alluvial run` from a scheduler of yours",
            ),
            // Told by the store's clock and this machine's: good enough to say, never to decide.
            Ok(Some(at)) if now - at < TimeDelta::minutes(2) => self.fact("scheduler", "one leads"),
            Ok(Some(at)) => self.look(
                "scheduler",
                &format!("the last sign of one is of {}", at.to_rfc3339()),
                "start `alluvial scheduler` where it should run",
            ),
            Err(error) => self.fault("scheduler", &error),
        }
    }

    /// What the kind of store asks for.
    async fn place(&mut self, lake: &Lake) {
        match lake.url().to_file_path() {
            Ok(folder) if lake.url().scheme() == "file" => self.disk(&folder),
            _ => Box::pin(bucket::examine(self, lake)).await,
        }
    }
}

impl Examined {
    /// The disk that the lake is on: room, flushing, what dead writers left.
    fn disk(&mut self, folder: &Path) {
        match disk::free_bytes(folder) {
            Some(free) if free < LITTLE => self.look(
                "free disk",
                &shown(free),
                "make room: a night needs about as much as the newest day's files, and `alluvial vacuum` frees what is old",
            ),
            Some(free) => self.fact("free disk", &shown(free)),
            None => self.look("free disk", "the system does not tell", "`df` should be there"),
        }
        match disk::flush_time(folder) {
            Ok(time) if disk::is_too_fast(time) => self.look(
                "flushing",
                &format!("a flush takes {} µs: nothing can have reached a disk", time.as_micros()),
                "a memory disk, or one whose cache lies, loses the last nights in a power cut: keep the lake elsewhere",
            ),
            Ok(time) => self.fact("flushing", &format!("a flush reaches the disk in {} µs", time.as_micros())),
            Err(error) => self.fault("flushing", &error),
        }
        match disk::staged(folder) {
            Ok((0, _)) => self.fact("unfinished uploads", "none"),
            Ok((count, bytes)) => self.look(
                "unfinished uploads",
                &format!("{count} temporary files with {}", shown(bytes)),
                "`alluvial vacuum` removes those that nobody has written to for a day",
            ),
            Err(error) => self.fault("unfinished uploads", &error),
        }
    }

    /// What the lake's folders hold.
    async fn bytes(&mut self, lake: &Lake) -> Rows {
        let mut rows = Rows::new(&["table", "#files", "#bytes"]);
        let mut sums: BTreeMap<(usize, String), (u64, u64)> = BTreeMap::new();
        for (place, folder) in ["landing", "tables", "snapshots", "state"].into_iter().enumerate() {
            let objects = match lake.list(folder).await {
                Ok(objects) => objects,
                Err(error) => {
                    self.fault("bytes by table", &error);
                    continue;
                }
            };
            for object in objects {
                let depth = if place < 2 { 2 } else { 1 };
                let name = object.path.split('/').take(depth).collect::<Vec<_>>().join("/");
                let sum = sums.entry((place, name)).or_default();
                *sum = (sum.0 + 1, sum.1 + object.size);
            }
        }
        for ((_, name), (files, bytes)) in sums {
            rows.push(vec![Cell::Text(name), Cell::count(files), Cell::count(bytes)]);
        }
        rows
    }
}

/// Bytes for people.
fn shown(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let bytes = bytes as f64;
    match bytes {
        few if few < 1e3 => format!("{few:.0} B"),
        few if few < 1e6 => format!("{:.1} kB", few / 1e3),
        some if some < 1e9 => format!("{:.1} MB", some / 1e6),
        many => format!("{:.1} GB", many / 1e9),
    }
}

/// The next ticks of all jobs, the soonest first.
fn ticks(settings: &Settings, now: DateTime<Utc>, examined: &mut Examined) -> Result<Rows> {
    let mut ticks = Vec::new();
    for name in definition::names(&settings.root)? {
        let job = match Job::load(settings, &name) {
            Ok(job) => job,
            Err(error) => {
                examined.fault(&format!("job {name}"), &error);
                continue;
            }
        };
        let mut at = now;
        for _ in 0..TICKS {
            let Some(tick) = job.schedule.as_ref().and_then(|schedule| schedule.next_after(at, job.zone)) else {
                break;
            };
            ticks.push((tick, name.clone()));
            at = tick;
        }
    }
    ticks.sort();
    let mut rows = Rows::new(&["at", "job", "as_of"]);
    for (tick, job) in ticks.into_iter().take(TICKS) {
        let day = settings.project.zone.local_date(tick).pred_opt();
        rows.push(vec![instant(tick), Cell::Text(job), Cell::maybe(day, |day| Cell::text(day.to_string()))]);
    }
    Ok(rows)
}
