//! The manifest of a day: the exact list of its files.
//!
//! A table's version also holds what held or dead runs committed, and stops opening once its log is cleaned. So a day
//! is read from its manifest, never from "the table at a version", and upkeep keeps what a live manifest names.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use chrono::NaiveDate;
use deltalake_core::kernel::StructType;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::lake::parts::DataFile;
use crate::lake::schema::{from_delta, to_delta};
use crate::lake::{Created, Lake, failure};

/// The version of the manifest's own layout.
const FORMAT: u32 = 1;
/// Files read at once.
const AT_ONCE: usize = 8;

/// Everything that a published day is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this layout.
    pub format: u32,
    /// Makes this body differ from that of every other writer.
    pub nonce: String,
    /// The day.
    pub as_of: NaiveDate,
    /// The day before it, as published when this one was computed.
    pub previous: Option<Previous>,
    /// The run that computed it.
    pub run_id: String,
    /// Which one of the run's manifests it is: people who were forgotten since are not in the files of a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The release that computed it.
    pub engine: String,
    /// The shop's time zone.
    pub timezone: String,
    /// The hash of each definition that the day depends on: segments, settings, overridden statements.
    pub definitions: BTreeMap<String, String>,
    /// The lifecycle model, where there is one.
    pub model: Option<String>,
    /// The landed files that were read, by table.
    pub inputs: BTreeMap<String, Vec<InputFile>>,
    /// The day's files, by table.
    pub tables: BTreeMap<String, TableFiles>,
}

/// The published day that a day compares itself with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// That day.
    pub as_of: NaiveDate,
    /// The run that published it.
    pub run_id: String,
    /// Its manifest, below the lake's root.
    pub manifest: String,
}

/// A landed file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its path below the lake's root, or its URL where it lies elsewhere.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// What changes with the content, where the store has such a thing.
    pub e_tag: Option<String>,
}

/// The files of one table that a day is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableFiles {
    /// The files, in the order of their rows.
    pub files: Vec<DataFile>,
    /// Their columns, as Delta Lake writes a schema; without `as_of`.
    schema: StructType,
}

impl TableFiles {
    /// A day's files of one table, with their columns.
    ///
    /// # Errors
    /// `lake.column_type` for a type that Delta Lake has not.
    pub fn new(files: Vec<DataFile>, schema: &Schema) -> Result<Self> {
        Ok(Self { files, schema: to_delta(schema)? })
    }

    /// The columns of the files, without `as_of`.
    ///
    /// # Errors
    /// `lake.column_type` for a type that Arrow has not.
    pub fn schema(&self) -> Result<SchemaRef> {
        from_delta(&self.schema).map(Arc::new)
    }

    /// Puts other files in the place of some, or none.
    pub fn replace(&mut self, replaced: &BTreeMap<String, Option<DataFile>>) {
        let files = std::mem::take(&mut self.files).into_iter();
        self.files = files
            .filter_map(|file| match replaced.get(&file.path) {
                Some(other) => other.clone(),
                None => Some(file),
            })
            .collect();
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

impl Manifest {
    /// A manifest without inputs and tables yet.
    pub fn new(as_of: NaiveDate, run_id: impl Into<String>, timezone: impl Into<String>) -> Self {
        Self {
            format: FORMAT,
            nonce: uuid::Uuid::now_v7().to_string(),
            as_of,
            previous: None,
            run_id: run_id.into(),
            revision: None,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            timezone: timezone.into(),
            definitions: BTreeMap::new(),
            model: None,
            inputs: BTreeMap::new(),
            tables: BTreeMap::new(),
        }
    }

    /// Where it is kept, below the lake's root.
    pub fn path(&self) -> String {
        match &self.revision {
            Some(revision) => format!("snapshots/{}/{}-{revision}.json", self.as_of, self.run_id),
            None => format!("snapshots/{}/{}.json", self.as_of, self.run_id),
        }
    }

    /// The same day with other files in the place of some: what `alluvial forget` publishes.
    #[must_use]
    pub fn revised(&self, revision: &str, replaced: &BTreeMap<String, Option<DataFile>>) -> Self {
        let mut revised = self.clone();
        revised.revision = Some(revision.to_owned());
        revised.nonce = uuid::Uuid::now_v7().to_string();
        for table in revised.tables.values_mut() {
            table.replace(replaced);
        }
        revised
    }

    /// Keeps it, once.
    ///
    /// # Errors
    /// `lake.manifest_taken` where the run has another manifest for the day already; what the store refuses.
    pub async fn keep(&self, lake: &Lake) -> Result<String> {
        let path = self.path();
        let body = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::internal("lake.manifest", e.to_string()).with_source(e))?;
        match lake.put_new(&path, body).await? {
            Created::Ours => Ok(path),
            Created::Taken => Err(Error::new(
                Kind::Superseded,
                "lake.manifest_taken",
                "the run has another manifest for this day already",
            )
            .in_file(path)),
        }
    }

    /// Reads the manifest at a path below the lake's root.
    ///
    /// # Errors
    /// `lake.not_found`; `lake.manifest` for what is no manifest, or one of a later release.
    pub async fn read(lake: &Lake, path: &str) -> Result<Manifest> {
        let body = lake.get(path).await?;
        let bad = |why: String| {
            Error::storage("lake.manifest", format!("this manifest cannot be read: {why}"))
                .in_file(path)
                .with_hint("run the day again; a day is read from its manifest only")
        };
        let manifest: Manifest = serde_json::from_slice(&body).map_err(|e| bad(e.to_string()).with_source(e))?;
        if manifest.format > FORMAT {
            return Err(bad(format!("it was written by a later release, {}", manifest.engine)));
        }
        Ok(manifest)
    }

    /// Keeps it over what is kept under its path: upkeep takes tables out of a day's manifest, and nothing else changes one.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn keep_again(&self, lake: &Lake) -> Result<()> {
        let body = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::internal("lake.manifest", e.to_string()).with_source(e))?;
        lake.put(&self.path(), body).await
    }

    /// Reads every file of the day and compares size and CRC32C.
    ///
    /// # Errors
    /// `lake.damaged` for the first file that differs, `lake.not_found` for one that is gone; what the store refuses.
    pub async fn verify(&self, lake: &Lake) -> Result<()> {
        let files = self.tables.values().flat_map(|table| &table.files);
        futures::stream::iter(files.map(|file| Box::pin(verify_file(lake, file))))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }
}

