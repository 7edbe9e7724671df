//! Log-likelihoods of merged histories, with their gradients. Pure, and finite for parameters that are.
//!
//! Frequencies are whole numbers, so every quotient of gamma functions is a rising factorial: Γ(r+x)/Γ(r) =
//! r(r+1)…(r+x−1). A table of running sums of logarithms gives all of them without a gamma function, and without the
//! loss of digits that a difference of two large ones has.

use super::histories::{Histories, OrderValues};
use crate::lifecycle::digamma::digamma;
use crate::lifecycle::model::Variant;

/// Histories arranged for evaluation: logarithms are taken once a different age, not once a history.
#[derive(Debug, Clone)]
pub struct Sample {
    rows: Vec<Row>,
    /// Buyers with at least k+1 repeat order days, by k.
    beyond: Vec<f64>,
    /// The different ages, as shares of the mean age.
    ages: Vec<f64>,
    buyers: f64,
    variant: Variant,
    /// Days of the unit in which ages are counted.
    pub unit: f64,
    /// Repeat order days of all.
    orders: f64,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    frequency: u32,
    recency: u32,
    age: u32,
    count: f64,
}

impl Sample {
    /// Arranges histories for a model. Time is counted in mean ages, so that every parameter is near one.
    pub fn new(histories: &Histories, variant: Variant) -> Self {
        let unit = histories.mean_age();
        let mut days: Vec<u32> = histories.rows().iter().flat_map(|(seen, _)| [seen.recency, seen.age]).collect();
        days.sort_unstable();
        days.dedup();
        let place = |day: u32| u32::try_from(days.partition_point(|known| *known < day)).unwrap_or(u32::MAX);
        let most = histories.rows().iter().map(|(seen, _)| seen.frequency).max().unwrap_or(0);
        let mut beyond = vec![0.0; most as usize];
        let (mut rows, mut orders) = (Vec::with_capacity(histories.rows().len()), 0.0);
        for (seen, count) in histories.rows() {
            let count = *count as f64;
            if let Some(last) = seen.frequency.checked_sub(1)
                && let Some(at_most) = beyond.get_mut(last as usize)
            {
                *at_most += count;
            }
            orders += count * f64::from(seen.frequency);
            rows.push(Row { frequency: seen.frequency, recency: place(seen.recency), age: place(seen.age), count });
        }
        for k in (1..beyond.len()).rev() {
            beyond[k - 1] += beyond[k];
        }
        let ages = days.iter().map(|day| f64::from(*day) / unit).collect();
        Self { rows, beyond, ages, buyers: histories.buyers() as f64, variant, unit, orders }
    }

    /// All buyers.
    pub fn buyers(&self) -> f64 {
        self.buyers
    }

    /// What a log-likelihood in this unit of time lacks to one in days: x·ln(unit) a buyer, from the densities of the
    /// orders' times.
    pub fn per_day(&self) -> f64 {
        -self.orders * self.unit.ln()
    }

