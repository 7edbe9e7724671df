//! What is written at one speed and read at another: a file without a name, which is gone with whoever held it.
//!
//! An export takes memory while it is computed and nothing while it is sent. It is written as fast as it comes, and every
//! client reads along at its own pace: fifty slow ones hold fifty files open.

use std::fs::File;
use std::io::{Error, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

/// Bytes that are read at once.
const CHUNK: usize = 128 << 10;

/// How far the writing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    bytes: u64,
    /// Whether it is over, and then whether all is there.
    whole: Option<bool>,
}

/// The end that is written. Let go before [`Spool::end`], it ends broken.
pub(super) struct Spool {
    file: Arc<File>,
    progress: watch::Sender<Progress>,
}

/// The end that is read.
pub(super) struct Follower {
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
    at: u64,
}

/// A new file in a folder.
///
/// # Errors
/// What the file system refuses.
pub(super) fn spool(folder: &Path) -> std::io::Result<(Spool, Follower)> {
    let file = Arc::new(tempfile::tempfile_in(folder)?);
    let (send, receive) = watch::channel(Progress { bytes: 0, whole: None });
    Ok((Spool { file: Arc::clone(&file), progress: send }, Follower { file, progress: receive, at: 0 }))
}

impl Spool {
    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.as_ref().write_all(bytes)?;
        self.progress.send_modify(|progress| progress.bytes += bytes.len() as u64);
        Ok(())
    }

    /// Says that all is there.
    pub(super) fn end(self) {
        self.progress.send_modify(|progress| progress.whole = Some(true));
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| progress.whole = progress.whole.or(Some(false)));
    }
}

impl Follower {
    /// The next bytes, as soon as there are any; none at the end.
    ///
    /// # Errors
    /// What was written is not whole.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let broken = || Error::other("the audience could not be written to its end");
        loop {
            let progress = *self.progress.borrow_and_update();
            if self.at < progress.bytes {
                let rest = usize::try_from(progress.bytes - self.at).unwrap_or(CHUNK);
                // It was written a moment ago and lies in memory. A thread for every read would cost more than the read, and keep
                // what it has allocated.
                let mut chunk = vec![0; rest.min(CHUNK)];
                self.file.read_exact_at(&mut chunk, self.at)?;
                let chunk = Bytes::from(chunk);
                self.at += chunk.len() as u64;
                return Ok(Some(chunk));
            }
            match progress.whole {
                Some(true) => return Ok(None),
                Some(false) => return Err(broken()),
                None => self.progress.changed().await.map_err(|_| broken())?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_follows_the_writer_to_the_end() {
        let (mut writer, mut reader) = spool(&std::env::temp_dir()).unwrap();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(bytes) = reader.next().await? {
                all.extend_from_slice(&bytes);
            }
            std::io::Result::Ok(all)
        });
        let mut expected = Vec::new();
        for n in 0..40_u8 {
            let part = vec![n; 10_000];
            expected.extend_from_slice(&part);
            writer.write(&part).unwrap();
            tokio::task::yield_now().await;
        }
        writer.end();
        assert!(reading.await.unwrap().unwrap() == expected);
    }

    #[tokio::test]
    async fn what_is_not_written_to_its_end_is_told() {
        let (mut writer, mut reader) = spool(&std::env::temp_dir()).unwrap();
        writer.write(b"half").unwrap();
        drop(writer);
        assert_eq!(reader.next().await.unwrap().as_deref(), Some(b"half".as_slice()));
        assert!(reader.next().await.is_err());
    }
}
