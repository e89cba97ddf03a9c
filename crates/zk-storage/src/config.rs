use std::path::{Path, PathBuf};

use zk_tree::TreeOptions;

use crate::error::{Result, StorageError};
use crate::log::LogOptions;
use crate::mirror::MirrorOptions;
use crate::names::{self, VERSION_DIR};

/// Where the data is and how it is kept. Field by field with Java's property.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// `dataDir`: snapshots, epochs, myid, the mirror.
    pub data_dir: PathBuf,
    /// `dataLogDir`: the log. `None` (the default): `dataDir`.
    pub log_dir: Option<PathBuf>,
    /// How the log is written.
    pub log: LogOptions,
    /// How the mirror is kept.
    pub mirror: MirrorOptions,
    /// How the tree behaves.
    pub tree: TreeOptions,
    /// `zookeeper.datadir.autocreate`, default true: missing directories are made.
    pub datadir_autocreate: bool,
    /// `zookeeper.db.autocreate`, default true: an empty directory becomes an
    /// empty database. If false, only when a file `initialize` is in dataLogDir.
    pub db_autocreate: bool,
    /// `zookeeper.snapshot.trust.empty`, default false: a log without any
    /// snapshot is replayed from the empty tree.
    pub trust_empty: bool,
    /// Default true: ephemerals whose session is not in the list of sessions
    /// go at start, as on a stand-alone server or a leader.
    /// ref: ZooKeeperServer.loadData.
    pub drop_orphans: bool,
    /// Default false, for a stand-alone server: the whole log counts. True for
    /// a member of an ensemble, whose log may end with transactions that are
    /// not committed: they are in the tree, as on Java, but not in the mirror,
    /// and orphans stay. See [`Recovered::held_back`](crate::Recovered::held_back).
    pub hold_back: bool,
    /// Names the run of the operating system: what is in
    /// `/proc/sys/kernel/random/boot_id`. With it a start can tell what a power
    /// cut does to the end of the log from damage. Default `None`.
    pub boot_id: Option<String>,
}

impl StorageConfig {
    /// The defaults for a directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> StorageConfig {
        StorageConfig {
            data_dir: data_dir.into(),
            log_dir: None,
            log: LogOptions::default(),
            mirror: MirrorOptions::default(),
            tree: TreeOptions::default(),
            datadir_autocreate: true,
            db_autocreate: true,
            trust_empty: false,
            drop_orphans: true,
            hold_back: false,
            boot_id: None,
        }
    }

    /// `<dataDir>/version-2`.
    pub fn snap_version_dir(&self) -> PathBuf {
        self.data_dir.join(VERSION_DIR)
    }

    /// `<dataLogDir>/version-2`.
    pub fn log_version_dir(&self) -> PathBuf {
        self.log_root().join(VERSION_DIR)
    }

    /// Where the log's directory is, and a file `initialize` may be.
    pub fn log_root(&self) -> &Path {
        self.log_dir.as_deref().unwrap_or(&self.data_dir)
    }

    /// Whether logs and snapshots have different directories.
    pub(crate) fn is_split(&self) -> bool {
        match &self.log_dir {
            None => false,
            Some(log) => match (log.canonicalize(), self.data_dir.canonicalize()) {
                (Ok(a), Ok(b)) => a != b,
                _ => *log != self.data_dir,
            },
        }
    }

    /// Refuses files that are in the other's directory. Java would not find
    /// them. ref: FileTxnSnapLog.checkLogDir, checkSnapDir.
    pub(crate) fn check_directories(&self) -> Result<()> {
        if !self.is_split() {
            return Ok(());
        }
        for (dir, wrong) in [(self.log_version_dir(), names::SNAPSHOT), (self.snap_version_dir(), names::LOG)]
        {
            for (name, path) in names::entries(&dir)? {
                if names::is_kind(&name, wrong) {
                    return Err(StorageError::WrongDirectory { path });
                }
            }
        }
        Ok(())
    }
}
