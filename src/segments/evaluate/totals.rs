//! What the rows of each customer on each stretch come to, one row at a time.

use hashbrown::HashMap;

use super::counting::{MAP_ENTRY, PENDING};
use super::found::{customer_of, entry, nothing, together};
use crate::segments::compile::program::Total;

/// Rows and totals by entry (a customer and a stretch).
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Entry → place in the lists.
    places: HashMap<u64, u32>,
    /// Rows, by place.
    counts: Vec<u32>,
    /// The totals, so many a place as are asked for.
    totals: Vec<i128>,
    /// Rows that are held back, and their values: `counting` says why.
    pending: Vec<(u64, u32)>,
    values: Vec<i128>,
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
        if self.pending.len() >= PENDING {
            self.settle(asked);
        }
    }

    fn settle(&mut self, asked: &[Total]) {
        let width = asked.len();
        let Self { places, counts, totals, pending, values } = self;
        std::hint::black_box(pending.iter().fold(false, |any, (entry, _)| any | places.contains_key(entry)));
        let mut place_of = |entry: u64| {
            let next = counts.len();
            let place = *places.entry(entry).or_insert(u32::try_from(next).unwrap_or(u32::MAX)) as usize;
            if place == next {
                counts.push(0);
                totals.extend(asked.iter().map(|total| nothing(*total)));
            }
            place
        };
        let placed: Vec<(usize, u32)> = pending.drain(..).map(|(entry, count)| (place_of(entry), count)).collect();
        let fetched =
            placed.iter().fold((0, 0), |any, (place, _)| (any.0 | counts[*place], any.1 | totals[place * width]));
        std::hint::black_box(fetched);
        for ((place, count), values) in placed.into_iter().zip(values.chunks(width)) {
            if let Some(known) = counts.get_mut(place) {
                *known = known.saturating_add(count);
            }
            let known = totals.get_mut(place * width..(place + 1) * width).unwrap_or_default();
            for ((known, value), total) in known.iter_mut().zip(values).zip(asked) {
                *known = together(*total, *known, *value);
            }
        }
        values.clear();
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.places.capacity() * MAP_ENTRY + self.counts.capacity() * 4 + self.totals.capacity() * 16;
        kept + self.pending.capacity() * size_of::<(u64, u32)>() + self.values.capacity() * 16
    }

    /// Shows every entry, by customer and then stretch: its number of rows, and what they come to.
    pub(super) fn entries(&mut self, asked: &[Total], mut show: impl FnMut(u32, usize, u32, &[i128])) {
        self.settle(asked);
        let width = asked.len();
        let mut all: Vec<(u64, u32)> = self.places.iter().map(|(entry, place)| (*entry, *place)).collect();
        all.sort_unstable();
        for (entry, place) in all {
            let place = place as usize;
            let (customer, stretch) = customer_of(entry);
            let own = self.totals.get(place * width..(place + 1) * width).unwrap_or_default();
            show(customer, stretch, self.counts.get(place).copied().unwrap_or(0), own);
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
