//! One row of an audience, and a format's columns of it.

use datafusion::prelude::SessionContext;

use super::format::{Channel, Format};
use crate::engine::statement::{Params, identifier, plan_text};
use crate::error::Result;

const ROW: &str = include_str!("../../sql/audience/row.sql");

/// The column of a profile's place among the members: no property of a customer has such a name.
pub(super) const PLACE: &str = "__place";

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
        let own: Vec<&str> = OWN.split(", ").collect();
        let more = of_profile(session, |name| name == "as_of" || own.contains(&name)).await?;
        let own: Vec<String> = own.iter().map(|name| format!("r.{name}")).collect();
        return Ok(format!(
            "SELECT {}{more} FROM ({rows}) r LEFT JOIN profile_day p ON p.customer_id = r.customer_id ORDER BY r.customer_id",
            own.join(", "),
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
    let own = plan_text(session, rows, &Params::new()).await?;
    let more = of_profile(session, |name| own.schema().has_column_with_unqualified_name(name)).await?;
    let both = format!("SELECT r.*{more} FROM ({rows}) r LEFT JOIN profile_day p ON p.customer_id = r.customer_id");
    let sql = format!("SELECT {list} FROM (SELECT * FROM ({both}) ORDER BY customer_id) r");
    match plan_text(session, &sql, &Params::new()).await {
        Ok(_) => Ok(sql),
        Err(error) => Err(error
            .in_file(format.origin.clone())
            .with_hint("a `value` is SQL over the columns of an audience's row and of the customer profile")),
    }
}

/// The columns of the profile, each with a comma before it, but for what the row has itself: a custom property may have a name
/// that the row has already, and the row's own is the newest.
async fn of_profile(session: &SessionContext, is_own: impl Fn(&str) -> bool) -> Result<String> {
    let profile = session.table("profile_day").await?;
    let names = profile.schema().fields().iter().map(|field| field.name());
    Ok(names.filter(|name| *name != PLACE && !is_own(name)).map(|name| format!(", p.{}", identifier(name))).collect())
}
