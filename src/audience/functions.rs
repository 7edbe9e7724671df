//! Scalar functions of the statements and of the formats' mappings: all of text, all null where they have no answer.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, StringViewArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use hashbrown::HashMap;
use sha2::{Digest, Sha256};

/// Gives a session the functions of this module.
pub fn register(session: &SessionContext) {
    for function in [
        Function::E164,
        Function::EmailKey,
        Function::Sha256,
        Function::Words,
        Function::Compact,
        Function::Digits,
        Function::Spaced,
        Function::GoogleEmail,
        Function::Masked,
        Function::HeldOut,
    ] {
        session.register_udf(ScalarUDF::new_from_impl(TextFunction::new(function)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// `e164(phone, country)`: the number as `+4512345678`; one without a country code is read as the country's.
    E164,
    /// `email_key(email)`: how addresses are compared: lower case, without blanks around; null for what has no `@`.
    EmailKey,
    /// `sha256_hex(text)`: 64 lower-case digits.
    Sha256,
    /// `words_only(text)`: lower case, letters and digits and single blanks between words.
    Words,
    /// `letters_only(text)`: lower case, letters and digits.
    Compact,
    /// `digits_only(text)`.
    Digits,
    /// `single_spaced(text)`: lower case, single blanks between words.
    Spaced,
    /// `google_email(email)`: lower case, no blanks, and no dots before `@gmail.com` and `@googlemail.com`.
    GoogleEmail,
    /// `masked(text)`: the first character of every word, and a star for every other letter or digit.
    Masked,
    /// `is_held_out(salt, customer_id, share)`.
    HeldOut,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    function: Function,
    signature: Signature,
}

impl TextFunction {
    fn new(function: Function) -> Self {
        let arguments = match function {
            Function::E164 => 2,
            Function::HeldOut => 3,
            _ => 1,
        };
        Self { function, signature: Signature::new(TypeSignature::Any(arguments), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        match self.function {
            Function::E164 => "e164",
            Function::EmailKey => "email_key",
            Function::Sha256 => "sha256_hex",
            Function::Words => "words_only",
            Function::Compact => "letters_only",
            Function::Digits => "digits_only",
            Function::Spaced => "single_spaced",
            Function::GoogleEmail => "google_email",
            Function::Masked => "masked",
            Function::HeldOut => "is_held_out",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(if self.function == Function::HeldOut { DataType::Boolean } else { DataType::Utf8View })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let texts = |place: usize| -> Result<StringViewArray> {
            match arguments.args.get(place) {
                Some(value) => {
                    let array = value.to_array(rows)?;
                    Ok(cast(&array, &DataType::Utf8View)?.as_string_view().clone())
                }
                None => exec_err!("`{}` lacks an argument", self.name()),
            }
        };
        let first = texts(0)?;
        let answer: ArrayRef = match self.function {
            Function::HeldOut => {
                let ids = texts(1)?;
                let share = share_of(arguments.args.get(2))?;
                if share <= 0.0 {
                    return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(false))));
                }
                let mut held = BooleanBuilder::with_capacity(rows);
                for (salt, id) in first.iter().zip(ids.iter()) {
                    held.append_value(is_held_out(salt.unwrap_or_default(), id.unwrap_or_default(), share));
                }
                Arc::new(held.finish())
            }
            Function::E164 => {
                let countries = texts(1)?;
                each(first.iter().zip(countries.iter()), |(phone, country)| e164(phone?, country).map(Cow::Owned))
            }
            Function::EmailKey => each(first.iter(), |text| email_key(text?)),
            Function::Sha256 => hashes(&first),
            Function::Words => each(first.iter(), |text| filled(words_only(text?))),
            Function::Compact => each(first.iter(), |text| filled(letters_only(text?))),
            Function::Digits => each(first.iter(), |text| filled(text?.chars().filter(char::is_ascii_digit).collect())),
            Function::Spaced => each(first.iter(), |text| filled(single_spaced(text?))),
            Function::Masked => each(first.iter(), |text| Some(Cow::Owned(masked(text?)))),
            Function::GoogleEmail => each(first.iter(), |text| google_email(text?).map(Cow::Owned)),
        };
        Ok(ColumnarValue::Array(answer))
    }
}

fn each<'a, T>(rows: impl Iterator<Item = T>, mut answer: impl FnMut(T) -> Option<Cow<'a, str>>) -> ArrayRef {
    let mut built = StringViewBuilder::new();
    for row in rows {
        built.append_option(answer(row));
    }
    Arc::new(built.finish())
}

/// Different values whose hash is remembered within a batch.
const REMEMBERED: usize = 2048;

fn hashes(texts: &StringViewArray) -> ArrayRef {
    let mut built = StringViewBuilder::with_capacity(texts.len());
    let mut known: HashMap<&str, String> = HashMap::new();
    let mut met = 0;
    for text in texts {
        let Some(text) = text else {
            built.append_null();
            continue;
        };
        // Countries, cities and years repeat; of addresses nothing is looked up once that has shown.
        let repeats = known.len() < REMEMBERED || met >= REMEMBERED;
        let remembered = if repeats { known.get(text) } else { None };
        if let Some(digits) = remembered {
            built.append_value(digits);
            met += 1;
            continue;
        }
        let digits = sha256_hex(text);
        built.append_value(&digits);
        if known.len() < REMEMBERED {
            known.insert(text, digits);
        }
    }
    Arc::new(built.finish())
}

fn filled(text: String) -> Option<Cow<'static, str>> {
    (!text.is_empty()).then_some(Cow::Owned(text))
}

fn share_of(argument: Option<&ColumnarValue>) -> Result<f64> {
    match argument {
        Some(ColumnarValue::Scalar(ScalarValue::Float64(Some(share)))) => Ok(*share),
        _ => exec_err!("the share that is held out must be a constant"),
    }
}

/// Whether a person is held out under a salt: the first eight bytes of SHA-256(salt, 0, id) as a share of all their values
/// are below `share`, so that a larger share only adds people.
pub fn is_held_out(salt: &str, customer_id: &str, share: f64) -> bool {
    if share >= 1.0 {
        return true;
    }
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update([0]);
    hash.update(customer_id.as_bytes());
    let digest = hash.finalize();
    let first = digest.iter().take(8).fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    #[expect(clippy::cast_precision_loss, reason = "a share is compared, and both sides round alike in every language")]
    let drawn = first as f64 / 18_446_744_073_709_551_616.0;
    drawn < share
}

/// A phone number as E.164 writes it; one without a country code is read as a number of `country` (ISO 3166-1 alpha-2).
/// None for what is no number that could exist.
pub fn e164(phone: &str, country: Option<&str>) -> Option<String> {
    let phone = phone.trim();
    // Most are landed like this, and parsing costs a hundred times as much as looking.
    if let Some(digits) = phone.strip_prefix('+')
        && (8..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
    {
        return Some(phone.to_owned());
    }
    let plain = plain_phone(phone)?;
    let region = country.and_then(|country| country.parse::<phonenumber::country::Id>().ok());
    let parsed = phonenumber::parse(region, &plain).ok()?;
    parsed.is_valid().then(|| parsed.format().mode(phonenumber::Mode::E164).to_string())
}

/// Digits, with a plus before those that begin with a country code; none for what is more than a number. What people wrote
/// goes no further than this: a parser of everything would have to be trusted with everything.
fn plain_phone(phone: &str) -> Option<String> {
    let abroad = phone.starts_with('+') || phone.starts_with("00");
    // The trunk prefix, which is dialled at home only: +44 (0)20 7031 3000.
    let phone = if abroad { phone.replace("(0)", "") } else { phone.to_owned() };
    let rest = phone.strip_prefix('+').or_else(|| phone.strip_prefix("00")).unwrap_or(&phone);
    let mut plain = if abroad { "+".to_owned() } else { String::new() };
    for c in rest.chars() {
        match c {
            '0'..='9' => plain.push(c),
            ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}' | '\u{2011}' => {}
            _ => return None,
        }
    }
    (4..=20).contains(&plain.len()).then_some(plain)
}

fn email_key(text: &str) -> Option<Cow<'static, str>> {
    let text = text.trim();
    (text.contains('@')).then(|| Cow::Owned(text.to_lowercase()))
}

