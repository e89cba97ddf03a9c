//! The session's thread, and what it shares with callers.
//!
//! ```text
//! Connecting --connected--> Connected --lost--> Connecting
//!     |                        |
//!     +-- refused: Expired     +-- close: Closed, bad credentials: AuthFailed
//! ```
//! A caller writes its request itself and waits; the thread reads replies and events, pings,
//! and goes to the next server when one is silent.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use zk_proto::client::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader, WatcherEvent};
use zk_proto::{ErrorCode, OpCode, Reader, SessionId, Writer, Xid, Zxid};

use crate::link::Link;
use crate::servers::Options;
use crate::watches::{Event, EventKind, Watches};
use crate::{Error, Result, Security};

/// A longer frame is nothing that a server sends.
const MAX_FRAME: usize = 64 << 20;
/// Between two rounds over all servers.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const STRANGE: &str = "the server speaks another protocol";
/// Most tokens of one login. DIGEST-MD5 has two, Kerberos three.
const MAX_TOKENS: usize = 16;
/// How long the end of a session is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A server is looked for.
    Connecting,
    /// It is alive.
    Connected,
    /// It is alive, on a server that only serves reads.
    ConnectedReadOnly,
    /// It ended on the server's side.
    Expired,
    /// The server did not take the credentials.
    AuthFailed,
    /// It was closed.
    Closed,
}

impl State {
    /// Whether there is or may be a session. ref: ZooKeeper.States.isAlive.
    pub fn is_alive(self) -> bool {
        matches!(self, State::Connecting | State::Connected | State::ConnectedReadOnly)
    }

    fn is_connected(self) -> bool {
        matches!(self, State::Connected | State::ConnectedReadOnly)
    }
}

impl fmt::Display for State {
    /// ref: ZooKeeper.States.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::ConnectedReadOnly => "CONNECTEDREADONLY",
            State::AuthFailed => "AUTH_FAILED",
            State::Expired | State::Closed => "CLOSED",
        })
    }
}

/// Answer to one request.
type Answer = std::result::Result<Vec<u8>, ErrorCode>;

pub(crate) struct Inner {
    state: State,
    link: Option<Arc<Link>>,
    /// Why the last try had no connection.
    trouble: Option<String>,
    /// Rounds over all servers that failed, so that who waits for a connection may give up.
    failed_rounds: u64,
    xid: i32,
    pending: BTreeMap<i32, Sender<Answer>>,
    session: SessionId,
    password: Vec<u8>,
    /// As negotiated.
    timeout: Duration,
    seen: Zxid,
    auth: Vec<(String, Vec<u8>)>,
    pub(crate) watches: Watches,
    last_sent: Instant,
    /// The end was asked for: a connection that is lost now is not missed.
    closing: bool,
    ended: bool,
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    security: Security,
    inner: Mutex<Inner>,
    changed: Condvar,
    events: Mutex<Box<dyn FnMut(Event) + Send>>,
}

/// A session with an ensemble. It ends with [`close`](Self::close), or when it is dropped.
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.shared.options).field("state", &self.state()).finish()
    }
}

impl Client {
    /// Begins to connect. Events come on the session's thread; the receiver must not call the
    /// client.
    pub fn start(options: Options, security: Security, events: impl FnMut(Event) + Send + 'static) -> Client {
        let inner = Inner {
            state: State::Connecting,
            link: None,
            trouble: None,
            failed_rounds: 0,
            xid: 0,
            pending: BTreeMap::new(),
            session: SessionId::NONE,
            password: vec![0; 16],
            timeout: options.timeout,
            seen: Zxid::ZERO,
            auth: Vec::new(),
            watches: Watches::default(),
            last_sent: Instant::now(),
            closing: false,
            ended: false,
        };
        let shared = Arc::new(Shared {
            options,
            security,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            events: Mutex::new(Box::new(events)),
        });
        let own = shared.clone();
        // It ends with the session; nobody waits for it, since it may be waiting for a server.
        std::thread::spawn(move || own.run());
        Client { shared }
    }

