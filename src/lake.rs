//! The one door to object storage.
//!
//! A `Lake` is a folder, an `s3://`, `gs://` or `az://` prefix, or a process-local `memory://` one. Its store is
//! what Delta Lake's library writes through and what DataFusion reads through, so that every write is durable
//! (`durable`) and every lost answer is settled (`settled`). Nothing else in the crate opens a store.

/// The disk under a lake that is a folder.
pub mod disk;
/// A local folder that keeps what it acknowledged through a power cut.
pub mod durable;
/// Who was forgotten, as keyed hashes.
pub mod forgotten;
/// Whether a file is a whole Parquet file, told without ever panicking.
pub mod inspect;
/// The lake's key, for hashes of personal data.
mod key;
/// The manifest of a day: the exact list of its files.
pub mod manifest;
/// Data files: the same rows give the same bytes.
pub mod parts;
/// Whether a store keeps its word.
mod probe;
/// Published days as plain Parquet scans.
pub mod provider;
/// Commits of Delta logs, read once.
mod remembered;
/// Arrow schemas as Delta Lake and Parquet keep them.
pub mod schema;
/// Writes whose answer was lost are settled by looking.
pub mod settled;
/// The one commit that makes a day visible, and the days that are.
pub mod snapshots;
/// Delta tables: created once, committed once.
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
/// Uploads to a bucket that were begun and never completed.
pub mod uploads;

use std::collections::BTreeMap;
use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};
use url::Url;

use crate::error::{Error, Kind, Result, is_full};

/// The lake: an object-store prefix that holds landed data, snapshot tables and all state.
#[derive(Debug, Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The root, with a slash at its end.
    url: Url,
    /// The root's path within its store.
    prefix: Path,
    store: Arc<settled::SettledStore>,
    /// The same, for the replay of Delta logs.
    log_store: Arc<dyn ObjectStore>,
    /// The same, for what only some buckets tell.
    bucket: Option<uploads::Bucket>,
}

/// What a listing tells of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its path below the lake's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// What changes with the content, where the store has such a thing.
    pub e_tag: Option<String>,
    /// When it was written, by the store's clock.
    pub modified: DateTime<Utc>,
}

/// What became of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is ours.
    Ours,
    /// Somebody else's stood there first.
    Taken,
}

static MEMORY: LazyLock<Arc<InMemory>> = LazyLock::new(|| Arc::new(InMemory::new()));

impl Lake {
    /// Opens a lake; nothing is read or written yet.
    ///
    /// `url` is a folder (a relative one is below `base`), a `file://` URL, or `memory://name`, `s3://`, `s3a://`,
    /// `gs://`, `az://`, `abfs://`, `abfss://` and a prefix. `options` is the environment: the usual variables of the
    /// cloud that the URL names (`AWS_…`, `GOOGLE_…`, `AZURE_…`) are used, all others are not.
    ///
    /// # Errors
    /// `lake.url` for what is no such place, `lake.options` where a cloud's variables don't suffice.
    pub fn open(url: &str, options: &BTreeMap<String, String>, base: &FsPath) -> Result<Lake> {
        let url = url.trim();
        if url.is_empty() {
            return Err(bad_url(url, "it is empty"));
        }
        if !url.contains("://") {
            return Self::local(&base.join(url));
        }
        let parsed = Url::parse(url).map_err(|e| bad_url(url, &e.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let folder = parsed.to_file_path().map_err(|()| bad_url(url, "it names another machine"))?;
                Self::local(&folder)
            }
            "memory" => {
                let name = format!("{}{}", parsed.host_str().unwrap_or_default(), parsed.path());
                let root = Url::parse(&format!("memory:///{}", name.trim_matches('/')))
                    .map_err(|e| bad_url(url, &e.to_string()))?;
                Self::over(&root, Arc::clone(&MEMORY) as Arc<dyn ObjectStore>)
            }
            "s3" | "s3a" => Self::cloud(&parsed, options, "aws_"),
            "gs" => Self::cloud(&parsed, options, "google_"),
            "az" | "azure" | "adl" | "abfs" | "abfss" => Self::cloud(&parsed, options, "azure_"),
            _ => Err(bad_url(url, "this kind of store is not known")),
        }
    }

    /// A lake over a given store, which must be rooted where the URL's host (or bucket, or container) is.
    ///
    /// # Errors
    /// `lake.url` for a URL whose path is no path of a store.
    pub fn over(url: &Url, store: Arc<dyn ObjectStore>) -> Result<Lake> {
        Self::in_bucket(url, store, None)
    }

