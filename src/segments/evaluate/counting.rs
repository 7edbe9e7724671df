//! How many rows each customer has on each stretch, counted one row at a time.

use hashbrown::HashMap;

use super::found::{customer_of, entry};

/// Rows that are held back before they are counted. What is counted lies anywhere in memory, and a row alone would wait for
/// it: the places of all that were held back are fetched at once.
pub(super) const PENDING: usize = 128;

/// From so many entries on it is looked whether an array would be smaller than the map.
const FIRST_LOOK: usize = 1024;

/// Bytes of an entry in a map, its empty places included.
pub(super) const MAP_ENTRY: usize = 24;

/// Counts by entry (a customer and a stretch).
#[derive(Debug)]
pub(super) struct Counting {
    kept: Kept,
    pending: Vec<(u64, u32)>,
    /// Stretches of a customer.
    width: usize,
    /// No count grows beyond.
    cap: u32,
    /// Entries of the map at which it is looked next: it has doubled then, so that looking costs a constant a row.
    next_look: usize,
}

#[derive(Debug)]
enum Kept {
    /// Few customers, by entry.
    Few(HashMap<u64, u32>),
    /// Many customers: by customer, then stretch; at most 255 are told apart.
    Many(Vec<u8>),
}

impl Counting {
    /// Nothing yet, of customers with so many stretches.
    pub(super) fn new(width: usize, cap: u32) -> Self {
        let next_look = if cap <= u32::from(u8::MAX) { FIRST_LOOK } else { usize::MAX };
        Self { kept: Kept::Few(HashMap::new()), pending: Vec::new(), width, cap, next_look }
    }

    /// Adds `count` rows of a customer on a stretch.
    pub(super) fn add(&mut self, customer: u32, stretch: usize, count: u32) {
        self.pending.push((entry(customer, stretch), count));
        if self.pending.len() >= PENDING {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let (width, cap) = (self.width, self.cap);
        let place_of = |entry: u64| {
            let (customer, stretch) = customer_of(entry);
            customer as usize * width + stretch
        };
        match &mut self.kept {
            Kept::Few(counts) => {
                let fetched = self.pending.iter().fold(false, |any, (entry, _)| any | counts.contains_key(entry));
                std::hint::black_box(fetched);
                for (entry, count) in self.pending.drain(..) {
                    let known = counts.entry(entry).or_default();
                    *known = known.saturating_add(count).min(cap);
                }
                if counts.len() >= self.next_look {
                    self.next_look = counts.len() * 2;
                    self.flatten();
                }
            }
            Kept::Many(counts) => {
                let needed = self.pending.iter().map(|(entry, _)| place_of(*entry) + 1).max().unwrap_or(0);
                if needed > counts.len() {
                    // By half again, so that growing costs a constant a row.
                    counts.resize(needed.max(counts.len() + counts.len() / 2), 0);
                }
                let fetched = self.pending.iter().fold(0, |any, (entry, _)| any | counts[place_of(*entry)]);
                std::hint::black_box(fetched);
                for (entry, count) in self.pending.drain(..) {
                    if let Some(known) = counts.get_mut(place_of(entry)) {
                        let sum = u32::from(*known).saturating_add(count).min(cap);
                        *known = u8::try_from(sum).unwrap_or(u8::MAX);
                    }
                }
            }
        }
    }

    /// Turns the map into an array, where the array is smaller.
    fn flatten(&mut self) {
        let Kept::Few(counts) = &mut self.kept else { return };
        let customers = counts.keys().map(|entry| customer_of(*entry).0).max().map_or(0, |last| last as usize + 1);
        if counts.len() * MAP_ENTRY < customers * self.width {
            return;
        }
        let mut many = vec![0_u8; customers * self.width];
        for (entry, count) in counts.drain() {
            let (customer, stretch) = customer_of(entry);
            if let Some(place) = many.get_mut(customer as usize * self.width + stretch) {
                *place = u8::try_from(count).unwrap_or(u8::MAX);
            }
        }
        self.kept = Kept::Many(many);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let kept = match &self.kept {
            Kept::Few(counts) => counts.capacity() * MAP_ENTRY,
            Kept::Many(counts) => counts.capacity(),
        };
        kept + self.pending.capacity() * size_of::<(u64, u32)>()
    }

    /// Shows customer, stretch and count of every entry, by customer and then stretch.
    pub(super) fn entries(&mut self, mut show: impl FnMut(u32, usize, u32)) {
        self.settle();
        match &self.kept {
            Kept::Few(counts) => {
                let mut all: Vec<(u64, u32)> = counts.iter().map(|(entry, count)| (*entry, *count)).collect();
                all.sort_unstable();
                for (entry, count) in all {
                    let (customer, stretch) = customer_of(entry);
                    show(customer, stretch, count);
                }
            }
            Kept::Many(counts) => {
                for (customer, counts) in (0..).zip(counts.chunks(self.width)) {
                    let some = counts.iter().enumerate().filter(|(_, count)| **count > 0);
                    some.for_each(|(stretch, count)| show(customer, stretch, u32::from(*count)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Counts rows of customers who are far apart or close together, and says what came of it.
    fn counted(rows: &[(u32, usize)], width: usize, cap: u32) -> (Counting, BTreeMap<(u32, usize), u32>) {
        let mut counting = Counting::new(width, cap);
        let mut expected = BTreeMap::new();
        for (customer, stretch) in rows {
            counting.add(*customer, *stretch, 1);
            let known: &mut u32 = expected.entry((*customer, *stretch)).or_default();
            *known = (*known + 1).min(cap);
        }
        (counting, expected)
    }

    fn entries(counting: &mut Counting) -> BTreeMap<(u32, usize), u32> {
        let mut entries = Vec::new();
        counting.entries(|customer, stretch, count| entries.push(((customer, stretch), count)));
        assert!(entries.is_sorted(), "entries come by customer and then stretch");
        entries.into_iter().collect()
    }

    #[test]
    fn rows_are_counted_whatever_they_are_kept_in() {
        // Customers 0 to 4,999, each a few times, in no order: an array in the end.
        let close: Vec<(u32, usize)> = (0..20_000_u32).map(|n| (n * 7_919 % 5_000, (n % 3) as usize)).collect();
        // As many, who are a thousand numbers apart: a map to the end.
        let far: Vec<(u32, usize)> = close.iter().map(|(customer, stretch)| (customer * 1_000, *stretch)).collect();
        for cap in [1, 3, 255, 1_000] {
            for rows in [&close, &far, &close[..50].to_vec()] {
                let (mut counting, expected) = counted(rows, 3, cap);
                assert_eq!(entries(&mut counting), expected);
                let is_array = matches!(counting.kept, Kept::Many(_));
                assert_eq!(is_array, rows == &close && cap <= 255);
            }
        }
    }

    #[test]
    fn counts_of_other_partitions_are_added() {
        let mut counting = Counting::new(1, 10);
        for _ in 0..3 {
            counting.add(7, 0, 4);
        }
        assert_eq!(entries(&mut counting), BTreeMap::from([((7, 0), 10)]));
        counting.add(8, 0, 2);
        assert_eq!(entries(&mut counting), BTreeMap::from([((7, 0), 10), ((8, 0), 2)]));
    }
}
