//! Audiences: segments made deliverable for one channel.
//!
//! An audience is its members (of a published day) − no consent − suppressed − held out. Who is a member is asked of the
//! published day; whether somebody may be contacted is asked of the newest landed data at the moment of the export
//! (`door`), since who unsubscribes at noon must not be written to at one. `choose` counts every step between the two,
//! `deliver` writes the file whole or not at all, `ledger` keeps who was treated and who was held out, and `lift` compares
//! the two groups afterwards. Formats are declared (`format`): a project's file overrides or adds to them.

/// What the newest landed data says of the members, in their order.
mod carry;
/// Who of the members is written, and what became of the others.
mod choose;
/// An audience whose every member is settled.
mod chosen;
/// From rows to the bytes of a file, compressed on several threads.
mod compress;
/// Files at their destination, whole or not at all.
mod deliver;
/// What the newest landed data says about consent, validity and suppressions.
mod door;
/// From rows to lines.
mod encode;
/// An export from beginning to end.
pub mod export;
/// The formats that an export can have.
pub mod format;
/// Scalar functions of the statements and of the formats' mappings.
pub mod functions;
/// The record of exports.
pub mod ledger;
/// Who was treated and who was held out, compared.
pub mod lift;
/// Whose members an export delivers.
mod members;
/// The members by number.
mod places;
/// One row of an audience, and a format's columns of it.
mod row;

pub use compress::Codec;
pub use export::{
    Counts, Destination, Place, Report, Request, Since, Steps, Tap, Target, Unwatched, Whose, deliver, export,
};
