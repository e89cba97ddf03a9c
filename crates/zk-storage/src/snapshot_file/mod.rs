//! ZooKeeper's snapshot files (files.md 3), plain, gz and snappy.
//!
//! ```text
//! "ZKSN" version=2 dbid=-1
//! sessions: count, {id, timeout}     lists: count, {id, acl}
//! nodes: {path, data, acl id, stat}, ended by the path "/"
//! seal, [zxid, digest version, digest, seal], [last zxid, seal]
//! seal = adler32 of everything before it, "/"
//! ```
//! ref: FileSnap, SnapStream, SerializeUtils, DataTree.serialize.

mod reader;
mod snappy;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use zk_proto::{Acl, SessionId, StatPersisted, Zxid};
use zk_tree::{Loader, Node, Tree, TreeOptions};

pub use reader::{SnapshotDigest, SnapshotEnd, read_snapshot};
pub use writer::SnapshotWriter;
pub(crate) use writer::remove_leftovers;

use crate::error::{Result, StorageError};
use crate::names;
use crate::progress::Progress;

/// "ZKSN", version 2, dbid -1.
const HEADER: [u8; 16] = *b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";
/// The last bytes of every seal: the string "/".
const SEAL_END: [u8; 5] = [0, 0, 0, 1, b'/'];
/// Java looks at no more candidates. ref: FileSnap.deserialize.
const CANDIDATES: usize = 100;

/// How a snapshot file is compressed. Java property
/// `zookeeper.snapshot.compression.method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// One gzip stream, extension `.gz`.
    Gzip,
    /// Blocks of snappy in xerial's framing, extension `.snappy`.
    Snappy,
}

impl Compression {
    /// By the last extension of the name, as Java tells them.
    pub fn of(path: &Path) -> Compression {
        match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            _ => Compression::None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }
}

/// Takes what a snapshot holds, in its order.
pub trait SnapshotSink {
    /// An open session.
    fn session(&mut self, id: SessionId, timeout: i32);
    /// A list of access rights and its id.
    fn acl(&mut self, id: i64, list: Vec<Acl>);
    /// A node. An error says why it cannot be one.
    fn node(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        acl_id: i64,
        stat: StatPersisted,
    ) -> std::result::Result<(), String>;
}

impl SnapshotSink for Loader {
    fn session(&mut self, id: SessionId, timeout: i32) {
        Loader::session(self, id, timeout);
    }
    fn acl(&mut self, id: i64, list: Vec<Acl>) {
        self.define_acl(id, list);
    }
    fn node(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        acl_id: i64,
        stat: StatPersisted,
    ) -> std::result::Result<(), String> {
        Loader::node(self, path, data, acl_id, stat).map_err(|e| e.to_string())
    }
}

/// A tree from a snapshot.
#[derive(Debug)]
pub struct LoadedSnapshot {
    /// The tree, as of the zxid in the file's name.
    pub tree: Tree,
    /// The file.
    pub path: PathBuf,
    /// Newer files that could not be read, each with the reason.
    pub skipped: Vec<(PathBuf, StorageError)>,
    /// The highest zxid that a file which looks complete has in its name. What
    /// is recovered must reach it, or transactions are lost.
    pub floor: Zxid,
}

/// The snapshots of a version-2 directory that look complete, newest first.
pub fn find_snapshots(dir: &Path) -> Result<Vec<(Zxid, PathBuf)>> {
    let mut files = names::list(dir, names::SNAPSHOT)?;
    files.reverse();
    let mut out = Vec::new();
    for (zxid, path) in files {
        if reader::looks_complete(&path)? {
            out.push((zxid, path));
        }
    }
    Ok(out)
}

/// Loads the newest snapshot that can be read. `None`: there is none.
/// ref: FileSnap.deserialize.
pub fn load_newest(
    dir: &Path,
    options: TreeOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Option<LoadedSnapshot>> {
    let mut skipped = Vec::new();
    let candidates = find_snapshots(dir)?;
    let Some((floor, _)) = candidates.first().cloned() else { return Ok(None) };
    let tried = candidates.len().min(CANDIDATES);
    for (_, path) in candidates.into_iter().take(CANDIDATES) {
        match load(&path, options, progress) {
            Ok(tree) => return Ok(Some(LoadedSnapshot { tree, path, skipped, floor })),
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "snapshot cannot be read, trying an older one");
                skipped.push((path, e));
            }
        }
    }
    let (_, newest) = skipped.swap_remove(0);
    Err(StorageError::NoUsableSnapshot { dir: dir.to_owned(), tried, newest: Box::new(newest) })
}

/// Loads one snapshot. Its digest is compared when the log has been replayed
/// so far (a snapshot of Java's is fuzzy).
pub fn load(path: &Path, options: TreeOptions, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Tree> {
    let mut loader = Tree::load_start(options);
    let end = read_snapshot(path, &mut loader, progress)?;
    let mut tree = loader.finish(end.zxid);
    if let Some(d) = end.digest
        && d.version == zk_proto::txn::TxnDigest::VERSION
    {
        tree.set_pending_digest(d.zxid, d.tree);
    }
    Ok(tree)
}

/// Loads a snapshot that came from elsewhere, whatever zxid is in its name: the one in the file
/// counts, and without it the file is refused. Ephemeral nodes of sessions that are not in it go.
/// ref: ZKDatabase.deserializeSnapshot.
pub fn load_foreign(path: &Path, options: TreeOptions) -> Result<Tree> {
    let mut loader = Tree::load_start(options);
    let end = read_snapshot(path, &mut loader, &mut |_| {})?;
    let Some(zxid) = end.last_zxid else {
        let what = "the last zxid is missing: the server that wrote it had serializeLastProcessedZxid off";
        return Err(StorageError::Snapshot { path: path.to_owned(), offset: 0, what: what.to_owned() });
    };
    let mut tree = loader.finish(zxid);
    crate::recovery::drop_orphans(&mut tree);
    Ok(tree)
}

/// Writes `snapshot.<last zxid>` of a tree into a version-2 directory, durably.
pub fn write_tree(
    tree: &Tree,
    dir: &Path,
    compression: Compression,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    write_with(tree, SnapshotWriter::create(dir, tree.last_zxid(), compression)?, progress)
}

/// Writes the same under another name, of which `path` is the whole.
pub(crate) fn write_tree_to(
    tree: &Tree,
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let zxid = tree.last_zxid();
    // By this name it is removed if it stays unfinished.
    let tmp = path.with_file_name(format!("{}{}.{:x}", names::TMP_PREFIX, names::SNAPSHOT, zxid.0));
    let w = SnapshotWriter::create_as(path.to_owned(), tmp, zxid, Compression::None)?;
    write_with(tree, w, progress)
}

fn write_with(tree: &Tree, mut w: SnapshotWriter, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    let sessions: Vec<_> = tree.sessions().collect();
    w.sessions(&sessions)?;
    let lists: Vec<_> = tree.acl_lists().map(|(id, list)| (id, list.to_vec())).collect();
    w.acls(&lists)?;
    let total = tree.node_count() as u64 - 1;
    let mut open: Vec<Node<'_>> = vec![tree.root()];
    let mut nodes = 0;
    while let Some(node) = open.pop() {
        w.node(&node.path(), node.data(), node.acl_id(), &node.persisted())?;
        open.extend(node.child_nodes());
        nodes += 1;
        if nodes % crate::progress::EVERY == 0 {
            progress(Progress::WritingSnapshot { nodes, total });
        }
    }
    progress(Progress::WritingSnapshot { nodes, total });
    w.finish(tree.options().digest.then(|| tree.digest()))
}
