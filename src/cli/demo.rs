//! `alluvial demo`.

use super::Outcome;
use super::opened::{Call, Opened};
use super::progress::Progress;
use crate::schema::landed::Table;
use chrono::NaiveDate;

use super::output::Output;
use super::rows::{Cell, Rows};
use crate::error::Result;

/// What `alluvial demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How many customers the shop has
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub customers: u32,
    /// How many days it has been open
    #[arg(long, value_name = "N", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Another seed is another shop; the same seed is the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The last day of its history [default: yesterday]
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
    pub until: Option<NaiveDate>,
}

/// What was landed of one table.
#[derive(Debug, Clone)]
pub struct Landed {
    /// The landed table.
    pub table: String,
    /// Its files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
}

/// Prints what was landed.
///
/// # Errors
/// As [`Output::rows`].
pub fn print(landed: &[Landed], output: &mut Output<'_>) -> Result<()> {
    let mut rows = Rows::new(&["table", "#files", "#rows"]);
    for table in landed {
        rows.push(vec![Cell::text(&table.table), Cell::count(table.files), Cell::count(table.rows)]);
    }
    output.rows(rows)
}

/// Lands a demo shop in the project's lake.
///
/// # Errors
/// See [`crate::demo::generate`].
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, true).await?;
        let project = &opened.project;
        let shop = &project.settings.project;
        let last_day = args.until.unwrap_or_else(|| opened.yesterday());
        let mut options = crate::demo::Options::new(args.customers.into(), last_day, shop.zone, shop.currency.clone());
        options.days = args.days;
        options.seed = args.seed;
        options.threads = project.settings.engine.threads;
        let progress = Progress::new(output);
        let landing = project.lake.path("landing");
        let mut tell =
            |done: crate::demo::Progress| progress.about(format!("{} of {} customers", done.customers, done.of));
        let summary = Box::pin(crate::demo::generate(&options, project.lake.store(), &landing, &mut tell)).await?;
        progress.clear();
        let landed: Vec<Landed> = summary
            .tables
            .iter()
            .map(|table| Landed { table: table.table.name().to_owned(), files: table.files, rows: table.rows })
            .collect();
        print(&landed, output)?;
        let elsewhere: Vec<&str> = Table::ALL
            .into_iter()
            .filter(|table| project.settings.table(*table).url.is_some())
            .map(Table::name)
            .collect();
        if !elsewhere.is_empty() {
            output.warn(&format!(
                "the project reads {} from elsewhere (`[tables.…] url` in alluvial.toml), not from what was landed here",
                elsewhere.join(", ")
            ));
        }
        Ok(Outcome::Done)
    })
}
