//! SQL that tells what a test looked at, over tables that hold one customer: one row each.

use super::quote::identifier;
use super::standalone::{Picked, picked};
use super::{Scope, Tables, place, rows};
use crate::error::{Error, Result};
use crate::profile::catalogue::{Attribute, Source};
use crate::segments::check::{PlaceTest, RowsTest};

/// The customer's value of an attribute; of an attribute in several spellings the longest.
///
/// # Errors
/// A fact about rows, which is no attribute.
pub fn value_sql(attribute: &Attribute, tables: &Tables) -> Result<String> {
    let table = if attribute.contact { &tables.contacts } else { &tables.profile };
    let value = match &attribute.source {
        Source::Column(column) => identifier(column),
        Source::Spellings(spellings) => {
            let longest = spellings.iter().max_by_key(|columns| columns.len()).copied().unwrap_or_default();
            let columns: Vec<String> = longest.iter().map(|column| identifier(column)).collect();
            format!("nullif(concat_ws('-', {}), '')", columns.join(", "))
        }
        Source::Row(_) => return Err(Error::internal("segment.misfit", "a fact about rows stands alone")),
    };
    Ok(format!("SELECT {value} AS value FROM {}", identifier(table)))
}

/// How many rows a function picked (`picked`), when the newest of them happened (`newest`), and what is asked about
/// (`total_1`, `total_2` …). The customer's rows are all that the tables have.
///
/// # Errors
/// A date off the calendar.
pub fn picked_sql(test: &RowsTest, scope: Scope, tables: &Tables) -> Result<String> {
    let Picked { totals, from, kept } = picked(test, scope, tables)?;
    let totals: String = totals.iter().map(|total| format!(", {total}")).collect();
    let (axis, _) = rows::axis(test.rows);
    Ok(format!("SELECT count(*) AS picked, max({axis}) AS newest{totals}\n  FROM {from}{kept}"))
}

/// How far the customer is from the point, in kilometres; missing where the place is not known. `None` for a test that
/// names no point.
pub fn place_sql(test: &PlaceTest, tables: &Tables) -> Option<String> {
    let distance = place::distance(test.point?, "latitude", "longitude");
    Some(format!("SELECT {distance} AS value FROM {}", identifier(&tables.contacts)))
}
