//! The report of a run.

use super::Outcome;
use super::output::{Format, Output};
use super::rows::{Cell, Rows};
use crate::error::{Error, Result};
use crate::jobs::report::{ModelReport, RunReport, RunStatus, StepReport};

/// Prints the report of one run; the outcome is faulty where the day is not published.
///
/// # Errors
/// As [`Output::write`].
pub fn print(report: &RunReport, output: &mut Output<'_>) -> Result<Outcome> {
    match output.format() {
        Format::Json => output.line(&to_json(report)?)?,
        Format::Csv => output.rows(segments(std::slice::from_ref(report)))?,
        Format::Table => {
            people(report, output)?;
            for warning in &report.warnings {
                output.warn(warning);
            }
        }
    }
    Ok(outcome(report))
}

/// Prints the reports of a backfill: in JSON one array, as CSV one table, for people one after the other.
///
/// # Errors
/// As [`Output::write`].
pub fn print_all(reports: &[RunReport], output: &mut Output<'_>) -> Result<Outcome> {
    let mut worst = Outcome::Done;
    for report in reports {
        if outcome(report) == Outcome::Faulty {
            worst = Outcome::Faulty;
        }
    }
    match output.format() {
        Format::Json => {
            let each = reports.iter().map(to_json).collect::<Result<Vec<String>>>()?;
            output.line(&format!("[\n{}\n]", each.join(",\n")))?;
        }
        Format::Csv => output.rows(segments(reports))?,
        Format::Table => {
            for (index, report) in reports.iter().enumerate() {
                if index > 0 {
                    output.line("")?;
                }
                print(report, output)?;
            }
        }
    }
    Ok(worst)
}

fn outcome(report: &RunReport) -> Outcome {
    match report.status {
        RunStatus::Succeeded | RunStatus::Unchanged => Outcome::Done,
        // Whoever superseded this run has published the day; the run itself did not.
        RunStatus::Superseded | RunStatus::Held | RunStatus::Failed | RunStatus::Skipped | RunStatus::Abandoned => {
            Outcome::Faulty
        }
    }
}

fn to_json(report: &RunReport) -> Result<String> {
    serde_json::to_string_pretty(report)
        .map_err(|error| Error::internal("cli.report", "the report has no JSON").with_source(error))
}

fn people(report: &RunReport, output: &mut Output<'_>) -> Result<()> {
    let status = match report.status {
        RunStatus::Succeeded if report.customers == 0 && report.model.is_some() => "fitted",
        RunStatus::Succeeded => "published",
        RunStatus::Unchanged => "published before, nothing has changed",
        RunStatus::Held => "held: computed, but not published until it is accepted",
        RunStatus::Superseded => "superseded: another run has published the day",
        RunStatus::Failed => "failed",
        RunStatus::Skipped => "skipped",
        RunStatus::Abandoned => "abandoned",
    };
    output.line(&format!("{} as of {}: {status}", report.job, report.as_of))?;
    let before = match report.previous_as_of {
        Some(day) => format!("compared with {day}"),
        None => "the first published day".to_owned(),
    };
    let known = match report.as_known {
        Some(true) => "",
        Some(false) => "; later versions had to serve",
        None => "; some rows have no version time",
    };
    output.line(&format!("run {}, {before}{known}", report.run_id))?;

    let mut tables = Rows::new(&["rows in", "#files", "#rows", "#rejected"]);
    for table in &report.tables {
        tables.push(vec![
            Cell::text(&table.table),
            Cell::count(table.files),
            Cell::count(table.rows),
            Cell::count(table.rejected),
        ]);
    }
    part(tables, output)?;

    let mut rejects = Rows::new(&["rejected", "rule", "#rows"]);
    for reject in &report.rejects {
        rejects.push(vec![Cell::text(&reject.table), Cell::text(&reject.rule), Cell::count(reject.rows)]);
    }
    part(rejects, output)?;

    let mut left_out = Rows::new(&["left out", "reason", "#rows"]);
    for left in &report.left_out {
        left_out.push(vec![Cell::text(&left.table), Cell::text(&left.reason), Cell::count(left.rows)]);
    }
    part(left_out, output)?;

    output.line("")?;
    output.line(&format!("customers  {}", report.customers))?;
    if let Some(model) = &report.model {
        output.line(&format!("lifecycle  {}", told(model)))?;
    }

    let mut stages = Rows::new(&["stage", "#customers", "#share"]);
    for stage in &report.stages {
        let share = if report.customers == 0 {
            Cell::Missing
        } else {
            Cell::Text(format!("{:.1}%", 100.0 * stage.customers as f64 / report.customers as f64))
        };
        stages.push(vec![Cell::text(&stage.stage), Cell::count(stage.customers), share]);
    }
    part(stages, output)?;

    let mut sizes = Rows::new(&["segment", "#members", "#entered", "#exited"]);
    for segment in &report.segments {
        sizes.push(vec![
            Cell::text(&segment.segment),
            Cell::count(segment.members),
            Cell::maybe(segment.entered, Cell::count),
            Cell::maybe(segment.exited, Cell::count),
        ]);
    }
    part(sizes, output)?;

    let mut exports = Rows::new(&["exported", "format", "#members", "#written", "to"]);
    for export in &report.exports {
        let whose = if export.segments.is_empty() { "the query".to_owned() } else { export.segments.join(", ") };
        let to = if export.already { "delivered before".to_owned() } else { export.files.join(", ") };
        exports.push(vec![
            Cell::Text(whose),
            Cell::text(&export.format),
            Cell::count(export.members),
            Cell::count(export.written),
            Cell::Text(to),
        ]);
    }
    part(exports, output)?;

    part(steps(&report.steps), output)
}

