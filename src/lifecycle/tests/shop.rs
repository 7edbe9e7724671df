//! A small shop in memory, and a day of it.

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringViewArray, StructArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type, Int64Type, Schema, SchemaRef};
use chrono::NaiveDate;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::SessionConfig;

use crate::config::LifecycleSettings;
use crate::lifecycle::statements::built_in;
use crate::lifecycle::{Classifier, Scored, columns, functions, score, transitions};

/// A buyer: ages in days before the as-of date.
#[derive(Debug, Clone)]
pub(super) struct Buyer {
    pub(super) id: String,
    pub(super) order_days: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) cents: i128,
}

pub(super) fn buyer(id: &str, order_days: i64, first: i64, last: i64, cents: i128) -> Buyer {
    Buyer { id: id.to_owned(), order_days, first, last, cents }
}

/// Customers of a shop as of a day.
#[derive(Debug, Clone)]
pub(super) struct Shop {
    pub(super) as_of: NaiveDate,
    pub(super) buyers: Vec<Buyer>,
    /// Customers all of whose orders were refunded.
    pub(super) refunded: Vec<String>,
    /// Customers without an order.
    pub(super) prospects: Vec<String>,
}

impl Shop {
    pub(super) fn of(buyers: Vec<Buyer>) -> Self {
        let as_of = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        Self { as_of, buyers, refunded: Vec::new(), prospects: Vec::new() }
    }

    /// The same customers `days` later, without any order.
    pub(super) fn later(&self, days: i64) -> Self {
        let mut shop = self.clone();
        shop.as_of += chrono::TimeDelta::days(days);
        for buyer in &mut shop.buyers {
            buyer.first += days;
            buyer.last += days;
        }
        shop
    }

    fn ids(&self) -> Vec<&str> {
        let buyers = self.buyers.iter().map(|buyer| buyer.id.as_str());
        buyers
            .chain(self.refunded.iter().map(String::as_str))
            .chain(self.prospects.iter().map(String::as_str))
            .collect()
    }

    pub(super) fn profile(&self) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("customer_id", DataType::Utf8View, false)]);
        let ids = StringViewArray::from_iter_values(self.ids());
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids)]).unwrap()
    }

    pub(super) fn buyers(&self) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("customer_id", DataType::Utf8View, false),
            Field::new("order_days", DataType::Int64, true),
            Field::new("first_order_on", DataType::Date32, true),
            Field::new("last_order_on", DataType::Date32, true),
            Field::new("spend", DataType::Decimal128(28, 2), true),
            Field::new("all_refunded", DataType::Boolean, true),
        ]);
        let as_of = i64::from(Date32Type::from_naive_date(self.as_of));
        let ago = |days: i64| Some(i32::try_from(as_of - days).unwrap());
        let ids = self.buyers.iter().map(|buyer| &buyer.id).chain(&self.refunded);
        let none = self.refunded.iter();
        let spend = self.buyers.iter().map(|buyer| Some(buyer.cents)).chain(none.clone().map(|_| None));
        let spend: Decimal128Array = spend.collect();
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(StringViewArray::from_iter_values(ids)),
            Arc::new(Int64Array::from_iter_values(
                self.buyers.iter().map(|buyer| buyer.order_days).chain(none.clone().map(|_| 0)),
            )),
            Arc::new(Date32Array::from_iter(
                self.buyers.iter().map(|buyer| ago(buyer.first)).chain(none.clone().map(|_| None)),
            )),
            Arc::new(Date32Array::from_iter(
                self.buyers.iter().map(|buyer| ago(buyer.last)).chain(none.clone().map(|_| None)),
            )),
            Arc::new(spend.with_precision_and_scale(28, 2).unwrap()),
            Arc::new(BooleanArray::from_iter(self.buyers.iter().map(|_| Some(false)).chain(none.map(|_| Some(true))))),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of the statements alone, without a lake or a memory limit")]
pub(in crate::lifecycle) fn session() -> SessionContext {
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
    for function in functions() {
        ctx.register_udf(function);
    }
    ctx
}

pub(super) fn table(ctx: &SessionContext, name: &str, schema: SchemaRef, partitions: Vec<Vec<RecordBatch>>) {
    ctx.deregister_table(name).unwrap();
    ctx.register_table(name, Arc::new(MemTable::try_new(schema, partitions).unwrap())).unwrap();
}

