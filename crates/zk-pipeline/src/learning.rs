//! The learner's side: writes go to the leader and come back as transactions.
//!
//! Each session has a line of what waits. A committed transaction with the
//! session and the number of the line's first write is its answer; then the
//! reads behind it run, before anything later is applied. A sync is forwarded
//! as well and leaves the line when the leader has answered it and everything
//! committed before the answer is applied.
//! ref: FollowerRequestProcessor, CommitProcessor, Learner; zab.md 6, 7, 9.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use jute::Writer;
use zk_proto::client::WriteRequest;
use zk_proto::quorum::packet::{Forwarded, Touch};
use zk_proto::txn::{LogEntry, TxnHeader};
use zk_proto::{OpCode, SessionId, Xid, Zxid};
use zk_tree::{Places, Tree};

use crate::auth::Identities;
use crate::local::Upgrade;
use crate::pipeline::{Asked, InFlight, Pipeline, State, WaitingRead};
use crate::{ConnId, Input, Now, Output};

/// What a learner waits for.
#[derive(Debug, Default)]
pub(crate) struct Learner {
    lines: HashMap<SessionId, VecDeque<Waiting>>,
    /// How many stand in the lines.
    waiting: usize,
    /// Syncs that the leader has not answered, oldest first. One whose session
    /// has ended is answered all the same.
    syncs: VecDeque<(SessionId, u64)>,
    /// Number of the next sync.
    next_sync: u64,
    /// Syncs that the leader has answered, and what must be applied before.
    released: VecDeque<(SessionId, Zxid)>,
    /// Who waits for the leader's word on a session, in the order of asking.
    revalidating: HashMap<SessionId, VecDeque<Connecting>>,
    touched: BTreeSet<SessionId>,
}

#[derive(Debug)]
enum Waiting {
    Write { cxid: Xid, asked: Asked },
    Sync { number: u64, released: Option<Zxid>, read: WaitingRead },
    Read(WaitingRead),
}

/// A client that goes on with a session.
#[derive(Debug)]
struct Connecting {
    conn: ConnId,
    timeout: i32,
}

impl Learner {
    /// How many requests are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    fn push(&mut self, session: SessionId, waiting: Waiting) {
        self.lines.entry(session).or_default().push_back(waiting);
        self.waiting += 1;
    }

    /// The write that a transaction answers. Its kind is compared as well: the
    /// leader's own closeSession has number 0, which a client may use.
    pub(crate) fn answered(&mut self, h: &TxnHeader) -> Option<Asked> {
        let line = self.lines.get_mut(&h.session)?;
        match line.front() {
            Some(&Waiting::Write { cxid, asked })
                if cxid == h.cxid && (h.op == asked.op || h.op == OpCode::Error) =>
            {
                line.pop_front();
                self.waiting -= 1;
                Some(asked)
            }
            _ => None,
        }
    }

    /// The first of the line if it is a read whose turn has come. `next` is the
    /// first transaction that is not applied.
    pub(crate) fn next_read(&mut self, session: SessionId, next: Option<Zxid>) -> Option<WaitingRead> {
        let line = self.lines.get_mut(&session)?;
        let ready = match line.front() {
            None => {
                self.lines.remove(&session);
                return None;
            }
            Some(Waiting::Write { .. }) => false,
            Some(Waiting::Sync { released, .. }) => released.is_some_and(|upto| reached(upto, next)),
            Some(Waiting::Read(_)) => true,
        };
        if !ready {
            return None;
        }
        self.waiting -= 1;
        match line.pop_front() {
            Some(Waiting::Sync { read, .. } | Waiting::Read(read)) => Some(read),
            _ => unreachable!("a write is never ready"),
        }
    }

    /// Whether the oldest answered sync may leave its line.
    pub(crate) fn is_settled(&self, next: Option<Zxid>) -> bool {
        self.released.front().is_some_and(|(_, upto)| reached(*upto, next))
    }

    /// The leader has answered the oldest sync, when `upto` was committed.
    fn release(&mut self, upto: Zxid) {
        let Some((session, number)) = self.syncs.pop_front() else {
            return tracing::warn!("the leader answers a sync that nobody waits for");
        };
        let line = self.lines.get_mut(&session).into_iter().flatten();
        for waiting in line {
            if let Waiting::Sync { number: n, released, .. } = waiting
                && *n == number
            {
                *released = Some(upto);
                self.released.push_back((session, upto));
                return;
            }
        }
    }

    /// A session whose oldest answered sync may leave its line.
    pub(crate) fn settled(&mut self, next: Option<Zxid>) -> Option<SessionId> {
        let &(session, upto) = self.released.front()?;
        if !reached(upto, next) {
            return None;
        }
        self.released.pop_front();
        Some(session)
    }

    /// The session has ended; gives who waited for it.
    pub(crate) fn forget(&mut self, session: SessionId) -> BTreeSet<ConnId> {
        let line = self.lines.remove(&session).unwrap_or_default();
        self.waiting -= line.len();
        line.iter().map(Waiting::conn).collect()
    }

    /// Who will not be answered any more, those that have a session and those
    /// that wait for one.
    pub(crate) fn unsettled(&self) -> (BTreeSet<ConnId>, BTreeSet<ConnId>) {
        let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
        for w in self.lines.values().flatten() {
            match w {
                Waiting::Write { asked: Asked { conn, op: OpCode::CreateSession, .. }, .. } => {
                    without.insert(*conn)
                }
                w => with.insert(w.conn()),
            };
        }
        without.extend(self.revalidating.values().flatten().map(|c| c.conn));
        (with, without)
    }
}

