//! A test of one attribute as SQL. It is NULL or false for a missing value, complements and IS NULL apart.

use super::Scope;
use super::quote::text;
use super::{anniversary, days, join};
use crate::error::{Error, Result};
use crate::profile::catalogue::{Attribute, Type};
use crate::segments::check::{AttributeTest, Operand, Predicate};
use crate::segments::syntax::{Cmp, Decimal, write_decimal};

/// Between the elements of a list that is searched as one text. Landed text is trimmed and never has it.
const SEPARATOR: char = '\u{1f}';

fn misfit(attribute: &Attribute) -> Error {
    Error::internal("segment.misfit", format!("a value that does not fit `{}` came through the check", attribute.name))
}

/// The test of a column.
pub(super) fn of_column(column: &str, test: &AttributeTest, scope: Scope) -> Result<String> {
    let attribute = &*test.attribute;
    let compare = |op: Cmp, value: &Operand| compare(column, attribute, op, value, scope);
    Ok(match &test.predicate {
        Predicate::Compare { op, value } => compare(*op, value)?,
        Predicate::Between { negated, low, high } => {
            let (low, high) = (compare(Cmp::GreaterOrEqual, low)?, compare(Cmp::LessOrEqual, high)?);
            complement(*negated, format!("({low} AND {high})"))
        }
        // A row that has no value is not outside of a list of values either.
        Predicate::In { negated, values } if matches!(attribute.kind, Type::Path | Type::Elements(_)) => {
            let texts: Vec<&String> = values.iter().filter_map(Operand::text).collect();
            among(column, attribute, if *negated { Cmp::NotEqual } else { Cmp::Equal }, &texts)
        }
        Predicate::In { negated, values } => complement(*negated, one_of(column, attribute, values, scope)?),
        Predicate::Contains { negated, part } => complement(*negated, contains(column, attribute, part)),
        Predicate::StartsWith { negated, beginning } => {
            let column = folded(column, attribute);
            complement(*negated, format!("starts_with({column}, {})", text(beginning)))
        }
        // A list without elements is as good as none.
        Predicate::Missing { negated } if matches!(attribute.kind, Type::List(_) | Type::Elements(_)) => {
            complement(!negated, format!("(cardinality({column}) > 0)"))
        }
        Predicate::Missing { negated: false } => format!("{column} IS NULL"),
        Predicate::Missing { negated: true } => format!("{column} IS NOT NULL"),
        Predicate::Anniversary { op, day } => anniversary::compare(column, &attribute.kind, *op, *day, scope)?,
        Predicate::AnniversaryBetween { negated, low, high } => {
            complement(*negated, anniversary::between(column, &attribute.kind, *low, *high, scope)?)
        }
    })
}

/// The test of a list of one value in several spellings; each is a list of columns joined by `-`.
pub(super) fn of_spellings(spellings: &[Vec<String>], predicate: &Predicate) -> Result<String> {
    let plain = |columns: &Vec<String>| columns.join(" || '-' || ");
    match predicate {
        Predicate::Contains { negated, part } => {
            let part = text(&part.replace(' ', ""));
            let each = spellings.iter().map(|columns| format!("replace(lower({}), ' ', '') = {part}", plain(columns)));
            Ok(complement(*negated, format!("({})", join(each.collect(), " OR "))))
        }
        Predicate::Missing { negated } => {
            let is = if *negated { "IS NOT NULL" } else { "IS NULL" };
            Ok(spellings
                .first()
                .map(|columns| format!("{} {is}", plain(columns)))
                .unwrap_or_else(|| "FALSE".to_owned()))
        }
        _ => Err(Error::internal("segment.misfit", "a test that lists do not take came through the check")),
    }
}

fn complement(negated: bool, sql: String) -> String {
    if negated { format!("({sql} IS DISTINCT FROM TRUE)") } else { sql }
}

/// The column as it is compared: choices and e-mail addresses without regard to case.
fn folded(column: &str, attribute: &Attribute) -> String {
    if attribute.folded || matches!(attribute.kind, Type::Choice(_)) {
        format!("lower({column})")
    } else {
        column.to_owned()
    }
}

