//! All segments of a night: one pass over the profile and one over the contacts, one over each table whose rows some segment
//! asks about, and then boolean algebra on sets of customer numbers.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Int64Type;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::TryStreamExt;
use roaring::RoaringBitmap;

use super::compile::program::Owner;
use super::compile::{Formula, PRODUCT_CATEGORY, PRODUCT_LABELS, Pass, Shared, Tested, kinds_function};
use crate::error::{Error, Result};

/// What was found, as the answer of every call.
mod answers;
/// Sets of customers as plain bits.
mod bits;
/// The aggregate function that answers every call of a scan.
mod calls;
/// From a row's value to its codes.
mod codes;
/// The columns of a batch of rows.
mod columns;
/// How many rows each customer has.
mod counting;
/// What a scan has found so far.
mod found;
/// How pickers are found.
mod index;
/// Which rows have a type that is asked for.
mod kinds;
/// The answers of several partitions together.
mod merged;
/// What the rows' products were landed with.
mod products;
/// Rows, and the pickers that could pick them.
mod scan;
/// What the rows of each customer come to.
mod totals;
/// For whom the calls of a picker hold.
mod verdicts;
/// Plans that are sent elsewhere.
mod wire;

pub use answers::{Answer, read_answers};
pub use calls::SegmentCalls;
use kinds::OfKind;
use products::Products;
pub use wire::Wire;

/// Who is in which segment, as customer numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memberships {
    /// Members by segment; a segment without members is there, too.
    pub members: BTreeMap<String, RoaringBitmap>,
    /// For segments with a goal, the customers who satisfy it, members or not.
    pub goals: BTreeMap<String, RoaringBitmap>,
}

/// The plan of a statement over customers. It consists of a scan and a projection, which every engine that reads DataFusion
/// plans can run.
///
/// # Errors
/// A column that the profile or contacts table lacks.
pub async fn plan(session: &SessionContext, tested: &Tested) -> Result<DataFrame> {
    Ok(Box::pin(session.sql(&tested.sql)).await?)
}

/// The plan of one scan over a table's rows; the session gets the functions that it calls: the aggregate that carries the
/// program, and those that carry the products and the types of events that are asked for.
///
/// # Errors
/// A table or column that the session lacks.
pub async fn plan_pass(session: &SessionContext, pass: &Pass) -> Result<DataFrame> {
    let mut program = pass.program.clone();
    if let Some(products) = &pass.products {
        let products = Box::pin(Products::read(session, products)).await?;
        // They hold what was read for as long as the plan may need it.
        products.functions().into_iter().for_each(|function| session.register_udf(function));
        for key in program.keys.iter_mut().filter(|key| key.owner != Owner::Row) {
            key.products = products.codes(key)?;
        }
    }
    let kinds = kinds_function(pass.family);
    if pass.sql.contains(&kinds) {
        OfKind::of(&kinds, &pass.program).into_iter().for_each(|function| session.register_udf(function));
    }
    session.register_udaf(SegmentCalls::new(&pass.function, program).into_function());
    Ok(Box::pin(session.sql(&pass.sql)).await?)
}

