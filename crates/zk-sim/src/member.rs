//! A member: its disk, and while it runs the host's duties around its [`Node`].
//!
//! "The host's duties" of `zk_node` are the contract. The order of work is that of the
//! server's core; what blocks there makes the member busy here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zab::config::{Configs, EnsembleConfig};
use zab::history::Record;
use zab::leader::LinkId;
use zk_node::node::proposal_and_commit;
use zk_node::{Input, Mode, Node, NodeConfig, Output, Start};
use zk_pipeline::auth::AuthPolicy;
use zk_pipeline::read::{self, ReadContext, Watches};
use zk_pipeline::{ConnId, Now, PipelineConfig, reply};
use zk_proto::client::{RequestHeader, WatcherKind, WriteRequest};
use zk_proto::quorum::packet::{FromLeader, FromLearner};
use zk_proto::{AuthId, Epoch, OpCode, PeerId, SessionId, Zxid};
use zk_tree::watch::{Interest, Place, WatchKind, WatchTable};
use zk_tree::{Effects, Fired, Tree};

use crate::clients::{Request, ToClient, ToServer};
use crate::disk::{Disk, Unsynced};
use crate::net::{ToLeader, ToLearner};
use crate::note;
use crate::plant::Plant;
use crate::state::{Chain, Image};
use crate::world::{Event, World};

/// What all members of an ensemble are told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `tickTime` in ms.
    pub tick_ms: u64,
    /// `initLimit`.
    pub init_limit: u32,
    /// `syncLimit`.
    pub sync_limit: u32,
    /// Every learner gets a snapshot.
    pub force_snap: bool,
    /// Committed bytes that are queued at once for a learner that joins.
    pub join_bytes: usize,
    /// A thousandth of the slices after which the base follows the state.
    pub rebase: u64,
    /// Followers serve observers.
    pub observer_master: bool,
    /// `reconfigEnabled`.
    pub reconfig: bool,
}

/// What a disk had before it was lost.
#[derive(Debug)]
pub struct Lost {
    /// The data.
    pub disk: Disk,
    /// What the configuration files said.
    pub files: Configs,
}

/// Where learners connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// At a leader.
    Quorum,
    /// At a follower.
    Observers,
}

/// An attempt to connect.
#[derive(Debug, Clone, Copy)]
pub struct Dial {
    /// Its number.
    pub attempt: u64,
    /// Whom.
    pub leader: usize,
    /// Where.
    pub port: Port,
    /// Until when.
    pub until: u64,
}

/// When an armed crash happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrashAt {
    /// Before the n-th output from now.
    Output(u32),
    /// Before the first output of this name.
    Before(String),
    /// Behind the first output of this name.
    After(String),
    /// So many outputs behind the first one of this name.
    Behind(String, u32),
}

/// A member of the ensemble.
#[derive(Debug)]
pub struct Member {
    /// Its place in the simulation.
    pub index: usize,
    /// Its number.
    pub id: PeerId,
    /// How often it has started.
    pub incarnation: u64,
    /// What a crash leaves.
    pub disk: Disk,
    /// What its configuration files say: the members, and those that are proposed.
    pub files: Configs,
    /// The file `initialize` is there: nothing was lost where nothing is.
    pub initialize: bool,
    /// What it may have acknowledged and does not know any more, until a leader has brought it
    /// into step.
    pub lost: Option<Lost>,
    /// While it runs.
    pub live: Option<Box<Live>>,
    /// An armed crash, and what becomes of the unsynced records.
    pub crash_at: Option<(CrashAt, Unsynced)>,
    /// How much slower than usual its disk is.
    pub disk_factor: u64,
    /// Nothing is synced for the moment.
    pub disk_held: bool,
    /// Whether it falls behind now and then.
    pub hurried: bool,
    /// How far its wall clock is off, ms.
    pub wall_offset: i64,
    /// Origin of its monotonic clock, ms.
    origin: u64,
    settings: Settings,
}

/// What a crash takes.
#[derive(Debug)]
pub struct Live {
    /// The state machine.
    pub node: Node,
    /// The tree.
    pub tree: Tree,
    /// What made it.
    pub chain: Chain,
    /// Whether the quorum port is open.
    pub listening: Option<Port>,
    /// Whom it dials.
    pub dial: Option<Dial>,
    /// Its connection to the leader.
    pub leader_link: Option<(u64, usize)>,
    /// Until when it is busy, us.
    pub busy_until: u64,
    effects: Effects,
    /// How much of the chain was compared.
    checked: usize,
    /// What is applied is committed for sure.
    confirming: bool,
    /// The base does not follow the state: it may not be committed.
    held_back: bool,
    links: BTreeSet<usize>,
    snapshot: Option<(Zxid, Rc<Image>)>,
    /// Transactions that came from the leader, for those that are not logged.
    came: HashMap<Zxid, Bytes>,
    inbox: VecDeque<Item>,
    wake_at: Option<u64>,
    sync: Option<(u64, Zxid)>,
    sync_serial: u64,
    conns: BTreeMap<usize, Served>,
    watches: WatchTable,
    heard: BTreeMap<SessionId, u64>,
    pinged: u64,
    held_since: Option<u64>,
    late: Vec<Fired>,
    ghost: Vec<Record>,
    /// It was told to stop.
    leaving: bool,
    handing: Option<HandOver>,
}

/// A leader that was told to pass its office on.
#[derive(Debug)]
struct HandOver {
    /// When, us.
    since: u64,
    /// Everything was well, and so many faults there had been.
    calm: Option<u64>,
}

/// What a member has to do when it is not busy.
#[derive(Debug)]
pub enum Item {
    /// For the state machine.
    Input(Input),
    /// Of a client's connection.
    Client(usize, ToServer),
    /// What clients asked while nobody served.
    Drain,
}

/// A client's connection as its server has it.
#[derive(Debug, Default)]
struct Served {
    session: SessionId,
    open: bool,
    /// Requests that the pipeline has not answered.
    pending: usize,
    queue: VecDeque<ToServer>,
}

/// Watches of a read that a connection answers itself.
struct Set<'a>(&'a mut WatchTable, u32);

