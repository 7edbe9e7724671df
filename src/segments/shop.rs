//! A shop of a few customers, in memory, with every kind of missing value; and the project's corpus catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field as ArrowField, Schema};
use chrono::NaiveDate;
use datafusion::prelude::SessionContext;
use roaring::RoaringBitmap;

use super::check::{Context, Rule, check};
use super::compile::{Member, Scope, Tables, shared, standalone_sql};
use super::evaluate::evaluate;
use super::syntax::parse;
use crate::calendar::{Zone, parse_date};
use crate::profile::catalogue::{Catalogue, Field, FieldKind, Property};
use crate::schema::landed::{Reading, Table, instant_type, list_type};

mod rows;

pub(super) fn catalogue() -> Catalogue {
    let property = |name: &str, data_type| Property { name: name.to_owned(), data_type };
    let properties = [
        property("vip", DataType::Boolean),
        property("boolean_attribute", DataType::Boolean),
        property("membership_level", DataType::Utf8View),
        property("birth_date", DataType::Date32),
        property("tier", DataType::Utf8View),
        property("points", DataType::Decimal128(10, 3)),
        property("select", DataType::Int64),
        property("customer_account_status", DataType::Utf8View),
        property("product_subscription_status", DataType::Utf8View),
    ];
    let tier =
        Field { kind: Some(FieldKind::Choice), options: vec!["Gold".into(), "Silver".into()], ..Field::default() };
    let columns = |all: &[(&str, Reading)]| all.iter().map(|(name, reading)| ((*name).to_owned(), *reading)).collect();
    let rows = [
        (Table::Orders, columns(&[("gift", Reading::Boolean), ("weight", Reading::Float), ("date", Reading::Date)])),
        (Table::Events, columns(&[("score", Reading::Integer)])),
    ];
    Catalogue::new(&properties, &BTreeMap::from([("tier".to_owned(), tier)]), None).with_row_columns(rows.into())
}

pub(super) fn scope(zone: &str, as_of: &str) -> Scope {
    Scope { zone: Zone::parse(zone).unwrap(), as_of: parse_date(as_of).unwrap() }
}

pub(super) fn as_of() -> NaiveDate {
    parse_date("2026-11-19").unwrap()
}

/// The rule of a query that must be right.
pub(super) fn rule(query: &str, known: &[&str]) -> Rule {
    let parsed = parse(query);
    assert!(!parsed.has_errors(), "{query}: {:?}", parsed.diagnostics);
    let known: BTreeMap<String, bool> = known.iter().map(|id| ((*id).to_owned(), true)).collect();
    let catalogue = catalogue();
    let checked = check(&parsed.expr, &Context { catalogue: &catalogue, segments: &known, as_of: as_of() });
    checked.rule.unwrap_or_else(|| panic!("{query}: {:?}", checked.diagnostics))
}

