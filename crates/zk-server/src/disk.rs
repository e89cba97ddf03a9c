//! The threads of the disk: the log, and the mirror behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use zk_pipeline::LogRecord;
use zk_proto::Zxid;
use zk_storage::{Compression, LogWriter, Mirror, MirrorBatch, StorageConfig, StorageError};
use zk_tree::{Touched, Tree};

use crate::core_loop::Control;
use crate::limits;

/// Exit code after the disk failed while the server ran.
/// ref: ExitCode.TXNLOG_ERROR_TAKING_SNAPSHOT, the nearest of Java's.
pub const EXIT_DISK: i32 = 10;

/// A failed write or sync is never tried again: what of it is on the disk is
/// unknown. The next start reads the log and knows.
fn give_up(error: &StorageError) -> ! {
    tracing::error!("{error}; the server stops");
    std::process::exit(EXIT_DISK)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread can be started")
}

/// The log as the core sees it.
#[derive(Debug)]
pub struct LogHandle {
    records: Option<Sender<Vec<LogRecord>>>,
    durable: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

impl LogHandle {
    /// Starts the log's thread behind `last`.
    pub fn start(writer: LogWriter, last: Zxid, control: Sender<Control>) -> Self {
        let (records, queue) = bounded(limits::LOG_BATCHES);
        let durable = Arc::new(AtomicI64::new(last.0));
        let shared = Arc::clone(&durable);
        let thread = spawn("log", move || write_log(writer, &queue, &shared, &control));
        Self { records: Some(records), durable, thread: Some(thread) }
    }

    /// Hands records over.
    pub fn append(&self, records: Vec<LogRecord>) {
        let queue = self.records.as_ref().expect("nothing is appended after the stop");
        queue.send(records).expect("the log's thread ends only after its queue is closed");
    }

    /// Up to which zxid the log is durable.
    pub fn durable(&self) -> Zxid {
        Zxid(self.durable.load(Ordering::Acquire))
    }

    /// Waits until everything is durable, and ends the thread.
    pub fn stop(&mut self) {
        self.records = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic aborts the process");
        }
    }
}

/// What gathered during a sync is written with the next one. There is no timer.
fn write_log(mut writer: LogWriter, queue: &Receiver<Vec<LogRecord>>, durable: &AtomicI64, control: &Sender<Control>) {
    while let Ok(first) = queue.recv() {
        let mut batch = first;
        let last = loop {
            let mut last = None;
            for record in &batch {
                writer.append(record.zxid, &record.bytes).unwrap_or_else(|e| give_up(&e));
                last = Some(record.zxid);
            }
            match queue.try_recv() {
                Ok(next) => batch = next,
                Err(_) => break last,
            }
        };
        let synced = writer.sync().unwrap_or_else(|e| give_up(&e));
        assert!(last.is_none_or(|last| last == synced), "a sync covers what was appended");
        durable.store(synced.0, Ordering::Release);
        // If the queue is full the core is about to look anyway.
        let _ = control.try_send(Control::Synced);
    }
}

/// The mirror as the core sees it.
#[derive(Debug)]
pub struct MirrorHandle {
    batches: Option<Sender<MirrorBatch>>,
    bytes: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl MirrorHandle {
    /// Starts the mirror's thread.
    pub fn start(mirror: Mirror, purge: Option<Purge>) -> Self {
        let (batches, queue) = bounded(limits::MIRROR_BATCHES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&bytes);
        let thread = spawn("mirror", move || write_mirror(mirror, purge, &queue, &shared));
        Self { batches: Some(batches), bytes, thread: Some(thread) }
    }

    /// What to write after a slice. To be called under the tree's lock.
    pub fn encode(&self, tree: &Tree, touched: &Touched) -> MirrorBatch {
        Mirror::encode_batch(tree, touched)
    }

    /// Hands a batch over. Waits while the mirror is too far behind.
    pub fn write(&self, batch: MirrorBatch) {
        while self.bytes.load(Ordering::Relaxed) > limits::MIRROR_BYTES {
            std::thread::sleep(Duration::from_micros(200));
        }
        self.bytes.fetch_add(batch.bytes(), Ordering::Relaxed);
        let queue = self.batches.as_ref().expect("nothing is written after the stop");
        queue.send(batch).expect("the mirror's thread ends only after its queue is closed");
    }

    /// Waits until everything is written and flushed, and ends the thread.
    pub fn stop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic aborts the process");
        }
    }
}

/// When and how old files are removed. ref: DatadirCleanupManager.
#[derive(Debug)]
pub struct Purge {
    /// How often; the first time at the start.
    pub every: Duration,
    /// Snapshots to keep.
    pub keep: usize,
    /// How the snapshot that is written before is packed.
    pub compression: Compression,
    /// Where.
    pub storage: StorageConfig,
}

impl Purge {
    fn run(&self, mirror: &mut Mirror) {
        let purged = mirror.flush().and_then(|()| {
            zk_storage::purge(&self.storage, &mirror.reader(), self.keep, self.compression, &mut |_| {})
        });
        match purged {
            Ok(files) if files.is_empty() => {}
            Ok(files) => tracing::info!(files = files.len(), "old snapshots and logs removed"),
            Err(e) => tracing::warn!("old snapshots and logs were not removed: {e}"),
        }
    }
}

fn write_mirror(mut mirror: Mirror, purge: Option<Purge>, queue: &Receiver<MirrorBatch>, bytes: &AtomicUsize) {
    let mut batches = Vec::new();
    let mut dirty = false;
    let mut purged = Instant::now();
    if let Some(p) = &purge {
        p.run(&mut mirror);
    }
    loop {
        // A flush by age and a purge come without a write; otherwise nothing wakes this thread.
        let pause = match (&purge, dirty) {
            (_, true) => Duration::from_secs(1),
            (Some(p), false) => p.every.saturating_sub(purged.elapsed()),
            (None, false) => Duration::from_secs(24 * 3600),
        };
        match queue.recv_timeout(pause) {
            Ok(batch) => {
                batches.push(batch);
                batches.extend(queue.try_iter());
                mirror.write(&batches).unwrap_or_else(|e| give_up(&e));
                bytes.fetch_sub(batches.iter().map(MirrorBatch::bytes).sum(), Ordering::Relaxed);
                batches.clear();
                dirty = true;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                mirror.flush().unwrap_or_else(|e| give_up(&e));
                return;
            }
        }
        if mirror.maybe_flush().unwrap_or_else(|e| give_up(&e)) {
            dirty = false;
        }
        if let Some(p) = &purge
            && purged.elapsed() >= p.every
        {
            purged = Instant::now();
            p.run(&mut mirror);
        }
    }
}