/// Computes every output. The result does not depend on the order of rows or on how they are partitioned.
///
/// # Errors
/// What the session's tables fail with, and `segment.customer_number` where the profile or the contacts have numbers outside 0 to
/// 2³² − 2. Of other rows, those with a number below 0 are nobody's.
pub async fn evaluate(session: &SessionContext, shared: &Shared) -> Result<Memberships> {
    let mut memberships = Memberships::default();
    if shared.outputs.is_empty() {
        return Ok(memberships);
    }
    let mut sets =
        Sets { customers: RoaringBitmap::new(), tests: vec![RoaringBitmap::new(); shared.tests], calls: Vec::new() };
    let began = std::time::Instant::now();
    sets.customers = Box::pin(test(session, &shared.profile, &mut sets.tests)).await?;
    if let Some((contacts, of_nobody)) = &shared.contacts {
        Box::pin(test_contacts(session, contacts, of_nobody, &mut sets)).await?;
    }
    tracing::debug!(tests = shared.tests, seconds = began.elapsed().as_secs_f64(), "tested the customers");
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
    let collected = match plan_pass(session, pass).await {
        Ok(plan) => plan.collect().await.map_err(Error::from),
        Err(error) => Err(error),
    };
    // Whatever it came to, the products are let go of.
    for name in [PRODUCT_CATEGORY, PRODUCT_LABELS, &kinds_function(pass.family), &pass.function] {
        session.deregister_udf(name);
        session.deregister_udaf(name);
    }
    let batches = collected?;
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

/// Runs a statement over customers: who they are. Adds those for whom a test holds to its set.
async fn test(session: &SessionContext, tested: &Tested, tests: &mut [RoaringBitmap]) -> Result<RoaringBitmap> {
    let mut customers = RoaringBitmap::new();
    let mut stream = Box::pin(plan(session, tested).await?.execute_stream()).await?;
    while let Some(batch) = stream.try_next().await? {
        let numbers: &Int64Array =
            batch.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or_else(shape)?;
        let numbers = dense(numbers)?;
        let set_of = SetOf::new(&numbers);
        for (number, column) in tested.tests.iter().zip(1..) {
            let holds = truths(&batch, column)?;
            if let Some(set) = tests.get_mut(*number) {
                *set |= set_of.rows(&holds)?;
            }
        }
        customers |= set_of.rows(&BooleanBuffer::new_set(numbers.len()))?;
    }
    Ok(customers)
}

/// Tests what customers' contacts are. Contacts of others count for nobody, and whoever has none is as `of_nobody` says.
async fn test_contacts(session: &SessionContext, contacts: &Tested, of_nobody: &str, sets: &mut Sets) -> Result<()> {
    let with_contacts = test(session, contacts, &mut sets.tests).await?;
    let without = &sets.customers - with_contacts;
    let of_nobody = if without.is_empty() {
        Vec::new()
    } else {
        Box::pin(Box::pin(session.sql(of_nobody)).await?.collect()).await?
    };
    for (number, column) in contacts.tests.iter().zip(1..) {
        let Some(set) = sets.tests.get_mut(*number) else { continue };
        *set &= &sets.customers;
        for batch in &of_nobody {
            if truths(batch, column)?.count_set_bits() > 0 {
                *set |= &without;
            }
        }
    }
    Ok(())
}

/// From rows of a batch to the set of their customers.
struct SetOf<'a> {
    numbers: &'a [u32],
    sorted: bool,
    /// The first number, where each is the one after the number before: a set of rows is one of customers then.
    first: Option<u32>,
}

impl<'a> SetOf<'a> {
    fn new(numbers: &'a [u32]) -> Self {
        let follows = |pair: &[u32]| matches!(pair, [one, other] if one.checked_add(1) == Some(*other));
        let first = numbers.first().copied().filter(|_| numbers.windows(2).all(follows));
        Self { numbers, sorted: first.is_some() || numbers.is_sorted(), first }
    }

    fn rows(&self, rows: &BooleanBuffer) -> Result<RoaringBitmap> {
        if let Some(first) = self.first {
            let bytes = rows.sliced();
            let mut bytes = bytes.as_slice().get(..rows.len().div_ceil(8)).unwrap_or_default().to_vec();
            // Bits beyond the last row mean nothing.
            if let Some(last) = bytes.last_mut().filter(|_| !rows.len().is_multiple_of(8)) {
                *last &= (1 << (rows.len() % 8)) - 1;
            }
            return Ok(bits::set_of(first, &bytes));
        }
        let mut set: Vec<u32> = rows.set_indices().filter_map(|row| self.numbers.get(row).copied()).collect();
        if !self.sorted {
            set.sort_unstable();
        }
        RoaringBitmap::from_sorted_iter(set).map_err(|_| {
            Error::internal("segment.customer_number", "two rows of one table have the same customer number")
        })
    }
}

fn shape() -> Error {
    Error::internal("segment.batch", "the segments' statement gave columns of other types than it names")
}

/// The rows for which a boolean column is true.
fn truths(batch: &RecordBatch, column: usize) -> Result<BooleanBuffer> {
    let column = batch.columns().get(column).and_then(|column| column.as_boolean_opt()).ok_or_else(shape)?;
    Ok(column.nulls().map_or_else(|| column.values().clone(), |nulls| column.values() & nulls.inner()))
}

fn dense(numbers: &Int64Array) -> Result<Vec<u32>> {
    let wrong = || Error::internal("segment.customer_number", "a customer number is missing, negative or too large");
    let dense = |number: i64| u32::try_from(number).ok().filter(|number| *number != u32::MAX);
    numbers.iter().map(|number| number.and_then(dense).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests;
