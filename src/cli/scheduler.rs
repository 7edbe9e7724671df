//! `alluvial scheduler`.

use std::time::Duration;

use super::Outcome;
use super::opened::Call;
use super::output::Output;
use super::progress::Progress;
use crate::config::{Overrides, Settings};
use crate::error::Result;
use crate::jobs::night::Nights;
use crate::jobs::report::RunStatus;
use crate::jobs::scheduler::{Scheduler, Step};
use crate::jobs::time::SystemTime;
use crate::jobs::webhook::Webhooks;
use crate::lake::Lake;

/// What `alluvial scheduler` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run what is due now, and end: for crontab and the like
    #[arg(long)]
    pub once: bool,
}

/// Runs the jobs by their schedules until stopped; with `--once` until nothing is due.
///
/// # Errors
/// Settings that are wrong, a lake that cannot be opened; with `--once` also a store that refuses.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let clock = call.environment.clock()?;
        let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
        let zone = settings.project.zone;
        let progress = Progress::new(output);
        let nights = nights(settings, call, &progress)?;
        let time = SystemTime::new(clock);
        let mut scheduler = Scheduler::new(&lake, &nights, &time, zone);
        let outcome = {
            let looping = std::pin::pin!(looping(&mut scheduler, args.once, output));
            match futures::future::select(looping, std::pin::pin!(stopped())).await {
                futures::future::Either::Left((outcome, _)) => outcome,
                futures::future::Either::Right(((), _)) => Ok(Outcome::Done),
            }
        };
        // Whoever comes next need not wait for the lease to run out.
        let resigned = scheduler.stop().await;
        outcome.and_then(|outcome| resigned.map(|()| outcome))
    })
}

/// A project's nights, for the command line's project.
pub(super) fn nights<'a>(settings: Settings, call: &Call<'a>, watcher: &'a Progress) -> Result<Nights<'a>> {
    let overrides = Overrides { lake: call.globals.lake.clone() };
    let webhooks =
        Webhooks { key: call.environment.webhook_key(), allow_private: settings.alerts.allow_private_addresses };
    let clock = call.environment.clock()?;
    Ok(Nights { settings, environment: call.environment, overrides, clock, watcher, webhooks })
}

async fn looping(scheduler: &mut Scheduler<'_>, once: bool, output: &mut Output<'_>) -> Result<Outcome> {
    let mut worst = Outcome::Done;
    loop {
        let wait = match scheduler.step().await {
            Ok(Step::Ran { job, as_of, status }) => {
                output.note(&format!("{job} as of {as_of}: {}", status.word()));
                if !matches!(status, RunStatus::Succeeded | RunStatus::Unchanged | RunStatus::Superseded) {
                    worst = Outcome::Faulty;
                }
                continue;
            }
            Ok(Step::Wait(_)) if once => return Ok(worst),
            Ok(Step::Wait(wait) | Step::Standby(wait)) => wait,
            Err(error) if once => return Err(error),
            Err(error) => {
                tracing::warn!(code = error.code(), "the scheduler goes on: {error}");
                Duration::from_secs(10)
            }
        };
        tokio::time::sleep(wait.max(Duration::from_millis(200))).await;
    }
}

/// Ends when the process is asked to end.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminated), Ok(mut interrupted)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        {
            let (terminated, interrupted) = (std::pin::pin!(terminated.recv()), std::pin::pin!(interrupted.recv()));
            futures::future::select(terminated, interrupted).await;
            return;
        }
    }
    let _asked = tokio::signal::ctrl_c().await;
}
