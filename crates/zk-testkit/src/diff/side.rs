//! One of the two servers: its connections, and what it answered, with the
//! named differences taken out.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use jute::Reader;
use zk_proto::client::{ConnectRequest, ConnectResponse, ReplyHeader};
use zk_proto::{SessionId, Stat, Xid, Zxid};

use super::generate::{Again, Request, SLOTS, Step};
use crate::raw::{Conn, Incoming, hello, push_frame};
use crate::reply::Body;
use crate::request;

/// How long a reply may take. Nothing is slow here, so that more is a hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the close of a connection may take.
const CLOSE: Duration = Duration::from_secs(60);

/// A frame as it came, and the opcode that it answers.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The content.
    pub bytes: Vec<u8>,
    /// What was asked; `None`: an event, or the answer to a connect request.
    pub op: Option<i32>,
    /// The content without the named differences.
    pub plain: Vec<u8>,
}

/// What a step brought.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Frames in order.
    pub frames: Vec<Frame>,
    /// Whether the connection was closed, or what was wrong.
    pub end: String,
}

/// A server with the clients of one run.
#[derive(Debug)]
pub struct Side {
    /// Name for messages.
    pub name: &'static str,
    addr: SocketAddr,
    conns: Vec<Option<Conn>>,
    sessions: [Option<(SessionId, i32)>; SLOTS],
    ids: HashMap<i64, i64>,
    times: HashMap<i64, i64>,
    closed_at: BTreeSet<i64>,
    newest: i64,
    began: i64,
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl Side {
    /// No connections yet.
    pub fn new(name: &'static str, addr: SocketAddr) -> Side {
        Side {
            name,
            addr,
            conns: (0..SLOTS).map(|_| None).collect(),
            sessions: [None; SLOTS],
            ids: HashMap::new(),
            times: HashMap::new(),
            closed_at: BTreeSet::new(),
            newest: 0,
            began: wall_ms() - 1000,
        }
    }

    /// Whether the slot has a connection.
    pub fn is_live(&self, slot: usize) -> bool {
        self.conns[slot].is_some()
    }

    /// Whether the slot has a session to go on with.
    pub fn has_session(&self, slot: usize) -> bool {
        self.sessions[slot].is_some()
    }

    /// Sends what the step says and reads nothing.
    pub fn begin(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Open { slot, timeout, read_only, protocol_version, password } => {
                let request = ConnectRequest {
                    protocol_version: *protocol_version,
                    password: password.map(|n| vec![7; n]),
                    read_only: *read_only,
                    ..hello(*timeout)
                };
                self.connect(*slot, &request)
            }
            Step::Again { slot, how, read_only, .. } => {
                let (session, timeout) = self.sessions[*slot].context("no session")?;
                let mut request = ConnectRequest {
                    session,
                    password: Some(session.password().to_vec()),
                    read_only: *read_only,
                    ..hello(timeout)
                };
                match how {
                    Again::Right => {}
                    Again::WrongPassword => request.password = Some(vec![1; 16]),
                    Again::NullPassword => request.password = None,
                    Again::UnknownSession => {
                        request.session = SessionId(session.0 ^ 0x55_0000_0000);
                        request.password = Some(request.session.password().to_vec());
                    }
                    Again::Ahead => request.last_zxid = Zxid(1 << 60),
                }
                self.connect(*slot, &request)
            }
            Step::Window { slot, requests, .. } | Step::Undecodable { slot, requests } => {
                let mut out = Vec::new();
                for r in requests {
                    push_frame(&mut out, &request::frame(r.xid, r.op, &r.body));
                }
                self.send(*slot, &out)
            }
            Step::Garbage { slot, bytes } => self.send(*slot, bytes),
            Step::Drop { slot } => {
                // The ping makes sure that nothing is on its way.
                let mut out = Vec::new();
                push_frame(&mut out, &request::frame(-2, 11, &[]));
                self.send(*slot, &out)
            }
        }
    }

    fn connect(&mut self, slot: usize, request: &ConnectRequest) -> anyhow::Result<()> {
        let mut conn = Conn::dial(self.addr)?;
        let mut out = Vec::new();
        request.encode(&mut out);
        conn.send_frame(&out)?;
        // The old connection is kept until the answer is there.
        self.conns.push(Some(conn));
        let new = self.conns.len() - 1;
        self.conns.swap(slot, new);
        Ok(())
    }

    fn send(&mut self, slot: usize, bytes: &[u8]) -> anyhow::Result<()> {
        let conn = self.conns[slot].as_mut().context("no connection")?;
        // A server that has closed already shows that in what is read.
        let _ = conn.send_bytes(bytes);
        Ok(())
    }

