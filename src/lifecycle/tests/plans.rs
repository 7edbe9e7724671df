//! The plans themselves: they can be sent elsewhere, and hold nothing whole in memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{DataFrame, ParquetReadOptions};
use datafusion_proto::bytes::{
    logical_plan_from_bytes, logical_plan_to_bytes, physical_plan_from_bytes, physical_plan_to_bytes,
};

use super::shop::{Shop, buyer, day, session};
use crate::config::LifecycleSettings;
use crate::engine::Params;
use crate::lifecycle::report::sizes;
use crate::lifecycle::score::transitions;
use crate::lifecycle::statements::{CANDIDATES, POPULATION, SPEND_CUT, Texts, VALUE_CUTS, built_in, plan};
use crate::lifecycle::{Classifier, score};

/// Writes a table to a Parquet file and registers the file.
async fn landed(ctx: &SessionContext, folder: &std::path::Path, name: &str, rows: &RecordBatch) {
    let path = folder.join(format!("{name}.parquet"));
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    ctx.register_parquet(name, path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
}

/// Encodes and decodes the plan, logical and physical, and compares the results.
async fn round_trip(ctx: &SessionContext, query: DataFrame) {
    let wanted = query.clone().collect().await.unwrap();
    let logical = query.clone().into_optimized_plan().unwrap();
    let physical = query.create_physical_plan().await.unwrap();

    let bytes = logical_plan_to_bytes(&logical).unwrap();
    let decoded = logical_plan_from_bytes(&bytes, &ctx.task_ctx()).unwrap();
    let again = ctx.execute_logical_plan(decoded).await.unwrap().collect().await.unwrap();
    assert_eq!(text(&again), text(&wanted));

    let bytes = physical_plan_to_bytes(Arc::clone(&physical)).unwrap();
    let decoded = physical_plan_from_bytes(&bytes, &ctx.task_ctx()).unwrap();
    let again = datafusion::physical_plan::collect(decoded, ctx.task_ctx()).await.unwrap();
    assert_eq!(text(&again), text(&wanted));

    // The window operator that is not the bounded one, and a join of everything with everything, don't spill.
    let plan = displayable(physical.as_ref()).indent(false).to_string();
    assert!(!plan.contains(" WindowAggExec") && !plan.starts_with("WindowAggExec"), "{plan}");
    assert!(!plan.contains("CrossJoinExec") && !plan.contains("NestedLoopJoinExec"), "{plan}");
}

fn text(batches: &[RecordBatch]) -> String {
    arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string()
}

/// Decoding recurses through every expression, which a build without optimisation does not fit into a test's 2 MiB.
#[test]
fn every_plan_over_parquet_survives_encoding() {
    let with_room = std::thread::Builder::new().stack_size(16 << 20).spawn(|| {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(every_plan());
    });
    with_room.unwrap().join().unwrap();
}

async fn every_plan() {
    let mut shop = Shop::of((0..40).map(|n| buyer(&format!("c{n:02}"), 1 + n % 4, 20 * n + 5, 9 * n, 700)).collect());
    shop.prospects = vec!["visitor".to_owned()];
    let before = day(&shop, None).await;
    let shop = shop.later(3);
    let folder = tempfile::tempdir().unwrap();
    let ctx = session();
    landed(&ctx, folder.path(), "profile", &shop.profile()).await;
    landed(&ctx, folder.path(), "buyers", &shop.buyers()).await;
    landed(&ctx, folder.path(), "previous_lifecycle", &before.rows).await;

    let texts: Texts<'_> = &built_in;
    let settings = LifecycleSettings::default();
    let scored = score(&ctx, shop.as_of, &settings, &Classifier::benchmark(), texts).await.unwrap();
    let today = day(&shop, Some(&before)).await;
    landed(&ctx, folder.path(), "lifecycle_today", &today.rows).await;
    assert_eq!(text(&scored.rows.clone().collect().await.unwrap()), text(&[today.rows]));
    let scores = ctx.table("lifecycle_scores").await.unwrap().sort_by(vec![datafusion::prelude::col("customer_id")]);
    let positions = Params::new()
        .with("buyers", 40i64)
        .with("value_position", 3i64)
        .with("top_value_position", 31i64)
        .with("top_spend_position", 31i64);
    for query in [
        scored.rows,
        scores.unwrap(),
        plan(&ctx, POPULATION, &positions, texts).await.unwrap(),
        plan(&ctx, CANDIDATES, &positions, texts).await.unwrap(),
        plan(&ctx, VALUE_CUTS, &positions, texts).await.unwrap(),
        plan(&ctx, SPEND_CUT, &positions, texts).await.unwrap(),
        transitions(&ctx, texts).await.unwrap(),
        sizes(&ctx, texts).await.unwrap(),
    ] {
        round_trip(&ctx, query).await;
    }
}
