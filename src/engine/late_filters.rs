//! Filters that operators find out as they run, kept from plans in which a column's name is not enough to know it.
//!
//! DataFusion 55.2 hands such a filter down through projections by the names of its columns. Where an operator has two columns
//! of one name (both sides of a join), it may come to stand for the other one: a join with a large enough held side then lost
//! rows of `coalesce(a.id, b.id)` over an outer join. Plans with such an operator go without; what is known before they run is
//! pushed down in their logical form, by qualified names.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

/// The rule that hands them down.
#[derive(Debug)]
pub(super) struct LateFilters(pub(super) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for LateFilters {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let is_ambiguous = plan.exists(|node| {
            let (schema, mut names) = (node.schema(), HashSet::new());
            Ok(!schema.fields().iter().all(|field| names.insert(field.name())))
        })?;
        if is_ambiguous { Ok(plan) } else { self.0.optimize(plan, config) }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}
