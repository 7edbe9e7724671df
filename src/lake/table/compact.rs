//! Days of many small files rewritten into few: ledgers get one file a run or an export. Never part of publishing.
//!
//! Only tables that are appended to are: no manifest names their files, and what a night publishes is written whole. The
//! rows of a day keep their order, that of the files' names, so the same files become the same bytes. The new files are
//! there before one commit names them, and the old ones stay until they are swept: whoever reads the version before goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake_core::kernel::Action;
use deltalake_core::table::state::DeltaTableState;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::replace::{Change, removed};
use super::{LiveFile, Table};
use crate::error::{Error, Kind, Result};
use crate::lake::parts::{self, DataFile, FILE_ROWS, Partition, folder};
use crate::lake::table::log::live;
use crate::lake::{Lake, inspect, wrapped};
use crate::schema::published::{Keeps, Published};

/// Files from this size on are left as they are. Of smaller ones a day has one at most afterwards.
const SMALL_BYTES: u64 = 8 << 20;

/// What became of small files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files that were.
    pub before: u64,
    /// Files that hold their rows now.
    pub after: u64,
}

/// The files of a day that are merged, and those that were written in their place; nothing is committed yet.
#[derive(Debug)]
struct Merged {
    as_of: NaiveDate,
    old: Vec<String>,
    new: Vec<DataFile>,
}

impl Table {
    /// Merges the small files of every day of a table that is appended to, all in one version. A day whose files changed
    /// meanwhile (somebody was forgotten) is left for the next time.
    ///
    /// # Errors
    /// Those of [`Table::open`] and of writing; a file that cannot be read; `lake.commit` where the log could not be written,
    /// `lake.moved` where others commit all the time. What is not committed is swept as what died on the way.
    pub async fn compact(lake: &Lake, published: &Published, at: DateTime<Utc>) -> Result<Compacted> {
        let run_id = uuid::Uuid::now_v7().simple().to_string();
        let merged = Box::pin(merge(lake, published, &run_id)).await?;
        Box::pin(replace(lake, published, &merged, &run_id, at)).await
    }
}

/// Writes the rows of the small files of every day that has several.
async fn merge(lake: &Lake, published: &Published, run_id: &str) -> Result<Vec<Merged>> {
    if published.keeps != Keeps::Appended {
        return Ok(Vec::new());
    }
    let table = Box::pin(Table::open(lake, published)).await?;
    let Some(schema) = table.schema()? else { return Ok(Vec::new()) };
    let mut days: BTreeMap<NaiveDate, Vec<LiveFile>> = BTreeMap::new();
    for file in table.files().into_iter().filter(|file| file.size < SMALL_BYTES) {
        if let Some(day) = file.as_of {
            days.entry(day).or_default().push(file);
        }
    }
    let mut merged = Vec::new();
    for (as_of, small) in days.into_iter().filter(|(_, small)| small.len() > 1) {
        let expected: Option<u64> = small.iter().map(|file| file.rows).sum();
        let old: Vec<String> = small.iter().map(|file| file.path.clone()).collect();
        let (from, columns) = (lake.clone(), Arc::clone(&schema));
        let rows = futures::stream::iter(small)
            .then(move |file| read(from.clone(), file, Arc::clone(&columns)).boxed())
            .try_flatten();
        let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), rows);
        let partition =
            Partition { table: published, schema: Arc::clone(&schema), as_of, run_id, file_rows: FILE_ROWS };
        let new = Box::pin(parts::write(lake, &partition, Box::pin(stream))).await?;
        let written: u64 = new.iter().map(|file| file.rows).sum();
        if expected.is_some_and(|expected| expected != written) {
            let why = format!("the files of `{}` for {as_of} hold other rows than its log tells", published.name);
            return Err(Error::storage("lake.damaged", why).with_hint("look at them with `alluvial doctor --all`"));
        }
        merged.push(Merged { as_of, old, new });
    }
    Ok(merged)
}

/// Commits what was written, and removes what turns out to be for nothing.
async fn replace(
    lake: &Lake,
    published: &Published,
    merged: &[Merged],
    run_id: &str,
    at: DateTime<Utc>,
) -> Result<Compacted> {
    if merged.is_empty() {
        return Ok(Compacted::default());
    }
    let change = Change { run_id, source: "compaction", moves_rows: true };
    Box::pin(Table::change(lake, published, &change, |table, base| actions(table, base, merged, at))).await?;
    let table = Box::pin(Table::open(lake, published)).await?;
    let named: Vec<String> = table.files().into_iter().map(|file| file.path).collect();
    let mut done = Compacted::default();
    for day in merged {
        if day.new.iter().all(|file| named.contains(&file.path)) {
            done.before += day.old.len() as u64;
            done.after += day.new.len() as u64;
            continue;
        }
        for file in day.new.iter().filter(|file| !named.contains(&file.path)) {
            lake.delete(&file.path).await?;
        }
    }
    Ok(done)
}

/// Days all of whose old files are still there: what was taken out of one of them meanwhile must not come back.
fn actions(table: &Table, base: &DeltaTableState, merged: &[Merged], at: DateTime<Utc>) -> Vec<Action> {
    let prefix = format!("{}/", folder(table.published.name, None));
    let files = live(base, |_| true);
    let mut actions = Vec::new();
    for day in merged {
        let old: Option<Vec<_>> =
            day.old.iter().map(|path| files.get(path.strip_prefix(&prefix).unwrap_or(path))).collect();
        let Some(old) = old else { continue };
        actions.extend(old.into_iter().map(|view| removed(view, false, at)));
        actions.extend(day.new.iter().map(|file| table.added(file, Some(day.as_of), false, at)));
    }
    actions
}

type Rows = futures::stream::BoxStream<'static, Result<RecordBatch, DataFusionError>>;

/// A file's rows in the table's columns; one that the file lacks is null.
async fn read(lake: Lake, file: LiveFile, schema: SchemaRef) -> Result<Rows, DataFusionError> {
    let path = lake.path(&file.path);
    inspect::parquet(lake.store().as_ref(), &path, file.size).await?;
    let bytes = lake.get(&file.path).await?;
    let damaged = |error| wrapped(error, (Kind::Storage, "lake.damaged"), path.as_ref());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
    let rows = reader.map_err(damaged)?.map(move |batch| {
        let batch = batch?;
        let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
        let named = schema.fields().iter().map(|field| field.name().as_str()).zip(columns);
        Ok(RecordBatch::try_from_iter_with_nullable(named.map(|(name, column)| (name, column, true)))?)
    });
    Ok(futures::stream::iter(rows).boxed())
}

#[cfg(test)]
mod tests;
