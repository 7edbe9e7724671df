//! `alluvial run --only segments`.

use chrono::NaiveDate;

use super::{Args, price};
use crate::cli::Outcome;
use crate::cli::opened::Opened;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::report;
use crate::error::Result;
use crate::jobs::by_hand::give_way;
use crate::jobs::definition::{self, Job};
use crate::jobs::redefine::{Done, NAME, Redefine};
use crate::jobs::time::SystemTime;

/// Computes the segments of published days. Days that are left out are named, and make the outcome faulty.
///
/// # Errors
/// Those of the first day that fails; the days before it stay published.
pub(super) async fn execute(
    args: &Args,
    opened: &Opened,
    job: Option<&Job>,
    days: &[NaiveDate],
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let name = job.map_or(NAME, |job| job.name.as_str());
    if args.plan {
        let price = Box::pin(price::of_segments(&opened.project, name, days)).await?;
        return output.rows(price).map(|()| Outcome::Done);
    }
    let progress = Progress::new(output);
    let all_jobs = definition::names(&opened.project.settings.root)?;
    let time = SystemTime::new(opened.clock);
    let mut reports = Vec::new();
    let mut left_out = Vec::new();
    let mut failed = None;
    for day in days {
        progress.about(day.to_string());
        if days.len() > 1 {
            give_way(&opened.project.lake, &all_jobs, &time).await?;
        }
        let redefine = Redefine {
            project: &opened.project,
            name,
            clock: opened.clock,
            watcher: &progress,
            force: args.force,
            until: days.last().copied().unwrap_or(*day),
        };
        match Box::pin(redefine.day(*day)).await {
            Done::LeftOut(why) => left_out.push(format!("{day} is left out: {why}")),
            Done::Ended(ended) => match ended.error {
                None => reports.push(ended.report),
                Some(error) => {
                    failed = Some(error);
                    break;
                }
            },
        }
    }
    progress.clear();
    let mut outcome = Outcome::Done;
    match (days.len(), reports.first()) {
        (1, Some(only)) => outcome = report::print(only, output)?,
        (1, None) => {}
        _ if failed.is_some() && reports.is_empty() => {}
        _ => outcome = report::print_all(&reports, output)?,
    }
    for told in &left_out {
        output.say(told);
    }
    match failed {
        Some(error) => Err(error),
        None if left_out.is_empty() => Ok(outcome),
        None => Ok(Outcome::Faulty),
    }
}
