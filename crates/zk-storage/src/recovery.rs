//! From a directory to a tree (ARCHITECTURE.md, "Disk").
//!
//! 1. The state to begin from is the mirror if it is at least as new as the
//!    newest snapshot, else the snapshot. What cannot be read is passed over.
//! 2. The log is replayed behind it, all of it, every digest compared.
//! 3. What was reached must be as new as the newest state that was there.
//! 4. The mirror is brought to the tree.

use std::fs;
use std::path::{Path, PathBuf};

use zk_proto::txn::{LogEntry, Txn, TxnHeader};
use zk_proto::{OpCode, SessionId, Xid, Zxid};
use zk_tree::{Effects, Tree};

use crate::config::StorageConfig;
use crate::disk;
use crate::error::{Result, StorageError};
use crate::log::{LogReader, LogWriter, Tail};
use crate::mirror::{self, DirLock, Mirror};
use crate::names;
use crate::progress::{EVERY, Progress};
use crate::snapshot_file::{self, Compression};

/// Transactions between two writes to the mirror during a replay.
const REPLAY_BATCH: u64 = 4096;

/// A server's state, and the means to keep it.
#[derive(Debug)]
pub struct Recovered {
    /// The tree after the last transaction of the log.
    pub tree: Tree,
    /// That transaction.
    pub last_zxid: Zxid,
    /// Appends behind it.
    pub writer: LogWriter,
    /// Stands at it.
    pub mirror: Mirror,
    /// How it came about.
    pub report: Report,
}

/// What a recovery began from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// There was nothing; an empty database was made.
    Created,
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
    /// States that could not be read, and why.
    pub passed_over: Vec<String>,
    /// Sessions that were not open, whose ephemerals went.
    pub orphans: Vec<SessionId>,
}

/// A tree from a directory, and what it took.
pub(crate) struct State {
    pub(crate) tree: Tree,
    /// The mirror when the tree came from it; it stands at `base`.
    mirror: Option<Mirror>,
    pub(crate) report: Report,
    /// The last entry of the log, however old.
    log_end: Option<Zxid>,
    /// For the next opening of the mirror.
    lock: Option<DirLock>,
}

