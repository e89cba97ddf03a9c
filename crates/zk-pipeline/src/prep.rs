//! Requests become transactions.
//!
//! Every write takes the next zxid before any check. If a check fails, the
//! transaction is an error: it is logged and committed like any other.
//! Checks run against the tree *plus the changes that are still in flight*, and
//! the digest that the tree will have is computed here, ahead of time.
//! ref: PrepRequestProcessor; datatree.md 2 and 3.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use zk_proto::client::{CreateMode, CreateRequest, WriteRequest};
use zk_proto::txn::{CreateTxn, LogEntry, SubTxn, Txn, TxnDigest, TxnHeader};
use zk_proto::{Acl, AuthId, ErrorCode, OpCode, Perms, SessionId, StatPersisted, Xid, Zxid, path};
use zk_tree::owner::{self, OwnerKind};
use zk_tree::{AclList, Node, NodeId, Places, Tree};

use crate::overlay::{Change, Overlay, Path, Pending, Spot};
use crate::reconfig::{Ensemble, Reconfig};
use crate::{Now, PipelineConfig};

/// Why a write fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The path breaks the rules, or is one that may not be deleted.
    #[error("path {0:?} is not allowed here")]
    BadPath(String),
    /// The flags are no mode of creation, or the time to live does not fit them.
    #[error("flags {flags} with a time to live of {ttl} ms are no way to create a node")]
    BadMode {
        /// As they came.
        flags: i32,
        /// As it came.
        ttl: i64,
    },
    /// The path is null where Java stumbles over it.
    #[error("path is null")]
    NullPath,
    /// A multi that does not decode, or anything of a learner.
    #[error("body does not decode: {0}")]
    Undecodable(#[from] jute::DecodeError),
    /// Not switched on, or not there in a stand-alone server.
    #[error("{0} is not available here")]
    Unimplemented(&'static str),
    /// `reconfigEnabled` is false.
    #[error("reconfiguration is switched off")]
    ReconfigDisabled,
    /// Another reconfiguration is not in force yet.
    #[error("a reconfiguration is under way")]
    ReconfigInProgress,
    /// The configuration is another one than the client thinks.
    #[error("the configuration has version {found:x}, the request expects {expected:x}")]
    ConfigVersion {
        /// The request's.
        expected: i64,
        /// The newest one's.
        found: i64,
    },
    /// The new configuration is none, or is not allowed.
    #[error("reconfiguration is refused: {0}")]
    BadReconfig(String),
    /// A number in the request is none where Java stumbles over it.
    #[error("reconfiguration is not understood: {0}")]
    UnreadableReconfig(String),
    /// Too few members of the new configuration could take over.
    #[error("no quorum of the new configuration is connected and synchronised")]
    NewConfigNoQuorum,
    /// There is no such node.
    #[error("no node at {0}")]
    NoNode(String),
    /// There is such a node.
    #[error("node at {0} exists")]
    NodeExists(String),
    /// It has children.
    #[error("node at {0} has children")]
    NotEmpty(String),
    /// The parent is ephemeral.
    #[error("parent of {0} is ephemeral")]
    EphemeralParent(String),
    /// The version differs.
    #[error("version of {path} is {found}, the request expects {expected}")]
    BadVersion {
        /// Which node.
        path: String,
        /// The request's.
        expected: i32,
        /// The node's.
        found: i32,
    },
    /// The permission is missing.
    #[error("no permission at {0}")]
    NoAuth(String),
    /// The list is invalid.
    #[error("access control list for {0} is invalid")]
    InvalidAcl(String),
    /// A hard limit.
    #[error("quota of {0} is used up")]
    QuotaExceeded(String),
    /// An ephemeral node for a session that only one member knows.
    #[error("a local session owns no ephemeral nodes")]
    LocalSession,
    /// A part of a multi before this one failed.
    #[error("an earlier part failed")]
    EarlierPart,
    /// The session speaks through another server now.
    #[error("session has moved")]
    SessionMoved,
    /// The session is unknown or closing.
    #[error("session has ended")]
    SessionExpired,
}

impl RequestError {
    /// The only way from our errors to protocol codes. No `_` arm: a new error
    /// must choose.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BadPath(_) | Self::BadMode { .. } | Self::BadReconfig(_) => ErrorCode::BadArguments,
            Self::NullPath | Self::Undecodable(_) | Self::UnreadableReconfig(_) => {
                ErrorCode::MarshallingError
            }
            Self::Unimplemented(_) => ErrorCode::Unimplemented,
            Self::ReconfigDisabled => ErrorCode::ReconfigDisabled,
            Self::ReconfigInProgress => ErrorCode::ReconfigInProgress,
            Self::NewConfigNoQuorum => ErrorCode::NewConfigNoQuorum,
            Self::NoNode(_) => ErrorCode::NoNode,
            Self::NodeExists(_) => ErrorCode::NodeExists,
            Self::NotEmpty(_) => ErrorCode::NotEmpty,
            Self::EphemeralParent(_) => ErrorCode::NoChildrenForEphemerals,
            Self::BadVersion { .. } | Self::ConfigVersion { .. } => ErrorCode::BadVersion,
            Self::NoAuth(_) => ErrorCode::NoAuth,
            Self::InvalidAcl(_) => ErrorCode::InvalidAcl,
            Self::QuotaExceeded(_) => ErrorCode::QuotaExceeded,
            Self::EarlierPart => ErrorCode::RuntimeInconsistency,
            Self::LocalSession => ErrorCode::EphemeralOnLocalSession,
            Self::SessionMoved => ErrorCode::SessionMoved,
            Self::SessionExpired => ErrorCode::SessionExpired,
        }
    }
}

