//! Members of an ensemble as the configuration writes them: `server.N`, `group.N`, `weight.N`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv6Addr,
};

/// A host with a port. Names are not resolved here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// A name or an address, IPv6 without brackets. `None`: every address of this machine.
    pub host: Option<String>,
    /// The TCP port; 0 lets the system choose.
    pub port: u16,
}

impl Endpoint {
    /// `port` on every address.
    pub fn any(port: u16) -> Self {
        Self { host: None, port }
    }

    /// The host to bind or to print: `0.0.0.0` stands for every address, as in Java.
    pub fn host_or_any(&self) -> &str {
        self.host.as_deref().unwrap_or("0.0.0.0")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(self.host_or_any()), self.port)
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// A host as Java prints it: of an IPv6 address all eight groups. (ref: Inet6Address.getHostAddress)
struct JavaHost<'a>(&'a str);

impl fmt::Display for JavaHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<Ipv6Addr>() {
            Ok(address) => write!(f, "[{}]", address.segments().map(|group| format!("{group:x}")).join(":")),
            Err(_) => write!(f, "{}", Bracketed(self.0)),
        }
    }
}

/// What a member does in the ensemble. (ref: QuorumPeer.LearnerType)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerType {
    /// Votes.
    #[default]
    Participant,
    /// Follows without a vote.
    Observer,
}

impl PeerType {
    /// Reads `participant` or `observer` in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Some(Self::Participant),
            "observer" => Some(Self::Observer),
            _ => None,
        }
    }
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        })
    }
}

/// One of the addresses under which other members reach a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// Port of the learner protocol, usually 2888.
    pub quorum_port: u16,
    /// Port of the election protocol, usually 3888.
    pub election_port: u16,
}

/// One `server.N` line. `Display` prints it as Java does in `/zookeeper/config`.
/// (ref: QuorumPeer.QuorumServer)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// At least one; more than one needs `multiAddress.enabled`.
    pub addresses: Vec<PeerAddress>,
    /// Its part in the ensemble.
    pub peer_type: PeerType,
    /// Where its clients connect, when the line says so.
    pub client: Option<Endpoint>,
}

/// The form that a server line must have; used in messages.
pub const SERVER_FORM: &str = "host:port:port[:participant|:observer][;[host:]port], with several host:port:port \
     joined by | when multiAddress.enabled is true, and IPv6 addresses in brackets";

impl Server {
    /// Reads the value of a `server.N` line. (ref: QuorumServer.initializeWithAddressString)
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (servers, client) = match text.split_once(';') {
            Some((servers, client)) => (servers, Some(client.trim()).filter(|c| !c.is_empty())),
            None => (text, None),
        };
        let client = client.map(parse_client).transpose()?;
        let mut addresses = Vec::new();
        let mut peer_type = None;
        for part in servers.split('|') {
            let (address, named) = parse_address(part.trim())?;
            match (peer_type, named) {
                (Some(a), Some(b)) if a != b => {
                    return Err(
                        "the addresses of one server must not differ in participant and observer".into()
                    );
                }
                (None, Some(_)) => peer_type = named,
                _ => {}
            }
            addresses.push(address);
        }
        Ok(Self { addresses, peer_type: peer_type.unwrap_or_default(), client })
    }
}

fn parse_client(text: &str) -> Result<Endpoint, String> {
    let parts = split_host(text)?;
    match parts.as_slice() {
        [p] => Ok(Endpoint::any(port(p)?)),
        [host, p] => Ok(Endpoint {
            host: Some(host.clone()).filter(|h| !matches!(h.as_str(), "" | "0.0.0.0")),
            port: port(p)?,
        }),
        _ => Err(SERVER_FORM.into()),
    }
}

fn parse_address(text: &str) -> Result<(PeerAddress, Option<PeerType>), String> {
    let parts = split_host(text)?;
    let (host, quorum, election, peer_type) = match parts.as_slice() {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, kind] => {
            let kind = PeerType::parse(kind)
                .ok_or("the last part of the address must be participant or observer")?;
            (host, quorum, election, Some(kind))
        }
        _ => return Err(SERVER_FORM.into()),
    };
    if host.is_empty() {
        return Err(SERVER_FORM.into());
    }
    let address =
        PeerAddress { host: host.clone(), quorum_port: port(quorum)?, election_port: port(election)? };
    if address.quorum_port == address.election_port {
        return Err("the two ports of a server must differ".into());
    }
    Ok((address, peer_type))
}

