//! The aggregate function that answers every call of a scan: SQL that DataFusion plans and runs in as many partitions as
//! there are, each partition's part merged at the end.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::answers::{read_found, write_answers, write_found};
use super::index::Index;
use super::merged::merged;
use super::scan::Scan;
use crate::segments::compile::program::Program;

/// `segment_calls_<table>(customer_no, axes…, keys…, product_id, flags…, measures…)`: the answers of a program's calls, as bytes;
/// the product's id only where the program asks for products. The function carries its program, so a plan that is sent elsewhere
/// is sent with it.
#[derive(Debug)]
pub struct SegmentCalls {
    name: String,
    program: Arc<Program>,
    /// Made for the first partition, and shared by all.
    index: OnceLock<Arc<Index>>,
    signature: Signature,
}

impl PartialEq for SegmentCalls {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && (Arc::ptr_eq(&self.program, &other.program) || self.program == other.program)
    }
}

impl Eq for SegmentCalls {}

impl Hash for SegmentCalls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A program may know the products of a shop, and plans are hashed often.
        self.name.hash(state);
    }
}

impl SegmentCalls {
    /// The function of that name for a program.
    pub fn new(name: &str, program: Program) -> Self {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Self { name: name.to_owned(), program: Arc::new(program), index: OnceLock::new(), signature }
    }

    /// The function for a session.
    pub fn into_function(self) -> AggregateUDF {
        AggregateUDF::new_from_impl(self)
    }

    /// Its program.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

impl AggregateUDFImpl for SegmentCalls {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::LargeBinary)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let index = self.index.get_or_init(|| Arc::new(Index::new(Arc::clone(&self.program))));
        Ok(Box::new(Calls { scan: Scan::new(Arc::clone(index)), index: Arc::clone(index), parts: Vec::new() }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(arguments.name, "found"), DataType::LargeBinary, true))])
    }
}

#[derive(Debug)]
struct Calls {
    index: Arc<Index>,
    scan: Scan,
    /// What other partitions have found.
    parts: Vec<Vec<u8>>,
}

