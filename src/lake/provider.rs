//! Published days as plain Parquet scans.
//!
//! Delta Lake's own provider plans an operator that cannot be sent to another process, and reads "the table at a
//! version". This one turns the file lists of manifests into DataFusion's ordinary Parquet scan, `as_of` a partition
//! column: days are pruned when the query is planned, rows are counted without reading, and the plan survives
//! encoding. The files are pinned: each is looked at once, and must have the size that its manifest names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Field, Fields, Schema, SchemaRef};
use chrono::NaiveDate;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::error::{Error, Result};
use crate::lake::manifest::Manifest;
use crate::lake::schema::session_schema;
use crate::lake::snapshots::PublishedDay;
use crate::lake::table::Table;
use crate::lake::{Lake, failure};
use crate::schema::published::{AS_OF, Keeps, Published, tables};

/// Requests at once.
const AT_ONCE: usize = 16;

/// A published table, over the exact files of one or many days.
#[derive(Debug)]
pub struct DayTable {
    lake: Lake,
    /// As SQL sees it: `as_of` first.
    schema: SchemaRef,
    /// The columns in the files.
    file_schema: SchemaRef,
    by_day: bool,
    files: Vec<PinnedFile>,
}

/// One file of a [`DayTable`].
#[derive(Debug)]
struct PinnedFile {
    as_of: Option<NaiveDate>,
    path: String,
    size: u64,
    rows: Option<u64>,
    seen: OnceLock<ObjectMeta>,
}

impl DayTable {
    /// A table over the days of these manifests. A column that a day lacks reads as null there.
    ///
    /// # Errors
    /// A manifest's column type that Arrow has not.
    pub fn over(lake: &Lake, table: &Published, manifests: &[Manifest]) -> Result<Self> {
        let mut days: Vec<_> = manifests.iter().collect();
        days.sort_by_key(|manifest| manifest.as_of);
        let (mut schemas, mut files) = (Vec::new(), Vec::new());
        for manifest in days {
            let Some(day) = manifest.tables.get(table.name) else { continue };
            schemas.push(day.schema()?);
            files.extend(day.files.iter().map(|file| PinnedFile {
                as_of: table.by_day().then_some(manifest.as_of),
                path: file.path.clone(),
                size: file.size,
                rows: Some(file.rows),
                seen: OnceLock::new(),
            }));
        }
        Ok(Self::new(lake, table, schemas.iter().rev().map(AsRef::as_ref), files))
    }

    /// A table over the files that are live in a Delta table at the version that was opened: for tables that are not
    /// part of a day's manifest (`job_runs`, `rejects`, `snapshots`).
    ///
    /// # Errors
    /// A column type that Arrow has not.
    pub fn of_log(lake: &Lake, table: &Published, opened: &Table) -> Result<Self> {
        let schema = opened.schema()?;
        let files = opened.files().into_iter().map(|file| PinnedFile {
            as_of: file.as_of,
            path: file.path,
            size: file.size,
            rows: file.rows,
            seen: OnceLock::new(),
        });
        Ok(Self::new(lake, table, schema.iter().map(AsRef::as_ref), files.collect()))
    }

