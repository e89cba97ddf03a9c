use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::FixedState;
use zk_proto::client::EventType;

use super::{WatchKind, ancestors};
use crate::apply::Fired;

/// Number of counters in each table: 16 KiB, which stays in the cache of the
/// thread that asks.
const COUNTERS: usize = 4096;

/// Counts of one worker's watches by the hash of their path. It may say yes
/// where nobody waits, and never no where somebody does.
///
/// Relaxed order is enough: who counts a watch for another thread does so under
/// the tree's lock, or hands over a message after it.
pub struct Interest {
    hasher: FixedState,
    plain: Box<[AtomicU32]>,
    recursive: Box<[AtomicU32]>,
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
            plain: table(),
            recursive: table(),
            any_recursive: AtomicU32::new(0),
        }
    }

    pub(super) fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    fn counter<'a>(&self, table: &'a [AtomicU32], path: &str) -> &'a AtomicU32 {
        &table[(self.hash(path) >> 32) as usize % COUNTERS]
    }

    /// Counts a watch.
    pub fn add(&self, kind: WatchKind, path: &str) {
        if kind == WatchKind::Recursive {
            up(self.counter(&self.recursive, path));
            up(&self.any_recursive);
        } else {
            up(self.counter(&self.plain, path));
        }
    }

    /// Takes it back.
    pub fn remove(&self, kind: WatchKind, path: &str) {
        if kind == WatchKind::Recursive {
            down(self.counter(&self.recursive, path));
            down(&self.any_recursive);
        } else {
            down(self.counter(&self.plain, path));
        }
    }

    /// Whether a watch may wait for this.
    pub fn wants(&self, fired: &Fired) -> bool {
        let has = |table, path| self.counter(table, path).load(Ordering::Relaxed) > 0;
        if has(&self.plain, &fired.path) {
            return true;
        }
        fired.event != EventType::NodeChildrenChanged
            && self.any_recursive.load(Ordering::Relaxed) > 0
            && (has(&self.recursive, &fired.path) || ancestors(&fired.path).any(|p| has(&self.recursive, p)))
    }
}

/// A full counter stays full: then it says yes for ever, which is allowed.
fn up(counter: &AtomicU32) {
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
}

fn down(counter: &AtomicU32) {
    let old = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| match n {
        u32::MAX => Some(u32::MAX),
        n => n.checked_sub(1),
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
        down(&c);
        assert_eq!(c.load(Ordering::Relaxed), u32::MAX);
    }
}
