//! As-of dates, local days of a time zone, half-open intervals, and the clock.
//!
//! Nothing below `jobs` and `cli` reads a clock: whatever depends on time takes the as-of date.

use chrono::{DateTime, Days, Months, NaiveDate, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::diagnostic::nearest;
use crate::error::{Error, Result};

/// A shop's IANA time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// The half-open interval `[start, end)` of two UTC instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first instant inside.
    pub start: DateTime<Utc>,
    /// The first instant past the end.
    pub end: DateTime<Utc>,
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone(Tz::UTC);

    /// Reads an IANA name such as `Europe/Copenhagen`.
    ///
    /// # Errors
    /// `calendar.unknown_zone` with the nearest names that exist.
    pub fn parse(name: &str) -> Result<Self> {
        name.trim().parse::<Tz>().map(Zone).map_err(|_| {
            let names: Vec<&str> = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
            let hint = match nearest(name, names) {
                Some(close) => format!("did you mean `{close}`?"),
                None => "write an IANA name such as `Europe/Copenhagen`".to_owned(),
            };
            Error::definition("calendar.unknown_zone", format!("the time zone `{name}` does not exist")).with_hint(hint)
        })
    }

    /// The IANA name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The first instant that exists on the local day `date`. Where midnight falls into a daylight-saving gap this is
    /// the end of the gap; where midnight comes twice it is the first of them.
    pub fn start_of_day(self, date: NaiveDate) -> DateTime<Utc> {
        let midnight = date.and_time(NaiveTime::MIN);
        if let Some(found) = self.0.from_local_datetime(&midnight).earliest() {
            return found.with_timezone(&Utc);
        }
        // In a gap: gaps are whole minutes and shorter than a day, Samoa's skipped day of 2011 apart, where the next
        // day's start serves for both.
        let mut local = midnight;
        for _ in 0..(26 * 60) {
            local += TimeDelta::minutes(1);
            if let Some(found) = self.0.from_local_datetime(&local).earliest() {
                return found.with_timezone(&Utc);
            }
        }
        Utc.from_utc_datetime(&midnight)
    }

    /// The cutoff of an as-of date: the first instant of the next local day, which is already invisible.
    pub fn cutoff(self, as_of: NaiveDate) -> DateTime<Utc> {
        self.start_of_day(as_of + Days::new(1))
    }

    /// `[start(D), start(D + 1))`: 23, 24 or 25 hours.
    pub fn day(self, date: NaiveDate) -> Interval {
        Interval { start: self.start_of_day(date), end: self.cutoff(date) }
    }

    /// The local date of an instant.
    pub fn local_date(self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.0).date_naive()
    }

    /// The instant of a local date and time; in a gap the first instant after it, where it comes twice the first.
    pub fn instant(self, local: chrono::NaiveDateTime) -> DateTime<Utc> {
        let mut probe = local;
        for _ in 0..(26 * 60) {
            if let Some(found) = self.0.from_local_datetime(&probe).earliest() {
                return found.with_timezone(&Utc);
            }
            probe += TimeDelta::minutes(1);
        }
        Utc.from_utc_datetime(&local)
    }

    /// Seconds east of UTC at an instant.
    pub fn offset_seconds(self, at: DateTime<Utc>) -> i32 {
        self.0.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Adds calendar months (negative: subtracts), clamped to the month's last day. `None` past the calendar's ends.
pub fn add_months(date: NaiveDate, months: i32) -> Option<NaiveDate> {
    let count = Months::new(months.unsigned_abs());
    if months < 0 { date.checked_sub_months(count) } else { date.checked_add_months(count) }
}

/// Adds days (negative: subtracts). `None` past the calendar's ends.
pub fn add_days(date: NaiveDate, days: i64) -> Option<NaiveDate> {
    TimeDelta::try_days(days).and_then(|delta| date.checked_add_signed(delta))
}

/// Reads an as-of date written `yyyy-mm-dd`.
///
/// # Errors
/// `calendar.bad_date` for anything else, and for a day that does not exist.
pub fn parse_date(text: &str) -> Result<NaiveDate> {
    NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").map_err(|_| {
        Error::usage("calendar.bad_date", format!("`{text}` is not a date that exists"))
            .with_hint("write a day as `yyyy-mm-dd`, such as `2026-11-19`")
    })
}

/// Where the present comes from: the system, or a fixed instant (tests, `ALLUVIAL_NOW`).
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's own clock.
    System,
    /// Always this instant.
    Fixed(DateTime<Utc>),
}

impl Clock {
    /// The present instant.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now(self) -> DateTime<Utc> {
        match self {
            Clock::System => Utc::now(),
            Clock::Fixed(at) => at,
        }
    }
}
