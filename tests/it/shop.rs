//! A tiny shop: landed tables from rows that are written as text, and the profile of a day from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use alluvial::calendar::{Zone, parse_date};
use alluvial::engine::{Engine, Limits};
use alluvial::error::Result;
use alluvial::land::{self, Landed, Source, TableOptions};
use alluvial::profile::{self, Profiled};
use alluvial::schema::landed::{Reading, Table};
use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Utc};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;

/// What a shop landed, and the settings under which it is read.
pub(crate) struct Shop {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) zone: Zone,
    pub(crate) currency: String,
    pub(crate) threads: usize,
    pub(crate) max_reject_ratio: f64,
    pub(crate) lookback_days: u32,
    pub(crate) tables: BTreeMap<Table, TableOptions>,
    pub(crate) status_aliases: BTreeMap<String, String>,
    pub(crate) fields: BTreeMap<String, Reading>,
    pub(crate) counted: Vec<String>,
    pub(crate) exclude: Option<String>,
    pub(crate) ignore_renewals: bool,
    pub(crate) contact_fields: BTreeSet<String>,
    pub(crate) event_columns: Option<BTreeSet<String>>,
    pub(crate) overrides: Option<PathBuf>,
}

/// A day of a shop.
pub(crate) struct Day {
    pub(crate) engine: Engine,
    pub(crate) session: SessionContext,
    pub(crate) landed: Landed,
    pub(crate) profiled: Profiled,
}

impl Shop {
    /// A shop in `zone` that counts in euros and lets any number of rows be faulty.
    pub(crate) fn new(zone: &str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            zone: Zone::parse(zone).unwrap(),
            currency: "EUR".into(),
            threads: 2,
            max_reject_ratio: 1.0,
            lookback_days: 3,
            tables: BTreeMap::new(),
            status_aliases: BTreeMap::new(),
            fields: BTreeMap::new(),
            counted: ["paid", "refunded", "partially_refunded"].map(str::to_owned).to_vec(),
            exclude: None,
            ignore_renewals: false,
            contact_fields: BTreeSet::new(),
            event_columns: None,
            overrides: None,
        }
    }

    /// Lands a file: `orders` is `orders/part.parquet`. The first line names the columns (`name` or `name:type`), every
    /// other line is a row; cells stand between bars, an empty one is null, `''` is the empty string.
    pub(crate) fn land(&self, path: &str, text: &str) -> &Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let header: Vec<&str> = lines.next().unwrap().split('|').map(str::trim).collect();
        let rows: Vec<Vec<&str>> =
            lines.map(|line| line.split('|').map(|cell| cell.trim_matches(' ')).collect()).collect();
        assert!(rows.iter().all(|row| row.len() == header.len()), "a row of {path} has another number of cells");
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (place, head) in header.iter().enumerate() {
            let (name, kind) = head.split_once(':').unwrap_or((head, "text"));
            let cells: Vec<Option<&str>> =
                rows.iter().map(|row| Some(row[place]).filter(|cell| !cell.is_empty())).collect();
            let column = column(kind, &cells);
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(column);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(self.path(path)).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        self
    }

    /// Where a landed file lies; its folder is made.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        let path = if path.contains('/') { path.to_owned() } else { format!("{path}/part.parquet") };
        let path = self.dir.path().join("landing").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// The profile as of a day.
    pub(crate) async fn day(&self, as_of: &str) -> Day {
        Box::pin(self.try_day(as_of)).await.unwrap()
    }

    /// The profile as of a day, or why there is none.
    pub(crate) async fn try_day(&self, as_of: &str) -> Result<Day> {
        let as_of = parse_date(as_of).unwrap();
        let mut functions = land::read::functions();
        functions.push(profile::guest_id_function(b"a lake's key"));
        let spill = Some(self.dir.path().join("spill"));
        let limits = Limits { memory: 256 << 20, threads: self.threads, spill };
        let engine = Engine::new(limits, functions, self.overrides.clone())?;
        let engine = engine.with_aggregate(profile::favorite_function());
        let session = engine.session();
        let landing = self.dir.path().canonicalize().unwrap().join("landing");
        let source = |table: Table| Source {
            table,
            address: ObjectStoreUrl::local_filesystem(),
            store: Arc::new(LocalFileSystem::new()),
            prefix: object_store::path::Path::from_absolute_path(landing.join(table.name())).unwrap(),
            pattern: None,
        };
        let sources: Vec<Source> = Table::ALL.into_iter().map(source).collect();
        let options = land::Options {
            zone: self.zone,
            currency: self.currency.clone(),
            as_of,
            horizon: "2027-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap(),
            max_reject_ratio: self.max_reject_ratio,
            lookback_days: self.lookback_days,
            tables: self.tables.clone(),
            statuses: land::statuses(&self.status_aliases),
            fields: self.fields.clone(),
            without_forgotten: false,
        };
        let landed = Box::pin(land::land(&engine, &session, &sources, &options)).await?;
        let options = profile::Options {
            zone: self.zone,
            as_of,
            currency: self.currency.clone(),
            counted: self.counted.clone(),
            exclude: self.exclude.clone(),
            ignore_renewals: self.ignore_renewals,
            contact_fields: self.contact_fields.clone(),
            kept: profile::KeptRows { events: self.event_columns.clone(), ..profile::KeptRows::default() },
        };
        let profiled = Box::pin(profile::build(&engine, &session, &landed, &options)).await?;
        Ok(Day { engine, session, landed, profiled })
    }
}

