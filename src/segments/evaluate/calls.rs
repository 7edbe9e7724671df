//! The aggregate function that answers every call of a scan: SQL that DataFusion plans and runs in as many partitions as
//! there are, each partition's part merged at the end.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::answers::{answers, read_found, write_answers, write_found};
use super::merged::merged;
use super::scan::{Index, Scan};
use crate::segments::compile::program::Program;

/// `segment_calls_<table>(customer_no, axes…, keys…, flags…, measures…)`: the answers of a program's calls, as bytes.
/// The function carries its program, so a plan that is sent elsewhere is sent with it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SegmentCalls {
    name: String,
    program: Arc<Program>,
    signature: Signature,
}

impl SegmentCalls {
    /// The function of that name for a program.
    pub fn new(name: &str, program: Program) -> Self {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Self { name: name.to_owned(), program: Arc::new(program), signature }
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
        let index = Arc::new(Index::new(Arc::clone(&self.program)));
        Ok(Box::new(Calls { scan: Scan::new(Arc::clone(&index)), index, parts: Vec::new() }))
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
        let answers = if self.parts.is_empty() {
            answers(program, stretches, &mut self.scan.found)
        } else {
            // Whoever merges may have rows of its own, too.
            self.parts.push(write_found(stretches, &mut self.scan.found)?);
            merged(program, stretches, &self.parts, self.parts.len() - 1)?
        };
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
