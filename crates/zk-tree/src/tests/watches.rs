//! Watch tables against one set of facts.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use zk_proto::client::{EventType, WatcherKind};
use zk_proto::txn::{CreateTxn, LogEntry, Txn, TxnHeader};
use zk_proto::{Acl, OpCode, SessionId, Xid, Zxid};

use crate::watch::{Interest, Place, WatchCounts, WatchKind, WatchTable, Watched};
use crate::{AclList, Effects, Fired, NodeId, Tree, TreeOptions};

/// An id that no watch has.
const OTHER: NodeId = NodeId(99);

fn fired(event: EventType, path: &str) -> Fired {
    fired_at(event, path, OTHER)
}

fn fired_at(event: EventType, path: &str, node: NodeId) -> Fired {
    Fired { event, path: path.into(), node, zxid: Zxid(1), acl: AclList::new(Acl::open()) }
}

fn told(table: &mut WatchTable, event: EventType, path: &str) -> Vec<u32> {
    told_of(table, &fired(event, path))
}

fn told_of(table: &mut WatchTable, fired: &Fired) -> Vec<u32> {
    let mut out = Vec::new();
    table.fire(fired, |conn| out.push(conn));
    out
}

/// A path without a node.
fn at(path: &str) -> Place<'_> {
    Place { path, node: None }
}

#[test]
fn one_connection_is_told_once() {
    use EventType::*;
    let mut t = WatchTable::new(Arc::default());
    assert!(t.add(1, WatchKind::Data, at("/a")));
    assert!(t.add(1, WatchKind::Child, at("/a")));
    assert!(!t.add(1, WatchKind::Child, at("/a")));
    t.add(2, WatchKind::Persistent, at("/a"));
    t.add(2, WatchKind::Recursive, at("/a"));
    t.add(2, WatchKind::Recursive, at("/"));
    t.add(3, WatchKind::Recursive, at("/"));
    assert_eq!(told(&mut t, NodeDeleted, "/a"), [1, 2, 3]);
    assert_eq!(told(&mut t, NodeDeleted, "/a"), [2, 3]);
    assert_eq!(told(&mut t, NodeChildrenChanged, "/a"), [2]);
    assert_eq!(told(&mut t, NodeChildrenChanged, "/"), [0_u32; 0]);
    assert_eq!(told(&mut t, NodeCreated, "/x/y"), [2, 3]);
    assert_eq!(told(&mut t, NodeDataChanged, "/"), [2, 3]);
}

#[test]
fn removing_a_kind_leaves_the_others() {
    for node in [None, Some(NodeId(5))] {
        let mut t = WatchTable::new(Arc::default());
        let a = Place { path: "/a", node };
        for kind in [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::Recursive] {
            t.add(1, kind, a);
        }
        assert_eq!(t.total(), 2, "one in each table, whatever their modes");
        assert!(t.remove(1, WatcherKind::Data, a));
        assert!(!t.remove(1, WatcherKind::Data, a), "a persistent one is no data watch");
        assert!(!t.contains(1, WatcherKind::Data, a));
        assert!(t.contains(1, WatcherKind::Persistent, a));
        assert!(t.remove(1, WatcherKind::PersistentRecursive, a));
        assert_eq!(told(&mut t, EventType::NodeDataChanged, "/a"), [1]);
        assert!(t.remove(1, WatcherKind::Any, a));
        assert!(!t.contains(1, WatcherKind::Any, a));
        assert!(!t.remove(2, WatcherKind::Any, a));
    }
}

