//! Sessions that open and end, as when a fleet of clients comes back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zk_proto::OpCode;

use crate::drive::{SESSION_MS, own_cpu};
use crate::line::Line;
use crate::outcome::{Outcome, Times};
use crate::{Error, Result};

/// Opens and ends sessions for a time, `at_once` of them under way, over two threads. A session
/// counts with its connect, its createSession and its closeSession; its time is that until the
/// server has answered the connect request, from the connect on. `observe` is called at both ends.
pub fn churn<T>(
    servers: &[SocketAddr],
    at_once: usize,
    time: Duration,
    mut observe: impl FnMut() -> T,
) -> Result<(Outcome, [T; 2])> {
    const THREADS: usize = 2;
    if servers.is_empty() || at_once == 0 {
        return Err(Error::Invalid("sessions need a server, and one at once".to_owned()));
    }
    let number = AtomicUsize::new(1);
    let each = at_once.div_ceil(THREADS);
    let (first, cpu, begin) = (observe(), own_cpu(), Instant::now());
    let times = thread::scope(|scope| -> Result<Times> {
        let threads: Vec<_> = (0..THREADS.min(at_once))
            .map(|_| {
                scope.spawn(|| -> Result<Times> {
                    let mut times = Times::default();
                    while begin.elapsed() < time {
                        batch(servers, each, &number, &mut times)?;
                    }
                    Ok(times)
                })
            })
            .collect();
        let mut all = Times::default();
        for thread in threads {
            all.add(&thread.join().map_err(|_| Error::Invalid("a thread of the load died".to_owned()))??);
        }
        Ok(all)
    })?;
    let outcome = Outcome {
        time: begin.elapsed(),
        replies: times.count(),
        writes: times,
        own_cpu: own_cpu().saturating_sub(cpu),
        ..Outcome::default()
    };
    Ok((outcome, [first, observe()]))
}

fn batch(servers: &[SocketAddr], count: usize, number: &AtomicUsize, times: &mut Times) -> Result<()> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let n = number.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        open.push((Line::begin(servers[n % servers.len()], n, SESSION_MS)?, since));
    }
    for (line, since) in &mut open {
        line.welcome()?;
        times.record(since.elapsed().as_nanos() as u64);
        line.push(OpCode::CloseSession, |_| {});
        line.flush()?;
    }
    for (line, _) in &mut open {
        line.reply()?;
        line.forget()?;
    }
    Ok(())
}
