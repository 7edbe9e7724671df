//! What is owed, in every zone and through every transition.

use super::*;
use crate::calendar::parse_date;
use chrono::{NaiveTime, TimeZone};

const ALL: Reach = Reach { catch_up: CatchUp::All, days: 31 };

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
}

fn day(text: &str) -> NaiveDate {
    parse_date(text).unwrap()
}

fn since(at_: &str, schedule: &str, zone: Zone) -> Since {
    Since { at: at(at_), schedule: Some(Schedule::parse(schedule).unwrap()), zone }
}

fn nightly(from: &str) -> Known {
    Known { schedules: vec![since(from, "0 4 * * *", Zone::UTC)], ..Known::default() }
}

fn days(owed: &Owed) -> Vec<String> {
    owed.run.iter().map(|due| due.as_of.to_string()).collect()
}

fn at_once(known: &Known, reach: Reach, now: &str) -> Owed {
    owed(known, reach, Zone::UTC, at(now), at(now))
}

#[test]
fn a_tick_owes_the_day_before_it_once() {
    let known = nightly("2026-11-01T12:00:00Z");
    assert_eq!(at_once(&known, ALL, "2026-11-02T03:59:59Z"), Owed::default());
    let owed = at_once(&known, ALL, "2026-11-02T04:00:00Z");
    assert_eq!(owed.run, [Due { as_of: day("2026-11-01"), tick: at("2026-11-02T04:00:00Z") }]);
    // Several ticks of one day owe it once, by the first of them.
    let often = Known { schedules: vec![since("2026-11-01T12:00:00Z", "*/10 * * * *", Zone::UTC)], ..Known::default() };
    let owed = at_once(&often, ALL, "2026-11-02T23:00:00Z");
    assert_eq!(days(&owed), ["2026-10-31", "2026-11-01"]);
    assert_eq!(owed.run[1].tick, at("2026-11-02T00:00:00Z"));
    assert_eq!(next_tick(&known, at("2026-11-02T04:00:00Z")), Some(at("2026-11-03T04:00:00Z")));
}

#[test]
fn weekly_and_monthly_jobs_owe_the_days_of_their_ticks() {
    let weekly = Known { schedules: vec![since("2026-11-01T12:00:00Z", "30 5 * * 1", Zone::UTC)], ..Known::default() };
    // Mondays: the 2nd, 9th and 16th.
    assert_eq!(days(&at_once(&weekly, ALL, "2026-11-20T00:00:00Z")), ["2026-11-01", "2026-11-08", "2026-11-15"]);
    let monthly = Known { schedules: vec![since("2026-09-15T12:00:00Z", "0 6 1 * *", Zone::UTC)], ..Known::default() };
    let far = Reach { days: 100, ..ALL };
    assert_eq!(days(&at_once(&monthly, far, "2026-11-20T00:00:00Z")), ["2026-09-30", "2026-10-31"]);
}

#[test]
fn days_with_a_final_record_or_a_person_to_wait_for_are_not_owed() {
    let mut known = nightly("2026-11-01T00:00:00Z");
    known.closed.extend([day("2026-11-02"), day("2026-11-04")]);
    known.waiting.insert(day("2026-11-05"));
    assert_eq!(
        days(&at_once(&known, ALL, "2026-11-08T04:00:00Z")),
        ["2026-10-31", "2026-11-01", "2026-11-03", "2026-11-06", "2026-11-07"]
    );
    known.through = Some(day("2026-11-05"));
    assert_eq!(days(&at_once(&known, ALL, "2026-11-08T04:00:00Z")), ["2026-11-06", "2026-11-07"]);
}

