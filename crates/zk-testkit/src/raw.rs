//! A client that knows frames and nothing else: no retries, no threads, no
//! opinion about what it sends.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use jute::Reader;
use zk_proto::client::{ConnectRequest, ConnectResponse, ReplyHeader, WatcherEvent};
use zk_proto::{ErrorCode, OpCode, SessionId, Stat, Xid, Zxid};

use crate::reply::Body;
use crate::request::{self, RawAcl};

/// How long a read waits unless told otherwise. A server on a busy machine may
/// take seconds; a hang is longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Outcome of waiting for a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A frame's content.
    Frame(Vec<u8>),
    /// The server closed the connection.
    Closed,
    /// Nothing came in time.
    Nothing,
}

/// A watch event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// zxid in its header.
    pub zxid: Zxid,
    /// Number of the kind of event.
    pub kind: i32,
    /// State, 3 from any server.
    pub state: i32,
    /// The node.
    pub path: String,
}

/// A reply with its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The header.
    pub header: ReplyHeader,
    /// The bytes behind the header.
    pub body: Vec<u8>,
    /// What was asked.
    pub op: i32,
}

impl Reply {
    /// The code; panics on a number that no code has.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::from_i32(self.header.err).unwrap_or_else(|| panic!("unknown code {}", self.header.err))
    }

    /// The decoded body, or the code as an error.
    pub fn ok(&self) -> anyhow::Result<Body> {
        if self.header.err != 0 {
            bail!("{} failed: {:?}", self.op_name(), self.code());
        }
        Body::decode(self.op, &self.body).with_context(|| format!("body of a reply to {}", self.op_name()))
    }

    fn op_name(&self) -> String {
        OpCode::from_i32(self.op).map_or_else(|| self.op.to_string(), |o| o.name().to_owned())
    }
}

/// A connection request for a new session.
pub fn hello(timeout_ms: i32) -> ConnectRequest {
    ConnectRequest::new(timeout_ms)
}

/// A connection request that goes on with a session.
pub fn hello_again(session: SessionId, timeout_ms: i32) -> ConnectRequest {
    ConnectRequest { session, password: Some(session.password().to_vec()), ..hello(timeout_ms) }
}

/// One TCP connection.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    start: usize,
    xid: i32,
    /// The session, once there is one.
    pub session: SessionId,
    /// Its negotiated time-out in ms.
    pub timeout: i32,
    /// The newest zxid that a reply had.
    pub zxid: Zxid,
    /// Events that came while something else was waited for.
    pub events: VecDeque<Event>,
    /// How long reads wait.
    pub patience: Duration,
}