    /// Reads what the step brought.
    pub fn finish(&mut self, step: &Step) -> anyhow::Result<Outcome> {
        let slot = step.slot();
        let mut out = Outcome::default();
        match step {
            Step::Open { .. } | Step::Again { .. } => {
                let old = self.conns.pop().flatten();
                self.finish_connect(step, old, &mut out)?;
            }
            Step::Window { requests, closes, .. } => {
                self.replies(slot, requests, &mut out)?;
                if *closes {
                    self.expect_close(slot, &mut out)?;
                }
                if requests.last().is_some_and(|r| r.op == -11) {
                    self.sessions[slot] = None;
                }
            }
            Step::Undecodable { requests, .. } => self.replies(slot, requests, &mut out)?,
            Step::Garbage { .. } => self.expect_close(slot, &mut out)?,
            Step::Drop { .. } => {
                let ping = Request { xid: -2, op: 11, body: Vec::new() };
                self.replies(slot, &[ping], &mut out)?;
                // Gone only when the server says so, see `KNOWN`.
                if let Some(conn) = &self.conns[slot] {
                    conn.finish_sending()?;
                    self.read_until_close(slot, &mut out)?;
                }
            }
        }
        self.sort_closes(&mut out);
        Ok(out)
    }

    fn finish_connect(&mut self, step: &Step, old: Option<Conn>, out: &mut Outcome) -> anyhow::Result<()> {
        let slot = step.slot();
        let conn = self.conns[slot].as_mut().context("no connection")?;
        match conn.incoming(PATIENCE)? {
            Incoming::Frame(bytes) => {
                let response = ConnectResponse::decode(&bytes).context("connect response")?;
                let plain = self.plain_connect(&response)?;
                out.frames.push(Frame { bytes, op: None, plain });
                if response.timeout == 0 {
                    self.expect_close(slot, out)?;
                } else {
                    self.sessions[slot] = Some((response.session, response.timeout));
                }
            }
            Incoming::Closed => {
                self.conns[slot] = None;
                out.end.push_str("closed");
            }
            Incoming::Nothing => bail!("{}: no answer to a connect request", self.name),
        }
        // What the old connection still got, and that it was closed.
        if let (Some(old), Step::Again { keep: true, .. }) = (old, step) {
            self.conns.push(Some(old));
            let at = self.conns.len() - 1;
            let mut rest = Outcome::default();
            self.read_until_close(at, &mut rest)?;
            self.conns.truncate(SLOTS);
            self.sort_closes(&mut rest);
            out.frames.append(&mut rest.frames);
            out.end.push_str(" old: ");
            out.end.push_str(&rest.end);
        }
        Ok(())
    }

