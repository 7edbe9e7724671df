//! Functions that mappings call: money and times as platforms write them, and values within JSON.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, StringBuilder, StringViewArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use chrono::{NaiveDateTime, NaiveTime};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;
use serde_json::Value;

use crate::schema::landed::list_type;

/// Gives a session the functions of this module.
pub(super) fn register(session: &SessionContext) {
    for function in
        [Function::Money, Function::Time, Function::Json, Function::Parameter, Function::Elements, Function::Paths]
    {
        session.register_udf(ScalarUDF::new_from_impl(MappingFunction::new(function)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// `money(text)`: without symbols and thousands separators; what is no amount stays, for the run to reject.
    Money,
    /// `any_time(text)`: a time as `yyyy-mm-ddThh:mm:ss` with its offset where it has one; what is no time stays.
    Time,
    /// `json_text(json, path)`: the value at `a.b`; texts without their quotes, others as JSON.
    Json,
    /// `json_param(json, key)`: of a list of `{key, value: {string_value, …}}` the key's value, as Google Analytics has it.
    Parameter,
    /// `json_elements(json)`: a JSON list as a list of texts.
    Elements,
    /// `category_paths(text)`: comma-separated paths as a list, with `\,` for a comma within.
    Paths,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MappingFunction {
    function: Function,
    signature: Signature,
}

impl MappingFunction {
    fn new(function: Function) -> Self {
        let arguments = if matches!(function, Function::Json | Function::Parameter) { 2 } else { 1 };
        Self { function, signature: Signature::new(TypeSignature::Any(arguments), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for MappingFunction {
    fn name(&self) -> &str {
        match self.function {
            Function::Money => "money",
            Function::Time => "any_time",
            Function::Json => "json_text",
            Function::Parameter => "json_param",
            Function::Elements => "json_elements",
            Function::Paths => "category_paths",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            Function::Elements | Function::Paths => list_type(),
            _ => DataType::Utf8View,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = |place: usize| -> Result<StringViewArray> {
            match arguments.args.get(place) {
                Some(value) => {
                    let array = value.to_array(arguments.number_rows)?;
                    Ok(cast(&array, &DataType::Utf8View)?.as_string_view().clone())
                }
                None => exec_err!("`{}` lacks an argument", self.name()),
            }
        };
        let first = texts(0)?;
        let answer: ArrayRef = match self.function {
            Function::Elements => lists(first.iter().map(|text| elements(text?))),
            Function::Paths => lists(first.iter().map(|text| Some(paths(text?)))),
            Function::Money => each(first.iter().map(|text| Some(money(text?)))),
            Function::Time => each(first.iter().map(|text| Some(any_time(text?)))),
            Function::Json => {
                let paths = texts(1)?;
                each(first.iter().zip(paths.iter()).map(|(json, path)| at_path(json?, path?)))
            }
            Function::Parameter => {
                let keys = texts(1)?;
                each(first.iter().zip(keys.iter()).map(|(json, key)| parameter(json?, key?)))
            }
        };
        Ok(ColumnarValue::Array(answer))
    }
}

fn each(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    let mut built = StringViewBuilder::new();
    for value in values {
        built.append_option(value);
    }
    Arc::new(built.finish())
}

fn lists(values: impl Iterator<Item = Option<Vec<String>>>) -> ArrayRef {
    let element = Field::new("element", DataType::Utf8, true);
    let mut built = ListBuilder::new(StringBuilder::new()).with_field(element);
    for value in values {
        match value {
            Some(items) => built.append_value(items.into_iter().map(Some)),
            None => built.append_null(),
        }
    }
    Arc::new(built.finish())
}

/// An amount as digits with a point. Of two separators the last is the decimal one; a comma alone before three digits
/// separates thousands, a point alone never does. Parentheses are a minus.
fn money(text: &str) -> String {
    let parenthesised = text.starts_with('(') && text.ends_with(')');
    let kept: String = text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | '-')).collect();
    if !kept.bytes().any(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    let (negative, kept) =
        (parenthesised || kept.starts_with('-'), kept.trim_start_matches('-').trim_end_matches(['.', ',', '-']));
    if kept.contains('-') {
        return text.to_owned();
    }
    let (point, comma) = (kept.rfind('.'), kept.rfind(','));
    let decimal = match (point, comma) {
        (Some(point), Some(comma)) => Some(point.max(comma)),
        (Some(point), None) if kept.matches('.').count() == 1 => Some(point),
        (None, Some(comma)) if kept.matches(',').count() == 1 && kept.len() - comma != 4 => Some(comma),
        _ => None,
    };
    let digits = |part: &str| part.chars().filter(char::is_ascii_digit).collect::<String>();
    let sign = if negative { "-" } else { "" };
    match decimal {
        Some(at) => format!("{sign}{}.{}", digits(&kept[..at]), digits(&kept[at + 1..])),
        None => format!("{sign}{}", digits(kept)),
    }
}

/// Dates and times as platforms write them beside the forms that landing reads: `m/d/yyyy`, with or without a time of 24
/// or of 12 hours. A time is told from a date: midnight is no date.
fn any_time(text: &str) -> String {
    let text = text.trim();
    let Some((date, time)) = text.split_once(' ').map(|(date, time)| (date, Some(time.trim()))).or(Some((text, None)))
    else {
        return text.to_owned();
    };
    let parts: Vec<&str> = date.split('/').collect();
    let [month, day, year] = parts.as_slice() else { return text.to_owned() };
    let date = match (month.parse::<u32>(), day.parse::<u32>(), year.parse::<i32>()) {
        (Ok(month), Ok(day), Ok(year)) if year > 999 => chrono::NaiveDate::from_ymd_opt(year, month, day),
        _ => None,
    };
    let Some(date) = date else { return text.to_owned() };
    let Some(time) = time else { return date.to_string() };
    let read = ["%I:%M:%S %p", "%I:%M %p", "%H:%M:%S", "%H:%M"]
        .iter()
        .find_map(|form| NaiveTime::parse_from_str(time, form).ok());
    match read {
        Some(time) => NaiveDateTime::new(date, time).format("%Y-%m-%dT%H:%M:%S").to_string(),
        None => text.to_owned(),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn at_path(json: &str, path: &str) -> Option<String> {
    let mut value: &Value = &serde_json::from_str(json).ok()?;
    for key in path.split('.') {
        value = value.get(key)?;
    }
    plain(value)
}

fn parameter(json: &str, key: &str) -> Option<String> {
    let list: Vec<Value> = serde_json::from_str(json).ok()?;
    let found = list.iter().find(|one| one.get("key").and_then(Value::as_str) == Some(key))?;
    let value = found.get("value")?;
    ["string_value", "int_value", "double_value", "float_value"].iter().find_map(|kind| plain(value.get(*kind)?))
}

fn elements(json: &str) -> Option<Vec<String>> {
    let list: Vec<Value> = serde_json::from_str(json).ok()?;
    Some(list.iter().filter_map(plain).collect())
}

/// `Clothing > Hoodies, Sale` as its paths.
fn paths(text: &str) -> Vec<String> {
    let marked = text.replace("\\,", "\u{0}");
    let parts = marked.split(',').map(|part| part.replace('\u{0}', ",").trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_as_it_is_written_everywhere() {
        for (text, amount) in [
            ("$1,234.50", "1234.50"),
            ("1.234,50 kr.", "1234.50"),
            ("€ 1.234.567", "1234567"),
            ("12,5", "12.5"),
            ("1,234", "1234"),
            ("1234.5678", "1234.5678"),
            ("($5.00)", "-5.00"),
            ("-5", "-5"),
            ("free", "free"),
            ("5-6", "5-6"),
        ] {
            assert_eq!(money(text), amount, "{text}");
        }
    }

    #[test]
    fn american_times_become_plain_ones() {
        for (text, time) in [
            ("12/31/2024 5:30:00 PM", "2024-12-31T17:30:00"),
            ("1/2/2024 12:05 AM", "2024-01-02T00:05:00"),
            ("1/2/2024 13:05", "2024-01-02T13:05:00"),
            ("1/2/2024", "2024-01-02"),
            ("2024-01-02 13:05:00 +0100", "2024-01-02 13:05:00 +0100"),
            ("31/12/2024", "31/12/2024"),
        ] {
            assert_eq!(any_time(text), time, "{text}");
        }
    }

    #[test]
    fn values_are_found_in_json() {
        assert_eq!(at_path("{\"a\":{\"b\":\"x\"},\"n\":1.50}", "a.b").as_deref(), Some("x"));
        assert_eq!(at_path("{\"n\":2}", "n").as_deref(), Some("2"));
        assert_eq!(at_path("no json", "n"), None);
        let params =
            "[{\"key\":\"page\",\"value\":{\"string_value\":\"/x\"}},{\"key\":\"n\",\"value\":{\"int_value\":3}}]";
        assert_eq!(parameter(params, "page").as_deref(), Some("/x"));
        assert_eq!(parameter(params, "n").as_deref(), Some("3"));
        assert_eq!(elements("[\"a\",null,{\"b\":1}]").unwrap(), ["a", "{\"b\":1}"]);
        assert_eq!(paths("Clothing > Hoodies, A\\, B"), ["Clothing > Hoodies", "A, B"]);
    }
}
