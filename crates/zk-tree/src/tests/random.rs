//! Random histories, as a leader would write them.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use zk_proto::txn::{CreateTxn, LogEntry, SubTxn, Txn, TxnDigest, TxnHeader};
use zk_proto::{Acl, ErrorCode, OpCode, Perms, SessionId, Xid, Zxid};

use super::model::Model;
use super::{Dump, check_sums, digest_of, dump, round_trip};
use crate::{Effects, NodeId, Places, Touched, Tree, TreeOptions};

/// What a client may ask for; what comes of it depends on the state.
#[derive(Debug, Clone)]
enum Op {
    Create {
        path: String,
        kind: u8,
        data: Option<Bytes>,
        acl: u8,
    },
    Delete {
        path: String,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
    },
    SetAcl {
        path: String,
        acl: u8,
    },
    Check {
        path: String,
    },
    Open,
    Close,
    /// Transactions without regard to the state.
    Blind(Box<Op>),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())],
        1 => Just("a-name-of-a-usual-length".to_owned()),
        1 => Just("\u{e4}\u{20ac}".to_owned()),
        1 => Just("n".repeat(255)),
        1 => Just("n".repeat(256)),
    ];
    proptest::collection::vec(name, 1..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    let len = prop_oneof![
        4 => 0..100_usize,
        2 => prop_oneof![Just(127_usize), Just(128), Just(1023), Just(1024), Just(1025)],
        1 => 100..3000_usize,
    ];
    proptest::option::weighted(0.9, (len, any::<u8>()).prop_map(|(len, b)| Bytes::from(vec![b; len])))
}

fn op() -> impl Strategy<Value = Op> {
    let plain = prop_oneof![
        8 => (path(), 0..6_u8, data(), 0..4_u8).prop_map(|(path, kind, data, acl)| Op::Create { path, kind, data, acl }),
        4 => path().prop_map(|path| Op::Delete { path }),
        3 => (path(), data()).prop_map(|(path, data)| Op::SetData { path, data }),
        2 => (path(), 0..4_u8).prop_map(|(path, acl)| Op::SetAcl { path, acl }),
        1 => path().prop_map(|path| Op::Check { path }),
    ];
    plain.boxed()
}

/// Session and operations; several are a multi.
fn request() -> impl Strategy<Value = (i64, Vec<Op>)> {
    let ops = prop_oneof![
        12 => op().prop_map(|op| vec![op]),
        2 => proptest::collection::vec(op(), 1..5).prop_map(|mut ops| { ops.push(Op::Check { path: "/".into() }); ops }),
        1 => Just(vec![Op::Open]),
        1 => Just(vec![Op::Close]),
    ];
    (1..4_i64, ops)
}

fn acl(n: u8) -> Option<Vec<Acl>> {
    match n {
        0 => None,
        1 => Some(Acl::open()),
        2 => Some(Acl::read_only()),
        _ => Some(vec![Acl::new(Perms::READ, "ip", "1.2.3.4"), Acl::new(Perms::ALL, "digest", "u:p")]),
    }
}

/// Turns requests into transactions as a leader does, and notes the state after
/// each.
struct Leader {
    model: Model,
    log: Vec<LogEntry>,
    states: Vec<Model>,
}

impl Leader {
    fn new() -> Leader {
        Leader { model: Model::new(), log: Vec::new(), states: vec![Model::new()] }
    }

