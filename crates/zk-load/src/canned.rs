//! A server that says yes to everything and keeps nothing: what remains are the kernel and the
//! load generator, so nobody can be faster in the same place.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use jute::{Reader, Writer};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::SockRef;
use zk_proto::client::{ConnectResponse, EventType, ReplyHeader, RequestHeader, WatcherEvent, WriteRequest};
use zk_proto::{OpCode, SessionId, Stat, Xid, Zxid};

use crate::line::seal;
use crate::{Error, Result};

/// Size of the data that it answers.
const VALUE: usize = 100;

/// What is read at once, and the most that a request may have.
const READ: usize = 1 << 20;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The largest list that it makes up.
const MAX_CHILDREN: usize = 1_000_000;

/// A running server. Its threads end with the process.
#[derive(Debug, Clone, Copy)]
pub struct Canned {
    addr: SocketAddr,
}

/// A thread's connections.
#[derive(Debug)]
struct Shard {
    epoll: Epoll,
    conns: Mutex<HashMap<u64, Conn>>,
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    /// Bytes of a request that is not complete.
    rest: Vec<u8>,
    /// What the socket did not take.
    out: Vec<u8>,
    /// Whether the socket is waited for.
    blocked: bool,
    is_open: bool,
    /// The path of its one watch.
    watch: Option<String>,
}

impl Canned {
    /// Listens on a port of loopback (0: any) with this many threads.
    pub fn start(port: u16, threads: usize) -> Result<Canned> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(Error::io("listen"))?;
        // The library's backlog is 128: of more at once the kernel drops some, and they try again after a second.
        SockRef::from(&listener).listen(BACKLOG).map_err(Error::io("listen"))?;
        let addr = listener.local_addr().map_err(Error::io("listen"))?;
        let shard = || -> Result<Shard> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Error::os("epoll"))?;
            Ok(Shard { epoll, conns: Mutex::default() })
        };
        let shards: Arc<Vec<Shard>> = Arc::new((0..threads.max(1)).map(|_| shard()).collect::<Result<_>>()?);
        for n in 0..shards.len() {
            let shards = Arc::clone(&shards);
            thread::spawn(move || serve(&shards, n));
        }
        thread::spawn(move || {
            for (n, stream) in listener.incoming().flatten().enumerate() {
                // A client that is gone already is nobody's loss.
                let _ = adopt(&shards[n % shards.len()], n as u64, stream);
            }
        });
        Ok(Canned { addr })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, HashMap<u64, Conn>> {
    shard.conns.lock().unwrap_or_else(PoisonError::into_inner)
}

fn adopt(shard: &Shard, id: u64, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut conns = lock(shard);
    shard.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
    conns.insert(
        id,
        Conn { stream, rest: Vec::new(), out: Vec::new(), blocked: false, is_open: false, watch: None },
    );
    Ok(())
}

fn serve(shards: &[Shard], n: usize) {
    let mut buf = vec![0; READ];
    let mut events = [EpollEvent::empty(); 256];
    let mut answers = Answers::default();
    loop {
        let Ok(count) = shards[n].epoll.wait(&mut events, EpollTimeout::NONE) else { continue };
        let mut fired = Vec::new();
        let mut conns = lock(&shards[n]);
        for event in &events[..count] {
            let Some(conn) = conns.get_mut(&event.data()) else { continue };
            if !matches!(conn.turn(&mut buf, &mut answers, &mut fired), Ok(true))
                || conn.flush(&shards[n], event.data()).is_err()
            {
                conns.remove(&event.data());
            }
        }
        drop(conns);
        fired.iter().for_each(|path| shards.iter().for_each(|shard| tell(shard, path)));
    }
}

/// Sends the event to all who watch this path.
fn tell(shard: &Shard, path: &str) {
    let mut event = vec![0; 4];
    let mut w = Writer::new(&mut event);
    ReplyHeader { xid: Xid::EVENT, zxid: Zxid(1), err: 0 }.write(&mut w);
    WatcherEvent::new(EventType::NodeDataChanged, path).write(&mut w);
    seal(&mut event, 0);
    for (id, conn) in lock(shard).iter_mut().filter(|(_, c)| c.watch.as_deref() == Some(path)) {
        conn.watch = None;
        conn.out.extend_from_slice(&event);
        // It is removed when its own turn finds the same.
        let _ = conn.flush(shard, *id);
    }
}

