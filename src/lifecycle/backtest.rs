//! What the model would have been worth on an earlier day: it is fitted to what was known by then, and compared with what
//! happened after it, beside simpler rules that were learned on the window before.

/// What simpler rules say.
pub mod baselines;
/// A picture of it.
pub mod chart;
/// How good a prediction was.
pub mod measures;
/// Any log of orders.
pub mod orders;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type};
use chrono::NaiveDate;
use datafusion::catalog::TableProvider;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::col;
use futures::StreamExt;
use serde::Serialize;

use super::classifier::Classifier;
use super::fit::{Learned, as_seen, learn};
use super::health::Health;
use super::model::History;
use super::report::STAGES;
use super::score::score;
use super::statements::Texts;
use crate::calendar::add_days;
use crate::config::LifecycleSettings;
use crate::engine::Engine;
use crate::error::{Error, Result};
use baselines::{Cells, Seen, Window, regression};
use measures::{Outcome, Scores, Tenth, information, scores, tenths};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backtest {
    /// The last day that model and rules have seen.
    pub as_of: NaiveDate,
    /// The days after it in which outcomes were looked for.
    pub holdout_days: u32,
    /// The last of those.
    pub until: NaiveDate,
    /// Buyers as of the day.
    pub buyers: usize,
    /// Those of them who ordered in the holdout.
    pub ordered: usize,
    /// Days of history up to the day.
    pub history_days: i64,
    /// The model.
    pub model: Fitted,
    /// How good each prediction of an order in the holdout was; ours first.
    pub predictions: Vec<Prediction>,
    /// Our prediction by tenths of the buyers.
    pub calibration: Vec<Tenth>,
    /// The stages, best first.
    pub stages: Vec<StageOutcome>,
    /// How much groupings tell of the outcome.
    pub information: Vec<Information>,
    /// What was expected of all buyers, and what came.
    pub totals: Totals,
    /// The audit of the label `churned` on the 90 days before the day.
    pub audit: Option<Audit>,
    /// What a person should take from it.
    pub verdict: Vec<String>,
}

/// The model of a back-test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fitted {
    /// full, small or benchmark.
    pub tier: &'static str,
    /// MBG/NBD, α in days.
    pub r: f64,
    /// See `r`.
    pub alpha: f64,
    /// See `r`.
    pub a: f64,
    /// See `r`.
    pub b: f64,
    /// Whether the data tells dropout from silence.
    pub dropout_identified: bool,
}

/// One prediction and what it was worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Whose.
    pub name: String,
    /// How good.
    #[serde(flatten)]
    pub scores: Scores,
}

/// What became of a stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageOutcome {
    /// The stage.
    pub stage: String,
    /// Buyers in it as of the day.
    pub customers: u64,
    /// Their share of the buyers.
    pub share: f64,
    /// The share of them who ordered in the holdout; none if the stage is empty.
    pub repurchase_rate: Option<f64>,
    /// What each spent in the holdout, on the mean, in the currency; none if the stage is empty.
    pub mean_spend: Option<f64>,
    /// Their share of what all spent in the holdout; none if nothing was spent.
    pub share_of_revenue: Option<f64>,
}

/// How much a grouping tells of the outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Information {
    /// The grouping.
    pub grouping: String,
    /// Groups that occur.
    pub groups: usize,
    /// Mutual information with "ordered or not", in nats.
    pub nats: f64,
}

/// Expected and actual, over all buyers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    /// Σ chance of an order.
    pub expected_buyers: f64,
    /// Buyers who ordered.
    pub actual_buyers: f64,
    /// Σ expected order days.
    pub expected_orders: f64,
    /// Order days.
    pub actual_orders: f64,
    /// Σ expected order days times expected order value, in the currency.
    pub expected_spend: f64,
    /// Spend.
    pub actual_spend: f64,
}

/// The audit of `churned`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// The day as of which they were churned.
    pub seen_on: NaiveDate,
    /// How many were.
    pub churned: i64,
    /// Those of them who ordered up to the back-test's day.
    pub churned_who_ordered: i64,
    /// Whether the label was withheld for it.
    pub label_suspended: bool,
}

