//! From a directory to a tree (ARCHITECTURE.md, "Disk").
//!
//! 1. The state to begin from is the mirror if it is at least as new as the
//!    newest snapshot and the log does not contradict it (`witness`), else the
//!    snapshot. What cannot be read is passed over.
//! 2. The log is replayed behind it, all of it, every digest compared.
//! 3. What was reached must be as new as the newest state that was there.
//! 4. The mirror is brought to the tree. Not so with `hold_back`: the end of a
//!    member's log may not be committed, and the mirror cannot take anything
//!    back. It stays at the state of step 1, and what the replay touched is
//!    handed to the host.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zk_proto::txn::{LogEntry, Txn, TxnHeader};
use zk_proto::{OpCode, SessionId, Xid, Zxid};
use zk_tree::{Effects, Touched, Tree};

use crate::config::StorageConfig;
use crate::disk;
use crate::error::{Result, StorageError};
use crate::install;
use crate::log::{self, LogReader, LogRecord, LogWriter, Mended, Tail, follows};
use crate::mirror::{self, DirLock, Mirror};
use crate::names;
use crate::progress::{EVERY, Progress};
use crate::snapshot_file::{self, Compression};
use crate::witness;

/// Transactions between two writes to the mirror during a replay.
const REPLAY_BATCH: u64 = 4096;
/// Records of [`Recovered::recent`], at most. ref: ZKDatabase.commitLogCount.
const RECENT_RECORDS: usize = 500;
/// Bytes of them, at most.
const RECENT_BYTES: usize = 16 << 20;

/// A server's state, and the means to keep it.
#[derive(Debug)]
pub struct Recovered {
    /// The tree after the last transaction of the log.
    pub tree: Tree,
    /// That transaction; -1 with `empty_without_vote`.
    pub last_zxid: Zxid,
    /// Appends behind it.
    pub writer: LogWriter,
    /// Stands at it; with `hold_back` at the state that the replay began from.
    pub mirror: Mirror,
    /// With `hold_back`: what the replay touched. Once the member is in step
    /// with a quorum, [`Mirror::encode_batch`] of the tree and this is what
    /// brings the mirror up to it. It must be the first batch that is written.
    pub held_back: Touched,
    /// With `hold_back`: the newest records of the log, one behind the other,
    /// the last of them `last_zxid`. For a leader's history in memory.
    /// ref: FileTxnSnapLog.fastForwardFromEdits, ZKDatabase.addCommittedProposal.
    pub recent: Vec<(Zxid, Bytes)>,
    /// The directory was empty and may not become an empty database: the data
    /// was lost, or never there. The member must not vote, nor be counted,
    /// before a leader gave it a state, which comes by [`install`](crate::install());
    /// until then nothing may be written to the mirror.
    /// ref: FileTxnSnapLog.restore, which answers -1.
    pub empty_without_vote: bool,
    /// How it came about.
    pub report: Report,
}

/// What a recovery began from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// There was nothing; an empty database was made.
    Created,
    /// There was nothing, and nothing was made: `empty_without_vote`.
    Nothing,
    /// The empty tree, by `snapshot.trust.empty`.
    Trusted,
    /// A Java snapshot.
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Its zxid.
        zxid: Zxid,
    },
    /// The mirror.
    Mirror {
        /// Its zxid.
        zxid: Zxid,
    },
}

/// How a recovery went, for a log line.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it began from.
    pub base: Base,
    /// Transactions replayed.
    pub replayed: u64,
    /// Replayed transactions after which the tree's digest was not theirs.
    pub digest_mismatches: u64,
    /// A half-written record at the end of the log, left out.
    pub tail: Option<Tail>,
    /// A hole that a power cut tore into the end of the log, cut away.
    pub mended: Option<Mended>,
    /// States that could not be read, and why.
    pub passed_over: Vec<String>,
    /// Sessions that were not open, whose ephemerals went.
    pub orphans: Vec<SessionId>,
}

/// A tree from a directory, and how it came about.
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) report: Report,
    /// The directory stays locked.
    _lock: (Option<Mirror>, Option<DirLock>),
}

/// A state to replay the log over.
struct Start {
    tree: Tree,
    base: Base,
    /// The mirror when the tree came from it.
    mirror: Option<Mirror>,
    /// For the next opening of the mirror.
    lock: Option<DirLock>,
    passed_over: Vec<String>,
    /// What must be reached.
    floor: Zxid,
}

