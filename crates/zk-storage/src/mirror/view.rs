use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use crossbeam_channel::{Sender, bounded};
use rocksdb::{DB, DBRawIterator, IteratorMode, ReadOptions, Snapshot};
use zk_proto::{Acl, Reader, SessionId, StatPersisted, Zxid};
use zk_tree::{Tree, TreeOptions, digest_part};

use super::encoding::{self, Data};
use super::{APPLIED_KEY, Applied, Db, FORMAT, FORMAT_KEY, Mirror, Table};
use crate::error::{Result, StorageError};
use crate::progress::{EVERY, Progress};
use crate::snapshot_file::{Compression, SnapshotWriter};

/// Reads the mirror beside its writer, from any thread.
///
/// What it shows is what was written when the view was made, whole batches and
/// no part of one, flushed or not: the state after the transaction that
/// [`MirrorView::zxid`] names, which may be some behind the tree. While
/// [`Mirror::rebuild`] is at work there is nothing to show, and
/// [`view`](Self::view) fails.
#[derive(Clone)]
pub struct MirrorReader {
    db: Arc<Db>,
}

impl std::fmt::Debug for MirrorReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MirrorReader")
    }
}

impl MirrorReader {
    pub(super) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// The state as of now. It stays the same while writes go on.
    pub fn view(&self) -> Result<MirrorView<'_>> {
        MirrorView::new(&self.db)
    }

    /// As long as this is held, no other state takes the place of this one.
    pub(crate) fn generation(&self) -> MutexGuard<'_, u64> {
        self.db.generation()
    }

    /// Another state takes the place of this one.
    pub(crate) fn next_generation(&self, locked: &mut MutexGuard<'_, u64>) {
        self.db.next_generation(locked);
    }
}

/// One state of the mirror, as after one transaction.
pub struct MirrorView<'m> {
    db: &'m Db,
    snapshot: Snapshot<'m>,
    applied: Applied,
    generation: u64,
}

pub(super) fn applied(db: &Db) -> Result<Option<Applied>> {
    let get = |key| db.db.get_cf(db.cf(Table::Meta), key).map_err(|e| db.fail(e));
    read_applied(db, get(FORMAT_KEY)?, get(APPLIED_KEY)?)
}

fn read_applied(db: &Db, format: Option<Vec<u8>>, applied: Option<Vec<u8>>) -> Result<Option<Applied>> {
    let Some(applied) = applied else { return Ok(None) };
    let format = format.and_then(|f| f.try_into().ok()).map(u32::from_be_bytes);
    match format {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => {
            return Err(StorageError::MirrorFormat { path: db.path.clone(), found, known: FORMAT });
        }
        _ => return Err(db.damaged("the format's version is missing")),
    }
    let read = |bytes: &[u8]| -> std::result::Result<Applied, zk_proto::DecodeError> {
        let mut r = Reader::new(bytes);
        let (zxid, known, digest) = (Zxid(r.long()?), r.bool()?, r.long()?);
        Ok(Applied { zxid, digest: known.then_some(digest.cast_unsigned()) })
    };
    read(&applied).map(Some).map_err(|e| db.damaged(format!("applied zxid: {e}")))
}

/// Nodes on their way from the scan to the tree.
#[derive(Default)]
struct Chunk {
    paths: String,
    data: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    path: usize,
    data: Option<usize>,
    acl_id: i64,
    stat: StatPersisted,
    digest: u32,
}

