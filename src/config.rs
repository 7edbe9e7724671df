//! `alluvial.toml` as written, the environment over it, and the resolved settings that everything else reads.
//!
//! A project's TOML is read once into a `Document`: the values exactly as written, each with its place. The
//! environment is laid over it, and the whole is resolved into `crate::config::Settings`; nobody reads the document again. Every
//! fault of a file is found in one pass and reported with its place (`crate::config::Faults`), which is why the document is walked
//! here and not deserialized, where the first fault would hide the others.
//!
//! This is the only module that reads the process's environment, and the only place from which secrets come.

/// A TOML text with the place of every value, and typed, fault-collecting access to it.
pub mod document;
/// The process's environment, captured once: overrides, secrets, the clouds' variables, the fixed clock.
pub mod environment;
/// What exports need beside a command line.
pub mod exports;
/// Everything that is wrong with a project's files, at once.
pub mod fault;
/// Profile fields: their names for people, and their types.
pub mod fields;
/// The thresholds of the lifecycle stages.
pub mod lifecycle;
/// Where the lake and the landed tables are.
pub mod location;
/// Which folder is the project.
pub mod project;
/// Sizes, durations and shares as people write them.
pub mod quantity;
/// How long each table is kept.
pub mod retention;
/// Where `alluvial serve` listens.
pub mod serve;
/// The settings, resolved.
pub mod settings;
/// Landed tables that are elsewhere, or named differently.
pub mod tables;

pub use environment::{Environment, Secret};
pub use exports::{AdsRequires, ExportSettings};
pub use fault::{Fault, Faults};
pub use fields::{FieldSettings, FieldType};
pub use lifecycle::{Band, LifecycleSettings, Recurring};
pub use retention::RetentionSettings;
pub use serve::ServeSettings;
pub use settings::{
    CustomerSettings, EngineSettings, LakeSettings, LandingSettings, ORDER_STATUSES, OrderSettings, Overrides,
    ProjectSettings, Settings, faults_of,
};
pub use tables::TableSettings;

#[cfg(test)]
mod tests;
