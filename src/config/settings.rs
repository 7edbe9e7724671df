//! The settings, resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use url::Url;

use super::document::{Document, Origin, Section, suggest};
use super::environment::{Environment, Machine, Secret};
use super::exports::ExportSettings;
use super::fault::Faults;
use super::fields::{self, FieldSettings};
use super::lifecycle::LifecycleSettings;
use super::location;
use super::project::PROJECT_FILE;
use super::quantity::parse_size;
use super::retention::RetentionSettings;
use super::serve::ServeSettings;
use super::tables::{self, TableSettings};
use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::schema::landed::Table;

/// The statuses that an order can have once its alias is resolved.
pub const ORDER_STATUSES: [&str; 5] = ["paid", "pending", "cancelled", "refunded", "partially_refunded"];

/// The tables that `alluvial.toml` may hold.
const SECTIONS: [&str; 13] = [
    "project",
    "lake",
    "engine",
    "tables",
    "orders",
    "customers",
    "landing",
    "lifecycle",
    "serve",
    "exports",
    "retention",
    "alerts",
    "fields",
];

/// Everything that a project, the environment and the command line settle, resolved. Nobody reads the file again.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's folder, absolute.
    pub root: PathBuf,
    /// Who the shop is.
    pub project: ProjectSettings,
    /// Where the lake is.
    pub lake: LakeSettings,
    /// What the engine may use.
    pub engine: EngineSettings,
    /// Landed tables that depart from the contract's shape; see [`Settings::table`].
    pub tables: BTreeMap<Table, TableSettings>,
    /// What an order's status means.
    pub orders: OrderSettings,
    /// Which customers are left out.
    pub customers: CustomerSettings,
    /// How much of what is landed may be wrong or late.
    pub landing: LandingSettings,
    /// The thresholds of the lifecycle stages.
    pub lifecycle: LifecycleSettings,
    /// What exports need beside a command line.
    pub exports: ExportSettings,
    /// How long each table is kept.
    pub retention: RetentionSettings,
    /// Where alerts may go.
    pub alerts: AlertSettings,
    /// Where `alluvial serve` listens, and what one client may ask of it.
    pub serve: ServeSettings,
    /// Declared fields of the customer profile.
    pub fields: BTreeMap<String, FieldSettings>,
    /// What is probably not meant, in the words of the report.
    pub warnings: Vec<String>,
}

/// Who the shop is.
#[derive(Debug, Clone)]
pub struct ProjectSettings {
    /// Its name for people.
    pub name: String,
    /// The shop's time zone: days are its local days.
    pub zone: Zone,
    /// The shop's currency, an ISO 4217 code such as `DKK`.
    pub currency: String,
}

/// Where the lake is.
#[derive(Debug, Clone)]
pub struct LakeSettings {
    /// Its prefix, as a URL; a folder is a `file://` URL with a slash at the end.
    pub url: Url,
    /// The key of the lake's keyed hashes, if the environment sets one.
    pub key: Option<Secret>,
}

/// What the engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSettings {
    /// Bytes that the process may use.
    pub memory_limit: u64,
    /// Threads, and so partitions of a query.
    pub threads: usize,
}

/// What an order's status means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderSettings {
    /// The statuses whose orders count.
    pub counted: BTreeSet<String>,
    /// The shop's own words for one of [`ORDER_STATUSES`], in lower case and with `_` for `-` and blanks; they come
    /// before the built-in ones.
    pub status_aliases: BTreeMap<String, String>,
}

/// Which customers are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CustomerSettings {
    /// A query over landed attributes; whom it names is left out. Parsed where the language is known.
    pub exclude: Option<String>,
}

/// How much of what is landed may be wrong or late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LandingSettings {
    /// The share of a table's rows that may be rejected before the run fails (0.01).
    pub max_reject_ratio: f64,
    /// Days for which something late is waited for, or restates a published day (3).
    pub lookback_days: u32,
}

/// Where alerts may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertSettings {
    /// Whether webhooks may be at loopback, private or link-local addresses (false).
    pub allow_private_addresses: bool,
}

/// What the command line settles over the file and the environment.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--lake URL`; a folder is relative to the folder that the command was started in.
    pub lake: Option<String>,
}

