//! Upkeep of a table: days that are dropped, checkpoints, and logs that nobody needs. Never part of publishing.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use chrono::{DateTime, NaiveDate, Utc};
use deltalake_core::DeltaTable;
use deltalake_core::checkpoints::{cleanup_metadata, create_checkpoint};
use futures::StreamExt;

use super::{Commit, Fence, Outcome, Table};
use crate::error::{Kind, Result};
use crate::lake::Lake;
use crate::lake::parts::folder;
use crate::schema::published::{Keeps, Published};

/// Commits after which a checkpoint is worth it.
const CHECKPOINT_AFTER: u64 = 50;

impl Table {
    /// Removes days from a table's newest version: those of its partitions that `dropped` names. Their files stay until
    /// they are swept. Gives the days that were there.
    ///
    /// # Errors
    /// Those of [`Table::open`] and [`Table::commit`].
    pub async fn drop_days(
        lake: &Lake,
        published: &Published,
        dropped: impl Fn(NaiveDate) -> bool,
        at: DateTime<Utc>,
    ) -> Result<Vec<NaiveDate>> {
        // Seen as a table of days, one that is only ever appended to loses days as any other does.
        let by_day = Published { keeps: Keeps::Days, ..published.clone() };
        let table = Box::pin(Table::open(lake, &by_day)).await?;
        let mut days: Vec<NaiveDate> =
            table.files().iter().filter_map(|file| file.as_of).filter(|day| dropped(*day)).collect();
        days.sort();
        days.dedup();
        if days.is_empty() {
            return Ok(days);
        }
        let schema = table.schema()?.unwrap_or_else(|| Arc::new(Schema::empty()));
        let run_id = uuid::Uuid::now_v7().simple().to_string();
        let commit = Commit {
            days: &days,
            files: &[],
            schema,
            fence: Fence { app: "upkeep".to_owned(), attempt: at.timestamp_micros() },
            run_id: &run_id,
            definition_hash: "",
            source: "retention",
            at,
            strict: false,
        };
        match Box::pin(table.commit(&commit)).await? {
            Outcome::Committed { .. } => Ok(days),
            Outcome::Superseded { .. } | Outcome::NewerDay { .. } => Ok(Vec::new()),
        }
    }

    /// The files that were taken out of the table after an instant, below the lake's root: whoever began to read before may
    /// still need them.
    ///
    /// # Errors
    /// What the store and the log refuse.
    pub async fn removed_since(&self, since: DateTime<Utc>) -> Result<BTreeSet<String>> {
        let Some(state) = &self.base else { return Ok(BTreeSet::new()) };
        let refused = |error| self.log.refused(error, (Kind::Storage, "lake.delta"));
        let mut tombstones = state.all_tombstones(self.log.store.as_ref());
        let mut removed = BTreeSet::new();
        while let Some(tombstone) = tombstones.next().await.transpose().map_err(refused)? {
            // One without a time may be of now.
            if tombstone.deletion_timestamp().is_none_or(|at| at > since.timestamp_millis()) {
                removed.insert(format!("{}/{}", folder(self.published.name, None), tombstone.path()));
            }
        }
        Ok(removed)
    }

    /// Writes a checkpoint where many commits have been made since the last, and removes the log before it that is older
    /// than the table keeps it (30 days). Gives whether there is a new checkpoint, and how many files of the log went.
    ///
    /// # Errors
    /// What the store and the log refuse.
    pub async fn tidy(&self, lake: &Lake) -> Result<(bool, u64)> {
        let Some(version) = self.version() else { return Ok((false, 0)) };
        let objects = lake.list(&format!("{}/_delta_log", folder(self.published.name, None))).await?;
        let checkpointed = objects.iter().filter_map(|object| {
            let name = object.path.rsplit('/').next()?;
            let version = name.split_once(".checkpoint")?.0;
            version.parse::<u64>().ok()
        });
        let since = version - checkpointed.max().unwrap_or(0).min(version);
        let table = self.newest().await?;
        let wanted = since >= CHECKPOINT_AFTER;
        if wanted {
            self.write_checkpoint(&table).await?;
        }
        let gone = Box::pin(cleanup_metadata(&table, None)).await;
        let gone = gone.map_err(|error| self.log.refused(error, (Kind::Storage, "lake.delta")))?;
        Ok((wanted, gone as u64))
    }

    /// Writes a checkpoint of the newest version, so that nobody replays the commits before it again.
    ///
    /// # Errors
    /// What the store and the log refuse.
    pub async fn checkpoint(&self) -> Result<()> {
        let table = self.newest().await?;
        self.write_checkpoint(&table).await
    }

    async fn newest(&self) -> Result<DeltaTable> {
        let mut table = DeltaTable::new(self.log.store.clone());
        Box::pin(table.load()).await.map_err(|error| self.log.refused(error, (Kind::Storage, "lake.delta")))?;
        Ok(table)
    }

    async fn write_checkpoint(&self, table: &DeltaTable) -> Result<()> {
        let written = Box::pin(create_checkpoint(table, None)).await;
        written.map_err(|error| self.log.refused(error, (Kind::Storage, "lake.delta")))
    }
}
