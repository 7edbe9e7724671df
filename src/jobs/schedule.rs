//! Five-field crontab schedules and the local times they name.
//!
//! A schedule names wall-clock times. When such a time falls into a daylight-saving gap, or comes twice, is no
//! schedule's business: `Schedule::times_on` lists wall-clock times of a date, and `Zone::instant` says when each
//! happens (after the gap; the first of two).

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeZone, Utc};

use crate::calendar::Zone;
use crate::diagnostic::nearest;
use crate::error::{Error, Result};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A schedule of crontab(5): minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). Where both
/// days are restricted, either is enough.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    /// The wall-clock times of a day that it names, in order.
    times: Vec<NaiveTime>,
    /// Bits of the days of the month, the months, and the days of the week from Sunday.
    days: u32,
    months: u32,
    weekdays: u32,
    /// Whether one of the two kinds of days is enough.
    either: bool,
}

struct FieldRule {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [FieldRule; 5] = [
    FieldRule { name: "a minute", least: 0, most: 59, names: &[] },
    FieldRule { name: "an hour", least: 0, most: 23, names: &[] },
    FieldRule { name: "a day of the month", least: 1, most: 31, names: &[] },
    FieldRule { name: "a month", least: 1, most: 12, names: &MONTHS },
    FieldRule { name: "a day of the week", least: 0, most: 7, names: &WEEKDAYS },
];

impl Schedule {
    /// Reads five fields as in crontab(5).
    ///
    /// # Errors
    /// `jobs.bad_schedule`, naming the field and what it takes; also for a day that never comes (30 February).
    pub fn parse(text: &str) -> Result<Self> {
        let written: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = written.as_slice() else {
            let message = format!("`{text}` has {} fields, not five", written.len());
            return Err(Error::definition("jobs.bad_schedule", message)
                .with_hint("write minute, hour, day of the month, month and day of the week: `0 4 * * *`"));
        };
        let mut fields = Vec::with_capacity(5);
        for (rule, written) in FIELDS.iter().zip([minute, hour, day, month, weekday]) {
            fields.push(rule.expand(written)?);
        }
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(Error::internal("jobs.bad_schedule", "a schedule has five fields"));
        };
        // crontab(5) counts Sunday as 0 or 7, the crate as 1.
        let weekdays: BTreeSet<u32> = weekdays.iter().map(|weekday| weekday % 7 + 1).collect();
        let part = |days: &str, weekdays: &str| {
            let expression = format!("0 {} {} {days} {} {weekdays}", list(minutes), list(hours), list(months));
            cron::Schedule::from_str(&expression).map_err(|error| {
                Error::definition("jobs.bad_schedule", format!("`{text}` is not a schedule")).with_source(error)
            })
        };
        let by_day = !day.starts_with('*');
        let by_weekday = !weekday.starts_with('*');
        let parts = if by_day && by_weekday {
            vec![part(&list(days), "*")?, part("*", &list(&weekdays))?]
        } else {
            vec![part(&list(days), &list(&weekdays))?]
        };
        let text = written.join(" ");
        // The calendar repeats after 400 years, but a leap day is at most eight years away.
        let start = Utc.with_ymd_and_hms(2000, 1, 1, 0, 0, 0).single().unwrap_or_default();
        if !parts.iter().any(|part| part.after(&start).next().is_some()) {
            return Err(Error::definition("jobs.bad_schedule", format!("`{text}` names a day that never comes")));
        }
        // In UTC the crate neither skips nor doubles a time. One day's times are every day's; which days those are is
        // told from bits, since years of days are planned at once.
        let of_a_day = format!("0 {} {} * * *", list(minutes), list(hours));
        let every_day = cron::Schedule::from_str(&of_a_day).map_err(|error| {
            Error::definition("jobs.bad_schedule", format!("`{text}` is not a schedule")).with_source(error)
        })?;
        let before = start - chrono::TimeDelta::seconds(1);
        let first_day = start.date_naive();
        let times = every_day.after(&before).take_while(|at| at.date_naive() == first_day).map(|at| at.time());
        let bits = |values: &BTreeSet<u32>| values.iter().fold(0_u32, |bits, value| bits | (1 << value));
        Ok(Self {
            times: times.collect(),
            days: bits(days),
            months: bits(months),
            weekdays: bits(&weekdays.iter().map(|weekday| weekday - 1).collect()),
            either: by_day && by_weekday,
            text,
        })
    }

    /// Whether the schedule names a time on a date.
    pub fn is_on(&self, date: NaiveDate) -> bool {
        let is = |bits: u32, value: u32| bits & (1 << value) != 0;
        let day = is(self.days, date.day());
        let weekday = is(self.weekdays, date.weekday().num_days_from_sunday());
        is(self.months, date.month()) && if self.either { day || weekday } else { day && weekday }
    }