    /// Schemas newest first: where a type grew, the newest is the widest.
    fn new<'a>(
        lake: &Lake,
        table: &Published,
        schemas: impl Iterator<Item = &'a Schema>,
        files: Vec<PinnedFile>,
    ) -> Self {
        let mut seen = BTreeSet::new();
        let mut fields = Vec::new();
        let contract = table.columns.iter().cloned().map(Arc::new);
        for field in schemas.flat_map(|schema| schema.fields().iter().cloned()).chain(contract) {
            if seen.insert(field.name().clone()) {
                fields.push(field);
            }
        }
        let file_schema = session_schema(&Schema::new(fields));
        let as_of = table.by_day().then(as_of_field);
        let all: Fields = as_of.into_iter().chain(file_schema.fields().iter().cloned()).collect();
        Self { lake: lake.clone(), schema: Arc::new(Schema::new(all)), file_schema, by_day: table.by_day(), files }
    }

    /// The days that satisfy every filter that asks for nothing but `as_of`.
    fn days(&self, state: &dyn Session, filters: &[Expr]) -> Result<BTreeSet<NaiveDate>, DataFusionError> {
        let days: BTreeSet<NaiveDate> = self.files.iter().filter_map(|file| file.as_of).collect();
        let schema = Arc::new(Schema::new(vec![as_of_field()]));
        let df_schema = DFSchema::try_from(Arc::clone(&schema))?;
        let mut kept: Vec<NaiveDate> = days.into_iter().collect();
        for filter in filters.iter().filter(|filter| self.is_exact(filter)) {
            let column = Date32Array::from_iter_values(kept.iter().map(|day| Date32Type::from_naive_date(*day)));
            let rows = column.len();
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(column) as ArrayRef])?;
            let answer = state.create_physical_expr(filter.clone(), &df_schema)?.evaluate(&batch)?.into_array(rows)?;
            let answer = answer.as_boolean_opt().ok_or_else(|| {
                DataFusionError::Internal("a filter answers with something else than true or false".to_owned())
            })?;
            let mut row = 0;
            kept.retain(|_| {
                row += 1;
                answer.is_valid(row - 1) && answer.value(row - 1)
            });
        }
        Ok(kept.into_iter().collect())
    }

    fn is_exact(&self, filter: &Expr) -> bool {
        self.by_day && expr_applicable_for_cols(&[AS_OF], filter)
    }

    /// Whether a filter asks for nothing but columns of the files.
    fn is_of_files(&self, filter: &Expr) -> bool {
        filter.column_refs().iter().all(|column| self.file_schema.field_with_name(column.name()).is_ok())
    }

    /// The file as the store has it, which must be as the manifest names it.
    async fn look(&self, file: &PinnedFile) -> Result<ObjectMeta> {
        if let Some(meta) = file.seen.get() {
            return Ok(meta.clone());
        }
        let gone = |error: Error| {
            error.with_hint("the file belongs to a published day: restore it from a backup, or run the day again")
        };
        let path = self.lake.path(&file.path);
        let meta = self.lake.store().head(&path).await.map_err(|e| gone(failure(e, &file.path)))?;
        if meta.size != file.size {
            let why = format!("{} bytes are there, {} were written", meta.size, file.size);
            return Err(gone(Error::storage("lake.damaged", why).in_file(file.path.clone())));
        }
        Ok(file.seen.get_or_init(|| meta).clone())
    }
}

fn as_of_field() -> Arc<Field> {
    Arc::new(Field::new(AS_OF, DataType::Date32, true))
}

impl DayTable {
    fn plan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>, DataFusionError>> {
        async move {
            let projected = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            let days = if self.by_day { self.days(state, filters)? } else { BTreeSet::new() };
            let mut looks = Vec::new();
            for file in &self.files {
                if file.as_of.is_none_or(|day| days.contains(&day)) {
                    looks.push(async move { Ok::<_, Error>((file, self.look(file).await?)) }.boxed());
                }
            }
            let looked: Vec<(&PinnedFile, ObjectMeta)> =
                futures::stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
            if looked.is_empty() {
                return Ok(Arc::new(EmptyExec::new(projected)) as Arc<dyn ExecutionPlan>);
            }

            let partition_columns = if self.by_day { vec![as_of_field()] } else { Vec::new() };
            let table_schema = TableSchema::builder(Arc::clone(&self.file_schema))
                .with_table_partition_cols(partition_columns)
                .build();
            let mut rows = Some(0_u64);
            let mut files = Vec::with_capacity(looked.len());
            for (pinned, meta) in looked {
                rows = rows.zip(pinned.rows).map(|(all, rows)| all + rows);
                let mut file = PartitionedFile::new_from_meta(meta);
                if let Some(day) = pinned.as_of {
                    file =
                        file.with_partition_values(vec![ScalarValue::Date32(Some(Date32Type::from_naive_date(day)))]);
                }
                let statistics = Statistics::new_unknown(&self.file_schema).with_num_rows(exact(pinned.rows));
                files.push(file.with_statistics(Arc::new(statistics)));
            }
            let statistics = Statistics::new_unknown(table_schema.table_schema()).with_num_rows(exact(rows));

            let store_url = self.lake.store_url();
            let runtime = state.runtime_env();
            // Footers of files that never change are read once a process.
            let reader = CachedParquetFileReaderFactory::new(
                runtime.object_store(&store_url)?,
                runtime.cache_manager.get_file_metadata_cache(),
            );
            // Row groups whose statistics say that they hold nothing of it are not read; the filter itself stays above the scan.
            let pruning = filters.iter().filter(|filter| !self.is_exact(filter) && self.is_of_files(filter)).cloned();
            let pruning = match conjunction(pruning.collect::<Vec<_>>()) {
                Some(filter) => {
                    let schema = DFSchema::try_from(Arc::clone(table_schema.table_schema()))?;
                    Some(state.create_physical_expr(filter, &schema)?)
                }
                None => None,
            };
            let mut source = ParquetSource::new(table_schema)
                .with_table_parquet_options(state.table_options().parquet.clone())
                .with_parquet_file_reader_factory(Arc::new(reader));
            if let Some(pruning) = pruning {
                source = source.with_predicate(pruning);
            }
            // Here the partition column stands last, as the scan has it.
            let width = self.schema.fields().len();
            let place = |column: usize| match (self.by_day, column) {
                (true, 0) => width - 1,
                (true, column) => column - 1,
                (false, column) => column,
            };
            let columns = match projection {
                Some(columns) => columns.iter().map(|column| place(*column)).collect(),
                None => (0..width).map(place).collect(),
            };
            let groups = FileGroup::new(files).split_files(state.config().target_partitions());
            let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
                .with_file_groups(groups)
                .with_statistics(statistics)
                .with_projection_indices(Some(columns))?
                .with_limit(limit)
                .build();
            Ok(DataSourceExec::from_data_source(config))
        }
        .boxed()
    }
}

