//! Files at their destination, whole or not at all.
//!
//! Every file goes into an upload that becomes visible at its end, and no upload ends before all rows are written: of an
//! export that fails, nothing is seen. Rows are encoded and deflated on several threads, a batch at a time and in their
//! order, so memory does not grow with the audience.

use std::collections::BTreeMap;
use std::path::Path as FsPath;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use object_store::{MultipartUpload, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::sync::mpsc::Sender;

use super::compress::{Block, Codec, Stream};
use super::encode;
use super::export::Steps;
use super::format::{Encoding, Format};
use crate::error::{Error, Kind, Result};
use crate::lake::{Lake, failure};

/// Bytes of a part of an upload: object stores ask for 5 MiB at least.
const PART: usize = 8 << 20;
/// Rows of a row group of Parquet.
const GROUP_ROWS: usize = 128 << 10;

/// Where an export goes.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A file, or several beside each other.
    File(Place),
    /// Whoever asks for the bytes, as they come: a stream cannot be taken back.
    Stream(Tap),
}

/// Whoever asks for the bytes.
#[derive(Debug, Clone)]
pub struct Tap {
    /// Takes them.
    pub bytes: Sender<Bytes>,
    /// How they are compressed.
    pub codec: Codec,
    /// The way that they go, as the ledger tells it.
    pub shown: String,
}

impl Destination {
    /// The destination as the ledger tells it.
    pub fn shown(&self) -> String {
        match self {
            Self::File(place) => place.shown(),
            Self::Stream(tap) => tap.shown.clone(),
        }
    }
}

/// A folder of some store, and a file's name in it.
#[derive(Debug, Clone)]
pub struct Place {
    folder: Lake,
    name: String,
}

impl Place {
    /// The place that a path or URL names: a relative path is below `base`; `cloud` holds the clouds' usual variables.
    ///
    /// # Errors
    /// `audience.destination` for what names no file; those of [`Lake::open`].
    pub fn open(to: &str, cloud: &BTreeMap<String, String>, base: &FsPath) -> Result<Self> {
        let (folder, name) = to.rsplit_once('/').unwrap_or((".", to));
        let bad = name.is_empty() || name == "." || name == ".." || folder.ends_with(':') || folder.ends_with(":/");
        if bad {
            return Err(Error::usage("audience.destination", format!("`{to}` names no file"))
                .with_hint("write a file's path, `s3://bucket/folder/file.csv.gz`, or `-` for the output"));
        }
        let folder = if folder.is_empty() { "/" } else { folder };
        Ok(Self { folder: Lake::open(folder, cloud, base)?, name: name.to_owned() })
    }

    /// The same place with a word before the endings: `a.csv.gz` becomes `a.add.csv.gz`.
    #[must_use]
    pub fn with_word(&self, word: &str) -> Self {
        Self { folder: self.folder.clone(), name: named(&self.name, &format!(".{word}")) }
    }

    /// The place as people write it; it never holds a secret.
    pub fn shown(&self) -> String {
        self.path_of(&self.name)
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.place().trim_end_matches('/'))
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Puts something between a name and its endings.
fn named(name: &str, more: &str) -> String {
    match name.find('.').filter(|at| *at > 0) {
        Some(at) => format!("{}{more}{}", &name[..at], &name[at..]),
        None => format!("{name}{more}"),
    }
}

/// How the rows become files.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    pub(super) destination: &'a Destination,
    pub(super) format: &'a Format,
    pub(super) rows_per_file: Option<u64>,
    pub(super) bom: bool,
    pub(super) lanes: usize,
}

/// What was written, to be made visible by [`Written::publish`].
pub(super) struct Written {
    pub(super) rows: u64,
    /// The files as people write them.
    pub(super) files: Vec<String>,
    uploads: Vec<(String, Box<dyn MultipartUpload>)>,
}

impl Written {
    /// Makes the files visible.
    pub(super) async fn publish(mut self) -> Result<(u64, Vec<String>)> {
        for (file, upload) in &mut self.uploads {
            upload.complete().await.map_err(|error| failure(error, file))?;
        }
        Ok((self.rows, self.files))
    }

    /// Takes everything back.
    pub(super) async fn abort(mut self) {
        abort(&mut self.uploads).await;
    }
}

async fn abort(uploads: &mut Vec<(String, Box<dyn MultipartUpload>)>) {
    for (_, upload) in uploads {
        // The failure that matters is the first; stores drop unfinished uploads in the end.
        if let Err(second) = upload.abort().await {
            tracing::debug!(%second, "an unfinished upload could not be taken back");
        }
    }
}

