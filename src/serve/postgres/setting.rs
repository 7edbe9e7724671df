//! What a client may set for itself, and what it is shown.
//!
//! `alluvial.as_of` pins the session to a published day, `statement_timeout` shortens what a statement may take, `search_path`
//! says where names without a schema are found. What tools set as a matter of course is taken and changes nothing; whatever
//! else is refused, the engine's own options above all.

use chrono::NaiveDate;
use datafusion::sql::sqlparser::ast::{ContextModifier, Expr, Set};

use crate::calendar::{Zone, parse_date};
use crate::serve::fault::Fault;
use crate::serve::path;
use crate::serve::pg::SERVER_VERSION;
use crate::serve::session::{Own, Session};
use std::sync::PoisonError;
use std::time::Duration;

/// Settings that are taken, with what they are shown as.
const TAKEN: [(&str, &str); 36] = [
    ("application_name", ""),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("check_function_bodies", "on"),
    ("client_min_messages", "notice"),
    ("cursor_tuple_fraction", "0.1"),
    ("datestyle", "ISO, YMD"),
    ("default_text_search_config", "pg_catalog.simple"),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("enable_hashjoin", "on"),
    ("enable_mergejoin", "on"),
    ("enable_nestloop", "on"),
    ("enable_seqscan", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("geqo", "on"),
    ("idle_in_transaction_session_timeout", "0"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("jit", "off"),
    ("lc_monetary", "C"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("quote_all_identifiers", "off"),
    ("row_security", "on"),
    ("server_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("synchronous_commit", "on"),
    ("transaction_deferrable", "off"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
    ("transform_null_equals", "off"),
    ("work_mem", "4MB"),
    ("xmloption", "content"),
];

/// What has an effect when a client sets it as it connects.
const OURS: [&str; 6] =
    ["alluvial.as_of", "application_name", "client_encoding", "search_path", "statement_timeout", "timezone"];

/// What became of a `SET`: the parameter that the client is told of.
pub(super) type Told = Option<(&'static str, String)>;

/// The texts of a `SET`'s values.
fn text_of(values: &[Expr]) -> String {
    let one = |value: &Expr| match value {
        Expr::Value(value) => value.value.clone().into_string().unwrap_or_else(|| value.value.to_string()),
        other => other.to_string().trim_matches('"').to_owned(),
    };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Carries out a `SET`. `kept` is where a client's own texts are kept (its dates' style, its name).
///
/// # Errors
/// 42704 for what is no setting, 22023 for a value that it cannot have, 42501 for what nobody may set.
pub(super) fn set(session: &Session, statement: &Set, kept: &mut dyn FnMut(&str, String)) -> Result<Told, Fault> {
    match statement {
        Set::SingleAssignment { variable, values, .. } => {
            let name = variable.to_string().replace('"', "").to_lowercase();
            one(session, &name, &text_of(values), kept)
        }
        Set::SetTimeZone { value, .. } => one(session, "timezone", &text_of(std::slice::from_ref(value)), kept),
        Set::SetNames { charset_name, .. } => one(session, "client_encoding", &charset_name.value, kept),
        Set::SetNamesDefault {} | Set::SetTransaction { .. } => Ok(None),
        _ => Err(Fault::new("42501", "this cannot be set here")),
    }
}

/// Sets one.
///
/// # Errors
/// As [`set`].
pub(super) fn one(
    session: &Session,
    name: &str,
    value: &str,
    kept: &mut dyn FnMut(&str, String),
) -> Result<Told, Fault> {
    let change =
        |change: &mut dyn FnMut(&mut Own)| change(&mut session.own.lock().unwrap_or_else(PoisonError::into_inner));
    let is_default = value.is_empty() || value.eq_ignore_ascii_case("default");
    match name {
        "alluvial.as_of" => {
            let day = if is_default || value.eq_ignore_ascii_case("latest") { None } else { Some(day(value)?) };
            change(&mut |own| own.as_of = day);
            Ok(None)
        }
        "statement_timeout" => {
            let timeout = if is_default { None } else { duration(value)? };
            change(&mut |own| own.timeout = timeout);
            Ok(None)
        }
        "timezone" => {
            let zone = match value {
                _ if is_default || value.eq_ignore_ascii_case("local") => None,
                "GMT" | "gmt" | "UTC" | "utc" | "Z" => Some("UTC".to_owned()),
                _ => Some(Zone::parse(value).map_err(|error| Fault::from(error).of_value())?.name().to_owned()),
            };
            let told = zone.clone().unwrap_or_else(|| "UTC".to_owned());
            change(&mut |own| own.time_zone.clone_from(&zone));
            Ok(Some(("TimeZone", told)))
        }
        "search_path" => {
            // An empty one is one, too.
            let path = (!value.eq_ignore_ascii_case("default")).then(|| value.to_owned());
            change(&mut |own| own.path.clone_from(&path));
            Ok(Some(("search_path", path.unwrap_or_else(|| path::DEFAULT.to_owned()))))
        }
        "client_encoding" => match value.to_lowercase().replace(['-', '_', '\''], "").as_str() {
            // asyncpg sends it in quotes.
            "utf8" | "unicode" | "default" | "" => Ok(Some(("client_encoding", "UTF8".to_owned()))),
            _ => Err(Fault::new("22023", "texts are UTF-8 here").hint("`SET client_encoding TO 'UTF8'`")),
        },
        "transaction_read_only" | "default_transaction_read_only" if ["off", "false", "0"].contains(&value) => {
            Err(Fault::read_only())
        }
        _ if TAKEN.iter().any(|(taken, _)| *taken == name) => {
            kept(name, value.to_owned());
            Ok(match name {
                "datestyle" => Some(("DateStyle", style(value))),
                "intervalstyle" => Some(("IntervalStyle", value.to_owned())),
                "application_name" => {
                    session.activity.is_called(value);
                    Some(("application_name", value.to_owned()))
                }
                _ => None,
            })
        }
        _ => Err(unknown(name)),
    }
}

/// Dates are written with the year first, whatever order of day and month is asked for.
fn style(value: &str) -> String {
    if value.to_lowercase().contains("iso") { "ISO, YMD".to_owned() } else { value.to_owned() }
}

fn unknown(name: &str) -> Fault {
    Fault::new("42704", format!("there is no setting `{name}`"))
        .hint("`alluvial.as_of` pins the session to a day, `statement_timeout` shortens what a statement may take")
}

impl Fault {
    /// The same, as a fault of a value.
    fn of_value(mut self) -> Self {
        self.state = "22023";
        self
    }
}

fn day(text: &str) -> Result<NaiveDate, Fault> {
    parse_date(text).map_err(|error| Fault::from(error).of_value())
}

/// Milliseconds, or a number with a unit as Postgres has them; 0 is the server's own limit.
fn duration(text: &str) -> Result<Option<Duration>, Fault> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let wrong =
        || Fault::new("22023", format!("`{text}` is no time-out")).hint("write `'30s'`, `'5min'` or milliseconds");
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let most = number.checked_mul(unit).ok_or_else(wrong)?;
    Ok((most > 0).then(|| Duration::from_millis(most)))
}

/// A time-out in the largest unit that it is a whole number of.
fn written(most: Duration) -> String {
    let most = most.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
    let fitting = units.into_iter().find(|(_, long)| most > 0 && most.is_multiple_of(*long));
    fitting.map_or_else(|| format!("{most}ms"), |(unit, long)| format!("{}{unit}", most / long))
}

/// The name of what a `SET` sets, and whether for the transaction only; none for what has no value of its own.
pub(super) fn named(statement: &Set) -> Option<(String, bool)> {
    match statement {
        Set::SingleAssignment { variable, scope, .. } => {
            Some((variable.to_string().replace('"', "").to_lowercase(), *scope == Some(ContextModifier::Local)))
        }
        Set::SetTimeZone { local, .. } => Some(("timezone".to_owned(), *local)),
        _ => None,
    }
}

/// What a setting is.
///
/// # Errors
/// 42704 for what is none.
pub(super) fn show(
    session: &Session,
    words: &[String],
    kept: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, String), Fault> {
    let own = session.own();
    let name = match words.join(" ").as_str() {
        "time zone" => "timezone".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        _ => words.join("."),
    };
    let value = match name.as_str() {
        "alluvial.as_of" => own.as_of.map_or_else(|| "latest".to_owned(), |day| day.to_string()),
        "statement_timeout" => own.timeout.map_or_else(|| "0".to_owned(), written),
        "timezone" => own.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        "search_path" => own.path().to_owned(),
        "client_encoding" => "UTF8".to_owned(),
        "server_version" => SERVER_VERSION.to_owned(),
        "server_version_num" => "160006".to_owned(),
        "is_superuser" => "off".to_owned(),
        "session_authorization" => session.user.name.clone(),
        _ => match TAKEN.iter().find(|(taken, _)| *taken == name) {
            Some((taken, default)) => kept(taken).unwrap_or_else(|| (*default).to_owned()),
            None => return Err(unknown(&name)),
        },
    };
    Ok((name, value))
}

/// Puts one setting back, or all.
///
/// # Errors
/// 42704 for what is no setting.
pub(super) fn reset(session: &Session, name: Option<&str>, kept: &mut dyn FnMut(&str, String)) -> Result<Told, Fault> {
    let Some(name) = name else {
        let own = Own::of_server(&session.core.settings);
        *session.own.lock().unwrap_or_else(PoisonError::into_inner) = own;
        return Ok(None);
    };
    match TAKEN.iter().find(|(taken, _)| *taken == name) {
        Some((taken, default)) => {
            if *taken == "application_name" {
                session.activity.is_called(default);
            }
            kept(taken, (*default).to_owned());
            Ok(None)
        }
        None => one(session, name, "default", kept),
    }
}

/// The words of start-up options; a backslash keeps what comes after it in its word.
fn words(options: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), String::new(), false);
    for c in options.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            c if c.is_whitespace() && !escaped => words.push(std::mem::take(&mut word)),
            c => {
                word.push(c);
                escaped = false;
            }
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Takes what a client sets as it connects: by name, or as `options='-c name=value'`.
///
/// # Errors
/// As [`one`], for what is ours; the rest is taken.
pub(super) fn at_startup(session: &Session, given: &[(String, String)]) -> Result<(), Fault> {
    let mut all: Vec<(String, String)> = given.to_vec();
    if let Some((_, options)) = given.iter().find(|(name, _)| name == "options") {
        // `-c name=value`, `-cname=value` and `--name=value`.
        let words = words(options);
        let settings =
            words.iter().filter_map(|word| word.trim_start_matches("-c").trim_start_matches("--").split_once('='));
        all.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    for (name, value) in all {
        let name = name.to_lowercase();
        if OURS.contains(&name.as_str()) {
            one(session, &name, &value, &mut |_, _| {})?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_words_that_may_have_spaces() {
        assert_eq!(words("-c  a=1 -cb=x,\\ y"), ["-c", "a=1", "-cb=x, y"]);
    }

    #[test]
    fn time_outs_are_written_as_in_postgres() {
        let ms = |text: &str| duration(text).unwrap().map(|most| most.as_millis());
        assert_eq!((ms("0"), ms("1500"), ms("30s"), ms("5 min")), (None, Some(1_500), Some(30_000), Some(300_000)));
        for text in ["1500ms", "30s", "5min", "2h", "3d"] {
            assert_eq!(written(duration(text).unwrap().unwrap()), text);
        }
        for text in ["", "soon", "5x", "99999999999999999999"] {
            assert_eq!(duration(text).unwrap_err().state, "22023", "{text}");
        }
    }
}
