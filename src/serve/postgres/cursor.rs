//! Cursors of SQL: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
//!
//! A cursor keeps its rows as they came, and encodes them when they are fetched: how, each `FETCH` says for itself. It goes
//! forward, and back to its beginning: then its plan runs again, over the same published state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ParamValues;
use datafusion::sql::sqlparser::ast::{CloseCursor, FetchDirection, ValueWithSpan};
use datafusion_postgres::pgwire::error::PgWireResult;
use futures::StreamExt;

use super::encoding::{Encoding, encode};
use super::simple::Answer;
use super::wire;
use crate::serve::fault::Fault;
use crate::serve::running::Rows;
use crate::serve::session::{Planned, Session};

/// Cursors that one connection may have open.
const MOST: usize = 100;

/// The open cursors of one connection.
#[derive(Default)]
pub(super) struct Cursors(Mutex<HashMap<String, Arc<Open>>>);

/// One that is open.
pub(super) struct Open {
    pub(super) schema: SchemaRef,
    source: tokio::sync::Mutex<(Rows, Option<RecordBatch>)>,
    /// What its rows are computed by.
    by: (Planned, Option<ParamValues>),
    /// Whether it outlives its transaction.
    hold: bool,
}

impl Open {
    /// At most so many of the next rows, as they came.
    async fn take(&self, most: usize) -> Option<Result<RecordBatch, Fault>> {
        let mut source = self.source.lock().await;
        let batch = match source.1.take() {
            Some(rest) => rest,
            None => match source.0.batches.next().await? {
                Ok(batch) => batch,
                Err(fault) => return Some(Err(fault)),
            },
        };
        if batch.num_rows() <= most {
            return Some(Ok(batch));
        }
        source.1 = Some(batch.slice(most, batch.num_rows() - most));
        Some(Ok(batch.slice(0, most)))
    }
}

impl Cursors {
    /// Opens one.
    ///
    /// # Errors
    /// 42P03 where there is one of that name; 53400 for too many.
    pub(super) fn open(
        &self,
        name: &str,
        rows: Rows,
        by: (Planned, Option<ParamValues>),
        hold: bool,
    ) -> Result<(), Fault> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(name) {
            return Err(Fault::new("42P03", format!("there is a cursor `{name}` already")));
        }
        if all.len() >= MOST {
            return Err(Fault::new("53400", format!("there are {MOST} cursors open already")));
        }
        let schema = Arc::clone(&rows.schema);
        let source = tokio::sync::Mutex::new((fused(rows), None));
        all.insert(name.to_owned(), Arc::new(Open { schema, source, by, hold }));
        Ok(())
    }

    /// The open cursor of that name.
    ///
    /// # Errors
    /// 34000 where there is none.
    pub(super) fn find(&self, name: &str) -> Result<Arc<Open>, Fault> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned().ok_or_else(|| Fault::new("34000", format!("there is no cursor `{name}`")))
    }

    /// Closes one, or all.
    ///
    /// # Errors
    /// 34000 where there is none of that name.
    pub(super) fn close(&self, cursor: &CloseCursor) -> Result<(), Fault> {
        match cursor {
            CloseCursor::All => self.0.lock().unwrap_or_else(PoisonError::into_inner).clear(),
            CloseCursor::Specific { name } => {
                self.find(&name.value)?;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&name.value);
            }
        }
        Ok(())
    }

    /// Closes those that end with their transaction.
    pub(super) fn end_transaction(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, open| open.hold);
    }

    /// The next rows of one.
    ///
    /// # Errors
    /// 34000 where there is none; 55000 for a direction other than forward.
    pub(super) fn fetch(&self, name: &str, direction: &FetchDirection, encoding: &Encoding) -> PgWireResult<Answer> {
        let most = forward(direction).map_err(wire)?;
        let open = self.find(name).map_err(wire)?;
        let fields = encoding.fields(&open.schema)?;
        let batches = futures::stream::unfold((open, most), |(open, left)| async move {
            if left == 0 {
                return None;
            }
            let batch = open.take(left).await?;
            let left = batch.as_ref().map_or(0, |batch| left - batch.num_rows());
            Some((batch, (open, left)))
        });
        let rows = encode(Arc::clone(&fields), batches.boxed());
        Ok(Answer::Rows { fields, rows, tag: "FETCH" })
    }
}

impl Open {
    /// Passes rows by, and says how many.
    ///
    /// # Errors
    /// 55000 for a direction other than forward and back to the beginning; what its plan fails with.
    pub(super) async fn pass(&self, session: &Session, direction: &FetchDirection) -> Result<usize, Fault> {
        let begins = match direction {
            FetchDirection::BackwardAll => true,
            FetchDirection::Absolute { limit } => limit.value.to_string() == "0",
            _ => false,
        };
        if begins {
            let mut source = self.source.lock().await;
            let rows = session.run(session.begin(), &self.by.0, self.by.1.clone()).await?;
            *source = (fused(rows), None);
            return Ok(0);
        }
        let (most, mut passed) = (forward(direction)?, 0);
        while passed < most
            && let Some(batch) = self.take(most - passed).await.transpose()?
        {
            passed += batch.num_rows();
        }
        Ok(passed)
    }
}

/// Rows that may be asked for after their end: a cursor there has none, and stays open.
fn fused(rows: Rows) -> Rows {
    Rows { schema: rows.schema, batches: rows.batches.fuse().boxed() }
}

/// How many rows a `FETCH` asks for.
fn forward(direction: &FetchDirection) -> Result<usize, Fault> {
    let count = |value: &ValueWithSpan| {
        value.value.to_string().parse().map_err(|_| Fault::new("22023", "a number of rows is a whole number"))
    };
    match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Ok(1),
        FetchDirection::Forward { limit: Some(limit) } | FetchDirection::Count { limit } => count(limit),
        FetchDirection::ForwardAll | FetchDirection::All => Ok(usize::MAX),
        _ => Err(Fault::new("55000", "cursors go forward only").hint("write `FETCH FORWARD 1000 FROM …`")),
    }
}
