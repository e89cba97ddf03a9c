//! The two threads of the core. One waits for work and does it; whoever has made records that nobody
//! writes goes and writes them to the log, and the other takes its place. So with little to do a request goes from
//! a worker to one thread and back, whose wake-ups are all that it costs beside the disk; with much to do the next
//! requests are prepared while the log is written; and while a disk stands still the core goes on.
//!
//! | lock | of whom |
//! |---|---|
//! | front | who waits for events, until it has done what they ask for: they keep their order |
//! | core | who works on the state; taken behind the front, or by who has written the log if it is free |
//! | the log's writer | who writes; nobody waits for another lock with it |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select};
use parking_lot::{Mutex, MutexGuard};
use zk_pipeline::Input;
use zk_storage::LogWriter;

use crate::clock;
use crate::core_loop::{Awaited, Control, Core, Event};
use crate::disk::Log;
use crate::peer::PeerEvent;
use crate::quiet::{self, Quiet};

/// The core and who works on it.
#[derive(Debug)]
pub struct Crew {
    core: Mutex<Core>,
    front: Mutex<Front>,
    to_front: Sender<Control>,
    /// When the code was let go of last; monotonic ms.
    code_forgotten: AtomicU64,
}

/// What is waited for.
#[derive(Debug)]
struct Front {
    inputs: Receiver<Vec<Input>>,
    control: Receiver<Control>,
    peers: Receiver<PeerEvent>,
    phase: Phase,
}

const QUIET_MS: u64 = quiet::EVERY.as_millis() as u64;
/// How often code is let go of at most.
const CODE_MS: u64 = 600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    Running,
    Ended,
}

impl Crew {
    /// How many threads are to [`Crew::run`].
    pub const THREADS: usize = 2;

    /// Of a core that has not begun.
    pub fn new(
        core: Core,
        inputs: Receiver<Vec<Input>>,
        control: Receiver<Control>,
        to_front: Sender<Control>,
    ) -> Self {
        let front = Front { inputs, control, peers: core.peer_events(), phase: Phase::Start };
        Self { core: Mutex::new(core), front: Mutex::new(front), to_front, code_forgotten: AtomicU64::new(0) }
    }

    /// Works until the core is told to stop.
    pub fn run(&self) {
        let mut front = self.front.lock();
        let (mut quiet, mut work, mut asked) = (Quiet::default(), 0u32, clock::mono());
        while front.phase != Phase::Ended {
            // To have nothing to do is an event as well, once, for who has something to give back.
            let longest = if quiet.is_owing(work) { quiet::EVERY } else { Duration::MAX };
            let (mut log, requests) = self.turn(&mut front, longest);
            work = work.saturating_add(1).saturating_add(requests);
            let Some(writer) = log.claim() else {
                let now = clock::mono();
                if now.saturating_sub(asked) >= QUIET_MS {
                    asked = now;
                    if quiet.is_due(std::mem::take(&mut work)) {
                        self.give_back(now);
                        // The other thread has something to give back as well.
                        MutexGuard::unlock_fair(front);
                        front = self.front.lock();
                    }
                }
                continue;
            };
            // Not let go of otherwise: that would wake the other thread.
            drop(front);
            let mut newest = self.write(&log, writer);
            loop {
                // The core may have begun another one meanwhile.
                log = newest.unwrap_or(log);
                let Some(writer) = log.claim() else { break };
                newest = self.write(&log, writer);
            }
            front = self.front.lock();
        }
    }

    /// Waits for an event, for as long as `longest`, and does what it asks for. The log that records went to, and how
    /// many requests came at least.
    fn turn(&self, front: &mut Front, longest: Duration) -> (Arc<Log>, u32) {
        let event = match front.phase {
            Phase::Start => Event::Start,
            Phase::Running | Phase::Ended => {
                // The core is free during the wait.
                let awaited = self.core.lock().wait();
                front.next(awaited, longest)
            }
        };
        let requests = if let Event::Inputs(batch) = &event { batch.len() } else { 0 };
        let mut core = self.core.lock();
        front.phase = if core.turn(event) { Phase::Running } else { Phase::Ended };
        (core.log(), u32::try_from(requests).unwrap_or(u32::MAX))
    }

    /// Writes the log until there is nothing more to write, and has the core see to what is durable. If it was
    /// free: the log that it has then.
    fn write<'a>(&self, log: &'a Log, mut writer: MutexGuard<'a, Option<LogWriter>>) -> Option<Arc<Log>> {
        loop {
            log.write(&mut writer);
            drop(writer);
            let Some(more) = log.claim() else { break };
            writer = more;
            self.look_again();
        }
        let Some(mut core) = self.core.try_lock() else {
            self.look_again();
            return None;
        };
        if core.written() {
            self.look_again();
        }
        Some(core.log())
    }

    /// Of this thread, and code that only the burst needed. That comes back at its next use, sixteen pages at a
    /// time, so not after each.
    fn give_back(&self, now: u64) {
        zk_memory::give_back();
        let before = self.code_forgotten.load(Ordering::Relaxed);
        if now.saturating_sub(before) >= CODE_MS {
            self.code_forgotten.store(now, Ordering::Relaxed);
            if let Err(e) = zk_memory::forget_code() {
                tracing::debug!("the code of a burst of requests stays in memory: {e}");
            }
        }
    }

    /// If the queue is full the front is about to look anyway.
    fn look_again(&self) {
        let _ = self.to_front.try_send(Control::LookAgain);
    }
}

impl Front {
    fn next(&mut self, awaited: Awaited, longest: Duration) -> Event {
        let nothing = never();
        let inputs = if awaited.inputs { &self.inputs } else { &nothing };
        let timeout = awaited
            .deadline
            .map_or(Duration::from_secs(1), |d| Duration::from_millis(d.saturating_sub(clock::mono())));
        let event = select! {
            recv(inputs) -> batch => batch.ok().map(Event::Inputs),
            recv(self.peers) -> event => event.ok().map(Event::Peer),
            recv(self.control) -> message => message.ok().map(Event::Control),
            default(timeout.min(longest)) => return Event::Time,
        };
        event.unwrap_or_else(|| {
            // Only other members' side closes while this thread runs.
            self.peers = never();
            Event::Time
        })
    }
}
