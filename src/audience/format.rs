//! The formats that an export can have: small declared mappings in `sql/exports/`, which a project overrides or adds to.

use serde::Deserialize;

use crate::diagnostic::{line_and_column, nearest};
use crate::engine::Engine;
use crate::error::{Error, Result};

/// The formats that are built in: the name, and the text of its file.
pub const BUILT_IN: [(&str, &str); 10] = [
    ("basic", include_str!("../../sql/exports/basic.toml")),
    ("extended", include_str!("../../sql/exports/extended.toml")),
    ("email", include_str!("../../sql/exports/email.toml")),
    ("sms", include_str!("../../sql/exports/sms.toml")),
    ("facebook", include_str!("../../sql/exports/facebook.toml")),
    ("google", include_str!("../../sql/exports/google.toml")),
    ("klaviyo", include_str!("../../sql/exports/klaviyo.toml")),
    ("mailchimp", include_str!("../../sql/exports/mailchimp.toml")),
    ("parquet", include_str!("../../sql/exports/parquet.toml")),
    ("jsonl", include_str!("../../sql/exports/jsonl.toml")),
];

/// A format: which bytes, for which channel, with which columns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Format {
    /// Its name: that of its file.
    #[serde(skip)]
    pub name: String,
    /// The file that declares it, for people.
    #[serde(skip)]
    pub origin: String,
    /// How rows become bytes.
    pub encoding: Encoding,
    /// Which consent a row needs.
    pub channel: Channel,
    /// Whether people open it in a spreadsheet: cells that would run as formulas are neutralised then.
    #[serde(default)]
    pub spreadsheet: bool,
    /// Whether every column of the profile is in it; `columns` is empty then.
    #[serde(default)]
    pub everything: bool,
    /// Whether the platform is told the consent to advertising of a whole file, so that rows of different states go to files
    /// of their own.
    #[serde(default)]
    pub split_by_consent: bool,
    /// The columns, in order.
    #[serde(default)]
    pub columns: Vec<Column>,
}

/// A column of a format.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its header.
    pub name: String,
    /// An SQL expression over the columns of an audience's row.
    pub value: String,
}

/// How rows become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// RFC 4180, with a header line.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// The channel that a format is made for, and so which consent a row needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Consent to e-mail, an address.
    Email,
    /// Consent to text messages, a phone.
    Sms,
    /// Consent to advertising, an e-mail address or a phone.
    Ads,
    /// A postal address.
    Post,
    /// None: contact columns are blank where their own channel may not be used.
    None,
}

impl Format {
    /// The format of that name: the project's own file, else the built-in one.
    ///
    /// # Errors
    /// `audience.unknown_format` with the nearest name; `audience.bad_format` for a file that declares none.
    pub fn load(engine: &Engine, name: &str) -> Result<Self> {
        let origin = format!("sql/exports/{name}.toml");
        let folder = engine.overrides().map(|folder| folder.join("exports"));
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if let Some(path) = folder.as_ref().filter(|_| plain).map(|folder| folder.join(format!("{name}.toml")))
            && path.is_file()
        {
            let text = std::fs::read_to_string(&path).map_err(|error| Error::from(error).in_file(origin.as_str()))?;
            return Self::parse(name, &origin, &text);
        }
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, &origin, text);
        }
        let mut known: Vec<String> = BUILT_IN.iter().map(|(known, _)| (*known).to_owned()).collect();
        let own = folder.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        known.extend(own.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned)));
        known.sort();
        known.dedup();
        let hint = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}; declare another in `sql/exports/<name>.toml`", known.join(", ")),
        };
        Err(Error::usage("audience.unknown_format", format!("there is no format `{name}`")).with_hint(hint))
    }

    fn parse(name: &str, origin: &str, text: &str) -> Result<Self> {
        let bad = |message: String| {
            Error::definition("audience.bad_format", message)
                .in_file(origin)
                .with_hint("`sql/exports/email.toml` of the documentation is an example to begin from")
        };
        let mut format: Format = toml::from_str(text).map_err(|error| {
            let told = bad(error.message().to_owned());
            match error.span() {
                Some(span) => {
                    let (line, column) = line_and_column(text, span.start);
                    told.at_line(line, Some(column))
                }
                None => told,
            }
        })?;
        if format.everything != format.columns.is_empty() {
            return Err(bad("a format has `[[columns]]`, or else `everything = true`".to_owned()));
        }
        let mut names: Vec<&str> = format.columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(bad(format!("the column `{}` is there twice", twice[0])));
        }
        name.clone_into(&mut format.name);
        origin.clone_into(&mut format.origin);
        Ok(format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_formats_are_formats() {
        for (name, text) in BUILT_IN {
            let format = Format::parse(name, name, text).unwrap();
            assert_eq!(format.everything, format.columns.is_empty(), "{name}");
            let machine = ["facebook", "google", "klaviyo", "mailchimp", "parquet", "jsonl"].contains(&name);
            assert_eq!(format.spreadsheet, !machine, "{name}");
        }
    }

    #[test]
    fn a_faulty_declaration_is_told_with_its_place() {
        let error = Format::parse("x", "sql/exports/x.toml", "encoding = \"csv\"\nchannel = \"fax\"\n").unwrap_err();
        assert_eq!((error.code(), error.place().line), ("audience.bad_format", Some(2)));
        let error = Format::parse("x", "x", "encoding = \"csv\"\nchannel = \"email\"\n").unwrap_err();
        assert!(error.message().contains("[[columns]]"));
    }
}
