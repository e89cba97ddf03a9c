//! Tests of the tree as a whole: against captured logs, against a simple
//! model, and replayed over states that are ahead.

mod captured;
mod model;
mod quotas;
mod random;
mod watches;

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::client::EventType;
use zk_proto::txn::{CreateTxn, LogEntry, Txn, TxnDigest, TxnHeader};
use zk_proto::{Acl, OpCode, SessionId, StatPersisted, Xid, Zxid};

use crate::{Effects, Loader, Node, Tree, TreeOptions, TxnResult};

/// All that is kept of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Full {
    pub data: Option<Vec<u8>>,
    pub acl: Vec<Acl>,
    pub stat: StatPersisted,
    pub children: BTreeSet<String>,
}

pub(crate) type Dump = BTreeMap<String, Full>;

/// The whole tree, found by walking from the root.
pub(crate) fn dump(tree: &Tree) -> Dump {
    tree.store.check();
    fn walk(node: Node<'_>, path: String, out: &mut Dump) {
        assert_eq!(node.path(), path);
        let tree_stat = node.stat();
        assert_eq!(tree_stat.num_children as usize, node.num_children());
        for child in node.child_nodes() {
            assert_eq!(child.parent().map(Node::id), Some(node.id()));
            walk(child, format!("{}/{}", if path == "/" { "" } else { &path }, child.name()), out);
        }
        let full = Full {
            data: node.data().map(<[u8]>::to_vec),
            acl: node.acl().to_vec(),
            stat: node.persisted(),
            children: node.children().map(str::to_owned).collect(),
        };
        assert_eq!(full.children.len(), node.num_children());
        assert_eq!(node.data_bytes().as_deref(), node.data());
        assert!(out.insert(path, full).is_none());
    }
    let mut out = Dump::new();
    walk(tree.root(), "/".to_owned(), &mut out);
    for path in out.keys() {
        assert_eq!(tree.get(path).expect("it is in the index").path(), *path);
    }
    let missing = out.keys().map(|p| format!("{p}x"));
    let paths: Vec<String> = out.keys().cloned().chain(missing).collect();
    let mut found = Vec::new();
    tree.get_many(&paths.iter().map(String::as_str).collect::<Vec<_>>(), &mut found);
    let one_by_one: Vec<_> = paths.iter().map(|p| tree.get(p).map(Node::id)).collect();
    assert_eq!(found.into_iter().map(|n| n.map(Node::id)).collect::<Vec<_>>(), one_by_one);
    out
}

/// The digest from scratch.
pub(crate) fn digest_of(dump: &Dump) -> u64 {
    dump.iter()
        .filter(|(path, _)| crate::counts_in_digest(path))
        .map(|(path, n)| u64::from(crate::node_digest(path, n.data.as_deref(), &n.stat)))
        .fold(0, u64::wrapping_add)
}

/// Checks what can be recomputed from the nodes.
pub(crate) fn check_sums(tree: &Tree, dump: &Dump) {
    assert_eq!(tree.node_count(), dump.len() + 1);
    if tree.options().digest {
        assert_eq!(tree.digest(), digest_of(dump));
    }
    let size: usize =
        dump.iter().map(|(p, n)| p.encode_utf16().count() + n.data.as_ref().map_or(0, Vec::len)).sum();
    assert_eq!(tree.data_size(), size as u64);
    let mut ephemerals: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
    for (path, n) in dump {
        let node = tree.get(path).expect("dumped nodes exist");
        assert_eq!(node.digest(), crate::node_digest(path, n.data.as_deref(), &n.stat));
        if let crate::owner::OwnerKind::Session(s) =
            crate::owner::classify(n.stat.ephemeral_owner, tree.options().extended_types)
        {
            assert!(node.is_ephemeral());
            ephemerals.entry(s).or_default().push(path.clone());
        }
        let below = dump.keys().filter(|p| p.starts_with(&format!("{path}/"))).count();
        if path != "/" {
            assert_eq!(tree.descendants(path), Some(below), "{path}");
        }
    }
    assert_eq!(tree.descendants("/"), Some(dump.len() - 1));
    assert_eq!(tree.ephemerals_count(), ephemerals.values().map(Vec::len).sum::<usize>());
    assert_eq!(
        tree.sessions_with_ephemerals().collect::<Vec<_>>(),
        ephemerals.keys().copied().collect::<Vec<_>>()
    );
    for (session, paths) in ephemerals {
        assert_eq!(tree.ephemerals_of(session), paths);
    }
}

