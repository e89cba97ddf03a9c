//! Who is a member, and what a quorum is.
//!
//! The text is the one that members send to each other and that clients read
//! from `/zookeeper/config`. ref: QuorumMaj, QuorumHierarchical, QuorumServer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use zk_proto::txn::{LogEntry, Txn};
use zk_proto::{Epoch, OpCode, PeerId, Zxid};

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
    pub fn parse(text: &str) -> Option<Self> {
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

    /// Whether votes are counted by group and weight. ref: QuorumHierarchical.
    pub fn is_hierarchical(&self) -> bool {
        !self.groups.is_empty() || !self.weights.is_empty()
    }

    /// The configuration in a transaction; `None` if it is no reconfiguration.
    ///
    /// An error if it is one and holds no configuration.
    pub fn of_txn(txn: &[u8]) -> Option<Result<Self, ConfigError>> {
        // Of other transactions the type in the header is enough. ref: TxnHeader.
        const TYPE: std::ops::Range<usize> = 28..32;
        let op = txn.get(TYPE).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes);
        if op != Some(OpCode::Reconfig.to_i32()) {
            return None;
        }
        let data = match LogEntry::decode(txn).map(|e| e.txn) {
            Ok(Txn::SetData { data, .. }) => data.unwrap_or_default(),
            _ => Bytes::new(),
        };
        Some(Self::from_bytes(&data))
    }

    /// As [`EnsembleConfig::parse`].
    ///
    /// # Errors
    /// As there, and for what is not UTF-8.
    pub fn from_bytes(text: &[u8]) -> Result<Self, ConfigError> {
        let text = std::str::from_utf8(text);
        Self::parse(text.map_err(|_| ConfigError::Line("bytes that are not UTF-8".to_owned()))?)
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

    /// Whether a history that ends at `last` may have it, as a record or because the leader of
    /// its epoch `current` told of it.
    pub fn may_be_in(&self, last: Zxid, current: Epoch) -> bool {
        self.version <= last.max(Zxid::new(current, 0))
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

    /// The log has a reconfiguration with this text. It counts as proposed even if its file was
    /// lost: no quorum without its voters may elect this member. True: it is news, and has to be
    /// in that file before this member acts by it, because the log may be cut.
    pub fn logged(&mut self, text: &[u8]) -> bool {
        let known = self.last_seen.as_ref().unwrap_or(&self.active).version;
        let logged = EnsembleConfig::from_bytes(text).ok().filter(|c| c.version > known);
        let news = logged.is_some();
        self.last_seen = logged.map(Arc::new).or(self.last_seen.take());
        news
    }

    /// Forgets a proposed configuration that is not in the history of this member, which ends at
    /// `last`, in epoch `current`. True: there was one, and its file is to go.
    ///
    /// What this member never acknowledged, or what was cut from its log, needs no quorum here: if
    /// it is in force elsewhere, a quorum of the active configuration has it in its history, and
    /// one of those is ahead of this member in any quorum that it could lead. Not for who may have
    /// lost its history.
    ///
    /// differs: Java asks its quorum until a newer one is in force, so that members that
    /// nobody else ever heard of keep a leader from leading; and it puts it in force.
    pub fn forget_unlogged(&mut self, last: Zxid, current: Epoch) -> bool {
        let active = self.active.version;
        let gone = |c: &mut Arc<EnsembleConfig>| c.version > active && !c.may_be_in(last, current);
        self.last_seen.take_if(gone).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Java member sent it in its notifications.
    const CAPTURED: &str = "server.1=127.0.0.1:23281:23381:participant\n\
        server.2=127.0.0.1:23282:23382:participant\n\
        server.3=127.0.0.1:23283:23383:participant\n\
        server.4=127.0.0.1:23284:23384:observer\n\
        version=0";

    fn parse(text: &str) -> EnsembleConfig {
        EnsembleConfig::parse(text).unwrap()
    }

    fn ids(ids: &[i64]) -> BTreeSet<PeerId> {
        ids.iter().copied().map(PeerId).collect()
    }

    #[test]
    fn the_text_of_a_java_member() {
        let config = parse(CAPTURED);
        assert_eq!(config.to_text(), CAPTURED);
        assert_eq!(config.voters().collect::<BTreeSet<_>>(), ids(&[1, 2, 3]));
        let observer = &config.members[&PeerId(4)];
        assert!(observer.observer && observer.client.is_none());
        assert_eq!(
            observer.addresses,
            [MemberAddress { host: "127.0.0.1".to_owned(), quorum_port: 23284, election_port: 23384 }]
        );
    }

    /// What Java 3.9.4 prints for these.
    #[test]
    fn java_prints_the_same() {
        for (text, java) in [
            ("server.1=a:1:2\nversion=ff", "server.1=a:1:2:participant\nversion=ff"),
            (
                "server.1=a:1:2;3\nserver.2=[::1]:1:2:observer;[::]:5\nserver.3=b:1:2|a:3:4;x:7\nversion=1f",
                "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=[0:0:0:0:0:0:0:1]:1:2:observer;\
                 [0:0:0:0:0:0:0:0]:5\nserver.3=a:3:4|b:1:2:participant;x:7\nversion=1f",
            ),
            (
                "server.1=a:1:2\nserver.2=a:1:3\nserver.3=a:2:3\nserver.9=o:1:3:observer\n\
                 group.1=1:2\ngroup.2=3\nweight.1=2\nversion=5",
                "server.1=a:1:2:participant\nserver.2=a:1:3:participant\nserver.3=a:2:3:participant\n\
                 server.9=o:1:3:observer\ngroup.1=1:2\ngroup.2=3\nweight.1=2\nweight.2=1\nweight.3=1\nversion=5",
            ),
            (
                "server.1=a:1:2\nserver.2=a:1:3\ngroups.1=1:2:\nweight.7=1\nweightx.1=0",
                "server.1=a:1:2:participant\nserver.2=a:1:3:participant\ngroup.1=1:2\n\
                 weight.1=0\nweight.2=1\nweight.7=1\nversion=0",
            ),
            (
                "server.1=Z:1:2|a:3:4|B:5:6\nserver.2=a:1:2|a:1:2",
                "server.1=B:5:6|Z:1:2|a:3:4:participant\nserver.2=a:1:2:participant\nversion=0",
            ),
            (
                "server.1=a:1:2: Observer \nserver.2=[a]:+1:03;\nserver.3=a:1:2|b:1:2:observer",
                "server.1=a:1:2:observer\nserver.2=a:1:3:participant\nserver.3=a:1:2|b:1:2:observer\nversion=0",
            ),
            (
                "server.1 = a:1:2\n  server.2:a:1:3\n# c\n! d\n\nserver.3 a:1:3\nversion : 0A",
                "server.1=a:1:2:participant\nserver.2=a:1:3:participant\nserver.3=a:1:3:participant\nversion=a",
            ),
            (
                "server.-1=a:1:2\nserver.+2=a:1:3\nversion=-1",
                "server.-1=a:1:2:participant\nserver.2=a:1:3:participant\nversion=ffffffffffffffff",
            ),
        ] {
            let config = parse(text);
            assert_eq!(config.to_text(), java, "{text}");
            if config.version >= Zxid::ZERO {
                assert!(parse(java).same_content(&config), "{text}");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "version=0",
            "server.1=a:1:2:observer",
            "server.1=a:1:2\nclientPort=1",
            "server.1=a:1:2\nserver.1=b:1:2",
            "server.1=a:1:2\nserver.01=b:1:2",
            "server.1=a:1:2\nversion=1\nversion=2",
            "server.1=a:1:2\nversion=",
            "server.1=a:1:2\nversion=ffffffffffffffff",
            "server.1=a:1:2\nversion=0\\",
            "server.x=a:1:2",
            "server.=a:1:2",
            "server.1",
            "server.1=",
            "server.1=a:1",
            "server.1=a:1:1",
            "server.1=a:1:2:3:4",
            "server.1=a:1:2:leader",
            "server.1=a:-1:2",
            "server.1=a:1:65536",
            "server.1=a: 1:2",
            "server.1=:1:2",
            "server.1=::1:1:2",
            "server.1=[::1:1:2",
            "server.1=[::1]1:1:2",
            "server.1=|a:1:2",
            "server.1=a:1:2:observer|b:1:2:participant",
            "server.1=a:1:2;5;6",
            "server.1=a:1:2;a:b:5",
            "server.1=a:1:2;[::1]",
            "server.1=a:1:2\nserver.2=a:1:3\ngroup.1=1",
            "server.1=a:1:2\nserver.2=a:1:3\nweight.1=2",
            "server.1=a:1:2\nserver.2=a:1:3\ngroup.1=1:2:7",
            "server.1=a:1:2\nserver.2=a:1:3:observer\ngroup.1=1:2",
            "server.1=a:1:2\nserver.2=a:1:3\ngroup.1=1:2\ngroup.2=1",
            "server.1=a:1:2\nserver.2=a:1:3\ngroup=1:2",
            "server.1=a:1:2\nserver.2=a:1:3\ngroup.1=",
            "server.1=a:1:2\nserver.2=a:1:3\ngroup.1=1:2\nweight.1=-1",
        ] {
            assert!(EnsembleConfig::parse(text).is_err(), "{text:?}");
        }
        let long = format!("server.1={}:1:2", "a".repeat(MAX_CONFIG_TEXT));
        assert_eq!(EnsembleConfig::parse(&long), Err(ConfigError::TooLong(long.len())));
    }

    #[test]
    fn members_stand_in_the_order_of_javas_map() {
        let text: String = (1..=30).map(|n| format!("server.{n}=a:1:2\n")).collect();
        let order = |text: &str| -> Vec<i64> {
            let text = parse(text).to_text();
            let ids = text.lines().filter_map(|l| l.strip_prefix("server.")?.split_once('='));
            ids.map(|(id, _)| id.parse().unwrap()).collect()
        };
        assert_eq!(order(&text), (1..=30).collect::<Vec<_>>());
        let text =
            "server.17=a:1:2\nserver.2=b:1:2\nserver.1=c:1:2\nserver.16=d:1:2\nserver.4294967297=e:1:2";
        assert_eq!(order(text), [16, 4_294_967_297, 1, 17, 2]);
    }

    #[test]
    fn the_longest_text_fits_into_a_notification() {
        let mut text = String::from("version=7fffffffffffffff\n");
        for n in 0.. {
            let line = format!("server.{n}=[::]:1:2;1\n");
            if text.len() + line.len() > MAX_CONFIG_TEXT {
                break;
            }
            text.push_str(&line);
        }
        assert!(parse(&text).to_text().len() + 60 < zk_proto::limits::MAX_NOTIFICATION);
    }

    #[test]
    fn majorities() {
        let config = parse(CAPTURED);
        for (acks, quorum) in [
            (&[][..], false),
            (&[1], false),
            (&[1, 4], false),
            (&[1, 4, 9], false),
            (&[1, 3], true),
            (&[1, 2, 3, 4], true),
        ] {
            assert_eq!(config.has_quorum(&ids(acks)), quorum, "{acks:?}");
        }
        let even = parse("server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\nserver.4=a:1:2");
        assert!(!even.has_quorum(&ids(&[1, 2])) && even.has_quorum(&ids(&[1, 2, 4])));
        assert_eq!((config.weight(PeerId(1)), config.weight(PeerId(77))), (1, 1));
    }

    #[test]
    fn groups_and_weights() {
        let mut text: String = (1..=8).map(|n| format!("server.{n}=a:1:2\n")).collect();
        text.push_str("group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7\ngroup.4=8\nweight.1=3\nweight.8=0\n");
        let config = parse(&text);
        for (acks, quorum) in [
            (&[][..], false),
            // The first group has weight 5: its heavy member is enough, the others are not.
            (&[1], false),
            (&[1, 4, 5], true),
            (&[2, 3, 4, 5], false),
            (&[1, 4], false),
            (&[1, 7], true),
            // A group of weight 0 neither wins nor counts.
            (&[1, 8], false),
            (&[4, 6, 7], true),
        ] {
            assert_eq!(config.has_quorum(&ids(acks)), quorum, "{acks:?}");
        }
        assert_eq!((config.weight(PeerId(1)), config.weight(PeerId(2)), config.weight(PeerId(8))), (3, 1, 0));
    }

    #[test]
    fn content_is_compared_without_the_version() {
        let config = parse(CAPTURED);
        let changed = |from: &str, to: &str| parse(&CAPTURED.replace(from, to));
        assert!(config.same_content(&changed("version=0", "version=5")));
        for (from, to) in [
            ("4:observer", "4:participant"),
            ("4:observer", "4:observer;5"),
            ("23284", "23285"),
            ("23384", "23385"),
            ("server.4", "server.5"),
            ("version", "group.1=1:2:3\nversion"),
        ] {
            assert!(!config.same_content(&changed(from, to)), "{from} {to}");
        }
    }

    #[test]
    fn a_logged_configuration_counts_as_proposed() {
        let text = |version: i64| format!("server.1=a:1:2:participant\nversion={version:x}").into_bytes();
        let of = |version| EnsembleConfig::from_bytes(&text(version)).unwrap();
        let mut configs = Configs::new(of(5));
        assert!(!configs.logged(b"") && !configs.logged(&text(4)) && !configs.logged(&text(5)));
        assert_eq!(configs.last_seen, None);
        assert!(configs.logged(&text(7)));
        assert!(!configs.logged(&text(7)) && !configs.logged(&text(6)));
        assert_eq!(configs, Configs { last_seen: Some(of(7).into()), ..Configs::new(of(5)) });
    }

    /// A leader that was killed between the file and the log leads again without those it wished
    /// for, who may have more in their logs than the active configuration could ever commit.
    #[test]
    fn a_proposed_configuration_counts_as_long_as_it_is_in_the_history() {
        let of = |version: i64| parse(&format!("server.1=a:1:2\nversion={version:x}"));
        let (e1, e2) = (1i64 << 32, 2i64 << 32);
        for (proposed, last, current, stays) in [
            (e1 + 6, e1 + 5, 1, false),
            (e1 + 6, e1 + 6, 1, true),
            (e1 + 6, e2 + 1, 2, true),
            // The leader of epoch 2 told of it, or numbered it.
            (e1 + 6, e1 + 5, 2, true),
            (e2, e1 + 5, 2, true),
            (e2 + 1, e1 + 5, 2, false),
        ] {
            let mut configs = Configs { last_seen: Some(of(proposed).into()), ..Configs::new(of(e1)) };
            let forgotten = configs.forget_unlogged(Zxid(last), Epoch(current));
            assert_eq!(forgotten, !stays, "{proposed:x} {last:x} {current}");
            assert_eq!(configs.last_seen.is_some(), stays);
            assert!(!Configs::new(of(e1)).forget_unlogged(Zxid(last), Epoch(current)));
        }
    }

    #[test]
    fn both_configurations_count_during_a_reconfiguration() {
        let old = parse("server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\nversion=5");
        let mut new = parse("server.3=b:1:2\nserver.4=a:1:2\nserver.5=a:1:2\nversion=6");
        let mut configs = Configs::new(old);
        assert!(configs.has_quorum(&ids(&[1, 2])));
        configs.last_seen = Some(new.clone().into());
        assert!(!configs.has_quorum(&ids(&[1, 2])) && !configs.has_quorum(&ids(&[3, 4])));
        assert!(configs.has_quorum(&ids(&[1, 3, 4])));
        assert!(configs.is_voter(PeerId(1)) && configs.is_voter(PeerId(5)) && !configs.is_voter(PeerId(6)));
        assert_eq!(configs.voters(), ids(&[1, 2, 3, 4, 5]));
        assert_eq!(configs.addresses(PeerId(3)).unwrap().addresses[0].host, "a");
        assert_eq!(configs.addresses(PeerId(5)).unwrap().addresses[0].host, "a");
        assert!(configs.addresses(PeerId(6)).is_none());
        // One that is not newer is not asked, though its voters stay voters.
        new.version = Zxid(5);
        configs.last_seen = Some(new.into());
        assert!(configs.has_quorum(&ids(&[1, 2])) && configs.is_voter(PeerId(5)));
    }
}