impl Waiting {
    fn conn(&self) -> ConnId {
        match self {
            Self::Write { asked, .. } => asked.conn,
            Self::Sync { read, .. } | Self::Read(read) => read.conn,
        }
    }
}

fn reached(upto: Zxid, next: Option<Zxid>) -> bool {
    next.is_none_or(|next| next > upto)
}

impl Pipeline {
    /// Serves as a learner: its state is the leader's, up to what
    /// [`Pipeline::commit_learned`] will bring. ref: Follower, Observer.
    ///
    /// # Panics
    /// If it has a role, or something committed is not applied.
    pub fn learn(&mut self, now: Now, tree: &Tree) {
        self.begin(tree, now, false);
        self.committed = tree.last_zxid();
        self.state = State::Learner(Box::default());
    }

    fn learner(&mut self) -> Option<&mut Learner> {
        match &mut self.state {
            State::Learner(l) => Some(l),
            _ => None,
        }
    }

    pub(crate) fn learn_input(&mut self, now: Now, input: Input, tree: &Tree) {
        match input {
            Input::Connect { conn, session: SessionId::NONE, timeout, .. } => {
                match self.config.local_sessions {
                    true => self.open_local(now, conn, timeout),
                    false => self.ask_session(conn, timeout),
                }
            }
            // ref: LearnerZooKeeperServer.revalidateSession.
            Input::Connect { conn, session, .. } if self.sessions.is_local(session) => {
                match self.sessions.touch(session, now.mono) {
                    true => self.take_over(session, conn),
                    false => self.outputs.push(Output::Refused { conn }),
                }
            }
            Input::Connect { conn, session, timeout, .. } => {
                // The leader may take what comes from here as of the new connection from now on.
                let old = self.sessions.open(session).and_then(|s| s.conn.take());
                if let Some(old) = old.filter(|old| *old != conn) {
                    self.close(old);
                }
                let timeout = self.sessions.get(session).map_or(timeout, |s| s.timeout);
                if let Some(l) = self.learner() {
                    l.revalidating.entry(session).or_default().push_back(Connecting { conn, timeout });
                }
                self.outputs.push(Output::Revalidate { session, timeout });
            }
            Input::Write { conn, session, xid, request, ids } => {
                if !self.speaks(now, session) {
                    return;
                }
                let op = request.as_ref().map_or(OpCode::Multi, WriteRequest::op);
                let upgrade = self.upgrade(session, request.as_ref().ok());
                if let Upgrade::Yes(timeout) = upgrade {
                    // Nobody waits for it: the create behind it has the answer.
                    let body = encode(&WriteRequest::CreateSession { timeout });
                    self.forward(session, Xid(0), OpCode::CreateSession, body, None);
                }
                // No bytes are a multi that does not decode, like those that came.
                let body = request.map_or(Bytes::new(), |request| encode(&request));
                let refused = upgrade == Upgrade::Refused;
                self.wait(session, Waiting::Write { cxid: xid, asked: Asked { conn, op, refused } });
                self.forward(session, xid, op, body, Some(&ids));
                if op == OpCode::CloseSession {
                    self.sessions.set_closing(session);
                }
            }
            Input::Read { conn, session, header, body, ids } => {
                let read = WaitingRead { conn, session, header, body, ids };
                self.learn_read(now, read, tree);
            }
            Input::Disconnected { .. } => unreachable!("taken in every role"),
        }
    }

    fn learn_read(&mut self, now: Now, read: WaitingRead, tree: &Tree) {
        let session = read.session;
        if !self.speaks(now, session) {
            return;
        }
        if read.is_close() {
            self.sessions.set_closing(session);
        }
        if !read.is_sync() {
            if self.learner().is_some_and(|l| l.lines.contains_key(&session)) {
                return self.wait(session, Waiting::Read(read));
            }
            return self.run_read(read, tree);
        }
        self.forward(session, read.header.xid, OpCode::Sync, read.body.clone(), Some(&read.ids));
        let Some(l) = self.learner() else { return };
        let number = l.next_sync;
        l.next_sync += 1;
        l.syncs.push_back((session, number));
        l.push(session, Waiting::Sync { number, released: None, read });
    }

    fn wait(&mut self, session: SessionId, waiting: Waiting) {
        if let Some(l) = self.learner() {
            l.push(session, waiting);
        }
    }

    /// Whether the session takes requests.
    fn speaks(&mut self, now: Now, session: SessionId) -> bool {
        let open = self.sessions.touch(session, now.mono);
        if open {
            self.heard(session);
        } else {
            self.stats.dropped += 1;
        }
        open
    }

