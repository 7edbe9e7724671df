//! From the columns of a landed file to those of the contract: one SQL expression a column, and what makes a row faulty.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};

use super::Options;
use super::shape::declared;
use crate::diagnostic::nearest;
use crate::engine::statement::{identifier, literal};
use crate::error::{Error, Result};
use crate::schema::landed::{Column, Reading, Table};

/// One column as it is read from the files of one schema.
#[derive(Debug, Clone)]
pub(super) struct ReadColumn {
    /// Its name in the contract, or of the custom property.
    pub(super) name: String,
    /// How it is read.
    pub(super) reading: Reading,
    /// The expression over the file's columns.
    pub(super) sql: String,
    /// The file's column, where it has it.
    pub(super) source: Option<String>,
    /// The type in the file.
    pub(super) physical: DataType,
    /// Whether a row without a value is faulty.
    pub(super) required: bool,
    /// Whether the contract knows it; a custom one is never at fault.
    pub(super) known: bool,
}

/// The name that a file gives to a contract column.
fn source_name<'a>(schema: &'a Schema, options: &super::TableOptions, name: &str) -> Option<&'a str> {
    let wanted = options.columns.get(name).map_or(name, String::as_str);
    if super::shape::RESERVED.contains(&wanted) {
        return None;
    }
    schema.fields().iter().map(|field| field.name().as_str()).find(|field| *field == wanted)
}

/// How the files of one schema are read: every contract column, then the custom ones that any file has.
///
/// # Errors
/// `land.missing_column` and `land.column_type`, naming the file.
pub(super) fn read_columns(
    table: Table,
    schema: &Schema,
    file: &str,
    options: &Options,
    custom: &BTreeMap<String, Reading>,
) -> Result<Vec<ReadColumn>> {
    let settings = options.table(table);
    let mut columns = Vec::new();
    for column in table.columns() {
        let Some(field) = landed_column(table, column, schema, settings, file)? else {
            columns.push(absent(column.name, column.reading));
            continue;
        };
        let (source, physical) = (field.name(), field.data_type().clone());
        let minor = settings.money_minor && matches!(column.reading, Reading::Money(_));
        let mut sql = expression(column.reading, &identifier(source), &physical, options.zone.name(), minor);
        if table == Table::Orders && column.name == "status" {
            sql = status_expression(&sql, options);
        }
        if matches!(column.reading, Reading::Id) {
            sql = id_expression(column.name, sql, settings.id_prefix.as_deref());
        }
        columns.push(ReadColumn {
            name: column.name.to_owned(),
            reading: column.reading,
            sql,
            source: Some(source.to_owned()),
            physical,
            required: column.required,
            known: true,
        });
    }
    for (name, reading) in custom {
        let Some(source) = source_name(schema, settings, name) else {
            columns.push(absent(name, *reading));
            continue;
        };
        let physical = schema.field_with_name(source)?.data_type().clone();
        if declared(table, name, options).is_some() && !readable(*reading, &physical) {
            return Err(impossible(table, (source, &physical), (name, *reading), file));
        }
        if physical.is_nested() && !readable(*reading, &physical) {
            columns.push(absent(name, *reading));
            continue;
        }
        columns.push(ReadColumn {
            name: name.clone(),
            reading: *reading,
            sql: expression(*reading, &identifier(source), &physical, options.zone.name(), false),
            source: Some(source.to_owned()),
            physical,
            required: false,
            known: false,
        });
    }
    Ok(columns)
}

/// The file's column that holds a contract column; none where an optional one is absent.
///
/// # Errors
/// `land.missing_column` and `land.column_type`, naming the file.
pub(super) fn landed_column<'a>(
    table: Table,
    column: &Column,
    schema: &'a Schema,
    settings: &super::TableOptions,
    file: &str,
) -> Result<Option<&'a Field>> {
    let Some(source) = source_name(schema, settings, column.name) else {
        return if column.required { Err(missing(table, column.name, schema, settings, file)) } else { Ok(None) };
    };
    let field = schema.field_with_name(source)?;
    if readable(column.reading, field.data_type()) {
        return Ok(Some(field));
    }
    Err(impossible(table, (source, field.data_type()), (column.name, column.reading), file))
}

fn impossible(
    table: Table,
    (source, physical): (&str, &DataType),
    (name, reading): (&str, Reading),
    file: &str,
) -> Error {
    let table = table.name();
    let (wanted, found) = (meaning(reading), physical_name(physical));
    Error::input(
        "land.column_type",
        format!("column `{source}` of {table} cannot be read as {wanted}: it holds {found}"),
    )
    .in_file(file)
    .with_hint(format!(
        "land `{name}` as {}, or map another column to it in `[tables.{table}] columns`",
        wanted_types(reading)
    ))
}

fn id_expression(name: &str, sql: String, prefix: Option<&str>) -> String {
    let sql = if name == "customer_id" { format!("nullif({sql}, '0')") } else { sql };
    match prefix {
        Some(prefix) if !prefix.is_empty() => format!("arrow_cast({} || {sql}, 'Utf8View')", literal(prefix)),
        _ => sql,
    }
}

/// The meaning of a landed status: its own name, or what the alias map says; null where nothing knows it.
fn status_expression(text: &str, options: &Options) -> String {
    let mut arms = String::new();
    for (alias, status) in &options.statuses {
        arms.push_str(&format!(" WHEN {} THEN {}", literal(alias), literal(status)));
    }
    format!("arrow_cast(CASE translate(lower({text}), '- ', '__'){arms} END, 'Utf8View')")
}

