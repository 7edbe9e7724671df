//! Tables of `pg_catalog` as they are in Postgres, where the library has other columns: those of keys and indexes, of which
//! there are none, have arrays of columns' places, and `pg_class` says how a table is stored.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

/// Columns that are arrays, with their elements; in the library they are texts.
const ARRAYS: [(&str, DataType); 11] = [
    ("indkey", DataType::Int16),
    ("indoption", DataType::Int16),
    ("indcollation", DataType::Int32),
    ("indclass", DataType::Int32),
    ("conkey", DataType::Int16),
    ("confkey", DataType::Int16),
    ("confdelsetcols", DataType::Int16),
    ("conpfeqop", DataType::Int32),
    ("conppeqop", DataType::Int32),
    ("conffeqop", DataType::Int32),
    ("conexclop", DataType::Int32),
];

/// Of those, the columns of `pg_index`, which as texts have spaces between.
pub(in crate::serve) const VECTORS: [&str; 4] = ["indkey", "indoption", "indcollation", "indclass"];

/// A table of keys or indexes, of which there are none: what the library lists are Postgres's own.
pub(super) fn of_keys(table: &dyn TableProvider) -> DfResult<Arc<dyn TableProvider>> {
    let schema = table.schema();
    let fields = schema.fields().iter().map(|field| match ARRAYS.iter().find(|(name, _)| name == field.name()) {
        Some((name, element)) => Arc::new(Field::new(*name, DataType::new_list(element.clone(), true), true)),
        None => Arc::clone(field),
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
    Ok(Arc::new(MemTable::try_new(Arc::new(schema), vec![Vec::new()])?))
}

/// `pg_class` with how a table is stored: in no way that has options.
pub(super) fn of_classes(table: Arc<dyn TableProvider>, session: &SessionContext) -> DfResult<Arc<dyn TableProvider>> {
    let mut columns: Vec<_> = table.schema().fields().iter().map(|field| col(field.name())).collect();
    if table.schema().field_with_name("reloptions").is_err() {
        columns.push(lit(ScalarValue::new_null_list(DataType::Utf8, true, 1)).alias("reloptions"));
    }
    Ok(session.read_table(table)?.select(columns)?.into_view())
}
