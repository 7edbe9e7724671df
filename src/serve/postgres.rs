//! The Postgres door.
//!
//! Messages and their encoding are pgwire's, values and `pg_catalog` are datafusion-postgres's. Ours are the loop around a
//! connection (so that a client that stalls, floods or breaks off is dropped in time), the login, and statements that are
//! planned when they are executed.

/// A client, whatever type pgwire has for it.
mod client;
/// `COPY (query) TO STDOUT`.
mod copy;
/// Cursors of SQL: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
mod cursor;
/// How values are told.
mod encoding;
/// The extended protocol: parse, bind, describe, execute.
mod extended;
/// Statements that are prepared by SQL: `PREPARE`, `EXECUTE`, `DEALLOCATE`.
mod named;
/// What a client may set and show.
mod setting;
/// The simple protocol, and what both answer.
mod simple;
/// Who is it?
mod startup;
/// What a transaction changes and takes back.
mod transaction;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::{ClientInfo, NoopHandler, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::messages::startup::SecretKey;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::server::{negotiate_tls, process_error, process_message};
use futures::future::BoxFuture;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::fault::Fault;
use super::metrics::Door;
use super::session::Session;
use super::shared::{Core, Stage, reached};
use client::Client;
use cursor::Cursors;
use extended::Prepared;
pub(super) use extended::parameters;
use named::Named;
use startup::Login;
use transaction::Changed;

/// How long somebody may take to log in.
const LOGIN_WITHIN: Duration = Duration::from_secs(15);
/// Bytes that a message of somebody who is not logged in may have.
const STRANGERS_MESSAGE: usize = 16 << 10;
/// Bytes that any other message may have: a statement that is too long gets its own error.
const MESSAGE: usize = 64 << 20;
/// How much longer than its statement a connection may be busy, before nobody is thought to read the answer.
const GRACE: Duration = Duration::from_secs(15);
/// How long a connection that is told to end may take over it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a cancel request names: a number and a secret.
type CancelKey = (i32, Vec<u8>);

/// The sessions by what a cancel request names.
#[derive(Default)]
struct Registry {
    sessions: Mutex<HashMap<CancelKey, Weak<Session>>>,
}

/// One door for all connections.
pub(super) struct PostgresDoor {
    core: Arc<Core>,
    tls: Option<TlsAcceptor>,
    /// Whether strangers on other machines can reach it, so that it talks to them under TLS only.
    guarded: bool,
    slots: Arc<Semaphore>,
    registry: Arc<Registry>,
}

impl PostgresDoor {
    pub(super) fn new(core: Arc<Core>, tls: Option<TlsAcceptor>, guarded: bool, slots: Arc<Semaphore>) -> Self {
        Self { core, tls, guarded, slots, registry: Arc::new(Registry::default()) }
    }

    /// Answers until the server closes; returns when the last connection is over.
    pub(super) async fn serve(self, listener: TcpListener) {
        let mut stage = self.core.stage.subscribe();
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                () = reached(&mut stage, Stage::Closing) => break,
                Some(_over) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        let _alive = socket2::SockRef::from(&tcp)
                            .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(Duration::from_secs(60)));
                        let connection = self.connection();
                        let (tls, slots) = (self.tls.clone(), Arc::clone(&self.slots));
                        connections.spawn(async move { connection.run(tcp, tls, slots).await });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        // Out of descriptors: somebody has to leave first.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    fn connection(&self) -> Arc<Connection> {
        Arc::new(Connection {
            core: Arc::clone(&self.core),
            guarded: self.guarded,
            registry: Arc::clone(&self.registry),
            session: Arc::default(),
            login: tokio::sync::Mutex::new(Login::Before),
            cursors: Arc::default(),
            named: Arc::default(),
            changed: Changed::default(),
        })
    }
}

/// One connection: who it is, and what it has prepared.
pub(super) struct Connection {
    core: Arc<Core>,
    guarded: bool,
    registry: Arc<Registry>,
    session: Arc<OnceLock<Arc<Session>>>,
    login: tokio::sync::Mutex<Login>,
    cursors: Arc<Cursors>,
    named: Arc<Named>,
    changed: Changed,
}

impl Connection {
    /// The session of somebody who is logged in.
    ///
    /// # Errors
    /// For everybody else.
    fn session(&self) -> PgWireResult<&Arc<Session>> {
        self.session.get().ok_or_else(|| fatal(Fault::new("28000", "log in first")))
    }

