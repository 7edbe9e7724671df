//! The answers of S3 about uploads: a small part of XML, read strictly.
//!
//! Whatever is not understood is an error, a text that is cut off above all: half a listing must not pass for a whole one.

use chrono::{DateTime, Utc};

/// How deep elements may lie in each other; S3's answers are four deep.
const DEEPEST: usize = 16;

/// Why a text cannot be read.
type Why = &'static str;

/// An upload as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) began_at: DateTime<Utc>,
}

/// After which upload a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) key: String,
    /// Empty where the store tells none.
    pub(super) id: String,
}

/// A page of a listing of uploads, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uploads {
    pub(super) uploads: Vec<Begun>,
    pub(super) next: Option<Marker>,
}

/// A page of the parts of an upload, and the number after which the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) bytes: u64,
    pub(super) next: Option<u64>,
}

/// Reads the answer to `GET ?uploads`.
pub(super) fn uploads(body: &[u8]) -> Result<Uploads, Why> {
    let root = root(body, "ListMultipartUploadsResult")?;
    let mut uploads = Vec::new();
    for upload in root.children.iter().filter(|child| child.name == "Upload") {
        let began = DateTime::parse_from_rfc3339(upload.child("Initiated").ok_or("an upload has no time")?);
        uploads.push(Begun {
            key: upload.child("Key").ok_or("an upload has no key")?.to_owned(),
            id: upload.child("UploadId").ok_or("an upload has no id")?.to_owned(),
            began_at: began.map_err(|_| "an upload's time is none")?.to_utc(),
        });
    }
    let next = match root.is_truncated()? {
        false => None,
        true => {
            let key = root.child("NextKeyMarker").filter(|key| !key.is_empty());
            let key = key.ok_or("it does not say where its next page begins")?.to_owned();
            Some(Marker { key, id: root.child("NextUploadIdMarker").unwrap_or_default().to_owned() })
        }
    };
    Ok(Uploads { uploads, next })
}

/// Reads the answer to `GET ?uploadId=…`.
pub(super) fn parts(body: &[u8]) -> Result<Parts, Why> {
    let root = root(body, "ListPartsResult")?;
    let mut bytes = 0_u64;
    for part in root.children.iter().filter(|child| child.name == "Part") {
        let size = part.child("Size").and_then(|size| size.parse().ok()).ok_or("a part has no size")?;
        bytes = bytes.saturating_add(size);
    }
    let next = match root.is_truncated()? {
        false => None,
        true => {
            let number = root.child("NextPartNumberMarker").and_then(|number| number.parse().ok());
            Some(number.ok_or("it does not say where its next page begins")?)
        }
    };
    Ok(Parts { bytes, next })
}

/// The code of an error, where the body of a refusal tells one.
pub(super) fn code(body: &[u8]) -> Option<String> {
    let code = root(body, "Error").ok()?.child("Code")?.to_owned();
    code.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(code)
}

fn root(body: &[u8], name: &str) -> Result<Element, Why> {
    let root = read(std::str::from_utf8(body).map_err(|_| "it is not UTF-8")?)?;
    if root.name == name { Ok(root) } else { Err("it is another answer than was asked for") }
}

/// An element, without its attributes.
#[derive(Debug, Default)]
struct Element {
    name: String,
    /// The text directly in it, as it stands.
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The text of the first child of a name.
    fn child(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }

    fn is_truncated(&self) -> Result<bool, Why> {
        match self.child("IsTruncated") {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err("it does not say whether it is all"),
        }
    }
}

/// Reads a whole document: one element, with what stands around it.
fn read(text: &str) -> Result<Element, Why> {
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut rest = text.trim_start_matches('\u{feff}');
    loop {
        let (words, markup) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
        match open.last_mut() {
            Some(element) => element.text.push_str(&decoded(words)?),
            None if words.trim().is_empty() => {}
            None => return Err("it is no XML"),
        }
        if markup.is_empty() {
            break;
        }
        if let Some(instruction) = markup.strip_prefix("<?") {
            rest = parted(instruction, "?>")?.1;
            continue;
        }
        if let Some(comment) = markup.strip_prefix("<!--") {
            rest = parted(comment, "-->")?.1;
            continue;
        }
        if let Some(verbatim) = markup.strip_prefix("<![CDATA[") {
            let (words, after) = parted(verbatim, "]]>")?;
            open.last_mut().ok_or("it is no XML")?.text.push_str(words);
            rest = after;
            continue;
        }
        if markup.starts_with("<!") {
            return Err("it declares what we do not read");
        }
        let (tag, after) = tag(markup)?;
        rest = after;
        let closed = if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop().filter(|element| element.name == name.trim_end());
            Some(element.ok_or("its elements do not close in order")?)
        } else {
            if root.is_some() || open.len() == DEEPEST {
                return Err("it holds more than one answer does");
            }
            let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let name = tag.split_ascii_whitespace().next().filter(|name| tag.starts_with(name));
            let element = Element { name: name.ok_or("an element has no name")?.to_owned(), ..Element::default() };
            if is_empty {
                Some(element)
            } else {
                open.push(element);
                None
            }
        };
        if let Some(element) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => root = Some(element),
            }
        }
    }
    root.filter(|_| open.is_empty()).ok_or("it is cut off")
}

/// What stands before and after a word that must come.
fn parted<'t>(text: &'t str, word: &str) -> Result<(&'t str, &'t str), Why> {
    text.split_once(word).ok_or("it is cut off")
}

/// What stands between `<` and `>`, and what comes after it; attributes may hold a `>` in quotes.
fn tag(markup: &str) -> Result<(&str, &str), Why> {
    let mut quoted = None;
    for (at, c) in markup.char_indices().skip(1) {
        match (quoted, c) {
            (None, '>') => {
                return Ok((markup.get(1..at).unwrap_or_default(), markup.get(at + 1..).unwrap_or_default()));
            }
            (None, '<') => return Err("it is no XML"),
            (None, '"' | '\'') => quoted = Some(c),
            (Some(quote), c) if quote == c => quoted = None,
            _ => {}
        }
    }
    Err("it is cut off")
}

/// A text with its entities decoded.
fn decoded(text: &str) -> Result<String, Why> {
    let mut pieces = text.split('&');
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (entity, after) = piece.split_once(';').ok_or("an entity does not end")?;
        decoded.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => numbered(entity).ok_or("an entity is not known")?,
        });
        decoded.push_str(after);
    }
    Ok(decoded)
}

/// The character of `#65` or `#x41`.
fn numbered(entity: &str) -> Option<char> {
    let number = entity.strip_prefix('#')?;
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
    // A sign would be read, too.
    let is_number = digits.chars().all(|digit| digit.is_digit(radix));
    char::from_u32(u32::from_str_radix(digits, radix).ok().filter(|_| is_number)?)
}