    fn replies(&mut self, slot: usize, requests: &[Request], out: &mut Outcome) -> anyhow::Result<()> {
        let mut due = requests.iter();
        let mut next = due.next();
        let deadline = Instant::now() + PATIENCE;
        while let Some(r) = next {
            let Some(conn) = self.conns[slot].as_mut() else { return Ok(()) };
            match conn.incoming(deadline.saturating_duration_since(Instant::now()))? {
                Incoming::Frame(bytes) => {
                    if is_event(&bytes) {
                        self.push(bytes, None, out)?;
                        continue;
                    }
                    if r.op == -11 && bytes.len() >= 12 {
                        self.closed_at.insert(i64::from_be_bytes(bytes[4..12].try_into()?));
                    }
                    self.push(bytes, Some(r.op), out)?;
                    next = due.next();
                }
                Incoming::Closed => {
                    self.conns[slot] = None;
                    out.end.push_str("closed");
                    return Ok(());
                }
                Incoming::Nothing => {
                    out.end.push_str(&format!("no reply to xid {} within {PATIENCE:?}", r.xid));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn expect_close(&mut self, slot: usize, out: &mut Outcome) -> anyhow::Result<()> {
        if self.conns[slot].is_none() {
            return Ok(());
        }
        self.read_until_close(slot, out)
    }

    fn read_until_close(&mut self, at: usize, out: &mut Outcome) -> anyhow::Result<()> {
        let deadline = Instant::now() + CLOSE;
        loop {
            let conn = self.conns[at].as_mut().context("no connection")?;
            match conn.incoming(deadline.saturating_duration_since(Instant::now()))? {
                Incoming::Frame(bytes) => {
                    let op = if is_event(&bytes) { None } else { Some(0) };
                    self.push(bytes, op, out)?;
                }
                Incoming::Closed => {
                    self.conns[at] = None;
                    out.end.push_str("closed");
                    return Ok(());
                }
                Incoming::Nothing => {
                    out.end.push_str("stays open");
                    return Ok(());
                }
            }
        }
    }

    fn push(&mut self, bytes: Vec<u8>, op: Option<i32>, out: &mut Outcome) -> anyhow::Result<()> {
        let plain = match op {
            Some(op) => self.plain_reply(op, &bytes)?,
            None => bytes.clone(),
        };
        out.frames.push(Frame { bytes, op, plain });
        Ok(())
    }

    /// Named difference: the order in which the ephemerals of a closed session go.
    fn sort_closes(&self, out: &mut Outcome) {
        let zxid = |f: &Frame| -> Option<i64> {
            let zxid = f.op.is_none().then(|| f.bytes.get(4..12))??;
            let zxid = i64::from_be_bytes(zxid.try_into().ok()?);
            self.closed_at.contains(&zxid).then_some(zxid)
        };
        let mut at = 0;
        while at < out.frames.len() {
            let Some(z) = zxid(&out.frames[at]) else {
                at += 1;
                continue;
            };
            let mut end = at;
            while end < out.frames.len() && zxid(&out.frames[end]) == Some(z) {
                end += 1;
            }
            out.frames[at..end].sort_by(|a, b| a.plain.cmp(&b.plain));
            at = end;
        }
    }

    fn plain_connect(&mut self, r: &ConnectResponse) -> anyhow::Result<Vec<u8>> {
        if r.timeout > 0 && r.password != r.session.password() {
            bail!("{}: the password of {} is not the one of its id", self.name, r.session);
        }
        if r.timeout > 0 {
            let n = self.ids.len() as i64 + 1;
            self.ids.entry(r.session.0).or_insert(n);
        }
        let mut plain = r.clone();
        plain.session = SessionId(self.owner(r.session.0));
        if r.timeout > 0 {
            plain.password = [1; 16];
        }
        let mut out = Vec::new();
        plain.encode(&mut out);
        Ok(out)
    }

    fn owner(&self, id: i64) -> i64 {
        if id == 0 { 0 } else { self.ids.get(&id).copied().unwrap_or(id) }
    }

    /// Takes times, session ids and unspecified orders out of a reply. What
    /// does not decode stays as it is.
    fn plain_reply(&mut self, op: i32, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut r = Reader::new(bytes);
        let Ok(header) = ReplyHeader::read(&mut r) else { return Ok(bytes.to_vec()) };
        self.newest = self.newest.max(header.zxid.0);
        if r.is_empty() {
            return Ok(bytes.to_vec());
        }
        let Ok(mut body) = Body::decode(op, r.rest()) else { return Ok(bytes.to_vec()) };
        if body.encode() != r.rest() {
            return Ok(bytes.to_vec());
        }
        for stat in body.stats_mut() {
            self.plain_stat(stat)?;
        }
        sort(&mut body);
        let mut plain = bytes[..ReplyHeader::LEN].to_vec();
        plain.extend_from_slice(&body.encode());
        Ok(plain)
    }

    /// Times become "none" or "some"; that they are plausible, and one for
    /// each zxid, is checked here.
    fn plain_stat(&mut self, s: &mut Stat) -> anyhow::Result<()> {
        for (zxid, time) in [(s.czxid, s.ctime), (s.mzxid, s.mtime)] {
            if time == 0 {
                continue;
            }
            if time < self.began || time > wall_ms() + 1000 {
                bail!("{}: time {time} is not of this run (zxid {zxid:#x})", self.name);
            }
            let known = *self.times.entry(zxid).or_insert(time);
            if known != time && zxid != 0 {
                bail!("{}: zxid {zxid:#x} has two times, {known} and {time}", self.name);
            }
        }
        s.ctime = i64::from(s.ctime != 0);
        s.mtime = i64::from(s.mtime != 0);
        s.ephemeral_owner = self.owner(s.ephemeral_owner);
        Ok(())
    }

    /// The stat without times and session ids.
    pub fn plain_node_stat(&mut self, mut s: Stat) -> anyhow::Result<Stat> {
        self.plain_stat(&mut s)?;
        Ok(s)
    }

    /// The newest zxid in any header.
    pub fn newest(&self) -> i64 {
        self.newest
    }
}

fn is_event(bytes: &[u8]) -> bool {
    bytes.first_chunk::<4>().is_some_and(|x| i32::from_be_bytes(*x) == Xid::EVENT.0)
}

/// Sorts what has no order, see [`super::KNOWN`].
fn sort(body: &mut Body) {
    match body {
        Body::Names(Some(n)) | Body::NamesStat(Some(n), _) => n.sort(),
        Body::Clients(Some(c)) => c.sort(),
        Body::AclStat(Some(acl), _) => sort_acl(acl),
        Body::Multi(parts) => parts.iter_mut().for_each(|p| sort(&mut p.body)),
        _ => {}
    }
}

/// Only neighbours with the same permissions change places: `auth` becomes one
/// entry for each identity, and identities have no order.
pub fn sort_acl(acl: &mut [(i32, crate::reply::Text, crate::reply::Text)]) {
    for run in acl.chunk_by_mut(|a, b| a.0 == b.0) {
        run.sort();
    }
}
