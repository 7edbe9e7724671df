//! Arrow schemas as Delta Lake and Parquet keep them.
//!
//! A stream's types are brought to those that every Delta reader knows (Utf8View to Utf8, any timestamp to UTC
//! microseconds, unsigned counts to Int64 …). A table's schema only grows: a column that an older day lacks reads as
//! null there, and a column keeps the type with which it was first published.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};

use crate::error::{Error, Result};
use crate::schema::landed::instant_type;
use crate::schema::published::{AS_OF, Published};

/// The type under which a column of this type is stored.
///
/// # Errors
/// `lake.column_type` for a type that Delta Lake has not (durations, unions …).
pub fn stored_type(name: &str, data_type: &DataType) -> Result<DataType> {
    Ok(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, _) => instant_type(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *scale >= 0 && *precision <= 38 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => stored_type(name, values)?,
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => {
            DataType::List(Arc::new(Field::new("element", stored_type(name, element.data_type())?, true)))
        }
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| Ok(Field::new(field.name(), stored_type(field.name(), field.data_type())?, true)))
                .collect::<Result<Fields>>()?,
        ),
        other => return Err(column_type(name, &format!("cannot be stored as {other}"))),
    })
}

/// The types of a table as SQL sees it: strings of a table's own columns are Utf8View.
pub fn session_schema(stored: &Schema) -> SchemaRef {
    let fields = stored.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(Field::new(field.name(), DataType::Utf8View, true)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

/// The columns of the data files that hold a stream's rows: the contract's first, in its order and types, then, in an
/// open table, the stream's other ones, in the type that the table has them in already, if any.
///
/// # Errors
/// `lake.missing_column`, `lake.unexpected_column`, `lake.column_name`, `lake.column_type`.
pub fn file_schema(table: &Published, existing: Option<&Schema>, stream: &Schema) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::with_capacity(stream.fields().len());
    for column in &table.columns {
        if stream.field_with_name(column.name()).is_err() {
            return Err(Error::internal(
                "lake.missing_column",
                format!("the rows for `{}` lack the column `{}`", table.name, column.name()),
            ));
        }
        fields.push(column.clone());
    }
    for field in stream.fields() {
        let name = field.name();
        if name == AS_OF && table.by_day() || table.columns.iter().any(|column| column.name() == name) {
            continue;
        }
        if !table.open {
            return Err(Error::internal(
                "lake.unexpected_column",
                format!("the rows for `{}` have the column `{name}`, which the contract does not know", table.name),
            ));
        }
        let stored = stored_type(name, field.data_type())?;
        fields.push(Field::new(name, stored, true));
    }
    let mut seen = BTreeSet::from([AS_OF.to_owned()]);
    for field in &mut fields {
        let name = field.name().clone();
        if !seen.insert(name.to_lowercase()) {
            return Err(column_name(&name, "differs from another column in upper and lower case only"));
        }
        if name.is_empty() || name.chars().any(|c| " ,;{}()\n\t=".contains(c)) {
            return Err(column_name(&name, "holds a space or one of `,;{}()=`, which many Delta readers refuse"));
        }
        if let Some(existing) = existing {
            let known = existing.fields().iter().find(|known| known.name().eq_ignore_ascii_case(&name));
            if let Some(known) = known {
                if known.name() != &name {
                    return Err(column_name(&name, &format!("was published as `{}` before", known.name())));
                }
                *field = Field::new(&name, settled_type(&name, known.data_type(), field.data_type())?, true);
            }
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The type for values of type `new` in a column that has type `known`.
fn settled_type(name: &str, known: &DataType, new: &DataType) -> Result<DataType> {
    if known == new {
        return Ok(known.clone());
    }
    let whole = |t: &DataType| match t {
        DataType::Int8 => Some(3_u8),
        DataType::Int16 => Some(5),
        DataType::Int32 => Some(10),
        DataType::Int64 => Some(19),
        _ => None,
    };
    match (known, new) {
        // Text holds anything that has a text.
        (DataType::Utf8, new) if !new.is_nested() => Ok(DataType::Utf8),
        (known, new) if whole(known).zip(whole(new)).is_some_and(|(known, new)| known >= new) => Ok(known.clone()),
        (DataType::Float64, DataType::Float32 | DataType::Int8 | DataType::Int16 | DataType::Int32) => {
            Ok(DataType::Float64)
        }
        (DataType::Decimal128(p, s), DataType::Decimal128(new_p, new_s))
            if s >= new_s && i16::from(*p) - i16::from(*s) >= i16::from(*new_p) - i16::from(*new_s) =>
        {
            Ok(known.clone())
        }
        (DataType::Decimal128(p, s), new)
            if whole(new).is_some_and(|d| i16::from(*p) - i16::from(*s) >= i16::from(d)) =>
        {
            Ok(known.clone())
        }
        (DataType::Struct(known), DataType::Struct(new)) => {
            let mut fields: Vec<Field> = known.iter().map(|field| field.as_ref().clone()).collect();
            for field in new {
                match fields.iter_mut().find(|known| known.name() == field.name()) {
                    Some(known) => {
                        let settled = settled_type(name, known.data_type(), field.data_type())?;
                        *known = Field::new(field.name(), settled, true);
                    }
                    None => fields.push(field.as_ref().clone()),
                }
            }
            Ok(DataType::Struct(fields.into()))
        }
        _ => Err(column_type(name, &format!("was published as {known} before, and is {new} now"))),
    }
}

/// The table's schema once it also has the columns of `files`, `None` if it has them already.
///
/// # Errors
/// `lake.column_type`, `lake.column_name` where a column has become something else since the files were written.
pub fn widened(existing: &Schema, files: &Schema) -> Result<Option<Schema>> {
    let mut fields: Vec<Field> = existing.fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut wider = false;
    for field in files.fields() {
        let name = field.name();
        match fields.iter_mut().find(|known| known.name().eq_ignore_ascii_case(name)) {
            Some(known) if known.name() != name => {
                return Err(column_name(name, &format!("was published as `{}` meanwhile", known.name())));
            }
            Some(known) if known.data_type() == field.data_type() => {}
            Some(known) if settled_type(name, known.data_type(), field.data_type())? == *field.data_type() => {
                *known = field.as_ref().clone();
                wider = true;
            }
            Some(known) => {
                return Err(column_type(name, &format!("was published as {} meanwhile", known.data_type())));
            }
            None => {
                fields.push(field.as_ref().clone());
                wider = true;
            }
        }
    }
    Ok(wider.then(|| Schema::new(fields)))
}

/// A batch in the columns and types of `schema`, columns found by name.
///
/// # Errors
/// `lake.missing_column`; `lake.column_type` for a value that its column cannot hold.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = batch.column_by_name(field.name()).ok_or_else(|| {
                Error::internal("lake.missing_column", format!("the rows lack the column `{}`", field.name()))
            })?;
            conform_array(field.name(), column, field.data_type())
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn conform_array(name: &str, array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    if let (DataType::Struct(_), DataType::Struct(fields)) = (array.data_type(), data_type) {
        let struct_array = array.as_struct();
        let columns = fields
            .iter()
            .map(|field| match struct_array.column_by_name(field.name()) {
                Some(column) => conform_array(name, column, field.data_type()),
                None => Ok(new_null_array(field.data_type(), array.len())),
            })
            .collect::<Result<Vec<_>>>()?;
        let nulls = struct_array.nulls().cloned();
        return Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?));
    }
    // The value itself could be personal: Arrow's message, which quotes it, stays out.
    cast_with_options(array, data_type, &CastOptions { safe: false, ..CastOptions::default() })
        .map_err(|_| column_type(name, &format!("holds a value that is no {data_type}")))
}

