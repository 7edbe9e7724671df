//! Tables of the catalogue whose rows are found when they are read and not before: they depend on who asks and when.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// Finds a table's rows.
#[async_trait]
pub(super) trait Rows: Debug + Send + Sync + 'static {
    /// What the table is told to be.
    const KIND: TableType = TableType::View;

    /// The table's columns.
    fn schema() -> SchemaRef;

    /// All rows, for whoever runs `state`; none where there is nobody any more to find them for.
    async fn rows(&self, state: &dyn Session) -> DfResult<Option<RecordBatch>>;
}

/// A table of such rows.
#[derive(Debug)]
pub(super) struct Fresh<T>(pub(super) T);

#[async_trait]
impl<T: Rows> TableProvider for Fresh<T> {
    fn schema(&self) -> SchemaRef {
        T::schema()
    }

    fn table_type(&self) -> TableType {
        T::KIND
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = self.0.rows(state).await?.into_iter().collect();
        MemTable::try_new(T::schema(), vec![rows])?.scan(state, projection, filters, limit).await
    }
}