impl Watches for Set<'_> {
    fn add(&mut self, kind: WatchKind, at: Place<'_>) {
        self.0.add(self.1, kind, at);
    }
    fn contains(&mut self, kind: WatcherKind, at: Place<'_>) -> bool {
        self.0.contains(self.1, kind, at)
    }
    fn remove(&mut self, kind: WatcherKind, at: Place<'_>) -> bool {
        self.0.remove(self.1, kind, at)
    }
}

/// Time for which clients wait without a leader, ms.
const HELD_MS: u64 = 2000;

/// Time that a hand-over takes at most, us: within the limit of the state machine, which
/// gives up on what is not done by then.
const HAND_OVER_US: u64 = 990_000;

/// Who may change the members.
fn operator() -> AuthId {
    AuthId { scheme: "super".to_owned(), id: "super".to_owned() }
}

/// Where a member stands in the simulation.
fn place_of(id: PeerId) -> usize {
    usize::try_from(id.0 - 1).expect("members count from 1")
}

/// Each server writes the members into their node on its own.
fn show(tree: &mut Tree, config: &EnsembleConfig) {
    let mut effects = Effects::default();
    tree.write_config(config.to_text().into(), config.version.0, 0, &mut effects);
}

/// A reconfiguration that was logged counts as proposed, also if its file was lost.
fn see(configs: &mut Configs, tree: &Tree) {
    if let Some(text) = tree.get(zk_proto::path::CONFIG).and_then(|n| n.data_bytes()) {
        configs.logged(&text);
    }
}

fn slot(conn: usize) -> u32 {
    u32::try_from(conn).expect("a run has few connections")
}

fn place(conn: ConnId) -> usize {
    usize::try_from(conn.0).expect("it was made from a place")
}

fn link_place(link: LinkId) -> usize {
    usize::try_from(link.0).expect("it was made from a place")
}