/// The steps of a run, with what each took.
pub(super) fn steps(of: &[StepReport]) -> Rows {
    let mut steps = Rows::new(&["step", "#seconds", "#peak MB", "#rows"]);
    for step in of {
        steps.push(vec![
            Cell::text(&step.step),
            Cell::Text(format!("{:.2}", step.seconds)),
            Cell::maybe(step.peak_rss_mb, Cell::count),
            Cell::maybe(step.rows, Cell::count),
        ]);
    }
    steps
}

/// A model in a few words.
fn told(model: &ModelReport) -> String {
    let mut text = match model.fitted_on {
        Some(day) => format!("model {}, fitted to the buyers of {day}", model.model),
        None => "the benchmark model: too few buyers, or too few days, for one of the shop's own".to_owned(),
    };
    if let Some(next) = model.next.as_ref().filter(|next| **next != model.model) {
        text.push_str(&format!("; from now on {next}"));
    }
    text
}

fn part(rows: Rows, output: &mut Output<'_>) -> Result<()> {
    if rows.rows.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.rows(rows)
}

fn segments(reports: &[RunReport]) -> Rows {
    let mut rows = Rows::new(&["as_of", "segment", "#members", "#entered", "#exited"]);
    for report in reports {
        for segment in &report.segments {
            rows.push(vec![
                Cell::text(report.as_of.to_string()),
                Cell::text(&segment.segment),
                Cell::count(segment.members),
                Cell::maybe(segment.entered, Cell::count),
                Cell::maybe(segment.exited, Cell::count),
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;
    use crate::jobs::report::{LeftOut, Rejects, SegmentSize, StageSize, StepReport, TableRows};

    fn report() -> RunReport {
        let day = |text: &str| crate::calendar::parse_date(text).unwrap();
        RunReport {
            as_of: day("2026-11-19"),
            run_id: "r-1".to_owned(),
            job: "nightly".to_owned(),
            status: RunStatus::Succeeded,
            previous_as_of: Some(day("2026-11-18")),
            as_known: Some(true),
            tables: vec![TableRows { table: "orders".to_owned(), files: 2, rows: 1_003, rejected: 3 }],
            rejects: vec![Rejects { table: "orders".to_owned(), rule: "unknown_status".to_owned(), rows: 3 }],
            left_out: vec![LeftOut { table: "orders".to_owned(), reason: "test".to_owned(), rows: 5 }],
            customers: 400,
            stages: vec![
                StageSize { stage: "loyal".to_owned(), customers: 100 },
                StageSize { stage: "prospect".to_owned(), customers: 300 },
            ],
            model: Some(ModelReport {
                model: "mbg-2026-11-15-0a1b2c3d".to_owned(),
                fitted_on: Some(day("2026-11-15")),
                next: Some("mbg-2026-11-19-4e5f6a7b".to_owned()),
            }),
            segments: vec![
                SegmentSize { segment: "vip".to_owned(), members: 12, entered: Some(2), exited: Some(0) },
                SegmentSize { segment: "new".to_owned(), members: 7, entered: None, exited: None },
            ],
            exports: Vec::new(),
            steps: vec![
                StepReport { step: "land".to_owned(), seconds: 1.234, peak_rss_mb: Some(310), rows: Some(1_000) },
                StepReport { step: "publish".to_owned(), seconds: 0.1, peak_rss_mb: None, rows: None },
            ],
            warnings: vec!["a history of 90 days: stages are provisional".to_owned()],
        }
    }

    #[test]
    fn for_people() {
        let (text, errors) = printed(Format::Table, |output| print(&report(), output).map(|_| ()));
        insta::assert_snapshot!(text, @r"
        nightly as of 2026-11-19: published
        run r-1, compared with 2026-11-18

        rows in  files  rows  rejected
        orders       2  1003         3

        rejected  rule            rows
        orders    unknown_status     3

        left out  reason  rows
        orders    test       5

        customers  400
        lifecycle  model mbg-2026-11-15-0a1b2c3d, fitted to the buyers of 2026-11-15; from now on mbg-2026-11-19-4e5f6a7b

        stage     customers  share
        loyal           100  25.0%
        prospect        300  75.0%

        segment  members  entered  exited
        vip           12        2       0
        new            7

        step     seconds  peak MB  rows
        land        1.23      310  1000
        publish     0.10
        ");
        insta::assert_snapshot!(errors, @"warning: a history of 90 days: stages are provisional");
    }

    #[test]
    fn for_programs() {
        let (text, errors) = printed(Format::Json, |output| print(&report(), output).map(|_| ()));
        assert_eq!(serde_json::from_str::<RunReport>(&text).unwrap(), report());
        assert_eq!(errors, "");
        let (text, _) = printed(Format::Json, |output| print_all(&[report(), report()], output).map(|_| ()));
        assert_eq!(serde_json::from_str::<Vec<RunReport>>(&text).unwrap().len(), 2);
        let (text, _) = printed(Format::Csv, |output| print(&report(), output).map(|_| ()));
        insta::assert_snapshot!(text, @r"
        as_of,segment,members,entered,exited
        2026-11-19,vip,12,2,0
        2026-11-19,new,7,,
        ");
    }

    #[test]
    fn a_day_that_is_not_published_is_faulty() {
        for (status, outcome) in [
            (RunStatus::Succeeded, Outcome::Done),
            (RunStatus::Unchanged, Outcome::Done),
            (RunStatus::Held, Outcome::Faulty),
            (RunStatus::Failed, Outcome::Faulty),
        ] {
            let reports = [report(), RunReport { status, ..report() }];
            printed(Format::Table, |output| {
                assert_eq!(print_all(&reports, output)?, outcome);
                Ok(())
            });
        }
    }
}
