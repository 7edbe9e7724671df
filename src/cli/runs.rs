//! `alluvial runs`.

use std::sync::Arc;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::{Format, List, Output};
use super::report::steps;
use super::rows::{Cell, Rows};
use crate::cli::jobs::instant;
use crate::error::{Error, Result};
use crate::jobs::record::Details;
use crate::lake::manifest::Manifest;
use crate::lake::provider::DayTable;
use crate::lake::table::Table;
use crate::schema::published;
use crate::snapshot::held;
use datafusion::prelude::{col, lit};

/// What `alluvial runs` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// `show` with the beginning of a run's id
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Only runs of this job
    #[arg(long, value_name = "JOB")]
    pub job: Option<String>,
    /// How many, the newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

/// What can be asked of one run.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Steps, times, rows, memory, input files, and why it failed
    Show {
        /// The run's id, or how it begins
        id: String,
    },
}

/// Lists the runs, the newest first; or tells all of one.
///
/// # Errors
/// `runs.unknown`, and what the store refuses.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        match &args.command {
            Some(Command::Show { id }) => Box::pin(show(&opened, id, output)).await,
            None => Box::pin(list(&opened, args, output)).await,
        }
    })
}

async fn list(opened: &Opened, args: &Args, output: &mut Output<'_>) -> Result<Outcome> {
    let lake = &opened.project.lake;
    for held in held::waiting(lake).await? {
        let (as_of, run) = (held.as_of, &held.run_id);
        output.note(&format!(
            "{as_of} is held by run {run}: {}; `alluvial publish --accept {as_of}`",
            held.reasons.join("; ")
        ));
    }
    let table = published::named("job_runs")
        .ok_or_else(|| Error::internal("runs.table", "the contract has no table `job_runs`"))?;
    let log = Box::pin(Table::open(lake, &table)).await?;
    let session = opened.project.engine.session();
    let mut frame = session.read_table(Arc::new(DayTable::of_log(lake, &table, &log)?))?;
    if let Some(job) = &args.job {
        frame = frame.filter(col("job").eq(lit(job)))?;
    }
    let columns = ["started_at", "run_id", "job", "as_of", "attempt", "status", "finished_at", "step", "error"];
    let frame = frame
        .sort(vec![col("started_at").sort(false, false), col("run_id").sort(false, false)])?
        .limit(0, Some(args.limit))?
        .select_columns(&columns)?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    output.rows(Rows::from_batches(&schema, &frame.collect().await?)?).map(|()| Outcome::Done)
}

async fn show(opened: &Opened, id: &str, output: &mut Output<'_>) -> Result<Outcome> {
    let lake = &opened.project.lake;
    let details = Details::find(lake, id).await?;
    let manifest = match lake.exists(&details.manifest).await? {
        true => Some(Box::pin(Manifest::read(lake, &details.manifest)).await?),
        false => None,
    };
    if output.format() == Format::Json {
        let inputs = manifest.as_ref().map(|manifest| &manifest.inputs);
        let value = serde_json::json!({ "run": details, "inputs": inputs });
        let text = serde_json::to_string_pretty(&value)
            .map_err(|error| Error::internal("runs.json", "the run has no JSON").with_source(error))?;
        return output.line(&text).map(|()| Outcome::Done);
    }
    let report = &details.report;
    let mut facts = Rows::new(&["what", "is"]);
    let mut fact = |what: &str, is: Cell| facts.push(vec![Cell::text(what), is]);
    fact("run", Cell::text(&report.run_id));
    fact("job", Cell::text(&report.job));
    fact("as of", Cell::text(report.as_of.to_string()));
    fact("status", Cell::text(report.status.word()));
    fact("attempt", Cell::maybe(details.attempt, |attempt| Cell::Number(attempt.to_string())));
    fact("began", instant(details.started_at));
    fact("ended", instant(details.finished_at));
    fact("customers", Cell::count(report.customers));
    if let Some(manifest) = &manifest {
        fact("manifest", Cell::text(&details.manifest));
        fact("engine", Cell::text(&manifest.engine));
    }
    for error in &details.errors {
        fact("failed because", Cell::text(error));
    }
    if let Some(hint) = &details.hint {
        fact("help", Cell::text(hint));
    }
    for warning in &report.warnings {
        fact("warning", Cell::text(warning));
    }
    let steps = steps(&report.steps);
    let mut inputs = Rows::new(&["table", "file", "#bytes", "e_tag"]);
    for (table, files) in manifest.iter().flat_map(|manifest| &manifest.inputs) {
        for file in files {
            inputs.push(vec![
                Cell::text(table),
                Cell::text(&file.path),
                Cell::count(file.size),
                Cell::maybe(file.e_tag.as_ref(), Cell::text),
            ]);
        }
    }
    let mut lists = vec![List { key: "facts", heading: "the run".to_owned(), rows: facts }];
    if !steps.rows.is_empty() {
        lists.push(List { key: "steps", heading: "its steps".to_owned(), rows: steps });
    }
    if !inputs.rows.is_empty() {
        lists.push(List { key: "inputs", heading: "what it read".to_owned(), rows: inputs });
    }
    output.lists(&[], lists).map(|()| Outcome::Done)
}
