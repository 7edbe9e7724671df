//! Joins that go through both sides in step, in the order of what they are joined by, and hold neither.
//!
//! DataFusion 55.2 plans such a join only over several partitions, for which it deals out and merges what is in order already;
//! over one it holds a side, whatever `prefer_hash_join` says.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::{PhysicalExprRef, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// The order in which tables of ours are sorted.
const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The rule: comes before those that look at what joins need of their inputs, which sort what does not come sorted.
#[derive(Debug)]
pub(super) enum InStep {
    /// For joins whose sides both come sorted.
    WhereSorted,
    /// For every join but `NOT IN` of what may be null, which only a hash join answers.
    Everywhere,
}

impl PhysicalOptimizerRule for InStep {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            let (left, right): (Vec<_>, Vec<_>) = join.on().iter().cloned().unzip();
            let fits = match self {
                Self::WhereSorted => is_sorted(join.left(), &left)? && is_sorted(join.right(), &right)?,
                Self::Everywhere => true,
            };
            if join.null_aware || join.contains_projection() || !fits {
                return Ok(Transformed::no(node));
            }
            let in_step = SortMergeJoinExec::try_new(
                Arc::clone(join.left()),
                Arc::clone(join.right()),
                join.on().to_vec(),
                join.filter().cloned(),
                *join.join_type(),
                vec![ASCENDING; join.on().len()],
                join.null_equality(),
            )?;
            Ok(Transformed::yes(Arc::new(in_step) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "InStep"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether an input is one partition, sorted by those keys.
fn is_sorted(input: &Arc<dyn ExecutionPlan>, keys: &[PhysicalExprRef]) -> Result<bool> {
    let sorted = keys.iter().map(|key| PhysicalSortExpr::new(Arc::clone(key), ASCENDING));
    Ok(input.output_partitioning().partition_count() == 1 && input.equivalence_properties().ordering_satisfy(sorted)?)
}
