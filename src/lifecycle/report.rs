//! The stages' sizes, shares and moves, as numbers that a command prints.

use arrow::array::{Array, Decimal128Array, Int64Array, RecordBatch, StringViewArray};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;

use super::columns;
use super::score::exactly;
use super::statements::{REPORT, Texts, plan};
use crate::engine::Params;
use crate::error::{Error, Result};

/// The stages in the order in which they are told: the best first, those who never bought last.
pub const STAGES: [&str; 6] = ["loyal", "high_potential", "nurture_needed", "dormant", "churned", "prospect"];

/// One stage as of the day.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSize {
    /// The stage.
    pub stage: String,
    /// Customers in it.
    pub customers: i64,
    /// Their share of all customers; none if there are none.
    pub share_of_customers: Option<f64>,
    /// Their share of the buyers; none for prospects, who are no buyers.
    pub share_of_buyers: Option<f64>,
    /// What they have spent, in hundredths of the shop's currency.
    pub spend_cents: i128,
    /// Their share of what all have spent; none if nobody has spent anything.
    pub share_of_spend: Option<f64>,
    /// What they are expected to spend in the 365 days after the day, in hundredths.
    pub predicted_cents: i128,
    /// Those of the dormant whom the shop can least afford to lose.
    pub cant_lose: i64,
    /// Customers who were elsewhere, or not there, on the latest published day before.
    pub entered: i64,
    /// Customers of that day who are elsewhere, or gone.
    pub left: i64,
}

/// Customers who went from one stage to another; `new` and `gone` stand for outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The stage on the latest published day before, or `new`.
    pub from: String,
    /// The stage as of the day, or `gone`.
    pub to: String,
    /// How many.
    pub customers: i64,
}

/// The stages of a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// All customers.
    pub customers: i64,
    /// Those with a counted order that is not fully refunded.
    pub buyers: i64,
    /// All six stages in the order of [`STAGES`], the empty ones too.
    pub stages: Vec<StageSize>,
    /// The moves between different stages, the largest first.
    pub moves: Vec<Move>,
}

/// Plans the sizes and values of the stages ([`columns::sizes`]) from `lifecycle_today`, a table with the rows of a day.
///
/// # Errors
/// Whatever the statement fails with; `lifecycle.columns` if a project's own text gives other columns.
pub async fn sizes(ctx: &SessionContext, texts: Texts<'_>) -> Result<DataFrame> {
    exactly(plan(ctx, REPORT, &Params::new(), texts).await?, REPORT, &columns::sizes())
}

/// Adds up what [`sizes`] and the rows of `lifecycle_transitions` ([`columns::transitions`]) say.
///
/// # Errors
/// `lifecycle.columns` if a batch lacks a column, or has it of another type.
pub fn report(sizes: &[RecordBatch], transitions: &[RecordBatch]) -> Result<Report> {
    let mut stages: Vec<StageSize> = STAGES.iter().map(|stage| empty(stage)).collect();
    for batch in sizes {
        let names = column::<StringViewArray>(batch, "stage")?;
        let customers = column::<Int64Array>(batch, "customers")?;
        let spend = column::<Decimal128Array>(batch, "spend")?;
        let predicted = column::<Decimal128Array>(batch, "predicted_value")?;
        let cant_lose = column::<Int64Array>(batch, "cant_lose")?;
        for row in 0..batch.num_rows() {
            let size = entry(&mut stages, names.value(row));
            size.customers = customers.value(row);
            size.spend_cents = spend.value(row);
            size.predicted_cents = predicted.value(row);
            size.cant_lose = cant_lose.value(row);
        }
    }
    let mut moves = Vec::new();
    for batch in transitions {
        let from = column::<StringViewArray>(batch, "from_stage")?;
        let to = column::<StringViewArray>(batch, "to_stage")?;
        let customers = column::<Int64Array>(batch, "customers")?;
        for row in 0..batch.num_rows() {
            let (from, to, customers) = (from.value(row), to.value(row), customers.value(row));
            if from == to {
                continue;
            }
            if to != "gone" {
                entry(&mut stages, to).entered += customers;
            }
            if from != "new" {
                entry(&mut stages, from).left += customers;
            }
            moves.push(Move { from: from.to_owned(), to: to.to_owned(), customers });
        }
    }
    moves.sort_by(|a, b| (b.customers, &a.from, &a.to).cmp(&(a.customers, &b.from, &b.to)));

    let customers: i64 = stages.iter().map(|size| size.customers).sum();
    let prospects = stages.iter().filter(|size| size.stage == "prospect").map(|size| size.customers).sum::<i64>();
    let buyers = customers - prospects;
    let spend: i128 = stages.iter().map(|size| size.spend_cents).sum();
    for size in &mut stages {
        size.share_of_customers = share(size.customers.into(), customers.into());
        if size.stage != "prospect" {
            size.share_of_buyers = share(size.customers.into(), buyers.into());
        }
        size.share_of_spend = share(size.spend_cents, spend);
    }
    Ok(Report { customers, buyers, stages, moves })
}

