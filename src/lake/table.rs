//! Delta tables: created once, committed once.
//!
//! A commit replaces a day's files (or, in a table that keeps the newest day only, all files) in one version, from the
//! version that was there when the run began. What that must withstand, each measured with the library's own commits:
//! a commit reported as failed may have landed; two overwrites of an empty table both succeed and double the rows; a
//! writer that slept overwrites newer results. So the library never retries here. After any failure the log is read
//! for our own nonce, the fence (a transaction id that only grows) and the day's files are compared with those of the
//! version we began from, and only then is the commit tried again on top of what others did to *other* days.

/// What a commit writes into the log.
mod actions;
/// Days of many small files rewritten into few.
mod compact;
/// The Delta log, read through the lake's own store.
mod log;
/// Files written anew without some of their rows.
mod replace;
/// Upkeep: dropped days, checkpoints, old logs.
mod tidy;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use chrono::{DateTime, NaiveDate, Utc};
use deltalake_core::table::state::DeltaTableState;

use crate::error::{Error, Kind, Result};
use crate::lake::Lake;
use crate::lake::parts::{DataFile, folder};
use crate::lake::schema::{file_schema, widened};
use crate::lake::table::actions::{NEWEST, newest_version};
use crate::lake::table::log::{Log, check_newest_commit, columns, day_of, live};
use crate::schema::published::{Keeps, Published};

pub use compact::Compacted;

/// How often a commit is tried again on top of what others did to other days.
const ATTEMPTS: usize = 16;
/// How far back a run is looked for that may have committed already.
const DEPTH: u64 = 100;

/// A published table at the version that was there when the run began.
#[derive(Clone)]
pub struct Table {
    published: Published,
    log: Log,
    base: Option<DeltaTableState>,
}

/// A file of a table's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// The day that it is about, `None` in a table without days.
    pub as_of: Option<NaiveDate>,
    /// Its path below the lake's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Rows, where the log tells.
    pub rows: Option<u64>,
}

/// What fences the attempts of one piece of work: the one with the higher number wins, whenever it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What is fenced: a day, or a run.
    pub app: String,
    /// Grows with every attempt.
    pub attempt: i64,
}

impl Fence {
    /// The attempts at a day. Two jobs that compute one day fence each other.
    pub fn of_day(as_of: NaiveDate, attempt: i64) -> Self {
        Self { app: as_of.to_string(), attempt }
    }

    /// The one append of a run.
    pub fn of_run(run_id: &str) -> Self {
        Self { app: format!("run/{run_id}"), attempt: 1 }
    }
}

/// A commit of one table.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// The days whose files are replaced (for an append: that the files are about). In a table that keeps the newest
    /// day only: that day.
    pub days: &'a [NaiveDate],
    /// The new files, in the folders of these days.
    pub files: &'a [DataFile],
    /// The columns of the files, from [`Table::file_schema`].
    pub schema: SchemaRef,
    /// What fences this commit.
    pub fence: Fence,
    /// The run.
    pub run_id: &'a str,
    /// The hash of the definitions that the rows depend on.
    pub definition_hash: &'a str,
    /// The manifest that names the input, or another trace of where the rows come from.
    pub source: &'a str,
    /// The present.
    pub at: DateTime<Utc>,
    /// Whether a commit of anybody else's, to whatever day, since the run began is a failure (`lake.moved`).
    pub strict: bool,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is this version of the table, now or already.
    Committed {
        /// Delta's version.
        version: u64,
    },
    /// A later attempt has committed already, or another run under the same attempt.
    Superseded {
        /// The attempt that stands in the log.
        attempt: i64,
    },
    /// The table keeps the newest day only, and holds a newer one.
    NewerDay {
        /// That day.
        as_of: NaiveDate,
    },
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.published.name).field("version", &self.version()).finish()
    }
}

impl Table {
    /// Opens a table at its newest version and keeps that version; a table that is not there yet is created by its
    /// first commit.
    ///
    /// # Errors
    /// `lake.torn_commit` for a newest commit that is empty or unreadable, as a power cut leaves one behind where the
    /// store does not flush; what the store and the log refuse.
    pub async fn open(lake: &Lake, published: &Published) -> Result<Table> {
        let log = Log::new(lake, published.name)?;
        let base = match check_newest_commit(lake, published.name).await? {
            true => Some(log.load(None).await?),
            false => None,
        };
        Ok(Table { published: published.clone(), log, base })
    }

