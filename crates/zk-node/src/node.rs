//! The roles of a member and how it changes between them.

use std::collections::VecDeque;
use std::sync::Arc;

use zab::config::{Configs, EnsembleConfig};
use zab::election::{Election, ElectionConfig, ElectionOutput};
use zab::history::{History, MIN_RECORDS, Record};
use zab::leader::{self, Leader, LeaderConfig, LeaderInput, LeaderOutput, LinkId};
use zab::learner::{Learner, LearnerConfig, LearnerInput, LearnerOutput, LearnerStart};
use zab::observer_master::ObserverMaster;
use zk_pipeline::{LinkRef, Now, Pipeline, PipelineConfig};
use zk_proto::client::WriteRequest;
use zk_proto::quorum::election::PeerState;
use zk_proto::quorum::packet::{FromLeader, FromLearner};
use zk_proto::txn::LogEntry;
use zk_proto::{Epoch, OpCode, PeerId, SessionId, Zxid};
use zk_tree::{Effects, Tree};

use crate::reconfig::View;
use crate::{Input, Output};

/// Snapshots on their way to observers at once. ref: zookeeper.leader.maxConcurrentSnapSyncs.
const MAX_SNAP_SYNCS: usize = 10;

/// Other synchronisations of observers at once. ref: zookeeper.leader.maxConcurrentDiffSyncs.
const MAX_DIFF_SYNCS: usize = 100;

/// Roles that may end without having served before the next election has to wait: members
/// that start together change their minds once or twice.
const FREE_TRIES: u32 = 3;

/// The first wait, ms; it doubles up to 16 times that.
const FRUITLESS_PAUSE_MS: u64 = 10;

/// Without a leader for so long, or a tick if that is longer, a member serves reads, ms.
/// ref: QuorumPeer.run, LOOKING.
const READ_ONLY_AFTER_MS: u64 = 2_000;

/// How long a member that is told to stop waits for its writes to be committed and for
/// others to be in step, ms.
const LEAVE_MS: u64 = 1_000;

/// What a member of an ensemble needs to know.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its number.
    pub me: PeerId,
    /// `tickTime` in ms.
    pub tick_ms: u64,
    /// `initLimit`, ticks.
    pub init_limit: u32,
    /// `syncLimit`, ticks.
    pub sync_limit: u32,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `zookeeper.fastleader.minNotificationInterval` and `.maxNotificationInterval`, if set.
    pub notification_ms: [Option<u64>; 2],
    /// `standaloneEnabled`: an ensemble has at least two voters.
    pub standalone_enabled: bool,
    /// `multiAddress.enabled`.
    pub multi_address: bool,
    /// `zookeeper.forceSnapshotSync`.
    pub force_snap: bool,
    /// `zookeeper.commitLogCount`: exactly so many transactions are kept for learners;
    /// `None`: at least 500, and more while they are small.
    pub commit_log_count: Option<usize>,
    /// `readonlymode.enabled`: reads are served without a leader, too.
    pub read_only: bool,
    /// `observerMasterPort` is set: a follower serves observers, an observer goes to a follower.
    pub observer_master: bool,
    /// `zookeeper.observer.reconnectDelayMs`: an observer that has tried all whom it may go to
    /// waits up to so long, so that not all observers come back at once.
    pub reconnect_delay_ms: u64,
    /// See [`LeaderConfig::join_bytes`].
    pub join_bytes: usize,
}

/// What a member has on its disk when it starts.
#[derive(Debug, Clone)]
pub struct Start {
    /// `acceptedEpoch`.
    pub accepted: Epoch,
    /// `currentEpoch`.
    pub current: Epoch,
    /// The last transaction in its log or its state.
    pub last: Zxid,
    /// Its last transactions, for learners that are a little behind. They end at `last`.
    pub recent: Vec<Record>,
    /// Whether its state may be elected: a member whose disk was lost must first get one.
    pub may_vote: bool,
    /// Whether it votes though it has nothing, as somebody said who knows that nothing was
    /// lost. Else it waits until it has heard every voter, see [`Election::start_blank`].
    pub initialized: bool,
}

/// What a member is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A stand-alone server.
    Alone,
    /// It looks for a leader.
    Looking,
    /// It looks for a leader and answers reads meanwhile.
    ReadOnly,
    /// It follows a leader; `serving` once it is synchronised.
    Following,
    /// The same without a vote.
    Observing,
    /// It leads; `serving` once a quorum is synchronised.
    Leading,
}

/// A member as operators see it.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it is.
    pub mode: Mode,
    /// Whether it serves clients, were it only reads.
    pub serving: bool,
    /// Whom it follows or is; of an observer, whom it is connected to.
    pub leader: Option<PeerId>,
    /// `currentEpoch`.
    pub epoch: Epoch,
    /// The last logged transaction.
    pub last: Zxid,
    /// How many members vote.
    pub voters: usize,
    /// A leader's learners; the observers of a follower.
    pub learners: Vec<leader::LearnerStatus>,
    /// Whether it is a follower with a port for observers.
    pub serves_observers: bool,
    /// Syncs of a leader's learners that wait for a commit.
    pub pending_syncs: usize,
    /// Sizes of a leader's proposals; `None` before the first.
    pub proposals: Option<ProposalSizes>,
    /// Since when it serves in this role, monotonic ms.
    pub since: u64,
}

/// Sizes of a leader's proposals in bytes, since it leads. ref: BufferStats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalSizes {
    /// The last one.
    pub last: usize,
    /// The smallest.
    pub min: usize,
    /// The largest.
    pub max: usize,
}

impl ProposalSizes {
    fn with(before: Option<Self>, size: usize) -> Self {
        let (min, max) = before.map_or((size, size), |b| (b.min.min(size), b.max.max(size)));
        Self { last: size, min, max }
    }
}

