//! The columns of `lifecycle` and `lifecycle_transitions`, without `as_of`, which is their partition.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

/// The precision of money sums per customer.
const MONEY: DataType = DataType::Decimal128(28, 2);

fn schema(fields: Vec<(&str, DataType)>) -> SchemaRef {
    Arc::new(Schema::new(nullable(fields)))
}

fn nullable(fields: Vec<(&str, DataType)>) -> Fields {
    fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect()
}

/// The fields of `explanation`: every number and threshold that the rules looked at, and a sentence.
fn explanation() -> DataType {
    use DataType::{Boolean, Float64, Int64, Utf8View};
    DataType::Struct(nullable(vec![
        ("sentence", Utf8View),
        ("order_days", Int64),
        ("frequency", Int64),
        ("recency_days", Int64),
        ("age_days", Int64),
        ("days_since_last_order", Int64),
        ("p_order_90d", Float64),
        ("p_order_90d_at_last_order", Float64),
        ("p_order_90d_new_buyer", Float64),
        ("vitality", Float64),
        ("vitality_threshold", Float64),
        ("relative_chance", Float64),
        ("relative_chance_threshold", Float64),
        ("silence_probability", Float64),
        ("silence_probability_threshold", Float64),
        ("lapsed_silence_days", Int64),
        ("churned_silence_days", Int64),
        ("churned_silence_least", Int64),
        ("p_order_365d", Float64),
        ("loyal_order_days", Int64),
        ("loyal_threshold", Float64),
        ("expected_orders", Float64),
        ("order_value", Float64),
        ("predicted_value", Float64),
        ("value_threshold", Float64),
        ("top_value_cut", Float64),
        ("top_spend_cut", Float64),
        ("dropout_identified", Boolean),
        ("churn_label_suspended", Boolean),
    ]))
}

/// One row a customer, by customer_id. An empty table of this schema is the `previous_lifecycle` of a first day.
pub fn lifecycle() -> SchemaRef {
    use DataType::{Boolean, Date32, Float64, Int64, Utf8View};
    schema(vec![
        ("customer_id", Utf8View),
        ("stage", Utf8View),
        ("previous_stage", Utf8View),
        ("stage_since", Date32),
        ("reason", Utf8View),
        ("explanation", explanation()),
        ("order_days", Int64),
        ("days_since_last_order", Int64),
        ("p_order_90d", Float64),
        ("p_order_365d", Float64),
        ("vitality", Float64),
        ("p_alive", Float64),
        ("expected_orders", Float64),
        ("predicted_value", Float64),
        ("cant_lose", Boolean),
        ("confidence", Utf8View),
        ("model", Utf8View),
        ("stage_before", Utf8View),
        ("churn_risk", Float64),
        ("predicted_spend_tier", Utf8View),
        ("predicted_next_order_date", Date32),
        ("first_order_on", Date32),
        ("last_order_on", Date32),
        ("spend", MONEY),
    ])
}

/// One row a pair of stages: `new` is where a customer's first day comes from, `gone` where the last one goes.
pub fn transitions() -> SchemaRef {
    use DataType::{Int64, Utf8View};
    schema(vec![("from_stage", Utf8View), ("to_stage", Utf8View), ("customers", Int64)])
}

/// One row a stage that occurs.
pub fn sizes() -> SchemaRef {
    use DataType::{Decimal128, Int64, Utf8View};
    schema(vec![
        ("stage", Utf8View),
        ("customers", Int64),
        ("spend", Decimal128(38, 2)),
        ("predicted_value", Decimal128(38, 2)),
        ("cant_lose", Int64),
    ])
}
