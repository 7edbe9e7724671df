//! One partition's scan: each row looks only at the pickers that could pick it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use datafusion::error::Result;

use super::codes::{Codes, NO_CODES};
use super::columns::{Columns, KeyColumn, NOBODY, Rows};
use super::found::Found;
use super::index::{Asked, Group, Index, Keyed, NOT_ASKED};

/// A scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    index: Arc<Index>,
    codes: Vec<Codes>,
    /// For every [`Keyed`], by list of codes, the pickers that ask for one of them, once a row had it.
    by_list: Vec<ByList>,
    pub(super) found: Vec<Found>,
    /// The rows of a batch that have a customer and are asked about, and those of each type.
    rows: Vec<u32>,
    by_kind: Vec<Vec<u32>>,
    /// Rows that have some code of a key, each with its list of codes and its span.
    with_codes: Vec<(u32, u32, u32)>,
}

/// By list of codes, pickers.
#[derive(Debug, Default, Clone)]
struct ByList {
    pickers: Vec<Option<OfList>>,
    /// How many pickers all lists have together.
    held: usize,
}

/// The pickers of a list of codes.
#[derive(Debug, Clone)]
struct OfList {
    all: Box<[u32]>,
    /// Those that ask about a span of days, each with the stretch on which it lies. Rows that follow each other mostly lie in one.
    span: Option<u32>,
    now: Vec<(u32, u32)>,
}

impl ByList {
    /// The pickers of a list that ask about a span, and their stretches.
    fn of(&mut self, index: &Index, keyed: &Keyed, codes: &Codes, list: usize, span: u32) -> &[(u32, u32)] {
        if list >= self.pickers.len() {
            self.pickers.resize(list + 1, None);
        }
        let Some(own) = self.pickers.get_mut(list) else { return &[] };
        let own = own.get_or_insert_with(|| {
            let all = keyed.of_codes(codes.list(list));
            self.held += all.len();
            OfList { now: Vec::with_capacity(all.len()), all, span: None }
        });
        if own.span != Some(span) {
            own.span = Some(span);
            own.now.clear();
            let stretch = |picker: &u32| index.pickers.get(*picker as usize)?.stretch_of.get(span as usize).copied();
            let asking = own.all.iter().map(|picker| (*picker, stretch(picker).unwrap_or(NOT_ASKED)));
            own.now.extend(asking.filter(|(_, stretch)| *stretch != NOT_ASKED));
        }
        &own.now
    }

    fn bytes(&self) -> usize {
        self.pickers.capacity() * size_of::<Option<OfList>>() + self.held * (size_of::<u32>() + size_of::<(u32, u32)>())
    }
}

