//! A follower or an observer.
//!
//! ```text
//!  Connecting -> Register -> Mode -> Sync -------> Ready -----> Serving
//!                LEADERINFO  DIFF,   proposals and NEWLEADER    UPTODATE
//!                ACKEPOCH    TRUNC,  commits       acknowledged
//!                            SNAP
//! ```
//! A packet that has no place in its stage, and a proposal or a commit that
//! does not fit, makes the learner leave: it comes back and is synced again.
//!
//! What the leader commits before UPTODATE is not committed yet: the leader
//! may have no quorum for its history. So it is logged at NEWLEADER, and
//! applied at UPTODATE; or before, when behind NEWLEADER something of the leader's
//! own epoch is committed: that needs a quorum. So nothing gathers in memory then.
//! differs: Java applies at NEWLEADER, behind SNAP and TRUNC without logging.
//!
//! ref: Learner, Follower, Observer.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use zk_proto::quorum::packet::{FromLeader, FromLearner, LearnerInfo};
use zk_proto::{Epoch, PeerId, SessionId, Zxid};

use crate::config::{Configs, EnsembleConfig};
use crate::history::{Record, follows};

#[cfg(test)]
mod tests;

/// What a learner is told once.
#[derive(Debug, Clone)]
pub struct LearnerConfig {
    /// Its own id.
    pub me: PeerId,
    /// Whom it follows.
    pub leader: PeerId,
    /// Whether the configuration has it as an observer. One that is no member
    /// comes as a follower without a vote.
    pub observer: bool,
    /// The unit of the limits in ms.
    pub tick_ms: u64,
    /// Ticks for each packet until NEWLEADER is acknowledged.
    pub init_limit: u32,
    /// Ticks without a packet after that.
    pub sync_limit: u32,
    /// Whether configurations change at all.
    pub reconfig_enabled: bool,
}

/// What a learner begins with. All of it is durable.
#[derive(Debug, Clone, Copy)]
pub struct LearnerStart {
    /// The newest epoch that it has promised.
    pub accepted: Epoch,
    /// The epoch of its history.
    pub current: Epoch,
    /// The newest zxid of its log.
    pub last: Zxid,
    /// What its tree shows. The host keeps the records from here to `last`
    /// until they are committed or cut.
    pub applied: Zxid,
}

/// What happens to a learner.
#[derive(Debug, Clone)]
pub enum LearnerInput {
    /// The connection to the leader stands.
    Connected,
    /// The leader has sent something. SNAP comes when the whole tree is loaded.
    Packet(FromLeader),
    /// A part of a snapshot came: a sign of life.
    Heard,
    /// The own log is durable up to here.
    Synced {
        /// The newest durable zxid.
        upto: Zxid,
    },
    /// The connection is gone.
    Disconnected,
}

/// What a learner wants done, strictly in order. All but `Append`, `Inform`
/// and those that only send are durable before the next one is looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum LearnerOutput {
    /// Send to the leader.
    Send(FromLearner),
    /// Store the promised epoch.
    StoreAcceptedEpoch(Epoch),
    /// Store the epoch of the history.
    StoreCurrentEpoch(Epoch),
    /// Cut the log behind this zxid, and forget what is not applied behind it.
    /// Reload the tree if it shows more. Where the durable state shows more,
    /// because a leader without a quorum had sent its snapshot, nothing can be
    /// cut: leave, and come again with [`Learner::ask_for_snapshot`].
    Truncate {
        /// The newest zxid to keep.
        to: Zxid,
    },
    /// The tree that was loaded takes the place of the state and of everything
    /// that is logged and not applied. Nothing is durable yet: until `Persist`
    /// a restart comes back with what was before, and so must the host when
    /// `Leave` comes first. What is not durable is never told to anybody
    /// (ZOOKEEPER-3642).
    InstallSnapshot {
        /// What it shows.
        zxid: Zxid,
    },
    /// Make the state as of now durable. The log goes on behind it; what the
    /// log has beyond it is gone.
    Persist,
    /// Append and make durable now.
    AppendSync(Vec<Record>),
    /// Append. [`LearnerInput::Synced`] comes later.
    Append(Vec<Record>),
    /// Apply, in order, up to here what was appended or logged before.
    Commit {
        /// The newest committed zxid.
        upto: Zxid,
    },
    /// The same for one transaction, which puts a configuration in force.
    CommitAndActivate {
        /// Its zxid.
        zxid: Zxid,
        /// Who leads from now on.
        designated: PeerId,
    },
    /// Append without waiting, and apply.
    Inform(Record),
    /// Answer clients from now on.
    Serve {
        /// The epoch.
        epoch: Epoch,
    },
    /// Answer with a PING of this zxid and the sessions that were heard of.
    Ping {
        /// The leader's zxid.
        zxid: Zxid,
    },
    /// The answer about a session.
    Revalidated {
        /// The session.
        session: SessionId,
        /// Whether it lives, and belongs here from now on.
        valid: bool,
    },
    /// The oldest pending sync is through, behind all commits before.
    Synced,
    /// A newer configuration was heard of.
    SeenConfig(EnsembleConfig),
    /// What was heard of is not in the leader's history: it never comes to be.
    WithdrawConfig,
    /// A configuration is in force.
    ActivateConfig {
        /// It.
        config: EnsembleConfig,
        /// Who shall lead, if it was said.
        designated: Option<PeerId>,
    },
    /// Close the connection and look for a leader.
    Leave {
        /// For the log.
        why: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Connecting,
    Register,
    Mode,
    Sync,
    Ready,
    Serving,
    Left,
}

