//! The service itself: what each call of Flight SQL does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate,
    DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket as FlightTicket,
};
use bytes::Bytes;
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use futures::{Stream, TryStreamExt};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::login::{authorization, bearer, peer};
use super::ticket::{Ticket, What};
use super::{Answer, FlightDoor, PREPARED, Prepared, encode, encode_batch, lists, plain, plainly, status};
use crate::serve::fault::Fault;
use crate::serve::session::{Planned, Session};

type Result<T> = std::result::Result<T, Status>;
type Handshake = Pin<Box<dyn Stream<Item = Result<HandshakeResponse>> + Send>>;

/// The columns of a result as they are told before it is fetched.
fn told(schema: &Schema) -> Result<Bytes> {
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| Status::internal(error.to_string()))?;
    Ok(info.schema)
}

/// What is told of something that is fetched with the command itself.
fn listed<T: ProstMessageExt>(
    query: &T,
    schema: &Schema,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>> {
    let endpoint = FlightEndpoint::new().with_ticket(FlightTicket::new(query.as_any().encode_to_vec()));
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(request.into_inner())))
}

impl FlightDoor {
    /// The one statement of a text.
    fn statement(&self, text: &str) -> Result<Statement> {
        let mut statements = self.core.reader.read(text).map_err(status)?;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => Ok(statement),
            (None, _) => Err(status(Fault::new("42601", "the statement is empty"))),
            _ => Err(status(Fault::new("42601", "one statement is answered at a time"))),
        }
    }

    fn token<T>(request: &Request<T>) -> String {
        authorization(request.metadata()).split_once(' ').map(|(_, token)| token.trim().to_owned()).unwrap_or_default()
    }

    fn prepared<T>(&self, request: &Request<T>, handle: &[u8]) -> Result<Arc<Prepared>> {
        let handle = String::from_utf8_lossy(handle);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&Self::token(request)).and_then(|known| known.prepared.get(handle.as_ref()));
        found.cloned().ok_or_else(|| status(Fault::new("26000", "there is no such prepared statement")))
    }

    /// Plans a statement over the newest state, and tells how it is fetched.
    async fn planned(
        &self,
        request: Request<FlightDescriptor>,
        statement: &Statement,
        what: What,
    ) -> Result<Response<FlightInfo>> {
        let session = self.session(&request).await?;
        session.asks(&statement.to_string());
        let sight = Self::sight(&session, &request)?;
        let as_of = sight.as_of;
        let planning = async {
            let state = self.core.states.newest().await?;
            session.plan_over(statement, &state, sight).await
        };
        let planned = session.begin().on(planning).await.map_err(status)?;
        let id = hex::encode(&crate::serve::secret::random()[..16]);
        self.plan(&id);
        let ticket = Ticket { id, state: planned.catalog.state.version, as_of, what };
        let query = TicketStatementQuery { statement_handle: ticket.write().map_err(status)?.into() };
        listed(&query, &plain(planned.plan.schema().as_arrow()), request)
    }

    /// Plans what a ticket names over the state that it names.
    async fn plan_ticket(
        &self,
        session: &Session,
        ticket: &Ticket,
        statement: &Statement,
    ) -> std::result::Result<Planned, Fault> {
        // A state that nobody has asked for since may be the newest still.
        self.core.states.newest().await?;
        let Some(state) = self.core.states.of_version(ticket.state) else {
            let fault = Fault::new("55000", "what was published when the statement was planned is no longer kept");
            return Err(fault.hint("plan it again with GetFlightInfo"));
        };
        let mut sight = session.sight();
        sight.as_of = ticket.as_of;
        session.plan_over(statement, &state, sight).await
    }

    /// The values of a prepared statement's parameters.
    fn values(prepared: &Prepared, planned: &Planned) -> std::result::Result<Option<ParamValues>, Fault> {
        let wanted = crate::serve::postgres::parameters(&planned.plan)?.len();
        let bound = prepared.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let given = bound.as_ref().map_or(0, RecordBatch::num_columns);
        if wanted != given {
            let message = format!("{given} parameters are bound, and the statement has {wanted}");
            return Err(Fault::protocol(message));
        }
        let Some(batch) = bound.filter(|batch| batch.num_columns() > 0) else { return Ok(None) };
        if batch.num_rows() != 1 {
            return Err(Fault::protocol("parameters are bound as one row"));
        }
        let one =
            |column: &ArrayRef| ScalarValue::try_from_array(column, 0).map(|value| ScalarAndMetadata::new(value, None));
        let values = batch.columns().iter().map(one).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(Some(ParamValues::List(values)))
    }
}