    /// The version that was opened, `None` for a table that is not there yet.
    pub fn version(&self) -> Option<u64> {
        self.base.as_ref().map(DeltaTableState::version)
    }

    /// The table's columns at that version, without `as_of`.
    ///
    /// # Errors
    /// A type that the log holds and Arrow does not know.
    pub fn schema(&self) -> Result<Option<SchemaRef>> {
        self.base.as_ref().map(|state| Ok(Arc::new(columns(state)?))).transpose()
    }

    /// The columns of the data files that hold a stream's rows.
    ///
    /// # Errors
    /// See [`crate::lake::schema::file_schema`].
    pub fn file_schema(&self, stream: &Schema) -> Result<SchemaRef> {
        file_schema(&self.published, self.schema()?.as_deref(), stream)
    }

    /// The files of the version that was opened, sorted by path.
    pub fn files(&self) -> Vec<LiveFile> {
        let Some(state) = &self.base else { return Vec::new() };
        let files = live(state, |_| true).into_values().map(|view| LiveFile {
            as_of: day_of(&view),
            path: format!("{}/{}", folder(self.published.name, None), view.path()),
            size: view.size().unsigned_abs(),
            rows: view.num_records().map(|rows| rows as u64),
        });
        files.collect()
    }

    /// The attempt that the log holds for a fence.
    ///
    /// # Errors
    /// What the store and the log refuse.
    pub async fn attempt(&self, app: &str) -> Result<Option<i64>> {
        match &self.base {
            Some(state) => self.log.transaction(state, app).await,
            None => Ok(None),
        }
    }

    /// The version that a run committed, looked for in the newest `depth` versions: what the next leader asks about a
    /// run that died.
    ///
    /// # Errors
    /// What the store and the log refuse.
    pub async fn committed_by(&self, run_id: &str, depth: u64) -> Result<Option<u64>> {
        let Some(newest) = self.version() else { return Ok(None) };
        self.log.find(newest.saturating_sub(depth)..=newest, "runId", run_id).await
    }

    /// Commits, in one version and from the version that was opened.
    ///
    /// # Errors
    /// `lake.conflict` where somebody else changed the same day meanwhile, `lake.moved` for a strict commit after any
    /// change; `lake.commit` where the log could not be written, `lake.commit_unknown` where it could not be read
    /// afterwards either; `lake.read_back` where the log holds something else than was committed.
    pub async fn commit(&self, commit: &Commit<'_>) -> Result<Outcome> {
        self.check_files(commit)?;
        let nonce = uuid::Uuid::now_v7().to_string();
        let began = match &self.base {
            Some(state) => state.clone(),
            None => Box::pin(self.create(commit)).await?,
        };
        let mut base = began.clone();
        for _ in 0..ATTEMPTS {
            if let Some(outcome) = self.fenced(&base, commit).await? {
                return Ok(outcome);
            }
            // The columns of the files were settled with the version that was opened.
            widened(&columns(&base)?, &commit.schema).map_err(|error| self.conflict().with_source(error))?;
            let failed = match Box::pin(self.try_commit(&base, commit, &nonce)).await {
                Ok(version) => return self.read_back(commit, version).await,
                Err(error) => error,
            };
            let latest = self.log.load(None).await.map_err(|error| {
                Error::new(
                    Kind::Transient,
                    "lake.commit_unknown",
                    format!("a commit of `{}` failed, and whether it landed could not be read", self.published.name),
                )
                .with_hint("run the day again; what has landed is found by its run")
                .with_source(error)
            })?;
            if let Some(version) = self.log.find(began.version() + 1..=latest.version(), "nonce", &nonce).await? {
                return self.read_back(commit, version).await;
            }
            if latest.version() == base.version() {
                return Err(self.log.refused(failed, (Kind::Transient, "lake.commit")));
            }
            if commit.strict {
                return Err(self.moved());
            }
            if let Some(outcome) = self.fenced(&latest, commit).await? {
                return Ok(outcome);
            }
            if self.replaced(&began, commit) != self.replaced(&latest, commit) {
                return Err(self.conflict());
            }
            base = latest;
        }
        Err(self.moved())
    }

