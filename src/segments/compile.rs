//! From typed rules to SQL: on its own for one segment, shared for all segments of a night.
//!
//! A test of a missing value gives NULL, which `AND` and `OR` carry along and `WHERE` reads as false; every negation
//! is written `(… IS DISTINCT FROM TRUE)`, and so is an exact complement. (`IS NOT TRUE` would say the same, but
//! DataFusion's logical and physical plans disagree on whether it can be NULL, and then refuse to aggregate over it.)

use crate::calendar::Zone;
use crate::error::Error;
use chrono::NaiveDate;

mod anniversary;
mod days;
mod explained;
mod gathered;
mod place;
/// What one scan of a table has to find out, as plain data.
pub mod program;
mod quote;
mod reach;
mod rows;
mod shared;
mod standalone;
mod test;

pub use explained::{picked_sql, place_sql, value_sql};
pub(crate) use gathered::kinds_function;
pub use rows::Family;
pub(crate) use rows::{PRODUCT_CATEGORY, PRODUCT_LABELS};
pub(crate) use shared::holds_without_rows;
pub use shared::{Formula, Member, Output, Pass, Shared, Tested, shared};
pub use standalone::standalone_sql;

/// The day and the zone in which dates are resolved.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The shop's time zone.
    pub zone: Zone,
    /// What `today` means.
    pub as_of: NaiveDate,
}

/// The tables that a statement reads, as they are named in the session.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The column by which rows belong to a customer: of the profile, of the contacts and of every row.
    pub key: &'static str,
    /// One row a customer.
    pub profile: String,
    /// The contact columns, by customer.
    pub contacts: String,
    /// Clean orders of the day, by customer.
    pub orders: String,
    /// Their lines.
    pub order_items: String,
    /// Clean events before the cutoff, by customer.
    pub events: String,
    /// What products were landed with.
    pub products: String,
    /// Which customer an id of an earlier day stands for: `id` and the key.
    pub persons: String,
    /// Changes of membership on published days.
    pub segment_changes: String,
    /// Stages on published days, that of the as-of date included.
    pub lifecycle: String,
    /// Exports.
    pub exports: String,
    /// Who was exported.
    pub export_members: String,
}

impl Default for Tables {
    /// The published tables and the views over them, for SQL that is run by hand.
    fn default() -> Self {
        Self {
            key: "customer_id",
            profile: "customer_profile_latest".to_owned(),
            contacts: "customer_contacts".to_owned(),
            orders: "orders".to_owned(),
            order_items: "order_items".to_owned(),
            events: "events".to_owned(),
            products: "products".to_owned(),
            persons: "persons".to_owned(),
            segment_changes: "segment_changes".to_owned(),
            lifecycle: "lifecycle".to_owned(),
            exports: "exports".to_owned(),
            export_members: "export_members".to_owned(),
        }
    }
}

impl Tables {
    /// The tables of a night's own session, by the customers' dense numbers.
    pub fn of_the_night() -> Self {
        Self {
            key: "customer_no",
            profile: "profile".to_owned(),
            contacts: "contacts".to_owned(),
            events: "events_owned".to_owned(),
            lifecycle: "segment_lifecycle".to_owned(),
            products: "landed_products".to_owned(),
            ..Self::default()
        }
    }
}

/// How a contact column is named beside those of the profile.
fn contact_column(name: &str) -> String {
    format!("contact:{name}")
}

fn unknown(id: &str) -> Error {
    Error::definition("segment.unknown_segment", format!("there is no segment `{id}`"))
}

/// Longer chains are grouped, so that no plan nests a thousand expressions.
const MAX_CHAIN: usize = 32;

/// An expression in parentheses, unless it stands in a pair of its own.
fn enclosed(sql: String) -> String {
    let mut depth = 0_usize;
    let mut inside_text = false;
    let mut closed_early = false;
    for (offset, next) in sql.char_indices() {
        match next {
            '\'' => inside_text = !inside_text,
            '(' if !inside_text => depth += 1,
            ')' if !inside_text => {
                depth = depth.saturating_sub(1);
                closed_early |= depth == 0 && offset + 1 < sql.len();
            }
            _ => {}
        }
    }
    // A column by itself needs none.
    if (sql.starts_with('(') && !closed_early) || !sql.contains([' ', '(']) { sql } else { format!("({sql})") }
}

/// Joins expressions; long chains in groups of groups.
fn join(mut parts: Vec<String>, between: &str) -> String {
    while parts.len() > MAX_CHAIN {
        parts = parts.chunks(MAX_CHAIN).map(|group| format!("({})", group.join(between))).collect();
    }
    parts.join(between)
}

#[cfg(test)]
mod tests;
