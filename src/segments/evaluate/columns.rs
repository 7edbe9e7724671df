//! The columns of one batch of a scan's rows.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, ListArray, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

use super::codes::{Codes, NO_CODES};
use crate::segments::compile::program::{Lookup, Owner, Program};

/// The columns of one batch.
pub(super) struct Columns {
    pub(super) rows: Rows,
    pub(super) keys: Vec<KeyColumn>,
}

/// All columns but the keys.
pub(super) struct Rows {
    pub(super) customers: Vec<u32>,
    /// By axis.
    pub(super) spans: Vec<Spans>,
    pub(super) flags: Vec<BooleanBuffer>,
    pub(super) measures: Vec<Decimal128Array>,
}

/// The spans of days on which rows lie.
#[derive(Debug, PartialEq)]
pub(super) struct Spans {
    /// [`NO_SPAN`] where a row has no instant.
    pub(super) by_row: Vec<u32>,
    /// All from the first to the last; none where some row has none.
    pub(super) present: Option<RangeInclusive<usize>>,
}

impl Spans {
    fn new(by_row: Vec<u32>) -> Self {
        let ends = by_row.iter().fold((NO_SPAN, 0), |ends, span| (ends.0.min(*span), ends.1.max(*span)));
        Self { by_row, present: (ends.1 != NO_SPAN).then_some(ends.0 as usize..=ends.1 as usize) }
    }
}

/// A key's column, and for each row its list of codes once it was looked up.
pub(super) struct KeyColumn {
    own: Option<Values>,
    /// The ids of the rows' products, where those may have the value.
    products: Option<StringViewArray>,
    /// None until the first row is looked up.
    lists: Vec<u32>,
    rows: usize,
}

enum Values {
    Texts(StringViewArray),
    /// The lists, and what they are lists of.
    Lists(ListArray, StringViewArray),
}

/// A value that was not looked up yet.
const UNKNOWN: u32 = u32::MAX;

/// The span of a row without an instant.
pub(super) const NO_SPAN: u32 = u32::MAX;

impl Columns {
    /// Takes the columns of a program's function apart; `cuts` are those of its axes.
    ///
    /// # Errors
    /// Columns of other types than the program says, and a customer's number above 2³² − 2.
    pub(super) fn read(values: &[ArrayRef], program: &Program, cuts: &[Vec<i64>]) -> Result<Self> {
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
        let customers = customers_of(&integers(next()?)?)?;
        let mut spans = Vec::new();
        for cuts in cuts {
            spans.push(Spans::new(spans_of(&integers(next()?)?, cuts)));
        }
        let mut own = Vec::new();
        for key in &program.keys {
            own.push(if key.owner == Owner::Product { None } else { Some(next()?) });
        }
        let products = if program.of_products { Some(texts(next()?)?) } else { None };
        let mut keys = Vec::new();
        for (key, own) in program.keys.iter().zip(own) {
            let products = products.as_ref().filter(|_| key.owner != Owner::Row);
            keys.push(KeyColumn::read(key.lookup, own, products.cloned())?);
        }
        let mut flags = Vec::new();
        for _ in 0..program.flags {
            let column = next()?.as_boolean();
            let holds = column.nulls().map_or_else(|| column.values().clone(), |nulls| column.values() & nulls.inner());
            flags.push(holds);
        }
        let mut measures = Vec::new();
        for _ in 0..program.measures {
            measures.push(next()?.as_primitive::<Decimal128Type>().clone());
        }
        Ok(Self { rows: Rows { customers, spans, flags, measures }, keys })
    }
}

/// A row without a customer.
pub(super) const NOBODY: u32 = u32::MAX;

/// The customers of rows: nobody where there is no number, or one below 0, as those have who are left out.
fn customers_of(numbers: &Int64Array) -> Result<Vec<u32>> {
    let number = |number: i64| u32::try_from(number).unwrap_or(NOBODY);
    let customers = match numbers.nulls() {
        None => numbers.values().iter().map(|customer| number(*customer)).collect(),
        Some(_) => numbers.iter().map(|customer| customer.map_or(NOBODY, number)).collect(),
    };
    if arrow::compute::max(numbers).is_some_and(|largest| largest >= i64::from(NOBODY)) {
        return Err(exec_datafusion_err!("a row has a customer number that is too large"));
    }
    Ok(customers)
}

fn texts(column: &ArrayRef) -> Result<StringViewArray> {
    Ok(cast(column, &DataType::Utf8View)?.as_string_view().clone())
}

