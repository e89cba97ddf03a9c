use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use zk_proto::{Acl, Writer, Zxid};
use zk_tree::{Node, Touched, Tree};

use super::Table;
use super::encoding::{self, Data};

/// Data up to this many bytes stands beside the node's numbers, longer data in
/// a column family of its own, so that a change of the numbers does not write
/// it again.
pub(super) const INLINE: usize = 1024;

/// What a piece of committed transactions changed, ready for the mirror.
/// Nothing of the tree is borrowed: it is made under the tree's lock and
/// written by another thread.
#[derive(Debug, Default)]
pub struct MirrorBatch {
    pub(super) zxid: Zxid,
    pub(super) digest: u64,
    arena: Vec<u8>,
    ops: Vec<Op>,
    /// Bytes that do not stand in the arena.
    shared: usize,
}

#[derive(Debug)]
struct Op {
    table: Table,
    key: Range<usize>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Delete,
    Put(Range<usize>),
    /// Data that the tree shares; with the mzxid that it came with.
    Shared(Bytes, i64),
}

/// One change of one key, as the writer sees it.
pub(super) enum Change<'a> {
    Delete,
    Put(&'a [u8]),
    Large(&'a [u8], i64),
}

impl MirrorBatch {
    /// The last transaction it contains.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Memory that it holds, for bounds on queues.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.ops.len() * size_of::<Op>() + self.shared
    }

    /// Whether it changes nothing but the zxid.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// For a tree that has just applied what `touched` lists. To be called at
    /// the end of a commit slice, under the lock: one look-up and one copy a
    /// touched thing.
    pub(super) fn encode(tree: &Tree, touched: &Touched) -> MirrorBatch {
        let mut batch = MirrorBatch { zxid: tree.last_zxid(), digest: tree.digest(), ..Default::default() };
        batch.arena.reserve(touched.len() * 128);
        for node in touched.nodes.iter().filter_map(|id| tree.by_id(*id)) {
            batch.put_node(&node.path(), node);
        }
        for path in touched.gone.iter().filter(|path| tree.get(path).is_none()) {
            batch.push(Table::Nodes, path.as_bytes(), |_| Value::Delete);
        }
        for id in &touched.acls {
            batch.push(Table::Acls, &id.to_be_bytes(), |arena| match tree.acl_list(*id) {
                Some(list) => put(arena, |a| Acl::write_list(Some(list), &mut Writer::new(a))),
                None => Value::Delete,
            });
        }
        for id in &touched.sessions {
            batch.push(Table::Sessions, &id.0.to_be_bytes(), |arena| match tree.session_timeout(*id) {
                Some(timeout) => put(arena, |a| a.extend_from_slice(&timeout.to_be_bytes())),
                None => Value::Delete,
            });
        }
        batch
    }

    pub(super) fn put_node(&mut self, path: &str, node: Node<'_>) {
        let stat = node.persisted();
        let data = node.data();
        let large = data.is_some_and(|d| d.len() > INLINE);
        let place = match data {
            None => Data::Null,
            Some(_) if large => Data::External,
            Some(d) => Data::Inline(d),
        };
        self.push(Table::Nodes, path.as_bytes(), |arena| {
            put(arena, |a| encoding::encode(a, &stat, node.acl_id(), place))
        });
        if large && let Some(bytes) = node.data_bytes() {
            self.shared += bytes.len();
            // Quotas' counts and the configuration change in place.
            let version = if path.starts_with("/zookeeper/") { -1 } else { stat.mzxid };
            self.push(Table::Data, path.as_bytes(), |_| Value::Shared(bytes, version));
        }
    }

    pub(super) fn put_acl(&mut self, id: i64, list: &[Acl]) {
        self.push(Table::Acls, &id.to_be_bytes(), |arena| {
            put(arena, |a| Acl::write_list(Some(list), &mut Writer::new(a)))
        });
    }

    pub(super) fn put_session(&mut self, id: i64, timeout: i32) {
        self.push(Table::Sessions, &id.to_be_bytes(), |arena| {
            put(arena, |a| a.extend_from_slice(&timeout.to_be_bytes()))
        });
    }

    fn push(&mut self, table: Table, key: &[u8], value: impl FnOnce(&mut Vec<u8>) -> Value) {
        let start = self.arena.len();
        self.arena.extend_from_slice(key);
        let key = start..self.arena.len();
        let value = value(&mut self.arena);
        self.ops.push(Op { table, key, value });
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.arena.get(range.clone()).expect("ranges are made with the arena")
    }
}

fn put(arena: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let start = arena.len();
    write(arena);
    Value::Put(start..arena.len())
}

/// The changes of several batches, the newest of each key only.
pub(super) fn merged<'a>(batches: &'a [MirrorBatch], mut each: impl FnMut(Table, &'a [u8], Change<'a>)) {
    let mut seen = HashSet::new();
    for batch in batches.iter().rev() {
        let mut newest = true;
        for op in &batch.ops {
            let key = batch.part(&op.key);
            // A batch names a key once. Large data comes right behind its node
            // and shares its fate.
            if op.table != Table::Data {
                newest = batches.len() == 1 || seen.insert((op.table, key));
            }
            if !newest {
                continue;
            }
            let change = match &op.value {
                Value::Delete => Change::Delete,
                Value::Put(range) => Change::Put(batch.part(range)),
                Value::Shared(bytes, version) => Change::Large(bytes, *version),
            };
            each(op.table, key, change);
        }
    }
}
