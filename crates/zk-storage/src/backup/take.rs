use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest, Sha256};
use zk_proto::Zxid;

use super::manifest::{self, Backup, BackupFile, BackupKind, Range};
use super::{Nothing, Span, for_each_chunk, hex, read_backup, refused, settled, span, version_dir};
use crate::config::StorageConfig;
use crate::disk::{self, DiskFile};
use crate::error::{Result, StorageError};
use crate::install;
use crate::mirror::{self, DirLock, Mirror};
use crate::names;
use crate::progress::Progress;
use crate::snapshot_file::{self, Compression, read_snapshot};
use crate::witness;

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupDone {
    /// What can be restored up to now.
    pub newest: Range,
    /// The state to begin from that was taken, if one was.
    pub snapshot: Option<Zxid>,
    /// Log files of which something was copied.
    pub logs: usize,
    /// Bytes that were written.
    pub bytes: u64,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Makes a backup of a data directory, or brings one up to date. The source's server may run.
/// With `full` a new state to begin from is taken, so that a restore need not replay as much.
pub fn backup(
    source: &StorageConfig,
    dir: &Path,
    full: bool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<BackupDone> {
    let (snaps, logs) = (source.snap_version_dir(), source.log_version_dir());
    for path in [&snaps, &logs] {
        if !path.is_dir() {
            let what =
                "there is no such directory; name the dataDir (and dataLogDir) of a server, or its zoo.cfg";
            return Err(refused(path, what));
        }
    }
    source.check_directories()?;
    let mut taking = Taking::open(dir)?;
    if let Some(path) = install::pending(&snaps)? {
        return Err(StorageError::InstallPending { path });
    }
    taking.logs(&logs, progress)?;
    let reached = taking.newest().map(|r| r.to);
    if full || reached.is_none() || reached < taking.backup.last_logged() {
        taking.snapshot(&snaps, &logs, progress)?;
        // What was logged while the state was written.
        taking.logs(&logs, progress)?;
    }
    taking.finish()
}

/// A backup that is being written.
struct Taking {
    backup: Backup,
    _lock: DirLock,
    snapshot: Option<Zxid>,
    copied: std::collections::BTreeSet<String>,
    bytes: u64,
    notes: Vec<String>,
}

impl Taking {
    fn open(dir: &Path) -> Result<Taking> {
        if !manifest::exists(dir) && !names::entries(dir)?.is_empty() && !is_unfinished(dir)? {
            return Err(refused(dir, "it is not empty and no backup; name a new directory"));
        }
        disk::create_dir_all(&version_dir(dir))?;
        let lock = DirLock::take(dir)?;
        snapshot_file::remove_leftovers(&version_dir(dir))?;
        let backup = match manifest::exists(dir) {
            true => read_backup(dir)?,
            false => Backup { dir: dir.to_owned(), files: Vec::new() },
        };
        let (copied, notes) = Default::default();
        Ok(Taking { backup, _lock: lock, snapshot: None, copied, bytes: 0, notes })
    }

    /// The range that reaches furthest.
    fn newest(&self) -> Option<Range> {
        self.backup.ranges().into_iter().max_by_key(|r| (r.to, r.base))
    }

    /// Copies what is new of the logs.
    fn logs(&mut self, source: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let files = names::list(source, names::LOG)?;
        self.refuse_other_history(source, &files)?;
        let mut rest = files.iter().peekable();
        while let Some((_, path)) = rest.next() {
            let closed = rest.peek().is_some();
            match self.log(path, closed, progress) {
                // The server's purge was quicker.
                Err(StorageError::Io { source: e, .. }) if e.kind() == ErrorKind::NotFound && closed => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// A purge takes the oldest files, never one between others.
    fn refuse_other_history(&self, source: &Path, files: &[(Zxid, std::path::PathBuf)]) -> Result<()> {
        let Some((oldest, _)) = files.first() else { return Ok(()) };
        for file in &self.backup.files {
            let zxid = names::zxid(&file.name, names::LOG);
            if zxid > Some(*oldest) && !files.iter().any(|(z, _)| Some(*z) == zxid) {
                return Err(other_history(&self.backup.dir, source, &file.name));
            }
        }
        Ok(())
    }

    fn log(&mut self, path: &Path, closed: bool, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return Ok(()) };
        let known = self.backup.find(name).cloned();
        if known.as_ref().is_some_and(|k| matches!(k.kind, BackupKind::Log { closed: true, .. })) {
            return Ok(());
        }
        let (span, left_out) = span(path)?;
        let Some(span) = span else { return Ok(()) };
        let before = known.as_ref().map_or(0, |k| k.bytes);
        if span.end < before {
            return Err(other_history(&self.backup.dir, path, name));
        }
        if let Some(what) = left_out {
            self.notes.push(format!("{} ends at {} ({what})", path.display(), span.end));
        }
        let sha256 = self.extend(path, name, &span, known.as_ref(), progress)?;
        if span.end > before {
            self.bytes += span.end - before;
            self.copied.insert(name.to_owned());
        }
        let Span { first, last, first_ms, last_ms, records, end } = span;
        let kind = BackupKind::Log { first, last, first_ms, last_ms, records, closed };
        self.backup.put(BackupFile { name: name.to_owned(), bytes: end, sha256, kind });
        Ok(())
    }

    /// Appends to the copy of a log what it lacks, durably. Returns the sum of the whole.
    fn extend(
        &self,
        path: &Path,
        name: &str,
        span: &Span,
        known: Option<&BackupFile>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<String> {
        let dir = version_dir(&self.backup.dir);
        let target = dir.join(name);
        let before = known.map_or(0, |k| k.bytes);
        let file = match DiskFile::create_new(&target)? {
            Some(new) if before == 0 => new,
            Some(_) => {
                return Err(refused(
                    &target,
                    "the manifest names it and it was missing; run again with a new directory",
                ));
            }
            None => disk::open_to_change(&target)?,
        };
        // What an interrupted run wrote behind it goes.
        file.set_len(before)?;
        let mut sum = Sha256::new();
        let mut same = known.is_none();
        for_each_chunk(path, span.end, |bytes, at| {
            let old = usize::try_from(before.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
            let (old, new) = bytes.split_at(old);
            sum.update(old);
            if at + old.len() as u64 == before && !same {
                same = known.is_some_and(|k| hex(sum.clone()) == k.sha256);
                if !same {
                    return Err(other_history(&self.backup.dir, path, name));
                }
            }
            sum.update(new);
            if !new.is_empty() {
                file.write_at(new, at + old.len() as u64)?;
            }
            progress(Progress::Copying { path, bytes: at, total: span.end });
            Ok(())
        })?;
        file.sync()?;
        disk::sync_dir(&dir)?;
        Ok(hex(sum))
    }

    /// Takes a state to begin from: the mirror's, which is exact, or the newest snapshot.
    fn snapshot(&mut self, snaps: &Path, logs: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let newest = snapshot_file::find_snapshots(snaps)?;
        let newest_zxid = newest.first().map(|(z, _)| *z);
        if mirror::exists(snaps) {
            match self.take_mirror(snaps, logs, newest_zxid, progress) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(e @ StorageError::MirrorFormat { .. }) => return Err(e),
                Err(e) => self.notes.push(format!("the mirror is passed over: {e}")),
            }
        }
        for (_, path) in newest {
            match self.copy_snapshot(&path, progress) {
                Ok(()) => return Ok(()),
                Err(e @ StorageError::Snapshot { .. }) => self.notes.push(format!("passed over: {e}")),
                Err(e) => return Err(e),
            }
        }
        Err(refused(snaps, "there is no snapshot to begin from; is it the dataDir of a server that ran?"))
    }

    /// False: a snapshot is newer, or the mirror is of another history.
    fn take_mirror(
        &mut self,
        snaps: &Path,
        logs: &Path,
        newest: Option<Zxid>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<bool> {
        let reader = Mirror::open_to_read(snaps)?;
        let view = reader.view()?;
        if Some(view.zxid()) < newest {
            return Ok(false);
        }
        if let Some(why) = witness::contradiction(logs, view.applied(), newest)? {
            self.notes.push(format!("the mirror is passed over: {why}"));
            return Ok(false);
        }
        let name = format!("{}.{:x}", names::SNAPSHOT, view.zxid().0);
        if self.backup.find(&name).is_none() {
            let path = view.write_snapshot(&version_dir(&self.backup.dir), Compression::None, progress)?;
            self.add_snapshot(&path, progress)?;
        }
        Ok(true)
    }

    /// Java writes a snapshot under its final name, so the copy is what is looked at.
    fn copy_snapshot(&mut self, path: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return Ok(()) };
        if self.backup.find(name).is_some() {
            return Ok(());
        }
        let dir = version_dir(&self.backup.dir);
        let (target, tmp) = (dir.join(name), dir.join(format!("{}{name}", names::TMP_PREFIX)));
        let file = DiskFile::create_new(&tmp)?
            .ok_or_else(|| StorageError::io("create", &tmp, ErrorKind::AlreadyExists.into()))?;
        let total = std::fs::metadata(path).map_err(|e| StorageError::io("read", path, e))?.len();
        for_each_chunk(path, total, |bytes, at| {
            progress(Progress::Copying { path, bytes: at, total });
            file.write_at(bytes, at)
        })?;
        file.sync()?;
        disk::rename(&tmp, &target)?;
        let added = self.add_snapshot(&target, progress);
        if added.is_err() {
            disk::remove(&target)?;
        }
        added
    }

    fn add_snapshot(&mut self, path: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let end = read_snapshot(path, &mut Nothing, progress)?;
        let bytes = std::fs::metadata(path).map_err(|e| StorageError::io("read", path, e))?.len();
        let mut sum = Sha256::new();
        for_each_chunk(path, bytes, |chunk, _| {
            sum.update(chunk);
            Ok(())
        })?;
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let kind = BackupKind::Snapshot { zxid: end.zxid, settled: settled(&end) };
        self.backup.put(BackupFile { name, bytes, sha256: hex(sum), kind });
        (self.snapshot, self.bytes) = (Some(end.zxid), self.bytes + bytes);
        Ok(())
    }

    fn finish(self) -> Result<BackupDone> {
        let newest = self.newest();
        match newest {
            Some(newest) if Some(newest.to) >= self.backup.last_logged() => {
                disk::sync_dir(&version_dir(&self.backup.dir))?;
                self.backup.write()?;
                let logs = self.copied.len();
                Ok(BackupDone { newest, snapshot: self.snapshot, logs, bytes: self.bytes, notes: self.notes })
            }
            _ => {
                let what = "the logs do not go on from the snapshot that was taken: the server put another state in place, or purged files, at the same time; run it again";
                Err(refused(&self.backup.dir, what))
            }
        }
    }
}

/// Whether a directory holds what the first run of a backup left when it was interrupted.
fn is_unfinished(dir: &Path) -> Result<bool> {
    let ours = |name: &str| matches!(name, "zkd.lock" | "version-2" | "MANIFEST.tmp");
    let has_lock = dir.join("zkd.lock").exists();
    Ok(has_lock && names::entries(dir)?.iter().all(|(name, _)| ours(name)))
}

fn other_history(dir: &Path, source: &Path, name: &str) -> StorageError {
    let what = format!(
        "its {name} is not what {} has: the directory is another server's, or the server cut transactions away that were not committed; begin a new backup in a new directory, and keep this one as long as it is needed",
        source.display()
    );
    refused(dir, what)
}
