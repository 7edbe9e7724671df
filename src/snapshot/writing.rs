//! Writing a day's tables: files first, then the manifest, then one commit a table, last the one that publishes the day.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt};

use super::held::Held;
use crate::error::{Error, Kind, Result};
use crate::lake::Lake;
use crate::lake::manifest::{Manifest, TableFiles};
use crate::lake::parts::{self, DataFile, Partition};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::lake::table::{Commit, Fence, Outcome, Table};
use crate::schema::published::{self, Keeps, Published};

/// Tables opened or committed at once: on a cloud a request waits for the network, not for the processor.
const AT_ONCE: usize = 8;

/// A run's hold on the published tables: each at the version that was there when the run began.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    lake: &'a Lake,
    run_id: &'a str,
    as_of: NaiveDate,
    at: DateTime<Utc>,
    attempt: i64,
    tables: BTreeMap<&'static str, (Published, Table)>,
    written: Vec<Written>,
}

#[derive(Debug)]
struct Written {
    table: &'static str,
    files: Vec<DataFile>,
    schema: SchemaRef,
}

impl<'a> Writing<'a> {
    /// Opens every table of the contract and takes the next attempt at the day.
    pub(super) async fn begin(lake: &'a Lake, run_id: &'a str, as_of: NaiveDate, at: DateTime<Utc>) -> Result<Self> {
        let app = Fence::of_day(as_of, 0).app;
        let opened = published::tables().into_iter().map(|published| {
            let app = &app;
            Box::pin(async move {
                let table = Table::open(lake, &published).await?;
                let attempt = table.attempt(app).await?.unwrap_or(0);
                Ok::<_, Error>((attempt, published, table))
            })
        });
        let opened: Vec<_> = futures::stream::iter(opened).buffered(AT_ONCE).try_collect().await?;
        let attempt = opened.iter().map(|(attempt, ..)| *attempt).max().unwrap_or(0);
        let tables = opened.into_iter().map(|(_, published, table)| (published.name, (published, table))).collect();
        Ok(Self { lake, run_id, as_of, at, attempt: attempt + 1, tables, written: Vec::new() })
    }

    /// Takes up a held day: its files are written, and its attempt is taken.
    pub(super) async fn resume(lake: &'a Lake, held: &'a Held) -> Result<Self> {
        let mut tables = BTreeMap::new();
        let mut written = Vec::new();
        for (name, files) in &held.tables {
            let published = published::named(name)
                .ok_or_else(|| Error::internal("snapshot.table", format!("the contract has no table `{name}`")))?;
            let table = Box::pin(Table::open(lake, &published)).await?;
            written.push(Written { table: published.name, files: files.files.clone(), schema: files.schema()? });
            tables.insert(published.name, (published, table));
        }
        let Held { run_id, as_of, at, attempt, .. } = held;
        Ok(Self { lake, run_id, as_of: *as_of, at: *at, attempt: *attempt, tables, written })
    }

    /// Every table's files, for the record of a held day.
    pub(super) fn files(&self) -> Result<Vec<(String, TableFiles)>> {
        let files = |written: &Written| {
            Ok((written.table.to_owned(), TableFiles::new(written.files.clone(), &written.schema)?))
        };
        self.written.iter().map(files).collect()
    }

    /// The number of this attempt at the day.
    pub(super) fn attempt(&self) -> i64 {
        self.attempt
    }

    /// A table at the version that was opened.
    pub(super) fn opened(&self, name: &str) -> Result<&(Published, Table)> {
        self.tables
            .get(name)
            .ok_or_else(|| Error::internal("snapshot.table", format!("the contract has no table `{name}`")))
    }