/// Where a path is in the overlay, and what the tree has there, if nothing in flight has changed it.
type At<'t> = (Spot, Option<Node<'t>>);

/// Prepares transactions in order.
#[derive(Debug)]
pub struct Prep {
    config: PipelineConfig,
    /// What is in flight; also to find the ephemerals that a closing session will have.
    overlay: Overlay,
    /// What the tree's digest will be.
    digest: u64,
    last: Zxid,
    /// The node in the tree that the part which is being prepared changes.
    changes: Option<NodeId>,
    /// How the ensemble stands. `None`: there is none.
    ensemble: Option<Arc<dyn Ensemble>>,
    /// The reconfiguration in flight.
    reconfig: Option<Zxid>,
    /// First components of the paths of writes that were refused because a quota is used up, until
    /// they are counted.
    pub(crate) over_quota: Vec<String>,
}

/// Whether a session may own ephemeral nodes: only one that all members know may, since
/// they all remove them when it ends. ref: PrepRequestProcessor.validateCreateRequest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ephemerals {
    /// It may.
    Allowed,
    /// It is a local session of this member, which may not become more.
    Local,
    /// It is not known here: a learner's local session.
    Unknown,
}

/// A transaction that is ready for the log.
#[derive(Debug)]
pub struct Prepared {
    /// What is logged.
    pub entry: LogEntry,
    /// Where its nodes are in the tree, for [`Tree::apply_at`].
    pub places: Places,
    /// Why it is an error.
    pub error: Option<RequestError>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The session; also owner of ephemerals.
    pub session: SessionId,
    /// The client's number.
    pub cxid: Xid,
    /// The connection's identities.
    pub ids: &'a [AuthId],
    /// Whether it may own ephemeral nodes.
    pub ephemerals: Ephemerals,
}

/// What a check or a change sees of a node.
struct View<'p, 't> {
    tree: &'t Tree,
    path: &'p str,
    spot: Spot,
    id: Option<NodeId>,
    stat: StatPersisted,
    children: usize,
    acl: &'p AclList,
    pending: Option<&'p Pending>,
    /// As it is in the tree, if nothing in flight changes it, with its data.
    node: Option<(Node<'t>, Option<&'t [u8]>)>,
}

impl<'p, 't: 'p> View<'p, 't> {
    fn data(&self) -> Option<&'p [u8]> {
        if let Some(data) = self.pending.and_then(|p| p.data.as_ref()) {
            return data.as_deref();
        }
        if let Some((_, data)) = self.node {
            return data;
        }
        let node = self.tree.get(self.path);
        node.expect("a node in flight that is not in the tree has its own data").data()
    }

    fn at(&self) -> At<'t> {
        (self.spot, self.node.map(|(node, _)| node))
    }

    /// What is in flight of it, if something is.
    fn changed_data(&self) -> Option<Option<Bytes>> {
        self.pending.and_then(|p| p.data.clone())
    }
}

