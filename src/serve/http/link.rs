//! What a link opens: a page whose button downloads.
//!
//! Chat programs fetch an address to show what is behind it, so that a `GET` of a page says what there is and does nothing:
//! only the button, a `POST`, takes a use and delivers.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Http;
use super::audience::may;
use super::download::accepted;
use super::problem::Problem;
use crate::audience::format::Format;
use crate::audience::{Request, Whose};
use crate::error::Error;
use crate::serve::links::{self, Link};
use crate::serve::metrics::Door;
use crate::serve::shared::Stage;
use crate::serve::users::{self, User};

/// A page carries all that it is made of, asks nobody for anything, and shows itself to nobody else's.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = "body{font:17px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;margin:0;background:#f4f5f7;color:#1c2330}\
main{max-width:26rem;margin:12vh auto 2rem;padding:2rem;background:#fff;border-radius:14px;box-shadow:0 1px 4px #0002}\
h1{font-size:1.35rem;line-height:1.3;margin:0 0 .5rem;overflow-wrap:anywhere}p{margin:.6rem 0}.dim{color:#5b6472;font-size:.9rem}\
button{display:block;width:100%;padding:.9rem;margin-top:1.4rem;font:inherit;font-weight:600;color:#fff;background:#1f5fd6;border:0;\
border-radius:10px;cursor:pointer}button:focus-visible{outline:3px solid #9dbdf5}\
@media(max-width:30rem){main{margin:0;min-height:100vh;box-sizing:border-box;border-radius:0}}\
@media(prefers-color-scheme:dark){body{background:#12161d;color:#e8ebf0}main{background:#1b212b}.dim{color:#9aa4b2}}";

/// Answers whoever follows a link.
pub(super) async fn answer(http: &Arc<Http>, method: &Method, token: &str, headers: &HeaderMap) -> Response {
    match Box::pin(opened(http, method, token, headers)).await {
        Ok(response) => response,
        Err(problem) => refusal(&problem),
    }
}

async fn opened(http: &Arc<Http>, method: &Method, token: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let core = &http.core;
    if *core.stage.borrow() != Stage::Open {
        return Err(Problem::unavailable("serve.stopping", "the server is stopping"));
    }
    let Some(key) = core.project.key() else {
        return Err(Problem::unavailable("serve.read_only", "links cannot be checked by a server that may not write"));
    };
    let lake = &core.project.lake;
    let found = links::find(lake, key, token).await?;
    let found = match found {
        Some(link) => {
            users::find(lake, &link.user).await?.filter(|user| user.id == link.user_id).map(|user| (link, user))
        }
        None => None,
    };
    let now = core.clock.now();
    let gone =
        |detail: &str| Problem::new(StatusCode::GONE, "serve.link", detail).hint("ask whoever sent it for a new one");
    let Some((link, user)) = found.filter(|(_, user)| !user.is_expired(now)) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "serve.link", "this link opens nothing (any more)")
            .hint("ask whoever sent it for a new one"));
    };
    if link.is_expired(now) {
        return Err(gone("this link has expired"));
    }
    let format = allowed(http, &link, &user)?;
    let downloads = if link.direct { matches!(*method, Method::GET | Method::POST) } else { *method == Method::POST };
    if !downloads {
        if let Some(uses) = link.uses
            && link.used(lake).await? >= uses
        {
            return Err(gone("this link was used as often as it may be"));
        }
        return Ok(page(&link, &format));
    }
    let Some(taken) = link.take(lake, now).await? else {
        return Err(gone("this link was used as often as it may be"));
    };
    let request = Request {
        whose: Whose::Segments(vec![link.segment.clone()]),
        exclude: Vec::new(),
        as_of: None,
        format: link.format.clone(),
        holdout: 0.0,
        exclusive: false,
        since: None,
        rows_per_file: None,
        bom: format.spreadsheet,
        consent_check: true,
        requested_by: user.name.clone(),
        once: false,
    };
    let session = core.session(user, Door::Http, None);
    let way = format!("link:{}", link.id);
    match Box::pin(http.downloads.answer(&session, request, way, accepted(headers))).await {
        Ok(response) => Ok(response),
        Err(problem) => {
            if let Err(error) = taken.give_back(lake).await {
                tracing::warn!(code = error.code(), "a use of a link could not be given back");
            }
            Err(problem)
        }
    }
}

/// The format of a link, if its user may (still) have it.
fn allowed(http: &Http, link: &Link, user: &User) -> Result<Format, Problem> {
    may(user, &link.format)?;
    if user.segments.as_ref().is_some_and(|only| !only.contains(&link.segment)) {
        return Err(Problem::forbidden("api.segment", "the user of this link may not have its segment any more"));
    }
    Ok(Format::load(&http.core.project.engine, &link.format)?)
}

fn page(link: &Link, format: &Format) -> Response {
    let uses = match link.uses {
        None => String::new(),
        Some(1) => ", once".to_owned(),
        Some(uses) => format!(", {uses} times in all"),
    };
    let body = format!(
        "<h1>{}</h1><p>An audience in the format <strong>{}</strong>: the people of this segment who may be contacted at the moment of \
         the download.</p><form method=\"post\"><button type=\"submit\">Download</button></form><p class=\"dim\">Can be downloaded \
         until {}{uses}. It holds personal data: keep it where it belongs, and delete it when it is used.</p>",
        escaped(&link.segment),
        escaped(&format.name),
        link.expires_at.format("%-d %B %Y, %H:%M UTC"),
    );
    html(StatusCode::OK, &format!("{} · Alluvial", link.segment), &body)
}

fn refusal(problem: &Problem) -> Response {
    let hint =
        problem.hint.as_deref().map(|hint| format!("<p class=\"dim\">{}</p>", escaped(hint))).unwrap_or_default();
    let body = format!("<h1>Nothing to download</h1><p>{}.</p>{hint}", escaped(&capitalised(&problem.detail)));
    html(problem.status, "Alluvial", &body)
}

fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex,nofollow\"><title>{}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        escaped(title)
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::HeaderName::from_static("x-robots-tag"), "noindex"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.into_response()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// What is wrong with a link that somebody wants to make.
///
/// # Errors
/// `link.not_allowed` for a user who may not have the segment or the format.
pub fn check_new(user: &User, segment: &str, format: &str) -> crate::error::Result<()> {
    let refused = |what: String| {
        Err(Error::usage("link.not_allowed", what).with_hint("`alluvial user list` tells what each user may have"))
    };
    if let Err(problem) = may(user, format) {
        return refused(format!("`{}`: {}", user.name, problem.detail));
    }
    if user.segments.as_ref().is_some_and(|only| !only.contains(segment)) {
        return refused(format!("`{}` may not have the segment `{segment}`", user.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_named_is_text_on_a_page() {
        assert_eq!(escaped("<b> & \"'"), "&lt;b&gt; &amp; &quot;&#39;");
        assert_eq!(capitalised("this link"), "This link");
    }
}
