//! For whom the calls of a picker hold: from what was found of each customer to a set of customers for each call.
//!
//! Many customers have the same numbers of rows on the same days, and what depends on those alone is decided once for all of
//! them.

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::bits::{CONTAINER_BITS, set_of};
use super::found::{Stretches, nothing, together};
use crate::segments::compile::holds_without_rows;
use crate::segments::compile::program::{Program, Spans, Total};

/// Customers who are decided together: those of one container of a compressed bitmap.
pub(super) const CHUNK_BITS: u32 = CONTAINER_BITS;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Numbers of rows whose verdicts are remembered; where more differ, hardly two customers are alike.
const REMEMBERED: usize = 1 << 12;

/// What was found of one customer for one picker: by stretch how many rows, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Rows {
    by_stretch: Vec<(usize, u32)>,
    /// So many for each stretch as there are totals.
    totals: Vec<i128>,
}

impl Rows {
    pub(super) fn clear(&mut self) {
        self.by_stretch.clear();
        self.totals.clear();
    }

    /// Adds rows of a stretch.
    pub(super) fn add(
        &mut self,
        stretches: &Stretches,
        stretch: usize,
        count: u32,
        values: impl Iterator<Item = i128>,
    ) {
        let width = stretches.totals.len();
        match self.by_stretch.iter().position(|(known, _)| *known == stretch) {
            Some(place) => {
                if let Some((_, known)) = self.by_stretch.get_mut(place) {
                    *known = known.saturating_add(count);
                }
                let known = self.totals.get_mut(place * width..(place + 1) * width).unwrap_or_default();
                for ((known, value), total) in known.iter_mut().zip(values).zip(&stretches.totals) {
                    *known = together(*total, *known, value);
                }
            }
            None => {
                self.by_stretch.push((stretch, count));
                self.totals.extend(values.take(width));
            }
        }
    }
}

/// A call, ready to be decided.
#[derive(Debug)]
struct Question<'a> {
    number: usize,
    /// The verdict on whoever has no row.
    without_rows: bool,
    /// By stretch, whether it is in the call's days.
    within: &'a [bool],
    /// What is asked, each with its place among the totals; none for a count.
    asks: Vec<(Option<(usize, Total)>, &'a Spans)>,
}

impl Question<'_> {
    fn holds(&self, rows: &Rows, width: usize) -> bool {
        let is_inside = |stretch: usize| self.within.get(stretch) == Some(&true);
        if self.asks.is_empty() {
            return rows.by_stretch.iter().any(|(stretch, _)| is_inside(*stretch));
        }
        self.asks.iter().all(|(total, spans)| {
            let Some((place, total)) = *total else {
                let inside = rows.by_stretch.iter().filter(|(stretch, _)| is_inside(*stretch));
                return spans.contains(Some(inside.map(|(_, count)| i128::from(*count)).sum()));
            };
            let parts = rows.by_stretch.iter().zip(rows.totals.chunks(width));
            let inside = parts.filter(|((stretch, _), _)| is_inside(*stretch)).filter_map(|(_, own)| own.get(place));
            let value = inside.fold(nothing(total), |value, part| together(total, value, *part));
            let missing = !matches!(total, Total::Sum(_)) && value == nothing(total);
            spans.contains((!missing).then_some(value))
        })
    }
}

/// The verdicts on the customers of one chunk, who are shown one after the other.
#[derive(Debug)]
pub(super) struct Verdicts<'a> {
    /// Totals of a stretch.
    width: usize,
    /// Calls that only the numbers of rows decide, and the others.
    of_counts: Vec<Question<'a>>,
    of_totals: Vec<Question<'a>>,
    /// Numbers of rows by stretch → which calls of the former are decided otherwise than without rows.
    known: HashMap<Vec<(usize, u32)>, Vec<usize>>,
    /// For each call, those of counts first, the customers on whom the verdict is another one than without rows: a bit each.
    bits: Vec<Vec<u8>>,
}

impl<'a> Verdicts<'a> {
    pub(super) fn new(program: &'a Program, stretches: &'a Stretches) -> Self {
        let place = |total: &Total| {
            let place = stretches.totals.iter().position(|known| known == total)?;
            Some((place, *total))
        };
        let questions = stretches.asked_of(program).into_iter().map(|(number, call, within)| Question {
            number,
            without_rows: holds_without_rows(&call.asks),
            within,
            asks: call.asks.iter().map(|(total, spans)| (place(total), spans)).collect(),
        });
        let (of_counts, of_totals): (Vec<_>, Vec<_>) =
            questions.partition(|question| question.asks.iter().all(|(total, _)| total.is_none()));
        let bits = vec![vec![0; CHUNK / 8]; of_counts.len() + of_totals.len()];
        Self { width: stretches.totals.len(), of_counts, of_totals, known: HashMap::new(), bits }
    }

    /// Decides every call for a customer.
    pub(super) fn show(&mut self, customer: u32, rows: &Rows) {
        let Self { width, of_counts, of_totals, known, bits } = self;
        let place = customer as usize % CHUNK;
        let mut note = |call: usize| {
            if let Some(byte) = bits.get_mut(call).and_then(|bits| bits.get_mut(place / 8)) {
                *byte |= 1 << (place % 8);
            }
        };
        let differs = |question: &Question<'_>| question.holds(rows, *width) != question.without_rows;
        if !of_counts.is_empty() {
            if let Some(calls) = known.get(&rows.by_stretch) {
                calls.iter().copied().for_each(&mut note);
            } else {
                let calls = of_counts.iter().enumerate().filter(|(_, question)| differs(question));
                let calls: Vec<usize> = calls.map(|(call, _)| call).collect();
                calls.iter().copied().for_each(&mut note);
                if known.len() < REMEMBERED {
                    known.insert(rows.by_stretch.clone(), calls);
                }
            }
        }
        let differing = of_totals.iter().enumerate().filter(|(_, question)| differs(question));
        differing.for_each(|(call, _)| note(of_counts.len() + call));
    }

    /// For each call its number, and the customers on whom the verdict is another one than without rows.
    pub(super) fn customers(&self, chunk: u32) -> impl Iterator<Item = (usize, RoaringBitmap)> {
        let questions = self.of_counts.iter().chain(&self.of_totals);
        questions.zip(&self.bits).map(move |(question, bits)| (question.number, set_of(chunk << CHUNK_BITS, bits)))
    }
}
