//! What is asked of an audience, and whether whoever asks may have it.

use axum::http::StatusCode;
use chrono::NaiveDate;

use super::problem::Problem;
use super::segments::{sees, unknown};
use crate::audience::format::Format;
use crate::audience::{Request, Whose};
use crate::calendar::parse_date;
use crate::config::quantity::parse_share;
use crate::serve::session::Session;
use crate::serve::users::{Role, User};

/// What an address asks for, after its `?`.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Reads it; every name must be known.
    ///
    /// # Errors
    /// `api.unknown_parameter`; `api.parameter_twice`, but for those in `several`.
    pub(super) fn read(query: Option<&str>, known: &[&str], several: &[&str]) -> Result<Self, Problem> {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_ref()) {
                return Err(Problem::unknown_parameter(&name, known));
            }
            if read.iter().any(|(other, _)| *other == name) && !several.contains(&name.as_ref()) {
                let message = format!("`{name}` is given twice");
                return Err(Problem::new(StatusCode::BAD_REQUEST, "api.parameter_twice", message));
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(read))
    }

    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Every value of a name, each of which may be several with commas between.
    fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(known, _)| known == name).flat_map(|(_, value)| value.split(','));
        values.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    pub(super) fn day(&self) -> Result<Option<NaiveDate>, Problem> {
        self.one("as_of").map(parse_date).transpose().map_err(|error| bad("as_of", &error))
    }

    /// A whole number from 1 to `most`.
    pub(super) fn number(&self, name: &str, usual: usize, most: usize) -> Result<usize, Problem> {
        let Some(text) = self.one(name) else { return Ok(usual) };
        text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
            let message = format!("`{name}` is not a whole number from 1 to {most}");
            Problem::new(StatusCode::BAD_REQUEST, "api.bad_parameter", message)
        })
    }

    fn flag(&self, name: &str, usual: bool) -> Result<bool, Problem> {
        match self.one(name) {
            None => Ok(usual),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => {
                let message = format!("`{name}` is neither `true` nor `false`");
                Err(Problem::new(StatusCode::BAD_REQUEST, "api.bad_parameter", message))
            }
        }
    }
}

fn bad(name: &str, error: &crate::error::Error) -> Problem {
    let problem = Problem::new(StatusCode::BAD_REQUEST, "api.bad_parameter", format!("`{name}`: {}", error.message()));
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// What can be asked of an audience.
pub(super) const PARAMETERS: [&str; 6] = ["format", "as_of", "exclude", "holdout", "bom", "consent_check"];

/// An audience as a session asks for it.
///
/// # Errors
/// What is wrong with the parameters; 403 for what the user may not have.
pub(super) fn request(session: &Session, segment: &str, query: Option<&str>) -> Result<Request, Problem> {
    let asked = Asked::read(query, &PARAMETERS, &["exclude"])?;
    let user = &session.user;
    let Some(format) = asked.one("format") else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "audience.no_format", "an audience has a format").hint(
            "write `?format=email`, or basic, extended, sms, facebook, google, klaviyo, mailchimp, parquet, jsonl",
        ));
    };
    let exclude = asked.all("exclude");
    // What is taken off tells who is in it.
    for id in exclude.iter().map(String::as_str).chain([segment]) {
        if !sees(session, id) {
            let known = user.segments.iter().flatten().map(String::as_str);
            return Err(unknown(id, known).into());
        }
    }
    may(user, format)?;
    Format::load(&session.core.project.engine, format)?;
    let holdout = asked.one("holdout").map(parse_share).transpose().map_err(|error| bad("holdout", &error))?;
    let consent_check = asked.flag("consent_check", true)?;
    if !consent_check && user.role != Role::Admin {
        return Err(Problem::forbidden("api.consent_check", "only admins can do without asking for consent"));
    }
    Ok(Request {
        whose: Whose::Segments(vec![segment.to_owned()]),
        exclude,
        as_of: asked.day()?,
        format: format.to_owned(),
        holdout: holdout.unwrap_or(0.0),
        exclusive: false,
        since: None,
        rows_per_file: None,
        bom: asked.flag("bom", false)?,
        consent_check,
        requested_by: user.name.clone(),
        once: false,
    })
}

/// Refuses what a user may not have.
///
/// # Errors
/// 403 for a reader, and for a format that the user does not get.
pub(super) fn may(user: &User, format: &str) -> Result<(), Problem> {
    if user.role == Role::Reader {
        return Err(Problem::forbidden("api.contacts", "an audience holds contacts, which readers do not see")
            .hint("`alluvial user add NAME --role marketer` makes a user who may have it"));
    }
    match &user.formats {
        Some(only) if !only.contains(format) => {
            let list: Vec<&str> = only.iter().map(String::as_str).collect();
            Err(Problem::forbidden("api.format", format!("the user may not have the format `{format}`"))
                .hint(format!("there are {}", list.join(", "))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_and_given_once() {
        let known = ["format", "exclude"];
        let asked = Asked::read(Some("format=email&exclude=a,b&exclude=c%2Dd"), &known, &["exclude"]).ok().unwrap();
        assert_eq!(
            (asked.one("format"), asked.all("exclude")),
            (Some("email"), vec!["a".into(), "b".into(), "c-d".into()])
        );
        let told =
            |query: &str| Asked::read(Some(query), &known, &[]).err().map(|problem| (problem.detail, problem.hint));
        assert_eq!(
            told("fromat=x"),
            Some(("there is no parameter `fromat`".into(), Some("did you mean `format`?".into())))
        );
        assert_eq!(told("format=a&format=b").unwrap().0, "`format` is given twice");
        assert!(Asked::read(None, &known, &[]).is_ok());
    }
}
