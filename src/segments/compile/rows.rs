//! Where the rows of functions come from: one FROM a table, and what each function wants of its rows.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::days::civil;
use super::program::Owner;
use super::quote::{identifier, text};
use super::{Scope, Tables};
use crate::profile::catalogue::{CATEGORY, LABELS, Rows};

/// Functions whose rows are read by one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Order lines.
    Lines,
    /// Orders.
    Orders,
    /// Events.
    Events,
    /// Events with what came after them.
    Abandoned,
    /// Changes of membership.
    Changes,
    /// Changes of the lifecycle stage.
    Stages,
    /// Exports.
    Exports,
}

impl Family {
    /// The family of a function's rows; `None` for the customer's own place, which is no row.
    pub(super) fn of(rows: Rows) -> Option<Self> {
        Some(match rows {
            Rows::Purchases | Rows::Returns => Family::Lines,
            Rows::Orders | Rows::Cancellations => Family::Orders,
            Rows::Events(_) => Family::Events,
            Rows::Abandoned(_) => Family::Abandoned,
            Rows::Entries | Rows::Exits => Family::Changes,
            Rows::StageChanges => Family::Stages,
            Rows::Exports => Family::Exports,
            Rows::Place => return None,
        })
    }

    /// A name for it, as part of an SQL name.
    pub fn name(self) -> &'static str {
        match self {
            Family::Lines => "order_items",
            Family::Orders => "orders",
            Family::Events => "events",
            Family::Abandoned => "abandoned_events",
            Family::Changes => "segment_changes",
            Family::Stages => "lifecycle_changes",
            Family::Exports => "exports",
        }
    }
}

/// What a FROM has to join beside the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Joined {
    /// What the rows' products were landed with.
    pub(super) products: bool,
    /// When a product was last taken out of the cart.
    pub(super) removals: bool,
}

impl Joined {
    /// What expressions over the rows need.
    pub(super) fn for_sql<'a>(mut expressions: impl Iterator<Item = &'a str>) -> Self {
        Self { products: expressions.any(|sql| sql.contains("product.")), removals: false }
    }
}

/// The functions that stand for a join with the products.
pub(crate) const PRODUCT_CATEGORY: &str = "segment_product_category";
pub(crate) const PRODUCT_LABELS: &str = "segment_product_labels";

/// Whose value an expression over a row and its product is, and the row's own column for it, where there is one.
pub(super) fn owner(sql: &str) -> (Owner, Option<&str>) {
    match sql {
        CATEGORY => (Owner::RowOrProduct, Some("r.category")),
        LABELS => (Owner::Product, None),
        of_row => (Owner::Row, Some(of_row)),
    }
}

/// An expression over a row and its product, as one over the row alone.
pub(super) fn by_product_id(sql: &str) -> Cow<'_, str> {
    match sql {
        CATEGORY => Cow::Owned(format!("coalesce(r.category, {PRODUCT_CATEGORY}(r.product_id))")),
        LABELS => Cow::Owned(format!("{PRODUCT_LABELS}(r.product_id)")),
        of_row => Cow::Borrowed(of_row),
    }
}

/// The statement that gives the products behind those functions.
pub(super) fn products(tables: &Tables) -> String {
    format!("SELECT product_id, category, labels FROM {}", identifier(&tables.products))
}

/// When a row happened, and whether that is a civil date and no instant.
pub(super) fn axis(rows: Rows) -> (&'static str, bool) {
    match rows {
        Rows::Purchases | Rows::Orders | Rows::Cancellations => ("r.ordered_at", false),
        Rows::Returns => ("coalesce(r.returned_at, r.ordered_at)", false),
        Rows::Events(_) | Rows::Abandoned(_) => ("r.occurred_at", false),
        Rows::Exports => ("r.created_at", false),
        Rows::Entries | Rows::Exits | Rows::StageChanges => ("r.as_of", true),
        Rows::Place => ("NULL", false),
    }
}

/// What a function wants of its rows, beside the type of events.
pub(super) fn conditions(rows: Rows) -> Vec<&'static str> {
    match rows {
        Rows::Purchases | Rows::Orders => vec!["r.is_counted"],
        Rows::Returns => vec!["r.returned_quantity > 0"],
        Rows::Cancellations => vec!["r.status = 'cancelled'"],
        Rows::Entries => vec!["r.change = 'entered'"],
        Rows::Exits => vec!["r.change = 'exited'"],
        Rows::Abandoned("added_to_cart") => vec![NOT_ORDERED, NOT_REMOVED],
        Rows::Abandoned(_) => vec![NOT_ORDERED],
        Rows::Events(_) | Rows::StageChanges | Rows::Exports | Rows::Place => Vec::new(),
    }
}

const NOT_ORDERED: &str = "(open_order.last_ordered_at IS NULL OR open_order.last_ordered_at < r.occurred_at)";
const NOT_REMOVED: &str = "(removal.last_removed_at IS NULL OR removal.last_removed_at <= r.occurred_at)";

/// Whether a function's condition looks at removals from the cart.
pub(super) fn needs_removals(rows: Rows) -> bool {
    conditions(rows).contains(&NOT_REMOVED)
}

