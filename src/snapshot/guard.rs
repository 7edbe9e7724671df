//! Whether a day smells of broken input.
//!
//! A day is judged before its first commit. What falls is held sooner than what rises: half an export is a common
//! fault, and a shop that sells twice as much a good day. Segments never hold a day.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type};
use chrono::{Days, NaiveDate};
use datafusion::prelude::SessionContext;

use super::before::table_of_day;
use super::people::People;
use super::reading::Reading;
use super::rows::Size;
use super::setup::Project;
use crate::engine::Params;
use crate::engine::statement::plan_text;
use crate::error::Result;
use crate::lake::manifest::Manifest;
use crate::land::Landed;
use crate::schema::landed::Table;

/// Weeks whose same day a day is compared with.
const WEEKS: u64 = 8;
/// Fewer of them than this tell nothing.
const FEWEST_WEEKS: usize = 4;
/// A shop or a stage smaller than this moves by chance.
const TELLING: f64 = 100.0;

/// A count of the day beside those of the same weekdays before it, since the first row.
#[derive(Debug, Clone)]
struct Weekly {
    what: String,
    today: f64,
    before: Vec<f64>,
    /// What chance may take away from it: three standard deviations of a count around the median.
    chance: f64,
}

/// A number that hardly ever falls, beside the day before's.
#[derive(Debug, Clone)]
struct Steady {
    what: String,
    today: f64,
    before: f64,
    /// The share of it that may be gone.
    may_lack: f64,
    /// The day before's number from which on it tells anything.
    telling: f64,
}

/// What a day was found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the day is held; nothing: it is published.
    pub holds: Vec<String>,
    /// What a person should look at.
    pub unusual: Vec<String>,
}

/// What is compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    weekly: Vec<Weekly>,
    steady: Vec<Steady>,
}

impl Measured {
    /// Judges.
    pub(super) fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for weekly in &self.weekly {
            let Some(usual) = median(&weekly.before).filter(|_| weekly.before.len() >= FEWEST_WEEKS) else { continue };
            let told = format!(
                "{} of the day: {:.0}; usual are {usual:.0} (the median of the last {} same weekdays)",
                weekly.what,
                weekly.today,
                weekly.before.len()
            );
            let fell = weekly.today < usual / 2.0 && usual - weekly.today > weekly.chance;
            let tenfold = weekly.today > usual * 10.0 && weekly.today - usual > weekly.chance * 3.0;
            if fell || (usual > 0.0 && tenfold) {
                verdict.holds.push(told);
            } else if usual > 0.0 && weekly.today > usual * 2.0 && weekly.today - usual > weekly.chance {
                verdict.unusual.push(told);
            }
        }
        for steady in self.steady.iter().filter(|steady| steady.before >= steady.telling) {
            let told = format!("{}: {:.0}; the day before had {:.0}", steady.what, steady.today, steady.before);
            if steady.today < steady.before * (1.0 - steady.may_lack) || steady.today > steady.before * 10.0 {
                verdict.holds.push(told);
            } else if steady.today > steady.before * 1.5 {
                verdict.unusual.push(told);
            }
        }
        verdict
    }
}

/// What the guard looks at.
pub(super) struct Day<'a> {
    pub(super) project: &'a Project,
    pub(super) session: &'a SessionContext,
    pub(super) as_of: NaiveDate,
    pub(super) before: &'a Manifest,
    pub(super) landed: &'a Landed,
    pub(super) people: &'a People,
    /// Whether the label `churned` was withheld or given back since the day before.
    pub(super) relabelled: bool,
}

