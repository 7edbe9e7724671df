//! Raw files as one table of text: CSV and JSON Lines as they are written, Parquet with its values as text and nested
//! values as JSON.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::LineDelimitedWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;
use object_store::path::Path as StorePath;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::head::Head;
use crate::diagnostic::nearest;
use crate::engine::BATCH_ROWS;
use crate::engine::pinned::{PinnedFile, PinnedTable};
use crate::error::{Error, Result};
use crate::land::import::raw::{self, RawFile};

/// What was read.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) rows: u64,
    /// Columns that the mapping does not know.
    pub(super) unknown: Vec<String>,
}

/// Reads the files and gives the session `raw`: the mapping's columns (null where a file lacks them), those that it does not
/// know, `_file` from 0 and `_row` (the line of a text file, the row of another, from 1).
pub(super) async fn read(session: &SessionContext, head: &Head, files: &[PathBuf], folder: &Path) -> Result<Raw> {
    if files.is_empty() {
        return Err(Error::usage("land.no_files", "name at least one file to land"));
    }
    let mut opened = Vec::new();
    for path in files {
        let found = raw::open(path).await.map_err(|error| error.in_file(path.display().to_string()))?;
        fits(head, &found.columns).map_err(|error| error.in_file(path.display().to_string()))?;
        opened.push(found);
    }
    let mut names: Vec<String> = head.named().map(str::to_owned).collect();
    let mut unknown = Vec::new();
    for file in &opened {
        for name in &file.columns {
            let known = names.iter().any(|known| known.eq_ignore_ascii_case(name));
            if !known && !head.ignores(name) {
                names.push(name.clone());
                unknown.push(name.clone());
            }
        }
    }
    let mut fields: Vec<Field> = names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    fields.push(Field::new("_file", DataType::Int32, false));
    fields.push(Field::new("_row", DataType::Int64, false));
    let schema = Arc::new(Schema::new(fields));
    let path = folder.join("raw.parquet");
    let (written, owned) = (path.clone(), Arc::clone(&schema));
    let work = move || write(&written, &owned, &names, opened);
    let rows =
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("land.raw", error.to_string()))??;
    let path = std::fs::canonicalize(&path)?;
    let size = std::fs::metadata(&path)?.len();
    let location =
        StorePath::from_absolute_path(&path).map_err(|error| Error::internal("land.raw", error.to_string()))?;
    let file = PinnedFile { path: location, size, rows: Some(rows), constants: Vec::new(), picked: None };
    let table = PinnedTable::new(ObjectStoreUrl::local_filesystem(), &schema, vec![file]);
    session.register_table("raw", Arc::new(table))?;
    Ok(Raw { rows, unknown })
}

/// Refuses a file that lacks what the export always has.
fn fits(head: &Head, columns: &[String]) -> Result<()> {
    let lacking: Vec<&String> =
        head.required.iter().filter(|name| !columns.iter().any(|found| found.eq_ignore_ascii_case(name))).collect();
    let Some(first) = lacking.first() else { return Ok(()) };
    let names: Vec<String> = lacking.iter().map(|name| format!("`{name}`")).collect();
    let error = Error::input(
        "land.not_this_export",
        format!("the file lacks the column{} {}", if lacking.len() > 1 { "s" } else { "" }, names.join(", ")),
    );
    Err(match nearest(first, columns.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("is `{near}` meant? the mapping's head says which export it reads")),
        None => error.with_hint("the mapping's head says which export it reads; write another with `--map FILE.sql`"),
    })
}

