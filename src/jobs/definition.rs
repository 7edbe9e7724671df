//! Job files: schedule, catch-up, retries, steps.

/// The keys of an export step.
mod export;

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::readiness::Ready;
use super::schedule::Schedule;
use crate::calendar::Zone;
use crate::config::document::{Document, Section, suggest};
use crate::config::quantity::parse_duration;
use crate::config::{Faults, Settings};
use crate::error::{Error, Result};

pub use export::{Audience, Export};

/// The folder of a project that holds its jobs.
pub const FOLDER: &str = "jobs";

/// A job: what runs, when, and what happens when it does not.
#[derive(Debug, Clone)]
pub struct Job {
    /// The file's name without `.toml`.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// When it runs; `None` only by hand.
    pub schedule: Option<Schedule>,
    /// The zone of its schedule: the job's own, else the project's.
    pub zone: Zone,
    /// What becomes of days that nothing ran for.
    pub catch_up: CatchUp,
    /// How many days back from the newest one owed are caught up (31).
    pub max_catch_up_days: u32,
    /// How often a run that failed for a passing reason is tried again (3).
    pub retries: u32,
    /// How long a run may take; `None` as long as it takes.
    pub timeout: Option<Duration>,
    /// How long after its tick a day that is not settled is told of as late; `None`: never.
    pub late_after: Option<Duration>,
    /// What a day waits for before it is begun; `None`: for nothing.
    pub ready: Option<Ready>,
    /// The webhook that is told of a run that failed.
    pub on_failure: Option<Url>,
    /// What it does, in order; at least one.
    pub steps: Vec<Step>,
    /// For each step, the places of the steps before it without which it is not run.
    pub needs: Vec<Vec<usize>>,
}

/// What becomes of the days that were due while nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// Each is run, the oldest first.
    All,
    /// The newest is run, the others are skipped.
    Latest,
    /// All are skipped.
    None,
}

/// One step of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Check what landed, build the profile, classify, evaluate the segments, publish the day.
    Snapshot,
    /// Fit the lifecycle model to the shop as of the day; the nights after it score with that.
    Fit,
    /// Drop what retention no longer keeps, and tidy the lake up.
    Upkeep,
    /// Deliver an audience.
    Export(Box<Export>),
}

impl Step {
    /// The word of the job's file.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Snapshot => "snapshot",
            Step::Fit => "fit",
            Step::Upkeep => "upkeep",
            Step::Export(_) => "export",
        }
    }
}

impl Job {
    /// Reads the job of that name from the project.
    ///
    /// # Errors
    /// `jobs.unknown` with the nearest name; every fault of the file at once, as [`Faults`] under the error.
    pub fn load(settings: &Settings, name: &str) -> Result<Self> {
        let known = names(&settings.root)?;
        if !known.iter().any(|known| known == name) {
            let hint = if known.is_empty() {
                format!("write `{FOLDER}/nightly.toml`; `alluvial init` does")
            } else {
                suggest(name, &known.iter().map(String::as_str).collect::<Vec<_>>())
            };
            return Err(Error::not_found("jobs.unknown", format!("there is no job `{name}`")).with_hint(hint));
        }
        let origin = format!("{FOLDER}/{name}.toml");
        let text = std::fs::read_to_string(settings.root.join(&origin)).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                Error::definition("config.not_text", "the file is not UTF-8 text").in_file(&origin)
            }
            _ => Error::from(error).in_file(&origin),
        })?;
        Ok(Self::parse(name, &origin, &text, settings.project.zone)?)
    }

    /// Reads a job's text; `zone` is the project's.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn parse(name: &str, origin: &str, text: &str, zone: Zone) -> Result<Self, Faults> {
        let document = Document::parse(origin, text)?;
        let job = read(&document, name, zone);
        document.finish()?;
        Ok(job)
    }
}

