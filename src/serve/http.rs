//! What is answered over HTTP: `/healthz`, `/healthz/freshness` and `/metrics`, the API under `/api/v1`, and links.

/// What is asked of an audience.
mod audience;
/// Who calls.
mod caller;
/// An audience as the body of an answer.
mod download;
/// The ledger.
mod exports;
/// Whether the jobs' days are as new as they should be.
mod freshness;
/// What a link opens.
pub(super) mod link;
/// Failures.
mod problem;
/// The segments.
mod segments;
/// What is written at one speed and read at another.
mod spool;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, IntoMakeServiceWithConnectInfo};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::Value;

use super::incoming::Peer;
use super::session::Session;
use super::shared::{Core, Stage};
use crate::audience::format::Format;
use audience::Asked;
use caller::Callers;
use download::Downloads;
use problem::Problem;

/// The document that describes the API.
const OPENAPI: &str = include_str!("http/openapi.json");

/// What the answers share.
struct Http {
    core: Arc<Core>,
    callers: Callers,
    downloads: Downloads,
    freshness: freshness::Looks,
}

type Shared = State<Arc<Http>>;
type From = ConnectInfo<Peer>;

/// Everything that is answered over plain HTTP. What else the server is to answer there is merged into it.
pub(super) fn routes(core: Arc<Core>) -> IntoMakeServiceWithConnectInfo<Router, Peer> {
    let downloads = Downloads::new(&core);
    let http = Arc::new(Http { core, callers: Callers::new(), downloads, freshness: freshness::Looks::default() });
    Router::new()
        .route("/healthz", get(health))
        .route("/healthz/freshness", get(freshness))
        .route("/metrics", get(metrics))
        .route("/api/v1/openapi.json", get(openapi).fallback(wrong_method))
        .route("/api/v1/segments", get(list_segments).fallback(wrong_method))
        .route("/api/v1/segments/{id}", get(one_segment).fallback(wrong_method))
        .route("/api/v1/segments/{id}/audience", get(an_audience).head(an_audience_head).fallback(wrong_method))
        .route("/api/v1/exports", get(list_exports).fallback(wrong_method))
        .route("/api/v1/exports/{id}", get(one_export).fallback(wrong_method))
        .route("/l/{token}", any(a_link))
        .fallback(nowhere)
        .with_state(http)
        .into_make_service_with_connect_info()
}

impl Http {
    async fn caller(&self, headers: &HeaderMap, from: IpAddr) -> Result<Arc<Session>, Problem> {
        Box::pin(self.callers.of(&self.core, headers, Some(from))).await
    }
}

fn json(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (kind, format!("{value}\n")).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn list_segments(
    State(http): Shared,
    ConnectInfo(peer): From,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = http.caller(&headers, peer.0.ip()).await?;
    let asked = Asked::read(query.as_deref(), &["as_of"], &[])?;
    Ok(json(&Box::pin(segments::list(&session, asked.day()?)).await?))
}

async fn one_segment(
    State(http): Shared,
    ConnectInfo(peer): From,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = http.caller(&headers, peer.0.ip()).await?;
    let asked = Asked::read(query.as_deref(), &["as_of"], &[])?;
    Ok(json(&Box::pin(segments::one(&session, &id, asked.day()?)).await?))
}

async fn an_audience(
    State(http): Shared,
    ConnectInfo(peer): From,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = http.caller(&headers, peer.0.ip()).await?;
    let request = audience::request(&session, &id, query.as_deref())?;
    Box::pin(http.downloads.answer(&session, request, "http".to_owned(), download::accepted(&headers))).await
}

/// What a `GET` would be like; nothing is delivered.
async fn an_audience_head(
    State(http): Shared,
    ConnectInfo(peer): From,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = http.caller(&headers, peer.0.ip()).await?;
    let request = audience::request(&session, &id, query.as_deref())?;
    let format = Format::load(&http.core.project.engine, &request.format)?;
    let name = format!("attachment; filename=\"{}\"", download::file_name("audience", None, &format));
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(download::content_type(&format)));
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

async fn list_exports(
    State(http): Shared,
    ConnectInfo(peer): From,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = http.caller(&headers, peer.0.ip()).await?;
    let asked = Asked::read(query.as_deref(), &["limit", "before"], &[])?;
    let limit = asked.number("limit", exports::USUAL, exports::MOST)?;
    Ok(json(&Box::pin(exports::list(&session, limit, asked.one("before"))).await?))
}

async fn one_export(
    State(http): Shared,
    ConnectInfo(peer): From,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = http.caller(&headers, peer.0.ip()).await?;
    Asked::read(query.as_deref(), &[], &[])?;
    Ok(json(&Box::pin(exports::one(&session, &id)).await?))
}

async fn a_link(State(http): Shared, method: Method, Path(token): Path<String>, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD | Method::POST) {
        return wrong_method().await;
    }
    link::answer(&http, &method, &token, &headers).await
}

async fn nowhere() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "api.not_found", "there is nothing at this address")
        .hint("`/api/v1/openapi.json` says what there is")
        .into_response()
}

async fn wrong_method() -> Response {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "api.method", "this address is not asked like that")
        .hint("`/api/v1/openapi.json` says how")
        .into_response()
}

/// 200 while statements are answered and what is published can be read; else 503 with the reason.
async fn health(State(http): Shared) -> impl IntoResponse {
    let core = &http.core;
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

/// 200 while no job's newest day is too old; else 503 with those whose is.
async fn freshness(State(http): Shared) -> impl IntoResponse {
    let (status, body) = http.freshness.answer(&http.core).await;
    let json = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, json, format!("{body}\n"))
}

async fn metrics(State(http): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], http.core.metrics_text().await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every reference of a document leads somewhere.
    fn references(value: &Value, root: &Value, broken: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref")
                    && root.pointer(reference.trim_start_matches('#')).is_none()
                {
                    broken.push(reference.clone());
                }
                members.values().for_each(|member| references(member, root, broken));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, root, broken)),
            _ => {}
        }
    }

    #[test]
    fn the_document_describes_what_is_answered() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut broken = Vec::new();
        references(&document, &document, &mut broken);
        assert_eq!(broken, [""; 0]);
        let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let answered = [
            "/api/v1/exports",
            "/api/v1/exports/{id}",
            "/api/v1/openapi.json",
            "/api/v1/segments",
            "/api/v1/segments/{id}",
            "/api/v1/segments/{id}/audience",
            "/healthz",
            "/healthz/freshness",
            "/metrics",
        ];
        assert_eq!(paths, BTreeSet::from(answered));
        let mut ids = BTreeSet::new();
        for operations in document["paths"].as_object().unwrap().values() {
            for (method, operation) in operations.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
            {
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method}");
                assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()));
            }
        }
        let parameters = document.pointer("/paths/~1api~1v1~1segments~1{id}~1audience/get/parameters").unwrap();
        let named: Vec<&str> = parameters.as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        for parameter in audience::PARAMETERS.iter().filter(|name| **name != "as_of") {
            assert!(named.contains(parameter), "{parameter}");
        }
    }
}
