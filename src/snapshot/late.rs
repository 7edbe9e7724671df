//! Published days for which something has been landed since.
//!
//! A new file is late for a day if its folder is of that day or one before it; without such a folder, if it brings orders
//! or events whose own time and version fall on the day. A customer or an order that is landed again with a later
//! version changes no published day. A file that was written over is looked at by its folder only: it is an export of
//! everything, every night anew.

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::setup::Project;
use crate::engine::Params;
use crate::engine::statement::{identifier, plan_text};
use crate::error::Result;
use crate::lake::manifest::Manifest;
use crate::lake::snapshots::Snapshots;
use crate::land::{self, LandedFile};
use crate::schema::landed::Table;

/// The published days before `as_of`, within `[landing] lookback_days`, that are to be published again before it: the
/// oldest with something late, or marked stale, and every published day from there on.
///
/// # Errors
/// What the store refuses, and landed files that cannot be read.
pub async fn days(project: &Project, as_of: NaiveDate, now: DateTime<Utc>) -> Result<Vec<NaiveDate>> {
    let snapshots = Box::pin(Snapshots::read(&project.lake)).await?;
    let lookback = u64::from(project.settings.landing.lookback_days);
    let Some(first) = as_of.checked_sub_days(Days::new(lookback)) else { return Ok(Vec::new()) };
    let window: Vec<_> = snapshots.days().iter().filter(|day| day.as_of >= first && day.as_of < as_of).collect();
    for (place, day) in window.iter().enumerate() {
        let manifest = Box::pin(snapshots.manifest(day)).await?;
        if day.stale || Box::pin(has_late(project, &manifest, first, now)).await? {
            return Ok(window.iter().skip(place).map(|day| day.as_of).collect());
        }
    }
    Ok(Vec::new())
}

/// Whether something was landed since that the day of a manifest should have seen.
async fn has_late(project: &Project, manifest: &Manifest, first: NaiveDate, now: DateTime<Utc>) -> Result<bool> {
    let as_of = manifest.as_of;
    let read = |table: Table, file: &LandedFile| {
        let path = project.below_lake(&file.name);
        let known = manifest.inputs.get(table.name()).and_then(|files| files.iter().find(|known| known.path == path));
        let same = known.is_some_and(|known| known.size == file.size && known.e_tag == file.etag);
        (known.is_some(), same)
    };
    let options = project.landing(as_of, now);
    let session = project.engine.session();
    let mut in_folders = std::sync::atomic::AtomicBool::new(false);
    let found = Box::pin(land::find_some(&session, &project.sources, &options, |table, file| {
        let (known, same) = read(table, file);
        match file.dt {
            Some(dt) => {
                if !same && dt >= first && dt <= as_of {
                    in_folders.store(true, std::sync::atomic::Ordering::Relaxed);
                }
                false
            }
            None => !known && matches!(table, Table::Orders | Table::Events),
        }
    }))
    .await?;
    if *in_folders.get_mut() {
        return Ok(true);
    }
    let day = project.settings.project.zone.day(as_of);
    let instant =
        |at: DateTime<Utc>| format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", at.timestamp_micros());
    let (start, end) = (instant(day.start), instant(day.end));
    for (table, own) in [(Table::Orders, "ordered_at"), (Table::Events, "occurred_at")] {
        if found.landed.table(table).files.is_empty() {
            continue;
        }
        let version = if table.columns().iter().any(|column| column.name == "updated_at") {
            format!("coalesce({}, {own})", identifier("updated_at"))
        } else {
            own.to_owned()
        };
        let sql = format!(
            "SELECT 1 FROM ({}) WHERE {own} < {end} AND {version} < {end} AND ({own} >= {start} OR {version} >= {start}) LIMIT 1",
            found.rows_sql(table, &options)
        );
        let rows = plan_text(&session, &sql, &Params::new()).await?.collect().await?;
        if rows.iter().any(|batch| batch.num_rows() > 0) {
            return Ok(true);
        }
    }
    Ok(false)
}
