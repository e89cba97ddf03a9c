//! The core: it owns the member's state machine and alone writes the tree. Its threads are `crew`'s.
//! Its order of work stands in [`zk_node`], "The host's duties".

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never};
use parking_lot::RwLockWriteGuard;
use tokio::sync::oneshot;
use zab::config::EnsembleConfig;
use zab::history::Record;
use zab::leader::LinkId;
use zab::sync::LogSpan;
use zk_node::{Node, Output};
use zk_pipeline::{Input, Now, PipelineConfig, PipelineStats};
use zk_proto::txn::TxnHeader;
use zk_proto::{PeerId, Reader, SessionId, Zxid};
use zk_storage::StorageConfig;
use zk_tree::{Effects, Touched, Tree};

use crate::disk::{Log, LogHandle, MirrorHandle, give_up};
use crate::learners::Learners;
use crate::member::Member;
use crate::meters::{CoreMeters, Meters};
use crate::peer::PeerEvent;
use crate::shared::{Heard, Serving, Shared};
use crate::worker::{ToWorker, Worker};
use crate::{clock, limits};

/// What the core is told besides requests.
#[derive(Debug)]
pub enum Control {
    /// The log is durable further than before, or there is something else to wait for.
    LookAgain,
    /// Where the log has what a learner has.
    LogSpan(LinkId, LogSpan),
    /// Somebody wants to know; the sessions one by one only if it is said.
    Report {
        /// Whether sessions are to be listed: there may be very many.
        sessions: bool,
        /// Where to.
        reply: oneshot::Sender<CoreReport>,
    },
    /// The state as a snapshot file.
    Snapshot(oneshot::Sender<Result<PathBuf, String>>),
    /// This state takes the place of the present one, on a server that stands alone.
    Restore(Box<Tree>, oneshot::Sender<Zxid>),
    /// A leader is to let another member lead.
    HandOver,
    /// The member is to leave the ensemble; answered when it has.
    Leave(oneshot::Sender<()>),
    /// The workers have ended: finish what is here and end.
    Stop,
}

/// What the core tells a word.
#[derive(Debug, Default)]
pub struct CoreReport {
    /// Number of sessions that all members know.
    pub sessions: usize,
    /// Number of sessions that only this member knows.
    pub local_sessions: usize,
    /// Sessions that all members know by the time of their expiry, monotonic ms.
    pub by_expiry: Vec<(u64, Vec<SessionId>)>,
    /// The same of local sessions.
    pub local_by_expiry: Vec<(u64, Vec<SessionId>)>,
    /// Counters.
    pub stats: PipelineStats,
    /// Writes refused because a quota is used up, by the first component of its path.
    pub over_quota: BTreeMap<String, u64>,
    /// Transactions between their preparation, or a learner's hearing of them, and the tree.
    pub unapplied: usize,
    /// What it is in the ensemble.
    pub status: Option<MemberReport>,
}

/// What the core tells a word of its ensemble.
#[derive(Debug)]
pub struct MemberReport {
    /// What it is.
    pub node: zk_node::Status,
    /// Who does not lead: sessions that all members know with their time-outs in ms, in order.
    pub known: Vec<(SessionId, i32)>,
    /// Its own number.
    pub me: PeerId,
    /// The members in force.
    pub config: Arc<EnsembleConfig>,
}

/// When the member's role changed last, for what is measured of it; monotonic ms. Inputs that wait
/// are worked on with the time at which the wait for them ended, so times may go back a little.
#[derive(Debug)]
struct Roles {
    mode: zk_node::Mode,
    /// Since when it looks for a leader, or when it began to.
    looking: u64,
    /// When it found the present one.
    found: u64,
    /// Since when clients are not served.
    unavailable: Option<u64>,
    /// Batches that are not applied.
    under_way: VecDeque<Batch>,
    /// Batches that this member has to acknowledge and that are not durable.
    unacknowledged: VecDeque<Batch>,
}

/// Transactions that went to the log together, as their last one.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The last one's.
    pub zxid: Zxid,
    /// When they were proposed, or heard of; monotonic, in microseconds.
    pub came: u64,
    /// When they were prepared, by the leader's clock; ms.
    pub prepared: i64,
}

impl Batch {
    fn of(last: &Record) -> Option<Self> {
        let header = TxnHeader::read(&mut Reader::new(&last.bytes)).ok()?;
        Some(Self { zxid: last.zxid, came: clock::micros(), prepared: header.time })
    }

    /// How long before `wall` they were prepared, in microseconds. `None`: clocks differ by more
    /// than that. ref: Request.logLatency.
    pub fn age(&self, wall: i64) -> Option<u64> {
        let ms = wall.checked_sub(self.prepared)?;
        u64::try_from(ms).ok()?.checked_mul(1000)
    }
}

impl Roles {
    fn new(mode: zk_node::Mode, now: u64, serves: bool) -> Self {
        let unavailable = (!serves).then_some(now);
        Self {
            mode,
            looking: now,
            found: now,
            unavailable,
            under_way: VecDeque::new(),
            unacknowledged: VecDeque::new(),
        }
    }

