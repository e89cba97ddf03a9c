//! The disk: the log, which the core's threads write, and the mirror behind it with its thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use zab::history::Record;
use zk_proto::Zxid;
use zk_storage::{Compression, LogWriter, Mirror, MirrorBatch, MirrorReader, StorageConfig, StorageError};
use zk_tree::{Touched, Tree};

use crate::core_loop::Control;
use crate::meters::Meters;
use crate::{limits, quiet};

/// Exit code after the disk failed while the server ran.
/// ref: ExitCode.TXNLOG_ERROR_TAKING_SNAPSHOT, the nearest of Java's.
pub const EXIT_DISK: i32 = 10;

/// A failed write or sync is never tried again: what of it is on the disk is
/// unknown. The next start reads the log and knows.
pub fn give_up(error: &StorageError) -> ! {
    tracing::error!("{error}; the server stops");
    std::process::exit(EXIT_DISK)
}

fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread can be started")
}

/// The log as the core sees it.
#[derive(Debug)]
pub struct LogHandle {
    log: Arc<Log>,
    /// The last one handed over.
    last: Zxid,
}

/// The log as the threads see it that write it: whoever holds the writer does.
#[derive(Debug)]
pub struct Log {
    queue: Mutex<Vec<Queued>>,
    /// `None`: it was stopped.
    writer: Mutex<Option<LogWriter>>,
    durable: Arc<AtomicI64>,
    watch: Watch,
}

/// Records on their way to the log.
#[derive(Debug)]
struct Queued {
    /// Since when.
    at: Instant,
    records: Vec<Record>,
}

/// Who looks at the log from outside.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Where it measures.
    pub meters: Arc<Meters>,
    /// Syncs that take longer are counted. Java property `fsync.warningthresholdms`.
    pub slow: Duration,
}

impl LogHandle {
    /// A log that goes on behind `last`.
    pub fn new(writer: LogWriter, last: Zxid, watch: Watch) -> Self {
        let log = Log {
            queue: Mutex::default(),
            writer: Mutex::new(Some(writer)),
            durable: Arc::new(AtomicI64::new(last.0)),
            watch,
        };
        Self { log: Arc::new(log), last }
    }

    /// Goes on behind `last` after [`LogHandle::stop`].
    pub fn restart(&mut self, writer: LogWriter, last: Zxid) {
        *self = Self::new(writer, last, self.log.watch.clone());
    }

    /// For who writes it.
    pub fn shared(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Hands records over, to be written by whoever writes the log next. Waits for nobody.
    pub fn append(&mut self, records: Vec<Record>) {
        let Some(last) = records.last() else { return };
        self.last = last.zxid;
        self.log.queue.lock().push(Queued { at: Instant::now(), records });
    }

    /// Whether nobody writes it.
    pub fn is_idle(&self) -> bool {
        !self.log.writer.is_locked()
    }

    /// Up to which zxid the log is durable.
    pub fn durable(&self) -> Zxid {
        Zxid(self.log.durable.load(Ordering::Acquire))
    }

    /// The same for who watches from another thread.
    pub fn durable_mark(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.log.durable)
    }

    /// Makes everything durable that was handed over.
    pub fn sync(&self) {
        self.log.write(&mut self.log.writer.lock());
        assert!(self.durable() >= self.last, "everything was written");
    }

    /// The same, and nothing more is written.
    pub fn stop(&mut self) {
        self.sync();
        *self.log.writer.lock() = None;
    }
}

