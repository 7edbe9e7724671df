//! Places of rows, and tables of nothing but the rows at some places.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::shape::Shape;
use crate::engine::pinned::{PinnedFile, PinnedTable};
use crate::error::{Error, Result};

/// A row of a landed table: the number of its file and its own number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// Bits of a place that number the row: a file has fewer than 2⁴⁰ rows, a table fewer than 2²⁴ files.
const ROW_BITS: u32 = 40;

impl Place {
    pub(super) fn new(file: i32, row: i64) -> Self {
        Self((u64::from(file.unsigned_abs()) << ROW_BITS) | row.unsigned_abs())
    }

    /// The place some rows further on in the file.
    pub(super) fn after(self, rows: usize) -> Self {
        Self(self.0 + rows as u64)
    }

    pub(super) fn file(self) -> i32 {
        i32::try_from(self.0 >> ROW_BITS).unwrap_or(i32::MAX)
    }

    fn row(self) -> u64 {
        self.0 & ((1 << ROW_BITS) - 1)
    }
}

/// The table again, with nothing but the rows at `places`, which are sorted: other rows of its files are skipped as they
/// are read. `name` tells the tables that it registers from other picks. What is read of it cannot be sent elsewhere.
pub(super) async fn pick(session: &SessionContext, shape: &Shape, places: &[Place], name: &str) -> Result<Shape> {
    let mut by_file: BTreeMap<i32, &[Place]> = BTreeMap::new();
    for file in places.chunk_by(|a, b| a.file() == b.file()) {
        if let Some(first) = file.first() {
            by_file.insert(first.file(), file);
        }
    }
    let number = |file: &PinnedFile| match file.constants.first() {
        Some(ScalarValue::Int32(Some(number))) => *number,
        _ => -1,
    };
    let mut picked = shape.clone();
    picked.rows = places.len() as u64;
    for group in &mut picked.groups {
        let raw = format!("{}_{name}", group.raw);
        for suffix in ["", "_rows"] {
            let table = session.table_provider(format!("{}{suffix}", group.raw)).await?;
            let table = table
                .downcast_ref::<PinnedTable>()
                .ok_or_else(|| Error::internal("land.pick", format!("`{}` is no table of landed files", group.raw)))?;
            let table = table.picking(|file| {
                let places = by_file.get(&number(file))?;
                selection(places, file.rows?)
            });
            let table_name = format!("{raw}{suffix}");
            session.deregister_table(table_name.as_str())?;
            session.register_table(table_name, Arc::new(table))?;
        }
        group.raw = raw;
    }
    Ok(picked)
}

/// The rows of one file at sorted places, out of all the rows that it has.
fn selection(places: &[Place], rows: u64) -> Option<RowSelection> {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut at = 0;
    for place in places {
        let row = place.row();
        if row < at || row >= rows {
            continue; // the same place twice, or none of this file's
        }
        match selectors.last_mut() {
            Some(last) if !last.skip && row == at => last.row_count += 1,
            _ => {
                if row > at {
                    selectors.push(RowSelector::skip(usize::try_from(row - at).ok()?));
                }
                selectors.push(RowSelector::select(1));
            }
        }
        at = row + 1;
    }
    if selectors.is_empty() {
        return None;
    }
    if rows > at {
        selectors.push(RowSelector::skip(usize::try_from(rows - at).ok()?));
    }
    Some(selectors.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_files_and_rows() {
        let place = Place::new(7, 123_456_789_012);
        assert_eq!((place.file(), place.row()), (7, 123_456_789_012));
        assert_eq!(place.after(3), Place::new(7, 123_456_789_015));
        assert!(Place::new(1, 9) < Place::new(2, 0));
    }

    #[test]
    fn selections_cover_the_file() {
        let places = [0, 1, 1, 4, 5, 9].map(|row| Place::new(3, row));
        let selectors: Vec<RowSelector> = selection(&places, 10).unwrap().into();
        let expected = [
            RowSelector::select(2),
            RowSelector::skip(2),
            RowSelector::select(2),
            RowSelector::skip(3),
            RowSelector::select(1),
        ];
        assert_eq!(selectors, expected);
        assert_eq!(selection(&places[..1], 10).unwrap().row_count(), 1);
        assert!(selection(&[], 10).is_none());
    }
}
