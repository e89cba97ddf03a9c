//! How other threads reach a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A queue into a worker. A push wakes the worker only if the queue was empty;
/// the worker looks into it before each read of the tree as well.
///
/// It has no bound of its own: replies are bounded by the requests that were
/// let in, events by the slices that the core applies, of which it makes no
/// next one before [`Inbox::has_room`].
#[derive(Debug)]
pub struct Inbox<T> {
    items: Mutex<Vec<T>>,
    filled: AtomicBool,
    notify: Notify,
}

/// Messages in an inbox above which the core waits: some slices of events.
const ROOM: usize = 65_536;

impl<T> Inbox<T> {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { items: Mutex::new(Vec::new()), filled: AtomicBool::new(false), notify: Notify::new() })
    }

    /// Appends all of `batch` and leaves it empty.
    pub fn push(&self, batch: &mut Vec<T>) {
        if batch.is_empty() {
            return;
        }
        let mut items = self.items.lock();
        let wake = items.is_empty();
        items.append(batch);
        self.filled.store(true, Ordering::Release);
        drop(items);
        if wake {
            self.notify.notify_one();
        }
    }

    /// Appends one.
    pub fn push_one(&self, item: T) {
        let mut items = self.items.lock();
        let wake = items.is_empty();
        items.push(item);
        self.filled.store(true, Ordering::Release);
        drop(items);
        if wake {
            self.notify.notify_one();
        }
    }

    /// Whether somebody may push a next slice.
    pub fn has_room(&self) -> bool {
        self.items.lock().len() < ROOM
    }

    /// Takes everything into `into`, which must be empty. False: there is nothing.
    pub fn take(&self, into: &mut Vec<T>) -> bool {
        if !self.filled.load(Ordering::Acquire) {
            return false;
        }
        let mut items = self.items.lock();
        std::mem::swap(&mut *items, into);
        self.filled.store(false, Ordering::Relaxed);
        !into.is_empty()
    }

    /// Waits until somebody pushed into an empty queue.
    pub async fn filled(&self) {
        self.notify.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_taken_in_order() {
        let inbox = Inbox::new();
        let mut out = Vec::new();
        assert!(!inbox.take(&mut out));
        inbox.push(&mut vec![1, 2]);
        inbox.push_one(3);
        assert!(inbox.take(&mut out));
        assert_eq!(out, [1, 2, 3]);
        out.clear();
        assert!(!inbox.take(&mut out));
    }
}
