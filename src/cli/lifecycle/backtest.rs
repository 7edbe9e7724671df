//! `alluvial lifecycle backtest`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::catalog::TableProvider;
use serde_json::json;

use super::super::Outcome;
use super::super::opened::{Call, Opened};
use super::super::output::{Format, List, Output};
use super::super::rows::{Cell, Rows};
use crate::calendar::{Zone, add_days};
use crate::config::{LifecycleSettings, Settings};
use crate::engine::{Engine, Limits, Statement};
use crate::error::{Error, Kind, Result};
use crate::lifecycle::backtest::orders::OrderLog;
use crate::lifecycle::backtest::{Backtest, backtest};
use crate::lifecycle::statements::built_in;
use crate::lifecycle::{fit, functions};
use crate::snapshot::reading::Reading;

/// What `alluvial lifecycle backtest` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Days after the as-of date in which outcomes are looked for
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub holdout: u32,
    /// The last day that the model sees [default: the newest for which the holdout is over]
    #[arg(long, value_name = "DATE", value_parser = super::super::arguments::date)]
    pub as_of: Option<NaiveDate>,
    /// Any log of orders instead of the project's: Parquet, CSV or JSON Lines with customer_id, ordered_at, amount
    #[arg(long, value_name = "FILE")]
    pub orders: Option<PathBuf>,
    /// Write a chart of calibration and stages, as SVG
    #[arg(long, value_name = "FILE")]
    pub chart: Option<PathBuf>,
}

/// Runs a back-test and prints it.
///
/// # Errors
/// Those of the project (none is needed with `--orders`), of the file, and of the back-test.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    let found = match &args.orders {
        Some(path) => of_file(args, path, call, output)?,
        None => call.run(output, async |settings, _| of_project(args, settings, call).await)?,
    };
    if let Some(path) = &args.chart {
        let path = call.environment.folder().join(path);
        std::fs::write(&path, found.svg()?).map_err(|error| Error::from(error).in_file(path.display().to_string()))?;
    }
    print(&found, output)?;
    Ok(Outcome::Done)
}

/// Over the orders of the newest published day.
async fn of_project(args: &Args, settings: Settings, call: &Call<'_>) -> Result<Backtest> {
    let opened = Opened::new(settings, call.environment, false).await?;
    let engine = &opened.project.engine;
    let reading = Box::pin(Reading::open(&opened.project)).await?;
    let newest = reading.day(None)?.as_of;
    let texts = |statement: &Statement| engine.text(statement);
    let settings = &opened.project.settings.lifecycle;
    let days = fit::order_days(&reading.session, settings, &texts).await?;
    engine.materialize(&reading.session, "order_days", days, false).await?;
    let order_days = reading.session.table_provider("order_days").await?;
    let as_of = as_of(args, newest)?;
    Box::pin(backtest(engine, &order_days, as_of, args.holdout, settings, &texts)).await
}

/// Over any file: by the settings of the project, where there is one.
fn of_file(args: &Args, path: &Path, call: &Call<'_>, output: &mut Output<'_>) -> Result<Backtest> {
    let settings = match super::super::settings(call.globals, call.environment, output) {
        Ok(settings) => Some(settings),
        Err(error) if error.kind() == Kind::NotFound && call.globals.project.is_none() => None,
        Err(error) => return Err(error),
    };
    let (zone, lifecycle, limits, overrides) = match &settings {
        Some(settings) => (
            settings.project.zone,
            settings.lifecycle.clone(),
            Limits { memory: settings.engine.memory_limit, threads: settings.engine.threads, spill: None },
            Some(settings.root.join("sql")),
        ),
        None => {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            (Zone::UTC, LifecycleSettings::default(), Limits { memory: 2 << 30, threads, spill: None }, None)
        }
    };
    let log = OrderLog::read(&call.environment.folder().join(path), zone)?;
    let last = log.last_day().ok_or_else(|| Error::internal("backtest.orders", "a log without a last day"))?;
    let as_of = as_of(args, last)?;
    let order_days: Arc<dyn TableProvider> = log.table()?;
    let engine = Engine::new(limits, functions(), overrides)?;
    let own = |statement: &Statement| engine.text(statement);
    let texts: crate::lifecycle::statements::Texts<'_> = if settings.is_some() { &own } else { &built_in };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(engine.limits().threads)
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(Kind::Resources, "cli.runtime", "no threads could be started").with_source(error)
        })?;
    runtime.block_on(Box::pin(backtest(&engine, &order_days, as_of, args.holdout, &lifecycle, texts)))
}

