//! From text to tokens. What cannot be read becomes a faulty token and a finding, and reading goes on.

use super::value::{Date, Decimal, Unit};
use super::{Cmp, Literal};
use crate::diagnostic::{Diagnostic, Span};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// A string, number or date; faulty ones have been told of.
    Literal(Literal),
    Cmp(Cmp),
    Open,
    Close,
    Comma,
    Colon,
    Minus,
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

pub(super) struct Lexed {
    pub(super) tokens: Vec<Token>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// The tokens of `source`; the last is always `End`.
pub(super) fn lex(source: &str) -> Lexed {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new(), diagnostics: Vec::new() };
    while lexer.at < source.len() {
        lexer.token();
    }
    lexer.tokens.push(Token { kind: Kind::End, span: source.len()..source.len() });
    Lexed { tokens: lexer.tokens, diagnostics: lexer.diagnostics }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Token>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn after(&self, bytes: usize) -> Option<char> {
        self.rest().get(bytes..).and_then(|rest| rest.chars().next())
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let span = self.at..self.at + length;
        self.at = span.end;
        self.tokens.push(Token { kind, span });
    }

    fn error(&mut self, code: &'static str, span: Span, message: String, hint: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, span, message).with_hint(hint));
    }

    fn token(&mut self) {
        let Some(first) = self.peek() else { return };
        match first {
            _ if first.is_whitespace() || first == '\u{feff}' => self.at += first.len_utf8(),
            '-' if self.rest().starts_with("--") => {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            }
            '/' if self.rest().starts_with("/*") => match self.rest().find("*/") {
                Some(end) => self.at += end + 2,
                None => {
                    let span = self.at..self.at + 2;
                    self.error(
                        "segment.unclosed_comment",
                        span,
                        "this comment does not end".into(),
                        "close it with `*/`",
                    );
                    self.at = self.source.len();
                }
            },
            '(' => self.push(Kind::Open, 1),
            ')' => self.push(Kind::Close, 1),
            ',' => self.push(Kind::Comma, 1),
            ':' => self.push(Kind::Colon, 1),
            '\'' => self.string(),
            '"' | '‘' | '’' | '“' | '”' | '`' | '´' => self.other_quotes(first),
            '=' | '!' | '<' | '>' => self.comparison(first),
            '-' | '+' if self.after(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            '-' => self.push(Kind::Minus, 1),
            _ if first.is_ascii_digit() => self.number(),
            _ if first.is_alphabetic() || first == '_' => self.word(),
            _ => self.unknown(),
        }
    }

    fn comparison(&mut self, first: char) {
        let second = self.after(1);
        let (cmp, length) = match (first, second) {
            ('=', Some('=')) => {
                let span = self.at..self.at + 2;
                self.error("segment.unknown_operator", span, "`==` is no comparison".into(), "write `=`");
                (Cmp::Equal, 2)
            }
            ('<', Some('>')) => {
                let span = self.at..self.at + 2;
                self.error("segment.unknown_operator", span, "`<>` is no comparison".into(), "write `!=`");
                (Cmp::NotEqual, 2)
            }
            ('=', _) => (Cmp::Equal, 1),
            ('!', Some('=')) => (Cmp::NotEqual, 2),
            ('<', Some('=')) => (Cmp::LessOrEqual, 2),
            ('<', _) => (Cmp::Less, 1),
            ('>', Some('=')) => (Cmp::GreaterOrEqual, 2),
            ('>', _) => (Cmp::Greater, 1),
            _ => return self.unknown(),
        };
        self.push(Kind::Cmp(cmp), length);
    }

    fn unknown(&mut self) {
        let run: usize = self
            .rest()
            .chars()
            .take_while(|next| !next.is_alphanumeric() && !next.is_whitespace() && !"_()',:=\"-+/".contains(*next))
            .map(char::len_utf8)
            .sum();
        let run = run.max(self.peek().map_or(1, char::len_utf8));
        let text = &self.rest()[..run];
        let hint = match text {
            ";" => "leave it out: a query is one expression",
            "&&" | "&" => "write `AND`",
            "|" | "||" => "write `OR`",
            "!" => "write `NOT`",
            "[" | "]" | "{" | "}" => "use round parentheses",
            _ => "leave it out, or put text between single quotes",
        };
        let span = self.at..self.at + run;
        let joins = matches!(text, "&&" | "||" | "!");
        self.error("segment.unknown_character", span.clone(), format!("`{text}` means nothing here"), hint);
        if joins {
            self.push(Kind::Word, run);
        } else {
            self.at = span.end;
        }
    }

    /// `'…'` with `\'`, `''` and `\\` inside.
    fn string(&mut self) {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((offset, next)) = chars.next() {
            match next {
                '\'' if chars.peek().is_some_and(|(_, after)| *after == '\'') => {
                    chars.next();
                    text.push('\'');
                }
                '\'' => return self.push(Kind::Literal(Literal::Text(text)), offset + 1),
                '\\' => match chars.peek().copied() {
                    Some((_, escaped @ ('\'' | '\\'))) => {
                        chars.next();
                        text.push(escaped);
                    }
                    Some((_, other)) => {
                        let span = start + offset..start + offset + 1 + other.len_utf8();
                        let message = format!("`\\{}` means nothing in a string", other.escape_default());
                        self.diagnostics.push(
                            Diagnostic::error("segment.bad_escape", span, message)
                                .with_hint("a backslash is written `\\\\`, a quote `\\'` or `''`"),
                        );
                        chars.next();
                        text.push(other);
                    }
                    None => {}
                },
                other => text.push(other),
            }
        }
        // The rest of the line is taken for the string, so that later lines are still looked at.
        let end = self.rest().find('\n').unwrap_or(self.rest().len());
        let span = start..start + end.max(1);
        self.error("segment.unclosed_string", span, "this string does not end".into(), "close it with `'`");
        self.push(Kind::Literal(Literal::Faulty), end.max(1));
    }

    /// Double and typographic quotes, which word processors and SQL habits bring along.
    fn other_quotes(&mut self, first: char) {
        let opening = first.len_utf8();
        let inner = &self.rest()[opening..];
        let closing = match first {
            '‘' | '’' => ['’', '‘'],
            '“' | '”' => ['”', '“'],
            other => [other, other],
        };
        let found =
            inner.find(closing).and_then(|end| inner[end..].chars().next().map(|quote| (end, quote.len_utf8())));
        let (text, length) = match found {
            Some((end, quote)) if !inner[..end].contains('\n') => (&inner[..end], opening + end + quote),
            _ => ("", opening),
        };
        let hint =
            if text.is_empty() { "write `'`".to_owned() } else { format!("write {}", super::print::quoted(text)) };
        let span = self.at..self.at + length;
        self.error("segment.wrong_quotes", span, "text stands between straight single quotes".into(), hint);
        self.push(Kind::Literal(Literal::Faulty), length);
    }

    /// A name, with dots between its parts; a hyphen is part of a name after its first dot (metafield keys have them).
    fn word(&mut self) {
        let rest = self.rest();
        let mut dotted = false;
        let mut end = 0;
        let mut chars = rest.char_indices().peekable();
        while let Some((offset, next)) = chars.next() {
            let joins = |after: Option<&(usize, char)>| after.is_some_and(|(_, c)| c.is_alphanumeric() || *c == '_');
            match next {
                _ if next.is_alphanumeric() || next == '_' => {}
                '.' if joins(chars.peek()) => dotted = true,
                '-' if dotted && joins(chars.peek()) => {}
                _ => break,
            }
            end = offset + next.len_utf8();
        }
        self.push(Kind::Word, end);
    }

    /// A number, a date, or what people take for one.
    fn number(&mut self) {
        let rest = self.rest();
        let signed = rest.starts_with(['-', '+']);
        let digits = rest.bytes().skip(usize::from(signed)).take_while(u8::is_ascii_digit).count();
        let dashed = rest.as_bytes().get(digits) == Some(&b'-')
            && rest.as_bytes().get(digits + 1).is_some_and(u8::is_ascii_digit);
        let dated = !signed && digits == 4 && dashed;
        let mut timed = false;
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(offset, next)| {
                timed |= dated && *next == 'T';
                let follows = rest[offset + next.len_utf8()..].chars().next().is_some_and(char::is_alphanumeric);
                let inside = next.is_alphanumeric()
                    || *next == '_'
                    || (matches!(next, '.' | ':') && follows)
                    || (*next == '-' && dated && follows)
                    || (*next == '+' && timed && follows);
                !inside
            })
            .map_or(rest.len(), |(offset, _)| offset);
        let text = &rest[..end];
        let span = self.at..self.at + end;
        let literal = if dated { self.date(text, span) } else { self.plain_number(text, span) };
        self.push(Kind::Literal(literal), end);
    }

