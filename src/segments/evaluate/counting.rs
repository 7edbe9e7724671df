//! How many rows each customer has on each stretch, counted one row at a time.

use super::found::{customer_of, entry};

/// Rows that are held back before they are counted in an array. What is counted lies anywhere in memory, and a row alone would wait
/// for it: the places of all that were held back are fetched at once.
const PENDING: usize = 128;

/// Rows that are at least held back before they are sorted, and entries that an array has at least.
const UNSORTED: usize = 1_024;

/// Whether so many rows, held back beside so many sorted entries, are sorted in. They are a third of both then, so that a row costs a
/// constant, but for sorting.
pub(super) fn is_due(pending: usize, sorted: usize) -> bool {
    pending >= UNSORTED.max(sorted / 2)
}

/// Gives back what a list does not need: rows that were held back may have had entries already.
pub(super) fn fit<T>(list: &mut Vec<T>) {
    if list.capacity() > 2 * list.len() {
        list.shrink_to_fit();
    }
}

/// Counts by entry (a customer and a stretch).
#[derive(Debug)]
pub(super) struct Counting {
    kept: Kept,
    pending: Vec<(u64, u32)>,
    /// Stretches of a customer.
    width: usize,
    /// No count grows beyond.
    cap: u32,
}

#[derive(Debug)]
enum Kept {
    /// Few customers: by entry, sorted.
    Few(Vec<(u64, u32)>),
    /// Many customers: by customer, then stretch; at most 255 are told apart.
    Many(Vec<u8>),
}

impl Counting {
    /// Nothing yet, of customers with so many stretches.
    pub(super) fn new(width: usize, cap: u32) -> Self {
        Self { kept: Kept::Few(Vec::new()), pending: Vec::new(), width, cap }
    }

    /// Adds `count` rows of a customer on a stretch.
    pub(super) fn add(&mut self, customer: u32, stretch: usize, count: u32) {
        self.pending.push((entry(customer, stretch), count));
        let is_due = match &self.kept {
            Kept::Few(counts) => is_due(self.pending.len(), counts.len()),
            Kept::Many(_) => self.pending.len() >= PENDING,
        };
        if is_due {
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
                self.pending.sort_unstable_by_key(|(entry, _)| *entry);
                *counts = counted_together(counts, &self.pending, cap);
                self.pending.clear();
                self.flatten();
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

    /// Turns the list into an array, where the array is smaller.
    fn flatten(&mut self) {
        let Kept::Few(counts) = &self.kept else { return };
        let customers = counts.last().map_or(0, |(last, _)| customer_of(*last).0 as usize + 1);
        if self.cap > u32::from(u8::MAX)
            || counts.len() < UNSORTED
            || size_of_val(counts.as_slice()) < customers * self.width
        {
            return;
        }
        let mut many = vec![0_u8; customers * self.width];
        for (entry, count) in counts {
            let (customer, stretch) = customer_of(*entry);
            if let Some(place) = many.get_mut(customer as usize * self.width + stretch) {
                *place = u8::try_from(*count).unwrap_or(u8::MAX);
            }
        }
        self.kept = Kept::Many(many);
        self.pending = Vec::new();
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let kept = match &self.kept {
            Kept::Few(counts) => counts.capacity() * size_of::<(u64, u32)>(),
            Kept::Many(counts) => counts.capacity(),
        };
        kept + self.pending.capacity() * size_of::<(u64, u32)>()
    }

    /// Shows customer, stretch and count of every entry, by customer and then stretch.
    pub(super) fn entries(&mut self, mut show: impl FnMut(u32, usize, u32)) {
        self.settle();
        match &self.kept {
            Kept::Few(counts) => {
                for (entry, count) in counts {
                    let (customer, stretch) = customer_of(*entry);
                    show(customer, stretch, *count);
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

/// Counts of two sorted lists, of which the first has no entry twice.
fn counted_together(counts: &[(u64, u32)], more: &[(u64, u32)], cap: u32) -> Vec<(u64, u32)> {
    let mut together: Vec<(u64, u32)> = Vec::with_capacity(counts.len() + more.len());
    let (mut counts, mut more) = (counts.iter().peekable(), more.iter().peekable());
    loop {
        let next = match (counts.peek(), more.peek()) {
            (Some((one, _)), Some((other, _))) if one <= other => counts.next(),
            (_, Some(_)) => more.next(),
            (_, None) => counts.next(),
        };
        let Some((entry, count)) = next else { break };
        match together.last_mut() {
            Some((last, known)) if last == entry => *known = known.saturating_add(*count).min(cap),
            _ => together.push((*entry, (*count).min(cap))),
        }
    }
    fit(&mut together);
    together
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
        // As many, who are a thousand numbers apart: a list to the end.
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
