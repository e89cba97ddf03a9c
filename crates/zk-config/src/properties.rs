//! Java's `.properties` syntax, as `java.util.Properties.load` of Java 17 reads it.
//!
//! What is kept exactly: comments (`#`, `!`), the separators `=`, `:` and blanks, backslash escapes,
//! `\uXXXX` (one UTF-16 unit each), and lines joined by a trailing backslash.
//!
//! differs: Java reads bytes as ISO-8859-1. Here a file that is valid UTF-8 is read as UTF-8, since
//! that is what its author saw; any other file is read as Java does. A byte order mark is dropped, and
//! so is an entry with neither key nor value (a lone `=`, or a backslash at the end of the file).

use std::path::Path;

use crate::error::{ConfigError, Origin};

/// Largest file that is read. Real ones have a few hundred bytes, and a server line of an ensemble
/// of 255 members has less than 1 KiB.
pub const MAX_BYTES: usize = 1 << 20;

/// Most entries that are read, so that remarks about them stay bounded, too.
pub const MAX_ENTRIES: usize = 10_000;

/// One key with its value, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, unescaped and trimmed.
    pub key: String,
    /// The value, unescaped and trimmed as `QuorumPeerConfig` trims it.
    pub value: String,
    /// First line of the entry, counted from 1.
    pub line: usize,
}

/// The entries of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// All entries in file order, repeated keys included. The last one of a key wins.
    pub entries: Vec<Entry>,
    /// The file holds characters beyond ASCII that Java would read differently.
    pub reads_unlike_java: bool,
}

impl Properties {
    /// The value that counts: that of the last entry with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().rev().find(|e| e.key == key).map(|e| e.value.as_str())
    }

    /// Reads a file's content. Total: any input gives entries or an error, in time linear in its size.
    /// (ref: Properties.load, Properties.LineReader)
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_BYTES {
            return Err(ConfigError::TooLarge { path: path.into(), limit: MAX_BYTES });
        }
        let (text, reads_unlike_java) = decode(bytes);
        let mut entries = Vec::new();
        for (line, logical) in LogicalLines::new(&text) {
            let (key, value) = split(&logical);
            let syntax = |reason: &str| ConfigError::Syntax {
                origin: Origin::File { path: path.into(), line },
                reason: reason.into(),
            };
            if entries.len() == MAX_ENTRIES {
                return Err(syntax("more than 10000 entries, is it a configuration file"));
            }
            let key = unescape(key).map_err(syntax)?;
            let value = unescape(value).map_err(syntax)?;
            if key.is_empty() && value.is_empty() {
                continue;
            }
            entries.push(Entry { key: java_trim(&key).into(), value: java_trim(&value).into(), line });
        }
        Ok(Self { entries, reads_unlike_java })
    }
}

fn decode(bytes: &[u8]) -> (String, bool) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), !text.is_ascii()),
        Err(_) => (bytes.iter().map(|&b| char::from(b)).collect(), false),
    }
}

/// `String.trim`: everything up to the blank counts as blank.
fn java_trim(s: &str) -> &str {
    s.trim_matches(|c: char| c <= ' ')
}

/// Lines that hold an entry: comments and empty lines left out, continued lines joined.
struct LogicalLines<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl<'a> LogicalLines<'a> {
    fn new(text: &'a str) -> Self {
        Self { chars: text.chars().peekable(), line: 1 }
    }

    /// One character; `\r\n` comes as one `\n`, and a lone `\r` as `\n` too.
    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\r' {
            self.chars.next_if_eq(&'\n');
        }
        if c == '\r' || c == '\n' {
            self.line += 1;
            return Some('\n');
        }
        Some(c)
    }
}

impl Iterator for LogicalLines<'_> {
    type Item = (usize, String);

    fn next(&mut self) -> Option<Self::Item> {
        let mut out = String::new();
        let mut start = self.line;
        let mut skip_blanks = true;
        let mut joined = false;
        let mut escaped = false;
        loop {
            let before = self.line;
            let Some(c) = self.bump() else {
                // A backslash at the very end of the file is dropped.
                if escaped {
                    out.pop();
                }
                return if out.is_empty() { None } else { Some((start, out)) };
            };
            if skip_blanks {
                if matches!(c, ' ' | '\t' | '\x0c') || (c == '\n' && !joined) {
                    continue;
                }
                skip_blanks = false;
                joined = false;
            }
            if out.is_empty() {
                start = before;
                if c == '#' || c == '!' {
                    while self.bump().is_some_and(|c| c != '\n') {}
                    skip_blanks = true;
                    continue;
                }
            }
            if c != '\n' {
                out.push(c);
                escaped = c == '\\' && !escaped;
            } else if out.is_empty() {
                skip_blanks = true;
            } else if escaped {
                out.pop();
                skip_blanks = true;
                joined = true;
                escaped = false;
            } else {
                return Some((start, out));
            }
        }
    }
}

fn split(line: &str) -> (&str, &str) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let found = !escaped && (c == '=' || c == ':' || blank(c));
            escaped = c == '\\' && !escaped;
            found
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(blank))
}

