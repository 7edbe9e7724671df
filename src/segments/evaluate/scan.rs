//! One partition's scan: each row looks only at the pickers that could pick it.
//!
//! Rows are split by their type first. Within a type a picker that asks for an id, a category or another known value is
//! found by the row's own value; only pickers that ask for none are looked at for every row of the type.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, ListArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use hashbrown::HashMap;
use std::sync::Arc;

use super::found::{Found, Stretches};
use crate::segments::compile::program::{Key, Lookup, Program, Total};

/// Between the levels of a category path.
const LEVEL: &str = " > ";

/// Paths and lists that are remembered between rows; beyond, the memory begins anew.
const REMEMBERED: usize = 100_000;

/// A program, and how its pickers are found.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) program: Arc<Program>,
    pub(super) stretches: Vec<Stretches>,
    /// Pickers by the code of the type that they ask for.
    by_kind: HashMap<u32, Group>,
    /// Pickers that ask for no type.
    of_any_kind: Group,
}

/// Pickers for rows of one type.
#[derive(Debug, Default)]
struct Group {
    /// For a key, by the code of a value, the pickers that ask for it.
    keyed: Vec<(usize, HashMap<u32, Vec<u32>>)>,
    /// Pickers that ask for no value.
    plain: Vec<u32>,
}

impl Index {
    pub(super) fn new(program: Arc<Program>) -> Self {
        let stretches = (0..program.pickers.len()).map(|picker| Stretches::of(picker, &program.calls)).collect();
        let mut index = Self { stretches, by_kind: HashMap::new(), of_any_kind: Group::default(), program };
        let program = Arc::clone(&index.program);
        for (number, picker) in program.pickers.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let kinds = program.kind.and_then(|kind| picker.keys.iter().find(|(key, _)| *key == kind));
            // The key of the fewest values is the most telling; exact values before paths, paths before lists.
            let telling = picker
                .keys
                .iter()
                .filter(|(key, _)| Some(*key) != program.kind)
                .min_by_key(|(key, codes)| (codes.len(), program.keys.get(*key).map(|key| key.lookup), *key));
            match kinds {
                None => index.of_any_kind.add(number, telling),
                Some((_, kinds)) => {
                    for kind in kinds {
                        index.by_kind.entry(*kind).or_default().add(number, telling);
                    }
                }
            }
        }
        index
    }
}

impl Group {
    fn add(&mut self, picker: u32, telling: Option<&(usize, Vec<u32>)>) {
        let Some((key, codes)) = telling else { return self.plain.push(picker) };
        let place = self.keyed.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            self.keyed.push((*key, HashMap::new()));
            self.keyed.len() - 1
        });
        if let Some((_, by_code)) = self.keyed.get_mut(place) {
            codes.iter().for_each(|code| by_code.entry(*code).or_default().push(picker));
        }
    }
}

/// What a scan remembers of one key.
#[derive(Debug)]
struct Codes {
    lookup: Lookup,
    by_value: HashMap<String, u32>,
    /// Lists of codes; the first has none, then one for each code alone.
    lists: Vec<Vec<u32>>,
    /// Path or list of values → its list.
    remembered: HashMap<String, u32>,
}

impl Codes {
    fn new(key: &Key) -> Self {
        let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let by_value = key.values.iter().enumerate().map(|(place, value)| (value.clone(), number(place))).collect();
        let alone = (0..key.values.len()).map(|place| vec![number(place)]);
        let lists = std::iter::once(Vec::new()).chain(alone).collect();
        Self { lookup: key.lookup, by_value, lists, remembered: HashMap::new() }
    }

    /// The list of a text's codes.
    fn of_text(&mut self, text: &str) -> u32 {
        if self.lookup == Lookup::Exact {
            return self.by_value.get(text).map_or(0, |code| code + 1);
        }
        if let Some(list) = self.remembered.get(text) {
            return *list;
        }
        let prefixes = text.match_indices(LEVEL).map(|(at, _)| text.get(..at).unwrap_or(text)).chain([text]);
        let codes = prefixes.filter_map(|prefix| self.by_value.get(prefix).copied()).collect();
        let list = self.list(codes);
        self.remember(text.to_owned(), list)
    }

