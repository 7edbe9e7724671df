//! A rule's names and types against the catalogue: from a tree to a typed rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;

use super::syntax::{Expr, Leaf, Literal, Test, Value, Word};
use crate::diagnostic::{Diagnostic, Severity, Span, nearest};
use crate::profile::catalogue::{Attribute, Catalogue, Named, Operator, Type};

/// What a query names that landed data may never have had.
pub mod domain;
mod function;
mod literal;
mod rule;
mod suspicion;

pub use rule::{Aggregate, AggregateTest, AttributeTest, Operand, PlaceTest, Predicate, ResolvedDate, RowsTest, Rule};

/// What a query is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// What the query can name.
    pub catalogue: &'a Catalogue,
    /// The segments that there are, and whether each is active.
    pub segments: &'a BTreeMap<String, bool>,
    /// The day for which relative dates are compared with absolute ones; only warnings depend on it.
    pub as_of: NaiveDate,
}

/// What came of a check.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The typed rule, if there was no error.
    pub rule: Option<Rule>,
    /// Errors and warnings, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Resolves every name of `expr` and types every value. All errors are told at once; parts that the parser could not
/// read are passed over, since they are told already.
pub fn check(expr: &Expr, context: &Context<'_>) -> Checked {
    let mut checker = Checker { context: *context, diagnostics: Vec::new() };
    let rule = checker.expr(expr);
    suspicion::look(expr, context, &mut checker.diagnostics);
    let mut diagnostics = checker.diagnostics;
    diagnostics.sort_by(|a, b| (a.span.start, a.severity, a.code).cmp(&(b.span.start, b.severity, b.code)));
    let sound = !diagnostics.iter().any(|found| found.severity == Severity::Error);
    Checked { rule: rule.filter(|_| sound), diagnostics }
}