    fn conflict(&self) -> Error {
        Error::new(
            Kind::Transient,
            "lake.conflict",
            format!("another run changed `{}` meanwhile, in what this run would change", self.published.name),
        )
        .with_hint("run the day again")
    }

    fn moved(&self) -> Error {
        Error::new(Kind::Transient, "lake.moved", format!("others commit to `{}` all the time", self.published.name))
            .with_hint("run the day again")
    }

    /// Only files of the commit's own days may be committed.
    fn check_files(&self, commit: &Commit<'_>) -> Result<()> {
        let days = if self.published.by_day() {
            commit.days.iter().map(|day| folder(self.published.name, Some(*day))).collect::<Vec<_>>()
        } else {
            vec![folder(self.published.name, None)]
        };
        let ours = |file: &DataFile| {
            file.path.rsplit_once('/').is_some_and(|(folder, _)| days.iter().any(|day| day == folder))
        };
        if commit.days.is_empty() || !commit.files.iter().all(ours) {
            return Err(Error::internal(
                "lake.wrong_day",
                format!("a commit of `{}` names files of other days than its own", self.published.name),
            ));
        }
        Ok(())
    }

    /// Whether a later attempt, a newer day, or this very attempt stands in the log.
    async fn fenced(&self, state: &DeltaTableState, commit: &Commit<'_>) -> Result<Option<Outcome>> {
        if let Some(attempt) = self.log.transaction(state, &commit.fence.app).await?
            && attempt >= commit.fence.attempt
        {
            if attempt == commit.fence.attempt {
                let versions = state.version().saturating_sub(DEPTH)..=state.version();
                if let Some(version) = self.log.find(versions, "runId", commit.run_id).await?
                    && self.holds(commit, version).await?
                {
                    return Ok(Some(Outcome::Committed { version }));
                }
            }
            return Ok(Some(Outcome::Superseded { attempt }));
        }
        if self.published.keeps == Keeps::Newest
            && let Some(newest) = self.log.transaction(state, NEWEST).await?
            && newest > newest_version(commit.days)
        {
            let as_of = i32::try_from(newest).ok().and_then(NaiveDate::from_num_days_from_ce_opt);
            return Ok(Some(Outcome::NewerDay { as_of: as_of.unwrap_or(NaiveDate::MAX) }));
        }
        Ok(None)
    }

    /// The files that the commit replaces, by path.
    fn replaced(&self, state: &DeltaTableState, commit: &Commit<'_>) -> BTreeMap<String, i64> {
        live(state, |view| match self.published.keeps {
            Keeps::Days => day_of(view).is_some_and(|day| commit.days.contains(&day)),
            Keeps::Newest => true,
            Keeps::Appended => false,
        })
        .into_iter()
        .map(|(path, view)| (path, view.size()))
        .collect()
    }

    /// Whether a version's files of the day are those of the commit.
    async fn holds(&self, commit: &Commit<'_>, version: u64) -> Result<bool> {
        let state = self.log.load(Some(version)).await?;
        let prefix = format!("{}/", folder(self.published.name, None));
        let found = live(&state, |_| true);
        let there = commit.files.iter().all(|file| {
            let path = file.path.strip_prefix(&prefix).unwrap_or(&file.path);
            found.get(path).is_some_and(|view| view.size().unsigned_abs() == file.size)
        });
        let count = self.replaced(&state, commit).len();
        Ok(there && (self.published.keeps == Keeps::Appended || count == commit.files.len()))
    }

    async fn read_back(&self, commit: &Commit<'_>, version: u64) -> Result<Outcome> {
        if self.holds(commit, version).await? {
            return Ok(Outcome::Committed { version });
        }
        Err(Error::storage(
            "lake.read_back",
            format!("version {version} of `{}` holds other files than were committed", self.published.name),
        )
        .with_hint("the store cannot be trusted: check it with `alluvial doctor`"))
    }
}

#[cfg(test)]
mod tests;
