//! Which ids occur more than once, and where their rows are.

use std::collections::HashMap;

use super::places::Place;

/// The 64-bit hashes of ids in the order in which their rows were read, and where those rows are.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    hashes: Vec<u64>,
    /// Where a run of rows that follow each other begins: its first hash, and the place of that one's row.
    runs: Vec<(usize, Place)>,
}

impl Hashes {
    /// Bytes a row takes where rows follow each other, and where they do not.
    pub(super) const BYTES: [usize; 2] = [size_of::<u64>(), size_of::<u64>() + size_of::<(usize, Place)>()];

    /// None yet, with room for so many.
    pub(super) fn with_room(rows: usize) -> Self {
        Self { hashes: Vec::with_capacity(rows), runs: Vec::new() }
    }

    pub(super) fn push(&mut self, hash: u64, place: Place) {
        let follows = self.runs.last().is_some_and(|(first, start)| {
            start.file() == place.file() && start.after(self.hashes.len() - first) == place
        });
        if !follows {
            self.runs.push((self.hashes.len(), place));
        }
        self.hashes.push(hash);
    }

    /// Rows that follow each other, from `place` on.
    pub(super) fn extend(&mut self, hashes: &[u64], place: Place) {
        if let Some((first, rest)) = hashes.split_first() {
            self.push(*first, place);
            self.hashes.extend_from_slice(rest);
        }
    }

    /// The places of the rows with one of some hashes.
    fn places_of(&self, wanted: &Sieve, out: &mut Vec<Place>) {
        for (number, (first, start)) in self.runs.iter().enumerate() {
            let end = self.runs.get(number + 1).map_or(self.hashes.len(), |(next, _)| *next);
            for (offset, hash) in self.hashes[*first..end].iter().enumerate() {
                if wanted.holds(*hash) {
                    out.push(start.after(offset));
                }
            }
        }
    }
}

/// What some threads find, each in its own share of the work; in no order that means anything.
pub(super) fn shared<T: Send>(threads: usize, find: impl Fn(usize) -> Vec<T> + Sync) -> Vec<T> {
    let find = &find;
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|share| scope.spawn(move || find(share))).collect();
        let mut found = find(0);
        for other in others {
            found.append(&mut other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    })
}

/// Whose share a hash is; equal hashes are in one. The bits that decide most are none of those that `Bits` goes by, and no
/// division is needed.
pub(super) fn share_of(hash: u64, threads: usize) -> usize {
    let middle = (hash >> 16) & u64::from(u32::MAX);
    usize::try_from((middle * threads as u64) >> 32).unwrap_or(0)
}

/// Hashes that occur more than once, sorted.
pub(super) fn repeated(parts: &[Hashes], threads: usize) -> Vec<u64> {
    let mut repeated = shared(threads, |share| repeated_among(parts, |hash| share_of(hash, threads) == share, threads));
    repeated.sort_unstable();
    repeated
}

/// Hashes whose places in the table of bits are fetched at once: one after the other, each would wait for memory.
const BLOCK: usize = 64;

/// Those hashes of one of so many shares that occur more than once, each once.
///
/// A table of bits says of nearly every hash that it is the first of its kind; the few others are counted exactly.
fn repeated_among(parts: &[Hashes], is_own: impl Fn(u64) -> bool, shares: usize) -> Vec<u64> {
    let keys: usize = parts.iter().map(|part| part.hashes.len()).sum();
    let mut seen = Bits::for_keys(keys / shares);
    let mut doubtful = Vec::new();
    let mut own = [0; BLOCK];
    for block in parts.iter().flat_map(|part| part.hashes.chunks(BLOCK)) {
        let mut count = 0;
        for hash in block {
            own[count] = *hash;
            count += usize::from(is_own(*hash));
        }
        let own = &own[..count];
        std::hint::black_box(own.iter().fold(false, |any, hash| any | seen.get(*hash)));
        doubtful.extend(own.iter().filter(|hash| seen.set(**hash)));
    }
    drop(seen);
    doubtful.sort_unstable();
    doubtful.dedup();
    let sieve = Sieve::of(&doubtful);
    let mut counts: HashMap<u64, bool> = doubtful.iter().map(|hash| (*hash, false)).collect();
    let mut repeated = Vec::new();
    let all = parts.iter().flat_map(|part| &part.hashes);
    for hash in all.filter(|hash| sieve.may_hold(**hash)) {
        match counts.get_mut(hash) {
            Some(once) if *once => repeated.push(*hash),
            Some(once) => *once = true,
            None => {}
        }
    }
    repeated.sort_unstable();
    repeated.dedup();
    repeated
}

