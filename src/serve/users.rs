//! Who may connect, kept in the lake's state.
//!
//! A user is one object, `state/users/<name>.json`, created once and removed to revoke it. There is no list to keep in
//! step: what is there may connect, what is gone may not.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::secret::{self, Verifier};
use crate::error::{Error, Kind, Result};
use crate::lake::{Created, Lake};

/// Where users are kept, below the lake's root.
const FOLDER: &str = "state/users";

/// What a user may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything but contacts and landed data
    Reader,
    /// Contacts too
    Marketer,
    /// Landed data too
    Admin,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Marketer => "marketer",
            Self::Admin => "admin",
        }
    }
}

/// Somebody who may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Differs from that of a user who had the name before.
    pub id: String,
    /// The name to connect with.
    pub name: String,
    /// What the user may see.
    pub role: Role,
    /// Since when there is such a user.
    pub created_at: DateTime<Utc>,
    /// From when on the user may connect no more.
    pub expires_at: Option<DateTime<Utc>>,
    /// The segments that are all that the user may see; none sees everything that the role does.
    pub segments: Option<BTreeSet<String>>,
    /// The formats of exports that the user may have; none may have all.
    pub formats: Option<BTreeSet<String>>,
    /// What Postgres's SCRAM-SHA-256 is checked with.
    pub scram: Verifier,
    /// The secret as argon2id, for the doors that are given it.
    pub argon2id: String,
    /// What a secret alone is looked up by; it proves nothing, and is too short to tell a secret by.
    #[serde(default)]
    pub mark: String,
}

/// What a new user is made of.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The name to connect with.
    pub name: String,
    /// What the user may see.
    pub role: Role,
    /// From when on the user may connect no more.
    pub expires_at: Option<DateTime<Utc>>,
    /// See [`User::segments`].
    pub segments: Option<BTreeSet<String>>,
    /// See [`User::formats`].
    pub formats: Option<BTreeSet<String>>,
}

impl User {
    /// Whether the user may connect no more.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }
}

/// Makes a user, and gives the secret, which is kept nowhere.
///
/// # Errors
/// `serve.user_name` for a name that is none, `serve.user_exists`, and what the store refuses.
pub async fn add(lake: &Lake, new: NewUser, now: DateTime<Utc>) -> Result<(User, String)> {
    let path = path(&new.name)?;
    let secret = secret::generate();
    let user = User {
        id: hex::encode(&secret::random()[..16]),
        name: new.name,
        role: new.role,
        created_at: now,
        expires_at: new.expires_at,
        segments: new.segments,
        formats: new.formats,
        scram: Verifier::of(&secret),
        argon2id: secret::hash(&secret)?,
        mark: secret::mark(&secret),
    };
    let body = serde_json::to_vec_pretty(&user).map_err(|e| Error::internal("serve.users", e.to_string()))?;
    match lake.put_new(&path, body).await? {
        Created::Ours => Ok((user, secret)),
        Created::Taken => {
            Err(Error::new(Kind::Superseded, "serve.user_exists", format!("there is a user `{}` already", user.name))
                .with_hint(format!("revoke it first with `alluvial user revoke {}`, or take another name", user.name)))
        }
    }
}

/// The user of that name, whether or not expired.
///
/// # Errors
/// `serve.users` for an object that is no user; what the store refuses. A name that cannot be one has no user.
pub async fn find(lake: &Lake, name: &str) -> Result<Option<User>> {
    let Ok(path) = path(name) else { return Ok(None) };
    let Some(body) = lake.find(&path).await? else { return Ok(None) };
    serde_json::from_slice(&body).map(Some).map_err(|error| {
        Error::storage("serve.users", format!("this user cannot be read: {error}"))
            .in_file(path)
            .with_hint("revoke the user and add it anew")
    })
}

/// Every user, by name.
///
/// # Errors
/// As [`find`].
pub async fn list(lake: &Lake) -> Result<Vec<User>> {
    let mut users = Vec::new();
    for object in lake.list(FOLDER).await? {
        let name = object.path.rsplit('/').next().and_then(|file| file.strip_suffix(".json"));
        if let Some(name) = name {
            users.extend(find(lake, name).await?);
        }
    }
    Ok(users)
}

/// The name of the user whose secret that may be.
///
/// # Errors
/// As [`find`].
pub(super) async fn name_of(lake: &Lake, secret: &str) -> Result<Option<String>> {
    let mark = secret::mark(secret);
    Ok(list(lake).await?.into_iter().find(|user| user.mark == mark).map(|user| user.name))
}

/// Whether there is any user.
///
/// # Errors
/// What the store refuses.
pub async fn any(lake: &Lake) -> Result<bool> {
    Ok(!lake.list(FOLDER).await?.is_empty())
}

/// Removes a user.
///
/// # Errors
/// `serve.no_such_user`, and what the store refuses.
pub async fn revoke(lake: &Lake, name: &str) -> Result<()> {
    let missing = || {
        Error::not_found("serve.no_such_user", format!("there is no user `{name}`"))
            .with_hint("`alluvial user list` lists them")
    };
    let path = path(name).map_err(|_| missing())?;
    if !lake.exists(&path).await? {
        return Err(missing());
    }
    lake.delete(&path).await
}

fn path(name: &str) -> Result<String> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if begins && name.len() <= 63 && name.chars().all(ok) {
        return Ok(format!("{FOLDER}/{name}.json"));
    }
    Err(Error::usage("serve.user_name", "this cannot be a user's name")
        .with_hint("begin with a lower-case letter or digit, go on with those, `_`, `-` and `.`, and keep to 63"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_is_made_once_found_and_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&folder.path().display().to_string(), &Default::default(), folder.path()).unwrap();
        let new = |name: &str| NewUser {
            name: name.to_owned(),
            role: Role::Reader,
            expires_at: None,
            segments: None,
            formats: None,
        };
        let now = DateTime::UNIX_EPOCH;
        assert!(!any(&lake).await.unwrap());
        let (user, secret) = add(&lake, new("tableau"), now).await.unwrap();
        assert_eq!(find(&lake, "tableau").await.unwrap().as_ref(), Some(&user));
        assert_eq!(add(&lake, new("tableau"), now).await.unwrap_err().code(), "serve.user_exists");
        let kept = std::fs::read_to_string(folder.path().join("state/users/tableau.json")).unwrap();
        assert!(!kept.contains(&secret));
        assert_eq!(name_of(&lake, &secret).await.unwrap().as_deref(), Some("tableau"));
        assert_eq!(name_of(&lake, "alv_").await.unwrap(), None);
        for name in ["", "../key", "A", "a/b", ".a"] {
            assert_eq!(add(&lake, new(name), now).await.unwrap_err().code(), "serve.user_name", "{name}");
            assert!(find(&lake, name).await.unwrap().is_none());
        }
        assert_eq!(list(&lake).await.unwrap(), [user]);
        revoke(&lake, "tableau").await.unwrap();
        assert_eq!(revoke(&lake, "tableau").await.unwrap_err().code(), "serve.no_such_user");
        assert!(find(&lake, "tableau").await.unwrap().is_none());
    }
}
