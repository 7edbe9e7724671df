//! The formulas of BG/NBD, MBG/NBD and Gamma-Gamma for one buyer, given the parameters. Pure, and never NaN.
//!
//! A buyer orders at a rate that differs between buyers (gamma, shape `r`, rate `alpha` in days), and may drop out
//! after an order with a chance that differs too (beta, `a` and `b`). BG/NBD: Fader, Hardie, Lee, "Counting your
//! customers the easy way" (Marketing Science 2005). MBG/NBD also lets a buyer drop out right after the first order:
//! Batislam, Denizel, Filiztekin (IJRM 2007); Hoppe and Wagner (2007). Gamma-Gamma: Fader and Hardie (2013).

use crate::error::{Error, Result};

/// Where the expected-orders series is cut off. Reached only by horizons thousands of times `alpha + age`, or by
/// dropout parameters in the hundreds together with such a horizon; the result is then bounded, not exact.
const MAX_TERMS: u32 = 100_000;

/// Whether a buyer may drop out right after the first order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// BG/NBD: everybody is still active until their second order.
    Bg,
    /// MBG/NBD: a buyer may drop out after any order, the first included.
    Mbg,
}

/// The parameters of a model, in days. All four are above zero and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    variant: Variant,
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
}

/// What a model knows of a buyer: repeat order days, and two ages in days.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History {
    frequency: f64,
    recency: f64,
    age: f64,
}

impl History {
    /// A buyer who placed the first order today.
    pub const NEW: Self = Self { frequency: 0.0, recency: 0.0, age: 0.0 };

    /// `frequency` x = order days after the first; `recency` t_x = days from the first to the last order day; `age` T =
    /// days from the first order day to the as-of date (an age below the recency is taken as the recency). None unless
    /// all are finite and zero or more.
    pub fn new(frequency: f64, recency: f64, age: f64) -> Option<Self> {
        let sound = [frequency, recency, age].iter().all(|v| v.is_finite() && *v >= 0.0);
        sound.then(|| Self { frequency, recency, age: age.max(recency) })
    }

    /// Repeat order days, recency and age, in days.
    pub(super) fn days(&self) -> (f64, f64, f64) {
        (self.frequency, self.recency, self.age)
    }

    /// The same buyer on the day of the last order.
    #[must_use]
    pub fn at_last_order(self) -> Self {
        Self { age: self.recency, ..self }
    }
}

impl Parameters {
    /// MBG/NBD with the exponents of the prior's means: what runs before any fit, and for shops too small to fit.
    pub const BENCHMARK: Self = Self { variant: Variant::Mbg, r: 0.7, alpha: 60.0, a: 0.6, b: 1.5 };

    /// The parameters of `variant`, `alpha` in days.
    ///
    /// # Errors
    /// `lifecycle.parameters` unless all four are finite and above zero.
    pub fn new(variant: Variant, r: f64, alpha: f64, a: f64, b: f64) -> Result<Self> {
        for (name, value) in [("r", r), ("alpha", alpha), ("a", a), ("b", b)] {
            if !(value.is_finite() && value > 0.0) {
                let message = format!("the model's `{name}` must be a number above zero, not {value}");
                return Err(Error::definition("lifecycle.parameters", message));
            }
        }
        Ok(Self { variant, r, alpha, a, b })
    }

    /// Which of the two models these are for.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// r, alpha (days), a, b.
    pub fn values(&self) -> [f64; 4] {
        [self.r, self.alpha, self.a, self.b]
    }

    /// b' = b + 1 for MBG/NBD, which sees one chance to drop out more.
    fn b_prime(&self) -> f64 {
        match self.variant {
            Variant::Bg => self.b,
            Variant::Mbg => self.b + 1.0,
        }
    }

    fn never_tested(&self, history: &History) -> bool {
        self.variant == Variant::Bg && history.frequency == 0.0
    }

    /// ln S, without the loss of digits of ln(α+T) − ln(α+t_x).
    pub(super) fn log_silence(&self, h: &History) -> f64 {
        -(self.r + h.frequency) * ((h.age - h.recency) / (self.alpha + h.recency)).ln_1p()
    }

    /// S = ((α+t_x)/(α+T))^(r+x): the chance that a buyer who is still active has been silent since the last order.
    pub fn silence(&self, history: &History) -> f64 {
        self.log_silence(history).exp()
    }

    /// The chance that the buyer has not dropped out: 1 / (1 + a/(b'+x−1) · ((α+T)/(α+t_x))^(r+x)), and 1 for BG/NBD
    /// before the second order. Fader, Hardie, Lee (2008), "Computing P(alive) using the BG/NBD model", eq. 1; the same
    /// odds with b' for MBG/NBD (Hoppe and Wagner 2007).
    pub fn p_alive(&self, history: &History) -> f64 {
        self.alive(history, self.log_silence(history))
    }

