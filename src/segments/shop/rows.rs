//! The rows behind the test shop's customers: orders, their lines, events, and what was published before.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch};

use super::{dates, decimals, instants, lists, texts};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// Customers `b` to `f` have orders; `b` one of them on the last day, `f` only a cancelled one.
fn orders() -> RecordBatch {
    batch(vec![
        ("customer_no", numbers(&[1, 2, 2, 3, 4, 5])),
        ("order_id", texts(&[Some("o1"), Some("o2"), Some("o3"), Some("o4"), Some("o5"), Some("o6")])),
        (
            "ordered_at",
            instants(&[
                Some("2026-11-19T10:00:00Z"),
                Some("2026-01-10T10:00:00Z"),
                Some("2026-11-01T10:00:00Z"),
                Some("2026-03-29T00:30:00Z"),
                Some("2025-11-19T10:00:00Z"),
                Some("2026-11-10T10:00:00Z"),
            ]),
        ),
        (
            "status",
            texts(&[
                Some("paid"),
                Some("paid"),
                Some("partially_refunded"),
                Some("paid"),
                Some("pending"),
                Some("cancelled"),
            ]),
        ),
        ("is_counted", Arc::new(BooleanArray::from(vec![true, true, true, true, false, false]))),
        ("total", decimals(&[Some(1099), Some(2500), Some(2501), Some(10_000), Some(700), Some(100)], 18, 2)),
        (
            "coupon_codes",
            lists(&[Some(&["WELCOME", "extra"]), None, Some(&[]), Some(&["Welcome"]), Some(&["x"]), None]),
        ),
        ("store", texts(&[Some("us"), Some("us"), None, Some("dk"), Some("dk"), Some("de")])),
        ("channel", texts(&[Some("web"), Some("pos"), Some("web"), None, Some("web"), Some("web")])),
        ("gift", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true), None, None]))),
        (
            "weight",
            Arc::new(Float64Array::from(vec![Some(0.1), Some(0.2), Some(0.1), None, Some(f64::NAN), Some(1.0)])),
        ),
        ("date", dates(&[Some("2026-12-24"), None, Some("2026-11-05"), None, None, None])),
    ])
}

fn order_items() -> RecordBatch {
    batch(vec![
        ("customer_no", numbers(&[1, 1, 2, 2, 3, 4])),
        ("order_id", texts(&[Some("o1"), Some("o1"), Some("o2"), Some("o3"), Some("o4"), Some("o5")])),
        ("product_id", texts(&[Some("1"), Some("2"), Some("1"), Some("3"), Some("1"), Some("2")])),
        (
            "ordered_at",
            instants(&[
                Some("2026-11-19T10:00:00Z"),
                Some("2026-11-19T10:00:00Z"),
                Some("2026-01-10T10:00:00Z"),
                Some("2026-11-01T10:00:00Z"),
                Some("2026-03-29T00:30:00Z"),
                Some("2025-11-19T10:00:00Z"),
            ]),
        ),
        ("is_counted", Arc::new(BooleanArray::from(vec![true, true, true, true, true, false]))),
        (
            "category",
            texts(&[
                Some("Men > Sunglasses"),
                Some("Men"),
                Some("Men > Sunglasses > Polarized"),
                None,
                Some("Women > Shoes"),
                Some("Men"),
            ]),
        ),
        (
            "collections",
            lists(&[Some(&["Summer"]), None, Some(&["summer", "Sale"]), Some(&[]), Some(&["SALE"]), Some(&["Summer"])]),
        ),
        ("labels", lists(&[Some(&["new"]), Some(&["New", "eco"]), Some(&[]), None, Some(&["eco"]), Some(&["eco"])])),
        ("brand", texts(&[Some("Acme"), Some("Acme"), None, Some("Bolt"), Some("acme"), Some("Acme")])),
        ("title", texts(&[Some("A"), Some("B"), Some("A"), Some("C"), Some("A"), Some("B")])),
        ("sku", texts(&[Some("s1"), Some("s2"), Some("s1"), Some("s3"), None, Some("s2")])),
        ("quantity", numbers(&[1, 3, 2, 1, 5, 1])),
        (
            "unit_price",
            decimals(&[Some(100_000), Some(33_333), Some(125_000), None, Some(200_000), Some(10_000)], 18, 4),
        ),
        ("returned_quantity", numbers(&[0, 2, 1, 0, 0, 1])),
        ("returned_at", instants(&[None, None, Some("2026-11-15T08:00:00Z"), None, None, None])),
        ("line", numbers(&[1, 2, 1, 1, 1, 1])),
    ])
}