    fn in_bucket(url: &Url, store: Arc<dyn ObjectStore>, bucket: Option<uploads::Bucket>) -> Result<Lake> {
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        let prefix = Path::from_url_path(url.path()).map_err(|e| bad_url(url.as_str(), &e.to_string()))?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let store = Arc::new(settled::SettledStore::new(store));
        // The system keeps what was read of a disk.
        let log_store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::clone(&store) as Arc<dyn ObjectStore>,
            _ => Arc::new(remembered::RememberedStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>)),
        };
        Ok(Lake { inner: Arc::new(Inner { url, prefix, store, log_store, bucket }) })
    }

    fn local(folder: &FsPath) -> Result<Lake> {
        let folder = resolve(folder)?;
        let url = Url::from_directory_path(&folder)
            .map_err(|()| bad_url(&folder.display().to_string(), "it is no absolute folder"))?;
        Self::over(&url, Arc::new(durable::DurableFileSystem::new()))
    }

    fn cloud(url: &Url, options: &BTreeMap<String, String>, prefix: &str) -> Result<Lake> {
        let options = options
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .filter(|(name, _)| name.starts_with(prefix));
        let (store, bucket) = uploads::open(url, options).map_err(|error| {
            Error::definition("lake.options", format!("the lake `{url}` cannot be opened: {error}"))
                .with_hint("set the bucket or container in `[lake] url`, and the cloud's usual variables")
        })?;
        Self::in_bucket(url, store, bucket)
    }

    /// The root, with a slash at its end.
    pub fn url(&self) -> &Url {
        &self.inner.url
    }

    /// The root as a person would write it: a folder's path, or the URL.
    pub fn place(&self) -> String {
        match self.inner.url.to_file_path() {
            Ok(folder) if self.inner.url.scheme() == "file" => folder.display().to_string(),
            _ => self.inner.url.to_string(),
        }
    }

    /// The store, rooted where the URL's host is: paths in it begin with the lake's own prefix, see [`Lake::path`].
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.store) as Arc<dyn ObjectStore>
    }

    /// How many answers its store has given since it was opened.
    pub fn answers(&self) -> u64 {
        self.inner.store.answers()
    }

    /// The store for replaying Delta logs: commits that were read are not asked for again.
    pub(crate) fn log_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.log_store)
    }

    /// The name under which DataFusion knows the store.
    pub fn store_url(&self) -> ObjectStoreUrl {
        let root = &self.inner.url[..url::Position::BeforePath];
        ObjectStoreUrl::parse(root).unwrap_or_else(|_| ObjectStoreUrl::local_filesystem())
    }

    /// Makes the store that of its URL in a runtime. Must come before anything is planned there: DataFusion brings a
    /// store of its own for local files, whose writes are not durable.
    pub fn register(&self, runtime: &RuntimeEnv) {
        runtime.register_object_store(self.store_url().as_ref(), self.store());
    }

    /// The path in the store of a path below the lake's root.
    pub fn path(&self, below: &str) -> Path {
        below.split('/').filter(|part| !part.is_empty()).fold(self.inner.prefix.clone(), |path, part| path.join(part))
    }

    /// The URL of a path below the lake's root.
    pub fn url_of(&self, below: &str) -> Url {
        let mut url = self.inner.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(below.split('/').filter(|part| !part.is_empty()));
        }
        url
    }

    /// The path below the root of a path in the store.
    pub fn below(&self, path: &Path) -> Option<String> {
        let parts = path.prefix_match(&self.inner.prefix)?;
        Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
    }

    /// Writes an object that must not be there yet. `body` must hold something that no other writer's body has.
    ///
    /// # Errors
    /// What the store refuses. That somebody was faster is [`Created::Taken`].
    pub async fn put_new(&self, below: &str, body: impl Into<Bytes>) -> Result<Created> {
        let body: Bytes = body.into();
        match self.inner.store.put_opts(&self.path(below), body.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(Created::Ours),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Taken),
            Err(error) => Err(failure(error, below)),
        }
    }

    /// Writes an object, over what stands there.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn put(&self, below: &str, body: impl Into<Bytes>) -> Result<()> {
        let body: Bytes = body.into();
        self.inner.store.put(&self.path(below), body.into()).await.map(drop).map_err(|e| failure(e, below))
    }

    /// The content of an object, `None` where there is none.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn find(&self, below: &str) -> Result<Option<Bytes>> {
        let found = match self.inner.store.get(&self.path(below)).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure(error, below)),
        }
    }

    /// The content of an object.
    ///
    /// # Errors
    /// `lake.not_found`, and what the store refuses.
    pub async fn get(&self, below: &str) -> Result<Bytes> {
        self.find(below).await?.ok_or_else(|| missing(below))
    }

    /// Whether there is an object.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn exists(&self, below: &str) -> Result<bool> {
        match self.inner.store.head(&self.path(below)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failure(error, below)),
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn delete(&self, below: &str) -> Result<()> {
        match self.inner.store.delete(&self.path(below)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure(error, below)),
        }
    }

    /// The objects below a folder of the lake, sorted by path.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn list(&self, below: &str) -> Result<Vec<Object>> {
        self.listed(below, self.inner.store.list(Some(&self.path(below)))).await
    }

    /// The objects below a folder of the lake whose path comes after `after` (below the lake's root too), sorted by path.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn list_after(&self, below: &str, after: &str) -> Result<Vec<Object>> {
        let listing = self.inner.store.list_with_offset(Some(&self.path(below)), &self.path(after));
        self.listed(below, listing).await
    }

    async fn listed(
        &self,
        below: &str,
        mut listing: BoxStream<'static, object_store::Result<ObjectMeta>>,
    ) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        while let Some(meta) = listing.try_next().await.map_err(|e| failure(e, below))? {
            if let Some(path) = self.below(&meta.location) {
                objects.push(Object { path, size: meta.size, e_tag: meta.e_tag, modified: meta.last_modified });
            }
        }
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(objects)
    }
}

