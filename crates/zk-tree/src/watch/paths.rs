use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashTable;
use zk_proto::client::{EventType, WatcherKind};

use super::{Interest, WatchKind, ancestors};
use crate::apply::Fired;

// What one connection has on one path, as bits. Java has two tables, of data
// and of children; persistent ones are in both, recursive ones in the first.
const DATA: u8 = 1;
const CHILD: u8 = 2;
const PERSISTENT: u8 = 4;
const RECURSIVE: u8 = 8;
const IN_DATA_TABLE: u8 = DATA | PERSISTENT | RECURSIVE;
const IN_CHILD_TABLE: u8 = CHILD | PERSISTENT;
const KINDS: [WatchKind; 4] =
    [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::Recursive];

fn bit(kind: WatchKind) -> u8 {
    match kind {
        WatchKind::Data => DATA,
        WatchKind::Child => CHILD,
        WatchKind::Persistent => PERSISTENT,
        WatchKind::Recursive => RECURSIVE,
    }
}

fn bits(kind: WatcherKind) -> u8 {
    match kind {
        WatcherKind::Children => CHILD,
        WatcherKind::Data => DATA,
        WatcherKind::Any => DATA | CHILD | PERSISTENT | RECURSIVE,
        WatcherKind::Persistent => PERSISTENT,
        WatcherKind::PersistentRecursive => RECURSIVE,
    }
}

/// Watches by path: those that stay, those of paths that have no node, and
/// whatever else their connections have on the same paths.
#[derive(Debug)]
pub(super) struct PathWatches {
    interest: Arc<Interest>,
    /// Ids of paths by hash.
    index: HashTable<u32>,
    paths: Vec<Option<PathEntry>>,
    free: Vec<u32>,
    /// Ids of the paths of each connection.
    conns: BTreeMap<u32, BTreeSet<u32>>,
    recursive: usize,
    data_watches: usize,
    child_watches: usize,
}

#[derive(Debug)]
struct PathEntry {
    path: Box<str>,
    conns: Conns,
}

/// Connections of a path with their bits, never empty: mostly it is one.
#[derive(Debug)]
enum Conns {
    One(u32, u8),
    Many(BTreeMap<u32, u8>),
}

impl Conns {
    fn get(&self, conn: u32) -> u8 {
        match self {
            Conns::One(c, b) if *c == conn => *b,
            Conns::One(..) => 0,
            Conns::Many(map) => map.get(&conn).copied().unwrap_or(0),
        }
    }

    /// Sets a connection's bits; false: none are left at all.
    fn set(&mut self, conn: u32, bits: u8) -> bool {
        match self {
            Conns::One(c, b) if *c == conn => {
                *b = bits;
                return bits != 0;
            }
            Conns::One(..) if bits == 0 => return true,
            Conns::One(c, b) => *self = Conns::Many(BTreeMap::from([(*c, *b), (conn, bits)])),
            Conns::Many(map) => {
                if bits == 0 {
                    map.remove(&conn);
                } else {
                    map.insert(conn, bits);
                }
                if map.len() == 1 {
                    let (c, b) = map.pop_first().expect("it has one");
                    *self = Conns::One(c, b);
                }
            }
        }
        true
    }

    fn for_each(&self, mut f: impl FnMut(u32, u8)) {
        match self {
            Conns::One(c, b) => f(*c, *b),
            Conns::Many(map) => map.iter().for_each(|(c, b)| f(*c, *b)),
        }
    }
}

impl PathWatches {
    /// An empty table that counts into `interest`.
    pub fn new(interest: Arc<Interest>) -> PathWatches {
        PathWatches {
            interest,
            index: HashTable::new(),
            paths: Vec::new(),
            free: Vec::new(),
            conns: BTreeMap::new(),
            recursive: 0,
            data_watches: 0,
            child_watches: 0,
        }
    }

    fn entry(&self, id: u32) -> &PathEntry {
        self.paths[id as usize].as_ref().expect("ids of forgotten paths are not kept")
    }

    fn find(&self, path: &str) -> Option<u32> {
        self.index.find(self.interest.hash(path), |id| &*self.entry(*id).path == path).copied()
    }

    fn bits_of(&self, conn: u32, path: &str) -> u8 {
        self.find(path).map_or(0, |id| self.entry(id).conns.get(conn))
    }

    /// Whether a connection has anything on a path.
    pub fn has(&self, conn: u32, path: &str) -> bool {
        !self.paths_are_empty() && self.bits_of(conn, path) != 0
    }

    fn paths_are_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Sets a watch; false if the connection has it already.
    pub fn add(&mut self, conn: u32, kind: WatchKind, path: &str) -> bool {
        let (id, old) = match self.find(path) {
            Some(id) => (id, self.entry(id).conns.get(conn)),
            None => (self.new_path(conn, path), 0),
        };
        let new = old | bit(kind);
        if new == old {
            return false;
        }
        self.conns.entry(conn).or_default().insert(id);
        self.set_bits(id, conn, old, new);
        self.interest.add_path(kind, path);
        true
    }