impl Prep {
    /// Nothing in flight on top of `tree`; the next zxid is the one after `last`.
    pub fn new(config: PipelineConfig, tree: &Tree, last: Zxid) -> Self {
        Self {
            config,
            overlay: Overlay::default(),
            digest: tree.digest(),
            last,
            changes: None,
            ensemble: None,
            reconfig: None,
            over_quota: Vec::new(),
        }
    }

    /// The zxid that was given last.
    pub fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// How the ensemble stands from now on.
    pub fn set_ensemble(&mut self, ensemble: Arc<dyn Ensemble>) {
        self.ensemble = Some(ensemble);
    }

    /// The transaction `zxid` was applied: its changes are in the tree now.
    pub fn applied(&mut self, zxid: Zxid) {
        self.reconfig = self.reconfig.filter(|z| *z > zxid);
        self.overlay.applied(zxid);
    }

    /// Prepares one request. The result always has the next zxid.
    pub fn prepare(
        &mut self,
        now: Now,
        tree: &Tree,
        who: Asker<'_>,
        request: Result<WriteRequest, RequestError>,
    ) -> Prepared {
        // A stand-alone server has no leader to elect: the counter runs over
        // into the epoch, as in Java.
        self.last = Zxid(self.last.0 + 1);
        let op = request.as_ref().map_or(OpCode::Error, |r| r.op());
        let mut header =
            TxnHeader { session: who.session, cxid: who.cxid, zxid: self.last, time: now.wall, op };
        self.overlay.begin();
        let before = self.digest;
        let mut places = Places::default();
        let done = request.and_then(|request| self.request(tree, who, &header, request, &mut places));
        match done {
            Ok(txn) => {
                // Behind a record of no bytes a digest would be read as the record.
                let bare = matches!(txn, Txn::CloseSession { paths: None });
                let digest = (self.config.digest && !bare)
                    .then_some(TxnDigest { version: TxnDigest::VERSION, tree: self.digest });
                Prepared { entry: LogEntry { header, txn, digest }, places, error: None }
            }
            Err(e) => {
                self.note_quota(&e);
                self.roll_back(before);
                header.op = OpCode::Error;
                let entry = LogEntry { header, txn: Txn::Error { err: e.code().to_i32() }, digest: None };
                Prepared { entry, places: Places::default(), error: Some(e) }
            }
        }
    }

    fn roll_back(&mut self, digest: u64) {
        self.overlay.roll_back();
        self.digest = digest;
    }

    fn request(
        &mut self,
        tree: &Tree,
        who: Asker<'_>,
        h: &TxnHeader,
        request: WriteRequest,
        places: &mut Places,
    ) -> Result<Txn, RequestError> {
        match request {
            WriteRequest::CreateSession { timeout } => Ok(Txn::CreateSession { timeout }),
            WriteRequest::CloseSession => Ok(self.close_session(tree, who.session, h)),
            WriteRequest::DeleteContainer { path } => self.delete_container(tree, h, path),
            WriteRequest::Multi(ops) => self.multi(tree, who, h, ops, places),
            WriteRequest::SetAcl { path, acl, version } => {
                let path = valid(path)?;
                let list = self.fix_up(&path, acl.as_deref(), who)?;
                let view = self.view(tree, &path)?;
                self.allow(&view, Perms::ADMIN, who, &path)?;
                let version = next_version(&path, view.stat.aversion, version)?;
                let stat = StatPersisted { aversion: version, ..view.stat };
                let digest = self.digest_of(&path, view.data(), &stat);
                let acl = AclList::new(list.clone());
                let (id, children, data, at) = (view.id, view.children, view.changed_data(), view.at());
                self.put(path.clone(), h.zxid, at, Pending { id, stat, children, acl, data, digest });
                Ok(Txn::SetAcl { path, acl: Some(list), version })
            }
            WriteRequest::Reconfig { joining, leaving, members, base } => {
                let (joining, leaving) = (joining.as_deref(), leaving.as_deref());
                let request = Reconfig { joining, leaving, members: members.as_deref(), base };
                self.reconfig(tree, who, h, &request)
            }
            other => {
                let txn = self.part(tree, who, h, other)?;
                places.note(0, self.changes.take());
                Ok(txn)
            }
        }
    }

