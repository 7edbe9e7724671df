//! Failures, classified by what the caller may do about them.
//!
//! An `crate::error::Error` is {stable code, message, place, hint}. Messages are lower case and say what would be right; they
//! never carry a customer's data. How an error looks on a terminal is decided in `crate::diagnostic` and `cli`.

use std::fmt;

/// What the caller may do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The command line is wrong: show the usage (exit code 2).
    Usage,
    /// A text that a person wrote (a segment, a job, a setting, an SQL file) is wrong: edit it.
    Definition,
    /// Landed data is wrong: land it again, or map it.
    Input,
    /// Something named does not exist: a segment, a customer, a published day.
    NotFound,
    /// Another run got there first, or holds the day: nothing to repair.
    Superseded,
    /// The store did not do what was asked; the same call may succeed later.
    Transient,
    /// The store refused for good: permissions, a full disk, a lake that lies about what it stored.
    Storage,
    /// The work does not fit the memory or disk that it was given.
    Resources,
    /// A fault of Alluvial itself.
    Internal,
}

/// Where a failure is: a file, and within it a row or a line and column, each as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file's path as the user would write it, or an object's key in the lake.
    pub file: Option<String>,
    /// 1-based line of a text file.
    pub line: Option<u64>,
    /// 1-based column (in characters) of a text file's line.
    pub column: Option<u64>,
    /// 0-based row of a data file.
    pub row: Option<u64>,
}

