//! The files of a landed table, grouped by their schema, and the SQL that reads each group as the contract's columns.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::columns::{self, ReadColumn};
use super::discover::LandedFile;
use super::{Landed, Options, TableSummary, faults};
use crate::engine::pinned::{PinnedFile, PinnedTable};
use crate::engine::statement::{identifier, literal};
use crate::error::{Error, Result};
use crate::schema::landed::{Reading, Table, instant_type};

/// How a landed table is read: one group for each schema that its files have.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) table: Table,
    pub(super) groups: Vec<Group>,
    /// The columns that every group gives, in order.
    pub(super) columns: Vec<(String, Reading)>,
    /// A join that adds `_rate` to orders where other currencies were landed.
    pub(super) rated: bool,
    /// The files' paths by their number.
    pub(super) paths: Vec<String>,
    pub(super) rows: u64,
    pub(super) newest_folder: Option<NaiveDate>,
    /// The version times that the files' folders give, in microseconds.
    pub(super) landed_at: BTreeSet<i64>,
}

/// The files of one schema.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The session's table without row numbers; with them it is `<raw>_rows`.
    pub(super) raw: String,
    pub(super) columns: Vec<ReadColumn>,
}

/// Registers the files of a table and works out how they are read.
pub(super) fn shape(
    session: &SessionContext,
    table: Table,
    address: Option<ObjectStoreUrl>,
    files: Vec<LandedFile>,
    options: &Options,
    landed: &mut Landed,
) -> Result<Shape> {
    let custom = custom_columns(table, &files, options, &mut landed.warnings);
    let mut by_schema: Vec<(SchemaRef, Vec<(usize, &LandedFile)>)> = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let known = by_schema.iter_mut().find(|(schema, _)| schema.fields() == file.schema.fields());
        match known {
            Some((_, group)) => group.push((number, file)),
            None => by_schema.push((Arc::clone(&file.schema), vec![(number, file)])),
        }
    }
    let mut groups = Vec::new();
    let mut present = BTreeSet::new();
    for (index, (schema, members)) in by_schema.iter().enumerate() {
        let Some(address) = &address else { continue };
        let first = members.first().map_or_else(String::new, |(_, file)| file.name.clone());
        named_once(table, schema, &first)?;
        let read = columns::read_columns(table, schema, &first, options, &custom)?;
        present.extend(read.iter().filter(|column| column.source.is_some()).map(|column| column.name.clone()));
        let raw = format!("raw_{}_{index}", table.name());
        register(session, &raw, address, schema, members)?;
        groups.push(Group { raw, columns: read });
    }
    if !files.is_empty() {
        for (name, source) in options.table(table).columns.iter().filter(|(name, _)| !present.contains(*name)) {
            let table = table.name();
            landed.warnings.push(format!("no file of {table} has the column `{source}` that is to be `{name}`"));
        }
    }
    let mut columns: Vec<(String, Reading)> =
        table.columns().iter().map(|column| (column.name.to_owned(), column.reading)).collect();
    columns.extend(custom.iter().map(|(name, reading)| (name.clone(), *reading)));
    let paths = files.iter().map(|file| file.name.clone()).collect();
    let rows = files.iter().map(|file| file.rows).sum();
    let landed_at = files.iter().filter_map(|file| file.version_at).map(|at| at.timestamp_micros()).collect();
    let newest_folder = files.iter().filter_map(|file| file.dt).max();
    landed.tables.insert(table, TableSummary { files, rows, present, custom, ..TableSummary::default() });
    Ok(Shape { table, groups, columns, rated: false, paths, rows, newest_folder, landed_at })
}

/// Names that a landed column cannot keep: they are the file's number, the folder's time and the row's number.
pub(super) const RESERVED: &[&str] = &["_file", "_landed", "_row"];

/// Refuses a file that has two columns of one name, since nothing says which of them is meant.
fn named_once(table: Table, schema: &Schema, file: &str) -> Result<()> {
    let mut names = BTreeSet::new();
    match schema.fields().iter().find(|field| !names.insert(field.name())) {
        None => Ok(()),
        Some(twice) => Err(Error::input(
            "land.column_twice",
            format!("a file of {} has the column `{}` twice", table.name(), twice.name()),
        )
        .in_file(file)
        .with_hint("land the file with every column under a name of its own")),
    }
}