/// The span of each instant: how many of the sorted `cuts` come before it or at it. Rows that follow each other mostly lie in the
/// same.
fn spans_of(instants: &Int64Array, cuts: &[i64]) -> Vec<u32> {
    // The span of the row before, and which instants are in it.
    let (mut span, mut within) = (NO_SPAN, 0..0);
    let of = |at: Option<i64>| {
        let Some(at) = at else { return NO_SPAN };
        if !within.contains(&at) {
            let after = cuts.partition_point(|cut| *cut <= at);
            let before = after.checked_sub(1).and_then(|before| cuts.get(before));
            within = before.copied().unwrap_or(i64::MIN)..cuts.get(after).copied().unwrap_or(i64::MAX);
            span = u32::try_from(after).unwrap_or(NO_SPAN);
        }
        span
    };
    instants.iter().map(of).collect()
}

impl KeyColumn {
    /// The column of the rows' own values, and that of their products' ids.
    ///
    /// # Errors
    /// Columns that cannot be what is looked up.
    pub(super) fn read(lookup: Lookup, own: Option<&ArrayRef>, products: Option<StringViewArray>) -> Result<Self> {
        let rows = own.map(|own| own.len()).or(products.as_ref().map(Array::len)).unwrap_or_default();
        let own = match (own, lookup) {
            (None, _) => None,
            (Some(own), Lookup::Exact | Lookup::Path) => Some(Values::Texts(texts(own)?)),
            (Some(own), Lookup::Elements) => {
                let element = Arc::new(Field::new("element", DataType::Utf8View, true));
                let lists = cast(own, &DataType::List(element))?.as_list::<i32>().clone();
                let elements = lists.values().as_string_view().clone();
                Some(Values::Lists(lists, elements))
            }
        };
        Ok(Self { own, products, lists: Vec::new(), rows })
    }

    /// The rows' own values, where they are texts.
    pub(super) fn texts(&self) -> Option<&StringViewArray> {
        match &self.own {
            Some(Values::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    /// The list of the codes of a row's value.
    pub(super) fn list_of(&mut self, codes: &mut Codes, row: usize) -> u32 {
        if self.lists.is_empty() {
            self.lists.resize(self.rows, UNKNOWN);
        }
        let Some(known) = self.lists.get_mut(row) else { return NO_CODES };
        if *known == UNKNOWN {
            *known = match (&self.own, &self.products) {
                (Some(Values::Texts(texts)), _) if texts.is_valid(row) => codes.of_text(texts, row),
                (Some(Values::Lists(lists, elements)), _) if lists.is_valid(row) => {
                    let places = lists.value_offsets()[row]..lists.value_offsets()[row + 1];
                    let places = places.filter_map(|place| usize::try_from(place).ok());
                    codes.of_elements(elements, places.filter(|place| elements.is_valid(*place)))
                }
                (_, Some(ids)) if ids.is_valid(row) => codes.of_product(ids, row),
                _ => NO_CODES,
            };
        }
        *known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_zero_are_nobody_and_too_large_ones_are_none() {
        let last = i64::from(u32::MAX) - 1;
        let numbers = [7, -1, -2, 0, last, i64::MIN];
        let expected = [7, NOBODY, NOBODY, 0, u32::MAX - 1, NOBODY];
        assert_eq!(customers_of(&Int64Array::from(numbers.to_vec())).unwrap(), expected);
        let some: Int64Array = numbers.iter().map(|number| Some(*number)).chain([None]).collect();
        assert_eq!(customers_of(&some).unwrap(), [expected.as_slice(), &[NOBODY]].concat());
        for too_large in [last + 1, i64::MAX] {
            assert!(customers_of(&Int64Array::from(vec![1, too_large])).is_err());
            assert!(customers_of(&Int64Array::from(vec![None, Some(too_large)])).is_err());
        }
    }

    #[test]
    fn every_instant_has_its_span() {
        let day = 86_400_000_000;
        let days = (0..400).map(|n| n * day - n % 2 * 3_600_000_000).collect();
        for cuts in [vec![], vec![5], vec![i64::MIN, i64::MAX], vec![-3, 2, 7, i64::MAX], days] {
            let near = cuts.iter().flat_map(|cut: &i64| [cut.saturating_add(1), *cut, cut.saturating_sub(1)]);
            let instants: Vec<i64> = near.chain([i64::MIN, -1, 0, 1, i64::MAX]).collect();
            let column = instants.iter().copied().map(Some).chain([None]).collect();
            let expected = instants.iter().map(|at| cuts.iter().filter(|cut| *cut <= at).count() as u32);
            assert_eq!(spans_of(&column, &cuts), expected.chain([NO_SPAN]).collect::<Vec<_>>(), "{cuts:?}");
        }
    }
}
