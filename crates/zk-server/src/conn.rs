//! One client's connection.
//!
//! ```text
//!  First4 --a word--> Mask / Answering ----------------------> closing
//!    |                                                            ^
//!    +--a length--> Connecting --request--> Settling --session--> Open
//! ```
//! A connection belongs to one worker for life. Its task waits for the socket;
//! whatever else happens to it (replies of the core, events, a close) is done by
//! the worker when it drains its inbox, and the task is only woken if it has to
//! go on reading or has to wait for room in the socket.
//!
//! A turn works off the frames of one read: one hold of the tree's lock, one
//! message to the core, one write to the socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use zk_admin::Word;
use zk_pipeline::auth::EnsembleName;
use zk_pipeline::read::{self, ReadContext, Watches};
use zk_pipeline::{ConnId, Identities, Input, reply};
use zk_proto::client::{
    AuthPacket, ConnectRequest, ConnectResponse, RequestHeader, WatcherKind, WriteRequest,
};
use zk_proto::{AuthId, DecodeError, ErrorCode, OpCode, Reader, SessionId, Xid, Zxid};
use zk_tree::Tree;
use zk_tree::watch::{Place, WatchKind, WatchTable};

use crate::audit::{self, Asked, Who};
use crate::frames::{Cut, PREFIX, Tail, cut};
use crate::meters::{OPERATIONS, operation};
use crate::sasl::{Answer, Exchange, LoginError, Taken, Work};
use crate::shared::{Admitted, Heard, Serving, address_identity, password_opens};
use crate::stats::ConnStats;
use crate::throttle::Kind;
use crate::tls::{Secured, Session};
use crate::worker::Worker;
use crate::{clock, limits};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its first four bytes are a word or a length.
    First4,
    /// `stmk` came, the eight bytes of its mask did not.
    Mask,
    /// The answer to a word is being collected.
    Answering,
    /// The connect request has not come yet.
    Connecting,
    /// The core has the connect request.
    Settling,
    /// It has a session.
    Open,
}

/// A request that the core has.
#[derive(Debug)]
pub struct Pending {
    xid: Xid,
    op: OpCode,
    /// It reads, or is refused in its turn.
    deferred: bool,
    /// When it came, monotonic microseconds.
    at: u64,
    /// Its size if it counts as a large one.
    large: u32,
    /// What the audit log will say of it.
    asked: Option<Box<Asked>>,
}

/// What changes about a connection.
#[derive(Debug)]
pub struct Inner {
    /// How far it has come.
    pub phase: Phase,
    tail: Tail,
    /// Replies and events that the socket has not taken.
    pub out: BytesMut,
    /// Bytes of events since `out` was last empty.
    pub event_bytes: usize,
    /// On whose behalf it asks.
    pub ids: Identities,
    /// How far its login by SASL is.
    login: Exchange,
    /// A token that this turn has to hand on, and the number of its reply.
    work: Option<(Xid, Work)>,
    /// Its session, once it has one.
    pub session: SessionId,
    /// The session's time-out, ms.
    pub timeout: i32,
    /// When the session was last heard of.
    pub heard: Option<Heard>,
    /// The client's connect request has the readOnly byte, so the answer has it.
    has_read_only: bool,
    /// What the core has, in order.
    pub pending: VecDeque<Pending>,
    deferred: usize,
    /// It takes nothing more and closes when `out` is written.
    pub closing: bool,
    /// It closes now.
    pub dead: bool,
    /// It waits behind a failed login: nothing is read, and nothing leaves.
    held: bool,
    /// Counters for `cons`.
    pub stats: ConnStats,
    /// When it was accepted, wall-clock ms.
    pub established: i64,
}

