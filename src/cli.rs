//! Commands, their output, and the report of a run.
//!
//! `run` is the whole command line as a function: arguments and environment in, two streams and an exit code out.
//! Each command is a module of its own with its arguments and its output; what a command computes is computed on the
//! floors below.

/// What the command line takes.
pub mod arguments;
/// `alluvial attributes`.
pub mod attributes;
/// `alluvial check`.
pub mod check;
/// `alluvial customer`.
pub mod customer;
/// `alluvial demo`.
pub mod demo;
/// `alluvial doctor`.
pub mod doctor;
/// `alluvial export`.
pub mod export;
/// Errors on the terminal and as JSON.
pub mod failure;
/// `alluvial forget`.
pub mod forget;
/// `alluvial init`.
pub mod init;
/// `alluvial jobs`.
pub mod jobs;
/// `alluvial land`.
pub mod land;
/// `alluvial lifecycle`.
pub mod lifecycle;
/// `alluvial lift`.
pub mod lift;
/// `alluvial link`.
pub mod link;
/// The project that a command works on.
pub mod opened;
/// The only place that writes to a stream.
pub mod output;
/// Progress on a terminal.
pub mod progress;
/// `alluvial publish`.
pub mod publish;
/// `alluvial query`.
pub mod query;
/// The report of a run.
pub mod report;
/// Rows, and their three forms: table, JSON, CSV.
pub mod rows;
/// `alluvial run`.
pub mod run;
/// `alluvial runs`.
pub mod runs;
/// `alluvial scheduler`.
pub mod scheduler;
/// `alluvial segment`.
pub mod segment;
/// `alluvial segments`.
pub mod segments;
/// `alluvial serve`.
pub mod serve;
/// `alluvial user`.
pub mod user;
/// `alluvial vacuum`.
pub mod vacuum;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;

use crate::config::{Environment, Overrides, Settings, project};
use crate::error::{Error, Kind, Result};
use crate::segments::SAMPLES;

use arguments::{Arguments, Command, Globals};
use opened::Call;
use output::Output;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked (exit code 0).
    Done,
    /// It did what was asked, and what it found is not in order: faults, a held day (exit code 1).
    Faulty,
}

/// Runs one command line, the program's name first, and returns the exit code: 0 done, 1 it failed, is held or found
/// faults, 2 wrong usage.
pub fn run(arguments: Vec<OsString>, environment: &Environment, stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    let parsed = Arguments::try_parse_from(&arguments).and_then(|mut parsed| {
        parsed.settle_format()?;
        Ok(parsed)
    });
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error, &arguments, stdout, stderr),
    };
    let globals = parsed.globals;
    output::log_to_stderr(&globals);
    let mut output = Output::new(stdout, stderr, &globals, environment);
    let outcome = dispatch(parsed.command, &globals, environment, &mut output);
    match outcome.and_then(|outcome| output.flush().map(|()| outcome)) {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Faulty) => 1,
        Err(error) => {
            output.failure(&error);
            if error.kind() == Kind::Usage { 2 } else { 1 }
        }
    }
}

fn dispatch(
    command: Command,
    globals: &Globals,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let call = Call { globals, environment };
    match command {
        Command::Init(args) => {
            let samples: Vec<(&str, &str)> =
                SAMPLES.iter().map(|(file, text)| (file.trim_end_matches(".toml"), *text)).collect();
            init::run(&args, environment.folder(), &samples, output)
        }
        Command::Demo(args) => demo::execute(&args, &call, output),
        Command::Land(args) => land::execute(&args, &call, output),
        Command::Check(args) => check::execute(&args, &call, output),
        Command::Run(args) => run::execute(&args, &call, output),
        Command::Scheduler(args) => scheduler::execute(&args, &call, output),
        Command::Jobs(args) => jobs::execute(&args, &call, output),
        Command::Runs(args) => runs::execute(&args, &call, output),
        Command::Publish(args) => publish::execute(&args, &call, output),
        Command::Vacuum(args) => vacuum::execute(&args, &call, output),
        Command::Doctor(args) => doctor::execute(&args, &call, output),
        Command::Segments(args) => segments::execute(&args, &call, output),
        Command::Segment(args) => segment::execute(&args, &call, output),
        Command::Attributes(args) => attributes::execute(&args, &call, output),
        Command::Customer(args) => customer::execute(&args, &call, output),
        Command::Forget(args) => forget::execute(&args, &call, output),
        Command::Lifecycle(args) => lifecycle::execute(&args, &call, output),
        Command::Query(args) => query::execute(&args, &call, output),
        Command::Serve(args) => serve::execute(&args, &call, output),
        Command::User(args) => user::execute(&args, &call, output),
        Command::Export(args) => export::execute(&args, &call, output),
        Command::Link(args) => link::execute(&args, &call, output),
        Command::Lift(args) => lift::execute(&args, &call, output),
    }
}

