use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use datafusion::prelude::{ParquetReadOptions, SessionConfig};
use datafusion_proto::bytes::{
    logical_plan_from_bytes, logical_plan_to_bytes, physical_plan_from_bytes, physical_plan_to_bytes,
};

use super::*;
use crate::segments::compile::{Member, Tables, shared};
use crate::segments::shop::{self, rule, scope};

const QUERIES: [(&str, &str); 8] = [
    ("vip", "amount_spent > 5000 AND tags NOT CONTAINS 'x'"),
    ("contact", "email CONTAINS 'example' OR NOT segment('vip')"),
    ("anniversary", "anniversary('last_order_date') BETWEEN -300d AND today AND NOT country IN ('US', 'SE')"),
    ("city", "customer_cities CONTAINS 'US-CA-LosAngeles' OR city STARTS WITH 'K'"),
    ("days", "last_order_date NOT BETWEEN -30d AND today AND number_of_orders BETWEEN 1 AND 100"),
    ("floats", "p_alive IN (0.5, 1) OR points > 1.2345"),
    ("layers", "segment('contact') AND NOT segment('city') AND vip IS NOT NULL"),
    ("nobody", "number_of_orders > 1000000"),
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
    let (profile, contacts) = (shop::profile(), shop::contacts());
    for (partitions, batch_size) in [(1, 1), (3, 2), (7, 8192)] {
        let session = session(partitions, batch_size);
        // The rows dealt out over the partitions, last first.
        let mut dealt: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions];
        for row in (0..profile.num_rows()).rev() {
            dealt[row % partitions].push(profile.slice(row, 1));
        }
        session.register_table("profile", Arc::new(MemTable::try_new(profile.schema(), dealt).unwrap())).unwrap();
        session.register_batch("contacts", contacts.clone()).unwrap();
        assert_eq!(evaluate(&session, &statement()).await.unwrap(), expected, "{partitions} of {batch_size}");
    }
}

#[tokio::test]
async fn plans_survive_their_wire_format() {
    let folder = tempfile::tempdir().unwrap();
    for (name, batch) in [("profile", shop::profile()), ("contacts", shop::contacts())] {
        let file = std::fs::File::create(folder.path().join(format!("{name}.parquet"))).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    let session = session(2, 8192);
    for name in ["profile", "contacts"] {
        let path = folder.path().join(format!("{name}.parquet"));
        session.register_parquet(name, path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    }
    let shared = statement();
    assert_eq!(evaluate(&session, &shared).await.unwrap(), evaluate(&shop::session(), &shared).await.unwrap());
    let frame = plan(&session, &shared).await.unwrap();
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
    let plan = plan(&shop::session(), &shared).await.unwrap().into_optimized_plan().unwrap();
    let shown = plan.display_indent().to_string();
    assert!(shown.contains("projection=[customer_no, number_of_orders, tags]"), "{shown}");
    assert!(!shown.contains("contacts"), "{shown}");
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