/// The names of a project's jobs, in order.
///
/// # Errors
/// `jobs.bad_name` for a file whose name no job can have.
pub fn names(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|error| Error::from(error).in_file(FOLDER))? {
        let path = entry.map_err(|error| Error::from(error).in_file(FOLDER))?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if !is_name(&name) {
            return Err(Error::definition("jobs.bad_name", format!("`{name}` cannot be a job's name"))
                .in_file(format!("{FOLDER}/{name}.toml"))
                .with_hint("use lower-case letters, digits, `-` and `_`, at most 63"));
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63 && name.starts_with(plain) && name.chars().all(|c| plain(c) || c == '-' || c == '_')
}

fn read(document: &Document, name: &str, project_zone: Zone) -> Job {
    let mut top = document.root();
    let description = top.text("description").map(|text| text.value);
    let schedule = top.parsed("schedule", Schedule::parse);
    let zone = top.parsed("timezone", Zone::parse).unwrap_or(project_zone);
    let catch_up = read_catch_up(&mut top);
    let retries = top.integer("retries", 0..=100).and_then(|retries| u32::try_from(retries).ok()).unwrap_or(3);
    let timeout = top.parsed("timeout", parse_duration);
    let max_catch_up_days =
        top.integer("max_catch_up_days", 1..=3_660).and_then(|days| u32::try_from(days).ok()).unwrap_or(31);
    let late_after = top.parsed("late_after", parse_duration);
    let ready = Ready::read(top.section("ready"));
    let on_failure = top.parsed("on_failure", parse_webhook);
    let is_written = top.place_of("steps").is_some();
    let sections = top.sections("steps");
    if !is_written || top.is_empty_list("steps") {
        top.missing("steps", "say what to run: `[[steps]]`, then `run = \"snapshot\"`");
    }
    let (steps, needs) = read_steps(sections);
    top.finish();
    Job {
        name: name.to_owned(),
        description,
        schedule,
        zone,
        catch_up,
        max_catch_up_days,
        retries,
        timeout,
        late_after,
        ready,
        on_failure,
        steps,
        needs,
    }
}

/// The steps, and which of those before it each needs: all of them, unless its `needs` names some.
fn read_steps(sections: Vec<Section<'_>>) -> (Vec<Step>, Vec<Vec<usize>>) {
    let (mut steps, mut needs) = (Vec::new(), Vec::new());
    let mut names: Vec<String> = Vec::new();
    for mut section in sections {
        let name = section.text("name");
        let wanted = section.text_or_texts("needs");
        let document = section.document();
        let Some(step) = read_step(section) else { continue };
        let own = name.as_ref().map_or_else(|| step.name().to_owned(), |name| name.value.clone());
        let mut needed: Vec<usize> = (0..steps.len()).collect();
        if let Some(wanted) = wanted {
            needed.clear();
            for word in wanted {
                match names.iter().position(|name| *name == word.value) {
                    Some(place) => needed.push(place),
                    None => {
                        let message = format!("no step before this one is named `{}`", word.value);
                        let known: Vec<&str> = names.iter().map(String::as_str).collect();
                        let hint = (!known.is_empty()).then(|| suggest(&word.value, &known));
                        document.fault(&word.at, "jobs.unknown_step", message, hint);
                    }
                }
            }
        }
        if let Some(name) = &name
            && names.contains(&own)
        {
            let message = format!("another step is named `{own}` already");
            document.fault(&name.at, "jobs.step_twice", message, None);
        }
        names.push(own);
        steps.push(step);
        needs.push(needed);
    }
    (steps, needs)
}

fn read_catch_up(top: &mut Section<'_>) -> CatchUp {
    let Some(written) = top.flag_or_text("catch_up") else { return CatchUp::All };
    match written.value.as_str() {
        "all" | "true" => CatchUp::All,
        "latest" => CatchUp::Latest,
        "none" | "false" => CatchUp::None,
        other => {
            let message = format!("`{other}` is not one that `catch_up` knows");
            let hint = suggest(other, &["all", "latest", "none"]);
            top.document().fault(&written.at, "config.unknown_choice", message, Some(hint));
            CatchUp::All
        }
    }
}

fn parse_webhook(text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        Error::definition("jobs.bad_webhook", "a webhook is an `https://` URL")
            .with_hint("write `on_failure = \"https://example.com/hook\"`")
    })
}

