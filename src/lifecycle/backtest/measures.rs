//! How good a prediction was. Pure; ties are always settled by sharing, so that no result depends on the order of rows.

use crate::lifecycle::fit::minimize;

/// What a prediction of "orders within the holdout" was worth.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Scores {
    /// The chance that a buyer who ordered was given a higher chance than one who did not; ½ says nothing. None where all
    /// did, or none.
    pub auc: Option<f64>,
    /// Mean squared distance of chance and outcome; lower is better.
    pub brier: f64,
    /// Mean distance of mean chance and rate over tenths of the buyers by chance.
    pub calibration_error: f64,
    /// How much the outcome's log-odds move with the prediction's: 1 is right, below 1 says too sure. None where nothing
    /// varies.
    pub calibration_slope: Option<f64>,
    /// The rate among the tenth with the highest chances, over the rate of all. None where nobody ordered.
    pub lift: Option<f64>,
    /// The share of all holdout spend that this tenth spent. None where nothing was spent.
    pub revenue_share: Option<f64>,
}

/// What happened to a buyer in the holdout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Order days.
    pub order_days: u32,
    /// Spend, in hundredths of the currency.
    pub cents: i128,
}

impl Outcome {
    /// Whether there was an order.
    pub fn ordered(&self) -> bool {
        self.order_days > 0
    }
}

/// Buyers in descending order of chance, in groups of equal chances: chance, buyers, those who ordered, what they spent.
fn ranked(chances: &[f64], outcomes: &[Outcome]) -> Vec<(f64, f64, f64, f64)> {
    let mut rows: Vec<(f64, &Outcome)> = chances.iter().copied().zip(outcomes).collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut groups: Vec<(f64, u64, u64, i128)> = Vec::new();
    for (chance, outcome) in rows {
        let ordered = u64::from(outcome.ordered());
        match groups.last_mut() {
            Some((same, buyers, orders, cents)) if *same == chance => {
                *buyers += 1;
                *orders += ordered;
                *cents += outcome.cents;
            }
            _ => groups.push((chance, 1, ordered, outcome.cents)),
        }
    }
    groups.into_iter().map(|(chance, n, y, cents)| (chance, n as f64, y as f64, cents as f64)).collect()
}

/// Scores the chances of buyers against what they did. None without buyers.
pub fn scores(chances: &[f64], outcomes: &[Outcome]) -> Option<Scores> {
    let groups = ranked(chances, outcomes);
    let buyers: f64 = groups.iter().map(|group| group.1).sum();
    if buyers == 0.0 {
        return None;
    }
    let ordered: f64 = groups.iter().map(|group| group.2).sum();
    let cents: f64 = groups.iter().map(|group| group.3).sum();
    let brier = groups.iter().map(|(p, n, y, _)| (n - y) * p * p + y * (1.0 - p) * (1.0 - p)).sum::<f64>() / buyers;

    // Mann-Whitney: pairs of one who ordered and one who did not, equal chances counting half.
    let (mut above, mut pairs) = (0.0, 0.0);
    for (_, n, y, _) in &groups {
        pairs += (n - y) * (above + y / 2.0);
        above += y;
    }
    let possible = ordered * (buyers - ordered);

    let (mut taken, mut top_ordered, mut top_cents) = (0.0, 0.0, 0.0);
    for (_, n, y, spent) in &groups {
        // Of a group that reaches beyond the tenth, its share.
        let part = ((buyers / 10.0 - taken) / n).clamp(0.0, 1.0);
        taken += n * part;
        top_ordered += y * part;
        top_cents += spent * part;
    }
    let rate = ordered / buyers;
    Some(Scores {
        auc: (possible > 0.0).then(|| pairs / possible),
        brier,
        calibration_error: tenths(chances, outcomes)
            .iter()
            .map(|tenth| (tenth.chance - tenth.rate).abs() * tenth.buyers / buyers)
            .sum(),
        calibration_slope: slope(&groups),
        lift: (rate > 0.0 && taken > 0.0).then(|| top_ordered / taken / rate),
        revenue_share: (cents > 0.0).then(|| top_cents / cents),
    })
}

/// A tenth of the buyers by chance.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Tenth {
    /// Its buyers; a group of equal chances is never torn apart, so tenths may differ in size.
    pub buyers: f64,
    /// Their mean chance.
    pub chance: f64,
    /// The rate at which they ordered.
    pub rate: f64,
}

/// The buyers in up to ten parts by chance, lowest first.
pub fn tenths(chances: &[f64], outcomes: &[Outcome]) -> Vec<Tenth> {
    let groups = ranked(chances, outcomes);
    let buyers: f64 = groups.iter().map(|group| group.1).sum();
    let mut parts: Vec<(f64, f64, f64)> = Vec::new();
    let (mut before, mut last) = (0.0, usize::MAX);
    for (chance, n, y, _) in groups.iter().rev() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of ten is below ten")]
        let part = ((before + n / 2.0) / buyers * 10.0) as usize;
        if part != last {
            parts.push((0.0, 0.0, 0.0));
            last = part;
        }
        if let Some((buyers, chances, ordered)) = parts.last_mut() {
            *buyers += n;
            *chances += n * chance;
            *ordered += y;
        }
        before += n;
    }
    parts.into_iter().map(|(n, chances, ordered)| Tenth { buyers: n, chance: chances / n, rate: ordered / n }).collect()
}

