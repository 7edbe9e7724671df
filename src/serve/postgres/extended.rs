//! The extended protocol: statements are prepared, bound to parameters, described and executed.
//!
//! A prepared statement keeps its text, not the state it was prepared over: executed after a night has been published, it
//! is planned anew and reads the new day.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, send_describe_response};
use datafusion_postgres::pgwire::api::results::{DescribePortalResponse, FieldInfo, QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::{Entry, PortalStore};
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{
    Bind, BindComplete, Describe, Execute, PortalSuspended, TARGET_TYPE_BYTE_PORTAL,
};
use datafusion_postgres::pgwire::messages::response::EmptyQueryResponse;
use futures::future::BoxFuture;
use futures::{FutureExt, Sink, SinkExt, StreamExt};

use super::client::Client;
use super::cursor::{Cursors, Open};
use super::encoding::{Encoding, fields};
use super::named::Named;
use super::simple::{Answer, shown_field};
use super::{Connection, fatal, feed, wire};
use crate::serve::fault::Fault;
use crate::serve::session::{Planned, Session};
use crate::serve::shared::Core;

/// A prepared statement.
pub(in crate::serve) struct Prepared {
    statement: Statement,
    /// As it was written.
    text: String,
    /// Its plan (of a cursor's query: that one's), over the state that was the newest when it was last needed.
    planned: Mutex<Option<Planned>>,
}

impl Prepared {
    fn planned(&self) -> Option<Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The query that is planned: the statement itself, or that of the cursor that it declares.
    fn query(&self) -> Option<Statement> {
        match &self.statement {
            Statement::Query(_) | Statement::Explain { .. } | Statement::ShowTables { .. } => {
                Some(self.statement.clone())
            }
            Statement::Declare { stmts } => {
                let query = stmts.first().and_then(|declared| declared.for_query.clone());
                query.map(Statement::Query)
            }
            _ => None,
        }
    }

    /// The types of the parameters, as far as the plan tells, in their order.
    fn parameters(&self) -> PgWireResult<Vec<Option<DataType>>> {
        let Some(planned) = self.planned() else { return Ok(Vec::new()) };
        parameters(&planned.plan).map_err(wire)
    }
}

/// Whether a statement would change something that is published: refused before it is bound to anything.
fn is_write(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Merge(_)
            | Statement::Truncate(_)
    )
}

