//! `alluvial lifecycle fit`.

use chrono::NaiveDate;

use super::super::Outcome;
use super::super::opened::{Call, Opened};
use super::super::output::Output;
use super::super::progress::Progress;
use super::super::rows::{Cell, Rows};
use crate::error::Result;
use crate::jobs::run::fit_now;
use crate::lifecycle::classifier::OrderValue;
use crate::lifecycle::fit::Model;
use crate::lifecycle::model::History;
use crate::snapshot::model::Fitted;
use crate::snapshot::reading::Reading;

/// What `alluvial lifecycle fit` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The last day that the model sees [default: the newest published day, else yesterday]
    #[arg(long, value_name = "DATE", value_parser = super::super::arguments::date)]
    pub as_of: Option<NaiveDate>,
}

/// Fits a model, keeps it in `lifecycle_models` and prints it.
///
/// # Errors
/// Those of the project and of the landed data; `run.future_day` for a day that is not over.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, true).await?;
        let as_of = match args.as_of {
            Some(as_of) => opened.complete(as_of)?,
            None => {
                let reading = Box::pin(Reading::open(&opened.project)).await?;
                reading.snapshots.latest().map_or_else(|| opened.yesterday(), |day| day.as_of)
            }
        };
        let progress = Progress::new(output);
        progress.about(as_of.to_string());
        let fitted = Box::pin(fit_now(&opened.project, as_of, opened.clock, &progress)).await;
        progress.clear();
        match fitted? {
            Fitted::Model(model) => {
                output.rows(rows(&model))?;
                Ok(Outcome::Done)
            }
            Fitted::TooLittle(population) => {
                output.warn(&population.too_little(as_of));
                Ok(Outcome::Done)
            }
        }
    })
}

/// The model, a line a fact.
fn rows(model: &Model) -> Rows {
    let mut rows = Rows::new(&["fact", "value"]);
    let mut fact = |name: &str, value: Cell| rows.push(vec![Cell::text(name), value]);
    let classifier = &model.classifier;
    fact("model", Cell::text(&classifier.name));
    fact("fitted_on", Cell::text(model.fitted_on.to_string()));
    fact("tier", Cell::text(classifier.tier.as_str()));
    for (name, value) in ["r", "alpha", "a", "b"].into_iter().zip(classifier.parameters.values()) {
        fact(name, Cell::Float(value));
    }
    if let OrderValue::GammaGamma(values) = &classifier.order_value {
        for (name, value) in ["gg_p", "gg_q", "gg_v"].into_iter().zip(values.values()) {
            fact(name, Cell::Float(value));
        }
    }
    fact("log_likelihood", Cell::Float(model.log_likelihood));
    fact("log_likelihood_without_dropout", Cell::Float(model.log_likelihood_without_dropout));
    fact("dropout_identified", Cell::Boolean(classifier.dropout_identified));
    fact("p_order_90d_new_buyer", Cell::Float(classifier.parameters.p_order(&History::NEW, 90.0)));
    fact("value_cut", Cell::maybe(classifier.value_cut, Cell::Float));
    fact("churn_label_suspended", Cell::Boolean(classifier.churn_label_suspended));
    if let Some(health) = &model.health {
        fact("churned_then", Cell::count(health.churned));
        fact("churned_who_ordered", Cell::count(health.churned_who_ordered));
        fact("calibration_error", Cell::maybe(health.calibration_error, Cell::Float));
    }
    fact("buyers", Cell::count(model.population.buyers));
    fact("repeat_buyers", Cell::count(model.population.repeat_buyers));
    fact("histories", Cell::count(model.histories));
    rows
}