impl Settings {
    /// Reads the project in `root`, lays the environment and then the command line over it, and resolves the whole.
    ///
    /// # Errors
    /// Every fault of the file and of the environment at once, as [`Faults`] under the error.
    pub fn load(root: &Path, environment: &Environment, overrides: &Overrides) -> Result<Self> {
        let root = std::path::absolute(environment.folder().join(root))?;
        let path = root.join(PROJECT_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Error::definition("config.not_text", "the file is not UTF-8 text"),
            _ => Error::from(error),
        });
        let text = text.map_err(|error| error.in_file(PROJECT_FILE))?;
        Self::parse(PROJECT_FILE, &text, &root, environment, overrides)
    }

    /// Resolves the text of an `alluvial.toml` whose project is in the absolute folder `root`.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn parse(
        origin: &str,
        text: &str,
        root: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self> {
        let mut document = Document::parse(origin, text)?;
        for (variable, path, value) in environment.overrides() {
            document.overlay(&path, variable, value);
        }
        let settings = resolve(&document, root, environment, overrides);
        document.finish()?;
        settings.ok_or_else(|| Error::internal("config.unresolved", "the settings could not be resolved"))
    }

    /// How a landed table departs from the contract's shape; nothing, if the project does not say.
    pub fn table(&self, table: Table) -> TableSettings {
        self.tables.get(&table).cloned().unwrap_or_default()
    }

    /// The settings that answers depend on, as one canonical line of JSON: part of every definition's hash. Where data
    /// lies, what the engine may use and how long things are kept change no answer, and are not in it.
    pub fn fingerprint(&self) -> String {
        let tables: BTreeMap<&str, &TableSettings> =
            self.tables.iter().map(|(table, settings)| (table.name(), settings)).collect();
        serde_json::json!({
            "timezone": self.project.zone.name(),
            "currency": self.project.currency,
            "tables": tables,
            "orders": self.orders,
            "customers": self.customers,
            "lifecycle": self.lifecycle,
            "fields": self.fields,
        })
        .to_string()
    }
}

/// `None` only where a fault has been recorded.
fn resolve(document: &Document, root: &Path, environment: &Environment, overrides: &Overrides) -> Option<Settings> {
    let mut top = document.root();
    let project = read_project(top.section("project"), root);
    let lake = read_lake(top.section("lake"), root, environment, overrides);
    let engine = read_engine(top.section("engine"), environment.machine());
    let tables = tables::read(top.section("tables"), root);
    let orders = read_orders(top.section("orders"));
    let customers = read_customers(top.section("customers"));
    let landing = read_landing(top.section("landing"));
    let lifecycle = LifecycleSettings::read(top.section("lifecycle"));
    let serve = ServeSettings::read(top.section("serve"), root);
    let exports = ExportSettings::read(top.section("exports"));
    let retention = RetentionSettings::read(top.section("retention"));
    let mut alerts = top.section("alerts");
    let allow_private_addresses = alerts.flag("allow_private_addresses").unwrap_or(false);
    alerts.finish();
    let fields = fields::read(&top.section("fields"));
    top.finish();
    let warnings = environment.unknown().into_iter().map(unknown_variable).collect();
    Some(Settings {
        root: root.to_owned(),
        project: project?,
        lake: lake?,
        engine,
        tables,
        orders,
        customers,
        landing,
        lifecycle,
        exports,
        retention,
        alerts: AlertSettings { allow_private_addresses },
        serve,
        fields,
        warnings,
    })
}

fn unknown_variable(name: &str) -> String {
    let rest = name.trim_start_matches("ALLUVIAL_").to_ascii_lowercase();
    let section = SECTIONS.iter().find(|section| rest.starts_with(&format!("{section}_")));
    match section {
        Some(section) => {
            let key = rest[section.len() + 1..].to_ascii_uppercase();
            let section = section.to_ascii_uppercase();
            format!("`{name}` sets nothing: two underscores go into a table, as in `ALLUVIAL_{section}__{key}`")
        }
        None => format!("`{name}` sets nothing"),
    }
}

fn read_project(mut section: Section<'_>, root: &Path) -> Option<ProjectSettings> {
    let name = section.text("name").map(|name| name.value);
    let folder = || root.file_name().map_or_else(|| "shop".to_owned(), |name| name.to_string_lossy().into_owned());
    let has_zone = section.place_of("timezone").is_some();
    let zone = section.parsed("timezone", Zone::parse);
    let has_currency = section.place_of("currency").is_some();
    let currency = section.parsed("currency", parse_currency);
    if !has_zone {
        section.missing("timezone", "name the shop's zone: `timezone = \"Europe/Copenhagen\"`");
    }
    if !has_currency {
        section.missing("currency", "name the shop's currency: `currency = \"DKK\"`");
    }
    section.finish();
    Some(ProjectSettings { name: name.unwrap_or_else(folder), zone: zone?, currency: currency? })
}