impl Log {
    /// The place of who writes, if there is something to write and nobody does. Who hands over and finds
    /// it taken may go: whoever has it asks again after letting go of it.
    pub fn claim(&self) -> Option<MutexGuard<'_, Option<LogWriter>>> {
        if self.queue.lock().is_empty() {
            return None;
        }
        self.writer.try_lock()
    }

    /// Writes what has gathered and syncs once. There is no timer.
    pub fn write(&self, writer: &mut Option<LogWriter>) {
        let batches = std::mem::take(&mut *self.queue.lock());
        if batches.is_empty() {
            return;
        }
        let writer = writer.as_mut().expect("nothing is appended after the stop");
        let (begun, meters) = (Instant::now(), &self.watch.meters.log);
        let (mut last, mut records, mut bytes) = (None, 0, 0);
        for batch in &batches {
            let n = batch.records.len() as u64;
            meters.queued.time_of_many(begun.saturating_duration_since(batch.at), n);
            for record in &batch.records {
                writer.append(record.zxid, &record.bytes).unwrap_or_else(|e| give_up(&e));
                last = Some(record.zxid);
                bytes += record.bytes.len() as u64;
            }
            records += n;
        }
        let written = begun.elapsed();
        let synced = writer.sync().unwrap_or_else(|e| give_up(&e));
        let flushed = begun.elapsed();
        assert!(last.is_none_or(|last| last == synced), "a sync covers what was appended");
        self.durable.store(synced.0, Ordering::Release);
        let sync = flushed - written;
        meters.write.time(written);
        meters.sync.time(sync);
        meters.flush.time(flushed);
        for batch in &batches {
            let n = batch.records.len() as u64;
            meters.queued_and_flushed.time_of_many((begun + flushed).saturating_duration_since(batch.at), n);
        }
        meters.queue.record(batches.len() as u64 - 1);
        meters.batch.record(records);
        meters.records.add(records);
        meters.bytes.add(bytes);
        meters.slow.add(u64::from(sync > self.watch.slow));
    }
}

/// What the mirror's thread is told.
#[derive(Debug)]
enum Job {
    Write(MirrorBatch),
    /// Say `ready` when everything before is written, and write nothing more until
    /// whoever asked has taken their view.
    Hold {
        ready: Sender<()>,
        taken: Receiver<()>,
    },
}

/// How fast the mirror is handed changes: while it makes its pause, what changes again and again is
/// noted once and not encoded each time.
#[derive(Debug)]
struct Pace {
    pauses: AtomicBool,
    /// The core has something that it did not hand over for the pause.
    kept: AtomicBool,
    control: Sender<Control>,
}

impl Pace {
    /// Whether to wait. If so, the core is told when the pause is over.
    fn holds(&self) -> bool {
        self.kept.store(true, Ordering::SeqCst);
        let pauses = self.pauses.load(Ordering::SeqCst);
        if !pauses {
            self.kept.store(false, Ordering::SeqCst);
        }
        pauses
    }

    fn pause(&self) {
        self.pauses.store(true, Ordering::SeqCst);
        std::thread::sleep(limits::MIRROR_PAUSE);
        self.pauses.store(false, Ordering::SeqCst);
        if self.kept.swap(false, Ordering::SeqCst) {
            // If the queue is full the core is about to look anyway.
            let _ = self.control.try_send(Control::LookAgain);
        }
    }
}

/// The mirror as the core sees it.
#[derive(Debug)]
pub struct MirrorHandle {
    jobs: Option<Sender<Job>>,
    pace: Arc<Pace>,
    bytes: Arc<AtomicUsize>,
    reader: Option<MirrorReader>,
    /// One more owner for each thread that reads.
    readers: Arc<()>,
    purge: PurgeSlot,
    meters: Arc<Meters>,
    thread: Option<JoinHandle<Mirror>>,
}

impl MirrorHandle {
    /// Starts the mirror's thread, and the one that purges.
    pub fn start(
        mirror: Mirror,
        purge: Option<Purge>,
        bytes: Arc<AtomicUsize>,
        meters: Arc<Meters>,
        control: Sender<Control>,
    ) -> Self {
        let slot = PurgeSlot::default();
        if let Some(purge) = purge {
            let slot = slot.clone();
            // Not waited for at the stop: it only reads the mirror, and what a
            // stop leaves half-written has a temporary name that the next start removes.
            spawn("purge", move || purge.run(&slot));
        }
        let pace = Pace { pauses: AtomicBool::new(false), kept: AtomicBool::new(false), control };
        Self::with(mirror, slot, bytes, meters, Arc::new(pace))
    }

    fn with(
        mirror: Mirror,
        purge: PurgeSlot,
        bytes: Arc<AtomicUsize>,
        meters: Arc<Meters>,
        pace: Arc<Pace>,
    ) -> Self {
        let (jobs, queue) = bounded(limits::MIRROR_BATCHES);
        bytes.store(0, Ordering::Relaxed);
        let (shared, seen) = (Arc::clone(&bytes), Arc::clone(&meters));
        let (reader, readers) = (Some(mirror.reader()), Arc::new(()));
        *purge.lock() = Some(mirror.reader());
        let paced = Arc::clone(&pace);
        let thread = spawn("mirror", move || write_mirror(mirror, &queue, &shared, &seen, &paced));
        Self { jobs: Some(jobs), pace, bytes, reader, readers, purge, meters, thread: Some(thread) }
    }

