//! A local folder that keeps what it acknowledged through a power cut.
//!
//! `object_store` never calls fsync: after a power cut the newest commits of a Delta table were found empty, and the
//! table opened without complaint at an older day. Here every write is temporary file → fsync → link (create) or
//! rename (overwrite) → fsync of the folder, and so is every folder made on the way. Reads and listings are
//! `LocalFileSystem`'s, whose listing hides names that end in `#` and digits: those are the temporary files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

const STORE: &str = "local folder";

/// The whole local file system as an object store with durable writes.
#[derive(Debug, Clone)]
pub struct DurableFileSystem {
    files: Arc<LocalFileSystem>,
}

impl DurableFileSystem {
    /// The file system, rooted at `/`.
    pub fn new() -> Self {
        Self { files: Arc::new(LocalFileSystem::new()) }
    }
}

impl Default for DurableFileSystem {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for DurableFileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DurableFileSystem")
    }
}

/// Which of two writers of one name wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publish {
    /// The first: the name must be free.
    Create,
    /// The last.
    Overwrite,
}

fn failed(what: &str, path: &FsPath, source: io::Error) -> Error {
    let text = path.display().to_string();
    match source.kind() {
        ErrorKind::NotFound => Error::NotFound { path: text, source: Box::new(source) },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: text, source: Box::new(source) },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::PermissionDenied { path: text, source: Box::new(source) }
        }
        kind => Error::Generic {
            store: STORE,
            source: Box::new(io::Error::new(kind, format!("cannot {what} {text}: {source}"))),
        },
    }
}

/// Runs file-system work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}

fn sync_folder(folder: &FsPath) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| failed("flush the folder", folder, e))
}

/// Makes `folder` and what is missing above it; every new name is flushed into the folder that holds it.
fn make_folder(folder: &FsPath) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent();
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => {}
        // Somebody else made it just now, and may not have flushed it yet.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        // A file in the folder's place is no rival of the object that is to be written.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(failed("make the folder", folder, ErrorKind::NotADirectory.into()));
        }
        Err(error) => return Err(failed("make the folder", folder, error)),
    }
    parent.map_or(Ok(()), sync_folder)
}

/// A file under a temporary name beside its destination; removed when dropped, unless published.
#[derive(Debug)]
struct Staged {
    file: Option<File>,
    temporary: PathBuf,
    destination: PathBuf,
}

impl Staged {
    fn new(destination: PathBuf) -> Result<Self> {
        if let Some(folder) = destination.parent() {
            make_folder(folder)?;
        }
        let mut temporary = destination.clone().into_os_string();
        // The store hides names that end in `#` and digits.
        temporary.push(format!("#{}", uuid::Uuid::now_v7().as_u128()));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(|e| failed("write", &destination, e))?;
        Ok(Self { file: Some(file), temporary, destination })
    }

    fn write_at(&mut self, offset: u64, payload: &PutPayload) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Err(failed("write", &self.destination, ErrorKind::BrokenPipe.into()));
        };
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| payload.iter().try_for_each(|bytes| file.write_all(bytes)))
            .map_err(|e| failed("write", &self.destination, e))
    }

    fn publish(&mut self, publish: Publish) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Err(failed("write", &self.destination, ErrorKind::BrokenPipe.into()));
        };
        file.sync_all().map_err(|e| failed("flush", &self.destination, e))?;
        // Some network file systems only upload a file once it is closed.
        drop(file);
        match publish {
            Publish::Create => fs::hard_link(&self.temporary, &self.destination),
            Publish::Overwrite => fs::rename(&self.temporary, &self.destination),
        }
        .map_err(|e| failed("publish", &self.destination, e))?;
        if publish == Publish::Create {
            // What stays behind is a hidden second name; the sweep removes it.
            let _ = fs::remove_file(&self.temporary);
        }
        self.destination.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Whether a name is that of a temporary file: it ends in `#` and digits.
pub(super) fn is_staged(name: &std::ffi::OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, digits)| digits);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes the temporary files below a folder that were last written before `before`: what a killed writer left. The
/// store hides them, so that nothing else ever finds them. Gives how many there were.
///
/// # Errors
/// A folder that cannot be read.
pub fn sweep(folder: &FsPath, before: DateTime<Utc>) -> Result<u64> {
    let mut swept = 0;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed("read the folder", folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| failed("read the folder", folder, e))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| failed("look at", &path, e))?;
        if kind.is_dir() {
            swept += sweep(&path, before)?;
            continue;
        }
        let is_temporary = is_staged(&entry.file_name());
        let written = entry.metadata().and_then(|meta| meta.modified()).map(DateTime::<Utc>::from);
        if is_temporary && written.is_ok_and(|written| written < before) && fs::remove_file(&path).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

