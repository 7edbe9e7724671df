//! How landed values are read: scalar functions from whatever type a file has to the type of the contract.
//!
//! A value that cannot be read becomes null; telling a value that was missing from one that could not be read is the
//! business of `super::columns`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Date32Builder, ListBuilder, StringBuilder, StringViewArray,
    StringViewBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::calendar::Zone;
use crate::schema::landed::{instant_type, list_type};

/// The functions of this module, to be registered with every session.
pub fn functions() -> Vec<ScalarUDF> {
    [
        Function::Text,
        Function::Instant,
        Function::Date,
        Function::List,
        Function::Country,
        Function::Hash,
        Function::LocalDate,
    ]
    .into_iter()
    .map(|function| ScalarUDF::new_from_impl(Reader::new(function)))
    .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// `read_text(any)`: trimmed, blank is null; integers and whole floats as decimal text.
    Text,
    /// `read_instant(any, zone)`: UTC microseconds; a date is that local day's start; text is RFC 3339 or a date.
    Instant,
    /// `read_date(any, zone)`: a civil date; of an instant the local day.
    Date,
    /// `read_list(any)`: a list of strings without blanks; text beginning with `[` is JSON, other text comma-separated.
    List,
    /// `read_country(text)`: ISO 3166-1 alpha-2 where it can be told, else the text as it is.
    Country,
    /// `id_hash(text)`: XXH64; equal ids are equal, different ids nearly always differ, and none but a missing one is 0.
    Hash,
    /// `local_date(instant, zone)`.
    LocalDate,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Reader {
    function: Function,
    signature: Signature,
}

impl Reader {
    fn new(function: Function) -> Self {
        let arguments = match function {
            Function::Instant | Function::Date | Function::LocalDate => 2,
            _ => 1,
        };
        Self { function, signature: Signature::new(TypeSignature::Any(arguments), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Reader {
    fn name(&self) -> &str {
        match self.function {
            Function::Text => "read_text",
            Function::Instant => "read_instant",
            Function::Date => "read_date",
            Function::List => "read_list",
            Function::Country => "read_country",
            Function::Hash => "id_hash",
            Function::LocalDate => "local_date",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            Function::Text | Function::Country => DataType::Utf8View,
            Function::Instant => instant_type(),
            Function::Date | Function::LocalDate => DataType::Date32,
            Function::List => list_type(),
            Function::Hash => DataType::UInt64,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(arguments.args.first(), Some(ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let Some(first) = arguments.args.first() else { return exec_err!("{} takes an argument", self.name()) };
        let values = first.to_array(rows)?;
        let zone = || zone_of(arguments.args.get(1));
        let read: ArrayRef = match self.function {
            Function::Text => Arc::new(texts(&values)?),
            Function::Instant => Arc::new(instants(&values, zone()?)?),
            Function::Date => dates(&values, zone()?)?,
            Function::List => lists(&values)?,
            Function::Country => Arc::new(countries(&values)?),
            Function::Hash => Arc::new(hashes(&values)?),
            Function::LocalDate => local_dates(&instants(&values, zone()?)?, zone()?),
        };
        if scalar {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&read, 0)?))
        } else {
            Ok(ColumnarValue::Array(read))
        }
    }
}

fn zone_of(argument: Option<&ColumnarValue>) -> Result<Zone> {
    match argument {
        Some(ColumnarValue::Scalar(value)) => match value.try_as_str() {
            Some(Some(name)) => Zone::parse(name).map_err(DataFusionError::from),
            _ => exec_err!("the time zone must be a name"),
        },
        _ => exec_err!("the time zone must be a constant"),
    }
}

/// A whole float as the integer it is: many exports write ids as 12345.0.
fn whole(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small enough to be exact")]
    (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
}

fn texts(values: &ArrayRef) -> Result<StringViewArray> {
    let strings = match values.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let floats = cast(values, &DataType::Float64)?;
            let floats = floats.as_primitive::<arrow::datatypes::Float64Type>();
            let mut out = StringViewBuilder::with_capacity(values.len());
            // A missing number is NaN in some exports.
            for value in floats.iter().map(|value| value.filter(|value| value.is_finite())) {
                out.append_option(value.map(|value| whole(value).map_or_else(|| value.to_string(), |n| n.to_string())));
            }
            return Ok(out.finish());
        }
        _ => cast(values, &DataType::Utf8View)?,
    };
    let strings = strings.as_string_view();
    let clean = |text: &str| {
        let bytes = text.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(first), Some(last)) => first.is_ascii_graphic() && last.is_ascii_graphic(),
            _ => false,
        }
    };
    if strings.iter().flatten().all(clean) {
        return Ok(strings.clone());
    }
    let mut out = StringViewBuilder::with_capacity(strings.len());
    for value in strings {
        out.append_option(value.map(str::trim).filter(|text| !text.is_empty()));
    }
    Ok(out.finish())
}

fn instants(values: &ArrayRef, zone: Zone) -> Result<TimestampMicrosecondArray> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let array = match values.data_type() {
        // Without a zone a timestamp is UTC; with one its number already counts UTC.
        DataType::Timestamp(_, _) => {
            let utc = match values.data_type() {
                DataType::Timestamp(unit, Some(_)) => cast(values, &DataType::Timestamp(*unit, Some("UTC".into())))?,
                _ => Arc::clone(values),
            };
            let plain = match utc.data_type() {
                DataType::Timestamp(TimeUnit::Microsecond, _) => utc,
                DataType::Timestamp(_, Some(_)) => cast(&utc, &instant_type())?,
                _ => cast(&utc, &micros)?,
            };
            plain.as_primitive::<TimestampMicrosecondType>().clone()
        }
        DataType::Date32 | DataType::Date64 => {
            let days = cast(values, &DataType::Date32)?;
            let days = days.as_primitive::<Date32Type>();
            let mut starts = DayStarts::new(zone);
            let mut out = TimestampMicrosecondBuilder::with_capacity(values.len());
            for day in days {
                out.append_option(day.and_then(|day| starts.of(day)));
            }
            out.finish()
        }
        DataType::Null => TimestampMicrosecondArray::new_null(values.len()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _) => {
            let text = texts(values)?;
            let mut starts = DayStarts::new(zone);
            let mut out = TimestampMicrosecondBuilder::with_capacity(values.len());
            for value in &text {
                out.append_option(value.and_then(|text| parse_instant(text, &mut starts)));
            }
            out.finish()
        }
        _ => TimestampMicrosecondArray::new_null(values.len()),
    };
    Ok(array.with_timezone("UTC"))
}

fn parse_instant(text: &str, starts: &mut DayStarts) -> Option<i64> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    starts.of(arrow::datatypes::Date32Type::from_naive_date(day))
}

