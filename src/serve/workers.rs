//! Where statements are worked on: threads of their own, so that one that never pauses holds up nobody's login, cancel
//! request or page of metrics.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::answers::Known;
use super::fault::Fault;
use crate::error::{Error, Kind, Result};

/// Batches that are ready before somebody takes them.
const AHEAD: usize = 2;
/// Threads that wait for disks and deflate, for all work that lasts.
const FOR_DISKS: usize = 4;
/// Plans are walked by recursion.
const STACK: usize = 8 << 20;

/// The threads.
pub(super) struct Workers(Option<tokio::runtime::Runtime>);

impl Workers {
    /// That many threads.
    ///
    /// # Errors
    /// `serve.threads` where the system has none to give.
    pub(super) fn new(threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("statements")
            .thread_stack_size(STACK)
            .enable_all()
            .build();
        let refused =
            |error| Error::new(Kind::Resources, "serve.threads", "no threads could be started").with_source(error);
        runtime.map(|runtime| Self(Some(runtime))).map_err(refused)
    }

    /// Runs a plan there. Whoever lets go of the answer stops it, at the next batch of any of its joins or scans.
    ///
    /// # Errors
    /// What the engine says before the first row.
    pub(super) async fn run(&self, frame: DataFrame) -> Result<Answer, Fault> {
        let ended = || Fault::new("57P01", "the server is stopping");
        let Some(runtime) = &self.0 else { return Err(ended()) };
        let (begin, begun) = oneshot::channel();
        let (send, batches) = mpsc::channel(AHEAD);
        let task = runtime.spawn(async move {
            let mut stream = match Box::pin(frame.execute_stream()).await {
                Ok(stream) => stream,
                Err(error) => {
                    // Nobody waits for it: so be it.
                    let _gone = begin.send(Err(Fault::from(error)));
                    return;
                }
            };
            if begin.send(Ok(stream.schema())).is_err() {
                return;
            }
            loop {
                let next = stream.next().await.transpose().map_err(Fault::from);
                let over = !matches!(next, Ok(Some(_)));
                if send.send(next).await.is_err() || over {
                    return;
                }
            }
        });
        let task = Ends(task.abort_handle());
        let schema = begun.await.unwrap_or_else(|_| Err(panicked()))?;
        Ok(Answer { schema, batches, _task: Some(task) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Threads for work that lasts: one for each piece of it, and few that it shares for disks and deflating. Every thread keeps
/// some of what it has allocated, so that the same few do everything, however many are waiting.
pub(super) struct Lanes {
    runtime: Option<tokio::runtime::Runtime>,
    /// Pieces of work that may be done at once; whoever begins one holds a turn.
    pub(super) turns: Arc<Semaphore>,
}

impl Lanes {
    /// That many threads for what several pieces of work share.
    ///
    /// # Errors
    /// `serve.threads` where the system has none to give.
    pub(super) fn new(threads: usize) -> Result<Self> {
        let at_once = threads.clamp(2, 4);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(at_once + FOR_DISKS)
            .thread_name("exports")
            .thread_stack_size(STACK)
            .enable_all()
            .build();
        let refused =
            |error| Error::new(Kind::Resources, "serve.threads", "no threads could be started").with_source(error);
        let turns = Arc::new(Semaphore::new(at_once));
        runtime.map(|runtime| Self { runtime: Some(runtime), turns }).map_err(refused)
    }

    /// Does a piece of work on a thread of its own; what it spawns shares the others.
    pub(super) fn spawn<F: Future<Output = ()>>(&self, work: impl FnOnce() -> F + Send + 'static) {
        let Some(runtime) = &self.runtime else { return };
        let handle = runtime.handle().clone();
        runtime.spawn_blocking(move || handle.block_on(work()));
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends a task with it.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked() -> Fault {
    Fault::new("XX000", "the statement failed for a fault of the server's own")
}

/// The rows of a plan, as they come.
pub(super) struct Answer {
    /// Their columns.
    pub(super) schema: SchemaRef,
    batches: mpsc::Receiver<Result<Option<RecordBatch>, Fault>>,
    /// None where nothing is left to do.
    _task: Option<Ends>,
}

impl Answer {
    /// An answer that was given before.
    pub(super) fn known(known: Known) -> Self {
        let (send, batches) = mpsc::channel(known.batches.len() + 1);
        for batch in known.batches.into_iter().map(Some).chain([None]) {
            // There is room for every one of them.
            let _full = send.try_send(Ok(batch));
        }
        Self { schema: known.schema, batches, _task: None }
    }

    /// The next rows, or none after the last.
    ///
    /// # Errors
    /// What the engine says of them.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        // Without a last word the task has panicked.
        self.batches.recv().await.unwrap_or_else(|| Err(panicked()))
    }
}

/// Lets other tasks on after so many batches of a join: what makes many rows of few otherwise never pauses, since only
/// scans do by themselves, and then cannot be stopped.
#[derive(Debug)]
pub(super) struct Pausing;

impl PhysicalOptimizerRule for Pausing {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let makes_many = node.is::<CrossJoinExec>()
                || node.is::<NestedLoopJoinExec>()
                || node.is::<HashJoinExec>()
                || node.is::<SortMergeJoinExec>()
                || node.is::<UnnestExec>();
            if !makes_many {
                return Ok(Transformed::no(node));
            }
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "Pausing"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
