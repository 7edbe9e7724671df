//! With what a night scores: the parameters, how much they may be trusted, and what was frozen when they were made.

use chrono::NaiveDate;

use super::model::{OrderValueParameters, Parameters};
use super::score::Population;

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
    /// The tier that a shop's buyers allow: full from 180 days of history, 200 buyers, 50 of them with several order days,
    /// and an order in the last 30 days on; small from 90 days, 25 and 10 on.
    pub fn of(population: &Population, as_of: NaiveDate) -> Self {
        let days = population.history_days(as_of);
        let silent = population.last_order_on.is_none_or(|last| (as_of - last).num_days() >= 30);
        let Population { buyers, repeat_buyers, .. } = *population;
        if days >= 180 && buyers >= 200 && repeat_buyers >= 50 && !silent {
            Self::Full
        } else if days >= 90 && buyers >= 25 && repeat_buyers >= 10 {
            Self::Small
        } else {
            Self::Benchmark
        }
    }

    /// The tier of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Full, Self::Small, Self::Benchmark].into_iter().find(|tier| tier.as_str() == name)
    }

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

impl OrderValue {
    /// The expected value of an order day of a buyer with `order_days` of them who spent `spend`; `mean` is M.
    pub(super) fn expected(&self, order_days: f64, spend: f64, mean: f64) -> f64 {
        match self {
            Self::Shrunk => (spend + 2.0 * mean) / (order_days + 2.0),
            Self::GammaGamma(fitted) => fitted.order_value(order_days, spend / order_days),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_have_their_least() {
        let as_of = NaiveDate::from_ymd_opt(2026, 7, 1).unwrap();
        let shop = |days: i64, buyers: i64, repeat_buyers: i64, silent: i64| Population {
            buyers,
            repeat_buyers,
            first_order_on: Some(as_of - chrono::TimeDelta::days(days - 1)),
            last_order_on: Some(as_of - chrono::TimeDelta::days(silent)),
            ..Population::default()
        };
        for (population, tier) in [
            (shop(180, 200, 50, 29), Tier::Full),
            (shop(179, 200, 50, 0), Tier::Small),
            (shop(180, 199, 50, 0), Tier::Small),
            (shop(180, 200, 49, 0), Tier::Small),
            (shop(180, 200, 50, 30), Tier::Small),
            (shop(90, 25, 10, 80), Tier::Small),
            (shop(89, 900, 90, 0), Tier::Benchmark),
            (shop(90, 24, 10, 0), Tier::Benchmark),
            (shop(90, 25, 9, 0), Tier::Benchmark),
            (Population::default(), Tier::Benchmark),
        ] {
            assert_eq!(Tier::of(&population, as_of), tier, "{population:?}");
        }
        for tier in [Tier::Full, Tier::Small, Tier::Benchmark] {
            assert_eq!(Tier::parse(tier.as_str()), Some(tier));
        }
    }
}
