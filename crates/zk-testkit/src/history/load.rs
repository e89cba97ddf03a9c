//! Clients that write and read at many members and record it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zk_proto::client::ConnectRequest;
use zk_proto::{OpCode, SessionId, Zxid};

use super::{Call, History, Op, Outcome};
use crate::raw::{Conn, PATIENCE, hello, hello_again};
use crate::reply::Body;
use crate::request::{self, OPEN};

/// Requests sent at once, at most.
const BURST: usize = 4;

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where the members listen.
    pub members: Vec<SocketAddr>,
    /// How many clients there are.
    pub clients: usize,
    /// How many nodes they all write.
    pub registers: usize,
    /// Where everything random comes from, except for the scheduling.
    pub seed: u64,
    /// Session time-out in ms.
    pub session_ms: i32,
    /// How long a client waits for a reply before it goes to another member.
    pub patience: Duration,
    /// Time between the bursts of a client.
    pub pause: Duration,
    /// The directory of everything; it must not be there.
    pub dir: String,
}

impl Load {
    /// Something for ensembles under faults.
    pub fn new(members: Vec<SocketAddr>, seed: u64) -> Load {
        Load {
            members,
            clients: 8,
            registers: 4,
            seed,
            session_ms: 8000,
            patience: Duration::from_secs(2),
            pause: Duration::from_millis(5),
            dir: "/history".to_owned(),
        }
    }

    /// Makes the nodes that all clients write. The record has it.
    pub fn prepare(&self, clock: Instant) -> anyhow::Result<History> {
        let mut client = Client::new(self, usize::MAX, clock);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !client.connect() {
            ensure!(Instant::now() < deadline, "no member takes clients");
        }
        let conn = client.conn.as_mut().context("not connected")?;
        // Nothing is broken on purpose yet.
        conn.patience = PATIENCE;
        conn.create(&self.dir, b"", OPEN, 0)?;
        for n in 0..self.registers {
            let value = client.value();
            let call = Call::Create { key: self.register(n), value, ephemeral: false };
            client.burst(vec![call]);
        }
        ensure!(client.history.ops.iter().all(Op::done), "the nodes could not be made");
        Ok(client.finish())
    }

    /// Runs all clients until `stop` is set and ends their sessions. Members must
    /// be well again when it is set.
    pub fn run(&self, clock: Instant, stop: &AtomicBool) -> History {
        std::thread::scope(|scope| {
            let work = |n| {
                move || {
                    let mut client = Client::new(self, n, clock);
                    client.run(stop);
                    client.finish()
                }
            };
            let threads: Vec<_> = (0..self.clients).map(|n| scope.spawn(work(n))).collect();
            let mut history = History::default();
            for t in threads {
                history.extend(t.join().expect("a client does not panic"));
            }
            history
        })
    }

    fn register(&self, n: usize) -> String {
        format!("{}/r{n}", self.dir)
    }
}

struct Client<'a> {
    load: &'a Load,
    number: usize,
    rng: StdRng,
    clock: Instant,
    history: History,
    conn: Option<Conn>,
    member: usize,
    session: SessionId,
    newest: i64,
    serial: u64,
    /// Versions read last, by register.
    versions: Vec<i32>,
    /// Nodes of its own that may be there.
    own: Vec<String>,
}