    fn txn(model: &Model, session: i64, op: &Op) -> Result<(OpCode, Txn), ErrorCode> {
        let above = |path: &str| zk_proto::path::split(path).expect("has a slash").0.to_owned();
        Ok(match op {
            Op::Create { path, kind, data, acl: list } => {
                let parent = model.nodes.get(&above(path)).ok_or(ErrorCode::NoNode)?;
                if model.nodes.contains_key(path) {
                    return Err(ErrorCode::NodeExists);
                }
                if (1..10).contains(&parent.stat.ephemeral_owner) {
                    return Err(ErrorCode::NoChildrenForEphemerals);
                }
                let (op, ephemeral) = match kind {
                    0 => (OpCode::Create, true),
                    1 => (OpCode::Create2, true),
                    2 => (OpCode::Create, false),
                    3 => (OpCode::Create2, false),
                    4 => (OpCode::CreateContainer, false),
                    _ => (OpCode::CreateTtl, false),
                };
                let txn = CreateTxn {
                    path: path.as_str().into(),
                    data: data.clone(),
                    acl: acl(*list),
                    ephemeral: ephemeral && model.sessions.contains_key(&session),
                    parent_cversion: parent.stat.cversion + 1,
                    ttl: if op == OpCode::CreateTtl { 77 } else { 0 },
                };
                (op, Txn::Create(txn))
            }
            Op::Delete { path } => {
                let node = model.nodes.get(path).ok_or(ErrorCode::NoNode)?;
                if !node.children.is_empty() {
                    return Err(ErrorCode::NotEmpty);
                }
                (OpCode::Delete, Txn::Delete { path: path.as_str().into() })
            }
            Op::SetData { path, data } => {
                let node = model.nodes.get(path).ok_or(ErrorCode::NoNode)?;
                let txn = Txn::SetData {
                    path: path.as_str().into(),
                    data: data.clone(),
                    version: node.stat.version + 1,
                };
                (OpCode::SetData, txn)
            }
            Op::SetAcl { path, acl: list } => {
                let node = model.nodes.get(path).ok_or(ErrorCode::NoNode)?;
                let txn = Txn::SetAcl {
                    path: path.as_str().into(),
                    acl: acl(*list),
                    version: node.stat.aversion + 1,
                };
                (OpCode::SetAcl, txn)
            }
            Op::Check { path } => {
                let node = model.nodes.get(path).ok_or(ErrorCode::NoNode)?;
                (OpCode::Check, Txn::Check { path: path.as_str().into(), version: node.stat.version + 1 })
            }
            Op::Open => (OpCode::CreateSession, Txn::CreateSession { timeout: 6000 }),
            Op::Close => {
                let paths = model.owned(session).into_iter().collect();
                (OpCode::CloseSession, Txn::CloseSession { paths: Some(paths) })
            }
            Op::Blind(op) => match &**op {
                Op::Create { path, data, acl: list, .. } => {
                    let txn = CreateTxn {
                        path: path.as_str().into(),
                        data: data.clone(),
                        acl: acl(*list),
                        ephemeral: false,
                        parent_cversion: 1,
                        ttl: 0,
                    };
                    (OpCode::Create, Txn::Create(txn))
                }
                Op::Delete { path } => (OpCode::Delete, Txn::Delete { path: path.as_str().into() }),
                Op::SetData { path, data } => (
                    OpCode::SetData,
                    Txn::SetData { path: path.as_str().into(), data: data.clone(), version: 9 },
                ),
                Op::SetAcl { path, acl: list } => {
                    (OpCode::SetAcl, Txn::SetAcl { path: path.as_str().into(), acl: acl(*list), version: 9 })
                }
                _ => (OpCode::Error, Txn::Error { err: ErrorCode::NoNode.to_i32() }),
            },
        })
    }

