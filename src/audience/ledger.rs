//! The record of exports: one row an export in `exports`, one row a customer in `export_members`.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::engine::statement::{Params, literal, plan_text};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::lake::parts::{self, DataFile, Partition};
use crate::lake::table::{Commit, Fence, Outcome, Table};
use crate::schema::published::{self, Published};
use crate::snapshot::reading::Reading;

/// What is recorded of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub export_id: String,
    /// The segments, in the order in which they claimed customers; empty for a query.
    pub segments: Vec<String>,
    /// The query.
    pub query: Option<String>,
    /// The published day whose members they were.
    pub as_of: NaiveDate,
    /// The format.
    pub format: String,
    /// Where it went.
    pub destination: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Counts by step, and what else was settled, as a JSON object.
    pub counts: String,
}

/// Commits after which the ledger's log gets a checkpoint. Every export replays what comes after it, and fifty at once do so
/// at the same time; the weekly upkeep is too late for a server that is asked all day.
const CHECKPOINT_EVERY: u64 = 10;

/// Files of one table that are written and not committed.
pub(super) struct Pending {
    table: Table,
    schema: datafusion::arrow::datatypes::SchemaRef,
    files: Vec<DataFile>,
}

async fn write(
    lake: &Lake,
    name: &str,
    id: &str,
    as_of: NaiveDate,
    stream: SendableRecordBatchStream,
) -> Result<Pending> {
    let published: Published = published::named(name)
        .ok_or_else(|| Error::internal("audience.ledger", format!("the contract has no table `{name}`")))?;
    let table = Box::pin(Table::open(lake, &published)).await?;
    let schema = table.file_schema(&stream.schema())?;
    let partition =
        Partition { table: &published, schema: Arc::clone(&schema), as_of, run_id: id, file_rows: parts::FILE_ROWS };
    let files = Box::pin(parts::write(lake, &partition, stream)).await?;
    Ok(Pending { table, schema, files })
}

async fn commit(pending: Pending, id: &str, as_of: NaiveDate, at: DateTime<Utc>) -> Result<()> {
    if pending.files.is_empty() {
        return Ok(());
    }
    let days = [as_of];
    let commit = Commit {
        days: &days,
        files: &pending.files,
        schema: pending.schema,
        fence: Fence::of_run(id),
        run_id: id,
        definition_hash: "",
        source: "",
        at,
        strict: false,
    };
    let outcome = Box::pin(pending.table.commit(&commit)).await?;
    if matches!(outcome, Outcome::Committed { version } if version > 0 && version % CHECKPOINT_EVERY == 0)
        && let Err(error) = Box::pin(pending.table.checkpoint()).await
    {
        // The export is recorded all the same; the log gets its checkpoint ten exports later, or by the upkeep.
        tracing::warn!(code = error.code(), "the log of the exports has no new checkpoint");
    }
    Ok(())
}

/// Writes who was treated and who was held out (`export_id`, `customer_id`, `variant`); nothing is visible yet.
pub(super) async fn write_members(
    lake: &Lake,
    id: &str,
    as_of: NaiveDate,
    stream: SendableRecordBatchStream,
) -> Result<Pending> {
    write(lake, "export_members", id, as_of, stream).await
}

/// Commits an export: its members first, then the row that tells of it.
pub(super) async fn keep(lake: &Lake, record: &Record, members: Pending) -> Result<()> {
    commit(members, &record.export_id, record.as_of, record.created_at).await?;
    let batch = batch(record)?;
    let stream = RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)]).boxed());
    let row = write(lake, "exports", &record.export_id, record.as_of, Box::pin(stream)).await?;
    commit(row, &record.export_id, record.as_of, record.created_at).await
}

fn batch(record: &Record) -> Result<RecordBatch> {
    let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let element = Field::new("element", DataType::Utf8, true);
    let mut segments = ListBuilder::new(StringBuilder::new()).with_field(element);
    if record.query.is_some() {
        segments.append_null();
    } else {
        segments.append_value(record.segments.iter().map(Some));
    }
    let at = TimestampMicrosecondArray::from(vec![record.created_at.timestamp_micros()]).with_timezone("UTC");
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("export_id", text(Some(&record.export_id)), true),
        ("segments", Arc::new(segments.finish()) as ArrayRef, true),
        ("query", text(record.query.as_deref()), true),
        ("format", text(Some(&record.format)), true),
        ("destination", text(Some(&record.destination)), true),
        ("requested_by", text(Some(&record.requested_by)), true),
        ("created_at", Arc::new(at) as ArrayRef, true),
        ("counts", text(Some(&record.counts)), true),
    ])?)
}

