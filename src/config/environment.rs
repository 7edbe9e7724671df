//! The process's environment, captured once: overrides, secrets, the clouds' variables, the fixed clock.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::calendar::Clock;
use crate::error::{Error, Result};

const PREFIX: &str = "ALLUVIAL_";
const LAKE_KEY: &str = "ALLUVIAL_LAKE_KEY";
const NOW: &str = "ALLUVIAL_NOW";
const WEBHOOK_KEY: &str = "ALLUVIAL_WEBHOOK_KEY";

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What the process was started with. Nothing else in the crate reads the environment.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    folder: PathBuf,
    machine: Machine,
    stderr_is_terminal: bool,
}

/// What the machine offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory that this process may use: the machine's, or its container's. `None` where it cannot be told.
    pub memory: Option<u64>,
    /// Cores that this process may use.
    pub cores: usize,
}

impl Secret {
    /// Keeps a value from being printed.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.variables.keys().collect();
        f.debug_struct("Environment").field("variables", &names).field("folder", &self.folder).finish()
    }
}

impl Environment {
    /// Captures the process's own environment. Values that are no UTF-8 are left out; of ours there are none such.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let stderr_is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self { variables, folder, machine: Machine::of_this_process(), stderr_is_terminal }
    }

    /// An environment of just these variables, for tests and embedding; relative paths start at `folder`.
    pub fn of<'a>(folder: impl Into<PathBuf>, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            variables: variables.into_iter().map(own).collect(),
            folder: folder.into(),
            machine: Machine { memory: None, cores: 2 },
            stderr_is_terminal: false,
        }
    }

    /// The same with another machine.
    #[must_use]
    pub fn with_machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// Whether it sets that variable.
    pub fn sets(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// The folder that the command was started in.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// What the machine offers.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Whether someone watches stderr.
    pub fn stderr_is_terminal(&self) -> bool {
        self.stderr_is_terminal
    }

    /// The system's clock, or the instant that `ALLUVIAL_NOW` fixes.
    ///
    /// # Errors
    /// `config.bad_now` when it is no RFC 3339 instant.
    pub fn clock(&self) -> Result<Clock> {
        let Some(text) = self.set(NOW) else { return Ok(Clock::System) };
        match DateTime::parse_from_rfc3339(text) {
            Ok(at) => Ok(Clock::Fixed(at.with_timezone(&Utc))),
            Err(_) => Err(Error::definition("config.bad_now", format!("`{text}` in `{NOW}` is not an instant"))
                .with_hint("write RFC 3339: `2026-11-20T04:00:00Z`")),
        }
    }

    /// The key of the lake's keyed hashes, if the environment sets one.
    pub fn lake_key(&self) -> Option<Secret> {
        self.set(LAKE_KEY).map(Secret::new)
    }

    /// The key that alerts are signed with, if the environment sets one.
    pub fn webhook_key(&self) -> Option<Secret> {
        self.set(WEBHOOK_KEY).map(Secret::new)
    }

    /// Who started the process, as the system says.
    pub fn user(&self) -> Option<&str> {
        ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| self.set(name))
    }

    /// The clouds' usual variables, as object stores read them. Mostly secrets: never print them.
    pub fn cloud(&self) -> BTreeMap<String, String> {
        let of_a_cloud = |name: &str| {
            ["AWS_", "GOOGLE_", "GCS_", "AZURE_"].iter().any(|prefix| name.to_ascii_uppercase().starts_with(prefix))
        };
        self.variables
            .iter()
            .filter(|(name, value)| of_a_cloud(name) && !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Whether colours are unwelcome (<https://no-color.org>), or the terminal cannot show them.
    pub fn refuses_color(&self) -> bool {
        self.set("NO_COLOR").is_some() || self.set("TERM") == Some("dumb")
    }

    /// `ALLUVIAL_A__B=…` as (`ALLUVIAL_A__B`, [`a`, `b`], value): a double underscore goes one table deeper. Variables
    /// that are set to nothing count as not set.
    pub(super) fn overrides(&self) -> Vec<(&str, Vec<String>, &str)> {
        let mut found = Vec::new();
        for (name, value) in &self.variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if rest.contains("__") && !value.trim().is_empty() {
                let path = rest.split("__").map(str::to_ascii_lowercase).collect();
                found.push((name.as_str(), path, value.as_str()));
            }
        }
        found
    }

    /// Variables that begin as ours do, but set nothing. They are no fault: Kubernetes sets `ALLUVIAL_SERVICE_HOST` and
    /// the like by itself for a service of that name.
    pub(super) fn unknown(&self) -> Vec<&str> {
        let known = [LAKE_KEY, NOW, WEBHOOK_KEY];
        let ours = |name: &&str| name.starts_with(PREFIX) && !name.contains("__") && !known.contains(name);
        self.variables.keys().map(String::as_str).filter(ours).collect()
    }

    fn set(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl Machine {
    /// What this machine, or the container around the process, offers.
    pub fn of_this_process() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let installed = read("/proc/meminfo").and_then(|text| meminfo_total(&text));
        let allowed = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
            .into_iter()
            .filter_map(|path| read(path)?.trim().parse::<u64>().ok())
            .min();
        let memory = match (installed, allowed) {
            (Some(installed), Some(allowed)) => Some(installed.min(allowed)),
            (installed, allowed) => installed.or(allowed),
        };
        Self { memory, cores }
    }
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of("/shop", variables.iter().copied())
    }

    #[test]
    fn secrets_are_not_printed() {
        let environment = environment(&[("ALLUVIAL_LAKE_KEY", "canary-1"), ("AWS_SECRET_ACCESS_KEY", "canary-2")]);
        let key = environment.lake_key().unwrap();
        assert_eq!(key.reveal(), "canary-1");
        assert!(!format!("{environment:?} {key:?}").contains("canary"));
    }

    #[test]
    fn the_clouds_variables_are_kept_apart() {
        let environment = environment(&[
            ("AWS_REGION", "eu-north-1"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/k.json"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "shop"),
            ("AWS_PROFILE", ""),
            ("HOME", "/root"),
        ]);
        let names: Vec<String> = environment.cloud().into_keys().collect();
        assert_eq!(names, ["AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_APPLICATION_CREDENTIALS"]);
    }

    #[test]
    fn the_clock_can_be_fixed() {
        assert!(matches!(environment(&[]).clock().unwrap(), Clock::System));
        let fixed = environment(&[("ALLUVIAL_NOW", "2026-11-20T05:00:00+01:00")]).clock().unwrap();
        assert_eq!(fixed.now().to_rfc3339(), "2026-11-20T04:00:00+00:00");
        assert_eq!(environment(&[("ALLUVIAL_NOW", "tomorrow")]).clock().unwrap_err().code(), "config.bad_now");
    }

    #[test]
    fn overrides_go_one_table_deeper_at_each_double_underscore() {
        let environment = environment(&[
            ("ALLUVIAL_TABLES__ORDER_ITEMS__ID_PREFIX", "eu-"),
            ("ALLUVIAL_LAKE__URL", " "),
            ("ALLUVIAL_SERVICE_HOST", "10.0.0.1"),
        ]);
        let path = ["tables", "order_items", "id_prefix"].map(str::to_owned).to_vec();
        assert_eq!(environment.overrides(), [("ALLUVIAL_TABLES__ORDER_ITEMS__ID_PREFIX", path, "eu-")]);
        assert_eq!(environment.unknown(), ["ALLUVIAL_SERVICE_HOST"]);
    }

    #[test]
    fn memory_is_read_from_the_kernel() {
        assert_eq!(meminfo_total("MemFree: 1 kB\nMemTotal:       8167848 kB\n"), Some(8_363_876_352));
        assert_eq!(meminfo_total("nonsense"), None);
    }
}
