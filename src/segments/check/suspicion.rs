//! What is well written but hardly meant: warnings that need no landed data.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Datelike;

use super::Context;
use super::rule::civil_day;
use crate::diagnostic::{Diagnostic, Span};
use crate::profile::catalogue::{Attribute, Named, Type};
use crate::segments::syntax::{Cmp, Date, Expr, Leaf, Literal, Test, Unit, Value};

/// Adds the warnings of a query.
pub(super) fn look(expr: &Expr, context: &Context<'_>, found: &mut Vec<Diagnostic>) {
    match expr {
        Expr::And(parts) => {
            repeated(parts, found);
            never_holds(parts, context, found);
            parts.iter().for_each(|part| look(part, context, found));
        }
        Expr::Or(parts) => {
            repeated(parts, found);
            parts.iter().for_each(|part| look(part, context, found));
        }
        Expr::Not(inner) => look(inner, context, found),
        Expr::Leaf(leaf) => look_at_leaf(leaf, context, found),
        Expr::Faulty(_) => {}
    }
}

fn span_of(leaf: &Leaf) -> Span {
    match leaf {
        Leaf::Attribute { at, .. }
        | Leaf::Function { at, .. }
        | Leaf::Segment { at, .. }
        | Leaf::Anniversary { at, .. } => at.0.clone(),
    }
}

fn repeated(parts: &[Expr], found: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<String, ()> = BTreeMap::new();
    for part in parts {
        if let Expr::Leaf(leaf) = part
            && seen.insert(leaf.to_string(), ()).is_some()
        {
            let message = "this clause stands twice";
            found.push(
                Diagnostic::warning("segment.repeated_clause", span_of(leaf), message)
                    .with_hint("leave one of them out"),
            );
        }
    }
}

fn look_at_leaf(leaf: &Leaf, context: &Context<'_>, found: &mut Vec<Diagnostic>) {
    match leaf {
        Leaf::Anniversary { test, at, .. } => match test {
            Test::Compare { op: Cmp::Equal, value } if date_of(value) == Some(Date::Today) => {
                let message = "by the time of the send this is yesterday's anniversary";
                let hint = "write `= +1d`: the as-of date is the last complete day";
                found.push(Diagnostic::warning("segment.anniversary_today", at.0.clone(), message).with_hint(hint));
            }
            Test::Between { negated: false, low, high } => {
                let ends = (date_of(low).zip(date_of(high)))
                    .and_then(|(low, high)| civil_day(low, context.as_of).zip(civil_day(high, context.as_of)));
                if ends.is_some_and(|(low, high)| low > high) {
                    let message = "this range ends before it begins, and is read as wrapping over New Year";
                    let hint = "write the earlier day first";
                    found.push(Diagnostic::warning("segment.empty_range", at.0.clone(), message).with_hint(hint));
                }
            }
            _ => {}
        },
        Leaf::Attribute { name, test, at } => {
            let Named::Attribute(attribute) = context.catalogue.resolve(&name.text) else { return };
            match test {
                Test::Compare { op: op @ (Cmp::Equal | Cmp::NotEqual), value } => {
                    if let Some(Date::Relative(amount, unit @ (Unit::Week | Unit::Month | Unit::Year))) = date_of(value)
                        && matches!(attribute.kind, Type::Day | Type::CivilDate)
                    {
                        let span = match unit {
                            Unit::Week => "week",
                            Unit::Month => "month",
                            _ => "year",
                        };
                        let message = format!("`{} {value}` is one day, not a {span}", op.spelling());
                        let range = if amount < 0 { format!(">= {value}") } else { format!("<= {value}") };
                        let warning = Diagnostic::warning("segment.one_day", at.0.clone(), message);
                        found.push(warning.with_hint(format!("write `{} {range}`", name.text)));
                    }
                }
                Test::Between { negated: false, low, high } => {
                    let point = |value| point(attribute, value, context);
                    if point(low).zip(point(high)).is_some_and(|(low, high)| low > high) {
                        let message = "this range ends before it begins, so nobody is in it";
                        let hint = format!("write `{} BETWEEN {high} AND {low}`", name.text);
                        found.push(Diagnostic::warning("segment.empty_range", at.0.clone(), message).with_hint(hint));
                    }
                }
                _ => {}
            }
        }
        Leaf::Function { .. } | Leaf::Segment { .. } => {}
    }
}

fn date_of(value: &Value) -> Option<Date> {
    match &value.literal {
        Literal::Date(date) => Some(*date),
        Literal::Text(text) => Date::parse(text),
        _ => None,
    }
}

/// A value on the attribute's axis: the number, or days since the first of the calendar with the time as a fraction.
fn point(attribute: &Attribute, value: &Value, context: &Context<'_>) -> Option<f64> {
    match (&attribute.kind, &value.literal) {
        (Type::Integer | Type::Decimal { .. } | Type::Float, Literal::Integer(number)) => {
            Some(as_float(&number.to_string()))
        }
        (Type::Integer | Type::Decimal { .. } | Type::Float, Literal::Decimal(number)) => {
            Some(as_float(&number.to_string()))
        }
        (Type::Day | Type::CivilDate, _) => {
            let date = date_of(value)?;
            if matches!(date, Date::Instant(_)) {
                return None;
            }
            civil_day(date, context.as_of).map(|day| f64::from(day.num_days_from_ce()))
        }
        _ => None,
    }
}

