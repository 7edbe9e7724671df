//! The first rows of partitions, by the whole of what they are sorted by.
//!
//! Where every partition has one value of a column (the days of a union), DataFusion 55.2 drops the column from the sort
//! within partitions. With a limit those sorts tell each other what the last row can be, and a row of one partition is
//! then thrown away for a better one of another that comes after it: `ORDER BY as_of DESC, customer_id LIMIT 3` lost rows
//! of the newest day. Such a sort is given back what the merge above it sorts by.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

/// The rule.
#[derive(Debug)]
pub(super) struct WholeSort;

impl PhysicalOptimizerRule for WholeSort {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() else { return Ok(Transformed::no(node)) };
            let Some(sort) = merge.input().downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
            if sort.fetch().is_none() || sort.expr() == merge.expr() {
                return Ok(Transformed::no(node));
            }
            let whole = SortExec::new(merge.expr().clone(), Arc::clone(sort.input()))
                .with_fetch(sort.fetch())
                .with_preserve_partitioning(sort.preserve_partitioning());
            let merge = SortPreservingMergeExec::new(merge.expr().clone(), Arc::new(whole)).with_fetch(merge.fetch());
            Ok(Transformed::yes(Arc::new(merge) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "WholeSort"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use crate::engine::{Engine, Limits};

    /// Each day is a partition; whichever is read first, the newest rows are the first.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_newest_rows_of_a_union_of_days_are_found() {
        let limits = Limits { memory: 1 << 30, threads: 4, spill: None };
        let session = Engine::new(limits, Vec::new(), None).unwrap().session();
        let days: Vec<String> = (1..=6)
            .map(|day| format!("SELECT {day} AS as_of, {day} * 100000 - value AS id FROM generate_series(1, 20000)"))
            .collect();
        let sql = format!("SELECT as_of, id FROM ({}) ORDER BY as_of DESC, id LIMIT 5", days.join(" UNION ALL "));
        for _ in 0..5 {
            let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
            let mut found = Vec::new();
            for batch in batches {
                let (days, ids) =
                    (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
                found.extend((0..batch.num_rows()).map(|row| (days.value(row), ids.value(row))));
            }
            assert_eq!(found, [(6, 580_000), (6, 580_001), (6, 580_002), (6, 580_003), (6, 580_004)]);
        }
    }
}
