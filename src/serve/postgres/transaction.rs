//! What a transaction changes and takes back: settings. `SET LOCAL` ends with it, and what was set in one that is rolled back
//! never was.

use std::sync::{Mutex, PoisonError};

use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;

use datafusion::sql::sqlparser::ast::Set;

use super::client::Client;
use super::simple::{Answer, tell};
use super::{Connection, setting, wire};

/// What settings were before the transaction changed them.
#[derive(Debug, Default)]
pub(super) struct Changed(Mutex<Vec<Before>>);

/// What a setting was.
#[derive(Debug, Clone)]
struct Before {
    name: String,
    value: String,
    /// Whether it is that again after the transaction, whatever becomes of it.
    local: bool,
}

impl Changed {
    /// Notes what a setting was.
    fn note(&self, name: String, value: String, local: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Before { name, value, local });
    }

    /// What is to be set again, the newest change first.
    fn take(&self, committed: bool) -> Vec<Before> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if committed {
            // What was set for the session after what was set for the transaction stays.
            let is_last = |place: usize, all: &[Before]| {
                let name = &all[place].name;
                !all[place + 1..].iter().any(|later| later.name == *name && !later.local)
            };
            let kept: Vec<bool> = (0..all.len()).map(|place| all[place].local && is_last(place, &all)).collect();
            let mut kept = kept.into_iter();
            all.retain(|_| kept.next().unwrap_or(false));
        }
        all.reverse();
        all
    }
}

impl Connection {
    /// Carries out a `SET`.
    pub(super) async fn set(&self, client: &mut Client<'_>, set: &Set) -> PgWireResult<Answer> {
        let session = self.session()?;
        let open = client.transaction_status() == TransactionStatus::Transaction;
        let named = setting::named(set);
        let before = named.as_ref().and_then(|(name, _)| {
            let kept = |name: &str| client.metadata().get(name).cloned();
            setting::show(session, std::slice::from_ref(name), &kept).ok()
        });
        let metadata = client.metadata_mut();
        let mut kept = |name: &str, value: String| drop(metadata.insert(name.to_owned(), value));
        let told = setting::set(session, set, &mut kept).map_err(wire)?;
        let local = named.is_some_and(|(_, local)| local);
        match before {
            Some((name, value)) if open => self.changed.note(name, value, local),
            // Without a transaction it is of none, and so over at once.
            Some((name, value)) if local => {
                setting::one(session, &name, &value, &mut kept).map_err(wire)?;
                return Ok(Answer::Done("SET"));
            }
            _ => {}
        }
        tell(client, told).await?;
        Ok(Answer::Done("SET"))
    }

    /// Closes what ends with a transaction, and sets again what it changed for itself.
    pub(super) async fn end_transaction(&self, client: &mut Client<'_>, committed: bool) -> PgWireResult<()> {
        self.cursors.end_transaction();
        client.drop_portals();
        let session = self.session()?;
        for Before { name, value, .. } in self.changed.take(committed) {
            let metadata = client.metadata_mut();
            let mut kept = |name: &str, value: String| drop(metadata.insert(name.to_owned(), value));
            let told = setting::one(session, &name, &value, &mut kept).map_err(wire)?;
            tell(client, told).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_takes_back_what_it_set_for_itself_and_everything_where_it_is_rolled_back() {
        let noted = || {
            let changed = Changed::default();
            for (name, value, local) in
                [("a", "1", true), ("b", "1", false), ("a", "2", true), ("c", "1", true), ("c", "2", false)]
            {
                changed.note(name.to_owned(), value.to_owned(), local);
            }
            changed
        };
        let again = |committed| -> Vec<(String, String)> {
            noted().take(committed).into_iter().map(|before| (before.name, before.value)).collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(again(true), [pair("a", "2"), pair("a", "1")], "the oldest is the last word");
        assert_eq!(again(false), ["c 2", "c 1", "a 2", "b 1", "a 1"].map(|text| pair(&text[..1], &text[2..])));
    }
}
