//! The columns of every table of the contract, once.

/// The tables that a shop lands.
pub mod landed;
/// The tables that a night publishes.
pub mod published;