impl Writing<'_> {
    /// Writes all rows; nothing is visible yet.
    pub(super) async fn write(&self, stream: SendableRecordBatchStream, steps: &mut dyn Steps) -> Result<Written> {
        let codec = match self.destination {
            Destination::File(place) => Codec::of(place.name(), self.format.encoding)?,
            // Parquet is compressed within.
            Destination::Stream(_) if self.format.encoding == Encoding::Parquet => Codec::None,
            Destination::Stream(tap) => tap.codec,
        };
        let mut files =
            Files { writing: self, codec, schema: stream.schema(), open: None, done: Vec::new(), shown: Vec::new() };
        let rows = match self.format.encoding {
            Encoding::Parquet => Box::pin(self.parquet(stream, &mut files, steps)).await,
            Encoding::Csv | Encoding::Jsonl => Box::pin(self.lines(stream, &mut files, steps)).await,
        };
        let rows = rows.map_err(|error| self.without_values(error));
        match rows {
            Ok(rows) => Ok(Written { rows, files: files.shown, uploads: files.done }),
            Err(error) => {
                if let Some(Open { upload: Some((file, upload)), .. }) = files.open.take() {
                    files.done.push((file, upload));
                }
                abort(&mut files.done).await;
                Err(error)
            }
        }
    }

    /// What could not be computed says which value it was, and that may be an address.
    pub(super) fn without_values(&self, error: Error) -> Error {
        if !["engine.query", "engine.arrow"].contains(&error.code()) {
            return error;
        }
        Error::definition("audience.mapping", "a value of the format could not be computed for some customer")
            .in_file(self.format.origin.clone())
            .with_hint("use functions that give null for what they cannot read, such as `TRY_CAST`")
    }

    async fn lines(
        &self,
        mut stream: SendableRecordBatchStream,
        files: &mut Files<'_>,
        steps: &mut dyn Steps,
    ) -> Result<u64> {
        let (encoding, spreadsheet, codec) = (self.format.encoding, self.format.spreadsheet, files.codec);
        let mut cutter = Cutter { left: self.rows_per_file, every: self.rows_per_file, file: 0 };
        let mut waiting = FuturesOrdered::new();
        let mut rows = 0;
        let mut more = true;
        loop {
            while more && waiting.len() < self.lanes * 2 {
                let Some(batch) = stream.next().await.transpose()? else {
                    more = false;
                    break;
                };
                for (file, piece) in cutter.cut(&batch) {
                    let count = piece.num_rows() as u64;
                    let work = tokio::task::spawn_blocking(move || {
                        let bytes = match encoding {
                            Encoding::Jsonl => encode::json_lines(&piece)?,
                            Encoding::Csv | Encoding::Parquet => encode::csv(&piece, spreadsheet)?,
                        };
                        Block::new(codec, bytes)
                    });
                    waiting.push_back(async move { (file, count, work.await) });
                }
            }
            let Some((file, count, block)) = waiting.next().await else { break };
            let block = block.map_err(|error| Error::internal("audience.encode", error.to_string()))??;
            files.push(file, block).await?;
            rows += count;
            steps.rows(rows);
        }
        files.finish().await?;
        Ok(rows)
    }

    async fn parquet(
        &self,
        mut stream: SendableRecordBatchStream,
        files: &mut Files<'_>,
        steps: &mut dyn Steps,
    ) -> Result<u64> {
        let mut cutter = Cutter { left: self.rows_per_file, every: self.rows_per_file, file: 0 };
        let empty = encode::plain(&RecordBatch::new_empty(stream.schema()))?;
        let writer = |schema: SchemaRef| {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .build();
            ArrowWriter::try_new(Vec::new(), schema, Some(properties))
        };
        let mut open = (0, writer(empty.schema())?);
        let mut rows = 0;
        while let Some(batch) = stream.next().await.transpose()? {
            for (file, piece) in cutter.cut(&batch) {
                if file != open.0 {
                    let whole = std::mem::replace(&mut open, (file, writer(empty.schema())?));
                    files.push(whole.0, Block::new(Codec::None, whole.1.into_inner()?)?).await?;
                }
                open.1.write(&encode::plain(&piece)?)?;
                let bytes = std::mem::take(open.1.inner_mut());
                files.push(file, Block::new(Codec::None, bytes)?).await?;
                rows += piece.num_rows() as u64;
                steps.rows(rows);
            }
        }
        files.push(open.0, Block::new(Codec::None, open.1.into_inner()?)?).await?;
        files.finish().await?;
        Ok(rows)
    }
}

