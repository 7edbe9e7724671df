//! A project that a command works on.

use chrono::NaiveDate;

use super::arguments::Globals;
use super::output::Output;
use crate::calendar::{Clock, add_days};
use crate::config::{Environment, Faults, Settings};
use crate::diagnostic::{Diagnostic, Severity};
use crate::error::{Error, Result};
use crate::land;
use crate::profile::catalogue::Catalogue;
use crate::segments::check::Rule;
use crate::segments::definition::Segments;
use crate::snapshot::segments::{catalogue, definitions, faults_error};
use crate::snapshot::setup::Project;

/// An open project, and the present.
pub struct Opened {
    /// The project.
    pub project: Project,
    /// Where the present comes from.
    pub clock: Clock,
}

impl Opened {
    /// Opens a project whose settings are read.
    ///
    /// # Errors
    /// See [`Project::open`].
    pub async fn new(settings: Settings, environment: &Environment, writes: bool) -> Result<Self> {
        let clock = environment.clock()?;
        let project = Box::pin(Project::open(settings, &environment.cloud(), writes)).await?;
        Ok(Self { project, clock })
    }

    /// The last complete day in the shop's zone.
    pub fn yesterday(&self) -> NaiveDate {
        let today = self.project.settings.project.zone.local_date(self.clock.now());
        add_days(today, -1).unwrap_or(today)
    }

    /// A day, if it is over in the shop's zone.
    ///
    /// # Errors
    /// `run.future_day` where it is not.
    pub fn complete(&self, day: NaiveDate) -> Result<NaiveDate> {
        let yesterday = self.yesterday();
        if day <= yesterday {
            return Ok(day);
        }
        Err(Error::input("run.future_day", format!("{day} is not over yet"))
            .with_hint(format!("the last day that can be computed is {yesterday}")))
    }

    /// What a query can name, as far as the landed files tell.
    ///
    /// # Errors
    /// Landed files that cannot be read, and faults of computed attributes.
    pub async fn catalogue(&self) -> Result<Catalogue> {
        let session = self.project.engine.session();
        let options = self.project.landing(self.yesterday(), self.clock.now());
        let found = Box::pin(land::find(&session, &self.project.sources, &options)).await?;
        Box::pin(catalogue(&self.project, &found.landed)).await.map(|(catalogue, _)| catalogue)
    }

    /// The project's segments, checked for a day.
    ///
    /// # Errors
    /// Every fault of every segment.
    pub fn segments(&self, catalogue: &Catalogue, as_of: NaiveDate) -> Result<Segments> {
        definitions(&self.project)?.check(catalogue, as_of).map_err(faults_error)
    }
}

/// The rule of a query on the command line; its warnings are said.
///
/// # Errors
/// Every fault of the query, underlined.
pub fn rule_of(
    query: &str,
    segments: &Segments,
    catalogue: &Catalogue,
    as_of: NaiveDate,
    output: &mut Output<'_>,
) -> Result<Rule> {
    let (rule, found) = segments.check_query(query, catalogue, as_of);
    let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) =
        found.into_iter().partition(|finding| finding.severity == Severity::Error);
    for warning in &warnings {
        let color = output.color();
        output.say(&warning.render("--query", query, color));
    }
    if errors.is_empty() {
        return rule.ok_or_else(|| Error::internal("cli.query", "the query has no fault and no rule"));
    }
    let texts = errors.into_iter().map(|diagnostic| crate::config::Fault::Text {
        origin: "--query".into(),
        source: query.into(),
        diagnostic,
    });
    Err(Faults::new(texts.collect()).into())
}

/// The globals and the environment that every command is called with.
pub struct Call<'a> {
    /// What every command takes.
    pub globals: &'a Globals,
    /// The environment.
    pub environment: &'a Environment,
}

impl Call<'_> {
    /// Reads the settings and runs `work` on a runtime of its own.
    ///
    /// # Errors
    /// Those of the settings and of the work.
    pub fn run<T>(
        &self,
        output: &mut Output<'_>,
        work: impl AsyncFnOnce(Settings, &mut Output<'_>) -> Result<T>,
    ) -> Result<T> {
        let settings = super::settings(self.globals, self.environment, output)?;
        super::runtime(&settings)?.block_on(Box::pin(work(settings, output)))
    }
}
