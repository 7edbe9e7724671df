//! Who was treated and who was held out, compared: conversion, orders and spend after an export.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use serde::Serialize;

use super::ledger;
use crate::engine::statement::{Params, literal, plan_text};
use crate::error::{Error, Result};
use crate::snapshot::reading::Reading;

/// The 97.5th percentile of the normal distribution: intervals hold the truth in 95 of 100 exports.
const Z: f64 = 1.959_963_984_540_054;
/// A group that is smaller, or of whom fewer ordered or did not, tells nothing.
const LEAST: f64 = 30.0;
const LEAST_EITHER: f64 = 5.0;

/// One of the two groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Group {
    /// Customers.
    pub customers: f64,
    /// Of those, who ordered.
    pub converted: f64,
    /// Orders.
    pub orders: f64,
    /// The sum of the squares of each customer's orders.
    #[serde(skip)]
    orders_squared: f64,
    /// What they spent, in the shop's currency.
    pub spend: f64,
    /// The sum of the squares of each customer's spend.
    #[serde(skip)]
    spend_squared: f64,
}

/// A difference between the groups: treated less held out, for one customer, with its 95% confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Of the treated.
    pub treated: f64,
    /// Of those held out.
    pub held_out: f64,
    /// The difference.
    pub difference: f64,
    /// The interval's lower end.
    pub from: f64,
    /// The interval's upper end.
    pub to: f64,
}

/// What an export changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lift {
    /// The export.
    pub export_id: String,
    /// When it was made.
    pub exported_at: DateTime<Utc>,
    /// Days after it that were looked at.
    pub days: u32,
    /// The newest published day, where the days asked for are not over yet.
    pub not_over: Option<NaiveDate>,
    /// Those who were treated.
    pub treated: Group,
    /// Those who were held out.
    pub held_out: Group,
    /// The share of customers who ordered.
    pub conversion: Difference,
    /// Orders a customer.
    pub orders: Difference,
    /// Spend a customer.
    pub spend: Difference,
    /// Why nothing can be told; none where something can.
    pub too_small: Option<String>,
}

/// Compares the two groups of an export by the orders of the newest published day.
///
/// # Errors
/// `audience.unknown_export`; `audience.no_holdout` where nobody was held out.
pub async fn lift(reading: &Reading, export_id: &str, days: u32) -> Result<Lift> {
    let record = ledger::find(reading, export_id).await?;
    let newest = reading.day(None)?;
    let until = record.created_at + TimeDelta::days(i64::from(days));
    let zone = crate::calendar::Zone::parse(&newest.timezone)?;
    let not_over = (zone.cutoff(newest.as_of) < until).then_some(newest.as_of);
    let instant =
        |at: DateTime<Utc>| format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", at.timestamp_micros());
    let sql = format!(
        "SELECT m.variant, count(*), count(o.customer_id), coalesce(sum(o.n), 0), coalesce(sum(o.n * o.n), 0), \
                coalesce(sum(o.spend), 0), coalesce(sum(o.spend * o.spend), 0) \
         FROM (SELECT customer_id, variant FROM export_members WHERE export_id = {}) m \
         LEFT JOIN (SELECT customer_id, CAST(count(*) AS DOUBLE) AS n, CAST(sum(net_amount) AS DOUBLE) AS spend FROM orders \
                    WHERE is_counted AND ordered_at >= {} AND ordered_at < {} GROUP BY customer_id) o \
           ON o.customer_id = m.customer_id GROUP BY m.variant",
        literal(export_id),
        instant(record.created_at),
        instant(until)
    );
    let (mut treated, mut held_out) = (Group::default(), Group::default());
    for batch in plan_text(&reading.session, &sql, &Params::new()).await?.collect().await? {
        let variants = cast(batch.column(0), &DataType::Utf8)?;
        let numbers =
            (1..7).map(|column| cast(batch.column(column), &DataType::Float64)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let of = |place: usize| numbers[place].as_primitive::<Float64Type>().value(row);
            let group = Group {
                customers: of(0),
                converted: of(1),
                orders: of(2),
                orders_squared: of(3),
                spend: of(4),
                spend_squared: of(5),
            };
            match variants.as_string::<i32>().value(row) {
                "holdout" => held_out = group,
                _ => treated = group,
            }
        }
    }
    if held_out.customers == 0.0 {
        return Err(Error::input("audience.no_holdout", "nobody was held out of this export")
            .with_hint("export with `--holdout 10%` to have somebody to compare with"));
    }
    Ok(Lift {
        export_id: record.export_id,
        exported_at: record.created_at,
        days,
        not_over,
        conversion: conversion(treated, held_out),
        orders: means(
            (treated.customers, treated.orders, treated.orders_squared),
            (held_out.customers, held_out.orders, held_out.orders_squared),
        ),
        spend: means(
            (treated.customers, treated.spend, treated.spend_squared),
            (held_out.customers, held_out.spend, held_out.spend_squared),
        ),
        too_small: too_small(treated, held_out),
        treated,
        held_out,
    })
}

