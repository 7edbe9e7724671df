//! What the newest landed data says of the members, put in their order with the columns that are asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;

use super::door::Door;
use super::format::Format;
use super::places::Places;
use super::row::{PLACE, Use, mapped_sql, rows_sql};
use crate::engine::statement::{Params, identifier, literal, plan_text};
use crate::error::Result;

const PLACED: &str = include_str!("../../sql/audience/placed.sql");
const PLACED_RECORDS: &str = include_str!("../../sql/audience/placed_records.sql");
const PLACED_TWINS: &str = include_str!("../../sql/audience/placed_twins.sql");
const PLACED_REST: &str = include_str!("../../sql/audience/placed_rest.sql");

/// What of a member (`placed.sql`) the way to the file asks for; of the rest a format carries what its mapping names.
const ASKED: [&str; 12] = [
    "place",
    "customer_id",
    "segment",
    "is_gone",
    "email_key",
    "phone_key",
    "has_post",
    "email_may",
    "sms_may",
    "ads_granted",
    "ads_unknown",
    "ads_denied",
];
/// What suppressions may name besides.
const NAMED: [&str; 2] = ["person", "phone"];
/// What `flags.sql` and `chosen.sql` add that a row asks for.
const ADDED: [&str; 4] = ["email_ok", "sms_ok", "post_ok", "is_held"];

/// Puts what the newest landed data says of every member in order: the session gets `able`, sorted by customer_id, and
/// `profile_day`, sorted too where the format asks for columns of the published profile.
pub(super) async fn place(door: &Door<'_>, places: &Arc<Places>, format: &Format) -> Result<()> {
    let session = door.session;
    places.register_functions(session);
    let carried = carried(door, format).await?;
    let of_member = list(&carried.of_member);
    let placed = async |rows: &str| {
        let sql = format!("SELECT {of_member} FROM ({})", PLACED.replace("/*placed*/", rows));
        plan_text(session, &sql, &Params::new()).await
    };
    let mut placing = door.project.engine.placing(session, "placed", "place", places.count())?;
    placing.add(placed(PLACED_RECORDS).await?).await?;
    if places.has_twins() {
        places.register_twins(session)?;
        placing.add(placed(PLACED_TWINS).await?).await?;
    }
    let rest = placing.missing();
    if !rest.is_empty() {
        places.register_rest(session, &rest)?;
        door.others().await?;
        placing.add(placed(PLACED_REST).await?).await?;
    }
    placing.finish(&["customer_id"])?;
    // What nobody asks for has a name all the same.
    door.view("able", &format!("SELECT {} FROM placed", carried.every.join(", ")), &Params::new()).await?;
    if !carried.of_profile.is_empty() {
        let columns = list(&carried.of_profile);
        let sql = format!(
            "SELECT {columns} FROM (SELECT place_of_id(customer_id) AS {PLACE}, * FROM profile_published) WHERE {PLACE} IS NOT NULL"
        );
        let mut placing = door.project.engine.placing(session, "profile_day", PLACE, places.count())?;
        placing.add(plan_text(session, &sql, &Params::new()).await?).await?;
        placing.finish(&["customer_id"])?;
    }
    Ok(())
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", ")
}

/// What of a member is put in order.
struct Carried {
    /// The columns of `placed.sql` that are asked for on the way to the file, and by the format's mapping.
    of_member: Vec<String>,
    /// SQL for all columns of `placed.sql`: null, where they are not carried.
    every: Vec<String>,
    /// The columns of the published profile that the mapping names; none where it names none.
    of_profile: Vec<String>,
}

async fn carried(door: &Door<'_>, format: &Format) -> Result<Carried> {
    let session = door.session;
    let profile = format!("SELECT arrow_cast(NULL, 'UInt32') AS {PLACE}, * FROM profile_published");
    let profile = plan_text(session, &profile, &Params::new()).await?;
    let profile = Arc::new(EmptyTable::new(Arc::clone(profile.schema().inner())));
    session.register_table("profile_day", profile)?;
    let all = plan_text(session, &PLACED.replace("/*placed*/", PLACED_RECORDS), &Params::new()).await?;
    let of_placed: Vec<Field> = all.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut fields = of_placed.clone();
    fields.extend(ADDED.map(|name| Field::new(name, DataType::Boolean, true)));
    session.register_table("chosen", Arc::new(EmptyTable::new(Arc::new(Schema::new(fields)))))?;
    let rows = rows_sql("chosen", Use::Allowed(format.channel), false);
    let plan =
        plan_text(session, &mapped_sql(session, format, &rows).await?, &Params::new()).await?.into_optimized_plan()?;
    let mut asked: BTreeSet<String> = ASKED.iter().map(|name| (*name).to_owned()).collect();
    if door.has("suppressed").await? {
        asked.extend(NAMED.map(str::to_owned));
    }
    let mut of_profile = Vec::new();
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let columns = scan.projected_schema.fields().iter().map(|field| field.name().clone());
            match scan.table_name.table() {
                "chosen" => asked.extend(columns),
                "profile_day" => of_profile.extend(columns),
                _ => {}
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !of_profile.is_empty() {
        of_profile.push(PLACE.to_owned());
    }
    session.deregister_table("chosen")?;
    let is_asked = |field: &&Field| asked.contains(field.name());
    let every = of_placed.iter().map(|field| match is_asked(&field) {
        true => identifier(field.name()),
        false => {
            format!("arrow_cast(NULL, {}) AS {}", literal(&field.data_type().to_string()), identifier(field.name()))
        }
    });
    let of_member = of_placed.iter().filter(is_asked).map(|field| field.name().clone()).collect();
    Ok(Carried { of_member, every: every.collect(), of_profile })
}