#[async_trait]
impl ObjectStore for DurableFileSystem {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let publish = match options.mode {
            PutMode::Create => Publish::Create,
            PutMode::Overwrite => Publish::Overwrite,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "compare and swap".to_owned(),
                    implementer: self.to_string(),
                });
            }
        };
        let destination = self.files.path_to_filesystem(location)?;
        blocking(move || {
            // Spares the write where the answer is known; the link decides.
            if publish == Publish::Create && destination.exists() {
                return Err(failed("create", &destination, ErrorKind::AlreadyExists.into()));
            }
            let mut staged = Staged::new(destination)?;
            staged.write_at(0, &payload)?;
            staged.publish(publish)?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let destination = self.files.path_to_filesystem(location)?;
        let staged = blocking(move || Staged::new(destination)).await?;
        Ok(Box::new(DurableUpload { staged: Some(Arc::new(Mutex::new(staged))), offset: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let files = Arc::clone(&self.files);
        self.files
            .delete_stream(locations)
            .then(move |deleted| {
                let files = Arc::clone(&files);
                async move {
                    let location = deleted?;
                    let path = files.path_to_filesystem(&location)?;
                    // An erased person must not come back after a power cut.
                    blocking(move || path.parent().map_or(Ok(()), sync_folder)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let destination = self.files.path_to_filesystem(to)?;
        let folder = destination.parent().map(FsPath::to_path_buf);
        if let Some(folder) = folder.clone() {
            blocking(move || make_folder(&folder)).await?;
        }
        self.files.copy_opts(from, to, options).await?;
        blocking(move || {
            File::open(&destination).and_then(|f| f.sync_all()).map_err(|e| failed("flush", &destination, e))?;
            folder.as_deref().map_or(Ok(()), sync_folder)
        })
        .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let source = self.files.path_to_filesystem(from)?;
        let destination = self.files.path_to_filesystem(to)?;
        let folder = destination.parent().map(FsPath::to_path_buf);
        if let Some(folder) = folder.clone() {
            blocking(move || make_folder(&folder)).await?;
        }
        self.files.rename_opts(from, to, options).await?;
        blocking(move || {
            folder.as_deref().map_or(Ok(()), sync_folder)?;
            source.parent().map_or(Ok(()), sync_folder)
        })
        .await
    }
}

/// A large file written in parts; visible once it is complete and flushed.
#[derive(Debug)]
struct DurableUpload {
    staged: Option<Arc<Mutex<Staged>>>,
    offset: u64,
}

fn closed() -> Error {
    Error::Generic { store: STORE, source: "the upload is closed".into() }
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let offset = self.offset;
        self.offset += payload.content_length() as u64;
        let Some(staged) = self.staged.clone() else {
            return futures::future::ready(Err(closed())).boxed();
        };
        blocking(move || staged.lock().unwrap_or_else(PoisonError::into_inner).write_at(offset, &payload)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(closed)?;
        blocking(move || {
            staged.lock().unwrap_or_else(PoisonError::into_inner).publish(Publish::Overwrite)?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.take().ok_or_else(closed)?;
        blocking(move || {
            drop(staged);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;

    fn at(folder: &tempfile::TempDir, name: &str) -> Path {
        Path::from_absolute_path(folder.path()).unwrap().join("deep").join("er").join(name)
    }

    #[tokio::test]
    async fn a_second_create_conflicts_and_an_overwrite_wins() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFileSystem::new();
        let path = at(&folder, "a.json");
        store.put_opts(&path, "one".into(), PutMode::Create.into()).await.unwrap();
        let again = store.put_opts(&path, "two".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        store.put(&path, "three".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        let left: Vec<_> = fs::read_dir(folder.path().join("deep/er")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays: {left:?}");
    }

    #[tokio::test]
    async fn of_many_racers_one_creates() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFileSystem::new();
        for round in 0..20 {
            let path = at(&folder, &format!("{round}.json"));
            let racers = (0..8).map(|racer| {
                let (store, path) = (store.clone(), path.clone());
                async move { store.put_opts(&path, format!("racer {racer}").into(), PutMode::Create.into()).await }
            });
            let won = futures::future::join_all(racers).await.into_iter().filter(Result::is_ok).count();
            assert_eq!(won, 1);
        }
    }

    #[tokio::test]
    async fn temporary_files_are_not_listed_and_an_unfinished_upload_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFileSystem::new();
        let path = at(&folder, "part.parquet");
        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part("half".into()).await.unwrap();
        assert_eq!(fs::read_dir(folder.path().join("deep/er")).unwrap().count(), 1);
        let prefix = Path::from_absolute_path(folder.path()).unwrap();
        assert_eq!(store.list(Some(&prefix)).count().await, 0);
        assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
        upload.put_part(" and half".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "half and half");

        let mut upload = store.put_multipart(&at(&folder, "gone.parquet")).await.unwrap();
        upload.put_part("half".into()).await.unwrap();
        upload.abort().await.unwrap();
        drop(upload);
        assert_eq!(fs::read_dir(folder.path().join("deep/er")).unwrap().count(), 1);
    }
}
