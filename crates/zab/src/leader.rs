//! A leader and its learners.
//!
//! ```text
//!  Epoch ----------> EpochAcks ---------> NewLeader ---------> Serving
//!  a quorum said     a quorum is          a quorum has         proposals,
//!  what it promised  in the epoch         the history          commits, pings
//! ```
//! Each phase but the last has `initLimit` ticks; then the leader resigns. One that
//! [stands aside](Leader::stand_aside) takes no more requests of learners, and
//! resigns when voters have answered a PING behind the last COMMIT.
//! A packet that has no place in its link's stage closes that link and nothing
//! else.
//!
//! The host closes all links when the leader resigns, and hands over what came
//! from the network before it calls [`Leader::tick`], so that packets that
//! waited while the host was busy count.
//!
//! ref: Leader, LearnerHandler, LeaderZooKeeperServer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use zk_proto::quorum::packet::{Forwarded, FromLeader, FromLearner, LearnerInfo};
use zk_proto::{Epoch, OpCode, PeerId, SessionId, Zxid};

use crate::config::{Configs, EnsembleConfig};
use crate::history::{History, Record, follows};
use crate::sync::{LogSpan, SyncInput, SyncPlan, plan};

mod link;
#[cfg(test)]
mod tests;

use link::{Link, Stage, SyncKind};

/// A size for [`LeaderConfig::join_bytes`] at which a disk and a network spend more time on the
/// bytes than on the way to them.
pub const JOIN_BYTES: usize = 16 << 20;

/// Epoch and history of a member that has nothing.
const BLANK: (Epoch, Zxid) = (Epoch(0), Zxid::ZERO);

/// One connection of a learner as the host numbers it; a number is never used
/// twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a leader is told once.
#[derive(Debug, Clone)]
pub struct LeaderConfig {
    /// Its own id.
    pub me: PeerId,
    /// The unit of the limits in ms.
    pub tick_ms: u64,
    /// Ticks for each step until a learner is synced.
    pub init_limit: u32,
    /// Ticks without a sign of life after that.
    pub sync_limit: u32,
    /// Every learner gets a snapshot. ref: zookeeper.forceSnapshotSync.
    pub force_snap: bool,
    /// Snapshots on their way at once; an observer beyond that must come again.
    pub max_snap_syncs: usize,
    /// As `max_snap_syncs`, for the other ways.
    pub max_diff_syncs: usize,
    /// Committed bytes that are queued at once for a learner that comes into step; who lacks
    /// more is sent it from the log first.
    pub join_bytes: usize,
    /// Whether configurations change at all.
    pub reconfig_enabled: bool,
}

/// What a leader begins with. All of it is durable.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The newest epoch that it has promised.
    pub accepted: Epoch,
    /// The epoch of its history.
    pub current: Epoch,
    /// The newest zxid of its log; everything up to there counts as history.
    pub last: Zxid,
    /// What its tree shows. The records from here to `last` are in the
    /// [`History`]. It is more than `last` after a term of office in which
    /// nothing was proposed: then it is the begin of that epoch.
    pub applied: Zxid,
}

/// What happens to a leader.
#[derive(Debug, Clone)]
pub enum LeaderInput {
    /// A learner has connected.
    LinkUp(LinkId),
    /// It has sent something.
    Packet(LinkId, FromLearner),
    /// It is gone.
    LinkDown(LinkId),
    /// The own log is durable up to here.
    Synced {
        /// The newest durable zxid.
        upto: Zxid,
    },
    /// The answer to [`LeaderOutput::FindInLog`].
    LogSpan {
        /// For which learner.
        link: LinkId,
        /// What is there.
        span: LogSpan,
    },
    /// A snapshot, or records from the log, are written to the link's socket:
    /// the learner's time begins now. Until then it has no deadline.
    Streamed(LinkId),
}

/// What a leader wants done, strictly in order. `Store*` is durable before the
/// next one is looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaderOutput {
    /// Store the promised epoch.
    StoreAcceptedEpoch(Epoch),
    /// Store the epoch of the history.
    StoreCurrentEpoch(Epoch),
    /// Queue a message for some learners.
    Send {
        /// For which ones.
        links: Vec<LinkId>,
        /// What.
        message: FromLeader,
    },
    /// Close a link; nothing is to be told about it any more.
    Close {
        /// Which one.
        link: LinkId,
        /// For the log.
        why: &'static str,
    },
    /// Look a learner's zxid up in the log. Answer: [`LeaderInput::LogSpan`].
    FindInLog {
        /// For which learner.
        link: LinkId,
        /// Its newest zxid.
        zxid: Zxid,
    },
    /// Queue PROPOSAL and COMMIT of these records of the log, in the order of
    /// the link's other messages. Then: [`LeaderInput::Streamed`].
    StreamLog {
        /// For which learner.
        link: LinkId,
        /// What it has.
        after: Zxid,
        /// The last one.
        upto: Zxid,
        /// COMMIT of a configuration is COMMITANDACTIVATE with this leader.
        activate: Option<PeerId>,
    },
    /// Apply what is committed so far, then queue SNAP and the tree, in the
    /// order of the link's other messages. Then: [`LeaderInput::Streamed`].
    StreamSnapshot {
        /// For which learner.
        link: LinkId,
        /// What the tree shows.
        zxid: Zxid,
    },
    /// Lead: first apply the whole history, then serve.
    Established {
        /// The epoch.
        epoch: Epoch,
    },
    /// Apply up to here. The records are in the [`History`].
    Committed {
        /// The newest committed zxid.
        upto: Zxid,
    },
    /// A learner's client asks for something. Syncs are answered here.
    Request {
        /// Which learner.
        link: LinkId,
        /// What.
        request: Forwarded,
    },
    /// A session was heard of.
    Touch {
        /// Which one.
        session: SessionId,
        /// Its time-out in ms.
        timeout: i32,
    },
    /// A client came back at a learner. Answer: [`Leader::revalidated`].
    Revalidate {
        /// Which learner; the session belongs to it if it lives.
        link: LinkId,
        /// The session.
        session: SessionId,
        /// Its time-out in ms.
        timeout: i32,
    },
    /// The first leader has given its configuration a version; nobody has agreed yet.
    SeenConfig(EnsembleConfig),
    /// This configuration is in force.
    ActivateConfig {
        /// It.
        config: EnsembleConfig,
        /// Who leads from now on.
        designated: PeerId,
    },
    /// Stop leading, close all links, look for a leader.
    Resign {
        /// For the log.
        why: &'static str,
        /// A voter that has all that was committed, if the leader has made sure of one.
        successor: Option<PeerId>,
    },
}

