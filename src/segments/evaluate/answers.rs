//! From what was found to the answer of every call, and both as bytes: between partitions, and to whoever asked.

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use roaring::RoaringBitmap;

use super::found::{Entry, Found, Stretches, nothing, together};
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
    let mut answers: Vec<Answer> = program
        .calls
        .iter()
        .map(|call| Answer { all_but: holds_without_rows(&call.asks), customers: RoaringBitmap::new() })
        .collect();
    for (own, found) in stretches.iter().zip(found) {
        match found.existing() {
            Some(existing) => of_existing(program, own, &existing, &mut answers),
            None => of_entries(program, own, found, &mut answers),
        }
    }
    answers
}

/// Where only existence is asked, all rows are alike: a call holds for everybody who has one, or for nobody who has.
fn of_existing(program: &Program, stretches: &Stretches, existing: &[RoaringBitmap], answers: &mut [Answer]) {
    for (number, within) in &stretches.calls {
        let (Some(call), Some(answer)) = (program.calls.get(*number), answers.get_mut(*number)) else { continue };
        let with_rows = call.asks.iter().all(|(_, spans)| spans.contains(Some(1)));
        if with_rows != answer.all_but {
            let some = existing.iter().zip(within).filter(|(_, within)| **within).map(|(customers, _)| customers);
            some.for_each(|customers| answer.customers |= customers);
        }
    }
}

fn of_entries(program: &Program, stretches: &Stretches, found: &Found, answers: &mut [Answer]) {
    let calls: Vec<(usize, &Call, &[bool])> = stretches
        .calls
        .iter()
        .filter_map(|(number, within)| Some((*number, program.calls.get(*number)?, within.as_slice())))
        .collect();
    let mut settle = |rows: &[Entry]| {
        let Some(customer) = rows.first().map(|entry| entry.customer) else { return };
        for (number, call, within) in &calls {
            let inside = || rows.iter().filter(|entry| within.get(entry.stretch) == Some(&true));
            let holds = holds(call, stretches, inside);
            if let Some(answer) = answers.get_mut(*number)
                && holds != answer.all_but
            {
                answer.customers.insert(customer);
            }
        }
    };
    let mut rows: Vec<Entry> = Vec::new();
    for entry in found.entries(stretches) {
        if rows.first().is_some_and(|first| first.customer != entry.customer) {
            settle(&rows);
            rows.clear();
        }
        rows.push(entry);
    }
    settle(&rows);
}

fn holds<'a, I: Iterator<Item = &'a Entry>>(call: &Call, stretches: &Stretches, inside: impl Fn() -> I) -> bool {
    if call.asks.is_empty() {
        return inside().next().is_some();
    }
    call.asks.iter().all(|(total, spans)| match total {
        Total::Count => spans.contains(Some(inside().fold(0_i128, |sum, entry| sum + i128::from(entry.count)))),
        _ => {
            let Some(place) = stretches.totals.iter().position(|known| known == total) else { return false };
            let parts = inside().filter_map(|entry| entry.totals.get(place));
            let value = parts.fold(nothing(*total), |value, part| together(*total, value, *part));
            let missing = !matches!(total, Total::Sum(_)) && value == nothing(*total);
            spans.contains((!missing).then_some(value))
        }
    })
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

/// What one partition found, as bytes.
pub(super) fn write_found(stretches: &[Stretches], found: &mut [Found]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (own, found) in stretches.iter().zip(found) {
        if let Some(existing) = found.existing() {
            for customers in &existing {
                customers.serialize_into(&mut bytes)?;
            }
            continue;
        }
        let count_at = bytes.len();
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        let mut count = 0_u64;
        for entry in found.entries(own) {
            count += 1;
            bytes.extend_from_slice(&entry.customer.to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(entry.stretch).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(&entry.count.to_le_bytes());
            entry.totals.iter().for_each(|total| bytes.extend_from_slice(&total.to_le_bytes()));
        }
        if let Some(place) = bytes.get_mut(count_at..count_at + size_of::<u64>()) {
            place.copy_from_slice(&count.to_le_bytes());
        }
    }
    Ok(bytes)
}

/// Adds what another partition found.
pub(super) fn read_found(mut bytes: &[u8], stretches: &[Stretches], found: &mut [Found]) -> Result<()> {
    for (own, found) in stretches.iter().zip(found) {
        if let Found::Exists(by_stretch) = found {
            for stretch in 0..by_stretch.len() {
                let customers = RoaringBitmap::deserialize_from(&mut bytes)?;
                found.add_existing(stretch, &customers);
            }
            continue;
        }
        for _ in 0..u64::from_le_bytes(take(&mut bytes)?) {
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

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (first, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| exec_datafusion_err!("a part of the segments' answers is cut short"))?;
    *bytes = rest;
    Ok(*first)
}
