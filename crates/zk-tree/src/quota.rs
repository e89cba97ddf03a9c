//! Quotas: which prefixes have one, and the text of limits and counts.
//! ref: Quotas, StatsTrack, PathTrie.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::path::{QUOTA, QUOTA_LIMITS, QUOTA_STATS};

/// Limits of a quota; -1 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Number of nodes; passing it is logged.
    pub count: i64,
    /// Bytes of data; passing it is logged.
    pub bytes: i64,
    /// Number of nodes; more are refused.
    pub count_hard: i64,
    /// Bytes of data; more are refused.
    pub byte_hard: i64,
}

/// What is used of a quota; -1 where the counts are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUsed {
    /// Number of nodes, the one with the quota included.
    pub count: i64,
    /// Bytes of their data.
    pub bytes: i64,
}

/// The quota that a path falls under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The node with the quota.
    pub prefix: String,
    /// Its limits.
    pub limits: QuotaLimits,
    /// What is used of them.
    pub used: QuotaUsed,
}

/// The text of limits and counts: `count=5,bytes=-1=;byteHardLimit=10`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatsTrack(BTreeMap<String, i64>);

impl StatsTrack {
    /// Counts without limits.
    pub fn counts(count: i64, bytes: i64) -> StatsTrack {
        StatsTrack([("count".to_owned(), count), ("bytes".to_owned(), bytes)].into())
    }

    /// Reads the text. `None`: it is none; Java throws there. ref: StatsTrack(String).
    pub fn parse(text: &[u8]) -> Option<StatsTrack> {
        let text = std::str::from_utf8(text).ok()?;
        let mut map = BTreeMap::new();
        if text.is_empty() {
            return Some(StatsTrack(map));
        }
        let text = text.trim_end_matches([',', ';']);
        for (at, pair) in text.split([',', ';']).enumerate() {
            // A run of separators is one, but a leading one makes an empty pair.
            if pair.is_empty() && at > 0 {
                continue;
            }
            let mut parts = pair.split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            map.insert(key.to_owned(), value);
        }
        Some(StatsTrack(map))
    }

    /// A value by its key, -1 if it is missing.
    pub fn value(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }

    /// Adds to both counts.
    pub fn add(&mut self, count: i64, bytes: i64) {
        for (key, diff) in [("count", count), ("bytes", bytes)] {
            let value = self.value(key).wrapping_add(diff);
            self.0.insert(key.to_owned(), value);
        }
    }
}

impl std::fmt::Display for StatsTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "count={},bytes={}", self.value("count"), self.value("bytes"))?;
        // The stray `=` lets parsers of old releases skip what follows.
        let mut stray = "=";
        for (key, value) in self.0.iter().filter(|(k, _)| *k != "count" && *k != "bytes") {
            write!(f, "{stray};{key}={value}")?;
            stray = "";
        }
        Ok(())
    }
}

impl Quota {
    pub(crate) fn new(prefix: &str, limits: Option<&[u8]>, used: Option<&[u8]>) -> Quota {
        let limits = StatsTrack::parse(limits.unwrap_or_default()).unwrap_or_default();
        let used = StatsTrack::parse(used.unwrap_or_default()).unwrap_or_default();
        Quota {
            prefix: prefix.to_owned(),
            limits: QuotaLimits {
                count: limits.value("count"),
                bytes: limits.value("bytes"),
                count_hard: limits.value("countHardLimit"),
                byte_hard: limits.value("byteHardLimit"),
            },
            used: QuotaUsed { count: used.value("count"), bytes: used.value("bytes") },
        }
    }
}

/// Path of the node with a prefix's limits. ref: Quotas.limitPath.
pub fn limits_path(prefix: &str) -> String {
    format!("{QUOTA}{prefix}/{QUOTA_LIMITS}")
}

/// Path of the node with a prefix's counts. ref: Quotas.statPath.
pub fn stats_path(prefix: &str) -> String {
    format!("{QUOTA}{prefix}/{QUOTA_STATS}")
}

/// What a node below /zookeeper/quota is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuotaNode<'a> {
    /// Limits of this prefix.
    Limits(&'a str),
    /// Counts of this prefix.
    Stats(&'a str),
}

/// The role of a path. A node directly below /zookeeper/quota has none: the
/// root cannot have a quota. ref: DataTree.createNode.
pub(crate) fn role(path: &str) -> Option<QuotaNode<'_>> {
    let (prefix, name) = path.strip_prefix(QUOTA)?.rsplit_once('/')?;
    match name {
        _ if !prefix.starts_with('/') => None,
        QUOTA_LIMITS => Some(QuotaNode::Limits(prefix)),
        QUOTA_STATS => Some(QuotaNode::Stats(prefix)),
        _ => None,
    }
}

/// Prefixes with a quota. Few, and asked for at every write.
#[derive(Debug, Default)]
pub(crate) struct Prefixes(BTreeSet<String>);

impl Prefixes {
    pub fn add(&mut self, prefix: &str) {
        self.0.insert(prefix.to_owned());
    }
    pub fn remove(&mut self, prefix: &str) {
        self.0.remove(prefix);
    }
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
    /// The longest one that covers the path, component by component.
    /// ref: PathTrie.findMaxPrefix.
    pub fn longest(&self, path: &str) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let mut at = path;
        while !at.is_empty() {
            if let Some(found) = self.0.get(at) {
                return Some(found);
            }
            at = at.rsplit_once('/')?.0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        for (from, to) in [
            (
                "count=5,bytes=-1=;byteHardLimit=10;countHardLimit=20",
                "count=5,bytes=-1=;byteHardLimit=10;countHardLimit=20",
            ),
            ("count=5,bytes=", "count=5,bytes=-1"),
            ("", "count=-1,bytes=-1"),
            ("bytes=3,,;count=4;", "count=4,bytes=3"),
            ("count=1;z=2,a=3", "count=1,bytes=-1=;a=3;z=2"),
        ] {
            assert_eq!(StatsTrack::parse(from.as_bytes()).unwrap().to_string(), to);
        }
        for bad in ["count", "count=x", ",count=1", "\u{0}"] {
            assert_eq!(StatsTrack::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn roles() {
        assert_eq!(role("/zookeeper/quota/a/b/zookeeper_limits"), Some(QuotaNode::Limits("/a/b")));
        assert_eq!(role("/zookeeper/quota/a/zookeeper_stats"), Some(QuotaNode::Stats("/a")));
        for none in [
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeper/quotaX/zookeeper_limits",
            "/a/zookeeper_limits",
            "/zookeeper/quota/a/x",
        ] {
            assert_eq!(role(none), None, "{none}");
        }
    }

    #[test]
    fn longest_prefix() {
        let mut p = Prefixes::default();
        assert_eq!(p.longest("/a"), None);
        p.add("/a/b");
        p.add("/a");
        for (path, found) in [
            ("/a/b/c", Some("/a/b")),
            ("/a/b", Some("/a/b")),
            ("/a/bc", Some("/a")),
            ("/ab", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(p.longest(path), found, "{path}");
        }
        p.remove("/a");
        assert_eq!(p.longest("/a/x"), None);
    }
}
