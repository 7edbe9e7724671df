//! Runs the statements over a session in which `profile`, `buyers` and `previous_lifecycle` are registered.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::NaiveDate;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::col;

use super::classifier::Classifier;
use super::columns;
use super::health::Health;
use super::model::{History, Variant};
use super::row::{OneRow, Row, days_of};
use super::statements::{
    CANDIDATES, FLAGS, POPULATION, SCORE, SPEND_CUT, STAGE, TRANSITIONS, Texts, VALUE_CUTS, params, plan,
};
use crate::config::LifecycleSettings;
use crate::engine::{Params, Statement};
use crate::error::{Error, Result};

/// The shop's buyers as of the day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Population {
    /// Customers with a counted order that is not fully refunded.
    pub buyers: i64,
    /// Those of them with two order days or more.
    pub repeat_buyers: i64,
    /// Order days of all buyers.
    pub order_days: i64,
    /// M, the mean value of an order day, in the shop's currency; none without buyers.
    pub mean_order_value: Option<f64>,
    /// The shop's first order day.
    pub first_order_on: Option<NaiveDate>,
    /// The shop's last order day.
    pub last_order_on: Option<NaiveDate>,
}

impl Population {
    /// Days from the first order day to `as_of`, both included; 0 without orders.
    pub fn history_days(&self, as_of: NaiveDate) -> i64 {
        self.first_order_on.map_or(0, |first| (as_of - first).num_days() + 1)
    }

    /// Why no model is fitted to these buyers.
    pub fn too_little(&self, as_of: NaiveDate) -> String {
        format!(
            "no model was fitted: a shop of {} days, {} buyers and {} who bought on several days is too small \
             (90, 25 and 10 are the least), and the benchmark goes on",
            self.history_days(as_of),
            self.buyers,
            self.repeat_buyers
        )
    }

    /// Whether the history is shorter than 180 days: stages are provisional then, and a report says so first.
    pub fn is_provisional(&self, as_of: NaiveDate) -> bool {
        self.history_days(as_of) < 180
    }
}

/// The values that divided the day's customers; none where there was nobody to divide.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cuts {
    /// Customers neither lapsed nor loyal, whom the value cut divides.
    pub candidates: i64,
    /// High potential from this predicted value on.
    pub value: Option<f64>,
    /// `cant_lose` from this predicted value on.
    pub top_value: Option<f64>,
    /// `cant_lose` from this past spend on.
    pub top_spend: Option<f64>,
    /// predicted_spend_tier `medium` from this predicted value on.
    pub medium_spend_from: Option<f64>,
    /// predicted_spend_tier `high` from this predicted value on.
    pub high_spend_from: Option<f64>,
}

/// A scored day.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The rows of `lifecycle` ([`columns::lifecycle`]), by customer_id: a plan that has not run.
    pub rows: DataFrame,
    /// With what they were scored.
    pub classifier: Classifier,
    /// The shop's buyers.
    pub population: Population,
    /// The day's cuts.
    pub cuts: Cuts,
}

impl Scored {
    /// The row of `lifecycle_health`: with what the day was scored, its cuts, and how the model does on the 90 days
    /// before it, where the shop is that old.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn health_row(&self, as_of: NaiveDate, health: Option<&Health>) -> Result<RecordBatch> {
        let Self { classifier, population, cuts, .. } = self;
        let of = |value: fn(&Health) -> f64| health.map(value);
        let number = |value: fn(&Health) -> i64| health.map(value);
        OneRow::default()
            .text("model", Some(&classifier.name))
            .text("tier", Some(classifier.tier.as_str()))
            .text("confidence", Some(classifier.tier.confidence()))
            .flag("dropout_identified", classifier.dropout_identified)
            .flag("churn_label_suspended", classifier.churn_label_suspended)
            .count("history_days", population.history_days(as_of))
            .count("buyers", population.buyers)
            .count("repeat_buyers", population.repeat_buyers)
            .count("order_days", population.order_days)
            .double("mean_order_value", population.mean_order_value)
            .date("first_order_on", population.first_order_on)
            .date("last_order_on", population.last_order_on)
            .double("p_order_90d_new_buyer", classifier.parameters.p_order(&History::NEW, 90.0))
            .count("candidates", cuts.candidates)
            .double("value_cut", cuts.value)
            .double("top_value_cut", cuts.top_value)
            .double("top_spend_cut", cuts.top_spend)
            .double("medium_spend_from", cuts.medium_spend_from)
            .double("high_spend_from", cuts.high_spend_from)
            .date("seen_on", health.map(|health| health.seen_on))
            .count("buyers_then", number(|health| health.buyers))
            .double("expected_buyers", of(|health| health.expected_buyers))
            .count("actual_buyers", number(|health| health.actual_buyers))
            .double("expected_orders", of(|health| health.expected_orders))
            .count("actual_orders", number(|health| health.actual_orders))
            .cents("expected_spend", health.map(|health| health.expected_spend_cents))?
            .cents("actual_spend", health.map(|health| health.actual_spend_cents))?
            .double("calibration_error", health.and_then(|health| health.calibration_error))
            .count("churned_then", number(|health| health.churned))
            .count("churned_who_ordered", number(|health| health.churned_who_ordered))
            .double("churn_return_rate", health.and_then(Health::churn_return_rate))
            .finish()
    }
}

