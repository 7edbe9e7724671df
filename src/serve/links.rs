//! Links: an audience for somebody who has no more than an address.
//!
//! A link is one object, `state/links/<id>.json`, created once and removed to revoke it. Its address holds the id and an HMAC
//! under the lake's key over all that the link is bound to: what is in the lake makes no address, and an object that was
//! changed fits none. Uses are objects that are created once, so that two who come at the same moment do not share one. What
//! has expired is told so for a month, and then swept by upkeep.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::secret::{keyed, random, same};
use crate::error::{Error, Result};
use crate::jobs::upkeep::LINKS as FOLDER;
use crate::lake::{Created, Lake};

/// The path of a link's address, before what is its own.
pub const PATH: &str = "/l/";
/// Hexadecimal digits of an id, and of what is signed.
const DIGITS: usize = 32;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its id: half of its address.
    pub id: String,
    /// The segment whose members it gives.
    pub segment: String,
    /// The format.
    pub format: String,
    /// The user as whom it delivers.
    pub user: String,
    /// That user's id: another of the same name does not get the links of the one before.
    pub user_id: String,
    /// Since when there is such a link.
    pub created_at: DateTime<Utc>,
    /// From when on it opens nothing.
    pub expires_at: DateTime<Utc>,
    /// How often it gives its audience; none is as often as anybody likes.
    pub uses: Option<u32>,
    /// Whether it gives the audience at once, without a page before.
    pub direct: bool,
}

/// A use of a link.
#[derive(Debug)]
pub struct Use(String);

impl Link {
    /// A new link, which is kept nowhere yet.
    pub fn new(
        segment: &str,
        format: &str,
        user: &super::users::User,
        at: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Self {
        Self {
            id: hex::encode(&random()[..DIGITS / 2]),
            segment: segment.to_owned(),
            format: format.to_owned(),
            user: user.name.clone(),
            user_id: user.id.clone(),
            created_at: at,
            expires_at: until,
            uses: None,
            direct: false,
        }
    }

    /// Keeps the link, and gives its path.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn keep(&self, lake: &Lake, key: &[u8]) -> Result<String> {
        let body = serde_json::to_vec_pretty(self).map_err(|e| Error::internal("serve.links", e.to_string()))?;
        match lake.put_new(&path(&self.id), body).await? {
            Created::Ours => Ok(format!("{PATH}{}{}", self.id, self.signed(key))),
            Created::Taken => Err(Error::internal("serve.links", "two links have one id")),
        }
    }

    fn signed(&self, key: &[u8]) -> String {
        let key = keyed(key, &[b"alluvial link v1"]);
        let (uses, created, expires) =
            (self.uses.map_or(-1, i64::from), self.created_at.timestamp_micros(), self.expires_at.timestamp_micros());
        let bound = serde_json::json!([
            self.id,
            self.segment,
            self.format,
            self.user,
            self.user_id,
            created,
            expires,
            uses,
            self.direct
        ]);
        hex::encode(&keyed(&key, &[bound.to_string().as_bytes()])[..DIGITS / 2])
    }

    /// Whether it opens nothing any more, whatever was used of it.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at <= now
    }

    /// How often it was used.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn used(&self, lake: &Lake) -> Result<u32> {
        Ok(u32::try_from(lake.list(&self.folder()).await?.len()).unwrap_or(u32::MAX))
    }

    /// Takes one of its uses; none where there is none left.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn take(&self, lake: &Lake, now: DateTime<Utc>) -> Result<Option<Use>> {
        let body = || format!("{} {}", now.to_rfc3339(), hex::encode(random()));
        let Some(uses) = self.uses else {
            let below = format!("{}/{}", self.folder(), hex::encode(&random()[..DIGITS / 2]));
            lake.put_new(&below, body()).await?;
            return Ok(Some(Use(below)));
        };
        for number in 1..=uses {
            let below = format!("{}/{number:06}", self.folder());
            if lake.put_new(&below, body()).await? == Created::Ours {
                return Ok(Some(Use(below)));
            }
        }
        Ok(None)
    }

    fn folder(&self) -> String {
        format!("{FOLDER}/{}", self.id)
    }
}

impl Use {
    /// Gives the use back: nothing was delivered.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn give_back(self, lake: &Lake) -> Result<()> {
        lake.delete(&self.0).await
    }
}

