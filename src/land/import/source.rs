//! A file that is to be landed: which format it has, its text without compression, and the hash of its bytes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Bytes of the longest line or record.
pub(super) const MAX_RECORD: usize = 16 << 20;

/// The SHA-256 of a file.
pub(super) type Hash = [u8; 32];

/// The formats that can be landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Csv,
    JsonLines,
}

/// A reader that hashes what passes through it.
#[derive(Debug)]
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[derive(Debug)]
enum Bytes {
    Plain(BufReader<Hashing>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<Hashing>>>>),
}

/// The file's bytes, decompressed.
#[derive(Debug)]
pub(super) struct Input {
    /// The first bytes, read ahead to see what the file is.
    head: Vec<u8>,
    at: usize,
    rest: Bytes,
}

/// How far ahead a file is read to see what it is.
const HEAD: u64 = 64 << 10;

impl Input {
    /// Opens a file.
    ///
    /// # Errors
    /// `land.no_file`, `land.not_a_file`, `land.empty_file`, `land.gzip`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::not_found("land.no_file", "the file does not exist"),
            _ => Error::from(error),
        })?;
        if !found.is_file() {
            return Err(Error::input("land.not_a_file", "this is no file").with_hint("name the files one by one"));
        }
        let mut file = BufReader::with_capacity(256 << 10, Hashing { file: File::open(path)?, hash: Sha256::new() });
        let gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let rest = if gzip {
            Bytes::Gzip(Box::new(BufReader::with_capacity(256 << 10, MultiGzDecoder::new(file))))
        } else {
            Bytes::Plain(file)
        };
        let mut input = Self { head: Vec::new(), at: 0, rest };
        let mut head = Vec::new();
        match &mut input.rest {
            Bytes::Plain(rest) => rest.take(HEAD).read_to_end(&mut head),
            Bytes::Gzip(rest) => rest.take(HEAD).read_to_end(&mut head),
        }
        .map_err(read_fault)?;
        if head.starts_with(b"\xef\xbb\xbf") {
            input.at = 3;
        }
        input.head = head;
        if input.ahead().is_empty() {
            return Err(empty());
        }
        Ok(input)
    }

    /// The first bytes.
    pub(super) fn ahead(&self) -> &[u8] {
        self.head.get(self.at..).unwrap_or_default()
    }

    /// What the file is: by its first bytes where they leave no doubt, else by its name.
    pub(super) fn format(&self, path: &Path) -> Result<Format> {
        let head = self.ahead();
        if head.starts_with(b"PAR1") {
            if matches!(self.rest, Bytes::Gzip(_)) {
                return Err(Error::input("land.gzip", "a Parquet file must not be compressed as a whole")
                    .with_hint("decompress it with `gunzip`"));
            }
            return Ok(Format::Parquet);
        }
        if head.starts_with(b"PK\x03\x04") {
            return Err(unknown("the file is a zip archive or a workbook").with_hint("export it as CSV in UTF-8"));
        }
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
            return Err(super::csv::not_utf8(1, Some(1)));
        }
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let json = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        Ok(match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("parquet" | "pq") => {
                return Err(unknown("the file is named as Parquet, but is none").with_hint("write it again"));
            }
            Some("csv" | "tsv" | "tab") => Format::Csv,
            Some("json" | "jsonl" | "ndjson") => Format::JsonLines,
            _ if json => Format::JsonLines,
            _ => Format::Csv,
        })
    }

    /// The hash of the whole file, what is left of it read to the end.
    pub(super) fn finish(self) -> Result<Hash> {
        let mut file = match self.rest {
            Bytes::Plain(file) => file,
            Bytes::Gzip(mut text) => {
                std::io::copy(&mut text, &mut std::io::sink()).map_err(read_fault)?;
                text.into_inner().into_inner()
            }
        };
        std::io::copy(&mut file, &mut std::io::sink())?;
        Ok(file.into_inner().hash.finalize().into())
    }
}

/// A failure to read: decompression fails by the file's fault, all else by the disk's.
pub(super) fn read_fault(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
            Error::input("land.gzip", "the compressed file is cut short or damaged")
                .with_hint("compress it again, or send it again")
        }
        _ => Error::from(error),
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.at < self.head.len() {
            return Ok(self.head.get(self.at..).unwrap_or_default());
        }
        match &mut self.rest {
            Bytes::Plain(rest) => rest.fill_buf(),
            Bytes::Gzip(rest) => rest.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        if self.at < self.head.len() {
            self.at += count;
        } else {
            match &mut self.rest {
                Bytes::Plain(rest) => rest.consume(count),
                Bytes::Gzip(rest) => rest.consume(count),
            }
        }
    }
}

pub(super) fn empty() -> Error {
    Error::input("land.empty_file", "the file is empty").with_hint("name only files that hold rows or a header")
}

fn unknown(message: &str) -> Error {
    Error::input("land.unknown_format", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn opened(name: &str, bytes: &[u8]) -> Result<(Format, Vec<u8>, Hash)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut input = Input::open(&path)?;
        let format = input.format(&path)?;
        let mut text = Vec::new();
        input.read_to_end(&mut text).map_err(read_fault)?;
        Ok((format, text, input.finish()?))
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn formats_by_first_bytes_and_name() {
        let format = |name: &str, bytes: &[u8]| opened(name, bytes).map(|(format, _, _)| format);
        assert_eq!(format("a.csv", b"a,b").unwrap(), Format::Csv);
        assert_eq!(format("a.NDJSON", b"{}").unwrap(), Format::JsonLines);
        assert_eq!(format("a.jsonl.gz", &gzip(b"{}")).unwrap(), Format::JsonLines);
        assert_eq!(format("noname", b" {}").unwrap(), Format::JsonLines);
        assert_eq!(format("noname", b"a,b").unwrap(), Format::Csv);
        assert_eq!(format("a.csv", b"PAR1....").unwrap(), Format::Parquet);
        let code = |name: &str, bytes: &[u8]| opened(name, bytes).unwrap_err().code();
        assert_eq!(code("a.parquet", b"a,b"), "land.unknown_format");
        assert_eq!(code("a.csv", b"PK\x03\x04"), "land.unknown_format");
        assert_eq!(code("a.csv", b"\xff\xfea\0"), "land.not_utf8");
        assert_eq!(code("a.gz", &gzip(b"PAR1")), "land.gzip");
        assert_eq!(code("a.csv", b"\xef\xbb\xbf"), "land.empty_file");
        assert_eq!(Input::open(Path::new("/")).unwrap_err().code(), "land.not_a_file");
    }

    #[test]
    fn text_without_mark_and_hash_of_the_bytes() {
        let long = "x".repeat(200_000);
        let marked = format!("\u{feff}{long}");
        for bytes in [marked.clone().into_bytes(), gzip(marked.as_bytes())] {
            let (_, text, hash) = opened("a.csv", &bytes).unwrap();
            assert_eq!(text, long.as_bytes());
            assert_eq!(hash, <Hash>::from(Sha256::digest(&bytes)));
        }
        let mut two = gzip(b"a,");
        two.extend(gzip(b"b"));
        assert_eq!(opened("a.csv.gz", &two).unwrap().1, b"a,b");
    }

    #[test]
    fn damaged_compression_is_told() {
        let whole = gzip(&(0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
        let cut = &whole[..whole.len() - 9];
        assert_eq!(opened("a.csv.gz", cut).unwrap_err().code(), "land.gzip");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv.gz");
        std::fs::write(&path, cut).unwrap();
        assert_eq!(Input::open(&path).unwrap().finish().unwrap_err().code(), "land.gzip");
    }
}
