//! How Java prints things, where Rust prints them differently.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

/// `Double.toString`: always a point, and an exponent below 0.001 and from ten millions up.
pub fn double(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x < 0.0 { "-Infinity".into() } else { "Infinity".into() };
    }
    if x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// An average with four decimals, rounded half up; 0 of nothing.
/// (ref: AvgMinMaxCounter.getAvg)
pub fn average(total: u64, count: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let average = total as f64 / count as f64;
    // Only an odd multiple of 1/32 has exactly a 5 as its fifth and last decimal.
    let thirty_seconds = average * 32.0;
    if thirty_seconds < 1e9 && thirty_seconds % 2.0 == 1.0 {
        return ((average * 10_000.0).floor() + 1.0) / 10_000.0;
    }
    format!("{average:.4}").parse().expect("it was just printed")
}

/// `InetSocketAddress.toString` of an address without a name: a slash in front, and IPv6 in brackets
/// with all eight groups.
pub fn socket_address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}:{}", address.port()),
        IpAddr::V6(ip) => {
            let groups = ip.segments().map(|group| format!("{group:x}"));
            format!("/[{}]:{}", groups.join(":"), address.port())
        }
    }
}

/// `Date.toString` for milliseconds since 1970.
///
/// differs: the time zone is always UTC, since a server should not need to know where it stands.
pub fn date(millis: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = Calendar::new(millis.div_euclid(1000));
    let weekday = WEEKDAYS[usize::try_from(at.days.rem_euclid(7)).expect("below 7")];
    let month = MONTHS[usize::from(at.month) - 1];
    format!(
        "{weekday} {month} {:02} {:02}:{:02}:{:02} UTC {}",
        at.day, at.hour, at.minute, at.second, at.year
    )
}

/// The form of a build date that every version of go-zk parses: `MM/dd/yyyy HH:mm GMT`.
pub fn build_date(seconds: i64) -> String {
    let at = Calendar::new(seconds);
    let mut text = String::new();
    write!(text, "{:02}/{:02}/{:04} {:02}:{:02} GMT", at.month, at.day, at.year, at.hour, at.minute)
        .expect("a string takes all");
    text
}

/// A moment of the Gregorian calendar in UTC.
struct Calendar {
    /// Since 1970.
    days: i64,
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Calendar {
    fn new(seconds: i64) -> Self {
        let small = |n: i64| u8::try_from(n).expect("the remainder is small");
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years begin in March, so that the leap day is the last day of one; 400 of them repeat.
        let since_march = days + 719_468;
        let (era, day_of_era) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            days,
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: small(month),
            day: small(day_of_year - (153 * march_month + 2) / 5 + 1),
            hour: small(rest / 3600),
            minute: small(rest % 3600 / 60),
            second: small(rest % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_java_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (0.5, "0.5"),
            (2.7778, "2.7778"),
            (1.261, "1.261"),
            (100.0, "100.0"),
            (0.001, "0.001"),
            (0.0011, "0.0011"),
            (0.0009, "9.0E-4"),
            (0.0001, "1.0E-4"),
            (0.00012, "1.2E-4"),
            (123456.7891, "123456.7891"),
            (9999999.9999, "9999999.9999"),
            (1e7, "1.0E7"),
            (12345678.5, "1.23456785E7"),
            (1e21, "1.0E21"),
            (-3.0, "-3.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (x, text) in cases {
            assert_eq!(double(x), text);
        }
    }

    #[test]
    fn averages_are_rounded_half_up() {
        assert_eq!(average(0, 0), 0.0);
        assert_eq!(average(50, 18), 2.7778);
        assert_eq!(average(37, 3), 12.3333);
        assert_eq!(average(1, 32), 0.0313);
        assert_eq!(average(3, 32), 0.0938);
        assert_eq!(average(33, 32), 1.0313);
        assert_eq!(average(1, 30000), 0.0);
        assert_eq!(average(u64::MAX, 1), u64::MAX as f64);
    }

    #[test]
    fn addresses() {
        let print = |text: &str| socket_address(text.parse().expect("an address"));
        assert_eq!(print("127.0.0.1:60400"), "/127.0.0.1:60400");
        assert_eq!(print("[::1]:49588"), "/[0:0:0:0:0:0:0:1]:49588");
        assert_eq!(print("[2001:db8::ab]:1"), "/[2001:db8:0:0:0:0:0:ab]:1");
        assert_eq!(print("[::ffff:10.0.0.7]:2"), "/10.0.0.7:2");
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(1_795_262_932_999), "Sat Nov 21 12:08:52 UTC 2026");
        assert_eq!(date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(-1), "Wed Dec 31 23:59:59 UTC 1969");
        assert_eq!(build_date(1_755_633_180), "08/19/2025 19:53 GMT");
    }
}