    fn changed(&mut self, mode: zk_node::Mode, now: u64, meters: &CoreMeters) {
        use zk_node::Mode::{Looking, ReadOnly};
        let mode = if mode == ReadOnly { Looking } else { mode };
        let before = std::mem::replace(&mut self.mode, mode);
        if before == mode {
            return;
        }
        self.under_way.clear();
        self.unacknowledged.clear();
        if mode == Looking {
            self.looking = now;
            meters.looking.add(1);
        } else if before == Looking {
            self.found = now;
            let took = now.saturating_sub(self.looking) * 1000;
            meters.election.record(took);
            #[cfg(feature = "otel")]
            crate::trace::election(&format!("{mode:?}").to_lowercase(), took);
        }
    }

    fn serves(&mut self, now: u64, meters: &CoreMeters) {
        let Some(since) = self.unavailable.take() else { return };
        let without = now.saturating_sub(since) * 1000;
        let sync = now.saturating_sub(self.found) * 1000;
        meters.unavailable.record(without);
        match self.mode {
            zk_node::Mode::Leading => meters.leader_unavailable.record(without),
            zk_node::Mode::Following => meters.follower_sync.record(sync),
            zk_node::Mode::Observing => meters.observer_sync.record(sync),
            zk_node::Mode::Alone | zk_node::Mode::Looking | zk_node::Mode::ReadOnly => {}
        }
    }
}

/// What a server that stands alone was made from.
#[derive(Debug, Clone)]
pub struct Alone {
    /// Its disk.
    pub storage: StorageConfig,
    /// Its rules.
    pub pipeline: PipelineConfig,
}

/// The id that the first new session of a server gets, whose number is the top byte.
/// ref: SessionTrackerImpl.initializeNextSessionId.
pub fn first_session(server: u8) -> SessionId {
    SessionId::first(server, u64::try_from(clock::wall()).unwrap_or(0))
}

/// The core's state.
#[derive(Debug)]
pub struct Core {
    shared: Arc<Shared>,
    node: Node,
    inputs: Receiver<Vec<Input>>,
    /// What is being waited for.
    awaited: Option<Awaited>,
    log: LogHandle,
    mirror: MirrorHandle,
    /// What makes it a member of an ensemble.
    member: Option<Member>,
    /// What a server that stands alone needs to begin anew.
    alone: Option<Alone>,
    /// What the mirror does not have, as long as it is not known to be committed.
    held_back: Option<Touched>,
    /// What the mirror was not handed because it has no room: it is written from the state as
    /// soon as it has. `None`: it was handed everything; a transaction may touch nothing.
    lagging: Option<Touched>,
    told: Zxid,
    heard: HashMap<SessionId, Heard>,
    /// Entries of `heard` above which the old ones are looked for.
    heard_limit: usize,
    /// Since when clients wait for a leader, monotonic ms.
    held_since: Option<u64>,
    for_workers: Vec<Vec<ToWorker>>,
    records: Vec<Record>,
    /// Appended and not durable: up to which zxid, how many bytes.
    unsynced: VecDeque<(Zxid, usize)>,
    unsynced_bytes: usize,
    effects: Effects,
    slice: Slice,
    huge_pages: bool,
    /// Who waits for it to have left the ensemble.
    leaving: Option<oneshot::Sender<()>>,
    roles: Roles,
    learners: Learners,
    /// Since when a member has something to apply.
    committed: Option<Instant>,
    meters: Arc<Meters>,
}

/// What a wait ended with.
#[derive(Debug)]
pub enum Event {
    /// There was none yet.
    Start,
    /// A worker's requests.
    Inputs(Vec<Input>),
    /// Another member's word.
    Peer(PeerEvent),
    /// Something else.
    Control(Control),
    /// The deadline, or nothing.
    Time,
}

/// What whoever waits for events waits for, besides other members and control.
#[derive(Debug, Clone, Copy)]
pub struct Awaited {
    /// When to wake up at the latest; monotonic ms.
    pub deadline: Option<u64>,
    /// Whether requests may come.
    pub inputs: bool,
}

impl Awaited {
    /// Whether who waits for the other one would wake up too late.
    fn is_before(self, other: Self) -> bool {
        self.inputs && !other.inputs
            || self.deadline.is_some_and(|d| other.deadline.is_none_or(|other| d < other))
    }
}