impl Day<'_> {
    /// Measures the day beside those before it.
    pub(super) async fn measured(&self) -> Result<Measured> {
        let mut measured = Measured { weekly: self.weekly().await?, steady: self.profile().await? };
        measured.steady.extend(self.dumps());
        if !self.relabelled {
            measured.steady.extend(self.stages().await?);
        }
        Ok(measured)
    }

    /// The day and the same weekdays before it, the newest first.
    fn weekdays(&self) -> Vec<NaiveDate> {
        (0..=WEEKS).filter_map(|weeks| self.as_of.checked_sub_days(Days::new(7 * weeks))).collect()
    }

    async fn weekly(&self) -> Result<Vec<Weekly>> {
        let days = self.weekdays();
        let list: Vec<String> = days.iter().map(|day| format!("DATE '{day}'")).collect();
        let sql = format!(
            "SELECT ordered_on AS day, count(*) AS orders, count(*) FILTER (WHERE is_counted) AS counted, \
                    coalesce(CAST(sum(net_amount) FILTER (WHERE is_counted) AS DECIMAL(38, 2)), CAST(0 AS DECIMAL(38, 2))) AS revenue \
             FROM orders WHERE ordered_on IN ({}) GROUP BY ordered_on",
            list.join(", ")
        );
        let mut orders: BTreeMap<NaiveDate, [f64; 3]> = BTreeMap::new();
        for batch in plan_text(self.session, &sql, &Params::new()).await?.collect().await? {
            let day = batch.column(0).as_primitive::<Date32Type>();
            let (all, counted) =
                (batch.column(1).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Int64Type>());
            let revenue = batch.column(3).as_primitive::<Decimal128Type>();
            for row in 0..batch.num_rows() {
                if let Some(day) = day.value_as_date(row) {
                    let revenue = revenue.value(row) as f64 / 100.0;
                    orders.insert(day, [all.value(row) as f64, counted.value(row) as f64, revenue]);
                }
            }
        }
        let mut weekly = Vec::new();
        for (place, what) in ["orders", "counted orders", "revenue"].into_iter().enumerate() {
            let of = |rows: &[f64; 3]| rows.get(place).copied().unwrap_or(0.0);
            weekly.push(by_weekday(what, &days, |day| orders.get(day).map(of)));
        }
        // Of money as little can be told as of the orders behind it.
        let counted = weekly.get(1).and_then(|counted| median(&counted.before)).unwrap_or(0.0);
        if let Some(revenue) = weekly.get_mut(2) {
            revenue.chance =
                if counted >= 36.0 { median(&revenue.before).unwrap_or(0.0) * 3.0 / counted.sqrt() } else { f64::MAX };
        }
        if self.landed.has(Table::Events) {
            let first = days.last().copied().unwrap_or(self.as_of);
            let zone = self.project.settings.project.zone;
            let sql = format!(
                "SELECT day, count(*) AS events FROM (SELECT local_date(occurred_at, $zone) AS day FROM landed_events \
                 WHERE occurred_at >= arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')) WHERE day IN ({}) GROUP BY day",
                zone.start_of_day(first).timestamp_micros(),
                list.join(", ")
            );
            let mut events: BTreeMap<NaiveDate, f64> = BTreeMap::new();
            let params = Params::new().with("zone", zone.name());
            for batch in plan_text(self.session, &sql, &params).await?.collect().await? {
                let (day, count) =
                    (batch.column(0).as_primitive::<Date32Type>(), batch.column(1).as_primitive::<Int64Type>());
                for row in 0..batch.num_rows() {
                    if let Some(day) = day.value_as_date(row) {
                        events.insert(day, count.value(row) as f64);
                    }
                }
            }
            weekly.push(by_weekday("events", &days, |day| events.get(day).copied()));
        }
        Ok(weekly)
    }

    async fn profile(&self) -> Result<Vec<Steady>> {
        let table = table_of_day(self.project, "customer_profile", self.before)?;
        let before = self.session.read_table(table)?;
        let sql = "SELECT count(*) AS customers, count(*) FILTER (WHERE number_of_orders > 0) AS buyers, \
                          coalesce(CAST(sum(amount_spent) AS DECIMAL(38, 2)), CAST(0 AS DECIMAL(38, 2))) AS spend FROM guard_profile_before";
        self.session.deregister_table("guard_profile_before")?;
        self.session.register_table("guard_profile_before", before.into_view())?;
        let mut steady = Vec::new();
        for batch in plan_text(self.session, sql, &Params::new()).await?.collect().await? {
            let count = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(0) as f64;
            let (customers, buyers) = (count(0), count(1));
            let spend = batch.column(2).as_primitive::<Decimal128Type>().value(0) as f64 / 100.0;
            let spent = self.people.amount_spent();
            let telling = |before: f64| if customers >= TELLING { before.min(1.0) } else { f64::MAX };
            for (what, today, before) in [
                ("customers", self.people.len() as f64, customers),
                ("buyers", self.people.buyers.len() as f64, buyers),
                ("total spend", spent as f64 / 100.0, spend),
            ] {
                steady.push(Steady { what: what.to_owned(), today, before, may_lack: 0.05, telling: telling(before) });
            }
        }
        self.session.deregister_table("guard_profile_before")?;
        Ok(steady)
    }

    /// Full dumps beside the ones before them.
    fn dumps(&self) -> Vec<Steady> {
        let mut steady = Vec::new();
        for (table, summary) in &self.landed.tables {
            if !self.project.settings.table(*table).full_dump {
                continue;
            }
            let mut dumps: BTreeMap<NaiveDate, u64> = BTreeMap::new();
            for file in &summary.files {
                if let Some(dt) = file.dt.filter(|dt| *dt <= self.as_of) {
                    *dumps.entry(dt).or_default() += file.rows;
                }
            }
            let mut newest = dumps.iter().rev();
            if let (Some((day, today)), Some((_, before))) = (newest.next(), newest.next()) {
                steady.push(Steady {
                    what: format!("rows of the full dump of {} of {day}", table.name()),
                    today: *today as f64,
                    before: *before as f64,
                    may_lack: 0.05,
                    telling: TELLING,
                });
            }
        }
        steady
    }

    async fn stages(&self) -> Result<Vec<Steady>> {
        let mut sizes: BTreeMap<String, [f64; 2]> = BTreeMap::new();
        for (place, table) in ["lifecycle_today", "previous_lifecycle"].into_iter().enumerate() {
            let sql = format!("SELECT stage, count(*) AS customers FROM {table} GROUP BY stage");
            for batch in plan_text(self.session, &sql, &Params::new()).await?.collect().await? {
                let stages = cast(batch.column(0), &DataType::Utf8)?;
                let stages = stages.as_string::<i32>();
                let counts = batch.column(1).as_primitive::<Int64Type>();
                for row in (0..batch.num_rows()).filter(|row| stages.is_valid(*row)) {
                    let sizes = sizes.entry(stages.value(row).to_owned()).or_default();
                    if let Some(size) = sizes.get_mut(place) {
                        *size = counts.value(row) as f64;
                    }
                }
            }
        }
        let stage = |(stage, [today, before]): (String, [f64; 2])| Steady {
            what: format!("customers of the stage {stage}"),
            today,
            before,
            may_lack: 0.5,
            telling: TELLING,
        };
        Ok(sizes.into_iter().map(stage).collect())
    }
}

