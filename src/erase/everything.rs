//! The right of access: everything that is held about one person, from landed and published tables.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use super::people::{Asked, Identities, Looking, find_in, holds_customers};
use crate::engine::statement::{Params, identifier, plan_text};
use crate::error::{Error, Result};
use crate::lake::forgotten::Forgotten;
use crate::land;
use crate::schema::landed::Table;
use crate::schema::published;
use crate::snapshot::setup::Project;

/// Some rows of one table.
#[derive(Debug)]
pub struct Held {
    /// The table.
    pub table: &'static str,
    /// Its columns.
    pub schema: SchemaRef,
    /// The person's rows.
    pub rows: Vec<RecordBatch>,
}

/// Everything that is held about a person.
#[derive(Debug)]
pub struct Everything {
    /// What the person is known by.
    pub identities: Identities,
    /// Rows as they were landed, all versions.
    pub landed: Vec<Held>,
    /// Rows of published tables, of all days, with the ledger of exports.
    pub published: Vec<Held>,
}

/// Gathers everything about the person who has an id.
///
/// # Errors
/// `customer.not_found` where nothing is held under the id; landed files that cannot be read; what the store refuses.
pub async fn everything(project: &Project, id: &str, at: DateTime<Utc>) -> Result<Everything> {
    let looking = Box::pin(Looking::open(project, at)).await?;
    let asked = Asked { ids: [id.to_owned()].into(), ..Asked::default() };
    let found = Box::pin(find_in(project, &looking, &asked)).await?;
    if found.identities.is_empty() {
        return Err(Error::not_found("customer.not_found", "nothing is held under this id").with_hint(
            "the id is that of `customer_id` or `anonymous_id` in the landed tables; ids are case-sensitive",
        ));
    }
    // The same conditions that forgetting goes by, over this person alone.
    let mut own = Forgotten::nobody(b"the right of access");
    found.identities.marks(&own.clone()).into_iter().for_each(|(_, mark)| own.add(mark));
    let session = &looking.reading.session;
    session.register_udf(Arc::new(own).function());
    let rows = async |table: &'static str, sql: String| -> Result<Held> {
        let frame = plan_text(session, &format!("{sql} ORDER BY 1, 2"), &Params::new()).await?;
        let schema = SchemaRef::clone(frame.schema().inner());
        Ok(Held { table, schema, rows: frame.collect().await? })
    };
    let mut landed = Vec::new();
    for table in Table::ALL {
        let Some(theirs) = land::gone(table) else { continue };
        let all = looking.found.rows_sql(table, &looking.options);
        landed.push(rows(table.name(), format!("SELECT * FROM ({all}) WHERE {theirs}")).await?);
    }
    let mut held = Vec::new();
    for table in published::tables() {
        let theirs = match table.name {
            "rejects" => "is_forgotten('id', key) OR is_forgotten('order', key)",
            "exports" => "export_id IN (SELECT export_id FROM export_members WHERE is_forgotten('id', customer_id))",
            _ if holds_customers(&table) => "is_forgotten('id', customer_id)",
            _ => continue,
        };
        held.push(rows(table.name, format!("SELECT * FROM {} WHERE {theirs}", identifier(table.name))).await?);
    }
    Ok(Everything { identities: found.identities, landed, published: held })
}