/// The starts of local days, remembered: a column has few different days.
struct DayStarts {
    zone: Zone,
    known: HashMap<i32, Option<i64>>,
}

impl DayStarts {
    fn new(zone: Zone) -> Self {
        Self { zone, known: HashMap::new() }
    }

    fn of(&mut self, day: i32) -> Option<i64> {
        let zone = self.zone;
        *self.known.entry(day).or_insert_with(|| {
            let date = Date32Type::to_naive_date_opt(day)?;
            // The calendar's last days have no day after them.
            crate::calendar::add_days(date, 2)?;
            Some(zone.start_of_day(date).timestamp_micros())
        })
    }
}

fn dates(values: &ArrayRef, zone: Zone) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Date32 => Arc::clone(values),
        DataType::Date64 => cast(values, &DataType::Date32)?,
        DataType::Timestamp(_, _) => local_dates(&instants(values, zone)?, zone),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _) => {
            let mut out = Date32Builder::with_capacity(values.len());
            for value in &texts(values)? {
                let day = value.and_then(|text| {
                    // RFC 3339 lets a blank stand between date and time.
                    let ends = |byte: Option<&u8>| matches!(byte, None | Some(b'T' | b't' | b' '));
                    let day = text.get(..10).filter(|_| ends(text.as_bytes().get(10)));
                    day.and_then(|day| NaiveDate::parse_from_str(day, "%Y-%m-%d").ok())
                });
                out.append_option(day.map(Date32Type::from_naive_date));
            }
            Arc::new(out.finish())
        }
        _ => arrow::array::new_null_array(&DataType::Date32, values.len()),
    })
}

