//! `alluvial lifecycle`.

/// `alluvial lifecycle backtest`.
pub mod backtest;
/// `alluvial lifecycle customer`.
pub mod customer;
/// `alluvial lifecycle fit`.
pub mod fit;
/// Charts of characters.
mod terminal;

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use chrono::NaiveDate;
use serde_json::json;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::{List, Output};
use super::rows::{Cell, Rows};
use crate::calendar::add_days;
use crate::error::Result;
use crate::snapshot::day::STAGES;
use crate::snapshot::reading::Reading;

/// What `alluvial lifecycle` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// The published day [default: the newest]
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
    pub as_of: Option<NaiveDate>,
    /// What else to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else there is to do with the lifecycle.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Fit the model to the shop; the nights after it score with that
    Fit(fit::Args),
    /// One customer's numbers, the sentence, and the history of stages
    Customer(customer::Args),
    /// What the model would have been worth on an earlier day, beside simpler rules
    Backtest(backtest::Args),
}

/// One stage on one day.
#[derive(Debug, Clone)]
struct Stage {
    stage: String,
    customers: u64,
    /// In the shop's currency, as decimal text.
    amount_spent: String,
    share_of_spend: Option<f64>,
    /// Expected in a year; `None` where nothing is.
    predicted_value: Option<String>,
    cant_lose: u64,
}

/// Customers who went from one stage to another.
type Moves = Vec<(Option<String>, Option<String>, u64)>;

/// Prints the stages of a published day, the moves since the day before and 30 days before, and how the model does.
///
/// # Errors
/// Those of the project and of what is published.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    match &args.command {
        Some(Command::Fit(args)) => return fit::execute(args, call, output),
        Some(Command::Customer(args)) => return customer::execute(args, call, output),
        Some(Command::Backtest(args)) => return backtest::execute(args, call, output),
        None => {}
    }
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let reading = Box::pin(Reading::open(&opened.project)).await?;
        let day = reading.day(args.as_of)?;
        let (as_of, previous) = (day.as_of, day.previous_as_of);
        let stages = stages(&reading, as_of).await?;
        let sql = format!(
            "SELECT from_stage, to_stage, customers FROM lifecycle_transitions \
             WHERE as_of = DATE '{as_of}' AND from_stage <> to_stage ORDER BY customers DESC, from_stage, to_stage"
        );
        let since_yesterday = moves(&reading, &sql).await?;
        let month_ago = add_days(as_of, -30)
            .and_then(|then| reading.snapshots.days().iter().rev().find(|day| day.as_of <= then))
            .map(|day| day.as_of);
        let since_then = match month_ago {
            Some(then) => moves(&reading, &moves_between(then, as_of)).await?,
            None => Vec::new(),
        };
        let health = health(&reading, as_of).await?;

        let days = health.get("history_days").and_then(|days| days.parse::<i64>().ok());
        let young = days.filter(|days| (1..180).contains(days));
        let mut heading = format!("stages as of {as_of}");
        if let Some(days) = young {
            heading = format!("{days} days of history: stages are provisional below 180\n\n{heading}");
        }
        let mut lists = vec![List { key: "stages", heading, rows: sizes(&stages) }];
        if let Some(previous) = previous {
            let heading = format!("moves since {previous}");
            lists.push(List { key: "transitions", heading, rows: transitions(&since_yesterday) });
        }
        if let Some(then) = month_ago.filter(|then| Some(*then) != previous) {
            let heading = format!("moves since {then}");
            lists.push(List { key: "transitions_30d", heading, rows: transitions(&since_then) });
        }
        lists.push(List { key: "health", heading: "the model".to_owned(), rows: told(&health) });
        let facts = [
            ("as_of", json!(as_of.to_string())),
            ("previous_as_of", json!(previous.map(|day| day.to_string()))),
            ("previous_30d_as_of", json!(month_ago.map(|day| day.to_string()))),
            ("provisional", json!(young.is_some())),
        ];
        output.lists(&facts, lists)?;
        Ok(Outcome::Done)
    })
}

async fn stages(reading: &Reading, as_of: NaiveDate) -> Result<Vec<Stage>> {
    let sql = format!(
        "SELECT p.lifecycle_stage, count(*), CAST(sum(p.amount_spent) AS VARCHAR), \
                CAST(sum(CAST(p.predicted_value AS DECIMAL(28, 2))) AS VARCHAR), \
                count(*) FILTER (WHERE l.cant_lose), \
                CAST(sum(p.amount_spent) AS DOUBLE) / \
                  nullif((SELECT CAST(sum(amount_spent) AS DOUBLE) FROM customer_profile WHERE as_of = DATE '{as_of}'), 0) \
         FROM customer_profile p \
         JOIN (SELECT customer_id, cant_lose FROM lifecycle WHERE as_of = DATE '{as_of}') l \
           ON l.customer_id = p.customer_id \
         WHERE p.as_of = DATE '{as_of}' GROUP BY p.lifecycle_stage"
    );
    let mut found = texts(reading.sql(&sql).await?.collect().await?)?;
    found.sort_by_key(|row| STAGES.iter().position(|stage| row.first().and_then(Option::as_deref) == Some(*stage)));
    let stage = |row: Vec<Option<String>>| {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let count = |text: Option<String>| text.and_then(|count| count.parse().ok()).unwrap_or(0);
        Stage {
            stage: next().unwrap_or_default(),
            customers: count(next()),
            amount_spent: next().unwrap_or_default(),
            predicted_value: next(),
            cant_lose: count(next()),
            share_of_spend: next().and_then(|share| share.parse().ok()),
        }
    };
    Ok(found.into_iter().map(stage).collect())
}

