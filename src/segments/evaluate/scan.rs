//! One partition's scan: each row looks only at the pickers that could pick it.
//!
//! Rows are split by their type first. Within a type a picker that asks for an id, a category or another known value is
//! found by the row's own value; only pickers that ask for none are looked at for every row of the type.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use datafusion::error::Result;

use super::codes::{Codes, NO_CODES};
use super::columns::{Columns, NO_SPAN, NOBODY};
use super::found::{Found, Stretches};
use crate::segments::compile::program::{Key, Program, Total};

/// A program, and how its pickers are found.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) program: Arc<Program>,
    pub(super) stretches: Vec<Stretches>,
    pickers: Vec<Ready>,
    /// By axis, where the days of some call begin or end: on a span between, every picker stays on one stretch.
    cuts: Vec<Vec<i64>>,
    /// Pickers by the code of the type that they ask for.
    by_kind: Vec<Group>,
    /// Pickers that ask for no type.
    of_any_kind: Group,
}

/// A picker as rows meet it.
#[derive(Debug)]
struct Ready {
    axis: usize,
    /// By the span of the axis, the stretch; [`NOT_ASKED`] where no call asks about it.
    stretch_of: Vec<u32>,
    flags: Vec<usize>,
    /// The keys beside the type and the one that it is found by, each with the codes of which one must be the row's.
    keys: Vec<(usize, Vec<u32>)>,
    /// The measures of its totals; none for a count.
    measures: Vec<(Total, usize)>,
}

/// A stretch that no call asks about.
const NOT_ASKED: u32 = u32::MAX;

/// Pickers for rows of one type.
#[derive(Debug, Default)]
struct Group {
    keyed: Vec<Keyed>,
    /// Pickers that ask for no value.
    plain: Vec<u32>,
}

/// Pickers that are found by one key.
#[derive(Debug)]
struct Keyed {
    key: usize,
    /// By the code of a value, the pickers that ask for it.
    by_code: Vec<Vec<u32>>,
    /// Its number among all of them.
    number: usize,
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
        let mut pickers = Vec::new();
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
            let mut add = |group: &mut Group| group.add(number, telling, &program.keys, &mut sites);
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
                axis: picker.axis,
                stretch_of: cuts.get(picker.axis).map_or_else(Vec::new, |cuts| stretches_by_span(stretches, cuts)),
                flags: picker.flags.clone(),
                keys: picker.keys.iter().filter(|asked| !found_by(asked)).cloned().collect(),
                measures: measures.collect(),
            });
        }
        Self { program, stretches, pickers, cuts, by_kind, of_any_kind }
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
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
    fn is_empty(&self) -> bool {
        self.keyed.is_empty() && self.plain.is_empty()
    }

    fn add(&mut self, picker: u32, telling: Option<&(usize, Vec<u32>)>, keys: &[Key], sites: &mut usize) {
        let Some((key, codes)) = telling else { return self.plain.push(picker) };
        let place = self.keyed.iter().position(|known| known.key == *key).unwrap_or_else(|| {
            let values = keys.get(*key).map_or(0, |key| key.values.len());
            self.keyed.push(Keyed { key: *key, by_code: vec![Vec::new(); values], number: *sites });
            *sites += 1;
            self.keyed.len() - 1
        });
        let Some(keyed) = self.keyed.get_mut(place) else { return };
        for code in codes {
            if let Some(pickers) = keyed.by_code.get_mut(*code as usize) {
                pickers.push(picker);
            }
        }
    }
}

impl Keyed {
    /// The pickers that ask for one of some codes.
    fn of_codes(&self, codes: &[u32]) -> Box<[u32]> {
        let of_code = |code: &u32| self.by_code.get(*code as usize).map(Vec::as_slice).unwrap_or_default();
        let mut pickers: Vec<u32> = codes.iter().flat_map(of_code).copied().collect();
        pickers.sort_unstable();
        pickers.dedup();
        pickers.into()
    }
}

/// A scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    index: Arc<Index>,
    codes: Vec<Codes>,
    /// For every [`Keyed`], by list of codes, the pickers that ask for one of them, once a row had it.
    by_list: Vec<ByList>,
    pub(super) found: Vec<Found>,
    /// The rows of a batch that have a customer, and those of each type.
    rows: Vec<u32>,
    by_kind: Vec<Vec<u32>>,
}

/// By list of codes, pickers.
#[derive(Debug, Default, Clone)]
struct ByList {
    pickers: Vec<Option<Box<[u32]>>>,
    /// How many pickers all lists have together.
    held: usize,
}

impl ByList {
    /// The pickers of a list, found out by `of_list` where no row had it yet.
    fn of(&mut self, list: usize, of_list: impl FnOnce() -> Box<[u32]>) -> &[u32] {
        if list >= self.pickers.len() {
            self.pickers.resize(list + 1, None);
        }
        let Some(known) = self.pickers.get_mut(list) else { return &[] };
        if known.is_none() {
            let pickers = of_list();
            self.held += pickers.len();
            *known = Some(pickers);
        }
        known.as_deref().unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.pickers.capacity() * size_of::<Option<Box<[u32]>>>() + self.held * size_of::<u32>()
    }
}