/// The element types of lists that are parameters: what `… = ANY($1)` compares, which the engine does not infer.
fn lists(plan: &LogicalPlan) -> Result<HashMap<String, DataType>, Fault> {
    let mut found = HashMap::new();
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.name() == "array_has"
                    && let [Expr::Placeholder(list), element] = call.args.as_slice()
                    && let Ok(data_type) = element.get_type(&schema)
                {
                    let data_type = if data_type == DataType::Utf8View { DataType::Utf8 } else { data_type };
                    found.insert(list.id.clone(), DataType::new_list(data_type, true));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The types of a plan's parameters, in their order.
pub(in crate::serve) fn parameters(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, Fault> {
    let (mut types, lists) = (Vec::new(), lists(plan)?);
    for (name, data_type) in plan.get_parameter_types()? {
        let data_type = data_type.or_else(|| lists.get(&name).cloned());
        let place: Option<usize> = name.trim_start_matches('$').parse().ok();
        let Some(place) = place.filter(|place| (1..=65_535).contains(place)) else {
            return Err(Fault::new("42601", format!("`{name}` is no parameter")).hint("write `$1`, `$2` …"));
        };
        if types.len() < place {
            types.resize(place, None);
        }
        types[place - 1] = data_type;
    }
    Ok(types)
}

/// What of a connection statements are prepared with.
pub(in crate::serve) struct Preparing {
    core: Arc<Core>,
    session: Arc<OnceLock<Arc<Session>>>,
    cursors: Arc<Cursors>,
    named: Arc<Named>,
}

impl Preparing {
    fn prepare<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, PgWireResult<Option<Arc<Prepared>>>> {
        async move {
            let session = self.session.get().ok_or_else(|| fatal(Fault::new("28000", "log in first")))?;
            let mut statements = self.core.reader.read(sql).map_err(wire)?;
            session.asks(sql);
            if statements.len() > 1 {
                return Err(wire(Fault::new("42601", "one statement is prepared at a time")));
            }
            let Some(statement) = statements.pop() else { return Ok(None) };
            let statement = self.named.resolved(statement).map_err(wire)?;
            if is_write(&statement) {
                return Err(wire(Fault::read_only()));
            }
            let prepared = Prepared { statement, text: sql.to_owned(), planned: Mutex::default() };
            if let Some(query) = prepared.query() {
                let planned = session.begin().on(session.plan(&query)).await.map_err(wire)?;
                *prepared.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(planned);
            }
            Ok(Some(Arc::new(prepared)))
        }
        .boxed()
    }
}

impl QueryParser for Preparing {
    type Statement = Arc<Prepared>;

    fn parse_sql<'s, 'c, 'q, 't, 'f, C>(
        &'s self,
        _client: &'c C,
        sql: &'q str,
        _types: &'t [Option<Type>],
    ) -> BoxFuture<'f, PgWireResult<Option<Self::Statement>>>
    where
        C: ClientInfo + Unpin + Send + Sync + 'f,
        's: 'f,
        'c: 'f,
        'q: 'f,
        't: 'f,
    {
        self.prepare(sql)
    }

    fn get_parameter_types(&self, statement: &Self::Statement) -> PgWireResult<Vec<Type>> {
        let types = statement.parameters()?;
        types.iter().map(|known| known.as_ref().map_or(Ok(Type::TEXT), into_pg_type)).collect()
    }

    fn get_result_schema(&self, statement: &Self::Statement, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let format = format.unwrap_or(&Format::UnifiedText);
        match &statement.statement {
            Statement::ShowVariable { variable } => {
                let name = variable.iter().map(|word| word.value.to_lowercase()).collect::<Vec<_>>().join(".");
                Ok(vec![shown_field(&name)])
            }
            Statement::Fetch { name, into: None, .. } => {
                let open = self.cursors.find(&name.value).map_err(wire)?;
                Ok(fields(&open.schema, format, None)?.to_vec())
            }
            Statement::Declare { .. } => Ok(Vec::new()),
            _ => match statement.planned() {
                Some(planned) => Ok(fields(planned.plan.schema().as_arrow(), format, None)?.to_vec()),
                None => Ok(Vec::new()),
            },
        }
    }
}

impl Connection {
    /// The values of a portal's parameters.
    fn bound(portal: &Portal<Arc<Prepared>>) -> PgWireResult<Option<ParamValues>> {
        let types = portal.statement.statement.parameters()?;
        if portal.parameter_len() != types.len() {
            let message =
                format!("{} parameters are bound, and the statement has {}", portal.parameter_len(), types.len());
            return Err(wire(Fault::protocol(message)));
        }
        if types.is_empty() {
            return Ok(None);
        }
        // What neither the plan nor the client tells is text, as the client was told.
        let said = &portal.statement.parameter_types;
        let is_said =
            |place: usize| said.get(place).is_some_and(|hint| hint.as_ref().is_some_and(|hint| *hint != Type::UNKNOWN));
        let types: Vec<Option<&DataType>> = types
            .iter()
            .enumerate()
            .map(|(place, known)| known.as_ref().or((!is_said(place)).then_some(&DataType::Utf8)))
            .collect();
        deserialize_parameters(portal, &types).map(Some)
    }

    /// The plan of a prepared statement over the newest state.
    async fn fresh(&self, prepared: &Prepared) -> PgWireResult<Option<Planned>> {
        let Some(query) = prepared.query() else { return Ok(None) };
        let session = self.session()?;
        if let Some(planned) = prepared.planned() {
            if session.is_fresh(&planned).await.map_err(wire)? {
                return Ok(Some(planned));
            }
            let anew = session.begin().on(session.plan(&query)).await.map_err(wire)?;
            if anew.plan.schema().as_arrow() != planned.plan.schema().as_arrow() {
                let fault = Fault::new("0A000", "the columns have changed since the statement was prepared");
                return Err(wire(fault.hint("prepare it again")));
            }
            *prepared.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(anew.clone());
            return Ok(Some(anew));
        }
        session.begin().on(session.plan(&query)).await.map(Some).map_err(wire)
    }
}

impl ExtendedQueryHandler for Connection {
    type Statement = Arc<Prepared>;
    type QueryParser = Preparing;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        Arc::new(Preparing {
            core: Arc::clone(&self.core),
            session: Arc::clone(&self.session),
            cursors: Arc::clone(&self.cursors),
            named: Arc::clone(&self.named),
        })
    }

    fn on_bind<'s, 'c, 'f, C>(&'s self, client: &'c mut C, message: Bind) -> BoxFuture<'f, PgWireResult<()>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync + 'f,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        's: 'f,
        'c: 'f,
    {
        let bound = self.session().and_then(|_| bind(client.portal_store(), &message));
        self.tell_bound(Client::of(client), bound)
    }

    fn on_describe<'s, 'c, 'f, C>(&'s self, client: &'c mut C, message: Describe) -> BoxFuture<'f, PgWireResult<()>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync + 'f,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        's: 'f,
        'c: 'f,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        // A cursor of SQL is a portal, too.
        let is_cursor =
            message.target_type == TARGET_TYPE_BYTE_PORTAL && client.portal_store().get_portal(name).is_none();
        let cursor = self.session().map(|_| self.cursors.find(name).ok().filter(|_| is_cursor));
        match cursor.transpose() {
            None => self._on_describe(client, message),
            Some(cursor) => self.describe_cursor(Client::of(client), cursor),
        }
    }

    fn on_execute<'s, 'c, 'f, C>(&'s self, client: &'c mut C, message: Execute) -> BoxFuture<'f, PgWireResult<()>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync + 'f,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        's: 'f,
        'c: 'f,
    {
        let portal = client.portal_store().get_portal(message.name.as_deref().unwrap_or(DEFAULT_NAME));
        self.execute(Client::of(client), portal, message)
    }

    fn do_query<'s, 'c, 'p, 'f, C>(
        &'s self,
        _client: &'c mut C,
        _portal: &'p Portal<Arc<Prepared>>,
        _max_rows: usize,
    ) -> BoxFuture<'f, PgWireResult<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync + 'f,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        's: 'f,
        'c: 'f,
        'p: 'f,
    {
        std::future::ready(Err(wire(Fault::new("XX000", "portals are executed as they come")))).boxed()
    }
}

