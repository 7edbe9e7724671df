//! The lifecycle classifier: every customer's one stage as of a day, with the numbers that put them there.
//!
//! `model` holds the formulas, `functions` hands them to SQL, `classifier` says with which parameters a night
//! scores, `score` runs the statements of `sql/lifecycle/` and gives the day's rows and transitions, `report` adds
//! them up. Fitting parameters to a shop is not here yet: `classifier::Classifier::benchmark` stands for every shop.

/// With what a night scores: parameters, tier, and what was frozen with them.
pub mod classifier;
/// The columns of the tables that come out.
pub mod columns;
/// The formulas as SQL functions.
pub mod functions;
/// The formulas.
pub mod model;
/// The stages' sizes, shares and moves, ready to print.
pub mod report;
/// The day's rows, transitions and cuts.
pub mod score;
/// The statements of `sql/lifecycle/`, their parameters, and a project's own text in their place.
pub mod statements;

#[cfg(test)]
mod tests;

pub use classifier::Classifier;
pub use functions::functions;
pub use score::{Scored, score, transitions};
