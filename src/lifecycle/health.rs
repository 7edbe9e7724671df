//! How the model does on the shop's last 90 days: what it says of the buyers of 90 days ago, beside what they did.

use chrono::NaiveDate;
use datafusion::execution::context::SessionContext;

use super::classifier::Classifier;
use super::row::Row;
use super::score::flags;
use super::statements::{HEALTH, Texts, plan};
use crate::config::LifecycleSettings;
use crate::error::Result;

/// The horizon of the audit and of actual over expected, in days.
pub const HORIZON_DAYS: i64 = 90;

/// The label `churned` is suspended when more than this share of them ordered again…
const SUSPEND_ABOVE: f64 = 0.20;
/// …of at least this many, and given again below this share.
const SUSPEND_LEAST: i64 = 10;
/// See [`SUSPEND_ABOVE`].
const RESTORE_BELOW: f64 = 0.15;

/// What became of the buyers of an earlier day within 90 days.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The earlier day: everybody was seen as of it, with today's parameters.
    pub seen_on: NaiveDate,
    /// Buyers then.
    pub buyers: i64,
    /// Σ p_order_90d: those who were to order within the 90 days.
    pub expected_buyers: f64,
    /// Those who did.
    pub actual_buyers: i64,
    /// Their expected order days.
    pub expected_orders: f64,
    /// Their order days.
    pub actual_orders: i64,
    /// What they were expected to spend, in hundredths of the shop's currency.
    pub expected_spend_cents: i128,
    /// What they spent, in hundredths.
    pub actual_spend_cents: i128,
    /// Mean distance between chance and outcome over tenths of chance, each weighted by its buyers; none without buyers.
    pub calibration_error: Option<f64>,
    /// Those whom the rules call churned as of that day.
    pub churned: i64,
    /// Those of them who ordered since.
    pub churned_who_ordered: i64,
}

impl Health {
    /// The share of the then-churned who ordered since; none if nobody was churned.
    pub fn churn_return_rate(&self) -> Option<f64> {
        (self.churned > 0).then(|| self.churned_who_ordered as f64 / self.churned as f64)
    }

    /// Whether the label `churned` is to be withheld: above 20% of at least 10, or still not below 15% if it was.
    pub fn suspends_churned(&self, suspended_before: bool) -> bool {
        let Some(rate) = self.churn_return_rate() else { return suspended_before };
        if suspended_before { rate >= RESTORE_BELOW } else { self.churned >= SUSPEND_LEAST && rate > SUSPEND_ABOVE }
    }
}

/// Sees the session's `buyers` (with the columns `later_…`, of the 90 days after `seen_on`) as of `seen_on` and adds up
/// what became of them. None without buyers.
///
/// # Errors
/// As [`super::score()`].
pub async fn health(
    ctx: &SessionContext,
    seen_on: NaiveDate,
    settings: &LifecycleSettings,
    classifier: &Classifier,
    texts: Texts<'_>,
) -> Result<Option<Health>> {
    let (params, _) = Box::pin(flags(ctx, seen_on, settings, classifier, texts)).await?;
    let tenths = Row::all(plan(ctx, HEALTH, &params, texts).await?).await?;
    let mut health = Health {
        seen_on,
        buyers: 0,
        expected_buyers: 0.0,
        actual_buyers: 0,
        expected_orders: 0.0,
        actual_orders: 0,
        expected_spend_cents: 0,
        actual_spend_cents: 0,
        calibration_error: None,
        churned: 0,
        churned_who_ordered: 0,
    };
    let (mut billionths, mut millionths, mut apart) = (0_i128, 0_i128, 0_i128);
    for tenth in &tenths {
        let (expected, actual) = (i128::from(tenth.count("expected_buyers")?), tenth.count("actual_buyers")?);
        billionths += expected;
        apart += (expected - i128::from(actual) * 1_000_000_000).abs();
        millionths += i128::from(tenth.count("expected_orders")?);
        health.buyers += tenth.count("buyers")?;
        health.actual_buyers += actual;
        health.actual_orders += tenth.count("actual_orders")?;
        health.expected_spend_cents += tenth.cents("expected_spend")?;
        health.actual_spend_cents += tenth.cents("actual_spend")?;
        health.churned += tenth.count("churned")?;
        health.churned_who_ordered += tenth.count("churned_who_ordered")?;
    }
    if health.buyers == 0 {
        return Ok(None);
    }
    health.expected_buyers = billionths as f64 / 1e9;
    health.expected_orders = millionths as f64 / 1e6;
    health.calibration_error = Some(apart as f64 / 1e9 / health.buyers as f64);
    Ok(Some(health))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(churned: i64, churned_who_ordered: i64) -> Health {
        Health {
            seen_on: NaiveDate::default(),
            buyers: 100,
            expected_buyers: 10.0,
            actual_buyers: 10,
            expected_orders: 10.0,
            actual_orders: 10,
            expected_spend_cents: 0,
            actual_spend_cents: 0,
            calibration_error: None,
            churned,
            churned_who_ordered,
        }
    }

    #[test]
    fn the_label_is_suspended_above_a_fifth_and_given_again_below_fifteen_percent() {
        // Of nine nothing can be said.
        assert!(!of(9, 9).suspends_churned(false));
        assert!(!of(10, 2).suspends_churned(false));
        assert!(of(10, 3).suspends_churned(false));
        // Between the two it stays what it was.
        assert!(of(100, 17).suspends_churned(true) && !of(100, 17).suspends_churned(false));
        assert!(of(100, 15).suspends_churned(true));
        assert!(!of(100, 14).suspends_churned(true));
        // Nobody to look at is no news.
        assert!(of(0, 0).suspends_churned(true) && !of(0, 0).suspends_churned(false));
        assert_eq!((of(0, 0).churn_return_rate(), of(4, 1).churn_return_rate()), (None, Some(0.25)));
    }
}