/// A learner as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnerStatus {
    /// Its link.
    pub link: LinkId,
    /// Its id, once it is known.
    pub sid: Option<PeerId>,
    /// Whether it came as an observer.
    pub observer: bool,
    /// Whether its acks count.
    pub voter: bool,
    /// Whether it serves.
    pub synced: bool,
    /// The newest zxid that it has acknowledged.
    pub acked: Zxid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Collects what the others have promised.
    Epoch,
    /// Collects members that are in the epoch.
    EpochAcks,
    /// Collects members that have the history.
    NewLeader,
    Serving,
    Resigned,
}

#[derive(Debug)]
struct Outstanding {
    record: Record,
    /// Whose quorums it needs.
    needs: Configs,
    acks: BTreeSet<PeerId>,
    reconfig: Option<EnsembleConfig>,
}

impl Outstanding {
    fn ack(&mut self, sid: PeerId) {
        if self.needs.is_voter(sid) {
            self.acks.insert(sid);
        }
    }
}

/// A leader.
#[derive(Debug)]
pub struct Leader {
    config: LeaderConfig,
    configs: Configs,
    start: Start,
    phase: Phase,
    /// End of the phase.
    deadline: u64,
    /// One more than anybody has promised; from `EpochAcks` on the epoch.
    epoch: Epoch,
    /// Those that the phase has counted.
    counted: BTreeSet<PeerId>,
    /// Those of them whose disk is blank.
    blank: BTreeSet<PeerId>,
    links: BTreeMap<LinkId, Link>,
    /// From `committed` to `last_proposed`, without a hole.
    outstanding: VecDeque<Outstanding>,
    committed: Zxid,
    last_proposed: Zxid,
    own_synced: Zxid,
    /// Syncs of learners, each behind the zxid that it waits for.
    syncs: VecDeque<(Zxid, LinkId)>,
    /// Another one shall lead under the new configuration: since which tick.
    passed_on: Option<u64>,
    /// Rounds of pings come twice a tick; every second one counts.
    next_round: u64,
    tick: u64,
    count_round: bool,
    aside: Option<Aside>,
    /// Who leads: another one, if this is a follower's side of its observers.
    leader: PeerId,
    relays: bool,
    out: Vec<LeaderOutput>,
}

/// A leader that is about to go.
#[derive(Debug, Clone, Copy)]
struct Aside {
    /// When it goes whatever the others have.
    until: u64,
    /// All that was proposed is committed, and a PING went out behind it.
    pinged: bool,
}

impl Leader {
    /// A leader that has just been elected. Where it is a quorum alone, it
    /// leads at once.
    pub fn new(config: LeaderConfig, configs: Configs, start: Start, now: u64) -> Self {
        let start = Start { last: start.last.max(start.applied), ..start };
        let mut leader = Self::with(config, configs, start);
        leader.deadline = now + leader.init_ms();
        leader.try_epoch(now, None);
        leader
    }

    /// The side of a follower that serves observers: see [`crate::observer_master`].
    pub(crate) fn of_observers(
        config: LeaderConfig,
        configs: Configs,
        reign: (PeerId, Epoch),
        committed: Zxid,
        now: u64,
    ) -> Self {
        let (by, epoch) = reign;
        let start = Start { accepted: epoch, current: epoch, last: committed, applied: committed };
        let mut leader = Self::with(config, configs, start);
        (leader.leader, leader.relays) = (by, true);
        (leader.phase, leader.epoch) = (Phase::Serving, epoch);
        leader.next_round = now + leader.round_ms();
        leader
    }

    fn with(config: LeaderConfig, configs: Configs, start: Start) -> Self {
        Self {
            deadline: 0,
            epoch: Epoch(start.accepted.0.saturating_add(1)),
            counted: BTreeSet::from([config.me]),
            blank: [config.me].into_iter().filter(|_| (start.current, start.last) == BLANK).collect(),
            leader: config.me,
            config,
            configs,
            start,
            phase: Phase::Epoch,
            links: BTreeMap::new(),
            outstanding: VecDeque::new(),
            committed: start.last,
            last_proposed: start.last,
            own_synced: start.last,
            syncs: VecDeque::new(),
            passed_on: None,
            next_round: 0,
            tick: 0,
            count_round: false,
            aside: None,
            relays: false,
            out: Vec::new(),
        }
    }

    /// Gives up the office so that the others need not find out by themselves:
    /// what is proposed is committed first, and the voters that are in step have
    /// taken the commits. It goes after `limit_ms` whatever they have. Requests of
    /// learners are dropped from now on; their clients ask the next leader.
    pub fn stand_aside(&mut self, now: u64, limit_ms: u64) {
        if self.phase != Phase::Serving {
            if self.phase != Phase::Resigned {
                self.resign(STANDS_ASIDE, None);
            }
            return;
        }
        self.aside = Some(Aside { until: now.saturating_add(limit_ms), pinged: false });
        self.try_aside(now);
    }

    /// Whether there is a voter that could take over at once.
    pub fn has_deputy(&self) -> bool {
        let active = |l: &&Link| l.stage == Stage::Active;
        self.phase == Phase::Serving && self.links.values().filter(active).any(|l| self.vote(l).is_some())
    }

    /// Takes one input.
    pub fn handle(&mut self, now: u64, input: LeaderInput, history: &mut History) {
        if self.phase == Phase::Resigned {
            return;
        }
        self.take(now, input, history);
        self.try_aside(now);
    }

