//! When a session ends.
//!
//! Sessions expire in buckets of one tick, so that the work is by bucket and a
//! session lives between its time-out and its time-out plus a tick after it was
//! last heard of. (ref: SessionTrackerImpl, ExpiryQueue.roundToNextInterval)
//!
//! Only a leader lets sessions expire. A learner knows the same sessions, for the
//! connections that speak for them, and has no clock for them. Local sessions, which
//! no other member knows, expire at their member whatever its part is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::quality::RandomState;
use zk_proto::SessionId;

use crate::{ConnId, LinkRef};

/// Through which server a session speaks. A write that comes another way is
/// refused: the client has moved on. ref: SessionTrackerImpl.checkSession.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A connection of this member.
    Local,
    /// A learner.
    Link(LinkRef),
}

/// Whether a session may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Open,
    /// It speaks through another server now.
    Moved,
    /// It is closing.
    Ended,
    /// It is not known here.
    Unknown,
}

/// One live session.
#[derive(Debug, Clone)]
pub struct Live {
    /// Time-out in ms.
    pub timeout: i32,
    /// The bucket it expires in, monotonic ms.
    bucket: u64,
    /// A closeSession for it is under way: it takes no more requests.
    pub closing: bool,
    /// No other member knows it, and no transaction tells of it.
    pub local: bool,
    /// The connection that speaks for it now.
    pub conn: Option<ConnId>,
    /// Through which server it speaks, as a leader knows it. `None`: it has not
    /// written since the role began.
    pub owner: Option<Owner>,
    /// Its last transaction was asked for on another server, as a learner sees it.
    elsewhere: bool,
}

/// The sessions of this member and when they expire.
#[derive(Debug)]
pub struct Sessions {
    tick: u64,
    live: HashMap<SessionId, Live, RandomState>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
    next: SessionId,
    /// Whether sessions that all members know expire here.
    timed: bool,
}

/// The bucket of sessions that do not expire.
const NEVER: u64 = u64::MAX;

impl Sessions {
    /// No sessions; buckets of `tick` ms; ids from `first`.
    pub fn new(tick: u64, first: SessionId) -> Self {
        Self {
            tick: tick.max(1),
            live: HashMap::default(),
            buckets: BTreeMap::new(),
            next: first,
            timed: true,
        }
    }

    /// Starts over with `sessions`, whose owners are unknown. They expire as if they had
    /// been heard of at `now` if they are `timed`, else never. Who was connected stays so,
    /// and so do local sessions, with their full time-out; gives the connections whose
    /// session is not there any more, in order.
    pub fn reset(
        &mut self,
        sessions: impl Iterator<Item = (SessionId, i32)>,
        now: u64,
        timed: bool,
    ) -> BTreeSet<ConnId> {
        let old = std::mem::take(&mut self.live);
        self.buckets.clear();
        self.timed = timed;
        let mut conns: HashMap<SessionId, ConnId> = HashMap::new();
        for (id, s) in old {
            conns.extend(s.conn.map(|conn| (id, conn)));
            if s.local && !s.closing {
                self.add_local(id, s.timeout, now);
            }
        }
        for (id, timeout) in sessions {
            self.add(id, timeout, now);
        }
        conns.retain(|id, conn| match self.live.get_mut(id) {
            Some(s) => {
                s.conn = Some(*conn);
                false
            }
            None => true,
        });
        conns.into_values().collect()
    }

    /// Forgets the sessions that no other member knows.
    pub fn forget_local(&mut self) {
        let local: Vec<_> = self.live.iter().filter(|(_, s)| s.local).map(|(id, _)| *id).collect();
        for id in local {
            self.remove(id);
        }
    }

    /// The connections that speak for sessions, in order.
    pub fn connections(&self) -> BTreeSet<ConnId> {
        self.live.values().filter_map(|s| s.conn).collect()
    }

    /// A transaction of the session was applied that was asked for here, or not.
    pub fn set_elsewhere(&mut self, id: SessionId, elsewhere: bool) {
        if let Some(s) = self.live.get_mut(&id) {
            s.elsewhere = elsewhere;
        }
    }

    /// Connections whose session was last seen to write elsewhere, in order.
    pub fn strayed(&self) -> BTreeSet<ConnId> {
        self.live.values().filter(|s| s.elsewhere).filter_map(|s| s.conn).collect()
    }