    /// The switch is looked at first and the permission last. A stand-alone server has
    /// no ensemble to change. ref: PrepRequestProcessor, reconfig.
    fn reconfig(
        &mut self,
        tree: &Tree,
        who: Asker<'_>,
        h: &TxnHeader,
        request: &Reconfig<'_>,
    ) -> Result<Txn, RequestError> {
        if !self.config.reconfig_enabled {
            return Err(RequestError::ReconfigDisabled);
        }
        let ensemble = self.ensemble.clone().ok_or(RequestError::Unimplemented("reconfig"))?;
        if self.reconfig.is_some() {
            return Err(RequestError::ReconfigInProgress);
        }
        let data = Some(Bytes::from(ensemble.reconfigure(request, h.zxid)?));
        let path = path::CONFIG;
        let view = self.view(tree, path)?;
        self.allow(&view, Perms::WRITE, who, path)?;
        // The node's version stays what it is.
        let version = -1;
        let stat = StatPersisted { version, mtime: h.time, mzxid: h.zxid.0, ..view.stat };
        let digest = self.digest_of(path, data.as_deref(), &stat);
        let (id, acl, at) = (view.id, view.acl.clone(), view.at());
        let pending = Pending { id, stat, children: view.children, acl, data: Some(data.clone()), digest };
        self.put(path, h.zxid, at, pending);
        self.reconfig = Some(h.zxid);
        Ok(Txn::SetData { path: path.into(), data, version })
    }

    /// What may also stand inside a multi.
    fn part(
        &mut self,
        tree: &Tree,
        who: Asker<'_>,
        h: &TxnHeader,
        request: WriteRequest,
    ) -> Result<Txn, RequestError> {
        match request {
            WriteRequest::Create(c) => self.create(tree, who, h, c),
            WriteRequest::Delete { path, version } => self.delete(tree, who, h, path, version),
            WriteRequest::SetData { path, data, version } => {
                let path = valid(path)?;
                let view = self.view(tree, &path)?;
                self.allow(&view, Perms::WRITE, who, &path)?;
                self.quota(tree, &path, 0, || len(data.as_deref()) - len(view.data()))?;
                let version = next_version(&path, view.stat.version, version)?;
                let stat = StatPersisted { version, mtime: h.time, mzxid: h.zxid.0, ..view.stat };
                let digest = self.digest_of(&path, data.as_deref(), &stat);
                let (id, children, acl, at) = (view.id, view.children, view.acl.clone(), view.at());
                let pending = Pending { id, stat, children, acl, data: Some(data.clone()), digest };
                self.put(path.clone(), h.zxid, at, pending);
                self.changes = id;
                Ok(Txn::SetData { path, data, version })
            }
            WriteRequest::Check { path, version } => {
                let path = valid(path)?;
                let view = self.view(tree, &path)?;
                self.allow(&view, Perms::READ, who, &path)?;
                let version = next_version(&path, view.stat.version, version)?;
                Ok(Txn::Check { path, version })
            }
            other => unreachable!("decoding lets no {:?} into a multi", other.op()),
        }
    }