    /// [`Self::p_alive`] of a history whose ln S is known.
    pub(super) fn alive(&self, history: &History, log_silence: f64) -> f64 {
        if self.never_tested(history) {
            return 1.0;
        }
        let stayed = self.b_prime() + history.frequency - 1.0;
        // A product costs a third of a sum of logarithms; past e^700 it might overflow where the sum would not.
        let odds_of_dropout = if log_silence > -700.0 {
            self.a / stayed * (-log_silence).exp()
        } else {
            (self.a.ln() - stayed.ln() - log_silence).exp()
        };
        1.0 / (1.0 + odds_of_dropout)
    }

    /// P(at least one order within `horizon` days) = p_alive · (1 − ((α+T)/(α+T+t))^(r+x)); 0 for a horizon that is not
    /// above zero. From the gamma posterior of the order rate: the first order after an active buyer's T comes before
    /// any further chance to drop out.
    pub fn p_order(&self, history: &History, horizon: f64) -> f64 {
        self.order_if_alive(history, self.p_alive(history), horizon)
    }

    /// [`Self::p_order`] of a history whose p_alive is known.
    pub(super) fn order_if_alive(&self, history: &History, p_alive: f64, horizon: f64) -> f64 {
        if horizon.is_nan() || horizon <= 0.0 {
            return 0.0;
        }
        let waited = (horizon / (self.alpha + history.age)).ln_1p();
        p_alive * -(-(self.r + history.frequency) * waited).exp_m1()
    }

    /// E[orders within `horizon` days]; 0 for a horizon that is not above zero.
    ///
    /// Fader, Hardie, Lee (2005) eq. 10 (Batislam et al. 2007 for MBG/NBD) after Euler's transformation of its ₂F₁ and
    /// with the 1 of the series taken out, so that neither the powers overflow nor a = 1 is a pole. With
    /// C = a+b'+x−1, z = t/(α+T+t), ε = a−1, B = a+b'−r−1, l = ln(1−z):
    /// p_alive · (−C·expm1(εl)/ε − exp(εl)·Σ_{k≥1} (1+ε)_{k−1} (B)_k / ((C+1)_{k−1} k!) z^k).
    pub fn expected_orders(&self, history: &History, horizon: f64) -> f64 {
        let p_alive = self.p_alive(history);
        self.bounded(history, p_alive, horizon, || self.expected_if_active(history, horizon))
    }

    /// [`Self::expected_orders`] of a history whose p_alive is known, given what is expected of an active buyer.
    pub(super) fn bounded(
        &self,
        history: &History,
        p_alive: f64,
        horizon: f64,
        if_active: impl FnOnce() -> f64,
    ) -> f64 {
        if horizon.is_nan() || horizon <= 0.0 {
            return 0.0;
        }
        let expected = p_alive * if_active();
        // Dropout only takes orders away, and a buyer's orders end with the dropout at the latest.
        let without_dropout = p_alive * (self.r + history.frequency) * (horizon / (self.alpha + history.age));
        let until_dropout = if self.a > 1.0 {
            p_alive * (self.a + self.b_prime() + history.frequency - 1.0) / (self.a - 1.0)
        } else {
            f64::INFINITY
        };
        let least = self.order_if_alive(history, p_alive, horizon);
        expected.min(without_dropout).min(until_dropout).max(least)
    }

    pub(super) fn expected_if_active(&self, history: &History, horizon: f64) -> f64 {
        let upper = self.a + self.b_prime();
        let c = upper + history.frequency - 1.0;
        let big_b = upper - self.r - 1.0;
        let epsilon = self.a - 1.0;
        let span = self.alpha + history.age;
        let z = horizon / (span + horizon);
        let l = -(horizon / span).ln_1p();
        let first = if epsilon == 0.0 { -l } else { -(epsilon * l).exp_m1() / epsilon };

        // The sum is kept within range by moving powers of ten into the factor's logarithm.
        let mut log_factor = epsilon * l;
        let mut term = big_b * z;
        let mut sum = term;
        for k in 1..MAX_TERMS {
            let k = f64::from(k);
            let ratio = (epsilon + k) * (big_b + k) / ((c + k) * (k + 1.0)) * z;
            term *= ratio;
            sum += term;
            if term.abs() > 1e200 {
                term *= 1e-200;
                sum *= 1e-200;
                log_factor += 200.0 * std::f64::consts::LN_10;
            }
            let bound = ratio.abs().max(z);
            let monotone = k > -big_b && k > -epsilon && bound < 1.0;
            if monotone && term.abs() * bound <= 1e-17 * (1.0 - bound) * sum.abs() {
                break;
            }
        }
        c * first - log_factor.exp() * sum
    }

