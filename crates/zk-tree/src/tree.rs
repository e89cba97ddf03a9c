//! The tree as readers see it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use zk_proto::path::{CONFIG, QUOTA};
use zk_proto::{Acl, SessionId, Stat, StatPersisted, Zxid};

use crate::acl::{AclCache, AclList, OPEN_ID};
use crate::digest::{Recent, counts_in_digest};
use crate::load::Loader;
use crate::owner::{self, OwnerKind};
use crate::quota::{Prefixes, Quota, limits_path, stats_path};
use crate::store::{Contents, ROOT, Store};

/// How a tree behaves; the same for as long as it lives.
#[derive(Debug, Clone, Copy)]
pub struct TreeOptions {
    /// `zookeeper.extendedTypesEnabled`: whether an owner can be a time to live.
    pub extended_types: bool,
    /// `zookeeper.digest.enabled`: whether to keep the digest.
    pub digest: bool,
    /// Key of the index's hash: clients choose paths and must not be able to
    /// make them collide. Nothing that can be seen depends on it.
    pub hash_seed: u64,
}

impl Default for TreeOptions {
    /// The reference's defaults, and a key that tests may use.
    fn default() -> Self {
        TreeOptions { extended_types: false, digest: true, hash_seed: 0 }
    }
}

/// Number of a node within one tree; a removed node's number is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Every how many zxids the digest is noted. ref: DataTree.DIGEST_LOG_INTERVAL.
pub(crate) const DIGEST_LOG_INTERVAL: i64 = 128;
/// How many of these notes are kept. ref: DataTree.DIGEST_LOG_LIMIT.
pub(crate) const DIGEST_LOG_LIMIT: usize = 1024;

/// Transactions after which a state that came from another server must be sound: more than a
/// leader commits while it sends a large tree.
const UNSETTLED_TXNS: u32 = 1_000_000;

/// The data tree.
#[derive(Debug)]
pub struct Tree {
    pub(crate) options: TreeOptions,
    pub(crate) store: Store,
    pub(crate) acls: AclCache,
    pub(crate) last_zxid: Zxid,
    pub(crate) digest: u64,
    pub(crate) recent: Recent,
    pub(crate) digest_log: VecDeque<(Zxid, u64)>,
    pub(crate) digest_mismatches: u64,
    /// What a fuzzy snapshot's digest must be once this zxid is applied; until
    /// then nothing is compared.
    pub(crate) pending_digest: Option<(Zxid, u64)>,
    /// Transactions in which the first matching digest is waited for.
    pub(crate) unsettled: u32,
    pub(crate) data_size: u64,
    /// No set is empty.
    pub(crate) ephemerals: BTreeMap<SessionId, BTreeSet<NodeId>>,
    pub(crate) ephemerals_count: usize,
    pub(crate) containers: BTreeSet<NodeId>,
    pub(crate) ttls: BTreeSet<NodeId>,
    pub(crate) sessions: BTreeMap<SessionId, i32>,
    pub(crate) quotas: Prefixes,
}

impl Tree {
    /// The tree of a new server. ref: DataTree().
    pub fn new(options: TreeOptions) -> Tree {
        let mut loader = Tree::load_start(options);
        let zero = StatPersisted::default();
        let root = loader.node("/", Some(Bytes::new()), OPEN_ID, zero);
        root.expect("the root is the first node");
        loader.finish(Zxid::ZERO)
    }

    /// A tree with nothing in it but a root.
    pub(crate) fn with_root(
        options: TreeOptions,
        acls: AclCache,
        stat: &StatPersisted,
        acl: i64,
        data: Option<&[u8]>,
    ) -> Tree {
        let mut tree = Tree {
            options,
            store: Store::new(options.hash_seed, stat, acl, data),
            acls,
            last_zxid: Zxid::ZERO,
            digest: 0,
            recent: Recent::default(),
            digest_log: VecDeque::new(),
            digest_mismatches: 0,
            pending_digest: None,
            unsettled: 0,
            // Java has the root under two names, and counts both.
            data_size: 1 + data.map_or(0, <[u8]>::len) as u64,
            ephemerals: BTreeMap::new(),
            ephemerals_count: 0,
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            sessions: BTreeMap::new(),
            quotas: Prefixes::default(),
        };
        tree.digest_add(ROOT, "/");
        tree
    }

