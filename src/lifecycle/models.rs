//! The rows of `lifecycle_models`: a fitted model, kept and read again to the last bit.

use arrow::array::RecordBatch;
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::dataframe::DataFrame;
use datafusion::prelude::{col, lit};

use super::classifier::{Classifier, OrderValue, Tier};
use super::fit::Model;
use super::health::Health;
use super::model::{History, OrderValueParameters, Parameters, Variant};
use super::row::{OneRow, Row};
use crate::error::{Error, Result};

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The run that fitted it.
    pub run_id: String,
    /// When.
    pub fitted_at: DateTime<Utc>,
    /// The manifest of the day that was computed in the same run, below the lake's root.
    pub input_manifest: Option<String>,
    /// The SHA-256 of the list of landed files that were read.
    pub inputs_hash: String,
}

impl Model {
    /// The row of `lifecycle_models`; its `as_of` is the day whose buyers were fitted.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn row(&self, provenance: &Provenance) -> Result<RecordBatch> {
        let Classifier { parameters, .. } = &self.classifier;
        let [r, alpha, a, b] = parameters.values();
        let [p, q, v] = match &self.classifier.order_value {
            OrderValue::Shrunk => [None; 3],
            OrderValue::GammaGamma(fitted) => fitted.values().map(Some),
        };
        let health = self.health.as_ref();
        OneRow::default()
            .text("model", Some(&self.classifier.name))
            .text("version", Some(env!("CARGO_PKG_VERSION")))
            .text("tier", Some(self.classifier.tier.as_str()))
            .text("confidence", Some(self.classifier.tier.confidence()))
            .double("r", r)
            .double("alpha", alpha)
            .double("a", a)
            .double("b", b)
            .double("log_likelihood", self.log_likelihood)
            .double("log_likelihood_without_dropout", self.log_likelihood_without_dropout)
            .flag("dropout_identified", self.classifier.dropout_identified)
            .double("gg_p", p)
            .double("gg_q", q)
            .double("gg_v", v)
            .double("p_order_90d_new_buyer", parameters.p_order(&History::NEW, 90.0))
            .double("value_cut", self.classifier.value_cut)
            .flag("churn_label_suspended", self.classifier.churn_label_suspended)
            .flag("converged", self.converged)
            .count("buyers", self.population.buyers)
            .count("repeat_buyers", self.population.repeat_buyers)
            .count("order_days", self.population.order_days)
            .double("mean_order_value", self.population.mean_order_value)
            .date("first_order_on", self.population.first_order_on)
            .date("last_order_on", self.population.last_order_on)
            .count("histories", self.histories)
            .flag("weekly", self.weekly)
            .date("seen_on", health.map(|health| health.seen_on))
            .double("expected_buyers", health.map(|health| health.expected_buyers))
            .count("actual_buyers", health.map(|health| health.actual_buyers))
            .double("calibration_error", health.and_then(|health| health.calibration_error))
            .count("churned_then", health.map(|health| health.churned))
            .count("churned_who_ordered", health.map(|health| health.churned_who_ordered))
            .double("churn_return_rate", health.and_then(Health::churn_return_rate))
            .text("run_id", Some(&provenance.run_id))
            .instant("fitted_at", provenance.fitted_at)
            .text("input_manifest", provenance.input_manifest.as_deref())
            .text("inputs_hash", Some(&provenance.inputs_hash))
            .finish()
    }
}

/// A model as the table has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// What it scores nights with.
    pub classifier: Classifier,
    /// The day whose buyers it was fitted to.
    pub fitted_on: NaiveDate,
}

/// The model that had been fitted by `as_of`: of `models` (the table `lifecycle_models`) the one with the newest day, of
/// several as of one day the one that was fitted last. With `named` the one of that name, if it is there.
///
/// # Errors
/// What reading fails with; `lifecycle.parameters` for a row that no model can have.
pub async fn newest(models: DataFrame, as_of: NaiveDate, named: Option<&str>) -> Result<Option<Known>> {
    let by_then = lit(datafusion::common::ScalarValue::Date32(Some(super::row::days_of(as_of))));
    let mut models = models.filter(col("as_of").lt_eq(by_then))?;
    if let Some(name) = named {
        models = models.filter(col("model").eq(lit(name)))?;
    }
    let order = ["as_of", "fitted_at", "model"].map(|column| col(column).sort(false, false));
    // No limit: over a union whose parts are each of one day, DataFusion 55 leaves the day out of the parts' order and
    // yet lets them share the bound below which rows are dropped, and so drops the newest.
    let rows = Row::all(models.sort(order.to_vec())?).await?;
    rows.first().map(known).transpose()
}

fn known(row: &Row) -> Result<Known> {
    let damaged = |column: &str| {
        Error::input("lifecycle.model", format!("a row of `lifecycle_models` lacks `{column}`"))
            .with_hint("fit a model anew with `alluvial lifecycle fit`")
    };
    let number = |column: &str| row.double(column)?.ok_or_else(|| damaged(column));
    let parameters = Parameters::new(Variant::Mbg, number("r")?, number("alpha")?, number("a")?, number("b")?)?;
    let order_value = match (row.double("gg_p")?, row.double("gg_q")?, row.double("gg_v")?) {
        (Some(p), Some(q), Some(v)) => OrderValue::GammaGamma(OrderValueParameters::new(p, q, v)?),
        _ => OrderValue::Shrunk,
    };
    let tier = row.text("tier")?.as_deref().and_then(Tier::parse).ok_or_else(|| damaged("tier"))?;
    Ok(Known {
        classifier: Classifier {
            name: row.text("model")?.ok_or_else(|| damaged("model"))?,
            tier,
            parameters,
            dropout_identified: row.flag("dropout_identified")?,
            order_value,
            value_cut: row.double("value_cut")?,
            churn_label_suspended: row.flag("churn_label_suspended")?,
        },
        fitted_on: row.date("as_of")?.ok_or_else(|| damaged("as_of"))?,
    })
}
