//! Wide rows, sorted by way of the disk.
//!
//! DataFusion's sort merges what it has spilled with memory of the pool that it cannot give back: two partitions that come to merge
//! at the same moment may want more than there is, and a query then fails by chance. Here rows are dealt to ranges of what they are
//! sorted by, and a range is sorted when it is read. What is held is a few batches and two ranges, however many rows there are.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream_partitioned;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::StreamExt;

use super::dealt::{Dealt, DealtFile, deal, in_turn};
use super::scratch::nullable;
use super::{BATCH_ROWS, Engine};
use crate::error::{Error, Result};

/// Rows of a range, about: so many are sorted at a time.
const RANGE_ROWS: usize = 1 << 17;
/// One row in so many says where a range ends.
const SAMPLED: usize = 64;

/// A folder that is gone with what reads it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // The bytes go with the engine's folder at the latest.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where rows are read from, and what they are sorted by.
#[derive(Debug)]
struct Sorting {
    files: Vec<DealtFile>,
    schema: SchemaRef,
    by: Vec<usize>,
    _folder: Folder,
}

impl Engine {
    /// The rows of a query in the order of the columns `by`, ascending, nulls last; rows that agree in all of them come in any order.
    /// The first of `by` is text, and hardly repeats: rows that agree in it are sorted in memory together. The query is run
    /// twice, once for that column alone.
    ///
    /// # Errors
    /// Whatever the query or the disk says.
    pub async fn in_order(
        &self,
        session: &SessionContext,
        name: &str,
        frame: DataFrame,
        by: &[&str],
    ) -> Result<SendableRecordBatchStream> {
        let began = std::time::Instant::now();
        let ends = ends_of(frame.clone(), by).await?;
        let plan = frame.create_physical_plan().await?;
        let schema = nullable(&plan.schema());
        let by = by.iter().map(|column| schema.index_of(column)).collect::<Result<Vec<_>, _>>()?;
        let folder = self.fresh_folder(&super::scratch::folder_name(session, name))?;
        let mut dealers = tokio::task::JoinSet::new();
        for (number, stream) in execute_stream_partitioned(plan, session.task_ctx())?.into_iter().enumerate() {
            let path = folder.join(format!("{number:05}.parquet"));
            let (schema, ends, first) = (Arc::clone(&schema), Arc::clone(&ends), by.first().copied());
            dealers.spawn(async move {
                deal(stream, schema, ends.len() + 1, &path, |batch| range_of_each(batch, first, &ends)).await
            });
        }
        let mut dealt: Vec<Dealt> = Vec::new();
        while let Some(done) = dealers.join_next().await {
            dealt.push(done.map_err(|error| Error::internal("engine.task", error.to_string()))??);
        }
        tracing::debug!(name, ranges = ends.len() + 1, seconds = began.elapsed().as_secs_f64(), "dealt to be sorted");
        let files = DealtFile::open_all(dealt)?;
        let ranges = DealtFile::buckets(&files);
        let sorting = Arc::new(Sorting { files, schema: Arc::clone(&schema), by, _folder: Folder(folder) });
        Ok(in_turn(schema, ranges, move |range| sorting.range(range)))
    }
}

/// The first value of every range but the first, in order.
async fn ends_of(frame: DataFrame, by: &[&str]) -> Result<Arc<Vec<String>>> {
    let first = by.first().copied().unwrap_or_default();
    let mut values = frame.select_columns(&[first])?.execute_stream().await?;
    let (mut sample, mut row) = (Vec::new(), 0);
    while let Some(batch) = values.next().await.transpose()? {
        let batch_values = cast(batch.column(0), &DataType::Utf8View)?;
        let taken = batch_values.as_string_view().iter().skip((SAMPLED - row % SAMPLED) % SAMPLED).step_by(SAMPLED);
        sample.extend(taken.flatten().map(str::to_owned));
        row += batch.num_rows();
    }
    sample.sort_unstable();
    let step = RANGE_ROWS / SAMPLED;
    let mut ends: Vec<String> = sample.into_iter().skip(step).step_by(step).collect();
    ends.dedup();
    Ok(Arc::new(ends))
}

