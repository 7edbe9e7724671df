//! Job files, what is owed, running a day or a range, and the record of it.

/// Job files: schedule, catch-up, retries, steps.
pub mod definition;
/// Seconds and peak memory of each step of a run.
pub mod meter;
/// What a run did, for people and programs.
pub mod report;
/// Running a job for one day, and the record of it.
pub mod run;
/// Five-field crontab schedules and the local times they name.
pub mod schedule;
