//! What goes over a client's connection, without the length that frames it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use jute::{DecodeError, Reader, Writer};

use crate::{Acl, ErrorCode, OpCode, SessionId, Stat, Xid, Zxid};

/// First frame of a connection. ref: proto.ConnectRequest.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Clients send 0 and servers ignore it.
    pub protocol_version: i32,
    /// The newest zxid that the client has seen.
    pub last_zxid: Zxid,
    /// Session time-out that the client asks for, in ms.
    pub timeout: i32,
    /// The session to go on with, or 0 for a new one.
    pub session: SessionId,
    /// Password of that session.
    pub password: Option<Vec<u8>>,
    /// Whether the client takes a read-only server. `None`: the field is
    /// absent (clients before 3.4), and then absent from the answer as well.
    pub read_only: Option<bool>,
}

/// Without the password.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("protocol_version", &self.protocol_version)
            .field("last_zxid", &self.last_zxid)
            .field("timeout", &self.timeout)
            .field("session", &self.session)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl ConnectRequest {
    /// What asks for a new session, with its time-out in ms, as a client of today says it.
    pub fn new(timeout: i32) -> Self {
        Self {
            protocol_version: 0,
            last_zxid: Zxid::ZERO,
            timeout,
            session: SessionId::NONE,
            password: Some(vec![0; 16]),
            read_only: Some(false),
        }
    }

    /// Reads a whole frame. Bytes behind the fields are ignored.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame);
        Ok(Self {
            protocol_version: r.int()?,
            last_zxid: Zxid(r.long()?),
            timeout: r.int()?,
            session: SessionId(r.long()?),
            password: r.buffer()?.map(<[u8]>::to_vec),
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }

    /// Writes the frame's content.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        w.int(self.protocol_version);
        w.long(self.last_zxid.0);
        w.int(self.timeout);
        w.long(self.session.0);
        w.buffer(self.password.as_deref());
        if let Some(v) = self.read_only {
            w.bool(v);
        }
    }
}

/// Answer to [`ConnectRequest`]. ref: proto.ConnectResponse.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// Negotiated session time-out in ms; 0: the session is refused.
    pub timeout: i32,
    /// The session; 0 when refused.
    pub session: SessionId,
    /// Its password; zeros when refused.
    pub password: [u8; 16],
    /// Whether the server is read-only; absent if the request had no such field.
    pub read_only: Option<bool>,
}

/// Without the password.
impl fmt::Debug for ConnectResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectResponse")
            .field("protocol_version", &self.protocol_version)
            .field("timeout", &self.timeout)
            .field("session", &self.session)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl ConnectResponse {
    /// The session lives, with this time-out in ms.
    pub fn accepted(session: SessionId, timeout: i32, read_only: Option<bool>) -> Self {
        Self { protocol_version: 0, timeout, session, password: session.password(), read_only }
    }

    /// The session is unknown, has expired, or the password is wrong.
    pub fn refused(read_only: Option<bool>) -> Self {
        Self { protocol_version: 0, timeout: 0, session: SessionId::NONE, password: [0; 16], read_only }
    }

    /// Reads a whole frame.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame);
        Ok(Self {
            protocol_version: r.int()?,
            timeout: r.int()?,
            session: SessionId(r.long()?),
            password: r
                .buffer()?
                .ok_or(DecodeError::Null)?
                .try_into()
                .map_err(|_| DecodeError::Length(16))?,
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }

    /// Writes the frame's content.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        w.int(self.protocol_version);
        w.int(self.timeout);
        w.long(self.session.0);
        w.buffer(Some(&self.password));
        if let Some(v) = self.read_only {
            w.bool(v);
        }
    }
}

/// Header of every request after the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// The client's number for it.
    pub xid: Xid,
    /// The opcode's number; it may be unknown.
    pub op: i32,
}

impl RequestHeader {
    /// Bytes on the wire.
    pub const LEN: usize = 8;

    /// Reads the eight bytes.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { xid: Xid(r.int()?), op: r.int()? })
    }

    /// Writes the eight bytes.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        w.int(self.xid.0);
        w.int(self.op);
    }
}

/// Header of every reply and event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's number, or one of the special ones.
    pub xid: Xid,
    /// The newest zxid that the server has applied.
    pub zxid: Zxid,
    /// An [`ErrorCode`]'s number.
    pub err: i32,
}

