//! Exact numbers and dates, as a query writes them.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, NaiveDateTime};

use crate::calendar::{add_days, add_months};

/// An exact decimal number, `unscaled / 10^scale`. The scale is at least 1 unless the number was built from an integer,
/// and there are no zeros at the end beyond that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal {
    unscaled: i128,
    scale: u8,
}

impl Decimal {
    /// A whole number.
    pub fn integer(value: i64) -> Self {
        Self { unscaled: i128::from(value), scale: 0 }
    }

    /// Reads `digits.digits` with an optional minus, or digits alone. At most 37 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match rest.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => {
                let kept = fraction.trim_end_matches('0');
                (whole, if kept.is_empty() { "0" } else { kept })
            }
            Some(_) => return None,
            None => (rest, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || whole.len() + fraction.len() > 37 {
            return None;
        }
        let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = u8::try_from(fraction.len()).ok()?;
        Some(Self { unscaled: if negative { -unscaled } else { unscaled }, scale })
    }

    /// The largest number of `scale` decimals that is not above this one, as a multiple of `10^-scale`, and whether it
    /// is this one exactly. `None` beyond 38 digits.
    pub fn floor_at(self, scale: u8) -> Option<(i128, bool)> {
        if scale >= self.scale {
            let factor = 10_i128.checked_pow(u32::from(scale - self.scale))?;
            let raised = self.unscaled.checked_mul(factor)?;
            return (raised.unsigned_abs() < 10_u128.pow(38)).then_some((raised, true));
        }
        let factor = 10_i128.checked_pow(u32::from(self.scale - scale))?;
        Some((self.unscaled.div_euclid(factor), self.unscaled.rem_euclid(factor) == 0))
    }
}

/// `unscaled / 10^scale` as text.
pub(crate) fn write_decimal(unscaled: i128, scale: u8) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_decimal(self.unscaled, self.scale))
    }
}

impl TryFrom<String> for Decimal {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Decimal::parse(&text).ok_or_else(|| format!("`{text}` is not a decimal number"))
    }
}

impl From<Decimal> for String {
    fn from(value: Decimal) -> Self {
        value.to_string()
    }
}

/// The unit of a relative date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Days.
    Day,
    /// Weeks of seven days.
    Week,
    /// Calendar months, clamped to the month's last day.
    Month,
    /// Calendar years, clamped alike.
    Year,
}

impl Unit {
    pub(super) fn of(letter: char) -> Option<Self> {
        match letter.to_ascii_lowercase() {
            'd' => Some(Unit::Day),
            'w' => Some(Unit::Week),
            'm' => Some(Unit::Month),
            'y' => Some(Unit::Year),
            _ => None,
        }
    }

    /// Its letter.
    pub fn letter(self) -> char {
        match self {
            Unit::Day => 'd',
            Unit::Week => 'w',
            Unit::Month => 'm',
            Unit::Year => 'y',
        }
    }

    /// The largest amount: a thousand years, so that no date falls off the calendar.
    pub(super) fn max_amount(self) -> i32 {
        match self {
            Unit::Day => 365_000,
            Unit::Week => 52_000,
            Unit::Month => 12_000,
            Unit::Year => 1_000,
        }
    }
}

/// A date, as written: `today` is the as-of date, never the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Date {
    /// A whole local day.
    Day(NaiveDate),
    /// An instant in local time.
    Instant(NaiveDateTime),
    /// The as-of date.
    Today,
    /// The day before it.
    Yesterday,
    /// So many units before (negative) or after it; never none.
    Relative(i32, Unit),
}

impl Date {
    /// The local day that it means as of `as_of`; `None` for an instant, and past the calendar's ends.
    pub fn day(self, as_of: NaiveDate) -> Option<NaiveDate> {
        match self {
            Date::Day(day) => Some(day),
            Date::Instant(_) => None,
            Date::Today => Some(as_of),
            Date::Yesterday => add_days(as_of, -1),
            Date::Relative(amount, Unit::Day) => add_days(as_of, i64::from(amount)),
            Date::Relative(amount, Unit::Week) => add_days(as_of, i64::from(amount) * 7),
            Date::Relative(amount, Unit::Month) => add_months(as_of, amount),
            Date::Relative(amount, Unit::Year) => add_months(as_of, amount.checked_mul(12)?),
        }
    }

    /// Reads a date as the language writes it (quotes apart).
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "today" => return Some(Date::Today),
            "yesterday" => return Some(Date::Yesterday),
            _ => {}
        }
        if text.starts_with(['-', '+']) {
            return Self::relative(text);
        }
        if let Some(day) = Self::civil(text) {
            return Some(Date::Day(day));
        }
        let (day, time) = text.split_once('T')?;
        let shaped = time.len() == 8
            && time
                .bytes()
                .enumerate()
                .all(|(at, byte)| if at % 3 == 2 { byte == b':' } else { byte.is_ascii_digit() });
        if !shaped {
            return None;
        }
        let time = chrono::NaiveTime::parse_from_str(time, "%H:%M:%S").ok()?;
        // chrono reads `:60` as a leap second, which no local clock of a shop shows.
        (!text.ends_with(":60")).then_some(Date::Instant(Self::civil(day)?.and_time(time)))
    }

    fn civil(text: &str) -> Option<NaiveDate> {
        let shaped = text.len() == 10
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
        if !shaped {
            return None;
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        (day.year() >= 1).then_some(day)
    }

    fn relative(text: &str) -> Option<Self> {
        let unit = Unit::of(text.chars().next_back()?)?;
        let digits = text.get(1..text.len().checked_sub(1)?)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let amount: i32 = digits.parse().ok()?;
        if amount > unit.max_amount() {
            return None;
        }
        Some(match (amount, text.starts_with('-')) {
            (0, _) => Date::Today,
            (amount, true) => Date::Relative(-amount, unit),
            (amount, false) => Date::Relative(amount, unit),
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Date::Day(day) => write!(f, "{}", day.format("%Y-%m-%d")),
            Date::Instant(at) => write!(f, "{}", at.format("%Y-%m-%dT%H:%M:%S")),
            Date::Today => f.write_str("today"),
            Date::Yesterday => f.write_str("yesterday"),
            Date::Relative(amount, unit) => write!(f, "{amount:+}{}", unit.letter()),
        }
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Date::parse(text).ok_or_else(|| format!("`{text}` is not a date of the segment language"))
    }
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}
