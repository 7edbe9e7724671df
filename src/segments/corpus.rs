//! The corpus: queries with what must come of them, one file a subject, under `tests/corpus/segments/`.
//!
//! A file is a list of cases. `### query` begins a case and its text (to the next line with `---`); then each section
//! `--- canonical | tree | sql | errors | members` has the expected text. Where that is a single `?`, the test fails
//! once and writes what came out into the file, for its writer to read before it is committed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::check::{Context, check};
use super::compile::{Tables, standalone_sql};
use super::shop;
use super::syntax::{Parsed, parse, to_json};
use crate::diagnostic::{Diagnostic, line_and_column};

struct Case {
    line: usize,
    query: String,
    sections: Vec<(String, String)>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("### query") {
            assert!(rest.trim().is_empty(), "line {}: `### query` stands alone", number + 1);
            cases.push(Case { line: number + 1, query: String::new(), sections: Vec::new() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(name) = line.strip_prefix("--- ") {
            case.sections.push((name.trim().to_owned(), String::new()));
            continue;
        }
        let into = case.sections.last_mut().map_or(&mut case.query, |(_, text)| text);
        into.push_str(line);
        into.push('\n');
    }
    for case in &mut cases {
        case.query = case.query.trim_end().to_owned();
        case.sections.iter_mut().for_each(|(_, text)| *text = text.trim_end().to_owned());
    }
    cases
}

fn told(source: &str, found: &Diagnostic) -> String {
    let (line, column) = line_and_column(source, found.span.start);
    let severity = match found.severity {
        crate::diagnostic::Severity::Error => "error",
        crate::diagnostic::Severity::Warning => "warning",
    };
    let under = source.get(found.span.clone()).unwrap_or("<not a part of the text>");
    let mut text = format!("{severity} {} {line}:{column} `{under}`\n  {}", found.code, found.message);
    if let Some(hint) = &found.hint {
        let _ = write!(text, "\n  {hint}");
    }
    text
}

async fn actual(case: &Case, section: &str) -> String {
    let Parsed { expr, diagnostics } = parse(&case.query);
    let catalogue = shop::catalogue();
    let known = [("vip", true), ("win-back", true), ("old", false)].map(|(id, active)| (id.to_owned(), active)).into();
    let checked = check(&expr, &Context { catalogue: &catalogue, segments: &known, as_of: shop::as_of() });
    match section {
        "canonical" => expr.to_string(),
        "tree" => to_json(&expr).unwrap_or_else(|error| error.to_string()),
        "errors" => {
            let all: Vec<String> =
                diagnostics.iter().chain(&checked.diagnostics).map(|found| told(&case.query, found)).collect();
            all.join("\n")
        }
        "sql" => {
            let Some(rule) = checked.rule else { return format!("no rule: {:?}", checked.diagnostics) };
            let vip = shop::rule("amount_spent > 5000", &[]);
            let others = [("vip".to_owned(), &vip)].into();
            let scope = shop::scope("Europe/Copenhagen", "2026-11-19");
            standalone_sql(&rule, &others, scope, &Tables::default()).unwrap_or_else(|error| error.to_string())
        }
        "members" => {
            let vip = ("vip", "amount_spent > 5000");
            let scope = shop::scope("Europe/Copenhagen", "2026-11-19");
            shop::members_of(&[vip, ("it", &case.query)], scope).await
        }
        other => panic!("line {}: there is no section `{other}`", case.line),
    }
}

#[tokio::test]
async fn every_case_comes_out_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/segments");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = String::new();
    let mut count = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "txt")) {
        let mut text = std::fs::read_to_string(file).unwrap();
        for case in cases(&text.clone()) {
            for (section, expected) in &case.sections {
                count += 1;
                let actual = Box::pin(actual(&case, section)).await;
                if expected == "?" {
                    text = text.replacen(&format!("--- {section}\n?\n"), &format!("--- {section}\n{actual}\n"), 1);
                    std::fs::write(file, &text).unwrap();
                }
                if actual != *expected {
                    let name = file.file_name().unwrap().to_string_lossy();
                    let _ = write!(
                        wrong,
                        "\n{name}:{} {}\n--- {section} expected\n{expected}\n--- {section}\n{actual}\n",
                        case.line, case.query
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 100, "the corpus has shrunk to {count} sections");
}

#[test]
fn every_query_that_shopify_documents_reads_as_documented() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/segment-queries/shopify-documented.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: the shared data folder is not there");
        return;
    };
    let catalogue = shop::catalogue();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let documented: serde_json::Value = serde_json::from_str(line).unwrap();
        let query = documented["query"].as_str().unwrap();
        let parsed = parse(query);
        assert_eq!(!parsed.has_errors(), documented["valid"].as_bool().unwrap(), "{query}: {:?}", parsed.diagnostics);
        if parsed.has_errors() {
            continue;
        }
        let older = parsed.diagnostics.iter().any(|found| found.code == "segment.older_spelling");
        assert_eq!(older, documented["older_spelling"].as_bool().unwrap(), "{query}: {:?}", parsed.diagnostics);
        assert_eq!(parse(&parsed.expr.to_string()).expr, parsed.expr, "{query}");
        let known = Default::default();
        let checked = check(&parsed.expr, &Context { catalogue: &catalogue, segments: &known, as_of: shop::as_of() });
        for found in &checked.diagnostics {
            let expected = matches!(found.code, "segment.one_day" | "segment.anniversary_today");
            assert!(expected, "{query}: {found:?}");
        }
    }
}
