//! Whether landed data has ever had the values that queries name.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::setup::Project;
use crate::diagnostic::Diagnostic;
use crate::engine::Params;
use crate::engine::statement::{identifier, plan_text};
use crate::error::Result;
use crate::land;
use crate::segments::check::domain::{Asked, Domain};

/// A warning for each of `asked` that no landed row has, with its place in the list. A domain's landed columns are read from
/// the shortest table on, and no further than it takes to have seen every value that is asked for; a domain of which nothing is
/// landed is passed over, as that is told elsewhere.
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
        let mut columns: Vec<_> = domain
            .columns()
            .iter()
            .map(|(table, column)| (files.landed.table(*table), *table, *column))
            .filter(|(summary, _, column)| !summary.files.is_empty() && summary.present.contains(*column))
            .map(|(summary, table, column)| (summary.rows, table, column))
            .collect();
        if columns.is_empty() {
            continue;
        }
        columns.sort_by_key(|(rows, _, _)| *rows);
        let wanted = places.iter().filter_map(|place| asked.get(*place)).map(|one| one.value.as_str());
        let mut search = Search { domain, wanted: wanted.collect(), values: HashSet::new() };
        for (_, table, column) in columns {
            let sql = format!("SELECT {} AS value FROM ({})", identifier(column), files.rows_sql(table, &options));
            search.read(&session, &sql).await?;
        }
        let mut values: Vec<&str> = search.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        for place in places {
            let missing = asked.get(place).filter(|one| search.wanted.contains(one.value.as_str()));
            found.extend(missing.map(|one| (place, one.never_seen(values.iter().copied()))));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found)
}

/// Where the elements of a row's list are among those of all lists.
fn places_of(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let place = |at: usize| lists.value_offsets().get(at).and_then(|place| usize::try_from(*place).ok()).unwrap_or(0);
    place(row)..place(row + 1)
}

/// A search for the values of one domain.
struct Search<'a> {
    domain: Domain,
    /// What has not been seen yet.
    wanted: HashSet<&'a str>,
    /// What has been seen.
    values: HashSet<String>,
}

impl Search<'_> {
    /// Reads the one column of a query, a list's elements each, until nothing is wanted.
    async fn read(&mut self, session: &SessionContext, sql: &str) -> Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let mut stream = plan_text(session, sql, &Params::new()).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            self.look(batch?.column(0))?;
            if self.wanted.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn look(&mut self, column: &ArrayRef) -> Result<()> {
        let Some(lists) = column.as_list_opt::<i32>() else {
            let texts = cast(column, &DataType::Utf8View)?;
            texts.as_string_view().iter().flatten().for_each(|text| self.saw(text));
            return Ok(());
        };
        let texts = cast(lists.values(), &DataType::Utf8View)?;
        let texts = texts.as_string_view();
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            let elements = places_of(lists, row).filter(|place| texts.is_valid(*place));
            elements.for_each(|place| self.saw(texts.value(place)));
        }
        Ok(())
    }

    fn saw(&mut self, text: &str) {
        if !self.values.contains(text) {
            let domain = self.domain;
            self.wanted.retain(|wanted| !domain.is(text, wanted));
            self.values.insert(text.to_owned());
        }
    }
}
