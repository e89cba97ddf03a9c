//! The transaction log, in ZooKeeper's own format (files.md 2).
//!
//! ```text
//! file   = "ZKLG" version=2 dbid=0, entries, zeros up to the padded size
//! entry  = adler32(payload) as i64, length i32, payload, 'B'
//! ```
//! ref: FileTxnLog, FilePadding.

mod hole;
#[cfg(test)]
mod hole_tests;
mod range;
#[cfg(test)]
mod range_tests;
mod reader;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

pub use hole::Mended;
pub(crate) use hole::{mend, remember_boot};
pub use range::{LogPosition, find_in_log, read_range};
pub(crate) use reader::is_blank;
pub use reader::{LogReader, LogRecord, Tail};
pub use scan::{LogFlaw, LogScan, Scanned};
pub use writer::{LogOptions, LogWriter};

use zk_proto::Zxid;

use crate::error::{Result, StorageError};
use crate::{disk, names};

/// "ZKLG", version 2, dbid 0.
const HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
const HEADER_LEN: u64 = 16;
/// Checksum and length in front of a payload.
const FRAME: usize = 12;
/// Ends every entry.
const END: u8 = 0x42;

/// The log files of a version-2 directory, oldest first, each with the zxid in its name.
pub fn find_logs(dir: &std::path::Path) -> Result<Vec<(Zxid, std::path::PathBuf)>> {
    names::list(dir, names::LOG)
}

/// Whether `next` may come right after `last`: the next counter of the same
/// epoch, or the first of a later one. A leader begins an epoch with counter
/// 1; a stand-alone server that used up its counter comes to 0.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    last.next() == Some(next) || (next.epoch() > last.epoch() && next.counter() <= 1)
}

/// Cuts the log after `zxid`: what is later is removed, durably. The files
/// must not have a writer. ref: FileTxnLog.truncate.
///
/// Java cuts after the first entry that is not smaller; here the entry itself
/// must be there, unless `base` (a snapshot or the mirror) stands for it, or it
/// is the beginning of an epoch whose first transaction is the first to go.
pub fn truncate(dir: &std::path::Path, zxid: Zxid, base: Zxid) -> Result<()> {
    let mut cut = None;
    let mut last = base;
    let mut begins = false;
    for record in LogReader::after(dir, Zxid(base.0.min(zxid.0)), None)? {
        let record = record?;
        if record.zxid > zxid {
            begins = zxid.counter() == 0 && zxid.next() == Some(record.zxid);
            cut = Some((record.path.clone(), record.offset));
            break;
        }
        last = record.zxid;
    }
    let Some((path, offset)) = cut else { return Ok(()) };
    if last != zxid && base != zxid && !begins {
        return Err(StorageError::Gap { path: path.to_path_buf(), offset, last, found: zxid });
    }
    // Later files first: a crash in between leaves a prefix, never a hole.
    let later: Vec<_> = crate::names::list(dir, crate::names::LOG)?
        .into_iter()
        .rev()
        .take_while(|(_, p)| **p != *path)
        .collect();
    for (_, p) in later {
        crate::disk::remove(&p)?;
        crate::disk::sync_dir(dir)?;
    }
    if offset == HEADER_LEN {
        crate::disk::remove(&path)?;
        return crate::disk::sync_dir(dir);
    }
    let file = crate::disk::open_to_change(&path)?;
    file.set_len(offset)?;
    file.sync()
}

/// Makes durable what a start has read. A process that was killed leaves records that were
/// written and never synced; the system has them, the disk perhaps not. Who goes on from them
/// counts on them: a leader its own copy, a learner what it acknowledges with NEWLEADER. Only
/// the last file can hold such, since a file is synced before the next one begins.
pub(crate) fn sync_read(dir: &std::path::Path) -> Result<()> {
    if let Some((_, path)) = names::list(dir, names::LOG)?.pop() {
        disk::open_to_change(&path)?.sync()?;
        disk::sync_dir(dir)?;
    }
    Ok(())
}
