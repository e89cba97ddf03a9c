//! Order, commit, apply.
//!
//! ```text
//!  Input::Write --prep--> in flight --Append--> log ... committed --apply--> Reply
//!  Input::Read  ------------^ waits behind its session's last write in flight
//! ```
//! A read that comes while its session has a write in flight runs right after
//! that write is applied and before anything later is: replies of a session
//! stay in order, and a read never sees a later write of its own session.
//! ref: CommitProcessor; behaviour row 19.

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use jute::Reader;
use zk_proto::client::{ReadRequest, RequestHeader, WatcherKind, WriteRequest};
use zk_proto::txn::LogEntry;
use zk_proto::{ErrorCode, OpCode, SessionId, Xid, Zxid};
use zk_tree::watch::WatchKind;
use zk_tree::{Effects, Tree};

use crate::auth::{AuthPolicy, Identities};
use crate::prep::{Asker, Prep};
use crate::read::{self, ReadContext, Watches};
use crate::session::Sessions;
use crate::{ConnId, Input, LogRecord, Now, Output, reply};

/// What the pipeline needs to know. `Default` is Java's default.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// `tickTime` in ms: width of an expiry bucket.
    pub tick_ms: u64,
    /// The first session id to hand out.
    pub first_session: SessionId,
    /// How permissions are judged.
    pub policy: AuthPolicy,
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
}

/// A write between its preparation and its application.
#[derive(Debug)]
struct InFlight {
    entry: LogEntry,
    /// Who gets the reply; nobody for the server's own requests.
    asker: Option<ConnId>,
    op: OpCode,
    /// Reads of the same session that came after it.
    waiting: Vec<WaitingRead>,
}

#[derive(Debug)]
struct WaitingRead {
    conn: ConnId,
    session: SessionId,
    header: RequestHeader,
    body: Bytes,
    ids: Identities,
}

/// One member's sessions and writes.
#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    sessions: Sessions,
    prep: Prep,
    flight: VecDeque<InFlight>,
    /// Each session's last write in `flight`.
    last_write: HashMap<SessionId, Zxid>,
    committed: Zxid,
    outputs: Vec<Output>,
    buffer: BytesMut,
    next_check: u64,
    reap: VecDeque<String>,
    next_reap: u64,
    stats: PipelineStats,
}