struct Checker<'a> {
    context: Context<'a>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn error(&mut self, code: &'static str, span: &Span, message: impl Into<String>, hint: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, span.clone(), message).with_hint(hint));
    }

    fn expr(&mut self, expr: &Expr) -> Option<Rule> {
        match expr {
            // Every part is looked at, whatever is wrong with those before it.
            Expr::And(parts) => self.parts(parts).map(Rule::All),
            Expr::Or(parts) => self.parts(parts).map(Rule::Any),
            Expr::Not(inner) => self.expr(inner).map(|inner| Rule::Not(Box::new(inner))),
            Expr::Leaf(leaf) => self.leaf(leaf),
            Expr::Faulty(_) => None,
        }
    }

    fn parts(&mut self, parts: &[Expr]) -> Option<Vec<Rule>> {
        let read: Vec<Option<Rule>> = parts.iter().map(|part| self.expr(part)).collect();
        read.into_iter().collect()
    }

    fn leaf(&mut self, leaf: &Leaf) -> Option<Rule> {
        match leaf {
            Leaf::Attribute { name, test, .. } => self.attribute_clause(name, test),
            Leaf::Function { name, negated, parameters, .. } => {
                match self.context.catalogue.resolve(&name.text) {
                    Named::Function(function) => return self.function_clause(name, function, *negated, parameters),
                    Named::Attribute(attribute) => {
                        let message = format!("`{}` is an attribute, and takes no `MATCHES`", name.text);
                        self.error(
                            "segment.not_a_function",
                            &name.at.0,
                            message,
                            format!("write `{}`", attribute.example),
                        );
                    }
                    other => self.unresolved(name, &other, "function"),
                }
                None
            }
            Leaf::Segment { id, .. } => self.segment(id),
            Leaf::Anniversary { attribute, test, .. } => self.anniversary(attribute, test),
        }
    }

    fn segment(&mut self, id: &Word) -> Option<Rule> {
        match self.context.segments.get(&id.text) {
            Some(true) => return Some(Rule::Member(id.text.clone())),
            Some(false) => {
                let message = format!("the segment `{}` is switched off, so nobody is a member", id.text);
                let hint = "leave the reference out, or write `active = true` in the segment's file";
                self.error("segment.inactive_segment", &id.at.0, message, hint);
            }
            None => {
                let hint = match nearest(&id.text, self.context.segments.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`alluvial segments` lists the segments that there are".to_owned(),
                };
                self.error("segment.unknown_segment", &id.at.0, format!("there is no segment `{}`", id.text), hint);
            }
        }
        None
    }

    fn attribute(&mut self, name: &Word) -> Option<&'a Arc<Attribute>> {
        let catalogue = self.context.catalogue;
        match catalogue.resolve(&name.text) {
            Named::Attribute(attribute) => {
                if let [first, ..] = catalogue.missing_columns(attribute) {
                    let message = format!("no landed file has the data of `{}`", name.text);
                    let found = Diagnostic::warning("segment.not_landed", name.at.0.clone(), message);
                    self.diagnostics.push(found.with_hint(format!("land the column `{first}`")));
                }
                Some(attribute)
            }
            Named::Function(function) => {
                let message = format!("`{}` is a function, and is asked with `MATCHES`", name.text);
                self.error("segment.not_an_attribute", &name.at.0, message, format!("write `{}`", function.example));
                None
            }
            other => {
                self.unresolved(name, &other, "attribute");
                None
            }
        }
    }

    fn unresolved(&mut self, name: &Word, what: &Named<'_>, wanted: &str) {
        let text = &name.text;
        let (code, message, hint) = match what {
            Named::NotLanded(column) => (
                "segment.not_landed",
                format!("no landed file has the data of `{text}`"),
                format!("land the column `{column}`"),
            ),
            Named::Unusable(kind) => (
                "segment.unusable_column",
                format!("no clause can test `{text}`, whose type is {kind}"),
                "declare it under `[fields]` with a type, or land it as text, a number, a date or a list of texts"
                    .to_owned(),
            ),
            Named::Unknown(near) => {
                let code = if wanted == "function" { "segment.unknown_function" } else { "segment.unknown_attribute" };
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`alluvial attributes` lists what can be used".to_owned(),
                };
                (code, format!("there is no {wanted} `{text}`"), hint)
            }
            Named::Attribute(_) | Named::Function(_) => return,
        };
        self.error(code, &name.at.0, message, hint);
    }

    fn attribute_clause(&mut self, name: &Word, test: &Test) -> Option<Rule> {
        if let (Test::Null { negated }, Named::Function(function)) = (test, self.context.catalogue.resolve(&name.text))
        {
            return self.function_clause(name, function, !negated, &[]);
        }
        let attribute = self.attribute(name)?;
        let operator = operator_of(test);
        if !attribute.kind.operators().contains(&operator) {
            self.wrong_operator(name, attribute, test);
            return None;
        }
        let predicate = self.predicate(attribute, test)?;
        Some(Rule::Test(AttributeTest { attribute: Arc::clone(attribute), predicate }))
    }

    fn wrong_operator(&mut self, name: &Word, attribute: &Attribute, test: &Test) {
        let text = &name.text;
        let value = match test {
            Test::Compare { value, .. } | Test::Contains { value, .. } | Test::StartsWith { value, .. } => {
                value.to_string()
            }
            Test::In { values, .. } => values.first().map(ToString::to_string).unwrap_or_default(),
            Test::Between { low, .. } => low.to_string(),
            Test::Null { .. } => String::new(),
        };
        let written = match test {
            Test::Compare { op, .. } => op.spelling(),
            other => operator_of(other).spelling(),
        };
        let hint = match (&attribute.kind, test) {
            (Type::List(_), Test::Compare { op: super::syntax::Cmp::NotEqual, .. }) => {
                format!("write `{text} NOT CONTAINS {value}`")
            }
            (Type::List(_), Test::In { .. }) => format!("write `({text} CONTAINS {value} OR …)`"),
            (Type::List(_), _) => format!("write `{text} CONTAINS {value}`"),
            (kind, _) => {
                let all: Vec<&str> = kind.operators().iter().map(|operator| operator.spelling()).collect();
                format!("it takes {}: `{}`", all.join(", "), attribute.example)
            }
        };
        let message = format!("`{text}` is {}, which does not take `{written}`", attribute.kind.described());
        self.error("segment.wrong_operator", &name.at.0, message, hint);
    }

    fn predicate(&mut self, attribute: &Attribute, test: &Test) -> Option<Predicate> {
        let mut operand = |value: &Value| self.operand(attribute, value);
        Some(match test {
            Test::Compare { op, value } => Predicate::Compare { op: *op, value: operand(value)? },
            Test::Between { negated, low, high } => {
                let (low, high) = (operand(low), operand(high));
                Predicate::Between { negated: *negated, low: low?, high: high? }
            }
            Test::In { negated, values } => {
                let values: Vec<Option<Operand>> = values.iter().map(operand).collect();
                Predicate::In { negated: *negated, values: values.into_iter().collect::<Option<_>>()? }
            }
            Test::Contains { negated, value } => {
                Predicate::Contains { negated: *negated, part: text_of(operand(value)?)? }
            }
            Test::StartsWith { negated, value } => {
                Predicate::StartsWith { negated: *negated, beginning: text_of(operand(value)?)? }
            }
            Test::Null { negated } => Predicate::Missing { negated: *negated },
        })
    }

    fn operand(&mut self, attribute: &Attribute, value: &Value) -> Option<Operand> {
        if value.literal == Literal::Faulty {
            return None;
        }
        match literal::operand(attribute, &value.literal) {
            Ok(operand) => Some(operand),
            Err(wrong) => {
                self.error(wrong.code, &value.at.0, wrong.message, wrong.hint);
                None
            }
        }
    }

    fn anniversary(&mut self, name: &Word, test: &Test) -> Option<Rule> {
        let attribute = self.attribute(name)?;
        if !matches!(attribute.kind, Type::Day | Type::CivilDate) {
            let message = format!("`{}` is {}, which has no anniversary", name.text, attribute.kind.described());
            self.error("segment.wrong_type", &name.at.0, message, "write `anniversary('birthday')`, or another date");
            return None;
        }
        let mut day = |value: &Value| match self.operand(attribute, value)? {
            Operand::Date(date) if !matches!(date, super::syntax::Date::Instant(_)) => Some(date),
            _ => {
                let message = "an anniversary is a whole day";
                self.error("segment.wrong_type", &value.at.0, message, "write a day without a time");
                None
            }
        };
        let predicate = match test {
            Test::Compare { op, value } => Predicate::Anniversary { op: *op, day: day(value)? },
            Test::Between { negated, low, high } => {
                let (low, high) = (day(low), day(high));
                Predicate::AnniversaryBetween { negated: *negated, low: low?, high: high? }
            }
            Test::Null { negated } => Predicate::Missing { negated: *negated },
            // The parser has told of the others.
            Test::In { .. } | Test::Contains { .. } | Test::StartsWith { .. } => return None,
        };
        Some(Rule::Test(AttributeTest { attribute: Arc::clone(attribute), predicate }))
    }
}

fn text_of(operand: Operand) -> Option<String> {
    match operand {
        Operand::Text(text) => Some(text),
        _ => None,
    }
}

fn operator_of(test: &Test) -> Operator {
    use super::syntax::Cmp;
    match test {
        Test::Compare { op: Cmp::Equal | Cmp::NotEqual, .. } => Operator::Equal,
        Test::Compare { .. } => Operator::Order,
        Test::Between { .. } => Operator::Between,
        Test::In { .. } => Operator::In,
        Test::Contains { .. } => Operator::Contains,
        Test::StartsWith { .. } => Operator::StartsWith,
        Test::Null { .. } => Operator::IsNull,
    }
}

#[cfg(test)]
mod tests;
