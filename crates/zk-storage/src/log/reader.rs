use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use simd_adler32::adler32;
use zk_proto::txn::{LogEntry, TxnHeader};
use zk_proto::{OpCode, Reader, Zxid, limits};

use super::{END, FRAME, HEADER, HEADER_LEN, follows};
use crate::disk;
use crate::error::{Result, StorageError};
use crate::names;

/// One transaction as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its zxid.
    pub zxid: Zxid,
    /// The file it stands in.
    pub path: Arc<Path>,
    /// Where its entry begins, and where the next one would.
    pub offset: u64,
    /// Where the next entry begins.
    pub end: u64,
    /// Header, record and digest.
    pub payload: Vec<u8>,
}

impl LogRecord {
    /// Who, when and what kind. An error names file and offset.
    pub fn header(&self) -> Result<TxnHeader> {
        TxnHeader::read(&mut Reader::new(&self.payload)).map_err(|source| StorageError::LogRecord {
            path: self.path.to_path_buf(),
            offset: self.offset,
            source,
        })
    }

    /// The transaction. An error names file and offset.
    pub fn decode(&self) -> Result<LogEntry> {
        LogEntry::decode(&self.payload).map_err(|source| StorageError::LogRecord {
            path: self.path.to_path_buf(),
            offset: self.offset,
            source,
        })
    }
}

/// An entry at the end of a file that a crash left half written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The file.
    pub path: PathBuf,
    /// Where the entry begins.
    pub offset: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Reads the transactions of a directory in order, from the file on that the
/// first wanted one may stand in. It changes nothing on disk.
///
/// Java's rules (files.md 2 and 4): an incomplete entry ends its file, and the
/// next file goes on. Stricter than Java:
/// - a bad entry with a sound one behind it in the same file is damage, not a
///   torn tail, and is refused;
/// - zxids must follow each other without a gap, across files too, so that a
///   missing file or an entry that damage hides is found.
///
/// differs: Java exits on a complete entry with a wrong checksum even when it
/// is the very last thing on disk. Space is zero-filled ahead, so a write that
/// the power cut short may look like this; where a sector of it is still zero
/// it is read as a torn tail. Zeros alone in the last file, header included,
/// are the same thing. On the other hand Java drops a last entry whose length
/// or end mark was damaged; no torn write looks like that, so it is refused.
#[derive(Debug)]
pub struct LogReader {
    files: std::vec::IntoIter<(Zxid, PathBuf)>,
    current: Option<Segment>,
    /// Entries up to here are not handed out.
    after: Zxid,
    /// The last sound entry, or the base. `None`: the next may be anything.
    last: Option<Zxid>,
    /// Length and checksum of the last entry, to know a repetition by.
    last_sum: (usize, u32),
    tail: Option<Tail>,
    seen: Option<Zxid>,
    failed: bool,
}

#[derive(Debug)]
pub(super) struct Segment {
    input: BufReader<File>,
    path: Arc<Path>,
    pub(super) offset: u64,
    len: u64,
}

/// What stands at an offset.
pub(super) enum Found {
    Entry(u32, Vec<u8>),
    /// Zeros to the end of the file.
    Padding,
    Bad(Flaw),
}

/// What is wrong with an entry. The numbers are bytes of head, payload and
/// end mark.
#[derive(Clone, Copy)]
pub(super) enum Flaw {
    Cut,
    Length,
    Beyond,
    EndMark(u64),
    Checksum(u64),
}

impl Flaw {
    pub(super) fn text(self) -> &'static str {
        match self {
            Flaw::Cut => "its head is cut",
            Flaw::Length => "its length is out of range",
            Flaw::Beyond => "it reaches beyond the end of the file",
            Flaw::EndMark(_) => "its end mark is missing",
            Flaw::Checksum(_) => "its checksum does not match",
        }
    }
}

impl LogReader {
    /// Reads what is later than `after`. `base` is the zxid of the state that
    /// the reader's caller has: the first entry behind it must follow it.
    /// `None` accepts any first entry. `dir` is a version-2 directory.
    pub fn after(dir: &Path, after: Zxid, base: Option<Zxid>) -> Result<LogReader> {
        let mut files = names::list(dir, names::LOG)?;
        // ref: FileTxnLog.getLogFiles: the newest file that begins at or
        // before the first wanted zxid, and all later ones.
        let start = after.0.saturating_add(1);
        let skip = files.iter().rposition(|(z, _)| z.0 <= start).unwrap_or(0);
        files.drain(..skip);
        Ok(LogReader {
            files: files.into_iter(),
            current: None,
            after,
            last: base,
            last_sum: (0, 0),
            tail: None,
            seen: None,
            failed: false,
        })
    }

