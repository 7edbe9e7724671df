//! Which of several schedulers leads.
//!
//! Leadership is an epoch: an object that is created once, so that of those who want the next epoch one gets it. A local
//! disk has no compare-and-swap and clocks of machines differ, hence no expiry stands in it. The leader changes its
//! heartbeat every few seconds; a standby that sees the same heartbeat for a whole lease of its *own* monotonic time
//! takes the next epoch. A leader that was asleep for so long finds the newer epoch at its next look and stands down.
//! The lease spares double work. That nothing is published twice is the commit recipe's promise, not the lease's.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::lake::{Created, Lake};

use super::state::nonce;
use super::time::Time;

const FOLDER: &str = "state/leader";

/// How long a heartbeat may stay the same before its leader counts as gone.
pub const LEASE: Duration = Duration::from_secs(40);
/// How often the leader changes its heartbeat, and the others look at it.
pub const BEAT: Duration = Duration::from_secs(8);

/// Whether this scheduler leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does, in this epoch.
    Leader(u64),
    /// Another does, or may.
    Standby,
}

/// One scheduler's view of who leads.
#[derive(Debug)]
pub struct Lease {
    held: Option<u64>,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    epoch: u64,
    beat: Option<Vec<u8>>,
    since: Duration,
}

fn name(epoch: u64, what: &str) -> String {
    format!("{FOLDER}/{epoch:012}-{what}.json")
}

/// The epoch and the word of an object's name.
fn parse(path: &str) -> Option<(u64, &str)> {
    let (epoch, what) = path.rsplit('/').next()?.strip_suffix(".json")?.split_once('-')?;
    Some((epoch.parse().ok()?, what))
}

impl Default for Lease {
    fn default() -> Self {
        Self::new()
    }
}

impl Lease {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self { held: None, seen: None }
    }

    /// The epoch in which this scheduler leads, as far as it knows.
    pub fn epoch(&self) -> Option<u64> {
        self.held
    }

    /// The object that is this leader's heartbeat; none while another leads.
    pub fn beat_object(&self) -> Option<String> {
        self.held.map(|held| name(held, "beat"))
    }

    /// Looks who leads: changes the heartbeat of a leader, stands down where there is a newer epoch, takes over where
    /// the leader is gone.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn tend(&mut self, lake: &Lake, time: &dyn Time) -> Result<Standing> {
        let objects = lake.list(FOLDER).await?;
        let names: Vec<(u64, &str)> = objects.iter().filter_map(|object| parse(&object.path)).collect();
        let newest = names.iter().filter(|(_, what)| *what == "lead").map(|(epoch, _)| *epoch).max();
        if let Some(held) = self.held {
            if newest == Some(held) {
                lake.put(&name(held, "beat"), nonce()).await?;
                return Ok(Standing::Leader(held));
            }
            self.held = None;
            self.seen = None;
        }
        let Some(newest) = newest else { return self.take(lake, 1, &names).await };
        if names.contains(&(newest, "end")) {
            return self.take(lake, newest + 1, &names).await;
        }
        let beat = lake.find(&name(newest, "beat")).await?.map(|bytes| bytes.to_vec());
        let now = time.elapsed();
        match &self.seen {
            Some(seen) if seen.epoch == newest && seen.beat == beat => {
                if now.saturating_sub(seen.since) >= LEASE {
                    return self.take(lake, newest + 1, &names).await;
                }
            }
            _ => self.seen = Some(Seen { epoch: newest, beat, since: now }),
        }
        Ok(Standing::Standby)
    }

    async fn take(&mut self, lake: &Lake, epoch: u64, names: &[(u64, &str)]) -> Result<Standing> {
        self.seen = None;
        if lake.put_new(&name(epoch, "lead"), nonce()).await? == Created::Taken {
            return Ok(Standing::Standby);
        }
        self.held = Some(epoch);
        lake.put(&name(epoch, "beat"), nonce()).await?;
        // Epochs only grow, and the newest says all there is to say.
        for (old, what) in names.iter().filter(|(old, _)| old + 1 < epoch) {
            lake.delete(&name(*old, what)).await?;
        }
        Ok(Standing::Leader(epoch))
    }

    /// Stands down, so that another need not wait for the lease to run out.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn resign(&mut self, lake: &Lake) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        lake.put_new(&name(held, "end"), nonce()).await.map(drop)
    }
}

/// The epoch that leads and its heartbeat; none where nobody leads.
///
/// # Errors
/// What the store refuses.
pub async fn leader(lake: &Lake) -> Result<Option<(u64, Option<Vec<u8>>)>> {
    let objects = lake.list(FOLDER).await?;
    let names: Vec<(u64, &str)> = objects.iter().filter_map(|object| parse(&object.path)).collect();
    let newest = names.iter().filter(|(_, what)| *what == "lead").map(|(epoch, _)| *epoch).max();
    let Some(epoch) = newest.filter(|epoch| !names.contains(&(*epoch, "end"))) else { return Ok(None) };
    Ok(Some((epoch, lake.find(&name(epoch, "beat")).await?.map(|bytes| bytes.to_vec()))))
}

/// When the newest leader last changed its heartbeat, by the store's clock; none where none has ever led.
///
/// # Errors
/// What the store refuses.
pub async fn last_beat(lake: &Lake) -> Result<Option<DateTime<Utc>>> {
    Ok(lake.list(FOLDER).await?.iter().map(|object| object.modified).max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::simulation::World;
    use crate::lake::testing;

    #[tokio::test]
    async fn one_leads_and_the_other_takes_over_when_it_is_gone() {
        let lake = testing::memory();
        let world = World::new(1);
        let (mut first, mut second) = (Lease::new(), Lease::new());
        assert_eq!(first.tend(&lake, &world).await.unwrap(), Standing::Leader(1));
        for _ in 0..20 {
            assert_eq!(second.tend(&lake, &world).await.unwrap(), Standing::Standby);
            world.pass(BEAT);
            assert_eq!(first.tend(&lake, &world).await.unwrap(), Standing::Leader(1));
        }
        // The first sleeps.
        let asleep = world.elapsed();
        while second.tend(&lake, &world).await.unwrap() == Standing::Standby {
            world.pass(BEAT);
        }
        assert!(world.elapsed() - asleep <= Duration::from_secs(60), "{:?}", world.elapsed() - asleep);
        assert_eq!(second.epoch(), Some(2));
        assert_eq!(first.tend(&lake, &world).await.unwrap(), Standing::Standby, "it stands down");
    }

    #[tokio::test]
    async fn who_resigns_is_followed_at_once_and_old_epochs_are_cleared() {
        let lake = testing::memory();
        let world = World::new(1);
        for epoch in 1..=5 {
            let mut lease = Lease::new();
            assert_eq!(lease.tend(&lake, &world).await.unwrap(), Standing::Leader(epoch));
            lease.resign(&lake).await.unwrap();
        }
        assert_eq!(lake.list(FOLDER).await.unwrap().len(), 6, "of the last two epochs");
    }
}
