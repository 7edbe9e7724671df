//! Parquet files that are written as their rows are made: encoded on several threads, uploaded in parts, and visible
//! only once they are whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::Schema;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::life;
use super::rows::Rows;
use super::shop::Shop;
use super::tables::Batch;
use crate::error::{Error, Result};
use crate::schema::landed::Table;

/// Customers that one thread makes at a time.
const CHUNK: u32 = 128;
/// Customers whose rows are put in the order of time together: between threads and files, and not part of any option,
/// since the bytes depend on it.
pub(super) const ROUND: u32 = 32 * CHUNK;
/// Rows of a row group: some thirty files are open at once, and each holds one.
const ROW_GROUP: usize = 131_072;
/// Rows of a page: each open column holds one, not yet compressed.
const PAGE: usize = 8_192;
/// Files that are ended and completed at a time.
const FINISHED_TOGETHER: usize = 8;
/// The smallest part that every store takes.
const PART: usize = 5 * 1024 * 1024;
/// Columns without repetition, in which a dictionary is a detour.
const UNIQUE: [&str; 8] =
    ["event_id", "order_id", "customer_id", "anonymous_id", "email", "phone", "address", "identifier"];

/// One file: the table and the number of the folder.
pub(super) type File = (Table, usize);

/// Makes the rows of the shop and encodes them.
pub(super) struct Press {
    shop: Arc<Shop>,
    open: BTreeMap<File, Sheet>,
}

/// A file that is being encoded.
struct Sheet {
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
}

/// What came of some encoding: the bytes to append to the file, and how many rows the file has by now.
pub(super) struct Piece {
    pub(super) file: File,
    pub(super) bytes: Bytes,
    pub(super) rows: u64,
}

impl Press {
    /// A press for a shop.
    pub(super) fn new(shop: Arc<Shop>) -> Self {
        Self { shop, open: BTreeMap::new() }
    }

    /// The tables that do not belong to a customer.
    pub(super) fn shared(&mut self) -> Result<Vec<Piece>> {
        let mut batches = Vec::new();
        push(&mut batches, Table::Products, self.shop.product_rows(), Batch::Products);
        push(&mut batches, Table::Rates, self.shop.rate_rows(), Batch::Rates);
        push(&mut batches, Table::Suppressions, self.shop.suppression_rows(), Batch::Suppressions);
        self.encode(batches)
    }

    /// The histories of some customers.
    pub(super) fn round(&mut self, customers: Range<u32>) -> Result<Vec<Piece>> {
        let chunks: Vec<Range<u32>> =
            customers.clone().step_by(CHUNK as usize).map(|from| from..customers.end.min(from + CHUNK)).collect();
        let shop = &self.shop;
        let mut made = in_parallel(shop.options.threads, chunks, |chunk| {
            let mut rows = Rows {
                customers: empty(shop.people.count()),
                orders: empty(shop.orders.count()),
                items: empty(shop.orders.count()),
                events: empty(shop.events.count()),
                identities: empty(shop.people.count()),
            };
            for index in chunk {
                life::live(shop, index, &mut rows);
            }
            Ok(rows)
        })?;
        let mut batches = Vec::new();
        push(&mut batches, Table::Customers, gather(&mut made, |rows| &mut rows.customers), Batch::Customers);
        push(&mut batches, Table::Orders, gather(&mut made, |rows| &mut rows.orders), Batch::Orders);
        push(&mut batches, Table::OrderItems, gather(&mut made, |rows| &mut rows.items), Batch::Items);
        push(&mut batches, Table::Events, gather(&mut made, |rows| &mut rows.events), Batch::Events);
        push(&mut batches, Table::Identities, gather(&mut made, |rows| &mut rows.identities), Batch::Identities);
        self.encode(batches)
    }

