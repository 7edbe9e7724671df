//! Any log of orders: a file of customer_id, ordered_at and amount, as Parquet, CSV or JSON Lines.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, RecordBatch, StringViewArray, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Schema, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::lifecycle::row::days_of;

/// Order days, by customer and local day.
#[derive(Debug, Clone, Default)]
pub struct OrderLog {
    customers: Vec<String>,
    /// Customer, day (from 1970-01-01), hundredths; sorted, one a customer and day.
    days: Vec<(u32, i32, i128)>,
}

/// The columns, and other names by which they go.
const COLUMNS: [(&str, &[&str]); 3] =
    [("customer_id", &["customer"]), ("ordered_at", &["ordered_on", "date"]), ("amount", &["total"])];

impl OrderLog {
    /// Reads a file. Times are instants and become local days of `zone`; dates are days. Several orders of one customer on
    /// one day are one order day.
    ///
    /// # Errors
    /// A file that cannot be read (`lake.…`, `input.…`), a missing column (`orders.column`), and the first value that is
    /// no customer, time or amount (`orders.value`), with its row.
    pub fn read(path: &Path, zone: Zone) -> Result<Self> {
        let mut log = Reading { zone, ids: HashMap::new(), log: Self::default() };
        let shown = path.display().to_string();
        log.file(path).map_err(|error| error.in_file(&shown))?;
        let mut log = log.log;
        log.days.sort_unstable();
        log.days.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 += next.2;
            }
            same
        });
        if log.days.is_empty() {
            return Err(Error::input("orders.empty", "there is no order in the file").in_file(shown));
        }
        Ok(log)
    }

    /// The last order day.
    pub fn last_day(&self) -> Option<NaiveDate> {
        self.days.iter().map(|(_, day, _)| *day).max().and_then(Date32Type::to_naive_date_opt)
    }

    /// Customer, day (from 1970-01-01) and hundredths of each order day, sorted.
    #[cfg(test)]
    pub(in crate::lifecycle) fn order_days(&self) -> &[(u32, i32, i128)] {
        &self.days
    }

    /// The table `order_days`.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn table(&self) -> Result<Arc<dyn TableProvider>> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("customer_id", DataType::Utf8View, false),
            Field::new("ordered_on", DataType::Date32, false),
            Field::new("spend", DataType::Decimal128(28, 2), false),
        ]));
        let name = |customer: u32| self.customers.get(customer as usize).map_or("", String::as_str);
        let batches: std::result::Result<Vec<RecordBatch>, Error> = self
            .days
            .chunks(crate::engine::BATCH_ROWS)
            .map(|days| {
                let ids: StringViewArray = days.iter().map(|(customer, _, _)| Some(name(*customer))).collect();
                let dates: Date32Array = days.iter().map(|(_, day, _)| Some(*day)).collect();
                let spend = Decimal128Array::from_iter_values(days.iter().map(|(_, _, cents)| *cents));
                let columns: Vec<ArrayRef> =
                    vec![Arc::new(ids), Arc::new(dates), Arc::new(spend.with_precision_and_scale(28, 2)?)];
                Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
            })
            .collect();
        Ok(Arc::new(MemTable::try_new(schema, vec![batches?])?))
    }
}

struct Reading {
    zone: Zone,
    ids: HashMap<String, u32>,
    log: OrderLog,
}

fn wrong(row: u64, column: &str, message: impl Into<String>) -> Error {
    Error::input("orders.value", format!("row {row}, `{column}`: {}", message.into()))
}

/// The place of each column among those that a file has.
fn places(found: &[String]) -> Result<[usize; 3]> {
    let mut places = [0; 3];
    for (place, (name, others)) in places.iter_mut().zip(COLUMNS) {
        let named = |wanted: &str| found.iter().position(|column| column.trim().eq_ignore_ascii_case(wanted));
        let at = named(name).or_else(|| others.iter().find_map(|other| named(other)));
        *place = at.ok_or_else(|| {
            Error::input("orders.column", format!("the file has no column `{name}`")).with_hint(format!(
                "name the columns customer_id, ordered_at and amount; the file has {}",
                found.iter().map(|column| format!("`{}`", column.trim())).collect::<Vec<_>>().join(", ")
            ))
        })?;
    }
    Ok(places)
}

