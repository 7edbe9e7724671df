//! What the rows of each customer on each stretch come to, one row at a time.

use hashbrown::HashMap;

use super::counting::{FIRST_LOOK, MAP_ENTRY, PENDING};
use super::found::{customer_of, entry, nothing, together};
use crate::segments::compile::program::Total;

/// Rows and totals by entry (a customer and a stretch).
#[derive(Debug)]
pub(super) struct Totals {
    /// Where each entry stands in the lists.
    places: Places,
    /// Stretches of a customer.
    width: usize,
    /// Entries at which it is looked next whether an array of places would be smaller.
    next_look: usize,
    /// Rows, by place.
    counts: Vec<u32>,
    /// The totals, so many a place as are asked for.
    totals: Vec<i128>,
    /// Rows that are held back, and their values: `counting` says why.
    pending: Vec<(u64, u32)>,
    values: Vec<i128>,
}

#[derive(Debug)]
enum Places {
    /// Few customers, by entry.
    Few(HashMap<u64, u32>),
    /// Many customers: by customer, then stretch; [`NOWHERE`] without rows.
    Many(Vec<u32>),
}

const NOWHERE: u32 = u32::MAX;

impl Places {
    /// The place of an entry, which gets the next one if it has none.
    fn of(&mut self, entry: u64, width: usize, next: u32) -> u32 {
        if let Places::Many(places) = self
            && at(entry, width) >= places.len()
            && at(entry, width) * size_of::<u32>() > 2 * next as usize * MAP_ENTRY
        {
            // Those who come now are far apart.
            self.gather(width);
        }
        match self {
            Places::Few(places) => *places.entry(entry).or_insert(next),
            Places::Many(places) => {
                let at = at(entry, width);
                if at >= places.len() {
                    // By half again, so that growing costs a constant a row.
                    places.resize((at + 1).max(places.len() + places.len() / 2), NOWHERE);
                }
                let Some(place) = places.get_mut(at) else { return NOWHERE };
                if *place == NOWHERE {
                    *place = next;
                }
                *place
            }
        }
    }

    /// Looks entries up, so that what is needed of memory is fetched at once.
    fn fetch(&self, entries: &[(u64, u32)], width: usize) {
        let fetched = match self {
            Places::Few(places) => entries.iter().fold(false, |any, (entry, _)| any | places.contains_key(entry)),
            Places::Many(places) => {
                entries.iter().fold(false, |any, (entry, _)| any ^ (places.get(at(*entry, width)) == Some(&NOWHERE)))
            }
        };
        std::hint::black_box(fetched);
    }

    /// Turns an array back into a map.
    fn gather(&mut self, width: usize) {
        let Places::Many(places) = self else { return };
        let mut few = HashMap::new();
        for (customer, places) in (0..).zip(places.chunks(width)) {
            let some = places.iter().enumerate().filter(|(_, place)| **place != NOWHERE);
            few.extend(some.map(|(stretch, place)| (entry(customer, stretch), *place)));
        }
        *self = Places::Few(few);
    }

    /// Turns a map of so many entries into an array, where the array is smaller.
    fn flatten(&mut self, width: usize) {
        let Places::Few(places) = self else { return };
        let customers = places.keys().map(|entry| customer_of(*entry).0).max().map_or(0, |last| last as usize + 1);
        if places.len() * MAP_ENTRY < customers * width * size_of::<u32>() {
            return;
        }
        let mut many = vec![NOWHERE; customers * width];
        for (entry, place) in places.drain() {
            if let Some(own) = many.get_mut(at(entry, width)) {
                *own = place;
            }
        }
        *self = Places::Many(many);
    }
}

/// Where an entry stands in an array of customers and stretches.
fn at(entry: u64, width: usize) -> usize {
    let (customer, stretch) = customer_of(entry);
    customer as usize * width + stretch
}

impl Totals {
    /// Nothing yet, of customers with so many stretches.
    pub(super) fn new(width: usize) -> Self {
        Self {
            places: Places::Few(HashMap::new()),
            width,
            next_look: FIRST_LOOK,
            counts: Vec::new(),
            totals: Vec::new(),
            pending: Vec::new(),
            values: Vec::new(),
        }
    }

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
        let Self { places, width: stretches, next_look, counts, totals, pending, values } = self;
        places.fetch(pending, *stretches);
        let mut place_of = |entry: u64| {
            let next = counts.len();
            let place = places.of(entry, *stretches, u32::try_from(next).unwrap_or(NOWHERE)) as usize;
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
        if counts.len() >= *next_look {
            *next_look = counts.len() * 2;
            places.flatten(*stretches);
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let places = match &self.places {
            Places::Few(places) => places.capacity() * MAP_ENTRY,
            Places::Many(places) => places.capacity() * size_of::<u32>(),
        };
        let kept = self.counts.capacity() * 4 + self.totals.capacity() * 16;
        places + kept + self.pending.capacity() * size_of::<(u64, u32)>() + self.values.capacity() * 16
    }

    /// Shows every entry, by customer and then stretch: its number of rows, and what they come to.
    pub(super) fn entries(&mut self, asked: &[Total], mut show: impl FnMut(u32, usize, u32, &[i128])) {
        self.settle(asked);
        let (width, stretches) = (asked.len(), self.width);
        let mut show = |customer: u32, stretch: usize, place: u32| {
            let place = place as usize;
            let own = self.totals.get(place * width..(place + 1) * width).unwrap_or_default();
            show(customer, stretch, self.counts.get(place).copied().unwrap_or(0), own);
        };
        match &self.places {
            Places::Few(places) => {
                let mut all: Vec<(u64, u32)> = places.iter().map(|(entry, place)| (*entry, *place)).collect();
                all.sort_unstable();
                for (entry, place) in all {
                    let (customer, stretch) = customer_of(entry);
                    show(customer, stretch, place);
                }
            }
            Places::Many(places) => {
                for (customer, places) in (0..).zip(places.chunks(stretches)) {
                    let some = places.iter().enumerate().filter(|(_, place)| **place != NOWHERE);
                    some.for_each(|(stretch, place)| show(customer, stretch, *place));
                }
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
        // Customers who are close together, at last with one far beyond, and a thousand numbers apart.
        for (apart, beyond, is_array) in
            [(1, None, true), (1, Some(5_000), true), (1, Some(4_000_000), false), (1_000, None, false)]
        {
            let mut totals = Totals::new(3);
            let mut expected: BTreeMap<(u32, usize), (u32, Vec<i128>)> = BTreeMap::new();
            let customers = (0..5_000_u32).map(|n| n * 7_919 % 700 * apart).chain(beyond);
            for (n, customer) in (0_u32..).zip(customers) {
                let (stretch, value) = ((n % 3) as usize, i128::from(n * 31 % 1_009) - 500);
                totals.add(&asked, customer, stretch, 2, [value, value, value].into_iter());
                let (count, own) = expected.entry((customer, stretch)).or_insert((0, vec![0, i128::MAX, i128::MIN]));
                *count += 2;
                *own = vec![own[0] + value, own[1].min(value), own[2].max(value)];
            }
            let mut found = Vec::new();
            totals.entries(&asked, |customer, stretch, count, totals| {
                found.push(((customer, stretch), (count, totals.to_vec())));
            });
            assert_eq!(matches!(totals.places, Places::Many(_)), is_array);
            assert!(found.is_sorted_by_key(|(entry, _)| *entry));
            assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
        }
    }
}
