//! `alluvial init`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::Outcome;
use super::output::Output;
use super::rows::{Cell, Rows};
use crate::calendar::Zone;
use crate::error::{Error, Result};

/// What `alluvial init` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project's folder; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The shop's time zone, such as Europe/Copenhagen
    #[arg(long, value_name = "TZ", default_value = "UTC")]
    pub timezone: String,
    /// The shop's currency, such as DKK
    #[arg(long, value_name = "CODE", default_value = "EUR")]
    pub currency: String,
}

const PROJECT: &str = include_str!("init/alluvial.toml");
const NIGHTLY: &str = include_str!("init/nightly.toml");
const WEEKLY: &str = include_str!("init/weekly.toml");
const UPKEEP: &str = include_str!("init/upkeep.toml");
const IGNORED: &str = "# The lake holds data, and personal data among it: it does not belong into git.\n/lake/\n";

/// Writes a new project: `alluvial.toml`, `jobs/`, `.gitignore` and the sample segments, each a pair of id
/// and text. What is there already is kept, and said so.
///
/// # Errors
/// A time zone or currency that does not exist, and a folder that cannot be written to.
pub fn run(args: &Args, from: &Path, samples: &[(&str, &str)], output: &mut Output<'_>) -> Result<Outcome> {
    let zone = Zone::parse(&args.timezone).map_err(|error| as_usage(&error))?;
    let currency = args.currency.to_ascii_uppercase();
    if currency.len() != 3 || !currency.chars().all(|c| c.is_ascii_uppercase()) {
        let message = format!("`{}` is not a currency", args.currency);
        return Err(Error::usage("config.bad_currency", message).with_hint("write its ISO 4217 code, such as `EUR`"));
    }
    let root = from.join(&args.folder);
    let name = std::path::absolute(&root)?;
    let name = name.file_name().map_or_else(|| "shop".to_owned(), |name| name.to_string_lossy().into_owned());
    let project = PROJECT
        .replace("{timezone}", zone.name())
        .replace("{currency}", &currency)
        .replace("{name}", &toml::Value::from(name).to_string());

    let mut files = vec![
        ("alluvial.toml".to_owned(), project.as_str()),
        ("jobs/nightly.toml".to_owned(), NIGHTLY),
        ("jobs/weekly.toml".to_owned(), WEEKLY),
        ("jobs/upkeep.toml".to_owned(), UPKEEP),
        (".gitignore".to_owned(), IGNORED),
    ];
    files.extend(samples.iter().map(|(id, text)| (format!("sql/segments/{id}.toml"), *text)));

    let mut rows = Rows::new(&["file", "result"]);
    for (file, text) in files {
        let result = if write_new(&root.join(&file), text).map_err(|error| error.in_file(&file))? {
            "written"
        } else {
            "kept as it is"
        };
        rows.push(vec![Cell::text(file), Cell::text(result)]);
    }
    output.rows(rows)?;
    output.note(&format!(
        "next: set the time zone and the currency in `{0}/alluvial.toml`, land data, then `alluvial run nightly --project {0}`",
        args.folder.display()
    ));
    Ok(Outcome::Done)
}

/// Writes a file that is not there yet, whole or not at all. `false` where there is one.
fn write_new(path: &Path, text: &str) -> Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    set_readable(file.as_file())?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(refused) if refused.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(refused.error.into()),
    }
}

/// Temporary files are for their owner only; a project is for its team.
#[cfg(unix)]
fn set_readable(file: &std::fs::File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.set_permissions(std::fs::Permissions::from_mode(0o644))?)
}

#[cfg(not(unix))]
fn set_readable(_file: &std::fs::File) -> Result<()> {
    Ok(())
}

fn as_usage(error: &Error) -> Error {
    let usage = Error::usage(error.code(), error.message());
    match error.hint() {
        Some(hint) => usage.with_hint(hint),
        None => usage,
    }
}
