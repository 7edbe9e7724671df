//! `alluvial scheduler`.

use std::time::Duration;

use super::Outcome;
use super::opened::Call;
use super::output::Output;
use super::progress::Progress;
use crate::config::{Overrides, Settings};
use crate::error::Result;
use crate::jobs::lease::BEAT;
use crate::jobs::meter::Watcher;
use crate::jobs::night::Nights;
use crate::jobs::report::RunStatus;
use crate::jobs::scheduler::{Scheduler, Step};
use crate::jobs::time::SystemTime;
use crate::jobs::webhook::Webhooks;
use crate::lake::Lake;

/// The shortest pause between two looks.
const SHORTEST: Duration = Duration::from_millis(200);

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
        let progress = Progress::new(output);
        if args.once {
            return Box::pin(once(settings, call, &progress, output)).await;
        }
        let mut told = |text: &str| output.note(text);
        run_until(settings, call, &progress, stopped(), &mut told).await.map(|()| Outcome::Done)
    })
}

/// Runs the jobs by their schedules until `stop`, and tells of every day.
///
/// # Errors
/// Settings that are wrong, a lake that cannot be opened.
pub(super) async fn run_until(
    settings: Settings,
    call: &Call<'_>,
    watcher: &dyn Watcher,
    stop: impl Future<Output = ()>,
    told: &mut dyn FnMut(&str),
) -> Result<()> {
    let clock = call.environment.clock()?;
    let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
    let beating = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
    let zone = settings.project.zone;
    let nights = nights(settings, call, watcher)?;
    let time = SystemTime::new(clock);
    let mut scheduler = Scheduler::new(&lake, &nights, &time, zone).beating(beating, BEAT);
    {
        let looping = std::pin::pin!(looping(&mut scheduler, told));
        futures::future::select(looping, std::pin::pin!(stop)).await;
    }
    // Whoever comes next need not wait for the lease to run out.
    scheduler.stop().await
}

/// Runs what is due now.
async fn once(settings: Settings, call: &Call<'_>, progress: &Progress, output: &mut Output<'_>) -> Result<Outcome> {
    let clock = call.environment.clock()?;
    let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
    let beating = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
    let zone = settings.project.zone;
    let nights = nights(settings, call, progress)?;
    let time = SystemTime::new(clock);
    let mut scheduler = Scheduler::new(&lake, &nights, &time, zone).beating(beating, BEAT);
    let outcome = {
        let looping = std::pin::pin!(until_nothing_is_due(&mut scheduler, output));
        match futures::future::select(looping, std::pin::pin!(stopped())).await {
            futures::future::Either::Left((outcome, _)) => outcome,
            futures::future::Either::Right(((), _)) => Ok(Outcome::Done),
        }
    };
    let resigned = scheduler.stop().await;
    outcome.and_then(|outcome| resigned.map(|()| outcome))
}

/// A project's nights, for the command line's project.
pub(super) fn nights<'a>(settings: Settings, call: &Call<'a>, watcher: &'a dyn Watcher) -> Result<Nights<'a>> {
    let overrides = Overrides { lake: call.globals.lake.clone() };
    let webhooks =
        Webhooks { key: call.environment.webhook_key(), allow_private: settings.alerts.allow_private_addresses };
    let clock = call.environment.clock()?;
    Ok(Nights { settings, environment: call.environment, overrides, clock, watcher, webhooks })
}

/// Goes on for ever.
async fn looping(scheduler: &mut Scheduler<'_>, told: &mut dyn FnMut(&str)) {
    loop {
        let wait = match scheduler.step().await {
            Ok(Step::Ran { job, as_of, status }) => {
                told(&format!("{job} as of {as_of}: {}", status.word()));
                continue;
            }
            Ok(Step::Wait(wait) | Step::Standby(wait)) => wait,
            Err(error) => {
                tracing::warn!(code = error.code(), "the scheduler goes on: {error}");
                Duration::from_secs(10)
            }
        };
        tokio::time::sleep(wait.max(SHORTEST)).await;
    }
}

async fn until_nothing_is_due(scheduler: &mut Scheduler<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    let mut worst = Outcome::Done;
    loop {
        match scheduler.step().await? {
            Step::Ran { job, as_of, status } => {
                output.note(&format!("{job} as of {as_of}: {}", status.word()));
                if !matches!(status, RunStatus::Succeeded | RunStatus::Unchanged | RunStatus::Superseded) {
                    worst = Outcome::Faulty;
                }
            }
            Step::Wait(_) => return Ok(worst),
            Step::Standby(wait) => tokio::time::sleep(wait.max(SHORTEST)).await,
        }
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
