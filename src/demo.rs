//! A synthetic shop, seeded and deterministic.
//!
//! Each customer's history is a function of the options and the customer's number alone, so a shop of any size is made
//! in bounded memory and on any number of threads, and its files are the same bytes every time. It has what real shops
//! have: spending and popularity that are skewed, people who leave for good, seasons, missing fields, spellings of
//! several platforms, visitors of whom only some are ever known, guests, merged accounts, later versions, rows landed
//! twice, and a few rows that are broken.
//!
//! E-mail addresses are under the domains of RFC 2606, phone numbers under the country code +999, which ITU-T E.164
//! keeps unassigned: nobody can be reached by accident.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::schema::landed::Table;

mod catalogue;
mod days;
mod ids;
mod letters;
mod life;
mod orders;
mod others;
mod people;
mod rows;
mod shop;
mod tables;
mod visits;
mod write;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

/// Changes whenever the same options would give other rows, so that files of two editions never mix.
const EDITION: u32 = 1;
/// The most customers: ids keep their width, and numbers fit.
const MOST_CUSTOMERS: u64 = 50_000_000;
/// The longest history, ten years.
const MOST_DAYS: u32 = 3_660;

/// Which shop to make. Everything but `threads` is part of what is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many customers have an account, 1 to 50 million.
    pub customers: u64,
    /// How many days the history has, 1 to 3,660.
    pub days: u32,
    /// What the random streams start from.
    pub seed: u64,
    /// The last day of the history.
    pub last_day: NaiveDate,
    /// The shop's zone: its days, and its `dt=` folders.
    pub zone: Zone,
    /// The shop's currency, as ISO 4217.
    pub currency: String,
    /// How the history is cut into folders.
    pub layout: Layout,
    /// How many threads work on it.
    pub threads: usize,
}

/// How the history is cut into `dt=` folders, each named by its last day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A folder a quarter of orders, lines and events, and one a year of all else: few files.
    Compact,
    /// A folder a month of events, one a quarter of orders, lines, customers and identities, and for each of these one
    /// a day for the last three days.
    Daily,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Customers whose history is made.
    pub customers: u64,
    /// Customers in all.
    pub of: u64,
}

/// What was landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// One entry a table, in the order of the contract; a table without rows has none.
    pub tables: Vec<LandedTable>,
}

