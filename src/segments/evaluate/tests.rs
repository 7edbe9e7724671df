use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use datafusion::prelude::{ParquetReadOptions, SessionConfig};
use datafusion_proto::bytes::{
    logical_plan_from_bytes, logical_plan_to_bytes, physical_plan_from_bytes,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes, physical_plan_to_bytes_with_extension_codec,
};

use super::*;
use crate::segments::compile::{Member, Tables, shared};
use crate::segments::shop::{self, rule, scope};

const QUERIES: [(&str, &str); 14] = [
    ("vip", "amount_spent > 5000 AND tags NOT CONTAINS 'x'"),
    ("contact", "email CONTAINS 'example' OR NOT segment('vip')"),
    ("anniversary", "anniversary('last_order_date') BETWEEN -300d AND today AND NOT country IN ('US', 'SE')"),
    ("city", "customer_cities CONTAINS 'US-CA-LosAngeles' OR city STARTS WITH 'K'"),
    ("days", "last_order_date NOT BETWEEN -30d AND today AND number_of_orders BETWEEN 1 AND 100"),
    ("floats", "p_alive IN (0.5, 1) OR points > 1.2345"),
    ("layers", "segment('contact') AND NOT segment('city') AND vip IS NOT NULL"),
    ("nobody", "number_of_orders > 1000000"),
    ("lines", "products_purchased MATCHES (category IN ('Men', 'Men > Sunglasses'), sum_amount > 10, count <= 2)"),
    ("orders", "orders_placed MATCHES (count = 0, date >= -30d) OR orders_placed MATCHES (max_total > 20)"),
    ("events", "storefront.product_viewed MATCHES (tag = 'eco') OR events MATCHES (count >= 3, min_score IS NULL)"),
    ("abandoned", "carts_abandoned MATCHES () OR views_abandoned MATCHES (date < -60d)"),
    ("history", "segment_entered MATCHES () OR lifecycle_changed MATCHES (from = 'dormant')"),
    ("exported", "audiences_exported NOT MATCHES ()"),
];

fn statement() -> Shared {
    let ids = QUERIES.map(|(id, _)| id);
    let rules = QUERIES.map(|(_, query)| rule(query, &ids));
    let members: Vec<Member<'_>> =
        ids.iter().zip(&rules).map(|(id, rule)| Member { id, rule, goal: (*id == "vip").then_some(rule) }).collect();
    shared(&members, scope("Europe/Copenhagen", "2026-11-19"), &Tables::of_the_night()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a session without a lake, with as many partitions as the test says")]
fn session(partitions: usize, batch_size: usize) -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch_size))
}

#[tokio::test]
async fn partitions_and_batches_change_nothing() {
    let expected = evaluate(&shop::session(), &statement()).await.unwrap();
    assert_eq!(expected.members.len(), QUERIES.len());
    assert!(expected.members["nobody"].is_empty() && expected.members["layers"].len() > 1);
    assert_eq!(expected.goals.keys().collect::<Vec<_>>(), ["vip"]);
    for (partitions, batch_size) in [(1, 1), (3, 2), (7, 8192)] {
        let session = session(partitions, batch_size);
        for (name, batch) in shop::tables() {
            // The rows dealt out over the partitions, last first.
            let mut dealt: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions];
            for row in (0..batch.num_rows()).rev() {
                dealt[row % partitions].push(batch.slice(row, 1));
            }
            session.register_table(name, Arc::new(MemTable::try_new(batch.schema(), dealt).unwrap())).unwrap();
        }
        assert_eq!(evaluate(&session, &statement()).await.unwrap(), expected, "{partitions} of {batch_size}");
    }
}

