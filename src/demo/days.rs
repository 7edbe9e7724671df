//! The days of the shop's history: their instants in its zone, how busy they are, and the folders they are landed in.

use chrono::{Datelike, NaiveDate, TimeDelta};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::calendar::Zone;

/// Microseconds in a second.
pub(super) const SECOND: i64 = 1_000_000;
/// Microseconds in an hour.
pub(super) const HOUR: i64 = 3_600 * SECOND;
/// Microseconds in 24 hours.
pub(super) const DAY: i64 = 24 * HOUR;

/// How busy each hour of a local day is, in orders out of 200.
const HOURS: [u32; 24] = [2, 1, 1, 1, 1, 2, 4, 7, 9, 10, 11, 11, 12, 11, 10, 10, 11, 12, 13, 15, 17, 15, 10, 4];
/// How busy each month is.
const MONTHS: [f64; 12] = [0.92, 0.82, 0.90, 0.94, 1.00, 0.96, 0.84, 0.90, 0.98, 1.04, 1.48, 1.62];
/// How busy each weekday is, Monday first.
const WEEKDAYS: [f64; 7] = [1.06, 0.98, 0.96, 0.98, 0.92, 0.96, 1.14];

/// The days of the history.
pub(super) struct Days {
    first: NaiveDate,
    starts: Vec<i64>,
    season: Vec<f64>,
    busiest: f64,
    arrivals: Vec<f64>,
    hours: [u32; 24],
}

impl Days {
    /// The `count` local days that end with `last`.
    pub(super) fn new(last: NaiveDate, count: u32, zone: Zone) -> Self {
        let first = last - TimeDelta::days(i64::from(count) - 1);
        let dates: Vec<NaiveDate> = (0..count).map(|n| first + TimeDelta::days(i64::from(n))).collect();
        let mut starts: Vec<i64> = dates.iter().map(|date| zone.start_of_day(*date).timestamp_micros()).collect();
        starts.push(zone.cutoff(last).timestamp_micros());
        let season: Vec<f64> = dates.iter().map(|date| busyness(*date)).collect();
        let busiest = season.iter().copied().fold(0.0, f64::max);
        // A shop that grows: by 60% in two years.
        let mut sum = 0.0;
        let arrivals = (0..count)
            .zip(&season)
            .map(|(n, season)| {
                sum += season * (1.0 + 0.6 * f64::from(n) / 730.0);
                sum
            })
            .collect();
        let mut hours = HOURS;
        for n in 1..24 {
            hours[n] += hours[n - 1];
        }
        Self { first, starts, season, busiest, arrivals, hours }
    }

    /// How many days there are.
    pub(super) fn count(&self) -> usize {
        self.season.len()
    }

    /// The date of a day.
    pub(super) fn date(&self, day: usize) -> NaiveDate {
        self.first + TimeDelta::days(day as i64)
    }

    /// The first instant.
    pub(super) fn begin(&self) -> i64 {
        self.starts[0]
    }

    /// The first instant past the last day.
    pub(super) fn end(&self) -> i64 {
        self.starts[self.count()]
    }

    /// The day of an instant, none outside the history.
    pub(super) fn day_of(&self, at: i64) -> Option<usize> {
        (at >= self.begin() && at < self.end()).then(|| self.starts.partition_point(|start| *start <= at) - 1)
    }

    /// An instant on a day, by the 86,400th parts of that day: a day of 23 or 25 hours keeps all of them.
    pub(super) fn instant(&self, day: usize, part: u32) -> i64 {
        let length = self.starts[day + 1] - self.starts[day];
        self.starts[day] + i64::from(part.min(86_399)) * (length / 86_400)
    }

    /// A random instant on a day, most of them in the evening.
    pub(super) fn moment(&self, day: usize, rng: &mut ChaCha8Rng) -> i64 {
        let pick = rng.random_range(0..self.hours[23]);
        let hour = self.hours.partition_point(|upto| *upto <= pick) as u32;
        self.instant(day, hour * 3_600 + rng.random_range(0..3_600))
    }

    /// How busy the busiest day is: by this a rate is multiplied before days are drawn and thinned.
    pub(super) fn busiest(&self) -> f64 {
        self.busiest
    }

    /// Whether something drawn at the rate of the busiest day also happens on this one.
    pub(super) fn happens(&self, day: usize, rng: &mut ChaCha8Rng) -> bool {
        rng.random::<f64>() * self.busiest < self.season[day]
    }

    /// The day on which the given share (0 to 1) of all customers has come.
    pub(super) fn arrival(&self, share: f64) -> usize {
        let all = self.arrivals.last().copied().unwrap_or(0.0);
        self.arrivals.partition_point(|sum| *sum <= share * all).min(self.count() - 1)
    }
}

fn busyness(date: NaiveDate) -> f64 {
    let month = MONTHS[date.month0() as usize];
    let weekday = WEEKDAYS[date.weekday().num_days_from_monday() as usize];
    let sales = match (date.month(), date.day()) {
        (11, 20..=30) => 1.45,
        (12, 1..=18) => 1.15,
        (12, 24..=26) => 0.35,
        (1, 2..=12) => 1.15,
        _ => 1.0,
    };
    month * weekday * sales
}

/// How many days one folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    Month,
    Quarter,
    Year,
}

/// The `dt=` folders of one table: each is named by the last day that it holds.
pub(super) struct Folders {
    of_day: Vec<u16>,
    names: Vec<NaiveDate>,
}

impl Folders {
    /// Folders of a grain, but one a day for the last `daily` days.
    pub(super) fn new(days: &Days, grain: Grain, daily: usize) -> Self {
        let mut of_day = Vec::with_capacity(days.count());
        let mut names: Vec<NaiveDate> = Vec::new();
        let mut open = None;
        for day in 0..days.count() {
            let date = days.date(day);
            let period = match grain {
                Grain::Month => (date.year(), date.month0(), 0),
                Grain::Quarter => (date.year(), date.month0() / 3, 0),
                Grain::Year => (date.year(), 0, 0),
            };
            let period = if day + daily >= days.count() { (date.year(), date.month0(), date.day()) } else { period };
            if open != Some(period) {
                open = Some(period);
                names.push(date);
            }
            if let Some(name) = names.last_mut() {
                *name = date;
            }
            of_day.push((names.len() - 1) as u16);
        }
        Self { of_day, names }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// The folder of a day.
    pub(super) fn of(&self, day: usize) -> usize {
        usize::from(self.of_day[day])
    }

    /// The date in the folder's name: the last day in it.
    pub(super) fn date(&self, folder: usize) -> NaiveDate {
        self.names[folder]
    }
}
