//! Sessions that only this member knows, and what is served without a leader.
//!
//! With `localSessionsEnabled` a new session is one entry in this member's table and no
//! transaction. It may do everything but own ephemeral nodes. Its first ephemeral node makes
//! it known to all members: a createSession with its number goes before the create on the
//! same way, so it is committed before. From then on it is like any other session.
//! Without a quorum, with `readonlymode.enabled`, a member answers reads for such sessions,
//! and they end when there is a leader.
//! ref: UpgradeableSessionTracker, QuorumZooKeeperServer, ReadOnlyZooKeeperServer.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use zk_proto::client::{CreateMode, RequestHeader, WriteRequest};
use zk_proto::{ErrorCode, OpCode, SessionId, Xid, Zxid};
use zk_tree::Tree;

use crate::pipeline::{Pipeline, State, WaitingRead};
use crate::prep::Ephemerals;
use crate::{ConnId, Input, Now, Output, reply};

/// What has to happen to a session before its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// Nothing.
    No,
    /// It becomes one that all members know, with this time-out in ms.
    Yes(i32),
    /// It would have to become one, but may not.
    Refused,
}

impl Upgrade {
    pub(crate) fn ephemerals(self) -> Ephemerals {
        match self {
            Self::No | Self::Yes(_) => Ephemerals::Allowed,
            Self::Refused => Ephemerals::Local,
        }
    }
}

/// How many ended sessions are remembered: more than end within the time that a learner
/// may lag behind.
const ENDED: usize = 1 << 16;

/// The last sessions that have ended. What is still asked for them through a learner that
/// has not heard of their end must not pass for a request of a learner's local session. Who
/// begins to learn has heard of all ends before.
///
/// differs: Java lets such a write pass.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    order: VecDeque<SessionId>,
    ids: HashSet<SessionId>,
}

impl Ended {
    pub(crate) fn insert(&mut self, session: SessionId) {
        if self.ids.insert(session) {
            self.order.push_back(session);
        }
        if self.order.len() > ENDED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.ids.contains(&session)
    }
}

impl Pipeline {
    /// Starts a session that no other member knows.
    pub(crate) fn open_local(&mut self, now: Now, conn: ConnId, timeout: i32) {
        let session = self.sessions.allocate();
        self.sessions.add_local(session, timeout, now.mono);
        self.take_over(session, conn);
    }

    /// ref: QuorumZooKeeperServer.checkUpgradeSession.
    pub(crate) fn upgrade(&mut self, session: SessionId, request: Option<&WriteRequest>) -> Upgrade {
        if !self.sessions.is_local(session) || !request.is_some_and(wants_ephemeral) {
            return Upgrade::No;
        }
        if !self.config.local_upgrading {
            return Upgrade::Refused;
        }
        match self.sessions.upgrade(session) {
            Some(timeout) => {
                tracing::info!(%session, "local session becomes known to all members");
                Upgrade::Yes(timeout)
            }
            None => Upgrade::No,
        }
    }

    /// The end of a local session is no transaction: it takes its turn like a read.
    /// ref: CommitProcessor.needCommit.
    pub(crate) fn as_local_close(&mut self, input: Input) -> Input {
        match input {
            Input::Write { conn, session, xid, request: Ok(WriteRequest::CloseSession), ids }
                if self.sessions.is_local(session) =>
            {
                let header = RequestHeader { xid, op: OpCode::CloseSession.to_i32() };
                Input::Read { conn, session, header, body: Bytes::new(), ids }
            }
            input => input,
        }
    }

    /// The turn of a local session's end has come.
    pub(crate) fn close_local_session(&mut self, read: &WaitingRead, zxid: Zxid) {
        self.sessions.remove(read.session);
        reply::error(&mut self.buffer, read.header.xid, zxid, ErrorCode::Ok);
        self.reply(read.conn, Vec::new(), true);
    }

    /// Nothing was heard of a local session for too long.
    pub(crate) fn expire_local(&mut self, session: SessionId) {
        if let Some(conn) = self.sessions.remove(session).and_then(|s| s.conn) {
            self.close(conn);
        }
    }

    /// Serves reads without a leader, to clients that have said that they take it. Who was
    /// connected is closed, and local sessions end. ref: ReadOnlyZooKeeperServer.
    ///
    /// # Panics
    /// If it has a role, or something committed is not applied.
    pub fn serve_read_only(&mut self, now: Now, tree: &Tree) {
        let all = self.sessions.connections();
        self.sessions.detach(&all);
        for conn in all {
            self.close(conn);
        }
        self.sessions.forget_local();
        self.begin(tree, now, false);
        self.state = State::ReadOnly;
    }

    pub(crate) fn read_only_input(&mut self, now: Now, input: Input, tree: &Tree) {
        match input {
            Input::Connect { conn, session, timeout, read_only } => match session {
                _ if !read_only => self.outputs.push(Output::Close { conn }),
                SessionId::NONE if self.config.local_sessions => self.open_local(now, conn, timeout),
                // differs: Java answers with a reply that no client takes for an answer.
                SessionId::NONE => self.outputs.push(Output::Close { conn }),
                session if self.sessions.is_local(session) && self.sessions.touch(session, now.mono) => {
                    self.take_over(session, conn);
                }
                session if !self.has_ended(session) => self.outputs.push(Output::Close { conn }),
                _ => self.outputs.push(Output::Refused { conn }),
            },
            Input::Write { conn, session, xid, .. } => self.not_read_only(now, conn, session, xid, tree),
            Input::Read { conn, session, header, body, ids } => {
                let op = OpCode::from_i32(header.op);
                if op != Some(OpCode::CloseSession)
                    && op.is_some_and(|op| op == OpCode::Sync || op.is_write())
                {
                    return self.not_read_only(now, conn, session, header.xid, tree);
                }
                if !self.sessions.touch(session, now.mono) {
                    self.stats.dropped += 1;
                    return;
                }
                self.run_read(WaitingRead { conn, session, header, body, ids }, tree);
            }
            Input::Disconnected { .. } => unreachable!("taken in every role"),
        }
    }

    /// Whether a session that is not served here lives nowhere else either.
    ///
    /// differs: Java says so of all that it does not know. Those of other members may have
    /// begun where there is a quorum.
    fn has_ended(&self, session: SessionId) -> bool {
        let own = session.server() == self.config.first_session.server();
        own && self.sessions.get(session).is_none()
    }

    /// ref: ReadOnlyRequestProcessor.sendErrorResponse.
    fn not_read_only(&mut self, now: Now, conn: ConnId, session: SessionId, xid: Xid, tree: &Tree) {
        if !self.sessions.touch(session, now.mono) {
            self.stats.dropped += 1;
            return;
        }
        reply::error(&mut self.buffer, xid, tree.last_zxid(), ErrorCode::NotReadOnly);
        self.reply(conn, Vec::new(), false);
    }
}

/// Only these three can: other creates make nodes that outlive their session.
fn wants_ephemeral(request: &WriteRequest) -> bool {
    match request {
        WriteRequest::Create(c) => {
            matches!(c.op, OpCode::Create | OpCode::Create2)
                && CreateMode::from_flags(c.flags).is_some_and(CreateMode::is_ephemeral)
        }
        WriteRequest::Multi(parts) => parts.iter().any(wants_ephemeral),
        _ => false,
    }
}