impl Core {
    /// A core on top of a recovered tree.
    pub fn new(
        shared: Arc<Shared>,
        node: Node,
        inputs: Receiver<Vec<Input>>,
        disk: (LogHandle, MirrorHandle),
        role: Result<(Member, Touched), Alone>,
    ) -> Self {
        let told = disk.0.durable();
        let for_workers = shared.workers.iter().map(|_| Vec::new()).collect();
        let (member, alone) = match role {
            Ok(member) => (Some(member), None),
            Err(alone) => (None, Some(alone)),
        };
        let (member, held_back) = member.unzip();
        let held_since = member.is_some().then(clock::mono);
        let listeners = Some(shared.workers.iter().map(|w| Arc::clone(&w.interest)).collect());
        let meters = Arc::clone(&shared.meters);
        let roles = Roles::new(node.mode(), clock::mono(), member.is_none());
        if member.is_some() {
            meters.core.looking.add(1);
        }
        Self {
            roles,
            learners: Learners::new(Arc::clone(&meters)),
            committed: None,
            meters,
            shared,
            node,
            inputs,
            awaited: None,
            log: disk.0,
            mirror: disk.1,
            member,
            alone,
            held_back,
            lagging: None,
            told,
            heard: HashMap::new(),
            heard_limit: 1024,
            held_since,
            for_workers,
            records: Vec::new(),
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            effects: Effects { listeners, ..Effects::default() },
            slice: Slice::default(),
            huge_pages: false,
            leaving: None,
        }
    }

    /// Does what an event asks for and all that follows from it. To be called by the one thread that waits for
    /// events. False: it was told to stop, and everything is on the disk.
    pub fn turn(&mut self, event: Event) -> bool {
        self.awaited = None;
        let now = clock::now();
        match event {
            Event::Start => self.outputs(now),
            Event::Inputs(batch) => self.take_inputs(now, batch),
            Event::Peer(event) => self.take_peers(now, event),
            Event::Control(Control::LookAgain) | Event::Time => {}
            Event::Control(Control::LogSpan(link, span)) => {
                self.hand_in(now, zk_node::Input::LogSpan { link, span });
            }
            Event::Control(Control::Report { sessions, reply }) => {
                drop(reply.send(self.report(sessions)));
            }
            Event::Control(Control::Snapshot(reply)) => self.snapshot(now, reply),
            Event::Control(Control::Restore(tree, reply)) => self.restore(now, *tree, reply),
            Event::Control(Control::HandOver) => self.hand_in(now, zk_node::Input::HandOver),
            Event::Control(Control::Leave(reply)) => {
                self.leaving = Some(reply);
                self.hand_in(now, zk_node::Input::Leave);
            }
            Event::Control(Control::Stop) => {
                self.finish();
                return false;
            }
        }
        self.synced(now);
        self.tick(now);
        self.go_on(now);
        true
    }

    /// The same for a thread that does not wait for events, after it has written the log. True: who waits
    /// for them must wait for something else now.
    pub fn written(&mut self) -> bool {
        let now = clock::now();
        self.synced(now);
        self.go_on(now);
        self.awaited.is_some_and(|before| self.awaits().is_before(before))
    }

    fn go_on(&mut self, now: Now) {
        self.mirror_if_room();
        self.roles.changed(self.node.mode(), now.mono, &self.meters.core);
        self.work(clock::now());
    }

    /// What to wait for now.
    pub fn wait(&mut self) -> Awaited {
        *self.awaited.insert(self.awaits())
    }

    fn awaits(&self) -> Awaited {
        // The core has made something durable by itself, of which nobody else tells it.
        let unheard = (self.log.durable() > self.told).then_some(0);
        let deadline = [self.node.deadline(), self.held_since.map(|at| at + limits::HELD_MS), unheard];
        Awaited { deadline: deadline.into_iter().flatten().min(), inputs: self.has_room() }
    }

    /// The log that its records go to.
    pub fn log(&self) -> Arc<Log> {
        self.log.shared()
    }

    /// What the other members say.
    pub fn peer_events(&self) -> Receiver<PeerEvent> {
        self.member.as_ref().map_or_else(never, |m| m.events.clone())
    }

    fn has_room(&self) -> bool {
        // Without a role what comes is what the workers had read before: it is closed.
        self.node.pipeline().outstanding() < limits::CORE_OUTSTANDING
            && self.unsynced_bytes < limits::UNSYNCED_BYTES
    }

    fn take_inputs(&mut self, now: Now, first: Vec<Input>) {
        // Only the core writes the tree, so nobody waits for this hold but a commit that
        // the core would do itself.
        let shared = Arc::clone(&self.shared);
        let tree = shared.tree.read();
        let begun = Instant::now();
        let mut requests = 0;
        let mut first = Some(first);
        for _ in 0..limits::CORE_ROUND {
            let Some(inputs) = first.take().or_else(|| self.inputs.try_recv().ok()) else { break };
            requests += inputs.len() as u64;
            for input in inputs {
                self.node.handle(now, zk_node::Input::Client(input), &tree);
            }
            if begun.elapsed() >= limits::CORE_PART && self.log.is_idle() {
                break;
            }
        }
        drop(tree);
        let meters = &self.meters.core;
        meters.requests.add(requests);
        meters.round.record(requests);
        meters.prepare.record_many(micros_each(begun.elapsed(), requests), requests);
        self.outputs(now);
    }

    fn take_peers(&mut self, mut now: Now, first: PeerEvent) {
        let mut first = Some(first);
        for _ in 0..limits::CORE_ROUND {
            let Some(member) = &mut self.member else { break };
            let Some(event) = first.take().or_else(|| member.events.try_recv().ok()) else { break };
            for input in member.inputs(event) {
                self.learners.input(&input, now.wall, &self.roles.under_way);
                self.node.handle(now, input, &self.shared.tree.read());
                self.poll(now);
            }
            // What one of them asked for may have taken the disk a while; whoever spoke
            // meanwhile was not silent.
            now = clock::now();
        }
        self.flush_outputs();
    }

