//! The columns of one batch of a scan's rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, ListArray, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

use super::codes::{Codes, NO_CODES};
use super::spans::Cuts;
use crate::segments::compile::program::{Lookup, Program};

/// The columns of one batch.
pub(super) struct Columns {
    pub(super) customers: Vec<u32>,
    /// By axis, the span of each row.
    pub(super) spans: Vec<Vec<u32>>,
    pub(super) keys: Vec<KeyColumn>,
    pub(super) flags: Vec<BooleanBuffer>,
    pub(super) measures: Vec<Decimal128Array>,
}

/// A key's column, and for each row its list of codes once it was looked up.
pub(super) struct KeyColumn {
    values: Values,
    lists: Vec<u32>,
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
    /// Columns of other types than the program says, and a customer's number outside 0 to 2³² − 2.
    pub(super) fn read(values: &[ArrayRef], program: &Program, cuts: &[Cuts]) -> Result<Self> {
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
        let number = |customer: Option<i64>| match customer {
            None => Ok(NOBODY),
            Some(customer) => u32::try_from(customer)
                .ok()
                .filter(|number| *number != NOBODY)
                .ok_or_else(|| exec_datafusion_err!("a row has a customer number that is negative or too large")),
        };
        let customers = customers.iter().map(number).collect::<Result<Vec<_>>>()?;
        let mut spans = Vec::new();
        for cuts in cuts {
            spans.push(integers(next()?)?.iter().map(|at| at.map_or(NO_SPAN, |at| cuts.span(at))).collect());
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
            let column = next()?.as_boolean();
            let holds = column.nulls().map_or_else(|| column.values().clone(), |nulls| column.values() & nulls.inner());
            flags.push(holds);
        }
        let mut measures = Vec::new();
        for _ in 0..program.measures {
            measures.push(next()?.as_primitive::<Decimal128Type>().clone());
        }
        Ok(Self { customers, spans, keys, flags, measures })
    }
}

/// A row without a customer.
pub(super) const NOBODY: u32 = u32::MAX;

impl KeyColumn {
    /// The list of the codes of a row's value.
    pub(super) fn list_of(&mut self, codes: &mut Codes, row: usize) -> u32 {
        let Some(known) = self.lists.get_mut(row) else { return NO_CODES };
        if *known == UNKNOWN {
            *known = match &self.values {
                Values::Texts(texts) if texts.is_valid(row) => codes.of_text(texts, row),
                Values::Lists(lists, elements) if lists.is_valid(row) => {
                    let places = lists.value_offsets()[row]..lists.value_offsets()[row + 1];
                    let places = places.filter_map(|place| usize::try_from(place).ok());
                    codes.of_elements(elements, places.filter(|place| elements.is_valid(*place)))
                }
                _ => NO_CODES,
            };
        }
        *known
    }
}
