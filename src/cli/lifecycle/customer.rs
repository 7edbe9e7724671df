//! `alluvial lifecycle customer`.

use arrow::array::AsArray;
use chrono::NaiveDate;

use super::super::Outcome;
use super::super::opened::{Call, Opened};
use super::super::output::{List, Output};
use super::super::rows::{Cell, Rows};
use crate::engine::statement::literal;
use crate::error::{Error, Result};
use crate::snapshot::reading::Reading;

/// What `alluvial lifecycle customer` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The customer's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// The published day [default: the newest]
    #[arg(long, value_name = "DATE", value_parser = super::super::arguments::date)]
    pub as_of: Option<NaiveDate>,
}

/// Prints one customer's stage with its sentence and numbers, and the stages before it.
///
/// # Errors
/// Those of the project and of what is published; `lifecycle.no_customer` for a customer whom the day does not know.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let reading = Box::pin(Reading::open(&opened.project)).await?;
        let as_of = reading.day(args.as_of)?.as_of;
        let id = literal(&args.id);
        let sql = format!("SELECT * FROM lifecycle WHERE as_of = DATE '{as_of}' AND customer_id = {id}");
        let batches = reading.sql(&sql).await?.collect().await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
            let message = format!("{as_of} knows no customer `{}`", args.id);
            return Err(Error::not_found("lifecycle.no_customer", message)
                .with_hint("the id is that of `customer_id` in the landed tables; ids are case-sensitive"));
        };
        let mut numbers = Rows::new(&["fact", "value"]);
        let mut sentence = String::new();
        let own = Rows::from_batches(&batch.schema(), std::slice::from_ref(batch))?;
        for (column, cell) in own.columns.iter().zip(own.rows.into_iter().next().unwrap_or_default()) {
            if column.name != "explanation" {
                numbers.push(vec![Cell::text(&column.name), cell]);
            }
        }
        if let Some(explanation) = batch.column_by_name("explanation") {
            let explanation = explanation.as_struct();
            let fields: RecordFields = (explanation.fields().clone(), explanation.columns().to_vec());
            let (known, said) = explained(&fields, batch)?;
            sentence = said;
            for row in known {
                numbers.push(row);
            }
        }
        let sql = format!(
            "SELECT as_of, stage, previous_stage, reason, p_order_90d, vitality, model FROM ( \
               SELECT *, lag(stage) OVER (ORDER BY as_of) AS before FROM lifecycle \
               WHERE customer_id = {id} AND as_of <= DATE '{as_of}') \
             WHERE before IS NULL OR before <> stage ORDER BY as_of"
        );
        let frame = reading.sql(&sql).await?;
        let schema = frame.schema().inner().clone();
        let history = Rows::from_batches(&schema, &frame.collect().await?)?;
        let facts = [
            ("as_of", serde_json::json!(as_of.to_string())),
            ("customer_id", serde_json::json!(args.id)),
            ("sentence", serde_json::json!(sentence)),
        ];
        let heading = format!("{} as of {as_of}: {sentence}\n", args.id);
        output.lists(
            &facts,
            vec![
                List { key: "numbers", heading, rows: numbers },
                List { key: "history", heading: "stages: the first published day of each".to_owned(), rows: history },
            ],
        )?;
        Ok(Outcome::Done)
    })
}

type RecordFields = (arrow::datatypes::Fields, Vec<arrow::array::ArrayRef>);

/// The numbers of an explanation that the row itself does not have, and its sentence.
fn explained((fields, columns): &RecordFields, row: &arrow::array::RecordBatch) -> Result<(Vec<Vec<Cell>>, String)> {
    let schema = arrow::datatypes::Schema::new(fields.clone());
    let batch = arrow::array::RecordBatch::try_new(std::sync::Arc::new(schema.clone()), columns.clone())?;
    let all = Rows::from_batches(&schema, &[batch.slice(0, 1)])?;
    let mut sentence = String::new();
    let mut numbers = Vec::new();
    for (column, cell) in all.columns.iter().zip(all.rows.into_iter().next().unwrap_or_default()) {
        match cell {
            Cell::Text(text) if column.name == "sentence" => sentence = text,
            cell if row.column_by_name(&column.name).is_none() => numbers.push(vec![Cell::text(&column.name), cell]),
            _ => {}
        }
    }
    Ok((numbers, sentence))
}
