//! `alluvial lifecycle`.

use super::Outcome;
use super::opened::{Call, Opened};
use crate::snapshot::day::STAGES;
use crate::snapshot::reading::Reading;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use chrono::NaiveDate;
use serde_json::json;

use super::output::{List, Output};
use super::rows::{Cell, Rows};
use crate::error::Result;

/// What `alluvial lifecycle` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The published day [default: the newest]
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
    pub as_of: Option<NaiveDate>,
}

/// One stage on one day.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The stage.
    pub stage: String,
    /// Customers in it.
    pub customers: u64,
    /// What they have spent, in the shop's currency, as decimal text.
    pub amount_spent: String,
    /// What they are expected to spend in a year, as decimal text; `None` where nothing is expected.
    pub predicted_value: Option<String>,
}

/// A move between two stages since the published day before.
#[derive(Debug, Clone)]
pub struct Move {
    /// From; `None` for customers who were not there.
    pub from: Option<String>,
    /// To; `None` for customers who are no longer there.
    pub to: Option<String>,
    /// How many customers.
    pub customers: u64,
}

/// Prints the stages' sizes, values and moves.
///
/// # Errors
/// As [`Output::lists`].
pub fn print(
    as_of: NaiveDate,
    previous: Option<NaiveDate>,
    stages: &[Stage],
    moves: &[Move],
    output: &mut Output<'_>,
) -> Result<()> {
    let total: u64 = stages.iter().map(|stage| stage.customers).sum();
    let mut sizes = Rows::new(&["stage", "#customers", "#share", "#amount_spent", "#predicted_value"]);
    for stage in stages {
        let share = if total == 0 { Cell::Missing } else { Cell::Float(stage.customers as f64 / total as f64) };
        sizes.push(vec![
            Cell::text(&stage.stage),
            Cell::count(stage.customers),
            share,
            Cell::Number(stage.amount_spent.clone()),
            Cell::maybe(stage.predicted_value.clone(), Cell::Number),
        ]);
    }
    let mut transitions = Rows::new(&["from_stage", "to_stage", "#customers"]);
    for change in moves {
        transitions.push(vec![
            Cell::maybe(change.from.as_ref(), Cell::text),
            Cell::maybe(change.to.as_ref(), Cell::text),
            Cell::count(change.customers),
        ]);
    }
    let facts = [("as_of", json!(as_of.to_string())), ("previous_as_of", json!(previous.map(|day| day.to_string())))];
    let mut lists = vec![List { key: "stages", heading: format!("stages as of {as_of}"), rows: sizes }];
    if let Some(previous) = previous {
        lists.push(List { key: "transitions", heading: format!("moves since {previous}"), rows: transitions });
    }
    output.lists(&facts, lists)
}

/// Prints the stages of a published day.
///
/// # Errors
/// Those of the project and of what is published.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let reading = Box::pin(Reading::open(&opened.project)).await?;
        let day = reading.day(args.as_of)?;
        let sql = format!(
            "SELECT p.lifecycle_stage, count(*), CAST(sum(p.amount_spent) AS VARCHAR), \
                    CAST(sum(CAST(p.predicted_value AS DECIMAL(28, 2))) AS VARCHAR) \
             FROM customer_profile p WHERE p.as_of = DATE '{}' GROUP BY p.lifecycle_stage",
            day.as_of
        );
        let mut found = texts(reading.sql(&sql).await?.collect().await?)?;
        found.sort_by_key(|row| STAGES.iter().position(|stage| row.first().and_then(Option::as_deref) == Some(*stage)));
        let stages: Vec<Stage> = found
            .into_iter()
            .map(|row| {
                let mut row = row.into_iter();
                let mut next = || row.next().flatten();
                Stage {
                    stage: next().unwrap_or_default(),
                    customers: next().and_then(|count| count.parse().ok()).unwrap_or(0),
                    amount_spent: next().unwrap_or_default(),
                    predicted_value: next(),
                }
            })
            .collect();
        let sql = format!(
            "SELECT from_stage, to_stage, customers FROM lifecycle_transitions \
             WHERE as_of = DATE '{}' AND from_stage <> to_stage ORDER BY customers DESC, from_stage, to_stage",
            day.as_of
        );
        let moves: Vec<Move> = texts(reading.sql(&sql).await?.collect().await?)?
            .into_iter()
            .map(|row| {
                let mut row = row.into_iter();
                let mut next = || row.next().flatten();
                let (from, to) = (next(), next());
                Move { from, to, customers: next().and_then(|count| count.parse().ok()).unwrap_or(0) }
            })
            .collect();
        print(day.as_of, day.previous_as_of, &stages, &moves, output)?;
        Ok(Outcome::Done)
    })
}

/// Every value as text.
fn texts(batches: Vec<RecordBatch>) -> Result<Vec<Vec<Option<String>>>> {
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
