//! CSV and JSON Lines: the first reading checks and finds the columns, the second one writes.

use std::collections::{BTreeMap, HashMap};

use super::columns::{self, Column, Landing, TimeCheck};
use super::csv::{self, MAX_COLUMNS, Records};
use super::json::{Lines, Seen, Value};
use super::source::{Hash, Input, empty};
use super::write::{Rows, Writer};
use super::{Checked, Content, Request};
use crate::calendar::Zone;
use crate::diagnostic::nearest;
use crate::error::{Error, Result};
use crate::schema::landed::{Reading, Table};

/// Reads a CSV file to its end.
pub(super) fn check_csv(input: Input, request: &Request, file: &str) -> Result<Checked> {
    let separator = csv::separator(input.ahead());
    let mut records = Records::new(input, separator);
    let Some(header) = records.next()? else { return Err(empty()) };
    let line = header.line;
    if header.count > MAX_COLUMNS {
        return Err(too_many_columns().at_line(line, None));
    }
    let names: Vec<String> =
        (0..header.count).map(|index| header.get(index).unwrap_or_default().trim().to_owned()).collect();
    is_header(&names, request).map_err(|error| error.at_line(line, None))?;
    let text = |name: &String| Column { name: name.clone(), reading: None, landing: Landing::Text };
    let mut columns: Vec<Column> = names.iter().map(text).collect();
    let known = columns::check(request, &columns::schema(&columns), file).map_err(|error| error.at_line(line, None))?;
    for column in &mut columns {
        column.reading = known.readings.get(&column.name).copied();
    }
    let instants: Vec<usize> = instants(&columns);
    let mut times = TimeCheck::new(request.zone);
    let mut rows = 0;
    records.require(columns.len());
    while let Some(record) = records.next()? {
        rows += 1;
        for &index in &instants {
            if let (Some(text), Some(column)) = (record.get(index), columns.get(index)) {
                times.look(&column.name, text, record.line);
            }
        }
    }
    let mut warnings = known.warnings;
    warnings.extend(times.warnings("line"));
    let content = Content::Csv { separator, columns };
    Ok(Checked { content, hash: records.into_input().finish()?, rows, converts: times.converts, warnings })
}

fn instants(columns: &[Column]) -> Vec<usize> {
    let instant = |(index, column): (usize, &Column)| (column.reading == Some(Reading::Instant)).then_some(index);
    columns.iter().enumerate().filter_map(instant).collect()
}

/// Refuses a first line that names nothing of the table: it is a row, and its values are nobody's business in a message.
fn is_header(names: &[String], request: &Request) -> Result<()> {
    let landed = |name: &'static str| request.settings.columns.get(name).map_or(name, String::as_str);
    let wanted: Vec<(&str, bool)> =
        request.table.columns().iter().map(|column| (landed(column.name), column.required)).collect();
    let named = wanted.iter().any(|(name, _)| names.iter().any(|found| found == name));
    let nearly =
        || wanted.iter().any(|(name, required)| *required && nearest(name, names.iter().map(String::as_str)).is_some());
    if named || nearly() {
        return Ok(());
    }
    let required: Vec<&str> = wanted.iter().filter(|(_, required)| *required).map(|(name, _)| *name).collect();
    Err(Error::input("land.missing_header", format!("the first line names no column of {}", request.table.name()))
        .with_hint(format!("begin the file with a line of column names; {} are required", required.join(", "))))
}

/// Writes a CSV file's rows.
pub(super) fn write_csv(
    input: Input,
    separator: u8,
    columns: &[Column],
    zone: Zone,
    writer: &mut Writer,
) -> Result<Hash> {
    let mut records = Records::new(input, separator);
    records.next()?;
    records.require(columns.len());
    let mut rows = Rows::new(writer, columns, zone);
    while let Some(record) = records.next()? {
        rows.push(|index| record.get(index).map(|text| Value::Text(text.into())))?;
    }
    rows.flush()?;
    records.into_input().finish()
}

/// One key of a JSON Lines file.
#[derive(Debug, Default)]
struct Key {
    name: String,
    seen: Seen,
    reading: Option<Reading>,
    /// The last line that had it.
    line: u64,
}

