//! The disk of a member: the transaction log, the RocksDB mirror of the tree,
//! Java snapshots in and out, and recovery.
//!
//! Not here: what a transaction means (`zk-tree`), and threads: each part has
//! one owner, who decides where it runs. Everything blocks.
//!
//! Modules in reading order: `config` (where things are), `recovery` (from a
//! directory to a tree), `log`, `snapshot_file`, `mirror`, `install` (a state
//! from the leader takes the old one's place), `snap_stream` (a state between
//! members), `retention` (what may go), `transfer` (Java directories), `backup`, `epoch`,
//! `disk` and `fault` (the calls that change files, and how tests make them
//! fail).
//!
//! ```
//! use zk_proto::txn::{LogEntry, Txn, TxnHeader};
//! use zk_proto::{OpCode, SessionId, Xid, Zxid};
//! use zk_storage::{Mirror, StorageConfig, recover};
//! use zk_tree::Effects;
//!
//! let dir = tempfile::tempdir()?;
//! let mut server = recover(&StorageConfig::new(dir.path()), &mut |_| {})?;
//!
//! // A transaction: into the log, durable, applied, mirrored.
//! let header = TxnHeader {
//!     session: SessionId(7), cxid: Xid(0), zxid: Zxid(1), time: 0, op: OpCode::CreateSession,
//! };
//! let entry = LogEntry { header, txn: Txn::CreateSession { timeout: 6000 }, digest: None };
//! let mut payload = Vec::new();
//! entry.encode(&mut payload);
//! server.writer.append(Zxid(1), &payload)?;
//! assert_eq!(server.writer.sync()?, Zxid(1));
//! let mut effects = Effects::default();
//! server.tree.apply(&entry, &mut effects);
//! let batch = Mirror::encode_batch(&server.tree, &effects.touched);
//! server.mirror.write(&[batch])?;
//! drop(server);
//!
//! let server = recover(&StorageConfig::new(dir.path()), &mut |_| {})?;
//! assert_eq!(server.last_zxid, Zxid(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backup;
mod config;
mod disk;
mod epoch;
mod error;
mod fault;
mod install;
mod log;
mod mirror;
mod names;
mod progress;
mod recovery;
mod retention;
mod snap_stream;
mod snapshot_file;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transfer;
mod witness;

pub use backup::{
    Backup, BackupDone, BackupFile, BackupKind, Point, Range, Restored, backup, read_backup, restore,
    verify_backup,
};
pub use config::StorageConfig;
pub use disk::{remove_file, replace_file};
pub use epoch::{EpochFile, read_epoch, write_epoch};
pub use error::{Result, StorageError};
pub use install::install;
pub use log::{
    LogFlaw, LogOptions, LogPosition, LogReader, LogRecord, LogScan, LogWriter, Mended, Scanned, Tail,
    find_in_log, find_logs, follows, read_range, truncate,
};
pub use mirror::{Applied, Mirror, MirrorBatch, MirrorOptions, MirrorReader, MirrorView};
pub use progress::Progress;
pub use recovery::{Base, Recovered, Report, drop_orphans, orphans, recover, rewind};
pub use retention::{purge, purge_files};
pub use snap_stream::{SnapLoader, stream_mirror, stream_tree};
pub use snapshot_file::{
    Compression, LoadedSnapshot, SnapshotDigest, SnapshotEnd, SnapshotSink, SnapshotWriter, find_snapshots,
    load, load_foreign, load_newest, read_snapshot, write_tree,
};
pub use transfer::{export, import};
