//! Who is it? A name and a secret once, a bearer token from then on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Status};

use super::{FlightDoor, Known, TOKEN_IDLE, status};
use crate::serve::fault::Fault;
use crate::serve::incoming::Peer;
use crate::serve::metrics::Door;
use crate::serve::secret;
use crate::serve::session::Session;
use crate::serve::shared::Stage;
use crate::serve::state::Sight;

/// The header that pins a call to a published day.
const AS_OF: &str = "alluvial-as-of";

impl FlightDoor {
    /// The session of a call, and the token where the call has made it.
    ///
    /// # Errors
    /// `Unauthenticated` for a token that is none (any more), a wrong name or secret, or neither.
    pub(super) fn session<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Arc<Session>, Status>> + Send + use<'a, T> {
        // A request that streams cannot be looked at from several threads: what is needed of it is taken out first.
        let authorization = authorization(request.metadata());
        let peer = peer(request);
        async move {
            if *self.core.stage.borrow() != Stage::Open {
                return Err(status(Fault::stopped()));
            }
            match authorization.split_once(' ') {
                Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => self.of_token(token.trim()),
                Some((kind, _)) if kind.eq_ignore_ascii_case("basic") => {
                    let token = self.log_in(&authorization, peer).await?;
                    self.of_token(&token)
                }
                _ => {
                    let fault = Fault::new("28000", "log in first");
                    Err(status(fault.hint("shake hands with a user's name and secret")))
                }
            }
        }
    }

    /// What a call sees: what its session does, of the day that the call is pinned to.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no day.
    pub(super) fn sight<T>(session: &Session, request: &Request<T>) -> Result<Sight, Status> {
        let mut sight = session.sight();
        if let Some(day) = request.metadata().get(AS_OF).and_then(|day| day.to_str().ok()) {
            sight.as_of = match day {
                "" | "latest" => None,
                day => Some(crate::calendar::parse_date(day).map_err(|error| status(error.into()))?),
            };
        }
        Ok(sight)
    }

    fn of_token(&self, token: &str) -> Result<Arc<Session>, Status> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(token) {
            Some(found) if !found.session.is_over() => {
                found.used = Instant::now();
                Ok(Arc::clone(&found.session))
            }
            _ => {
                known.remove(token);
                Err(status(Fault::new("28000", "the token is not known (any more)").hint("log in anew")))
            }
        }
    }

    /// Logs somebody in who gives a name and a secret, and gives the token.
    ///
    /// # Errors
    /// `Unauthenticated`, and what the store refuses.
    pub(super) async fn log_in(&self, authorization: &str, from: Option<IpAddr>) -> Result<String, Status> {
        let malformed = || status(Fault::protocol("the header `authorization` is not `Basic name:secret` in base64"));
        let (_, encoded) = authorization.split_once(' ').ok_or_else(malformed)?;
        let (name, given) = secret::basic(encoded).ok_or_else(malformed)?;
        // The same name and secret again, call after call, is one session.
        let token = hex::encode(secret::keyed(&self.key, &[name.as_bytes(), b":", given.as_bytes()]));
        if self.of_token(&token).is_ok() {
            return Ok(token);
        }
        let user = self.core.gate.check(&name, &given, from).await.map_err(|fault| {
            self.core.metrics.login_failed(Door::Flight);
            status(fault)
        })?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.used.elapsed() < TOKEN_IDLE && !known.session.is_over());
        let most = self.core.settings.max_connections;
        if known.len() >= most {
            self.core.metrics.refused(Door::Flight);
            return Err(status(Fault::new("53300", format!("there are {most} sessions already"))));
        }
        tracing::info!(user = %user.name, address = ?from, "connected by Flight SQL");
        let session = self.core.session(user, Door::Flight, from);
        known.insert(token.clone(), Known { session, used: Instant::now(), prepared: HashMap::new() });
        Ok(token)
    }
}

/// The header that says who calls; nothing where there is none.
pub(super) fn authorization(metadata: &MetadataMap) -> String {
    metadata.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Where a call comes from.
pub(super) fn peer<T>(request: &Request<T>) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0.ip())
}

/// A token as the header that gives it to a client.
pub(super) fn bearer(token: &str) -> Result<AsciiMetadataValue, Status> {
    format!("Bearer {token}").parse().map_err(|_| Status::internal("a token is no header"))
}
