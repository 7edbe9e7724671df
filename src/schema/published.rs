//! The tables that a night publishes: their columns, keys, and what of them is kept.
//!
//! Types are those of storage: strings are Utf8 here, and Utf8View once a table is read back. The partition column
//! `as_of` stands first in a table that has one; it lives in folder names and the Delta log, never in a data file.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

use crate::schema::landed::{instant_type, list_type};

/// The name of the partition column.
pub const AS_OF: &str = "as_of";

/// Which days of a table live side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Every published day, partitioned by `as_of`; a re-run of a day replaces its partition.
    Days,
    /// The newest published day only, replaced with it.
    Newest,
    /// Rows are only ever added, partitioned by the `as_of` that they are about.
    Appended,
}

/// One published table.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its name in paths and SQL.
    pub name: &'static str,
    /// Which days live side by side.
    pub keeps: Keeps,
    /// The columns by which its rows come sorted, ascending, nulls last, and which no two rows of a day share.
    /// Empty where rows have no key.
    pub key: &'static [&'static str],
    /// The columns of the contract, without `as_of`.
    pub columns: Vec<Field>,
    /// Whether a night may bring further columns (custom properties, landed facts, the explanation's struct).
    pub open: bool,
    /// Whether columns outside the key hold contact data: no statistics are written for those.
    pub contact: bool,
}

impl Published {
    /// Whether the table is partitioned by `as_of`.
    pub fn by_day(&self) -> bool {
        self.keeps != Keeps::Newest
    }

    /// The whole schema as SQL sees it, `as_of` first where the table has it.
    pub fn schema(&self) -> SchemaRef {
        let as_of = self.by_day().then(|| Field::new(AS_OF, DataType::Date32, true));
        Arc::new(Schema::new(as_of.into_iter().chain(self.columns.iter().cloned()).collect::<Vec<_>>()))
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}
fn count(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}
fn float(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}
fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, true)
}
fn day(name: &str) -> Field {
    Field::new(name, DataType::Date32, true)
}
fn instant(name: &str) -> Field {
    Field::new(name, instant_type(), true)
}
fn list(name: &str) -> Field {
    Field::new(name, list_type(), true)
}
fn money(name: &str, precision: u8, scale: i8) -> Field {
    Field::new(name, DataType::Decimal128(precision, scale), true)
}

/// The profile's columns that every shop has, in the order of the contract's §3; custom properties follow them.
pub fn profile_columns() -> Vec<Field> {
    vec![
        text("customer_id"),
        instant("created_at"),
        text("store"),
        text("gender"),
        day("birthday"),
        text("language"),
        text("country"),
        text("region"),
        text("city"),
        text("registration_source"),
        text("membership"),
        list("tags"),
        list("lists"),
        text("email_subscription_status"),
        text("sms_subscription_status"),
        flag("email_reachable"),
        flag("sms_reachable"),
        instant("email_subscribed_date"),
        text("customer_email_domain"),
        count("number_of_orders"),
        money("amount_spent", 28, 2),
        money("average_order_amount", 18, 4),
        money("highest_order_amount", 18, 2),
        instant("first_order_date"),
        instant("last_order_date"),
        count("days_since_last_order"),
        float("average_days_between_orders"),
        money("discount_amount", 28, 2),
        money("refunded_amount", 28, 2),
        count("coupons_used"),
        count("items_bought"),
        count("items_returned"),
        count("cancelled_orders"),
        count("negative_reviews"),
        text("favorite_category"),
        text("favorite_brand"),
        count("categories_bought"),
        count("products_bought"),
        instant("last_seen_date"),
        count("email_opens_90d"),
        count("email_clicks_90d"),
        count("page_views_30d"),
        count("product_views_30d"),
        instant("abandoned_cart_date"),
        instant("abandoned_checkout_date"),
        float("amount_spent_percentile"),
        count("rfm_recency"),
        count("rfm_frequency"),
        count("rfm_monetary"),
        text("rfm_group"),
        text("lifecycle_stage"),
        float("p_order_90d"),
        float("p_order_365d"),
        float("p_alive"),
        float("expected_orders"),
        float("predicted_value"),
        text("predicted_spend_tier"),
        float("churn_risk"),
        day("predicted_next_order_date"),
    ]
}