/// A failure: a stable code for programs, a message and a hint for people, and the place.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    code: &'static str,
    message: String,
    place: Place,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of anything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind` with a stable dotted `code` (`land.missing_column`).
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                code,
                message: message.into(),
                place: Place::default(),
                hint: None,
                source: None,
            }),
        }
    }

    /// A wrong command line.
    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, code, message)
    }

    /// A wrong text of a person's.
    pub fn definition(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Definition, code, message)
    }

    /// Wrong landed data.
    pub fn input(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Input, code, message)
    }

    /// A name that nothing has.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, code, message)
    }

    /// A store that refused.
    pub fn storage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Storage, code, message)
    }

    /// A fault of our own.
    pub fn internal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, code, message)
    }

    /// Says what to write or do instead.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Says first what was done before this went wrong, and what to do about it now.
    #[must_use]
    pub fn after(mut self, done: &str, hint: &str) -> Self {
        self.inner.message = format!("{done}: {}", self.inner.message);
        self.inner.hint = Some(hint.to_owned());
        self
    }

    /// The same failure without what is underneath, which is held elsewhere.
    fn told_again(&self) -> Self {
        let Inner { kind, code, message, place, hint, source: _ } = &*self.inner;
        let (message, place, hint) = (message.clone(), place.clone(), hint.clone());
        Self { inner: Box::new(Inner { kind: *kind, code, message, place, hint, source: None }) }
    }

    /// Names the file, unless a place closer to the fault has named one already.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.inner.place.file.get_or_insert(file.into());
        self
    }

    /// Names the file as people write it, whatever has named it before.
    #[must_use]
    pub fn with_file(mut self, file: impl Into<String>) -> Self {
        self.inner.place.file = Some(file.into());
        self
    }

    /// Names the 1-based line and column.
    #[must_use]
    pub fn at_line(mut self, line: u64, column: Option<u64>) -> Self {
        self.inner.place.line = Some(line);
        self.inner.place.column = column;
        self
    }

    /// Names the 0-based row of a data file.
    #[must_use]
    pub fn at_row(mut self, row: u64) -> Self {
        self.inner.place.row = Some(row);
        self
    }

    /// Keeps the failure underneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.inner.code
    }

    /// What is wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    /// What to write or do instead.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        if let Some(row) = self.row {
            write!(f, " row {row}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inner.place != Place::default() {
            write!(f, "{}: ", self.inner.place)?;
        }
        write!(f, "{}", self.inner.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|e| e as _)
    }
}

/// Whether an error goes back to a disk that has no room.
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<std::io::Error>().is_some_and(|io| matches!(io.kind(), StorageFull | QuotaExceeded)) {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// What is written elsewhere than into the lake, which says so itself, is what does not fit into memory.
fn full(error: impl fmt::Display + Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Resources, "engine.disk_full", format!("the disk for intermediate results is full: {error}"))
        .with_hint("make room in the folder for temporary files (`TMPDIR`), then run it again")
        .with_source(error)
}

fn memory(message: impl Into<String>) -> Error {
    Error::new(Kind::Resources, "engine.memory", message).with_hint("raise `[engine] memory_limit`, or lower `threads`")
}

/// A failure that others hold as well.
fn shared(error: std::sync::Arc<datafusion::error::DataFusionError>) -> Error {
    use datafusion::error::DataFusionError as Df;
    let root = error.find_root();
    match root {
        Df::External(inner) if let Some(ours) = inner.downcast_ref::<Error>() => ours.told_again(),
        Df::ResourcesExhausted(message) => memory(message),
        _ if is_full(root) => full(error),
        _ => Error::internal("engine.query", error.to_string()).with_source(error),
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    /// Our own errors come back out of DataFusion unchanged; out of memory and full disks are told apart.
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as Df;
        match error {
            Df::External(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) if is_full(other.as_ref()) => full(other),
                Err(other) => Error::internal("engine.external", other.to_string()).with_source(other),
            },
            Df::Context(_, inner) | Df::Diagnostic(_, inner) => Error::from(*inner),
            Df::ObjectStore(inner) => Error::from(*inner),
            Df::ParquetError(inner) => Error::from(*inner),
            Df::ResourcesExhausted(message) => memory(message),
            Df::SQL(inner, _) => Error::definition("engine.sql_syntax", inner.to_string()),
            Df::Plan(message) => Error::definition("engine.sql_plan", message),
            Df::SchemaError(inner, _) => Error::definition("engine.sql_name", inner.to_string()),
            Df::IoError(inner) => Error::from(inner),
            // One failure, told to every partition that waited for what failed.
            Df::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
                Ok(inner) => Error::from(inner),
                Err(inner) => shared(inner),
            },
            other if is_full(&other) => full(other),
            other => Error::internal("engine.query", other.to_string()).with_source(other),
        }
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::internal("engine.arrow", other.to_string()).with_source(other),
            },
            other if is_full(&other) => full(other),
            other => Error::internal("engine.arrow", other.to_string()).with_source(other),
        }
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        use parquet::errors::ParquetError::General;
        // Some of what the system says while a file is closed comes as text: 28 is "no space left on device".
        let told = matches!(&error, General(text) if text.contains("(os error 28)"));
        if told || is_full(&error) {
            return full(error);
        }
        Error::input("engine.parquet", error.to_string()).with_source(error)
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as Store;
        if is_full(&error) {
            return Error::new(Kind::Resources, "lake.full", "the disk of the lake is full")
                .with_hint("make room, then run the day again; what is published is untouched")
                .with_source(error);
        }
        let (kind, code) = match &error {
            Store::NotFound { .. } => (Kind::NotFound, "lake.not_found"),
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => (Kind::Storage, "lake.denied"),
            Store::AlreadyExists { .. } => (Kind::Superseded, "lake.already_exists"),
            Store::Generic { .. } => (Kind::Transient, "lake.store"),
            _ => (Kind::Storage, "lake.store"),
        };
        Error::new(kind, code, error.to_string()).with_source(error)
    }
}

impl From<deltalake_core::DeltaTableError> for Error {
    fn from(error: deltalake_core::DeltaTableError) -> Self {
        match error {
            deltalake_core::DeltaTableError::ObjectStore { source } => Error::from(source),
            other => Error::storage("lake.delta", other.to_string()).with_source(other),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) {
            return full(error);
        }
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::Storage,
        };
        Error::new(kind, "io", error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::error::ArrowError;
    use datafusion::error::DataFusionError;
    use parquet::errors::ParquetError;

    #[test]
    fn a_full_disk_is_told_as_one_however_it_comes() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let written = || ParquetError::External(Box::new(full()));
        for error in [
            Error::from(full()),
            Error::from(written()),
            Error::from(ParquetError::General(format!("closing: {}", std::io::Error::from_raw_os_error(28)))),
            Error::from(ArrowError::IoError("write".to_owned(), full())),
            Error::from(DataFusionError::IoError(full())),
            Error::from(DataFusionError::External(Box::new(full()))),
            Error::from(DataFusionError::ParquetError(Box::new(written()))),
            Error::from(DataFusionError::ArrowError(Box::new(ArrowError::ExternalError(Box::new(full()))), None)),
        ] {
            assert_eq!((error.kind(), error.code()), (Kind::Resources, "engine.disk_full"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("TMPDIR")));
        }
        // What else a disk refuses is something else.
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(Error::from(denied).kind(), Kind::Storage);
    }

    /// A failure that every partition of a plan is told is still what it is.
    #[test]
    fn what_others_hold_as_well_is_told_as_what_it_is() {
        let told = |error: DataFusionError, held: bool| {
            let error = std::sync::Arc::new(error);
            let other = held.then(|| std::sync::Arc::clone(&error));
            let told = Error::from(DataFusionError::Shared(error));
            drop(other);
            (told.kind(), told.code(), told.hint().map(str::to_owned))
        };
        for held in [false, true] {
            let (kind, code, hint) = told(DataFusionError::ResourcesExhausted("no room".to_owned()), held);
            assert_eq!((kind, code), (Kind::Resources, "engine.memory"));
            assert!(hint.is_some_and(|hint| hint.contains("memory_limit")));
            let ours = Error::input("land.test", "wrong").with_hint("right");
            let context = DataFusionError::from(ours).context("while joining");
            assert_eq!(told(context, held), (Kind::Input, "land.test", Some("right".to_owned())));
            let full = DataFusionError::IoError(std::io::Error::from(std::io::ErrorKind::StorageFull));
            assert_eq!(told(full, held).1, "engine.disk_full");
            let other = DataFusionError::Execution("broken".to_owned());
            assert_eq!(told(other, held).1, "engine.query");
        }
    }
}
