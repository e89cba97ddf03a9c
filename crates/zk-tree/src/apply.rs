//! How a transaction changes the tree. ref: DataTree.processTxn.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast;
use foldhash::quality::RandomState;
use hashbrown::HashSet;
use smallvec::SmallVec;
use zk_proto::client::EventType;
use zk_proto::path::{CONFIG, split};
use zk_proto::txn::{CreateTxn, LogEntry, SubTxn, Txn, TxnDigest, TxnHeader};
use zk_proto::{Acl, ErrorCode, OpCode, SessionId, Stat, StatPersisted, Zxid};

use crate::acl::AclList;
use crate::digest::Named;
use crate::owner;
use crate::quota::{self, QuotaNode, StatsTrack};
use crate::store::{Contents, NewData};
use crate::tree::{DIGEST_LOG_INTERVAL, DIGEST_LOG_LIMIT, NodeId, Tree, utf16_len};
use crate::watch::Interest;

/// What applying transactions did besides changing the tree. Collects until it
/// is cleared.
#[derive(Debug, Default)]
pub struct Effects {
    /// Changes that watches may wait for, in order.
    pub fired: Vec<Fired>,
    /// What the mirror must write again.
    pub touched: Touched,
    /// Nodes that went with their session, and whether they were still there.
    pub ended: Vec<(SessionId, String, bool)>,
    /// Who may wait for changes: what none of them waits for is not in `fired`. `None`: everything is.
    pub listeners: Option<Vec<Arc<Interest>>>,
    /// Whether somebody may wait who is not counted yet, so that everything is in `fired`.
    pub uncounted: bool,
}

impl Effects {
    /// Forgets what happened, keeps the memory.
    pub fn clear(&mut self) {
        self.fired.clear();
        self.ended.clear();
        self.touched.nodes.clear();
        self.touched.gone.clear();
        self.touched.acls.clear();
        self.touched.sessions.clear();
    }

    fn touch(&mut self, node: NodeId) {
        self.touched.nodes.insert(node);
    }

    fn fire(&mut self, event: EventType, path: &Arc<str>, node: NodeId, zxid: Zxid, acl: &AclList) {
        if self.is_wanted(event, path, node) {
            self.fired.push(Fired { event, path: path.clone(), node, zxid, acl: acl.clone() });
        }
    }

    /// A child of the node came or went. Its path is made only if somebody waits for that.
    fn fire_children(&mut self, path: &str, node: NodeId, zxid: Zxid, acl: &AclList) {
        let event = EventType::NodeChildrenChanged;
        if self.is_wanted(event, path, node) {
            self.fired.push(Fired { event, path: path.into(), node, zxid, acl: acl.clone() });
        }
    }

    fn is_wanted(&self, event: EventType, path: &str, node: NodeId) -> bool {
        let Some(listeners) = self.listeners.as_ref().filter(|_| !self.uncounted) else { return true };
        listeners.iter().any(|l| l.wants_that(event, node, path))
    }
}

/// One change that watches may wait for.
#[derive(Debug, Clone)]
pub struct Fired {
    /// What happened. A deletion stands for both tables of watches: a
    /// connection that watches a node and its children is told once.
    pub event: EventType,
    /// To which node; the root is `/`.
    pub path: Arc<str>,
    /// The number that the node has in the tree, or had until it was deleted.
    pub node: NodeId,
    /// By which transaction.
    pub zxid: Zxid,
    /// Who may read the node may be told: of a child that came or went the
    /// parent's list, of a deleted node the one it had.
    pub acl: AclList,
}

/// What changed, by number and by name: the state itself is in the tree, and what is not
/// there any more was removed. Counts of quotas, which every server keeps on
/// its own, are not reported. It is of one tree: another one has other numbers.
#[derive(Debug, Default)]
pub struct Touched {
    /// Nodes that were there when they changed. Those that went since are in `gone`, and their number may be that of
    /// another node that came.
    pub nodes: HashSet<NodeId, fast::RandomState>,
    /// Paths of nodes that were removed; there may be new ones.
    pub gone: HashSet<Arc<str>, RandomState>,
    /// Ids of access control lists that came or went.
    pub acls: BTreeSet<i64>,
    /// Sessions that began or ended.
    pub sessions: BTreeSet<SessionId>,
}

