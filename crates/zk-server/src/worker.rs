//! A worker: one thread, one runtime, its connections for life.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use crossbeam_channel::TrySendError;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;
use zk_admin::status::{Client, ClientId, ClientSession};
use zk_admin::{Needs, names};
use zk_pipeline::{ConnId, Input, Output, read, reply};
use zk_proto::client::EventType;
use zk_proto::{OpCode, Perms, SessionId, Xid};
use zk_tree::watch::{Interest, Place, WatchCounts, WatchTable, Watched};
use zk_tree::{Fired, Tree, is_open};

use crate::conn::{Conn, Phase};
use crate::inbox::Inbox;
use crate::meters::WorkerMeters;
use crate::quiet::{self, Quiet};
use crate::shared::{Admitted, Heard, Serving, Shared};
use crate::stats::{ConnStats, Totals, WorkerStats};
use crate::tls::Secured;
use crate::{clock, limits};

/// What other threads tell a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// A connection is yours.
    Accept {
        /// Its socket, not blocking.
        stream: TcpStream,
        /// The client's address.
        peer: SocketAddr,
        /// Its place among the limits.
        admitted: Admitted,
        /// Its TLS, if it has some.
        secured: Option<Box<Secured>>,
    },
    /// A session is settled. Stands for `Output::Session`.
    Session {
        /// For whom.
        conn: ConnId,
        /// Which.
        session: SessionId,
        /// Its time-out in ms.
        timeout: i32,
        /// Where to note that it was heard of.
        heard: Heard,
        /// Whether only reads are answered.
        read_only: bool,
    },
    /// What the pipeline wants done.
    Output(Output),
    /// A word wants to know.
    Report {
        /// What.
        needs: Needs,
        /// Where to say it.
        reply: oneshot::Sender<WorkerReport>,
    },
    /// `crst`.
    ResetConnections,
    /// `srst`.
    ResetServer,
    /// Whether clients are served has changed.
    Serving(Serving),
    /// Close everything and end.
    Stop,
}

/// What a worker tells a word.
#[derive(Debug, Default)]
pub struct WorkerReport {
    /// Its counters since `srst`.
    pub stats: WorkerStats,
    /// Its counters since the start.
    pub totals: Totals,
    /// Lines of `stat` and `cons`.
    pub clients: Vec<Client>,
    /// When connections expire (monotonic ms), for `dump`.
    pub expiry: Vec<(u64, ClientId)>,
    /// Connections without TLS from this machine and from others.
    pub local: u64,
    /// The same of others.
    pub remote: u64,
    /// All watches.
    pub watches: usize,
    /// Data watches.
    pub data: WatchCounts,
    /// What has data watches: workers may watch the same.
    pub watched: BTreeSet<Watched>,
    /// For `wchc`.
    pub by_session: Vec<(i64, Vec<String>)>,
    /// For `wchp`.
    pub by_path: Vec<(String, Vec<i64>)>,
}

#[derive(Debug, Default)]
struct Slots {
    conns: Vec<Option<Rc<Conn>>>,
    free: Vec<u32>,
    serial: u32,
    open: usize,
}

/// The state of a worker. It never leaves its thread.
#[derive(Debug)]
pub struct Worker {
    index: u8,
    /// What all threads share.
    pub shared: Arc<Shared>,
    inbox: Arc<Inbox<ToWorker>>,
    spare: RefCell<Vec<ToWorker>>,
    slots: RefCell<Slots>,
    /// Watches of its connections, by slot.
    pub watches: RefCell<WatchTable>,
    interest: Arc<Interest>,
    /// What it measures.
    pub meters: Arc<WorkerMeters>,
    /// Where sockets are read into.
    pub read_buffer: RefCell<Vec<u8>>,
    scratch: RefCell<BytesMut>,
    to_core: RefCell<Vec<Input>>,
    core_full: Cell<bool>,
    retry: Notify,
    dirty: RefCell<Vec<Rc<Conn>>>,
    targets: RefCell<Vec<u32>>,
    /// Reports to make.
    asked: RefCell<Vec<(Needs, oneshot::Sender<WorkerReport>)>>,
    stats: Cell<WorkerStats>,
    totals: Cell<Totals>,
    /// New connections in the order of their coming, until they must have a session.
    sessionless: RefCell<VecDeque<(u64, ConnId)>>,
    accepted: Notify,
    /// What was done since [`Quiet`] was asked: turns, and requests for the core.
    work: Cell<u32>,
    /// When a slow request was last logged, and how many were not since.
    slow: Cell<(u64, u64)>,
    /// The same of a long list of children.
    large_list: Cell<(u64, u64)>,
    stop: Cell<bool>,
    stopped: Notify,
}