    fn take(&mut self, now: u64, input: LeaderInput, history: &mut History) {
        match input {
            LeaderInput::LinkUp(id) => {
                let old = self.links.insert(id, Link::new(now + self.init_ms()));
                assert!(old.is_none(), "a link's number is used once");
            }
            LeaderInput::LinkDown(id) => self.forget(id),
            LeaderInput::Packet(id, packet) => self.packet(now, id, packet, history),
            LeaderInput::Synced { upto } => self.own_ack(upto, history),
            LeaderInput::LogSpan { link, span } => {
                if self.links.get(&link).is_some_and(|l| l.stage == Stage::FindInLog) {
                    self.sync(now, link, history, Some(&span));
                }
            }
            LeaderInput::Streamed(id) => {
                let deadline = now + self.init_ms();
                let alive = self.tick + u64::from(self.config.sync_limit);
                if let Some(link) = self.links.get_mut(&id).filter(|l| l.streaming) {
                    link.streaming = false;
                    link.alive_until = link.alive_until.max(alive);
                    if link.stage == Stage::Syncing {
                        link.deadline = Some(deadline);
                    }
                    self.try_join(now, id, history);
                }
            }
        }
    }

    /// Tells the time, in ms of a clock that never goes back.
    pub fn tick(&mut self, now: u64) {
        if self.phase == Phase::Resigned {
            return;
        }
        if self.phase < Phase::Serving && now >= self.deadline {
            return self.resign("no quorum within initLimit", None);
        }
        let late = |l: &Link| l.deadline.is_some_and(|d| now >= d);
        let late: Vec<_> = self.links.iter().filter(|(_, l)| late(l)).map(|(id, _)| *id).collect();
        for id in late {
            self.close(id, "no packet in time");
        }
        if self.phase == Phase::Serving && now >= self.next_round {
            self.next_round = now + self.round_ms();
            self.round(now);
        }
        self.try_aside(now);
    }

    /// When [`Leader::tick`] is due.
    pub fn deadline(&self) -> Option<u64> {
        let own = match self.phase {
            Phase::Resigned => return None,
            Phase::Serving => self.aside.map_or(self.next_round, |a| a.until.min(self.next_round)),
            _ => self.deadline,
        };
        self.links.values().filter_map(|l| l.deadline).chain([own]).min()
    }

    /// What is to be done.
    pub fn take_outputs(&mut self) -> Vec<LeaderOutput> {
        std::mem::take(&mut self.out)
    }

    /// Proposes a record; its zxid is [`Leader::next_zxid`]. The host appends
    /// it to its own log. `reconfig`: the configuration that is in it.
    ///
    /// `false`: it is not proposed, since the leader has resigned; it does so
    /// here when the epoch's zxids are used up.
    pub fn propose(&mut self, now: u64, record: Record, reconfig: Option<EnsembleConfig>) -> bool {
        if self.phase == Phase::Resigned {
            return false;
        }
        assert!(self.phase == Phase::Serving, "only an established leader proposes");
        let Some(zxid) = self.next_zxid() else {
            self.resign("the epoch's zxids are used up", None);
            return false;
        };
        assert_eq!(record.zxid, zxid, "proposals have no holes");
        if let Some(config) = &reconfig {
            self.configs.last_seen = Some(Arc::new(config.clone()));
        }
        self.last_proposed = zxid;
        if let Some(aside) = &mut self.aside {
            aside.pinged = false;
        }
        let message = FromLeader::Proposal { zxid, txn: record.bytes.clone() };
        let links = self.receivers(false);
        for id in &links {
            self.links.get_mut(id).expect("receivers are links").sent(zxid, now);
        }
        self.send(links, message);
        let (needs, acks) = (self.configs.clone(), BTreeSet::new());
        self.outstanding.push_back(Outstanding { record, needs, acks, reconfig });
        true
    }

    /// The zxid of the next proposal. `None`: the epoch's are used up;
    /// 0xffffffff is never proposed. ref: Leader.propose.
    pub fn next_zxid(&self) -> Option<Zxid> {
        self.last_proposed.next().filter(|z| z.counter() != u32::MAX)
    }

    /// The zxid proposed last.
    pub fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// The newest committed zxid; the begin of the epoch at first.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// The epoch, once it is known.
    pub fn epoch(&self) -> Option<Epoch> {
        (self.phase > Phase::Epoch).then_some(self.epoch)
    }

    /// Whether it leads.
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// The configurations as it knows them.
    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    /// The zxid that a sync of an own client waits for: it is through once
    /// this one is committed.
    pub fn sync_local(&self) -> Zxid {
        self.last_proposed
    }

    /// The answer to [`LeaderOutput::Revalidate`].
    pub fn revalidated(&mut self, link: LinkId, session: SessionId, valid: bool) {
        if self.links.contains_key(&link) {
            self.send(vec![link], FromLeader::Revalidate { session, valid });
        }
    }

    /// All learners, for metrics.
    pub fn followers(&self) -> impl Iterator<Item = LearnerStatus> + '_ {
        self.links.iter().map(|(id, l)| LearnerStatus {
            link: *id,
            sid: l.sid,
            observer: l.observer,
            voter: self.vote(l).is_some(),
            synced: l.stage == Stage::Active,
            acked: l.acked,
        })
    }

    /// Syncs of learners that wait for a commit, for metrics.
    pub fn pending_syncs(&self) -> usize {
        self.syncs.len()
    }

    fn init_ms(&self) -> u64 {
        self.config.tick_ms * u64::from(self.config.init_limit)
    }

    fn sync_ms(&self) -> u64 {
        self.config.tick_ms * u64::from(self.config.sync_limit)
    }

    fn round_ms(&self) -> u64 {
        (self.config.tick_ms / 2).max(1)
    }

    /// The newest committed transaction. differs: Java counts the begin of its epoch as one
    /// that is applied. A client that has seen that zxid is refused by every member which
    /// has nothing of the new epoch yet, and a learner that has all gets a snapshot.
    /// ref: Leader.lead, ZooKeeperServer.setZxid.
    fn last_txn(&self) -> Zxid {
        if self.committed == self.epoch_begin() { self.start.last } else { self.committed }
    }

    fn epoch_begin(&self) -> Zxid {
        Zxid::new(self.epoch, 0)
    }

    /// Whose vote stands behind a link, in either configuration.
    fn vote(&self, link: &Link) -> Option<PeerId> {
        link.sid.filter(|sid| !link.observer && self.configs.is_voter(*sid))
    }

    fn send(&mut self, links: Vec<LinkId>, message: FromLeader) {
        if !links.is_empty() {
            self.out.push(LeaderOutput::Send { links, message });
        }
    }

    /// Those that get all that happens, from [`Leader::try_join`] on.
    fn receivers(&self, observers: bool) -> Vec<LinkId> {
        let gets = |l: &Link| l.stage == Stage::Active && l.observer == observers;
        self.links.iter().filter(|(_, l)| gets(l)).map(|(id, _)| *id).collect()
    }

    fn forget(&mut self, id: LinkId) {
        self.links.remove(&id);
        self.syncs.retain(|(_, link)| *link != id);
    }

    fn close(&mut self, id: LinkId, why: &'static str) {
        self.forget(id);
        self.out.push(LeaderOutput::Close { link: id, why });
    }

    fn resign(&mut self, why: &'static str, successor: Option<PeerId>) {
        self.phase = Phase::Resigned;
        self.links.clear();
        self.syncs.clear();
        self.out.push(LeaderOutput::Resign { why, successor });
    }
}

