//! A client, whatever type pgwire has for it.
//!
//! pgwire's handlers are generic over the client. The compiler then asks of every future in them anew whether what it holds may
//! go to another thread, and for plans and statements, whose types hold each other by the hundred, that takes it seconds a
//! handler. So a handler hands its client on as one type, and what answers is generic over nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, PgWireConnectionState, SessionExtensions};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use datafusion_postgres::pgwire::messages::startup::SecretKey;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, ProtocolVersion};
use futures::Sink;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// The client of a connection.
pub(super) struct Client<'a>(Box<dyn Wire + 'a>);

/// What a connection keeps for a client and lets go of.
enum Kept<'a> {
    Statement(&'a str),
    Portals,
}

/// What is asked of a client.
trait Wire: Send + Sync {
    fn info(&self) -> &dyn ClientInfo;
    fn info_mut(&mut self) -> &mut dyn ClientInfo;
    fn drop_kept(&self, kept: Kept<'_>);
    fn ready(&mut self, context: &mut Context<'_>) -> Poll<PgWireResult<()>>;
    fn start(&mut self, message: PgWireBackendMessage) -> PgWireResult<()>;
    fn flush(&mut self, context: &mut Context<'_>) -> Poll<PgWireResult<()>>;
    fn close(&mut self, context: &mut Context<'_>) -> Poll<PgWireResult<()>>;
}

/// A client of pgwire's, and how it lets go of what is kept for it.
struct Through<'a, C>(&'a mut C, fn(&C, Kept<'_>));

impl<C> Wire for Through<'_, C>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    fn info(&self) -> &dyn ClientInfo {
        self.0
    }

    fn info_mut(&mut self) -> &mut dyn ClientInfo {
        self.0
    }

    fn drop_kept(&self, kept: Kept<'_>) {
        (self.1)(self.0, kept);
    }

    fn ready(&mut self, context: &mut Context<'_>) -> Poll<PgWireResult<()>> {
        Pin::new(&mut *self.0).poll_ready(context).map_err(PgWireError::from)
    }

    fn start(&mut self, message: PgWireBackendMessage) -> PgWireResult<()> {
        Pin::new(&mut *self.0).start_send(message).map_err(PgWireError::from)
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Poll<PgWireResult<()>> {
        Pin::new(&mut *self.0).poll_flush(context).map_err(PgWireError::from)
    }

    fn close(&mut self, context: &mut Context<'_>) -> Poll<PgWireResult<()>> {
        Pin::new(&mut *self.0).poll_close(context).map_err(PgWireError::from)
    }
}

impl<'a> Client<'a> {
    /// One that has logged in.
    pub(super) fn of<C>(client: &'a mut C) -> Self
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Self(Box::new(Through(client, |client, kept| match kept {
            Kept::Statement(name) => client.portal_store().rm_statement(name),
            Kept::Portals => client.portal_store().clear_portals(),
        })))
    }

    /// One that is logging in: nothing is kept for it yet.
    pub(super) fn logging_in<C>(client: &'a mut C) -> Self
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Self(Box::new(Through(client, |_, _| {})))
    }

    /// Lets go of a prepared statement.
    pub(super) fn drop_statement(&self, name: &str) {
        self.0.drop_kept(Kept::Statement(name));
    }

    /// Lets go of all portals.
    pub(super) fn drop_portals(&self) {
        self.0.drop_kept(Kept::Portals);
    }
}

impl Sink<PgWireBackendMessage> for Client<'_> {
    type Error = PgWireError;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<PgWireResult<()>> {
        self.0.ready(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: PgWireBackendMessage) -> PgWireResult<()> {
        self.0.start(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<PgWireResult<()>> {
        self.0.flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<PgWireResult<()>> {
        self.0.close(context)
    }
}

impl ClientInfo for Client<'_> {
    fn socket_addr(&self) -> SocketAddr {
        self.0.info().socket_addr()
    }

    fn is_secure(&self) -> bool {
        self.0.info().is_secure()
    }

    fn protocol_version(&self) -> ProtocolVersion {
        self.0.info().protocol_version()
    }

    fn set_protocol_version(&mut self, version: ProtocolVersion) {
        self.0.info_mut().set_protocol_version(version);
    }

    fn pid_and_secret_key(&self) -> (i32, SecretKey) {
        self.0.info().pid_and_secret_key()
    }

    fn set_pid_and_secret_key(&mut self, pid: i32, secret_key: SecretKey) {
        self.0.info_mut().set_pid_and_secret_key(pid, secret_key);
    }

    fn state(&self) -> PgWireConnectionState {
        self.0.info().state()
    }

    fn set_state(&mut self, new_state: PgWireConnectionState) {
        self.0.info_mut().set_state(new_state);
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.0.info().transaction_status()
    }

    fn set_transaction_status(&mut self, new_status: TransactionStatus) {
        self.0.info_mut().set_transaction_status(new_status);
    }

    fn metadata(&self) -> &HashMap<String, String> {
        self.0.info().metadata()
    }

    fn metadata_mut(&mut self) -> &mut HashMap<String, String> {
        self.0.info_mut().metadata_mut()
    }

    fn session_extensions(&self) -> &SessionExtensions {
        self.0.info().session_extensions()
    }

    fn sni_server_name(&self) -> Option<&str> {
        self.0.info().sni_server_name()
    }

    fn client_certificates<'a>(&self) -> Option<&[CertificateDer<'a>]> {
        self.0.info().client_certificates()
    }
}