    /// These connections speak for nobody any more.
    pub fn detach(&mut self, conns: &BTreeSet<ConnId>) {
        for s in self.live.values_mut() {
            s.conn = s.conn.filter(|c| !conns.contains(c));
        }
    }

    fn bucket_for(&self, timeout: i32, heard_at: u64, local: bool) -> u64 {
        if self.timed || local {
            self.bucket_at(heard_at + u64::try_from(timeout).unwrap_or(0))
        } else {
            NEVER
        }
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
        self.track(id, timeout, now, false);
    }

    /// The same of one that no other member knows.
    pub fn add_local(&mut self, id: SessionId, timeout: i32, now: u64) {
        self.track(id, timeout, now, true);
    }

    fn track(&mut self, id: SessionId, timeout: i32, now: u64, local: bool) {
        self.remove(id);
        let bucket = self.bucket_for(timeout, now, local);
        let live = Live { timeout, bucket, closing: false, local, conn: None, owner: None, elsewhere: false };
        self.live.insert(id, live);
        if bucket != NEVER {
            self.buckets.entry(bucket).or_default().insert(id);
        }
    }

    /// Whether no other member knows the session.
    pub fn is_local(&self, id: SessionId) -> bool {
        self.live.get(&id).is_some_and(|s| s.local)
    }

    /// A local session becomes one that all members know; gives its time-out.
    /// ref: UpgradeableSessionTracker.upgradeSession.
    pub fn upgrade(&mut self, id: SessionId) -> Option<i32> {
        let s = self.live.get_mut(&id).filter(|s| s.local && !s.closing)?;
        s.local = false;
        let timeout = s.timeout;
        if !self.timed {
            let bucket = std::mem::replace(&mut s.bucket, NEVER);
            self.leave(bucket, id);
        }
        Some(timeout)
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
        let bucket = self.bucket_for(s.timeout, at, s.local);
        if bucket > s.bucket {
            self.move_to(id, bucket);
        }
        true
    }

    /// The same with the time-out that the learner has granted.
    /// ref: SessionTrackerImpl.touchSession.
    pub fn touch_for(&mut self, id: SessionId, at: u64, timeout: i32) -> bool {
        let Some(s) = self.live.get(&id).filter(|s| !s.closing) else { return false };
        let bucket = self.bucket_for(timeout, at, s.local);
        if bucket > s.bucket {
            self.move_to(id, bucket);
        }
        true
    }

