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
    // A negative zxid asks for a snapshot: it is before all that is in any log.
    if input.force_snap || learner < Zxid::ZERO {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Record;

    fn z(epoch: i64, counter: u32) -> Zxid {
        Zxid::new(zk_proto::Epoch(epoch), counter)
    }

    fn history(of: &[(i64, u32)]) -> History {
        let mut h = History::new();
        for (e, c) in of {
            h.push(Record { zxid: z(*e, *c), bytes: vec![].into() });
        }
        h
    }

    fn decide(learner: Zxid, last: Zxid, h: &[(i64, u32)], disk: Option<&LogSpan>) -> SyncPlan {
        plan(&SyncInput { learner, last, history: &history(h), force_snap: false, disk })
    }

    fn diff(zxid: Zxid, after: Zxid) -> SyncPlan {
        SyncPlan::Diff { zxid, log: None, after }
    }

    fn trunc(to: Zxid) -> SyncPlan {
        SyncPlan::Trunc { to, log: None, after: to }
    }

    #[test]
    fn from_memory() {
        use SyncPlan::*;
        // Epoch 1 ended at 5, epoch 2 at 3.
        let h: &[_] = &[(1, 3), (1, 4), (1, 5), (2, 1), (2, 2), (2, 3)];
        let old: &[_] = &[(1, 3), (1, 4), (1, 5)];
        for (case, learner, last, h, expected) in [
            ("2: equal", z(2, 3), z(2, 3), h, diff(z(2, 3), z(2, 3))),
            ("2: equal, the first start", z(0, 0), z(0, 0), &[], diff(z(0, 0), z(0, 0))),
            ("2: equal, nothing yet in the epoch", z(2, 0), z(2, 0), old, diff(z(2, 0), z(2, 0))),
            ("3: one too many", z(2, 4), z(2, 3), h, trunc(z(2, 3))),
            ("3: of an old epoch, none in the new one", z(1, 6), z(2, 0), old, trunc(z(1, 5))),
            ("3: of an epoch between", z(2, 1), z(3, 0), old, trunc(z(1, 5))),
            ("4: inside", z(1, 4), z(2, 3), h, diff(z(2, 3), z(1, 4))),
            ("4: the oldest", z(1, 3), z(2, 3), h, diff(z(2, 3), z(1, 3))),
            ("4: the newest, an epoch has begun", z(1, 5), z(2, 0), old, diff(z(1, 5), z(1, 5))),
            ("4: the begin of an epoch", z(2, 0), z(2, 3), h, diff(z(2, 3), z(2, 0))),
            ("4: one too many, cross-epoch", z(1, 6), z(2, 3), h, Snap),
            ("5: below", z(1, 2), z(2, 3), h, NeedLog),
            ("5: below, from nothing", z(0, 0), z(2, 3), h, NeedLog),
            ("5: below an empty history", z(1, 4), z(1, 5), &[], NeedLog),
            ("6: ahead at the begin of an epoch", z(3, 0), z(2, 3), h, Snap),
            ("6: no TRUNC to what is in no log", z(3, 1), z(3, 0), &[], Snap),
            ("3: without a history", z(1, 6), z(1, 5), &[], trunc(z(1, 5))),
            ("one that asks for a snapshot", Zxid(-1), z(1, 5), old, Snap),
            ("one that asks for a snapshot", Zxid(-1), z(0, 0), &[], Snap),
        ] {
            assert_eq!(decide(learner, last, h, None), expected, "{case}");
        }
    }

    #[test]
    fn from_the_log() {
        use SyncPlan::Snap;
        let h: &[_] = &[(2, 3), (2, 4)];
        let span = |at_or_before, next, durable| LogSpan { at_or_before, next, usable: true, durable };
        let (min, max) = (z(2, 3), z(2, 4));
        let diff = |learner| SyncPlan::Diff { zxid: max, log: Some((learner, min)), after: min };
        let trunc = |to| SyncPlan::Trunc { to, log: Some((to, min)), after: min };
        for (case, learner, disk, expected) in [
            ("there", z(1, 2), span(Some(z(1, 2)), Some(z(1, 3)), max), diff(z(1, 2))),
            ("begin of an epoch", z(2, 0), span(Some(z(1, 9)), Some(z(2, 1)), max), diff(z(2, 0))),
            ("one too many", z(2, 1), span(Some(z(1, 9)), Some(z(2, 2)), max), trunc(z(1, 9))),
            ("one too many, cross-epoch", z(1, 10), span(Some(z(1, 9)), Some(z(2, 1)), max), Snap),
            ("before the log", z(0, 0), span(None, Some(z(1, 1)), max), Snap),
            ("the log ends early", z(1, 2), span(Some(z(1, 2)), Some(z(1, 3)), z(2, 2)), Snap),
            ("just long enough", z(1, 2), span(Some(z(1, 2)), Some(z(1, 3)), min), diff(z(1, 2))),
            ("no log at all", z(1, 2), span(None, None, z(0, 0)), Snap),
        ] {
            assert_eq!(decide(learner, max, h, Some(&disk)), expected, "{case}");
        }
        let unusable = LogSpan { usable: false, ..span(Some(z(1, 2)), Some(z(1, 3)), max) };
        assert_eq!(decide(z(1, 2), max, h, Some(&unusable)), Snap);
        // Meanwhile the history went on; or what was asked for is no matter any more.
        let disk = span(Some(z(2, 3)), Some(z(2, 4)), max);
        assert_eq!(
            decide(z(2, 3), max, h, Some(&disk)),
            SyncPlan::Diff { zxid: max, log: None, after: z(2, 3) }
        );
    }

    #[test]
    fn everybody_gets_a_snapshot_by_force() {
        let h = history(&[(1, 1)]);
        let input = SyncInput { learner: z(1, 1), last: z(1, 1), history: &h, force_snap: true, disk: None };
        assert_eq!(plan(&input), SyncPlan::Snap);
    }
}