    fn create(
        &mut self,
        tree: &Tree,
        who: Asker<'_>,
        h: &TxnHeader,
        c: CreateRequest,
    ) -> Result<Txn, RequestError> {
        let bad_mode = RequestError::BadMode { flags: c.flags, ttl: c.ttl };
        let mode = CreateMode::from_flags(c.flags).ok_or(bad_mode.clone())?;
        if mode.is_ttl() && !self.config.extended_types {
            return Err(RequestError::Unimplemented("a time to live"));
        }
        // createTTL with a mode that has none is refused whatever the number:
        // its transaction would differ from its digest. (behaviour row 34)
        let ttl_fits = if mode.is_ttl() { (1..=owner::MAX_TTL).contains(&c.ttl) } else { c.ttl < 0 };
        if !ttl_fits || (c.op == OpCode::CreateTtl && !mode.is_ttl()) {
            return Err(bad_mode);
        }
        match who.ephemerals {
            Ephemerals::Local if mode.is_ephemeral() => return Err(RequestError::LocalSession),
            Ephemerals::Unknown if mode.is_ephemeral() => return Err(RequestError::SessionExpired),
            _ => {}
        }
        let asked = c.path.as_ref().ok_or(RequestError::NullPath)?;
        let (parent_path, _) = split(asked)?;
        let acl = self.fix_up(asked, c.acl.as_deref(), who)?;
        let parent = self.view(tree, parent_path)?;
        self.allow(&parent, Perms::CREATE, who, asked)?;
        let counter = parent.stat.cversion;
        let full: Arc<str> =
            if mode.is_sequential() { format!("{asked}{counter:010}").into() } else { asked.clone() };
        path::validate(&full).map_err(|_| RequestError::BadPath(full.to_string()))?;
        if self.view(tree, &full).is_ok() {
            return Err(RequestError::NodeExists(full.to_string()));
        }
        if let OwnerKind::Session(_) =
            owner::classify(parent.stat.ephemeral_owner, self.config.extended_types)
        {
            return Err(RequestError::EphemeralParent(full.to_string()));
        }
        self.quota(tree, &full, 1, || len(c.data.as_deref()))?;

        // The opcode decides what the node is; the flags only say whether it is
        // ephemeral or sequential. (behaviour trap 15)
        let ephemeral = mode.is_ephemeral() && matches!(c.op, OpCode::Create | OpCode::Create2);
        let owner = match c.op {
            OpCode::CreateContainer => owner::CONTAINER,
            OpCode::CreateTtl => owner::ttl(c.ttl),
            _ if ephemeral => h.session.0,
            _ => 0,
        };
        let parent_cversion = counter.wrapping_add(1);
        let mut stat = parent.stat;
        stat.cversion = parent_cversion;
        stat.pzxid = h.zxid.0;
        let children = parent.children + 1;
        self.change_stat(tree, parent_path, h.zxid, stat, children);

        let z = h.zxid.0;
        let stat = StatPersisted {
            czxid: z,
            mzxid: z,
            pzxid: z,
            ctime: h.time,
            mtime: h.time,
            ephemeral_owner: owner,
            ..StatPersisted::default()
        };
        let digest = self.digest_of(&full, c.data.as_deref(), &stat);
        let data = Some(c.data.clone());
        let list = AclList::new(acl.clone());
        // What is not to be seen is in the tree only if it was deleted in flight, which is found there.
        let at = (self.overlay.spot(&full), None);
        let pending = Pending { id: None, stat, children: 0, acl: list, data, digest };
        self.put(full.clone(), h.zxid, at, pending);
        Ok(Txn::Create(CreateTxn {
            path: full,
            data: c.data,
            acl: Some(acl),
            ephemeral,
            parent_cversion,
            ttl: if c.op == OpCode::CreateTtl { c.ttl } else { 0 },
        }))
    }

    fn delete(
        &mut self,
        tree: &Tree,
        who: Asker<'_>,
        h: &TxnHeader,
        asked: Option<Arc<str>>,
        version: i32,
    ) -> Result<Txn, RequestError> {
        let path = asked.ok_or(RequestError::NullPath)?;
        let asked = &*path;
        let (parent_path, _) = split_for_delete(asked)?;
        let parent = self.view(tree, parent_path)?;
        self.allow(&parent, Perms::DELETE, who, asked)?;
        let node = self.view(tree, asked)?;
        next_version(asked, node.stat.version, version)?;
        if node.children > 0 {
            return Err(RequestError::NotEmpty(asked.to_owned()));
        }
        self.unlink(tree, parent_path, path.clone(), h.zxid);
        Ok(Txn::Delete { path })
    }

    /// The reaper's delete: no session and no permission is looked at.
    fn delete_container(&mut self, tree: &Tree, h: &TxnHeader, path: Arc<str>) -> Result<Txn, RequestError> {
        let asked = &*path;
        let (parent_path, _) = split_for_delete(asked)?;
        let node = self.view(tree, asked)?;
        if node.children > 0 {
            return Err(RequestError::NotEmpty(asked.to_owned()));
        }
        match owner::classify(node.stat.ephemeral_owner, self.config.extended_types) {
            OwnerKind::Session(_) => {
                let (path, found) = (asked.to_owned(), node.stat.version);
                return Err(RequestError::BadVersion { path, expected: -1, found });
            }
            OwnerKind::Persistent | OwnerKind::Container | OwnerKind::Ttl(_) => {}
        }
        self.view(tree, parent_path)?;
        self.unlink(tree, parent_path, path.clone(), h.zxid);
        Ok(Txn::Delete { path })
    }

    /// ref: ZooKeeperServer.updateQuotaExceededMetrics.
    fn note_quota(&mut self, e: &RequestError) {
        if let RequestError::QuotaExceeded(prefix) = e {
            self.over_quota.extend(prefix.split('/').nth(1).map(str::to_owned));
        }
    }

