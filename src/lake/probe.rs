//! Whether a store keeps its word.

use object_store::ObjectStoreExt;

use crate::error::{Error, Kind, Result};
use crate::lake::{Created, Lake, failure};

impl Lake {
    /// Finds out whether the store keeps its word: it can be written, a second create of one name conflicts, a
    /// listing sees what was just written, and a range of it reads back. Some S3 look-alikes accept a conditional
    /// write and ignore the condition; a Delta table there loses commits without a word.
    ///
    /// # Errors
    /// `lake.not_writable` with the place, `lake.lies` with what the store did instead.
    pub async fn probe(&self) -> Result<()> {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let below = format!("state/probe/{name}");
        let outcome = Box::pin(self.probe_at(&below, &name)).await;
        let removed = self.delete(&below).await;
        outcome.and(removed.map_err(|error| self.not_writable("delete", error)))
    }

    async fn probe_at(&self, below: &str, name: &str) -> Result<()> {
        let first = format!("first {name}");
        let created = self.put_new(below, first.clone()).await.map_err(|error| self.not_writable("write", error))?;
        if created == Created::Taken {
            return Err(self.lies("it reports an object where none was written"));
        }
        let second = self.put_new(below, format!("second {name}")).await;
        if second.map_err(|error| self.not_writable("write", error))? == Created::Ours {
            return Err(self.lies("a second create of one name succeeds, so that two runs would overwrite each other"));
        }
        let listed = self.list("state/probe").await.map_err(|error| self.not_writable("list", error))?;
        if !listed.iter().any(|object| object.path == below && object.size == first.len() as u64) {
            return Err(self.lies("a listing does not show what was just written"));
        }
        let range = self.inner.store.get_range(&self.path(below), 2..9).await;
        let range = range.map_err(|error| self.not_writable("read", failure(error, below)))?;
        if range.as_ref() != first.as_bytes().get(2..9).unwrap_or_default() {
            return Err(self.lies("a range of an object reads back as something else"));
        }
        Ok(())
    }

    fn not_writable(&self, what: &str, error: Error) -> Error {
        if error.kind() == Kind::Resources {
            return error;
        }
        let hint = if self.inner.url.scheme() == "file" {
            "choose another folder with `[lake] url` or `--lake`, or give this user the right to write there; the \
             file system must know hard links"
        } else {
            "check the bucket or container in `[lake] url`, and that the credentials may read, write, list and delete"
        };
        let kind = if error.kind() == Kind::Transient { Kind::Transient } else { Kind::Storage };
        let kind = if self.inner.url.scheme() == "file" { Kind::Storage } else { kind };
        Error::new(
            kind,
            "lake.not_writable",
            format!("cannot {what} in the lake {}: {}", self.place(), innermost(&error)),
        )
        .with_hint(hint)
        .with_source(error)
    }

    fn lies(&self, what: &str) -> Error {
        Error::storage("lake.lies", format!("the store of the lake {} cannot be trusted: {what}", self.place()))
            .with_hint("use a store with conditional writes (`If-None-Match`), or a newer version of this one")
    }
}

/// What the system itself said, without what the layers above it put before that.
fn innermost(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
