//! Who of the members is written, and what became of the others.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::prelude::SessionContext;

use super::door::Ads;
use super::export::Counts;
use super::format::{Channel, Format};
use crate::engine::Engine;
use crate::engine::statement::{Params, identifier, plan_text};
use crate::error::Result;

const PEOPLE: &str = include_str!("../../sql/audience/people.sql");
const SUPPRESSED_PEOPLE: &str = include_str!("../../sql/audience/suppressed_people.sql");
const FLAGS: &str = include_str!("../../sql/audience/flags.sql");
const CHOSEN: &str = include_str!("../../sql/audience/chosen.sql");
const ROW: &str = include_str!("../../sql/audience/row.sql");

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
    engine: &Engine,
    session: &SessionContext,
    format: &Format,
    ads: Ads,
    held: &HoldOut,
) -> Result<Counts> {
    let keep = async |name: &str, sql: &str| -> Result<()> {
        let frame = plan_text(session, sql, &Params::new()).await?;
        engine.materialize(session, name, frame, false).await?;
        Ok(())
    };
    keep("audience_people", PEOPLE).await?;
    keep("suppressed_people", SUPPRESSED_PEOPLE).await?;
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
    keep("audience_flags", &flags).await?;
    let params = Params::new()
        .with("holdout", held.share)
        .with("global_holdout", held.global)
        .with("global_salt", held.global_salt.as_str());
    let chosen = plan_text(session, CHOSEN, &params).await?;
    engine.materialize_sorted(session, "chosen", chosen, &["customer_id"]).await?;
    let sql = "SELECT count(*) AS members, count(*) FILTER (WHERE is_gone) AS gone, \
                      count(*) FILTER (WHERE with_address) AS with_address, \
                      count(*) FILTER (WHERE with_address AND consented) AS consented, \
                      count(*) FILTER (WHERE with_address AND consented AND NOT stopped) AS not_suppressed, \
                      (SELECT count(*) FROM chosen) AS one_per_address, \
                      (SELECT count(*) FROM chosen WHERE NOT is_held) AS not_held_out \
               FROM audience_flags";
    let counted = plan_text(session, sql, &Params::new()).await?.collect().await?;
    let mut numbers = Vec::new();
    for batch in counted.iter().filter(|batch| batch.num_rows() > 0) {
        for column in batch.columns() {
            let column = datafusion::arrow::compute::cast(column, &DataType::Int64)?;
            numbers.push(u64::try_from(column.as_primitive::<Int64Type>().value(0)).unwrap_or(0));
        }
    }
    let of = |place: usize| numbers.get(place).copied().unwrap_or(0);
    Ok(Counts {
        members: of(0),
        gone: of(1),
        with_address: of(2),
        consented: of(3),
        not_suppressed: of(4),
        one_per_address: of(5),
        not_held_out: of(6),
        written: 0,
    })
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

/// SQL for a format's columns over such rows, sorted by customer.
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
            .filter(|name| *name != "as_of" && !taken.contains(&name.as_str()))
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
    // A mapping may name columns of the profile too.
    let both = format!(
        "SELECT r.*, p.* EXCEPT (customer_id, country, region, city, language, gender, birthday) FROM ({rows}) r \
         LEFT JOIN profile_day p ON p.customer_id = r.customer_id"
    );
    let sql = format!("SELECT {list} FROM (SELECT * FROM ({both}) ORDER BY customer_id) r");
    match plan_text(session, &sql, &Params::new()).await {
        Ok(_) => Ok(sql),
        Err(error) => Err(error
            .in_file(format.origin.clone())
            .with_hint("a `value` is SQL over the columns of an audience's row and of the customer profile")),
    }
}
