//! Who entered and who exited a segment since the latest published day before, and why.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use roaring::RoaringBitmap;

use super::people::People;
use crate::error::Result;

/// Why a membership changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// What the customer did, or did not do.
    Data,
    /// The segment's query was edited.
    Definition,
    /// A setting, a field, an overridden statement or a segment that it refers to was edited.
    Settings,
    /// The customer was merged into another, who is the same person going on.
    Merged,
    /// The segment was switched off or removed.
    Deactivated,
    /// The label `churned` is withheld since the day, or given again: the customer did nothing.
    Label,
    /// The customer is no longer there.
    DeletedCustomer,
}

impl Cause {
    /// Its name in `segment_changes`.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Data => "data",
            Cause::Definition => "definition",
            Cause::Settings => "settings",
            Cause::Merged => "merged",
            Cause::Deactivated => "deactivated",
            Cause::Label => "label",
            Cause::DeletedCustomer => "deleted_customer",
        }
    }
}

/// The members of one segment on another published day, in the numbers of this one.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Those who are still there.
    pub(super) members: RoaringBitmap,
    /// Those who are not, sorted.
    pub(super) gone: Vec<String>,
}

/// Reads `segment`, `customer_id` rows of another published day; ids mostly come sorted within a segment.
pub(super) async fn members_before(rows: DataFrame, people: &People) -> Result<BTreeMap<String, Before>> {
    let mut before: BTreeMap<String, Before> = BTreeMap::new();
    let mut stream = rows.execute_stream().await?;
    let mut hint = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let segments = cast(batch.column(0), &DataType::Utf8View)?;
        let ids = cast(batch.column(1), &DataType::Utf8View)?;
        let (segments, ids) = (segments.as_string_view(), ids.as_string_view());
        let mut row = 0;
        while row < batch.num_rows() {
            let segment = segments.value(row);
            let entry = before.entry(segment.to_owned()).or_default();
            while row < batch.num_rows() && segments.value(row) == segment {
                match people.number(ids.value(row), &mut hint) {
                    Some(number) => {
                        entry.members.insert(number);
                    }
                    None => entry.gone.push(ids.value(row).to_owned()),
                }
                row += 1;
            }
        }
    }
    for entry in before.values_mut() {
        entry.gone.sort();
    }
    Ok(before)
}

/// A change of one customer's membership.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) segment: String,
    pub(super) customer_id: String,
    /// `entered` or `exited`.
    pub(super) change: &'static str,
    pub(super) cause: Cause,
}

/// What happened to a segment itself since the day before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// Nothing.
    None,
    /// Its own text was edited.
    Definition,
    /// Something else that its answer depends on was.
    Settings,
}

/// Why customers of the day before are none any more.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// For a merged id, the number of the customer who goes on for it.
    pub(super) merged: BTreeMap<String, u32>,
    /// Those whom `[customers] exclude` leaves out.
    pub(super) excluded: BTreeSet<String>,
}

/// The changes of one segment, sorted by customer_id. `relabelled` are the customers whose membership a withheld label may
/// have changed.
pub(super) fn changes(
    segment: &str,
    members: &RoaringBitmap,
    before: &Before,
    edit: Edit,
    gone: &Gone,
    relabelled: &RoaringBitmap,
    people: &People,
) -> Vec<Change> {
    let plain = match edit {
        Edit::None => Cause::Data,
        Edit::Definition => Cause::Definition,
        Edit::Settings => Cause::Settings,
    };
    let went_on: BTreeSet<u32> = before.gone.iter().filter_map(|id| gone.merged.get(id).copied()).collect();
    let row = |customer_id: &str, change, cause| Change {
        segment: segment.to_owned(),
        customer_id: customer_id.to_owned(),
        change,
        cause,
    };
    let cause_of = |number: u32| match plain {
        Cause::Data if relabelled.contains(number) => Cause::Label,
        plain => plain,
    };
    let mut rows: Vec<Change> = (members - &before.members)
        .iter()
        .map(|number| {
            let cause = if went_on.contains(&number) { Cause::Merged } else { cause_of(number) };
            row(people.id(number), "entered", cause)
        })
        .collect();
    rows.extend((&before.members - members).iter().map(|number| row(people.id(number), "exited", cause_of(number))));
    rows.extend(before.gone.iter().map(|id| {
        let cause = if gone.merged.contains_key(id) {
            Cause::Merged
        } else if gone.excluded.contains(id) {
            plain
        } else {
            Cause::DeletedCustomer
        };
        row(id, "exited", cause)
    }));
    rows.sort();
    rows
}

/// Everybody leaves a segment that is no longer computed.
pub(super) fn deactivated(segment: &str, before: &Before, people: &People) -> Vec<Change> {
    let mut rows: Vec<Change> = before
        .members
        .iter()
        .map(|number| people.id(number))
        .chain(before.gone.iter().map(String::as_str))
        .map(|id| Change {
            segment: segment.to_owned(),
            customer_id: id.to_owned(),
            change: "exited",
            cause: Cause::Deactivated,
        })
        .collect();
    rows.sort();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rows: &[Change]) -> Vec<(&str, &str, &str)> {
        rows.iter().map(|row| (row.customer_id.as_str(), row.change, row.cause.name())).collect()
    }

    #[test]
    fn every_change_has_its_cause() {
        let people = People::of(&["a", "b", "c", "d"]);
        let before = Before {
            members: RoaringBitmap::from_iter([0, 1]),
            gone: ["guest:1", "staff", "x"].map(str::to_owned).to_vec(),
        };
        let gone = Gone {
            merged: BTreeMap::from([("guest:1".to_owned(), 2)]),
            excluded: BTreeSet::from(["staff".to_owned()]),
        };
        let members = RoaringBitmap::from_iter([1, 2, 3]);
        let nobody = RoaringBitmap::new();
        let rows = changes("s", &members, &before, Edit::None, &gone, &nobody, &people);
        assert_eq!(
            told(&rows),
            [
                ("a", "exited", "data"),
                ("c", "entered", "merged"),
                ("d", "entered", "data"),
                ("guest:1", "exited", "merged"),
                ("staff", "exited", "data"),
                ("x", "exited", "deleted_customer"),
            ]
        );
        let edited = changes("s", &members, &before, Edit::Definition, &gone, &nobody, &people);
        assert_eq!(edited[0].cause, Cause::Definition);
        // An edit explains a change before a label does, and a label before what somebody did.
        let relabelled = RoaringBitmap::from_iter([0, 2, 3]);
        let labelled = changes("s", &members, &before, Edit::None, &gone, &relabelled, &people);
        assert_eq!(
            told(&labelled)[..3],
            [("a", "exited", "label"), ("c", "entered", "merged"), ("d", "entered", "label")]
        );
        let edited = changes("s", &members, &before, Edit::Settings, &gone, &relabelled, &people);
        assert_eq!(edited[0].cause, Cause::Settings);
        let off = deactivated("s", &before, &people);
        assert_eq!(off.len(), 5);
        assert!(off.iter().all(|row| row.cause == Cause::Deactivated && row.change == "exited"));
    }
}
