//! The classifier as a whole, through the statements.

mod fits;
mod golden;
mod plans;
pub(super) mod shop;
mod stages;
