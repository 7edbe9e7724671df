//! Postgres's templates of times: `YYYY-MM-DD HH24:MI:SS`.
//!
//! What a template has that is not known here is refused: in Postgres it would mean something else than itself.

/// Texts that are read.
mod reading;

use chrono::{Datelike, NaiveDateTime, Timelike};

use crate::serve::fault::Fault;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Letters of a short name.
const SHORT: usize = 3;
/// Width of a name that is padded.
const NAME: usize = 9;

/// How a name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Title,
    Lower,
}

impl Case {
    fn write(self, name: &str) -> String {
        match self {
            Self::Upper => name.to_uppercase(),
            Self::Title => name.to_owned(),
            Self::Lower => name.to_lowercase(),
        }
    }
}

/// What stands for a part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    ShortYear,
    IsoYear,
    Quarter,
    Month,
    MonthName(Case, bool),
    IsoWeek,
    DayOfYear,
    Day,
    DayName(Case, bool),
    Weekday,
    IsoWeekday,
    Hour,
    HalfDayHour,
    Meridiem(Case),
    Minute,
    Second,
    Milli,
    Micro,
}

/// The fields by their words, longer ones before those that they begin with; none for what Postgres knows and this does not.
const WORDS: [(&str, Option<Field>); 29] = [
    ("SSSSS", None),
    ("SSSS", None),
    ("MONTH", Some(Field::MonthName(Case::Upper, false))),
    ("YYYY", Some(Field::Year)),
    ("IYYY", Some(Field::IsoYear)),
    ("IDDD", None),
    ("HH24", Some(Field::Hour)),
    ("HH12", Some(Field::HalfDayHour)),
    ("YYY", None),
    ("DDD", Some(Field::DayOfYear)),
    ("DAY", Some(Field::DayName(Case::Upper, false))),
    ("MON", Some(Field::MonthName(Case::Upper, true))),
    ("YY", Some(Field::ShortYear)),
    ("MM", Some(Field::Month)),
    ("IW", Some(Field::IsoWeek)),
    ("ID", Some(Field::IsoWeekday)),
    ("DD", Some(Field::Day)),
    ("DY", Some(Field::DayName(Case::Upper, true))),
    ("HH", Some(Field::HalfDayHour)),
    ("MI", Some(Field::Minute)),
    ("MS", Some(Field::Milli)),
    ("SS", Some(Field::Second)),
    ("US", Some(Field::Micro)),
    ("AM", Some(Field::Meridiem(Case::Upper))),
    ("PM", Some(Field::Meridiem(Case::Upper))),
    ("Q", Some(Field::Quarter)),
    ("D", Some(Field::Weekday)),
    ("TH", None),
    ("FX", None),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A field, and whether it is written without padding.
    Field(Field, bool),
    /// What was in quotes.
    Quoted(String),
    /// What divides fields.
    Other(String),
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

fn unknown(template: &str, word: &str) -> Fault {
    let message = format!("`{word}` in the template `{template}` is not supported");
    Fault::new("0A000", message).hint(
        "there are YYYY, YY, Q, MM, Mon, Month, IYYY, IW, DDD, DD, D, ID, Dy, Day, HH24, HH12, MI, SS, MS, US, AM, FM; \
         text stands in \"double quotes\"; templates as '%Y-%m-%d' are taken, too",
    )
}

/// A field at the beginning of a text, and the letters that it takes.
fn field(rest: &str) -> Option<(Option<Field>, usize)> {
    WORDS.iter().find_map(|(word, field)| {
        let found = rest.get(..word.len())?;
        let case = match found {
            _ if found == *word => Case::Upper,
            _ if found == word.to_lowercase() => Case::Lower,
            _ if matches!(*word, "MONTH" | "MON" | "DAY" | "DY") && is_title(found, word) => Case::Title,
            _ => return None,
        };
        let field = field.map(|field| match field {
            Field::MonthName(_, short) => Field::MonthName(case, short),
            Field::DayName(_, short) => Field::DayName(case, short),
            Field::Meridiem(_) => Field::Meridiem(case),
            other => other,
        });
        Some((field, word.len()))
    })
}

fn is_title(found: &str, word: &str) -> bool {
    found.eq_ignore_ascii_case(word) && found.get(..1) == word.get(..1) && found[1..] == word[1..].to_lowercase()
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// 0A000 for what it has that is not known.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (mut parts, mut rest, mut bare) = (Vec::new(), text, false);
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
                (rest, bare) = (after, true);
                continue;
            }
            if first == '"' {
                let (quoted, after) = quoted(&rest[1..]);
                parts.push(Part::Quoted(quoted));
                rest = after;
            } else if first.is_ascii_alphabetic() {
                match field(rest) {
                    Some((Some(field), letters)) => {
                        parts.push(Part::Field(field, std::mem::take(&mut bare)));
                        rest = &rest[letters..];
                    }
                    Some((None, letters)) => return Err(unknown(text, &rest[..letters])),
                    None => {
                        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                        return Err(unknown(text, &rest[..end]));
                    }
                }
            } else {
                match parts.last_mut() {
                    Some(Part::Other(other)) => other.push(first),
                    _ => parts.push(Part::Other(first.to_string())),
                }
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// A local time by the template.
    pub(super) fn write(&self, at: NaiveDateTime) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Field(field, bare) => text.push_str(&written(*field, *bare, at)),
                Part::Quoted(other) | Part::Other(other) => text.push_str(other),
            }
        }
        text
    }
}

