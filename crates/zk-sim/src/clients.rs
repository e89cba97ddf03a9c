//! Clients: sessions that write, read, watch, sync and move between members.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes, BytesMut};
use jute::{Reader, Writer};
use zk_proto::client::{CreateRequest, ReplyHeader, WatcherEvent, WriteRequest};
use zk_proto::{Acl, ErrorCode, OpCode, SessionId, Stat, Xid, Zxid};

use crate::note;
use crate::world::{Event, World};

/// A client's connection. Its index is its number, for the server as well.
#[derive(Debug)]
pub struct Conn {
    /// Whose.
    pub client: usize,
    /// To which member.
    pub member: usize,
    /// Its incarnation.
    pub incarnation: u64,
    /// Whether the client still has it.
    pub at_client: bool,
    /// Whether the server still has it.
    pub at_server: bool,
    /// When the last message to the server and to the client arrives.
    pub arrives: [u64; 2],
}

/// From a client.
#[derive(Debug)]
pub enum ToServer {
    /// The first frame.
    Connect {
        /// The session to go on with.
        session: SessionId,
        /// The newest zxid that it has seen.
        seen: Zxid,
        /// Time-out in ms.
        timeout: i32,
    },
    /// Any other.
    Request(Request),
    /// It has closed.
    End,
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Its number.
    pub xid: Xid,
    /// What it is.
    pub op: OpCode,
    /// A write.
    pub write: Option<WriteRequest>,
    /// The body of anything else.
    pub body: Bytes,
}

/// To a client.
#[derive(Debug)]
pub enum ToClient {
    /// Its session is live.
    Session(SessionId, i32),
    /// Its session has ended.
    Refused,
    /// Replies and events.
    Frames(Bytes),
    /// The server has closed.
    End,
}

/// What a client waits for.
#[derive(Debug)]
pub struct Pending {
    /// The request's number.
    pub xid: Xid,
    /// Its kind.
    pub op: OpCode,
    /// The node.
    pub path: String,
    /// Whether it sets a watch.
    pub watch: bool,
}

/// Counters of a client.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    /// Writes that were answered without an error.
    pub writes: u64,
    /// Everything that was answered.
    pub answers: u64,
    /// Sessions that were refused.
    pub lost_sessions: u64,
    /// Events.
    pub events: u64,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub id: usize,
    /// Its session, or none.
    pub session: SessionId,
    /// Its time-out in ms.
    pub timeout: i32,
    /// The newest zxid that it has seen.
    pub seen: Zxid,
    /// Its connection.
    pub conn: Option<usize>,
    /// Whether the connection's session is settled.
    pub open: bool,
    /// Requests that are not answered.
    pub pending: VecDeque<Pending>,
    /// Data watches: path, and the state that they were set on.
    pub watches: BTreeMap<String, Zxid>,
    /// What it does.
    pub mode: Mode,
    /// Counters.
    pub count: Count,
    xid: i32,
    serial: u64,
    heard: u64,
    spoke: u64,
    last_member: usize,
    wake: u64,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Whatever it thinks of.
    Busy,
    /// It keeps its session.
    Quiet,
    /// Only what a scenario says, at the member it says.
    Told(usize),
    /// Nothing any more.
    Gone,
}

const PATHS: [&str; 6] = ["/a", "/b", "/c", "/a/x", "/a/y", "/b/x"];

impl Client {
    /// A client that begins at once.
    pub fn new(w: &mut World, id: usize, timeout: i32, mode: Mode) -> Self {
        w.at(w.now, Event::Client(id, 1));
        Self {
            id,
            session: SessionId::NONE,
            timeout,
            seen: Zxid::ZERO,
            conn: None,
            open: false,
            pending: VecDeque::new(),
            watches: BTreeMap::new(),
            mode,
            count: Count::default(),
            xid: 0,
            serial: 0,
            heard: 0,
            spoke: 0,
            last_member: 0,
            wake: 1,
        }
    }

    fn sleep(&mut self, w: &mut World, us: u64) {
        self.wake += 1;
        w.at(w.now + us, Event::Client(self.id, self.wake));
    }

    fn timeout_us(&self) -> u64 {
        u64::try_from(self.timeout).unwrap_or(0) * 1000
    }

    /// Its time has come.
    pub fn wake(&mut self, w: &mut World, wake: u64) {
        if wake != self.wake || self.mode == Mode::Gone {
            return;
        }
        let Some(conn) = self.conn else { return self.connect(w) };
        if w.now > self.heard + self.timeout_us() * 2 / 3 {
            note!(w, "client {} hears nothing", self.id);
            return self.leave(w, conn);
        }
        if self.open {
            self.act(w, conn);
            if self.conn != Some(conn) {
                return;
            }
        }
        let pause = match self.mode {
            Mode::Busy if w.rng.chance(800) => w.rng.between(1_000, 200_000),
            _ => w.rng.between(100_000, 500_000),
        };
        self.sleep(w, pause.min(self.timeout_us() / 4));
    }

