//! The statements of `sql/lifecycle/`, their parameters, and a project's own text in their place.

use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;

use super::classifier::{Classifier, OrderValue, Tier};
use crate::config::{Band, LifecycleSettings};
use crate::engine::statement::plan_text;
use crate::engine::{Params, Statement};
use crate::error::Result;

/// Gives a statement's text: a project may have its own (`Engine::text`).
pub type Texts<'a> = &'a (dyn Fn(&Statement) -> Result<String> + Sync);

/// Every statement as it comes with Alluvial.
///
/// # Errors
/// None.
pub fn built_in(statement: &Statement) -> Result<String> {
    Ok(statement.text.to_owned())
}

macro_rules! statement {
    ($name:literal) => {
        Statement {
            name: concat!("lifecycle/", $name),
            text: include_str!(concat!("../../sql/lifecycle/", $name, ".sql")),
        }
    };
}

/// The order days that count.
pub const ORDER_DAYS: Statement = statement!("order_days");
/// Buyers as an earlier day saw them, and what they did after it.
pub const HISTORIES: Statement = statement!("histories");
/// Equal histories, counted.
pub const MERGED: Statement = statement!("merged");
/// Equal order values, counted.
pub const ORDER_VALUES: Statement = statement!("order_values");
/// What became of the buyers of an earlier day.
pub const HEALTH: Statement = statement!("health");
/// What the classifier has to know of the shop as a whole.
pub const POPULATION: Statement = statement!("population");
/// The model's numbers by customer.
pub const SCORE: Statement = statement!("score");
/// The rules that need nothing but the customer.
pub const FLAGS: Statement = statement!("flags");
/// The number of customers that the high-potential cut divides.
pub const CANDIDATES: Statement = statement!("candidates");
/// The cuts on predicted value.
pub const VALUE_CUTS: Statement = statement!("value_cuts");
/// The cut on past spend.
pub const SPEND_CUT: Statement = statement!("spend_cut");
/// The day's rows.
pub const STAGE: Statement = statement!("stage");
/// Moves since the day before.
pub const TRANSITIONS: Statement = statement!("transitions");
/// Sizes and values of the stages.
pub const REPORT: Statement = statement!("report");

/// All of them, in the order in which they run.
pub const STATEMENTS: [Statement; 14] = [
    ORDER_DAYS,
    HISTORIES,
    MERGED,
    ORDER_VALUES,
    POPULATION,
    SCORE,
    FLAGS,
    CANDIDATES,
    VALUE_CUTS,
    SPEND_CUT,
    HEALTH,
    STAGE,
    TRANSITIONS,
    REPORT,
];

/// The thresholds of `settings`, and what `classifier` brings with it. A statement need not use them all.
pub(super) fn params(settings: &LifecycleSettings, classifier: &Classifier) -> Params {
    let [r, alpha, a, b] = classifier.parameters.values();
    let [p, q, v] = match &classifier.order_value {
        OrderValue::Shrunk => [None; 3],
        OrderValue::GammaGamma(fitted) => fitted.values().map(Some),
    };
    let churned_silence_least = match classifier.tier {
        Tier::Benchmark => settings.churned_min_gap_days.max(settings.benchmark_churned_gap_days),
        Tier::Full | Tier::Small => settings.churned_min_gap_days,
    };
    let Band { below, above } = settings.high_potential_band;
    let params = Params::new()
        .with("r", r)
        .with("alpha", alpha)
        .with("a", a)
        .with("b", b)
        .with("gg_p", p)
        .with("gg_q", q)
        .with("gg_v", v)
        .with("model", classifier.name.as_str())
        .with("confidence", classifier.tier.confidence())
        .with("dropout_identified", classifier.dropout_identified)
        .with("churn_label_suspended", classifier.churn_label_suspended)
        .with("lapsed_silence_days", i64::from(settings.lapsed_gap_days))
        .with("lapsed_silence_probability", settings.silence)
        .with("churned_silence_days", i64::from(settings.churned_gap_days))
        .with("churned_silence_least", i64::from(churned_silence_least))
        .with("loyal_order_days", i64::from(settings.loyal_orders))
        .with("value_cut_enter", 1.0 + above)
        .with("value_cut_leave", 1.0 - below);
    // Lapsed and churned are entered downwards, loyal upwards.
    let (at, Band { below, above }) = (settings.vitality, settings.vitality_band);
    let params = banded(params, "lapsed_vitality", [at, at - below, at + above]);
    let (at, Band { below, above }) = (settings.churned_rel, settings.churned_rel_band);
    let params = banded(params, "churned_relative_chance", [at, at - below, at + above]);
    let (at, Band { below, above }) = (settings.loyal_p365, settings.loyal_p365_band);
    banded(params, "loyal_p_order_365d", [at, at + above, at - below])
}

/// A threshold, and where a customer without news comes in and goes out.
fn banded(params: Params, name: &str, [at, enter, leave]: [f64; 3]) -> Params {
    params.with(name, at).with(&format!("{name}_enter"), enter).with(&format!("{name}_leave"), leave)
}

/// The plan of one statement.
pub(super) async fn plan(
    ctx: &SessionContext,
    statement: Statement,
    params: &Params,
    texts: Texts<'_>,
) -> Result<DataFrame> {
    let planned = Box::pin(plan_text(ctx, &texts(&statement)?, params)).await;
    planned.map_err(|error| error.in_file(format!("sql/{}.sql", statement.name)))
}
