//! `kill -9` under load, and what has to be there afterwards.
//!
//! Each writer owns one directory and one session, and pipelines writes whose
//! outcome it can foretell: nobody else touches the directory. What is left of
//! a writer after a crash must therefore be the state after the first *k* of its
//! writes, where *k* is at least the number of acknowledged ones and at most the
//! number of sent ones. That says at once that nothing acknowledged is lost,
//! that nothing is half there, and that nothing changed its place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zk_proto::{OpCode, SessionId};

use crate::process::{Config, Launcher, SUPER, Server};
use crate::raw::{Conn, Incoming, event, push_frame};
use crate::reply::Body;
use crate::request::{self, OPEN};
use crate::tree;

/// Session time-out in ms of the writers that are left to expire now and then.
const SESSION_MS: i32 = 4000;
/// That of all others, who come back on the busiest machine.
const LONG_MS: i32 = 120_000;
/// How many writers are left to expire, the first ones.
const EXPIRING: usize = 2;
/// Writes in flight per writer.
const DEPTH: usize = 32;
/// Nodes in a directory, about.
const NODES: usize = 150;

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where everything random comes from, except for the scheduling.
    pub seed: u64,
    /// How many crashes.
    pub loops: usize,
    /// How many clients write.
    pub writers: usize,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Crashes.
    pub crashes: usize,
    /// Of these, while the server was starting.
    pub crashes_at_start: usize,
    /// Acknowledged writes.
    pub acknowledged: usize,
    /// Writes in flight at a crash.
    pub in_flight: usize,
    /// Of these, how many were there afterwards.
    pub survived: usize,
    /// Sessions that went on after a crash.
    pub sessions_kept: usize,
    /// Sessions left to expire, with all ephemerals gone in time.
    pub sessions_expired: usize,
    /// Slowest start after a crash.
    pub slowest_start: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    data: Vec<u8>,
    version: i32,
    ephemeral: bool,
    czxid: Option<i64>,
    mzxid: Option<i64>,
}

/// A directory as it should be.
#[derive(Debug, Clone, Default)]
struct Model {
    nodes: BTreeMap<String, Node>,
    creates: i32,
}

#[derive(Debug, Clone)]
enum Effect {
    Create { name: String, data: Vec<u8>, ephemeral: bool },
    Set { name: String, data: Vec<u8> },
    Delete { name: String },
}

/// A write and what it does.
#[derive(Debug, Clone)]
struct Write {
    op: OpCode,
    body: Vec<u8>,
    effects: Vec<Effect>,
    /// The multi that must fail.
    fails: bool,
    /// zxid, once acknowledged.
    zxid: Option<i64>,
}

impl Model {
    fn apply(&mut self, write: &Write) {
        for effect in &write.effects {
            match effect {
                Effect::Create { name, data, ephemeral } => {
                    self.creates += 1;
                    let node = Node {
                        data: data.clone(),
                        version: 0,
                        ephemeral: *ephemeral,
                        czxid: write.zxid,
                        mzxid: write.zxid,
                    };
                    self.nodes.insert(name.clone(), node);
                }
                Effect::Set { name, data } => {
                    let node = self.nodes.get_mut(name).expect("writes are made from the model");
                    node.data.clone_from(data);
                    node.version += 1;
                    node.mzxid = write.zxid;
                }
                Effect::Delete { name } => {
                    self.nodes.remove(name);
                }
            }
        }
    }

    /// What is wrong with what was found; `None`: it is this state.
    fn mismatch(&self, seen: &tree::Tree, dir: &str, session: SessionId) -> Option<String> {
        let top = &seen[dir];
        let shown = self.creates.wrapping_mul(2) - self.nodes.len() as i32;
        if top.stat.cversion != shown {
            return Some(format!("{dir} has cversion {}, not {shown}", top.stat.cversion));
        }
        if seen.len() != self.nodes.len() + 1 {
            return Some(format!("{dir} has {} nodes, not {}", seen.len() - 1, self.nodes.len()));
        }
        for (name, node) in &self.nodes {
            let path = format!("{dir}/{name}");
            let Some(found) = seen.get(&path) else { return Some(format!("{path} is missing")) };
            let owner = if node.ephemeral { session.0 } else { 0 };
            let s = found.stat;
            if found.data.as_ref() != Some(&node.data)
                || s.version != node.version
                || s.ephemeral_owner != owner
                || node.czxid.is_some_and(|z| z != s.czxid)
                || node.mzxid.is_some_and(|z| z != s.mzxid)
            {
                let (mut found, mut node) = (found.clone(), node.clone());
                found.data.get_or_insert_default().truncate(60);
                node.data.truncate(60);
                return Some(format!("{path} is {found:?}, not {node:?} of {owner:#x}"));
            }
        }
        None
    }
}