    /// Whether a file begins with a sound entry.
    pub(crate) fn holds_entries(path: &Path) -> Result<bool> {
        let Some(mut segment) = Segment::open(path, true)? else { return Ok(false) };
        Ok(matches!(segment.read()?, Found::Entry(..)))
    }

    /// The torn tail of the last file, once the reader is at its end.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// The last sound entry that was read, handed out or not.
    pub fn seen(&self) -> Option<Zxid> {
        self.seen
    }

    /// The next entry of the files that are read, and whether it is wanted.
    /// Not wanted are those up to `after`, and repetitions.
    pub(crate) fn next_of_all(&mut self) -> Result<Option<(LogRecord, bool)>> {
        if self.failed {
            return Ok(None);
        }
        let out = self.advance();
        self.failed = !matches!(out, Ok(Some(_)));
        out
    }

    fn advance(&mut self) -> Result<Option<(LogRecord, bool)>> {
        loop {
            let Some(segment) = &mut self.current else {
                let Some((_, path)) = self.files.next() else { return Ok(None) };
                let is_last = self.files.as_slice().is_empty();
                self.current = Segment::open(&path, is_last)?;
                continue;
            };
            let offset = segment.offset;
            match segment.read()? {
                Found::Entry(sum, payload) => {
                    let (path, end) = (segment.path.clone(), segment.offset);
                    let (zxid, wanted) = self.judge(&path, offset, sum, &payload)?;
                    if wanted {
                        self.tail = None;
                    }
                    return Ok(Some((LogRecord { zxid, path, offset, end, payload }, wanted)));
                }
                Found::Padding => self.current = None,
                Found::Bad(flaw) => {
                    let path = segment.path.clone();
                    let last = self.last.unwrap_or(self.after);
                    if let Some(what) = segment.damage(offset, flaw, last)? {
                        let path = path.to_path_buf();
                        return Err(StorageError::LogCorrupt { path, offset, what, last });
                    }
                    // In an earlier file this is where a run ended; whether
                    // anything is missing shows at the next file's first zxid.
                    let (path, what) = (path.to_path_buf(), flaw.text());
                    tracing::warn!(path = %path.display(), offset, what, "torn tail of the log is left out");
                    self.tail = Some(Tail { path, offset, what });
                    self.current = None;
                }
            }
        }
    }

    /// Checks the order. True: the entry is wanted.
    fn judge(&mut self, path: &Path, offset: u64, sum: u32, payload: &[u8]) -> Result<(Zxid, bool)> {
        let undecodable = |source| StorageError::LogRecord { path: path.to_owned(), offset, source };
        let header = TxnHeader::read(&mut Reader::new(payload)).map_err(undecodable)?;
        let zxid = header.zxid;
        self.seen = self.seen.max(Some(zxid));
        let same = self.last_sum == (payload.len(), sum);
        self.last_sum = (payload.len(), sum);
        if zxid <= self.after {
            return Ok((zxid, false));
        }
        let Some(last) = self.last else {
            self.last = Some(zxid);
            return Ok((zxid, true));
        };
        if zxid == last && (same || header.op == OpCode::Error) {
            // A request that Java could not decode takes the zxid of the one
            // before it; a repetition changes nothing.
            return Ok((zxid, false));
        }
        let path = path.to_owned();
        if zxid <= last {
            return Err(StorageError::Order { path, offset, last, found: zxid });
        }
        if !follows(last, zxid) {
            return Err(StorageError::Gap { path, offset, last, found: zxid });
        }
        self.last = Some(zxid);
        Ok((zxid, true))
    }
}

