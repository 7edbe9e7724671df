//! Parquet files encoded on several threads, with the bytes that one thread would write.
//!
//! The columns of a row group are independent of each other until they are put one after the other into the file. So they
//! are dealt out to a few lanes, which encode them as the batches come; a row group is appended while the lanes are at the
//! next one. Where a file has few columns, one of them is most of the work: several row groups are under way then.

use std::collections::VecDeque;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::file::writer::SerializedFileWriter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::BATCH_ROWS;
use crate::error::{Error, Result};

/// Batches that may wait for a lane.
const WAITING: usize = 4;

/// Columns of Parquet up to which a row group may wait whole.
const FEW_COLUMNS: usize = 3;

/// One Parquet file that is being encoded.
pub struct Encoder<W: Write + Send> {
    file: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    lanes: usize,
    group_rows: usize,
    open: Option<RowGroup>,
    /// Row groups that have all their rows, in their order.
    closing: VecDeque<RowGroup>,
    /// How many of those there may be.
    most_closing: usize,
    /// Batches that may wait for a lane.
    waiting: usize,
}

/// A row group on its way.
struct RowGroup {
    rows: usize,
    lanes: Vec<Lane>,
}

/// Some of a row group's columns: where their batches go, and what comes of them.
struct Lane {
    /// None once the row group has all its rows.
    batches: Option<mpsc::Sender<RecordBatch>>,
    encoded: JoinHandle<Result<Vec<(usize, ArrowColumnChunk)>>>,
}

impl<W: Write + Send> Encoder<W> {
    /// A file of `schema` whose columns are encoded by as many tasks as there are `lanes`, in row groups of `group_rows`.
    ///
    /// # Errors
    /// A schema that Parquet cannot hold.
    pub fn new(
        sink: W,
        schema: SchemaRef,
        options: ArrowWriterOptions,
        group_rows: usize,
        lanes: usize,
    ) -> Result<Self> {
        let writer = ArrowWriter::try_new_with_options(sink, SchemaRef::clone(&schema), options)?;
        let (file, factory) = writer.into_serialized_writer()?;
        let columns: usize = schema.fields().iter().map(|field| leaves_of(field.data_type())).sum();
        let group_rows = group_rows.max(1);
        let (most_closing, waiting) =
            if columns <= FEW_COLUMNS { (lanes.max(1), group_rows.div_ceil(BATCH_ROWS)) } else { (1, WAITING) };
        let lanes = lanes.clamp(1, schema.fields().len().max(1));
        let closing = VecDeque::new();
        Ok(Self { file, factory, schema, lanes, group_rows, open: None, closing, most_closing, waiting })
    }

    /// Encodes a batch. Its bytes reach the sink when a later row group is complete, or with [`Encoder::finish`].
    ///
    /// # Errors
    /// Values that the schema does not allow, and what the sink says.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let mut group = match self.open.take() {
                Some(group) => group,
                None => self.begin()?,
            };
            let rows = (self.group_rows - group.rows).min(batch.num_rows() - from);
            let part = batch.slice(from, rows);
            from += rows;
            let mut broken = false;
            for batches in group.lanes.iter().filter_map(|lane| lane.batches.as_ref()) {
                broken |= batches.send(part.clone()).await.is_err();
            }
            group.rows += rows;
            if broken {
                // The lane says why.
                self.end(group).await?;
                self.append_down_to(0).await?;
            } else if group.rows >= self.group_rows {
                self.end(group).await?;
            } else {
                self.open = Some(group);
            }
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of [`Encoder::write`].
    pub async fn finish(mut self) -> Result<W> {
        if let Some(group) = self.open.take() {
            self.end(group).await?;
        }
        self.append_down_to(0).await?;
        Ok(self.file.into_inner()?)
    }

    /// Where the bytes go.
    pub fn sink(&mut self) -> &mut W {
        self.file.inner_mut()
    }

    fn begin(&self) -> Result<RowGroup> {
        let writers = self.factory.create_column_writers(0)?;
        let mut lanes: Vec<Vec<Column>> = (0..self.lanes).map(|_| Vec::new()).collect();
        let mut writers = writers.into_iter().enumerate();
        for (place, field) in self.schema.fields().iter().enumerate() {
            let leaves = writers.by_ref().take(leaves_of(field.data_type())).collect();
            lanes[place % self.lanes].push(Column { place, leaves });
        }
        let lanes = lanes.into_iter().map(|columns| {
            let (sender, batches) = mpsc::channel(self.waiting);
            Lane {
                batches: Some(sender),
                encoded: tokio::spawn(encode(SchemaRef::clone(&self.schema), columns, batches)),
            }
        });
        Ok(RowGroup { rows: 0, lanes: lanes.collect() })
    }

    /// Lets a row group come to its end, and appends those before it that are too many.
    async fn end(&mut self, mut group: RowGroup) -> Result<()> {
        for lane in &mut group.lanes {
            lane.batches = None;
        }
        self.append_down_to(self.most_closing - 1).await?;
        self.closing.push_back(group);
        Ok(())
    }

    /// Appends row groups that have come to their end, until only so many are left.
    async fn append_down_to(&mut self, left: usize) -> Result<()> {
        while self.closing.len() > left {
            let Some(group) = self.closing.pop_front() else { break };
            self.append(group).await?;
        }
        Ok(())
    }

    async fn append(&mut self, group: RowGroup) -> Result<()> {
        let mut chunks = Vec::new();
        for lane in group.lanes {
            let encoded = lane.encoded.await;
            chunks.extend(encoded.map_err(|error| Error::internal("engine.encode", error.to_string()))??);
        }
        chunks.sort_by_key(|(leaf, _)| *leaf);
        let mut writer = self.file.next_row_group()?;
        for (_, chunk) in chunks {
            chunk.append_to_row_group(&mut writer)?;
        }
        writer.close()?;
        Ok(())
    }
}

