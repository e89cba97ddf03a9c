//! Roles, order, commit, apply.
//!
//! ```text
//!  Input::Write --prep--> in flight --Append--> log ... committed --apply--> Reply
//!  Input::Read  ------------^ waits behind its session's last write in flight
//! ```
//! A read that comes while its session has a write in flight runs right after
//! that write is applied and before anything later is: replies of a session
//! stay in order, and a read never sees a later write of its own session.
//! That is the leader's order, and a stand-alone server's; a learner's, which is
//! the same for a client, stands in [`crate::learning`].
//! ref: CommitProcessor; behaviour row 19.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use jute::Reader;
use zk_proto::client::{ReadRequest, RequestHeader, WatcherKind};
use zk_proto::txn::{LogEntry, Txn, TxnHeader};
use zk_proto::{ErrorCode, OpCode, SessionId, Zxid, path};
use zk_tree::watch::{Place, WatchKind};
use zk_tree::{Effects, Places, Tree, TxnResult};

use crate::auth::{AuthPolicy, Identities};
use crate::learning::Learner;
use crate::local::Ended;
use crate::prep::Prep;
use crate::read::{self, ReadContext, Watches};
use crate::session::{Owner, Sessions};
use crate::{Applied, ConnId, Input, Now, Output, Role, Watch, reply};

/// What the pipeline needs to know. `Default` is Java's default.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// `tickTime` in ms: width of an expiry bucket.
    pub tick_ms: u64,
    /// The first session id to hand out.
    pub first_session: SessionId,
    /// How permissions are judged.
    pub policy: AuthPolicy,
    /// `localSessionsEnabled`. A stand-alone server has none.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_upgrading: bool,
    /// `zookeeper.extendedTypesEnabled`.
    pub extended_types: bool,
    /// `zookeeper.digest.enabled`.
    pub digest: bool,
    /// `zookeeper.closeSessionTxn.enabled`.
    pub close_session_txn: bool,
    /// `zookeeper.enforceQuota`.
    pub enforce_quota: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `znode.container.checkIntervalMs`.
    pub container_check_ms: u64,
    /// `znode.container.maxPerMinute`.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; 0: a container that never had a
    /// child stays.
    pub container_max_never_used_ms: i64,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            tick_ms: 3000,
            first_session: SessionId::first(1, 0),
            policy: AuthPolicy::default(),
            local_sessions: false,
            local_upgrading: false,
            extended_types: false,
            digest: true,
            close_session_txn: true,
            enforce_quota: false,
            reconfig_enabled: false,
            container_check_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_ms: 0,
        }
    }
}

/// Counters of the pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PipelineStats {
    /// Writes that became transactions, errors among them.
    pub proposals: u64,
    /// Transactions applied.
    pub applied: u64,
    /// Sessions that ended because nothing was heard of them.
    pub expired: u64,
    /// Requests dropped because their session had ended. ref: MissingSessionException.
    pub dropped: u64,
    /// Containers and TTL nodes that the reaper asked to delete.
    pub reaped: u64,
    /// Requests that went to the leader.
    pub forwarded: u64,
    /// Transactions applied that a client of this learner waits for.
    pub own: u64,
}

/// A transaction between its preparation, or a learner's hearing of its commit,
/// and its application.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) entry: LogEntry,
    /// Where its nodes are in the tree, as far as that is known.
    pub(crate) places: Places,
    /// Who gets the reply; nobody here for the server's own requests, for those
    /// of learners, and on a learner, where the session's line tells.
    pub(crate) asker: Option<ConnId>,
    pub(crate) op: OpCode,
    /// Reads of the same session that came after it, and syncs of any.
    pub(crate) waiting: Vec<WaitingRead>,
}

#[derive(Debug)]
pub(crate) struct WaitingRead {
    pub(crate) conn: ConnId,
    pub(crate) session: SessionId,
    pub(crate) header: RequestHeader,
    pub(crate) body: Bytes,
    pub(crate) ids: Identities,
}

impl WaitingRead {
    /// Whether it ends a local session.
    pub(crate) fn is_close(&self) -> bool {
        self.header.op == OpCode::CloseSession.to_i32()
    }

    pub(crate) fn is_sync(&self) -> bool {
        self.header.op == OpCode::Sync.to_i32()
    }
}

/// Who waits for a transaction's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) conn: ConnId,
    pub(crate) op: OpCode,
    /// A create of an ephemeral node for a session that may not own one.
    pub(crate) refused: bool,
}

