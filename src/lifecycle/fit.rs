//! From a shop's order days to a model: parameters, tier, whether dropout is identified, cuts that stay until the next
//! fit, and whether the label `churned` passed its audit.

/// Buyers' histories, merged.
pub mod histories;
/// Log-likelihoods and gradients.
pub mod likelihood;
/// Minimising, come what may.
mod optimize;
/// The parameters that fit a shop best.
pub mod parameters;

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use chrono::NaiveDate;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::classifier::{Classifier, OrderValue, Tier};
use super::columns;
use super::health::{HORIZON_DAYS, Health, health};
use super::model::{Parameters, Variant};
use super::row::days_of;
use super::score::{Population, population, score};
use super::statements::{HISTORIES, MERGED, ORDER_DAYS, ORDER_VALUES, Texts, plan};
use crate::calendar::add_days;
use crate::config::{LifecycleSettings, Recurring};
use crate::engine::{Engine, Params};
use crate::error::Result;
pub(super) use optimize::minimize;

use histories::{Histories, MOST_EXACT, Observed, OrderValues};
use parameters::{Prior, dropout_identified, fit, fit_order_values, log_likelihood_without_dropout};

/// A fitted model: what scores nights until the next fit, and what it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What scores nights.
    pub classifier: Classifier,
    /// The day whose buyers it was fitted to; it has seen nothing after it.
    pub fitted_on: NaiveDate,
    /// Those buyers.
    pub population: Population,
    /// Different histories among them.
    pub histories: i64,
    /// Whether there were so many that the fit worked on weeks.
    pub weekly: bool,
    /// Σ log-likelihood of the model.
    pub log_likelihood: f64,
    /// The same of the best model without dropout.
    pub log_likelihood_without_dropout: f64,
    /// Whether the search ended on flat ground.
    pub converged: bool,
    /// How the model does on its last 90 days; none where the shop is younger.
    pub health: Option<Health>,
}

/// What a fit came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Learned {
    /// A model.
    Model(Box<Model>),
    /// The shop has too little history: the benchmark goes on.
    TooLittle(Population),
}

/// Plans `order_days`, the order days that count, from the session's `orders`.
///
/// # Errors
/// Whatever the statement fails with.
pub async fn order_days(
    ctx: &SessionContext,
    settings: &LifecycleSettings,
    texts: Texts<'_>,
) -> Result<datafusion::dataframe::DataFrame> {
    let params = Params::new().with("ignore_renewals", settings.recurring == Recurring::Ignore);
    plan(ctx, ORDER_DAYS, &params, texts).await
}

/// A session in which `buyers` are those of `seen_until`, with what they did up to `told_until`, `profile` has them as
/// customers, and nothing was published before.
///
/// # Errors
/// Whatever the statement fails with.
pub async fn as_seen(
    engine: &Engine,
    order_days: Arc<dyn TableProvider>,
    seen_until: NaiveDate,
    told_until: NaiveDate,
    texts: Texts<'_>,
) -> Result<SessionContext> {
    let ctx = engine.night_session();
    ctx.register_table("order_days", order_days)?;
    let date = |day: NaiveDate| ScalarValue::Date32(Some(days_of(day)));
    let params = Params::new().with("seen_until", date(seen_until)).with("told_until", date(told_until));
    let buyers = plan(&ctx, HISTORIES, &params, texts).await?;
    engine.materialize(&ctx, "buyers", buyers, false).await?;
    let ids = ctx.table("buyers").await?.select_columns(&["customer_id"])?;
    ctx.register_table("profile", ids.into_view())?;
    let nothing = MemTable::try_new(columns::lifecycle(), vec![vec![]])?;
    ctx.register_table("previous_lifecycle", Arc::new(nothing))?;
    Ok(ctx)
}

/// How a classifier does on the 90 days up to `as_of`; none where nobody had bought by then.
///
/// # Errors
/// Whatever a statement fails with.
pub async fn recent_health(
    engine: &Engine,
    order_days: Arc<dyn TableProvider>,
    as_of: NaiveDate,
    settings: &LifecycleSettings,
    classifier: &Classifier,
    texts: Texts<'_>,
) -> Result<Option<Health>> {
    let Some(seen_on) = add_days(as_of, -HORIZON_DAYS) else { return Ok(None) };
    let ctx = as_seen(engine, order_days, seen_on, as_of, texts).await?;
    let found = Box::pin(health(&ctx, seen_on, settings, classifier, texts)).await;
    engine.discard(&ctx, "buyers")?;
    found
}

