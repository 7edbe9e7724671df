//! From tokens to the tree. A clause that cannot be read becomes a finding and a faulty part, and reading goes on at
//! the next `AND`, `OR` or closing parenthesis, so that every error of a query is told at once.

use super::lexer::{Kind, Token, lex};
use super::limits::{MAX_CHARACTERS, MAX_CLAUSES, MAX_FINDINGS, MAX_LEVELS};
use super::{At, Cmp, Expr, Leaf, Literal, Parameter, Parsed, Test, Word};
use crate::diagnostic::{Diagnostic, Severity, Span};

/// Reads a query. Never fails: what cannot be read is among the findings.
pub fn parse(source: &str) -> Parsed {
    if let Some((end, _)) = source.char_indices().nth(MAX_CHARACTERS) {
        let message = format!("the query is longer than {MAX_CHARACTERS} characters");
        let hint = "split it into several segments and combine them with `segment('id')`";
        let found = Diagnostic::error("segment.too_long", end..source.len(), message).with_hint(hint);
        return Parsed { expr: Expr::Faulty(At(0..source.len())), diagnostics: vec![found] };
    }
    let lexed = lex(source);
    let mut parser = Parser {
        source,
        tokens: lexed.tokens,
        at: 0,
        levels: 0,
        clauses: 0,
        stopped: false,
        diagnostics: lexed.diagnostics,
    };
    let expr = parser.query();
    let mut diagnostics = parser.diagnostics;
    diagnostics.sort_by(|a, b| (a.span.start, a.severity, a.code).cmp(&(b.span.start, b.severity, b.code)));
    if let Some(next) = diagnostics.get(MAX_FINDINGS) {
        let message = format!("{} more findings are not shown", diagnostics.len() - MAX_FINDINGS);
        let rest = Diagnostic::error("segment.too_many_findings", next.span.clone(), message);
        // The errors are what must not be lost among warnings.
        diagnostics.sort_by_key(|found| found.severity);
        diagnostics.truncate(MAX_FINDINGS);
        diagnostics.push(rest);
    }
    Parsed { expr, diagnostics }
}

/// Whether `text` can stand as a name in a query.
pub(super) fn is_name(text: &str) -> bool {
    let lexed = lex(text);
    matches!(lexed.tokens.as_slice(), [word, _] if word.kind == Kind::Word && word.span == (0..text.len()))
        && !KEYWORDS.iter().any(|keyword| text.eq_ignore_ascii_case(keyword))
}

const KEYWORDS: &[&str] =
    &["AND", "OR", "NOT", "BETWEEN", "IN", "CONTAINS", "STARTS", "WITH", "IS", "NULL", "MATCHES", "NOT_MATCHES"];

pub(super) struct Parser<'a> {
    pub(super) source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    levels: usize,
    clauses: usize,
    /// A limit is passed: everything that follows is skipped.
    stopped: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A clause that cannot be read; the finding is told already.
pub(super) struct Unreadable;

pub(super) type Read<T> = Result<T, Unreadable>;

