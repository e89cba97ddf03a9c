use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use simd_adler32::adler32;
use zk_proto::Zxid;

use super::hole::MAX_BATCH;
use super::{END, FRAME, HEADER, HEADER_LEN, LogReader, follows};
use crate::disk::{self, DiskFile};
use crate::error::{Result, StorageError};
use crate::names;

/// How far zeros are written ahead of the data. A write into bytes that were
/// written before changes no metadata, so that its fdatasync is one disk write
/// and not also a commit of the file system's journal. Measured by
/// `examples/synclog.rs`.
const ZERO_AHEAD: u64 = 1 << 20;
/// Behind a batch of so many bytes no zeros are written: a commit of the journal takes less time than they do.
const LARGE_BATCH: usize = 128 << 10;
/// A buffer that one big batch made bigger is given back.
const KEEP_BUFFER: usize = 4 << 20;

/// How the log is written.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Files grow by this many bytes. 0: no padding. Java property
    /// `zookeeper.preAllocSize`, there in KB; default 64 MiB.
    pub preallocate: u64,
    /// Whether [`LogWriter::sync`] waits for the disk. Java property
    /// `zookeeper.forceSync`; default true. Without it a power cut loses
    /// acknowledged transactions.
    pub force_sync: bool,
    /// A new file begins after a sync that leaves at least this many bytes in
    /// the current one. Java properties `zookeeper.txnLogSizeLimitInKb` (off
    /// by default) and `zookeeper.snapCount`.
    ///
    /// differs: Java compares the padded size, so a limit below preAllocSize
    /// begins a file at every commit; and Java's regular roll is by number of
    /// transactions, because it comes with a snapshot. Default 64 MiB less
    /// 4 KiB, so that a file is padded once.
    pub roll_bytes: u64,
    /// A sync that takes longer is logged as a warning. Java property
    /// `zookeeper.fsync.warningthresholdms`; default 1000 ms.
    pub warn_after: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            preallocate: 64 << 20,
            force_sync: true,
            roll_bytes: (64 << 20) - 4096,
            warn_after: Duration::from_secs(1),
        }
    }
}

/// Appends to the log. One owner, one thread.
///
/// Appended transactions are buffered; [`sync`](Self::sync) writes all of them
/// with one call and waits for the disk once. Each run begins a new file at
/// its first append, so a torn tail of an earlier run is never written over.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    options: LogOptions,
    /// Last appended.
    last: Zxid,
    /// Last that a sync covered.
    synced: Zxid,
    /// Entries that the next sync writes.
    pending: Vec<u8>,
    /// First zxid of `pending` when it begins a file.
    first: Zxid,
    segment: Option<Segment>,
    poisoned: bool,
}

#[derive(Debug)]
struct Segment {
    /// `None` until the first sync.
    file: Option<DiskFile>,
    /// Bytes of header and entries on disk.
    written: u64,
    /// Length that the file has.
    len: u64,
    /// Length that the file should have.
    padded: u64,
    /// Up to here every byte was written once.
    zeroed: u64,
}

impl LogWriter {
    /// A writer that goes on after `last`. Nothing is touched before the first
    /// sync. `dir` is the version-2 directory and must be there.
    pub fn new(dir: &Path, last: Zxid, options: LogOptions) -> LogWriter {
        LogWriter {
            dir: dir.to_owned(),
            options,
            last,
            synced: last,
            pending: Vec::new(),
            first: last,
            segment: None,
            poisoned: false,
        }
    }