// Alone ---------------------------------------------------------------- for ever
//
// Looking --elected--> Leading --Established--> (serving) --Resign--> Looking
//    |                                                                  ^
//    +----elected----> Learning --Serve--> (serving) ----Leave----------+
//
// Who looks for long serves reads with a role of the pipeline for it, until it is elected.
// Told to leave, any of them ends in Looking without an election.
#[derive(Debug)]
enum Role {
    Alone,
    Looking,
    Leading(Box<Leader>),
    Learning {
        learner: Box<Learner>,
        leader: PeerId,
        observer: bool,
        /// The follower that an observer is connected to in place of the leader.
        through: Option<PeerId>,
        /// The observers of a follower, once it serves.
        master: Option<Box<ObserverMaster>>,
    },
}

/// What is to be done inside, in order.
#[derive(Debug)]
enum Step {
    Pipeline(zk_pipeline::Output),
    Leader(LeaderOutput),
    Learner(LearnerOutput),
    Election(ElectionOutput),
    /// A leader serves: its log is applied.
    Reign(Epoch),
    /// A learner serves.
    Serve(Epoch),
    /// The role ends; everything committed is applied.
    StandDown {
        close_all: bool,
    },
    /// The log was cut.
    Truncated {
        to: Zxid,
    },
    /// An election begins.
    Look,
    /// A learner that is told to leave has no write under way.
    StandAside,
    /// What was proposed and is not in the own history is forgotten.
    Review,
    /// The next part begins without one.
    Become,
    /// To be handed out as it is.
    Out(Output),
}

/// One member.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    configs: Configs,
    pipeline: Pipeline,
    election: Option<Election>,
    history: History,
    /// Logged and not committed as far as this member knows. Ends at `last`.
    unapplied: VecDeque<Record>,
    accepted: Epoch,
    current: Epoch,
    last: Zxid,
    may_vote: bool,
    initialized: bool,
    /// A snapshot was installed and is not durable: nothing is logged until it is.
    unbased: bool,
    /// The own state is of no use to the leader: it sends a snapshot.
    needs_snapshot: bool,
    role: Role,
    attempt: u64,
    serving: bool,
    /// A configuration has given this member another part or another leader: no election
    /// follows. ref: QuorumPeer.reconfigFlag.
    reassigned: bool,
    /// Roles in a row that ended before they served: one that cannot join must not ask
    /// hundreds of times a second.
    fruitless: u32,
    /// How often an observer has gone to a follower.
    masters: u64,
    /// How often since it served last.
    masters_tried: u64,
    /// How long an observer has to wait before the next election, ms.
    pause: u64,
    /// When the next election begins, monotonic ms.
    look_at: Option<u64>,
    /// When it serves reads if there is no leader until then, monotonic ms.
    read_only_at: Option<u64>,
    /// It serves reads, and there is no leader.
    read_only: bool,
    since: u64,
    proposals: Option<ProposalSizes>,
    /// Told to leave: when it does so at the latest.
    leaving: Option<u64>,
    steps: VecDeque<Step>,
    pipeline_outputs: Vec<zk_pipeline::Output>,
    applied: VecDeque<zk_pipeline::Output>,
}

impl NodeConfig {
    /// A member with what Java does when nothing is said.
    pub fn new(me: PeerId, tick_ms: u64) -> Self {
        Self {
            me,
            tick_ms,
            init_limit: 10,
            sync_limit: 5,
            reconfig_enabled: false,
            notification_ms: [None; 2],
            standalone_enabled: true,
            multi_address: false,
            force_snap: false,
            commit_log_count: None,
            read_only: false,
            observer_master: false,
            reconnect_delay_ms: 0,
            join_bytes: leader::JOIN_BYTES,
        }
    }
}

impl Node {
    /// A stand-alone server.
    pub fn alone(pipeline: PipelineConfig, tree: &Tree, now: Now) -> Self {
        let config = NodeConfig::new(PeerId(0), pipeline.tick_ms);
        let configs = Configs::new(EnsembleConfig::default());
        let pipeline = Pipeline::new(pipeline, tree, now);
        let mut node = Self::with(config, configs, pipeline, None, Role::Alone);
        node.last = tree.last_zxid();
        node.serving = true;
        node
    }

    /// A member of an ensemble. Its first act is to look for a leader.
    pub fn member(
        config: NodeConfig,
        configs: Configs,
        pipeline: PipelineConfig,
        start: Start,
        tree: &Tree,
    ) -> Self {
        let mut election = ElectionConfig::new(config.me);
        election.reconfig_enabled = config.reconfig_enabled;
        // Made of this start's time: an answer to an earlier process is not one to this.
        election.first_question = pipeline.first_session.0;
        let [min, max] = config.notification_ms;
        election.min_interval_ms = min.unwrap_or(election.min_interval_ms);
        election.max_interval_ms = max.unwrap_or(election.max_interval_ms);
        let election = Election::new(election, configs.clone());
        let pipeline = Pipeline::idle(pipeline, tree);
        let mut node = Self::with(config, configs, pipeline, Some(election), Role::Looking);
        node.accepted = start.accepted;
        node.current = start.current;
        node.last = start.last;
        node.may_vote = start.may_vote;
        node.initialized = start.initialized;
        start.recent.into_iter().for_each(|r| node.history.push(r));
        node.steps.extend([Step::Review, Step::Look]);
        node
    }

    fn with(
        config: NodeConfig,
        configs: Configs,
        pipeline: Pipeline,
        election: Option<Election>,
        role: Role,
    ) -> Self {
        let history = match config.commit_log_count {
            Some(count) => History::with_limits(count.max(MIN_RECORDS), 0),
            None => History::default(),
        };
        Self {
            config,
            configs,
            pipeline,
            election,
            history,
            unapplied: VecDeque::new(),
            accepted: Epoch(0),
            current: Epoch(0),
            last: Zxid::ZERO,
            may_vote: true,
            initialized: true,
            unbased: false,
            needs_snapshot: false,
            role,
            attempt: 0,
            serving: false,
            reassigned: false,
            fruitless: 0,
            masters: 0,
            masters_tried: 0,
            pause: 0,
            look_at: None,
            read_only_at: None,
            read_only: false,
            since: 0,
            proposals: None,
            leaving: None,
            steps: VecDeque::new(),
            pipeline_outputs: Vec::new(),
            applied: VecDeque::new(),
        }
    }

    /// Its sessions and requests.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Whether requests of clients are taken.
    pub fn serving(&self) -> bool {
        self.serving
    }

