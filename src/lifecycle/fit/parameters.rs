//! The parameters that fit a shop best. Never NaN and never an error: the prior is the last fallback.

use super::histories::{Histories, OrderValues};
use super::likelihood::{Sample, order_value_log_likelihood};
use super::optimize::minimize;
use crate::lifecycle::model::{OrderValueParameters, Parameters, Variant};

/// What is known of r, α (days), a, b before a shop is seen: each logarithm is normal around that of these, with a
/// standard deviation of one. It weighs as much as a handful of buyers.
const PRIOR: [f64; 4] = [0.7, 60.0, 0.6, 1.5];

/// By how much log-likelihood a model with dropout must beat one without for the data to tell dropout from silence.
const IDENTIFIED: f64 = 2.0;

/// Buyers with several paid order days below whom the spread within a buyer cannot be told.
const LEAST_REPEAT_PAID: u64 = 10;

/// Order value parameters beyond this say that nothing varies, within a buyer or between buyers.
const MOST_SHAPE: f64 = 10_000.0;

/// Whether a fit leans on what is known of shops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prior {
    /// Maximum a posteriori.
    Weak,
    /// Maximum likelihood: to reproduce the literature.
    None,
}

/// A fitted model of orders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    /// The parameters, in days.
    pub parameters: Parameters,
    /// Σ log-likelihood at those, in days, without the prior.
    pub log_likelihood: f64,
    /// Whether the search ended where the ground is flat; false where it was given up.
    pub converged: bool,
}

/// Fits a model to merged histories: maximum a posteriori of the logarithms of the four parameters, by L-BFGS from three
/// starts, and Nelder-Mead as the last resort. Without buyers, and if all else fails, the prior's parameters.
pub fn fit(histories: &Histories, variant: Variant, prior: Prior) -> Fitted {
    let sample = Sample::new(histories, variant);
    let buyers = sample.buyers().max(1.0);
    let unit = sample.unit;
    let mean = [PRIOR[0].ln(), (PRIOR[1] / unit).ln(), PRIOR[2].ln(), PRIOR[3].ln()];
    let negative = |at: [f64; 4]| {
        let parameters = at.map(f64::exp);
        let (value, by) = sample.log_likelihood(parameters);
        let mut cost = -value / buyers;
        let mut gradient = [0.0; 4];
        for axis in 0..4 {
            gradient[axis] = -by[axis] * parameters[axis] / buyers;
            if prior == Prior::Weak {
                let away = at[axis] - mean[axis];
                cost += away * away / 2.0 / buyers;
                gradient[axis] += away / buyers;
            }
        }
        (cost, gradient)
    };
    // The prior; a shop whose buyers mostly come once; one where hardly anybody drops out.
    let starts = [mean, [-1.5, -2.0, -0.2, 0.9], [mean[0], mean[1], -3.0, 2.0]];
    let (at, converged) = match minimize(negative, &starts) {
        Some(minimum) => (minimum.at, minimum.flat),
        None => (mean, false),
    };
    let [r, alpha, a, b] = at.map(f64::exp);
    let fallback = Fitted { parameters: prior_parameters(variant), log_likelihood: 0.0, converged: false };
    let Ok(parameters) = Parameters::new(variant, r, alpha * unit, a, b) else { return fallback };
    Fitted { parameters, log_likelihood: sample.log_likelihood([r, alpha, a, b]).0 + sample.per_day(), converged }
}

fn prior_parameters(variant: Variant) -> Parameters {
    let [r, alpha, a, b] = PRIOR;
    // These four are sound: they are the benchmark's.
    Parameters::new(variant, r, alpha, a, b).unwrap_or(Parameters::BENCHMARK)
}

/// The log-likelihood, in days and without the prior, of the NBD that fits best: r and α with the same prior.
pub fn log_likelihood_without_dropout(histories: &Histories) -> f64 {
    let sample = Sample::new(histories, Variant::Mbg);
    let buyers = sample.buyers().max(1.0);
    let mean = [PRIOR[0].ln(), (PRIOR[1] / sample.unit).ln()];
    let negative = |at: [f64; 2]| {
        let parameters = at.map(f64::exp);
        let (value, by) = sample.log_likelihood_without_dropout(parameters);
        let away = [at[0] - mean[0], at[1] - mean[1]];
        let cost = (away[0] * away[0] + away[1] * away[1]) / 2.0 - value;
        (cost / buyers, std::array::from_fn(|axis| (away[axis] - by[axis] * parameters[axis]) / buyers))
    };
    let at = minimize(negative, &[mean, [-1.5, -1.0], [0.5, 0.0]]).map_or(mean, |minimum| minimum.at);
    sample.log_likelihood_without_dropout(at.map(f64::exp)).0 + sample.per_day()
}

/// Whether dropout is identified: LL(MBG) − LL(NBD) > 2. Where it is not, p_alive would only repeat the prior.
pub fn dropout_identified(with: f64, without: f64) -> bool {
    with - without > IDENTIFIED
}

/// A fitted model of order values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FittedValues {
    /// p, q, v (in the shop's currency).
    pub parameters: OrderValueParameters,
    /// Σ log-likelihood at those.
    pub log_likelihood: f64,
}

/// Fits Gamma-Gamma to merged order values by maximum likelihood. None where too few buyers paid more than once, or where
/// the values do not vary as the model has it; the order value is shrunk to the shop's mean then.
pub fn fit_order_values(values: &OrderValues) -> Option<FittedValues> {
    if values.repeat_buyers() < LEAST_REPEAT_PAID {
        return None;
    }
    let buyers = values.buyers() as f64;
    let (mut money, mut days) = (0.0, 0.0);
    for (n, rows) in &values.rows {
        for (sum, count) in rows {
            money += sum * *count as f64;
            days += f64::from(*n) * *count as f64;
        }
    }
    // Money is counted in mean order values, so that v is near one.
    let unit = money / days;
    let negative = |[p, excess, v]: [f64; 3]| {
        let (p, excess, v) = (p.exp(), excess.exp(), v.exp());
        let (value, by) = order_value_log_likelihood(values, unit, [p, 1.0 + excess, v]);
        (-value / buyers, [-by[0] * p / buyers, -by[1] * excess / buyers, -by[2] * v / buyers])
    };
    let minimum = minimize(negative, &[[1.0, 0.5, 0.0], [2.5, 1.0, -1.0], [0.0, 0.0, 1.0]])?;
    let [p, excess, v] = minimum.at.map(f64::exp);
    let q = 1.0 + excess;
    let varies = minimum.flat && p < MOST_SHAPE && q < MOST_SHAPE && v < MOST_SHAPE;
    let parameters = OrderValueParameters::new(p, q, v * unit).ok().filter(|_| varies)?;
    // A density of money in units is `unit` times one of money.
    let log_likelihood = order_value_log_likelihood(values, unit, [p, q, v]).0 - buyers * unit.ln();
    Some(FittedValues { parameters, log_likelihood })
}
