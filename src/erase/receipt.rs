//! What a pass did, without personal data: kept with the hashes before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::people::Found;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::lake::forgotten::{FOLDER, Known, Mark};

/// How many of each the people of a pass were known by; those of earlier passes are not counted again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ids of customers, guests and visitors.
    pub ids: u64,
    /// E-mail addresses.
    pub emails: u64,
    /// Phones.
    pub phones: u64,
    /// Orders.
    pub orders: u64,
}

/// A landed file that held somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandedPart {
    /// Its path below the lake's root; elsewhere its path or URL.
    pub file: String,
    /// The landed table.
    pub table: String,
    /// Rows that were theirs.
    pub rows: u64,
    /// Rows of others that named them.
    pub named: u64,
    /// Its bytes before.
    pub size: u64,
    /// The store's tag for it before.
    pub e_tag: Option<String>,
}

/// What was erased of a published table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePart {
    /// Files written anew, or removed where no row was left.
    pub files: u64,
    /// Their rows that were somebody's.
    pub rows: u64,
    /// Files of old versions that were removed.
    pub old_files: u64,
}

/// An export that contained somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its id.
    pub export_id: String,
    /// Of which day.
    pub as_of: Option<String>,
    /// In which format.
    pub format: Option<String>,
    /// Where it went.
    pub destination: Option<String>,
    /// When.
    pub created_at: Option<String>,
}

/// The receipt of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its id.
    pub id: String,
    /// When it began.
    pub at: DateTime<Utc>,
    /// When everything was erased.
    pub finished_at: Option<DateTime<Utc>>,
    /// Keyed hashes of what was asked for.
    pub asked: Vec<String>,
    /// What the people were known by.
    pub identities: Counts,
    /// Landed files in the lake.
    pub landed: Vec<LandedPart>,
    /// Published tables.
    pub tables: BTreeMap<String, TablePart>,
    /// Exports that contained them: whoever has those files holds them still.
    pub exports: Vec<Export>,
    /// Exports whose query named somebody, and is gone.
    pub queries: BTreeSet<String>,
    /// Landed files outside the lake, to be erased at their source.
    pub elsewhere: Vec<LandedPart>,
    /// Passes that had died, and were finished with this one.
    #[serde(default)]
    pub resumed: Vec<String>,
}

/// The object of a pass: the part that `lake::forgotten` reads, and the receipt.
#[derive(Debug, Serialize, Deserialize)]
struct Object {
    marks: Vec<String>,
    receipt: Receipt,
}

impl Receipt {
    pub(super) fn new(at: DateTime<Utc>, found: &Found, fresh: &[(Known, Mark)], plan: &Plan) -> Self {
        let count = |wanted: Known| fresh.iter().filter(|(known, _)| *known == wanted).count() as u64;
        let mut tables: BTreeMap<String, TablePart> = BTreeMap::new();
        for file in &plan.named {
            let part = tables.entry(file.table.name.to_owned()).or_default();
            part.files += 1;
            part.rows += file.rows;
        }
        for file in &plan.unnamed {
            tables.entry(file.table.name.to_owned()).or_default().old_files += 1;
        }
        let mut asked: Vec<String> = found.asked.iter().map(Mark::written).collect();
        asked.sort();
        // Ids sort by time.
        let id = uuid::Uuid::now_v7().simple().to_string();
        Self {
            id,
            at,
            finished_at: None,
            asked,
            identities: Counts {
                ids: count(Known::Id),
                emails: count(Known::Email),
                phones: count(Known::Phone),
                orders: count(Known::Order),
            },
            landed: plan.landed.iter().map(super::plan::Landed::told).collect(),
            tables,
            exports: Vec::new(),
            queries: BTreeSet::new(),
            elsewhere: plan.elsewhere.iter().map(super::plan::Landed::told).collect(),
            resumed: Vec::new(),
        }
    }

    /// Keeps it with the hashes: from here on the people are forgotten, whatever happens.
    pub(super) async fn keep(&self, lake: &Lake, marks: impl Iterator<Item = Mark>) -> Result<()> {
        let mut marks: Vec<String> = marks.map(|mark| mark.written()).collect();
        // In an order that says nothing of which hash is whose.
        marks.sort();
        let object = Object { marks, receipt: self.clone() };
        let body = serde_json::to_vec_pretty(&object)
            .map_err(|error| Error::internal("forget.receipt", error.to_string()).with_source(error))?;
        lake.put_new(&format!("{FOLDER}/{}.json", self.id), body).await.map(drop)
    }

    /// Marks it as done.
    pub(super) async fn finish(&self, lake: &Lake, at: DateTime<Utc>) -> Result<()> {
        let body = serde_json::json!({"finished_at": at}).to_string();
        lake.put_new(&format!("{FOLDER}/{}.done", self.id), body).await.map(drop)
    }
}

/// The receipts of passes that did not come to their end.
///
/// # Errors
/// What the store refuses; a record that cannot be read.
pub async fn unfinished(lake: &Lake) -> Result<Vec<Receipt>> {
    let objects = lake.list(FOLDER).await?;
    let done: BTreeSet<&str> = objects.iter().filter_map(|object| object.path.strip_suffix(".done")).collect();
    let mut found = Vec::new();
    for object in &objects {
        let Some(name) = object.path.strip_suffix(".json").filter(|name| !done.contains(name)) else { continue };
        let object: Object = serde_json::from_slice(&lake.get(&object.path).await?).map_err(|error| {
            Error::storage("forget.receipt", "the record of a pass cannot be read")
                .in_file(format!("{name}.json"))
                .with_hint("restore the file from a backup: without it, who was forgotten could come back")
                .with_source(error)
        })?;
        found.push(object.receipt);
    }
    Ok(found)
}
