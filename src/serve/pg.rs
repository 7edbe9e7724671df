//! `pg_catalog` and Postgres's functions, for the tools that ask for them before anything else.
//!
//! The tables and most functions are `datafusion-pg-catalog`'s. Ours is that object numbers stay the same from one
//! published state to the next, that comments are told, and that `version()` says what tools parse.

/// `to_regtype`.
mod regtype;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProviderList, MemTable, SchemaProvider, Session, TableProvider};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TableType, Volatility,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, setup_pg_catalog,
};

use super::state::Sight;
use super::workers::Pausing;
use crate::engine::Engine;
use crate::error::{Error, Result};
use regtype::RegType;

/// The name of the one catalogue, which Postgres calls a database.
pub(super) const CATALOG: &str = "alluvial";
/// What tools are told that they talk to.
pub(super) const SERVER_VERSION: &str = concat!("16.6 (Alluvial ", env!("CARGO_PKG_VERSION"), ")");
/// The number of `pg_class` itself, which says of a description what it describes.
const PG_CLASS: i32 = 1259;
/// Sights whose numbers are kept.
const SIGHTS: usize = 256;

/// What every session of the server is made like.
pub(super) struct PgTemplate {
    base: SessionState,
    fixed: Arc<PgCatalogStaticTables>,
    of_sight: Mutex<HashMap<Sight, Arc<PgCatalog>>>,
}

impl PgTemplate {
    pub(super) fn new(engine: &Engine) -> Result<Self> {
        let session = engine.session_named(CATALOG);
        setup_pg_catalog(&session, CATALOG, EmptyContextProvider).map_err(|error| Error::from(*error))?;
        let version = ScalarValue::from(format!("PostgreSQL {SERVER_VERSION}"));
        session.register_udf(ScalarUDF::new_from_impl(Constant::new("version", version)));
        for name in ["shobj_description", "pg_get_viewdef"] {
            session.register_udf(ScalarUDF::new_from_impl(Constant::new(name, ScalarValue::Utf8(None))));
        }
        session.register_udf(ScalarUDF::new_from_impl(RegType::new()));
        for name in ["pg_function_is_visible", "pg_type_is_visible"] {
            session.register_udf(ScalarUDF::new_from_impl(Constant::new(name, ScalarValue::from(true))));
        }
        let recovering = Constant::new("pg_is_in_recovery", ScalarValue::from(false));
        session.register_udf(ScalarUDF::new_from_impl(recovering));
        let fixed = Arc::new(PgCatalogStaticTables::try_new()?);
        let base = SessionStateBuilder::new_from_existing(session.state());
        let base = base.with_physical_optimizer_rule(Arc::new(Pausing)).build();
        Ok(Self { base, fixed, of_sight: Mutex::default() })
    }

    /// The state that the sessions of a catalogue are made from, without its tables yet.
    pub(super) fn base(&self) -> SessionState {
        self.base.clone()
    }

    /// `pg_catalog` of a sight: one for as long as the server runs, so that its numbers stay the same.
    pub(super) fn of(&self, sight: &Sight) -> Result<Arc<PgCatalog>> {
        let mut all = self.of_sight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(sight) {
            return Ok(Arc::clone(known));
        }
        let current = Current::default();
        let inner = PgCatalogSchemaProvider::try_new(current.clone(), Arc::clone(&self.fixed), EmptyContextProvider)?;
        let made = Arc::new_cyclic(|own| PgCatalog {
            own: Weak::clone(own),
            current,
            inner,
            comments: RwLock::default(),
            told: RwLock::default(),
        });
        if all.len() >= SIGHTS {
            all.clear();
        }
        all.insert(sight.clone(), Arc::clone(&made));
        Ok(made)
    }
}

/// The catalogues that were made last for a sight.
#[derive(Clone, Default)]
struct Current(Arc<RwLock<Option<Arc<dyn CatalogProviderList>>>>);

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl Current {
    fn list(&self) -> Option<Arc<dyn CatalogProviderList>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn schema(&self, catalog: &str, schema: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.list()?.catalog(catalog)?.schema(schema)
    }
}

