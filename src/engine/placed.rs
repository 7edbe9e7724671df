//! Rows that know their place among all rows, put in order without being compared.
//!
//! A bucket sort on the disk: rows are dealt to buckets of places as they come, and a bucket is put in order when it is read.
//! What is held meanwhile is a few batches and two buckets, however many rows there are.

/// The table that they become.
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream_partitioned;
use datafusion::prelude::{DataFrame, SessionContext};
use roaring::RoaringBitmap;

use self::table::PlacedTable;
use super::Engine;
use super::dealt::{self, Dealt, DealtFile};
use super::scratch::nullable;
use crate::error::{Error, Result};

/// Places of a bucket: so many rows are put in order at a time.
const BUCKET: u32 = 1 << 16;

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
        let table = PlacedTable {
            schema,
            place: self.place,
            sorted: sorted.iter().map(|column| (*column).to_owned()).collect(),
            files: Arc::new(DealtFile::open_all(self.files)?),
        };
        self.session.deregister_table(self.name.as_str())?;
        self.session.register_table(self.name.as_str(), Arc::new(table))?;
        Ok(())
    }
}

/// Deals the rows of a stream to the buckets of their places, and says which places those are.
async fn deal(
    stream: SendableRecordBatchStream,
    schema: SchemaRef,
    place: usize,
    places: u32,
    path: PathBuf,
) -> Result<(Dealt, RoaringBitmap)> {
    let buckets = places.div_ceil(BUCKET).max(1) as usize;
    let mut seen = RoaringBitmap::new();
    let dealt = dealt::deal(stream, schema, buckets, &path, |batch| {
        let own = batch.column(place).as_primitive_opt::<UInt32Type>();
        let own = own.filter(|own| own.null_count() == 0 && own.values().iter().all(|place| *place < places));
        let Some(own) = own else {
            return Err(Error::internal("engine.placed", "a row has no place among the others"));
        };
        if !own.values().iter().all(|place| seen.insert(*place)) {
            return Err(Error::internal("engine.placed", "two rows have the same place"));
        }
        Ok(own.values().iter().map(|place| place / BUCKET).collect())
    });
    Ok((dealt.await?, seen))
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

    /// 200,000 places are several buckets and several times what a thread holds.
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
            told(&session, "SELECT rest FROM t WHERE place BETWEEN 65534 AND 65537 ORDER BY name").await,
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
