//! What a ticket holds: the statement and the published state that it was planned over.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::serve::fault::Fault;

/// A statement that can be fetched. Whoever fetches it sees what their own role allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// What a cancel request names.
    pub(super) id: String,
    /// The version of `snapshots`: the state.
    pub(super) state: Option<u64>,
    /// The day that the session was pinned to.
    pub(super) as_of: Option<NaiveDate>,
    /// The statement; of a prepared one, its handle.
    #[serde(flatten)]
    pub(super) what: What,
}

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// The text of a statement.
    Sql(String),
    /// The handle of a prepared one.
    Prepared(String),
}

impl Ticket {
    pub(super) fn write(&self) -> Result<Vec<u8>, Fault> {
        serde_json::to_vec(self).map_err(|error| Fault::new("XX000", error.to_string()))
    }

    /// Reads a ticket of ours.
    ///
    /// # Errors
    /// 08P01 for anything else.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        serde_json::from_slice(bytes).map_err(|_| Fault::protocol("this is no ticket of this server"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_its_state_and_is_read_back() {
        let ticket = Ticket { id: "1".into(), state: Some(7), as_of: None, what: What::Sql("SELECT 1".into()) };
        let bytes = ticket.write().unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), r#"{"id":"1","state":7,"as_of":null,"sql":"SELECT 1"}"#);
        assert_eq!(Ticket::read(&bytes).unwrap(), ticket);
        assert_eq!(Ticket::read(b"{}").unwrap_err().state, "08P01");
    }
}
