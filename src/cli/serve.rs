//! `alluvial serve`.

use std::net::SocketAddr;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::Output;
use crate::config::serve::{Listen, parse_listen};
use crate::error::{Error, Kind, Result};
use crate::serve::{Server, users};

/// What `alluvial serve` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where the Postgres wire listens: address:port (port 0 is any that is free), or off
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    pub postgres: Option<Door>,
    /// Where Flight SQL listens
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    pub flight: Option<Door>,
    /// Where /healthz and /metrics are answered
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    pub http: Option<Door>,
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
        let opened = Box::pin(Opened::new(settings, call.environment, false)).await?;
        if !users::any(&opened.project.lake).await? {
            output.warn("there are no users, so that nobody can log in: `alluvial user add NAME` makes one");
        }
        let stop = stopped()?;
        let server = Box::pin(Server::bind(opened.project, opened.clock, serving)).await?;
        let doors = server.addresses();
        let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |at| at.to_string());
        output.note(&format!("postgres: {}", shown(doors.postgres)));
        output.note(&format!("flight: {}", shown(doors.flight)));
        output.note(&format!("http: {}", shown(doors.http)));
        Box::pin(server.run(stop)).await?;
        output.note("stopped");
        Ok(Outcome::Done)
    })
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
