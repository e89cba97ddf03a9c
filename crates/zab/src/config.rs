//! Who is a member, and what a quorum is.
//!
//! The text is the one that members send to each other and that clients read
//! from `/zookeeper/config`. ref: QuorumMaj, QuorumHierarchical, QuorumServer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use zk_proto::{PeerId, Zxid};

/// Longest text that is parsed, in bytes. What is printed from it is less than
/// three times as long, and must fit into a notification.
pub const MAX_CONFIG_TEXT: usize = 128 << 10;

/// The text is not that of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is longer than [`MAX_CONFIG_TEXT`].
    #[error("{0} bytes are too long for a configuration")]
    TooLong(usize),
    /// A line that is not `key=value`, or holds a backslash.
    #[error("line {0:?} is not of the form key=value")]
    Line(String),
    /// A key that has no place in a configuration.
    #[error("unrecognised parameter {0:?}")]
    Key(String),
    /// A value that its key does not take.
    #[error("{value:?} is not allowed for {key:?}")]
    Value {
        /// The key.
        key: String,
        /// What stands there.
        value: String,
    },
    /// Two lines for the same thing.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// The groups do not hold each voter exactly once, or hold a stranger
    /// without a weight.
    #[error("server {0} is not in exactly one group or not a voter")]
    Group(PeerId),
    /// Nobody votes.
    #[error("no member votes")]
    NoVoters,
}

/// One of the addresses under which other members reach a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberAddress {
    /// A name or a literal, without brackets.
    pub host: String,
    /// Port of the learner protocol.
    pub quorum_port: u16,
    /// Port of the election protocol.
    pub election_port: u16,
}

/// One server line. `Display` prints its value as Java does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// At least one.
    pub addresses: Vec<MemberAddress>,
    /// Whether it follows without a vote.
    pub observer: bool,
    /// Where its clients connect, when the line says so. The host without
    /// brackets; `0.0.0.0` for every address.
    pub client: Option<(String, u16)>,
}

impl Member {
    /// Parses the value of a server line. ref: QuorumServer.initializeWithAddressString.
    fn parse(text: &str) -> Option<Self> {
        let (addresses, client) = match text.split_once(';') {
            None | Some((_, "")) => (text.trim_end_matches(';'), None),
            Some((addresses, client)) => (addresses, Some(parse_client(client)?)),
        };
        let mut parsed = BTreeSet::new();
        let mut role = None;
        for part in addresses.split('|') {
            let (address, observer) = parse_address(part)?;
            if observer.is_some() && role.is_some() && observer != role {
                return None;
            }
            role = role.or(observer);
            parsed.insert(address);
        }
        Some(Self { addresses: parsed.into_iter().collect(), observer: role.unwrap_or(false), client })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted: BTreeSet<_> = self.addresses.iter().collect();
        for (i, a) in sorted.into_iter().enumerate() {
            let bar = if i > 0 { "|" } else { "" };
            write!(f, "{bar}{}:{}:{}", JavaHost(&a.host), a.quorum_port, a.election_port)?;
        }
        f.write_str(if self.observer { ":observer" } else { ":participant" })?;
        match &self.client {
            Some((host, port)) => write!(f, ";{}:{port}", JavaHost(host)),
            None => Ok(()),
        }
    }
}

/// A host as Java prints it: all eight groups of an IPv6 address, in brackets.
/// ref: QuorumServer.delimitedHostString, Inet6Address.getHostAddress.
struct JavaHost<'a>(&'a str);

impl fmt::Display for JavaHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<Ipv6Addr>() {
            Ok(ip) => match ip.to_ipv4_mapped() {
                Some(v4) => v4.fmt(f),
                None => write!(f, "[{}]", ip.segments().map(|s| format!("{s:x}")).join(":")),
            },
            Err(_) if self.0.contains(':') => write!(f, "[{}]", self.0),
            Err(_) => f.write_str(self.0),
        }
    }
}

/// Splits at colons, an IPv6 literal in brackets first. ref: ConfigUtils.getHostAndPort.
fn split_host(text: &str) -> Option<Vec<&str>> {
    let Some(rest) = text.strip_prefix('[') else {
        return Some(text.split(':').collect());
    };
    let (host, rest) = rest.split_once("]:")?;
    Some(std::iter::once(host).chain(rest.split(':')).collect())
}

fn parse_client(text: &str) -> Option<(String, u16)> {
    match split_host(text)?.as_slice() {
        [port] => Some(("0.0.0.0".to_owned(), port.parse().ok()?)),
        ["", _] => None,
        [host, port] => Some(((*host).to_owned(), port.parse().ok()?)),
        _ => None,
    }
}

/// An address, and whether its role is written and is that of an observer.
fn parse_address(text: &str) -> Option<(MemberAddress, Option<bool>)> {
    let parts = split_host(text)?;
    let (host, quorum, election, observer) = match parts.as_slice() {
        [host, quorum, election] => (*host, quorum, election, None),
        [host, quorum, election, role] => {
            let observer = match role.trim().to_ascii_lowercase().as_str() {
                "observer" => true,
                "participant" => false,
                _ => return None,
            };
            (*host, quorum, election, Some(observer))
        }
        _ => return None,
    };
    let (quorum_port, election_port) = (quorum.parse().ok()?, election.parse().ok()?);
    let valid = !host.is_empty() && quorum_port != election_port;
    valid.then(|| (MemberAddress { host: host.to_owned(), quorum_port, election_port }, observer))
}