    /// Whether it is near enough to take more. If it is not, what it lacks is to be kept as
    /// a [`Touched`], and to be encoded when it is: the core never waits for the mirror.
    pub fn has_room(&self) -> bool {
        let jobs = self.jobs.as_ref().map_or(0, Sender::len);
        // The other half is for holds, and for what a hold needs before it.
        self.bytes.load(Ordering::Relaxed) <= limits::MIRROR_BYTES && jobs <= limits::MIRROR_BATCHES / 2
    }

    /// Whether to keep `touched` for later, since the mirror would not write it now. The control channel
    /// is told when it would.
    pub fn keeps(&self, touched: &Touched) -> bool {
        touched.len() < limits::MIRROR_PATHS && self.pace.holds()
    }

    /// What to write after a slice. To be called under the tree's lock.
    pub fn encode(&self, tree: &Tree, touched: &Touched) -> MirrorBatch {
        Mirror::encode_batch(tree, touched)
    }

    /// Hands a batch over.
    pub fn write(&self, batch: MirrorBatch) {
        self.bytes.fetch_add(batch.bytes(), Ordering::Relaxed);
        self.send(Job::Write(batch));
    }

    fn send(&self, job: Job) {
        let queue = self.jobs.as_ref().expect("nothing is written after the stop");
        queue.send(job).expect("the mirror's thread ends only after its queue is closed");
    }

    /// Runs `body` on a thread of its own with a reader of the mirror, which stands at
    /// exactly what was handed over until now and stays there until `body` has called the
    /// function that it is given: take the view, then call it.
    pub fn read_here(&self, body: impl FnOnce(&MirrorReader, &dyn Fn()) + Send + 'static) {
        let (ready, is_ready) = bounded(1);
        let (take, taken) = bounded(1);
        let (reader, counted) = (self.reader.clone(), Arc::clone(&self.readers));
        let reader = reader.expect("nothing is read after the stop");
        spawn("snapshot", move || {
            // Let go of in the opposite order: who waits for the count opens the database again.
            let _counted = counted;
            let reader = reader;
            if is_ready.recv().is_ok() {
                // A second call finds nobody who waits, which is no matter.
                body(&reader, &|| {
                    let _ = take.try_send(());
                });
            }
        });
        self.send(Job::Hold { ready, taken });
    }

    /// Writes what was handed over until now as a snapshot file, on a thread of its own.
    pub fn snapshot(
        &self,
        dir: PathBuf,
        compression: Compression,
        done: impl FnOnce(Result<PathBuf, StorageError>) + Send + 'static,
    ) {
        let purge = Arc::clone(&self.purge);
        self.read_here(move |reader, taken| {
            let view = reader.view();
            taken();
            // A purge writes files of the same names: one at a time.
            let one = purge.lock();
            done(view.and_then(|view| view.write_snapshot(&dir, compression, &mut |_| {})));
            drop(one);
        });
    }

    /// Waits until everything is written and flushed, and ends the thread. Nobody else
    /// reads the mirror then.
    pub fn stop(&mut self) -> Mirror {
        self.jobs = None;
        self.reader = None;
        // Waits for a purge that is under way, and for readers, whose learners have been closed.
        *self.purge.lock() = None;
        while Arc::strong_count(&self.readers) > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let thread = self.thread.take().expect("the mirror is stopped once");
        thread.join().expect("a panic aborts the process")
    }

    /// The same when the process ends: nobody who still reads is waited for.
    pub fn finish(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join().expect("a panic aborts the process"));
        }
    }

    /// Whether it has not been stopped.
    pub fn runs(&self) -> bool {
        self.thread.is_some()
    }

    /// Goes on with another mirror after [`MirrorHandle::stop`].
    pub fn restart(&mut self, mirror: Mirror) {
        let (purge, pace) = (self.purge.clone(), Arc::clone(&self.pace));
        *self = Self::with(mirror, purge, Arc::clone(&self.bytes), Arc::clone(&self.meters), pace);
    }
}

/// When to look again for a mirror that changes hands, or is not there yet.
const MIRROR_PAUSE: Duration = Duration::from_millis(200);

