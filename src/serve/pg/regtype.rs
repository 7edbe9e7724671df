//! `to_regtype(name)`: the number of a type, or null. psycopg asks it for types of extensions when it connects.

use std::sync::Arc;

use arrow::array::{AsArray, Int32Array};
use arrow::datatypes::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion_postgres::pgwire::api::Type;

/// Numbers above this one are not Postgres's own.
const BUILT_IN: u32 = 10_000;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RegType {
    signature: Signature,
}

impl RegType {
    pub(super) fn new() -> Self {
        Self { signature: Signature::string(1, Volatility::Immutable) }
    }
}

/// The number of a type by its name, in SQL's words or in Postgres's.
fn number(name: &str) -> Option<i32> {
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let name = match name {
        "boolean" => "bool",
        "smallint" => "int2",
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "double precision" => "float8",
        "decimal" => "numeric",
        "character varying" => "varchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        own => own,
    };
    let known = (1..BUILT_IN).filter_map(Type::from_oid).find(|known| known.name() == name)?;
    i32::try_from(known.oid()).ok()
}

impl ScalarUDFImpl for RegType {
    fn name(&self) -> &'static str {
        "to_regtype"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let names = ColumnarValue::values_to_arrays(&arguments.args)?;
        let Some(names) = names.first() else { return Ok(ColumnarValue::Array(Arc::new(Int32Array::new_null(0)))) };
        let names = arrow::compute::cast(names, &DataType::Utf8)?;
        let numbers: Int32Array = names.as_string::<i32>().iter().map(|name| name.and_then(number)).collect();
        Ok(ColumnarValue::Array(Arc::new(numbers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_numbers_that_clients_know() {
        assert_eq!(number("int8"), Some(20));
        assert_eq!(number("Timestamp With Time Zone"), Some(1184));
        assert_eq!(number("pg_catalog.text"), Some(25));
        assert_eq!(number("hstore"), None);
    }
}
