//! Landing files by hand: Parquet, CSV and JSON Lines in the contract's shape, each whole or not at all.
//!
//! Every file is read twice. The first reading goes to its last byte, finds every fault, the columns and the hash; the
//! second, begun only when all files are free of faults, writes Parquet into an upload that becomes visible at its end.
//! A file's name in the lake is the hash of its bytes, so that landing it again finds it there. Text stays as it was
//! written, for the run to read and to reject; only times without an offset are given one, which no run could know.

/// A file's columns against the contract's.
mod columns;
/// CSV.
mod csv;
/// JSON Lines.
mod json;
/// Parquet.
mod parquet;
/// Files of other programs, as they are written.
pub(in crate::land) mod raw;
/// Files, compressed or not, and their hash.
mod source;
/// From text files to rows.
mod text;
/// Times without an offset.
mod times;
/// From rows to the parts of an upload.
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::mpsc::{Receiver, Sender};

use super::TableOptions;
use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::lake::inspect;
use crate::schema::landed::{Reading, Table};
use columns::Column;
use source::{Format, Hash, Input};
use write::Writer;

/// Files to land.
#[derive(Debug, Clone)]
pub struct Request {
    /// The landed table.
    pub table: Table,
    /// The files, in the order in which they are landed.
    pub files: Vec<PathBuf>,
    /// The zone of text times without an offset.
    pub zone: Zone,
    /// The `dt=` folder of files that do not lie in one themselves.
    pub land_day: NaiveDate,
    /// What the project says about the table: which columns stand for those of the contract.
    pub settings: TableOptions,
    /// How declared fields of customers are read, by their columns.
    pub fields: BTreeMap<String, Reading>,
}

/// A file that was landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file.
    pub file: PathBuf,
    /// Where it is in the lake.
    pub path: Path,
    /// Its rows.
    pub rows: u64,
    /// Whether the same bytes had been landed before, and nothing was changed.
    pub already: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What the first reading of a file found.
#[derive(Debug)]
struct Checked {
    content: Content,
    hash: Hash,
    rows: u64,
    /// Whether text times are given an offset, so that the landed bytes depend on the zone.
    converts: bool,
    warnings: Vec<String>,
}

/// How a file is landed.
#[derive(Debug)]
enum Content {
    /// Byte for byte.
    Copy,
    /// Parquet with text times in these columns.
    Parquet {
        texts: Vec<String>,
    },
    Csv {
        separator: u8,
        columns: Vec<Column>,
    },
    JsonLines {
        columns: Vec<Column>,
    },
}

/// Lands files into `<landing>/<table>/dt=<day>/<hash>.parquet`, where the hash is the first 16 hexadecimal digits of the
/// SHA-256 of the file's bytes. A file that lies in a `dt=` folder keeps that day. Bytes that any day's folder has
/// already are not landed again.
///
/// All files are checked before the first is landed.
///
/// # Errors
/// `land.*` for what is wrong with a file, which is named, with line and column where it has lines; those of the store.
/// Of the file that fails nothing is visible, and nothing changes that was landed before it.
pub async fn import(store: &Arc<dyn ObjectStore>, landing: &Path, request: &Request) -> Result<Vec<Imported>> {
    if request.files.is_empty() {
        return Err(Error::usage("land.no_files", "name at least one file to land"));
    }
    let request = Arc::new(request.clone());
    let mut checked = Vec::with_capacity(request.files.len());
    for file in &request.files {
        checked.push(check(&request, file).await?);
    }
    let folder = landing.clone().join(request.table.name());
    let mut landed = landed_names(store, &folder).await?;
    let mut imported = Vec::with_capacity(checked.len());
    for (file, checked) in request.files.iter().zip(checked) {
        let name = file_name(&checked.hash);
        let (rows, mut warnings) = (checked.rows, checked.warnings.clone());
        if rows == 0 {
            warnings.push("the file has no rows".to_owned());
        }
        if let Some(path) = landed.get(&name) {
            if checked.converts {
                warnings.extend(other_zone(store, path, request.zone).await?);
            }
            imported.push(Imported { file: file.clone(), path: path.clone(), rows, already: true, warnings });
            continue;
        }
        let day = folder_day(file).unwrap_or(request.land_day);
        let path = folder.clone().join(format!("dt={day}")).join(name.as_str());
        Box::pin(land_file(store, &path, file, checked, request.zone)).await?;
        landed.insert(name, path.clone());
        imported.push(Imported { file: file.clone(), path, rows, already: false, warnings });
    }
    Ok(imported)
}

/// The second reading of a file, into the upload of its landed form.
async fn land_file(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    file: &std::path::Path,
    checked: Checked,
    zone: Zone,
) -> Result<()> {
    let from = file.to_owned();
    let work = move |sender| {
        let (rows, hash) = write(&from, &checked, zone, sender)?;
        if hash == checked.hash && rows == checked.rows {
            return Ok(());
        }
        Err(Error::input("land.file_changed", "the file was changed while it was landed").with_hint("land it again"))
    };
    upload(store, path, &shown(file), work).await
}

fn shown(file: &std::path::Path) -> String {
    file.display().to_string()
}

fn file_name(hash: &Hash) -> String {
    let digits: String = hex::encode(hash).chars().take(16).collect();
    format!("{digits}.parquet")
}

