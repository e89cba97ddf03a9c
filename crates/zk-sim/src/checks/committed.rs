//! The transactions that count, and the tree that they make.

use std::collections::BTreeMap;

use bytes::Bytes;
use zk_proto::client::EventType;
use zk_proto::txn::{LogEntry, Txn};
use zk_proto::{Epoch, OpCode, SessionId, Stat, Xid, Zxid};
use zk_tree::{Effects, Tree, TreeOptions};

use crate::state::Link;

/// A committed transaction.
#[derive(Debug)]
pub struct Entry {
    /// Its place.
    pub zxid: Zxid,
    /// Its bytes.
    pub bytes: Bytes,
    /// The tree's digest behind it.
    pub digest: u64,
    /// Who asked for it.
    pub session: SessionId,
    /// Under which number.
    pub cxid: Xid,
    /// What it is.
    pub op: OpCode,
    /// What went wrong, if it is an error.
    pub error: Option<i32>,
}

/// What a change left of a node.
#[derive(Debug, Clone)]
pub struct Version {
    /// By which transaction.
    pub zxid: Zxid,
    /// Data and stat; nothing if the node is gone.
    pub node: Option<(Bytes, Stat)>,
}

/// All of them, in order.
#[derive(Debug)]
pub struct Committed {
    entries: Vec<Entry>,
    /// The state behind the last one.
    pub tree: Tree,
    versions: BTreeMap<String, Vec<Version>>,
    closed: BTreeMap<SessionId, Zxid>,
    /// Each session's newest number.
    pub numbers: BTreeMap<SessionId, Xid>,
    effects: Effects,
}

impl Default for Committed {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            tree: Tree::new(TreeOptions::default()),
            versions: BTreeMap::new(),
            closed: BTreeMap::new(),
            numbers: BTreeMap::new(),
            effects: Effects::default(),
        }
    }
}

impl Committed {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The one at this place.
    pub fn get(&self, n: usize) -> Option<&Entry> {
        self.entries.get(n)
    }

    /// The newest zxid.
    pub fn last(&self) -> Zxid {
        self.entries.last().map_or(Zxid::ZERO, |e| e.zxid)
    }

    /// The newest zxid before an epoch.
    pub fn last_before(&self, epoch: Epoch) -> Zxid {
        let n = self.entries.partition_point(|e| e.zxid.epoch() < epoch);
        n.checked_sub(1).map_or(Zxid::ZERO, |n| self.entries[n].zxid)
    }

    /// The newest one.
    pub fn newest(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// The one with this zxid.
    pub fn find(&self, zxid: Zxid) -> Option<&Entry> {
        let n = self.entries.partition_point(|e| e.zxid < zxid);
        self.entries.get(n).filter(|e| e.zxid == zxid)
    }

    /// Whether the session's end is among them.
    pub fn is_closed(&self, session: SessionId) -> bool {
        self.closed.contains_key(&session)
    }

    /// What became of a node.
    pub fn versions(&self, path: &str) -> &[Version] {
        self.versions.get(path).map_or(&[], Vec::as_slice)
    }

    /// The first change of a node behind `after`, not behind `upto`.
    pub fn change(&self, path: &str, after: Zxid, upto: Zxid) -> Option<Zxid> {
        let versions = self.versions(path);
        let n = versions.partition_point(|v| v.zxid <= after);
        versions.get(n).map(|v| v.zxid).filter(|z| *z <= upto)
    }

    /// Another one counts from now on.
    pub fn push(&mut self, link: &Link) -> &Entry {
        let entry = LogEntry::decode(&link.bytes).expect("what was applied decodes");
        self.tree.apply(&entry, &mut self.effects);
        let changed = self.effects.fired.iter().filter(|f| f.event != EventType::NodeChildrenChanged);
        for fired in changed {
            let node = self.tree.get(&fired.path);
            let node = node.map(|n| (n.data_bytes().unwrap_or_default(), n.stat()));
            let versions = self.versions.entry(fired.path.to_string()).or_default();
            // Of several changes in one transaction the last one shows.
            versions.pop_if(|v| v.zxid == link.zxid);
            versions.push(Version { zxid: link.zxid, node });
        }
        self.effects.clear();
        let h = &entry.header;
        if h.op == OpCode::CloseSession {
            self.closed.insert(h.session, h.zxid);
        }
        self.entries.push(Entry {
            zxid: link.zxid,
            bytes: link.bytes.clone(),
            digest: self.tree.digest(),
            session: h.session,
            cxid: h.cxid,
            op: h.op,
            error: if let Txn::Error { err } = entry.txn { Some(err) } else { None },
        });
        self.entries.last().expect("one was just pushed")
    }
}
