//! Where the characters of a TOML string stand in the file, so that a fault inside a query is underlined there.

use crate::diagnostic::Span;

/// For each byte of the text, and for its end, the byte of the file that it came from.
#[derive(Debug, Clone)]
pub(super) struct Offsets {
    whole: Span,
    each: Vec<usize>,
}

impl Offsets {
    /// The offsets of a string that is written at `span` (quotes included) and means `text`.
    pub(super) fn of_string(source: &str, span: Span, text: &str) -> Self {
        let raw = source.get(span.clone()).unwrap_or_default();
        let each = match decode(raw, span.start, text.contains("\r\n")) {
            Some((decoded, each)) if decoded == text => each,
            // A spelling that is not known here: the whole string is underlined then.
            _ => Vec::new(),
        };
        Self { whole: span, each }
    }

    /// A span of the text as one of the file.
    pub(super) fn span(&self, span: &Span) -> Span {
        match (self.each.get(span.start), self.each.get(span.end)) {
            (Some(start), Some(end)) => *start..(*end).max(*start),
            _ => self.whole.clone(),
        }
    }
}

/// `returns`: whether the parser kept the carriage returns of line breaks.
fn decode(raw: &str, start: usize, returns: bool) -> Option<(String, Vec<usize>)> {
    let (quotes, escapes) = match raw {
        _ if raw.starts_with("\"\"\"") => ("\"\"\"", true),
        _ if raw.starts_with("'''") => ("'''", false),
        _ if raw.starts_with('"') => ("\"", true),
        _ if raw.starts_with('\'') => ("'", false),
        _ => return None,
    };
    let inner = raw.strip_prefix(quotes)?.strip_suffix(quotes)?;
    let mut at = quotes.len();
    // A line break right after the opening quotes is none of the text.
    let inner = if quotes.len() == 3 {
        let trimmed = inner.strip_prefix("\r\n").or_else(|| inner.strip_prefix('\n')).unwrap_or(inner);
        at += inner.len() - trimmed.len();
        trimmed
    } else {
        inner
    };
    let mut text = String::new();
    let mut each = Vec::new();
    let mut rest = inner;
    while let Some(next) = rest.chars().next() {
        let (decoded, length) = match next {
            '\\' if escapes => escape(rest)?,
            '\r' if !returns && rest.starts_with("\r\n") => (Some('\n'), 2),
            other => (Some(other), other.len_utf8()),
        };
        if let Some(decoded) = decoded {
            text.push(decoded);
            each.extend(std::iter::repeat_n(start + at, decoded.len_utf8()));
        }
        at += length;
        rest = rest.get(length..)?;
    }
    each.push(start + at);
    Some((text, each))
}

/// What an escape at the beginning of `rest` means (nothing for an escaped line break), and how long it is.
fn escape(rest: &str) -> Option<(Option<char>, usize)> {
    let letter = rest.chars().nth(1)?;
    let hex = |digits: usize| {
        let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
        Some((Some(char::from_u32(code)?), 2 + digits))
    };
    Some(match letter {
        'b' => (Some('\u{8}'), 2),
        't' => (Some('\t'), 2),
        'n' => (Some('\n'), 2),
        'f' => (Some('\u{c}'), 2),
        'r' => (Some('\r'), 2),
        'e' => (Some('\u{1b}'), 2),
        '"' => (Some('"'), 2),
        '\\' => (Some('\\'), 2),
        'x' => return hex(2),
        'u' => return hex(4),
        'U' => return hex(8),
        _ if letter.is_whitespace() => {
            let blank = rest.get(1..)?;
            (None, 1 + blank.len() - blank.trim_start_matches([' ', '\t', '\n', '\r']).len())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_string_maps_back_to_the_file() {
        for raw in ["\"a = 'ø' x\"", "'a = x'", "\"\"\"\na \\\n   x\"\"\"", "'''\n\na x'''", "\"\\u00f8 \\\"x\""] {
            let source = format!("query = {raw} # end");
            let table = toml::de::DeTable::parse(&source).expect("toml");
            let value = table.get_ref().get("query").expect("query");
            let text = value.get_ref().as_str().expect("text");
            let offsets = Offsets::of_string(&source, value.span(), text);
            let at = text.find('x').expect("x");
            let span = offsets.span(&(at..at + 1));
            assert_eq!(&source[span.clone()], "x", "{raw} at {span:?}");
        }
    }
}
