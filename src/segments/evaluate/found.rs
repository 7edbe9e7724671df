//! What a scan has found so far for one picker: who, on which days, and what their rows come to.
//!
//! A picker's calls name days; the ends of all their ranges cut the axis into *stretches*, and what is found is kept by
//! customer and stretch. However many calls differ only in their days and thresholds, a row is one entry. Memory follows
//! the customers that were found: compressed bitmaps where only existence is asked, plain bits from one customer in 32 on, and
//! where counts or totals are asked, sorted lists, of which those of counts become plain arrays once these are smaller (`counting`,
//! `totals`).

use roaring::RoaringBitmap;

use super::bits::{set, set_of};
use super::counting::Counting;
use super::totals::Totals;
use crate::segments::compile::program::{Call, Program, Total};

/// A set of customers that many rows are added to, one at a time.
#[derive(Debug, Default, Clone)]
pub(super) struct Gathering {
    bitmap: RoaringBitmap,
    /// A bit a customer, in place of the bitmap, once they are so many that this takes little more.
    flat: Vec<u8>,
    pending: Vec<u32>,
}

/// Customers that are held back before they are sorted into the bitmap.
const PENDING: usize = 4096;

/// From one of so many customers on, a bit for each of them all takes four bytes a member at most.
const DENSE: u64 = 32;

impl Gathering {
    fn add(&mut self, customer: u32) {
        self.pending.push(customer);
        if self.pending.len() >= PENDING {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if !self.flat.is_empty() {
            let Self { flat, pending, .. } = self;
            return pending.drain(..).for_each(|customer| set(flat, customer));
        }
        self.pending.sort_unstable();
        self.pending.dedup();
        // A sorted list without repetitions cannot be refused.
        if let Ok(part) = RoaringBitmap::from_sorted_iter(self.pending.drain(..)) {
            self.bitmap |= part;
        }
        let last = self.bitmap.max().map_or(0, u64::from);
        if self.bitmap.len() >= PENDING as u64 && self.bitmap.len() * DENSE > last {
            self.flat = vec![0; last as usize / 8 + 1];
            std::mem::take(&mut self.bitmap).iter().for_each(|customer| set(&mut self.flat, customer));
        }
    }

    /// The set.
    fn take(&mut self) -> RoaringBitmap {
        self.settle();
        let flat = std::mem::take(&mut self.flat);
        if flat.is_empty() { std::mem::take(&mut self.bitmap) } else { set_of(0, &flat) }
    }

    /// Adds a set.
    fn add_all(&mut self, customers: &RoaringBitmap) {
        match self.flat.is_empty() {
            true => self.bitmap |= customers,
            false => customers.iter().for_each(|customer| set(&mut self.flat, customer)),
        }
    }

    fn bytes(&self) -> usize {
        self.bitmap.serialized_size() + self.flat.capacity() + self.pending.capacity() * size_of::<u32>()
    }
}

/// How a picker's calls cut the axis, and what they ask.
#[derive(Debug)]
pub(super) struct Stretches {
    /// Where one stretch ends and the next begins, in order.
    ends: Vec<i64>,
    /// Whether some call asks about the stretch.
    asked: Vec<bool>,
    /// For each of the picker's calls its number, and the stretches that are in its days.
    pub(super) calls: Vec<(usize, Vec<bool>)>,
    /// The totals beside the count that some call asks about.
    pub(super) totals: Vec<Total>,
    /// The largest count that is told from the next; `None` where only existence is asked.
    cap: Option<u32>,
}

impl Stretches {
    /// Those of the calls of one picker.
    pub(super) fn of(picker: usize, calls: &[Call]) -> Self {
        let own: Vec<(usize, &Call)> = calls.iter().enumerate().filter(|(_, call)| call.picker == picker).collect();
        let mut ends: Vec<i64> = own
            .iter()
            .flat_map(|(_, call)| call.ranges.iter().flat_map(|(low, high)| [*low, *high]))
            .flatten()
            .collect();
        ends.sort_unstable();
        ends.dedup();
        // A stretch is wholly in a range or wholly outside: its first instant decides.
        let first =
            |stretch: usize| stretch.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(i64::MIN);
        let within = |call: &Call| -> Vec<bool> {
            (0..=ends.len())
                .map(|stretch| {
                    let at = first(stretch);
                    call.ranges
                        .iter()
                        .any(|(low, high)| low.is_none_or(|low| low <= at) && high.is_none_or(|high| at < high))
                })
                .collect()
        };
        let calls: Vec<(usize, Vec<bool>)> = own.iter().map(|(number, call)| (*number, within(call))).collect();
        let asked = (0..=ends.len()).map(|stretch| calls.iter().any(|(_, within)| within.get(stretch) == Some(&true)));
        let asked = asked.collect();
        let mut totals: Vec<Total> = own
            .iter()
            .flat_map(|(_, call)| &call.asks)
            .map(|(total, _)| *total)
            .filter(|total| *total != Total::Count)
            .collect();
        totals.sort_unstable();
        totals.dedup();
        let cap = own
            .iter()
            .flat_map(|(_, call)| &call.asks)
            .filter(|(total, _)| *total == Total::Count)
            .map(|(_, spans)| u32::try_from(spans.last_difference()).unwrap_or(u32::MAX))
            .max()
            .unwrap_or(0);
        // A count of one tells rows from no rows.
        let cap = (cap > 0 || !totals.is_empty()).then_some(cap.saturating_add(1));
        Self { ends, asked, calls, totals, cap }
    }

