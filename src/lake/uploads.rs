//! Uploads to a bucket that were begun and never completed: no listing of objects shows them, and they are paid for.
//!
//! The library of the stores begins, completes and aborts uploads, and cannot list them. So the requests that it lacks are
//! sent from here (`bucket`): to the store's own address, with its own credentials, limits and proxy. S3 and Google Cloud
//! Storage answer alike (`answer`). Azure has nothing to list and drops what was never committed by itself.

/// What a store answers.
mod answer;
/// The bucket, and what it is asked.
mod bucket;
/// The stores of clouds, opened.
mod opened;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use object_store::path::Path;

pub(super) use bucket::Bucket;
pub(super) use opened::open;

use super::{Lake, failure};
use crate::error::{Error, Kind, Result};

/// An upload that was begun, and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where it would appear, below the lake's root.
    pub path: String,
    /// When it was begun, by the store's clock.
    pub began_at: DateTime<Utc>,
    /// Its key in the bucket.
    key: String,
    /// The store's name of it.
    id: String,
}

/// Names the permission where one is missing.
fn permitted<T>(outcome: Result<T>, permission: &str) -> Result<T> {
    outcome.map_err(|error| match error.code() {
        "lake.denied" => error.with_hint(format!("allow `{permission}`")),
        _ => error,
    })
}

impl Lake {
    /// The uploads that were begun below the lake's root and neither completed nor aborted, the oldest first; none where the
    /// kind of store has no such listing (a folder, Azure, an S3 Express bucket).
    ///
    /// # Errors
    /// `lake.denied`, whose hint names the permission, and what else the store refuses.
    pub async fn unfinished_uploads(&self) -> Result<Option<Vec<Upload>>> {
        let Some(bucket) = &self.inner.bucket else { return Ok(None) };
        let prefix = match self.inner.prefix.as_ref() {
            "" => String::new(),
            root => format!("{root}/"),
        };
        let begun = permitted(bucket.begun(self, &prefix).await, bucket.permissions[0])?;
        // Asked for by prefix, and looked at again: what is not ours must not be touched, whatever a store lists.
        let ours = |begun: answer::Begun| {
            let path = begun.key.strip_prefix(&prefix)?.to_owned();
            Some(Upload { path, began_at: begun.began_at, key: begun.key, id: begun.id })
        };
        let mut uploads: Vec<Upload> = begun.into_iter().filter_map(ours).collect();
        uploads.sort_by(|a, b| (a.began_at, &a.key, &a.id).cmp(&(b.began_at, &b.key, &b.id)));
        Ok(Some(uploads))
    }

    /// The bytes that were sent of uploads, at one request an upload or more. One that is gone meanwhile has none.
    ///
    /// # Errors
    /// `lake.denied`, whose hint names the permission, and what else the store refuses.
    pub async fn uploads_bytes(&self, uploads: &[Upload]) -> Result<u64> {
        let Some(bucket) = &self.inner.bucket else { return Ok(0) };
        let http = bucket.connect()?;
        let mut sum = 0_u64;
        for upload in uploads {
            match permitted(bucket.bytes(self, &http, upload).await, bucket.permissions[1]) {
                Ok(bytes) => sum = sum.saturating_add(bytes),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    /// Aborts an upload; one that is not there is gone already.
    ///
    /// # Errors
    /// `lake.denied`, whose hint names the permission, and what else the store refuses.
    pub async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let Some(bucket) = &self.inner.bucket else { return Ok(()) };
        // A key that the library would write differently was not begun by us, and must not be taken for another.
        let key = Path::parse(&upload.key).ok().filter(|path| path.as_ref() == upload.key);
        let key = key.ok_or_else(|| {
            Error::storage("lake.path", "this key of an upload is no path of an object").in_file(&upload.path)
        })?;
        let aborted = bucket.store.abort_multipart(&key, &upload.id).await;
        self.inner.store.answered(());
        match aborted {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => permitted(Err(failure(error, &upload.path)), bucket.permissions[2]),
        }
    }
}