    /// The members as this one knows them.
    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    /// What it is.
    pub fn mode(&self) -> Mode {
        match &self.role {
            Role::Alone => Mode::Alone,
            Role::Looking if self.read_only => Mode::ReadOnly,
            Role::Looking => Mode::Looking,
            Role::Leading(_) => Mode::Leading,
            Role::Learning { observer: false, .. } => Mode::Following,
            Role::Learning { .. } => Mode::Observing,
        }
    }

    /// What an operator wants to know.
    pub fn status(&self) -> Status {
        let pending_syncs = match &self.role {
            Role::Leading(l) => l.pending_syncs(),
            _ => 0,
        };
        let (leader, learners) = match &self.role {
            Role::Alone | Role::Looking => (None, Vec::new()),
            Role::Leading(l) => (Some(self.config.me), l.followers().collect()),
            Role::Learning { observer: false, leader, master, .. } => {
                (Some(*leader), master.iter().flat_map(|m| m.observers()).collect())
            }
            Role::Learning { leader, through, .. } => (Some(through.unwrap_or(*leader)), Vec::new()),
        };
        let serves_observers = matches!(self.role, Role::Learning { master: Some(_), .. });
        let voters = self.configs.active.voters().count();
        Status {
            mode: self.mode(),
            serving: self.serving || self.read_only,
            leader,
            epoch: self.current,
            last: self.last,
            voters,
            learners,
            serves_observers,
            pending_syncs,
            proposals: self.proposals,
            since: self.since,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input, tree: &Tree) {
        match input {
            Input::Client(input) => {
                if let zk_pipeline::Input::Write { request: Ok(WriteRequest::Reconfig { .. }), .. } = &input {
                    self.show_ensemble();
                }
                self.pipeline.handle(now, input, tree);
            }
            Input::Notification { from, notification } => {
                if let Some(e) = &mut self.election {
                    e.handle(now.mono, from, &notification);
                }
            }
            Input::Reachable { peer, yes } => {
                if let Some(e) = &mut self.election {
                    e.reachable(now.mono, peer, yes);
                }
            }
            Input::LinkUp(link) => self.lead(now, LeaderInput::LinkUp(link)),
            Input::FromLearner(link, message) => self.lead(now, LeaderInput::Packet(link, message)),
            Input::LinkDown(link) => self.lead(now, LeaderInput::LinkDown(link)),
            Input::Streamed(link) => self.lead(now, LeaderInput::Streamed(link)),
            Input::LogSpan { link, span } => self.lead(now, LeaderInput::LogSpan { link, span }),
            Input::Following { attempt } if attempt == self.attempt => {
                self.learn(now, LearnerInput::Connected);
            }
            Input::FromLeader { attempt, message } if attempt == self.attempt => {
                self.learn(now, LearnerInput::Packet(message));
            }
            Input::LeaderLost { attempt } if attempt == self.attempt => {
                self.learn(now, LearnerInput::Disconnected);
            }
            Input::Loading { attempt } if attempt == self.attempt => self.learn(now, LearnerInput::Heard),
            Input::Following { .. }
            | Input::FromLeader { .. }
            | Input::LeaderLost { .. }
            | Input::Loading { .. } => {}
            Input::CannotLead => {
                if matches!(self.role, Role::Leading(_)) {
                    self.steps.push_back(Step::Leader(LeaderOutput::Resign {
                        why: "no quorum port",
                        successor: None,
                    }));
                }
            }
            Input::Leave => self.stand_aside(now),
            Input::HandOver => self.hand_over(now),
            Input::Synced { upto } => match &mut self.role {
                Role::Alone => self.pipeline.committed(upto),
                Role::Looking => {}
                Role::Leading(_) => self.lead(now, LeaderInput::Synced { upto }),
                Role::Learning { .. } => self.learn(now, LearnerInput::Synced { upto }),
            },
        }
    }

    /// Clients' requests wait in their sockets from now on; what was taken is finished.
    fn stand_aside(&mut self, now: Now) {
        if self.leaving.is_some() {
            return;
        }
        tracing::info!(serving = self.serving, "leaves the ensemble");
        let until = now.mono.saturating_add(LEAVE_MS);
        self.leaving = Some(until);
        // It neither votes nor tells anybody whom it follows.
        self.election = None;
        match &mut self.role {
            Role::Alone => return self.steps.push_back(Step::Out(Output::Left)),
            Role::Looking => return self.steps.push_back(Step::StandAside),
            Role::Leading(leader) => leader.stand_aside(now.mono, LEAVE_MS),
            Role::Learning { .. } => {}
        }
        if std::mem::take(&mut self.serving) {
            self.steps.push_back(Step::Out(Output::Serving(false)));
        }
    }

    /// Passes leadership on and stays. Clients keep their connections; their requests wait.
    fn hand_over(&mut self, now: Now) {
        let Role::Leading(leader) = &mut self.role else { return };
        if self.leaving.is_some() || !leader.has_deputy() {
            return tracing::warn!("nobody could take over: this member goes on leading");
        }
        tracing::info!("hands leadership over");
        leader.stand_aside(now.mono, LEAVE_MS);
        if std::mem::take(&mut self.serving) {
            self.steps.push_back(Step::Out(Output::Serving(false)));
        }
    }

    /// Whether a learner that leaves has got all replies that it asked for, or time is up.
    fn is_through(&self, now: Now) -> bool {
        let Some(until) = self.leaving else { return false };
        let done = self.pipeline.outstanding() == 0 && !self.pipeline.has_committed();
        matches!(self.role, Role::Learning { .. }) && (done || now.mono >= until)
    }

    /// Lets the pipeline know whom a reconfiguration may count on.
    fn show_ensemble(&mut self) {
        let Role::Leading(leader) = &self.role else { return };
        let learners = leader.followers().filter(|l| l.synced && !l.observer).filter_map(|l| l.sid);
        self.pipeline.set_ensemble(Arc::new(View {
            configs: self.configs.clone(),
            synced: learners.chain([self.config.me]).collect(),
            standalone_enabled: self.config.standalone_enabled,
            multi_address: self.config.multi_address,
        }));
    }

    fn lead(&mut self, now: Now, input: LeaderInput) {
        match &mut self.role {
            Role::Leading(leader) => leader.handle(now.mono, input, &mut self.history),
            Role::Learning { master: Some(m), .. } => m.handle(now.mono, input, &mut self.history),
            Role::Learning { .. } | Role::Alone | Role::Looking => {}
        }
    }

    fn learn(&mut self, now: Now, input: LearnerInput) {
        if let Role::Learning { learner, .. } = &mut self.role {
            learner.handle(now.mono, input);
        }
    }

    /// The next thing to do. Call until `None`.
    pub fn poll(&mut self, now: Now, tree: &Tree) -> Option<Output> {
        loop {
            while let Some(step) = self.steps.pop_front() {
                if let Some(output) = self.step(now, tree, step) {
                    return Some(output);
                }
            }
            self.gather(now);
            if self.steps.is_empty() {
                return None;
            }
        }
    }

    fn gather(&mut self, now: Now) {
        self.pipeline.drain_outputs(&mut self.pipeline_outputs);
        self.steps.extend(self.pipeline_outputs.drain(..).map(Step::Pipeline));
        match &mut self.role {
            Role::Leading(l) => self.steps.extend(l.take_outputs().into_iter().map(Step::Leader)),
            Role::Learning { learner, master, .. } => {
                // Its snapshots are of what is committed so far.
                let links = master.iter_mut().flat_map(|m| m.take_outputs());
                self.steps.extend(links.map(Step::Leader));
                self.steps.extend(learner.take_outputs().into_iter().map(Step::Learner));
            }
            Role::Alone | Role::Looking => {}
        }
        if self.pipeline.exhausted() && matches!(self.role, Role::Leading(_)) {
            self.steps.push_back(Step::Leader(LeaderOutput::Resign {
                why: "the epoch's zxids are used up",
                successor: None,
            }));
        }
        if let Some(e) = &mut self.election {
            self.steps.extend(e.take_outputs().into_iter().map(Step::Election));
        }
        if self.steps.is_empty() && self.is_through(now) {
            self.steps.push_back(Step::StandAside);
        }
    }

    fn step(&mut self, now: Now, tree: &Tree, step: Step) -> Option<Output> {
        match step {
            Step::Pipeline(output) => self.pipeline_step(now, output),
            Step::Leader(output) => self.leader_step(now, tree, output),
            Step::Learner(output) => self.learner_step(now, tree, output),
            Step::Election(output) => self.election_step(now, tree, output),
            Step::Reign(epoch) => {
                self.pipeline.lead(now, tree, Zxid::new(epoch, 0));
                self.serve(now, epoch)
            }
            Step::Serve(epoch) => {
                self.pipeline.learn(now, tree);
                if self.serve_observers(now, tree, epoch) {
                    self.steps.push_front(Step::Out(Output::ServeObservers));
                }
                self.serve(now, epoch)
            }
            Step::Truncated { to } => {
                self.unapplied.retain(|r| r.zxid <= to);
                self.history.truncate(to);
                // The beginning of an epoch is no transaction: the log ends before it.
                self.last = match to.counter() {
                    0 => self.unapplied.back().map_or(tree.last_zxid(), |r| r.zxid),
                    _ => to,
                };
                None
            }
            Step::StandDown { close_all } => {
                self.pipeline.stand_down(close_all);
                None
            }
            Step::StandAside => self.leave("it was told to stop", Output::Unfollow),
            Step::Look => {
                match self.take_pause() {
                    0 => self.look(now),
                    pause => self.look_at = Some(now.mono.saturating_add(pause)),
                }
                None
            }
            Step::Review => {
                let unlogged = !self.is_blank() && self.configs.forget_unlogged(self.last, self.current);
                unlogged.then(|| self.withdrawn())
            }
            Step::Become => self.become_next(now, tree),
            Step::Out(output) => Some(output),
        }
    }

    /// ref: QuorumPeer.updateServerState.
    fn become_next(&mut self, now: Now, tree: &Tree) -> Option<Output> {
        let election = self.election.as_ref()?;
        let Some(vote) = election.vote() else {
            self.steps.push_front(Step::Look);
            return None;
        };
        tracing::info!(leader = %vote.leader, state = ?election.state(), "reassigned by a configuration");
        Some(match election.state() {
            PeerState::Leading => self.begin_leading(now, tree),
            state => self.begin_learning(tree, vote.leader, state == PeerState::Observing),
        })
    }

    fn take_pause(&mut self) -> u64 {
        let fruitless = match self.fruitless.checked_sub(FREE_TRIES + 1) {
            Some(more) => FRUITLESS_PAUSE_MS << more.min(4),
            None => 0,
        };
        fruitless.max(std::mem::take(&mut self.pause))
    }

    /// Whether it may have lost what it had acknowledged: a member that was ever in step with a
    /// leader has an epoch.
    fn is_blank(&self) -> bool {
        (self.last, self.current) == (Zxid::ZERO, Epoch(0)) && !self.initialized
    }

    fn look(&mut self, now: Now) {
        self.look_at = None;
        self.role = Role::Looking;
        let blank = self.is_blank();
        match &mut self.election {
            None => {}
            Some(e) if !self.may_vote => e.start(now.mono, Zxid(-1), self.current),
            Some(e) if blank => e.start_blank(now.mono),
            Some(e) => e.start(now.mono, self.last, self.current),
        }
        // differs: Java serves what a blank disk has, too.
        let readable = self.config.read_only && self.may_vote && !blank;
        self.read_only_at = readable.then(|| now.mono + self.config.tick_ms.max(READ_ONLY_AFTER_MS));
    }

    /// There was no leader for long.
    fn serve_read_only(&mut self, now: Now, tree: &Tree) {
        tracing::warn!("no leader; serving reads to clients that take them");
        self.read_only = true;
        self.pipeline.serve_read_only(now, tree);
        // Whoever was connected is closed first.
        self.gather(now);
        self.steps.push_back(Step::Out(Output::ReadOnly));
    }

    /// Reads are not served any more. `next` is done when their clients are told.
    fn end_read_only(&mut self, next: Output) -> Output {
        self.read_only_at = None;
        if !std::mem::take(&mut self.read_only) {
            return next;
        }
        self.pipeline.stand_down(true);
        self.pipeline.drain_outputs(&mut self.pipeline_outputs);
        self.steps.push_front(Step::Out(next));
        self.pipeline_outputs.drain(..).rev().for_each(|o| self.steps.push_front(Step::Pipeline(o)));
        Output::Serving(false)
    }

    fn serve(&mut self, now: Now, epoch: Epoch) -> Option<Output> {
        if let Some(e) = &mut self.election {
            e.set_peer_epoch(epoch);
        }
        self.may_vote = true;
        self.fruitless = 0;
        self.masters_tried = 0;
        self.serving = true;
        self.since = now.mono;
        Some(Output::Serving(true))
    }

    fn pipeline_step(&mut self, now: Now, output: zk_pipeline::Output) -> Option<Output> {
        use zk_pipeline::Output as P;
        match (output, &mut self.role) {
            (P::Append(r), Role::Leading(leader)) => {
                let record = Record { zxid: r.zxid, bytes: r.bytes };
                let config = EnsembleConfig::of_txn(&record.bytes).filter(|_| self.config.reconfig_enabled);
                let config = config.transpose().expect("a reconfiguration was prepared from a configuration");
                if !leader.propose(now.mono, record.clone(), config.clone()) {
                    return None;
                }
                self.last = record.zxid;
                self.proposals = Some(ProposalSizes::with(self.proposals, record.bytes.len()));
                self.unapplied.push_back(record.clone());
                let append = Output::Append(vec![record]);
                match config {
                    None => Some(append),
                    Some(config) => {
                        self.steps.push_front(Step::Out(append));
                        Some(self.proposed(config))
                    }
                }
            }
            (P::Append(r), Role::Alone) => {
                self.last = r.zxid;
                Some(Output::Append(vec![Record { zxid: r.zxid, bytes: r.bytes }]))
            }
            // The reign has ended: nobody hears of it, and its connection is about to close.
            (P::Append(_), _) => None,
            (P::Forward(request), Role::Learning { .. }) => {
                Some(self.send_up(None, FromLearner::Request(request)))
            }
            (P::Revalidate { session, timeout }, Role::Learning { .. }) => {
                Some(self.send_up(None, FromLearner::Revalidate { session, timeout }))
            }
            // The role has ended; its connections are about to be told.
            (P::Forward(_) | P::Revalidate { .. }, _) => None,
            (output, _) => Some(Output::Client(output)),
        }
    }

    /// `observer`: it is one's that is connected here.
    fn send_up(&mut self, observer: Option<LinkId>, message: FromLearner) -> Output {
        if let Role::Learning { master: Some(m), .. } = &mut self.role {
            m.asks(observer, &message);
        }
        Output::ToLeader { attempt: self.attempt, message }
    }

    fn leader_step(&mut self, now: Now, tree: &Tree, output: LeaderOutput) -> Option<Output> {
        use LeaderOutput as L;
        match output {
            L::StoreAcceptedEpoch(epoch) => self.accept(epoch),
            L::StoreCurrentEpoch(epoch) => self.enter(epoch),
            L::Send { links, message } => Some(Output::ToLearners { links, message }),
            L::Close { link, why } => Some(Output::CloseLink { link, why }),
            L::FindInLog { link, zxid } => Some(Output::FindInLog { link, zxid }),
            L::StreamLog { link, after, upto, activate } => {
                Some(Output::StreamLog { link, after, upto, activate })
            }
            L::StreamSnapshot { link, zxid } => Some(Output::StreamSnapshot { link, zxid }),
            L::Established { epoch } => {
                // What the log had is the history of the new epoch, by a quorum.
                for record in std::mem::take(&mut self.unapplied) {
                    self.commit(&record);
                }
                // The tree shows it all before anything new comes.
                self.history.make_room(0);
                self.steps.push_front(Step::Reign(epoch));
                Some(Output::ApplyCommitted { settled: true })
            }
            L::Committed { upto } => {
                while self.unapplied.front().is_some_and(|r| r.zxid <= upto) {
                    self.unapplied.pop_front();
                }
                self.pipeline.committed(upto);
                None
            }
            L::Request { link, request } if self.relays() => {
                Some(self.send_up(Some(link), FromLearner::Request(request)))
            }
            L::Request { link, request } => {
                if request.op == OpCode::Reconfig {
                    self.show_ensemble();
                }
                self.pipeline.forwarded(now, LinkRef(link.0), request, tree);
                None
            }
            L::Touch { session, .. } if self.relays() => {
                self.pipeline.heard(session);
                None
            }
            L::Touch { session, timeout } => {
                self.pipeline.touched(now, session, timeout);
                None
            }
            L::Revalidate { link, session, timeout } if self.relays() => {
                // To the leader both are connections of this member from now on.
                self.pipeline.close_local(session);
                Some(self.send_up(Some(link), FromLearner::Revalidate { session, timeout }))
            }
            L::Revalidate { link, session, .. } => {
                let valid = self.pipeline.revalidate(now, LinkRef(link.0), session);
                if let Role::Leading(leader) = &mut self.role {
                    leader.revalidated(link, session, valid);
                }
                None
            }
            L::SeenConfig(config) => Some(self.proposed(config)),
            L::ActivateConfig { config, designated } => Some(self.activate(config, Some(designated))),
            L::Resign { why, successor } => {
                if let Some(e) = &mut self.election {
                    e.prefer(successor);
                }
                self.leave(why, Output::StopLeading)
            }
        }
    }

    /// Whether what learners say goes on to a leader.
    fn relays(&self) -> bool {
        matches!(self.role, Role::Learning { .. })
    }

    fn master(&mut self) -> Option<&mut ObserverMaster> {
        match &mut self.role {
            Role::Learning { master, .. } => master.as_deref_mut(),
            Role::Alone | Role::Looking | Role::Leading(_) => None,
        }
    }

    fn learner_step(&mut self, now: Now, tree: &Tree, output: LearnerOutput) -> Option<Output> {
        use LearnerOutput as L;
        match output {
            L::Send(message) => Some(self.send_up(None, message)),
            L::StoreAcceptedEpoch(epoch) => self.accept(epoch),
            L::StoreCurrentEpoch(epoch) => self.enter(epoch),
            L::Truncate { to } => {
                self.steps.push_front(Step::Truncated { to });
                let reload = to < tree.last_zxid();
                if reload {
                    self.pipeline.stand_down(true);
                }
                Some(Output::Truncate { to, reload })
            }
            L::InstallSnapshot { zxid } => {
                self.history.clear();
                self.unapplied.clear();
                self.last = zxid;
                self.unbased = true;
                self.pipeline.stand_down(true);
                Some(Output::InstallSnapshot { zxid })
            }
            L::Persist => {
                self.unbased = false;
                self.needs_snapshot = false;
                Some(Output::Persist)
            }
            L::AppendSync(records) => {
                self.logged(&records);
                Some(Output::AppendSync(records))
            }
            L::Append(records) => {
                self.logged(&records);
                Some(Output::Append(records))
            }
            L::Commit { upto } => {
                self.commit_logged(now, upto, None);
                None
            }
            L::CommitAndActivate { zxid, designated } => {
                self.commit_logged(now, zxid, Some(designated));
                None
            }
            L::Inform(record) => {
                self.last = record.zxid;
                self.commit(&record);
                Some(Output::Append(vec![record]))
            }
            L::Serve { epoch } => {
                self.steps.push_front(Step::Serve(epoch));
                Some(Output::ApplyCommitted { settled: true })
            }
            L::Ping { zxid } => Some(Output::Ping { zxid }),
            L::Revalidated { session, valid } => {
                match self.master().is_some_and(|m| m.revalidated(session, valid)) {
                    true if valid => self.pipeline.heard(session),
                    true => {}
                    false => self.pipeline.revalidated(session, valid),
                }
                None
            }
            L::Synced => {
                if !self.master().is_some_and(ObserverMaster::synced) {
                    self.pipeline.synced();
                }
                None
            }
            L::SeenConfig(config) => Some(self.proposed(config)),
            L::WithdrawConfig => Some(self.withdrawn()),
            L::ActivateConfig { config, designated } => Some(self.activate(config, designated)),
            L::Leave { why } => self.leave(why, Output::Unfollow),
        }
    }

    fn election_step(&mut self, now: Now, tree: &Tree, output: ElectionOutput) -> Option<Output> {
        match output {
            ElectionOutput::Send { to, notification } => Some(Output::Notify { to, notification }),
            ElectionOutput::AdoptConfig(config) => Some(self.activate(config, None)),
            ElectionOutput::Elected { vote, state } if matches!(self.role, Role::Looking) => {
                let begin = match state {
                    PeerState::Leading => self.begin_leading(now, tree),
                    _ => self.begin_learning(tree, vote.leader, state == PeerState::Observing),
                };
                Some(self.end_read_only(begin))
            }
            ElectionOutput::Elected { .. } => None,
        }
    }

    fn leader_config(&self) -> LeaderConfig {
        LeaderConfig {
            me: self.config.me,
            tick_ms: self.config.tick_ms,
            init_limit: self.config.init_limit,
            sync_limit: self.config.sync_limit,
            force_snap: self.config.force_snap,
            reconfig_enabled: self.config.reconfig_enabled,
            max_snap_syncs: MAX_SNAP_SYNCS,
            max_diff_syncs: MAX_DIFF_SYNCS,
            join_bytes: self.config.join_bytes,
        }
    }

    /// A follower that serves becomes the leader of observers where it shall.
    /// ref: Follower.followLeader.
    fn serve_observers(&mut self, now: Now, tree: &Tree, epoch: Epoch) -> bool {
        let config = self.leader_config();
        let Role::Learning { observer: false, master, leader, .. } = &mut self.role else { return false };
        if !self.config.observer_master || self.leaving.is_some() {
            return false;
        }
        let (configs, committed) = (self.configs.clone(), tree.last_zxid());
        *master = Some(Box::new(ObserverMaster::new(config, configs, (*leader, epoch), committed, now.mono)));
        true
    }

    /// The follower that an observer goes to in place of this leader: each time the next one,
    /// and each observer begins with another one. ref: QuorumPeer.nextObserverMaster.
    ///
    /// differs: Java goes through a shuffled list with the leader in it, which serves nobody at
    /// that port. An observer of ours goes to the leader's quorum port where nobody else votes, and
    /// when it has tried all followers in vain: it may be one that is to vote in a configuration
    /// that is proposed, so that no follower serves before the leader has heard this observer.
    fn next_master(&mut self, leader: PeerId) -> Option<PeerId> {
        let followers = self.followers(leader);
        let count = u64::try_from(followers.len()).ok().filter(|n| *n > 0 && self.config.observer_master)?;
        if self.masters_tried >= count {
            self.masters_tried = 0;
            return None;
        }
        let at = self.config.me.0.unsigned_abs().wrapping_add(self.masters) % count;
        self.masters = self.masters.wrapping_add(1);
        self.masters_tried = self.masters_tried.saturating_add(1);
        followers.get(usize::try_from(at).ok()?).copied()
    }

    fn followers(&self, leader: PeerId) -> Vec<PeerId> {
        self.configs.active.voters().filter(|id| *id != leader).collect()
    }

    /// How long an observer stays away whose connection has ended. It differs from member to
    /// member and from time to time. ref: Observer.waitForReconnectDelay.
    fn reconnect_pause(&self) -> u64 {
        let Role::Learning { observer: true, leader, through, .. } = &self.role else { return 0 };
        let all_tried = through.is_none() || self.masters_tried >= self.followers(*leader).len() as u64;
        if !all_tried || self.config.reconnect_delay_ms == 0 {
            return 0;
        }
        let seed = self.config.me.0.unsigned_abs().wrapping_mul(31).wrapping_add(self.attempt);
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.config.reconnect_delay_ms
    }

    fn begin_leading(&mut self, now: Now, tree: &Tree) -> Output {
        // Our whole log is history now. It is applied once a quorum has it.
        self.history.make_room(self.unapplied.len());
        self.unapplied.iter().for_each(|r| self.history.push(r.clone()));
        let config = self.leader_config();
        let start = leader::Start {
            accepted: self.accepted,
            current: self.current,
            last: self.last,
            applied: tree.last_zxid(),
        };
        self.proposals = None;
        self.role = Role::Leading(Box::new(Leader::new(config, self.configs.clone(), start, now.mono)));
        Output::Lead
    }

    fn begin_learning(&mut self, tree: &Tree, leader: PeerId, observing: bool) -> Output {
        let config = LearnerConfig {
            me: self.config.me,
            leader,
            observer: observing && self.configs.active.members.contains_key(&self.config.me),
            tick_ms: self.config.tick_ms,
            init_limit: self.config.init_limit,
            sync_limit: self.config.sync_limit,
            reconfig_enabled: self.config.reconfig_enabled,
        };
        let start = LearnerStart {
            accepted: self.accepted,
            current: self.current,
            last: self.last,
            applied: tree.last_zxid(),
        };
        let through = if config.observer { self.next_master(leader) } else { None };
        let mut learner = Learner::new(config, self.configs.clone(), start);
        let without_vote = self.election.as_ref().is_some_and(Election::is_without_vote);
        if self.needs_snapshot || !self.may_vote || without_vote {
            learner.ask_for_snapshot();
        }
        let learner = Box::new(learner);
        self.role = Role::Learning { learner, leader, observer: observing, through, master: None };
        self.attempt += 1;
        let (leader, observer_port) = (through.unwrap_or(leader), through.is_some());
        Output::Follow { attempt: self.attempt, leader, observer_port }
    }

    /// The role is over: what is committed is applied, then the clients whose writes have an
    /// unknown fate are told by closing, then an election begins.
    fn leave(&mut self, why: &'static str, close: Output) -> Option<Output> {
        match self.leaving {
            Some(_) => tracing::info!(why, "its part in the ensemble is over"),
            None => tracing::warn!(why, serving = self.serving, "no leader"),
        }
        self.steps.retain(|s| !matches!(s, Step::Leader(_) | Step::Learner(_)));
        // A reign that did not begin leaves nothing committed.
        if let Some(first) = self.unapplied.front() {
            self.history.truncate(Zxid(first.zxid.0 - 1));
        }
        self.history.make_room(0);
        self.pause = self.reconnect_pause();
        let observers = self.master().is_some().then_some(Step::Out(Output::StopLeading));
        self.attempt += 1;
        self.role = Role::Looking;
        (self.serving, self.read_only, self.read_only_at) = (false, false, None);
        self.fruitless += 1;
        // A snapshot that is not durable was never told to anybody: back to what is.
        let base = match std::mem::take(&mut self.unbased) && self.leaving.is_none() {
            true => Output::Reload,
            false => Output::ApplyCommitted { settled: false },
        };
        let next = if std::mem::take(&mut self.reassigned) { Step::Become } else { Step::Look };
        let (close_all, next) = match self.leaving {
            Some(_) => (true, Step::Out(Output::Left)),
            None => (false, next),
        };
        let rest = [
            Step::Out(base),
            Step::StandDown { close_all },
            // The vote, and the history that a leader counts itself for, rest on the whole log.
            Step::Out(Output::AppendSync(Vec::new())),
            Step::Review,
            next,
        ];
        let close = observers.into_iter().chain([Step::Out(close)]);
        close.chain(rest).rev().for_each(|s| self.steps.push_front(s));
        Some(Output::Serving(false))
    }

    /// The host has read the state anew: [`Output::Reload`], or [`Node::cannot_truncate`] comes
    /// next. Clients are closed, since what they have seen and watch is of another tree.
    pub fn reloaded(&mut self, last: Zxid, recent: Vec<Record>, may_vote: bool) {
        self.last = last;
        self.may_vote = may_vote;
        self.pipeline.stand_down(true);
        // The tree that was read shows the whole log.
        self.unapplied.clear();
        self.history.clear();
        recent.into_iter().for_each(|r| self.history.push(r));
    }

    fn accept(&mut self, epoch: Epoch) -> Option<Output> {
        self.accepted = epoch;
        Some(Output::StoreAcceptedEpoch(epoch))
    }

    fn enter(&mut self, epoch: Epoch) -> Option<Output> {
        self.current = epoch;
        Some(Output::StoreCurrentEpoch(epoch))
    }

    /// [`Output::Truncate`] cannot be done, since the durable state shows more: a leader
    /// without a quorum had sent it. The host has read the state anew ([`Node::reloaded`]).
    pub fn cannot_truncate(&mut self) {
        self.needs_snapshot = true;
        self.steps.retain(|s| !matches!(s, Step::Truncated { .. }));
        if let Some(first) =
            self.leave("the state is ahead of the leader's; a snapshot is needed", Output::Unfollow)
        {
            self.steps.push_front(Step::Out(first));
        }
    }

    fn logged(&mut self, records: &[Record]) {
        if let Some(last) = records.last() {
            self.last = last.zxid;
        }
        self.unapplied.extend(records.iter().cloned());
    }

    /// `designated`: the only one of them puts a configuration in force.
    fn commit_logged(&mut self, now: Now, upto: Zxid, designated: Option<PeerId>) {
        while let Some(record) = self.unapplied.pop_front_if(|r| r.zxid <= upto) {
            self.commit(&record);
            if let Role::Learning { master: Some(m), .. } = &mut self.role {
                m.inform(now.mono, &record, designated, &self.history);
            }
        }
    }

    /// A transaction that a quorum has: it will be applied, and learners may need it.
    fn commit(&mut self, record: &Record) {
        if self.history.max().is_none_or(|max| max < record.zxid) {
            self.history.push(record.clone());
        }
        let entry = LogEntry::decode(&record.bytes).expect("a record was decoded before it was logged");
        self.pipeline.commit_learned(entry);
    }

    fn proposed(&mut self, config: EnsembleConfig) -> Output {
        self.configs.last_seen = Some(Arc::new(config.clone()));
        self.tell_configs();
        Output::Proposed { config }
    }

    fn withdrawn(&mut self) -> Output {
        tracing::info!("the proposed configuration never came to be");
        self.configs.last_seen = None;
        self.tell_configs();
        Output::Withdrawn
    }

    /// ref: QuorumPeer.processReconfig.
    fn activate(&mut self, config: EnsembleConfig, designated: Option<PeerId>) -> Output {
        let observes = |c: &EnsembleConfig| c.members.get(&self.config.me).is_some_and(|m| m.observer);
        let other_part = observes(&config) != observes(&self.configs.active);
        let same = config.same_content(&self.configs.active);
        let last_seen = self.configs.last_seen.take().filter(|c| c.version > config.version);
        self.configs = Configs { active: Arc::new(config.clone()), last_seen };
        self.tell_configs();
        if !same {
            self.reassign(designated, other_part);
        }
        Output::Configuration { config }
    }

    /// Remembers what this member is next if the configuration says so.
    fn reassign(&mut self, designated: Option<PeerId>, other_part: bool) {
        let leader = match &self.role {
            Role::Leading(_) => self.config.me,
            Role::Learning { leader, .. } => *leader,
            Role::Alone | Role::Looking => return,
        };
        let next = designated.unwrap_or(leader);
        // Without a word on who leads there is an election.
        self.reassigned = designated.is_some() && (other_part || next != leader);
        if let Some(e) = self.election.as_mut().filter(|_| self.reassigned) {
            e.follow_designated(next);
        }
    }

    fn tell_configs(&mut self) {
        if let Some(e) = &mut self.election {
            e.set_configs(self.configs.clone());
        }
        if let Role::Learning { master: Some(m), .. } = &mut self.role {
            m.set_configs(self.configs.clone());
        }
    }

    /// Applies at most `max` committed transactions. True: there are more.
    pub fn apply(&mut self, now: Now, tree: &mut Tree, effects: &mut Effects, max: usize) -> bool {
        self.pipeline.apply(now, tree, effects, max)
    }

    /// The outputs for clients of what was just applied; to be called under the lock of
    /// [`Node::apply`] until `None`. Everything else waits for the next poll.
    pub fn poll_applied(&mut self) -> Option<zk_pipeline::Output> {
        use zk_pipeline::Output as P;
        if self.applied.is_empty() {
            self.pipeline.drain_outputs(&mut self.pipeline_outputs);
            for output in self.pipeline_outputs.drain(..) {
                match output {
                    P::Append(_) | P::Forward(_) | P::Revalidate { .. } => {
                        self.steps.push_back(Step::Pipeline(output));
                    }
                    output => self.applied.push_back(output),
                }
            }
        }
        self.applied.pop_front()
    }

    /// When to call [`Node::tick`] at the latest, monotonic ms.
    pub fn deadline(&self) -> Option<u64> {
        let role = match &self.role {
            Role::Alone | Role::Looking => None,
            Role::Leading(l) => l.deadline(),
            Role::Learning { learner, master, .. } => {
                let master = master.as_ref().and_then(|m| m.deadline());
                [learner.deadline(), master].into_iter().flatten().min()
            }
        };
        let election = self.election.as_ref().and_then(Election::deadline);
        let (pipeline, leaving) = match (self.leaving, &self.role) {
            (None, _) | (_, Role::Alone) => (self.pipeline.deadline(), None),
            (until, Role::Learning { .. }) => (None, until),
            (_, Role::Looking | Role::Leading(_)) => (None, None),
        };
        let look_at = self.look_at.filter(|_| self.leaving.is_none());
        let read_only_at = self.read_only_at.filter(|_| self.leaving.is_none());
        [pipeline, leaving, role, election, look_at, read_only_at].into_iter().flatten().min()
    }

    /// Time passes.
    pub fn tick(&mut self, now: Now, tree: &Tree) {
        // Who leaves lets no session expire and reaps nothing: that would be new proposals.
        if self.leaving.is_none() || matches!(self.role, Role::Alone) {
            self.pipeline.tick(now, tree);
        }
        match &mut self.role {
            Role::Alone | Role::Looking => {}
            Role::Leading(l) => l.tick(now.mono),
            Role::Learning { learner, master, .. } => {
                learner.tick(now.mono);
                if let Some(m) = master {
                    m.tick(now.mono);
                }
            }
        }
        if let Some(e) = &mut self.election {
            e.tick(now.mono);
        }
        if self.leaving.is_none() && self.look_at.is_some_and(|at| now.mono >= at) {
            self.look(now);
        }
        if self.leaving.is_none() && self.read_only_at.take_if(|at| now.mono >= *at).is_some() {
            self.serve_read_only(now, tree);
        }
    }

    /// The host could hear of nobody for `ms`: that is no silence of clients.
    ///
    /// differs: Java's leader lets sessions expire behind a pause of its own as if it had listened.
    pub fn halted(&mut self, ms: u64) {
        self.pipeline.halted(ms);
    }

    /// A client's session was heard of at `at`, monotonic ms.
    pub fn touch(&mut self, session: SessionId, at: u64) {
        self.pipeline.touch(session, at);
    }

    /// A client of a learner was heard of since the last answer to a PING.
    pub fn heard(&mut self, session: SessionId) {
        self.pipeline.heard(session);
    }

    /// Answers the PING that [`Output::Ping`] told of.
    pub fn pong(&mut self, zxid: Zxid, tree: &Tree) {
        let touched = self.pipeline.take_touched(tree);
        let pong = self.send_up(None, FromLearner::Ping { zxid, touched });
        self.steps.push_back(Step::Out(pong));
    }
}

/// The packets of a record for a learner that is brought up from the log, with
/// [`Output::StreamLog`]'s `activate`.
pub fn proposal_and_commit(record: Record, activate: Option<PeerId>) -> [FromLeader; 2] {
    let zxid = record.zxid;
    let commit = match activate.filter(|_| EnsembleConfig::of_txn(&record.bytes).is_some()) {
        Some(designated) => FromLeader::CommitAndActivate { zxid, designated },
        None => FromLeader::Commit { zxid },
    };
    [FromLeader::Proposal { zxid, txn: record.bytes }, commit]
}
