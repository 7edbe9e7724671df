//! Everything that is wrong with a project's files, at once.

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, line_and_column};
use crate::error::Error;

/// One fault: a finding in a text that a person wrote, or one that has no text to point into (a variable of the
/// environment, a flag).
#[derive(Debug)]
pub enum Fault {
    /// A finding in a file's text.
    Text {
        /// The file, as the user would write it.
        origin: Arc<str>,
        /// The file's whole text, to underline in.
        source: Arc<str>,
        /// What is wrong, and where.
        diagnostic: Diagnostic,
    },
    /// A fault outside any text.
    Other(Error),
}

/// The faults of one or more files, in the order of their places. Travels as the source of an [`Error`].
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Fault {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Text { diagnostic, .. } => diagnostic.code,
            Fault::Other(error) => error.code(),
        }
    }

    /// The fault as an error with its file, line and column.
    pub fn to_error(&self) -> Error {
        match self {
            Fault::Text { origin, source, diagnostic } => {
                let (line, column) = line_and_column(source, diagnostic.span.start);
                let error = Error::definition(diagnostic.code, diagnostic.message.clone())
                    .in_file(origin.as_ref())
                    .at_line(line, Some(column));
                match &diagnostic.hint {
                    Some(hint) => error.with_hint(hint.clone()),
                    None => error,
                }
            }
            Fault::Other(error) => {
                let copy = Error::new(error.kind(), error.code(), error.message());
                let copy = match &error.place().file {
                    Some(file) => copy.in_file(file.clone()),
                    None => copy,
                };
                match error.hint() {
                    Some(hint) => copy.with_hint(hint),
                    None => copy,
                }
            }
        }
    }

    fn position(&self) -> (u8, &str, usize) {
        match self {
            Fault::Text { origin, diagnostic, .. } => (0, origin, diagnostic.span.start),
            Fault::Other(error) => (1, error.place().file.as_deref().unwrap_or_default(), 0),
        }
    }
}

impl Faults {
    /// The faults, in the order of their places.
    pub fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| a.position().cmp(&b.position()));
        Self(faults)
    }

    /// Adds the faults of another file.
    pub fn extend(&mut self, other: Faults) {
        self.0.extend(other.0);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each fault in turn.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", fault.to_error())?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl From<Faults> for Error {
    /// One fault becomes an error of its own code; several become one that counts them. The faults stay underneath.
    fn from(faults: Faults) -> Self {
        let error = match faults.0.as_slice() {
            [only] => only.to_error(),
            several => Error::definition("config.faults", format!("{} faults were found", several.len())),
        };
        error.with_source(faults)
    }
}
