//! Who calls: a name and a secret (Basic), or the secret alone (Bearer), checked once and known again from then on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use tokio::sync::OnceCell;

use super::problem::Problem;
use crate::serve::metrics::Door;
use crate::serve::secret;
use crate::serve::session::Session;
use crate::serve::shared::{Core, Stage};
use crate::serve::users;

/// For how long somebody is known who does not call.
const IDLE: Duration = Duration::from_secs(3600);
/// How many are known at once.
const MOST: usize = 1_000;

/// Whoever was let in.
pub(super) struct Callers {
    /// What credentials are kept as.
    key: [u8; 32],
    known: Mutex<HashMap<[u8; 32], Known>>,
}

struct Known {
    /// Settled by the first of those who ask at once: the others wait for it instead of hashing, too.
    session: Arc<OnceCell<Arc<Session>>>,
    used: Instant,
}

/// What a call says of who it is.
enum Said {
    /// A name and a secret.
    Basic(String, String),
    /// A secret.
    Bearer(String),
}

impl Callers {
    pub(super) fn new() -> Self {
        Self { key: secret::random(), known: Mutex::default() }
    }

    /// The session of whoever calls.
    ///
    /// # Errors
    /// 401, and 503 of a server that is stopping.
    pub(super) async fn of(
        &self,
        core: &Arc<Core>,
        headers: &HeaderMap,
        from: Option<IpAddr>,
    ) -> Result<Arc<Session>, Problem> {
        if *core.stage.borrow() != Stage::Open {
            return Err(Problem::unavailable("serve.stopping", "the server is stopping"));
        }
        let said = said(headers)?;
        let key = match &said {
            Said::Basic(name, given) => secret::keyed(&self.key, &[b"basic", name.as_bytes(), b":", given.as_bytes()]),
            Said::Bearer(given) => secret::keyed(&self.key, &[b"bearer", given.as_bytes()]),
        };
        let known = self.known(key);
        if let Some(session) = known.get().filter(|session| stands(core, session)) {
            return Ok(Arc::clone(session));
        }
        let known = if known.initialized() {
            self.forget(key);
            self.known(key)
        } else {
            known
        };
        let session = known.get_or_try_init(|| log_in(core, said, from)).await;
        session.cloned().inspect_err(|_| self.forget(key))
    }

    fn known(&self, key: [u8; 32]) -> Arc<OnceCell<Arc<Session>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&key) {
            let is_over = |known: &Known| known.session.get().is_some_and(|session| session.is_over());
            known.retain(|_, known| known.used.elapsed() < IDLE && !is_over(known));
            if known.len() >= MOST {
                known.clear();
            }
        }
        let found = known.entry(key).or_insert_with(|| Known { session: Arc::default(), used: Instant::now() });
        found.used = Instant::now();
        Arc::clone(&found.session)
    }

    fn forget(&self, key: [u8; 32]) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

fn stands(core: &Core, session: &Session) -> bool {
    !session.is_over() && !session.user.is_expired(core.clock.now())
}

/// Lets somebody in.
async fn log_in(core: &Arc<Core>, said: Said, from: Option<IpAddr>) -> Result<Arc<Session>, Problem> {
    let (name, given) = match said {
        Said::Basic(name, given) => (name, given),
        Said::Bearer(given) => match users::name_of(&core.project.lake, &given).await? {
            Some(name) => (name, given),
            None => {
                core.metrics.login_failed(Door::Http);
                return Err(core.gate.refuse("", from).await.into());
            }
        },
    };
    let user = core.gate.check(&name, &given, from).await.inspect_err(|_| core.metrics.login_failed(Door::Http))?;
    tracing::info!(user = %user.name, address = ?from, "connected by HTTP");
    Ok(core.session(user, Door::Http, from))
}

fn said(headers: &HeaderMap) -> Result<Said, Problem> {
    let malformed = || Problem::unauthorized("the header `Authorization` is neither `Basic …` nor `Bearer …`");
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(Problem::unauthorized("say who you are"));
    };
    let (kind, rest) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(malformed)?;
    if kind.eq_ignore_ascii_case("bearer") {
        return Ok(Said::Bearer(rest.trim().to_owned()));
    }
    if !kind.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let (name, given) = secret::basic(rest).ok_or_else(malformed)?;
    Ok(Said::Basic(name, given))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        match said(&headers) {
            Ok(Said::Basic(name, given)) => Some(format!("{name} {given}")),
            Ok(Said::Bearer(given)) => Some(given),
            Err(_) => None,
        }
    }

    #[test]
    fn a_call_says_who_it_is_in_two_ways() {
        assert_eq!(of("Basic bWFyaWE6YWx2XzE6Mg==").as_deref(), Some("maria alv_1:2"));
        assert_eq!(of("bearer alv_12 ").as_deref(), Some("alv_12"));
        for wrong in ["Basic", "Basic !", "Basic bWFyaWE=", "Digest a=b", ""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert!(said(&HeaderMap::new()).is_err());
    }
}