fn loader_for(tree: &Tree) -> Loader {
    let mut loader = Tree::load_start(TreeOptions { hash_seed: 99, ..tree.options() });
    for (id, list) in tree.acl_lists() {
        loader.define_acl(id, list.to_vec());
    }
    for (session, timeout) in tree.sessions() {
        loader.session(session, timeout);
    }
    loader
}

/// Writes a tree out and reads it in again, in both ways.
pub(crate) fn round_trip(tree: &Tree) -> Tree {
    let mut loader = loader_for(tree);
    let mut open = vec![tree.root()];
    let mut nodes = BTreeMap::new();
    while let Some(node) = open.pop() {
        loader
            .node(&node.path(), node.data_bytes(), node.acl_id(), node.persisted())
            .expect("parents come first");
        nodes.insert(node.path(), node);
        open.extend(node.child_nodes());
    }
    let loaded = loader.finish(tree.last_zxid());
    let mut loader = loader_for(tree);
    for (place, (path, node)) in nodes.iter().enumerate() {
        let (data, stat) = (node.data(), node.persisted());
        let digest = if tree.options().digest { crate::digest_part(path, data, &stat) } else { 0 };
        loader.ascending(path, data, node.acl_id(), &stat, digest).expect("parents come first");
        // Too few, then too many.
        loader.reserve(if place == 0 { 100 } else { 10_000 });
    }
    let ascending = loader.finish(tree.last_zxid());
    assert_eq!(ascending.digest(), loaded.digest());
    assert_eq!(ascending.data_size(), loaded.data_size());
    assert_eq!(dump(&ascending), dump(&loaded));
    loaded
}

#[test]
fn ascending_paths_ascend() {
    let mut loader = Tree::load_start(TreeOptions::default());
    let stat = StatPersisted::default();
    let mut next = |path: &str| loader.ascending(path, None, -1, &stat, 0);
    use crate::LoadError::*;
    assert_eq!(next("/a"), Err(NoParent("/a".to_owned())));
    let mut loader = Tree::load_start(TreeOptions::default());
    let mut next = |path: &str| loader.ascending(path, None, -1, &stat, 0);
    for path in ["/", "/a", "/a-b", "/a-b/c", "/a/b"] {
        next(path).unwrap();
    }
    for path in ["/a/b", "/a/a", "/"] {
        assert_eq!(next(path), Err(Duplicate(path.to_owned())));
    }
    assert_eq!(next("/b//c"), Err(BadPath("/b//c".to_owned())));
    assert_eq!(next("/c/d"), Err(NoParent("/c/d".to_owned())));
    assert_eq!(loader.finish(Zxid(1)).get("/a/b").unwrap().path(), "/a/b");
}

/// A tree with a few words for writing transactions.
pub(crate) struct Script {
    pub tree: Tree,
    pub fx: Effects,
    zxid: i64,
}

impl Script {
    pub fn new() -> Script {
        Script {
            tree: Tree::new(TreeOptions { extended_types: true, ..Default::default() }),
            fx: Effects::default(),
            zxid: 0,
        }
    }

    pub fn run(&mut self, session: i64, op: OpCode, txn: Txn) -> TxnResult {
        self.zxid += 1;
        let header = TxnHeader {
            session: SessionId(session),
            cxid: Xid(0),
            zxid: Zxid(self.zxid),
            time: 1000 * self.zxid,
            op,
        };
        self.tree.apply(&LogEntry { header, txn, digest: None }, &mut self.fx)
    }

