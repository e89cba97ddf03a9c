//! Who is a member, and what a quorum is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use zk_proto::{PeerId, Zxid};

/// Where a member is reached by the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberAddress {
    /// Name or literal, as it was written.
    pub host: String,
    /// Where it listens while it leads.
    pub quorum_port: u16,
    /// Where it listens for votes.
    pub election_port: u16,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its addresses.
    pub addresses: Vec<MemberAddress>,
    /// Whether it has no vote.
    pub observer: bool,
    /// Where it serves clients, if its line says so.
    pub client: Option<(String, u16)>,
}

/// The members of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnsembleConfig {
    /// The zxid of the reconfiguration that made it.
    pub version: Zxid,
    /// All members.
    pub members: BTreeMap<PeerId, Member>,
    /// Groups of a hierarchical quorum; empty: majority.
    pub groups: BTreeMap<i64, BTreeSet<PeerId>>,
    /// Weights of a hierarchical quorum.
    pub weights: BTreeMap<PeerId, i64>,
}

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A line that means nothing.
    #[error("badly formed line {0:?}")]
    Line(String),
}

impl EnsembleConfig {
    /// Reads the text that members send to each other.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for line in text.lines().filter(|l| !l.is_empty()) {
            config.line(line).ok_or_else(|| ConfigError::Line(line.to_owned()))?;
        }
        Ok(config)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once('=')?;
        if key == "version" {
            self.version = Zxid(i64::from_str_radix(value, 16).ok()?);
            return Some(());
        }
        let sid = PeerId(key.strip_prefix("server.")?.parse().ok()?);
        let (server, client) = value.split_once(';').map_or((value, None), |(s, c)| (s, Some(c)));
        let mut parts = server.split(':');
        let host = parts.next()?.to_owned();
        let (quorum_port, election_port) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let observer = parts.next() == Some("observer");
        let client = match client.map(|c| c.split_once(':').unwrap_or(("0.0.0.0", c))) {
            Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
            None => None,
        };
        let addresses = vec![MemberAddress { host, quorum_port, election_port }];
        self.members.insert(sid, Member { addresses, observer, client });
        Some(())
    }

    /// The text that members send to each other.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (sid, m) in &self.members {
            let role = if m.observer { "observer" } else { "participant" };
            let address = |a: &MemberAddress| format!("{}:{}:{}", a.host, a.quorum_port, a.election_port);
            let addresses: Vec<_> = m.addresses.iter().map(address).collect();
            let client = m.client.as_ref().map_or(String::new(), |(h, p)| format!(";{h}:{p}"));
            writeln!(out, "server.{sid}={}:{role}{client}", addresses.join("|")).expect("a string takes it");
        }
        write!(out, "version={:x}", self.version.0).expect("a string takes it");
        out
    }

    /// Whether this member has a vote.
    pub fn is_voter(&self, id: PeerId) -> bool {
        self.members.get(&id).is_some_and(|m| !m.observer)
    }

    /// The members with a vote.
    pub fn voters(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.members.iter().filter(|(_, m)| !m.observer).map(|(id, _)| *id)
    }

    /// Whether these members are a quorum.
    pub fn has_quorum(&self, ids: &BTreeSet<PeerId>) -> bool {
        self.voters().filter(|v| ids.contains(v)).count() > self.voters().count() / 2
    }

    /// Whether the members are the same, whatever the version.
    pub fn same_content(&self, other: &Self) -> bool {
        self.members == other.members && self.groups == other.groups && self.weights == other.weights
    }
}

/// The configuration in force, and the newest one that was heard of.
#[derive(Debug, Clone)]
pub struct Configs {
    /// In force.
    pub active: Arc<EnsembleConfig>,
    /// Heard of and perhaps not committed.
    pub last_seen: Option<Arc<EnsembleConfig>>,
}

impl Configs {
    /// Only one.
    pub fn new(active: EnsembleConfig) -> Self {
        Self { active: Arc::new(active), last_seen: None }
    }

    fn pending(&self) -> Option<&EnsembleConfig> {
        self.last_seen.as_deref().filter(|c| c.version > self.active.version)
    }

    /// Whether these members are a quorum of both.
    pub fn has_quorum(&self, ids: &BTreeSet<PeerId>) -> bool {
        self.active.has_quorum(ids) && self.pending().is_none_or(|c| c.has_quorum(ids))
    }

    /// Whether this member has a vote in either.
    pub fn is_voter(&self, id: PeerId) -> bool {
        self.active.is_voter(id) || self.pending().is_some_and(|c| c.is_voter(id))
    }

    /// The members with a vote in either.
    pub fn voters(&self) -> BTreeSet<PeerId> {
        self.active.voters().chain(self.pending().into_iter().flat_map(EnsembleConfig::voters)).collect()
    }
}
