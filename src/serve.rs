//! The published tables for other programs: the Postgres wire and Flight SQL over one catalogue; audiences over HTTP.
//!
//! Both doors of SQL plan a statement when it is executed, over one published state (`state`), within what its user may see
//! (`catalog`), and run it as a stream that can be stopped (`running`).

mod activity;
mod answers;
/// What a sight sees of a state.
pub mod catalog;
mod comments;
mod dialect;
/// What clients are told of failures.
pub mod fault;
mod flight;
mod http;
mod incoming;
/// Audiences for whoever has no more than an address.
pub mod links;
mod login;
mod metrics;
mod path;
mod pg;
mod postgres;
mod running;
mod secret;
mod segment;
mod session;
mod shared;
mod sql;
/// What is published, as statements see it.
pub mod state;
mod tls;
/// Who may connect.
pub mod users;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::calendar::Clock;
use crate::config::ServeSettings;
use crate::error::{Error, Kind, Result};
use crate::snapshot::setup::Project;
use flight::FlightDoor;
use incoming::HttpListener;
use postgres::PostgresDoor;
use shared::{Core, Stage, reached};
use tls::Certificate;

pub use http::link::check_new as check_new_link;

/// How often it is seen whether users are still users.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// How much longer than asked for the last connections may take to close.
const LAST: Duration = Duration::from_secs(5);

/// Doors that are bound and not open yet.
pub struct Server {
    core: Arc<Core>,
    certificate: Option<Certificate>,
    postgres: Option<TcpListener>,
    flight: Option<TcpListener>,
    http: Option<TcpListener>,
}

/// Where the doors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The Postgres wire.
    pub postgres: Option<SocketAddr>,
    /// Flight SQL.
    pub flight: Option<SocketAddr>,
    /// `/healthz`, `/metrics`, the API and links.
    pub http: Option<SocketAddr>,
}

impl Server {
    /// Binds the doors. Whoever connects from here on waits until [`Server::run`].
    ///
    /// # Errors
    /// `serve.tls` for a broken certificate; `serve.exposed` for a door that other machines can reach, without users
    /// and a certificate; `serve.bind` for an address that cannot be had.
    pub async fn bind(project: Project, clock: Clock, settings: ServeSettings) -> Result<Self> {
        let certificate = match (&settings.tls_certificate, &settings.tls_key) {
            (Some(certificate), Some(key)) => Some(Certificate::read(certificate, key)?),
            _ => None,
        };
        let wanted = [settings.postgres, settings.flight, settings.http];
        if wanted.iter().all(Option::is_none) {
            return Err(Error::usage("serve.no_door", "every door is off")
                .with_hint("give one of `--postgres`, `--flight` and `--http` an address"));
        }
        for address in wanted.into_iter().flatten().filter(|address| !address.ip().is_loopback()) {
            let lacks = match (users::any(&project.lake).await?, &certificate) {
                (true, Some(_)) => continue,
                (false, Some(_)) => "there are no users",
                (true, None) => "there is no certificate",
                (false, None) => "there are no users and no certificate",
            };
            return Err(Error::definition(
                "serve.exposed",
                format!("other machines could reach {address}, and {lacks}"),
            )
            .with_hint(
                "add users with `alluvial user add`, set `[serve] tls_certificate` and `tls_key`, or listen on 127.0.0.1",
            ));
        }
        let (postgres, flight, http) =
            (bind(settings.postgres).await?, bind(settings.flight).await?, bind(settings.http).await?);
        Ok(Self { core: Core::new(project, clock, settings)?, certificate, postgres, flight, http })
    }

    /// Where the doors are; a port that was 0 is the one that it became.
    pub fn addresses(&self) -> Addresses {
        let of = |listener: &Option<TcpListener>| listener.as_ref().and_then(|bound| bound.local_addr().ok());
        Addresses { postgres: of(&self.postgres), flight: of(&self.flight), http: of(&self.http) }
    }

    /// Answers until `stop`, then takes nothing new and lets what runs finish for as long as the settings say.
    ///
    /// # Errors
    /// None so far.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let core = self.core;
        let slots = Arc::new(Semaphore::new(core.settings.max_connections));
        let reachable = |listener: &TcpListener| listener.local_addr().is_ok_and(|address| !address.ip().is_loopback());
        let mut doors = tokio::task::JoinSet::new();
        if let Some(listener) = self.postgres {
            let tls = self.certificate.as_ref().map(|certificate| certificate.speaking(b"postgresql"));
            let door = PostgresDoor::new(Arc::clone(&core), tls, reachable(&listener), Arc::clone(&slots));
            doors.spawn(door.serve(listener));
        }
        if let Some(listener) = self.flight {
            let tls = self.certificate.as_ref().map(|certificate| certificate.speaking(b"h2"));
            doors.spawn(FlightDoor::new(Arc::clone(&core)).serve(incoming::accept(listener, tls)));
        }
        if let Some(listener) = self.http
            && let Ok(address) = listener.local_addr()
        {
            let tls = self.certificate.as_ref().map(|certificate| certificate.speaking(b"http/1.1"));
            let listener = HttpListener::new(incoming::accept(listener, tls), address);
            let (routes, stopping) = (http::routes(Arc::clone(&core)), Arc::clone(&core));
            doors.spawn(async move {
                let stop = async move {
                    reached(&mut stopping.stage.subscribe(), Stage::Ending).await;
                };
                // It never fails: its documentation says so.
                let _never = axum::serve(listener, routes).with_graceful_shutdown(stop).await;
            });
        }
        tokio::select! {
            () = stop => {}
            () = watch(&core) => {}
        }
        tracing::info!("stopping: what runs may finish");
        core.stage.send_replace(Stage::Closing);
        let finished = async { core.until_idle().await };
        let _late = tokio::time::timeout(core.settings.stop_within, finished).await;
        core.stage.send_replace(Stage::Ending);
        let closed = async { while doors.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(LAST, closed).await;
        Ok(())
    }
}

/// Ends the sessions of users who are gone, for as long as it is asked to.
async fn watch(core: &Core) {
    loop {
        tokio::time::sleep(REVOKED_WITHIN).await;
        core.end_revoked().await;
    }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address).await.map(Some).map_err(|error| {
        Error::new(Kind::Resources, "serve.bind", format!("{address} cannot be listened on: {error}"))
            .with_hint("stop what listens there, or choose another port in `[serve]`")
    })
}