/// Runs a back-test over `order_days`, of which the model sees nothing after `as_of`.
///
/// # Errors
/// `backtest.no_buyers` where nobody had bought by then; whatever a statement fails with.
pub async fn backtest(
    engine: &Engine,
    order_days: &Arc<dyn TableProvider>,
    as_of: NaiveDate,
    holdout_days: u32,
    settings: &LifecycleSettings,
    texts: Texts<'_>,
) -> Result<Backtest> {
    let off = || Error::usage("backtest.dates", "the holdout reaches beyond the calendar");
    let until = add_days(as_of, i64::from(holdout_days)).ok_or_else(off)?;
    let before = add_days(as_of, -i64::from(holdout_days)).ok_or_else(off)?;

    let (classifier, audit) = match Box::pin(learn(engine, order_days, as_of, settings, false, texts)).await? {
        Learned::Model(model) => {
            let audit = model.health.as_ref().map(|health| audit(health, &model.classifier));
            (model.classifier, audit)
        }
        Learned::TooLittle(_) => (Classifier::benchmark(), None),
    };
    let trained = as_seen(engine, Arc::clone(order_days), before, as_of, texts).await?;
    let past = window(&trained, before).await?;
    engine.discard(&trained, "buyers")?;
    let session = as_seen(engine, Arc::clone(order_days), as_of, until, texts).await?;
    let now = window(&session, as_of).await?;
    if now.seen.is_empty() {
        return Err(Error::input("backtest.no_buyers", format!("nobody had bought by {as_of}"))
            .with_hint("take a later day: `--as-of DATE`"));
    }
    let scored = Box::pin(score(&session, as_of, settings, &classifier, texts)).await?;
    let stages = stages(scored.rows).await?;
    engine.discard(&session, "buyers")?;

    let horizon = f64::from(holdout_days);
    let histories: Vec<History> = now.seen.iter().filter_map(history).collect();
    let parameters = &classifier.parameters;
    let chances: Vec<f64> = histories.iter().map(|history| parameters.p_order(history, horizon)).collect();
    let mean = scored.population.mean_order_value.unwrap_or(0.0);
    let mut totals = Totals {
        expected_buyers: chances.iter().sum(),
        actual_buyers: now.outcomes.iter().filter(|outcome| outcome.ordered()).count() as f64,
        expected_orders: 0.0,
        actual_orders: now.outcomes.iter().map(|outcome| f64::from(outcome.order_days)).sum(),
        expected_spend: 0.0,
        actual_spend: now.outcomes.iter().map(|outcome| outcome.cents).sum::<i128>() as f64 / 100.0,
    };
    for (history, seen) in histories.iter().zip(&now.seen) {
        let orders = parameters.expected_orders(history, horizon);
        totals.expected_orders += orders;
        let spend = seen.cents as f64 / 100.0;
        totals.expected_spend += orders * classifier.order_value.expected(f64::from(seen.order_days), spend, mean);
    }

    let mut predictions = Vec::new();
    let mut add = |name: &str, chances: &[f64]| {
        if let Some(scores) = scores(chances, &now.outcomes) {
            predictions.push(Prediction { name: name.to_owned(), scores });
        }
    };
    add(&format!("p{holdout_days} of MBG/NBD"), &chances);
    let mut groupings = vec![grouped("lifecycle stages", &stages, &now.outcomes)];
    for cells in [Cells::Always, Cells::Recency90And180, Cells::RecencyInFive, Cells::Rfm] {
        add(cells.name(), &cells.chances(&past, &now.seen));
        if cells != Cells::Always {
            groupings.push(grouped(cells.name(), &cells.of(&now.seen), &now.outcomes));
        }
    }
    if let Some(chances) = regression(&past, &now.seen) {
        add("logistic regression", &chances);
    }
    let verdict = verdict(&predictions, &totals);
    Ok(Backtest {
        as_of,
        holdout_days,
        until,
        buyers: now.seen.len(),
        ordered: now.outcomes.iter().filter(|outcome| outcome.ordered()).count(),
        history_days: scored.population.history_days(as_of),
        model: fitted(&classifier),
        calibration: tenths(&chances, &now.outcomes),
        stages: by_stage(&stages, &now.outcomes),
        predictions,
        information: groupings,
        totals,
        audit,
        verdict,
    })
}

fn fitted(classifier: &Classifier) -> Fitted {
    let [r, alpha, a, b] = classifier.parameters.values();
    Fitted { tier: classifier.tier.as_str(), r, alpha, a, b, dropout_identified: classifier.dropout_identified }
}

fn audit(health: &Health, classifier: &Classifier) -> Audit {
    Audit {
        seen_on: health.seen_on,
        churned: health.churned,
        churned_who_ordered: health.churned_who_ordered,
        label_suspended: classifier.churn_label_suspended,
    }
}

fn history(seen: &Seen) -> Option<History> {
    let [x, recency, age] = [seen.order_days - 1, seen.recency, seen.age].map(f64::from);
    History::new(x, recency, age)
}

