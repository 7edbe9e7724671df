//! Shopify's older call form: `products_purchased(id: 1234) = true`, read as `products_purchased MATCHES (id = 1234)`.

use super::lexer::Kind;
use super::parser::{Parser, Read, Unreadable};
use super::{Cmp, Date, Leaf, Literal, Parameter, Test, Value, Word};
use crate::diagnostic::{Diagnostic, Span};

impl Parser<'_> {
    /// The call of `name`, whose opening parenthesis is read already.
    pub(super) fn older_call(&mut self, name: Word, open: Span) -> Read<Leaf> {
        let start = name.at.0.start;
        if !matches!((self.kind(0), self.kind(1)), (Kind::Close, _) | (Kind::Word, Kind::Colon)) {
            let message = format!("`MATCHES` is missing between `{}` and its parameters", name.text);
            let hint = format!("write `{} MATCHES (…)`", name.text);
            self.error("segment.expected_matches", start..open.end, message, hint);
            return Err(Unreadable);
        }
        let mut parameters: Vec<Parameter> = Vec::new();
        while *self.kind(0) != Kind::Close {
            self.count_clause()?;
            if !matches!((self.kind(0), self.kind(1)), (Kind::Word, Kind::Colon)) {
                let hint = format!("write `{} MATCHES (…)` instead of the older form", name.text);
                self.error("segment.expected_parameter", self.here(), "a parameter is written `name: value`", hint);
                return Err(Unreadable);
            }
            let written = self.word();
            self.advance();
            let (parameter, hint) = self.older_argument(written)?;
            if let Some(hint) = hint {
                self.diagnostics.push(hint);
            }
            self.add_older(&mut parameters, parameter);
            if self.eat(&Kind::Comma).is_none() && *self.kind(0) != Kind::Close {
                self.error("segment.unclosed_parenthesis", open, "this parenthesis is not closed", "close it with `)`");
                return Err(Unreadable);
            }
        }
        self.advance();
        let negated = self.older_truth(&name)?;
        let leaf = Leaf::Function { name, negated, parameters, at: self.since(start) };
        let at = self.since(start).0;
        let warning = Diagnostic::warning("segment.older_spelling", at, "this is the older form of a function");
        let hint = format!("write `{leaf}`");
        self.diagnostics.push(warning.with_hint(hint));
        Ok(leaf)
    }

    /// `= true`, `= false` and their complements; whether the function must not match.
    fn older_truth(&mut self, name: &Word) -> Read<bool> {
        let op = match self.kind(0) {
            Kind::Cmp(op @ (Cmp::Equal | Cmp::NotEqual)) => *op,
            _ => {
                let hint = format!("write `{} MATCHES (…)`", name.text);
                self.error(
                    "segment.expected_matches",
                    self.here(),
                    "the older form ends with `= true` or `= false`",
                    hint,
                );
                return Err(Unreadable);
            }
        };
        self.advance();
        let value = self.value()?;
        match value.literal {
            Literal::Boolean(truth) => Ok(truth == (op == Cmp::NotEqual)),
            Literal::Faulty => Err(Unreadable),
            _ => {
                let hint = format!("write `{} MATCHES (…)`", name.text);
                self.error("segment.wrong_type", value.at.0, "the older form ends with `= true` or `= false`", hint);
                Err(Unreadable)
            }
        }
    }

    fn older_argument(&mut self, mut name: Word) -> Read<(Parameter, Option<Diagnostic>)> {
        if *self.kind(0) == Kind::Open && name.text != "coordinates" {
            let open = self.advance();
            let values = self.list(open)?;
            return Ok((Parameter { name, test: Test::In { negated: false, values } }, None));
        }
        let value = self.value()?;
        let relative = matches!(value.literal, Literal::Date(Date::Relative(..)));
        let mut warning = None;
        let op = match name.text.as_str() {
            "count_at_least" => {
                name.text = "count".to_owned();
                Cmp::GreaterOrEqual
            }
            "count_at_most" => {
                name.text = "count".to_owned();
                Cmp::LessOrEqual
            }
            "since" => {
                name.text = "date".to_owned();
                Cmp::GreaterOrEqual
            }
            "until" => {
                name.text = "date".to_owned();
                Cmp::LessOrEqual
            }
            "date" if relative => {
                let message = format!("`date: {value}` is read as every day since, not as that one day");
                let found = Diagnostic::warning("segment.older_date", value.at.0.clone(), message);
                warning =
                    Some(found.with_hint(format!("write `date >= {value}`, or `date = {value}` for the one day")));
                Cmp::GreaterOrEqual
            }
            _ => Cmp::Equal,
        };
        Ok((Parameter { name, test: Test::Compare { op, value } }, warning))
    }

    /// Adds a parameter; the two ends of a range (`since` and `until`, `count_at_least` and `count_at_most`) become one.
    fn add_older(&mut self, parameters: &mut Vec<Parameter>, parameter: Parameter) {
        let Some(earlier) = parameters.iter_mut().find(|earlier| earlier.name == parameter.name) else {
            parameters.push(parameter);
            return;
        };
        if let (Test::Compare { op: first, value: one }, Test::Compare { op: second, value: other }) =
            (&earlier.test, &parameter.test)
        {
            let ends: Option<(Value, Value)> = match (first, second) {
                (Cmp::GreaterOrEqual, Cmp::LessOrEqual) => Some((one.clone(), other.clone())),
                (Cmp::LessOrEqual, Cmp::GreaterOrEqual) => Some((other.clone(), one.clone())),
                _ => None,
            };
            if let Some((low, high)) = ends {
                earlier.test = Test::Between { negated: false, low, high };
                return;
            }
        }
        let message = format!("the parameter `{}` stands twice", parameter.name.text);
        let hint = "use `BETWEEN` or `IN` in the newer form";
        self.error("segment.parameter_twice", parameter.name.at.0, message, hint);
    }
}
