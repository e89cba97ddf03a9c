use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zk_proto::Zxid;

use super::{hex, refused, version_dir};
use crate::disk;
use crate::error::{Result, StorageError};
use crate::log::follows;

const NAME: &str = "MANIFEST";
/// The first line; the number is the format's version.
const TITLE: &str = "zkd-backup 1";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backup {
    /// Its directory.
    pub dir: PathBuf,
    /// Its files, snapshots first, oldest first.
    pub files: Vec<BackupFile>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFile {
    /// Its name, as the server gave it.
    pub name: String,
    /// How many of its bytes count.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: String,
    /// What it is.
    pub kind: BackupKind,
}

/// What a file of a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupKind {
    /// A state to begin from.
    Snapshot {
        /// The zxid behind which the log goes on.
        zxid: Zxid,
        /// The first zxid at which what is made from it is exact.
        settled: Zxid,
    },
    /// Part of the log.
    Log {
        /// Its first transaction.
        first: Zxid,
        /// Its last transaction.
        last: Zxid,
        /// Time of the first, in ms since 1970.
        first_ms: i64,
        /// The latest time in it.
        last_ms: i64,
        /// How many transactions it has.
        records: u64,
        /// Whether the server had begun a later file when it was copied.
        closed: bool,
    },
}

/// States that a backup can give: all from one zxid to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The snapshot to begin from.
    pub base: Zxid,
    /// The first state.
    pub from: Zxid,
    /// The last state.
    pub to: Zxid,
    /// Time of the last one, if a log tells.
    pub to_ms: Option<i64>,
}

impl Backup {
    /// The whole path of a file.
    pub fn path(&self, file: &BackupFile) -> PathBuf {
        version_dir(&self.dir).join(&file.name)
    }

    /// What can be restored, one range for each snapshot, oldest first.
    pub fn ranges(&self) -> Vec<Range> {
        let mut out = Vec::new();
        for file in &self.files {
            let BackupKind::Snapshot { zxid, settled } = file.kind else { continue };
            let (mut to, mut to_ms) = (zxid, None);
            for log in &self.files {
                let BackupKind::Log { first, last, last_ms, .. } = log.kind else { continue };
                if last > to && (first <= to || follows(to, first)) {
                    (to, to_ms) = (last, Some(last_ms));
                }
            }
            if to >= settled {
                out.push(Range { base: zxid, from: settled, to, to_ms });
            }
        }
        out
    }

    /// The last transaction of all logs.
    pub fn last_logged(&self) -> Option<Zxid> {
        let last = |f: &BackupFile| match f.kind {
            BackupKind::Log { last, .. } => Some(last),
            BackupKind::Snapshot { .. } => None,
        };
        self.files.iter().filter_map(last).max()
    }

    pub(super) fn find(&self, name: &str) -> Option<&BackupFile> {
        self.files.iter().find(|f| f.name == name)
    }

    pub(super) fn put(&mut self, file: BackupFile) {
        self.files.retain(|f| f.name != file.name);
        self.files.push(file);
        self.files.sort_by_key(|f| match f.kind {
            BackupKind::Snapshot { zxid, .. } => (0, zxid),
            BackupKind::Log { first, .. } => (1, first),
        });
    }

    /// Puts the manifest in place, durably.
    pub(super) fn write(&self) -> Result<()> {
        let mut text = format!("{TITLE}\n");
        for BackupFile { name, bytes, sha256, kind } in &self.files {
            let _ = match kind {
                BackupKind::Snapshot { zxid, settled } => {
                    writeln!(text, "snapshot {name} {bytes} {sha256} {zxid} {settled}")
                }
                BackupKind::Log { first, last, first_ms, last_ms, records, closed } => writeln!(
                    text,
                    "log {name} {bytes} {sha256} {first} {last} {first_ms} {last_ms} {records} {}",
                    if *closed { "closed" } else { "open" }
                ),
            };
        }
        let sum = hex(Sha256::new_with_prefix(&text));
        let _ = writeln!(text, "end {sum}");
        let path = self.dir.join(NAME);
        disk::replace(&path, &self.dir.join(format!("{NAME}.tmp")), text.as_bytes())
    }
}

/// Whether a directory has a manifest.
pub(super) fn exists(dir: &Path) -> bool {
    dir.join(NAME).exists()
}

/// Reads a backup's manifest, and nothing else.
pub fn read_backup(dir: &Path) -> Result<Backup> {
    let path = dir.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(t) => t,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(refused(dir, format!("it is no backup, since it has no {NAME}")));
        }
        Err(e) => return Err(StorageError::io("read", &path, e)),
    };
    let damaged = |what: &str| refused(&path, format!("it is damaged: {what}"));
    let Some((body, end)) = text.trim_end().rsplit_once("\nend ") else {
        return Err(damaged("its last line is missing"));
    };
    if hex(Sha256::new_with_prefix(format!("{body}\n"))) != end {
        return Err(damaged("its checksum does not match"));
    }
    let mut lines = body.lines();
    if lines.next() != Some(TITLE) {
        return Err(refused(&path, format!("this version reads only {TITLE:?}; use the newer one")));
    }
    let mut backup = Backup { dir: dir.to_owned(), files: Vec::new() };
    for line in lines {
        backup.files.push(parse(line).ok_or_else(|| damaged(line))?);
    }
    Ok(backup)
}

fn parse(line: &str) -> Option<BackupFile> {
    let words: Vec<&str> = line.split(' ').collect();
    let (kind, name, bytes, sha256, rest) = match words.as_slice() {
        [kind, name, bytes, sha256, rest @ ..] => (*kind, *name, bytes, *sha256, rest),
        _ => return None,
    };
    let plain = !name.contains('/') && crate::names::is_kind(name, kind);
    let zxid = |s: &str| i64::from_str_radix(s.strip_prefix("0x")?, 16).ok().map(Zxid);
    let kind = match (kind, rest) {
        ("snapshot", [at, settled]) => BackupKind::Snapshot { zxid: zxid(at)?, settled: zxid(settled)? },
        ("log", [first, last, first_ms, last_ms, records, closed]) => BackupKind::Log {
            first: zxid(first)?,
            last: zxid(last)?,
            first_ms: first_ms.parse().ok()?,
            last_ms: last_ms.parse().ok()?,
            records: records.parse().ok()?,
            closed: *closed == "closed",
        },
        _ => return None,
    };
    let file =
        BackupFile { name: name.to_owned(), bytes: bytes.parse().ok()?, sha256: sha256.to_owned(), kind };
    plain.then_some(file)
}
