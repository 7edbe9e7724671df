//! The answers of several partitions together: what each has found comes sorted by customer, so the parts are walked side by
//! side, without being gathered anew. Pickers have nothing to do with each other and are dealt out to several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use roaring::RoaringBitmap;

use super::answers::{Answer, Rows, of_existing, unanswered};
use super::found::Stretches;
use crate::segments::compile::program::{Call, Program};

/// The answer of every call, in their order, from the parts that [`super::answers::write_found`] wrote.
///
/// # Errors
/// Bytes that are none of its.
pub(super) fn merged(
    program: &Program,
    stretches: &[Stretches],
    parts: &[Vec<u8>],
    threads: usize,
) -> Result<Vec<Answer>> {
    let by_part = parts.iter().map(|part| by_picker(part, stretches.len())).collect::<Result<Vec<_>>>()?;
    // Some pickers have found a thousand times as much as others: whoever is done takes the next.
    let next = AtomicUsize::new(0);
    let of_thread = &|| -> Result<Vec<(usize, Answer)>> {
        let mut answers = Vec::new();
        loop {
            let picker = next.fetch_add(1, Ordering::Relaxed);
            let Some(own) = stretches.get(picker) else { return Ok(answers) };
            let parts: Vec<&[u8]> = by_part.iter().filter_map(|part| part.get(picker).copied()).collect();
            answers.extend(of_picker(program, own, &parts)?);
        }
    };
    let threads = threads.clamp(1, stretches.len().max(1));
    let found = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(of_thread)).collect();
        let mut found = of_thread()?;
        for other in others {
            found.extend(other.join().map_err(|_| exec_datafusion_err!("a thread that merged answers failed"))??);
        }
        Ok::<_, datafusion::error::DataFusionError>(found)
    })?;
    let mut answers = unanswered(program);
    for (call, answer) in found {
        if let Some(place) = answers.get_mut(call) {
            *place = answer;
        }
    }
    Ok(answers)
}

fn cut_short() -> datafusion::error::DataFusionError {
    exec_datafusion_err!("a part of the segments' answers is cut short")
}

/// Takes the next bytes of a part.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk().ok_or_else(cut_short)?;
    *bytes = rest;
    Ok(*first)
}

/// What a part has of each picker: behind the length of each.
pub(super) fn by_picker(mut bytes: &[u8], pickers: usize) -> Result<Vec<&[u8]>> {
    let mut all = Vec::with_capacity(pickers);
    for _ in 0..pickers {
        let length = usize::try_from(u64::from_le_bytes(take(&mut bytes)?)).map_err(|_| cut_short())?;
        let (own, rest) = bytes.split_at_checked(length).ok_or_else(cut_short)?;
        all.push(own);
        bytes = rest;
    }
    Ok(all)
}

fn of_picker(program: &Program, own: &Stretches, parts: &[&[u8]]) -> Result<Vec<(usize, Answer)>> {
    let mut answers = unanswered(program);
    if own.only_existence() {
        let mut existing = vec![RoaringBitmap::new(); own.len()];
        for mut part in parts.iter().copied() {
            for customers in &mut existing {
                *customers |= RoaringBitmap::deserialize_from(&mut part)?;
            }
        }
        of_existing(program, own, &existing, &mut answers);
    } else {
        of_entries(program, own, parts, &mut answers)?;
    }
    let mine = |(number, _): &(usize, Vec<bool>)| Some((*number, std::mem::take(answers.get_mut(*number)?)));
    Ok(own.calls.iter().filter_map(mine).collect())
}

/// One part's entries of a picker, the present one taken apart.
struct Walk<'a> {
    rest: &'a [u8],
    totals: usize,
    customer: u32,
    stretch: u32,
    count: u32,
    values: &'a [u8],
}

impl<'a> Walk<'a> {
    /// At the first entry; none where there is no entry.
    fn new(bytes: &'a [u8], totals: usize) -> Result<Option<Self>> {
        let mut walk = Self { rest: bytes, totals, customer: 0, stretch: 0, count: 0, values: &[] };
        Ok(walk.step()?.then_some(walk))
    }

    /// Goes on to the next entry, if there is one.
    fn step(&mut self) -> Result<bool> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        self.customer = u32::from_le_bytes(take(&mut self.rest)?);
        self.stretch = u32::from_le_bytes(take(&mut self.rest)?);
        self.count = u32::from_le_bytes(take(&mut self.rest)?);
        let (values, rest) = self.rest.split_at_checked(self.totals * size_of::<i128>()).ok_or_else(cut_short)?;
        (self.values, self.rest) = (values, rest);
        Ok(true)
    }

    fn values(&self) -> impl Iterator<Item = i128> {
        let (values, _) = self.values.as_chunks::<16>();
        values.iter().map(|value| i128::from_le_bytes(*value))
    }
}

fn of_entries(program: &Program, own: &Stretches, parts: &[&[u8]], answers: &mut [Answer]) -> Result<()> {
    let calls: Vec<(usize, &Call, &[bool])> = own.asked_of(program);
    let mut walks = Vec::new();
    for part in parts {
        walks.extend(Walk::new(part, own.totals.len())?);
    }
    let mut rows = Rows::default();
    // Parts are few: the least is found by looking at all of them.
    while let Some(customer) = walks.iter().map(|walk| walk.customer).min() {
        rows.clear();
        let mut place = 0;
        while let Some(walk) = walks.get_mut(place) {
            let mut goes_on = true;
            while goes_on && walk.customer == customer {
                rows.add(own, walk.stretch as usize, walk.count, walk.values());
                goes_on = walk.step()?;
            }
            if goes_on {
                place += 1;
            } else {
                walks.remove(place);
            }
        }
        rows.settle(customer, own, &calls, answers);
    }
    Ok(())
}