impl TableProvider for DayTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        // What is not about days alone reaches the Parquet scan, to skip row groups.
        Ok(filters
            .iter()
            .map(|filter| match self.is_exact(filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }

    // Written out: ARCHITECTURE.md, "Futures in traits".
    fn scan<'s, 'e, 'p, 'q, 'f>(
        &'s self,
        state: &'e dyn Session,
        projection: Option<&'p Vec<usize>>,
        filters: &'q [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'f, Result<Arc<dyn ExecutionPlan>, DataFusionError>>
    where
        's: 'f,
        'e: 'f,
        'p: 'f,
        'q: 'f,
    {
        self.plan(state, projection, filters, limit)
    }
}

fn exact(rows: Option<u64>) -> Precision<usize> {
    rows.and_then(|rows| usize::try_from(rows).ok()).map_or(Precision::Absent, Precision::Exact)
}

/// Reads the manifests of published days, oldest day first.
///
/// # Errors
/// See [`Manifest::read`].
pub async fn manifests(lake: &Lake, days: &[PublishedDay]) -> Result<Vec<Manifest>> {
    let mut reads = Vec::new();
    for day in days {
        reads.push(Manifest::read(lake, &day.manifest).boxed());
    }
    let mut read: Vec<Manifest> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    read.sort_by_key(|manifest| manifest.as_of);
    Ok(read)
}

/// Registers the published days in a session: each table under its name, over all these days; tables by day also as
/// `<table>_latest`, over the newest one; tables that keep the newest day only over that day. A table that no day has
/// is there, without rows. The session's runtime must know the lake ([`Lake::register`]).
///
/// # Errors
/// See [`Manifest::read`]; a name that the session has already.
pub async fn register_published(ctx: &SessionContext, lake: &Lake, days: &[PublishedDay]) -> Result<()> {
    for (name, table) in published(lake, &manifests(lake, days).await?)? {
        ctx.register_table(name.as_str(), table)?;
    }
    Ok(())
}

/// The tables of these days, by the names under which [`register_published`] registers them.
///
/// # Errors
/// A manifest's column type that Arrow has not.
pub fn published(lake: &Lake, manifests: &[Manifest]) -> Result<BTreeMap<String, Arc<DayTable>>> {
    let newest = manifests.iter().max_by_key(|manifest| manifest.as_of).map(std::slice::from_ref).unwrap_or_default();
    let mut registered = BTreeMap::new();
    for table in tables().iter().filter(|table| in_manifest(table)) {
        let latest = Arc::new(DayTable::over(lake, table, newest)?);
        if table.by_day() {
            let all = DayTable::over(lake, table, manifests)?;
            registered.insert(table.name.to_owned(), Arc::new(all));
            registered.insert(format!("{}_latest", table.name), latest);
        } else {
            registered.insert(table.name.to_owned(), latest);
        }
    }
    Ok(registered)
}

/// Registers `snapshots`, `job_runs` and `rejects`, each at its newest version.
///
/// # Errors
/// See [`Table::open`]; a name that the session has already.
pub async fn register_logs(ctx: &SessionContext, lake: &Lake) -> Result<()> {
    for table in tables().iter().filter(|table| !in_manifest(table)) {
        let opened = Box::pin(Table::open(lake, table)).await?;
        ctx.register_table(table.name, Arc::new(DayTable::of_log(lake, table, &opened)?))?;
    }
    Ok(())
}

/// Whether a table's rows are part of a published day.
fn in_manifest(table: &Published) -> bool {
    table.keeps != Keeps::Appended && table.name != "snapshots"
}

#[cfg(test)]
mod tests;
