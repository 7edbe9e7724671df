//! A tiny shop that is run by the program itself: landed Parquet from a few lines of text, nights, and what is published.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use crate::harness::{Folder, PROJECT, Ran};

/// The job that publishes a day.
pub(crate) const NIGHTLY: &str = "[[steps]]\nrun = \"snapshot\"\n";

/// A project with landed files whose clock moves on by a minute with every run.
pub(crate) struct TinyShop {
    /// The project's folder; the lake is `lake/` in it.
    pub(crate) folder: Folder,
    minutes: Cell<u32>,
    variables: Vec<(String, String)>,
    /// Keeps the published shop that this one is a copy of for the next test that asks for one.
    _template: Option<Arc<Folder>>,
}

/// A shop whose first day is published, for tests to copy; it is there as long as one of them runs.
static TEMPLATE: Mutex<Weak<Folder>> = Mutex::new(Weak::new());

/// Writes comma-separated lines, the first of which names the columns, as a Parquet file. A column has the contract's
/// type, or the one that is written after its name (`total:text`); an empty cell is null.
pub(crate) fn write_parquet(path: &Path, lines: &str) {
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let head = lines.first().copied().unwrap_or_default();
    let column = |written: &str| {
        let (name, kind) = written.split_once(':').unwrap_or((written, ""));
        Field::new(name, data_type(name, kind), true)
    };
    let schema = Arc::new(Schema::new(head.split(',').map(column).collect::<Vec<_>>()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), Arc::clone(&schema), None).unwrap();
    let text = lines[1..].join("\n");
    for batch in ReaderBuilder::new(schema).with_header(false).build(text.as_bytes()).unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.close().unwrap();
}

/// Copies what is in a folder, with its times.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
            let times = fs::FileTimes::new().set_modified(from.metadata().unwrap().modified().unwrap());
            File::options().append(true).open(to).unwrap().set_times(times).unwrap();
        }
    }
}

fn data_type(name: &str, kind: &str) -> DataType {
    match (kind, name) {
        ("text", _) => DataType::Utf8,
        ("int", _) => DataType::Int64,
        ("float", _) => DataType::Float64,
        ("bool", _) => DataType::Boolean,
        ("date", _) | (_, "date" | "birthday" | "until") => DataType::Date32,
        (_, name) if name.ends_with("_at") => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        (_, "total" | "refunded" | "discount" | "subtotal" | "shipping" | "tax") => DataType::Decimal128(18, 2),
        (_, "unit_price" | "price") => DataType::Decimal128(18, 4),
        (_, "rate") => DataType::Decimal128(18, 8),
        (_, "quantity" | "returned_quantity" | "line") => DataType::Int64,
        (_, "rating" | "value" | "latitude" | "longitude") => DataType::Float64,
        (_, "test" | "recurring" | "machine" | "email_valid" | "phone_valid") => DataType::Boolean,
        _ => DataType::Utf8,
    }
}

impl TinyShop {
    /// A project with the nightly job, and nothing landed.
    pub(crate) fn empty() -> Self {
        let folder = Folder::empty();
        folder.write("alluvial.toml", PROJECT);
        folder.write("jobs/nightly.toml", NIGHTLY);
        Self { folder, minutes: Cell::new(0), variables: Vec::new(), _template: None }
    }

    /// A shop of four customers and a guest whose first three days of March differ.
    pub(crate) fn new() -> Self {
        let shop = Self::empty();
        shop.land("customers/all", CUSTOMERS).land("orders/all", ORDERS).land("order_items/all", ITEMS);
        shop.segment("buyers", "number_of_orders >= 1").segment("repeat", "number_of_orders > 1");
        shop.segment("prospects", "number_of_orders = 0").segment("danes", "customer_countries CONTAINS 'DK'");
        shop
    }

    /// A shop as [`TinyShop::new`] gives it, whose 1st of March is published.
    pub(crate) fn after_a_night() -> Self {
        let mut known = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
        let template = known.upgrade().unwrap_or_else(|| {
            let first = Self::new();
            first.night("2026-03-01");
            let template = Arc::new(first.folder);
            *known = Arc::downgrade(&template);
            template
        });
        drop(known);
        let folder = Folder::empty();
        copy(template.path(), folder.path());
        Self { folder, minutes: Cell::new(1), variables: Vec::new(), _template: Some(template) }
    }

    /// A variable for every command.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lands a file: `orders/all` is `lake/landing/orders/all.parquet`.
    pub(crate) fn land(&self, file: &str, lines: &str) -> &Self {
        write_parquet(&self.landed(file), lines);
        self
    }

    /// Where a landed file lies.
    pub(crate) fn landed(&self, file: &str) -> PathBuf {
        self.folder.path().join(format!("lake/landing/{file}.parquet"))
    }

    /// Writes a segment.
    pub(crate) fn segment(&self, id: &str, query: &str) -> &Self {
        self.segment_with(id, query, "")
    }

    /// Writes a segment with further lines.
    pub(crate) fn segment_with(&self, id: &str, query: &str, lines: &str) -> &Self {
        let text = format!("name = \"{id}\"\ndescription = \"a test's\"\nquery = \"{query}\"\n{lines}\n");
        self.folder.write(&format!("sql/segments/{id}.toml"), &text);
        self
    }

    /// Writes `alluvial.toml`: the least project, and these lines.
    pub(crate) fn settings(&self, lines: &str) -> &Self {
        self.folder.write("alluvial.toml", &format!("{PROJECT}\n{lines}\n"));
        self
    }

