//! How the pickers of a program are found.
//!
//! Rows are split by their type first. Within a type a picker that asks for an id, a category or another known value is
//! found by the row's own value; only pickers that ask for none are looked at for every row of the type.

use std::sync::Arc;

use super::codes::Codes;
use super::columns::Rows;
use super::found::Stretches;
use crate::segments::compile::program::{Key, Program, Total};

/// A program, and how its pickers are found.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) program: Arc<Program>,
    pub(super) stretches: Vec<Stretches>,
    pub(super) pickers: Vec<Ready>,
    /// By key, what a scan knows of its codes before the first row.
    pub(super) codes: Vec<Codes>,
    /// By axis, where the days of some call begin or end: on a span between, every picker stays on one stretch.
    pub(super) cuts: Vec<Vec<i64>>,
    /// Pickers by the code of the type that they ask for.
    pub(super) by_kind: Vec<Group>,
    /// Pickers that ask for no type.
    pub(super) of_any_kind: Group,
}

/// A picker as rows meet it.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) axis: usize,
    /// By the span of the axis, the stretch; [`NOT_ASKED`] where no call asks about it.
    pub(super) stretch_of: Vec<u32>,
    pub(super) flags: Vec<usize>,
    /// The keys beside the type and the one that it is found by, each with the codes of which one must be the row's.
    pub(super) keys: Vec<(usize, Vec<u32>)>,
    /// The measures of its totals; none for a count.
    pub(super) measures: Vec<(Total, usize)>,
}

/// A stretch that no call asks about.
pub(super) const NOT_ASKED: u32 = u32::MAX;

/// Pickers for rows of one type.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// On which days some picker asks about rows: by axis, by span.
    asked: Vec<(usize, Vec<bool>)>,
    pub(super) keyed: Vec<Keyed>,
    /// Pickers that ask for no value.
    pub(super) plain: Vec<u32>,
}

/// Pickers of one axis that are found by one key.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) key: usize,
    pub(super) axis: usize,
    /// On which days some picker asks about rows: by span.
    pub(super) asked: Vec<bool>,
    /// By the code of a value, the pickers that ask for it.
    by_code: Vec<Vec<u32>>,
    /// Its number among all of them.
    pub(super) number: usize,
}

/// Which rows of a batch are on days that some picker asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    Some,
    None,
}

impl Index {
    pub(super) fn new(program: Arc<Program>) -> Self {
        let stretches: Vec<Stretches> =
            (0..program.pickers.len()).map(|picker| Stretches::of(picker, &program.calls)).collect();
        let cuts = (0..program.axes).map(|axis| {
            let own = program.pickers.iter().zip(&stretches).filter(|(picker, _)| picker.axis == axis);
            let mut cuts: Vec<i64> = own.flat_map(|(_, stretches)| stretches.ends()).copied().collect();
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        });
        let cuts: Vec<Vec<i64>> = cuts.collect();
        let mut by_kind = Vec::new();
        if let Some(kind) = program.kind.and_then(|kind| program.keys.get(kind)) {
            by_kind.resize_with(kind.values.len(), Group::default);
        }
        let mut of_any_kind = Group::default();
        let mut pickers: Vec<Ready> = Vec::new();
        let mut sites = 0;
        for (number, (picker, stretches)) in program.pickers.iter().zip(&stretches).enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let kinds = program.kind.and_then(|kind| picker.keys.iter().find(|(key, _)| *key == kind));
            // The key of the fewest values is the most telling; exact values before paths, paths before lists.
            let telling = picker
                .keys
                .iter()
                .filter(|(key, _)| Some(*key) != program.kind)
                .min_by_key(|(key, codes)| (codes.len(), program.keys.get(*key).map(|key| key.lookup), *key));
            let axis = picker.axis;
            let stretch_of = cuts.get(axis).map_or_else(Vec::new, |cuts| stretches_by_span(stretches, cuts));
            let mut add =
                |group: &mut Group| group.add(number, (axis, &stretch_of), telling, &program.keys, &mut sites);
            match kinds {
                None => add(&mut of_any_kind),
                Some((_, codes)) => {
                    codes.iter().for_each(|kind| by_kind.get_mut(*kind as usize).into_iter().for_each(&mut add));
                }
            }
            // Two parameters may ask about one column: the row was found by one of the two.
            let found_by =
                |asked: &(usize, Vec<u32>)| [kinds, telling].into_iter().flatten().any(|by| std::ptr::eq(by, asked));
            let measures = stretches.totals.iter().filter_map(|total| match total {
                Total::Sum(measure) | Total::Min(measure) | Total::Max(measure) => Some((*total, *measure)),
                Total::Count => None,
            });
            pickers.push(Ready {
                axis,
                stretch_of,
                flags: picker.flags.clone(),
                keys: picker.keys.iter().filter(|asked| !found_by(asked)).cloned().collect(),
                measures: measures.collect(),
            });
        }
        let codes = program.keys.iter().map(Codes::new).collect();
        Self { program, stretches, pickers, codes, cuts, by_kind, of_any_kind }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.by_kind.iter().chain([&self.of_any_kind])
    }
}

