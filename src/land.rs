//! Landed tables: found, read, checked, settled to one version a thing, and nothing invisible at the cutoff.
//!
//! The way is `discover` → columns → survey → settle. The survey reads of every table the ids and
//! what the checks need, and finds the rows that are faulty or share their id with another row. Those few are settled on
//! their own; all the others are read where they lie, by whatever statement needs them. A table without repeated ids
//! therefore costs its ids once, and never a sort.

/// From a file's columns to the contract's.
mod columns;
/// Money of other currencies.
mod currency;
/// Which files there are.
pub mod discover;
/// What makes a row faulty.
mod faults;
/// Rows of people who were forgotten.
mod forgotten;
/// Files landed by hand: whole or not at all.
pub mod import;
/// Files of another program, mapped to the contract.
pub mod mapped;
/// Order lines whose order the day does not have.
mod orphans;
/// Places of rows, and tables of nothing but the rows at some places.
mod places;
/// How landed values are read.
pub mod read;
/// Which ids occur more than once.
mod repeats;
/// The clean tables that the profile reads.
mod settle;
/// Files of one schema, and how their columns become the contract's.
mod shape;
/// Faulty rows and repeated ids.
mod survey;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::prelude::SessionContext;

use crate::calendar::Zone;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::schema::landed::{Reading, Table};

pub use discover::{LandedFile, Source};
pub use forgotten::{OfForgotten, gone};
pub use shape::plain_name;
pub use survey::Reject;

/// What `alluvial.toml` says about one landed table.
#[derive(Debug, Clone, Default)]
pub struct TableOptions {
    /// Contract column, or custom property → landed column.
    pub columns: BTreeMap<String, String>,
    /// What every id of the table is prefixed with.
    pub id_prefix: Option<String>,
    /// Whether money is landed as whole minor units.
    pub money_minor: bool,
    /// Whether every `dt=` folder is a dump of all that exists.
    pub full_dump: bool,
}

/// What reading the landed tables depends on.
#[derive(Debug, Clone)]
pub struct Options {
    /// The shop's time zone.
    pub zone: Zone,
    /// The shop's currency, as its ISO 4217 code.
    pub currency: String,
    /// The as-of date.
    pub as_of: NaiveDate,
    /// Times after this instant are faulty.
    pub horizon: DateTime<Utc>,
    /// The share of a table's rows that may be faulty.
    pub max_reject_ratio: f64,
    /// Days for which an order line may wait for its order before it is faulty.
    pub lookback_days: u32,
    /// Per table; a table without an entry is read as the contract says.
    pub tables: BTreeMap<Table, TableOptions>,
    /// Landed status (lower case, underscores) → meaning.
    pub statuses: BTreeMap<String, String>,
    /// How declared fields are read, by property.
    pub fields: BTreeMap<String, Reading>,
    /// Whether rows of people who were forgotten are left out; the session must know `is_forgotten` then.
    pub without_forgotten: bool,
}

static DEFAULT_TABLE: TableOptions =
    TableOptions { columns: BTreeMap::new(), id_prefix: None, money_minor: false, full_dump: false };

impl Options {
    fn table(&self, table: Table) -> &TableOptions {
        self.tables.get(&table).unwrap_or(&DEFAULT_TABLE)
    }

    /// The cutoff in microseconds.
    fn cutoff_micros(&self) -> i64 {
        self.zone.cutoff(self.as_of).timestamp_micros()
    }
}

/// The meanings that an order's status may have.
pub const STATUSES: &[&str] = &["paid", "pending", "cancelled", "refunded", "partially_refunded"];

/// What the shop platforms call those statuses (lower case, with underscores for dashes and blanks).
pub const STATUS_ALIASES: &[(&str, &str)] = &[
    ("authorized", "paid"),
    ("closed", "paid"),
    ("complete", "paid"),
    ("completed", "paid"),
    ("delivered", "paid"),
    ("fulfilled", "paid"),
    ("partially_paid", "paid"),
    ("processing", "paid"),
    ("shipped", "paid"),
    ("awaiting_payment", "pending"),
    ("checkout_draft", "pending"),
    ("draft", "pending"),
    ("on_hold", "pending"),
    ("open", "pending"),
    ("pending_payment", "pending"),
    ("unpaid", "pending"),
    ("abandoned", "cancelled"),
    ("canceled", "cancelled"),
    ("declined", "cancelled"),
    ("expired", "cancelled"),
    ("failed", "cancelled"),
    ("trash", "cancelled"),
    ("voided", "cancelled"),
    ("partial_refund", "partially_refunded"),
    ("refund", "refunded"),
];

/// The status map: the meanings themselves, the platforms' aliases, and a project's own over both.
pub fn statuses(own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> =
        STATUSES.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
    map.extend(STATUS_ALIASES.iter().map(|(alias, status)| ((*alias).to_owned(), (*status).to_owned())));
    map.extend(own.iter().map(|(alias, status)| (alias.to_lowercase().replace(['-', ' '], "_"), status.clone())));
    map
}