    /// LL = A1 + A2 + logaddexp(A3, A4) summed over all buyers (Fader, Hardie, Lee 2005, eq. 6; with b' = b+1 Batislam
    /// et al. 2007), and its derivatives by r, α (in units of time), a, b:
    /// d/dr = ψ(r+x) − ψ(r) + ln α − w3 ln(α+T) − w4 ln(α+t_x); d/dα = r/α − (r+x)(w3/(α+T) + w4/(α+t_x));
    /// d/da = ψ(a+b) − ψ(a+b'+x) + w4/a; d/db = ψ(a+b) − ψ(b) + ψ(b'+x) − ψ(a+b'+x) − w4/(b'+x−1);
    /// w4 = exp(A4 − logaddexp(A3, A4)), w3 = 1 − w4.
    pub fn log_likelihood(&self, [r, alpha, a, b]: [f64; 4]) -> (f64, [f64; 4]) {
        let modified = self.variant == Variant::Mbg;
        let b_prime = if modified { b + 1.0 } else { b };
        let (log_alpha, log_a) = (alpha.ln(), a.ln());
        let table: Vec<(f64, f64)> = self.ages.iter().map(|age| ((alpha + age).ln(), 1.0 / (alpha + age))).collect();

        let mut value = self.buyers * r * log_alpha;
        let mut by = [self.buyers * log_alpha, self.buyers * r / alpha, 0.0, 0.0];
        // A1 and A2 by factor, over the buyers who have it: Γ(r+x)/Γ(r), and Γ(b'+x)/Γ(b) · Γ(a+b)/Γ(a+b'+x).
        for (k, buyers) in self.beyond.iter().enumerate() {
            let k = k as f64;
            value += buyers * (r + k).ln();
            by[0] += buyers / (r + k);
        }
        let mut staying = |k: f64, buyers: f64| {
            value -= buyers * (a / (b + k)).ln_1p();
            by[2] -= buyers / (a + b + k);
            by[3] += buyers * a / ((b + k) * (a + b + k));
        };
        if modified {
            staying(0.0, self.buyers);
        }
        for (k, buyers) in self.beyond.iter().enumerate() {
            staying(k as f64 + f64::from(u8::from(modified)), *buyers);
        }

        // ln(b'+x−1) once a frequency.
        let chances: Vec<f64> = (0..=self.beyond.len()).map(|x| (b_prime + x as f64 - 1.0).ln()).collect();
        for row in &self.rows {
            let x = f64::from(row.frequency);
            let shape = r + x;
            let Some((log_age, per_age)) = table.get(row.age as usize) else { continue };
            let active = -shape * log_age;
            if !modified && row.frequency == 0 {
                value += row.count * active;
                by[0] -= row.count * log_age;
                by[1] -= row.count * shape * per_age;
                continue;
            }
            let Some((log_recency, per_recency)) = table.get(row.recency as usize) else { continue };
            let Some(chance) = chances.get(row.frequency as usize) else { continue };
            let odds = log_a - chance + shape * (log_age - log_recency);
            // logaddexp and its weights from the one exponential that cannot overflow.
            let small = (-odds.abs()).exp();
            let (greater, lesser) = (1.0 / (1.0 + small), small / (1.0 + small));
            let (w3, w4) = if odds > 0.0 { (lesser, greater) } else { (greater, lesser) };
            value += row.count * (active + odds.max(0.0) + small.ln_1p());
            by[0] -= row.count * (w3 * log_age + w4 * log_recency);
            by[1] -= row.count * shape * (w3 * per_age + w4 * per_recency);
            by[2] += row.count * w4 / a;
            by[3] -= row.count * w4 / (b_prime + x - 1.0);
        }
        (value, by)
    }

    /// The same without dropout: the NBD of Ehrenberg (1959), Σ lnΓ(r+x) − lnΓ(r) + r ln α − (r+x) ln(α+T), and its
    /// derivatives by r and α.
    pub fn log_likelihood_without_dropout(&self, [r, alpha]: [f64; 2]) -> (f64, [f64; 2]) {
        let log_alpha = alpha.ln();
        let table: Vec<(f64, f64)> = self.ages.iter().map(|age| ((alpha + age).ln(), 1.0 / (alpha + age))).collect();
        let mut value = self.buyers * r * log_alpha;
        let mut by = [self.buyers * log_alpha, self.buyers * r / alpha];
        for (k, buyers) in self.beyond.iter().enumerate() {
            let k = k as f64;
            value += buyers * (r + k).ln();
            by[0] += buyers / (r + k);
        }
        for row in &self.rows {
            let shape = r + f64::from(row.frequency);
            let Some((log_age, per_age)) = table.get(row.age as usize) else { continue };
            value -= row.count * shape * log_age;
            by[0] -= row.count * log_age;
            by[1] -= row.count * shape * per_age;
        }
        (value, by)
    }
}

