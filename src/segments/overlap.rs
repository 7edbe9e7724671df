//! How much segments have in common: for every pair of segments the customers who are in both.

use roaring::RoaringBitmap;

/// What two segments have in common; `a` and `b` are places in the list of segments, `a` before `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overlap {
    /// One segment.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// Customers who are in both; at least one.
    pub both: u64,
}

/// Customers that are counted at a time: as many as a bitmap keeps in one container.
const CHUNK: u32 = 1 << 16;

/// Rows of the matrix of pairs that are counted at a time, so that memory does not grow with the square of the segments.
const ROWS: usize = 2048;

/// The overlaps that are among the `most` largest of one of their two segments, in the order of their places. Among equal
/// ones the segment that comes first counts as larger.
///
/// Every customer's segments are listed, and each pair of the list is counted once: that takes the sum of the squares of
/// the customers' segments, where comparing the bitmaps takes the square of all segments for every customer. The customers
/// are dealt out to so many `threads`.
pub fn largest(members: &[&RoaringBitmap], most: usize, threads: usize) -> Vec<Overlap> {
    let last = members.iter().filter_map(|set| set.max()).max();
    let chunks: Vec<u32> = last.map_or_else(Vec::new, |last| (0..=last / CHUNK).map(|chunk| chunk * CHUNK).collect());
    let mut kept: Vec<Vec<(u64, usize)>> = vec![Vec::new(); members.len()];
    for first in (0..members.len()).step_by(ROWS) {
        let rows = first..(first + ROWS).min(members.len());
        let width = members.len();
        let both = counted(members, &rows, &chunks, threads);
        for (row, counts) in rows.zip(both.chunks(width)) {
            for (column, both) in counts.iter().enumerate().skip(row + 1).filter(|(_, both)| **both > 0) {
                for (own, other) in [(row, column), (column, row)] {
                    if let Some(list) = kept.get_mut(own) {
                        list.push((u64::from(*both), other));
                        // Cut now and then, so that a list holds no more than twice what is kept.
                        if list.len() >= 2 * most.max(1) {
                            cut(list, most);
                        }
                    }
                }
            }
        }
    }
    let mut overlaps = Vec::new();
    for (own, mut list) in kept.into_iter().enumerate() {
        cut(&mut list, most);
        overlaps.extend(list.into_iter().map(|(both, other)| Overlap { a: own.min(other), b: own.max(other), both }));
    }
    overlaps.sort_unstable();
    overlaps.dedup();
    overlaps
}

/// What each pair of a row has in common: the sum of what the threads have counted of their customers.
fn counted(members: &[&RoaringBitmap], rows: &std::ops::Range<usize>, chunks: &[u32], threads: usize) -> Vec<u32> {
    let of_thread = &|thread: usize, step: usize| {
        let mut both = vec![0_u32; rows.len() * members.len()];
        chunks.iter().skip(thread).step_by(step).for_each(|from| count(members, rows, *from, &mut both));
        both
    };
    let threads = threads.clamp(1, chunks.len().max(1));
    if threads == 1 {
        return of_thread(0, 1);
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || of_thread(thread, threads))).collect();
        let mut sum = of_thread(0, threads);
        for (thread, other) in (1..).zip(others) {
            // A thread that failed is done again here, where a failure is the caller's.
            let both = other.join().unwrap_or_else(|_| of_thread(thread, threads));
            sum.iter_mut().zip(both).for_each(|(sum, count)| *sum += count);
        }
        sum
    })
}

fn cut(list: &mut Vec<(u64, usize)>, most: usize) {
    list.sort_unstable_by(|one, other| (other.0, one.1).cmp(&(one.0, other.1)));
    list.truncate(most);
}

/// Counts the pairs of the customers from `from` on, one chunk; `both` has a row for each of `rows`.
fn count(members: &[&RoaringBitmap], rows: &std::ops::Range<usize>, from: u32, both: &mut [u32]) {
    let last = from.saturating_add(CHUNK - 1);
    let width = members.len();
    let place = |customer: u32| (customer - from) as usize;
    // The customers' lists of segments, one after the other.
    let mut ends = vec![0_usize; CHUNK as usize + 1];
    for set in members {
        set.range(from..=last).for_each(|customer| {
            if let Some(end) = ends.get_mut(place(customer) + 1) {
                *end += 1;
            }
        });
    }
    let mut sum = 0;
    for end in &mut ends {
        sum += *end;
        *end = sum;
    }
    let mut lists = vec![0_u32; sum];
    let mut next = ends.clone();
    for (number, set) in members.iter().enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        set.range(from..=last).for_each(|customer| {
            if let Some(next) = next.get_mut(place(customer)) {
                if let Some(entry) = lists.get_mut(*next) {
                    *entry = number;
                }
                *next += 1;
            }
        });
    }
    for list in ends.windows(2).filter_map(|ends| lists.get(*ends.first()?..*ends.last()?)) {
        for (at, one) in list.iter().enumerate() {
            let row = *one as usize;
            if !rows.contains(&row) {
                continue;
            }
            let row = (row - rows.start) * width;
            let Some(counts) = both.get_mut(row..row + width) else { continue };
            for other in list.get(at + 1..).unwrap_or_default() {
                if let Some(count) = counts.get_mut(*other as usize) {
                    *count += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(of: &[&[u32]]) -> Vec<RoaringBitmap> {
        of.iter().map(|customers| customers.iter().copied().collect()).collect()
    }

    fn found(of: &[RoaringBitmap], most: usize, threads: usize) -> Vec<(usize, usize, u64)> {
        let all: Vec<&RoaringBitmap> = of.iter().collect();
        largest(&all, most, threads).into_iter().map(|overlap| (overlap.a, overlap.b, overlap.both)).collect()
    }

    #[test]
    fn pairs_have_what_bitmaps_have_in_common() {
        // Customers over several chunks, segments over several rows' worth.
        let mut seed = 7_u64;
        let mut draw = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u32
        };
        let mut of: Vec<RoaringBitmap> = Vec::new();
        for _ in 0..40 {
            let last = 70_000 + draw() % 3;
            of.push((0..300).map(|_| draw() % 200_000).chain([5, last]).collect());
        }
        let mut expected = Vec::new();
        for a in 0..of.len() {
            for b in a + 1..of.len() {
                expected.push((a, b, of[a].intersection_len(&of[b])));
            }
        }
        expected.retain(|pair| pair.2 > 0);
        for threads in [1, 2, 3, 99] {
            assert_eq!(found(&of, 1000, threads), expected);
        }
    }

    #[test]
    fn a_pair_is_kept_where_it_is_among_the_largest_of_either() {
        let of = sets(&[&[1, 2, 3, 4], &[1, 2, 3], &[1, 2], &[9], &[1]]);
        assert_eq!(found(&of, 1, 2), [(0, 1, 3), (0, 2, 2), (0, 4, 1)]);
        assert_eq!(found(&of, 2, 2), [(0, 1, 3), (0, 2, 2), (0, 4, 1), (1, 2, 2), (1, 4, 1)]);
        assert!(found(&of, 0, 2).is_empty());
        assert!(found(&[], 50, 2).is_empty());
    }
}
