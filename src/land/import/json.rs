//! JSON Lines: one object a line, taken apart without changing how its numbers are written.

use std::borrow::Cow;
use std::io::{BufRead, Read};

use super::columns::Landing;
use super::csv::{not_utf8, too_long};
use super::source::{MAX_RECORD, read_fault};
use crate::error::{Error, Result};

/// Objects and arrays in each other; deeper ones no reader of the lake would take.
const MAX_DEPTH: usize = 120;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    /// The number's literal.
    Number(&'a str),
    Boolean(bool),
    /// The array's JSON text.
    List(&'a str),
    /// The object's JSON text.
    Object(&'a str),
}

/// What an object holds, in the order in which it was written.
pub(super) type Entries<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// Lines of a text that are not blank.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    bytes: Vec<u8>,
    text: String,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, bytes: Vec::new(), text: String::new(), line: 0 }
    }

    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// The next object, with its 1-based line.
    ///
    /// # Errors
    /// `land.json_line`, `land.not_utf8` and `land.record_too_long`, with line and column.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Entries<'_>)>> {
        loop {
            self.bytes.clear();
            self.line += 1;
            let limit = u64::try_from(MAX_RECORD).unwrap_or(u64::MAX);
            let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.bytes).map_err(read_fault)?;
            if read == 0 {
                return Ok(None);
            }
            if read == MAX_RECORD && self.bytes.last() != Some(&b'\n') {
                return Err(too_long(self.line));
            }
            if !self.bytes.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let mut text = std::mem::take(&mut self.text).into_bytes();
        text.clear();
        text.extend_from_slice(&self.bytes);
        self.text = String::from_utf8(text).map_err(|error| {
            let valid = self.bytes.get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let column = valid.iter().filter(|byte| *byte & 0xC0 != 0x80).count();
            not_utf8(self.line, u64::try_from(column + 1).ok())
        })?;
        let entries = object(&self.text).map_err(|fault| {
            let before = self.text.get(..fault.at).unwrap_or_default();
            Error::input("land.json_line", fault.message)
                .at_line(self.line, u64::try_from(before.chars().count() + 1).ok())
                .with_hint("write one JSON object a line")
        })?;
        Ok(Some((self.line, entries)))
    }
}

#[derive(Debug)]
struct Fault {
    at: usize,
    message: &'static str,
}

/// The entries of a line's object.
fn object(text: &str) -> Result<Entries<'_>, Fault> {
    let text = text.trim_end();
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        if error.is_eof() {
            return Err(Fault { at: text.len(), message: "the line ends before its JSON does" });
        }
        // The column counts bytes, from 1.
        let mut at = error.column().saturating_sub(1).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        return Err(Fault { at, message: "the line is no valid JSON from here on" });
    }
    let mut cursor = Cursor { text, at: 0 };
    cursor.blanks();
    if cursor.peek() != Some(b'{') {
        return Err(Fault { at: cursor.at, message: "the line is no JSON object" });
    }
    cursor.at += 1;
    let mut entries = Vec::new();
    loop {
        cursor.blanks();
        match cursor.peek() {
            Some(b'"') => {}
            Some(b',') => {
                cursor.at += 1;
                continue;
            }
            _ => return Ok(entries),
        }
        let key = unquote(cursor.string(), cursor.at)?;
        cursor.blanks();
        cursor.at += 1;
        cursor.blanks();
        let at = cursor.at;
        let raw = cursor.value()?;
        let value = match raw.as_bytes().first() {
            Some(b'"') => Value::Text(unquote(raw, at)?),
            Some(b'[') => Value::List(raw),
            Some(b'{') => Value::Object(raw),
            Some(b't') => Value::Boolean(true),
            Some(b'f') => Value::Boolean(false),
            Some(b'n') | None => Value::Null,
            Some(_) => Value::Number(raw),
        };
        entries.push((key, value));
    }
}

fn unquote(quoted: &str, at: usize) -> Result<Cow<'_, str>, Fault> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let fault = |_| Fault { at, message: "the text here has an escape that stands for no character" };
    serde_json::from_str(quoted).map(Cow::Owned).map_err(fault)
}

/// Walks over JSON that is known to be valid.
#[derive(Debug)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> &'a str {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let mut depth = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string();
                    if depth == 0 {
                        break;
                    }
                    continue;
                }
                b'[' | b'{' => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(Fault { at: self.at, message: "objects and arrays are nested too deep here" });
                    }
                }
                b']' | b'}' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        break;
                    }
                }
                b',' | b'}' if depth == 0 => break,
                _ if depth == 0 && byte.is_ascii_whitespace() => break,
                _ => {}
            }
            self.at += 1;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }
}

/// A whole number's literal without point and exponent: many programs write the id 17 as `17.0`.
pub(super) fn whole(number: &str) -> Cow<'_, str> {
    if !number.contains(['.', 'e', 'E']) {
        return Cow::Borrowed(number);
    }
    match number.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "whole and small enough to be exact")]
        Ok(value) if value.fract() == 0.0 && value.abs() < 9e15 => Cow::Owned((value as i64).to_string()),
        _ => Cow::Borrowed(number),
    }
}

/// The elements of an array, if landing them as a list of strings changes none.
pub(super) fn elements(list: &str) -> Option<Vec<Option<String>>> {
    let parsed: Vec<serde_json::Value> = serde_json::from_str(list).ok()?;
    let element = |value: serde_json::Value| match value {
        serde_json::Value::Null => Some(None),
        serde_json::Value::String(text) => Some(Some(text)),
        serde_json::Value::Bool(truth) => Some(Some(truth.to_string())),
        serde_json::Value::Number(number) if number.is_i64() => Some(Some(number.to_string())),
        _ => None,
    };
    parsed.into_iter().map(element).collect()
}

