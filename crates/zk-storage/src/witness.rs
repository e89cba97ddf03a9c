//! Whether the log still bears witness to the mirror.
//!
//! Java does not know the mirror. When it had the directory for a while, it may
//! have cut the log back and gone on with other transactions, and an operator
//! may have put older files in place; the mirror stays as it was. Zxids alone do
//! not tell: the first of a later epoch may follow any transaction of an earlier
//! one. But what is in the mirror was in the log, so the log must know the
//! transaction that the mirror stands at, with the digest that the tree had.

use std::path::Path;

use zk_proto::txn::{LogEntry, TxnDigest, TxnHeader};
use zk_proto::{OpCode, Reader, Zxid};

use crate::error::Result;
use crate::log::{LogReader, LogRecord};
use crate::mirror::Applied;
use crate::names;

/// What the log has around a zxid.
#[derive(Default)]
struct Around {
    /// The last transaction that is not later.
    before: Option<Zxid>,
    /// The last one of them that is no error: the tree's digest since then.
    change: Option<LogRecord>,
    /// The first later one.
    next: Option<Zxid>,
}

/// Why the mirror is of another history than log and snapshots; `None` if
/// nothing speaks against it. `newest` is the newest sound snapshot, which is
/// not newer than the mirror.
///
/// A log that merely ends before the mirror is no contradiction: a follower
/// applies what the others have on disk, and a power cut may take it from its
/// own log. It is one if a snapshot shows that the log was cut on purpose: Java
/// writes one after TRUNC.
pub(crate) fn contradiction(log: &Path, applied: Applied, newest: Option<Zxid>) -> Result<Option<String>> {
    let Around { before, change, next } = around(log, applied.zxid)?;
    let at = applied.zxid;
    let begins_epoch = at.counter() == 0 && before.is_some_and(|b| b.epoch() < at.epoch());
    if before == Some(at) || begins_epoch {
        let digest = change.and_then(|r| LogEntry::decode(&r.payload).ok()).and_then(|e| e.digest);
        return Ok(match (digest.filter(|d| d.version == TxnDigest::VERSION), applied.digest) {
            (Some(d), Some(own)) if d.tree != own => {
                Some(format!("the log has digest {:#x} at {at}, the mirror {own:#x}", d.tree))
            }
            _ => None,
        });
    }
    if newest == Some(at) {
        return Ok(None);
    }
    Ok(match (before, next) {
        (_, Some(next)) if at.next() != Some(next) => {
            let last = before.map_or_else(|| "its beginning".to_owned(), |b| b.to_string());
            Some(format!("the mirror stands at {at}, and the log goes from {last} to {next} without it"))
        }
        (Some(last), None) if newest >= Some(last) => {
            Some(format!("the mirror stands at {at}, and the log was cut after {last}"))
        }
        _ => None,
    })
}

/// Reads the file that the zxid may stand in. A file may be torn at its first
/// transaction; then the one before it is looked at as well.
fn around(log: &Path, zxid: Zxid) -> Result<Around> {
    let files = names::list(log, names::LOG)?;
    let mut at = files.iter().rposition(|(z, _)| *z <= zxid).unwrap_or(0);
    loop {
        let Some((first, _)) = files.get(at) else { return Ok(Around::default()) };
        let mut reader = LogReader::after(log, Zxid(first.0.saturating_sub(1)), None)?;
        let mut found = Around::default();
        while found.next.is_none()
            && let Some((record, _)) = reader.next_of_all()?
        {
            if record.zxid > zxid {
                found.next = Some(record.zxid);
                continue;
            }
            found.before = Some(record.zxid);
            let header = TxnHeader::read(&mut Reader::new(&record.payload));
            if header.is_ok_and(|h| h.op != OpCode::Error) {
                found.change = Some(record);
            }
        }
        if found.before.is_none() && at > 0 {
            at -= 1;
            continue;
        }
        return Ok(found);
    }
}