    fn date(&mut self, text: &str, span: Span) -> Literal {
        if let Some(date) = Date::parse(text) {
            return Literal::Date(date);
        }
        let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
        let shaped = day.len() == 10 && day.split('-').map(str::len).eq([4, 2, 2]);
        if shaped && Date::parse(day).is_none() {
            let message = format!("{day} is a day that does not exist");
            self.error("segment.no_such_date", span, message, "write a day of the calendar as `yyyy-mm-dd`");
        } else if let (true, Some(time)) = (shaped, time) {
            let message = format!("`{time}` is not a time of the day");
            let hint = match Date::parse(&format!("{text}:00")) {
                Some(date) => format!("write `{date}`"),
                None => "write `yyyy-mm-ddTHH:MM:SS` in the shop's local time, without a zone".to_owned(),
            };
            self.error("segment.no_such_date", span, message, hint);
        } else {
            let parts: Vec<Option<u32>> = day.split('-').map(|part| part.parse().ok()).collect();
            let hint = match parts.as_slice() {
                [Some(year), Some(month), Some(day)] if *month < 100 && *day < 100 => {
                    format!("write `{year:04}-{month:02}-{day:02}`")
                }
                _ => "write a day as `yyyy-mm-dd`, such as `2026-11-19`".to_owned(),
            };
            self.error("segment.bad_date", span, format!("`{text}` is not a date"), hint);
        }
        Literal::Faulty
    }

