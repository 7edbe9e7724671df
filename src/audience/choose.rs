//! Who of the members is written, and what became of the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::door::{Ads, Door};
use super::export::Counts;
use super::format::{Channel, Format};
use super::places::Places;
use crate::engine::statement::{Params, identifier, literal, plan_text};
use crate::error::Result;

const PLACED: &str = include_str!("../../sql/audience/placed.sql");
const PLACED_RECORDS: &str = include_str!("../../sql/audience/placed_records.sql");
const PLACED_TWINS: &str = include_str!("../../sql/audience/placed_twins.sql");
const PLACED_REST: &str = include_str!("../../sql/audience/placed_rest.sql");
const SUPPRESSED_PEOPLE: &str = include_str!("../../sql/audience/suppressed_people.sql");
const FLAGS: &str = include_str!("../../sql/audience/flags.sql");
const SHARED: &str = include_str!("../../sql/audience/shared.sql");
const CHOSEN: &str = include_str!("../../sql/audience/chosen.sql");
const ROW: &str = include_str!("../../sql/audience/row.sql");

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
/// The column of a profile's place: no property of a customer has such a name.
const PLACE: &str = "__place";
/// What suppressions may name besides.
const NAMED: [&str; 2] = ["person", "phone"];
/// What `flags.sql` and `chosen.sql` add that a row asks for.
const ADDED: [&str; 4] = ["email_ok", "sms_ok", "post_ok", "is_held"];

/// Whom an export holds out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HoldOut {
    /// The export's own share; its salt is the segment's id.
    pub(super) share: f64,
    /// The project's share, for all exports.
    pub(super) global: f64,
    /// The project's salt.
    pub(super) global_salt: String,
}

