//! The one catalogue of both doors: what a sight sees of a state.
//!
//! `public` has the published tables and the views over them, `segment` a view for every segment, `landing` the landed
//! tables, `pg_catalog` and `information_schema` what tools ask about those. Nothing is opened before a statement names it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
    TableProvider,
};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::comments;
use super::path::WithPaths;
use super::pg::{CATALOG, PgCatalog, PgTemplate};
use super::segment::SegmentTable;
use super::state::{SegmentRow, Sight, State, newest_only};
use super::users::Role;
use crate::calendar::{Clock, add_days};
use crate::engine::statement::{Params, plan_text};
use crate::error::Result;
use crate::lake::provider::DayTable;
use crate::land;
use crate::profile::catalogue::Catalogue;
use crate::schema::landed::Table as LandedTable;
use crate::schema::published::{Keeps, Published, named, tables};

/// For how long the landed tables' files are known without a look.
const LANDED_FRESH: Duration = Duration::from_secs(30);

/// What a sight sees of a state.
#[derive(Debug)]
pub struct Catalog {
    /// The state.
    pub state: Arc<State>,
    session: SessionState,
    pg: Arc<PgCatalog>,
}

impl Catalog {
    pub(super) async fn of(state: &Arc<State>, sight: &Sight, template: &PgTemplate, clock: Clock) -> Result<Self> {
        state.newest(sight.as_of)?;
        let days = state.tables(sight.as_of)?;
        let segments = Box::pin(state.segments(&days)).await?;
        let seen = |id: &str| sight.segments.as_ref().is_none_or(|only| only.contains(id));
        let segments: Vec<SegmentRow> = segments.into_iter().filter(|row| seen(&row.id)).collect();

        let catalogue = Catalogue::new(&[], &BTreeMap::new(), None);
        let mut told = super::pg::Comments::default();
        let segment = SegmentSchema::new(&days, &segments, &catalogue, &mut told);
        let public = PublicSchema::new(state, sight, days, &catalogue, &mut told).await?;

        let pg = template.of(sight)?;
        let catalog = Arc::new(MemoryCatalogProvider::new());
        catalog.register_schema("public", Arc::new(public))?;
        catalog.register_schema("segment", Arc::new(segment))?;
        if sight.role == Role::Admin && sight.segments.is_none() {
            let landing = LandingSchema { state: Arc::clone(state), clock, read: tokio::sync::Mutex::default() };
            catalog.register_schema("landing", Arc::new(landing))?;
        }
        catalog.register_schema("pg_catalog", Arc::clone(&pg) as Arc<dyn SchemaProvider>)?;
        catalog.register_schema("information_schema", Arc::new(pg.information()))?;
        let list = Arc::new(MemoryCatalogProviderList::new());
        list.register_catalog(CATALOG.to_owned(), Arc::new(WithPaths(catalog)));
        let list = list as Arc<dyn CatalogProviderList>;
        pg.set(Arc::clone(&list), told);

        let mut session = SessionStateBuilder::new_from_existing(template.base()).with_catalog_list(list).build();
        for function in pg.functions() {
            datafusion::execution::FunctionRegistry::register_udf(&mut session, Arc::new(function))?;
        }
        Ok(Self { state: Arc::clone(state), session, pg })
    }

    /// A session over the catalogue.
    pub fn session(&self) -> SessionContext {
        SessionContext::new_with_state(self.session.clone())
    }

    /// Makes `obj_description` and `col_description` answer.
    pub(super) async fn describe(&self) -> Result<()> {
        self.pg.describe(&self.session()).await?;
        Ok(())
    }
}

/// What stands behind a name of `public`.
#[derive(Debug)]
enum Entry {
    /// A table or a view that is there.
    Table(Arc<dyn TableProvider>),
    /// A log, opened when a statement names it.
    Log(Published),
}

/// The schema `public`.
#[derive(Debug)]
struct PublicSchema {
    state: Arc<State>,
    entries: BTreeMap<String, Entry>,
    /// Why a table that there is elsewhere is not seen.
    pinned: bool,
}

impl PublicSchema {
    async fn new(
        state: &Arc<State>,
        sight: &Sight,
        days: BTreeMap<String, Arc<DayTable>>,
        catalogue: &Catalogue,
        told: &mut super::pg::Comments,
    ) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let pinned = sight.as_of.is_some();
        if sight.segments.is_some() {
            return Ok(Self { state: Arc::clone(state), entries, pinned });
        }
        let session = state.project.engine.session();
        for (name, table) in days {
            if name == "customer_contacts" && sight.role == Role::Reader {
                continue;
            }
            session.register_table(name.as_str(), Arc::clone(&table) as Arc<dyn TableProvider>)?;
            entries.insert(name, Entry::Table(table));
        }
        for (name, column, one) in [("customer_tags", "tags", "tag"), ("customer_lists", "lists", "list")] {
            let sql = format!(
                "SELECT as_of, customer_id, {one} FROM \
                 (SELECT as_of, customer_id, unnest({column}) AS {one} FROM customer_profile_latest)"
            );
            let view = plan_text(&session, &sql, &Params::new()).await?.into_view();
            entries.insert(name.to_owned(), Entry::Table(view));
        }
        for (name, entry) in &entries {
            if let Entry::Table(table) = entry {
                comments::of_table(told, "public", name, &table.schema(), catalogue);
            }
        }
        for table in tables().into_iter().filter(|table| table.keeps == Keeps::Appended || table.name == "snapshots") {
            comments::of_table(told, "public", table.name, &table.schema(), catalogue);
            entries.insert(table.name.to_owned(), Entry::Log(table));
        }
        Ok(Self { state: Arc::clone(state), entries, pinned })
    }
}