    /// The stretch of an instant, if some call asks about it.
    pub(super) fn at(&self, at: i64) -> Option<usize> {
        let stretch = self.ends.partition_point(|end| *end <= at);
        (self.asked.get(stretch) == Some(&true)).then_some(stretch)
    }

    /// Where one stretch ends and the next begins, in order.
    pub(super) fn ends(&self) -> &[i64] {
        &self.ends
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len() + 1
    }

    /// Whether nothing is asked but whether there is a row.
    pub(super) fn only_existence(&self) -> bool {
        self.cap.is_none()
    }

    /// The picker's calls: their numbers, what they ask, and the stretches in their days.
    pub(super) fn asked_of<'a>(&'a self, program: &'a Program) -> Vec<(usize, &'a Call, &'a [bool])> {
        let call =
            |(number, within): &'a (usize, Vec<bool>)| Some((*number, program.calls.get(*number)?, within.as_slice()));
        self.calls.iter().filter_map(call).collect()
    }
}

/// A customer and a stretch in one number, customers first.
pub(super) fn entry(customer: u32, stretch: usize) -> u64 {
    (u64::from(customer) << 32) | stretch as u64
}

pub(super) fn customer_of(entry: u64) -> (u32, usize) {
    ((entry >> 32) as u32, (entry & u64::from(u32::MAX)) as usize)
}

/// What was found for one picker.
#[derive(Debug)]
pub(super) enum Found {
    /// Who has a row, by stretch.
    Exists(Vec<Gathering>),
    /// How many rows; never more than the cap.
    Counts(Counting),
    /// How many rows, and what they come to.
    Totals(Totals),
}

/// What a total is of no row. Sums begin at 0; no decimal of 38 digits is as large as these ends.
pub(super) fn nothing(total: Total) -> i128 {
    match total {
        Total::Count | Total::Sum(_) => 0,
        Total::Min(_) => i128::MAX,
        Total::Max(_) => i128::MIN,
    }
}

/// Two parts of a total together.
pub(super) fn together(total: Total, one: i128, other: i128) -> i128 {
    match total {
        Total::Count | Total::Sum(_) => one.saturating_add(other),
        Total::Min(_) => one.min(other),
        Total::Max(_) => one.max(other),
    }
}

impl Found {
    pub(super) fn new(stretches: &Stretches) -> Self {
        match (stretches.cap, stretches.totals.is_empty()) {
            (None, _) => Found::Exists(vec![Gathering::default(); stretches.len()]),
            (Some(cap), true) => Found::Counts(Counting::new(stretches.len(), cap)),
            (Some(_), false) => Found::Totals(Totals::default()),
        }
    }

    /// Adds `count` rows of a customer on a stretch; `values` are the totals of those rows, in the stretches' order.
    pub(super) fn add(
        &mut self,
        stretches: &Stretches,
        customer: u32,
        stretch: usize,
        count: u32,
        values: impl Iterator<Item = i128>,
    ) {
        match self {
            Found::Exists(by_stretch) => {
                if let Some(gathering) = by_stretch.get_mut(stretch) {
                    gathering.add(customer);
                }
            }
            Found::Counts(counts) => counts.add(customer, stretch, count),
            Found::Totals(totals) => totals.add(&stretches.totals, customer, stretch, count, values),
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Found::Exists(by_stretch) => by_stretch.iter().map(Gathering::bytes).sum(),
            Found::Counts(counts) => counts.bytes(),
            Found::Totals(totals) => totals.bytes(),
        }
    }

    /// Who has a row, by stretch; `None` where more than that was asked.
    pub(super) fn existing(&mut self) -> Option<Vec<RoaringBitmap>> {
        let Found::Exists(by_stretch) = self else { return None };
        Some(by_stretch.iter_mut().map(Gathering::take).collect())
    }

    /// Adds customers who have a row on a stretch.
    pub(super) fn add_existing(&mut self, stretch: usize, customers: &RoaringBitmap) {
        if let Found::Exists(by_stretch) = self
            && let Some(gathering) = by_stretch.get_mut(stretch)
        {
            gathering.add_all(customers);
        }
    }

    /// Shows every entry, by customer and then stretch: its number of rows, and what they come to.
    pub(super) fn entries(&mut self, stretches: &Stretches, mut show: impl FnMut(u32, usize, u32, &[i128])) {
        match self {
            Found::Exists(_) => {}
            Found::Counts(counts) => counts.entries(|customer, stretch, count| show(customer, stretch, count, &[])),
            Found::Totals(totals) => totals.entries(&stretches.totals, show),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_are_gathered_whatever_they_are_kept_in() {
        let close = |n: u32| n * 7_919 % 30_000;
        let far = |n: u32| n * 7_919 % 30_000 * 1_000;
        // Close together, then one far beyond; far apart; few.
        for (customers, is_flat) in [
            ((0..40_000).map(close).chain([5_000_000]).collect::<Vec<u32>>(), true),
            ((0..40_000).map(far).collect(), false),
            ((0..50).map(close).collect(), false),
        ] {
            let mut gathering = Gathering::default();
            customers.iter().for_each(|customer| gathering.add(*customer));
            assert_eq!(!gathering.flat.is_empty(), is_flat);
            let more = RoaringBitmap::from([1, 7_000_000]);
            gathering.add_all(&more);
            assert!(gathering.bytes() > 0);
            assert_eq!(gathering.take(), customers.into_iter().collect::<RoaringBitmap>() | more);
            assert_eq!(gathering.take(), RoaringBitmap::new(), "what was taken is gone");
        }
    }
}
