//! Rows that know their place among all rows, put in order without being compared.
//!
//! Rows are dealt to stretches of places as they come, into row groups of a file a thread; a stretch is put in order when it
//! is read. What is held meanwhile is a few batches and two stretches, however many rows there are.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, cast, concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt32Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use datafusion::prelude::{DataFrame, SessionContext};
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use roaring::RoaringBitmap;

use super::different::mostly_different;
use super::scratch::{nullable, properties};
use super::{BATCH_ROWS, Engine};
use crate::error::{Error, Result};

/// Places of a stretch: so many rows are put in order at a time.
const STRETCH: u32 = 1 << 16;
/// Rows that a thread holds before they go to its file; with many stretches as many as make row groups worth reading.
const HELD_ROWS: usize = 1 << 16;
const LEAST_OF_A_GROUP: usize = 512;

/// A table that rows are being added to.
pub struct Placing<'a> {
    session: &'a SessionContext,
    name: String,
    place: String,
    places: u32,
    folder: PathBuf,
    schema: Option<SchemaRef>,
    files: Vec<Dealt>,
    seen: RoaringBitmap,
}

/// A file, and which of its row groups are of which stretch.
#[derive(Debug, Clone)]
struct Dealt {
    path: PathBuf,
    groups: BTreeMap<u32, Vec<usize>>,
}

impl Engine {
    /// Begins the session's table `name`, whose rows will come in the order of the column `place` (a `UInt32` below
    /// `places`, of which no two rows have the same).
    ///
    /// # Errors
    /// What the disk says.
    pub fn placing<'a>(
        &self,
        session: &'a SessionContext,
        name: &str,
        place: &str,
        places: u32,
    ) -> Result<Placing<'a>> {
        Ok(Placing {
            session,
            name: name.to_owned(),
            place: place.to_owned(),
            places,
            folder: self.fresh_folder(&super::scratch::folder_name(session, name))?,
            schema: None,
            files: Vec::new(),
            seen: RoaringBitmap::new(),
        })
    }
}

impl Placing<'_> {
    /// Adds the rows of a query. All queries have the same columns.
    ///
    /// # Errors
    /// Whatever the query or the disk says, and a place that is null, is not below `places`, or was taken.
    pub async fn add(&mut self, frame: DataFrame) -> Result<()> {
        let began = std::time::Instant::now();
        let plan = frame.create_physical_plan().await?;
        let schema = match &self.schema {
            Some(schema) => Arc::clone(schema),
            None => nullable(&plan.schema()),
        };
        self.schema = Some(Arc::clone(&schema));
        let place = schema.index_of(&self.place)?;
        let mut dealers = tokio::task::JoinSet::new();
        for stream in execute_stream_partitioned(plan, self.session.task_ctx())? {
            let path = self.folder.join(format!("{:05}.parquet", self.files.len() + dealers.len()));
            let schema = Arc::clone(&schema);
            dealers.spawn(deal(stream, schema, place, self.places, path));
        }
        let mut rows = 0;
        while let Some(done) = dealers.join_next().await {
            let (dealt, seen) = done.map_err(|error| Error::internal("engine.task", error.to_string()))??;
            rows += seen.len();
            if !self.seen.is_disjoint(&seen) {
                return Err(Error::internal("engine.placed", "two rows have the same place"));
            }
            self.seen |= seen;
            self.files.push(dealt);
        }
        tracing::debug!(name = self.name, rows, seconds = began.elapsed().as_secs_f64(), "placed");
        Ok(())
    }

    /// The places that no row has so far.
    pub fn missing(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.places);
        all - &self.seen
    }

    /// Gives the session the table. `sorted` names the columns that the order of places sorts, each for itself, ascending.
    ///
    /// # Errors
    /// What the disk and the session say.
    pub fn finish(self, sorted: &[&str]) -> Result<()> {
        let schema = self.schema.ok_or_else(|| Error::internal("engine.placed", "no rows were ever added"))?;
        let files = self.files.into_iter().filter(|file| !file.groups.is_empty()).map(Placed::open);
        let table = PlacedTable {
            schema,
            place: self.place,
            sorted: sorted.iter().map(|column| (*column).to_owned()).collect(),
            files: Arc::new(files.collect::<Result<_>>()?),
        };
        self.session.deregister_table(self.name.as_str())?;
        self.session.register_table(self.name.as_str(), Arc::new(table))?;
        Ok(())
    }
}