    fn encode(&mut self, batches: Vec<(File, Batch)>) -> Result<Vec<Piece>> {
        let shop = &self.shop;
        let mut work: Vec<(File, Batch, Option<Sheet>)> = batches
            .into_iter()
            .filter(|(_, batch)| batch.len() > 0)
            .map(|(file, batch)| (file, batch, self.open.remove(&file)))
            .collect();
        // The longest first, so that no thread ends with it alone.
        work.sort_by_key(|(file, batch, _)| (std::cmp::Reverse(batch.len()), *file));
        let done = in_parallel(shop.options.threads, work, |(file, batch, sheet)| {
            let old = file.1 < shop.orders.count() / 3;
            let rows = batch.len() as u64;
            let batch = batch.into_arrow(shop, old)?;
            let mut sheet = match sheet {
                Some(sheet) => sheet,
                None => Sheet::new(batch.schema())?,
            };
            sheet.writer.write(&batch)?;
            sheet.rows += rows;
            let mut bytes = std::mem::take(sheet.writer.inner_mut());
            bytes.shrink_to_fit();
            let bytes = Bytes::from(bytes);
            Ok((Piece { file, bytes, rows: sheet.rows }, sheet))
        })?;
        let mut pieces = Vec::with_capacity(done.len());
        for (piece, sheet) in done {
            self.open.insert(piece.file, sheet);
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// Ends some of the files that are still open: the last bytes of each. Nothing once all are ended. Not all at once,
    /// since what is left of them would double the memory.
    pub(super) fn finish_some(&mut self) -> Result<Vec<Piece>> {
        let some: Vec<File> = self.open.keys().copied().take(FINISHED_TOGETHER).collect();
        let sheets = some.into_iter().filter_map(|file| self.open.remove(&file).map(|sheet| (file, sheet))).collect();
        in_parallel(self.shop.options.threads, sheets, |(file, sheet): (File, Sheet)| {
            let bytes = Bytes::from(sheet.writer.into_inner()?);
            Ok(Piece { file, bytes, rows: sheet.rows })
        })
    }
}

impl Sheet {
    fn new(schema: Arc<Schema>) -> Result<Self> {
        let mut properties = WriterProperties::builder()
            .set_created_by("alluvial demo".to_owned())
            // Not zstd: each open column would hold a context of its own, a gigabyte in all.
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_data_page_row_count_limit(PAGE)
            .set_dictionary_page_size_limit(128 * 1024)
            .set_data_page_size_limit(128 * 1024)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        for name in UNIQUE {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
        }
        let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
        Ok(Self { writer: ArrowWriter::try_new_with_options(Vec::new(), schema, options)?, rows: 0 })
    }
}

fn empty<T>(count: usize) -> Vec<Vec<T>> {
    (0..count).map(|_| Vec::new()).collect()
}

/// Takes one table's rows out of all chunks, folder by folder, into vectors that are exactly large enough.
fn gather<T>(made: &mut [Rows], table: fn(&mut Rows) -> &mut Vec<Vec<T>>) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<Vec<T>>> = made.iter_mut().map(|rows| std::mem::take(table(rows))).collect();
    let folders = chunks.first().map_or(0, Vec::len);
    (0..folders)
        .map(|folder| {
            let mut all = Vec::with_capacity(chunks.iter().map(|chunk| chunk[folder].len()).sum());
            for chunk in &mut chunks {
                all.append(&mut std::mem::take(&mut chunk[folder]));
            }
            all
        })
        .collect()
}

fn push<T>(batches: &mut Vec<(File, Batch)>, table: Table, folders: Vec<Vec<T>>, batch: fn(Vec<T>) -> Batch) {
    batches.extend(folders.into_iter().enumerate().map(|(folder, rows)| ((table, folder), batch(rows))));
}

/// Does each piece of work on one of some threads. The results stand in the order of the work.
fn in_parallel<T: Send, R: Send>(threads: usize, work: Vec<T>, each: impl Fn(T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let count = work.len();
    let queue = Mutex::new(work.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    let run = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((n, item)) = next else { return };
            let result = each(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((n, result));
        }
    };
    std::thread::scope(|scope| {
        // This thread works as well. The others are joined one by one: a scope would pass a panic on.
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(run)).collect();
        run();
        for other in others {
            if other.join().is_err() {
                return Err(Error::internal("demo.thread", "a thread that makes the demo shop stopped"));
            }
        }
        Ok(())
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The files on their way to the store. None is visible before it is whole.
pub(super) struct Uploads {
    store: Arc<dyn ObjectStore>,
    part: usize,
    open: BTreeMap<File, Upload>,
    landed: Vec<Landed>,
}

struct Upload {
    path: Path,
    waiting: Vec<Bytes>,
    parts: Option<Box<dyn MultipartUpload>>,
    rows: u64,
    bytes: u64,
}

/// A file that is whole.
pub(super) struct Landed {
    pub(super) table: Table,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Uploads {
    /// Uploads to a store.
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, part: PART, open: BTreeMap::new(), landed: Vec::new() }
    }

    /// Appends to files; `path` names the new ones.
    pub(super) async fn append(&mut self, pieces: Vec<Piece>, path: impl Fn(File) -> Path) -> Result<()> {
        for piece in pieces {
            let upload = self.open.entry(piece.file).or_insert_with(|| Upload {
                path: path(piece.file),
                waiting: Vec::new(),
                parts: None,
                rows: 0,
                bytes: 0,
            });
            upload.rows = piece.rows;
            upload.bytes += piece.bytes.len() as u64;
            if !piece.bytes.is_empty() {
                upload.waiting.push(piece.bytes);
            }
        }
        let (store, part) = (&self.store, self.part);
        stream::iter(self.open.values_mut().filter(|upload| upload.waits() >= part).map(Ok))
            .try_for_each_concurrent(8, |upload: &mut Upload| upload.send_parts(store, part))
            .await
    }

    /// Completes these files.
    pub(super) async fn complete(&mut self, files: &[File]) -> Result<()> {
        let store = &self.store;
        stream::iter(self.open.iter_mut().filter(|(file, _)| files.contains(file)).map(Ok))
            .try_for_each_concurrent(8, |(_, upload): (&File, &mut Upload)| upload.complete(store))
            .await?;
        for file in files {
            if let Some(upload) = self.open.remove(file) {
                self.landed.push(Landed { table: file.0, rows: upload.rows, bytes: upload.bytes });
            }
        }
        Ok(())
    }

    /// The files that are whole.
    pub(super) fn landed(self) -> Vec<Landed> {
        self.landed
    }

    /// Gives up what is not whole.
    pub(super) async fn abort(&mut self) {
        stream::iter(self.open.values_mut())
            .for_each_concurrent(8, |upload| async {
                // What a store does not clean up when asked, its own rules for abandoned uploads do.
                if let Some(mut parts) = upload.parts.take()
                    && let Err(error) = parts.abort().await
                {
                    tracing::warn!(path = %upload.path, %error, "an upload could not be given up");
                }
            })
            .await;
    }
}

impl Upload {
    fn waits(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }

    /// Takes the first `length` bytes that wait.
    fn take(&mut self, length: usize) -> PutPayload {
        let mut taken = Vec::new();
        let mut missing = length;
        while missing > 0
            && let Some(first) = self.waiting.first_mut()
        {
            if first.len() > missing {
                taken.push(first.split_to(missing));
                break;
            }
            missing -= first.len();
            taken.push(self.waiting.remove(0));
        }
        taken.into_iter().collect()
    }

    async fn send_parts(&mut self, store: &Arc<dyn ObjectStore>, part: usize) -> Result<()> {
        if self.parts.is_none() {
            self.parts = Some(store.put_multipart(&self.path).await?);
        }
        while self.waits() >= part {
            let payload = self.take(part);
            if let Some(parts) = &mut self.parts {
                parts.put_part(payload).await?;
            }
        }
        Ok(())
    }

    async fn complete(&mut self, store: &Arc<dyn ObjectStore>) -> Result<()> {
        let rest = self.take(usize::MAX);
        let Some(parts) = &mut self.parts else {
            store.put(&self.path, rest).await?;
            return Ok(());
        };
        if rest.content_length() > 0 {
            parts.put_part(rest).await?;
        }
        parts.complete().await?;
        // Nothing is left to give up.
        self.parts = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn piece(folder: usize, bytes: &[u8], rows: u64) -> Piece {
        Piece { file: (Table::Events, folder), bytes: Bytes::copy_from_slice(bytes), rows }
    }

    async fn names(store: &InMemory) -> Vec<String> {
        store.list(None).map_ok(|file| file.location.to_string()).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn a_file_is_visible_only_once_it_is_whole() {
        let store = Arc::new(InMemory::new());
        let path = |(_, folder): File| Path::from(format!("{folder}"));
        let mut uploads = Uploads { part: 10, ..Uploads::new(store.clone()) };
        uploads.append(vec![piece(0, &[1; 25], 2), piece(1, &[2; 3], 1)], path).await.unwrap();
        uploads.append(vec![piece(0, &[3; 7], 5)], path).await.unwrap();
        assert_eq!(names(&store).await, Vec::<String>::new());
        uploads.complete(&[(Table::Events, 1)]).await.unwrap();
        assert_eq!(names(&store).await, ["1"]);
        uploads.complete(&[(Table::Events, 0)]).await.unwrap();
        assert_eq!(names(&store).await, ["0", "1"]);
        let landed = uploads.landed();
        assert_eq!(landed.iter().map(|file| (file.rows, file.bytes)).collect::<Vec<_>>(), [(1, 3), (5, 32)]);
        let bytes = store.get(&Path::from("0")).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes, [[1; 25].as_slice(), [3; 7].as_slice()].concat());
    }

    #[tokio::test]
    async fn what_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let mut uploads = Uploads { part: 10, ..Uploads::new(store) };
        uploads.append(vec![piece(0, &[1; 25], 2)], |_| Path::from("file")).await.unwrap();
        uploads.abort().await;
        drop(uploads);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn work_keeps_its_order_on_any_number_of_threads() {
        for threads in [0, 1, 3, 64] {
            let done = in_parallel(threads, (0..100).collect(), |n| Ok(n * 2)).unwrap();
            assert_eq!(done, (0..100).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