impl Inner {
    /// False: it has too many. Java takes any number.
    #[must_use]
    fn add_ids(&mut self, new: Vec<AuthId>) -> bool {
        let mut ids = self.ids.to_vec();
        for id in new {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let fits = ids.len() <= limits::IDENTITIES;
        if fits {
            self.ids = ids.into();
        }
        fits
    }
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// Its number.
    pub id: ConnId,
    /// Its place in the worker, and its number in the worker's watch table.
    pub slot: u32,
    /// The client's address.
    pub peer: SocketAddr,
    /// What changes.
    pub inner: RefCell<Inner>,
    writer: OwnedWriteHalf,
    /// En- and decrypts, if it has TLS.
    tls: Option<RefCell<Session>>,
    worker: Rc<Worker>,
    waker: RefCell<Option<Waker>>,
    /// The socket did not take all that there was to send.
    blocked: Cell<bool>,
    /// It closes, and the client has a time limit to take the rest.
    lingering: Cell<bool>,
    /// It stands in the worker's list of connections to flush.
    pub dirty: Cell<bool>,
    /// Its task does not read until somebody wakes it.
    paused: Cell<bool>,
    _admitted: Admitted,
}

impl Conn {
    /// A connection that was just accepted.
    pub fn new(
        id: ConnId,
        slot: u32,
        (peer, admitted): (SocketAddr, Admitted),
        writer: OwnedWriteHalf,
        secured: Option<Box<Secured>>,
        worker: Rc<Worker>,
    ) -> Rc<Self> {
        let (tls, shown) = match secured {
            None => (None, Vec::new()),
            Some(secured) => (Some(RefCell::new(secured.session)), secured.identities),
        };
        let ids: Identities = [address_identity(admitted.address())].into_iter().chain(shown).collect();
        let inner = Inner {
            phase: Phase::First4,
            tail: Tail::default(),
            out: BytesMut::new(),
            event_bytes: 0,
            ids,
            login: Exchange::default(),
            work: None,
            session: SessionId::NONE,
            timeout: 0,
            heard: None,
            has_read_only: false,
            pending: VecDeque::new(),
            deferred: 0,
            closing: false,
            dead: false,
            held: false,
            stats: ConnStats::default(),
            established: clock::wall(),
        };
        Rc::new(Self {
            id,
            slot,
            peer,
            inner: RefCell::new(inner),
            writer,
            tls,
            worker,
            waker: RefCell::new(None),
            blocked: Cell::new(false),
            lingering: Cell::new(false),
            dirty: Cell::new(false),
            paused: Cell::new(false),
            _admitted: admitted,
        })
    }

    /// Runs the connection until it closes.
    pub async fn run(self: Rc<Self>, mut reader: OwnedReadHalf) {
        std::future::poll_fn(|cx| self.poll(cx, &mut reader)).await;
        if let Some(tls) = &self.tls {
            tls.borrow_mut().close(self.writer.as_ref());
        }
        // Bytes that nobody reads would turn the close into a reset, which may
        // overtake the last reply.
        let mut scratch = self.worker.read_buffer.borrow_mut();
        for _ in 0..16 {
            match reader.try_read(&mut scratch) {
                Ok(n) if n > 0 => {}
                _ => break,
            }
        }
        drop(scratch);
        self.worker.remove(&self);
    }

    fn poll(self: &Rc<Self>, cx: &mut Context<'_>, reader: &mut OwnedReadHalf) -> Poll<()> {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        loop {
            if self.inner.borrow().dead {
                return Poll::Ready(());
            }
            if self.blocked.get() && self.writer.as_ref().poll_write_ready(cx).is_ready() {
                self.flush();
                continue;
            }
            {
                let i = self.inner.borrow();
                if i.closing {
                    let is_sent = i.out.is_empty() && !self.blocked.get() && !i.held;
                    return if is_sent { Poll::Ready(()) } else { Poll::Pending };
                }
            }
            let before = self.waiting_bytes();
            if before > 0 && self.may_go_on() && self.waiting_frame() {
                self.on_bytes(&[]);
                if self.waiting_bytes() < before {
                    continue;
                }
            }
            if !self.may_go_on() || self.waiting_frame() {
                self.paused.set(true);
                return Poll::Pending;
            }
            self.paused.set(false);
            let mut buffer = self.worker.read_buffer.borrow_mut();
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = match &self.tls {
                None => Pin::new(&mut *reader).poll_read(cx, &mut buffer),
                Some(tls) => tls.borrow_mut().poll_read(cx, self.writer.as_ref(), &mut buffer),
            };
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    self.on_bytes(buffer.filled());
                    if buffer.remaining() == 0 {
                        // There is more; the others come first.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn waiting_bytes(&self) -> usize {
        self.inner.borrow().tail.bytes().len()
    }

    /// Whether what is kept can be worked on.
    fn waiting_frame(&self) -> bool {
        let i = self.inner.borrow();
        let bytes = i.tail.bytes();
        match i.phase {
            Phase::First4 => bytes.len() >= 4,
            Phase::Mask => bytes.len() >= 8,
            Phase::Answering | Phase::Settling => false,
            Phase::Connecting | Phase::Open => {
                cut(bytes, self.worker.shared.settings.max_frame) != Cut::Partial
            }
        }
    }

    /// Whether the next frame is taken.
    fn may_go_on(&self) -> bool {
        let i = self.inner.borrow();
        if i.held {
            return false;
        }
        match i.phase {
            Phase::First4 | Phase::Mask => !self.worker.core_is_full(),
            Phase::Connecting => !self.worker.core_is_full() && !self.worker.is_held(),
            Phase::Answering | Phase::Settling => false,
            Phase::Open => i.out.len() < limits::OUT_HIGH && self.may_take(&i),
        }
    }

    /// ref: ZooKeeperServer.shouldThrottle.
    fn may_take(&self, i: &Inner) -> bool {
        if i.held || self.worker.core_is_full() || self.worker.is_held() || i.login.is_working() {
            return false;
        }
        if i.pending.is_empty() {
            return true;
        }
        i.pending.len() < limits::CONN_OUTSTANDING
            && i.deferred < limits::DEFERRED_READS
            && self.worker.outstanding() <= self.worker.shared.live.outstanding_limit()
    }

    /// Lets the task look again.
    pub fn wake(&self) {
        if let Some(w) = self.waker.borrow().as_ref() {
            w.wake_by_ref();
        }
    }

    /// What was held back for a failed login leaves.
    pub fn release(&self) {
        if std::mem::take(&mut self.inner.borrow_mut().held) {
            self.flush();
            self.wake();
        }
    }

    /// Lets the task look again if it does not read.
    pub fn wake_if_paused(&self) {
        if self.paused.get() {
            self.wake();
        }
    }

    /// Whether so long nothing was heard of the client that it may speak elsewhere: clients
    /// ping after a third of the time-out and go after two thirds. What its old connection
    /// still brings must not come behind newer requests.
    pub fn is_silent(&self, now: u64) -> bool {
        let i = self.inner.borrow();
        let heard = i.heard.as_ref().map_or(now, |h| h.load(Ordering::Relaxed));
        i.phase == Phase::Open && now.saturating_sub(heard) > u64::try_from(i.timeout).unwrap_or(0) / 2
    }

    /// Whether the client has closed its side, whatever it has sent before.
    pub fn has_left(&self) -> bool {
        let flags = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        let mut fds = [PollFd::new(self.writer.as_ref().as_fd(), flags)];
        let gone = flags | PollFlags::POLLHUP | PollFlags::POLLERR;
        // A call that fails says nothing; the next read will.
        nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
            && fds[0].revents().is_some_and(|r| r.intersects(gone))
    }

    /// Whether it has TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match &self.tls {
            None => self.writer.try_write(bytes),
            Some(tls) => tls.borrow_mut().try_write(self.writer.as_ref(), bytes),
        }
    }

