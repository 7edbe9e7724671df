//! `alluvial run`.

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::Output;
use super::progress::Progress;
use super::report;
use chrono::{DateTime, NaiveDate, Utc};

use crate::calendar::{Zone, add_days};
use crate::error::{Error, Result};
use crate::jobs::alert::{Alert, Event};
use crate::jobs::by_hand::{ByHand, give_way};
use crate::jobs::definition::{self, Job};
use crate::jobs::report::RunStatus;
use crate::jobs::time::SystemTime;
use crate::jobs::webhook::Webhooks;

/// What a backfill will cost.
mod price;
/// Backfills of definitions.
mod segments;

/// What `alluvial run` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The job: the name of a file in jobs/
    #[arg(value_name = "JOB", required_unless_present = "only")]
    pub job: Option<String>,
    /// The day to compute [default: yesterday]
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date, conflicts_with_all = ["from", "to"])]
    pub as_of: Option<NaiveDate>,
    /// The first day of a backfill
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date, requires = "to")]
    pub from: Option<NaiveDate>,
    /// The last day of a backfill
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date, requires = "from")]
    pub to: Option<NaiveDate>,
    /// Compute a published day again though nothing has changed
    #[arg(long)]
    pub force: bool,
    /// Compute new and edited segments of published days over their profile and lifecycle as published
    #[arg(long, value_name = "WHAT")]
    pub only: Option<Only>,
    /// Say what a backfill will cost, and run nothing
    #[arg(long)]
    pub plan: bool,
}

/// The part of a day that is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// The segments
    Segments,
}

/// The days that were asked for, in order; yesterday in the shop's zone, if none were.
///
/// # Errors
/// A range that ends before it begins (wrong usage), and a day that is not over yet (`run.future_day`).
pub fn days(args: &Args, now: DateTime<Utc>, zone: Zone) -> Result<Vec<NaiveDate>> {
    let today = zone.local_date(now);
    let yesterday = add_days(today, -1).ok_or_else(|| Error::internal("run.clock", "there is no yesterday"))?;
    let (from, to) = match (args.from, args.to) {
        (Some(from), Some(to)) => (from, to),
        _ => (args.as_of.unwrap_or(yesterday), args.as_of.unwrap_or(yesterday)),
    };
    if from > to {
        return Err(Error::usage("run.empty_range", format!("the range ends on {to}, before it begins on {from}")));
    }
    if to > yesterday {
        let message = format!("{to} is not over yet: in {zone} it is {today}");
        return Err(Error::input("run.future_day", message)
            .with_hint(format!("the last day that can be computed is {yesterday}")));
    }
    Ok(from.iter_days().take_while(|day| *day <= to).collect())
}

/// Runs a job for the days that were asked for.
///
/// # Errors
/// Those of the project, the job and the run. Of a range, the days before a failed one stay published.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let days = days(args, call.environment.clock()?.now(), settings.project.zone)?;
        let job = args.job.as_deref().map(|name| Job::load(&settings, name)).transpose()?;
        if args.only == Some(Only::Segments) {
            let opened = Opened::new(settings, call.environment, !args.plan).await?;
            return Box::pin(segments::execute(args, &opened, job.as_ref(), &days, output)).await;
        }
        let Some(job) = job else { return Err(Error::usage("run.no_job", "no job is named")) };
        if args.plan {
            let opened = Opened::new(settings, call.environment, false).await?;
            let price = Box::pin(price::of(&opened.project, &job, &days)).await?;
            return output.rows(price).map(|()| Outcome::Done);
        }
        let webhooks =
            Webhooks { key: call.environment.webhook_key(), allow_private: settings.alerts.allow_private_addresses };
        let opened = Opened::new(settings, call.environment, true).await?;
        let progress = Progress::new(output);
        let mut reports = Vec::new();
        let mut failed = None;
        let all_jobs = definition::names(&opened.project.settings.root)?;
        let time = SystemTime::new(opened.clock);
        for day in &days {
            progress.about(day.to_string());
            if days.len() > 1 {
                give_way(&opened.project.lake, &all_jobs, &time).await?;
            }
            let by_hand = ByHand {
                project: &opened.project,
                job: &job,
                clock: opened.clock,
                watcher: &progress,
                force: args.force,
            };
            let ended = Box::pin(by_hand.run(*day)).await?;
            let (is_held, mut error) = (ended.report.status == RunStatus::Held, ended.error);
            let told = match (&error, is_held) {
                (Some(error), _) => Some((Event::RunFailed, format!("{}: {error}", error.code()))),
                (None, true) => Some((Event::PublishHeld, ended.reasons.join("; "))),
                (None, false) => None,
            };
            if let Some((event, message)) = told {
                let alert = Alert::about(event, &job.name, *day, &ended.report.run_id, message, opened.clock.now());
                if let Err(untold) = by_hand.tell(&alert.of_run(&ended.report.run_id), &webhooks).await {
                    // What went wrong first is what a person has to know: it may be why nobody can be told.
                    tracing::warn!(code = untold.code(), "nobody was told of the run: {untold}");
                    error.get_or_insert(untold);
                }
            }
            match error {
                None => reports.push(ended.report),
                Some(error) => failed = Some(error),
            }
            if is_held || failed.is_some() {
                break;
            }
        }
        progress.clear();
        if let Some(error) = failed {
            if !reports.is_empty() {
                report::print_all(&reports, output)?;
            }
            return Err(error);
        }
        match (days.len(), reports.first()) {
            (1, Some(only)) => report::print(only, output),
            _ => report::print_all(&reports, output),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::error::Kind;

    fn asked(as_of: Option<&str>, range: Option<(&str, &str)>) -> Result<Vec<String>> {
        let date = |text: &str| parse_date(text).unwrap();
        let args = Args {
            job: Some("nightly".to_owned()),
            as_of: as_of.map(date),
            from: range.map(|(from, _)| date(from)),
            to: range.map(|(_, to)| date(to)),
            force: false,
            only: None,
            plan: false,
        };
        // Still the 20th in Copenhagen's winter until 23:00 UTC.
        let now = DateTime::parse_from_rfc3339("2026-11-19T23:30:00Z").unwrap().with_timezone(&Utc);
        let days = days(&args, now, Zone::parse("Europe/Copenhagen").unwrap())?;
        Ok(days.iter().map(NaiveDate::to_string).collect())
    }

    #[test]
    fn yesterday_is_the_shops() {
        assert_eq!(asked(None, None).unwrap(), ["2026-11-19"]);
    }

    #[test]
    fn a_day_or_a_range() {
        assert_eq!(asked(Some("2026-01-01"), None).unwrap(), ["2026-01-01"]);
        let range = asked(None, Some(("2026-02-27", "2026-03-01"))).unwrap();
        assert_eq!(range, ["2026-02-27", "2026-02-28", "2026-03-01"]);
    }

    #[test]
    fn days_that_are_not_over_are_refused() {
        let error = asked(Some("2026-11-20"), None).unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::Input, "run.future_day"));
        assert_eq!(asked(None, Some(("2026-11-01", "2026-11-21"))).unwrap_err().code(), "run.future_day");
        assert_eq!(asked(None, Some(("2026-11-02", "2026-11-01"))).unwrap_err().kind(), Kind::Usage);
    }
}