#[async_trait]
impl SchemaProvider for PublicSchema {
    fn table_names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match self.entries.get(name) {
            Some(Entry::Table(table)) => Ok(Some(Arc::clone(table))),
            Some(Entry::Log(table)) => Ok(Some(self.state.log(table).await?)),
            None if self.pinned && newest_only(name) => Err(DataFusionError::Plan(format!(
                "`{name}` is kept for the newest published day only: `RESET alluvial.as_of` to read it"
            ))),
            None => Ok(None),
        }
    }

    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        Ok(self.entries.get(name).map(|entry| match entry {
            Entry::Table(table) => table.table_type(),
            Entry::Log(_) => TableType::Base,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
}

/// The schema `segment`: the members of each segment on the newest day, with their profile.
#[derive(Debug)]
struct SegmentSchema(BTreeMap<String, Arc<SegmentTable>>);

impl SegmentSchema {
    fn new(
        days: &BTreeMap<String, Arc<DayTable>>,
        segments: &[SegmentRow],
        catalogue: &Catalogue,
        told: &mut super::pg::Comments,
    ) -> Self {
        let mut views = BTreeMap::new();
        let (Some(members), Some(profile)) = (days.get("segment_members_latest"), days.get("customer_profile_latest"))
        else {
            return Self(views);
        };
        for row in segments {
            let name = row.id.replace('-', "_");
            let view = SegmentTable::new(&row.id, row.members, Arc::clone(members), Arc::clone(profile));
            comments::of_table(told, "segment", &name, &view.schema(), catalogue);
            if let Some(comments) = told.0.get_mut(&("segment".to_owned(), name.clone())) {
                comments.table.clone_from(&row.comment);
            }
            views.insert(name, Arc::new(view));
        }
        Self(views)
    }
}

#[async_trait]
impl SchemaProvider for SegmentSchema {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.0.get(name).map(|view| Arc::clone(view) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// When the landed files were looked at last, and the tables over them.
type LandedTables = Option<(Instant, BTreeMap<String, Arc<dyn TableProvider>>)>;

/// The schema `landing`: every landed row as it is read. Its files are looked for when a statement names it.
struct LandingSchema {
    state: Arc<State>,
    clock: Clock,
    read: tokio::sync::Mutex<LandedTables>,
}

impl std::fmt::Debug for LandingSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LandingSchema")
    }
}

impl LandingSchema {
    async fn tables(&self) -> Result<BTreeMap<String, Arc<dyn TableProvider>>> {
        let mut read = self.read.lock().await;
        if let Some((at, tables)) = read.as_ref()
            && at.elapsed() < LANDED_FRESH
        {
            return Ok(tables.clone());
        }
        let project = &self.state.project;
        let now = self.clock.now();
        let today = project.settings.project.zone.local_date(now);
        let options = project.landing(add_days(today, -1).unwrap_or(today), now);
        let session = project.engine.session();
        let found = Box::pin(land::find(&session, &project.sources, &options)).await?;
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        for table in LandedTable::ALL {
            let frame = plan_text(&session, &found.rows_sql(table, &options), &Params::new()).await?;
            tables.insert(table.name().to_owned(), frame.into_view());
        }
        *read = Some((Instant::now(), tables.clone()));
        Ok(tables)
    }

    fn named<'a>(&'a self, name: &'a str) -> BoxFuture<'a, DfResult<Option<Arc<dyn TableProvider>>>> {
        async move {
            if !self.table_exist(name) {
                return Ok(None);
            }
            Ok(Box::pin(self.tables()).await?.get(name).cloned())
        }
        .boxed()
    }
}

impl SchemaProvider for LandingSchema {
    fn table_names(&self) -> Vec<String> {
        LandedTable::ALL.iter().map(|table| table.name().to_owned()).collect()
    }

    // Written out: ARCHITECTURE.md, "Futures in traits".
    fn table<'s, 'n, 'f>(&'s self, name: &'n str) -> BoxFuture<'f, DfResult<Option<Arc<dyn TableProvider>>>>
    where
        's: 'f,
        'n: 'f,
    {
        self.named(name)
    }

    fn table_type<'s, 'n, 'f>(&'s self, name: &'n str) -> BoxFuture<'f, DfResult<Option<TableType>>>
    where
        's: 'f,
        'n: 'f,
    {
        std::future::ready(Ok(self.table_exist(name).then_some(TableType::View))).boxed()
    }

    fn table_exist(&self, name: &str) -> bool {
        LandedTable::ALL.iter().any(|table| table.name() == name)
    }
}

/// Whether a name is a published table's, whoever may see it.
pub(super) fn is_published(name: &str) -> bool {
    named(name).is_some()
}
