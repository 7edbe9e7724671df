//! The values of clauses: lists, numbers, coordinates and bare words.

use super::lexer::Kind;
use super::limits::MAX_VALUES;
use super::parser::{Parser, Read, Unreadable};
use super::value::{Date, Decimal};
use super::{At, Literal, Value};
use crate::diagnostic::Span;

impl Parser<'_> {
    pub(super) fn values(&mut self, name: &str) -> Read<Vec<Value>> {
        let Some(open) = self.eat(&Kind::Open) else {
            let message = format!("{} where a list should be", self.found());
            self.error("segment.expected_list", self.here(), message, format!("write `{name} IN (…)`"));
            return Err(Unreadable);
        };
        self.list(open)
    }

    /// The values up to the closing parenthesis; `open` is read already.
    pub(super) fn list(&mut self, open: Span) -> Read<Vec<Value>> {
        let mut values = Vec::new();
        let mut passed = None;
        loop {
            let value = match self.value() {
                Ok(value) => value,
                Err(Unreadable) => {
                    self.skip_parameter();
                    Value { literal: Literal::Faulty, at: At::default() }
                }
            };
            if values.len() < MAX_VALUES {
                values.push(value);
            } else {
                passed.get_or_insert(value.at.0);
            }
            if self.eat(&Kind::Comma).is_none() {
                break;
            }
        }
        if let Some(span) = passed {
            let message = format!("the list has more than {MAX_VALUES} values");
            self.error("segment.too_many_values", span, message, "split it into several lists joined by `OR`");
        }
        if !matches!(self.kind(0), Kind::Close | Kind::End) {
            let message = format!("{} where a comma or `)` should be", self.found());
            self.error("segment.missing_comma", self.here(), message, "values are joined by commas");
            self.skip_parameter();
        }
        self.close(open);
        Ok(values)
    }

    pub(super) fn value(&mut self) -> Read<Value> {
        let start = self.here().start;
        let literal = match self.kind(0).clone() {
            Kind::Literal(literal) => {
                self.advance();
                literal
            }
            Kind::Minus => {
                self.advance();
                self.negative(start)?
            }
            Kind::Open => {
                let open = self.advance();
                self.coordinates(open)?
            }
            Kind::Word => self.word_value()?,
            _ => {
                let message = format!("{} where a value should be", self.found());
                let hint = "write a number, a date such as -30d, or text between single quotes";
                self.error("segment.expected_value", self.here(), message, hint);
                return Err(Unreadable);
            }
        };
        Ok(Value { literal, at: self.since(start) })
    }

    fn negative(&mut self, start: usize) -> Read<Literal> {
        let end = self.here().end;
        let literal = match self.kind(0).clone() {
            Kind::Literal(Literal::Integer(number)) if number >= 0 => Literal::Integer(-number),
            Kind::Literal(Literal::Decimal(number)) => match Decimal::parse(&format!("-{number}")) {
                Some(number) => Literal::Decimal(number),
                None => Literal::Faulty,
            },
            _ => Literal::Faulty,
        };
        if literal == Literal::Faulty {
            let hint = "write `-5`, or `-30d` in one piece";
            self.error("segment.expected_value", start..end, "a number should follow the minus", hint);
            return Err(Unreadable);
        }
        self.advance();
        Ok(literal)
    }

    /// `(55.67, 12.56)`.
    fn coordinates(&mut self, open: Span) -> Read<Literal> {
        let latitude = self.value_of_pair()?;
        let comma = self.eat(&Kind::Comma);
        let longitude = if comma.is_some() { self.value_of_pair()? } else { None };
        match (latitude, longitude) {
            (Some(latitude), Some(longitude)) if *self.kind(0) == Kind::Close => {
                self.advance();
                Ok(Literal::Coordinates(latitude, longitude))
            }
            _ => {
                let hint =
                    "write a list as `IN (1, 2)`, coordinates as `(55.67, 12.56)`, a single value without parentheses";
                self.error("segment.expected_value", open, "a value does not begin with a parenthesis", hint);
                self.skip_parameter_list();
                Ok(Literal::Faulty)
            }
        }
    }

    fn value_of_pair(&mut self) -> Read<Option<Decimal>> {
        if *self.kind(0) == Kind::Open {
            return Ok(None);
        }
        Ok(match self.value()?.literal {
            Literal::Integer(number) => Some(Decimal::integer(number)),
            Literal::Decimal(number) => Some(number),
            _ => None,
        })
    }

    /// Past the closing parenthesis of a list that cannot be read.
    fn skip_parameter_list(&mut self) {
        loop {
            self.skip_parameter();
            if self.eat(&Kind::Comma).is_none() {
                self.eat(&Kind::Close);
                return;
            }
        }
    }

    fn word_value(&mut self) -> Read<Literal> {
        let text = self.text(0).to_owned();
        let literal = match text.to_ascii_lowercase().as_str() {
            "true" => Literal::Boolean(true),
            "false" => Literal::Boolean(false),
            "today" => Literal::Date(Date::Today),
            "yesterday" => Literal::Date(Date::Yesterday),
            _ if self.any_keyword(0) => {
                let message = format!("{} where a value should be", self.found());
                let hint = "write a number, a date such as -30d, or text between single quotes";
                self.error("segment.expected_value", self.here(), message, hint);
                return Err(Unreadable);
            }
            _ => {
                let message = format!("the text `{text}` has no quotes");
                self.error("segment.unquoted_text", self.here(), message, format!("write `'{text}'`"));
                Literal::Faulty
            }
        };
        self.advance();
        Ok(literal)
    }
}
