//! What the profile's plans promise: they can be sent elsewhere, spill what they hold, and give one answer.

use std::sync::Arc;

use alluvial::calendar::parse_date;
use alluvial::engine::Params;
use alluvial::engine::statement::plan_text;
use alluvial::profile::STATEMENTS;
use arrow::array::RecordBatch;
use arrow::datatypes::Date32Type;
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::{collect, displayable};
use datafusion::scalar::ScalarValue;
use datafusion_proto::bytes::{physical_plan_from_bytes, physical_plan_to_bytes};

use crate::random::random;
use crate::shop::{Day, Shop};

const ZONE: &str = "Europe/Copenhagen";
const DAY: &str = "2026-11-08";

fn params(shop: &Shop) -> Params {
    let as_of = parse_date(DAY).unwrap();
    let instant = |day: &str| {
        let at = shop.zone.cutoff(parse_date(day).unwrap()).timestamp_micros();
        ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into()))
    };
    Params::new()
        .with("cutoff", instant(DAY))
        .with("window_start", instant("2026-08-10"))
        .with("first_landed", instant("2026-10-19"))
        .with("as_of", ScalarValue::Date32(Some(Date32Type::from_naive_date(as_of))))
        .with("zone", ZONE)
        .with("currency", "EUR")
        .with("counted", ",paid,refunded,partially_refunded,")
        .with("buyers", 9_i64)
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Encodes and decodes every statement's plan over the landed tables, and compares what both give.
async fn every_statement(shop: &Shop, day: &Day) {
    let task = day.session.task_ctx();
    for statement in STATEMENTS {
        let text = day.engine.text(statement).unwrap().replace("/*renewals*/", "AND NOT coalesce(recurring, false)");
        let plan = plan_text(&day.session, &text, &params(shop)).await.unwrap().create_physical_plan().await.unwrap();
        let shown = displayable(plan.as_ref()).indent(false).to_string();
        let bytes = physical_plan_to_bytes(Arc::clone(&plan));
        let bytes = bytes.unwrap_or_else(|error| panic!("{} cannot be sent: {error}\n{shown}", statement.name));
        let sent = physical_plan_from_bytes(&bytes, &task);
        let sent = sent.unwrap_or_else(|error| panic!("{} cannot be read again: {error}\n{shown}", statement.name));
        assert_eq!(
            lines(&collect(sent, Arc::clone(&task)).await.unwrap()),
            lines(&collect(plan, Arc::clone(&task)).await.unwrap()),
            "{}",
            statement.name
        );
        // Neither the window operator that is not the bounded one nor a join of everything with everything spills.
        for operator in ["WindowAggExec", "CrossJoinExec", "NestedLoopJoinExec"] {
            let found = shown.lines().any(|line| line.trim_start().starts_with(operator));
            assert!(!found, "{} has a {operator}:\n{shown}", statement.name);
        }
    }
}

/// Decoding recurses through every expression, which a build without optimisation does not fit into a test's 2 MiB.
#[test]
fn every_plan_of_the_profile_survives_encoding() {
    let with_room = std::thread::Builder::new().stack_size(16 << 20).spawn(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_stack_size(16 << 20).enable_all().build().unwrap();
        runtime.block_on(async {
            let shop = Shop::new(ZONE);
            random(1).land(&shop);
            let day = shop.day(DAY).await;
            assert!(day.landed.foreign_money && day.landed.table(alluvial::schema::landed::Table::Orders).repeated > 0);
            every_statement(&shop, &day).await;
        });
    });
    with_room.unwrap().join().unwrap();
}

async fn everything(day: &Day) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for sql in [
        "SELECT * FROM profile",
        "SELECT * FROM contacts ORDER BY customer_id",
        "SELECT * FROM buyers ORDER BY customer_id",
        "SELECT * FROM orders ORDER BY order_id",
        "SELECT * FROM order_items ORDER BY order_id, line",
    ] {
        all.push(day.rows(sql).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_depends_on_neither_threads_nor_files() {
    let mut shop = Shop::new(ZONE);
    random(7).settled().land(&shop);
    let one = everything(&shop.day(DAY).await).await;
    assert!(one.iter().all(|rows| rows.len() > 5), "{one:?}");
    for (threads, seed) in [(1, 11), (4, 12), (2, 13)] {
        let mut other = Shop::new(ZONE);
        other.threads = threads;
        random(7).settled().shuffled(seed).land(&other);
        assert_eq!(everything(&other.day(DAY).await).await, one, "{threads} threads, shuffled by {seed}");
    }
    // And of one input on any number of threads, where ties are to be settled too.
    random(8).land(&shop);
    let one = everything(&shop.day(DAY).await).await;
    for threads in [1, 4] {
        shop.threads = threads;
        assert_eq!(everything(&shop.day(DAY).await).await, one, "{threads} threads");
    }
}