    pub fn create_as(&mut self, session: i64, op: OpCode, path: &str, data: &str) -> TxnResult {
        let parent = zk_proto::path::split(path).expect("has a slash").0;
        let parent_cversion = self.tree.get(parent).map_or(0, |n| n.persisted().cversion + 1);
        let txn = Txn::Create(CreateTxn {
            path: path.into(),
            data: Some(data.to_owned().into()),
            acl: None,
            ephemeral: session != 0,
            parent_cversion,
            ttl: if op == OpCode::CreateTtl { 5000 } else { 0 },
        });
        self.run(session, op, txn)
    }

    pub fn create(&mut self, path: &str, data: &str) -> TxnResult {
        self.create_as(0, OpCode::Create, path, data)
    }

    pub fn delete(&mut self, path: &str) -> TxnResult {
        self.run(0, OpCode::Delete, Txn::Delete { path: path.into() })
    }

    pub fn set(&mut self, path: &str, data: &str) -> TxnResult {
        let version = self.tree.get(path).map_or(0, |n| n.stat().version) + 1;
        let data = Some(data.to_owned().into());
        self.run(0, OpCode::SetData, Txn::SetData { path: path.into(), data, version })
    }

    pub fn close(&mut self, session: i64, paths: Option<&[&str]>) -> TxnResult {
        let paths = paths.map(|p| p.iter().map(|p| (*p).to_owned()).collect());
        self.run(session, OpCode::CloseSession, Txn::CloseSession { paths })
    }

    pub fn data(&self, path: &str) -> String {
        String::from_utf8_lossy(self.tree.get(path).and_then(Node::data).unwrap_or(b"-")).into_owned()
    }

    /// What fired since the last call.
    pub fn fired(&mut self) -> Vec<(EventType, String)> {
        let out = self.fx.fired.iter().map(|f| (f.event, f.path.to_string())).collect();
        self.fx.clear();
        out
    }
}

#[test]
fn the_pristine_tree() {
    let tree = Tree::new(TreeOptions::default());
    assert_eq!(tree.digest(), 0x51C6_D660, "datatree.md 13");
    assert_eq!(tree.node_count(), 5);
    assert_eq!(tree.data_size(), 44, "zk_approximate_data_size of a new Java server");
    let root = tree.get("").unwrap();
    assert_eq!((root.stat().cversion, root.stat().num_children), (-1, 1));
    let config = tree.get("/zookeeper/config").unwrap();
    assert_eq!((config.stat().aversion, config.acl_id()), (-1, 1));
    assert_eq!(config.acl()[..], Acl::read_only());
    assert!(crate::is_open(tree.get("/zookeeper/quota").unwrap().acl()));
    for none in
        ["/a", "a", "//", "/zookeeper/", "/zookeeper//config", "zookeeper", "/config", "/zookeeper/config/x"]
    {
        assert!(tree.get(none).is_none(), "{none}");
    }
    check_sums(&tree, &dump(&tree));
    assert_eq!(dump(&round_trip(&tree)), dump(&tree));
}

#[test]
fn the_writer_and_readers_are_on_different_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tree>();
    shared::<crate::watch::Interest>();
    fn sent<T: Send>() {}
    sent::<crate::watch::WatchTable>();
    sent::<Effects>();
}

#[test]
fn what_clients_see_of_a_stat() {
    let mut s = Script::new();
    for path in ["/p", "/p/a", "/p/b", "/p/c"] {
        s.create(path, "");
    }
    assert_eq!(s.tree.get("/p").unwrap().stat().cversion, 3);
    s.delete("/p/b");
    let stat = s.tree.get("/p").unwrap().stat();
    assert_eq!((stat.cversion, stat.num_children, stat.pzxid), (4, 2, 5));
    s.create_as(0, OpCode::CreateContainer, "/c", "");
    s.create_as(0, OpCode::CreateTtl, "/t", "x");
    s.create_as(7, OpCode::Create, "/e", "");
    let owner = |path| s.tree.get(path).unwrap().stat().ephemeral_owner;
    assert_eq!((owner("/c"), owner("/t"), owner("/e")), (0, 0, 7));
    assert_eq!(s.tree.get("/t").unwrap().persisted().ephemeral_owner, crate::owner::ttl(5000));
}