/// A proposal that is not committed yet.
#[derive(Debug)]
struct Pending {
    zxid: Zxid,
    /// Its bytes, as long as they are not appended.
    bytes: Option<Bytes>,
    config: Option<EnsembleConfig>,
}

/// A follower or an observer of one leader, for one connection.
#[derive(Debug)]
pub struct Learner {
    config: LearnerConfig,
    configs: Configs,
    stage: Stage,
    accepted: Epoch,
    current: Epoch,
    /// The epoch of the leader.
    epoch: Epoch,
    /// The newest record that was logged, or that came.
    last: Zxid,
    /// The newest record that is in the log or behind a snapshot.
    logged: Zxid,
    applied: Zxid,
    /// How much of the own history is the leader's, too.
    kept: Zxid,
    /// The own history is not to be built on.
    needs_snapshot: bool,
    /// A snapshot is installed and not durable.
    snapshot: bool,
    /// Proposals without a commit, in order.
    pending: VecDeque<Pending>,
    /// Committed and not handed out: between DIFF and UPTODATE.
    committed: VecDeque<Pending>,
    /// Appended and not durable.
    unsynced: VecDeque<Zxid>,
    /// The newest configuration that was committed; takes effect at UPTODATE.
    activation: Option<(EnsembleConfig, Option<PeerId>)>,
    /// The one that NEWLEADER told of; so does it, if it is not only proposed.
    told: Option<EnsembleConfig>,
    deadline: Option<u64>,
    out: Vec<LearnerOutput>,
}

impl Learner {
    /// A learner whose connection is being made. That has its own limits, in
    /// the host.
    pub fn new(config: LearnerConfig, configs: Configs, start: LearnerStart) -> Self {
        let LearnerStart { accepted, current, last, applied } = start;
        Self {
            config,
            configs,
            stage: Stage::Connecting,
            accepted,
            current,
            epoch: accepted,
            last,
            logged: last,
            applied,
            kept: last,
            needs_snapshot: false,
            snapshot: false,
            pending: VecDeque::new(),
            committed: VecDeque::new(),
            unsynced: VecDeque::new(),
            activation: None,
            told: None,
            deadline: None,
            out: Vec::new(),
        }
    }

    /// Has the leader send a snapshot and not count the own history, which is
    /// kept until the snapshot is durable. Before the connection stands.
    /// ref: Leader.waitForEpochAck, for the zxid -1.
    pub fn ask_for_snapshot(&mut self) {
        self.needs_snapshot = true;
    }

