//! The survey of a landed table: which rows are faulty, and which ids have more than one row.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::execute_stream_partitioned;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::Options;
use super::places::{self, Place};
use super::repeats::{self, Hashes};
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
    /// The places of all rows with those ids, sorted.
    pub(super) suspected: Vec<Place>,
    /// The places of the faulty rows, sorted.
    pub(super) faulty: Vec<Place>,
    /// Whether rows without an id were found.
    pub(super) null_keys: bool,
    /// Whether lines were found that have no version time.
    pub(super) undated: bool,
}

impl Survey {
    /// The places of the suspected rows that are not faulty, sorted.
    pub(super) fn sound(&self) -> Vec<Place> {
        self.suspected.iter().filter(|place| self.faulty.binary_search(place).is_err()).copied().collect()
    }
}

/// Faulty rows of a table that are kept with their place; all are counted.
pub(super) const KEPT_REJECTS: usize = 10_000;

/// What one line contributes: the hash of its order's id, its version time, and its number within the order.
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
    let line = if shape.table == Table::OrderItems { size_of::<Seen>() } else { 0 };
    let rows = usize::try_from(shape.rows).unwrap_or(usize::MAX);
    let [dense, sparse] = Hashes::BYTES.map(|width| rows.saturating_mul(width + line));
    let room = (engine.pool_bytes() / 4).max(1);
    // Of a part of the ids the rows do not follow each other.
    let (needed, passes) =
        if dense <= room { (dense, 1) } else { (sparse, u64::try_from(sparse / room).unwrap_or(0) + 1) };
    let mut survey = Survey::default();
    let keyed = key_of(shape.table).is_some();
    for pass in 0..if keyed { passes } else { 1 } {
        let reservation = MemoryConsumer::new("survey").register(&engine.runtime().memory_pool);
        reservation.try_grow(needed / usize::try_from(passes).unwrap_or(1))?;
        one_pass(engine, session, shape, options, (pass, passes), &mut survey).await?;
    }
    survey.suspects.sort_unstable();
    survey.suspected.sort_unstable();
    survey.faulty.sort_unstable();
    if !survey.faulty.is_empty() {
        report(session, shape, options, &mut survey).await?;
    }
    Ok(survey)
}

/// The column whose ids are surveyed.
fn key_of(table: Table) -> Option<&'static str> {
    table.version_key().or((table == Table::OrderItems).then_some("order_id"))
}

