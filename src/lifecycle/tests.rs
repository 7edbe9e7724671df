//! The classifier as a whole, through the statements.

mod golden;
mod plans;
pub(super) mod shop;
mod stages;
