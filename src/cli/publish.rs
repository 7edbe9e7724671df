//! `alluvial publish`.

use chrono::NaiveDate;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::Output;
use super::progress::Progress;
use super::report;
use super::rows::{Cell, Rows};
use crate::cli::jobs::instant;
use crate::error::{Error, Result};
use crate::jobs::by_hand::ByHand;
use crate::jobs::definition::{self, Job, Step};
use crate::jobs::record::{Details, Record};
use crate::jobs::report::{RunReport, RunStatus};
use crate::jobs::state::{End, JobState, Mark, nonce};
use crate::snapshot::held::{self, Held};

/// What `alluvial publish` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The held day to publish
    #[arg(long, value_name = "DAY", value_parser = super::arguments::date)]
    pub accept: Option<NaiveDate>,
}

/// Lists the held days; publishes one that is accepted, and runs what its job does after that.
///
/// # Errors
/// `publish.not_held`; `snapshot.superseded` where the day was published otherwise since; those of commits.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, args.accept.is_some()).await?;
        let waiting = held::waiting(&opened.project.lake).await?;
        let Some(day) = args.accept else {
            let mut rows = Rows::new(&["as_of", "run_id", "at", "reason"]);
            for held in &waiting {
                for reason in &held.reasons {
                    rows.push(vec![
                        Cell::text(held.as_of.to_string()),
                        Cell::text(&held.run_id),
                        instant(held.at),
                        Cell::text(reason),
                    ]);
                }
            }
            return output.rows(rows).map(|()| Outcome::Done);
        };
        let Some(held) = waiting.iter().rev().find(|held| held.as_of == day) else {
            let others: Vec<String> = waiting.iter().map(|held| held.as_of.to_string()).collect();
            let hint = match others.is_empty() {
                true => "no day is held; `alluvial runs` says how the last ones ended".to_owned(),
                false => format!("held are {}", others.join(", ")),
            };
            return Err(Error::not_found("publish.not_held", format!("{day} is not held")).with_hint(hint));
        };
        Box::pin(accept(&opened, held, output)).await
    })
}

async fn accept(opened: &Opened, held: &Held, output: &mut Output<'_>) -> Result<Outcome> {
    let lake = &opened.project.lake;
    let at = opened.clock.now();
    Box::pin(held.accept(lake, at)).await?;
    held.close(lake).await?;
    held::replaced(lake, held.as_of, "").await?;
    // What the run did is told by its details; the table gets its row now that it is settled.
    let details = Details::find(lake, &held.run_id).await.ok();
    let mut report = match &details {
        Some(details) => details.report.clone(),
        None => RunReport::nothing("", held.as_of, &held.run_id, RunStatus::Succeeded),
    };
    report.status = RunStatus::Succeeded;
    report.warnings.retain(|warning| !warning.starts_with("held: "));
    let note = format!("accepted: {}", held.reasons.join("; "));
    let record = Record {
        report: &report,
        attempt: Some(held.attempt),
        started: details.as_ref().map_or(held.at, |details| details.started_at),
        finished: at,
        error: None,
        note: Some(&note),
    };
    Box::pin(record.keep(lake)).await?;
    let settings = &opened.project.settings;
    let mut after = None;
    for name in definition::names(&settings.root)? {
        let state = JobState::read(lake, &name).await?;
        let Some(day) = state.days.get(&held.as_of).filter(|day| day.mark == Mark::Held) else { continue };
        let end = End {
            nonce: nonce(),
            run_id: held.run_id.clone(),
            status: RunStatus::Succeeded,
            at,
            error: Some(note.clone()),
            not_before: None,
        };
        end.keep(lake, &name, held.as_of, day.attempt, Mark::Final).await?;
        let job = Job::load(settings, &name)?;
        if name == report.job && job.steps.iter().any(|step| !matches!(step, Step::Snapshot)) {
            after = Some(job);
        }
    }
    output.note(&format!("{} is published", held.as_of));
    let outcome = report::print(&report, output)?;
    // The steps that waited for it.
    if let Some(job) = after {
        let progress = Progress::new(output);
        let by_hand =
            ByHand { project: &opened.project, job: &job, clock: opened.clock, watcher: &progress, force: false };
        let ended = Box::pin(by_hand.run(held.as_of)).await?;
        progress.clear();
        return match ended.error {
            Some(error) => Err(error),
            None => report::print(&ended.report, output),
        };
    }
    Ok(outcome)
}
