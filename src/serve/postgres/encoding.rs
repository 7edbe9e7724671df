//! How values are told: columns as Postgres describes them, rows as messages.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::arrow_pg::encoder::encode_value;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldInfo, SendableRowStream};
use datafusion_postgres::pgwire::api::{ClientInfo, Type};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::data::DataRow;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::wire;
use crate::serve::fault::Fault;

/// How a client wants its values.
#[derive(Clone)]
pub(super) struct Encoding {
    pub(super) format: Format,
    pub(super) options: Arc<FormatOptions>,
}

impl Encoding {
    pub(super) fn of<C: ClientInfo>(client: &C, format: Format) -> Self {
        Self { format, options: Arc::new(FormatOptions::from_client_metadata(client.metadata())) }
    }

    /// The columns of rows, as Postgres describes them.
    pub(super) fn fields(&self, schema: &Schema) -> PgWireResult<Arc<Vec<FieldInfo>>> {
        fields(schema, &self.format, Some(Arc::clone(&self.options)))
    }
}

/// The columns of rows, as Postgres describes them.
pub(super) fn fields(
    schema: &Schema,
    format: &Format,
    options: Option<Arc<FormatOptions>>,
) -> PgWireResult<Arc<Vec<FieldInfo>>> {
    let columns = schema.fields().len();
    if let Format::Individual(formats) = format
        && formats.len() != columns
    {
        let message = format!("{} formats are given for {columns} columns", formats.len());
        return Err(wire(Fault::protocol(message)));
    }
    let mut fields = arrow_schema_to_pg_fields(schema, format, options)?;
    for (field, column) in fields.iter_mut().zip(schema.fields()) {
        let size = match *field.datatype() {
            Type::BOOL => 1,
            Type::INT2 => 2,
            Type::INT4 | Type::FLOAT4 | Type::DATE => 4,
            Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
            _ => -1,
        };
        *field = field.clone().with_type_size(size);
        if let DataType::Decimal128(precision, scale) = column.data_type()
            && *scale >= 0
        {
            *field = field.clone().with_type_modifier((i32::from(*precision) << 16 | i32::from(*scale)) + 4);
        }
    }
    Ok(Arc::new(fields))
}

/// Rows as messages.
pub(super) fn encode(
    fields: Arc<Vec<FieldInfo>>,
    batches: BoxStream<'static, Result<RecordBatch, Fault>>,
) -> SendableRowStream {
    let rows = batches.flat_map(move |batch| match batch {
        Ok(batch) => futures::stream::iter(rows_of(Arc::clone(&fields), batch)).boxed(),
        Err(fault) => futures::stream::iter([Err(wire(fault))]).boxed(),
    });
    Box::pin(rows)
}

/// The rows of a batch. The library takes an interval that is null for one of no length.
fn rows_of(fields: Arc<Vec<FieldInfo>>, batch: RecordBatch) -> Box<dyn Iterator<Item = PgWireResult<DataRow>> + Send> {
    let is_lost = |column: &ArrayRef| matches!(column.data_type(), DataType::Interval(_)) && column.null_count() > 0;
    if !batch.columns().iter().any(is_lost) {
        return Box::new(encode_recordbatch(fields, batch));
    }
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    Box::new((0..batch.num_rows()).map(move |row| {
        let schema = batch.schema();
        for ((column, of), field) in batch.columns().iter().zip(schema.fields()).zip(fields.iter()) {
            if is_lost(column) && column.is_null(row) {
                encoder.encode_field(&None::<&str>)?;
            } else {
                encode_value(&mut encoder, column, row, of, field)?;
            }
        }
        Ok(encoder.take_row())
    }))
}
