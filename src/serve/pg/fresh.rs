//! Tables of the catalogue whose rows are found when they are read and not before: they depend on who asks and when.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use futures::future::BoxFuture;

/// Finds a table's rows.
pub(super) trait Rows: Debug + Send + Sync + 'static {
    /// What the table is told to be.
    const KIND: TableType = TableType::View;

    /// The table's columns.
    fn schema() -> SchemaRef;

    /// All rows, for whoever runs `state`; none where there is nobody any more to find them for.
    fn rows<'a>(&'a self, state: &'a dyn Session) -> BoxFuture<'a, DfResult<Option<RecordBatch>>>;
}

/// A table of such rows.
#[derive(Debug)]
pub(super) struct Fresh<T>(pub(super) T);

impl<T: Rows> Fresh<T> {
    fn plan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        async move {
            let rows = self.0.rows(state).await?.into_iter().collect();
            MemTable::try_new(T::schema(), vec![rows])?.scan(state, projection, filters, limit).await
        }
        .boxed()
    }
}

impl<T: Rows> TableProvider for Fresh<T> {
    fn schema(&self) -> SchemaRef {
        T::schema()
    }

    fn table_type(&self) -> TableType {
        T::KIND
    }

    // Written out: ARCHITECTURE.md, "Futures in traits".
    fn scan<'s, 'e, 'p, 'q, 'f>(
        &'s self,
        state: &'e dyn Session,
        projection: Option<&'p Vec<usize>>,
        filters: &'q [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'f, DfResult<Arc<dyn ExecutionPlan>>>
    where
        's: 'f,
        'e: 'f,
        'p: 'f,
        'q: 'f,
    {
        self.plan(state, projection, filters, limit)
    }
}