/// The newest export of a format to a destination, of those before an instant where one is given. The export's own day in the
/// destination stands for any: a file a day is one destination.
///
/// # Errors
/// What the ledger fails with.
pub async fn last_to(
    reading: &Reading,
    destination: &str,
    day: NaiveDate,
    format: &str,
    before: Option<DateTime<Utc>>,
) -> Result<Option<String>> {
    let until = before.map_or_else(String::new, |before| {
        let micros = before.timestamp_micros();
        format!(" AND created_at < arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
    });
    let sql = format!(
        "SELECT export_id FROM exports \
         WHERE replace(destination, CAST(as_of AS VARCHAR), '{{as_of}}') = {} AND format = {}{until} \
         ORDER BY created_at DESC, export_id DESC LIMIT 1",
        literal(&destination.replace(&day.to_string(), "{as_of}")),
        literal(format)
    );
    Ok(reading.texts(&sql).await?.into_iter().next())
}

/// The newest export of a day to a destination that somebody asked for.
///
/// # Errors
/// What the ledger fails with.
pub async fn delivered(
    reading: &Reading,
    destination: &str,
    requested_by: &str,
    day: NaiveDate,
) -> Result<Option<Record>> {
    let sql = format!(
        "SELECT export_id FROM exports WHERE destination = {} AND requested_by = {} AND as_of = DATE '{day}' \
         ORDER BY created_at DESC, export_id DESC LIMIT 1",
        literal(destination),
        literal(requested_by)
    );
    match reading.texts(&sql).await?.first() {
        Some(id) => find(reading, id).await.map(Some),
        None => Ok(None),
    }
}

/// When an export was made, of which day, and of which segments.
///
/// # Errors
/// `audience.unknown_export`.
pub async fn find(reading: &Reading, export_id: &str) -> Result<Record> {
    let sql = format!(
        "SELECT export_id, array_to_string(segments, ','), query, CAST(as_of AS VARCHAR), format, destination, requested_by, \
         CAST(CAST(created_at AS BIGINT) AS VARCHAR), counts FROM exports WHERE export_id = {}",
        literal(export_id)
    );
    for batch in plan_text(&reading.session, &sql, &Params::new()).await?.collect().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        let text = |column: usize| -> Result<Option<String>> {
            let values = datafusion::arrow::compute::cast(batch.column(column), &DataType::Utf8)?;
            let values = values.as_string::<i32>();
            Ok(values.is_valid(0).then(|| values.value(0).to_owned()))
        };
        let filled = |column: usize| text(column).map(Option::unwrap_or_default);
        let micros: i64 = filled(7)?.parse().unwrap_or(0);
        return Ok(Record {
            export_id: filled(0)?,
            segments: filled(1)?.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
            query: text(2)?,
            as_of: crate::calendar::parse_date(&filled(3)?)?,
            format: filled(4)?,
            destination: filled(5)?,
            requested_by: filled(6)?,
            created_at: DateTime::from_timestamp_micros(micros).unwrap_or_default(),
            counts: filled(8)?,
        });
    }
    Err(Error::not_found("audience.unknown_export", format!("there is no export `{export_id}`"))
        .with_hint("`alluvial query \"SELECT export_id, segments, format, created_at FROM exports\"` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::testing::memory;

    #[tokio::test]
    async fn the_ledgers_log_gets_a_checkpoint_every_few_exports() {
        let lake = memory();
        let as_of = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        for export in 0..CHECKPOINT_EVERY + 1 {
            let record = Record {
                export_id: format!("{export:032}"),
                segments: vec!["buyers".to_owned()],
                query: None,
                as_of,
                format: "email".to_owned(),
                destination: "out/{as_of}.csv".to_owned(),
                requested_by: "shell".to_owned(),
                created_at: DateTime::UNIX_EPOCH,
                counts: "{}".to_owned(),
            };
            let nobody = batch(&record).unwrap().slice(0, 0);
            let nobody = RecordBatchStreamAdapter::new(nobody.schema(), futures::stream::empty().boxed());
            let members = write(&lake, "exports", "none", as_of, Box::pin(nobody)).await.unwrap();
            assert!(members.files.is_empty());
            keep(&lake, &record, members).await.unwrap();
        }
        let log = lake.list("tables/exports/_delta_log").await.unwrap();
        let checkpoints: Vec<_> = log.iter().filter(|object| object.path.ends_with(".parquet")).collect();
        assert_eq!(checkpoints.len(), 1, "{log:?}");
        let contract = published::named("exports").unwrap();
        let table = Box::pin(Table::open(&lake, &contract)).await.unwrap();
        assert_eq!(table.files().len() as u64, CHECKPOINT_EVERY + 1, "nothing is lost by it");
    }
}