impl Iterator for LogReader {
    type Item = Result<LogRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_of_all().transpose()? {
                Ok((_, false)) => {}
                Ok((record, true)) => return Some(Ok(record)),
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

impl Segment {
    /// Opens a file and reads its header. `None`: it is the last one and a
    /// crash came before anything of it reached the disk.
    pub(super) fn open(path: &Path, is_last: bool) -> Result<Option<Segment>> {
        let fail = |e| StorageError::io("read", path, e);
        let bad = |what| StorageError::LogHeader { path: path.to_owned(), what };
        let file = disk::open_to_read(path)?;
        let len = file.metadata().map_err(fail)?.len();
        if len == 0 {
            return if is_last { Ok(None) } else { Err(bad("the file is empty")) };
        }
        let mut head = Vec::with_capacity(HEADER.len());
        (&file).take(HEADER_LEN).read_to_end(&mut head).map_err(fail)?;
        if head.iter().all(|b| *b == 0) && is_last && only_zeros(&file, 0, len).map_err(fail)? {
            return Ok(None);
        }
        if head.len() < HEADER.len() {
            return Err(bad("the file is shorter than a log's header"));
        }
        // As Java: version and dbid are not looked at.
        if !head.starts_with(b"ZKLG") {
            return Err(bad("the file does not begin with ZKLG"));
        }
        let path: Arc<Path> = path.into();
        let input = BufReader::with_capacity(256 << 10, file);
        Ok(Some(Segment { input, path, offset: HEADER_LEN, len }))
    }

    /// Opens a file whose header is damaged, at its first byte.
    pub(super) fn without_header(path: &Path) -> Result<Segment> {
        let file = disk::open_to_read(path)?;
        let len = file.metadata().map_err(|e| StorageError::io("read", path, e))?.len();
        let input = BufReader::with_capacity(256 << 10, file);
        Ok(Segment { input, path: path.into(), offset: 0, len })
    }

    /// Stands at `offset` anew; what was read ahead is forgotten, and the file may have grown.
    pub(super) fn again(&mut self, offset: u64) -> Result<()> {
        let fail = |e| StorageError::io("read", &self.path, e);
        self.len = self.input.get_ref().metadata().map_err(fail)?.len();
        self.input.seek(SeekFrom::Start(offset)).map_err(fail)?;
        self.offset = offset;
        Ok(())
    }

    /// Steps from the bad bytes at `offset` to the next sound entry, if there is one.
    pub(super) fn resume(&mut self, offset: u64, last: Zxid) -> Result<Option<u64>> {
        self.again(offset)?;
        let mut rest = Vec::new();
        self.input.read_to_end(&mut rest).map_err(|e| StorageError::io("read", &self.path, e))?;
        let Some((_, at)) = sound_entry_behind(&rest, last) else { return Ok(None) };
        self.again(offset + at as u64)?;
        Ok(Some(self.offset))
    }

    /// Reads the entry at `offset` and steps behind it.
    pub(super) fn read(&mut self) -> Result<Found> {
        let path = self.path.clone();
        self.read_io().map_err(|e| StorageError::io("read", &path, e))
    }

    fn read_io(&mut self) -> std::io::Result<Found> {
        let left = self.len.saturating_sub(self.offset);
        let mut frame = [0; FRAME];
        let n = fill(&mut self.input, &mut frame)?;
        if frame == [0; FRAME] && only_zeros(self.input.get_ref(), self.offset, self.len)? {
            return Ok(Found::Padding);
        }
        let mut r = Reader::new(frame.get(..n).unwrap_or_default());
        let (Ok(sum), Ok(len)) = (r.long(), r.int()) else { return Ok(Found::Bad(Flaw::Cut)) };
        let size = match usize::try_from(len) {
            Ok(n) if n > 0 && n <= limits::MAX_RECORD => n,
            _ => return Ok(Found::Bad(Flaw::Length)),
        };
        let whole = (FRAME + size + 1) as u64;
        if whole > left {
            return Ok(Found::Bad(Flaw::Beyond));
        }
        let mut payload = vec![0; size + 1];
        if fill(&mut self.input, &mut payload)? != size + 1 {
            return Ok(Found::Bad(Flaw::Beyond));
        }
        if payload.pop() != Some(END) {
            return Ok(Found::Bad(Flaw::EndMark(whole)));
        }
        let found = adler32(&payload.as_slice());
        if i64::from(found) != sum {
            return Ok(Found::Bad(Flaw::Checksum(whole)));
        }
        self.offset += whole;
        Ok(Found::Entry(found, payload))
    }

    /// Tells damage from a write that a crash cut short. `None`: the bad entry
    /// at `offset` is a torn tail.
    pub(super) fn damage(&mut self, offset: u64, flaw: Flaw, last: Zxid) -> Result<Option<String>> {
        let path = self.path.clone();
        let fail = |e| StorageError::io("read", &path, e);
        self.input.seek(SeekFrom::Start(offset)).map_err(fail)?;
        let mut rest = Vec::new();
        self.input.read_to_end(&mut rest).map_err(fail)?;
        if let Some((zxid, at)) = sound_entry_behind(&rest, last) {
            let at = offset + at as u64;
            return Ok(Some(format!("{}, and the sound transaction {zxid} follows at {at}", flaw.text())));
        }
        let used = rest.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
        let torn = match flaw {
            _ if is_sound_but_for_its_length(rest.get(..used).unwrap_or_default()) => {
                return Ok(Some("its length is damaged".to_owned()));
            }
            Flaw::Cut | Flaw::Length | Flaw::Beyond => true,
            Flaw::EndMark(whole) => {
                rest.get(to_usize(whole) - 1) == Some(&0) || has_zero_sector(&rest, offset, whole)
            }
            Flaw::Checksum(whole) => has_zero_sector(&rest, offset, whole),
        };
        Ok((!torn).then(|| flaw.text().to_owned()))
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("below the longest record")
}

/// Looks for a sound entry behind a bad one, at any offset: the bad one's
/// length cannot be trusted. Its zxid must be a plausible later one, or data
/// that holds a copy of a log would be taken for the log.
fn sound_entry_behind(rest: &[u8], last: Zxid) -> Option<(Zxid, usize)> {
    (1..rest.len()).find_map(|at| {
        let candidate = rest.get(at..)?;
        // The checksum has 32 bits in 64, which rules out most offsets.
        if !candidate.starts_with(&[0; 4]) {
            return None;
        }
        let zxid = sound_entry(candidate)?;
        let near = zxid.epoch() > last.epoch() || zxid.0.checked_sub(last.0).is_some_and(|d| d < 1 << 24);
        (zxid > last && near).then_some((zxid, at))
    })
}

/// Whether an entry would be sound if it ended where the data ends.
fn is_sound_but_for_its_length(used: &[u8]) -> bool {
    let mut r = Reader::new(used);
    let Ok(sum) = r.long() else { return false };
    let _ = r.int();
    match r.rest().split_last() {
        Some((&END, payload)) => !payload.is_empty() && i64::from(adler32(&payload)) == sum,
        _ => false,
    }
}

/// Whether a whole sector's share of an entry is zero, as it is when that
/// sector did not reach the disk. `rest` begins with the entry, at `offset`
/// of the file.
fn has_zero_sector(rest: &[u8], offset: u64, whole: u64) -> bool {
    const SECTOR: u64 = 512;
    let end = offset + whole;
    let mut from = offset;
    while from < end {
        let to = (from / SECTOR + 1).saturating_mul(SECTOR).min(end);
        let share = rest.get(to_usize(from - offset)..to_usize(to - offset));
        if share.is_some_and(|s| s.iter().all(|b| *b == 0)) {
            return true;
        }
        from = to;
    }
    false
}

/// Reads until `buffer` is full or the input ends; says how much it was.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while let Some(free) = buffer.get_mut(n..).filter(|b| !b.is_empty()) {
        match input.read(free) {
            Ok(0) => break,
            Ok(k) => n += k,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

/// The zxid of the entry that stands at the front of `bytes`, if one does.
fn sound_entry(bytes: &[u8]) -> Option<Zxid> {
    let payload = entry_payload(bytes)?;
    TxnHeader::read(&mut Reader::new(payload)).ok().map(|h| h.zxid)
}

/// The length of the entry that stands at the front of `bytes`, if one does.
pub(super) fn sound_record(bytes: &[u8]) -> Option<usize> {
    entry_payload(bytes).map(|payload| FRAME + payload.len() + 1)
}

fn entry_payload(bytes: &[u8]) -> Option<&[u8]> {
    let mut r = Reader::new(bytes);
    let sum = r.long().ok()?;
    let len = r.int().ok().and_then(|n| usize::try_from(n).ok()).filter(|n| *n >= TxnHeader::LEN)?;
    let payload = r.take(len).ok()?;
    let sound = r.byte().ok()? == END && i64::from(adler32(&payload)) == sum;
    sound.then_some(payload)
}

/// Whether a file holds nothing, or nothing but zeros.
pub(crate) fn is_blank(path: &Path) -> Result<bool> {
    let file = disk::open_to_read(path)?;
    let failed = |e| StorageError::io("read", path, e);
    let len = file.metadata().map_err(failed)?.len();
    only_zeros(&file, 0, len).map_err(failed)
}

/// Whether a file holds nothing but zeros from `from` on. Holes are skipped,
/// because a padded file is mostly one.
fn only_zeros(file: &File, from: u64, len: u64) -> std::io::Result<bool> {
    let back = lseek(file, 0, Whence::SeekCur)?;
    let out = only_zeros_at(file, from, len);
    lseek(file, back, Whence::SeekSet)?;
    out
}

fn only_zeros_at(file: &File, mut from: u64, len: u64) -> std::io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    while from < len {
        let at = i64::try_from(from).map_err(std::io::Error::other)?;
        match lseek(file, at, Whence::SeekData) {
            Ok(data) => from = u64::try_from(data).map_err(std::io::Error::other)?.max(from),
            Err(Errno::ENXIO) => return Ok(true),
            // The file system knows no holes.
            Err(Errno::EINVAL | Errno::ENOTSUP) => {}
            Err(e) => return Err(e.into()),
        }
        let n = file.read_at(&mut buffer, from)?;
        if n == 0 {
            break;
        }
        if buffer.iter().take(n).any(|b| *b != 0) {
            return Ok(false);
        }
        from += n as u64;
    }
    Ok(true)
}