/// The session's buyers with their outcomes, by customer_id.
async fn window(ctx: &SessionContext, as_of: NaiveDate) -> Result<Window> {
    let columns =
        ["customer_id", "order_days", "first_order_on", "last_order_on", "spend", "later_order_days", "later_spend"];
    let rows = ctx.table("buyers").await?.select_columns(&columns)?.sort_by(vec![col("customer_id")])?;
    let mut stream = rows.execute_stream().await?;
    let today = Date32Type::from_naive_date(as_of);
    let mut window = Window::default();
    let whole = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let count = |column: usize| batch.column(column).as_primitive::<Int64Type>();
        let date = |column: usize| batch.column(column).as_primitive::<Date32Type>();
        let money = |column: usize| batch.column(column).as_primitive::<Decimal128Type>();
        let (order_days, later_days) = (count(1), count(5));
        let (first, last, spend, later_spend) = (date(2), date(3), money(4), money(6));
        for row in 0..batch.num_rows() {
            let days = |from: i32, to: i32| whole(i64::from(to) - i64::from(from));
            window.seen.push(Seen {
                order_days: whole(order_days.value(row)).max(1),
                recency: days(first.value(row), last.value(row)),
                age: days(first.value(row), today),
                cents: spend.value(row),
            });
            window.outcomes.push(Outcome { order_days: whole(later_days.value(row)), cents: later_spend.value(row) });
        }
    }
    Ok(window)
}

/// The stages of a scored day, by customer_id.
async fn stages(rows: datafusion::dataframe::DataFrame) -> Result<Vec<String>> {
    let mut stream =
        rows.select_columns(&["customer_id", "stage"])?.sort_by(vec![col("customer_id")])?.execute_stream().await?;
    let mut stages = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let column = cast(batch.column(1), &DataType::Utf8View)?;
        let column = column.as_string_view();
        stages.extend((0..column.len()).map(|row| column.value(row).to_owned()));
    }
    Ok(stages)
}

fn grouped<G: Ord>(grouping: &str, groups: &[G], outcomes: &[Outcome]) -> Information {
    let mut counts: BTreeMap<&G, (u64, u64)> = BTreeMap::new();
    for (group, outcome) in groups.iter().zip(outcomes) {
        let (buyers, ordered) = counts.entry(group).or_default();
        *buyers += 1;
        *ordered += u64::from(outcome.ordered());
    }
    Information { grouping: grouping.to_owned(), groups: counts.len(), nats: information(counts.into_values()) }
}

fn by_stage(stages: &[String], outcomes: &[Outcome]) -> Vec<StageOutcome> {
    let all: i128 = outcomes.iter().map(|outcome| outcome.cents).sum();
    let mut names: Vec<&str> = STAGES.iter().copied().filter(|stage| *stage != "prospect").collect();
    // A stage of a project's own making comes after ours.
    let mut own: Vec<&str> = stages.iter().map(String::as_str).filter(|stage| !names.contains(stage)).collect();
    own.sort_unstable();
    own.dedup();
    names.extend(own);
    let of = |name: &str| {
        let (mut customers, mut ordered, mut cents) = (0_u64, 0_u64, 0_i128);
        for (_, outcome) in stages.iter().zip(outcomes).filter(|(stage, _)| *stage == name) {
            customers += 1;
            ordered += u64::from(outcome.ordered());
            cents += outcome.cents;
        }
        let each = |total: f64| (customers > 0).then(|| total / customers as f64);
        StageOutcome {
            stage: name.to_owned(),
            customers,
            share: customers as f64 / outcomes.len().max(1) as f64,
            repurchase_rate: each(ordered as f64),
            mean_spend: each(cents as f64 / 100.0),
            share_of_revenue: (all > 0).then(|| cents as f64 / all as f64),
        }
    };
    names.into_iter().map(of).collect()
}

/// In words: which simpler rule does better, and whether there were seasons that no model here knows.
fn verdict(predictions: &[Prediction], totals: &Totals) -> Vec<String> {
    let mut said = Vec::new();
    let Some((ours, others)) = predictions.split_first() else { return said };
    let better: Vec<String> = others
        .iter()
        .filter(|other| other.scores.brier < ours.scores.brier)
        .map(|other| format!("{} ({:.4})", other.name, other.scores.brier))
        .collect();
    said.push(if better.is_empty() {
        format!("no simpler rule has a lower Brier score than {} ({:.4})", ours.name, ours.scores.brier)
    } else {
        format!("a lower Brier score than {} ({:.4}) has {}", ours.name, ours.scores.brier, better.join(", "))
    });
    if totals.expected_orders > 0.0 {
        let ratio = totals.actual_orders / totals.expected_orders;
        let season = if (0.8..=1.25).contains(&ratio) { "" } else { ": a season, a campaign or a change of the shop" };
        said.push(format!("{ratio:.2} times as many orders came as were expected{season}"));
    }
    said
}
