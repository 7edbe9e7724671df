//! Which rows of a scan have a type that it asks for. There are few types, and a text that was looked at is known again by its
//! view, where a list of texts in SQL is hashed and compared for every row.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::codes::{Codes, NO_CODES};
use crate::segments::compile::program::{Key, Lookup, Owner, Program};

/// `segment_calls_<table>_kinds(type)`: whether some call asks for the type. The function carries the types.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct OfKind {
    name: String,
    kinds: Key,
    signature: Signature,
}

impl OfKind {
    /// The function of that name for a program; none where nothing splits its rows by type.
    pub(super) fn of(name: &str, program: &Program) -> Option<ScalarUDF> {
        Some(Self::function(name, program.keys.get(program.kind?)?.values.clone()))
    }

    fn function(name: &str, values: Vec<String>) -> ScalarUDF {
        let kinds = Key { lookup: Lookup::Exact, owner: Owner::Row, values, products: Vec::new() };
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { name: name.to_owned(), kinds, signature })
    }

    /// The function as bytes.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(bytes, &self.kinds.values)
            .map_err(|error| exec_datafusion_err!("`{}` cannot be sent: {error}", self.name))
    }

    /// The function of that name that was written as bytes.
    pub(super) fn read(name: &str, bytes: &[u8]) -> Result<ScalarUDF> {
        let values = serde_json::from_slice(bytes)
            .map_err(|error| exec_datafusion_err!("`{name}` came without its types: {error}"))?;
        Ok(Self::function(name, values))
    }
}

impl ScalarUDFImpl for OfKind {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [kinds] = arguments.args.as_slice() else { return exec_err!("`{}` takes one argument", self.name) };
        let kinds = cast(&kinds.to_array(arguments.number_rows)?, &DataType::Utf8View)?;
        let kinds = kinds.as_string_view();
        let mut codes = Codes::new(&self.kinds);
        codes.begin_batch();
        let asked = |row: usize| kinds.is_valid(row) && codes.of_text(kinds, row) != NO_CODES;
        let asked = BooleanBuffer::collect_bool(kinds.len(), asked);
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::new(asked, None))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn types_that_are_asked_for_are_told_apart() {
        let session = crate::segments::shop::session();
        let values = ["email_unsubscribed", "page_viewed"].map(str::to_owned).to_vec();
        session.register_udf(OfKind::function("asked", values));
        for text in ["Utf8View", "Utf8", "Dictionary(Int32, Utf8)"] {
            let sql = format!(
                "SELECT asked(arrow_cast(type, '{text}')) FROM (VALUES (1, 'page_viewed'), (2, NULL), \
                 (3, 'email_unsubscribed'), (4, 'email_unsubscribes'), (5, ''), (6, 'page_viewed')) r(n, type) ORDER BY n"
            );
            let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
            let asked: Vec<Option<bool>> = batches.iter().flat_map(|batch| batch.column(0).as_boolean()).collect();
            assert_eq!(asked, [true, false, true, false, false, true].map(Some), "{text}");
        }
    }
}