/// Local days of instants. Within an hour of UTC the offset of every zone is constant to the quarter hour, so offsets are
/// looked up once a quarter hour and remembered.
fn local_dates(values: &TimestampMicrosecondArray, zone: Zone) -> ArrayRef {
    const QUARTER: i64 = 15 * 60 * 1_000_000;
    const DAY: i64 = 86_400 * 1_000_000;
    let mut offsets: HashMap<i64, i64> = HashMap::new();
    let mut last = (i64::MIN, 0_i64);
    let mut day_of = |micros: i64| {
        let quarter = micros.div_euclid(QUARTER);
        if quarter != last.0 {
            let offset = match offsets.get(&quarter) {
                Some(offset) => *offset,
                None => {
                    let at = DateTime::<Utc>::from_timestamp_micros(quarter.checked_mul(QUARTER)?)?;
                    let offset = i64::from(zone.offset_seconds(at)) * 1_000_000;
                    offsets.insert(quarter, offset);
                    offset
                }
            };
            last = (quarter, offset);
        }
        i32::try_from(micros.checked_add(last.1)?.div_euclid(DAY)).ok()
    };
    let days: Date32Array = values.iter().map(|value| value.and_then(&mut day_of)).collect();
    Arc::new(days)
}

fn lists(values: &ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("element", DataType::Utf8, true));
    let mut out = ListBuilder::new(StringBuilder::new()).with_field(field);
    let mut push = |elements: Option<Vec<String>>| match elements {
        Some(elements) => {
            for element in elements {
                let element = element.trim();
                if !element.is_empty() {
                    out.values().append_value(element);
                }
            }
            out.append(true);
        }
        None => out.append(false),
    };
    match values.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::ListView(_) | DataType::FixedSizeList(_, _) => {
            let lists = cast(values, &DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))))?;
            for row in lists.as_list::<i32>().iter() {
                push(row.map(|row| row.as_string::<i32>().iter().flatten().map(str::to_owned).collect()));
            }
        }
        _ => {
            for value in &texts(values)? {
                push(value.map(split_list));
            }
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Text where a list is asked: JSON if it begins with `[` and is valid, else split at commas.
fn split_list(text: &str) -> Vec<String> {
    if text.starts_with('[')
        && let Ok(elements) = serde_json::from_str::<Vec<serde_json::Value>>(text)
    {
        let shown = |element: serde_json::Value| match element {
            serde_json::Value::String(text) => Some(text),
            serde_json::Value::Null => None,
            other => Some(other.to_string()),
        };
        return elements.into_iter().filter_map(shown).collect();
    }
    text.split(',').map(str::to_owned).collect()
}

/// The alpha-2 code of a country's name, alpha-3 code or alpha-2 code in any case, by the `celes` crate's tables.
pub(crate) fn country_code(text: &str) -> Option<&'static str> {
    let text = text.replace('&', "and");
    let letters: String =
        text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).map(without_accent).collect();
    let found = match letters.len() {
        // ISO 3166-1 reserves UK for nobody else, and half of the world's shops write it.
        2 if letters == "uk" => celes::Country::from_alpha2("gb"),
        2 if text.len() == 2 => celes::Country::from_alpha2(&letters),
        3 if text.len() == 3 => celes::Country::from_alpha3(&letters),
        _ => Err(""),
    };
    // Names before aliases: the aliases hold a Samoa that is the American one.
    let found = found
        .or_else(|_| celes::Country::from_name(&letters))
        .or_else(|_| celes::Country::from_name(format!("the{letters}")))
        .or_else(|_| celes::Country::from_alias(&letters));
    found.ok().map(|country| country.alpha2)
}

/// The plain letter under an accent: the tables know names in plain letters only.
fn without_accent(letter: char) -> char {
    match letter {
        'à'..='å' => 'a',
        'ç' => 'c',
        'è'..='ë' => 'e',
        'ì'..='ï' => 'i',
        'ñ' => 'n',
        'ò'..='ö' | 'ø' => 'o',
        'ù'..='ü' => 'u',
        other => other,
    }
}