/// Deals the rows of a stream to the stretches of a file.
async fn deal(
    mut stream: SendableRecordBatchStream,
    schema: SchemaRef,
    place: usize,
    places: u32,
    path: PathBuf,
) -> Result<(Dealt, RoaringBitmap)> {
    let stretches = places.div_ceil(STRETCH).max(1);
    let limit = HELD_ROWS.max(LEAST_OF_A_GROUP * stretches as usize);
    let mut dealt = Dealt { path, groups: BTreeMap::new() };
    let mut seen = RoaringBitmap::new();
    let mut writer: Option<ArrowWriter<File>> = None;
    let mut held: BTreeMap<u32, Vec<RecordBatch>> = BTreeMap::new();
    let mut rows = 0;
    while let Some(batch) = stream.next().await.transpose()? {
        // What another query calls the same may be text of another layout.
        let columns =
            batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<std::result::Result<_, _>>()?)?;
        if batch.num_rows() == 0 {
            continue;
        }
        if writer.is_none() {
            let properties = properties(&schema, &mostly_different(&batch)?);
            writer = Some(ArrowWriter::try_new(File::create(&dealt.path)?, Arc::clone(&schema), Some(properties))?);
        }
        let own = batch.column(place).as_primitive_opt::<UInt32Type>();
        let own = own.filter(|own| own.null_count() == 0 && own.values().iter().all(|place| *place < places));
        let Some(own) = own else {
            return Err(Error::internal("engine.placed", "a row has no place among the others"));
        };
        let mut order: Vec<(u32, u32)> =
            (0_u32..).zip(own.values()).map(|(row, place)| (place / STRETCH, row)).collect();
        order.sort_unstable();
        for place in own.values() {
            if !seen.insert(*place) {
                return Err(Error::internal("engine.placed", "two rows have the same place"));
            }
        }
        let sorted = take_record_batch(&batch, &UInt32Array::from_iter_values(order.iter().map(|(_, row)| *row)))?;
        let mut from = 0;
        for chunk in order.chunk_by(|(one, _), (other, _)| one == other) {
            if let Some((stretch, _)) = chunk.first() {
                held.entry(*stretch).or_default().push(sorted.slice(from, chunk.len()));
            }
            from += chunk.len();
        }
        rows += batch.num_rows();
        if let Some(writer) = writer.as_mut().filter(|_| rows >= limit) {
            flush(writer, &mut held, &mut dealt)?;
            rows = 0;
        }
    }
    if let Some(mut writer) = writer {
        flush(&mut writer, &mut held, &mut dealt)?;
        writer.close()?;
    }
    Ok((dealt, seen))
}

/// Makes a row group of what is held of each stretch.
fn flush(writer: &mut ArrowWriter<File>, held: &mut BTreeMap<u32, Vec<RecordBatch>>, dealt: &mut Dealt) -> Result<()> {
    for (stretch, batches) in std::mem::take(held) {
        for batch in batches {
            writer.write(&batch)?;
        }
        let group = writer.flushed_row_groups().len();
        writer.flush()?;
        dealt.groups.entry(stretch).or_default().extend(group..writer.flushed_row_groups().len());
    }
    Ok(())
}

/// A file whose footer is read.
#[derive(Debug)]
struct Placed {
    path: PathBuf,
    footer: ArrowReaderMetadata,
    groups: BTreeMap<u32, Vec<usize>>,
}

impl Placed {
    fn open(dealt: Dealt) -> Result<Self> {
        let footer = ArrowReaderMetadata::load(&File::open(&dealt.path)?, ArrowReaderOptions::new())?;
        Ok(Self { path: dealt.path, footer, groups: dealt.groups })
    }

    fn read(&self, groups: &[usize], columns: &[usize]) -> Result<Vec<RecordBatch>> {
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(File::open(&self.path)?, self.footer.clone());
        let columns = ProjectionMask::roots(self.footer.parquet_schema(), columns.iter().copied());
        let reader = reader.with_projection(columns).with_row_groups(groups.to_vec()).with_batch_size(STRETCH as usize);
        Ok(reader.build()?.collect::<std::result::Result<_, _>>()?)
    }
}

/// The table.
#[derive(Debug)]
struct PlacedTable {
    schema: SchemaRef,
    place: String,
    sorted: Vec<String>,
    files: Arc<Vec<Placed>>,
}

#[async_trait]
impl TableProvider for PlacedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let mut orders = Vec::new();
        for name in self.sorted.iter().filter(|name| schema.index_of(name).is_ok()) {
            let column = datafusion::physical_expr::expressions::col(name, &schema)?;
            let ascending = SortOptions { descending: false, nulls_first: false };
            orders.extend(LexOrdering::new([PhysicalSortExpr::new(column, ascending)]));
        }
        let place = self.schema.index_of(&self.place)?;
        let rows = InOrder { files: Arc::clone(&self.files), place, columns, schema: Arc::clone(&schema) };
        let plan = StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, orders, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// The rows, stretch after stretch.