fn too_small(treated: Group, held_out: Group) -> Option<String> {
    for (group, name) in [(treated, "were treated"), (held_out, "were held out")] {
        if group.customers < LEAST {
            return Some(format!("only {} customers {name}: at least {LEAST} are needed to tell", group.customers));
        }
        let either = group.converted.min(group.customers - group.converted);
        if either < LEAST_EITHER {
            let who = if either < group.converted { "did not order" } else { "ordered" };
            return Some(format!(
                "only {either} of those who {name} {who}: at least {LEAST_EITHER} are needed to tell"
            ));
        }
    }
    None
}

/// The difference of two shares with Newcombe's interval, which keeps within what is possible and holds for small groups.
fn conversion(treated: Group, held_out: Group) -> Difference {
    let wilson = |group: Group| {
        let n = group.customers.max(1.0);
        let p = group.converted / n;
        let middle = p + Z * Z / (2.0 * n);
        let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        (p, (middle - spread) / scale, (middle + spread) / scale)
    };
    let ((a, a_low, a_high), (b, b_low, b_high)) = (wilson(treated), wilson(held_out));
    let difference = a - b;
    Difference {
        treated: a,
        held_out: b,
        difference,
        from: difference - ((a - a_low).powi(2) + (b_high - b).powi(2)).sqrt(),
        to: difference + ((a_high - a).powi(2) + (b - b_low).powi(2)).sqrt(),
    }
}

/// The difference of two means (count, sum, sum of squares) with Welch's interval.
fn means(treated: (f64, f64, f64), held_out: (f64, f64, f64)) -> Difference {
    let of = |(n, sum, squares): (f64, f64, f64)| {
        let n = n.max(1.0);
        let mean = sum / n;
        let variance = if n > 1.0 { ((squares - n * mean * mean) / (n - 1.0)).max(0.0) } else { 0.0 };
        (mean, variance / n)
    };
    let ((a, a_error), (b, b_error)) = (of(treated), of(held_out));
    let spread = Z * (a_error + b_error).sqrt();
    Difference { treated: a, held_out: b, difference: a - b, from: a - b - spread, to: a - b + spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    /// Newcombe (1998), method 10, example (a): 56/70 against 48/80.
    #[test]
    fn shares_have_newcombes_interval() {
        let group = |customers, converted| Group { customers, converted, ..Group::default() };
        let found = conversion(group(70.0, 56.0), group(80.0, 48.0));
        assert!(close(found.difference, 0.2) && close(found.from, 0.0524) && close(found.to, 0.3339), "{found:?}");
    }

    #[test]
    fn means_have_welchs_interval() {
        // 1, 2, 3, 4 against 2, 2, 2: means 2.5 and 2, variances 5/3 and 0.
        let found = means((4.0, 10.0, 30.0), (3.0, 6.0, 12.0));
        assert!(close(found.difference, 0.5) && close(found.to - found.from, 2.0 * Z * (5.0_f64 / 12.0).sqrt()));
    }

    #[test]
    fn small_groups_tell_nothing() {
        let group = |customers, converted| Group { customers, converted, ..Group::default() };
        assert!(too_small(group(1000.0, 100.0), group(29.0, 10.0)).unwrap().contains("29 customers were held out"));
        assert!(too_small(group(1000.0, 100.0), group(100.0, 4.0)).unwrap().contains("only 4 of those"));
        assert_eq!(too_small(group(1000.0, 100.0), group(100.0, 10.0)), None);
    }
}