/// What was found of one landed table.
#[derive(Debug, Clone, Default)]
pub struct TableSummary {
    /// Its files, in path order.
    pub files: Vec<LandedFile>,
    /// Rows in them.
    pub rows: u64,
    /// Faulty rows by rule and column.
    pub faults: BTreeMap<(String, String), u64>,
    /// Different ids that were landed more than once, or with a fault.
    pub repeated: u64,
    /// The contract's columns, and custom ones, that some file has.
    pub present: BTreeSet<String>,
    /// Custom columns and how they are read.
    pub custom: BTreeMap<String, Reading>,
}

impl TableSummary {
    /// Faulty rows.
    pub fn rejected(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// The landed tables of a day: the session has a table `landed_<name>` for each.
#[derive(Debug, Clone, Default)]
pub struct Landed {
    /// By table; a table that nobody landed has no files.
    pub tables: BTreeMap<Table, TableSummary>,
    /// The faulty rows, the first thousands of each table.
    pub rejects: Vec<Reject>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// The newest landed day: of the newest `dt=` folder, else of the newest order.
    pub newest_on: Option<NaiveDate>,
    /// Whether orders in other currencies were landed, and so `rates_daily` is there.
    pub foreign_money: bool,
    /// What is known of the orders of the settled lines.
    pub lines: LineCounts,
}

/// Settled order lines by what is known of their order; overdue ones, which are rejected, are in none of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Lines of orders that the day can see.
    pub visible: u64,
    /// Lines of orders that come after the cutoff.
    pub later: u64,
    /// Lines of orders that were rejected.
    pub rejected: u64,
    /// Lines of orders that were not landed yet, and are not overdue.
    pub waiting: u64,
}

impl Landed {
    /// What was found of a table.
    pub fn table(&self, table: Table) -> TableSummary {
        self.tables.get(&table).cloned().unwrap_or_default()
    }

    /// Whether any row of the table was landed.
    pub fn has(&self, table: Table) -> bool {
        self.tables.get(&table).is_some_and(|summary| summary.rows > 0)
    }
}

/// The landed files, found and understood; nothing of their rows is read yet.
#[derive(Debug)]
pub struct Found {
    /// Files, columns and warnings.
    pub landed: Landed,
    shapes: BTreeMap<Table, shape::Shape>,
}

impl Found {
    /// SQL for `landed_status`, a landed column as text, and `ordered_at`; none where no file has the column.
    pub fn landed_column_sql(&self, table: Table, column: &str) -> Option<String> {
        self.shapes.get(&table)?.source_sql(column)
    }