    /// How the session is now.
    pub fn state(&self) -> State {
        self.shared.lock().state
    }

    /// Why there is no connection, as far as the last try told: no server, no TLS, no login.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }

    /// The session, once there is one.
    pub fn session(&self) -> SessionId {
        self.shared.lock().session
    }

    /// Waits until there is a connection. False: not within this time.
    pub fn wait_connected(&self, within: Duration) -> bool {
        let inner = self.shared.lock();
        let waiting = |i: &mut Inner| i.state == State::Connecting;
        let (inner, _) = self
            .shared
            .changed
            .wait_timeout_while(inner, within, waiting)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.state.is_connected()
    }

    /// Adds an identity to the session, on this connection and later ones. It does not wait;
    /// requests behind it have the identity.
    pub fn add_auth(&self, scheme: &str, auth: &[u8]) {
        let mut inner = self.shared.lock();
        inner.auth.push((scheme.to_owned(), auth.to_vec()));
        if inner.state.is_connected() {
            let frame = auth_frame(scheme, auth);
            inner.write(&frame);
        }
    }

    /// Sends a request and waits for its reply. While there is no connection it waits for one;
    /// when no server of the list takes one, that is a `ConnectionLoss`.
    pub(crate) fn request(&self, op: OpCode, body: &[u8], path: &str) -> Result<Vec<u8>> {
        let refused = |code| Error::Refused { code, path: path.to_owned() };
        let receive = self.send(op, body).map_err(refused)?;
        receive.recv().unwrap_or(Err(ErrorCode::ConnectionLoss)).map_err(refused)
    }

    fn send(
        &self,
        op: OpCode,
        body: &[u8],
    ) -> std::result::Result<std::sync::mpsc::Receiver<Answer>, ErrorCode> {
        let inner = self.shared.lock();
        let rounds = inner.failed_rounds;
        let waiting = |i: &mut Inner| i.state == State::Connecting && i.failed_rounds == rounds;
        let mut inner =
            self.shared.changed.wait_while(inner, waiting).unwrap_or_else(std::sync::PoisonError::into_inner);
        match inner.state {
            State::Connected | State::ConnectedReadOnly => {}
            State::Connecting => return Err(ErrorCode::ConnectionLoss),
            State::AuthFailed => return Err(ErrorCode::AuthFailed),
            State::Expired | State::Closed => return Err(ErrorCode::SessionExpired),
        }
        inner.xid = inner.xid.checked_add(1).unwrap_or(1);
        let xid = inner.xid;
        let (send, receive) = channel();
        inner.pending.insert(xid, send);
        inner.write(&frame(Xid(xid), op, body));
        Ok(receive)
    }

    /// Ends the session, and tells with an event. Does nothing when it has ended.
    pub fn close(&self) {
        if !self.state().is_alive() {
            return;
        }
        let connected = self.state().is_connected();
        self.shared.lock().closing = true;
        if connected && let Ok(receive) = self.send(OpCode::CloseSession, &[]) {
            let _ = receive.recv_timeout(CLOSE_WAIT);
        }
        self.shared.end(State::Closed, Some("Closed"));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
        self.shared.end(State::Closed, None);
    }
}

fn frame(xid: Xid, op: OpCode, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(RequestHeader::LEN + body.len());
    RequestHeader { xid, op: op.to_i32() }.write(&mut Writer::new(&mut content));
    content.extend_from_slice(body);
    framed(&content)
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + content.len());
    Writer::new(&mut out).buffer(Some(content));
    out
}

/// ref: proto.AuthPacket; the type is always 0.
fn auth_frame(scheme: &str, auth: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut w = Writer::new(&mut body);
    w.int(0);
    w.str(scheme);
    w.buffer(Some(auth));
    frame(Xid::AUTH, OpCode::Auth, &body)
}

impl Inner {
    fn is_over(&self) -> bool {
        self.ended || self.closing
    }

    /// An error shows at the next read, which ends the connection.
    fn write(&mut self, frame: &[u8]) {
        self.last_sent = Instant::now();
        if let Some(link) = &self.link
            && (&**link).write_all(frame).is_err()
        {
            link.shutdown();
        }
    }

