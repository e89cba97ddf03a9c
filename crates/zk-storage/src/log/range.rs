//! Parts of the log for a learner, read while the writer appends.
//!
//! Whoever reads names a zxid that is durable. Up to its record all bytes are
//! in the files and change no more; nothing behind it is looked at, so that
//! zeros and a record that is being written are never taken for damage. What
//! is missing before it is an error.

use std::path::Path;

use zk_proto::Zxid;

use super::{LogReader, LogRecord};
use crate::error::{Result, StorageError};
use crate::names;

/// Where a zxid stands in the log on disk.
/// ref: ZKDatabase.getProposalsFromTxnLog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// The last transaction that is not later. `None`: the log begins later.
    pub at_or_before: Option<Zxid>,
    /// The first later one, if it is durable.
    pub next: Option<Zxid>,
    /// Lengths of the files behind the one that `at_or_before` stands in, with
    /// their padding: what Java compares with a share of the snapshot's size.
    /// Without `at_or_before`: of all files but the first.
    pub later_bytes: u64,
}

/// Looks for a zxid. `upto_durable` is the last durable transaction; the writer
/// may be at work behind it. `log_dir` is a version-2 directory. It reads one
/// file, rarely two.
pub fn find_in_log(log_dir: &Path, zxid: Zxid, upto_durable: Zxid) -> Result<LogPosition> {
    let files = names::list(log_dir, names::LOG)?;
    let nowhere = LogPosition { at_or_before: None, next: None, later_bytes: 0 };
    // The first record of a file has the file's zxid, but the file may be torn
    // there: then the one before it is looked at as well.
    let mut at = files.iter().rposition(|(z, _)| *z <= zxid).unwrap_or(0);
    loop {
        let Some((first, path)) = files.get(at) else { return Ok(nowhere) };
        let (mut holder, mut at_or_before, mut next) = (path.clone(), None, None);
        let mut reader = LogReader::after(log_dir, Zxid(first.0.saturating_sub(1)), None)?;
        while next.is_none() && at_or_before < Some(upto_durable) {
            let Some(record) = reader.next().transpose()? else { break };
            if record.zxid > upto_durable {
                break;
            }
            if record.zxid > zxid {
                next = Some(record.zxid);
            } else {
                at_or_before = Some(record.zxid);
                holder = record.path.to_path_buf();
            }
        }
        if at_or_before.is_none() && at > 0 {
            at -= 1;
            continue;
        }
        let later = files.iter().skip_while(|(_, p)| *p != holder).skip(1);
        let mut later_bytes = 0;
        for (_, p) in later {
            later_bytes += std::fs::metadata(p).map_err(|e| StorageError::io("read", p, e))?.len();
        }
        return Ok(LogPosition { at_or_before, next, later_bytes });
    }
}

/// The records behind `after` up to `upto`, which is durable; the writer may be
/// at work behind it. `after` is in the log, or the beginning of an epoch, or
/// what the log begins behind, which [`find_in_log`] tells. The first record must
/// follow it, without a gap; the last one is `upto`, or the last item is an
/// error. A purge may take files away meanwhile, which is an error, too: the
/// learner then gets a snapshot.
pub fn read_range(
    log_dir: &Path,
    after: Zxid,
    upto: Zxid,
) -> Result<impl Iterator<Item = Result<LogRecord>> + Send + use<>> {
    let reader = LogReader::after(log_dir, after, Some(after))?;
    let dir = log_dir.to_owned();
    Ok(LogRange { reader, after, passed: None, reached: after, upto, dir, done: after >= upto })
}

struct LogRange {
    reader: LogReader,
    after: Zxid,
    /// The last record that is not later than `after`.
    passed: Option<Zxid>,
    reached: Zxid,
    upto: Zxid,
    dir: std::path::PathBuf,
    done: bool,
}

impl LogRange {
    fn step(&mut self) -> Result<LogRecord> {
        while let Some((record, wanted)) = self.reader.next_of_all()? {
            if record.zxid > self.upto {
                break;
            }
            if !wanted {
                self.passed = Some(record.zxid);
                continue;
            }
            if self.reached == self.after {
                self.check_begin(&record)?;
            }
            self.reached = record.zxid;
            return Ok(record);
        }
        let (dir, zxid, reached) = (self.dir.clone(), self.upto, self.reached);
        Err(StorageError::NotReached { dir, zxid, reached })
    }

    /// A zxid between the end of one epoch and the first of the next looks as
    /// if the next followed it.
    fn check_begin(&self, first: &LogRecord) -> Result<()> {
        match self.passed {
            Some(last) if last != self.after && self.after.counter() != 0 => Err(StorageError::Gap {
                path: first.path.to_path_buf(),
                offset: first.offset,
                last: self.after,
                found: first.zxid,
            }),
            _ => Ok(()),
        }
    }
}

impl Iterator for LogRange {
    type Item = Result<LogRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step();
        self.done = self.reached >= self.upto || item.is_err();
        Some(item)
    }
}