/// Views, carts and mails of `a`, `b`, `c` and `g`.
fn events() -> RecordBatch {
    let rows: [(i64, &str, &str, Option<&str>, Option<&str>, Option<&str>, Option<i64>); 11] = [
        (0, "product_viewed", "2026-11-18T09:00:00Z", Some("1"), None, None, Some(3)),
        (0, "product_viewed", "2026-11-19T09:00:00Z", Some("2"), Some("Kids"), None, None),
        (0, "added_to_cart", "2026-11-19T09:05:00Z", Some("1"), None, None, None),
        (1, "added_to_cart", "2026-11-19T10:30:00Z", Some("2"), None, None, None),
        (1, "removed_from_cart", "2026-11-19T10:40:00Z", Some("2"), None, None, None),
        (1, "added_to_cart", "2026-11-19T09:59:00Z", Some("1"), None, None, None),
        (2, "email_opened", "2026-10-25T00:30:00Z", None, None, Some("77"), None),
        (2, "email_opened", "2026-11-10T00:30:00Z", None, None, Some("78"), None),
        (2, "email_opened", "2026-11-10T00:30:00Z", None, None, Some("77"), None),
        (6, "quiz_finished", "2026-11-01T12:00:00Z", None, None, None, Some(9)),
        (6, "product_viewed", "2026-08-01T12:00:00Z", Some("1"), None, None, Some(-1)),
    ];
    let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
    batch(vec![
        ("customer_no", numbers(&ids)),
        ("type", texts(&rows.map(|row| Some(row.1)))),
        ("occurred_at", instants(&rows.map(|row| Some(row.2)))),
        ("product_id", texts(&rows.map(|row| row.3))),
        ("category", texts(&rows.map(|row| row.4))),
        ("campaign_id", texts(&rows.map(|row| row.5))),
        ("score", Arc::new(rows.iter().map(|row| row.6).collect::<Int64Array>())),
        ("search_term", texts(&[None; 11])),
    ])
}

fn products() -> RecordBatch {
    batch(vec![
        ("product_id", texts(&[Some("1"), Some("2")])),
        ("category", texts(&[Some("Men > Sunglasses"), Some("Men")])),
        ("labels", lists(&[Some(&["Eco"]), None])),
    ])
}

fn history() -> Vec<(&'static str, RecordBatch)> {
    let persons = batch(vec![
        ("id", texts(&[Some("a"), Some("b"), Some("old-b"), Some("c")])),
        ("customer_no", numbers(&[0, 1, 1, 2])),
    ]);
    let changes = batch(vec![
        ("customer_id", texts(&[Some("a"), Some("old-b"), Some("c"), Some("c"), Some("gone")])),
        ("segment", texts(&[Some("vip"), Some("vip"), Some("vip"), Some("win-back"), Some("vip")])),
        ("change", texts(&[Some("entered"), Some("entered"), Some("exited"), Some("entered"), Some("entered")])),
        (
            "as_of",
            dates(&[
                Some("2026-11-01"),
                Some("2026-11-18"),
                Some("2026-11-18"),
                Some("2026-11-19"),
                Some("2026-11-18"),
            ]),
        ),
    ]);
    let stages = batch(vec![
        ("customer_id", texts(&[Some("a"), Some("b"), Some("c"), Some("c")])),
        ("previous_stage", texts(&[Some("loyal"), None, Some("loyal"), Some("dormant")])),
        ("stage", texts(&[Some("dormant"), Some("prospect"), Some("loyal"), Some("loyal")])),
        ("as_of", dates(&[Some("2026-11-18"), Some("2026-11-18"), Some("2026-11-18"), Some("2026-11-19")])),
    ]);
    let exports = batch(vec![
        ("export_id", texts(&[Some("e1"), Some("e2")])),
        ("segments", lists(&[Some(&["vip", "win-back"]), Some(&["new"])])),
        ("format", texts(&[Some("email"), Some("facebook")])),
        ("created_at", instants(&[Some("2026-11-10T08:00:00Z"), Some("2026-11-20T08:00:00Z")])),
    ]);
    let members = batch(vec![
        ("export_id", texts(&[Some("e1"), Some("e1"), Some("e2")])),
        ("customer_id", texts(&[Some("a"), Some("c"), Some("b")])),
        ("variant", texts(&[Some("treatment"), Some("holdout"), Some("treatment")])),
    ]);
    vec![
        ("persons", persons),
        ("segment_changes", changes),
        ("segment_lifecycle", stages),
        ("exports", exports),
        ("export_members", members),
    ]
}

pub(super) fn tables() -> Vec<(&'static str, RecordBatch)> {
    let mut all = vec![
        ("orders", orders()),
        ("order_items", order_items()),
        ("events_owned", events()),
        ("landed_products", products()),
    ];
    all.extend(history());
    all
}
