//! Rows of people who were forgotten: left out wherever landed tables are read, and found where they are to be erased.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::shape::Shape;
use super::{Found, LandedFile, Options};
use crate::engine::statement::{Params, plan_text};
use crate::error::{Error, Result};
use crate::schema::landed::Table;

/// Whether a row is of somebody who was forgotten, over the contract's columns; none for tables that are about nobody. An
/// order of somebody else that names a forgotten address stays, and so does somebody else's event on a shared visitor id.
pub fn gone(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::Customers => "is_forgotten('id', customer_id) OR is_forgotten('email', email)",
        Table::Orders => {
            "is_forgotten('id', customer_id) OR is_forgotten('order', order_id) OR (customer_id IS NULL AND \
             (is_forgotten('email', email) OR (email IS NULL AND is_forgotten('phone', phone))))"
        }
        Table::OrderItems => "is_forgotten('order', order_id)",
        Table::Events => {
            "is_forgotten('id', customer_id) OR (customer_id IS NULL AND is_forgotten('id', anonymous_id))"
        }
        Table::Identities => "is_forgotten('id', customer_id) OR is_forgotten('id', anonymous_id)",
        Table::Suppressions => {
            "is_forgotten('id', identifier) OR is_forgotten('email', identifier) OR is_forgotten('phone', identifier)"
        }
        Table::Products | Table::Rates => return None,
    })
}

/// The columns of rows that stay which name somebody who was forgotten, and when they do.
const fn named(table: Table) -> &'static [(&'static str, &'static str)] {
    match table {
        Table::Orders => &[
            ("email", "is_forgotten('email', email)"),
            ("phone", "is_forgotten('email', email) AND is_forgotten('phone', phone)"),
        ],
        Table::Events => &[("anonymous_id", "is_forgotten('id', anonymous_id)")],
        _ => &[],
    }
}

/// What of a landed file is of people who were forgotten.
#[derive(Debug, Clone)]
pub struct OfForgotten {
    /// The file.
    pub file: LandedFile,
    /// Their rows, by number, ascending.
    pub rows: Vec<u64>,
    /// Rows of others in which a column of the file names them, by that column.
    pub named: BTreeMap<String, Vec<u64>>,
}

impl Found {
    /// The files of a table that hold people who were forgotten, and where. `options` must not leave them out.
    ///
    /// # Errors
    /// Landed files that cannot be read.
    pub async fn of_forgotten(
        &self,
        session: &SessionContext,
        table: Table,
        options: &Options,
    ) -> Result<Vec<OfForgotten>> {
        let (Some(gone), Some(shape)) = (gone(table), self.shapes.get(&table)) else { return Ok(Vec::new()) };
        let mut found: BTreeMap<i32, OfForgotten> = BTreeMap::new();
        for (group, rows) in shape.groups.iter().zip(shape.placed_groups(options)) {
            let source = |name: &str| group.columns.iter().find(|column| column.name == name)?.source.clone();
            let columns: Vec<(String, &str)> =
                named(table).iter().filter_map(|(name, when)| Some((source(name)?, *when))).collect();
            let list: String =
                columns.iter().enumerate().map(|(place, (_, when))| format!(", {when} AS n{place}")).collect();
            let any: String = (0..columns.len()).map(|place| format!(" OR n{place}")).collect();
            let sql = format!("SELECT * FROM (SELECT _file, _row, {gone} AS gone{list} FROM ({rows})) WHERE gone{any}");
            let mut stream = plan_text(session, &sql, &Params::new()).await?.execute_stream().await?;
            while let Some(batch) = stream.next().await {
                let batch = batch?;
                let (file, row) =
                    (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int64Type>());
                let gone = batch.column(2).as_boolean();
                for at in 0..batch.num_rows() {
                    let entry = match found.entry(file.value(at)) {
                        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                        std::collections::btree_map::Entry::Vacant(new) => {
                            new.insert(self.numbered(table, file.value(at))?)
                        }
                    };
                    let number = row.value(at).unsigned_abs();
                    if gone.value(at) {
                        entry.rows.push(number);
                        continue;
                    }
                    for (place, (column, _)) in columns.iter().enumerate() {
                        if batch.column(3 + place).as_boolean().value(at) {
                            entry.named.entry(column.clone()).or_default().push(number);
                        }
                    }
                }
            }
        }
        let mut found: Vec<OfForgotten> = found.into_values().collect();
        for file in &mut found {
            file.rows.sort_unstable();
            file.named.values_mut().for_each(|rows| rows.sort_unstable());
        }
        Ok(found)
    }

    fn numbered(&self, table: Table, number: i32) -> Result<OfForgotten> {
        let files = self.landed.tables.get(&table).map(|summary| summary.files.as_slice()).unwrap_or_default();
        let file = usize::try_from(number).ok().and_then(|number| files.get(number));
        let file = file.ok_or_else(|| Error::internal("land.file_number", "a row names a file that was not listed"))?;
        Ok(OfForgotten { file: file.clone(), rows: Vec::new(), named: BTreeMap::new() })
    }
}

impl Shape {
    /// A query without the rows of people who were forgotten.
    pub(super) fn without_forgotten(&self, sql: String, options: &Options) -> String {
        match gone(self.table) {
            Some(gone) if options.without_forgotten => format!("SELECT * FROM ({sql}) WHERE NOT ({gone})"),
            _ => sql,
        }
    }
}
