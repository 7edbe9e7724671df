//! `alluvial customer`.

use std::path::PathBuf;

use chrono::NaiveDate;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::{List, Output};
use super::rows::{Cell, Rows};
use crate::engine::statement::literal;
use crate::erase::everything::{Everything, Held, everything};
use crate::error::{Error, Result};
use crate::lake::forgotten::Known;
use crate::snapshot::reading::Reading;

/// What `alluvial customer` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The customer's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// The published day [default: the newest]
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date, conflicts_with = "export")]
    pub as_of: Option<NaiveDate>,
    /// Everything that is held about the person, landed and published, as JSON: a file, or `-` for the output
    #[arg(long, value_name = "FILE|-")]
    pub export: Option<PathBuf>,
}

/// Prints one customer: profile, stage with its sentence, segments now and before; or everything that is held.
///
/// # Errors
/// Those of the project and of what is published; `customer.not_found` for an id that nobody has.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let Some(file) = &args.export else {
            let opened = Opened::new(settings, call.environment, false).await?;
            return Box::pin(show(args, &opened, output)).await;
        };
        // The lake's key tells which guest an address was.
        let opened = Opened::new(settings, call.environment, true).await?;
        let held = Box::pin(everything(&opened.project, &args.id, opened.clock.now())).await?;
        let text = as_json(&args.id, &held)?;
        if file.as_os_str() == "-" {
            output.write(text.as_bytes())?;
        } else {
            let path = call.environment.folder().join(file);
            std::fs::write(&path, text).map_err(|error| Error::from(error).in_file(file.display().to_string()))?;
            output.note(&format!("everything that is held is in {}", file.display()));
        }
        Ok(Outcome::Done)
    })
}

async fn show(args: &Args, opened: &Opened, output: &mut Output<'_>) -> Result<Outcome> {
    let reading = Box::pin(Reading::open(&opened.project)).await?;
    let as_of = reading.day(args.as_of)?.as_of;
    let newest = reading.day(None)?.as_of;
    let id = literal(&args.id);
    let own = format!("customer_id = {id} AND as_of = DATE '{as_of}'");
    let mut profile = facts(&reading, &format!("SELECT * FROM customer_profile WHERE {own}")).await?;
    if profile.is_empty() {
        let message = format!("{as_of} knows no customer of this id");
        return Err(Error::not_found("customer.not_found", message).with_hint(
            "the id is that of `customer_id` in the landed tables; whoever was merged goes on under the other's id, and \
             whoever was forgotten is not kept",
        ));
    }
    if as_of == newest {
        let contacts = facts(&reading, &format!("SELECT * FROM customer_contacts WHERE customer_id = {id}")).await?;
        let known: Vec<String> = profile.iter().map(|(name, _)| name.clone()).collect();
        profile.extend(contacts.into_iter().filter(|(name, _)| !known.contains(name)));
    }
    let stage = facts(&reading, &format!("SELECT * FROM lifecycle WHERE {own}")).await?;
    let sentence = sentence(&reading, &own).await?;
    let mut rows = Rows::new(&["fact", "value"]);
    for (name, cell) in profile {
        rows.push(vec![Cell::Text(name), cell]);
    }
    for (name, cell) in
        stage.into_iter().filter(|(name, _)| ["previous_stage", "stage_since", "reason"].contains(&name.as_str()))
    {
        rows.push(vec![Cell::Text(name), cell]);
    }
    let now = format!(
        "SELECT m.segment, coalesce(e.entered_on, f.first_on) AS since \
         FROM (SELECT segment FROM segment_members WHERE {own}) m \
         LEFT JOIN (SELECT segment, max(as_of) AS entered_on FROM segment_changes WHERE customer_id = {id} \
                    AND change = 'entered' AND as_of <= DATE '{as_of}' GROUP BY segment) e ON e.segment = m.segment \
         LEFT JOIN (SELECT segment, min(as_of) AS first_on FROM segment_sizes GROUP BY segment) f ON f.segment = m.segment \
         ORDER BY m.segment"
    );
    let before = format!(
        "SELECT x.segment, x.left_on, c.cause \
         FROM (SELECT segment, max(as_of) AS left_on FROM segment_changes WHERE customer_id = {id} AND change = 'exited' \
               AND as_of <= DATE '{as_of}' GROUP BY segment) x \
         JOIN segment_changes c ON c.segment = x.segment AND c.as_of = x.left_on AND c.customer_id = {id} AND c.change = 'exited' \
         LEFT ANTI JOIN (SELECT segment FROM segment_members WHERE {own}) m ON m.segment = x.segment \
         ORDER BY x.left_on DESC, x.segment"
    );
    let facts = [
        ("as_of", serde_json::json!(as_of.to_string())),
        ("customer_id", serde_json::json!(args.id)),
        ("sentence", serde_json::json!(sentence)),
    ];
    let heading = match &sentence {
        Some(sentence) => format!("{} as of {as_of}: {sentence}\n", args.id),
        None => format!("{} as of {as_of}\n", args.id),
    };
    let lists = vec![
        List { key: "profile", heading, rows },
        List { key: "segments", heading: "segments".to_owned(), rows: listed(&reading, &now).await? },
        List { key: "segments_before", heading: "segments before".to_owned(), rows: listed(&reading, &before).await? },
    ];
    output.lists(&facts, lists)?;
    Ok(Outcome::Done)
}