    fn drop_connection(&mut self) {
        if let Some(link) = self.link.take() {
            link.shutdown();
        }
        for (_, caller) in std::mem::take(&mut self.pending) {
            let _ = caller.send(Err(ErrorCode::ConnectionLoss));
        }
    }
}

/// Why a connection ended.
enum End {
    /// The next server may be better.
    Lost,
    /// There is no session any more.
    Over(State, &'static str),
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        events(event);
    }

    fn end(&self, state: State, told: Option<&'static str>) {
        let mut inner = self.lock();
        let first = !inner.ended;
        inner.ended = true;
        if inner.state.is_alive() {
            inner.state = state;
        }
        inner.drop_connection();
        drop(inner);
        self.changed.notify_all();
        if let Some(told) = told.filter(|_| first) {
            self.tell(Event::of_session(told));
        }
    }

    fn run(&self) {
        loop {
            let mut reached = false;
            for server in &self.options.servers {
                if self.lock().is_over() {
                    return;
                }
                let link = match self.connect(server) {
                    Ok(link) => Arc::new(link),
                    Err(e) => {
                        self.lock().trouble = Some(format!("{server}: {e}"));
                        continue;
                    }
                };
                match self.serve(&link, &mut reached) {
                    End::Lost if reached => break,
                    End::Lost => {}
                    End::Over(state, told) => return self.end(state, Some(told)),
                }
            }
            if !reached {
                self.lock().failed_rounds += 1;
                self.changed.notify_all();
                std::thread::sleep(RETRY_PAUSE);
            }
        }
    }