/// The day that was asked for, or the newest for which the holdout is over by `newest`.
fn as_of(args: &Args, newest: NaiveDate) -> Result<NaiveDate> {
    let latest = add_days(newest, -i64::from(args.holdout)).unwrap_or(NaiveDate::MIN);
    let as_of = args.as_of.unwrap_or(latest);
    if as_of > latest {
        let message = format!("{} days after {as_of} are not over: the data ends on {newest}", args.holdout);
        return Err(Error::input("backtest.not_over", message)
            .with_hint(format!("take `--as-of {latest}` or an earlier day, or a shorter `--holdout`")));
    }
    Ok(as_of)
}

fn float(value: Option<f64>, digits: i32) -> Cell {
    let scale = 10_f64.powi(digits);
    Cell::maybe(value, |value| Cell::Float((value * scale).round() / scale))
}

/// Prints a back-test: tables, one JSON object, or the predictions as CSV.
///
/// # Errors
/// As [`Output::lists`].
pub fn print(found: &Backtest, output: &mut Output<'_>) -> Result<()> {
    if output.format() == Format::Json {
        let text = serde_json::to_string_pretty(found)
            .map_err(|error| Error::internal("backtest.json", error.to_string()).with_source(error))?;
        return output.line(&text);
    }
    let mut predictions =
        Rows::new(&["prediction", "#auc", "#brier", "#calibration_error", "#slope", "#lift", "#revenue_of_top_tenth"]);
    for prediction in &found.predictions {
        let scores = &prediction.scores;
        predictions.push(vec![
            Cell::text(&prediction.name),
            float(scores.auc, 4),
            float(Some(scores.brier), 4),
            float(Some(scores.calibration_error), 4),
            float(scores.calibration_slope, 2),
            float(scores.lift, 2),
            float(scores.revenue_share, 3),
        ]);
    }
    let mut stages = Rows::new(&["stage", "#customers", "#share", "#ordered", "#mean_spend", "#share_of_revenue"]);
    for stage in &found.stages {
        stages.push(vec![
            Cell::text(&stage.stage),
            Cell::count(stage.customers),
            float(Some(stage.share), 4),
            float(stage.repurchase_rate, 4),
            float(stage.mean_spend, 2),
            float(stage.share_of_revenue, 4),
        ]);
    }
    let mut totals = Rows::new(&["total", "#expected", "#actual", "#actual/expected"]);
    for (name, expected, actual) in [
        ("buyers who ordered", found.totals.expected_buyers, found.totals.actual_buyers),
        ("order days", found.totals.expected_orders, found.totals.actual_orders),
        ("spend", found.totals.expected_spend, found.totals.actual_spend),
    ] {
        let ratio = (expected > 0.0).then(|| actual / expected);
        totals.push(vec![Cell::text(name), float(Some(expected), 1), float(Some(actual), 1), float(ratio, 3)]);
    }
    let mut information = Rows::new(&["grouping", "#groups", "#nats"]);
    for row in &found.information {
        information.push(vec![Cell::text(&row.grouping), Cell::count(row.groups as u64), float(Some(row.nats), 4)]);
    }
    let facts = [("as_of", json!(found.as_of.to_string()))];
    output.lists(
        &facts,
        vec![
            List { key: "predictions", heading: heading(found), rows: predictions },
            List {
                key: "stages",
                heading: "stages, and what their buyers did in the holdout".to_owned(),
                rows: stages,
            },
            List { key: "totals", heading: "all buyers".to_owned(), rows: totals },
            List {
                key: "information",
                heading: "how much groupings tell of who orders (mutual information)".to_owned(),
                rows: information,
            },
        ],
    )?;
    if output.format() == Format::Table {
        output.line("")?;
        output.line(&super::terminal::calibration(&found.calibration))?;
        output.line("")?;
        output.line(&super::terminal::stages(&found.stages))?;
        output.line("")?;
        for said in found.verdict.iter().chain(&audit(found)) {
            output.line(said)?;
        }
    }
    Ok(())
}

fn heading(found: &Backtest) -> String {
    let model = &found.model;
    let mut text = String::new();
    if found.history_days < 180 {
        text = format!("{} days of history: stages are provisional below 180\n", found.history_days);
    }
    text.push_str(&format!(
        "{} buyers as of {}, {} of whom ordered in the {} days to {}\n",
        found.buyers, found.as_of, found.ordered, found.holdout_days, found.until
    ));
    text.push_str(&format!(
        "MBG/NBD, tier {}: r {:.4}, alpha {:.2} days, a {:.4}, b {:.4}; dropout {}identified\n",
        model.tier,
        model.r,
        model.alpha,
        model.a,
        model.b,
        if model.dropout_identified { "" } else { "not " }
    ));
    text
}

fn audit(found: &Backtest) -> Option<String> {
    let audit = found.audit.as_ref()?;
    Some(format!(
        "audit of churned: of {} as of {} {} have ordered since{}",
        audit.churned,
        audit.seen_on,
        audit.churned_who_ordered,
        if audit.label_suspended { ", more than a fifth: the label is not given" } else { "" }
    ))
}
