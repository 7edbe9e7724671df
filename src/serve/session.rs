//! Somebody who is connected: through either door a session plans and runs statements, each over one published state.

use std::net::IpAddr;
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

use super::activity::Activity;
use super::answers::Question;
use super::catalog::Catalog;
use super::fault::Fault;
use super::metrics::Door;
use super::path;
use super::pg::{Asker, CATALOG, functions_of, functions_of_times};
use super::running::{Rows, Running};
use super::shared::{Core, Stage, reached};
use super::state::{Sight, State};
use super::users::User;
use crate::config::ServeSettings;
use crate::engine::table_names;

/// What a session has set for itself.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// The day that it is pinned to.
    pub(super) as_of: Option<NaiveDate>,
    /// How long a statement may take; `None` is the server's own limit.
    pub(super) timeout: Option<Duration>,
    /// The zone that it reads times without one in.
    pub(super) time_zone: Option<String>,
    /// The schemas in which it finds names without one, as they were written; `None` is `public`.
    pub(super) path: Option<String>,
}

impl Own {
    /// What whoever sets nothing has.
    pub(super) fn of_server(settings: &ServeSettings) -> Self {
        Self { as_of: None, timeout: Some(settings.statement_timeout), time_zone: None, path: None }
    }

    /// The schemas in which names without one are found.
    pub(super) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(path::DEFAULT)
    }
}

/// Somebody who is connected.
pub(super) struct Session {
    id: u64,
    weak: Weak<Session>,
    pub(super) core: Arc<Core>,
    pub(super) user: User,
    door: Door,
    pub(super) own: Mutex<Own>,
    pub(super) activity: Arc<Activity>,
    cancels: watch::Sender<u64>,
    /// Why it is over.
    ended: watch::Sender<Option<Fault>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.forget(self.id, self.door);
    }
}

/// A statement, planned over a state.
#[derive(Clone)]
pub(super) struct Planned {
    pub(super) catalog: Arc<Catalog>,
    pub(super) context: SessionContext,
    pub(super) plan: LogicalPlan,
    sight: Sight,
    path: Option<String>,
}

impl Planned {
    /// The same with its parameters' values.
    ///
    /// # Errors
    /// A parameter without a value, or of another type.
    pub(super) fn bound(mut self, parameters: Option<ParamValues>) -> Result<Self, Fault> {
        if let Some(values) = parameters {
            self.plan = self.plan.replace_params_with_values(&values)?;
        }
        Ok(self)
    }
}

impl Session {
    /// A session of somebody who has been let in.
    pub(super) fn new(core: Arc<Core>, id: u64, user: User, door: Door, from: Option<IpAddr>) -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            id,
            weak: Weak::clone(weak),
            user,
            door,
            own: Mutex::new(Own::of_server(&core.settings)),
            activity: Arc::new(Activity::new(core.clock.now(), from)),
            core,
            cancels: watch::Sender::new(0),
            ended: watch::Sender::new(None),
        })
    }

    /// The number by which others know it: a process's, in Postgres.
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.id % i32::MAX as u64).unwrap_or_default()
    }

    /// Itself, for what it may outlive.
    pub(super) fn weak(&self) -> Weak<Session> {
        Weak::clone(&self.weak)
    }

    /// Notes what it is asked.
    pub(super) fn asks(&self, statement: &str) {
        self.activity.asks(self.core.clock.now(), statement);
    }

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
    pub(super) fn end(&self, why: Fault) {
        self.ended.send_if_modified(|ended| match ended {
            Some(_) => false,
            None => {
                *ended = Some(why);
                true
            }
        });
    }

    /// Whether the session was ended.
    pub(super) fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for the end of the session; why it is over.
    pub(super) async fn has_ended(&self) -> Fault {
        why_ended(self.ended.subscribe()).await
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
        let (mut cancels, ended, mut stage) =
            (self.cancels.subscribe(), self.ended.subscribe(), self.core.stage.subscribe());
        let before = *cancels.borrow();
        let stop = async move {
            tokio::select! {
                fault = other => fault,
                () = async { drop(cancels.wait_for(|count| *count > before).await) } => Fault::cancelled(),
                fault = why_ended(ended) => fault,
                () = reached(&mut stage, Stage::Ending) => Fault::stopped(),
            }
        };
        Running::begin(Arc::clone(&self.core), self.door, Arc::clone(&self.activity), timeout, stop)
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
        let own = self.own();
        let context = self.context(&catalog, &own);
        if statement.to_string().contains("_description") {
            catalog.describe().await?;
        }
        let knows = context.state();
        let planning = Box::pin(knows.statement_to_plan(DfStatement::Statement(Box::new(statement.clone()))));
        let plan = planning.await.map_err(|error| Fault::of(error, &table_names(&context, CATALOG)))?;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options.verify_plan(&plan)?;
        Ok(Planned { catalog, context, plan, sight, path: own.path })
    }

    /// A catalogue's session as this one's settings have it, with the functions that tell of this one.
    fn context(&self, catalog: &Catalog, own: &Own) -> SessionContext {
        let context = catalog.session();
        {
            let state = context.state_ref();
            let mut state = state.write();
            let config = state.config_mut();
            config.set_extension(Arc::new(Asker(self.weak())));
            config.options_mut().catalog.default_schema = path::default_schema(own.path());
            if let Some(zone) = &own.time_zone {
                config.options_mut().execution.time_zone = Some(zone.clone());
            }
        }
        let is_there = |schema: &String| context.catalog(CATALOG).is_some_and(|all| all.schema(schema).is_some());
        let path: Vec<String> = path::schemas(own.path()).into_iter().filter(is_there).collect();
        let of_times = own.time_zone.as_deref().map(functions_of_times).unwrap_or_default();
        for function in functions_of(self, &path).into_iter().chain(of_times) {
            context.register_udf(function);
        }
        context
    }

    /// Whether a plan is still of the newest state, and of what the session sees.
    pub(super) async fn is_fresh(&self, planned: &Planned) -> Result<bool, Fault> {
        let state = self.core.states.newest().await?;
        let sees_the_same = planned.sight == self.sight() && planned.path == self.own().path;
        Ok(Arc::ptr_eq(&state, &planned.catalog.state) && sees_the_same)
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
        let Planned { plan, .. } = running.on(async { planned.clone().bound(parameters) }).await?;
        let state = planned.context.state();
        let question = Question::of(&plan, state.config_options().execution.time_zone.as_deref());
        running.rows(DataFrame::new(state, plan), question, self.core.settings.max_rows).await
    }
}

/// Waits for the reason why a session is over.
async fn why_ended(mut ended: watch::Receiver<Option<Fault>>) -> Fault {
    match ended.wait_for(Option::is_some).await {
        Ok(why) => why.clone().unwrap_or_else(Fault::revoked),
        // The sender lives as long as the session does.
        Err(_) => Fault::revoked(),
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
