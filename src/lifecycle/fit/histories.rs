//! Buyers' histories merged for a fit: equal ones counted, very many ones put into weeks.

use std::collections::BTreeMap;

/// Above this many different histories a fit works on weeks.
pub const MOST_EXACT: usize = 200_000;

/// One buyer as a fit sees them, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observed {
    /// x: order days after the first.
    pub frequency: u32,
    /// t_x: days from the first to the last order day.
    pub recency: u32,
    /// T: days from the first order day to the as-of date.
    pub age: u32,
}

impl Observed {
    /// The same buyer with both ages in the middle of their week: 7·⌈t/7⌉ − 3, and 0 for 0.
    fn in_weeks(self) -> Self {
        let middle = |days: u32| if days == 0 { 0 } else { days.div_ceil(7).saturating_mul(7) - 3 };
        Self { frequency: self.frequency, recency: middle(self.recency), age: middle(self.age) }
    }
}

/// Histories, each with the number of buyers who have it, in ascending order: a sum over them does not depend on the order
/// in which buyers came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histories {
    rows: Vec<(Observed, u64)>,
    weekly: bool,
}

impl Histories {
    /// Merges buyers. `most` is [`MOST_EXACT`] but in tests.
    pub fn merge(buyers: impl IntoIterator<Item = (Observed, u64)>, most: usize) -> Self {
        let mut buyers: Vec<(Observed, u64)> = buyers
            .into_iter()
            .map(|(buyer, count)| (Observed { recency: buyer.recency.min(buyer.age), ..buyer }, count))
            .collect();
        let mut rows = counted(&mut buyers);
        let weekly = rows.len() > most;
        if weekly {
            for (history, _) in &mut rows {
                *history = history.in_weeks();
            }
            rows = counted(&mut rows);
        }
        Self { rows, weekly }
    }

    /// The different histories with their counts.
    pub fn rows(&self) -> &[(Observed, u64)] {
        &self.rows
    }

    /// Whether ages are in weeks.
    pub fn is_weekly(&self) -> bool {
        self.weekly
    }

    /// All buyers.
    pub fn buyers(&self) -> u64 {
        self.rows.iter().map(|(_, count)| count).sum()
    }

    /// The mean age in days; 1 where nobody has one, so that it can be divided by.
    pub(super) fn mean_age(&self) -> f64 {
        let days: u128 = self.rows.iter().map(|(history, count)| u128::from(history.age) * u128::from(*count)).sum();
        if days == 0 { 1.0 } else { days as f64 / self.buyers() as f64 }
    }
}

/// Sorts and adds up equal histories.
fn counted(rows: &mut [(Observed, u64)]) -> Vec<(Observed, u64)> {
    rows.sort_unstable();
    let mut merged: Vec<(Observed, u64)> = Vec::new();
    for (history, count) in rows.iter().copied() {
        match merged.last_mut() {
            Some((last, total)) if *last == history => *total += count,
            _ => merged.push((history, count)),
        }
    }
    merged.retain(|(_, count)| *count > 0);
    merged
}

/// Buyers' order values merged for a fit: paid order days, what they came to, and how many buyers have both.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OrderValues {
    /// By number of paid order days: the sums (in the shop's currency) with their counts, ascending.
    pub(super) rows: BTreeMap<u32, Vec<(f64, u64)>>,
}

impl OrderValues {
    /// Merges buyers of `paid_days` order days that came to `cents`; those who paid nothing are left out. Above `most`
    /// different ones ([`MOST_EXACT`] but in tests) sums are put into bins of 1/128 of their logarithm.
    pub fn merge(buyers: impl IntoIterator<Item = (u32, i128, u64)>, most: usize) -> Self {
        let mut exact: BTreeMap<u32, Vec<(i128, u64)>> = BTreeMap::new();
        for (paid_days, cents, count) in buyers {
            if paid_days > 0 && cents > 0 && count > 0 {
                exact.entry(paid_days).or_default().push((cents, count));
            }
        }
        let mut different = 0;
        for rows in exact.values_mut() {
            rows.sort_unstable();
            rows.dedup_by(|next, kept| {
                let equal = next.0 == kept.0;
                if equal {
                    kept.1 += next.1;
                }
                equal
            });
            different += rows.len();
        }
        let binned = different > most;
        let rows = exact.into_iter().map(|(paid_days, rows)| {
            let mut values: Vec<(f64, u64)> = Vec::with_capacity(rows.len());
            for (cents, count) in rows {
                let mut value = cents as f64 / 100.0;
                if binned {
                    value = (((value.ln() * 128.0).floor() + 0.5) / 128.0).exp();
                }
                match values.last_mut() {
                    Some((last, total)) if *last == value => *total += count,
                    _ => values.push((value, count)),
                }
            }
            (paid_days, values)
        });
        Self { rows: rows.collect() }
    }

    /// All buyers who paid something.
    pub fn buyers(&self) -> u64 {
        self.rows.values().flatten().map(|(_, count)| count).sum()
    }

    /// Those of them with two paid order days or more: only they tell what varies within a buyer.
    pub fn repeat_buyers(&self) -> u64 {
        self.rows.range(2..).flat_map(|(_, rows)| rows).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(frequency: u32, recency: u32, age: u32) -> Observed {
        Observed { frequency, recency, age }
    }

    #[test]
    fn equal_histories_are_counted_in_whatever_order_they_come() {
        let buyers = [(seen(1, 5, 9), 1), (seen(0, 0, 3), 2), (seen(1, 5, 9), 4), (seen(0, 0, 3), 0)];
        let merged = Histories::merge(buyers, MOST_EXACT);
        assert_eq!(merged.rows(), [(seen(0, 0, 3), 2), (seen(1, 5, 9), 5)]);
        assert_eq!((merged.buyers(), merged.is_weekly()), (7, false));
        let mut other = buyers;
        other.reverse();
        assert_eq!(Histories::merge(other, MOST_EXACT), merged);
        assert_eq!(merged.mean_age(), 51.0 / 7.0);
        assert_eq!(Histories::merge([], 9).mean_age(), 1.0);
    }

    #[test]
    fn too_many_histories_are_put_into_weeks() {
        let buyers =
            [seen(0, 0, 0), seen(0, 0, 1), seen(0, 0, 7), seen(0, 0, 8), seen(2, 9, 14)].map(|buyer| (buyer, 1));
        let merged = Histories::merge(buyers, 4);
        assert!(merged.is_weekly());
        let wanted = [(seen(0, 0, 0), 1), (seen(0, 0, 4), 2), (seen(0, 0, 11), 1), (seen(2, 11, 11), 1)];
        assert_eq!(merged.rows(), wanted);
    }

    #[test]
    fn who_paid_nothing_is_no_order_value() {
        let merged =
            OrderValues::merge([(1, 500, 1), (0, 500, 1), (2, 0, 1), (2, 900, 1), (1, 500, 2), (1, 100, 1)], 99);
        assert_eq!((merged.buyers(), merged.repeat_buyers()), (5, 1));
        assert_eq!(merged.rows[&1], [(1.0, 1), (5.0, 3)]);
        let binned = OrderValues::merge((0..1000).map(|n| (1, 100_000 + n, 1)), 99);
        assert!(binned.rows[&1].len() < 5);
        let (value, _) = binned.rows[&1][0];
        assert!((value / 1000.0 - 1.0).abs() < 1.0 / 128.0);
    }
}
