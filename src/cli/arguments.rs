//! What the command line takes.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::output::Format;
use super::{
    attributes, check, customer, demo, doctor, export, forget, init, jobs, land, lifecycle, lift, link, publish, query,
    run, runs, scheduler, segment, segments, serve, user, vacuum,
};
use crate::calendar::parse_date;

/// Turns a shop's orders and behaviour into segments and lifecycle stages, every night
#[derive(Debug, Parser)]
#[command(
    name = "alluvial",
    version,
    propagate_version = false,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// The project's folder [default: this folder or the nearest above it with an alluvial.toml]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Everywhere")]
    pub project: Option<PathBuf>,
    /// The lake, instead of the project's own: a folder, s3://, gs:// or az://
    #[arg(long, value_name = "URL", global = true, help_heading = "Everywhere")]
    pub lake: Option<String>,
    /// How results are written; of `export` and `link`, the format of the file
    #[arg(id = "format", long = "format", value_name = "FORMAT", default_value = "table", value_parser = AnyWord, global = true, help_heading = "Everywhere")]
    pub word: String,
    /// How results are written: what the word says, unless a command has another use for it.
    #[arg(skip)]
    pub format: Format,
    /// Say more on stderr; three times for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Everywhere")]
    pub verbose: u8,
    /// Say nothing on stderr but faults
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Everywhere")]
    pub quiet: bool,
}

/// Takes every word and offers those of [`Format`]: a command may have a use of its own for `--format`.
#[derive(Debug, Clone, Copy)]
struct AnyWord;

impl TypedValueParser for AnyWord {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Format::value_variants().iter().filter_map(ValueEnum::to_possible_value)))
    }
}

impl Arguments {
    /// Settles what `--format` means for the command.
    ///
    /// # Errors
    /// A word that the command does not know.
    pub fn settle_format(&mut self) -> Result<(), clap::Error> {
        if let Command::Export(args) = &self.command {
            self.globals.format = args.report;
            return Ok(());
        }
        if let Command::Link(args) = &self.command
            && args.action.is_none()
        {
            self.globals.format = args.report;
            return Ok(());
        }
        let word = &self.globals.word;
        match Format::from_str(word, false) {
            Ok(format) => {
                self.globals.format = format;
                Ok(())
            }
            Err(_) => {
                let names = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
                let names = names.map(|value| value.get_name().to_owned()).collect();
                let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(&Arguments::command());
                error.insert(ContextKind::InvalidArg, ContextValue::String("--format <FORMAT>".to_owned()));
                error.insert(ContextKind::InvalidValue, ContextValue::String(word.clone()));
                error.insert(ContextKind::ValidValue, ContextValue::Strings(names));
                Err(error)
            }
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a project: alluvial.toml, jobs/nightly.toml and sample segments; never overwrites
    Init(init::Args),
    /// Land a synthetic shop, the same bytes every time
    Demo(demo::Args),
    /// Check files and land them: each whole or not at all, and only once
    Land(land::Args),
    /// Say what the landed data is taken for, and every fault of every definition
    Check(check::Args),
    /// Run a job now, for one day or a backfill
    Run(run::Args),
    /// Run the jobs by their schedules until stopped
    Scheduler(scheduler::Args),
    /// List the jobs: what is due, what runs, what is held, how it ended last
    Jobs(jobs::Args),
    /// List the runs, or tell all of one
    Runs(runs::Args),
    /// List the held days, or publish one
    Publish(publish::Args),
    /// Drop what retention no longer keeps, and tidy up
    Vacuum(vacuum::Args),
    /// Examine the store, the tables and the schedules
    Doctor(doctor::Args),
    /// List the segments with their sizes and changes
    Segments(segments::Args),
    /// Look at one segment, or at a query
    Segment(segment::Args),
    /// What a query can name: types, operators, meanings, examples
    Attributes(attributes::Args),
    /// Look at one customer, or write down everything that is held about one
    Customer(customer::Args),
    /// Erase people from landed files, every table and its history, and keep them out
    Forget(forget::Args),
    /// The lifecycle stages' sizes, moves and values
    Lifecycle(lifecycle::Args),
    /// Answer SQL over the published tables, and over the landed ones as `landed.<table>`
    Query(query::Args),
    /// Let BI tools read the published tables, and programs and people audiences; runs the jobs, too
    Serve(serve::Args),
    /// Who may connect to `alluvial serve`
    User(user::Args),
    /// Write an audience: the members of segments who may be contacted, for one channel
    Export(export::Args),
    /// Give somebody an address that downloads an audience
    Link(link::Args),
    /// What an export changed: the treated and those held out, compared
    Lift(lift::Args),
}

/// Reads an as-of date for clap, which prints one line.
///
/// # Errors
/// What is wrong and what to write, in one line.
pub fn date(text: &str) -> Result<NaiveDate, String> {
    parse_date(text).map_err(|error| match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{attributes, check, demo, land, lifecycle, query, run, segment, segments};

    #[derive(Parser)]
    struct Every {
        #[command(flatten)]
        _globals: Globals,
        #[command(subcommand)]
        command: Each,
    }

    #[derive(Debug, Subcommand)]
    enum Each {
        Demo(demo::Args),
        Land(land::Args),
        Check(check::Args),
        Run(run::Args),
        Segments(segments::Args),
        Segment(segment::Args),
        Attributes(attributes::Args),
        Lifecycle(lifecycle::Args),
        Query(query::Args),
    }

    fn refused(line: &str) -> Option<clap::error::ErrorKind> {
        Every::try_parse_from(line.split(' ')).err().map(|error| error.kind())
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
        Every::command().debug_assert();
    }

    #[test]
    fn ranges_have_two_ends_and_no_day_beside_them() {
        use clap::error::ErrorKind;
        assert_eq!(refused("alluvial run nightly --from 2026-01-01 --to 2026-01-31 --force"), None);
        assert_eq!(refused("alluvial run nightly --as-of 2026-01-01 --lake s3://b --format json"), None);
        assert_eq!(refused("alluvial run nightly --from 2026-01-01"), Some(ErrorKind::MissingRequiredArgument));
        let both = refused("alluvial run nightly --as-of 2026-01-01 --from 2026-01-01 --to 2026-01-02");
        assert_eq!(both, Some(ErrorKind::ArgumentConflict));
        assert_eq!(refused("alluvial run nightly --as-of 2026-02-30"), Some(ErrorKind::ValueValidation));
        assert_eq!(refused("alluvial land orders"), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(refused("alluvial demo --customers 0"), Some(ErrorKind::ValueValidation));
        let parsed = Every::try_parse_from(["alluvial", "attributes", "country"]).map(|every| every.command);
        assert!(matches!(parsed, Ok(Each::Attributes(attributes::Args { name: Some(_) }))));
    }
}