fn countries(values: &ArrayRef) -> Result<StringViewArray> {
    let mut known: HashMap<String, String> = HashMap::new();
    let mut out = StringViewBuilder::with_capacity(values.len()).with_deduplicate_strings();
    for value in &texts(values)? {
        match value {
            None => out.append_null(),
            Some(text) => {
                let code = known
                    .entry(text.to_owned())
                    .or_insert_with(|| country_code(text).map_or_else(|| text.to_owned(), str::to_owned));
                out.append_value(code);
            }
        }
    }
    Ok(out.finish())
}

fn hashes(values: &ArrayRef) -> Result<UInt64Array> {
    let text = texts(values)?;
    let hash = |id: Option<&str>| id.map_or(0, |id| twox_hash::XxHash64::oneshot(0, id.as_bytes()).max(1));
    Ok(UInt64Array::from_iter_values(text.iter().map(hash)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampNanosecondArray};

    fn utf8(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn text_is_trimmed_and_blank_is_null() {
        let read = texts(&utf8(&[Some(" a "), Some("  "), None, Some("æ")])).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), [Some("a"), None, None, Some("æ")]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 12]));
        assert_eq!(texts(&numbers).unwrap().value(1), "12");
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![12346.0]));
        assert_eq!(texts(&floats).unwrap().value(0), "12346");
    }

    #[test]
    fn instants_of_every_kind() {
        let zone = Zone::parse("Europe/Copenhagen").unwrap();
        let read = instants(
            &utf8(&[
                Some("2026-03-29T02:00:00+01:00"),
                Some("2026-03-30"),
                Some("yesterday"),
                Some("2026-01-01T10:00:00"),
            ]),
            zone,
        )
        .unwrap();
        assert_eq!(read.value(0), DateTime::parse_from_rfc3339("2026-03-29T01:00:00Z").unwrap().timestamp_micros());
        assert_eq!(read.value(1), DateTime::parse_from_rfc3339("2026-03-29T22:00:00Z").unwrap().timestamp_micros());
        assert!(read.is_null(2) && read.is_null(3));
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_999]).with_timezone("America/New_York"));
        assert_eq!(instants(&nanos, zone).unwrap().value(0), 1);
    }

    #[test]
    fn local_days_follow_daylight_saving() {
        let zone = Zone::parse("Europe/London").unwrap();
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
        let values = TimestampMicrosecondArray::from(vec![
            at("2011-06-30T22:59:59Z"),
            at("2011-06-30T23:00:00Z"),
            at("2011-12-30T23:30:00Z"),
        ]);
        let days = local_dates(&values, zone);
        let days = days.as_primitive::<Date32Type>();
        assert_eq!(days.value(1) - days.value(0), 1);
        assert_eq!(days.value_as_date(2).unwrap().to_string(), "2011-12-30");
    }

    #[test]
    fn lists_from_json_commas_and_lists() {
        let read = lists(&utf8(&[Some("[\"a\", \"b,c\"]"), Some("x, y ,,"), None, Some("[broken")])).unwrap();
        let read = read.as_list::<i32>();
        let row = |n: usize| read.value(n).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(row(0), ["a", "b,c"]);
        assert_eq!(row(1), ["x", "y"]);
        assert!(read.is_null(2));
        assert_eq!(row(3), ["[broken"]);
    }

    #[test]
    fn countries_become_two_letters() {
        for (landed, code) in [
            ("dk", "DK"),
            ("DNK", "DK"),
            ("Denmark", "DK"),
            ("GERMANY", "DE"),
            ("United Kingdom", "GB"),
            ("USA", "US"),
            ("netherlands", "NL"),
            ("Samoa", "WS"),
            ("UK", "GB"),
            ("Türkiye", "TR"),
            ("Bosnia & Herzegovina", "BA"),
        ] {
            assert_eq!(country_code(landed), Some(code), "{landed}");
        }
        assert_eq!(country_code("Atlantis"), None);
    }
}
