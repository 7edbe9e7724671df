//! CSV as RFC 4180 has it, read record by record: every fault has its line and column.

use std::io::BufRead;

use super::source::{MAX_RECORD, read_fault};
use crate::error::{Error, Result};

/// Columns of one file; more is a file of another kind.
pub(super) const MAX_COLUMNS: usize = 2_000;

/// One record: its values without quotes, valid until the next is read.
#[derive(Debug, Default)]
pub(super) struct Record {
    text: String,
    /// Where each value ends in the text.
    ends: Vec<usize>,
    /// All values, those past [`MAX_COLUMNS`] included.
    pub(super) count: usize,
    /// The 1-based line on which it begins.
    pub(super) line: u64,
}

impl Record {
    /// A value; none where the line leaves it blank.
    pub(super) fn get(&self, index: usize) -> Option<&str> {
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.text.get(start..*self.ends.get(index)?).filter(|value| !value.is_empty())
    }
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    line: u64,
    column: u64,
    quoted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a value's first character.
    Start,
    /// In a value without quotes.
    Bare,
    /// In a quoted value.
    Quoted,
    /// Behind a quote that closes the value, or is the first of two.
    Closed,
}

/// Reads records from a text.
#[derive(Debug)]
pub(super) struct Records<R> {
    input: R,
    separator: u8,
    record: Record,
    bytes: Vec<u8>,
    /// Where each value begins in the file.
    starts: Vec<Mark>,
    line: u64,
    column: u64,
    /// How many values a record must have, once the header is read.
    expected: Option<usize>,
    /// Whether the last byte was a carriage return that ended a line.
    returned: bool,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R, separator: u8) -> Self {
        Self {
            input,
            separator,
            record: Record::default(),
            bytes: Vec::new(),
            starts: Vec::new(),
            line: 1,
            column: 1,
            expected: None,
            returned: false,
        }
    }

    /// Takes only records of this many values from here on.
    pub(super) fn require(&mut self, count: usize) {
        self.expected = Some(count);
    }

    /// The text behind the last record.
    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// The next record that is no blank line.
    ///
    /// # Errors
    /// `land.csv_columns`, `land.csv_quote`, `land.not_utf8` and `land.record_too_long`, with line and column.
    pub(super) fn next(&mut self) -> Result<Option<&Record>> {
        loop {
            if !self.read()? {
                return Ok(None);
            }
            let blank = self.record.count == 1 && self.bytes.is_empty() && self.starts.iter().all(|mark| !mark.quoted);
            if !blank {
                break;
            }
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != self.record.count) {
            // The first value too many, on the record's first line.
            let surplus = self.starts.get(expected).filter(|mark| mark.line == self.record.line);
            let column = surplus.map(|mark| mark.column - u64::from(mark.quoted));
            let found = self.record.count;
            return Err(Error::input(
                "land.csv_columns",
                format!("the header has {expected} columns, but this line has {found}"),
            )
            .at_line(self.record.line, column)
            .with_hint("put values that hold the separator or a line break in quotes"));
        }
        let mut text = std::mem::take(&mut self.record.text).into_bytes();
        text.clear();
        text.extend_from_slice(&self.bytes);
        self.record.text = match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return Err(self.not_utf8(error.utf8_error().valid_up_to())),
        };
        Ok(Some(&self.record))
    }

    fn read(&mut self) -> Result<bool> {
        self.bytes.clear();
        self.record.ends.clear();
        self.starts.clear();
        self.record.count = 0;
        let mut state = State::Start;
        let mut begun = false;
        let mut opened = (self.line, self.column);
        loop {
            let buffer = self.input.fill_buf().map_err(read_fault)?;
            if buffer.is_empty() {
                if state == State::Quoted {
                    return Err(Error::input("land.csv_quote", "the quote that opens here is never closed")
                        .at_line(opened.0, Some(opened.1))
                        .with_hint("close it; a quote inside a value is written twice"));
                }
                if begun {
                    self.end_value();
                }
                return Ok(begun);
            }
            let mut used = 0;
            let mut ended = false;
            for &byte in buffer {
                used += 1;
                if self.returned {
                    self.returned = false;
                    if byte == b'\n' && state == State::Start && !begun {
                        continue;
                    }
                }
                if !begun {
                    begun = true;
                    self.record.line = self.line;
                }
                let break_here = state != State::Quoted && (byte == b'\n' || byte == b'\r');
                if state == State::Start {
                    let quoted = byte == b'"';
                    let column = if quoted { self.column + 1 } else { self.column };
                    if self.starts.len() < MAX_COLUMNS {
                        self.starts.push(Mark { line: self.line, column, quoted });
                    }
                    if quoted {
                        opened = (self.line, self.column);
                    }
                }
                if break_here {
                    self.returned = byte == b'\r';
                    self.line += 1;
                    self.column = 1;
                    ended = true;
                    break;
                }
                match state {
                    State::Start if byte == b'"' => state = State::Quoted,
                    State::Quoted if byte == b'"' => state = State::Closed,
                    State::Quoted => self.bytes.push(byte),
                    State::Closed if byte == b'"' => {
                        self.bytes.push(byte);
                        state = State::Quoted;
                    }
                    _ if byte == self.separator => {
                        // The same as `end_value`, which would borrow the buffer's owner.
                        self.record.count += 1;
                        if self.record.ends.len() < MAX_COLUMNS {
                            self.record.ends.push(self.bytes.len());
                        }
                        state = State::Start;
                    }
                    State::Closed => {
                        return Err(Error::input("land.csv_quote", "text follows the quote that closes a value")
                            .at_line(self.line, Some(self.column))
                            .with_hint("put a separator there; a quote inside a value is written twice"));
                    }
                    State::Start | State::Bare => {
                        self.bytes.push(byte);
                        state = State::Bare;
                    }
                }
                if byte == b'\n' {
                    self.line += 1;
                    self.column = 1;
                } else if byte & 0xC0 != 0x80 {
                    self.column += 1;
                }
            }
            self.input.consume(used);
            if ended {
                self.end_value();
                return Ok(true);
            }
            if self.bytes.len() > MAX_RECORD {
                return Err(too_long(self.record.line));
            }
        }
    }

    fn end_value(&mut self) {
        self.record.count += 1;
        if self.record.ends.len() < MAX_COLUMNS {
            self.record.ends.push(self.bytes.len());
        }
    }

    /// The fault at a byte of the record's values, walked back to its place in the file.
    fn not_utf8(&self, at: usize) -> Error {
        let value = self.record.ends.partition_point(|end| *end <= at);
        let start = if value == 0 { 0 } else { self.record.ends.get(value - 1).copied().unwrap_or(0) };
        let Some(mark) = self.starts.get(value) else { return not_utf8(self.record.line, None) };
        let (mut line, mut column) = (mark.line, mark.column);
        for byte in self.bytes.get(start..at).unwrap_or_default() {
            match byte {
                b'\n' => (line, column) = (line + 1, 1),
                b'"' if mark.quoted => column += 2,
                byte if byte & 0xC0 != 0x80 => column += 1,
                _ => {}
            }
        }
        not_utf8(line, Some(column))
    }
}