fn empty(stage: &str) -> StageSize {
    StageSize {
        stage: stage.to_owned(),
        customers: 0,
        share_of_customers: None,
        share_of_buyers: None,
        spend_cents: 0,
        share_of_spend: None,
        predicted_cents: 0,
        cant_lose: 0,
        entered: 0,
        left: 0,
    }
}

/// The stage's entry; a stage of a project's own making comes after ours.
fn entry<'a>(stages: &'a mut Vec<StageSize>, stage: &str) -> &'a mut StageSize {
    let at = stages.iter().position(|size| size.stage == stage).unwrap_or(stages.len());
    if at == stages.len() {
        stages.push(empty(stage));
    }
    &mut stages[at]
}

fn share(part: i128, whole: i128) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}

fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<A>());
    column.ok_or_else(|| {
        Error::internal("lifecycle.columns", format!("the column `{name}` is missing or not of its type"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn shares_and_moves_add_up() {
        let sizes = RecordBatch::try_new(
            columns::sizes(),
            vec![
                Arc::new(StringViewArray::from(vec!["loyal", "dormant", "prospect"])),
                Arc::new(Int64Array::from(vec![3, 1, 4])),
                Arc::new(Decimal128Array::from(vec![7_500, 2_500, 0]).with_precision_and_scale(38, 2).unwrap()),
                Arc::new(Decimal128Array::from(vec![900, 100, 0]).with_precision_and_scale(38, 2).unwrap()),
                Arc::new(Int64Array::from(vec![0, 1, 0])),
            ],
        )
        .unwrap();
        let transitions = RecordBatch::try_new(
            columns::transitions(),
            vec![
                Arc::new(StringViewArray::from(vec!["loyal", "loyal", "new", "prospect", "dormant"])),
                Arc::new(StringViewArray::from(vec!["loyal", "dormant", "prospect", "loyal", "gone"])),
                Arc::new(Int64Array::from(vec![2, 1, 4, 1, 5])),
            ],
        )
        .unwrap();
        let report = report(&[sizes], &[transitions]).unwrap();
        assert_eq!((report.customers, report.buyers), (8, 4));
        assert_eq!(report.stages.iter().map(|size| size.stage.as_str()).collect::<Vec<_>>(), STAGES);
        let [loyal, .., dormant, _, prospect] = report.stages.as_slice() else { panic!("six stages") };
        assert_eq!((loyal.entered, loyal.left, loyal.share_of_buyers), (1, 1, Some(0.75)));
        assert_eq!((loyal.share_of_spend, loyal.share_of_customers), (Some(0.75), Some(0.375)));
        assert_eq!((dormant.entered, dormant.left, dormant.cant_lose), (1, 5, 1));
        assert_eq!((prospect.entered, prospect.left, prospect.share_of_buyers), (4, 1, None));
        let moves: Vec<_> = report.moves.iter().map(|m| (m.from.as_str(), m.to.as_str(), m.customers)).collect();
        let wanted =
            [("dormant", "gone", 5), ("new", "prospect", 4), ("loyal", "dormant", 1), ("prospect", "loyal", 1)];
        assert_eq!(moves, wanted);
    }

    #[test]
    fn an_empty_shop_has_six_empty_stages() {
        let report = report(&[], &[]).unwrap();
        assert_eq!(report.stages.len(), 6);
        assert!(report.stages.iter().all(|size| size.share_of_customers.is_none() && size.share_of_spend.is_none()));
    }
}