/// The number in the first row of the first column.
pub(super) fn first_count(batches: &[RecordBatch]) -> u64 {
    let filled = batches.iter().find(|batch| batch.num_rows() > 0);
    let value = filled.and_then(|batch| Some(batch.column(0).as_primitive_opt::<Int64Type>()?.value(0)));
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

/// Settles every member: the session gets `chosen`, sorted by customer_id, with who of them is held out.
pub(super) async fn choose(
    door: &Door<'_>,
    places: &Arc<Places>,
    format: &Format,
    ads: Ads,
    held: &HoldOut,
) -> Result<Counts> {
    let session = door.session;
    Box::pin(place(door, places, format)).await?;
    let suppressed = door.has("suppressed").await?;
    let people = if suppressed {
        SUPPRESSED_PEOPLE.to_owned()
    } else {
        format!("SELECT * FROM ({SUPPRESSED_PEOPLE}) WHERE false")
    };
    door.keep_few("suppressed_people", &people, &Params::new()).await?;
    let (has_address, address, consented, stopped) = match format.channel {
        Channel::Email => ("email_key IS NOT NULL", "email_key", "email_may", "email_stopped"),
        Channel::Sms => ("phone_key IS NOT NULL", "phone_key", "sms_may", "sms_stopped"),
        Channel::Ads => {
            let any = "(email_key IS NOT NULL OR phone_key IS NOT NULL)";
            (any, "coalesce(email_key, phone_key)", ads.condition(), "ads_stopped")
        }
        Channel::Post => ("has_post", "CAST(NULL AS VARCHAR)", "true", "post_stopped"),
        Channel::None => ("true", "CAST(NULL AS VARCHAR)", "true", "false"),
    };
    let flags = FLAGS
        .replace("/*has_address*/", has_address)
        .replace("/*address*/", address)
        .replace("/*consented*/", consented)
        .replace("/*stopped*/", stopped);
    door.view("audience_flags", &flags, &Params::new()).await?;
    let (mut counts, is_shared) = steps(session).await?;
    let losers = door.keep_few("shared", &if_any(is_shared, SHARED), &Params::new()).await?;
    counts.one_per_address = counts.not_suppressed - losers;
    let params = Params::new()
        .with("holdout", held.share)
        .with("global_holdout", held.global)
        .with("global_salt", held.global_salt.as_str());
    door.view("chosen", CHOSEN, &params).await?;
    counts.not_held_out = counts.one_per_address;
    if held.share > 0.0 || held.global > 0.0 {
        let sql = "SELECT count(*) FROM chosen WHERE NOT is_held";
        counts.not_held_out = first_count(&plan_text(session, sql, &Params::new()).await?.collect().await?);
    }
    Ok(counts)
}

/// A statement, or the same without rows.
fn if_any(any: bool, sql: &str) -> String {
    if any { sql.to_owned() } else { format!("SELECT * FROM ({sql}) WHERE false") }
}

/// Counts how far the members come, all in one pass, and says whether some of them share an address; the session gets
/// `met_twice` (address_hash): the hashes of such addresses.
async fn steps(session: &SessionContext) -> Result<(Counts, bool)> {
    let sql = "SELECT is_gone, with_address, with_address AND consented AS consented, \
                      with_address AND consented AND NOT stopped AS reached, id_hash(address_key) AS address_hash \
               FROM audience_flags";
    let mut rows = plan_text(session, sql, &Params::new()).await?.execute_stream().await?;
    let mut counts = Counts::default();
    let mut hashes: Vec<u64> = Vec::new();
    while let Some(batch) = rows.next().await.transpose()? {
        let flag = |column: usize| batch.column(column).as_boolean();
        let told = [0, 1, 2, 3].map(|column| flag(column).true_count() as u64);
        counts.members += batch.num_rows() as u64;
        counts.gone += told[0];
        counts.with_address += told[1];
        counts.consented += told[2];
        counts.not_suppressed += told[3];
        let addresses = batch.column(4).as_primitive::<UInt64Type>();
        hashes
            .extend(flag(3).iter().zip(addresses).filter_map(|(reached, hash)| hash.filter(|_| reached == Some(true))));
    }
    hashes.sort_unstable();
    let mut twice: Vec<u64> =
        hashes.windows(2).filter(|pair| pair.first() == pair.last()).map(|pair| pair[0]).collect();
    twice.dedup();
    let is_shared = !twice.is_empty();
    let column = Arc::new(UInt64Array::from(twice)) as ArrayRef;
    session.register_batch("met_twice", RecordBatch::try_from_iter([("address_hash", column)])?)?;
    Ok((counts, is_shared))
}

/// Puts what the newest landed data says of every member in order: the session gets `able`, sorted by customer_id, and
/// `profile_day`, sorted too where the format asks for columns of the published profile.
async fn place(door: &Door<'_>, places: &Arc<Places>, format: &Format) -> Result<()> {
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

/// What of a row may be used: by its own flags, or whatever they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// What the channel, and the flags of the other channels, allow.
    Allowed(Channel),
    /// Everything: nobody checks consent, or an address is to be taken off a list.
    All,
}

/// SQL for the rows of `written` (a table or a query in parentheses) as the mappings see them. With `masked`, contact
/// columns show nothing but the first character of every word.
pub(super) fn rows_sql(written: &str, used: Use, masked: bool) -> String {
    let (email, phone, post) = match used {
        Use::All => ("true", "true", "true"),
        Use::Allowed(Channel::Email) => ("true", "w.sms_ok", "w.post_ok"),
        Use::Allowed(Channel::Sms) => ("w.email_ok", "true", "w.post_ok"),
        Use::Allowed(Channel::Ads) => ("true", "true", "true"),
        Use::Allowed(Channel::Post) => ("w.email_ok", "w.sms_ok", "true"),
        Use::Allowed(Channel::None) => ("w.email_ok", "w.sms_ok", "w.post_ok"),
    };
    let sql = ROW
        .replace("written w", &format!("{written} w"))
        .replace("/*email*/", email)
        .replace("/*phone*/", phone)
        .replace("/*post*/", post);
    if !masked {
        return sql;
    }
    let contacts = ["name", "first_name", "last_name", "email", "phone", "address", "postal_code"];
    let list: Vec<String> = contacts.iter().map(|name| format!("masked({name}) AS {name}")).collect();
    format!("SELECT * EXCEPT ({}), {} FROM ({sql})", contacts.join(", "), list.join(", "))
}

/// SQL for a format's columns over such rows, sorted by customer. Where it joins the profile, both come sorted: see
/// `Engine::in_step`.
pub(super) async fn mapped_sql(session: &SessionContext, format: &Format, rows: &str) -> Result<String> {
    const OWN: &str = "customer_id, name, first_name, last_name, email, phone, address, postal_code, email_consent, \
                       email_consent_at, email_consent_source, sms_consent, sms_consent_at, ads_consent";
    if format.everything {
        let own: Vec<String> = OWN.split(", ").map(|name| format!("r.{name}")).collect();
        // A custom property may have a name that the row has already: the row's own is the newest.
        let taken: Vec<&str> = OWN.split(", ").collect();
        let profile = session.table("profile_day").await?;
        let columns: Vec<String> = profile
            .schema()
            .fields()
            .iter()
            .map(|field| field.name())
            .filter(|name| *name != "as_of" && *name != PLACE && !taken.contains(&name.as_str()))
            .map(|name| format!("p.{}", identifier(name)))
            .collect();
        return Ok(format!(
            "SELECT {}, {} FROM ({rows}) r LEFT JOIN profile_day p ON p.customer_id = r.customer_id ORDER BY r.customer_id",
            own.join(", "),
            columns.join(", ")
        ));
    }
    let list: Vec<String> =
        format.columns.iter().map(|column| format!("{} AS {}", column.value, identifier(&column.name))).collect();
    let list = list.join(", ");
    // Rows are sorted before they are mapped: hashes are three times as long as what they are made of.
    let plain = format!("SELECT {list} FROM (SELECT * FROM ({rows}) ORDER BY customer_id) r");
    if plan_text(session, &plain, &Params::new()).await.is_ok() {
        return Ok(plain);
    }
    // A mapping may name columns of the profile too; what both have is the row's.
    let of_row = plan_text(session, rows, &Params::new()).await?;
    let profile = session.table("profile_day").await?;
    let more: Vec<String> = profile
        .schema()
        .fields()
        .iter()
        .map(|field| field.name())
        .filter(|name| *name != PLACE && !of_row.schema().has_column_with_unqualified_name(name))
        .map(|name| format!(", p.{}", identifier(name)))
        .collect();
    let both =
        format!("SELECT r.*{} FROM ({rows}) r LEFT JOIN profile_day p ON p.customer_id = r.customer_id", more.concat());
    let sql = format!("SELECT {list} FROM (SELECT * FROM ({both}) ORDER BY customer_id) r");
    match plan_text(session, &sql, &Params::new()).await {
        Ok(_) => Ok(sql),
        Err(error) => Err(error
            .in_file(format.origin.clone())
            .with_hint("a `value` is SQL over the columns of an audience's row and of the customer profile")),
    }
}
