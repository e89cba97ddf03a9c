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

/// Sizes of the data table. ref: WatchesSummary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchCounts {
    /// Connections that have, or had since they came, a watch in it.
    pub connections: usize,
    /// Paths.
    pub paths: usize,
    /// Pairs of path and connection.
    pub watches: usize,
}

/// The watches of one worker's connections.
#[derive(Debug)]
pub struct WatchTable {
    interest: Arc<Interest>,
    /// Ids of paths by hash.
    index: HashTable<u32>,
    paths: Vec<Option<PathEntry>>,
    free: Vec<u32>,
    conns: BTreeMap<u32, ConnEntry>,
    recursive: usize,
    data: WatchCounts,
    child_watches: usize,
    told: Vec<u32>,
}

#[derive(Debug)]
struct PathEntry {
    path: Box<str>,
    conns: Conns,
    /// How many of them are in the data table.
    in_data: u32,
}

/// Connections of a path with their bits, never empty: mostly it is one.
#[derive(Debug)]
enum Conns {
    One(u32, u8),
    Many(BTreeMap<u32, u8>),
}

#[derive(Debug, Default)]
struct ConnEntry {
    paths: BTreeSet<u32>,
    /// Java keeps a connection in its table until it closes.
    was_in_data: bool,
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

impl WatchTable {
    /// An empty table that counts into `interest`.
    pub fn new(interest: Arc<Interest>) -> WatchTable {
        WatchTable {
            interest,
            index: HashTable::new(),
            paths: Vec::new(),
            free: Vec::new(),
            conns: BTreeMap::new(),
            recursive: 0,
            data: WatchCounts::default(),
            child_watches: 0,
            told: Vec::new(),
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

    /// Sets a watch; false if the connection has it already.
    pub fn add(&mut self, conn: u32, kind: WatchKind, path: &str) -> bool {
        let is_new = self.insert(conn, kind, path);
        if is_new {
            self.interest.add(kind, path);
        }
        is_new
    }

    /// The same for a watch that was counted when it was announced: if the
    /// connection has it already, it is one count too many and taken back.
    pub fn add_counted(&mut self, conn: u32, kind: WatchKind, path: &str) -> bool {
        let is_new = self.insert(conn, kind, path);
        if !is_new {
            self.interest.remove(kind, path);
        }
        is_new
    }

    fn insert(&mut self, conn: u32, kind: WatchKind, path: &str) -> bool {
        let (id, old) = match self.find(path) {
            Some(id) => (id, self.entry(id).conns.get(conn)),
            None => (self.new_path(conn, path), 0),
        };
        let new = old | bit(kind);
        if new == old {
            return false;
        }
        let entry = self.conns.entry(conn).or_default();
        entry.paths.insert(id);
        if new & IN_DATA_TABLE != 0 && !entry.was_in_data {
            entry.was_in_data = true;
            self.data.connections += 1;
        }
        self.set_bits(id, conn, old, new);
        true
    }

    fn new_path(&mut self, conn: u32, path: &str) -> u32 {
        let entry = PathEntry { path: path.into(), conns: Conns::One(conn, 0), in_data: 0 };
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
        let in_data = |bits: u8| usize::from(bits & IN_DATA_TABLE != 0);
        let in_child = |bits: u8| usize::from(bits & IN_CHILD_TABLE != 0);
        let is_recursive = |bits: u8| usize::from(bits & RECURSIVE != 0);
        let had_data = entry.in_data > 0;
        entry.in_data = entry.in_data + in_data(new) as u32 - in_data(old) as u32;
        self.data.watches = self.data.watches + in_data(new) - in_data(old);
        self.child_watches = self.child_watches + in_child(new) - in_child(old);
        self.recursive = self.recursive + is_recursive(new) - is_recursive(old);
        self.data.paths = self.data.paths + usize::from(entry.in_data > 0) - usize::from(had_data);
        if !entry.conns.set(conn, new) {
            let entry = self.paths[id as usize].take().expect("it was just there");
            let found = self.index.find_entry(self.interest.hash(&entry.path), |other| *other == id);
            found.expect("a path is indexed for as long as it is kept").remove();
            self.free.push(id);
        }
    }

    /// Removes watches of a connection on a path; false if there were none of
    /// this kind. ref: DataTree.removeWatch.
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
                self.interest.remove(kind, &self.entry(id).path);
            }
        }
        if old == gone {
            self.conns.get_mut(&conn).expect("a connection with a watch is known").paths.remove(&id);
        }
        self.set_bits(id, conn, old, old & !gone);
    }

    /// Whether a connection has a watch on a path. ref: DataTree.containsWatcher.
    pub fn contains(&self, conn: u32, kind: WatcherKind, path: &str) -> bool {
        self.bits_of(conn, path) & bits(kind) != 0
    }

    /// Forgets a connection.
    pub fn drop_conn(&mut self, conn: u32) {
        let Some(mut entry) = self.conns.remove(&conn) else { return };
        for id in std::mem::take(&mut entry.paths) {
            let old = self.entry(id).conns.get(conn);
            for kind in KINDS {
                if old & bit(kind) != 0 {
                    self.interest.remove(kind, &self.entry(id).path);
                }
            }
            self.set_bits(id, conn, old, 0);
        }
        if entry.was_in_data {
            self.data.connections -= 1;
        }
    }

    /// Calls `tell` once for each connection that waits for this, in ascending
    /// order, and removes those watches that are told once. ref:
    /// WatchManager.triggerWatch.
    pub fn fire(&mut self, fired: &Fired, mut tell: impl FnMut(u32)) {
        let (wanted, once) = match fired.event {
            EventType::NodeCreated | EventType::NodeDataChanged => (IN_DATA_TABLE, DATA),
            EventType::NodeDeleted => (IN_DATA_TABLE | IN_CHILD_TABLE, DATA | CHILD),
            EventType::NodeChildrenChanged => (IN_CHILD_TABLE, CHILD),
        };
        let mut told = std::mem::take(&mut self.told);
        told.clear();
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
            told.sort_unstable();
            told.dedup();
        }
        told.iter().for_each(|conn| tell(*conn));
        self.told = told;
    }

    /// Sizes of the data table. ref: `wchs`.
    pub fn data_counts(&self) -> WatchCounts {
        self.data
    }

    /// Number of watches in both tables. ref: DataTree.getWatchCount.
    pub fn total(&self) -> usize {
        self.data.watches + self.child_watches
    }

    /// Connections of the data table with their paths there, unsorted. A
    /// connection whose watches are all gone is still listed, as in Java.
    /// ref: `wchc`.
    pub fn by_connection(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = &str>)> {
        self.conns.iter().filter(|(_, e)| e.was_in_data).map(|(conn, e)| {
            let paths = e.paths.iter().map(|id| self.entry(*id));
            let paths = paths.filter(|p| p.conns.get(*conn) & IN_DATA_TABLE != 0);
            (*conn, paths.map(|p| &*p.path))
        })
    }

    /// Paths of the data table, unsorted, with their connections. ref: `wchp`.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<u32>)> {
        self.paths.iter().flatten().filter(|p| p.in_data > 0).map(|p| {
            let mut conns = Vec::new();
            p.conns.for_each(|conn, bits| {
                if bits & IN_DATA_TABLE != 0 {
                    conns.push(conn);
                }
            });
            (&*p.path, conns)
        })
    }
}