#[test]
fn editing_a_schedule_never_makes_old_days_due() {
    let mut known = nightly("2026-11-01T12:00:00Z");
    known.closed = (1..=9).map(|number| NaiveDate::from_ymd_opt(2026, 11, number).unwrap()).collect();
    // Once a month until now; every night from the 10th at noon on.
    known.schedules[0] = since("2026-08-01T00:00:00Z", "0 4 1 * *", Zone::UTC);
    known.closed.insert(day("2026-07-31"));
    known.schedules.push(since("2026-11-10T12:00:00Z", "0 3 * * *", Zone::UTC));
    let owed =
        owed(&known, Reach { days: 400, ..ALL }, Zone::UTC, at("2026-11-12T04:00:00Z"), at("2026-11-12T04:00:00Z"));
    assert_eq!(days(&owed), ["2026-08-31", "2026-09-30", "2026-10-31", "2026-11-10", "2026-11-11"]);
    // A schedule that is taken out owes nothing any more.
    known.schedules.push(Since { at: at("2026-11-12T05:00:00Z"), schedule: None, zone: Zone::UTC });
    assert_eq!(next_tick(&known, at("2026-11-12T06:00:00Z")), None);
    let later = at("2026-12-12T05:00:00Z");
    let owed = super::owed(&known, Reach { days: 400, ..ALL }, Zone::UTC, later, later);
    assert_eq!(days(&owed).last().map(String::as_str), Some("2026-11-11"));
}

#[test]
fn catching_up_is_all_the_latest_or_none() {
    let known = nightly("2026-01-01T12:00:00Z");
    let owed = at_once(&known, ALL, "2026-04-01T10:00:00Z");
    assert_eq!((owed.run.len(), owed.skip.len(), owed.truncated), (31, 59, true));
    assert_eq!(owed.run[0].as_of, day("2026-03-01"));
    assert_eq!(owed.skip.last(), Some(&day("2026-02-28")));
    let latest = at_once(&known, Reach { catch_up: CatchUp::Latest, days: 31 }, "2026-04-01T10:00:00Z");
    assert_eq!((days(&latest), latest.skip.len(), latest.truncated), (vec!["2026-03-31".to_owned()], 89, false));
    let none = Reach { catch_up: CatchUp::None, days: 31 };
    let missed = at_once(&known, none, "2026-04-01T10:00:00Z");
    assert_eq!((missed.run.len(), missed.skip.len()), (0, 90));
    // Awake when it ticked, however long something else took.
    let awake = super::owed(&known, none, Zone::UTC, at("2026-04-01T10:00:00Z"), at("2026-03-20T00:00:00Z"));
    assert_eq!(days(&awake), ["2026-03-31"]);
}

#[test]
fn another_zone_owes_the_shops_last_complete_day() {
    let (sydney, copenhagen) = (Zone::parse("Australia/Sydney").unwrap(), Zone::parse("Europe/Copenhagen").unwrap());
    let known =
        |schedule| Known { schedules: vec![since("2026-06-01T00:00:00Z", schedule, sydney)], ..Known::default() };
    let owed_at = |schedule, now| owed(&known(schedule), ALL, copenhagen, at(now), at(now));
    // 04:00 on the 3rd in Sydney is 20:00 on the 2nd in Copenhagen: the 1st is complete, the 2nd is not.
    assert_eq!(days(&owed_at("0 4 3 6 *", "2026-06-10T00:00:00Z")), ["2026-06-01"]);
    // Noon there is 04:00 here.
    assert_eq!(days(&owed_at("0 12 3 6 *", "2026-06-10T00:00:00Z")), ["2026-06-02"]);
    assert_eq!(days(&owed_at("0 4,12 3 6 *", "2026-06-10T00:00:00Z")), ["2026-06-01", "2026-06-02"]);
}

