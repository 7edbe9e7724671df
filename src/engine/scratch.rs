//! Intermediate results on the local disk: what one statement leaves for the next.
//!
//! A result goes to Parquet, not to memory, so that a night's memory does not grow with the shop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::{ExecutionPlanProperties, execute_stream, execute_stream_partitioned};
use datafusion::prelude::{DataFrame, SessionContext};
use futures::StreamExt;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::Engine;
use super::different::mostly_different;
use super::encode::Encoder;
use super::pinned::{PinnedFile, PinnedTable};
use crate::error::{Error, Result};

const PREFIX: &str = "alluvial-scratch-";

/// Rows of a row group.
const GROUP_ROWS: usize = 131_072;

/// What was written.
#[derive(Debug, Clone)]
pub struct Materialized {
    /// Its rows.
    pub rows: u64,
    /// Its columns.
    pub schema: SchemaRef,
}

/// Drops the intermediate results of a session with it: an engine that serves for months would fill the disk.
#[derive(Debug)]
pub struct Dropping {
    folder: PathBuf,
    ending: String,
}

impl Drop for Dropping {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            // A name that was taken has a number behind it.
            if entry.file_name().to_string_lossy().contains(&self.ending) {
                // The bytes go with the engine's folder at the latest.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Where a session's table lies: other sessions have tables of the same name.
pub(super) fn folder_name(session: &SessionContext, name: &str) -> String {
    format!("{name}-{}", session.session_id())
}

/// A new folder for one process.
pub(super) fn folder(base: &Path) -> Result<tempfile::TempDir> {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(base).map_err(|error| {
        Error::from(error)
            .in_file(base.display().to_string())
            .with_hint("the folder for spill and intermediate results has to be writable")
    })
}

/// Removes the folders of processes that are gone: after a kill their spill stays behind.
pub(super) fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let Some(pid) = rest.split('-').next().filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        let processes = Path::new("/proc");
        if processes.join("self").exists() && !processes.join(pid).exists() {
            // Another process may sweep the same folder at the same moment: who loses has nothing left to do.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Engine {
    /// [`Engine::materialize`] of a query whose rows come sorted by each of `by`, ascending; later statements need not sort
    /// them again.
    ///
    /// # Errors
    /// Those of [`Engine::materialize`].
    pub async fn materialize_sorted(
        &self,
        session: &SessionContext,
        name: &str,
        frame: DataFrame,
        by: &[&str],
    ) -> Result<Materialized> {
        self.keep(session, name, frame, true, by).await
    }

    /// Runs a query and keeps its result as the session's table `name`. With `ordered` the rows keep the query's order
    /// (one file); otherwise each partition writes its own.
    ///
    /// # Errors
    /// Whatever the query or the disk says.
    pub async fn materialize(
        &self,
        session: &SessionContext,
        name: &str,
        frame: DataFrame,
        ordered: bool,
    ) -> Result<Materialized> {
        self.keep(session, name, frame, ordered, &[]).await
    }

    async fn keep(
        &self,
        session: &SessionContext,
        name: &str,
        frame: DataFrame,
        ordered: bool,
        by: &[&str],
    ) -> Result<Materialized> {
        let began = std::time::Instant::now();
        let folder = self.fresh_folder(&folder_name(session, name))?;
        let plan = frame.create_physical_plan().await?;
        let schema = nullable(&plan.schema());
        tracing::trace!(name, "\n{}", datafusion::physical_plan::displayable(plan.as_ref()).indent(false));
        let task = session.task_ctx();
        let streams = if ordered || plan.output_partitioning().partition_count() == 1 {
            vec![execute_stream(plan, task)?]
        } else {
            execute_stream_partitioned(plan, task)?
        };
        let mut writers = tokio::task::JoinSet::new();
        // Several streams keep the threads busy by themselves.
        let lanes = if streams.len() == 1 { self.limits.threads } else { 1 };
        for (number, stream) in streams.into_iter().enumerate() {
            let file = folder.join(format!("{number:05}.parquet"));
            writers.spawn(write(stream, Arc::clone(&schema), file, number, lanes));
        }
        let mut files = Vec::new();
        while let Some(done) = writers.join_next().await {
            let written = done.map_err(|error| Error::internal("engine.task", error.to_string()))??;
            files.push(written);
        }
        files.sort_by_key(|(number, _)| *number);
        let rows = files.iter().map(|(_, file)| file.rows.unwrap_or(0)).sum();
        tracing::debug!(name, rows, seconds = began.elapsed().as_secs_f64(), "materialized");
        let files = files.into_iter().map(|(_, file)| file).filter(|file| file.rows != Some(0)).collect();
        let table = PinnedTable::new(ObjectStoreUrl::local_filesystem(), &schema, files).with_orders(by);
        session.deregister_table(name)?;
        session.register_table(name, Arc::new(table))?;
        Ok(Materialized { rows, schema })
    }

    /// Drops an intermediate result.
    ///
    /// # Errors
    /// When the session does not let go of the table.
    pub fn discard(&self, session: &SessionContext, name: &str) -> Result<()> {
        session.deregister_table(name)?;
        // The bytes go with the engine's folder at the latest; a file still open elsewhere is no fault.
        let _ = std::fs::remove_dir_all(self.scratch.path().join(folder_name(session, name)));
        Ok(())
    }

    /// Drops every intermediate result of a session once what is given is let go.
    pub fn dropping(&self, session: &SessionContext) -> Dropping {
        Dropping { folder: self.scratch.path().to_owned(), ending: format!("-{}", session.session_id()) }
    }

    pub(super) fn fresh_folder(&self, name: &str) -> Result<PathBuf> {
        for attempt in 0_u32.. {
            let folder =
                self.scratch.path().join(if attempt == 0 { name.to_owned() } else { format!("{name}.{attempt}") });
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::internal("engine.scratch", "no free name for an intermediate result"))
    }
}

/// Nullability is what a statement's writer did not think of; a column that happens to have no null is no promise.
pub(super) fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true)).collect();
    Arc::new(Schema::new(fields))
}