    fn hand_in(&mut self, now: Now, input: zk_node::Input) {
        self.node.handle(now, input, &self.shared.tree.read());
        self.outputs(now);
    }

    /// Performs what the member wants done, in order, and sees it off.
    fn outputs(&mut self, now: Now) {
        self.poll(now);
        self.flush_outputs();
    }

    fn poll(&mut self, now: Now) {
        let shared = Arc::clone(&self.shared);
        loop {
            let output = self.node.poll(now, &shared.tree.read());
            let Some(output) = output else { break };
            self.perform(now, output);
        }
        if self.member.is_some() && self.committed.is_none() && self.node.pipeline().has_committed() {
            self.committed = Some(Instant::now());
        }
    }

    /// Records to the log, messages to the workers and to the other members.
    fn flush_outputs(&mut self) {
        self.log.append(std::mem::take(&mut self.records));
        self.deliver();
        if let Some(member) = &mut self.member {
            member.flush();
        }
        // Clients wait in their sockets before it comes to this, but other members' records come as they come.
        if self.unsynced_bytes > 2 * limits::UNSYNCED_BYTES {
            self.log.sync();
        }
    }

    fn perform(&mut self, now: Now, output: Output) {
        self.learners.output(&output);
        match output {
            Output::Client(output) => self.route(output),
            Output::Append(records) => self.append(records),
            Output::AppendSync(records) => {
                self.append(records);
                self.flush_outputs();
                self.log.sync();
            }
            Output::ApplyCommitted { settled } => {
                self.apply_all(now);
                if settled && let Some(mut touched) = self.held_back.take() {
                    self.not_mirrored().merge(&mut touched);
                    self.mirror_if_room();
                }
            }
            Output::Serving(yes) => self.serve(now, yes),
            Output::ReadOnly => self.serve_read_only(),
            Output::Left => self.left(),
            Output::Proposed { config } => {
                let member = self.member.as_mut().expect("only members have an ensemble");
                member.proposed(self.node.configs(), &config);
            }
            Output::Withdrawn => {
                let member = self.member.as_mut().expect("only members have an ensemble");
                member.withdrawn(self.node.configs());
            }
            Output::Configuration { config } => {
                let member = self.member.as_mut().expect("only members have an ensemble");
                member.configured(self.node.configs());
                self.shared.configured(member.me(), &config);
            }
            Output::Ping { zxid } => {
                let member = self.member.as_mut().expect("only a member is pinged");
                let since = std::mem::replace(&mut member.pinged, now.mono);
                for (session, heard) in &self.heard {
                    // The same millisecond counts for both, so that none is lost between two.
                    if heard.load(Ordering::Relaxed) >= since {
                        self.node.heard(*session);
                    }
                }
                self.node.pong(zxid, &self.shared.tree.read());
            }
            Output::Truncate { to, reload } => self.truncate(now, to, reload),
            Output::InstallSnapshot { zxid } => {
                self.apply_all(now);
                self.flush_outputs();
                let member = self.member.as_mut().expect("only a member gets a snapshot");
                let tree = member.take_snapshot(zxid);
                self.held_back = None;
                self.replace_tree(tree);
            }
            Output::Reload => self.reload(),
            Output::Persist => {
                self.apply_all(now);
                self.flush_outputs();
                let member = self.member.as_mut().expect("only a member gets a snapshot");
                member.persist(&self.shared, &mut self.log, &mut self.mirror);
                self.held_back = None;
                self.lagging = None;
                self.restarted();
            }
            Output::StreamSnapshot { link, zxid } => {
                self.apply_all(now);
                self.flush_outputs();
                self.mirror_all();
                let member = self.member.as_mut().expect("only a member has learners");
                let settled = self.held_back.is_none();
                member.stream_snapshot(link, zxid, settled, &self.shared, &self.mirror);
            }
            other => {
                // A packet must not overtake the record that it speaks of on its way to the
                // log, but it need not wait for it either.
                let member = self.member.as_mut().expect("only a member has peers");
                member.perform(other, &self.shared, &self.log);
            }
        }
    }

    /// Written beside the work, from a view of the mirror at the last applied transaction.
    fn snapshot(&mut self, now: Now, reply: oneshot::Sender<Result<PathBuf, String>>) {
        self.apply_all(now);
        self.flush_outputs();
        if self.held_back.is_some() {
            drop(reply.send(Err("the member is not in step with a leader".to_owned())));
            return;
        }
        self.mirror_all();
        let settings = &self.shared.settings;
        let (dir, compression) = (settings.data_dir.clone(), settings.compression);
        self.mirror.snapshot(dir, compression, move |result| {
            // Who asked may have gone.
            let _ = reply.send(result.map_err(|e| e.to_string()));
        });
    }