/// The tables as files, so that their scans can be sent elsewhere.
async fn session_of_files(folder: &std::path::Path) -> SessionContext {
    let session = session(2, 8192);
    for (name, batch) in shop::tables() {
        let path = folder.join(format!("{name}.parquet"));
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        session.register_parquet(name, path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    }
    session
}

#[tokio::test]
async fn calls_survive_their_wire_format() {
    let folder = tempfile::tempdir().unwrap();
    let session = session_of_files(folder.path()).await;
    let shared = statement();
    assert_eq!(shared.passes.len(), 7, "every table is scanned once");
    for pass in &shared.passes {
        let expected = answers_of(&session, pass).await.unwrap();
        let plan = plan_pass(&session, pass).await.unwrap().create_physical_plan().await.unwrap();
        let bytes = physical_plan_to_bytes_with_extension_codec(plan, &Wire).unwrap();
        // Whoever gets it knows nothing of the program.
        let elsewhere = session_of_files(folder.path()).await;
        let plan = physical_plan_from_bytes_with_extension_codec(&bytes, &elsewhere.task_ctx(), &Wire).unwrap();
        let batches = collect(plan, elsewhere.task_ctx()).await.unwrap();
        let bytes = batches[0].column(0).as_binary::<i64>().value(0).to_vec();
        assert_eq!(read_answers(&bytes).unwrap(), expected, "{}", pass.sql);
    }
}

#[tokio::test]
async fn plans_survive_their_wire_format() {
    let folder = tempfile::tempdir().unwrap();
    let session = session_of_files(folder.path()).await;
    let shared = statement();
    assert_eq!(evaluate(&session, &shared).await.unwrap(), evaluate(&shop::session(), &shared).await.unwrap());
    let (contacts, _) = shared.contacts.as_ref().unwrap();
    for tested in [&shared.profile, contacts] {
        survives(&session, tested).await;
    }
}

async fn survives(session: &SessionContext, tested: &Tested) {
    let frame = plan(session, tested).await.unwrap();
    let order = |mut batches: Vec<RecordBatch>| {
        batches.retain(|batch| batch.num_rows() > 0);
        let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = order(frame.clone().collect().await.unwrap());

    let logical = frame.clone().into_optimized_plan().unwrap();
    let read = logical_plan_from_bytes(&logical_plan_to_bytes(&logical).unwrap(), &session.task_ctx()).unwrap();
    let again = session.execute_logical_plan(read).await.unwrap().collect().await.unwrap();
    assert_eq!(order(again), expected);

    let physical = frame.create_physical_plan().await.unwrap();
    let read = physical_plan_from_bytes(&physical_plan_to_bytes(physical).unwrap(), &session.task_ctx()).unwrap();
    assert_eq!(order(collect(read, session.task_ctx()).await.unwrap()), expected);
}

#[tokio::test]
async fn only_needed_columns_are_read() {
    let rule = rule("number_of_orders > 1 AND tags CONTAINS 'vip'", &[]);
    let members = [Member { id: "a", rule: &rule, goal: None }];
    let shared = shared(&members, scope("UTC", "2026-11-19"), &Tables::of_the_night()).unwrap();
    let plan = plan(&shop::session(), &shared.profile).await.unwrap().into_optimized_plan().unwrap();
    let shown = plan.display_indent().to_string();
    assert!(shown.contains("projection=[customer_no, number_of_orders, tags]"), "{shown}");
    assert!(shared.contacts.is_none(), "{shown}");
}

/// Two names of one column are two conditions on it.
#[tokio::test]
async fn conditions_on_one_column_all_count() {
    let queries = [
        "products_purchased MATCHES (tag = 'eco', label = 'eco')",
        "products_purchased MATCHES (tag = 'eco', label = 'no such label')",
        "storefront.collection_viewed MATCHES (id = 'Men', category = 'no such category')",
        "products_purchased MATCHES (tag = 'eco')",
    ];
    let ids = ["a", "b", "c", "d"];
    let rules = queries.map(|query| rule(query, &[]));
    let members: Vec<Member<'_>> = ids.iter().zip(&rules).map(|(id, rule)| Member { id, rule, goal: None }).collect();
    let shared = shared(&members, scope("UTC", "2026-11-19"), &Tables::of_the_night()).unwrap();
    let found = evaluate(&shop::session(), &shared).await.unwrap().members;
    assert!(!found["d"].is_empty() && found["a"] == found["d"], "{found:?}");
    assert!(found["b"].is_empty() && found["c"].is_empty(), "{found:?}");
}

/// Whoever has no contacts has none of their columns, and contacts of nobody are left out.
#[tokio::test]
async fn contacts_need_not_be_those_of_the_profile() {
    let rules = ["email IS NULL", "email CONTAINS 'e'", "NOT email CONTAINS 'e'", "NOT segment('a')"];
    let ids = ["a", "b", "c", "d"];
    let rules = rules.map(|query| rule(query, &ids));
    let members: Vec<Member<'_>> = ids.iter().zip(&rules).map(|(id, rule)| Member { id, rule, goal: None }).collect();
    let shared = shared(&members, scope("UTC", "2026-11-19"), &Tables::of_the_night()).unwrap();
    let (profile, contacts) = (shop::profile(), shop::contacts());
    let customers: RoaringBitmap = (0..profile.num_rows() as u32).collect();
    let of = async |profile: RecordBatch, contacts: RecordBatch| {
        let session = session(2, 8192);
        session.register_batch("profile", profile).unwrap();
        session.register_batch("contacts", contacts).unwrap();
        evaluate(&session, &shared).await.unwrap().members
    };
    let whole = of(profile.clone(), contacts.clone()).await;
    assert!(!whole["b"].is_empty());
    // One more customer loses the contacts, then the last one's contacts their customer.
    let numbers = contacts.column_by_name("customer_no").unwrap().as_primitive::<Int64Type>();
    let lost = numbers.value(numbers.len() - 1) as u32;
    let without = of(profile.clone(), contacts.slice(0, contacts.num_rows() - 1)).await;
    assert!(without["a"].contains(lost) && !without["b"].contains(lost) && without["c"].contains(lost));
    let fewer = of(profile.slice(0, profile.num_rows() - 1), contacts).await;
    let but = |set: &RoaringBitmap, customer: u32| set - RoaringBitmap::from([customer]);
    for id in ids {
        assert_eq!(but(&without[id], lost), but(&whole[id], lost), "{id}");
        assert_eq!(fewer[id], but(&whole[id], customers.max().unwrap()), "{id}");
    }
    assert_eq!(without["d"], &customers - &without["a"]);
}

#[tokio::test]
async fn no_segments_are_no_work() {
    let shared = shared(&[], scope("UTC", "2026-11-19"), &Tables::of_the_night()).unwrap();
    assert_eq!(evaluate(&session(1, 1), &shared).await.unwrap(), Memberships::default());
}

#[tokio::test]
async fn a_customer_number_that_is_none_is_an_error() {
    let batch = shop::profile();
    let numbers: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 3, 4, 5, 1 << 33]));
    let mut columns = batch.columns().to_vec();
    columns[0] = numbers;
    let session = session(1, 8192);
    session.register_batch("profile", RecordBatch::try_new(batch.schema(), columns).unwrap()).unwrap();
    session.register_batch("contacts", shop::contacts()).unwrap();
    assert_eq!(evaluate(&session, &statement()).await.unwrap_err().code(), "segment.customer_number");
}

