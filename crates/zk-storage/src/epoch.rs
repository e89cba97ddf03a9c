//! The files `currentEpoch` and `acceptedEpoch` of an ensemble's member
//! (files.md 6): a decimal number, replaced as a whole.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use zk_proto::Epoch;

use crate::disk;
use crate::error::{Result, StorageError};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochFile {
    /// The last epoch whose history was accepted.
    Current,
    /// The last epoch that was promised.
    Accepted,
}

impl EpochFile {
    /// ref: QuorumPeer.CURRENT_EPOCH_FILENAME, ACCEPTED_EPOCH_FILENAME.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EpochFile::Current => "currentEpoch",
            EpochFile::Accepted => "acceptedEpoch",
        }
    }
}

/// Reads one of a version-2 directory. `None`: it is not there. Only the first
/// line counts. ref: QuorumPeer.readLongFromFile.
pub fn read_epoch(dir: &Path, file: EpochFile) -> Result<Option<Epoch>> {
    let path = dir.join(file.name());
    let text = match fs::read_to_string(&path) {
        Ok(t) => t,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::InvalidData => return Err(StorageError::EpochFile { path }),
        Err(e) => return Err(StorageError::io("read", &path, e)),
    };
    match text.lines().next().unwrap_or_default().parse() {
        Ok(n) => Ok(Some(Epoch(n))),
        Err(_) => Err(StorageError::EpochFile { path }),
    }
}

/// Writes one durably: temporary file, sync, rename, sync of the directory.
pub fn write_epoch(dir: &Path, file: EpochFile, epoch: Epoch) -> Result<()> {
    let (path, tmp) = (dir.join(file.name()), dir.join(format!("{}.tmp", file.name())));
    disk::replace(&path, &tmp, epoch.0.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Kind, with_plan};

    #[test]
    fn an_epoch_is_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = EpochFile::Accepted;
        assert_eq!(read_epoch(dir.path(), file).unwrap(), None);
        write_epoch(dir.path(), file, Epoch(12)).unwrap();
        assert_eq!(fs::read(dir.path().join("acceptedEpoch")).unwrap(), b"12");
        fs::write(dir.path().join("acceptedEpoch"), b"7\n8").unwrap();
        assert_eq!(read_epoch(dir.path(), file).unwrap(), Some(Epoch(7)));
        for bad in [&b""[..], b"x", b"\xff", b"99999999999999999999"] {
            fs::write(dir.path().join("acceptedEpoch"), bad).unwrap();
            assert!(matches!(read_epoch(dir.path(), file), Err(StorageError::EpochFile { .. })));
        }
    }

    #[test]
    fn every_call_may_fail() {
        for kind in [Kind::Eio, Kind::Enospc, Kind::Short, Kind::Kill, Kind::PowerCut, Kind::PowerCutTorn] {
            for k in 1.. {
                let dir = tempfile::tempdir().unwrap();
                fs::write(dir.path().join("currentEpoch"), b"1").unwrap();
                let write = || write_epoch(dir.path(), EpochFile::Current, Epoch(2));
                let (out, calls) = with_plan(k, kind, write);
                let there = read_epoch(dir.path(), EpochFile::Current).unwrap().map(|e| e.0);
                assert!(there == Some(2) || (there == Some(1) && out.is_err()), "{kind:?} at {k}: {there:?}");
                if k > calls {
                    assert!(out.is_ok());
                    break;
                }
                assert!(out.is_err());
            }
        }
    }
}
