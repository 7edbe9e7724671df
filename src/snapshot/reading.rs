//! What is published, as a read-only session of SQL tables and views.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Date32Type;
use chrono::NaiveDate;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{DataFrame, SessionContext};

use super::setup::Project;
use crate::diagnostic::nearest;
use crate::engine::statement::{Params, literal, plan_text};
use crate::engine::table_names;
use crate::error::{Error, Result};
use crate::lake::provider::{register_logs, register_published};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::land;
use crate::schema::landed::Table;

/// A session over everything that is published.
pub struct Reading {
    /// Its tables are those of the contract's §4, with the views over them.
    pub session: SessionContext,
    /// The published days.
    pub snapshots: Snapshots,
}

impl Reading {
    /// Opens what is published.
    ///
    /// # Errors
    /// What the store and the logs refuse.
    pub async fn open(project: &Project) -> Result<Self> {
        let session = project.engine.session();
        let snapshots = Box::pin(Snapshots::read(&project.lake)).await?;
        Box::pin(register_published(&session, &project.lake, snapshots.days())).await?;
        Box::pin(register_logs(&session, &project.lake)).await?;
        let reading = Self { session, snapshots };
        reading.views().await?;
        Ok(reading)
    }

    /// The published day of that date, the newest where none is given.
    ///
    /// # Errors
    /// `snapshot.none` where nothing is published, `snapshot.no_such_day` for a day that is not.
    pub fn day(&self, as_of: Option<NaiveDate>) -> Result<&PublishedDay> {
        let Some(newest) = self.snapshots.latest() else {
            return Err(Error::not_found("snapshot.none", "no day is published yet")
                .with_hint("publish one with `alluvial run nightly`"));
        };
        let Some(as_of) = as_of else { return Ok(newest) };
        self.snapshots.day(as_of).ok_or_else(|| {
            Error::not_found(
                "snapshot.no_such_day",
                format!("{as_of} is not published; the newest day is {}", newest.as_of),
            )
            .with_hint(format!("publish it with `alluvial run nightly --as-of {as_of}`"))
        })
    }

    /// `customer_tags`, `customer_lists` and `segment.<id>`.
    async fn views(&self) -> Result<()> {
        for (name, column, one) in [("customer_tags", "tags", "tag"), ("customer_lists", "lists", "list")] {
            self.view(
                name,
                &format!("SELECT as_of, customer_id, {one} FROM (SELECT as_of, customer_id, unnest({column}) AS {one} FROM customer_profile_latest)"),
            )
            .await?;
        }
        let Some(catalog) = self.session.catalog("datafusion") else { return Ok(()) };
        let schema = Arc::new(MemorySchemaProvider::new());
        catalog.register_schema("segment", Arc::clone(&schema) as Arc<dyn SchemaProvider>)?;
        if self.snapshots.latest().is_none() {
            return Ok(());
        }
        for id in self.texts("SELECT segment FROM segments_latest ORDER BY segment").await? {
            let sql = format!(
                "SELECT p.* FROM segment_members_latest m JOIN customer_profile_latest p ON p.customer_id = m.customer_id \
                 WHERE m.segment = {}",
                literal(&id)
            );
            let frame = plan_text(&self.session, &sql, &Params::new()).await?;
            schema.register_table(id.replace('-', "_"), frame.into_view())?;
        }
        Ok(())
    }

    async fn view(&self, name: &str, sql: &str) -> Result<()> {
        let frame = plan_text(&self.session, sql, &Params::new()).await?;
        self.session.register_table(name, frame.into_view())?;
        Ok(())
    }

    /// Gives the session the landed tables, every row as it is read, under the schema `landed`.
    ///
    /// # Errors
    /// Landed files that cannot be read.
    pub async fn with_landed(&self, project: &Project, options: &land::Options) -> Result<()> {
        let found = Box::pin(land::find(&self.session, &project.sources, options)).await?;
        let Some(catalog) = self.session.catalog("datafusion") else { return Ok(()) };
        let schema = Arc::new(MemorySchemaProvider::new());
        catalog.register_schema("landed", Arc::clone(&schema) as Arc<dyn SchemaProvider>)?;
        for table in Table::ALL {
            let frame = plan_text(&self.session, &found.rows_sql(table, options), &Params::new()).await?;
            schema.register_table(table.name().to_owned(), frame.into_view())?;
        }
        Ok(())
    }