impl Asked {
    fn new(conn: ConnId, op: OpCode) -> Self {
        Self { conn, op, refused: false }
    }
}

/// What a role needs besides sessions and transactions in flight. See [`Role`].
#[derive(Debug)]
pub(crate) enum State {
    Idle,
    Leader(Box<Leader>),
    Learner(Box<Learner>),
    ReadOnly,
}

#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) prep: Prep,
    /// Whether there are others who can begin a new epoch.
    pub(crate) ensemble: bool,
    /// Sessions that have ended in this reign, with local sessions: see [`Ended`].
    pub(crate) ended: Ended,
}

/// One member's sessions and writes.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) config: PipelineConfig,
    pub(crate) state: State,
    pub(crate) sessions: Sessions,
    pub(crate) flight: VecDeque<InFlight>,
    /// Each session's last write in `flight`. Only a leader fills it.
    pub(crate) last_write: HashMap<SessionId, Zxid, foldhash::quality::RandomState>,
    pub(crate) committed: Zxid,
    pub(crate) outputs: Vec<Output>,
    /// Whether one of them sets a watch.
    watched: bool,
    /// Connections that were told to close and have requests under way: one that
    /// was lost must not be overtaken by those that came after it.
    pub(crate) closed: BTreeSet<ConnId>,
    /// Those of sessions that are about to end, whose requests were dropped. If the end is never
    /// committed, they are closed.
    pub(crate) unheard: BTreeSet<ConnId>,
    pub(crate) buffer: BytesMut,
    pub(crate) next_check: u64,
    pub(crate) reap: VecDeque<String>,
    pub(crate) next_reap: u64,
    pub(crate) stats: PipelineStats,
    pub(crate) over_quota: BTreeMap<String, u64>,
}

impl Pipeline {
    /// A stand-alone server's pipeline on top of a recovered tree: its sessions
    /// are armed as if they had been heard of now. Ephemerals without a session
    /// were removed by recovery.
    pub fn new(mut config: PipelineConfig, tree: &Tree, now: Now) -> Self {
        config.local_sessions = false;
        let mut new = Self::idle(config, tree);
        new.lead(now, tree, tree.last_zxid());
        if let State::Leader(l) = &mut new.state {
            l.ensemble = false;
        }
        new
    }

    /// A member of an ensemble that has no role yet.
    pub fn idle(config: PipelineConfig, tree: &Tree) -> Self {
        Self {
            state: State::Idle,
            sessions: Sessions::new(config.tick_ms, config.first_session),
            flight: VecDeque::new(),
            last_write: HashMap::default(),
            committed: tree.last_zxid(),
            outputs: Vec::new(),
            watched: false,
            closed: BTreeSet::new(),
            unheard: BTreeSet::new(),
            buffer: BytesMut::new(),
            next_check: 0,
            reap: VecDeque::new(),
            next_reap: 0,
            stats: PipelineStats::default(),
            over_quota: BTreeMap::new(),
            config,
        }
    }

    /// What it does at present.
    pub fn role(&self) -> Role {
        match self.state {
            State::Idle => Role::Idle,
            State::Leader(_) => Role::Leader,
            State::Learner(_) => Role::Learner,
            State::ReadOnly => Role::ReadOnly,
        }
    }

    /// A role begins on top of `tree`: only its sessions are left.
    pub(crate) fn begin(&mut self, tree: &Tree, now: Now, timed: bool) {
        assert_eq!(self.role(), Role::Idle, "a role begins when the one before has ended");
        assert!(self.flight.is_empty(), "what is committed is applied before a role begins");
        self.last_write.clear();
        for conn in self.sessions.reset(tree.sessions(), now.mono, timed) {
            self.close(conn);
        }
    }