impl Accumulator for Calls {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.scan.read(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Index { program, stretches, .. } = self.index.as_ref();
        let partitions = self.parts.len();
        // Whoever merges may have rows of its own, too.
        self.parts.push(write_found(stretches, &mut self.scan.found)?);
        let answers = merged(program, stretches, &self.parts, partitions)?;
        Ok(ScalarValue::LargeBinary(Some(write_answers(&answers)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.scan.bytes() + self.parts.iter().map(Vec::len).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        for part in self.parts.drain(..) {
            read_found(&part, &self.index.stretches, &mut self.scan.found)?;
        }
        Ok(vec![ScalarValue::LargeBinary(Some(write_found(&self.index.stretches, &mut self.scan.found)?))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states {
            let parts = state.as_binary::<i64>();
            self.parts.extend(parts.iter().flatten().map(<[u8]>::to_vec));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Decimal128Array, Int64Array, ListBuilder, StringArray, StringBuilder};
    use datafusion::common::cast::as_large_binary_array;

    use super::super::answers::{Answer, read_answers};
    use super::*;
    use crate::segments::compile::program::{Call, Key, Lookup, Owner, Picker, Spans, Total};

    fn key(lookup: Lookup, values: Vec<String>) -> Key {
        Key { lookup, owner: Owner::Row, values, products: Vec::new() }
    }

    fn spans(low: Option<i128>, high: Option<i128>) -> Spans {
        Spans { missing: false, spans: vec![(low, high)] }
    }

    /// Two pickers, of brands and of all rows, and calls of every kind.
    fn program() -> Program {
        let keys = vec![key(Lookup::Exact, vec!["acme".to_owned(), "birk".to_owned()])];
        let pickers = vec![
            Picker { axis: 0, keys: vec![(0, vec![0, 1])], flags: Vec::new() },
            Picker { axis: 0, keys: Vec::new(), flags: Vec::new() },
            Picker { axis: 0, keys: vec![(0, vec![1])], flags: Vec::new() },
            // Asked about twice, as two parameters of one column do.
            Picker { axis: 0, keys: vec![(0, vec![0, 1]), (0, vec![0])], flags: Vec::new() },
        ];
        let mut calls = Vec::new();
        for picker in 0..2 {
            for (ranges, asks) in [
                (vec![(Some(10), Some(20))], vec![]),
                (vec![(None, Some(15)), (Some(18), None)], vec![(Total::Count, spans(Some(2), Some(3)))]),
                (vec![(Some(5), None)], vec![(Total::Count, spans(Some(0), Some(1)))]),
                (
                    vec![(None, None)],
                    vec![(Total::Sum(0), spans(Some(100), None)), (Total::Count, spans(None, Some(9)))],
                ),
                (vec![(Some(12), None)], vec![(Total::Max(0), Spans { missing: true, spans: vec![(None, Some(40))] })]),
            ] {
                calls.push(Call { picker, ranges, asks });
            }
        }
        calls.extend([2, 3].map(|picker| Call { picker, ranges: vec![(Some(10), Some(20))], asks: Vec::new() }));
        Program { axes: 1, keys, kind: None, of_products: false, flags: 0, measures: 1, pickers, calls }
    }

    type Row = (u32, i64, &'static str, i64);

    /// The same row by row, without anything that is shared.
    fn expected(program: &Program, rows: &[Row]) -> Vec<Answer> {
        let of_call = |call: &Call| {
            let wanted = &program.pickers[call.picker].keys;
            let mut own: BTreeMap<u32, Vec<i128>> = rows.iter().map(|row| (row.0, Vec::new())).collect();
            for (customer, at, brand, value) in rows {
                let code = program.keys[0].values.iter().position(|value| value == brand);
                let picked = wanted.iter().all(|(_, codes)| code.is_some_and(|code| codes.contains(&(code as u32))));
                if picked && crate::segments::compile::program::within(&call.ranges, *at) {
                    own.entry(*customer).or_default().push(i128::from(*value));
                }
            }
            let holds = |values: &[i128]| {
                let ask = |(total, spans): &(Total, Spans)| match total {
                    Total::Count => spans.contains(Some(values.len() as i128)),
                    Total::Sum(_) => spans.contains(Some(values.iter().sum())),
                    Total::Min(_) => spans.contains(values.iter().copied().min()),
                    Total::Max(_) => spans.contains(values.iter().copied().max()),
                };
                if call.asks.is_empty() { !values.is_empty() } else { call.asks.iter().all(ask) }
            };
            let all_but = holds(&[]);
            let customers = own.iter().filter(|(_, values)| holds(values) != all_but).map(|(customer, _)| *customer);
            Answer { all_but, customers: customers.collect() }
        };
        program.calls.iter().map(of_call).collect()
    }

    fn columns(rows: &[Row]) -> Vec<ArrayRef> {
        let money = Decimal128Array::from_iter_values(rows.iter().map(|row| i128::from(row.3)));
        vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(row.0)))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
            Arc::new(money.with_precision_and_scale(38, 0).unwrap()),
        ]
    }

    fn answered(program: &Program, parts: &[&[Row]]) -> Vec<Answer> {
        let calls = |program: &Program| {
            let index = Arc::new(Index::new(Arc::new(program.clone())));
            Calls { scan: Scan::new(Arc::clone(&index)), index, parts: Vec::new() }
        };
        let mut last = calls(program);
        for (number, part) in parts.iter().enumerate() {
            let mut own = calls(program);
            for batch in part.chunks(40) {
                own.update_batch(&columns(batch)).unwrap();
            }
            if number == 0 {
                // Whoever merges may have rows of its own.
                last = own;
                continue;
            }
            let state: Vec<ArrayRef> = own.state().unwrap().iter().map(|state| state.to_array().unwrap()).collect();
            last.merge_batch(&state).unwrap();
        }
        let bytes = last.evaluate().unwrap().to_array().unwrap();
        read_answers(as_large_binary_array(&bytes).unwrap().value(0)).unwrap()
    }

    /// Customers around the ends of what is decided together, few rows each and many, in one partition and several.
    #[test]
    fn calls_are_answered_as_row_by_row() {
        let brands = ["acme", "birk", "none of them"];
        let ends = [0, 65_530, 131_060, u32::MAX - 40];
        let row = |n: u32| -> Row {
            let mixed = n.wrapping_mul(2_654_435_761);
            let customer = ends[(mixed >> 8) as usize % ends.len()] + (mixed >> 11) % 20;
            (customer, i64::from(mixed >> 3) % 25, brands[(mixed >> 17) as usize % 3], i64::from(mixed >> 5) % 60)
        };
        // More different numbers of rows than are remembered, a customer each.
        let many = (0..5_000_u32).flat_map(|customer| {
            let times = |n: u32, at: i64| (0..n).map(move |_| (customer, at, "acme", 1));
            times(customer % 17, 3).chain(times(customer / 17 % 18, 11)).chain(times(customer / 306, 19))
        });
        let many: Vec<Row> = many.collect();
        let few: Vec<Row> = (0..300).map(row).collect();
        let mut in_time = few.clone();
        in_time.sort_by_key(|(_, at, ..)| *at);
        let by_brand = Program { kind: Some(0), ..program() };
        for program in [program(), by_brand] {
            assert!(
                expected(&program, &few).iter().all(|answer| !answer.customers.is_empty()),
                "every call is told apart"
            );
            for rows in [&few, &in_time, &many, &Vec::new()] {
                let expected = expected(&program, rows);
                let (one, other) = rows.split_at(rows.len() / 3);
                for parts in [vec![rows.as_slice()], vec![one, other], vec![&[], other, one]] {
                    assert_eq!(answered(&program, &parts), expected);
                }
            }
        }
    }
    /// Rows have more different lists of values than are remembered, so that the numbers of lists begin anew.
    #[test]
    fn lists_that_begin_anew_pick_as_before() {
        let values: Vec<String> = (0..17).map(|value| format!("v{value:02}")).collect();
        let keys = vec![key(Lookup::Elements, values.clone())];
        let picker = |code: u32| Picker { axis: 0, keys: vec![(0, vec![code, 16])], flags: Vec::new() };
        let pickers: Vec<Picker> = (0..16).map(picker).collect();
        let calls = (0..16).map(|picker| Call { picker, ranges: vec![(None, None)], asks: Vec::new() });
        let calls = calls.collect();
        let program = Program { axes: 1, keys, kind: None, of_products: false, flags: 0, measures: 0, pickers, calls };
        let index = Arc::new(Index::new(Arc::new(program)));
        let mut own = Calls { scan: Scan::new(Arc::clone(&index)), index, parts: Vec::new() };
        let rows: Vec<u32> = (0..1 << 17).collect();
        let mut most = 0;
        for batch in rows.chunks(8_192) {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for row in batch {
                let some = values.iter().enumerate().filter(|(value, _)| row >> value & 1 == 1);
                lists.append_value(some.map(|(_, value)| Some(value)));
            }
            let customers = Int64Array::from_iter_values(batch.iter().map(|row| i64::from(*row)));
            let columns: Vec<ArrayRef> =
                vec![Arc::new(customers.clone()), Arc::new(customers), Arc::new(lists.finish())];
            own.update_batch(&columns).unwrap();
            most = own.size().max(most);
        }
        assert!(own.size() < most, "what was remembered is let go of now and then");
        let bytes = own.evaluate().unwrap().to_array().unwrap();
        let answers = read_answers(as_large_binary_array(&bytes).unwrap().value(0)).unwrap();
        for (code, answer) in answers.into_iter().enumerate() {
            let expected = rows.iter().copied().filter(|row| row >> code & 1 == 1 || row >> 16 & 1 == 1);
            assert_eq!(answer.customers, expected.collect(), "{code}");
        }
    }
}
