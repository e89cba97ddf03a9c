use std::io;
use std::path::{Path, PathBuf};

use zk_proto::{DecodeError, Zxid};

/// Why the storage does not go on. Every message names the file, and what an
/// operator can do. All of them are this machine's trouble: the process stops.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A call to the operating system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "open", "write to", "sync".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or sync of the log failed. What of it reached the disk
    /// is unknown, so nothing more is written. (ref: "Can Applications Recover
    /// from fsync Failures?")
    #[error("the log in {} failed earlier and takes nothing more; restart the server, it will read the log anew", dir.display())]
    Poisoned {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The caller appends out of order.
    #[error("zxid {zxid} cannot be appended after {last}")]
    AppendOrder {
        /// Last zxid of the log.
        last: Zxid,
        /// The one that does not follow.
        zxid: Zxid,
    },
    /// A log file of that name holds transactions already.
    #[error("{} exists and holds transactions; it was not expected there: is another server using the directory?", path.display())]
    LogExists {
        /// The file.
        path: PathBuf,
    },
    /// A log file does not begin like one.
    #[error("{}: {what}; move the file away if its transactions are not needed, or restore it from a backup", path.display())]
    LogHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A damaged record that is not a torn tail.
    #[error("{} is damaged at offset {offset}: {what}; transactions up to {last} are sound. Restore the file from a backup, or remove this server's version-2 so that it copies the data from the others", path.display())]
    LogCorrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong.
        what: String,
        /// The last sound transaction before it.
        last: Zxid,
    },
    /// A sound record whose content is not a transaction.
    #[error("{} holds at offset {offset} a record that is no transaction: {source}; was it written by a newer version?", path.display())]
    LogRecord {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Why it cannot be decoded.
        source: DecodeError,
    },
    /// Transactions are missing.
    #[error("transactions are missing between {last} and {found}, which {} holds at offset {offset}; bring back the log files in between, or remove this server's version-2 so that it copies the data from the others", path.display())]
    Gap {
        /// The file of the later one.
        path: PathBuf,
        /// Where the later one begins.
        offset: u64,
        /// The last one that is there.
        last: Zxid,
        /// The next one that is there.
        found: Zxid,
    },
    /// A transaction is older than the one before it.
    #[error("{} holds at offset {offset} transaction {found} after {last}; a file of another server or of another time is in the directory", path.display())]
    Order {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The one before.
        last: Zxid,
        /// The older one.
        found: Zxid,
    },
    /// A snapshot that cannot be used.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Offset in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// There are snapshots, and none of them can be used.
    #[error("none of the {tried} snapshots in {} can be read; the newest says: {newest}", dir.display())]
    NoUsableSnapshot {
        /// Where they are.
        dir: PathBuf,
        /// How many were tried.
        tried: usize,
        /// What was wrong with the newest.
        newest: Box<StorageError>,
    },
    /// A log without a state to begin from.
    /// ref: FileTxnSnapLog.restore, "No snapshot found, but there are log entries".
    #[error("there are transactions in {} but no snapshot to begin from in {}; bring the snapshot back, or set snapshot.trust.empty=true if the log is complete from the first transaction", log_dir.display(), snap_dir.display())]
    LogWithoutSnapshot {
        /// Where the log is.
        log_dir: PathBuf,
        /// Where a snapshot should be.
        snap_dir: PathBuf,
    },
    /// Nothing is there, and creating is switched off.
    #[error("{} holds no data and db.autocreate is false; put an empty file named `initialize` into {}, or join an ensemble", snap_dir.display(), log_root.display())]
    Empty {
        /// Where a snapshot should be.
        snap_dir: PathBuf,
        /// Where the mark is looked for.
        log_root: PathBuf,
    },
    /// What is readable ends before what was there.
    #[error("{} held transactions up to {floor}, but {why}, and what can be read ends at {reached}; restore the missing files, or remove this server's version-2 so that it copies the data from the others", dir.display())]
    StateLost {
        /// The version-2 directory.
        dir: PathBuf,
        /// Why the newest state cannot be used.
        why: String,
        /// How far the rest reaches.
        reached: Zxid,
        /// How far the newest state reached.
        floor: Zxid,
    },
    /// The log cannot be cut back behind what it begins from.
    #[error("the leader wants the log to end at {zxid}, but the state in {} stands at {base} already, which should be committed; look at the other servers first: if they are sound, remove this server's version-2 so that it copies the data from them", dir.display())]
    BaseNewer {
        /// The version-2 directory with mirror and snapshots.
        dir: PathBuf,
        /// What the newest of them stands at.
        base: Zxid,
        /// Where the log should end.
        zxid: Zxid,
    },
    /// The log ends before a transaction that should be in it.
    #[error("the log in {} should reach {zxid} and ends at {reached}; restore the missing files, or remove this server's version-2 so that it copies the data from the others", dir.display())]
    NotReached {
        /// The log's directory.
        dir: PathBuf,
        /// The last transaction that was expected.
        zxid: Zxid,
        /// The last one that is there.
        reached: Zxid,
    },
    /// A new state from the leader is there, and the old one not yet away.
    #[error("{} holds a new state that is not yet in place; start the server once", path.display())]
    InstallPending {
        /// The file of the new state.
        path: PathBuf,
    },
    /// A state that is no longer this member's was to become a snapshot.
    #[error("the state at {zxid} was replaced by one from the leader; no snapshot of it is written")]
    Superseded {
        /// What the old state stood at.
        zxid: Zxid,
    },
    /// A state from another member that cannot be used.
    #[error("the snapshot from the other server cannot be used: {what}")]
    SnapStream {
        /// What is wrong.
        what: String,
    },
    /// A file is where it does not belong. ref: FileTxnSnapLog.checkLogDir.
    #[error("{} does not belong here: dataDir and dataLogDir differ, snapshots go to the first and logs to the second; move the file, or correct the two settings", path.display())]
    WrongDirectory {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the directory.
    #[error("{} is in use by another process; stop it first", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A directory is missing, and creating is switched off.
    #[error("{} is not there and datadir.autocreate is false; create it or correct dataDir", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that should be empty is not.
    #[error("{} is not empty; name a new directory", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// RocksDB failed.
    #[error("the mirror in {} failed: {source}", path.display())]
    Mirror {
        /// The mirror's directory.
        path: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// The mirror's content is not what was written.
    #[error("the mirror in {} is damaged: {what}", path.display())]
    MirrorDamaged {
        /// The mirror's directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The mirror is of a newer version.
    #[error("the mirror in {} has format {found}, this version reads {known}; use the newer version, or `zkd export` with it", path.display())]
    MirrorFormat {
        /// The mirror's directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// A backup that cannot be made, read or restored.
    #[error("{}: {what}", path.display())]
    Backup {
        /// The backup's directory, or a file.
        path: PathBuf,
        /// Why, and what to do.
        what: String,
    },
    /// An epoch file that is not a number.
    #[error("{} does not hold an epoch number", path.display())]
    EpochFile {
        /// The file.
        path: PathBuf,
    },
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, StorageError>;