    /// SQL for every row of a table as it is read: all versions, faulty rows too.
    pub fn rows_sql(&self, table: Table, options: &Options) -> String {
        self.shapes.get(&table).map_or_else(String::new, |shape| shape.rows_sql(options))
    }
}

/// Finds the files of all landed tables and works out how they are read.
///
/// # Errors
/// A file that is not Parquet, lacks a required column or has one of an impossible type.
pub async fn find(session: &SessionContext, sources: &[Source], options: &Options) -> Result<Found> {
    find_some(session, sources, options, |_, _| true).await
}

/// [`find`] among the files that `wanted` asks for.
///
/// # Errors
/// Those of [`find`].
pub async fn find_some(
    session: &SessionContext,
    sources: &[Source],
    options: &Options,
    wanted: impl Fn(Table, &LandedFile) -> bool,
) -> Result<Found> {
    let mut landed = Landed::default();
    let mut shapes = BTreeMap::new();
    for table in Table::ALL {
        let mut files = Vec::new();
        let mut address = None;
        for source in sources.iter().filter(|source| source.table == table) {
            let found = discover::discover(source, options.zone).await?;
            files.extend(found.into_iter().filter(|file| wanted(table, file)));
            address = Some(source.address.clone());
        }
        let shape = shape::shape(session, table, address, files, options, &mut landed)?;
        shapes.insert(table, shape);
    }
    Ok(Found { landed, shapes })
}

/// Checks and settles the rows of all landed tables for the as-of date, and gives the session a `landed_<name>` for each.
///
/// # Errors
/// Several currencies without rates; more faulty rows than `max_reject_ratio` of a table (`land.too_many_rejects`, with
/// the rules counted).
pub async fn settle(engine: &Engine, session: &SessionContext, found: Found, options: &Options) -> Result<Landed> {
    settle_some(engine, session, found, options, |_| true).await
}

/// [`settle`] of the tables that `wanted` asks for; those of orders and rates always. The session has no other.
///
/// # Errors
/// Those of [`settle`].
pub async fn settle_some(
    engine: &Engine,
    session: &SessionContext,
    found: Found,
    options: &Options,
    wanted: impl Fn(Table) -> bool,
) -> Result<Landed> {
    let Found { mut landed, mut shapes } = found;
    // Rates come first: an order in a currency without a rate is faulty.
    if let Some(shape) = shapes.get(&Table::Rates) {
        settle::settle(engine, session, shape, options, &mut landed).await?;
    }
    if let Some(shape) = shapes.get_mut(&Table::Orders) {
        currency::prepare(engine, session, shape, options, &mut landed).await?;
    }
    for table in [
        Table::Customers,
        Table::Orders,
        Table::OrderItems,
        Table::Products,
        Table::Events,
        Table::Identities,
        Table::Suppressions,
    ] {
        if let Some(shape) = shapes.get(&table).filter(|_| table == Table::Orders || wanted(table)) {
            settle::settle(engine, session, shape, options, &mut landed).await?;
            if table == Table::Customers {
                settle::doubts(session, shape, &mut landed).await?;
            }
        }
    }
    settle::register_absent(session).await?;
    if let Some(shape) = shapes.get(&Table::OrderItems).filter(|_| wanted(Table::OrderItems)) {
        orphans::settle(session, shape, options, &mut landed).await?;
    }
    within_ratio(&landed, options)?;
    landed.newest_on = settle::newest_day(session, &shapes, options).await?;
    Ok(landed)
}

/// Settles what events need to be told apart and owned: events, products and identities.
///
/// # Errors
/// Whatever the disk and the store say.
pub async fn settle_rows(engine: &Engine, session: &SessionContext, found: Found, options: &Options) -> Result<()> {
    let Found { mut landed, shapes } = found;
    for table in [Table::Products, Table::Events, Table::Identities] {
        if let Some(shape) = shapes.get(&table) {
            settle::settle(engine, session, shape, options, &mut landed).await?;
        }
    }
    Ok(())
}

/// Settles who is who: identities alone.
///
/// # Errors
/// Whatever the disk and the store say.
pub async fn settle_identities(
    engine: &Engine,
    session: &SessionContext,
    found: &Found,
    options: &Options,
) -> Result<()> {
    let mut landed = Landed::default();
    if let Some(shape) = found.shapes.get(&Table::Identities) {
        settle::settle(engine, session, shape, options, &mut landed).await?;
    }
    Ok(())
}

/// Settles what says who may be contacted: customers, identities and suppressions.
///
/// # Errors
/// Whatever the disk and the store say; more faulty rows than `max_reject_ratio` of one of these tables.
pub async fn settle_people(
    engine: &Engine,
    session: &SessionContext,
    found: Found,
    options: &Options,
) -> Result<Landed> {
    let Found { mut landed, shapes } = found;
    for table in [Table::Customers, Table::Identities, Table::Suppressions] {
        if let Some(shape) = shapes.get(&table) {
            settle::settle(engine, session, shape, options, &mut landed).await?;
        }
    }
    settle::register_absent(session).await?;
    within_ratio(&landed, options)?;
    Ok(landed)
}

/// [`find`] and [`settle`] in one.
///
/// # Errors
/// Those of both.
pub async fn land(engine: &Engine, session: &SessionContext, sources: &[Source], options: &Options) -> Result<Landed> {
    let found = find(session, sources, options).await?;
    settle(engine, session, found, options).await
}

/// Faulty rows of a table whose places are told where they stop a run.
const SHOWN_REJECTS: usize = 3;

/// Refuses a day of which too many rows are faulty.
fn within_ratio(landed: &Landed, options: &Options) -> Result<()> {
    let mut told = Vec::new();
    let mut places = Vec::new();
    let mut negative_total = false;
    for (table, summary) in &landed.tables {
        let rejected = summary.rejected();
        #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
        let share = rejected as f64 / summary.rows.max(1) as f64;
        if share <= options.max_reject_ratio {
            continue;
        }
        let rules: Vec<String> =
            summary.faults.iter().map(|((rule, column), count)| format!("{rule} in {column}: {count}")).collect();
        negative_total |= summary.faults.contains_key(&("negative_value".to_owned(), "total".to_owned()));
        told.push(format!("{}: {rejected} of {} rows are faulty ({})", table.name(), summary.rows, rules.join(", ")));
        let mut first = landed.rejects.iter().filter(|reject| reject.table == table.name()).peekable();
        if let Some(file) = first.peek().map(|reject| reject.file.clone()) {
            let rows =
                first.filter(|reject| reject.file == file).take(SHOWN_REJECTS).map(|reject| reject.row.to_string());
            places.push(format!("row {} of {file}", rows.collect::<Vec<_>>().join(", ")));
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    let mut hint = "mend what lands these tables, or raise `[landing] max_reject_ratio`".to_owned();
    if negative_total {
        hint.push_str("; land a refund as `refunded` of its order, not as an order of a negative total");
    }
    let message = format!("{}; see {}", told.join("; "), places.join(" and "));
    Err(Error::input("land.too_many_rejects", message).with_hint(hint))
}