    /// The wall-clock times that the schedule names on a date, in order.
    pub fn times_on(&self, date: NaiveDate) -> Vec<NaiveTime> {
        if self.is_on(date) { self.times.clone() } else { Vec::new() }
    }

    /// The first and the last instant at which it ticks on a local date.
    pub fn span_on(&self, date: NaiveDate, zone: Zone) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        if !self.is_on(date) {
            return None;
        }
        let instant = |time: &NaiveTime| zone.instant(date.and_time(*time));
        Some((instant(self.times.first()?), instant(self.times.last()?)))
    }

    /// The instants at which the schedule ticks on a local date. Two times that a daylight-saving gap moves to one
    /// instant are one tick.
    pub fn ticks_on(&self, date: NaiveDate, zone: Zone) -> Vec<DateTime<Utc>> {
        let ticks: BTreeSet<DateTime<Utc>> =
            self.times_on(date).into_iter().map(|time| zone.instant(date.and_time(time))).collect();
        ticks.into_iter().collect()
    }

    /// The first tick after an instant, at most eight years ahead.
    pub fn next_after(&self, at: DateTime<Utc>, zone: Zone) -> Option<DateTime<Utc>> {
        // A time of the day before that a gap moved past midnight is still to come.
        let mut date = zone.local_date(at).pred_opt()?;
        for _ in 0..(8 * 366 + 2) {
            if self.is_on(date)
                && let Some(tick) = self.ticks_on(date, zone).into_iter().find(|tick| *tick > at)
            {
                return Some(tick);
            }
            date = date.checked_add_days(Days::new(1))?;
        }
        None
    }

    /// The five fields as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FieldRule {
    /// The values of `*`, `3`, `1-5`, `*/15`, `0-30/10`, `mon,wed-fri`.
    fn expand(&self, written: &str) -> Result<BTreeSet<u32>> {
        let mut values = BTreeSet::new();
        for part in written.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step = step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(|| self.bad(part))?;
                    (range, Some(step))
                }
                None => (part, None),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.least, if self.most == 7 { 6 } else { self.most }),
                Some((from, to)) => (self.value(from, part)?, self.value(to, part)?),
                // `5/10` is from 5 on, as cron implementations read it.
                None => (self.value(range, part)?, if step.is_some() { self.most } else { self.value(range, part)? }),
            };
            if from > to {
                return Err(self.bad(part));
            }
            values.extend((from..=to).step_by(step.unwrap_or(1) as usize));
        }
        Ok(values)
    }

    fn value(&self, written: &str, part: &str) -> Result<u32> {
        if let Ok(number) = written.parse::<u32>() {
            return if (self.least..=self.most).contains(&number) { Ok(number) } else { Err(self.bad(part)) };
        }
        let lower = written.to_ascii_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(at) => Ok(at as u32 + if self.least == 1 { 1 } else { 0 }),
            None => Err(self.bad(part)),
        }
    }

    fn bad(&self, part: &str) -> Error {
        let message = format!("`{part}` is not {}", self.name);
        let mut hint = format!("write `*`, a number from {} to {}, a range, a list or a step", self.least, self.most);
        if let Some(close) = nearest(part, self.names.iter().copied()) {
            hint = format!("did you mean `{close}`?");
        } else if let (Some(first), Some(last)) = (self.names.first(), self.names.last()) {
            hint.push_str(&format!("; or names from `{first}` to `{last}`"));
        }
        Error::definition("jobs.bad_schedule", message).with_hint(hint)
    }
}