#[test]
fn events_of_transactions() {
    use EventType::*;
    let mut s = Script::new();
    s.create("/a", "");
    assert_eq!(s.fired(), [(NodeCreated, "/a".to_owned()), (NodeChildrenChanged, "/".to_owned())]);
    s.create_as(5, OpCode::Create, "/a/e", "");
    s.create_as(5, OpCode::Create, "/a/f", "");
    s.fired();
    s.set("/", "x");
    assert_eq!(s.fired(), [(NodeDataChanged, "/".to_owned())]);
    s.run(0, OpCode::SetAcl, Txn::SetAcl { path: "/a".into(), acl: Some(Acl::read_only()), version: 1 });
    assert_eq!(s.fired(), []);
    // The listed ones in their order, then those that the list forgot.
    s.close(5, Some(&["/a/f", "/gone"]));
    assert_eq!(
        s.fx.fired.iter().map(|f| f.acl.is_open()).collect::<Vec<_>>(),
        [true, false, true, false],
        "the parent's list counts for its children"
    );
    assert_eq!(
        s.fired(),
        [
            (NodeDeleted, "/a/f".to_owned()),
            (NodeChildrenChanged, "/a".to_owned()),
            (NodeDeleted, "/a/e".to_owned()),
            (NodeChildrenChanged, "/a".to_owned())
        ]
    );
    assert_eq!(s.tree.ephemerals_count(), 0);
}

#[test]
fn sessions_are_kept_until_closed() {
    let mut s = Script::new();
    s.run(9, OpCode::CreateSession, Txn::CreateSession { timeout: 6000 });
    s.create_as(9, OpCode::Create2, "/e", "");
    assert_eq!(s.tree.session_timeout(SessionId(9)), Some(6000));
    assert_eq!(s.fx.touched.sessions, BTreeSet::from([SessionId(9)]));
    s.fx.clear();
    // An old server does not list the paths.
    s.close(9, None);
    assert_eq!(s.fx.touched.sessions, BTreeSet::from([SessionId(9)]));
    assert_eq!(s.tree.sessions().count(), 0);
    assert!(s.tree.get("/e").is_none());
}

