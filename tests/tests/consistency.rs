//! What the order of a server promises to several clients at once; the
//! differential run works in lock-step and cannot show it.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zk_proto::{OpCode, Stat};
use zk_testkit::process::{Config, Server};
use zk_testkit::raw::{Conn, Incoming, PATIENCE, event};
use zk_testkit::reply::Body;
use zk_testkit::request::{self, OPEN};

use crate::support::{Row, check_rows};

/// How long each of them runs at least, and at most until enough was seen.
const TIME: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);
/// Clients that look.
const READERS: usize = 3;
/// Requests in flight on a connection.
const DEPTH: usize = 24;

#[test]
fn order_for_several_clients() {
    let rows: &[Row] = &[
        ("rows 19, 75: no reply shows a change ahead of its event", event_before_change),
        ("an acknowledged write is seen by everybody", seen_by_everybody),
    ];
    check_rows(&Config::default(), rows);
}

/// Sets the node again and again, several in flight, and tells the newest
/// acknowledged version.
fn write(server: &Server, path: &str, stop: &AtomicBool, newest: &AtomicI32) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 10_000)?;
    let body = request::set_data(Some(path.as_bytes()), Some(b"x"), -1);
    let mut sent = std::collections::VecDeque::new();
    while !stop.load(Ordering::Relaxed) || !sent.is_empty() {
        while sent.len() < 4 && !stop.load(Ordering::Relaxed) {
            sent.push_back(c.send(OpCode::SetData, &body)?);
        }
        if let Some(xid) = sent.pop_front() {
            let stat = c.reply_to(xid, OpCode::SetData)?.ok()?.stat().context("no stat")?;
            newest.fetch_max(stat.version, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// What those who look know of the writers, and when they end.
#[derive(Default)]
struct Beside {
    stop: AtomicBool,
    newest: AtomicI32,
    /// How many of them have seen enough.
    content: AtomicUsize,
}

/// Runs `check` beside two writers.
fn beside_writers(
    server: &Server,
    path: &str,
    check: impl Fn(&Beside) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 10_000)?;
    c.create(path, b"", OPEN, 0)?;
    let beside = Beside::default();
    let Beside { stop, newest, content } = &beside;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..2 {
            threads.push(scope.spawn(|| write(server, path, stop, newest)));
        }
        for _ in 0..READERS {
            threads.push(scope.spawn(|| {
                let outcome = check(&beside);
                stop.store(true, Ordering::Relaxed);
                outcome
            }));
        }
        let began = Instant::now();
        let enough = || content.load(Ordering::Relaxed) == READERS && newest.load(Ordering::SeqCst) > 50;
        while !stop.load(Ordering::Relaxed)
            && (began.elapsed() < TIME || !enough() && began.elapsed() < LONGEST)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|t| t.join().expect("no panic"))
    })?;
    ensure!(newest.load(Ordering::SeqCst) > 50, "hardly a write");
    Ok(())
}

fn stat_of(op: OpCode, frame: &[u8]) -> anyhow::Result<Stat> {
    Body::decode(op.to_i32(), frame.get(16..).context("short")?)?.stat().context("no stat")
}

/// One connection sets watches and reads, all pipelined. After the reply that
/// set a watch at some version, no later reply may show a newer version before
/// the event has come.
fn event_before_change(server: &Server) -> anyhow::Result<()> {
    beside_writers(server, "/event-first", |Beside { stop, content, .. }| {
        let mut c = Conn::open(server.addr(), 10_000)?;
        let body = |watch| request::path_bool(Some(b"/event-first"), watch);
        let mut sent = std::collections::VecDeque::new();
        let mut armed: Option<i32> = None;
        let (mut n, mut events, mut last_zxid) = (0_u64, 0, 0);
        while !stop.load(Ordering::Relaxed) {
            while sent.len() < DEPTH {
                n += 1;
                let watch = n.is_multiple_of(5);
                let op = if n.is_multiple_of(2) { OpCode::Exists } else { OpCode::GetData };
                c.send(op, &body(watch))?;
                sent.push_back((op, watch));
            }
            let Incoming::Frame(frame) = c.incoming(PATIENCE)? else { bail!("no reply") };
            let zxid = i64::from_be_bytes(frame[4..12].try_into()?);
            ensure!(zxid >= last_zxid, "zxid {zxid:#x} after {last_zxid:#x} on one connection");
            last_zxid = zxid;
            if event(&frame).is_some() {
                ensure!(armed.take().is_some(), "an event without a watch");
                events += 1;
                content.fetch_add(usize::from(events == 11), Ordering::Relaxed);
                continue;
            }
            let (op, watch) = sent.pop_front().context("a reply to nothing")?;
            let version = stat_of(op, &frame)?.version;
            if let Some(at) = armed {
                ensure!(version == at, "version {version} came before the event of the watch set at {at}");
            }
            if watch {
                armed = Some(version);
            }
        }
        ensure!(events > 10, "hardly an event");
        Ok(())
    })
}

/// Whoever reads after a write was acknowledged to anybody sees it.
fn seen_by_everybody(server: &Server) -> anyhow::Result<()> {
    beside_writers(server, "/seen", |Beside { newest, stop, content }| {
        let mut c = Conn::open(server.addr(), 10_000)?;
        let body = request::path_bool(Some(b"/seen"), false);
        let mut last = 0;
        content.fetch_add(1, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) {
            let due = newest.load(Ordering::SeqCst);
            let version = c.call(OpCode::Exists, &body)?.ok()?.stat().context("no stat")?.version;
            ensure!(version >= due, "version {version} after {due} was acknowledged");
            ensure!(version >= last, "version {version} after {last} was read");
            last = version;
        }
        Ok(())
    })
}