/// The middle of some numbers; of an even count the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
}

/// The first of `days` beside the others, up to the first of them that had anything.
fn by_weekday(what: &str, days: &[NaiveDate], of: impl Fn(&NaiveDate) -> Option<f64>) -> Weekly {
    let mut before: Vec<Option<f64>> = days.iter().skip(1).map(&of).collect();
    while before.last().is_some_and(Option::is_none) {
        before.pop();
    }
    let before: Vec<f64> = before.into_iter().map(|count| count.unwrap_or(0.0)).collect();
    let chance = 3.0 * median(&before).unwrap_or(0.0).sqrt();
    Weekly { what: what.to_owned(), today: days.first().and_then(of).unwrap_or(0.0), before, chance }
}

/// Segments of a published day that moved by half without being edited, with what is told of each. What can no longer be
/// compared has not moved.
///
/// # Errors
/// What the published tables and the manifest refuse.
pub async fn moved_on(reading: &Reading, as_of: NaiveDate) -> Result<Vec<(String, String)>> {
    let day = reading.day(Some(as_of))?;
    let manifest = Box::pin(reading.snapshots.manifest(day)).await?;
    let before = match &manifest.previous {
        Some(previous) => match reading.snapshots.day(previous.as_of).filter(|day| day.run_id == previous.run_id) {
            Some(day) => Box::pin(reading.snapshots.manifest(day)).await.ok(),
            None => None,
        },
        None => None,
    };
    let Some(before) = before else { return Ok(Vec::new()) };
    let edited = |id: &str| {
        let name = format!("segment/{id}");
        before.definitions.get(&name) != manifest.definitions.get(&name)
    };
    let rows = reading.sizes(&format!("as_of = DATE '{as_of}'")).await?;
    let compared = rows.iter().filter_map(|row| Some((row, row.entered?, row.exited?)));
    let told = compared.filter_map(|(row, entered, exited)| {
        let told = halved(&row.segment, row.members, entered, exited)?;
        (!edited(&row.segment)).then(|| (row.segment.clone(), told))
    });
    Ok(told.collect())
}