/// The places of all rows with one of the hashes, which are sorted.
pub(super) fn places(parts: &[Hashes], wanted: &[u64], threads: usize) -> Vec<Place> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let sieve = Sieve::of(wanted);
    shared(threads, |share| {
        let mut places = Vec::new();
        for part in parts.iter().skip(share).step_by(threads) {
            part.places_of(&sieve, &mut places);
        }
        places
    })
}

/// Sorted hashes that are asked for much more often than they are there.
struct Sieve<'a> {
    sorted: &'a [u64],
    bits: Bits,
}

impl<'a> Sieve<'a> {
    fn of(sorted: &'a [u64]) -> Self {
        let mut bits = Bits::for_keys(sorted.len());
        for hash in sorted {
            bits.set(*hash);
        }
        Self { sorted, bits }
    }

    fn may_hold(&self, hash: u64) -> bool {
        self.bits.get(hash)
    }

    fn holds(&self, hash: u64) -> bool {
        self.may_hold(hash) && self.sorted.binary_search(&hash).is_ok()
    }
}

/// A table of bits, sixteen a key, so that one in sixteen other keys at most falls on a bit that is set.
struct Bits {
    words: Vec<u64>,
    mask: usize,
}

impl Bits {
    fn for_keys(keys: usize) -> Self {
        let words = (keys / 4).max(1).next_power_of_two();
        Self { words: vec![0; words], mask: words - 1 }
    }

    /// Hashes are well mixed: their low bits choose the word, their high ones the bit.
    fn of(&self, hash: u64) -> (usize, u64) {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let word = hash as usize & self.mask;
        (word, 1 << (hash >> 58))
    }

    fn get(&self, hash: u64) -> bool {
        let (word, bit) = self.of(hash);
        self.words[word] & bit != 0
    }

    /// Sets a key's bit and says whether it was set before.
    fn set(&mut self, hash: u64) -> bool {
        let (word, bit) = self.of(hash);
        let before = self.words[word] & bit != 0;
        self.words[word] |= bit;
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that is well mixed, as XXH64's are.
    fn mixed(n: u64) -> u64 {
        twox_hash::XxHash64::oneshot(0, &n.to_le_bytes())
    }

    fn hashes(file: i32, values: &[u64]) -> Hashes {
        let mut hashes = Hashes::default();
        hashes.extend(values, Place::new(file, 0));
        hashes
    }

    #[test]
    fn repeated_ids_are_found_across_parts() {
        for threads in 1..4 {
            assert_eq!(repeated(&[hashes(0, &[3, 1]), hashes(1, &[2, 3]), hashes(2, &[3])], threads), [3]);
            assert!(repeated(&[], threads).is_empty());
        }
    }

    #[test]
    fn every_repeated_id_is_found_and_no_other() {
        let all: Vec<u64> = (0..40_000).map(mixed).collect();
        let again: Vec<u64> = (0..40_000).step_by(97).map(mixed).collect();
        let mut expected = again.clone();
        expected.sort_unstable();
        for threads in 1..4 {
            assert_eq!(repeated(&[hashes(0, &all), hashes(1, &again)], threads), expected);
        }
    }

    #[test]
    fn places_are_told_of_runs_and_of_single_rows() {
        let mut part = Hashes::default();
        part.extend(&[10, 11, 12], Place::new(0, 5));
        part.extend(&[13, 11], Place::new(0, 8));
        part.push(11, Place::new(0, 20));
        part.push(14, Place::new(0, 21));
        part.extend(&[11], Place::new(1, 0));
        assert_eq!(part.runs.len(), 3);
        let parts = [part, hashes(2, &[14, 15])];
        let expected = [(0, 6), (0, 9), (0, 20), (0, 21), (1, 0), (2, 0)].map(|(file, row)| Place::new(file, row));
        for threads in 1..4 {
            let mut found = places(&parts, &[11, 14], threads);
            found.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
