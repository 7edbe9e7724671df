//! Upkeep of the tables: what retention no longer keeps, files that nobody names, checkpoints, and what died on the way.
//!
//! A day's table is dropped in three steps: from the day's manifest, so that no reader of ours asks for it; from the Delta
//! table; and, a day later at the earliest, its files. A file is swept if no manifest that counts, no held day and no
//! table's newest version names it, if it is older than any run that may still write, and if it was not taken out of a table
//! so lately that somebody may still be reading it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};

use super::held;
use super::setup::Project;
use crate::config::RetentionSettings;
use crate::error::{Error, Kind, Result};
use crate::lake::durable;
use crate::lake::manifest::Manifest;
use crate::lake::provider::manifests;
use crate::lake::snapshots::Snapshots;
use crate::lake::table::{Compacted, Table};
use crate::lake::{Lake, Object};
use crate::schema::published::{self, Keeps};

/// How long a file may be there without a name: longer than any run takes, and than any reader reads.
const GRACE: TimeDelta = TimeDelta::days(1);

/// What upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Days that were dropped, by table.
    pub dropped: BTreeMap<String, u64>,
    /// Data files that were removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Temporary files of killed writers.
    pub staging: u64,
    /// Uploads to a bucket that killed writers began, and that were aborted.
    pub uploads: u64,
    /// Small files that were merged, and the files that hold their rows now.
    pub compacted: Compacted,
    /// Checkpoints that were written.
    pub checkpoints: u64,
    /// Files of Delta logs that were removed.
    pub logs: u64,
    /// Objects of the state that were removed; those are the jobs' (`jobs::upkeep`).
    pub state: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Done {
    /// Everything that was removed.
    pub fn objects(&self) -> u64 {
        self.files + self.staging + self.uploads + self.logs + self.state
    }
}

/// For how many days a table is kept; none: without limit.
fn kept_days(table: &str, retention: &RetentionSettings) -> Option<u32> {
    match table {
        "customer_profile" => retention.customer_profile_days,
        "segment_members" => retention.segment_members_days,
        "lifecycle" => retention.lifecycle_days,
        "segment_sizes" => retention.segment_sizes_days,
        "segment_changes" => retention.segment_changes_days,
        "lifecycle_transitions" => retention.lifecycle_transitions_days,
        "rejects" => retention.rejects_days,
        "exports" | "export_members" => retention.exports_days,
        _ => None,
    }
}

/// Whether a table drops a day, seen from the newest published one.
fn is_dropped(table: &str, retention: &RetentionSettings, newest: NaiveDate, day: NaiveDate) -> bool {
    let Some(kept) = kept_days(table, retention) else { return false };
    let Some(oldest) = newest.checked_sub_days(Days::new(u64::from(kept) - 1)) else { return false };
    let month_end = day.succ_opt().is_none_or(|next| next.month() != day.month());
    day < oldest && !(table == "customer_profile" && month_end)
}

/// Whether a day's manifest names a table that retention no longer keeps: upkeep takes it out, and the files go.
pub fn is_overdue(manifest: &Manifest, retention: &RetentionSettings, newest: NaiveDate) -> bool {
    manifest.tables.keys().any(|table| is_dropped(table, retention, newest, manifest.as_of))
}

/// Does what is to be done, as of the instant `at`.
///
/// # Errors
/// What the store and the logs refuse; what was done until then stays done.
pub async fn run(project: &Project, at: DateTime<Utc>) -> Result<Done> {
    let lake = &project.lake;
    let mut done = Done::default();
    let snapshots = Box::pin(Snapshots::read(lake)).await?;
    if let Some(newest) = snapshots.latest().map(|day| day.as_of) {
        Box::pin(drop_days(project, &snapshots, newest, at, &mut done)).await?;
    }
    Box::pin(sweep_files(lake, &snapshots, at, &mut done)).await?;
    for table in published::tables() {
        let opened = Box::pin(Table::open(lake, &table)).await?;
        let (checkpointed, logs) = Box::pin(opened.tidy(lake)).await?;
        done.checkpoints += u64::from(checkpointed);
        done.logs += logs;
    }
    if let Ok(folder) = lake.url().to_file_path()
        && lake.url().scheme() == "file"
    {
        done.staging = durable::sweep(&folder, at - GRACE).map_err(|error| crate::lake::failure(error, "lake"))?;
    }
    Box::pin(abort_uploads(lake, at, &mut done)).await;
    // Last: what is merged now is swept by the next upkeep.
    for table in published::tables() {
        let compacted = Box::pin(Table::compact(lake, &table, at)).await?;
        done.compacted.before += compacted.before;
        done.compacted.after += compacted.after;
    }
    Ok(done)
}

/// Takes what is too old out of the manifests and out of the tables.
async fn drop_days(
    project: &Project,
    snapshots: &Snapshots,
    newest: NaiveDate,
    at: DateTime<Utc>,
    done: &mut Done,
) -> Result<()> {
    let (lake, retention) = (&project.lake, &project.settings.retention);
    for mut manifest in manifests(lake, snapshots.days()).await? {
        let before = manifest.tables.len();
        let as_of = manifest.as_of;
        manifest.tables.retain(|table, _| !is_dropped(table, retention, newest, as_of));
        if manifest.tables.len() < before {
            manifest.keep_again(lake).await?;
        }
    }
    for table in published::tables().iter().filter(|table| table.by_day() && table.name != "snapshots") {
        if kept_days(table.name, retention).is_none() {
            continue;
        }
        let drops = |day| is_dropped(table.name, retention, newest, day);
        let days = Box::pin(Table::drop_days(lake, table, drops, at)).await?;
        if !days.is_empty() {
            done.dropped.insert(table.name.to_owned(), days.len() as u64);
        }
    }
    Ok(())
}

