//! Order lines whose order the day does not have: it comes later, was rejected, or was not landed. Such lines are left out,
//! since the order may be on its way; they are faulty once an order that was not landed is late.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::prelude::SessionContext;

use super::shape::{Shape, instant_literal, path_of};
use super::survey::KEPT_REJECTS;
use super::{Landed, LineCounts, Options, Reject};
use crate::calendar::add_days;
use crate::engine::statement::{Params, plan_text};
use crate::error::Result;
use crate::schema::landed::Table;

const RULE: &str = "order_not_landed";
const COLUMN: &str = "order_id";

/// Counts the settled lines by what is known of their order, and rejects those that wait longer than `lookback_days`. A
/// line without a version time has no age.
pub(super) async fn settle(
    session: &SessionContext,
    lines: &Shape,
    options: &Options,
    landed: &mut Landed,
) -> Result<()> {
    if lines.rows == 0 {
        return Ok(());
    }
    let latest = add_days(options.as_of, -i64::from(options.lookback_days)).unwrap_or(options.as_of);
    let late = instant_literal(options.zone.cutoff(latest).timestamp_micros());
    let sql = format!(
        "SELECT count(*) FILTER (WHERE k.state = 'visible'), count(*) FILTER (WHERE k.state = 'later'), \
                count(*) FILTER (WHERE k.state = 'rejected'), count(*) FILTER (WHERE k.state IS NULL), \
                count(*) FILTER (WHERE k.state IS NULL AND i._version < {late}) \
         FROM known_orders k RIGHT JOIN landed_order_items i ON k.order_id = i.order_id"
    );
    let [visible, later, rejected, waiting, overdue] = counts(session, &sql).await?;
    landed.lines = LineCounts { visible, later, rejected, waiting: waiting.saturating_sub(overdue) };
    if overdue > 0 {
        reject(session, lines, &late, options, landed).await?;
    }
    Ok(())
}

/// Every landed row of the overdue lines, all versions of them.
async fn reject(
    session: &SessionContext,
    lines: &Shape,
    late: &str,
    options: &Options,
    landed: &mut Landed,
) -> Result<()> {
    let rows = format!(
        "FROM known_orders k RIGHT ANTI JOIN ({}) n ON k.order_id = n.order_id WHERE n._fault IS NULL AND n._version < {late}",
        lines.numbered_sql(options)
    );
    let [count] = counts(session, &format!("SELECT count(*) {rows}")).await?;
    let summary = landed.tables.entry(Table::OrderItems).or_default();
    summary.faults.insert((RULE.to_owned(), COLUMN.to_owned()), count);
    let first = format!("SELECT n._file, n._row, n.order_id {rows} ORDER BY n._file, n._row LIMIT {KEPT_REJECTS}");
    for batch in plan_text(session, &first, &Params::new()).await?.collect().await? {
        let (file, row) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int64Type>());
        let order = arrow::compute::cast(batch.column(2), &DataType::Utf8)?;
        let order = order.as_string::<i32>();
        for place in 0..batch.num_rows() {
            let id = order.is_valid(place).then(|| order.value(place).to_owned());
            landed.rejects.push(Reject {
                table: Table::OrderItems.name(),
                file: path_of(lines, file.value(place))?.to_owned(),
                row: row.value(place),
                key: id.clone(),
                column: COLUMN.to_owned(),
                rule: RULE.to_owned(),
                value: id,
            });
        }
    }
    Ok(())
}

/// The one row of a query of counts.
async fn counts<const N: usize>(session: &SessionContext, sql: &str) -> Result<[u64; N]> {
    let mut found = [0; N];
    for batch in plan_text(session, sql, &Params::new()).await?.collect().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        for (place, column) in found.iter_mut().zip(batch.columns()) {
            *place = u64::try_from(column.as_primitive::<Int64Type>().value(0)).unwrap_or(0);
        }
    }
    Ok(found)
}
