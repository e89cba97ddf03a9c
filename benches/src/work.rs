//! One turn of one server at a scenario.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use zk_load::{Keys, Line};
use zk_proto::{OpCode, Xid};
use zk_testkit::ensemble::ELECTION;

use crate::fleet::{Servers, Target};
use crate::machine;
use crate::sample::Sample;
use crate::scenario::{Idle, Load, Observers, Restart, Side, WatchMemory, Work};
use crate::snapshots::SnapshotWatch;

/// Before a turn counts: connections are new, caches are another server's.
const SETTLE: Duration = Duration::from_millis(500);

/// Until memory that is not needed any more has gone back.
const CALM: Duration = Duration::from_secs(3);

/// The longest time-out that the configuration allows.
const LONG_SESSION_MS: i32 = 60_000;

/// Does a scenario's work once.
pub fn turn(work: &Work, side: Side, target: &mut Target, time: Duration) -> Result<Sample> {
    match work {
        Work::Load(load) => drive(load, target, time),
        Work::Sessions(s) => sessions(s.at_once, target, time),
        Work::Watchers(w) => watchers(w.count, w.rounds, target),
        Work::Memory(_) => memory(side, target),
        Work::WatchMemory(w) => watch_memory(w, side, target),
        Work::Idle(idle) => hold(idle, side, target),
        Work::Restart(r) => restart(r, target),
        Work::Observers(o) => observers(o, target),
    }
}

/// A load, with what the servers used for it.
fn drive(load: &Load, target: &Target, time: Duration) -> Result<Sample> {
    let watch = load.snapshots.then(|| SnapshotWatch::start(target.data_dirs()));
    let mut sample = drive_at(load, target.servers(), &target.pids(), &target.home(), time)?;
    if let Some(watch) = watch {
        watch.finish(load.seconds.map_or(time, Duration::from_secs_f64), &mut sample)?;
    }
    Ok(sample)
}

fn drive_at(
    load: &Load,
    servers: Vec<SocketAddr>,
    pids: &[u32],
    home: &Path,
    time: Duration,
) -> Result<Sample> {
    let plan = load.plan(servers, SETTLE.min(time), time)?;
    let (outcome, [before, after]) = zk_load::run(&plan, || machine::usage(pids, home))?;
    let (before, after) = (before?, after?);
    ensure!(plan.mix.may_refuse() || outcome.refused == 0, "{} requests were refused", outcome.refused);
    ensure!(outcome.replies > 0, "nothing was answered");
    let mut sample = Sample::of(&outcome);
    sample.used(before, after, outcome.replies);
    Ok(sample)
}

fn sessions(at_once: usize, target: &Target, time: Duration) -> Result<Sample> {
    let (outcome, [before, after]) = zk_load::churn(&target.servers(), at_once, time, || target.usage())?;
    let mut sample = Sample::of(&outcome);
    sample.used(before?, after?, outcome.replies);
    Ok(sample)
}

fn watchers(count: usize, rounds: usize, target: &Target) -> Result<Sample> {
    let (told, [before, after]) = zk_load::watchers(&target.servers(), count, rounds, || target.usage())?;
    let outcome = told.outcome();
    let mut sample = Sample::of(&outcome);
    sample.used(before?, after?, outcome.replies);
    Ok(sample)
}

/// What the nodes hold that the server was filled with.
fn memory(side: Side, target: &Target) -> Result<Sample> {
    std::thread::sleep(CALM);
    let nodes = target.nodes()?;
    ensure!(nodes > 1000, "{nodes} nodes are too few to tell what one takes");
    let each = |bytes: u64| bytes as f64 / nodes as f64;
    let mut sample = Sample::default();
    let resident = target.usage()?.resident;
    sample.set("resident_bytes_per_node", each(resident.saturating_sub(target.empty.resident)));
    sample.set("resident_mb", resident as f64 / f64::from(1 << 20));
    sample.set("nodes", nodes as f64);
    if side == Side::Java {
        sample.set("live_bytes_per_node", each(live_heap(target)?.saturating_sub(target.empty_heap)));
    }
    Ok(sample)
}

