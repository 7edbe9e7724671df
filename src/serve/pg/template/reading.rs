//! Texts that are read by a template.

use std::iter::Peekable;
use std::str::Chars;

use chrono::{Duration, NaiveDate, NaiveDateTime};

use super::{DAYS, Field, MONTHS, NAME, Part, SHORT, Template};
use crate::serve::fault::Fault;

impl Template {
    /// The same, if texts can be read by it.
    ///
    /// # Errors
    /// 0A000 for what is written only, and where there is no year.
    pub(in crate::serve::pg) fn for_reading(self) -> Result<Self, Fault> {
        let of = |wanted: fn(Field) -> bool| {
            self.parts.iter().any(|part| matches!(part, Part::Field(field, _) if wanted(*field)))
        };
        if of(|field| matches!(field, Field::IsoYear | Field::IsoWeek | Field::IsoWeekday | Field::DayOfYear)) {
            let message =
                format!("`{}` has days of ISO weeks or of the year, which are written and not read", self.text);
            return Err(Fault::new("0A000", message).hint("write the day as YYYY, MM and DD"));
        }
        if !of(|field| matches!(field, Field::Year | Field::ShortYear)) {
            let message = format!("`{}` has no year, and so is no day", self.text);
            return Err(Fault::new("0A000", message).hint("write YYYY, or YY"));
        }
        Ok(self)
    }

    /// The local time that a text is by the template; what comes after it is left out, as in Postgres.
    ///
    /// # Errors
    /// 22007 for what is none, 22008 for what there is no such time of.
    pub(in crate::serve::pg) fn read(&self, text: &str) -> Result<NaiveDateTime, Fault> {
        let wrong = || Fault::new("22007", format!("a text is no time by the template `{}`", self.text));
        let mut found = Found { month: 1, day: 1, ..Found::default() };
        let mut rest = text.chars().peekable();
        for (place, part) in self.parts.iter().enumerate() {
            match part {
                Part::Quoted(quoted) => skip(&mut rest, quoted.chars().count()),
                Part::Other(other) => {
                    while rest.next_if(|c| !c.is_alphanumeric()).is_some() {}
                    skip(&mut rest, other.chars().filter(|c| c.is_alphanumeric()).count());
                }
                Part::Field(field, _) => {
                    while rest.next_if(|c| c.is_whitespace()).is_some() {}
                    let adjacent = matches!(self.parts.get(place + 1), Some(Part::Field(..)));
                    found.take(*field, adjacent, &mut rest).ok_or_else(wrong)?;
                }
            }
        }
        let none =
            || Fault::new("22008", format!("there is no such time as a text is by the template `{}`", self.text));
        found.time().ok_or_else(none)
    }
}

/// Passes so many letters by.
fn skip(rest: &mut Peekable<Chars<'_>>, letters: usize) {
    for _ in 0..letters {
        rest.next();
    }
}

/// What has been read of a time.
#[derive(Debug, Default)]
struct Found {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    /// Whether the hour is one of a clock of twelve hours.
    half_day: bool,
    afternoon: bool,
    minute: u32,
    second: u32,
    micros: u32,
}

impl Found {
    /// Takes one field's value; none where it is none.
    fn take(&mut self, field: Field, adjacent: bool, rest: &mut Peekable<Chars<'_>>) -> Option<()> {
        let mut number = |width: usize| digits(if adjacent { width } else { NAME }, rest);
        match field {
            Field::Year => self.year = number(4)?.0.try_into().ok()?,
            Field::ShortYear => {
                let (year, digits) = number(2)?;
                let century = if digits > 2 {
                    0
                } else if year < 70 {
                    2000
                } else {
                    1900
                };
                self.year = i32::try_from(year).ok()? + century;
            }
            Field::Quarter | Field::Weekday => drop(number(1)?),
            Field::Month => self.month = number(2)?.0,
            Field::Day => self.day = number(2)?.0,
            Field::Hour => (self.hour, self.half_day) = (number(2)?.0, false),
            Field::HalfDayHour => (self.hour, self.half_day) = (number(2)?.0, true),
            Field::Minute => self.minute = number(2)?.0,
            Field::Second => self.second = number(2)?.0,
            Field::Milli => self.micros = fraction(number(3)?, 3)? * 1_000,
            Field::Micro => self.micros = fraction(number(6)?, 6)?,
            Field::MonthName(_, short) => self.month = u32::try_from(named(&MONTHS, short, rest)?).ok()? + 1,
            Field::DayName(_, short) => drop(named(&DAYS, short, rest)?),
            Field::Meridiem(_) => {
                let word: String = [rest.next()?, rest.next()?].iter().collect::<String>().to_lowercase();
                self.afternoon = match word.as_str() {
                    "am" => false,
                    "pm" => true,
                    _ => return None,
                };
            }
            Field::IsoYear | Field::IsoWeek | Field::IsoWeekday | Field::DayOfYear => return None,
        }
        Some(())
    }