fn compare(column: &str, attribute: &Attribute, op: Cmp, value: &Operand, scope: Scope) -> Result<String> {
    let operator = days::sql_operator(op);
    Ok(match (&attribute.kind, value) {
        (Type::Integer, Operand::Integer(number)) => format!("{column} {operator} {}", integer(*number)),
        (Type::Decimal { precision, scale }, Operand::Decimal(number)) => {
            compare_decimal(column, op, *number, *precision, *scale)
        }
        (Type::Float, Operand::Decimal(number)) => format!("{column} {operator} CAST('{number}' AS DOUBLE)"),
        (Type::Path | Type::Elements(_), Operand::Text(value)) => among(column, attribute, op, &[value]),
        (Type::Text | Type::Id | Type::Enum(_) | Type::Choice(_), Operand::Text(value)) => {
            format!("{} {operator} {}", folded(column, attribute), text(value))
        }
        (Type::Boolean, Operand::Boolean(truth)) => format!("{column} {operator} {truth}"),
        (Type::Day, Operand::Date(date)) => days::compare(column, op, *date, scope)?,
        (Type::CivilDate, Operand::Date(date)) => days::compare_civil(column, op, *date, scope)?,
        _ => return Err(misfit(attribute)),
    })
}

/// The least whole number has no literal of its own: SQL reads the minus apart.
fn integer(number: i64) -> String {
    if number == i64::MIN { format!("CAST('{number}' AS BIGINT)") } else { number.to_string() }
}

/// Compares exactly, at the column's own scale: a literal between two of its values is rounded to the side that keeps
/// the meaning, so that no engine has to widen the column.
fn compare_decimal(column: &str, op: Cmp, number: Decimal, precision: u8, scale: u8) -> String {
    let Some((floor, exact)) = number.floor_at(scale) else {
        // Beyond 38 digits, and so beyond every value of the column.
        let above = number.to_string().starts_with('-');
        let holds = match op {
            Cmp::Equal => false,
            Cmp::NotEqual => true,
            Cmp::Less | Cmp::LessOrEqual => !above,
            Cmp::Greater | Cmp::GreaterOrEqual => above,
        };
        return if holds { format!("{column} IS NOT NULL") } else { "FALSE".to_owned() };
    };
    let (op, value) = match (op, exact) {
        (op, true) => (op, floor),
        (Cmp::Equal, false) => return "FALSE".to_owned(),
        (Cmp::NotEqual, false) => return format!("{column} IS NOT NULL"),
        (Cmp::Less | Cmp::LessOrEqual, false) => (Cmp::LessOrEqual, floor),
        (Cmp::Greater | Cmp::GreaterOrEqual, false) => (Cmp::Greater, floor),
    };
    let fits = value.unsigned_abs() < 10_u128.pow(u32::from(precision.min(38)));
    let precision = if fits { precision } else { 38 };
    let written = write_decimal(value, scale);
    format!("{column} {} CAST('{written}' AS DECIMAL({precision}, {scale}))", days::sql_operator(op))
}

fn one_of(column: &str, attribute: &Attribute, values: &[Operand], scope: Scope) -> Result<String> {
    let mut plain: Vec<String> = Vec::new();
    let mut other: Vec<String> = Vec::new();
    for value in values {
        match (&attribute.kind, value) {
            (Type::Integer, Operand::Integer(number)) => plain.push(integer(*number)),
            (Type::Text | Type::Id | Type::Enum(_) | Type::Choice(_), Operand::Text(value)) => plain.push(text(value)),
            _ => other.push(compare(column, attribute, Cmp::Equal, value, scope)?),
        }
    }
    if !plain.is_empty() {
        other.insert(0, format!("{} IN ({})", folded(column, attribute), plain.join(", ")));
    }
    Ok(format!("({})", join(other, " OR ")))
}

/// Whether a path has one of the values among its prefixes, or a list among its elements; or none of them. Without a path
/// and of an empty list neither holds.
fn among(column: &str, attribute: &Attribute, op: Cmp, values: &[&String]) -> String {
    let path = attribute.kind == Type::Path;
    let one = |value: &&String| match path {
        true => format!("{column} = {} OR starts_with({column}, {})", text(value), text(&format!("{value} > "))),
        false => contains(column, attribute, value),
    };
    let any = format!("({})", join(values.iter().map(one).collect(), " OR "));
    match (op, path) {
        (Cmp::Equal, _) => any,
        (_, true) => format!("(NOT {any})"),
        (_, false) => format!("(cardinality({column}) > 0 AND NOT {any})"),
    }
}

fn contains(column: &str, attribute: &Attribute, part: &str) -> String {
    if !matches!(attribute.kind, Type::List(_) | Type::Elements(_)) {
        return format!("contains({}, {})", folded(column, attribute), text(part));
    }
    // No landed element is empty or has the separator.
    if part.is_empty() || part.contains(SEPARATOR) {
        return "FALSE".to_owned();
    }
    let joined = format!("chr(31) || lower(array_to_string({column}, chr(31))) || chr(31)");
    format!("contains({joined}, chr(31) || {} || chr(31))", text(part))
}
