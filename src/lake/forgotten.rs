//! Who was forgotten: keyed hashes that keep a person out, and hold nothing of the person.
//!
//! Every pass of `alluvial forget` leaves one object under `state/forgotten/`, written before anything else is changed. It
//! holds HMAC-SHA-256 of ids and addresses under the lake's key, so that whoever reads the lake and has no key learns
//! nothing, and a pass that died goes on from the object alone. Two more bytes beside each hash spare the hash of nearly
//! every value that is looked up: most values differ in them already.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use twox_hash::XxHash64;

use crate::error::{Error, Kind, Result};
use crate::lake::Lake;

/// Where the objects are, below the lake's root.
pub const FOLDER: &str = "state/forgotten";

/// What a hash stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// A customer's or a visitor's id; both are ids of people.
    Id,
    /// An e-mail address, in lower case.
    Email,
    /// A phone, by its digits.
    Phone,
    /// An order.
    Order,
}

impl Known {
    /// Its name in SQL.
    pub fn word(self) -> &'static str {
        match self {
            Known::Id => "id",
            Known::Email => "email",
            Known::Phone => "phone",
            Known::Order => "order",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Known::Id, Known::Email, Known::Phone, Known::Order].into_iter().find(|known| known.word() == word)
    }

    /// The one form in which a value is hashed; none for a value that names nobody.
    fn plain(self, value: &str) -> Option<String> {
        let plain = match self {
            Known::Id | Known::Order => value.trim().to_owned(),
            Known::Email => value.trim().to_lowercase(),
            Known::Phone => digits(value),
        };
        (!plain.is_empty()).then_some(plain)
    }
}

/// The digits of a phone, without the zeros that stand for a plus sign.
pub fn digits(phone: &str) -> String {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    digits.strip_prefix("00").map(str::to_owned).unwrap_or(digits)
}

/// The hash of a value, and the two bytes that spare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    hash: [u8; 16],
    short: u16,
}

impl Mark {
    /// As it is kept.
    pub fn written(&self) -> String {
        format!("{}{:04x}", hex::encode(self.hash), self.short)
    }

    fn parse(text: &str) -> Option<Self> {
        let (hash, short) = text.split_at_checked(32)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(hash, &mut bytes).ok()?;
        Some(Self { hash: bytes, short: u16::from_str_radix(short, 16).ok()? })
    }
}

/// The part of an object that keeps people out; what else it holds is `erase`'s.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    marks: Vec<String>,
}

/// Everybody who was forgotten.
#[derive(Clone)]
pub struct Forgotten {
    key: Vec<u8>,
    seed: u64,
    marks: HashSet<Mark>,
    shorts: Vec<u64>,
    objects: BTreeSet<String>,
}

impl std::fmt::Debug for Forgotten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.debug_struct("Forgotten").field("marks", &self.marks.len()).finish_non_exhaustive()
    }
}

/// Whether an object names people; the others tell how a pass ended.
fn names_people(path: &str) -> bool {
    path.ends_with(".json")
}

impl Forgotten {
    /// Nobody, under a key.
    pub fn nobody(key: &[u8]) -> Self {
        let seed = mac(key, b"alluvial forgotten seed");
        Self {
            key: key.to_vec(),
            seed: u64::from_le_bytes(seed.first_chunk().copied().unwrap_or_default()),
            marks: HashSet::new(),
            shorts: vec![0; 1024],
            objects: BTreeSet::new(),
        }
    }

    /// Reads who was forgotten. With an empty `key` it is known that there is somebody, and not who.
    ///
    /// # Errors
    /// What the store refuses; `lake.forgotten` for an object that cannot be read.
    pub async fn read(lake: &Lake, key: &[u8]) -> Result<Self> {
        let mut forgotten = Self::nobody(key);
        for path in objects(lake).await? {
            let Some(body) = lake.find(&path).await? else { continue };
            let bad = || {
                Error::storage("lake.forgotten", "this record of people who were forgotten cannot be read")
                    .in_file(path.clone())
                    .with_hint("restore the file from a backup: without it, who was forgotten could come back")
            };
            let kept: Kept = serde_json::from_slice(&body).map_err(|error| bad().with_source(error))?;
            for mark in kept.marks {
                forgotten.add(Mark::parse(&mark).ok_or_else(bad)?);
            }
            forgotten.objects.insert(path);
        }
        Ok(forgotten)
    }

    /// Adds a hash.
    pub fn add(&mut self, mark: Mark) {
        self.marks.insert(mark);
        if let Some(word) = self.shorts.get_mut(usize::from(mark.short >> 6)) {
            *word |= 1 << (mark.short & 63);
        }
    }

    /// Whether this very hash is known.
    pub fn has(&self, mark: &Mark) -> bool {
        self.marks.contains(mark)
    }

