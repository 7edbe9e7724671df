//! Temporary projects, and commands as snapshots: the whole command, its exit code, stdout and stderr.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The least project that is one.
pub(crate) const PROJECT: &str = "[project]\nname = \"shop\"\ntimezone = \"Europe/Copenhagen\"\ncurrency = \"DKK\"\n";

/// How often a test does what it does: so often in its short form, or as the environment says.
#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by the environment")]
pub(crate) fn times(name: &str, short: usize) -> usize {
    std::env::var(name).map_or(short, |times| times.parse().unwrap())
}

/// A temporary folder to run commands in.
pub(crate) struct Folder {
    dir: TempDir,
}

/// A command that was run.
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
    line: String,
    folder: PathBuf,
}

impl Folder {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A folder with the least `alluvial.toml`.
    pub(crate) fn project() -> Self {
        let folder = Self::empty();
        folder.write("alluvial.toml", PROJECT);
        folder
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and the folders that it needs.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The text of a file.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// Runs `alluvial` here, with nothing in the environment.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// Runs `alluvial` here, with just these variables in the environment.
    pub(crate) fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_alluvial"))
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let quoted = |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
        let variables = variables.iter().map(|(name, value)| format!("{name}={value}"));
        let words = variables.chain(["alluvial".to_owned()]).chain(arguments.iter().map(quoted));
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            line: words.collect::<Vec<_>>().join(" "),
            folder: self.path().to_owned(),
        }
    }
}

impl Ran {
    /// The whole of it, for a snapshot; the folder's path stands as `[DIR]`.
    pub(crate) fn shown(&self) -> String {
        let text = format!(
            "$ {}\nexit code {}\n----- stdout -----\n{}----- stderr -----\n{}",
            self.line, self.code, self.stdout, self.stderr
        );
        text.replace(&self.folder.display().to_string(), "[DIR]")
    }
}

/// What differs from run to run: the fixed clock, run ids, seconds, megabytes.
pub(crate) const FILTERS: [(&str, &str); 5] = [
    (r"ALLUVIAL_NOW=\S+ ", ""),
    (r"\b[0-9a-f]{12}7[0-9a-f]{19}\b", "[RUN]"),
    // The columns of the report's last table: step, seconds, peak MB.
    (r"(?m)^(\w+) +\d+\.\d\d +\d+ +(\d+)$", "$1  [SECONDS]  [MB]  $2"),
    (r"(?m)^(\w+) +\d+\.\d\d +\d+$", "$1  [SECONDS]  [MB]"),
    (r#""(seconds|peak_rss_mb)": [0-9.]+"#, "\"$1\": [MEASURED]"),
];

/// Compares a command's whole story with an inline snapshot.
macro_rules! assert_ran {
    ($ran:expr, @$snapshot:literal) => {{
        let shown = $ran.shown();
        insta::with_settings!({ filters => crate::harness::FILTERS.to_vec() }, {
            insta::assert_snapshot!(shown, @$snapshot);
        });
    }};
}

pub(crate) use assert_ran;