impl ReplyHeader {
    /// Bytes on the wire.
    pub const LEN: usize = 16;

    /// Reads the sixteen bytes.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { xid: Xid(r.int()?), zxid: Zxid(r.long()?), err: r.int()? })
    }

    /// Writes the sixteen bytes.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        w.int(self.xid.0);
        w.long(self.zxid.0);
        w.int(self.err);
    }
}

/// What happened to a watched node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum EventType {
    /// It was created.
    NodeCreated = 1,
    /// It was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

/// Body of an event. ref: proto.WatcherEvent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatcherEvent<'a> {
    /// What happened; the server only sends 1 to 4.
    pub event: i32,
    /// State of the client's connection; a server always sends 3, SyncConnected.
    pub state: i32,
    /// The node.
    pub path: Cow<'a, str>,
}

impl<'a> WatcherEvent<'a> {
    /// State SyncConnected.
    pub const SYNC_CONNECTED: i32 = 3;

    /// An event as the server sends it.
    pub fn new(event: EventType, path: &'a str) -> Self {
        Self { event: event as i32, state: Self::SYNC_CONNECTED, path: Cow::Borrowed(path) }
    }

    /// Reads the body.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { event: r.int()?, state: r.int()?, path: r.str()? })
    }

    /// Writes the body.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        w.int(self.event);
        w.int(self.state);
        w.str(&self.path);
    }
}

/// How a node is created. ref: CreateMode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays until deleted.
    Persistent = 0,
    /// Ends with its session.
    Ephemeral = 1,
    /// Stays, and its name gets the parent's counter.
    PersistentSequential = 2,
    /// Ends with its session, and its name gets the parent's counter.
    EphemeralSequential = 3,
    /// Goes when its last child has gone.
    Container = 4,
    /// Goes when it is empty and was not set for a time.
    Ttl = 5,
    /// The same, and its name gets the parent's counter.
    TtlSequential = 6,
}

impl CreateMode {
    /// The mode with these flags. ref: CreateMode.fromFlag.
    pub fn from_flags(flags: i32) -> Option<CreateMode> {
        Some(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::Ttl,
            6 => Self::TtlSequential,
            _ => return None,
        })
    }
    /// Whether the name gets the parent's counter.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential | Self::TtlSequential)
    }
    /// Whether the node ends with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }
    /// Whether the node has a time to live.
    pub fn is_ttl(self) -> bool {
        matches!(self, Self::Ttl | Self::TtlSequential)
    }
}

/// create, create2, createContainer or createTTL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// Which of the four.
    pub op: OpCode,
    /// Where; null is possible on the wire.
    pub path: Option<Arc<str>>,
    /// The new node's data; null differs from empty.
    pub data: Option<Bytes>,
    /// Its access control list, as asked for.
    pub acl: Option<Vec<Acl>>,
    /// Number of a [`CreateMode`], unchecked.
    pub flags: i32,
    /// Time to live in ms; -1 where the opcode has no such field.
    pub ttl: i64,
}