#[test]
fn dumps_are_of_the_data_table() {
    let tree = Tree::new(TreeOptions::default());
    let root = Place::new("/", Some(tree.root()));
    let mut t = WatchTable::new(Arc::default());
    t.add(1, WatchKind::Child, at("/c"));
    t.add(1, WatchKind::Data, root);
    t.add(2, WatchKind::Recursive, root);
    t.add(3, WatchKind::Child, root);
    t.add(3, WatchKind::Data, Place::new("", Some(tree.root())));
    let counts = |connections, watches| WatchCounts { connections, watches };
    assert_eq!((t.data_counts(), t.total()), (counts(3, 3), 5));
    let by_path: Vec<_> = t.by_path(&tree).into_iter().collect();
    assert_eq!(by_path, [(String::new(), [3].into()), ("/".to_owned(), [1, 2].into())]);
    let (other, root_id) = (Watched::Path("".into()), Watched::Node(tree.root().id()));
    assert_eq!(t.watched(&tree), [root_id, other].into(), "the root's other name is a path");
    assert_eq!(told_of(&mut t, &fired_at(EventType::NodeDataChanged, "/", tree.root().id())), [1, 2]);
    assert_eq!((t.data_counts(), t.total()), (counts(3, 2), 4), "Java keeps the connection");
    t.drop_conn(1);
    t.drop_conn(9);
    assert_eq!((t.data_counts(), t.total()), (counts(2, 2), 3));
    t.add(1, WatchKind::Data, Place { path: "/gone", node: Some(OTHER) });
    assert!(!t.by_path(&tree).contains_key("/gone"), "a node of a tree that is not there any more");
}

#[test]
fn a_watch_counted_ahead_is_counted_once() {
    let node = NodeId(5);
    for a in [at("/a"), Place { path: "/a", node: Some(node) }] {
        let interest = Arc::new(Interest::with_seed(3));
        let mut t = WatchTable::new(interest.clone());
        let event = fired_at(EventType::NodeDataChanged, "/a", node);
        for _ in 0..2 {
            interest.add(WatchKind::Data, a);
            assert!(interest.wants(&event));
            t.add_counted(1, WatchKind::Data, a);
        }
        assert_eq!(told_of(&mut t, &event), [1]);
        assert!(!interest.wants(&event));
    }
}

/// The writer of the tree asks while a worker moves watches from one place to the other.
#[test]
fn a_watch_that_moves_is_wanted_all_the_time() {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    let node = NodeId(5);
    let place = Place { path: "/a", node: Some(node) };
    let interest = Arc::new(Interest::with_seed(3));
    // Even while the watch is not set: between two rounds.
    let round = AtomicU64::new(0);
    const LAST: u64 = 400_001;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut t = WatchTable::new(interest.clone());
            while round.load(SeqCst) < LAST {
                t.add(1, WatchKind::Child, place);
                round.fetch_add(1, SeqCst);
                t.add(1, WatchKind::Recursive, place);
                round.fetch_add(1, SeqCst);
                t.remove(1, WatcherKind::Any, place);
            }
        });
        let event = fired_at(EventType::NodeChildrenChanged, "/a", node);
        loop {
            let before = round.load(SeqCst);
            let wants = interest.wants(&event);
            let after = round.load(SeqCst);
            assert!(wants || before.is_multiple_of(2) || before != after, "in round {before}");
            if after >= LAST {
                break;
            }
        }
    });
}

/// Numbers of connections that leave are used again, and what they watched is not told to others.
#[test]
fn connections_that_come_and_go() {
    let interest = Arc::new(Interest::new());
    let mut t = WatchTable::new(interest.clone());
    let node = |n: u32| Place { path: "/a", node: Some(NodeId(n)) };
    let conn = |n: u32| n % 10;
    for round in 0..3000_u32 {
        t.drop_conn(conn(round));
        for n in 0..20 {
            assert!(t.add(conn(round), WatchKind::Data, node(round * 7 % 5000 + n)));
            assert!(t.add(conn(round), WatchKind::Child, node(n)));
        }
        assert_eq!(t.total(), 40 * (round as usize + 1).min(10));
    }
    t.drop_conn(0);
    let of_all = told_of(&mut t, &fired_at(EventType::NodeChildrenChanged, "/a", NodeId(3)));
    assert_eq!(of_all, (1..10).collect::<Vec<_>>());
    for other in 1..10 {
        t.drop_conn(other);
    }
    assert_eq!((t.total(), t.data_counts()), (0, WatchCounts::default()));
    // What nobody has any more goes with the next ones that leave.
    for _ in 0..1000 {
        t.add(0, WatchKind::Data, node(6000));
        t.drop_conn(0);
    }
    let left = (0..7000).filter(|n| interest.wants(&fired_at(EventType::NodeDataChanged, "/b", NodeId(*n))));
    assert!(left.count() < 20, "other nodes may share the counter of the last one");
}

