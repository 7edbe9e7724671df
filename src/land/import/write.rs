//! Rows to Parquet, in parts that another task uploads: memory is bounded whatever the file's size.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tokio::sync::mpsc::Sender;

use super::columns::{Column, Landing, schema};
use super::json::{self, Value};
use super::times::{self, Time};
use crate::calendar::Zone;
use crate::engine::BATCH_ROWS;
use crate::error::Result;
use crate::schema::landed::Reading;

/// Bytes of a part of an upload: object stores ask for 5 MiB at least, and take 10,000 parts.
pub(super) const PART: usize = 8 << 20;

/// Bytes of values in a batch, where wide rows fill it before [`BATCH_ROWS`] do.
const BATCH_BYTES: usize = 8 << 20;

/// Rows of a row group.
const GROUP_ROWS: usize = 128 << 10;

/// Bytes of a row group while it is built.
const GROUP_BYTES: usize = 64 << 20;

/// The key under which a landed file says in which zone its times were read.
pub(super) const ZONE_KEY: &str = "alluvial.timezone";

/// Cuts what is written into parts and hands them over; waits while the upload is behind.
#[derive(Debug)]
pub(super) struct Parts {
    sender: Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Parts {
    pub(super) fn new(sender: Sender<Bytes>) -> Self {
        Self { sender, buffer: Vec::new() }
    }

    fn send(&mut self) -> std::io::Result<()> {
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(part).map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }

    /// Sends what is left.
    pub(super) fn finish(mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

impl Write for Parts {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let taken = data.get(..PART - self.buffer.len()).unwrap_or(data);
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() == PART {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A Parquet file that is being written.
pub(super) struct Writer {
    inner: ArrowWriter<Parts>,
    /// Rows so far.
    pub(super) rows: u64,
}

impl Writer {
    /// Begins a file; `zone` is told in it where text times were given an offset.
    pub(super) fn new(schema: SchemaRef, zone: Option<Zone>, sender: Sender<Bytes>) -> Result<Self> {
        let keys = zone.map(|zone| vec![KeyValue::new(ZONE_KEY.to_owned(), zone.name().to_owned())]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .set_key_value_metadata(keys)
            .build();
        Ok(Self { inner: ArrowWriter::try_new(Parts::new(sender), schema, Some(properties))?, rows: 0 })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += u64::try_from(batch.num_rows()).unwrap_or(0);
        self.inner.write(batch)?;
        Ok(())
    }

    /// Ends the file and hands over its last part.
    pub(super) fn finish(self) -> Result<()> {
        Ok(self.inner.into_inner()?.finish()?)
    }
}

/// Collects the rows of a text file into batches.
pub(super) struct Rows<'a> {
    writer: &'a mut Writer,
    schema: SchemaRef,
    columns: &'a [Column],
    builders: Vec<Builder>,
    zone: Zone,
    rows: usize,
    bytes: usize,
}

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    List(ListBuilder<StringBuilder>),
}

impl<'a> Rows<'a> {
    pub(super) fn new(writer: &'a mut Writer, columns: &'a [Column], zone: Zone) -> Self {
        let builders = columns.iter().map(|column| Builder::new(column.landing)).collect();
        Self { writer, schema: schema(columns), columns, builders, zone, rows: 0, bytes: 0 }
    }

    /// One row: `value` gives what each column has.
    pub(super) fn push<'v>(&mut self, mut value: impl FnMut(usize) -> Option<Value<'v>>) -> Result<()> {
        for (index, (column, builder)) in self.columns.iter().zip(&mut self.builders).enumerate() {
            self.bytes += builder.push(column.reading, value(index), self.zone);
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the rows that wait.
    pub(super) fn flush(&mut self) -> Result<()> {
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        (self.rows, self.bytes) = (0, 0);
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

impl Builder {
    fn new(landing: Landing) -> Self {
        match landing {
            Landing::Text => Builder::Text(StringBuilder::new()),
            Landing::Integer => Builder::Integer(Int64Builder::new()),
            Landing::Float => Builder::Float(Float64Builder::new()),
            Landing::Boolean => Builder::Boolean(BooleanBuilder::new()),
            Landing::List => {
                let element = Field::new("element", DataType::Utf8, true);
                Builder::List(ListBuilder::new(StringBuilder::new()).with_field(element))
            }
        }
    }

    /// Adds a value and gives the bytes that it takes. The types were chosen by the values, so that one that does not
    /// fit comes from a file that changed meanwhile, and that file's hash will tell.
    fn push(&mut self, reading: Option<Reading>, value: Option<Value<'_>>, zone: Zone) -> usize {
        match self {
            Builder::Text(builder) => {
                let Some(text) = value.and_then(|value| text(reading, value, zone)) else {
                    builder.append_null();
                    return 8;
                };
                builder.append_value(&text);
                text.len() + 8
            }
            Builder::Integer(builder) => {
                builder.append_option(number(value.as_ref()).and_then(|number| number.parse().ok()));
                8
            }
            Builder::Float(builder) => {
                builder.append_option(number(value.as_ref()).and_then(|number| number.parse().ok()));
                8
            }
            Builder::Boolean(builder) => {
                builder.append_option(match value {
                    Some(Value::Boolean(truth)) => Some(truth),
                    _ => None,
                });
                1
            }
            Builder::List(builder) => {
                let elements = match &value {
                    Some(Value::List(list)) => json::elements(list),
                    _ => None,
                };
                let bytes = elements.iter().flatten().flatten().map(|element| element.len() + 8).sum::<usize>() + 8;
                builder.append_option(elements);
                bytes
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Integer(builder) => Arc::new(builder.finish()),
            Builder::Float(builder) => Arc::new(builder.finish()),
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::List(builder) => Arc::new(builder.finish()),
        }
    }
}

fn number<'a>(value: Option<&Value<'a>>) -> Option<&'a str> {
    match value {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    }
}

/// A value as the text that the run reads.
fn text<'a>(reading: Option<Reading>, value: Value<'a>, zone: Zone) -> Option<std::borrow::Cow<'a, str>> {
    let text = match value {
        Value::Null => return None,
        Value::Text(text) => text,
        Value::Number(number) if matches!(reading, Some(Reading::Id | Reading::Integer)) => json::whole(number),
        Value::Number(literal) | Value::List(literal) | Value::Object(literal) => literal.into(),
        Value::Boolean(truth) => if truth { "true" } else { "false" }.into(),
    };
    if reading == Some(Reading::Instant)
        && let Time::Converted(at) = times::read(&text, zone)
    {
        return Some(at.into());
    }
    Some(text)
}

/// A text column with its times converted.
pub(super) fn converted(values: &ArrayRef, zone: Zone) -> Result<ArrayRef> {
    use arrow::array::AsArray;
    if values.data_type() == &DataType::Null {
        return Ok(new_null_array(&DataType::Utf8, values.len()));
    }
    let texts = arrow::compute::cast(values, &DataType::Utf8)?;
    let mut out = StringBuilder::new();
    for value in texts.as_string::<i32>() {
        match value.map(|text| (text, times::read(text, zone))) {
            Some((_, Time::Converted(at))) => out.append_value(at),
            Some((text, _)) => out.append_value(text),
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}