    /// Plans SQL that reads and does nothing else.
    ///
    /// # Errors
    /// `query.read_only` for statements that would change something; `query.unknown_table` and `query.unknown_column`
    /// with the nearest name; what DataFusion says of the rest.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        Box::pin(self.session.sql_with_options(sql, options)).await.map_err(|error| self.wrong(error))
    }

    /// What is wrong with a query, in the names that people know.
    fn wrong(&self, error: DataFusionError) -> Error {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => self.wrong(*inner),
            DataFusionError::Plan(message) if message.contains("not supported: ") => {
                Error::definition("query.read_only", "only queries are answered here")
                    .with_hint("write a `SELECT`; tables are published by `alluvial run`")
            }
            DataFusionError::Plan(message) => {
                let missing =
                    message.strip_prefix("table 'datafusion.").and_then(|rest| rest.strip_suffix("' not found"));
                let Some(missing) = missing else { return Error::from(DataFusionError::Plan(message)) };
                let name = missing.strip_prefix("public.").unwrap_or(missing);
                let known = table_names(&self.session, "datafusion");
                let hint = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`SELECT table_schema, table_name FROM information_schema.tables` lists what there is"
                        .to_owned(),
                };
                Error::definition("query.unknown_table", format!("there is no table `{name}`")).with_hint(hint)
            }
            DataFusionError::SchemaError(inner, trace) => match *inner {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let known: Vec<&str> = valid_fields.iter().map(|field| field.name()).collect();
                    let hint = match nearest(&field.name, known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("there are {}", known.join(", ")),
                    };
                    Error::definition("query.unknown_column", format!("there is no column `{}`", field.name))
                        .with_hint(hint)
                }
                other => Error::from(DataFusionError::SchemaError(Box::new(other), trace)),
            },
            other => Error::from(other),
        }
    }

    /// The texts of a query's first column.
    ///
    /// # Errors
    /// What the query fails with.
    pub async fn texts(&self, sql: &str) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for batch in plan_text(&self.session, sql, &Params::new()).await?.collect().await? {
            let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)?;
            texts.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok(texts)
    }

    /// A query's single whole number.
    ///
    /// # Errors
    /// What the query fails with.
    pub async fn count(&self, sql: &str) -> Result<u64> {
        for batch in plan_text(&self.session, sql, &Params::new()).await?.collect().await? {
            let column = batch.column(0).as_primitive_opt::<arrow::datatypes::Int64Type>();
            if let Some(column) = column.filter(|column| !column.is_empty()) {
                return Ok(u64::try_from(column.value(0)).unwrap_or(0));
            }
        }
        Ok(0)
    }

    /// The members of a segment on a published day, as `alluvial segment members` lists them.
    ///
    /// # Errors
    /// What the published tables fail with.
    pub async fn members(&self, segment: &str, as_of: NaiveDate) -> Result<DataFrame> {
        let (segment, day) = (literal(segment), format!("DATE '{as_of}'"));
        let sql = format!(
            "SELECT p.customer_id, coalesce(c.name, nullif(concat_ws(' ', c.first_name, c.last_name), '')) AS name, p.city, p.region, \
                    c.postal_code, p.country, p.number_of_orders, p.amount_spent, p.discount_amount, p.coupons_used, \
                    p.negative_reviews, p.items_returned, p.last_order_date, c.email, \
                    coalesce(e.entered_on, f.first_on) AS entered_on \
             FROM segment_members m \
             JOIN customer_profile p ON p.customer_id = m.customer_id AND p.as_of = {day} \
             LEFT JOIN customer_contacts c ON c.customer_id = m.customer_id \
             LEFT JOIN (SELECT customer_id, max(as_of) AS entered_on FROM segment_changes \
                        WHERE segment = {segment} AND change = 'entered' AND as_of <= {day} GROUP BY customer_id) e \
               ON e.customer_id = m.customer_id \
             CROSS JOIN (SELECT min(as_of) AS first_on FROM segment_sizes WHERE segment = {segment}) f \
             WHERE m.segment = {segment} AND m.as_of = {day} ORDER BY p.customer_id"
        );
        plan_text(&self.session, &sql, &Params::new()).await
    }

    /// A day's profile and contacts as the tables that stand-alone SQL names.
    ///
    /// # Errors
    /// What the published tables fail with.
    pub async fn profile_of(&self, day: NaiveDate) -> Result<crate::segments::compile::Tables> {
        let name = format!("customer_profile_{}", day.format("%Y%m%d"));
        if !self.session.table_exist(name.as_str())? {
            self.view(&name, &format!("SELECT * FROM customer_profile WHERE as_of = DATE '{day}'")).await?;
        }
        Ok(crate::segments::compile::Tables { profile: name, ..crate::segments::compile::Tables::default() })
    }

    /// The day before that a segment's sizes of each day compare with, by day.
    ///
    /// # Errors
    /// What the published tables fail with.
    pub async fn sizes(&self, condition: &str) -> Result<Vec<SizeRow>> {
        let sql = format!(
            "SELECT as_of, segment, members, entered, exited, previous_as_of FROM segment_sizes WHERE {condition} ORDER BY segment, as_of"
        );
        let mut rows = Vec::new();
        for batch in plan_text(&self.session, &sql, &Params::new()).await?.collect().await? {
            let days = batch.column(0).as_primitive::<Date32Type>();
            let ids = arrow::compute::cast(batch.column(1), &arrow::datatypes::DataType::Utf8)?;
            let count = |column: usize| batch.column(column).as_primitive::<arrow::datatypes::Int64Type>();
            let (members, entered, exited) = (count(2), count(3), count(4));
            let previous = batch.column(5).as_primitive::<Date32Type>();
            for row in 0..batch.num_rows() {
                let number = |values: &arrow::array::Int64Array| u64::try_from(values.value(row)).unwrap_or(0);
                let compared = previous.is_valid(row);
                rows.push(SizeRow {
                    as_of: days.value_as_date(row).unwrap_or_default(),
                    segment: ids.as_string::<i32>().value(row).to_owned(),
                    members: number(members),
                    entered: compared.then(|| number(entered)),
                    exited: compared.then(|| number(exited)),
                });
            }
        }
        Ok(rows)
    }
}

/// One row of `segment_sizes`, as far as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeRow {
    /// The day.
    pub as_of: NaiveDate,
    /// The segment.
    pub segment: String,
    /// Members.
    pub members: u64,
    /// Members who were none on the day before; none on the segment's first day.
    pub entered: Option<u64>,
    /// The reverse.
    pub exited: Option<u64>,
}