#[derive(Debug, Clone)]
struct InOrder {
    files: Arc<Vec<Placed>>,
    /// Where the place stands among the table's columns.
    place: usize,
    /// The table's columns that are wanted, in their order.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl InOrder {
    /// The rows of one stretch, in order.
    fn stretch(&self, stretch: u32) -> Result<Vec<RecordBatch>> {
        let mut read: Vec<usize> = self.columns.iter().copied().chain([self.place]).collect();
        read.sort_unstable();
        read.dedup();
        let at = |column: usize| read.binary_search(&column).unwrap_or_default();
        let mut batches = Vec::new();
        for file in self.files.iter() {
            if let Some(groups) = file.groups.get(&stretch) {
                batches.extend(file.read(groups, &read)?);
            }
        }
        let Some(first) = batches.first() else { return Ok(Vec::new()) };
        let all = concat_batches(&first.schema(), &batches)?;
        let places = all.column(at(self.place)).as_primitive::<UInt32Type>();
        let mut rows = vec![u32::MAX; STRETCH as usize];
        for (row, place) in (0_u32..).zip(places.values()) {
            if let Some(slot) = rows.get_mut((place % STRETCH) as usize) {
                *slot = row;
            }
        }
        let rows = UInt32Array::from_iter_values(rows.into_iter().filter(|row| *row != u32::MAX));
        let wanted: Vec<usize> = self.columns.iter().map(|column| at(*column)).collect();
        let mut sorted = Vec::new();
        for from in (0..rows.len()).step_by(BATCH_ROWS) {
            let part = rows.slice(from, BATCH_ROWS.min(rows.len() - from));
            // With its place a row has a column at least.
            let part = take_record_batch(&all, &part)?.project(&wanted)?;
            sorted.push(part.with_schema(Arc::clone(&self.schema))?);
        }
        Ok(sorted)
    }
}

impl PartitionStream for InOrder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stretches: Vec<u32> = self.files.iter().flat_map(|file| file.groups.keys().copied()).collect();
        stretches.sort_unstable();
        stretches.dedup();
        let this = self.clone();
        let read = move |stretch| {
            let this = this.clone();
            async move {
                let rows = tokio::task::spawn_blocking(move || this.stretch(stretch)).await;
                rows.map_err(|error| DataFusionError::External(Box::new(error)))?
                    .map_err(|error| DataFusionError::External(Box::new(error)))
            }
        };
        // The next stretch is put in order while this one is used.
        let batches = futures::stream::iter(stretches).map(read).buffered(2);
        let batches = batches.map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok))).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    async fn told(session: &SessionContext, sql: &str) -> Vec<String> {
        let mut told = Vec::new();
        for batch in session.sql(sql).await.unwrap().collect().await.unwrap() {
            let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
            told.extend(column.as_string::<i32>().iter().map(|text| text.unwrap_or("null").to_owned()));
        }
        told
    }

    /// 200,000 places are several stretches and several times what a thread holds.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_come_in_the_order_of_their_places() {
        let engine = Engine::new(Limits { memory: 1 << 30, threads: 2, spill: None }, Vec::new(), None).unwrap();
        let session = engine.session();
        let mut placing = engine.placing(&session, "t", "place", 200_000).unwrap();
        // 7 and 200,000 have no common divisor: every place but those of the second query, in disorder.
        let rows = "SELECT arrow_cast((value * 7) % 200000, 'UInt32') AS place FROM generate_series(0, 199999)";
        let all =
            format!("SELECT place, lpad(place::VARCHAR, 7, '0') AS name, nullif(place % 3, 0) AS rest FROM ({rows})");
        placing.add(session.sql(&format!("{all} WHERE place NOT IN (0, 70000, 199999)")).await.unwrap()).await.unwrap();
        assert_eq!(placing.missing().iter().collect::<Vec<_>>(), [0, 70_000, 199_999]);
        placing.add(session.sql(&format!("{all} WHERE place IN (0, 70000, 199999)")).await.unwrap()).await.unwrap();
        assert!(placing.missing().is_empty());
        placing.finish(&["name"]).unwrap();

        let names = told(&session, "SELECT name FROM t").await;
        assert_eq!(names.len(), 200_000);
        assert!(names.iter().enumerate().all(|(place, name)| name.parse() == Ok(place)));
        assert_eq!(told(&session, "SELECT count(*) FROM t").await, ["200000"]);
        let wrong = "SELECT count(*) FROM t WHERE name::INT <> place OR coalesce(rest, 0) <> place % 3";
        assert_eq!(told(&session, wrong).await, ["0"]);
        assert_eq!(
            told(&session, "SELECT rest FROM t WHERE place BETWEEN 65534 AND 65537").await,
            ["2", "null", "1", "2"]
        );
        let plan = session.sql("SELECT rest FROM t ORDER BY name").await.unwrap().create_physical_plan().await.unwrap();
        let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        assert!(!plan.contains("SortExec"), "{plan}");
    }

    #[tokio::test]
    async fn a_place_is_of_one_row() {
        let engine = Engine::new(Limits { memory: 1 << 30, threads: 2, spill: None }, Vec::new(), None).unwrap();
        let session = engine.session();
        for rows in ["(1), (1)", "(NULL)", "(3)"] {
            let mut placing = engine.placing(&session, "t", "place", 3).unwrap();
            let sql = format!("SELECT arrow_cast(place, 'UInt32') AS place FROM (VALUES {rows}) AS t(place)");
            let fault = placing.add(session.sql(&sql).await.unwrap()).await.unwrap_err();
            assert_eq!(fault.code(), "engine.placed", "{rows}");
        }
    }
}