    fn connect(&mut self, w: &mut World) {
        let member = match self.mode {
            Mode::Told(member) => member,
            _ => w.rng.index(w.running.len()),
        };
        let Some(incarnation) = w.running[member] else {
            let pause = w.rng.between(20_000, 200_000);
            return self.sleep(w, pause);
        };
        let conn = w.conns.len();
        w.conns.push(Conn {
            client: self.id,
            member,
            incarnation,
            at_client: true,
            at_server: true,
            arrives: [0, 0],
        });
        (self.conn, self.open, self.heard, self.spoke) = (Some(conn), false, w.now, w.now);
        self.last_member = member;
        let connect = ToServer::Connect { session: self.session, seen: self.seen, timeout: self.timeout };
        w.to_server(conn, connect);
        let pause = self.timeout_us() / 3;
        self.sleep(w, pause);
    }

    /// Closes its end and comes again.
    pub fn leave(&mut self, w: &mut World, conn: usize) {
        w.conns[conn].at_client = false;
        w.to_server(conn, ToServer::End);
        self.lost(w);
    }

    fn lost(&mut self, w: &mut World) {
        self.conn = None;
        self.open = false;
        self.pending.clear();
        self.watches.clear();
        let pause = w.rng.between(1_000, 100_000);
        self.sleep(w, pause);
    }

    fn send(&mut self, w: &mut World, conn: usize, op: OpCode, path: &str, watch: bool, request: Request) {
        note!(w, "client {} asks {} {} {path}", self.id, request.xid, op.name());
        self.pending.push_back(Pending { xid: request.xid, op, path: path.to_owned(), watch });
        self.spoke = w.now;
        w.to_server(conn, ToServer::Request(request));
    }

    fn next_xid(&mut self) -> Xid {
        self.xid += 1;
        Xid(self.xid)
    }

    /// Sends a write.
    pub fn write(&mut self, w: &mut World, conn: usize, path: &str, write: WriteRequest) {
        let xid = self.next_xid();
        let op = write.op();
        self.send(w, conn, op, path, false, Request { xid, op, write: Some(write), body: Bytes::new() });
    }

