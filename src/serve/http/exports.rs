//! The ledger: what was delivered, by whom, with the counts of every step.

use std::sync::Arc;

use serde_json::{Value, json};

use super::problem::Problem;
use super::segments::rows;
use crate::engine::statement::literal;
use crate::error::{Error, Result};
use crate::lake::provider::DayTable;
use crate::lake::table::Table;
use crate::schema::published;
use crate::serve::session::Session;

/// Exports of one page, at most and if nothing is said.
pub(super) const MOST: usize = 1_000;
pub(super) const USUAL: usize = 100;

const COLUMNS: &str = "export_id, segments, query, CAST(as_of AS VARCHAR) AS as_of, format, destination, requested_by, \
                       created_at, counts";

/// The newest exports, the newest first; those before `before`, where it is given.
///
/// # Errors
/// What the ledger refuses.
pub(super) async fn list(session: &Session, limit: usize, before: Option<&str>) -> Result<Value, Problem> {
    let before = before.map(|id| format!(" AND export_id < {}", literal(id))).unwrap_or_default();
    let condition = format!("{}{before} ORDER BY export_id DESC LIMIT {}", seen(session), limit + 1);
    let mut found = Box::pin(read(session, &condition)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|row| {
        let id = row["export_id"].as_str().unwrap_or_default();
        format!("/api/v1/exports?limit={limit}&before={id}")
    });
    Ok(json!({ "exports": found, "next": next }))
}

/// One export.
///
/// # Errors
/// `audience.unknown_export` for one that is not there, or not to be seen.
pub(super) async fn one(session: &Session, id: &str) -> Result<Value, Problem> {
    let condition = format!("{} AND export_id = {}", seen(session), literal(id));
    let found = Box::pin(read(session, &condition)).await?.into_iter().next();
    let missing = || {
        // What was asked for may be anything that somebody pasted.
        Error::not_found("audience.unknown_export", "there is no such export").with_hint("`/api/v1/exports` lists them")
    };
    Ok(found.ok_or_else(missing)?)
}

/// What a user sees of the ledger: everything, or, of somebody who sees some segments only, what the user had itself.
fn seen(session: &Session) -> String {
    match &session.user.segments {
        None => "true".to_owned(),
        Some(_) => format!("requested_by = {}", literal(&session.user.name)),
    }
}

async fn read(session: &Session, condition: &str) -> Result<Vec<Value>> {
    let project = &session.core.project;
    let table = published::named("exports")
        .ok_or_else(|| Error::internal("serve.exports", "the contract has no table `exports`"))?;
    let opened = Box::pin(Table::open(&project.lake, &table)).await?;
    let context = project.engine.session();
    context.register_table("exports", Arc::new(DayTable::of_log(&project.lake, &table, &opened)?))?;
    let sql = format!("SELECT {COLUMNS} FROM exports WHERE {condition}");
    let mut found = Box::pin(rows(&context, &sql)).await?;
    for row in &mut found {
        let counts = row["counts"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        row["counts"] = counts.unwrap_or(Value::Null);
    }
    Ok(found)
}