    async fn run(self: Arc<Self>, tcp: TcpStream, tls: Option<TlsAcceptor>, slots: Arc<Semaphore>) {
        let slot = slots.try_acquire_owned();
        if slot.is_err() {
            self.core.metrics.refused(Door::Postgres);
        }
        let talk = AssertUnwindSafe(Arc::clone(&self).talk(tcp, tls, slot.is_ok())).catch_unwind();
        match talk.await {
            Ok(Ok(())) => {}
            // Clients break off all the time.
            Ok(Err(error)) => tracing::debug!(%error, "a connection broke off"),
            Err(_panic) => tracing::warn!("a connection was dropped: it sent what no client sends"),
        }
    }

    async fn talk(self: Arc<Self>, tcp: TcpStream, tls: Option<TlsAcceptor>, admitted: bool) -> std::io::Result<()> {
        let negotiated = tokio::time::timeout(LOGIN_WITHIN, negotiate_tls::<Arc<Prepared>>(tcp, tls)).await;
        let Ok(Some(mut socket)) = negotiated.unwrap_or(Ok(None)) else { return Ok(()) };
        if !admitted {
            let most = self.core.settings.max_connections;
            let fault = Fault::new("53300", format!("there are {most} connections already"));
            let fault = fault.hint("close some, or raise `[serve] max_connections` in alluvial.toml");
            // Answered after its first message, as a client expects; a cancel request is not one that is counted.
            if let Ok(Some(Ok(PgWireFrontendMessage::CancelRequest(cancel)))) =
                tokio::time::timeout(LOGIN_WITHIN, socket.next()).await
            {
                self.on_cancel_request(cancel).await;
                return Ok(());
            }
            return farewell(&mut socket, fault).await;
        }
        let login = tokio::time::sleep(LOGIN_WITHIN);
        tokio::pin!(login);
        let mut stage = self.core.stage.subscribe();
        loop {
            let known = self.session.get().cloned();
            let ended = async {
                match &known {
                    Some(session) => session.has_ended().await,
                    None => std::future::pending().await,
                }
            };
            let most = if known.is_some() { MESSAGE } else { STRANGERS_MESSAGE };
            let message = tokio::select! {
                () = &mut login, if known.is_none() => return Ok(()),
                fault = ended => return farewell(&mut socket, fault).await,
                () = reached(&mut stage, Stage::Closing) => {
                    return farewell(&mut socket, Fault::stopped()).await;
                }
                message = next(&mut socket, most) => message,
            };
            let message = match message {
                Some(Ok(PgWireFrontendMessage::Terminate(_))) | None => return Ok(()),
                Some(Ok(message)) => message,
                Some(Err(fault)) => return farewell(&mut socket, fault).await,
            };
            let extended = match socket.state() {
                PgWireConnectionState::CopyInProgress(extended) => extended,
                _ => message.is_extended_query(),
            };
            let cancels = matches!(message, PgWireFrontendMessage::CancelRequest(_));
            let done = {
                let work = process_message(
                    message,
                    &mut socket,
                    Arc::clone(&self),
                    Arc::clone(&self),
                    Arc::clone(&self),
                    Arc::new(NoopHandler),
                    Arc::clone(&self),
                );
                tokio::select! {
                    done = AssertUnwindSafe(work).catch_unwind() => done,
                    // Nobody reads the answer, or the session is over and did not notice.
                    () = self.overdue(known.as_ref()) => return Ok(()),
                }
            };
            match done {
                Ok(Ok(())) if cancels => return Ok(()),
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    // Whoever is not logged in by now gets no second try on this connection.
                    let mut told: ErrorInfo = error.into();
                    if self.session.get().is_none() || told.is_fatal() {
                        "FATAL".clone_into(&mut told.severity);
                        return last_word(&mut socket, told).await;
                    }
                    process_error(&mut socket, PgWireError::UserError(Box::new(told)), extended).await?;
                }
                Err(_panic) => {
                    tracing::error!("a statement ended in a panic");
                    let fault = Fault::new("XX000", "the statement failed for a fault of the server's own");
                    return farewell(&mut socket, fault).await;
                }
            }
        }
    }

    /// Waits until a message has been worked on for longer than it can be.
    async fn overdue(&self, session: Option<&Arc<Session>>) {
        let Some(session) = session else { return tokio::time::sleep(LOGIN_WITHIN).await };
        let mut stage = self.core.stage.subscribe();
        let late = self.core.settings.statement_timeout + GRACE;
        tokio::select! {
            () = tokio::time::sleep(late) => {}
            () = async { drop(session.has_ended().await); tokio::time::sleep(LAST_WORDS).await } => {}
            () = async {
                reached(&mut stage, Stage::Ending).await;
                tokio::time::sleep(LAST_WORDS).await;
            } => {}
        }
    }

    /// Makes the session of somebody who is let in, and gives what a cancel request must name.
    fn admit(&self, session: Arc<Session>, long_key: bool) -> (i32, SecretKey) {
        let pid = session.pid();
        let random = super::secret::random();
        let key = match long_key {
            true => SecretKey::Bytes(random.to_vec().into()),
            false => SecretKey::I32(i32::from_be_bytes([random[0], random[1], random[2], random[3]])),
        };
        let mut sessions = self.registry.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.strong_count() > 0);
        sessions.insert((pid, key.to_bytes().to_vec()), Arc::downgrade(&session));
        // A connection logs in once; a second login is refused before.
        let _first = self.session.set(session);
        (pid, key)
    }
}