/// Reads one file and compares size and CRC32C.
///
/// # Errors
/// `lake.damaged`, `lake.not_found`, and what the store refuses.
pub async fn verify_file(lake: &Lake, file: &DataFile) -> Result<()> {
    let refused = |error| failure(error, &file.path);
    let mut body = lake.store().get(&lake.path(&file.path)).await.map_err(refused)?.into_stream();
    let (mut size, mut crc32c) = (0_u64, 0_u32);
    while let Some(bytes) = body.try_next().await.map_err(refused)? {
        size += bytes.len() as u64;
        crc32c = crc32c::crc32c_append(crc32c, &bytes);
    }
    if (size, crc32c) == (file.size, file.crc32c) {
        return Ok(());
    }
    Err(Error::storage(
        "lake.damaged",
        format!(
            "{size} bytes with CRC32C {crc32c:08x} are there, {} bytes with {:08x} were written",
            file.size, file.crc32c
        ),
    )
    .in_file(file.path.clone())
    .with_hint("restore the file from a backup, or run the day again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::testing;

    fn day() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 19).unwrap()
    }

    #[tokio::test]
    async fn it_is_kept_once_and_comes_back() {
        let lake = testing::memory();
        let mut manifest = Manifest::new(day(), "run-1", "Europe/Copenhagen");
        manifest.tables.insert(
            "segment_members".to_owned(),
            TableFiles::new(
                vec![DataFile { path: "tables/x".to_owned(), size: 3, rows: 1, crc32c: u32::MAX }],
                &Schema::new(crate::schema::published::named("segment_members").unwrap().columns),
            )
            .unwrap(),
        );
        let path = manifest.keep(&lake).await.unwrap();
        assert_eq!(path, "snapshots/2026-11-19/run-1.json");
        assert_eq!(Manifest::read(&lake, &path).await.unwrap(), manifest);
        let rival = Manifest::new(day(), "run-1", "Europe/Copenhagen");
        assert_eq!(rival.keep(&lake).await.unwrap_err().code(), "lake.manifest_taken");
        // The same body again is the same manifest: a lost answer is no rival.
        assert_eq!(manifest.keep(&lake).await.unwrap(), path);
    }

    #[tokio::test]
    async fn what_is_no_manifest_is_told() {
        let lake = testing::memory();
        assert_eq!(Manifest::read(&lake, "snapshots/a.json").await.unwrap_err().code(), "lake.not_found");
        lake.put("snapshots/a.json", "{").await.unwrap();
        assert_eq!(Manifest::read(&lake, "snapshots/a.json").await.unwrap_err().code(), "lake.manifest");
        let mut later = Manifest::new(day(), "run-1", "UTC");
        later.format = 99;
        lake.put("snapshots/b.json", serde_json::to_vec(&later).unwrap()).await.unwrap();
        assert_eq!(Manifest::read(&lake, "snapshots/b.json").await.unwrap_err().code(), "lake.manifest");
    }

    #[tokio::test]
    async fn a_flipped_bit_is_found() {
        let lake = testing::memory();
        let body = b"some bytes of a data file".to_vec();
        lake.put("tables/t/part.parquet", body.clone()).await.unwrap();
        let file = DataFile {
            path: "tables/t/part.parquet".to_owned(),
            size: body.len() as u64,
            rows: 1,
            crc32c: crc32c::crc32c(&body),
        };
        let mut manifest = Manifest::new(day(), "run-1", "UTC");
        manifest.tables.insert("t".to_owned(), TableFiles::new(vec![file], &Schema::empty()).unwrap());
        manifest.verify(&lake).await.unwrap();
        let mut damaged = body;
        damaged[7] ^= 4;
        lake.put("tables/t/part.parquet", damaged).await.unwrap();
        let error = manifest.verify(&lake).await.unwrap_err();
        assert_eq!(error.code(), "lake.damaged");
        assert_eq!(error.place().file.as_deref(), Some("tables/t/part.parquet"));
    }
}