#[tokio::test]
async fn rows_of_nobody_count_for_nobody() {
    let expected = evaluate(&shop::session(), &statement()).await.unwrap();
    let session = session(2, 3);
    for (name, batch) in shop::tables() {
        let mut parts = vec![vec![batch.clone()]];
        for nobody in [-1, -2].into_iter().filter(|_| name == "events_owned") {
            let numbers: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![nobody; batch.num_rows()]));
            let mut columns = batch.columns().to_vec();
            columns[0] = numbers;
            parts.push(vec![RecordBatch::try_new(batch.schema(), columns).unwrap()]);
        }
        session.register_table(name, Arc::new(MemTable::try_new(batch.schema(), parts).unwrap())).unwrap();
    }
    assert_eq!(evaluate(&session, &statement()).await.unwrap(), expected);
}

/// A hundred calls that differ in their days and thresholds are one picker, and a count that many customers have is an
/// array; both give what each call gives by itself.
#[tokio::test]
async fn calls_that_share_a_picker_are_answered_as_if_alone() {
    let session = session(2, 1000);
    let customers = 30_002_u32;
    let days_of = |no: u32| (0..no % 7).map(move |nth| i64::from((no * 31 + nth * 17) % 90));
    let rows: Vec<(i64, i64)> =
        (0..customers).flat_map(|no| days_of(no).map(move |day| (i64::from(no), day))).collect();
    let day = 86_400_000_000_i64;
    let first = chrono::NaiveDate::from_ymd_opt(2026, 8, 22).unwrap().and_time(chrono::NaiveTime::MIN).and_utc();
    let at = |days: i64| first.timestamp_micros() + days * day;
    let times: arrow::array::TimestampMicrosecondArray = rows.iter().map(|(_, days)| Some(at(*days))).collect();
    let batch = RecordBatch::try_from_iter([
        ("customer_no", Arc::new(rows.iter().map(|(no, _)| *no).collect::<Int64Array>()) as arrow::array::ArrayRef),
        ("occurred_at", Arc::new(times.with_timezone("UTC"))),
        ("type", Arc::new(arrow::array::StringArray::from(vec!["page_viewed"; rows.len()]))),
    ])
    .unwrap();
    let parts: Vec<Vec<RecordBatch>> =
        (0..2).map(|part| vec![batch.slice(part * rows.len() / 2, rows.len() / 2)]).collect();
    assert_eq!(rows.len() % 2, 0);
    session.register_table("events_owned", Arc::new(MemTable::try_new(batch.schema(), parts).unwrap())).unwrap();
    let profile = RecordBatch::try_from_iter([(
        "customer_no",
        Arc::new((0..i64::from(customers)).collect::<Int64Array>()) as arrow::array::ArrayRef,
    )])
    .unwrap();
    session.register_batch("profile", profile).unwrap();
    let mut queries = Vec::new();
    for (number, days) in [1, 7, 30, 60, 89].into_iter().enumerate() {
        for count in [1, 2, 3, 5] {
            let op = [">=", "=", "<="][number % 3];
            queries.push((
                days,
                op,
                count,
                format!("storefront.page_viewed MATCHES (date >= -{days}d, count {op} {count})"),
            ));
        }
    }
    let rules: Vec<crate::segments::check::Rule> = queries.iter().map(|query| rule(&query.3, &[])).collect();
    let ids: Vec<String> = (0..rules.len()).map(|number| format!("s{number}")).collect();
    let members: Vec<Member<'_>> = ids.iter().zip(&rules).map(|(id, rule)| Member { id, rule, goal: None }).collect();
    let shared = shared(&members, scope("UTC", "2026-11-19"), &Tables::of_the_night()).unwrap();
    assert_eq!((shared.passes.len(), shared.passes[0].program.pickers.len()), (1, 1));
    let found = evaluate(&session, &shared).await.unwrap();
    for ((days, op, count, query), id) in queries.iter().zip(&ids) {
        let expected = (0..customers).filter(|no| {
            // 2026-11-19 is 89 days after the first.
            let own = days_of(*no).filter(|day| *day >= 89 - days).count();
            match *op {
                ">=" => own >= *count,
                "=" => own == *count,
                _ => own <= *count,
            }
        });
        let expected: RoaringBitmap = expected.collect();
        assert_eq!(found.members[id], expected, "{query}");
    }
}