impl Scan {
    pub(super) fn new(index: Arc<Index>) -> Self {
        let codes = index.codes.clone();
        let found = index.stretches.iter().map(Found::new).collect();
        let by_list = vec![ByList::default(); index.groups().map(|group| group.keyed.len()).sum()];
        let by_kind = vec![Vec::new(); index.by_kind.len()];
        Self { index, codes, by_list, found, rows: Vec::new(), by_kind, with_codes: Vec::new() }
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
            let mut rows = std::mem::take(&mut self.rows);
            rows.clear();
            let (own, group) = (&columns.rows, &index.of_any_kind);
            let wanted = |(row, customer): &(u32, &u32)| **customer != NOBODY && group.asks_about(own, *row as usize);
            rows.extend((0_u32..).zip(&own.customers).filter(wanted).map(|(row, _)| row));
            self.look(&index, group, &mut columns, &rows);
            self.rows = rows;
        }
        if let Some(kind) = index.program.kind {
            let mut by_kind = std::mem::take(&mut self.by_kind);
            self.split(&index, kind, &mut columns, &mut by_kind);
            for (group, rows) in index.by_kind.iter().zip(&by_kind) {
                self.look(&index, group, &mut columns, rows);
            }
            self.by_kind = by_kind;
        }
        Ok(())
    }

    /// The rows of each type that have a customer and are asked about.
    fn split(&mut self, index: &Index, kind: usize, columns: &mut Columns, by_kind: &mut [Vec<u32>]) {
        let Columns { rows, keys } = columns;
        let texts = keys.get(kind).and_then(KeyColumn::texts);
        let (Some(texts), Some(codes)) = (texts, self.codes.get_mut(kind)) else { return };
        let asked: Vec<Asked> = index.by_kind.iter().map(|group| group.asks(rows)).collect();
        by_kind.iter_mut().for_each(Vec::clear);
        for (row, (customer, view)) in rows.customers.iter().zip(texts.views()).enumerate() {
            if *customer == NOBODY || texts.is_null(row) {
                continue;
            }
            // The list of a code alone comes after that of none.
            let Some(code) = codes.of_view(*view, || texts.value(row)).checked_sub(1) else { continue };
            let code = code as usize;
            let is_asked = match asked.get(code) {
                Some(Asked::All) => true,
                Some(Asked::Some) => index.by_kind.get(code).is_some_and(|group| group.asks_about(rows, row)),
                _ => false,
            };
            if is_asked && let (Some(own), Ok(number)) = (by_kind.get_mut(code), u32::try_from(row)) {
                own.push(number);
            }
        }
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
    fn look(&mut self, index: &Index, group: &Group, columns: &mut Columns, some: &[u32]) {
        if some.is_empty() {
            return;
        }
        let Self { codes, by_list, found, with_codes, .. } = self;
        let Columns { rows, keys } = columns;
        for keyed in &group.keyed {
            let (Some(by_list), Some(spans)) = (by_list.get_mut(keyed.number), rows.spans.get(keyed.axis)) else {
                continue;
            };
            let (Some(column), Some(own)) = (keys.get_mut(keyed.key), codes.get_mut(keyed.key)) else { continue };
            with_codes.clear();
            for row in some {
                let Some(span) = spans.by_row.get(*row as usize) else { continue };
                // What is no day of theirs need not be looked up.
                if keyed.asked.get(*span as usize) == Some(&true) {
                    let list = column.list_of(own, *row as usize);
                    if list != NO_CODES {
                        with_codes.push((*row, list, *span));
                    }
                }
            }
            for (row, list, span) in with_codes.iter() {
                let Some(own) = codes.get(keyed.key) else { continue };
                for picked in by_list.of(index, keyed, own, *list as usize, *span) {
                    pick(index, *picked, rows, keys, codes, found, *row as usize);
                }
            }
        }
        for picker in &group.plain {
            let Some(ready) = index.pickers.get(*picker as usize) else { continue };
            let Some(spans) = rows.spans.get(ready.axis) else { continue };
            for row in some.iter().map(|row| *row as usize) {
                let stretch = spans.by_row.get(row).and_then(|span| ready.stretch_of.get(*span as usize));
                if let Some(stretch) = stretch.filter(|stretch| **stretch != NOT_ASKED) {
                    pick(index, (*picker, *stretch), rows, keys, codes, found, row);
                }
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

/// Adds a row to what a picker found on a stretch, if it picks it. The row has the picker's type, a value that it is found by, and
/// a day on the stretch.
fn pick(
    index: &Index,
    (number, stretch): (u32, u32),
    rows: &Rows,
    keys: &mut [KeyColumn],
    codes: &mut [Codes],
    found: &mut [Found],
    row: usize,
) {
    let number = number as usize;
    let (Some(picker), Some(stretches)) = (index.pickers.get(number), index.stretches.get(number)) else { return };
    if !picker.flags.iter().all(|flag| rows.flags.get(*flag).is_some_and(|flags| flags.value(row))) {
        return;
    }
    for (key, wanted) in &picker.keys {
        let (Some(column), Some(codes)) = (keys.get_mut(*key), codes.get_mut(*key)) else { return };
        let list = column.list_of(codes, row) as usize;
        if !codes.list(list).iter().any(|code| wanted.binary_search(code).is_ok()) {
            return;
        }
    }
    let measures = picker.measures.iter().map(|(total, measure)| {
        let column = rows.measures.get(*measure).filter(|column| column.is_valid(row));
        column.map_or_else(|| super::found::nothing(*total), |column| column.value(row))
    });
    if let (Some(found), Some(customer)) = (found.get_mut(number), rows.customers.get(row)) {
        found.add(stretches, *customer, stretch as usize, 1, measures);
    }
}