/// What stands in quotes, and what comes after it.
fn quoted(text: &str) -> (String, &str) {
    let (mut inside, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                inside.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (inside, &text[at + 1..]),
            _ => inside.push(c),
        }
    }
    (inside, "")
}

fn written(field: Field, bare: bool, at: NaiveDateTime) -> String {
    let number = |number: i64, digits: usize| {
        if bare { number.to_string() } else { format!("{number:0digits$}") }
    };
    let name = |name: &str, case: Case, short: bool| {
        let name = case.write(if short { &name[..SHORT] } else { name });
        if bare || short { name } else { format!("{name:<NAME$}") }
    };
    // There is no year 0 in Postgres: the one before 1 is 1 BC.
    let year = |year: i32| i64::from(if year > 0 { year } else { 1 - year });
    let hour = i64::from(at.hour());
    let nth = |names: &[&'static str], at: u32| names.get(at as usize).copied().unwrap_or_default();
    match field {
        Field::Year => number(year(at.year()), 4),
        Field::ShortYear => number(year(at.year()) % 100, 2),
        Field::IsoYear => number(year(at.iso_week().year()), 4),
        Field::Quarter => (at.month0() / 3 + 1).to_string(),
        Field::Month => number(at.month().into(), 2),
        Field::MonthName(case, short) => name(nth(&MONTHS, at.month0()), case, short),
        Field::IsoWeek => number(at.iso_week().week().into(), 2),
        Field::DayOfYear => number(at.ordinal().into(), 3),
        Field::Day => number(at.day().into(), 2),
        Field::DayName(case, short) => name(nth(&DAYS, at.weekday().num_days_from_monday()), case, short),
        Field::Weekday => at.weekday().number_from_sunday().to_string(),
        Field::IsoWeekday => at.weekday().number_from_monday().to_string(),
        Field::Hour => number(hour, 2),
        Field::HalfDayHour => number(at.hour12().1.into(), 2),
        Field::Meridiem(case) => case.write(if at.hour() < 12 { "AM" } else { "PM" }),
        Field::Minute => number(at.minute().into(), 2),
        Field::Second => number(at.second().into(), 2),
        Field::Milli => format!("{:03}", at.nanosecond() / 1_000_000),
        Field::Micro => format!("{:06}", at.nanosecond() / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap()
    }

    #[test]
    fn times_are_written_as_postgres_writes_them() {
        let time = at("2026-03-05 14:07:09.012345");
        // As PostgreSQL 15 answers to `to_char(…)`.
        for (template, written) in [
            ("YYYY-MM-DD", "2026-03-05"),
            ("YY/FMMM/FMDD", "26/3/5"),
            ("yyyy-mm-dd hh24:mi:ss", "2026-03-05 14:07:09"),
            ("HH12:MI:SS AM", "02:07:09 PM"),
            ("FMHH:MI pm", "2:07 pm"),
            ("SS.MS US", "09.012 012345"),
            ("Mon MON mon", "Mar MAR mar"),
            ("Month|MONTH|month|", "March    |MARCH    |march    |"),
            ("FMMonth FMDD, YYYY", "March 5, 2026"),
            ("Day|DY|dy", "Thursday |THU|thu"),
            ("FMDay D ID DDD", "Thursday 5 4 064"),
            ("\"Q\"Q IYYY-\"W\"IW", "Q1 2026-W10"),
            ("YYYY\"T\"HH24 \"a\\\"b\"", "2026T14 a\"b"),
            ("YYYYMMDD, 20 – ü", "20260305, 20 – ü"),
            ("", ""),
        ] {
            assert_eq!(Template::parse(template).unwrap().write(time), written, "{template}");
        }
        let new_year = at("2027-01-01 00:30:00");
        assert_eq!(Template::parse("IYYY-IW HH12 AM D").unwrap().write(new_year), "2026-53 12 AM 6");
    }

    #[test]
    fn what_is_not_known_is_refused_and_never_written_as_it_is() {
        for template in [
            "YYYY-MM-DDTHH24",
            "DDth",
            "SSSS",
            "YYYY BC",
            "TZ",
            "WW",
            "J",
            "RM",
            "CC",
            "Yyyy",
            "A.M.",
            "FF3",
            "IDDD",
            "hello",
        ] {
            let fault = Template::parse(template).unwrap_err();
            assert!(fault.state == "0A000" && fault.hint.is_some(), "{template}: {fault:?}");
        }
        for template in ["IYYY-IW", "YYYY DDD", "HH24:MI", "MM-DD"] {
            assert_eq!(Template::parse(template).unwrap().for_reading().unwrap_err().state, "0A000", "{template}");
        }
    }
}
