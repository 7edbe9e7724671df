//! Data files: the same rows give the same bytes.
//!
//! A writer's bytes depend on how its input is cut into batches, so rows are cut anew into batches of one length, row
//! groups and files of a fixed number of rows, under properties that never depend on the machine. Rows must come
//! sorted by the table's key. Two row groups at most are in memory, encoded (of few columns, one more for each thread):
//! columns are encoded on several threads, and what is finished is uploaded while the next is encoded. Size, rows and CRC32C
//! are counted on the way: parquet's own page checksums cannot be written.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::BatchCoalescer;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Date32Type, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use bytes::Bytes;
use chrono::NaiveDate;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::engine::different::mostly_different;
use crate::engine::encode::Encoder;
use crate::error::{Error, Result};
use crate::lake::schema::conform;
use crate::lake::{Lake, failure};
use crate::schema::published::{AS_OF, Published};

/// Rows of a batch as it reaches the writer.
const BATCH_ROWS: usize = 8_192;
/// Rows of a row group: a whole number of batches.
const GROUP_ROWS: usize = 32 * BATCH_ROWS;
/// Rows of a file: a whole number of row groups.
pub const FILE_ROWS: usize = 16 * GROUP_ROWS;
/// Bytes of one part of an upload.
const UPLOAD_BYTES: usize = 8 << 20;
/// What files say of their maker. It names the format, not the release: a new release gives the same bytes.
const CREATED_BY: &str = "alluvial version 1.0.0 (build 1)";

/// A data file of a published table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its path below the lake's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// CRC32C (Castagnoli) of the whole file.
    pub crc32c: u32,
}

/// The folder of a table's data files, below the lake's root.
pub fn folder(table: &str, as_of: Option<NaiveDate>) -> String {
    match as_of {
        Some(as_of) => format!("tables/{table}/{AS_OF}={as_of}"),
        None => format!("tables/{table}"),
    }
}

/// What `write` needs to know of the rows.
#[derive(Debug, Clone)]
pub struct Partition<'a> {
    /// The table.
    pub table: &'a Published,
    /// The columns of its files, from [`crate::lake::table::Table::file_schema`].
    pub schema: SchemaRef,
    /// The day that the rows are about.
    pub as_of: NaiveDate,
    /// The attempt that writes them: part of the files' names, and unique, so that no file is ever written twice.
    pub run_id: &'a str,
    /// Rows of a file, [`FILE_ROWS`] but in tests.
    pub file_rows: usize,
}

/// Writes the rows of a stream as data files of one day (of the whole table where it has no days). The stream is
/// sorted by the table's key. Nothing is visible until the files are committed.
///
/// # Errors
/// `lake.not_sorted` for rows out of order or with a key twice, `lake.wrong_day` for rows of another day (where the
/// stream has an `as_of`), `lake.run_id`; the errors of [`conform`], of the stream, and of the store.
pub async fn write(
    lake: &Lake,
    partition: &Partition<'_>,
    mut stream: SendableRecordBatchStream,
) -> Result<Vec<DataFile>> {
    check_run_id(partition.run_id)?;
    let mut keys = KeyOrder::new(partition.table, &partition.schema)?;
    let mut files = Vec::new();
    let mut open: Option<OpenFile> = None;
    let mut cut = BatchCoalescer::new(Arc::clone(&partition.schema), BATCH_ROWS);
    let outcome = async {
        let mut done = false;
        while !done {
            match stream.try_next().await? {
                Some(batch) => {
                    check_day(&batch, partition)?;
                    let batch = conform(&batch, &partition.schema)?;
                    keys.check(&batch)?;
                    cut.push_batch(batch)?;
                }
                None => {
                    cut.finish_buffered_batch()?;
                    done = true;
                }
            }
            while let Some(batch) = cut.next_completed_batch() {
                let file = match &mut open {
                    Some(file) => file,
                    None => open.insert(OpenFile::new(lake, partition, files.len(), &batch)?),
                };
                file.write(&batch).await?;
                if file.rows >= partition.file_rows as u64
                    && let Some(file) = open.take()
                {
                    files.push(Box::pin(file.finish()).await?);
                }
            }
        }
        if let Some(file) = open.take() {
            files.push(Box::pin(file.finish()).await?);
        }
        Ok::<_, Error>(())
    };
    let outcome = Box::pin(outcome).await;
    if let Some(mut unfinished) = open {
        // The first failure is the one to tell.
        let _ = unfinished.upload.abort().await;
    }
    outcome.map(|()| files)
}

/// Run ids become file names.
fn check_run_id(run_id: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if run_id.is_empty() || run_id.len() > 100 || !run_id.chars().all(fits) {
        return Err(Error::internal("lake.run_id", "a run id is 1 to 100 letters, digits, dashes and underscores"));
    }
    Ok(())
}

fn check_day(batch: &RecordBatch, partition: &Partition<'_>) -> Result<()> {
    if !partition.table.by_day() {
        return Ok(());
    }
    let Some(column) = batch.column_by_name(AS_OF) else { return Ok(()) };
    let days = arrow::compute::cast(column, &DataType::Date32)?;
    let days = days.as_primitive::<Date32Type>();
    let ours = Date32Type::from_naive_date(partition.as_of);
    if days.null_count() > 0 || days.values().iter().any(|day| *day != ours) {
        return Err(Error::internal(
            "lake.wrong_day",
            format!("the rows for `{}` of {} hold rows of another day", partition.table.name, partition.as_of),
        ));
    }
    Ok(())
}

