//! Rows in the order of their places, bucket after bucket.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt32Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use super::BUCKET;
use crate::engine::BATCH_ROWS;
use crate::engine::dealt::{DealtFile, in_turn};
use crate::error::Result;

/// The table.
#[derive(Debug)]
pub(super) struct PlacedTable {
    pub(super) schema: SchemaRef,
    pub(super) place: String,
    pub(super) sorted: Vec<String>,
    pub(super) files: Arc<Vec<DealtFile>>,
}

#[async_trait]
impl TableProvider for PlacedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let mut orders = Vec::new();
        for name in self.sorted.iter().filter(|name| schema.index_of(name).is_ok()) {
            let column = datafusion::physical_expr::expressions::col(name, &schema)?;
            let ascending = SortOptions { descending: false, nulls_first: false };
            orders.extend(LexOrdering::new([PhysicalSortExpr::new(column, ascending)]));
        }
        let place = self.schema.index_of(&self.place)?;
        let rows = InOrder { files: Arc::clone(&self.files), place, columns, schema: Arc::clone(&schema) };
        let plan = StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, orders, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// The rows, bucket after bucket.
#[derive(Debug, Clone)]
struct InOrder {
    files: Arc<Vec<DealtFile>>,
    /// Where the place stands among the table's columns.
    place: usize,
    /// The table's columns that are wanted, in their order.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl InOrder {
    /// The rows of one bucket, in order.
    fn bucket(&self, bucket: u32) -> Result<Vec<RecordBatch>> {
        let mut read: Vec<usize> = self.columns.iter().copied().chain([self.place]).collect();
        read.sort_unstable();
        read.dedup();
        let at = |column: usize| read.binary_search(&column).unwrap_or_default();
        let batches = DealtFile::read(&self.files, bucket, &read)?;
        let Some(first) = batches.first() else { return Ok(Vec::new()) };
        let all = concat_batches(&first.schema(), &batches)?;
        let places = all.column(at(self.place)).as_primitive::<UInt32Type>();
        let mut rows = vec![u32::MAX; BUCKET as usize];
        for (row, place) in (0_u32..).zip(places.values()) {
            if let Some(slot) = rows.get_mut((place % BUCKET) as usize) {
                *slot = row;
            }
        }
        let rows = UInt32Array::from_iter_values(rows.into_iter().filter(|row| *row != u32::MAX));
        let wanted: Vec<usize> = self.columns.iter().map(|column| at(*column)).collect();
        let mut sorted = Vec::new();
        for from in (0..rows.len()).step_by(BATCH_ROWS) {
            let part = rows.slice(from, BATCH_ROWS.min(rows.len() - from));
            // With its place a row has a column at least.
            let part = take_record_batch(&all, &part)?.project(&wanted)?;
            sorted.push(part.with_schema(Arc::clone(&self.schema))?);
        }
        Ok(sorted)
    }
}

impl PartitionStream for InOrder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let this = self.clone();
        in_turn(Arc::clone(&self.schema), DealtFile::buckets(&self.files), move |bucket| this.bucket(bucket))
    }
}