/// What is told of a segment that lost or gained half of its members; nothing of one that did not, or is too small to tell.
fn halved(segment: &str, members: u64, entered: u64, exited: u64) -> Option<String> {
    let before = (members + exited).saturating_sub(entered);
    let moved = before as f64 >= TELLING && members.abs_diff(before) * 2 >= before;
    moved.then(|| format!("the segment `{segment}` has {members} members; the day before had {before}"))
}

/// Segments that lost or gained half of their members without being edited, in the order of their ids.
pub(super) fn moved(sizes: &[(Size, Option<NaiveDate>)], edited: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut moved = Vec::new();
    for (size, _) in sizes.iter().filter(|(size, previous)| previous.is_some() && !edited(&size.segment)) {
        if let Some(told) = halved(&size.segment, size.members, size.entered, size.exited) {
            moved.push((size.segment.clone(), told));
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(today: f64, before: &[f64]) -> Measured {
        let chance = 3.0 * median(before).unwrap_or(0.0).sqrt();
        let weekly = vec![Weekly { what: "orders".to_owned(), today, before: before.to_vec(), chance }];
        Measured { weekly, ..Measured::default() }
    }

    fn steady(today: f64, before: f64) -> Verdict {
        let steady = Steady { what: "customers".to_owned(), today, before, may_lack: 0.05, telling: TELLING };
        Measured { steady: vec![steady], ..Measured::default() }.verdict()
    }

    #[test]
    fn half_of_the_usual_holds_and_more_than_chance_has_to_lack() {
        let eight = [100.0, 104.0, 96.0, 100.0, 90.0, 110.0, 100.0, 100.0];
        let verdict = weekly(49.0, &eight).verdict();
        assert_eq!(verdict.holds, ["orders of the day: 49; usual are 100 (the median of the last 8 same weekdays)"]);
        assert_eq!(weekly(50.0, &eight).verdict(), Verdict::default());
        assert_eq!(weekly(0.0, &eight[..3]).verdict(), Verdict::default(), "three weeks tell nothing");
        assert_eq!(weekly(1.0, &[4.0; 8]).verdict(), Verdict::default(), "one order instead of four is chance");
        assert_eq!(weekly(0.0, &[10.0; 8]).verdict().holds.len(), 1, "none instead of ten is not");
    }

    #[test]
    fn rises_are_told_and_only_tenfold_holds() {
        let told = |today| {
            let verdict = weekly(today, &[100.0; 8]).verdict();
            (verdict.holds.len(), verdict.unusual.len())
        };
        assert_eq!([told(199.0), told(201.0), told(1_000.0), told(1_001.0)], [(0, 0), (0, 1), (0, 1), (1, 0)]);
        assert_eq!(weekly(12.0, &[1.0; 8]).verdict().holds.len(), 1);
        assert_eq!(weekly(5.0, &[0.0; 8]).verdict(), Verdict::default(), "a first order is no rise");
    }

    #[test]
    fn what_hardly_falls_holds_at_a_twentieth() {
        let found = |today, before| (steady(today, before).holds.len(), steady(today, before).unusual.len());
        assert_eq!([found(950.0, 1_000.0), found(949.0, 1_000.0), found(10_001.0, 1_000.0)], [(0, 0), (1, 0), (1, 0)]);
        assert_eq!([found(1_501.0, 1_000.0), found(1_500.0, 1_000.0), found(1.0, 99.0)], [(0, 1), (0, 0), (0, 0)]);
    }
}
