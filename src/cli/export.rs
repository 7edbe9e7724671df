//! `alluvial export`.

use std::time::Duration;

use chrono::NaiveDate;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::{Format, List, Output};
use super::rows::{Cell, Rows};
use crate::audience::export::{Sample, dry_run};
use crate::audience::{Codec, Destination, Report, Request, Since, Steps, Tap, Target, Whose, deliver, export};
use crate::config::Environment;
use crate::config::quantity::parse_share;
use crate::error::{Error, Result};

/// What `alluvial export` takes. The file's format is `--format`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Formats: basic, extended, email, sms, facebook, google, klaviyo, mailchimp, parquet, jsonl, and those \
                        that the project declares in sql/exports/. Consent, validity and suppressions are those of the \
                        newest landed data."
)]
pub struct Args {
    /// The segments whose members are exported
    #[arg(value_name = "SEGMENT", required_unless_present = "query", conflicts_with = "query")]
    pub segments: Vec<String>,
    /// A query instead of segments
    #[arg(long, value_name = "QUERY")]
    pub query: Option<String>,
    /// A segment whose members stay out
    #[arg(long, value_name = "ID")]
    pub exclude: Vec<String>,
    /// The published day whose members they are [default: the newest]
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
    pub as_of: Option<NaiveDate>,
    /// The file: a path or s3://, gs://, az://; `{as_of}` and `{segment}` are filled in; .gz and .zst compress; `-` is the
    /// output
    #[arg(long, value_name = "PATH", required_unless_present = "dry_run")]
    pub to: Option<String>,
    /// The share of customers who are not written, to compare with
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub holdout: f64,
    /// A customer goes only to the first of the segments, by priority
    #[arg(long)]
    pub exclusive: bool,
    /// Only what changed since the last export to this file, or since the last one by a day: FILE.add and FILE.remove
    #[arg(long, value_name = "last|DATE", value_parser = since)]
    pub since: Option<Since>,
    /// Cut into files of so many rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows_per_file: Option<u64>,
    /// Begin with a byte order mark, for spreadsheets that need one
    #[arg(long)]
    pub bom: bool,
    /// Fill contact columns whoever consented or not (extended, parquet, jsonl); recorded with your name
    #[arg(long)]
    pub no_consent_check: bool,
    /// Write nothing: the counts by step, and ten rows with contact data masked
    #[arg(long)]
    pub dry_run: bool,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub report: Format,
}

fn share(text: &str) -> Result<f64, String> {
    parse_share(text).map_err(|error| error.message().to_owned())
}

fn since(text: &str) -> Result<Since, String> {
    if text == "last" { Ok(Since::Last) } else { super::arguments::date(text).map(Since::Day) }
}

impl Args {
    fn request(&self, format: &str, environment: &Environment) -> Request {
        Request {
            whose: match &self.query {
                Some(query) => Whose::Query(query.clone()),
                None => Whose::Segments(self.segments.clone()),
            },
            exclude: self.exclude.clone(),
            as_of: self.as_of,
            format: format.to_owned(),
            holdout: self.holdout,
            exclusive: self.exclusive,
            since: self.since,
            rows_per_file: self.rows_per_file,
            bom: self.bom,
            consent_check: !self.no_consent_check,
            requested_by: environment.user().map_or_else(|| "cli".to_owned(), |user| format!("cli:{user}")),
            once: false,
        }
    }
}

/// Exports an audience.
///
/// # Errors
/// See [`crate::audience::export()`].
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    let format = call.globals.word.as_str();
    if format.is_empty() || format == "table" {
        return Err(Error::usage("audience.no_format", "an export has a format").with_hint(
            "write `--format email`, or basic, extended, sms, facebook, google, klaviyo, mailchimp, parquet, jsonl",
        ));
    }
    call.run(output, async |settings, output| {
        // The lake's key tells guests apart, so that even a look needs what a writer needs.
        let opened = Opened::new(settings, call.environment, true).await?;
        let (project, at) = (&opened.project, opened.clock.now());
        let request = args.request(format, call.environment);
        let mut bar = Bar::new(output);
        if args.dry_run {
            let (report, sample) = Box::pin(dry_run(project, &request, &[], at, &mut bar)).await?;
            bar.clear();
            print_sample(&report, sample, output)?;
            return Ok(Outcome::Done);
        }
        let to = args.to.as_deref().unwrap_or("-");
        if to == "-" {
            let report = Box::pin(to_stdout(&opened, &request, output, &mut bar)).await?;
            bar.clear();
            tell(&report, output);
            return Ok(Outcome::Done);
        }
        let cloud = call.environment.cloud();
        let target = Target { to, cloud: &cloud, base: call.environment.folder() };
        let reports = Box::pin(deliver(project, &request, &target, at, &mut bar)).await?;
        bar.clear();
        print(&reports, output)?;
        Ok(Outcome::Done)
    })
}

