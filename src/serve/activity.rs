//! What sessions are doing: the rows of `pg_stat_activity`, for those who may see them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

/// Bytes of a statement that are kept, as many as Postgres keeps.
const KEPT: usize = 1024;

/// What one session is doing.
#[derive(Debug)]
pub(super) struct Activity {
    /// Since when it is there.
    pub(super) began: DateTime<Utc>,
    /// Where it comes from.
    pub(super) from: Option<IpAddr>,
    running: AtomicUsize,
    told: Mutex<Told>,
}

/// What a session has said of itself and asked last.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// The name of the program.
    pub(super) application: String,
    /// When the last statement was asked.
    pub(super) asked: Option<DateTime<Utc>>,
    /// The last statement.
    pub(super) statement: String,
}

impl Activity {
    /// Of a session that begins.
    pub(super) fn new(began: DateTime<Utc>, from: Option<IpAddr>) -> Self {
        Self { began, from, running: AtomicUsize::new(0), told: Mutex::default() }
    }

    /// Notes a statement.
    pub(super) fn asks(&self, now: DateTime<Utc>, statement: &str) {
        let mut end = statement.len().min(KEPT);
        while !statement.is_char_boundary(end) {
            end -= 1;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.asked = Some(now);
        statement[..end].clone_into(&mut told.statement);
    }

    /// Notes the name of the program.
    pub(super) fn is_called(&self, application: &str) {
        application.clone_into(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner).application);
    }

    /// What it has said.
    pub(super) fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A statement begins.
    pub(super) fn begins(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// A statement ends.
    pub(super) fn ends(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a statement is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_statements_are_cut_where_a_letter_ends() {
        let activity = Activity::new(DateTime::UNIX_EPOCH, None);
        activity.asks(DateTime::UNIX_EPOCH, &"ø".repeat(KEPT));
        assert_eq!(activity.told().statement, "ø".repeat(KEPT / 2));
        activity.asks(DateTime::UNIX_EPOCH, &format!("a{}", "ø".repeat(KEPT)));
        assert_eq!(activity.told().statement.len(), KEPT - 1);
    }
}