    /// Whether something waits that is not in `out` any more.
    fn has_encrypted(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.borrow().has_waiting())
    }

    /// Writes what the socket takes.
    pub fn flush(&self) {
        let mut i = self.inner.borrow_mut();
        let i = &mut *i;
        if i.held && !i.dead {
            return;
        }
        while !i.dead && (!i.out.is_empty() || self.has_encrypted()) {
            match self.try_write(&i.out) {
                Ok(n) if n == i.out.len() => i.out.clear(),
                Ok(n) => i.out.advance(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => i.dead = true,
            }
        }
        let was_blocked = self.blocked.replace(!i.out.is_empty() || self.has_encrypted());
        if i.out.is_empty() {
            i.event_bytes = 0;
            if i.out.capacity() > limits::KEEP {
                self.worker.give_back(std::mem::take(&mut i.out));
            }
        }
        if i.closing && self.blocked.get() && !self.lingering.replace(true) {
            // Whoever does not take the last words, for example a halted process, must not
            // keep its place and what was written to it for ever.
            let socket = SockRef::from(self.writer.as_ref());
            if let Err(e) = socket.set_tcp_user_timeout(Some(limits::LAST_WORDS)) {
                tracing::debug!(peer = %self.peer, "no time-out of a closing connection: {e}");
            }
        }
        if i.dead || i.closing || self.blocked.get() || was_blocked {
            self.wake();
        }
    }

    fn on_bytes(self: &Rc<Self>, bytes: &[u8]) {
        let kept = self.inner.borrow_mut().tail.take();
        if kept.is_empty() {
            let consumed = self.process(bytes);
            let mut i = self.inner.borrow_mut();
            i.tail.keep_from(kept, 0);
            if !i.closing && !i.dead {
                i.tail.extend(&bytes[consumed..]);
            }
        } else {
            let mut all = kept;
            all.extend_from_slice(bytes);
            let consumed = self.process(&all);
            self.inner.borrow_mut().tail.keep_from(all, consumed);
        }
    }

    /// Works on `bytes` from the front; how many were used up.
    fn process(self: &Rc<Self>, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let phase = {
                let i = self.inner.borrow();
                if i.closing || i.dead {
                    return at;
                }
                i.phase
            };
            match phase {
                Phase::First4 => {
                    let Some(first) = rest.first_chunk::<4>() else { return at };
                    match Word::parse(*first) {
                        None => self.inner.borrow_mut().phase = Phase::Connecting,
                        Some(Word::Stmk) => {
                            at += 4;
                            self.inner.borrow_mut().phase = Phase::Mask;
                        }
                        Some(word) => {
                            self.word(word, None);
                            return at + 4;
                        }
                    }
                }
                Phase::Mask => {
                    let Some(mask) = rest.first_chunk::<8>() else { return at };
                    self.word(Word::Stmk, Some(i64::from_be_bytes(*mask)));
                    return at + 8;
                }
                Phase::Connecting => match cut(rest, self.worker.shared.settings.max_frame) {
                    Cut::Partial => return at,
                    Cut::Bad => {
                        self.inner.borrow_mut().dead = true;
                        return at;
                    }
                    Cut::Frame(len) => {
                        at += PREFIX + len;
                        self.connect(&rest[PREFIX..PREFIX + len]);
                        self.worker.after_turn();
                        self.flush();
                    }
                },
                Phase::Answering | Phase::Settling => return at,
                Phase::Open => {
                    if !self.may_go_on() {
                        return at;
                    }
                    match self.turn(rest) {
                        0 => return at,
                        n => at += n,
                    }
                }
            }
        }
    }

    fn word(self: &Rc<Self>, word: Word, mask: Option<i64>) {
        self.worker.count_received(1);
        let mut i = self.inner.borrow_mut();
        i.stats.received += 1;
        i.phase = Phase::Answering;
        drop(i);
        crate::words::start(Rc::clone(&self.worker), Rc::clone(self), word, mask);
    }

    /// ref: ZooKeeperServer.processConnectRequest; rows 2 to 6.
    fn connect(&self, frame: &[u8]) {
        let shared = &self.worker.shared;
        let mut i = self.inner.borrow_mut();
        let i = &mut *i;
        self.worker.count_received(1);
        i.stats.received += 1;
        let Ok(request) = ConnectRequest::decode(frame) else {
            i.dead = true;
            return;
        };
        let kind = match request.session {
            SessionId::NONE if shared.settings.local_sessions => Kind::Local,
            SessionId::NONE => Kind::New,
            _ => Kind::Renew,
        };
        let takes_read_only = request.read_only == Some(true);
        let serves = match shared.serving() {
            Serving::Yes | Serving::Held => true,
            Serving::ReadOnly => takes_read_only,
            Serving::No => false,
        };
        if !serves {
            self.worker.count(|t| t.not_serving += 1);
            i.dead = true;
            return;
        }
        let passes = {
            let mut throttle = shared.throttle.lock();
            let passes = throttle.is_off() || throttle.pass(kind, clock::mono(), rand::random());
            if passes {
                self.worker.meters.token_deficit.record(throttle.deficit());
            }
            passes
        };
        let ahead = request.last_zxid.0 > shared.last_zxid.load(Ordering::Acquire);
        if !passes || ahead {
            tracing::debug!(peer = %self.peer, zxid = %request.last_zxid, passes, "connection refused");
            i.dead = true;
            return;
        }
        i.has_read_only = request.read_only.is_some();
        if request.session != SessionId::NONE && !password_opens(request.session, request.password.as_deref())
        {
            return self.refuse(i);
        }
        if request.session != SessionId::NONE {
            self.worker.count(|t| t.revalidated += 1);
        }
        let timeout = zk_pipeline::session::negotiate(
            request.timeout,
            shared.settings.min_timeout,
            shared.settings.max_timeout,
        );
        i.phase = Phase::Settling;
        self.worker.to_core(Input::Connect {
            conn: self.id,
            session: request.session,
            timeout,
            read_only: takes_read_only,
        });
    }

    /// Says that there is no such session, and closes.
    pub fn refuse(&self, i: &mut Inner) {
        let read_only = i.has_read_only.then(|| self.worker.shared.serving() == Serving::ReadOnly);
        reply::connect(&mut i.out, &ConnectResponse::refused(read_only));
        i.stats.sent += 1;
        self.worker.count_sent(1);
        i.closing = true;
    }

    /// The core has settled the session.
    pub fn settle(&self, session: SessionId, timeout: i32, heard: Heard, read_only: bool) {
        let mut i = self.inner.borrow_mut();
        let i = &mut *i;
        heard.store(clock::mono(), Ordering::Relaxed);
        i.session = session;
        i.timeout = timeout;
        i.heard = Some(heard);
        i.phase = Phase::Open;
        i.stats.last_op = OpCode::CreateSession.to_i32();
        i.stats.sent += 1;
        self.worker.count_sent(1);
        let read_only = i.has_read_only.then_some(read_only);
        reply::connect(&mut i.out, &ConnectResponse::accepted(session, timeout, read_only));
    }

    fn turn(self: &Rc<Self>, bytes: &[u8]) -> usize {
        let w = &self.worker;
        let in_line = self.inner.borrow().pending.is_empty() && !begins_with_write(bytes);
        let consumed = if in_line {
            let tree = w.shared.tree.read();
            // Events of what is in the tree stand in front of replies that show it.
            w.drain();
            self.frames(Some(&tree), bytes)
        } else {
            self.frames(None, bytes)
        };
        w.after_turn();
        self.flush();
        let work = self.inner.borrow_mut().work.take();
        if let Some((xid, work)) = work {
            self.log_in(xid, work);
        }
        consumed
    }

    /// Has a token judged elsewhere, and goes on then.
    fn log_in(self: &Rc<Self>, xid: Xid, work: Work) {
        let conn = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let (login, taken) = work.done().await;
            let mut i = conn.inner.borrow_mut();
            if i.closing || i.dead {
                return;
            }
            i.login = login;
            conn.answer_login(&mut i, xid, taken.map(Some));
            drop(i);
            conn.worker.count_turn(0, 1);
            conn.flush();
            conn.wake();
        });
    }

    /// A login has failed: its answer leaves later the more often that has happened to the address, but before
    /// the client takes its server for dead, or else it would connect and fail again for ever.
    fn slow_down(&self, i: &mut Inner) {
        let wait = self.worker.shared.guard.failed(self.peer.ip(), clock::mono());
        let wait = wait.min(u64::try_from(i.timeout / 4).unwrap_or(0));
        if wait > 0 {
            i.held = true;
            Rc::clone(&self.worker).release_later(self.id, wait);
        }
    }

    /// ref: ZooKeeperServer.processSasl; row 17.
    fn answer_login(&self, i: &mut Inner, xid: Xid, taken: Result<Option<Answer>, LoginError>) {
        let settings = &self.worker.shared.settings;
        let (code, token) = match taken {
            Ok(None) => (ErrorCode::Ok, None),
            Ok(Some(answer)) => {
                i.closing |= !i.add_ids(answer.proven);
                (ErrorCode::Ok, answer.token)
            }
            Err(reason) => {
                tracing::debug!(peer = %self.peer, %reason, "login failed");
                if !reason.is_of_client() {
                    // Clients connect again, but an answer would be their end.
                    i.closing = true;
                    return;
                }
                self.slow_down(i);
                if matches!(reason, LoginError::Name) {
                    i.closing = true;
                    return;
                }
                let is_required = settings.enforced.contains("sasl");
                let stays = settings.sasl.as_ref().is_some_and(|s| s.allow_failed) && !is_required;
                i.closing = !stays;
                let code = match (stays, is_required) {
                    (true, _) => ErrorCode::Ok,
                    (false, true) => ErrorCode::SessionClosedRequireSaslAuth,
                    (false, false) => ErrorCode::AuthFailed,
                };
                (code, None)
            }
        };
        i.stats.sent += 1;
        reply::frame(&mut i.out, xid, Zxid::ZERO, code, |w| w.buffer(token.as_deref()));
    }

    fn frames(&self, tree: Option<&Tree>, bytes: &[u8]) -> usize {
        let mut i = self.inner.borrow_mut();
        let i = &mut *i;
        let micros = clock::micros();
        let now = micros / 1000;
        if i.out.is_empty() && i.out.capacity() <= limits::KEEP {
            i.out = self.worker.borrow_scratch();
        }
        let before = i.out.len();
        let mut turn =
            Turn { conn: self, tree, micros, received: 0, answered: 0, reads: [0; OPERATIONS.len() + 1] };
        let mut table = self.worker.watches.borrow_mut();
        let mut at = 0;
        for _ in 0..limits::TURN_FRAMES {
            if i.closing || i.dead || i.out.len() >= limits::TURN_BYTES || !self.may_take(i) {
                break;
            }
            let rest = &bytes[at..];
            let len = match cut(rest, self.worker.shared.settings.max_frame) {
                Cut::Partial => break,
                Cut::Bad => {
                    i.closing = true;
                    break;
                }
                Cut::Frame(len) => len,
            };
            if !turn.frame(i, &mut table, &rest[PREFIX..PREFIX + len]) {
                break;
            }
            at += PREFIX + len;
        }
        if at > 0
            && let Some(heard) = &i.heard
        {
            heard.store(now, Ordering::Relaxed);
        }
        self.worker.count_turn(turn.received, turn.answered);
        if turn.answered > 0 {
            // Each was answered within the turn.
            let took = clock::micros() - micros;
            for (meter, n) in self.worker.meters.operations.iter().zip(turn.reads) {
                meter.record_many(took, u64::from(n));
            }
        }
        // Replies of this turn, since replies of the core are counted when they come.
        let replies = i.out.len().saturating_sub(before) as u64;
        self.worker.count(|t| {
            t.received += at as u64;
            t.replies += replies;
        });
        at
    }

    /// A reply of the core came: the request that it answers.
    pub fn answered(&self, i: &mut Inner, frames: &[u8], micros: u64) {
        let Some(p) = i.pending.pop_front() else { return };
        if p.deferred {
            i.deferred -= 1;
        }
        self.worker.forget(1, u64::from(p.large));
        if i.pending.is_empty() && i.pending.capacity() > 64 {
            i.pending = VecDeque::new();
        }
        let micros_taken = micros.saturating_sub(p.at);
        self.worker.meters.operations[operation(p.op)].record(micros_taken);
        self.look_at_size(p.op, i.session, frames.len());
        let (now, took) = (micros / 1000, micros_taken / 1000);
        let (zxid, err) = header_of(frames);
        if let Some(asked) = &p.asked {
            asked.log(&self.who(i), audit::Outcome::of(asked, frames));
        }
        #[cfg(feature = "otel")]
        crate::trace::request(p.op, i.session, zxid, err, micros_taken);
        if self.worker.shared.live.is_slow(took) {
            self.worker.slow(self.peer, i.session, p.xid, p.op, took);
        }
        let op = if p.op.is_write() && err != 0 { 0 } else { p.op.to_i32() };
        i.stats.replied(p.xid.0, op, zxid, now, took);
        self.worker.count_reply(frames.len(), took);
    }

    /// Warns of a list of children before it is more than clients take.
    fn look_at_size(&self, op: OpCode, session: SessionId, bytes: usize) {
        if bytes >= limits::LARGE_LIST && matches!(op, OpCode::GetChildren | OpCode::GetChildren2) {
            self.worker.large_list(self.peer, session, bytes);
        }
    }

    fn who<'i>(&self, i: &'i Inner) -> Who<'i> {
        Who { session: i.session, ids: &i.ids, address: self.peer.ip() }
    }

    /// Takes back what the core still has of this connection. Nobody waits for the answers, but
    /// whoever asked and left is in the audit log all the same.
    pub fn forget_pending(&self) {
        let mut i = self.inner.borrow_mut();
        for asked in i.pending.iter().filter_map(|p| p.asked.as_ref()) {
            asked.log(&self.who(&i), audit::Outcome::Invoked);
        }
        let large = i.pending.iter().map(|p| u64::from(p.large)).sum();
        self.worker.forget(i.pending.len(), large);
        i.pending.clear();
    }
}

