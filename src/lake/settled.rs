//! Writes whose answer was lost are settled by looking.
//!
//! After a lost response the client library repeats a create, finds the object that it wrote itself, and reports a
//! rival. So a create that ends in *already exists*, a time-out or a server error is read back and compared: the same
//! bytes are ours, because every body that is created once carries something that no other writer has (a nonce, a
//! run id, random bytes). Azure answers 412 to a create of what exists; that counts as *already exists*.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// A store around another, whose creates and uploads tell what became of them, and which counts what it has done.
#[derive(Debug, Clone)]
pub struct SettledStore {
    inner: Arc<dyn ObjectStore>,
    done: Arc<AtomicU64>,
}

impl SettledStore {
    /// Settles the writes of `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, done: Arc::new(AtomicU64::new(0)) }
    }

    /// How many answers it has had, pieces of what is read included: while it grows, a slow store is not a dead one.
    pub fn answers(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn answered<T>(&self, answer: T) -> T {
        self.done.fetch_add(1, Ordering::Relaxed);
        answer
    }

    fn counted<T: Send + 'static>(&self, stream: BoxStream<'static, T>) -> BoxStream<'static, T> {
        let done = Arc::clone(&self.done);
        stream
            .inspect(move |_| {
                done.fetch_add(1, Ordering::Relaxed);
            })
            .boxed()
    }

    async fn settle(&self, location: &Path, payload: &PutPayload, error: Error) -> Result<PutResult> {
        let rival = matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. });
        if !rival && !matches!(error, Error::Generic { .. }) {
            return Err(error);
        }
        let found = match self.inner.get(location).await {
            Ok(found) => found,
            Err(_) => return Err(error),
        };
        let meta = found.meta.clone();
        if meta.size == payload.content_length() as u64 {
            match found.bytes().await {
                Ok(bytes) if same(payload, &bytes) => {
                    return Ok(PutResult { e_tag: meta.e_tag, version: meta.version });
                }
                Ok(_) => {}
                Err(_) => return Err(error),
            }
        }
        // Whatever the error was, the name is taken, and not by us.
        Err(match error {
            Error::AlreadyExists { .. } => error,
            other => Error::AlreadyExists { path: location.to_string(), source: Box::new(other) },
        })
    }
}

fn same(payload: &PutPayload, bytes: &Bytes) -> bool {
    let mut rest = bytes.as_ref();
    payload.iter().all(|part| match rest.split_at_checked(part.len()) {
        Some((head, tail)) if head == part.as_ref() => {
            rest = tail;
            true
        }
        _ => false,
    }) && rest.is_empty()
}

impl std::fmt::Display for SettledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SettledStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for SettledStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !matches!(options.mode, PutMode::Create) {
            return self.answered(self.inner.put_opts(location, payload, options).await);
        }
        match self.answered(self.inner.put_opts(location, payload.clone(), options).await) {
            Ok(result) => Ok(result),
            Err(error) => self.settle(location, &payload, error).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(SettledUpload { upload, store: self.clone(), location: location.clone(), size: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.answered(self.inner.get_opts(location, options).await)?;
        found.payload = match found.payload {
            GetResultPayload::Stream(stream) => GetResultPayload::Stream(self.counted(stream)),
            other => other,
        };
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.answered(self.inner.get_ranges(location, ranges).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.counted(self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.answered(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.answered(self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.answered(self.inner.rename_opts(from, to, options).await)
    }
}

/// An upload in parts whose completion is settled by the object's size: a data file's name carries its run, so
/// nobody else writes it.
#[derive(Debug)]
struct SettledUpload {
    upload: Box<dyn MultipartUpload>,
    store: SettledStore,
    location: Path,
    size: u64,
}

#[async_trait]
impl MultipartUpload for SettledUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        self.size += payload.content_length() as u64;
        let (part, store) = (self.upload.put_part(payload), self.store.clone());
        Box::pin(async move { store.answered(part.await) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.store.answered(self.upload.complete().await) {
            Ok(result) => Ok(result),
            Err(error) => match self.store.inner.head(&self.location).await {
                Ok(meta) if meta.size == self.size => Ok(PutResult { e_tag: meta.e_tag, version: meta.version }),
                _ => Err(error),
            },
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::testing::{Fault, FaultyStore};
    use object_store::memory::InMemory;

    fn settled(fault: Fault) -> SettledStore {
        SettledStore::new(Arc::new(FaultyStore::new(Arc::new(InMemory::new()), fault)))
    }

    #[tokio::test]
    async fn a_create_whose_answer_was_lost_is_ours() {
        for fault in [Fault::LostAnswer, Fault::LostAnswerThenRival, Fault::LostAnswerThenPrecondition] {
            let store = settled(fault);
            let path = Path::from("a");
            store.put_opts(&path, "nonce 1".into(), PutMode::Create.into()).await.unwrap();
            let rival = store.put_opts(&path, "nonce 2".into(), PutMode::Create.into()).await;
            assert!(matches!(rival, Err(Error::AlreadyExists { .. })), "{fault:?}: {rival:?}");
        }
    }

    #[tokio::test]
    async fn a_create_that_never_arrived_is_an_error() {
        let store = settled(Fault::LostRequest);
        let outcome = store.put_opts(&Path::from("a"), "nonce 1".into(), PutMode::Create.into()).await;
        assert!(matches!(outcome, Err(Error::Generic { .. })), "{outcome:?}");
    }

    #[tokio::test]
    async fn answers_are_counted() {
        let store = settled(Fault::None);
        let path = Path::from("a");
        let mut before = store.answers();
        let mut grown = |what: &str| {
            let now = store.answers();
            assert!(now > before, "{what}");
            before = now;
        };
        store.put_opts(&path, "1".into(), PutMode::Create.into()).await.unwrap();
        grown("a create");
        store.put(&path, "2".into()).await.unwrap();
        grown("an overwrite");
        let mut read = store.get(&path).await.unwrap().into_stream();
        grown("a read");
        assert!(read.next().await.unwrap().is_ok());
        grown("a piece of what is read");
        store.get_range(&path, 0..1).await.unwrap();
        grown("a range");
        assert_eq!(store.list(None).count().await, 1);
        grown("a listing");
        let mut upload = store.put_multipart(&Path::from("b")).await.unwrap();
        upload.put_part("one".into()).await.unwrap();
        grown("a part");
        upload.complete().await.unwrap();
        grown("an upload");
        store.delete(&path).await.unwrap();
        grown("a removal");
    }

    #[tokio::test]
    async fn an_upload_whose_completion_was_lost_is_there() {
        let store = settled(Fault::LostAnswer);
        let mut upload = store.put_multipart(&Path::from("a")).await.unwrap();
        upload.put_part("one ".into()).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap(), "one two");
    }
}
