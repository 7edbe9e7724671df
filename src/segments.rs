//! The segment language: syntax, check, compile, evaluate.
//!
//! A query goes one way: `syntax::parse` gives a tree, `check::check` a typed rule, `compile` SQL, and
//! `evaluate` the members. `definition` reads the project's files and drives the first two.

/// A rule's names and types against the catalogue: from a tree to a typed rule.
pub mod check;
/// From typed rules to SQL: on its own for one segment, shared for all segments of a night.
pub mod compile;
/// The files of `sql/segments/`, checked together.
pub mod definition;
/// All segments of a night in one pass over each table.
pub mod evaluate;
/// Why one customer is in a segment or out of it.
pub mod explain;
/// How much segments have in common.
pub mod overlap;
/// From a query's text to its tree, and back.
pub mod syntax;

/// The sample segments: file name and content, as `init` writes them.
pub const SAMPLES: &[(&str, &str)] = &[
    ("abandoned-carts.toml", include_str!("../sql/segments/abandoned-carts.toml")),
    ("active-email-subscribers.toml", include_str!("../sql/segments/active-email-subscribers.toml")),
    ("average-order-over-50.toml", include_str!("../sql/segments/average-order-over-50.toml")),
    ("birthday-next-week.toml", include_str!("../sql/segments/birthday-next-week.toml")),
    ("bought-in-last-30-days.toml", include_str!("../sql/segments/bought-in-last-30-days.toml")),
    ("bought-in-last-year.toml", include_str!("../sql/segments/bought-in-last-year.toml")),
    ("category-fans.toml", include_str!("../sql/segments/category-fans.toml")),
    ("did-not-buy-in-90-days.toml", include_str!("../sql/segments/did-not-buy-in-90-days.toml")),
    ("due-to-reorder.toml", include_str!("../sql/segments/due-to-reorder.toml")),
    ("high-value-danes.toml", include_str!("../sql/segments/high-value-danes.toml")),
    ("inactive-for-six-months.toml", include_str!("../sql/segments/inactive-for-six-months.toml")),
    ("lapsing-high-value.toml", include_str!("../sql/segments/lapsing-high-value.toml")),
    ("loyal-customers.toml", include_str!("../sql/segments/loyal-customers.toml")),
    ("more-than-one-order.toml", include_str!("../sql/segments/more-than-one-order.toml")),
    ("new-subscribers.toml", include_str!("../sql/segments/new-subscribers.toml")),
    ("potential-converters.toml", include_str!("../sql/segments/potential-converters.toml")),
    ("spent-over-100.toml", include_str!("../sql/segments/spent-over-100.toml")),
    ("subscribed-but-never-bought.toml", include_str!("../sql/segments/subscribed-but-never-bought.toml")),
    ("subscription-cancelled.toml", include_str!("../sql/segments/subscription-cancelled.toml")),
    ("viewed-but-did-not-order.toml", include_str!("../sql/segments/viewed-but-did-not-order.toml")),
    ("vip.toml", include_str!("../sql/segments/vip.toml")),
    ("win-back.toml", include_str!("../sql/segments/win-back.toml")),
];

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod shop;
