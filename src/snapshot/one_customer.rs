//! What is published of one customer, as tables in memory under the names that stand-alone SQL takes.

use std::sync::Arc;

use datafusion::datasource::MemTable;

use super::reading::Reading;
use crate::engine::statement::{Params, identifier, literal, plan_text};
use crate::error::{Error, Result};
use crate::segments::compile::Tables;

impl Reading {
    /// The newest published day's tables with the rows of one customer only, as far as `sql` (a segment's own) reads
    /// them; it must have been given what [`Reading::with_rows`] gives if it reads that.
    ///
    /// # Errors
    /// `customer.not_found` for an id that the day does not have.
    pub async fn of_customer(&self, customer: &str, sql: &str) -> Result<Tables> {
        let day = self.day(None)?.as_of;
        let published = Tables::default();
        let read = self.tables_of(sql)?;
        let own = format!("customer_id = {}", literal(customer));
        let profile = self.keep(&published.profile, &own).await?;
        if self.count(&format!("SELECT count(*) FROM {}", identifier(&profile))).await? == 0 {
            let message = format!("there is no customer `{customer}` on {day}, the newest published day");
            return Err(Error::not_found("customer.not_found", message).with_hint(
                "ids are those of `customer_profile_latest`; whoever was merged into another goes on under the other's id",
            ));
        }
        let mut tables = Tables { profile, ..Tables::default() };
        let persons = published.persons.clone();
        for table in
            [&mut tables.contacts, &mut tables.orders, &mut tables.order_items, &mut tables.events, &mut tables.persons]
        {
            if read.contains(table) {
                *table = self.keep(table, &own).await?;
            }
        }
        let ids = if read.contains(&persons) {
            format!("customer_id IN (SELECT id FROM {})", identifier(&tables.persons))
        } else {
            own
        };
        for table in [&mut tables.segment_changes, &mut tables.lifecycle, &mut tables.export_members] {
            if read.contains(table) {
                *table = self.keep(table, &ids).await?;
            }
        }
        for table in [&mut tables.products, &mut tables.exports] {
            if read.contains(table) {
                *table = self.keep(table, "true").await?;
            }
        }
        Ok(tables)
    }

    /// Keeps some rows of a table in memory, under a name of their own.
    async fn keep(&self, table: &str, condition: &str) -> Result<String> {
        let name = format!("one:{table}");
        let sql = format!("SELECT * FROM {} WHERE {condition}", identifier(table));
        let frame = plan_text(&self.session, &sql, &Params::new()).await?;
        let schema = Arc::clone(frame.schema().inner());
        let rows = MemTable::try_new(schema, vec![frame.collect().await?])?;
        self.session.deregister_table(identifier(&name))?;
        self.session.register_table(identifier(&name), Arc::new(rows))?;
        Ok(name)
    }
}