impl CancelHandler for Connection {
    fn on_cancel_request<'s, 'f>(&'s self, request: CancelRequest) -> BoxFuture<'f, ()>
    where
        's: 'f,
    {
        let key = (request.pid, request.secret_key.to_bytes().to_vec());
        let found = {
            let sessions = self.registry.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.get(&key).and_then(Weak::upgrade)
        };
        if let Some(session) = found {
            session.cancel();
        }
        std::future::ready(()).boxed()
    }
}

/// The next message, unless it is larger than it may be or none at all.
async fn next<S>(socket: &mut S, most: usize) -> Option<Result<PgWireFrontendMessage, Fault>>
where
    S: Stream<Item = PgWireResult<PgWireFrontendMessage>> + ReadAhead + Unpin,
{
    let waiting = std::future::poll_fn(|context| match socket.poll_next_unpin(context) {
        std::task::Poll::Pending if socket.read_ahead() > most => {
            let fault = Fault::protocol(format!("a message has more than {most} bytes"));
            std::task::Poll::Ready(Some(Err(fault)))
        }
        polled => polled.map(|next| next.map(|message| message.map_err(|error| Fault::protocol(error.to_string())))),
    });
    // The library reads past the end of a message whose lengths lie.
    match AssertUnwindSafe(waiting).catch_unwind().await {
        Ok(message) => message,
        Err(_panic) => Some(Err(Fault::protocol("a message is not what its length says"))),
    }
}

/// What is read ahead.
trait ReadAhead {
    /// Bytes that have arrived and are no message yet.
    fn read_ahead(&self) -> usize;
}

impl<T, C> ReadAhead for tokio_util::codec::Framed<T, C> {
    fn read_ahead(&self) -> usize {
        self.read_buffer().len()
    }
}

/// A failure, as pgwire sends it.
fn wire(fault: Fault) -> PgWireError {
    PgWireError::UserError(Box::new(info("ERROR", fault)))
}

/// A failure after which the connection ends.
fn fatal(fault: Fault) -> PgWireError {
    PgWireError::UserError(Box::new(info("FATAL", fault)))
}

fn info(severity: &str, fault: Fault) -> ErrorInfo {
    let mut info = ErrorInfo::new(severity.to_owned(), fault.state.to_owned(), fault.message);
    info.severity_nonlocalized = Some(severity.to_owned());
    info.hint = fault.hint;
    info
}

/// Says why the connection ends, and ends it.
async fn farewell<S>(socket: &mut S, fault: Fault) -> std::io::Result<()>
where
    S: Sink<PgWireBackendMessage, Error = std::io::Error> + Unpin,
{
    last_word(socket, info("FATAL", fault)).await
}

async fn last_word<S>(socket: &mut S, mut told: ErrorInfo) -> std::io::Result<()>
where
    S: Sink<PgWireBackendMessage, Error = std::io::Error> + Unpin,
{
    told.severity_nonlocalized = Some(told.severity.clone());
    socket.send(PgWireBackendMessage::ErrorResponse(told.into())).await?;
    socket.close().await
}

/// Sends one message and leaves the flush to whoever ends the answer.
async fn feed(client: &mut Client<'_>, message: PgWireBackendMessage) -> PgWireResult<()> {
    client.feed(message).await
}