    /// Sends a read of one node.
    pub fn read(&mut self, w: &mut World, conn: usize, op: OpCode, path: &str, watch: bool) {
        let xid = if op == OpCode::Ping { Xid::PING } else { self.next_xid() };
        let mut body = BytesMut::new();
        let mut writer = Writer::new(&mut body);
        if op != OpCode::Ping {
            writer.str(path);
        }
        if matches!(op, OpCode::GetData | OpCode::Exists) {
            writer.bool(watch);
        }
        self.send(w, conn, op, path, watch, Request { xid, op, write: None, body: body.freeze() });
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> Bytes {
        self.serial += 1;
        Bytes::from(format!("{}.{}", self.id, self.serial))
    }

    fn act(&mut self, w: &mut World, conn: usize) {
        // Nothing comes behind the end of a session.
        if self.pending.iter().any(|p| p.op == OpCode::CloseSession) {
            return;
        }
        if self.mode != Mode::Busy {
            if w.now > self.spoke + self.timeout_us() / 3 {
                self.read(w, conn, OpCode::Ping, "", false);
            }
            return;
        }
        let room = 4_usize.saturating_sub(self.pending.len());
        for _ in 0..w.rng.index(room + 1) {
            self.any(w, conn);
            let closes = self.pending.back().is_some_and(|p| p.op == OpCode::CloseSession);
            if self.conn != Some(conn) || closes {
                return;
            }
        }
        if w.now > self.spoke + self.timeout_us() / 3 {
            self.read(w, conn, OpCode::Ping, "", false);
        }
    }

    fn any(&mut self, w: &mut World, conn: usize) {
        let path = *w.rng.pick(&PATHS);
        let watch = w.rng.chance(500);
        match w.rng.below(100) {
            0..20 => self.create(w, conn, path, 0),
            20..40 => {
                let set = self.set(path);
                self.write(w, conn, path, set);
            }
            40..48 => {
                self.write(w, conn, path, WriteRequest::Delete { path: Some(path.into()), version: -1 });
            }
            48..54 => {
                let path = format!("/e{}", w.rng.below(4));
                self.create(w, conn, &path, 1);
            }
            54..58 => self.create(w, conn, "/c/s", 2),
            58..62 => self.create(w, conn, "/c/t", 3),
            62..67 => {
                let parts = vec![
                    self.set(path),
                    self.set("/a"),
                    WriteRequest::Check { path: Some("/b".into()), version: -1 },
                ];
                self.write(w, conn, path, WriteRequest::Multi(parts));
            }
            67..85 => self.read(w, conn, OpCode::GetData, path, watch),
            85..92 => self.read(w, conn, OpCode::Exists, path, watch),
            92..96 => self.read(w, conn, OpCode::Sync, path, false),
            96..97 => {
                self.write(w, conn, "", WriteRequest::CloseSession);
            }
            _ => self.leave(w, conn),
        }
    }

    fn set(&mut self, path: &str) -> WriteRequest {
        WriteRequest::SetData { path: Some(path.into()), data: Some(self.value()), version: -1 }
    }

    /// Sends a create.
    pub fn create(&mut self, w: &mut World, conn: usize, path: &str, flags: i32) {
        let create = CreateRequest {
            op: OpCode::Create,
            path: Some(path.into()),
            data: Some(self.value()),
            acl: Some(Acl::open()),
            flags,
            ttl: -1,
        };
        self.write(w, conn, path, WriteRequest::Create(create));
    }

    /// Something came.
    pub fn hear(&mut self, w: &mut World, conn: usize, message: ToClient) {
        if self.conn != Some(conn) {
            return;
        }
        self.heard = w.now;
        match message {
            ToClient::Session(session, timeout) => {
                note!(w, "client {} has session {session} at {}", self.id, self.last_member);
                let same = self.session == SessionId::NONE || self.session == session;
                w.checks
                    .require(w.now, "sessions", same, || format!("session {session} for {}", self.session));
                (self.session, self.timeout, self.open) = (session, timeout, true);
                self.sleep(w, 0);
            }
            ToClient::Refused => {
                note!(w, "client {} has lost session {}", self.id, self.session);
                self.count.lost_sessions += 1;
                w.conns[conn].at_client = false;
                self.end_session();
                self.lost(w);
            }
            ToClient::Frames(frames) => self.frames(w, conn, frames),
            ToClient::End => {
                w.conns[conn].at_client = false;
                w.conns[conn].at_server = false;
                self.lost(w);
            }
        }
    }

    fn end_session(&mut self) {
        self.session = SessionId::NONE;
        self.seen = Zxid::ZERO;
        self.xid = 0;
    }

    fn frames(&mut self, w: &mut World, conn: usize, mut frames: Bytes) {
        while frames.has_remaining() {
            let len = usize::try_from(frames.get_u32()).expect("a frame fits");
            let frame = frames.split_to(len);
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::read(&mut r).expect("a server's frame has a header");
            if header.xid == Xid::EVENT {
                let event = WatcherEvent::read(&mut r).expect("an event has a body");
                note!(w, "client {} <! {} {} {}", self.id, event.event, event.path, header.zxid);
                self.count.events += 1;
                let set = self.watches.remove(&*event.path);
                w.checks.event(w.now, self.id, &event.path, header.zxid, set);
            } else {
                self.reply(w, conn, header, &mut r);
            }
        }
    }

    fn reply(&mut self, w: &mut World, conn: usize, header: ReplyHeader, r: &mut Reader<'_>) {
        note!(w, "client {} <- {} {} err {}", self.id, header.xid, header.zxid, header.err);
        let expected = self.pending.pop_front();
        w.checks.reply_in_order(w.now, self.id, expected.as_ref().map(|p| p.xid), header.xid);
        let Some(pending) = expected else { return };
        self.count.answers += 1;
        w.checks.zxid_goes_on(w.now, self.session, self.seen, header.zxid);
        self.seen = self.seen.max(header.zxid);
        w.checks.events_come_first(w.now, self.id, &self.watches, header.zxid);
        let ok = header.err == ErrorCode::Ok.to_i32();
        match pending.op {
            op if op.is_write() => {
                self.count.writes += u64::from(ok);
                w.checks.acknowledged(w.now, self.session, pending.xid, header.zxid);
                if op == OpCode::CloseSession {
                    w.conns[conn].at_client = false;
                    w.to_server(conn, ToServer::End);
                    self.end_session();
                    self.lost(w);
                }
            }
            op @ (OpCode::GetData | OpCode::Exists) => {
                let data = (ok && op == OpCode::GetData).then(|| {
                    r.buffer().expect("data follows").map(Bytes::copy_from_slice).unwrap_or_default()
                });
                let stat = ok.then(|| Stat::read(r).expect("a stat follows"));
                let missing = header.err == ErrorCode::NoNode.to_i32();
                if ok || missing {
                    w.checks.read(w.now, self.id, &pending.path, header.zxid, data.as_ref(), stat.as_ref());
                }
                if pending.watch && (ok || missing && op == OpCode::Exists) {
                    self.watches.entry(pending.path).or_insert(header.zxid);
                }
            }
            _ => {}
        }
    }
}
