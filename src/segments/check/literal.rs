//! Whether a written value fits an attribute's type, and what it then is.

use super::Operand;
use crate::diagnostic::nearest;
use crate::profile::catalogue::{Attribute, Type};
use crate::segments::syntax::{Date, Decimal, Literal};

/// A value that does not fit.
pub(super) struct Wrong {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

fn wrong_type(attribute: &Attribute, literal: &Literal, hint: String) -> Wrong {
    let what = match literal {
        Literal::Text(_) => "text",
        Literal::Integer(_) => "a whole number",
        Literal::Decimal(_) => "a decimal number",
        Literal::Date(Date::Instant(_)) => "a time of a day",
        Literal::Date(_) => "a date",
        Literal::Boolean(_) => "true or false",
        Literal::Coordinates(..) => "coordinates",
        Literal::Faulty => "nothing that can be read",
    };
    let message = format!("`{}` is {}, and is not compared with {what}", attribute.name, attribute.kind.described());
    let hint = match literal {
        Literal::Coordinates(one, other) => format!("write a list as `IN ({one}, {other})`"),
        _ => hint,
    };
    Wrong { code: "segment.wrong_type", message, hint }
}

/// The value as an operand of the attribute's type.
pub(super) fn operand(attribute: &Attribute, literal: &Literal) -> Result<Operand, Wrong> {
    let wrong = |hint: String| Err(wrong_type(attribute, literal, hint));
    match (&attribute.kind, literal) {
        (Type::Integer, Literal::Integer(number)) => Ok(Operand::Integer(*number)),
        (Type::Integer, Literal::Decimal(number)) => match number.floor_at(0) {
            Some((floor, true)) => wrong(format!("write `{floor}`")),
            Some((floor, false)) => wrong(format!("write `{floor}` or `{}`", floor + 1)),
            None => wrong("write a whole number".to_owned()),
        },
        (Type::Decimal { .. } | Type::Float, Literal::Integer(number)) => {
            Ok(Operand::Decimal(Decimal::integer(*number)))
        }
        (Type::Decimal { .. } | Type::Float, Literal::Decimal(number)) => Ok(Operand::Decimal(*number)),
        (Type::Integer | Type::Decimal { .. } | Type::Float, Literal::Text(text)) if Decimal::parse(text).is_some() => {
            wrong(format!("write `{text}` without quotes"))
        }
        (Type::Integer | Type::Decimal { .. } | Type::Float, _) => {
            wrong(format!("write a number: `{}`", attribute.example))
        }

        (Type::Text, Literal::Text(text)) if attribute.folded => Ok(Operand::Text(text.to_lowercase())),
        (Type::Text | Type::Id | Type::Path, Literal::Text(text)) => Ok(Operand::Text(text.clone())),
        (Type::Id | Type::Path, Literal::Integer(number)) => Ok(Operand::Text(number.to_string())),
        (Type::List(options) | Type::Elements(options), Literal::Text(text)) => {
            one_of(attribute, text, options.iter().map(String::as_str))
        }
        (Type::Enum(values), Literal::Text(text)) => one_of(attribute, text, values.iter().copied()),
        (Type::Choice(options), Literal::Text(text)) => one_of(attribute, text, options.iter().map(String::as_str)),
        (Type::Elements(_), Literal::Integer(number)) => Ok(Operand::Text(number.to_string())),
        (Type::Text | Type::Enum(_) | Type::Choice(_) | Type::List(_), Literal::Integer(number)) => {
            wrong(format!("write it between quotes: `'{number}'`"))
        }
        (
            Type::Text | Type::Id | Type::Path | Type::Enum(_) | Type::Choice(_) | Type::List(_) | Type::Elements(_),
            _,
        ) => wrong(format!("write text between quotes: `{}`", attribute.example)),

        (Type::Boolean, Literal::Boolean(truth)) => Ok(Operand::Boolean(*truth)),
        (Type::Boolean, _) => wrong(format!("write `{} = true` or `= false`", attribute.name)),

        (Type::CivilDate, Literal::Date(Date::Instant(at))) => {
            wrong(format!("write the day without a time: `{}`", at.date()))
        }
        (Type::Day | Type::CivilDate, Literal::Date(date)) => Ok(Operand::Date(*date)),
        (Type::Day | Type::CivilDate, Literal::Text(text)) => quoted_date(attribute, literal, text),
        (Type::Day | Type::CivilDate, _) => {
            wrong(format!("write a day, such as -30d or 2026-11-19: `{}`", attribute.example))
        }
    }
}

/// People quote dates, since SQL does.
fn quoted_date(attribute: &Attribute, literal: &Literal, text: &str) -> Result<Operand, Wrong> {
    match Date::parse(text) {
        Some(Date::Instant(at)) if attribute.kind == Type::CivilDate => {
            Err(wrong_type(attribute, literal, format!("write the day without a time: `{}`", at.date())))
        }
        Some(date) => Ok(Operand::Date(date)),
        None => {
            let shaped = text.len() >= 10 && text.bytes().take(10).all(|byte| byte.is_ascii_digit() || byte == b'-');
            if shaped {
                let message = format!("{text} is a day that does not exist");
                let hint = "write a day of the calendar as `yyyy-mm-dd`".to_owned();
                return Err(Wrong { code: "segment.no_such_date", message, hint });
            }
            Err(wrong_type(attribute, literal, "write a day, such as -30d or 2026-11-19, without quotes".to_owned()))
        }
    }
}

/// A value of a closed set (any value where the set is empty), in lower case.
fn one_of<'a>(
    attribute: &Attribute,
    text: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<Operand, Wrong> {
    let lower = text.to_lowercase();
    if known.clone().next().is_none() || known.clone().any(|value| value.to_lowercase() == lower) {
        return Ok(Operand::Text(lower));
    }
    let hint = match nearest(text, known.clone()) {
        Some(near) => format!("did you mean `'{near}'`?"),
        None => {
            let all: Vec<String> = known.map(|value| format!("`'{value}'`")).collect();
            format!("it can be {}", all.join(", "))
        }
    };
    let message = format!("`{}` is never `{text}`", attribute.name);
    Err(Wrong { code: "segment.unknown_value", message, hint })
}