#[derive(Clone, Copy)]
enum Run {
    Snapshot,
    Fit,
    Upkeep,
    Export,
}

fn read_step(mut section: Section<'_>) -> Option<Step> {
    let is_written = section.place_of("run").is_some();
    let known = [("snapshot", Run::Snapshot), ("fit", Run::Fit), ("upkeep", Run::Upkeep), ("export", Run::Export)];
    let run = section.choice("run", &known);
    if !is_written {
        section.missing("run", "write `run = \"snapshot\"`, `run = \"fit\"`, `run = \"upkeep\"` or `run = \"export\"`");
    }
    match run {
        Some(Run::Snapshot) => {
            section.finish();
            Some(Step::Snapshot)
        }
        Some(Run::Fit) => {
            section.finish();
            Some(Step::Fit)
        }
        Some(Run::Upkeep) => {
            section.finish();
            Some(Step::Upkeep)
        }
        Some(Run::Export) => export::read(section).map(|export| Step::Export(Box::new(export))),
        // What else the step may hold is known only once it is known what it runs.
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Job, Faults> {
        Job::parse("nightly", "jobs/nightly.toml", text, Zone::UTC)
    }

    fn faults(text: &str) -> String {
        let line = |fault: &crate::config::Fault| {
            let error = fault.to_error();
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{error}{hint}").replace("jobs/nightly.toml:", "")
        };
        parse(text).unwrap_err().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_contracts_job() {
        let job = parse(
            r#"
description = "Nightly T+1 snapshot"
schedule = "0 4 * * *"
timezone = "Europe/Copenhagen"
catch_up = "latest"
retries = 5
timeout = "2h"
on_failure = "https://example.com/hook"

[[steps]]
run = "snapshot"

[[steps]]
run = "export"
segment = "win-back"
exclude = ["vip"]
format = "email"
to = "exports/win-back/{as_of}.csv.gz"
holdout = "10%"
"#,
        )
        .unwrap();
        assert_eq!(job.description.as_deref(), Some("Nightly T+1 snapshot"));
        assert_eq!(job.schedule.as_ref().map(Schedule::as_str), Some("0 4 * * *"));
        assert_eq!((job.zone.name(), job.catch_up, job.retries), ("Europe/Copenhagen", CatchUp::Latest, 5));
        assert_eq!(job.timeout, Some(Duration::from_secs(7_200)));
        assert_eq!(job.on_failure.map(String::from).as_deref(), Some("https://example.com/hook"));
        let export = Export {
            audience: Audience::Segments(vec!["win-back".to_owned()]),
            exclude: vec!["vip".to_owned()],
            format: "email".to_owned(),
            to: "exports/win-back/{as_of}.csv.gz".to_owned(),
            holdout: 0.1,
            exclusive: false,
            since: None,
            rows_per_file: None,
            bom: false,
        };
        assert_eq!(job.steps, [Step::Snapshot, Step::Export(Box::new(export))]);
    }

    #[test]
    fn the_least_job() {
        let job = parse("[[steps]]\nrun = \"snapshot\"").unwrap();
        assert_eq!((job.zone, job.catch_up, job.retries, job.timeout), (Zone::UTC, CatchUp::All, 3, None));
    }

    #[test]
    fn a_weekly_fit() {
        let job = parse("[[steps]]\nrun = \"snapshot\"\n[[steps]]\nrun = \"fit\"").unwrap();
        assert_eq!(job.steps, [Step::Snapshot, Step::Fit]);
    }

    #[test]
    fn a_step_needs_all_before_it_or_those_that_it_names() {
        let job = parse(
            "max_catch_up_days = 7\nlate_after = \"3h\"\n[ready]\nmarker = \"landing/ready\"\nthen = \"run\"\n\
             [[steps]]\nrun = \"snapshot\"\n[[steps]]\nname = \"model\"\nrun = \"fit\"\nneeds = [\"snapshot\"]\n\
             [[steps]]\nrun = \"upkeep\"\nneeds = []\n[[steps]]\nrun = \"fit\"\n",
        )
        .unwrap();
        assert_eq!(job.needs, [vec![], vec![0], vec![], vec![0, 1, 2]]);
        assert_eq!((job.max_catch_up_days, job.late_after), (7, Some(Duration::from_secs(10_800))));
        let ready = job.ready.unwrap();
        assert_eq!((ready.marker.as_deref(), ready.then_run, ready.rows), (Some("landing/ready"), true, None));
        let text = "[[steps]]\nrun = \"fit\"\nneeds = [\"snapshot\"]\n[[steps]]\nname = \"fit\"\nrun = \"fit\"\nneeds = [\"fti\"]";
        insta::assert_snapshot!(faults(text), @r"
        3:10: no step before this one is named `snapshot`
        5:8: another step is named `fit` already
        7:10: no step before this one is named `fti` (did you mean `fit`?)
        ");
    }

    #[test]
    fn catch_up_is_a_word_or_a_switch() {
        for (written, meant) in [("true", CatchUp::All), ("false", CatchUp::None), ("\"none\"", CatchUp::None)] {
            let job = parse(&format!("catch_up = {written}\n[[steps]]\nrun = \"snapshot\"")).unwrap();
            assert_eq!(job.catch_up, meant, "{written}");
        }
    }

    #[test]
    fn all_faults_at_once() {
        let text = r#"
shedule = "0 4 * * *"
schedule = "0 25 * * *"
timezone = "Mars/Olympus"
catch_up = "last"
retries = -1
timeout = "soon"
on_failure = "ftp://x"

[[steps]]
run = "snapshoot"

[[steps]]
run = "snapshot"
segment = "vip"

[[steps]]
run = "export"
segment = "a"
query = "b"
fromat = "email"

[[steps]]
"#;
        insta::assert_snapshot!(faults(text), @r#"
        2:1: unknown key `shedule` at the top level (did you mean `schedule`?)
        3:12: `25` is not an hour (write `*`, a number from 0 to 23, a range, a list or a step)
        4:12: the time zone `Mars/Olympus` does not exist (write an IANA name such as `Europe/Copenhagen`)
        5:12: `last` is not one that `catch_up` knows (did you mean `latest`?)
        6:11: `retries` must be a whole number from 0 to 100
        7:11: `soon` is not a duration (write a number and a unit of `s`, `m`, `h` or `d`: `2h`, `90m` or `1h30m`)
        8:14: a webhook is an `https://` URL (write `on_failure = "https://example.com/hook"`)
        11:7: `snapshoot` is not one that `steps.run` knows (did you mean `snapshot`?)
        15:1: unknown key `segment` in `[steps]` (known here: `name`, `needs`, `run`)
        17:1: `steps.format` is missing (an export needs `format` and `to`)
        17:1: `steps.to` is missing (an export needs `format` and `to`)
        20:9: an export has a `segment` or a `query`, not both
        21:1: unknown key `fromat` in `[steps]` (did you mean `format`?)
        23:1: `steps.run` is missing (write `run = "snapshot"`, `run = "fit"`, `run = "upkeep"` or `run = "export"`)
        "#);
    }

    #[test]
    fn steps_are_needed_and_are_tables() {
        insta::assert_snapshot!(faults("description = \"x\""), @r#"1:1: `steps` is missing (say what to run: `[[steps]]`, then `run = "snapshot"`)"#);
        assert!(faults("steps = []").contains("`steps` is missing"));
        insta::assert_snapshot!(faults("steps = [\"snapshot\"]"), @"1:10: `steps` must be a table of settings, not a text");
    }
}
