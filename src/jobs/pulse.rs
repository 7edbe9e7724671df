//! Heartbeats on a thread of their own.
//!
//! A run may keep every thread of its runtime at work for minutes, and whoever watches it must not take it for dead
//! meanwhile. So what says that it goes on shares nothing with it: no thread, no runtime, no connection to the store.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::state::nonce;
use crate::error::{Error, Kind, Result};
use crate::lake::Lake;

/// Changes an object every so often, until it is dropped.
#[derive(Debug)]
pub struct Pulse {
    /// Its end is what the thread waits for.
    _goes_on: Sender<()>,
}

impl Pulse {
    /// Begins: the object, below the lake's root, changes after `every` for the first time. `lake` should be opened for this
    /// alone: a connection that the run has opened is served by the run's threads.
    ///
    /// # Errors
    /// `jobs.pulse` where no thread can be started.
    pub fn start(lake: Lake, object: String, every: Duration) -> Result<Self> {
        let refused = |error: std::io::Error| {
            Error::new(Kind::Resources, "jobs.pulse", "no thread could be started for heartbeats").with_source(error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let (goes_on, ended) = channel::<()>();
        std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || {
                while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    if let Err(error) = runtime.block_on(Box::pin(lake.put(&object, nonce()))) {
                        tracing::debug!(code = error.code(), "a heartbeat could not be written");
                    }
                }
                // A request that hangs keeps nobody waiting.
                runtime.shutdown_background();
            })
            .map_err(refused)?;
        Ok(Self { _goes_on: goes_on })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::testing;

    #[tokio::test]
    async fn it_beats_while_nothing_else_can() {
        let lake = testing::memory();
        let pulse = Pulse::start(lake.clone(), "state/beat".to_owned(), Duration::from_millis(5)).unwrap();
        // The only thread of this runtime is kept busy: nothing that was spawned on it would run.
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 3 {
            seen.extend(futures::executor::block_on(lake.find("state/beat")).unwrap());
        }
        drop(pulse);
    }
}
