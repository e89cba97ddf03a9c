//! Threads for what a login may have to wait for: Kerberos' replay cache is a file, and a ticket comes
//! from the KDC.

use std::io;

use crossbeam_channel::{Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::limits;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads with a bounded queue; they end with it.
#[derive(Debug, Clone)]
pub struct Pool(Sender<Job>);

/// There are too many logins under way, or the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many logins are under way")]
pub struct Busy;

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(name: &str) -> io::Result<Self> {
        let (jobs, queue) = bounded::<Job>(limits::LOGINS);
        for _ in 0..limits::LOGIN_THREADS {
            let queue = queue.clone();
            let work = move || queue.iter().for_each(|job| job());
            std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        }
        Ok(Self(jobs))
    }

    /// Does it there.
    ///
    /// # Errors
    /// If too much waits already.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let (done, result) = oneshot::channel();
        // Who has asked may be gone: a silent KDC must not be asked again for each who gave up.
        let job: Job = Box::new(move || {
            if !done.is_closed() {
                drop(done.send(work()));
            }
        });
        match self.0.try_send(job) {
            Ok(()) => result.await.map_err(|_| Busy),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_too_many_is_told() {
        let pool = Pool::start("pool").expect("threads");
        assert_eq!(pool.run(|| 1).await, Ok(1));
        let (open, gate) = bounded::<()>(0);
        let mut waiting = Vec::new();
        for _ in 0..limits::LOGINS + limits::LOGIN_THREADS {
            let (pool, gate) = (pool.clone(), gate.clone());
            waiting.push(tokio::spawn(async move { pool.run(move || gate.recv()).await }));
        }
        // Threads take theirs from the queue, so that there is room for all in the end.
        while !pool.0.is_full() {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 1).await, Err(Busy));
        drop(open);
        let mut done = 0;
        for task in waiting {
            done += usize::from(task.await.expect("no panic").is_ok());
        }
        assert!(done >= limits::LOGINS);
        assert_eq!(pool.run(|| 2).await, Ok(2));
    }

    #[tokio::test]
    async fn who_has_given_up_is_not_worked_for() {
        let pool = Pool::start("pool").expect("threads");
        let (open, gate) = bounded::<()>(0);
        let (begin, begun) = bounded(limits::LOGIN_THREADS);
        let mut busy = Vec::new();
        for _ in 0..limits::LOGIN_THREADS {
            let (pool, gate, begin) = (pool.clone(), gate.clone(), begin.clone());
            let work = move || {
                let _ = (begin.send(()), gate.recv());
            };
            busy.push(tokio::spawn(async move { pool.run(work).await }));
        }
        while !begun.is_full() {
            tokio::task::yield_now().await;
        }
        let (done, is_done) = bounded(1);
        let asked = pool.run(move || done.send(()));
        assert!(tokio::time::timeout(std::time::Duration::ZERO, asked).await.is_err());
        drop(open);
        for task in busy {
            assert_eq!(task.await.expect("no panic"), Ok(()));
        }
        assert!(is_done.recv().is_err(), "the work of nobody was done");
    }
}
