use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zk_proto::client::WatcherKind;

use super::nodes::{NodeWatches, Once};
use super::paths::PathWatches;
use super::{Interest, Place, WatchKind};
use crate::apply::Fired;
use crate::tree::{NodeId, Tree};

/// Sizes of the data table. ref: WatchesSummary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchCounts {
    /// Connections that have, or had since they came, a watch in it.
    pub connections: usize,
    /// Pairs of path and connection.
    pub watches: usize,
}

/// One path of the data table, comparable between workers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// That of a node.
    Node(NodeId),
    /// One that has no node.
    Path(Box<str>),
}

/// The watches of one worker's connections.
///
/// What one connection has on one path is in one of two places: in a small table by the
/// node's id if it is nothing but watches that are told once and the node is there, else
/// in a table by path. A [`Place`] must be of the tree as it was after all that was fired into
/// this table, and before all that is fired later.
#[derive(Debug)]
pub struct WatchTable {
    interest: Arc<Interest>,
    paths: PathWatches,
    nodes: NodeWatches,
    /// Java keeps a connection in its data table until it closes.
    in_data: BTreeSet<u32>,
    told: Vec<u32>,
}

const ONCE: [(Once, WatchKind, WatcherKind); 2] = [
    (Once::Data, WatchKind::Data, WatcherKind::Data),
    (Once::Child, WatchKind::Child, WatcherKind::Children),
];

impl WatchTable {
    /// An empty table that counts into `interest`.
    pub fn new(interest: Arc<Interest>) -> WatchTable {
        WatchTable {
            paths: PathWatches::new(Arc::clone(&interest)),
            nodes: NodeWatches::new(Arc::clone(&interest)),
            interest,
            in_data: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    /// Sets a watch; false if the connection has it already.
    pub fn add(&mut self, conn: u32, kind: WatchKind, at: Place<'_>) -> bool {
        if kind != WatchKind::Child {
            self.in_data.insert(conn);
        }
        let once = ONCE.iter().find(|(_, k, _)| *k == kind).map(|(once, ..)| *once);
        match (once, at.node) {
            (Some(once), Some(node)) if !self.paths.has(conn, at.path) => self.nodes.add(conn, once, node),
            (None, Some(node)) => {
                for (once, kind, _) in ONCE {
                    if self.nodes.contains(conn, once, node) {
                        // In this order: the writer of the tree may ask between the two.
                        self.paths.add(conn, kind, at.path);
                        self.nodes.remove(conn, once, node);
                    }
                }
                self.paths.add(conn, kind, at.path)
            }
            _ => self.paths.add(conn, kind, at.path),
        }
    }

    /// The same for a watch that was counted when it was announced.
    pub fn add_counted(&mut self, conn: u32, kind: WatchKind, at: Place<'_>) -> bool {
        let is_new = self.add(conn, kind, at);
        self.interest.remove(kind, at);
        is_new
    }

    /// Removes watches of a connection on a path; false if there were none of
    /// this kind. ref: DataTree.removeWatch.
    pub fn remove(&mut self, conn: u32, kind: WatcherKind, at: Place<'_>) -> bool {
        let mut was_there = self.paths.remove(conn, kind, at.path);
        for (once, _, this) in ONCE {
            if let Some(node) = at.node
                && (kind == this || kind == WatcherKind::Any)
            {
                was_there |= self.nodes.remove(conn, once, node);
            }
        }
        was_there
    }

    /// Whether a connection has a watch on a path. ref: DataTree.containsWatcher.
    pub fn contains(&self, conn: u32, kind: WatcherKind, at: Place<'_>) -> bool {
        let on_node = |once| at.node.is_some_and(|node| self.nodes.contains(conn, once, node));
        self.paths.contains(conn, kind, at.path)
            || ONCE
                .iter()
                .any(|(once, _, this)| (kind == *this || kind == WatcherKind::Any) && on_node(*once))
    }

    /// Forgets a connection.
    pub fn drop_conn(&mut self, conn: u32) {
        self.paths.drop_conn(conn);
        self.nodes.drop_conn(conn);
        self.in_data.remove(&conn);
    }

    /// Calls `tell` once for each connection that waits for this, in ascending
    /// order, and removes those watches that are told once. ref:
    /// WatchManager.triggerWatch.
    pub fn fire(&mut self, fired: &Fired, mut tell: impl FnMut(u32)) {
        let mut told = std::mem::take(&mut self.told);
        told.clear();
        self.paths.fire(fired, &mut told);
        self.nodes.fire(fired, &mut told);
        told.sort_unstable();
        told.dedup();
        told.iter().for_each(|conn| tell(*conn));
        self.told = told;
    }

    /// Sizes of the data table. ref: `wchs`.
    pub fn data_counts(&self) -> WatchCounts {
        let watches = self.paths.data_watches() + self.nodes.count(Once::Data);
        WatchCounts { connections: self.in_data.len(), watches }
    }

    /// Number of watches in both tables. ref: DataTree.getWatchCount.
    pub fn total(&self) -> usize {
        self.data_counts().watches + self.paths.child_watches() + self.nodes.count(Once::Child)
    }

    /// What the data table has, each once. The tree must be the one that the last event came
    /// from. ref: `wchs`.
    pub fn watched(&self, tree: &Tree) -> BTreeSet<Watched> {
        let of_path = |path: &str| match Place::new(path, tree.get(path)).node {
            Some(node) => Watched::Node(node),
            None => Watched::Path(path.into()),
        };
        let mut all: BTreeSet<Watched> = self.paths.data().map(|(path, _)| of_path(path)).collect();
        self.nodes.for_each_data(|id, _| {
            all.insert(Watched::Node(id));
        });
        all
    }

    /// Paths of the data table with their connections. The tree must be the one that the
    /// last event came from. ref: `wchp`.
    pub fn by_path(&self, tree: &Tree) -> BTreeMap<String, BTreeSet<u32>> {
        let mut all: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for (path, conns) in self.paths.data() {
            all.entry(path.to_owned()).or_default().extend(conns);
        }
        self.nodes.for_each_data(|id, conns| {
            // A tree that has taken the place of another may not have it; these connections close.
            if let Some(node) = tree.by_id(id) {
                all.entry(node.path()).or_default().extend(conns);
            }
        });
        all
    }
}