/// A request that takes a zxid. Paths and lists are as they came: checking
/// them is part of preparing the transaction, since the order of checks shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteRequest {
    /// One of the four creates.
    Create(CreateRequest),
    /// Delete a node.
    Delete {
        /// Which node.
        path: Option<Arc<str>>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// Set a node's data.
    SetData {
        /// Which node.
        path: Option<Arc<str>>,
        /// The data; null differs from empty.
        data: Option<Bytes>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// Set a node's access control list.
    SetAcl {
        /// Which node.
        path: Option<Arc<str>>,
        /// The list as asked for.
        acl: Option<Vec<Acl>>,
        /// Expected aversion, -1 for any.
        version: i32,
    },
    /// Compare a node's version; only inside a multi.
    Check {
        /// Which node.
        path: Option<Arc<str>>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// All or nothing.
    Multi(Vec<WriteRequest>),
    /// Change the ensemble's members.
    Reconfig {
        /// Server lines to add, separated by commas.
        joining: Option<String>,
        /// Ids to remove, separated by commas.
        leaving: Option<String>,
        /// The whole new configuration.
        members: Option<String>,
        /// Version that the change is based on, -1 for any.
        base: i64,
    },
    /// End the session.
    CloseSession,
    /// Start a session; only made by servers.
    CreateSession {
        /// Negotiated time-out in ms.
        timeout: i32,
    },
    /// Remove an empty container or an aged TTL node; only made by servers.
    DeleteContainer {
        /// Which node.
        path: Arc<str>,
    },
}

fn owned<T: for<'a> From<Cow<'a, str>>>(s: Option<Cow<'_, str>>) -> Option<T> {
    s.map(T::from)
}

impl WriteRequest {
    /// The opcode of the request.
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create(c) => c.op,
            Self::Delete { .. } => OpCode::Delete,
            Self::SetData { .. } => OpCode::SetData,
            Self::SetAcl { .. } => OpCode::SetAcl,
            Self::Check { .. } => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::Reconfig { .. } => OpCode::Reconfig,
            Self::CloseSession => OpCode::CloseSession,
            Self::CreateSession { .. } => OpCode::CreateSession,
            Self::DeleteContainer { .. } => OpCode::DeleteContainer,
        }
    }

    /// Reads the body of a client's write. `op` must be a write that clients
    /// may send, or `Check` (inside a multi).
    pub fn decode(op: OpCode, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode_with(op, r, Bytes::copy_from_slice)
    }

    /// The same with data as `keep` makes it.
    fn decode_with(
        op: OpCode,
        r: &mut Reader<'_>,
        keep: impl Fn(&[u8]) -> Bytes,
    ) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Self::Create(CreateRequest {
                    op,
                    path: owned(r.string()?),
                    data: r.buffer()?.map(keep),
                    acl: Acl::read_list(r)?,
                    flags: r.int()?,
                    ttl: if op == OpCode::CreateTtl { r.long()? } else { -1 },
                })
            }
            OpCode::Delete => Self::Delete { path: owned(r.string()?), version: r.int()? },
            OpCode::SetData => {
                Self::SetData { path: owned(r.string()?), data: r.buffer()?.map(keep), version: r.int()? }
            }
            OpCode::SetAcl => {
                Self::SetAcl { path: owned(r.string()?), acl: Acl::read_list(r)?, version: r.int()? }
            }
            OpCode::Check => Self::Check { path: owned(r.string()?), version: r.int()? },
            OpCode::Multi => Self::Multi(Self::decode_multi(r)?),
            OpCode::Reconfig => Self::Reconfig {
                joining: owned(r.string()?),
                leaving: owned(r.string()?),
                members: owned(r.string()?),
                base: r.long()?,
            },
            OpCode::CloseSession => Self::CloseSession,
            other => return Err(DecodeError::Variant(other.to_i32())),
        })
    }

    /// ref: MultiOperationRecord.deserialize, Op.Create.getOpcode.
    ///
    /// A null path spoils the multi only once all of it was read. All parts share one copy of the request.
    fn decode_multi(r: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let all = Bytes::copy_from_slice(r.rest());
        let mut inside = r.over(&all);
        let ops = Self::decode_parts(&all, &mut inside);
        r.take(all.len() - inside.remaining())?;
        ops
    }

    fn decode_parts(all: &Bytes, r: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut ops = Vec::new();
        let mut late = None;
        loop {
            let h = MultiHeader::read(r)?;
            if h.done {
                return late.map_or(Ok(ops), Err);
            }
            let op = OpCode::from_i32(h.op).ok_or(DecodeError::Variant(h.op))?;
            let mut part = match op {
                OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::SetData
                | OpCode::Check => Self::decode_with(op, r, |data| all.slice_ref(data))?,
                _ => return Err(DecodeError::Variant(h.op)),
            };
            let path = match &mut part {
                Self::Create(c) => {
                    let flags = c.flags;
                    let mode = CreateMode::from_flags(flags).ok_or(DecodeError::Variant(flags))?;
                    if c.op != OpCode::CreateTtl && c.acl.is_none() {
                        return Err(DecodeError::NullList);
                    }
                    if c.op != OpCode::CreateTtl && mode.is_ttl() {
                        return Err(DecodeError::Variant(flags));
                    }
                    // Inside a multi the flags have a say in what is made.
                    match (c.op, mode) {
                        (OpCode::CreateTtl, mode) if mode.is_ttl() => {}
                        (_, CreateMode::Container) => c.op = OpCode::CreateContainer,
                        (OpCode::CreateTtl, _) => c.op = OpCode::Create,
                        _ => {}
                    }
                    if c.op != OpCode::CreateTtl {
                        c.ttl = -1;
                    }
                    &c.path
                }
                Self::Delete { path, .. } | Self::SetData { path, .. } | Self::Check { path, .. } => path,
                _ => return Err(DecodeError::Variant(h.op)),
            };
            if path.is_none() {
                late = Some(DecodeError::Null);
            }
            ops.push(part);
        }
    }

    /// Writes the body, as a client does.
    pub fn encode<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        match self {
            Self::Create(c) => {
                w.string(c.path.as_deref());
                w.buffer(c.data.as_deref());
                Acl::write_list(c.acl.as_deref(), w);
                w.int(c.flags);
                if c.op == OpCode::CreateTtl {
                    w.long(c.ttl);
                }
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                w.string(path.as_deref());
                w.int(*version);
            }
            Self::SetData { path, data, version } => {
                w.string(path.as_deref());
                w.buffer(data.as_deref());
                w.int(*version);
            }
            Self::SetAcl { path, acl, version } => {
                w.string(path.as_deref());
                Acl::write_list(acl.as_deref(), w);
                w.int(*version);
            }
            Self::Multi(ops) => {
                for op in ops {
                    MultiHeader { op: op.op().to_i32(), done: false, err: -1 }.write(w);
                    op.encode(w);
                }
                MultiHeader::END.write(w);
            }
            Self::Reconfig { joining, leaving, members, base } => {
                w.string(joining.as_deref());
                w.string(leaving.as_deref());
                w.string(members.as_deref());
                w.long(*base);
            }
            Self::CloseSession => {}
            Self::CreateSession { timeout } => w.int(*timeout),
            Self::DeleteContainer { path } => w.str(path),
        }
    }
}

