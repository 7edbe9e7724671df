//! Somebody who is connected: through either door a session plans and runs statements, each over one published state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use chrono::NaiveDate;
use datafusion::common::ParamValues;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::catalog::Catalog;
use super::fault::Fault;
use super::login::Gate;
use super::metrics::{Door, Gauges, Metrics, resident};
use super::running::{Rows, Running};
use super::sql::Reader;
use super::state::{Sight, State, States};
use super::users::{self, User};
use super::workers::{Lanes, Workers};
use crate::calendar::Clock;
use crate::config::ServeSettings;
use crate::engine::table_names;
use crate::error::Result;
use crate::snapshot::setup::Project;

/// How far the server is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It answers.
    Open,
    /// It takes nothing new; what runs may finish.
    Closing,
    /// What still runs is ended.
    Ending,
}

/// Waits until the server is that far on its way out.
pub(super) async fn reached(stage: &mut watch::Receiver<Stage>, least: Stage) {
    // What it gives is a lock, which nobody may hold while waiting for something else.
    drop(stage.wait_for(|stage| *stage >= least).await);
}

/// What both doors share.
pub(super) struct Core {
    pub(super) project: Arc<Project>,
    pub(super) clock: Clock,
    pub(super) settings: ServeSettings,
    pub(super) states: States,
    pub(super) gate: Gate,
    pub(super) reader: Reader,
    pub(super) workers: Workers,
    pub(super) lanes: Lanes,
    pub(super) metrics: Metrics,
    pub(super) stage: watch::Sender<Stage>,
    sessions: Mutex<HashMap<u64, Weak<Session>>>,
    next: AtomicU64,
}

impl Core {
    pub(super) fn new(project: Project, clock: Clock, settings: ServeSettings) -> Result<Arc<Self>> {
        let project = Arc::new(project);
        Ok(Arc::new(Self {
            states: States::new(Arc::clone(&project), clock)?,
            gate: Gate::new(project.lake.clone(), clock),
            reader: Reader::new(settings.max_statement),
            workers: Workers::new(project.settings.engine.threads)?,
            lanes: Lanes::new(project.settings.engine.threads)?,
            project,
            clock,
            settings,
            metrics: Metrics::default(),
            stage: watch::Sender::new(Stage::Open),
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
        }))
    }

    /// A session for somebody who has been let in.
    pub(super) fn session(self: &Arc<Self>, user: User, door: Door) -> Arc<Session> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let own = Own { as_of: None, timeout: Some(self.settings.statement_timeout), time_zone: None };
        let session = Arc::new(Session {
            id,
            core: Arc::clone(self),
            user,
            door,
            own: Mutex::new(own),
            cancels: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        });
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::downgrade(&session));
        self.metrics.connected(door, 1);
        session
    }

    fn living(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect()
    }

    /// Ends the sessions of users who are gone.
    pub(super) async fn end_revoked(&self) {
        let mut known: HashMap<String, Option<User>> = HashMap::new();
        for session in self.living() {
            let name = &session.user.name;
            if !known.contains_key(name) {
                // A store that does not answer ends nobody's session.
                let Ok(found) = users::find(&self.project.lake, name).await else { continue };
                known.insert(name.clone(), found);
            }
            let stands = known.get(name).and_then(Option::as_ref).is_some_and(|user| user.id == session.user.id);
            if !stands || session.user.is_expired(self.clock.now()) {
                tracing::info!(user = %name, "the user was revoked or has expired: the session ends");
                session.end();
            }
        }
    }

    /// Waits until no statement is being answered.
    pub(super) async fn until_idle(&self) {
        while self.metrics.running() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What `/metrics` tells.
    pub(super) async fn metrics_text(&self) -> String {
        let newest = self.states.newest().await.ok().and_then(|state| {
            let day = state.snapshots.latest()?;
            let first = day.as_of.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
            Some((first, (self.clock.now() - day.published_at).num_seconds()))
        });
        let engine = &self.project.engine;
        self.metrics.text(&Gauges {
            pool: engine.runtime().memory_pool.reserved(),
            pool_limit: engine.pool_bytes(),
            resident: resident(),
            newest,
        })
    }
}

/// What a session has set for itself.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// The day that it is pinned to.
    pub(super) as_of: Option<NaiveDate>,
    /// How long a statement may take; `None` is the server's own limit.
    pub(super) timeout: Option<Duration>,
    /// The zone that it reads times without one in.
    pub(super) time_zone: Option<String>,
}

/// Somebody who is connected.
pub(super) struct Session {
    id: u64,
    pub(super) core: Arc<Core>,
    pub(super) user: User,
    door: Door,
    pub(super) own: Mutex<Own>,
    cancels: watch::Sender<u64>,
    ended: watch::Sender<bool>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.core.metrics.connected(self.door, -1);
    }
}

/// A statement, planned over a state.
#[derive(Clone)]
pub(super) struct Planned {
    pub(super) catalog: Arc<Catalog>,
    pub(super) context: SessionContext,
    pub(super) plan: LogicalPlan,
    sight: Sight,
}