    /// Starts loading a tree, parents before their children.
    pub fn load_start(options: TreeOptions) -> Loader {
        Loader::new(options)
    }

    /// The node at a path. The empty path is the root's as well.
    pub fn get(&self, path: &str) -> Option<Node<'_>> {
        self.store.find(path).map(|id| self.node(id))
    }

    /// The nodes at many paths, into `found`, in their order. A look-up mostly
    /// waits for memory; here the waits of up to 32 look-ups overlap.
    pub fn get_many<'t>(&'t self, paths: &[&str], found: &mut Vec<Option<Node<'t>>>) {
        for batch in paths.chunks(32) {
            self.store.touch(batch);
            found.extend(batch.iter().map(|path| self.get(path)));
        }
    }

    /// The node with this number, if one has it.
    pub fn by_id(&self, id: NodeId) -> Option<Node<'_>> {
        self.store.has(id).then(|| self.node(id))
    }

    pub(crate) fn node(&self, id: NodeId) -> Node<'_> {
        Node { tree: self, id }
    }

    /// The root.
    pub fn root(&self) -> Node<'_> {
        self.node(ROOT)
    }

    /// The options it was made with.
    pub fn options(&self) -> TreeOptions {
        self.options
    }

    /// The last transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Sets the last zxid without a transaction: a new epoch begins.
    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }

    /// Sum of the nodes' digests; 0 if digests are off.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Digests after every 128th zxid, the last 1024 of them, oldest first.
    pub fn digest_log(&self) -> impl Iterator<Item = (Zxid, u64)> {
        self.digest_log.iter().copied()
    }

    /// How often a transaction's digest was not the tree's.
    pub fn digest_mismatches(&self) -> u64 {
        self.digest_mismatches
    }

    /// Takes the digest that came with a snapshot. It holds for the state after
    /// `zxid`; a fuzzy snapshot is loaded before that, so it is compared when
    /// that transaction is applied, and no other is until then. The snapshot's
    /// own zxid must have been set. ref: DataTree.deserializeZxidDigest.
    pub fn set_pending_digest(&mut self, zxid: Zxid, digest: u64) {
        if !self.options.digest || zxid <= Zxid::ZERO || zxid < self.last_zxid {
            return;
        }
        self.pending_digest = Some((zxid, digest));
        if zxid == self.last_zxid {
            self.compare_pending_digest(zxid);
        }
    }

    /// The state may contain transactions behind its zxid: a leader of Java sends its tree
    /// while it changes. Until a transaction's digest is the tree's no digest is noted and no
    /// difference counted; one that never comes is given up after a million transactions.
    ///
    /// differs: Java counts differences, and shows digests, that mean nothing.
    pub fn expect_later_transactions(&mut self) {
        self.unsettled = UNSETTLED_TXNS;
    }

    /// Number of nodes as Java counts them: the root has two names.
    pub fn node_count(&self) -> usize {
        self.store.len() + 1
    }

    /// Sum of the lengths of paths (in UTF-16 units) and data.
    /// ref: DataTree.approximateDataSize.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// Number of nodes that end with their session.
    pub fn ephemerals_count(&self) -> usize {
        self.ephemerals_count
    }

    /// Number of nodes below a path. ref: DataTree.getAllChildrenNumber.
    pub fn descendants(&self, path: &str) -> Option<usize> {
        let top = self.store.find(path)?;
        if top == ROOT {
            return Some(self.node_count() - 2);
        }
        let mut count = 0;
        let mut open = vec![top];
        while let Some(id) = open.pop() {
            let children = self.store.children(id);
            count += children.len();
            open.extend(children);
        }
        Some(count)
    }

    /// Paths of a session's ephemerals, sorted.
    pub fn ephemerals_of(&self, session: SessionId) -> Vec<String> {
        self.paths(self.ephemerals.get(&session).into_iter().flatten())
    }

    fn paths<'a>(&self, ids: impl Iterator<Item = &'a NodeId>) -> Vec<String> {
        let mut paths: Vec<String> = ids.map(|id| self.node(*id).path()).collect();
        paths.sort_unstable();
        paths
    }

    /// Sessions that own a node.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> {
        self.ephemerals.keys().copied()
    }

    /// The time-out in ms of a session that was created and not closed.
    pub fn session_timeout(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// Sessions that were created and not closed, with their time-outs in ms.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.sessions.iter().map(|(s, t)| (*s, *t))
    }

    /// Nodes that may go: containers that had children and have none, or never
    /// had any for `max_never_used_ms` (0: these stay), and empty nodes whose
    /// time to live has passed since their data was set. Sorted.
    /// ref: ContainerManager.getCandidates.
    pub fn reap_candidates(&self, now_ms: i64, max_never_used_ms: i64) -> Vec<String> {
        let containers = self.containers.iter().filter(|id| {
            let stat = self.store.stat(**id);
            self.store.children(**id).len() == 0
                && (stat.cversion > 0
                    || max_never_used_ms != 0 && now_ms.saturating_sub(stat.mtime) > max_never_used_ms)
        });
        let ttls = self.ttls.iter().filter(|id| {
            let stat = self.store.stat(**id);
            let OwnerKind::Ttl(ttl) = owner::classify(stat.ephemeral_owner, self.options.extended_types)
            else {
                unreachable!("only nodes with a time to live are in the set");
            };
            self.store.children(**id).len() == 0 && ttl != 0 && now_ms.saturating_sub(stat.mtime) > ttl
        });
        self.paths(containers.chain(ttls))
    }

    /// The quota that a path falls under: that of the longest prefix which has one.
    pub fn quota_prefix(&self, path: &str) -> Option<Quota> {
        let prefix = self.quotas.longest(path)?;
        let text = |path: &str| self.get(path).and_then(Node::data);
        Some(Quota::new(prefix, text(&limits_path(prefix)), text(&stats_path(prefix))))
    }

    /// All quotas, in order of their prefixes.
    pub fn quotas(&self) -> impl Iterator<Item = Quota> {
        let text = |path: &str| self.get(path).and_then(Node::data);
        self.quotas
            .iter()
            .map(move |prefix| Quota::new(prefix, text(&limits_path(prefix)), text(&stats_path(prefix))))
    }

    /// The access control list with this id, if a node has it.
    pub fn acl_list(&self, id: i64) -> Option<&AclList> {
        self.acls.get(id)
    }

    /// All lists that have ids, which the open list of null has not.
    pub fn acl_lists(&self) -> impl Iterator<Item = (i64, &AclList)> {
        self.acls.iter()
    }

    /// Whether the tree's digest has a part for the node at this path.
    pub(crate) fn is_digested(&self, path: &str) -> bool {
        self.options.digest && counts_in_digest(path)
    }

    pub(crate) fn digest_add(&mut self, id: NodeId, path: &str) {
        if self.is_digested(path) {
            let part = self.store.contents(id).digest(path);
            self.digest = self.digest.wrapping_add(part.into());
        }
    }

    /// Before the node is removed.
    pub(crate) fn digest_sub(&mut self, id: NodeId, path: &str) {
        if self.is_digested(path) {
            let part = self.digest_part_at(id, path);
            self.digest = self.digest.wrapping_sub(part.into());
            self.recent.forget(id);
        }
    }

    fn digest_part_at(&self, id: NodeId, path: &str) -> u32 {
        self.recent.get(id).unwrap_or_else(|| self.store.contents(id).digest(path))
    }

    /// The node's digest was `old` and is `new`.
    pub(crate) fn digest_change(&mut self, id: NodeId, old: u32, new: u32) {
        self.digest = self.digest.wrapping_sub(old.into()).wrapping_add(new.into());
        self.recent.put(id, new);
    }

    /// What clients see of a node. Stored is the number of children ever created, shown is the number of
    /// creations and deletions; containers and times to live have no owner to show. ref: DataNode.copyStat.
    pub(crate) fn shown(&self, s: &StatPersisted, data: Option<&[u8]>, children: usize) -> Stat {
        let children = children as i32;
        let owner = match owner::classify(s.ephemeral_owner, self.options.extended_types) {
            OwnerKind::Session(session) => session.0,
            _ => 0,
        };
        Stat {
            czxid: s.czxid,
            mzxid: s.mzxid,
            ctime: s.ctime,
            mtime: s.mtime,
            version: s.version,
            cversion: s.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: s.aversion,
            ephemeral_owner: owner,
            data_length: data.map_or(0, |d| d.len() as i32),
            num_children: children,
            pzxid: s.pzxid,
        }
    }

    /// Enters a node into the indexes by owner.
    pub(crate) fn owner_add(&mut self, id: NodeId, owner: i64) {
        match owner::classify(owner, self.options.extended_types) {
            OwnerKind::Persistent => {}
            OwnerKind::Container => assert!(self.containers.insert(id), "a new node is in no index"),
            OwnerKind::Ttl(_) => assert!(self.ttls.insert(id), "a new node is in no index"),
            OwnerKind::Session(s) => {
                assert!(self.ephemerals.entry(s).or_default().insert(id), "a new node is in no index");
                self.ephemerals_count += 1;
            }
        }
    }

    /// Takes it out again.
    pub(crate) fn owner_remove(&mut self, id: NodeId, owner: i64) {
        let was_there = match owner::classify(owner, self.options.extended_types) {
            OwnerKind::Persistent => return,
            OwnerKind::Container => self.containers.remove(&id),
            OwnerKind::Ttl(_) => self.ttls.remove(&id),
            OwnerKind::Session(s) => {
                let Some(set) = self.ephemerals.get_mut(&s) else {
                    panic!("an ephemeral is in its session's set")
                };
                let was_there = set.remove(&id);
                if set.is_empty() {
                    self.ephemerals.remove(&s);
                }
                self.ephemerals_count -= 1;
                was_there
            }
        };
        assert!(was_there, "a node is in the index of its owner");
    }

    /// Adds the nodes that every tree has, with a digest and sizes to match.
    pub(crate) fn add_system_nodes(&mut self) {
        for path in ["/zookeeper", QUOTA, CONFIG] {
            if self.store.find(path).is_some() {
                continue;
            }
            let (stat, list) = if path == CONFIG {
                // The constructor sets this list with version -1.
                (StatPersisted { aversion: -1, ..Default::default() }, Some(Acl::read_only()))
            } else {
                (StatPersisted::default(), None)
            };
            let (acl, _) = self.acls.take(list.as_deref());
            let (parent, name) = zk_proto::path::split(path).expect("these paths have slashes");
            let parent = self.store.find(parent).expect("parents come first");
            self.place(path, parent, name, &stat, acl, Some(b""));
        }
    }

    /// Puts a node below its parent and into all indexes. Its list's use is
    /// counted already.
    pub(crate) fn place(
        &mut self,
        path: &str,
        parent: NodeId,
        name: &str,
        stat: &StatPersisted,
        acl: i64,
        data: Option<&[u8]>,
    ) -> NodeId {
        let id = self.enter(path, parent, name, stat, acl, data);
        self.digest_add(id, path);
        id
    }

    /// The same without its digest.
    pub(crate) fn enter(
        &mut self,
        path: &str,
        parent: NodeId,
        name: &str,
        stat: &StatPersisted,
        acl: i64,
        data: Option<&[u8]>,
    ) -> NodeId {
        let id = self.store.insert(path, parent, name, stat, acl, data);
        self.owner_add(id, stat.ephemeral_owner);
        self.data_size += utf16_len(path) + data.map_or(0, <[u8]>::len) as u64;
        id
    }
}