    /// All clients are closed: their sessions and what they have seen are of another state. What
    /// of them is still on its way finds no session, or the one that the restored state has.
    /// ref: ZooKeeperServer.restoreFromSnapshot.
    fn restore(&mut self, now: Now, tree: Tree, reply: oneshot::Sender<Zxid>) {
        let Some(alone) = &self.alone else { return };
        let (storage, mut pipeline) = (alone.storage.clone(), alone.pipeline.clone());
        self.tell_serving(Serving::No);
        self.apply_all(now);
        self.flush_outputs();
        self.log.stop();
        self.synced(now);
        self.work(now);
        self.lagging = None;
        let old = self.mirror.stop();
        let zxid = tree.last_zxid();
        let (writer, mirror) =
            zk_storage::install(&storage, old, &tree, &mut |_| {}).unwrap_or_else(|e| give_up(&e));
        self.mirror.restart(mirror);
        self.log.restart(writer, zxid);
        // Ids that this process has given away are not given away again.
        pipeline.first_session = first_session(1);
        self.node = Node::alone(pipeline, &tree, now);
        self.heard.clear();
        self.restarted();
        self.shared.last_zxid.store(zxid.0, Ordering::Release);
        let old = std::mem::replace(&mut *self.shared.tree.write(), tree);
        std::thread::spawn(move || drop(old));
        self.outputs(now);
        self.tell_serving(Serving::Yes);
        tracing::warn!(%zxid, "the state was restored from a snapshot, all clients were closed");
        let _ = reply.send(zxid);
    }

    fn truncate(&mut self, now: Now, to: Zxid, reload: bool) {
        self.apply_all(now);
        self.flush_outputs();
        let member = self.member.as_mut().expect("only a member truncates");
        match member.truncate(to, reload, &self.shared, &mut self.log, &mut self.mirror) {
            Ok(rewound) => {
                if let Some((tree, held_back)) = rewound {
                    self.held_back = Some(held_back);
                    self.replace_tree(tree);
                }
                self.restarted();
            }
            Err(e) => {
                tracing::warn!("{e}");
                self.reload();
                self.node.cannot_truncate();
            }
        }
    }

    /// Back to what the disk has.
    fn reload(&mut self) {
        self.flush_outputs();
        let member = self.member.as_mut().expect("only a member gets a snapshot");
        let r = member.reload(&mut self.log, &mut self.mirror);
        member.restart(r.writer, r.last_zxid, r.mirror, &mut self.log, &mut self.mirror);
        self.held_back = Some(r.held_back);
        self.replace_tree(r.tree);
        let recent = r.recent.into_iter().map(|(zxid, bytes)| Record { zxid, bytes }).collect();
        self.node.reloaded(r.last_zxid, recent, !r.empty_without_vote);
        self.restarted();
    }

    fn append(&mut self, records: Vec<Record>) {
        self.note_proposals(&records);
        for record in records {
            self.unsynced_bytes += record.bytes.len();
            self.unsynced.push_back((record.zxid, record.bytes.len()));
            self.records.push(record);
        }
    }

    fn note_proposals(&mut self, records: &[Record]) {
        let (meters, n) = (&self.meters.core, records.len() as u64);
        let batch = records.last().and_then(Batch::of);
        self.roles.under_way.extend(batch);
        // What brings a learner up is acknowledged as a whole, and an observer acknowledges nothing.
        if self.node.serving()
            && matches!(self.node.mode(), zk_node::Mode::Leading | zk_node::Mode::Following)
        {
            self.roles.unacknowledged.extend(batch);
        }
        match self.node.mode() {
            zk_node::Mode::Leading => meters.proposals.add(n),
            mode @ (zk_node::Mode::Following | zk_node::Mode::Observing) => {
                meters.learned_proposals.add(n);
                // ref: Follower.processPacket.
                if mode == zk_node::Mode::Following
                    && let Some(age) = batch.and_then(|b| b.age(clock::wall()))
                {
                    meters.proposal.record(age);
                }
            }
            zk_node::Mode::Alone | zk_node::Mode::Looking | zk_node::Mode::ReadOnly => {}
        }
    }

    fn note_commits(&mut self, applied: u64, last: Zxid, took: Duration) {
        let meters = &self.meters.core;
        meters.slice.record(applied);
        meters.apply.record_many(micros_each(took, applied), applied);
        match self.node.mode() {
            zk_node::Mode::Leading => meters.commits.add(applied),
            zk_node::Mode::Following | zk_node::Mode::Observing => meters.learned_commits.add(applied),
            zk_node::Mode::Alone | zk_node::Mode::Looking | zk_node::Mode::ReadOnly => {}
        }
        if self.member.is_some() {
            meters.member_commits.add(applied);
        }
        let mode = self.node.mode();
        while let Some(batch) = self.roles.under_way.pop_front_if(|b| b.zxid <= last) {
            if let Some(age) = batch.age(clock::wall()) {
                meters.propagation.record(age);
            }
            let since = clock::micros().saturating_sub(batch.came);
            match mode {
                zk_node::Mode::Leading => {
                    meters.quorum.record(since);
                    #[cfg(feature = "otel")]
                    crate::trace::commit(batch.zxid, since);
                }
                zk_node::Mode::Following | zk_node::Mode::Observing => {
                    meters.commit_propagation.record(since)
                }
                zk_node::Mode::Alone | zk_node::Mode::Looking | zk_node::Mode::ReadOnly => {}
            }
        }
    }