impl<'a> Client<'a> {
    fn new(load: &'a Load, number: usize, clock: Instant) -> Client<'a> {
        Client {
            load,
            number,
            rng: StdRng::seed_from_u64(load.seed.wrapping_mul(1000).wrapping_add(number as u64)),
            clock,
            history: History::default(),
            conn: None,
            member: 0,
            session: SessionId::NONE,
            newest: 0,
            serial: 0,
            versions: vec![-1; load.registers],
            own: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn value(&mut self) -> String {
        self.serial += 1;
        format!("{}-{}", self.number, self.serial)
    }

    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.conn.is_none() && !self.connect() {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            let calls = (0..self.rng.random_range(1..=BURST)).map(|_| self.call()).collect();
            self.burst(calls);
            if self.rng.random_bool(0.01) {
                self.conn = None;
            }
            std::thread::sleep(self.load.pause);
        }
    }

    /// Goes to some member with its session or a new one.
    fn connect(&mut self) -> bool {
        self.member = self.rng.random_range(0..self.load.members.len());
        let request = match self.session {
            SessionId::NONE => hello(self.load.session_ms),
            session => hello_again(session, self.load.session_ms),
        };
        // A member that is behind what the session saw must refuse it.
        let request = ConnectRequest { last_zxid: Zxid(self.newest), ..request };
        let Ok(mut conn) = Conn::dial(self.load.members[self.member]) else { return false };
        conn.patience = self.load.patience;
        match conn.handshake(&request) {
            Ok(Some(r)) if r.timeout > 0 => {
                if self.session != r.session {
                    self.newest = 0;
                }
                self.session = r.session;
                self.conn = Some(conn);
                true
            }
            Ok(Some(_)) => {
                let now = self.now();
                self.history.ended.insert(self.session, now);
                self.session = SessionId::NONE;
                self.newest = 0;
                false
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn call(&mut self) -> Call {
        let n = self.rng.random_range(0..self.load.registers);
        let key = self.load.register(n);
        match self.rng.random_range(0..100) {
            0..30 => Call::Set { key, value: self.value(), expected: -1 },
            30..40 => Call::Set { key, value: self.value(), expected: self.versions[n] },
            40..48 => {
                let value = self.value();
                let key = format!("{}/c{value}", self.load.dir);
                let ephemeral = self.rng.random_bool(0.3);
                if !ephemeral {
                    self.own.push(key.clone());
                }
                Call::Create { key, value, ephemeral }
            }
            48..52 if !self.own.is_empty() => {
                let at = self.rng.random_range(0..self.own.len());
                Call::Delete { key: self.own.swap_remove(at) }
            }
            52..60 => Call::Sync,
            60..65 if !self.own.is_empty() => {
                let at = self.rng.random_range(0..self.own.len());
                Call::Get { key: self.own[at].clone() }
            }
            _ => Call::Get { key },
        }
    }

    /// Sends all, then waits for the replies in turn.
    fn burst(&mut self, calls: Vec<Call>) {
        let Some(mut conn) = self.conn.take() else { return };
        let mut sent = Vec::new();
        for call in calls {
            let (op, body) = encode(&call);
            let invoked = self.now();
            let xid = conn.send(op, &body);
            sent.push((call, op, invoked, xid.ok()));
        }
        let mut lost = false;
        for (call, op, invoked, xid) in sent {
            let reply = xid.filter(|_| !lost).and_then(|xid| conn.reply_to(xid, op).ok());
            let outcome = reply.as_ref().and_then(outcome);
            lost |= outcome.is_none();
            let completed = if lost { u64::MAX } else { self.now() };
            let outcome = outcome.unwrap_or(Outcome::Unknown);
            self.remember(&call, &outcome);
            let (session, member) = (self.session, self.member);
            self.history.ops.push(Op { session, member, invoked, completed, call, outcome });
        }
        if !lost {
            self.conn = Some(conn);
        }
    }

    fn remember(&mut self, call: &Call, outcome: &Outcome) {
        if let Outcome::Done { zxid, .. } | Outcome::Failed { zxid, .. } = outcome {
            self.newest = self.newest.max(*zxid);
        }
        if let (Call::Get { key }, Outcome::Done { stat: Some(stat), .. }) = (call, outcome)
            && let Some(n) = (0..self.load.registers).find(|n| self.load.register(*n) == *key)
        {
            self.versions[n] = stat.version;
        }
    }

    /// Ends the session, so that its ephemerals must be gone.
    fn finish(mut self) -> History {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.session != SessionId::NONE && Instant::now() < deadline {
            if self.conn.is_none() && !self.connect() {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            let closed = self.conn.take().is_some_and(|mut c| c.close().is_ok());
            if closed {
                let now = self.now();
                self.history.ended.insert(self.session, now);
                break;
            }
        }
        self.history
    }
}

fn encode(call: &Call) -> (OpCode, Vec<u8>) {
    let open = Some(OPEN);
    match call {
        Call::Create { key, value, ephemeral } => {
            let body =
                request::create(Some(key.as_bytes()), Some(value.as_bytes()), open, i32::from(*ephemeral));
            (OpCode::Create2, body)
        }
        Call::Set { key, value, expected } => {
            (OpCode::SetData, request::set_data(Some(key.as_bytes()), Some(value.as_bytes()), *expected))
        }
        Call::Delete { key } => (OpCode::Delete, request::path_int(Some(key.as_bytes()), -1)),
        Call::Get { key } => (OpCode::GetData, request::path_bool(Some(key.as_bytes()), false)),
        Call::Sync => (OpCode::Sync, request::path(Some(b"/"))),
    }
}

fn outcome(reply: &crate::raw::Reply) -> Option<Outcome> {
    let zxid = reply.header.zxid.0;
    if reply.header.err != 0 {
        return Some(Outcome::Failed { code: reply.header.err, zxid });
    }
    let body = reply.ok().ok()?;
    let stat = body.stat();
    let value = match body {
        Body::DataStat(data, _) => Some(String::from_utf8_lossy(&data.unwrap_or_default()).into_owned()),
        _ => None,
    };
    Some(Outcome::Done { zxid, stat, value })
}