impl Parser<'_> {
    fn token(&self, ahead: usize) -> &Token {
        let last = self.tokens.len().saturating_sub(1);
        let at = if self.stopped { last } else { (self.at + ahead).min(last) };
        &self.tokens[at]
    }

    pub(super) fn kind(&self, ahead: usize) -> &Kind {
        &self.token(ahead).kind
    }

    pub(super) fn here(&self) -> Span {
        self.token(0).span.clone()
    }

    pub(super) fn text(&self, ahead: usize) -> &str {
        &self.source[self.token(ahead).span.clone()]
    }

    pub(super) fn advance(&mut self) -> Span {
        let span = self.here();
        self.at += 1;
        span
    }

    fn last_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |token| token.span.end)
    }

    pub(super) fn eat(&mut self, kind: &Kind) -> Option<Span> {
        (self.kind(0) == kind).then(|| self.advance())
    }

    pub(super) fn is_keyword(&self, ahead: usize, keyword: &str) -> bool {
        // Other languages' signs are told of by the lexer, and then read as what they mean.
        let written = match self.text(ahead) {
            "&&" => "AND",
            "||" => "OR",
            "!" => "NOT",
            other => other,
        };
        *self.kind(ahead) == Kind::Word && written.eq_ignore_ascii_case(keyword)
    }

    fn eat_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(0, keyword);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn any_keyword(&self, ahead: usize) -> bool {
        KEYWORDS.iter().any(|keyword| self.is_keyword(ahead, keyword))
    }

    pub(super) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        // After a limit everything reads as the end of the text, which is no fault of its own.
        if !self.stopped {
            self.diagnostics.push(Diagnostic::error(code, span, message).with_hint(hint));
        }
    }

    /// What stands here, for a message.
    pub(super) fn found(&self) -> String {
        match self.kind(0) {
            Kind::End => "the query ends".to_owned(),
            _ => format!("`{}` stands", self.text(0)),
        }
    }

    fn query(&mut self) -> Expr {
        if *self.kind(0) == Kind::End {
            if !self.diagnostics.iter().any(|found| found.severity == Severity::Error) {
                let hint = "write `number_of_orders >= 0` for all customers";
                self.error("segment.empty", 0..self.source.len(), "the query is empty", hint);
            }
            return Expr::Faulty(At(0..self.source.len()));
        }
        let mut parts = vec![self.or()];
        while *self.kind(0) != Kind::End {
            // Only a closing parenthesis ends an expression before the text does.
            let span = self.advance();
            let hint = "leave it out, or open one before";
            self.error("segment.unopened_parenthesis", span, "this parenthesis closes nothing", hint);
            if !matches!(self.kind(0), Kind::End | Kind::Close) {
                if self.is_keyword(0, "AND") || self.is_keyword(0, "OR") {
                    self.advance();
                }
                parts.push(self.or());
            }
        }
        Expr::all(parts)
    }

    fn or(&mut self) -> Expr {
        let mut parts = vec![self.and()];
        while self.eat_keyword("OR") {
            parts.push(self.and());
        }
        Expr::any(parts)
    }

    fn and(&mut self) -> Expr {
        let mut parts = vec![self.not()];
        loop {
            if self.eat_keyword("AND") {
                parts.push(self.not());
                continue;
            }
            if self.is_keyword(0, "OR") || matches!(self.kind(0), Kind::End | Kind::Close) {
                return Expr::all(parts);
            }
            let message = format!("{} where the next clause should be joined", self.found());
            let hint = "join clauses with `AND` or `OR`";
            self.error("segment.missing_and", self.here(), message, hint);
            if matches!(self.kind(0), Kind::Word | Kind::Open) && (self.is_keyword(0, "NOT") || !self.any_keyword(0)) {
                parts.push(self.not());
            } else {
                let opened = usize::from(*self.kind(0) == Kind::Open);
                self.advance();
                self.skip_clause(opened);
            }
        }
    }

    fn not(&mut self) -> Expr {
        if !self.is_keyword(0, "NOT") {
            return self.primary();
        }
        let span = self.advance();
        self.level(span, |parser| {
            let inner = parser.not();
            Expr::Not(Box::new(inner))
        })
    }

    fn level(&mut self, span: Span, inner: impl FnOnce(&mut Self) -> Expr) -> Expr {
        if self.levels == MAX_LEVELS {
            let message = format!("more than {MAX_LEVELS} parentheses and `NOT`s stand within each other");
            let hint = "move a part into a segment of its own and refer to it with `segment('id')`";
            self.error("segment.too_deep", span.clone(), message, hint);
            self.stopped = true;
            return Expr::Faulty(At(span));
        }
        self.levels += 1;
        let expr = inner(self);
        self.levels -= 1;
        expr
    }

    fn primary(&mut self) -> Expr {
        if let Some(open) = self.eat(&Kind::Open) {
            return self.level(open.clone(), |parser| {
                let inner = parser.or();
                parser.close(open);
                inner
            });
        }
        let start = self.here().start;
        if self.count_clause().is_err() {
            return Expr::Faulty(At(start..start));
        }
        let first = self.at;
        match self.clause() {
            Ok(leaf) => Expr::Leaf(Box::new(leaf)),
            Err(Unreadable) => {
                self.skip_clause(self.open_since(first));
                Expr::Faulty(At(start..self.last_end().max(start)))
            }
        }
    }

    pub(super) fn count_clause(&mut self) -> Read<()> {
        self.clauses += 1;
        if self.clauses <= MAX_CLAUSES {
            return Ok(());
        }
        let message = format!("the query has more than {MAX_CLAUSES} clauses");
        let hint = "use `IN (…)`, or split it into several segments and combine them with `segment('id')`";
        self.error("segment.too_many_clauses", self.here(), message, hint);
        self.stopped = true;
        Err(Unreadable)
    }

    pub(super) fn close(&mut self, open: Span) {
        if self.eat(&Kind::Close).is_none() {
            self.error("segment.unclosed_parenthesis", open, "this parenthesis is not closed", "close it with `)`");
        }
    }

    /// Parentheses that were opened since the token `first`, and not closed yet.
    fn open_since(&self, first: usize) -> usize {
        let read = self.tokens.get(first..self.at).unwrap_or_default();
        read.iter().fold(0, |depth: usize, token| match token.kind {
            Kind::Open => depth + 1,
            Kind::Close => depth.saturating_sub(1),
            _ => depth,
        })
    }

    /// To the next `AND`, `OR` or closing parenthesis `depth` levels up, or the end.
    fn skip_clause(&mut self, mut depth: usize) {
        loop {
            match self.kind(0) {
                Kind::End => return,
                Kind::Open => depth += 1,
                Kind::Close if depth == 0 => return,
                Kind::Close => depth -= 1,
                Kind::Word if depth == 0 && (self.is_keyword(0, "AND") || self.is_keyword(0, "OR")) => return,
                _ => {}
            }
            self.advance();
        }
    }

    fn clause(&mut self) -> Read<Leaf> {
        if *self.kind(0) != Kind::Word || self.any_keyword(0) {
            let message = format!("{} where a clause should be", self.found());
            let hint = "write an attribute, a comparison and a value: `number_of_orders >= 2`";
            self.error("segment.expected_clause", self.here(), message, hint);
            return Err(Unreadable);
        }
        let name = self.word();
        let start = name.at.0.start;
        if *self.kind(0) == Kind::Open {
            let open = self.advance();
            return match name.text.as_str() {
                "segment" => self.segment(start, open),
                "anniversary" => self.anniversary(start, open),
                _ => self.older_call(name, open),
            };
        }
        let negated = self.is_keyword(0, "NOT") && self.is_keyword(1, "MATCHES");
        if negated || self.is_keyword(0, "MATCHES") || self.is_keyword(0, "NOT_MATCHES") {
            let negated = negated || self.is_keyword(0, "NOT_MATCHES");
            if !self.is_keyword(0, "NOT_MATCHES") && negated {
                self.advance();
            }
            self.advance();
            let parameters = self.parameters()?;
            return Ok(Leaf::Function { name, negated, parameters, at: self.since(start) });
        }
        let test = self.test(&name.text)?;
        Ok(Leaf::Attribute { name, test, at: self.since(start) })
    }

    pub(super) fn since(&self, start: usize) -> At {
        At(start..self.last_end().max(start))
    }

    pub(super) fn word(&mut self) -> Word {
        let text = self.text(0).to_owned();
        Word { text, at: At(self.advance()) }
    }

    fn segment(&mut self, start: usize, open: Span) -> Read<Leaf> {
        let id = self.quoted_name("segment.expected_id", "segment", "win-back")?;
        self.close(open);
        Ok(Leaf::Segment { id, at: self.since(start) })
    }

    fn anniversary(&mut self, start: usize, open: Span) -> Read<Leaf> {
        if *self.kind(0) == Kind::Word && *self.kind(1) == Kind::Colon {
            if self.text(0) != "date" {
                let message = format!("`{}` is no parameter of `anniversary`", self.text(0));
                self.error("segment.unknown_parameter", self.here(), message, "write `anniversary('birthday')`");
            }
            self.advance();
            self.advance();
            let span = start..self.here().end;
            let message = "`anniversary(date: …)` is an older spelling";
            let hint = format!("write `anniversary({})`", self.text(0));
            self.diagnostics.push(Diagnostic::warning("segment.older_spelling", span, message).with_hint(hint));
        }
        let attribute = self.quoted_name("segment.expected_name", "anniversary", "birthday")?;
        self.close(open);
        let test = self.test("anniversary(…)")?;
        if !matches!(test, Test::Compare { .. } | Test::Between { .. } | Test::Null { .. }) {
            let hint = "write `= +7d`, `BETWEEN today AND +30d` or `IS NULL`";
            let span = self.since(start).0;
            self.error(
                "segment.wrong_operator",
                span,
                "`anniversary` takes a comparison, `BETWEEN` or `IS NULL`",
                hint,
            );
        }
        Ok(Leaf::Anniversary { attribute, test, at: self.since(start) })
    }

    /// The one string argument of `segment` and `anniversary`.
    fn quoted_name(&mut self, code: &'static str, call: &str, example: &str) -> Read<Word> {
        let span = self.here();
        match self.kind(0).clone() {
            Kind::Literal(Literal::Text(text)) => {
                self.advance();
                Ok(Word { text, at: At(span) })
            }
            Kind::Literal(Literal::Faulty) => Err(Unreadable),
            _ => {
                let written = if *self.kind(0) == Kind::Word { self.text(0).to_owned() } else { example.to_owned() };
                let message = format!("{} where a name between single quotes should be", self.found());
                self.error(code, span, message, format!("write `{call}('{written}')`"));
                Err(Unreadable)
            }
        }
    }

    fn parameters(&mut self) -> Read<Vec<Parameter>> {
        let Some(open) = self.eat(&Kind::Open) else {
            let message = format!("{} where the parameters of `MATCHES` should be", self.found());
            self.error(
                "segment.expected_parameters",
                self.here(),
                message,
                "write `MATCHES ()` or `MATCHES (count >= 2)`",
            );
            return Err(Unreadable);
        };
        let mut parameters: Vec<Parameter> = Vec::new();
        while !matches!(self.kind(0), Kind::Close | Kind::End) {
            self.count_clause()?;
            if *self.kind(0) != Kind::Word || self.any_keyword(0) {
                let message = format!("{} where a parameter should be", self.found());
                let hint = "write parameters as `(id = 1234, count >= 2)`";
                self.error("segment.expected_parameter", self.here(), message, hint);
                self.skip_parameter();
            } else {
                let name = self.word();
                if parameters.iter().any(|earlier| earlier.name == name) {
                    let message = format!("the parameter `{}` stands twice", name.text);
                    let hint = "use `BETWEEN` or `IN`, or two functions joined by `AND`";
                    self.error("segment.parameter_twice", name.at.0.clone(), message, hint);
                }
                match self.test(&name.text) {
                    Ok(test) => parameters.push(Parameter { name, test }),
                    Err(Unreadable) => self.skip_parameter(),
                }
            }
            if self.eat(&Kind::Comma).is_some() {
                if *self.kind(0) == Kind::Close {
                    let message = "a parameter is missing after the comma";
                    self.error("segment.expected_parameter", self.here(), message, "leave the comma out");
                }
            } else if !matches!(self.kind(0), Kind::Close | Kind::End) {
                let message = format!("{} where a comma should be", self.found());
                self.error("segment.missing_comma", self.here(), message, "parameters are joined by commas");
                if self.is_keyword(0, "AND") {
                    self.advance();
                } else if *self.kind(0) != Kind::Word {
                    self.skip_parameter();
                    self.eat(&Kind::Comma);
                } else if self.any_keyword(0) {
                    self.advance();
                    self.skip_parameter();
                    self.eat(&Kind::Comma);
                }
            }
        }
        self.close(open);
        Ok(parameters)
    }

    /// To the next comma or closing parenthesis on this level, or the end.
    pub(super) fn skip_parameter(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.kind(0) {
                Kind::End => return,
                Kind::Open => depth += 1,
                Kind::Close | Kind::Comma if depth == 0 => return,
                Kind::Close => depth -= 1,
                _ => {}
            }
            self.advance();
        }
    }

    fn test(&mut self, name: &str) -> Read<Test> {
        if let Kind::Cmp(op) = *self.kind(0) {
            self.advance();
            if self.is_keyword(0, "NULL") {
                let rewrite = if op == Cmp::Equal { "IS NULL" } else { "IS NOT NULL" };
                let span = self.advance();
                let message = "nothing is equal to NULL, not even a missing value";
                self.error("segment.equals_null", span, message, format!("write `{name} {rewrite}`"));
                return Err(Unreadable);
            }
            return Ok(Test::Compare { op, value: self.value()? });
        }
        if self.is_keyword(0, "IS") {
            self.advance();
            let negated = self.eat_keyword("NOT");
            if self.eat_keyword("NULL") {
                return Ok(Test::Null { negated });
            }
            let message = format!("{} where `NULL` should be", self.found());
            self.error(
                "segment.expected_null",
                self.here(),
                message,
                format!("write `{name} IS NULL`, or `=` for a value"),
            );
            return Err(Unreadable);
        }
        let negated = self.is_keyword(0, "NOT");
        let ahead = usize::from(negated);
        let known = ["BETWEEN", "IN", "CONTAINS", "STARTS"].into_iter().find(|keyword| self.is_keyword(ahead, keyword));
        let Some(keyword) = known else {
            return self.no_operator(name);
        };
        for _ in 0..=ahead {
            self.advance();
        }
        match keyword {
            "BETWEEN" => {
                let low = self.value()?;
                if !self.eat_keyword("AND") {
                    let message = format!("{} where `AND` and the upper end should be", self.found());
                    self.error(
                        "segment.expected_and",
                        self.here(),
                        message,
                        format!("write `{name} BETWEEN 1 AND 10`"),
                    );
                    return Err(Unreadable);
                }
                Ok(Test::Between { negated, low, high: self.value()? })
            }
            "IN" => Ok(Test::In { negated, values: self.values(name)? }),
            "CONTAINS" => Ok(Test::Contains { negated, value: self.value()? }),
            _ => {
                if !self.eat_keyword("WITH") {
                    let message = format!("{} where `WITH` should be", self.found());
                    self.error(
                        "segment.expected_with",
                        self.here(),
                        message,
                        format!("write `{name} STARTS WITH 'a'`"),
                    );
                    return Err(Unreadable);
                }
                Ok(Test::StartsWith { negated, value: self.value()? })
            }
        }
    }

    fn no_operator(&mut self, name: &str) -> Read<Test> {
        let message = format!("{} where a comparison of `{name}` should be", self.found());
        let like = ["LIKE", "ILIKE", "REGEXP"].iter().any(|word| self.is_keyword(0, word));
        let hint = if like {
            format!("write `{name} CONTAINS 'part'` or `{name} STARTS WITH 'beginning'`")
        } else {
            "the comparisons are = != < <= > >= BETWEEN, IN, CONTAINS, STARTS WITH, IS NULL, and MATCHES for functions"
                .to_owned()
        };
        self.error("segment.unknown_operator", self.here(), message, hint);
        Err(Unreadable)
    }
}