/// Keep other processes out of the directories.
pub(crate) struct Locks {
    snap: DirLock,
    log: Option<DirLock>,
}

impl Locks {
    pub(crate) fn take(config: &StorageConfig) -> Result<Locks> {
        let snap = DirLock::take(&config.snap_version_dir())?;
        let log = if config.is_split() { Some(DirLock::take(&config.log_version_dir())?) } else { None };
        Ok(Locks { snap, log })
    }
}

/// Brings a directory to life: locks it, makes it if it is empty, reads it,
/// and leaves it so that Java could start on it.
pub fn recover(config: &StorageConfig, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Recovered> {
    prepare(config)?;
    let locks = Locks::take(config)?;
    recover_locked(config, locks, progress)
}

/// Cuts the log to a zxid, as a leader demands with TRUNC, and reads the state
/// anew, as with `hold_back`. Nobody may have the directory open: the old
/// mirror with all its readers and the old writer are gone.
///
/// What is cut away is what this member's log has and the leader's has not, so
/// it is not committed and cannot be in the mirror. If the mirror or a
/// snapshot is newer than `zxid` all the same, nothing is changed and the error
/// says what to do. When `zxid` is the beginning of an epoch, it has no record
/// of its own, and `last_zxid` is the last one before it.
/// ref: Learner.syncWithLeader, ZKDatabase.truncateLog.
///
/// A crash in between leaves a log that ends at `zxid` or later.
pub fn rewind(
    config: &StorageConfig,
    zxid: Zxid,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Recovered> {
    let (snap, log) = (config.snap_version_dir(), config.log_version_dir());
    prepare(config)?;
    let Locks { snap: lock, log: log_lock } = Locks::take(config)?;
    clean(config)?;
    let (base, lock) = newest_base(config, lock)?;
    if base > zxid {
        return Err(StorageError::BaseNewer { dir: snap, base, zxid });
    }
    log::truncate(&log, zxid, base)?;
    let lock = lock.map_or_else(|| DirLock::take(&snap), Ok)?;
    let config = StorageConfig { hold_back: true, ..config.clone() };
    let recovered = recover_locked(&config, Locks { snap: lock, log: log_lock }, progress)?;
    let reached = recovered.last_zxid;
    if reached == zxid || (zxid.counter() == 0 && reached < zxid) {
        Ok(recovered)
    } else {
        Err(StorageError::NotReached { dir: log, zxid, reached })
    }
}

/// The newest state that the log can be replayed over.
fn newest_base(config: &StorageConfig, lock: DirLock) -> Result<(Zxid, Option<DirLock>)> {
    let snap = config.snap_version_dir();
    let newest = snapshot_file::find_snapshots(&snap)?.first().map(|(z, _)| *z);
    let (mirror, lock) = open_mirror(config, &snap, Some(lock), &mut Vec::new())?;
    let applied = mirror.as_ref().and_then(Mirror::applied).map(|a| a.zxid);
    let lock = mirror.map_or(lock, Mirror::close);
    Ok((newest.max(applied).unwrap_or(Zxid::ZERO), lock))
}

fn recover_locked(
    config: &StorageConfig,
    locks: Locks,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Recovered> {
    let (snap, log) = (config.snap_version_dir(), config.log_version_dir());
    clean(config)?;
    let boot = config.boot_id.as_deref();
    let mended = log::mend(&log, boot)?;
    let (empty, lock) = has_state(config, &snap, locks.snap).map(|(full, lock)| (!full, lock))?;
    if empty && !create(config, progress)? {
        return without_vote(config, lock, locks.log);
    }
    let start = load_base(config, lock, progress)?;
    let mut recovered =
        if config.hold_back { hold_back(config, start, progress) } else { follow(config, start, progress) }?;
    log::sync_read(&log)?;
    recovered.mirror.also_lock(locks.log);
    recovered.report.mended = mended;
    log::remember_boot(&log, boot)?;
    Ok(recovered)
}

/// The whole log counts: the mirror follows it.
fn follow(config: &StorageConfig, start: Start, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Recovered> {
    let snap = config.snap_version_dir();
    let Start { mut tree, base, mut mirror, lock, passed_over, floor } = start;
    let keep = Keep { mirror: mirror.as_mut(), ..Keep::default() };
    let replay = replay(&mut tree, &base, &config.log_version_dir(), keep, progress)?;
    let mut report = replay.report(&tree, base, passed_over);
    check_reached(&snap, tree.last_zxid(), floor, &report)?;
    if config.drop_orphans {
        report.orphans = orphans(&tree);
    }
    let effects = drop_sessions(&mut tree, &report.orphans);
    let mut mirror = match mirror {
        Some(mut m) => {
            if !report.orphans.is_empty() {
                m.write(&[Mirror::encode_batch(&tree, &effects.touched)])?;
            }
            m
        }
        None => new_mirror(config, lock, &tree, progress)?,
    };
    write_base_for_java(&snap, &tree, &mut mirror, &report.base, replay.end, progress)?;
    Ok(finish(config, tree, mirror, report, replay.recent, Touched::default()))
}

/// The end of the log may not count: the mirror stays where it was, or is made
/// of the snapshot that the replay begins from.
fn hold_back(
    config: &StorageConfig,
    start: Start,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Recovered> {
    let (snap, log) = (config.snap_version_dir(), config.log_version_dir());
    let Start { mut tree, base, mirror, lock, passed_over, floor } = start;
    let mut mirror = match mirror {
        Some(m) => m,
        None => {
            // The broken mirror is the proof of how far the state reached: it
            // goes only when that is reached without it.
            if tree.last_zxid() < floor {
                let end = log_end(&log, &tree, &base)?;
                lost_unless(end >= floor, &snap, end, floor, &passed_over)?;
            }
            new_mirror(config, lock, &tree, progress)?
        }
    };
    // The base may be a snapshot of a leader of Java.
    tree.expect_later_transactions();
    let keep = Keep { recent: true, touched: true, mirror: None };
    let replay = replay(&mut tree, &base, &log, keep, progress)?;
    let report = replay.report(&tree, base, passed_over);
    check_reached(&snap, tree.last_zxid(), floor, &report)?;
    if report.replayed == 0 {
        write_base_for_java(&snap, &tree, &mut mirror, &report.base, replay.end, progress)?;
    }
    Ok(finish(config, tree, mirror, report, replay.recent, replay.touched))
}

/// Nothing is there, and nothing may be made of it.
fn without_vote(
    config: &StorageConfig,
    lock: Option<DirLock>,
    log_lock: Option<DirLock>,
) -> Result<Recovered> {
    let snap = config.snap_version_dir();
    if !config.hold_back {
        let log_root = config.log_root().to_owned();
        return Err(StorageError::Empty { snap_dir: snap, log_root });
    }
    let lock = lock.map_or_else(|| DirLock::take(&snap), Ok)?;
    mirror::wipe(&snap)?;
    let mirror = Mirror::open_locked(&snap, config.mirror.clone(), lock)?;
    mirror.also_lock(log_lock);
    let report = Replay::default().report(&Tree::new(config.tree), Base::Nothing, Vec::new());
    let mut recovered =
        finish(config, Tree::new(config.tree), mirror, report, Vec::new(), Touched::default());
    recovered.last_zxid = Zxid(-1);
    recovered.empty_without_vote = true;
    Ok(recovered)
}

fn finish(
    config: &StorageConfig,
    tree: Tree,
    mirror: Mirror,
    report: Report,
    recent: Vec<(Zxid, Bytes)>,
    held_back: Touched,
) -> Recovered {
    let last_zxid = tree.last_zxid();
    let writer = LogWriter::new(&config.log_version_dir(), last_zxid, config.log.clone());
    Recovered { tree, last_zxid, writer, mirror, held_back, recent, empty_without_vote: false, report }
}

/// A mirror in the place of one that cannot be used, or of none.
fn new_mirror(
    config: &StorageConfig,
    lock: Option<DirLock>,
    tree: &Tree,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Mirror> {
    let snap = config.snap_version_dir();
    mirror::wipe(&snap)?;
    let lock = lock.map_or_else(|| DirLock::take(&snap), Ok)?;
    let mut mirror = Mirror::open_locked(&snap, config.mirror.clone(), lock)?;
    mirror.rebuild(tree, progress)?;
    Ok(mirror)
}

/// Java and a later start without the mirror need a base for what comes next
/// if the log does not lead up to the mirror.
fn write_base_for_java(
    snap: &Path,
    tree: &Tree,
    mirror: &mut Mirror,
    base: &Base,
    log_end: Option<Zxid>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let last = Some(tree.last_zxid());
    if !matches!(base, Base::Mirror { .. }) || log_end >= last {
        return Ok(());
    }
    let newest = snapshot_file::find_snapshots(snap)?.first().map(|(z, _)| *z);
    if newest < last {
        mirror.flush()?;
        snapshot_file::write_tree(tree, snap, Compression::None, progress)?;
    }
    Ok(())
}

fn check_reached(snap: &Path, reached: Zxid, floor: Zxid, report: &Report) -> Result<()> {
    lost_unless(reached >= floor, snap, reached, floor, &report.passed_over)
}

fn lost_unless(fine: bool, snap: &Path, reached: Zxid, floor: Zxid, passed_over: &[String]) -> Result<()> {
    if fine {
        return Ok(());
    }
    Err(StorageError::StateLost { dir: snap.to_owned(), why: passed_over.join("; "), reached, floor })
}

/// Directories are there, and hold what they should.
fn prepare(config: &StorageConfig) -> Result<()> {
    for dir in [config.snap_version_dir(), config.log_version_dir()] {
        if !dir.is_dir() {
            if !config.datadir_autocreate {
                return Err(StorageError::NoDirectory { path: dir });
            }
            disk::create_dir_all(&dir)?;
        }
    }
    config.check_directories()
}

/// Finishes or removes what an earlier run left half done.
fn clean(config: &StorageConfig) -> Result<()> {
    let (snap, log) = (&config.snap_version_dir(), &config.log_version_dir());
    install::finish_pending(config)?;
    snapshot_file::remove_leftovers(snap)?;
    // ref: FileTxnIterator.goToNextLog / FileTxnLog: an empty last file is
    // what a crash right after its creation leaves; a power cut leaves one of
    // zeros. It would stand in the middle of the log once a new epoch begins.
    if let Some((_, path)) = names::list(log, names::LOG)?.pop()
        && log::is_blank(&path)?
    {
        disk::remove(&path)?;
        disk::sync_dir(log)?;
    }
    Ok(())
}

/// Whether a directory holds anything to begin from. A mirror that was never
/// filled is nothing.
fn has_state(config: &StorageConfig, snap: &Path, lock: DirLock) -> Result<(bool, Option<DirLock>)> {
    if !snapshot_file::find_snapshots(snap)?.is_empty() || has_transactions(&config.log_version_dir())? {
        return Ok((true, Some(lock)));
    }
    if !mirror::exists(snap) {
        return Ok((false, Some(lock)));
    }
    match Mirror::open_or_return(snap, config.mirror.clone(), lock) {
        Ok(m) => Ok((m.applied().is_some(), m.close())),
        // What is wrong with it is told when it is to be read.
        Err((_, lock)) => Ok((true, lock)),
    }
}

/// An empty directory becomes an empty database, with a snapshot of it, so
/// that Java can start on what follows. False: it may not.
/// ref: FileTxnSnapLog.restore.
fn create(config: &StorageConfig, progress: &mut dyn FnMut(Progress<'_>)) -> Result<bool> {
    let mark = config.log_root().join("initialize");
    if mark.is_file() {
        disk::remove(&mark)?;
    } else if !config.db_autocreate {
        return Ok(false);
    }
    let (tree, snap) = (Tree::new(config.tree), config.snap_version_dir());
    snapshot_file::write_tree(&tree, &snap, Compression::None, progress)?;
    Ok(true)
}

fn has_transactions(log: &Path) -> Result<bool> {
    Ok(LogReader::after(log, Zxid::ZERO, None)?.next().transpose()?.is_some())
}

/// Reads the newest state and replays the log behind it. Changes no state on
/// disk.
pub(crate) fn load_state(
    config: &StorageConfig,
    lock: Option<DirLock>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<State> {
    let snap = config.snap_version_dir();
    if let Some(path) = install::pending(&snap)? {
        return Err(StorageError::InstallPending { path });
    }
    let Start { mut tree, base, passed_over, floor, mirror, lock } = load_base(config, lock, progress)?;
    let replay = replay(&mut tree, &base, &config.log_version_dir(), Keep::default(), progress)?;
    let report = replay.report(&tree, base, passed_over);
    check_reached(&snap, tree.last_zxid(), floor, &report)?;
    Ok(State { tree, report, _lock: (mirror, lock) })
}

/// Reads the newest state that can be read.
fn load_base(
    config: &StorageConfig,
    lock: Option<DirLock>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Start> {
    let (snap, log) = (config.snap_version_dir(), config.log_version_dir());
    let mut passed_over = Vec::new();
    let newest = snapshot_file::find_snapshots(&snap)?.first().map(|(z, _)| *z);
    let (mirror, lock) = open_mirror(config, &snap, lock, &mut passed_over)?;
    let (mirror, mut lock) = believe(mirror, lock, &log, newest, &mut passed_over)?;
    let applied = mirror.as_ref().and_then(Mirror::applied).map(|a| a.zxid);
    let floor = newest.max(applied).unwrap_or(Zxid::ZERO);

    let mut found = None;
    if let Some(mut m) = mirror {
        if applied >= newest && applied.is_some() {
            match m.load(config.tree, progress) {
                Ok(tree) => found = Some((tree, Base::Mirror { zxid: floor }, Some(m))),
                Err(e) => {
                    tracing::warn!(error = %e, "the mirror cannot be used; it will be made anew");
                    passed_over.push(e.to_string());
                    lock = m.close();
                }
            }
        } else {
            lock = m.close();
        }
    }
    if found.is_none()
        && let Some(loaded) = snapshot_file::load_newest(&snap, config.tree, progress)?
    {
        passed_over.extend(loaded.skipped.iter().map(|(_, e)| e.to_string()));
        let base = Base::Snapshot { path: loaded.path, zxid: loaded.tree.last_zxid() };
        found = Some((loaded.tree, base, None));
    }
    let (tree, base, mirror) = match found {
        Some(f) => f,
        None if has_transactions(&log)? && !config.trust_empty => {
            return Err(StorageError::LogWithoutSnapshot { log_dir: log, snap_dir: snap });
        }
        None => {
            let base = if has_transactions(&log)? { Base::Trusted } else { Base::Created };
            (Tree::new(config.tree), base, None)
        }
    };
    // A snapshot of a new server is where Java and we begin, too.
    let base = match base {
        Base::Snapshot { zxid: Zxid::ZERO, .. } if !has_transactions(&log)? => Base::Created,
        b => b,
    };

    Ok(Start { tree, base, mirror, lock, passed_over, floor })
}

type Opened = (Option<Mirror>, Option<DirLock>);

/// Opens the mirror if there is one. A mirror that RocksDB refuses is passed
/// over: snapshot and log hold the same.
fn open_mirror(
    config: &StorageConfig,
    snap: &Path,
    lock: Option<DirLock>,
    passed_over: &mut Vec<String>,
) -> Result<Opened> {
    if !mirror::exists(snap) {
        return Ok((None, lock));
    }
    let lock = match lock {
        Some(l) => l,
        None => DirLock::take(snap)?,
    };
    match Mirror::open_or_return(snap, config.mirror.clone(), lock) {
        Ok(m) => Ok((Some(m), None)),
        Err((e @ StorageError::MirrorFormat { .. }, _)) => Err(e),
        Err((e, lock)) => {
            tracing::warn!(error = %e, "the mirror cannot be opened; it will be made anew");
            passed_over.push(e.to_string());
            Ok((None, lock))
        }
    }
}

/// Passes over a mirror that the log contradicts: another server had the
/// directory and went on from an older state. Such a mirror is no proof of what
/// must be reached, either. A damaged log proves nothing here; the replay tells
/// what is wrong with it if it needs that part.
fn believe(
    mirror: Option<Mirror>,
    lock: Option<DirLock>,
    log: &Path,
    newest: Option<Zxid>,
    passed_over: &mut Vec<String>,
) -> Result<Opened> {
    let Some(m) = mirror else { return Ok((None, lock)) };
    let Some(applied) = m.applied().filter(|a| Some(a.zxid) >= newest) else { return Ok((Some(m), lock)) };
    match witness::contradiction(log, applied, newest) {
        Ok(Some(why)) => {
            tracing::warn!(
                why,
                "the mirror is of another history than log and snapshots; it will be made anew"
            );
            passed_over.push(why);
            Ok((None, m.close()))
        }
        Err(e @ StorageError::Io { .. }) => Err(e),
        Ok(None) | Err(_) => Ok((Some(m), lock)),
    }
}

#[derive(Default)]
struct Replay {
    transactions: u64,
    tail: Option<Tail>,
    end: Option<Zxid>,
    touched: Touched,
    recent: Vec<(Zxid, Bytes)>,
}

impl Replay {
    fn report(&self, tree: &Tree, base: Base, passed_over: Vec<String>) -> Report {
        Report {
            base,
            replayed: self.transactions,
            digest_mismatches: tree.digest_mismatches(),
            tail: self.tail.clone(),
            mended: None,
            passed_over,
            orphans: Vec::new(),
        }
    }
}

/// What a replay keeps besides the tree.
#[derive(Default)]
struct Keep<'m> {
    /// Follows the replay.
    mirror: Option<&'m mut Mirror>,
    /// What changes, for the mirror.
    touched: bool,
    /// The newest records.
    recent: bool,
}

/// The newest records of a log, bounded, without a gap.
#[derive(Default)]
struct Recent {
    records: VecDeque<(Zxid, Bytes)>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, record: LogRecord) {
        match self.records.back() {
            Some((last, _)) if *last == record.zxid => return,
            Some((last, _)) if !follows(*last, record.zxid) => *self = Recent::default(),
            _ => {}
        }
        self.bytes += record.payload.len();
        self.records.push_back((record.zxid, record.payload.into()));
        while self.records.len() > RECENT_RECORDS || self.bytes > RECENT_BYTES {
            let Some((_, oldest)) = self.records.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// Those that end at `last`.
    fn up_to(self, last: Zxid) -> Vec<(Zxid, Bytes)> {
        match self.records.back() {
            Some((zxid, _)) if *zxid == last => self.records.into(),
            _ => Vec::new(),
        }
    }
}

/// A reader of what is behind a state.
fn behind(tree: &Tree, base: &Base, log: &Path) -> Result<LogReader> {
    let zxid = tree.last_zxid();
    LogReader::after(log, zxid, (*base != Base::Trusted).then_some(zxid))
}

/// Where a replay would end.
fn log_end(log: &Path, tree: &Tree, base: &Base) -> Result<Zxid> {
    let mut end = tree.last_zxid();
    for record in behind(tree, base, log)? {
        end = record?.zxid;
    }
    Ok(end)
}

/// Applies what the log has behind the tree. Errors of single transactions are
/// expected over a fuzzy snapshot. ref: FileTxnSnapLog.fastForwardFromEdits.
fn replay(
    tree: &mut Tree,
    base: &Base,
    log: &Path,
    mut keep: Keep<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Replay> {
    let mut reader = behind(tree, base, log)?;
    let mut effects = Effects::default();
    let mut recent = Recent::default();
    let mut transactions = 0;
    let mut since = 0;
    while let Some((record, wanted)) = reader.next_of_all()? {
        if wanted {
            tree.apply(&record.decode()?, &mut effects);
            effects.fired.clear();
            transactions += 1;
            since += 1;
            if transactions % EVERY == 0 {
                progress(Progress::ReplayingLog { transactions, zxid: record.zxid });
            }
        }
        if keep.recent {
            recent.push(record);
        }
        if since == REPLAY_BATCH {
            since = 0;
            if let Some(m) = keep.mirror.as_deref_mut() {
                m.write(&[Mirror::encode_batch(tree, &effects.touched)])?;
                m.maybe_flush(false)?;
            }
            if !keep.touched {
                effects.clear();
            }
        }
    }
    if since > 0
        && let Some(m) = keep.mirror
    {
        m.write(&[Mirror::encode_batch(tree, &effects.touched)])?;
    }
    progress(Progress::ReplayingLog { transactions, zxid: tree.last_zxid() });
    Ok(Replay {
        transactions,
        tail: reader.tail().cloned(),
        end: reader.seen(),
        touched: if keep.touched { effects.touched } else { Touched::default() },
        recent: recent.up_to(tree.last_zxid()),
    })
}

/// Sessions that own ephemerals and are not open.
pub fn orphans(tree: &Tree) -> Vec<SessionId> {
    tree.sessions_with_ephemerals().filter(|s| tree.session_timeout(*s).is_none()).collect()
}

/// Removes the ephemerals of sessions that are not open, in memory and without
/// a transaction, as a starting leader does. What it touched is for the mirror.
/// ref: ZooKeeperServer.loadData, killSession.
pub fn drop_orphans(tree: &mut Tree) -> Effects {
    let orphans = orphans(tree);
    drop_sessions(tree, &orphans)
}

fn drop_sessions(tree: &mut Tree, orphans: &[SessionId]) -> Effects {
    let mut effects = Effects::default();
    for session in orphans {
        tracing::warn!(session = %session, "ephemerals of a session that is not open are removed");
        let header = TxnHeader {
            session: *session,
            cxid: Xid(0),
            zxid: tree.last_zxid(),
            time: 0,
            op: OpCode::CloseSession,
        };
        let entry = LogEntry { header, txn: Txn::CloseSession { paths: None }, digest: None };
        tree.apply(&entry, &mut effects);
    }
    effects
}
