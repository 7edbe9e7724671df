//! Dates as SQL: whole local days become half-open bounds of UTC instants, computed here and not by the database, so
//! that days of 23 and 25 hours are days like any other.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::Scope;
use super::quote::text;
use crate::calendar::add_days;
use crate::error::{Error, Result};
use crate::segments::syntax::{Cmp, Date};

/// A date of a query, resolved.
pub(super) enum When {
    /// A whole local day.
    Day(NaiveDate),
    /// An instant.
    Instant(DateTime<Utc>),
}

pub(super) fn resolve(date: Date, scope: Scope) -> Result<When> {
    if let Date::Instant(local) = date {
        return Ok(When::Instant(scope.zone.instant(local)));
    }
    whole_day(date, scope).map(When::Day)
}

pub(super) fn whole_day(date: Date, scope: Scope) -> Result<NaiveDate> {
    let off =
        || Error::definition("segment.no_such_date", format!("`{date}` is off the calendar as of {}", scope.as_of));
    let day = date.day(scope.as_of).ok_or_else(off)?;
    // The bounds of a day need the day after it.
    add_days(day, 2).map(|_| day).ok_or_else(off)
}

/// An instant as a literal.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    // The day before the first day and the day after the last one that can be written have no spelling in SQL.
    let (first, last) = (NaiveDate::MIN.with_year(1), NaiveDate::MAX.with_year(9999));
    let at = match (at.year(), first, last) {
        (..1, Some(first), _) => first.and_time(NaiveTime::MIN).and_utc(),
        (10_000.., _, Some(last)) => last.and_time(NaiveTime::MIN).and_utc() + TimeDelta::seconds(86_399),
        _ => at,
    };
    let written = text(&at.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    format!("arrow_cast({written}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

pub(super) fn civil(day: NaiveDate) -> String {
    format!("DATE {}", text(&day.format("%Y-%m-%d").to_string()))
}

/// A column of instants compared with a day or an instant.
pub(super) fn compare(column: &str, op: Cmp, date: Date, scope: Scope) -> Result<String> {
    let day = match resolve(date, scope)? {
        When::Instant(at) => return Ok(format!("{column} {} {}", sql_operator(op), instant(at))),
        When::Day(day) => scope.zone.day(day),
    };
    let (start, end) = (instant(day.start), instant(day.end));
    Ok(match op {
        Cmp::Equal => format!("({column} >= {start} AND {column} < {end})"),
        Cmp::NotEqual => format!("({column} < {start} OR {column} >= {end})"),
        Cmp::Less => format!("{column} < {start}"),
        Cmp::LessOrEqual => format!("{column} < {end}"),
        Cmp::Greater => format!("{column} >= {end}"),
        Cmp::GreaterOrEqual => format!("{column} >= {start}"),
    })
}

/// A column of civil dates compared with a day.
pub(super) fn compare_civil(column: &str, op: Cmp, date: Date, scope: Scope) -> Result<String> {
    Ok(format!("{column} {} {}", sql_operator(op), civil(whole_day(date, scope)?)))
}

/// A place on an axis of instants (microseconds) or of civil dates (days since 1970) as a literal; `None` off the calendar.
pub(super) fn axis_literal(at: i64, is_civil: bool) -> Option<String> {
    if is_civil {
        let days = i32::try_from(at).ok()?;
        return arrow::datatypes::Date32Type::to_naive_date_opt(days).map(civil);
    }
    DateTime::from_timestamp_micros(at).map(instant)
}

pub(super) fn sql_operator(op: Cmp) -> &'static str {
    match op {
        Cmp::NotEqual => "<>",
        other => other.spelling(),
    }
}
