//! The one table of what a query can name: every attribute and function, with its type, meaning and source.
//!
//! The checker, the compiler, the commands and the doors all read it; nothing else knows an attribute by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::DataType;

use crate::diagnostic::nearest;
use crate::engine::statement::identifier;
use crate::schema::landed::{Reading, Table};

mod attributes;
mod functions;
mod kind;

pub use functions::{Asks, CATEGORY, FLOAT_SCALE, Function, LABELS, Parameter, Rows};
pub use kind::{Operator, Type};

/// Where an attribute's value stands in the profile (or, for contact attributes, in the contacts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One column.
    Column(String),
    /// A list of one value in several spellings: each inner list names the columns that are joined by `-`.
    /// Spellings compare without regard to case and blanks, as Shopify writes `US-CA-LosAngeles`.
    Spellings(&'static [&'static [&'static str]]),
    /// An SQL expression over a row that a function looks at (`r`, and its `product`), or over what it adds up.
    Row(String),
}

/// A typed fact about a customer that a query can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The name in a query.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Its name for people, if the project gives one.
    pub label: Option<String>,
    /// What its values are; the operators follow from it.
    pub kind: Type,
    /// Where the value stands.
    pub source: Source,
    /// What it means, with its unit.
    pub meaning: String,
    /// A clause that uses it.
    pub example: String,
    /// The landed columns that it is made of, as `table.column`.
    pub landed: Vec<String>,
    /// Whether it is contact data, kept in the contacts table only.
    pub contact: bool,
    /// Whether it is personal enough that roles may hide it.
    pub sensitive: bool,
    /// Whether text compares without regard to case.
    pub folded: bool,
    /// Whether it is missing for everybody without a counted order.
    pub buyers_only: bool,
    /// Whether it is a landed column that the contract does not know.
    pub custom: bool,
    /// The hash of the query that computes it, for a computed attribute.
    pub definition: Option<String>,
}

/// A custom property: a landed customer column that the contract does not know, and so a profile column of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The profile column's name.
    pub name: String,
    /// The profile column's type.
    pub data_type: DataType,
}

/// What a typed field of the project holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A civil date, or an instant where the column holds instants.
    Date,
    /// True or false.
    Boolean,
    /// A list of texts.
    List,
    /// One of a few texts.
    Choice,
}

/// What the project says about a profile field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name for people.
    pub label: Option<String>,
    /// Its type; none takes the landed one.
    pub kind: Option<FieldKind>,
    /// The values of a choice, or the elements of a list, that a query may name.
    pub options: Vec<String>,
    /// Whether customers without it are counted in the report.
    pub required: bool,
    /// The landed column that it is read from, if that is named differently.
    pub column: Option<String>,
    /// Whether it is contact data, kept in the contacts table only.
    pub contact: bool,
}

/// The columns that the landed files of each table have. A table that is not in it is not landed at all.
pub type Landed = BTreeMap<String, BTreeSet<String>>;

/// The columns beside the contract's that the landed orders, order lines and events have, and how they are read.
pub type RowColumns = BTreeMap<Table, BTreeMap<String, Reading>>;

/// Every attribute and function that a query of this project can name.
#[derive(Debug, Clone)]
pub struct Catalogue {
    attributes: Vec<Arc<Attribute>>,
    functions: Vec<Function>,
    by_name: BTreeMap<String, usize>,
    functions_by_name: BTreeMap<String, usize>,
    unusable: BTreeMap<String, String>,
    landed: Option<Landed>,
    row_columns: RowColumns,
}

