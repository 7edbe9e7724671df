//! The integration tests: one binary, one module a subject.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

/// The floors of `src/lib.rs` and the size of files.
mod architecture;
/// Attributes that a project computes, and what a query can name.
mod attributes;
/// What is wrong with landed files and settings, as people are told.
mod bad_input;
/// S3, Azure and Google Cloud Storage, emulated.
mod clouds;
/// The command line, as people see it.
mod commands;
/// One customer: what is shown, and everything that is held.
mod customer;
/// Segments of published days by other definitions.
mod definitions;
/// The clouds' stores on loopback.
mod emulators;
/// Why a customer is in a segment.
mod explain;
/// Audiences as steps of a job.
mod export_steps;
/// Audiences: who is written, the bytes of every format, the ledger.
mod exports;
/// Forgetting people.
mod forget;
/// Functions over rows, by the program itself.
mod functions;
/// The promises of the segment language, for queries that nobody would write.
mod fuzz;
/// Temporary projects, and commands as snapshots.
mod harness;
/// Who is held out, what claims whom, differences, and what an export changed.
mod holdouts;
/// Exports of other programs, mapped to the contract.
mod imports;
/// Which files are read, how their columns are understood, and what stops a run.
mod landing;
/// A tiny shop run by the program itself.
mod landing_files;
/// The lifecycle model: fitted, kept, audited, explained, back-tested.
mod lifecycle;
/// Audiences by address: the page, its button, uses, and what ends them.
mod links;
/// The profile computed the plain way.
mod naive;
/// What a night publishes, and what a second one leaves alone.
mod nights;
/// A real shop whose numbers are known.
mod online_retail;
/// Whose order it is, what counts, and in which money.
mod owners;
/// Plans that can be sent elsewhere, and answers that depend on nothing but the rows.
mod plans;
/// Every column of the customer profile.
mod profile;
/// An HTTP proxy that counts, delays and loses.
mod proxy;
/// Random small shops.
mod random;
/// Other readers of what a night published.
mod readers;
/// Readers, rivals, full disks and slow stores around a run.
mod reliability;
/// Nights that run themselves.
mod scheduler;
/// `alluvial serve` through real clients of Postgres: what is seen, by whom, of which day.
mod serve;
/// The API: segments, audiences and the ledger over HTTP.
mod serve_api;
/// Clients of other languages.
mod serve_clients;
/// The Flight SQL door.
mod serve_flight;
/// What clients should not send, and what the server is started with wrongly.
mod serve_hostile;
/// Postgres's own words, and sessions that know each other.
mod serve_postgres;
/// A server that is running.
mod serving;
/// Faults of a project's files, as people see them.
mod settings;
/// Tiny shops from rows that are written as text.
mod shop;
/// How landed values are read.
mod values;
/// Versions of one thing, and what a day can see.
mod versions;
