//! The simple protocol, and what both protocols answer to a statement.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use datafusion::common::ParamValues;
use datafusion::sql::sqlparser::ast::{Reset, Statement};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::query::{SimpleQueryHandler, send_ready_for_query};
use datafusion_postgres::pgwire::api::results::{
    DataRowEncoder, FieldFormat, FieldInfo, Response, SendableRowStream, Tag,
};
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, PgWireConnectionState, Type};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use datafusion_postgres::pgwire::messages::data::RowDescription;
use datafusion_postgres::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use datafusion_postgres::pgwire::messages::simplequery::Query;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;
use futures::future::BoxFuture;
use futures::{FutureExt, Sink, StreamExt};

use super::client::Client;
use super::copy::{self, Form};
use super::encoding::{Encoding, encode};
use super::{Connection, feed, setting, wire};
use crate::serve::fault::Fault;
use crate::serve::session::Planned;
use crate::serve::sql::NOWHERE;

/// What is answered to a statement.
pub(super) enum Answer {
    /// Rows.
    Rows { fields: Arc<Vec<FieldInfo>>, rows: SendableRowStream, tag: &'static str },
    /// It is done.
    Done(&'static str),
    /// So many rows were passed by.
    Moved(usize),
    /// A transaction begins.
    Begin,
    /// It ends.
    End(&'static str),
    /// Rows as a file.
    Copy { form: Form, fields: Arc<Vec<FieldInfo>>, rows: SendableRowStream },
}

impl Connection {
    /// Answers a statement; `planned` is its plan where it has one already.
    pub(super) async fn answer(
        &self,
        client: &mut Client<'_>,
        statement: &Statement,
        planned: Option<Planned>,
        parameters: Option<ParamValues>,
        encoding: &Encoding,
    ) -> PgWireResult<Answer> {
        let session = Arc::clone(self.session()?);
        let failed = client.transaction_status() == TransactionStatus::Error;
        if failed && !matches!(statement, Statement::Commit { .. } | Statement::Rollback { .. }) {
            let fault = Fault::new("25P02", "the transaction has failed: nothing is answered until it ends");
            return Err(wire(fault.hint("`ROLLBACK` ends it")));
        }
        match statement {
            Statement::StartTransaction { .. } => Ok(Answer::Begin),
            Statement::Commit { .. } => {
                self.end_transaction(client, !failed).await?;
                Ok(Answer::End(if failed { "ROLLBACK" } else { "COMMIT" }))
            }
            Statement::Rollback { savepoint: None, .. } => {
                self.end_transaction(client, false).await?;
                Ok(Answer::End("ROLLBACK"))
            }
            Statement::Rollback { savepoint: Some(_), .. } => {
                client.set_transaction_status(TransactionStatus::Transaction);
                Ok(Answer::Done("ROLLBACK"))
            }
            Statement::Savepoint { .. } => Ok(Answer::Done("SAVEPOINT")),
            Statement::ReleaseSavepoint { .. } => Ok(Answer::Done("RELEASE")),
            Statement::Set(set) => self.set(client, set).await,
            Statement::Reset(reset) => {
                let name = match &reset.reset {
                    Reset::ALL => None,
                    Reset::ConfigurationParameter(name) => Some(name.to_string().replace('"', "").to_lowercase()),
                };
                let metadata = client.metadata_mut();
                let mut kept = |name: &str, value: String| drop(metadata.insert(name.to_owned(), value));
                let told = setting::reset(&session, name.as_deref(), &mut kept).map_err(wire)?;
                tell(client, told).await?;
                Ok(Answer::Done("RESET"))
            }
            Statement::Discard { .. } => {
                setting::reset(&session, None, &mut |_, _| {}).map_err(wire)?;
                self.cursors.end_transaction();
                self.named.deallocate(None);
                Ok(Answer::Done("DISCARD ALL"))
            }
            Statement::ShowVariable { variable } => {
                let words: Vec<String> = variable.iter().map(|word| word.value.to_lowercase()).collect();
                let kept = |name: &str| client.metadata().get(name).cloned();
                let (name, value) = setting::show(&session, &words, &kept).map_err(wire)?;
                shown(&name, &value)
            }
            Statement::Prepare { name, data_types, statement } => {
                self.named.prepare(&name.value, data_types, statement).map_err(wire)?;
                Ok(Answer::Done("PREPARE"))
            }
            Statement::Deallocate { name, .. } => {
                let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
                self.named.deallocate((!all).then_some(name.value.as_str()));
                client.drop_statement(&name.value);
                Ok(Answer::Done("DEALLOCATE"))
            }
            Statement::UNLISTEN { .. } => Ok(Answer::Done("UNLISTEN")),
            Statement::Fetch { name, direction, into: Some(into), .. } if into.to_string() == NOWHERE => {
                let open = self.cursors.find(&name.value).map_err(wire)?;
                let passed = open.pass(&session, direction).await.map_err(wire)?;
                Ok(Answer::Moved(passed))
            }
            Statement::Fetch { name, direction, .. } => self.cursors.fetch(&name.value, direction, encoding),
            Statement::Close { cursor } => {
                self.cursors.close(cursor).map_err(wire)?;
                Ok(Answer::Done("CLOSE CURSOR"))
            }
            Statement::Declare { stmts } => {
                for declared in stmts {
                    let (Some(name), Some(query)) = (declared.names.first(), &declared.for_query) else {
                        return Err(wire(Fault::new("42601", "write `DECLARE name CURSOR FOR SELECT …`")));
                    };
                    let query = Statement::Query(query.clone());
                    let planned = match &planned {
                        Some(planned) => planned.clone(),
                        None => session.begin().on(session.plan(&query)).await.map_err(wire)?,
                    };
                    let rows = self.rows(&query, Some(planned.clone()), parameters.clone()).await?;
                    let by = (planned, parameters.clone());
                    self.cursors.open(&name.value, rows, by, declared.hold == Some(true)).map_err(wire)?;
                }
                Ok(Answer::Done("DECLARE CURSOR"))
            }
            Statement::Copy { .. } => {
                let (query, form) = copy::asked(statement, &self.core.reader).map_err(wire)?;
                let rows = self.rows(&Statement::Query(query), None, None).await?;
                let encoding = Encoding { format: form.values(), options: Arc::clone(&encoding.options) };
                let fields = encoding.fields(&rows.schema)?;
                Ok(Answer::Copy { form, rows: encode(Arc::clone(&fields), rows.batches), fields })
            }
            query => {
                let rows = self.rows(query, planned, parameters).await?;
                let fields = encoding.fields(&rows.schema)?;
                Ok(Answer::Rows { rows: encode(Arc::clone(&fields), rows.batches), fields, tag: "SELECT" })
            }
        }
    }

    /// Runs a query.
    async fn rows(
        &self,
        query: &Statement,
        planned: Option<Planned>,
        parameters: Option<ParamValues>,
    ) -> PgWireResult<crate::serve::running::Rows> {
        let session = self.session()?;
        let mut running = session.begin();
        let planned = match planned {
            Some(planned) => planned,
            None => running.on(session.plan(query)).await.map_err(wire)?,
        };
        session.run(running, &planned, parameters).await.map_err(wire)
    }

    /// Sends an answer; gives the rows that were sent.
    pub(super) async fn send(&self, client: &mut Client<'_>, answer: Answer, describe: bool) -> PgWireResult<()> {
        let done = |tag: Tag| PgWireBackendMessage::CommandComplete(tag.into());
        match answer {
            Answer::Rows { fields, mut rows, tag } => {
                if describe {
                    feed(client, described(&fields)).await?;
                }
                let mut count = 0;
                while let Some(row) = rows.next().await {
                    feed(client, PgWireBackendMessage::DataRow(row?)).await?;
                    count += 1;
                }
                feed(client, done(Tag::new(tag).with_rows(count))).await
            }
            Answer::Done(tag) => feed(client, done(Tag::new(tag))).await,
            Answer::Moved(rows) => feed(client, done(Tag::new("MOVE").with_rows(rows))).await,
            Answer::Begin => {
                feed(client, done(Tag::new("BEGIN"))).await?;
                client.set_transaction_status(client.transaction_status().to_in_transaction_state());
                Ok(())
            }
            Answer::End(tag) => {
                feed(client, done(Tag::new(tag))).await?;
                client.set_transaction_status(TransactionStatus::Idle);
                Ok(())
            }
            Answer::Copy { form, fields, mut rows } => {
                let code = form.code();
                let columns = i16::try_from(fields.len()).unwrap_or(i16::MAX);
                let formats = vec![i16::from(code); fields.len()];
                let begin = CopyOutResponse::new(code, columns, formats);
                feed(client, PgWireBackendMessage::CopyOutResponse(begin)).await?;
                let data = |bytes: Bytes| PgWireBackendMessage::CopyData(CopyData::new(bytes));
                let names: Vec<&str> = fields.iter().map(FieldInfo::name).collect();
                // The head of the binary form comes in one message with what follows it, which clients rely on.
                let mut head = BytesMut::new();
                match form.begin(&names) {
                    Some(bytes) if form.is_binary() => head.extend_from_slice(&bytes),
                    Some(bytes) => feed(client, data(bytes)).await?,
                    None => {}
                }
                let mut count = 0;
                while let Some(row) = rows.next().await {
                    feed(client, data(after(&mut head, form.row(&row?)?))).await?;
                    count += 1;
                }
                if let Some(bytes) = form.end() {
                    feed(client, data(after(&mut head, bytes))).await?;
                }
                feed(client, PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
                feed(client, done(Tag::new("COPY").with_rows(count))).await
            }
        }
    }
}

/// What is left of a head, and what comes after it.
fn after(head: &mut BytesMut, bytes: Bytes) -> Bytes {
    if head.is_empty() {
        return bytes;
    }
    let mut all = std::mem::take(head);
    all.extend_from_slice(&bytes);
    all.freeze()
}

/// The description of rows.
pub(super) fn described(fields: &[FieldInfo]) -> PgWireBackendMessage {
    PgWireBackendMessage::RowDescription(RowDescription::new(fields.iter().map(Into::into).collect()))
}

/// The one column of a `SHOW`.
pub(super) fn shown_field(name: &str) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text)
}

fn shown(name: &str, value: &str) -> PgWireResult<Answer> {
    let fields = Arc::new(vec![shown_field(name)]);
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    encoder.encode_field(&Some(value))?;
    let row = encoder.take_row();
    Ok(Answer::Rows { fields, rows: futures::stream::iter([Ok(row)]).boxed(), tag: "SHOW" })
}

/// Tells a client of a parameter that has changed.
pub(super) async fn tell(client: &mut Client<'_>, told: setting::Told) -> PgWireResult<()> {
    match told {
        Some((name, value)) => {
            let status = ParameterStatus::new(name.to_owned(), value);
            feed(client, PgWireBackendMessage::ParameterStatus(status)).await
        }
        None => Ok(()),
    }
}

impl SimpleQueryHandler for Connection {
    fn on_query<'s, 'c, 'f, C>(&'s self, client: &'c mut C, query: Query) -> BoxFuture<'f, PgWireResult<()>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync + 'f,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        's: 'f,
        'c: 'f,
    {
        self.query(Client::of(client), query)
    }

    fn do_query<'s, 'c, 'q, 'f, C>(
        &'s self,
        _client: &'c mut C,
        _query: &'q str,
    ) -> BoxFuture<'f, PgWireResult<Vec<Response>>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync + 'f,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        's: 'f,
        'c: 'f,
        'q: 'f,
    {
        std::future::ready(Err(wire(Fault::new("XX000", "queries are answered as they come")))).boxed()
    }
}

impl Connection {
    /// Answers what is asked by the simple protocol.
    fn query<'a>(&'a self, mut client: Client<'a>, query: Query) -> BoxFuture<'a, PgWireResult<()>> {
        async move {
            let client = &mut client;
            self.session()?;
            if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
                return Err(PgWireError::NotReadyForQuery);
            }
            client.set_state(PgWireConnectionState::QueryInProgress);
            let statements = self.core.reader.read(&query.query).map_err(wire)?;
            self.session()?.asks(&query.query);
            if statements.is_empty() {
                feed(client, PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
            }
            let encoding = Encoding::of(client, Format::UnifiedText);
            for statement in statements {
                let statement = self.named.resolved(statement).map_err(wire)?;
                let answer = Box::pin(self.answer(client, &statement, None, None, &encoding)).await?;
                self.send(client, answer, true).await?;
            }
            client.set_state(PgWireConnectionState::ReadyForQuery);
            let status = client.transaction_status();
            send_ready_for_query(client, status).await
        }
        .boxed()
    }
}