/// Cuts batches where a file ends.
struct Cutter {
    left: Option<u64>,
    every: Option<u64>,
    file: usize,
}

impl Cutter {
    fn cut(&mut self, batch: &RecordBatch) -> Vec<(usize, RecordBatch)> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < batch.num_rows() {
            if self.left == Some(0) {
                self.file += 1;
                self.left = self.every;
            }
            let rest = batch.num_rows() - at;
            let take = self.left.map_or(rest, |left| usize::try_from(left).map_or(rest, |left| left.min(rest)));
            pieces.push((self.file, batch.slice(at, take)));
            self.left = self.left.map(|left| left - take as u64);
            at += take;
        }
        pieces
    }
}

/// The files of one export, one open at a time.
struct Files<'a> {
    writing: &'a Writing<'a>,
    codec: Codec,
    schema: SchemaRef,
    open: Option<Open>,
    done: Vec<(String, Box<dyn MultipartUpload>)>,
    shown: Vec<String>,
}

struct Open {
    number: usize,
    stream: Stream,
    buffer: Vec<u8>,
    upload: Option<(String, Box<dyn MultipartUpload>)>,
}

impl Files<'_> {
    async fn push(&mut self, file: usize, block: Block) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.number != file) {
            self.close().await?;
        }
        if self.open.is_none() {
            self.open = Some(self.begin(file).await?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.stream.push(block, &mut open.buffer)?;
        self.send(false).await
    }

    /// Ends the last file; an export of nobody is a file with a header.
    async fn finish(&mut self) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(self.begin(0).await?);
        }
        self.close().await
    }

    async fn begin(&mut self, number: usize) -> Result<Open> {
        let upload = match self.writing.destination {
            Destination::Stream(_) => None,
            Destination::File(place) => {
                let name = match self.writing.rows_per_file {
                    Some(_) => named(&place.name, &format!("-{:05}", number + 1)),
                    None => place.name.clone(),
                };
                let shown = place.path_of(&name);
                let path = place.folder.path(&name);
                let upload = place.folder.store().put_multipart(&path).await.map_err(|error| failure(error, &shown))?;
                self.shown.push(shown.clone());
                Some((shown, upload))
            }
        };
        let mut buffer = Vec::new();
        let mut stream = Stream::begin(self.codec, &mut buffer)?;
        let mut head = Vec::new();
        if self.writing.format.encoding == Encoding::Csv {
            if self.writing.bom {
                head.extend_from_slice(encode::BOM);
            }
            head.extend(encode::csv_header(&self.schema));
        }
        stream.push(Block::new(self.codec, head)?, &mut buffer)?;
        Ok(Open { number, stream, buffer, upload })
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open {
            let stream = std::mem::replace(&mut open.stream, Stream::Plain);
            stream.finish(&mut open.buffer)?;
        }
        self.send(true).await?;
        if let Some(Open { upload: Some(upload), .. }) = self.open.take() {
            self.done.push(upload);
        }
        Ok(())
    }

    /// Hands over what has come together.
    async fn send(&mut self, all: bool) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match (&mut open.upload, self.writing.destination) {
            (Some((file, upload)), _) => {
                while open.buffer.len() >= PART || (all && !open.buffer.is_empty()) {
                    let rest = open.buffer.split_off(PART.min(open.buffer.len()));
                    let part = Bytes::from(std::mem::replace(&mut open.buffer, rest));
                    upload.put_part(part.into()).await.map_err(|error| failure(error, file))?;
                }
                Ok(())
            }
            (None, Destination::Stream(tap)) if !open.buffer.is_empty() => {
                let part = Bytes::from(std::mem::take(&mut open.buffer));
                tap.bytes.send(part).await.map_err(|_| {
                    Error::new(Kind::Transient, "audience.nobody_listens", "whoever asked for the export went away")
                })
            }
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_goes_before_the_endings() {
        assert_eq!(named("a.csv.gz", "-00001"), "a-00001.csv.gz");
        assert_eq!(named("a", ".add"), "a.add");
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open("out/a.csv", &BTreeMap::new(), folder.path()).unwrap();
        assert!(place.with_word("add").shown().ends_with("/out/a.add.csv"));
        for to in ["out/", "s3://bucket", "..", "/", ""] {
            assert!(Place::open(to, &BTreeMap::new(), folder.path()).is_err(), "{to}");
        }
    }
}
