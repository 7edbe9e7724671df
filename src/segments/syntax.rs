//! From a query's text to its tree, and back: lexer, parser, canonical printer and the JSON form.
//!
//! Nothing here knows which attributes there are; `check` does.

use crate::diagnostic::{Diagnostic, Severity, Span};

mod json;
mod lexer;
mod limits;
mod older;
mod parser;
mod print;
mod value;
mod values;

pub use json::{from_json, to_json};
pub use limits::{MAX_CHARACTERS, MAX_CLAUSES, MAX_LEVELS, MAX_VALUES};
pub use parser::parse;
pub use print::quoted;
pub(crate) use value::write_decimal;
pub use value::{Date, Decimal, Unit};

/// Where a part of the tree was written. Positions never make two trees differ.
#[derive(Debug, Clone, Default)]
pub struct At(pub Span);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

/// A boolean expression over one customer as of one day.
///
/// In the one normal form `And` and `Or` have at least two parts, and none of their own kind directly within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// All of them.
    And(Vec<Expr>),
    /// Any of them.
    Or(Vec<Expr>),
    /// The exact complement.
    Not(Box<Expr>),
    /// A single test.
    Leaf(Box<Leaf>),
    /// What could not be read; only beside errors.
    Faulty(At),
}

/// A single test of a customer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Leaf {
    /// A test of an attribute (or, with `IS NULL`, of a function).
    Attribute {
        /// The attribute.
        name: Word,
        /// What is asked of it.
        test: Test,
        /// Where.
        #[serde(skip)]
        at: At,
    },
    /// A test of a customer's rows.
    Function {
        /// The function.
        name: Word,
        /// `NOT MATCHES`.
        negated: bool,
        /// What is asked of the rows.
        parameters: Vec<Parameter>,
        /// Where.
        #[serde(skip)]
        at: At,
    },
    /// Membership of another segment on the same day.
    Segment {
        /// The segment's id.
        id: Word,
        /// Where.
        #[serde(skip)]
        at: At,
    },
    /// A test of the month and day of a date.
    Anniversary {
        /// The attribute.
        attribute: Word,
        /// What is asked of it.
        test: Test,
        /// Where.
        #[serde(skip)]
        at: At,
    },
}

/// One parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: Word,
    /// What is asked of it.
    pub test: Test,
}

/// A name or an id, with its place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Word {
    /// The text, without quotes.
    pub text: String,
    /// Where.
    pub at: At,
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self { text, at: At::default() }
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        word.text
    }
}

/// What a clause asks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Test {
    /// A comparison.
    Compare {
        /// Which.
        op: Cmp,
        /// With what.
        value: Value,
    },
    /// `[NOT] BETWEEN`, both ends included.
    Between {
        /// The complement.
        negated: bool,
        /// The lower end.
        low: Value,
        /// The upper end.
        high: Value,
    },
    /// `[NOT] IN`.
    In {
        /// The complement.
        negated: bool,
        /// The values, at least one.
        values: Vec<Value>,
    },
    /// `[NOT] CONTAINS`.
    Contains {
        /// The complement.
        negated: bool,
        /// The element, or the part of a text.
        value: Value,
    },
    /// `[NOT] STARTS WITH`.
    StartsWith {
        /// The complement.
        negated: bool,
        /// The beginning.
        value: Value,
    },
    /// `IS [NOT] NULL`.
    Null {
        /// `IS NOT NULL`.
        negated: bool,
    },
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Cmp {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Different.
    #[serde(rename = "!=")]
    NotEqual,
    /// Less, or earlier.
    #[serde(rename = "<")]
    Less,
    /// At most.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// More, or later.
    #[serde(rename = ">")]
    Greater,
    /// At least.
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

impl Cmp {
    /// How it is written.
    pub fn spelling(self) -> &'static str {
        match self {
            Cmp::Equal => "=",
            Cmp::NotEqual => "!=",
            Cmp::Less => "<",
            Cmp::LessOrEqual => "<=",
            Cmp::Greater => ">",
            Cmp::GreaterOrEqual => ">=",
        }
    }
}

/// A value, with its place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Value {
    /// What is written.
    pub literal: Literal,
    /// Where.
    #[serde(skip)]
    pub at: At,
}

/// What is written as a value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Literal {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a decimal point.
    Decimal(Decimal),
    /// A day or an instant.
    Date(Date),
    /// True or false.
    Boolean(bool),
    /// Latitude and longitude.
    Coordinates(Decimal, Decimal),
    /// What could not be read; only beside errors.
    #[serde(skip)]
    Faulty,
}

/// What came of reading a query: its tree if it could be read whole, and everything that was found in it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The tree. With errors it has `Faulty` parts, and serves only to find what else is wrong.
    pub expr: Expr,
    /// Errors and warnings, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether it could not be read whole.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|found| found.severity == Severity::Error)
    }
}

impl Expr {
    /// All of `parts`, in the normal form. Nothing at all is read as faulty.
    pub(crate) fn all(parts: Vec<Expr>) -> Expr {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Expr::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        Self::joined(flat, Expr::And)
    }

    /// Any of `parts`, in the normal form. Nothing at all is read as faulty.
    pub(crate) fn any(parts: Vec<Expr>) -> Expr {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Expr::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        Self::joined(flat, Expr::Or)
    }

    fn joined(mut flat: Vec<Expr>, whole: fn(Vec<Expr>) -> Expr) -> Expr {
        match flat.len() {
            0 => Expr::Faulty(At::default()),
            1 => flat.remove(0),
            _ => whole(flat),
        }
    }

    /// Calls `visit` with every leaf, in the order of the text.
    pub fn leaves<'a>(&'a self, visit: &mut impl FnMut(&'a Leaf)) {
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| part.leaves(visit)),
            Expr::Not(inner) => inner.leaves(visit),
            Expr::Leaf(leaf) => visit(leaf),
            Expr::Faulty(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
