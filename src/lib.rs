//! Alluvial turns a shop's orders and behaviour into segments and lifecycle stages, every night.
//!
//! This file is the map. The modules stand bottom floor first, in the order in which the data flows, and a module uses
//! only modules that stand above it in this list (`tests/it/architecture.rs` holds it to that). `ARCHITECTURE.md`
//! beside this file says what each floor may do, and what is absent on purpose.

// ── words: no I/O ───────────────────────────────────────────────────────────────────────────────────────────────────
/// Spans, codes, the underlined rendering of what is wrong in a text, and the nearest known name.
pub mod diagnostic;
/// Failures, classified by what the caller may do about them.
pub mod error;

/// As-of dates, local days of a time zone, half-open intervals, and the clock.
pub mod calendar;
/// The columns of every table of the contract, once.
pub mod schema;

// ── ground: settings only ───────────────────────────────────────────────────────────────────────────────────────────
/// `alluvial.toml` as written, the environment over it, and the resolved settings that everything else reads.
pub mod config;

// ── lake ────────────────────────────────────────────────────────────────────────────────────────────────────────────
/// The one door to DataFusion: sessions with a memory limit, SQL files with parameters, our own functions.
pub mod engine;
/// The one door to object storage: durable writes, Delta commits, the manifest of a day, and its provider.
pub mod lake;

// ── data in ─────────────────────────────────────────────────────────────────────────────────────────────────────────
/// A synthetic shop, seeded and deterministic.
pub mod demo;
/// Landed tables: discover, map, read values, reject, settle versions.
pub mod land;
/// Whose order it is, daily facts, the customer profile, and the catalogue of attributes.
pub mod profile;

// ── meaning ─────────────────────────────────────────────────────────────────────────────────────────────────────────
/// The lifecycle classifier: the model's formulas, scores, stages.
pub mod lifecycle;
/// The segment language: syntax, check, compile, evaluate.
pub mod segments;

// ── result ──────────────────────────────────────────────────────────────────────────────────────────────────────────
/// A day: computed, compared with the published day before, and published whole or not at all.
pub mod snapshot;

/// A segment made deliverable for one channel: consent at the door, holdout, formats, destinations, the ledger.
pub mod audience;

// ── personal data ───────────────────────────────────────────────────────────────────────────────────────────────────
/// Everything that is held about a person, and forgetting it: landed files, tables, old versions, ledgers.
pub mod erase;

// ── drive ───────────────────────────────────────────────────────────────────────────────────────────────────────────
/// Job files, what is owed, running a day or a range, and the record of it.
pub mod jobs;

// ── doors ───────────────────────────────────────────────────────────────────────────────────────────────────────────
/// The published tables for other programs: Postgres wire and Flight SQL, users, metrics.
pub mod serve;

/// Commands, their output, and the report of a run.
pub mod cli;
