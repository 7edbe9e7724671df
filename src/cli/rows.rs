//! Rows, and their three forms: table, JSON, CSV.

use std::borrow::Cow;
use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, Table, presets};

use super::output::{Format, Output};
use crate::error::{Error, Result};

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name: the header, and the key in JSON.
    pub name: String,
    /// Whether it is set to the right in a table.
    pub numeric: bool,
}

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Missing,
    /// Text, dates and instants.
    Text(String),
    /// An exact number, as its decimal text.
    Number(String),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Boolean(bool),
    /// Several values.
    List(Vec<Cell>),
    /// Named values.
    Record(Vec<(String, Cell)>),
}

/// A result that is small enough to be held.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The rows; each as long as the columns.
    pub rows: Vec<Vec<Cell>>,
}

/// Writes a result row by row. JSON and CSV are written as they come; a table is held until it is whole, since its
/// widths are known only then.
pub struct RowWriter<'o, 'a> {
    output: &'o mut Output<'a>,
    columns: Vec<Column>,
    table: Option<Table>,
    written: u64,
}

impl Rows {
    /// No rows yet; a name that begins with `#` is a column of numbers.
    pub fn new(columns: &[&str]) -> Self {
        let columns = columns.iter().map(|name| match name.strip_prefix('#') {
            Some(name) => Column { name: name.to_owned(), numeric: true },
            None => Column { name: (*name).to_owned(), numeric: false },
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row.
    #[must_use]
    pub fn with(mut self, row: Vec<Cell>) -> Self {
        self.push(row);
        self
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The rows of record batches of one schema.
    ///
    /// # Errors
    /// A value of a type that has no text.
    pub fn from_batches(schema: &Schema, batches: &[RecordBatch]) -> Result<Self> {
        let mut rows = Self { columns: columns_of(schema), rows: Vec::new() };
        for batch in batches {
            rows.rows.extend(cells_of(batch)?);
        }
        Ok(rows)
    }

    /// An array of objects, whose keys are in the order of the columns.
    pub fn to_json(&self) -> String {
        let mut text = String::from("[");
        for (index, row) in self.rows.iter().enumerate() {
            text.push_str(if index > 0 { ",\n" } else { "\n" });
            json_record(&self.columns, row, &mut text);
        }
        text.push_str(if self.rows.is_empty() { "]\n" } else { "\n]\n" });
        text
    }
}

impl<'o, 'a> RowWriter<'o, 'a> {
    /// Begins a result of these columns.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn begin(output: &'o mut Output<'a>, columns: Vec<Column>) -> Result<Self> {
        let mut table = None;
        match output.format() {
            Format::Table => {
                let mut empty = Table::new();
                empty.load_preset(presets::NOTHING);
                empty.set_header(columns.iter().map(|column| printable(&column.name).into_owned()));
                table = Some(empty);
            }
            Format::Json => output.write(b"[")?,
            Format::Csv => {
                let header = csv_line(columns.iter().map(|column| Cow::Borrowed(column.name.as_str())))?;
                output.write(&header)?;
            }
        }
        Ok(Self { output, columns, table, written: 0 })
    }

    /// Begins a result of a schema's columns.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn begin_schema(output: &'o mut Output<'a>, schema: &Schema) -> Result<Self> {
        Self::begin(output, columns_of(schema))
    }

    /// Writes one row.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn row(&mut self, row: Vec<Cell>) -> Result<()> {
        match (&mut self.table, self.output.format()) {
            (Some(table), _) => {
                let cells = row.iter().zip(&self.columns).map(|(cell, column)| {
                    let align = if column.numeric { CellAlignment::Right } else { CellAlignment::Left };
                    comfy_table::Cell::new(printable(&cell.for_people())).set_alignment(align)
                });
                table.add_row(cells.collect::<Vec<_>>());
            }
            (None, Format::Json) => {
                let mut text = String::from(if self.written > 0 { ",\n" } else { "\n" });
                json_record(&self.columns, &row, &mut text);
                self.output.write(text.as_bytes())?;
            }
            (None, _) => {
                let line = csv_line(row.iter().map(Cell::for_csv))?;
                self.output.write(&line)?;
            }
        }
        self.written += 1;
        Ok(())
    }

    /// Writes the rows of a record batch.
    ///
    /// # Errors
    /// As [`Output::write`], and a value of a type that has no text.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in cells_of(batch)? {
            self.row(row)?;
        }
        Ok(())
    }

    /// Ends the result.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn finish(mut self) -> Result<()> {
        match (self.table.take(), self.output.format()) {
            (Some(mut table), _) => {
                for (index, column) in self.columns.iter().enumerate() {
                    if let Some(shown) = table.column_mut(index) {
                        shown.set_padding((0, 2));
                        if column.numeric {
                            shown.set_cell_alignment(CellAlignment::Right);
                        }
                    }
                }
                for line in table.lines() {
                    self.output.line(line.trim_end())?;
                }
                Ok(())
            }
            (None, Format::Json) => self.output.write(if self.written > 0 { b"\n]\n" } else { b"]\n" }),
            (None, _) => Ok(()),
        }
    }
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A whole number.
    pub fn count(count: impl Into<i128>) -> Self {
        Self::Number(count.into().to_string())
    }

    /// What is there, or nothing.
    pub fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Self {
        value.map_or(Self::Missing, cell)
    }

    fn for_people(&self) -> Cow<'_, str> {
        match self {
            Self::Float(value) => {
                let text = format!("{value:.4}");
                let short = text.trim_end_matches('0').trim_end_matches('.');
                Cow::Owned(if short == "-0" { "0".to_owned() } else { short.to_owned() })
            }
            Self::List(items) => Cow::Owned(items.iter().map(Self::for_people).collect::<Vec<_>>().join(", ")),
            other => other.for_csv(),
        }
    }

    fn for_csv(&self) -> Cow<'_, str> {
        match self {
            Self::Missing => Cow::Borrowed(""),
            Self::Text(text) | Self::Number(text) => Cow::Borrowed(text),
            Self::Float(value) if !value.is_finite() => Cow::Owned(value.to_string()),
            other => {
                let mut text = String::new();
                other.json(&mut text);
                Cow::Owned(text)
            }
        }
    }

    fn json(&self, text: &mut String) {
        match self {
            Self::Missing => text.push_str("null"),
            Self::Text(value) => text.push_str(&serde_json::Value::from(value.as_str()).to_string()),
            Self::Number(digits) => text.push_str(digits),
            // JSON has no word for what is not finite; `null` it is, as serde_json has it.
            Self::Float(value) => text.push_str(&serde_json::Value::from(*value).to_string()),
            Self::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::List(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    text.push_str(if index > 0 { "," } else { "" });
                    item.json(text);
                }
                text.push(']');
            }
            Self::Record(members) => {
                text.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    let _infallible = write!(text, "{comma}{}:", serde_json::Value::from(name.as_str()));
                    value.json(text);
                }
                text.push('}');
            }
        }
    }
}