fn table(name: &'static str, keeps: Keeps, key: &'static [&'static str], columns: Vec<Field>) -> Published {
    Published { name, keeps, key, columns, open: false, contact: false }
}

fn lifecycle() -> Vec<Field> {
    vec![
        text("customer_id"),
        text("stage"),
        text("previous_stage"),
        day("stage_since"),
        text("reason"),
        count("order_days"),
        count("days_since_last_order"),
        float("p_order_90d"),
        float("p_order_365d"),
        float("vitality"),
        float("p_alive"),
        float("expected_orders"),
        float("predicted_value"),
        flag("cant_lose"),
        text("confidence"),
        text("model"),
    ]
}

/// With what a day was scored, the cuts that divided its customers, and how the model does on the 90 days before it.
fn lifecycle_health() -> Vec<Field> {
    vec![
        text("model"),
        text("tier"),
        text("confidence"),
        flag("dropout_identified"),
        flag("churn_label_suspended"),
        count("history_days"),
        count("buyers"),
        count("repeat_buyers"),
        count("order_days"),
        float("mean_order_value"),
        day("first_order_on"),
        day("last_order_on"),
        float("p_order_90d_new_buyer"),
        count("candidates"),
        float("value_cut"),
        float("top_value_cut"),
        float("top_spend_cut"),
        float("medium_spend_from"),
        float("high_spend_from"),
        day("seen_on"),
        count("buyers_then"),
        float("expected_buyers"),
        count("actual_buyers"),
        float("expected_orders"),
        count("actual_orders"),
        money("expected_spend", 38, 2),
        money("actual_spend", 38, 2),
        float("calibration_error"),
        count("churned_then"),
        count("churned_who_ordered"),
        float("churn_return_rate"),
    ]
}

/// The fitted models; `as_of` is the day whose buyers a model was fitted to.
fn lifecycle_models() -> Vec<Field> {
    vec![
        text("model"),
        text("version"),
        text("tier"),
        text("confidence"),
        float("r"),
        float("alpha"),
        float("a"),
        float("b"),
        float("log_likelihood"),
        float("log_likelihood_without_dropout"),
        flag("dropout_identified"),
        float("gg_p"),
        float("gg_q"),
        float("gg_v"),
        float("p_order_90d_new_buyer"),
        float("value_cut"),
        flag("churn_label_suspended"),
        flag("converged"),
        count("buyers"),
        count("repeat_buyers"),
        count("order_days"),
        float("mean_order_value"),
        day("first_order_on"),
        day("last_order_on"),
        count("histories"),
        flag("weekly"),
        day("seen_on"),
        float("expected_buyers"),
        count("actual_buyers"),
        float("calibration_error"),
        count("churned_then"),
        count("churned_who_ordered"),
        float("churn_return_rate"),
        text("run_id"),
        instant("fitted_at"),
        text("input_manifest"),
        text("inputs_hash"),
    ]
}

fn segments() -> Vec<Field> {
    vec![
        text("segment"),
        text("name"),
        text("description"),
        text("owner"),
        text("store"),
        list("tags"),
        text("query"),
        text("sql"),
        count("priority"),
        text("goal"),
        text("definition_hash"),
        day("defined_on"),
    ]
}

fn segment_sizes() -> Vec<Field> {
    vec![
        day("previous_as_of"),
        text("segment"),
        count("members"),
        count("entered"),
        count("exited"),
        count("email_reachable"),
        count("sms_reachable"),
        count("buyers"),
        money("amount_spent", 28, 2),
        count("orders_30d"),
        money("revenue_30d", 28, 2),
        count("goal_base"),
        count("goal_members"),
    ]
}

fn rejects() -> Vec<Field> {
    vec![
        text("run_id"),
        text("table"),
        text("key"),
        text("file"),
        count("row"),
        text("column"),
        text("rule"),
        text("value"),
    ]
}

/// The columns of `snapshots`. `table_versions` and `row_counts` are JSON objects by table name.
fn snapshots() -> Vec<Field> {
    vec![
        day("previous_as_of"),
        text("run_id"),
        instant("published_at"),
        flag("as_known"),
        flag("stale"),
        text("timezone"),
        text("manifest"),
        text("table_versions"),
        text("row_counts"),
        text("definition_hash"),
    ]
}

/// The columns of `exports`. `counts` is a JSON object by step.
fn exports() -> Vec<Field> {
    vec![
        text("export_id"),
        list("segments"),
        text("query"),
        text("format"),
        text("destination"),
        text("requested_by"),
        instant("created_at"),
        text("counts"),
    ]
}

/// The columns of `job_runs`. `rows` and `left_out` are JSON objects: by table, and by table and reason.
fn job_runs() -> Vec<Field> {
    vec![
        text("run_id"),
        text("job"),
        count("attempt"),
        text("status"),
        instant("started_at"),
        instant("finished_at"),
        text("step"),
        text("rows"),
        text("left_out"),
        text("error"),
    ]
}

/// Every published table, in the order of the contract.
pub fn tables() -> Vec<Published> {
    let overlap = vec![text("segment_a"), text("segment_b"), count("members_a"), count("members_b"), count("both")];
    let changes = vec![day("previous_as_of"), text("segment"), text("customer_id"), text("change"), text("cause")];
    vec![
        Published { open: true, ..table("customer_profile", Keeps::Days, &["customer_id"], profile_columns()) },
        Published {
            open: true,
            contact: true,
            ..table("customer_contacts", Keeps::Newest, &["customer_id"], vec![text("customer_id")])
        },
        Published {
            open: true,
            ..table(
                "orders",
                Keeps::Newest,
                &["order_id"],
                vec![
                    text("order_id"),
                    text("customer_id"),
                    day("ordered_on"),
                    flag("is_counted"),
                    money("net_amount", 18, 2),
                ],
            )
        },
        Published {
            open: true,
            ..table(
                "order_items",
                Keeps::Newest,
                &[],
                vec![text("order_id"), text("product_id"), text("customer_id"), day("ordered_on")],
            )
        },
        Published { open: true, ..table("lifecycle", Keeps::Days, &["customer_id"], lifecycle()) },
        table(
            "lifecycle_transitions",
            Keeps::Days,
            &["from_stage", "to_stage"],
            vec![text("from_stage"), text("to_stage"), count("customers")],
        ),
        table("lifecycle_health", Keeps::Days, &[], lifecycle_health()),
        table("lifecycle_models", Keeps::Appended, &[], lifecycle_models()),
        table("segments", Keeps::Days, &["segment"], segments()),
        table("segment_members", Keeps::Days, &["segment", "customer_id"], vec![text("segment"), text("customer_id")]),
        table("segment_changes", Keeps::Days, &["segment", "customer_id", "change"], changes),
        table("segment_sizes", Keeps::Days, &["segment"], segment_sizes()),
        table("segment_overlap", Keeps::Days, &["segment_a", "segment_b"], overlap),
        Published { contact: true, ..table("rejects", Keeps::Appended, &[], rejects()) },
        table("snapshots", Keeps::Days, &[], snapshots()),
        table("job_runs", Keeps::Appended, &[], job_runs()),
        table("exports", Keeps::Appended, &[], exports()),
        table("export_members", Keeps::Appended, &[], vec![text("export_id"), text("customer_id"), text("variant")]),
    ]
}

/// The published table of that name.
pub fn named(name: &str) -> Option<Published> {
    tables().into_iter().find(|table| table.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_key_and_no_column_twice() {
        for table in tables() {
            let schema = table.schema();
            let mut names: Vec<_> = schema.fields().iter().map(|field| field.name().clone()).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all, "{}", table.name);
            for key in table.key {
                assert!(names.iter().any(|name| name == key), "{} has no {key}", table.name);
            }
            assert_eq!(schema.field_with_name(AS_OF).is_ok(), table.by_day(), "{}", table.name);
        }
    }

    #[test]
    fn contact_columns_stay_out_of_the_profile() {
        for column in profile_columns() {
            assert!(!crate::schema::landed::CONTACT_COLUMNS.contains(&column.name().as_str()), "{}", column.name());
        }
    }
}