    fn new_path(&mut self, conn: u32, path: &str) -> u32 {
        let entry = PathEntry { path: path.into(), conns: Conns::One(conn, 0) };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.paths.push(None);
                u32::try_from(self.paths.len() - 1).expect("fewer than 2^32 paths fit into memory")
            }
        };
        self.paths[id as usize] = Some(entry);
        let Self { interest, index, paths, .. } = self;
        index.insert_unique(interest.hash(path), id, |id| {
            interest.hash(&paths[*id as usize].as_ref().expect("indexed paths exist").path)
        });
        id
    }

    /// Changes a connection's bits on a path and all counts of this table with
    /// them; a path that nobody watches is forgotten. The connection's own set
    /// of paths is the caller's.
    fn set_bits(&mut self, id: u32, conn: u32, old: u8, new: u8) {
        let entry = self.paths[id as usize].as_mut().expect("ids of forgotten paths are not kept");
        let is = |bits: u8, table: u8| usize::from(bits & table != 0);
        self.data_watches = self.data_watches + is(new, IN_DATA_TABLE) - is(old, IN_DATA_TABLE);
        self.child_watches = self.child_watches + is(new, IN_CHILD_TABLE) - is(old, IN_CHILD_TABLE);
        self.recursive = self.recursive + is(new, RECURSIVE) - is(old, RECURSIVE);
        if !entry.conns.set(conn, new) {
            let entry = self.paths[id as usize].take().expect("it was just there");
            let found = self.index.find_entry(self.interest.hash(&entry.path), |other| *other == id);
            found.expect("a path is indexed for as long as it is kept").remove();
            self.free.push(id);
        }
    }

    /// Removes watches of a connection on a path; false if there were none of
    /// this kind.
    pub fn remove(&mut self, conn: u32, kind: WatcherKind, path: &str) -> bool {
        let Some(id) = self.find(path) else { return false };
        let old = self.entry(id).conns.get(conn);
        let gone = old & bits(kind);
        if gone == 0 {
            return false;
        }
        self.take_bits(id, conn, old, gone);
        true
    }

    fn take_bits(&mut self, id: u32, conn: u32, old: u8, gone: u8) {
        for kind in KINDS {
            if gone & bit(kind) != 0 {
                self.interest.remove_path(kind, &self.entry(id).path);
            }
        }
        if old == gone {
            let ids = self.conns.get_mut(&conn).expect("a connection with a watch is known");
            ids.remove(&id);
            if ids.is_empty() {
                self.conns.remove(&conn);
            }
        }
        self.set_bits(id, conn, old, old & !gone);
    }

    /// Whether a connection has a watch on a path.
    pub fn contains(&self, conn: u32, kind: WatcherKind, path: &str) -> bool {
        self.bits_of(conn, path) & bits(kind) != 0
    }

    /// Forgets a connection.
    pub fn drop_conn(&mut self, conn: u32) {
        for id in self.conns.get(&conn).cloned().unwrap_or_default() {
            let old = self.entry(id).conns.get(conn);
            self.take_bits(id, conn, old, old);
        }
    }

    /// Appends the connections that wait for this to `told`, in ascending order, and
    /// removes those watches that are told once.
    pub fn fire(&mut self, fired: &Fired, told: &mut Vec<u32>) {
        if self.paths_are_empty() {
            return;
        }
        let (wanted, once) = match fired.event {
            EventType::NodeCreated | EventType::NodeDataChanged => (IN_DATA_TABLE, DATA),
            EventType::NodeDeleted => (IN_DATA_TABLE | IN_CHILD_TABLE, DATA | CHILD),
            EventType::NodeChildrenChanged => (IN_CHILD_TABLE, CHILD),
        };
        if let Some(id) = self.find(&fired.path) {
            let mut used = Vec::new();
            self.entry(id).conns.for_each(|conn, bits| {
                if bits & wanted != 0 {
                    told.push(conn);
                }
                if bits & once != 0 {
                    used.push((conn, bits));
                }
            });
            for (conn, bits) in used {
                self.take_bits(id, conn, bits, bits & once);
            }
        }
        if self.recursive > 0 && fired.event != EventType::NodeChildrenChanged {
            for above in ancestors(&fired.path) {
                let Some(id) = self.find(above) else { continue };
                self.entry(id).conns.for_each(|conn, bits| {
                    if bits & RECURSIVE != 0 {
                        told.push(conn);
                    }
                });
            }
        }
    }

    /// Pairs of path and connection in the data table.
    pub fn data_watches(&self) -> usize {
        self.data_watches
    }

    /// Pairs of path and connection in the table of children.
    pub fn child_watches(&self) -> usize {
        self.child_watches
    }

    /// Paths of the data table, unsorted, with their connections in ascending order.
    pub fn data(&self) -> impl Iterator<Item = (&str, Vec<u32>)> {
        self.paths.iter().flatten().filter_map(|p| {
            let mut conns = Vec::new();
            p.conns.for_each(|conn, bits| {
                if bits & IN_DATA_TABLE != 0 {
                    conns.push(conn);
                }
            });
            (!conns.is_empty()).then_some((&*p.path, conns))
        })
    }
}
