//! An axis of days or instants, cut where the days of some call begin or end.

/// Places of the table by which cuts are found.
const TABLE: u64 = 1 << 12;

/// The cuts of an axis, in order. Between two of them lies a *span*; spans are numbered from that before the first cut.
#[derive(Debug)]
pub(super) struct Cuts {
    cuts: Vec<i64>,
    /// How far apart the instants of two neighbours in the table are, as a power of two.
    shift: u32,
    /// By distance from the first cut, the span of the first instant at that distance: few cuts are left to choose among, where
    /// halving all of them takes many steps, each to be guessed by the processor.
    table: Vec<u32>,
}

impl Cuts {
    /// Of cuts in any order.
    pub(super) fn new(mut cuts: Vec<i64>) -> Self {
        cuts.sort_unstable();
        cuts.dedup();
        let (first, last) = (cuts.first().copied().unwrap_or(0), cuts.last().copied().unwrap_or(0));
        let length = last.wrapping_sub(first) as u64;
        let shift = (0..u64::BITS).find(|shift| length >> shift < TABLE).unwrap_or(u64::BITS - 1);
        let starts = (0..=length >> shift).map(|place| first.wrapping_add((place << shift) as i64));
        let table = starts.map(|start| number(cuts.partition_point(|cut| *cut <= start))).collect();
        Self { cuts, shift, table }
    }

    /// The first instants of all spans.
    pub(super) fn firsts(&self) -> impl Iterator<Item = i64> {
        std::iter::once(i64::MIN).chain(self.cuts.iter().copied())
    }

    /// The span of an instant.
    pub(super) fn span(&self, at: i64) -> u32 {
        let (Some(first), Some(last)) = (self.cuts.first(), self.cuts.last()) else { return 0 };
        if at < *first {
            return 0;
        }
        if at >= *last {
            return number(self.cuts.len());
        }
        let place = at.wrapping_sub(*first) as u64 >> self.shift;
        let spans = self.table.get(place as usize..).unwrap_or_default();
        let low = spans.first().map_or(0, |span| *span as usize);
        let high = spans.get(1).map_or(self.cuts.len(), |span| *span as usize);
        let between = self.cuts.get(low..high).unwrap_or_default();
        number(low + between.partition_point(|cut| *cut <= at))
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instant_has_its_span() {
        let day = 86_400_000_000;
        let days: Vec<i64> = (0..400).map(|n| n * day - n % 2 * 3_600_000_000).collect();
        for cuts in [
            vec![],
            vec![5],
            vec![i64::MIN, i64::MAX],
            vec![-3, 7, 7, 2, i64::MAX],
            vec![0, 1, 2, 3 * day, 3 * day + 1],
            days,
        ] {
            let ready = Cuts::new(cuts.clone());
            let near = cuts.iter().flat_map(|cut| [cut.saturating_sub(1), *cut, cut.saturating_add(1)]);
            for at in near.chain([i64::MIN, -1, 0, 1, i64::MAX]) {
                let mut before: Vec<i64> = cuts.iter().copied().filter(|cut| *cut <= at).collect();
                before.sort_unstable();
                before.dedup();
                assert_eq!(ready.span(at) as usize, before.len(), "{at} in {cuts:?}");
            }
            assert!(ready.table.len() as u64 <= TABLE);
        }
    }
}