/// (ref: ConfigUtils.getHostAndPort)
fn split_host(text: &str) -> Result<Vec<String>, String> {
    let Some(rest) = text.strip_prefix('[') else {
        return Ok(text.split(':').map(|p| p.trim().into()).collect());
    };
    let (host, rest) = rest.split_once(']').ok_or("an address that starts with [ must end with ]")?;
    let mut parts = vec![host.to_owned()];
    if let Some(rest) = rest.strip_prefix(':') {
        parts.extend(rest.split(':').map(|p| p.trim().to_owned()));
    } else if !rest.is_empty() {
        return Err(SERVER_FORM.into());
    }
    Ok(parts)
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is not a port, allowed is a number from 0 to 65535"))
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses = self.addresses.clone();
        addresses.sort();
        for (i, a) in addresses.iter().enumerate() {
            let bar = if i > 0 { "|" } else { "" };
            write!(f, "{bar}{}:{}:{}", JavaHost(&a.host), a.quorum_port, a.election_port)?;
        }
        write!(f, ":{}", self.peer_type)?;
        match &self.client {
            Some(client) => write!(f, ";{}:{}", JavaHost(client.host_or_any()), client.port),
            None => Ok(()),
        }
    }
}

/// Who belongs to the ensemble and how votes count. (ref: QuorumMaj, QuorumHierarchical)
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// `server.N`: members by id.
    pub servers: BTreeMap<i64, Server>,
    /// `group.N`: ids by group. Not empty: votes are counted by group and weight.
    pub groups: BTreeMap<i64, BTreeSet<i64>>,
    /// `weight.N`: weights that differ from 1, by member.
    pub weights: BTreeMap<i64, i64>,
    /// Version of a dynamic configuration: the zxid that made it; 0 for one written by hand.
    pub version: i64,
}

impl Membership {
    /// How many members of a kind there are.
    pub fn count(&self, peer_type: PeerType) -> usize {
        self.servers.values().filter(|s| s.peer_type == peer_type).count()
    }

    /// Whether votes are counted by group and weight.
    pub fn is_hierarchical(&self) -> bool {
        !self.groups.is_empty() || !self.weights.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, printed: &str) {
        assert_eq!(Server::parse(text).map(|s| s.to_string()), Ok(printed.into()), "{text:?}");
    }

    #[test]
    fn server_lines_print_as_java_prints_them() {
        check("zk1:2888:3888", "zk1:2888:3888:participant");
        check("zk1:2888:3888;2181", "zk1:2888:3888:participant;0.0.0.0:2181");
        check("zk1:2888:3888:observer;10.0.0.1:2181", "zk1:2888:3888:observer;10.0.0.1:2181");
        check("zk1:2888:3888:PARTICIPANT;0.0.0.0:2181", "zk1:2888:3888:participant;0.0.0.0:2181");
        check(
            "[2001:db8::1]:2888:3888;[::1]:2181",
            "[2001:db8:0:0:0:0:0:1]:2888:3888:participant;[0:0:0:0:0:0:0:1]:2181",
        );
        check("b:2888:3888|a:2889:3889:observer", "a:2889:3889|b:2888:3888:observer");
        check(" zk1 : 2888 : 3888 ; ", "zk1:2888:3888:participant");
    }

    #[test]
    fn wrong_server_lines() {
        for text in [
            "",
            "zk1",
            "zk1:2888",
            "zk1:2888:3888:leader",
            "zk1:2888:2888",
            "zk1:x:3888",
            "zk1:2888:70000",
            ":2888:3888",
            "[::1:2888:3888",
            "[::1]2888:3888",
            "zk1:2888:3888;a:b:c",
            "zk1:2888:3888;x",
            "a:1:2:observer|b:1:2:participant",
            "a:1:2|",
            "zk1:2888:3888;1;2",
        ] {
            assert!(Server::parse(text).is_err(), "{text:?}");
        }
    }
}
