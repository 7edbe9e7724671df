//! The one commit that makes a day visible, and the days that are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Date32Type, SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Kind, Result};
use crate::lake::Lake;
use crate::lake::forgotten;
use crate::lake::manifest::{Manifest, Previous};
use crate::lake::parts::{self, FILE_ROWS, Partition};
use crate::lake::schema::conform;
use crate::lake::table::{Commit, Fence, Outcome, Table};
use crate::schema::published::{Published, named};

/// How often publishing is tried again on top of other days' publishing.
const ATTEMPTS: usize = 16;
/// Files read at once.
const AT_ONCE: usize = 16;

/// A published day: one row of the table `snapshots`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedDay {
    /// The day.
    pub as_of: NaiveDate,
    /// The latest published day before it, when it was computed.
    pub previous_as_of: Option<NaiveDate>,
    /// The run that published it.
    pub run_id: String,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// Whether the day is what was known on it; none where that cannot be told.
    pub as_known: Option<bool>,
    /// Whether an earlier day was restated since.
    pub stale: bool,
    /// The shop's time zone.
    pub timezone: String,
    /// Its manifest, below the lake's root.
    pub manifest: String,
    /// The version of each table that its commit made.
    pub table_versions: BTreeMap<String, u64>,
    /// How many rows each table has for the day.
    pub row_counts: BTreeMap<String, u64>,
    /// The hash of all definitions that it depends on.
    pub definition_hash: String,
}

/// The published days, as they were when they were read.
#[derive(Debug, Clone)]
pub struct Snapshots {
    lake: Lake,
    table: Table,
    days: Vec<PublishedDay>,
    /// The objects of people who were forgotten that a run knows of; none: nothing is computed from landed data.
    forgotten: Option<BTreeSet<String>>,
    /// The manifest that the published day must have, if what is published keeps some of its tables.
    basis: Option<String>,
}

fn published_table() -> Result<Published> {
    named("snapshots").ok_or_else(|| Error::internal("lake.snapshots", "the contract has no table `snapshots`"))
}

impl Snapshots {
    /// Reads the published days.
    ///
    /// # Errors
    /// What the log, the files and the store refuse.
    pub async fn read(lake: &Lake) -> Result<Snapshots> {
        let table = Table::open(lake, &published_table()?).await?;
        let files = table.files();
        let rows = futures::stream::iter(files.into_iter().map(|file| {
            Box::pin(async move {
                let as_of = file.as_of.ok_or_else(|| damaged(&file.path))?;
                parse(as_of, lake.get(&file.path).await?, &file.path)
            })
        }))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
        let mut days: Vec<PublishedDay> = rows.into_iter().flatten().collect();
        days.sort_by(|a, b| (a.as_of, a.published_at, &a.run_id).cmp(&(b.as_of, b.published_at, &b.run_id)));
        // A day has one row; should it ever have two, the newest counts.
        days.reverse();
        days.dedup_by_key(|day| day.as_of);
        days.reverse();
        Ok(Snapshots { lake: lake.clone(), table, days, forgotten: None, basis: None })
    }

    /// Publishes only as long as nobody else was forgotten than these objects tell: whoever was forgotten while a day was
    /// computed is in its files.
    #[must_use]
    pub fn without(mut self, forgotten: &BTreeSet<String>) -> Self {
        self.forgotten = Some(forgotten.clone());
        self
    }

    /// Publishes only as long as this day stands as it was read: some of its tables go on in what is published in its
    /// place.
    #[must_use]
    pub fn over(mut self, day: &PublishedDay) -> Self {
        self.basis = Some(day.manifest.clone());
        self
    }

    /// The published days, oldest first.
    pub fn days(&self) -> &[PublishedDay] {
        &self.days
    }

    /// The newest published day.
    pub fn latest(&self) -> Option<&PublishedDay> {
        self.days.last()
    }

    /// The published day of that date.
    pub fn day(&self, as_of: NaiveDate) -> Option<&PublishedDay> {
        self.days.iter().find(|day| day.as_of == as_of)
    }

    /// The newest published day before a date.
    pub fn latest_before(&self, as_of: NaiveDate) -> Option<&PublishedDay> {
        self.days.iter().rev().find(|day| day.as_of < as_of)
    }

