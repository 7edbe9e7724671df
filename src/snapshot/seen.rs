//! Whether landed data has ever had the values that queries name.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use chrono::{DateTime, NaiveDate, Utc};

use super::setup::Project;
use crate::diagnostic::Diagnostic;
use crate::engine::Params;
use crate::engine::statement::{identifier, plan_text};
use crate::error::Result;
use crate::land;
use crate::segments::check::domain::{Asked, Domain};

/// A warning for each of `asked` that no landed row has, with its place in the list. One query a domain, over the landed
/// columns that are there; a domain of which nothing is landed is passed over, as that is told elsewhere.
///
/// # Errors
/// Landed files that cannot be read.
pub async fn never_seen(
    project: &Project,
    as_of: NaiveDate,
    present: DateTime<Utc>,
    asked: &[Asked],
) -> Result<Vec<(usize, Diagnostic)>> {
    let mut by_domain: BTreeMap<Domain, Vec<usize>> = BTreeMap::new();
    for (place, one) in asked.iter().enumerate() {
        by_domain.entry(one.domain).or_default().push(place);
    }
    let mut found = Vec::new();
    if by_domain.is_empty() {
        return Ok(found);
    }
    let session = project.engine.session();
    let options = project.landing(as_of, present);
    let files = Box::pin(land::find(&session, &project.sources, &options)).await?;
    for (domain, places) in by_domain {
        let columns = domain.columns().iter().filter(|(table, column, _)| {
            let summary = files.landed.table(*table);
            !summary.files.is_empty() && summary.present.contains(*column)
        });
        let parts: Vec<String> = columns
            .map(|(table, column, is_list)| {
                let (rows, column) = (files.rows_sql(*table, &options), identifier(column));
                let value = if *is_list { format!("unnest({column})") } else { column };
                format!("SELECT {value} AS value FROM ({rows})")
            })
            .collect();
        if parts.is_empty() {
            continue;
        }
        let sql = format!("SELECT DISTINCT value FROM ({}) WHERE value IS NOT NULL", parts.join(" UNION ALL "));
        let mut values = Vec::new();
        for batch in plan_text(&session, &sql, &Params::new()).await?.collect().await? {
            let texts = cast(batch.column(0), &DataType::Utf8)?;
            values.extend(texts.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        for place in places {
            let Some(one) = asked.get(place) else { continue };
            if !values.iter().any(|value| domain.is(value, &one.value)) {
                found.push((place, one.never_seen(values.iter().map(String::as_str))));
            }
        }
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found)
}
