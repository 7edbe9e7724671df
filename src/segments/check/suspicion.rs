//! What is well written but hardly meant: warnings that need no landed data.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Datelike;

use super::Context;
use super::rule::civil_day;
use crate::diagnostic::{Diagnostic, Span, nearest};
use crate::profile::catalogue::{Asks, Attribute, Catalogue, Function, Named, Rows, Type, row_fact};
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
            if let Named::Attribute(attribute) = context.catalogue.resolve(&name.text) {
                look_at_test(&name.text, attribute, test, &at.0, context, found);
            }
        }
        Leaf::Function { name, parameters, .. } => {
            let Named::Function(function) = context.catalogue.resolve(&name.text) else { return };
            for parameter in parameters {
                let written = &parameter.name;
                let end = values_of(&parameter.test).iter().map(|value| value.at.0.end).max();
                let span = written.at.0.start..end.unwrap_or(written.at.0.end).max(written.at.0.end);
                if let Some(fact) = fact(context.catalogue, function, &written.text) {
                    look_at_test(&written.text, &fact, &parameter.test, &span, context, found);
                }
                if names_segments(function, &written.text) {
                    unknown_segments(&parameter.test, context, found);
                }
            }
        }
        Leaf::Segment { .. } => {}
    }
}

/// What a test of one attribute, or of one parameter, hardly means.
fn look_at_test(
    name: &str,
    attribute: &Attribute,
    test: &Test,
    at: &Span,
    context: &Context<'_>,
    found: &mut Vec<Diagnostic>,
) {
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
                let warning = Diagnostic::warning("segment.one_day", at.clone(), message);
                found.push(warning.with_hint(format!("write `{name} {range}`")));
            }
        }
        Test::Between { negated: false, low, high } => {
            let point = |value| point(attribute, value, context);
            if point(low).zip(point(high)).is_some_and(|(low, high)| low > high) {
                let message = "this range ends before it begins, so nobody is in it";
                let hint = format!("write `{name} BETWEEN {high} AND {low}`");
                found.push(Diagnostic::warning("segment.empty_range", at.clone(), message).with_hint(hint));
            }
        }
        _ => {}
    }
}

fn values_of(test: &Test) -> Vec<&Value> {
    match test {
        Test::Compare { value, .. } | Test::Contains { value, .. } | Test::StartsWith { value, .. } => vec![value],
        Test::Between { low, high, .. } => vec![low, high],
        Test::In { values, .. } => values.iter().collect(),
        Test::Null { .. } => Vec::new(),
    }
}

/// What a parameter asks about, as far as ranges and dates go.
fn fact(catalogue: &Catalogue, function: &Function, name: &str) -> Option<Attribute> {
    let asked = |kind: Type| Some(row_fact(name, kind, String::new()));
    match function.parameter(name).map(|known| &known.asks) {
        Some(Asks::Row(kind, _) | Asks::Sum(kind, _)) => asked(kind.clone()),
        Some(Asks::Count) => asked(Type::Integer),
        Some(Asks::Distance(_)) => asked(Type::Float),
        Some(Asks::Coordinates) => None,
        None if ["sum_", "min_", "max_"].iter().any(|prefix| name.starts_with(prefix)) => asked(Type::Float),
        None => catalogue.row_column(function.rows, name.strip_prefix("column.").unwrap_or(name)),
    }
}

fn names_segments(function: &Function, parameter: &str) -> bool {
    let known = function.parameter(parameter).map(|known| known.name);
    match function.rows {
        Rows::Entries | Rows::Exits => known == Some("id"),
        Rows::Exports => known == Some("segment"),
        _ => false,
    }
}

