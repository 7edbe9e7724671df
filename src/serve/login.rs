//! Who is let in: names and secrets are checked here for every door, and wrong ones are slowed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::fault::Fault;
use super::secret::{self, Exchange, Verifier};
use super::users::{self, User};
use crate::calendar::Clock;
use crate::error::Result;
use crate::lake::Lake;

/// The first wait after a wrong login; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// After how long a wrong login is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Names and addresses that are remembered.
const REMEMBERED: usize = 10_000;
/// Secrets hashed at once: each takes 19 MiB and a processor.
const HASHED_AT_ONCE: usize = 2;

/// Lets people in.
#[derive(Debug)]
pub(super) struct Gate {
    lake: Lake,
    clock: Clock,
    /// Makes the answers to names that nobody has.
    key: [u8; 32],
    failures: Mutex<HashMap<String, (u32, Instant)>>,
    hashing: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(lake: Lake, clock: Clock) -> Self {
        Self {
            lake,
            clock,
            key: secret::random(),
            failures: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHED_AT_ONCE)),
        }
    }

    /// The user of a name who may connect now.
    async fn user(&self, name: &str) -> Result<Option<User>> {
        let found = users::find(&self.lake, name).await?;
        Ok(found.filter(|user| !user.is_expired(self.clock.now())))
    }

    /// Begins a SCRAM exchange; for a name that nobody has, one that cannot succeed.
    ///
    /// # Errors
    /// What the store refuses; a message that is none of SCRAM's.
    pub(super) async fn begin(&self, name: &str, first: &[u8]) -> Result<(Option<User>, Exchange, String), Fault> {
        let user = self.user(name).await?;
        let verifier = match &user {
            Some(user) => user.scram.clone(),
            None => Verifier::of_nobody(name, &self.key),
        };
        let (exchange, answer) = Exchange::begin(verifier, first)?;
        Ok((user, exchange, answer))
    }

    /// The user of that name and secret.
    ///
    /// # Errors
    /// 28P01, and what the store refuses.
    pub(super) async fn check(&self, name: &str, secret: &str, from: Option<IpAddr>) -> Result<User, Fault> {
        let user = self.user(name).await?;
        let hashed = user.as_ref().map(|user| user.argon2id.clone()).unwrap_or_default();
        let right = match self.hashing.acquire().await {
            Ok(_turn) => {
                let secret = secret.to_owned();
                tokio::task::spawn_blocking(move || secret::verify(&secret, &hashed)).await.unwrap_or(false)
            }
            Err(_) => false,
        };
        match user.filter(|_| right) {
            Some(user) => {
                self.forget(&user.name);
                Ok(user)
            }
            None => Err(self.refuse(name, from).await),
        }
    }

    /// Notes a wrong login, makes it wait, and says what is said to whoever tried.
    pub(super) async fn refuse(&self, name: &str, from: Option<IpAddr>) -> Fault {
        let name = shown(name);
        let mut wait = self.failed(&format!("name {name}"));
        if let Some(address) = from {
            wait = wait.max(self.failed(&format!("address {address}")));
        }
        tracing::warn!(user = %name, address = ?from, "a login failed");
        tokio::time::sleep(wait).await;
        Fault::login(&name)
    }

    fn failed(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= REMEMBERED {
            failures.retain(|_, (_, at)| at.elapsed() < FORGOTTEN);
            if failures.len() >= REMEMBERED {
                failures.clear();
            }
        }
        let (count, at) = failures.entry(key.to_owned()).or_insert((0, Instant::now()));
        *count = if at.elapsed() > FORGOTTEN { 1 } else { count.saturating_add(1) };
        *at = Instant::now();
        FIRST_WAIT.saturating_mul(1 << (*count - 1).min(6)).min(LONGEST_WAIT)
    }

    /// A right login makes the wrong ones before it forgotten.
    pub(super) fn forget(&self, name: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&format!("name {name}"));
    }
}

/// A name as it may be logged: what somebody typed there may be a secret, so that only what can be a name is shown.
fn shown(name: &str) -> String {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.is_empty() && name.len() <= 63 && name.chars().all(ok) && !name.starts_with("alv_") {
        return name.to_owned();
    }
    "(no name)".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_login_waits_longer_than_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&folder.path().display().to_string(), &Default::default(), folder.path()).unwrap();
        let gate = Gate::new(lake, Clock::System);
        let waits: Vec<u128> = (0..9).map(|_| gate.failed("name a").as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        assert_eq!(gate.failed("name b").as_millis(), 100);
        gate.forget("a");
        assert_eq!(gate.failed("name a").as_millis(), 100);
        assert_eq!(shown("alv_0011"), "(no name)");
        assert_eq!(shown("tableau"), "tableau");
    }
}
