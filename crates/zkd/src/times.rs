//! Times as operators read and type them.

use anyhow::bail;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Local time with milliseconds: `2026-11-21 18:19:50.123`.
pub fn show(ms: i64) -> String {
    match local(ms) {
        Some(t) => t.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        None => format!("{ms} ms"),
    }
}

/// As Java's `Date` prints itself: `Sat Nov 21 18:19:50 UTC 2026`.
pub fn java(ms: i64) -> String {
    match local(ms) {
        Some(t) => t.strftime("%a %b %d %H:%M:%S %Z %Y").to_string(),
        None => format!("{ms} ms"),
    }
}

fn local(ms: i64) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(TimeZone::system()))
}

/// A time in ms since 1970: a number of ms, `2026-11-21T18:19:50Z`, or local time without the
/// zone, with a blank or a `T` between date and time; seconds may be missing.
pub fn parse(text: &str) -> Result<i64, anyhow::Error> {
    let text = text.trim();
    if text.len() >= 10 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text.parse()?);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    if let Ok(at) = text.parse::<DateTime>()
        && let Ok(zoned) = at.to_zoned(TimeZone::system())
    {
        return Ok(zoned.timestamp().as_millisecond());
    }
    bail!("{text:?} is no time; say 2026-11-21T18:19:50Z, '2026-11-21 18:19:50' (local), or ms since 1970")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        assert_eq!(parse("2026-11-21T18:19:50.123Z").unwrap(), 1_795_285_190_123);
        assert_eq!(parse("1795285190123").unwrap(), 1_795_285_190_123);
        assert_eq!(parse(&show(1_795_285_190_123)).unwrap(), 1_795_285_190_123);
        assert!(parse("2026-11-21").is_ok() && parse("2026-11-21 18:19").is_ok());
        assert!(parse("yesterday").is_err() && parse("").is_err());
    }

    #[test]
    fn java_has_no_milliseconds() {
        let text = java(0);
        assert!(text.ends_with("1970") || text.ends_with("1969"), "{text}");
        assert_eq!(text.split(' ').count(), 6, "{text}");
    }
}
