//! The survey of a landed table: which rows are faulty, and which ids have more than one row.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::execute_stream_partitioned;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::Options;
use super::shape::{Shape, path_of};
use crate::engine::Engine;
use crate::engine::statement::{Params, plan_text};
use crate::error::{Error, Result};
use crate::schema::landed::Table;

/// A faulty row, as the `rejects` table keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reject {
    /// The landed table.
    pub table: &'static str,
    /// The file, by its path or URL.
    pub file: String,
    /// The 0-based row in it.
    pub row: i64,
    /// The row's id, where it has one.
    pub key: Option<String>,
    /// The column at fault.
    pub column: String,
    /// The rule that it breaks.
    pub rule: String,
    /// The value as landed; masked in columns with contact data.
    pub value: Option<String>,
}

/// What a survey found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Faulty rows by rule and column.
    pub(super) faults: BTreeMap<(String, String), u64>,
    /// The first of them.
    pub(super) rejects: Vec<Reject>,
    /// Hashes of ids with several rows or a faulty one, sorted.
    pub(super) suspects: Vec<u64>,
    /// Whether rows without an id were found.
    pub(super) null_keys: bool,
}

/// Faulty rows of a table that are kept with their place; all are counted.
pub(super) const KEPT_REJECTS: usize = 10_000;

/// What one row contributes: the id's hash, the version time, and the hash of the line within an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    hash: u64,
    version: i64,
    line: u64,
}

/// Surveys a table, in as many passes as its ids need to fit a quarter of the memory pool.
pub(super) async fn survey(
    engine: &Engine,
    session: &SessionContext,
    shape: &Shape,
    options: &Options,
) -> Result<Survey> {
    let width = if shape.table == Table::OrderItems { size_of::<Seen>() } else { size_of::<u64>() };
    let rows = usize::try_from(shape.rows).unwrap_or(usize::MAX);
    let needed = rows.saturating_mul(width);
    let passes = u64::try_from(needed / (engine.pool_bytes() / 4).max(1)).unwrap_or(0) + 1;
    let mut survey = Survey::default();
    let keyed = shape.table.version_key().is_some() || shape.table == Table::OrderItems;
    for pass in 0..if keyed { passes } else { 1 } {
        let reservation = MemoryConsumer::new("survey").register(&engine.runtime().memory_pool);
        reservation.try_grow(needed / usize::try_from(passes).unwrap_or(1))?;
        one_pass(session, shape, options, (pass, passes), &mut survey).await?;
    }
    survey.suspects.sort_unstable();
    survey.suspects.dedup();
    survey.rejects.sort();
    survey.rejects.truncate(KEPT_REJECTS);
    Ok(survey)
}