impl<'m> MirrorView<'m> {
    pub(super) fn new(db: &'m Db) -> Result<MirrorView<'m>> {
        let generation = db.current.load(Ordering::Acquire);
        Self::of(db, generation)
    }

    /// For whoever holds the lock of the generation.
    pub(crate) fn of_reader(reader: &'m MirrorReader, generation: u64) -> Result<MirrorView<'m>> {
        Self::of(&reader.db, generation)
    }

    fn of(db: &'m Db, generation: u64) -> Result<MirrorView<'m>> {
        let snapshot = db.db.snapshot();
        let get = |key| snapshot.get_cf(db.cf(Table::Meta), key).map_err(|e| db.fail(e));
        match read_applied(db, get(FORMAT_KEY)?, get(APPLIED_KEY)?)? {
            Some(applied) => Ok(MirrorView { db, snapshot, applied, generation }),
            None => Err(db.damaged("it is empty, or was not filled to its end")),
        }
    }

    /// What it stands at.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The last transaction in it.
    pub fn zxid(&self) -> Zxid {
        self.applied.zxid
    }

    /// The tree's digest.
    pub fn digest(&self) -> Option<u64> {
        self.applied.digest
    }

    /// Open sessions and their time-outs in ms.
    pub fn sessions(&self) -> Result<Vec<(SessionId, i32)>> {
        self.scan(Table::Sessions, |key, value| {
            let (mut key, mut value) = (Reader::new(key), Reader::new(value));
            Ok((SessionId(key.long()?), value.int()?))
        })
    }

    /// Lists of access rights by id.
    pub fn acls(&self) -> Result<Vec<(i64, Vec<Acl>)>> {
        self.scan(Table::Acls, |key, value| {
            let (mut key, mut value) = (Reader::new(key), Reader::new(value));
            Ok((key.long()?, Acl::read_list(&mut value)?.unwrap_or_default()))
        })
    }

    fn scan<T>(
        &self,
        table: Table,
        read: impl Fn(&[u8], &[u8]) -> std::result::Result<T, zk_proto::DecodeError>,
    ) -> Result<Vec<T>> {
        let mut out = Vec::new();
        let rows = self.snapshot.iterator_cf_opt(self.db.cf(table), scan_options(), IteratorMode::Start);
        for row in rows {
            let (key, value) = row.map_err(|e| self.db.fail(e))?;
            out.push(read(&key, &value).map_err(|e| self.db.damaged(format!("{}: {e}", table.name())))?);
        }
        Ok(out)
    }

    /// All nodes, parents before their children; the root's path is `/`. An
    /// error of `each` ends it.
    pub fn for_each_node<E: From<StorageError>>(
        &self,
        mut each: impl FnMut(&str, Option<&[u8]>, i64, &StatPersisted) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut it = self.snapshot.raw_iterator_cf_opt(self.db.cf(Table::Nodes), scan_options());
        it.seek_to_first();
        while let Some((key, value)) = it.item() {
            let (path, stat, acl_id, data) = self.row(key, value)?;
            match data {
                Data::Null => each(path, None, acl_id, &stat)?,
                Data::Inline(d) => each(path, Some(d), acl_id, &stat)?,
                Data::External => each(path, Some(&self.external(key)?), acl_id, &stat)?,
            }
            it.next();
        }
        Ok(self.end(&it)?)
    }

    fn end(&self, it: &DBRawIterator<'_>) -> Result<()> {
        it.status().map_err(|e| self.db.fail(e))
    }

    fn row<'a>(&self, key: &'a [u8], value: &'a [u8]) -> Result<(&'a str, StatPersisted, i64, Data<'a>)> {
        let path = str::from_utf8(key).map_err(|_| self.db.damaged("a path is no text"))?;
        let (stat, acl_id, data) =
            encoding::decode(value).ok_or_else(|| self.db.damaged(format!("{path} cannot be decoded")))?;
        Ok((path, stat, acl_id, data))
    }

    fn external(&self, key: &[u8]) -> Result<Vec<u8>> {
        let found = self.snapshot.get_cf(self.db.cf(Table::Data), key).map_err(|e| self.db.fail(e))?;
        found.ok_or_else(|| self.db.damaged(format!("{} has lost its data", String::from_utf8_lossy(key))))
    }

    /// Reads it all into a tree, and checks the tree against the digest. One
    /// thread scans and decodes while this one builds.
    pub fn load(&self, options: TreeOptions, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Tree> {
        let mut loader = Tree::load_start(options);
        for (id, list) in self.acls()? {
            loader.define_acl(id, list);
        }
        for (id, timeout) in self.sessions()? {
            loader.session(id, timeout);
        }
        let mut nodes = 0;
        let expected = self.db.estimate(Table::Nodes);
        std::thread::scope(|scope| {
            // A chunk is about 75 KB: a handful keeps both sides busy.
            let (send, receive) = bounded::<Result<Chunk>>(8);
            scope.spawn(move || {
                if let Err(e) = self.send_chunks(&send, options.digest) {
                    let _ = send.send(Err(e));
                }
            });
            for chunk in receive {
                chunk?.each(|path, data, row| {
                    nodes += 1;
                    if nodes == 2 {
                        loader.reserve(expected);
                    }
                    if nodes % EVERY == 0 {
                        progress(Progress::ReadingMirror { nodes });
                    }
                    loader
                        .ascending(path, data, row.acl_id, &row.stat, row.digest)
                        .map_err(|e| self.db.damaged(e.to_string()))
                })?;
            }
            Ok(())
        })?;
        progress(Progress::ReadingMirror { nodes });
        if nodes == 0 {
            return Err(self.db.damaged("it has no nodes"));
        }
        let tree = loader.finish(self.applied.zxid);
        match self.applied.digest {
            Some(stored) if options.digest && stored != tree.digest() => Err(self
                .db
                .damaged(format!("its content has digest {:#x}, written was {stored:#x}", tree.digest()))),
            _ => Ok(tree),
        }
    }

    fn send_chunks(&self, send: &Sender<Result<Chunk>>, digests: bool) -> Result<()> {
        let mut chunk = Chunk::default();
        let mut it = self.snapshot.raw_iterator_cf_opt(self.db.cf(Table::Nodes), scan_options());
        it.seek_to_first();
        while let Some((key, value)) = it.item() {
            let (path, stat, acl_id, data) = self.row(key, value)?;
            let external;
            let data = match data {
                Data::Null => None,
                Data::Inline(d) => Some(d),
                Data::External => {
                    external = self.external(key)?;
                    Some(&external[..])
                }
            };
            let digest = if digests { digest_part(path, data, &stat) } else { 0 };
            chunk.push(path, data, (stat, acl_id), digest);
            // The other side has gone: it has an error of its own.
            if (chunk.rows.len() >= 256 || chunk.data.len() >= 1 << 20)
                && send.send(Ok(std::mem::take(&mut chunk))).is_err()
            {
                return Ok(());
            }
            it.next();
        }
        self.end(&it)?;
        let _ = send.send(Ok(chunk));
        Ok(())
    }

    /// Streams it into a Java snapshot, `snapshot.<zxid>`, in a version-2
    /// directory. Refused when another state has taken the place of this one
    /// ([`install`](crate::install())): the file would bring back the old one.
    pub fn write_snapshot(
        &self,
        dir: &Path,
        compression: Compression,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let generation = self.db.generation();
        if *generation != self.generation {
            return Err(StorageError::Superseded { zxid: self.zxid() });
        }
        self.write_snapshot_locked(dir, compression, progress)
    }

    /// For whoever holds the lock of the generation.
    pub(crate) fn write_snapshot_locked(
        &self,
        dir: &Path,
        compression: Compression,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let mut w = SnapshotWriter::create(dir, self.applied.zxid, compression)?;
        w.sessions(&self.sessions()?)?;
        w.acls(&self.acls()?)?;
        let mut nodes = 0;
        self.for_each_node(|path, data, acl_id, stat| {
            nodes += 1;
            if nodes % EVERY == 0 {
                progress(Progress::WritingSnapshot { nodes, total: 0 });
            }
            w.node(path, data, acl_id, stat)
        })?;
        progress(Progress::WritingSnapshot { nodes, total: nodes });
        w.finish(self.applied.digest)
    }
}

impl Chunk {
    fn push(&mut self, path: &str, data: Option<&[u8]>, (stat, acl_id): (StatPersisted, i64), digest: u32) {
        self.paths.push_str(path);
        self.data.extend_from_slice(data.unwrap_or_default());
        let data = data.map(<[u8]>::len);
        self.rows.push(Row { path: path.len(), data, acl_id, stat, digest });
    }

    fn each<E>(
        &self,
        mut each: impl FnMut(&str, Option<&[u8]>, &Row) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (mut paths, mut bytes) = (&self.paths[..], &self.data[..]);
        for row in &self.rows {
            let (path, more_paths) = paths.split_at(row.path);
            let (data, more_bytes) = bytes.split_at(row.data.unwrap_or(0));
            each(path, row.data.map(|_| data), row)?;
            (paths, bytes) = (more_paths, more_bytes);
        }
        Ok(())
    }
}

impl Mirror {
    /// Reads the mirror into a tree, and checks the tree against the digest
    /// that was written with it. An error tells that it must be rebuilt.
    pub fn load(&mut self, options: TreeOptions, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Tree> {
        let db = self.db.clone();
        let view = MirrorView::new(&db)?;
        let tree = view.load(options, progress)?;
        self.digests = options.digest;
        self.large.clear();
        // The values are not needed, only their keys.
        let mut it: DBRawIterator<'_> = <DB>::raw_iterator_cf_opt(&db.db, db.cf(Table::Data), scan_options());
        it.seek_to_first();
        while let Some(key) = it.key() {
            let version = str::from_utf8(key)
                .ok()
                .filter(|p| !p.starts_with("/zookeeper/"))
                .and_then(|p| tree.get(p))
                .map_or(-1, |n| n.persisted().mzxid);
            self.large.insert(std::hash::BuildHasher::hash_one(&self.hasher, key), version);
            it.next();
        }
        it.status().map_err(|e| db.fail(e))?;
        Ok(tree)
    }
}

fn scan_options() -> ReadOptions {
    let mut o = ReadOptions::default();
    o.fill_cache(false);
    o.set_readahead_size(1 << 20);
    o.set_verify_checksums(true);
    o
}
