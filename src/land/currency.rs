//! Money of other currencies: the rate of an order's local day is the latest at or before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Date32Array, Decimal128Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use super::shape::Shape;
use super::{Landed, Options};
use crate::engine::Engine;
use crate::engine::statement::{Params, literal, plan_text};
use crate::error::{Error, Result};
use crate::schema::landed::Table;

/// Decimals of a rate.
const SCALE: i8 = 8;

/// Looks at the currencies of the landed orders. Where there are others than the shop's, gives the session
/// `rates_daily` (day, currency, rate: one row for every day from the first rate to the as-of date), and marks the orders
/// to be checked against it.
///
/// # Errors
/// `land.no_rates` where several currencies were landed and no rates at all.
pub(super) async fn prepare(
    engine: &Engine,
    session: &SessionContext,
    orders: &mut Shape,
    options: &Options,
    landed: &mut Landed,
) -> Result<()> {
    let foreign = foreign_currencies(session, orders, options).await?;
    if foreign.is_empty() {
        return Ok(());
    }
    if !landed.has(Table::Rates) {
        let shop = &options.currency;
        return Err(Error::input(
            "land.no_rates",
            format!("orders are in {} besides the shop's {shop}, and no rates were landed", foreign.join(", ")),
        )
        .with_hint(format!(
            "land `rates` (date, currency, rate: {shop} for one unit), or set `[project] currency` if {shop} is not the shop's"
        )));
    }
    let daily = daily_rates(session, options).await?;
    let frame = session.read_table(Arc::new(daily))?;
    engine.materialize(session, "rates_daily", frame, true).await?;
    orders.rated = true;
    landed.foreign_money = true;
    Ok(())
}

async fn foreign_currencies(session: &SessionContext, orders: &Shape, options: &Options) -> Result<Vec<String>> {
    let mut found = std::collections::BTreeSet::new();
    for group in &orders.groups {
        let Some(column) = group.columns.iter().find(|column| column.name == "currency" && column.source.is_some())
        else {
            continue;
        };
        let sql = format!(
            "SELECT DISTINCT upper(c) AS c FROM (SELECT {} AS c FROM {}) WHERE c IS NOT NULL AND upper(c) <> {} ORDER BY c LIMIT 20",
            column.sql,
            group.raw,
            literal(&options.currency.to_uppercase())
        );
        for batch in plan_text(session, &sql, &Params::new()).await?.collect().await? {
            let values = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
            found.extend(values.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    Ok(found.into_iter().collect())
}

/// Days before the as-of date for which rates are filled in: no shop's first order is older than a century.
const LONGEST_PAST: i32 = 36_525;

/// The landed rates, filled forward to every day up to the as-of date. Of two rates of one day and currency the last
/// landed row counts; what rates say of the shop's own currency does not.
async fn daily_rates(session: &SessionContext, options: &Options) -> Result<MemTable> {
    let sql =
        "SELECT upper(currency) AS currency, date, rate FROM landed_rates ORDER BY upper(currency), date, _file, _row";
    let mut rates: BTreeMap<String, BTreeMap<i32, i128>> = BTreeMap::new();
    for batch in plan_text(session, sql, &Params::new()).await?.collect().await? {
        let currency = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let currency = currency.as_string::<i32>();
        let day = batch.column(1).as_primitive::<Date32Type>();
        let rate = batch.column(2).as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let own = currency.is_valid(row) && currency.value(row) == options.currency.to_uppercase();
            if currency.is_valid(row) && !own && day.is_valid(row) && rate.is_valid(row) {
                rates.entry(currency.value(row).to_owned()).or_default().insert(day.value(row), rate.value(row));
            }
        }
    }
    let last = Date32Type::from_naive_date(options.as_of);
    let mut days = Vec::new();
    let mut names = Vec::new();
    let mut values = Vec::new();
    for (currency, known) in &rates {
        let Some(first) = known.keys().next() else { continue };
        let first = (*first).max(last.saturating_sub(LONGEST_PAST));
        let mut current = known.range(..first).next_back().map_or(0, |(_, rate)| *rate);
        for day in first..=last {
            current = known.get(&day).copied().unwrap_or(current);
            days.push(day);
            names.push(currency.as_str());
            values.push(current);
        }
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("day", DataType::Date32, false),
        Field::new("currency", DataType::Utf8, false),
        Field::new("rate", DataType::Decimal128(18, SCALE), false),
    ]));
    let batch = arrow::array::RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Date32Array::from(days)),
            Arc::new(StringArray::from(names)),
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(18, SCALE)?),
        ],
    )?;
    Ok(MemTable::try_new(schema, vec![vec![batch]])?)
}