/// The day of the `dt=` folder that a file lies in.
fn folder_day(file: &std::path::Path) -> Option<NaiveDate> {
    let day = |part: &std::ffi::OsStr| NaiveDate::parse_from_str(part.to_str()?.strip_prefix("dt=")?, "%Y-%m-%d").ok();
    file.parent()?.iter().filter_map(day).next_back()
}

/// The table's files by their names, whatever day they were landed for; the first in path order where there are several.
async fn landed_names(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<BTreeMap<String, Path>> {
    let mut names: BTreeMap<String, Path> = BTreeMap::new();
    let mut found = store.list(Some(folder));
    while let Some(meta) = found.try_next().await? {
        let Some(name) = meta.location.filename().map(str::to_owned) else { continue };
        match names.get(&name) {
            Some(known) if *known <= meta.location => {}
            _ => {
                names.insert(name, meta.location);
            }
        }
    }
    Ok(names)
}

/// Tells that a file was landed with its times read in another zone.
async fn other_zone(store: &Arc<dyn ObjectStore>, path: &Path, zone: Zone) -> Result<Option<String>> {
    let size = store.head(path).await?.size;
    let inspected = inspect::parquet(store.as_ref(), path, size).await?;
    let keys = inspected.metadata.file_metadata().key_value_metadata();
    let landed =
        keys.into_iter().flatten().find(|pair| pair.key == write::ZONE_KEY).and_then(|pair| pair.value.clone());
    Ok(landed.filter(|landed| landed != zone.name()).map(|landed| {
        format!(
            "it was landed with its times read in {landed}; to read them in {zone}, delete {path} and land it again"
        )
    }))
}

/// The first reading of a file.
async fn check(request: &Arc<Request>, file: &std::path::Path) -> Result<Checked> {
    let shown = shown(file);
    let (path, owned, name) = (file.to_owned(), Arc::clone(request), shown.clone());
    let text = blocking(&shown, move || {
        let input = Input::open(&path)?;
        match input.format(&path)? {
            Format::Csv => text::check_csv(input, &owned, &name).map(Some),
            Format::JsonLines => text::check_json(input, &owned, &name).map(Some),
            Format::Parquet => Ok(None),
        }
    })
    .await?;
    if let Some(checked) = text {
        return Ok(checked);
    }
    let (path, owned, name) = (file.to_owned(), Arc::clone(request), shown.clone());
    let metadata = {
        let path = path.clone();
        // A task of its own, since a hostile footer may panic in the library that reads it.
        let read = tokio::spawn(async move { parquet::footer(&path).await });
        settled(read.await).map_err(|error| error.in_file(shown.as_str()))?
    };
    blocking(&shown, move || parquet::check(&path, metadata, &owned, &name)).await
}

/// Writes what is landed of a file: its rows, and the hash of what was read.
fn write(file: &std::path::Path, checked: &Checked, zone: Zone, sender: Sender<Bytes>) -> Result<(u64, Hash)> {
    let told = checked.converts.then_some(zone);
    match &checked.content {
        Content::Copy => Ok((checked.rows, parquet::copy(file, sender)?)),
        Content::Parquet { texts } => parquet::rewrite(file, texts, zone, sender),
        Content::Csv { separator, columns } => {
            let mut writer = Writer::new(columns::schema(columns), told, sender)?;
            let hash = text::write_csv(Input::open(file)?, *separator, columns, zone, &mut writer)?;
            finish(writer, hash)
        }
        Content::JsonLines { columns } => {
            let mut writer = Writer::new(columns::schema(columns), told, sender)?;
            let hash = text::write_json(Input::open(file)?, columns, zone, &mut writer)?;
            finish(writer, hash)
        }
    }
}

fn finish(writer: Writer, hash: Hash) -> Result<(u64, Hash)> {
    let rows = writer.rows;
    writer.finish()?;
    Ok((rows, hash))
}

/// Runs what reads a file on a thread that may wait, and turns its panics into errors.
async fn blocking<T: Send + 'static>(shown: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    settled(tokio::task::spawn_blocking(work).await).map_err(|error| error.in_file(shown))
}

fn settled<T>(joined: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match joined {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            Err(Error::input("land.unreadable_file", "the file contradicts itself and cannot be read")
                .with_hint("write the file again, or send it again"))
        }
        Err(error) => Err(Error::internal("land.import", error.to_string())),
    }
}

/// Uploads what `work` hands over; nothing is visible unless all of it succeeds.
async fn upload(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    shown: &str,
    work: impl FnOnce(Sender<Bytes>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut upload = store.put_multipart(path).await?;
    let reading = tokio::task::spawn_blocking(move || work(sender));
    let sent = send(upload.as_mut(), receiver).await;
    let read = settled(reading.await).map_err(|error| error.in_file(shown));
    // Where the store failed, the reader's only complaint is that nobody listens.
    let result = match sent.and(read) {
        Ok(()) => upload.complete().await.map(drop).map_err(Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        // The failure that matters is the first; stores drop unfinished uploads in the end.
        if let Err(second) = upload.abort().await {
            tracing::debug!(%second, "an unfinished upload could not be taken back");
        }
        return Err(error);
    }
    Ok(())
}

async fn send(upload: &mut dyn object_store::MultipartUpload, mut parts: Receiver<Bytes>) -> Result<()> {
    while let Some(part) = parts.recv().await {
        upload.put_part(part.into()).await?;
    }
    Ok(())
}
