//! Parquet files: read to their last value before they are taken, then copied byte for byte, unless text times in them
//! need an offset.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::ParquetMetaData;
use tokio::sync::mpsc::Sender;

use super::columns::{self, TimeCheck};
use super::source::{Hash, Input};
use super::write::{Parts, Writer, converted};
use super::{Checked, Content, Request};
use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::lake::inspect;
use crate::schema::landed::Reading;

/// Rows that are decoded at once: few, since one value may be large.
const DECODED_ROWS: usize = 1024;

/// The checked footer of a file.
pub(super) async fn footer(path: &Path) -> Result<ParquetMetaData> {
    let path = std::fs::canonicalize(path)?;
    let size = bounds(&path)?;
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let location = object_store::path::Path::from_absolute_path(&path)
        .map_err(|error| Error::input("land.file_name", error.to_string()).with_hint("rename the file"))?;
    let inspected = inspect::parquet(store.as_ref(), &location, size).await.map_err(|error| {
        // It names the file as a store does; the person wrote another path.
        let hint = error.hint().unwrap_or("write the file again, or send it again").to_owned();
        Error::new(error.kind(), error.code(), error.message().to_owned()).with_hint(hint).with_source(error)
    })?;
    Ok(Arc::unwrap_or_clone(inspected.metadata))
}

/// Checks that the footer lies within the file, which no reader does, and gives the file's size.
fn bounds(path: &Path) -> Result<u64> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut tail = [0_u8; 8];
    if size >= 12 {
        file.seek(SeekFrom::End(-8))?;
        file.read_exact(&mut tail)?;
    }
    let [a, b, c, d, magic @ ..] = tail;
    if magic != *b"PAR1" || u64::from(u32::from_le_bytes([a, b, c, d])) + 12 > size {
        return Err(Error::input(
            "land.parquet_cut_short",
            "the Parquet file is cut short: it does not end in a footer",
        )
        .with_hint("write the file again, or send it again"));
    }
    Ok(size)
}

/// Reads a file to its end.
pub(super) fn check(path: &Path, metadata: ParquetMetaData, request: &Request, file: &str) -> Result<Checked> {
    let descriptor = metadata.file_metadata();
    let schema = parquet_to_arrow_schema(descriptor.schema_descr(), descriptor.key_value_metadata())?;
    let told = descriptor.num_rows();
    let known = columns::check(request, &schema, file)?;
    let instant =
        |field: &&Arc<Field>| known.readings.get(field.name()) == Some(&Reading::Instant) && is_text(field.data_type());
    let texts: Vec<String> = schema.fields().iter().filter(instant).map(|field| field.name().clone()).collect();
    let mut times = TimeCheck::new(request.zone);
    let mut rows = 0_u64;
    for batch in reader(path, Some(metadata))? {
        let batch = batch.map_err(unreadable)?;
        for name in &texts {
            let Some(values) = batch.column_by_name(name) else { continue };
            let values = arrow::compute::cast(values, &DataType::Utf8)?;
            for (value, row) in values.as_string::<i32>().iter().zip(rows..) {
                if let Some(text) = value {
                    times.look(name, text, row);
                }
            }
        }
        rows += u64::try_from(batch.num_rows()).unwrap_or(0);
    }
    if u64::try_from(told).ok() != Some(rows) {
        return Err(unreadable(format!("its footer tells of {told} rows, its pages hold {rows}")));
    }
    let mut warnings = known.warnings;
    warnings.extend(times.warnings("row"));
    let content = if times.converts { Content::Parquet { texts } } else { Content::Copy };
    Ok(Checked { content, hash: Input::open(path)?.finish()?, rows, converts: times.converts, warnings })
}

fn is_text(physical: &DataType) -> bool {
    match physical {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::input("land.parquet_damaged", format!("the Parquet file cannot be read whole: {error}"))
        .with_hint("write the file again, or send it again")
}

fn reader(path: &Path, metadata: Option<ParquetMetaData>) -> Result<ParquetRecordBatchReader> {
    let file = File::open(path)?;
    let builder = match metadata {
        Some(metadata) => {
            let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        }
        None => ParquetRecordBatchReaderBuilder::try_new(file)?,
    };
    Ok(builder.with_batch_size(DECODED_ROWS).build()?)
}

/// Hands over a file's own bytes.
pub(super) fn copy(path: &Path, sender: Sender<Bytes>) -> Result<Hash> {
    let mut input = Input::open(path)?;
    let mut parts = Parts::new(sender);
    std::io::copy(&mut input, &mut parts)?;
    parts.flush()?;
    parts.finish()?;
    input.finish()
}

/// Writes a file again, its text times with an offset.
pub(super) fn rewrite(path: &Path, texts: &[String], zone: Zone, sender: Sender<Bytes>) -> Result<(u64, Hash)> {
    let batches = reader(path, None)?;
    let schema = arrow::array::RecordBatchReader::schema(&batches);
    let fields: Vec<Arc<Field>> = schema
        .fields()
        .iter()
        .map(|field| match texts.contains(field.name()) {
            true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            false => Arc::clone(field),
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let mut writer = Writer::new(Arc::clone(&schema), Some(zone), sender)?;
    for batch in batches {
        let batch = batch.map_err(unreadable)?;
        let columns = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, values)| match texts.contains(field.name()) {
                true => converted(values, zone),
                false => Ok(Arc::clone(values)),
            })
            .collect::<Result<Vec<_>>>()?;
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    let rows = writer.rows;
    writer.finish()?;
    Ok((rows, Input::open(path)?.finish()?))
}
