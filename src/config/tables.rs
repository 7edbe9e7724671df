//! Landed tables that are elsewhere, or named differently.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::document::{Section, suggest};
use super::location;
use crate::schema::landed::{Reading, Table};

/// How one landed table departs from the contract's shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableSettings {
    /// Where its files are: a URL or an absolute path, either of which may hold `*` and `**`. `None` is
    /// `<lake>/landing/<table>/**/*.parquet`.
    #[serde(skip)]
    pub url: Option<String>,
    /// The contract's columns under their landed names, where those differ.
    pub columns: BTreeMap<String, String>,
    /// Put before every id of the table, so that several sources cannot collide.
    pub id_prefix: Option<String>,
    /// Whether money is landed as integer minor units (cents).
    pub money_minor: bool,
    /// Whether each landing is a whole dump, so that an id missing from the newest one is deleted.
    pub full_dump: bool,
}

pub(super) fn read(tables: Section<'_>, base: &Path) -> BTreeMap<Table, TableSettings> {
    let mut read = BTreeMap::new();
    for key in tables.keys() {
        match Table::named(key.value) {
            Some(table) => {
                read.insert(table, read_one(tables.section_at(key.value), table, base));
            }
            None => {
                let names = Table::ALL.map(Table::name);
                let message = format!("`{}` is not a landed table", key.value);
                tables.document().fault(&key.at, "config.unknown_table", message, Some(suggest(key.value, &names)));
            }
        }
    }
    read
}

fn read_one(mut section: Section<'_>, table: Table, base: &Path) -> TableSettings {
    let url = section.parsed("url", |written| location::files(written, base));
    let columns = read_columns(&section.section("columns"), table);
    let id_prefix = section.text("id_prefix").map(|prefix| prefix.value);
    let money_minor = section.choice("money", &[("minor", true), ("major", false)]).unwrap_or_default();
    let has_money = table.columns().iter().any(|column| matches!(column.reading, Reading::Money(_)));
    if money_minor && !has_money {
        misplaced(&section, "money", format!("`{}` has no column of money", table.name()));
    }
    let full_dump = section.flag("full_dump").unwrap_or_default();
    if full_dump && table != Table::Customers {
        misplaced(&section, "full_dump", "`full_dump` is for `customers` only".to_owned());
    }
    section.finish();
    TableSettings { url, columns, id_prefix, money_minor, full_dump }
}

fn read_columns(section: &Section<'_>, table: Table) -> BTreeMap<String, String> {
    let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
    let mut columns = BTreeMap::new();
    for key in section.keys() {
        if table.column(key.value).is_none() {
            let message = format!("`{}` has no column `{}`", table.name(), key.value);
            let mut hint = suggest(key.value, &names);
            if table == Table::Customers {
                hint.push_str("; a custom property is renamed by `column` in its `[fields.<name>]`");
            }
            section.document().fault(&key.at, "config.unknown_column", message, Some(hint));
        } else if let Some(landed) = section.text_at(key.value) {
            columns.insert(key.value.to_owned(), landed.value);
        }
    }
    columns
}

fn misplaced(section: &Section<'_>, key: &str, message: String) {
    let at = section.place_of(key);
    section.document().fault(at.as_ref().unwrap_or(section.at()), "config.misplaced", message, None);
}
