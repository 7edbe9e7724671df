//! What is published, as the statements of both doors see it.
//!
//! A statement asks for the newest state when it is executed and gets all its tables from that one. Whether there is a newer one
//! is told by one look at the store: is there a commit of `snapshots` after the one that was read? Only then are the
//! new days' manifests read; nothing is ever listed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use chrono::NaiveDate;
use datafusion::catalog::TableProvider;
use futures::FutureExt;

use super::catalog::Catalog;
use super::pg::PgTemplate;
use super::users::Role;
use crate::calendar::Clock;
use crate::error::{Error, Result};
use crate::lake::manifest::Manifest;
use crate::lake::provider::{DayTable, manifests, published};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::lake::table::Table;
use crate::schema::published as contract;
use crate::snapshot::setup::Project;
use crate::snapshot::upkeep;

/// After how long the log is read again whatever the store says of the next commit: old commits are cleaned away, and
/// then the next one is not there although later ones are.
const RECHECK: Duration = Duration::from_secs(3600);
/// Past states that tickets may still name.
const KEPT: usize = 8;
/// For how long a log's newest version serves (`job_runs`, `rejects` …).
const LOG_FRESH: Duration = Duration::from_secs(1);
/// Catalogues kept of one state.
const CATALOGS: usize = 64;

/// What somebody may see, and of which day.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sight {
    /// What the role allows.
    pub role: Role,
    /// The only segments that are seen, where not everything is.
    pub segments: Option<BTreeSet<String>>,
    /// The newest day that is seen, where the session is pinned to one.
    pub as_of: Option<NaiveDate>,
}

/// A segment as of the newest day.
#[derive(Debug, Clone)]
pub(super) struct SegmentRow {
    /// Its id.
    pub(super) id: String,
    /// Its members, as its sizes tell.
    pub(super) members: Option<u64>,
    /// Its name and description.
    pub(super) comment: Option<String>,
}

/// One state of what is published.
pub struct State {
    /// The version of `snapshots`, which names the state.
    pub version: Option<u64>,
    /// The published days.
    pub snapshots: Snapshots,
    manifests: Vec<Arc<Manifest>>,
    read_at: Instant,
    pub(super) project: Arc<Project>,
    logs: tokio::sync::Mutex<HashMap<&'static str, (Instant, Arc<DayTable>)>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("version", &self.version).finish_non_exhaustive()
    }
}

impl State {
    async fn read(project: &Arc<Project>, before: Option<&State>) -> Result<Self> {
        let snapshots = Box::pin(Snapshots::read(&project.lake)).await?;
        // What upkeep may have taken out of a manifest since is read again: a day later its files are gone.
        let newest = snapshots.latest().map(|day| day.as_of).unwrap_or_default();
        let lasting = |read: &&Arc<Manifest>| !upkeep::is_overdue(read, &project.settings.retention, newest);
        let known: HashMap<String, &Arc<Manifest>> = before
            .into_iter()
            .flat_map(|state| state.manifests.iter().filter(lasting).map(|read| (read.path(), read)))
            .collect();
        let is_known = |day: &&PublishedDay| known.contains_key(&day.manifest);
        let new: Vec<PublishedDay> = snapshots.days().iter().filter(|day| !is_known(day)).cloned().collect();
        let kept = snapshots.days().iter().filter_map(|day| known.get(&day.manifest));
        let mut all: Vec<Arc<Manifest>> = kept.map(|manifest| Arc::clone(manifest)).collect();
        all.extend(Box::pin(manifests(&project.lake, &new)).await?.into_iter().map(Arc::new));
        all.sort_by_key(|manifest| manifest.as_of);
        Ok(Self {
            version: snapshots.version(),
            snapshots,
            manifests: all,
            read_at: Instant::now(),
            project: Arc::clone(project),
            logs: tokio::sync::Mutex::default(),
        })
    }

    /// Whether the store has a later commit of `snapshots`.
    async fn is_stale(&self) -> Result<bool> {
        if self.read_at.elapsed() > RECHECK {
            return Ok(true);
        }
        let next = self.version.map_or(0, |version| version + 1);
        self.project.lake.exists(&format!("tables/snapshots/_delta_log/{next:020}.json")).await
    }

    /// The published tables by name: of every day, or of the days up to the one that the sight is pinned to, and then
    /// without those that are kept for the newest day only.
    pub(super) fn tables(&self, as_of: Option<NaiveDate>) -> Result<BTreeMap<String, Arc<DayTable>>> {
        let seen = self.manifests.iter().filter(|manifest| as_of.is_none_or(|last| manifest.as_of <= last));
        let seen: Vec<Manifest> = seen.map(|manifest| manifest.as_ref().clone()).collect();
        let mut tables = published(&self.project.lake, &seen)?;
        if as_of.is_some_and(|as_of| self.snapshots.latest().is_some_and(|newest| newest.as_of > as_of)) {
            tables.retain(|name, _| !newest_only(name));
        }
        Ok(tables)
    }