/// Packets.
impl Leader {
    fn packet(&mut self, now: u64, id: LinkId, packet: FromLearner, history: &mut History) {
        // What a closed link had sent before.
        let Some(stage) = self.links.get(&id).map(|l| l.stage) else { return };
        if stage >= Stage::Synced {
            return self.serve(now, id, packet, history);
        }
        match (stage, packet) {
            (Stage::Info, FromLearner::Info { observer, accepted_epoch, learner }) => {
                self.info(now, id, observer, accepted_epoch, learner, history);
            }
            (Stage::AckEpoch, FromLearner::AckEpoch { last_zxid, current_epoch }) => {
                self.ack_epoch(now, id, last_zxid, current_epoch, history);
            }
            (Stage::Syncing, FromLearner::Ack { zxid }) => self.ack_new_leader(now, id, zxid, history),
            _ => self.close(id, "packet out of place"),
        }
    }

    /// A packet of a learner that has acknowledged NEWLEADER.
    fn serve(&mut self, now: u64, id: LinkId, packet: FromLearner, history: &mut History) {
        let (deadline, alive) = (now + self.sync_ms(), self.tick + u64::from(self.config.sync_limit));
        let Some(link) = self.links.get_mut(&id) else { return };
        let active = link.stage == Stage::Active;
        if active {
            link.deadline = Some(deadline);
        }
        link.alive_until = link.alive_until.max(alive);
        match packet {
            FromLearner::Ack { zxid } => self.ack(id, zxid, history),
            FromLearner::Ping { touched, .. } => {
                link.unanswered = link.unanswered.saturating_sub(1);
                let touch = |t: zk_proto::quorum::packet::Touch| LeaderOutput::Touch {
                    session: t.session,
                    timeout: t.timeout,
                };
                self.out.extend(touched.into_iter().map(touch));
            }
            FromLearner::Request(request) if active && request.op == OpCode::Sync && !self.relays => {
                self.sync_request(id);
            }
            FromLearner::Request(_) if active && self.aside.is_some() => {}
            FromLearner::Request(request) if active => {
                self.out.push(LeaderOutput::Request { link: id, request });
            }
            FromLearner::Revalidate { session, timeout } if active => {
                self.out.push(LeaderOutput::Revalidate { link: id, session, timeout });
            }
            _ => self.close(id, "packet out of place"),
        }
    }

    /// ref: Leader.processSync.
    fn sync_request(&mut self, id: LinkId) {
        if self.outstanding.is_empty() {
            self.send(vec![id], FromLeader::Sync);
        } else {
            self.syncs.push_back((self.last_proposed, id));
        }
    }
}

/// Discovery: the epoch.
impl Leader {
    /// FOLLOWERINFO or OBSERVERINFO. ref: LearnerHandler.run.
    fn info(
        &mut self,
        now: u64,
        id: LinkId,
        observer: bool,
        accepted: Epoch,
        info: LearnerInfo,
        history: &mut History,
    ) {
        if let Some(why) = self.refusal(accepted, &info) {
            return self.close(id, why);
        }
        if self.relays && !observer {
            return self.close(id, "only observers are served here");
        }
        let limits = u64::from(self.config.init_limit) + u64::from(self.config.sync_limit);
        let (deadline, alive_until) = (now + self.init_ms(), self.tick + limits);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.sid = info.sid;
        link.observer = observer;
        link.alive_until = alive_until;
        link.deadline = Some(deadline);
        if self.phase > Phase::Epoch {
            let voter = !observer && info.sid.is_some_and(|sid| self.configs.is_voter(sid));
            // differs: in Java a member that promised a later epoch to a leader which never
            // got its quorum is locked out until the leader changes for another reason.
            // ref: Learner.registerWithLeader.
            if voter && accepted > self.epoch {
                return self.resign("a voter has promised a later epoch", None);
            }
            return self.leader_info(now, vec![id]);
        }
        link.stage = Stage::WaitEpoch;
        // Observers are not counted, but what they have promised binds as well. differs: what
        // a stranger says does not; a single packet could use up the epochs.
        let knows = |c: &EnsembleConfig| info.sid.is_some_and(|sid| c.members.contains_key(&sid));
        if knows(&self.configs.active) || self.configs.last_seen.as_deref().is_some_and(knows) {
            self.epoch = self.epoch.max(Epoch(accepted.0 + 1));
        }
        // Who observes may vote in a configuration that is proposed.
        self.counted.extend(info.sid);
        self.try_epoch(now, Some(history));
    }