fn json_record(columns: &[Column], row: &[Cell], text: &mut String) {
    text.push_str("  {");
    for (index, (column, cell)) in columns.iter().zip(row).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let _infallible = write!(text, "{comma}{}: ", serde_json::Value::from(column.name.as_str()));
        cell.json(text);
    }
    text.push('}');
}

fn csv_line<'c>(cells: impl Iterator<Item = Cow<'c, str>>) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fault = |error: &dyn std::fmt::Display| Error::internal("cli.csv", error.to_string());
    let cells: Vec<Cow<'c, str>> = cells.collect();
    writer.write_record(cells.iter().map(|cell| cell.as_bytes())).map_err(|error| fault(&error))?;
    writer.into_inner().map_err(|error| fault(&error))
}

/// Landed text may hold control characters, which could move a terminal's cursor or hide what was printed.
fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn columns_of(schema: &Schema) -> Vec<Column> {
    let column = |field: &arrow::datatypes::FieldRef| Column {
        name: field.name().clone(),
        numeric: field.data_type().is_numeric(),
    };
    schema.fields().iter().map(column).collect()
}

fn cells_of(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>> {
    let columns = batch.columns().iter().map(plain).collect::<Result<Vec<ArrayRef>>>()?;
    let row = |row: usize| columns.iter().map(|column| cell(column.as_ref(), row)).collect::<Result<Vec<Cell>>>();
    (0..batch.num_rows()).map(row).collect()
}

/// Dictionaries and runs as the values that they stand for.
fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, value) => Ok(arrow::compute::cast(array, value)?),
        DataType::RunEndEncoded(_, value) => Ok(arrow::compute::cast(array, value.data_type())?),
        _ => Ok(ArrayRef::clone(array)),
    }
}

