//! Holes that a power cut tears into the end of a log.
//!
//! A batch is one write and one sync. When the power goes before the sync is
//! done, any of its sectors may be on the disk and any may not, in no order:
//! sound records may stand behind a hole of zeros. Nothing of that batch was
//! acknowledged, so the log may be cut at the hole. The same sight in the middle
//! of what was synced is damage, and cutting would lose acknowledged
//! transactions. So a hole is cut away only if
//!
//! - the operating system was started anew since the last start of the server:
//!   without that, all that was written is there;
//! - it is in the last file;
//! - it holds a whole sector of zeros, beginning in the first record that is
//!   not sound;
//! - everything from there on fits into one batch, [`MAX_BATCH`].

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use zk_proto::Zxid;

use super::reader::sound_record;
use super::{FRAME, HEADER_LEN, LogReader};
use crate::disk;
use crate::error::{Result, StorageError};
use crate::names;

/// Most bytes that one sync covers, but for a single record that is longer:
/// [`LogWriter::append`](super::LogWriter::append) syncs before it takes more.
/// So it bounds what a power cut can leave behind a hole.
pub(crate) const MAX_BATCH: usize = 8 << 20;
/// What a disk writes as a whole.
const SECTOR: usize = 512;
/// Keeps the name of the operating system's run. Java does not look at it.
const BOOT: &str = "zkd.boot";

/// What was cut away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The file.
    pub path: PathBuf,
    /// Where it ends now.
    pub offset: u64,
    /// The last transaction that was kept, if the file has one.
    pub last: Option<Zxid>,
    /// Bytes from the hole's beginning to the last one that is not zero.
    pub bytes: u64,
    /// Sound transactions behind the hole, which were never acknowledged.
    pub records: u64,
}

/// Cuts a hole of a power cut out of the end of the log. Nothing is done when
/// one of the conditions fails; then the reader refuses the log.
pub(crate) fn mend(log: &Path, boot: Option<&str>) -> Result<Option<Mended>> {
    if !was_restarted(log, boot)? {
        return Ok(None);
    }
    let Some((first, path)) = names::list(log, names::LOG)?.pop() else { return Ok(None) };
    let Some(damage) = damage(log, first, &path)? else { return Ok(None) };
    let mut bytes = fs::read(&path).map_err(|e| StorageError::io("read", &path, e))?;
    bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1));
    let Ok(from) = usize::try_from(damage.offset) else { return Ok(None) };
    if !is_hole(&bytes, from) || bytes.len().saturating_sub(from) > MAX_BATCH {
        return Ok(None);
    }
    let mended = Mended {
        path,
        offset: damage.offset,
        last: damage.last,
        bytes: (bytes.len() - from) as u64,
        records: records_behind(bytes.get(from..).unwrap_or_default()),
    };
    cut(log, &mended)?;
    Ok(Some(mended))
}

/// Keeps the run of the operating system in mind, after a start.
pub(crate) fn remember_boot(log: &Path, boot: Option<&str>) -> Result<()> {
    match boot {
        Some(boot) if known_boot(log)?.as_deref() != Some(boot.trim()) => {
            disk::replace(&log.join(BOOT), &log.join(format!("{BOOT}.tmp")), boot.trim().as_bytes())
        }
        _ => Ok(()),
    }
}

fn known_boot(log: &Path) -> Result<Option<String>> {
    let path = log.join(BOOT);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(None),
        Err(e) => Err(StorageError::io("read", &path, e)),
    }
}

fn was_restarted(log: &Path, boot: Option<&str>) -> Result<bool> {
    let Some(boot) = boot.map(str::trim).filter(|b| !b.is_empty()) else { return Ok(false) };
    Ok(known_boot(log)?.is_some_and(|known| !known.is_empty() && known != boot))
}

struct Damage {
    offset: u64,
    last: Option<Zxid>,
}

/// Where the last file is damaged, if it is. A torn tail is no damage.
fn damage(log: &Path, first: Zxid, path: &Path) -> Result<Option<Damage>> {
    let mut last = None;
    for record in LogReader::after(log, Zxid(first.0.saturating_sub(1)), None)? {
        match record {
            Ok(record) => last = Some(record.zxid),
            Err(StorageError::LogCorrupt { path: p, offset, .. }) if p == path => {
                return Ok(Some(Damage { offset, last }));
            }
            Err(StorageError::LogHeader { path: p, .. }) if p == path => {
                return Ok(Some(Damage { offset: 0, last: None }));
            }
            // Whatever else it is, the recovery meets it again and tells.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Whether the record (or the file's header) at `from` lacks a whole sector.
fn is_hole(bytes: &[u8], from: usize) -> bool {
    if from == 0 {
        return zero(bytes, 0..SECTOR);
    }
    let next_sector = from.next_multiple_of(SECTOR);
    // The head itself is in the hole: so are all bytes up to the next sector.
    if zero(bytes, from..next_sector.max(from + 1)) && zero(bytes, next_sector..next_sector + SECTOR) {
        return true;
    }
    let len = bytes.get(from + 8..from + FRAME).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
    let span = FRAME + usize::try_from(len).unwrap_or(0).min(MAX_BATCH) + 1;
    (next_sector..from + span).step_by(SECTOR).any(|s| zero(bytes, s..s + SECTOR))
}

/// Whether bytes are there and zero.
fn zero(bytes: &[u8], range: Range<usize>) -> bool {
    bytes.get(range).is_some_and(|b| b.iter().all(|b| *b == 0))
}

fn records_behind(mut bytes: &[u8]) -> u64 {
    let mut n = 0;
    while let Some(rest) = bytes.get(1..) {
        // A record begins with four zeros: its checksum has 32 bits in 64.
        match Some(rest).filter(|r| r.starts_with(&[0; 4])).and_then(sound_record) {
            Some(len) => {
                n += 1;
                // One byte is skipped at the top: the record's last.
                bytes = rest.get(len - 1..).unwrap_or_default();
            }
            None => bytes = rest,
        }
    }
    n
}

fn cut(log: &Path, mended: &Mended) -> Result<()> {
    let Mended { path, offset, bytes, records, .. } = mended;
    tracing::warn!(
        path = %path.display(), offset, bytes, records,
        "a power cut left a hole in the last batch of the log, which was never acknowledged; it is cut away"
    );
    if *offset <= HEADER_LEN {
        disk::remove(path)?;
        return disk::sync_dir(log);
    }
    let file = disk::open_to_change(path)?;
    file.set_len(*offset)?;
    file.sync()
}
