//! The answers of several partitions together: what each has found comes sorted by customer, so the parts are walked side by
//! side, without being gathered anew. Pickers have nothing to do with each other, nor have customers: they are dealt out to
//! several threads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use roaring::{MultiOps, RoaringBitmap};

use super::answers::{Answer, unanswered};
use super::found::Stretches;
use super::verdicts::{CHUNK_BITS, Rows, Verdicts};
use crate::segments::compile::holds_without_rows;
use crate::segments::compile::program::Program;

/// What one thread does at a time.
#[derive(Debug, Clone, Copy)]
enum Piece {
    /// All of a picker of which only existence is asked.
    Existence(usize),
    /// A picker's customers of one chunk.
    Chunk(usize, u32),
}

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
    let parts_of = |picker: usize| by_part.iter().filter_map(move |part| part.get(picker).copied());
    let mut pieces = Vec::new();
    for (picker, own) in stretches.iter().enumerate() {
        if own.only_existence() {
            pieces.push(Piece::Existence(picker));
            continue;
        }
        let mut chunks = BTreeSet::new();
        for part in parts_of(picker) {
            chunks.extend(chunks_of(part, own)?);
        }
        pieces.extend(chunks.into_iter().map(|chunk| Piece::Chunk(picker, chunk)));
    }
    // Whoever is done takes the next piece.
    let next = AtomicUsize::new(0);
    let of_thread = &|| -> Result<Vec<(usize, RoaringBitmap)>> {
        let mut answers = Vec::new();
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (Piece::Existence(picker) | Piece::Chunk(picker, _)) = *piece;
            let Some(own) = stretches.get(picker) else { continue };
            match *piece {
                Piece::Existence(_) => of_existence(program, own, parts_of(picker), &mut answers)?,
                Piece::Chunk(_, chunk) => of_chunk(program, own, parts_of(picker), chunk, &mut answers)?,
            }
        }
        Ok(answers)
    };
    let threads = threads.clamp(1, pieces.len().max(1));
    let found = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(of_thread)).collect();
        let mut found = of_thread()?;
        for other in others {
            found.extend(other.join().map_err(|_| exec_datafusion_err!("a thread that merged answers failed"))??);
        }
        Ok::<_, datafusion::error::DataFusionError>(found)
    })?;
    let mut answers = unanswered(program);
    for (call, customers) in found {
        if let Some(answer) = answers.get_mut(call) {
            answer.customers |= customers;
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

fn of_existence<'a>(
    program: &Program,
    own: &Stretches,
    parts: impl Iterator<Item = &'a [u8]>,
    answers: &mut Vec<(usize, RoaringBitmap)>,
) -> Result<()> {
    let mut existing = vec![RoaringBitmap::new(); own.len()];
    for mut part in parts {
        for customers in &mut existing {
            *customers |= RoaringBitmap::deserialize_from(&mut part)?;
        }
    }
    // All rows are alike: a call holds for everybody who has one, or for nobody who has.
    for (number, call, within) in own.asked_of(program) {
        let with_rows = call.asks.iter().all(|(_, spans)| spans.contains(Some(1)));
        if with_rows != holds_without_rows(&call.asks) {
            let some = existing.iter().zip(within).filter(|(_, within)| **within);
            answers.push((number, some.map(|(customers, _)| customers).union()));
        }
    }
    Ok(())
}

/// Bytes of an entry.
fn width(own: &Stretches) -> usize {
    3 * size_of::<u32>() + own.totals.len() * size_of::<i128>()
}

fn customer_at(part: &[u8], width: usize, entry: usize) -> u32 {
    let bytes = part.get(entry * width..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The first entry of a part whose customer is one of the chunk or comes after it.
fn first_of(part: &[u8], width: usize, chunk: u32) -> usize {
    let (mut low, mut high) = (0, part.len() / width);
    while low < high {
        let middle = low.midpoint(high);
        if customer_at(part, width, middle) >> CHUNK_BITS < chunk {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The chunks of the customers whom a part names.
fn chunks_of(part: &[u8], own: &Stretches) -> Result<Vec<u32>> {
    let width = width(own);
    if !part.len().is_multiple_of(width) {
        return Err(cut_short());
    }
    let mut chunks = Vec::new();
    let mut entry = 0;
    while entry < part.len() / width {
        let chunk = customer_at(part, width, entry) >> CHUNK_BITS;
        chunks.push(chunk);
        entry = first_of(part, width, chunk + 1);
    }
    Ok(chunks)
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

fn of_chunk<'a>(
    program: &Program,
    own: &Stretches,
    parts: impl Iterator<Item = &'a [u8]>,
    chunk: u32,
    answers: &mut Vec<(usize, RoaringBitmap)>,
) -> Result<()> {
    let width = width(own);
    let mut walks = Vec::new();
    for part in parts {
        let (first, last) = (first_of(part, width, chunk), first_of(part, width, chunk + 1));
        let entries = part.get(first * width..last * width).ok_or_else(cut_short)?;
        walks.extend(Walk::new(entries, own.totals.len())?);
    }
    let mut verdicts = Verdicts::new(program, own);
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
        verdicts.show(customer, &rows);
    }
    answers.extend(verdicts.customers(chunk));
    Ok(())
}
