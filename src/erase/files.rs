//! Parquet files read row by row, and written anew without some of their rows.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, nullif};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use tokio::io::AsyncWriteExt;

use super::matcher::Matcher;
use crate::engine::BATCH_ROWS;
use crate::engine::encode::Encoder;
use crate::error::{Error, Kind, Result};
use crate::lake::parts::{self, DataFile, FILE_ROWS, Partition};
use crate::lake::{Lake, failure, inspect};
use crate::land::OfForgotten;
use crate::schema::published::Published;

/// Rows of a row group of a landed file.
const GROUP_ROWS: usize = 128 << 10;
/// Bytes of one part of an upload.
const UPLOAD_BYTES: usize = 8 << 20;

type Builder = ParquetRecordBatchStreamBuilder<StoredFile>;

/// A file in the store whose footer is read and checked.
struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    metadata: Arc<ParquetMetaData>,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { Ok(self.store.get_range(&self.path, range).await?) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        futures::future::ready(Ok(Arc::clone(&self.metadata))).boxed()
    }
}

async fn open(lake: &Lake, path: &Path, size: u64) -> Result<Builder> {
    let store = lake.store();
    let metadata = inspect::parquet(store.as_ref(), path, size).await?.metadata;
    let builder = ParquetRecordBatchStreamBuilder::new(StoredFile { store, path: path.clone(), metadata }).await;
    Ok(builder.map_err(|error| read_failure(error, path))?.with_batch_size(BATCH_ROWS))
}

fn read_failure(error: parquet::errors::ParquetError, path: &Path) -> Error {
    crate::lake::wrapped(error, (Kind::Storage, "lake.damaged"), path.as_ref())
}

/// Reads some columns of a published table's file, batch by batch.
pub(super) async fn read(
    lake: &Lake,
    below: &str,
    size: u64,
    columns: &[&str],
    mut each: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let path = lake.path(below);
    let builder = open(lake, &path, size).await?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let mut stream = builder.with_projection(mask).build().map_err(|error| read_failure(error, &path))?;
    while let Some(batch) = stream.try_next().await.map_err(|error| read_failure(error, &path))? {
        each(&batch)?;
    }
    Ok(())
}

/// A file of a published table.
#[derive(Debug, Clone)]
pub(super) struct TableFile {
    pub(super) table: Published,
    /// The day of its folder.
    pub(super) as_of: Option<NaiveDate>,
    /// Its path below the lake's root.
    pub(super) below: String,
    pub(super) size: u64,
    /// The rows in it that are somebody's.
    pub(super) rows: u64,
}

/// Writes a published table's file anew, under a name that nothing has; none where no row is left.
pub(super) async fn rewrite(
    lake: &Lake,
    file: &TableFile,
    matcher: &Arc<Matcher>,
    name: &str,
) -> Result<Option<DataFile>> {
    let path = lake.path(&file.below);
    let builder = open(lake, &path, file.size).await?;
    let schema = SchemaRef::clone(builder.schema());
    let stream = builder.build().map_err(|error| read_failure(error, &path))?;
    let (matcher, table) = (Arc::clone(matcher), file.table.name);
    let kept = stream.map(move |batch| {
        let batch = batch.map_err(|error| DataFusionError::ParquetError(Box::new(error)))?;
        Ok::<_, DataFusionError>(matcher.without(table, &batch)?)
    });
    let kept = kept.try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
    let stream = RecordBatchStreamAdapter::new(SchemaRef::clone(&schema), kept.boxed());
    let partition = Partition {
        table: &file.table,
        schema,
        as_of: file.as_of.unwrap_or_default(),
        run_id: name,
        file_rows: FILE_ROWS,
    };
    let mut written = Box::pin(parts::write(lake, &partition, Box::pin(stream))).await?;
    match written.len() {
        0 | 1 => Ok(written.pop()),
        _ => Err(Error::internal("forget.file", "a file became several")),
    }
}