/// The range that each row of a batch belongs to; rows without a value come last.
fn range_of_each(batch: &RecordBatch, first: Option<usize>, ends: &[String]) -> Result<Vec<u32>> {
    let last = u32::try_from(ends.len()).map_err(|_| Error::internal("engine.ranged", "there are too many ranges"))?;
    let Some(first) = first else { return Ok(vec![last; batch.num_rows()]) };
    let values = cast(batch.column(first), &DataType::Utf8View)?;
    let range_of = |value: &str| ends.partition_point(|end| end.as_str() <= value);
    let ranges = values.as_string_view().iter();
    Ok(ranges.map(|value| value.map_or(last, |value| u32::try_from(range_of(value)).unwrap_or(last))).collect())
}

impl Sorting {
    /// The rows of a range, sorted.
    fn range(&self, range: u32) -> Result<Vec<RecordBatch>> {
        let every: Vec<usize> = (0..self.schema.fields().len()).collect();
        let all = concat_batches(&self.schema, &DealtFile::read(&self.files, range, &every)?)?;
        let options = SortOptions { descending: false, nulls_first: false };
        let keys: Vec<_> = self.by.iter().map(|column| Arc::clone(all.column(*column))).collect();
        let fields = keys.iter().map(|key| SortField::new_with_options(key.data_type().clone(), options)).collect();
        let keys = RowConverter::new(fields)?.convert_columns(&keys)?;
        let mut order: Vec<(_, u32)> = keys.iter().zip(0_u32..).collect();
        order.sort_unstable();
        let order = UInt32Array::from_iter_values(order.iter().map(|(_, row)| *row));
        let parts = (0..all.num_rows()).step_by(BATCH_ROWS);
        let part = |from| take_record_batch(&all, &order.slice(from, BATCH_ROWS.min(order.len() - from)));
        Ok(parts.map(part).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::super::Limits;
    use super::*;

    async fn texts(rows: SendableRecordBatchStream) -> Vec<String> {
        let mut texts = Vec::new();
        for batch in rows.try_collect::<Vec<_>>().await.unwrap() {
            let column = cast(batch.column_by_name("told").unwrap(), &DataType::Utf8).unwrap();
            texts.extend(column.as_string::<i32>().iter().map(|text| text.unwrap_or("null").to_owned()));
        }
        texts
    }

    /// 400,000 rows are several ranges and several row groups of each; one key in nine is missing, many repeat.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_come_as_a_sort_would_give_them() {
        let engine = Engine::new(Limits { memory: 1 << 30, threads: 2, spill: None }, Vec::new(), None).unwrap();
        let session = engine.session();
        let rows = "SELECT nullif('k' || lpad(((value * 7919) % 300007)::VARCHAR, 6, '0'), 'k000000') AS key, \
                    CASE WHEN value % 9 = 0 THEN NULL ELSE value % 5 END AS line, value AS told FROM generate_series(1, 400000)";
        let rows = format!("SELECT CASE WHEN told % 9 = 4 THEN NULL ELSE key END AS key, line, told FROM ({rows})");
        let by = ["key", "line", "told"];
        let sorted = session.sql(&format!("{rows} ORDER BY key, line, told")).await.unwrap();
        let expected = texts(sorted.execute_stream().await.unwrap()).await;
        for sql in [rows.clone(), format!("{rows} UNION ALL {rows} LIMIT 0"), format!("{rows} LIMIT 10")] {
            let frame = session.sql(&sql).await.unwrap();
            let found = texts(engine.in_order(&session, "t", frame, &by).await.unwrap()).await;
            match found.len() {
                0 => assert!(sql.ends_with("LIMIT 0")),
                10 => assert!(sql.ends_with("LIMIT 10")),
                _ => assert!(found == expected, "{} rows in another order", found.len()),
            }
        }
        let left = std::fs::read_dir(engine.scratch_folder()).unwrap().flatten();
        assert!(left.filter(|entry| entry.file_name().to_string_lossy().starts_with("t-")).count() == 0);
    }
}
