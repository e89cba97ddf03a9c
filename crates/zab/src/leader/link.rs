//! What the leader knows of one learner's connection.

use zk_proto::{PeerId, Zxid};

/// How far a learner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Has said nothing.
    Info,
    /// Waits for the epoch to be known.
    WaitEpoch,
    /// Knows the epoch and has not confirmed it.
    AckEpoch,
    /// Waits for a quorum that is in the epoch.
    WaitEpochAcks,
    /// Has more than the follower that serves it has heard of.
    Ahead,
    /// Waits for the leader's log.
    FindInLog,
    /// Is sent the history; its next packet is the ACK of NEWLEADER.
    Syncing,
    /// Has the history. The leader does not lead yet, or what was committed meanwhile is on
    /// its way.
    Synced,
    /// Serves, and gets all that happens.
    Active,
}

/// What counts against the limits of syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncKind {
    Snap,
    Diff,
}

#[derive(Debug)]
pub(super) struct Link {
    pub stage: Stage,
    /// `None`: the learner did not say; nothing of it is counted.
    pub sid: Option<PeerId>,
    pub observer: bool,
    /// Its newest zxid when it came.
    pub last: Zxid,
    /// When it must have sent something.
    pub deadline: Option<u64>,
    /// The tick until which it counts as alive. ref: LearnerHandler.synced.
    pub alive_until: u64,
    /// How it is being synced, until it has acknowledged NEWLEADER.
    pub sync: Option<SyncKind>,
    /// Something long is on its way to it.
    pub streaming: bool,
    /// Up to where it was sent what is committed, until it gets all that happens.
    pub sent: Zxid,
    /// The newest zxid that it has acknowledged.
    pub acked: Zxid,
    /// PINGs since it serves that it has not answered.
    pub unanswered: u32,
    /// An unacknowledged proposal and when it was sent, and a newer one.
    /// ref: LearnerHandler.SyncLimitCheck.
    waits: Option<(Zxid, u64)>,
    waits_next: Option<(Zxid, u64)>,
}

impl Link {
    pub fn new(deadline: u64) -> Self {
        Self {
            stage: Stage::Info,
            sid: None,
            observer: false,
            last: Zxid::ZERO,
            deadline: Some(deadline),
            alive_until: 0,
            sync: None,
            streaming: false,
            sent: Zxid::ZERO,
            acked: Zxid::ZERO,
            unanswered: 0,
            waits: None,
            waits_next: None,
        }
    }

    /// A proposal was sent, which has a time limit.
    pub fn sent(&mut self, zxid: Zxid, now: u64) {
        if self.waits.is_none() {
            self.waits = Some((zxid, now));
        } else {
            self.waits_next = Some((zxid, now));
        }
    }

    /// A proposal was acknowledged, and with it all before it.
    pub fn acked(&mut self, zxid: Zxid) {
        self.acked = self.acked.max(zxid);
        if self.waits.is_some_and(|(z, _)| z <= zxid) {
            self.waits = self.waits_next.take().filter(|(z, _)| *z > zxid);
        }
    }

    /// Since when it owes an ack.
    pub fn waits_since(&self) -> Option<u64> {
        self.waits.map(|(_, since)| since)
    }
}
