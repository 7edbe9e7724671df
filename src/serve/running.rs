//! A statement that is being answered: until its last row it can be cancelled, runs out of time, and is counted.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::prelude::DataFrame;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use super::activity::Activity;
use super::answers::{Making, Question};
use super::fault::Fault;
use super::metrics::Door;
use super::shared::Core;
use super::workers::Answer;

/// A statement that is being answered.
pub(super) struct Running {
    /// Ends with the reason to stop.
    stop: Pin<Box<dyn Future<Output = Fault> + Send>>,
    meter: Meter,
}

/// Counts a statement, however it ends.
struct Meter {
    core: Arc<Core>,
    door: Door,
    activity: Arc<Activity>,
    since: Instant,
    rows: u64,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.activity.ends();
        self.core.metrics.finished(self.door, self.since.elapsed(), self.rows);
    }
}

impl Running {
    /// Begins one that must end within `timeout`, or when `stop` says so.
    pub(super) fn begin(
        core: Arc<Core>,
        door: Door,
        activity: Arc<Activity>,
        timeout: Option<Duration>,
        stop: impl Future<Output = Fault> + Send + 'static,
    ) -> Self {
        core.metrics.started(door);
        activity.begins();
        let stop = async move {
            let late = async {
                match timeout {
                    Some(timeout) => tokio::time::sleep(timeout).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                fault = stop => fault,
                () = late => Fault::timeout(),
            }
        };
        Self { stop: Box::pin(stop), meter: Meter { core, door, activity, since: Instant::now(), rows: 0 } }
    }

    /// Does a part of the work, unless the statement must stop before.
    pub(super) async fn on<T>(&mut self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let done = tokio::select! {
            fault = &mut self.stop => Err(fault),
            done = work => done,
        };
        done.inspect_err(|fault| self.meter.core.metrics.failed(self.meter.door, fault.state))
    }

    /// Counts rows that are given.
    pub(super) fn gives(&mut self, rows: u64) {
        self.meter.rows += rows;
    }

    /// Answers with a plan's rows. What stops the statement stops the stream, whoever is waiting for it. An answer to a
    /// `question` is given again where it is known, and is kept once it was given to its end.
    pub(super) async fn rows(
        mut self,
        frame: DataFrame,
        question: Option<Question>,
        most: Option<u64>,
    ) -> Result<Rows, Fault> {
        let core = Arc::clone(&self.meter.core);
        let known = question.as_ref().and_then(|question| core.answers.find(question));
        let (answer, making) = match known {
            Some(known) => {
                core.metrics.knew(self.meter.door);
                (Answer::known(known), None)
            }
            None => (self.on(core.workers.run(frame)).await?, question.map(Making::new)),
        };
        let schema = Arc::clone(&answer.schema);
        Ok(Rows { schema, batches: self.guard(answer, making, most).boxed() })
    }

    fn guard(
        self,
        answer: Answer,
        making: Option<Making>,
        most: Option<u64>,
    ) -> impl Stream<Item = Result<RecordBatch, Fault>> + Send {
        futures::stream::unfold(Some((self, answer, making)), move |going| async move {
            let (mut running, mut answer, making) = going?;
            let next = running.on(answer.next()).await;
            let batch = match next {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    if let Some(made) = making {
                        running.meter.core.answers.keep(made, answer.schema);
                    }
                    return None;
                }
                Err(fault) => return Some((Err(fault), None)),
            };
            running.meter.rows += batch.num_rows() as u64;
            match most {
                Some(most) if running.meter.rows > most => {
                    let fault = Fault::too_many_rows(most);
                    running.meter.core.metrics.failed(running.meter.door, fault.state);
                    Some((Err(fault), None))
                }
                _ => {
                    let making = making.and_then(|making| making.with(&batch));
                    Some((Ok(batch), Some((running, answer, making))))
                }
            }
        })
    }
}

/// The rows of a statement.
pub(super) struct Rows {
    /// Their columns.
    pub(super) schema: SchemaRef,
    /// The rows as they come; the last item may say why there are no more.
    pub(super) batches: BoxStream<'static, Result<RecordBatch, Fault>>,
}
