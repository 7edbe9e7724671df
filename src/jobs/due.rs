//! What is owed: as-of dates without a final record, as a pure function of the schedule, the record and the present.
//!
//! A tick of the schedule owes the day before it. What counts is not which ticks something was awake for, but which of
//! the days that they owe have no final record: a night that was missed, one that failed on the way and one that nobody
//! has begun look the same. An edited schedule owes from the moment on that it was first seen, so that old days never
//! become due by it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use super::definition::CatchUp;
use super::schedule::Schedule;
use crate::calendar::Zone;

/// A tick that is older than this when a scheduler begins was missed.
const MISSED_AFTER: TimeDelta = TimeDelta::minutes(5);

/// A schedule of a job, and the instant from which it counts.
#[derive(Debug, Clone)]
pub struct Since {
    /// The first instant whose tick counts.
    pub at: DateTime<Utc>,
    /// The schedule; none: the job runs by hand only.
    pub schedule: Option<Schedule>,
    /// The zone of its wall-clock times.
    pub zone: Zone,
}

/// What is known of a job's days.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its schedules, the oldest first.
    pub schedules: Vec<Since>,
    /// Days with a final record.
    pub closed: BTreeSet<NaiveDate>,
    /// Days that wait for a person: held ones.
    pub waiting: BTreeSet<NaiveDate>,
    /// Every day up to this one is closed.
    pub through: Option<NaiveDate>,
}

/// How far back a job catches up.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// Which missed days are run.
    pub catch_up: CatchUp,
    /// How many days back from the newest day owed.
    pub days: u32,
}

/// A day that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The day.
    pub as_of: NaiveDate,
    /// The first tick that owes it.
    pub tick: DateTime<Utc>,
}

/// What is to be done about the days that are owed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owed {
    /// To be run, the oldest first.
    pub run: Vec<Due>,
    /// Not to be run any more, the oldest first.
    pub skip: Vec<NaiveDate>,
    /// Whether days are skipped because they are too far back, and not because the job asks for it.
    pub truncated: bool,
}

/// What a job owes at an instant. `shop` is the zone of the as-of dates; `awake_since` is when the scheduler that asks
/// began: older ticks were missed.
pub fn owed(known: &Known, reach: Reach, shop: Zone, now: DateTime<Utc>, awake_since: DateTime<Utc>) -> Owed {
    let mut open = BTreeMap::new();
    for (number, since) in known.schedules.iter().enumerate() {
        let until = known.schedules.get(number + 1).map(|next| next.at);
        // The next schedule counts from its first instant on; the present one up to now, now included.
        let last = until.map_or(now, |until| (until - TimeDelta::microseconds(1)).min(now));
        open_days(known, since, last, shop, &mut open);
    }
    let Some(newest) = open.keys().next_back().copied() else { return Owed::default() };
    let oldest = newest.checked_sub_days(Days::new(u64::from(reach.days.max(1)) - 1)).unwrap_or(newest);
    let mut owed = Owed::default();
    for (as_of, tick) in open {
        let tick = match tick {
            Tick::At(tick) => tick,
            Tick::On(date, since) => match since.schedule.as_ref().and_then(|s| s.span_on(date, since.zone)) {
                Some((first, _)) => first,
                None => continue,
            },
        };
        let kept = match reach.catch_up {
            _ if as_of < oldest => {
                owed.truncated |= reach.catch_up == CatchUp::All;
                false
            }
            CatchUp::All => true,
            CatchUp::Latest => as_of == newest,
            CatchUp::None => as_of == newest && tick >= awake_since - MISSED_AFTER,
        };
        if kept {
            owed.run.push(Due { as_of, tick });
        } else {
            owed.skip.push(as_of);
        }
    }
    owed
}

/// The next instant at which a job is due for something.
pub fn next_tick(known: &Known, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let since = known.schedules.last()?;
    since.schedule.as_ref()?.next_after(now.max(since.at - TimeDelta::microseconds(1)), since.zone)
}

/// The newest tick up to an instant, this one included, of the schedule as it is now; none before the schedule counts.
pub fn last_tick(known: &Known, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let since = known.schedules.last()?;
    let schedule = since.schedule.as_ref()?;
    // A gap that takes in midnight moves the ticks of a date to the next.
    let begins = since.zone.local_date(since.at).pred_opt()?;
    let dates = std::iter::successors(Some(since.zone.local_date(until)), NaiveDate::pred_opt);
    dates.take_while(|date| *date >= begins).filter(|date| schedule.is_on(*date)).find_map(|date| {
        let ticks = schedule.ticks_on(date, since.zone).into_iter();
        ticks.filter(|tick| *tick <= until && *tick >= since.at).max()
    })
}

/// The first tick that owes a day: known, or to be found on a date if the day is to be run.
#[derive(Debug, Clone, Copy)]
enum Tick<'a> {
    At(DateTime<Utc>),
    On(NaiveDate, &'a Since),
}

/// The open days that one schedule owes for its ticks up to `last`.
fn open_days<'a>(
    known: &Known,
    since: &'a Since,
    last: DateTime<Utc>,
    shop: Zone,
    open: &mut BTreeMap<NaiveDate, Tick<'a>>,
) {
    let Some(schedule) = &since.schedule else { return };
    if last < since.at {
        return;
    }
    let is_open = |day: &NaiveDate| {
        known.through.is_none_or(|through| *day > through)
            && !known.closed.contains(day)
            && !known.waiting.contains(day)
    };
    let (begins, ends) = (since.zone.local_date(since.at), since.zone.local_date(last));
    // A gap that takes in midnight moves the ticks of a date to the next.
    let first = begins.pred_opt().unwrap_or(begins);
    let first = known.through.and_then(|day| day.checked_sub_days(Days::new(2))).map_or(first, |day| first.max(day));
    for date in first.iter_days().take_while(|date| *date <= ends) {
        if !schedule.is_on(date) {
            continue;
        }
        let inside = date > begins && date < ends;
        if inside && since.zone == shop {
            if let Some(day) = date.pred_opt().filter(is_open) {
                open.entry(day).or_insert(Tick::On(date, since));
            }
            continue;
        }
        if inside && let Some((first, last)) = schedule.span_on(date, since.zone) {
            let (first_day, last_day) = (shop.local_date(first), shop.local_date(last));
            if first_day == last_day {
                if let Some(day) = first_day.pred_opt().filter(is_open) {
                    open.entry(day).or_insert(Tick::At(first));
                }
                continue;
            }
        }
        for tick in schedule.ticks_on(date, since.zone).into_iter().filter(|tick| *tick >= since.at && *tick <= last) {
            let owed = if since.zone == shop { date } else { shop.local_date(tick) };
            if let Some(day) = owed.pred_opt().filter(is_open) {
                open.entry(day).or_insert(Tick::At(tick));
            }
        }
    }
}

#[cfg(test)]
mod tests;