    /// Takes one input.
    pub fn handle(&mut self, now: u64, input: LearnerInput) {
        if self.stage == Stage::Left {
            return;
        }
        let before = self.stage;
        match input {
            LearnerInput::Connected => self.register(),
            LearnerInput::Packet(packet) => self.packet(packet),
            LearnerInput::Heard => {}
            LearnerInput::Synced { upto } => return self.synced(upto),
            LearnerInput::Disconnected => self.leave("the leader is gone"),
        }
        let (init, sync) = (u64::from(self.config.init_limit), u64::from(self.config.sync_limit));
        let limit = match self.stage {
            // The leader says nothing before the ACK, and that waits for the disk. It gives
            // that as long as a packet.
            Stage::Ready if before != Stage::Ready => init + sync,
            Stage::Ready | Stage::Serving => sync,
            _ => init,
        };
        let deadline = now + self.config.tick_ms * limit;
        self.deadline = (self.stage != Stage::Left).then_some(deadline);
    }

    /// Tells the time, in ms of a clock that never goes back.
    pub fn tick(&mut self, now: u64) {
        if self.deadline.is_some_and(|d| now >= d) {
            self.leave("no packet in time");
        }
    }

    /// When [`Learner::tick`] is due.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// What is to be done.
    pub fn take_outputs(&mut self) -> Vec<LearnerOutput> {
        std::mem::take(&mut self.out)
    }

    /// The leader's epoch, once it is known.
    pub fn epoch(&self) -> Option<Epoch> {
        (self.stage > Stage::Register).then_some(self.epoch)
    }

    /// Whether clients are answered.
    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    /// The newest zxid that was logged, or that came to be logged.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The configurations as it knows them.
    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    fn push(&mut self, output: LearnerOutput) {
        self.out.push(output);
    }

    fn leave(&mut self, why: &'static str) {
        self.stage = Stage::Left;
        self.deadline = None;
        self.push(LearnerOutput::Leave { why });
    }

    /// ref: Learner.registerWithLeader.
    fn register(&mut self) {
        if self.stage != Stage::Connecting {
            return self.leave("connected twice");
        }
        self.stage = Stage::Register;
        let learner = LearnerInfo::new(self.config.me, self.configs.active.version);
        let (observer, accepted_epoch) = (self.config.observer, self.accepted);
        self.push(LearnerOutput::Send(FromLearner::Info { observer, accepted_epoch, learner }));
    }

    fn packet(&mut self, packet: FromLeader) {
        match self.stage {
            Stage::Connecting | Stage::Left => self.leave("packet out of place"),
            Stage::Register => self.leader_info(packet),
            Stage::Mode => self.mode(packet),
            Stage::Sync | Stage::Ready => self.sync(packet),
            Stage::Serving if self.config.observer => self.observe(packet),
            Stage::Serving => self.follow(packet),
        }
    }

    /// The epoch is promised before it is confirmed.
    fn leader_info(&mut self, packet: FromLeader) {
        // differs: Java takes NEWLEADER here from a leader before 3.4.
        let FromLeader::LeaderInfo { epoch, .. } = packet else {
            return self.leave("no LEADERINFO");
        };
        if epoch < self.accepted {
            return self.leave("the leader's epoch is older than the promised one");
        }
        // Who has promised this epoch before must not be counted again: that
        // may have been to another leader.
        let fresh = epoch > self.accepted;
        if fresh {
            self.push(LearnerOutput::StoreAcceptedEpoch(epoch));
        }
        (self.epoch, self.accepted) = (epoch, epoch);
        let current_epoch = fresh.then_some(self.current);
        let last_zxid = if self.needs_snapshot { Zxid(-1) } else { self.last };
        self.push(LearnerOutput::Send(FromLearner::AckEpoch { last_zxid, current_epoch }));
        self.stage = Stage::Mode;
    }
}

/// Synchronisation. ref: Learner.syncWithLeader.
impl Learner {
    fn mode(&mut self, packet: FromLeader) {
        let leader = self.config.leader;
        let tell = |kind: &str| tracing::info!(%kind, role = %"learner", %leader, "synchronised");
        match packet {
            FromLeader::Diff { .. } | FromLeader::Trunc { .. } if self.needs_snapshot => {
                return self.leave("no snapshot");
            }
            FromLeader::Diff { .. } => tell("diff"),
            FromLeader::Trunc { zxid } => {
                if zxid > self.last {
                    return self.leave("TRUNC to what was never logged");
                }
                tell("trunc");
                self.push(LearnerOutput::Truncate { to: zxid });
                (self.last, self.logged, self.kept) = (zxid, zxid, zxid);
                self.applied = self.applied.min(zxid);
            }
            FromLeader::Snap { zxid } => {
                tell("snap");
                self.push(LearnerOutput::InstallSnapshot { zxid });
                (self.last, self.logged, self.applied) = (zxid, zxid, zxid);
                (self.snapshot, self.kept) = (true, Zxid::ZERO);
            }
            _ => return self.leave("neither DIFF nor TRUNC nor SNAP"),
        }
        self.stage = Stage::Sync;
    }