fn write(path: &Path, schema: &SchemaRef, names: &[String], files: Vec<RawFile>) -> Result<u64> {
    let mut writer = ArrowWriter::try_new(File::create(path)?, Arc::clone(schema), None)?;
    let mut rows = 0;
    for (number, file) in files.into_iter().enumerate() {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let shown = file.path.display().to_string();
        // Where each of the file's columns goes; the first of two that differ in case only.
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, column) in file.columns.iter().enumerate() {
            if let Some(place) = names.iter().position(|name| name.eq_ignore_ascii_case(column)) {
                places.entry(place).or_insert(index);
            }
        }
        let mut collected = Collected::new(schema, number);
        let told = if file.is_parquet {
            parquet_rows(&file.path, &places, number, schema, &mut writer)
        } else {
            let counted = raw::text_rows(&file, |row, values| {
                collected.push(row, |place| places.get(&place).and_then(|index| values(*index)));
                if collected.rows.len() >= BATCH_ROWS { collected.flush(&mut writer) } else { Ok(()) }
            });
            counted.and_then(|counted| collected.flush(&mut writer).map(|()| counted))
        };
        rows += told.map_err(|error| error.in_file(shown.as_str()))?;
    }
    writer.close()?;
    Ok(rows)
}

/// Rows of text that wait to be written.
struct Collected {
    schema: SchemaRef,
    number: i32,
    columns: Vec<StringBuilder>,
    rows: Vec<i64>,
}

impl Collected {
    fn new(schema: &SchemaRef, number: i32) -> Self {
        let columns = (0..schema.fields().len().saturating_sub(2)).map(|_| StringBuilder::new()).collect();
        Self { schema: Arc::clone(schema), number, columns, rows: Vec::new() }
    }

    fn push(&mut self, row: u64, value: impl Fn(usize) -> Option<String>) {
        for (place, column) in self.columns.iter_mut().enumerate() {
            column.append_option(value(place).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()));
        }
        self.rows.push(i64::try_from(row).unwrap_or(i64::MAX));
    }

    fn flush(&mut self, writer: &mut ArrowWriter<File>) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let mut columns: Vec<ArrayRef> =
            self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        columns.push(Arc::new(Int32Array::from(vec![self.number; rows.len()])));
        columns.push(Arc::new(Int64Array::from(rows)));
        writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        Ok(())
    }
}

fn parquet_rows(
    path: &Path,
    places: &BTreeMap<usize, usize>,
    number: i32,
    schema: &SchemaRef,
    writer: &mut ArrowWriter<File>,
) -> Result<u64> {
    let mut rows = 0_i64;
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.with_batch_size(BATCH_ROWS).build()? {
        let batch = batch?;
        let count = i64::try_from(batch.num_rows()).unwrap_or(0);
        let mut columns = Vec::new();
        for place in 0..schema.fields().len().saturating_sub(2) {
            columns.push(match places.get(&place) {
                Some(index) => as_text(batch.column(*index))?,
                None => new_null_array(&DataType::Utf8, batch.num_rows()),
            });
        }
        columns.push(Arc::new(Int32Array::from(vec![number; batch.num_rows()])));
        columns.push(Arc::new((rows + 1..=rows + count).collect::<Int64Array>()));
        rows += count;
        writer.write(&RecordBatch::try_new(Arc::clone(schema), columns)?)?;
    }
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// A column's values as text: nested ones as JSON.
fn as_text(column: &ArrayRef) -> Result<ArrayRef> {
    let nested = column.data_type().is_nested();
    if !nested && !matches!(column.data_type(), DataType::Timestamp(_, _) | DataType::Decimal128(_, _)) {
        return Ok(cast(column, &DataType::Utf8)?);
    }
    let mut built = StringBuilder::new();
    if !nested {
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        for row in 0..column.len() {
            built.append_option(column.is_valid(row).then(|| formatter.value(row).to_string()));
        }
        return Ok(Arc::new(built.finish()));
    }
    let schema = Arc::new(Schema::new(vec![Field::new("v", column.data_type().clone(), true)]));
    let mut writer: LineDelimitedWriter<_> = LineDelimitedWriter::new(Vec::new());
    writer.write(&RecordBatch::try_new(schema, vec![Arc::clone(column)])?)?;
    writer.finish()?;
    let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    let values: StringArray =
        text.lines().map(|line| Some(line.strip_prefix("{\"v\":")?.strip_suffix('}')?.to_owned())).collect();
    if values.len() != column.len() {
        return Err(Error::internal("land.raw", "a nested value has no JSON form"));
    }
    Ok(Arc::new(values))
}