/// Binds a prepared statement to values: its portal is in the store then.
fn bind<S>(store: &S, message: &Bind) -> PgWireResult<()>
where
    S: PortalStore<Statement = Arc<Prepared>>,
{
    let (formats, values) = (message.parameter_format_codes.len(), message.parameters.len());
    if formats > 1 && formats != values {
        let message = format!("{formats} formats are given for {values} parameters");
        return Err(wire(Fault::protocol(message)));
    }
    let name = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
    match store.get_statement(name) {
        Some(Entry::Value(statement)) => store.put_portal(Arc::new(Portal::try_new(message, statement)?)),
        Some(Entry::Empty) if values == 0 => {
            store.put_empty_portal(message.portal_name.as_deref().unwrap_or(DEFAULT_NAME));
        }
        Some(Entry::Empty) => return Err(wire(Fault::protocol("an empty statement has no parameters"))),
        None => return Err(PgWireError::StatementNotFound(name.to_owned())),
    }
    Ok(())
}

impl Connection {
    fn tell_bound<'a>(&'a self, mut client: Client<'a>, bound: PgWireResult<()>) -> BoxFuture<'a, PgWireResult<()>> {
        async move {
            bound?;
            client.send(PgWireBackendMessage::BindComplete(BindComplete::new())).await
        }
        .boxed()
    }

    fn describe_cursor<'a>(
        &'a self,
        mut client: Client<'a>,
        cursor: PgWireResult<Arc<Open>>,
    ) -> BoxFuture<'a, PgWireResult<()>> {
        async move {
            let described = fields(&cursor?.schema, &Format::UnifiedText, None)?.to_vec();
            send_describe_response(&mut client, &DescribePortalResponse::new(described)).await
        }
        .boxed()
    }

    fn execute<'a>(
        &'a self,
        mut client: Client<'a>,
        portal: Option<Entry<Portal<Arc<Prepared>>>>,
        message: Execute,
    ) -> BoxFuture<'a, PgWireResult<()>> {
        async move {
            let client = &mut client;
            self.session()?;
            if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
                return Err(PgWireError::NotReadyForQuery);
            }
            client.set_state(PgWireConnectionState::QueryInProgress);
            let portal = match portal {
                Some(Entry::Value(portal)) => portal,
                Some(Entry::Empty) => {
                    feed(client, PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
                    client.set_state(PgWireConnectionState::ReadyForQuery);
                    return Ok(());
                }
                None => {
                    return Err(PgWireError::PortalNotFound(message.name.unwrap_or_else(|| DEFAULT_NAME.to_owned())));
                }
            };
            let state = portal.state();
            let mut state = state.lock().await;
            if matches!(*state, PortalExecutionState::Initial) {
                let prepared = &portal.statement.statement;
                self.session()?.asks(&prepared.text);
                let planned = Box::pin(self.fresh(prepared)).await?;
                let values = Self::bound(&portal)?;
                let encoding = Encoding::of(client, portal.result_column_format.clone());
                let statement = &prepared.statement;
                match Box::pin(self.answer(client, statement, planned, values, &encoding)).await? {
                    Answer::Rows { fields, rows, tag } => {
                        let mut response = QueryResponse::new(fields, rows);
                        response.set_command_tag(tag);
                        *state = PortalExecutionState::Suspended(response);
                    }
                    answer => {
                        *state = PortalExecutionState::Finished;
                        self.send(client, answer, false).await?;
                        client.set_state(PgWireConnectionState::ReadyForQuery);
                        return Ok(());
                    }
                }
            }
            // 0 and, for whoever sends it, less asks for all.
            let most = usize::try_from(message.max_rows).ok().filter(|most| *most > 0);
            let (mut count, mut over, mut tag) = (0, true, "SELECT".to_owned());
            if let PortalExecutionState::Suspended(response) = &mut *state {
                response.command_tag().clone_into(&mut tag);
                loop {
                    if most == Some(count) {
                        over = false;
                        break;
                    }
                    match response.data_rows().next().await {
                        Some(row) => feed(client, PgWireBackendMessage::DataRow(row?)).await?,
                        None => break,
                    }
                    count += 1;
                }
            }
            if over {
                *state = PortalExecutionState::Finished;
                let tag = Tag::new(&tag).with_rows(count);
                feed(client, PgWireBackendMessage::CommandComplete(tag.into())).await?;
            } else {
                feed(client, PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
            }
            client.set_state(PgWireConnectionState::ReadyForQuery);
            Ok(())
        }
        .boxed()
    }
}
