//! A day: computed, compared with the published day before, and published whole or not at all.

/// The rows that functions ask about, for a night and for what is published.
pub mod asked;
/// What another published day says, in the names of this one.
mod before;
/// Who entered and who exited, and why.
pub mod changes;
/// What landed data is taken for.
pub mod checking;
/// The segments of a day beside those of the day before.
mod compare;
/// Crash points and lost answers of a toy night.
#[cfg(test)]
mod crash;
/// One day, from landed tables to the commit that publishes it.
pub mod day;
/// Whether a day smells of broken input.
pub mod guard;
/// Days that are computed and wait for a person.
pub mod held;
/// What a withheld label changes.
mod label;
/// Published days for which something has been landed since.
pub mod late;
/// With which model a day is scored, and fitting one.
pub mod model;
/// What is published of one customer.
pub mod one_customer;
/// The day's customers by their number.
mod people;
/// What is published, as a read-only session.
pub mod reading;
/// The segments of a published day by other definitions.
pub mod redefined;
/// The faulty rows that no published day has told.
mod rejects;
/// The rows of the segment tables.
pub mod rows;
/// Whether landed data has ever had the values that queries name.
pub mod seen;
/// The project's segments for one day.
pub mod segments;
/// From settings to an open project.
pub mod setup;
/// Rows that agree in what they are sorted by.
mod ties;
/// What retention no longer keeps, and what died on the way.
pub mod upkeep;
/// The published tables, opened, written and committed.
mod writing;