/// The settings of the project that the command line means; what is probably not meant is warned about.
///
/// # Errors
/// No project, or every fault of its file and the environment at once.
pub fn settings(globals: &Globals, environment: &Environment, output: &mut Output<'_>) -> Result<Settings> {
    let root = project::discover(globals.project.as_deref(), environment.folder())?;
    let overrides = Overrides { lake: globals.lake.clone() };
    let settings = Settings::load(&root, environment, &overrides)?;
    for warning in &settings.warnings {
        output.warn(warning);
    }
    Ok(settings)
}

/// The runtime that commands which read the lake run on.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime(settings: &Settings) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.engine.threads)
        // Plans of many segments are deep trees, which are walked by recursion.
        .thread_stack_size(8 << 20)
        // Threads that block wait for disks and deflate. Each keeps what it has allocated: few are enough, and not for long.
        .max_blocking_threads((settings.engine.threads * 8).max(24))
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Resources, "cli.runtime", "no threads could be started").with_source(error))
}

/// Prints a refused command line, or the help that was asked for.
fn refuse(error: &clap::Error, arguments: &[OsString], stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    let text = error.render().to_string();
    if !error.use_stderr() {
        // A closed pipe is no reason to fail, and there is no other stream to complain on.
        let _shown = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        return 0;
    }
    let as_json = arguments.iter().any(|argument| argument == "--format=json")
        || arguments.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
    let text = if as_json {
        let told = text.lines().map(str::trim).take_while(|line| !line.is_empty() && !line.starts_with("Usage:"));
        let message = told.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned();
        let hint = "`alluvial --help` says what can be written";
        failure::json(&Error::usage("cli.usage", message).with_hint(hint)) + "\n"
    } else {
        text
    };
    let _shown = stderr.write_all(text.as_bytes());
    2
}

/// Below so many bytes of `[engine] memory_limit` the allocator keeps next to nothing for later.
const SMALL_LIMIT: u64 = 2_000_000_000;

/// What mimalloc is to be told for a command, as variables of the environment.
///
/// It gives freed pages back a second later. A night frees and takes gigabytes over and over: it is a fifth faster where they stay
/// for a minute. A server, whose answers may be large, keeps them for ten seconds. Where memory is limited to little, both give
/// them back within a third of a second, and take small pages of the system: a night of 60,000 customers held 1.2 GB of what it had
/// freed, and holds 0.4 GB so. An export is over in seconds and shall be small: it gives them back at once.
pub fn allocator_options(arguments: &[OsString], environment: &Environment) -> &'static [(&'static str, &'static str)] {
    let Ok(parsed) = Arguments::try_parse_from(arguments) else { return &[] };
    let kept = match parsed.command {
        Command::Run(_) | Command::Scheduler(_) => &[("MIMALLOC_PURGE_DELAY", "60000")],
        Command::Serve(_) => &[("MIMALLOC_PURGE_DELAY", "10000")],
        Command::Export(_) => return &[("MIMALLOC_PURGE_DELAY", "20"), ("MIMALLOC_ALLOW_THP", "0")],
        _ => return &[],
    };
    // Settings that cannot be read are told of by the command itself.
    let root = project::discover(parsed.globals.project.as_deref(), environment.folder());
    let settings = root.and_then(|root| Settings::load(&root, environment, &Overrides { lake: parsed.globals.lake }));
    if settings.is_ok_and(|settings| settings.engine.memory_limit < SMALL_LIMIT) {
        return &[("MIMALLOC_PURGE_DELAY", "300"), ("MIMALLOC_ALLOW_THP", "0")];
    }
    kept
}

/// The command line of this process: what `main` calls.
pub fn main(environment: &Environment) -> u8 {
    let mut stdout = std::io::BufWriter::new(std::io::stdout());
    let mut stderr = std::io::stderr();
    run(std::env::args_os().collect(), environment, &mut stdout, &mut stderr)
}
