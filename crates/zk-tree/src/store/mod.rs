//! Nodes in memory, small and without pointers: 1 record of about 100 bytes a
//! node (name 24 and data 47 bytes of it), 4 bytes in the table of ids, 4 in
//! the parent's list, and 6 to 11 in the index.
//!
//! A path is not stored. The index finds candidates by a keyed hash of the full
//! path, and the names up to the root decide.

mod record;
pub(crate) mod slab;

use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::quality::FixedState;
use hashbrown::HashTable;
use zk_proto::StatPersisted;

use self::record::{Body, CHILDREN, HASH, MAX_DATA, MAX_NAME, PARENT, PLACE, Part, get_u32, set_u32};
use self::slab::{Loc, Slabs};
use crate::NodeId;
use crate::digest::Named;

/// The root's id.
pub(crate) const ROOT: NodeId = NodeId(0);

/// The index grows by one of its 256 parts at a time.
const SHARD_BITS: u32 = 8;
/// Marks a number in the children field as that of a list.
const LIST: u32 = 1 << 31;

/// New data of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NewData<'a> {
    Keep,
    Set(Option<&'a [u8]>),
}

/// What a node is besides its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub stat: StatPersisted,
    pub acl: i64,
    pub data: Option<&'a [u8]>,
    /// CRC-32 of data that is long enough for it to be kept.
    pub crc: Option<u32>,
}

impl Contents<'_> {
    /// Its part of the digest under this path.
    pub fn digest(&self, path: &str) -> u32 {
        Named::new(path, self.data, self.crc).with(&self.stat)
    }
}

/// Things of any size under small numbers, which are used again.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Numbered<T> {
    pub fn new() -> Self {
        Numbered { items: Vec::new(), free: Vec::new() }
    }
    pub fn add(&mut self, item: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.items[number as usize] = item;
            return number;
        }
        self.items.push(item);
        u32::try_from(self.items.len() - 1).expect("fewer than there are nodes")
    }
    pub fn get(&self, number: u32) -> &T {
        &self.items[number as usize]
    }
    pub fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.items[number as usize]
    }
    pub fn remove(&mut self, number: u32) -> T {
        self.free.push(number);
        std::mem::take(&mut self.items[number as usize])
    }
    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}

/// Bytes too long for a record, with their CRC-32 for the node's digest.
#[derive(Debug, Default)]
struct Long {
    bytes: Bytes,
    crc: u32,
}

/// Locations by id, in pieces so that growing copies nothing.
#[derive(Debug)]
struct Ids {
    pieces: Vec<Box<[Loc]>>,
    used: u32,
    free: Vec<u32>,
}

const PIECE: u32 = 1 << 14;
/// Where a node is that is not there: units of this number are never in use, since a chunk has
/// fewer slots than units.
const NOWHERE: Loc = Loc(u32::MAX);

impl Ids {
    fn get(&self, id: NodeId) -> Loc {
        self.pieces[(id.0 / PIECE) as usize][(id.0 % PIECE) as usize]
    }
    fn set(&mut self, id: NodeId, at: Loc) {
        self.pieces[(id.0 / PIECE) as usize][(id.0 % PIECE) as usize] = at;
    }
    fn remove(&mut self, id: NodeId) {
        self.set(id, NOWHERE);
        self.free.push(id.0);
    }
    fn add(&mut self, at: Loc) -> NodeId {
        let id = self.free.pop().unwrap_or_else(|| {
            let id = self.used;
            assert!(id < LIST, "more than 2^31 nodes");
            if id.is_multiple_of(PIECE) {
                self.pieces.push(vec![Loc(0); PIECE as usize].into_boxed_slice());
            }
            self.used += 1;
            id
        });
        self.set(NodeId(id), at);
        NodeId(id)
    }
}

/// Ids of a node's children.
#[derive(Debug, Clone)]
pub(crate) enum ChildIds<'a> {
    One(std::option::IntoIter<u32>),
    Many(std::slice::Iter<'a, u32>),
}

