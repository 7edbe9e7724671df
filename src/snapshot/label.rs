//! Customers whose stage changed only because the label `churned` is withheld since today, or given again.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::prelude::SessionContext;
use roaring::RoaringBitmap;

use super::people::People;
use crate::engine::Params;
use crate::engine::statement::plan_text;
use crate::error::Result;
use crate::segments::check::Rule;

/// The reason of those from whom the label is withheld.
const WITHHELD: &str = "churn_label_failed_audit";

/// The numbers of those customers, from the session's `lifecycle_today` and `previous_lifecycle`.
pub(super) async fn relabelled(session: &SessionContext, people: &People) -> Result<RoaringBitmap> {
    let sql = format!(
        "SELECT customer_id FROM lifecycle_today \
         WHERE stage = 'dormant' AND reason = '{WITHHELD}' AND previous_stage = 'churned' \
         UNION ALL \
         SELECT t.customer_id FROM \
           (SELECT customer_id FROM previous_lifecycle WHERE stage = 'dormant' AND reason = '{WITHHELD}') l \
           JOIN (SELECT customer_id FROM lifecycle_today WHERE stage = 'churned' AND previous_stage = 'dormant') t \
             ON t.customer_id = l.customer_id"
    );
    let mut numbers = RoaringBitmap::new();
    for batch in plan_text(session, &sql, &Params::new()).await?.collect().await? {
        let ids = cast(batch.column(0), &DataType::Utf8View)?;
        let ids = ids.as_string_view();
        let mut hint = 0;
        numbers.extend((0..ids.len()).filter_map(|row| people.number(ids.value(row), &mut hint)));
    }
    Ok(numbers)
}

/// Whether a rule's answer depends on the stage, itself or through a segment that it refers to.
pub(super) fn names_stage(rule: &Rule, rules: &BTreeMap<String, &Rule>) -> bool {
    match rule {
        Rule::All(parts) | Rule::Any(parts) => parts.iter().any(|part| names_stage(part, rules)),
        Rule::Not(part) => names_stage(part, rules),
        // References have no cycle: `check` refuses those.
        Rule::Member(id) => rules.get(id).is_some_and(|rule| names_stage(rule, rules)),
        Rule::Test(test) => test.attribute.name == "lifecycle_stage",
        // Rows and places know no stage.
        Rule::Rows(_) | Rule::Place(_) => false,
    }
}
