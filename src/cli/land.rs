//! `alluvial land`.

use super::Outcome;
use super::opened::{Call, Opened};
use crate::error::Error;
use crate::land::import::{Request, import};
use std::path::PathBuf;

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
    /// Parquet, CSV or JSON Lines files in the contract's shape
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
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
        let table = args.table;
        if let Some(url) = &settings.table(table).url {
            let message = format!("the project reads {} from `{url}`, not from its lake", table.name());
            return Err(Error::definition("land.elsewhere", message)
                .in_file("alluvial.toml")
                .with_hint(format!("put the files there, or take `url` out of `[tables.{}]`", table.name())));
        }
        let opened = Opened::new(settings, call.environment, true).await?;
        let project = &opened.project;
        let landing = project.landing(opened.yesterday(), opened.clock.now());
        let request = Request {
            table,
            files: args.files.iter().map(|file| call.environment.folder().join(file)).collect(),
            zone: args.timezone.unwrap_or(project.settings.project.zone),
            land_day: project.settings.project.zone.local_date(opened.clock.now()),
            settings: landing.tables.get(&table).cloned().unwrap_or_default(),
            fields: landing.fields,
        };
        let store = project.lake.store();
        let imported = Box::pin(import(&store, &project.lake.path("landing"), &request)).await?;
        let mut landed = Vec::new();
        for (file, written) in imported.iter().zip(&args.files) {
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
        print(&landed, output)?;
        Ok(Outcome::Done)
    })
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
