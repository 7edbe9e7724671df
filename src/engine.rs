//! The one door to DataFusion.
//!
//! Every session has the memory limit, spills to a folder of our own, knows the lake's store before any other, and reads
//! Parquet only through providers that pin their files. Nothing else in the crate creates a session.

/// Rows dealt to buckets on the disk.
mod dealt;
/// Columns whose values hardly repeat.
pub mod different;
/// Parquet files encoded on several threads.
pub mod encode;
/// Joins of inputs that both come sorted.
mod in_step;
/// Filters that operators find out as they run.
mod late_filters;
/// Parquet files, pinned by path and size, as a table.
pub mod pinned;
/// Rows that know their place among all rows.
mod placed;
/// Wide rows, sorted by way of the disk.
mod ranged;
/// Intermediate results on the local disk.
mod scratch;
/// SQL files: built in, or overridden by a project.
pub mod statement;
/// The first rows of partitions.
mod whole_sort;

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::Result;
use in_step::InStep;

pub use placed::Placing;
pub use scratch::{Dropping, Materialized};
pub use statement::{Params, Statement};

/// What the engine may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes that the whole process may use. DataFusion's pool gets 40% of it, since healthy plans were measured to
    /// need 1.2 to 1.6 times their pool, and readers and writers need some besides.
    pub memory: u64,
    /// Threads, and so partitions of a plan.
    pub threads: usize,
    /// Where to spill; the system's folder for temporary files where it is not given.
    pub spill: Option<PathBuf>,
}

/// The share of the memory limit that DataFusion's pool gets.
const POOL_SHARE: f64 = 0.4;

/// Rows up to which a join's narrow side is collected whole.
const BUILD_ROWS: usize = 4_000_000;

/// Rows of a batch, everywhere.
pub const BATCH_ROWS: usize = 8192;

/// A runtime with a memory limit, a spill folder and the project's SQL files.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    runtime: Arc<RuntimeEnv>,
    functions: Vec<ScalarUDF>,
    aggregates: Vec<AggregateUDF>,
    scratch: tempfile::TempDir,
    overrides: Option<PathBuf>,
    careful: bool,
}

impl Engine {
    /// An engine with these limits, our scalar `functions`, and the folder of SQL files that override the built-in ones.
    ///
    /// # Errors
    /// When the spill folder cannot be written.
    pub fn new(limits: Limits, functions: Vec<ScalarUDF>, overrides: Option<PathBuf>) -> Result<Self> {
        let base = limits.spill.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&base)?;
        scratch::sweep(&base);
        let scratch = scratch::folder(&base)?;
        let pool_bytes = pool_bytes(limits.memory);
        let five = std::num::NonZeroUsize::new(5).unwrap_or(std::num::NonZeroUsize::MIN);
        let pool = TrackConsumersPool::new(FairSpillPool::new(pool_bytes), five);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![scratch.path().into()])),
            )
            .build_arc()?;
        Ok(Self { limits, runtime, functions, aggregates: Vec::new(), scratch, overrides, careful: false })
    }

    /// Gives every session an aggregate function of ours, too.
    #[must_use]
    pub fn with_aggregate(mut self, function: AggregateUDF) -> Self {
        self.aggregates.push(function);
        self
    }

    /// Plans without hash joins (but for `NOT IN` of what may be null) and in one partition: slower, and nothing that can wait
    /// for itself. DataFusion's hash join was seen to hang at the edge of its memory limit.
    pub fn be_careful(&mut self) {
        self.careful = true;
    }

    /// The runtime that object stores are registered with.
    pub fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    /// What the engine may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of DataFusion's own pool.
    pub fn pool_bytes(&self) -> usize {
        pool_bytes(self.limits.memory)
    }

    /// The folder for spill and intermediate results, which is gone with the engine.
    pub fn scratch_folder(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// The folder in which a project overrides SQL files.
    pub fn overrides(&self) -> Option<&PathBuf> {
        self.overrides.as_ref()
    }

    /// A session for the statements of a night, which name the narrow side of every join first: what stands on the left
    /// is held in memory, whatever the planner guesses of either side's size.
    pub fn night_session(&self) -> SessionContext {
        let session = self.session();
        let state = session.state_ref();
        let mut state = state.write();
        let optimizer = &mut state.config_mut().options_mut().optimizer;
        optimizer.join_reordering = false;
        // Files come in as many parts as there are threads; to deal out batches anew only costs a second merge.
        optimizer.enable_round_robin_repartition = false;
        drop(state);
        session
    }

    /// The same session for statements whose inputs all come sorted by what they are joined by: joins go through both sides
    /// in step, and hold neither.
    pub fn in_step(&self, session: &SessionContext) -> SessionContext {
        let state = session.state();
        // A new catalogue would take the place of the session's own.
        let config = state.config().clone().with_target_partitions(1).with_create_default_catalog_and_schema(false);
        let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![Arc::new(InStep::WhereSorted)];
        rules.extend(state.physical_optimizers().iter().cloned());
        let state = SessionStateBuilder::new_from_existing(state).with_config(config);
        SessionContext::new_with_state(state.with_physical_optimizer_rules(rules).build())
    }

    /// A new session: its tables are its own, memory and stores are shared.
    pub fn session(&self) -> SessionContext {
        self.session_of(SessionConfig::new())
    }

    /// A new session whose catalogue has that name, as clients are told it.
    pub fn session_named(&self, catalog: &str) -> SessionContext {
        self.session_of(SessionConfig::new().with_default_catalog_and_schema(catalog, "public"))
    }

    fn session_of(&self, config: SessionConfig) -> SessionContext {
        let config = config
            .with_target_partitions(self.limits.threads.max(1))
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(true)
            .set_bool("datafusion.execution.parquet.pushdown_filters", false)
            .set_bool("datafusion.execution.parquet.schema_force_view_types", true)
            // A join's narrow side is held once, not once a partition, and the wide side passes by without being moved.
            .set_usize("datafusion.optimizer.hash_join_single_partition_threshold", self.pool_bytes() / 4)
            .set_usize("datafusion.optimizer.hash_join_single_partition_threshold_rows", BUILD_ROWS)
            .set_bool("datafusion.optimizer.prefer_existing_sort", true)
            .set_bool("datafusion.sql_parser.enable_ident_normalization", true)
            .set_usize("datafusion.execution.sort_spill_reservation_bytes", 4 << 20);
        let mut rules = rules();
        let config = if self.careful {
            rules.insert(0, Arc::new(InStep::Everywhere));
            config.with_target_partitions(1)
        } else {
            config
        };
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .with_physical_optimizer_rules(rules)
            .build();
        let session = SessionContext::new_with_state(state);
        for function in &self.functions {
            session.register_udf(function.clone());
        }
        for function in &self.aggregates {
            session.register_udaf(function.clone());
        }
        session
    }
}