    fn plain_number(&mut self, text: &str, span: Span) -> Literal {
        let unsigned = text.trim_start_matches(['-', '+']);
        if let Some(literal) = self.relative(text, unsigned, &span) {
            return literal;
        }
        if let Some(literal) = self.time_alone(unsigned, &span) {
            return literal;
        }
        let (message, hint) = if text.starts_with('+') && Decimal::parse(unsigned).is_some() {
            (format!("`{text}` has a sign that numbers do not take"), format!("write `{unsigned}`"))
        } else if unsigned.len() > 1 && unsigned.starts_with('0') && !unsigned.starts_with("0.") {
            (
                format!("`{text}` begins with a zero"),
                format!("write an id as `'{unsigned}'`, a number without the zero"),
            )
        } else if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
            match text.parse() {
                Ok(number) => return Literal::Integer(number),
                Err(_) => (format!("`{text}` is too large a number"), format!("write an id as `'{unsigned}'`")),
            }
        } else {
            match Decimal::parse(text) {
                Some(number) => return Literal::Decimal(number),
                None if unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                    && unsigned.matches('.').count() == 1 =>
                {
                    (format!("`{text}` has more than 37 digits"), "write a shorter number".to_owned())
                }
                None => (
                    format!("`{text}` is not a number"),
                    "write `10`, `10.99`, or text between single quotes".to_owned(),
                ),
            }
        };
        self.error("segment.bad_number", span, message, hint);
        Literal::Faulty
    }

    /// `-30d`, `7_days_ago`, and the near misses of both.
    fn relative(&mut self, text: &str, unsigned: &str, span: &Span) -> Option<Literal> {
        let digits = unsigned.find(|next: char| !next.is_ascii_digit()).unwrap_or(unsigned.len());
        let (amount, unit) = unsigned.split_at(digits);
        let ago = unit.to_ascii_lowercase();
        let letter = match ago.as_str() {
            "d" | "w" | "m" | "y" => ago.chars().next(),
            "_days_ago" | "_day_ago" => Some('d'),
            "_weeks_ago" | "_week_ago" => Some('w'),
            "_months_ago" | "_month_ago" => Some('m'),
            "_years_ago" | "_year_ago" => Some('y'),
            _ => None,
        }?;
        let signed = text.starts_with(['-', '+']);
        if ago.len() > 1 && !signed {
            let rewrite = format!("-{amount}{letter}");
            let Some(date) = Date::parse(&rewrite) else { return Some(self.too_far(text, span, letter)) };
            let warning =
                Diagnostic::warning("segment.older_spelling", span.clone(), format!("`{text}` is an older spelling"));
            self.diagnostics.push(warning.with_hint(format!("write `{rewrite}`")));
            return Some(Literal::Date(date));
        }
        if !signed {
            let message = format!("`{text}` does not say whether it is before or after the as-of date");
            self.error("segment.bad_date", span.clone(), message, format!("write `-{text}` or `+{text}`"));
            return Some(Literal::Faulty);
        }
        match Date::parse(&format!("{}{amount}{letter}", &text[..1])) {
            Some(date) if ago.len() == 1 => Some(Literal::Date(date)),
            Some(_) => {
                let message = format!("`{text}` mixes two spellings");
                self.error("segment.bad_date", span.clone(), message, format!("write `-{amount}{letter}`"));
                Some(Literal::Faulty)
            }
            None => Some(self.too_far(text, span, letter)),
        }
    }

    fn too_far(&mut self, text: &str, span: &Span, letter: char) -> Literal {
        let most = Unit::of(letter).map_or(0, Unit::max_amount);
        let message = format!("`{text}` is over a thousand years away");
        self.error("segment.bad_date", span.clone(), message, format!("write at most `{most}{letter}`"));
        Literal::Faulty
    }

    /// `1pm`, `13:00`: a day is missing.
    fn time_alone(&mut self, text: &str, span: &Span) -> Option<Literal> {
        let lower = text.to_ascii_lowercase();
        let clock = lower.strip_suffix("am").or_else(|| lower.strip_suffix("pm")).unwrap_or(&lower);
        let spelled = clock.len() < lower.len();
        let shaped = !clock.is_empty() && clock.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        if !shaped || !(spelled || clock.contains(':')) {
            return None;
        }
        let message = format!("`{text}` is a time without a day");
        self.error("segment.time_alone", span.clone(), message, "write the day too: `2026-11-19T13:00:00`");
        Some(Literal::Faulty)
    }
}