impl Iterator for ChildIds<'_> {
    type Item = NodeId;
    fn next(&mut self) -> Option<NodeId> {
        match self {
            ChildIds::One(one) => one.next(),
            ChildIds::Many(many) => many.next().copied(),
        }
        .map(NodeId)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            ChildIds::One(one) => one.size_hint(),
            ChildIds::Many(many) => many.size_hint(),
        }
    }
}

impl ExactSizeIterator for ChildIds<'_> {}

#[derive(Debug)]
pub(crate) struct Store {
    hasher: FixedState,
    shards: Vec<HashTable<u32>>,
    ids: Ids,
    slabs: Slabs,
    lists: Numbered<Vec<u32>>,
    long: Numbered<Long>,
    len: usize,
    /// A record before it has its slot.
    scratch: Vec<u8>,
}

/// A table's hash from the stored one. The stored one's upper bits chose the
/// table; its lower ones are the lower ones here, and all of them are in the
/// upper ones, which hashbrown compares first.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[inline]
fn shard_of(hash: u32) -> usize {
    (hash >> (32 - SHARD_BITS)) as usize
}

impl Store {
    /// A store with nothing but the root.
    pub fn new(seed: u64, stat: &StatPersisted, acl: i64, data: Option<&[u8]>) -> Store {
        let mut store = Store {
            hasher: FixedState::with_seed(seed),
            shards: (0..1 << SHARD_BITS).map(|_| HashTable::new()).collect(),
            ids: Ids { pieces: Vec::new(), used: 0, free: Vec::new() },
            slabs: Slabs::new(),
            lists: Numbered::new(),
            long: Numbered::new(),
            len: 0,
            scratch: Vec::new(),
        };
        // The root is not in the index: it is asked for by number.
        let root = store.add_record([0; 4], "", stat, acl, data);
        assert_eq!(root, ROOT, "the root comes first");
        store
    }

    #[inline]
    fn record(&self, id: NodeId) -> &[u8] {
        self.slabs.slot(self.ids.get(id))
    }

    fn set_field(&mut self, id: NodeId, field: usize, value: u32) {
        set_u32(self.slabs.slot_mut(self.ids.get(id)), field, value);
    }

