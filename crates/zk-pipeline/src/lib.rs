//! Sessions and the path of a request, without IO.
//!
//! [`Pipeline`] is the part of a member that one thread owns: it keeps the
//! sessions, prepares transactions, and applies them once they are committed.
//! [`read`] answers what changes nothing; it runs on the connections' own
//! threads and, for a read that has to wait for a write, inside the pipeline.
//!
//! What is not here: sockets, files, clocks, threads, and who orders the log.
//! A stand-alone server reports its own log as the quorum; an ensemble puts its
//! acks between `Output::Append` and [`Pipeline::committed`].
//!
//! A member has a [`Role`]. A stand-alone server leads from its start and for
//! ever. A member of an ensemble begins without a role and goes from one to the
//! next, while its clients may stay connected.
//!
//! Modules in reading order: [`auth`] (who may do what), [`session`] (when a
//! session ends), [`prep`] (request to transaction, on top of the tree and of what is in flight, `overlay`), [`pipeline`] (roles, order,
//! commit, apply), [`leading`], [`learning`], [`local`] (sessions of one member),
//! [`reconfig`], [`read`], [`reply`].
//!
//! # The host's duties
//! In this order, for each round of the thread that owns the pipeline:
//! 1. [`Pipeline::handle`] for each input, with the tree for reading;
//! 2. hand every `Output::Append` to the log; everything else of
//!    [`Pipeline::take_outputs`] to the connections' threads;
//! 3. when the log is durable up to a zxid, [`Pipeline::committed`], then under
//!    the tree's write lock [`Pipeline::apply`] until it returns false. The
//!    outputs of `apply` reach the connections' threads *before* the lock is
//!    released: a thread that reads the new state then has its events in front.
//! 4. at [`Pipeline::deadline`]: for each of [`Pipeline::due_sessions`] tell with
//!    [`Pipeline::touch`] when it was last heard of, then [`Pipeline::tick`].
//!
//! In an ensemble besides:
//! - A sync must come here as `Input::Read` even if nothing of its connection is
//!   waiting: a connection's own thread cannot answer it.
//! - Before a leader hands in a client's reconfig, or a learner's, it tells with
//!   [`Pipeline::set_ensemble`] how the ensemble stands.
//! - A leader gives the requests of its learners to [`Pipeline::forwarded`], but
//!   not their syncs: the answer to one is sent behind the commit of what was
//!   [`Pipeline::last_proposed`] when it came, at once if that is committed.
//! - A learner gives what is committed to [`Pipeline::commit_learned`] and the
//!   leader's answers to [`Pipeline::revalidated`] and [`Pipeline::synced`], in
//!   the order in which they came, then calls [`Pipeline::apply`] as above.
//!   [`Pipeline::heard`] stands for [`Pipeline::touch`].
//! - Before [`Pipeline::stand_down`] everything committed is applied.
//! - Without a role, client inputs wait at the host, in their order; those of a
//!   connection that goes are dropped. The header of each transaction that the
//!   host applies itself goes to [`Pipeline::applied_elsewhere`].

pub mod auth;
pub mod leading;
pub mod learning;
pub mod local;
mod overlay;
pub mod pipeline;
pub mod prep;
pub mod read;
pub mod reconfig;
pub mod reply;
pub mod session;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zk_proto::client::{RequestHeader, WatcherKind, WriteRequest};
use zk_proto::quorum::packet::Forwarded;
use zk_proto::txn::LogEntry;
use zk_proto::{OpCode, SessionId, Xid, Zxid};
use zk_tree::watch::{Place, WatchKind};
use zk_tree::{Fired, NodeId, TxnResult};

pub use auth::{AuthPolicy, Identities};
pub use pipeline::{Pipeline, PipelineConfig, PipelineStats};

/// A connection as the shell numbers it. Never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// A learner as the host of the leader numbers it: by its connection, or by its id
/// if the host takes nothing more from an old connection once there is a new one.
/// Then sessions whose clients stayed connected to the learner can go on to write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkRef(pub u64);

/// What a member does with its clients' requests.
///
/// ```text
///            lead               learn
///  Leader <-------- Idle ------------> Learner
///         -------->  |   <------------
///        stand_down  |      stand_down
///                    +---> ReadOnly
///                    <---
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It looks for a leader and takes nothing.
    Idle,
    /// It prepares transactions, for learners as well. A stand-alone server, too.
    Leader,
    /// It forwards writes and applies what its leader has committed: a follower
    /// or an observer.
    Learner,
    /// It has no leader and answers reads of clients that take that.
    ReadOnly,
}

/// Both clocks, read once a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Monotonic ms since any origin: for timers.
    pub mono: u64,
    /// Wall-clock ms since 1970: for ctime and mtime.
    pub wall: i64,
}