/// The type of events that a function looks at.
pub(super) fn event_type(rows: Rows) -> Option<&'static str> {
    match rows {
        Rows::Events(kind) => kind,
        Rows::Abandoned(kind) => Some(kind),
        _ => None,
    }
}

/// FROM: the rows are `r`, each with the customer's key. The narrow side of a join comes first, as it is the one that is
/// held in memory.
pub(super) fn from(family: Family, joined: Joined, tables: &Tables, scope: Scope) -> String {
    let key = tables.key;
    let table = |name: &str| identifier(name);
    let rows = match family {
        Family::Lines => format!("{} r", table(&tables.order_items)),
        Family::Orders => format!("{} r", table(&tables.orders)),
        Family::Events => format!("{} r", table(&tables.events)),
        Family::Abandoned => {
            let orders = format!(
                "(SELECT {key}, max(ordered_at) AS last_ordered_at FROM {} WHERE status <> 'cancelled' GROUP BY {key})",
                table(&tables.orders)
            );
            let mut from =
                format!("{orders} open_order RIGHT JOIN {} r ON open_order.{key} = r.{key}", table(&tables.events));
            if joined.removals {
                from = format!(
                    "(SELECT {key}, coalesce(product_id, '') AS removed_product, max(occurred_at) AS last_removed_at FROM {} \
                     WHERE type = 'removed_from_cart' GROUP BY {key}, coalesce(product_id, '')) removal RIGHT JOIN ({from}) \
                     ON removal.{key} = r.{key} AND removal.removed_product = coalesce(r.product_id, '')",
                    table(&tables.events)
                );
            }
            from
        }
        Family::Changes => history(
            tables,
            &format!(
                "SELECT customer_id, segment, change, as_of FROM {} WHERE as_of < {}",
                table(&tables.segment_changes),
                civil(scope.as_of)
            ),
            "segment, h.change, h.as_of",
        ),
        Family::Stages => history(
            tables,
            &format!(
                "SELECT customer_id, previous_stage, stage, as_of FROM {} \
                 WHERE previous_stage IS NOT NULL AND previous_stage <> stage AND as_of <= {}",
                table(&tables.lifecycle),
                civil(scope.as_of)
            ),
            "previous_stage, h.stage, h.as_of",
        ),
        Family::Exports => history(
            tables,
            &format!(
                "SELECT m.customer_id, e.segments, e.format, e.created_at FROM {} e JOIN {} m ON m.export_id = e.export_id \
                 WHERE m.variant = 'treatment' AND e.created_at < {}",
                table(&tables.exports),
                table(&tables.export_members),
                super::days::instant(scope.zone.cutoff(scope.as_of))
            ),
            "segments, h.format, h.created_at",
        ),
    };
    if !joined.products {
        return rows;
    }
    let rows = if family == Family::Abandoned { format!("({rows})") } else { rows };
    // No column is named as one of the row's: see `engine` on filters that go to the wrong side of a join.
    let products = format!(
        "(SELECT product_id AS product_key, category AS product_category, labels AS product_labels FROM {})",
        table(&tables.products)
    );
    format!("{products} product RIGHT JOIN {rows} ON product.product_key = r.product_id")
}

/// What was published of earlier days, under the customers of this one: whoever was merged since goes on as the other.
fn history(tables: &Tables, rows: &str, columns: &str) -> String {
    let (key, persons) = (tables.key, identifier(&tables.persons));
    format!("(SELECT w.{key}, h.{columns} FROM {persons} w JOIN ({rows}) h ON w.id = h.customer_id) r")
}

/// The condition on the type of events, as SQL.
pub(super) fn type_condition(rows: Rows) -> Option<String> {
    event_type(rows).map(|kind| format!("r.type = {}", text(kind)))
}

/// The columns of `r` that an expression reads: `r.name` and `r."any name"`.
pub(super) fn columns(sql: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut before = ' ';
    let mut inside_text = false;
    for (at, next) in sql.char_indices() {
        match next {
            '\'' => inside_text = !inside_text,
            'r' if !(inside_text || before.is_alphanumeric() || matches!(before, '_' | '.' | '"')) => {
                let after = sql.get(at + 1..).unwrap_or_default();
                if let Some(quoted) = after.strip_prefix(".\"") {
                    found.insert(unquoted(quoted));
                } else if let Some(plain) = after.strip_prefix('.') {
                    let end = plain.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(plain.len());
                    found.insert(plain.get(..end).unwrap_or(plain).to_owned());
                }
            }
            _ => {}
        }
        before = next;
    }
    found
}

/// A quoted name whose opening quote is read; a quote inside is doubled.
fn unquoted(text: &str) -> String {
    let mut name = String::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        if next == '"' && rest.next_if_eq(&'"').is_none() {
            break;
        }
        name.push(next);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_rows_only() {
        let sql =
            "coalesce(r.category, product.product_category) = 'r.no' AND r.\"Odd \"\" name\" > 1 OR other.r.x IS NULL";
        assert_eq!(columns(sql).into_iter().collect::<Vec<_>>(), ["Odd \" name", "category"]);
        assert_eq!(columns("r.returned_at, r.ordered_at").len(), 2);
    }
}