impl Pipeline {
    /// A pipeline on top of a recovered tree: its sessions are armed as if they
    /// had been heard of now. Ephemerals without a session were removed by recovery.
    pub fn new(config: PipelineConfig, tree: &Tree, now: Now) -> Self {
        let mut sessions = Sessions::new(config.tick_ms, config.first_session);
        for (id, timeout) in tree.sessions() {
            sessions.add(id, timeout, now.mono);
        }
        Self {
            prep: Prep::new(config.clone(), tree),
            sessions,
            flight: VecDeque::new(),
            last_write: HashMap::new(),
            committed: tree.last_zxid(),
            outputs: Vec::new(),
            buffer: BytesMut::new(),
            next_check: now.mono + config.container_check_ms,
            reap: VecDeque::new(),
            next_reap: now.mono,
            stats: PipelineStats::default(),
            config,
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

    /// Writes that are not applied yet.
    pub fn outstanding(&self) -> usize {
        self.flight.len()
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The same into a vector that is used again.
    pub fn drain_outputs(&mut self, into: &mut Vec<Output>) {
        into.append(&mut self.outputs);
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input, tree: &Tree) {
        match input {
            Input::Connect { conn, session, timeout } => self.connect(now, conn, session, timeout, tree),
            Input::Write { conn, session, xid, request, ids } => {
                if !self.sessions.touch(session, now.mono) {
                    self.stats.dropped += 1;
                    return;
                }
                let closes = matches!(request, Ok(WriteRequest::CloseSession));
                let who = Asker { session, cxid: xid, ids: &ids };
                self.propose(now, tree, who, request.as_ref().map_err(|e| *e), Some(conn));
                if closes {
                    self.sessions.set_closing(session);
                }
            }
            Input::Read { conn, session, header, body, ids } => {
                if !self.sessions.touch(session, now.mono) {
                    self.stats.dropped += 1;
                    return;
                }
                let read = WaitingRead { conn, session, header, body, ids };
                match self.last_in_flight(session) {
                    Some(w) => w.waiting.push(read),
                    None => self.run_read(read, tree),
                }
            }
            Input::Disconnected { conn, session } => {
                if let Some(s) = self.sessions.open(session)
                    && s.conn == Some(conn)
                {
                    s.conn = None;
                }
            }
        }
    }

    fn connect(&mut self, now: Now, conn: ConnId, session: SessionId, timeout: i32, tree: &Tree) {
        if session == SessionId::NONE {
            let id = self.sessions.allocate();
            self.sessions.add(id, timeout, now.mono);
            self.sessions.open(id).expect("session was just added").conn = Some(conn);
            let who = Asker { session: id, cxid: Xid(0), ids: &[] };
            return self.propose(now, tree, who, Ok(&WriteRequest::CreateSession { timeout }), Some(conn));
        }
        if !self.sessions.touch(session, now.mono) {
            return self.outputs.push(Output::Refused { conn });
        }
        let s = self.sessions.open(session).expect("touch found it open");
        let old = s.conn.replace(conn);
        let timeout = s.timeout;
        if let Some(old) = old.filter(|old| *old != conn) {
            self.outputs.push(Output::Close { conn: old });
        }
        self.outputs.push(Output::Session { conn, session, timeout });
    }

    fn propose(
        &mut self,
        now: Now,
        tree: &Tree,
        who: Asker<'_>,
        request: Result<&WriteRequest, jute::DecodeError>,
        asker: Option<ConnId>,
    ) {
        let op = request.map_or(OpCode::Multi, WriteRequest::op);
        let (entry, error) = self.prep.prepare(now, tree, who, request);
        if let Some(e) = error {
            tracing::debug!(session = %who.session, zxid = %entry.header.zxid, op = op.name(), "{e}");
        }
        let zxid = entry.header.zxid;
        let mut bytes = BytesMut::with_capacity(128);
        entry.encode(&mut bytes);
        self.outputs.push(Output::Append(LogRecord { zxid, bytes: bytes.freeze() }));
        self.stats.proposals += 1;
        if asker.is_some() {
            self.last_write.insert(who.session, zxid);
        }
        self.flight.push_back(InFlight { entry, asker, op, waiting: Vec::new() });
    }

    fn last_in_flight(&mut self, session: SessionId) -> Option<&mut InFlight> {
        let zxid = *self.last_write.get(&session)?;
        let first = self.flight.front()?.entry.header.zxid;
        let at = usize::try_from(zxid.0.checked_sub(first.0)?).ok()?;
        let found = self.flight.get_mut(at)?;
        assert_eq!(found.entry.header.zxid, zxid, "writes in flight are without a gap");
        Some(found)
    }

    /// The log is durable up to here, by a quorum.
    pub fn committed(&mut self, upto: Zxid) {
        assert!(upto >= self.committed, "commits go forward: {upto} after {}", self.committed);
        assert!(upto <= self.prep.last_zxid(), "commit of {upto}, which was not proposed");
        self.committed = upto;
    }

    /// Applies at most `max` committed transactions. True: there are more.
    /// `effects.touched` grows by what the mirror has to write.
    pub fn apply(&mut self, now: Now, tree: &mut Tree, effects: &mut Effects, max: usize) -> bool {
        for _ in 0..max {
            match self.flight.front() {
                Some(f) if f.entry.header.zxid <= self.committed => {}
                _ => return false,
            }
            let f = self.flight.pop_front().expect("front was there");
            self.apply_one(now, f, tree, effects);
        }
        self.flight.front().is_some_and(|f| f.entry.header.zxid <= self.committed)
    }

    fn apply_one(&mut self, now: Now, f: InFlight, tree: &mut Tree, effects: &mut Effects) {
        let h = f.entry.header;
        let result = tree.apply(&f.entry, effects);
        self.prep.applied(h.zxid);
        self.stats.applied += 1;
        self.outputs.extend(effects.fired.drain(..).map(Output::Event));
        if self.last_write.get(&h.session) == Some(&h.zxid) {
            self.last_write.remove(&h.session);
        }
        match h.op {
            OpCode::CreateSession => self.session_created(now, &f, h.session),
            OpCode::CloseSession => self.session_closed(&f, h.session, h.cxid, h.zxid),
            _ => {
                if let Some(conn) = f.asker {
                    reply::applied(&mut self.buffer, h.cxid, h.zxid, f.op, &result);
                    self.reply(conn, Vec::new(), false);
                }
            }
        }
        for read in f.waiting {
            self.run_read(read, tree);
        }
    }

    fn session_created(&mut self, now: Now, f: &InFlight, session: SessionId) {
        // The time that the log took is not the client's.
        self.sessions.touch(session, now.mono);
        let timeout = self.sessions.get(session).map(|s| s.timeout);
        if let (Some(conn), Some(timeout)) = (f.asker, timeout) {
            self.outputs.push(Output::Session { conn, session, timeout });
        }
    }

    fn session_closed(&mut self, f: &InFlight, session: SessionId, cxid: Xid, zxid: Zxid) {
        let live = self.sessions.remove(session);
        if let Some(conn) = f.asker {
            reply::error(&mut self.buffer, cxid, zxid, ErrorCode::Ok);
            self.reply(conn, Vec::new(), true);
        }
        // Whoever else speaks for the session has nothing to say any more.
        if let Some(conn) = live.and_then(|s| s.conn).filter(|c| Some(*c) != f.asker) {
            self.outputs.push(Output::Close { conn });
        }
    }

    fn reply(&mut self, conn: ConnId, watches: Vec<(WatchKind, String)>, close: bool) {
        let frames = self.buffer.split().freeze();
        self.outputs.push(Output::Reply { conn, frames, watches, close });
    }

    fn run_read(&mut self, read: WaitingRead, tree: &Tree) {
        let WaitingRead { conn, session, header, body, ids } = read;
        let zxid = tree.last_zxid();
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
            let (xid, path) = (header.xid, path.into_owned());
            return self.outputs.push(Output::WatchQuery { conn, xid, zxid, kind, path, remove });
        }
        let ctx = ReadContext { tree, policy: &self.config.policy, ids: &ids, session };
        let mut collected = Collected::default();
        read::answer(&ctx, header.xid, op, &body, &mut collected, &mut self.buffer);
        self.reply(conn, collected.0, false);
    }

    /// When to call [`Pipeline::tick`] at the latest, monotonic ms.
    pub fn deadline(&self) -> Option<u64> {
        let reap = if self.reap.is_empty() { self.next_check } else { self.next_reap };
        Some(self.sessions.deadline().map_or(reap, |s| s.min(reap)))
    }

    /// Sessions that would expire now: tell when they were last heard of.
    pub fn due_sessions(&self, now: u64) -> Vec<SessionId> {
        self.sessions.due(now)
    }

    /// The session was heard of at `heard_at`, monotonic ms.
    pub fn touch(&mut self, session: SessionId, heard_at: u64) {
        self.sessions.touch(session, heard_at);
    }

    /// Ends sessions whose time is over and reaps containers.
    pub fn tick(&mut self, now: Now, tree: &Tree) {
        for session in self.sessions.expire(now.mono) {
            tracing::info!(%session, "session expired");
            self.stats.expired += 1;
            let who = Asker { session, cxid: Xid(0), ids: &[] };
            self.propose(now, tree, who, Ok(&WriteRequest::CloseSession), None);
            self.sessions.set_closing(session);
        }
        if now.mono >= self.next_check {
            self.next_check = now.mono + self.config.container_check_ms.max(1);
            let never_used = self.config.container_max_never_used_ms;
            self.reap = tree.reap_candidates(now.wall, never_used).into();
        }
        // Spread over the minute. ref: ContainerManager.checkContainers.
        let gap = 60_000 / u64::from(self.config.container_max_per_minute.max(1));
        while now.mono >= self.next_reap
            && let Some(path) = self.reap.pop_front()
        {
            self.next_reap = self.next_reap.max(now.mono.saturating_sub(1000)) + gap.max(1);
            self.stats.reaped += 1;
            let who = Asker { session: SessionId::NONE, cxid: Xid(0), ids: &[] };
            self.propose(now, tree, who, Ok(&WriteRequest::DeleteContainer { path }), None);
        }
    }
}

/// Watches of a read that runs away from its connection.
#[derive(Default)]
struct Collected(Vec<(WatchKind, String)>);

impl Watches for Collected {
    fn add(&mut self, kind: WatchKind, path: &str) {
        self.0.push((kind, path.to_owned()));
    }
    fn contains(&mut self, _: WatcherKind, _: &str) -> bool {
        unreachable!("asked of the connection's own thread")
    }
    fn remove(&mut self, _: WatcherKind, _: &str) -> bool {
        unreachable!("asked of the connection's own thread")
    }
}