/// What the values of a column have been so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    text: bool,
    integer: bool,
    /// Whole numbers that a float would round.
    wide: bool,
    float: bool,
    boolean: bool,
    list: bool,
}

impl Seen {
    pub(super) fn look(&mut self, value: &Value<'_>) {
        match value {
            Value::Null => {}
            Value::Text(_) | Value::Object(_) => self.text = true,
            Value::Boolean(_) => self.boolean = true,
            Value::List(list) if elements(list).is_some() => self.list = true,
            Value::List(_) => self.text = true,
            Value::Number(number) => match number.parse::<i64>() {
                Ok(integer) => {
                    self.integer = true;
                    self.wide |= integer.unsigned_abs() > 1 << 53;
                }
                Err(_) if exact_float(number) => self.float = true,
                Err(_) => self.text = true,
            },
        }
    }

    /// The type that holds every value as it was written; text where none other does, none without a value.
    pub(super) fn landing(&self) -> Option<Landing> {
        let number = self.integer || self.float;
        match (self.text, number, self.boolean, self.list) {
            (false, false, false, false) => None,
            (false, true, false, false) if !self.float => Some(Landing::Integer),
            (false, true, false, false) if !self.wide => Some(Landing::Float),
            (false, false, true, false) => Some(Landing::Boolean),
            (false, false, false, true) => Some(Landing::List),
            _ => Some(Landing::Text),
        }
    }
}

/// Whether a float gives back all the digits that were written.
fn exact_float(number: &str) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    number.parse::<f64>().is_ok_and(|value| value.is_finite() && digits <= 15 && (value != 0.0 || digits == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, Value<'_>)> {
        object(text).unwrap().into_iter().map(|(key, value)| (key.into_owned(), value)).collect()
    }

    #[test]
    fn values_keep_their_literals() {
        let line = " { \"a\" : 1.10 ,\"b\\n\":\"x\\u00f8,}\\\"\",\"c\":[1, \"]\"], \"d\":{\"e\":[{}]} ,\"f\":null,\"g\":-2e3,\"h\":false} ";
        let expected = [
            ("a".to_owned(), Value::Number("1.10")),
            ("b\n".to_owned(), Value::Text("xø,}\"".into())),
            ("c".to_owned(), Value::List("[1, \"]\"]")),
            ("d".to_owned(), Value::Object("{\"e\":[{}]}")),
            ("f".to_owned(), Value::Null),
            ("g".to_owned(), Value::Number("-2e3")),
            ("h".to_owned(), Value::Boolean(false)),
        ];
        assert_eq!(shown(line), expected);
        assert!(shown("{}").is_empty());
    }

    #[test]
    fn faults_have_line_and_column() {
        let place = |text: &[u8]| {
            let mut lines = Lines::new(text);
            loop {
                match lines.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no fault"),
                    Err(error) => return (error.code(), error.place().line, error.place().column),
                }
            }
        };
        assert_eq!(place("{}\n\n{\"ø\":x}".as_bytes()), ("land.json_line", Some(3), Some(6)));
        assert_eq!(place(b"{\"a\":1"), ("land.json_line", Some(1), Some(7)));
        assert_eq!(place(b"\n[1]"), ("land.json_line", Some(2), Some(1)));
        assert_eq!(place(b"17"), ("land.json_line", Some(1), Some(1)));
        assert_eq!(place(b"{\"a\":\"\\ud800\"}"), ("land.json_line", Some(1), Some(6)));
        assert_eq!(place(b"{\"a\":\"\xff\"}"), ("land.not_utf8", Some(1), Some(7)));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(place(deep.as_bytes()).0, "land.json_line");
        assert_eq!(place("x".repeat(MAX_RECORD + 1).as_bytes()).0, "land.record_too_long");
    }

    #[test]
    fn types_hold_every_value_or_are_text() {
        let landing = |values: &[Value<'_>]| {
            let mut seen = Seen::default();
            values.iter().for_each(|value| seen.look(value));
            seen.landing()
        };
        let number = Value::Number;
        assert_eq!(landing(&[Value::Null]), None);
        assert_eq!(landing(&[number("7"), Value::Null]), Some(Landing::Integer));
        assert_eq!(landing(&[number("7"), number("0.5")]), Some(Landing::Float));
        assert_eq!(landing(&[number("9007199254740993"), number("0.5")]), Some(Landing::Text));
        assert_eq!(landing(&[number("0.1234567890123456789")]), Some(Landing::Text));
        assert_eq!(landing(&[number("1e999")]), Some(Landing::Text));
        assert_eq!(landing(&[Value::Boolean(true)]), Some(Landing::Boolean));
        assert_eq!(landing(&[Value::Boolean(true), number("1")]), Some(Landing::Text));
        assert_eq!(landing(&[Value::List("[\"a\",null,1]")]), Some(Landing::List));
        assert_eq!(landing(&[Value::List("[0.10]")]), Some(Landing::Text));
        assert_eq!(landing(&[Value::List("[]"), Value::Text("a".into())]), Some(Landing::Text));
    }

    #[test]
    fn whole_numbers_lose_their_point() {
        assert_eq!(whole("12345.0"), "12345");
        assert_eq!(whole("1e3"), "1000");
        assert_eq!(whole("1.5"), "1.5");
        assert_eq!(whole("00017"), "00017");
    }
}