/// The name of an output, as scenarios and traces say it.
pub fn name(output: &Output) -> String {
    let text = format!("{output:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

impl Member {
    /// A member with an empty disk that does not run.
    pub fn new(index: usize, settings: Settings, w: &mut World) -> Self {
        Self {
            index,
            id: PeerId(i64::try_from(index).expect("few members") + 1),
            incarnation: 0,
            disk: Disk::default(),
            files: Configs::new(EnsembleConfig::default()),
            initialize: true,
            lost: None,
            live: None,
            crash_at: None,
            disk_factor: 1,
            disk_held: false,
            hurried: false,
            wall_offset: 0,
            origin: w.rng.below(1_000_000),
            settings,
        }
    }

    /// Whether a member of that configuration file would start: it has to be in it.
    /// ref: QuorumPeer.start.
    pub fn may_start(&self) -> bool {
        self.files.active.members.contains_key(&self.id)
    }

    /// Whether its disk has a transaction, or had it before it was lost.
    pub fn has_durable(&self, record: &Record) -> bool {
        self.disk.has_durable(record) || self.lost.as_ref().is_some_and(|l| l.disk.has_durable(record))
    }

    /// Whether its files tell of a configuration or of a newer one, or did before they were lost.
    pub fn knows(&self, version: Zxid) -> bool {
        let knows = |files: &Configs, disk: &Disk| {
            let mut configs = files.clone();
            let newest = |c: &Configs| {
                c.last_seen.as_ref().map_or(c.active.version, |s| s.version.max(c.active.version))
            };
            newest(&configs) >= version || {
                // The log of a machine that got other files knows as well.
                see(&mut configs, &disk.recover().0);
                newest(&configs) >= version
            }
        };
        knows(&self.files, &self.disk) || self.lost.as_ref().is_some_and(|l| knows(&l.files, &l.disk))
    }

    /// Whether it serves clients.
    pub fn serves(&self) -> bool {
        self.live.as_ref().is_some_and(|l| l.node.serving())
    }

    /// Whether it leads and serves.
    pub fn leads(&self) -> bool {
        self.live.as_ref().is_some_and(|l| l.node.serving() && l.node.status().mode == Mode::Leading)
    }

    fn clock(&self, w: &World) -> Now {
        let ms = w.now / 1000;
        let wall = 1_700_000_000_000 + i64::try_from(ms).expect("runs are short") + self.wall_offset;
        Now { mono: ms + self.origin, wall }
    }

    fn us(&self, mono: u64) -> u64 {
        mono.saturating_sub(self.origin) * 1000
    }

    fn running(&mut self) -> &mut Live {
        self.live.as_mut().expect("it runs")
    }

    fn recent(&self, w: &mut World) -> Vec<Record> {
        let log = &self.disk.log;
        if log.last().map(|r| r.zxid) != Some(self.disk.last()) {
            return Vec::new();
        }
        let n = [0, 1, 5, 500][w.rng.index(4)].min(log.len());
        log[log.len() - n..].to_vec()
    }

    /// Starts with what the disk has.
    pub fn start(&mut self, w: &mut World) {
        assert!(self.live.is_none(), "it runs already");
        self.incarnation += 1;
        w.running[self.index] = Some(self.incarnation);
        self.disk.synced = self.disk.log.len();
        let (mut tree, chain) = self.disk.recover();
        let last = tree.last_zxid();
        if self.settings.reconfig && !w.planted(Plant::ForgetProposed) {
            see(&mut self.files, &tree);
        }
        let configs = self.files.clone();
        show(&mut tree, &configs.active);
        // ref: QuorumPeer.loadDataBase; the epoch follows the log.
        self.disk.current = self.disk.current.max(Epoch(last.epoch().0));
        let (accepted, current) = (self.disk.accepted, self.disk.current);
        w.checks.require(w.now, "epochs", accepted >= current, || {
            format!("acceptedEpoch is {} and currentEpoch is {}", accepted.0, current.0)
        });
        note!(w, "{} starts: accepted {} current {} last {last}", self.id, accepted.0, current.0);
        let s = &self.settings;
        let config = NodeConfig {
            me: self.id,
            tick_ms: s.tick_ms,
            init_limit: s.init_limit,
            sync_limit: s.sync_limit,
            reconfig_enabled: s.reconfig,
            notification_ms: [None; 2],
            standalone_enabled: true,
            multi_address: false,
            force_snap: s.force_snap,
            commit_log_count: None,
            read_only: false,
            observer_master: s.observer_master,
            reconnect_delay_ms: 0,
            join_bytes: s.join_bytes,
        };
        let pipeline = PipelineConfig {
            tick_ms: s.tick_ms,
            first_session: SessionId::first(u8::try_from(self.id.0).expect("few members"), w.now / 1000),
            reconfig_enabled: s.reconfig,
            ..PipelineConfig::default()
        };
        // The start that makes the database removes the file.
        let initialized = std::mem::take(&mut self.initialize);
        let recent = self.recent(w);
        let start = Start { accepted, current, last, recent, may_vote: true, initialized };
        let node = Node::member(config, configs, pipeline, start, &tree);
        self.live = Some(Box::new(Live {
            node,
            tree,
            chain,
            listening: None,
            dial: None,
            leader_link: None,
            busy_until: w.now,
            effects: Effects::default(),
            checked: 0,
            confirming: false,
            held_back: true,
            links: BTreeSet::new(),
            snapshot: None,
            came: HashMap::new(),
            inbox: VecDeque::new(),
            wake_at: None,
            sync: None,
            sync_serial: 0,
            conns: BTreeMap::new(),
            watches: WatchTable::new(Arc::new(Interest::new())),
            heard: BTreeMap::new(),
            pinged: 0,
            held_since: None,
            late: Vec::new(),
            ghost: Vec::new(),
            leaving: false,
            handing: None,
        }));
        if w.planted(Plant::MirrorAhead) {
            let live = self.live.as_ref().expect("it runs");
            self.disk.base = Rc::new(Image::of(&live.tree, &live.chain));
        }
        // It has something to say before anything has happened.
        self.outputs(w);
        self.run(w);
    }

    /// The process or the machine is gone.
    pub fn crash(&mut self, w: &mut World, unsynced: Unsynced) {
        let Some(live) = self.live.take() else { return };
        note!(w, "{} crashes, unsynced {unsynced:?}", self.id);
        w.running[self.index] = None;
        self.crash_at = None;
        if w.planted(Plant::LyingDisk) {
            self.disk.synced -= w.rng.index(self.disk.synced + 1).min(3);
        }
        if !live.ghost.is_empty() {
            self.disk.log.extend(live.ghost);
            self.disk.log.sort_by_key(|r| r.zxid);
            self.disk.synced = self.disk.log.len();
        }
        self.disk.crash(unsynced, &mut w.rng);
        // The kernel of a machine that lives closes what the process had.
        let silent = unsynced == Unsynced::Lost;
        let mine = |at: (usize, u64)| at.0 == self.index && at.1 == self.incarnation;
        for link in 0..w.net.links.len() {
            let l = &mut w.net.links[link];
            let (leads, learns) = (mine(l.leader), mine(l.learner));
            if leads && l.at_leader {
                l.at_leader = false;
                let late = if silent { w.rng.below(3_000_000) } else { 0 };
                w.to_learner(link, w.now + late, ToLearner::End);
            } else if learns && l.at_learner {
                l.at_learner = false;
                let late = if silent { w.rng.below(3_000_000) } else { 0 };
                w.to_leader(link, w.now + late, ToLeader::End);
            }
        }
        for conn in live.conns.into_keys() {
            if !silent {
                w.to_client(conn, w.now, ToClient::End);
            }
            w.conns[conn].at_server = false;
        }
        for other in (0..w.running.len()).filter(|o| *o != self.index) {
            let at = w.now + w.rng.between(500, if silent { 2_000_000 } else { 20_000 });
            w.at(at, Event::Pair(other, self.index));
        }
    }

    /// It is told to stop, as by SIGTERM. `calm`: nothing is amiss, so that a leader has to
    /// leave in good order.
    pub fn leave(&mut self, w: &mut World, calm: bool) {
        self.may_hand_over(w, calm);
        let Some(live) = &mut self.live else { return };
        if std::mem::replace(&mut live.leaving, true) {
            return;
        }
        note!(w, "-- {} is told to stop", self.id);
        if w.planted(Plant::LeaveAtOnce) {
            return self.go_at_once(w);
        }
        w.at(w.now + 5_000_000, Event::Kill(self.index, self.incarnation));
        self.take(w, Item::Input(Input::Leave));
    }

    /// It is told to let another one lead.
    pub fn abdicate(&mut self, w: &mut World, calm: bool) {
        self.may_hand_over(w, calm);
        note!(w, "-- {} is told to hand over", self.id);
        if w.planted(Plant::LeaveAtOnce) {
            return self.go_at_once(w);
        }
        self.take(w, Item::Input(Input::HandOver));
    }

    fn go_at_once(&mut self, w: &mut World) {
        if self.live.is_some() {
            self.hand_over(w);
            self.stop(w);
        }
    }

    fn may_hand_over(&mut self, w: &mut World, calm: bool) {
        if self.leads() {
            let handing = HandOver { since: w.now, calm: calm.then_some(w.faults) };
            self.running().handing.get_or_insert(handing);
        }
    }

    /// A leader that was told to pass its office on ends its reign.
    fn hand_over(&mut self, w: &mut World) {
        let Some(HandOver { since, calm }) = self.running().handing.take() else { return };
        w.checks.handovers += 1;
        // Whatever happens meanwhile may have ended its reign in another way.
        let undisturbed = calm == Some(w.faults) && w.now < since + HAND_OVER_US;
        if undisturbed && let Some(last) = self.disk.log.last() {
            w.checks.handed_over.push((self.id, last.clone()));
        }
    }

    /// The process ends by itself: everything is on the disk.
    pub fn stop(&mut self, w: &mut World) {
        if self.live.is_some() {
            self.disk.synced = self.disk.log.len();
            self.crash(w, Unsynced::Kept);
        }
    }

    /// Its data is lost, and all that it has acknowledged.
    pub fn wipe(&mut self, w: &mut World) {
        self.crash(w, Unsynced::Lost);
        note!(w, "-- the disk of {} is lost", self.id);
        let disk = std::mem::take(&mut self.disk);
        self.lost = Some(Lost { disk, files: self.files.clone() });
        self.initialize = w.planted(Plant::BlankVotes);
        w.checks.wipes += 1;
    }

    /// Something is to be done, now or when it is not busy any more.
    pub fn take(&mut self, w: &mut World, item: Item) {
        if self.live.is_some() {
            self.running().inbox.push_back(item);
            self.run(w);
        }
    }

    /// Does what there is to do.
    pub fn run(&mut self, w: &mut World) {
        loop {
            let Some(live) = &mut self.live else { return };
            if w.now < live.busy_until {
                let at = live.busy_until;
                return self.wake(w, at);
            }
            let Some(item) = live.inbox.pop_front() else {
                self.work(w);
                if self.live.is_some() && self.tick(w) {
                    continue;
                }
                break;
            };
            self.process(w, item);
            // What is committed is applied now or behind the next inputs.
            if w.rng.chance(300) {
                self.work(w);
            }
            if self.hurried && w.rng.chance(50) {
                let took = w.rng.below(3000);
                if let Some(live) = &mut self.live {
                    live.busy_until = live.busy_until.max(w.now) + took;
                }
            }
        }
        let Some(live) = &self.live else { return };
        let deadline = live.node.deadline().map(|d| self.us(d));
        let held = live.held_since.map(|at| self.us(at + HELD_MS));
        if let Some(at) = deadline.into_iter().chain(held).min() {
            self.wake(w, at);
        }
    }

    fn wake(&mut self, w: &mut World, at: u64) {
        let (index, incarnation) = (self.index, self.incarnation);
        let at = at.max(w.now + 1);
        let live = self.running();
        if live.wake_at.is_none_or(|earlier| earlier <= w.now || earlier > at) {
            live.wake_at = Some(at);
            w.at(at, Event::Wake(index, incarnation));
        }
    }

    /// Its time has come.
    pub fn woken(&mut self, w: &mut World, incarnation: u64) {
        if incarnation == self.incarnation && self.live.is_some() {
            self.run(w);
        }
    }

    /// True: something was due.
    fn tick(&mut self, w: &mut World) -> bool {
        let now = self.clock(w);
        let live = self.running();
        if live.held_since.is_some_and(|at| now.mono >= at + HELD_MS) {
            live.held_since = None;
            let conns: Vec<_> = live.conns.keys().copied().collect();
            conns.into_iter().for_each(|c| self.close(w, c));
            return true;
        }
        if live.node.deadline().is_none_or(|d| now.mono < d) {
            return false;
        }
        for session in live.node.pipeline().due_sessions(now.mono) {
            if let Some(at) = live.heard.get(&session) {
                live.node.touch(session, *at);
            }
        }
        live.node.tick(now, &live.tree);
        self.outputs(w);
        self.live.is_some()
    }

    fn process(&mut self, w: &mut World, item: Item) {
        match item {
            Item::Input(input) => self.hand_in(w, input),
            Item::Client(conn, message) => self.client(w, conn, message),
            Item::Drain => self.drain(w),
        }
    }

    fn hand_in(&mut self, w: &mut World, input: Input) {
        let now = self.clock(w);
        let live = self.running();
        match &input {
            Input::FromLeader { message: FromLeader::Proposal { zxid, txn }, .. }
            | Input::FromLeader { message: FromLeader::Inform { zxid, txn }, .. } => {
                live.came.insert(*zxid, txn.clone());
            }
            _ => {}
        }
        live.node.handle(now, input, &live.tree);
        self.outputs(w);
    }

    /// Performs what the state machine wants done, in order.
    fn outputs(&mut self, w: &mut World) {
        let now = self.clock(w);
        loop {
            let Some(live) = &mut self.live else { return };
            let Some(output) = live.node.poll(now, &live.tree) else { return };
            if self.crash_at.is_none() && !w.traces() {
                self.perform(w, output);
                continue;
            }
            let name = name(&output);
            let quiet = matches!(output, Output::Client(_) | Output::Ping { .. });
            if !quiet {
                note!(w, "{} {}", self.id, shorten(&output));
            }
            if let Some((CrashAt::Output(n), how)) = &mut self.crash_at {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    let how = *how;
                    if let Output::AppendSync(records) = output {
                        self.disk.log.extend(records);
                    }
                    return self.crash(w, how);
                }
            }
            match self.crash_at.clone() {
                Some((CrashAt::Before(n), how)) if n == name => return self.crash(w, how),
                Some((CrashAt::Behind(n, more), how)) if n == name => {
                    self.perform(w, output);
                    self.crash_at = Some((CrashAt::Output(more), how));
                }
                Some((CrashAt::After(n), how)) if n == name => {
                    self.perform(w, output);
                    return self.crash(w, how);
                }
                _ => self.perform(w, output),
            }
        }
    }

    /// Applies what is committed, slice by slice.
    fn work(&mut self, w: &mut World) {
        while self.live.as_ref().is_some_and(|l| l.node.pipeline().has_committed()) {
            let max = w.rng.between(1, 8);
            self.apply_slice(w, max);
            self.outputs(w);
        }
    }

    fn apply_all(&mut self, w: &mut World) {
        while self.running().node.pipeline().has_committed() {
            self.apply_slice(w, 8);
        }
    }

    fn apply_slice(&mut self, w: &mut World, max: u64) {
        for _ in 0..max {
            if !self.running().node.pipeline().has_committed() {
                break;
            }
            self.apply_one(w);
        }
        let live = self.live.as_mut().expect("it runs");
        let may = !live.held_back || w.planted(Plant::MirrorAhead);
        if may && w.rng.chance(self.settings.rebase) {
            let purge = w.rng.chance(500);
            self.disk.rebase(Rc::new(Image::of(&live.tree, &live.chain)), purge);
        }
    }

    fn apply_one(&mut self, w: &mut World) {
        let now = self.clock(w);
        let live = self.live.as_mut().expect("it runs");
        let before = live.tree.last_zxid();
        live.node.apply(now, &mut live.tree, &mut live.effects, 1);
        live.effects.clear();
        let zxid = live.tree.last_zxid();
        if zxid != before {
            let logged = self.disk.record(zxid).map(|r| r.bytes.clone());
            let bytes = logged.or_else(|| live.came.get(&zxid).cloned());
            let bytes = bytes.expect("what is applied was logged or came from the leader");
            if live.confirming
                && let Some(Ok(config)) = EnsembleConfig::of_txn(&bytes)
            {
                let active = live.node.configs().active.version;
                w.checks.require(w.now, "configurations", active >= config.version, || {
                    format!("{} shows {} and acts by {active}", self.id, config.version)
                });
            }
            live.chain.push(zxid, bytes, live.tree.digest());
            if live.confirming {
                w.checks.applied(w.now, self.index + 1, &mut live.checked, &live.chain);
            }
        }
        while let Some(output) = self.running().node.poll_applied() {
            self.route(w, output);
        }
        for fired in std::mem::take(&mut self.running().late) {
            self.fire(w, &fired);
        }
    }

    fn departs(&self, w: &World) -> u64 {
        self.live.as_ref().map_or(w.now, |l| l.busy_until.max(w.now))
    }

    fn blocks(&mut self, w: &mut World) {
        let took = w.disk_time() * self.disk_factor;
        let from = self.departs(w);
        self.running().busy_until = from + took;
    }

    fn perform(&mut self, w: &mut World, output: Output) {
        match output {
            Output::Client(output) => self.route(w, output),
            Output::Append(records) => self.append(w, records),
            Output::AppendSync(records) => {
                self.append(w, records);
                if !w.planted(Plant::LazyHistory) {
                    self.all_synced();
                    self.blocks(w);
                }
            }
            Output::StoreAcceptedEpoch(epoch) => self.store(w, false, epoch),
            Output::StoreCurrentEpoch(epoch) => self.store(w, true, epoch),
            Output::ApplyCommitted { settled } => {
                if !w.planted(Plant::ServeEarly) {
                    self.apply_all(w);
                }
                self.disk.unsettled &= !settled;
                let who = self.index + 1;
                let live = self.running();
                live.held_back &= !settled;
                live.confirming &= settled;
                // Its watchers are told at once, though it serves nobody yet.
                if settled {
                    w.checks.applied(w.now, who, &mut live.checked, &live.chain);
                }
            }
            Output::Truncate { to, reload } => self.truncate(w, to, reload),
            Output::InstallSnapshot { zxid } => self.install(w, zxid),
            Output::Reload => self.reload(w),
            Output::Persist => self.persist(w),
            Output::Notify { to, notification } => {
                let to = place_of(to);
                let at = w.net.at(self.index, to);
                w.net.voices[at].unsent = Some(notification);
                w.speak(self.index, to, self.departs(w));
            }
            Output::Left => self.stop(w),
            // Nobody is told to serve reads without a leader here.
            Output::ReadOnly => {}
            Output::Lead => self.running().listening = Some(Port::Quorum),
            Output::ServeObservers => self.running().listening = Some(Port::Observers),
            Output::StopLeading => {
                self.hand_over(w);
                let live = self.running();
                live.listening = None;
                for link in std::mem::take(&mut live.links) {
                    self.close_link(w, link);
                }
            }
            Output::ToLearners { links, mut message } => {
                self.announce(w, &links, &mut message);
                for link in links {
                    self.send_down(w, link_place(link), ToLearner::Packet(message.clone()));
                }
            }
            Output::CloseLink { link, why } => {
                note!(w, "{} closes link {}: {why}", self.id, link.0);
                self.running().links.remove(&link_place(link));
                self.close_link(w, link_place(link));
            }
            Output::FindInLog { link, zxid } => {
                let mut span = self.disk.find(zxid);
                span.usable &= !w.rng.chance(100);
                self.tell_later(w, Input::LogSpan { link, span });
            }
            // A purge came between: the learner is to come again.
            Output::StreamLog { link, after, .. } if after < self.disk.purged => {
                self.close_link(w, link_place(link));
                self.tell_later(w, Input::LinkDown(link));
            }
            Output::StreamLog { link, after, upto, activate } => {
                for record in self.disk.after(after).to_vec() {
                    if record.zxid <= upto {
                        for message in proposal_and_commit(record, activate) {
                            self.send_down(w, link_place(link), ToLearner::Packet(message));
                        }
                    }
                }
                self.tell_later(w, Input::Streamed(link));
            }
            Output::StreamSnapshot { link, zxid } => self.stream_snapshot(w, link, zxid),
            Output::Follow { attempt, leader, observer_port } => {
                let try_for = self.settings.tick_ms * u64::from(self.settings.init_limit) * 1000;
                let until = w.now + try_for;
                let live = self.running();
                if live.node.configs().addresses(leader).is_none() {
                    return self.tell_later(w, Input::LeaderLost { attempt });
                }
                live.snapshot = None;
                live.came.clear();
                let port = if observer_port { Port::Observers } else { Port::Quorum };
                live.dial = Some(Dial { attempt, leader: place_of(leader), port, until });
                let at = self.departs(w) + w.delay();
                w.at(at, Event::Dial(self.index, self.incarnation, attempt));
            }
            Output::ToLeader { attempt, message } => {
                let from = self.departs(w);
                if let Some((a, link)) = self.running().leader_link
                    && a == attempt
                    && w.net.links[link].at_learner
                {
                    w.to_leader(link, from, ToLeader::Packet(message));
                }
            }
            Output::Unfollow => {
                let live = self.running();
                live.dial = None;
                live.snapshot = None;
                if let Some((_, link)) = live.leader_link.take()
                    && w.net.links[link].at_learner
                {
                    w.net.links[link].at_learner = false;
                    w.to_leader(link, self.departs(w), ToLeader::End);
                }
            }
            Output::Ping { zxid } => {
                let now = self.clock(w);
                let live = self.running();
                let since = std::mem::replace(&mut live.pinged, now.mono);
                for (session, at) in &live.heard {
                    if *at >= since {
                        live.node.heard(*session);
                    }
                }
                live.node.pong(zxid, &live.tree);
            }
            Output::Serving(yes) => self.serve(w, yes),
            Output::Proposed { config } => {
                self.blocks(w);
                match w.plant {
                    Some(Plant::ForgetProposed) => {}
                    Some(Plant::ActivateEarly) => self.activate(w, config),
                    _ => self.files.last_seen = Some(Arc::new(config)),
                }
            }
            Output::Withdrawn => {
                self.blocks(w);
                self.files.last_seen = None;
            }
            Output::Configuration { config } => {
                self.blocks(w);
                self.activate(w, config);
            }
        }
    }

    /// A configuration is in force here, as its files say from now on.
    fn activate(&mut self, w: &mut World, config: EnsembleConfig) {
        w.checks.configured(w.now, self.index + 1, self.disk.current, &self.files.active, &config);
        self.files.active = Arc::new(config);
        let version = self.files.active.version;
        self.files.last_seen = self.files.last_seen.take().filter(|c| c.version > version);
    }

    /// What a leader says to its learners is looked at before it leaves.
    fn announce(&mut self, w: &mut World, links: &[LinkId], message: &mut FromLeader) {
        let leads = self.leads();
        match message {
            FromLeader::Commit { zxid } => w.checks.commits(w.now, self.id, self.disk.current, *zxid),
            FromLeader::CommitAndActivate { zxid, designated } => {
                w.checks.commits(w.now, self.id, self.disk.current, *zxid);
                if w.planted(Plant::DesignateAnybody) {
                    let voters = self.files.active.voters().filter(|v| *v != self.id);
                    *designated = voters.last().unwrap_or(*designated);
                }
                // A follower only tells its observers who leads.
                if *designated != self.id
                    && leads
                    && let Some(record) = self.disk.record(*zxid)
                {
                    w.checks.designated.push((*designated, record.clone()));
                }
            }
            FromLeader::Proposal { zxid, txn } if w.planted(Plant::OldQuorumOnly) => {
                let Some(Ok(new)) = EnsembleConfig::of_txn(txn) else { return };
                for link in links {
                    let learner =
                        PeerId(i64::try_from(w.net.links[link_place(*link)].learner.0).expect("few") + 1);
                    if new.is_voter(learner) && !self.files.active.is_voter(learner) {
                        let ack = Input::FromLearner(*link, FromLearner::Ack { zxid: *zxid });
                        self.running().inbox.push_back(Item::Input(ack));
                    }
                }
            }
            _ => {}
        }
    }

    fn tell_later(&mut self, w: &mut World, input: Input) {
        let at = self.departs(w) + w.rng.between(100, 3000);
        w.at(at, Event::Tell(self.index, self.incarnation, input));
    }

    fn append(&mut self, w: &mut World, records: Vec<Record>) {
        for record in records {
            let last = self.disk.log.last().map_or(Zxid::ZERO, |r| r.zxid);
            w.checks.require(w.now, "log", record.zxid > last, || {
                format!("{} is appended behind {last}", record.zxid)
            });
            self.disk.log.push(record);
        }
        if w.planted(Plant::AckBeforeSync) {
            let upto = self.disk.last();
            self.running().inbox.push_back(Item::Input(Input::Synced { upto }));
        }
        self.sync(w);
    }

    /// One sync at a time, of all that gathered during the last one.
    pub fn sync(&mut self, w: &mut World) {
        let Some(live) = &mut self.live else { return };
        if live.sync.is_some() || self.disk_held || self.disk.synced == self.disk.log.len() {
            return;
        }
        live.sync_serial += 1;
        live.sync = Some((live.sync_serial, self.disk.last()));
        let serial = live.sync_serial;
        let at = live.busy_until.max(w.now) + w.disk_time() * self.disk_factor;
        w.at(at, Event::Synced(self.index, self.incarnation, serial));
    }

    /// A sync has ended.
    pub fn synced(&mut self, w: &mut World, incarnation: u64, serial: u64) {
        let Some(live) = self.live.as_mut().filter(|_| incarnation == self.incarnation) else { return };
        let Some((current, upto)) = live.sync.filter(|(s, _)| *s == serial) else { return };
        if self.disk_held {
            w.at(w.now + 10_000, Event::Synced(self.index, incarnation, current));
            return;
        }
        live.sync = None;
        self.disk.synced = self.disk.synced.max(self.disk.log.partition_point(|r| r.zxid <= upto));
        self.sync(w);
        self.take(w, Item::Input(Input::Synced { upto }));
    }

    fn all_synced(&mut self) {
        self.disk.synced = self.disk.log.len();
        let upto = self.disk.last();
        let live = self.running();
        if live.sync.take().is_some() {
            live.inbox.push_back(Item::Input(Input::Synced { upto }));
        }
    }

    fn store(&mut self, w: &mut World, current: bool, epoch: Epoch) {
        if w.planted(Plant::EpochAfterAck) {
            let at = w.now + w.rng.between(1_000, 100_000);
            w.at(at, Event::LateEpoch(self.index, self.incarnation, current, epoch));
            return;
        }
        self.blocks(w);
        self.store_now(w, current, epoch);
    }

    /// An epoch reaches the disk.
    pub fn store_now(&mut self, w: &mut World, current: bool, epoch: Epoch) {
        let file = if current { &mut self.disk.current } else { &mut self.disk.accepted };
        let before = std::mem::replace(file, epoch);
        w.checks
            .require(w.now, "epochs", before <= epoch, || format!("epoch {} became {}", before.0, epoch.0));
    }

    fn replace(&mut self, tree: Tree, chain: Chain) {
        let live = self.running();
        live.checked = 0;
        live.confirming = false;
        live.held_back = true;
        live.tree = tree;
        live.chain = chain;
        show(&mut live.tree, &live.node.configs().active);
    }

    fn truncate(&mut self, w: &mut World, to: Zxid, reload: bool) {
        self.apply_all(w);
        let base = self.disk.base.zxid;
        if reload && to < base && !w.planted(Plant::KeepState) {
            let told = || format!("the log is cut at {to}, before the committed {base}");
            w.checks.require(w.now, "base", self.disk.unsettled, told);
            self.reload(w);
            return self.running().node.cannot_truncate();
        }
        let tail = self.disk.after(to).to_vec();
        self.disk.truncate(to);
        let live = self.live.as_mut().expect("it runs");
        live.sync = None;
        if w.planted(Plant::KeepTail) {
            live.ghost.extend(tail);
        }
        if reload && !w.planted(Plant::KeepState) {
            let (tree, chain) = self.disk.recover();
            self.replace(tree, chain);
        }
        self.blocks(w);
    }

    fn reload(&mut self, w: &mut World) {
        self.all_synced();
        let (tree, chain) = self.disk.recover();
        let recent = self.recent(w);
        let last = tree.last_zxid();
        self.replace(tree, chain);
        self.running().node.reloaded(last, recent, true);
        self.blocks(w);
    }

    fn install(&mut self, w: &mut World, zxid: Zxid) {
        self.apply_all(w);
        let (at, image) = self.running().snapshot.take().expect("the tree comes before the packet");
        assert_eq!(at, zxid, "one SNAP at a time");
        let mut tree = image.load();
        tree.set_last_zxid(zxid);
        self.replace(tree, image.chain.clone());
    }

    fn persist(&mut self, w: &mut World) {
        self.apply_all(w);
        let live = self.live.as_mut().expect("it runs");
        live.sync = None;
        live.held_back = false;
        let image = Rc::new(Image::of(&live.tree, &live.chain));
        if w.planted(Plant::VolatileSnapshot) {
            self.disk.log.clear();
            self.disk.synced = 0;
        } else {
            self.disk.install(image);
        }
        self.blocks(w);
    }

    fn stream_snapshot(&mut self, w: &mut World, link: LinkId, zxid: Zxid) {
        if !w.planted(Plant::SkipBarrier) {
            self.apply_all(w);
        }
        let live = self.running();
        let image = Rc::new(Image::of(&live.tree, &live.chain));
        let (is, link_at) = (image.zxid, link_place(link));
        if w.plant.is_none() {
            // The begin of an epoch is no transaction.
            let same = is == zxid || zxid.counter() == 0 && is < zxid;
            w.checks.require(w.now, "snapshot", same, || format!("it is of {is}, not of {zxid}"));
        }
        self.send_down(w, link_at, ToLearner::Loading);
        let from = self.departs(w) + w.rng.between(0, 200_000);
        if w.net.links[link_at].at_leader {
            w.to_learner(link_at, from, ToLearner::Snapshot(zxid, image));
        }
        let at = from + 100;
        w.at(at, Event::Tell(self.index, self.incarnation, Input::Streamed(link)));
    }

    fn send_down(&mut self, w: &mut World, link: usize, message: ToLearner) {
        if w.net.links[link].at_leader {
            w.to_learner(link, self.departs(w), message);
        }
    }

    fn close_link(&mut self, w: &mut World, link: usize) {
        if w.net.links[link].at_leader {
            w.to_learner(link, self.departs(w), ToLearner::End);
            w.net.links[link].at_leader = false;
        }
    }

    /// A learner has connected.
    pub fn linked(&mut self, link: usize) {
        self.running().links.insert(link);
    }

    /// A packet of the leader has arrived.
    pub fn from_leader(&mut self, w: &mut World, link: usize, message: ToLearner) {
        let attempt = w.net.links[link].attempt;
        let input = match message {
            ToLearner::Packet(message) => Input::FromLeader { attempt, message },
            ToLearner::Loading => Input::Loading { attempt },
            ToLearner::Snapshot(zxid, image) => {
                let live = self.running();
                if live.leader_link.is_some_and(|(a, _)| a == attempt) {
                    live.snapshot = Some((zxid, image));
                }
                Input::FromLeader { attempt, message: FromLeader::Snap { zxid } }
            }
            ToLearner::End => {
                w.net.links[link].at_learner = false;
                Input::LeaderLost { attempt }
            }
        };
        self.take(w, Item::Input(input));
    }

    fn serve(&mut self, w: &mut World, yes: bool) {
        let now = self.clock(w);
        note!(w, "{} serving: {yes}", self.id);
        let live = self.live.as_mut().expect("it runs");
        live.held_since = (!yes).then_some(now.mono);
        if !yes {
            return;
        }
        let status = live.node.status();
        if status.mode == Mode::Leading {
            w.checks.established(w.now, self.index + 1, status.epoch, &live.chain);
            w.checks.leads_under(w.now, self.index + 1, status.epoch, &live.node.configs().active);
        }
        show(&mut live.tree, &live.node.configs().active);
        self.lost = None;
        live.confirming = true;
        w.checks.applied(w.now, self.index + 1, &mut live.checked, &live.chain);
        live.inbox.push_back(Item::Drain);
    }
}

/// Clients.
impl Member {
    fn client(&mut self, w: &mut World, conn: usize, message: ToServer) {
        let now = self.clock(w);
        let live = self.running();
        match message {
            ToServer::Connect { .. } => {
                let served = live.conns.entry(conn).or_default();
                served.queue.push_back(message);
                self.drain_one(w, conn);
            }
            ToServer::Request(_) => {
                let Some(served) = live.conns.get_mut(&conn) else { return };
                live.heard.insert(served.session, now.mono);
                served.queue.push_back(message);
                self.drain_one(w, conn);
            }
            ToServer::End => {
                w.conns[conn].at_server = false;
                self.forget(w, conn);
            }
        }
    }

    fn forget(&mut self, w: &mut World, conn: usize) {
        let live = self.running();
        let Some(served) = live.conns.remove(&conn) else { return };
        live.watches.drop_conn(slot(conn));
        if served.session != SessionId::NONE {
            let conn = ConnId(conn as u64);
            let gone = zk_pipeline::Input::Disconnected { conn, session: served.session };
            live.inbox.push_back(Item::Input(Input::Client(gone)));
            let at = live.busy_until;
            self.wake(w, at);
        }
    }

    /// Closes a client's connection.
    fn close(&mut self, w: &mut World, conn: usize) {
        w.to_client(conn, self.departs(w), ToClient::End);
        w.conns[conn].at_server = false;
        self.forget(w, conn);
    }

    fn drain(&mut self, w: &mut World) {
        let conns: Vec<_> = self.running().conns.keys().copied().collect();
        for conn in conns {
            if self.live.is_some() {
                self.drain_one(w, conn);
            }
        }
    }

    fn drain_one(&mut self, w: &mut World, conn: usize) {
        loop {
            let Some(live) = &mut self.live else { return };
            let Some(served) = live.conns.get_mut(&conn) else { return };
            let first = matches!(served.queue.front(), Some(ToServer::Connect { .. }));
            if !live.node.serving() || !served.open && !first {
                return;
            }
            match served.queue.pop_front() {
                Some(ToServer::Connect { session, seen, timeout }) => {
                    self.connect(w, conn, session, seen, timeout);
                }
                Some(ToServer::Request(request)) => self.request(w, conn, request),
                Some(ToServer::End) | None => return,
            }
        }
    }

    fn connect(&mut self, w: &mut World, conn: usize, session: SessionId, seen: Zxid, timeout: i32) {
        let now = self.clock(w);
        let live = self.running();
        // ref: ZooKeeperServer.processConnectRequest.
        if seen > live.tree.last_zxid() && !w.planted(Plant::LetPastClientsIn) {
            return self.close(w, conn);
        }
        let input =
            zk_pipeline::Input::Connect { conn: ConnId(conn as u64), session, timeout, read_only: false };
        live.node.handle(now, Input::Client(input), &live.tree);
        self.outputs(w);
    }

    fn request(&mut self, w: &mut World, conn: usize, request: Request) {
        let now = self.clock(w);
        let live = self.running();
        let served = live.conns.get_mut(&conn).expect("it was just there");
        let (id, session) = (ConnId(conn as u64), served.session);
        let waits = served.pending > 0 && !w.planted(Plant::ReadsOvertake);
        let input = match request.write {
            Some(write) => zk_pipeline::Input::Write {
                conn: id,
                session,
                xid: request.xid,
                ids: match &write {
                    WriteRequest::Reconfig { .. } => Arc::new([operator()]),
                    _ => Arc::new([]),
                },
                request: Ok(write),
            },
            None if waits || request.op == OpCode::Sync => zk_pipeline::Input::Read {
                conn: id,
                session,
                header: RequestHeader { xid: request.xid, op: request.op.to_i32() },
                body: request.body,
                ids: Arc::new([]),
            },
            None => return self.answer(w, conn, session, &request),
        };
        served.pending += 1;
        live.node.handle(now, Input::Client(input), &live.tree);
        self.outputs(w);
    }

    fn answer(&mut self, w: &mut World, conn: usize, session: SessionId, request: &Request) {
        let live = self.running();
        let policy = AuthPolicy::default();
        let ctx = ReadContext { tree: &live.tree, policy: &policy, ids: &[], session };
        let mut out = BytesMut::new();
        let mut set = Set(&mut live.watches, slot(conn));
        read::answer(&ctx, request.xid, request.op, &request.body, &mut set, &mut out);
        w.to_client(conn, self.departs(w), ToClient::Frames(out.freeze()));
    }

    /// What the pipeline wants done for a client.
    fn route(&mut self, w: &mut World, output: zk_pipeline::Output) {
        use zk_pipeline::Output as P;
        let now = self.clock(w);
        let from = self.departs(w);
        let live = self.live.as_mut().expect("it runs");
        match output {
            P::Event(fired) if w.planted(Plant::LateEvents) => live.late.push(fired),
            P::Event(fired) => self.fire(w, &fired),
            P::Session { conn, session, timeout, .. } => {
                let at = place(conn);
                match live.conns.get_mut(&at) {
                    Some(served) => {
                        (served.session, served.open) = (session, true);
                        live.heard.insert(session, now.mono);
                        w.to_client(at, from, ToClient::Session(session, timeout));
                        live.inbox.push_back(Item::Drain);
                    }
                    None => {
                        let gone = zk_pipeline::Input::Disconnected { conn, session };
                        live.inbox.push_back(Item::Input(Input::Client(gone)));
                    }
                }
            }
            P::Refused { conn } => {
                w.to_client(place(conn), from, ToClient::Refused);
                self.close(w, place(conn));
            }
            P::Reply { conn, frames, watches, close } => {
                let at = place(conn);
                let Some(served) = live.conns.get_mut(&at) else { return };
                served.pending = served.pending.saturating_sub(1);
                for watch in &watches {
                    live.watches.add(slot(at), watch.kind, watch.place());
                }
                w.to_client(at, from, ToClient::Frames(frames));
                if close {
                    self.close(w, at);
                }
            }
            P::Applied(applied) => {
                let mut frames = BytesMut::new();
                applied.encode(&mut frames);
                let (conn, frames) = (applied.conn, frames.freeze());
                self.route(w, P::Reply { conn, frames, watches: Vec::new(), close: false });
            }
            P::Close { conn } => {
                if live.conns.contains_key(&place(conn)) {
                    self.close(w, place(conn));
                }
            }
            P::WatchQuery { .. } => unreachable!("no client asks"),
            P::Append(_) | P::Forward(_) | P::Revalidate { .. } => {
                unreachable!("the member keeps these for itself")
            }
        }
    }

    fn fire(&mut self, w: &mut World, fired: &Fired) {
        let from = self.departs(w);
        let live = self.running();
        let mut targets = Vec::new();
        live.watches.fire(fired, |slot| targets.push(slot));
        if targets.is_empty() {
            return;
        }
        let mut frame = BytesMut::new();
        reply::event(&mut frame, fired);
        let frame = frame.freeze();
        for slot in targets {
            let conn = usize::try_from(slot).expect("it was made from a place");
            w.to_client(conn, from, ToClient::Frames(frame.clone()));
        }
    }
}

fn shorten(output: &Output) -> String {
    let mut text = match output {
        Output::Append(records) => {
            format!("Append {:?}", records.iter().map(|r| r.zxid.to_string()).collect::<Vec<_>>())
        }
        Output::AppendSync(records) => {
            format!("AppendSync {:?}", records.iter().map(|r| r.zxid.to_string()).collect::<Vec<_>>())
        }
        Output::Notify { to, notification: n } => format!(
            "Notify {to}: {:?} leader {} zxid {} round {} epoch {}",
            n.state, n.leader, n.zxid, n.round, n.peer_epoch.0
        ),
        other => format!("{other:?}"),
    };
    if let Some((end, _)) = text.char_indices().nth(160) {
        text.truncate(end);
    }
    text
}
