//! Commits of Delta logs, read once.
//!
//! Opening a table and committing to it replays its log several times, and every replay asks the store for every commit
//! since the last checkpoint: on a cloud that is what a night waits for. A commit never changes once it is written. So what
//! was read of one is kept, and given again as long as the newest listing shows the same object: its size and its
//! entity tag (where the store has none, its time).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// The most that is kept, in bytes: some thousands of commits.
const MOST: usize = 32 << 20;

/// A store around another that keeps the commits of Delta logs.
#[derive(Debug, Clone)]
pub(super) struct RememberedStore {
    inner: Arc<dyn ObjectStore>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// What the newest listing says of a commit.
    listed: BTreeMap<Path, Mark>,
    kept: BTreeMap<Path, (ObjectMeta, Bytes)>,
    bytes: usize,
}

/// What tells an object from another of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    size: u64,
    e_tag: Option<String>,
    modified: Option<DateTime<Utc>>,
}

impl Mark {
    fn of(meta: &ObjectMeta) -> Self {
        let modified = meta.e_tag.is_none().then_some(meta.last_modified);
        Self { size: meta.size, e_tag: meta.e_tag.clone(), modified }
    }
}

impl RememberedStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self, listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let watched = listing.inspect(move |meta| {
            if let Ok(meta) = meta
                && is_commit(&meta.location)
            {
                store.known().listed.insert(meta.location.clone(), Mark::of(meta));
            }
        });
        watched.boxed()
    }

    fn remembered(&self, location: &Path) -> Option<(ObjectMeta, Bytes)> {
        let known = self.known();
        let (meta, bytes) = known.kept.get(location)?;
        (known.listed.get(location) == Some(&Mark::of(meta))).then(|| (meta.clone(), bytes.clone()))
    }

    fn remember(&self, meta: &ObjectMeta, bytes: &Bytes) {
        let mut known = self.known();
        if known.bytes + bytes.len() > MOST {
            known.kept.clear();
            known.bytes = 0;
        }
        known.bytes += bytes.len();
        if let Some((_, old)) = known.kept.insert(meta.location.clone(), (meta.clone(), bytes.clone())) {
            known.bytes -= old.len();
        }
    }
}

/// Whether an object is a commit of a Delta log: `…/_delta_log/` and twenty digits.
fn is_commit(location: &Path) -> bool {
    let mut parts = location.as_ref().rsplit('/');
    let name = parts.next().unwrap_or_default();
    let digits = name.strip_suffix(".json").unwrap_or_default();
    digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()) && parts.next() == Some("_delta_log")
}

fn given(meta: ObjectMeta, bytes: Bytes) -> GetResult {
    let range = 0..meta.size;
    let payload = GetResultPayload::Stream(futures::future::ready(Ok(bytes)).into_stream().boxed());
    GetResult { payload, meta, range, attributes: object_store::Attributes::default() }
}

impl std::fmt::Display for RememberedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RememberedStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for RememberedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let whole = options.range.is_none()
            && !options.head
            && options.version.is_none()
            && options.if_match.is_none()
            && options.if_none_match.is_none()
            && options.if_modified_since.is_none()
            && options.if_unmodified_since.is_none();
        if !whole || !is_commit(location) {
            return self.inner.get_opts(location, options).await;
        }
        if let Some((meta, bytes)) = self.remembered(location) {
            return Ok(given(meta, bytes));
        }
        let found = self.inner.get_opts(location, options).await?;
        let meta = found.meta.clone();
        let bytes = found.bytes().await?;
        self.remember(&meta, &bytes);
        Ok(given(meta, bytes))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watched(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watched(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    async fn read(store: &RememberedStore, path: &Path) -> Bytes {
        store.get(path).await.unwrap().bytes().await.unwrap()
    }

    #[tokio::test]
    async fn a_listed_commit_is_read_once_and_another_of_its_name_is_read_again() {
        let below = Arc::new(InMemory::new());
        let store = RememberedStore::new(Arc::clone(&below) as Arc<dyn ObjectStore>);
        let path = Path::from("lake/tables/orders/_delta_log/00000000000000000001.json");
        below.put(&path, "one".into()).await.unwrap();
        assert_eq!(read(&store, &path).await, "one");
        below.put(&path, "two".into()).await.unwrap();
        assert_eq!(read(&store, &path).await, "two", "nothing is given again that no listing has shown");

        let _listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        below.put(&path, "six".into()).await.unwrap();
        assert_eq!(read(&store, &path).await, "two", "read once, until a listing shows another");
        let _listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(read(&store, &path).await, "six");
        assert_eq!(store.get_range(&path, 1..3).await.unwrap(), "ix");
    }

    #[tokio::test]
    async fn other_objects_are_read_every_time() {
        let below = Arc::new(InMemory::new());
        let store = RememberedStore::new(Arc::clone(&below) as Arc<dyn ObjectStore>);
        for path in ["t/_delta_log/_last_checkpoint", "t/00000000000000000001.json", "t/_delta_log/1.json"] {
            let path = Path::from(path);
            below.put(&path, "one".into()).await.unwrap();
            let _listed: Vec<_> = store.list(None).try_collect().await.unwrap();
            assert_eq!(read(&store, &path).await, "one");
            below.put(&path, "two".into()).await.unwrap();
            assert_eq!(read(&store, &path).await, "two", "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let below = Arc::new(InMemory::new());
        let store = RememberedStore::new(Arc::clone(&below) as Arc<dyn ObjectStore>);
        for version in 0..5 {
            let path = Path::from(format!("t/_delta_log/{version:020}.json"));
            below.put(&path, Bytes::from(vec![0; 10 << 20]).into()).await.unwrap();
            assert_eq!(read(&store, &path).await.len(), 10 << 20);
            assert!(store.known().bytes <= MOST);
        }
        assert_eq!(store.known().kept.len(), 2);
    }
}