/// What a purge reads; empty while the mirror changes hands.
type PurgeSlot = Arc<Mutex<Option<MirrorReader>>>;

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
    /// Purges now and then, for ever, on a thread of its own: the snapshot that
    /// comes before takes as long as the tree is large, and writes go on meanwhile.
    fn run(&self, slot: &PurgeSlot) {
        loop {
            let mirror = slot.lock();
            let pause = match &*mirror {
                Some(mirror) => {
                    self.once(mirror);
                    self.every
                }
                None => MIRROR_PAUSE,
            };
            drop(mirror);
            std::thread::sleep(pause);
        }
    }
}

impl Purge {
    fn once(&self, mirror: &MirrorReader) {
        match zk_storage::purge(&self.storage, mirror, self.keep, self.compression, &mut |_| {}) {
            Ok(files) if files.is_empty() => {}
            Ok(files) => tracing::info!(files = files.len(), "old snapshots and logs removed"),
            Err(e) => tracing::warn!("old snapshots and logs were not removed: {e}"),
        }
    }
}

fn write_mirror(
    mut mirror: Mirror,
    queue: &Receiver<Job>,
    bytes: &AtomicUsize,
    meters: &Meters,
    pace: &Pace,
) -> Mirror {
    let mut batches = Vec::new();
    let (mut dirty, mut worked) = (false, false);
    loop {
        // A flush by age comes without a write; otherwise nothing wakes this thread.
        let pause = if dirty || worked { quiet::EVERY } else { Duration::from_secs(24 * 3600) };
        let mut quiet = false;
        match queue.recv_timeout(pause) {
            Ok(first) => {
                let held = take_jobs(first, queue, &mut batches);
                if !batches.is_empty() {
                    let begun = Instant::now();
                    mirror.write(&batches).unwrap_or_else(|e| give_up(&e));
                    meters.mirror.write.time(begun.elapsed());
                    bytes.fetch_sub(batches.iter().map(MirrorBatch::bytes).sum(), Ordering::Relaxed);
                    batches.clear();
                    dirty = true;
                    worked = true;
                }
                match held {
                    Some((ready, taken)) => {
                        if ready.send(()).is_ok() {
                            // An error is a reader that has ended without a view.
                            let _ = taken.recv();
                        }
                    }
                    // Nobody waits for the mirror: a pause makes one write of many.
                    None => pace.pause(),
                }
            }
            Err(RecvTimeoutError::Timeout) => quiet = true,
            Err(RecvTimeoutError::Disconnected) => {
                mirror.flush().unwrap_or_else(|e| give_up(&e));
                return mirror;
            }
        }
        let flushed = mirror.maybe_flush(quiet).unwrap_or_else(|e| give_up(&e));
        dirty &= !flushed;
        if quiet && (worked || flushed) {
            // There is more to give back when RocksDB has put its files together.
            worked = flushed || mirror.is_busy();
            zk_memory::give_back();
            zk_memory::give_back_c();
        }
    }
}

/// Collects batches up to the end of the queue or to a hold.
fn take_jobs(
    first: Job,
    queue: &Receiver<Job>,
    batches: &mut Vec<MirrorBatch>,
) -> Option<(Sender<()>, Receiver<()>)> {
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Write(batch) => batches.push(batch),
            Job::Hold { ready, taken } => return Some((ready, taken)),
        }
        next = queue.try_recv().ok();
    }
    None
}

#[cfg(test)]
mod tests {
    use zk_storage::MirrorOptions;

    use super::*;

    /// As when RocksDB hangs: the thread takes nothing.
    #[test]
    fn a_mirror_that_hangs_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree::new(zk_tree::TreeOptions::default());
        let mut mirror = Mirror::open(dir.path(), MirrorOptions::default()).expect("a new mirror");
        mirror.rebuild(&tree, &mut |_| {}).expect("an empty mirror");
        let mut handle = MirrorHandle::start(mirror, None, Arc::default(), Arc::default(), bounded(1).0);
        let (go, wait) = bounded::<()>(0);
        handle.read_here(move |_, taken| {
            let _ = wait.recv();
            taken();
        });
        let nodes = [tree.root().id()].into_iter().collect();
        let touched = Touched { nodes, ..Touched::default() };
        let mut batches = 0;
        while handle.has_room() {
            handle.write(handle.encode(&tree, &touched));
            batches += 1;
        }
        assert!(batches >= limits::MIRROR_BATCHES / 2);
        // What a snapshot needs is handed over all the same.
        handle.write(handle.encode(&tree, &touched));
        drop(go);
        let mirror = handle.stop();
        assert_eq!(mirror.reader().view().expect("it is there").zxid(), tree.last_zxid());
    }
}