/// Who belongs to the ensemble and how votes count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsembleConfig {
    /// Zxid of the reconfiguration that made it; 0 for one written by hand.
    pub version: Zxid,
    /// The members.
    pub members: BTreeMap<PeerId, Member>,
    /// Members by group. Empty: a majority of the voters is a quorum.
    pub groups: BTreeMap<i64, BTreeSet<PeerId>>,
    /// Weights that differ from 1; they count with groups only.
    pub weights: BTreeMap<PeerId, i64>,
}

impl EnsembleConfig {
    /// Parses the text as another member, a client or `/zookeeper/config` has it.
    /// ref: QuorumPeerConfig.parseDynamicConfig.
    ///
    /// differs: a backslash, a negative weight, a member that is there twice, and
    /// a configuration without a voter are refused; one voter with observers is
    /// taken whatever `standaloneEnabled` says.
    ///
    /// # Errors
    /// If Java would refuse it, too, or for the reasons above.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > MAX_CONFIG_TEXT {
            return Err(ConfigError::TooLong(text.len()));
        }
        let mut config = Self {
            version: Zxid::ZERO,
            members: BTreeMap::new(),
            groups: BTreeMap::new(),
            weights: BTreeMap::new(),
        };
        let mut versions = 0;
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = split_line(line)?;
            versions += u32::from(key == "version");
            if !config.take(key, value)? || versions > 1 {
                return Err(ConfigError::Twice(key.to_owned()));
            }
        }
        config.check_groups()?;
        let nobody = config.voters().next().is_none();
        if nobody { Err(ConfigError::NoVoters) } else { Ok(config) }
    }

    /// Takes one entry; false if it is there already.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, ConfigError> {
        let bad = || ConfigError::Value { key: key.to_owned(), value: value.to_owned() };
        if key.starts_with("server.") {
            let member = Member::parse(value).ok_or_else(bad)?;
            Ok(self.members.insert(PeerId(number_behind_dot(key)?), member).is_none())
        } else if key.starts_with("group") {
            let mut group = BTreeSet::new();
            for id in value.trim_end_matches(':').split(':') {
                let id = PeerId(id.parse().map_err(|_| bad())?);
                if !group.insert(id) || self.groups.values().any(|g| g.contains(&id)) {
                    return Err(ConfigError::Group(id));
                }
            }
            Ok(self.groups.insert(number_behind_dot(key)?, group).is_none())
        } else if key.starts_with("weight") {
            let weight = value.parse().ok().filter(|w| *w >= 0).ok_or_else(bad)?;
            Ok(self.weights.insert(PeerId(number_behind_dot(key)?), weight).is_none())
        } else if key == "version" {
            self.version = Zxid(i64::from_str_radix(value, 16).map_err(|_| bad())?);
            Ok(true)
        } else {
            Err(ConfigError::Key(key.to_owned()))
        }
    }

    /// Each voter is in a group, whoever else is in one has a weight, and weights
    /// that say nothing go. ref: QuorumHierarchical.parse, computeGroupWeight.
    fn check_groups(&mut self) -> Result<(), ConfigError> {
        let grouped: BTreeSet<PeerId> = self.groups.values().flatten().copied().collect();
        let hierarchical = !self.groups.is_empty() || !self.weights.is_empty();
        if let Some(id) = self.voters().find(|id| hierarchical && !grouped.contains(id)) {
            return Err(ConfigError::Group(id));
        }
        let known = |id: &PeerId| self.is_voter(*id) || self.weights.contains_key(id);
        if let Some(id) = grouped.into_iter().find(|id| !known(id)) {
            return Err(ConfigError::Group(id));
        }
        let members = &self.members;
        self.weights.retain(|id, w| *w != 1 || members.get(id).is_none_or(|m| m.observer));
        Ok(())
    }

    /// The text as Java prints it, without a line end behind the version.
    ///
    /// Members stand in the order of Java's `HashMap<Long>`. Within a bucket,
    /// where Java's order depends on the history of the map, they ascend.
    pub fn to_text(&self) -> String {
        format!("{}version={:x}", self.content(), self.version.0)
    }

    /// What stands before the version.
    fn content(&self) -> String {
        let mut out = String::new();
        let mut line = |kind: &str, id: i64, value: &dyn fmt::Display| {
            out.push_str(&format!("{kind}.{id}={value}\n"));
        };
        for id in java_order(self.members.keys().map(|id| id.0)) {
            line("server", id, &self.members[&PeerId(id)]);
        }
        if self.groups.is_empty() {
            return out;
        }
        let grouped = java_order(self.groups.values().flatten().map(|id| id.0));
        for gid in java_order(self.groups.keys().copied()) {
            let of_group = grouped.iter().filter(|id| self.groups[&gid].contains(&PeerId(**id)));
            line("group", gid, &of_group.map(i64::to_string).collect::<Vec<_>>().join(":"));
        }
        let weighted: BTreeSet<PeerId> = self.weights.keys().copied().chain(self.voters()).collect();
        for id in java_order(weighted.into_iter().map(|id| id.0)) {
            line("weight", id, &self.weight(PeerId(id)));
        }
        out
    }

    /// Whether this member votes.
    pub fn is_voter(&self, id: PeerId) -> bool {
        self.members.get(&id).is_some_and(|m| !m.observer)
    }

    /// Who votes, ascending.
    pub fn voters(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.members.iter().filter(|(_, m)| !m.observer).map(|(id, _)| *id)
    }

    /// How much a member counts in its group; 1 without groups. A member of
    /// weight 0 is not elected.
    pub fn weight(&self, id: PeerId) -> i64 {
        match self.groups.is_empty() {
            true => 1,
            false => self.weights.get(&id).copied().unwrap_or(1),
        }
    }

    /// Whether these members are a quorum; only voters among them count.
    /// ref: QuorumMaj.containsQuorum, QuorumHierarchical.containsQuorum.
    pub fn has_quorum(&self, acks: &BTreeSet<PeerId>) -> bool {
        let voted = |id: &PeerId| acks.contains(id) && self.is_voter(*id);
        if self.groups.is_empty() {
            let acked = self.voters().filter(voted).count();
            return acked > self.voters().count() / 2;
        }
        let (mut won, mut counting) = (0, 0);
        for group in self.groups.values() {
            // Wide enough for any sum of weights.
            let weigh = |id: &PeerId| i128::from(self.weight(*id));
            let total: i128 = group.iter().map(weigh).sum();
            let acked: i128 = group.iter().filter(|id| voted(id)).map(weigh).sum();
            counting += u32::from(total != 0);
            won += u32::from(acked > total / 2);
        }
        won > counting / 2
    }

    /// Whether both name the same members, groups and weights; the version does
    /// not count. ref: QuorumMaj.equals.
    pub fn same_content(&self, other: &Self) -> bool {
        self.content() == other.content()
    }
}