/// Reads a JSON Lines file to its end.
pub(super) fn check_json(input: Input, request: &Request, file: &str) -> Result<Checked> {
    let readings = expected_readings(request);
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut keys: Vec<Key> = Vec::new();
    let mut times = TimeCheck::new(request.zone);
    let mut rows = 0;
    let mut lines = Lines::new(input);
    while let Some((line, entries)) = lines.next()? {
        rows += 1;
        for (name, value) in entries {
            let index = match numbers.get(name.as_ref()) {
                Some(index) => *index,
                None if keys.len() == MAX_COLUMNS => {
                    return Err(too_many_columns().at_line(line, None));
                }
                None => {
                    let reading = readings.get(name.as_ref()).copied();
                    keys.push(Key { name: name.clone().into_owned(), reading, ..Key::default() });
                    numbers.insert(name.clone().into_owned(), keys.len() - 1);
                    keys.len() - 1
                }
            };
            let Some(key) = keys.get_mut(index) else { continue };
            if key.line == line {
                return Err(Error::input(
                    "land.repeated_column",
                    format!("the key `{name}` stands twice in this line"),
                )
                .at_line(line, None)
                .with_hint("give each value a key of its own"));
            }
            key.line = line;
            match &value {
                Value::Text(text) if key.reading == Some(Reading::Instant) => times.look(&key.name, text, line),
                Value::Number(_) | Value::Boolean(_) | Value::List(_) | Value::Object(_)
                    if key.reading == Some(Reading::Instant) =>
                {
                    times.look(&key.name, "a value of another kind", line);
                }
                value if key.reading.is_none() => key.seen.look(value),
                _ => {}
            }
        }
    }
    if rows == 0 {
        return Err(empty());
    }
    let mut warnings = Vec::new();
    let mut columns = Vec::new();
    for key in keys {
        let landing = if key.reading.is_some() { Some(Landing::Text) } else { key.seen.landing() };
        match landing {
            Some(landing) => columns.push(Column { name: key.name, reading: key.reading, landing }),
            // A column of nulls would pass for one of text, and differ from the files that have values.
            None => warnings.push(format!("column `{}` has no value in any line and is left out", key.name)),
        }
    }
    let known = columns::check(request, &columns::schema(&columns), file)?;
    warnings.extend(known.warnings);
    warnings.extend(times.warnings("line"));
    let content = Content::JsonLines { columns };
    Ok(Checked { content, hash: lines.into_input().finish()?, rows, converts: times.converts, warnings })
}

/// How the run reads the columns that it knows, by their names in a file.
fn expected_readings(request: &Request) -> BTreeMap<&str, Reading> {
    let mut readings: BTreeMap<&str, Reading> = BTreeMap::new();
    if request.table == Table::Customers {
        readings.extend(request.fields.iter().map(|(name, reading)| (name.as_str(), *reading)));
    }
    for column in request.table.columns() {
        let name = request.settings.columns.get(column.name).map_or(column.name, String::as_str);
        readings.insert(name, column.reading);
    }
    readings
}

/// Writes a JSON Lines file's rows.
pub(super) fn write_json(input: Input, columns: &[Column], zone: Zone, writer: &mut Writer) -> Result<Hash> {
    let numbers: HashMap<&str, usize> =
        columns.iter().enumerate().map(|(index, column)| (column.name.as_str(), index)).collect();
    let mut lines = Lines::new(input);
    let mut rows = Rows::new(writer, columns, zone);
    while let Some((_, entries)) = lines.next()? {
        let mut values: Vec<Option<Value<'_>>> = vec![None; columns.len()];
        for (name, value) in entries {
            let slot = numbers.get(name.as_ref()).and_then(|index| values.get_mut(*index));
            if let Some(slot) = slot {
                *slot = Some(value);
            }
        }
        rows.push(|index| values.get_mut(index).and_then(Option::take))?;
    }
    rows.flush()?;
    lines.into_input().finish()
}

fn too_many_columns() -> Error {
    Error::input("land.too_many_columns", format!("the file has more than {MAX_COLUMNS} columns"))
        .with_hint("land what varies from row to row as JSON text in one column")
}
