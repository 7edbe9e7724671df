//! One segment of the newest day as a table: its members with their profile.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider, default_table_source::provider_as_source};
use datafusion::common::JoinType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, ident, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::Column;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::lake::provider::DayTable;

/// The members of a segment. How many there are is known without reading: `count(*)` costs nothing.
#[derive(Debug)]
pub(super) struct SegmentTable {
    id: String,
    count: Option<u64>,
    members: Arc<DayTable>,
    profile: Arc<DayTable>,
}

impl SegmentTable {
    pub(super) fn new(id: &str, count: Option<u64>, members: Arc<DayTable>, profile: Arc<DayTable>) -> Self {
        Self { id: id.to_owned(), count, members, profile }
    }
}

impl SegmentTable {
    fn members<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        async move {
            if let (Some(columns), true, Some(count)) = (projection, filters.is_empty(), self.count)
                && columns.is_empty()
                && let Ok(count) = usize::try_from(count)
            {
                return rows(limit.map_or(count, |limit| limit.min(count)));
            }
            let members = provider_as_source(Arc::clone(&self.members) as Arc<dyn TableProvider>);
            let profile = provider_as_source(Arc::clone(&self.profile) as Arc<dyn TableProvider>);
            let members = LogicalPlanBuilder::scan("m", members, None)?
                .filter(ident("segment").eq(lit(self.id.as_str())))?
                .project([ident("customer_id")])?
                .build()?;
            let mut profile = LogicalPlanBuilder::scan("p", profile, None)?;
            for filter in filters {
                profile = profile.filter(filter.clone())?;
            }
            let on = |relation: &str| Column::new(Some(relation.to_owned()), "customer_id");
            let mut plan = LogicalPlanBuilder::from(members).join(
                profile.build()?,
                JoinType::RightSemi,
                (vec![on("m")], vec![on("p")]),
                None,
            )?;
            if let Some(columns) = projection {
                let schema = self.schema();
                plan = plan.project(columns.iter().map(|column| ident(schema.field(*column).name())))?;
            }
            let plan = plan.limit(0, limit)?.build()?;
            state.create_physical_plan(&plan).await
        }
        .boxed()
    }
}

impl TableProvider for SegmentTable {
    fn schema(&self) -> SchemaRef {
        self.profile.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|_| TableProviderFilterPushDown::Exact).collect())
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
        self.members(state, projection, filters, limit)
    }
}

/// That many rows of no columns.
fn rows(count: usize) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), Vec::new(), &options)?;
    Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?)
}
