//! The columns of a file against those of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::Request;
use super::times::{self, Time};
use crate::calendar::Zone;
use crate::diagnostic::nearest;
use crate::error::{Error, Result};
use crate::land::columns::landed_column;
use crate::schema::landed::{Reading, Table, list_type};

/// The Arrow type that a column is landed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    /// As it was written; the run reads it.
    Text,
    Integer,
    Float,
    Boolean,
    List,
}

/// One column of a text file.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// How the run reads it, where the contract or a declared field says.
    pub(super) reading: Option<Reading>,
    pub(super) landing: Landing,
}

/// What the contract knows of a file's columns.
#[derive(Debug)]
pub(super) struct Known {
    /// How the run reads them, by their names in the file.
    pub(super) readings: BTreeMap<String, Reading>,
    /// Names that are probably slips.
    pub(super) warnings: Vec<String>,
}

/// Checks a file's columns.
///
/// # Errors
/// `land.missing_column`, `land.column_type`, `land.unnamed_column`, `land.repeated_column`.
pub(super) fn check(request: &Request, schema: &Schema, file: &str) -> Result<Known> {
    let mut readings = BTreeMap::new();
    let mut present = BTreeSet::new();
    for column in request.table.columns() {
        if let Some(field) = landed_column(request.table, column, schema, &request.settings, file)? {
            readings.insert(field.name().clone(), column.reading);
            present.insert(column.name);
        }
    }
    let mut seen = BTreeMap::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if field.name().is_empty() {
            return Err(Error::input("land.unnamed_column", format!("column {} has no name", index + 1))
                .in_file(file)
                .with_hint("name it, or leave it out"));
        }
        if let Some(first) = seen.insert(field.name().as_str(), index) {
            return Err(Error::input(
                "land.repeated_column",
                format!("columns {} and {} are both named `{}`", first + 1, index + 1, field.name()),
            )
            .in_file(file)
            .with_hint("give each column a name of its own"));
        }
    }
    if request.table == Table::Customers {
        for (name, reading) in &request.fields {
            if schema.field_with_name(name).is_ok() {
                readings.entry(name.clone()).or_insert(*reading);
            }
        }
    }
    let absent: Vec<&str> =
        request.table.columns().iter().map(|column| column.name).filter(|name| !present.contains(name)).collect();
    let unknown = schema.fields().iter().map(|field| field.name()).filter(|name| !readings.contains_key(*name));
    let warnings = unknown.filter_map(|name| slip(request.table, name, &absent)).collect();
    Ok(Known { readings, warnings })
}

/// What is to be told about a column that the contract does not know.
fn slip(table: Table, name: &str, absent: &[&str]) -> Option<String> {
    if name == "dt" || name.starts_with('_') {
        return Some(format!("column `{name}` is landed, but never read: such names are kept for folders"));
    }
    let plain =
        |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let same = absent.iter().find(|candidate| plain(candidate) == plain(name)).copied();
    // Two letters amiss are a slip; more is another word.
    let close = || nearest(name, absent.iter().copied()).filter(|close| strsim::damerau_levenshtein(name, close) <= 2);
    let close = same.or_else(close)?;
    Some(format!("column `{name}` is unknown to {}: is it meant to be `{close}`?", table.name()))
}

/// The schema that a text file is landed in.
pub(super) fn schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| {
        let data_type = match column.landing {
            Landing::Text => DataType::Utf8,
            Landing::Integer => DataType::Int64,
            Landing::Float => DataType::Float64,
            Landing::Boolean => DataType::Boolean,
            Landing::List => list_type(),
        };
        Field::new(&column.name, data_type, true)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// What the first reading of a file finds in its times.
#[derive(Debug)]
pub(super) struct TimeCheck {
    zone: Zone,
    /// Whether a time was written without an offset, or with an odd one.
    pub(super) converts: bool,
    /// By column: how many values are no times, and where the first stands.
    unreadable: BTreeMap<String, (u64, u64)>,
}

impl TimeCheck {
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone, converts: false, unreadable: BTreeMap::new() }
    }

    /// Looks at a value of a column with times; `place` is its line, or its row.
    pub(super) fn look(&mut self, column: &str, text: &str, place: u64) {
        match times::read(text, self.zone) {
            Time::Readable => {}
            Time::Converted(_) => self.converts = true,
            Time::Unreadable => match self.unreadable.get_mut(column) {
                Some((count, _)) => *count += 1,
                None => {
                    self.unreadable.insert(column.to_owned(), (1, place));
                }
            },
        }
    }

    /// What is to be told, with places called by this word.
    pub(super) fn warnings(&self, place: &str) -> Vec<String> {
        let told = |(column, (count, first)): (&String, &(u64, u64))| match count {
            1 => format!("one value of `{column}` is no time ({place} {first}): its row will be rejected"),
            _ => format!(
                "{count} values of `{column}` are no times (first in {place} {first}): their rows will be rejected"
            ),
        };
        self.unreadable.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_told_and_other_words_are_not() {
        let close = |name: &str, absent: &[&str]| {
            let told = slip(Table::Customers, name, absent)?;
            told.rsplit_once("be `").map(|(_, rest)| rest.trim_end_matches("`?").to_owned())
        };
        assert_eq!(close("custmer_id", &["customer_id", "city"]).as_deref(), Some("customer_id"));
        assert_eq!(close("CustomerID", &["customer_id"]).as_deref(), Some("customer_id"));
        assert_eq!(close("registration_date", &["registration_source"]), None);
        assert_eq!(close("shoe_size", &["store", "phone"]), None);
        assert!(slip(Table::Customers, "_id", &[]).unwrap().contains("never read"));
    }

    #[test]
    fn times_that_are_none_are_counted() {
        let mut check = TimeCheck::new(Zone::UTC);
        for (line, text) in [(2, "2026-01-01 10:00"), (3, "soon"), (4, ""), (5, "later")] {
            check.look("ordered_at", text, line);
        }
        assert!(check.converts);
        assert_eq!(
            check.warnings("line"),
            ["2 values of `ordered_at` are no times (first in line 3): their rows will be rejected"]
        );
    }
}
