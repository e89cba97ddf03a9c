//! A follower that serves observers, so that they cost the leader nothing.
//!
//! To an observer it is a leader that serves: the same stages, the same ways to be
//! synchronised, the same packets. It proposes nothing and counts nobody: the host tells it what
//! the own leader has committed, passes on what observers ask, and tells it the leader's answers.
//! It lasts as long as the follower serves; then the host closes all links.
//!
//! ref: ObserverMaster.

use std::collections::{BTreeMap, VecDeque};

use zk_proto::quorum::packet::FromLearner;
use zk_proto::{Epoch, OpCode, PeerId, SessionId, Zxid};

use crate::config::Configs;
use crate::history::{History, Record};
use crate::leader::{Leader, LeaderConfig, LeaderInput, LeaderOutput, LearnerStatus, LinkId};

#[cfg(test)]
mod tests;

/// Sessions whose place is remembered. With more, all are forgotten: late requests are so rare
/// that what is lost is next to nothing.
const MAX_PLACES: usize = 1 << 20;

/// Who has asked the leader for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// A client of this member.
    Own,
    /// An observer.
    Link(LinkId),
}

/// A follower's side of its observers.
#[derive(Debug)]
pub struct ObserverMaster {
    links: Leader,
    /// Syncs that the leader has not answered. It answers them in order.
    syncs: VecDeque<Asker>,
    /// Sessions that it has not answered for; in order too.
    revalidations: VecDeque<(SessionId, Asker)>,
    /// Where a session went on that has moved since this follower serves. To the leader all of
    /// these are one place, so that it cannot tell what is left of an older connection.
    places: BTreeMap<SessionId, Asker>,
}

impl ObserverMaster {
    /// Of a follower that serves from now on, under this leader in this epoch.
    pub fn new(
        config: LeaderConfig,
        configs: Configs,
        reign: (PeerId, Epoch),
        committed: Zxid,
        now: u64,
    ) -> Self {
        Self {
            links: Leader::of_observers(config, configs, reign, committed, now),
            syncs: VecDeque::new(),
            revalidations: VecDeque::new(),
            places: BTreeMap::new(),
        }
    }

    /// Takes one input. There is no [`LeaderInput::Synced`] here: nobody waits for the own log.
    pub fn handle(&mut self, now: u64, input: LeaderInput, history: &mut History) {
        if let LeaderInput::Packet(link, FromLearner::Request(request)) = &input
            && self.places.get(&request.session).is_some_and(|place| *place != Asker::Link(*link))
        {
            // differs: Java lets a write of the older connection in behind newer ones.
            return self.links.turn_away(*link, "a request of a session that has moved");
        }
        self.links.handle(now, input, history);
    }

    /// Tells the time, in ms of a clock that never goes back.
    pub fn tick(&mut self, now: u64) {
        self.links.tick(now);
    }

    /// When [`ObserverMaster::tick`] is due.
    pub fn deadline(&self) -> Option<u64> {
        self.links.deadline()
    }

    /// What is to be done: of a leader's outputs those for links. What a
    /// [`LeaderOutput::Request`] and a [`LeaderOutput::Revalidate`] ask for is to be sent to the
    /// leader, see [`ObserverMaster::asks`], and a [`LeaderOutput::Touch`] to be told it.
    pub fn take_outputs(&mut self) -> Vec<LeaderOutput> {
        self.links.take_outputs()
    }

    /// All observers, for metrics.
    pub fn observers(&self) -> impl Iterator<Item = LearnerStatus> + '_ {
        self.links.followers()
    }

    /// The leader has committed a transaction, and the history has it. `designated`: it puts a
    /// configuration in force, under which this one leads.
    pub fn inform(&mut self, now: u64, record: &Record, designated: Option<PeerId>, history: &History) {
        self.links.inform(now, record, designated, history);
    }

    /// The configurations as the member knows them by now.
    pub fn set_configs(&mut self, configs: Configs) {
        self.links.set_configs(configs);
    }

    /// To be told of each packet that goes to the leader, for an observer or for a client of
    /// this member (`None`): the answer is for whoever has asked.
    pub fn asks(&mut self, observer: Option<LinkId>, packet: &FromLearner) {
        let asker = observer.map_or(Asker::Own, Asker::Link);
        match packet {
            FromLearner::Request(request) if request.op == OpCode::Sync => self.syncs.push_back(asker),
            FromLearner::Request(request) if request.op == OpCode::CloseSession => {
                self.places.remove(&request.session);
            }
            FromLearner::Revalidate { session, .. } => {
                if self.places.len() >= MAX_PLACES {
                    self.places.clear();
                }
                self.places.insert(*session, asker);
                self.revalidations.push_back((*session, asker));
            }
            _ => {}
        }
    }

    /// The leader's answer to the oldest sync. `false`: it is for a client of this member.
    #[must_use]
    pub fn synced(&mut self) -> bool {
        match self.syncs.pop_front() {
            Some(Asker::Link(link)) => {
                self.links.synced(link);
                true
            }
            Some(Asker::Own) | None => false,
        }
    }

    /// The leader's answer on a session. `false`: it is for a client of this member.
    #[must_use]
    pub fn revalidated(&mut self, session: SessionId, valid: bool) -> bool {
        let place = self.revalidations.iter().position(|(id, _)| *id == session);
        match place.and_then(|at| self.revalidations.remove(at)) {
            Some((_, Asker::Link(link))) => {
                self.links.revalidated(link, session, valid);
                true
            }
            Some((_, Asker::Own)) | None => false,
        }
    }
}
