//! From what was found to the answer of every call, and both as bytes: between partitions, and to whoever asked.

use datafusion::error::Result;
use roaring::RoaringBitmap;

use super::found::{Found, Stretches, nothing, together};
use super::merged::{by_picker, take};
use crate::segments::compile::holds_without_rows;
use crate::segments::compile::program::{Call, Program, Total};

/// Who satisfies a call: these customers, or all but these.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Whether it is all but the customers.
    pub all_but: bool,
    /// The customers.
    pub customers: RoaringBitmap,
}

/// The answer of every call, in their order.
pub(super) fn answers(program: &Program, stretches: &[Stretches], found: &mut [Found]) -> Vec<Answer> {
    let mut answers = unanswered(program);
    for (own, found) in stretches.iter().zip(found) {
        match found.existing() {
            Some(existing) => of_existing(program, own, &existing, &mut answers),
            None => of_entries(program, own, found, &mut answers),
        }
    }
    answers
}

/// The answers as they are when nobody has a row.
pub(super) fn unanswered(program: &Program) -> Vec<Answer> {
    let answer = |call: &Call| Answer { all_but: holds_without_rows(&call.asks), customers: RoaringBitmap::new() };
    program.calls.iter().map(answer).collect()
}

/// Where only existence is asked, all rows are alike: a call holds for everybody who has one, or for nobody who has.
pub(super) fn of_existing(
    program: &Program,
    stretches: &Stretches,
    existing: &[RoaringBitmap],
    answers: &mut [Answer],
) {
    for (number, within) in &stretches.calls {
        let (Some(call), Some(answer)) = (program.calls.get(*number), answers.get_mut(*number)) else { continue };
        let with_rows = call.asks.iter().all(|(_, spans)| spans.contains(Some(1)));
        if with_rows != answer.all_but {
            let some = existing.iter().zip(within).filter(|(_, within)| **within).map(|(customers, _)| customers);
            some.for_each(|customers| answer.customers |= customers);
        }
    }
}

fn of_entries(program: &Program, stretches: &Stretches, found: &mut Found, answers: &mut [Answer]) {
    let calls = stretches.asked_of(program);
    let mut rows = Rows::default();
    let mut customer = None;
    for entry in found.entries(stretches) {
        if let Some(before) = customer.filter(|before| *before != entry.customer) {
            rows.settle(before, stretches, &calls, answers);
            rows.clear();
        }
        customer = Some(entry.customer);
        rows.add(stretches, entry.stretch, entry.count, entry.totals.iter().copied());
    }
    if let Some(last) = customer {
        rows.settle(last, stretches, &calls, answers);
    }
}

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

    /// Notes for each call whether it holds for the customer.
    pub(super) fn settle(
        &self,
        customer: u32,
        stretches: &Stretches,
        calls: &[(usize, &Call, &[bool])],
        answers: &mut [Answer],
    ) {
        for (number, call, within) in calls {
            let holds = self.satisfy(call, stretches, within);
            if let Some(answer) = answers.get_mut(*number)
                && holds != answer.all_but
            {
                // Customers come in their order, so that none is refused.
                let _ = answer.customers.try_push(customer);
            }
        }
    }

    fn satisfy(&self, call: &Call, stretches: &Stretches, within: &[bool]) -> bool {
        let is_inside = |stretch: usize| within.get(stretch) == Some(&true);
        if call.asks.is_empty() {
            return self.by_stretch.iter().any(|(stretch, _)| is_inside(*stretch));
        }
        call.asks.iter().all(|(total, spans)| {
            if *total == Total::Count {
                let inside = self.by_stretch.iter().filter(|(stretch, _)| is_inside(*stretch));
                return spans.contains(Some(inside.map(|(_, count)| i128::from(*count)).sum()));
            }
            let Some(place) = stretches.totals.iter().position(|known| known == total) else { return false };
            let parts = self.by_stretch.iter().zip(self.totals.chunks(stretches.totals.len()));
            let inside = parts.filter(|((stretch, _), _)| is_inside(*stretch)).filter_map(|(_, own)| own.get(place));
            let value = inside.fold(nothing(*total), |value, part| together(*total, value, *part));
            let missing = !matches!(total, Total::Sum(_)) && value == nothing(*total);
            spans.contains((!missing).then_some(value))
        })
    }
}

/// The answers as bytes.
pub(super) fn write_answers(answers: &[Answer]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for answer in answers {
        bytes.push(u8::from(answer.all_but));
        answer.customers.serialize_into(&mut bytes)?;
    }
    Ok(bytes)
}

/// Answers that were written as bytes.
///
/// # Errors
/// Bytes that are none.
pub fn read_answers(mut bytes: &[u8]) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    while let Some((flag, rest)) = bytes.split_first() {
        bytes = rest;
        let customers = RoaringBitmap::deserialize_from(&mut bytes)?;
        answers.push(Answer { all_but: *flag == 1, customers });
    }
    Ok(answers)
}

/// What one partition found, as bytes: for each picker their length, then the bitmaps of its stretches, or its entries in
/// their order.
pub(super) fn write_found(stretches: &[Stretches], found: &mut [Found]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (own, found) in stretches.iter().zip(found) {
        let length_at = bytes.len();
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        let begin = bytes.len();
        if let Some(existing) = found.existing() {
            for customers in &existing {
                customers.serialize_into(&mut bytes)?;
            }
        } else {
            for entry in found.entries(own) {
                bytes.extend_from_slice(&entry.customer.to_le_bytes());
                bytes.extend_from_slice(&u32::try_from(entry.stretch).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend_from_slice(&entry.count.to_le_bytes());
                entry.totals.iter().for_each(|total| bytes.extend_from_slice(&total.to_le_bytes()));
            }
        }
        let length = (bytes.len() - begin) as u64;
        if let Some(place) = bytes.get_mut(length_at..begin) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
    Ok(bytes)
}

/// Adds what another partition found.
pub(super) fn read_found(bytes: &[u8], stretches: &[Stretches], found: &mut [Found]) -> Result<()> {
    for ((own, found), mut bytes) in stretches.iter().zip(found).zip(by_picker(bytes, stretches.len())?) {
        if let Found::Exists(by_stretch) = found {
            for stretch in 0..by_stretch.len() {
                let customers = RoaringBitmap::deserialize_from(&mut bytes)?;
                found.add_existing(stretch, &customers);
            }
            continue;
        }
        while !bytes.is_empty() {
            let customer = u32::from_le_bytes(take(&mut bytes)?);
            let stretch = u32::from_le_bytes(take(&mut bytes)?) as usize;
            let count = u32::from_le_bytes(take(&mut bytes)?);
            let mut totals = Vec::with_capacity(own.totals.len());
            for _ in &own.totals {
                totals.push(i128::from_le_bytes(take(&mut bytes)?));
            }
            found.add(own, customer, stretch, count, totals.into_iter());
        }
    }
    Ok(())
}