    /// A connection to a server, with TLS if that is wanted.
    fn connect(&self, server: &str) -> io::Result<Link> {
        let share = u32::try_from(self.options.servers.len()).unwrap_or(u32::MAX).max(1);
        let wait = (self.lock().timeout / share).max(Duration::from_millis(200));
        let mut failed = io::Error::other("it has no address");
        for address in server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, wait) {
                Ok(socket) => return Link::open(socket, server, self.security.tls.as_deref(), wait),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    /// One connection, from its first byte to its last.
    fn serve(&self, link: &Arc<Link>, reached: &mut bool) -> End {
        match self.handshake(link) {
            Ok(state) => {
                *reached = true;
                let told = if state == State::Connected { "SyncConnected" } else { "ConnectedReadOnly" };
                // Before any reply, so that output has the event first.
                self.tell(Event::of_session(told));
                let mut inner = self.lock();
                if !inner.is_over() {
                    inner.state = state;
                }
                inner.trouble = None;
                drop(inner);
                self.changed.notify_all();
            }
            Err(end) => return end,
        }
        let end = self.read_all(link);
        if matches!(end, End::Lost) {
            let mut inner = self.lock();
            inner.drop_connection();
            if inner.is_over() {
                return End::Lost;
            }
            inner.state = State::Connecting;
            drop(inner);
            self.tell(Event::of_session("Disconnected"));
        }
        end
    }

    /// A try that ends before there is a session, and why.
    fn lost(&self, why: &str) -> End {
        self.lock().trouble = Some(why.to_owned());
        End::Lost
    }

    /// What the session's state will be.
    fn handshake(&self, link: &Arc<Link>) -> std::result::Result<State, End> {
        let mut content = Vec::new();
        let timeout = {
            let inner = self.lock();
            let wanted = i32::try_from(self.options.timeout.as_millis()).unwrap_or(i32::MAX);
            let request = ConnectRequest {
                protocol_version: 0,
                last_zxid: inner.seen,
                timeout: wanted,
                session: inner.session,
                password: Some(inner.password.clone()),
                read_only: Some(self.options.read_only),
            };
            request.encode(&mut content);
            inner.timeout
        };
        let mut input = Input::default();
        let answer = ask(link, &mut input, &framed(&content), timeout);
        let answer = answer.map_err(|e| self.lost(&format!("the connection was not taken: {e}")))?;
        let answer = ConnectResponse::decode(&answer).map_err(|_| self.lost(STRANGE))?;
        let Some(negotiated) = u64::try_from(answer.timeout).ok().filter(|t| *t > 0) else {
            return Err(End::Over(State::Expired, "Expired"));
        };
        let state = match answer.read_only {
            Some(true) => State::ConnectedReadOnly,
            _ => State::Connected,
        };
        self.log_in(link, &mut input, timeout)?;
        let mut inner = self.lock();
        if inner.is_over() {
            return Err(End::Lost);
        }
        (inner.session, inner.password) = (answer.session, answer.password.to_vec());
        inner.timeout = Duration::from_millis(negotiated);
        inner.link = Some(link.clone());
        for (scheme, auth) in inner.auth.clone() {
            inner.write(&auth_frame(&scheme, &auth));
        }
        for body in inner.watches.requests(inner.seen) {
            inner.write(&frame(Xid::SET_WATCHES, OpCode::SetWatches2, &body));
        }
        Ok(state)
    }

    /// The login, before anything else is said on a connection.
    /// ref: ClientCnxn.SendThread, ZooKeeperSaslClient.
    fn log_in(&self, link: &Link, input: &mut Input, wait: Duration) -> std::result::Result<(), End> {
        let Some(begin) = &self.security.login else { return Ok(()) };
        let mut answer = begin();
        let mut token = Vec::new();
        for _ in 0..MAX_TOKENS {
            let said = answer(&token)
                .map_err(|why| self.not_let_in(&format!("the server is not who it should be: {why}")))?;
            let Some(said) = said else { return Ok(()) };
            let xid = {
                let mut inner = self.lock();
                inner.xid = inner.xid.checked_add(1).unwrap_or(1);
                Xid(inner.xid)
            };
            let mut body = Vec::new();
            Writer::new(&mut body).buffer(Some(&said));
            let reply = ask(link, input, &frame(xid, OpCode::Sasl, &body), wait);
            let reply = reply.map_err(|e| self.lost(&format!("no login: {e}")))?;
            let mut r = Reader::with_max_len(&reply, MAX_FRAME);
            match ReplyHeader::read(&mut r) {
                Ok(header) if header.xid == xid && header.err == 0 => {}
                Ok(header) if header.xid == xid => {
                    return Err(self.not_let_in("the server refuses the login"));
                }
                _ => return Err(self.lost(STRANGE)),
            }
            let next = r.buffer().map_err(|_| self.lost(STRANGE))?;
            token = next.unwrap_or_default().to_vec();
        }
        Err(self.not_let_in("the login has no end"))
    }

    fn not_let_in(&self, why: &str) -> End {
        self.lock().trouble = Some(why.to_owned());
        End::Over(State::AuthFailed, "AuthFailed")
    }

    fn read_all(&self, link: &Link) -> End {
        let mut input = Input::default();
        let mut heard = Instant::now();
        loop {
            let (timeout, sent, ended) = {
                let inner = self.lock();
                (inner.timeout, inner.last_sent, inner.ended)
            };
            if ended {
                return End::Lost;
            }
            // ref: ClientCnxn.SendThread: pings after a third, gives up after two.
            if heard.elapsed() > timeout * 2 / 3 {
                return End::Lost;
            }
            if sent.elapsed() >= timeout / 3 {
                self.lock().write(&frame(Xid::PING, OpCode::Ping, &[]));
            }
            match input.frame(link, timeout / 10) {
                Ok(Some(bytes)) => {
                    heard = Instant::now();
                    if let Some(end) = self.take(&bytes) {
                        return end;
                    }
                }
                Ok(None) => {}
                Err(_) => return End::Lost,
            }
        }
    }

    /// Hands a frame to whom it is for.
    fn take(&self, bytes: &[u8]) -> Option<End> {
        let mut r = Reader::with_max_len(bytes, MAX_FRAME);
        let Ok(header) = ReplyHeader::read(&mut r) else { return Some(End::Lost) };
        match header.xid {
            Xid::PING | Xid::SET_WATCHES => {}
            Xid::AUTH if header.err != 0 => return Some(End::Over(State::AuthFailed, "AuthFailed")),
            Xid::AUTH => {}
            Xid::EVENT => {
                let Ok(event) = WatcherEvent::read(&mut r) else { return Some(End::Lost) };
                self.fire(&event, header.zxid);
            }
            xid => {
                let mut inner = self.lock();
                inner.seen = inner.seen.max(header.zxid);
                let answer = match ErrorCode::from_i32(header.err) {
                    Some(ErrorCode::Ok) => Ok(r.rest().to_vec()),
                    Some(code) => Err(code),
                    None => Err(ErrorCode::SystemError),
                };
                // A reply to nobody: what comes next cannot be told apart any more.
                let Some(caller) = inner.pending.remove(&xid.0) else { return Some(End::Lost) };
                let _ = caller.send(answer);
            }
        }
        None
    }

    fn fire(&self, event: &WatcherEvent<'_>, zxid: Zxid) {
        let kind = match event.event {
            1 => EventKind::NodeCreated,
            2 => EventKind::NodeDeleted,
            3 => EventKind::NodeDataChanged,
            4 => EventKind::NodeChildrenChanged,
            _ => return,
        };
        self.lock().watches.fired(kind, &event.path);
        let path = strip_chroot(&self.options.chroot, &event.path).to_owned();
        self.tell(Event { kind, state: "SyncConnected", path: Some(path), zxid: zxid.0 });
    }
}

/// Sends a frame on a connection on which nobody else speaks yet, and waits for the answer.
fn ask(link: &Link, input: &mut Input, frame: &[u8], within: Duration) -> io::Result<Vec<u8>> {
    let mut to = link;
    to.write_all(frame)?;
    let deadline = Instant::now() + within;
    loop {
        match input.frame(link, deadline.saturating_duration_since(Instant::now()))? {
            Some(frame) => return Ok(frame),
            None if Instant::now() < deadline => {}
            None => return Err(io::Error::other("there is no answer")),
        }
    }
}

/// A server's path as the caller knows it.
pub(crate) fn strip_chroot<'p>(chroot: &str, path: &'p str) -> &'p str {
    match path.strip_prefix(chroot) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// Bytes that are not yet a frame.
