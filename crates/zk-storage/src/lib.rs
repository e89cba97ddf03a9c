//! The disk of a member: the transaction log, the RocksDB mirror of the tree,
//! Java snapshots in and out, and recovery.

mod disk;
mod error;
mod fault;
mod log;
mod names;

pub use error::{Result, StorageError};
pub use log::{LogOptions, LogReader, LogRecord, LogWriter, Tail, truncate};
#[cfg(test)]
mod testing;
