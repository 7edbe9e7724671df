//! The clean tables that the profile reads: `landed_<name>`, one winning version a thing, nothing faulty and nothing
//! that is invisible at the cutoff.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::places::{self, Place};
use super::read::country_code;
use super::shape::{Shape, instant_literal};
use super::survey::{self, Survey};
use super::{Landed, Options};
use crate::engine::statement::{Params, identifier, literal, plan_text};
use crate::engine::{Engine, Materialized};
use crate::error::Result;
use crate::schema::landed::{Reading, Table, instant_type};

/// Surveys a table and registers `landed_<name>`.
pub(super) async fn settle(
    engine: &Engine,
    session: &SessionContext,
    shape: &Shape,
    options: &Options,
    landed: &mut Landed,
) -> Result<()> {
    let name = format!("landed_{}", shape.table.name());
    if shape.groups.is_empty() || shape.rows == 0 {
        return view(session, &name, &shape.empty_sql()).await;
    }
    let began = std::time::Instant::now();
    let survey = survey::survey(engine, session, shape, options).await?;
    tracing::debug!(
        table = shape.table.name(),
        suspects = survey.suspects.len(),
        seconds = began.elapsed().as_secs_f64(),
        "surveyed"
    );
    if let Some(summary) = landed.tables.get_mut(&shape.table) {
        summary.faults.clone_from(&survey.faults);
        summary.repeated = survey.suspects.len() as u64;
    }
    landed.rejects.extend(survey.rejects.iter().cloned());
    let clean = match shape.table.version_key() {
        Some(key) => versions(engine, session, shape, key, &survey, options).await?,
        None if shape.table == Table::OrderItems => line_sets(engine, session, shape, &survey, options).await?,
        None => all_rows(engine, session, shape, &survey, options).await?,
    };
    if shape.table == Table::Orders {
        known_orders(session, shape, &clean, &survey, options).await?;
    }
    // A customer exists from the first order too, which only the profile knows.
    let visible = match shape.table.own_time().filter(|_| shape.table != Table::Customers) {
        Some(time) => format!(
            "SELECT * FROM ({clean}) WHERE {time} < {} OR {time} IS NULL",
            instant_literal(options.cutoff_micros())
        ),
        None => clean,
    };
    let visible = if shape.table == Table::Customers { dumps(visible, shape, options) } else { visible };
    view(session, &name, &visible).await?;
    Ok(())
}

/// What a person should know of the values of the settled customers.
pub(super) async fn doubts(session: &SessionContext, shape: &Shape, landed: &mut Landed) -> Result<()> {
    if shape.groups.is_empty() || shape.rows == 0 {
        return Ok(());
    }
    landed.warnings.extend(unknown_choices(session, shape).await?);
    if landed.table(Table::Customers).present.contains("country") {
        landed.warnings.extend(unknown_countries(session).await?);
    }
    Ok(())
}

/// What is known of every order that was landed, for the sake of its lines: `state` is `visible`, `later` (it comes after the
/// cutoff) or `rejected` (no row of it is without fault).
async fn known_orders(
    session: &SessionContext,
    shape: &Shape,
    clean: &str,
    survey: &Survey,
    options: &Options,
) -> Result<()> {
    let cutoff = instant_literal(options.cutoff_micros());
    let mut sql = format!(
        "SELECT order_id, CASE WHEN ordered_at < {cutoff} THEN 'visible' ELSE 'later' END AS state FROM ({clean})"
    );
    // Faulty rows with an id have it settled.
    if !survey.faulty.is_empty() && !survey.suspects.is_empty() {
        let faulty = places::pick(session, shape, &survey.faulty, "faulty").await?;
        sql = format!(
            "{sql} UNION ALL SELECT f.order_id, 'rejected' FROM \
             (SELECT DISTINCT order_id FROM ({}) WHERE order_id IS NOT NULL) f \
             LEFT ANTI JOIN settled_orders c ON c.order_id = f.order_id",
            faulty.plain_sql(options)
        );
    }
    if options.without_forgotten {
        // The lines of an order that is left out wait for nothing.
        let all = Options { without_forgotten: false, ..options.clone() };
        let gone = super::gone(Table::Orders).unwrap_or("false");
        sql = format!(
            "{sql} UNION ALL SELECT DISTINCT order_id, 'rejected' FROM ({}) WHERE ({gone}) AND order_id IS NOT NULL",
            shape.plain_sql(&all)
        );
    }
    view(session, "known_orders", &sql).await
}

