//! What went wrong with a statement or a login, in words that both doors can say: an SQLSTATE, a message, a hint.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use super::catalog::is_published;
use super::path::{self, SIGN};
use super::pg::CATALOG;
use crate::diagnostic::nearest;
use crate::error::{Error, Kind};

/// A failure as clients are told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Postgres's five letters for it.
    pub state: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write or do instead.
    pub hint: Option<String>,
}

impl Fault {
    pub(super) fn new(state: &'static str, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), hint: None }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn read_only() -> Self {
        Self::new("25006", "only queries are answered here: what is published is read-only")
            .hint("write a `SELECT`; tables are published by `alluvial run`")
    }

    pub(super) fn cancelled() -> Self {
        Self::new("57014", "the statement was cancelled on request")
    }

    pub(super) fn timeout() -> Self {
        Self::new("57014", "the statement took longer than it may").hint(
            "ask for less, `SET statement_timeout` to more, or raise `[serve] statement_timeout` in alluvial.toml",
        )
    }

    pub(super) fn stopped() -> Self {
        Self::new("57P01", "the server is stopping").hint("connect again in a moment")
    }

    pub(super) fn revoked() -> Self {
        Self::new("57P01", "the user was revoked or has expired")
    }

    pub(super) fn terminated() -> Self {
        Self::new("57P01", "the session was ended by `pg_terminate_backend`")
    }

    pub(super) fn too_many_rows(limit: u64) -> Self {
        Self::new("54000", format!("the statement gives more than {limit} rows"))
            .hint("write a `LIMIT`, or raise `[serve] max_rows` in alluvial.toml")
    }

    pub(super) fn login(name: &str) -> Self {
        Self::new("28P01", format!("`{name}` could not be logged in"))
            .hint("`alluvial user list` lists the users; a secret is shown once, when its user is added")
    }

    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }

    /// What is wrong with a statement, in the names that people know. `known` are the tables that can be named.
    pub(super) fn of(error: DataFusionError, known: &[String]) -> Self {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::of(*inner, known),
            DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
                Ok(inner) => Self::of(inner, known),
                Err(shared) => Self::new(text_state(&shared.to_string()), shared.to_string()),
            },
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => Self::of(first, known),
                None => Self::new("XX000", "the statement failed"),
            },
            DataFusionError::External(inner) => match inner.downcast::<Fault>() {
                Ok(ours) => *ours,
                Err(inner) => Self::from(Error::from(DataFusionError::External(inner))),
            },
            DataFusionError::Plan(message) => Self::of_plan(message, known),
            DataFusionError::SchemaError(inner, _) => match *inner {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let columns: Vec<&str> = valid_fields.iter().map(|field| field.name()).collect();
                    let fault = Self::new("42703", format!("there is no column `{}`", field.name));
                    match nearest(&field.name, columns.iter().copied()) {
                        Some(near) => fault.hint(format!("did you mean `{near}`?")),
                        None if columns.is_empty() => fault,
                        None => fault.hint(format!("there are {}", columns.join(", "))),
                    }
                }
                SchemaError::AmbiguousReference { field } => {
                    Self::new("42702", format!("`{}` can be a column of several tables", field.name))
                        .hint("write the table before it, as in `p.customer_id`")
                }
                other => Self::new("42701", other.to_string()),
            },
            DataFusionError::SQL(error, _) => Self::new("42601", error.to_string()),
            DataFusionError::NotImplemented(message) => Self::new("0A000", message),
            DataFusionError::ResourcesExhausted(_) => {
                Self::new("53200", "the statement needs more memory than the server may use")
                    .hint("ask for less at once, or raise `[engine] memory_limit` in alluvial.toml")
            }
            DataFusionError::ArrowError(error, _) => {
                let text = error.to_string();
                Self::new(text_state(&text), text)
            }
            DataFusionError::Execution(message) => Self::new(text_state(&message), message),
            other => Self::from(Error::from(other)),
        }
    }

    /// A table that is in no schema of a session's `search_path`.
    fn not_on_path(path: &str, name: &str, known: &[String]) -> Self {
        if path.split(',').any(|schema| schema == path::DEFAULT) {
            return Self::of_plan(format!("table '{CATALOG}.{}.{name}' not found", path::DEFAULT), known);
        }
        let fault = Self::new("42P01", format!("there is no table `{name}` in the schemas of `search_path`"));
        let elsewhere =
            known.iter().find(|table| *table == name || table.rsplit_once('.').is_some_and(|(_, n)| n == name));
        match elsewhere {
            Some(table) if table.contains('.') => fault.hint(format!("write `{table}`")),
            Some(table) => fault.hint(format!("write `{}.{table}`", path::DEFAULT)),
            None => fault.hint("write the schema before it, or `RESET search_path`"),
        }
    }

    fn of_plan(message: String, known: &[String]) -> Self {
        if message.contains("not supported: ") && ["DDL", "DML", "Statement"].iter().any(|w| message.starts_with(w)) {
            return Self::read_only();
        }
        if let Some(missing) = message.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found")) {
            let missing = missing.strip_prefix(&format!("{CATALOG}.")).unwrap_or(missing);
            if let Some((path, name)) = missing.strip_prefix(SIGN).and_then(|rest| rest.rsplit_once('.')) {
                return Self::not_on_path(path, name, known);
            }
            let name = missing.strip_prefix("public.").unwrap_or(missing);
            if is_published(name.strip_suffix("_latest").unwrap_or(name)) || name.starts_with("landing.") {
                return Self::new("42501", format!("the user may not read `{name}`"))
                    .hint("contacts are for marketers, landed data is for admins: see `alluvial user add --help`");
            }
            let fault = Self::new("42P01", format!("there is no table `{name}`"));
            return match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => {
                    fault.hint("`SELECT table_schema, table_name FROM information_schema.tables` lists what there is")
                }
            };
        }
        let state = match () {
            () if message.contains("nvalid function") => "42883",
            () if message.contains("is kept for the newest published day only") => "55000",
            () if message.contains("type_coercion") || message.contains("Cannot coerce") => "42804",
            () => "42000",
        };
        Self::new(state, message)
    }
}

