//! Spans, codes, the underlined rendering of what is wrong in a text that a person wrote, and the nearest known name.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A half-open range of byte offsets into a source text.
pub type Span = Range<usize>;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// The text is used as it stands, but is probably not what its writer meant.
    Warning,
}

/// One finding in a text: what is wrong at which place, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// Whether it stops the text from being used.
    pub severity: Severity,
    /// A stable dotted code for programs, such as `segment.unknown_attribute`.
    pub code: &'static str,
    /// What is wrong, in the reader's words.
    pub message: String,
    /// The bytes of the text that it is about.
    pub span: Span,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding that stops the text from being used.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), span, hint: None }
    }

    /// A finding that does not.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, code, message: message.into(), span, hint: None }
    }

    /// Says what to write instead.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The finding with its text underlined, for a terminal (`color`) or a plain file.
    pub fn render(&self, origin: &str, source: &str, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let end = self.span.end.min(source.len());
        let span = self.span.start.min(end)..end;
        let group =
            level.clone().primary_title(self.message.as_str()).id(self.code).element(
                Snippet::source(source).path(origin).fold(true).annotation(AnnotationKind::Primary.span(span)),
            );
        let group = match &self.hint {
            Some(hint) => group.element(Level::HELP.message(hint.as_str())),
            None => group,
        };
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group]).to_string()
    }
}

/// 1-based line and column (in characters) of a byte offset.
pub fn line_and_column(source: &str, offset: usize) -> (u64, u64) {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &source[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() as u64 + 1;
    (line, before[line_start..].chars().count() as u64 + 1)
}

/// The candidate nearest to a misspelt `name`, if one is near enough to suggest. Ties go to the first in sort order.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (wanted.chars().count().max(candidate.chars().count()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_close_or_none() {
        assert_eq!(nearest("amuont_spent", ["amount_spent", "country"]), Some("amount_spent"));
        assert_eq!(nearest("zebra", ["amount_spent", "country"]), None);
    }

    #[test]
    fn positions_count_characters() {
        assert_eq!(line_and_column("a\nbø = 1", 5), (2, 3));
    }
}