    fn request(&mut self, session: i64, ops: &[Op]) {
        let n = self.log.len() as i64 + 1;
        let mut header = TxnHeader {
            session: SessionId(session),
            cxid: Xid(0),
            zxid: Zxid(0x5_0000_0000 + n),
            time: 1_700_000_000_000 + n,
            op: OpCode::Multi,
        };
        let txn = if let [op] = ops {
            let (op, txn) = Leader::txn(&self.model, session, op)
                .unwrap_or_else(|e| (OpCode::Error, Txn::Error { err: e.to_i32() }));
            header.op = op;
            txn
        } else {
            let mut ahead = self.model.clone();
            let mut failed = false;
            let mut parts = Vec::new();
            for op in ops {
                let part = match Leader::txn(&ahead, session, op) {
                    _ if failed => Err(ErrorCode::RuntimeInconsistency),
                    part => part,
                };
                parts.push(match part {
                    Ok((op, txn)) => {
                        let header = TxnHeader { op, ..header };
                        ahead.apply(&LogEntry { header, txn: txn.clone(), digest: None });
                        SubTxn { op, txn }
                    }
                    Err(e) => {
                        failed = true;
                        SubTxn { op: OpCode::Error, txn: Txn::Error { err: e.to_i32() } }
                    }
                });
            }
            Txn::Multi(parts)
        };
        let mut entry = LogEntry { header, txn, digest: None };
        self.model.apply(&entry);
        if header.op != OpCode::Error {
            entry.digest =
                Some(TxnDigest { version: TxnDigest::VERSION, tree: digest_of(&self.model.nodes) });
        }
        self.log.push(entry);
        self.states.push(self.model.clone());
    }
}

fn options() -> TreeOptions {
    TreeOptions { extended_types: true, digest: true, hash_seed: 42 }
}

/// What differs between two states must have been reported.
fn check_touched(before: &Dump, after: &Dump, tree: &Tree, touched: &Touched) {
    let strip = |n: &super::Full| super::Full { children: BTreeSet::new(), ..n.clone() };
    for path in before.keys().chain(after.keys()) {
        if before.get(path).map(strip) != after.get(path).map(strip) {
            assert!(touched.has(tree, path), "{path} changed and was not reported");
        }
    }
}

/// Where nodes are, or where others are, or where there is none.
fn places(tree: &Tree, entry: &LogEntry, guesses: &[u32]) -> Places {
    let paths: Vec<&str> = match &entry.txn {
        Txn::Multi(parts) => parts.iter().map(|p| path_of(&p.txn)).collect(),
        txn => vec![path_of(txn)],
    };
    let mut places = Places::default();
    for (n, (path, guess)) in paths.into_iter().zip(guesses.iter().cycle()).enumerate() {
        match (guess, tree.get(path)) {
            (0..4, Some(node)) => places.note(n, Some(node.id())),
            (4..8, _) => {}
            (guess, _) => places.note(n, Some(NodeId(guess % 12))),
        }
    }
    places
}

fn path_of(txn: &Txn) -> &str {
    match txn {
        Txn::Create(c) => &c.path,
        Txn::Delete { path }
        | Txn::SetData { path, .. }
        | Txn::SetAcl { path, .. }
        | Txn::Check { path, .. } => path,
        _ => "",
    }
}

fn replay(tree: &mut Tree, log: &[LogEntry]) {
    let mut fx = Effects::default();
    for entry in log {
        tree.apply(entry, &mut fx);
        fx.clear();
    }
}

