//! From what was found to the answer of every call, and both as bytes: between partitions, and to whoever asked.

use datafusion::error::Result;
use roaring::RoaringBitmap;

use super::found::{Found, Stretches};
use super::merged::{by_picker, take};
use crate::segments::compile::holds_without_rows;
use crate::segments::compile::program::{Call, Program};

/// Who satisfies a call: these customers, or all but these.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Whether it is all but the customers.
    pub all_but: bool,
    /// The customers.
    pub customers: RoaringBitmap,
}

/// The answers as they are when nobody has a row.
pub(super) fn unanswered(program: &Program) -> Vec<Answer> {
    let answer = |call: &Call| Answer { all_but: holds_without_rows(&call.asks), customers: RoaringBitmap::new() };
    program.calls.iter().map(answer).collect()
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
            found.entries(own, |customer, stretch, count, totals| {
                bytes.extend_from_slice(&customer.to_le_bytes());
                bytes.extend_from_slice(&u32::try_from(stretch).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend_from_slice(&count.to_le_bytes());
                totals.iter().for_each(|total| bytes.extend_from_slice(&total.to_le_bytes()));
            });
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
