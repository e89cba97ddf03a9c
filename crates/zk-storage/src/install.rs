//! A state from the leader takes the place of everything that is there.
//!
//! The old state is snapshots, logs and a mirror, in up to two directories; no
//! single call replaces them. It may not be given up before the new one is
//! durable: a committed transaction may need this member's copy. So:
//!
//! 1. The new state is written and synced under a temporary name.
//! 2. It is renamed to `install.<zxid>` and the directory is synced. **From
//!    here on the new state counts**: a start that finds this file goes on with
//!    step 3. Before, a start finds the old state, untouched.
//! 3. The mirror is emptied, all logs are removed, and so are the snapshots
//!    that are not older than the new state; all of it durably.
//! 4. The file is renamed to `snapshot.<zxid>`.
//! 5. The mirror is filled. A start that finds it unfinished does it again.
//!
//! All logs go, not only what is behind the zxid: the old ones may end with
//! transactions that were never committed, and no learner may get these.
//! Java does not know the name `install`: going back to Java between 2 and 4
//! needs one start of this server first.

use std::path::{Path, PathBuf};

use zk_proto::Zxid;
use zk_tree::Tree;

use crate::config::StorageConfig;
use crate::disk;
use crate::error::{Result, StorageError};
use crate::log::LogWriter;
use crate::mirror::{self, Mirror};
use crate::names;
use crate::progress::Progress;
use crate::snapshot_file;

/// Begins the name of a state that counts but is not in place.
const INSTALL: &str = "install";

/// Makes a tree the durable state, as after a snapshot from the leader; the log
/// goes on behind it. The caller has stopped the log's writer. The mirror's
/// readers may live on; a [`purge`](crate::purge) that runs is waited for. After
/// a crash, or an error, the next start finds the old state or the new one,
/// never a mix. After an error the process should end.
/// ref: Learner.syncWithLeader, ZooKeeperServer.takeSnapshot(syncSnap).
pub fn install(
    config: &StorageConfig,
    mut mirror: Mirror,
    tree: &Tree,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(LogWriter, Mirror)> {
    let snap = config.snap_version_dir();
    if let Some(path) = pending(&snap)? {
        return Err(StorageError::InstallPending { path });
    }
    let reader = mirror.reader();
    let mut generation = reader.generation();
    let zxid = tree.last_zxid();
    let path = snap.join(format!("{INSTALL}.{:x}", zxid.0));
    snapshot_file::write_tree_to(tree, &path, progress)?;
    reader.next_generation(&mut generation);
    mirror.clear()?;
    replace_old(config, zxid, &path)?;
    drop(generation);
    mirror.rebuild(tree, progress)?;
    let writer = LogWriter::new(&config.log_version_dir(), zxid, config.log.clone());
    Ok((writer, mirror))
}

/// A state that counts but is not in place.
pub(crate) fn pending(snap: &Path) -> Result<Option<PathBuf>> {
    Ok(names::list(snap, INSTALL)?.pop().map(|(_, path)| path))
}

/// Goes on where a crash stopped [`install`]. The directory is locked, and
/// nobody has the mirror open.
pub(crate) fn finish_pending(config: &StorageConfig) -> Result<()> {
    let snap = config.snap_version_dir();
    let Some((zxid, path)) = names::list(&snap, INSTALL)?.pop() else { return Ok(()) };
    tracing::warn!(%zxid, "a new state from the leader is put in place, which a crash had stopped");
    mirror::wipe(&snap)?;
    disk::sync_dir(&snap)?;
    replace_old(config, zxid, &path)
}

fn replace_old(config: &StorageConfig, zxid: Zxid, path: &Path) -> Result<()> {
    let (snap, log) = (config.snap_version_dir(), config.log_version_dir());
    for (_, old) in names::list(&log, names::LOG)?.into_iter().rev() {
        disk::remove(&old)?;
    }
    disk::sync_dir(&log)?;
    let snapshots = names::list(&snap, names::SNAPSHOT)?;
    for (_, old) in snapshots.into_iter().rev().take_while(|(z, _)| *z >= zxid) {
        disk::remove(&old)?;
    }
    disk::sync_dir(&snap)?;
    disk::rename(path, &snap.join(format!("{}.{:x}", names::SNAPSHOT, zxid.0)))
}
