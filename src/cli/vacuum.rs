//! `alluvial vacuum`.

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::Output;
use super::rows::{Cell, Rows};
use crate::error::Result;
use crate::jobs::upkeep;

/// What `alluvial vacuum` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Drops what retention no longer keeps, and says what went.
///
/// # Errors
/// What the store and the logs refuse.
pub fn execute(_args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, true).await?;
        let done = Box::pin(upkeep::run(&opened.project, opened.clock.now())).await?;
        for warning in &done.warnings {
            output.warn(warning);
        }
        let mut rows = Rows::new(&["what", "#count", "#bytes"]);
        for (table, days) in &done.dropped {
            rows.push(vec![Cell::Text(format!("days of {table}")), Cell::count(*days), Cell::Missing]);
        }
        rows.push(vec![Cell::text("data files"), Cell::count(done.files), Cell::count(done.bytes)]);
        for (what, count) in [
            ("temporary files", done.staging),
            ("unfinished uploads", done.uploads),
            ("log files", done.logs),
            ("checkpoints written", done.checkpoints),
            ("records of the state", done.state),
            ("small files merged", done.compacted.before),
            ("files that hold their rows", done.compacted.after),
        ] {
            rows.push(vec![Cell::text(what), Cell::count(count), Cell::Missing]);
        }
        output.rows(rows).map(|()| Outcome::Done)
    })
}
