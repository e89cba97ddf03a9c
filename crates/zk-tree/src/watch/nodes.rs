use std::sync::Arc;

use zk_proto::client::EventType;

use super::Interest;
use super::sets::Sets;
use crate::NodeId;
use crate::apply::Fired;

/// The two kinds of watches that are told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Once {
    Data = 0,
    Child = 1,
}

/// Nobody has this number.
const NONE: u32 = u32::MAX;

/// Watches that are told once, of nodes that are there, by the node's id. They are
/// gone when the node is: its id may be another node's then.
///
/// Only the node knows its watchers; a connection knows how many watches it has, and
/// not where. When it leaves, its number stays in the sets, where it means nobody, until
/// a sweep has passed over all of them; each connection that leaves pays for
/// a part of the sweep in proportion to what it had. Only then the number is used again.
#[derive(Debug)]
pub(super) struct NodeWatches {
    interest: Arc<Interest>,
    sets: [Sets; 2],
    /// Watches of connections that are there.
    live: [usize; 2],
    watchers: Vec<Watcher>,
    free: Vec<u32>,
    /// Numbers by connection.
    by_conn: Vec<u32>,
    /// Numbers of connections that left before the sweep began, and since.
    swept: Vec<u32>,
    left: Vec<u32>,
    /// How far the sweep is: chunks of both kinds, data first.
    next: (usize, usize),
    /// Watches that the sweep may look at, or has looked at ahead of that.
    credit: i64,
}

/// A connection that has had a watch here.
#[derive(Debug, Clone, Copy)]
struct Watcher {
    /// [`NONE`]: it has left.
    conn: u32,
    /// How many watches it has of each kind.
    count: [u32; 2],
}

/// Watches that are swept for each one that a connection leaves behind. The more, the fewer
/// are in memory for nobody: at most a fourth of what is there.
const SWEEP: i64 = 8;
/// The same for a connection that leaves, so that numbers come back.
const SWEEP_AT_LEAST: i64 = 64;

impl NodeWatches {
    pub fn new(interest: Arc<Interest>) -> NodeWatches {
        NodeWatches {
            interest,
            sets: [Sets::new(), Sets::new()],
            live: [0; 2],
            watchers: Vec::new(),
            free: Vec::new(),
            by_conn: Vec::new(),
            swept: Vec::new(),
            left: Vec::new(),
            next: (0, 0),
            credit: 0,
        }
    }

    fn number(&self, conn: u32) -> Option<u32> {
        self.by_conn.get(conn as usize).copied().filter(|number| *number != NONE)
    }

    fn number_or_new(&mut self, conn: u32) -> u32 {
        if let Some(number) = self.number(conn) {
            return number;
        }
        let watcher = Watcher { conn, count: [0; 2] };
        let number = match self.free.pop() {
            Some(number) => {
                self.watchers[number as usize] = watcher;
                number
            }
            None => {
                self.watchers.push(watcher);
                u32::try_from(self.watchers.len() - 1).expect("descriptors end long before")
            }
        };
        let conn = conn as usize;
        if self.by_conn.len() <= conn {
            self.by_conn.resize(conn + 1, NONE);
        }
        self.by_conn[conn] = number;
        number
    }

    /// Sets a watch; false: the connection has it.
    pub fn add(&mut self, conn: u32, kind: Once, node: NodeId) -> bool {
        let number = self.number_or_new(conn);
        let is_new = self.sets[kind as usize].add(node, number);
        if is_new {
            self.watchers[number as usize].count[kind as usize] += 1;
            self.live[kind as usize] += 1;
            self.interest.add_node(node);
        }
        is_new
    }

    /// Whether a connection has a watch.
    pub fn contains(&self, conn: u32, kind: Once, node: NodeId) -> bool {
        self.number(conn).is_some_and(|number| self.sets[kind as usize].contains(node, number))
    }

    /// Removes a watch; false: there was none.
    pub fn remove(&mut self, conn: u32, kind: Once, node: NodeId) -> bool {
        let Some(number) = self.number(conn) else { return false };
        let was_there = self.sets[kind as usize].remove(node, number);
        if was_there {
            self.watchers[number as usize].count[kind as usize] -= 1;
            self.live[kind as usize] -= 1;
            self.interest.remove_node(node, 1);
        }
        was_there
    }

    /// Appends the connections that wait for this to `told`, and removes the watches. One that has
    /// watches of both kinds may be there twice.
    pub fn fire(&mut self, fired: &Fired, told: &mut Vec<u32>) {
        let kinds: &[Once] = match fired.event {
            EventType::NodeCreated => &[],
            EventType::NodeDataChanged => &[Once::Data],
            EventType::NodeChildrenChanged => &[Once::Child],
            EventType::NodeDeleted => &[Once::Data, Once::Child],
        };
        for kind in kinds {
            let from = told.len();
            self.sets[*kind as usize].take(fired.node, told);
            self.interest.remove_node(fired.node, (told.len() - from) as u32);
            let mut to = from;
            for at in from..told.len() {
                let watcher = &mut self.watchers[told[at] as usize];
                if watcher.conn != NONE {
                    watcher.count[*kind as usize] -= 1;
                    self.live[*kind as usize] -= 1;
                    told[to] = watcher.conn;
                    to += 1;
                }
            }
            told.truncate(to);
        }
    }

    /// Forgets a connection.
    pub fn drop_conn(&mut self, conn: u32) {
        let Some(number) = self.number(conn) else { return };
        self.by_conn[conn as usize] = NONE;
        let watcher = &mut self.watchers[number as usize];
        let count = std::mem::take(&mut watcher.count);
        watcher.conn = NONE;
        let all: i64 = count.iter().map(|n| i64::from(*n)).sum();
        if all == 0 {
            return self.free.push(number);
        }
        for (live, gone) in self.live.iter_mut().zip(count) {
            *live -= gone as usize;
        }
        self.left.push(number);
        self.credit += SWEEP * all + SWEEP_AT_LEAST;
        self.sweep();
    }

    /// Removes watches of connections that have left, as far as the credit goes.
    fn sweep(&mut self) {
        while self.credit > 0 {
            if self.swept.is_empty() {
                if self.left.is_empty() {
                    self.credit = 0;
                    return;
                }
                self.swept = std::mem::take(&mut self.left);
                self.next = (0, 0);
            }
            let (kind, chunk) = self.next;
            match self.sets.get_mut(kind) {
                None => self.free.append(&mut self.swept),
                Some(sets) if chunk >= sets.chunks() => self.next = (kind + 1, 0),
                Some(sets) => {
                    let (watchers, interest) = (&self.watchers, &self.interest);
                    let is_there = |number: u32| watchers[number as usize].conn != NONE;
                    let seen = sets.retain(chunk, is_there, |node, gone| interest.remove_node(node, gone));
                    self.credit -= 1 + seen as i64;
                    self.next = (kind, chunk + 1);
                }
            }
        }
    }

    /// Number of watches of a kind.
    pub fn count(&self, kind: Once) -> usize {
        self.live[kind as usize]
    }

    /// All data watches, with their connections.
    pub fn for_each_data(&self, mut each: impl FnMut(NodeId, Vec<u32>)) {
        self.sets[Once::Data as usize].for_each(|node, numbers| {
            let conns = numbers.iter().map(|number| self.watchers[*number as usize].conn);
            let conns: Vec<u32> = conns.filter(|conn| *conn != NONE).collect();
            if !conns.is_empty() {
                each(node, conns);
            }
        });
    }
}
