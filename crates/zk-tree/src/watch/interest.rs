use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::FixedState;
use zk_proto::client::EventType;

use super::{Place, WatchKind, ancestors};
use crate::NodeId;
use crate::apply::Fired;

/// Number of counters in each table: 16 KiB, which stays in the cache of the
/// thread that asks.
const COUNTERS: usize = 4096;

/// Counts of one worker's watches by the hash of their path or node. It may say yes
/// where nobody waits, and never no where somebody does.
///
/// Relaxed order is enough to count: who counts a watch for another thread does so under
/// the tree's lock, or hands over a message after it. A watch that moves from its node to its
/// path does so at any time: who finds that it has left the node finds it with the path.
pub struct Interest {
    hasher: FixedState,
    nodes: Box<[AtomicU32]>,
    plain: Box<[AtomicU32]>,
    recursive: Box<[AtomicU32]>,
    any_plain: AtomicU32,
    any_recursive: AtomicU32,
}

impl Default for Interest {
    fn default() -> Interest {
        Interest::new()
    }
}

impl std::fmt::Debug for Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interest").field("any_recursive", &self.any_recursive).finish_non_exhaustive()
    }
}

impl Interest {
    /// Nobody waits for anything. The hash has no key; see [`Interest::with_seed`].
    pub fn new() -> Interest {
        Interest::with_seed(0)
    }

    /// The same with a key for the hash, since clients choose paths.
    pub fn with_seed(seed: u64) -> Interest {
        let table = || (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        Interest {
            hasher: FixedState::with_seed(seed),
            nodes: table(),
            plain: table(),
            recursive: table(),
            any_plain: AtomicU32::new(0),
            any_recursive: AtomicU32::new(0),
        }
    }

    pub(super) fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    fn counter<'a>(&self, table: &'a [AtomicU32], path: &str) -> &'a AtomicU32 {
        &table[(self.hash(path) >> 32) as usize % COUNTERS]
    }

    fn node(&self, node: NodeId) -> &AtomicU32 {
        &self.nodes[(node.0.wrapping_mul(0x9E37_79B9) >> 16) as usize % COUNTERS]
    }

    /// Counts a watch.
    pub fn add(&self, kind: WatchKind, at: Place<'_>) {
        match at.node {
            Some(node) if kind.is_once() => self.add_node(node),
            _ => self.add_path(kind, at.path),
        }
    }

    /// Takes it back.
    pub fn remove(&self, kind: WatchKind, at: Place<'_>) {
        match at.node {
            Some(node) if kind.is_once() => self.remove_node(node, 1),
            _ => self.remove_path(kind, at.path),
        }
    }

    pub(super) fn add_node(&self, node: NodeId) {
        up(self.node(node));
    }

    pub(super) fn remove_node(&self, node: NodeId, watches: u32) {
        down(self.node(node), watches);
    }

    pub(super) fn add_path(&self, kind: WatchKind, path: &str) {
        if kind == WatchKind::Recursive {
            up(self.counter(&self.recursive, path));
            up(&self.any_recursive);
        } else {
            up(self.counter(&self.plain, path));
            up(&self.any_plain);
        }
    }

    pub(super) fn remove_path(&self, kind: WatchKind, path: &str) {
        if kind == WatchKind::Recursive {
            down(self.counter(&self.recursive, path), 1);
            down(&self.any_recursive, 1);
        } else {
            down(self.counter(&self.plain, path), 1);
            down(&self.any_plain, 1);
        }
    }

    /// Whether a watch may wait for this.
    pub fn wants(&self, fired: &Fired) -> bool {
        self.wants_that(fired.event, fired.node, &fired.path)
    }

    /// The same of a change that nobody has written down yet.
    pub fn wants_that(&self, event: EventType, node: NodeId, path: &str) -> bool {
        let any = |count: &AtomicU32| count.load(Ordering::Relaxed) > 0;
        let has = |table, path| any(self.counter(table, path));
        if self.node(node).load(Ordering::Acquire) > 0 || any(&self.any_plain) && has(&self.plain, path) {
            return true;
        }
        event != EventType::NodeChildrenChanged
            && any(&self.any_recursive)
            && (has(&self.recursive, path) || ancestors(path).any(|p| has(&self.recursive, p)))
    }
}

/// A full counter stays full: then it says yes for ever, which is allowed.
fn up(counter: &AtomicU32) {
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
}

fn down(counter: &AtomicU32, by: u32) {
    let old = counter.fetch_update(Ordering::Release, Ordering::Relaxed, |n| match n {
        u32::MAX => Some(u32::MAX),
        n => n.checked_sub(by),
    });
    assert!(old.is_ok(), "a watch is counted before it is removed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_counters_stay() {
        let c = AtomicU32::new(u32::MAX - 1);
        up(&c);
        up(&c);
        down(&c, 1);
        assert_eq!(c.load(Ordering::Relaxed), u32::MAX);
    }
}