    /// The version of the table that was read.
    pub fn version(&self) -> Option<u64> {
        self.table.version()
    }

    /// The table at the version that was read.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The manifest of a published day.
    ///
    /// # Errors
    /// See [`Manifest::read`].
    pub async fn manifest(&self, day: &PublishedDay) -> Result<Manifest> {
        Manifest::read(&self.lake, &day.manifest).await
    }

    /// Publishes a day, and marks later ones as stale, in one commit. The day must have been computed against the
    /// day before it that is published *now*; other days may have been published meanwhile. A day that the same run
    /// has published already stays as it is.
    ///
    /// # Errors
    /// `lake.previous_changed` where the day before is another one, or was published again; `lake.day_changed` where the
    /// day is no longer the one of [`Snapshots::over`]; the errors of [`Table::commit`] and of writing.
    pub async fn publish(
        &self,
        day: &PublishedDay,
        previous: Option<&Previous>,
        stale: &[NaiveDate],
        attempt: i64,
    ) -> Result<Outcome> {
        let mut snapshots = self.clone();
        for _ in 0..ATTEMPTS {
            let standing = snapshots.day(day.as_of).filter(|standing| standing.run_id == day.run_id);
            if let (Some(_), Some(version)) = (standing, snapshots.version()) {
                return Ok(Outcome::Committed { version });
            }
            let stands = snapshots.day(day.as_of).map(|standing| standing.manifest.as_str());
            if self.basis.is_some() && self.basis.as_deref() != stands {
                return Err(Error::new(
                    Kind::Superseded,
                    "lake.day_changed",
                    format!("{} was published by another run while its segments were computed", day.as_of),
                )
                .with_hint("nothing is lost: run it again, and it begins from the day as it is now"));
            }
            let before = snapshots.latest_before(day.as_of).map(|day| (day.as_of, day.run_id.as_str()));
            if before != previous.map(|day| (day.as_of, day.run_id.as_str())) {
                return Err(Error::new(
                    Kind::Superseded,
                    "lake.previous_changed",
                    format!("the published day before {} changed while it was computed", day.as_of),
                )
                .with_hint("run the day again"));
            }
            // After the days are read and before the commit, which fails where others committed meanwhile: whoever is
            // forgotten later finds this day among the published ones.
            if let Some(known) = &self.forgotten {
                forgotten::unchanged(&self.lake, known).await?;
            }
            match Box::pin(snapshots.try_publish(day, stale, attempt)).await {
                Err(error) if error.code() == "lake.moved" => snapshots = Box::pin(Self::read(&self.lake)).await?,
                outcome => return outcome,
            }
        }
        Err(Error::new(Kind::Transient, "lake.moved", "others publish all the time").with_hint("run the day again"))
    }

    async fn try_publish(&self, day: &PublishedDay, stale: &[NaiveDate], attempt: i64) -> Result<Outcome> {
        let mut rows = vec![day.clone()];
        for later in self.days.iter().filter(|later| later.as_of != day.as_of && stale.contains(&later.as_of)) {
            rows.push(PublishedDay { stale: true, ..later.clone() });
        }
        self.commit(&rows, Fence::of_day(day.as_of, attempt), day.published_at).await
    }

    /// Publishes other manifests of published days, all in one commit: readers see every day without those who were
    /// forgotten, or none.
    ///
    /// # Errors
    /// `lake.moved` where anybody published since the days were read; the errors of [`Table::commit`] and of writing.
    pub async fn revise(&self, days: &[PublishedDay], revision: &str, at: DateTime<Utc>) -> Result<()> {
        if days.is_empty() {
            return Ok(());
        }
        self.commit(days, Fence::of_run(revision), at).await.map(drop)
    }