    /// The list of the codes of a list's elements.
    fn of_elements<'a>(&mut self, elements: impl Iterator<Item = &'a str>) -> u32 {
        // An element as landed may be in capitals that the value asked for has not.
        let may_differ = |element: &str| !element.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let code_of = |element: &str| match self.by_value.get(element) {
            None if may_differ(element) => self.by_value.get(&element.to_lowercase()),
            known => known,
        };
        let codes: Vec<u32> = elements.filter_map(code_of).copied().collect();
        self.list(codes)
    }

    fn list(&mut self, mut codes: Vec<u32>) -> u32 {
        codes.sort_unstable();
        codes.dedup();
        match codes.as_slice() {
            [] => 0,
            [code] => code + 1,
            _ => {
                let name = codes.iter().map(|code| format!("{code},")).collect::<String>();
                if let Some(list) = self.remembered.get(&name) {
                    return *list;
                }
                self.lists.push(codes);
                let list = u32::try_from(self.lists.len() - 1).unwrap_or(0);
                self.remember(name, list)
            }
        }
    }

    fn remember(&mut self, text: String, list: u32) -> u32 {
        if self.remembered.len() >= REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(text, list);
        list
    }
}

/// A scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    index: Arc<Index>,
    codes: Vec<Codes>,
    pub(super) found: Vec<Found>,
    /// The last row that each picker has picked: a row with several of its values is still one row.
    picked: Vec<u64>,
    rows: u64,
}

/// The columns of one batch.
struct Columns {
    customers: Int64Array,
    axes: Vec<Int64Array>,
    keys: Vec<KeyColumn>,
    flags: Vec<BooleanArray>,
    measures: Vec<Decimal128Array>,
}

/// A key's column, and for each row its list of codes once it was looked up.
struct KeyColumn {
    values: Values,
    lists: Vec<u32>,
}

enum Values {
    Texts(StringViewArray),
    /// The lists, and what they are lists of.
    Lists(ListArray, StringViewArray),
}

const UNKNOWN: u32 = u32::MAX;

