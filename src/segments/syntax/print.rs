//! The one canonical form of a tree.

use std::fmt::{self, Display as _, Write as _};

use super::{Expr, Leaf, Literal, Test, Value};

/// Text between single quotes, as Shopify's language escapes it too.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Or(parts) => joined(f, parts, " OR ", |part| matches!(part, Expr::Or(_))),
            Expr::And(parts) => joined(f, parts, " AND ", |part| matches!(part, Expr::Or(_) | Expr::And(_))),
            Expr::Not(inner) if matches!(**inner, Expr::And(_) | Expr::Or(_)) => write!(f, "NOT ({inner})"),
            Expr::Not(inner) => write!(f, "NOT {inner}"),
            Expr::Leaf(leaf) => leaf.fmt(f),
            Expr::Faulty(_) => f.write_str("<?>"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Expr], between: &str, wrapped: fn(&Expr) -> bool) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        if wrapped(part) {
            write!(f, "({part})")?;
        } else {
            part.fmt(f)?;
        }
    }
    Ok(())
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Attribute { name, test, .. } => write!(f, "{} {test}", name.text),
            Leaf::Function { name, negated, parameters, .. } => {
                write!(f, "{} {}MATCHES (", name.text, not(*negated))?;
                for (index, parameter) in parameters.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{} {}", parameter.name.text, parameter.test)?;
                }
                f.write_char(')')
            }
            Leaf::Segment { id, .. } => write!(f, "segment({})", quoted(&id.text)),
            Leaf::Anniversary { attribute, test, .. } => write!(f, "anniversary({}) {test}", quoted(&attribute.text)),
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Compare { op, value } => write!(f, "{} {value}", op.spelling()),
            Test::Between { negated, low, high } => write!(f, "{}BETWEEN {low} AND {high}", not(*negated)),
            Test::In { negated, values } => {
                write!(f, "{}IN (", not(*negated))?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_char(')')
            }
            Test::Contains { negated, value } => write!(f, "{}CONTAINS {value}", not(*negated)),
            Test::StartsWith { negated, value } => write!(f, "{}STARTS WITH {value}", not(*negated)),
            Test::Null { negated } => write!(f, "IS {}NULL", not(*negated)),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.literal {
            Literal::Text(text) => f.write_str(&quoted(text)),
            Literal::Integer(number) => number.fmt(f),
            Literal::Decimal(number) => number.fmt(f),
            Literal::Date(date) => date.fmt(f),
            Literal::Boolean(truth) => truth.fmt(f),
            Literal::Coordinates(latitude, longitude) => write!(f, "({latitude}, {longitude})"),
            Literal::Faulty => f.write_str("<?>"),
        }
    }
}