/// Gamma-Gamma over all order days of buyers (Fader and Hardie 2013, eq. 2): Σ lnΓ(pn+q) − lnΓ(pn) − lnΓ(q) + q ln v +
/// (pn−1) ln m + pn ln n − (pn+q) ln(nm+v), and its derivatives by p, q, v; `unit` is the money that counts as one.
pub fn order_value_log_likelihood(values: &OrderValues, unit: f64, [p, q, v]: [f64; 3]) -> (f64, [f64; 3]) {
    let (log_gamma_q, digamma_q, log_v) = (libm::lgamma(q), digamma(q), v.ln());
    let (mut value, mut by) = (0.0, [0.0; 3]);
    for (n, rows) in &values.rows {
        let n = f64::from(*n);
        let shape = p * n;
        let (psi_both, psi_shape) = (digamma(shape + q), digamma(shape));
        let constant = libm::lgamma(shape + q) - libm::lgamma(shape) - log_gamma_q + q * log_v + n.ln();
        for (sum, count) in rows {
            let count = *count as f64;
            let sum = sum / unit;
            let (log_sum, log_whole) = (sum.ln(), (sum + v).ln());
            value += count * (constant + (shape - 1.0) * log_sum - (shape + q) * log_whole);
            by[0] += count * n * (psi_both - psi_shape + log_sum - log_whole);
            by[1] += count * (psi_both - digamma_q + log_v - log_whole);
            by[2] += count * (q / v - (shape + q) / (sum + v));
        }
    }
    (value, by)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::histories::{MOST_EXACT, Observed};
    use super::*;
    use crate::lifecycle::model::{History, Parameters};

    fn some() -> Histories {
        let buyers = [(0, 0, 90), (0, 0, 0), (2, 30, 40), (7, 200, 220), (1, 3, 250), (400, 900, 900), (3, 3, 3650)];
        Histories::merge(buyers.map(|(frequency, recency, age)| (Observed { frequency, recency, age }, 2)), MOST_EXACT)
    }

    /// Derivatives by central differences.
    fn slopes<const N: usize>(of: impl Fn([f64; N]) -> f64, at: [f64; N]) -> [f64; N] {
        std::array::from_fn(|axis| {
            let step = 1e-5 * at[axis];
            let moved = |by: f64| {
                let mut there = at;
                there[axis] += by;
                of(there)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
    }

    proptest! {
        #[test]
        fn it_is_the_sum_over_buyers_and_has_its_derivatives(
            modified in any::<bool>(), r in -2.0..2.0f64, alpha in -3.0..3.0f64, a in -4.0..2.0f64, b in -2.0..4.0f64,
        ) {
            let variant = if modified { Variant::Mbg } else { Variant::Bg };
            let at = [r.exp(), alpha.exp(), a.exp(), b.exp()];
            let histories = some();
            let sample = Sample::new(&histories, variant);
            let (value, by) = sample.log_likelihood(at);
            let model = Parameters::new(variant, at[0], at[1] * sample.unit, at[2], at[3]).unwrap();
            let mut wanted = 0.0;
            for (seen, count) in histories.rows() {
                let [x, recency, age] = [seen.frequency, seen.recency, seen.age].map(f64::from);
                wanted += *count as f64 * model.log_likelihood(&History::new(x, recency, age).unwrap());
            }
            prop_assert!((value + sample.per_day() - wanted).abs() < 1e-9 * wanted.abs(), "{value} {wanted}");
            let found = slopes(|there| sample.log_likelihood(there).0, at);
            for (by, found) in by.iter().zip(found) {
                prop_assert!((by - found).abs() < 1e-4 * (1.0 + by.abs()), "{by} {found}");
            }
        }

        #[test]
        fn without_dropout_it_has_its_derivatives(r in -2.0..2.0f64, alpha in -3.0..3.0f64) {
            let sample = Sample::new(&some(), Variant::Mbg);
            let at = [r.exp(), alpha.exp()];
            let (value, by) = sample.log_likelihood_without_dropout(at);
            // A dropout that never happens, however long somebody who bought often is silent.
            let (limit, _) = sample.log_likelihood([at[0], at[1], 1e-300, 1.0]);
            prop_assert!((value - limit).abs() < 1e-6 * value.abs(), "{value} {limit}");
            let found = slopes(|there| sample.log_likelihood_without_dropout(there).0, at);
            for (by, found) in by.iter().zip(found) {
                prop_assert!((by - found).abs() < 1e-4 * (1.0 + by.abs()), "{by} {found}");
            }
        }

        #[test]
        fn order_values_have_their_derivatives(p in -1.0..3.0f64, q in -1.0..2.0f64, v in -2.0..2.0f64) {
            let values = OrderValues::merge([(1, 500, 3), (2, 9_000, 1), (7, 14_000, 2), (1, 120, 1)], 99);
            let at = [p.exp(), 1.0 + q.exp(), v.exp()];
            let (_, by) = order_value_log_likelihood(&values, 20.0, at);
            let found = slopes(|there| order_value_log_likelihood(&values, 20.0, there).0, at);
            for (by, found) in by.iter().zip(found) {
                prop_assert!((by - found).abs() < 1e-4 * (1.0 + by.abs()), "{by} {found}");
            }
        }
    }
}
