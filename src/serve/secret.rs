//! What proves who somebody is, kept so that it cannot be used to become them.
//!
//! A secret is generated here (256 random bits, shown once) and kept twice: as argon2id for the doors that are given the secret
//! itself, and as a SCRAM verifier (RFC 5802: neither key of it can answer for the client) for Postgres, which is never
//! given it.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Rounds of PBKDF2; Postgres's own number. The secrets are random, so that more would protect nothing.
const ROUNDS: u32 = 4096;

/// 32 bytes.
type Key = [u8; 32];

/// Random bytes: four random UUIDs hold 488 random bits, of which a hash keeps 256.
pub(super) fn random() -> Key {
    let mut hash = Sha256::new();
    for _ in 0..4 {
        hash.update(uuid::Uuid::new_v4().as_bytes());
    }
    hash.finalize().into()
}

/// The name and secret that the header `Basic …` carries (RFC 7617). Clients of Go leave out the padding.
pub(super) fn basic(encoded: &str) -> Option<(String, String)> {
    let bytes = STANDARD_NO_PAD.decode(encoded.trim().trim_end_matches('=')).ok()?;
    let decoded = String::from_utf8(bytes).ok()?;
    decoded.split_once(':').map(|(name, given)| (name.to_owned(), given.to_owned()))
}

/// A new secret, as a person copies it.
pub(super) fn generate() -> String {
    format!("alv_{}", hex::encode(random()))
}

/// An HMAC-SHA-256.
pub(super) fn keyed(key: &[u8], parts: &[&[u8]]) -> Key {
    // A key of any length is taken: RFC 2104 hashes long ones.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Eight bytes that a secret is looked up by. A secret is 256 random bits: what is known of 64 leaves 192.
pub(super) fn mark(secret: &str) -> String {
    hex::encode(&keyed(b"alluvial bearer", &[secret.as_bytes()])[..8])
}

/// Whether two texts are the same, told in a time that does not depend on where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// What a SCRAM-SHA-256 server keeps of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// Base64 of the salt.
    pub salt: String,
    /// Rounds of PBKDF2.
    pub rounds: u32,
    /// Base64 of H(HMAC(salted secret, "Client Key")).
    pub stored_key: String,
    /// Base64 of HMAC(salted secret, "Server Key").
    pub server_key: String,
}

impl Verifier {
    /// The verifier of a secret, under a new salt.
    pub fn of(secret: &str) -> Self {
        Self::salted(secret, &random()[..16])
    }

    fn salted(secret: &str, salt: &[u8]) -> Self {
        let salted = stretch(secret.as_bytes(), salt, ROUNDS);
        let client_key = keyed(&salted, &[b"Client Key"]);
        Self {
            salt: STANDARD.encode(salt),
            rounds: ROUNDS,
            stored_key: STANDARD.encode(Sha256::digest(client_key)),
            server_key: STANDARD.encode(keyed(&salted, &[b"Server Key"])),
        }
    }

    /// A verifier that nothing satisfies, for a name that nobody has: always the same for a name, so that an answer does
    /// not tell whether there is such a user.
    pub(super) fn of_nobody(name: &str, key: &[u8]) -> Self {
        let part = |what: &[u8]| keyed(key, &[what, name.as_bytes()]);
        Self {
            salt: STANDARD.encode(&part(b"salt")[..16]),
            rounds: ROUNDS,
            stored_key: STANDARD.encode(part(b"stored")),
            server_key: STANDARD.encode(part(b"server")),
        }
    }
}

/// PBKDF2 with HMAC-SHA-256 and one block of output (RFC 5802's `Hi`).
fn stretch(secret: &[u8], salt: &[u8], rounds: u32) -> Key {
    let mut block = keyed(secret, &[salt, &1_u32.to_be_bytes()]);
    let mut all = block;
    for _ in 1..rounds {
        block = keyed(secret, &[&block]);
        all.iter_mut().zip(block).for_each(|(all, block)| *all ^= block);
    }
    all
}

/// A SCRAM exchange in which the server has spoken once.
#[derive(Debug)]
pub(super) struct Exchange {
    verifier: Verifier,
    /// The client's first message without its header, and the server's first message.
    so_far: String,
    /// What the client's last message must begin with: its header in base64, and both nonces.
    last: String,
}