async fn write(
    mut stream: SendableRecordBatchStream,
    schema: SchemaRef,
    path: PathBuf,
    number: usize,
    lanes: usize,
) -> Result<(usize, PinnedFile)> {
    let first = stream.next().await.transpose()?;
    let different = first.as_ref().map(mostly_different).transpose()?.unwrap_or_default();
    let options = ArrowWriterOptions::new().with_properties(properties(&schema, &different));
    let mut encoder = Encoder::new(File::create(&path)?, Arc::clone(&schema), options, GROUP_ROWS, lanes)?;
    let mut rows = 0_u64;
    let mut next = first;
    while let Some(batch) = next {
        rows += batch.num_rows() as u64;
        let batch = arrow::array::RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?;
        encoder.write(&batch).await?;
        next = stream.next().await.transpose()?;
    }
    encoder.finish().await?;
    let size = std::fs::metadata(&path)?.len();
    let path = object_store::path::Path::from_absolute_path(&path)
        .map_err(|error| Error::internal("engine.scratch", error.to_string()))?;
    Ok((number, PinnedFile { path, size, rows: Some(rows), constants: Vec::new(), picked: None }))
}

/// Written once, read once or twice, and gone within the hour: the time to encode counts, the size hardly. Text repeats
/// itself and compresses; numbers do neither fast enough to pay.
pub(super) fn properties(schema: &Schema, different: &[(ColumnPath, DataType)]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    for field in schema.fields().iter().filter(|field| is_text(field.data_type())) {
        let path = ColumnPath::from(field.name().as_str());
        let repeats = different.iter().all(|(different, _)| *different != path);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), repeats)
            .set_column_compression(path, Compression::LZ4_RAW);
    }
    properties.build()
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    #[tokio::test]
    async fn what_a_session_left_goes_when_it_is_let_go_and_nothing_of_others() {
        let engine = Engine::new(Limits { memory: 1 << 30, threads: 2, spill: None }, Vec::new(), None).unwrap();
        let (one, other) = (engine.session(), engine.session());
        for session in [&one, &one, &other] {
            let frame = session.sql("SELECT 1 AS a").await.unwrap();
            engine.materialize(session, "t", frame, false).await.unwrap();
        }
        // The engine's own folder for spill stands there, too.
        let is_ours = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("t-");
        let left = || std::fs::read_dir(engine.scratch_folder()).unwrap().flatten().filter(is_ours).count();
        assert_eq!(left(), 3);
        let dropping = engine.dropping(&one);
        assert_eq!(left(), 3);
        drop(dropping);
        assert_eq!(left(), 1);
        assert_eq!(other.sql("SELECT * FROM t").await.unwrap().count().await.unwrap(), 1);
    }
}
