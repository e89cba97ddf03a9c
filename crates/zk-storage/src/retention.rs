//! Which files may go (files.md 8).

use std::path::PathBuf;

use crate::config::StorageConfig;
use crate::disk;
use crate::error::Result;
use crate::mirror::{MirrorReader, MirrorView};
use crate::names;
use crate::progress::Progress;
use crate::snapshot_file::{self, Compression};

/// Fewer snapshots are never kept. ref: DatadirCleanupManager, `snapRetainCount`.
const LEAST: usize = 3;

/// Writes a fresh Java snapshot from the mirror if there is none of its state,
/// then removes what Java's purge would. A crash before the mirror's next flush
/// makes the next start take the snapshot and write the mirror anew.
pub fn purge(
    config: &StorageConfig,
    mirror: &MirrorReader,
    keep: usize,
    compression: Compression,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<PathBuf>> {
    let dir = config.snap_version_dir();
    // A state from the leader does not come in between.
    let generation = mirror.generation();
    let view = MirrorView::of_reader(mirror, *generation)?;
    let newest = snapshot_file::find_snapshots(&dir)?.first().map(|(z, _)| *z);
    if newest < Some(view.zxid()) {
        view.write_snapshot_locked(&dir, compression, progress)?;
    }
    drop(view);
    purge_files(config, keep)
}

/// Removes snapshots older than the newest `keep` sound ones, and the logs
/// that none of these needs: the one log that begins at or before the oldest
/// kept snapshot stays, since it may hold what follows it. Returns what went.
/// ref: PurgeTxnLog.purgeOlderSnapshots.
pub fn purge_files(config: &StorageConfig, keep: usize) -> Result<Vec<PathBuf>> {
    let (snap_dir, log_dir) = (config.snap_version_dir(), config.log_version_dir());
    let sound = snapshot_file::find_snapshots(&snap_dir)?;
    let Some((oldest, _)) = sound.get(..keep.max(LEAST)).unwrap_or(&sound).last() else {
        return Ok(Vec::new());
    };
    let logs = names::list(&log_dir, names::LOG)?;
    let needed = logs.iter().rev().find(|(z, _)| z <= oldest).map(|(z, _)| *z);
    let snapshots = names::list(&snap_dir, names::SNAPSHOT)?;
    // Snapshots before the logs that they need, older logs before newer ones:
    // a crash in between leaves nothing that a start would stumble over.
    let old_snapshots = snapshots.into_iter().filter(|(z, _)| z < oldest);
    let old_logs = logs.into_iter().filter(|(z, _)| z < oldest && Some(*z) != needed);
    let mut gone = Vec::new();
    for (_, path) in old_snapshots.chain(old_logs) {
        disk::remove(&path)?;
        gone.push(path);
    }
    if !gone.is_empty() {
        disk::sync_dir(&snap_dir)?;
        disk::sync_dir(&log_dir)?;
    }
    Ok(gone)
}