fn register(
    session: &SessionContext,
    raw: &str,
    address: &ObjectStoreUrl,
    schema: &Schema,
    members: &[(usize, &LandedFile)],
) -> Result<()> {
    let pinned = |(number, file): &(usize, &LandedFile)| {
        let number = i32::try_from(*number).unwrap_or(i32::MAX);
        let version = file.version_at.map(|at| at.timestamp_micros());
        PinnedFile {
            path: file.path.clone(),
            size: file.size,
            rows: Some(file.rows),
            picked: None,
            constants: vec![
                ScalarValue::Int32(Some(number)),
                ScalarValue::TimestampMicrosecond(version, Some("UTC".into())),
            ],
        }
    };
    let constants = vec![
        Arc::new(Field::new("_file", DataType::Int32, false)),
        Arc::new(Field::new("_landed", instant_type(), true)),
    ];
    let kept = |field: &&Arc<Field>| !RESERVED.contains(&field.name().as_str());
    let schema = Schema::new(schema.fields().iter().filter(kept).cloned().collect::<Vec<_>>());
    let table =
        PinnedTable::new(address.clone(), &schema, members.iter().map(pinned).collect()).with_constants(constants);
    session.register_table(raw, Arc::new(table.clone()))?;
    session.register_table(format!("{raw}_rows"), Arc::new(table.with_row_number("_row")))?;
    Ok(())
}