    /// Writes a table's files for the day. Nothing is visible until the commit.
    pub(super) async fn write(&mut self, name: &'static str, stream: SendableRecordBatchStream) -> Result<u64> {
        let began = std::time::Instant::now();
        let (published, table) = self.opened(name)?;
        let schema = table.file_schema(&stream.schema())?;
        let partition = Partition {
            table: published,
            schema: SchemaRef::clone(&schema),
            as_of: self.as_of,
            run_id: self.run_id,
            file_rows: parts::FILE_ROWS,
        };
        let files = Box::pin(parts::write(self.lake, &partition, stream)).await?;
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        tracing::debug!(name, rows, seconds = began.elapsed().as_secs_f64(), "written");
        self.written.push(Written { table: name, files, schema });
        Ok(rows)
    }

    /// Puts what was written into the manifest (appended tables are no part of a day).
    pub(super) fn describe(&self, manifest: &mut Manifest) -> Result<()> {
        for written in &self.written {
            let (published, _) = self.opened(written.table)?;
            if published.keeps != Keeps::Appended {
                let files = TableFiles::new(written.files.clone(), &written.schema)?;
                manifest.tables.insert(written.table.to_owned(), files);
            }
        }
        Ok(())
    }

    /// Commits every table that was written, and says which version each became. The first table goes alone: of two
    /// attempts at the day that commit at the same time, one stops there, where the other has been. The others follow
    /// together, and each is waited for, whatever became of the rest.
    pub(super) async fn commit(&self, definition_hash: &str, source: &str) -> Result<BTreeMap<String, u64>> {
        let mut versions = BTreeMap::new();
        let Some((first, others)) = self.written.split_first() else { return Ok(versions) };
        let one = Box::pin(self.commit_one(first, definition_hash, source)).await?;
        let others = others.iter().map(|written| Box::pin(self.commit_one(written, definition_hash, source)));
        let others: Vec<_> = futures::stream::iter(others).buffered(AT_ONCE).collect().await;
        for (written, version) in self.written.iter().zip(std::iter::once(Ok(one)).chain(others)) {
            versions.extend(version?.map(|version| (written.table.to_owned(), version)));
        }
        Ok(versions)
    }

    /// The version that a table became; none where there was nothing to commit.
    async fn commit_one(&self, written: &Written, definition_hash: &str, source: &str) -> Result<Option<u64>> {
        let (published, table) = self.opened(written.table)?;
        let appended = published.keeps == Keeps::Appended;
        if appended && written.files.is_empty() {
            return Ok(None);
        }
        let fence = if appended { Fence::of_run(self.run_id) } else { Fence::of_day(self.as_of, self.attempt) };
        let commit = Commit {
            days: &[self.as_of],
            files: &written.files,
            schema: SchemaRef::clone(&written.schema),
            fence,
            run_id: self.run_id,
            definition_hash,
            source,
            at: self.at,
            strict: false,
        };
        match Box::pin(table.commit(&commit)).await? {
            Outcome::Committed { version } => Ok(Some(version)),
            // A later day was published meanwhile: this one leaves the newest day's tables alone.
            Outcome::NewerDay { .. } => Ok(None),
            Outcome::Superseded { attempt } => Err(superseded(self.as_of, attempt)),
        }
    }

    /// The commit that makes the day visible.
    pub(super) async fn publish(
        &self,
        snapshots: &Snapshots,
        day: &PublishedDay,
        manifest: &Manifest,
        stale: &[NaiveDate],
    ) -> Result<()> {
        match Box::pin(snapshots.publish(day, manifest.previous.as_ref(), stale, self.attempt)).await? {
            Outcome::Superseded { attempt } => Err(superseded(self.as_of, attempt)),
            Outcome::Committed { .. } | Outcome::NewerDay { .. } => Ok(()),
        }
    }
}

fn superseded(as_of: NaiveDate, attempt: i64) -> Error {
    Error::new(
        Kind::Superseded,
        "snapshot.superseded",
        format!("attempt {attempt} at {as_of} published while this one was computing"),
    )
    .with_hint("nothing is lost: the later attempt stands")
}