/// One client over all crashes.
#[derive(Debug)]
struct Writer {
    dir: String,
    rng: StdRng,
    session: SessionId,
    session_ms: i32,
    conn: Option<Conn>,
    /// State that was verified last.
    base: Model,
    /// Writes since then.
    writes: Vec<Write>,
    acknowledged: usize,
    /// Counts up, so that no two writes carry the same data.
    serial: u64,
    newest: i64,
}

impl Writer {
    fn new(number: usize, seed: u64) -> Writer {
        Writer {
            dir: format!("/w{number:02}"),
            rng: StdRng::seed_from_u64(seed ^ (number as u64 + 1) << 32),
            session: SessionId::NONE,
            session_ms: if number < EXPIRING { SESSION_MS } else { LONG_MS },
            conn: None,
            base: Model::default(),
            writes: Vec::new(),
            acknowledged: 0,
            serial: 0,
            newest: 0,
        }
    }

    fn data(&mut self) -> Vec<u8> {
        self.serial += 1;
        let mut data = format!("{} {} ", self.dir, self.serial).into_bytes();
        let n = match self.rng.random_range(0..40) {
            0 => 20_000,
            1..=3 => 3_000,
            _ => self.rng.random_range(0..150),
        };
        data.resize(data.len() + n, b'.');
        data
    }

    fn name(&mut self) -> String {
        self.serial += 1;
        format!("n{}", self.serial)
    }

    fn existing(&mut self, model: &Model) -> Option<String> {
        let n = model.nodes.len();
        if n == 0 {
            return None;
        }
        let at = self.rng.random_range(0..n);
        model.nodes.keys().nth(at).cloned()
    }

    fn part(&mut self, model: &Model) -> (OpCode, Vec<u8>, Effect) {
        let full = model.nodes.len() > NODES;
        let dice = self.rng.random_range(0..100);
        let old = self.existing(model);
        let path = |dir: &str, name: &str| format!("{dir}/{name}").into_bytes();
        match old {
            Some(name) if dice < 35 => {
                let data = self.data();
                let version = if dice < 20 { model.nodes[&name].version } else { -1 };
                let body = request::set_data(Some(&path(&self.dir, &name)), Some(&data), version);
                (OpCode::SetData, body, Effect::Set { name, data })
            }
            Some(name) if dice < 55 || full => {
                let body = request::path_int(Some(&path(&self.dir, &name)), model.nodes[&name].version);
                (OpCode::Delete, body, Effect::Delete { name })
            }
            _ => {
                let data = self.data();
                let ephemeral = dice >= 90;
                let sequential = (65..75).contains(&dice) || dice >= 97;
                let flags = i32::from(ephemeral) + if sequential { 2 } else { 0 };
                let (asked, name) = if sequential {
                    ("s-".to_owned(), format!("s-{:010}", model.creates))
                } else {
                    let name = self.name();
                    (name.clone(), name)
                };
                let body = request::create(Some(&path(&self.dir, &asked)), Some(&data), Some(OPEN), flags);
                (OpCode::Create2, body, Effect::Create { name, data, ephemeral })
            }
        }
    }

    /// The next write, given the state that it will meet.
    fn next_write(&mut self, model: &Model) -> Write {
        let fails = self.rng.random_bool(0.05);
        let parts = if fails || self.rng.random_bool(0.2) { self.rng.random_range(2..6) } else { 1 };
        if parts == 1 {
            let (op, body, effect) = self.part(model);
            return Write { op, body, effects: vec![effect], fails: false, zxid: None };
        }
        let mut scratch = model.clone();
        let (mut bodies, mut effects) = (Vec::new(), Vec::new());
        for _ in 0..parts {
            let (op, body, effect) = self.part(&scratch);
            bodies.push((op.to_i32(), body));
            let one = Write { op, body: Vec::new(), effects: vec![effect.clone()], fails: false, zxid: None };
            scratch.apply(&one);
            effects.push(effect);
        }
        if fails {
            // The last part spoils the ones before it.
            let missing = format!("{}/missing", self.dir);
            bodies.push((OpCode::Delete.to_i32(), request::path_int(Some(missing.as_bytes()), -1)));
            effects.clear();
        }
        Write { op: OpCode::Multi, body: request::multi(&bodies), effects, fails, zxid: None }
    }

    /// Writes until the connection breaks or `stop` is set.
    fn run(&mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut conn = self.conn.take().context("not connected")?;
        let mut head = self.base.clone();
        ensure!(self.writes.is_empty(), "writes are left from before");
        loop {
            let mut out = Vec::new();
            while self.writes.len() - self.acknowledged < DEPTH && !stop.load(Ordering::Relaxed) {
                let write = self.next_write(&head);
                head.apply(&write);
                push_frame(
                    &mut out,
                    &request::frame(self.writes.len() as i32 + 1, write.op.to_i32(), &write.body),
                );
                self.writes.push(write);
            }
            if !out.is_empty() && conn.send_bytes(&out).is_err() {
                return self.rest(&mut conn);
            }
            if self.writes.len() == self.acknowledged {
                self.conn = Some(conn);
                return Ok(());
            }
            match conn.incoming(Duration::from_secs(30)) {
                Ok(Incoming::Frame(f)) => self.acknowledge(&f)?,
                Ok(Incoming::Closed) | Err(_) => return Ok(()),
                Ok(Incoming::Nothing) => bail!("{}: no reply within 30 s", self.dir),
            }
        }
    }