fn instants(values: &[Option<&str>]) -> ArrayRef {
    let micros = values
        .iter()
        .map(|value| value.map(|text| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn dates(values: &[Option<&str>]) -> ArrayRef {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    let days = values.iter().map(|value| value.map(|text| (parse_date(text).unwrap() - epoch).num_days() as i32));
    Arc::new(days.collect::<Date32Array>())
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<StringViewArray>())
}

fn lists(values: &[Option<&[&str]>]) -> ArrayRef {
    let mut builder =
        ListBuilder::new(StringBuilder::new()).with_field(ArrowField::new("element", DataType::Utf8, true));
    for value in values {
        match value {
            Some(elements) => {
                elements.iter().for_each(|element| builder.values().append_value(element));
                builder.append(true);
            }
            None => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}

fn decimals(values: &[Option<i128>], precision: u8, scale: i8) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<Decimal128Array>().with_precision_and_scale(precision, scale).unwrap())
}

/// Seven customers `a` to `g`; `g` has a value for nothing that can be missing.
pub(super) fn profile() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("customer_no", Arc::new(Int64Array::from(vec![0, 1, 2, 3, 4, 5, 6]))),
        ("customer_id", texts(&[Some("a"), Some("b"), Some("c"), Some("d"), Some("e"), Some("f"), Some("g")])),
        ("number_of_orders", Arc::new(Int64Array::from(vec![0, 1, 2, 3, 5, 8, 0]))),
        (
            "amount_spent",
            decimals(&[Some(0), Some(1099), Some(5000), Some(10_000), Some(600_000), Some(99_999), Some(0)], 28, 2),
        ),
        (
            "average_order_amount",
            decimals(
                &[None, Some(109_900), Some(250_000), Some(333_333), Some(12_000_000), Some(1_249_988), None],
                18,
                4,
            ),
        ),
        (
            "last_order_date",
            instants(&[
                None,
                Some("2026-11-18T23:00:00Z"), // midnight of 19 November in Copenhagen
                Some("2026-11-18T22:59:59.999999Z"),
                Some("2026-03-29T00:30:00Z"), // the 23-hour day in Copenhagen: 22:00Z the evening before to 22:00Z
                Some("2026-03-29T21:59:59Z"),
                Some("2026-10-25T22:59:59Z"), // the 25-hour day: 22:00Z the evening before to 23:00Z
                None,
            ]),
        ),
        (
            "birthday",
            dates(&[
                Some("1990-12-30"),
                Some("1988-02-29"),
                Some("2000-01-05"),
                Some("1975-02-28"),
                Some("1980-11-20"),
                Some("1999-03-01"),
                None,
            ]),
        ),
        ("country", texts(&[Some("DK"), Some("US"), Some("US"), Some("SE"), Some("DK"), Some("DE"), None])),
        ("region", texts(&[Some("84"), Some("CA"), Some("NY"), None, Some("82"), Some("BY"), None])),
        (
            "city",
            texts(&[
                Some("København"),
                Some("Los Angeles"),
                Some("New York City"),
                Some("Lund"),
                Some("Aarhus"),
                Some("O'Fallon"),
                None,
            ]),
        ),
        (
            "tags",
            lists(&[
                Some(&["VIP", "Spring 2026"]),
                Some(&["vip2"]),
                Some(&[]),
                Some(&["Ærø", "it's"]),
                Some(&["nvip", "x,y"]),
                Some(&["back\\slash"]),
                None,
            ]),
        ),
        (
            "email_subscription_status",
            texts(&[
                Some("subscribed"),
                Some("unsubscribed"),
                Some("subscribed"),
                Some("not_subscribed"),
                Some("subscribed"),
                Some("pending"),
                None,
            ]),
        ),
        (
            "rfm_group",
            texts(&[
                Some("prospects"),
                Some("new"),
                Some("active"),
                Some("loyal"),
                Some("champions"),
                Some("dormant"),
                None,
            ]),
        ),
        ("store", texts(&[Some("dk"), Some("us"), Some("us"), Some("dk"), Some("dk"), Some("de"), None])),
        (
            "p_alive",
            Arc::new(Float64Array::from(vec![None, Some(0.5), Some(0.25), Some(0.9), Some(1.0), Some(0.1), None])),
        ),
        (
            "vip",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                None,
                Some(true),
                Some(false),
                Some(false),
                None,
            ])),
        ),
        ("tier", texts(&[Some("gold"), Some("GOLD"), Some("Silver"), None, Some("silver"), Some("Gold"), None])),
        ("points", decimals(&[Some(1500), Some(2000), None, Some(-1), Some(999_999), Some(0), None], 10, 3)),
        ("select", Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4), Some(5), Some(6), None]))),
        ("created_at", instants(&[Some("2024-02-29T10:00:00Z"); 7])),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