/// A session with the shop, and what was published the day before.
pub(super) fn open(shop: &Shop, previous: Option<&RecordBatch>) -> SessionContext {
    let ctx = session();
    table(&ctx, "profile", shop.profile().schema(), vec![vec![shop.profile()]]);
    table(&ctx, "buyers", shop.buyers().schema(), vec![vec![shop.buyers()]]);
    let rows = previous.cloned().into_iter().collect();
    table(&ctx, "previous_lifecycle", columns::lifecycle(), vec![rows]);
    ctx
}

/// A day that was scored, its rows and transitions collected.
pub(super) struct Day {
    pub(super) rows: RecordBatch,
    pub(super) transitions: RecordBatch,
    pub(super) scored: Scored,
}

pub(super) async fn collect(ctx: &SessionContext, as_of: NaiveDate, classifier: &Classifier) -> Day {
    let settings = LifecycleSettings::default();
    let scored = score(ctx, as_of, &settings, classifier, &built_in).await.unwrap();
    let rows = one(scored.rows.clone().collect().await.unwrap(), &columns::lifecycle());
    table(ctx, "lifecycle_today", columns::lifecycle(), vec![vec![rows.clone()]]);
    let moves = transitions(ctx, &built_in).await.unwrap().collect().await.unwrap();
    Day { rows, transitions: one(moves, &columns::transitions()), scored }
}

pub(super) async fn day(shop: &Shop, previous: Option<&Day>) -> Day {
    day_with(shop, previous, &Classifier::benchmark()).await
}

pub(super) async fn day_with(shop: &Shop, previous: Option<&Day>, classifier: &Classifier) -> Day {
    collect(&open(shop, previous.map(|day| &day.rows)), shop.as_of, classifier).await
}

/// One batch with nullable fields, whatever the plan knew of nulls.
pub(super) fn one(batches: Vec<RecordBatch>, schema: &SchemaRef) -> RecordBatch {
    let batches: Vec<_> = batches
        .iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec()).unwrap())
        .collect();
    concat_batches(schema, &batches).unwrap()
}

impl Day {
    pub(super) fn row(&self, id: &str) -> usize {
        (0..self.rows.num_rows()).find(|row| self.text("customer_id", *row) == Some(id)).unwrap()
    }

    pub(super) fn text(&self, name: &str, row: usize) -> Option<&str> {
        let column = self.rows.column_by_name(name).unwrap().as_string_view();
        column.is_valid(row).then(|| column.value(row))
    }

    pub(super) fn double(&self, name: &str, row: usize) -> Option<f64> {
        let column = self.rows.column_by_name(name).unwrap().as_primitive::<Float64Type>();
        column.is_valid(row).then(|| column.value(row))
    }

    pub(super) fn count(&self, name: &str, row: usize) -> Option<i64> {
        let column = self.rows.column_by_name(name).unwrap().as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    }

    pub(super) fn date(&self, name: &str, row: usize) -> Option<NaiveDate> {
        let column = self.rows.column_by_name(name).unwrap().as_primitive::<Date32Type>();
        column.is_valid(row).then(|| column.value_as_date(row)).flatten()
    }

    pub(super) fn flag(&self, name: &str, row: usize) -> bool {
        self.rows.column_by_name(name).unwrap().as_boolean().value(row)
    }

    fn explanation(&self) -> &StructArray {
        self.rows.column_by_name("explanation").unwrap().as_struct()
    }

    pub(super) fn sentence(&self, row: usize) -> &str {
        self.explanation().column_by_name("sentence").unwrap().as_string_view().value(row)
    }

    pub(super) fn explained(&self, name: &str, row: usize) -> Option<f64> {
        let column = self.explanation().column_by_name(name).unwrap().as_primitive::<Float64Type>();
        column.is_valid(row).then(|| column.value(row))
    }

    pub(super) fn stage(&self, id: &str) -> &str {
        self.text("stage", self.row(id)).unwrap()
    }

    pub(super) fn reason(&self, id: &str) -> &str {
        self.text("reason", self.row(id)).unwrap()
    }

    pub(super) fn moves(&self) -> Vec<(String, String, i64)> {
        let text =
            |name: &str, row| self.transitions.column_by_name(name).unwrap().as_string_view().value(row).to_owned();
        let customers = self.transitions.column_by_name("customers").unwrap().as_primitive::<Int64Type>();
        let rows = 0..self.transitions.num_rows();
        rows.map(|row| (text("from_stage", row), text("to_stage", row), customers.value(row))).collect()
    }
}
