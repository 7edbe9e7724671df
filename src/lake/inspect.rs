//! Whether a file is a whole Parquet file, told without ever panicking.
//!
//! A footer whose length exceeds the file, or a list of row groups that claims to have two thousand million entries,
//! takes the reader down. So magic, lengths and the row groups' bounds are checked before anything is planned on a
//! file, and the decoder runs where a panic becomes an error with the file's name.

/// The outline of a footer: that every list fits into the bytes that follow it.
mod thrift;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Result};
use crate::lake::failure;

/// Magic bytes, footer length and magic bytes again.
const SMALLEST: u64 = 12;
/// Bytes read from the end at first: most footers are smaller.
const TAIL: u64 = 64 << 10;

/// A Parquet file whose footer holds what it says.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The footer.
    pub metadata: Arc<ParquetMetaData>,
    /// The columns as Arrow reads them.
    pub schema: SchemaRef,
    /// How many rows.
    pub rows: u64,
}

/// Checks a file's magic at both ends, the footer's length, and that every column chunk lies inside the file.
///
/// # Errors
/// `lake.not_parquet` for something else, or an encrypted file; `lake.truncated_parquet` for a file that ends early or
/// whose footer is damaged; what the store refuses. Each names the file.
pub async fn parquet(store: &dyn ObjectStore, path: &Path, size: u64) -> Result<Inspected> {
    let refused = |error| failure(error, path.as_ref());
    if size == 0 {
        return Err(truncated(path, "it is empty"));
    }
    if size < SMALLEST {
        return Err(not_parquet(path, "it is too short"));
    }
    let head = store.get_range(path, 0..4).await.map_err(refused)?;
    let tail = store.get_range(path, size - TAIL.min(size)..size).await.map_err(refused)?;
    if head.as_ref() == b"PARE" || tail.ends_with(b"PARE") {
        return Err(not_parquet(path, "it is encrypted"));
    }
    if head.as_ref() != b"PAR1" {
        return Err(not_parquet(path, "it does not begin with `PAR1`"));
    }
    let Some((rest, b"PAR1")) = tail.split_last_chunk::<4>() else {
        return Err(truncated(path, "it does not end with `PAR1`"));
    };
    let Some((_, length)) = rest.split_last_chunk::<4>() else {
        return Err(truncated(path, "it is too short"));
    };
    let length = u64::from(u32::from_le_bytes(*length));
    if length + SMALLEST > size {
        return Err(truncated(path, "its footer is longer than the file"));
    }
    let end = size - 8;
    let footer = if length + 8 <= tail.len() as u64 {
        let start = tail.len() - 8 - usize::try_from(length).unwrap_or(0);
        tail.slice(start..tail.len() - 8)
    } else {
        store.get_range(path, end - length..end).await.map_err(refused)?
    };
    let decoded = tokio::task::spawn_blocking(move || decode(&footer)).await;
    let (metadata, schema) =
        decoded.unwrap_or_else(|_| Err("its footer is damaged".to_owned())).map_err(|why| truncated(path, &why))?;
    let rows = check_bounds(&metadata, end - length).map_err(|why| truncated(path, why))?;
    Ok(Inspected { metadata: Arc::new(metadata), schema, rows })
}

/// Decodes a footer. A panic inside the decoder, and what it would print, is an error.
fn decode(footer: &[u8]) -> Result<(ParquetMetaData, SchemaRef), String> {
    thrift::check(footer).ok_or("its footer is damaged")?;
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let metadata = ParquetMetaDataReader::decode_metadata(footer).map_err(|e| e.to_string())?;
        let file = metadata.file_metadata();
        let schema =
            parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).map_err(|e| e.to_string())?;
        Ok::<_, String>((metadata, Arc::new(schema)))
    }));
    match decoded {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(why)) => Err(format!("its footer is damaged ({why})")),
        Err(_) => Err("its footer is damaged".to_owned()),
    }
}

/// Every row group and column chunk must lie between the leading magic and the footer, and the rows must add up.
fn check_bounds(metadata: &ParquetMetaData, end: u64) -> Result<u64, &'static str> {
    let natural = |value: i64| u64::try_from(value).map_err(|_| "its footer holds a negative length");
    let mut rows = 0_u64;
    for group in metadata.row_groups() {
        let group_rows = natural(group.num_rows())?;
        rows = rows.checked_add(group_rows).ok_or("its row counts do not add up")?;
        natural(group.total_byte_size())?;
        for column in group.columns() {
            if column.file_path().is_some() {
                return Err("a column lies in another file");
            }
            let size = natural(column.compressed_size())?;
            natural(column.uncompressed_size())?;
            let values = natural(column.num_values())?;
            if column.column_descr().max_rep_level() == 0 && values != group_rows {
                return Err("a column has another number of rows than its row group");
            }
            let data = natural(column.data_page_offset())?;
            let start = match column.dictionary_page_offset() {
                Some(offset) => data.min(natural(offset)?),
                None => data,
            };
            if size > 0 && (start < 4 || start.checked_add(size).is_none_or(|stop| stop > end)) {
                return Err("a column lies outside of the file");
            }
            let index = |offset: Option<i64>, length: Option<i32>| match (offset, length) {
                (Some(offset), Some(length)) => {
                    let stop = natural(offset)?.checked_add(natural(i64::from(length))?);
                    if stop.is_none_or(|stop| stop > end) {
                        Err("a page index lies outside of the file")
                    } else {
                        Ok(())
                    }
                }
                _ => Ok(()),
            };
            index(column.column_index_offset(), column.column_index_length())?;
            index(column.offset_index_offset(), column.offset_index_length())?;
            index(column.bloom_filter_offset(), column.bloom_filter_length())?;
        }
    }
    if natural(metadata.file_metadata().num_rows())? != rows {
        return Err("its row counts do not add up");
    }
    Ok(rows)
}

fn not_parquet(path: &Path, why: &str) -> Error {
    Error::input("lake.not_parquet", format!("this is not a Parquet file: {why}"))
        .in_file(path.as_ref())
        .with_hint("remove the file, or land it again as Parquet (`alluvial land` reads CSV and JSON too)")
}

fn truncated(path: &Path, why: &str) -> Error {
    Error::input("lake.truncated_parquet", format!("this Parquet file is not whole: {why}"))
        .in_file(path.as_ref())
        .with_hint("land the file again; it may still have been uploading")
}

#[cfg(test)]
mod tests;