    /// Leaves the role. Closed are the connections with a write, a sync or a
    /// connect request whose fate is unknown, with all that waited behind, those
    /// whose session has written elsewhere, and with `close_all` all others. The
    /// rest keep their sessions. Sessions that were only to read end. What is committed and not applied stays, for
    /// [`Pipeline::apply`]; on a learner its askers are closed as well.
    pub fn stand_down(&mut self, close_all: bool) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let only_read = matches!(state, State::ReadOnly);
        let (mut lost, without_session) = match state {
            State::Idle | State::ReadOnly => Default::default(),
            State::Leader(_) => self.drop_uncommitted(),
            State::Learner(l) => l.unsettled(),
        };
        lost.append(&mut self.unheard);
        // The next leader does not know who has gone elsewhere.
        lost.extend(self.sessions.strayed());
        if close_all || only_read {
            lost.extend(self.sessions.connections());
        }
        self.sessions.detach(&lost);
        self.sessions.detach(&without_session);
        if only_read {
            self.sessions.forget_local();
        }
        for conn in lost.difference(&without_session) {
            self.close(*conn);
        }
        // They have not asked for anything that could come late.
        self.outputs.extend(without_session.into_iter().map(|conn| Output::Close { conn }));
    }

    /// Who has asked for it, those that have a session and those that wait for one.
    fn drop_uncommitted(&mut self) -> (BTreeSet<ConnId>, BTreeSet<ConnId>) {
        let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
        let committed = self.committed;
        let keep = self.flight.iter().take_while(|f| f.entry.header.zxid <= committed).count();
        for f in self.flight.drain(keep..) {
            let created = f.op == OpCode::CreateSession;
            if created { &mut without } else { &mut with }.extend(f.asker);
            with.extend(f.waiting.iter().map(|read| read.conn));
        }
        self.last_write.retain(|_, zxid| *zxid <= committed);
        (with, without)
    }

    /// Closes a connection; what else it has asked for is not looked at.
    pub(crate) fn close(&mut self, conn: ConnId) {
        if self.closed.insert(conn) {
            self.outputs.push(Output::Close { conn });
        }
    }

    /// The sessions of this member.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Counters.
    pub fn stats(&self) -> PipelineStats {
        self.stats
    }

    /// Writes refused because a quota is used up, by the first component of its path.
    /// ref: ZooKeeperServer.updateQuotaExceededMetrics.
    pub fn over_quota(&self) -> &BTreeMap<String, u64> {
        &self.over_quota
    }

    /// Requests that are not answered yet.
    pub fn outstanding(&self) -> usize {
        match &self.state {
            State::Learner(l) => self.flight.len() + l.waiting(),
            _ => self.flight.len(),
        }
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.watched = false;
        std::mem::take(&mut self.outputs)
    }

    /// The same into a vector that is used again.
    pub fn drain_outputs(&mut self, into: &mut Vec<Output>) {
        self.watched = false;
        into.append(&mut self.outputs);
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input, tree: &Tree) {
        let input = self.as_local_close(input);
        match (&self.state, input) {
            (_, Input::Disconnected { conn, session }) => self.disconnected(conn, session),
            (_, Input::Write { conn, .. } | Input::Read { conn, .. })
                if !self.closed.is_empty() && self.closed.contains(&conn) => {}
            (State::Leader(_), input) => self.lead_input(now, input, tree),
            (State::Learner(_), input) => self.learn_input(now, input, tree),
            (State::ReadOnly, input) => self.read_only_input(now, input, tree),
            (State::Idle, Input::Connect { conn, .. }) => self.outputs.push(Output::Close { conn }),
            (State::Idle, Input::Write { conn, .. } | Input::Read { conn, .. }) => self.close(conn),
        }
    }

    fn disconnected(&mut self, conn: ConnId, session: SessionId) {
        self.closed.remove(&conn);
        self.unheard.remove(&conn);
        if let Some(s) = self.sessions.open(session)
            && s.conn == Some(conn)
        {
            s.conn = None;
        }
    }

    /// The connection speaks for the open session from now on.
    pub(crate) fn take_over(&mut self, session: SessionId, conn: ConnId) {
        let s = self.sessions.open(session).expect("it was looked up before");
        s.owner = Some(Owner::Local);
        let old = s.conn.replace(conn);
        let timeout = s.timeout;
        self.sessions.set_elsewhere(session, false);
        if let Some(old) = old.filter(|old| *old != conn) {
            if matches!(&self.state, State::Leader(l) if !l.ensemble) {
                self.outputs.push(Output::Close { conn: old });
            } else {
                self.close(old);
            }
        }
        let read_only = matches!(self.state, State::ReadOnly);
        self.outputs.push(Output::Session { conn, session, timeout, read_only });
    }

    /// The log is durable up to here, by a quorum.
    ///
    /// # Panics
    /// If it was not proposed here, or this is no leader.
    pub fn committed(&mut self, upto: Zxid) {
        assert!(upto >= self.committed, "commits go forward: {upto} after {}", self.committed);
        assert!(self.last_proposed() >= Some(upto), "commit of {upto}, which was not proposed");
        self.committed = upto;
    }

    /// Whether [`Pipeline::apply`] has something to do.
    pub fn has_committed(&self) -> bool {
        let next = self.flight.front().map(|f| f.entry.header.zxid);
        next.is_some_and(|next| next <= self.committed)
            || matches!(&self.state, State::Learner(l) if l.is_settled(next))
    }

    /// Whether a connection of this member speaks for the session.
    pub fn is_connected(&self, session: SessionId) -> bool {
        self.sessions.get(session).is_some_and(|s| s.conn.is_some())
    }

    /// Applies at most `max` committed transactions. True: there are more.
    /// `effects.touched` grows by what the mirror has to write.
    pub fn apply(&mut self, now: Now, tree: &mut Tree, effects: &mut Effects, max: usize) -> bool {
        self.settle_syncs(tree);
        for _ in 0..max {
            match self.flight.front() {
                Some(f) if f.entry.header.zxid <= self.committed => {}
                _ => return false,
            }
            let f = self.flight.pop_front().expect("front was there");
            self.apply_one(now, f, tree, effects);
            self.settle_syncs(tree);
        }
        self.flight.front().is_some_and(|f| f.entry.header.zxid <= self.committed)
    }

    fn apply_one(&mut self, now: Now, f: InFlight, tree: &mut Tree, effects: &mut Effects) {
        let h = f.entry.header;
        // Whoever gets the outputs counts their watches only then.
        effects.uncounted = self.watched;
        let result = tree.apply_at(&f.entry, &f.places, effects);
        self.stats.applied += 1;
        self.outputs.extend(effects.fired.drain(..).map(Output::Event));
        let asked = match &mut self.state {
            State::Leader(l) => {
                l.prep.applied(h.zxid);
                f.asker.map(|conn| Asked::new(conn, f.op))
            }
            State::Learner(l) => {
                let asked = l.answered(&h);
                self.stats.own += u64::from(asked.is_some());
                // Nobody has asked for the createSession of an upgrade.
                if h.op != OpCode::CreateSession {
                    self.sessions.set_elsewhere(h.session, asked.is_none());
                }
                asked
            }
            State::ReadOnly => unreachable!("nothing is committed without a leader"),
            State::Idle => {
                if f.asker.is_none() {
                    self.applied_elsewhere(&h);
                }
                f.asker.map(|conn| Asked::new(conn, f.op))
            }
        };
        if self.last_write.get(&h.session) == Some(&h.zxid) {
            self.last_write.remove(&h.session);
        }
        match &f.entry.txn {
            Txn::CreateSession { timeout } => self.session_created(now, asked, h.session, *timeout),
            Txn::CloseSession { .. } => self.session_closed(asked, &h),
            _ => {
                if let Some(asked) = asked {
                    self.answer(asked, f.entry, result, tree);
                }
            }
        }
        for read in f.waiting {
            if read.is_sync() && self.last_write.get(&read.session) == Some(&h.zxid) {
                self.last_write.remove(&read.session);
            }
            if self.closed.is_empty() || !self.closed.contains(&read.conn) {
                self.run_read(read, tree);
            }
        }
        if asked.is_some() {
            self.run_line(h.session, tree);
        }
    }

    fn answer(&mut self, asked: Asked, entry: LogEntry, mut result: TxnResult, tree: &Tree) {
        let Asked { conn, op, refused } = asked;
        let h = &entry.header;
        if h.op == OpCode::Error {
            match op {
                // Else a client that has gone elsewhere could take it for an
                // answer. ref: FinalRequestProcessor.
                _ if result.err == ErrorCode::SessionMoved => return self.close(conn),
                OpCode::CreateSession => {
                    self.sessions.remove(h.session);
                    return self.outputs.push(Output::Refused { conn });
                }
                OpCode::CloseSession => self.sessions.set_open(h.session),
                // The leader knows no such session. ref: FinalRequestProcessor, getException.
                _ if refused => result.err = ErrorCode::EphemeralOnLocalSession,
                _ => {}
            }
        }
        if op == OpCode::Reconfig && result.err == ErrorCode::Ok {
            let config = tree.get(path::CONFIG).and_then(|n| n.data());
            reply::reconfigured(&mut self.buffer, h.cxid, h.zxid, config, &result);
            return self.reply(conn, Vec::new(), false);
        }
        self.outputs.push(Output::Applied(Box::new(Applied { conn, op, entry, result })));
    }

    fn session_created(&mut self, now: Now, asked: Option<Asked>, session: SessionId, timeout: i32) {
        // A learner hears of it here. The time that the log took is not the client's.
        match self.sessions.get(session) {
            Some(_) => drop(self.sessions.touch(session, now.mono)),
            None => self.sessions.add(session, timeout, now.mono),
        }
        let timeout = self.sessions.get(session).map(|s| s.timeout);
        if let (Some(Asked { conn, .. }), Some(timeout)) = (asked, timeout) {
            self.outputs.push(Output::Session { conn, session, timeout, read_only: false });
        }
    }

    fn session_closed(&mut self, asked: Option<Asked>, h: &TxnHeader) {
        if let State::Leader(l) = &mut self.state
            && self.config.local_sessions
        {
            l.ended.insert(h.session);
        }
        let live = self.sessions.remove(h.session);
        let asker = asked.map(|a| a.conn);
        if let Some(conn) = asker {
            reply::error(&mut self.buffer, h.cxid, h.zxid, ErrorCode::Ok);
            self.reply(conn, Vec::new(), true);
        }
        // Whoever else speaks for the session has nothing to say any more.
        let mut others = BTreeSet::new();
        if let State::Learner(l) = &mut self.state {
            others = l.forget(h.session);
        }
        others.extend(live.and_then(|s| s.conn));
        for conn in others.into_iter().filter(|c| Some(*c) != asker) {
            self.outputs.push(Output::Close { conn });
        }
    }

    pub(crate) fn reply(&mut self, conn: ConnId, watches: Vec<Watch>, close: bool) {
        let frames = self.buffer.split().freeze();
        self.watched |= !watches.is_empty();
        self.outputs.push(Output::Reply { conn, frames, watches, close });
    }

    pub(crate) fn run_read(&mut self, read: WaitingRead, tree: &Tree) {
        let zxid = tree.last_zxid();
        if read.is_close() {
            return self.close_local_session(&read, zxid);
        }
        let WaitingRead { conn, session, header, body, ids } = read;
        let Some(op) = OpCode::from_i32(header.op).filter(|op| ReadRequest::covers(*op)) else {
            // A write that did not decode has come here for its place in the order.
            reply::error(&mut self.buffer, header.xid, zxid, ErrorCode::MarshallingError);
            return self.reply(conn, Vec::new(), false);
        };
        let query = match ReadRequest::decode(op, &mut Reader::new(&body)) {
            Ok(ReadRequest::CheckWatches { path, kind }) => Some((path, kind, false)),
            Ok(ReadRequest::RemoveWatches { path, kind }) => Some((path, kind, true)),
            _ => None,
        };
        if let Some((path, kind, remove)) = query {
            let node = Place::new(&path, tree.get(&path)).node;
            let (xid, path) = (header.xid, path.into_owned());
            return self.outputs.push(Output::WatchQuery { conn, xid, zxid, kind, path, node, remove });
        }
        let ctx = ReadContext { tree, policy: &self.config.policy, ids: &ids, session };
        let mut collected = Collected::default();
        read::answer(&ctx, header.xid, op, &body, &mut collected, &mut self.buffer);
        self.reply(conn, collected.0, false);
    }

    /// When to call [`Pipeline::tick`] at the latest, monotonic ms.
    pub fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Idle => return None,
            // Local sessions.
            State::Learner(_) | State::ReadOnly => return self.sessions.deadline(),
            State::Leader(_) => {}
        }
        let reap = if self.reap.is_empty() { self.next_check } else { self.next_reap };
        Some(self.sessions.deadline().map_or(reap, |s| s.min(reap)))
    }

    /// Sessions that would expire now: tell when they were last heard of.
    pub fn due_sessions(&self, now: u64) -> Vec<SessionId> {
        self.sessions.due(now)
    }

    /// Nobody could be heard of for `ms`: every session lives that much longer.
    pub fn halted(&mut self, ms: u64) {
        self.sessions.delay(ms);
    }

    /// The session was heard of at `heard_at`, monotonic ms.
    pub fn touch(&mut self, session: SessionId, heard_at: u64) {
        self.sessions.touch(session, heard_at);
    }
}

/// Watches of a read that runs away from its connection.
#[derive(Default)]
struct Collected(Vec<Watch>);

impl Watches for Collected {
    fn add(&mut self, kind: WatchKind, at: Place<'_>) {
        self.0.push(Watch { kind, path: at.path.to_owned(), node: at.node });
    }
    fn contains(&mut self, _: WatcherKind, _: Place<'_>) -> bool {
        unreachable!("asked of the connection's own thread")
    }
    fn remove(&mut self, _: WatcherKind, _: Place<'_>) -> bool {
        unreachable!("asked of the connection's own thread")
    }
}
