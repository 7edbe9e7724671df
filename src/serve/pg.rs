//! `pg_catalog` and Postgres's functions, for the tools that ask for them before anything else.
//!
//! The tables and most functions are `datafusion-pg-catalog`'s. Ours is that object numbers stay the same from one
//! published state to the next, that comments are told, that `version()` says what tools parse, and what is not the same in
//! the library and in Postgres: a module each.

/// `information_schema`.
mod columns;
/// What is said of tables and columns.
mod description;
/// Tables whose rows are found when they are read.
mod fresh;
/// Tables of keys and indexes.
mod keys;
/// Intervals times numbers, truth values and their texts.
mod operators;
/// What a session is told of itself and of others.
mod own;
/// `to_regtype`.
mod regtype;
/// `YYYY-MM-DD`.
mod template;
/// Functions of times.
mod times;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TableType, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, setup_pg_catalog,
};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::state::Sight;
use super::workers::Pausing;
use crate::engine::Engine;
use crate::error::{Error, Result};
pub(super) use columns::Information;
use description::Descriptions;
use fresh::Fresh;
pub(super) use keys::VECTORS;
use operators::Operators;
use own::StatActivity;
pub(super) use own::{Asker, functions as functions_of};
use regtype::RegType;
pub(super) use times::functions as functions_of_times;

/// The name of the one catalogue, which Postgres calls a database.
pub(super) const CATALOG: &str = "alluvial";
/// What tools are told that they talk to.
pub(super) const SERVER_VERSION: &str = concat!("16.6 (Alluvial ", env!("CARGO_PKG_VERSION"), ")");
/// The zone of whoever sets none.
pub(super) const UTC: &str = "UTC";
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
        for function in times::functions(UTC) {
            session.register_udf(function);
        }
        let mut state = session.state();
        let options = state.config_mut().options_mut();
        // Ours has Postgres's columns.
        options.catalog.information_schema = false;
        // Functions of times are made anew by what it says whenever a state is built.
        options.execution.time_zone = Some(UTC.to_owned());
        let base = SessionStateBuilder::new_from_existing(state);
        let mut base = base.with_physical_optimizer_rule(Arc::new(Pausing)).build();
        base.register_expr_planner(Arc::new(Operators::new()))?;
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

    async fn named(&self, table: &str) -> DfResult<Arc<dyn TableProvider>> {
        let found = self.inner.table(table).await?;
        found.ok_or_else(|| DataFusionError::Internal(format!("there is no {table}")))
    }

    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, DfResult<Option<Arc<dyn TableProvider>>>> {
        async move {
            let own = |table: Arc<dyn TableProvider>| Ok(Some(table));
            match name {
                "pg_description" => own(Arc::new(Fresh(Descriptions(Weak::clone(&self.own))))),
                "pg_stat_activity" => own(Arc::new(Fresh(StatActivity))),
                "pg_index" | "pg_constraint" => Ok(Some(keys::of_keys(self.named(name).await?.as_ref())?)),
                "pg_class" => {
                    let session = SessionContext::new_with_state(SessionStateBuilder::new().build());
                    Ok(Some(keys::of_classes(self.named(name).await?, &session)?))
                }
                _ => self.inner.table(name).await,
            }
        }
        .boxed()
    }

    /// `information_schema` over the catalogues that were made last.
    pub(super) fn information(&self) -> Information {
        Information(self.current.clone())
    }
}

impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.inner.table_names();
        names.push("pg_stat_activity".to_owned());
        names
    }

    // Written out: ARCHITECTURE.md, "Futures in traits".
    fn table<'s, 'n, 'f>(&'s self, name: &'n str) -> BoxFuture<'f, DfResult<Option<Arc<dyn TableProvider>>>>
    where
        's: 'f,
        'n: 'f,
    {
        self.find(name)
    }

    fn table_type<'s, 'n, 'f>(&'s self, name: &'n str) -> BoxFuture<'f, DfResult<Option<TableType>>>
    where
        's: 'f,
        'n: 'f,
    {
        let of_name = if name == "pg_stat_activity" { TableType::View } else { TableType::Base };
        std::future::ready(Ok(self.table_exist(name).then_some(of_name))).boxed()
    }

    fn table_exist(&self, name: &str) -> bool {
        name == "pg_stat_activity" || self.inner.table_exist(name)
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

/// The cells of the one column that a statement gives, for tests.
#[cfg(test)]
async fn cells(session: &SessionContext, sql: &str) -> std::result::Result<String, super::fault::Fault> {
    let answered = async { Box::pin(session.sql(sql)).await?.collect().await };
    let batches = answered.await.map_err(|error| super::fault::Fault::of(error, &[]))?;
    let mut cells = Vec::new();
    for batch in &batches {
        let column = batch.column(0);
        let format = arrow::util::display::FormatOptions::default();
        let shown = arrow::util::display::ArrayFormatter::try_new(column.as_ref(), &format)
            .map_err(|error| super::fault::Fault::of(error.into(), &[]))?;
        cells.extend((0..batch.num_rows()).map(|row| shown.value(row).to_string()));
    }
    Ok(cells.join(";"))
}
