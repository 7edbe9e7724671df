//! The Flight SQL door: results as Arrow, without a row ever being turned.
//!
//! A client logs in with its name and secret, in a handshake or with its first call, and is known by a bearer token from
//! then on. What `GetFlightInfo` plans names the published state, so that its ticket reads that one, whatever is published
//! meanwhile.

/// Lists: catalogues, schemas, tables, keys, types.
mod lists;
/// Who is it?
mod login;
/// The service itself.
mod service;
/// What a ticket holds.
mod ticket;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightServiceServer;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::prelude::Column;
use datafusion::sql::sqlparser::ast::Statement;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};

use super::fault::Fault;
use super::incoming::Wire;
use super::running::Rows;
use super::session::{Planned, Session};
use super::shared::{Core, Stage, reached};

/// For how long a token serves that nobody uses.
const TOKEN_IDLE: Duration = Duration::from_secs(3600);
/// Statements that one session may have prepared.
const PREPARED: usize = 1_000;
/// Statements that are planned and may still be fetched, and for how long they can be cancelled by their ticket.
const PLANNED: usize = 10_000;
const PLANNED_FOR: Duration = Duration::from_secs(3600);
/// Bytes of a message that a client sends.
const MESSAGE: usize = 64 << 20;

/// Somebody who is logged in.
struct Known {
    session: Arc<Session>,
    used: Instant,
    prepared: HashMap<String, Arc<Prepared>>,
}

/// A prepared statement with the values that were bound last.
struct Prepared {
    statement: Statement,
    values: Mutex<Option<RecordBatch>>,
}

/// The door.
pub(super) struct FlightDoor {
    core: Arc<Core>,
    /// What tokens are made with.
    key: [u8; 32],
    known: Mutex<HashMap<String, Known>>,
    /// By what a ticket names: what stops its statement.
    planned: Mutex<HashMap<String, (Instant, watch::Sender<bool>)>>,
}

impl FlightDoor {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, key: super::secret::random(), known: Mutex::default(), planned: Mutex::default() }
    }

    /// Answers until the server ends.
    pub(super) async fn serve(self, wires: mpsc::Receiver<Wire>) {
        let core = Arc::clone(&self.core);
        let stop = async move {
            reached(&mut core.stage.subscribe(), Stage::Ending).await;
        };
        let wires = futures::stream::unfold(wires, |mut wires| async move {
            let wire = wires.recv().await?;
            Some((Ok::<_, std::io::Error>(wire), wires))
        });
        let service = FlightServiceServer::new(self).max_decoding_message_size(MESSAGE);
        let served = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(30)))
            .add_service(service)
            .serve_with_incoming_shutdown(wires, stop);
        if let Err(error) = served.await {
            tracing::warn!(%error, "the Flight door closed");
        }
    }

    /// What stops a statement that is planned now.
    fn plan(&self, id: &str) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if planned.len() >= PLANNED {
            planned.retain(|_, (at, _)| at.elapsed() < PLANNED_FOR);
            if planned.len() >= PLANNED {
                planned.clear();
            }
        }
        planned.insert(id.to_owned(), (Instant::now(), watch::Sender::new(false)));
    }

    /// Waits until a statement is cancelled.
    fn cancelled(&self, id: &str) -> impl Future<Output = Fault> + Send + 'static {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let stop = planned.get(id).map(|(_, stop)| stop.clone());
        async move {
            match stop {
                Some(stop) => {
                    // The sender is held here: it cannot go away.
                    drop(stop.subscribe().wait_for(|stop| *stop).await);
                    Fault::cancelled()
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Cancels a statement; tells whether there is one.
    fn cancel(&self, id: &str) -> bool {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.get(id).map(|(_, stop)| stop.send_replace(true)).is_some()
    }
}

/// A stream of Flight messages.
type Answer = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send + 'static>>;

/// Rows as Flight messages.
fn encode(rows: Rows) -> Answer {
    let schema = plain(&rows.schema);
    let to = Arc::clone(&schema);
    let batches = rows.batches.map(move |batch| {
        let batch = batch.map_err(|fault| FlightError::Tonic(Box::new(status(fault))))?;
        flattened(&batch, &to).map_err(FlightError::Arrow)
    });
    Box::pin(FlightDataEncoderBuilder::new().with_schema(schema).build(batches).map_err(Status::from))
}

/// A batch as Flight messages.
fn encode_batch(batch: RecordBatch) -> Answer {
    let schema = batch.schema();
    let batches = futures::stream::iter([Ok(batch)]);
    Box::pin(FlightDataEncoderBuilder::new().with_schema(schema).build(batches).map_err(Status::from))
}

/// The columns as every client knows them: views of strings are newer than many clients.
fn plain(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(plain_field).collect::<Vec<_>>()))
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(inner) => DataType::List(plain_field(inner)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        _ => return Arc::clone(field),
    };
    Arc::new(Field::new(field.name(), plain, field.is_nullable()))
}

/// The same plan with its columns as every client knows them: what computes the rows gives them so, on as many threads as it
/// has, and whoever sends them is left with nothing but the sending.
fn plainly(mut planned: Planned) -> Result<Planned, Fault> {
    let schema = planned.plan.schema();
    let alone = matches!(
        planned.plan,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_) | LogicalPlan::Statement(_)
    );
    if alone || schema.fields().iter().all(|field| plain_field(field).data_type() == field.data_type()) {
        return Ok(planned);
    }
    let columns = schema.iter().map(|(relation, field)| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        match plain_field(field).data_type() {
            plain if plain == field.data_type() || has_fields(plain) => column,
            plain => cast(column, plain.clone()).alias_qualified(relation.cloned(), field.name()),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    planned.plan = LogicalPlanBuilder::from(planned.plan).project(columns)?.build()?;
    Ok(planned)
}

/// Whether there are fields within, which a plan would look up by their names, and there may be two of one.
fn has_fields(kind: &DataType) -> bool {
    match kind {
        DataType::List(inner) => has_fields(inner.data_type()),
        kind => matches!(kind, DataType::Struct(_)),
    }
}

/// What no plan can be told: structures, and the rows of a statement about a plan.
fn flattened(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let one = |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => arrow::compute::cast(column, field.data_type()),
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(one).collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// A failure in gRPC's words, the SQLSTATE and the hint behind the message.
fn status(fault: Fault) -> Status {
    let code = match fault.state {
        "57014" if fault == Fault::timeout() => Code::DeadlineExceeded,
        "57014" => Code::Cancelled,
        "25006" | "42501" => Code::PermissionDenied,
        "42P01" | "58P01" => Code::NotFound,
        "0A000" => Code::Unimplemented,
        state => match &state[..2] {
            "28" => Code::Unauthenticated,
            "08" | "22" | "42" => Code::InvalidArgument,
            "53" | "54" => Code::ResourceExhausted,
            "55" => Code::FailedPrecondition,
            "57" | "58" => Code::Unavailable,
            _ => Code::Internal,
        },
    };
    let hint = fault.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    Status::new(code, format!("{}{hint} [SQLSTATE {}]", fault.message, fault.state))
}
