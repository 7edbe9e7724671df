//! Which rows of the published tables are of people who were forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch, not, nullif};
use arrow::datatypes::DataType;

use super::people::holds_customers;
use crate::error::Result;
use crate::lake::forgotten::{Forgotten, Known};
use crate::schema::published::Published;

/// Tells rows apart.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) forgotten: Arc<Forgotten>,
    /// Landed files that were written anew, below the lake's root: what `rejects` says of their rows goes.
    pub(super) files: BTreeSet<String>,
    /// Exports whose query names somebody.
    pub(super) queries: BTreeSet<String>,
}

/// The columns that tell of whom a row of a table is; none where the table is about nobody.
pub(super) fn telling(table: &Published) -> Option<&'static [&'static str]> {
    match table.name {
        "rejects" => Some(&["table", "key", "file"]),
        "exports" => Some(&["export_id", "query"]),
        "export_members" => Some(&["export_id", "customer_id"]),
        _ => holds_customers(table).then_some(&["customer_id"]),
    }
}

/// The texts of a column; a column that is not there has none.
fn texts(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    match batch.column_by_name(name) {
        Some(column) => Ok(cast(column, &DataType::Utf8)?),
        None => Ok(arrow::array::new_null_array(&DataType::Utf8, batch.num_rows())),
    }
}

fn value(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

impl Matcher {
    /// The rows that are somebody's: they go, and of `exports` their query does.
    pub(super) fn of_forgotten(&self, table: &str, batch: &RecordBatch) -> Result<BooleanArray> {
        let rows = 0..batch.num_rows();
        let read = |name| texts(batch, name);
        Ok(match table {
            "rejects" => {
                let (tables, keys, files) = (read("table")?, read("key")?, read("file")?);
                let [tables, keys, files] = [&tables, &keys, &files].map(|texts| texts.as_string::<i32>());
                let mut last = (String::new(), Known::Id);
                rows.map(|row| {
                    let table = value(tables, row).unwrap_or_default();
                    if table != last.0 {
                        let known = if table.starts_with("order") { Known::Order } else { Known::Id };
                        last = (table.to_owned(), known);
                    }
                    let by_key = value(keys, row).is_some_and(|key| self.forgotten.covers(last.1, key));
                    by_key || value(files, row).is_some_and(|file| self.files.contains(file))
                })
                .map(Some)
                .collect()
            }
            "exports" => {
                let (ids, queries) = (read("export_id")?, read("query")?);
                let ids = ids.as_string::<i32>();
                rows.map(|row| queries.is_valid(row) && value(ids, row).is_some_and(|id| self.queries.contains(id)))
                    .map(Some)
                    .collect()
            }
            _ => {
                let ids = read("customer_id")?;
                let ids = ids.as_string::<i32>();
                rows.map(|row| value(ids, row).is_some_and(|id| self.forgotten.covers(Known::Id, id)))
                    .map(Some)
                    .collect()
            }
        })
    }

    /// The batch without what is somebody's.
    pub(super) fn without(&self, table: &str, batch: &RecordBatch) -> Result<RecordBatch> {
        let gone = self.of_forgotten(table, batch)?;
        if table != "exports" {
            return Ok(filter_record_batch(batch, &not(&gone)?)?);
        }
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            if field.name() == "query" { nullif(column, &gone) } else { Ok(Arc::clone(column)) }
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// The exports that the somebody's rows of `export_members` are of.
    pub(super) fn exports(&self, batch: &RecordBatch, gone: &BooleanArray) -> Result<BTreeSet<String>> {
        let ids = texts(batch, "export_id")?;
        let ids = ids.as_string::<i32>();
        let theirs = (0..batch.num_rows()).filter(|row| gone.value(*row));
        Ok(theirs.filter_map(|row| value(ids, row).map(str::to_owned)).collect())
    }
}