/// A column of the batches, and the writers of its leaves with their numbers in the file.
struct Column {
    place: usize,
    leaves: Vec<(usize, ArrowColumnWriter)>,
}

async fn encode(
    schema: SchemaRef,
    mut columns: Vec<Column>,
    mut batches: mpsc::Receiver<RecordBatch>,
) -> Result<Vec<(usize, ArrowColumnChunk)>> {
    while let Some(batch) = batches.recv().await {
        for column in &mut columns {
            let leaves = compute_leaves(schema.field(column.place), batch.column(column.place))?;
            for ((_, writer), leaf) in column.leaves.iter_mut().zip(&leaves) {
                writer.write(leaf)?;
            }
        }
    }
    let leaves = columns.into_iter().flat_map(|column| column.leaves);
    leaves.map(|(number, writer)| Ok((number, writer.close()?))).collect()
}

/// How many columns of Parquet a column of Arrow is.
fn leaves_of(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::Map(element, _) => leaves_of(element.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves_of(field.data_type())).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringBuilder, StringViewArray, StructArray};
    use arrow::datatypes::Field;
    use parquet::file::properties::WriterProperties;

    use super::*;

    fn rows(from: i64, count: i64) -> RecordBatch {
        let numbers: ArrayRef =
            Arc::new(Int64Array::from_iter((from..from + count).map(|n| (n % 5 != 0).then_some(n))));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter(
            (from..from + count).map(|n| (n % 3 != 0).then(|| format!("text {}", n % 90))),
        ));
        let mut lists = ListBuilder::new(StringBuilder::new());
        for n in from..from + count {
            for place in 0..n % 4 {
                lists.values().append_value(format!("element {place}"));
            }
            lists.append(n % 7 != 0);
        }
        let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let pair = StructArray::from(vec![
            (field("n", &numbers), Arc::clone(&numbers)),
            (field("t", &texts), Arc::clone(&texts)),
        ]);
        RecordBatch::try_from_iter_with_nullable([
            ("n", numbers, true),
            ("list", Arc::new(lists.finish()) as ArrayRef, true),
            ("pair", Arc::new(pair) as ArrayRef, true),
            ("t", texts, true),
        ])
        .unwrap()
    }

    fn options(group_rows: usize) -> ArrowWriterOptions {
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows));
        ArrowWriterOptions::new().with_properties(properties.build())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_bytes_are_those_of_one_thread() {
        let batches: Vec<RecordBatch> = (0..9).map(|n| rows(n * 700, 700)).collect();
        let schema = batches[0].schema();
        let mut alone = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options(1000)).unwrap();
        for batch in &batches {
            alone.write(batch).unwrap();
        }
        let alone = alone.into_inner().unwrap();
        for lanes in [1, 2, 3, 64] {
            let mut encoder = Encoder::new(Vec::new(), Arc::clone(&schema), options(1000), 1000, lanes).unwrap();
            for batch in &batches {
                encoder.write(batch).await.unwrap();
            }
            assert!(encoder.finish().await.unwrap() == alone, "{lanes} lanes");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn row_groups_of_few_columns_keep_their_order() {
        let batches: Vec<RecordBatch> = (0..40).map(|n| rows(n * 700, 700).project(&[3, 0]).unwrap()).collect();
        let schema = batches[0].schema();
        let mut alone = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options(1000)).unwrap();
        for batch in &batches {
            alone.write(batch).unwrap();
        }
        let alone = alone.into_inner().unwrap();
        for lanes in [1, 2, 8] {
            let mut encoder = Encoder::new(Vec::new(), Arc::clone(&schema), options(1000), 1000, lanes).unwrap();
            for batch in &batches {
                encoder.write(batch).await.unwrap();
            }
            assert_eq!(encoder.most_closing, lanes);
            assert!(encoder.finish().await.unwrap() == alone, "{lanes} lanes");
        }
    }

    #[tokio::test]
    async fn a_file_without_rows_is_one() {
        let encoder = Encoder::new(Vec::new(), rows(0, 0).schema(), options(10), 10, 2).unwrap();
        let bytes = encoder.finish().await.unwrap();
        let alone = ArrowWriter::try_new_with_options(Vec::new(), rows(0, 0).schema(), options(10)).unwrap();
        assert_eq!(bytes, alone.into_inner().unwrap());
    }

    #[tokio::test]
    async fn a_batch_of_another_type_is_an_error() {
        let mut encoder = Encoder::new(Vec::new(), rows(0, 0).schema(), options(10), 10, 2).unwrap();
        let wrong = RecordBatch::try_from_iter([("n", rows(0, 20).column(3).clone())]).unwrap();
        let columns = vec![Arc::clone(wrong.column(0)); 4];
        let schema = Arc::new(arrow::datatypes::Schema::new(
            (0..4).map(|n| Field::new(format!("c{n}"), wrong.column(0).data_type().clone(), true)).collect::<Vec<_>>(),
        ));
        let wrong = RecordBatch::try_new(schema, columns).unwrap();
        let outcome = async {
            encoder.write(&wrong).await?;
            encoder.finish().await.map(|_| ())
        };
        assert!(outcome.await.is_err());
    }
}