impl Touched {
    /// How many nodes, those that went among them.
    pub fn len(&self) -> usize {
        self.nodes.len() + self.gone.len()
    }

    /// Whether nothing changed, sessions and access control lists included.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.acls.is_empty() && self.sessions.is_empty()
    }

    /// Whether what is at a path of this tree changed, or was removed.
    pub fn has(&self, tree: &Tree, path: &str) -> bool {
        self.gone.contains(path) || tree.get(path).is_some_and(|node| self.nodes.contains(&node.id()))
    }

    /// Takes over what `other` has, and leaves it empty.
    pub fn merge(&mut self, other: &mut Touched) {
        if self.nodes.is_empty() {
            std::mem::swap(&mut self.nodes, &mut other.nodes);
        } else {
            self.nodes.extend(other.nodes.drain());
        }
        self.gone.extend(other.gone.drain());
        self.acls.append(&mut other.acls);
        self.sessions.append(&mut other.sessions);
    }
}

/// What came out of a transaction. ref: DataTree.ProcessTxnResult.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResult {
    /// Type of the transaction. All parts of a failed multi are errors.
    pub op: OpCode,
    /// Success, what the transaction says went wrong, or how it did not fit.
    pub err: ErrorCode,
    /// The node that was created.
    pub path: Option<Arc<str>>,
    /// The node's stat, for those types whose reply has one.
    pub stat: Option<Stat>,
    /// Results of a multi's parts.
    pub multi: Vec<TxnResult>,
}

impl TxnResult {
    fn new(op: OpCode, err: ErrorCode) -> TxnResult {
        TxnResult { op, err, path: None, stat: None, multi: Vec::new() }
    }
}

/// Numbers of the nodes that a transaction's parts change, as far as who prepared it has seen them: those need not be
/// looked up again. Each is looked at before it is believed. A transaction that is no multi is one part.
#[derive(Debug, Default)]
pub struct Places {
    parts: SmallVec<[Option<NodeId>; 1]>,
}

impl Places {
    /// The node that the part of this number changes; parts come in order, and some may be left out.
    pub fn note(&mut self, part: usize, node: Option<NodeId>) {
        if node.is_some() {
            self.parts.resize(part, None);
            self.parts.push(node);
        }
    }

    fn of(&self, part: usize) -> Option<NodeId> {
        self.parts.get(part).copied().flatten()
    }
}

/// A node after a change of its data.
struct Changed {
    stat: StatPersisted,
    acl: i64,
    /// By so many bytes of data.
    grown: i64,
}

impl Tree {
    /// Applies the next transaction. The state may contain it and later ones
    /// already (a log is replayed over a fuzzy snapshot): the state after all
    /// of them is the same.
    pub fn apply(&mut self, entry: &LogEntry, effects: &mut Effects) -> TxnResult {
        self.apply_at(entry, &Places::default(), effects)
    }

    /// The same for who has seen the nodes before.
    pub fn apply_at(&mut self, entry: &LogEntry, places: &Places, effects: &mut Effects) -> TxnResult {
        let mut result = TxnResult::new(entry.header.op, ErrorCode::Ok);
        match &entry.txn {
            Txn::Multi(parts) => self.apply_multi(&entry.header, parts, places, effects, &mut result),
            txn => self.apply_txn(&entry.header, txn, places.of(0), effects, &mut result),
        }
        let zxid = entry.header.zxid;
        self.last_zxid = self.last_zxid.max(zxid);
        self.settle(entry.digest.as_ref());
        if self.pending_digest.is_some() {
            self.compare_pending_digest(zxid);
        } else if self.unsettled > 0 {
            self.unsettled -= 1;
        } else if zxid.0 % DIGEST_LOG_INTERVAL == 0 {
            if self.digest_log.len() == DIGEST_LOG_LIMIT {
                self.digest_log.pop_front();
            }
            self.digest_log.push_back((zxid, self.digest));
        }
        if let Some(expected) = &entry.digest {
            self.compare_digest(zxid, expected);
        }
        result
    }

