//! All segments of a night: one pass over the profile, one over each table whose rows some segment asks about, and then
//! boolean algebra on sets of customer numbers.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::TryStreamExt;
use roaring::RoaringBitmap;

use super::compile::{Formula, Pass, Shared};
use crate::error::{Error, Result};

/// What was found, as the answer of every call.
mod answers;
/// The aggregate function that answers every call of a scan.
mod calls;
/// How many rows each customer has.
mod counting;
/// What a scan has found so far.
mod found;
/// The answers of several partitions together.
mod merged;
/// Rows, and the pickers that could pick them.
mod scan;
/// What the rows of each customer come to.
mod totals;
/// Plans that are sent elsewhere.
mod wire;

pub use answers::{Answer, read_answers};
pub use calls::SegmentCalls;
pub use wire::Wire;

/// Who is in which segment, as customer numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memberships {
    /// Members by segment; a segment without members is there, too.
    pub members: BTreeMap<String, RoaringBitmap>,
    /// For segments with a goal, the customers who satisfy it, members or not.
    pub goals: BTreeMap<String, RoaringBitmap>,
}

/// The plan of the statement over the profile. It consists of scans, one join at most and projections, which every engine
/// that reads DataFusion plans can run.
///
/// # Errors
/// A column that the profile or contacts table lacks.
pub async fn plan(session: &SessionContext, shared: &Shared) -> Result<DataFrame> {
    Ok(Box::pin(session.sql(&shared.sql)).await?)
}

/// The plan of one scan over a table's rows; the session gets the aggregate function that carries the program.
///
/// # Errors
/// A table or column that the session lacks.
pub async fn plan_pass(session: &SessionContext, pass: &Pass) -> Result<DataFrame> {
    session.register_udaf(SegmentCalls::new(&pass.function, pass.program.clone()).into_function());
    Ok(Box::pin(session.sql(&pass.sql)).await?)
}

/// Computes every output. The result does not depend on the order of rows or on how they are partitioned.
///
/// # Errors
/// What the session's tables fail with, and `segment.customer_number` for numbers outside 0 to 2³² − 1.
pub async fn evaluate(session: &SessionContext, shared: &Shared) -> Result<Memberships> {
    let mut memberships = Memberships::default();
    if shared.outputs.is_empty() {
        return Ok(memberships);
    }
    let mut sets =
        Sets { customers: RoaringBitmap::new(), tests: vec![RoaringBitmap::new(); shared.tests], calls: Vec::new() };
    let began = std::time::Instant::now();
    let mut stream = Box::pin(plan(session, shared).await?.execute_stream()).await?;
    while let Some(batch) = stream.try_next().await? {
        take(&batch, &mut sets)?;
    }
    tracing::debug!(tests = shared.tests, seconds = began.elapsed().as_secs_f64(), "tested the profile");
    for pass in &shared.passes {
        let began = std::time::Instant::now();
        sets.calls.push(answers_of(session, pass).await?);
        let (family, calls) = (pass.family.name(), pass.program.calls.len());
        tracing::debug!(family, calls, seconds = began.elapsed().as_secs_f64(), "answered the calls");
    }
    for output in &shared.outputs {
        let set = sets.of(&output.formula, &memberships.members)?;
        let into = if output.goal { &mut memberships.goals } else { &mut memberships.members };
        into.insert(output.segment.clone(), set);
    }
    Ok(memberships)
}

async fn answers_of(session: &SessionContext, pass: &Pass) -> Result<Vec<Answer>> {
    let batches = plan_pass(session, pass).await?.collect().await?;
    let bytes = batches.iter().find(|batch| batch.num_rows() > 0).map(|batch| batch.column(0));
    let bytes = bytes.and_then(|column| column.as_binary_opt::<i64>()).filter(|column| column.is_valid(0));
    let answers = bytes.map(|column| read_answers(column.value(0))).transpose()?.unwrap_or_default();
    if answers.len() == pass.program.calls.len() {
        return Ok(answers);
    }
    Err(Error::internal("segment.answers", format!("`{}` did not answer every call", pass.function)))
}

/// Sets of customers that formulas are made of.
struct Sets {
    customers: RoaringBitmap,
    tests: Vec<RoaringBitmap>,
    calls: Vec<Vec<Answer>>,
}

impl Sets {
    fn of(&self, formula: &Formula, members: &BTreeMap<String, RoaringBitmap>) -> Result<RoaringBitmap> {
        let missing = || Error::internal("segment.formula", "a formula names what was not computed");
        Ok(match formula {
            Formula::All(parts) => {
                let mut set = None;
                for part in parts {
                    let part = self.of(part, members)?;
                    set = Some(match set {
                        None => part,
                        Some(set) => set & part,
                    });
                }
                set.unwrap_or_else(|| self.customers.clone())
            }
            Formula::Any(parts) => {
                let mut set = RoaringBitmap::new();
                for part in parts {
                    set |= self.of(part, members)?;
                }
                set
            }
            Formula::Not(inner) => &self.customers - self.of(inner, members)?,
            Formula::Test(number) => self.tests.get(*number).ok_or_else(missing)?.clone(),
            Formula::Call(pass, call) => {
                let answer = self.calls.get(*pass).and_then(|answers| answers.get(*call)).ok_or_else(missing)?;
                // Rows may be of people who are not in the profile.
                if answer.all_but { &self.customers - &answer.customers } else { &self.customers & &answer.customers }
            }
            Formula::Member(id) => members.get(id).ok_or_else(missing)?.clone(),
        })
    }
}

fn take(batch: &RecordBatch, sets: &mut Sets) -> Result<()> {
    let shape =
        || Error::internal("segment.batch", "the segments' statement gave columns of other types than it names");
    let numbers: &Int64Array =
        batch.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or_else(shape)?;
    let numbers = dense(numbers)?;
    // Rows mostly come in the order of their numbers; bitmaps are built fastest from a sorted run.
    let sorted = numbers.is_sorted();
    let set_of = |mut rows: Vec<u32>| {
        if !sorted {
            rows.sort_unstable();
        }
        RoaringBitmap::from_sorted_iter(rows)
            .map_err(|_| Error::internal("segment.customer_number", "two rows of the profile have one customer number"))
    };
    sets.customers |= set_of(numbers.clone())?;
    for (column, bitmap) in batch.columns().iter().skip(1).zip(&mut sets.tests) {
        let truths: &BooleanArray = column.as_boolean_opt().ok_or_else(shape)?;
        let holds = truths.nulls().map_or_else(|| truths.values().clone(), |nulls| truths.values() & nulls.inner());
        *bitmap |= set_of(holds.set_indices().filter_map(|row| numbers.get(row).copied()).collect())?;
    }
    Ok(())
}

fn dense(numbers: &Int64Array) -> Result<Vec<u32>> {
    let wrong = || Error::internal("segment.customer_number", "a customer number is missing, negative or too large");
    numbers.iter().map(|number| number.and_then(|number| u32::try_from(number).ok()).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests;