/// What the connections' threads tell the pipeline. Inputs of one connection
/// come in the order of its requests.
#[derive(Debug)]
pub enum Input {
    /// A connect request that passed the local checks (client not ahead,
    /// password right). Answered with `Output::Session` or `Output::Refused`.
    Connect {
        /// Who.
        conn: ConnId,
        /// The session to go on with, `SessionId::NONE` for a new one.
        session: SessionId,
        /// Negotiated time-out in ms.
        timeout: i32,
        /// Whether the client takes a server that answers reads only.
        read_only: bool,
    },
    /// A write.
    Write {
        /// Who.
        conn: ConnId,
        /// Its session.
        session: SessionId,
        /// The client's number for it.
        xid: Xid,
        /// What. `Err`: the body of a multi that does not decode; it becomes an
        /// error transaction (-5) as in Java. Other undecodable writes are sent as `Read`.
        request: Result<WriteRequest, zk_proto::DecodeError>,
        /// On whose behalf.
        ids: Identities,
    },
    /// Anything else of a connection that has requests here which are not
    /// answered yet. It is run, or refused with -5, when its turn comes.
    Read {
        /// Who.
        conn: ConnId,
        /// Its session.
        session: SessionId,
        /// Number and opcode.
        header: RequestHeader,
        /// The frame behind the header.
        body: Bytes,
        /// On whose behalf.
        ids: Identities,
    },
    /// The connection is gone; its session may come back.
    Disconnected {
        /// Which.
        conn: ConnId,
        /// Its session.
        session: SessionId,
    },
}

/// What the pipeline wants done.
#[derive(Debug)]
pub enum Output {
    /// To be made durable. Comes in zxid order.
    Append(LogRecord),
    /// To the leader, as a REQUEST. Learners only.
    Forward(Forwarded),
    /// To the leader, as a REVALIDATE, in the order of these two outputs.
    /// Learners only.
    Revalidate {
        /// Which session.
        session: SessionId,
        /// Its time-out in ms.
        timeout: i32,
    },
    /// The session is live: send a `ConnectResponse` with its time-out.
    Session {
        /// To whom.
        conn: ConnId,
        /// Which session.
        session: SessionId,
        /// Its time-out in ms.
        timeout: i32,
        /// Whether only reads are answered.
        read_only: bool,
    },
    /// The session is unknown or has ended: send the refusal, then close.
    Refused {
        /// To whom.
        conn: ConnId,
    },
    /// A watch event for whoever watches. It stands before the reply of the
    /// transaction that fired it.
    Event(Fired),
    /// A reply, length included. One reply answers one `Write` or `Read`.
    Reply {
        /// To whom.
        conn: ConnId,
        /// The frames: the reply, before it events of setWatches.
        frames: Bytes,
        /// Watches that the request sets. The host counts them as wanted when
        /// it routes this output, and sets them when the connection gets it.
        watches: Vec<Watch>,
        /// Whether the connection is closed behind it.
        close: bool,
    },
    /// A write was applied. Counts as a reply, whose frame is [`Applied::encode`]'s to make.
    Applied(Box<Applied>),
    /// checkWatches or removeWatches whose turn has come: the connection's
    /// thread knows the answer. Counts as a reply.
    WatchQuery {
        /// To whom.
        conn: ConnId,
        /// The request's number.
        xid: Xid,
        /// For the reply's header.
        zxid: Zxid,
        /// Which kind.
        kind: WatcherKind,
        /// Which path.
        path: String,
        /// The node there.
        node: Option<NodeId>,
        /// Whether to remove, not only to look.
        remove: bool,
    },
    /// Close without a word.
    Close {
        /// Whom.
        conn: ConnId,
    },
}

/// A write of a connection with what came of it. Whoever has the connection makes the reply of it and lets go of it:
/// the request's memory came from there, and the thread that owns the pipeline has enough to do.
#[derive(Debug)]
pub struct Applied {
    /// Who asked.
    pub conn: ConnId,
    /// For what.
    op: OpCode,
    entry: LogEntry,
    result: TxnResult,
}

impl Applied {
    /// Appends the reply, length included.
    pub fn encode(&self, out: &mut BytesMut) {
        let h = &self.entry.header;
        reply::applied(out, h.cxid, h.zxid, self.op, &self.result);
    }
}

/// A watch that a read sets away from its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Which kind.
    pub kind: WatchKind,
    /// Which path.
    pub path: String,
    /// The node there, when the read ran.
    pub node: Option<NodeId>,
}

impl Watch {
    /// What it is set on.
    pub fn place(&self) -> Place<'_> {
        Place { path: &self.path, node: self.node }
    }
}

/// A transaction on its way to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place.
    pub zxid: Zxid,
    /// Header, record and digest as they are logged and sent.
    pub bytes: Bytes,
}

/// Shared, immutable: a connection makes a new one when an identity is added.
pub type SharedIds = Arc<[zk_proto::AuthId]>;