/// (ref: Properties.loadConvert)
fn unescape(s: &str) -> Result<String, &'static str> {
    if !s.contains('\\') {
        return Ok(s.into());
    }
    // UTF-16 units, because that is what `\uXXXX` gives: two of them can make one character.
    let mut units: Vec<u16> = Vec::with_capacity(s.len());
    let mut buffer = [0; 2];
    let mut chars = s.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
            continue;
        }
        let Some(c) = chars.next() else { break };
        let c = match c {
            'u' => {
                units.push(four_hex(&mut chars).ok_or("\\u must be followed by four hexadecimal digits")?);
                continue;
            }
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            'f' => '\x0c',
            other => other,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn four_hex(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit << 4 | u16::try_from(chars.next()?.to_digit(16)?).ok()?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(String, String, usize)> {
        let properties = Properties::parse(Path::new("zoo.cfg"), text).expect("valid");
        properties.entries.into_iter().map(|e| (e.key, e.value, e.line)).collect()
    }

    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let expected: Vec<_> = expected.iter().map(|&(k, v, l)| (k.to_owned(), v.to_owned(), l)).collect();
        assert_eq!(read(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn separators() {
        check("a=1\nb:2\nc 3\nd\t4\n", &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4", 4)]);
        check("a = 1\nb : 2\nc  =3", &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3)]);
        check("a==1\nb=:1\nc = = 1", &[("a", "=1", 1), ("b", ":1", 2), ("c", "= 1", 3)]);
        check("server.1=h:2888:3888;2181", &[("server.1", "h:2888:3888;2181", 1)]);
        check("alone\nempty=\n=novalue", &[("alone", "", 1), ("empty", "", 2), ("", "novalue", 3)]);
    }

    #[test]
    fn blanks_around_values_go() {
        check("  a =  1 2  \n\t\x0cb=\t3\t", &[("a", "1 2", 1), ("b", "3", 2)]);
    }

    #[test]
    fn comments_and_empty_lines() {
        check(
            "#a=1\n  ! b=2\n\n \t \nc=3 # no comment\n#x\\\nd=4",
            &[("c", "3 # no comment", 5), ("d", "4", 7)],
        );
    }

    #[test]
    fn line_ends_of_every_system() {
        check("a=1\r\nb=2\rc=3\n\r\nd=4", &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4", 5)]);
    }

    #[test]
    fn continued_lines() {
        check("a=1,\\\n   2,\\\r\n\t3\nb=4", &[("a", "1,2,3", 1), ("b", "4", 4)]);
        check("a=1\\\\\nb=2", &[("a", "1\\", 1), ("b", "2", 2)]);
        check("a=1\\\\\\\n2", &[("a", "1\\2", 1)]);
        check("a=1\\\n\nb=2", &[("a", "1", 1), ("b", "2", 3)]);
        check("a=1\\", &[("a", "1", 1)]);
        check("a=1\n\\", &[("a", "1", 1)]);
        check("a=1\n\\\n", &[("a", "1", 1)]);
        check("a\\\nb=1", &[("ab", "1", 1)]);
    }

    #[test]
    fn escapes() {
        check(r"a\=b\:c\ d=\t1\n\f\r\q\\", &[("a=b:c d", "1\n\x0c\rq\\", 1)]);
        check(r"dataDir=C:\\data\zk", &[("dataDir", "C:\\datazk", 1)]);
        check(r"a=\u00e9\u20AC\ud83d\ude00", &[("a", "é€😀", 1)]);
    }

    #[test]
    fn repeated_keys_are_all_kept_and_the_last_wins() {
        let p = Properties::parse(Path::new("zoo.cfg"), b"a=1\nb=2\na=3").expect("valid");
        assert_eq!((p.entries.len(), p.get("a"), p.get("c")), (3, Some("3"), None));
    }

    #[test]
    fn malformed_unicode_escape_names_the_line() {
        for text in ["x=1\n\na=\\u12g4", "x=1\n\na=\\u12", "x=1\n\n\\u=1"] {
            let error = Properties::parse(Path::new("zoo.cfg"), text.as_bytes()).expect_err("malformed");
            assert_eq!(error.to_string(), "zoo.cfg:3: \\u must be followed by four hexadecimal digits");
        }
    }

    #[test]
    fn encodings() {
        assert_eq!(read("a=é".as_bytes())[0].1, "é");
        assert_eq!(read(b"a=\xe9")[0].1, "é");
        assert_eq!(read(b"\xef\xbb\xbfa=1"), [("a".into(), "1".into(), 1)]);
        assert!(Properties::parse(Path::new("z"), "a=é".as_bytes()).expect("valid").reads_unlike_java);
    }

    #[test]
    fn too_large_is_refused() {
        let error = Properties::parse(Path::new("z"), &vec![b'a'; MAX_BYTES + 1]).expect_err("too large");
        assert!(matches!(error, ConfigError::TooLarge { .. }));
        let error = Properties::parse(Path::new("z"), &b"a\n".repeat(MAX_ENTRIES + 1)).expect_err("too many");
        assert_eq!(error.to_string(), "z:10001: more than 10000 entries, is it a configuration file");
    }
}
