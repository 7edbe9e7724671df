//! `alluvial segment explain`.

use serde_json::{Value, json};

use super::execute::Asked;
use crate::cli::opened::Opened;
use crate::cli::output::{Format, Output};
use crate::cli::rows::{Cell, Rows};
use crate::engine::statement::literal;
use crate::error::Result;
use crate::segments::compile::Tables;
use crate::segments::explain::{Explained, Found, Kind, explain as explained};
use crate::snapshot::reading::Reading;

/// Explains a segment or a query for one customer of the newest published day.
pub(super) async fn explain(
    asked: &Asked,
    opened: &Opened,
    reading: &Reading,
    customer: &str,
    output: &mut Output<'_>,
) -> Result<()> {
    let day = asked.scope.as_of;
    let sql = asked.sql(&Tables::default())?;
    asked.with_rows(opened, reading, day, &sql).await?;
    let tables = reading.of_customer(customer, &sql).await?;
    let (subject, segments) = (asked.subject(), &asked.segments);
    let told = explained(&reading.session, subject, segments, &asked.catalogue, asked.scope, &tables).await?;
    let published = match &asked.id {
        Some(id) => membership(reading, id, customer).await?,
        None => None,
    };
    let named = asked.id.as_ref().map_or_else(|| "it".to_owned(), |id| format!("`{id}`"));
    let sentence = told.sentence(customer, &named, day);
    if output.format() == Format::Json {
        let value = json!({
            "customer_id": customer, "segment": asked.id, "as_of": day.to_string(), "member": told.holds,
            "published_member": published, "sentence": sentence, "clauses": as_json(&told),
        });
        return output.line(&format!("{value:#}"));
    }
    let mut rows = Rows::new(&["holds", "clause", "value", "means"]);
    add(&told, 0, &mut rows);
    output.rows(rows)?;
    if output.format() == Format::Table {
        output.line("")?;
        output.line(&sentence)?;
    }
    if published.is_some_and(|published| published != told.holds) {
        output.note("the published day says otherwise: the segment, or what it refers to, has changed since");
    }
    Ok(())
}

/// Whether the customer is a published member; none where the day has no such segment.
async fn membership(reading: &Reading, id: &str, customer: &str) -> Result<Option<bool>> {
    let (id, customer) = (literal(id), literal(customer));
    if reading.count(&format!("SELECT count(*) FROM segments_latest WHERE segment = {id}")).await? == 0 {
        return Ok(None);
    }
    let members =
        format!("SELECT count(*) FROM segment_members_latest WHERE segment = {id} AND customer_id = {customer}");
    Ok(Some(reading.count(&members).await? > 0))
}

fn add(part: &Explained, depth: usize, rows: &mut Rows) {
    rows.push(vec![
        Cell::text(if part.holds { "yes" } else { "no" }),
        Cell::text(format!("{}{}", "  ".repeat(depth), part.text)),
        Cell::maybe(part.value.as_ref(), |value| Cell::text(for_people(value))),
        Cell::maybe(part.means.as_ref(), Cell::text),
    ]);
    part.parts.iter().for_each(|part| add(part, depth + 1, rows));
}

fn for_people(found: &Found) -> String {
    match found {
        Found::Value(value) => value.clone().unwrap_or_else(|| "(missing)".to_owned()),
        Found::Rows { picked, newest, totals } => {
            let mut text = format!("{picked} row{}", if *picked == 1 { "" } else { "s" });
            if let Some(newest) = newest {
                text.push_str(&format!(", newest {newest}"));
            }
            for (name, total) in totals.iter().filter(|(name, _)| name != "count") {
                text.push_str(&format!(", {name} {}", total.as_deref().unwrap_or("(missing)")));
            }
            text
        }
    }
}

fn as_json(part: &Explained) -> Value {
    let kind = match part.kind {
        Kind::All => "all",
        Kind::Any => "any",
        Kind::Not => "not",
        Kind::Clause => "clause",
        Kind::Segment => "segment",
    };
    let mut value = json!({ "kind": kind, "holds": part.holds });
    if matches!(part.kind, Kind::Clause | Kind::Segment) {
        value["clause"] = json!(part.text);
        value["means"] = json!(part.means.as_ref().unwrap_or(&part.text));
    }
    match &part.value {
        Some(Found::Value(found)) => value["value"] = json!(found),
        Some(Found::Rows { picked, newest, totals }) => {
            value["rows"] = json!(picked);
            value["newest"] = json!(newest);
            let totals: serde_json::Map<String, Value> =
                totals.iter().map(|(name, total)| (name.clone(), json!(total))).collect();
            value["totals"] = Value::Object(totals);
        }
        None => {}
    }
    if !part.parts.is_empty() {
        value["parts"] = part.parts.iter().map(as_json).collect();
    }
    value
}
