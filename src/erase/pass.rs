//! A pass: landed files, table files, Delta logs, one commit of `snapshots`, and last the old files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use object_store::ObjectStoreExt;

use super::files;
use super::plan::{self, Plan};
use super::receipt::Receipt;
use crate::error::Result;
use crate::lake::forgotten::Forgotten;
use crate::lake::manifest::{InputFile, Manifest};
use crate::lake::parts::{DataFile, folder};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::lake::table::Table;
use crate::lake::{Lake, durable, failure};
use crate::schema::{landed, published};
use crate::snapshot::setup::Project;
use crate::snapshot::{held, upkeep};

/// How long nobody must have written to a temporary file for it to be a dead writer's.
const ABANDONED: TimeDelta = TimeDelta::hours(1);

/// Erases what a plan names. `open` are the receipts of the passes that are being done.
pub(super) async fn apply(
    project: &Project,
    forgotten: &Arc<Forgotten>,
    open: &[Receipt],
    plan: Plan,
    at: DateTime<Utc>,
) -> Result<()> {
    let lake = &project.lake;
    let revision = uuid::Uuid::now_v7().simple().to_string();
    let matcher = Arc::new(plan::matcher(forgotten, open, &plan));
    for landed in &plan.landed {
        Box::pin(files::rewrite_landed(lake, &landed.of)).await?;
    }
    let mut replaced: BTreeMap<String, Option<DataFile>> = BTreeMap::new();
    for (number, file) in plan.named.iter().enumerate() {
        let written = Box::pin(files::rewrite(lake, file, &matcher, &format!("{revision}-{number}"))).await?;
        replaced.insert(file.below.clone(), written);
    }
    for table in published::tables() {
        let below = format!("{}/", folder(table.name, None));
        if replaced.keys().any(|path| path.starts_with(&below)) {
            Box::pin(Table::replace_files(lake, &table, &replaced, &revision, at)).await?;
        }
    }
    let told = open
        .iter()
        .flat_map(|receipt| receipt.landed.iter().map(|part| (part.file.clone(), part.size, part.e_tag.clone())));
    let planned = plan.landed.iter().map(|landed| {
        let file = &landed.of.file;
        (landed.path.clone(), file.size, file.etag.clone())
    });
    let inputs = inputs(lake, told.chain(planned).collect()).await?;
    let change = Change { revision: &revision, replaced: &replaced, inputs: &inputs };
    let old = Box::pin(change.published(lake, at)).await?;
    let held = Box::pin(change.held(lake)).await?;
    for manifest in old.iter().chain(&held) {
        lake.delete(manifest).await?;
    }
    // Only now does nothing name the old files; whatever was named meanwhile stays for the next look.
    let snapshots = Box::pin(Snapshots::read(lake)).await?;
    let named = Box::pin(upkeep::named(lake, &snapshots)).await?;
    let unnamed = plan.unnamed.iter().map(|file| &file.below);
    for path in replaced.keys().chain(unnamed).filter(|path| !named.contains(*path)) {
        lake.delete(path).await?;
    }
    if let Ok(folder) = lake.url().to_file_path()
        && lake.url().scheme() == "file"
    {
        durable::sweep(&folder, at - ABANDONED).map_err(|error| failure(error, "lake"))?;
    }
    Ok(())
}

/// What published and held days name instead.
struct Change<'a> {
    revision: &'a str,
    replaced: &'a BTreeMap<String, Option<DataFile>>,
    inputs: &'a BTreeMap<InputKey, InputFile>,
}

/// A landed file as it was read: path, bytes, tag.
type InputKey = (String, u64, Option<String>);

/// What landed files are by now: a day was computed from them, and nothing late has come with it.
async fn inputs(lake: &Lake, before: BTreeSet<InputKey>) -> Result<BTreeMap<InputKey, InputFile>> {
    let mut now = BTreeMap::new();
    for key in before {
        let found = lake.store().head(&lake.path(&key.0)).await;
        let meta = match found {
            Ok(meta) => meta,
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(error) => return Err(failure(error, &key.0)),
        };
        let file = InputFile { path: key.0.clone(), size: meta.size, e_tag: meta.e_tag };
        now.insert(key, file);
    }
    Ok(now)
}

impl Change<'_> {
    /// A manifest of the same day, if anything in it is another; kept, with its path.
    async fn manifest(&self, lake: &Lake, manifest: &Manifest) -> Result<Option<(String, Manifest)>> {
        let mut revised = manifest.revised(self.revision, self.replaced);
        for file in revised.inputs.values_mut().flatten() {
            if let Some(now) = self.inputs.get(&(file.path.clone(), file.size, file.e_tag.clone())) {
                *file = now.clone();
            }
        }
        if revised.tables == manifest.tables && revised.inputs == manifest.inputs {
            return Ok(None);
        }
        let path = revised.keep(lake).await?;
        Ok(Some((path, revised)))
    }

    /// Publishes other manifests of all days that change, in one commit, and gives those that nothing names any more.
    async fn published(&self, lake: &Lake, at: DateTime<Utc>) -> Result<Vec<String>> {
        let snapshots = Box::pin(Snapshots::read(lake)).await?;
        let (mut days, mut old) = (Vec::new(), Vec::new());
        for day in snapshots.days() {
            let manifest = Box::pin(snapshots.manifest(day)).await?;
            let Some((path, revised)) = self.manifest(lake, &manifest).await? else { continue };
            let mut row_counts = day.row_counts.clone();
            row_counts.extend(revised.tables.iter().map(|(name, files)| (name.clone(), files.rows())));
            old.push(day.manifest.clone());
            days.push(PublishedDay { manifest: path, row_counts, ..day.clone() });
        }
        Box::pin(snapshots.revise(&days, self.revision, at)).await?;
        Ok(old)
    }

    /// The same for held days.
    async fn held(&self, lake: &Lake) -> Result<Vec<String>> {
        let mut old = Vec::new();
        for held in held::waiting(lake).await? {
            let manifest = Manifest::read(lake, &held.manifest).await?;
            if let Some((path, _)) = self.manifest(lake, &manifest).await? {
                old.push(held.manifest.clone());
                held.revise(lake, path, self.replaced).await?;
            }
        }
        Ok(old)
    }
}

/// Takes people who were forgotten out of landed files again, of those files that were just landed: how many rows.
///
/// # Errors
/// Landed files that cannot be read; what the store refuses.
pub async fn keep_out(
    project: &Project,
    table: landed::Table,
    files: &BTreeSet<String>,
    at: DateTime<Utc>,
) -> Result<u64> {
    if project.forgotten.is_empty() || files.is_empty() {
        return Ok(0);
    }
    let wanted = |of: landed::Table, file: &crate::land::LandedFile| {
        of == table && files.contains(&project.below_lake(&file.name))
    };
    let (landed, _) = Box::pin(plan::landed(project, &project.forgotten, at, wanted)).await?;
    let mut rows = 0;
    for landed in &landed {
        Box::pin(files::rewrite_landed(&project.lake, &landed.of)).await?;
        rows += landed.of.rows.len() as u64;
    }
    Ok(rows)
}
