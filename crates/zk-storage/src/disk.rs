//! The calls that change files. All of them pass a fault point.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Result, StorageError};
use crate::fault::{self, Op, Verdict};

fn ask(op: Op, action: &'static str, path: &Path) -> Result<Verdict> {
    fault::before(op, path).map_err(|e| StorageError::io(action, path, e))
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Creates a file that must not be there. `None`: it is there.
    pub(crate) fn create_new(path: &Path) -> Result<Option<DiskFile>> {
        ask(Op::Create, "create", path)?;
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => {
                fault::after(Op::Create, path, None);
                Ok(Some(DiskFile { file, path: path.to_owned() }))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(StorageError::io("create", path, e)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// One write. A short one is an error: the next would most likely fail
    /// with the reason, and nobody may take half for the whole.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let fail = |e| StorageError::io("write to", &self.path, e);
        let verdict = ask(Op::Write, "write to", &self.path)?;
        let wanted = if verdict == Verdict::Short { &bytes[..bytes.len() / 2] } else { bytes };
        let n = loop {
            match self.file.write_at(wanted, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done.map_err(fail)?,
            }
        };
        if n != bytes.len() {
            return Err(fail(io::Error::other(format!("only {n} of {} bytes were taken", bytes.len()))));
        }
        fault::after(Op::Write, &self.path, None);
        Ok(())
    }

    /// Sets the length; new bytes read as zero.
    pub(crate) fn set_len(&self, len: u64) -> Result<()> {
        ask(Op::SetLen, "set the length of", &self.path)?;
        self.file.set_len(len).map_err(|e| StorageError::io("set the length of", &self.path, e))?;
        fault::after(Op::SetLen, &self.path, None);
        Ok(())
    }

    /// Makes the bytes durable (fdatasync). Never retried after a failure.
    pub(crate) fn sync(&self) -> Result<()> {
        ask(Op::Sync, "sync", &self.path)?;
        self.file.sync_data().map_err(|e| StorageError::io("sync", &self.path, e))?;
        fault::after(Op::Sync, &self.path, None);
        Ok(())
    }
}

/// Writes from the front to the back, for buffered writers.
#[derive(Debug)]
pub(crate) struct Sequential {
    pub(crate) file: DiskFile,
    pub(crate) offset: u64,
}

impl Write for Sequential {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(buf, self.offset).map_err(io::Error::other)?;
        self.offset += buf.len() as u64;
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a file to change it.
pub(crate) fn open_to_change(path: &Path) -> Result<DiskFile> {
    ask(Op::Open, "open", path)?;
    let file = OpenOptions::new().write(true).open(path).map_err(|e| StorageError::io("open", path, e))?;
    Ok(DiskFile { file, path: path.to_owned() })
}

/// Opens a file to read it.
pub(crate) fn open_to_read(path: &Path) -> Result<File> {
    ask(Op::Open, "open", path)?;
    File::open(path).map_err(|e| StorageError::io("open", path, e))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    ask(Op::SyncDir, "sync", dir)?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StorageError::io("sync", dir, e))?;
    fault::after(Op::SyncDir, dir, None);
    Ok(())
}

/// Renames a file within a directory and makes the new name durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    ask(Op::Rename, "rename a file to", to)?;
    fs::rename(from, to).map_err(|e| StorageError::io("rename", from, e))?;
    fault::after(Op::Rename, to, Some(from));
    to.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file. The caller syncs the directory if it matters.
pub(crate) fn remove(path: &Path) -> Result<()> {
    ask(Op::Remove, "remove", path)?;
    fs::remove_file(path).map_err(|e| StorageError::io("remove", path, e))?;
    fault::after(Op::Remove, path, None);
    Ok(())
}

/// Replaces a small file as a whole: temporary file, sync, rename, sync of
/// the directory. ref: AtomicFileWritingIdiom.
pub(crate) fn replace(path: &Path, tmp: &Path, bytes: &[u8]) -> Result<()> {
    match fs::remove_file(tmp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(StorageError::io("remove", tmp, e)),
        _ => {}
    }
    let exists = || io::Error::from(io::ErrorKind::AlreadyExists);
    let file = DiskFile::create_new(tmp)?.ok_or_else(|| StorageError::io("create", tmp, exists()))?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    rename(tmp, path)
}

/// Replaces a small file as a whole, durably: a file of the same name with `.tmp`, sync,
/// rename, sync of the directory.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    replace(path, Path::new(&tmp), bytes)
}

/// Removes a small file, durably. One that is not there is no error.
pub fn remove_file(path: &Path) -> Result<()> {
    match remove(path) {
        Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(()) => sync_dir(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))),
    }
}

/// Creates a directory and what is above it, durably.
pub(crate) fn create_dir_all(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(p) = parent {
        create_dir_all(p)?;
    }
    ask(Op::CreateDir, "create", dir)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(StorageError::io("create", dir, e));
        }
        _ => {}
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}