    /// Commits rows of days in the place of those that stand.
    async fn commit(&self, rows: &[PublishedDay], fence: Fence, at: DateTime<Utc>) -> Result<Outcome> {
        let Some(first) = rows.first() else { return Err(damaged("snapshots")) };
        let table = published_table()?;
        let schema = self.table.file_schema(&table.schema())?;
        // A run that publishes again must not write over a row that it has committed already.
        let file_id = uuid::Uuid::now_v7().simple().to_string();
        let mut files = Vec::new();
        for row in rows {
            let batch = batch(row, &schema)?;
            let stream = RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)]).boxed());
            let partition = Partition {
                table: &table,
                schema: Arc::clone(&schema),
                as_of: row.as_of,
                run_id: &file_id,
                file_rows: FILE_ROWS,
            };
            files.extend(parts::write(&self.lake, &partition, Box::pin(stream)).await?);
        }
        let days: Vec<_> = rows.iter().map(|row| row.as_of).collect();
        self.table
            .commit(&Commit {
                days: &days,
                files: &files,
                schema,
                fence,
                run_id: &first.run_id,
                definition_hash: &first.definition_hash,
                source: &first.manifest,
                at,
                strict: true,
            })
            .await
    }
}

fn json_of(counts: &BTreeMap<String, u64>) -> Result<String> {
    serde_json::to_string(counts).map_err(|e| Error::internal("lake.snapshots", e.to_string()).with_source(e))
}

/// One row, in the columns of the table's files.
fn batch(day: &PublishedDay, schema: &SchemaRef) -> Result<RecordBatch> {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let previous = day.previous_as_of.map(Date32Type::from_naive_date);
    let published_at = TimestampMicrosecondArray::from(vec![day.published_at.timestamp_micros()]).with_timezone("UTC");
    let row = RecordBatch::try_from_iter_with_nullable([
        ("previous_as_of", Arc::new(Date32Array::from(vec![previous])) as ArrayRef, true),
        ("run_id", text(&day.run_id), true),
        ("published_at", Arc::new(published_at) as ArrayRef, true),
        ("as_known", Arc::new(BooleanArray::from(vec![day.as_known])) as ArrayRef, true),
        ("stale", Arc::new(BooleanArray::from(vec![day.stale])) as ArrayRef, true),
        ("timezone", text(&day.timezone), true),
        ("manifest", text(&day.manifest), true),
        ("table_versions", text(&json_of(&day.table_versions)?), true),
        ("row_counts", text(&json_of(&day.row_counts)?), true),
        ("definition_hash", text(&day.definition_hash), true),
    ])?;
    conform(&row, schema)
}

fn damaged(path: &str) -> Error {
    Error::storage("lake.damaged", "a row of `snapshots` cannot be read")
        .in_file(path)
        .with_hint("restore the file from a backup")
}

fn parse(as_of: NaiveDate, file: Bytes, path: &str) -> Result<Vec<PublishedDay>> {
    let mut days = Vec::new();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    for batch in batches.map_err(|e| damaged(path).with_source(e))? {
        let batch = batch.map_err(|e| damaged(path).with_source(e))?;
        for row in 0..batch.num_rows() {
            days.push(parse_row(as_of, &batch, row).ok_or_else(|| damaged(path))?);
        }
    }
    Ok(days)
}

fn parse_row(as_of: NaiveDate, batch: &RecordBatch, row: usize) -> Option<PublishedDay> {
    let column = |name: &str| batch.column_by_name(name).filter(|column| column.is_valid(row));
    let text = |name: &str| Some(column(name)?.as_string_opt::<i32>()?.value(row).to_owned());
    let flag = |name: &str| Some(column(name)?.as_boolean_opt()?.value(row));
    let published_at = column("published_at")?.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
    let previous = column("previous_as_of").and_then(|days| Some(days.as_primitive_opt::<Date32Type>()?.value(row)));
    Some(PublishedDay {
        as_of,
        previous_as_of: match previous {
            Some(days) => Some(Date32Type::to_naive_date_opt(days)?),
            None => None,
        },
        run_id: text("run_id")?,
        published_at: DateTime::from_timestamp_micros(published_at)?,
        as_known: flag("as_known"),
        stale: flag("stale")?,
        timezone: text("timezone")?,
        manifest: text("manifest")?,
        table_versions: serde_json::from_str(&text("table_versions")?).ok()?,
        row_counts: serde_json::from_str(&text("row_counts")?).ok()?,
        definition_hash: text("definition_hash")?,
    })
}

#[cfg(test)]
mod tests;