/// Splits a line as `Properties` does, save for escapes.
fn split_line(line: &str) -> Result<(&str, &str), ConfigError> {
    if line.contains('\\') {
        return Err(ConfigError::Line(line.to_owned()));
    }
    let separator = |c: char| c == '=' || c == ':' || c.is_ascii_whitespace();
    let end = line.find(separator).ok_or_else(|| ConfigError::Line(line.to_owned()))?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    Ok((key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start()))
}

/// The number behind the first dot of a key.
fn number_behind_dot(key: &str) -> Result<i64, ConfigError> {
    let number = key.split_once('.').and_then(|(_, number)| i64::from_str(number).ok());
    number.ok_or_else(|| ConfigError::Key(key.to_owned()))
}

/// The order in which Java's `HashMap<Long, ?>` gives these keys, which ascend.
fn java_order(keys: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = keys.collect();
    let mut capacity: u64 = 16;
    while keys.len() as u64 * 4 > capacity * 3 {
        capacity *= 2;
    }
    keys.sort_by_key(|key| {
        let long = *key as u64;
        let hash = (long ^ long >> 32) & 0xffff_ffff;
        ((hash ^ hash >> 16) & (capacity - 1), *key)
    });
    keys
}

/// The active configuration and, during a reconfiguration, the one that was
/// proposed after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configs {
    /// The last committed one.
    pub active: Arc<EnsembleConfig>,
    /// The last proposed one. ref: QuorumPeer.getLastSeenQuorumVerifier.
    pub last_seen: Option<Arc<EnsembleConfig>>,
}

impl Configs {
    /// Only an active one.
    pub fn new(active: impl Into<Arc<EnsembleConfig>>) -> Self {
        Self { active: active.into(), last_seen: None }
    }

    /// Whether these members are a quorum of the active configuration, and of the
    /// last seen one if that is newer. ref: SyncedLearnerTracker.hasAllQuorums.
    pub fn has_quorum(&self, acks: &BTreeSet<PeerId>) -> bool {
        let pending = self.last_seen.as_ref().filter(|c| c.version > self.active.version);
        self.active.has_quorum(acks) && pending.is_none_or(|c| c.has_quorum(acks))
    }

    /// Whether this member votes in either.
    /// ref: QuorumPeer.getCurrentAndNextConfigVoters.
    pub fn is_voter(&self, id: PeerId) -> bool {
        self.each().any(|c| c.is_voter(id))
    }

    /// Who votes in either.
    pub fn voters(&self) -> BTreeSet<PeerId> {
        self.each().flat_map(|c| c.voters()).collect()
    }

    /// How a member is reached; the active configuration goes first.
    pub fn addresses(&self, id: PeerId) -> Option<&Member> {
        self.each().find_map(|c| c.members.get(&id))
    }

    fn each(&self) -> impl Iterator<Item = &EnsembleConfig> {
        std::iter::once(&self.active).chain(&self.last_seen).map(Arc::as_ref)
    }
}