    fn refusal(&self, accepted: Epoch, info: &LearnerInfo) -> Option<&'static str> {
        // differs: Java adds one to the largest epoch and gets a negative one. Minus one
        // is what its member has that may not make a database.
        if !(-1..i64::from(i32::MAX)).contains(&accepted.0) {
            return Some("no epoch");
        }
        // differs: Java still speaks to members before 3.4.
        if info.protocol_version.is_none_or(|v| v < LearnerInfo::PROTOCOL_VERSION) {
            return Some("protocol of a version before 3.4");
        }
        if info.sid == Some(self.config.me) {
            return Some("the learner has the leader's id");
        }
        let ahead = info.config_version.is_some_and(|v| v > self.configs.active.version);
        ahead.then_some("the learner's configuration is ahead")
    }

    /// Fixes the epoch as soon as a quorum has said what it promised.
    /// ref: Leader.getEpochToPropose.
    ///
    /// differs: a quorum of a proposed configuration, too, here and for the acknowledgements.
    /// Java asks for that at NEWLEADER only, and by then the leader and its followers have
    /// entered the epoch. If the proposal is in force elsewhere, what was committed under an
    /// earlier epoch there loses the next election against their later one.
    fn try_epoch(&mut self, now: u64, history: Option<&mut History>) {
        if self.phase != Phase::Epoch || !self.configs.has_quorum(&self.counted) {
            return;
        }
        self.out.push(LeaderOutput::StoreAcceptedEpoch(self.epoch));
        self.enter(Phase::EpochAcks, now);
        let waiting = self.in_stage(Stage::WaitEpoch);
        self.leader_info(now, waiting);
        self.try_epoch_acks(now, history);
    }

    fn enter(&mut self, phase: Phase, now: u64) {
        self.phase = phase;
        self.deadline = now + self.init_ms();
        self.counted = BTreeSet::from([self.config.me]);
    }

    fn in_stage(&self, stage: Stage) -> Vec<LinkId> {
        self.links.iter().filter(|(_, l)| l.stage == stage).map(|(id, _)| *id).collect()
    }

    fn leader_info(&mut self, now: u64, links: Vec<LinkId>) {
        let deadline = now + self.init_ms();
        for id in &links {
            let link = self.links.get_mut(id).expect("only links are told");
            link.stage = Stage::AckEpoch;
            link.deadline = Some(deadline);
        }
        let protocol_version = LearnerInfo::PROTOCOL_VERSION;
        self.send(links, FromLeader::LeaderInfo { epoch: self.epoch, protocol_version });
    }

    /// ACKEPOCH. ref: Leader.waitForEpochAck.
    fn ack_epoch(&mut self, now: u64, id: LinkId, last: Zxid, current: Option<Epoch>, history: &mut History) {
        let deadline = now + self.init_ms();
        let known = self.committed.max(self.epoch_begin());
        let ahead = self.relays && last.epoch() == self.epoch && last > known;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last = last;
        // What it has of this epoch was committed when its last leader told it, and is about to
        // be heard of here. differs: Java has it cut its log, and its clients would see the past.
        if ahead {
            (link.stage, link.deadline) = (Stage::Ahead, Some(deadline));
            return;
        }
        if self.phase > Phase::EpochAcks {
            return self.sync(now, id, history, None);
        }
        link.stage = Stage::WaitEpochAcks;
        link.deadline = Some(deadline);
        let sid = link.sid;
        // One that has promised this epoch before is not counted: it may have
        // done so for a leader before us.
        if let Some(current) = current {
            if (current, last) > (self.start.current, self.start.last) {
                return self.close(id, "the learner's history is ahead");
            }
            if let Some(sid) = sid.filter(|_| last != Zxid(-1)) {
                self.counted.insert(sid);
                self.blank.extend(Some(sid).filter(|_| (current, last) == BLANK));
            }
        }
        self.try_epoch_acks(now, Some(history));
    }

    /// Goes on as soon as a quorum is in the epoch. ref: Leader.lead.
    fn try_epoch_acks(&mut self, now: u64, history: Option<&mut History>) {
        if self.phase != Phase::EpochAcks || !self.enough_are_in() {
            return;
        }
        self.out.push(LeaderOutput::StoreCurrentEpoch(self.epoch));
        self.enter(Phase::NewLeader, now);
        self.last_proposed = self.epoch_begin();
        self.number_config();
        if let Some(history) = history {
            for id in self.in_stage(Stage::WaitEpochAcks) {
                self.sync(now, id, history, None);
            }
        }
        self.try_establish(now);
    }

    /// Whether a quorum is in the epoch, and enough voters of a proposed configuration that
    /// those who are not cannot have committed anything by themselves, and will not. That is a
    /// quorum, or half of an even number: the rest may be ahead of this leader by what was never
    /// committed, or may have lost their disk and count from NEWLEADER on. Who has lost what it
    /// knew counts for a quorum only.
    fn enough_are_in(&self) -> bool {
        let newest = self.newest_config();
        let says_nothing = |v: &PeerId| !self.counted.contains(v) || self.blank.contains(v);
        self.configs.active.has_quorum(&self.counted)
            && (newest.has_quorum(&self.counted)
                || !newest.has_quorum(&newest.voters().filter(says_nothing).collect()))
    }

    /// The first leader of an ensemble gives its configuration a version.
    fn number_config(&mut self) {
        let newest = self.newest_config();
        if self.config.reconfig_enabled && newest.version == Zxid::ZERO {
            let version = self.epoch_begin();
            let members = EnsembleConfig { version, ..(*self.configs.active).clone() };
            self.out.push(LeaderOutput::SeenConfig(members.clone()));
            self.configs.last_seen = Some(Arc::new(members));
        }
    }

    fn newest_config(&self) -> &Arc<EnsembleConfig> {
        let pending = self.configs.last_seen.as_ref();
        pending.filter(|c| c.version > self.configs.active.version).unwrap_or(&self.configs.active)
    }
}