/// Zxid and error of the first of some frames. Only a reply to setWatches has
/// frames before it, and its error is of no interest.
fn header_of(frames: &[u8]) -> (i64, i32) {
    let mut r = Reader::new(frames);
    let mut read = || {
        r.long()?;
        let zxid = r.long()?;
        Ok::<_, zk_proto::DecodeError>((zxid, r.int()?))
    };
    read().unwrap_or((-1, 0))
}

fn begins_with_write(bytes: &[u8]) -> bool {
    let op = bytes.get(8..12).and_then(|b| b.first_chunk::<4>());
    op.and_then(|b| OpCode::from_i32(i32::from_be_bytes(*b))).is_some_and(OpCode::is_write)
}

/// The work on the frames of one read.
struct Turn<'a> {
    conn: &'a Conn,
    /// Present if reads are answered here.
    tree: Option<&'a Tree>,
    /// When it began, monotonic microseconds.
    micros: u64,
    received: u64,
    answered: u64,
    /// Reads answered here, by operation; a turn has at most [`limits::TURN_FRAMES`].
    reads: [u16; OPERATIONS.len() + 1],
}

impl Turn<'_> {
    /// Works on a frame. False: it has to be seen again with the tree at hand.
    fn frame(&mut self, i: &mut Inner, table: &mut WatchTable, frame: &[u8]) -> bool {
        let shared = &self.conn.worker.shared;
        let mut r = Reader::new(frame);
        let Ok(header) = RequestHeader::read(&mut r) else {
            i.closing = true;
            return true;
        };
        let body = r.rest();
        let op = OpCode::from_i32(header.op);
        let special = matches!(op, Some(OpCode::Auth | OpCode::Sasl));
        if !special && !shared.settings.enforced.is_empty() && !self.is_accepted(i) {
            reply::error(&mut i.out, header.xid, Zxid::ZERO, ErrorCode::SessionClosedRequireSaslAuth);
            i.closing = true;
            return true;
        }
        let Some(op) = op.filter(|op| op.from_client()) else {
            reply::error(&mut i.out, header.xid, Zxid(-1), ErrorCode::Unimplemented);
            i.closing = true;
            return true;
        };
        if self.tree.is_none() && i.pending.is_empty() && !special && !op.is_write() {
            return false;
        }
        if !self.room_for(frame.len()) {
            tracing::debug!(peer = %self.conn.peer, bytes = frame.len(), "too many large requests, connection closed");
            self.conn.worker.count(|t| t.large_rejected += 1);
            i.closing = true;
            return true;
        }
        self.received += 1;
        i.stats.received += 1;
        match op {
            OpCode::Auth => self.auth(i, header.xid, body),
            OpCode::Sasl => self.sasl(i, header.xid, body),
            op if op.is_write() => self.write(i, header, op, body),
            OpCode::Sync if shared.ensemble => self.defer(i, header, op, body),
            op => self.read(i, table, header, op, body),
        }
        true
    }

    /// ref: ZooKeeperServer.checkRequestSizeWhenReceivingMessage.
    fn room_for(&self, len: usize) -> bool {
        let shared = &self.conn.worker.shared;
        !shared.live.is_large(len)
            || shared.large_bytes.load(Ordering::Relaxed) + len as u64 <= shared.live.large_max()
    }

    /// ref: AuthenticationHelper.isAuthenticated.
    fn is_accepted(&self, i: &Inner) -> bool {
        let enforced = &self.conn.worker.shared.settings.enforced;
        i.ids.iter().any(|id| enforced.contains(&id.scheme))
    }

    /// Most clients number it -4, but Go's counts on and waits for its own number.
    /// ref: ZooKeeperServer.processPacket; row 16.
    fn auth(&mut self, i: &mut Inner, xid: Xid, body: &[u8]) {
        let Ok(packet) = AuthPacket::read(&mut Reader::new(body)) else {
            i.closing = true;
            return;
        };
        if !self.may_try(i) {
            return;
        }
        let policy = &self.conn.worker.shared.policy;
        let scheme = packet.scheme.as_deref().unwrap_or_default();
        let judged = match scheme {
            // The certificate was judged when it was shown.
            "x509" if i.ids.iter().any(|id| id.scheme == "x509") => Ok(Vec::new()),
            "ensemble" if policy.ensemble.is_some() => match self.ensemble(packet.auth) {
                // Java closes before it answers.
                EnsembleName::Wrong => {
                    i.closing = true;
                    return self.conn.slow_down(i);
                }
                EnsembleName::Any | EnsembleName::Right => Ok(Vec::new()),
            },
            _ => policy.authenticate(scheme, packet.auth),
        };
        let guessed = judged.as_deref().is_ok_and(|new| policy.misses_super(new));
        let code = match judged.is_ok_and(|new| i.add_ids(new)) {
            true => ErrorCode::Ok,
            false => ErrorCode::AuthFailed,
        };
        self.answered += 1;
        i.stats.sent += 1;
        reply::error(&mut i.out, xid, Zxid::ZERO, code);
        if code != ErrorCode::Ok {
            tracing::debug!(peer = %self.conn.peer, "authentication failed");
            i.closing = true;
        }
        if guessed || i.closing {
            self.conn.slow_down(i);
        }
    }

    /// Counts as Java does. ref: EnsembleAuthenticationProvider.
    fn ensemble(&self, name: Option<&[u8]>) -> EnsembleName {
        let worker = &self.conn.worker;
        let judged = worker.shared.policy.is_ensemble(name);
        worker.count(|t| match judged {
            EnsembleName::Any => t.ensemble_skipped += 1,
            EnsembleName::Right => t.ensemble_right += 1,
            EnsembleName::Wrong => t.ensemble_wrong += 1,
        });
        if judged == EnsembleName::Wrong {
            tracing::debug!(peer = %self.conn.peer, "the client means another ensemble");
        }
        judged
    }

    /// Whether a login is looked at: not while too many failed ones of the address wait.
    fn may_try(&self, i: &mut Inner) -> bool {
        let admitted = self.conn.worker.shared.guard.admits(self.conn.peer.ip(), self.micros / 1000);
        i.closing |= !admitted;
        admitted
    }

    /// Without a section of logins Java lets everybody pass with a null token.
    fn sasl(&mut self, i: &mut Inner, xid: Xid, body: &[u8]) {
        // A null token closes as well: Java stumbles over it.
        let Ok(Some(token)) = Reader::with_max_len(body, body.len()).buffer() else {
            i.closing = true;
            return;
        };
        if !self.may_try(i) {
            return;
        }
        let taken = match &self.conn.worker.shared.settings.sasl {
            None => Ok(None),
            Some(logins) => match i.login.take(logins, token) {
                Ok(Taken::Answer(answer)) => Ok(Some(answer)),
                Ok(Taken::Work(work)) => {
                    i.work = Some((xid, work));
                    return;
                }
                Err(e) => Err(e),
            },
        };
        self.answered += 1;
        self.conn.answer_login(i, xid, taken);
    }

    fn write(&mut self, i: &mut Inner, header: RequestHeader, op: OpCode, body: &[u8]) {
        // The frame's limit stands for those inside; the reader's own is lower
        // than a raised jute.maxbuffer.
        let request = WriteRequest::decode(op, &mut Reader::with_max_len(body, body.len()));
        // Java gives a multi that does not decode a zxid, unless it stumbles over a
        // null list on the way.
        if request.as_ref().is_err_and(|e| op != OpCode::Multi || *e == DecodeError::NullList) {
            return self.undecodable(i, header, op, body);
        }
        let asked = match self.conn.worker.shared.settings.audit {
            true => Asked::of(op, request.as_ref().ok()),
            false => None,
        };
        let ids = Arc::clone(&i.ids);
        let input = Input::Write { conn: self.conn.id, session: i.session, xid: header.xid, request, ids };
        self.send(i, header.xid, op, false, body.len(), input);
        if let Some(pending) = i.pending.back_mut() {
            pending.asked = asked.map(Box::new);
        }
    }

    /// Answered in its turn, and never seen by who makes transactions.
    fn undecodable(&mut self, i: &mut Inner, header: RequestHeader, op: OpCode, body: &[u8]) {
        if !i.pending.is_empty() {
            return self.defer(i, header, op, body);
        }
        let zxid = match self.tree {
            Some(tree) => tree.last_zxid(),
            None => Zxid(self.conn.worker.shared.last_zxid.load(Ordering::Acquire)),
        };
        reply::error(&mut i.out, header.xid, zxid, ErrorCode::MarshallingError);
        self.answered += 1;
        i.stats.replied(header.xid.0, 0, zxid.0, self.micros / 1000, 0);
    }

    fn read(
        &mut self,
        i: &mut Inner,
        table: &mut WatchTable,
        header: RequestHeader,
        op: OpCode,
        body: &[u8],
    ) {
        let (Some(tree), true) = (self.tree, i.pending.is_empty()) else {
            return self.defer(i, header, op, body);
        };
        let policy = &self.conn.worker.shared.policy;
        let ctx = ReadContext { tree, policy, ids: &i.ids, session: i.session };
        let mut watches = ConnWatches { table, slot: self.conn.slot };
        let before = i.out.len();
        read::answer(&ctx, header.xid, op, body, &mut watches, &mut i.out);
        self.conn.look_at_size(op, i.session, i.out.len() - before);
        self.answered += 1;
        self.reads[operation(op)] += 1;
        i.stats.replied(header.xid.0, header.op, tree.last_zxid().0, self.micros / 1000, 0);
    }

    fn defer(&mut self, i: &mut Inner, header: RequestHeader, op: OpCode, body: &[u8]) {
        let ids = Arc::clone(&i.ids);
        let bytes = Bytes::copy_from_slice(body);
        let input = Input::Read { conn: self.conn.id, session: i.session, header, body: bytes, ids };
        i.deferred += 1;
        self.send(i, header.xid, op, true, body.len(), input);
    }

    fn send(&mut self, i: &mut Inner, xid: Xid, op: OpCode, deferred: bool, len: usize, input: Input) {
        let worker = &self.conn.worker;
        let large = match worker.shared.live.is_large(len) {
            true => u32::try_from(len).unwrap_or(u32::MAX),
            false => 0,
        };
        if large > 0 {
            worker.shared.large_bytes.fetch_add(u64::from(large), Ordering::Relaxed);
        }
        i.pending.push_back(Pending { xid, op, deferred, at: self.micros, large, asked: None });
        worker.request(input);
    }
}

