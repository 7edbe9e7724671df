//! The faulty rows that no published day has told yet.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::prelude::SessionContext;

use super::setup::Project;
use super::writing::Writing;
use crate::error::Result;
use crate::lake::manifest::{InputFile, Manifest};
use crate::lake::provider::DayTable;
use crate::lake::snapshots::Snapshots;
use crate::land::Reject;

/// What makes two faulty rows the same one.
type Place = (String, String, i64, String, String, Option<String>);

/// The faulty rows that this run is the first to see: of files that the run before did not read, or read under other
/// settings; and of those the ones that `rejects` does not hold, which keeps them for a while only. `manifest` is this
/// run's.
pub(super) async fn fresh(
    project: &Project,
    session: &SessionContext,
    snapshots: &Snapshots,
    writing: &Writing<'_>,
    manifest: &Manifest,
    rejects: &[Reject],
) -> Result<Vec<Reject>> {
    let mut rejects: Vec<Reject> =
        rejects.iter().map(|reject| Reject { file: project.below_lake(&reject.file), ..reject.clone() }).collect();
    if let Some(day) = snapshots.days().iter().max_by_key(|day| (day.published_at, day.as_of)) {
        let last = Box::pin(snapshots.manifest(day)).await?;
        let settings = |manifest: &Manifest| {
            let of_segments = |name: &str| name.starts_with("segment/");
            manifest.definitions.iter().filter(|(name, _)| !of_segments(name)).map(own).collect::<Vec<_>>()
        };
        if settings(&last) == settings(manifest) {
            let read: BTreeSet<(&str, &str)> = manifest
                .inputs
                .iter()
                .flat_map(|(table, files)| {
                    let known = last.inputs.get(table).map(Vec::as_slice).unwrap_or_default();
                    let old = move |file: &&InputFile| known.contains(file);
                    files.iter().filter(old).map(move |file| (table.as_str(), file.path.as_str()))
                })
                .collect();
            rejects.retain(|reject| !read.contains(&(reject.table, reject.file.as_str())));
        }
    }
    if !rejects.is_empty() {
        let told = told(project, session, writing).await?;
        rejects.retain(|reject| !told.contains(&place(reject)));
    }
    Ok(rejects)
}

fn own((name, hash): (&String, &String)) -> (String, String) {
    (name.clone(), hash.clone())
}

fn place(reject: &Reject) -> Place {
    let Reject { table, file, row, key, column, rule, .. } = reject;
    ((*table).to_owned(), file.clone(), *row, column.clone(), rule.clone(), key.clone())
}

/// What `rejects` holds.
async fn told(project: &Project, session: &SessionContext, writing: &Writing<'_>) -> Result<BTreeSet<Place>> {
    let (published, table) = writing.opened("rejects")?;
    let table = DayTable::of_log(&project.lake, published, table)?;
    let columns = ["table", "file", "column", "rule", "key", "row"];
    let frame = session.read_table(std::sync::Arc::new(table))?.select_columns(&columns)?;
    let mut told = BTreeSet::new();
    for batch in frame.collect().await? {
        let texts: Vec<_> =
            (0..5).map(|column| cast(batch.column(column), &DataType::Utf8)).collect::<Result<_, _>>()?;
        let text = |column: usize, row: usize| {
            let values = texts[column].as_string::<i32>();
            values.is_valid(row).then(|| values.value(row).to_owned())
        };
        let numbers = batch.column(5).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let of = |column: usize| text(column, row).unwrap_or_default();
            told.insert((of(0), of(1), numbers.value(row), of(2), of(3), text(4, row)));
        }
    }
    Ok(told)
}