pub(super) fn contacts() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("customer_no", Arc::new(Int64Array::from(vec![0, 1, 2, 5]))),
        ("customer_id", texts(&[Some("a"), Some("b"), Some("c"), Some("f")])),
        ("latitude", Arc::new(Float64Array::from(vec![Some(55.6761), Some(56.1629), None, Some(-33.8688)]))),
        ("longitude", Arc::new(Float64Array::from(vec![Some(12.5683), Some(10.2039), None, Some(151.2093)]))),
        ("email", texts(&[Some("Ann@Example.com"), None, Some("carl@example.org"), Some("f@x.io")])),
        ("first_name", texts(&[Some("Ann"), Some("Bo"), Some("Ærtekålsørensen 'Æ'"), None])),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// Every table of the night's session.
pub(super) fn tables() -> Vec<(&'static str, RecordBatch)> {
    let mut all = vec![("profile", profile()), ("contacts", contacts())];
    all.extend(rows::tables());
    all
}

#[expect(clippy::disallowed_methods, reason = "a session without a lake, to test statements by themselves")]
pub(super) fn session() -> SessionContext {
    let session = SessionContext::new();
    for (name, batch) in tables() {
        session.register_batch(name, batch).unwrap();
    }
    session
}

/// The members of the last of several (id, query), by its stand-alone SQL and by the shared statement; they must agree.
pub(super) async fn members_of(queries: &[(&str, &str)], scope: Scope) -> String {
    let ids: Vec<&str> = queries.iter().map(|(id, _)| *id).collect();
    let rules: Vec<Rule> = queries.iter().map(|(_, query)| rule(query, &ids)).collect();
    let by_id: BTreeMap<String, &Rule> = ids.iter().map(|id| (*id).to_owned()).zip(&rules).collect();
    let session = session();
    let tables = Tables::of_the_night();
    let (last, id) = (rules.last().unwrap(), ids.last().unwrap());
    let sql = standalone_sql(last, &by_id, scope, &tables).unwrap();
    let alone = run(&session, &sql).await;
    let members: Vec<Member<'_>> =
        ids.iter().zip(&rules).map(|(id, rule)| Member { id, rule, goal: Some(rule) }).collect();
    let statement = shared(&members, scope, &tables).unwrap();
    let computed = evaluate(&session, &statement).await.unwrap_or_else(|e| panic!("{statement:?}\n{e}"));
    let letters = |numbers: &RoaringBitmap| numbers.iter().map(|number| char::from(b'a' + number as u8)).collect();
    let together: String = letters(&computed.members[*id]);
    assert_eq!(alone, together, "the two paths disagree: {queries:?}\n{sql}\n{statement:?}");
    assert_eq!(computed.goals[*id], computed.members[*id], "a goal is read as a query is");
    let complement =
        standalone_sql(&Rule::Not(Box::new(Rule::Member((*id).to_owned()))), &by_id, scope, &tables).unwrap();
    let others = run(&session, &complement).await;
    let rest: String = "abcdefg".chars().filter(|customer| !alone.contains(*customer)).collect();
    assert_eq!(others, rest, "the complement of {queries:?}\n{complement}");
    alone
}

pub(super) async fn members(query: &str) -> String {
    members_of(&[("it", query)], scope("Europe/Copenhagen", "2026-11-19")).await
}

async fn run(session: &SessionContext, sql: &str) -> String {
    let frame = session.sql(sql).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let batches = frame.collect().await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let mut found = String::new();
    for batch in &batches {
        let ids = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        ids.as_any().downcast_ref::<StringArray>().unwrap().iter().for_each(|id| found.push_str(id.unwrap()));
    }
    found
}

/// Columns that no test names are no reason to fail the schema of the profile.
#[test]
fn the_test_shop_has_the_types_of_the_contract() {
    let batch = profile();
    let schema: &Schema = &batch.schema();
    assert_eq!(schema.field_with_name("tags").unwrap().data_type(), &list_type());
    assert_eq!(schema.field_with_name("last_order_date").unwrap().data_type(), &instant_type());
}
