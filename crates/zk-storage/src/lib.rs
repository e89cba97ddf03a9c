//! The disk of a member: the transaction log, the RocksDB mirror of the tree,
//! Java snapshots in and out, and recovery.

mod disk;
mod error;
mod fault;
mod log;
mod mirror;
mod names;
mod progress;
mod snapshot_file;
#[cfg(test)]
mod testing;

pub use error::{Result, StorageError};
pub use log::{LogOptions, LogReader, LogRecord, LogWriter, Tail, truncate};
pub use mirror::{Applied, Mirror, MirrorBatch, MirrorOptions, MirrorReader, MirrorView};
pub use progress::Progress;
pub use snapshot_file::{
    Compression, LoadedSnapshot, SnapshotDigest, SnapshotEnd, SnapshotSink, SnapshotWriter,
    find_snapshots, load, load_newest, read_snapshot, write_tree,
};
