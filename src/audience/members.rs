//! Whose members an export delivers: segments of a published day, or whoever a query names.

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};

use super::export::{Lost, Request, Whose};
use crate::config::Faults;
use crate::diagnostic::{Severity, nearest};
use crate::engine::statement::{Params, literal, plan_text};
use crate::error::{Error, Result};
use crate::land;
use crate::segments::compile::{Scope, standalone_sql};
use crate::snapshot::reading::Reading;
use crate::snapshot::segments::{catalogue, definitions, faults_error};
use crate::snapshot::setup::Project;

/// The members as SQL over the published tables: `customer_id` and `segment`, the salt of the holdout.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) sql: String,
    /// What went to a segment of higher priority.
    pub(super) lost: Vec<Lost>,
    pub(super) warnings: Vec<String>,
}

/// The segments in the order in which they claim customers: by priority, then as they are named.
pub(super) async fn ranked(reading: &Reading, segments: &[String], day: NaiveDate) -> Result<Vec<String>> {
    let sql = format!("SELECT segment, priority FROM segments WHERE as_of = DATE '{day}'");
    let mut priorities = std::collections::BTreeMap::new();
    for batch in plan_text(&reading.session, &sql, &Params::new()).await?.collect().await? {
        let ids = datafusion::arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let known = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let priority = if known.is_valid(row) { known.value(row) } else { i64::MAX };
            priorities.insert(ids.as_string::<i32>().value(row).to_owned(), priority);
        }
    }
    let mut order: Vec<String> = Vec::new();
    for id in segments {
        if !priorities.contains_key(id) {
            return Err(unknown(id, day, priorities.keys().map(String::as_str)));
        }
        if !order.contains(id) {
            order.push(id.clone());
        }
    }
    order.sort_by_key(|id| priorities.get(id).copied().unwrap_or(i64::MAX));
    Ok(order)
}

fn unknown<'a>(id: &str, day: NaiveDate, known: impl Iterator<Item = &'a str>) -> Error {
    let error = Error::not_found("segment.not_published", format!("{day} has no segment `{id}`"));
    match nearest(id, known) {
        Some(near) if near != id => error.with_hint(format!("did you mean `{near}`?")),
        _ => error.with_hint("`alluvial segments` lists the segments; a new one is there once its day is published"),
    }
}

fn list(ids: &[String]) -> String {
    ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(", ")
}

/// The members of the request's segments or query on a day. `claimed` are segments whose members belong to them alone.
pub(super) async fn members(
    project: &Project,
    reading: &Reading,
    request: &Request,
    claimed: &[String],
    day: NaiveDate,
    at: DateTime<Utc>,
) -> Result<Members> {
    let mut warnings = Vec::new();
    let mut lost = Vec::new();
    let mut sql = match &request.whose {
        Whose::Segments(ids) => {
            let order = ranked(reading, ids, day).await?;
            if request.exclusive && order.len() > 1 {
                lost.extend(losses(reading, &order, day).await?);
            }
            first_of(&order, day)
        }
        Whose::Query(query) => {
            let found = of_query(project, reading, query, day, at).await?;
            warnings.extend(found.1);
            // A query has no id: its own text is the salt.
            format!("SELECT customer_id, {} AS segment FROM ({})", literal(query), found.0)
        }
    };
    let mut outside: Vec<String> = ranked(reading, &request.exclude, day).await?;
    outside.extend(claimed.iter().cloned());
    if !outside.is_empty() {
        sql = format!(
            "SELECT m.* FROM ({sql}) m LEFT ANTI JOIN (SELECT customer_id FROM segment_members \
             WHERE as_of = DATE '{day}' AND segment IN ({})) x ON x.customer_id = m.customer_id",
            list(&outside)
        );
    }
    Ok(Members { sql, lost, warnings })
}