/// Synchronisation: the history.
impl Leader {
    /// Decides how a learner is synced, and queues all of it.
    ///
    /// differs: Java lets the learner hear from now on what happens, in a queue behind the
    /// snapshot that grows with the writes. Here that begins with [`Leader::try_join`].
    /// ref: LearnerHandler.syncFollower, Leader.startForwarding.
    fn sync(&mut self, now: u64, id: LinkId, history: &History, disk: Option<&LogSpan>) {
        let (last, begin) = (self.last_txn(), self.epoch_begin());
        let before_all = self.committed <= begin;
        // Before it leads, a snapshot lacks the end of the history: a learner that has it
        // would lose its copy for a moment, and the leader's may be the only other one.
        let force_snap = self.config.force_snap && self.is_established();
        let Some(link) = self.links.get_mut(&id) else { return };
        let (sid, learner) = (link.sid, link.last);
        let plan = plan(&SyncInput {
            // Who has seen the begin of the epoch has what was before it.
            learner: if learner == begin && before_all { last } else { learner },
            last,
            history,
            force_snap,
            disk,
        });
        if plan == SyncPlan::NeedLog {
            // Only the own disk is waited for.
            (link.stage, link.deadline) = (Stage::FindInLog, None);
            return self.out.push(LeaderOutput::FindInLog { link: id, zxid: learner });
        }
        let kind = if plan == SyncPlan::Snap { SyncKind::Snap } else { SyncKind::Diff };
        if self.throttled(id, kind) {
            return self.close(id, "too many learners are being synced");
        }
        let name = match &plan {
            SyncPlan::Diff { .. } => "diff",
            SyncPlan::Trunc { .. } => "trunc",
            SyncPlan::Snap | SyncPlan::NeedLog => "snap",
        };
        let peer = sid.unwrap_or(PeerId(-1));
        tracing::info!(kind = %name, role = %"leader", %peer, has = %learner, "synchronised");
        self.replace(id, sid);
        let base = self.send_plan(id, plan, history);
        self.send_history(id, base, history);
        // differs: Java tells of what is proposed only, and its learners put it in force.
        let config = if self.is_established() { &self.configs.active } else { self.newest_config() };
        let config = Some(config.to_text().into());
        self.send(vec![id], FromLeader::NewLeader { zxid: self.epoch_begin(), config });
        let deadline = now + self.init_ms();
        let link = self.links.get_mut(&id).expect("it is not closed above");
        (link.stage, link.sync, link.sent) = (Stage::Syncing, Some(kind), last);
        link.deadline = (!link.streaming).then_some(deadline);
    }

    /// Whether an observer must come again. ref: LearnerSyncThrottler.
    fn throttled(&self, id: LinkId, kind: SyncKind) -> bool {
        let limit = match kind {
            SyncKind::Snap => self.config.max_snap_syncs,
            SyncKind::Diff => self.config.max_diff_syncs,
        };
        self.links.get(&id).is_some_and(|l| l.observer)
            && self.links.values().filter(|l| l.sync == Some(kind)).count() >= limit
    }

    /// Forgets what this member has acknowledged before.
    ///
    /// It will cut its log where the committed records end, and log again what
    /// comes behind. differs: Java goes on to count the old acks, so that a
    /// proposal could be committed that nobody else has any more.
    fn replace(&mut self, id: LinkId, sid: Option<PeerId>) {
        let Some(sid) = sid else { return };
        let same = |l: &Link| l.sid == Some(sid) && l.stage >= Stage::Syncing;
        let old: Vec<_> = self.links.iter().filter(|(i, l)| **i != id && same(l)).map(|(i, _)| *i).collect();
        for old in old {
            self.close(old, "the learner has come again");
        }
        for p in &mut self.outstanding {
            p.acks.remove(&sid);
        }
    }

    /// Queues what stands before the history. Gives what the learner then has.
    fn send_plan(&mut self, id: LinkId, plan: SyncPlan, history: &History) -> Zxid {
        let (message, log, after) = match plan {
            SyncPlan::Diff { zxid, log, after } => (FromLeader::Diff { zxid }, log, after),
            SyncPlan::Trunc { to, log, after } => (FromLeader::Trunc { zxid: to }, log, after),
            SyncPlan::Snap | SyncPlan::NeedLog => {
                let zxid = self.snapshot_zxid(history);
                self.out.push(LeaderOutput::StreamSnapshot { link: id, zxid });
                self.set_streaming(id);
                return zxid;
            }
        };
        self.send(vec![id], message);
        if let Some((after, upto)) = log {
            self.out.push(LeaderOutput::StreamLog { link: id, after, upto, activate: None });
            self.set_streaming(id);
        }
        after
    }

