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
/// All segments of a night in one pass over the profile.
pub mod evaluate;
/// How much segments have in common.
pub mod overlap;
/// From a query's text to its tree, and back.
pub mod syntax;

/// The sample segments: file name and content, as `init` writes them.
pub const SAMPLES: &[(&str, &str)] = &[
    ("average-order-over-50.toml", include_str!("../sql/segments/average-order-over-50.toml")),
    ("bought-in-last-30-days.toml", include_str!("../sql/segments/bought-in-last-30-days.toml")),
    ("bought-in-last-year.toml", include_str!("../sql/segments/bought-in-last-year.toml")),
    ("high-value-danes.toml", include_str!("../sql/segments/high-value-danes.toml")),
    ("inactive-for-six-months.toml", include_str!("../sql/segments/inactive-for-six-months.toml")),
    ("loyal-customers.toml", include_str!("../sql/segments/loyal-customers.toml")),
    ("more-than-one-order.toml", include_str!("../sql/segments/more-than-one-order.toml")),
    ("new-subscribers.toml", include_str!("../sql/segments/new-subscribers.toml")),
    ("spent-over-100.toml", include_str!("../sql/segments/spent-over-100.toml")),
    ("subscribed-but-never-bought.toml", include_str!("../sql/segments/subscribed-but-never-bought.toml")),
    ("vip.toml", include_str!("../sql/segments/vip.toml")),
    ("win-back.toml", include_str!("../sql/segments/win-back.toml")),
];

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod shop;
