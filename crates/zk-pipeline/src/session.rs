//! When a session ends.
//!
//! Sessions expire in buckets of one tick, so that the work is by bucket and a
//! session lives between its time-out and its time-out plus a tick after it was
//! last heard of. (ref: SessionTrackerImpl, ExpiryQueue.roundToNextInterval)

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zk_proto::SessionId;

use crate::ConnId;

/// One live session.
#[derive(Debug, Clone)]
pub struct Live {
    /// Time-out in ms.
    pub timeout: i32,
    /// The bucket it expires in, monotonic ms.
    bucket: u64,
    /// A closeSession for it is under way: it takes no more requests.
    pub closing: bool,
    /// The connection that speaks for it now.
    pub conn: Option<ConnId>,
}

/// The sessions of this member and when they expire.
#[derive(Debug)]
pub struct Sessions {
    tick: u64,
    live: HashMap<SessionId, Live>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
    next: SessionId,
}

impl Sessions {
    /// No sessions; buckets of `tick` ms; ids from `first`.
    pub fn new(tick: u64, first: SessionId) -> Self {
        Self { tick: tick.max(1), live: HashMap::new(), buckets: BTreeMap::new(), next: first }
    }

    fn bucket_at(&self, expiry: u64) -> u64 {
        (expiry / self.tick + 1) * self.tick
    }

    /// An id that no live session has.
    pub fn allocate(&mut self) -> SessionId {
        loop {
            let id = self.next;
            self.next = SessionId(id.0.wrapping_add(1));
            if id != SessionId::NONE && !self.live.contains_key(&id) {
                return id;
            }
        }
    }

    /// Tracks a session that was heard of at `now`.
    pub fn add(&mut self, id: SessionId, timeout: i32, now: u64) {
        self.remove(id);
        let bucket = self.bucket_at(now + u64::try_from(timeout).unwrap_or(0));
        self.live.insert(id, Live { timeout, bucket, closing: false, conn: None });
        self.buckets.entry(bucket).or_default().insert(id);
    }

    /// The session, live or closing.
    pub fn get(&self, id: SessionId) -> Option<&Live> {
        self.live.get(&id)
    }

    /// The session if it takes requests.
    pub fn open(&mut self, id: SessionId) -> Option<&mut Live> {
        self.live.get_mut(&id).filter(|s| !s.closing)
    }

    /// The session was heard of at `at`. False: it is unknown or closing.
    pub fn touch(&mut self, id: SessionId, at: u64) -> bool {
        let Some(s) = self.live.get(&id).filter(|s| !s.closing) else { return false };
        let bucket = self.bucket_at(at + u64::try_from(s.timeout).unwrap_or(0));
        if bucket > s.bucket {
            self.move_to(id, bucket);
        }
        true
    }

    fn move_to(&mut self, id: SessionId, bucket: u64) {
        let Some(s) = self.live.get_mut(&id) else { return };
        let old = std::mem::replace(&mut s.bucket, bucket);
        self.leave(old, id);
        self.buckets.entry(bucket).or_default().insert(id);
    }

    fn leave(&mut self, bucket: u64, id: SessionId) {
        if let Some(set) = self.buckets.get_mut(&bucket) {
            set.remove(&id);
            if set.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }

    /// A closeSession is under way.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(s) = self.live.get_mut(&id) {
            s.closing = true;
        }
    }

    /// The session has ended.
    pub fn remove(&mut self, id: SessionId) -> Option<Live> {
        let s = self.live.remove(&id)?;
        self.leave(s.bucket, id);
        Some(s)
    }

    /// When the next bucket expires, monotonic ms.
    pub fn deadline(&self) -> Option<u64> {
        self.buckets.keys().next().copied()
    }

    /// Sessions whose bucket is over at `now`. Closing ones are left out.
    pub fn due(&self, now: u64) -> Vec<SessionId> {
        let ids = self.buckets.range(..=now).flat_map(|(_, set)| set.iter().copied());
        ids.filter(|id| self.live.get(id).is_some_and(|s| !s.closing)).collect()
    }

    /// Takes the sessions whose bucket is over out of the buckets; they stay
    /// known until [`Sessions::remove`].
    pub fn expire(&mut self, now: u64) -> Vec<SessionId> {
        let due = self.due(now);
        let late: Vec<u64> = self.buckets.range(..=now).map(|(b, _)| *b).collect();
        for b in late {
            self.buckets.remove(&b);
        }
        due
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Sessions by the bucket they expire in, for `dump`: ms from the tracker's
    /// clock, ids.
    pub fn by_expiry(&self) -> impl Iterator<Item = (u64, Vec<SessionId>)> + '_ {
        self.buckets.iter().map(|(b, set)| (*b, set.iter().copied().collect()))
    }
}

/// What a server grants when a client asks for `wanted` ms.
/// ref: ZooKeeperServer.processConnectRequest.
pub fn negotiate(wanted: i32, min: i32, max: i32) -> i32 {
    // As in Java the minimum is applied first, so that the maximum wins.
    wanted.max(min).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_between_its_timeout_and_one_tick_more() {
        let mut s = Sessions::new(1000, SessionId(1));
        s.add(SessionId(1), 3000, 500);
        assert_eq!(s.deadline(), Some(4000));
        assert!(s.expire(3999).is_empty());
        assert_eq!(s.expire(4000), [SessionId(1)]);
        assert!(s.get(SessionId(1)).is_some());
        assert!(s.expire(9000).is_empty());
    }

    #[test]
    fn a_touch_moves_it_on_and_never_back() {
        let mut s = Sessions::new(1000, SessionId(1));
        s.add(SessionId(1), 3000, 500);
        assert!(s.touch(SessionId(1), 2500));
        assert_eq!(s.deadline(), Some(6000));
        assert!(s.touch(SessionId(1), 0));
        assert_eq!(s.deadline(), Some(6000));
        s.set_closing(SessionId(1));
        assert!(!s.touch(SessionId(1), 9000));
        assert!(!s.touch(SessionId(2), 9000));
    }

    #[test]
    fn negotiation_of_row_4() {
        assert_eq!(negotiate(1, 2000, 20000), 2000);
        assert_eq!(negotiate(10_000_000, 2000, 20000), 20000);
        assert_eq!(negotiate(6000, 2000, 20000), 6000);
    }
}
