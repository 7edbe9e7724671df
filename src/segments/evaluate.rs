//! All segments of a night in one pass over the profile.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::TryStreamExt;
use roaring::RoaringBitmap;

use super::compile::{Output, Shared};
use crate::error::{Error, Result};

/// Who is in which segment, as customer numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memberships {
    /// Members by segment; a segment without members is there, too.
    pub members: BTreeMap<String, RoaringBitmap>,
    /// For segments with a goal, the customers who satisfy it, members or not.
    pub goals: BTreeMap<String, RoaringBitmap>,
}

/// The plan of a shared statement. It consists of scans, one join at most and projections, which every engine that
/// reads DataFusion plans can run.
///
/// # Errors
/// A column that the profile or contacts table lacks.
pub async fn plan(session: &SessionContext, shared: &Shared) -> Result<DataFrame> {
    Ok(Box::pin(session.sql(&shared.sql)).await?)
}

/// Computes every output of a shared statement, streaming the profile. The result does not depend on the order of
/// rows or on how they are partitioned.
///
/// # Errors
/// What the session's tables fail with, and `segment.customer_number` for numbers outside 0 to 2³² − 1.
pub async fn evaluate(session: &SessionContext, shared: &Shared) -> Result<Memberships> {
    let mut bitmaps: Vec<RoaringBitmap> = vec![RoaringBitmap::new(); shared.outputs.len()];
    if !bitmaps.is_empty() {
        let frame = plan(session, shared).await?;
        let mut stream = Box::pin(frame.execute_stream()).await?;
        while let Some(batch) = stream.try_next().await? {
            take(&batch, &mut bitmaps)?;
        }
    }
    let mut memberships = Memberships::default();
    for (Output { segment, goal }, bitmap) in shared.outputs.iter().zip(bitmaps) {
        let into = if *goal { &mut memberships.goals } else { &mut memberships.members };
        into.insert(segment.clone(), bitmap);
    }
    Ok(memberships)
}

fn take(batch: &RecordBatch, bitmaps: &mut [RoaringBitmap]) -> Result<()> {
    let shape =
        || Error::internal("segment.batch", "the segments' statement gave columns of other types than it names");
    let numbers: &Int64Array =
        batch.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or_else(shape)?;
    let numbers = dense(numbers)?;
    // Rows mostly come in the order of their numbers; bitmaps are built fastest from a sorted run.
    let sorted = numbers.is_sorted();
    for (column, bitmap) in batch.columns().iter().skip(1).zip(bitmaps) {
        let truths: &BooleanArray = column.as_boolean_opt().ok_or_else(shape)?;
        let holds = truths.nulls().map_or_else(|| truths.values().clone(), |nulls| truths.values() & nulls.inner());
        let mut rows: Vec<u32> = holds.set_indices().filter_map(|row| numbers.get(row).copied()).collect();
        if !sorted {
            rows.sort_unstable();
        }
        match RoaringBitmap::from_sorted_iter(rows) {
            Ok(part) => *bitmap |= part,
            Err(_) => {
                return Err(Error::internal(
                    "segment.customer_number",
                    "two rows of the profile have one customer number",
                ));
            }
        }
    }
    Ok(())
}

fn dense(numbers: &Int64Array) -> Result<Vec<u32>> {
    let wrong = || Error::internal("segment.customer_number", "a customer number is missing, negative or too large");
    numbers.iter().map(|number| number.and_then(|number| u32::try_from(number).ok()).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests;
