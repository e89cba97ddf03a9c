//! From the configuration to a tree and its disk.

use bytes::Bytes;
use zk_config::config::{self, Config};
use zk_proto::Zxid;
use zk_storage::{
    Base, Compression, LogOptions, LogWriter, Mirror, Progress, Report, StorageConfig, StorageError,
};
use zk_tree::{Touched, Tree, TreeOptions};

use crate::disk::Purge;

/// What a server starts from.
#[derive(Debug)]
pub struct Recovered {
    /// The tree.
    pub tree: Tree,
    /// The log behind it.
    pub writer: LogWriter,
    /// The mirror at the same state.
    pub mirror: Mirror,
    /// Transactions replayed.
    pub replayed: u64,
    /// When to remove old files, if that is wanted.
    pub purge: Option<Purge>,
    /// What the mirror lacks, of a member of an ensemble.
    pub held_back: Touched,
    /// The last transactions of the log.
    pub recent: Vec<(Zxid, Bytes)>,
    /// There was nothing, and that may be a loss: no vote before a leader has given its state.
    pub empty_without_vote: bool,
    /// A file `initialize` said that there need not be anything.
    pub initialized: bool,
}

/// Where a configuration keeps its data, and how.
pub fn storage_config(config: &Config) -> StorageConfig {
    let (storage, tree) = (&config.storage, &config.tree);
    let defaults = LogOptions::default();
    let log = LogOptions {
        preallocate: storage.pre_alloc_size,
        force_sync: storage.force_sync,
        roll_bytes: storage.log_size_limit.unwrap_or(defaults.roll_bytes),
        warn_after: storage.fsync_warning,
    };
    StorageConfig {
        log_dir: Some(storage.data_log_dir.clone()).filter(|dir| *dir != storage.data_dir),
        log,
        tree: TreeOptions {
            extended_types: tree.extended_types,
            digest: tree.digests,
            // Clients choose paths: they must not know how these are hashed.
            hash_seed: rand::random(),
        },
        datadir_autocreate: storage.create_directories,
        db_autocreate: storage.create_database,
        trust_empty: storage.trust_empty_snapshot,
        hold_back: config.ensemble.is_distributed(),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok(),
        ..StorageConfig::new(&storage.data_dir)
    }
}

/// Recovers the data directory.
pub fn recover(config: &Config, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Recovered, StorageError> {
    let storage = storage_config(config);
    // Recovery removes it when it makes the database.
    let initialized = storage.log_root().join("initialize").is_file();
    let recovered = zk_storage::recover(&storage, progress)?;
    let zk_storage::Recovered { tree, writer, mirror, report, held_back, recent, empty_without_vote, .. } =
        recovered;
    tell(&report);
    let purge = config.storage.purge_interval.map(|every| Purge {
        every,
        keep: config.storage.purge_keep as usize,
        compression: compression(config),
        storage,
    });
    let replayed = report.replayed;
    Ok(Recovered {
        tree,
        writer,
        mirror,
        replayed,
        purge,
        held_back,
        recent,
        empty_without_vote,
        initialized,
    })
}

/// How snapshots are packed.
pub fn compression(config: &Config) -> Compression {
    match config.storage.compression {
        config::Compression::None => Compression::None,
        config::Compression::Gzip => Compression::Gzip,
        config::Compression::Snappy => Compression::Snappy,
    }
}

fn tell(report: &Report) {
    match &report.base {
        Base::Created => tracing::info!("the data directory was empty, a new database was made"),
        Base::Nothing => tracing::warn!("no data: this member does not vote before it was given some"),
        Base::Trusted => tracing::warn!("no snapshot: the log was replayed from the empty tree"),
        Base::Snapshot { path, zxid } => {
            tracing::info!(%zxid, replayed = report.replayed, "data read from {}", path.display());
        }
        Base::Mirror { zxid } => {
            tracing::debug!(%zxid, replayed = report.replayed, "data read from the mirror")
        }
    }
    for text in &report.passed_over {
        tracing::warn!("passed over: {text}");
    }
    if let Some(tail) = &report.tail {
        tracing::warn!(
            "the log ends with a half-written record, which was never acknowledged and is left out: {tail:?}"
        );
    }
    if let Some(hole) = &report.mended {
        tracing::warn!(
            "a power cut left a hole in the last batch of the log, none of which was acknowledged; it was cut off: {hole:?}"
        );
    }
    if report.digest_mismatches > 0 {
        tracing::error!(
            transactions = report.digest_mismatches,
            "the tree differs from the one that wrote the log; compare with another server"
        );
    }
    if !report.orphans.is_empty() {
        tracing::warn!(sessions = report.orphans.len(), "ephemeral nodes of unknown sessions were removed");
    }
}