/// A snapshot taken while transactions go on: node by node, each later than the
/// one before. ref: DataTree.serializeNode.
fn fuzzy_snapshot(leader: &Leader, start: usize, steps: &[usize]) -> (Tree, usize) {
    let mut loader = Tree::load_start(options());
    let mut now = start;
    for (session, timeout) in &leader.states[start].sessions {
        loader.session(SessionId(*session), *timeout);
    }
    let mut acl_id = 100;
    let mut steps = steps.iter().cycle();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        let state = &leader.states[now];
        if let Some(node) = state.nodes.get(&path) {
            acl_id += 1;
            loader.define_acl(acl_id, node.acl.clone());
            loader
                .node(&path, node.data.clone().map(Bytes::from), acl_id, node.stat)
                .expect("parents come first");
            open.extend(
                node.children.iter().map(|c| format!("{}/{c}", if path == "/" { "" } else { &path })),
            );
        }
        now = (now + steps.next().expect("a cycle has no end")).min(leader.log.len());
    }
    (loader.finish(Zxid(0x5_0000_0000 + start as i64)), now)
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_tree_is_the_model(
        requests in proptest::collection::vec(request(), 1..60),
        guesses in proptest::collection::vec(0..20_u32, 1..20),
    ) {
        let mut leader = Leader::new();
        for (session, ops) in &requests {
            leader.request(*session, ops);
        }
        let mut tree = Tree::new(options());
        let mut fx = Effects::default();
        for (at, entry) in leader.log.iter().enumerate() {
            fx.clear();
            let places = places(&tree, entry, &guesses[at % guesses.len()..]);
            let result = tree.apply_at(entry, &places, &mut fx);
            let mut model = leader.states[at].clone();
            prop_assert_eq!(result.err, model.apply(entry));
            let state = dump(&tree);
            prop_assert_eq!(&state, &leader.states[at + 1].nodes);
            check_touched(&leader.states[at].nodes, &state, &tree, &fx.touched);
            if let Txn::Create(c) = &entry.txn && entry.header.op != OpCode::Create {
                prop_assert_eq!(result.stat, tree.get(&c.path).map(|n| n.stat()));
            }
            if entry.header.op == OpCode::Error {
                prop_assert!(fx.touched.is_empty() && fx.fired.is_empty());
            }
        }
        prop_assert_eq!(tree.digest_mismatches(), 0);
        let state = dump(&tree);
        check_sums(&tree, &state);
        let again = round_trip(&tree);
        prop_assert_eq!(&dump(&again), &state);
        check_sums(&again, &state);
        prop_assert_eq!(again.sessions().collect::<Vec<_>>(), tree.sessions().collect::<Vec<_>>());
        prop_assert_eq!(again.reap_candidates(i64::MAX, 1), tree.reap_candidates(i64::MAX, 1));
    }

    #[test]
    fn transactions_that_do_not_fit_are_ignored_alike(ops in proptest::collection::vec(op(), 1..60)) {
        let mut leader = Leader::new();
        for op in ops {
            leader.request(1, &[Op::Blind(Box::new(op))]);
        }
        let mut tree = Tree::new(options());
        let mut fx = Effects::default();
        for (at, entry) in leader.log.iter().enumerate() {
            let result = tree.apply(entry, &mut fx);
            prop_assert_eq!(result.err, leader.states[at].clone().apply(entry));
        }
        let state = dump(&tree);
        prop_assert_eq!(&state, &leader.model.nodes);
        check_sums(&tree, &state);
    }

    #[test]
    fn a_suffix_applied_again_changes_nothing(
        requests in proptest::collection::vec(request(), 1..80),
        from in any::<prop::sample::Index>(),
    ) {
        let mut leader = Leader::new();
        for (session, ops) in &requests {
            leader.request(*session, ops);
        }
        let mut tree = Tree::new(options());
        replay(&mut tree, &leader.log);
        let state = dump(&tree);
        replay(&mut tree, &leader.log[from.index(leader.log.len())..]);
        prop_assert_eq!(&dump(&tree), &state);
        check_sums(&tree, &state);
    }

    #[test]
    fn a_fuzzy_snapshot_is_repaired_by_the_log(
        requests in proptest::collection::vec(request(), 1..250),
        start in any::<prop::sample::Index>(),
        steps in proptest::collection::vec(0..25_usize, 5..20),
    ) {
        let mut leader = Leader::new();
        for (session, ops) in &requests {
            leader.request(*session, ops);
        }
        let start = start.index(leader.log.len());
        let (mut tree, end) = fuzzy_snapshot(&leader, start, &steps);
        tree.set_pending_digest(Zxid(0x5_0000_0000 + end as i64), digest_of(&leader.states[end].nodes));
        replay(&mut tree, &leader.log[start..]);
        let state = dump(&tree);
        prop_assert_eq!(&state, &leader.model.nodes);
        check_sums(&tree, &state);
        prop_assert_eq!(tree.digest_mismatches(), 0);
        prop_assert_eq!(tree.sessions().map(|(s, _)| s.0).collect::<Vec<_>>(),
            leader.model.sessions.keys().copied().collect::<Vec<_>>());
    }
}
