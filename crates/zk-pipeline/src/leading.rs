//! The leader's side: requests of its own clients and of its learners become
//! proposals; sessions expire and containers are reaped.

use std::sync::Arc;

use bytes::BytesMut;
use jute::Reader;
use zk_proto::client::WriteRequest;
use zk_proto::quorum::packet::Forwarded;
use zk_proto::{AuthId, DecodeError, OpCode, SessionId, Xid, Zxid};
use zk_tree::Tree;

use crate::local::{Ended, Upgrade};
use crate::pipeline::{InFlight, Leader, Pipeline, State, WaitingRead};
use crate::prep::{Asker, Ephemerals, Prep, Prepared, RequestError};
use crate::reconfig::Ensemble;
use crate::session::{Owner, Standing};
use crate::{ConnId, Input, LinkRef, LogRecord, Now, Output};

/// The counter's last value that is proposed; the next epoch has to begin.
/// ref: Leader.propose.
const LAST_COUNTER: u32 = 0xffff_fffe;

impl Pipeline {
    /// Serves as the leader of an ensemble. `last` is the newest zxid that is
    /// taken: the start of the new epoch. Every session gets its full time-out
    /// and belongs to whom is heard of first. ref: Leader.lead, LeaderSessionTracker.
    ///
    /// # Panics
    /// If it has a role, or something committed is not applied.
    pub fn lead(&mut self, now: Now, tree: &Tree, last: Zxid) {
        self.begin(tree, now, true);
        let prep = Prep::new(self.config.clone(), tree, last);
        self.state = State::Leader(Box::new(Leader { prep, ensemble: true, ended: Ended::default() }));
        self.committed = last;
        self.next_check = now.mono + self.config.container_check_ms;
        self.reap.clear();
        self.next_reap = now.mono;
    }

    /// How the ensemble stands, for a reconfig that comes next. Without the leader's
    /// role of an ensemble it is forgotten.
    pub fn set_ensemble(&mut self, ensemble: Arc<dyn Ensemble>) {
        if let State::Leader(l) = &mut self.state
            && l.ensemble
        {
            l.prep.set_ensemble(ensemble);
        }
    }

    /// The newest zxid that was given; `None` without the leader's role.
    pub fn last_proposed(&self) -> Option<Zxid> {
        match &self.state {
            State::Leader(l) => Some(l.prep.last_zxid()),
            _ => None,
        }
    }

    /// The epoch's counter is used up. Nothing more is proposed, and the leader
    /// has to go: a new epoch must begin. Never so in a stand-alone server.
    pub fn exhausted(&self) -> bool {
        matches!(&self.state, State::Leader(l) if l.ensemble && l.prep.last_zxid().counter() >= LAST_COUNTER)
    }

    pub(crate) fn lead_input(&mut self, now: Now, input: Input, tree: &Tree) {
        match input {
            Input::Connect { conn, session, timeout, .. } => self.connect(now, conn, session, timeout, tree),
            Input::Write { conn, session, xid, request, ids } => {
                let closes = matches!(request, Ok(WriteRequest::CloseSession));
                let request = match self.admit(now, session, Owner::Local, closes) {
                    Standing::Open => request.map_err(RequestError::from),
                    Standing::Moved => Err(RequestError::SessionMoved),
                    Standing::Ended | Standing::Unknown => return self.drop_request(conn),
                };
                let op = request.as_ref().map_or(OpCode::Multi, |r| r.op());
                let upgrade = self.upgrade(session, request.as_ref().ok());
                if let Upgrade::Yes(timeout) = upgrade {
                    // It comes first in the log, so whoever has the node knows the session.
                    self.propose_own(now, tree, session, WriteRequest::CreateSession { timeout });
                }
                let who = Asker { session, cxid: xid, ids: &ids, ephemerals: upgrade.ephemerals() };
                self.propose(now, tree, who, op, request, Some(conn));
                if closes {
                    self.sessions.set_closing(session);
                }
            }
            Input::Read { conn, session, header, body, ids } => {
                if !self.sessions.touch(session, now.mono) {
                    return self.drop_request(conn);
                }
                let read = WaitingRead { conn, session, header, body, ids };
                if read.is_close() {
                    self.sessions.set_closing(session);
                }
                let behind =
                    if read.is_sync() { self.all_in_flight(session) } else { self.last_in_flight(session) };
                match behind {
                    Some(w) => w.waiting.push(read),
                    None => self.run_read(read, tree),
                }
            }
            Input::Disconnected { .. } => unreachable!("taken in every role"),
        }
    }