#[derive(Default)]
struct Input(Vec<u8>);

impl Input {
    /// The next frame's content; `None`: not within this time. An error: the connection ended,
    /// or speaks another protocol.
    fn frame(&mut self, mut link: &Link, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        if let Some(frame) = self.cut()? {
            return Ok(Some(frame));
        }
        link.set_read_timeout(wait)?;
        let mut buffer = [0; 16 << 10];
        match link.read(&mut buffer) {
            Ok(0) => Err(io::Error::other("the server closed the connection")),
            Ok(n) => {
                self.0.extend_from_slice(buffer.get(..n).unwrap_or_default());
                self.cut()
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn cut(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((head, rest)) = self.0.split_first_chunk::<4>() else { return Ok(None) };
        let strange = || io::Error::other(STRANGE);
        let len = usize::try_from(i32::from_be_bytes(*head)).map_err(|_| strange())?;
        if len > MAX_FRAME {
            return Err(strange());
        }
        let Some(frame) = rest.get(..len).map(<[u8]>::to_vec) else { return Ok(None) };
        self.0.drain(..4 + len);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroots() {
        assert_eq!(strip_chroot("/x", "/x/a"), "/a");
        assert_eq!(strip_chroot("/x", "/x"), "/");
        assert_eq!(strip_chroot("/x", "/xy"), "/xy");
        assert_eq!(strip_chroot("", "/a"), "/a");
    }

    #[test]
    fn frames_are_cut() {
        let mut input = Input(vec![0, 0, 0, 2, 7, 8, 0, 0]);
        assert_eq!(input.cut().unwrap(), Some(vec![7, 8]));
        assert_eq!(input.cut().unwrap(), None);
        assert!(Input(vec![0x7f, 0, 0, 0]).cut().is_err());
        assert!(Input(vec![0xff, 0, 0, 0]).cut().is_err());
    }
}