    fn hash(&self, path: &str) -> u32 {
        (self.hasher.hash_one(path) >> 32) as u32
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Makes room in the index for so many nodes in all, so that it does not grow step by step.
    pub fn reserve(&mut self, nodes: usize) {
        // The shards are not exactly of one size.
        let each = nodes / self.shards.len();
        let wanted = each + each / 32;
        let Store { shards, ids, slabs, .. } = self;
        for shard in shards {
            let more = wanted.saturating_sub(shard.len());
            shard.reserve(more, |id| spread(get_u32(slabs.slot(ids.get(NodeId(*id))), HASH)));
        }
    }

    /// Gives back what was reserved for too many.
    pub fn trim(&mut self) {
        let Store { shards, ids, slabs, .. } = self;
        for shard in shards {
            shard.shrink_to(shard.len(), |id| spread(get_u32(slabs.slot(ids.get(NodeId(*id))), HASH)));
        }
    }

    #[inline]
    fn bytes_of<'a>(&'a self, part: Part<'a>) -> &'a [u8] {
        match part {
            Part::Inside(bytes) => bytes,
            Part::Outside(number) => &self.long.get(number).bytes,
        }
    }

    /// The node at a path. Whatever is no path has no node.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        if path.is_empty() || path == "/" {
            return Some(ROOT);
        }
        let hash = self.hash(path);
        let found = self.shards[shard_of(hash)].find(spread(hash), |id| {
            let record = self.record(NodeId(*id));
            get_u32(record, HASH) == hash && self.is_at(record, path.as_bytes())
        });
        found.map(|id| NodeId(*id))
    }

    /// Whether a node has this id.
    pub fn has(&self, id: NodeId) -> bool {
        id.0 < self.ids.used && self.ids.get(id) != NOWHERE
    }

    /// Whether the node of this id is the one at a path. Of the root it is not said.
    pub fn is_node_at(&self, id: NodeId, path: &str) -> bool {
        id != ROOT && self.has(id) && self.is_at(self.record(id), path.as_bytes())
    }

    /// Whether the names from a record up to the root are these.
    fn is_at<'a>(&'a self, mut record: &'a [u8], path: &[u8]) -> bool {
        let mut rest = path;
        loop {
            let name = self.bytes_of(record::name(record));
            let Some(above) = rest.strip_suffix(name).and_then(|r| r.strip_suffix(b"/")) else {
                return false;
            };
            let parent = NodeId(get_u32(record, PARENT));
            if parent == ROOT {
                return above.is_empty();
            }
            rest = above;
            record = self.record(parent);
        }
    }

    /// Brings what look-ups of these paths will read into the processor's cache.
    /// Each step is one read for each path; they do not depend on one another,
    /// so they wait for memory together.
    pub fn touch(&self, paths: &[&str]) {
        let hashes: Vec<u32> = paths.iter().map(|path| self.hash(path)).collect();
        let likely = |hash: &u32| self.shards[shard_of(*hash)].iter_hash(spread(*hash)).next().copied();
        let mut ids: Vec<NodeId> = hashes.iter().filter_map(likely).map(NodeId).collect();
        for _ in 0..2 {
            let places: Vec<Loc> = ids.iter().map(|id| self.ids.get(*id)).collect();
            for (id, at) in ids.iter_mut().zip(places) {
                *id = NodeId(get_u32(self.slabs.slot(at), PARENT));
            }
        }
        std::hint::black_box(&ids);
    }

    fn keep_long(&mut self, bytes: &[u8]) -> u32 {
        self.long.add(Long { bytes: Bytes::copy_from_slice(bytes), crc: crc32fast::hash(bytes) })
    }

    fn add_record(
        &mut self,
        fixed: [u32; 4],
        name: &str,
        stat: &StatPersisted,
        acl: i64,
        data: Option<&[u8]>,
    ) -> NodeId {
        let name_part = if name.len() <= MAX_NAME {
            Part::Inside(name.as_bytes())
        } else {
            Part::Outside(self.keep_long(name.as_bytes()))
        };
        let data = data.map(|d| match d.len() {
            0..=MAX_DATA => Part::Inside(d),
            _ => Part::Outside(self.keep_long(d)),
        });
        self.scratch.clear();
        record::encode(&mut self.scratch, fixed, name_part, &Body { stat: *stat, acl, data });
        self.len += 1;
        self.ids.add(self.slabs.put(&self.scratch))
    }

    /// Puts a node below a parent. The path must be new.
    pub fn insert(
        &mut self,
        path: &str,
        parent: NodeId,
        name: &str,
        stat: &StatPersisted,
        acl: i64,
        data: Option<&[u8]>,
    ) -> NodeId {
        debug_assert!(self.find(path).is_none(), "a path has one node");
        assert!(!name.is_empty(), "only the root has no name");
        let hash = self.hash(path);
        let place = self.children(parent).len() as u32;
        let id = self.add_record([hash, parent.0, place, 0], name, stat, acl, data);
        self.append_child(parent, id);
        let Store { shards, ids, slabs, .. } = self;
        shards[shard_of(hash)]
            .insert_unique(spread(hash), id.0, |id| spread(get_u32(slabs.slot(ids.get(NodeId(*id))), HASH)));
        id
    }

    fn append_child(&mut self, parent: NodeId, child: NodeId) {
        let field = get_u32(self.record(parent), CHILDREN);
        if field == 0 {
            self.set_field(parent, CHILDREN, child.0);
        } else if field & LIST == 0 {
            let list = self.lists.add(vec![field, child.0]);
            self.set_field(parent, CHILDREN, LIST | list);
        } else {
            self.lists.get_mut(field & !LIST).push(child.0);
        }
    }

    /// Removes a node without children.
    pub fn remove(&mut self, id: NodeId) {
        assert!(id != ROOT, "the root stays");
        let record = self.record(id);
        assert!(get_u32(record, CHILDREN) == 0, "children go first");
        let (hash, parent) = (get_u32(record, HASH), NodeId(get_u32(record, PARENT)));
        let place = get_u32(record, PLACE);
        let outside = |part| if let Part::Outside(number) = part { Some(number) } else { None };
        let long = [outside(record::name(record)), record::body(record).data.and_then(outside)];
        self.remove_child(parent, place, id);
        for number in long.into_iter().flatten() {
            self.long.remove(number);
        }
        let entry = self.shards[shard_of(hash)].find_entry(spread(hash), |other| *other == id.0);
        entry.expect("every node but the root is in the index").remove();
        self.slabs.free(self.ids.get(id));
        self.ids.remove(id);
        self.len -= 1;
    }

    fn remove_child(&mut self, parent: NodeId, place: u32, child: NodeId) {
        let field = get_u32(self.record(parent), CHILDREN);
        if field & LIST == 0 {
            assert_eq!(field, child.0, "a parent knows its children");
            return self.set_field(parent, CHILDREN, 0);
        }
        let list = self.lists.get_mut(field & !LIST);
        assert_eq!(list.swap_remove(place as usize), child.0, "a child knows its place");
        let moved = list.get(place as usize).copied();
        if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        if let [last] = list[..] {
            self.lists.remove(field & !LIST);
            self.set_field(parent, CHILDREN, last);
        }
        if let Some(moved) = moved {
            self.set_field(NodeId(moved), PLACE, place);
        }
    }

    /// Changes a node's numbers and data. Gives the CRC-32 of new data that is long enough for it to be kept.
    pub fn update(&mut self, id: NodeId, stat: &StatPersisted, acl: i64, data: NewData<'_>) -> Option<u32> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let at = self.ids.get(id);
        let new = match data {
            NewData::Keep => None,
            NewData::Set(data) => {
                if let Some(Part::Outside(number)) = record::body(self.slabs.slot(at)).data {
                    self.long.remove(number);
                }
                Some(data.map(|d| match d.len() {
                    0..=MAX_DATA => Part::Inside(d),
                    _ => Part::Outside(self.keep_long(d)),
                }))
            }
        };
        let record = self.slabs.slot(at);
        let fixed = [HASH, PARENT, PLACE, CHILDREN].map(|field| get_u32(record, field));
        let data = new.unwrap_or_else(|| record::body(record).data);
        record::encode(&mut scratch, fixed, record::name(record), &Body { stat: *stat, acl, data });
        let now_at = self.slabs.replace(at, &scratch);
        self.ids.set(id, now_at);
        self.scratch = scratch;
        match new {
            Some(Some(Part::Outside(number))) => Some(self.long.get(number).crc),
            _ => None,
        }
    }

    pub fn stat(&self, id: NodeId) -> StatPersisted {
        record::body(self.record(id)).stat
    }

    /// All that a node is besides its place, read at once.
    pub fn contents(&self, id: NodeId) -> Contents<'_> {
        let Body { stat, acl, data } = record::body(self.record(id));
        let (data, crc) = match data {
            None => (None, None),
            Some(Part::Inside(bytes)) => (Some(bytes), None),
            Some(Part::Outside(number)) => {
                let long = self.long.get(number);
                (Some(&long.bytes[..]), Some(long.crc))
            }
        };
        Contents { stat, acl, data, crc }
    }

    pub fn acl(&self, id: NodeId) -> i64 {
        record::body(self.record(id)).acl
    }

    pub fn data(&self, id: NodeId) -> Option<&[u8]> {
        record::body(self.record(id)).data.map(|part| self.bytes_of(part))
    }

    /// Data, shared if it is outside of its record.
    pub fn data_bytes(&self, id: NodeId) -> Option<Bytes> {
        record::body(self.record(id)).data.map(|part| match part {
            Part::Inside(bytes) => Bytes::copy_from_slice(bytes),
            Part::Outside(number) => self.long.get(number).bytes.clone(),
        })
    }

    pub fn name(&self, id: NodeId) -> &str {
        let name = self.bytes_of(record::name(self.record(id)));
        std::str::from_utf8(name).expect("names come from texts")
    }

    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        (id != ROOT).then(|| NodeId(get_u32(self.record(id), PARENT)))
    }

    pub fn children(&self, id: NodeId) -> ChildIds<'_> {
        match get_u32(self.record(id), CHILDREN) {
            0 => ChildIds::One(None.into_iter()),
            field if field & LIST == 0 => ChildIds::One(Some(field).into_iter()),
            field => ChildIds::Many(self.lists.get(field & !LIST).iter()),
        }
    }

    /// Checks that all that hangs together does.
    #[cfg(test)]
    pub fn check(&self) {
        let mut seen = 0;
        let mut open = vec![ROOT];
        let (mut lists, mut long) = (0, 0);
        while let Some(id) = open.pop() {
            seen += 1;
            let record = self.record(id);
            lists += usize::from(get_u32(record, CHILDREN) & LIST != 0);
            let body = record::body(record);
            long += usize::from(matches!(body.data, Some(Part::Outside(_))));
            long += usize::from(matches!(record::name(record), Part::Outside(_)));
            for (place, child) in self.children(id).enumerate() {
                assert_eq!(get_u32(self.record(child), PLACE) as usize, place);
                assert_eq!(self.parent(child), Some(id));
                open.push(child);
            }
        }
        assert_eq!(seen, self.len);
        assert_eq!(self.shards.iter().map(HashTable::len).sum::<usize>(), self.len - 1);
        assert_eq!(self.ids.used as usize - self.ids.free.len(), self.len);
        assert_eq!(self.lists.items.len() - self.lists.free.len(), lists);
        assert_eq!(self.long.items.len() - self.long.free.len(), long);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::new(1, &StatPersisted::default(), -1, None)
    }

    fn add(s: &mut Store, path: &str) -> NodeId {
        let (parent, name) = zk_proto::path::split(path).unwrap();
        let parent = s.find(parent).unwrap();
        s.insert(path, parent, name, &StatPersisted::default(), -1, Some(path.as_bytes()))
    }

    #[test]
    fn children_of_any_number() {
        let mut s = store();
        let ids: Vec<NodeId> = (0..3000).map(|i| add(&mut s, &format!("/n{i}"))).collect();
        s.check();
        for (i, id) in ids.iter().enumerate().filter(|(i, _)| i % 3 != 1) {
            assert_eq!(s.name(*id), format!("n{i}"));
            s.remove(*id);
        }
        s.check();
        assert_eq!(s.children(ROOT).len(), 1000);
        let capacity = |s: &Store| s.lists.items.iter().map(Vec::capacity).sum::<usize>();
        assert!(capacity(&s) <= 4000);
        for i in (1..3000).step_by(3) {
            let id = s.find(&format!("/n{i}")).unwrap();
            assert_eq!(s.data(id), Some(format!("/n{i}").as_bytes()));
            s.remove(id);
            assert!(s.find(&format!("/n{i}")).is_none());
        }
        s.check();
        assert_eq!((s.len(), capacity(&s)), (1, 0));
        assert_eq!(add(&mut s, "/again").0, 2999, "ids are used again");
    }

    /// All hashes equal: the names decide.
    #[test]
    fn a_hash_alone_decides_nothing() {
        let mut s = store();
        for path in ["/a", "/a/b", "/b", "/b/b", "/a/b/a"] {
            add(&mut s, path);
        }
        let record = |path: &str| s.record(s.find(path).unwrap());
        assert!(s.is_at(record("/a/b"), b"/a/b"));
        for other in ["/b/b", "/b", "b", "/a/a/b", "/x/a/b", "a/b", "//a/b", "/a//b", "/ab", ""] {
            assert!(!s.is_at(record("/a/b"), other.as_bytes()), "{other}");
        }
        assert!(!s.is_at(record("/b"), b"/a/b"));
        s.check();
    }

    #[test]
    fn a_number_is_of_one_path() {
        let mut s = store();
        let (a, b) = (add(&mut s, "/a"), add(&mut s, "/a/b"));
        assert!(s.is_node_at(b, "/a/b") && !s.is_node_at(b, "/a") && !s.is_node_at(a, "/a/b"));
        s.remove(b);
        assert!(!s.is_node_at(b, "/a/b"));
        assert_eq!(add(&mut s, "/b"), b);
        assert!(s.is_node_at(b, "/b") && !s.is_node_at(b, "/a/b"));
        for other in [ROOT, NodeId(9), NodeId(u32::MAX)] {
            assert!(!s.is_node_at(other, "/") && !s.is_node_at(other, ""), "{other:?}");
        }
    }
}
