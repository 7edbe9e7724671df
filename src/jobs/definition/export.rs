//! The keys of an export step.

use chrono::NaiveDate;

use crate::audience::Since;
use crate::calendar::parse_date;
use crate::config::document::{Located, Section};
use crate::error::{Error, Result};

/// An audience and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// Whose members.
    pub audience: Audience,
    /// The segments whose members stay out.
    pub exclude: Vec<String>,
    /// The name of the format.
    pub format: String,
    /// Where it is written, below the project's folder or in an object store; `{as_of}` stands for the day, `{segment}` for
    /// each segment.
    pub to: String,
    /// The share that is not contacted, for comparison (0).
    pub holdout: f64,
    /// Whether a customer goes only to the first of the segments, by priority.
    pub exclusive: bool,
    /// Whether only what changed since an earlier delivery is written.
    pub since: Option<Since>,
    /// Rows of a file, where the export is cut into several.
    pub rows_per_file: Option<u64>,
    /// Whether a byte order mark makes spreadsheets read UTF-8.
    pub bom: bool,
}

/// Whose members an export delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The members of these segments.
    Segments(Vec<String>),
    /// Whoever a query names.
    Query(String),
}

/// Reads an export step; every fault is reported to the document.
pub(super) fn read(mut section: Section<'_>) -> Option<Export> {
    let texts = |found: Option<Vec<Located<String>>>| -> Option<Vec<String>> {
        found.map(|texts| texts.into_iter().map(|text| text.value).collect())
    };
    let written: Vec<&str> =
        ["segment", "segments", "query"].into_iter().filter(|key| section.place_of(key).is_some()).collect();
    let one = texts(section.text_or_texts("segment"));
    let several = texts(section.text_or_texts("segments"));
    let query = section.text("query").map(|query| query.value);
    match written.as_slice() {
        [] => section
            .missing("segment", "name one: `segment = \"win-back\"`, or several: `segments = [\"vip\", \"loyal\"]`"),
        [_] => {}
        [.., last] => {
            let at = section.place_of(last);
            let message = format!("an export has a {}, not both", quoted(&written));
            section.document().fault(at.as_ref().unwrap_or(section.at()), "config.misplaced", message, None);
        }
    }
    for key in ["segment", "segments"] {
        if section.is_empty_list(key) {
            section.missing(key, "name at least one segment");
        }
    }
    let exclude = texts(section.text_or_texts("exclude")).unwrap_or_default();
    for key in ["format", "to"] {
        if section.place_of(key).is_none() {
            section.missing(key, "an export needs `format` and `to`");
        }
    }
    let format = section.text("format").map(|format| format.value);
    let to = section.parsed("to", parse_to);
    let holdout = section.share("holdout").unwrap_or_default();
    let exclusive = section.flag("exclusive").unwrap_or_default();
    let since = section.parsed("since", parse_since);
    let rows = section.integer("rows_per_file", 1..=i64::MAX);
    let rows_per_file = rows.and_then(|rows| u64::try_from(rows).ok());
    let bom = section.flag("bom").unwrap_or_default();
    if query.is_some()
        && let Some(at) = section.place_of("to").filter(|_| to.as_ref().is_some_and(|to| to.contains("{segment}")))
    {
        let hint = "name the file, or save the query as a segment".to_owned();
        section.document().fault(&at, "jobs.bad_destination", "a query has no id to stand for `{segment}`", Some(hint));
    }
    section.finish();
    let audience = match (one.or(several), query) {
        (Some(segments), None) if !segments.is_empty() => Audience::Segments(segments),
        (None, Some(query)) => Audience::Query(query),
        _ => return None,
    };
    Some(Export { audience, exclude, format: format?, to: to?, holdout, exclusive, since, rows_per_file, bom })
}

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or a ")
}

/// `last`, or a day.
fn parse_since(text: &str) -> Result<Since> {
    if text == "last" {
        return Ok(Since::Last);
    }
    let day: Result<NaiveDate> = parse_date(text);
    day.map(Since::Day).map_err(|_| {
        Error::definition("jobs.bad_since", format!("`{text}` is neither `last` nor a day"))
            .with_hint("write `since = \"last\"`, or a day such as `\"2026-11-19\"`")
    })
}

