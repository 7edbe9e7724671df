//! `/healthz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::session::{Core, Stage};

/// Everything that is answered over plain HTTP. What else the server is to answer there is merged into it.
pub(super) fn routes(core: Arc<Core>) -> Router {
    Router::new().route("/healthz", get(health)).route("/metrics", get(metrics)).with_state(core)
}

/// 200 while statements are answered and what is published can be read; else 503 with the reason.
async fn health(State(core): State<Arc<Core>>) -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    if *core.stage.borrow() != Stage::Open {
        return (StatusCode::SERVICE_UNAVAILABLE, json, "{\"status\":\"stopping\"}\n".to_owned());
    }
    match core.states.newest().await {
        Ok(state) => {
            let day = state.snapshots.latest().map(|day| day.as_of.to_string());
            let body = serde_json::json!({ "status": "ok", "last_published_day": day });
            (StatusCode::OK, json, format!("{body}\n"))
        }
        Err(error) => {
            tracing::warn!(code = error.code(), "the published state cannot be read");
            let body = serde_json::json!({ "status": "unreadable", "code": error.code() });
            (StatusCode::SERVICE_UNAVAILABLE, json, format!("{body}\n"))
        }
    }
}

async fn metrics(State(core): State<Arc<Core>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], core.metrics_text().await)
}