    /// Takes a transaction's bytes (`LogEntry::encode`, or a proposal's data
    /// as it came). They are not on disk before the next [`sync`](Self::sync).
    ///
    /// A zxid that does not follow the last one is refused: a hole in the log
    /// is found here and not at the next start. (ref: ZOOKEEPER-4925)
    ///
    /// When a batch becomes longer than a power cut may tear (8 MiB, see
    /// `hole`), what was appended before is synced here.
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) -> Result<()> {
        self.check()?;
        if !follows(self.last, zxid) {
            return Err(StorageError::AppendOrder { last: self.last, zxid });
        }
        if !self.pending.is_empty() && self.pending.len() + FRAME + payload.len() + 1 > MAX_BATCH {
            self.sync()?;
        }
        let segment = self.segment.get_or_insert_with(|| {
            self.pending.extend_from_slice(&HEADER);
            self.first = zxid;
            Segment { file: None, written: 0, len: 0, padded: HEADER_LEN, zeroed: 0 }
        });
        let position = segment.written + self.pending.len() as u64;
        segment.padded = padded(position, segment.padded, self.options.preallocate);
        let len = i32::try_from(payload.len()).expect("limits keep a transaction below 2^31 bytes");
        self.pending.reserve(FRAME + payload.len() + 1);
        self.pending.extend_from_slice(&i64::from(adler32(&payload)).to_be_bytes());
        self.pending.extend_from_slice(&len.to_be_bytes());
        self.pending.extend_from_slice(payload);
        self.pending.push(END);
        self.last = zxid;
        Ok(())
    }

    /// Makes everything appended durable: one write, one fdatasync. Returns
    /// the zxid up to which transactions may be acknowledged.
    ///
    /// After an error the writer refuses everything: what of the write reached
    /// the disk is unknown, and a second fdatasync would report success for
    /// pages that the kernel has dropped. (ref: ATC'20, "Can Applications
    /// Recover from fsync Failures?")
    pub fn sync(&mut self) -> Result<Zxid> {
        self.check()?;
        if !self.pending.is_empty() {
            self.poisoned = true;
            self.write_out()?;
            self.poisoned = false;
            self.synced = self.last;
            if self.segment.as_ref().is_some_and(|s| s.written >= self.options.roll_bytes) {
                self.segment = None;
            }
        }
        Ok(self.synced)
    }

    /// Syncs, and lets the next append begin a new file.
    pub fn roll(&mut self) -> Result<()> {
        self.sync()?;
        self.segment = None;
        Ok(())
    }

    /// Goes on after another zxid, as after a snapshot from the leader. What
    /// was appended and not synced is forgotten.
    pub fn reset(&mut self, last: Zxid) -> Result<()> {
        self.check()?;
        self.pending.clear();
        self.segment = None;
        self.last = last;
        self.synced = last;
        Ok(())
    }

    /// The last appended zxid.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The last zxid that is durable.
    pub fn synced(&self) -> Zxid {
        self.synced
    }

    /// Bytes that the next sync will write.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// The file that is being written.
    pub fn current_file(&self) -> Option<&Path> {
        Some(self.segment.as_ref()?.file.as_ref()?.path())
    }

    fn check(&self) -> Result<()> {
        if self.poisoned { Err(StorageError::Poisoned { dir: self.dir.clone() }) } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<()> {
        let segment = self.segment.as_mut().expect("append made a segment for what is pending");
        let fresh = segment.file.is_none();
        let file = match &mut segment.file {
            Some(f) => f,
            none => none.insert(create(&self.dir, self.first)?),
        };
        let end = segment.written + self.pending.len() as u64;
        if segment.padded > segment.len {
            file.set_len(segment.padded)?;
            segment.len = segment.padded;
        }
        if end > segment.zeroed && self.pending.len() >= LARGE_BATCH {
            segment.zeroed = end;
        } else if end > segment.zeroed && segment.len > end {
            let ahead = segment.len.min(end.next_multiple_of(ZERO_AHEAD));
            let fill = usize::try_from(ahead - segment.written).expect("at most a batch and the zeros");
            self.pending.resize(fill, 0);
            segment.zeroed = ahead;
        }
        file.write_at(&self.pending, segment.written)?;
        if self.options.force_sync {
            let start = Instant::now();
            file.sync()?;
            if fresh {
                disk::sync_dir(&self.dir)?;
            }
            let took = start.elapsed();
            if took > self.options.warn_after {
                let (ms, bytes) = (took.as_millis(), self.pending.len());
                tracing::warn!(ms, bytes, "slow sync of {}, every write waits for it", file.path().display());
            }
        }
        segment.written = end;
        segment.len = segment.len.max(end);
        self.pending.clear();
        if self.pending.capacity() > KEEP_BUFFER {
            self.pending.shrink_to(KEEP_BUFFER);
        }
        Ok(())
    }
}

/// Size of the file for an entry at `position`.
/// ref: FilePadding.calculateFileSizeWithPadding.
pub(super) fn padded(position: u64, size: u64, preallocate: u64) -> u64 {
    if preallocate == 0 || position + 4096 < size {
        size
    } else if size < position {
        let grown = position + preallocate;
        grown - grown % preallocate
    } else {
        size + preallocate
    }
}

/// Creates `log.<first>`. A file of that name is left when an earlier run tore
/// its very first entry; one with transactions in it is never written over.
fn create(dir: &Path, first: Zxid) -> Result<DiskFile> {
    let path = dir.join(format!("{}.{:x}", names::LOG, first.0));
    if let Some(file) = DiskFile::create_new(&path)? {
        return Ok(file);
    }
    if LogReader::holds_entries(&path)? {
        return Err(StorageError::LogExists { path });
    }
    disk::remove(&path)?;
    disk::sync_dir(dir)?;
    DiskFile::create_new(&path)?.ok_or(StorageError::LogExists { path })
}
