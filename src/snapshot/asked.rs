//! The rows that functions ask about, under the names that compiled segments know: for a night, and for what is published.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::arrow::datatypes::Date32Type;
use datafusion::prelude::SessionContext;

use super::reading::Reading;
use super::setup::Project;
use crate::engine::statement::{Params, plan_text};
use crate::error::{Error, Result};
use crate::lake::provider::{DayTable, manifests};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::lake::table::Table as LogTable;
use crate::land;
use crate::schema::landed::Table;
use crate::schema::published;
use crate::segments::compile::{Family, Pass};

/// Gives a night's session the tables that its segments' passes read beside those of the profile.
pub(super) async fn of_the_night(
    project: &Project,
    session: &SessionContext,
    snapshots: &Snapshots,
    as_of: NaiveDate,
    passes: &[Pass],
) -> Result<()> {
    let families: BTreeSet<Family> = passes.iter().map(|pass| pass.family).collect();
    let has = |family: Family| families.contains(&family);
    let persons = "SELECT id, CAST(customer_no AS BIGINT) AS customer_no FROM who WHERE customer_no >= 0";
    view(session, "persons", persons).await?;
    let before: Vec<PublishedDay> = snapshots.days().iter().filter(|day| day.as_of < as_of).cloned().collect();
    for (family, table) in [(Family::Changes, "segment_changes"), (Family::Stages, "lifecycle_history")] {
        let Some(pass) = passes.iter().find(|pass| pass.family == family) else { continue };
        let since =
            pass.program.since().and_then(|day| i32::try_from(day).ok()).and_then(Date32Type::to_naive_date_opt);
        let days: Vec<PublishedDay> =
            before.iter().filter(|day| since.is_none_or(|since| day.as_of >= since)).cloned().collect();
        let name = if family == Family::Changes { "segment_changes" } else { "lifecycle" };
        let Some(contract) = published::named(name) else { continue };
        let read = Box::pin(manifests(&project.lake, &days)).await?;
        session.register_table(table, Arc::new(DayTable::over(&project.lake, &contract, &read)?))?;
    }
    if has(Family::Stages) {
        // This day's own changes are published with it.
        let columns = "customer_id, previous_stage, stage";
        let sql = format!(
            "SELECT as_of, {columns} FROM lifecycle_history UNION ALL SELECT DATE '{as_of}', {columns} FROM lifecycle_today"
        );
        view(session, "segment_lifecycle", &sql).await?;
    }
    if has(Family::Exports) {
        logs(project, session).await?;
    }
    Ok(())
}

async fn logs(project: &Project, session: &SessionContext) -> Result<()> {
    for name in ["exports", "export_members"] {
        let Some(contract) = published::named(name) else { continue };
        let opened = Box::pin(LogTable::open(&project.lake, &contract)).await?;
        session.register_table(name, Arc::new(DayTable::of_log(&project.lake, &contract, &opened)?))?;
    }
    Ok(())
}

async fn view(session: &SessionContext, name: &str, sql: &str) -> Result<()> {
    let frame = plan_text(session, sql, &Params::new()).await?;
    session.deregister_table(name)?;
    session.register_table(name, frame.into_view())?;
    Ok(())
}

/// The views that [`Reading::with_rows`] gives.
pub const VIEWS: [&str; 3] = ["events", "products", "persons"];

impl Reading {
    /// Whether a query reads one of [`VIEWS`].
    ///
    /// # Errors
    /// What the parser says of the query.
    pub fn reads_rows(&self, sql: &str) -> Result<bool> {
        Ok(self.tables_of(sql)?.iter().any(|name| VIEWS.contains(&name.as_str())))
    }

    /// The tables that a query names without a schema; none where it cannot be parsed.
    pub(super) fn tables_of(&self, sql: &str) -> Result<BTreeSet<String>> {
        let state = self.session.state();
        let dialect = state.config().options().sql_parser.dialect;
        let Ok(statement) = state.sql_to_statement(sql, &dialect) else { return Ok(BTreeSet::new()) };
        let names = state.resolve_table_references(&statement)?;
        Ok(names.iter().filter(|name| name.schema().is_none()).map(|name| name.table().to_owned()).collect())
    }

    /// Refuses columns of landed orders and lines, as `table.column`, that were published beside no fact: only those are
    /// kept that a segment of the project asks about.
    ///
    /// # Errors
    /// `segment.column_not_kept` for the first of them.
    pub async fn check_kept(&self, columns: impl IntoIterator<Item = &str>) -> Result<()> {
        for (table, column) in columns.into_iter().filter_map(|name| name.split_once('.')) {
            if [Table::Orders.name(), Table::OrderItems.name()].contains(&table)
                && !self.session.table(table).await?.schema().has_column_with_unqualified_name(column)
            {
                let message = format!("the column `{column}` of {table} is not kept with the published facts");
                return Err(Error::definition("segment.column_not_kept", message)
                    .with_hint("it is from the next night on that a saved segment asks about it"));
            }
        }
        Ok(())
    }

    /// Gives the session `events` (clean, before the newest published day's end, each with its customer), `products` (as
    /// landed for that day) and `persons` (which customer an id stands for). Landed events are read and settled for it,
    /// as for a night.
    ///
    /// # Errors
    /// Landed files that cannot be read.
    pub async fn with_rows(&self, project: &Project, present: chrono::DateTime<chrono::Utc>) -> Result<()> {
        let day = self.day(None)?.as_of;
        let (session, engine) = (&self.session, &project.engine);
        let options = project.landing(day, present);
        let found = Box::pin(land::find(session, &project.sources, &options)).await?;
        Box::pin(land::settle_rows(engine, session, found, &options)).await?;
        Box::pin(crate::profile::identities(engine, session)).await?;
        let persons = "SELECT customer_id AS id, customer_id FROM customer_profile_latest UNION ALL \
                       SELECT r.id, r.root FROM roots r JOIN customer_profile_latest p ON p.customer_id = r.root";
        view(session, "persons", persons).await?;
        let columns: Vec<String> = session
            .table("landed_events")
            .await?
            .schema()
            .fields()
            .iter()
            .filter(|field| field.name() != "customer_id" && !field.name().starts_with('_'))
            .map(|field| format!("e.{}", crate::engine::statement::identifier(field.name())))
            .collect();
        let events = format!(
            "SELECT w.customer_id, {} FROM persons w JOIN landed_events e ON w.id = coalesce(e.customer_id, e.anonymous_id)",
            columns.join(", ")
        );
        view(session, "events", &events).await?;
        let products = format!("SELECT * FROM landed_{}", Table::Products.name());
        view(session, "products", &products).await
    }
}
