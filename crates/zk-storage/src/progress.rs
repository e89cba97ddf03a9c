use std::path::Path;

use zk_proto::Zxid;

/// How far a long piece of work is; for a terminal or a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The mirror is read into memory.
    ReadingMirror {
        /// Nodes so far.
        nodes: u64,
    },
    /// A Java snapshot is read into memory.
    ReadingSnapshot {
        /// Which file.
        path: &'a Path,
        /// Nodes so far.
        nodes: u64,
    },
    /// The log is replayed.
    ReplayingLog {
        /// Transactions so far.
        transactions: u64,
        /// The last of them.
        zxid: Zxid,
    },
    /// The mirror is filled anew.
    WritingMirror {
        /// Nodes so far.
        nodes: u64,
        /// Nodes in all.
        total: u64,
    },
    /// A Java snapshot is written.
    WritingSnapshot {
        /// Nodes so far.
        nodes: u64,
        /// Nodes in all; 0: not known.
        total: u64,
    },
    /// A file is copied into a backup.
    Copying {
        /// Which file.
        path: &'a Path,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A file's checksum is computed.
    Checking {
        /// Which file.
        path: &'a Path,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Steps between two reports.
pub(crate) const EVERY: u64 = 16 * 1024;
