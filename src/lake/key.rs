//! The lake's key, for hashes of personal data.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lake::{Created, Lake};

/// Where a generated key is kept.
pub(super) const KEY: &str = "state/key";
/// Where a hash of the key is kept that tells whether it is still the same.
const KEY_CHECK: &str = "state/key_check";

impl Lake {
    /// The lake's key, for hashes of personal data: 32 bytes, the 64 hexadecimal digits of `configured`
    /// (`ALLUVIAL_LAKE_KEY`) or else generated once and kept in the lake's state. Two who ask at once get the same.
    /// A key other than the one that the lake was first used with is refused: every guest would become a stranger.
    ///
    /// # Errors
    /// `lake.key_format`, `lake.key_changed`, `lake.key_missing`, and what the store refuses.
    pub async fn lake_key(&self, configured: Option<&str>) -> Result<[u8; 32]> {
        let key = match configured.map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => parse_key(text)?,
            None => self.generated_key().await?,
        };
        let check = hex::encode(Sha256::new().chain_update(b"alluvial lake key").chain_update(key).finalize());
        if self.put_new(KEY_CHECK, check.clone()).await? == Created::Taken && self.get(KEY_CHECK).await? != check {
            return Err(Error::definition(
                "lake.key_changed",
                format!("the lake {} was made with another key", self.place()),
            )
            .with_hint("set ALLUVIAL_LAKE_KEY to the key that it was made with"));
        }
        Ok(key)
    }

    /// The lake's key for whoever only reads: none where it is not configured and none is kept.
    ///
    /// # Errors
    /// `lake.key_format`, and what the store refuses.
    pub async fn known_key(&self, configured: Option<&str>) -> Result<Option<[u8; 32]>> {
        if let Some(text) = configured.map(str::trim).filter(|text| !text.is_empty()) {
            return parse_key(text).map(Some);
        }
        match self.find(KEY).await? {
            Some(kept) => self.kept_key(&kept).map(Some),
            None => Ok(None),
        }
    }

    async fn generated_key(&self) -> Result<[u8; 32]> {
        if let Some(kept) = self.find(KEY).await? {
            return self.kept_key(&kept);
        }
        if self.exists(KEY_CHECK).await? {
            // Somebody may have made both since the first look: the key stands before its check does.
            if let Some(kept) = self.find(KEY).await? {
                return self.kept_key(&kept);
            }
            return Err(Error::definition(
                "lake.key_missing",
                format!("the lake {} was made with a key that is not kept in it", self.place()),
            )
            .with_hint("set ALLUVIAL_LAKE_KEY to the key that it was made with"));
        }
        // Four random UUIDs hold 488 random bits.
        let mut random = Sha256::new();
        for _ in 0..4 {
            random.update(uuid::Uuid::new_v4().as_bytes());
        }
        let ours: [u8; 32] = random.finalize().into();
        match self.put_new(KEY, hex::encode(ours)).await? {
            Created::Ours => Ok(ours),
            Created::Taken => self.kept_key(&self.get(KEY).await?),
        }
    }

    fn kept_key(&self, kept: &[u8]) -> Result<[u8; 32]> {
        let text = std::str::from_utf8(kept).unwrap_or_default();
        parse_key(text.trim()).map_err(|error| error.in_file(format!("{}{KEY}", self.inner.url)))
    }
}

fn parse_key(text: &str) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| {
        Error::definition("lake.key_format", "the lake key is not 64 hexadecimal digits")
            .with_hint("make one with `openssl rand -hex 32`")
    })?;
    Ok(key)
}