fn bad_url(url: &str, why: &str) -> Error {
    Error::definition("lake.url", format!("`{url}` is no lake: {why}"))
        .with_hint("write a folder, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`")
}

fn missing(below: &str) -> Error {
    Error::not_found("lake.not_found", format!("the lake has no `{below}`"))
}

/// The absolute folder, symbolic links resolved as far as it exists, so that a link changed later cannot split a lake.
fn resolve(folder: &FsPath) -> Result<PathBuf> {
    let absolute = std::path::absolute(folder)?;
    let mut exists = absolute.as_path();
    let mut rest = Vec::new();
    let mut resolved = loop {
        match (exists.canonicalize(), exists.parent()) {
            (Ok(resolved), _) => break resolved,
            (Err(_), Some(parent)) => {
                rest.extend(exists.components().next_back());
                exists = parent;
            }
            (Err(_), None) => break exists.to_path_buf(),
        }
    };
    for component in rest.into_iter().rev() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(resolved)
}

/// A store's refusal, by what the caller may do about it. A full disk is told from a store that may work later.
pub(crate) fn failure(error: object_store::Error, place: &str) -> Error {
    if is_full(&error) {
        return full(error, place);
    }
    let (kind, code) = class(&error);
    Error::new(kind, code, error.to_string()).in_file(place).with_source(error)
}

fn full(error: impl std::error::Error + Send + Sync + 'static, place: &str) -> Error {
    Error::new(Kind::Resources, "lake.full", "the disk of the lake is full")
        .in_file(place)
        .with_hint("make room, then run the day again; what is published is untouched")
        .with_source(error)
}

/// A store's refusal, classified.
fn class(error: &object_store::Error) -> (Kind, &'static str) {
    use object_store::Error as Store;
    match error {
        Store::NotFound { .. } => (Kind::NotFound, "lake.not_found"),
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => (Kind::Storage, "lake.denied"),
        Store::AlreadyExists { .. } | Store::Precondition { .. } => (Kind::Superseded, "lake.already_exists"),
        Store::Generic { .. } | Store::JoinError { .. } => (Kind::Transient, "lake.store"),
        _ => (Kind::Storage, "lake.store"),
    }
}

/// A refusal that travels inside another library's error: a store that may work later is told from a broken lake, and from a
/// full disk.
pub(crate) fn wrapped(
    error: impl std::error::Error + Send + Sync + 'static,
    fallback: (Kind, &'static str),
    place: &str,
) -> Error {
    if is_full(&error) {
        return full(error, place);
    }
    let mut found = fallback;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<object_store::Error>() {
            found = class(refusal);
        }
        cause = inner.source();
    }
    Error::new(found.0, found.1, error.to_string()).in_file(place).with_source(error)
}

#[cfg(test)]
mod tests;
