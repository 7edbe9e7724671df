//! From rows to lines: CSV as RFC 4180 writes it, and JSON Lines.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, StringViewBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::json::writer::WriterBuilder;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;

/// The byte order mark that makes a spreadsheet read UTF-8.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// The header line.
pub(super) fn csv_header(schema: &Schema) -> Vec<u8> {
    let mut line = Vec::new();
    for (place, field) in schema.fields().iter().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        cell(field.name(), &mut line);
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// Rows as lines. With `spreadsheet`, text that a spreadsheet would run as a formula is given an apostrophe.
pub(super) fn csv(batch: &RecordBatch, spreadsheet: bool) -> Result<Vec<u8>> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| Ok((texts(column)?, spreadsheet && is_text(column.data_type()))))
        .collect::<Result<Vec<(StringViewArray, bool)>>>()?;
    let mut lines = Vec::with_capacity(batch.num_rows() * 16 * columns.len().max(1));
    for row in 0..batch.num_rows() {
        for (place, (column, guarded)) in columns.iter().enumerate() {
            if place > 0 {
                lines.push(b',');
            }
            if column.is_null(row) {
                continue;
            }
            let value = column.value(row);
            if *guarded && is_formula(value) {
                cell(&format!("'{value}"), &mut lines);
            } else {
                cell(value, &mut lines);
            }
        }
        lines.extend_from_slice(b"\r\n");
    }
    Ok(lines)
}

/// Rows as JSON objects, each on its line, with every column.
pub(super) fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>> {
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: LineDelimitedWriter<_> = builder.build(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

fn cell(value: &str, line: &mut Vec<u8>) {
    let quoted = value.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'))
        || value.starts_with(' ')
        || value.ends_with(' ');
    if !quoted {
        line.extend_from_slice(value.as_bytes());
        return;
    }
    line.push(b'"');
    for byte in value.bytes() {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
}

/// Whether a spreadsheet would run a text. What reads as a number alone, a phone such as `+4512345678` too, does no harm.
fn is_formula(value: &str) -> bool {
    match value.as_bytes() {
        [b'=' | b'@' | b'\t' | b'\r', ..] => true,
        [b'+' | b'-', rest @ ..] => {
            rest.is_empty() || !rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
        }
        _ => false,
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::List(_))
}

/// A column as texts: instants as RFC 3339, lists as JSON.
fn texts(column: &ArrayRef) -> Result<StringViewArray> {
    match column.data_type() {
        DataType::Utf8View => Ok(column.as_string_view().clone()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null | DataType::Dictionary(_, _) => {
            Ok(cast(column, &DataType::Utf8View)?.as_string_view().clone())
        }
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            let mut built = StringViewBuilder::new();
            for row in 0..lists.len() {
                if lists.is_null(row) {
                    built.append_null();
                    continue;
                }
                let items = cast(&lists.value(row), &DataType::Utf8)?;
                let items: Vec<Option<&str>> = items.as_string::<i32>().iter().collect();
                built.append_value(serde_json::Value::from(items).to_string());
            }
            Ok(built.finish())
        }
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let mut built = StringViewBuilder::with_capacity(column.len());
            let mut text = String::new();
            for row in 0..column.len() {
                if column.is_null(row) {
                    built.append_null();
                } else {
                    text.clear();
                    formatter.value(row).write(&mut text)?;
                    built.append_value(&text);
                }
            }
            Ok(built.finish())
        }
    }
}

/// A batch whose string views are plain strings, which every reader of Parquet knows.
pub(super) fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let kind = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            other => other.clone(),
        };
        columns.push(cast(column, &kind)?);
        fields.push(field.as_ref().clone().with_data_type(kind).with_nullable(true));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int64Array, StringArray};

    fn batch(values: Vec<Option<&str>>) -> RecordBatch {
        let numbers = Int64Array::from((0..values.len()).map(|n| Some(-(n as i64))).collect::<Vec<_>>());
        let columns: Vec<(&str, ArrayRef)> =
            vec![("a,b", Arc::new(StringArray::from(values))), ("n", Arc::new(numbers))];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    #[test]
    fn lines_are_those_of_rfc_4180() {
        let batch = batch(vec![Some("Åse, \"x\""), None, Some("two\nlines"), Some(" edge")]);
        assert_eq!(csv_header(&batch.schema()), b"\"a,b\",n\r\n");
        let text = String::from_utf8(csv(&batch, true).unwrap()).unwrap();
        assert_eq!(text, "\"Åse, \"\"x\"\"\",0\r\n,-1\r\n\"two\nlines\",-2\r\n\" edge\",-3\r\n");
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_neutralised_for_people_only() {
        let values = ["=1+1", "@sum", "+45 cmd|x", "-2+3", "\tx", "+4512345678", "-12,5", "a=b"];
        let batch = batch(values.iter().map(|value| Some(*value)).collect());
        let text = |spreadsheet| {
            let text = String::from_utf8(csv(&batch, spreadsheet).unwrap()).unwrap();
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            reader.records().map(|row| row.unwrap()[0].to_owned()).collect::<Vec<String>>()
        };
        assert_eq!(text(false), values);
        assert_eq!(text(true), ["'=1+1", "'@sum", "'+45 cmd|x", "'-2+3", "'\tx", "+4512345678", "-12,5", "a=b"]);
    }

    #[test]
    fn json_has_every_column_on_every_line() {
        let text = String::from_utf8(json_lines(&batch(vec![Some("x"), None])).unwrap()).unwrap();
        assert_eq!(text, "{\"a,b\":\"x\",\"n\":0}\n{\"a,b\":null,\"n\":-1}\n");
    }
}