pub(super) fn not_utf8(line: u64, column: Option<u64>) -> Error {
    Error::input("land.not_utf8", "the file is not written in UTF-8")
        .at_line(line, column)
        .with_hint("export it as UTF-8, or convert it, such as with `iconv -f WINDOWS-1252 -t UTF-8`")
}

pub(super) fn too_long(line: u64) -> Error {
    Error::input("land.record_too_long", format!("the record that begins here is over {} MiB", MAX_RECORD >> 20))
        .at_line(line, None)
        .with_hint("look for a quote that is not closed, or for line breaks that are missing")
}

/// The separator of a CSV file, by its first line: the one of comma, semicolon and tab that stands there most often
/// outside quotes.
pub(super) fn separator(head: &[u8]) -> u8 {
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for &byte in head.iter().skip_while(|byte| matches!(byte, b'\n' | b'\r')) {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            _ => counts.iter_mut().filter(|(candidate, _)| *candidate == byte).for_each(|(_, count)| *count += 1),
        }
    }
    let mut best = counts[0];
    for candidate in counts {
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<Vec<String>>> {
        // A small buffer puts its seams everywhere.
        let mut records = Records::new(std::io::BufReader::with_capacity(3, text), b',');
        let mut out = Vec::new();
        while let Some(record) = records.next()? {
            out.push((0..record.count).map(|index| record.get(index).unwrap_or("∅").to_owned()).collect());
        }
        Ok(out)
    }

    #[test]
    fn quotes_breaks_and_blank_lines() {
        let read = all(b"a,\"b,\"\"c\"\"\",\r\n\r\n\"x\ny\",,z\rq,\"\",w").unwrap();
        assert_eq!(read, [["a", "b,\"c\"", "∅"], ["x\ny", "∅", "z"], ["q", "∅", "w"]]);
        assert_eq!(all(b"\"\"\n").unwrap(), [["∅"]]);
        assert!(all(b"").unwrap().is_empty());
        assert!(all(b"\n\r\n\r").unwrap().is_empty());
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        let mut records = Records::new(&b"a\r\n\"b\nc\"\r\n\r\nd\n"[..], b',');
        let mut lines = Vec::new();
        while let Some(record) = records.next().unwrap() {
            lines.push(record.line);
        }
        assert_eq!(lines, [1, 2, 5]);
    }

    #[test]
    fn faults_have_line_and_column() {
        let place = |text: &[u8]| {
            let error = all(text).unwrap_err();
            (error.code(), error.place().line, error.place().column)
        };
        assert_eq!(place("ø,\"b\n\nc".as_bytes()), ("land.csv_quote", Some(1), Some(3)));
        assert_eq!(place("a\nø,\"b\"c".as_bytes()), ("land.csv_quote", Some(2), Some(6)));
        assert_eq!(place(b"a\n\"\"\"x\ny\",b\xff"), ("land.not_utf8", Some(3), Some(5)));
        assert_eq!(place(b"\xff"), ("land.not_utf8", Some(1), Some(1)));
    }

    #[test]
    fn a_record_cannot_fill_the_memory() {
        let text = format!("a\n\"{}", "x\n".repeat(MAX_RECORD));
        let error = all(text.as_bytes()).unwrap_err();
        assert_eq!((error.code(), error.place().line), ("land.record_too_long", Some(2)));
    }

    #[test]
    fn separators_are_seen_in_the_header() {
        assert_eq!(separator(b"a;b;\"c,,,\"\n,,,,"), b';');
        assert_eq!(separator(b"a\tb"), b'\t');
        assert_eq!(separator(b"alone"), b',');
    }
}