/// Fits a model to the order days up to `as_of`. With `suspended_before` the label `churned` was withheld until now.
///
/// # Errors
/// Whatever a statement fails with; never of the numbers in it.
pub async fn learn(
    engine: &Engine,
    order_days: &Arc<dyn TableProvider>,
    as_of: NaiveDate,
    settings: &LifecycleSettings,
    suspended_before: bool,
    texts: Texts<'_>,
) -> Result<Learned> {
    let ctx = as_seen(engine, Arc::clone(order_days), as_of, as_of, texts).await?;
    let population = population(&ctx, texts).await?;
    let tier = Tier::of(&population, as_of);
    if tier == Tier::Benchmark {
        engine.discard(&ctx, "buyers")?;
        return Ok(Learned::TooLittle(population));
    }
    let histories = merged(&ctx, as_of, texts).await?;
    let fitted = fit(&histories, Variant::Mbg, Prior::Weak);
    let without = log_likelihood_without_dropout(&histories);
    let values = fit_order_values(&order_values(&ctx, texts).await?);
    let order_value = values.map_or(OrderValue::Shrunk, |values| OrderValue::GammaGamma(values.parameters));
    let mut classifier = Classifier {
        name: String::new(),
        tier,
        parameters: fitted.parameters,
        dropout_identified: dropout_identified(fitted.log_likelihood, without),
        order_value,
        value_cut: None,
        churn_label_suspended: false,
    };
    classifier.value_cut = Box::pin(score(&ctx, as_of, settings, &classifier, texts)).await?.cuts.value;
    engine.discard(&ctx, "buyers")?;
    let checked = recent_health(engine, Arc::clone(order_days), as_of, settings, &classifier, texts);
    let health = Box::pin(checked).await?;
    classifier.churn_label_suspended =
        health.as_ref().map_or(suspended_before, |health| health.suspends_churned(suspended_before));
    classifier.name = name(&classifier, as_of);
    Ok(Learned::Model(Box::new(Model {
        classifier,
        fitted_on: as_of,
        population,
        histories: i64::try_from(histories.rows().len()).unwrap_or(i64::MAX),
        weekly: histories.is_weekly(),
        log_likelihood: fitted.log_likelihood,
        log_likelihood_without_dropout: without,
        converged: fitted.converged,
        health,
    })))
}

/// A model's name: equal models have equal names, and others others.
fn name(classifier: &Classifier, as_of: NaiveDate) -> String {
    let mut hash = Sha256::new();
    let mut number = |value: f64| hash.update(value.to_bits().to_le_bytes());
    Parameters::values(&classifier.parameters).into_iter().for_each(&mut number);
    if let OrderValue::GammaGamma(values) = &classifier.order_value {
        values.values().into_iter().for_each(&mut number);
    }
    number(classifier.value_cut.unwrap_or(f64::NAN));
    number(f64::from(u8::from(classifier.dropout_identified)));
    number(f64::from(u8::from(classifier.churn_label_suspended)));
    let digest = hex::encode(hash.finalize());
    format!("mbg-{as_of}-{}", digest.get(..8).unwrap_or_default())
}

/// The histories of the session's `buyers`.
async fn merged(ctx: &SessionContext, as_of: NaiveDate, texts: Texts<'_>) -> Result<Histories> {
    let params = Params::new().with("as_of", ScalarValue::Int32(Some(days_of(as_of))));
    let columns = numbers(ctx, MERGED, &params, ["frequency", "recency", "age", "buyers"], texts).await?;
    let whole = |value: i128| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
    let buyers = columns.into_iter().map(|[frequency, recency, age, buyers]| {
        let seen = Observed { frequency: whole(frequency), recency: whole(recency), age: whole(age) };
        (seen, u64::try_from(buyers).unwrap_or(0))
    });
    Ok(Histories::merge(buyers, MOST_EXACT))
}

/// The order values of the session's `buyers`.
async fn order_values(ctx: &SessionContext, texts: Texts<'_>) -> Result<OrderValues> {
    let columns = numbers(ctx, ORDER_VALUES, &Params::new(), ["paid_days", "spend", "buyers"], texts).await?;
    let values = columns.into_iter().map(|[paid_days, cents, buyers]| {
        (u32::try_from(paid_days.max(0)).unwrap_or(u32::MAX), cents, u64::try_from(buyers).unwrap_or(0))
    });
    Ok(OrderValues::merge(values, MOST_EXACT))
}

/// Columns of whole numbers, and of money in hundredths.
async fn numbers<const N: usize>(
    ctx: &SessionContext,
    statement: crate::engine::Statement,
    params: &Params,
    names: [&str; N],
    texts: Texts<'_>,
) -> Result<Vec<[i128; N]>> {
    let query = plan(ctx, statement, params, texts).await?.select_columns(&names)?;
    let mut stream = query.execute_stream().await?;
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let start = rows.len();
        rows.resize(start + batch.num_rows(), [0; N]);
        for (index, column) in batch.columns().iter().enumerate() {
            if matches!(column.data_type(), DataType::Decimal128(_, _)) {
                let column = cast(column, &DataType::Decimal128(38, 2))?;
                let column = column.as_primitive::<Decimal128Type>();
                for (row, value) in column.iter().enumerate() {
                    rows[start + row][index] = value.unwrap_or(0);
                }
            } else {
                let column = cast(column, &DataType::Int64)?;
                let column = column.as_primitive::<Int64Type>();
                for (row, value) in column.iter().enumerate() {
                    rows[start + row][index] = i128::from(value.unwrap_or(0));
                }
            }
        }
    }
    Ok(rows)
}