    /// The number of the session is given here, and the leader keeps to it.
    fn ask_session(&mut self, conn: ConnId, timeout: i32) {
        let session = self.sessions.allocate();
        self.sessions.add(session, timeout, 0);
        self.sessions.open(session).expect("session was just added").conn = Some(conn);
        let asked = Asked { conn, op: OpCode::CreateSession, refused: false };
        self.wait(session, Waiting::Write { cxid: Xid(0), asked });
        let body = encode(&WriteRequest::CreateSession { timeout });
        self.forward(session, Xid(0), OpCode::CreateSession, body, None);
    }

    fn forward(&mut self, session: SessionId, cxid: Xid, op: OpCode, body: Bytes, ids: Option<&Identities>) {
        let ids = ids.map(|ids| ids.to_vec());
        self.stats.forwarded += 1;
        self.outputs.push(Output::Forward(Forwarded { session, cxid, op, body, ids }));
    }

    /// A transaction came into the tree past this pipeline, while it had no role:
    /// a client of ours that has asked for it has gone elsewhere, and what its old
    /// connection still brings must not come behind it.
    pub fn applied_elsewhere(&mut self, h: &TxnHeader) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        if let Some(conn) = self.sessions.open(h.session).and_then(|s| s.conn.take()) {
            self.close(conn);
        }
    }

    /// The next transaction is committed. [`Pipeline::apply`] applies it.
    ///
    /// Before a role has begun it is what the role begins with.
    ///
    /// # Panics
    /// If the order is broken, or this is a leader.
    pub fn commit_learned(&mut self, entry: LogEntry) {
        assert!(!matches!(self.state, State::Leader(_)), "a leader commits what it has proposed");
        let (zxid, op) = (entry.header.zxid, entry.header.op);
        let last = self.flight.back().map_or(Zxid(i64::MIN), |f| f.entry.header.zxid);
        assert!(zxid > last, "commits go forward: {zxid} after {last}");
        // The state may contain it already, when it came as a snapshot.
        self.committed = self.committed.max(zxid);
        let places = Places::default();
        self.flight.push_back(InFlight { entry, places, asker: None, op, waiting: Vec::new() });
    }

    /// The leader's answer on a session: the oldest of those who wait for it gets it.
    pub fn revalidated(&mut self, session: SessionId, valid: bool) {
        let Some(l) = self.learner() else { return };
        let Some(line) = l.revalidating.get_mut(&session) else {
            return tracing::warn!(%session, "the leader answers for a session that nobody waits for");
        };
        let oldest = line.pop_front();
        if line.is_empty() {
            l.revalidating.remove(&session);
        }
        match oldest {
            Some(c) if valid => self.reopen(c.conn, session, c.timeout),
            Some(c) => self.outputs.push(Output::Refused { conn: c.conn }),
            None => {}
        }
    }

    fn reopen(&mut self, conn: ConnId, session: SessionId, timeout: i32) {
        // The leader may be ahead of what is applied here.
        if self.sessions.get(session).is_none() {
            self.sessions.add(session, timeout, 0);
        }
        if self.sessions.open(session).is_none() {
            return self.outputs.push(Output::Refused { conn });
        }
        self.take_over(session, conn);
        self.heard(session);
    }

    /// The leader has answered the oldest sync. The client is answered by
    /// [`Pipeline::apply`], when everything committed until now is applied.
    pub fn synced(&mut self) {
        let upto = self.flight.back().map_or(Zxid(i64::MIN), |f| f.entry.header.zxid);
        if let Some(l) = self.learner() {
            l.release(upto);
        }
    }

    /// A client of ours was heard of: the leader is told with the next PING.
    pub fn heard(&mut self, session: SessionId) {
        if let Some(l) = self.learner() {
            l.touched.insert(session);
        }
    }

    /// The sessions that were heard of since the last call, for the answer to a PING.
    pub fn take_touched(&mut self, tree: &Tree) -> Vec<Touch> {
        let touched = self.learner().map(|l| std::mem::take(&mut l.touched)).unwrap_or_default();
        let timeout = |session| Some(Touch { session, timeout: tree.session_timeout(session)? });
        touched.into_iter().filter_map(timeout).collect()
    }

    /// Syncs whose time has come leave their lines, and what waited behind them.
    pub(crate) fn settle_syncs(&mut self, tree: &Tree) {
        let next = self.flight.front().map(|f| f.entry.header.zxid);
        while let Some(session) = self.learner().and_then(|l| l.settled(next)) {
            self.run_line(session, tree);
        }
    }

    /// Runs the reads at the front of a session's line.
    pub(crate) fn run_line(&mut self, session: SessionId, tree: &Tree) {
        let next = self.flight.front().map(|f| f.entry.header.zxid);
        while let Some(read) = self.learner().and_then(|l| l.next_read(session, next)) {
            if !self.closed.contains(&read.conn) {
                self.run_read(read, tree);
            }
        }
    }
}

fn encode(request: &WriteRequest) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut Writer::new(&mut body));
    body.freeze()
}
