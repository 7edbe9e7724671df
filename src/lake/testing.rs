//! Stores that misbehave on purpose, and small rows, for the tests of this floor.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::lake::Lake;

/// What goes wrong with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It never arrives.
    LostRequest,
    /// It arrives, and the answer is an error of the server or the wire.
    LostAnswer,
    /// It arrives, and the client's own repetition finds it.
    LostAnswerThenRival,
    /// The same, as Azure puts it.
    LostAnswerThenPrecondition,
    /// A conditional write ignores its condition.
    Unconditional,
    /// Listings show nothing.
    BlindListing,
}

/// A store that counts what is read, and whose creates misbehave.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    /// The fault strikes names that hold this.
    strikes: &'static str,
    /// How many writes are spared before it strikes, once.
    pub(crate) spared: AtomicUsize,
    once: bool,
    /// Reads so far.
    pub(crate) reads: AtomicUsize,
}

impl FaultyStore {
    /// Every create fails.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, fault: Fault) -> Self {
        Self { inner, fault, strikes: "", spared: AtomicUsize::new(0), once: false, reads: AtomicUsize::new(0) }
    }

    /// One create fails: that of a name that holds `strikes`, after `spared` others.
    pub(crate) fn once(inner: Arc<dyn ObjectStore>, fault: Fault, strikes: &'static str, spared: usize) -> Self {
        Self { inner, fault, strikes, spared: AtomicUsize::new(spared), once: true, reads: AtomicUsize::new(0) }
    }

    fn struck(&self, location: &Path) -> Fault {
        if !location.as_ref().contains(self.strikes) {
            return Fault::None;
        }
        if !self.once {
            return self.fault;
        }
        match self.spared.fetch_sub(1, Ordering::SeqCst) {
            0 => self.fault,
            _ => Fault::None,
        }
    }
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "connection reset".into() }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if !matches!(options.mode, PutMode::Create) {
            return self.inner.put_opts(location, payload, options).await;
        }
        let fault = self.struck(location);
        if fault == Fault::LostRequest {
            return Err(lost());
        }
        if fault == Fault::Unconditional {
            options.mode = PutMode::Overwrite;
        }
        let result = self.inner.put_opts(location, payload, options).await?;
        let path = location.to_string();
        match fault {
            Fault::LostAnswer => Err(lost()),
            Fault::LostAnswerThenRival => Err(Error::AlreadyExists { path, source: "409".into() }),
            Fault::LostAnswerThenPrecondition => Err(Error::Precondition { path, source: "412".into() }),
            _ => Ok(result),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultyUpload { upload, fault: self.struck(location) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fault == Fault::BlindListing {
            return Box::pin(futures::stream::empty());
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    fault: Fault,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.fault == Fault::LostRequest {
            return Err(lost());
        }
        let result = self.upload.complete().await?;
        if self.fault == Fault::LostAnswer { Err(lost()) } else { Ok(result) }
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

/// A lake in memory that no other test has.
pub(crate) fn memory() -> Lake {
    let name = uuid::Uuid::now_v7().simple();
    Lake::open(&format!("memory://{name}"), &BTreeMap::new(), FsPath::new("/")).unwrap()
}

/// A lake in a folder.
pub(crate) fn folder(folder: &tempfile::TempDir) -> Lake {
    Lake::open("lake", &BTreeMap::new(), folder.path()).unwrap()
}

/// A lake in memory with a fault.
pub(crate) fn faulty(store: FaultyStore) -> (Lake, Arc<FaultyStore>) {
    let store = Arc::new(store);
    let url = url::Url::parse("memory:///faulty/").unwrap();
    (Lake::over(&url, Arc::clone(&store) as Arc<dyn ObjectStore>).unwrap(), store)
}