    /// Days from the as-of date to the next order, median, if the buyer is active: (α+T)(2^{1/(r+x)} − 1), the median of
    /// the Lomax distribution of the waiting time. Infinite where it exceeds what a number can hold.
    pub fn next_order_days(&self, history: &History) -> f64 {
        (self.alpha + history.age) * (std::f64::consts::LN_2 / (self.r + history.frequency)).exp_m1()
    }

    /// The log-likelihood of one buyer's history: Fader, Hardie, Lee (2005) eq. 6 with its terms as sums of logarithms
    /// (A1 + A2 + logaddexp(A3, A4): still active, or dropped out after the last order).
    pub fn log_likelihood(&self, history: &History) -> f64 {
        let Self { r, alpha, a, b, .. } = *self;
        let x = history.frequency;
        let (b_prime, shape) = (self.b_prime(), r + x);
        let orders = libm::lgamma(shape) - libm::lgamma(r) + r * alpha.ln();
        let stayed = libm::lgamma(a + b) - libm::lgamma(b) + libm::lgamma(b_prime + x) - libm::lgamma(a + b_prime + x);
        let active = -shape * (alpha + history.age).ln();
        if self.never_tested(history) {
            return orders + stayed + active;
        }
        let dropped = a.ln() - (b_prime + x - 1.0).ln() - shape * (alpha + history.recency).ln();
        let (low, high) = if active < dropped { (active, dropped) } else { (dropped, active) };
        orders + stayed + high + (low - high).exp().ln_1p()
    }
}

/// The Gamma-Gamma model of what an order day is worth: `p` within a buyer, `q` and `v` (money) between buyers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderValueParameters {
    p: f64,
    q: f64,
    v: f64,
}

impl OrderValueParameters {
    /// # Errors
    /// `lifecycle.parameters` unless `p` and `v` are above zero and `q` above one (else the mean does not exist).
    pub fn new(p: f64, q: f64, v: f64) -> Result<Self> {
        for (name, value, least) in [("p", p, 0.0), ("q", q, 1.0), ("v", v, 0.0)] {
            if !(value.is_finite() && value > least) {
                let message = format!("the order value model's `{name}` must be a number above {least}, not {value}");
                return Err(Error::definition("lifecycle.parameters", message));
            }
        }
        Ok(Self { p, q, v })
    }

    /// p, q, v.
    pub fn values(&self) -> [f64; 3] {
        [self.p, self.q, self.v]
    }

