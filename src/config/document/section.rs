//! One table of a document.

use std::ops::RangeInclusive;

use super::{Document, Entries, Entry, Located, Origin, Raw, looks_secret, suggest};
use crate::config::quantity::parse_share;
use crate::error::Result;

const SECRETS: &str = "secrets have variables of their own: `ALLUVIAL_LAKE_KEY` for the lake's key, the clouds' usual \
                       ones for their credentials";

/// One table of a document. Every key that is asked for is known; [`Section::finish`] refuses the others.
#[derive(Debug)]
pub struct Section<'a> {
    document: &'a Document,
    name: String,
    entries: Option<&'a Entries>,
    at: Origin,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(document: &'a Document, name: String, entries: Option<&'a Entries>, at: Origin) -> Self {
        Self { document, name, entries, at, known: Vec::new() }
    }

    /// Whether the section is written at all.
    pub fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Where the section begins.
    pub fn at(&self) -> &Origin {
        &self.at
    }

    /// The document that it is a part of.
    pub fn document(&self) -> &'a Document {
        self.document
    }

    /// Every key as written, with the key's place, and counts none of them as unknown.
    pub fn keys(&self) -> Vec<Located<&'a str>> {
        let entries = self.entries.into_iter().flatten();
        entries.map(|(key, entry)| Located { value: key.as_str(), at: entry.key_at.clone() }).collect()
    }

    /// Where a key's value is written, if it is.
    pub fn place_of(&self, key: &str) -> Option<Origin> {
        self.entries?.get(key).map(|entry| entry.at.clone())
    }

    /// Whether a key's value is a list of nothing.
    pub fn is_empty_list(&self, key: &str) -> bool {
        let entry = self.entries.and_then(|entries| entries.get(key));
        entry.is_some_and(|entry| matches!(&entry.raw, Raw::List(items) if items.is_empty()))
    }

    /// A text that is not blank, trimmed.
    pub fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let entry = self.take(key)?;
        self.read_text(key, entry)
    }

    /// A text under a key that the user chose (see [`Section::keys`]).
    pub fn text_at(&self, key: &str) -> Option<Located<String>> {
        let entry = self.entries?.get(key)?;
        self.read_text(key, entry)
    }

    /// A text, read by `parse`, whose error is reported at the text's place.
    pub fn parsed<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T>) -> Option<T> {
        let text = self.text(key)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.document.fault_from(&text.at, &error);
                None
            }
        }
    }

    /// One of a few texts.
    pub fn choice<T: Copy>(&mut self, key: &'static str, options: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, value)) = options.iter().find(|(name, _)| *name == text.value) {
            return Some(*value);
        }
        let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
        let message = format!("`{}` is not one that `{}` knows", text.value, self.path(key));
        self.document.fault(&text.at, "config.unknown_choice", message, Some(suggest(&text.value, &names)));
        None
    }

    /// A whole number within a range.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let entry = self.take(key)?;
        let value = match &entry.raw {
            Raw::Integer(value) => *value,
            Raw::Untyped(text) => text.trim().parse().ok(),
            _ => {
                self.wrong_type(key, entry, "a whole number");
                return None;
            }
        };
        match value.filter(|value| range.contains(value)) {
            Some(value) => Some(value),
            None => {
                let (least, most) = (range.start(), range.end());
                let message = if *most == i64::MAX {
                    format!("`{}` must be a whole number of at least {least}", self.path(key))
                } else {
                    format!("`{}` must be a whole number from {least} to {most}", self.path(key))
                };
                self.document.fault(&entry.at, "config.out_of_range", message, None);
                None
            }
        }
    }

    /// A number within a range.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let entry = self.take(key)?;
        let value = match &entry.raw {
            Raw::Integer(value) => value.map(|value| value as f64),
            Raw::Float(value) => Some(*value),
            Raw::Untyped(text) => text.trim().parse().ok(),
            _ => {
                self.wrong_type(key, entry, "a number");
                return None;
            }
        };
        match value.filter(|value| range.contains(value)) {
            Some(value) => Some(value),
            None => {
                let message =
                    format!("`{}` must be a number from {} to {}", self.path(key), range.start(), range.end());
                self.document.fault(&entry.at, "config.out_of_range", message, None);
                None
            }
        }
    }

    /// A share: a number from 0 to 1, or a text such as `1%`.
    pub fn share(&mut self, key: &'static str) -> Option<f64> {
        self.known.push(key);
        match self.entries?.get(key)?.raw {
            Raw::Text(_) | Raw::Untyped(_) => self.parsed(key, parse_share),
            _ => self.number(key, 0.0..=1.0),
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let entry = self.take(key)?;
        let value = match &entry.raw {
            Raw::Boolean(value) => Some(*value),
            Raw::Untyped(text) => text.trim().to_ascii_lowercase().parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.wrong_type(key, entry, "`true` or `false`");
        }
        value
    }

    /// A flag or a text, whichever is written: for settings that take a word or a switch.
    pub fn flag_or_text(&mut self, key: &'static str) -> Option<Located<String>> {
        let entry = self.take(key)?;
        match &entry.raw {
            Raw::Boolean(value) => Some(Located { value: value.to_string(), at: entry.at.clone() }),
            _ => self.read_text(key, entry),
        }
    }

    /// A list of texts, each trimmed and not blank. From the environment: a JSON list, else split at commas.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let entry = self.take(key)?;
        match &entry.raw {
            Raw::List(items) => Some(items.iter().filter_map(|item| self.read_text(key, item)).collect()),
            Raw::Untyped(text) => {
                let items = if text.trim_start().starts_with('[') {
                    serde_json::from_str::<Vec<String>>(text).ok()
                } else {
                    Some(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
                };
                let Some(items) = items else {
                    self.wrong_type(key, entry, "a list of texts");
                    return None;
                };
                Some(items.into_iter().map(|value| Located { value, at: entry.at.clone() }).collect())
            }
            _ => {
                self.wrong_type(key, entry, "a list of texts, such as `[\"a\", \"b\"]`");
                None
            }
        }
    }

    /// A text, or a list of them.
    pub fn text_or_texts(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        self.known.push(key);
        match self.entries?.get(key)?.raw {
            Raw::Text(_) => self.text(key).map(|text| vec![text]),
            _ => self.texts(key),
        }
    }

    /// A table within this one; an empty one if it is not written.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        self.known.push(key);
        self.section_at(key)
    }

    /// A table under a key that the user chose (see [`Section::keys`]).
    pub fn section_at(&self, key: &str) -> Section<'a> {
        let name = self.path(key);
        let Some(entry) = self.entries.and_then(|entries| entries.get(key)) else {
            return Section::new(self.document, name, None, self.at.clone());
        };
        match &entry.raw {
            Raw::Table(inner) => Section::new(self.document, name, Some(inner), entry.key_at.clone()),
            _ => {
                self.wrong_type(key, entry, "a table of settings");
                Section::new(self.document, name, None, entry.at.clone())
            }
        }
    }

    /// The tables of a list, such as `[[steps]]`.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(entry) = self.take(key) else { return Vec::new() };
        let Raw::List(items) = &entry.raw else {
            self.wrong_type(key, entry, &format!("a list of tables, each begun by `[[{key}]]`"));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items {
            match &item.raw {
                Raw::Table(inner) => {
                    sections.push(Section::new(self.document, self.path(key), Some(inner), item.at.clone()));
                }
                _ => self.wrong_type(key, item, "a table of settings"),
            }
        }
        sections
    }

    /// Says that a key must be written.
    pub fn missing(&self, key: &str, hint: &str) {
        let message = format!("`{}` is missing", self.path(key));
        self.document.fault(&self.at, "config.missing", message, Some(hint.to_owned()));
    }

    /// Refuses every key that was not asked for, with the nearest that was.
    pub fn finish(self) {
        for (key, entry) in self.entries.into_iter().flatten() {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let place =
                if self.name.is_empty() { "at the top level".to_owned() } else { format!("in `[{}]`", self.name) };
            if looks_secret(key) && matches!(entry.key_at, Origin::Text(_)) {
                let message = format!("`{key}` {place} looks like a secret, which no project file may hold");
                let hint = format!("{SECRETS}; change a secret that was committed");
                self.document.fault(&entry.key_at, "config.secret_in_file", message, Some(hint));
                continue;
            }
            let message = format!("unknown key `{key}` {place}");
            let hint = match self.known.as_slice() {
                _ if looks_secret(key) => SECRETS.to_owned(),
                [] => "nothing can be set here yet".to_owned(),
                known => suggest(key, known),
            };
            self.document.fault(&entry.key_at, "config.unknown_key", message, Some(hint));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        self.entries?.get(key)
    }

    fn read_text(&self, key: &str, entry: &Entry) -> Option<Located<String>> {
        let (Raw::Text(text) | Raw::Untyped(text)) = &entry.raw else {
            self.wrong_type(key, entry, "a text in quotes");
            return None;
        };
        let value = text.trim();
        if value.is_empty() {
            self.document.fault(&entry.at, "config.blank", format!("`{}` is blank", self.path(key)), None);
            return None;
        }
        Some(Located { value: value.to_owned(), at: entry.at.clone() })
    }

    fn wrong_type(&self, key: &str, entry: &Entry, wanted: &str) {
        let found = match &entry.raw {
            Raw::Text(_) | Raw::Untyped(_) => "a text",
            Raw::Integer(_) | Raw::Float(_) => "a number",
            Raw::Boolean(_) => "`true` or `false`",
            Raw::DateTime => "a date",
            Raw::List(_) => "a list",
            Raw::Table(_) => "a table",
        };
        let message = format!("`{}` must be {wanted}, not {found}", self.path(key));
        self.document.fault(&entry.at, "config.wrong_type", message, None);
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