/// Scores every customer of `profile` as of `as_of` and plans the rows of `lifecycle`.
///
/// The session must know [`super::functions()`] and the tables `profile` (customer_id), `buyers` and
/// `previous_lifecycle` (the latest published day before, or empty, with the columns of [`columns::lifecycle`]). Views
/// named `lifecycle_scores` and `lifecycle_flags` are left in it.
///
/// # Errors
/// Whatever a statement fails with; `lifecycle.columns` if a project's own text gives other columns;
/// `lifecycle.variant` for BG/NBD parameters.
pub async fn score(
    ctx: &SessionContext,
    as_of: NaiveDate,
    settings: &LifecycleSettings,
    classifier: &Classifier,
    texts: Texts<'_>,
) -> Result<Scored> {
    let (params, population) = Box::pin(flags(ctx, as_of, settings, classifier, texts)).await?;
    let cuts = Box::pin(cuts(ctx, settings, classifier, &population, &params, texts)).await?;
    let params = params
        .with("value_cut", cuts.value)
        .with("top_value_cut", cuts.top_value)
        .with("top_spend_cut", cuts.top_spend)
        .with("medium_spend_from", cuts.medium_spend_from)
        .with("high_spend_from", cuts.high_spend_from);
    let rows = plan(ctx, STAGE, &params, texts).await?;
    let rows = exactly(rows, STAGE, &columns::lifecycle())?;
    Ok(Scored { rows, classifier: classifier.clone(), population, cuts })
}

/// The views `lifecycle_scores` and `lifecycle_flags`, the parameters that they were planned with, and what they are of.
pub(super) async fn flags(
    ctx: &SessionContext,
    as_of: NaiveDate,
    settings: &LifecycleSettings,
    classifier: &Classifier,
    texts: Texts<'_>,
) -> Result<(Params, Population)> {
    if classifier.parameters.variant() != Variant::Mbg {
        let message = "stages are scored with MBG/NBD; BG/NBD is there to compare with";
        return Err(Error::definition("lifecycle.variant", message));
    }
    let population = population(ctx, texts).await?;
    let params = params(settings, classifier)
        .with("as_of", ScalarValue::Date32(Some(days_of(as_of))))
        .with("mean_order_value", population.mean_order_value)
        .with("buyers", population.buyers);
    view(ctx, "lifecycle_scores", SCORE, &params, texts).await?;
    view(ctx, "lifecycle_flags", FLAGS, &params, texts).await?;
    Ok((params, population))
}

/// What the session's `buyers` are as a whole.
pub(super) async fn population(ctx: &SessionContext, texts: Texts<'_>) -> Result<Population> {
    let row = Row::of(plan(ctx, POPULATION, &Params::new(), texts).await?).await?;
    Ok(Population {
        buyers: row.count("buyers")?,
        repeat_buyers: row.count("repeat_buyers")?,
        order_days: row.count("order_days")?,
        mean_order_value: row.double("mean_order_value")?,
        first_order_on: row.date("first_order_on")?,
        last_order_on: row.date("last_order_on")?,
    })
}