impl Reading {
    fn file(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path)?;
        let mut head = [0; 4];
        let read = file.read(&mut head)?;
        drop(file);
        if &head[..read] == b"PAR1" {
            return self.parquet(path);
        }
        let file = File::open(path)?;
        let input: Box<dyn Read> = if head.starts_with(&[0x1f, 0x8b]) {
            Box::new(flate2::read::MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut input = BufReader::new(input);
        let first = input.fill_buf()?.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(b'{') { self.json(input) } else { self.csv(input) }
    }

    fn csv(&mut self, input: impl Read) -> Result<()> {
        let unreadable = |error: csv::Error| Error::input("orders.csv", format!("not CSV: {error}"));
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let header: Vec<String> = reader.headers().map_err(unreadable)?.iter().map(str::to_owned).collect();
        let at = places(&header)?;
        let mut record = csv::StringRecord::new();
        let mut row = 0;
        while reader.read_record(&mut record).map_err(unreadable)? {
            row += 1;
            let [id, day, amount] = at.map(|place| record.get(place).unwrap_or(""));
            self.texts(row, id, day, amount)?;
        }
        Ok(())
    }

    fn json(&mut self, input: impl BufRead) -> Result<()> {
        for (row, line) in (1..).zip(input.lines()) {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line)
                .map_err(|error| Error::input("orders.json", format!("line {row} is no JSON object: {error}")))?;
            let keys: Vec<String> = object.keys().cloned().collect();
            let [id, day, amount] = places(&keys)?.map(|place| match keys.get(place).and_then(|key| object.get(key)) {
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(serde_json::Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            });
            self.texts(row, &id, &day, &amount)?;
        }
        Ok(())
    }

    fn texts(&mut self, row: u64, id: &str, day: &str, amount: &str) -> Result<()> {
        let on = day_of(day.trim(), self.zone).ok_or_else(|| {
            wrong(row, "ordered_at", "no time").with_hint("write `2026-11-19`, or RFC 3339: `2026-11-19T10:00:00Z`")
        })?;
        let cents = cents_of(amount.trim())
            .ok_or_else(|| wrong(row, "amount", "no amount").with_hint("write a number such as `12.50`"))?;
        self.order(row, id.trim(), days_of(on), cents)
    }

    fn order(&mut self, row: u64, id: &str, day: i32, cents: i128) -> Result<()> {
        if id.is_empty() {
            return Err(wrong(row, "customer_id", "no customer").with_hint("leave orders without a customer out"));
        }
        if cents < 0 {
            return Err(wrong(row, "amount", "a negative amount")
                .with_hint("take refunds off the orders that they belong to, or leave them out"));
        }
        let next = u32::try_from(self.log.customers.len()).unwrap_or(u32::MAX);
        let customer = match self.ids.get(id) {
            Some(known) => *known,
            None => {
                self.ids.insert(id.to_owned(), next);
                self.log.customers.push(id.to_owned());
                next
            }
        };
        self.log.days.push((customer, day, cents));
        Ok(())
    }

    fn parquet(&mut self, path: &Path) -> Result<()> {
        let unreadable =
            |error: parquet::errors::ParquetError| Error::input("orders.parquet", format!("not Parquet: {error}"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?).map_err(unreadable)?;
        let columns: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        let at = places(&columns)?;
        let mut row = 0;
        for batch in reader.build().map_err(unreadable)? {
            let batch = batch?;
            let [ids, days, amounts] = at.map(|place| Arc::clone(batch.column(place)));
            let ids = cast(&ids, &DataType::Utf8View)?;
            let (days, amounts) = (self.days(&days, row)?, amounts_of(&amounts, row)?);
            for index in 0..batch.num_rows() {
                row += 1;
                let id = if ids.is_valid(index) { ids.as_string_view().value(index) } else { "" };
                let day = days[index].ok_or_else(|| wrong(row, "ordered_at", "no time"))?;
                let cents = amounts[index].ok_or_else(|| wrong(row, "amount", "no amount"))?;
                self.order(row, id.trim(), day, cents)?;
            }
        }
        Ok(())
    }

    fn days(&self, values: &ArrayRef, before: u64) -> Result<Vec<Option<i32>>> {
        match values.data_type() {
            DataType::Date32 | DataType::Date64 => {
                let days = cast(values, &DataType::Date32)?;
                Ok(days.as_primitive::<Date32Type>().iter().collect())
            }
            DataType::Timestamp(_, _) => {
                let instants = cast(values, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
                let local = |micros: Option<i64>| {
                    micros.and_then(DateTime::<Utc>::from_timestamp_micros).map(|at| days_of(self.zone.local_date(at)))
                };
                Ok(instants.as_primitive::<TimestampMicrosecondType>().iter().map(local).collect())
            }
            _ => {
                let texts = cast(values, &DataType::Utf8View)?;
                let texts = texts.as_string_view();
                let mut days = Vec::with_capacity(texts.len());
                for (row, text) in (before + 1..).zip(texts) {
                    let day = text.and_then(|text| day_of(text.trim(), self.zone));
                    days.push(Some(day.map(days_of).ok_or_else(|| wrong(row, "ordered_at", "no time"))?));
                }
                Ok(days)
            }
        }
    }
}

/// A text as a local day: a date, an instant (RFC 3339), or a local time without an offset.
fn day_of(text: &str, zone: Zone) -> Option<NaiveDate> {
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(day);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(zone.local_date(at.with_timezone(&Utc)));
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|local| local.date())
}

/// A text as hundredths, half a hundredth away from zero.
fn cents_of(text: &str) -> Option<i128> {
    let mut one = StringViewBuilder::new();
    one.append_value(text);
    let one: ArrayRef = Arc::new(one.finish());
    amounts_of(&one, 0).ok()?.first().copied().flatten()
}

fn amounts_of(values: &ArrayRef, before: u64) -> Result<Vec<Option<i128>>> {
    let decimals = cast(values, &DataType::Decimal128(28, 2))
        .map_err(|_| wrong(before + 1, "amount", format!("{} is no type of amounts", values.data_type())))?;
    Ok(decimals.as_primitive::<Decimal128Type>().iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<OrderLog> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        OrderLog::read(&path, Zone::parse("Europe/Copenhagen").unwrap())
    }

    fn told(log: &OrderLog) -> Vec<(String, String, i128)> {
        let day = |day: i32| Date32Type::to_naive_date_opt(day).unwrap().to_string();
        log.days.iter().map(|(who, on, cents)| (log.customers[*who as usize].clone(), day(*on), *cents)).collect()
    }

    #[test]
    fn csv_and_json_lines() {
        let csv = "ordered_at,customer_id,amount,other\n2026-07-01T22:30:00Z,a,10.005,x\n2026-07-02,a,1,x\n2026-01-01 23:59:59,07,.5,x\n";
        let wanted = [("a".to_owned(), "2026-07-02".to_owned(), 1101), ("07".to_owned(), "2026-01-01".to_owned(), 50)];
        assert_eq!(told(&read("a.csv", csv.as_bytes()).unwrap()), wanted);
        let json = "{\"customer_id\": \"a\", \"date\": \"2026-07-02\", \"total\": 11.01}\n\n{\"customer_id\": \"07\", \"date\": \"2026-01-01\", \"total\": \"0.5\"}\n";
        assert_eq!(told(&read("a.jsonl", json.as_bytes()).unwrap()), wanted);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, csv.as_bytes()).unwrap();
        assert_eq!(told(&read("a.csv.gz", &gz.finish().unwrap()).unwrap()), wanted);
    }

    #[test]
    fn faults_name_the_row_and_the_column() {
        for (text, code, message) in [
            ("customer_id,amount\na,1\n", "orders.column", "no column `ordered_at`"),
            ("customer_id,ordered_at,amount\na,2026-01-01,1\n,2026-01-01,1\n", "orders.value", "row 2, `customer_id`"),
            ("customer_id,ordered_at,amount\na,01/02/2026,1\n", "orders.value", "row 1, `ordered_at`"),
            ("customer_id,ordered_at,amount\na,2026-01-01,free\n", "orders.value", "row 1, `amount`: no amount"),
            ("customer_id,ordered_at,amount\na,2026-01-01,-1\n", "orders.value", "a negative amount"),
            ("customer_id,ordered_at,amount\n", "orders.empty", "no order"),
            ("{\"customer_id\": 1\n", "orders.json", "line 1"),
        ] {
            let error = read("orders.csv", text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(message), "{error}");
            assert!(error.place().file.as_deref().is_some_and(|file| file.ends_with("orders.csv")));
        }
        assert_eq!(read("x.parquet", b"PAR1nonsense").unwrap_err().code(), "orders.parquet");
    }
}