fn as_float(text: &str) -> f64 {
    // Digits always parse; the range only decides on a warning.
    text.parse().unwrap_or(f64::NAN)
}

/// What the clauses of a conjunction leave of one attribute.
struct Left<'a> {
    attribute: Arc<Attribute>,
    low: (f64, bool),
    high: (f64, bool),
    equal: Option<&'a Literal>,
    missing: bool,
    there: bool,
    span: Span,
}

fn never_holds(parts: &[Expr], context: &Context<'_>, found: &mut Vec<Diagnostic>) {
    let mut left: BTreeMap<String, Left<'_>> = BTreeMap::new();
    for part in parts {
        let Expr::Leaf(leaf) = part else { continue };
        let Leaf::Attribute { name, test, at } = &**leaf else { continue };
        let Named::Attribute(attribute) = context.catalogue.resolve(&name.text) else { continue };
        let entry = left.entry(attribute.name.clone()).or_insert_with(|| Left {
            attribute: Arc::clone(attribute),
            low: (f64::NEG_INFINITY, false),
            high: (f64::INFINITY, false),
            equal: None,
            missing: false,
            there: false,
            span: at.0.clone(),
        });
        entry.span = at.0.clone();
        if entry.narrow(test, context) {
            let message = format!("no customer can satisfy this and the earlier test of `{}`", attribute.name);
            let hint = "join the two with `OR`, or leave one of them out";
            found.push(Diagnostic::warning("segment.never_holds", at.0.clone(), message).with_hint(hint));
            return;
        }
    }
    let no_orders = left.get("number_of_orders").is_some_and(|orders| orders.high.0 < 1.0);
    if let Some(bought) = left.values().find(|left| no_orders && left.there && left.attribute.buyers_only) {
        let message =
            format!("`{}` is missing for everybody without an order, so nobody is in both", bought.attribute.name);
        let hint = "leave one of the two clauses out";
        found.push(Diagnostic::warning("segment.never_holds", bought.span.clone(), message).with_hint(hint));
    }
}

impl<'a> Left<'a> {
    /// Takes in one more clause; whether nothing is left.
    fn narrow(&mut self, test: &'a Test, context: &Context<'_>) -> bool {
        if test_is_complement(test) {
            return false;
        }
        let at = |value: &Value| point(&self.attribute, value, context);
        let whole = matches!(self.attribute.kind, Type::Integer | Type::Day | Type::CivilDate);
        // Between whole numbers `> 1` is `>= 2`.
        let above = |value: f64| if whole { (value + 1.0, false) } else { (value, true) };
        let below = |value: f64| if whole { (value - 1.0, false) } else { (value, true) };
        match test {
            Test::Null { .. } => {
                self.missing = true;
                return self.there;
            }
            Test::Compare { op, value } => match (op, at(value)) {
                (Cmp::Equal, Some(value)) => self.within((value, false), (value, false)),
                (Cmp::Less, Some(value)) => self.within((f64::NEG_INFINITY, false), below(value)),
                (Cmp::LessOrEqual, Some(value)) => self.within((f64::NEG_INFINITY, false), (value, false)),
                (Cmp::Greater, Some(value)) => self.within(above(value), (f64::INFINITY, false)),
                (Cmp::GreaterOrEqual, Some(value)) => self.within((value, false), (f64::INFINITY, false)),
                (Cmp::Equal, None) if matches!(self.attribute.kind, Type::Text | Type::Enum(_) | Type::Choice(_)) => {
                    if let Some(earlier) = self.equal.replace(&value.literal)
                        && !same_text(
                            earlier,
                            &value.literal,
                            self.attribute.kind == Type::Text && !self.attribute.folded,
                        )
                    {
                        return true;
                    }
                }
                _ => {}
            },
            Test::Between { low, high, .. } => {
                if let Some((low, high)) = at(low).zip(at(high)) {
                    // An empty range is told of by itself.
                    if low > high {
                        return false;
                    }
                    self.within((low, false), (high, false));
                }
            }
            _ => {}
        }
        self.there = true;
        let empty = self.low.0 > self.high.0 || (self.low.0 == self.high.0 && (self.low.1 || self.high.1));
        empty || self.missing
    }

    fn within(&mut self, low: (f64, bool), high: (f64, bool)) {
        if low.0 > self.low.0 || (low.0 == self.low.0 && low.1) {
            self.low = low;
        }
        if high.0 < self.high.0 || (high.0 == self.high.0 && high.1) {
            self.high = high;
        }
    }
}

/// Complements hold for missing values too.
fn test_is_complement(test: &Test) -> bool {
    match test {
        Test::Compare { .. } => false,
        Test::Between { negated, .. }
        | Test::In { negated, .. }
        | Test::Contains { negated, .. }
        | Test::StartsWith { negated, .. } => *negated,
        Test::Null { negated } => *negated,
    }
}

fn same_text(one: &Literal, other: &Literal, exactly: bool) -> bool {
    match (one, other) {
        (Literal::Text(one), Literal::Text(other)) if exactly => one == other,
        (Literal::Text(one), Literal::Text(other)) => one.to_lowercase() == other.to_lowercase(),
        _ => true,
    }
}