#[test]
fn lists_are_reported_when_they_come_and_go() {
    let mut s = Script::new();
    s.create("/a", "");
    let set = |s: &mut Script, acl| {
        s.fx.clear();
        s.run(0, OpCode::SetAcl, Txn::SetAcl { path: "/a".into(), acl, version: 1 });
        s.fx.touched.acls.iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(set(&mut s, Some(Acl::open())), [2]);
    assert_eq!(set(&mut s, Some(Acl::open())), [0_i64; 0]);
    assert_eq!(set(&mut s, Some(Acl::read_only())), [2], "1 is that of the config");
    assert_eq!(set(&mut s, None), [0_i64; 0]);
    assert_eq!(s.tree.acl_lists().map(|(id, _)| id).collect::<Vec<_>>(), [1]);
}

#[test]
fn reaping() {
    let mut s = Script::new();
    s.create_as(0, OpCode::CreateContainer, "/used", ""); // at 1000
    s.create("/used/x", "");
    s.create_as(0, OpCode::CreateContainer, "/unused", ""); // at 3000
    s.create_as(0, OpCode::CreateTtl, "/ttl", ""); // at 4000, for 5000
    s.create_as(0, OpCode::CreateTtl, "/parent", ""); // at 5000
    s.create("/parent/x", "");
    assert_eq!(s.tree.reap_candidates(9000, 0), [""; 0]);
    assert_eq!(s.tree.reap_candidates(9001, 0), ["/ttl"]);
    assert_eq!(s.tree.reap_candidates(9001, 6001), ["/ttl"]);
    assert_eq!(s.tree.reap_candidates(9001, 6000), ["/ttl", "/unused"]);
    s.delete("/used/x"); // at 7000
    s.set("/ttl", "renewed"); // at 8000
    s.delete("/parent/x");
    assert_eq!(s.tree.reap_candidates(9001, 0), ["/used"]);
    assert_eq!(s.tree.reap_candidates(10_001, 0), ["/parent", "/used"]);
    s.run(0, OpCode::DeleteContainer, Txn::Delete { path: "/used".into() });
    assert_eq!(s.tree.reap_candidates(10_001, 0), ["/parent"]);
}

#[test]
fn paths_that_no_leader_lets_through_change_nothing() {
    let mut s = Script::new();
    s.create("/a", "");
    let before = dump(&s.tree);
    for path in ["/", "", "a", "/a/", "//a", "//b", "/a//b", "/x/y"] {
        let create = CreateTxn {
            path: path.into(),
            data: None,
            acl: None,
            ephemeral: false,
            parent_cversion: 0,
            ttl: 0,
        };
        assert_ne!(s.run(0, OpCode::Create, Txn::Create(create)).err, zk_proto::ErrorCode::Ok, "{path:?}");
        assert_ne!(s.delete(path).err, zk_proto::ErrorCode::Ok, "{path:?}");
    }
    assert_eq!(dump(&s.tree), before);
    // A missing node's parent is marked all the same.
    s.delete("/a/x");
    assert_eq!(s.tree.get("/a").unwrap().persisted().pzxid, s.tree.last_zxid().0);
}

#[test]
fn a_missing_list_closes_the_node() {
    let mut loader = Tree::load_start(TreeOptions::default());
    let stat = StatPersisted::default();
    loader.define_acl(4, Acl::open());
    loader.define_acl(5, Acl::read_only());
    loader.node("", None, 4, stat).unwrap();
    loader.node("/a", None, 17, stat).unwrap();
    loader.node("/b", None, 17, stat).unwrap();
    use crate::LoadError::*;
    assert_eq!(loader.node("/c/d", None, -1, stat), Err(NoParent("/c/d".to_owned())));
    assert_eq!(loader.node("/a", None, -1, stat), Err(Duplicate("/a".to_owned())));
    assert_eq!(loader.node("/", None, -1, stat), Err(Duplicate("/".to_owned())));
    for bad in ["a", "/a/", "//a", "/b//a"] {
        assert_eq!(loader.node(bad, None, -1, stat), Err(BadPath(bad.to_owned())));
    }
    let tree = loader.finish(Zxid(8));
    for path in ["/a", "/b"] {
        let list = tree.get(path).unwrap().acl();
        assert!(!list.is_open() && list.iter().all(|a| a.perms.0 == 0) && !list.is_empty());
    }
    assert_eq!(tree.acl_lists().map(|(id, _)| id).collect::<Vec<_>>(), [4, 5, 17]);
    assert!(tree.get("/zookeeper/config").is_some());
    assert_eq!(tree.last_zxid(), Zxid(8));
    check_sums(&tree, &dump(&tree));
}

#[test]
fn a_snapshots_digest_is_compared_at_its_zxid() {
    let run = |at: i64, digest: fn(&Tree) -> u64| {
        let mut reference = Script::new();
        for path in ["/a", "/b", "/c"] {
            reference.create(path, "");
            if reference.zxid == at {
                break;
            }
        }
        let mut s = Script::new();
        s.tree.set_pending_digest(Zxid(at), digest(&reference.tree));
        for path in ["/a", "/b", "/c"] {
            s.create(path, "");
        }
        s.tree.digest_mismatches()
    };
    assert_eq!(run(2, Tree::digest), 0);
    assert_eq!(run(2, |_| 1), 1);
    assert_eq!(run(0, |_| 1), 0, "an idle server writes an empty digest");
    assert_eq!(run(9, |_| 1), 0);
    let mut s = Script::new();
    s.tree.set_last_zxid(Zxid(5));
    s.tree.set_pending_digest(Zxid(4), 1);
    assert_eq!(s.tree.digest_mismatches(), 0, "older than the snapshot's name: not comparable");
    s.tree.set_pending_digest(Zxid(5), 1);
    assert_eq!(s.tree.digest_mismatches(), 1, "not fuzzy: compared at once");
}

#[test]
fn digests_are_noted_every_128_zxids() {
    let mut s = Script::new();
    for _ in 0..1100 * 128 {
        s.run(0, OpCode::Error, Txn::Error { err: -101 });
    }
    let log: Vec<_> = s.tree.digest_log().collect();
    assert_eq!(log.len(), 1024);
    assert_eq!(log.last(), Some(&(Zxid(1100 * 128), 0x51C6_D660)));
    assert_eq!(log[0].0, Zxid(77 * 128));
}

#[test]
fn the_config_is_outside_the_digest() {
    let mut s = Script::new();
    s.tree.write_config("server.1=x".into(), 0x1_0000_0000, 77, &mut s.fx);
    let stat = s.tree.get("/zookeeper/config").unwrap().stat();
    assert_eq!((stat.version, stat.mzxid, stat.mtime, stat.czxid), (-1, 0x1_0000_0000, 77, 0));
    assert_eq!(s.tree.digest(), 0x51C6_D660);
    check_sums(&s.tree, &dump(&s.tree));
}

/// A snapshot was taken while a session ended, whose paths an old server did
/// not list, and another session made the node again: the node is that of the
/// second, its parent is older than both. ref: DataTree.processTxn.
#[test]
fn a_parent_older_than_its_child_catches_up() {
    for op in [OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl] {
        let stat = |cversion, pzxid, owner| StatPersisted {
            cversion,
            pzxid,
            ephemeral_owner: owner,
            ..Default::default()
        };
        let mut loader = Tree::load_start(TreeOptions::default());
        loader.node("/", None, -1, stat(1, 1, 0)).unwrap();
        loader.node("/e", None, -1, stat(0, 3, 2)).unwrap();
        let mut s = Script { tree: loader.finish(Zxid(1)), zxid: 1, ..Script::new() };
        s.close(1, None);
        s.fx.clear();
        let txn = CreateTxn {
            path: "/e".into(),
            data: None,
            acl: Some(Acl::read_only()),
            ephemeral: true,
            parent_cversion: 2,
            ttl: 5,
        };
        assert_eq!(s.run(2, op, Txn::Create(txn)).err, zk_proto::ErrorCode::NodeExists);
        let root = s.tree.root().persisted();
        assert_eq!((root.cversion, root.pzxid), (2, 3), "{op:?}");
        assert_eq!(s.tree.get("/e").unwrap().acl()[..], Acl::read_only());
        let touched = &s.fx.touched;
        assert!(touched.len() == 2 && touched.has(&s.tree, "/") && touched.has(&s.tree, "/e"));
        assert!(s.fx.fired.is_empty());
        check_sums(&s.tree, &dump(&s.tree));
    }
}

#[test]
fn digests_count_from_the_first_that_matches() {
    let mut tree = Tree::new(TreeOptions::default());
    tree.expect_later_transactions();
    let mut effects = Effects::default();
    let mut apply = |zxid: i64, off: u64| {
        let header = TxnHeader {
            session: SessionId(zxid),
            cxid: Xid(0),
            zxid: Zxid(zxid),
            time: 0,
            op: OpCode::CreateSession,
        };
        let digest = TxnDigest { version: TxnDigest::VERSION, tree: tree.digest() + off };
        let entry = LogEntry { header, txn: Txn::CreateSession { timeout: 1 }, digest: Some(digest) };
        tree.apply(&entry, &mut effects);
        (tree.digest_mismatches(), tree.digest_log().count())
    };
    assert_eq!(apply(128, 1), (0, 0));
    assert_eq!(apply(256, 0), (0, 1));
    assert_eq!(apply(384, 1), (1, 2));
}