fn read_only<T>() -> Result<T> {
    Err(status(Fault::read_only()))
}

#[tonic::async_trait]
impl FlightSqlService for FlightDoor {
    type FlightService = FlightDoor;

    async fn do_handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Result<Response<Handshake>> {
        let token = self.log_in(&authorization(request.metadata()), peer(&request)).await?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.clone().into() };
        let mut response = Response::new(Box::pin(futures::stream::iter([Ok(answer)])) as Handshake);
        response.metadata_mut().insert("authorization", bearer(&token)?);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        let statement = self.statement(&query.query)?;
        Box::pin(self.planned(request, &statement, What::Sql(query.query))).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        let prepared = self.prepared(&request, &query.prepared_statement_handle)?;
        let handle = String::from_utf8_lossy(&query.prepared_statement_handle).into_owned();
        Box::pin(self.planned(request, &prepared.statement, What::Prepared(handle))).await
    }

    async fn do_get_statement(
        &self,
        query: TicketStatementQuery,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        let session = self.session(&request).await?;
        let ticket = Ticket::read(&query.statement_handle).map_err(status)?;
        let prepared = match &ticket.what {
            What::Sql(text) => {
                let statement = self.statement(text)?;
                Arc::new(Prepared { statement, values: Mutex::default() })
            }
            What::Prepared(handle) => self.prepared(&request, handle.as_bytes())?,
        };
        let mut running = session.begin_until(self.cancelled(&ticket.id));
        let planning = Box::pin(self.plan_ticket(&session, &ticket, &prepared.statement));
        let planned = running.on(planning).await.map_err(status)?;
        let values = Self::values(&prepared, &planned).map_err(status)?;
        let planned = running.on(async { plainly(planned.bound(values)?) }).await.map_err(status)?;
        let rows = Box::pin(session.run(running, &planned, None)).await.map_err(status)?;
        Ok(Response::new(encode(rows)))
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        let session = self.session(&request).await?;
        let prepared = self.prepared(&request, &query.prepared_statement_handle)?;
        let mut running = session.begin();
        let planned = running.on(Box::pin(session.plan(&prepared.statement))).await.map_err(status)?;
        let values = Self::values(&prepared, &planned).map_err(status)?;
        let planned = running.on(async { plainly(planned.bound(values)?) }).await.map_err(status)?;
        let rows = Box::pin(session.run(running, &planned, None)).await.map_err(status)?;
        Ok(Response::new(encode(rows)))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult> {
        let session = self.session(&request).await?;
        let statement = self.statement(&query.query)?;
        let planned = session.begin().on(Box::pin(session.plan(&statement))).await.map_err(status)?;
        let parameters = crate::serve::postgres::parameters(&planned.plan).map_err(status)?;
        let parameters = parameters
            .into_iter()
            .enumerate()
            .map(|(place, known)| Field::new(format!("${}", place + 1), known.unwrap_or(DataType::Utf8), true));
        let parameter_schema = told(&plain(&Schema::new(parameters.collect::<Vec<_>>())))?;
        let dataset_schema = told(&plain(planned.plan.schema().as_arrow()))?;
        let handle = hex::encode(&crate::serve::secret::random()[..16]);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.get_mut(&Self::token(&request)) else {
            return Err(status(
                Fault::new("28000", "statements are prepared with a bearer token").hint("shake hands first"),
            ));
        };
        if known.prepared.len() >= PREPARED {
            return Err(status(Fault::new("53400", format!("there are {PREPARED} prepared statements already"))));
        }
        let prepared = Prepared { statement, values: Mutex::default() };
        known.prepared.insert(handle.clone(), Arc::new(prepared));
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.into(),
            dataset_schema,
            parameter_schema,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<()> {
        self.session(&request).await?;
        let handle = String::from_utf8_lossy(&query.prepared_statement_handle).into_owned();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get_mut(&Self::token(&request)) {
            known.prepared.remove(&handle);
        }
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult> {
        self.session(&request).await?;
        let prepared = self.prepared(&request, &query.prepared_statement_handle)?;
        let data = request.into_inner().into_peekable().map_err(|status| FlightError::Tonic(Box::new(status)));
        let batches: Vec<RecordBatch> = FlightRecordBatchStream::new_from_flight_data(data)
            .try_collect()
            .await
            .map_err(|_| status(Fault::protocol("the parameters are no Arrow batch")))?;
        let bound = batches.into_iter().find(|batch| batch.num_rows() > 0);
        *prepared.values.lock().unwrap_or_else(PoisonError::into_inner) = bound;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(query.prepared_statement_handle) })
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult> {
        self.session(&request).await?;
        let unknown = || status(Fault::protocol("this is not what GetFlightInfo answered"));
        let info = FlightInfo::decode(query.info.as_ref()).map_err(|_| unknown())?;
        let mut result = 3;
        for ticket in info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
            let any = arrow_flight::sql::Any::decode(ticket.ticket.as_ref()).map_err(|_| unknown())?;
            let Ok(Some(statement)) = any.unpack::<TicketStatementQuery>() else { return Err(unknown()) };
            let ticket = Ticket::read(&statement.statement_handle).map_err(status)?;
            if self.cancel(&ticket.id) {
                result = 1;
            }
        }
        Ok(ActionCancelQueryResult { result })
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        Ok(Response::new(encode_batch(lists::catalogs(query)?)))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        let context = self.context(&request).await?;
        Ok(Response::new(encode_batch(lists::db_schemas(query, &context)?)))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<FlightTicket>) -> Result<Response<Answer>> {
        let context = self.context(&request).await?;
        Ok(Response::new(encode_batch(lists::tables(query, &context).await?)))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        Ok(Response::new(encode_batch(lists::table_types(query)?)))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &query.clone().into_builder(lists::info()?).schema(), request)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        let batch = query.into_builder(lists::info()?).build();
        Ok(Response::new(encode_batch(batch.map_err(|error| Status::internal(error.to_string()))?)))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &query.into_builder(lists::types()?).schema(), request)
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        let batch = query.into_builder(lists::types()?).build();
        Ok(Response::new(encode_batch(batch.map_err(|error| Status::internal(error.to_string()))?)))
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &lists::primary_keys_schema(), request)
    }

    async fn do_get_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        Ok(Response::new(encode_batch(lists::primary_keys(&query)?)))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &lists::no_keys()?.schema(), request)
    }

    async fn do_get_exported_keys(
        &self,
        _query: CommandGetExportedKeys,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        Ok(Response::new(encode_batch(lists::no_keys()?)))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &lists::no_keys()?.schema(), request)
    }

    async fn do_get_imported_keys(
        &self,
        _query: CommandGetImportedKeys,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        Ok(Response::new(encode_batch(lists::no_keys()?)))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>> {
        self.session(&request).await?;
        listed(&query, &lists::no_keys()?.schema(), request)
    }

    async fn do_get_cross_reference(
        &self,
        _query: CommandGetCrossReference,
        request: Request<FlightTicket>,
    ) -> Result<Response<Answer>> {
        self.session(&request).await?;
        Ok(Response::new(encode_batch(lists::no_keys()?)))
    }

    async fn do_put_statement_update(
        &self,
        _query: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64> {
        self.session(&request).await?;
        read_only()
    }

    async fn do_put_statement_ingest(
        &self,
        _query: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64> {
        self.session(&request).await?;
        read_only()
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

impl FlightDoor {
    /// The tables that a call sees.
    async fn context(&self, request: &Request<FlightTicket>) -> Result<datafusion::prelude::SessionContext> {
        let session = self.session(request).await?;
        let sight = Self::sight(&session, request)?;
        let listing = async {
            let state = self.core.states.newest().await?;
            Ok(self.core.states.catalog(&state, &sight).await?.session())
        };
        session.begin().on(listing).await.map_err(status)
    }
}
