//! What a day waits for before it is begun.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use super::due::Due;
use crate::calendar::Zone;
use crate::config::document::Section;
use crate::config::quantity::parse_duration;
use crate::error::{Error, Result};

/// What must be landed before a day is begun, and what happens if it never is. What is not asked is not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// The newest order or event must be at or past the end of the day, minus this.
    pub newest_within: Option<Duration>,
    /// The day's orders and events must be at least this share of the median of the last eight same weekdays.
    pub rows: Option<f64>,
    /// An object below the lake's root that must be there; `{as_of}` stands for the day.
    pub marker: Option<String>,
    /// No landed file may have been written for this long.
    pub quiet_for: Option<Duration>,
    /// The local time on the day of the tick until which to wait; `None`: for a day from the tick on.
    pub wait_until: Option<NaiveTime>,
    /// Whether the day is run then as it is, with a mark that its data is partial; otherwise it fails.
    pub then_run: bool,
}

impl Ready {
    /// Reads `[ready]` of a job; `None` where it is not written.
    pub(super) fn read(mut section: Section<'_>) -> Option<Ready> {
        let is_present = section.is_present();
        let newest_within = section.parsed("newest_within", parse_duration);
        let rows = section.share("rows");
        let marker = section.text("marker").map(|text| text.value);
        let quiet_for = section.parsed("quiet_for", parse_duration);
        let wait_until = section.parsed("wait_until", parse_time);
        let then_run = section.choice("then", &[("fail", false), ("run", true)]).unwrap_or(false);
        section.finish();
        is_present.then_some(Ready { newest_within, rows, marker, quiet_for, wait_until, then_run })
    }

    /// When the wait for a day is over.
    pub fn deadline(&self, due: &Due, zone: Zone) -> DateTime<Utc> {
        let Some(time) = self.wait_until else { return due.tick + TimeDelta::days(1) };
        let date = zone.local_date(due.tick);
        let deadline = zone.instant(date.and_time(time));
        // A time before the tick's own is the next day's.
        if deadline > due.tick {
            deadline
        } else {
            date.succ_opt().map_or(deadline, |next| zone.instant(next.and_time(time)))
        }
    }
}

fn parse_time(text: &str) -> Result<NaiveTime> {
    NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| {
        Error::definition("jobs.bad_time", format!("`{text}` is not a time of the day")).with_hint("write `09:00`")
    })
}

/// What is known of a day's input.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The newest order or event, as far as the day can see.
    pub newest: Option<DateTime<Utc>>,
    /// Orders and events of the day.
    pub rows: u64,
    /// Of the last eight same weekdays before it, the newest first; those before the first row are left out.
    pub rows_before: Vec<u64>,
    /// Whether the marker is there.
    pub marked: bool,
    /// When the newest landed file was written.
    pub written: Option<DateTime<Utc>>,
}

/// The middle of some counts; of an even number the lower middle's half with the upper's.
pub fn median(counts: &[u64]) -> Option<f64> {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵²")]
    let at = |place: usize| sorted.get(place).map(|count| *count as f64);
    if sorted.len() % 2 == 1 { at(middle) } else { Some((at(middle.checked_sub(1)?)? + at(middle)?) / 2.0) }
}

/// Why a day is not ready; none where it is. `end` is the first instant after the day.
pub fn lacking(ready: &Ready, input: &Input, end: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    if let Some(marker) = ready.marker.as_ref().filter(|_| !input.marked) {
        return Some(format!("`{marker}` is not there"));
    }
    if let Some(grace) = ready.newest_within {
        let wanted = end - TimeDelta::from_std(grace).unwrap_or_default();
        match input.newest {
            Some(newest) if newest >= wanted => {}
            Some(newest) => {
                return Some(format!("the newest order or event is of {newest:?}, and {wanted:?} is waited for"));
            }
            None => return Some("no order and no event is landed".to_owned()),
        }
    }
    if let Some(share) = ready.rows
        && input.rows_before.len() >= 4
        && let Some(usual) = median(&input.rows_before)
    {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵²")]
        let rows = input.rows as f64;
        if rows < usual * share {
            return Some(format!("{} orders and events are landed for the day; usual are {usual}", input.rows));
        }
    }
    if let (Some(quiet), Some(written)) = (ready.quiet_for, input.written)
        && now - written < TimeDelta::from_std(quiet).unwrap_or_default()
    {
        return Some("files are still being landed".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    fn nothing_asked() -> Ready {
        Ready { newest_within: None, rows: None, marker: None, quiet_for: None, wait_until: None, then_run: false }
    }

    #[test]
    fn only_what_is_asked_is_waited_for() {
        let (end, now) = (at("2026-11-20T00:00:00Z"), at("2026-11-20T04:00:00Z"));
        let told = |ready: &Ready, input: &Input| lacking(ready, input, end, now).unwrap_or_default();
        assert_eq!(told(&nothing_asked(), &Input::default()), "");
        let marker = Ready { marker: Some("landing/ready/{as_of}".to_owned()), ..nothing_asked() };
        assert!(told(&marker, &Input::default()).contains("is not there"));
        assert_eq!(told(&marker, &Input { marked: true, ..Input::default() }), "");
        let newest = Ready { newest_within: Some(Duration::from_secs(3_600)), ..nothing_asked() };
        let input = |text| Input { newest: Some(at(text)), ..Input::default() };
        assert_eq!(told(&newest, &input("2026-11-19T23:00:00Z")), "");
        assert!(told(&newest, &input("2026-11-19T22:59:59Z")).contains("is waited for"));
        assert!(told(&newest, &Input::default()).contains("no order"));
        let rows = Ready { rows: Some(0.3), ..nothing_asked() };
        let input = |rows, before: &[u64]| Input { rows, rows_before: before.to_vec(), ..Input::default() };
        assert_eq!(told(&rows, &input(30, &[100, 90, 110, 100])), "");
        assert!(told(&rows, &input(29, &[100, 90, 110, 100])).contains("usual are 100"));
        assert_eq!(told(&rows, &input(0, &[100, 90, 110])), "", "three weeks tell nothing");
        let quiet = Ready { quiet_for: Some(Duration::from_secs(600)), ..nothing_asked() };
        let input = |text| Input { written: Some(at(text)), ..Input::default() };
        assert_eq!(told(&quiet, &input("2026-11-20T03:50:00Z")), "");
        assert!(told(&quiet, &input("2026-11-20T03:50:01Z")).contains("still being landed"));
    }

    #[test]
    fn the_wait_ends_at_a_local_time_after_the_tick() {
        let zone = Zone::parse("Europe/Copenhagen").unwrap();
        let due = Due { as_of: parse_date("2026-11-19").unwrap(), tick: at("2026-11-20T03:00:00Z") };
        let until = |time: &str| Ready { wait_until: Some(parse_time(time).unwrap()), ..nothing_asked() };
        assert_eq!(until("09:00").deadline(&due, zone), at("2026-11-20T08:00:00Z"));
        assert_eq!(until("03:00").deadline(&due, zone), at("2026-11-21T02:00:00Z"));
        assert_eq!(nothing_asked().deadline(&due, zone), at("2026-11-21T03:00:00Z"));
        assert_eq!(parse_time("9 o'clock").unwrap_err().code(), "jobs.bad_time");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(
            [median(&[]), median(&[3]), median(&[9, 1, 5]), median(&[1, 2])],
            [None, Some(3.0), Some(5.0), Some(1.5)]
        );
    }
}
