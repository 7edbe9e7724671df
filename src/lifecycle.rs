//! The lifecycle classifier: every customer's one stage as of a day, with the numbers that put them there.
//!
//! `model` holds the formulas, `functions` hands them to SQL, `fit` makes a model from a shop's order days, `classifier`
//! says with which parameters a night scores, `score` runs the statements of `sql/lifecycle/` and gives the day's rows and
//! transitions, `health` looks back on the last 90 days, `report` adds stages up. `backtest` asks what all of it would
//! have been worth on an earlier day.

/// What the model would have been worth, beside simpler rules.
pub mod backtest;
/// With what a night scores: parameters, tier, and what was frozen with them.
pub mod classifier;
/// The columns of the tables that come out.
pub mod columns;
/// The digamma function.
mod digamma;
/// From order days to a model.
pub mod fit;
/// The formulas as SQL functions.
pub mod functions;
/// How the model does on the last 90 days, and the audit of `churned`.
pub mod health;
/// The formulas.
pub mod model;
/// The rows of `lifecycle_models`.
pub mod models;
/// What a model says of many buyers.
pub mod outlook;
/// The stages' sizes, shares and moves, ready to print.
pub mod report;
/// Single rows of results and tables.
mod row;
/// The day's rows, transitions and cuts.
pub mod score;
/// The statements of `sql/lifecycle/`, their parameters, and a project's own text in their place.
pub mod statements;

#[cfg(test)]
mod tests;

pub use classifier::Classifier;
pub use functions::functions;
pub use score::{Scored, score, transitions};
