//! What makes a landed row faulty: conditions in SQL over the columns as read and as landed.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, TimeUnit};

use super::columns::{ReadColumn, is_text};
use crate::engine::statement::identifier;
use crate::schema::landed::{CONTACT_COLUMNS, Reading};

/// A reason to reject a row: `condition` holds, and `value` is what the report shows.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) rule: &'static str,
    pub(super) column: String,
    pub(super) condition: String,
    pub(super) value: String,
}

/// The amounts and counts of which a negative one is a mistake, or a refund landed as an order.
const NEVER_NEGATIVE: &[&str] =
    &["total", "quantity", "refunded", "discount", "unit_price", "price", "returned_quantity"];

/// What makes a row of the table faulty, in the order in which it is told. The conditions stand over the read columns,
/// by their contract names, and the file's own, by [`raw_name`].
pub(super) fn faults(columns: &[ReadColumn], horizon_micros: i64) -> Vec<Fault> {
    let known = || columns.iter().filter(|column| column.known);
    let contact: BTreeSet<&str> = known()
        .filter(|column| CONTACT_COLUMNS.contains(&column.name.as_str()))
        .filter_map(|column| column.source.as_deref())
        .collect();
    let mut faults: Vec<Fault> = known().filter(|column| column.required).map(missing).collect();
    for column in known() {
        let Some(present) = present(column) else { continue };
        let name = identifier(&column.name);
        let mut add = |rule: &'static str, condition: String| faults.push(fault(rule, column, condition, &contact));
        let unreadable = format!("{name} IS NULL AND {present}");
        match column.reading {
            Reading::Instant => {
                if !always_fits(column) {
                    add("unparsable_time", unreadable);
                }
                add(
                    "far_future_time",
                    format!("{name} > arrow_cast({horizon_micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')"),
                );
            }
            Reading::Money(_) | Reading::Integer | Reading::Decimal(_) => {
                if !always_fits(column) {
                    add("unparsable_number", unreadable);
                }
                if column.name == "rate" {
                    add("not_positive", format!("{name} <= 0"));
                } else if NEVER_NEGATIVE.contains(&column.name.as_str()) {
                    add("negative_value", format!("{name} < 0"));
                }
            }
            Reading::Date if is_text(&column.physical) => add("unparsable_time", unreadable),
            // What the row is about has to be understood; an optional value that is not is merely missing.
            Reading::Choice(_) if column.required => add("unknown_value", unreadable),
            _ if column.name == "status" => add("unknown_status", unreadable),
            _ => {}
        }
    }
    faults
}

/// A required column without a value.
fn missing(column: &ReadColumn) -> Fault {
    let rule = if matches!(column.reading, Reading::Id) { "null_id" } else { "missing_value" };
    let condition = match present(column) {
        // Text that cannot be read is another fault than no text at all.
        Some(present) if !matches!(column.reading, Reading::Id) => format!("NOT ({present})"),
        _ => format!("{} IS NULL", identifier(&column.name)),
    };
    Fault { rule, column: column.name.clone(), condition, value: "NULL".to_owned() }
}

/// Whether every value that the file's type can hold can be read, so that nothing has to be checked.
fn always_fits(column: &ReadColumn) -> bool {
    let small = column.physical.is_integer() && column.physical.primitive_width().is_some_and(|bytes| bytes <= 4);
    match column.reading {
        Reading::Instant => {
            matches!(column.physical, DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _))
        }
        Reading::Integer => small || matches!(column.physical, DataType::Int64),
        Reading::Money(scale) | Reading::Decimal(scale) => match column.physical {
            // Digits that are rounded away can carry into one more before the point.
            DataType::Decimal128(digits, own) if own >= 0 => {
                let before = i16::from(digits) - i16::from(own) + i16::from(own > scale);
                before <= 18 - i16::from(scale)
            }
            _ => small && scale <= 8,
        },
        _ => false,
    }
}

/// The name under which a file's own column stands beside the read ones.
pub(super) fn raw_name(source: &str) -> String {
    identifier(&format!("_raw_{source}"))
}

/// The condition that the file has a value, blank text apart.
fn present(column: &ReadColumn) -> Option<String> {
    let raw = raw_name(column.source.as_ref()?);
    Some(if is_text(&column.physical) { format!("read_text({raw}) IS NOT NULL") } else { format!("{raw} IS NOT NULL") })
}

/// A fault of one column, with the value as landed; masked where the landed column serves as contact data too.
fn fault(rule: &'static str, column: &ReadColumn, condition: String, contact: &BTreeSet<&str>) -> Fault {
    let value = match &column.source {
        Some(source) if contact.contains(source.as_str()) => "'(masked)'".to_owned(),
        // A time that no calendar has cannot be written as one: its number is shown.
        Some(source) if matches!(column.physical, DataType::Timestamp(_, _)) => format!(
            "coalesce(CAST({} AS VARCHAR), CAST(CAST({} AS BIGINT) AS VARCHAR))",
            identifier(&column.name),
            raw_name(source)
        ),
        Some(source) => format!("CAST({} AS VARCHAR)", raw_name(source)),
        None => "NULL".to_owned(),
    };
    Fault { rule, column: column.name.clone(), condition, value }
}
