//! Who of the members is written, and what became of the others.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::carry;
use super::door::{Ads, Door};
use super::export::Counts;
use super::format::{Channel, Format};
use super::places::Places;
use crate::engine::statement::{Params, plan_text};
use crate::error::Result;

const SUPPRESSED_PEOPLE: &str = include_str!("../../sql/audience/suppressed_people.sql");
const FLAGS: &str = include_str!("../../sql/audience/flags.sql");
const SHARED: &str = include_str!("../../sql/audience/shared.sql");
const CHOSEN: &str = include_str!("../../sql/audience/chosen.sql");

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
    Box::pin(carry::place(door, places, format)).await?;
    let suppressed = door.has("suppressed").await?;
    door.keep_few("suppressed_people", &if_any(suppressed, SUPPRESSED_PEOPLE), &Params::new()).await?;
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