    /// Runs a command on the 1st of April 2026 or, after a thousand, on the 2nd: each a minute after the one before.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let minutes = self.minutes.get();
        self.minutes.set(minutes + 1);
        let (day, hour) = (1 + (6 + minutes / 60) / 24, (6 + minutes / 60) % 24);
        let now = format!("2026-04-{day:02}T{hour:02}:{:02}:00Z", minutes % 60);
        let mut variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        variables.push(("ALLUVIAL_NOW", &now));
        self.folder.run_with(arguments, &variables)
    }

    /// Publishes a day and gives its report.
    pub(crate) fn night(&self, as_of: &str) -> Value {
        self.night_with(as_of, &[])
    }

    /// Publishes a day with further arguments, and gives its report.
    pub(crate) fn night_with(&self, as_of: &str, more: &[&str]) -> Value {
        let arguments = ["run", "nightly", "--as-of", as_of, "--format", "json"];
        let ran = self.run(&[&arguments, more].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The rows of a query: values joined by blanks, `-` where there is none.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let ran = self.run(&["query", sql, "--format", "csv"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{sql}");
        let mut reader = csv::Reader::from_reader(ran.stdout.as_bytes());
        let shown = |row: csv::StringRecord| {
            row.iter().map(|value| if value.is_empty() { "-" } else { value }).collect::<Vec<_>>().join(" ")
        };
        reader.records().map(|row| shown(row.unwrap())).collect()
    }

    /// The first value of a query.
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql).into_iter().next().unwrap()
    }

    /// The manifest that a published day is read from.
    pub(crate) fn manifest(&self, as_of: &str) -> Value {
        let path = self.one(&format!("SELECT manifest FROM snapshots WHERE as_of = DATE '{as_of}'"));
        serde_json::from_str(&self.folder.read(&format!("lake/{path}"))).unwrap()
    }

    /// The customers of a segment on a day.
    pub(crate) fn members(&self, segment: &str, as_of: &str) -> Vec<String> {
        self.rows(&format!(
            "SELECT customer_id FROM segment_members WHERE segment = '{segment}' AND as_of = DATE '{as_of}' ORDER BY 1"
        ))
    }

    /// A day's changes of membership: segment, customer, change, cause.
    pub(crate) fn changes(&self, as_of: &str) -> Vec<String> {
        self.rows(&format!(
            "SELECT segment, customer_id, change, cause FROM segment_changes WHERE as_of = DATE '{as_of}' ORDER BY 1, 2"
        ))
    }

    /// Sizes and checksums of a published day's files, by table.
    pub(crate) fn bytes(&self, as_of: &str) -> BTreeMap<String, Vec<(u64, u64)>> {
        let manifest = self.manifest(as_of);
        let tables = manifest["tables"].as_object().unwrap().iter();
        tables
            .map(|(table, described)| {
                let files = described["files"].as_array().unwrap().iter();
                let files = files.map(|file| (file["size"].as_u64().unwrap(), file["crc32c"].as_u64().unwrap()));
                (table.clone(), files.collect())
            })
            .collect()
    }

    /// Every file below a folder of the project, sorted.
    pub(crate) fn files(&self, below: &str) -> Vec<String> {
        let root = self.folder.path().join(below);
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }
}

/// a has bought for a year, b too, c never has, d comes on the 2nd.
pub(crate) const CUSTOMERS: &str = "
customer_id,created_at,updated_at,email,phone,first_name,last_name,country,city,email_consent,tags,lists
a,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,ann@example.com,+4500000001,Ann,Ager,Denmark,Aarhus,subscribed,\"vip,news\",autumn
b,2025-06-01T10:00:00Z,2025-06-01T10:00:00Z,bob@example.com,,Bob,Berg,DE,Berlin,never,,
c,2026-02-01T10:00:00Z,2026-02-01T10:00:00Z,cid@example.com,,Cid,Carl,DK,Odense,subscribed,news,
d,2026-03-02T10:00:00Z,2026-03-02T10:00:00Z,dea@example.com,,Dea,Dahl,DK,Odense,subscribed,,
";

/// o7 is a guest's; o2 is refunded in part on the 2nd.
pub(crate) const ORDERS: &str = "
order_id,ordered_at,updated_at,total,customer_id,email,status,refunded,refunded_at,discount,coupon_codes
o1,2025-02-01T10:00:00Z,2025-02-01T10:00:00Z,100.00,a,,paid,,,10.00,\"TEN,SPRING\"
o2,2026-02-27T10:00:00Z,2026-02-27T10:00:00Z,250.00,a,,partially_refunded,50.00,2026-03-02T10:00:00Z,,
o3,2026-01-15T10:00:00Z,2026-01-15T10:00:00Z,80.10,b,,paid,,,,
o4,2026-03-02T12:00:00Z,2026-03-02T12:00:00Z,40.20,b,,paid,,,,
o5,2026-03-02T15:00:00Z,2026-03-02T15:00:00Z,500.00,d,,paid,,,,
o6,2026-03-03T09:00:00Z,2026-03-03T09:00:00Z,30.00,b,,cancelled,,,,
o7,2026-03-01T10:00:00Z,2026-03-01T10:00:00Z,20.00,,guest@example.com,paid,,,,
";

/// Lines of those orders.
pub(crate) const ITEMS: &str = "
order_id,line,product_id,title,category,brand,quantity,unit_price,returned_quantity
o1,1,p1,Cup,Kitchen > Cups,Nord,2,50.0000,
o2,1,p2,Pan,Kitchen > Pans,Nord,1,200.0000,
o2,2,p3,Lid,Kitchen > Pans,Syd,1,50.0000,1
o3,1,p1,Cup,Kitchen > Cups,Nord,1,80.1000,
o4,1,p4,Rug,Home,Syd,1,40.2000,
o5,1,p2,Pan,Kitchen > Pans,Nord,2,250.0000,
o6,1,p4,Rug,Home,Syd,1,30.0000,
o7,1,p5,Mat,Home,Syd,4,5.0000,
";