    /// The session is about to end, and the connection with it.
    fn drop_request(&mut self, conn: ConnId) {
        self.stats.dropped += 1;
        self.unheard.insert(conn);
    }

    /// A closeSession is not asked whence it comes: it is the last of its
    /// session. ref: PrepRequestProcessor, closeSession.
    fn admit(&mut self, now: Now, session: SessionId, owner: Owner, closes: bool) -> Standing {
        if !closes {
            return self.sessions.admit(session, now.mono, owner);
        }
        if self.sessions.touch(session, now.mono) { Standing::Open } else { Standing::Ended }
    }

    fn connect(&mut self, now: Now, conn: ConnId, session: SessionId, timeout: i32, tree: &Tree) {
        if session == SessionId::NONE {
            if self.config.local_sessions {
                return self.open_local(now, conn, timeout);
            }
            let id = self.sessions.allocate();
            self.sessions.add(id, timeout, now.mono);
            let s = self.sessions.open(id).expect("session was just added");
            (s.conn, s.owner) = (Some(conn), Some(Owner::Local));
            let who = Asker { session: id, cxid: Xid(0), ids: &[], ephemerals: Ephemerals::Allowed };
            let request = WriteRequest::CreateSession { timeout };
            return self.propose(now, tree, who, OpCode::CreateSession, Ok(request), Some(conn));
        }
        if !self.sessions.touch(session, now.mono) {
            return self.outputs.push(Output::Refused { conn });
        }
        self.take_over(session, conn);
    }

    /// A REQUEST of a learner. Whatever it is, a transaction comes out: the
    /// learner's client waits for one.
    pub fn forwarded(&mut self, now: Now, from: LinkRef, request: Forwarded, tree: &Tree) {
        if !matches!(self.state, State::Leader(_)) || request.op == OpCode::Sync {
            return tracing::debug!(op = request.op.name(), "request of a learner is not for here");
        }
        let Forwarded { session, cxid, op, body, ids } = request;
        let owner = Owner::Link(from);
        let closes = op == OpCode::CloseSession;
        let mut ephemerals = Ephemerals::Allowed;
        let decoded = match op {
            OpCode::CreateSession => Reader::new(&body)
                .int()
                .map(|timeout| WriteRequest::CreateSession { timeout })
                .map_err(RequestError::from),
            OpCode::CloseSession => Ok(WriteRequest::CloseSession),
            op => match self.admit(now, session, owner, false) {
                Standing::Open => {
                    self.close_local(session);
                    decode(op, &body)
                }
                Standing::Moved => Err(RequestError::SessionMoved),
                // It may be the learner's own.
                Standing::Unknown if self.may_be_local_elsewhere(session) => {
                    ephemerals = Ephemerals::Unknown;
                    decode(op, &body)
                }
                Standing::Ended | Standing::Unknown => Err(RequestError::SessionExpired),
            },
        };
        if let Ok(WriteRequest::CreateSession { timeout }) = decoded {
            self.created_elsewhere(now, session, timeout, owner);
        }
        let ids: Vec<AuthId> = ids.unwrap_or_default();
        let who = Asker { session, cxid, ids: &ids, ephemerals };
        self.propose(now, tree, who, op, decoded, None);
        if closes {
            self.sessions.set_closing(session);
        }
    }

