//! One segment's TOML file.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::toml_text::Offsets;
use super::{Definition, Fault, Query};
use crate::diagnostic::{Diagnostic, Span, nearest};
use crate::segments::syntax;

/// What happens when a segment moves by half from one day to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// It is reported and alerted once.
    #[default]
    Warn,
    /// Its own export steps wait, too.
    Hold,
    /// Nothing.
    Off,
}

const KEYS: &[&str] =
    &["name", "query", "description", "owner", "priority", "goal", "goal_days", "tags", "store", "guard", "active"];

/// Reads a file. Without a usable id, name and query there is no definition.
pub(super) fn read(path: &str, text: &str) -> (Option<Definition>, Vec<Fault>) {
    let (origin, source): (Arc<str>, Arc<str>) = (path.into(), text.into());
    let mut reader = Reader { source: &source, diagnostics: Vec::new() };
    let definition = reader.definition(path, &origin);
    let fault = |diagnostic| Fault { origin: Arc::clone(&origin), source: Arc::clone(&source), diagnostic };
    (definition, reader.diagnostics.into_iter().map(fault).collect())
}

struct Reader<'a> {
    source: &'a Arc<str>,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, span, message).with_hint(hint));
    }

    fn definition(&mut self, path: &str, origin: &Arc<str>) -> Option<Definition> {
        let id = self.id(path);
        let source = Arc::clone(self.source);
        let (table, errors) = DeTable::parse_recoverable(&source);
        for error in &errors {
            let message = format!("this is not TOML: {}", error.message());
            self.diagnostics.push(Diagnostic::error("segment.toml", error.span().unwrap_or(0..0), message));
        }
        if !errors.is_empty() {
            return None;
        }
        let table = table.get_ref();
        for key in table.keys().filter(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let hint = match nearest(name, KEYS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a segment has {}", KEYS.join(", ")),
            };
            self.error("segment.unknown_key", key.span(), format!("there is no `{name}` in a segment"), hint);
        }
        let name = self.text(table, "name").filter(|name| !name.trim().is_empty());
        if name.is_none() && !table.contains_key("name") {
            self.error("segment.missing_key", 0..0, "the segment has no name", "write `name = \"…\"`");
        } else if name.is_none() && matches!(table.get("name").map(|value| value.get_ref()), Some(DeValue::String(_))) {
            let span = table.get("name").map_or(0..0, |value| value.span());
            self.error("segment.missing_key", span, "the segment's name is blank", "write a name for people");
        }
        let query = self.query(table, "query");
        if query.is_none() && !table.contains_key("query") {
            self.error(
                "segment.missing_key",
                0..0,
                "the segment has no query",
                "write `query = \"number_of_orders >= 2\"`",
            );
        }
        let goal = self.query(table, "goal");
        let goal_days = self.whole(table, "goal_days", 1, 3650).unwrap_or(30);
        let guard = self.guard(table);
        let store = self.text(table, "store");
        if store.as_deref().is_some_and(|store| store.trim().is_empty()) {
            let span = table.get("store").map_or(0..0, |value| value.span());
            self.error("segment.wrong_value", span, "the store is blank", "name a store, or leave the line out");
        }
        let definition = Definition {
            id: id.unwrap_or_default(),
            origin: Arc::clone(origin),
            source: Arc::clone(&source),
            name: name.unwrap_or_default(),
            query: query?,
            description: self.text(table, "description"),
            owner: self.text(table, "owner"),
            priority: self.whole(table, "priority", 1, 1_000_000),
            goal,
            goal_days,
            tags: self.texts(table, "tags"),
            store,
            guard,
            active: self.flag(table, "active").unwrap_or(true),
        };
        (!definition.id.is_empty()).then_some(definition)
    }

    fn id(&mut self, path: &str) -> Option<String> {
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let id = file.strip_suffix(".toml").unwrap_or(file);
        let first = id.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
        let rest =
            id.chars().all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == '_' || next == '-');
        if first && rest && id.len() <= 63 {
            return Some(id.to_owned());
        }
        let hint = "use at most 63 lower-case letters, digits, `-` and `_`, and begin with a letter or digit";
        self.error("segment.bad_id", 0..0, format!("the file's name `{id}` cannot be a segment's id"), hint);
        None
    }

    fn wrong(&mut self, key: &str, span: Span, wanted: &str) {
        self.error("segment.wrong_value", span, format!("`{key}` is not {wanted}"), format!("write {wanted}"));
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<String> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => {
                self.wrong(key, value.span(), "a text in quotes");
                None
            }
        }
    }

    fn texts(&mut self, table: &DeTable<'_>, key: &str) -> Vec<String> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let DeValue::Array(parts) = value.get_ref() else {
            self.wrong(key, value.span(), "a list of texts: `[\"a\", \"b\"]`");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for part in parts.iter() {
            match part.get_ref() {
                DeValue::String(text) => texts.push(text.clone().into_owned()),
                _ => self.wrong(key, part.span(), "a list of texts: `[\"a\", \"b\"]`"),
            }
        }
        texts
    }

    fn whole(&mut self, table: &DeTable<'_>, key: &str, least: u32, most: u32) -> Option<u32> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.wrong(key, value.span(), &format!("a whole number from {least} to {most}"));
        }
        number
    }

    fn flag(&mut self, table: &DeTable<'_>, key: &str) -> Option<bool> {
        let value = table.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(key, value.span(), "`true` or `false`");
        }
        flag
    }

    fn guard(&mut self, table: &DeTable<'_>) -> Guard {
        let Some(value) = table.get("guard") else { return Guard::default() };
        match value.get_ref().as_str() {
            Some("warn") => Guard::Warn,
            Some("hold") => Guard::Hold,
            Some("off") => Guard::Off,
            _ => {
                self.wrong("guard", value.span(), "`\"warn\"`, `\"hold\"` or `\"off\"`");
                Guard::default()
            }
        }
    }

    fn query(&mut self, table: &DeTable<'_>, key: &str) -> Option<Query> {
        let text = self.text(table, key)?;
        let span = table.get(key)?.span();
        let offsets = Offsets::of_string(self.source, span, &text);
        let parsed = syntax::parse(&text);
        let query = Query { text, expr: parsed.expr, offsets };
        self.diagnostics.extend(parsed.diagnostics.into_iter().map(|found| query.in_file(found)));
        Some(query)
    }
}
