//! What a session is told of itself and of the sessions that it may see, and how it stops them.

use std::sync::{Arc, Weak};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::array::{TimestampMicrosecondArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session as EngineSession;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::fresh::Rows;
use super::{CATALOG, Constant};
use crate::serve::fault::Fault;
use crate::serve::session::Session;

/// What stands for the statements of others, in Postgres's words.
const OF_OTHERS: &str = "<insufficient privilege>";

/// Who asks, as plans carry it to `pg_stat_activity`.
pub(in crate::serve) struct Asker(pub(in crate::serve) Weak<Session>);

/// The functions of a session, which finds names in the schemas `path`.
pub(in crate::serve) fn functions(session: &Session, path: &[String]) -> Vec<ScalarUDF> {
    let constant = |name, value| ScalarUDF::new_from_impl(Constant::new(name, value));
    let stops = [("pg_cancel_backend", false), ("pg_terminate_backend", true)].map(|(name, ends)| {
        let signature = Signature::variadic_any(Volatility::Volatile);
        ScalarUDF::new_from_impl(Stops { name, ends, by: session.weak(), signature })
    });
    let mut all = vec![
        constant("pg_backend_pid", ScalarValue::from(session.pid())),
        constant("current_schema", ScalarValue::Utf8(path.first().cloned())),
        constant("session_user", ScalarValue::from(session.user.name.as_str())),
        ScalarUDF::new_from_impl(Schemas {
            path: path.to_vec(),
            signature: Signature::exact(vec![DataType::Boolean], Volatility::Stable),
        }),
    ];
    all.extend(stops);
    all
}

/// `current_schemas(with those that are always searched)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Schemas {
    path: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for Schemas {
    fn name(&self) -> &'static str {
        "current_schemas"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::new_list(DataType::Utf8, true))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let wanted = match arguments.args.first() {
            Some(value) => value.to_array(1)?,
            None => new_null_array(&DataType::Boolean, 1),
        };
        let with_all = wanted.is_valid(0) && wanted.as_boolean().value(0);
        // Where it is not on the path, `pg_catalog` is searched first.
        let first = (with_all && !self.path.iter().any(|name| name == "pg_catalog")).then_some("pg_catalog");
        let names: Vec<&str> = first.into_iter().chain(self.path.iter().map(String::as_str)).collect();
        let offsets = OffsetBuffer::from_lengths([names.len()]);
        let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
        let list = ListArray::try_new(item, offsets, Arc::new(StringArray::from(names)), None)?;
        Ok(ColumnarValue::Scalar(ScalarValue::List(Arc::new(list))))
    }
}

/// `pg_cancel_backend(pid)` and `pg_terminate_backend(pid)`: whether there is such a session, among those that the user may
/// stop.
#[derive(Debug)]
struct Stops {
    name: &'static str,
    ends: bool,
    by: Weak<Session>,
    signature: Signature,
}

impl PartialEq for Stops {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.by.ptr_eq(&other.by)
    }
}

impl Eq for Stops {}

impl std::hash::Hash for Stops {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Stops {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        // `pg_terminate_backend` may be told how long to wait for the end, which is at once.
        let most = if self.ends { 2 } else { 1 };
        let Some(pids) = arguments.args.first().filter(|_| arguments.args.len() <= most) else {
            let fault = Fault::new("42883", format!("`{}` takes the number of one session", self.name));
            return Err(fault.hint("`SELECT pid FROM pg_stat_activity` lists those that you may stop").into());
        };
        let pids = pids.cast_to(&DataType::Int32, None)?.to_array(arguments.number_rows)?;
        let seen = self.by.upgrade().map(|by| by.core.seen_by(&by)).unwrap_or_default();
        let stop = |pid: i32| {
            let found = seen.iter().find(|session| session.pid() == pid);
            if let Some(found) = found {
                if self.ends { found.end(Fault::terminated()) } else { found.cancel() }
            }
            found.is_some()
        };
        let stopped: BooleanArray = pids.as_primitive::<Int32Type>().iter().map(|pid| pid.map(stop)).collect();
        Ok(ColumnarValue::Array(Arc::new(stopped)))
    }
}

/// `pg_stat_activity`: the user's own sessions; an admin sees all.
#[derive(Debug)]
pub(super) struct StatActivity;

fn activity_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
    Arc::new(Schema::new(vec![
        text("datname"),
        Field::new("pid", DataType::Int32, false),
        text("usename"),
        text("application_name"),
        text("client_addr"),
        time("backend_start"),
        time("query_start"),
        text("state"),
        text("query"),
        text("backend_type"),
    ]))
}

fn activity(by: &Arc<Session>) -> DfResult<RecordBatch> {
    let seen = by.core.seen_by(by);
    let told: Vec<_> = seen.iter().map(|session| session.activity.told()).collect();
    let texts = |of: &dyn Fn(&Session) -> Option<String>| -> ArrayRef {
        Arc::new(seen.iter().map(|session| of(session)).collect::<StringArray>())
    };
    let times = |micros: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
    };
    let statements = seen.iter().zip(&told).map(|(session, told)| {
        Some(if session.user.id == by.user.id { told.statement.clone() } else { OF_OTHERS.to_owned() })
    });
    let columns: Vec<ArrayRef> = vec![
        texts(&|_| Some(CATALOG.to_owned())),
        Arc::new(seen.iter().map(|session| session.pid()).collect::<Int32Array>()),
        texts(&|session| Some(session.user.name.clone())),
        Arc::new(told.iter().map(|told| Some(told.application.clone())).collect::<StringArray>()),
        texts(&|session| session.activity.from.map(|from| from.to_string())),
        times(seen.iter().map(|session| Some(session.activity.began.timestamp_micros())).collect()),
        times(told.iter().map(|told| told.asked.map(|asked| asked.timestamp_micros())).collect()),
        texts(&|session| Some(if session.activity.is_busy() { "active" } else { "idle" }.to_owned())),
        Arc::new(statements.collect::<StringArray>()),
        texts(&|_| Some("client backend".to_owned())),
    ];
    Ok(RecordBatch::try_new(activity_schema(), columns)?)
}

impl Rows for StatActivity {
    fn schema() -> SchemaRef {
        activity_schema()
    }

    fn rows<'a>(&'a self, state: &'a dyn EngineSession) -> BoxFuture<'a, DfResult<Option<RecordBatch>>> {
        let by = state.config().get_extension::<Asker>().and_then(|asker| asker.0.upgrade());
        std::future::ready(by.map(|by| activity(&by)).transpose()).boxed()
    }
}
