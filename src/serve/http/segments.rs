//! The segments of a published day, as far as whoever asks may see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::catalog::TableProvider;
use datafusion::prelude::{DataFrame, SessionContext};
use serde_json::{Value, json};

use super::problem::Problem;
use crate::diagnostic::nearest;
use crate::engine::statement::{Params, plan_text};
use crate::error::{Error, Result};
use crate::serve::session::Session;

/// The columns that a list has.
const LIST: &str = "s.segment AS id, s.name, s.description, s.owner, s.store, s.tags, s.priority, z.members, z.entered, z.exited, \
                    z.previous_as_of, z.email_reachable, z.sms_reachable, z.buyers";
/// What a single segment has besides.
const ONE: &str = "s.query, s.goal, s.definition_hash, s.defined_on, CAST(z.amount_spent AS VARCHAR) AS amount_spent, \
                   z.goal_base, z.goal_members";

/// Whether whoever asks may see a segment.
pub(super) fn sees(session: &Session, id: &str) -> bool {
    session.user.segments.as_ref().is_none_or(|only| only.contains(id))
}

/// Every segment that the session sees, as of the newest day or a day.
///
/// # Errors
/// `snapshot.no_such_day`; what the published tables refuse.
pub(super) async fn list(session: &Session, as_of: Option<NaiveDate>) -> Result<Value, Problem> {
    let (day, rows) = Box::pin(read(session, as_of, LIST)).await?;
    let segments: Vec<Value> = rows.into_iter().filter(|row| sees(session, id(row))).map(linked).collect();
    Ok(json!({ "as_of": day.map(|day| day.to_string()), "segments": segments }))
}

/// One segment.
///
/// # Errors
/// As [`list`]; `segment.not_published` for one that is not there, or not to be seen.
pub(super) async fn one(session: &Session, wanted: &str, as_of: Option<NaiveDate>) -> Result<Value, Problem> {
    let (day, rows) = Box::pin(read(session, as_of, &format!("{LIST}, {ONE}"))).await?;
    let mut known = Vec::new();
    for row in rows.into_iter().filter(|row| sees(session, id(row))) {
        if id(&row) == wanted {
            let mut row = linked(row);
            row["as_of"] = json!(day.map(|day| day.to_string()));
            return Ok(row);
        }
        known.push(id(&row).to_owned());
    }
    Err(unknown(wanted, known.iter().map(String::as_str)).into())
}

/// There is no such segment.
pub(super) fn unknown<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let error = Error::not_found("segment.not_published", format!("there is no segment `{wanted}`"));
    match nearest(wanted, known) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint("`/api/v1/segments` lists the segments"),
    }
}

fn id(row: &Value) -> &str {
    row["id"].as_str().unwrap_or_default()
}

fn linked(mut row: Value) -> Value {
    row["audience"] = json!(format!("/api/v1/segments/{}/audience", id(&row)));
    row
}

async fn read(session: &Session, as_of: Option<NaiveDate>, columns: &str) -> Result<(Option<NaiveDate>, Vec<Value>)> {
    let core = &session.core;
    let state = Box::pin(core.states.newest()).await?;
    let day = state.newest(as_of)?.map(|day| day.as_of);
    let tables: BTreeMap<_, _> = state.tables(as_of)?;
    let (Some(_), Some(segments), Some(sizes)) =
        (day, tables.get("segments_latest"), tables.get("segment_sizes_latest"))
    else {
        return Ok((None, Vec::new()));
    };
    let context = core.project.engine.session();
    context.register_table("segments", Arc::clone(segments) as Arc<dyn TableProvider>)?;
    context.register_table("sizes", Arc::clone(sizes) as Arc<dyn TableProvider>)?;
    let sql = format!("SELECT {columns} FROM segments s LEFT JOIN sizes z ON z.segment = s.segment ORDER BY s.segment");
    Ok((day, Box::pin(rows(&context, &sql)).await?))
}

/// The rows of a query as JSON objects.
pub(super) async fn rows(context: &SessionContext, sql: &str) -> Result<Vec<Value>> {
    let frame: DataFrame = plan_text(context, sql, &Params::new()).await?;
    let batches = frame.collect().await?;
    let mut writer = arrow::json::writer::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(Vec::new());
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        writer.write(batch)?;
    }
    writer.finish()?;
    let text = writer.into_inner();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(|error| Error::internal("serve.json", error.to_string()))
}
