//! The tree as JSON, for the console's builder and the API.
//!
//! `["and", …]`, `["or", …]` and `["not", x]` are lists, so that a tree of the deepest allowed nesting stays within
//! what JSON readers take; a single test is an object with its `kind`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeSeq, Serializer};

use super::{Expr, Leaf, Parsed, parse};
use crate::diagnostic::Severity;
use crate::error::{Error, Result};

/// The JSON form of a tree without faulty parts.
///
/// # Errors
/// `segment.json` for a tree that could not be read whole.
pub fn to_json(expr: &Expr) -> Result<String> {
    serde_json::to_string(expr).map_err(|error| Error::definition("segment.json", error.to_string()))
}

/// Reads the JSON form, and brings it into the normal form.
///
/// # Errors
/// `segment.json` for what is no tree, and the first error of the query that it stands for otherwise.
pub fn from_json(text: &str) -> Result<Expr> {
    let wrong = |message: String| {
        Error::definition("segment.json", message)
            .with_hint("`alluvial segment show ID --format json` prints the form of an existing segment")
    };
    let read: Expr = serde_json::from_str(text).map_err(|error| wrong(format!("this is no query as JSON: {error}")))?;
    let mut odd = None;
    read.leaves(&mut |leaf| odd = odd.take().or_else(|| odd_name(leaf)));
    if let Some(name) = odd {
        return Err(wrong(format!("`{name}` cannot be a name")));
    }
    // What is said in JSON goes through the one reader of the language, and so obeys its limits and its normal form.
    let canonical = read.to_string();
    let Parsed { expr, diagnostics } = parse(&canonical);
    match diagnostics.into_iter().find(|found| found.severity == Severity::Error) {
        Some(first) => Err(Error::definition(first.code, first.message).with_hint(first.hint.unwrap_or(canonical))),
        None => Ok(expr),
    }
}

fn odd_name(leaf: &Leaf) -> Option<String> {
    let (name, parameters) = match leaf {
        Leaf::Attribute { name, .. } => (name, &[][..]),
        Leaf::Function { name, parameters, .. } => (name, parameters.as_slice()),
        Leaf::Segment { .. } | Leaf::Anniversary { .. } => return None,
    };
    std::iter::once(name)
        .chain(parameters.iter().map(|parameter| &parameter.name))
        .find(|word| !super::parser::is_name(&word.text))
        .map(|word| word.text.clone())
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (head, parts) = match self {
            Expr::And(parts) => ("and", parts.as_slice()),
            Expr::Or(parts) => ("or", parts.as_slice()),
            Expr::Not(inner) => ("not", std::slice::from_ref(&**inner)),
            Expr::Leaf(leaf) => return leaf.serialize(serializer),
            Expr::Faulty(_) => return Err(S::Error::custom("a query with errors has no JSON form")),
        };
        let mut list = serializer.serialize_seq(Some(parts.len() + 1))?;
        list.serialize_element(head)?;
        for part in parts {
            list.serialize_element(part)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(ExprVisitor)
    }
}

struct ExprVisitor;

impl<'de> Visitor<'de> for ExprVisitor {
    type Value = Expr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[\"and\", …], [\"or\", …], [\"not\", …] or an object with a `kind`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Expr, A::Error> {
        Leaf::deserialize(MapAccessDeserializer::new(map)).map(|leaf| Expr::Leaf(Box::new(leaf)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Expr, A::Error> {
        let head: String = list.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let mut parts: Vec<Expr> = Vec::new();
        while let Some(part) = list.next_element()? {
            parts.push(part);
        }
        match (head.as_str(), parts.len()) {
            (_, 0) => Err(A::Error::custom(format!("`{head}` of nothing"))),
            ("and", _) => Ok(Expr::all(parts)),
            ("or", _) => Ok(Expr::any(parts)),
            ("not", 1) => Ok(Expr::Not(Box::new(parts.remove(0)))),
            ("not", _) => Err(A::Error::custom("`not` takes one part")),
            _ => Err(A::Error::unknown_variant(&head, &["and", "or", "not"])),
        }
    }
}
