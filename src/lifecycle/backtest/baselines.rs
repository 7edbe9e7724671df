//! What simpler rules say, each learned on the window before: buyers as of a holdout earlier, and what they did since.

use super::measures::{Outcome, logistic, softplus};
use crate::lifecycle::fit::minimize;

/// A buyer as of a day: what rules and models may look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Order days.
    pub order_days: u32,
    /// Days from the first to the last order day.
    pub recency: u32,
    /// Days from the first order day to the day.
    pub age: u32,
    /// What was spent, in hundredths of the currency.
    pub cents: i128,
}

impl Seen {
    /// Days since the last order.
    pub fn silence(&self) -> u32 {
        self.age - self.recency.min(self.age)
    }
}

/// Buyers as of a day, and what they did in the days after it.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// The buyers.
    pub seen: Vec<Seen>,
    /// What they did, in the same order.
    pub outcomes: Vec<Outcome>,
}

impl Window {
    /// The share of the buyers who ordered; 0 without buyers.
    pub fn rate(&self) -> f64 {
        let ordered = self.outcomes.iter().filter(|outcome| outcome.ordered()).count();
        if self.outcomes.is_empty() { 0.0 } else { ordered as f64 / self.outcomes.len() as f64 }
    }
}

/// A rule that puts every buyer into one of several cells, and gives each cell the rate that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// One cell.
    Always,
    /// Silent for less than 90, less than 180, or more days.
    Recency90And180,
    /// Silent for less than 30, 60, 90, 180, or more days.
    RecencyInFive,
    /// Fifths by last order day, times fifths by orders and spend (their mean, rounded half up).
    Rfm,
}

impl Cells {
    /// The rule's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always the rate before",
            Self::Recency90And180 => "recency 90/180",
            Self::RecencyInFive => "recency in 5 bins",
            Self::Rfm => "RFM, 25 cells",
        }
    }

    /// Each buyer's cell.
    pub fn of(self, seen: &[Seen]) -> Vec<usize> {
        let bins = |edges: &[u32]| {
            seen.iter().map(|buyer| edges.iter().filter(|edge| buyer.silence() >= **edge).count()).collect()
        };
        match self {
            Self::Always => vec![0; seen.len()],
            Self::Recency90And180 => bins(&[90, 180]),
            Self::RecencyInFive => bins(&[30, 60, 90, 180]),
            Self::Rfm => {
                let recency = fifths(seen, |buyer| -i128::from(buyer.silence()));
                let frequency = fifths(seen, |buyer| i128::from(buyer.order_days));
                let money = fifths(seen, |buyer| buyer.cents);
                let both = frequency.iter().zip(&money).map(|(f, m)| (f + m).div_ceil(2));
                recency.iter().zip(both).map(|(r, fm)| 5 * r + fm).collect()
            }
        }
    }

    /// The chances of the buyers of `now`, from the rates of their cells in `before`. A cell counts one buyer more than it
    /// has, at the rate of all: an empty one gives that.
    pub fn chances(self, before: &Window, now: &[Seen]) -> Vec<f64> {
        let mut cells: Vec<(f64, f64)> = Vec::new();
        for (cell, outcome) in self.of(&before.seen).into_iter().zip(&before.outcomes) {
            if cells.len() <= cell {
                cells.resize(cell + 1, (0.0, 0.0));
            }
            cells[cell].0 += 1.0;
            cells[cell].1 += f64::from(u8::from(outcome.ordered()));
        }
        let rate = before.rate();
        let chance = |cell: usize| {
            let (buyers, ordered) = cells.get(cell).copied().unwrap_or_default();
            (ordered + rate) / (buyers + 1.0)
        };
        self.of(now).into_iter().map(chance).collect()
    }
}

/// Fifths from 0 to 4 by percent rank: equal values are alike.
fn fifths(seen: &[Seen], value: impl Fn(&Seen) -> i128) -> Vec<usize> {
    let mut sorted: Vec<i128> = seen.iter().map(&value).collect();
    sorted.sort_unstable();
    let others = sorted.len().saturating_sub(1).max(1);
    let below = |buyer: &Seen| sorted.partition_point(|other| *other < value(buyer));
    seen.iter().map(|buyer| (5 * below(buyer) / others).min(4)).collect()
}

/// What the regression looks at, beside a constant.
const FEATURES: usize = 5;

fn features(buyer: &Seen) -> [f64; FEATURES] {
    let log = |days: u32| f64::from(days).ln_1p();
    let mean = buyer.cents.max(0) as f64 / 100.0 / f64::from(buyer.order_days.max(1));
    [log(buyer.order_days - 1), log(buyer.silence()), log(buyer.recency), log(buyer.age), mean.ln_1p()]
}