/// Live bytes of the one JVM's heap.
pub fn live_heap(target: &Target) -> Result<u64> {
    let pid = *target.pids().first().context("no JVM runs")?;
    machine::live_heap(pid)
}

/// Memory that is in use: of Java its live heap, since what is resident of a JVM is what it once needed.
fn held(side: Side, target: &Target) -> Result<u64> {
    if side == Side::Java { live_heap(target) } else { Ok(target.usage()?.resident) }
}

/// What watches hold.
fn watch_memory(w: &WatchMemory, side: Side, target: &Target) -> Result<Sample> {
    let keys = Keys::all(&w.keys)?;
    let mut lines = Line::open_many(&target.servers(), w.connections, LONG_SESSION_MS)?;
    std::thread::sleep(CALM);
    let before = held(side, target)?;
    for (n, line) in lines.iter_mut().enumerate() {
        let from = if w.shared { 0 } else { n as u64 * w.each };
        ensure!(from + w.each <= keys.count(), "{} are not enough for all watches", w.keys);
        set_watches(line, &keys, from, from + w.each)?;
    }
    std::thread::sleep(CALM);
    let after = held(side, target)?;
    let count = w.connections as u64 * w.each;
    let seen = target.watches()?;
    ensure!(seen == count, "the server has {seen} watches instead of {count}");
    end_all(lines)?;
    let mut sample = Sample::default();
    sample.set("bytes_per_watch", after.saturating_sub(before) as f64 / count as f64);
    sample.set("watches", count as f64);
    Ok(sample)
}

/// Watches the data of existing nodes, without reading it.
fn set_watches(line: &mut Line, keys: &Keys, from: u64, to: u64) -> Result<()> {
    /// Paths of 120 B in one request: far below jute.maxbuffer.
    const PIECE: u64 = 2000;
    let mut at = from;
    while at < to {
        let end = to.min(at + PIECE);
        let paths: Vec<String> = (at..end).map(|i| keys.path(i)).collect();
        line.push_as(Xid::SET_WATCHES, OpCode::SetWatches, |w| {
            // Nothing is newer, so nothing fires.
            w.long(i64::MAX);
            w.vector(Some(&paths), |w, p| w.str(p));
            w.vector::<String>(Some(&[]), |_, _| {});
            w.vector::<String>(Some(&[]), |_, _| {});
        });
        line.flush()?;
        let reply = line.reply()?;
        ensure!(reply.xid == Xid::SET_WATCHES && reply.err == 0, "setWatches answered {reply:?}");
        at = end;
    }
    Ok(())
}

/// Ends many sessions at once.
fn end_all(mut lines: Vec<Line>) -> Result<()> {
    for line in &mut lines {
        line.push(OpCode::CloseSession, |_| {});
        line.flush()?;
    }
    for line in &mut lines {
        while line.reply()?.is_event() {}
    }
    Ok(())
}

/// Sessions that only say that they are alive.
fn hold(idle: &Idle, side: Side, target: &Target) -> Result<Sample> {
    /// Files that both processes need for other things.
    const OTHER_FILES: u64 = 500;
    let most = usize::try_from(machine::raise_files()?.saturating_sub(OTHER_FILES))?;
    let count = idle.connections.min(most);
    let empty = held(side, target)?;
    let mut lines = Line::open_many(&target.servers(), count, LONG_SESSION_MS)?;
    std::thread::sleep(CALM);
    let full = held(side, target)?;
    let before = target.usage()?;
    let begin = Instant::now();
    for _ in 0..idle.pings {
        for line in &mut lines {
            line.push_as(Xid::PING, OpCode::Ping, |_| {});
            line.flush()?;
        }
        for line in &mut lines {
            ensure!(line.reply()?.xid == Xid::PING, "no answer to a ping");
        }
    }
    let after = target.usage()?;
    let pings = (count * idle.pings) as f64;
    end_all(lines)?;
    let mut sample = Sample::default();
    sample.set("connections", count as f64);
    sample.set("bytes_per_connection", full.saturating_sub(empty) as f64 / count as f64);
    sample.set("server_cpu_us", after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / pings);
    sample.set("pings_seconds", begin.elapsed().as_secs_f64());
    Ok(sample)
}