async fn one_pass(
    session: &SessionContext,
    shape: &Shape,
    options: &Options,
    (pass, passes): (u64, u64),
    survey: &mut Survey,
) -> Result<()> {
    let mut ids: Vec<Vec<u64>> = Vec::new();
    let mut lines: Vec<Vec<Seen>> = Vec::new();
    for group in shape.checked_sql(options) {
        let key = shape.table.version_key().or((shape.table == Table::OrderItems).then_some("order_id"));
        let hash = key.map_or_else(|| "CAST(NULL AS BIGINT UNSIGNED)".to_owned(), |key| format!("id_hash({key})"));
        let shown = key.map_or_else(
            || "CAST(NULL AS VARCHAR)".to_owned(),
            |key| format!("CASE WHEN _fault IS NOT NULL THEN {key} END"),
        );
        let extra = if shape.table == Table::OrderItems { ", _version, line" } else { "" };
        let sql = format!("SELECT {hash} AS h, _fault, _value, {shown} AS k, _file, _row{extra} FROM ({group})");
        let plan = plan_text(session, &sql, &Params::new()).await?.create_physical_plan().await?;
        let streams = execute_stream_partitioned(plan, session.task_ctx())?;
        let mut tasks = tokio::task::JoinSet::new();
        for mut stream in streams {
            let items = shape.table == Table::OrderItems;
            tasks.spawn(async move {
                let mut found = Found::default();
                while let Some(batch) = stream.next().await {
                    found.read(&batch?, items, pass, passes)?;
                }
                Ok::<_, Error>(found)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let found = done.map_err(|error| Error::internal("land.survey", error.to_string()))??;
            if pass == 0 {
                survey.null_keys |= found.null_keys;
                found.report(shape, survey)?;
            }
            ids.push(found.ids);
            lines.push(found.lines);
            survey.suspects.extend(found.faulty);
        }
    }
    survey.suspects.extend(repeated(ids));
    survey.suspects.extend(unsettled_orders(lines));
    Ok(())
}

/// A faulty row: its fault, key and value, and the number of its file and row.
type Faulty = (String, Option<String>, Option<String>, i32, i64);

/// What one partition of a scan found.
#[derive(Debug, Default)]
struct Found {
    ids: Vec<u64>,
    lines: Vec<Seen>,
    faulty: Vec<u64>,
    null_keys: bool,
    faults: Vec<Faulty>,
    counts: BTreeMap<String, u64>,
}

impl Found {
    fn read(&mut self, batch: &RecordBatch, items: bool, pass: u64, passes: u64) -> Result<()> {
        let hashes = batch.column(0).as_primitive_opt::<UInt64Type>();
        let fault = batch.column(1);
        if let Some(hashes) = hashes {
            self.null_keys |= hashes.null_count() > 0;
            if items {
                let version = batch.column(6).as_primitive::<TimestampMicrosecondType>();
                let line = batch.column(7).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    if hashes.is_valid(row) && hashes.value(row) % passes == pass {
                        self.lines.push(Seen {
                            hash: hashes.value(row),
                            version: if version.is_valid(row) { version.value(row) } else { i64::MIN },
                            line: if line.is_valid(row) { line.value(row).cast_unsigned() } else { u64::MAX },
                        });
                    }
                }
            } else if passes == 1 && hashes.null_count() == 0 {
                self.ids.extend_from_slice(hashes.values());
            } else {
                self.ids.extend(hashes.iter().flatten().filter(|hash| hash % passes == pass));
            }
        }
        if fault.null_count() < fault.len() {
            self.keep_faults(batch, pass)?;
        }
        Ok(())
    }

    fn keep_faults(&mut self, batch: &RecordBatch, pass: u64) -> Result<()> {
        let text = |column: usize| arrow::compute::cast(batch.column(column), &DataType::Utf8);
        let (fault, value, key) = (text(1)?, text(2)?, text(3)?);
        let (fault, value, key) = (fault.as_string::<i32>(), value.as_string::<i32>(), key.as_string::<i32>());
        let file = batch.column(4).as_primitive::<Int32Type>();
        let row_number = batch.column(5).as_primitive::<Int64Type>();
        let hashes = batch.column(0).as_primitive_opt::<UInt64Type>();
        let option =
            |array: &arrow::array::StringArray, row: usize| array.is_valid(row).then(|| array.value(row).to_owned());
        for row in (0..batch.num_rows()).filter(|row| fault.is_valid(*row)) {
            if pass == 0 {
                *self.counts.entry(fault.value(row).to_owned()).or_default() += 1;
                self.faults.push((
                    fault.value(row).to_owned(),
                    option(key, row),
                    option(value, row),
                    file.value(row),
                    row_number.value(row),
                ));
                // The first of each partition in file order: later ones are only counted.
                if self.faults.len() > 2 * KEPT_REJECTS {
                    self.faults.sort_by_key(|(_, _, _, file, row)| (*file, *row));
                    self.faults.truncate(KEPT_REJECTS);
                }
            }
            if let Some(hashes) = hashes.filter(|hashes| hashes.is_valid(row)) {
                self.faulty.push(hashes.value(row));
            }
        }
        Ok(())
    }

    fn report(&self, shape: &Shape, survey: &mut Survey) -> Result<()> {
        for (fault, count) in &self.counts {
            let (rule, column) = fault.split_once(':').unwrap_or((fault, ""));
            *survey.faults.entry((rule.to_owned(), column.to_owned())).or_default() += count;
        }
        for (fault, key, value, file, row) in &self.faults {
            let (rule, column) = fault.split_once(':').unwrap_or((fault, ""));
            survey.rejects.push(Reject {
                table: shape.table.name(),
                file: path_of(shape, *file)?.to_owned(),
                row: *row,
                key: key.clone(),
                column: column.to_owned(),
                rule: rule.to_owned(),
                value: value.clone(),
            });
        }
        Ok(())
    }
}

/// Hashes that occur more than once.
fn repeated(parts: Vec<Vec<u64>>) -> Vec<u64> {
    let mut all = parts.into_iter().reduce(|mut all, mut part| {
        all.append(&mut part);
        all
    });
    let Some(all) = &mut all else { return Vec::new() };
    all.sort_unstable();
    let mut out: Vec<u64> = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    out.dedup();
    out
}

/// Orders whose lines have several version times, or whose line numbers repeat.
fn unsettled_orders(parts: Vec<Vec<Seen>>) -> Vec<u64> {
    let mut all: Vec<Seen> = parts.into_iter().flatten().collect();
    all.sort_unstable();
    let doubtful = |pair: &[Seen]| {
        let (a, b) = (pair[0], pair[1]);
        a.hash == b.hash && (a.version != b.version || (a.line == b.line && a.line != u64::MAX))
    };
    let mut out: Vec<u64> = all.windows(2).filter(|pair| doubtful(pair)).map(|pair| pair[0].hash).collect();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_ids_are_found_across_partitions() {
        assert_eq!(repeated(vec![vec![3, 1], vec![2, 3], vec![3]]), [3]);
        assert!(repeated(Vec::new()).is_empty());
    }

    #[test]
    fn orders_with_two_versions_or_a_line_twice() {
        let seen = |hash, version, line| Seen { hash, version, line };
        let lines = vec![
            vec![seen(1, 5, 1), seen(1, 5, 2), seen(2, 5, 1)],
            vec![seen(2, 6, 1), seen(3, 5, 9), seen(3, 5, 9), seen(4, 5, u64::MAX), seen(4, 5, u64::MAX)],
        ];
        assert_eq!(unsettled_orders(lines), [2, 3]);
    }
}