impl Scan {
    pub(super) fn new(index: Arc<Index>) -> Self {
        let codes: Vec<Codes> = index.program.keys.iter().map(Codes::new).collect();
        let found = index.stretches.iter().map(Found::new).collect();
        let by_list = vec![ByList::default(); index.groups().map(|group| group.keyed.len()).sum()];
        let by_kind = vec![Vec::new(); index.by_kind.len()];
        Self { index, codes, by_list, found, rows: Vec::new(), by_kind }
    }

    /// Looks at the rows of a batch.
    ///
    /// # Errors
    /// Columns of other types than the program says, and a customer's number above 2³² − 2.
    pub(super) fn read(&mut self, values: &[ArrayRef]) -> Result<()> {
        let index = Arc::clone(&self.index);
        let mut columns = Columns::read(values, &index.program, &index.cuts)?;
        self.forget();
        if !index.of_any_kind.is_empty() {
            let rows = (0_u32..).zip(&columns.customers).filter(|(_, customer)| **customer != NOBODY);
            self.rows.clear();
            self.rows.extend(rows.map(|(row, _)| row));
            let rows = std::mem::take(&mut self.rows);
            self.look(&index, &index.of_any_kind, &mut columns, &rows);
            self.rows = rows;
        }
        if let Some(kind) = index.program.kind {
            let mut by_kind = std::mem::take(&mut self.by_kind);
            by_kind.iter_mut().for_each(Vec::clear);
            if let (Some(column), Some(codes)) = (columns.keys.get_mut(kind), self.codes.get_mut(kind)) {
                for (row, customer) in (0_u32..).zip(&columns.customers) {
                    if *customer == NOBODY {
                        continue;
                    }
                    // The list of a code alone comes after that of none.
                    let code = column.list_of(codes, row as usize).checked_sub(1);
                    if let Some(of_kind) = code.and_then(|code| by_kind.get_mut(code as usize)) {
                        of_kind.push(row);
                    }
                }
            }
            for (group, rows) in index.by_kind.iter().zip(&by_kind) {
                self.look(&index, group, &mut columns, rows);
            }
            self.by_kind = by_kind;
        }
        Ok(())
    }

    /// Begins to remember anew where there is too much.
    fn forget(&mut self) {
        for (key, codes) in self.codes.iter_mut().enumerate() {
            if codes.begin_batch() {
                let own = self.index.groups().flat_map(|group| &group.keyed).filter(|keyed| keyed.key == key);
                own.for_each(|keyed| {
                    self.by_list.get_mut(keyed.number).into_iter().for_each(|lists| *lists = ByList::default());
                });
            }
        }
    }

    /// Shows rows to the pickers of a group.
    fn look(&mut self, index: &Index, group: &Group, columns: &mut Columns, rows: &[u32]) {
        if rows.is_empty() {
            return;
        }
        let Self { codes, by_list, found, .. } = self;
        for keyed in &group.keyed {
            let Some(by_list) = by_list.get_mut(keyed.number) else { continue };
            for row in rows {
                let (Some(column), Some(own)) = (columns.keys.get_mut(keyed.key), codes.get_mut(keyed.key)) else {
                    continue;
                };
                let list = column.list_of(own, *row as usize) as usize;
                if list == NO_CODES as usize {
                    continue;
                }
                let pickers = by_list.of(list, || keyed.of_codes(own.list(list)));
                for picker in pickers {
                    pick(index, *picker as usize, columns, codes, found, *row as usize);
                }
            }
        }
        for picker in &group.plain {
            for row in rows {
                pick(index, *picker as usize, columns, codes, found, *row as usize);
            }
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let pickers = self.by_list.iter().map(ByList::bytes).sum::<usize>();
        let remembered = self.codes.iter().map(Codes::bytes).sum::<usize>();
        self.found.iter().map(Found::bytes).sum::<usize>() + remembered + pickers
    }
}

/// Adds a row to what a picker found, if it picks it. The row has the picker's type, and a value that it is found by.
fn pick(index: &Index, number: usize, columns: &mut Columns, codes: &mut [Codes], found: &mut [Found], row: usize) {
    let (Some(picker), Some(stretches)) = (index.pickers.get(number), index.stretches.get(number)) else { return };
    let span = columns.spans.get(picker.axis).and_then(|spans| spans.get(row)).copied().unwrap_or(NO_SPAN);
    let Some(stretch) = picker.stretch_of.get(span as usize).filter(|stretch| **stretch != NOT_ASKED) else { return };
    if !picker.flags.iter().all(|flag| columns.flags.get(*flag).is_some_and(|flags| flags.value(row))) {
        return;
    }
    for (key, wanted) in &picker.keys {
        let (Some(column), Some(codes)) = (columns.keys.get_mut(*key), codes.get_mut(*key)) else { return };
        let list = column.list_of(codes, row) as usize;
        if !codes.list(list).iter().any(|code| wanted.binary_search(code).is_ok()) {
            return;
        }
    }
    let measures = picker.measures.iter().map(|(total, measure)| {
        let column = columns.measures.get(*measure).filter(|column| column.is_valid(row));
        column.map_or_else(|| super::found::nothing(*total), |column| column.value(row))
    });
    if let (Some(found), Some(customer)) = (found.get_mut(number), columns.customers.get(row)) {
        found.add(stretches, *customer, *stretch as usize, 1, measures);
    }
}