    /// ref: AckRequestProcessor, SendAckRequestProcessor.
    fn note_durable(&mut self, durable: Zxid, wall: i64) {
        let leads = self.node.mode() == zk_node::Mode::Leading;
        while let Some(batch) = self.roles.unacknowledged.pop_front_if(|b| b.zxid <= durable) {
            let Some(age) = batch.age(wall) else { continue };
            self.meters.core.acknowledged.record(age);
            let is_wanted = self.roles.under_way.front().is_some_and(|b| b.zxid <= batch.zxid);
            if let Some(member) = self.member.as_ref().filter(|_| leads && is_wanted) {
                self.learners.acked_here(member.me(), age);
            }
        }
    }

    /// From the commit to the application: of a learner by whose client waits. All that a leader
    /// commits went through its hands. ref: CommitProcessor.processCommitMetrics.
    fn note_wait(&mut self, waited: Option<Duration>, applied: u64, own: u64) {
        let Some(waited) = waited else { return };
        let own = if self.node.mode() == zk_node::Mode::Leading { applied } else { own };
        let meters = &self.meters.core;
        meters.own_commit.time_of_many(waited, own);
        meters.others_commit.time_of_many(waited, applied.saturating_sub(own));
    }

    /// The log begins anew behind the present state.
    fn restarted(&mut self) {
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        self.told = self.log.durable();
    }

    fn replace_tree(&mut self, mut tree: Tree) {
        let mut effects = crate::ensemble::write_config(&mut tree, &self.node.configs().active);
        self.lagging = None;
        self.held_back.get_or_insert_default().merge(&mut effects.touched);
        self.shared.last_zxid.store(tree.last_zxid().0, Ordering::Release);
        let old = std::mem::replace(&mut *self.shared.tree.write(), tree);
        // A large one takes a while.
        std::thread::spawn(move || drop(old));
    }

    fn serve(&mut self, now: Now, yes: bool) {
        if yes {
            self.show_members();
        }
        // Replies to what was applied come before the silence.
        self.flush_outputs();
        // Who waits already, or was told not to, does so whatever roles come and go.
        if !yes && !matches!(self.shared.serving(), Serving::Yes | Serving::ReadOnly) {
            return;
        }
        self.held_since = (!yes).then_some(now.mono);
        self.roles.changed(self.node.mode(), now.mono, &self.meters.core);
        match yes {
            true => self.roles.serves(now.mono, &self.meters.core),
            false => self.roles.unavailable = Some(now.mono),
        }
        let leads = || self.node.mode() == zk_node::Mode::Leading;
        let refuses = self.member.as_ref().is_some_and(|m| !m.rules.leader_serves);
        self.tell_serving(match yes {
            false => Serving::Held,
            true if refuses && leads() => Serving::No,
            true => Serving::Yes,
        });
    }

    fn serve_read_only(&mut self) {
        // Who was connected for more is closed before anybody is served.
        self.flush_outputs();
        self.held_since = None;
        self.tell_serving(Serving::ReadOnly);
    }

    /// All replies are with the workers, all packets with the transport, which goes.
    fn left(&mut self) {
        self.flush_outputs();
        if let Some(member) = &mut self.member {
            member.stop();
        }
        if let Some(reply) = self.leaving.take() {
            // Nobody waits any longer if it took too long.
            let _ = reply.send(());
        }
    }

    /// The members' node shows who is a member now, also where no transaction says so: the
    /// first leader's number, and what was heard of in an election.
    /// ref: QuorumPeer.initConfigInZKDatabase.
    fn show_members(&mut self) {
        if self.member.is_none() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let active = &self.node.configs().active;
        let text = active.to_text();
        let mut tree = shared.tree.write();
        if tree.get(zk_proto::path::CONFIG).and_then(|n| n.data()) == Some(text.as_bytes()) {
            return;
        }
        let mut effects = crate::ensemble::write_config(&mut tree, active);
        for fired in effects.fired.drain(..) {
            self.route(zk_pipeline::Output::Event(fired));
        }
        self.deliver();
        self.not_mirrored().merge(&mut effects.touched);
        drop(tree);
        self.mirror_if_room();
    }

    /// Where what changes is noted for the mirror.
    fn not_mirrored(&mut self) -> &mut Touched {
        match &mut self.held_back {
            Some(held) => held,
            None => self.lagging.get_or_insert_default(),
        }
    }

    /// Hands the mirror what it lacks, if it is not far behind. It may be as far behind as it
    /// likes: the log has everything, and here one more path is noted at most for each that is
    /// written.
    fn mirror_if_room(&mut self) {
        if let Some(touched) = &self.lagging
            && !self.mirror.keeps(touched)
            && self.mirror.has_room()
        {
            self.mirror_all();
        }
    }

