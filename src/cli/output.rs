//! The only place that writes to a stream.
//!
//! Results go to stdout, everything else to stderr. A reader that goes away (`alluvial query … | head`) is no failure.

use std::io::{ErrorKind, Write};

use super::arguments::Globals;
use super::failure;
use super::rows::{RowWriter, Rows};
use crate::config::Environment;
use crate::error::{Error, Result};

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// An array of objects
    Json,
    /// With a header line
    Csv,
}

/// The two streams, and how to write to them.
pub struct Output<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    format: Format,
    quiet: bool,
    color: bool,
    terminal: bool,
    /// The reader of stdout has gone away.
    closed: bool,
}

/// A list within an answer: its key in JSON, its heading for people, its rows.
pub struct List {
    /// The key in JSON.
    pub key: &'static str,
    /// The heading for people.
    pub heading: String,
    /// The rows.
    pub rows: Rows,
}

impl<'a> Output<'a> {
    /// Writes to these streams as the flags and the environment ask.
    pub fn new(
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
        globals: &Globals,
        environment: &Environment,
    ) -> Self {
        let terminal = environment.stderr_is_terminal();
        Self {
            stdout,
            stderr,
            format: globals.format,
            quiet: globals.quiet,
            color: terminal && !environment.refuses_color(),
            terminal,
            closed: false,
        }
    }

    /// How results are written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether progress may be drawn.
    pub fn shows_progress(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Writes to stdout as is.
    ///
    /// # Errors
    /// A stream that cannot be written to (`cli.output`), except one whose reader has gone away.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let written = self.stdout.write_all(bytes);
        self.settle(written)
    }

    /// Writes a line of a result.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// Writes rows in the format that was asked for.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn rows(&mut self, rows: Rows) -> Result<()> {
        let mut writer = RowWriter::begin(self, rows.columns)?;
        for row in rows.rows {
            writer.row(row)?;
        }
        writer.finish()
    }

    /// Writes several lists: tables with headings; one JSON object of arrays, after the `facts`; as CSV, which holds
    /// one table only, the first of them.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn lists(&mut self, facts: &[(&str, serde_json::Value)], lists: Vec<List>) -> Result<()> {
        match self.format {
            Format::Csv => match lists.into_iter().next() {
                Some(first) => self.rows(first.rows),
                None => Ok(()),
            },
            Format::Json => {
                let facts = facts.iter().map(|(key, value)| (*key, value.to_string()));
                let lists = lists.iter().map(|list| (list.key, list.rows.to_json().trim_end().to_owned()));
                let members = facts.chain(lists).map(|(key, value)| format!("{key:?}: {value}"));
                let text = members.collect::<Vec<_>>().join(",\n");
                self.line(&format!("{{\n{text}\n}}"))
            }
            Format::Table => {
                for (index, list) in lists.into_iter().enumerate() {
                    if index > 0 {
                        self.line("")?;
                    }
                    self.line(&list.heading)?;
                    self.rows(list.rows)?;
                }
                Ok(())
            }
        }
    }

    /// Says something on stderr, unless asked to be quiet.
    pub fn note(&mut self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Warns on stderr.
    pub fn warn(&mut self, text: &str) {
        let label = if self.color { "\u{1b}[1;33mwarning\u{1b}[0m" } else { "warning" };
        self.say(&format!("{label}: {text}"));
    }

    /// Prints a failure on stderr; as JSON where results are JSON.
    pub fn failure(&mut self, error: &Error) {
        let text = if self.format == Format::Json { failure::json(error) } else { failure::text(error, self.color) };
        self.say(&text);
    }

    /// Prints a text of several lines on stderr, even when quiet.
    pub fn say(&mut self, text: &str) {
        // Nobody could be told that stderr does not work.
        let _told = writeln!(self.stderr, "{text}");
    }

    /// Whether the reader of stdout has gone away.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether stderr takes colours.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Hands everything written to the system.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn flush(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.stdout.flush();
        self.settle(flushed)
    }

    fn settle(&mut self, written: std::io::Result<()>) -> Result<()> {
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => {
                self.closed = true;
                Err(Error::storage("cli.output", "the output could not be written").with_source(error))
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Sends the program's own log to stderr: warnings, with `-v` what it does, with `-vv` its parts and their seconds, with `-vvv`
/// the plans of its statements. Others' crates log
/// whole queries, which hold personal data, and are left out.
pub fn log_to_stderr(globals: &Globals) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let level = match globals.verbose {
        _ if globals.quiet => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    let filter = Targets::new().with_target("alluvial", level);
    // A second command line in one process keeps the first one's log.
    let _set = tracing_subscriber::registry().with(filter).with(layer).try_init();
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a command prints on stdout and stderr.
    pub(in crate::cli) fn printed(
        format: Format,
        print: impl FnOnce(&mut Output<'_>) -> Result<()>,
    ) -> (String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let globals = Globals { format, ..Globals::default() };
        let mut output = Output::new(&mut stdout, &mut stderr, &globals, &Environment::of("/", []));
        print(&mut output).unwrap();
        output.flush().unwrap();
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    /// A stream that fails in its own way.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_no_failure_but_a_full_disk_is() {
        let write = |kind| {
            let mut stdout = Failing(kind);
            let mut stderr = Vec::new();
            let mut output = Output::new(&mut stdout, &mut stderr, &Globals::default(), &Environment::of("/", []));
            output.line("a").and_then(|()| output.line("b")).and_then(|()| output.flush())
        };
        assert!(write(ErrorKind::BrokenPipe).is_ok());
        assert_eq!(write(ErrorKind::StorageFull).unwrap_err().code(), "cli.output");
    }

    #[test]
    fn quiet_leaves_only_faults_and_warnings() {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let globals = Globals { quiet: true, ..Globals::default() };
        let mut output = Output::new(&mut stdout, &mut stderr, &globals, &Environment::of("/", []));
        output.note("landed");
        output.warn("late");
        assert_eq!(String::from_utf8(stderr).unwrap(), "warning: late\n");
    }
}
