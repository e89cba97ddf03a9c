use std::path::{Path, PathBuf};

use zk_proto::Zxid;
use zk_proto::txn::TxnDigest;
use zk_tree::{Effects, Tree};

use super::manifest::{Backup, BackupFile, BackupKind, Range};
use super::{read_backup, refused, verify_file, version_dir};
use crate::config::StorageConfig;
use crate::disk;
use crate::epoch::{EpochFile, write_epoch};
use crate::error::{Result, StorageError};
use crate::log::{LogReader, LogScan, Scanned};
use crate::names;
use crate::progress::{EVERY, Progress};
use crate::snapshot_file::{self, Compression, write_tree};

/// Which state is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The newest.
    Latest,
    /// The one after this transaction.
    Zxid(Zxid),
    /// The one before the first transaction that is later than this, in ms since 1970.
    Time(i64),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The snapshot that was written.
    pub path: PathBuf,
    /// The state is that after this transaction.
    pub zxid: Zxid,
    /// Time of that transaction, if a log tells.
    pub time: Option<i64>,
    /// Digest of the tree.
    pub digest: u64,
    /// Whether the log confirmed the digest.
    pub confirmed: bool,
    /// Nodes, as Java counts them.
    pub nodes: usize,
    /// Transactions that were replayed.
    pub replayed: u64,
}

/// Fills an empty data directory with the state of a backup at one point. The files that are
/// needed are verified before anything is written.
pub fn restore(
    dir: &Path,
    target: &StorageConfig,
    point: Point,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Restored> {
    let backup = read_backup(dir)?;
    for path in [target.snap_version_dir(), target.log_version_dir()] {
        if !names::entries(&path)?.is_empty() {
            return Err(StorageError::NotEmpty { path });
        }
    }
    let zxid = find_point(&backup, point)?;
    let range = find_range(&backup, zxid)?;
    for file in needed(&backup, range, zxid) {
        verify_file(&backup, file, progress)?;
    }
    let replayed = replay(&backup, target, range, zxid, progress)?;
    let Replayed { tree, transactions, time, confirmed } = replayed;
    for path in [target.snap_version_dir(), target.log_version_dir()] {
        disk::create_dir_all(&path)?;
    }
    let snaps = target.snap_version_dir();
    // A member takes its epoch from these; without them Java takes it from the zxid.
    write_epoch(&snaps, EpochFile::Accepted, zxid.epoch())?;
    write_epoch(&snaps, EpochFile::Current, zxid.epoch())?;
    let path = write_tree(&tree, &snaps, Compression::None, progress)?;
    let (digest, nodes) = (tree.digest(), tree.node_count());
    Ok(Restored { path, zxid, time, digest, confirmed, nodes, replayed: transactions })
}

fn find_point(backup: &Backup, point: Point) -> Result<Zxid> {
    let latest = || backup.ranges().iter().map(|r| r.to).max();
    match point {
        Point::Zxid(zxid) => Ok(zxid),
        Point::Latest => {
            latest().ok_or_else(|| refused(&backup.dir, "it holds nothing that can be restored"))
        }
        Point::Time(ms) => last_before(backup, ms)?
            .ok_or_else(|| refused(&backup.dir, format!("it begins later; {}", available(backup)))),
    }
}

/// The last transaction before the first one that is later than a time.
fn last_before(backup: &Backup, ms: i64) -> Result<Option<Zxid>> {
    let mut before = None;
    for file in &backup.files {
        let BackupKind::Log { last, last_ms, .. } = file.kind else { continue };
        if last_ms <= ms {
            before = before.max(Some(last));
            continue;
        }
        for item in LogScan::open(&backup.path(file))? {
            let Scanned::Record(record) = item? else { break };
            if record.header()?.time > ms {
                return Ok(before);
            }
            before = before.max(Some(record.zxid));
        }
    }
    Ok(before)
}

/// The range with the least to replay.
fn find_range(backup: &Backup, zxid: Zxid) -> Result<Range> {
    let ranges = backup.ranges();
    let found = ranges.iter().filter(|r| r.from <= zxid && zxid <= r.to).max_by_key(|r| r.base);
    found
        .copied()
        .ok_or_else(|| refused(&backup.dir, format!("it does not reach {zxid}; {}", available(backup))))
}

fn available(backup: &Backup) -> String {
    let ranges = backup.ranges();
    if ranges.is_empty() {
        return "it holds nothing that can be restored".to_owned();
    }
    let text: Vec<_> = ranges.iter().map(|r| format!("{} to {}", r.from, r.to)).collect();
    format!("available: {}", text.join(", "))
}

/// The snapshot, and the logs from it to the zxid.
fn needed(backup: &Backup, range: Range, wanted: Zxid) -> impl Iterator<Item = &BackupFile> {
    backup.files.iter().filter(move |f| match f.kind {
        BackupKind::Snapshot { zxid, .. } => zxid == range.base,
        BackupKind::Log { first, last, .. } => last > range.base && first <= wanted,
    })
}

struct Replayed {
    tree: Tree,
    transactions: u64,
    time: Option<i64>,
    confirmed: bool,
}

fn replay(
    backup: &Backup,
    target: &StorageConfig,
    range: Range,
    wanted: Zxid,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Replayed> {
    let is_base = |f: &&BackupFile| matches!(f.kind, BackupKind::Snapshot { zxid, .. } if zxid == range.base);
    let base = backup.files.iter().find(is_base).expect("a range comes from a snapshot of the backup");
    let mut tree = snapshot_file::load(&backup.path(base), target.tree, progress)?;
    let mut effects = Effects::default();
    let (mut transactions, mut time, mut digest) = (0, None, None);
    let mut after = None;
    for record in LogReader::after(&version_dir(&backup.dir), range.base, Some(range.base))? {
        let record = record?;
        if record.zxid > wanted {
            after = Some(record.zxid);
            break;
        }
        let entry = record.decode()?;
        tree.apply(&entry, &mut effects);
        effects.clear();
        digest = entry.digest.or(digest);
        time = Some(entry.header.time);
        transactions += 1;
        if transactions % EVERY == 0 {
            progress(Progress::ReplayingLog { transactions, zxid: record.zxid });
        }
        if record.zxid == wanted {
            break;
        }
    }
    let reached = tree.last_zxid();
    if reached != wanted {
        let next = after.map_or_else(String::new, |z| format!(" and {z}"));
        let what = format!("{wanted} is no transaction; the nearest are {reached}{next}");
        return Err(refused(&backup.dir, what));
    }
    let digest = digest.filter(|d| d.version == TxnDigest::VERSION && tree.options().digest);
    let fits = digest.map(|d| d.tree == tree.digest());
    if fits == Some(false) || (fits.is_none() && tree.digest_mismatches() > 0) {
        let what = format!(
            "the state at {wanted} does not have the digest that was logged; begin from another snapshot: {}",
            available(backup)
        );
        return Err(refused(&backup.dir, what));
    }
    let confirmed = fits == Some(true) || (range.from == wanted && transactions == 0);
    Ok(Replayed { tree, transactions, time, confirmed })
}
