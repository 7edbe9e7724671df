//! `alluvial link`: an audience for somebody who needs an address, not a shell.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::{Format, Output};
use super::rows::{Cell, Rows};
use crate::audience::format::Format as FileFormat;
use crate::config::quantity::parse_duration;
use crate::diagnostic::nearest;
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::serve::check_new_link;
use crate::serve::links::{self, Link};
use crate::serve::users::{self, Role, User};
use crate::snapshot::reading::Reading;

/// The longest that a link may open anything.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What `alluvial link` takes. The file's format is `--format`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "The link delivers as a user of `alluvial serve`, may give what that user may have, and ends with the user. Every \
                  download is recorded in `exports`."
)]
pub struct Args {
    /// What else to do
    #[command(subcommand)]
    pub action: Option<Action>,
    /// The segment whose audience it gives
    #[arg(value_name = "SEGMENT", required = true)]
    pub segment: Option<String>,
    /// The user as whom it delivers [default: the only one who may]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// For how long it opens anything
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    pub expires: Duration,
    /// How often it can be downloaded [default: as often as anybody likes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub uses: Option<u32>,
    /// Download at once, without a page before: for Excel and Google Sheets
    #[arg(long)]
    pub direct: bool,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub report: Format,
}

/// What else is done.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// List the links
    List,
    /// Revoke a link: it opens nothing any more
    Revoke {
        /// The link's id, or how it begins
        #[arg(value_name = "ID")]
        id: String,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = parse_duration(text).map_err(|error| error.message().to_owned())?;
    if read.is_zero() || read > LONGEST {
        return Err("a link opens for up to 366d".to_owned());
    }
    Ok(read)
}

/// Makes, lists or revokes.
///
/// # Errors
/// A segment, format or user that is not there, or may not be had; what the store refuses.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let now = call.environment.clock()?.now();
        match &args.action {
            None => {
                let opened = Box::pin(Opened::new(settings, call.environment, true)).await?;
                Box::pin(make(args, call, &opened, output)).await?;
            }
            Some(Action::List) => {
                let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
                output.rows(Box::pin(list(&lake, now)).await?)?;
            }
            Some(Action::Revoke { id }) => {
                let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
                let link = Box::pin(links::revoke(&lake, id)).await?;
                output.note(&format!("the link {} to `{}` opens nothing any more", link.id, link.segment));
            }
        }
        Ok(Outcome::Done)
    })
}

async fn make(args: &Args, call: &Call<'_>, opened: &Opened, output: &mut Output<'_>) -> Result<()> {
    let format = call.globals.word.as_str();
    if format.is_empty() || format == "table" {
        return Err(Error::usage("audience.no_format", "a link has a format").with_hint(
            "write `--format email`, or basic, extended, sms, facebook, google, klaviyo, mailchimp, parquet, jsonl",
        ));
    }
    let project = &opened.project;
    let Some(base) = project.settings.serve.address() else {
        return Err(Error::definition("link.no_address", "`[serve] http` is off, and links are answered there")
            .in_file("alluvial.toml")
            .with_hint("give it an address, and `public_url` where people reach it"));
    };
    FileFormat::load(&project.engine, format)?;
    let segment = args.segment.as_deref().unwrap_or_default();
    known_segment(opened, segment).await?;
    let now = opened.clock.now();
    let user = user(&project.lake, args.user.as_deref(), segment, format, now).await?;
    let Some(key) = project.key() else {
        return Err(Error::internal("link.no_key", "the lake was opened without its key"));
    };
    let until = now + TimeDelta::from_std(args.expires).unwrap_or_default();
    let link = Link { uses: args.uses, direct: args.direct, ..Link::new(segment, format, &user, now, until) };
    let path = link.keep(&project.lake, key).await?;
    let url = format!("{base}{path}");
    if output.format() == Format::Json {
        let answer = json!({
            "url": url, "id": link.id, "segment": link.segment, "format": link.format, "user": link.user,
            "expires_at": instant(link.expires_at), "uses": link.uses, "direct": link.direct,
        });
        return output.line(&answer.to_string());
    }
    output.line(&url)?;
    let often = match link.uses {
        None => "as often as anybody likes".to_owned(),
        Some(1) => "once".to_owned(),
        Some(uses) => format!("{uses} times"),
    };
    output.note(&format!(
        "whoever has it can download `{segment}` for {format} {often} until {}, as `{}`",
        instant(link.expires_at),
        user.name
    ));
    output.note(&format!("`alluvial link revoke {}` ends it before", &link.id[..12]));
    if link.direct && link.uses.is_some() {
        output.warn("chat programs fetch a direct link to show what is behind it, and each fetch is a use");
    }
    if is_local(&base) {
        output.warn("only this machine reaches that address: `[serve] public_url` says where people reach the server");
    }
    Ok(())
}