fn cell(array: &dyn Array, row: usize) -> Result<Cell> {
    if array.is_null(row) || matches!(array.data_type(), DataType::Null) {
        return Ok(Cell::Missing);
    }
    let items = |items: &ArrayRef| (0..items.len()).map(|row| cell(items.as_ref(), row)).collect::<Result<Vec<Cell>>>();
    Ok(match array.data_type() {
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Cell::Float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::List(_) => Cell::List(items(&array.as_list::<i32>().value(row))?),
        DataType::LargeList(_) => Cell::List(items(&array.as_list::<i64>().value(row))?),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let member = |(field, column): (&arrow::datatypes::FieldRef, &ArrayRef)| {
                Ok((field.name().clone(), cell(column.as_ref(), row)?))
            };
            Cell::Record(columns.map(member).collect::<Result<Vec<_>>>()?)
        }
        other => {
            let text = ArrayFormatter::try_new(array, &FormatOptions::default())?.value(row).to_string();
            if other.is_numeric() { Cell::Number(text) } else { Cell::Text(text) }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array, ListBuilder,
        StringArray, StringBuilder, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::cli::output::tests::printed;

    fn batch() -> RecordBatch {
        let mut tags = ListBuilder::new(StringBuilder::new());
        tags.append_value([Some("a"), Some("b, c")]);
        tags.append_null();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(StringArray::from(vec![Some("Åse \u{1b}[2J\n\"x\""), None]))),
            ("orders", Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None]))),
            (
                "spent",
                Arc::new(Decimal128Array::from(vec![Some(123_450), None]).with_precision_and_scale(28, 2).unwrap()),
            ),
            ("p", Arc::new(Float64Array::from(vec![Some(1.0 / 3.0), Some(f64::NAN)]))),
            (
                "seen",
                Arc::new(TimestampMicrosecondArray::from(vec![Some(1_763_510_400_000_000), None]).with_timezone("UTC")),
            ),
            ("on", Arc::new(Date32Array::from(vec![Some(20_411), None]))),
            ("ok", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("tags", Arc::new(tags.finish())),
            ("stage", Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("loyal"), None]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn print(format: Format, batches: &[RecordBatch]) -> String {
        let rows = Rows::from_batches(&batch().schema(), batches).unwrap();
        printed(format, |output| output.rows(rows)).0
    }

    #[test]
    fn the_three_forms() {
        insta::assert_snapshot!(print(Format::Table, &[batch()]), @r#"
        name                    orders    spent       p  seen                  on          ok    tags     stage
        Åse �[2J�"x"  9007199254740993  1234.50  0.3333  2025-11-19T00:00:00Z  2025-11-19  true  a, b, c  loyal
                                                    NaN
        "#);
        insta::assert_snapshot!(print(Format::Json, &[batch()]), @r#"
        [
          {"name": "Åse \u001b[2J\n\"x\"", "orders": 9007199254740993, "spent": 1234.50, "p": 0.3333333333333333, "seen": "2025-11-19T00:00:00Z", "on": "2025-11-19", "ok": true, "tags": ["a","b, c"], "stage": "loyal"},
          {"name": null, "orders": null, "spent": null, "p": null, "seen": null, "on": null, "ok": null, "tags": null, "stage": null}
        ]
        "#);
        insta::assert_snapshot!(print(Format::Csv, &[batch()]), @r#"
        name,orders,spent,p,seen,on,ok,tags,stage
        "Åse [2J
        ""x""",9007199254740993,1234.50,0.3333333333333333,2025-11-19T00:00:00Z,2025-11-19,true,"[""a"",""b, c""]",loyal
        ,,,NaN,,,,,
        "#);
    }

    #[test]
    fn json_is_json_and_keeps_every_digit() {
        let text = print(Format::Json, &[batch(), batch()]);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.len(), 4);
        assert!(text.contains("\"orders\": 9007199254740993, \"spent\": 1234.50"));
    }

    #[test]
    fn nothing_is_a_header_or_an_empty_array() {
        assert_eq!(print(Format::Json, &[]), "[]\n");
        assert_eq!(print(Format::Csv, &[]), "name,orders,spent,p,seen,on,ok,tags,stage\n");
        assert!(print(Format::Table, &[]).starts_with("name"));
    }
}
