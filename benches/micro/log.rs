//! The transaction log in a directory of its own.

use tempfile::TempDir;
use zk_proto::Zxid;
use zk_storage::{LogOptions, LogWriter};

/// A log, removed in the end.
pub struct Log {
    dir: TempDir,
    writer: LogWriter,
    zxid: i64,
    payload: Vec<u8>,
}

impl Log {
    /// Of records of so many bytes; `synced`: each batch waits for the disk.
    pub fn new(bytes: usize, synced: bool) -> Log {
        let dir = tempfile::tempdir().expect("the temporary directory takes a log");
        let options = LogOptions { force_sync: synced, ..LogOptions::default() };
        let writer = LogWriter::new(dir.path(), Zxid(0), options);
        Log { dir, writer, zxid: 0, payload: vec![7; bytes] }
    }

    /// Appends a batch and writes it out.
    pub fn write(&mut self, records: usize) {
        for _ in 0..records {
            self.zxid += 1;
            self.writer.append(Zxid(self.zxid), &self.payload).expect("zxids follow each other");
        }
        self.writer.sync().expect("the disk has room");
    }

    /// Whether the last file has been filled.
    pub fn is_full(&self) -> bool {
        self.writer.current_file().is_none()
    }

    /// Removes the files, once it is full: a bench writes more than a disk may have.
    pub fn purge(&mut self) {
        for file in self.dir.path().read_dir().expect("the directory is there").flatten() {
            std::fs::remove_file(file.path()).expect("a full file has no writer");
        }
    }
}
