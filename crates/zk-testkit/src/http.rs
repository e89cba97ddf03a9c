//! One HTTP request, one answer: enough for admin ports.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The code.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks by GET.
pub fn get(addr: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    request(addr, "GET", path, &[], b"")
}

/// Asks by any method. The connection is closed behind the answer.
pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let wait = Duration::from_secs(20);
    let mut stream = TcpStream::connect_timeout(&addr, wait)?;
    stream.set_read_timeout(Some(wait))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {addr}\r\nContent-Length: {}\r\n", body.len());
    for (key, value) in headers {
        head.push_str(&format!("{key}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server may answer and close before it has read all.
    let _ = stream.write_all(body);
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(e) if all.is_empty() => return Err(e).with_context(|| format!("{method} {path}")),
        _ => {}
    }
    parse(&all).with_context(|| format!("answer to {method} {path}"))
}

fn parse(all: &[u8]) -> anyhow::Result<Answer> {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").context("no end of the head")?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).context("no code")?.parse()?;
    let header = |l: &str| l.split_once(':').map(|(k, v)| (k.to_lowercase(), v.trim().to_owned()));
    let headers = lines.filter_map(header).collect();
    Ok(Answer { status, headers, body: all[end + 4..].to_vec() })
}