/// Consents that are none of the known ones count as missing, which nobody should have to find out from a segment.
async fn unknown_choices(session: &SessionContext, shape: &Shape) -> Result<Vec<String>> {
    let mut unknown: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for group in &shape.groups {
        let choices: Vec<(&str, String)> = group
            .columns
            .iter()
            .filter(|column| matches!(column.reading, Reading::Choice(_)))
            .filter_map(|column| {
                let text = format!("read_text({})", identifier(column.source.as_ref()?));
                Some((column.name.as_str(), format!("CASE WHEN {} IS NULL THEN {text} END", column.sql)))
            })
            .collect();
        if choices.is_empty() {
            continue;
        }
        let list: Vec<String> = choices.iter().map(|(name, sql)| format!("{sql} AS {name}")).collect();
        let any: Vec<String> = choices.iter().map(|(name, _)| format!("{name} IS NOT NULL")).collect();
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "SELECT DISTINCT {names} FROM (SELECT {} FROM {}) WHERE {} ORDER BY {names} LIMIT 100",
            list.join(", "),
            group.raw,
            any.join(" OR "),
            names = names.join(", ")
        );
        for batch in plan_text(session, &sql, &Params::new()).await?.collect().await? {
            for (name, values) in names.iter().zip(batch.columns()) {
                let values = arrow::compute::cast(values, &DataType::Utf8)?;
                let found = values.as_string::<i32>().iter().flatten().map(str::to_owned);
                unknown.entry(name).or_default().extend(found);
            }
        }
    }
    let table = shape.table.name();
    Ok(unknown
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| {
            format!(
                "`{name}` of {table} has values that it cannot have, and counts as missing there: {}",
                examples(&values)
            )
        })
        .collect())
}

/// The first few of them.
fn examples(values: &BTreeSet<String>) -> String {
    values.iter().take(5).map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}

/// Countries that stay as they were landed, since no table of names knows them.
async fn unknown_countries(session: &SessionContext) -> Result<Option<String>> {
    let sql = "SELECT DISTINCT country FROM landed_customers WHERE country IS NOT NULL";
    let mut unknown = BTreeSet::new();
    for batch in plan_text(session, sql, &Params::new()).await?.collect().await? {
        let names = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let names = names.as_string::<i32>().iter().flatten().filter(|name| country_code(name).is_none());
        unknown.extend(names.map(str::to_owned));
    }
    Ok((!unknown.is_empty()).then(|| {
        let (count, shown) = (unknown.len(), examples(&unknown));
        format!("{count} values of `country` in customers are no country that is known and stay as they are: {shown}")
    }))
}

/// The newest landed day: of the newest `dt=` folder, else of the newest order that is not in the far future.
pub(super) async fn newest_day(
    session: &SessionContext,
    shapes: &BTreeMap<Table, Shape>,
    options: &Options,
) -> Result<Option<NaiveDate>> {
    let folders = shapes.values().filter_map(|shape| shape.newest_folder).max();
    if folders.is_some() {
        return Ok(folders);
    }
    let Some(orders) = shapes.get(&Table::Orders).filter(|shape| !shape.groups.is_empty()) else { return Ok(None) };
    let sql = format!(
        "SELECT max(ordered_at) AS newest FROM ({}) WHERE ordered_at <= {}",
        orders.plain_sql(options),
        instant_literal(options.horizon.timestamp_micros())
    );
    let mut newest = None;
    for batch in plan_text(session, &sql, &Params::new()).await?.collect().await? {
        let at = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        newest = newest.max(at.iter().flatten().max());
    }
    Ok(newest.and_then(DateTime::from_timestamp_micros).map(|at| options.zone.local_date(at)))
}

/// Registers, without rows, what only some shops have, so that statements can name it.
pub(super) async fn register_absent(session: &SessionContext) -> Result<()> {
    let instant = literal(&instant_type().to_string());
    let absent = [
        ("resubscribed", format!("SELECT arrow_cast(NULL, 'Utf8View') AS customer_id, arrow_cast(NULL, {instant}) AS resubscribed_at")),
        ("known_orders", "SELECT arrow_cast(NULL, 'Utf8View') AS order_id, 'visible' AS state".to_owned()),
        ("rates_daily", "SELECT arrow_cast(NULL, 'Date32') AS day, arrow_cast(NULL, 'Utf8View') AS currency, arrow_cast(NULL, 'Decimal128(18, 8)') AS rate".to_owned()),
    ];
    for (name, sql) in absent {
        if !session.table_exist(name)? {
            view(session, name, &format!("SELECT * FROM ({sql}) WHERE false")).await?;
        }
    }
    Ok(())
}

async fn view(session: &SessionContext, name: &str, sql: &str) -> Result<()> {
    let frame = plan_text(session, sql, &Params::new()).await?;
    session.deregister_table(name)?;
    session.register_table(name, frame.into_view())?;
    Ok(())
}