/// How many lines of a kind were left out, if one is due: once in a while is enough.
fn next_line(kept: &Cell<(u64, u64)>) -> Option<u64> {
    let (last, left_out) = kept.get();
    let now = clock::mono();
    if last != 0 && now < last + limits::SLOW_PAUSE_MS {
        kept.set((last, left_out + 1));
        return None;
    }
    kept.set((now, 0));
    Some(left_out)
}

const SLOT_BITS: u32 = 24;

impl Worker {
    fn new(index: u8, shared: Arc<Shared>) -> Rc<Self> {
        let handle = &shared.workers[usize::from(index)];
        let (inbox, interest) = (Arc::clone(&handle.inbox), Arc::clone(&handle.interest));
        let meters = Arc::clone(&handle.meters);
        Rc::new(Self {
            index,
            inbox,
            spare: RefCell::default(),
            slots: RefCell::default(),
            watches: RefCell::new(WatchTable::new(Arc::clone(&interest))),
            interest,
            meters,
            read_buffer: RefCell::new(vec![0; limits::READ_BUFFER]),
            scratch: RefCell::default(),
            to_core: RefCell::default(),
            core_full: Cell::new(false),
            retry: Notify::new(),
            dirty: RefCell::default(),
            targets: RefCell::default(),
            asked: RefCell::default(),
            stats: Cell::default(),
            totals: Cell::default(),
            sessionless: RefCell::default(),
            accepted: Notify::new(),
            work: Cell::new(0),
            slow: Cell::default(),
            large_list: Cell::default(),
            stop: Cell::new(false),
            stopped: Notify::new(),
            shared,
        })
    }

    /// Runs a worker on this thread until it is told to stop.
    pub fn run(index: u8, shared: Arc<Shared>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name(format!("worker-{index}-files"))
            .build()
            .expect("a runtime needs nothing but descriptors, which were raised at the start");
        let worker = Worker::new(index, shared);
        let local = LocalSet::new();
        local.spawn_local(Rc::clone(&worker).watch_sessionless());
        local.spawn_local(Rc::clone(&worker).retry_core());
        local.spawn_local(Rc::clone(&worker).give_memory_back());
        local.block_on(&runtime, worker.watch_inbox());
    }

    async fn watch_inbox(self: Rc<Self>) {
        loop {
            self.inbox.filled().await;
            self.drain();
            self.after_turn();
            if self.stop.get() {
                let all_closed = async {
                    while self.slots.borrow().open > 0 {
                        self.stopped.notified().await;
                    }
                };
                let _ = tokio::time::timeout(limits::STOP_WAIT, all_closed).await;
                self.flush_to_core();
                return;
            }
        }
    }

    /// Works on everything in the inbox. Output is only collected:
    /// [`Worker::after_turn`] writes it.
    pub fn drain(self: &Rc<Self>) {
        self.take_all();
        if self.asked.borrow().is_empty() {
            return;
        }
        // Watches are told by the nodes that they are set on, so the tree must stand still, and
        // no event of it may be left in the inbox. This thread may hold the lock already.
        let shared = Arc::clone(&self.shared);
        let tree = shared.tree.read_recursive();
        self.take_all();
        for (needs, reply) in self.asked.take() {
            drop(reply.send(self.report(needs, &tree, clock::mono())));
        }
    }

    fn take_all(self: &Rc<Self>) {
        let mut batch = self.spare.take();
        if self.inbox.take(&mut batch) {
            let now = clock::micros();
            for message in batch.drain(..) {
                self.take(message, now);
            }
        }
        self.spare.replace(batch);
    }

