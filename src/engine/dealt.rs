//! Rows dealt to buckets on the disk as they come, and the buckets read one after the other: what both ways of sorting by way of
//! the disk share.
//!
//! A thread writes one file, and what it holds of each bucket becomes a row group of it, so that a bucket can be read again
//! alone. What is held meanwhile is a few batches, however many rows there are.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};

use super::different::mostly_different;
use super::scratch::properties;
use crate::error::{Error, Result};

/// Rows that a thread holds before they go to its file; with many buckets as many as make row groups worth reading.
const HELD_ROWS: usize = 1 << 16;
const LEAST_OF_A_GROUP: usize = 512;

/// A file, and which of its row groups are of which bucket.
#[derive(Debug, Clone)]
pub(super) struct Dealt {
    path: PathBuf,
    groups: BTreeMap<u32, Vec<usize>>,
}

/// A file of dealt rows whose footer is read.
#[derive(Debug)]
pub(super) struct DealtFile {
    path: PathBuf,
    footer: ArrowReaderMetadata,
    groups: BTreeMap<u32, Vec<usize>>,
}

impl DealtFile {
    /// Opens what was dealt; files without rows are left out.
    pub(super) fn open_all(dealt: Vec<Dealt>) -> Result<Vec<Self>> {
        let open = |file: Dealt| {
            let footer = ArrowReaderMetadata::load(&File::open(&file.path)?, ArrowReaderOptions::new())?;
            Ok(Self { path: file.path, footer, groups: file.groups })
        };
        dealt.into_iter().filter(|file| !file.groups.is_empty()).map(open).collect()
    }

    /// The buckets that any of the files has rows of, in order.
    pub(super) fn buckets(files: &[Self]) -> Vec<u32> {
        let mut buckets: Vec<u32> = files.iter().flat_map(|file| file.groups.keys().copied()).collect();
        buckets.sort_unstable();
        buckets.dedup();
        buckets
    }

    /// The rows of a bucket with some columns, given in ascending order.
    pub(super) fn read(files: &[Self], bucket: u32, columns: &[usize]) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for file in files {
            let Some(groups) = file.groups.get(&bucket) else { continue };
            let footer = file.footer.clone();
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(File::open(&file.path)?, footer);
            let columns = ProjectionMask::roots(file.footer.parquet_schema(), columns.iter().copied());
            let reader = reader.with_projection(columns).with_row_groups(groups.clone()).with_batch_size(HELD_ROWS);
            for batch in reader.build()? {
                batches.push(batch?);
            }
        }
        Ok(batches)
    }
}

/// The rows of buckets, one bucket after the other, each as `rows_of` gives it.
pub(super) fn in_turn(
    schema: SchemaRef,
    buckets: Vec<u32>,
    rows_of: impl Fn(u32) -> Result<Vec<RecordBatch>> + Clone + Send + 'static,
) -> SendableRecordBatchStream {
    let rows = move |bucket| {
        let rows_of = rows_of.clone();
        async move {
            let rows = tokio::task::spawn_blocking(move || rows_of(bucket)).await;
            rows.map_err(|error| DataFusionError::External(Box::new(error)))?.map_err(DataFusionError::from)
        }
    };
    // The next bucket is put in order while this one is used.
    let batches = futures::stream::iter(buckets).map(rows).buffered(2);
    let batches = batches.map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok))).try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Deals the rows of a stream to so many buckets in the file at `path`; `bucket_of` says to which each row of a batch goes.
pub(super) async fn deal(
    mut stream: SendableRecordBatchStream,
    schema: SchemaRef,
    buckets: usize,
    path: &Path,
    mut bucket_of: impl FnMut(&RecordBatch) -> Result<Vec<u32>>,
) -> Result<Dealt> {
    let limit = HELD_ROWS.max(LEAST_OF_A_GROUP * buckets);
    let mut dealt = Dealt { path: path.to_owned(), groups: BTreeMap::new() };
    let mut writer: Option<ArrowWriter<File>> = None;
    let mut held: BTreeMap<u32, Vec<RecordBatch>> = BTreeMap::new();
    let mut rows = 0;
    while let Some(batch) = stream.next().await.transpose()? {
        // What another query calls the same may be text of another layout.
        let columns =
            batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<std::result::Result<_, _>>()?)?;
        if batch.num_rows() == 0 {
            continue;
        }
        if writer.is_none() {
            let properties = properties(&schema, &mostly_different(&batch)?);
            writer = Some(ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), Some(properties))?);
        }
        let mut order: Vec<(u32, u32)> = bucket_of(&batch)?.into_iter().zip(0_u32..).collect();
        if order.len() != batch.num_rows() {
            return Err(Error::internal("engine.dealt", "a row has no bucket"));
        }
        order.sort_unstable();
        let sorted = take_record_batch(&batch, &UInt32Array::from_iter_values(order.iter().map(|(_, row)| *row)))?;
        let mut from = 0;
        for chunk in order.chunk_by(|(one, _), (other, _)| one == other) {
            if let Some((bucket, _)) = chunk.first() {
                held.entry(*bucket).or_default().push(sorted.slice(from, chunk.len()));
            }
            from += chunk.len();
        }
        rows += batch.num_rows();
        if let Some(writer) = writer.as_mut().filter(|_| rows >= limit) {
            flush(writer, &mut held, &mut dealt)?;
            rows = 0;
        }
    }
    if let Some(mut writer) = writer {
        flush(&mut writer, &mut held, &mut dealt)?;
        writer.close()?;
    }
    Ok(dealt)
}

/// Makes a row group of what is held of each bucket.
fn flush(writer: &mut ArrowWriter<File>, held: &mut BTreeMap<u32, Vec<RecordBatch>>, dealt: &mut Dealt) -> Result<()> {
    for (bucket, batches) in std::mem::take(held) {
        for batch in batches {
            writer.write(&batch)?;
        }
        let group = writer.flushed_row_groups().len();
        writer.flush()?;
        dealt.groups.entry(bucket).or_default().extend(group..writer.flushed_row_groups().len());
    }
    Ok(())
}