impl Columns {
    fn read(values: &[ArrayRef], program: &Program) -> Result<Self> {
        let rows = values.first().map_or(0, |column| column.len());
        let mut columns = values.iter();
        let mut next = || columns.next().ok_or_else(|| exec_datafusion_err!("the segments' rows lack a column"));
        let integers = |column: &ArrayRef| -> Result<Int64Array> {
            // Days since 1970 are 32 bits wide, and become numbers only by way of those.
            let column = if column.data_type() == &DataType::Date32 {
                cast(column, &DataType::Int32)?
            } else {
                Arc::clone(column)
            };
            Ok(cast(&column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        };
        let customers = integers(next()?)?;
        let mut axes = Vec::new();
        for _ in 0..program.axes {
            axes.push(integers(next()?)?);
        }
        let mut keys = Vec::new();
        for key in &program.keys {
            let column = next()?;
            let values = match key.lookup {
                Lookup::Exact | Lookup::Path => {
                    Values::Texts(cast(column, &DataType::Utf8View)?.as_string_view().clone())
                }
                Lookup::Elements => {
                    let element = Arc::new(Field::new("element", DataType::Utf8View, true));
                    let lists = cast(column, &DataType::List(element))?.as_list::<i32>().clone();
                    let elements = lists.values().as_string_view().clone();
                    Values::Lists(lists, elements)
                }
            };
            keys.push(KeyColumn { values, lists: vec![UNKNOWN; rows] });
        }
        let mut flags = Vec::new();
        for _ in 0..program.flags {
            flags.push(next()?.as_boolean().clone());
        }
        let mut measures = Vec::new();
        for _ in 0..program.measures {
            measures.push(next()?.as_primitive::<Decimal128Type>().clone());
        }
        Ok(Self { customers, axes, keys, flags, measures })
    }
}

impl Scan {
    pub(super) fn new(index: Arc<Index>) -> Self {
        let codes = index.program.keys.iter().map(Codes::new).collect();
        let found = index.stretches.iter().map(Found::new).collect();
        let picked = vec![0; index.program.pickers.len()];
        Self { index, codes, found, picked, rows: 0 }
    }

    /// Looks at the rows of a batch.
    ///
    /// # Errors
    /// Columns of other types than the program says, and a customer's number outside 0 to 2³² − 1.
    pub(super) fn read(&mut self, values: &[ArrayRef]) -> Result<()> {
        let index = Arc::clone(&self.index);
        let mut columns = Columns::read(values, &index.program)?;
        for row in 0..columns.customers.len() {
            if columns.customers.is_null(row) {
                continue;
            }
            let customer = u32::try_from(columns.customers.value(row))
                .map_err(|_| exec_datafusion_err!("a row has a customer number that is negative or too large"))?;
            self.rows += 1;
            self.look(&index, &index.of_any_kind, &mut columns, row, customer);
            if let Some(kind) = index.program.kind {
                let list = self.list_of(&mut columns, kind, row);
                let code = self.codes.get(kind).and_then(|codes| codes.lists.get(list as usize)?.first());
                if let Some(group) = code.and_then(|code| index.by_kind.get(code)) {
                    self.look(&index, group, &mut columns, row, customer);
                }
            }
        }
        Ok(())
    }

    fn look(&mut self, index: &Index, group: &Group, columns: &mut Columns, row: usize, customer: u32) {
        for (key, by_code) in &group.keyed {
            let list = self.list_of(columns, *key, row) as usize;
            let codes = self.codes.get(*key).and_then(|codes| codes.lists.get(list)).map_or(0, Vec::len);
            for place in 0..codes {
                let code = self.codes.get(*key).and_then(|codes| codes.lists.get(list)?.get(place)).copied();
                let pickers = code.and_then(|code| by_code.get(&code)).map(Vec::as_slice).unwrap_or_default();
                for picker in pickers {
                    self.pick(index, *picker as usize, columns, row, customer);
                }
            }
        }
        for picker in &group.plain {
            self.pick(index, *picker as usize, columns, row, customer);
        }
    }

    /// Adds the row to what a picker found, if it picks it.
    fn pick(&mut self, index: &Index, number: usize, columns: &mut Columns, row: usize, customer: u32) {
        let (Some(picker), Some(stretches)) = (index.program.pickers.get(number), index.stretches.get(number)) else {
            return;
        };
        let Some(at) = columns.axes.get(picker.axis).filter(|axis| axis.is_valid(row)).map(|axis| axis.value(row))
        else {
            return;
        };
        let Some(stretch) = stretches.at(at) else { return };
        let flag = |flag: &usize| columns.flags.get(*flag).is_some_and(|flags| flags.is_valid(row) && flags.value(row));
        if !picker.flags.iter().all(flag) {
            return;
        }
        for (key, wanted) in &picker.keys {
            let list = self.list_of(columns, *key, row) as usize;
            let codes =
                self.codes.get(*key).and_then(|codes| codes.lists.get(list)).map(Vec::as_slice).unwrap_or_default();
            if !codes.iter().any(|code| wanted.binary_search(code).is_ok()) {
                return;
            }
        }
        let Some(picked) = self.picked.get_mut(number) else { return };
        if *picked == self.rows {
            return;
        }
        *picked = self.rows;
        let measures = stretches.totals.iter().map(|total| {
            let (Total::Sum(measure) | Total::Min(measure) | Total::Max(measure)) = total else {
                return super::found::nothing(*total);
            };
            let column = columns.measures.get(*measure).filter(|column| column.is_valid(row));
            column.map_or_else(|| super::found::nothing(*total), |column| column.value(row))
        });
        if let Some(found) = self.found.get_mut(number) {
            found.add(stretches, customer, stretch, 1, measures);
        }
    }

    /// The list of the codes of a row's value.
    fn list_of(&mut self, columns: &mut Columns, key: usize, row: usize) -> u32 {
        let (Some(column), Some(codes)) = (columns.keys.get_mut(key), self.codes.get_mut(key)) else { return 0 };
        let Some(known) = column.lists.get_mut(row) else { return 0 };
        if *known == UNKNOWN {
            *known = match &column.values {
                Values::Texts(texts) if texts.is_valid(row) => codes.of_text(texts.value(row)),
                Values::Lists(lists, elements) if lists.is_valid(row) => {
                    let places = lists.value_offsets()[row]..lists.value_offsets()[row + 1];
                    let places = places.filter_map(|place| usize::try_from(place).ok());
                    let some = places.filter(|place| elements.is_valid(*place));
                    codes.of_elements(some.map(|place| elements.value(place)))
                }
                _ => 0,
            };
        }
        *known
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let remembered: usize =
            self.codes.iter().map(|codes| codes.remembered.len() * 64 + codes.lists.len() * 32).sum();
        self.found.iter().map(Found::bytes).sum::<usize>() + remembered
    }
}
