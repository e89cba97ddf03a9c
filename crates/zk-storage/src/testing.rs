//! What the tests of several modules need.

use std::path::{Path, PathBuf};
use std::{fs, io};

use bytes::Bytes;
use zk_proto::txn::{CreateTxn, LogEntry, SubTxn, Txn, TxnDigest, TxnHeader};
use zk_proto::{Acl, OpCode, Perms, SessionId, StatPersisted, Xid, Zxid};
use zk_tree::{Effects, Node, Tree, TreeOptions};

/// A file captured from Java 3.9.4.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zk-testkit/vectors").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What a crash now would leave, but for unsynced bytes. RocksDB removes old
/// files on a thread of its own: a copy that one of them vanished from is of no
/// moment that ever was, and is made again.
pub(crate) fn image(dir: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for e in fs::read_dir(from)? {
            let e = e?;
            let target = to.join(e.file_name());
            match e.file_type()?.is_dir() {
                true => copy(&e.path(), &target)?,
                false => drop(fs::copy(e.path(), target)?),
            }
        }
        Ok(())
    }
    fn names(dir: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        let mut all: Vec<_> = entries.flat_map(|p| if p.is_dir() { names(&p) } else { vec![p] }).collect();
        all.sort();
        all
    }
    // RocksDB tidies up behind a flush: a copy in the middle of that is no state that ever was.
    loop {
        let out = tempfile::tempdir().unwrap();
        let before = names(dir);
        match copy(dir, out.path()) {
            Ok(()) if names(dir) == before => return out,
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => panic!("cannot copy {}: {e}", dir.display()),
        }
    }
}

/// All that a tree holds, in an order that does not depend on how it came.
pub(crate) fn contents(tree: &Tree) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open: Vec<Node<'_>> = vec![tree.root()];
    while let Some(node) = open.pop() {
        let stat: StatPersisted = node.persisted();
        let data = node.data().map(|d| (d.len(), simd_adler32::adler32(&d)));
        out.push(format!("{} {data:?} {:?} {stat:?}", node.path(), &node.acl()[..]));
        open.extend(node.child_nodes());
    }
    out.extend(tree.sessions().map(|(s, t)| format!("session {s} {t}")));
    out.push(format!("zxid {} digest {:#x}", tree.last_zxid(), tree.digest()));
    out.sort();
    out
}

/// Makes transactions that fit a tree, from a seed.
pub(crate) struct Writes {
    state: u64,
    zxid: i64,
}

impl Writes {
    pub(crate) fn new(seed: u64) -> Writes {
        Writes { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, zxid: 0 }
    }

    /// Goes on behind a transaction.
    pub(crate) fn after(seed: u64, zxid: Zxid) -> Writes {
        Writes { zxid: zxid.0, ..Writes::new(seed) }
    }

    fn random(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % n
    }

    fn entry(&mut self, session: i64, op: OpCode, txn: Txn) -> LogEntry {
        self.zxid += 1;
        let header = TxnHeader {
            session: SessionId(session),
            cxid: Xid(1),
            zxid: Zxid(self.zxid),
            time: 1_795_231_137_448 + self.zxid,
            op,
        };
        LogEntry { header, txn, digest: None }
    }

    pub(crate) fn session(&mut self, id: i64) -> LogEntry {
        self.entry(id, OpCode::CreateSession, Txn::CreateSession { timeout: 6000 })
    }

    pub(crate) fn close(&mut self, id: i64) -> LogEntry {
        self.entry(id, OpCode::CloseSession, Txn::CloseSession { paths: Some(Vec::new()) })
    }

    pub(crate) fn create(&mut self, path: &str, size: usize) -> LogEntry {
        self.create_with(path, size, Acl::open())
    }

    pub(crate) fn create_with(&mut self, path: &str, size: usize, acl: Vec<Acl>) -> LogEntry {
        let txn = self.create_txn(path, size, acl, false);
        self.entry(1, OpCode::Create, Txn::Create(txn))
    }

    fn create_txn(&mut self, path: &str, size: usize, acl: Vec<Acl>, ephemeral: bool) -> CreateTxn {
        let data = (size > 0).then(|| Bytes::from(vec![self.zxid as u8; size]));
        let path = path.to_owned();
        CreateTxn { path: path.into(), data, acl: Some(acl), ephemeral, parent_cversion: -1, ttl: 0 }
    }

