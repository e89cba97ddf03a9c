//! The core: the thread that owns the pipeline and alone writes the tree.
//! Its order of work stands in [`zk_pipeline`], "The host's duties".

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};
use parking_lot::RwLockWriteGuard;
use tokio::sync::oneshot;
use zk_pipeline::{Input, LogRecord, Now, Output, Pipeline, PipelineStats};
use zk_proto::{SessionId, Zxid};
use zk_tree::Effects;

use crate::disk::{LogHandle, MirrorHandle};
use crate::shared::{Heard, Shared};
use crate::worker::{ToWorker, Worker};
use crate::{clock, limits};

/// What the core is told besides requests.
#[derive(Debug)]
pub enum Control {
    /// The log is durable further than before.
    Synced,
    /// A word wants to know.
    Report(oneshot::Sender<CoreReport>),
    /// The workers have ended: finish what is here and end.
    Stop,
}

/// What the core tells a word.
#[derive(Debug, Default)]
pub struct CoreReport {
    /// Number of sessions.
    pub sessions: usize,
    /// Sessions by the time of their expiry, monotonic ms.
    pub by_expiry: Vec<(u64, Vec<SessionId>)>,
    /// Counters.
    pub stats: PipelineStats,
}

/// The core's state.
#[derive(Debug)]
pub struct Core {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    inputs: Receiver<Vec<Input>>,
    control: Receiver<Control>,
    log: LogHandle,
    mirror: MirrorHandle,
    committed: Zxid,
    heard: HashMap<SessionId, Heard>,
    outputs: Vec<Output>,
    for_workers: Vec<Vec<ToWorker>>,
    records: Vec<LogRecord>,
    /// Appended and not durable: up to which zxid, how many bytes.
    unsynced: VecDeque<(Zxid, usize)>,
    unsynced_bytes: usize,
    effects: Effects,
    slice: Slice,
    huge_pages: bool,
}

/// What a wait ended with.
enum Event {
    Inputs(Vec<Input>),
    Control(Control),
    Time,
}

impl Core {
    /// A core on top of a recovered tree.
    pub fn new(
        shared: Arc<Shared>,
        pipeline: Pipeline,
        inputs: Receiver<Vec<Input>>,
        control: Receiver<Control>,
        log: LogHandle,
        mirror: MirrorHandle,
    ) -> Self {
        let committed = shared.tree.read().last_zxid();
        let for_workers = shared.workers.iter().map(|_| Vec::new()).collect();
        Self {
            shared,
            pipeline,
            inputs,
            control,
            log,
            mirror,
            committed,
            heard: HashMap::new(),
            outputs: Vec::new(),
            for_workers,
            records: Vec::new(),
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            effects: Effects::default(),
            slice: Slice::default(),
            huge_pages: false,
        }
    }

    /// Works until it is told to stop, then brings everything to the disk.
    pub fn run(mut self) {
        loop {
            let event = self.wait();
            let now = clock::now();
            match event {
                Event::Inputs(batch) => self.take_inputs(now, batch),
                Event::Control(Control::Synced) | Event::Time => {}
                Event::Control(Control::Report(reply)) => drop(reply.send(self.report())),
                Event::Control(Control::Stop) => return self.finish(),
            }
            self.commit(now);
            self.tick(now);
        }
    }

    fn wait(&self) -> Event {
        let nothing = never();
        let inputs = if self.has_room() { &self.inputs } else { &nothing };
        let now = clock::mono();
        let timeout = self
            .pipeline
            .deadline()
            .map_or(Duration::from_secs(1), |d| Duration::from_millis(d.saturating_sub(now)));
        select! {
            recv(inputs) -> batch => batch.map_or(Event::Time, Event::Inputs),
            recv(self.control) -> message => message.map_or(Event::Time, Event::Control),
            default(timeout) => Event::Time,
        }
    }

    fn has_room(&self) -> bool {
        self.pipeline.outstanding() < limits::CORE_OUTSTANDING && self.unsynced_bytes < limits::UNSYNCED_BYTES
    }

    fn take_inputs(&mut self, now: Now, first: Vec<Input>) {
        // Only this thread writes the tree, so nobody waits for this hold but a
        // commit that this thread would do itself.
        let shared = Arc::clone(&self.shared);
        let tree = shared.tree.read();
        let mut batch = Some(first);
        for _ in 0..limits::CORE_ROUND {
            let Some(inputs) = batch.take() else { break };
            for input in inputs {
                self.pipeline.handle(now, input, &tree);
            }
            batch = self.inputs.try_recv().ok();
        }
        if let Some(inputs) = batch {
            for input in inputs {
                self.pipeline.handle(now, input, &tree);
            }
        }
        drop(tree);
        self.route();
        self.deliver();
    }

