use std::time::Duration;

use crate::path::check_path;
use crate::{Error, Result};

const DEFAULT_PORT: u16 = 2181;

/// Where the servers are, and what session is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port`, tried in this order, beginning with the first.
    pub servers: Vec<String>,
    /// Put before every path; empty or a path.
    pub chroot: String,
    /// Time-out of the session that is asked for.
    pub timeout: Duration,
    /// Whether a server that only serves reads will do.
    pub read_only: bool,
}

impl Options {
    /// Reads `host:port,host:port/chroot`. Without a port it is 2181. An IPv6 address stands in
    /// brackets. ref: ConnectStringParser.
    pub fn new(servers: &str) -> Result<Options> {
        let (list, chroot) = match servers.split_once('/') {
            Some((list, "")) => (list, String::new()),
            Some((list, rest)) => (list, format!("/{rest}")),
            None => (servers, String::new()),
        };
        if !chroot.is_empty() {
            check_path(&chroot, false)?;
        }
        let servers: Vec<String> =
            list.split(',').map(str::trim).filter(|s| !s.is_empty()).map(with_port).collect();
        if servers.is_empty() {
            return Err(Error::Servers("no server is named; say host:port,host:port".to_owned()));
        }
        Ok(Options { servers, chroot, timeout: Duration::from_secs(30), read_only: false })
    }
}

fn with_port(server: &str) -> String {
    let has_port = server.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    });
    match has_port {
        true => server.to_owned(),
        false if server.contains(':') && !server.starts_with('[') => format!("[{server}]:{DEFAULT_PORT}"),
        false => format!("{server}:{DEFAULT_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings() {
        let o = Options::new("a:1, b,[::1]:5,::1/x/y").unwrap();
        assert_eq!(o.servers, ["a:1", "b:2181", "[::1]:5", "[::1]:2181"]);
        assert_eq!(o.chroot, "/x/y");
        assert_eq!(Options::new("a/").unwrap().chroot, "");
        assert!(Options::new("").is_err() && Options::new("a/x//y").is_err());
    }
}
