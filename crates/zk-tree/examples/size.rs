//! Memory and look-up time of a tree of a million nodes of the production
//! shape: names of 24, paths of 115 and data of 47 bytes, five levels, a hundred
//! children a node. With the system's allocator.
//!
//! `cargo run --release -p zk-tree --example size [nodes]`

use std::hint::black_box;

use zk_proto::txn::{CreateTxn, LogEntry, Txn, TxnHeader};
use zk_proto::{OpCode, SessionId, Xid, Zxid};
use zk_tree::{Effects, Tree, TreeOptions};

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("the second number");
    pages * 4096
}

/// Path of the n-th leaf.
fn path(n: usize) -> String {
    format!(
        "/production-cluster-01/service-registry-000001/group-{:015}/shard-{:015}/instance-{:015}",
        n / 10_000,
        n / 100 % 100,
        n % 100
    )
}

struct Writer {
    tree: Tree,
    effects: Effects,
    zxid: i64,
}

impl Writer {
    fn apply(&mut self, op: OpCode, txn: Txn) {
        self.zxid += 1;
        let header = TxnHeader {
            session: SessionId(1),
            cxid: Xid(0),
            zxid: Zxid(0x7_0000_0000 + self.zxid),
            time: 1_760_000_000_000 + self.zxid,
            op,
        };
        self.effects.clear();
        self.tree.apply(&LogEntry { header, txn, digest: None }, &mut self.effects);
    }

    /// Creates the missing part of a path.
    fn create(&mut self, path: &str) {
        let parent = zk_proto::path::split(path).expect("has a slash").0;
        if self.tree.get(parent).is_none() {
            self.create(parent);
        }
        let parent_cversion = self.tree.get(parent).expect("was just created").persisted().cversion + 1;
        let data = Some(vec![b'd'; 47].into());
        let path = path.to_owned();
        let create =
            CreateTxn { path: path.into(), data, acl: None, ephemeral: false, parent_cversion, ttl: 0 };
        self.apply(OpCode::Create, Txn::Create(create));
    }
}

/// Time on a processor in ns; the machine may have other work.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("the first number")
}

fn per(what: &str, count: usize, started: u64) {
    println!("{what}: {:.0} ns", (cpu() - started) as f64 / count as f64);
}

fn main() {
    let nodes: usize = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("a number of nodes"));
    println!("path {} bytes, name {}", path(0).len(), path(0).rsplit('/').next().expect("a name").len());
    let tree = Tree::new(TreeOptions { hash_seed: 0x5eed, ..Default::default() });
    let mut w = Writer { tree, effects: Effects::default(), zxid: 0 };
    let before = resident();
    let started = cpu();
    for n in 0..nodes {
        w.create(&path(n));
    }
    per("create", nodes, started);
    let taken = resident() - before;
    println!("nodes {}, {:.1} bytes each", w.tree.node_count(), taken as f64 / w.tree.node_count() as f64);

    // Asked for in an order without any pattern.
    let rounds = 1_000_000;
    let paths: Vec<String> = (0..rounds).map(|i| path(i * 7_368_787 % nodes)).collect();
    let started = cpu();
    for path in &paths {
        black_box(w.tree.get(path).expect("it was created"));
    }
    per("look-up", rounds, started);
    let started = cpu();
    let mut found = Vec::new();
    for batch in paths.chunks(16) {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        found.clear();
        w.tree.get_many(&batch, &mut found);
        assert!(found.iter().all(Option::is_some));
    }
    per("look-up by 16", rounds, started);
    let started = cpu();
    for path in &paths {
        let node = w.tree.get(path).expect("it was created");
        black_box((node.stat(), node.data(), node.acl().is_open()));
    }
    per("look-up, stat, data and list", rounds, started);
    let started = cpu();
    for path in &paths {
        let missing = &path[..path.len() - 1];
        assert!(w.tree.get(missing).is_none());
    }
    per("look-up of a missing node", rounds, started);
    let started = cpu();
    for path in paths.iter().take(200_000) {
        let data = Some(vec![b'e'; 47].into());
        w.apply(OpCode::SetData, Txn::SetData { path: path.as_str().into(), data, version: 1 });
    }
    per("setData", 200_000, started);
    let started = cpu();
    for n in 0..nodes {
        w.apply(OpCode::Delete, Txn::Delete { path: path(n).into() });
    }
    per("delete", nodes, started);
}