    /// The session writes through `owner`, heard of at `at`. A session that
    /// nobody owns becomes the owner's.
    pub fn admit(&mut self, id: SessionId, at: u64, owner: Owner) -> Standing {
        let Some(s) = self.live.get_mut(&id) else { return Standing::Unknown };
        if s.closing {
            return Standing::Ended;
        }
        if *s.owner.get_or_insert(owner) != owner {
            return Standing::Moved;
        }
        let (timeout, old, local) = (s.timeout, s.bucket, s.local);
        let bucket = self.bucket_for(timeout, at, local);
        if bucket > old {
            self.move_to(id, bucket);
        }
        Standing::Open
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

    /// The closeSession was refused.
    pub fn set_open(&mut self, id: SessionId) {
        if let Some(s) = self.live.get_mut(&id) {
            s.closing = false;
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

    /// All sessions live longer by `ms`.
    pub fn delay(&mut self, ms: u64) {
        for (bucket, ids) in std::mem::take(&mut self.buckets) {
            let later = (bucket + ms).next_multiple_of(self.tick);
            for id in &ids {
                if let Some(s) = self.live.get_mut(id) {
                    s.bucket = later;
                }
            }
            self.buckets.entry(later).or_default().extend(ids);
        }
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

    /// Number of sessions, local ones among them.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Number of local sessions.
    pub fn local_len(&self) -> usize {
        self.live.values().filter(|s| s.local).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Sessions by the bucket they expire in, for `dump`: ms from the tracker's
    /// clock, ids. Either the local ones or the others.
    pub fn by_expiry(&self, local: bool) -> impl Iterator<Item = (u64, Vec<SessionId>)> + '_ {
        self.buckets.iter().filter_map(move |(b, set)| {
            let ids: Vec<_> = set.iter().copied().filter(|id| self.is_local(*id) == local).collect();
            (!ids.is_empty()).then_some((*b, ids))
        })
    }

    /// Sessions that all members know and their time-outs in ms, for a learner's `dump`; in
    /// no order.
    pub fn timeouts(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        self.live.iter().filter(|(_, s)| !s.local).map(|(id, s)| (*id, s.timeout))
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
    fn a_time_in_which_nobody_could_be_heard_does_not_count() {
        let mut s = Sessions::new(1000, SessionId(1));
        s.add(SessionId(1), 3000, 500);
        s.add(SessionId(2), 5000, 500);
        s.delay(2500);
        assert_eq!(
            s.by_expiry(false).collect::<Vec<_>>(),
            [(7000, vec![SessionId(1)]), (9000, vec![SessionId(2)])]
        );
        assert!(s.touch(SessionId(1), 4500));
        assert_eq!(s.expire(7999), []);
        assert_eq!(s.expire(8999), [SessionId(1)]);
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
    fn the_first_that_writes_owns_a_session() {
        let (a, b) = (Owner::Link(LinkRef(1)), Owner::Local);
        let mut s = Sessions::new(1000, SessionId(1));
        s.add(SessionId(1), 3000, 0);
        assert_eq!(s.admit(SessionId(1), 100, a), Standing::Open);
        assert_eq!(s.admit(SessionId(1), 9000, b), Standing::Moved);
        assert_eq!(s.deadline(), Some(4000), "who has moved is not heard");
        s.set_closing(SessionId(1));
        assert_eq!(s.admit(SessionId(1), 100, a), Standing::Ended);
        assert_eq!(s.admit(SessionId(2), 100, a), Standing::Unknown);
    }

    #[test]
    fn a_new_role_starts_the_clocks_again_and_keeps_connections() {
        let mut s = Sessions::new(1000, SessionId(1));
        for i in 1..4 {
            s.add(SessionId(i), 3000, 0);
            s.open(SessionId(i)).unwrap().conn = Some(ConnId(i as u64));
        }
        s.set_closing(SessionId(1));
        s.admit(SessionId(1), 0, Owner::Local);
        let gone = s.reset([(SessionId(1), 3000), (SessionId(9), 5000)].into_iter(), 0, false);
        assert_eq!(gone, BTreeSet::from([ConnId(2), ConnId(3)]));
        assert_eq!((s.len(), s.deadline()), (2, None));
        assert!(s.touch(SessionId(9), 77) && s.due(u64::MAX).is_empty());
        let again = s.open(SessionId(1)).unwrap();
        assert_eq!((again.conn, again.owner), (Some(ConnId(1)), None));
        assert!(s.reset([(SessionId(9), 5000)].into_iter(), 500, true).contains(&ConnId(1)));
        assert_eq!(s.deadline(), Some(6000));
    }

    #[test]
    fn local_sessions_have_a_clock_at_a_learner_and_outlive_its_role() {
        let mut s = Sessions::new(1000, SessionId(1));
        s.reset([(SessionId(9), 3000)].into_iter(), 0, false);
        for i in 1..5 {
            s.add_local(SessionId(i), 3000, 0);
            s.open(SessionId(i)).unwrap().conn = Some(ConnId(i as u64));
        }
        assert_eq!((s.deadline(), s.len(), s.local_len()), (Some(4000), 5, 4));
        assert!(s.touch(SessionId(1), 2500));
        assert_eq!(s.upgrade(SessionId(3)), Some(3000));
        assert_eq!((s.upgrade(SessionId(3)), s.upgrade(SessionId(9))), (None, None));
        s.set_closing(SessionId(4));
        assert_eq!(s.due(4000), [SessionId(2)], "what was upgraded has no clock here any more");
        // A new role: the one that was upgraded is known to nobody.
        let gone = s.reset([(SessionId(9), 3000)].into_iter(), 10_000, true);
        assert_eq!(gone, BTreeSet::from([ConnId(3), ConnId(4)]));
        assert!(s.is_local(SessionId(1)) && !s.is_local(SessionId(9)));
        assert_eq!(s.get(SessionId(2)).unwrap().conn, Some(ConnId(2)));
        assert_eq!(s.expire(14_000), [SessionId(1), SessionId(2), SessionId(9)]);
        s.forget_local();
        assert_eq!((s.len(), s.local_len()), (1, 0));
    }

    #[test]
    fn negotiation_of_row_4() {
        assert_eq!(negotiate(1, 2000, 20000), 2000);
        assert_eq!(negotiate(10_000_000, 2000, 20000), 20000);
        assert_eq!(negotiate(6000, 2000, 20000), 6000);
    }
}