    fn time(&self) -> Option<NaiveDateTime> {
        let hour = match (self.half_day, self.hour) {
            (false, hour) => hour,
            (true, 1..=12) => self.hour % 12 + if self.afternoon { 12 } else { 0 },
            (true, _) => return None,
        };
        let day = NaiveDate::from_ymd_opt(self.year, self.month, self.day)?;
        let time = day.and_hms_opt(hour, self.minute, self.second)?;
        time.checked_add_signed(Duration::microseconds(self.micros.into()))
    }
}

/// A number of at most so many digits, and how many it has.
fn digits(most: usize, rest: &mut Peekable<Chars<'_>>) -> Option<(u32, usize)> {
    let mut text = String::new();
    while text.len() < most
        && let Some(digit) = rest.next_if(char::is_ascii_digit)
    {
        text.push(digit);
    }
    Some((text.parse().ok()?, text.len()))
}

/// Digits behind the point, in the unit of the last of `most`.
fn fraction((number, digits): (u32, usize), most: usize) -> Option<u32> {
    let missing = u32::try_from(most.checked_sub(digits)?).ok()?;
    Some(number * 10_u32.pow(missing))
}

/// Which of the names comes next.
fn named(names: &[&str], short: bool, rest: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let ahead: String = rest.clone().take(NAME).collect::<String>().to_lowercase();
    let (place, name) = names.iter().enumerate().find_map(|(place, name)| {
        let name = if short { &name[..SHORT] } else { name };
        ahead.starts_with(&name.to_lowercase()).then_some((place, name))
    })?;
    skip(rest, name.len());
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap()
    }

    #[test]
    fn times_are_read_as_postgres_reads_them() {
        for (template, text, time) in [
            ("YYYY-MM-DD HH24:MI:SS.US", "2026-01-01 00:00:00.000000", "2026-01-01 00:00:00"),
            ("YYYY-MM-DD HH24:MI:SS.US", "2026-01-02 13:14:15.5", "2026-01-02 13:14:15.5"),
            ("YYYY-MM-DD HH24:MI:SS.MS", "2026-01-02 13:14:15.25", "2026-01-02 13:14:15.25"),
            ("YYYY-MM-DD", "2026-11-01", "2026-11-01 00:00:00"),
            ("YYYY-MM-DD", "2026-11-01 and more", "2026-11-01 00:00:00"),
            ("YYYY-MM", "2026-11", "2026-11-01 00:00:00"),
            ("YYYYMMDD", "20261101", "2026-11-01 00:00:00"),
            ("DD.MM.YYYY", "1.2.2026", "2026-02-01 00:00:00"),
            ("DD/MM/YY", "05/02/69", "2069-02-05 00:00:00"),
            ("DD/MM/YY", "05/02/70", "1970-02-05 00:00:00"),
            ("FMDay, DD Month YYYY", "Thursday, 05 march 2026", "2026-03-05 00:00:00"),
            ("DD Mon YYYY HH12:MI AM", "05 MAR 2026 12:30 am", "2026-03-05 00:30:00"),
            ("DD Mon YYYY HH:MI PM", "05 MAR 2026 12:30 PM", "2026-03-05 12:30:00"),
            ("YYYY-MM-DD\"T\"HH24", "2026-03-05T09", "2026-03-05 09:00:00"),
        ] {
            let template = Template::parse(template).unwrap().for_reading().unwrap();
            assert_eq!(template.read(text).unwrap(), at(time), "{text}");
        }
        for (template, text, state) in [
            ("YYYY-MM-DD", "soon", "22007"),
            ("YYYY-MM-DD", "2026-13-01", "22008"),
            ("YYYY-MM-DD", "2026-02-30", "22008"),
            ("YYYY-MM-DD HH12", "2026-02-03 13", "22008"),
            ("YYYY-MM-DD HH24", "2026-02-03 25", "22008"),
            ("DD Mon YYYY", "05 Xyz 2026", "22007"),
        ] {
            let template = Template::parse(template).unwrap().for_reading().unwrap();
            assert_eq!(template.read(text).unwrap_err().state, state, "{text}");
        }
    }
}