/// The slope of a logistic regression of the outcome on the log-odds of the prediction (Cox 1958).
fn slope(groups: &[(f64, f64, f64, f64)]) -> Option<f64> {
    let odds = |p: f64| {
        let p = p.clamp(1e-9, 1.0 - 1e-9);
        (p / (1.0 - p)).ln()
    };
    let first = groups.first()?.0;
    let buyers: f64 = groups.iter().map(|group| group.1).sum();
    let ordered: f64 = groups.iter().map(|group| group.2).sum();
    if groups.iter().all(|group| group.0 == first) || ordered == 0.0 || ordered == buyers {
        return None;
    }
    let negative = |[base, slope]: [f64; 2]| {
        let (mut value, mut by) = (0.0, [0.0; 2]);
        for (p, n, y, _) in groups {
            let x = odds(*p);
            let z = base + slope * x;
            value += n * softplus(z) - y * z;
            let away = n * logistic(z) - y;
            by[0] += away;
            by[1] += away * x;
        }
        (value / buyers, by.map(|slope| slope / buyers))
    };
    minimize(negative, &[[0.0, 1.0]]).map(|minimum| minimum.at[1])
}

/// 1/(1+e^−z).
pub(super) fn logistic(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { 1.0 - 1.0 / (1.0 + z.exp()) }
}

/// ln(1+e^z).
pub(super) fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

/// The mutual information of a grouping with "ordered or not", in nats: how much knowing the group tells of the outcome.
/// `groups` are buyers and those of them who ordered.
pub fn information(groups: impl IntoIterator<Item = (u64, u64)>) -> f64 {
    let groups: Vec<(f64, f64)> = groups.into_iter().map(|(n, y)| (n as f64, y as f64)).collect();
    let (all, ordered) = groups.iter().fold((0.0, 0.0), |(n, y), group| (n + group.0, y + group.1));
    let term = |joint: f64, group: f64, outcome: f64| {
        if joint > 0.0 { joint / all * (joint * all / (group * outcome)).ln() } else { 0.0 }
    };
    groups.iter().map(|(n, y)| term(*y, *n, ordered) + term(n - y, *n, all - ordered)).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(ordered: &[u32]) -> Vec<Outcome> {
        ordered.iter().map(|n| Outcome { order_days: *n, cents: i128::from(*n) * 100 }).collect()
    }

    #[test]
    fn a_ranking_and_its_ties() {
        let of = outcomes(&[1, 0, 1, 0]);
        let found = scores(&[0.9, 0.8, 0.7, 0.1], &of).unwrap();
        assert_eq!(found.auc, Some(0.75));
        assert!((found.brier - (0.01 + 0.64 + 0.09 + 0.01) / 4.0).abs() < 1e-12);
        // The top 0.4 of a buyer ordered: twice the rate, and 0.4 of half of the spend.
        assert!((found.lift.unwrap() - 2.0).abs() < 1e-12);
        assert!((found.revenue_share.unwrap() - 0.2).abs() < 1e-12);
        let tied = scores(&[0.5; 4], &of).unwrap();
        assert_eq!((tied.auc, tied.calibration_slope, tied.calibration_error), (Some(0.5), None, 0.0));
        assert!((tied.lift.unwrap() - 1.0).abs() < 1e-12 && (tied.revenue_share.unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(scores(&[], &[]), None);
        let nobody = scores(&[0.2, 0.3], &outcomes(&[0, 0])).unwrap();
        assert_eq!((nobody.auc, nobody.lift, nobody.revenue_share, nobody.calibration_slope), (None, None, None, None));
    }

    #[test]
    fn rows_may_come_in_any_order() {
        let chances: Vec<f64> = (0..97).map(|n| f64::from(n * 37 % 97) / 97.0).collect();
        let of = outcomes(&(0..97).map(|n| u32::from(n * 37 % 97 > 40 + n % 13)).collect::<Vec<_>>());
        let found = scores(&chances, &of).unwrap();
        let (mut backwards, mut other) = (chances, of);
        backwards.reverse();
        other.reverse();
        assert_eq!(scores(&backwards, &other), Some(found));
    }

    #[test]
    fn a_prediction_that_is_too_sure_has_a_slope_below_one() {
        // Log-odds of ±2 where the truth has ±1.
        let (sure, truth) = (logistic(2.0), logistic(1.0));
        let hits = (truth * 1000.0).round() as u32;
        let mut chances = vec![sure; 1000];
        chances.extend(vec![1.0 - sure; 1000]);
        let ordered: Vec<u32> =
            (0..1000).map(|n| u32::from(n < hits)).chain((0..1000).map(|n| u32::from(n >= hits))).collect();
        let found = scores(&chances, &outcomes(&ordered)).unwrap();
        assert!((found.calibration_slope.unwrap() - 0.5).abs() < 1e-3, "{found:?}");
        assert!((found.calibration_error - (sure - truth).abs()).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn tenths_keep_equal_chances_together() {
        let chances = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.9];
        let parts = tenths(&chances, &outcomes(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 1]));
        let sizes: Vec<f64> = parts.iter().map(|part| part.buyers).collect();
        assert_eq!(sizes, [8.0, 1.0, 1.0]);
        assert_eq!((parts[0].rate, parts[2].rate, parts[2].chance), (0.125, 1.0, 0.9));
    }

    #[test]
    fn information_of_groups() {
        // A group that says it all, and one that says nothing.
        assert!((information([(50, 50), (50, 0)]) - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(information([(50, 10), (100, 20)]), 0.0);
        assert_eq!(information([]), 0.0);
    }
}
