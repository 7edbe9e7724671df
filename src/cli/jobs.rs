//! `alluvial jobs`.

use chrono::{DateTime, SecondsFormat, Utc};

use super::Outcome;
use super::opened::Call;
use super::output::Output;
use super::rows::{Cell, Rows};
use crate::error::Result;
use crate::jobs::definition::{self, Job};
use crate::jobs::due::{Reach, next_tick, owed};
use crate::jobs::state::{End, JobState, Mark};
use crate::lake::Lake;

/// What `alluvial jobs` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Lists the jobs: when they tick next, how many days are due, what runs, what is held, how the newest day ended.
///
/// # Errors
/// A job's file that is faulty, and what the store refuses.
pub fn execute(_args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let now = call.environment.clock()?.now();
        let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
        let columns = [
            "job",
            "schedule",
            "timezone",
            "next",
            "#due",
            "running",
            "held",
            "last_as_of",
            "last_status",
            "last_error",
        ];
        let mut rows = Rows::new(&columns);
        let names = definition::names(&settings.root)?;
        let states = JobState::read_all(&lake, names.iter().map(String::as_str)).await?;
        for (name, state) in names.into_iter().zip(states) {
            let job = Job::load(&settings, &name)?;
            let reach = Reach { catch_up: job.catch_up, days: job.max_catch_up_days };
            let due = owed(&state.known, reach, settings.project.zone, now, now).run.len();
            let schedule = job.schedule.as_ref();
            let next = match state.known.schedules.is_empty() {
                true => schedule.and_then(|schedule| schedule.next_after(now, job.zone)),
                false => next_tick(&state.known, now),
            };
            let days = |mark: Mark| {
                let days = state.days.iter().filter(|(_, day)| day.mark == mark);
                let days: Vec<String> = days.map(|(as_of, _)| as_of.to_string()).collect();
                if days.is_empty() { Cell::Missing } else { Cell::Text(days.join(" ")) }
            };
            let ended =
                state.days.iter().rev().find(|(_, day)| matches!(day.mark, Mark::Final | Mark::Retry | Mark::Held));
            let mut last = (Cell::Missing, Cell::Missing, Cell::Missing);
            if let Some((as_of, day)) = ended {
                let end = End::read(&lake, &name, *as_of, day.attempt, day.mark).await?;
                let error = end.error.map_or(Cell::Missing, Cell::Text);
                last = (Cell::text(as_of.to_string()), Cell::text(end.status.word()), error);
            }
            rows.push(vec![
                Cell::text(&name),
                Cell::maybe(schedule, |schedule| Cell::text(schedule.as_str())),
                Cell::text(job.zone.name()),
                Cell::maybe(next, instant),
                Cell::count(due as u64),
                days(Mark::Claim),
                days(Mark::Held),
                last.0,
                last.1,
                last.2,
            ]);
        }
        output.rows(rows).map(|()| Outcome::Done)
    })
}

/// An instant, to the second.
pub(super) fn instant(at: DateTime<Utc>) -> Cell {
    Cell::Text(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}
