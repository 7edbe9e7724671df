//! Files of other programs as they are written: their columns, and their rows as text.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::csv::{self, MAX_COLUMNS, Records};
use super::json::{Lines, Value};
use super::source::{Format, Input, empty};
use super::{blocking, parquet, settled};
use crate::error::{Error, Result};

/// A raw file whose columns are known.
#[derive(Debug)]
pub(in crate::land) struct RawFile {
    pub(in crate::land) path: PathBuf,
    /// Its columns, in its order; of JSON Lines in the order in which they first come.
    pub(in crate::land) columns: Vec<String>,
    /// Whether it is Parquet, which is no text.
    pub(in crate::land) is_parquet: bool,
    is_json: bool,
}

/// Opens a file and finds its columns; JSON Lines are read to their end for that.
///
/// # Errors
/// As [`super::import`].
pub(in crate::land) async fn open(path: &Path) -> Result<RawFile> {
    let (owned, shown) = (path.to_owned(), path.display().to_string());
    let format = blocking(&shown, move || Input::open(&owned)?.format(&owned)).await?;
    let owned = path.to_owned();
    let columns = match format {
        Format::Csv => blocking(&shown, move || csv_columns(&owned)).await?,
        Format::JsonLines => blocking(&shown, move || json_columns(&owned)).await?,
        Format::Parquet => {
            // A task of its own, since a hostile footer may panic in the library that reads it.
            let footer = settled(tokio::spawn(async move { parquet::footer(&owned).await }).await)?;
            let descriptor = footer.file_metadata();
            let schema =
                ::parquet::arrow::parquet_to_arrow_schema(descriptor.schema_descr(), descriptor.key_value_metadata())?;
            schema.fields().iter().map(|field| field.name().clone()).collect()
        }
    };
    Ok(RawFile {
        path: path.to_owned(),
        columns,
        is_parquet: format == Format::Parquet,
        is_json: format == Format::JsonLines,
    })
}

fn csv_columns(path: &Path) -> Result<Vec<String>> {
    let input = Input::open(path)?;
    let mut records = {
        let separator = csv::separator(input.ahead());
        Records::new(input, separator)
    };
    let Some(header) = records.next()? else { return Err(empty()) };
    if header.count > MAX_COLUMNS {
        return Err(Error::input("land.too_many_columns", format!("the file has more than {MAX_COLUMNS} columns")));
    }
    Ok((0..header.count).map(|index| header.get(index).unwrap_or_default().trim().to_owned()).collect())
}

fn json_columns(path: &Path) -> Result<Vec<String>> {
    let mut lines = Lines::new(Input::open(path)?);
    let mut columns: Vec<String> = Vec::new();
    let mut seen: HashMap<String, ()> = HashMap::new();
    while let Some((line, entries)) = lines.next()? {
        for (name, _) in entries {
            if seen.insert(name.clone().into_owned(), ()).is_none() {
                columns.push(name.into_owned());
            }
        }
        if columns.len() > MAX_COLUMNS {
            return Err(Error::input("land.too_many_columns", format!("the file has more than {MAX_COLUMNS} columns"))
                .at_line(line, None));
        }
    }
    if columns.is_empty() { Err(empty()) } else { Ok(columns) }
}

/// Hands over every row of a text file with its line: a function from a column's place to its value.
///
/// # Errors
/// Faults of the text, with line and column; those of `row`.
pub(in crate::land) fn text_rows(
    file: &RawFile,
    mut row: impl FnMut(u64, &dyn Fn(usize) -> Option<String>) -> Result<()>,
) -> Result<u64> {
    let input = Input::open(&file.path)?;
    let mut rows = 0;
    if !file.is_json {
        let mut records = {
            let separator = csv::separator(input.ahead());
            Records::new(input, separator)
        };
        records.next()?;
        records.require(file.columns.len());
        while let Some(record) = records.next()? {
            row(record.line, &|index| record.get(index).map(str::to_owned))?;
            rows += 1;
        }
        records.into_input().finish()?;
        return Ok(rows);
    }
    let places: HashMap<&str, usize> =
        file.columns.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let mut lines = Lines::new(input);
    while let Some((line, entries)) = lines.next()? {
        let mut values: Vec<Option<String>> = vec![None; file.columns.len()];
        for (name, value) in entries {
            let slot = places.get(name.as_ref()).and_then(|place| values.get_mut(*place));
            if let Some(slot) = slot {
                *slot = match value {
                    Value::Null => None,
                    Value::Text(text) => Some(text.into_owned()),
                    Value::Number(text) | Value::List(text) | Value::Object(text) => Some(text.to_owned()),
                    Value::Boolean(truth) => Some(truth.to_string()),
                };
            }
        }
        row(line, &|index| values.get(index).cloned().flatten())?;
        rows += 1;
    }
    lines.into_input().finish()?;
    Ok(rows)
}