/// Every member with the first of the segments that has it.
fn first_of(order: &[String], day: NaiveDate) -> String {
    if let [only] = order {
        return format!(
            "SELECT customer_id, segment FROM segment_members WHERE as_of = DATE '{day}' AND segment = {}",
            literal(only)
        );
    }
    let rank = ranks(order);
    let names: String =
        order.iter().enumerate().map(|(place, id)| format!(" WHEN {place} THEN {}", literal(id))).collect();
    format!(
        "SELECT customer_id, CASE place{names} END AS segment FROM (SELECT customer_id, min({rank}) AS place \
         FROM segment_members WHERE as_of = DATE '{day}' AND segment IN ({}) GROUP BY customer_id)",
        list(order)
    )
}

fn ranks(order: &[String]) -> String {
    let arms: String =
        order.iter().enumerate().map(|(place, id)| format!(" WHEN {} THEN {place}", literal(id))).collect();
    format!("CASE segment{arms} END")
}

/// Who would be in a segment, and is in one that comes before it.
pub(super) async fn losses(reading: &Reading, order: &[String], day: NaiveDate) -> Result<Vec<Lost>> {
    let rank = ranks(order);
    let all = format!(
        "SELECT customer_id, {rank} AS place FROM segment_members WHERE as_of = DATE '{day}' AND segment IN ({})",
        list(order)
    );
    let sql = format!(
        "SELECT CAST(a.place AS BIGINT) AS place, CAST(f.place AS BIGINT) AS won_by, count(*) AS customers FROM ({all}) a \
         JOIN (SELECT customer_id, min(place) AS place FROM ({all}) GROUP BY customer_id) f ON f.customer_id = a.customer_id \
         WHERE a.place > f.place GROUP BY a.place, f.place ORDER BY 1, 2"
    );
    let mut lost = Vec::new();
    for batch in plan_text(&reading.session, &sql, &Params::new()).await?.collect().await? {
        let number = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        let name =
            |place: i64| usize::try_from(place).ok().and_then(|place| order.get(place)).cloned().unwrap_or_default();
        for row in 0..batch.num_rows() {
            let customers = u64::try_from(number(2, row)).unwrap_or(0);
            lost.push(Lost { segment: name(number(0, row)), to: name(number(1, row)), customers });
        }
    }
    Ok(lost)
}

/// A query as stand-alone SQL, and what is doubtful about it.
async fn of_query(
    project: &Project,
    reading: &Reading,
    query: &str,
    day: NaiveDate,
    at: DateTime<Utc>,
) -> Result<(String, Vec<String>)> {
    let session = project.engine.session();
    let options = project.landing(day, at);
    let found = Box::pin(land::find(&session, &project.sources, &options)).await?;
    let (catalogue, _) = Box::pin(catalogue(project, &found.landed)).await?;
    let segments = definitions(project)?.check(&catalogue, day).map_err(faults_error)?;
    let (rule, findings) = segments.check_query(query, &catalogue, day);
    let (errors, doubts): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    let Some(rule) = rule.filter(|_| errors.is_empty()) else {
        let texts = errors.into_iter().map(|diagnostic| crate::config::Fault::Text {
            origin: "--query".into(),
            source: query.into(),
            diagnostic,
        });
        return Err(Faults::new(texts.collect()).into());
    };
    let scope = Scope { zone: project.settings.project.zone, as_of: day };
    let tables = reading.profile_of(day).await?;
    let sql = standalone_sql(&rule, &segments.rules(), scope, &tables)?;
    reading.check_kept(rule.custom_row_columns()).await?;
    if reading.reads_rows(&sql)? {
        let newest = reading.day(None)?.as_of;
        if day < newest {
            let message = format!("orders and events are kept as of the newest published day, {newest}");
            return Err(Error::definition("segment.rows_of_the_past", message)
                .with_hint(format!("export {newest}, or save the query as a segment")));
        }
        Box::pin(reading.with_rows(project, at)).await?;
    }
    let doubts = doubts.into_iter().map(|doubt| doubt.message).collect();
    Ok((sql.trim_end().trim_end_matches(';').to_owned(), doubts))
}