    /// Whether nobody was forgotten.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.objects.is_empty()
    }

    /// The objects that were read, below the lake's root.
    pub fn objects(&self) -> &BTreeSet<String> {
        &self.objects
    }

    fn short(&self, known: Known, plain: &str) -> u16 {
        let seed = self.seed ^ known as u64;
        #[expect(clippy::cast_possible_truncation, reason = "two bytes of a hash")]
        let short = XxHash64::oneshot(seed, plain.as_bytes()) as u16;
        short
    }

    /// The hash of a value; none for a value that names nobody.
    pub fn mark(&self, known: Known, value: &str) -> Option<Mark> {
        let plain = known.plain(value)?;
        let short = self.short(known, &plain);
        let digest = mac(&self.key, format!("{}\0{plain}", known.word()).as_bytes());
        Some(Mark { hash: digest.first_chunk().copied()?, short })
    }

    /// Whether a value is of somebody who was forgotten.
    pub fn covers(&self, known: Known, value: &str) -> bool {
        let Some(plain) = known.plain(value) else { return false };
        let short = self.short(known, &plain);
        let maybe = self.shorts.get(usize::from(short >> 6)).is_some_and(|word| word & (1 << (short & 63)) != 0);
        maybe && self.mark(known, &plain).is_some_and(|mark| self.marks.contains(&mark))
    }

    /// `is_forgotten(kind, value)` over who was forgotten; `kind` is `id`, `email`, `phone` or `order`.
    pub fn function(self: &Arc<Self>) -> ScalarUDF {
        let signature = Signature::any(2, Volatility::Immutable);
        ScalarUDF::new_from_impl(IsForgotten { forgotten: Arc::clone(self), signature })
    }
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

async fn objects(lake: &Lake) -> Result<BTreeSet<String>> {
    let objects = lake.list(FOLDER).await?;
    Ok(objects.into_iter().map(|object| object.path).filter(|path| names_people(path)).collect())
}

/// Refuses to go on where somebody was forgotten since `known` was read: what was computed may hold them.
///
/// # Errors
/// `lake.forgotten_since`, and what the store refuses.
pub async fn unchanged(lake: &Lake, known: &BTreeSet<String>) -> Result<()> {
    if objects(lake).await?.is_subset(known) {
        return Ok(());
    }
    Err(Error::new(Kind::Transient, "lake.forgotten_since", "people were forgotten while the day was computed")
        .with_hint("run the day again"))
}

struct IsForgotten {
    forgotten: Arc<Forgotten>,
    signature: Signature,
}

impl std::fmt::Debug for IsForgotten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IsForgotten")
    }
}

impl PartialEq for IsForgotten {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.forgotten, &other.forgotten)
    }
}

impl Eq for IsForgotten {}

impl std::hash::Hash for IsForgotten {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for IsForgotten {
    fn name(&self) -> &str {
        "is_forgotten"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        let [ColumnarValue::Scalar(kind), values] = arguments.args.as_slice() else {
            return exec_err!("is_forgotten takes a kind and a value");
        };
        let kind = match kind {
            ScalarValue::Utf8(Some(word)) | ScalarValue::Utf8View(Some(word)) => Known::of(word),
            _ => None,
        };
        let Some(kind) = kind else { return exec_err!("is_forgotten knows `id`, `email`, `phone` and `order`") };
        if self.forgotten.key.is_empty() && !self.forgotten.is_empty() {
            return Err(Error::definition(
                "lake.key_missing",
                "people were forgotten in this lake, and without its key they cannot be told from the others",
            )
            .with_hint("set ALLUVIAL_LAKE_KEY to the key that the lake was made with")
            .into());
        }
        let values = cast(&values.to_array(arguments.number_rows)?, &DataType::Utf8View)?;
        let values = values.as_string_view();
        let answers: BooleanArray = (0..values.len())
            .map(|row| Some(values.is_valid(row) && self.forgotten.covers(kind, values.value(row))))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(answers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::testing;

    #[test]
    fn a_value_is_known_in_every_form_and_under_its_own_key_only() {
        let mut forgotten = Forgotten::nobody(b"key");
        forgotten.add(forgotten.mark(Known::Email, " Ann@Example.com").unwrap());
        forgotten.add(forgotten.mark(Known::Phone, "0045 12-34").unwrap());
        assert!(forgotten.covers(Known::Email, "ann@example.COM "));
        assert!(forgotten.covers(Known::Phone, "+45 12 34"));
        assert!(!forgotten.covers(Known::Id, "ann@example.com"), "an id is no address");
        assert!(!forgotten.covers(Known::Email, "") && forgotten.mark(Known::Email, " ").is_none());
        let other = Forgotten::nobody(b"other");
        assert_ne!(other.mark(Known::Id, "a"), forgotten.mark(Known::Id, "a"));
    }

    #[test]
    fn what_is_kept_comes_back() {
        let forgotten = Forgotten::nobody(b"key");
        let mark = forgotten.mark(Known::Order, "o1").unwrap();
        assert_eq!(Mark::parse(&mark.written()), Some(mark));
        assert_eq!(Mark::parse("zz"), None);
    }

    #[tokio::test]
    async fn who_was_forgotten_since_is_told() {
        let lake = testing::memory();
        let before = Forgotten::read(&lake, b"key").await.unwrap();
        assert!(before.is_empty());
        unchanged(&lake, before.objects()).await.unwrap();
        let mark = before.mark(Known::Id, "a").unwrap().written();
        let body = format!("{{\"marks\": [\"{mark}\"], \"more\": 1}}");
        lake.put_new(&format!("{FOLDER}/1.json"), body).await.unwrap();
        lake.put_new(&format!("{FOLDER}/1.done"), "{}").await.unwrap();
        assert_eq!(unchanged(&lake, before.objects()).await.unwrap_err().code(), "lake.forgotten_since");
        let now = Forgotten::read(&lake, b"key").await.unwrap();
        assert!(now.covers(Known::Id, "a") && !now.covers(Known::Id, "b"));
        unchanged(&lake, now.objects()).await.unwrap();
    }
}