    fn multi(
        &mut self,
        tree: &Tree,
        who: Asker<'_>,
        h: &TxnHeader,
        ops: Vec<WriteRequest>,
        places: &mut Places,
    ) -> Result<Txn, RequestError> {
        let before = self.digest;
        let mut subs = Vec::with_capacity(ops.len());
        let mut failed = false;
        for request in ops {
            let op = request.op();
            let done = if failed { Err(RequestError::EarlierPart) } else { self.part(tree, who, h, request) };
            match done {
                Ok(txn) => {
                    places.note(subs.len(), self.changes.take());
                    subs.push(SubTxn { op, txn });
                }
                // Java stumbles over a null path outside of its own errors, and
                // the whole multi fails.
                Err(e @ RequestError::NullPath) => return Err(e),
                Err(e) => {
                    self.note_quota(&e);
                    if !failed {
                        self.roll_back(before);
                        failed = true;
                    }
                    subs.push(SubTxn { op: OpCode::Error, txn: Txn::Error { err: e.code().to_i32() } });
                }
            }
        }
        Ok(Txn::Multi(subs))
    }

    /// All that the session will own when the transactions in flight are
    /// applied goes with it. ref: PrepRequestProcessor, closeSession.
    fn close_session(&mut self, tree: &Tree, session: SessionId, h: &TxnHeader) -> Txn {
        let mut paths: BTreeSet<String> = tree.ephemerals_of(session).into_iter().collect();
        for (path, will) in self.overlay.in_order() {
            match will {
                Some(p) if p.stat.ephemeral_owner == session.0 => paths.insert(path.to_owned()),
                _ => paths.remove(path),
            };
        }
        for p in &paths {
            let parent = path::split(p).map_or("/", |(parent, _)| parent);
            self.unlink_at_close(tree, parent, p, h.zxid);
        }
        // Without the list every server deletes what it has of the session.
        let listed = self.config.close_session_txn;
        Txn::CloseSession { paths: listed.then(|| paths.into_iter().collect()) }
    }

    fn unlink_at_close(&mut self, tree: &Tree, parent: &str, node: &str, zxid: Zxid) {
        if self.view(tree, parent).is_ok() {
            self.unlink(tree, parent, node, zxid);
        }
    }

    fn unlink(&mut self, tree: &Tree, parent_path: &str, node: impl Path, zxid: Zxid) {
        if let Ok(parent) = self.view(tree, parent_path) {
            let mut stat = parent.stat;
            stat.pzxid = stat.pzxid.max(zxid.0);
            let children = parent.children.saturating_sub(1);
            self.change_stat(tree, parent_path, zxid, stat, children);
        }
        let at = (self.overlay.spot(node.as_ref()), tree.get(node.as_ref()));
        self.record(node, at, Change { zxid, node: None });
    }

