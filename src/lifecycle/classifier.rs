//! With what a night scores: the parameters, how much they may be trusted, and what was frozen when they were made.

use super::model::{OrderValueParameters, Parameters};

/// How much history stands behind the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Fitted to a shop with enough customers and history.
    Full,
    /// Fitted to little.
    Small,
    /// Not fitted: the prior's parameters.
    Benchmark,
}

impl Tier {
    /// The `confidence` column.
    pub fn confidence(self) -> &'static str {
        match self {
            Self::Full => "normal",
            Self::Small => "low",
            Self::Benchmark => "benchmark",
        }
    }

    /// The tier's name in the models table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Small => "small",
            Self::Benchmark => "benchmark",
        }
    }
}

/// Where the expected value of an order day comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OrderValue {
    /// (n·m + 2·M)/(n + 2) with M the mean order day of the shop.
    Shrunk,
    /// Gamma-Gamma, fitted.
    GammaGamma(OrderValueParameters),
}

/// What decides the stages of a night beside the customers and the settings: a fit, or the benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// The name in the `model` column.
    pub name: String,
    /// How much may be trusted.
    pub tier: Tier,
    /// MBG/NBD in days; BG/NBD is there to compare with, and is refused here.
    pub parameters: Parameters,
    /// Whether the data tells dropout from silence: only then is p_alive given.
    pub dropout_identified: bool,
    /// How order days are valued.
    pub order_value: OrderValue,
    /// The high-potential cut frozen at the fit; without one it is made anew from every day's customers.
    pub value_cut: Option<f64>,
    /// Whether too many of the churned came back, so that the label is not given.
    pub churn_label_suspended: bool,
}

impl Classifier {
    /// What runs before any fit, and for shops too small for one: the prior's parameters.
    ///
    /// Its dropout comes from the prior, not from the shop, so dropout is not identified: p_alive is null, and a
    /// silence too improbable for an active customer counts as lapsed.
    pub fn benchmark() -> Self {
        Self {
            name: "benchmark".to_owned(),
            tier: Tier::Benchmark,
            parameters: Parameters::BENCHMARK,
            dropout_identified: false,
            order_value: OrderValue::Shrunk,
            value_cut: None,
            churn_label_suspended: false,
        }
    }
}