/// What a name in a query stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Named<'a> {
    /// An attribute.
    Attribute(&'a Arc<Attribute>),
    /// A function over a customer's rows.
    Function(&'a Function),
    /// A known attribute that the landed data cannot supply; the column, as `table.column`, that would.
    NotLanded(&'static str),
    /// A landed column whose type no clause can test; what the type is.
    Unusable(&'a str),
    /// Nothing; the nearest name that there is.
    Unknown(Option<String>),
}

impl Catalogue {
    /// The catalogue of a project: the contract's attributes, its custom `properties` and what its `fields` say about
    /// both. `landed` tells which landed columns there are; `None` means that it isn't known, and nothing is warned of.
    pub fn new(properties: &[Property], fields: &BTreeMap<String, Field>, landed: Option<Landed>) -> Self {
        let mut attributes = attributes::of_the_contract();
        let mut unusable = BTreeMap::new();
        let mut custom: BTreeMap<&str, &DataType> = BTreeMap::new();
        for property in properties {
            custom.entry(&property.name).or_insert(&property.data_type);
        }
        let conditional = attributes::where_landed();
        for (name, data_type) in custom {
            if attributes.iter().any(|attribute| attribute.name == name) {
                continue;
            }
            let field = fields.get(name);
            let Some(kind) = Type::of_column(data_type, field) else {
                unusable.insert(name.to_owned(), data_type.to_string());
                continue;
            };
            let landed = field.and_then(|field| field.column.as_deref()).unwrap_or(name);
            match conditional.iter().find(|known| known.name == name) {
                Some(known) => {
                    let mut known = known.clone();
                    if kind != Type::Text {
                        known.kind = kind;
                    }
                    attributes.push(known);
                }
                None => attributes.push(attributes::of_property(name, landed, kind)),
            }
        }
        for attribute in &mut attributes {
            if let Some(field) = fields.get(&attribute.name) {
                attribute.declare(field);
            }
        }
        Self::index(attributes, unusable, landed)
    }

    fn index(attributes: Vec<Attribute>, unusable: BTreeMap<String, String>, landed: Option<Landed>) -> Self {
        let mut by_name = BTreeMap::new();
        for (index, attribute) in attributes.iter().enumerate() {
            by_name.insert(attribute.name.clone(), index);
        }
        // A custom property that is named as an alias is what the shop means by that name.
        for (index, attribute) in attributes.iter().enumerate() {
            for alias in &attribute.aliases {
                by_name.entry(alias.clone()).or_insert(index);
            }
        }
        let functions = functions::all();
        let mut functions_by_name = BTreeMap::new();
        for (index, function) in functions.iter().enumerate() {
            for name in std::iter::once(function.name).chain(function.spellings.iter().copied()) {
                functions_by_name.insert(name.to_owned(), index);
            }
        }
        let attributes = attributes.into_iter().map(Arc::new).collect();
        let row_columns = RowColumns::new();
        Self { attributes, functions, by_name, functions_by_name, unusable, landed, row_columns }
    }

    /// The catalogue with what the landed rows have beside the contract's columns.
    #[must_use]
    pub fn with_row_columns(mut self, columns: RowColumns) -> Self {
        self.row_columns = columns;
        self
    }

    /// The catalogue with the project's computed attributes, whose names must be free.
    #[must_use]
    pub fn with_computed(mut self, computed: &[Attribute]) -> Self {
        for attribute in computed {
            self.by_name.insert(attribute.name.clone(), self.attributes.len());
            self.attributes.push(Arc::new(attribute.clone()));
        }
        self
    }

    /// A landed column of a function's rows under its own name, as a fact about one row; `None` where there is no such
    /// column, or none that a clause can test.
    pub fn row_column(&self, rows: Rows, name: &str) -> Option<Attribute> {
        let table = rows.landed()?;
        let known = functions::own_columns(table).find(|(known, _)| *known == name).map(|(_, reading)| reading);
        let reading = known.or_else(|| self.row_columns.get(&table)?.get(name).copied())?;
        let mut column = row_fact(name, functions::type_of(reading)?, format!("r.{}", identifier(name)));
        column.landed = vec![format!("{}.{name}", table.name())];
        column.custom = known.is_none();
        Some(column)
    }

    /// The names of all landed columns that a function's rows have.
    pub fn row_column_names(&self, rows: Rows) -> Vec<&str> {
        let Some(table) = rows.landed() else { return Vec::new() };
        let own = functions::own_columns(table).map(|(name, _)| name);
        own.chain(self.row_columns.get(&table).into_iter().flatten().map(|(name, _)| name.as_str())).collect()
    }

    /// Every attribute: those of the contract in its order, then custom properties by name.
    pub fn attributes(&self) -> &[Arc<Attribute>] {
        &self.attributes
    }

    /// Every function.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// What `name` stands for: an attribute, one of its aliases, `properties.KEY`, `metafields.NAMESPACE.KEY` (with or
    /// without `customer.` before it), or a function in any of its spellings.
    pub fn resolve(&self, name: &str) -> Named<'_> {
        if let Some(index) = self.functions_by_name.get(name)
            && let Some(function) = self.functions.get(*index)
        {
            return Named::Function(function);
        }
        // `properties.KEY` reaches custom properties only: what the contract names is no property.
        let key = property_key(name);
        if let Some(attribute) = key.and_then(|key| self.find(key)).filter(|attribute| attribute.custom) {
            return Named::Attribute(attribute);
        }
        if let Some(attribute) = self.find(name) {
            return Named::Attribute(attribute);
        }
        if let Some(what) = self.unusable.get(key.unwrap_or(name)) {
            return Named::Unusable(what);
        }
        if let Some(column) = attributes::supplied_by(name) {
            return Named::NotLanded(column);
        }
        Named::Unknown(self.nearest(name))
    }

    /// The attribute's landed columns of which no landed file has one; empty if that isn't known, or if any of them is.
    pub fn missing_columns<'a>(&self, attribute: &'a Attribute) -> &'a [String] {
        let Some(landed) = &self.landed else { return &[] };
        let there = |name: &String| {
            name.split_once('.')
                .is_none_or(|(table, column)| landed.get(table).is_some_and(|columns| columns.contains(column)))
        };
        if attribute.landed.iter().any(there) { &[] } else { &attribute.landed }
    }

    /// What of a landed table no file has: the table itself, or else all of `columns`; `None` if anything is there, or if
    /// it isn't known.
    pub fn lacks(&self, table: Table, columns: &[&str]) -> Option<String> {
        let landed = self.landed.as_ref()?;
        let Some(there) = landed.get(table.name()) else { return Some(format!("`{}`", table.name())) };
        let lacking = !columns.is_empty() && !columns.iter().any(|column| there.contains(*column));
        lacking.then(|| {
            let names: Vec<String> = columns.iter().map(|column| format!("`{}.{column}`", table.name())).collect();
            format!("the columns {}", names.join(" and "))
        })
    }

    fn find(&self, name: &str) -> Option<&Arc<Attribute>> {
        self.by_name.get(name).and_then(|index| self.attributes.get(*index))
    }

    fn nearest(&self, name: &str) -> Option<String> {
        if let Some(key) = property_key(name) {
            let keys =
                self.attributes.iter().filter(|attribute| attribute.custom).map(|attribute| attribute.name.as_str());
            let prefix = name.strip_suffix(key).unwrap_or_default();
            return nearest(key, keys).map(|near| format!("{prefix}{near}"));
        }
        nearest(name, self.by_name.keys().chain(self.functions_by_name.keys()).map(String::as_str)).map(str::to_owned)
    }
}

