//! What tables and columns are said to be, for the tools that show it.

use arrow::datatypes::Schema;

use super::pg::{Comments, TableComments};
use crate::profile::catalogue::{Catalogue, Named, Source};

/// One line a table.
const TABLES: [(&str, &str); 20] = [
    ("customer_profile", "one row a customer and published day: orders, behaviour, consent, lifecycle"),
    ("customer_contacts", "how customers are reached, as of the newest published day"),
    ("orders", "clean orders of the newest published day, in the shop's currency"),
    ("order_items", "clean order lines of the newest published day"),
    ("lifecycle", "every customer's lifecycle stage by day, with its reason"),
    ("lifecycle_transitions", "how many customers went from one stage to another, by day"),
    ("lifecycle_models", "the fitted lifecycle models"),
    ("lifecycle_health", "with what each day was scored, and how the model did on the 90 days before"),
    ("segments", "the segments' definitions by day"),
    ("segment_members", "who is in which segment, by day"),
    ("segment_changes", "who entered and exited which segment, and why, by day"),
    ("segment_sizes", "how many members each segment has, and what they are worth, by day"),
    ("segment_overlap", "how many members two segments share, by day"),
    ("rejects", "faulty rows that were left out, with file, row, column and rule"),
    ("snapshots", "the published days"),
    ("job_runs", "what ran, when, and how it ended"),
    ("exports", "what was exported where, with counts by step"),
    ("export_members", "who was in which export, treated or held out"),
    ("customer_tags", "one row a customer and tag, as of the newest published day"),
    ("customer_lists", "one row a customer and list, as of the newest published day"),
];

/// What columns outside the profile are, whatever their table.
const COLUMNS: [(&str, &str); 14] = [
    ("as_of", "the last complete day that the row describes, in the shop's time zone"),
    ("previous_as_of", "the published day before, that this one is compared with"),
    ("customer_id", "the customer"),
    ("segment", "the segment's id"),
    ("members", "customers in the segment on that day"),
    ("entered", "members who were none on the day before"),
    ("exited", "customers who were members on the day before and are none now"),
    ("change", "`entered` or `exited`"),
    ("cause", "why: data, definition, settings, restated, merged, deactivated, label or deleted_customer"),
    ("net_amount", "what the customer paid less refunds, in the shop's currency"),
    ("is_counted", "whether the order counts in the profile"),
    ("ordered_on", "the local day of the order"),
    ("stage", "the lifecycle stage"),
    ("stage_since", "since when the customer is in the stage"),
];

/// Says what there is to say of a table.
pub(super) fn of_table(told: &mut Comments, schema: &str, name: &str, columns: &Schema, catalogue: &Catalogue) {
    let base = name.strip_suffix("_latest").unwrap_or(name);
    let table = TABLES.iter().find(|(known, _)| *known == base).map(|(_, text)| match base == name {
        true => (*text).to_owned(),
        false => format!("{text} (the newest published day)"),
    });
    let profile = schema == "segment" || matches!(base, "customer_profile" | "customer_contacts");
    let mut said = Vec::new();
    for (place, field) in columns.fields().iter().enumerate() {
        let text = match catalogue.resolve(field.name()) {
            Named::Attribute(attribute) if profile && stands_in(&attribute.source, field.name()) => {
                Some(attribute.meaning.clone())
            }
            _ => COLUMNS.iter().find(|(known, _)| known == field.name()).map(|(_, text)| (*text).to_owned()),
        };
        if let (Some(text), Ok(place)) = (text, i32::try_from(place + 1)) {
            said.push((place, text));
        }
    }
    told.0.insert((schema.to_owned(), name.to_owned()), TableComments { table, columns: said });
}

fn stands_in(source: &Source, column: &str) -> bool {
    matches!(source, Source::Column(name) if name == column)
}