/// Keeps the hashes of what has to be settled as the session's table `suspects_<name>`, with that of missing ids, whose rows
/// are no use either.
async fn keep_suspects(
    engine: &Engine,
    session: &SessionContext,
    table: Table,
    survey: &Survey,
) -> Result<Materialized> {
    let schema = Arc::new(Schema::new(vec![Field::new("h", DataType::UInt64, false)]));
    let hashes: Vec<u64> = survey.null_keys.then_some(0).into_iter().chain(survey.suspects.iter().copied()).collect();
    let batches = hashes
        .chunks(crate::engine::BATCH_ROWS)
        .map(|chunk| {
            let hashes: UInt64Array = chunk.iter().copied().collect();
            arrow::array::RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(hashes)])
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let frame = session.read_table(Arc::new(MemTable::try_new(schema, vec![batches])?))?;
    engine.materialize(session, &format!("suspects_{}", table.name()), frame, true).await
}

/// Tables whose ids are landed in versions: rows of ids landed once are read where they lie, the others are settled.
async fn versions(
    engine: &Engine,
    session: &SessionContext,
    shape: &Shape,
    key: &str,
    survey: &Survey,
    options: &Options,
) -> Result<String> {
    let list = format!("{}, _version, _landed", shape.list());
    let plain = format!("SELECT {list} FROM ({})", shape.plain_sql(options));
    if survey.suspects.is_empty() {
        let guard = if survey.null_keys { format!(" WHERE {key} IS NOT NULL") } else { String::new() };
        return Ok(format!("{plain}{guard}"));
    }
    let table = shape.table.name();
    keep_suspects(engine, session, shape.table, survey).await?;
    let suspected = places::pick(session, shape, &survey.sound(), "suspected").await?;
    let cutoff = instant_literal(options.cutoff_micros());
    // Every one has its id; but a filter is what copies few rows out of the large batches that hold them.
    let winners = format!(
        "SELECT _file, _row FROM (SELECT _file, _row, row_number() OVER (PARTITION BY {key} ORDER BY \
           (_version IS NULL OR _version <= {cutoff}) DESC, \
           CASE WHEN _version <= {cutoff} THEN _version END DESC NULLS LAST, \
           CASE WHEN _version > {cutoff} THEN _version END ASC NULLS LAST, \
           _file DESC, _row DESC) AS _rank \
         FROM ({}) WHERE {key} IS NOT NULL) WHERE _rank = 1",
        suspected.placed_sql(options)
    );
    keep_winners(engine, session, shape, &winners, options).await?;
    if shape.table == Table::Customers {
        let sql = resubscriptions(&suspected, options);
        let frame = plan_text(session, &sql, &Params::new()).await?;
        engine.materialize(session, "resubscribed", frame, false).await?;
    }
    Ok(format!(
        "SELECT {list} FROM (SELECT p.* FROM suspects_{table} s RIGHT ANTI JOIN ({plain}) p ON id_hash(p.{key}) = s.h) \
         UNION ALL SELECT {list} FROM settled_{table}"
    ))
}

/// Keeps the rows at the places that `winners` names as `settled_<name>`. The places are chosen over narrow rows and the
/// rows fetched after: a sort of whole rows would hold every string of the batches that they come from.
async fn keep_winners(
    engine: &Engine,
    session: &SessionContext,
    shape: &Shape,
    winners: &str,
    options: &Options,
) -> Result<()> {
    let mut chosen = Vec::new();
    let mut stream = plan_text(session, winners, &Params::new()).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let (file, row) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int64Type>());
        chosen.extend(file.values().iter().zip(row.values()).map(|(file, row)| Place::new(*file, *row)));
    }
    chosen.sort_unstable();
    let picked = places::pick(session, shape, &chosen, "chosen").await?;
    let sql = format!("SELECT {}, _version, _landed FROM ({})", shape.list(), picked.plain_sql(options));
    let frame = plan_text(session, &sql, &Params::new()).await?;
    engine.materialize(session, &format!("settled_{}", shape.table.name()), frame, false).await?;
    Ok(())
}

/// When a landed version last became `subscribed` from something else: a changed row alone is no opt-in.
fn resubscriptions(suspected: &Shape, options: &Options) -> String {
    let cutoff = instant_literal(options.cutoff_micros());
    let order = "OVER (PARTITION BY customer_id ORDER BY _version, _file, _row)";
    format!(
        "SELECT customer_id, max(_version) AS resubscribed_at FROM (\
           SELECT customer_id, _version, email_consent, lag(email_consent) {order} AS before, row_number() {order} AS place \
           FROM ({}) WHERE customer_id IS NOT NULL AND _version <= {cutoff}) \
         WHERE place > 1 AND email_consent = 'subscribed' AND before IS DISTINCT FROM 'subscribed' GROUP BY customer_id",
        suspected.placed_sql(options)
    )
}