    /// ref: DataTree.compareSnapshotDigests. differs: Java compares nothing any
    /// more if the log jumps over the zxid; from then on we compare again.
    pub(crate) fn compare_pending_digest(&mut self, zxid: Zxid) {
        let Some((at, expected)) = self.pending_digest else { return };
        if zxid < at {
            return;
        }
        self.pending_digest = None;
        if zxid == at && self.digest != expected {
            self.digest_mismatches += 1;
            tracing::error!(%zxid, expected, found = self.digest, "digest of the snapshot does not match");
        } else if zxid > at {
            tracing::warn!(%at, "the transaction of the snapshot's digest does not exist");
        }
    }

    /// The first digest that matches shows that the tree holds nothing that comes later.
    fn settle(&mut self, expected: Option<&TxnDigest>) {
        if expected.is_some_and(|d| d.version == TxnDigest::VERSION && d.tree == self.digest) {
            self.unsettled = 0;
        }
    }

    /// ref: DataTree.compareDigest.
    fn compare_digest(&mut self, zxid: Zxid, expected: &TxnDigest) {
        let comparable =
            self.options.digest && self.pending_digest.is_none() && expected.version == TxnDigest::VERSION;
        if !comparable || self.unsettled > 0 || self.digest == expected.tree {
            return;
        }
        if self.digest_mismatches == 0 {
            tracing::error!(%zxid, expected = expected.tree, found = self.digest, "first digest mismatch");
        }
        self.digest_mismatches += 1;
    }