/// The SHA-256 of a text's UTF-8 as lower-case hexadecimal digits.
pub fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn words_only(text: &str) -> String {
    let kept: String = text.chars().filter(|c| c.is_alphanumeric() || c.is_whitespace()).collect();
    single_spaced(&kept)
}

fn letters_only(text: &str) -> String {
    let mut kept = text.to_lowercase();
    kept.retain(char::is_alphanumeric);
    kept
}

fn single_spaced(text: &str) -> String {
    let text = text.to_lowercase();
    let mut spaced = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.push_str(word);
    }
    spaced
}

/// A text that tells no more than its shape.
pub fn masked(text: &str) -> String {
    let mut in_word = false;
    let star = |c: char| {
        let hidden = in_word && c.is_alphanumeric();
        in_word = c.is_alphanumeric();
        if hidden { '*' } else { c }
    };
    text.chars().map(star).collect()
}

fn google_email(text: &str) -> Option<String> {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    let (name, domain) = plain.rsplit_once('@')?;
    if ["gmail.com", "googlemail.com"].contains(&domain) {
        return Some(format!("{}@{domain}", name.replace('.', "")));
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_are_read_as_those_of_their_country() {
        assert_eq!(e164("+4532123456", None).as_deref(), Some("+4532123456"));
        assert_eq!(e164("32 12 34 56", Some("DK")).as_deref(), Some("+4532123456"));
        assert_eq!(e164("0045 32 12 34 56", None).as_deref(), Some("+4532123456"));
        assert_eq!(e164("+44 (0)20 7031 3000", None).as_deref(), Some("+442070313000"));
        assert_eq!(e164("020 7031 3000", Some("GB")).as_deref(), Some("+442070313000"));
        assert_eq!(e164("(212) 555-2368", Some("US")).as_deref(), Some("+12125552368"));
        assert_eq!(e164("32 12 34 56", None), None);
        assert_eq!(e164("12", Some("DK")), None);
        for text in
            ["call me", "32123456 ext 5", "+", "", "++4532123456", "+45321234563212345632123456", "+4532é123456"]
        {
            assert_eq!(e164(text, Some("DK")), None, "{text}");
        }
    }

    /// The values were computed with Python's hashlib.
    #[test]
    fn who_is_held_out_is_told_by_the_hash_alone() {
        assert_eq!(sha256_hex("ann@example.com"), "71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476");
        let drawn: Vec<bool> = (0..10).map(|n| is_held_out("win-back", &format!("c{n}"), 0.5)).collect();
        assert_eq!(drawn, [false, false, true, true, false, true, true, false, true, true]);
        for n in 0..1000 {
            let id = format!("c{n}");
            assert!(!is_held_out("s", &id, 0.1) || is_held_out("s", &id, 0.2), "raising the share only adds");
        }
        assert!(is_held_out("s", "c", 1.0) && !is_held_out("s", "c", 0.0));
    }

    /// A column that repeats and one that does not, both longer than what is remembered.
    #[test]
    fn a_remembered_hash_is_the_texts_own() {
        for different in [7, REMEMBERED + 10, 3 * REMEMBERED] {
            let texts: Vec<Option<String>> =
                (0..3 * REMEMBERED).map(|n| (n % 5 != 4).then(|| format!("text {}", n % different))).collect();
            let hashed = hashes(&texts.iter().map(Option::as_deref).collect::<StringViewArray>());
            for (text, hash) in texts.iter().zip(hashed.as_string_view()) {
                assert_eq!(text.as_deref().map(sha256_hex).as_deref(), hash);
            }
        }
    }

    #[test]
    fn texts_are_normalised_as_the_platforms_ask() {
        assert_eq!(words_only("  Anne-Marie  O'Hara "), "annemarie ohara");
        assert_eq!(letters_only("St. John's"), "stjohns");
        assert_eq!(single_spaced(" Zoë   Pérez "), "zoë pérez");
        assert_eq!(google_email(" Ann.B.C@GMail.com ").as_deref(), Some("annbc@gmail.com"));
        assert_eq!(google_email("ann.b@example.com").as_deref(), Some("ann.b@example.com"));
        assert_eq!(email_key(" Ann@Example.COM ").as_deref(), Some("ann@example.com"));
        assert_eq!(email_key("nobody"), None);
        assert_eq!(masked("ann.b@example.com +4512"), "a**.b@e******.c** +4***");
    }
}
