//! Look-ups in the data tree, and transactions applied to it.

use std::hint::black_box;

use zk_proto::path::split;
use zk_proto::txn::{CreateTxn, LogEntry, Txn, TxnHeader};
use zk_proto::{OpCode, SessionId, StatPersisted, Xid, Zxid};
use zk_tree::{Effects, Loader, OPEN_ID, Tree, TreeOptions};

use crate::{DATA, TIME, path};

/// The zxid of the loaded trees: an epoch, so that numbers are as long as in production.
const LOADED: i64 = 0x7_0000_0000;

/// Numbers of a node.
pub fn stat() -> StatPersisted {
    StatPersisted {
        czxid: LOADED,
        mzxid: LOADED,
        ctime: TIME,
        mtime: TIME,
        pzxid: LOADED,
        ..StatPersisted::default()
    }
}

struct Growing(Loader);

impl Growing {
    fn new() -> Growing {
        let mut growing = Growing(Tree::load_start(TreeOptions { hash_seed: 3, ..TreeOptions::default() }));
        growing.node("/");
        growing
    }

    fn node(&mut self, path: &str) {
        self.0.node(path, Some(DATA), OPEN_ID, stat()).expect("parents come first, and each path once");
    }

    fn finish(self) -> Tree {
        self.0.finish(Zxid(LOADED))
    }
}

fn above(path: &str) -> &str {
    split(path).expect("the path has a slash").0
}

/// A tree with so many leaves, see [`path`].
pub fn deep(leaves: usize) -> Tree {
    let mut growing = Growing::new();
    let first = path(0);
    let registry = above(above(above(&first)));
    growing.node(above(registry));
    growing.node(registry);
    for n in 0..leaves {
        let leaf = path(n);
        let shard = above(&leaf);
        if n % 10_000 == 0 {
            growing.node(above(shard));
        }
        if n % 100 == 0 {
            growing.node(shard);
        }
        growing.node(&leaf);
    }
    growing.finish()
}

/// The parent in [`wide`].
pub const WIDE: &str = "/services";

/// The n-th child in [`wide`].
pub fn child(n: usize) -> String {
    format!("{WIDE}/{n:024}")
}

/// A tree with one parent of so many children.
pub fn wide(children: usize) -> Tree {
    let mut growing = Growing::new();
    growing.node(WIDE);
    (0..children).for_each(|n| growing.node(&child(n)));
    growing.finish()
}

/// Finds a node and reads what a getData answers.
pub fn get(tree: &Tree, path: &str) {
    let node = tree.get(path).expect("the node was loaded");
    black_box((node.stat(), node.data(), node.acl().is_open()));
}

/// Looks at the names of all children; gives their bytes.
pub fn children(tree: &Tree) -> usize {
    let parent = tree.get(WIDE).expect("the node was loaded");
    parent.children().map(|name| black_box(name).len()).sum()
}

fn entry(op: OpCode, txn: Txn) -> LogEntry {
    let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid: Zxid(LOADED), time: TIME, op };
    LogEntry { header, txn, digest: None }
}

/// A transaction.
pub fn set_data(path: String) -> LogEntry {
    entry(OpCode::SetData, Txn::SetData { path: path.into(), data: Some(DATA), version: 1 })
}

/// A transaction.
pub fn create(path: String) -> LogEntry {
    let create = CreateTxn {
        path: path.into(),
        data: Some(DATA),
        acl: None,
        ephemeral: false,
        parent_cversion: 1,
        ttl: 0,
    };
    entry(OpCode::Create, Txn::Create(create))
}

/// A transaction.
pub fn delete(path: String) -> LogEntry {
    entry(OpCode::Delete, Txn::Delete { path: path.into() })
}

/// A tree to which transactions are applied.
pub struct Applying {
    tree: Tree,
    effects: Effects,
    zxid: i64,
}

impl Applying {
    /// To a loaded one.
    pub fn new(tree: Tree) -> Applying {
        let zxid = tree.last_zxid().0;
        Applying { tree, effects: Effects::default(), zxid }
    }

    /// As it is now.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Applies a transaction as the next one. It may come again.
    pub fn apply(&mut self, entry: &mut LogEntry) {
        self.zxid += 1;
        entry.header.zxid = Zxid(self.zxid);
        black_box(self.tree.apply(entry, &mut self.effects));
        self.effects.clear();
    }
}
