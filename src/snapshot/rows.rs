//! The rows of the segment tables, in the order in which they are kept.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, Decimal128Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use roaring::RoaringBitmap;

use super::changes::Change;
use super::people::{People, Spent};
use crate::engine::BATCH_ROWS;
use crate::error::Result;
use crate::schema::landed::list_type;
use crate::segments::overlap::largest;

/// A segment's size and what its members are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// The segment's id.
    pub segment: String,
    /// Customers in it.
    pub members: u64,
    /// Members who were none on the day before.
    pub entered: u64,
    /// Members of the day before who are none.
    pub exited: u64,
    /// Members whom an e-mail reaches.
    pub email_reachable: u64,
    /// Members whom a text message reaches.
    pub sms_reachable: u64,
    /// Members with a counted order.
    pub buyers: u64,
    /// What they have spent, in hundredths of the shop's currency.
    pub amount_spent: i128,
    /// Their counted orders in the 30 local days that end with the day.
    pub orders_30d: i64,
    /// The net amount of those, in hundredths.
    pub revenue_30d: i128,
    /// Members `goal_days` before, and those of them who satisfy the goal now.
    pub goal: Option<(u64, u64)>,
}

impl Size {
    /// Counts of the members, who have `spent` so much together.
    pub(super) fn of(
        segment: &str,
        members: &RoaringBitmap,
        spent: Spent,
        changes: &[Change],
        people: &People,
    ) -> Self {
        Self {
            segment: segment.to_owned(),
            members: members.len(),
            entered: changes.iter().filter(|change| change.change == "entered").count() as u64,
            exited: changes.iter().filter(|change| change.change == "exited").count() as u64,
            email_reachable: members.intersection_len(&people.email_reachable),
            sms_reachable: members.intersection_len(&people.sms_reachable),
            buyers: members.intersection_len(&people.buyers),
            amount_spent: spent.amount,
            orders_30d: spent.orders_30d,
            revenue_30d: spent.revenue_30d,
            goal: None,
        }
    }
}

/// The definition of a segment as the day used it.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) segment: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) store: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) query: String,
    pub(super) sql: String,
    pub(super) priority: Option<i64>,
    pub(super) goal: Option<String>,
    pub(super) hash: String,
    pub(super) defined_on: NaiveDate,
}

fn schema(fields: Vec<(&str, DataType)>) -> SchemaRef {
    Arc::new(Schema::new(fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect::<Vec<_>>()))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn counts(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.and_then(|value| i64::try_from(value).ok())).collect::<Int64Array>())
}

fn days(values: impl Iterator<Item = Option<NaiveDate>>) -> ArrayRef {
    Arc::new(values.map(|day| day.map(Date32Type::from_naive_date)).collect::<Date32Array>())
}

/// Threads that the runtime of a night has.
pub(super) fn threads() -> usize {
    tokio::runtime::Handle::current().metrics().num_workers()
}

/// Batches as a stream.
pub(super) fn stream(
    schema: SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    let batches = batches.map(|batch| batch.map_err(datafusion::error::DataFusionError::from));
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
}

/// `segment_members`: segments in the order of their ids.
pub(super) fn members(segments: Vec<(String, RoaringBitmap)>, people: Arc<People>) -> SendableRecordBatchStream {
    let schema = schema(vec![("segment", DataType::Utf8), ("customer_id", DataType::Utf8)]);
    let columns = Arc::clone(&schema);
    let batches = segments.into_iter().flat_map(move |(segment, members)| {
        let people = Arc::clone(&people);
        let columns = Arc::clone(&columns);
        let mut numbers = members.into_iter();
        std::iter::from_fn(move || {
            let ids: StringArray = numbers.by_ref().take(BATCH_ROWS).map(|number| Some(people.id(number))).collect();
            if ids.is_empty() {
                return None;
            }
            let names = texts(std::iter::repeat_n(Some(segment.as_str()), ids.len()));
            Some(RecordBatch::try_new(Arc::clone(&columns), vec![names, Arc::new(ids)]).map_err(Into::into))
        })
    });
    stream(schema, batches)
}

/// `segment_changes`.
pub(super) fn changes(changes: &[Change], previous: Option<NaiveDate>) -> Result<SendableRecordBatchStream> {
    let schema = schema(vec![
        ("previous_as_of", DataType::Date32),
        ("segment", DataType::Utf8),
        ("customer_id", DataType::Utf8),
        ("change", DataType::Utf8),
        ("cause", DataType::Utf8),
    ]);
    let mut batches = Vec::new();
    for chunk in changes.chunks(BATCH_ROWS) {
        batches.push(Ok(RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                days(chunk.iter().map(|_| previous)),
                texts(chunk.iter().map(|change| Some(change.segment.as_str()))),
                texts(chunk.iter().map(|change| Some(change.customer_id.as_str()))),
                texts(chunk.iter().map(|change| Some(change.change))),
                texts(chunk.iter().map(|change| Some(change.cause.name()))),
            ],
        )?));
    }
    Ok(stream(schema, batches.into_iter()))
}

