//! `alluvial serve`.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::Output;
use super::scheduler::run_until;
use crate::config::Settings;
use crate::config::serve::{Listen, parse_listen};
use crate::error::{Error, Kind, Result};
use crate::jobs::meter::Unwatched;
use crate::serve::{Server, users};

/// How long the scheduler may take to give its lease back.
const LAST: Duration = Duration::from_secs(10);

/// What `alluvial serve` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where the Postgres wire listens: address:port (port 0 is any that is free), or off
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    pub postgres: Option<Door>,
    /// Where Flight SQL listens
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    pub flight: Option<Door>,
    /// Where the API, links, /healthz and /metrics are answered
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    pub http: Option<Door>,
    /// Answer, and run no jobs
    #[arg(long)]
    pub no_scheduler: bool,
}

/// A door as it is given: an address, or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door(pub Listen);

fn listen(text: &str) -> Result<Door, String> {
    parse_listen(text).map(Door).map_err(|error| match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    })
}

/// Opens the doors, says where they are, and answers until it is told to stop (SIGTERM or SIGINT).
///
/// # Errors
/// What the project and [`Server::bind`] refuse.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let mut serving = settings.serve.clone();
        for (given, door) in
            [(args.postgres, &mut serving.postgres), (args.flight, &mut serving.flight), (args.http, &mut serving.http)]
        {
            if let Some(given) = given {
                *door = given.0;
            }
        }
        // Audiences are recorded and nights are published: only a server of tables alone can do without writing.
        let writes = serving.http.is_some() || !args.no_scheduler;
        let opened = Box::pin(Opened::new(settings.clone(), call.environment, writes)).await?;
        if !users::any(&opened.project.lake).await? {
            output.warn("there are no users, so that nobody can log in: `alluvial user add NAME` makes one");
        }
        let stop = stopped()?;
        let server = Box::pin(Server::bind(opened.project, opened.clock, serving)).await?;
        let doors = server.addresses();
        let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |at| at.to_string());
        let nights = if args.no_scheduler { None } else { Some(Nightly::begin(settings, call)?) };
        output.note(&format!("postgres: {}", shown(doors.postgres)));
        output.note(&format!("flight: {}", shown(doors.flight)));
        output.note(&format!("http: {}", shown(doors.http)));
        let stopping = async {
            stop.await;
            if let Some(nights) = &nights {
                nights.stop();
            }
        };
        Box::pin(server.run(stopping)).await?;
        if let Some(nights) = nights {
            nights.ended().await;
        }
        output.note("stopped");
        Ok(Outcome::Done)
    })
}

/// The scheduler beside the server: on a thread and a runtime of its own, so that a night and a client never wait for each
/// other's threads.
struct Nightly {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<()>>,
}

impl Nightly {
    fn begin(settings: Settings, call: &Call<'_>) -> Result<Self> {
        let (environment, globals) = (call.environment.clone(), call.globals.clone());
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let work = move || {
            let runtime = super::runtime(&settings)?;
            let call = Call { globals: &globals, environment: &environment };
            let done = runtime.block_on(Box::pin(async {
                let stopped = async move {
                    // The sender lives as long as the thread is waited for.
                    drop(stopped.wait_for(|stopped| *stopped).await);
                };
                run_until(settings, &call, &Unwatched, stopped, &mut |told| tracing::info!("{told}")).await
            }));
            // What a run that was dropped has left on other threads is not waited for.
            runtime.shutdown_background();
            done
        };
        let thread = std::thread::Builder::new().name("nights".to_owned()).stack_size(8 << 20).spawn(work);
        let refused = |error: std::io::Error| {
            Error::new(Kind::Resources, "serve.scheduler", "no thread could be started for the jobs").with_source(error)
        };
        Ok(Self { stop, thread: thread.map_err(refused)? })
    }

    /// Tells it to stop: a day that is being run is run again by whoever comes next.
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for its end.
    async fn ended(self) {
        self.stop();
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join());
        match tokio::time::timeout(LAST, joined).await {
            Ok(Ok(Ok(Ok(())))) => {}
            Ok(Ok(Ok(Err(error)))) => tracing::error!(code = error.code(), "the scheduler ended: {error}"),
            Ok(_) => tracing::error!("the scheduler ended by a fault of its own"),
            Err(_) => tracing::warn!("the scheduler did not end in time: its lease runs out by itself"),
        }
    }
}

/// Waits for SIGTERM or SIGINT, which from here on end the process no longer by themselves.
fn stopped() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let refused = |error: std::io::Error| {
        Error::new(Kind::Resources, "serve.signals", "the system's signals cannot be heard").with_source(error)
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
