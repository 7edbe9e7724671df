//! What a scheduler knows of time and chance: all of it injected, so that years can be simulated in seconds.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::calendar::Clock;

/// Where a scheduler's time and chance come from.
#[async_trait]
pub trait Time: Send + Sync {
    /// The present, as the machine's clock has it; it may jump.
    fn now(&self) -> DateTime<Utc>;
    /// Time that passed since some moment; it never jumps, and no other machine's is like it.
    fn elapsed(&self) -> Duration;
    /// A number from 0 up to 1.
    fn chance(&self) -> f64;
    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// The system's.
#[derive(Debug, Clone)]
pub struct SystemTime {
    clock: Clock,
    began: Instant,
}

impl SystemTime {
    /// The present comes from `clock`, everything else from the system.
    pub fn new(clock: Clock) -> Self {
        Self { clock, began: Instant::now() }
    }
}

#[async_trait]
impl Time for SystemTime {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn chance(&self) -> f64 {
        let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
        // Of a UUID's first half, the version's four bits are no chance.
        f64::from((high >> 32) as u32) / f64::from(u32::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// How long to wait before the attempt that follows `failures` failed ones: half a minute, doubled each time, at most
/// half an hour, and a quarter more or less by chance, so that jobs that failed together are not tried together.
pub fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = 30.0 * 2.0_f64.powi(i32::try_from(failures.saturating_sub(1)).unwrap_or(10).min(10));
    Duration::from_secs_f64(doubled.min(1_800.0) * (0.75 + 0.5 * chance.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_an_hour() {
        let seconds = |failures, chance| backoff(failures, chance).as_secs_f64();
        assert_eq!([seconds(1, 0.5), seconds(2, 0.5), seconds(3, 0.5)], [30.0, 60.0, 120.0]);
        assert_eq!((seconds(1, 0.0), seconds(1, 1.0)), (22.5, 37.5));
        assert_eq!(seconds(50, 0.5), 1_800.0);
    }
}