impl Day {
    /// The rows of a query: cells between bars, `-` where there is no value.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let batches = Box::pin(self.session.sql(sql)).await.unwrap().collect().await.unwrap();
        let options = FormatOptions::default().with_null("-");
        let mut rows = Vec::new();
        for batch in &batches {
            let columns: Vec<ArrayFormatter<'_>> =
                batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                rows.push(cells.join("|"));
            }
        }
        rows
    }

    /// `columns` of the profile, by customer_id.
    pub(crate) async fn profile(&self, columns: &str) -> Vec<String> {
        self.rows(&format!("SELECT {columns} FROM profile ORDER BY customer_id")).await
    }

    /// The faulty rows of a table: file, row, key, column, rule, value.
    pub(crate) fn rejects(&self, table: Table) -> Vec<String> {
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        self.landed
            .rejects
            .iter()
            .filter(|reject| reject.table == table.name())
            .map(|reject| {
                let file = reject.file.rsplit('/').next().unwrap();
                let (key, value) = (shown(&reject.key), shown(&reject.value));
                format!("{file}|{}|{key}|{}|{}|{value}", reject.row, reject.column, reject.rule)
            })
            .collect()
    }

    /// How many rows were left out of a table for a reason.
    pub(crate) fn left_out(&self, table: &'static str, reason: &'static str) -> u64 {
        self.profiled.left_out.get(&(table, reason)).copied().unwrap_or(0)
    }
}

fn column(kind: &str, cells: &[Option<&str>]) -> ArrayRef {
    let text: ArrayRef =
        Arc::new(cells.iter().map(|cell| cell.map(|cell| cell.trim_matches('\''))).collect::<StringArray>());
    let (unit, zone) = kind.split_once('@').map_or((kind, None), |(unit, zone)| (unit, Some(Arc::from(zone))));
    let to = |target: DataType| {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&text, &target, &strict).unwrap()
    };
    let decimal = |numbers: &str| {
        let (precision, scale) = numbers.split_once(',').unwrap();
        DataType::Decimal128(precision.trim().parse().unwrap(), scale.trim().parse().unwrap())
    };
    match unit {
        "text" => text,
        "large" => to(DataType::LargeUtf8),
        "dict" => to(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))),
        "int" => to(DataType::Int64),
        "int32" => to(DataType::Int32),
        "uint64" => to(DataType::UInt64),
        "float" => to(DataType::Float64),
        "float32" => to(DataType::Float32),
        "bool" => to(DataType::Boolean),
        "date" => to(DataType::Date32),
        "binary" => to(DataType::Binary),
        "seconds" => cast(&to(DataType::Int64), &DataType::Timestamp(TimeUnit::Second, zone)).unwrap(),
        "s" => to(DataType::Timestamp(TimeUnit::Second, zone)),
        "ms" => to(DataType::Timestamp(TimeUnit::Millisecond, zone)),
        "us" => to(DataType::Timestamp(TimeUnit::Microsecond, zone)),
        "ns" => to(DataType::Timestamp(TimeUnit::Nanosecond, zone)),
        "null" => new_null_array(&DataType::Null, cells.len()),
        "list" => list(cells, &DataType::Utf8),
        "ints" => list(cells, &DataType::Int64),
        _ => match unit.strip_prefix("dec(").and_then(|rest| rest.strip_suffix(')')) {
            Some(numbers) => to(decimal(numbers)),
            None => panic!("no type `{kind}`"),
        },
    }
}

/// Elements stand between semicolons.
fn list(cells: &[Option<&str>], element: &DataType) -> ArrayRef {
    let split = |cell: &str| cell.split(';').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = cells.iter().map(|cell| cell.map(split).unwrap_or_default()).collect();
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    let values: ArrayRef = Arc::new(rows.iter().flatten().map(|part| Some(part.as_str())).collect::<StringArray>());
    let values = cast(&values, element).unwrap();
    let present = arrow::buffer::NullBuffer::from(cells.iter().map(Option::is_some).collect::<Vec<_>>());
    let field = Arc::new(Field::new("item", element.clone(), true));
    Arc::new(ListArray::new(field, offsets, values, Some(present)))
}