/// The lines of an order are a set: those of its newest version time at or before the cutoff.
async fn line_sets(
    engine: &Engine,
    session: &SessionContext,
    shape: &Shape,
    survey: &Survey,
    options: &Options,
) -> Result<String> {
    let list = format!("{}, _version, _landed", shape.list());
    let plain = format!("SELECT {list} FROM ({})", shape.plain_sql(options));
    if survey.suspects.is_empty() {
        let guard = if survey.null_keys { " WHERE order_id IS NOT NULL AND product_id IS NOT NULL" } else { "" };
        return Ok(format!("{plain}{guard}"));
    }
    keep_suspects(engine, session, shape.table, survey).await?;
    let suspected = places::pick(session, shape, &survey.sound(), "suspected").await?;
    let cutoff = instant_literal(options.cutoff_micros());
    // Lines without a time of their own are as old as their order.
    let (of_order, orders) = match survey.undated {
        true => ("coalesce(n._version, o._version)", " LEFT JOIN landed_orders o ON o.order_id = n.order_id"),
        false => ("n._version", ""),
    };
    let winners = format!(
        "WITH versioned AS (SELECT n.order_id, n.line, n._file, n._row, {of_order} AS v FROM ({}) n{orders} \
             WHERE n.order_id IS NOT NULL), \
         chosen AS (SELECT order_id, coalesce(max(v) FILTER (WHERE v <= {cutoff}), min(v)) AS v FROM versioned GROUP BY order_id), \
         newest AS (SELECT versioned.* FROM chosen JOIN versioned ON versioned.order_id = chosen.order_id \
             AND versioned.v IS NOT DISTINCT FROM chosen.v), \
         ranked AS (SELECT _file, _row, row_number() OVER (PARTITION BY order_id, line, \
             CASE WHEN line IS NULL OR v IS NULL THEN _file END, CASE WHEN line IS NULL OR v IS NULL THEN _row END \
             ORDER BY _file DESC, _row DESC) AS _rank FROM newest) \
         SELECT _file, _row FROM ranked WHERE _rank = 1",
        suspected.placed_sql(options)
    );
    keep_winners(engine, session, shape, &winners, options).await?;
    Ok(format!(
        "SELECT {list} FROM (SELECT p.* FROM suspects_order_items s RIGHT ANTI JOIN ({plain}) p ON id_hash(p.order_id) = s.h) \
         UNION ALL SELECT {list} FROM settled_order_items"
    ))
}

/// Tables whose rows are no versions: all that are not faulty, with their place, so that later steps can break ties.
async fn all_rows(
    engine: &Engine,
    session: &SessionContext,
    shape: &Shape,
    survey: &Survey,
    options: &Options,
) -> Result<String> {
    let table = shape.table.name();
    let list = format!("{}, _version, _landed, _file, _row", shape.list());
    let guard = if survey.faults.is_empty() { "" } else { " WHERE _fault IS NULL" };
    let sql = format!("SELECT {list} FROM ({}){guard}", shape.numbered_sql(options));
    let frame = plan_text(session, &sql, &Params::new()).await?;
    engine.materialize(session, &format!("settled_{table}"), frame, false).await?;
    Ok(format!("SELECT {list} FROM settled_{table}"))
}

/// Where every folder is a dump of all customers, one that the newest dump at or before the cutoff lacks is deleted.
fn dumps(clean: String, shape: &Shape, options: &Options) -> String {
    let newest = shape.landed_at.iter().copied().filter(|at| *at <= options.cutoff_micros()).max();
    let Some(newest) = newest.filter(|_| options.table(Table::Customers).full_dump) else { return clean };
    let list: Vec<String> = shape
        .columns
        .iter()
        .map(|(name, _)| match name.as_str() {
            "deleted_at" => format!(
                "coalesce(c.deleted_at, CASE WHEN d.customer_id IS NULL THEN {} END) AS deleted_at",
                instant_literal(options.cutoff_micros() - 1)
            ),
            name => format!("c.{}", identifier(name)),
        })
        .collect();
    format!(
        "SELECT {}, c._version, c._landed FROM ({clean}) c LEFT JOIN \
         (SELECT DISTINCT customer_id FROM ({}) WHERE _landed = {} AND customer_id IS NOT NULL) d \
         ON d.customer_id = c.customer_id",
        list.join(", "),
        shape.plain_sql(options),
        instant_literal(newest)
    )
}