    /// `micros` is the time, monotonic and in microseconds.
    fn take(self: &Rc<Self>, message: ToWorker, micros: u64) {
        let now = micros / 1000;
        match message {
            ToWorker::Output(output) => self.output(output, micros),
            ToWorker::Session { conn, session, timeout, heard, read_only } => match self.conn(conn) {
                Some(c) => {
                    c.settle(session, timeout, heard, read_only);
                    self.mark(&c);
                }
                // It left before its session was there.
                None => self.to_core(Input::Disconnected { conn, session }),
            },
            ToWorker::Accept { stream, peer, admitted, secured } => {
                self.accept(stream, peer, admitted, secured, now);
            }
            ToWorker::Report { needs, reply } => self.asked.borrow_mut().push((needs, reply)),
            ToWorker::ResetConnections => {
                self.each(|c| c.inner.borrow_mut().stats = ConnStats::default());
            }
            ToWorker::ResetServer => self.stats.set(WorkerStats::default()),
            ToWorker::Serving(serving) => self.serving(serving),
            ToWorker::Stop => {
                self.stop.set(true);
                self.each(|c| {
                    c.inner.borrow_mut().closing = true;
                    c.release();
                    c.wake();
                });
            }
        }
    }

    /// ref: LearnerZooKeeperServer.shutdown, which closes all; here they wait first.
    fn serving(&self, serving: Serving) {
        self.each(|c| {
            if serving == Serving::No && !matches!(c.inner.borrow().phase, Phase::Answering) {
                c.inner.borrow_mut().dead = true;
                return c.wake();
            }
            let moved = match serving {
                Serving::Yes => c.has_left(),
                // A new leader will not know where such a client speaks now.
                Serving::Held => c.is_silent(clock::mono()),
                Serving::No | Serving::ReadOnly => false,
            };
            if moved {
                c.inner.borrow_mut().dead = true;
                c.wake();
            }
            c.wake_if_paused();
        });
    }

    /// Whether requests wait: there is no leader at the moment.
    pub fn is_held(&self) -> bool {
        self.shared.serving() == Serving::Held
    }

    fn output(self: &Rc<Self>, output: Output, micros: u64) {
        match output {
            Output::Event(fired) => self.event(&fired),
            Output::Reply { conn, frames, watches, close } => {
                let Some(c) = self.conn(conn) else {
                    // The core counted them for a connection that has left.
                    watches.iter().for_each(|w| self.interest.remove(w.kind, w.place()));
                    return self.count(|t| t.stale_replies += 1);
                };
                let mut table = self.watches.borrow_mut();
                for watch in &watches {
                    table.add_counted(c.slot, watch.kind, watch.place());
                }
                drop(table);
                self.reply(&c, micros, |out| out.extend_from_slice(&frames));
                c.inner.borrow_mut().closing |= close;
            }
            Output::Applied(applied) => {
                let Some(c) = self.conn(applied.conn) else {
                    return self.count(|t| t.stale_replies += 1);
                };
                self.reply(&c, micros, |out| applied.encode(out));
            }
            Output::WatchQuery { conn, xid, zxid, kind, path, node, remove } => {
                let Some(c) = self.conn(conn) else { return };
                let at = Place { path: &path, node };
                let mut table = self.watches.borrow_mut();
                let found = match remove {
                    true => table.remove(c.slot, kind, at),
                    false => table.contains(c.slot, kind, at),
                };
                drop(table);
                self.reply(&c, micros, |out| read::watch_answer(out, xid, zxid, found));
            }
            Output::Refused { conn } => {
                if let Some(c) = self.conn(conn) {
                    c.refuse(&mut c.inner.borrow_mut());
                    self.mark(&c);
                }
            }
            Output::Close { conn } => {
                if let Some(c) = self.conn(conn) {
                    c.inner.borrow_mut().closing = true;
                    self.mark(&c);
                }
            }
            Output::Append(_) | Output::Forward(_) | Output::Revalidate { .. } | Output::Session { .. } => {
                unreachable!("the core keeps these for itself")
            }
        }
    }

    /// The frame is made once and goes to all who wait and may know.
    fn event(&self, fired: &Fired) {
        let mut targets = self.targets.borrow_mut();
        targets.clear();
        self.watches.borrow_mut().fire(fired, |slot| targets.push(slot));
        if targets.is_empty() {
            return;
        }
        let meter = match fired.event {
            EventType::NodeCreated => &self.meters.created,
            EventType::NodeDeleted => &self.meters.deleted,
            EventType::NodeDataChanged => &self.meters.changed,
            _ => &self.meters.children,
        };
        meter.record(targets.len() as u64);
        let mut frame = BytesMut::with_capacity(64 + fired.path.len());
        reply::event(&mut frame, fired);
        let everybody = is_open(&fired.acl);
        let mut sent = 0;
        for slot in targets.iter() {
            let Some(c) = self.slots.borrow().conns[*slot as usize].clone() else { continue };
            let mut i = c.inner.borrow_mut();
            if i.closing || !everybody && !self.shared.policy.allows(&fired.acl, Perms::READ, &i.ids) {
                continue;
            }
            sent += 1;
            i.out.extend_from_slice(&frame);
            i.stats.sent += 1;
            i.event_bytes += frame.len();
            if i.event_bytes > limits::EVENT_BYTES {
                tracing::warn!(peer = %c.peer, session = %i.session, "client does not read its events, connection closed");
                i.dead = true;
                self.meters.overflowed.add(1);
            }
            drop(i);
            self.mark(&c);
        }
        self.change_stats(|s| s.sent += sent);
        self.count(|t| t.events += sent * frame.len() as u64);
    }