/// Every zone, every transition of 2024 to 2030, several times of the day: each date is owed exactly once, by an
/// instant at which it is complete, and the days' intervals tile time.
#[test]
fn daylight_saving_owes_every_date_once_in_every_zone() {
    let start = day("2023-12-30");
    let end = day("2031-01-02");
    let mut transitions = 0;
    for tz in chrono_tz::TZ_VARIANTS {
        let zone = Zone::parse(tz.name()).unwrap();
        let mut before = zone.offset_seconds(zone.start_of_day(start));
        let mut tile = zone.day(start);
        for date in start.iter_days().skip(1).take_while(|date| *date < end) {
            let interval = zone.day(date);
            assert_eq!(interval.start, tile.end, "{zone} {date}: the days tile time");
            assert!(interval.end > interval.start, "{zone} {date}");
            tile = interval;
            let offset = zone.offset_seconds(interval.end);
            if offset == before {
                continue;
            }
            before = offset;
            transitions += 1;
            let around = |days: i64| date + TimeDelta::days(days);
            for time in ["0 0", "30 0", "30 2", "59 23"] {
                let schedule = Schedule::parse(&format!("{time} * * *")).unwrap();
                let from = zone.start_of_day(around(-2));
                let known = Known {
                    schedules: vec![Since { at: from, schedule: Some(schedule.clone()), zone }],
                    ..Known::default()
                };
                let to = zone.start_of_day(around(4)) - TimeDelta::seconds(1);
                let owed = owed(&known, ALL, zone, to, to);
                let expected: Vec<NaiveDate> = (-3..3).map(around).collect();
                let found: Vec<NaiveDate> = owed.run.iter().map(|due| due.as_of).collect();
                assert_eq!(found, expected, "{zone} {date} {time}");
                // Of the nights around the transition.
                for due in owed.run.iter().skip(1).take(3) {
                    assert!(due.tick >= zone.cutoff(due.as_of), "{zone} {time}: {} is complete at its tick", due.as_of);
                    // A second before its tick it is not owed, at its tick it is.
                    let then = |at| super::owed(&known, ALL, zone, at, at).run.iter().any(|other| other == due);
                    assert!(!then(due.tick - TimeDelta::seconds(1)) && then(due.tick), "{zone} {time} {}", due.as_of);
                }
            }
        }
    }
    assert!(transitions > 2_000, "{transitions} transitions");
}

/// A scheduler that wakes every half hour and closes what is owed runs every date once.
#[test]
fn waking_every_half_hour_runs_every_date_once() {
    for name in ["America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe", "Europe/Copenhagen", "Asia/Beirut"] {
        let zone = Zone::parse(name).unwrap();
        let schedule = Schedule::parse("15 0 * * *").unwrap();
        let from = Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap();
        let mut known =
            Known { schedules: vec![Since { at: from, schedule: Some(schedule), zone }], ..Known::default() };
        let mut ran = Vec::new();
        let mut now = from;
        while now < from + TimeDelta::days(365) {
            for due in owed(&known, ALL, zone, now, from).run {
                ran.push(due.as_of);
                known.closed.insert(due.as_of);
            }
            now += TimeDelta::minutes(30);
        }
        let expected: Vec<NaiveDate> = day("2026-01-01").iter_days().take(ran.len()).collect();
        assert_eq!(ran, expected, "{name}");
        assert!(ran.len() >= 364, "{name}: {}", ran.len());
        assert!(
            known.schedules[0].schedule.as_ref().unwrap().times_on(from.date_naive())
                == [NaiveTime::MIN + TimeDelta::minutes(15)]
        );
    }
}

#[test]
fn ten_years_of_a_hundred_jobs_are_planned() {
    let zone = Zone::parse("Europe/Copenhagen").unwrap();
    let now = at("2026-11-20T12:00:00Z");
    for job in 0..100 {
        let schedule = Schedule::parse(&format!("{} */2 * * *", job % 60)).unwrap();
        let mut known = Known {
            schedules: vec![Since { at: at("2016-11-20T12:00:00Z"), schedule: Some(schedule), zone }],
            ..Known::default()
        };
        if job % 2 == 0 {
            known.closed = day("2016-11-19")
                .iter_days()
                .take_while(|day| *day < NaiveDate::from_ymd_opt(2026, 11, 10).unwrap())
                .collect();
        }
        let owed = owed(&known, ALL, zone, now, now);
        assert_eq!(owed.run.last().map(|due| due.as_of), Some(day("2026-11-19")));
    }
}