impl Session {
    /// What the session sees.
    pub(super) fn sight(&self) -> Sight {
        let own = self.own();
        Sight { role: self.user.role, segments: self.user.segments.clone(), as_of: own.as_of }
    }

    pub(super) fn own(&self) -> Own {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops what the session is running.
    pub(super) fn cancel(&self) {
        self.cancels.send_modify(|count| *count += 1);
    }

    /// Ends the session: what it runs stops, and its door closes it.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Whether the session was ended.
    pub(super) fn is_over(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits for the end of the session.
    pub(super) async fn has_ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as the session does.
        drop(ended.wait_for(|ended| *ended).await);
    }

    /// Begins a statement.
    pub(super) fn begin(&self) -> Running {
        self.begin_until(std::future::pending())
    }

    /// Begins a statement that something else can stop, too.
    pub(super) fn begin_until(&self, other: impl Future<Output = Fault> + Send + 'static) -> Running {
        let most = self.core.settings.statement_timeout;
        self.begin_within(Some(self.own().timeout.map_or(most, |own| own.min(most))), other)
    }

    /// Begins a download, which takes as long as its client does.
    pub(super) fn begin_download(&self) -> Running {
        self.begin_within(None, std::future::pending())
    }

    fn begin_within(&self, timeout: Option<Duration>, other: impl Future<Output = Fault> + Send + 'static) -> Running {
        let (mut cancels, mut ended, mut stage) =
            (self.cancels.subscribe(), self.ended.subscribe(), self.core.stage.subscribe());
        let before = *cancels.borrow();
        let stop = async move {
            tokio::select! {
                fault = other => fault,
                () = async { drop(cancels.wait_for(|count| *count > before).await) } => Fault::cancelled(),
                () = async { drop(ended.wait_for(|ended| *ended).await) } => Fault::revoked(),
                () = reached(&mut stage, Stage::Ending) => Fault::stopped(),
            }
        };
        Running::begin(Arc::clone(&self.core), self.door, timeout, stop)
    }

    /// Plans a query over the newest state.
    ///
    /// # Errors
    /// 25006 for anything but a query, and what is wrong with the query.
    pub(super) fn plan<'a>(&'a self, statement: &'a Statement) -> BoxFuture<'a, Result<Planned, Fault>> {
        // Boxed, as what follows: the compiler cannot tell by itself that such a future may change threads.
        async move {
            let state = self.core.states.newest().await?;
            self.plan_over(statement, &state, self.sight()).await
        }
        .boxed()
    }

    /// Plans a query over a state.
    ///
    /// # Errors
    /// See [`Session::plan`].
    pub(super) fn plan_over<'a>(
        &'a self,
        statement: &'a Statement,
        state: &'a Arc<State>,
        sight: Sight,
    ) -> BoxFuture<'a, Result<Planned, Fault>> {
        self.planning(statement, state, sight).boxed()
    }

    async fn planning(&self, statement: &Statement, state: &Arc<State>, sight: Sight) -> Result<Planned, Fault> {
        if !is_query(statement) {
            return Err(Fault::read_only());
        }
        let catalog = self.core.states.catalog(state, &sight).await?;
        let context = catalog.session();
        if let Some(zone) = self.own().time_zone {
            context.state_ref().write().config_mut().options_mut().execution.time_zone = Some(zone);
        }
        if statement.to_string().contains("_description") {
            catalog.describe().await?;
        }
        let knows = context.state();
        let planning = Box::pin(knows.statement_to_plan(DfStatement::Statement(Box::new(statement.clone()))));
        let plan = planning.await.map_err(|error| Fault::of(error, &table_names(&context, super::pg::CATALOG)))?;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options.verify_plan(&plan)?;
        Ok(Planned { catalog, context, plan, sight })
    }

    /// Whether a plan is still of the newest state, and of what the session sees.
    pub(super) async fn is_fresh(&self, planned: &Planned) -> Result<bool, Fault> {
        let state = self.core.states.newest().await?;
        Ok(Arc::ptr_eq(&state, &planned.catalog.state) && planned.sight == self.sight())
    }

    /// Runs a plan.
    ///
    /// # Errors
    /// What the engine says of it.
    pub(super) fn run<'a>(
        &'a self,
        running: Running,
        planned: &'a Planned,
        parameters: Option<ParamValues>,
    ) -> BoxFuture<'a, Result<Rows, Fault>> {
        self.running(running, planned, parameters).boxed()
    }

    async fn running(
        &self,
        mut running: Running,
        planned: &Planned,
        parameters: Option<ParamValues>,
    ) -> Result<Rows, Fault> {
        let plan = planned.plan.clone();
        let plan = match parameters {
            Some(values) => running.on(async { Ok(plan.replace_params_with_values(&values)?) }).await?,
            None => plan,
        };
        let frame = DataFrame::new(planned.context.state(), plan);
        running.rows(frame, self.core.settings.max_rows).await
    }
}

/// Whether a statement only asks. What hides a write within a query is found in its plan.
pub(super) fn is_query(statement: &Statement) -> bool {
    match statement {
        Statement::Query(_)
        | Statement::ExplainTable { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. } => true,
        Statement::Explain { statement, .. } => is_query(statement),
        _ => false,
    }
}
