//! What someone should be told, and an outbox so that it is told at least once.
//!
//! An alert is an object that is created once under its idempotency key, so that two schedulers, or a repeated run, tell
//! a thing once. It lies under `pending` until its receiver has taken it. A receiver may get it twice, where an answer
//! was lost, and knows it by its key.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::state::nonce;
use crate::error::{Error, Result};
use crate::lake::Lake;

const PENDING: &str = "state/alerts/pending";
pub(super) const SENT: &str = "state/alerts/sent";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// A day failed for good.
    #[serde(rename = "run.failed")]
    RunFailed,
    /// A day is not settled so long after its tick.
    #[serde(rename = "run.late")]
    RunLate,
    /// A day that was published by a run which then died is recorded now.
    #[serde(rename = "run.recovered")]
    RunRecovered,
    /// A day waits for its input.
    #[serde(rename = "input.not_ready")]
    InputNotReady,
    /// A day is computed and waits for a person.
    #[serde(rename = "publish.held")]
    PublishHeld,
    /// Something rose or moved so much that a person should look.
    #[serde(rename = "publish.unusual")]
    PublishUnusual,
    /// Days are too far back to be caught up.
    #[serde(rename = "catch_up.truncated")]
    CatchUpTruncated,
}

impl Event {
    /// The word that receivers know it by.
    pub fn word(self) -> &'static str {
        match self {
            Event::RunFailed => "run.failed",
            Event::RunLate => "run.late",
            Event::RunRecovered => "run.recovered",
            Event::InputNotReady => "input.not_ready",
            Event::PublishHeld => "publish.held",
            Event::PublishUnusual => "publish.unusual",
            Event::CatchUpTruncated => "catch_up.truncated",
        }
    }
}

/// Something that someone should be told. Its JSON is the body of the webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Tells this alert from every other, and is the same when it is sent again.
    pub key: String,
    /// What happened.
    pub event: Event,
    /// The job.
    pub job: String,
    /// The day that it is about.
    pub as_of: Option<NaiveDate>,
    /// The run, where there is one.
    pub run_id: Option<String>,
    /// In a sentence.
    pub message: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Makes this body differ from every other.
    pub nonce: String,
}

impl Alert {
    /// An alert about a day of a job; `which` tells several of one kind apart.
    pub fn about(
        event: Event,
        job: &str,
        as_of: NaiveDate,
        which: &str,
        message: impl Into<String>,
        at: DateTime<Utc>,
    ) -> Self {
        let dash = if which.is_empty() { "" } else { "-" };
        Self {
            key: format!("{}-{job}-{as_of}{dash}{which}", event.word()),
            event,
            job: job.to_owned(),
            as_of: Some(as_of),
            run_id: None,
            message: message.into(),
            at,
            nonce: nonce(),
        }
    }

    /// The same, of a run.
    #[must_use]
    pub fn of_run(mut self, run_id: &str) -> Self {
        self.run_id = Some(run_id.to_owned());
        self
    }

    /// Its JSON.
    ///
    /// # Errors
    /// None that is expected.
    pub fn body(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::internal("jobs.alert", error.to_string()).with_source(error))
    }

    /// Puts it into the outbox; one that was told already stays told.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn raise(&self, lake: &Lake) -> Result<()> {
        if lake.exists(&format!("{SENT}/{}.json", self.key)).await? {
            return Ok(());
        }
        lake.put_new(&format!("{PENDING}/{}.json", self.key), self.body()?).await.map(drop)
    }

    /// Takes it out of the outbox: its receiver has it, or there is none.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn settle(&self, lake: &Lake) -> Result<()> {
        lake.put_new(&format!("{SENT}/{}.json", self.key), self.body()?).await?;
        lake.delete(&format!("{PENDING}/{}.json", self.key)).await
    }
}

/// What is still to be told, the oldest first.
///
/// # Errors
/// What the store refuses.
pub async fn pending(lake: &Lake) -> Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    for object in lake.list(PENDING).await? {
        let Some(bytes) = lake.find(&object.path).await? else { continue };
        match serde_json::from_slice::<Alert>(&bytes) {
            Ok(alert) => alerts.push(alert),
            Err(error) => tracing::warn!(path = object.path, %error, "an alert in the outbox cannot be read"),
        }
    }
    alerts.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
    Ok(alerts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::lake::testing;

    #[tokio::test]
    async fn a_thing_is_told_once_and_stays_told() {
        let lake = testing::memory();
        let day = parse_date("2026-11-19").unwrap();
        let at = DateTime::UNIX_EPOCH;
        let alert = Alert::about(Event::RunFailed, "nightly", day, "", "no orders are landed", at).of_run("r1");
        alert.raise(&lake).await.unwrap();
        Alert::about(Event::RunFailed, "nightly", day, "", "again", at).raise(&lake).await.unwrap();
        assert_eq!(pending(&lake).await.unwrap(), std::slice::from_ref(&alert));
        assert_eq!(alert.key, "run.failed-nightly-2026-11-19");
        alert.settle(&lake).await.unwrap();
        alert.raise(&lake).await.unwrap();
        assert!(pending(&lake).await.unwrap().is_empty());
        let json: serde_json::Value = serde_json::from_slice(&alert.body().unwrap()).unwrap();
        assert_eq!(json["event"], "run.failed");
    }
}
