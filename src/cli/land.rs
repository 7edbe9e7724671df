//! `alluvial land`.

use super::Outcome;
use super::opened::{Call, Opened};
use crate::config::Settings;
use crate::erase::keep_out;
use crate::error::Error;
use crate::land::TableOptions;
use crate::land::import::{Request, import};
use crate::land::mapped::Mapping;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::forget::told_of_landed;
use super::output::Output;
use super::rows::{Cell, Rows};
use crate::calendar::Zone;
use crate::diagnostic::nearest;
use crate::error::Result;
use crate::schema::landed::Table;

/// What `alluvial land` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The table that the files are of
    #[arg(value_name = "TABLE", value_parser = table)]
    pub table: Table,
    /// Parquet, CSV or JSON Lines files in the contract's shape, or as `--from` or `--map` say
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The platform whose export the files are: shopify, woocommerce, magento, volusion, klaviyo, mailchimp, ga4, segment
    #[arg(long, value_name = "PLATFORM", conflicts_with = "map")]
    pub from: Option<String>,
    /// An SQL file from the files' own columns to the contract's
    #[arg(long, value_name = "FILE.sql")]
    pub map: Option<PathBuf>,
    /// The time zone of times that are written without one [default: the project's]
    #[arg(long, value_name = "TZ", value_parser = zone)]
    pub timezone: Option<Zone>,
}

/// What became of one file.
#[derive(Debug, Clone)]
pub struct Landed {
    /// The file, as it was named.
    pub file: String,
    /// Where it is in the lake.
    pub landed_as: String,
    /// Its rows.
    pub rows: u64,
    /// Whether the very same file was there already.
    pub already: bool,
}

/// Prints what became of the files.
///
/// # Errors
/// As [`Output::rows`].
pub fn print(landed: &[Landed], output: &mut Output<'_>) -> Result<()> {
    let mut rows = Rows::new(&["file", "result", "#rows", "landed_as"]);
    for file in landed {
        let result = if file.already { "landed before" } else { "landed" };
        rows.push(vec![
            Cell::text(&file.file),
            Cell::text(result),
            Cell::count(file.rows),
            Cell::text(&file.landed_as),
        ]);
    }
    output.rows(rows)
}

/// Lands files in the project's lake.
///
/// # Errors
/// See [`crate::land::import::import`]; `land.elsewhere` for a table that the project reads from another place.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let mut tables = vec![args.table];
        tables.extend(args.from.as_deref().and_then(|platform| Mapping::beside(platform, args.table)));
        for table in &tables {
            elsewhere(&settings, *table)?;
        }
        let opened = Opened::new(settings, call.environment, true).await?;
        let files: Vec<PathBuf> = args.files.iter().map(|file| call.environment.folder().join(file)).collect();
        let mut landed = Vec::new();
        if args.from.is_none() && args.map.is_none() {
            landed.extend(Box::pin(land(&opened, args, args.table, files, &args.files, output)).await?);
            print(&landed, output)?;
            return Ok(Outcome::Done);
        }
        // All tables are mapped before the first is landed.
        let folder = tempfile::tempdir()?;
        let names: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
        let shown = names.join(", ");
        let mut mapped = Vec::new();
        for table in tables {
            let mapping = match (&args.from, &args.map) {
                (Some(platform), _) => {
                    Mapping::of(platform, table, opened.project.engine.overrides().map(PathBuf::as_path))?
                }
                (None, Some(map)) => {
                    Mapping::read(&call.environment.folder().join(map), &map.display().to_string(), table)?
                }
                (None, None) => continue,
            };
            let to = folder.path().join(format!("{}.parquet", table.name()));
            let settings = table_options(&opened, table);
            let found = Box::pin(mapping.apply(&opened.project.engine, &files, &settings, &to)).await?;
            for note in &found.notes {
                output.warn(&format!("{} of {shown}: {note}", table.name()));
            }
            mapped.push((table, to));
        }
        for (table, file) in mapped {
            let told = [PathBuf::from(format!("{shown} ({})", table.name()))];
            let of_table = Box::pin(land(&opened, args, table, vec![file], &told, output)).await;
            landed.extend(of_table.map_err(|error| error.with_file(shown.as_str()))?);
        }
        print(&landed, output)?;
        Ok(Outcome::Done)
    })
}

fn table_options(opened: &Opened, table: Table) -> TableOptions {
    let options = opened.project.landing(opened.yesterday(), opened.clock.now());
    options.tables.get(&table).cloned().unwrap_or_default()
}

/// Refuses a table that the project reads from another place.
fn elsewhere(settings: &Settings, table: Table) -> Result<()> {
    let Some(url) = &settings.table(table).url else { return Ok(()) };
    let message = format!("the project reads {} from `{url}`, not from its lake", table.name());
    Err(Error::definition("land.elsewhere", message)
        .in_file("alluvial.toml")
        .with_hint(format!("put the files there, or take `url` out of `[tables.{}]`", table.name())))
}

/// Lands files in the contract's shape; `written` are their names for people.
async fn land(
    opened: &Opened,
    args: &Args,
    table: Table,
    files: Vec<PathBuf>,
    written: &[PathBuf],
    output: &mut Output<'_>,
) -> Result<Vec<Landed>> {
    let project = &opened.project;
    let landing = project.landing(opened.yesterday(), opened.clock.now());
    let request = Request {
        table,
        files,
        zone: args.timezone.unwrap_or(project.settings.project.zone),
        land_day: project.settings.project.zone.local_date(opened.clock.now()),
        settings: landing.tables.get(&table).cloned().unwrap_or_default(),
        fields: landing.fields,
    };
    let store = project.lake.store();
    let imported = Box::pin(import(&store, &project.lake.path("landing"), &request)).await?;
    let below = |path| project.lake.below(path);
    let fresh: BTreeSet<String> =
        imported.iter().filter(|file| !file.already).filter_map(|file| below(&file.path)).collect();
    let gone = Box::pin(keep_out(project, table, &fresh, opened.clock.now())).await?;
    if gone > 0 {
        output.warn(&told_of_landed(gone));
    }
    let mut landed = Vec::new();
    for (file, written) in imported.iter().zip(written) {
        for warning in &file.warnings {
            output.warn(&format!("{}: {warning}", written.display()));
        }
        landed.push(Landed {
            file: written.display().to_string(),
            landed_as: project.lake.below(&file.path).unwrap_or_else(|| file.path.to_string()),
            rows: file.rows,
            already: file.already,
        });
    }
    Ok(landed)
}

fn table(name: &str) -> Result<Table, String> {
    Table::named(name).ok_or_else(|| {
        let names = Table::ALL.map(Table::name);
        match nearest(name, names) {
            Some(close) => format!("there is no landed table of that name; did you mean `{close}`?"),
            None => format!("the landed tables are {}", names.join(", ")),
        }
    })
}

fn zone(name: &str) -> Result<Zone, String> {
    Zone::parse(name).map_err(|error| match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(table("orders").unwrap(), Table::Orders);
        assert!(table("order").unwrap_err().contains("`orders`"));
        assert!(zone("Europe/Kopenhagen").unwrap_err().contains("Europe/Copenhagen"));
    }
}