async fn to_stdout(opened: &Opened, request: &Request, output: &mut Output<'_>, bar: &mut Bar) -> Result<Report> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let at = opened.clock.now();
    let work = Box::pin(async move {
        let tap = Tap { bytes: sender, codec: Codec::None, shown: "-".to_owned() };
        let destination = Destination::Stream(tap);
        export(&opened.project, request, &[], &destination, at, bar).await
    });
    let print = async {
        while let Some(bytes) = receiver.recv().await {
            output.write(&bytes)?;
            if output.is_closed() {
                break;
            }
        }
        // Whoever still sends is told that nobody listens.
        drop(receiver);
        Ok(())
    };
    let (report, printed): (Result<Report>, Result<()>) = tokio::join!(work, print);
    printed?;
    report
}

/// The steps of a report: what they are called, how many came so far.
fn steps(report: &Report) -> Vec<(&'static str, u64)> {
    let counts = &report.counts;
    let mut steps = vec![
        ("members", counts.members),
        ("gone since", counts.gone),
        ("with address", counts.with_address),
        ("consented", counts.consented),
        ("not suppressed", counts.not_suppressed),
        ("one per address", counts.one_per_address),
        ("not held out", counts.not_held_out),
        ("written", counts.written),
    ];
    steps.extend(report.split.iter().copied());
    if let Some((removed, unknown)) = report.removed {
        steps.push(("to remove", removed));
        steps.push(("to remove, address unknown", unknown));
    }
    steps
}

fn rows(report: &Report) -> Rows {
    let mut rows = Rows::new(&["step", "#customers"]);
    for (step, customers) in steps(report) {
        rows.push(vec![Cell::text(step), Cell::count(customers)]);
    }
    rows
}

fn heading(report: &Report) -> String {
    let whose = if report.segments.is_empty() { "the query".to_owned() } else { report.segments.join(", ") };
    let consent = report.ads_consent.map_or_else(String::new, |state| format!(", consent to advertising: {state}"));
    format!("{whose} as of {}, for {}{consent}", report.as_of, report.format)
}

fn notes(report: &Report, output: &mut Output<'_>) {
    for lost in &report.lost {
        output.note(&format!("{} customers of {} went to {}", lost.customers, lost.segment, lost.to));
    }
    for warning in &report.warnings {
        output.warn(warning);
    }
    for file in &report.files {
        output.note(&format!("written to {file}"));
    }
    if let Some(id) = &report.export_id {
        output.note(&format!("recorded as {id}"));
    }
}

fn print(reports: &[Report], output: &mut Output<'_>) -> Result<()> {
    if output.format() == Format::Json {
        output.line(&format!("{:#}", json!(reports)))?;
    } else {
        let list = |report: &Report| List { key: "steps", heading: heading(report), rows: rows(report) };
        output.lists(&[], reports.iter().map(list).collect())?;
    }
    for report in reports {
        notes(report, output);
    }
    Ok(())
}

/// The output has the rows: what is to be told goes to stderr.
fn tell(report: &Report, output: &mut Output<'_>) {
    if output.format() == Format::Json {
        output.note(&json!([report]).to_string());
        return;
    }
    output.note(&heading(report));
    for (step, customers) in steps(report) {
        output.note(&format!("{step}: {customers}"));
    }
    notes(report, output);
}

fn print_sample(report: &Report, sample: Sample, output: &mut Output<'_>) -> Result<()> {
    let shown = Rows::from_batches(&sample.schema, &sample.rows)?;
    let heading = heading(report);
    let lists = vec![
        List { key: "steps", heading, rows: rows(report) },
        List { key: "sample", heading: "the first rows, contact data masked".to_owned(), rows: shown },
    ];
    let facts = [
        ("as_of", json!(report.as_of.to_string())),
        ("format", json!(report.format)),
        ("segments", json!(report.segments)),
        ("counts", json!(report.counts)),
        ("lost", json!(report.lost)),
    ];
    output.lists(&facts, lists)?;
    notes(report, output);
    Ok(())
}

/// Progress on a terminal: the step, and rows once they are written.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(output: &Output<'_>) -> Self {
        let target = if output.shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Steps for Bar {
    fn begin(&mut self, step: &'static str) {
        self.bar.set_message(step);
    }

    fn expect(&mut self, rows: u64) {
        self.bar.set_length(rows);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {human_pos}/{human_len} {eta}") {
            self.bar.set_style(style);
        }
    }

    fn rows(&mut self, rows: u64) {
        self.bar.set_position(rows);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