    fn sync(&mut self, packet: FromLeader) {
        match packet {
            FromLeader::Proposal { zxid, txn } => {
                // A leader may send again what is there. (zab.md 21 b)
                if zxid > self.last {
                    self.propose(zxid, txn);
                }
            }
            FromLeader::Commit { zxid } => self.sync_commit(zxid, None),
            FromLeader::CommitAndActivate { zxid, designated } => self.sync_commit(zxid, Some(designated)),
            FromLeader::Inform { zxid, txn } if self.config.observer => self.sync_inform(zxid, txn, None),
            FromLeader::InformAndActivate { zxid, designated, txn } if self.config.observer => {
                self.sync_inform(zxid, txn, Some(designated));
            }
            FromLeader::NewLeader { zxid, config } if self.stage == Stage::Sync => {
                self.new_leader(zxid, config);
            }
            FromLeader::UpToDate if self.stage == Stage::Ready => self.up_to_date(),
            // The leader expects an ACK first: the answer comes from UPTODATE on.
            FromLeader::Ping { .. } => {}
            _ => self.leave("packet out of place"),
        }
    }

    /// Takes a proposal. differs: Java only warns of one that does not fit.
    fn propose(&mut self, zxid: Zxid, txn: Bytes) -> bool {
        if !follows(self.last, zxid) || zxid.epoch() > self.epoch {
            self.leave("proposal out of order");
            return false;
        }
        let Ok(config) = self.config_of(&txn) else {
            self.leave("proposal without a configuration");
            return false;
        };
        self.last = zxid;
        if let Some(config) = &config {
            self.seen(config.clone());
        }
        self.pending.push_back(Pending { zxid, bytes: Some(txn), config });
        true
    }

    /// The configuration in a reconfiguration.
    fn config_of(&self, txn: &[u8]) -> Result<Option<EnsembleConfig>, ()> {
        if !self.config.reconfig_enabled {
            return Ok(None);
        }
        EnsembleConfig::of_txn(txn).transpose().map_err(|_| ())
    }

    fn seen(&mut self, config: EnsembleConfig) {
        let newest = self.configs.last_seen.as_ref().unwrap_or(&self.configs.active);
        if config.version > newest.version {
            self.configs.last_seen = Some(Arc::new(config.clone()));
            self.push(LearnerOutput::SeenConfig(config));
        }
    }

    fn sync_commit(&mut self, zxid: Zxid, designated: Option<PeerId>) {
        let done = self.committed.back().map_or(self.logged, |p| p.zxid);
        // The commit of a proposal that came again.
        if zxid <= done {
            return;
        }
        // ZOOKEEPER-4394: what is proposed stays here until its commit comes,
        // whether that is before or behind NEWLEADER.
        // differs: Java passes over a commit that does not match.
        let Some(mut p) = self.pending.pop_front().filter(|p| p.zxid == zxid) else {
            return self.leave("commit out of order");
        };
        if let Some(config) = p.config.take() {
            self.activation = Some((config, designated));
        }
        self.committed.push_back(p);
        if self.stage == Stage::Ready && zxid.epoch() == self.epoch {
            self.settle();
        }
    }

    /// The leader leads: what it has sent as committed is.
    fn settle(&mut self) {
        self.commit_to(self.logged);
        while let Some(r) = self.committed.pop_front().and_then(record) {
            self.append(r);
        }
        self.commit_to(self.logged);
    }

    fn sync_inform(&mut self, zxid: Zxid, txn: Bytes, designated: Option<PeerId>) {
        if zxid > self.last && self.propose(zxid, txn) {
            self.sync_commit(zxid, designated);
        }
    }