/// Rows must come in strictly ascending order of the key: sorted, so that bytes are the same, and none twice.
struct KeyOrder {
    table: &'static str,
    columns: Vec<usize>,
    converter: Option<RowConverter>,
    last: Option<OwnedRow>,
}

impl KeyOrder {
    fn new(table: &Published, schema: &Schema) -> Result<Self> {
        let columns = table.key.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let options = SortOptions { descending: false, nulls_first: false };
        let fields = columns
            .iter()
            .map(|i| SortField::new_with_options(schema.field(*i).data_type().clone(), options))
            .collect::<Vec<_>>();
        let converter = if columns.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        Ok(Self { table: table.name, columns, converter, last: None })
    }

    fn check(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(converter) = &self.converter else { return Ok(()) };
        let columns: Vec<_> = self.columns.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let rows = converter.convert_columns(&columns)?;
        let not_sorted = || {
            Error::internal(
                "lake.not_sorted",
                format!("the rows for `{}` are not sorted by its key, or hold a key twice", self.table),
            )
        };
        let count = rows.num_rows();
        if count == 0 {
            return Ok(());
        }
        if self.last.as_ref().is_some_and(|last| last.row() >= rows.row(0))
            || (1..count).any(|i| rows.row(i - 1) >= rows.row(i))
        {
            return Err(not_sorted());
        }
        self.last = Some(rows.row(count - 1).owned());
        Ok(())
    }
}

/// Counts what the writer writes, and holds it until it is uploaded.
#[derive(Debug, Default)]
struct Tally {
    pending: Vec<u8>,
    size: u64,
    crc32c: u32,
}

impl Write for Tally {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        self.size += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct OpenFile {
    below: String,
    encoder: Encoder<Tally>,
    upload: BufWriter,
    rows: u64,
}

impl OpenFile {
    /// A file whose first rows are those of `first`.
    fn new(lake: &Lake, partition: &Partition<'_>, number: usize, first: &RecordBatch) -> Result<Self> {
        let as_of = partition.table.by_day().then_some(partition.as_of);
        let below = format!("{}/part-{number:05}-{}.parquet", folder(partition.table.name, as_of), partition.run_id);
        let options = ArrowWriterOptions::new()
            .with_properties(properties(partition.table, &mostly_different(first)?)?)
            // Arrow's own copy of the schema says nothing that Parquet's does not.
            .with_skip_arrow_metadata(true);
        let lanes = tokio::runtime::Handle::current().metrics().num_workers();
        let encoder = Encoder::new(Tally::default(), Arc::clone(&partition.schema), options, GROUP_ROWS, lanes)?;
        let upload = BufWriter::with_capacity(lake.store(), lake.path(&below), UPLOAD_BYTES).with_max_concurrency(4);
        Ok(Self { below, encoder, upload, rows: 0 })
    }

    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.write(batch).await?;
        self.rows += batch.num_rows() as u64;
        // Bytes appear when a row group is complete.
        let pending = std::mem::take(&mut self.encoder.sink().pending);
        send(&mut self.upload, pending, &self.below).await
    }

    async fn finish(self) -> Result<DataFile> {
        let Self { below, encoder, mut upload, rows } = self;
        let tally = encoder.finish().await?;
        send(&mut upload, tally.pending, &below).await?;
        upload.shutdown().await.map_err(|e| failure(downcast(e), &below))?;
        Ok(DataFile { path: below, size: tally.size, rows, crc32c: tally.crc32c })
    }
}

async fn send(upload: &mut BufWriter, bytes: Vec<u8>, below: &str) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    upload.put(Bytes::from(bytes)).await.map_err(|e| failure(e, below))
}

/// The store's own error out of the one that it travels in.
fn downcast(error: std::io::Error) -> object_store::Error {
    let text = error.to_string();
    match error.into_inner().map(|inner| inner.downcast::<object_store::Error>()) {
        Some(Ok(ours)) => *ours,
        Some(Err(other)) => object_store::Error::Generic { store: "upload", source: other },
        None => object_store::Error::Generic { store: "upload", source: text.into() },
    }
}

fn properties(table: &Published, different: &[(ColumnPath, DataType)]) -> Result<WriterProperties> {
    // Statistics stand in clear text in the footer: contact columns have none.
    let statistics = if table.contact { EnabledStatistics::None } else { EnabledStatistics::Chunk };
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(statistics);
    for key in table.key {
        let path = ColumnPath::from(*key);
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
    }
    for (path, kind) in different {
        properties = properties.set_column_dictionary_enabled(path.clone(), false);
        let is_text = matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        // Ids that come in their order begin alike.
        if is_text && table.key.iter().any(|key| path.parts() == [(*key).to_owned()]) {
            properties = properties.set_column_encoding(path.clone(), Encoding::DELTA_BYTE_ARRAY);
        }
    }
    Ok(properties.build())
}

#[cfg(test)]
mod tests;
