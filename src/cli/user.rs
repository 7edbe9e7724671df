//! `alluvial user`: who may connect to `alluvial serve`.

use std::collections::BTreeSet;

use chrono::{NaiveDate, TimeDelta};

use super::Outcome;
use super::opened::Call;
use super::output::Output;
use super::rows::{Cell, Rows};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::serve::users::{self, NewUser, Role, User};

/// What `alluvial user` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What is done.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Add a user and show the secret, once
    Add(Add),
    /// List the users
    List,
    /// Remove a user; open sessions and running statements end at once
    Revoke {
        /// The user's name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// What a new user is made of.
#[derive(Debug, Clone, clap::Args)]
pub struct Add {
    /// The name to connect with
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What the user may see
    #[arg(long, value_enum, default_value_t = Role::Reader)]
    pub role: Role,
    /// The last day on which the user may connect (UTC)
    #[arg(long, value_name = "DATE", value_parser = super::arguments::date, conflicts_with = "days")]
    pub until: Option<NaiveDate>,
    /// For how many days the user may connect
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=3650))]
    pub days: Option<i64>,
    /// A segment that the user may see, and no table else; several times for several
    #[arg(long = "segment", value_name = "ID")]
    pub segments: Vec<String>,
    /// A format of exports that the user may have; several times for several
    #[arg(long = "export-format", value_name = "NAME")]
    pub formats: Vec<String>,
}

/// Adds, lists or revokes.
///
/// # Errors
/// What the lake and the users refuse.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let lake = Lake::open(settings.lake.url.as_str(), &call.environment.cloud(), &settings.root)?;
        let now = call.environment.clock()?.now();
        match &args.action {
            Action::Add(add) => {
                let after = |days: i64| now + TimeDelta::days(days);
                let until =
                    add.until.and_then(|day| day.succ_opt()).map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc());
                if until.is_some_and(|until| until <= now) {
                    return Err(Error::usage("serve.expired", "the user could never connect: that day is over")
                        .with_hint("give `--until` a day to come, or `--days`"));
                }
                let set =
                    |names: &[String]| (!names.is_empty()).then(|| names.iter().cloned().collect::<BTreeSet<_>>());
                let new = NewUser {
                    name: add.name.clone(),
                    role: add.role,
                    expires_at: until.or(add.days.map(after)),
                    segments: set(&add.segments),
                    formats: set(&add.formats),
                };
                let (user, secret) = users::add(&lake, new, now).await?;
                let rows = Rows::new(&["name", "role", "expires_at", "segments", "secret"]);
                output.rows(rows.with(vec![
                    Cell::text(&user.name),
                    Cell::text(user.role.name()),
                    expires(&user),
                    names(user.segments.as_ref()),
                    Cell::text(secret),
                ]))?;
                output.note("the secret is kept nowhere and cannot be shown again");
            }
            Action::List => {
                let mut rows =
                    Rows::new(&["name", "role", "created_at", "expires_at", "expired", "segments", "formats"]);
                for user in users::list(&lake).await? {
                    rows.push(vec![
                        Cell::text(&user.name),
                        Cell::text(user.role.name()),
                        Cell::text(user.created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
                        expires(&user),
                        Cell::Boolean(user.is_expired(now)),
                        names(user.segments.as_ref()),
                        names(user.formats.as_ref()),
                    ]);
                }
                output.rows(rows)?;
            }
            Action::Revoke { name } => {
                users::revoke(&lake, name).await?;
                output.note(&format!("`{name}` may connect no more"));
            }
        }
        Ok(Outcome::Done)
    })
}

fn expires(user: &User) -> Cell {
    Cell::maybe(user.expires_at, |at| Cell::text(at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)))
}

fn names(names: Option<&BTreeSet<String>>) -> Cell {
    Cell::maybe(names, |names| Cell::List(names.iter().map(Cell::text).collect()))
}
