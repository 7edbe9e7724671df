//! Errors on the terminal and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::config::{Fault, faults_of};
use crate::diagnostic::line_and_column;
use crate::error::{Error, Kind};

/// An error for people: `error[code]: message`, its place, a hint; or every fault underneath it, each underlined in
/// its text.
pub fn text(error: &Error, color: bool) -> String {
    let Some(faults) = faults_of(error) else { return one(error, color) };
    let mut blocks: Vec<String> = faults
        .iter()
        .map(|fault| match fault {
            Fault::Text { origin, source, diagnostic } => diagnostic.render(origin, source, color),
            Fault::Other(error) => one(error, color),
        })
        .collect();
    if faults.len() > 1 {
        blocks.push(format!("{} faults were found", faults.len()));
    }
    blocks.join("\n\n")
}

/// An error for programs: `{"errors": [{code, kind, message, file, line, column, row, hint}]}`, on one line.
pub fn json(error: &Error) -> String {
    json!({ "errors": objects(error) }).to_string()
}

/// An error as JSON objects: one, or one for each fault underneath it.
pub fn objects(error: &Error) -> Vec<Value> {
    match faults_of(error) {
        Some(faults) => faults
            .iter()
            .map(|fault| {
                let mut value = object(&fault.to_error());
                if let Fault::Text { source, diagnostic, .. } = fault {
                    let (line, column) = line_and_column(source, diagnostic.span.end);
                    value["end_line"] = json!(line);
                    value["end_column"] = json!(column);
                }
                value
            })
            .collect(),
        None => vec![object(error)],
    }
}

fn one(error: &Error, color: bool) -> String {
    let (red, blue, plain) = if color { ("\u{1b}[1;31m", "\u{1b}[1;34m", "\u{1b}[0m") } else { ("", "", "") };
    let mut text = format!("{red}error[{}]{plain}: {}", error.code(), error.message());
    let place = error.place().to_string();
    if !place.is_empty() {
        let _infallible = write!(text, "\n {blue}-->{plain} {place}");
    }
    // The cause is said where the message does not say it already.
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(below) = cause {
        causes.push(below.to_string());
        cause = below.source();
    }
    let told = causes.last().is_none_or(|deepest| text.contains(deepest));
    if let Some(said) = causes.iter().find(|said| !text.contains(said.as_str()))
        && !told
        && error.kind() != Kind::Definition
    {
        let _infallible = write!(text, "\n  {blue}={plain} because: {said}");
    }
    if let Some(hint) = error.hint() {
        let _infallible = write!(text, "\n  {blue}={plain} help: {hint}");
    }
    text
}

fn object(error: &Error) -> Value {
    let place = error.place();
    json!({
        "code": error.code(),
        "kind": kind(error.kind()),
        "message": error.message(),
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "row": place.row,
        "hint": error.hint(),
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Usage => "usage",
        Kind::Definition => "definition",
        Kind::Input => "input",
        Kind::NotFound => "not_found",
        Kind::Superseded => "superseded",
        Kind::Transient => "transient",
        Kind::Storage => "storage",
        Kind::Resources => "resources",
        Kind::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_code_place_cause_and_help() {
        let below = std::io::Error::other("the disk is full");
        let error = Error::storage("lake.store", "the file could not be written")
            .in_file("landing/orders/a.parquet")
            .at_row(7)
            .with_hint("make space")
            .with_source(below);
        insta::assert_snapshot!(text(&error, false), @r"
        error[lake.store]: the file could not be written
         --> landing/orders/a.parquet row 7
          = because: the disk is full
          = help: make space
        ");
        insta::assert_snapshot!(json(&error), @r#"{"errors":[{"code":"lake.store","column":null,"file":"landing/orders/a.parquet","hint":"make space","kind":"storage","line":null,"message":"the file could not be written","row":7}]}"#);
        assert!(text(&error, true).contains("\u{1b}["));
    }
}
