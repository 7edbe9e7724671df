//! The disk under a lake that is a folder: room, whether it flushes, and what dead writers left.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Flushes that are timed.
const FLUSHES: usize = 9;
/// No disk that keeps what it says flushes faster.
const TOO_FAST: Duration = Duration::from_micros(10);

/// Bytes that are free where a folder lies; none where the system does not tell.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let told = Command::new("df").arg("-Pk").arg(folder).env("LC_ALL", "C").output().ok()?;
    available(&String::from_utf8(told.stdout).ok()?)
}

/// The fourth column of what `df -Pk` tells, in bytes.
fn available(told: &str) -> Option<u64> {
    let line = told.lines().nth(1)?;
    // The name of the device may hold blanks: the columns are counted from the percentage.
    let words: Vec<&str> = line.split_whitespace().collect();
    let share = words.iter().position(|word| word.ends_with('%') && word.len() < 5)?;
    words.get(share.checked_sub(1)?)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// How long a flush to the disk takes, the median of a few.
///
/// # Errors
/// A folder that cannot be written.
pub fn flush_time(folder: &Path) -> Result<Duration> {
    let refused = |error: std::io::Error| Error::from(error).in_file(folder.display().to_string());
    // The store hides such a name, and the sweep removes it after a crash.
    let path = folder.join(format!("flush#{}", uuid::Uuid::now_v7().as_u128()));
    let mut file = File::create_new(&path).map_err(refused)?;
    let mut times = Vec::new();
    let mut timed = || -> std::io::Result<()> {
        for _ in 0..FLUSHES {
            file.write_all(&[0; 4096])?;
            let began = Instant::now();
            file.sync_all()?;
            times.push(began.elapsed());
        }
        Ok(())
    };
    let outcome = timed();
    // Whatever came of it: the file is nobody's.
    let _ = fs::remove_file(&path);
    outcome.map_err(refused)?;
    times.sort();
    Ok(times.get(FLUSHES / 2).copied().unwrap_or_default())
}

/// Whether a flush is so fast that nothing can have reached a disk.
pub fn is_too_fast(flush: Duration) -> bool {
    flush < TOO_FAST
}

/// Temporary files below a folder, of writers that write or died: how many, and their bytes.
///
/// # Errors
/// A folder that cannot be read.
pub fn staged(folder: &Path) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|error| Error::from(error).in_file(folder.display().to_string()))?,
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if super::durable::is_staged(&entry.file_name()) {
                count += 1;
                bytes += entry.metadata().map_or(0, |meta| meta.len());
            }
        }
    }
    Ok((count, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_room_is_read_whatever_the_device_is_called() {
        let told =
            "Filesystem     1024-blocks    Used Available Capacity Mounted on\n/dev/my disk 100 40 60 40% /mnt/a b\n";
        assert_eq!(available(told), Some(60 * 1024));
        assert_eq!(available("nothing"), None);
        assert!(free_bytes(&std::env::temp_dir()).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn what_dead_writers_left_is_counted_and_flushing_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("tables/t")).unwrap();
        fs::write(folder.path().join("tables/t/part.parquet#123"), "half").unwrap();
        fs::write(folder.path().join("tables/t/part.parquet"), "whole").unwrap();
        assert_eq!(staged(folder.path()).unwrap(), (1, 4));
        flush_time(folder.path()).unwrap();
        assert_eq!(staged(folder.path()).unwrap(), (1, 4));
        assert!(is_too_fast(Duration::from_micros(1)) && !is_too_fast(Duration::from_millis(1)));
    }
}
