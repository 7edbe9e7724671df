//! Times as other programs write them: those without an offset are given one, in the zone that the request names.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};

use crate::calendar::Zone;

/// What a text is where a time is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Time {
    /// RFC 3339, a date, or nothing: the reader takes it as it stands.
    Readable,
    /// A time in another form, as RFC 3339 in UTC.
    Converted(String),
    /// No time.
    Unreadable,
}

/// Reads a text where a time is asked. Besides RFC 3339 it knows `yyyy-mm-dd hh:mm[:ss[.fraction]]` with `T` or a blank
/// between, without an offset or with one that RFC 3339 does not allow (`UTC`, `+01`, `+0100`). A local time that a
/// daylight-saving night lacks becomes the first instant after it; of one that comes twice the first counts.
pub(super) fn read(text: &str, zone: Zone) -> Time {
    let text = text.trim();
    if text.is_empty()
        || DateTime::parse_from_rfc3339(text).is_ok()
        || NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
    {
        return Time::Readable;
    }
    match convert(text, zone) {
        Some(at) if (0..=9999).contains(&at.year()) => Time::Converted(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        _ => Time::Unreadable,
    }
}

fn convert(text: &str, zone: Zone) -> Option<DateTime<Utc>> {
    let (local, offset) = local_and_rest(text)?;
    let offset = offset.trim_start();
    if offset.is_empty() {
        return Some(zone.instant(local));
    }
    if ["z", "utc", "gmt"].iter().any(|name| offset.eq_ignore_ascii_case(name)) {
        return Some(local.and_utc());
    }
    let offset = fixed_offset(offset)?;
    Some(offset.from_local_datetime(&local).single()?.with_timezone(&Utc))
}

/// Splits a text into its date and time, and what follows.
fn local_and_rest(text: &str) -> Option<(NaiveDateTime, &str)> {
    let bytes = text.as_bytes();
    // Four digits for the year: other calendars' ends are no times of a shop.
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    if !digits(0..4) || bytes.get(4) != Some(&b'-') {
        return None;
    }
    let (day, time) = text.split_at_checked(10)?;
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = chrono::NaiveTime::parse_and_remainder(time, "%H:%M:%S%.f")
        .or_else(|_| chrono::NaiveTime::parse_and_remainder(time, "%H:%M"))
        .ok()?;
    Some((day.and_time(time), rest))
}

/// `±hh`, `±hhmm` or `±hh:mm`.
fn fixed_offset(text: &str) -> Option<FixedOffset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replacen(':', "", 1);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        2 => (digits.as_str(), "0"),
        4 => digits.split_at(2),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if minutes > 59 {
        return None;
    }
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_an_offset_get_the_zones() {
        let zone = Zone::parse("Europe/Copenhagen").unwrap();
        for (text, utc) in [
            ("2026-07-01 10:00", "2026-07-01T08:00:00Z"),
            ("2026-11-19T10:00:00.25", "2026-11-19T09:00:00.250Z"),
            (" 2026-11-19 10:00:00 ", "2026-11-19T09:00:00Z"),
            // A gap, and an hour that comes twice.
            ("2026-03-29 02:30:00", "2026-03-29T01:00:00Z"),
            ("2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),
            ("2026-11-19 10:00:00 UTC", "2026-11-19T10:00:00Z"),
            ("2026-11-19 10:00:00+0100", "2026-11-19T09:00:00Z"),
            ("2026-11-19 10:00 -05", "2026-11-19T15:00:00Z"),
        ] {
            assert_eq!(read(text, zone), Time::Converted(utc.to_owned()), "{text}");
            assert_eq!(read(utc, zone), Time::Readable);
        }
    }

    #[test]
    fn what_the_reader_takes_stays() {
        for text in ["", " ", "2026-11-19", "2026-11-19T10:00:00+01:00", "2026-11-19 10:00:00Z"] {
            assert_eq!(read(text, Zone::UTC), Time::Readable, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_stays_too() {
        let zone = Zone::parse("America/New_York").unwrap();
        for text in [
            "19/11/2026 10:00",
            "2026-13-01 10:00",
            "2026-11-19 25:00",
            "2026-11-19 10:00 CET",
            "2026-11-19 10:00 +9900",
            "9999-12-31 23:59:59",
            "+262142-12-31 23:59:59",
            "2026-11-1é 10:00",
            "yesterday",
        ] {
            assert_eq!(read(text, zone), Time::Unreadable, "{text}");
        }
    }
}