/// A fact about one row that a function looks at.
pub fn row_fact(name: &str, kind: Type, sql: String) -> Attribute {
    let example = format!("{name} {}", kind.example());
    Attribute {
        name: name.to_owned(),
        aliases: Vec::new(),
        label: None,
        kind,
        source: Source::Row(sql),
        meaning: String::new(),
        example,
        landed: Vec::new(),
        contact: false,
        sensitive: false,
        folded: false,
        buyers_only: false,
        custom: false,
        definition: None,
    }
}

/// The KEY of `properties.KEY` and `metafields.NAMESPACE.KEY`.
fn property_key(name: &str) -> Option<&str> {
    if let Some(key) = name.strip_prefix("properties.") {
        return Some(key);
    }
    let name = name.strip_prefix("customer.").unwrap_or(name);
    name.strip_prefix("metafields.")?.split_once('.').map(|(_, key)| key)
}

impl Attribute {
    /// What a query of the project computes; `None` for a type that no clause can test.
    pub(super) fn computed(name: &str, data_type: &DataType, meaning: &str, definition: &str) -> Option<Self> {
        let mut attribute = attributes::of_property(name, name, Type::of_column(data_type, None)?);
        meaning.clone_into(&mut attribute.meaning);
        attribute.landed.clear();
        attribute.custom = false;
        attribute.definition = Some(definition.to_owned());
        Some(attribute)
    }

    fn declare(&mut self, field: &Field) {
        self.label.clone_from(&field.label);
        if field.contact {
            self.contact = true;
            self.sensitive = true;
        }
        match (&mut self.kind, field.kind) {
            (Type::Text, Some(FieldKind::Choice)) => self.kind = Type::Choice(field.options.clone()),
            (Type::List(options), _) => options.clone_from(&field.options),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