fn parse_currency(text: &str) -> Result<String> {
    if text.len() == 3 && text.chars().all(|c| c.is_ascii_alphabetic()) {
        return Ok(text.to_ascii_uppercase());
    }
    Err(Error::definition("config.bad_currency", format!("`{text}` is not a currency"))
        .with_hint("write its ISO 4217 code, such as `EUR` or `DKK`"))
}

fn read_lake(
    mut section: Section<'_>,
    root: &Path,
    environment: &Environment,
    overrides: &Overrides,
) -> Option<LakeSettings> {
    let is_written = section.place_of("url").is_some();
    let written = section.parsed("url", |url| location::lake_url(url, root));
    let url = match &overrides.lake {
        Some(flag) => match location::lake_url(flag, environment.folder()) {
            Ok(url) => Some(url),
            Err(error) => {
                section.document().fault_from(&Origin::Flag("--lake"), &error);
                None
            }
        },
        None if is_written => written,
        None => location::lake_url("lake", root).ok(),
    };
    section.finish();
    Some(LakeSettings { url: url?, key: environment.lake_key() })
}

fn read_engine(mut section: Section<'_>, machine: Machine) -> EngineSettings {
    let memory_limit = section.parsed("memory_limit", |text| {
        let bytes = parse_size(text)?;
        if bytes < 128_000_000 {
            return Err(Error::definition("config.out_of_range", format!("`{text}` is too little to work with"))
                .with_hint("give the engine at least `128MB`"));
        }
        Ok(bytes)
    });
    let threads = section.integer("threads", 1..=1_024).and_then(|threads| usize::try_from(threads).ok());
    section.finish();
    EngineSettings {
        memory_limit: memory_limit.unwrap_or_else(|| default_memory_limit(machine)),
        threads: threads.unwrap_or(machine.cores.max(1)),
    }
}

/// Six tenths of the machine's memory: a process may reach 1.25 × the limit + 300 MB at its peak, and then still fits
/// beside an operating system.
fn default_memory_limit(machine: Machine) -> u64 {
    machine.memory.map_or(2_000_000_000, |memory| memory / 10 * 6).max(256_000_000)
}

fn read_orders(mut section: Section<'_>) -> OrderSettings {
    let mut counted: BTreeSet<String> =
        ["paid", "refunded", "partially_refunded"].iter().map(|status| (*status).to_owned()).collect();
    for status in section.texts("counted").unwrap_or_default() {
        let name = status.value.to_lowercase();
        if name == "cancelled" {
            let message = "`cancelled` orders never count";
            section.document().fault(&status.at, "config.bad_status", message, None);
        } else if ORDER_STATUSES.contains(&name.as_str()) {
            counted.insert(name);
        } else {
            let message = format!("`{}` is not an order status", status.value);
            let hint = suggest(&name, &["paid", "pending", "refunded", "partially_refunded"]);
            section.document().fault(&status.at, "config.bad_status", message, Some(hint));
        }
    }
    let aliases = section.section("status_aliases");
    let mut status_aliases = BTreeMap::new();
    for key in aliases.keys() {
        let Some(meaning) = aliases.text_at(key.value) else { continue };
        let status = meaning.value.to_lowercase();
        if ORDER_STATUSES.contains(&status.as_str()) {
            status_aliases.insert(key.value.trim().to_lowercase().replace(['-', ' '], "_"), status);
        } else {
            let message = format!("`{}` is not an order status", meaning.value);
            let hint = suggest(&status, &ORDER_STATUSES);
            aliases.document().fault(&meaning.at, "config.bad_status", message, Some(hint));
        }
    }
    section.finish();
    OrderSettings { counted, status_aliases }
}

fn read_customers(mut section: Section<'_>) -> CustomerSettings {
    let exclude = section.text("exclude").map(|query| query.value);
    section.finish();
    CustomerSettings { exclude }
}

fn read_landing(mut section: Section<'_>) -> LandingSettings {
    let max_reject_ratio = section.share("max_reject_ratio").unwrap_or(0.01);
    let lookback_days = section.integer("lookback_days", 0..=366).and_then(|days| u32::try_from(days).ok());
    section.finish();
    LandingSettings { max_reject_ratio, lookback_days: lookback_days.unwrap_or(3) }
}

/// The faults underneath an error of [`Settings::load`] or of a job's file, if it has any.
pub fn faults_of(error: &Error) -> Option<&Faults> {
    std::error::Error::source(error)?.downcast_ref::<Faults>()
}
