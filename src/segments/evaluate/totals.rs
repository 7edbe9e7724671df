//! What the rows of each customer on each stretch come to, one row at a time.

use super::counting::{fit, is_due};
use super::found::{customer_of, entry, together};
use crate::segments::compile::program::Total;

/// Rows and totals by entry (a customer and a stretch).
#[derive(Debug, Default)]
pub(super) struct Totals {
    sorted: Sorted,
    /// Rows that are held back, and their values.
    pending: Vec<(u64, u32)>,
    values: Vec<i128>,
}

/// By entry, each once.
#[derive(Debug, Default)]
struct Sorted {
    /// Entries, and how many rows they have.
    counts: Vec<(u64, u32)>,
    /// The totals, so many an entry as are asked for.
    totals: Vec<i128>,
}

impl Totals {
    /// Adds `count` rows of a customer on a stretch, which come to `values`, one for each of `asked`.
    pub(super) fn add(
        &mut self,
        asked: &[Total],
        customer: u32,
        stretch: usize,
        count: u32,
        values: impl Iterator<Item = i128>,
    ) {
        self.pending.push((entry(customer, stretch), count));
        self.values.extend(values.take(asked.len()));
        if is_due(self.pending.len(), self.sorted.counts.len()) {
            self.settle(asked);
        }
    }

    fn settle(&mut self, asked: &[Total]) {
        let width = asked.len();
        let before = std::mem::take(&mut self.sorted);
        let mut order: Vec<(u64, usize)> = self.pending.iter().map(|(entry, _)| *entry).zip(0..).collect();
        order.sort_unstable_by_key(|(entry, _)| *entry);
        let more = order.into_iter().filter_map(|(entry, place)| {
            let values = self.values.get(place * width..(place + 1) * width)?;
            Some((entry, self.pending.get(place)?.1, values))
        });
        let mut more = more.peekable();
        self.sorted.counts.reserve(before.counts.len() + self.pending.len());
        self.sorted.totals.reserve(before.totals.len() + self.values.len());
        let mut known = before.counts.iter().zip(before.totals.chunks(width)).peekable();
        loop {
            let next = match (known.peek(), more.peek()) {
                (Some(((one, _), _)), Some((other, _, _))) if one > other => more.next(),
                (None, _) => more.next(),
                _ => known.next().map(|((entry, count), totals)| (*entry, *count, totals)),
            };
            let Some((entry, count, values)) = next else { break };
            self.sorted.add(asked, entry, count, values);
        }
        fit(&mut self.sorted.counts);
        fit(&mut self.sorted.totals);
        self.pending.clear();
        self.values.clear();
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let counts = self.sorted.counts.capacity() + self.pending.capacity();
        counts * size_of::<(u64, u32)>() + (self.sorted.totals.capacity() + self.values.capacity()) * size_of::<i128>()
    }

    /// Shows every entry, by customer and then stretch: its number of rows, and what they come to.
    pub(super) fn entries(&mut self, asked: &[Total], mut show: impl FnMut(u32, usize, u32, &[i128])) {
        self.settle(asked);
        for ((entry, count), totals) in self.sorted.counts.iter().zip(self.sorted.totals.chunks(asked.len())) {
            let (customer, stretch) = customer_of(*entry);
            show(customer, stretch, *count, totals);
        }
    }
}

impl Sorted {
    /// Adds rows of the last entry, or of one that comes after it.
    fn add(&mut self, asked: &[Total], entry: u64, count: u32, values: &[i128]) {
        match self.counts.last_mut() {
            Some((last, known)) if *last == entry => {
                *known = known.saturating_add(count);
                let first = self.totals.len() - asked.len();
                let known = self.totals.get_mut(first..).unwrap_or_default();
                for ((known, value), total) in known.iter_mut().zip(values).zip(asked) {
                    *known = together(*total, *known, *value);
                }
            }
            _ => {
                self.counts.push((entry, count));
                self.totals.extend(values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn totals_are_those_of_all_rows() {
        let asked = [Total::Sum(0), Total::Min(1), Total::Max(1)];
        let mut totals = Totals::default();
        let mut expected: BTreeMap<(u32, usize), (u32, Vec<i128>)> = BTreeMap::new();
        for n in 0..5_000_u32 {
            let (customer, stretch, value) = (n * 7_919 % 700, (n % 3) as usize, i128::from(n * 31 % 1_009) - 500);
            totals.add(&asked, customer, stretch, 2, [value, value, value].into_iter());
            let (count, own) = expected.entry((customer, stretch)).or_insert((0, vec![0, i128::MAX, i128::MIN]));
            *count += 2;
            *own = vec![own[0] + value, own[1].min(value), own[2].max(value)];
        }
        let mut found = Vec::new();
        totals.entries(&asked, |customer, stretch, count, totals| {
            found.push(((customer, stretch), (count, totals.to_vec())));
        });
        assert!(found.is_sorted_by_key(|(entry, _)| *entry));
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }
}