/// A path or URL whose braces are those that are known.
fn parse_to(text: &str) -> Result<String> {
    if text == "-" {
        return Err(Error::definition("jobs.bad_destination", "a job has no output to write to")
            .with_hint("name a file: `to = \"exports/{segment}/{as_of}.csv\"`"));
    }
    let rest = text.replace("{as_of}", "").replace("{segment}", "");
    if rest.contains(['{', '}']) {
        return Err(Error::definition("jobs.bad_destination", format!("`{text}` has braces that nothing stands for"))
            .with_hint("`{as_of}` stands for the day, `{segment}` for the segment"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;
    use crate::jobs::definition::{Job, Step};

    fn steps(lines: &str) -> Result<Vec<Step>, String> {
        let text = format!("[[steps]]\nrun = \"export\"\n{lines}\n");
        let job = Job::parse("nightly", "jobs/nightly.toml", &text, Zone::UTC);
        let told = |fault: &crate::config::Fault| {
            let error = fault.to_error();
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{error}{hint}").replace("jobs/nightly.toml:", "")
        };
        job.map(|job| job.steps).map_err(|faults| faults.iter().map(told).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn every_key_of_an_export() {
        let read = steps(
            "segments = [\"vip\", \"loyal\"]\nexclude = \"staff\"\nformat = \"email\"\nto = \"s3://b/{segment}/{as_of}.csv\"\n\
             holdout = 0.1\nexclusive = true\nsince = \"2026-03-01\"\nrows_per_file = 1000\nbom = true",
        );
        let export = Export {
            audience: Audience::Segments(vec!["vip".to_owned(), "loyal".to_owned()]),
            exclude: vec!["staff".to_owned()],
            format: "email".to_owned(),
            to: "s3://b/{segment}/{as_of}.csv".to_owned(),
            holdout: 0.1,
            exclusive: true,
            since: Some(Since::Day(parse_date("2026-03-01").unwrap())),
            rows_per_file: Some(1_000),
            bom: true,
        };
        assert_eq!(read.unwrap(), [Step::Export(Box::new(export))]);
        let query =
            steps("query = \"number_of_orders = 0\"\nformat = \"jsonl\"\nto = \"a.jsonl\"\nsince = \"last\"").unwrap();
        let [Step::Export(export)] = query.as_slice() else { panic!("{query:?}") };
        assert_eq!(
            (&export.audience, export.since),
            (&Audience::Query("number_of_orders = 0".to_owned()), Some(Since::Last))
        );
    }

    #[test]
    fn every_fault_of_an_export() {
        insta::assert_snapshot!(
            steps("segment = \"a\"\nsegments = [\"b\"]\nformat = \"email\"\nto = \"{day}.csv\"\nhold_out = 1\nholdout = 2\nsince = \"soon\"\nrows_per_file = 0\nbom = \"yes\"").unwrap_err(),
            @r#"
        4:12: an export has a `segment` or a `segments`, not both
        6:6: `{day}.csv` has braces that nothing stands for (`{as_of}` stands for the day, `{segment}` for the segment)
        7:1: unknown key `hold_out` in `[steps]` (did you mean `holdout`?)
        8:11: `steps.holdout` must be a number from 0 to 1
        9:9: `soon` is neither `last` nor a day (write `since = "last"`, or a day such as `"2026-11-19"`)
        10:17: `steps.rows_per_file` must be a whole number of at least 1
        11:7: `steps.bom` must be `true` or `false`, not a text
        "#
        );
        insta::assert_snapshot!(
            steps("query = \"number_of_orders = 0\"\nformat = \"email\"\nto = \"{segment}.csv\"").unwrap_err(),
            @"5:6: a query has no id to stand for `{segment}` (name the file, or save the query as a segment)"
        );
        assert!(steps("segments = []\nformat = \"email\"\nto = \"-\"").unwrap_err().contains("a job has no output"));
    }
}