    pub(crate) fn set(&mut self, path: &str, size: usize) -> LogEntry {
        let data = Some(Bytes::from(vec![self.zxid as u8; size]));
        let txn = Txn::SetData { path: path.into(), data, version: 7 };
        self.entry(1, OpCode::SetData, txn)
    }

    pub(crate) fn delete(&mut self, path: &str) -> LogEntry {
        self.entry(1, OpCode::Delete, Txn::Delete { path: path.into() })
    }

    /// A random one; `tree` is where it will be applied.
    pub(crate) fn next(&mut self, tree: &Tree) -> LogEntry {
        let all = |tree: &Tree| -> Vec<String> {
            let mut out = Vec::new();
            let mut open: Vec<Node<'_>> = tree.root().child_nodes().collect();
            while let Some(n) = open.pop() {
                if n.name() != "zookeeper" {
                    out.push(n.path());
                    open.extend(n.child_nodes());
                }
            }
            out.sort();
            out
        };
        let paths = all(tree);
        let any = |w: &mut Writes| -> String {
            let n = w.random(paths.len().max(1) as u64) as usize;
            paths.get(n).cloned().unwrap_or_else(|| "/none".to_owned())
        };
        let size = match self.random(12) {
            0 => 0,
            1 => 1000 + self.random(4000) as usize,
            _ => 1 + self.random(60) as usize,
        };
        match self.random(20) {
            0 => {
                let id = 1 + self.random(8) as i64;
                self.session(id)
            }
            1 => {
                let id = 1 + self.random(8) as i64;
                let paths = Some(tree.ephemerals_of(SessionId(id)));
                self.entry(id, OpCode::CloseSession, Txn::CloseSession { paths })
            }
            2..=9 => {
                let parent = any(self);
                let persistent = tree.get(&parent).is_some_and(|n| !n.is_ephemeral());
                let parent = if persistent && self.random(3) > 0 { parent } else { String::new() };
                let n = self.random(1 << 30);
                let owner = 1 + self.random(8) as i64;
                let ephemeral = tree.session_timeout(SessionId(owner)).is_some() && self.random(2) == 0;
                let acl = vec![Acl::new(Perms(1 + self.random(31) as i32), "world", "anyone")];
                let txn = self.create_txn(&format!("{parent}/n{n}"), size, acl, ephemeral);
                self.entry(owner, OpCode::Create, Txn::Create(txn))
            }
            10..=13 => {
                let path = any(self);
                self.set(&path, size)
            }
            14..=15 => {
                let path = any(self);
                match tree.get(&path) {
                    Some(n) if n.num_children() > 0 => self.set(&path, size),
                    _ => self.delete(&path),
                }
            }
            16 => {
                let acl = Some(vec![Acl::new(Perms(self.random(32) as i32), "ip", "10.0.0.7")]);
                let txn = Txn::SetAcl { path: any(self).into(), acl, version: 3 };
                self.entry(1, OpCode::SetAcl, txn)
            }
            17 => self.entry(1, OpCode::Error, Txn::Error { err: -101 }),
            _ => {
                let (a, b) = (any(self), self.random(1 << 30));
                let create = self.create_txn(&format!("/m{b}"), size, Acl::open(), false);
                let set = Txn::SetData { path: a.into(), data: Some(Bytes::from_static(b"m")), version: 1 };
                let subs = vec![
                    SubTxn { op: OpCode::Create, txn: Txn::Create(create) },
                    SubTxn { op: OpCode::SetData, txn: set },
                ];
                self.entry(1, OpCode::Multi, Txn::Multi(subs))
            }
        }
    }

    /// `n` transactions with their digests, and the tree after each. Applied
    /// to `tree` as well.
    pub(crate) fn run(&mut self, tree: &mut Tree, n: usize) -> Vec<LogEntry> {
        let mut effects = Effects::default();
        let mut out = Vec::new();
        for _ in 0..n {
            let mut entry = self.next(tree);
            tree.apply(&entry, &mut effects);
            effects.clear();
            if entry.header.op != OpCode::Error {
                entry.digest = Some(TxnDigest { version: 2, tree: tree.digest() });
            }
            out.push(entry);
        }
        out
    }
}

/// The tree after applying `entries` to an empty one.
pub(crate) fn tree_after(entries: &[LogEntry]) -> Tree {
    let mut tree = Tree::new(TreeOptions::default());
    let mut effects = Effects::default();
    for e in entries {
        tree.apply(e, &mut effects);
        effects.clear();
    }
    tree
}