/// The SQLSTATE of what was found out only as rows were computed.
fn text_state(text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    match () {
        () if text.contains("divide by zero") => "22012",
        () if text.contains("overflow") || text.contains("out of range") => "22003",
        () if text.contains("cast") || text.contains("parse") || text.contains("convert") => "22P02",
        () if text.contains("resources exhausted") || text.contains("memory") => "53200",
        () => "XX000",
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let state = match (error.kind(), error.code()) {
            (_, "engine.sql_syntax") => "42601",
            (_, "engine.sql_name") => "42703",
            (_, "snapshot.no_such_day") => "22023",
            (Kind::Usage, _) => "08P01",
            (Kind::Definition, _) => "42000",
            (Kind::Input, _) => "22000",
            (Kind::NotFound, _) => "58P01",
            (Kind::Superseded, _) => "55000",
            (Kind::Transient | Kind::Storage, _) => "58030",
            (Kind::Resources, _) => "53200",
            (Kind::Internal, _) => "XX000",
        };
        let fault = Self::new(state, error.to_string());
        match error.hint() {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}

impl From<DataFusionError> for Fault {
    fn from(error: DataFusionError) -> Self {
        Self::of(error, &[])
    }
}

impl From<Fault> for DataFusionError {
    fn from(fault: Fault) -> Self {
        Self::External(Box::new(fault))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_state() {
        let plan = |text: &str| Fault::of(DataFusionError::Plan(text.to_owned()), &["segment_sizes".to_owned()]);
        let fault = plan("table 'alluvial.public.segment_size' not found");
        assert_eq!((fault.state, fault.hint.as_deref()), ("42P01", Some("did you mean `segment_sizes`?")));
        assert_eq!(plan("table 'alluvial.public.customer_contacts' not found").state, "42501");
        assert_eq!(plan("table 'alluvial.landing.orders' not found").state, "42501");
        assert_eq!(plan("table 'alluvial.search_path:segment,public.orders' not found").state, "42501");
        let fault = plan("table 'alluvial.search_path:segment.segment_sizes' not found");
        assert_eq!((fault.state, fault.hint.as_deref()), ("42P01", Some("write `public.segment_sizes`")));
        assert_eq!(plan("DDL not supported: CreateExternalTable").state, "25006");
        assert_eq!(plan("Invalid function 'foo'").state, "42883");
        assert_eq!(Fault::of(DataFusionError::ResourcesExhausted("x".into()), &[]).state, "53200");
        let zero = DataFusionError::ArrowError(Box::new(arrow::error::ArrowError::DivideByZero), None);
        assert_eq!(Fault::of(zero, &[]).state, "22012");
        let own = DataFusionError::from(Fault::timeout());
        assert_eq!(Fault::of(own, &[]).state, "57014");
    }
}