/// Stands before each part of a multi and, with `done`, behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiHeader {
    /// Opcode, or -1.
    pub op: i32,
    /// Whether this is the end.
    pub done: bool,
    /// Error code in a result, -1 in a request.
    pub err: i32,
}

impl MultiHeader {
    /// The end of requests and results.
    pub const END: MultiHeader = MultiHeader { op: -1, done: true, err: -1 };

    /// Reads the nine bytes.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { op: r.int()?, done: r.bool()?, err: r.int()? })
    }
    /// Writes the nine bytes.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        w.int(self.op);
        w.bool(self.done);
        w.int(self.err);
    }
}

/// A request that changes nothing in the tree. It borrows from the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadRequest<'a> {
    /// Stat; arms a watch even on a missing node.
    Exists {
        /// Which node.
        path: Cow<'a, str>,
        /// Whether to set a watch.
        watch: bool,
    },
    /// Data and stat.
    GetData {
        /// Which node.
        path: Cow<'a, str>,
        /// Whether to set a watch.
        watch: bool,
    },
    /// Children's names.
    GetChildren {
        /// Which node.
        path: Cow<'a, str>,
        /// Whether to set a watch.
        watch: bool,
        /// Whether the stat is answered as well (getChildren2).
        with_stat: bool,
    },
    /// Access control list and stat.
    GetAcl {
        /// Which node.
        path: Cow<'a, str>,
    },
    /// Several getData and getChildren.
    MultiRead {
        /// Those up to the first with a null path.
        ops: Vec<ReadRequest<'a>>,
        /// Whether there was one: then the reply says so behind the results.
        null_path: bool,
    },
    /// Number of descendants.
    GetAllChildrenNumber {
        /// Which node.
        path: Cow<'a, str>,
    },
    /// Paths of the session's ephemerals that begin with a text.
    GetEphemerals {
        /// The text; null, empty and `/` are all of them.
        prefix: Option<Cow<'a, str>>,
    },
    /// Identities of the connection.
    WhoAmI,
    /// Set watches again after a reconnect.
    SetWatches(SetWatches<'a>),
    /// Add a persistent watch.
    AddWatch {
        /// Which node.
        path: Cow<'a, str>,
        /// Whether descendants count as well.
        recursive: bool,
    },
    /// Whether a watch is set.
    CheckWatches {
        /// Which node.
        path: Cow<'a, str>,
        /// Which kind.
        kind: WatcherKind,
    },
    /// Remove watches.
    RemoveWatches {
        /// Which node.
        path: Cow<'a, str>,
        /// Which kind.
        kind: WatcherKind,
    },
    /// Wait for what the leader has committed.
    Sync {
        /// Comes back in the answer.
        path: Option<Cow<'a, str>>,
    },
    /// Keep the session alive.
    Ping,
}

