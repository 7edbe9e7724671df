//! `GET /healthz/freshness`: whether the jobs' days are as new as their schedules say.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::super::shared::Core;
use crate::error::Result;
use crate::jobs::definition::{self, Job};
use crate::jobs::freshness::stale;

/// For how long an answer serves: anybody may ask, and the store is looked at for it.
const FRESH: Duration = Duration::from_secs(1);

/// What was answered last.
#[derive(Default)]
pub(super) struct Looks {
    last: tokio::sync::Mutex<Option<(Instant, StatusCode, Value)>>,
}

impl Looks {
    /// 200 while no job's newest day is too old; else 503, with the jobs whose is, or with why that cannot be told.
    pub(super) async fn answer(&self, core: &Core) -> (StatusCode, Value) {
        let mut last = self.last.lock().await;
        if let Some((at, status, body)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return (*status, body.clone());
        }
        let (status, body) = match Box::pin(look(core)).await {
            Ok(jobs) if jobs.is_empty() => (StatusCode::OK, json!({ "status": "fresh", "jobs": [] })),
            Ok(jobs) => (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "stale", "jobs": jobs })),
            Err(error) => {
                tracing::warn!(code = error.code(), "how new the jobs' days are cannot be read");
                (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "unreadable", "code": error.code() }))
            }
        };
        *last = Some((Instant::now(), status, body.clone()));
        (status, body)
    }
}

/// The jobs whose newest day is too old.
async fn look(core: &Core) -> Result<Vec<Value>> {
    let settings = &core.project.settings;
    let mut jobs = Vec::new();
    for name in definition::names(&settings.root)? {
        match Job::load(settings, &name) {
            Ok(job) => jobs.push(job),
            Err(error) => tracing::warn!(job = name, code = error.code(), "the job's file is faulty"),
        }
    }
    let state = core.states.newest().await?;
    let stale = stale(&core.project.lake, &jobs, &state.snapshots, settings.project.zone, core.clock.now());
    let stale = Box::pin(stale).await?;
    let instant = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let told = stale.iter().map(|one| {
        json!({
            "job": one.job,
            "newest_day": one.newest,
            "expected_day": one.expected,
            "due_at": instant(one.due_at),
            "late_since": instant(one.late_since),
        })
    });
    Ok(told.collect())
}
