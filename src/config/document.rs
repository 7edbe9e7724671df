//! A TOML text with the place of every value, and typed, fault-collecting access to it.

/// One table of a document.
mod section;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults};
use crate::diagnostic::{Diagnostic, Span, nearest};
use crate::error::Error;

pub use section::Section;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// These bytes of the document's text.
    Text(Span),
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub at: Origin,
}

/// A value exactly as written.
#[derive(Debug, Clone)]
enum Raw {
    Text(String),
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    DateTime,
    List(Vec<Entry>),
    Table(Entries),
    /// From the environment: the setting that reads it says what it is.
    Untyped(String),
}

#[derive(Debug, Clone)]
struct Entry {
    key_at: Origin,
    at: Origin,
    raw: Raw,
}

type Entries = BTreeMap<String, Entry>;

/// A parsed TOML text and the faults found in it so far.
#[derive(Debug)]
pub struct Document {
    origin: Arc<str>,
    text: Arc<str>,
    root: Entries,
    faults: RefCell<Vec<Fault>>,
}

impl Document {
    /// Parses a text; `origin` is the file's name as the user would write it.
    ///
    /// # Errors
    /// All faults of the TOML syntax (`config.syntax`), each with its place.
    pub fn parse(origin: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Result<Self, Faults> {
        let (origin, text) = (origin.into(), text.into());
        let (root, errors) = {
            let (table, errors) = DeTable::parse_recoverable(&text);
            (entries(table.get_ref()), errors)
        };
        let text: Arc<str> = masked(&text, &root).into();
        if !errors.is_empty() {
            let faults = errors.iter().map(|error| Fault::Text {
                origin: Arc::clone(&origin),
                source: Arc::clone(&text),
                diagnostic: Diagnostic::error(
                    "config.syntax",
                    error.span().unwrap_or(0..0),
                    lower_first(error.message()),
                ),
            });
            return Err(Faults::new(faults.collect()));
        }
        Ok(Self { origin, text, root, faults: RefCell::default() })
    }

    /// Lays one variable over the document; `path` names the tables and, last, the key. Keys that are there already
    /// are found in any case. Where the document has something else than a table on the way, that fault stands.
    pub fn overlay(&mut self, path: &[String], variable: &str, value: &str) {
        let Some((last, tables)) = path.split_last() else { return };
        let at = Origin::Variable(variable.to_owned());
        let mut entries = &mut self.root;
        for part in tables {
            let key = written_as(entries, part);
            let entry = entries.entry(key).or_insert_with(|| Entry {
                key_at: at.clone(),
                at: at.clone(),
                raw: Raw::Table(Entries::new()),
            });
            match &mut entry.raw {
                Raw::Table(inner) => entries = inner,
                _ => return,
            }
        }
        let key = written_as(entries, last);
        entries.insert(key, Entry { key_at: at.clone(), at, raw: Raw::Untyped(value.to_owned()) });
    }

    /// The whole document as a section.
    pub fn root(&self) -> Section<'_> {
        Section::new(self, String::new(), Some(&self.root), Origin::Text(0..0))
    }

    /// Records a fault.
    pub fn fault(&self, at: &Origin, code: &'static str, message: impl Into<String>, hint: Option<String>) {
        let message = message.into();
        let fault = match at {
            Origin::Text(span) => {
                let mut diagnostic = Diagnostic::error(code, span.clone(), message);
                diagnostic.hint = hint;
                Fault::Text { origin: Arc::clone(&self.origin), source: Arc::clone(&self.text), diagnostic }
            }
            Origin::Variable(name) => {
                Fault::Other(hinted(Error::definition(code, message).in_file(format!("variable {name}")), hint))
            }
            Origin::Flag(name) => Fault::Other(hinted(Error::usage(code, message).in_file(*name), hint)),
        };
        self.faults.borrow_mut().push(fault);
    }

    /// Records an error about the value at `at`.
    pub fn fault_from(&self, at: &Origin, error: &Error) {
        self.fault(at, error.code(), error.message(), error.hint().map(str::to_owned));
    }

    /// The faults found, if any.
    ///
    /// # Errors
    /// All of them, in the order of their places.
    pub fn finish(self) -> Result<(), Faults> {
        let faults = self.faults.into_inner();
        if faults.is_empty() { Ok(()) } else { Err(Faults::new(faults)) }
    }
}

/// `did you mean …`, or all that is known.
pub fn suggest(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => {
            let mut names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            names.sort();
            names.dedup();
            format!("known here: {}", names.join(", "))
        }
    }
}

fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "password",
        "passwd",
        "secret",
        "token",
        "credential",
        "private_key",
        "access_key",
        "api_key",
        "lake_key",
        "sas_key",
    ]
    .iter()
    .any(|word| key.contains(word))
        || key == "key"
}

/// The text with everything that may be a secret starred out, byte for byte, since faults print the lines around them.
fn masked(text: &str, root: &Entries) -> String {
    let mut spans = Vec::new();
    secret_values(root, &mut spans);
    // Where the syntax is broken there may be no values, but there are lines.
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, _)) = line.split_once('=')
            && looks_secret(key.trim())
        {
            spans.push(line_start + key.len() + 1..line_start + line.len());
        }
        line_start += line.len();
    }
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        for byte in bytes.iter_mut().take(span.end).skip(span.start) {
            if !byte.is_ascii_whitespace() && *byte != b'"' {
                *byte = b'*';
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn secret_values(entries: &Entries, spans: &mut Vec<Span>) {
    let is_url_with_secret = |raw: &Raw| {
        let Raw::Text(text) = raw else { return false };
        text.split_once("://").is_some_and(|(_, rest)| rest.contains(['@', '?']))
    };
    for (key, entry) in entries {
        if let Origin::Text(span) = &entry.at
            && (looks_secret(key) || is_url_with_secret(&entry.raw))
        {
            spans.push(span.clone());
        }
        match &entry.raw {
            Raw::Table(inner) => secret_values(inner, spans),
            Raw::List(items) => {
                for item in items {
                    if let Raw::Table(inner) = &item.raw {
                        secret_values(inner, spans);
                    }
                }
            }
            _ => {}
        }
    }
}

fn written_as(entries: &Entries, part: &str) -> String {
    let found = entries.keys().find(|key| key.eq_ignore_ascii_case(part));
    found.cloned().unwrap_or_else(|| part.to_owned())
}

fn hinted(error: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn entries(table: &DeTable<'_>) -> Entries {
    let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
        let entry =
            Entry { key_at: Origin::Text(key.span()), at: Origin::Text(value.span()), raw: raw(value.get_ref()) };
        (key.get_ref().to_string(), entry)
    };
    table.iter().map(entry).collect()
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => Raw::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Raw::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Datetime(_) => Raw::DateTime,
        DeValue::Array(items) => {
            let item = |item: &toml::Spanned<DeValue<'_>>| Entry {
                key_at: Origin::Text(item.span()),
                at: Origin::Text(item.span()),
                raw: raw(item.get_ref()),
            };
            Raw::List(items.iter().map(item).collect())
        }
        DeValue::Table(table) => Raw::Table(entries(table)),
    }
}