/// The tables and views of a session's catalogue as a query names them, sorted: those of `public` by their name alone.
pub fn table_names(session: &SessionContext, catalog: &str) -> Vec<String> {
    let Some(catalog) = session.catalog(catalog) else { return Vec::new() };
    let mut names = Vec::new();
    for schema in catalog.schema_names() {
        let tables = catalog.schema(&schema).map(|provider| provider.table_names()).unwrap_or_default();
        names.extend(tables.into_iter().map(|table| match schema.as_str() {
            "public" => table,
            _ => format!("{schema}.{table}"),
        }));
    }
    names.sort();
    names
}

/// DataFusion's rules for physical plans without the first `FilterPushdown`. In 55.2 it finds the columns of a filter
/// by name below a projection, so a filter on `coalesce(a.x, b.x)` over an outer join is pushed to one side as
/// `coalesce(a.x, a.x)` and loses rows. Logical plans have their filters pushed down before. The second rule, for filters
/// that operators find out as they run, does the same, and stays where names are unambiguous.
fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != "FilterPushdown");
    if let Some(last) = rules.iter().position(|rule| rule.name() == "FilterPushdown(Post)") {
        let late = late_filters::LateFilters(rules.remove(last));
        // A sort is whole before what it finds out is handed down to scans.
        rules.splice(last..last, [Arc::new(whole_sort::WholeSort) as _, Arc::new(late) as _]);
    }
    rules
}