    fn accept(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        admitted: Admitted,
        secured: Option<Box<Secured>>,
        now: u64,
    ) {
        let stream = match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(e) => return tracing::warn!(%peer, "cannot watch a new connection: {e}"),
        };
        if self.stop.get() {
            return;
        }
        let (reader, writer) = stream.into_split();
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.conns.push(None);
            u32::try_from(slots.conns.len() - 1).expect("descriptors end long before")
        });
        self.count(|t| t.connections += 1);
        slots.serial = slots.serial.wrapping_add(1);
        slots.open += 1;
        let id = ConnId(u64::from(slots.serial) << 32 | u64::from(slot) << 8 | u64::from(self.index));
        let conn = Conn::new(id, slot, (peer, admitted), writer, secured, Rc::clone(self));
        slots.conns[slot as usize] = Some(Rc::clone(&conn));
        drop(slots);
        let mut waiting = self.sessionless.borrow_mut();
        if waiting.is_empty() {
            self.accepted.notify_one();
        }
        waiting.push_back((now + self.shared.settings.sessionless_ms, id));
        drop(waiting);
        tokio::task::spawn_local(conn.run(reader));
    }

    /// Forgets a connection whose task has ended.
    pub fn remove(&self, conn: &Rc<Conn>) {
        conn.forget_pending();
        self.count(|t| t.dropped += 1);
        let session = conn.inner.borrow().session;
        if session != SessionId::NONE {
            self.to_core(Input::Disconnected { conn: conn.id, session });
            self.flush_to_core();
        }
        self.watches.borrow_mut().drop_conn(conn.slot);
        let mut slots = self.slots.borrow_mut();
        slots.conns[conn.slot as usize] = None;
        slots.free.push(conn.slot);
        slots.open -= 1;
        if slots.open == 0 {
            self.stopped.notify_one();
        }
    }

    fn conn(&self, id: ConnId) -> Option<Rc<Conn>> {
        let slot = (id.0 >> 8) & ((1 << SLOT_BITS) - 1);
        let slots = self.slots.borrow();
        let conn = slots.conns.get(usize::try_from(slot).ok()?)?.as_ref()?;
        (conn.id == id && !conn.inner.borrow().dead).then(|| Rc::clone(conn))
    }

    /// The worker that a connection belongs to.
    pub fn of(id: ConnId) -> usize {
        usize::from(id.0.to_le_bytes()[0])
    }

    fn each(&self, mut f: impl FnMut(&Rc<Conn>)) {
        let slots: Ref<'_, Slots> = self.slots.borrow();
        slots.conns.iter().flatten().for_each(&mut f);
    }

    /// The core's answer to a connection, as it is written into its buffer.
    fn reply(&self, conn: &Rc<Conn>, micros: u64, write: impl FnOnce(&mut BytesMut)) {
        let mut i = conn.inner.borrow_mut();
        let mut out = std::mem::take(&mut i.out);
        let start = out.len();
        write(&mut out);
        conn.answered(&mut i, &out[start..], micros);
        i.out = out;
        drop(i);
        self.mark(conn);
    }

    fn mark(&self, conn: &Rc<Conn>) {
        if !conn.dirty.replace(true) {
            self.dirty.borrow_mut().push(Rc::clone(conn));
        }
    }

    /// Hands the core what was collected for it and writes to the sockets.
    /// Not to be called under the tree's lock.
    pub fn after_turn(&self) {
        let requests = u32::try_from(self.to_core.borrow().len()).unwrap_or(u32::MAX);
        self.work.set(self.work.get().saturating_add(1).saturating_add(requests));
        self.flush_to_core();
        let mut dirty = self.dirty.take();
        for conn in dirty.drain(..) {
            conn.dirty.set(false);
            conn.flush();
            conn.wake_if_paused();
        }
        let mut place = self.dirty.borrow_mut();
        if place.is_empty() {
            *place = dirty;
        }
    }

    /// Lets go of a connection that is held, in so many ms.
    pub fn release_later(self: Rc<Self>, conn: ConnId, wait: u64) {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if let Some(conn) = self.conn(conn) {
                conn.release();
            }
        });
    }

    /// Collects a request for the core, which will be answered or forgotten.
    pub fn request(&self, input: Input) {
        self.shared.outstanding.fetch_add(1, Ordering::Relaxed);
        self.to_core(input);
    }

    /// Collects a message for the core.
    pub fn to_core(&self, input: Input) {
        self.to_core.borrow_mut().push(input);
    }

    /// Requests in the core, of all workers.
    pub fn outstanding(&self) -> usize {
        self.shared.outstanding.load(Ordering::Relaxed)
    }

    /// Whether the core takes nothing at the moment.
    pub fn core_is_full(&self) -> bool {
        self.core_full.get()
    }

    fn flush_to_core(&self) {
        let batch = self.to_core.take();
        if batch.is_empty() {
            return;
        }
        match self.shared.to_core.try_send(batch) {
            Ok(()) => self.core_full.set(false),
            Err(TrySendError::Full(batch)) => {
                self.to_core.replace(batch);
                if !self.core_full.replace(true) {
                    self.retry.notify_one();
                }
            }
            // The server stops.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    async fn retry_core(self: Rc<Self>) {
        loop {
            self.retry.notified().await;
            while self.core_full.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.flush_to_core();
            }
            self.each(|c| c.wake_if_paused());
        }
    }

    async fn give_memory_back(self: Rc<Self>) {
        let mut quiet = Quiet::default();
        loop {
            tokio::time::sleep(quiet::EVERY).await;
            if quiet.is_due(self.work.take()) {
                zk_memory::give_back();
            }
        }
    }

    /// Closes connections that have no session in time. ref:
    /// NIOServerCnxnFactory.ConnectionExpirerThread; row 26.
    async fn watch_sessionless(self: Rc<Self>) {
        loop {
            let first = self.sessionless.borrow().front().copied();
            let Some((deadline, id)) = first else {
                self.accepted.notified().await;
                continue;
            };
            let now = clock::mono();
            if now < deadline {
                tokio::time::sleep(Duration::from_millis(deadline - now)).await;
                continue;
            }
            self.sessionless.borrow_mut().pop_front();
            if let Some(c) = self.conn(id)
                && c.inner.borrow().phase != Phase::Open
            {
                c.inner.borrow_mut().dead = true;
                self.count(|t| t.sessionless += 1);
                c.wake();
            }
        }
    }

    /// An output buffer with room, for the time of a turn.
    pub fn borrow_scratch(&self) -> BytesMut {
        self.scratch.take()
    }

    /// Takes an output buffer that is not needed any more.
    pub fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut scratch = self.scratch.borrow_mut();
        if buffer.capacity() > scratch.capacity() && buffer.capacity() <= 4 * limits::TURN_BYTES {
            *scratch = buffer;
        }
    }

    /// Requests that the core has answered, or never will.
    pub fn forget(&self, requests: usize, large: u64) {
        self.shared.outstanding.fetch_sub(requests, Ordering::Relaxed);
        if large > 0 {
            self.shared.large_bytes.fetch_sub(large, Ordering::Relaxed);
        }
    }

    /// A request took long. When the disk stands still all do: one line a second is enough.
    pub fn slow(&self, peer: SocketAddr, session: SessionId, xid: Xid, op: OpCode, ms: u64) {
        let Some(left_out) = next_line(&self.slow) else { return };
        let op = names::last_operation(op.to_i32());
        tracing::warn!(%peer, %session, xid = xid.0, op, ms, left_out, "slow request");
    }

    /// A list of children is nearly more than clients take.
    pub fn large_list(&self, peer: SocketAddr, session: SessionId, bytes: usize) {
        self.meters.large_lists.add(1);
        let Some(left_out) = next_line(&self.large_list) else { return };
        tracing::warn!(
            %peer, %session, bytes, left_out,
            "list of children is near the size that clients take by default, 1 MiB (jute.maxbuffer of the client)"
        );
    }

    /// Changes the counters since the start.
    pub fn count(&self, f: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.get();
        f(&mut totals);
        self.totals.set(totals);
    }

    fn change_stats(&self, f: impl FnOnce(&mut WorkerStats)) {
        let mut stats = self.stats.get();
        f(&mut stats);
        self.stats.set(stats);
    }

    /// Packets came that are answered elsewhere or not at all.
    pub fn count_received(&self, n: u64) {
        self.change_stats(|s| s.received += n);
    }

    /// Packets went out.
    pub fn count_sent(&self, n: u64) {
        self.change_stats(|s| s.sent += n);
    }

    /// A turn took `received` packets and answered some of them at once.
    pub fn count_turn(&self, received: u64, answered: u64) {
        self.change_stats(|s| {
            s.received += received;
            s.sent += answered;
            if answered > 0 {
                s.latency.add(0, answered);
            }
        });
    }

    /// The core's answer of `bytes` came after `took` ms.
    pub fn count_reply(&self, bytes: usize, took: u64) {
        self.change_stats(|s| {
            s.sent += 1;
            s.latency.add(took, 1);
            s.replies.add(bytes);
        });
        self.count(|t| t.replies += bytes as u64);
    }

    fn report(&self, needs: Needs, tree: &Tree, now: u64) -> WorkerReport {
        let table = self.watches.borrow();
        let mut report = WorkerReport {
            stats: self.stats.get(),
            totals: self.totals.get(),
            watches: table.total(),
            data: table.data_counts(),
            ..WorkerReport::default()
        };
        self.each(|c| {
            match c.peer.ip().is_loopback() {
                _ if c.is_secure() => {}
                true => report.local += 1,
                false => report.remote += 1,
            }
            if needs.clients {
                report.clients.push(client(c));
            }
            if needs.sessions {
                report.expiry.push(self.expiry(c, now));
            }
        });
        let session = |slot: u32| {
            let slots = self.slots.borrow();
            slots.conns[slot as usize].as_ref().map(|c| c.inner.borrow().session.0)
        };
        if needs.watch_summary {
            report.watched = table.watched(tree);
        }
        if needs.watches_by_session || needs.watches_by_path {
            let mut by_session: BTreeMap<u32, Vec<String>> = BTreeMap::new();
            for (path, slots) in table.by_path(tree) {
                if needs.watches_by_session {
                    slots.iter().for_each(|slot| by_session.entry(*slot).or_default().push(path.clone()));
                }
                if needs.watches_by_path {
                    report.by_path.push((path, slots.into_iter().filter_map(session).collect()));
                }
            }
            let rows = by_session.into_iter().filter_map(|(slot, paths)| Some((session(slot)?, paths)));
            report.by_session = rows.collect();
        }
        report
    }

    fn expiry(&self, c: &Conn, now: u64) -> (u64, ClientId) {
        let i = c.inner.borrow();
        let since = i.heard.as_ref().map_or(now, |h| h.load(Ordering::Relaxed));
        let after = match i.phase {
            Phase::Open => u64::try_from(i.timeout).unwrap_or(0),
            _ => self.shared.settings.sessionless_ms,
        };
        (since + after, ClientId { address: c.peer, session: i.session.0 })
    }
}

/// A line of `stat` or `cons`.
fn client(c: &Conn) -> Client {
    let i = c.inner.borrow();
    let s = &i.stats;
    let interest = match i.phase {
        Phase::Answering | Phase::Mask => 0,
        _ if i.out.is_empty() => 1,
        _ => 5,
    };
    let session = (i.session != SessionId::NONE).then(|| ClientSession {
        id: i.session.0,
        last_operation: names::last_operation(s.last_op),
        established: i.established,
        timeout: u32::try_from(i.timeout).unwrap_or(0),
        last_xid: s.last_xid.map(i64::from),
        last_zxid: s.last_zxid,
        last_response: i64::try_from(s.last_response).unwrap_or(i64::MAX),
        last_latency: s.last_latency,
        min_latency: s.latency.min,
        average_latency: s.latency.total / s.latency.count.max(1),
        max_latency: s.latency.max,
    });
    Client {
        address: Some(c.peer),
        interest,
        queued: i64::try_from(i.pending.len()).unwrap_or(i64::MAX),
        received: s.received,
        sent: s.sent,
        session,
    }
}
