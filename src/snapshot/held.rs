//! Held days: computed and written, but not committed until a person accepts them.
//!
//! A held day has its files and its manifest; what its commits need besides stands in one record under
//! `<lake>/state/held/`. Accepting it commits from that record, under the attempt that computed it: a later attempt at
//! the day fences it, and a changed day before it is refused as for any run.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::writing::Writing;
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::lake::manifest::{Manifest, TableFiles, verify_file};
use crate::lake::parts::DataFile;
use crate::lake::snapshots::{PublishedDay, Snapshots};

/// Where the records of held days are, below the lake's root.
pub const FOLDER: &str = "state/held";

/// A held day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Makes this body differ from every other.
    pub nonce: String,
    /// The day.
    pub as_of: NaiveDate,
    /// The run that computed it.
    pub run_id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The attempt at the day.
    pub attempt: i64,
    /// Why it is held.
    pub reasons: Vec<String>,
    /// Its manifest, below the lake's root.
    pub manifest: String,
    /// The published day before it.
    pub previous_as_of: Option<NaiveDate>,
    /// Whether the day is what was known on it.
    pub as_known: Option<bool>,
    /// The shop's time zone.
    pub timezone: String,
    /// The hash of all definitions.
    pub definition_hash: String,
    /// Every table's files, in the order of their commits.
    pub tables: Vec<(String, TableFiles)>,
}

impl Held {
    fn path(&self) -> String {
        format!("{FOLDER}/{}/{}.json", self.as_of, self.run_id)
    }

    /// Keeps the record.
    ///
    /// # Errors
    /// What the store refuses.
    pub(super) async fn keep(&self, lake: &Lake) -> Result<()> {
        let body = serde_json::to_vec(self)
            .map_err(|error| Error::internal("snapshot.held", error.to_string()).with_source(error))?;
        lake.put_new(&self.path(), body).await.map(drop)
    }

    /// Commits and publishes the day.
    ///
    /// # Errors
    /// `lake.damaged` for a file that is not as it was written; `snapshot.superseded` where a later attempt has published
    /// the day, `lake.previous_changed` where the day before it is another one by now; those of commits.
    pub async fn accept(&self, lake: &Lake, at: DateTime<Utc>) -> Result<PublishedDay> {
        let manifest = Manifest::read(lake, &self.manifest).await?;
        for file in self.tables.iter().flat_map(|(_, table)| &table.files) {
            Box::pin(verify_file(lake, file)).await?;
        }
        let snapshots = Box::pin(Snapshots::read(lake)).await?;
        let writing = Box::pin(Writing::resume(lake, self)).await?;
        let table_versions = Box::pin(writing.commit(&self.definition_hash, &self.manifest)).await?;
        let rows: BTreeMap<String, u64> =
            manifest.tables.iter().map(|(name, files)| (name.clone(), files.rows())).collect();
        let day = PublishedDay {
            as_of: self.as_of,
            previous_as_of: self.previous_as_of,
            run_id: self.run_id.clone(),
            published_at: at,
            as_known: self.as_known,
            stale: false,
            timezone: self.timezone.clone(),
            manifest: self.manifest.clone(),
            table_versions,
            row_counts: rows,
            definition_hash: self.definition_hash.clone(),
        };
        let later: Vec<NaiveDate> =
            snapshots.days().iter().map(|day| day.as_of).filter(|day| *day > self.as_of).collect();
        Box::pin(writing.publish(&snapshots, &day, &manifest, &later)).await?;
        Ok(day)
    }

    /// Puts another manifest and other files in the place of those that held people who were forgotten since.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn revise(
        mut self,
        lake: &Lake,
        manifest: String,
        replaced: &BTreeMap<String, Option<DataFile>>,
    ) -> Result<()> {
        self.manifest = manifest;
        for (_, files) in &mut self.tables {
            files.replace(replaced);
        }
        let body = serde_json::to_vec(&self)
            .map_err(|error| Error::internal("snapshot.held", error.to_string()).with_source(error))?;
        lake.put(&self.path(), body).await
    }

    /// Takes the day off the list of those that wait.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn close(&self, lake: &Lake) -> Result<()> {
        let below = format!("{FOLDER}/{}/{}.done", self.as_of, self.run_id);
        lake.put_new(&below, self.nonce.clone()).await.map(drop)
    }
}

/// The days that wait for a person, the oldest first; of one day the newest attempt last.
///
/// # Errors
/// What the store refuses, and a record that cannot be read.
pub async fn waiting(lake: &Lake) -> Result<Vec<Held>> {
    let objects = lake.list(FOLDER).await?;
    let done: Vec<&str> = objects.iter().filter_map(|object| object.path.strip_suffix(".done")).collect();
    let mut held = Vec::new();
    for object in &objects {
        let Some(name) = object.path.strip_suffix(".json").filter(|name| !done.contains(name)) else { continue };
        let Some(body) = lake.find(&object.path).await? else { continue };
        let record: Held = serde_json::from_slice(&body).map_err(|error| {
            Error::storage("snapshot.held", format!("the record of a held day cannot be read: {error}"))
                .in_file(format!("{name}.json"))
                .with_hint("run the day again")
        })?;
        held.push(record);
    }
    held.sort_by_key(|held| (held.as_of, held.attempt, held.at));
    Ok(held)
}

/// Takes every attempt at a day but one off the list of those that wait: the day has a newer answer.
///
/// # Errors
/// What the store refuses.
pub async fn replaced(lake: &Lake, as_of: NaiveDate, but: &str) -> Result<()> {
    let objects = lake.list(&format!("{FOLDER}/{as_of}")).await?;
    if objects.is_empty() {
        return Ok(());
    }
    for held in waiting(lake).await?.into_iter().filter(|held| held.as_of == as_of && held.run_id != but) {
        held.close(lake).await?;
    }
    Ok(())
}