fn list(values: &BTreeSet<u32>) -> String {
    values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;

    fn times(schedule: &str, date: &str) -> Vec<String> {
        let times = Schedule::parse(schedule).unwrap().times_on(parse_date(date).unwrap());
        times.iter().map(|time| time.format("%H:%M").to_string()).collect()
    }

    #[test]
    fn the_usual_forms() {
        assert_eq!(times("0 4 * * *", "2026-11-20"), ["04:00"]);
        assert_eq!(times("*/20 1-2 * * *", "2026-11-20"), ["01:00", "01:20", "01:40", "02:00", "02:20", "02:40"]);
        assert_eq!(times("5/30 0 * NOV fri", "2026-11-20"), ["00:05", "00:35"]);
        assert_eq!(times("0 0 29 2 *", "2026-02-28"), Vec::<String>::new());
        assert_eq!(times("0 0 29 2 *", "2028-02-29"), ["00:00"]);
    }

    #[test]
    fn sunday_is_0_and_7_and_monday_is_1() {
        // 2026-11-22 is a Sunday.
        for sunday in ["0 4 * * 0", "0 4 * * 7", "0 4 * * sun", "0 4 * * 5-7", "0 4 * * 0-1"] {
            assert_eq!(times(sunday, "2026-11-22"), ["04:00"], "{sunday}");
        }
        assert_eq!(times("0 4 * * 1", "2026-11-22"), Vec::<String>::new());
        assert_eq!(times("0 4 * * 1", "2026-11-23"), ["04:00"]);
        assert_eq!(times("0 4 * * 6", "2026-11-21"), ["04:00"]);
        assert_eq!(times("0 4 * * */2", "2026-11-21"), ["04:00"]);
        assert_eq!(times("0 4 * * */2", "2026-11-23"), Vec::<String>::new());
    }

    #[test]
    fn of_two_restricted_days_either_is_enough() {
        let schedule = "0 4 1 * mon";
        assert_eq!(times(schedule, "2026-12-01"), ["04:00"]);
        assert_eq!(times(schedule, "2026-11-23"), ["04:00"]);
        assert_eq!(times(schedule, "2026-11-24"), Vec::<String>::new());
    }

    #[test]
    fn daylight_saving_moves_and_never_doubles() {
        let zone = Zone::parse("Europe/Copenhagen").unwrap();
        let ticks =
            |schedule: &str, date: &str| Schedule::parse(schedule).unwrap().ticks_on(parse_date(date).unwrap(), zone);
        // 02:00 to 03:00 does not exist on 2026-03-29, and comes twice on 2026-10-25.
        assert_eq!(ticks("30 2 * * *", "2026-03-29"), [Utc.with_ymd_and_hms(2026, 3, 29, 1, 0, 0).unwrap()]);
        assert_eq!(ticks("0,30 2 * * *", "2026-03-29").len(), 1);
        assert_eq!(ticks("30 2 * * *", "2026-10-25"), [Utc.with_ymd_and_hms(2026, 10, 25, 0, 30, 0).unwrap()]);
    }

    /// The crate's own reading, for schedules without two restricted days.
    #[test]
    fn days_and_times_are_those_of_the_crate() {
        for (ours, theirs) in [
            ("*/20 1-3 * * *", "0 */20 1-3 * * *"),
            ("5 4 * * 1-5", "0 5 4 * * 2-6"),
            ("0 0 31 * *", "0 0 0 31 * *"),
            ("59 23 1-7 2,6 *", "0 59 23 1-7 2,6 *"),
            ("7 0 29 2 *", "0 7 0 29 2 *"),
        ] {
            let (ours, theirs) = (Schedule::parse(ours).unwrap(), cron::Schedule::from_str(theirs).unwrap());
            let from = Utc.with_ymd_and_hms(2023, 12, 31, 23, 59, 59).unwrap();
            let to = Utc.with_ymd_and_hms(2028, 3, 1, 0, 0, 0).unwrap();
            let listed: Vec<_> = theirs.after(&from).take_while(|at| *at < to).collect();
            let days = (from.date_naive() + Days::new(1)).iter_days().take_while(|day| *day < to.date_naive());
            let told: Vec<_> = days.flat_map(|day| ours.ticks_on(day, Zone::UTC)).collect();
            assert_eq!(told, listed, "{}", ours.as_str());
        }
    }

    #[test]
    fn the_next_tick() {
        let schedule = Schedule::parse("0 4 29 2 *").unwrap();
        let from = Utc.with_ymd_and_hms(2026, 11, 20, 0, 0, 0).unwrap();
        assert_eq!(schedule.next_after(from, Zone::UTC), Some(Utc.with_ymd_and_hms(2028, 2, 29, 4, 0, 0).unwrap()));
    }

    #[test]
    fn bad_schedules_name_the_field() {
        let error = |schedule: &str| {
            let error = Schedule::parse(schedule).unwrap_err();
            assert_eq!(error.code(), "jobs.bad_schedule");
            format!("{} ({})", error.message(), error.hint().unwrap_or_default())
        };
        assert!(error("0 4 * *").starts_with("`0 4 * *` has 4 fields"));
        assert!(error("60 4 * * *").starts_with("`60` is not a minute"));
        assert!(error("0 4 0 * *").contains("day of the month"));
        assert!(error("0 4 * * mno").ends_with("(did you mean `mon`?)"));
        assert!(error("0 4 31 2 *").contains("never comes"));
        for bad in [
            "",
            "* * * * * *",
            "@daily",
            "a b c d e",
            "1-0 * * * *",
            "*/0 * * * *",
            "-1 * * * *",
            ", * * * *",
            "0 4 * * 8",
        ] {
            error(bad);
        }
    }
}
