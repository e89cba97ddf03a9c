//! What is measured of the links to a leader's learners, or to a follower's observers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use zab::leader::LinkId;
use zk_node::{Input, Output};
use zk_proto::quorum::packet::{FromLeader, FromLearner};
use zk_proto::{PeerId, Zxid};

use crate::core_loop::Batch;
use crate::meters::{CoreMeters, Histogram, LearnerMeters, Meters};

/// The core's view of its links.
#[derive(Debug)]
pub struct Learners {
    meters: Arc<Meters>,
    links: BTreeMap<LinkId, Link>,
}

#[derive(Debug)]
struct Link {
    /// `None`: too many have been seen.
    meters: Option<Arc<LearnerMeters>>,
    /// What brings it up, until it says that it has that.
    sync: Option<Sync>,
    /// The last transaction of the newest batch that it has acknowledged.
    acked: Zxid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Snapshot,
    Diff,
}

impl Sync {
    fn meter(self, meters: &CoreMeters) -> &Histogram {
        match self {
            Self::Snapshot => &meters.snapshots_under_way,
            Self::Diff => &meters.diffs_under_way,
        }
    }
}

impl Learners {
    /// Without links.
    pub fn new(meters: Arc<Meters>) -> Self {
        Self { meters, links: BTreeMap::new() }
    }

    /// Something is about to be handed to the member; `wall` is the time of the day in ms, and
    /// `under_way` what a leader has proposed and not applied.
    pub fn input(&mut self, input: &Input, wall: i64, under_way: &VecDeque<Batch>) {
        match input {
            Input::FromLearner(link, FromLearner::Info { learner, .. }) => {
                let meters = learner.sid.and_then(|sid| self.meters.learners.of(sid));
                self.links.insert(*link, Link { meters, sync: None, acked: Zxid(0) });
            }
            Input::FromLearner(link, FromLearner::Ack { zxid }) => self.acked(*link, *zxid, wall, under_way),
            Input::FromLearner(_, FromLearner::Revalidate { .. }) => self.meters.core.revalidations.add(1),
            Input::LinkDown(link) => drop(self.links.remove(link)),
            _ => {}
        }
    }

    /// The first ACK is that of NEWLEADER, and ends what brought the learner up.
    /// ref: LearnerHandler.run, Leader.processAck.
    fn acked(&mut self, id: LinkId, zxid: Zxid, wall: i64, under_way: &VecDeque<Batch>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Some(sync) = link.sync.take() {
            return self.count(sync);
        }
        let before = under_way.partition_point(|b| b.zxid <= zxid);
        let Some(batch) = before.checked_sub(1).and_then(|i| under_way.get(i)) else { return };
        if batch.zxid > link.acked {
            link.acked = batch.zxid;
            if let (Some(meters), Some(age)) = (&link.meters, batch.age(wall)) {
                meters.ack.record(age);
            }
        }
    }

    /// The leader itself has logged a batch, which counts as an acknowledgement.
    /// ref: AckRequestProcessor.
    pub fn acked_here(&self, me: PeerId, age: u64) {
        if let Some(meters) = self.meters.learners.of(me) {
            meters.ack.record(age);
        }
    }

    /// Something is about to be performed.
    pub fn output(&mut self, output: &Output) {
        match output {
            Output::StreamSnapshot { link, .. } => self.begins(*link, Sync::Snapshot),
            Output::ToLearners { links, message: FromLeader::Diff { .. } | FromLeader::Trunc { .. } } => {
                links.iter().for_each(|link| self.begins(*link, Sync::Diff));
            }
            Output::StopLeading => self.links.clear(),
            _ => {}
        }
    }

    fn begins(&mut self, link: LinkId, sync: Sync) {
        match sync {
            Sync::Snapshot => self.meters.core.snapshots.add(1),
            Sync::Diff => self.meters.core.diffs.add(1),
        }
        if let Some(link) = self.links.get_mut(&link) {
            link.sync = Some(sync);
        }
        self.count(sync);
    }

    /// How many are under way is noted whenever one begins or ends.
    fn count(&self, sync: Sync) {
        let n = self.links.values().filter(|l| l.sync == Some(sync)).count();
        sync.meter(&self.meters.core).record(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use zk_proto::Epoch;
    use zk_proto::quorum::packet::LearnerInfo;

    use super::*;
    use crate::meters::Counted;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn info(sid: i64) -> FromLearner {
        let learner = LearnerInfo::new(PeerId(sid), Zxid(0));
        FromLearner::Info { observer: false, accepted_epoch: Epoch(0), learner }
    }

    fn ack(zxid: i64) -> FromLearner {
        FromLearner::Ack { zxid: Zxid(zxid) }
    }

    fn batch(zxid: i64, prepared: i64) -> Batch {
        Batch { zxid: Zxid(zxid), came: 0, prepared }
    }

    fn diff(link: LinkId) -> Output {
        Output::ToLearners { links: vec![link], message: FromLeader::Diff { zxid: Zxid(0) } }
    }

    #[test]
    fn syncs_under_way_are_counted_when_one_begins_and_ends() {
        let meters = Arc::new(Meters::default());
        let mut l = Learners::new(Arc::clone(&meters));
        let none = VecDeque::new();
        for (link, sid) in [(A, 1), (B, 2)] {
            l.input(&Input::FromLearner(link, info(sid)), 0, &none);
            l.output(&diff(link));
        }
        l.input(&Input::FromLearner(A, ack(0)), 0, &none);
        l.input(&Input::LinkDown(B), 0, &none);
        l.output(&Output::StreamSnapshot { link: A, zxid: Zxid(0) });
        let diffs = Counted::of(&meters.core.diffs_under_way).seen(1);
        assert_eq!((diffs.count, diffs.min, diffs.max, diffs.sum), (3, 1, 2, 4));
        let snapshots = Counted::of(&meters.core.snapshots_under_way).seen(1);
        assert_eq!((snapshots.count, snapshots.max), (1, 1));
        assert_eq!((meters.core.diffs.get(), meters.core.snapshots.get()), (2, 1));
    }

    #[test]
    fn an_ack_counts_once_for_the_newest_batch_that_is_not_applied() {
        let meters = Arc::new(Meters::default());
        let mut l = Learners::new(Arc::clone(&meters));
        let mut under_way = VecDeque::from([batch(5, 1000), batch(9, 1010)]);
        l.input(&Input::FromLearner(A, info(7)), 0, &under_way);
        for zxid in [4, 5, 6, 8] {
            l.input(&Input::FromLearner(A, ack(zxid)), 1020, &under_way);
        }
        l.input(&Input::FromLearner(A, ack(9)), 1050, &under_way);
        under_way.clear();
        l.input(&Input::FromLearner(A, ack(12)), 1050, &under_way);
        l.input(&Input::FromLearner(B, ack(9)), 1050, &under_way);
        let seen = meters.learners.seen(|m| Counted::of(&m.ack).seen(1000));
        let [(sid, seen)] = seen.as_slice() else { panic!("{seen:?}") };
        assert_eq!((sid.as_str(), seen.count, seen.min, seen.max), ("7", 2, 20, 40));
    }
}