struct ConnWatches<'a> {
    table: &'a mut WatchTable,
    slot: u32,
}

impl Watches for ConnWatches<'_> {
    fn add(&mut self, kind: WatchKind, at: Place<'_>) {
        self.table.add(self.slot, kind, at);
    }
    fn contains(&mut self, kind: WatcherKind, at: Place<'_>) -> bool {
        self.table.contains(self.slot, kind, at)
    }
    fn remove(&mut self, kind: WatcherKind, at: Place<'_>) -> bool {
        self.table.remove(self.slot, kind, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_decides_about_the_lock() {
        let frame = |op: i32| [&[0, 0, 0, 8, 0, 0, 0, 1][..], &op.to_be_bytes()].concat();
        assert!(begins_with_write(&frame(5)));
        assert!(begins_with_write(&frame(-11)));
        assert!(!begins_with_write(&frame(4)));
        assert!(!begins_with_write(&frame(100)));
        assert!(!begins_with_write(&frame(9999)));
        assert!(!begins_with_write(&[0, 0, 0]));
    }

    #[test]
    fn zxid_and_error_of_a_reply() {
        let mut out = BytesMut::new();
        reply::error(&mut out, Xid(3), Zxid(7), ErrorCode::NoNode);
        assert_eq!(header_of(&out), (7, -101));
    }
}