/// A schema as Delta Lake writes it.
///
/// # Errors
/// `lake.column_type`.
pub fn to_delta(schema: &Schema) -> Result<StructType> {
    schema
        .try_into_kernel()
        .map_err(|e: arrow::error::ArrowError| Error::internal("lake.column_type", e.to_string()).with_source(e))
}

/// A Delta schema as Arrow has it in storage.
///
/// # Errors
/// `lake.column_type`.
pub fn from_delta(schema: &StructType) -> Result<Schema> {
    schema
        .try_into_arrow()
        .map_err(|e: arrow::error::ArrowError| Error::storage("lake.column_type", e.to_string()).with_source(e))
}

/// A schema without the partition column.
pub fn without_as_of(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().filter(|field| field.name() != AS_OF).cloned().collect::<Fields>())
}

fn column_type(name: &str, why: &str) -> Error {
    Error::definition("lake.column_type", format!("the column `{name}` {why}"))
        .with_hint("declare its type under `[fields]`, or land it under another name")
}

fn column_name(name: &str, why: &str) -> Error {
    Error::definition("lake.column_name", format!("the column name `{name}` {why}"))
        .with_hint("give the column another name under `[tables.customers]`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::published::{Keeps, named};
    use arrow::array::{Int64Array, StringArray, StringViewArray, UInt64Array};
    use arrow::datatypes::TimeUnit;

    fn open_table() -> Published {
        Published {
            name: "t",
            keeps: Keeps::Days,
            key: &[],
            columns: vec![Field::new("id", DataType::Utf8, true)],
            open: true,
            contact: false,
        }
    }

    #[test]
    fn every_published_table_is_a_delta_table_and_comes_back() {
        for table in crate::schema::published::tables() {
            let schema = table.schema();
            let back = from_delta(&to_delta(&schema).unwrap()).unwrap();
            assert_eq!(back.fields(), schema.fields(), "{}", table.name);
            for field in &table.columns {
                assert_eq!(&stored_type(field.name(), field.data_type()).unwrap(), field.data_type());
            }
        }
    }

    #[test]
    fn streams_are_brought_to_what_every_reader_knows() {
        let stream = Schema::new(vec![
            Field::new("visits", DataType::UInt64, false),
            Field::new("id", DataType::Utf8View, false),
            Field::new("seen", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        ]);
        let schema = file_schema(&open_table(), None, &stream).unwrap();
        let names: Vec<_> = schema.fields().iter().map(|f| (f.name().as_str(), f.data_type().clone())).collect();
        assert_eq!(names, [("id", DataType::Utf8), ("visits", DataType::Int64), ("seen", instant_type())]);

        let batch = RecordBatch::try_from_iter([
            ("visits", Arc::new(UInt64Array::from(vec![7])) as ArrayRef),
            ("id", Arc::new(StringViewArray::from(vec!["a"])) as ArrayRef),
            ("seen", new_null_array(stream.field(2).data_type(), 1)),
        ])
        .unwrap();
        let stored = conform(&batch, &schema).unwrap();
        assert_eq!(stored.column(0).as_string::<i32>(), &StringArray::from(vec!["a"]));
        assert_eq!(stored.column(1).as_primitive::<arrow::datatypes::Int64Type>(), &Int64Array::from(vec![7]));
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_column_only() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let batch =
            RecordBatch::try_from_iter([("n", Arc::new(StringArray::from(vec!["+45 secret"])) as ArrayRef)]).unwrap();
        let error = conform(&batch, &schema).unwrap_err();
        assert_eq!(error.code(), "lake.column_type");
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn what_the_contract_asks_must_come_and_nothing_else_may() {
        let stream = Schema::new(vec![Field::new("segment", DataType::Utf8View, false)]);
        let members = named("segment_members").unwrap();
        assert_eq!(file_schema(&members, None, &stream).unwrap_err().code(), "lake.missing_column");
        let stream = Schema::new(vec![
            Field::new("segment", DataType::Utf8View, false),
            Field::new("customer_id", DataType::Utf8View, false),
            Field::new("email", DataType::Utf8View, false),
        ]);
        assert_eq!(file_schema(&members, None, &stream).unwrap_err().code(), "lake.unexpected_column");
    }

    #[test]
    fn names_that_readers_refuse_are_refused_here() {
        for name in ["Loyalty Level", "", "a=b", "ID"] {
            let stream =
                Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new(name, DataType::Utf8, true)]);
            let error = file_schema(&open_table(), None, &stream).unwrap_err();
            assert_eq!(error.code(), "lake.column_name", "{name}");
        }
    }

    #[test]
    fn a_column_keeps_its_first_type_and_structs_grow() {
        let of =
            |data_type| Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("x", data_type, true)]);
        let settled = |known: DataType, new: DataType| {
            file_schema(&open_table(), Some(&of(known)), &of(new)).map(|schema| schema.field(1).data_type().clone())
        };
        assert_eq!(settled(DataType::Utf8, DataType::Int64).unwrap(), DataType::Utf8);
        assert_eq!(settled(DataType::Int64, DataType::Int32).unwrap(), DataType::Int64);
        assert_eq!(settled(DataType::Decimal128(18, 2), DataType::Int32).unwrap(), DataType::Decimal128(18, 2));
        assert_eq!(settled(DataType::Int64, DataType::Utf8).unwrap_err().code(), "lake.column_type");
        assert_eq!(settled(DataType::Decimal128(10, 2), DataType::Int64).unwrap_err().code(), "lake.column_type");

        let one = DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into());
        let two = DataType::Struct(
            vec![Field::new("b", DataType::Utf8, true), Field::new("a", DataType::Int64, true)].into(),
        );
        let both = settled(one.clone(), two).unwrap();
        let DataType::Struct(fields) = &both else { panic!("{both}") };
        assert_eq!(fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(widened(&of(one.clone()), &of(one.clone())).unwrap().is_none());
        assert!(widened(&of(DataType::Utf8), &of(DataType::Int64)).is_err());
        assert!(widened(&of(both.clone()), &of(one.clone())).is_err());
        assert_eq!(widened(&of(one), &of(both.clone())).unwrap().unwrap().field(1).data_type(), &both);
    }
}
