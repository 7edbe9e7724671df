//! Rows that agree in what they are sorted by, put in an order of their own.
//!
//! A sort by all columns of a wide table holds every value of it twice. Where few rows agree in the first columns, it is
//! enough to sort by those, and to order the few among themselves as they pass by.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, partition, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use crate::error::Result;

/// The rows of a stream that is sorted by the columns `by`, and where rows agree in those, by all the others.
///
/// # Errors
/// A column that the stream does not have.
pub(super) fn settled(stream: SendableRecordBatchStream, by: &[&str]) -> Result<SendableRecordBatchStream> {
    let schema = stream.schema();
    let by = by.iter().map(|name| schema.index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
    let others: Vec<usize> = (0..schema.fields().len()).filter(|column| !by.contains(column)).collect();
    let fields = others.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
    let ties = Ties { schema: SchemaRef::clone(&schema), by, others, rows: RowConverter::new(fields)?, held: None };
    // A batch waits for the next one, which may go on with its last rows; none comes after the last.
    let batches = stream.map_ok(Some).chain(futures::stream::iter([Ok(None)]));
    let settled = batches.scan(ties, |ties, batch| {
        let out = match batch {
            Ok(batch) => ties.next(batch).map_err(Into::into),
            Err(error) => Err(error),
        };
        futures::future::ready(Some(out.transpose()))
    });
    let settled = settled.filter_map(futures::future::ready);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, settled)))
}

struct Ties {
    schema: SchemaRef,
    by: Vec<usize>,
    others: Vec<usize>,
    rows: RowConverter,
    held: Option<RecordBatch>,
}

impl Ties {
    /// The batch before, once it is known not to go on in this one.
    fn next(&mut self, batch: Option<RecordBatch>) -> Result<Option<RecordBatch>, ArrowError> {
        let Some(held) = self.held.take() else {
            self.held = batch;
            return Ok(None);
        };
        let Some(batch) = batch else { return self.in_order(held).map(Some) };
        if held.num_rows() == 0 || batch.num_rows() == 0 || self.goes_on(&held, &batch)? {
            self.held = Some(concat_batches(&self.schema, [&held, &batch])?);
            return Ok(None);
        }
        self.held = Some(batch);
        self.in_order(held).map(Some)
    }

    fn keys(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.by.iter().map(|column| Arc::clone(batch.column(*column))).collect()
    }

    /// Whether the first row of a batch agrees with the last one of the batch before.
    fn goes_on(&self, held: &RecordBatch, batch: &RecordBatch) -> Result<bool, ArrowError> {
        let edge = concat_batches(&self.schema, [&held.slice(held.num_rows() - 1, 1), &batch.slice(0, 1)])?;
        Ok(partition(&self.keys(&edge))?.len() == 1)
    }

    fn in_order(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(batch);
        }
        let runs = partition(&self.keys(&batch))?.ranges();
        if runs.len() == batch.num_rows() {
            return Ok(batch);
        }
        let mut order: Vec<u32> = (0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)).collect();
        for run in runs.into_iter().filter(|run| run.len() > 1) {
            let part = batch.slice(run.start, run.len());
            let columns: Vec<ArrayRef> = self.others.iter().map(|column| Arc::clone(part.column(*column))).collect();
            let rows = self.rows.convert_columns(&columns)?;
            let start = run.start;
            order[run].sort_by_key(|place| rows.row(*place as usize - start));
        }
        take_record_batch(&batch, &UInt32Array::from(order))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn rows(rows: &[(i64, &str)]) -> RecordBatch {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| *key)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, text)| *text)));
        RecordBatch::try_from_iter_with_nullable([("text", texts, true), ("key", keys, true)]).unwrap()
    }

    async fn settle(batches: Vec<RecordBatch>) -> Vec<(i64, String)> {
        let schema = rows(&[]).schema();
        let stream = futures::stream::iter(batches.into_iter().map(Ok));
        let stream: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, stream));
        let batches: Vec<RecordBatch> = settled(stream, &["key"]).unwrap().try_collect().await.unwrap();
        let mut all = Vec::new();
        for batch in batches {
            let keys = batch.column(1).as_primitive::<Int64Type>();
            let texts = batch.column(0).as_string::<i32>();
            all.extend((0..batch.num_rows()).map(|row| (keys.value(row), texts.value(row).to_owned())));
        }
        all
    }

    #[tokio::test]
    async fn rows_of_one_key_come_in_one_order_however_they_are_cut() {
        let all = [(1, "b"), (1, "a"), (2, "z"), (3, "c"), (3, "a"), (3, "b"), (3, "a")];
        let expected: Vec<(i64, String)> = [(1, "a"), (1, "b"), (2, "z"), (3, "a"), (3, "a"), (3, "b"), (3, "c")]
            .map(|(key, text)| (key, text.to_owned()))
            .to_vec();
        for size in 1..=all.len() {
            let mut batches: Vec<RecordBatch> = all.chunks(size).map(rows).collect();
            batches.insert(1, rows(&[]));
            assert_eq!(settle(batches).await, expected, "batches of {size}");
        }
        assert!(settle(Vec::new()).await.is_empty());
    }
}
