//! Watch tables against one set of facts.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use zk_proto::client::{EventType, WatcherKind};
use zk_proto::{Acl, Zxid};

use crate::watch::{Interest, WatchCounts, WatchKind, WatchTable};
use crate::{AclList, Fired};

fn fired(event: EventType, path: &str) -> Fired {
    Fired { event, path: path.into(), zxid: Zxid(1), acl: AclList::new(Acl::open()) }
}

fn told(table: &mut WatchTable, event: EventType, path: &str) -> Vec<u32> {
    let mut out = Vec::new();
    table.fire(&fired(event, path), |conn| out.push(conn));
    out
}

#[test]
fn one_connection_is_told_once() {
    use EventType::*;
    let mut t = WatchTable::new(Arc::default());
    assert!(t.add(1, WatchKind::Data, "/a"));
    assert!(t.add(1, WatchKind::Child, "/a"));
    assert!(!t.add(1, WatchKind::Child, "/a"));
    t.add(2, WatchKind::Persistent, "/a");
    t.add(2, WatchKind::Recursive, "/a");
    t.add(2, WatchKind::Recursive, "/");
    t.add(3, WatchKind::Recursive, "/");
    assert_eq!(told(&mut t, NodeDeleted, "/a"), [1, 2, 3]);
    assert_eq!(told(&mut t, NodeDeleted, "/a"), [2, 3]);
    assert_eq!(told(&mut t, NodeChildrenChanged, "/a"), [2]);
    assert_eq!(told(&mut t, NodeChildrenChanged, "/"), [0_u32; 0]);
    assert_eq!(told(&mut t, NodeCreated, "/x/y"), [2, 3]);
    assert_eq!(told(&mut t, NodeDataChanged, "/"), [2, 3]);
}

#[test]
fn removing_a_kind_leaves_the_others() {
    let mut t = WatchTable::new(Arc::default());
    for kind in [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::Recursive] {
        t.add(1, kind, "/a");
    }
    assert_eq!(t.total(), 2, "one in each table, whatever their modes");
    assert!(t.remove(1, WatcherKind::Data, "/a"));
    assert!(!t.remove(1, WatcherKind::Data, "/a"), "a persistent one is no data watch");
    assert!(!t.contains(1, WatcherKind::Data, "/a"));
    assert!(t.contains(1, WatcherKind::Persistent, "/a"));
    assert!(t.remove(1, WatcherKind::PersistentRecursive, "/a"));
    assert_eq!(told(&mut t, EventType::NodeDataChanged, "/a"), [1]);
    assert!(t.remove(1, WatcherKind::Any, "/a"));
    assert!(!t.contains(1, WatcherKind::Any, "/a"));
    assert!(!t.remove(2, WatcherKind::Any, "/a"));
}

#[test]
fn dumps_are_of_the_data_table() {
    let mut t = WatchTable::new(Arc::default());
    t.add(1, WatchKind::Child, "/c");
    t.add(1, WatchKind::Data, "/d");
    t.add(2, WatchKind::Recursive, "/d");
    t.add(3, WatchKind::Child, "/c");
    let counts = |connections, paths, watches| WatchCounts { connections, paths, watches };
    assert_eq!((t.data_counts(), t.total()), (counts(2, 1, 2), 4));
    told(&mut t, EventType::NodeDataChanged, "/d");
    assert_eq!((t.data_counts(), t.total()), (counts(2, 1, 1), 3), "Java keeps the connection");
    let by_conn: Vec<_> = t.by_connection().map(|(c, paths)| (c, paths.collect::<Vec<_>>())).collect();
    assert_eq!(by_conn, [(1, vec![]), (2, vec!["/d"])]);
    assert_eq!(t.by_path().collect::<Vec<_>>(), [("/d", vec![2])]);
    t.drop_conn(1);
    t.drop_conn(9);
    assert_eq!((t.data_counts(), t.total()), (counts(1, 1, 1), 2));
}