fn missing(table: Table, column: &str, schema: &Schema, settings: &super::TableOptions, file: &str) -> Error {
    let mapped = settings.columns.get(column);
    let wanted = mapped.map_or(column, String::as_str);
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let hint = match nearest(wanted, names.iter().copied()) {
        Some(close) => format!(
            "if `{close}` is it, write `columns = {{ {column} = \"{close}\" }}` under `[tables.{}]`",
            table.name()
        ),
        None => format!("the file has {}; map one of them in `[tables.{}] columns`", names.join(", "), table.name()),
    };
    Error::input("land.missing_column", format!("the required column `{wanted}` of {} is missing", table.name()))
        .in_file(file)
        .with_hint(hint)
}

fn absent(name: &str, reading: Reading) -> ReadColumn {
    ReadColumn {
        name: name.to_owned(),
        reading,
        sql: format!("arrow_cast(NULL, {})", literal(&reading.data_type().to_string())),
        source: None,
        physical: DataType::Null,
        required: false,
        known: true,
    }
}

pub(super) fn is_text(physical: &DataType) -> bool {
    match physical {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// Whether values of a physical type can be read at all.
fn readable(reading: Reading, physical: &DataType) -> bool {
    let list = matches!(
        physical,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) | DataType::ListView(_)
    );
    if matches!(physical, DataType::Null) || is_text(physical) {
        return true;
    }
    match reading {
        // Some warehouses know no integers, only decimals without a fraction.
        Reading::Id => {
            physical.is_integer() || physical.is_floating() || matches!(physical, DataType::Decimal128(_, 0))
        }
        Reading::Text | Reading::Choice(_) | Reading::Country | Reading::Email | Reading::Json => {
            physical.is_primitive() || matches!(physical, DataType::Boolean)
        }
        Reading::Instant | Reading::Date => {
            matches!(physical, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64)
        }
        Reading::Money(_) | Reading::Decimal(_) | Reading::Float | Reading::Integer => physical.is_numeric(),
        Reading::Boolean => matches!(physical, DataType::Boolean) || physical.is_integer(),
        Reading::List => list,
    }
}

fn meaning(reading: Reading) -> &'static str {
    match reading {
        Reading::Id => "an id",
        Reading::Text | Reading::Choice(_) | Reading::Country | Reading::Email | Reading::Json => "text",
        Reading::Instant => "a time",
        Reading::Date => "a date",
        Reading::Money(_) => "money",
        Reading::Decimal(_) | Reading::Float => "a number",
        Reading::Integer => "a whole number",
        Reading::Boolean => "true or false",
        Reading::List => "a list",
    }
}

fn wanted_types(reading: Reading) -> &'static str {
    match reading {
        Reading::Id => "a string or an integer",
        Reading::Text | Reading::Choice(_) | Reading::Country | Reading::Email | Reading::Json => "a string",
        Reading::Instant => "a timestamp, or RFC 3339 text",
        Reading::Date => "a date, or `yyyy-mm-dd` text",
        Reading::Money(_) | Reading::Decimal(_) | Reading::Float => "a decimal, a float or an integer",
        Reading::Integer => "an integer",
        Reading::Boolean => "a boolean",
        Reading::List => "a list of strings, or text",
    }
}

/// A physical type in words that a person who lands files knows.
fn physical_name(physical: &DataType) -> &'static str {
    match physical {
        DataType::Boolean => "booleans",
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => "times",
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) | DataType::ListView(_) => "lists",
        DataType::Struct(_) | DataType::Map(_, _) => "nested values",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytes",
        other if other.is_numeric() => "numbers",
        _ => "values of another kind",
    }
}

/// The expression that reads one column.
pub(super) fn expression(reading: Reading, column: &str, physical: &DataType, zone: &str, minor: bool) -> String {
    let text = format!("read_text({column})");
    let number = if is_text(physical) { text.clone() } else { column.to_owned() };
    match reading {
        Reading::Id | Reading::Text | Reading::Email | Reading::Json => text,
        Reading::Choice(values) => {
            let known: Vec<String> = values.iter().map(|value| literal(value)).collect();
            format!("CASE WHEN lower({text}) IN ({}) THEN lower({text}) END", known.join(", "))
        }
        Reading::Instant => match physical {
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
                column.to_owned()
            }
            _ => format!("read_instant({column}, {})", literal(zone)),
        },
        Reading::Date => match physical {
            DataType::Date32 => column.to_owned(),
            _ => format!("read_date({column}, {})", literal(zone)),
        },
        Reading::Money(scale) if minor => {
            format!(
                "TRY_CAST(TRY_CAST({number} AS DECIMAL(20, 0)) * CAST('0.01' AS DECIMAL(3, 2)) AS DECIMAL(18, {scale}))"
            )
        }
        Reading::Money(scale) | Reading::Decimal(scale) => match physical {
            DataType::Decimal128(18, own) if *own == scale => column.to_owned(),
            _ => format!("TRY_CAST({number} AS DECIMAL(18, {scale}))"),
        },
        Reading::Integer => match physical {
            DataType::Int64 => column.to_owned(),
            _ => format!("TRY_CAST({number} AS BIGINT)"),
        },
        Reading::Float => match physical {
            DataType::Float64 => column.to_owned(),
            _ => format!("TRY_CAST({number} AS DOUBLE)"),
        },
        Reading::Boolean => match physical {
            DataType::Boolean => column.to_owned(),
            _ => format!("TRY_CAST({number} AS BOOLEAN)"),
        },
        Reading::List => format!("read_list({column})"),
        Reading::Country => format!("read_country({column})"),
    }
}