/// The stretch on each span of an axis.
fn stretches_by_span(stretches: &Stretches, cuts: &[i64]) -> Vec<u32> {
    // The first instant of a span decides: stretches end where spans do.
    let number = |stretch: usize| u32::try_from(stretch).unwrap_or(NOT_ASKED);
    let firsts = std::iter::once(i64::MIN).chain(cuts.iter().copied());
    firsts.map(|first| stretches.at(first).map_or(NOT_ASKED, number)).collect()
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.keyed.is_empty() && self.plain.is_empty()
    }

    /// Adds a picker, of which `days` has the axis and by span the stretch.
    fn add(
        &mut self,
        picker: u32,
        days: (usize, &[u32]),
        telling: Option<&(usize, Vec<u32>)>,
        keys: &[Key],
        sites: &mut usize,
    ) {
        let (axis, stretch_of) = days;
        let place = self.asked.iter().position(|(known, _)| *known == axis).unwrap_or_else(|| {
            self.asked.push((axis, vec![false; stretch_of.len()]));
            self.asked.len() - 1
        });
        if let Some((_, asked)) = self.asked.get_mut(place) {
            add_days(asked, stretch_of);
        }
        let Some((key, codes)) = telling else { return self.plain.push(picker) };
        let place = self.keyed.iter().position(|known| (known.key, known.axis) == (*key, axis)).unwrap_or_else(|| {
            let values = keys.get(*key).map_or(0, |key| key.values.len());
            let (asked, by_code) = (vec![false; stretch_of.len()], vec![Vec::new(); values]);
            self.keyed.push(Keyed { key: *key, axis, asked, by_code, number: *sites });
            *sites += 1;
            self.keyed.len() - 1
        });
        let Some(keyed) = self.keyed.get_mut(place) else { return };
        add_days(&mut keyed.asked, stretch_of);
        for code in codes {
            if let Some(pickers) = keyed.by_code.get_mut(*code as usize) {
                pickers.push(picker);
            }
        }
    }

    /// Which rows of a batch are on days that some picker asks about.
    pub(super) fn asks(&self, rows: &Rows) -> Asked {
        let mut some = Asked::None;
        for (axis, asked) in &self.asked {
            let present = rows.spans.get(*axis).and_then(|spans| spans.present.clone());
            let asked = present.and_then(|present| asked.get(present)).unwrap_or_default();
            if !asked.is_empty() && asked.iter().all(|asked| *asked) {
                return Asked::All;
            }
            if asked.is_empty() || asked.contains(&true) {
                some = Asked::Some;
            }
        }
        some
    }

    /// Whether some picker asks about the day of a row.
    pub(super) fn asks_about(&self, rows: &Rows, row: usize) -> bool {
        self.asked.iter().any(|(axis, asked)| {
            let span = rows.spans.get(*axis).and_then(|spans| spans.by_row.get(row));
            span.and_then(|span| asked.get(*span as usize)).copied().unwrap_or_default()
        })
    }
}

fn add_days(asked: &mut [bool], stretch_of: &[u32]) {
    asked.iter_mut().zip(stretch_of).for_each(|(asked, stretch)| *asked |= *stretch != NOT_ASKED);
}

impl Keyed {
    /// The pickers that ask for one of some codes.
    pub(super) fn of_codes(&self, codes: &[u32]) -> Box<[u32]> {
        let of_code = |code: &u32| self.by_code.get(*code as usize).map(Vec::as_slice).unwrap_or_default();
        let mut pickers: Vec<u32> = codes.iter().flat_map(of_code).copied().collect();
        pickers.sort_unstable();
        pickers.dedup();
        pickers.into()
    }
}
