//! Compression by a file's ending. Gzip is deflated in blocks of their own, which several threads can make: a block ends on
//! a byte (a sync flush), so that blocks one after the other are one stream with one header and one checksum.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::format::Encoding;
use crate::error::{Error, Result};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// As RFC 1952 says.
    Gzip,
    /// As RFC 8878 says.
    Zstd,
}

/// To the side of speed: lists of people come out a fifth larger than at gzip's own level in a third of the time, and hashes
/// no larger.
const GZIP_LEVEL: u32 = 2;
const ZSTD_LEVEL: i32 = 3;
/// No name, no time: the same rows give the same bytes.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block.
const GZIP_END: [u8; 2] = [3, 0];

impl Codec {
    /// By the file's ending.
    ///
    /// # Errors
    /// `audience.compressed_parquet`: Parquet is compressed within.
    pub(super) fn of(name: &str, encoding: Encoding) -> Result<Self> {
        let lower = name.to_ascii_lowercase();
        let codec = if lower.ends_with(".gz") {
            Codec::Gzip
        } else if lower.ends_with(".zst") || lower.ends_with(".zstd") {
            Codec::Zstd
        } else {
            Codec::None
        };
        if codec != Codec::None && encoding == Encoding::Parquet {
            return Err(Error::usage("audience.compressed_parquet", "Parquet is compressed within")
                .with_hint("leave the second ending off"));
        }
        Ok(codec)
    }
}

/// A stretch of a file, made ready by a thread of its own.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Vec<u8>,
    checksum: crc32fast::Hasher,
    length: u64,
}

impl Block {
    /// Makes bytes ready: deflated for gzip, as they are else.
    pub(super) fn new(codec: Codec, bytes: Vec<u8>) -> Result<Self> {
        let length = bytes.len() as u64;
        let mut checksum = crc32fast::Hasher::new();
        if codec != Codec::Gzip {
            return Ok(Self { bytes, checksum, length });
        }
        checksum.update(&bytes);
        Ok(Self { bytes: deflated(&bytes)?, checksum, length })
    }
}

fn deflated(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::new(GZIP_LEVEL), false);
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    let fault = |error: &dyn std::fmt::Display| Error::internal("audience.gzip", error.to_string());
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(bytes.len());
        let rest = bytes.get(read..).unwrap_or_default();
        if out.capacity() - out.len() < 64 {
            out.reserve(out.capacity().max(1024));
        }
        let status = compress.compress_vec(rest, &mut out, FlushCompress::Sync).map_err(|error| fault(&error))?;
        // A flush is complete once there was room left behind it.
        let all = usize::try_from(compress.total_in()).unwrap_or(0) == bytes.len();
        if all && out.capacity() > out.len() {
            return Ok(out);
        }
        if status == Status::StreamEnd {
            return Err(fault(&"the stream ended early"));
        }
    }
}

/// The stream of one file.
pub(super) enum Stream {
    Plain,
    Gzip { checksum: crc32fast::Hasher, length: u64 },
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Stream {
    /// Begins a file: what stands before its first block goes to `out`.
    pub(super) fn begin(codec: Codec, out: &mut Vec<u8>) -> Result<Self> {
        Ok(match codec {
            Codec::None => Stream::Plain,
            Codec::Gzip => {
                out.extend_from_slice(&GZIP_HEADER);
                Stream::Gzip { checksum: crc32fast::Hasher::new(), length: 0 }
            }
            Codec::Zstd => Stream::Zstd(Box::new(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)),
        })
    }

    /// Adds a block.
    pub(super) fn push(&mut self, block: Block, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Stream::Plain => out.extend_from_slice(&block.bytes),
            Stream::Gzip { checksum, length } => {
                checksum.combine(&block.checksum);
                *length += block.length;
                out.extend_from_slice(&block.bytes);
            }
            Stream::Zstd(encoder) => {
                encoder.write_all(&block.bytes)?;
                out.append(encoder.get_mut());
            }
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Stream::Plain => {}
            Stream::Gzip { checksum, length } => {
                out.extend_from_slice(&GZIP_END);
                out.extend_from_slice(&checksum.finalize().to_le_bytes());
                #[expect(clippy::cast_possible_truncation, reason = "gzip keeps the length modulo 2^32")]
                out.extend_from_slice(&(length as u32).to_le_bytes());
            }
            Stream::Zstd(encoder) => out.append(&mut encoder.finish()?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn file(codec: Codec, blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut stream = Stream::begin(codec, &mut out).unwrap();
        for block in blocks {
            stream.push(Block::new(codec, block.clone()).unwrap(), &mut out).unwrap();
        }
        stream.finish(&mut out).unwrap();
        out
    }

    /// The reader takes one member only: what several threads deflate is one stream.
    #[test]
    fn blocks_are_one_gzip_member() {
        let hard: Vec<u8> = (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let blocks = vec![b"customer_id,email\r\n".to_vec(), vec![b'a'; 1_000_000], hard, Vec::new(), b"end".to_vec()];
        let all: Vec<u8> = blocks.concat();
        let mut read = Vec::new();
        let gzip = file(Codec::Gzip, &blocks);
        let mut decoder = flate2::read::GzDecoder::new(gzip.as_slice());
        decoder.read_to_end(&mut read).unwrap();
        assert!(read == all);
        assert!(zstd::decode_all(file(Codec::Zstd, &blocks).as_slice()).unwrap() == all);
        assert!(file(Codec::None, &blocks) == all);
    }

    #[test]
    fn the_ending_says_how() {
        assert_eq!(Codec::of("a.csv.GZ", Encoding::Csv).unwrap(), Codec::Gzip);
        assert_eq!(Codec::of("a.jsonl.zst", Encoding::Jsonl).unwrap(), Codec::Zstd);
        assert_eq!(Codec::of("a.parquet", Encoding::Parquet).unwrap(), Codec::None);
        assert_eq!(Codec::of("a.parquet.gz", Encoding::Parquet).unwrap_err().code(), "audience.compressed_parquet");
    }
}