async fn one_pass(
    engine: &Engine,
    session: &SessionContext,
    shape: &Shape,
    options: &Options,
    (pass, passes): (u64, u64),
    survey: &mut Survey,
) -> Result<()> {
    let mut ids = Vec::new();
    let mut lines: Vec<Vec<Seen>> = Vec::new();
    let mut suspects = Vec::new();
    let items = shape.table == Table::OrderItems;
    let hash =
        key_of(shape.table).map_or_else(|| "CAST(0 AS BIGINT UNSIGNED)".to_owned(), |key| format!("id_hash({key})"));
    let extra = if items { ", _version, line" } else { "" };
    for group in shape.flagged_sql(options) {
        let sql = format!("SELECT {hash} AS h, _is_faulty, _file, _row{extra} FROM ({group})");
        let plan = plan_text(session, &sql, &Params::new()).await?.create_physical_plan().await?;
        let streams = execute_stream_partitioned(plan, session.task_ctx())?;
        // To the row, where there is one group and every stream has as many: a vector that grows is copied over and over.
        let parts = u64::try_from(streams.len() * shape.groups.len()).unwrap_or(1) * passes;
        let room = usize::try_from(shape.rows / parts.max(1)).unwrap_or(0);
        let mut tasks = tokio::task::JoinSet::new();
        for mut stream in streams {
            tasks.spawn(async move {
                let mut found = Found { ids: Hashes::with_room(room), ..Found::default() };
                found.lines.reserve(if items { room } else { 0 });
                while let Some(batch) = stream.next().await {
                    found.read(&batch?, items, pass, passes);
                }
                Ok::<_, Error>(found)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let found = done.map_err(|error| Error::internal("land.survey", error.to_string()))??;
            survey.null_keys |= found.null_keys;
            survey.undated |= found.undated;
            if pass == 0 {
                survey.faulty.extend(found.faulty);
            }
            ids.push(found.ids);
            lines.push(found.lines);
            suspects.extend(found.suspects);
        }
    }
    let threads = engine.limits().threads.max(1);
    suspects.extend(if items { unsettled_orders(&lines, threads) } else { repeats::repeated(&ids, threads) });
    suspects.sort_unstable();
    suspects.dedup();
    survey.suspected.extend(repeats::places(&ids, &suspects, threads));
    survey.suspects.append(&mut suspects);
    Ok(())
}

/// What one partition of a scan found.
#[derive(Debug, Default)]
struct Found {
    ids: Hashes,
    lines: Vec<Seen>,
    /// Hashes of ids with a faulty row.
    suspects: Vec<u64>,
    faulty: Vec<Place>,
    null_keys: bool,
    undated: bool,
}

impl Found {
    fn read(&mut self, batch: &RecordBatch, items: bool, pass: u64, passes: u64) {
        let faulty = batch.column(1).as_boolean();
        let file = batch.column(2).as_primitive::<Int32Type>();
        let row_number = batch.column(3).as_primitive::<Int64Type>();
        let place = |row: usize| Place::new(file.value(row), row_number.value(row));
        // The hash of no id is 0.
        let hashes = batch.column(0).as_primitive::<UInt64Type>().values();
        let is_surveyed = |row: &usize| hashes[*row] != 0 && hashes[*row] % passes == pass;
        let rows = batch.num_rows();
        if faulty.true_count() > 0 {
            for row in (0..rows).filter(|row| faulty.is_valid(*row) && faulty.value(*row)) {
                self.faulty.push(place(row));
                self.suspects.extend(is_surveyed(&row).then_some(hashes[row]));
            }
        }
        let lacks_ids = hashes.contains(&0);
        self.null_keys |= lacks_ids;
        let follow = rows > 0
            && file.values().first() == file.values().last()
            && row_number.values().windows(2).all(|pair| pair[1] == pair[0] + 1);
        if follow && passes == 1 && !lacks_ids {
            self.ids.extend(hashes, place(0));
        } else {
            for row in (0..rows).filter(is_surveyed) {
                self.ids.push(hashes[row], place(row));
            }
        }
        if items {
            let version = batch.column(4).as_primitive::<TimestampMicrosecondType>();
            let line = batch.column(5).as_primitive::<Int64Type>();
            self.undated |= version.null_count() > 0;
            for row in (0..rows).filter(is_surveyed) {
                self.lines.push(Seen {
                    hash: hashes[row],
                    version: if version.is_valid(row) { version.value(row) } else { i64::MIN },
                    line: if line.is_valid(row) { line.value(row).cast_unsigned() } else { u64::MAX },
                });
            }
        }
    }
}

/// Says of every faulty row what is wrong with it.
async fn report(session: &SessionContext, shape: &Shape, options: &Options, survey: &mut Survey) -> Result<()> {
    let picked = places::pick(session, shape, &survey.faulty, "faulty").await?;
    let key = key_of(shape.table).unwrap_or("CAST(NULL AS VARCHAR)");
    for group in picked.checked_sql(options) {
        let sql = format!("SELECT _fault, _value, {key} AS k, _file, _row FROM ({group}) WHERE _fault IS NOT NULL");
        let mut stream = plan_text(session, &sql, &Params::new()).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let text = |column: usize| arrow::compute::cast(batch.column(column), &DataType::Utf8);
            let (fault, value, key) = (text(0)?, text(1)?, text(2)?);
            let (fault, value, key) = (fault.as_string::<i32>(), value.as_string::<i32>(), key.as_string::<i32>());
            let file = batch.column(3).as_primitive::<Int32Type>();
            let row_number = batch.column(4).as_primitive::<Int64Type>();
            let option = |array: &StringArray, row: usize| array.is_valid(row).then(|| array.value(row).to_owned());
            for row in 0..batch.num_rows() {
                let (rule, column) = fault.value(row).split_once(':').unwrap_or((fault.value(row), ""));
                *survey.faults.entry((rule.to_owned(), column.to_owned())).or_default() += 1;
                survey.rejects.push(Reject {
                    table: shape.table.name(),
                    file: path_of(shape, file.value(row))?.to_owned(),
                    row: row_number.value(row),
                    key: option(key, row),
                    column: column.to_owned(),
                    rule: rule.to_owned(),
                    value: option(value, row),
                });
            }
            // The first in file order: later ones are only counted.
            if survey.rejects.len() > 2 * KEPT_REJECTS {
                survey.rejects.sort();
                survey.rejects.truncate(KEPT_REJECTS);
            }
        }
    }
    survey.rejects.sort();
    survey.rejects.truncate(KEPT_REJECTS);
    Ok(())
}

/// Orders whose lines have several version times, or whose line numbers repeat.
fn unsettled_orders(parts: &[Vec<Seen>], threads: usize) -> Vec<u64> {
    let lines: usize = parts.iter().map(Vec::len).sum();
    let doubtful = |pair: &[Seen]| {
        let (a, b) = (pair[0], pair[1]);
        a.hash == b.hash && (a.version != b.version || (a.line == b.line && a.line != u64::MAX))
    };
    repeats::shared(threads, |share| {
        let mut own = Vec::with_capacity(lines / threads + lines / 64);
        own.extend(parts.iter().flatten().filter(|seen| repeats::share_of(seen.hash, threads) == share).copied());
        own.sort_unstable();
        let mut out: Vec<u64> = own.windows(2).filter(|pair| doubtful(pair)).map(|pair| pair[0].hash).collect();
        out.dedup();
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_with_two_versions_or_a_line_twice() {
        let seen = |hash, version, line| Seen { hash, version, line };
        let lines = vec![
            vec![seen(1, 5, 1), seen(1, 5, 2), seen(2, 5, 1)],
            vec![seen(2, 6, 1), seen(3, 5, 9), seen(3, 5, 9), seen(4, 5, u64::MAX), seen(4, 5, u64::MAX)],
        ];
        for threads in 1..4 {
            let mut found = unsettled_orders(&lines, threads);
            found.sort_unstable();
            assert_eq!(found, [2, 3]);
        }
    }
}