/// Plans the rows of `lifecycle_transitions` ([`columns::transitions`]) from `lifecycle_today` (the rows of
/// [`Scored::rows`], best as they were written) and `previous_lifecycle`.
///
/// # Errors
/// Whatever the statement fails with; `lifecycle.columns` if a project's own text gives other columns.
pub async fn transitions(ctx: &SessionContext, texts: Texts<'_>) -> Result<DataFrame> {
    exactly(plan(ctx, TRANSITIONS, &Params::new(), texts).await?, TRANSITIONS, &columns::transitions())
}

/// The position, from 0, of percentile `q` among `n` values in ascending order: ⌈q·(n−1)⌉.
fn position(q: f64, n: i64) -> i64 {
    // q·(n−1) of a q such as 0.6 may exceed the whole number that it means by a rounding error.
    let exact = q * (n - 1).max(0) as f64;
    let position = (exact - 1e-9).ceil() as i64;
    position.max(0)
}

async fn cuts(
    ctx: &SessionContext,
    settings: &LifecycleSettings,
    classifier: &Classifier,
    population: &Population,
    params: &Params,
    texts: Texts<'_>,
) -> Result<Cuts> {
    let candidates = Row::of(plan(ctx, CANDIDATES, params, texts).await?).await?.count("candidates")?;
    let top = position(settings.cant_lose_percentile / 100.0, population.buyers);
    let params = params
        .clone()
        .with("value_position", position(settings.high_potential_percentile / 100.0, candidates))
        .with("top_value_position", top)
        .with("top_spend_position", top);
    let by_value = Row::of(plan(ctx, VALUE_CUTS, &params, texts).await?).await?;
    let by_spend = Row::of(plan(ctx, SPEND_CUT, &params, texts).await?).await?;
    Ok(Cuts {
        candidates,
        value: classifier.value_cut.or(by_value.double("value_cut")?),
        top_value: by_value.double("top_value_cut")?,
        top_spend: by_spend.double("top_spend_cut")?,
        medium_spend_from: by_value.double("medium_spend_from")?,
        high_spend_from: by_value.double("high_spend_from")?,
    })
}

/// Registers a statement under `name` for those that read it.
pub(super) async fn view(
    ctx: &SessionContext,
    name: &str,
    statement: Statement,
    params: &Params,
    texts: Texts<'_>,
) -> Result<()> {
    let query = plan(ctx, statement, params, texts).await?;
    ctx.deregister_table(name)?;
    ctx.register_table(name, query.into_view())?;
    Ok(())
}

/// The query with just the columns of `wanted`, in their order.
pub(super) fn exactly(query: DataFrame, statement: Statement, wanted: &SchemaRef) -> Result<DataFrame> {
    let wrong = |message: String| {
        Error::definition("lifecycle.columns", message)
            .in_file(format!("sql/{}.sql", statement.name))
            .with_hint("keep the columns of the built-in statement")
    };
    for field in wanted.fields() {
        let found = query.schema().field_with_unqualified_name(field.name());
        let found = found.map_err(|_| wrong(format!("the column `{}` is missing", field.name())))?;
        if !found.data_type().equals_datatype(field.data_type()) {
            let message = format!("`{}` must be {}, not {}", field.name(), field.data_type(), found.data_type());
            return Err(wrong(message));
        }
    }
    let more = query.schema().fields().iter().find(|field| wanted.column_with_name(field.name()).is_none());
    if let Some(field) = more {
        return Err(wrong(format!("there is no column `{}` in this table", field.name())));
    }
    let in_order =
        query.schema().fields().iter().zip(wanted.fields()).all(|(found, field)| found.name() == field.name());
    if in_order {
        return Ok(query);
    }
    Ok(query.select(wanted.fields().iter().map(|field| col(format!("\"{}\"", field.name()))).collect::<Vec<_>>())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_exact() {
        assert_eq!(position(0.6, 0), 0);
        assert_eq!(position(0.6, 1), 0);
        assert_eq!(position(0.6, 2), 1);
        assert_eq!(position(0.6, 6), 3);
        assert_eq!(position(0.6, 348), 209);
        assert_eq!(position(1.0 - 0.2, 11), 8);
        for whole in 0..10_000 {
            assert_eq!(position(0.6, 5 * whole + 1), 3 * whole);
        }
    }
}