    /// E[order value] = p(v+nm)/(pn+q−1) for a buyer with `order_days` n of mean value `mean` m: Fader and Hardie (2013)
    /// eq. 5, over all order days.
    pub fn order_value(&self, order_days: f64, mean: f64) -> f64 {
        self.p * (self.v + order_days * mean) / (self.p * order_days + self.q - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bg(r: f64, alpha: f64, a: f64, b: f64) -> Parameters {
        Parameters::new(Variant::Bg, r, alpha, a, b).unwrap()
    }

    #[track_caller]
    fn near(found: f64, wanted: f64, relative: f64) {
        assert!((found - wanted).abs() <= relative * wanted.abs(), "{found} is not {wanted}");
    }

    /// Fader, Hardie, Lee (2005), section 5: customer 0001 of CDNOW, in weeks.
    #[test]
    fn published_conditional_expectation() {
        let history = History::new(2.0, 30.43, 38.86).unwrap();
        near(bg(0.243, 4.414, 0.793, 2.426).expected_orders(&history, 39.0), 1.226, 5e-4);
    }

    /// From a reference computed with 60 digits (mpmath), 16 of them kept: x, t_x, T, t, log-likelihood, p_alive, E, P.
    #[test]
    fn reference_values() {
        let history = |x, tx, t| History::new(x, tx, t).unwrap();
        let mbg = |r, alpha, a, b| Parameters::new(Variant::Mbg, r, alpha, a, b).unwrap();
        let cdnow = (0.243, 4.414, 0.793, 2.426);
        for (model, h, t, [ll, alive, orders, p]) in [
            (
                bg(cdnow.0, cdnow.1, cdnow.2, cdnow.3),
                history(26.0, 30.86, 31.0),
                52.0,
                [-37.72657947339444, 0.9689156497175251, 25.75819593648351, 0.9689156496687301],
            ),
            (
                mbg(cdnow.0, cdnow.1, cdnow.2, cdnow.3),
                history(0.0, 0.0, 39.0),
                39.0,
                [-0.3874523195688844, 0.6370718833538197, 0.1270466123160236, 0.09188645599176454],
            ),
            (
                mbg(1.4, 9.54, 0.0187, 13.4),
                history(150.0, 100.0, 274.0),
                90.0,
                [-109.8376976534676, 2.552186712067692e-59, 1.223417621631536e-57, 2.552186712067691e-59],
            ),
            (
                mbg(0.5, 30.0, 1.0, 2.5),
                history(3.0, 60.0, 100.0),
                365.0,
                [-15.15672956738304, 0.6029354693496451, 3.52266073094673, 0.5973384814240874],
            ),
            (
                bg(0.3, 30.0, 0.05, 0.3),
                history(0.0, 0.0, 100.0),
                90.0,
                [-0.4399011206380281, 1.0, 0.1980593542229688, 0.1460032824071403],
            ),
        ] {
            near(model.log_likelihood(&h), ll, 1e-9);
            near(model.p_alive(&h), alive, 1e-9);
            near(model.expected_orders(&h, t), orders, 1e-9);
            near(model.p_order(&h, t), p, 1e-9);
        }
    }

    #[test]
    fn at_the_median_half_of_the_active_have_ordered() {
        let model = Parameters::BENCHMARK;
        let history = History::new(2.0, 50.0, 80.0).unwrap();
        let median = model.next_order_days(&history);
        near(model.p_order(&history, median) / model.p_alive(&history), 0.5, 1e-12);
    }

    #[test]
    fn wrong_parameters_and_histories_are_refused() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Parameters::new(Variant::Mbg, 1.0, wrong, 1.0, 1.0).unwrap_err().code(), "lifecycle.parameters");
            assert_eq!(OrderValueParameters::new(wrong, 2.0, 1.0).unwrap_err().code(), "lifecycle.parameters");
        }
        assert!(OrderValueParameters::new(1.0, 1.0, 1.0).is_err());
        assert!(History::new(-1.0, 0.0, 0.0).is_none());
        assert!(History::new(0.0, f64::NAN, 0.0).is_none());
        assert_eq!(History::new(1.0, 5.0, 3.0), History::new(1.0, 5.0, 5.0));
    }

    /// Gamma-Gamma as fitted to the 946 repeat buyers of CDNOW (Fader and Hardie 2013), p 6.25, q 3.74, γ 15.44:
    /// customer 0001's expected value, as lifetimes has it.
    #[test]
    fn published_order_value() {
        let model = OrderValueParameters::new(6.249572933510122, 3.744224390595214, 15.44351805975866).unwrap();
        near(model.order_value(2.0, 22.345), 24.65391883, 2e-5);
    }

    prop_compose! {
        fn history()(x in 0u32..500, age in 0.0..4000.0f64, share in 0.0..=1.0f64) -> History {
            let recency = if x == 0 { 0.0 } else { age * share };
            History::new(f64::from(x), recency, age).unwrap()
        }
    }

    prop_compose! {
        fn parameters()(
            modified in any::<bool>(), r in -4.0..4.0f64, alpha in -1.0..9.0f64, a in -14.0..5.0f64, b in -5.0..11.0f64,
        ) -> Parameters {
            let variant = if modified { Variant::Mbg } else { Variant::Bg };
            Parameters::new(variant, r.exp(), alpha.exp(), a.exp(), b.exp()).unwrap()
        }
    }

    proptest! {
        #[test]
        fn always_a_number_in_its_bounds(model in parameters(), h in history(), t in 0.0..4000.0f64) {
            for p in [model.p_alive(&h), model.silence(&h), model.p_order(&h, t)] {
                prop_assert!((0.0..=1.0).contains(&p), "{p}");
            }
            prop_assert!(model.p_order(&h, t) <= model.p_alive(&h));
            let orders = model.expected_orders(&h, t);
            prop_assert!(orders.is_finite() && orders >= model.p_order(&h, t), "{orders}");
            prop_assert!(!model.next_order_days(&h).is_nan() && model.next_order_days(&h) > 0.0);
            prop_assert!(model.log_likelihood(&h).is_finite());
        }

        #[test]
        fn more_silence_never_raises_the_chance(model in parameters(), h in history(), days in 0.0..400.0f64) {
            let later = History { age: h.age + days, ..h };
            prop_assert!(model.p_order(&later, 90.0) <= model.p_order(&h, 90.0) * (1.0 + 1e-12));
        }

        /// Only MBG/NBD: BG/NBD's first repeat order is also the first chance that it sees to drop out.
        #[test]
        fn a_new_order_never_lowers_the_chance(model in parameters(), h in history()) {
            prop_assume!(model.variant() == Variant::Mbg);
            let after = History::new(h.frequency + 1.0, h.age, h.age).unwrap();
            prop_assert!(model.p_order(&after, 90.0) >= model.p_order(&h, 90.0) * (1.0 - 1e-12));
        }

        #[test]
        fn a_longer_horizon_never_expects_less(model in parameters(), h in history(), t in 0.1..400.0f64) {
            prop_assert!(model.expected_orders(&h, t) <= model.expected_orders(&h, t * 1.5) * (1.0 + 1e-6));
        }
    }
}
