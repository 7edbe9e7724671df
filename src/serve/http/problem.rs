//! Failures as RFC 9457 tells them.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::diagnostic::nearest;
use crate::error::{Error, Kind};
use crate::serve::fault::Fault;

/// A failure: a status, a stable code for programs, a sentence and a hint for people.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    code: String,
    /// What is wrong.
    pub(super) detail: String,
    /// What to write or do instead.
    pub(super) hint: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), hint: None, headers: Vec::new() }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Whoever calls has not said who it is, or not so that it is known.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "serve.login", detail)
            .hint("send a user's name and secret (Basic), or the secret alone (Bearer); `alluvial user add` makes one")
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"alluvial\", charset=\"UTF-8\"")
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"alluvial\"")
    }

    /// Whoever calls may not have that.
    pub(super) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// The server goes away, or is busy.
    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).header(header::RETRY_AFTER, "5")
    }

    /// A parameter that nobody knows.
    pub(super) fn unknown_parameter(name: &str, known: &[&str]) -> Self {
        let problem =
            Self::new(StatusCode::BAD_REQUEST, "api.unknown_parameter", format!("there is no parameter `{name}`"));
        match nearest(name, known.iter().copied()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => problem.hint("none is taken here"),
            None => problem.hint(format!("there are {}", known.join(", "))),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Definition | Kind::Input => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Superseded => StatusCode::CONFLICT,
            Kind::Transient | Kind::Resources | Kind::Storage => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if error.kind() == Kind::Internal {
            // What went wrong within may quote a value.
            return Self::new(status, error.code(), "the request failed, and not by its own fault");
        }
        let problem = Self::new(status, error.code(), error.to_string());
        let problem = match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        };
        match status {
            StatusCode::SERVICE_UNAVAILABLE => problem.header(header::RETRY_AFTER, "5"),
            _ => problem,
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let (status, code) = match &fault.state[..2] {
            "28" => return Self::unauthorized(fault.message),
            "57" if fault == Fault::revoked() => return Self::unauthorized(fault.message),
            "57" | "53" | "58" => (StatusCode::SERVICE_UNAVAILABLE, "serve.unavailable"),
            "22" | "08" | "42" => (StatusCode::BAD_REQUEST, "serve.refused"),
            "54" | "55" => (StatusCode::CONFLICT, "serve.refused"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "serve.failed"),
        };
        let problem = Self::new(status, code, fault.message);
        match fault.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:alluvial:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Failed"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "hint": self.hint,
        });
        let mut response = Response::new(Body::from(format!("{body}\n")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_their_status_and_keep_values_to_themselves() {
        let status = |error: Error| Problem::from(error).status.as_u16();
        assert_eq!(status(Error::usage("a.b", "x")), 400);
        assert_eq!(status(Error::not_found("a.b", "x")), 404);
        assert_eq!(status(Error::definition("a.b", "x")), 422);
        let inner = Problem::from(Error::internal("engine.query", "cannot cast ann@example.com"));
        assert_eq!((inner.status.as_u16(), inner.detail.contains("ann@")), (500, false));
        assert_eq!(Problem::from(Fault::login("maria")).status, 401);
        assert_eq!(Problem::from(Fault::revoked()).status, 401);
        assert_eq!(Problem::from(Fault::stopped()).status, 503);
        let response = Problem::unauthorized("who is it?").into_response();
        assert_eq!(response.headers().get_all(header::WWW_AUTHENTICATE).iter().count(), 2);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