/// Body of setWatches and setWatches2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetWatches<'a> {
    /// The newest zxid that the client saw.
    pub relative_zxid: Zxid,
    /// Watches of getData and of exists on existing nodes.
    pub data: Vec<Cow<'a, str>>,
    /// Watches of exists on missing nodes.
    pub exist: Vec<Cow<'a, str>>,
    /// Watches of getChildren.
    pub child: Vec<Cow<'a, str>>,
    /// Persistent watches.
    pub persistent: Vec<Cow<'a, str>>,
    /// Persistent recursive watches.
    pub recursive: Vec<Cow<'a, str>>,
    /// The first of the lists that is null: the request fails when it gets
    /// there, after the events of the lists before it went out (row 52).
    pub null_list: Option<u8>,
}

/// Which watches checkWatches and removeWatches mean. ref: Watcher.WatcherType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatcherKind {
    /// Of getChildren.
    Children,
    /// Of getData and exists.
    Data,
    /// Any.
    Any,
    /// Persistent.
    Persistent,
    /// Persistent recursive.
    PersistentRecursive,
}

impl WatcherKind {
    /// The kind with this number.
    pub fn from_i32(n: i32) -> Option<Self> {
        Some(match n {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::PersistentRecursive,
            _ => return None,
        })
    }
}

impl<'a> ReadRequest<'a> {
    /// Whether [`ReadRequest::decode`] takes this opcode.
    pub fn covers(op: OpCode) -> bool {
        matches!(
            op,
            OpCode::Exists
                | OpCode::GetData
                | OpCode::GetChildren
                | OpCode::GetChildren2
                | OpCode::GetAcl
                | OpCode::MultiRead
                | OpCode::GetAllChildrenNumber
                | OpCode::GetEphemerals
                | OpCode::WhoAmI
                | OpCode::SetWatches
                | OpCode::SetWatches2
                | OpCode::AddWatch
                | OpCode::CheckWatches
                | OpCode::RemoveWatches
                | OpCode::Sync
                | OpCode::Ping
        )
    }

    /// Reads the body of a request.
    pub fn decode(op: OpCode, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Exists => Self::Exists { path: r.str()?, watch: r.bool()? },
            OpCode::GetData => Self::GetData { path: r.str()?, watch: r.bool()? },
            OpCode::GetChildren => Self::GetChildren { path: r.str()?, watch: r.bool()?, with_stat: false },
            OpCode::GetChildren2 => Self::GetChildren { path: r.str()?, watch: r.bool()?, with_stat: true },
            OpCode::GetAcl => Self::GetAcl { path: r.str()? },
            OpCode::MultiRead => {
                let (ops, null_path) = Self::decode_multi(r)?;
                Self::MultiRead { ops, null_path }
            }
            OpCode::GetAllChildrenNumber => Self::GetAllChildrenNumber { path: r.str()? },
            OpCode::GetEphemerals => Self::GetEphemerals { prefix: r.string()? },
            OpCode::WhoAmI => Self::WhoAmI,
            OpCode::SetWatches | OpCode::SetWatches2 => Self::SetWatches(SetWatches::decode(op, r)?),
            OpCode::AddWatch => Self::AddWatch {
                path: Self::watched(r)?,
                recursive: match r.int()? {
                    0 => false,
                    1 => true,
                    n => return Err(DecodeError::Variant(n)),
                },
            },
            OpCode::CheckWatches => {
                let (path, kind) = Self::watcher(r)?;
                Self::CheckWatches { path, kind }
            }
            OpCode::RemoveWatches => {
                let (path, kind) = Self::watcher(r)?;
                Self::RemoveWatches { path, kind }
            }
            OpCode::Sync => Self::Sync { path: r.string()? },
            OpCode::Ping => Self::Ping,
            other => return Err(DecodeError::Variant(other.to_i32())),
        })
    }

    /// A null path can be watched as in Java, where it is a key like any other.
    /// No node has the name that stands for it here.
    fn watched(r: &mut Reader<'a>) -> Result<Cow<'a, str>, DecodeError> {
        Ok(r.string()?.unwrap_or(Cow::Borrowed("\0")))
    }

    fn watcher(r: &mut Reader<'a>) -> Result<(Cow<'a, str>, WatcherKind), DecodeError> {
        let path = Self::watched(r)?;
        let n = r.int()?;
        Ok((path, WatcherKind::from_i32(n).ok_or(DecodeError::Variant(n))?))
    }

    /// ref: MultiOperationRecord.deserialize; reads and writes do not mix.
    fn decode_multi(r: &mut Reader<'a>) -> Result<(Vec<Self>, bool), DecodeError> {
        let mut ops = Vec::new();
        let mut null_path = false;
        loop {
            let h = MultiHeader::read(r)?;
            if h.done {
                return Ok((ops, null_path));
            }
            let op = OpCode::from_i32(h.op);
            let (path, watch) = match op {
                Some(OpCode::GetData | OpCode::GetChildren) => (r.string()?, r.bool()?),
                _ => return Err(DecodeError::Variant(h.op)),
            };
            match path {
                _ if null_path => {}
                None => null_path = true,
                Some(path) if op == Some(OpCode::GetData) => ops.push(Self::GetData { path, watch }),
                Some(path) => ops.push(Self::GetChildren { path, watch, with_stat: false }),
            }
        }
    }
}

