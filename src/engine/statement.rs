//! SQL files: built in, or overridden by a project's file of the same name.

use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::scalar::ScalarValue;

use super::Engine;
use crate::error::{Error, Result};

/// One SQL file of `sql/`: its path below that folder without the ending, and the text that is built in.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// `profile/orders` for `sql/profile/orders.sql`.
    pub name: &'static str,
    /// The built-in text.
    pub text: &'static str,
}

/// Named parameters (`$as_of`) of a statement.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, ScalarValue)>);

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<ScalarValue>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    fn values(&self) -> ParamValues {
        ParamValues::Map(
            self.0.iter().map(|(name, value)| (name.clone(), ScalarAndMetadata::new(value.clone(), None))).collect(),
        )
    }
}

impl Engine {
    /// The text of a statement: the project's own file where it has one, else the built-in.
    ///
    /// # Errors
    /// When the project's file cannot be read.
    pub fn text(&self, statement: &Statement) -> Result<String> {
        let Some(path) = self.override_of(statement) else { return Ok(statement.text.to_owned()) };
        std::fs::read_to_string(&path).map_err(|error| Error::from(error).in_file(path.display().to_string()))
    }

    /// The project's own file for a statement, where it has one that says something else than the built-in text.
    pub fn override_of(&self, statement: &Statement) -> Option<std::path::PathBuf> {
        let path = self.overrides()?.join(format!("{}.sql", statement.name));
        let text = std::fs::read_to_string(&path).ok()?;
        (text.trim() != statement.text.trim()).then_some(path)
    }

    /// Plans a statement in a session.
    ///
    /// # Errors
    /// What DataFusion says of the text, with the file's name.
    pub async fn plan(&self, session: &SessionContext, statement: &Statement, params: &Params) -> Result<DataFrame> {
        let text = self.text(statement)?;
        let frame = plan_text(session, &text, params).await;
        frame.map_err(|error| error.in_file(format!("sql/{}.sql", statement.name)))
    }
}

/// Plans SQL text with named parameters.
///
/// # Errors
/// What DataFusion says of the text.
pub async fn plan_text(session: &SessionContext, text: &str, params: &Params) -> Result<DataFrame> {
    let frame = Box::pin(session.sql(text)).await?;
    if params.0.is_empty() {
        return Ok(frame);
    }
    Ok(frame.with_param_values(params.values())?)
}

/// A string as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as an SQL identifier that keeps its case.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