    /// Sorts the outputs by who does them; records go to the log at once.
    fn route(&mut self) {
        self.pipeline.drain_outputs(&mut self.outputs);
        for output in self.outputs.drain(..) {
            let to = match &output {
                Output::Append(_) | Output::Forward(_) | Output::Revalidate { .. } => None,
                Output::Event(fired) => {
                    for (worker, out) in self.shared.workers.iter().zip(&mut self.for_workers) {
                        if worker.interest.wants(fired) {
                            out.push(ToWorker::Output(Output::Event(fired.clone())));
                        }
                    }
                    continue;
                }
                Output::Session { conn, .. }
                | Output::Refused { conn }
                | Output::Reply { conn, .. }
                | Output::WatchQuery { conn, .. }
                | Output::Close { conn } => Some(Worker::of(*conn)),
            };
            match (output, to) {
                (Output::Append(record), _) => {
                    self.unsynced_bytes += record.bytes.len();
                    self.unsynced.push_back((record.zxid, record.bytes.len()));
                    self.records.push(record);
                }
                (Output::Session { conn, session, timeout }, Some(w)) => {
                    let heard = self.heard.entry(session).or_insert_with(|| Arc::new(AtomicU64::new(0)));
                    let heard = Arc::clone(heard);
                    self.for_workers[w].push(ToWorker::Session { conn, session, timeout, heard });
                }
                (output, Some(w)) => {
                    if let Output::Reply { watches, .. } = &output {
                        let interest = &self.shared.workers[w].interest;
                        watches.iter().for_each(|(kind, path)| interest.add(*kind, path));
                    }
                    self.for_workers[w].push(ToWorker::Output(output));
                }
                (_, None) => unreachable!("a stand-alone server has no leader to send to"),
            }
        }
        if !self.records.is_empty() {
            self.log.append(std::mem::take(&mut self.records));
        }
    }

    fn deliver(&mut self) {
        for (worker, out) in self.shared.workers.iter().zip(&mut self.for_workers) {
            worker.inbox.push(out);
        }
    }

    /// Applies what has become durable.
    fn commit(&mut self, now: Now) {
        let durable = self.log.durable();
        if durable <= self.committed {
            return;
        }
        self.committed = durable;
        self.pipeline.committed(durable);
        while let Some((zxid, bytes)) = self.unsynced.front().copied() {
            if zxid > durable {
                break;
            }
            self.unsynced_bytes -= bytes;
            self.unsynced.pop_front();
        }
        while self.apply_slice(now) {}
    }

    fn apply_slice(&mut self, now: Now) -> bool {
        self.wait_for_workers();
        let shared = Arc::clone(&self.shared);
        let mut tree = shared.tree.write();
        let start = Instant::now();
        let before = self.pipeline.stats().applied;
        let more = self.pipeline.apply(now, &mut tree, &mut self.effects, self.slice.max());
        shared.last_zxid.store(tree.last_zxid().0, Ordering::Release);
        // Who reads the new state must find its events in front of it.
        self.route();
        self.deliver();
        self.slice.measured(self.pipeline.stats().applied - before, start.elapsed());
        let tree = RwLockWriteGuard::downgrade(tree);
        if !self.huge_pages && tree.node_count() as u64 >= limits::HUGE_PAGES_NODES {
            self.huge_pages = true;
            crate::server::huge_pages(true);
        }
        let batch = self.mirror.encode(&tree, &self.effects.touched);
        drop(tree);
        self.effects.clear();
        self.mirror.write(batch);
        more
    }

    /// A worker that does not keep up with its events holds up the writes, not
    /// the memory. It never waits for this thread, so this ends.
    fn wait_for_workers(&self) {
        while !self.shared.workers.iter().all(|w| w.inbox.has_room())
            && !self.shared.stopping.load(Ordering::Relaxed)
        {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn tick(&mut self, now: Now) {
        if self.pipeline.deadline().is_none_or(|d| now.mono < d) {
            return;
        }
        for session in self.pipeline.due_sessions(now.mono) {
            if let Some(heard) = self.heard.get(&session) {
                self.pipeline.touch(session, heard.load(Ordering::Relaxed));
            }
        }
        let shared = Arc::clone(&self.shared);
        self.pipeline.tick(now, &shared.tree.read());
        self.route();
        self.deliver();
        let sessions = self.pipeline.sessions();
        if self.heard.len() > sessions.len() {
            self.heard.retain(|id, _| sessions.get(*id).is_some());
        }
    }

    fn report(&self) -> CoreReport {
        let sessions = self.pipeline.sessions();
        CoreReport {
            sessions: sessions.len(),
            by_expiry: sessions.by_expiry().collect(),
            stats: self.pipeline.stats(),
        }
    }

    /// Everything that was asked becomes durable, is applied and mirrored.
    fn finish(mut self) {
        let now = clock::now();
        while let Ok(batch) = self.inputs.try_recv() {
            self.take_inputs(now, batch);
        }
        self.log.stop();
        self.commit(now);
        self.mirror.stop();
    }
}

/// How many transactions one hold of the write lock applies, from the time that
/// the last ones took.
#[derive(Debug)]
struct Slice {
    nanos_each: u64,
}

impl Default for Slice {
    fn default() -> Self {
        Self { nanos_each: 3_000 }
    }
}

impl Slice {
    fn max(&self) -> usize {
        let slice = u64::try_from(limits::APPLY_SLICE.as_nanos()).expect("a slice is short");
        usize::try_from(slice / self.nanos_each.max(1))
            .unwrap_or(limits::APPLY_MAX)
            .clamp(1, limits::APPLY_MAX)
    }

    fn measured(&mut self, applied: u64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(each) = nanos.checked_div(applied) {
            // Slowly, so that one interrupted slice does not count for much.
            self.nanos_each = (self.nanos_each * 7 + each) / 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_the_measured_speed() {
        let mut s = Slice::default();
        for _ in 0..100 {
            s.measured(10, Duration::from_micros(100));
        }
        assert!((19..=22).contains(&s.max()), "{}", s.max());
        for _ in 0..100 {
            s.measured(1, Duration::from_secs(1));
        }
        assert_eq!(s.max(), 1);
        for _ in 0..300 {
            s.measured(1000, Duration::from_nanos(1));
        }
        assert_eq!(s.max(), limits::APPLY_MAX);
    }
}