/// Brings a directory to life: locks it, makes it if it is empty, reads it,
/// and leaves it so that Java could start on it.
pub fn recover(config: &StorageConfig, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Recovered> {
    let (snap, log) = (config.snap_version_dir(), config.log_version_dir());
    prepare(config)?;
    let lock = DirLock::take(&snap)?;
    let log_lock = if config.is_split() { Some(DirLock::take(&log)?) } else { None };
    clean(&snap, &log)?;
    create_if_empty(config, progress)?;
    let State { mut tree, mirror, mut report, log_end, lock } = load_state(config, Some(lock), progress)?;
    if config.drop_orphans {
        report.orphans = orphans(&tree);
    }
    let effects = drop_orphans(&mut tree, &report.orphans);
    let mut mirror = match mirror {
        Some(mut m) => {
            if !report.orphans.is_empty() {
                m.write(&[Mirror::encode_batch(&tree, &effects.touched)])?;
            }
            m
        }
        None => {
            mirror::wipe(&snap)?;
            let lock = lock.expect("no mirror has taken it");
            let mut m = Mirror::open_locked(&snap, config.mirror.clone(), lock)?;
            m.rebuild(&tree, progress)?;
            m
        }
    };
    let last_zxid = tree.last_zxid();
    // Java and a later start without the mirror need a base for what comes
    // next if the log does not lead up to here.
    if matches!(report.base, Base::Mirror { .. }) && log_end < Some(last_zxid) {
        let newest = snapshot_file::find_snapshots(&snap)?.first().map(|(z, _)| *z);
        if newest < Some(last_zxid) {
            mirror.flush()?;
            snapshot_file::write_tree(&tree, &snap, Compression::None, progress)?;
        }
    }
    mirror.also_lock(log_lock);
    let writer = LogWriter::new(&log, last_zxid, config.log.clone());
    Ok(Recovered { tree, last_zxid, writer, mirror, report })
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

/// Removes what an earlier run left half done.
fn clean(snap: &Path, log: &Path) -> Result<()> {
    snapshot_file::remove_leftovers(snap)?;
    // ref: FileTxnIterator.goToNextLog / FileTxnLog: an empty last file is
    // what a crash right after its creation leaves.
    if let Some((_, path)) = names::list(log, names::LOG)?.pop() {
        let len = fs::metadata(&path).map_err(|e| StorageError::io("read", &path, e))?.len();
        if len == 0 {
            disk::remove(&path)?;
            disk::sync_dir(log)?;
        }
    }
    Ok(())
}

/// An empty directory becomes an empty database, with a snapshot of it, so
/// that Java can start on what follows. ref: FileTxnSnapLog.restore.
fn create_if_empty(config: &StorageConfig, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let snap = config.snap_version_dir();
    if mirror::exists(&snap)
        || !snapshot_file::find_snapshots(&snap)?.is_empty()
        || has_transactions(&config.log_version_dir())?
    {
        return Ok(());
    }
    let mark = config.log_root().join("initialize");
    if mark.is_file() {
        disk::remove(&mark)?;
    } else if !config.db_autocreate {
        let log_root = config.log_root().to_owned();
        return Err(StorageError::Empty { snap_dir: snap, log_root });
    }
    snapshot_file::write_tree(&Tree::new(config.tree), &snap, Compression::None, progress)?;
    Ok(())
}

fn has_transactions(log: &Path) -> Result<bool> {
    Ok(LogReader::after(log, Zxid::ZERO, None)?.next().transpose()?.is_some())
}

/// Reads the newest state and replays the log behind it. Changes nothing but
/// the mirror, which follows the replay if the tree comes from it.
pub(crate) fn load_state(
    config: &StorageConfig,
    lock: Option<DirLock>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<State> {
    let (snap, log) = (config.snap_version_dir(), config.log_version_dir());
    let mut passed_over = Vec::new();
    let newest = snapshot_file::find_snapshots(&snap)?.first().map(|(z, _)| *z);
    let (mirror, mut lock) = open_mirror(config, &snap, lock, &mut passed_over)?;
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
    let (mut tree, base, mut mirror) = match found {
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

    let replay = replay(&mut tree, &log, base != Base::Trusted, mirror.as_mut(), progress)?;
    if tree.last_zxid() < floor {
        let why = passed_over.join("; ");
        return Err(StorageError::StateLost { dir: snap, why, reached: tree.last_zxid(), floor });
    }
    let report = Report {
        base,
        replayed: replay.transactions,
        digest_mismatches: tree.digest_mismatches(),
        tail: replay.tail,
        passed_over,
        orphans: Vec::new(),
    };
    Ok(State { tree, mirror, report, log_end: replay.end, lock })
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

struct Replay {
    transactions: u64,
    tail: Option<Tail>,
    end: Option<Zxid>,
}

/// Applies what the log has behind the tree. Errors of single transactions are
/// expected over a fuzzy snapshot. ref: FileTxnSnapLog.fastForwardFromEdits.
fn replay(
    tree: &mut Tree,
    log: &Path,
    gapless: bool,
    mut mirror: Option<&mut Mirror>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Replay> {
    let base = tree.last_zxid();
    let mut reader = LogReader::after(log, base, gapless.then_some(base))?;
    let mut effects = Effects::default();
    let mut transactions = 0;
    let mut since = 0;
    for record in reader.by_ref() {
        let record = record?;
        tree.apply(&record.decode()?, &mut effects);
        effects.fired.clear();
        transactions += 1;
        since += 1;
        if transactions % EVERY == 0 {
            progress(Progress::ReplayingLog { transactions, zxid: record.zxid });
        }
        if since == REPLAY_BATCH {
            since = 0;
            if let Some(m) = mirror.as_deref_mut() {
                m.write(&[Mirror::encode_batch(tree, &effects.touched)])?;
                m.maybe_flush()?;
            }
            effects.clear();
        }
    }
    if since > 0
        && let Some(m) = mirror
    {
        m.write(&[Mirror::encode_batch(tree, &effects.touched)])?;
    }
    progress(Progress::ReplayingLog { transactions, zxid: tree.last_zxid() });
    Ok(Replay { transactions, tail: reader.tail().cloned(), end: reader.seen() })
}

/// Sessions that own ephemerals and are not open.
fn orphans(tree: &Tree) -> Vec<SessionId> {
    tree.sessions_with_ephemerals().filter(|s| tree.session_timeout(*s).is_none()).collect()
}

/// Removes the ephemerals of sessions that are not open, in memory and without
/// a transaction, as a starting leader does. ref: ZooKeeperServer.loadData,
/// killSession.
fn drop_orphans(tree: &mut Tree, orphans: &[SessionId]) -> Effects {
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
