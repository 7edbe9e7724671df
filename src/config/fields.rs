//! Profile fields: their names for people, and their types.

use std::collections::BTreeMap;

use serde::Serialize;

use super::document::Section;
use crate::schema::landed::{Reading, Table};

/// What a profile field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A civil date.
    Date,
    /// True or false.
    Boolean,
    /// A list of texts.
    List,
    /// One of a few texts.
    Choice,
}

const TYPES: [(&str, FieldType); 6] = [
    ("text", FieldType::Text),
    ("number", FieldType::Number),
    ("date", FieldType::Date),
    ("boolean", FieldType::Boolean),
    ("list", FieldType::List),
    ("choice", FieldType::Choice),
];

/// One field of the customer profile, as `[fields.<name>]` declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldSettings {
    /// Its name for people.
    pub label: Option<String>,
    /// Its type; `None` takes the landed one.
    #[serde(rename = "type")]
    pub kind: Option<FieldType>,
    /// The values of a choice, or the elements of a list, that a query may name.
    pub options: Vec<String>,
    /// Whether customers without it are counted in the report.
    pub required: bool,
    /// The landed column that it is read from, if that is named differently.
    pub column: Option<String>,
    /// Whether it is personal contact data, kept in `customer_contacts` only.
    pub contact: bool,
}

pub(super) fn read(fields: &Section<'_>) -> BTreeMap<String, FieldSettings> {
    let mut read = BTreeMap::new();
    for key in fields.keys() {
        let name = key.value;
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            let message = format!("`{name}` cannot be a field's name");
            let hint = "use lower-case letters, digits and `_`; the landed column's own name goes to `column`";
            fields.document().fault(&key.at, "config.bad_name", message, Some(hint.to_owned()));
        }
        read.insert(name.to_owned(), read_one(fields.section_at(name), name));
    }
    read
}

fn read_one(mut section: Section<'_>, name: &str) -> FieldSettings {
    let label = section.text("label").map(|label| label.value);
    let kind = section.choice("type", &TYPES);
    let options = section.texts("options");
    let required = section.flag("required").unwrap_or_default();
    let column = section.text("column").map(|column| column.value);
    let contact = section.flag("contact").unwrap_or_default();

    let document = section.document();
    let place = |key: &str| section.place_of(key).unwrap_or_else(|| section.at().clone());
    match (kind, &options) {
        (Some(FieldType::Choice), None) => section.missing("options", "name the values: `options = [\"a\", \"b\"]`"),
        (Some(FieldType::Choice), Some(options)) if options.is_empty() => {
            document.fault(&place("options"), "config.blank", format!("`fields.{name}.options` is empty"), None);
        }
        (Some(FieldType::Choice | FieldType::List), _) | (_, None) => {}
        (_, Some(_)) => {
            let message = format!("`fields.{name}` has options, but is no choice or list");
            let hint = "write `type = \"choice\"`";
            document.fault(&place("options"), "config.misplaced", message, Some(hint.to_owned()));
        }
    }
    if let Some(landed) = Table::Customers.column(name) {
        let fitting = fitting_types(landed.reading);
        if kind.is_some_and(|kind| !fitting.contains(&kind)) {
            let names: Vec<String> =
                TYPES.iter().filter(|(_, kind)| fitting.contains(kind)).map(|(name, _)| format!("`{name}`")).collect();
            let message = format!("the contract's own column `{name}` has another type");
            let hint = match names.as_slice() {
                [] => "leave `type` out".to_owned(),
                names => format!("it can be {}", names.join(" or ")),
            };
            document.fault(&place("type"), "config.wrong_field_type", message, Some(hint));
        }
        if column.is_some() {
            let message = format!("`{name}` is a column of the contract, and is mapped with its table");
            let hint = format!("write it to `[tables.customers.columns]`: `{name} = …`");
            document.fault(&place("column"), "config.misplaced", message, Some(hint));
        }
    }
    section.finish();
    let options = options.unwrap_or_default().into_iter().map(|option| option.value).collect();
    FieldSettings { label, kind, options, required, column, contact }
}

fn fitting_types(reading: Reading) -> &'static [FieldType] {
    match reading {
        Reading::Id | Reading::Json => &[FieldType::Text],
        Reading::Text | Reading::Choice(_) | Reading::Country | Reading::Email => &[FieldType::Text, FieldType::Choice],
        Reading::Instant | Reading::Date => &[FieldType::Date],
        Reading::Money(_) | Reading::Decimal(_) | Reading::Integer | Reading::Float => &[FieldType::Number],
        Reading::Boolean => &[FieldType::Boolean],
        Reading::List => &[FieldType::List],
    }
}
