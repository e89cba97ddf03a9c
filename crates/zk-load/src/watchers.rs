//! How long it takes until all who watch a node are told that it changed.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zk_proto::{ErrorCode, OpCode};

use crate::drive::{SESSION_MS, own_cpu};
use crate::line::Line;
use crate::outcome::{Outcome, Times};
use crate::requests::create;
use crate::{Error, Result};

/// The node; the server without work looks for its end.
const PATH: &str = "/zkd-bench-watched";

/// What was seen, round by round.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// From the sending of the change until the last watcher had its event.
    pub all: Times,
    /// Every event of every round. Watchers are read one after the other, so that this is what the
    /// reader saw and not when the event had arrived.
    pub each: Times,
    /// Processor time of the load itself.
    pub own_cpu: Duration,
}

impl Told {
    /// The same as an outcome of a load: each round is a reply.
    pub fn outcome(self) -> Outcome {
        Outcome { replies: self.all.count(), writes: self.all, own_cpu: self.own_cpu, ..Outcome::default() }
    }
}

/// Lets `count` sessions watch a node, changes it, and waits until all were told; so many rounds,
/// with a watch that fires once. The node is made and removed. `observe` is called at both ends, when all sessions are open.
pub fn watchers<T>(
    servers: &[SocketAddr],
    count: usize,
    rounds: usize,
    mut observe: impl FnMut() -> T,
) -> Result<(Told, [T; 2])> {
    const THREADS: usize = 2;
    let server = *servers.first().ok_or_else(|| Error::Invalid("watchers need a server".to_owned()))?;
    let mut writer = Line::open(server, SESSION_MS)?;
    let made = writer.call(OpCode::Create, |w| create(w, PATH, b"x"))?.err;
    if made != 0 && made != ErrorCode::NodeExists.to_i32() {
        return Err(Error::Code { what: format!("create {PATH}"), code: made });
    }
    let mut lines = Line::open_many(servers, count, SESSION_MS)?;
    let (barrier, changed, broken) = (Barrier::new(THREADS + 1), AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    let (first, cpu) = (observe(), own_cpu());
    let mut told = thread::scope(|scope| -> Result<Told> {
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                let mut mine: Vec<Line> = lines.drain(..lines.len() / (THREADS - t)).collect();
                let (barrier, changed, broken) = (&barrier, &changed, &broken);
                scope.spawn(move || -> Result<Times> {
                    let mut times = Times::default();
                    let mut result = Ok(());
                    for _ in 0..rounds {
                        result = result.and_then(|()| watch(&mut mine));
                        broken.fetch_or(result.is_err(), Ordering::Relaxed);
                        // All watch; then the change was sent; then all were told.
                        barrier.wait();
                        barrier.wait();
                        if !broken.load(Ordering::Relaxed) {
                            result = result.and_then(|()| events(&mut mine, begin, changed, &mut times));
                            broken.fetch_or(result.is_err(), Ordering::Relaxed);
                        }
                        barrier.wait();
                    }
                    result.map(|()| times)
                })
            })
            .collect();
        let mut told = Told::default();
        let mut result = Ok(());
        for _ in 0..rounds {
            barrier.wait();
            let since = begin.elapsed().as_nanos() as u64;
            changed.store(since, Ordering::Relaxed);
            if !broken.load(Ordering::Relaxed) {
                result = set(&mut writer);
                broken.fetch_or(result.is_err(), Ordering::Relaxed);
            }
            barrier.wait();
            barrier.wait();
            told.all.record(begin.elapsed().as_nanos() as u64 - since);
        }
        for thread in threads {
            told.each.add(&thread.join().map_err(|_| Error::Invalid("a watcher died".to_owned()))??);
        }
        result.map(|()| told)
    })?;
    told.own_cpu = own_cpu().saturating_sub(cpu);
    let last = observe();
    // The replies to the changes are still there.
    for _ in 0..rounds {
        writer.reply()?;
    }
    writer.call(OpCode::Delete, |w| {
        w.str(PATH);
        w.int(-1);
    })?;
    writer.close()?;
    Ok((told, [first, last]))
}

/// The reply is not waited for: the watchers are told beside it.
fn set(writer: &mut Line) -> Result<()> {
    writer.push(OpCode::SetData, |w| {
        w.str(PATH);
        w.buffer(Some(b"y"));
        w.int(-1);
    });
    writer.flush()
}

fn watch(lines: &mut [Line]) -> Result<()> {
    for line in &mut *lines {
        line.push(OpCode::GetData, |w| {
            w.str(PATH);
            w.bool(true);
        });
        line.flush()?;
    }
    lines.iter_mut().try_for_each(|line| match line.reply()? {
        r if r.err == 0 && !r.is_event() => Ok(()),
        r => Err(Error::Protocol(format!("getData answered error {}", r.err))),
    })
}

fn events(lines: &mut [Line], begin: Instant, changed: &AtomicU64, times: &mut Times) -> Result<()> {
    for line in lines {
        if !line.reply()?.is_event() {
            return Err(Error::Protocol("a reply where an event was due".to_owned()));
        }
        times.record(begin.elapsed().as_nanos() as u64 - changed.load(Ordering::Relaxed));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Canned;

    #[test]
    fn all_are_told() {
        let server = Canned::start(0, 2).unwrap();
        let (told, [a, b]) = watchers(&[server.addr()], 50, 4, || 7).unwrap();
        assert_eq!((told.all.count(), told.each.count(), a, b), (4, 200, 7, 7));
        assert!(told.each.max() <= told.all.max() + Duration::from_millis(1));
    }

    #[test]
    fn sessions_come_and_go() {
        let server = Canned::start(0, 2).unwrap();
        let time = Duration::from_millis(50);
        let (seen, _) = crate::churn(&[server.addr()], 10, time, || ()).unwrap();
        assert!(seen.replies >= 10 && seen.replies == seen.writes.count());
        assert!(seen.time >= time);
    }
}