/// Java's length of a text.
pub(crate) fn utf16_len(text: &str) -> u64 {
    if text.is_ascii() { text.len() as u64 } else { text.encode_utf16().count() as u64 }
}

/// What a node has besides its place in the tree.
#[derive(Clone, Copy, Debug)]
pub struct NodeContents<'t> {
    tree: &'t Tree,
    contents: Contents<'t>,
}

impl<'t> NodeContents<'t> {
    /// Its numbers.
    pub fn stat(&self) -> &StatPersisted {
        &self.contents.stat
    }

    /// Its data; null differs from empty.
    pub fn data(&self) -> Option<&'t [u8]> {
        self.contents.data
    }

    /// Its access control list.
    pub fn acl(&self) -> &'t AclList {
        self.tree.acls.get(self.contents.acl).expect("lists of nodes are in the cache")
    }
}

/// A node of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t> {
    tree: &'t Tree,
    id: NodeId,
}

impl<'t> Node<'t> {
    /// Its number.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Its data; null differs from empty.
    pub fn data(self) -> Option<&'t [u8]> {
        self.tree.store.data(self.id)
    }

    /// Its data, shared if it is large and copied if it is small.
    pub fn data_bytes(self) -> Option<Bytes> {
        self.tree.store.data_bytes(self.id)
    }

    /// What clients see. ref: DataNode.copyStat.
    pub fn stat(self) -> Stat {
        let c = self.tree.store.contents(self.id);
        self.tree.shown(&c.stat, c.data, self.num_children())
    }

    /// What it has besides its place, read at once.
    pub fn contents(self) -> NodeContents<'t> {
        NodeContents { tree: self.tree, contents: self.tree.store.contents(self.id) }
    }

    /// What is kept of it.
    pub fn persisted(self) -> StatPersisted {
        self.tree.store.stat(self.id)
    }

    /// Its access control list.
    pub fn acl(self) -> &'t AclList {
        self.tree.acls.get(self.acl_id()).expect("lists of nodes are in the cache")
    }

    /// Id of its list.
    pub fn acl_id(self) -> i64 {
        self.tree.store.acl(self.id)
    }

    /// How many children it has.
    pub fn num_children(self) -> usize {
        self.tree.store.children(self.id).len()
    }

    /// Names of its children, in no particular order.
    pub fn children(self) -> impl ExactSizeIterator<Item = &'t str> {
        self.tree.store.children(self.id).map(move |id| self.tree.store.name(id))
    }

    /// Its children, in no particular order.
    pub fn child_nodes(self) -> impl ExactSizeIterator<Item = Node<'t>> {
        self.tree.store.children(self.id).map(move |id| self.tree.node(id))
    }

    /// The node above it; the root has none.
    pub fn parent(self) -> Option<Node<'t>> {
        self.tree.store.parent(self.id).map(|id| self.tree.node(id))
    }

    /// The last part of its path; the root's is empty.
    pub fn name(self) -> &'t str {
        self.tree.store.name(self.id)
    }

    /// Its path, put together from the names above it.
    pub fn path(self) -> String {
        let store = &self.tree.store;
        let mut chain = Vec::new();
        let mut at = self.id;
        while let Some(parent) = store.parent(at) {
            chain.push(store.name(at));
            at = parent;
        }
        if chain.is_empty() {
            return "/".to_owned();
        }
        let mut path = String::with_capacity(chain.iter().map(|n| n.len() + 1).sum());
        for name in chain.into_iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    /// Its part of the tree's digest, were it to count. ref: DigestCalculator.
    pub fn digest(self) -> u32 {
        self.tree.store.contents(self.id).digest(&self.path())
    }

    /// The same where its path is known: not summed up if it changed lately.
    pub fn digest_at(self, path: &str) -> u32 {
        self.tree.digest_part_at(self.id, path)
    }

    /// Whether it ends with a session; such a node has no children.
    pub fn is_ephemeral(self) -> bool {
        let owner = self.persisted().ephemeral_owner;
        matches!(owner::classify(owner, self.tree.options.extended_types), OwnerKind::Session(_))
    }
}