/// The columns beside the contract's, and how they are read: as declared, else the widest of the files' types, else
/// text with a warning.
fn custom_columns(
    table: Table,
    files: &[LandedFile],
    options: &Options,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, Reading> {
    let settings = options.table(table);
    let mapped: BTreeSet<&str> = settings.columns.values().map(String::as_str).collect();
    let mut found: BTreeMap<String, Option<Reading>> = BTreeMap::new();
    let mut unreadable = BTreeSet::new();
    let mut mixed = BTreeSet::new();
    for field in files.iter().flat_map(|file| file.schema.fields()) {
        let renamed =
            settings.columns.iter().find(|(name, source)| *source == field.name() && table.column(name).is_none());
        let name = match renamed {
            Some((name, _)) => name,
            None if mapped.contains(field.name().as_str()) => continue,
            None if field.name() == "dt" || field.name().starts_with('_') => continue,
            None => field.name(),
        };
        if table.column(name).is_some() {
            continue;
        }
        if let Some(declared) = declared(table, name, options) {
            found.insert(name.clone(), Some(declared));
            continue;
        }
        // A file without any value says nothing about the type.
        if matches!(field.data_type(), DataType::Null) {
            found.entry(name.clone()).or_insert(None);
            continue;
        }
        let Some(reading) = natural(field.data_type()) else {
            unreadable.insert(name);
            continue;
        };
        let entry = found.entry(name.clone()).or_insert(None);
        *entry = Some(match entry.map(|known| widest(known, reading)) {
            None => reading,
            Some(Some(wide)) => wide,
            Some(None) => {
                mixed.insert(name);
                Reading::Text
            }
        });
    }
    for name in mixed {
        warnings.push(format!("column `{name}` of {} has different types in its files: read as text", table.name()));
    }
    for name in unreadable {
        warnings.push(format!("column `{name}` of {} holds nested values or bytes: not read", table.name()));
    }
    let mut columns = BTreeMap::new();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (name, reading) in found {
        // Delta Lake takes names that differ in case for one.
        match taken.entry(plain_name(&name).to_lowercase()) {
            Entry::Occupied(first) if table == Table::Customers => {
                let first = first.get();
                warnings
                    .push(format!("columns `{first}` and `{name}` of customers have one name: `{name}` is not read"));
                continue;
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => _ = place.insert(name.clone()),
        }
        columns.insert(name, reading.unwrap_or(Reading::Text));
    }
    columns
}

/// A column's name without what no Delta reader takes in one.
pub fn plain_name(name: &str) -> String {
    name.chars().map(|c| if c.is_whitespace() || " ,;{}()=".contains(c) { '_' } else { c }).collect()
}

/// How the project says that a custom column is read.
pub(super) fn declared(table: Table, name: &str, options: &Options) -> Option<Reading> {
    if table == Table::Customers { options.fields.get(name).copied() } else { None }
}

/// The digits that a decimal of ours holds.
const DIGITS: u8 = 18;

fn natural(physical: &DataType) -> Option<Reading> {
    Some(match physical {
        DataType::Boolean => Reading::Boolean,
        DataType::Date32 | DataType::Date64 => Reading::Date,
        DataType::Timestamp(_, _) => Reading::Instant,
        DataType::Decimal128(digits, scale) if *digits <= DIGITS && *scale >= 0 => Reading::Decimal(*scale),
        DataType::List(element) | DataType::LargeList(element) if !element.data_type().is_nested() => Reading::List,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Reading::Text,
        DataType::Dictionary(_, value) => return natural(value),
        other if other.is_integer() => Reading::Integer,
        // Decimals of more digits are numbers too, to sixteen digits.
        other if other.is_numeric() => Reading::Float,
        _ => return None,
    })
}

/// The type that holds the values of both, if there is one.
fn widest(a: Reading, b: Reading) -> Option<Reading> {
    use Reading::{Date, Decimal, Float, Instant, Integer, List};
    match (a, b) {
        (a, b) if a == b => Some(a),
        (Decimal(a), Decimal(b)) => Some(Decimal(a.max(b))),
        (Integer, Decimal(scale)) | (Decimal(scale), Integer) => Some(Decimal(scale)),
        (Integer | Float | Decimal(_), Integer | Float | Decimal(_)) => Some(Float),
        (Instant, Date) | (Date, Instant) => Some(Instant),
        // A value alone is a list of one, and text is split into one.
        (List, _) | (_, List) => Some(List),
        _ => None,
    }
}

/// A microsecond instant as an SQL literal.
pub(super) fn instant_literal(micros: i64) -> String {
    format!("arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// What stands beside the columns as they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Nothing.
    Nothing,
    /// The file and the row.
    Place,
    /// The file, the row, and the file's own columns, for the checks.
    Checks,
}

impl Shape {
    /// The columns of one group as read, the file's own beside them where checks need those, and the row's version time.
    fn group_sql(&self, group: &Group, beside: Beside, options: &Options) -> String {
        let mut list = Vec::new();
        for column in &group.columns {
            list.push(format!("{} AS {}", column.sql, identifier(&column.name)));
        }
        let updated = group.columns.iter().find(|column| column.name == "updated_at" && column.source.is_some());
        list.push(match updated {
            Some(column) => format!("coalesce({}, _landed) AS _version", column.sql),
            None => "_landed AS _version".to_owned(),
        });
        list.push("_landed".to_owned());
        let mut from = group.raw.clone();
        if beside == Beside::Checks {
            let mut raws: Vec<&String> = group.columns.iter().filter_map(|column| column.source.as_ref()).collect();
            raws.sort();
            raws.dedup();
            list.extend(raws.iter().map(|raw| format!("{} AS {}", identifier(raw), faults::raw_name(raw))));
        }
        if beside != Beside::Nothing {
            list.push("_file".to_owned());
            list.push("_row".to_owned());
            from.push_str("_rows");
        }
        let inner = self.without_forgotten(format!("SELECT {} FROM {from}", list.join(", ")), options);
        if self.rated && beside == Beside::Checks {
            let day = format!("local_date(i.ordered_at, {})", literal(options.zone.name()));
            return format!(
                "SELECT i.*, r.rate AS _rate FROM rates_daily r RIGHT JOIN ({inner}) i ON r.currency = upper(i.currency) AND r.day = {day}"
            );
        }
        inner
    }

    /// What makes a row of a group faulty.
    fn faults(&self, group: &Group, options: &Options) -> Vec<faults::Fault> {
        let mut faults = faults::faults(&group.columns, options.horizon.timestamp_micros());
        if self.rated {
            // Orders that are yet to come for this day may have their rates yet to come.
            let (shop, cutoff) = (literal(&options.currency.to_uppercase()), instant_literal(options.cutoff_micros()));
            faults.push(faults::Fault {
                rule: "no_rate",
                column: "currency".to_owned(),
                condition: format!(
                    "_rate IS NULL AND currency IS NOT NULL AND upper(currency) <> {shop} AND ordered_at < {cutoff}"
                ),
                value: "CAST(currency AS VARCHAR)".to_owned(),
            });
        }
        faults
    }

    /// Every group with what is faulty in each row: `_fault` is `rule:column`, or null.
    pub(super) fn checked_sql(&self, options: &Options) -> Vec<String> {
        let checked = |group: &Group| {
            let faults = self.faults(group, options);
            let mut rule = String::new();
            let mut value = String::new();
            for fault in &faults {
                let name = literal(&format!("{}:{}", fault.rule, fault.column));
                let _ = write!(rule, " WHEN {} THEN {name}", fault.condition);
                let _ = write!(value, " WHEN {name} THEN {}", fault.value);
            }
            let inner = self.group_sql(group, Beside::Checks, options);
            if faults.is_empty() {
                return format!(
                    "SELECT *, CAST(NULL AS VARCHAR) AS _fault, CAST(NULL AS VARCHAR) AS _value FROM ({inner})"
                );
            }
            format!(
                "SELECT *, CASE _fault{value} END AS _value FROM (SELECT *, CASE{rule} END AS _fault FROM ({inner}))"
            )
        };
        self.groups.iter().map(checked).collect()
    }

    /// Every group with whether each row is faulty, which is cheaper to tell than why.
    pub(super) fn flagged_sql(&self, options: &Options) -> Vec<String> {
        let flagged = |group: &Group| {
            let conditions: Vec<String> =
                self.faults(group, options).iter().map(|fault| format!("({})", fault.condition)).collect();
            let any = if conditions.is_empty() { "false".to_owned() } else { conditions.join(" OR ") };
            format!("SELECT *, {any} AS _is_faulty FROM ({})", self.group_sql(group, Beside::Checks, options))
        };
        self.groups.iter().map(flagged).collect()
    }

    /// Every group, unchecked, with the file and the row.
    pub(super) fn placed_groups(&self, options: &Options) -> Vec<String> {
        self.groups.iter().map(|group| self.group_sql(group, Beside::Place, options)).collect()
    }

    /// All rows of the table, unchecked, without row numbers.
    pub(super) fn plain_sql(&self, options: &Options) -> String {
        let parts: Vec<String> =
            self.groups.iter().map(|group| self.group_sql(group, Beside::Nothing, options)).collect();
        parts.join(" UNION ALL ")
    }

    /// A column as it was landed, as the text `landed_status`, beside the order's time.
    pub(super) fn source_sql(&self, column: &str) -> Option<String> {
        let time = self.table.own_time()?;
        let parts: Vec<String> = self
            .groups
            .iter()
            .filter_map(|group| {
                let of = |name: &str| group.columns.iter().find(|column| column.name == name);
                let at = of(time)?;
                let landed = match of(column).and_then(|column| column.source.as_ref()) {
                    Some(source) => format!("read_text({})", identifier(source)),
                    None => "arrow_cast(NULL, 'Utf8View')".to_owned(),
                };
                Some(format!("SELECT {landed} AS landed_status, {} AS ordered_at FROM {}", at.sql, group.raw))
            })
            .collect();
        (!parts.is_empty()).then(|| parts.join(" UNION ALL "))
    }

    /// All rows of the table by its columns, unchecked.
    pub(super) fn rows_sql(&self, options: &Options) -> String {
        if self.groups.is_empty() {
            return self.empty_sql();
        }
        format!("SELECT {} FROM ({})", self.list(), self.plain_sql(options))
    }

    /// All rows with `_fault`, `_file` and `_row`, by name and order alike in all groups.
    pub(super) fn numbered_sql(&self, options: &Options) -> String {
        self.united(&self.checked_sql(options), "_fault, _file, _row")
    }

    /// All rows, unchecked, with `_file` and `_row`, by name and order alike in all groups.
    pub(super) fn placed_sql(&self, options: &Options) -> String {
        self.united(&self.placed_groups(options), "_file, _row")
    }

    fn united(&self, groups: &[String], beside: &str) -> String {
        let list = format!("{}, _version, _landed, {beside}", self.list());
        let parts: Vec<String> = groups.iter().map(|group| format!("SELECT {list} FROM ({group})")).collect();
        parts.join(" UNION ALL ")
    }

    pub(super) fn list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| identifier(name)).collect();
        names.join(", ")
    }

    /// A query without rows that has the table's columns.
    pub(super) fn empty_sql(&self) -> String {
        let columns = self.columns.iter().map(|(name, reading)| {
            format!("arrow_cast(NULL, {}) AS {}", literal(&reading.data_type().to_string()), identifier(name))
        });
        let instants = ["_version", "_landed"]
            .map(|name| format!("arrow_cast(NULL, {}) AS {name}", literal(&instant_type().to_string())));
        let place = ["arrow_cast(NULL, 'Int32') AS _file".to_owned(), "arrow_cast(NULL, 'Int64') AS _row".to_owned()];
        let place = if self.table.version_key().is_none() { place.to_vec() } else { Vec::new() };
        let list: Vec<String> = columns.chain(instants).chain(place).collect();
        format!("SELECT * FROM (SELECT {}) WHERE false", list.join(", "))
    }
}

/// The path of a numbered file.
pub(super) fn path_of(shape: &Shape, number: i32) -> Result<&str> {
    let index = usize::try_from(number).ok();
    index
        .and_then(|index| shape.paths.get(index))
        .map(String::as_str)
        .ok_or_else(|| Error::internal("land.file_number", "a row names a file that was not listed"))
}