    /// Hands the mirror all that it lacks and may have.
    fn mirror_all(&mut self) {
        if self.held_back.is_none()
            && let Some(touched) = self.lagging.take()
        {
            let batch = self.mirror.encode(&self.shared.tree.read(), &touched);
            self.mirror.write(batch);
        }
    }

    fn tell_serving(&self, serving: Serving) {
        self.shared.serving.store(serving.to_u8(), Ordering::Release);
        self.shared.workers.iter().for_each(|w| w.inbox.push_one(ToWorker::Serving(serving)));
    }

    /// Sorts the outputs for clients by the worker that does them.
    fn route(&mut self, output: zk_pipeline::Output) {
        use zk_pipeline::Output as P;
        let conn = match &output {
            P::Applied(applied) => applied.conn,
            P::Event(fired) => {
                for (worker, out) in self.shared.workers.iter().zip(&mut self.for_workers) {
                    if worker.interest.wants(fired) {
                        out.push(ToWorker::Output(P::Event(fired.clone())));
                    }
                }
                return;
            }
            P::Session { conn, .. }
            | P::Refused { conn }
            | P::Reply { conn, .. }
            | P::WatchQuery { conn, .. }
            | P::Close { conn } => *conn,
            P::Append(_) | P::Forward(_) | P::Revalidate { .. } => {
                unreachable!("the member keeps these for itself")
            }
        };
        let w = Worker::of(conn);
        match output {
            P::Session { conn, session, timeout, read_only } => {
                let heard = self.heard.entry(session).or_insert_with(|| Arc::new(AtomicU64::new(0)));
                let heard = Arc::clone(heard);
                self.for_workers[w].push(ToWorker::Session { conn, session, timeout, heard, read_only });
            }
            output => {
                if let P::Reply { watches, .. } = &output {
                    let interest = &self.shared.workers[w].interest;
                    watches.iter().for_each(|w| interest.add(w.kind, w.place()));
                }
                self.for_workers[w].push(ToWorker::Output(output));
            }
        }
    }

    fn deliver(&mut self) {
        for (worker, out) in self.shared.workers.iter().zip(&mut self.for_workers) {
            worker.inbox.push(out);
        }
    }

    /// Tells how far the log is durable.
    fn synced(&mut self, now: Now) {
        let durable = self.log.durable();
        if durable <= self.told {
            return;
        }
        self.told = durable;
        while let Some((zxid, bytes)) = self.unsynced.front().copied() {
            if zxid > durable {
                break;
            }
            self.unsynced_bytes -= bytes;
            self.unsynced.pop_front();
        }
        self.note_durable(durable, now.wall);
        self.hand_in(now, zk_node::Input::Synced { upto: durable });
    }

    /// Applies what is committed.
    fn work(&mut self, now: Now) {
        while self.node.pipeline().has_committed() {
            self.apply_slice(now);
            self.outputs(now);
        }
    }

    /// The same without outputs between, for a barrier.
    fn apply_all(&mut self, now: Now) {
        while self.node.pipeline().has_committed() {
            self.apply_slice(now);
        }
    }

    fn apply_slice(&mut self, now: Now) {
        self.wait_for_workers();
        let shared = Arc::clone(&self.shared);
        let mut tree = shared.tree.write();
        let start = Instant::now();
        let before = self.node.pipeline().stats();
        let waited = self.committed.map(|at| start.duration_since(at));
        self.effects.touched = std::mem::take(self.not_mirrored());
        self.node.apply(now, &mut tree, &mut self.effects, self.slice.max());
        shared.last_zxid.store(tree.last_zxid().0, Ordering::Release);
        // Who reads the new state must find its events in front of it.
        while let Some(output) = self.node.poll_applied() {
            self.route(output);
        }
        self.deliver();
        let after = self.node.pipeline().stats();
        let (applied, took) = (after.applied - before.applied, start.elapsed());
        self.note_wait(waited, applied, after.own - before.own);
        if !self.node.pipeline().has_committed() {
            self.committed = None;
        }
        self.slice.measured(applied, took);
        let tree = RwLockWriteGuard::downgrade(tree);
        self.note_commits(applied, tree.last_zxid(), took);
        if !self.huge_pages && tree.node_count() as u64 >= limits::HUGE_PAGES_NODES {
            self.huge_pages = true;
            crate::server::huge_pages(true);
        }
        drop(tree);
        *self.not_mirrored() = std::mem::take(&mut self.effects.touched);
        if self.shared.settings.audit {
            self.effects.ended.iter().for_each(|(session, path, deleted)| {
                crate::audit::ephemeral(*session, path, *deleted);
            });
        }
        self.mirror_if_room();
        self.effects.clear();
    }

