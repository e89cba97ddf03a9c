//! Copies of a server's data from which every later state can be made again.
//!
//! ```text
//! <backup>/MANIFEST                  what belongs to it, with checksums
//! <backup>/version-2/snapshot.<zxid> states to begin from, in Java's format
//! <backup>/version-2/log.<zxid>      what happened since, in Java's format, without padding
//! ```
//!
//! The source is only read, without a lock, so its server may run and may be Java. What makes
//! a copy of changing files consistent is the log: a record is sound or it is not there, and
//! zxids follow each other. A later run copies what is new of the logs, and takes a new state to
//! begin from only if the logs do not reach that far back, or when told to. The manifest is
//! replaced last; what an interrupted run left behind it does not count.
//!
//! A member's log may end with transactions that are not committed, which a backup cannot
//! tell. When the member cuts them away later (TRUNC), the next run refuses to go on: the
//! backup holds what the server does not.

mod manifest;
mod restore;
mod take;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zk_proto::{Acl, SessionId, StatPersisted, Zxid};

pub use manifest::{Backup, BackupFile, BackupKind, Range, read_backup};
pub use restore::{Point, Restored, restore};
pub use take::{BackupDone, backup};

use crate::disk;
use crate::error::{Result, StorageError};
use crate::log::{LogScan, Scanned};
use crate::progress::Progress;
use crate::snapshot_file::{SnapshotEnd, SnapshotSink, read_snapshot};

/// Bytes that are copied or summed at a time.
const CHUNK: usize = 1 << 20;

fn refused(path: &Path, what: impl Into<String>) -> StorageError {
    StorageError::Backup { path: path.to_owned(), what: what.into() }
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Hands the first `total` bytes of a file to `each`, in pieces.
fn for_each_chunk(path: &Path, total: u64, mut each: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
    let fail = |e| StorageError::io("read", path, e);
    let mut input: std::io::Take<File> = disk::open_to_read(path)?.take(total);
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < total {
        let n = input.read(&mut buffer).map_err(fail)?;
        if n == 0 {
            return Err(refused(path, format!("it ends at {at} and should have {total} bytes")));
        }
        each(buffer.get(..n).unwrap_or_default(), at)?;
        at += n as u64;
    }
    Ok(())
}

/// Takes the parts of a snapshot and keeps none.
struct Nothing;

impl SnapshotSink for Nothing {
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: Vec<Acl>) {}
    fn node(
        &mut self,
        _: &str,
        _: Option<bytes::Bytes>,
        _: i64,
        _: StatPersisted,
    ) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// The first zxid at which a state that is made from a snapshot is exact. A snapshot of Java's
/// is written while the tree changes; its last sections tell what the last change was.
fn settled(end: &SnapshotEnd) -> Zxid {
    let digest = end.digest.map(|d| d.zxid).unwrap_or_default();
    end.zxid.max(digest).max(end.last_zxid.unwrap_or_default())
}

/// What the sound part of a log file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: Zxid,
    last: Zxid,
    first_ms: i64,
    /// The latest time; clocks of leaders differ.
    last_ms: i64,
    records: u64,
    /// Where it ends.
    end: u64,
}

/// Reads a log file up to its end or to bytes that are left out, whose description is the
/// second result. Damage with sound records behind it is an error.
fn span(path: &Path) -> Result<(Option<Span>, Option<String>)> {
    let mut scan = LogScan::open(path)?;
    let mut span: Option<Span> = None;
    while let Some(item) = scan.next().transpose()? {
        match item {
            Scanned::Record(record) => {
                let time = record.header()?.time;
                let s = span.get_or_insert(Span {
                    first: record.zxid,
                    last: record.zxid,
                    first_ms: time,
                    last_ms: time,
                    records: 0,
                    end: 0,
                });
                s.last = s.last.max(record.zxid);
                s.last_ms = s.last_ms.max(time);
                s.records += 1;
                s.end = record.end;
            }
            Scanned::Flaw(flaw) if flaw.resumes.is_none() => return Ok((span, Some(flaw.what))),
            Scanned::Flaw(flaw) => {
                let last = span.map_or(Zxid::ZERO, |s| s.last);
                let (path, offset, what) = (flaw.path, flaw.offset, flaw.what);
                return Err(StorageError::LogCorrupt { path, offset, what, last });
            }
        }
    }
    Ok((span, None))
}

/// Reads everything that a backup's manifest names: checksums, records, seals, and whether
/// the parts are those that the manifest tells of.
pub fn verify_backup(dir: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Backup> {
    let backup = read_backup(dir)?;
    for file in &backup.files {
        verify_file(&backup, file, progress)?;
    }
    Ok(backup)
}

fn verify_file(backup: &Backup, file: &BackupFile, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let path = backup.path(file);
    let mut sum = Sha256::new();
    for_each_chunk(&path, file.bytes, |bytes, at| {
        sum.update(bytes);
        progress(Progress::Checking { path: &path, bytes: at, total: file.bytes });
        Ok(())
    })?;
    let found = hex(sum);
    if found != file.sha256 {
        let what = format!("its checksum is {found}, the manifest has {}; the copy is damaged", file.sha256);
        return Err(refused(&path, what));
    }
    match file.kind {
        BackupKind::Snapshot { zxid, settled: since } => {
            let end = read_snapshot(&path, &mut Nothing, progress)?;
            if end.zxid != zxid || settled(&end) != since {
                return Err(refused(&path, "it is another snapshot than the manifest tells of"));
            }
        }
        BackupKind::Log { first, last, records, .. } => {
            let (found, _) = span(&path)?;
            // Behind the part that counts may stand what an interrupted run copied.
            if found.is_none_or(|f| f.first != first || f.last < last || f.records < records) {
                return Err(refused(&path, "it holds other transactions than the manifest tells of"));
            }
        }
    }
    Ok(())
}

fn version_dir(dir: &Path) -> PathBuf {
    dir.join(crate::names::VERSION_DIR)
}