/// Refuses a segment that no published day has.
async fn known_segment(opened: &Opened, segment: &str) -> Result<()> {
    let reading = Box::pin(Reading::open(&opened.project)).await?;
    reading.day(None)?;
    let known = reading.texts("SELECT segment FROM segments_latest ORDER BY segment").await?;
    if known.iter().any(|known| known == segment) {
        return Ok(());
    }
    let error = Error::not_found("segment.not_published", format!("there is no segment `{segment}`"));
    Err(match nearest(segment, known.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint("`alluvial segments` lists the segments"),
    })
}

/// The user as whom the link delivers.
async fn user(lake: &Lake, name: Option<&str>, segment: &str, format: &str, now: DateTime<Utc>) -> Result<User> {
    if let Some(name) = name {
        let found = users::find(lake, name).await?.filter(|user| !user.is_expired(now));
        let user = found.ok_or_else(|| {
            Error::not_found("serve.no_such_user", format!("there is no user `{name}`"))
                .with_hint("`alluvial user list` lists them, `alluvial user add NAME --role marketer` makes one")
        })?;
        check_new_link(&user, segment, format)?;
        return Ok(user);
    }
    let may = |user: &User| {
        user.role != Role::Reader && !user.is_expired(now) && check_new_link(user, segment, format).is_ok()
    };
    let mut all: Vec<User> = users::list(lake).await?.into_iter().filter(may).collect();
    match (all.len(), all.pop()) {
        (1, Some(only)) => Ok(only),
        (0, _) => {
            Err(Error::usage("link.no_user", "a link delivers as a user of `alluvial serve`, and none may have this")
                .with_hint("`alluvial user add NAME --role marketer` makes one who may"))
        }
        (_, last) => {
            let names: Vec<String> = all.iter().chain(&last).map(|user| format!("`{}`", user.name)).collect();
            Err(Error::usage(
                "link.which_user",
                "a link delivers as one user of `alluvial serve`, and several may have this",
            )
            .with_hint(format!("write `--user NAME`: there are {}", names.join(", "))))
        }
    }
}

async fn list(lake: &Lake, now: DateTime<Utc>) -> Result<Rows> {
    let columns = ["id", "segment", "format", "user", "created_at", "expires_at", "#uses", "#used", "direct", "state"];
    let mut rows = Rows::new(&columns);
    for link in links::list(lake).await? {
        let used = link.used(lake).await?;
        let stands =
            users::find(lake, &link.user).await?.is_some_and(|user| user.id == link.user_id && !user.is_expired(now));
        let state = if link.is_expired(now) {
            "expired"
        } else if !stands {
            "user gone"
        } else if link.uses.is_some_and(|uses| used >= uses) {
            "used up"
        } else {
            "open"
        };
        rows.push(vec![
            Cell::text(&link.id),
            Cell::text(&link.segment),
            Cell::text(&link.format),
            Cell::text(&link.user),
            Cell::Text(instant(link.created_at)),
            Cell::Text(instant(link.expires_at)),
            Cell::maybe(link.uses, |uses| Cell::count(u64::from(uses))),
            Cell::count(u64::from(used)),
            Cell::Boolean(link.direct),
            Cell::text(state),
        ]);
    }
    Ok(rows)
}

/// Whether an address leads nowhere but to this machine.
fn is_local(base: &str) -> bool {
    let host = base.split("://").nth(1).unwrap_or_default();
    ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