fn moves_between(then: NaiveDate, now: NaiveDate) -> String {
    format!(
        "SELECT from_stage, to_stage, count(*) AS customers FROM ( \
           SELECT coalesce(b.stage, 'new') AS from_stage, coalesce(a.stage, 'gone') AS to_stage \
           FROM (SELECT customer_id, stage FROM lifecycle WHERE as_of = DATE '{now}') a \
           FULL JOIN (SELECT customer_id, stage FROM lifecycle WHERE as_of = DATE '{then}') b \
             ON a.customer_id = b.customer_id) \
         WHERE from_stage <> to_stage GROUP BY from_stage, to_stage ORDER BY customers DESC, from_stage, to_stage"
    )
}

async fn moves(reading: &Reading, sql: &str) -> Result<Moves> {
    let row = |row: Vec<Option<String>>| {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let (from, to) = (next(), next());
        (from, to, next().and_then(|count| count.parse().ok()).unwrap_or(0))
    };
    Ok(texts(reading.sql(sql).await?.collect().await?)?.into_iter().map(row).collect())
}

fn sizes(stages: &[Stage]) -> Rows {
    let total: u64 = stages.iter().map(|stage| stage.customers).sum();
    let columns =
        ["stage", "#customers", "#share", "#amount_spent", "#share_of_spend", "#predicted_value", "#cant_lose"];
    let mut rows = Rows::new(&columns);
    let rounded = |share: f64| Cell::Float((share * 1e4).round() / 1e4);
    for stage in stages {
        let share = if total == 0 { Cell::Missing } else { rounded(stage.customers as f64 / total as f64) };
        rows.push(vec![
            Cell::text(&stage.stage),
            Cell::count(stage.customers),
            share,
            Cell::Number(stage.amount_spent.clone()),
            Cell::maybe(stage.share_of_spend, rounded),
            Cell::maybe(stage.predicted_value.clone(), Cell::Number),
            Cell::count(stage.cant_lose),
        ]);
    }
    rows
}

fn transitions(moves: &Moves) -> Rows {
    let mut rows = Rows::new(&["from_stage", "to_stage", "#customers"]);
    for (from, to, customers) in moves {
        rows.push(vec![
            Cell::maybe(from.as_ref(), Cell::text),
            Cell::maybe(to.as_ref(), Cell::text),
            Cell::count(*customers),
        ]);
    }
    rows
}

/// The day's row of `lifecycle_health`, as text by column.
async fn health(reading: &Reading, as_of: NaiveDate) -> Result<BTreeMap<String, String>> {
    let sql = format!("SELECT * FROM lifecycle_health WHERE as_of = DATE '{as_of}'");
    let batches = reading.sql(&sql).await?.collect().await?;
    let names: Vec<String> = batches
        .first()
        .map(|batch| batch.schema().fields().iter().map(|field| field.name().clone()).collect())
        .unwrap_or_default();
    let row = texts(batches)?.into_iter().next().unwrap_or_default();
    Ok(names.into_iter().zip(row).filter_map(|(name, value)| Some((name, value?))).collect())
}

/// How the model does, a line a fact.
fn told(health: &BTreeMap<String, String>) -> Rows {
    let mut rows = Rows::new(&["fact", "value", "meaning"]);
    let text = |name: &str| health.get(name).cloned();
    let number = |name: &str| health.get(name).and_then(|value| value.parse::<f64>().ok());
    let mut fact = |name: &str, value: Option<String>, meaning: String| {
        if let Some(value) = value {
            rows.push(vec![Cell::text(name), Cell::text(value), Cell::text(meaning)]);
        }
    };
    fact("model", text("model"), "what scored the day".to_owned());
    fact("tier", text("tier"), "how much history stands behind it: full, small, or the benchmark".to_owned());
    fact(
        "dropout_identified",
        text("dropout_identified"),
        "whether the shop's data tells dropout from silence".to_owned(),
    );
    let ratio = |actual: &str, expected: &str| {
        let (actual, expected) = (number(actual)?, number(expected)?);
        (expected > 0.0).then(|| (format!("{:.2}", actual / expected), actual, expected))
    };
    let since = text("seen_on").unwrap_or_default();
    for (name, actual, expected, what) in [
        ("actual/expected buyers", "actual_buyers", "expected_buyers", "buyers who ordered"),
        ("actual/expected orders", "actual_orders", "expected_orders", "order days"),
        ("actual/expected spend", "actual_spend", "expected_spend", "spend"),
    ] {
        let found = ratio(actual, expected);
        let meaning = found.as_ref().map(|(_, actual, expected)| {
            format!("{what} of the buyers of {since}: {actual:.0}, expected {expected:.1}")
        });
        fact(name, found.map(|(ratio, _, _)| ratio), meaning.unwrap_or_default());
    }
    let error = number("calibration_error").map(|error| format!("{error:.3}"));
    fact("calibration_error", error, "mean distance of chance and outcome, by tenths of chance".to_owned());
    let audit = match (text("churned_who_ordered"), text("churned_then")) {
        (Some(ordered), Some(then)) => Some(format!("{ordered} of {then}")),
        _ => None,
    };
    let meaning = match text("churn_label_suspended").as_deref() {
        Some("true") => "churned who ordered in 90 days; too many: the label is withheld",
        _ => "churned who ordered in 90 days; above 20% at a fit the label would be withheld",
    };
    fact("audit of churned", audit, meaning.to_owned());
    rows
}

/// Every value as text.
pub(super) fn texts(batches: Vec<RecordBatch>) -> Result<Vec<Vec<Option<String>>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &DataType::Utf8))
            .collect::<std::result::Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let text = |column: &arrow::array::ArrayRef| {
                let column = column.as_string::<i32>();
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            rows.push(columns.iter().map(text).collect());
        }
    }
    Ok(rows)
}