    /// ref: LeaderSessionTracker.checkSession.
    fn may_be_local_elsewhere(&self, session: SessionId) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let own = session.server() == self.config.first_session.server();
        self.config.local_sessions && !own && !leader.ended.contains(session)
    }

    /// ref: PrepRequestProcessor, createSession.
    fn created_elsewhere(&mut self, now: Now, session: SessionId, timeout: i32, owner: Owner) {
        if self.sessions.get(session).is_none() {
            self.sessions.add(session, timeout, now.mono);
        }
        if let Some(s) = self.sessions.open(session) {
            s.owner = Some(owner);
        }
    }

    /// A client comes to a learner with a session. True: it lives, and it speaks
    /// through this learner from now on. ref: Leader.revalidateSession.
    ///
    /// differs: a connection here that spoke for it is closed at once, not when
    /// it asks for something next.
    pub fn revalidate(&mut self, now: Now, from: LinkRef, session: SessionId) -> bool {
        let leads = matches!(self.state, State::Leader(_));
        if !leads || self.sessions.is_local(session) || !self.sessions.touch(session, now.mono) {
            return false;
        }
        let s = self.sessions.open(session).expect("touch found it open");
        s.owner = Some(Owner::Link(from));
        self.close_local(session);
        true
    }

    /// The session speaks through a learner: a connection here is an old one.
    pub fn close_local(&mut self, session: SessionId) {
        if let Some(conn) = self.sessions.open(session).and_then(|s| s.conn.take()) {
            self.close(conn);
        }
    }

    /// A learner's PING says that the session was heard of.
    pub fn touched(&mut self, now: Now, session: SessionId, timeout: i32) {
        self.sessions.touch_for(session, now.mono, timeout);
    }

    fn propose(
        &mut self,
        now: Now,
        tree: &Tree,
        who: Asker<'_>,
        op: OpCode,
        request: Result<WriteRequest, RequestError>,
        asker: Option<ConnId>,
    ) {
        if self.exhausted() {
            return asker.into_iter().for_each(|conn| self.close(conn));
        }
        let State::Leader(leader) = &mut self.state else { unreachable!("only a leader proposes") };
        let Prepared { entry, places, error } = leader.prep.prepare(now, tree, who, request);
        for namespace in leader.prep.over_quota.drain(..) {
            *self.over_quota.entry(namespace).or_default() += 1;
        }
        if let Some(e) = error {
            tracing::debug!(session = %who.session, zxid = %entry.header.zxid, op = op.name(), "{e}");
        }
        let zxid = entry.header.zxid;
        let mut bytes = BytesMut::with_capacity(entry.encoded_len());
        entry.encode(&mut bytes);
        self.outputs.push(Output::Append(LogRecord { zxid, bytes: bytes.freeze() }));
        self.stats.proposals += 1;
        if asker.is_some() {
            self.last_write.insert(who.session, zxid);
        }
        self.flight.push_back(InFlight { entry, places, asker, op, waiting: Vec::new() });
    }

    fn last_in_flight(&mut self, session: SessionId) -> Option<&mut InFlight> {
        let zxid = *self.last_write.get(&session)?;
        let first = self.flight.front()?.entry.header.zxid;
        let at = usize::try_from(zxid.0.checked_sub(first.0)?).ok()?;
        let found = self.flight.get_mut(at)?;
        assert_eq!(found.entry.header.zxid, zxid, "writes in flight are without a gap");
        Some(found)
    }

    /// What a sync waits for, and what comes after it in its session.
    fn all_in_flight(&mut self, session: SessionId) -> Option<&mut InFlight> {
        let last = self.flight.back_mut()?;
        self.last_write.insert(session, last.entry.header.zxid);
        Some(last)
    }

    /// Ends sessions whose time is over and reaps containers. Without the leader's role only
    /// local sessions end.
    pub fn tick(&mut self, now: Now, tree: &Tree) {
        if matches!(self.state, State::Idle) {
            return;
        }
        for session in self.sessions.expire(now.mono) {
            tracing::info!(%session, "session expired");
            self.stats.expired += 1;
            if self.sessions.is_local(session) {
                self.expire_local(session);
                continue;
            }
            self.propose_own(now, tree, session, WriteRequest::CloseSession);
            self.sessions.set_closing(session);
        }
        if !matches!(self.state, State::Leader(_)) {
            return;
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
            self.propose_own(now, tree, SessionId::NONE, WriteRequest::DeleteContainer { path: path.into() });
        }
    }

    /// Nobody has asked for it.
    fn propose_own(&mut self, now: Now, tree: &Tree, session: SessionId, request: WriteRequest) {
        let who = Asker { session, cxid: Xid(0), ids: &[], ephemerals: Ephemerals::Allowed };
        self.propose(now, tree, who, request.op(), Ok(request), None);
    }
}

/// What a client may ask for. The frame's limit has passed at the learner.
fn decode(op: OpCode, body: &[u8]) -> Result<WriteRequest, RequestError> {
    if !op.is_write() || !op.from_client() {
        return Err(DecodeError::Variant(op.to_i32()).into());
    }
    Ok(WriteRequest::decode(op, &mut Reader::with_max_len(body, body.len()))?)
}