    fn set_streaming(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.streaming = true;
        }
    }

    /// What the tree shows when the host comes to a snapshot now.
    fn snapshot_zxid(&self, history: &History) -> Zxid {
        if self.is_established() {
            return self.last_txn();
        }
        let Start { applied, last, .. } = self.start;
        let next = history.iter_after(applied).next().map(|r| r.zxid);
        let whole = next.is_some_and(|n| follows(applied, n)) && history.max() == Some(last);
        assert!(applied == last || whole, "the history holds what the tree does not show");
        applied
    }

    /// Queues what a learner lacks of the history.
    fn send_history(&mut self, id: LinkId, base: Zxid, history: &History) {
        for Record { zxid, bytes } in history.iter_after(base) {
            self.send(vec![id], FromLeader::Proposal { zxid: *zxid, txn: bytes.clone() });
            self.send(vec![id], FromLeader::Commit { zxid: *zxid });
        }
    }

    /// The first ACK of a learner should be that of NEWLEADER. An ACK of a proposal of
    /// the history may overtake it. ref: Leader.waitForNewLeaderAck, ZOOKEEPER-4685.
    fn ack_new_leader(&mut self, now: u64, id: LinkId, zxid: Zxid, history: &History) {
        let begin = self.epoch_begin();
        let Some(link) = self.links.get_mut(&id).filter(|_| zxid == begin) else { return };
        (link.stage, link.sync, link.deadline) = (Stage::Synced, None, None);
        // Who observes may vote in a configuration that is proposed, and be needed for its
        // quorum. ref: Leader.waitForNewLeaderAck, SyncedLearnerTracker.addAck.
        let sid = link.sid;
        if self.is_established() {
            self.try_join(now, id, history);
        } else {
            self.counted.extend(sid);
            self.try_establish(now);
        }
    }

    /// Brings a learner that has acknowledged NEWLEADER to where the leader is, and lets it
    /// hear all that comes: between these nothing is proposed or committed.
    ///
    /// What was committed since the decision how to sync it is sent as PROPOSAL and COMMIT.
    /// If that is much, it comes from the log, without a place in any queue of this member;
    /// when that is sent, what is missing then is less, and so on.
    fn try_join(&mut self, now: u64, id: LinkId, history: &History) {
        let (last, leads) = (self.last_txn(), self.is_established());
        let ready = |l: &&mut Link| leads && l.stage == Stage::Synced && !l.streaming;
        let Some(link) = self.links.get_mut(&id).filter(ready) else { return };
        let (after, observer) = (std::mem::replace(&mut link.sent, last), link.observer);
        if !is_at_hand(history, after, last, self.config.join_bytes) {
            link.streaming = true;
            let activate = self.config.reconfig_enabled.then_some(self.leader);
            return self.out.push(LeaderOutput::StreamLog { link: id, after, upto: last, activate });
        }
        for Record { zxid, bytes } in history.iter_after(after) {
            self.send(vec![id], FromLeader::Proposal { zxid: *zxid, txn: bytes.clone() });
            self.send(vec![id], self.commit_behind_new_leader(*zxid, bytes));
        }
        if !observer {
            self.send_outstanding(now, id);
        }
        self.up_to_date(now, vec![id]);
    }

    /// NEWLEADER has not told of a configuration that was committed behind it.
    fn commit_behind_new_leader(&self, zxid: Zxid, txn: &[u8]) -> FromLeader {
        match EnsembleConfig::of_txn(txn).filter(|_| self.config.reconfig_enabled) {
            Some(_) => FromLeader::CommitAndActivate { zxid, designated: self.leader },
            None => FromLeader::Commit { zxid },
        }
    }

    fn send_outstanding(&mut self, now: u64, id: LinkId) {
        let message = |p: &Outstanding| LeaderOutput::Send {
            links: vec![id],
            message: FromLeader::Proposal { zxid: p.record.zxid, txn: p.record.bytes.clone() },
        };
        self.out.extend(self.outstanding.iter().map(message));
        if let Some(link) = self.links.get_mut(&id) {
            self.outstanding.iter().for_each(|p| link.sent(p.record.zxid, now));
        }
    }

    fn up_to_date(&mut self, now: u64, links: Vec<LinkId>) {
        let (deadline, alive) = (now + self.sync_ms(), self.tick + u64::from(self.config.sync_limit));
        for id in &links {
            let link = self.links.get_mut(id).expect("only links are told");
            (link.stage, link.deadline) = (Stage::Active, Some(deadline));
            link.alive_until = link.alive_until.max(alive);
        }
        self.send(links, FromLeader::UpToDate);
    }

    /// Leads as soon as a quorum has the history. ref: Leader.startZkServer.
    fn try_establish(&mut self, now: u64) {
        if self.phase != Phase::NewLeader || !self.configs.has_quorum(&self.counted) {
            return;
        }
        self.phase = Phase::Serving;
        self.committed = self.epoch_begin();
        self.own_synced = self.committed;
        self.next_round = now + self.round_ms();
        let newest = self.newest_config().clone();
        if self.config.reconfig_enabled && newest.version > self.configs.active.version {
            let designated = self.designated(&newest, &self.counted);
            self.activate(newest, designated);
        }
        self.out.push(LeaderOutput::Established { epoch: self.epoch });
        let synced = self.in_stage(Stage::Synced);
        self.up_to_date(now, synced);
    }
}

/// Whether the history has all of (after, last], and it is not much.
fn is_at_hand(history: &History, after: Zxid, last: Zxid, max_bytes: usize) -> bool {
    let mut missing = history.iter_after(after);
    let is_whole = missing.clone().next().map_or(after == last, |first| follows(after, first.zxid));
    is_whole && missing.try_fold(0, |sum, r| Some(sum + r.bytes.len()).filter(|n| *n <= max_bytes)).is_some()
}

/// Broadcast.
impl Leader {
    fn own_ack(&mut self, upto: Zxid, history: &mut History) {
        let (me, from) = (self.config.me, self.own_synced);
        let new = |p: &&mut Outstanding| p.record.zxid > from && p.record.zxid <= upto;
        self.outstanding.iter_mut().filter(new).for_each(|p| p.ack(me));
        self.own_synced = from.max(upto);
        self.try_commit(history);
    }