/// What was published keeps its segments' ids, so one that is no more is no error.
fn unknown_segments(test: &Test, context: &Context<'_>, found: &mut Vec<Diagnostic>) {
    if matches!(test, Test::StartsWith { .. }) {
        return;
    }
    for value in values_of(test) {
        let Literal::Text(id) = &value.literal else { continue };
        if context.segments.contains_key(id) {
            continue;
        }
        let hint = match nearest(id, context.segments.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`alluvial segments` lists the segments that there are".to_owned(),
        };
        let message = format!("there is no segment `{id}`, though earlier days may have had one");
        found.push(Diagnostic::warning("segment.unknown_segment", value.at.0.clone(), message).with_hint(hint));
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
    contradicted(parts, context, found);
    let no_orders = left.get("number_of_orders").is_some_and(|orders| orders.high.0 < 1.0);
    if let Some(bought) = left.values().find(|left| no_orders && left.there && left.attribute.buyers_only) {
        let message =
            format!("`{}` is missing for everybody without an order, so nobody is in both", bought.attribute.name);
        let hint = "leave one of the two clauses out";
        found.push(Diagnostic::warning("segment.never_holds", bought.span.clone(), message).with_hint(hint));
    }
    if no_orders && let Some((name, span)) = parts.iter().find_map(|part| needs_orders(part, context)) {
        let message = format!("`{name}` asks for an order, and nobody without one is in both");
        let hint = "leave one of the two clauses out";
        found.push(Diagnostic::warning("segment.never_holds", span, message).with_hint(hint));
    }
}

/// A clause beside its own complement.
fn contradicted(parts: &[Expr], context: &Context<'_>, found: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    for part in parts {
        let Some((leaf, complement)) = positive(part, context) else { continue };
        let text = without_not(leaf).to_string();
        if seen.insert(text, complement).is_some_and(|earlier| earlier != complement) {
            let message = "no customer can satisfy this and its complement";
            let hint = "join the two with `OR`, or leave one of them out";
            found.push(Diagnostic::warning("segment.never_holds", span_of(leaf), message).with_hint(hint));
        }
    }
}

/// The leaf of a part and whether the part is its complement.
fn positive<'a>(part: &'a Expr, context: &Context<'_>) -> Option<(&'a Leaf, bool)> {
    match part {
        Expr::Leaf(leaf) => Some((leaf, is_complement(leaf, context))),
        Expr::Not(inner) => positive(inner, context).map(|(leaf, complement)| (leaf, !complement)),
        _ => None,
    }
}

fn is_complement(leaf: &Leaf, context: &Context<'_>) -> bool {
    match leaf {
        Leaf::Function { negated, .. } => *negated,
        // Of a function `IS NULL` is `NOT MATCHES ()`, and is told of where both are written alike.
        Leaf::Attribute { name, test, .. } => {
            let attribute = matches!(context.catalogue.resolve(&name.text), Named::Attribute(_));
            attribute
                && matches!(
                    test,
                    Test::Between { negated: true, .. }
                        | Test::In { negated: true, .. }
                        | Test::Contains { negated: true, .. }
                        | Test::StartsWith { negated: true, .. }
                        | Test::Null { negated: true }
                )
        }
        Leaf::Anniversary { test, .. } => {
            matches!(test, Test::Between { negated: true, .. } | Test::Null { negated: true })
        }
        Leaf::Segment { .. } => false,
    }
}

/// A leaf and its complement as one text.
fn without_not(leaf: &Leaf) -> Leaf {
    let mut leaf = leaf.clone();
    match &mut leaf {
        Leaf::Function { negated, .. } => *negated = false,
        Leaf::Attribute { test, .. } | Leaf::Anniversary { test, .. } => match test {
            Test::Between { negated, .. }
            | Test::In { negated, .. }
            | Test::Contains { negated, .. }
            | Test::StartsWith { negated, .. }
            | Test::Null { negated } => *negated = false,
            Test::Compare { .. } => {}
        },
        Leaf::Segment { .. } => {}
    }
    leaf
}

/// The name and place of a clause that only customers with a counted order satisfy, since it picks at least one row.
fn needs_orders(part: &Expr, context: &Context<'_>) -> Option<(String, Span)> {
    let Expr::Leaf(leaf) = part else { return None };
    let Leaf::Function { name, negated: false, parameters, at } = &**leaf else { return None };
    let Named::Function(function) = context.catalogue.resolve(&name.text) else { return None };
    let picks_only = parameters.iter().all(|parameter| {
        let known = function.parameter(&parameter.name.text).map(|known| &known.asks);
        let written = ["sum_", "min_", "max_"].iter().any(|prefix| parameter.name.text.starts_with(prefix));
        matches!(known, Some(Asks::Row(..))) || (known.is_none() && !written)
    });
    (matches!(function.rows, Rows::Purchases | Rows::Orders) && picks_only).then(|| (name.text.clone(), at.0.clone()))
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
                (Cmp::Equal, None)
                    if matches!(
                        self.attribute.kind,
                        Type::Text | Type::Id | Type::Enum(_) | Type::Choice(_) | Type::Boolean
                    ) =>
                {
                    if let Some(earlier) = self.equal.replace(&value.literal)
                        && !same_text(
                            earlier,
                            &value.literal,
                            matches!(self.attribute.kind, Type::Text | Type::Id) && !self.attribute.folded,
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
        (Literal::Boolean(one), Literal::Boolean(other)) => one == other,
        (Literal::Integer(one), Literal::Integer(other)) => one == other,
        (Literal::Text(text), Literal::Integer(number)) | (Literal::Integer(number), Literal::Text(text)) => {
            *text == number.to_string()
        }
        _ => true,
    }
}