impl Conn {
    /// Connects TCP and sends nothing.
    pub fn dial(addr: SocketAddr) -> anyhow::Result<Conn> {
        // Not `connect_timeout`: it polls and reads the socket's error, and so fails when
        // the server takes the connection and closes it at once, which is the caller's to see.
        let stream = TcpStream::connect(addr).with_context(|| format!("connect to {addr}"))?;
        // It fails when the server has closed already, which the next read shows.
        let _ = stream.set_nodelay(true);
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Conn {
            stream,
            input: Vec::new(),
            start: 0,
            xid: 0,
            session: SessionId::NONE,
            timeout: 0,
            zxid: Zxid(0),
            events: VecDeque::new(),
            patience: PATIENCE,
        })
    }

    /// A new session with this time-out in ms.
    pub fn open(addr: SocketAddr, timeout_ms: i32) -> anyhow::Result<Conn> {
        Self::open_with(addr, &hello(timeout_ms))
    }

    /// A session with this request; refused or closed is an error.
    pub fn open_with(addr: SocketAddr, request: &ConnectRequest) -> anyhow::Result<Conn> {
        let mut conn = Self::dial(addr)?;
        match conn.handshake(request)? {
            Some(r) if r.timeout > 0 => Ok(conn),
            Some(_) => bail!("the session was refused"),
            None => bail!("the server closed the connection instead of an answer"),
        }
    }

    /// Goes on with a session.
    pub fn reopen(addr: SocketAddr, session: SessionId, timeout_ms: i32) -> anyhow::Result<Conn> {
        Self::open_with(addr, &hello_again(session, timeout_ms))
    }

    /// Sends a connect request and waits for its answer; `None`: closed.
    pub fn handshake(&mut self, request: &ConnectRequest) -> anyhow::Result<Option<ConnectResponse>> {
        let mut out = Vec::new();
        request.encode(&mut out);
        self.send_frame(&out)?;
        match self.incoming(self.patience)? {
            Incoming::Frame(f) => {
                let r = ConnectResponse::decode(&f).context("connect response")?;
                self.session = r.session;
                self.timeout = r.timeout;
                Ok(Some(r))
            }
            Incoming::Closed => Ok(None),
            Incoming::Nothing => bail!("no answer to the connect request"),
        }
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).context("send")
    }

    /// Sends a frame with this content.
    pub fn send_frame(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let mut out = Vec::with_capacity(4 + content.len());
        push_frame(&mut out, content);
        self.send_bytes(&out)
    }

    /// Sends a request and does not wait. Returns its xid.
    pub fn send(&mut self, op: OpCode, body: &[u8]) -> anyhow::Result<i32> {
        let xid = match op {
            OpCode::Ping => -2,
            OpCode::Auth => -4,
            OpCode::SetWatches | OpCode::SetWatches2 => -8,
            _ => {
                self.xid += 1;
                self.xid
            }
        };
        self.send_frame(&request::frame(xid, op.to_i32(), body))?;
        Ok(xid)
    }

    /// Waits for a frame.
    pub fn incoming(&mut self, wait: Duration) -> anyhow::Result<Incoming> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Incoming::Frame(frame));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Incoming::Nothing);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0u8; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Incoming::Closed),
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // A reset is a close: the server did not read everything.
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Ok(Incoming::Closed);
                }
                Err(e) => return Err(e).context("receive"),
            }
        }
    }

    fn take_frame(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let have = &self.input[self.start..];
        let Some((len, rest)) = have.split_first_chunk::<4>() else { return Ok(None) };
        let len =
            usize::try_from(i32::from_be_bytes(*len)).map_err(|_| anyhow!("a frame of negative length"))?;
        let Some(frame) = rest.get(..len) else { return Ok(None) };
        let frame = frame.to_vec();
        self.start += 4 + len;
        if self.start == self.input.len() {
            self.input.clear();
            self.start = 0;
        } else if self.start > 1 << 16 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        Ok(Some(frame))
    }

    /// Says that nothing more comes; what the server sends can still be read.
    pub fn finish_sending(&self) -> anyhow::Result<()> {
        match self.stream.shutdown(std::net::Shutdown::Write) {
            // The server was first.
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(()),
            other => other.context("end of sending"),
        }
    }

    /// Whether the server closes the connection within this time. Frames that
    /// come before are dropped, events are kept.
    pub fn closes_within(&mut self, wait: Duration) -> anyhow::Result<bool> {
        let deadline = Instant::now() + wait;
        loop {
            match self.incoming(deadline.saturating_duration_since(Instant::now()))? {
                Incoming::Closed => return Ok(true),
                Incoming::Nothing => return Ok(false),
                Incoming::Frame(f) => {
                    if let Some(e) = event(&f) {
                        self.events.push_back(e);
                    }
                }
            }
        }
    }

    /// Waits for the next reply, whatever its xid is; events are kept. `None`: closed.
    pub fn next_reply(&mut self) -> anyhow::Result<Option<(ReplyHeader, Vec<u8>)>> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.incoming(deadline.saturating_duration_since(Instant::now()))? {
                Incoming::Closed => return Ok(None),
                Incoming::Nothing => bail!("no reply within {:?}", self.patience),
                Incoming::Frame(f) => {
                    if let Some(e) = event(&f) {
                        self.events.push_back(e);
                        continue;
                    }
                    let mut r = Reader::new(&f);
                    let header = ReplyHeader::read(&mut r).context("reply header")?;
                    self.zxid = self.zxid.max(header.zxid);
                    return Ok(Some((header, r.rest().to_vec())));
                }
            }
        }
    }

    /// Sends a request and waits for its reply.
    pub fn call(&mut self, op: OpCode, body: &[u8]) -> anyhow::Result<Reply> {
        let xid = self.send(op, body)?;
        self.reply_to(xid, op)
    }

    /// Waits for the reply to an earlier [`Conn::send`], which must be the next.
    pub fn reply_to(&mut self, xid: i32, op: OpCode) -> anyhow::Result<Reply> {
        let Some((header, body)) = self.next_reply()? else {
            bail!("connection closed instead of a reply to {}", op.name());
        };
        if header.xid != Xid(xid) {
            bail!("reply with xid {} where {xid} was due", header.xid);
        }
        Ok(Reply { header, body, op: op.to_i32() })
    }

    /// Waits for an event.
    pub fn event(&mut self, wait: Duration) -> anyhow::Result<Option<Event>> {
        if let Some(e) = self.events.pop_front() {
            return Ok(Some(e));
        }
        match self.incoming(wait)? {
            Incoming::Frame(f) => event(&f).map(Some).context("a reply where an event was due"),
            _ => Ok(None),
        }
    }

    /// All events so far: a ping is sent, and what comes before its answer counts.
    pub fn events_so_far(&mut self) -> anyhow::Result<Vec<Event>> {
        self.ping()?;
        Ok(self.events.drain(..).collect())
    }

    /// create; the final path.
    pub fn create(
        &mut self,
        path: &str,
        data: &[u8],
        acl: &[RawAcl<'_>],
        flags: i32,
    ) -> anyhow::Result<String> {
        let body = request::create(Some(path.as_bytes()), Some(data), Some(acl), flags);
        match self.call(OpCode::Create, &body)?.ok()? {
            Body::Path(Some(p)) => Ok(String::from_utf8(p)?),
            other => bail!("unexpected body {other:?}"),
        }
    }

    /// create2, createContainer (flags 4) or createTTL (with a ttl); path and stat.
    pub fn create2(
        &mut self,
        path: &str,
        data: &[u8],
        acl: &[RawAcl<'_>],
        flags: i32,
        ttl: Option<i64>,
    ) -> anyhow::Result<(String, Stat)> {
        let (p, d) = (Some(path.as_bytes()), Some(data));
        let reply = match ttl {
            Some(ttl) => self.call(OpCode::CreateTtl, &request::create_ttl(p, d, Some(acl), flags, ttl))?,
            None if flags == 4 => {
                self.call(OpCode::CreateContainer, &request::create(p, d, Some(acl), flags))?
            }
            None => self.call(OpCode::Create2, &request::create(p, d, Some(acl), flags))?,
        };
        match reply.ok()? {
            Body::PathStat(Some(p), s) => Ok((String::from_utf8(p)?, s)),
            other => bail!("unexpected body {other:?}"),
        }
    }

    /// delete.
    pub fn delete(&mut self, path: &str, version: i32) -> anyhow::Result<()> {
        self.call(OpCode::Delete, &request::path_int(Some(path.as_bytes()), version))?.ok().map(|_| ())
    }

    /// exists; `None`: there is no such node.
    pub fn exists(&mut self, path: &str, watch: bool) -> anyhow::Result<Option<Stat>> {
        let reply = self.call(OpCode::Exists, &request::path_bool(Some(path.as_bytes()), watch))?;
        if reply.header.err == ErrorCode::NoNode.to_i32() {
            return Ok(None);
        }
        Ok(reply.ok()?.stat())
    }

    /// getData.
    pub fn get_data(&mut self, path: &str, watch: bool) -> anyhow::Result<(Option<Vec<u8>>, Stat)> {
        match self.call(OpCode::GetData, &request::path_bool(Some(path.as_bytes()), watch))?.ok()? {
            Body::DataStat(d, s) => Ok((d, s)),
            other => bail!("unexpected body {other:?}"),
        }
    }

    /// setData.
    pub fn set_data(&mut self, path: &str, data: &[u8], version: i32) -> anyhow::Result<Stat> {
        let reply =
            self.call(OpCode::SetData, &request::set_data(Some(path.as_bytes()), Some(data), version))?;
        reply.ok()?.stat().context("no stat")
    }

    /// setACL.
    pub fn set_acl(&mut self, path: &str, acl: &[RawAcl<'_>], version: i32) -> anyhow::Result<Stat> {
        let reply =
            self.call(OpCode::SetAcl, &request::set_acl(Some(path.as_bytes()), Some(acl), version))?;
        reply.ok()?.stat().context("no stat")
    }

    /// getChildren2; names in order and the stat.
    pub fn children(&mut self, path: &str, watch: bool) -> anyhow::Result<(Vec<String>, Stat)> {
        match self.call(OpCode::GetChildren2, &request::path_bool(Some(path.as_bytes()), watch))?.ok()? {
            Body::NamesStat(Some(n), s) => {
                let mut names: Vec<String> = n
                    .into_iter()
                    .map(|t| String::from_utf8_lossy(&t.unwrap_or_default()).into_owned())
                    .collect();
                names.sort();
                Ok((names, s))
            }
            other => bail!("unexpected body {other:?}"),
        }
    }

    /// addWatch.
    pub fn add_watch(&mut self, path: &str, recursive: bool) -> anyhow::Result<()> {
        let body = request::path_int(Some(path.as_bytes()), i32::from(recursive));
        self.call(OpCode::AddWatch, &body)?.ok().map(|_| ())
    }

    /// multi of writes; the results.
    pub fn multi(&mut self, parts: &[(i32, Vec<u8>)]) -> anyhow::Result<Vec<crate::reply::Part>> {
        match self.call(OpCode::Multi, &request::multi(parts))?.ok()? {
            Body::Multi(parts) => Ok(parts),
            other => bail!("unexpected body {other:?}"),
        }
    }

    /// auth with a scheme; the code of the reply.
    pub fn auth(&mut self, scheme: &str, data: &[u8]) -> anyhow::Result<i32> {
        let body = request::auth(Some(scheme.as_bytes()), Some(data));
        Ok(self.call(OpCode::Auth, &body)?.header.err)
    }

    /// sync.
    pub fn sync(&mut self, path: &str) -> anyhow::Result<ReplyHeader> {
        Ok(self.call(OpCode::Sync, &request::path(Some(path.as_bytes())))?.header)
    }

    /// ping; the answer's header.
    pub fn ping(&mut self) -> anyhow::Result<ReplyHeader> {
        Ok(self.call(OpCode::Ping, &[])?.header)
    }

    /// closeSession; waits for the reply and for the end of the connection.
    pub fn close(&mut self) -> anyhow::Result<ReplyHeader> {
        let reply = self.call(OpCode::CloseSession, &[])?;
        if !self.closes_within(self.patience)? {
            bail!("the connection stays open after closeSession");
        }
        Ok(reply.header)
    }
}

/// Appends a length and the content.
pub fn push_frame(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
}

/// The event in a frame; `None`: it is a reply.
pub fn event(frame: &[u8]) -> Option<Event> {
    let mut r = Reader::new(frame);
    let header = ReplyHeader::read(&mut r).ok()?;
    if header.xid != Xid::EVENT {
        return None;
    }
    let e = WatcherEvent::read(&mut r).ok()?;
    Some(Event { zxid: header.zxid, kind: e.event, state: e.state, path: e.path.into_owned() })
}

/// Sends a four-letter word and reads everything until the server closes.
pub fn four_letter(addr: SocketAddr, word: &str) -> anyhow::Result<String> {
    four_letter_within(addr, word, PATIENCE)
}

/// The same with a limit on each wait.
pub fn four_letter_within(addr: SocketAddr, word: &str, wait: Duration) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    stream.write_all(word.as_bytes())?;
    let mut out = Vec::new();
    match stream.read_to_end(&mut out) {
        Ok(_) => {}
        // The answer is there and the close was a reset: an unread rest of what was sent.
        Err(e) if e.kind() == ErrorKind::ConnectionReset && !out.is_empty() => {}
        Err(e) => return Err(e).with_context(|| format!("answer to {word}")),
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}
