//! How a learner is brought to the leader's state.
//!
//! The decision only, as a function: what the learner has, what the leader has
//! in memory and on disk. ref: LearnerHandler.syncFollower.

use zk_proto::Zxid;

use crate::history::History;

/// What the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct SyncInput<'a> {
    /// The learner's newest zxid.
    pub learner: Zxid,
    /// What the leader counts as committed.
    pub last: Zxid,
    /// The leader's committed records in memory.
    pub history: &'a History,
    /// A snapshot in any case. ref: zookeeper.forceSnapshotSync.
    pub force_snap: bool,
    /// What the log on disk knows; only after [`SyncPlan::NeedLog`].
    pub disk: Option<&'a LogSpan>,
}

/// What the leader's log on disk knows about a learner's zxid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSpan {
    /// The largest zxid in the log that is not behind the learner's.
    pub at_or_before: Option<Zxid>,
    /// The smallest zxid in the log behind the learner's.
    pub next: Option<Zxid>,
    /// Whether the log may be used: the file that holds `at_or_before` is
    /// there, the log has no hole from there on, and the files behind that one
    /// are within `snapshotSizeFactor` of the newest snapshot's size.
    pub usable: bool,
    /// The newest zxid that can be read.
    pub durable: Zxid,
}

/// How the learner is brought to the leader's state. `(after, upto]` of `log`
/// is sent from the disk, what is behind `after` from the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncPlan {
    /// Ask the log, then decide again.
    NeedLog,
    /// The learner keeps what it has.
    Diff {
        /// The newest committed zxid; for information.
        zxid: Zxid,
        /// First from the log.
        log: Option<(Zxid, Zxid)>,
        /// Then from the history what is behind this.
        after: Zxid,
    },
    /// The learner cuts its log.
    Trunc {
        /// The newest zxid that it keeps.
        to: Zxid,
        /// First from the log.
        log: Option<(Zxid, Zxid)>,
        /// Then from the history what is behind this.
        after: Zxid,
    },
    /// The learner gets everything.
    Snap,
}

/// Decides. The cases are those of Java, in its order.
pub fn plan(input: &SyncInput<'_>) -> SyncPlan {
    let (learner, last, history) = (input.learner, input.last, input.history);
    if input.force_snap {
        return SyncPlan::Snap;
    }
    if learner == last {
        return SyncPlan::Diff { zxid: last, log: None, after: last };
    }
    let min = history.min().unwrap_or(last);
    let max = history.max().unwrap_or(last);
    if learner > max {
        return beyond(learner, max);
    }
    if learner >= min {
        let before = history.at_or_before(learner);
        let next = history.iter_after(learner).next().map(|r| r.zxid);
        return within(learner, before, next, max, |_| None);
    }
    match input.disk {
        None => SyncPlan::NeedLog,
        // What could be read ends before the history begins.
        Some(disk) if !disk.usable || disk.durable < min => SyncPlan::Snap,
        Some(disk) => match disk.at_or_before {
            None => SyncPlan::Snap,
            before => within(learner, before, disk.next, max, |from| Some((from, min))),
        },
    }
}

/// Whether a zxid stands for the beginning of an epoch: it is then no
/// transaction, and nobody can have cut or lost it.
fn begins_epoch(zxid: Zxid) -> bool {
    zxid.counter() == 0
}

/// The learner has more than was ever committed.
fn beyond(learner: Zxid, max: Zxid) -> SyncPlan {
    // differs: without a history `max` may be the begin of an epoch, which is
    // in nobody's log. Java's learners keep a transaction too many then.
    // ref: FileTxnLog.truncate.
    if begins_epoch(learner) || begins_epoch(max) {
        return SyncPlan::Snap;
    }
    SyncPlan::Trunc { to: max, log: None, after: max }
}

/// The learner stands at `before` or between it and `next`, both in a run of
/// committed records. `log`: what is sent from the disk, by where it begins.
/// ref: LearnerHandler.queueCommittedProposals.
fn within(
    learner: Zxid,
    before: Option<Zxid>,
    next: Option<Zxid>,
    max: Zxid,
    log: impl Fn(Zxid) -> Option<(Zxid, Zxid)>,
) -> SyncPlan {
    let behind = |log: Option<(Zxid, Zxid)>, from| log.map_or(from, |(_, upto)| upto);
    if before == Some(learner) || begins_epoch(learner) {
        let log = log(learner);
        return SyncPlan::Diff { zxid: max, after: behind(log, learner), log };
    }
    match (before, next) {
        // What the learner has too many of is of the epoch that went on
        // without it. Across epochs Java takes a snapshot.
        (Some(to), Some(next)) if next.epoch() == learner.epoch() => {
            let log = log(to);
            SyncPlan::Trunc { to, after: behind(log, to), log }
        }
        _ => SyncPlan::Snap,
    }
}
