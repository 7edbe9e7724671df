//! A function's clause: its parameters resolved to facts about rows, and what is asked of all picked rows together.

use std::sync::Arc;

use super::Checker;
use super::rule::{Aggregate, AggregateTest, AttributeTest, PlaceTest, RowsTest, Rule};
use crate::diagnostic::{Diagnostic, nearest};
use crate::profile::catalogue::{Asks, Attribute, FLOAT_SCALE, Function, Rows, Source, Type, row_fact};
use crate::segments::syntax::{Cmp, Decimal, Literal, Parameter, Test, Word};

/// What a parameter's name stands for.
enum Asked {
    Row(Attribute),
    Together(Aggregate, Attribute),
}

impl Checker<'_> {
    /// Resolves `function [NOT] MATCHES (parameters)`.
    pub(super) fn function_clause(
        &mut self,
        name: &Word,
        function: &Function,
        negated: bool,
        parameters: &[Parameter],
    ) -> Option<Rule> {
        self.warn_unless_landed(name, function);
        let rule = match function.rows {
            Rows::Place => self.place(name, function, parameters).map(Rule::Place),
            rows => self.rows_test(function, rows, parameters).map(Rule::Rows),
        }?;
        Some(if negated { Rule::Not(Box::new(rule)) } else { rule })
    }

    fn warn_unless_landed(&mut self, name: &Word, function: &Function) {
        let Some(table) = function.rows.landed() else { return };
        let columns = match function.rows {
            Rows::Place => &["latitude", "longitude"][..],
            Rows::Returns => &["returned_quantity"][..],
            _ => &[],
        };
        let missing = self.context.catalogue.lacks(table, columns);
        if let Some(what) = missing {
            let message = format!("no landed file has the data of `{}`", name.text);
            let found = Diagnostic::warning("segment.not_landed", name.at.0.clone(), message);
            self.diagnostics.push(found.with_hint(format!("land {what}")));
        }
    }

    fn rows_test(&mut self, function: &Function, rows: Rows, parameters: &[Parameter]) -> Option<RowsTest> {
        let mut test = RowsTest { function: function.name, rows, picks: Vec::new(), aggregates: Vec::new() };
        let mut sound = true;
        for parameter in parameters {
            let Some(asked) = self.asked(function, &parameter.name) else {
                sound = false;
                continue;
            };
            let (attribute, aggregate) = match asked {
                Asked::Row(attribute) => (attribute, None),
                Asked::Together(aggregate, attribute) => (attribute, Some(aggregate)),
            };
            let Some(one) = self.parameter_test(&parameter.name, attribute, &parameter.test) else {
                sound = false;
                continue;
            };
            match aggregate {
                None => test.picks.push(one),
                Some(aggregate) => test.aggregates.push(AggregateTest { aggregate, test: one }),
            }
        }
        // The order in which parameters are written means nothing, so equal calls become equal tests.
        test.picks.sort_by(|a, b| a.attribute.name.cmp(&b.attribute.name));
        test.aggregates.sort_by(|a, b| a.test.attribute.name.cmp(&b.test.attribute.name));
        sound.then_some(test)
    }

    fn parameter_test(&mut self, name: &Word, attribute: Attribute, test: &Test) -> Option<AttributeTest> {
        if !attribute.kind.operators().contains(&super::operator_of(test)) {
            self.wrong_operator(name, &attribute, test);
            return None;
        }
        let predicate = self.predicate(&attribute, test)?;
        Some(AttributeTest { attribute: Arc::new(attribute), predicate })
    }

    /// What a parameter's name stands for: what the function knows, a sum, least or largest, or a landed column.
    fn asked(&mut self, function: &Function, name: &Word) -> Option<Asked> {
        let text = name.text.as_str();
        if let Some(known) = function.parameter(text) {
            return Some(match &known.asks {
                Asks::Row(kind, sql) => Asked::Row(row_fact(known.name, kind.clone(), (*sql).to_owned())),
                Asks::Count => Asked::Together(Aggregate::Count, row_fact(known.name, Type::Integer, String::new())),
                Asks::Sum(kind, sql) => Asked::Together(
                    Aggregate::Sum((*sql).to_owned()),
                    row_fact(known.name, summed(kind)?, String::new()),
                ),
                Asks::Coordinates | Asks::Distance(_) => return None,
            });
        }
        type Together = fn(String) -> Aggregate;
        let kinds: [(&str, Together); 3] =
            [("sum_", Aggregate::Sum), ("min_", Aggregate::Min), ("max_", Aggregate::Max)];
        for (prefix, aggregate) in kinds {
            let Some(column) = text.strip_prefix(prefix).and_then(|of| self.fact(function, of)) else { continue };
            let (Some(kind), Source::Row(sql)) = (summed(&column.kind), &column.source) else {
                let message =
                    format!("`{}` is {}, which has no sum, least or largest", column.name, column.kind.described());
                self.error(
                    "segment.wrong_type",
                    &name.at.0,
                    message,
                    "name a numeric column after `sum_`, `min_` or `max_`",
                );
                return None;
            };
            let total = row_fact(text, kind, String::new());
            return Some(Asked::Together(
                aggregate(sql.clone()),
                Attribute { landed: column.landed, custom: column.custom, ..total },
            ));
        }
        if let Some(column) = text.strip_prefix("column.").or(Some(text))
            && let Some(column) = self.context.catalogue.row_column(function.rows, column)
        {
            self.warn_unless_column(name, &column);
            return Some(Asked::Row(Attribute { name: text.to_owned(), ..column }));
        }
        self.unknown_parameter(function, name);
        None
    }

    /// A row's fact by its own name: what the function knows, else a landed column.
    fn fact(&self, function: &Function, name: &str) -> Option<Attribute> {
        match function.parameter(name).map(|known| (&known.asks, known.name)) {
            Some((Asks::Row(kind, sql), name)) => Some(row_fact(name, kind.clone(), (*sql).to_owned())),
            _ => self.context.catalogue.row_column(function.rows, name.strip_prefix("column.").unwrap_or(name)),
        }
    }

    fn warn_unless_column(&mut self, name: &Word, column: &Attribute) {
        if let [first, ..] = self.context.catalogue.missing_columns(column) {
            let message = format!("no landed file has the data of `{}`", name.text);
            let found = Diagnostic::warning("segment.not_landed", name.at.0.clone(), message);
            self.diagnostics.push(found.with_hint(format!("land the column `{first}`")));
        }
    }

    fn unknown_parameter(&mut self, function: &Function, name: &Word) {
        let known =
            function.parameters.iter().flat_map(|one| std::iter::once(one.name).chain(one.spellings.iter().copied()));
        let columns = self.context.catalogue.row_column_names(function.rows);
        let near = nearest(&name.text, known.clone().chain(columns));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let all: Vec<String> = function.parameters.iter().map(|one| format!("`{}`", one.name)).collect();
                format!("it takes {}, and every landed column of {}", all.join(", "), function.rows.table())
            }
        };
        let message =
            format!("`{}` has no parameter `{}`, and no landed file has such a column", function.name, name.text);
        self.error("segment.unknown_parameter", &name.at.0, message, hint);
    }

    fn place(&mut self, name: &Word, function: &Function, parameters: &[Parameter]) -> Option<PlaceTest> {
        let mut place = PlaceTest { point: None, tests: Vec::new() };
        let mut sound = true;
        for parameter in parameters {
            match function.parameter(&parameter.name.text).map(|known| &known.asks) {
                Some(Asks::Coordinates) => match self.coordinates(parameter) {
                    Some(point) => place.point = Some(point),
                    None => sound = false,
                },
                Some(Asks::Distance(unit)) => {
                    let distance = row_fact(&parameter.name.text, Type::Float, (*unit).to_owned());
                    match self.parameter_test(&parameter.name, distance, &parameter.test) {
                        Some(test) => place.tests.push(test),
                        None => sound = false,
                    }
                }
                _ => {
                    self.unknown_parameter(function, &parameter.name);
                    sound = false;
                }
            }
        }
        if sound && place.point.is_some() == place.tests.is_empty() {
            let lacking = if place.point.is_some() { "`distance_km` or `distance_mi`" } else { "`coordinates`" };
            let message = format!("`{}` lacks {lacking}", function.name);
            self.error("segment.missing_parameter", &name.at.0, message, format!("write `{}`", function.example));
            return None;
        }
        sound.then_some(place)
    }

    fn coordinates(&mut self, parameter: &Parameter) -> Option<(Decimal, Decimal)> {
        let Test::Compare { op: Cmp::Equal, value } = &parameter.test else {
            let message = "coordinates are a point, which takes only `=`";
            self.error("segment.wrong_operator", &parameter.name.at.0, message, "write `coordinates = (55.67, 12.56)`");
            return None;
        };
        let point = match &value.literal {
            Literal::Coordinates(latitude, longitude) => Some((*latitude, *longitude)),
            Literal::Text(text) => text
                .split_once(',')
                .and_then(|(one, other)| Some((Decimal::parse(one.trim())?, Decimal::parse(other.trim())?))),
            Literal::Faulty => return None,
            _ => None,
        };
        let within = |degrees: Decimal, most: i128| {
            degrees.floor_at(0).is_some_and(|(floor, exact)| (-most..most).contains(&floor) || (floor == most && exact))
        };
        let point = point.filter(|(latitude, longitude)| within(*latitude, 90) && within(*longitude, 180));
        if point.is_none() {
            let message = "these are no coordinates";
            let hint = "write latitude (-90 to 90) and longitude (-180 to 180): `coordinates = (55.67, 12.56)`";
            self.error("segment.wrong_type", &value.at.0, message, hint);
        }
        point
    }
}

/// The type of what values of a type add up to; `None` for what is no number.
fn summed(kind: &Type) -> Option<Type> {
    Some(match kind {
        Type::Integer => Type::Integer,
        Type::Decimal { scale, .. } => Type::Decimal { precision: 38, scale: *scale },
        Type::Float => Type::Decimal { precision: 38, scale: FLOAT_SCALE },
        _ => return None,
    })
}