    /// All but a multi. The result says what it is.
    fn apply_txn(
        &mut self,
        header: &TxnHeader,
        txn: &Txn,
        place: Option<NodeId>,
        fx: &mut Effects,
        result: &mut TxnResult,
    ) {
        let op = result.op;
        let done = match txn {
            Txn::Create(create) => {
                result.path = Some(create.path.clone());
                // The reply to the oldest form of create is the path alone.
                self.create(header, op, create, fx).map(|stat| (op != OpCode::Create).then_some(stat))
            }
            Txn::Delete { path } => self.delete(path, header.zxid, fx).map(|()| None),
            Txn::SetData { path, data, version } => {
                self.set_data(header, path, place, data.as_deref(), *version, fx).map(Some)
            }
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl.as_deref(), *version, fx).map(Some),
            Txn::Check { .. } => Ok(None),
            Txn::Error { err } => Err(code_of(*err)),
            Txn::CreateSession { timeout } => {
                self.sessions.insert(header.session, *timeout);
                fx.touched.sessions.insert(header.session);
                Ok(None)
            }
            Txn::CloseSession { paths } => {
                self.close_session(header, paths.as_deref().unwrap_or_default(), fx);
                Ok(None)
            }
            Txn::Multi(_) => unreachable!("a multi holds no multi: the reader refuses it"),
        };
        match done {
            Ok(stat) => result.stat = stat,
            Err(code) => result.err = code,
        }
    }

    /// One error among the parts means that nothing happens: the good parts
    /// before it are in the log all the same.
    fn apply_multi(
        &mut self,
        header: &TxnHeader,
        parts: &[SubTxn],
        places: &Places,
        fx: &mut Effects,
        result: &mut TxnResult,
    ) {
        let failed = parts.iter().any(|p| p.op == OpCode::Error);
        let mut after_failure = false;
        result.multi.reserve_exact(parts.len());
        for (n, part) in parts.iter().enumerate() {
            let (op, err) = match &part.txn {
                Txn::Error { err } => {
                    after_failure = true;
                    (OpCode::Error, code_of(*err))
                }
                _ if failed && after_failure => (OpCode::Error, ErrorCode::RuntimeInconsistency),
                _ if failed => (OpCode::Error, ErrorCode::Ok),
                _ => (part.op, ErrorCode::Ok),
            };
            // Written where it stays: it is large.
            result.multi.push(TxnResult::new(op, err));
            if !failed && let Some(result) = result.multi.last_mut() {
                self.apply_txn(header, &part.txn, places.of(n), fx, result);
            }
        }
        if let Some(failed) = result.multi.iter().find(|r| r.err != ErrorCode::Ok) {
            result.err = failed.err;
        }
    }

    /// ref: DataTree.createNode.
    fn create(
        &mut self,
        h: &TxnHeader,
        op: OpCode,
        c: &CreateTxn,
        fx: &mut Effects,
    ) -> Result<Stat, ErrorCode> {
        let (parent_path, name) = split_checked(&c.path)?;
        let parent = self.store.find(parent_path).ok_or(ErrorCode::NoNode)?;
        let path = &c.path;
        let zxid = h.zxid.0;
        if let Some(id) = self.store.find(path) {
            self.replace_acl(id, path, c.acl.as_deref(), None, fx);
            self.raise_cversion(parent, parent_path, c.parent_cversion, zxid, fx);
            return Err(ErrorCode::NodeExists);
        }
        let (acl, new_list) = self.acls.take(c.acl.as_deref());
        if new_list {
            fx.touched.acls.insert(acl);
        }
        self.raise_cversion(parent, parent_path, c.parent_cversion, zxid, fx);
        let owner = match op {
            OpCode::CreateContainer => owner::CONTAINER,
            OpCode::CreateTtl => owner::ttl(c.ttl),
            _ if c.ephemeral => h.session.0,
            _ => 0,
        };
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: h.time,
            mtime: h.time,
            ephemeral_owner: owner,
            ..Default::default()
        };
        let id = self.place(path, parent, name, &stat, acl, c.data.as_deref());
        // As the creator sees it: a quota's counts are put into it only now.
        let seen = self.node(id).stat();
        match quota::role(path) {
            Some(QuotaNode::Limits(prefix)) => self.quotas.add(prefix),
            Some(QuotaNode::Stats(prefix)) => self.recount_quota(prefix),
            None => {}
        }
        self.charge_quota(path, 1, len_of(c.data.as_deref()));
        fx.touch(id);
        fx.touch(parent);
        fx.fire(EventType::NodeCreated, path, id, h.zxid, self.node(id).acl());
        fx.fire_children(parent_path, parent, h.zxid, self.node(parent).acl());
        Ok(seen)
    }

    /// A created child's number, which a later transaction may have passed
    /// already. -1: a log of 3.3 does not know it.
    ///
    /// differs: when the child exists Java does this for the oldest form of
    /// create only. It never goes down, so doing it for all is right as well.
    fn raise_cversion(&mut self, id: NodeId, path: &str, cversion: i32, zxid: i64, fx: &mut Effects) {
        let mut stat = self.store.stat(id);
        let cversion = if cversion == -1 { stat.cversion.wrapping_add(1) } else { cversion };
        if cversion > stat.cversion {
            stat.cversion = cversion;
            stat.pzxid = zxid;
            self.set_stat(id, path, &stat, self.store.acl(id));
            fx.touch(id);
        }
    }

    /// ref: DataTree.deleteNode.
    fn delete(&mut self, path: &Arc<str>, zxid: Zxid, fx: &mut Effects) -> Result<(), ErrorCode> {
        let (parent_path, _) = split_checked(path)?;
        let parent = self.store.find(parent_path).ok_or(ErrorCode::NoNode)?;
        // Even if the node is gone: the parent may be older than that.
        let mut stat = self.store.stat(parent);
        if zxid.0 > stat.pzxid {
            stat.pzxid = zxid.0;
            self.set_stat(parent, parent_path, &stat, self.store.acl(parent));
            fx.touch(parent);
        }
        let id = self.store.find(path).ok_or(ErrorCode::NoNode)?;
        let acl = self.node(id).acl().clone();
        self.remove_descendants(id, fx);
        self.remove_one(id, path, fx);
        fx.fire(EventType::NodeDeleted, path, id, zxid, &acl);
        fx.fire_children(parent_path, parent, zxid, self.node(parent).acl());
        Ok(())
    }

    /// Only a fuzzy state has anything below a node that is deleted: nodes that
    /// later transactions put there after they made it again, and those will be
    /// replayed.
    ///
    /// differs: Java leaves such nodes in its table without a parent.
    fn remove_descendants(&mut self, top: NodeId, fx: &mut Effects) {
        let mut found: Vec<NodeId> = self.store.children(top).collect();
        let mut at = 0;
        while let Some(&id) = found.get(at) {
            found.extend(self.store.children(id));
            at += 1;
        }
        for id in found.into_iter().rev() {
            let path: Arc<str> = self.node(id).path().into();
            self.remove_one(id, &path, fx);
        }
    }

    fn remove_one(&mut self, id: NodeId, path: &Arc<str>, fx: &mut Effects) {
        self.digest_sub(id, path);
        let data_len = len_of(self.store.data(id));
        self.data_size -= utf16_len(path) + data_len as u64;
        self.owner_remove(id, self.store.stat(id).ephemeral_owner);
        let acl = self.store.acl(id);
        if self.acls.release(acl) {
            fx.touched.acls.insert(acl);
        }
        self.store.remove(id);
        if let Some(QuotaNode::Limits(prefix)) = quota::role(path) {
            self.quotas.remove(prefix);
        }
        self.charge_quota(path, -1, -data_len);
        fx.touched.gone.get_or_insert_with(path, Arc::clone);
    }

    /// ref: DataTree.setData.
    fn set_data(
        &mut self,
        h: &TxnHeader,
        path: &Arc<str>,
        place: Option<NodeId>,
        data: Option<&[u8]>,
        version: i32,
        fx: &mut Effects,
    ) -> Result<Stat, ErrorCode> {
        let known = place.filter(|id| self.store.is_node_at(*id, path));
        let id = known.or_else(|| self.store.find(path)).ok_or(ErrorCode::NoNode)?;
        let path = &*shown(path);
        let change = |stat: &mut StatPersisted| {
            stat.mtime = h.time;
            stat.mzxid = h.zxid.0;
            stat.version = version;
        };
        let Changed { stat, acl, grown } = self.set_all(id, path, change, data);
        self.charge_quota(path, 0, grown);
        fx.touch(id);
        let acl = self.acls.get(acl).expect("lists of nodes are in the cache");
        fx.fire(EventType::NodeDataChanged, path, id, h.zxid, acl);
        Ok(self.shown(&stat, data, self.store.children(id).len()))
    }

    /// ref: DataTree.setACL.
    fn set_acl(
        &mut self,
        path: &str,
        acl: Option<&[Acl]>,
        version: i32,
        fx: &mut Effects,
    ) -> Result<Stat, ErrorCode> {
        let id = self.store.find(path).ok_or(ErrorCode::NoNode)?;
        self.replace_acl(id, path, acl, Some(version), fx);
        Ok(self.node(id).stat())
    }

    fn replace_acl(
        &mut self,
        id: NodeId,
        path: &str,
        acl: Option<&[Acl]>,
        version: Option<i32>,
        fx: &mut Effects,
    ) {
        let old = self.store.acl(id);
        let (new, is_new) = self.acls.take(acl);
        if is_new {
            fx.touched.acls.insert(new);
        }
        if self.acls.release(old) {
            fx.touched.acls.insert(old);
        }
        let mut stat = self.store.stat(id);
        stat.aversion = version.unwrap_or(stat.aversion);
        self.set_stat(id, path, &stat, new);
        fx.touch(id);
    }

    /// The listed nodes in their order, then what the session owns besides:
    /// everything if an old server listed nothing. ref: DataTree.killSession.
    fn close_session(&mut self, h: &TxnHeader, listed: &[String], fx: &mut Effects) {
        if self.sessions.remove(&h.session).is_some() {
            fx.touched.sessions.insert(h.session);
        }
        for path in listed {
            let deleted = self.delete(&path.as_str().into(), h.zxid, fx).is_ok();
            if !deleted {
                tracing::debug!(path, session = %h.session, "an ephemeral is gone already");
            }
            fx.ended.push((h.session, path.clone(), deleted));
        }
        for path in self.ephemerals_of(h.session) {
            self.delete(&path.as_str().into(), h.zxid, fx).expect("an owned node exists and has a parent");
            fx.ended.push((h.session, path, true));
        }
    }

    /// Changes a node's numbers; the digest follows.
    fn set_stat(&mut self, id: NodeId, path: &str, stat: &StatPersisted, acl: i64) {
        if self.is_digested(path) {
            let c = self.store.contents(id);
            let mut named = Named::new(path, c.data, c.crc);
            let old = self.recent.get(id).unwrap_or_else(|| named.with(&c.stat));
            let new = named.with(stat);
            self.digest_change(id, old, new);
        }
        self.store.update(id, stat, acl, NewData::Keep);
    }

    /// Changes a node's numbers and data; digest and sizes follow.
    fn set_all(
        &mut self,
        id: NodeId,
        path: &str,
        change: impl FnOnce(&mut StatPersisted),
        data: Option<&[u8]>,
    ) -> Changed {
        let old = self.store.contents(id);
        let (mut stat, acl, old_len) = (old.stat, old.acl, len_of(old.data));
        let part = self.is_digested(path).then(|| self.recent.get(id).unwrap_or_else(|| old.digest(path)));
        change(&mut stat);
        let crc = self.store.update(id, &stat, acl, NewData::Set(data));
        if let Some(part) = part {
            let new = Contents { stat, acl, data, crc };
            self.digest_change(id, part, new.digest(path));
        }
        self.data_size = self.data_size - old_len as u64 + len_of(data) as u64;
        Changed { stat, acl, grown: len_of(data) - old_len }
    }

    /// Books a change of a node under the quota that covers it. The counts' node
    /// is changed in place, by every server on its own. ref: updateQuotaStat.
    fn charge_quota(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(prefix) = self.quotas.longest(path) else { return };
        let stats_path = quota::stats_path(prefix);
        let Some(id) = self.store.find(&stats_path) else {
            tracing::debug!(stats_path, "the quota has no node for its counts");
            return;
        };
        let Some(mut track) = StatsTrack::parse(self.store.data(id).unwrap_or_default()) else {
            tracing::warn!(stats_path, "the quota's counts cannot be read");
            return;
        };
        track.add(count, bytes);
        self.write_quota_stats(id, &stats_path, &track);
    }

    /// Counts what is under a prefix and writes it into the counts' node, if
    /// there is one. ref: DataTree.updateQuotaForPath.
    pub(crate) fn recount_quota(&mut self, prefix: &str) {
        let stats_path = quota::stats_path(prefix);
        let Some(stats) = self.store.find(&stats_path) else {
            tracing::warn!(stats_path, "the quota has no node for its counts");
            return;
        };
        let (mut count, mut bytes) = (0, 0);
        let mut open: Vec<NodeId> = self.store.find(prefix).into_iter().collect();
        while let Some(id) = open.pop() {
            count += 1;
            bytes += len_of(self.store.data(id));
            open.extend(self.store.children(id));
        }
        self.write_quota_stats(stats, &stats_path, &StatsTrack::counts(count, bytes));
    }

    fn write_quota_stats(&mut self, id: NodeId, path: &str, track: &StatsTrack) {
        self.set_all(id, path, |_| {}, Some(track.to_string().as_bytes()));
    }

    /// Writes the ensemble's configuration into its node, which every server
    /// does on its own: at start, at a sync and when a new one becomes valid.
    /// The node is outside the digest. ref: ZKDatabase.initConfigInZKDatabase.
    pub fn write_config(&mut self, text: Bytes, version: i64, now_ms: i64, effects: &mut Effects) {
        let id = self.store.find(CONFIG).expect("every tree has the node");
        let change = |stat: &mut StatPersisted| {
            stat.version = -1;
            stat.mzxid = version;
            stat.mtime = now_ms;
        };
        self.set_all(id, CONFIG, change, Some(&text));
        let path: Arc<str> = CONFIG.into();
        effects.touch(id);
        effects.fire(EventType::NodeDataChanged, &path, id, Zxid(version), self.node(id).acl());
    }
}

/// Parent and name of a path that can be created or deleted. What does not look
/// like one was never let into a log by a sound leader.
fn split_checked(path: &str) -> Result<(&str, &str), ErrorCode> {
    match split(path) {
        _ if path == "/" => Err(ErrorCode::BadArguments),
        Some((_, "")) | None => Err(ErrorCode::NoNode),
        // The parent would be taken for the root.
        Some(_) if path.starts_with("//") => Err(ErrorCode::NoNode),
        Some(parts) => Ok(parts),
    }
}

/// The root has two names; this is the one that clients see.
fn shown(path: &Arc<str>) -> Cow<'_, Arc<str>> {
    if path.is_empty() { Cow::Owned("/".into()) } else { Cow::Borrowed(path) }
}

fn len_of(data: Option<&[u8]>) -> i64 {
    data.map_or(0, |d| i64::try_from(d.len()).expect("memory is smaller than 2^63"))
}

/// The code in an error transaction. Leaders write known codes only.
fn code_of(err: i32) -> ErrorCode {
    ErrorCode::from_i32(err).unwrap_or(ErrorCode::SystemError)
}