/// The data files that something names: a manifest that counts, a held day, or a table's newest version.
///
/// # Errors
/// What the store and the logs refuse.
pub async fn named(lake: &Lake, snapshots: &Snapshots) -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    let newest = snapshots.latest().map(|day| day.as_of);
    let mut take = |manifest: &Manifest, newest_too: bool| {
        for (table, files) in &manifest.tables {
            let keeps = published::named(table).map(|table| table.keeps);
            if keeps != Some(Keeps::Newest) || newest_too {
                named.extend(files.files.iter().map(|file| file.path.clone()));
            }
        }
    };
    for manifest in manifests(lake, snapshots.days()).await? {
        take(&manifest, Some(manifest.as_of) == newest);
    }
    for held in held::waiting(lake).await? {
        for (_, files) in &held.tables {
            named.extend(files.files.iter().map(|file| file.path.clone()));
        }
    }
    for table in published::tables() {
        let opened = Box::pin(Table::open(lake, &table)).await?;
        named.extend(opened.files().into_iter().map(|file| file.path));
    }
    Ok(named)
}

/// The data files that nothing names, that no run can still be about to name, and that nobody can still be reading.
///
/// # Errors
/// What the store and the logs refuse.
pub async fn orphans(lake: &Lake, snapshots: &Snapshots, at: DateTime<Utc>) -> Result<Vec<Object>> {
    // Listed before what is named is looked up: a file that is named in between is not old.
    let objects = lake.list("tables").await?;
    let mut named = Box::pin(named(lake, snapshots)).await?;
    for table in published::tables() {
        named.append(&mut Box::pin(Table::open(lake, &table)).await?.removed_since(at - GRACE).await?);
    }
    let unnamed = |object: &Object| {
        let in_log = object.path.split('/').any(|part| part == "_delta_log");
        !in_log && object.modified < at - GRACE && !named.contains(&object.path)
    };
    Ok(objects.into_iter().filter(unnamed).collect())
}

async fn sweep_files(lake: &Lake, snapshots: &Snapshots, at: DateTime<Utc>, done: &mut Done) -> Result<()> {
    for object in Box::pin(orphans(lake, snapshots, at)).await? {
        lake.delete(&object.path).await?;
        done.files += 1;
        done.bytes += object.size;
    }
    Ok(())
}

/// Aborts the uploads below the lake that were begun more than a day ago, as files without a name go: no run takes as long,
/// so their writer is dead, while those of a night that runs are younger. A bucket that does not let us is told of, and is no
/// reason to leave the rest undone.
async fn abort_uploads(lake: &Lake, at: DateTime<Utc>, done: &mut Done) {
    let uploads = match lake.unfinished_uploads().await {
        Ok(uploads) => uploads.unwrap_or_default(),
        Err(error) => return done.warnings.push(stay("uploads that were begun and never completed", &error)),
    };
    let (mut kept, mut first) = (0, None);
    for upload in uploads.iter().filter(|upload| upload.began_at < at - GRACE) {
        match lake.abort_upload(upload).await {
            Ok(()) => done.uploads += 1,
            Err(error) => {
                kept += 1;
                // What holds for one of these holds for all, and each may take minutes.
                let is_last = error.kind() == Kind::Transient || error.code() == "lake.denied";
                first.get_or_insert(error);
                if is_last {
                    break;
                }
            }
        }
    }
    if let Some(error) = first {
        done.warnings.push(stay(&format!("{kept} uploads or more that were begun and never completed"), &error));
    }
}

fn stay(what: &str, error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{what} stay: {error}; {hint}"),
        None => format!("{what} stay: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::schema::published::Published;

    #[test]
    fn days_are_kept_as_long_as_the_settings_say_and_month_ends_of_the_profile_for_good() {
        let day = |text| parse_date(text).unwrap();
        let kept = RetentionSettings::default();
        let dropped = |table, text| is_dropped(table, &kept, day("2026-11-19"), day(text));
        assert!(!dropped("customer_profile", "2026-10-16"), "the 35th day");
        assert!(dropped("customer_profile", "2026-10-15"));
        assert!(!dropped("customer_profile", "2026-09-30") && !dropped("customer_profile", "2024-02-29"));
        assert!(dropped("customer_profile", "2024-02-28"));
        assert!(dropped("segment_members", "2025-09-30") && !dropped("segment_members", "2026-10-15"));
        assert!(!dropped("segment_sizes", "2001-01-01") && !dropped("snapshots", "2001-01-01"));
        assert!(!dropped("rejects", "2026-10-21") && dropped("rejects", "2026-10-20"));
    }

    #[test]
    fn every_table_that_has_a_limit_is_there() {
        let kept = RetentionSettings::default();
        let limited: Vec<&str> = published::tables()
            .iter()
            .filter(|table: &&Published| kept_days(table.name, &kept).is_some())
            .map(|table| table.name)
            .collect();
        assert_eq!(
            limited,
            ["customer_profile", "lifecycle", "segment_members", "rejects", "exports", "export_members"]
        );
    }
}