    /// A table that is no part of a day: at its newest version, `snapshots` at the version that is this state's.
    pub(super) async fn log(&self, table: &contract::Published) -> Result<Arc<dyn TableProvider>> {
        let lake = &self.project.lake;
        if table.name == "snapshots" {
            return Ok(Arc::new(DayTable::of_log(lake, table, self.snapshots.table())?));
        }
        let mut logs = self.logs.lock().await;
        if let Some((read_at, read)) = logs.get(table.name)
            && read_at.elapsed() < LOG_FRESH
        {
            return Ok(Arc::clone(read) as Arc<dyn TableProvider>);
        }
        let opened = Box::pin(Table::open(lake, table)).await?;
        let read = Arc::new(DayTable::of_log(lake, table, &opened)?);
        logs.insert(table.name, (Instant::now(), Arc::clone(&read)));
        Ok(read)
    }

    /// The segments of the newest day, by id.
    pub(super) async fn segments(&self, tables: &BTreeMap<String, Arc<DayTable>>) -> Result<Vec<SegmentRow>> {
        let (Some(segments), Some(sizes)) = (tables.get("segments_latest"), tables.get("segment_sizes_latest")) else {
            return Ok(Vec::new());
        };
        let session = self.project.engine.session();
        session.register_table("segments", Arc::clone(segments) as Arc<dyn TableProvider>)?;
        session.register_table("sizes", Arc::clone(sizes) as Arc<dyn TableProvider>)?;
        let sql = "SELECT s.segment, z.members, nullif(concat_ws(': ', s.name, s.description), '') AS comment \
                   FROM segments s LEFT JOIN sizes z ON z.segment = s.segment ORDER BY s.segment";
        let mut rows = Vec::new();
        for batch in Box::pin(session.sql(sql)).await?.collect().await? {
            let texts = |column: usize| arrow::compute::cast(batch.column(column), &DataType::Utf8);
            let (ids, comments) = (texts(0)?, texts(2)?);
            let (ids, comments) = (ids.as_string::<i32>(), comments.as_string::<i32>());
            let members = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                rows.push(SegmentRow {
                    id: ids.value(row).to_owned(),
                    members: members.is_valid(row).then(|| u64::try_from(members.value(row)).ok()).flatten(),
                    comment: comments.is_valid(row).then(|| comments.value(row).to_owned()),
                });
            }
        }
        Ok(rows)
    }

    /// The newest published day that a sight sees.
    ///
    /// # Errors
    /// `snapshot.no_such_day` where the sight is pinned to a day that is not published.
    pub fn newest(&self, as_of: Option<NaiveDate>) -> Result<Option<&PublishedDay>> {
        let Some(as_of) = as_of else { return Ok(self.snapshots.latest()) };
        match self.snapshots.day(as_of) {
            Some(day) => Ok(Some(day)),
            None => Err(Error::not_found("snapshot.no_such_day", format!("{as_of} is not published"))
                .with_hint("`SELECT as_of FROM snapshots` lists the days that are; `RESET alluvial.as_of` unpins")),
        }
    }
}

/// Whether a table is kept for the newest published day only.
pub(super) fn newest_only(name: &str) -> bool {
    contract::named(name).is_some_and(|table| table.keeps == contract::Keeps::Newest)
}

/// Catalogues by the version of the state and by who sees it.
type Catalogs = HashMap<(Option<u64>, Sight), Arc<Catalog>>;

/// The newest state, and those that were it lately.
pub struct States {
    project: Arc<Project>,
    clock: Clock,
    template: PgTemplate,
    reading: tokio::sync::Mutex<()>,
    kept: Mutex<VecDeque<Arc<State>>>,
    catalogs: tokio::sync::Mutex<Catalogs>,
}

impl States {
    /// Knows nothing yet: the first statement reads.
    ///
    /// # Errors
    /// What the session that all others are made like is refused.
    pub fn new(project: Arc<Project>, clock: Clock) -> Result<Self> {
        let template = PgTemplate::new(&project.engine)?;
        Ok(Self {
            project,
            clock,
            template,
            reading: tokio::sync::Mutex::default(),
            kept: Mutex::default(),
            catalogs: tokio::sync::Mutex::default(),
        })
    }

    fn known(&self) -> Option<Arc<State>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }

    /// The newest state.
    ///
    /// # Errors
    /// What the store, the log and the manifests refuse.
    pub async fn newest(&self) -> Result<Arc<State>> {
        if let Some(known) = self.known()
            && !known.is_stale().await?
        {
            return Ok(known);
        }
        let _one_at_a_time = self.reading.lock().await;
        let known = self.known();
        if let Some(known) = &known
            && !known.is_stale().await?
        {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(State::read(&self.project, known.as_deref()).boxed().await?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|state| state.version != read.version);
        kept.push_front(Arc::clone(&read));
        kept.truncate(KEPT);
        Ok(read)
    }

    /// The state of that version, if it is the newest or was lately.
    pub fn of_version(&self, version: Option<u64>) -> Option<Arc<State>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|state| state.version == version).cloned()
    }

    /// What a sight sees of a state.
    ///
    /// # Errors
    /// `snapshot.no_such_day`; what the published tables refuse.
    pub async fn catalog(&self, state: &Arc<State>, sight: &Sight) -> Result<Arc<Catalog>> {
        let mut catalogs = self.catalogs.lock().await;
        let key = (state.version, sight.clone());
        if let Some(known) = catalogs.get(&key).filter(|known| Arc::ptr_eq(&known.state, state)) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(Catalog::of(state, sight, &self.template, self.clock).boxed().await?);
        if catalogs.len() >= CATALOGS {
            catalogs.clear();
        }
        catalogs.retain(|(version, _), _| self.of_version(*version).is_some());
        catalogs.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}
