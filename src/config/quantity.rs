//! Sizes, durations and shares as people write them.

use std::time::Duration;

use crate::error::{Error, Result};

const SIZES: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

const DURATIONS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// Reads a size such as `3GB` (3·10⁹ bytes), `512 MiB` (512·2²⁰) or `1.5gb`, in bytes.
///
/// # Errors
/// `config.bad_size` for anything else; a number without a unit is refused, since nobody means three bytes.
pub fn parse_size(text: &str) -> Result<u64> {
    let bad = || {
        Error::definition("config.bad_size", format!("`{text}` is not a size"))
            .with_hint("write a number and a unit: `3GB`, `512MB` or `1.5GiB`")
    };
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
    let (digits, unit) = trimmed.split_at(split);
    let amount: f64 = digits.parse().map_err(|_| bad())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
    let bytes = amount * *factor as f64;
    if bytes >= 1.0 && bytes < 2f64.powi(62) { Ok(bytes as u64) } else { Err(bad()) }
}

/// Reads a duration such as `2h`, `90m` or `1h30m`.
///
/// # Errors
/// `config.bad_duration` for anything else, and for nothing at all.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || {
        Error::definition("config.bad_duration", format!("`{text}` is not a duration"))
            .with_hint("write a number and a unit of `s`, `m`, `h` or `d`: `2h`, `90m` or `1h30m`")
    };
    let mut seconds = 0u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let amount: u64 = rest[..split].parse().map_err(|_| bad())?;
        let unit_end = rest[split..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| split + at);
        let unit = rest[split..unit_end].trim();
        let (_, factor) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        seconds = amount.checked_mul(*factor).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
        rest = &rest[unit_end..];
    }
    if seconds == 0 { Err(bad()) } else { Ok(Duration::from_secs(seconds)) }
}

/// Reads a share such as `1%` or `0.01`, as a number between 0 and 1.
///
/// # Errors
/// `config.bad_share` for anything else.
pub fn parse_share(text: &str) -> Result<f64> {
    let trimmed = text.trim();
    let value = match trimmed.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|value| value / 100.0),
        None => trimmed.parse::<f64>(),
    };
    value.ok().filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| {
        Error::definition("config.bad_share", format!("`{text}` is not a share between 0% and 100%"))
            .with_hint("write `1%` or `0.01`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("3GB").unwrap(), 3_000_000_000);
        assert_eq!(parse_size(" 512 MiB ").unwrap(), 512 << 20);
        assert_eq!(parse_size("1.5gb").unwrap(), 1_500_000_000);
        for bad in ["", "3", "GB", "3 parsecs", "-1GB", "0GB", "1.2.3GB", "1e9GB", "99999999999TB", "3GB please"] {
            assert_eq!(parse_size(bad).unwrap_err().code(), "config.bad_size", "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("2h").unwrap(), Duration::from_secs(7_200));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5_400));
        for bad in ["", "2", "h", "2 weeks", "0s", "-1h", "99999999999999999999h", "18446744073709551615d"] {
            assert_eq!(parse_duration(bad).unwrap_err().code(), "config.bad_duration", "{bad}");
        }
    }

    #[test]
    fn shares() {
        assert_eq!(parse_share("1%").unwrap(), 0.01);
        assert_eq!(parse_share("0.25").unwrap(), 0.25);
        for bad in ["", "%", "2", "-1%", "101%", "nan", "NaN%"] {
            assert_eq!(parse_share(bad).unwrap_err().code(), "config.bad_share", "{bad}");
        }
    }
}
