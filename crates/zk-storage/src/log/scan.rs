use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zk_proto::txn::TxnHeader;
use zk_proto::{Reader, Zxid};

use super::reader::{Found, LogRecord, Segment};
use crate::error::{Result, StorageError};

/// How long a server may need for the rest of an entry whose beginning can be read already.
const WRITER_PAUSE: Duration = Duration::from_millis(50);

/// What stands next in a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// A sound entry.
    Record(LogRecord),
    /// Bytes that are no sound entry.
    Flaw(LogFlaw),
}

/// A place of a log file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFlaw {
    /// The file.
    pub path: PathBuf,
    /// Where the bad bytes begin.
    pub offset: u64,
    /// What is wrong with them.
    pub what: String,
    /// Whether it looks like a write that a crash cut short, or that is going on: a server
    /// leaves it out. Everything else is damage, and a server refuses the file.
    pub torn: bool,
    /// Where the next sound entry begins, if there is one.
    pub resumes: Option<u64>,
}

/// Reads one log file from its first entry to its last, past damage too. It
/// changes nothing, takes no lock, and may run while a server appends.
///
/// [`LogReader`](super::LogReader) is for whoever wants a state and must stop at damage;
/// this is for eyes, and for copies.
#[derive(Debug)]
pub struct LogScan {
    path: Arc<Path>,
    segment: Option<Segment>,
    /// Of the last sound entry.
    last: Zxid,
    end: u64,
    header: Option<LogFlaw>,
}

impl LogScan {
    /// Opens a file. A file that is empty, or of zeros, has no entries.
    pub fn open(path: &Path) -> Result<LogScan> {
        let mut scan = LogScan { path: path.into(), segment: None, last: Zxid::ZERO, end: 0, header: None };
        match Segment::open(path, true) {
            Ok(segment) => {
                scan.end = segment.as_ref().map_or(0, |s| s.offset);
                scan.segment = segment;
            }
            Err(StorageError::LogHeader { what, .. }) => {
                scan.segment = Some(Segment::without_header(path)?);
                scan.header = Some(scan.flaw(0, what.to_owned(), false)?);
            }
            Err(e) => return Err(e),
        }
        Ok(scan)
    }

    /// Where the last sound entry that was handed out ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Describes bad bytes, and steps to the next sound entry or to the end.
    fn flaw(&mut self, offset: u64, what: String, torn: bool) -> Result<LogFlaw> {
        let resumes = match &mut self.segment {
            Some(segment) => segment.resume(offset, self.last)?,
            None => None,
        };
        if resumes.is_none() {
            self.segment = None;
        }
        Ok(LogFlaw { path: self.path.to_path_buf(), offset, what, torn, resumes })
    }

    fn advance(&mut self) -> Result<Option<Scanned>> {
        if let Some(flaw) = self.header.take() {
            return Ok(Some(Scanned::Flaw(flaw)));
        }
        let Some(segment) = &mut self.segment else { return Ok(None) };
        let offset = segment.offset;
        let mut found = segment.read()?;
        if matches!(found, Found::Bad(_)) {
            // A server may be in the middle of writing it.
            std::thread::sleep(WRITER_PAUSE);
            segment.again(offset)?;
            found = segment.read()?;
        }
        let end = segment.offset;
        match found {
            Found::Padding => {
                self.segment = None;
                Ok(None)
            }
            Found::Bad(flaw) => {
                let damage = segment.damage(offset, flaw, self.last)?;
                let torn = damage.is_none();
                let what = damage.unwrap_or_else(|| flaw.text().to_owned());
                Ok(Some(Scanned::Flaw(self.flaw(offset, what, torn)?)))
            }
            Found::Entry(_, payload) => match TxnHeader::read(&mut Reader::new(&payload)) {
                Ok(header) => {
                    let zxid = header.zxid;
                    (self.last, self.end) = (zxid, end);
                    let path = self.path.clone();
                    Ok(Some(Scanned::Record(LogRecord { zxid, path, offset, end, payload })))
                }
                Err(e) => {
                    let (path, what) = (self.path.to_path_buf(), format!("it is no transaction: {e}"));
                    Ok(Some(Scanned::Flaw(LogFlaw { path, offset, what, torn: false, resumes: Some(end) })))
                }
            },
        }
    }
}

impl Iterator for LogScan {
    type Item = Result<Scanned>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if matches!(item, Some(Err(_))) {
            self.segment = None;
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::log::{LogOptions, LogWriter, find_logs};
    use crate::testing::Writes;

    /// Ten creates in one padded file; where each begins.
    fn ten(dir: &Path) -> (PathBuf, Vec<u64>) {
        let options = LogOptions { preallocate: 4096, ..LogOptions::default() };
        let mut writer = LogWriter::new(dir, Zxid::ZERO, options);
        let mut writes = Writes::new(1);
        for n in 0..10 {
            let entry = writes.create(&format!("/n{n}"), 20);
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            writer.append(entry.header.zxid, &payload).unwrap();
        }
        writer.sync().unwrap();
        let path = find_logs(dir).unwrap().pop().unwrap().1;
        let offsets = LogScan::open(&path)
            .unwrap()
            .map(|item| match item.unwrap() {
                Scanned::Record(r) => r.offset,
                Scanned::Flaw(f) => panic!("{f:?}"),
            })
            .collect();
        (path, offsets)
    }

    fn flaws(path: &Path) -> (usize, Vec<LogFlaw>) {
        let (mut records, mut flaws) = (0, Vec::new());
        for item in LogScan::open(path).unwrap() {
            match item.unwrap() {
                Scanned::Record(_) => records += 1,
                Scanned::Flaw(f) => flaws.push(f),
            }
        }
        (records, flaws)
    }

    #[test]
    fn what_is_behind_damage_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, offsets) = ten(dir.path());
        assert_eq!(offsets.len(), 10);
        let sound = fs::read(&path).unwrap();
        for (n, offset) in offsets.iter().enumerate().take(9) {
            let mut bytes = sound.clone();
            bytes[usize::try_from(*offset).unwrap() + 30] ^= 1;
            fs::write(&path, bytes).unwrap();
            let (records, found) = flaws(&path);
            assert_eq!((records, found.len()), (9, 1), "{n}");
            assert_eq!(
                (found[0].offset, found[0].resumes, found[0].torn),
                (*offset, Some(offsets[n + 1]), false)
            );
        }
        let mut bytes = sound.clone();
        bytes[0] = b'X';
        fs::write(&path, bytes).unwrap();
        let (records, found) = flaws(&path);
        assert_eq!((records, found[0].offset, found[0].resumes), (10, 0, Some(16)));
    }

    #[test]
    fn a_torn_end_is_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (path, offsets) = ten(dir.path());
        let sound = fs::read(&path).unwrap();
        let last = usize::try_from(offsets[9]).unwrap();
        fs::write(&path, &sound[..last + 40]).unwrap();
        let (records, found) = flaws(&path);
        assert_eq!((records, found.len()), (9, 1));
        assert!(found[0].torn && found[0].resumes.is_none());
        fs::write(&path, b"").unwrap();
        assert_eq!(flaws(&path), (0, Vec::new()));
    }
}
