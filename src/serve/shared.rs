//! What the doors of SQL and HTTP share: the project, its states, the gate, and the sessions of those who were let in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::answers::Answers;
use super::fault::Fault;
use super::login::Gate;
use super::metrics::{Door, Gauges, Metrics, resident};
use super::session::Session;
use super::sql::Reader;
use super::state::States;
use super::users::{self, Role, User};
use super::workers::{Lanes, Workers};
use crate::calendar::Clock;
use crate::config::ServeSettings;
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
    pub(super) answers: Answers,
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
            answers: Answers::default(),
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

    /// A session for somebody who has been let in, and comes from there.
    pub(super) fn session(self: &Arc<Self>, user: User, door: Door, from: Option<IpAddr>) -> Arc<Session> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Session::new(Arc::clone(self), id, user, door, from);
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::downgrade(&session));
        self.metrics.connected(door, 1);
        session
    }

    fn living(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect()
    }

    /// The sessions that a session may see and stop, the oldest first: its user's own; an admin's are all.
    pub(super) fn seen_by(&self, by: &Session) -> Vec<Arc<Session>> {
        let all = by.user.role == Role::Admin && by.user.segments.is_none();
        let mut seen = self.living();
        seen.retain(|session| !session.is_over() && (all || session.user.id == by.user.id));
        seen.sort_by_key(|session| session.pid());
        seen
    }

    /// A session is no more.
    pub(super) fn forget(&self, id: u64, door: Door) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.metrics.connected(door, -1);
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
                session.end(Fault::revoked());
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
