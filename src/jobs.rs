//! Job files, what is owed, running a day or a range, and the record of it.

/// What someone should be told, at least once.
pub mod alert;
/// A run that a person has asked for.
pub mod by_hand;
/// Job files: schedule, catch-up, retries, steps.
pub mod definition;
/// What is owed: days without a final record.
pub mod due;
/// The step `export`.
pub mod export;
/// Whether every job's newest day is as new as its schedule says.
pub mod freshness;
/// Which of several schedulers leads.
pub mod lease;
/// Seconds and peak memory of each step of a run.
pub mod meter;
/// What a scheduler runs, over a project.
pub mod night;
/// Heartbeats on a thread of their own.
pub mod pulse;
/// What a day waits for before it is begun.
pub mod readiness;
/// The record of a run.
pub mod record;
/// Segments of published days by other definitions.
pub mod redefine;
/// What a run did, for people and programs.
pub mod report;
/// Running a job for one day.
pub mod run;
/// Five-field crontab schedules and the local times they name.
pub mod schedule;
/// The loop that runs the jobs by their schedules.
pub mod scheduler;
/// A world for schedulers in which time is a number and chance has a seed.
#[cfg(test)]
pub(crate) mod simulation;
/// Claims, attempts and what is settled, as small objects.
pub mod state;
/// What a scheduler knows of time and chance.
pub mod time;
/// Upkeep of tables and state.
pub mod upkeep;
/// Alerts, delivered.
pub mod webhook;
