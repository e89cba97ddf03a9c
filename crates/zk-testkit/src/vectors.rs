//! Bytes captured from Java 3.9.4; `vectors/README.md` says what each file is.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// Who sent the bytes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The client, the initiator of an election connection, or the learner.
    Active,
    /// The server, the acceptor, or the master of a learner.
    Passive,
}

/// One line of a capture.
#[derive(Debug, Clone)]
pub struct Line {
    /// The comment above it.
    pub note: String,
    /// The sender.
    pub from: From,
    /// The bytes on the wire with their length prefix; `None`: the connection was closed.
    pub bytes: Option<Vec<u8>>,
    /// Line in the file, from 1.
    pub number: usize,
    /// The connection, from 0: those before the file's first `##` are one as well.
    pub connection: usize,
}

impl Line {
    /// The content of a frame: the bytes behind its length.
    pub fn payload(&self) -> anyhow::Result<&[u8]> {
        let bytes = self.bytes.as_deref().context("the connection was closed here")?;
        let (len, rest) = bytes.split_first_chunk::<4>().context("no length")?;
        if i32::from_be_bytes(*len) as usize != rest.len() {
            bail!("line {}: length {} but {} bytes", self.number, i32::from_be_bytes(*len), rest.len());
        }
        Ok(rest)
    }
}

/// Directory of the captures.
pub fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Reads a file of the captures.
pub fn bytes(name: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(dir().join(name)).with_context(|| format!("vector {name}"))
}

/// Reads and parses a `*.hex` file.
pub fn load(name: &str) -> anyhow::Result<Vec<Line>> {
    let text = String::from_utf8(bytes(name)?)?;
    parse(&text).with_context(|| format!("vector {name}"))
}

/// Parses the text of a `*.hex` file.
pub fn parse(text: &str) -> anyhow::Result<Vec<Line>> {
    let mut note = String::new();
    let mut connection = 0;
    let mut out: Vec<Line> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if let Some(comment) = line.strip_prefix('#') {
            if comment.starts_with('#') && !out.is_empty() {
                connection += 1;
            }
            comment.trim_start_matches('#').trim().clone_into(&mut note);
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let (direction, hex) =
            line.split_once(' ').with_context(|| format!("line {}: no direction", i + 1))?;
        let from = match direction {
            "C>S" | "I>A" | "L>M" => From::Active,
            "S>C" | "A>I" | "M>L" => From::Passive,
            other => bail!("line {}: unknown direction {other}", i + 1),
        };
        let bytes = match hex {
            "(connection closed)" => None,
            hex => Some(unhex(hex).with_context(|| format!("line {}", i + 1))?),
        };
        out.push(Line { note: note.clone(), from, bytes, number: i + 1, connection });
    }
    Ok(out)
}

/// Bytes from hexadecimal digits.
pub fn unhex(hex: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<u8> = hex
        .bytes()
        .map(|b| (b as char).to_digit(16).map(|d| d as u8).context("not a hexadecimal digit"))
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        bail!("odd number of digits");
    }
    Ok(digits.chunks_exact(2).map(|p| p[0] << 4 | p[1]).collect())
}

/// Hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// One record of a transaction log.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// Where it begins in the file.
    pub offset: usize,
    /// The checksum that the file claims.
    pub adler: u32,
    /// Header, record and digest.
    pub payload: Vec<u8>,
}

/// Cuts a transaction log into records and checks every checksum. The framing
/// is parsed here once more on purpose: it judges what the server writes.
pub fn log_records(log: &[u8]) -> anyhow::Result<Vec<LogRecord>> {
    const HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
    if log.get(..16) != Some(&HEADER) {
        bail!("not a transaction log");
    }
    let mut out = Vec::new();
    let mut offset = 16;
    while let Some((head, rest)) = log[offset..].split_first_chunk::<12>() {
        let adler = u64::from_be_bytes(head[..8].try_into()?);
        let len = u32::from_be_bytes(head[8..].try_into()?) as usize;
        if len == 0 {
            break;
        }
        let payload = rest.get(..len).with_context(|| format!("record at {offset} is cut"))?;
        if rest.get(len) != Some(&b'B') {
            bail!("record at {offset} has no end mark");
        }
        if u64::from(adler32(payload)) != adler {
            bail!("record at {offset} has a wrong checksum");
        }
        out.push(LogRecord { offset, adler: adler32(payload), payload: payload.to_vec() });
        offset += 12 + len + 1;
    }
    if log[offset..].iter().any(|b| *b != 0) {
        bail!("something but zeros behind the last record at {offset}");
    }
    Ok(out)
}

/// Adler-32, the plain definition.
pub fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_captures() {
        let lines = parse("# a\n## b\nC>S 00000001ff\n# c\nS>C (connection closed)\n## d\nC>S 00\n").unwrap();
        assert_eq!(lines[0].note, "b");
        assert_eq!(lines[0].payload().unwrap(), [0xff]);
        assert_eq!(lines[1].from, From::Passive);
        assert!(lines[1].bytes.is_none());
        assert_eq!(lines.iter().map(|l| l.connection).collect::<Vec<_>>(), [0, 0, 1]);
    }
}