/// The chances that a logistic regression, learned on `before`, gives the buyers of `now`: on the logarithms of frequency,
/// silence, recency, age and mean order value, standardised, with a ridge that weighs as much as one buyer. None where
/// all of `before` did the same.
pub fn regression(before: &Window, now: &[Seen]) -> Option<Vec<f64>> {
    let rate = before.rate();
    if rate <= 0.0 || rate >= 1.0 {
        return None;
    }
    let buyers = before.seen.len() as f64;
    let rows: Vec<([f64; FEATURES], f64)> = before
        .seen
        .iter()
        .zip(&before.outcomes)
        .map(|(buyer, outcome)| (features(buyer), f64::from(u8::from(outcome.ordered()))))
        .collect();
    let mean: [f64; FEATURES] = std::array::from_fn(|k| rows.iter().map(|row| row.0[k]).sum::<f64>() / buyers);
    let spread: [f64; FEATURES] = std::array::from_fn(|k| {
        let variance = rows.iter().map(|row| (row.0[k] - mean[k]).powi(2)).sum::<f64>() / buyers;
        if variance > 0.0 { variance.sqrt() } else { 1.0 }
    });
    let standard = |row: [f64; FEATURES]| std::array::from_fn::<f64, FEATURES, _>(|k| (row[k] - mean[k]) / spread[k]);
    let rows: Vec<([f64; FEATURES], f64)> = rows.into_iter().map(|(row, y)| (standard(row), y)).collect();
    let linear = |weights: &[f64; FEATURES + 1], row: &[f64; FEATURES]| {
        weights[0] + weights[1..].iter().zip(row).map(|(weight, value)| weight * value).sum::<f64>()
    };
    let negative = |weights: [f64; FEATURES + 1]| {
        let (mut value, mut by) = (0.0, [0.0; FEATURES + 1]);
        for (row, y) in &rows {
            let z = linear(&weights, row);
            value += softplus(z) - y * z;
            let away = logistic(z) - y;
            by[0] += away;
            for k in 0..FEATURES {
                by[k + 1] += away * row[k];
            }
        }
        for k in 1..=FEATURES {
            value += weights[k] * weights[k] / 2.0;
            by[k] += weights[k];
        }
        (value / buyers, by.map(|slope| slope / buyers))
    };
    let mut start = [0.0; FEATURES + 1];
    start[0] = (rate / (1.0 - rate)).ln();
    let weights = minimize(negative, &[start])?.at;
    Some(now.iter().map(|buyer| logistic(linear(&weights, &standard(features(buyer))))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buyer(order_days: u32, silence: u32, cents: i128) -> Seen {
        Seen { order_days, recency: 10, age: 10 + silence, cents }
    }

    #[test]
    fn cells_have_closed_lower_ends() {
        let seen: Vec<Seen> = [0, 29, 30, 59, 60, 89, 90, 179, 180, 999].map(|silence| buyer(1, silence, 1)).to_vec();
        assert_eq!(Cells::RecencyInFive.of(&seen), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(Cells::Recency90And180.of(&seen), [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(Cells::Always.of(&seen), [0; 10]);
    }

    #[test]
    fn fifths_are_the_contracts_and_equal_values_are_alike() {
        let seen: Vec<Seen> = (0..11).map(|n| buyer(1, 100 - n, 500)).collect();
        let cells = Cells::Rfm.of(&seen);
        // Ten others: two below make a fifth; everybody is alike in orders and spend.
        assert_eq!(cells, [0, 0, 5, 5, 10, 10, 15, 15, 20, 20, 20]);
        assert_eq!(Cells::Rfm.of(&seen[..1]), [0]);
        assert_eq!(Cells::Rfm.of(&[]), Vec::<usize>::new());
    }

    #[test]
    fn an_empty_cell_gives_the_rate_of_all() {
        let ordered = |n| Outcome { order_days: n, cents: 0 };
        let before =
            Window { seen: vec![buyer(1, 5, 1); 4], outcomes: vec![ordered(1), ordered(0), ordered(0), ordered(0)] };
        let chances = Cells::Recency90And180.chances(&before, &[buyer(1, 5, 1), buyer(1, 200, 1)]);
        assert_eq!(chances, [0.25, 0.25]);
        assert_eq!(Cells::Always.chances(&Window::default(), &[buyer(1, 5, 1)]), [0.0]);
    }

    #[test]
    fn the_regression_finds_what_matters() {
        let silent = |n: u32| if n.is_multiple_of(2) { 5 } else { 300 };
        let seen: Vec<Seen> = (0..400).map(|n| buyer(1 + n % 3, silent(n), 100)).collect();
        let outcomes: Vec<Outcome> = (0..400)
            .map(|n| Outcome { order_days: u32::from(if n % 2 == 0 { n % 10 < 8 } else { n % 10 < 2 }), cents: 0 })
            .collect();
        let before = Window { seen, outcomes };
        let chances = regression(&before, &[buyer(2, 5, 100), buyer(2, 300, 100)]).unwrap();
        assert!((chances[0] - 0.8).abs() < 0.03 && (chances[1] - 0.2).abs() < 0.03, "{chances:?}");
        let same = Window { outcomes: vec![Outcome { order_days: 1, cents: 0 }; 400], ..before };
        assert_eq!(regression(&same, &[]), None);
    }
}
