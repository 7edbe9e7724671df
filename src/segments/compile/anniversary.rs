//! `anniversary('birthday')`: month and day compared, whatever the year. Somebody born on 29 February has the
//! anniversary on the 28th in a year without one.

use chrono::{Datelike, NaiveDate};

use super::Scope;
use super::days::{sql_operator, whole_day};
use super::quote::text;
use crate::error::Result;
use crate::profile::catalogue::Type;
use crate::segments::syntax::{Cmp, Date};

/// Month × 100 + day of the anniversary in the year of `day`, as SQL.
fn key_in_year_of(day: NaiveDate, column: &str, kind: &Type, scope: Scope) -> String {
    let local = match kind {
        // The local day decides; the cast to a zone keeps the instant and tells its parts in local time.
        Type::Day => {
            let zoned = format!("Timestamp(Microsecond, Some(\"{}\"))", scope.zone.name());
            format!("arrow_cast({column}, {})", text(&zoned))
        }
        _ => column.to_owned(),
    };
    let key = format!("date_part('month', {local}) * 100 + date_part('day', {local})");
    if day.leap_year() { format!("({key})") } else { format!("CASE WHEN {key} = 229 THEN 228 ELSE {key} END") }
}

fn key(day: NaiveDate) -> u32 {
    day.month() * 100 + day.day()
}

pub(super) fn compare(column: &str, kind: &Type, op: Cmp, date: Date, scope: Scope) -> Result<String> {
    let day = whole_day(date, scope)?;
    Ok(format!("{} {} {}", key_in_year_of(day, column, kind, scope), sql_operator(op), key(day)))
}

/// A range of a year or more has every anniversary. A range over New Year has those from its first day on and those up
/// to its last.
pub(super) fn between(column: &str, kind: &Type, low: Date, high: Date, scope: Scope) -> Result<String> {
    let (low, high) = (whole_day(low, scope)?, whole_day(high, scope)?);
    if low <= high && low.with_year(low.year() + 1).map_or((high - low).num_days() >= 365, |next| next <= high) {
        return Ok(format!("{column} IS NOT NULL"));
    }
    let from = format!("{} >= {}", key_in_year_of(low, column, kind, scope), key(low));
    let to = format!("{} <= {}", key_in_year_of(high, column, kind, scope), key(high));
    let wraps = if low.year() == high.year() { key(low) > key(high) } else { low < high || key(low) > key(high) };
    Ok(if wraps { format!("({from} OR {to})") } else { format!("({from} AND {to})") })
}