/// From the start of the process until a client reads a node.
fn restart(r: &Restart, target: &mut Target) -> Result<Sample> {
    let nodes = target.nodes()?;
    let Servers::One(server) = &mut target.servers else { bail!("restart is for one server") };
    let began = |kill: bool, server: &mut zk_testkit::process::Server| -> Result<Duration> {
        if kill {
            server.kill()?;
        } else {
            server.stop()?;
        }
        let begin = Instant::now();
        server.spawn()?;
        loop {
            if first_read(server.addr(), &r.path).is_ok() {
                return Ok(begin.elapsed());
            }
            if let Some(status) = server.exited()? {
                bail!("it ended: {status}");
            }
            ensure!(begin.elapsed() < Duration::from_secs(600), "no read within ten minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // The first start after the filling also writes what the filling has left.
    began(false, server)?;
    server.wait_until_serving()?;
    let stopped = began(false, server)?;
    server.wait_until_serving()?;
    let killed = began(true, server)?;
    server.wait_until_serving()?;
    ensure!(target.nodes()? == nodes, "there were {nodes} nodes before the restart");
    let mut sample = Sample::default();
    sample.set("first_read_ms", stopped.as_secs_f64() * 1e3);
    sample.set("first_read_after_kill_ms", killed.as_secs_f64() * 1e3);
    sample.set("nodes", nodes as f64);
    Ok(sample)
}

fn first_read(addr: SocketAddr, path: &str) -> Result<()> {
    // Java takes a connection now and then that it never answers while it starts; a client tries again.
    let mut line = Line::open_within(addr, zk_load::SESSION_MS, Duration::from_secs(1))?;
    let reply = line.call(OpCode::GetData, |w| {
        w.str(path);
        w.bool(false);
    })?;
    ensure!(reply.err == 0, "error {}", reply.err);
    Ok(line.close()?)
}

/// The leader's processor time with observers and without them, at the same rate of writes.
fn observers(o: &Observers, target: &mut Target) -> Result<Sample> {
    let time = Duration::from_secs_f64(o.seconds);
    let Servers::Many(e) = &mut target.servers else { bail!("observers need an ensemble") };
    let leader = e.wait_leader(ELECTION)?;
    let pid = e.member(leader).pid().context("the leader does not run")?;
    let load = Load::writes(o.rate, &o.keys);
    // The JVMs are warm before either counts.
    drive_at(&load, vec![e.addr(leader)], &[pid], e.member(leader).home(), time)?;
    let with = drive_at(&load, vec![e.addr(leader)], &[pid], e.member(leader).home(), time)?;
    let all: Vec<usize> = (o.voters..e.len()).collect();
    ensure!(!all.is_empty(), "no observers");
    for i in &all {
        e.stop(*i)?;
    }
    let without = drive_at(&load, vec![e.addr(leader)], &[pid], e.member(leader).home(), time)?;
    for i in &all {
        e.restart(*i)?;
    }
    let cpu = |s: &Sample| s.figures.get("server_cpu_us").copied().unwrap_or(0.0);
    let mut sample = Sample::default();
    sample.set("leader_cpu_us_per_observer", (cpu(&with) - cpu(&without)) / all.len() as f64);
    sample.set("leader_cpu_us", cpu(&with));
    sample.set("leader_cpu_us_without", cpu(&without));
    Ok(sample)
}

impl Target {
    /// Where the servers write snapshots.
    fn data_dirs(&self) -> Vec<PathBuf> {
        match &self.servers {
            Servers::One(server) => vec![server.data_dir()],
            Servers::Many(e) => (0..e.len()).map(|i| e.member(i).data_dir()).collect(),
        }
    }
}