    /// The node as it will be.
    #[inline]
    fn view<'p, 't: 'p>(&'p self, tree: &'t Tree, path: &'p str) -> Result<View<'p, 't>, RequestError> {
        let no_node = || RequestError::NoNode(path.to_owned());
        let path = if path.is_empty() { "/" } else { path };
        let spot = self.overlay.spot(path);
        if let Some(change) = self.overlay.at(spot) {
            let p = change.node.as_ref().ok_or_else(no_node)?;
            let (id, stat, children, acl) = (p.id, p.stat, p.children, &p.acl);
            return Ok(View { tree, path, spot, id, stat, children, acl, pending: Some(p), node: None });
        }
        let node = tree.get(path).ok_or_else(no_node)?;
        let (is, children) = (node.contents(), node.num_children());
        let (id, stat, acl) = (Some(node.id()), *is.stat(), is.acl());
        Ok(View { tree, path, spot, id, stat, children, acl, pending: None, node: Some((node, is.data())) })
    }

    fn change_stat(&mut self, tree: &Tree, path: &str, zxid: Zxid, stat: StatPersisted, children: usize) {
        let Ok(view) = self.view(tree, path) else { return };
        let digest = self.digest_of(path, view.data(), &stat);
        let (id, acl, data, at) = (view.id, view.acl.clone(), view.changed_data(), view.at());
        self.put(path, zxid, at, Pending { id, stat, children, acl, data, digest });
    }

    #[inline]
    fn put(&mut self, path: impl Path, zxid: Zxid, at: At<'_>, will: Pending) {
        self.record(path, at, Change { zxid, node: Some(will) });
    }

    /// Takes a change into the overlay and into the digest.
    #[inline]
    fn record(&mut self, path: impl Path, (spot, is): At<'_>, change: Change) {
        let counts = self.config.digest && zk_tree::counts_in_digest(path.as_ref());
        let digest = change.node.as_ref().map_or(0, |p| p.digest);
        let was = match self.overlay.at(spot) {
            None if counts => is.map_or(0, |is| is.digest_at(path.as_ref())),
            _ => 0,
        };
        let old = self.overlay.put(spot, path, change).unwrap_or(was);
        if counts {
            self.digest = self.digest.wrapping_sub(old.into()).wrapping_add(digest.into());
        }
    }

    fn digest_of(&self, path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
        if self.config.digest { zk_tree::node_digest(path, data, stat) } else { 0 }
    }

    fn allow(
        &self,
        view: &View<'_, '_>,
        wanted: Perms,
        who: Asker<'_>,
        path: &str,
    ) -> Result<(), RequestError> {
        if view.acl.is_open() || self.config.policy.allows(view.acl, wanted, who.ids) {
            Ok(())
        } else {
            Err(RequestError::NoAuth(path.to_owned()))
        }
    }

    fn fix_up(&self, path: &str, acl: Option<&[Acl]>, who: Asker<'_>) -> Result<Vec<Acl>, RequestError> {
        let fixed = self.config.policy.fix_up(acl, who.ids);
        fixed.map_err(|_| RequestError::InvalidAcl(path.to_owned()))
    }

    /// Against what is applied, not against what is in flight, as in Java.
    /// ref: ZooKeeperServer.checkQuota; behaviour row 89.
    fn quota(
        &self,
        tree: &Tree,
        path: &str,
        nodes: i64,
        bytes: impl FnOnce() -> i64,
    ) -> Result<(), RequestError> {
        if !self.config.enforce_quota {
            return Ok(());
        }
        let Some(q) = tree.quota_prefix(path) else { return Ok(()) };
        let over = |limit: i64, used: i64| limit > -1 && used > limit;
        // What is used stands in a node that clients may write. Java's numbers wrap.
        let (count, used) = (q.used.count.wrapping_add(nodes), q.used.bytes.wrapping_add(bytes()));
        if over(q.limits.count_hard, count) || over(q.limits.byte_hard, used) {
            return Err(RequestError::QuotaExceeded(q.prefix));
        }
        if over(q.limits.count, count) || over(q.limits.bytes, used) {
            tracing::warn!(prefix = %q.prefix, "soft quota exceeded");
        }
        Ok(())
    }
}

fn len(data: Option<&[u8]>) -> i64 {
    data.map_or(0, |d| i64::try_from(d.len()).expect("data is below the frame limit"))
}

fn valid(p: Option<Arc<str>>) -> Result<Arc<str>, RequestError> {
    // A null path is an invalid one here. ref: PathUtils.validatePath; row 68.
    let p = p.ok_or_else(|| RequestError::BadPath(String::new()))?;
    match path::validate(&p) {
        Ok(()) => Ok(p),
        Err(_) => Err(RequestError::BadPath(p.to_string())),
    }
}

/// ref: PrepRequestProcessor.validatePathForCreate.
fn split(p: &str) -> Result<(&str, &str), RequestError> {
    path::split(p).filter(|_| !p.contains('\0')).ok_or_else(|| RequestError::BadPath(p.to_owned()))
}

/// ref: PrepRequestProcessor.getParentPathAndValidate, ZKDatabase.isSpecialPath.
fn split_for_delete(p: &str) -> Result<(&str, &str), RequestError> {
    if matches!(p, "/" | "/zookeeper" | path::QUOTA | path::CONFIG) {
        return Err(RequestError::BadPath(p.to_owned()));
    }
    split(p)
}

/// ref: PrepRequestProcessor.checkAndIncVersion.
fn next_version(path: &str, found: i32, expected: i32) -> Result<i32, RequestError> {
    if expected != -1 && expected != found {
        return Err(RequestError::BadVersion { path: path.to_owned(), expected, found });
    }
    Ok(found.wrapping_add(1))
}
