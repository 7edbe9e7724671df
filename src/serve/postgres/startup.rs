//! Who is it? SCRAM-SHA-256, against the verifiers that the lake keeps.

use std::collections::HashMap;
use std::fmt::Debug;

use datafusion_postgres::pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::{ClientInfo, METADATA_USER, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::{Authentication, SecretKey};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use futures::future::BoxFuture;
use futures::{FutureExt, Sink, SinkExt};

use super::client::Client;
use super::{Connection, fatal};
use crate::serve::fault::Fault;
use crate::serve::metrics::Door;
use crate::serve::pg::SERVER_VERSION;
use crate::serve::secret::Exchange;
use crate::serve::users::User;

/// The one mechanism that is offered.
const MECHANISM: &str = "SCRAM-SHA-256";

/// How far a login is.
pub(super) enum Login {
    /// Nobody has said who they are.
    Before,
    /// The mechanism was offered.
    Offered(String),
    /// The client has begun; the user is none where there is none of that name.
    Begun(String, Option<Box<User>>, Exchange),
    /// It is over, well or not.
    Over,
}

impl StartupHandler for Connection {
    fn on_startup<'s, 'c, 'f, C>(
        &'s self,
        client: &'c mut C,
        message: PgWireFrontendMessage,
    ) -> BoxFuture<'f, PgWireResult<()>>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync + 'f,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        's: 'f,
        'c: 'f,
    {
        self.log_in(Client::logging_in(client), message)
    }
}

impl Connection {
    /// Goes on with a login.
    fn log_in<'a>(&'a self, mut client: Client<'a>, message: PgWireFrontendMessage) -> BoxFuture<'a, PgWireResult<()>> {
        async move {
            let client = &mut client;
            let mut login = self.login.lock().await;
            let from = Some(client.socket_addr().ip());
            match (std::mem::replace(&mut *login, Login::Over), message) {
                (Login::Before, PgWireFrontendMessage::Startup(startup)) => {
                    protocol_negotiation(client, &startup).await?;
                    save_startup_parameters_to_metadata(client, &startup);
                    if self.guarded && !client.is_secure() {
                        let fault = Fault::new("28000", "this server is talked to under TLS only");
                        return Err(fatal(
                            fault.hint("connect with `sslmode=require`, or better `sslmode=verify-full`"),
                        ));
                    }
                    let name = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
                    *login = Login::Offered(name);
                    client.set_state(PgWireConnectionState::AuthenticationInProgress);
                    send(client, Authentication::SASL(vec![MECHANISM.to_owned()])).await
                }
                (Login::Offered(name), PgWireFrontendMessage::PasswordMessageFamily(message)) => {
                    let first = message.into_sasl_initial_response()?;
                    if first.auth_method != MECHANISM {
                        return Err(fatal(Fault::protocol(format!("only {MECHANISM} is offered"))));
                    }
                    let begun = self.core.gate.begin(&name, first.data.as_deref().unwrap_or_default()).await;
                    let (user, exchange, answer) = begun.map_err(fatal)?;
                    *login = Login::Begun(name, user.map(Box::new), exchange);
                    send(client, Authentication::SASLContinue(answer.into())).await
                }
                (Login::Begun(name, user, exchange), PgWireFrontendMessage::PasswordMessageFamily(message)) => {
                    let last = message.into_sasl_response()?;
                    let proven = exchange.finish(&last.data).map_err(|error| fatal(error.into()))?;
                    let (Some(user), Some(answer)) = (user, proven) else {
                        self.core.metrics.login_failed(Door::Postgres);
                        return Err(fatal(self.core.gate.refuse(&name, from).await));
                    };
                    self.core.gate.forget(&name);
                    send(client, Authentication::SASLFinal(answer.into())).await?;
                    let settings: Vec<(String, String)> =
                        client.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                    let session = self.core.session(*user, Door::Postgres, from);
                    super::setting::at_startup(&session, &settings).map_err(fatal)?;
                    tracing::info!(user = %name, address = ?from, "connected by Postgres wire");
                    let long = client.protocol_version() != ProtocolVersion::PROTOCOL3_0;
                    let path = session.own().path().to_owned();
                    let (pid, key): (i32, SecretKey) = self.admit(session, long);
                    client.set_pid_and_secret_key(pid, key);
                    finish_authentication(client, &Parameters { name, path }).await
                }
                _ => Err(fatal(Fault::protocol("this is no login"))),
            }
        }
        .boxed()
    }
}

async fn send(client: &mut Client<'_>, message: Authentication) -> PgWireResult<()> {
    client.send(PgWireBackendMessage::Authentication(message)).await
}

/// What the server says of itself once somebody is let in.
struct Parameters {
    name: String,
    path: String,
}

impl ServerParameterProvider for Parameters {
    fn server_parameters<C: ClientInfo>(&self, client: &C) -> Option<HashMap<String, String>> {
        let application = client.metadata().get("application_name").cloned().unwrap_or_default();
        let told = [
            ("server_version", SERVER_VERSION),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("integer_datetimes", "on"),
            ("in_hot_standby", "off"),
            ("is_superuser", "off"),
            ("default_transaction_read_only", "on"),
            ("standard_conforming_strings", "on"),
            ("search_path", &self.path),
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, YMD"),
            ("IntervalStyle", "postgres"),
            ("application_name", &application),
            ("session_authorization", &self.name),
        ];
        Some(told.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