impl Exchange {
    /// Answers the client's first message.
    ///
    /// # Errors
    /// `serve.scram` for what is no such message, or asks for a binding to the channel, which was not offered.
    pub(super) fn begin(verifier: Verifier, first: &[u8]) -> Result<(Self, String)> {
        let first = std::str::from_utf8(first).map_err(|_| malformed())?;
        // gs2-header = ("n" | "y") "," [authzid] ","
        let mut parts = first.splitn(3, ',');
        let (flag, authzid, bare) =
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().ok_or_else(malformed)?);
        if !matches!(flag, "n" | "y") || !authzid.is_empty() {
            return Err(malformed());
        }
        let nonce = bare.split(',').find_map(|part| part.strip_prefix("r=")).ok_or_else(malformed)?;
        if nonce.is_empty() || nonce.len() > 256 {
            return Err(malformed());
        }
        let nonce = format!("{nonce}{}", STANDARD.encode(&random()[..18]));
        let answer = format!("r={nonce},s={},i={}", verifier.salt, verifier.rounds);
        let so_far = format!("{bare},{answer}");
        let last = format!("c={},r={nonce}", STANDARD.encode(format!("{flag},,")));
        Ok((Self { verifier, so_far, last }, answer))
    }

    /// Checks the client's last message, and answers it where it proves that the client knows the secret.
    ///
    /// # Errors
    /// `serve.scram` for what is no such message. `None` is a wrong secret.
    pub(super) fn finish(&self, last: &[u8]) -> Result<Option<String>> {
        let last = std::str::from_utf8(last).map_err(|_| malformed())?;
        let (unproven, proof) = last.rsplit_once(",p=").ok_or_else(malformed)?;
        if unproven != self.last {
            return Err(malformed());
        }
        let proof = STANDARD.decode(proof).map_err(|_| malformed())?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| malformed());
        let stored_key = decode(&self.verifier.stored_key)?;
        let message = format!("{},{unproven}", self.so_far);
        let signature = keyed(&stored_key, &[message.as_bytes()]);
        if proof.len() != signature.len() {
            return Err(malformed());
        }
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(proof, signature)| proof ^ signature).collect();
        if !same(Sha256::digest(&client_key).as_slice(), &stored_key) {
            return Ok(None);
        }
        let server = keyed(&decode(&self.verifier.server_key)?, &[message.as_bytes()]);
        Ok(Some(format!("v={}", STANDARD.encode(server))))
    }
}

fn malformed() -> Error {
    Error::usage("serve.scram", "this is no message of SCRAM-SHA-256")
}

/// argon2id as OWASP asks for it: 19 MiB, two passes, one lane.
fn argon() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19_456, 2, 1, None).unwrap_or_default())
}

/// A secret as argon2id, in the PHC form.
///
/// # Errors
/// `serve.argon2`, which should not happen.
pub(super) fn hash(secret: &str) -> Result<String> {
    let failed = |error: argon2::password_hash::Error| Error::internal("serve.argon2", error.to_string());
    let salt = SaltString::encode_b64(&random()[..16]).map_err(failed)?;
    Ok(argon().hash_password(secret.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether a secret is the one that was hashed. Takes some 20 ms of a processor: keep it off the threads that serve.
pub(super) fn verify(secret: &str, hashed: &str) -> bool {
    PasswordHash::new(hashed).is_ok_and(|hashed| argon().verify_password(secret.as_bytes(), &hashed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, whose numbers are known.
    #[test]
    fn basic_credentials_are_read_with_padding_and_without() {
        let wanted = Some(("bi".to_owned(), "a:b".to_owned()));
        assert_eq!(basic("Ymk6YTpi"), wanted);
        assert_eq!(basic(" YmkxOmE= "), basic("YmkxOmE"));
        assert_eq!(basic("YmkxOmE").map(|(name, _)| name), Some("bi1".to_owned()));
        assert_eq!((basic("?"), basic("Ymk")), (None, None));
    }

    #[test]
    fn the_published_exchange_comes_out_right() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::salted("pencil", &salt);
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let answer = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let exchange = Exchange {
            verifier,
            so_far: format!("n=user,r=rOprNGfwEbeRWgbNEkqO,{answer}"),
            last: format!("c=biws,r={nonce}"),
        };
        let proven = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let server = exchange.finish(proven.as_bytes()).unwrap();
        assert_eq!(server.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        let wrong = format!("c=biws,r={nonce},p={}", STANDARD.encode([7; 32]));
        assert_eq!(exchange.finish(wrong.as_bytes()).unwrap(), None);
    }

    #[test]
    fn what_is_no_scram_is_refused() {
        let begin = |first: &str| Exchange::begin(Verifier::of("x"), first.as_bytes()).is_ok();
        assert!(begin("n,,n=,r=abc"));
        for first in ["", "n,,", "n,,n=", "n,,n=,r=", "p=tls-server-end-point,,n=,r=abc", "n,a=root,n=,r=abc"] {
            assert!(!begin(first), "{first}");
        }
        let (exchange, _) = Exchange::begin(Verifier::of("x"), b"n,,n=,r=abc").unwrap();
        assert!(exchange.finish(b"c=biws,r=abc,p=AAAA").is_err());
        assert!(exchange.finish(format!("{},p=AAAA", exchange.last).as_bytes()).is_err());
        assert!(exchange.finish(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn a_secret_is_known_again_and_no_other() {
        let secret = generate();
        assert!(secret.len() > 60);
        let hashed = hash(&secret).unwrap();
        assert!(hashed.starts_with("$argon2id$") && !hashed.contains(&secret));
        assert!(verify(&secret, &hashed) && !verify("alv_", &hashed) && !verify(&secret, "nonsense"));
        assert_ne!(generate(), generate());
    }
}
