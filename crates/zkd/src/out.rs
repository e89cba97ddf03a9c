//! What tools write to standard output: text for people, or one JSON object a line.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde_json::Value;
use zk_proto::{Acl, Perms};

/// Colours of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// Standard output, buffered. Whoever reads may go away, which is no error.
#[derive(Debug)]
pub struct Out {
    to: BufWriter<Stdout>,
    colour: bool,
    closed: bool,
}

impl Out {
    /// With colour on a terminal, unless NO_COLOR is set.
    pub fn new() -> Out {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Out { to: BufWriter::new(io::stdout()), colour, closed: false }
    }

    /// A text in a colour, if there are colours.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Whether nobody reads any more, so that a long work can end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// A line.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        let done = writeln!(self.to, "{text}");
        self.note(done)
    }

    /// A JSON object on a line of its own.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        self.line(&value.to_string())
    }

    /// Everything so far becomes visible.
    pub fn flush(&mut self) -> io::Result<()> {
        let done = self.to.flush();
        self.note(done)
    }

    fn note(&mut self, done: io::Result<()>) -> io::Result<()> {
        match done {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            done => done,
        }
    }
}

/// Permissions in Java's order. ref: ZKUtil.getPermString.
pub fn perms(perms: Perms) -> String {
    [(Perms::CREATE, 'c'), (Perms::DELETE, 'd'), (Perms::READ, 'r'), (Perms::WRITE, 'w'), (Perms::ADMIN, 'a')]
        .into_iter()
        .filter(|(p, _)| perms.overlaps(*p))
        .map(|(_, c)| c)
        .collect()
}

/// A list as setAcl takes it: `world:anyone:cdrwa,ip:10.0.0.0/8:r`.
pub fn acl(list: &[Acl]) -> String {
    let one = |a: &Acl| format!("{}:{}:{}", a.scheme, a.id, perms(a.perms));
    list.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Puts data into an object: as text if it is text, else in base64, null as null.
pub fn put_data(object: &mut serde_json::Map<String, Value>, data: Option<&[u8]>) {
    use base64::Engine as _;
    match data.map(|d| (d, std::str::from_utf8(d))) {
        None => object.insert("data".to_owned(), Value::Null),
        Some((_, Ok(text))) => object.insert("data".to_owned(), text.into()),
        Some((bytes, Err(_))) => {
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            object.insert("data_base64".to_owned(), text.into())
        }
    };
}

/// Data on one line: text in quotes with escapes, else its bytes.
pub fn quoted(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("b\"{}\"", data.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_short() {
        assert_eq!(acl(&Acl::open()), "world:anyone:cdrwa");
        assert_eq!(perms(Perms::READ | Perms::ADMIN), "ra");
        assert_eq!(quoted(b"a\n"), "\"a\\n\"");
        assert_eq!(quoted(&[0xff, b'a']), "b\"\\xffa\"");
    }
}