    /// The order is that of ZOOKEEPER-3023, 3911, 4643, 4646 and 4785: first
    /// the transactions are durable, then the epoch, then they are
    /// acknowledged. A snapshot is durable before it is ever reported
    /// (ZOOKEEPER-3642).
    fn new_leader(&mut self, zxid: Zxid, config: Option<Bytes>) {
        if zxid != Zxid::new(self.epoch, 0) {
            return self.leave("NEWLEADER of another epoch");
        }
        let mut withdrawn = false;
        if let Some(text) = config.filter(|t| self.config.reconfig_enabled && t.len() > 1) {
            let Ok(config) = EnsembleConfig::from_bytes(&text) else {
                return self.leave("NEWLEADER without a configuration");
            };
            withdrawn = self.forget_withdrawn(&config);
            self.told = Some(config.clone());
            self.seen(config);
        }
        if std::mem::take(&mut self.snapshot) {
            self.push(LearnerOutput::Persist);
        }
        let records: Vec<_> = self.committed.drain(..).filter_map(record).collect();
        if let Some(last) = records.last() {
            self.logged = last.zxid;
            self.push(LearnerOutput::AppendSync(records));
        }
        // Not before the history in which it was is gone. A file that tells of another one is
        // not to go.
        if withdrawn && self.configs.last_seen.is_none() {
            self.push(LearnerOutput::WithdrawConfig);
        }
        self.push(LearnerOutput::StoreCurrentEpoch(self.epoch));
        self.current = self.epoch;
        self.push(LearnerOutput::Send(FromLearner::Ack { zxid }));
        self.stage = Stage::Ready;
    }

    /// Forgets a configuration that an earlier leader has proposed, if this one does not have it
    /// in its history, which is this member's from now on: `told` is the newest that it knows.
    ///
    /// differs: Java keeps it, and puts it in force should it lead one day.
    fn forget_withdrawn(&mut self, told: &EnsembleConfig) -> bool {
        let newest = told.version.max(self.kept);
        let gone = |c: &mut Arc<EnsembleConfig>| c.version > newest && c.version.epoch() < self.epoch;
        self.configs.last_seen.take_if(gone).is_some()
    }

    fn up_to_date(&mut self) {
        // differs: Java also puts a configuration in force that NEWLEADER told
        // of and that is only proposed. It comes again with its commit.
        let done = self.committed.back().map_or(self.logged, |p| p.zxid).max(Zxid::new(self.epoch, 0));
        let told = self.told.take().filter(|c| c.version <= done).map(|c| (c, None));
        let newest = [told, self.activation.take()].into_iter().flatten().max_by_key(|(c, _)| c.version);
        if let Some((config, designated)) = newest
            && self.activate(config, designated)
        {
            return self.leave("the configuration changes a role");
        }
        self.settle();
        self.push(LearnerOutput::Send(FromLearner::Ack { zxid: Zxid::new(self.epoch, 0) }));
        self.push(LearnerOutput::Serve { epoch: self.epoch });
        self.stage = Stage::Serving;
        let pending = self.pending.iter_mut();
        let pending: Vec<_> =
            pending.filter_map(|p| Some(Record { zxid: p.zxid, bytes: p.bytes.take()? })).collect();
        for r in pending {
            self.append(r);
        }
    }

    fn commit_to(&mut self, upto: Zxid) {
        if upto <= self.applied {
            return;
        }
        self.applied = upto;
        match self.out.last_mut() {
            Some(LearnerOutput::Commit { upto: last }) => *last = upto,
            _ => self.push(LearnerOutput::Commit { upto }),
        }
    }

    /// `true`: the learner must begin anew, since its role or its leader is
    /// another one. ref: QuorumPeer.processReconfig.
    fn activate(&mut self, config: EnsembleConfig, designated: Option<PeerId>) -> bool {
        let old = self.configs.active.clone();
        if config.version <= old.version {
            return false;
        }
        self.configs.active = Arc::new(config.clone());
        if self.configs.last_seen.as_ref().is_some_and(|c| c.version <= config.version) {
            self.configs.last_seen = None;
        }
        let observes = |c: &EnsembleConfig| c.members.get(&self.config.me).is_some_and(|m| m.observer);
        let leader = self.config.leader;
        let address = |c: &EnsembleConfig| {
            let member = c.members.get(&leader).filter(|m| !m.observer)?;
            Some(member.addresses.iter().map(|a| (a.host.clone(), a.quorum_port)).collect::<Vec<_>>())
        };
        let leader_changes = match designated {
            Some(designated) => designated != leader,
            None => address(&old).is_none() || address(&old) != address(&config),
        };
        let role_changes = observes(&config) != self.config.observer;
        let major = !old.same_content(&config) && (role_changes || leader_changes);
        self.push(LearnerOutput::ActivateConfig { config, designated });
        major
    }
}

