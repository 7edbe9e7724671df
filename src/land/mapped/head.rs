//! What a mapping's head says: which columns the export has, and which rows are left out on purpose.

use crate::error::{Error, Result};

/// The head of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Columns without which a file is another export.
    pub(super) required: Vec<String>,
    /// Columns that the statement reads where they are there.
    pub(super) read: Vec<String>,
    /// Columns that the export has and the contract has no place for; a last `*` stands for any ending.
    pub(super) ignored: Vec<String>,
    /// Rows that are left out: what they are, and their condition.
    pub(super) left_out: Vec<(String, String)>,
}

impl Head {
    /// Reads the comment lines at a statement's beginning: `-- Requires:`, `-- Reads:` and `-- Ignores:` with names between
    /// commas, which go on in lines that begin with `--` and two blanks or more; `-- Leaves out: what: condition`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut head = Self::default();
        let mut list = "";
        for line in text.lines() {
            let Some(comment) = line.strip_prefix("--") else { break };
            let known = ["Requires", "Reads", "Ignores", "Leaves out"].into_iter().find_map(|key| {
                comment.strip_prefix(' ')?.strip_prefix(key)?.strip_prefix(':').map(|rest| (key, rest))
            });
            let names = match known {
                Some(("Leaves out", rest)) => {
                    let (what, condition) = rest
                        .split_once(": ")
                        .ok_or_else(|| bad("`-- Leaves out:` is followed by what, a colon and an SQL condition"))?;
                    head.left_out.push((what.trim().to_owned(), condition.trim().to_owned()));
                    list = "";
                    continue;
                }
                Some((key, rest)) => {
                    list = key;
                    rest
                }
                None if comment.starts_with("  ") => comment,
                None => {
                    list = "";
                    continue;
                }
            };
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
            match list {
                "Requires" => head.required.extend(names),
                "Reads" => head.read.extend(names),
                "Ignores" => head.ignored.extend(names),
                _ => {}
            }
        }
        if head.required.is_empty() {
            return Err(bad("the head names no column of the export"));
        }
        Ok(head)
    }

    /// Whether the contract has no place for a column, and the mapping knows.
    pub(super) fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(begin) => name.get(..begin.len()).is_some_and(|found| found.eq_ignore_ascii_case(begin)),
            None => ignored.eq_ignore_ascii_case(name),
        })
    }

    /// Every column that the statement may name.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.required.iter().chain(&self.read).map(String::as_str)
    }
}

fn bad(what: &str) -> Error {
    Error::definition("land.bad_mapping", what).with_hint(
        "begin the file with comments: `-- Requires: columns, between commas`, `-- Reads: further ones`, `-- Ignores: those \
         without use`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read() {
        let text = "-- Orders of somewhere, https://example.com.\n-- Requires: Id, Created at\n-- Reads: Total,\n--   Tax (sum)\n\
                    -- Ignores: Note*\n-- Leaves out: without a customer: \"Id\" IS NULL\nSELECT 1\n-- Reads: not this\n";
        let head = Head::parse(text).unwrap();
        assert_eq!(head.required, ["Id", "Created at"]);
        assert_eq!(head.read, ["Total", "Tax (sum)"]);
        assert_eq!(head.left_out, [("without a customer".to_owned(), "\"Id\" IS NULL".to_owned())]);
        assert!(head.ignores("notes of ours") && head.ignores("Note") && !head.ignores("No"));
        assert_eq!(Head::parse("SELECT 1").unwrap_err().code(), "land.bad_mapping");
    }
}