/// What is written, until it is sent.
#[derive(Debug, Default)]
struct Pending(Vec<u8>);

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes a landed file anew in its place: without somebody's rows, and without their names in the rows of others. The file
/// keeps its columns and what it says of itself. Readers see the one or the other.
pub(super) async fn rewrite_landed(lake: &Lake, of: &OfForgotten) -> Result<()> {
    let path = &of.file.path;
    let refused = |error| failure(error, path.as_ref());
    let meta = lake.store().head(path).await.map_err(refused)?;
    if meta.size != of.file.size || meta.e_tag != of.file.etag {
        return Err(Error::new(Kind::Transient, "lake.moved", "a landed file was written over while it was read")
            .in_file(of.file.name.clone()));
    }
    let builder = open(lake, path, of.file.size).await?;
    let read = SchemaRef::clone(builder.schema());
    let keys = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let keys: Vec<_> = keys.into_iter().filter(|pair| pair.key != ARROW_SCHEMA_META_KEY).collect();
    let nullable = |field: &Arc<Field>| {
        if of.named.contains_key(field.name()) {
            Arc::new(field.as_ref().clone().with_nullable(true))
        } else {
            Arc::clone(field)
        }
    };
    let fields: Vec<_> = read.fields().iter().map(nullable).collect();
    let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, read.metadata().clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata((!keys.is_empty()).then_some(keys))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties);
    let mut encoder = Encoder::new(Pending::default(), SchemaRef::clone(&schema), options, GROUP_ROWS, 1)?;
    let mut upload = BufWriter::with_capacity(lake.store(), path.clone(), UPLOAD_BYTES);
    let outcome = Box::pin(async {
        let mut stream = builder.build().map_err(|error| read_failure(error, path))?;
        let mut first = 0_u64;
        while let Some(batch) = stream.try_next().await.map_err(|error| read_failure(error, path))? {
            let count = batch.num_rows() as u64;
            encoder.write(&without(of, &batch, first, &schema)?).await?;
            first += count;
            send(&mut upload, std::mem::take(&mut encoder.sink().0)).await.map_err(refused)?;
        }
        let rest = encoder.finish().await?;
        send(&mut upload, rest.0).await.map_err(refused)
    })
    .await;
    if let Err(error) = outcome {
        // The first failure is the one to tell.
        let _ = upload.abort().await;
        return Err(error);
    }
    upload.shutdown().await.map_err(|error| Error::from(error).in_file(of.file.name.clone()))
}

async fn send(upload: &mut BufWriter, bytes: Vec<u8>) -> object_store::Result<()> {
    if bytes.is_empty() { Ok(()) } else { upload.put(Bytes::from(bytes)).await }
}

/// Which rows of a batch are in an ascending list of row numbers.
fn listed(rows: &[u64], first: u64, count: usize) -> BooleanArray {
    let from = rows.partition_point(|row| *row < first);
    let mut next = rows.get(from..).unwrap_or_default().iter().peekable();
    (first..first + count as u64)
        .map(|row| {
            while next.peek().is_some_and(|listed| **listed < row) {
                next.next();
            }
            Some(next.peek().is_some_and(|listed| **listed == row))
        })
        .collect()
}

fn without(of: &OfForgotten, batch: &RecordBatch, first: u64, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    for (name, rows) in &of.named {
        if let Ok(place) = schema.index_of(name)
            && let Some(column) = columns.get_mut(place)
        {
            *column = nullif(column, &listed(rows, first, batch.num_rows()))?;
        }
    }
    let batch = RecordBatch::try_new(SchemaRef::clone(schema), columns)?;
    let kept = arrow::compute::not(&listed(&of.rows, first, batch.num_rows()))?;
    Ok(filter_record_batch(&batch, &kept)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_their_number_in_the_file() {
        let marked = |rows: &[u64], first, count| {
            listed(rows, first, count).iter().flatten().map(u8::from).map(|bit| bit.to_string()).collect::<String>()
        };
        assert_eq!(marked(&[0, 3, 3, 9], 0, 5), "10010");
        assert_eq!(marked(&[0, 3, 9], 5, 5), "00001");
        assert_eq!(marked(&[], 5, 2), "00");
    }
}