impl Conn {
    /// Reads and answers once; `false` is the end.
    fn turn(&mut self, buf: &mut [u8], answers: &mut Answers, fired: &mut Vec<String>) -> io::Result<bool> {
        let kept = self.rest.len();
        if kept >= buf.len() {
            return Ok(false);
        }
        buf[..kept].copy_from_slice(&self.rest);
        let n = match self.stream.read(&mut buf[kept..]) {
            Ok(0) => return Ok(false),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) => return Err(e),
        };
        let mut left = &buf[..kept + n];
        while let Some((head, behind)) = left.split_first_chunk::<4>() {
            if !self.is_open && head == b"srvr" {
                self.out.extend_from_slice(b"Mode: standalone\n");
                self.stream.write_all(&self.out)?;
                return Ok(false);
            }
            let len = u32::from_be_bytes(*head) as usize;
            let Some((frame, next)) = behind.split_at_checked(len) else { break };
            if !self.is_open {
                self.is_open = true;
                let at = self.out.len();
                self.out.extend([0; 4]);
                ConnectResponse::accepted(SessionId(1), 30_000, Some(false)).encode(&mut self.out);
                seal(&mut self.out, at);
            } else if answers.answer(frame, self, fired).is_none() {
                return Ok(false);
            }
            left = next;
        }
        self.rest.clear();
        self.rest.extend_from_slice(left);
        Ok(true)
    }

    fn flush(&mut self, shard: &Shard, id: u64) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.out.drain(..sent);
        if self.blocked == self.out.is_empty() {
            self.blocked = !self.blocked;
            let wanted =
                if self.blocked { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            shard.epoll.modify(&self.stream, &mut EpollEvent::new(wanted, id))?;
        }
        Ok(())
    }
}

/// Replies, made once for each kind.
#[derive(Debug, Default)]
struct Answers {
    get: Vec<u8>,
    stat: Vec<u8>,
    empty: Vec<u8>,
    /// By number of names.
    lists: HashMap<usize, Vec<u8>>,
    /// By length of the request: all multis of one length have as many parts.
    multis: HashMap<usize, Vec<u8>>,
}

impl Answers {
    /// Appends the reply to a request; `None` ends the connection.
    fn answer(&mut self, frame: &[u8], conn: &mut Conn, fired: &mut Vec<String>) -> Option<()> {
        let mut r = Reader::new(frame);
        let header = RequestHeader::read(&mut r).ok()?;
        let op = OpCode::from_i32(header.op)?;
        let made = match op {
            OpCode::GetData => {
                let path = r.str().ok()?;
                if r.bool().ok()? {
                    conn.watch = Some(path.into_owned());
                }
                made(&mut self.get, |w| {
                    w.buffer(Some(&[b'c'; VALUE]));
                    Stat::default().write(w);
                })
            }
            OpCode::SetData => {
                let path = r.str().ok()?;
                if path.ends_with("watched") {
                    fired.push(path.into_owned());
                }
                made(&mut self.stat, |w| Stat::default().write(w))
            }
            OpCode::Exists => made(&mut self.stat, |w| Stat::default().write(w)),
            OpCode::GetChildren => {
                let path = r.str().ok()?;
                let digits = path.rsplit(|c: char| !c.is_ascii_digit()).next()?;
                let count = digits.parse().unwrap_or(0).min(MAX_CHILDREN);
                made(self.lists.entry(count).or_default(), |w| {
                    w.len(count);
                    (0..count).for_each(|i| w.str(&format!("child-{i:010}")));
                })
            }
            OpCode::Multi => {
                let count = match self.multis.contains_key(&frame.len()) {
                    true => 0,
                    false => match WriteRequest::decode(op, &mut r).ok()? {
                        WriteRequest::Multi(parts) => parts.len(),
                        _ => 0,
                    },
                };
                made(self.multis.entry(frame.len()).or_default(), |w| {
                    for _ in 0..count {
                        multi_header(w, OpCode::SetData.to_i32(), false);
                        Stat::default().write(w);
                    }
                    multi_header(w, -1, true);
                })
            }
            _ => made(&mut self.empty, |_| {}),
        };
        let at = conn.out.len();
        conn.out.extend_from_slice(made);
        conn.out[at + 4..at + 8].copy_from_slice(&header.xid.0.to_be_bytes());
        Some(())
    }
}

fn multi_header(w: &mut Writer<'_, Vec<u8>>, op: i32, done: bool) {
    w.int(op);
    w.bool(done);
    w.int(if done { -1 } else { 0 });
}

/// The frame of a reply, made when it is first needed.
fn made(frame: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_, Vec<u8>>)) -> &[u8] {
    if frame.is_empty() {
        frame.extend([0; 4]);
        let mut w = Writer::new(frame);
        ReplyHeader { xid: Xid(0), zxid: Zxid(1), err: 0 }.write(&mut w);
        body(&mut w);
        seal(frame, 0);
    }
    frame
}