#[test]
fn a_watch_counted_ahead_is_counted_once() {
    let interest = Arc::new(Interest::with_seed(3));
    let mut t = WatchTable::new(interest.clone());
    let event = fired(EventType::NodeDataChanged, "/a");
    for _ in 0..2 {
        interest.add(WatchKind::Data, "/a");
        assert!(interest.wants(&event));
        t.add_counted(1, WatchKind::Data, "/a");
    }
    told(&mut t, EventType::NodeDataChanged, "/a");
    assert!(!interest.wants(&event));
}

#[derive(Debug, Clone)]
enum Step {
    Add(u32, WatchKind, &'static str),
    AddCounted(u32, WatchKind, &'static str),
    Remove(u32, WatcherKind, &'static str),
    Drop(u32),
    Fire(EventType, &'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let path = || prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/c", "/ab", "/d"]);
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
    let event = prop::sample::select(vec![
        EventType::NodeCreated,
        EventType::NodeDeleted,
        EventType::NodeDataChanged,
        EventType::NodeChildrenChanged,
    ]);
    prop_oneof![
        5 => (0..4_u32, kind(), path()).prop_map(|(c, k, p)| Step::Add(c, k, p)),
        2 => (0..4_u32, kind(), path()).prop_map(|(c, k, p)| Step::AddCounted(c, k, p)),
        2 => (0..4_u32, which, path()).prop_map(|(c, k, p)| Step::Remove(c, k, p)),
        1 => (0..4_u32).prop_map(Step::Drop),
        4 => (event, path()).prop_map(|(e, p)| Step::Fire(e, p)),
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_the_set_of_facts(steps in proptest::collection::vec(step(), 1..100)) {
        let interest = Arc::new(Interest::new());
        let mut table = WatchTable::new(interest.clone());
        let mut facts: BTreeSet<Fact> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Add(c, k, p) => prop_assert_eq!(table.add(c, k, p), facts.insert((c, k, p))),
                Step::AddCounted(c, k, p) => {
                    interest.add(k, p);
                    prop_assert_eq!(table.add_counted(c, k, p), facts.insert((c, k, p)));
                }
                Step::Remove(c, which, p) => {
                    let before = facts.len();
                    let had = table.contains(c, which, p);
                    facts.retain(|(fc, fk, fp)| !(*fc == c && *fp == p && is(*fk, which)));
                    prop_assert_eq!(table.remove(c, which, p), facts.len() < before);
                    prop_assert_eq!(had, facts.len() < before);
                }
                Step::Drop(c) => {
                    table.drop_conn(c);
                    facts.retain(|(fc, _, _)| *fc != c);
                }
                Step::Fire(event, path) => {
                    let expected: BTreeSet<u32> =
                        facts.iter().filter(|f| hears(f, event, path).0).map(|f| f.0).collect();
                    if !expected.is_empty() {
                        prop_assert!(interest.wants(&fired(event, path)));
                    }
                    facts.retain(|f| !hears(f, event, path).1);
                    prop_assert_eq!(told(&mut table, event, path), expected.into_iter().collect::<Vec<_>>());
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
            prop_assert_eq!(table.data_counts().paths, paths.len());
            let listed: BTreeSet<(u32, &str)> =
                table.by_path().flat_map(|(p, cs)| cs.into_iter().map(move |c| (c, p))).collect();
            prop_assert_eq!(&listed, &data);
            let listed: BTreeSet<(u32, &str)> =
                table.by_connection().flat_map(|(c, ps)| ps.map(move |p| (c, p)).collect::<Vec<_>>()).collect();
            prop_assert_eq!(&listed, &data);
        }
        for conn in 0..4 {
            table.drop_conn(conn);
        }
        prop_assert_eq!((table.data_counts(), table.total()), (WatchCounts::default(), 0));
        for path in ["/", "/a", "/a/b", "/a/b/c", "/ab", "/d"] {
            for event in [EventType::NodeDeleted, EventType::NodeChildrenChanged] {
                prop_assert!(!interest.wants(&fired(event, path)), "every count was taken back");
            }
        }
    }
}