/// Broadcast. ref: Follower.processPacket, Observer.processPacket.
impl Learner {
    fn follow(&mut self, packet: FromLeader) {
        match packet {
            FromLeader::Proposal { zxid, txn } => {
                if self.propose(zxid, txn.clone()) {
                    self.pending.back_mut().expect("it was just put there").bytes = None;
                    self.append(Record { zxid, bytes: txn });
                }
            }
            FromLeader::Commit { zxid } => {
                if self.commit(zxid).is_some() {
                    self.commit_to(zxid);
                }
            }
            FromLeader::CommitAndActivate { zxid, designated } => {
                if let Some(p) = self.commit(zxid) {
                    self.applied = zxid;
                    self.push(LearnerOutput::CommitAndActivate { zxid, designated });
                    if let Some(config) = p.config {
                        self.take_effect(config, designated);
                    }
                }
            }
            other => self.serve(other),
        }
    }

    fn observe(&mut self, packet: FromLeader) {
        match packet {
            FromLeader::Inform { zxid, txn } => {
                self.inform(zxid, txn);
            }
            FromLeader::InformAndActivate { zxid, designated, txn } => {
                if let Some(config) = self.inform(zxid, txn) {
                    self.take_effect(config, designated);
                }
            }
            // ref: Observer.processPacket passes over these.
            FromLeader::Proposal { .. } | FromLeader::Commit { .. } => {}
            other => self.serve(other),
        }
    }

    fn serve(&mut self, packet: FromLeader) {
        match packet {
            FromLeader::Ping { zxid } => self.push(LearnerOutput::Ping { zxid }),
            FromLeader::Revalidate { session, valid } => {
                self.push(LearnerOutput::Revalidated { session, valid });
            }
            FromLeader::Sync => self.push(LearnerOutput::Synced),
            _ => self.leave("packet out of place"),
        }
    }

    fn append(&mut self, record: Record) {
        (self.logged, self.last) = (record.zxid, self.last.max(record.zxid));
        if !self.config.observer {
            self.unsynced.push_back(record.zxid);
        }
        match self.out.last_mut() {
            Some(LearnerOutput::Append(batch)) => batch.push(record),
            _ => self.push(LearnerOutput::Append(vec![record])),
        }
    }

    /// Acknowledges in order what is durable.
    fn synced(&mut self, upto: Zxid) {
        while let Some(zxid) = self.unsynced.pop_front_if(|z| *z <= upto) {
            self.push(LearnerOutput::Send(FromLearner::Ack { zxid }));
        }
    }

    /// The oldest proposal is committed. ref: FollowerZooKeeperServer.commit, which ends the
    /// process on a mismatch.
    fn commit(&mut self, zxid: Zxid) -> Option<Pending> {
        let p = self.pending.pop_front().filter(|p| p.zxid == zxid);
        if p.is_none() {
            self.leave("commit out of order");
        }
        p
    }

    fn inform(&mut self, zxid: Zxid, txn: Bytes) -> Option<EnsembleConfig> {
        if !self.propose(zxid, txn.clone()) {
            return None;
        }
        let p = self.pending.pop_back().expect("it was just put there");
        (self.logged, self.applied) = (zxid, zxid);
        self.push(LearnerOutput::Inform(Record { zxid, bytes: txn }));
        p.config
    }

    /// Behind the commit: a learner that must leave has applied it.
    fn take_effect(&mut self, config: EnsembleConfig, designated: PeerId) {
        if self.activate(config, Some(designated)) {
            self.leave("the configuration changes a role");
        }
    }
}

fn record(p: Pending) -> Option<Record> {
    Some(Record { zxid: p.zxid, bytes: p.bytes? })
}