    /// Replies that had arrived before the connection broke.
    fn rest(&mut self, conn: &mut Conn) -> anyhow::Result<()> {
        while let Ok(Incoming::Frame(f)) = conn.incoming(Duration::from_secs(1)) {
            self.acknowledge(&f)?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        if event(frame).is_some() {
            bail!("{}: an event without a watch", self.dir);
        }
        let mut r = jute::Reader::new(frame);
        let header = zk_proto::client::ReplyHeader::read(&mut r)?;
        let write = self.writes.get_mut(self.acknowledged).context("a reply to nothing")?;
        ensure!(header.xid.0 == self.acknowledged as i32 + 1, "{}: replies out of order", self.dir);
        ensure!(header.err == 0, "{}: {:?} failed with {}", self.dir, write, header.err);
        ensure!(header.zxid.0 > self.newest, "{}: zxid {} after {:#x}", self.dir, header.zxid, self.newest);
        self.newest = header.zxid.0;
        let body = Body::decode(write.op.to_i32(), r.rest())?;
        let zxid = match &body {
            Body::PathStat(Some(path), s) => {
                if let Some(Effect::Create { name, .. }) = write.effects.first() {
                    ensure!(*path == format!("{}/{name}", self.dir).into_bytes(), "another name was made");
                }
                s.czxid
            }
            Body::Stat(s) => s.mzxid,
            Body::Multi(parts) => {
                let failed = parts.iter().any(|p| p.op == -1);
                ensure!(failed == write.fails, "{}: multi {write:?} gave {parts:?}", self.dir);
                header.zxid.0
            }
            _ => header.zxid.0,
        };
        // Only a stat tells the write's own zxid for sure.
        if matches!(body, Body::PathStat(..) | Body::Stat(_)) {
            ensure!(zxid <= header.zxid.0, "a stat from the future");
            write.zxid = Some(zxid);
        }
        self.acknowledged += 1;
        Ok(())
    }

    /// Finds the state after the crash among the possible ones.
    fn verify(&mut self, seen: &tree::Tree, report: &mut Report) -> anyhow::Result<()> {
        let mut model = self.base.clone();
        for w in &self.writes[..self.acknowledged] {
            model.apply(w);
        }
        let mut first = None;
        let mut k = self.acknowledged;
        loop {
            match model.mismatch(seen, &self.dir, self.session) {
                None => break,
                Some(text) => {
                    first.get_or_insert(text);
                }
            }
            let Some(w) = self.writes.get(k) else {
                bail!(
                    "{}: not the state after any of {} to {} writes; against {0}: {}\nlast writes: {:#?}",
                    self.acknowledged,
                    self.writes.len(),
                    self.dir,
                    first.unwrap_or_default(),
                    self.writes[self.acknowledged..]
                        .iter()
                        .map(|w| (w.op, w.effects.len()))
                        .collect::<Vec<_>>()
                );
            };
            model.apply(w);
            k += 1;
        }
        report.acknowledged += self.acknowledged;
        report.in_flight += self.writes.len() - self.acknowledged;
        report.survived += k - self.acknowledged;
        // What was not acknowledged has a zxid now.
        for (name, node) in &mut model.nodes {
            let s = seen[&format!("{}/{name}", self.dir)].stat;
            (node.czxid, node.mzxid) = (Some(s.czxid), Some(s.mzxid));
        }
        self.base = model;
        self.writes.clear();
        self.acknowledged = 0;
        Ok(())
    }

    fn connect(&mut self, addr: SocketAddr) -> anyhow::Result<()> {
        let conn = if self.session == SessionId::NONE {
            Conn::open(addr, self.session_ms)?
        } else {
            Conn::reopen(addr, self.session, self.session_ms)
                .with_context(|| format!("{}: session {} does not go on", self.dir, self.session))?
        };
        self.session = conn.session;
        self.conn = Some(conn);
        Ok(())
    }
}

/// Crashes a server again and again.
pub fn run(launcher: &'static dyn Launcher, plan: Plan, progress: bool) -> anyhow::Result<Report> {
    let config =
        Config::default().line("tickTime", 500).line("snapCount", 3000).line("maxSessionTimeout", LONG_MS);
    let mut server = Server::start(launcher, config)?;
    let outcome = crash_loop(&mut server, plan, progress);
    outcome.map_err(|e| {
        anyhow::anyhow!("seed {}: {e:#}\nend of the server's output:\n{}", plan.seed, server.log_tail())
    })
}

fn crash_loop(server: &mut Server, plan: Plan, progress: bool) -> anyhow::Result<Report> {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut report = Report::default();
    let mut writers: Vec<Writer> = (0..plan.writers).map(|n| Writer::new(n, plan.seed)).collect();
    let mut control = super_user(server.addr())?;
    for w in &mut writers {
        control.create(&w.dir, b"", OPEN, 0)?;
        w.connect(server.addr())?;
    }
    for round in 0..=plan.loops {
        // The last round ends in order, and everything sent is acknowledged.
        let orderly = round == plan.loops;
        load(&mut writers, server, &mut rng, orderly)?;
        if orderly {
            server.stop()?;
            ensure!(writers.iter().all(|w| w.acknowledged == w.writes.len()), "a write without an answer");
        } else {
            server.kill()?;
            report.crashes += 1;
        }
        let newest = writers.iter().map(|w| w.newest).max().unwrap_or(0);
        if rng.random_bool(0.25) {
            server.spawn()?;
            std::thread::sleep(Duration::from_millis(rng.random_range(0..700)));
            server.kill()?;
            report.crashes_at_start += 1;
        }
        let began = Instant::now();
        server.restart().with_context(|| format!("start after crash {round}"))?;
        report.slowest_start = report.slowest_start.max(began.elapsed());
        let abandon = rng.random_bool(0.3);
        for w in &mut writers[usize::from(abandon) * EXPIRING..] {
            w.connect(server.addr())?;
            report.sessions_kept += 1;
        }
        let mut control = super_user(server.addr())?;
        let zxid = control.ping()?.zxid.0;
        ensure!(zxid >= newest, "zxid went back from {newest:#x} to {zxid:#x}");
        for n in 0..writers.len() {
            let seen = tree::read_below(&mut control, &writers[n].dir)?;
            writers[n].verify(&seen, &mut report)?;
            let waiting = &mut writers[..if abandon { 0 } else { EXPIRING }];
            waiting.iter_mut().filter_map(|w| w.conn.as_mut()).try_for_each(|c| c.ping().map(drop))?;
        }
        if abandon {
            let (gone, rest) = writers.split_at_mut(EXPIRING);
            for w in &mut *gone {
                expire(w, &mut control, rest)?;
                report.sessions_expired += 1;
            }
            for w in gone {
                w.session = SessionId::NONE;
                w.connect(server.addr())?;
            }
        }
        if progress {
            eprintln!("  round {round}: {report:?}");
        }
    }
    Ok(report)
}

fn super_user(addr: SocketAddr) -> anyhow::Result<Conn> {
    let mut control = Conn::open(addr, LONG_MS)?;
    ensure!(control.auth("digest", SUPER.as_bytes())? == 0, "the super user is refused");
    Ok(control)
}

/// Lets all writers write for a random time, then ends the server or the writing.
fn load(writers: &mut [Writer], server: &Server, rng: &mut StdRng, orderly: bool) -> anyhow::Result<()> {
    let stop = AtomicBool::new(false);
    let time = Duration::from_millis(rng.random_range(30..1200));
    std::thread::scope(|scope| {
        let threads: Vec<_> = writers.iter_mut().map(|w| scope.spawn(|| w.run(&stop))).collect();
        std::thread::sleep(time);
        if orderly {
            stop.store(true, Ordering::Relaxed);
        } else {
            let pid = server.pid().context("the server does not run")?;
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::Signal::SIGKILL,
            )?;
        }
        for t in threads {
            t.join().expect("a writer does not panic")?;
        }
        Ok(())
    })
}

/// The writer does not come back: its ephemerals are there and then go. The
/// sessions of the others are kept alive meanwhile.
fn expire(w: &mut Writer, control: &mut Conn, others: &mut [Writer]) -> anyhow::Result<()> {
    let patience = Duration::from_secs(60);
    let began = Instant::now();
    loop {
        let names = control.children(&w.dir, false)?.0;
        let left = names.iter().filter(|n| w.base.nodes.get(*n).is_some_and(|n| n.ephemeral)).count();
        if left == 0 {
            break;
        }
        ensure!(
            began.elapsed() < patience,
            "{}: {left} ephemerals of a gone session after {patience:?}",
            w.dir
        );
        for other in others.iter_mut() {
            other.conn.as_mut().context("not connected")?.ping()?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    w.base.nodes.retain(|_, n| !n.ephemeral);
    let seen = tree::read_below(control, &w.dir)?;
    match w.base.mismatch(&seen, &w.dir, w.session) {
        None => Ok(()),
        Some(text) => bail!("after the session expired: {text}"),
    }
}