#[async_trait]
impl CatalogInfo for Current {
    async fn catalog_names(&self) -> DfResult<Vec<String>> {
        Ok(self.list().map(|list| CatalogProviderList::catalog_names(list.as_ref())).unwrap_or_default())
    }

    async fn schema_names(&self, catalog: &str) -> DfResult<Option<Vec<String>>> {
        Ok(self.list().and_then(|list| list.catalog(catalog)).map(|catalog| catalog.schema_names()))
    }

    async fn table_names(&self, catalog: &str, schema: &str) -> DfResult<Option<Vec<String>>> {
        Ok(self.schema(catalog, schema).map(|schema| {
            let mut names = schema.table_names();
            names.sort();
            names
        }))
    }

    async fn table_schema(&self, catalog: &str, schema: &str, table: &str) -> DfResult<Option<SchemaRef>> {
        let Some(schema) = self.schema(catalog, schema) else { return Ok(None) };
        // A landed table that cannot be read is no reason to list nothing at all.
        Ok(schema.table(table).await.ok().flatten().map(|table| table.schema()))
    }

    async fn table_type(&self, catalog: &str, schema: &str, table: &str) -> DfResult<Option<TableType>> {
        let Some(schema) = self.schema(catalog, schema) else { return Ok(None) };
        Ok(schema.table_type(table).await.ok().flatten())
    }
}

/// What is said of tables and their columns, by schema and table.
#[derive(Debug, Default)]
pub(super) struct Comments(pub(super) BTreeMap<(String, String), TableComments>);

/// What is said of one table.
#[derive(Debug, Default)]
pub(super) struct TableComments {
    /// Of the table itself.
    pub(super) table: Option<String>,
    /// Of its columns, by their 1-based place.
    pub(super) columns: Vec<(i32, String)>,
}

/// Descriptions by the object's number and the column's place, 0 for the object itself.
type Told = Arc<HashMap<(i32, i32), String>>;

/// `pg_catalog` of one sight.
pub(super) struct PgCatalog {
    own: Weak<PgCatalog>,
    current: Current,
    inner: PgCatalogSchemaProvider<Current, EmptyContextProvider>,
    comments: RwLock<Arc<Comments>>,
    told: RwLock<Option<Told>>,
}

impl std::fmt::Debug for PgCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgCatalog")
    }
}

impl PgCatalog {
    /// Tells it of a new state's tables.
    pub(super) fn set(&self, list: Arc<dyn CatalogProviderList>, comments: Comments) {
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Some(list);
        *self.comments.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(comments);
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `obj_description` and `col_description`, which answer once [`PgCatalog::describe`] has been called.
    pub(super) fn functions(self: &Arc<Self>) -> [ScalarUDF; 2] {
        ["obj_description", "col_description"].map(|name| {
            ScalarUDF::new_from_impl(Describing {
                name,
                of: Arc::clone(self),
                signature: Signature::variadic_any(Volatility::Stable),
            })
        })
    }

    async fn named(&self, table: &str) -> DfResult<Arc<dyn TableProvider>> {
        let found = self.inner.table(table).await?;
        found.ok_or_else(|| DataFusionError::Internal(format!("there is no {table}")))
    }

    /// Finds out which object has which description.
    pub(super) async fn describe(&self, session: &SessionContext) -> DfResult<Told> {
        if let Some(told) = self.told.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(told);
        }
        let comments = Arc::clone(&self.comments.read().unwrap_or_else(PoisonError::into_inner));
        let classes =
            session.read_table(self.named("pg_class").await?)?.select_columns(&["oid", "relname", "relnamespace"])?;
        let spaces = session.read_table(self.named("pg_namespace").await?)?.select_columns(&["oid", "nspname"])?;
        let mut schemas = HashMap::new();
        for batch in spaces.collect().await? {
            for (oid, name) in numbered(&batch, 0, 1)? {
                schemas.insert(oid, name);
            }
        }
        let mut told = HashMap::new();
        for batch in classes.collect().await? {
            let spaces = batch.column(2).as_primitive_opt::<Int32Type>();
            for (row, (oid, table)) in numbered(&batch, 0, 1)?.into_iter().enumerate() {
                let schema = spaces.and_then(|spaces| schemas.get(&spaces.value(row)));
                let Some(schema) = schema else { continue };
                let Some(comments) = comments.0.get(&(schema.clone(), table)) else { continue };
                told.extend(comments.table.iter().map(|text| ((oid, 0), text.clone())));
                told.extend(comments.columns.iter().map(|(place, text)| ((oid, *place), text.clone())));
            }
        }
        let told = Arc::new(told);
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&told));
        Ok(told)
    }

    /// The rows of `pg_description`.
    async fn descriptions(&self) -> DfResult<RecordBatch> {
        let told = match self.current.list() {
            Some(_) => self.describe(&SessionContext::new_with_state(bare())).await?,
            None => Told::default(),
        };
        let mut rows: Vec<(&(i32, i32), &String)> = told.iter().collect();
        rows.sort();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|((oid, _), _)| *oid).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|_| PG_CLASS).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|((_, place), _)| *place).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|(_, text)| Some(text.as_str())).collect::<StringArray>()),
        ];
        Ok(RecordBatch::try_new(description_schema(), columns)?)
    }
}