fn path(id: &str) -> String {
    format!("{FOLDER}/{id}.json")
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The link whose address ends so; none where it ends otherwise, or the link was revoked.
///
/// # Errors
/// What the store refuses.
pub async fn find(lake: &Lake, key: &[u8], token: &str) -> Result<Option<Link>> {
    if !is_hex(token, DIGITS * 2) {
        return Ok(None);
    }
    let (id, signed) = token.split_at(DIGITS);
    let link = read(lake, &path(id)).await?;
    Ok(link.filter(|link| link.id == id && same(link.signed(key).as_bytes(), signed.as_bytes())))
}

async fn read(lake: &Lake, path: &str) -> Result<Option<Link>> {
    let Some(body) = lake.find(path).await? else { return Ok(None) };
    serde_json::from_slice(&body).map(Some).map_err(|error| {
        Error::storage("serve.links", format!("this link cannot be read: {error}"))
            .in_file(path)
            .with_hint("remove the file, and make the link anew")
    })
}

/// Every link, the oldest first.
///
/// # Errors
/// What the store refuses, and a link that cannot be read.
pub async fn list(lake: &Lake) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for object in lake.list(FOLDER).await?.iter().filter(|object| object.path.ends_with(".json")) {
        links.extend(read(lake, &object.path).await?);
    }
    links.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(links)
}

/// Revokes the link whose id begins so, and gives it.
///
/// # Errors
/// `serve.no_such_link` for none, or several; what the store refuses.
pub async fn revoke(lake: &Lake, begins: &str) -> Result<Link> {
    let found: Vec<Link> = list(lake).await?.into_iter().filter(|link| link.id.starts_with(begins)).collect();
    match <[Link; 1]>::try_from(found) {
        Ok([link]) => {
            lake.delete(&path(&link.id)).await?;
            for object in lake.list(&link.folder()).await? {
                lake.delete(&object.path).await?;
            }
            Ok(link)
        }
        Err(found) => {
            let message = match found.len() {
                0 => "there is no such link".to_owned(),
                several => format!("the ids of {several} links begin so"),
            };
            Err(Error::not_found("serve.no_such_link", message).with_hint("`alluvial link list` lists them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::users::{self, NewUser, Role};

    #[tokio::test]
    async fn a_link_is_bound_to_all_that_it_says_and_is_used_as_often_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&folder.path().display().to_string(), &Default::default(), folder.path()).unwrap();
        let new =
            NewUser { name: "maria".to_owned(), role: Role::Marketer, expires_at: None, segments: None, formats: None };
        let now = DateTime::UNIX_EPOCH;
        let (user, _) = users::add(&lake, new, now).await.unwrap();
        let mut link = Link::new("win-back", "email", &user, now, now + chrono::TimeDelta::days(7));
        link.uses = Some(2);
        let address = link.keep(&lake, &[1; 32]).await.unwrap();
        let token = address.strip_prefix(PATH).unwrap();
        assert_eq!(find(&lake, &[1; 32], token).await.unwrap().as_ref(), Some(&link));
        assert_eq!(find(&lake, &[2; 32], token).await.unwrap(), None, "another lake's key");
        let other = format!("{}0", &token[..token.len() - 1]);
        let other = if other == token { format!("{}1", &token[..token.len() - 1]) } else { other };
        for wrong in [other.as_str(), "", "../key", &token[1..]] {
            assert_eq!(find(&lake, &[1; 32], wrong).await.unwrap(), None, "{wrong}");
        }
        // Whoever can write to the lake makes no address of it.
        for changed in [
            Link { segment: "vip".to_owned(), ..link.clone() },
            Link { format: "extended".to_owned(), ..link.clone() },
            Link { user: "boss".to_owned(), ..link.clone() },
            Link { expires_at: now + chrono::TimeDelta::days(70), ..link.clone() },
            Link { uses: None, ..link.clone() },
            Link { direct: true, ..link.clone() },
        ] {
            lake.put(&path(&link.id), serde_json::to_vec(&changed).unwrap()).await.unwrap();
            assert_eq!(find(&lake, &[1; 32], token).await.unwrap(), None, "{changed:?}");
        }
        lake.put(&path(&link.id), serde_json::to_vec(&link).unwrap()).await.unwrap();
        let first = link.take(&lake, now).await.unwrap().unwrap();
        assert!(link.take(&lake, now).await.unwrap().is_some());
        assert!(link.take(&lake, now).await.unwrap().is_none());
        first.give_back(&lake).await.unwrap();
        assert_eq!(link.used(&lake).await.unwrap(), 1);
        assert!(link.take(&lake, now).await.unwrap().is_some());
        assert_eq!(list(&lake).await.unwrap(), [link.clone()]);
        assert_eq!(revoke(&lake, "zz").await.unwrap_err().code(), "serve.no_such_link");
        revoke(&lake, &link.id[..8]).await.unwrap();
        assert_eq!(find(&lake, &[1; 32], token).await.unwrap(), None);
        assert!(link.is_expired(now + chrono::TimeDelta::days(7)) && !link.is_expired(now));
    }
}