/// `segment_sizes`; a segment's first day has no `previous_as_of`.
pub(super) fn sizes(sizes: &[(Size, Option<NaiveDate>)]) -> Result<SendableRecordBatchStream> {
    let money = DataType::Decimal128(28, 2);
    let schema = schema(vec![
        ("previous_as_of", DataType::Date32),
        ("segment", DataType::Utf8),
        ("members", DataType::Int64),
        ("entered", DataType::Int64),
        ("exited", DataType::Int64),
        ("email_reachable", DataType::Int64),
        ("sms_reachable", DataType::Int64),
        ("buyers", DataType::Int64),
        ("amount_spent", money.clone()),
        ("orders_30d", DataType::Int64),
        ("revenue_30d", money),
        ("goal_base", DataType::Int64),
        ("goal_members", DataType::Int64),
    ]);
    let count = |of: fn(&Size) -> Option<u64>| counts(sizes.iter().map(move |(size, _)| of(size)));
    let amount = |of: fn(&Size) -> i128| -> Result<ArrayRef> {
        let values = Decimal128Array::from_iter_values(sizes.iter().map(|(size, _)| of(size)));
        Ok(Arc::new(values.with_precision_and_scale(28, 2)?))
    };
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            days(sizes.iter().map(|(_, previous)| *previous)),
            texts(sizes.iter().map(|(size, _)| Some(size.segment.as_str()))),
            count(|size| Some(size.members)),
            count(|size| Some(size.entered)),
            count(|size| Some(size.exited)),
            count(|size| Some(size.email_reachable)),
            count(|size| Some(size.sms_reachable)),
            count(|size| Some(size.buyers)),
            amount(|size| size.amount_spent)?,
            Arc::new(sizes.iter().map(|(size, _)| Some(size.orders_30d)).collect::<Int64Array>()),
            amount(|size| size.revenue_30d)?,
            count(|size| size.goal.map(|(base, _)| base)),
            count(|size| size.goal.map(|(_, members)| members)),
        ],
    )?;
    Ok(stream(schema, std::iter::once(Ok(batch))))
}

/// How many overlaps of a segment are kept, the largest.
const KEPT_OVERLAPS: usize = 50;

/// `segment_overlap` of segments that come sorted by id.
pub(super) fn overlaps(segments: &[(&str, &RoaringBitmap)]) -> Result<SendableRecordBatchStream> {
    let schema = schema(vec![
        ("segment_a", DataType::Utf8),
        ("segment_b", DataType::Utf8),
        ("members_a", DataType::Int64),
        ("members_b", DataType::Int64),
        ("both", DataType::Int64),
    ]);
    let sets: Vec<&RoaringBitmap> = segments.iter().map(|(_, members)| *members).collect();
    let overlaps = largest(&sets, KEPT_OVERLAPS, threads());
    let id = |place: usize| segments.get(place).map(|(id, _)| *id);
    let size = |place: usize| segments.get(place).map(|(_, members)| members.len());
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            texts(overlaps.iter().map(|overlap| id(overlap.a))),
            texts(overlaps.iter().map(|overlap| id(overlap.b))),
            counts(overlaps.iter().map(|overlap| size(overlap.a))),
            counts(overlaps.iter().map(|overlap| size(overlap.b))),
            counts(overlaps.iter().map(|overlap| Some(overlap.both))),
        ],
    )?;
    Ok(stream(schema, std::iter::once(Ok(batch))))
}

/// `segments`.
pub(super) fn definitions(definitions: &[Definition]) -> Result<SendableRecordBatchStream> {
    let schema = schema(vec![
        ("segment", DataType::Utf8),
        ("name", DataType::Utf8),
        ("description", DataType::Utf8),
        ("owner", DataType::Utf8),
        ("store", DataType::Utf8),
        ("tags", list_type()),
        ("query", DataType::Utf8),
        ("sql", DataType::Utf8),
        ("priority", DataType::Int64),
        ("goal", DataType::Utf8),
        ("definition_hash", DataType::Utf8),
        ("defined_on", DataType::Date32),
    ]);
    let mut tags = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for definition in definitions {
        for tag in &definition.tags {
            tags.values().append_value(tag);
        }
        tags.append(true);
    }
    let all = definitions.iter();
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            texts(all.clone().map(|row| Some(row.segment.as_str()))),
            texts(all.clone().map(|row| Some(row.name.as_str()))),
            texts(all.clone().map(|row| row.description.as_deref())),
            texts(all.clone().map(|row| row.owner.as_deref())),
            texts(all.clone().map(|row| row.store.as_deref())),
            Arc::new(tags.finish()),
            texts(all.clone().map(|row| Some(row.query.as_str()))),
            texts(all.clone().map(|row| Some(row.sql.as_str()))),
            Arc::new(all.clone().map(|row| row.priority).collect::<Int64Array>()),
            texts(all.clone().map(|row| row.goal.as_deref())),
            texts(all.clone().map(|row| Some(row.hash.as_str()))),
            days(all.map(|row| Some(row.defined_on))),
        ],
    )?;
    Ok(stream(schema, std::iter::once(Ok(batch))))
}

/// `rejects`.
pub(super) fn rejects(rejects: &[crate::land::Reject], run_id: &str) -> Result<SendableRecordBatchStream> {
    let schema = schema(vec![
        ("run_id", DataType::Utf8),
        ("table", DataType::Utf8),
        ("key", DataType::Utf8),
        ("file", DataType::Utf8),
        ("row", DataType::Int64),
        ("column", DataType::Utf8),
        ("rule", DataType::Utf8),
        ("value", DataType::Utf8),
    ]);
    let all = rejects.iter();
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            texts(all.clone().map(|_| Some(run_id))),
            texts(all.clone().map(|row| Some(row.table))),
            texts(all.clone().map(|row| row.key.as_deref())),
            texts(all.clone().map(|row| Some(row.file.as_str()))),
            Arc::new(all.clone().map(|row| Some(row.row)).collect::<Int64Array>()),
            texts(all.clone().map(|row| Some(row.column.as_str()))),
            texts(all.clone().map(|row| Some(row.rule.as_str()))),
            texts(all.map(|row| row.value.as_deref())),
        ],
    )?;
    Ok(stream(schema, std::iter::once(Ok(batch))))
}