/// The columns of `pg_description`.
fn description_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int32, false);
    let text = Field::new("description", DataType::Utf8, false);
    Arc::new(Schema::new(vec![number("objoid"), number("classoid"), number("objsubid"), text]))
}

/// `pg_description`, whose rows are found when they are read and not before: finding them reads `pg_class`, and that
/// lists this table while it holds the numbers of all.
#[derive(Debug)]
struct Descriptions(Weak<PgCatalog>);

#[async_trait]
impl TableProvider for Descriptions {
    fn schema(&self) -> SchemaRef {
        description_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = match self.0.upgrade() {
            Some(catalog) => catalog.descriptions().await?,
            None => RecordBatch::new_empty(description_schema()),
        };
        MemTable::try_new(description_schema(), vec![vec![rows]])?.scan(state, projection, filters, limit).await
    }
}

/// A session that knows nothing, for two tables that are read whole.
fn bare() -> SessionState {
    SessionStateBuilder::new().build()
}

/// A column of numbers beside one of names.
fn numbered(batch: &RecordBatch, number: usize, name: usize) -> DfResult<Vec<(i32, String)>> {
    let wrong = || DataFusionError::Internal("pg_class has other columns than it had".to_owned());
    let numbers = batch.column(number).as_primitive_opt::<Int32Type>().ok_or_else(wrong)?;
    let names = arrow::compute::cast(batch.column(name), &DataType::Utf8)?;
    let names = names.as_string_opt::<i32>().ok_or_else(wrong)?;
    Ok((0..batch.num_rows()).map(|row| (numbers.value(row), names.value(row).to_owned())).collect())
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        self.inner.table_names()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match name {
            "pg_description" => Ok(Some(Arc::new(Descriptions(Weak::clone(&self.own))))),
            _ => self.inner.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}

/// A function that always gives the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn new(name: &'static str, value: ScalarValue) -> Self {
        use datafusion::logical_expr::TypeSignature;
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        Self { name, value, signature: Signature::one_of(any, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// `obj_description(oid, …)` and `col_description(oid, place)`.
#[derive(Debug)]
struct Describing {
    name: &'static str,
    of: Arc<PgCatalog>,
    signature: Signature,
}

impl PartialEq for Describing {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.of, &other.of)
    }
}

impl Eq for Describing {}

impl std::hash::Hash for Describing {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Describing {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let told = self.of.told.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        let number = |place: usize| -> DfResult<ArrayRef> {
            let Some(argument) = arguments.args.get(place) else {
                return Err(DataFusionError::Plan(format!("`{}` takes an oid", self.name)));
            };
            Ok(arrow::compute::cast(&argument.to_array(arguments.number_rows)?, &DataType::Int32)?)
        };
        let oids = number(0)?;
        let places = if self.name == "col_description" { Some(number(1)?) } else { None };
        let oids = oids.as_primitive::<Int32Type>();
        let mut texts = StringBuilder::new();
        for row in 0..arguments.number_rows {
            let place = places.as_ref().map_or(0, |places| places.as_primitive::<Int32Type>().value(row));
            let text = oids.is_valid(row).then(|| told.get(&(oids.value(row), place))).flatten();
            texts.append_option(text);
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}
