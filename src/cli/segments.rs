//! `alluvial segments`.

use super::Outcome;
use super::opened::{Call, Opened};
use crate::segments::definition::Fault;
use crate::snapshot::reading::Reading;
use crate::snapshot::segments::{definitions, faults_error};
use chrono::NaiveDate;

use super::output::Output;
use super::rows::{Cell, Rows};
use crate::error::Result;

/// What `alluvial segments` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The day that the sizes are of [default: the newest published]
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
    pub as_of: Option<NaiveDate>,
}

/// A segment as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Whether it is computed.
    pub active: bool,
    /// The day that the sizes are of; `None` before the first published day.
    pub as_of: Option<NaiveDate>,
    /// Members.
    pub members: Option<u64>,
    /// Members who were none on the published day before.
    pub entered: Option<u64>,
    /// The reverse.
    pub exited: Option<u64>,
}

/// Prints the segments with their sizes and change.
///
/// # Errors
/// As [`Output::rows`].
pub fn print(segments: &[Listed], output: &mut Output<'_>) -> Result<()> {
    let mut rows = Rows::new(&["id", "name", "active", "as_of", "#members", "#entered", "#exited"]);
    for segment in segments {
        rows.push(vec![
            Cell::text(&segment.id),
            Cell::text(&segment.name),
            Cell::Boolean(segment.active),
            Cell::maybe(segment.as_of, |day| Cell::text(day.to_string())),
            Cell::maybe(segment.members, Cell::count),
            Cell::maybe(segment.entered, Cell::count),
            Cell::maybe(segment.exited, Cell::count),
        ]);
    }
    output.rows(rows)
}

/// Lists the project's segments with their sizes on a published day.
///
/// # Errors
/// Those of the project and of what is published.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let definitions = definitions(&opened.project)?;
        if definitions.faults().iter().any(Fault::is_error) {
            return Err(faults_error(definitions.faults().to_vec()));
        }
        let reading = Box::pin(Reading::open(&opened.project)).await?;
        let mut sizes = Vec::new();
        match reading.day(args.as_of) {
            Ok(day) => sizes = reading.sizes(&format!("as_of = DATE '{}'", day.as_of)).await?,
            // A new project lists what it will compute.
            Err(error) if error.code() == "snapshot.none" && args.as_of.is_none() => {
                output.note("no day is published yet")
            }
            Err(error) => return Err(error),
        }
        let listed: Vec<Listed> = definitions
            .iter()
            .map(|definition| {
                let size = sizes.iter().find(|size| size.segment == definition.id);
                Listed {
                    id: definition.id.clone(),
                    name: definition.name.clone(),
                    active: definition.active,
                    as_of: size.map(|size| size.as_of),
                    members: size.map(|size| size.members),
                    entered: size.and_then(|size| size.entered),
                    exited: size.and_then(|size| size.exited),
                }
            })
            .collect();
        print(&listed, output)?;
        Ok(Outcome::Done)
    })
}
