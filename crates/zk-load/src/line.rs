//! A blocking connection, for all that comes before and behind the load.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use jute::{Reader, Writer};
use socket2::{Domain, SockRef, Socket, Type};
use zk_proto::client::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader};
use zk_proto::{OpCode, Xid, Zxid};

use crate::{Error, Result};

/// How long a server may leave a request of the set-up unanswered.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest reply that is taken: a list of a million names fits.
const MAX_FRAME: usize = 256 << 20;

/// Source addresses on loopback that connections are spread over: each has its own 28,000 ports.
const LOOPBACK_SOURCES: u32 = 250;

/// A reply to a request of the set-up.
#[derive(Debug)]
pub struct Reply {
    /// The request's number, or one of the special ones.
    pub xid: Xid,
    /// What the server has applied.
    pub zxid: Zxid,
    /// 0 or an error's number.
    pub err: i32,
    /// What comes behind the header.
    pub body: Vec<u8>,
}

impl Reply {
    /// Whether it is an event.
    pub fn is_event(&self) -> bool {
        self.xid == Xid::EVENT
    }
}

/// A session on a blocking socket. Requests may be pipelined: push some, then take as many replies.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    out: Vec<u8>,
    xid: i32,
}

/// Opens a socket to a server. On loopback the source address changes with `number`, so that more
/// connections than one address has ports can be held.
pub fn dial(addr: SocketAddr, number: usize) -> Result<TcpStream> {
    let refused = |source| Error::Connect { addr, source };
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).map_err(refused)?;
    if addr.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && number > 0 {
        let turn = u32::try_from(number).unwrap_or(0) % LOOPBACK_SOURCES;
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + turn);
        socket.bind(&SocketAddr::from((source, 0)).into()).map_err(refused)?;
    }
    socket.connect_timeout(&addr.into(), PATIENCE).map_err(refused)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).map_err(Error::io("TCP_NODELAY"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(Error::io("time-out"))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(Error::io("time-out"))?;
    Ok(stream)
}

/// The first frame of a new session, with its length.
pub(crate) fn hello(timeout_ms: i32) -> Vec<u8> {
    let mut out = vec![0; 4];
    ConnectRequest::new(timeout_ms).encode(&mut out);
    seal(&mut out, 0);
    out
}

/// Writes the length of the frame that starts at `at`, four bytes before its content.
pub(crate) fn seal(out: &mut [u8], at: usize) {
    let len = u32::try_from(out.len() - at - 4).expect("a frame of ours is short");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

impl Line {
    /// Opens a session.
    pub fn open(addr: SocketAddr, timeout_ms: i32) -> Result<Line> {
        Line::open_within(addr, timeout_ms, PATIENCE)
    }

    /// The same of a server that may be just starting: one that does not answer for so long is given up.
    pub fn open_within(addr: SocketAddr, timeout_ms: i32, patience: Duration) -> Result<Line> {
        let mut line = Line::begin(addr, 0, timeout_ms)?;
        line.stream.set_read_timeout(Some(patience)).map_err(Error::io("time-out"))?;
        line.welcome()?;
        Ok(line)
    }

    /// Opens this many sessions, many of them at once.
    pub fn open_many(addrs: &[SocketAddr], count: usize, timeout_ms: i32) -> Result<Vec<Line>> {
        const AT_ONCE: usize = 256;
        let mut lines: Vec<Line> = Vec::with_capacity(count);
        while lines.len() < count {
            let from = lines.len();
            for n in from..count.min(from + AT_ONCE) {
                lines.push(Line::begin(addrs[n % addrs.len()], n, timeout_ms)?);
            }
            for line in &mut lines[from..] {
                line.welcome()?;
            }
        }
        Ok(lines)
    }

    /// Connects and asks for a session.
    pub(crate) fn begin(addr: SocketAddr, number: usize, timeout_ms: i32) -> Result<Line> {
        let mut stream = dial(addr, number)?;
        stream.write_all(&hello(timeout_ms)).map_err(Error::io("connect request"))?;
        Ok(Line { stream, out: Vec::new(), xid: 0 })
    }

    /// Takes the answer to that.
    pub(crate) fn welcome(&mut self) -> Result<()> {
        let frame = self.frame()?;
        match ConnectResponse::decode(&frame) {
            Ok(r) if r.timeout > 0 => Ok(()),
            Ok(_) => Err(Error::Refused),
            Err(e) => Err(Error::Protocol(format!("connect response: {e}"))),
        }
    }

    /// Adds a request to those that the next [`Line::flush`] sends.
    pub fn push(&mut self, op: OpCode, body: impl FnOnce(&mut Writer<'_, Vec<u8>>)) {
        self.xid = self.xid.wrapping_add(1).max(1);
        self.push_as(Xid(self.xid), op, body);
    }

    /// The same under a number of its own, for the opcodes that have one.
    pub fn push_as(&mut self, xid: Xid, op: OpCode, body: impl FnOnce(&mut Writer<'_, Vec<u8>>)) {
        let at = self.out.len();
        self.out.extend([0; 4]);
        let mut w = Writer::new(&mut self.out);
        RequestHeader { xid, op: op.to_i32() }.write(&mut w);
        body(&mut w);
        seal(&mut self.out, at);
    }

    /// Sends what was pushed.
    pub fn flush(&mut self) -> Result<()> {
        let sent = self.stream.write_all(&self.out).map_err(Error::io("request"));
        self.out.clear();
        sent
    }

    /// The next reply or event.
    pub fn reply(&mut self) -> Result<Reply> {
        let mut frame = self.frame()?;
        let header =
            ReplyHeader::read(&mut Reader::new(&frame)).map_err(|e| Error::Protocol(e.to_string()))?;
        frame.drain(..ReplyHeader::LEN);
        Ok(Reply { xid: header.xid, zxid: header.zxid, err: header.err, body: frame })
    }

    /// One request and its reply, whatever the reply says.
    pub fn call(&mut self, op: OpCode, body: impl FnOnce(&mut Writer<'_, Vec<u8>>)) -> Result<Reply> {
        self.push(op, body);
        self.flush()?;
        self.reply()
    }

    /// Ends the session.
    pub fn close(mut self) -> Result<()> {
        self.call(OpCode::CloseSession, |_| {}).map(|_| ())
    }

    /// Drops the connection so that its port is free at once.
    pub(crate) fn forget(&mut self) -> Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).map_err(Error::io("linger"))
    }

    /// The socket, with nothing in flight.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn frame(&mut self) -> Result<Vec<u8>> {
        let mut len = [0; 4];
        self.read(&mut len)?;
        let len = u32::from_be_bytes(len) as usize;
        if len > MAX_FRAME {
            return Err(Error::Protocol(format!("a frame of {len} bytes")));
        }
        let mut frame = vec![0; len];
        self.read(&mut frame)?;
        Ok(frame)
    }

    fn read(&mut self, to: &mut [u8]) -> Result<()> {
        self.stream.read_exact(to).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Io { what: "reply", source: e },
        })
    }
}
