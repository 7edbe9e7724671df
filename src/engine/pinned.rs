//! Parquet files, pinned by path and size, as a table.
//!
//! The scan is a plain `DataSourceExec` over `ParquetSource`, so a plan over it can be encoded and sent elsewhere.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use parquet::arrow::arrow_reader::RowSelection;

/// One file.
#[derive(Debug, Clone)]
pub struct PinnedFile {
    /// Its path in the store.
    pub path: Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows, where known.
    pub rows: Option<u64>,
    /// The values of the constant columns, in the order of `PinnedTable::with_constants`.
    pub constants: Vec<ScalarValue>,
    /// The rows that are read of it, where those are not all.
    pub picked: Option<RowSelection>,
}

/// Files of one schema as a table.
#[derive(Debug, Clone)]
pub struct PinnedTable {
    store: ObjectStoreUrl,
    file_schema: SchemaRef,
    constants: Vec<FieldRef>,
    row_number: Option<FieldRef>,
    schema: SchemaRef,
    files: Vec<PinnedFile>,
    orders: Vec<String>,
}

impl PinnedTable {
    /// A table over `files` in the store that is registered under `store`. String columns are read as views.
    pub fn new(store: ObjectStoreUrl, file_schema: &Schema, files: Vec<PinnedFile>) -> Self {
        let file_schema = Arc::new(Schema::new(file_schema.fields().iter().map(viewed).collect::<Vec<_>>()));
        Self {
            store,
            schema: Arc::clone(&file_schema),
            file_schema,
            constants: Vec::new(),
            row_number: None,
            files,
            orders: Vec::new(),
        }
    }

    /// Declares that the rows, of one file at most, come sorted by each of these columns, ascending.
    #[must_use]
    pub fn with_orders(mut self, by: &[&str]) -> Self {
        if self.files.len() <= 1 {
            self.orders = by.iter().map(|column| (*column).to_owned()).collect();
        }
        self
    }

    /// The declared orders, as physical expressions.
    fn orderings(&self) -> datafusion::error::Result<Vec<LexOrdering>> {
        let mut all = Vec::new();
        for name in &self.orders {
            let column = datafusion::physical_expr::expressions::col(name, &self.schema)?;
            let ascending = SortOptions { descending: false, nulls_first: false };
            all.extend(LexOrdering::new([PhysicalSortExpr::new(column, ascending)]));
        }
        Ok(all)
    }

    /// Adds columns that are constant within a file.
    #[must_use]
    pub fn with_constants(mut self, constants: Vec<FieldRef>) -> Self {
        self.constants = constants;
        self.rebuild();
        self
    }

    /// The same files with nothing but some of their rows; a file of which `rows` are none is left out. Such a plan cannot be
    /// encoded.
    #[must_use]
    pub fn picking(&self, rows: impl Fn(&PinnedFile) -> Option<RowSelection>) -> Self {
        let picked = |file: &PinnedFile| {
            let selection = rows(file)?;
            Some(PinnedFile { rows: Some(selection.row_count() as u64), picked: Some(selection), ..file.clone() })
        };
        Self { files: self.files.iter().filter_map(picked).collect(), ..self.clone() }
    }

    /// Adds a column with the 0-based number of the row in its file. Such a plan cannot be encoded.
    #[must_use]
    pub fn with_row_number(mut self, name: &str) -> Self {
        let field = Field::new(name, DataType::Int64, false).with_extension_type(parquet::arrow::RowNumber);
        self.row_number = Some(Arc::new(field));
        self.rebuild();
        self
    }

    fn table_schema(&self) -> TableSchema {
        TableSchema::builder(Arc::clone(&self.file_schema))
            .with_table_partition_cols(self.constants.clone())
            .with_virtual_columns(self.row_number.iter().cloned().collect::<Vec<_>>())
            .build()
    }

    fn rebuild(&mut self) {
        self.schema = Arc::clone(self.table_schema().table_schema());
    }
}

/// Strings and bytes as views: a filter or a join then copies 16 bytes a value, whatever its length.
fn viewed(field: &FieldRef) -> FieldRef {
    let view = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, value) if matches!(value.as_ref(), DataType::Utf8 | DataType::LargeUtf8) => {
            DataType::Utf8View
        }
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(view).with_nullable(true))
}

impl PinnedTable {
    fn plan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, datafusion::error::Result<Arc<dyn ExecutionPlan>>> {
        async move {
            if self.files.is_empty() {
                let schema = match projection {
                    Some(columns) => Arc::new(self.schema.project(columns)?),
                    None => Arc::clone(&self.schema),
                };
                return Ok(Arc::new(EmptyExec::new(schema)) as Arc<dyn ExecutionPlan>);
            }
            let mut options = state.table_options().parquet.clone();
            options.global = state.config_options().execution.parquet.clone();
            let table_schema = self.table_schema();
            let mut source = ParquetSource::new(table_schema.clone()).with_table_parquet_options(options);
            let readable: Vec<Expr> = filters.iter().filter(|filter| self.only_file_columns(filter)).cloned().collect();
            if let Some(filter) = datafusion::logical_expr::utils::conjunction(readable) {
                let schema = datafusion::common::DFSchema::try_from(Arc::clone(table_schema.table_schema()))?;
                source = source.with_predicate(state.create_physical_expr(filter, &schema)?);
            }
            let files: Vec<PartitionedFile> = self
                .files
                .iter()
                .map(|file| {
                    let read = PartitionedFile::new(file.path.as_ref(), file.size)
                        .with_partition_values(file.constants.clone());
                    match &file.picked {
                        Some(rows) => read.with_extension(ParquetRowSelection::new(rows.clone())),
                        None => read,
                    }
                })
                .collect();
            let statistics = self.statistics().unwrap_or_else(|| Statistics::new_unknown(&self.schema)).to_inexact();
            let groups = FileGroup::new(files).split_files(state.config().target_partitions());
            let config = FileScanConfigBuilder::new(self.store.clone(), Arc::new(source))
                .with_file_groups(groups)
                .with_statistics(statistics)
                .with_projection_indices(projection.cloned())?
                .with_output_ordering(self.orderings()?)
                .with_limit(limit)
                .build();
            Ok(DataSourceExec::from_data_source(config))
        }
        .boxed()
    }
}

impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut rows = 0_u64;
        for file in &self.files {
            rows += file.rows?;
        }
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).ok()?);
        Some(statistics)
    }

    // Written out: ARCHITECTURE.md, "Futures in traits".
    fn scan<'s, 'e, 'p, 'q, 'f>(
        &'s self,
        state: &'e dyn Session,
        projection: Option<&'p Vec<usize>>,
        filters: &'q [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'f, datafusion::error::Result<Arc<dyn ExecutionPlan>>>
    where
        's: 'f,
        'e: 'f,
        'p: 'f,
        'q: 'f,
    {
        self.plan(state, projection, filters, limit)
    }
}

impl PinnedTable {
    fn only_file_columns(&self, filter: &Expr) -> bool {
        filter.column_refs().iter().all(|column| self.file_schema.field_with_name(column.name()).is_ok())
    }
}