#[derive(Debug, Clone)]
enum Step {
    Add(u32, WatchKind, &'static str),
    AddCounted(u32, WatchKind, &'static str),
    Remove(u32, WatcherKind, &'static str),
    Drop(u32),
    Create(&'static str),
    Delete(&'static str),
    Set(&'static str),
}

const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/d"];

fn step() -> impl Strategy<Value = Step> {
    let path = || prop::sample::select(PATHS.to_vec());
    let kind = || {
        prop::sample::select(vec![
            WatchKind::Data,
            WatchKind::Child,
            WatchKind::Persistent,
            WatchKind::Recursive,
        ])
    };
    let which = prop::sample::select(vec![
        WatcherKind::Children,
        WatcherKind::Data,
        WatcherKind::Any,
        WatcherKind::Persistent,
        WatcherKind::PersistentRecursive,
    ]);
    prop_oneof![
        5 => (0..4_u32, kind(), path()).prop_map(|(c, k, p)| Step::Add(c, k, p)),
        2 => (0..4_u32, kind(), path()).prop_map(|(c, k, p)| Step::AddCounted(c, k, p)),
        2 => (0..4_u32, which, path()).prop_map(|(c, k, p)| Step::Remove(c, k, p)),
        1 => (0..4_u32).prop_map(Step::Drop),
        4 => path().prop_map(Step::Create),
        2 => path().prop_map(Step::Delete),
        2 => path().prop_map(Step::Set),
    ]
}

type Fact = (u32, WatchKind, &'static str);

fn is(kind: WatchKind, which: WatcherKind) -> bool {
    match which {
        WatcherKind::Any => true,
        WatcherKind::Children => kind == WatchKind::Child,
        WatcherKind::Data => kind == WatchKind::Data,
        WatcherKind::Persistent => kind == WatchKind::Persistent,
        WatcherKind::PersistentRecursive => kind == WatchKind::Recursive,
    }
}

/// Whether a watch hears of an event, and whether that uses it up.
fn hears((_, kind, at): &Fact, event: EventType, path: &str) -> (bool, bool) {
    let here = *at == path;
    let below = here || *at == "/" || path.starts_with(&format!("{at}/"));
    match (kind, event) {
        (WatchKind::Data, EventType::NodeChildrenChanged) => (false, false),
        (WatchKind::Data, _) => (here, here),
        (WatchKind::Child, EventType::NodeChildrenChanged | EventType::NodeDeleted) => (here, here),
        (WatchKind::Child, _) => (false, false),
        (WatchKind::Persistent, _) => (here, false),
        (WatchKind::Recursive, EventType::NodeChildrenChanged) => (false, false),
        (WatchKind::Recursive, _) => (below, false),
    }
}

/// What a change of a tree fires; nothing if it does not fit.
fn change(tree: &mut Tree, step: &Step) -> Vec<Fired> {
    let (op, txn) = match step {
        Step::Create(path) => {
            let path = (*path).to_owned();
            let create = CreateTxn {
                path: path.into(),
                data: None,
                acl: None,
                ephemeral: false,
                parent_cversion: -1,
                ttl: 0,
            };
            (OpCode::Create, Txn::Create(create))
        }
        Step::Delete(path) => {
            // Prep refuses what has children.
            if tree.get(path).is_none_or(|node| node.num_children() > 0) {
                return Vec::new();
            }
            (OpCode::Delete, Txn::Delete { path: (*path).into() })
        }
        Step::Set(path) => (OpCode::SetData, Txn::SetData { path: (*path).into(), data: None, version: 1 }),
        _ => return Vec::new(),
    };
    let zxid = Zxid(tree.last_zxid().0 + 1);
    let header = TxnHeader { session: SessionId(1), cxid: Xid(0), zxid, time: 0, op };
    let mut effects = Effects::default();
    tree.apply(&LogEntry { header, txn, digest: None }, &mut effects);
    effects.fired
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_the_set_of_facts(steps in proptest::collection::vec(step(), 1..150)) {
        let mut tree = Tree::new(TreeOptions::default());
        let interest = Arc::new(Interest::new());
        let mut table = WatchTable::new(interest.clone());
        let mut facts: BTreeSet<Fact> = BTreeSet::new();
        for step in steps {
            let place = |path| Place::new(path, tree.get(path));
            match step {
                Step::Add(c, k, p) => prop_assert_eq!(table.add(c, k, place(p)), facts.insert((c, k, p))),
                Step::AddCounted(c, k, p) => {
                    interest.add(k, place(p));
                    prop_assert_eq!(table.add_counted(c, k, place(p)), facts.insert((c, k, p)));
                }
                Step::Remove(c, which, p) => {
                    let before = facts.len();
                    let had = table.contains(c, which, place(p));
                    facts.retain(|(fc, fk, fp)| !(*fc == c && *fp == p && is(*fk, which)));
                    prop_assert_eq!(table.remove(c, which, place(p)), facts.len() < before);
                    prop_assert_eq!(had, facts.len() < before);
                }
                Step::Drop(c) => {
                    table.drop_conn(c);
                    facts.retain(|(fc, _, _)| *fc != c);
                }
                Step::Create(_) | Step::Delete(_) | Step::Set(_) => {
                    for fired in change(&mut tree, &step) {
                        let (event, path) = (fired.event, &fired.path);
                        let expected: BTreeSet<u32> =
                            facts.iter().filter(|f| hears(f, event, path).0).map(|f| f.0).collect();
                        if !expected.is_empty() {
                            prop_assert!(interest.wants(&fired));
                        }
                        facts.retain(|f| !hears(f, event, path).1);
                        prop_assert_eq!(told_of(&mut table, &fired), expected.into_iter().collect::<Vec<_>>());
                    }
                }
            }
            let pairs = |kinds: &[WatchKind]| -> BTreeSet<(u32, &str)> {
                facts.iter().filter(|f| kinds.contains(&f.1)).map(|f| (f.0, f.2)).collect()
            };
            let data = pairs(&[WatchKind::Data, WatchKind::Persistent, WatchKind::Recursive]);
            let child = pairs(&[WatchKind::Child, WatchKind::Persistent]);
            prop_assert_eq!(table.data_counts().watches, data.len());
            prop_assert_eq!(table.total(), data.len() + child.len());
            let paths: BTreeSet<&str> = data.iter().map(|d| d.1).collect();
            prop_assert_eq!(table.watched(&tree).len(), paths.len());
            let by_path = table.by_path(&tree);
            let listed: BTreeSet<(u32, &str)> =
                by_path.iter().flat_map(|(p, cs)| cs.iter().map(move |c| (*c, &**p))).collect();
            prop_assert_eq!(&listed, &data);
        }
        for conn in 0..4 {
            table.drop_conn(conn);
        }
        prop_assert_eq!((table.data_counts(), table.total()), (WatchCounts::default(), 0));
        // Two connections that leave with nothing to sweep for pay for all that is left.
        for _ in 0..2 {
            table.add(9, WatchKind::Data, Place { path: "/", node: Some(NodeId(1000)) });
            table.drop_conn(9);
        }
        for node in 0..20 {
            for path in PATHS {
                for event in [EventType::NodeDeleted, EventType::NodeChildrenChanged] {
                    let fired = fired_at(event, path, NodeId(node));
                    prop_assert!(!interest.wants(&fired), "every count was taken back");
                }
            }
        }
    }
}