/// What was landed of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LandedTable {
    /// The table.
    pub table: Table,
    /// How many files.
    pub files: u64,
    /// How many rows, those landed twice and broken ones included.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Options {
    /// A shop of that many customers: 730 days until `last_day`, on all of the machine's cores.
    pub fn new(customers: u64, last_day: NaiveDate, zone: Zone, currency: impl Into<String>) -> Self {
        Self {
            customers,
            days: 730,
            seed: 1,
            last_day,
            zone,
            currency: currency.into(),
            layout: if customers < 5_000 { Layout::Compact } else { Layout::Daily },
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn validate(&self) -> Result<()> {
        if self.customers == 0 || self.customers > MOST_CUSTOMERS {
            return Err(Error::usage(
                "demo.customers",
                format!("a demo shop has 1 to {MOST_CUSTOMERS} customers, not {}", self.customers),
            ));
        }
        if self.days == 0 || self.days > MOST_DAYS {
            return Err(Error::usage(
                "demo.days",
                format!("a demo shop has a history of 1 to {MOST_DAYS} days, not {}", self.days),
            ));
        }
        let years = 1900..=2150;
        if !years.contains(&chrono::Datelike::year(&self.last_day)) {
            return Err(Error::usage("demo.last_day", format!("{} is not a day of our times", self.last_day)));
        }
        Ok(())
    }

    /// Tells the files of one shop from those of another.
    fn fingerprint(&self) -> u32 {
        let Self { customers, days, seed, last_day, zone, currency, layout, threads: _ } = self;
        let text = format!("{EDITION} {customers} {days} {seed} {last_day} {zone} {currency} {layout:?}");
        crc32c::crc32c(text.as_bytes())
    }
}

impl Summary {
    /// The rows of a table, 0 if nothing was landed.
    pub fn rows(&self, table: Table) -> u64 {
        self.tables.iter().find(|landed| landed.table == table).map_or(0, |landed| landed.rows)
    }
}

/// Lands a demo shop below `landing`, as `<table>/dt=<last day>/part-<fingerprint of the options>.parquet`.
///
/// A file is visible only once it is whole, and the same options write the same bytes to the same names, so a run that
/// was cut short is repaired by running again.
///
/// # Errors
/// `demo.customers`, `demo.days` and `demo.last_day` for options out of range, `demo.not_empty` where `landing` holds
/// other data, and what the store answers.
pub async fn generate(
    options: &Options,
    store: Arc<dyn ObjectStore>,
    landing: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary> {
    options.validate()?;
    let name = format!("part-{:08x}.parquet", options.fingerprint());
    refuse_others(&*store, landing, &name).await?;
    let shop = Arc::new(shop::Shop::new(options.clone()));
    let mut uploads = write::Uploads::new(store);
    let path = |(table, folder): write::File| {
        let date = shop.folders(table).date(folder);
        landing.clone().join(table.name()).join(format!("dt={date}")).join(name.as_str())
    };
    match Box::pin(land(&shop, &mut uploads, path, progress)).await {
        Ok(()) => Ok(summarize(uploads.landed())),
        Err(error) => {
            uploads.abort().await;
            Err(error)
        }
    }
}

/// Makes round after round, and uploads each while the next is made.
async fn land(
    shop: &Arc<shop::Shop>,
    uploads: &mut write::Uploads,
    path: impl Fn(write::File) -> Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<()> {
    let all = shop.options.customers as u32;
    let mut press = write::Press::new(Arc::clone(shop));
    let mut made = press.shared()?;
    let mut from = 0;
    while from < all {
        let upto = all.min(from + write::ROUND);
        let round = tokio::task::spawn_blocking(move || press.round(from..upto).map(|pieces| (press, pieces)));
        let (round, sent) = tokio::join!(round, uploads.append(made, &path));
        sent?;
        (press, made) = round.map_err(stopped)??;
        from = upto;
        progress(Progress { customers: u64::from(from), of: u64::from(all) });
    }
    uploads.append(made, &path).await?;
    loop {
        let rest = tokio::task::spawn_blocking(move || press.finish_some().map(|pieces| (press, pieces)));
        (press, made) = rest.await.map_err(stopped)??;
        if made.is_empty() {
            return Ok(());
        }
        let files: Vec<write::File> = made.iter().map(|piece| piece.file).collect();
        uploads.append(made, &path).await?;
        uploads.complete(&files).await?;
    }
}

fn stopped(error: tokio::task::JoinError) -> Error {
    Error::internal("demo.thread", "the demo shop was not finished").with_source(error)
}

/// Another shop's files beside ours would make one shop of two.
async fn refuse_others(store: &dyn ObjectStore, landing: &Path, name: &str) -> Result<()> {
    for table in Table::ALL {
        let folder = landing.clone().join(table.name());
        let mut files = store.list(Some(&folder));
        while let Some(file) = files.try_next().await? {
            if file.location.filename() != Some(name) {
                return Err(Error::input("demo.not_empty", "the landing folder already holds other data")
                    .in_file(file.location.to_string())
                    .with_hint("land the demo shop in an empty lake, or with the same options as before"));
            }
        }
    }
    Ok(())
}

fn summarize(landed: Vec<write::Landed>) -> Summary {
    let mut tables: BTreeMap<Table, LandedTable> = BTreeMap::new();
    for file in landed {
        let entry = tables.entry(file.table).or_insert(LandedTable { table: file.table, files: 0, rows: 0, bytes: 0 });
        entry.files += 1;
        entry.rows += file.rows;
        entry.bytes += file.bytes;
    }
    Summary { tables: tables.into_values().collect() }
}