    /// ref: Leader.processAck.
    fn ack(&mut self, id: LinkId, zxid: Zxid, history: &mut History) {
        // The second ACK of NEWLEADER, and one that came late.
        if zxid.counter() == 0 {
            return;
        }
        // differs: Java warns and goes on with a learner that has logged what
        // nobody proposed.
        if zxid > self.last_proposed {
            return self.close(id, "ack of what was never proposed");
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        link.acked(zxid);
        let Some(sid) = link.sid.filter(|_| !link.observer) else { return };
        if zxid <= self.committed {
            return;
        }
        // No hole: the place follows from the zxid.
        let place = usize::try_from(zxid.0 - self.committed.0 - 1).ok();
        if let Some(p) = place.and_then(|n| self.outstanding.get_mut(n)) {
            p.ack(sid);
            self.try_commit(history);
        }
    }

    /// Commits in order whatever can be.
    fn try_commit(&mut self, history: &mut History) {
        while self.passed_on.is_none()
            && self.outstanding.front().is_some_and(|p| p.needs.has_quorum(&p.acks))
        {
            let p = self.outstanding.pop_front().expect("it was just seen");
            self.commit(p, history);
        }
    }

    /// ref: Leader.tryToCommit.
    fn commit(&mut self, p: Outstanding, history: &mut History) {
        let Record { zxid, bytes: txn } = p.record.clone();
        self.committed = zxid;
        history.push(p.record);
        let (followers, observers) = (self.receivers(false), self.receivers(true));
        if let Some(config) = p.reconfig {
            let designated = self.designated(&config, &p.acks);
            // What is in force at a learner is written down here.
            self.activate(Arc::new(config), designated);
            self.count_by_what_is_in_force();
            self.send(followers, FromLeader::CommitAndActivate { zxid, designated });
            self.send(observers, FromLeader::InformAndActivate { zxid, designated, txn });
        } else {
            self.send(followers, FromLeader::Commit { zxid });
            self.send(observers, FromLeader::Inform { zxid, txn });
        }
        self.out.push(LeaderOutput::Committed { upto: zxid });
        // Behind the commit, in the same stream: that is what makes a sync.
        while self.syncs.front().is_some_and(|(waits, _)| *waits <= zxid) {
            let (_, link) = self.syncs.pop_front().expect("it was just seen");
            self.send(vec![link], FromLeader::Sync);
        }
    }

    /// What was proposed behind a reconfiguration does not need the members before it any more.
    ///
    /// differs: Java goes on to ask them. Who has left or observes now may not acknowledge it, and
    /// then nothing is committed for as long as the leader stays.
    fn count_by_what_is_in_force(&mut self) {
        for p in &mut self.outstanding {
            p.needs = self.configs.clone();
        }
    }

    /// Who leads under a configuration that these members have acknowledged.
    /// ref: Leader.getDesignatedLeader.
    fn designated(&self, config: &EnsembleConfig, acks: &BTreeSet<PeerId>) -> PeerId {
        let me = self.config.me;
        let ports = |c: &EnsembleConfig| {
            let addresses = c.members.get(&me).map(|m| &m.addresses);
            addresses.map(|a| a.iter().map(|a| (a.host.clone(), a.quorum_port)).collect::<Vec<_>>())
        };
        if config.is_voter(me) && ports(config) == ports(&self.configs.active) {
            return me;
        }
        let able = |id: &PeerId| *id != me && config.is_voter(*id);
        let mut candidates: BTreeSet<_> = acks.iter().copied().filter(able).collect();
        // The one that has acknowledged most of what is still proposed.
        for p in &self.outstanding {
            let better: BTreeSet<_> = candidates.intersection(&p.acks).copied().collect();
            if better.is_empty() {
                break;
            }
            candidates = better;
        }
        candidates.first().copied().unwrap_or(me)
    }

    fn activate(&mut self, config: Arc<EnsembleConfig>, designated: PeerId) {
        self.out.push(LeaderOutput::ActivateConfig { config: (*config).clone(), designated });
        // The learners leave; then the quorum is missed and this one resigns.
        self.passed_on = (designated != self.config.me).then_some(self.tick);
        if self.configs.last_seen.as_ref().is_some_and(|c| c.version <= config.version) {
            self.configs.last_seen = None;
        }
        self.configs.active = config;
    }
}

/// What only a follower's side of its observers does.
impl Leader {
    /// Hands on what the own leader has committed; the history has it already. `designated`:
    /// it puts a configuration in force, under which this one leads.
    /// ref: ObserverMaster.proposalCommitted, informAndActivate.
    pub(crate) fn inform(
        &mut self,
        now: u64,
        record: &Record,
        designated: Option<PeerId>,
        history: &History,
    ) {
        let (zxid, txn) = (record.zxid, record.bytes.clone());
        (self.committed, self.last_proposed) = (zxid, zxid);
        let observers = self.receivers(true);
        let message = match designated {
            Some(designated) => FromLeader::InformAndActivate { zxid, designated, txn },
            None => FromLeader::Inform { zxid, txn },
        };
        self.send(observers, message);
        let ready = |l: &Link| l.stage == Stage::Ahead && l.last <= zxid;
        let ready: Vec<_> = self.links.iter().filter(|(_, l)| ready(l)).map(|(id, _)| *id).collect();
        for id in ready {
            self.sync(now, id, history, None);
        }
    }

    /// A sync of a learner is through, behind all that was committed before.
    pub(crate) fn synced(&mut self, link: LinkId) {
        if self.links.contains_key(&link) {
            self.send(vec![link], FromLeader::Sync);
        }
    }

    /// Closes a link, if it is there.
    pub(crate) fn turn_away(&mut self, link: LinkId, why: &'static str) {
        if self.links.contains_key(&link) {
            self.close(link, why);
        }
    }

    /// The configurations as the member knows them by now.
    pub(crate) fn set_configs(&mut self, configs: Configs) {
        self.configs = configs;
    }
}

/// Signs of life.
impl Leader {
    /// Twice a tick. ref: the loop in Leader.lead.
    fn round(&mut self, now: u64) {
        if self.count_round && !self.relays {
            self.tick += 1;
            let alive = self.links.values().filter(|l| l.stage > Stage::Info && l.alive_until >= self.tick);
            let mut ids: BTreeSet<_> = alive.filter_map(|l| self.vote(l)).collect();
            ids.insert(self.config.me);
            if !self.configs.has_quorum(&ids) {
                return self.resign("not enough followers are alive", None);
            }
            // Whoever joins meanwhile does not hear that it was to leave, and could be a quorum
            // with this one that never commits anything. All others had a tick to take the word.
            if self.passed_on.is_some_and(|since| self.tick > since + 1) {
                return self.resign("another one is to lead", None);
            }
        }
        self.count_round = !self.count_round;
        let limit = self.sync_ms();
        let slow = |l: &Link| l.waits_since().is_some_and(|since| now > since + limit);
        let slow: Vec<_> = self.links.iter().filter(|(_, l)| slow(l)).map(|(id, _)| *id).collect();
        for id in slow {
            self.close(id, "a proposal is not acknowledged in time");
        }
        self.ping();
    }

    fn ping(&mut self) {
        let mut links = Vec::new();
        for (id, link) in &mut self.links {
            if link.stage >= Stage::Syncing && !link.streaming {
                // Those that are still being synced do not answer.
                link.unanswered += u32::from(link.stage == Stage::Active);
                links.push(*id);
            }
        }
        self.send(links, FromLeader::Ping { zxid: self.last_proposed });
    }

    /// Goes when enough of the others have all, or when it is time.
    fn try_aside(&mut self, now: u64) {
        let Some(aside) = self.aside.filter(|_| self.phase == Phase::Serving) else { return };
        if now >= aside.until {
            return self.resign(STANDS_ASIDE, None);
        }
        if !self.outstanding.is_empty() {
            return;
        }
        if !aside.pinged {
            self.aside = Some(Aside { pinged: true, ..aside });
            self.ping();
        }
        let voters = self.links.values().filter(|l| l.stage == Stage::Active);
        let voters: Vec<_> = voters.filter_map(|l| Some((self.vote(l)?, l.unanswered == 0))).collect();
        let in_step: BTreeSet<_> = voters.iter().filter(|(_, yes)| *yes).map(|(sid, _)| *sid).collect();
        if in_step.len() == voters.len() || self.configs.has_quorum(&in_step) {
            // Of equals the largest id is elected.
            let successor = in_step.last().copied();
            self.resign(STANDS_ASIDE, successor);
        }
    }
}

/// Why a leader goes that was asked to.
const STANDS_ASIDE: &str = "it was told to stand aside";