async fn listed(reading: &Reading, sql: &str) -> Result<Rows> {
    let frame = reading.sql(sql).await?;
    let schema = frame.schema().inner().clone();
    Rows::from_batches(&schema, &frame.collect().await?)
}

/// The values of a query's first row that are there; what is nested is told elsewhere.
async fn facts(reading: &Reading, sql: &str) -> Result<Vec<(String, Cell)>> {
    let frame = reading.sql(sql).await?;
    let schema = frame.schema().inner().clone();
    let flat: Vec<&str> = schema
        .fields()
        .iter()
        .filter(|field| !matches!(field.data_type(), arrow::datatypes::DataType::Struct(_)))
        .map(|field| field.name().as_str())
        .collect();
    let frame = frame.select_columns(&flat)?;
    let schema = frame.schema().inner().clone();
    let mut rows = Rows::from_batches(&schema, &frame.collect().await?)?;
    let Some(first) = (!rows.rows.is_empty()).then(|| rows.rows.swap_remove(0)) else { return Ok(Vec::new()) };
    let named = rows.columns.into_iter().map(|column| column.name).zip(first);
    Ok(named.filter(|(_, cell)| !matches!(cell, Cell::Missing)).collect())
}

/// The sentence that explains the stage, where the day has one.
async fn sentence(reading: &Reading, own: &str) -> Result<Option<String>> {
    let lifecycle = reading.session.table("lifecycle").await?;
    if !lifecycle.schema().has_column_with_unqualified_name("explanation") {
        return Ok(None);
    }
    let sql = format!("SELECT get_field(explanation, 'sentence') FROM lifecycle WHERE {own}");
    Ok(reading.texts(&sql).await?.into_iter().next())
}

fn as_json(id: &str, held: &Everything) -> Result<String> {
    let identities: serde_json::Map<String, serde_json::Value> =
        [("ids", Known::Id), ("emails", Known::Email), ("phones", Known::Phone), ("orders", Known::Order)]
            .into_iter()
            .map(|(key, known)| (key.to_owned(), held.identities.of(known).cloned().collect()))
            .collect();
    let tables = |held: &[Held]| -> Result<String> {
        let mut members = Vec::new();
        for one in held {
            let rows = Rows::from_batches(&one.schema, &one.rows)?;
            members.push(format!("{:?}: {}", one.table, rows.to_json().trim_end()));
        }
        Ok(format!("{{\n{}\n}}", members.join(",\n")))
    };
    Ok(format!(
        "{{\n\"customer_id\": {},\n\"identities\": {},\n\"landed\": {},\n\"published\": {}\n}}\n",
        serde_json::json!(id),
        serde_json::Value::Object(identities),
        tables(&held.landed)?,
        tables(&held.published)?
    ))
}