    /// A worker that does not keep up with its events holds up the writes, not
    /// the memory. It never waits for this thread, so this ends.
    fn wait_for_workers(&self) {
        while !self.shared.workers.iter().all(|w| w.inbox.has_room())
            && !self.shared.stopping.load(Ordering::Relaxed)
        {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn tick(&mut self, now: Now) {
        if self.held_since.is_some_and(|at| now.mono >= at + limits::HELD_MS) {
            self.held_since = None;
            self.tell_serving(Serving::No);
        }
        let Some(deadline) = self.node.deadline().filter(|d| now.mono >= *d) else { return };
        let now = self.hear_first(now, deadline);
        for session in self.node.pipeline().due_sessions(now.mono) {
            if let Some(heard) = self.heard.get(&session) {
                self.node.touch(session, heard.load(Ordering::Relaxed));
            }
        }
        let shared = Arc::clone(&self.shared);
        self.node.tick(now, &shared.tree.read());
        self.outputs(now);
        // Those whose connection has gone are not heard of any more.
        let pipeline = self.node.pipeline();
        if self.heard.len() > self.heard_limit {
            self.heard.retain(|id, _| pipeline.is_connected(*id));
            self.heard_limit = 2 * self.heard.len() + 1024;
        }
    }

    /// Hands in what the other members said before the clock counts their silence. If the
    /// clock is late, the process was halted or this thread was busy: what was said meanwhile
    /// is still in the sockets, and no session could be heard of.
    fn hear_first(&mut self, now: Now, deadline: u64) -> Now {
        let late = now.mono - deadline;
        let is_late = late >= limits::LATE_MS;
        if is_late {
            tracing::warn!(ms = late, "this process was halted or busy");
            self.node.halted(late);
        }
        let until = Instant::now() + if is_late { limits::LATE_PAUSE } else { Duration::ZERO };
        for _ in 0..limits::PEER_EVENTS {
            let Some(member) = &self.member else { break };
            match member.events.recv_deadline(until) {
                Ok(event) => self.take_peers(now, event),
                Err(_) => break,
            }
        }
        if is_late { clock::now() } else { now }
    }

    fn report(&self, lists: bool) -> CoreReport {
        let sessions = self.node.pipeline().sessions();
        let local_sessions = sessions.local_len();
        let by_expiry = |local| if lists { sessions.by_expiry(local).collect() } else { Vec::new() };
        CoreReport {
            sessions: sessions.len() - local_sessions,
            local_sessions,
            by_expiry: by_expiry(false),
            local_by_expiry: by_expiry(true),
            stats: self.node.pipeline().stats(),
            over_quota: self.node.pipeline().over_quota().clone(),
            unapplied: self.node.pipeline().outstanding(),
            status: self.member.as_ref().map(|m| self.member_report(m.me(), lists)),
        }
    }

    fn member_report(&self, me: PeerId, lists: bool) -> MemberReport {
        let node = self.node.status();
        let mut known: Vec<_> = Vec::new();
        if lists && node.mode != zk_node::Mode::Leading {
            known.extend(self.node.pipeline().sessions().timeouts());
            known.sort_unstable();
        }
        MemberReport { node, known, me, config: Arc::clone(&self.node.configs().active) }
    }

    /// Everything that was asked becomes durable, is applied and mirrored.
    fn finish(&mut self) {
        let now = clock::now();
        while let Ok(batch) = self.inputs.try_recv() {
            self.take_inputs(now, batch);
        }
        self.flush_outputs();
        self.log.stop();
        self.synced(now);
        self.work(now);
        if let Some(member) = &mut self.member {
            member.stop();
        }
        self.mirror_all();
        self.mirror.finish();
    }
}

fn micros_each(took: Duration, n: u64) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).checked_div(n).unwrap_or(0)
}

/// How many transactions one hold of the write lock applies, from the time that
/// the last ones took.
#[derive(Debug)]
struct Slice {
    nanos_each: u64,
}

impl Default for Slice {
    fn default() -> Self {
        Self { nanos_each: 3_000 }
    }
}

impl Slice {
    fn max(&self) -> usize {
        let slice = u64::try_from(limits::APPLY_SLICE.as_nanos()).expect("a slice is short");
        usize::try_from(slice / self.nanos_each.max(1))
            .unwrap_or(limits::APPLY_MAX)
            .clamp(1, limits::APPLY_MAX)
    }

    fn measured(&mut self, applied: u64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(each) = nanos.checked_div(applied) {
            // Slowly, so that one interrupted slice does not count for much.
            self.nanos_each = (self.nanos_each * 7 + each) / 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_of_a_transaction_has_an_age_or_none() {
        let now = clock::wall();
        let age = |prepared| Batch { zxid: Zxid(1), came: 0, prepared }.age(now);
        assert_eq!(age(now - 5), Some(5000));
        assert_eq!([age(now + 60_000), age(i64::MIN), age(i64::MIN / 2), age(i64::MAX)], [None; 4]);
    }

    #[test]
    fn slices_follow_the_measured_speed() {
        let mut s = Slice::default();
        for _ in 0..100 {
            s.measured(10, Duration::from_micros(100));
        }
        assert!((19..=22).contains(&s.max()), "{}", s.max());
        for _ in 0..100 {
            s.measured(1, Duration::from_secs(1));
        }
        assert_eq!(s.max(), 1);
        for _ in 0..300 {
            s.measured(1000, Duration::from_nanos(1));
        }
        assert_eq!(s.max(), limits::APPLY_MAX);
    }
}
