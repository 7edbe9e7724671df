//! The step `export` of a job: an audience of the run's day, delivered once.

use super::definition::{Audience, Export, Job, Step};
use super::report::ExportReport;
use crate::audience::format::Format;
use crate::audience::{self, Report, Request, Target, Whose};
use crate::diagnostic::nearest;
use crate::error::{Error, Result};
use crate::segments::definition::Guard;
use crate::snapshot::day::Run;
use crate::snapshot::guard;
use crate::snapshot::reading::Reading;
use crate::snapshot::segments::definitions;
use crate::snapshot::setup::Project;

/// What became of a step.
#[derive(Debug)]
pub(super) enum Delivered {
    /// It is delivered: by this run, or by one before.
    Done(Vec<ExportReport>),
    /// It waits for a person, and why.
    Waits(String),
}

/// Refuses what a job's export steps name and nobody knows, so that a job fails before its first step and not after.
///
/// # Errors
/// `audience.unknown_format`, `jobs.unknown_segment`, with the nearest name.
pub fn check(project: &Project, job: &Job) -> Result<()> {
    let place = || format!("{}/{}.toml", super::definition::FOLDER, job.name);
    let exports = job.steps.iter().filter_map(|step| match step {
        Step::Export(export) => Some(export),
        _ => None,
    });
    for export in exports {
        // On a command line an unknown format is wrong usage; in a file it is a fault of the file.
        Format::load(&project.engine, &export.format).map_err(|error| {
            let told = Error::definition(error.code(), error.message()).in_file(place());
            match error.hint() {
                Some(hint) => told.with_hint(hint),
                None => told,
            }
        })?;
        let known = definitions(project)?.known();
        if let Some(id) = segments_of(export).find(|id| !known.contains_key(*id)) {
            let error =
                Error::definition("jobs.unknown_segment", format!("there is no segment `{id}`")).in_file(place());
            return Err(match nearest(id, known.keys().map(String::as_str)) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint("`alluvial segments` lists the segments"),
            });
        }
    }
    Ok(())
}

fn segments_of(export: &Export) -> impl Iterator<Item = &String> {
    let own = match &export.audience {
        Audience::Segments(ids) => ids.as_slice(),
        Audience::Query(_) => &[],
    };
    own.iter().chain(&export.exclude)
}

/// Delivers an audience of the run's day, unless this job has delivered it since the day was published.
///
/// # Errors
/// Those of [`audience::deliver`].
pub(super) async fn deliver(project: &Project, job: &Job, export: &Export, run: &Run) -> Result<Delivered> {
    if !run.force
        && let Some(why) = Box::pin(waits(project, export, run)).await?
    {
        let by_hand = format!("`alluvial run {} --as-of {} --force` delivers it", job.name, run.as_of);
        return Ok(Delivered::Waits(format!("{why}; its export waits: {by_hand}")));
    }
    let request = Request {
        whose: match &export.audience {
            Audience::Segments(ids) => Whose::Segments(ids.clone()),
            Audience::Query(query) => Whose::Query(query.clone()),
        },
        exclude: export.exclude.clone(),
        as_of: Some(run.as_of),
        format: export.format.clone(),
        holdout: export.holdout,
        exclusive: export.exclusive,
        since: export.since,
        rows_per_file: export.rows_per_file,
        bom: export.bom,
        consent_check: true,
        requested_by: format!("job:{}", job.name),
        once: !run.force,
    };
    let target = Target { to: &export.to, cloud: &project.cloud, base: &project.settings.root };
    let reports = Box::pin(audience::deliver(project, &request, &target, run.at, &mut audience::Unwatched)).await?;
    Ok(Delivered::Done(reports.iter().map(told).collect()))
}

/// Why an export waits: a segment that its file guards moved by half.
async fn waits(project: &Project, export: &Export, run: &Run) -> Result<Option<String>> {
    let definitions = definitions(project)?;
    let guarded: Vec<&String> = segments_of(export)
        .filter(|id| definitions.get(id).is_some_and(|definition| definition.guard == Guard::Hold))
        .collect();
    if guarded.is_empty() {
        return Ok(None);
    }
    let reading = Box::pin(Reading::open(project)).await?;
    let moved = Box::pin(guard::moved_on(&reading, run.as_of)).await?;
    Ok(moved.into_iter().find(|(id, _)| guarded.contains(&id)).map(|(_, told)| told))
}

fn told(report: &Report) -> ExportReport {
    ExportReport {
        export_id: report.export_id.clone().unwrap_or_default(),
        segments: report.segments.clone(),
        format: report.format.clone(),
        files: report.files.clone(),
        members: report.counts.members,
        written: report.counts.written,
        already: report.already,
    }
}