fn pool_bytes(memory: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a size is a size")]
    let bytes = (memory as f64 * POOL_SHARE) as usize;
    bytes.max(32 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs that come sorted are neither held nor sorted, and the session keeps its own tables.
    #[tokio::test]
    async fn what_is_sorted_is_joined_in_step() {
        let limits = Limits { memory: 1 << 30, threads: 2, spill: None };
        let engine = Engine::new(limits, Vec::new(), None).unwrap();
        let session = engine.night_session();
        for (name, column) in [("l", "a"), ("r", "b")] {
            let rows = format!(
                "SELECT arrow_cast(value, 'UInt32') AS place, 'c' || value AS id, value AS {column} FROM generate_series(0, 9)"
            );
            let mut placing = engine.placing(&session, name, "place", 10).unwrap();
            placing.add(session.sql(&rows).await.unwrap()).await.unwrap();
            placing.finish(&["id"]).unwrap();
        }
        let sql = "SELECT l.id, l.a, r.b FROM l LEFT JOIN r ON r.id = l.id ORDER BY l.id";
        let frame = engine.in_step(&session).sql(sql).await.unwrap();
        let plan = frame.clone().create_physical_plan().await.unwrap();
        let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        assert!(plan.contains("SortMergeJoin") && !plan.contains("SortExec") && !plan.contains("HashJoin"), "{plan}");
        assert_eq!(
            frame
                .filter(datafusion::prelude::col("a").eq(datafusion::prelude::col("b")))
                .unwrap()
                .count()
                .await
                .unwrap(),
            10
        );
        assert_eq!(session.sql("SELECT * FROM l").await.unwrap().count().await.unwrap(), 10);
    }

    /// What is not sorted is sorted, for joins of every kind and with conditions of any.
    #[tokio::test]
    async fn a_careful_engine_holds_no_side_of_a_join() {
        let limits = Limits { memory: 1 << 30, threads: 2, spill: None };
        let mut engine = Engine::new(limits, Vec::new(), None).unwrap();
        let bold = engine.session();
        engine.be_careful();
        let careful = engine.session();
        for session in [&bold, &careful] {
            for (name, rows) in
                [("l", "(3, 'c'), (1, 'a'), (NULL, 'n')"), ("r", "(2, 'b'), (3, 'z'), (1, 'a'), (1, 'A')")]
            {
                let rows = session.sql(&format!("SELECT * FROM (VALUES {rows}) AS t(k, v)")).await.unwrap();
                session.register_table(name, rows.cache().await.unwrap().into_view()).unwrap();
            }
        }
        for join in [
            "SELECT r.v, l.k, l.v AS w FROM l JOIN r ON l.k = r.k",
            "SELECT l.v || coalesce(r.v, '-') FROM l LEFT JOIN r ON l.k = r.k AND l.v <> r.v",
            "SELECT coalesce(l.v, '-') || coalesce(r.v, '-') FROM l FULL JOIN r ON l.k = r.k",
            "SELECT v FROM l WHERE EXISTS (SELECT 1 FROM r WHERE r.k = l.k)",
            "SELECT v FROM r WHERE NOT EXISTS (SELECT 1 FROM l WHERE l.k = r.k)",
            "SELECT v FROM l WHERE k IN (SELECT k FROM r) OR v = 'n'",
        ] {
            let sql = format!("{join} ORDER BY 1");
            let frame = careful.sql(&sql).await.unwrap();
            let plan = frame.clone().create_physical_plan().await.unwrap();
            let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
            assert!(plan.contains("SortMergeJoin") && !plan.contains("HashJoin"), "{join}: {plan}");
            let rows = frame.collect().await.unwrap();
            assert_eq!(rows, bold.sql(&sql).await.unwrap().collect().await.unwrap(), "{join}");
        }
    }

    #[tokio::test]
    async fn a_filter_over_an_outer_join_keeps_to_its_side() {
        let limits = Limits { memory: 1 << 30, threads: 2, spill: None };
        let session = Engine::new(limits, Vec::new(), None).unwrap().session();
        for (name, rows) in
            [("event", "('1', CAST(NULL AS VARCHAR)), ('2', 'Kids')"), ("product", "('1', 'Men'), ('3', 'Men')")]
        {
            let sql = format!("SELECT * FROM (VALUES {rows}) AS t(id, category)");
            let rows = session.sql(&sql).await.unwrap().cache().await.unwrap();
            session.register_table(name, rows.into_view()).unwrap();
        }
        let sql = "SELECT e.id FROM product p RIGHT JOIN (SELECT * FROM event WHERE id <> '9') e ON p.id = e.id \
                   WHERE coalesce(e.category, p.category) = 'Men' OR starts_with(coalesce(e.category, p.category), 'Men > ')";
        assert_eq!(session.sql(sql).await.unwrap().count().await.unwrap(), 1);
    }

    /// What a join finds out of its held side as it runs is not looked for on the wrong side of an outer join.
    #[tokio::test]
    async fn what_a_join_finds_out_keeps_to_its_side() {
        let limits = Limits { memory: 1 << 30, threads: 2, spill: None };
        let engine = Engine::new(limits, Vec::new(), None).unwrap();
        let session = engine.night_session();
        for name in ["wanted", "some"] {
            let rows =
                session.sql("SELECT 'k' || value AS id, value AS at FROM generate_series(1, 1000)").await.unwrap();
            engine.materialize(&session, name, rows, false).await.unwrap();
        }
        let none = session.sql("SELECT * FROM some WHERE false").await.unwrap();
        session.register_table("none", none.into_view()).unwrap();
        for (one, other) in [("some", "none"), ("none", "some")] {
            let both = format!(
                "SELECT coalesce(y.id, x.id) AS id, x.at AS a, y.at AS b, y.id IS NOT NULL AS known \
                 FROM {one} x FULL JOIN {other} y ON x.id = y.id"
            );
            let sql = format!("SELECT w.at AS n, p.* FROM wanted w JOIN ({both}) p ON p.id = w.id");
            let frame = session.sql(&sql).await.unwrap();
            let plan = frame.clone().create_physical_plan().await.unwrap();
            let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
            let rows = frame.collect().await.unwrap();
            assert_eq!(rows.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 1000, "{plan}");
        }
        // Where a name is one column's, scans are still told.
        let frame = session.sql("SELECT s.at FROM wanted w JOIN some s ON s.id = w.id WHERE w.at < 5").await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        assert!(plan.contains("DynamicFilter"), "{plan}");
    }
}