impl<'a> SetWatches<'a> {
    fn decode(op: OpCode, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let relative_zxid = Zxid(r.long()?);
        let mut out = Self { relative_zxid, ..Self::default() };
        let lists = if op == OpCode::SetWatches2 { 5 } else { 3 };
        for i in 0..lists {
            let list = r.vector(Reader::str)?;
            if list.is_none() && out.null_list.is_none() {
                out.null_list = Some(i);
            }
            let list = list.unwrap_or_default();
            match i {
                0 => out.data = list,
                1 => out.exist = list,
                2 => out.child = list,
                3 => out.persistent = list,
                _ => out.recursive = list,
            }
        }
        Ok(out)
    }
}

/// Body of an auth packet. ref: proto.AuthPacket.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthPacket<'a> {
    /// Ignored by servers.
    pub kind: i32,
    /// Which scheme is to judge.
    pub scheme: Option<Cow<'a, str>>,
    /// What it judges.
    pub auth: Option<&'a [u8]>,
}

/// Without what is judged.
impl fmt::Debug for AuthPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthPacket").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl<'a> AuthPacket<'a> {
    /// Reads the body.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { kind: r.int()?, scheme: r.string()?, auth: r.buffer()? })
    }
}

/// Result of one part of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult {
    /// create.
    Create {
        /// The final path.
        path: Arc<str>,
    },
    /// create2, createContainer and createTTL: all are told as create2.
    Create2 {
        /// The final path.
        path: Arc<str>,
        /// The new node.
        stat: Stat,
    },
    /// delete.
    Delete,
    /// setData.
    SetData {
        /// The changed node.
        stat: Stat,
    },
    /// check.
    Check,
    /// The multi failed; this part has this code (0 before the failing part).
    Error(ErrorCode),
}

impl MultiResult {
    /// Writes a result with its header. ref: MultiResponse.serialize.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        let (op, err) = match self {
            Self::Create { .. } => (OpCode::Create, 0),
            Self::Create2 { .. } => (OpCode::Create2, 0),
            Self::Delete => (OpCode::Delete, 0),
            Self::SetData { .. } => (OpCode::SetData, 0),
            Self::Check => (OpCode::Check, 0),
            Self::Error(code) => (OpCode::Error, code.to_i32()),
        };
        MultiHeader { op: op.to_i32(), done: false, err }.write(w);
        match self {
            Self::Create { path } => w.str(path),
            Self::Create2 { path, stat } => {
                w.str(path);
                stat.write(w);
            }
            Self::SetData { stat } => stat.write(w),
            Self::Delete | Self::Check => {}
            Self::Error(code) => w.int(code.to_i32()),
        }
    }
}
