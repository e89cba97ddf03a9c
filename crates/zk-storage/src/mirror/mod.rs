//! The tree on disk: RocksDB, written behind the log.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `nodes` | path | numbers, ACL id, data up to 1 KiB (see `encoding`) |
//! | `data` | path | data above that |
//! | `acls` | id, 8 bytes big-endian | list of ACLs as on the wire |
//! | `sessions` | id, 8 bytes big-endian | time-out in ms, 4 bytes big-endian |
//! | `meta` | `format`, `applied` | version; zxid and digest of the state |
//!
//! RocksDB's own log is off: ZooKeeper's log is the truth. So all column
//! families are flushed together (`atomic_flush`), and `applied` is in the same
//! write as the state that it describes. After a crash the mirror is at some
//! earlier transaction, and the log is replayed from there.
//!
//! Only committed transactions come here; nothing has ever to be undone. A
//! member whose log may end with others holds them back (`recovery`).

mod batch;
mod encoding;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, LogLevel, Options, WriteBatch,
    WriteOptions,
};
use zk_proto::Zxid;
use zk_tree::{Node, Touched, Tree};

pub use batch::MirrorBatch;
pub use view::{MirrorReader, MirrorView};

use crate::error::{Result, StorageError};
use crate::progress::{EVERY, Progress};
use batch::{Change, merged};

/// Version of keys and values.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";
const APPLIED_KEY: &[u8] = b"applied";
/// How often a mirror that its server changes is opened to read.
const OPEN_TRIES: u32 = 10;
/// One write of a rebuild.
const REBUILD_BATCH: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Table {
    Nodes,
    Data,
    Acls,
    Sessions,
    Meta,
}

impl Table {
    const ALL: [Table; 5] = [Table::Nodes, Table::Data, Table::Acls, Table::Sessions, Table::Meta];

    fn name(self) -> &'static str {
        match self {
            Table::Nodes => "nodes",
            Table::Data => "data",
            Table::Acls => "acls",
            Table::Sessions => "sessions",
            Table::Meta => "meta",
        }
    }
}

/// How the mirror is kept.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// Memory for blocks that are read. The tree is read once, at start.
    pub block_cache: usize,
    /// [`Mirror::maybe_flush`] flushes when this many bytes were written since.
    /// It bounds memory, and the part of the log that a start replays.
    pub flush_bytes: usize,
    /// [`Mirror::maybe_flush`] flushes what is this old.
    pub flush_age: Duration,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self { block_cache: 4 << 20, flush_bytes: 8 << 20, flush_age: Duration::from_secs(30) }
    }
}

/// What the mirror stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The last transaction in it.
    pub zxid: Zxid,
    /// The tree's digest after it; `None` if digests were off.
    pub digest: Option<u64>,
}

/// The mirror. One owner writes; [`MirrorReader`]s read beside it.
pub struct Mirror {
    db: Arc<Db>,
    options: MirrorOptions,
    applied: Option<Applied>,
    durable: Option<Zxid>,
    dirty_bytes: usize,
    dirty_since: Option<Instant>,
    /// Keys with data of their own and the mzxid that the data came with: by
    /// it a change of numbers alone is told, and a value that is to be deleted.
    large: HashMap<u64, i64>,
    hasher: RandomState,
    digests: bool,
}

struct Db {
    db: DB,
    path: PathBuf,
    /// How often another state took the place of this one. Locked while one
    /// does, and while a state becomes a file.
    generation: Mutex<u64>,
    /// The same for who only reads, and must not wait while a state becomes a file.
    current: AtomicU64,
    /// Released after the database is closed: fields go in order.
    locks: Mutex<Vec<DirLock>>,
}

/// Keeps other processes out of a directory for as long as it lives.
#[derive(Debug)]
pub(crate) struct DirLock(#[expect(dead_code)] Flock<File>);

impl DirLock {
    /// Locks a version-2 directory.
    pub(crate) fn take(dir: &Path) -> Result<DirLock> {
        let path = dir.join("zkd.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("open", &path, e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(DirLock(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StorageError::Locked { path }),
            Err((_, e)) => Err(StorageError::io("lock", &path, e.into())),
        }
    }
}

impl Db {
    fn new(db: DB, path: PathBuf, locks: Vec<DirLock>) -> Db {
        let (generation, current) = (Mutex::new(0), AtomicU64::new(0));
        Db { db, path, generation, current, locks: Mutex::new(locks) }
    }

    fn into_lock(self) -> Option<DirLock> {
        drop(self.db);
        self.locks.into_inner().expect("nobody panics with it").pop()
    }

    fn generation(&self) -> MutexGuard<'_, u64> {
        self.generation.lock().expect("nobody panics with it")
    }

    /// Another state takes the place of this one.
    fn next_generation(&self, locked: &mut MutexGuard<'_, u64>) {
        **locked += 1;
        self.current.store(**locked, Ordering::Release);
    }

    fn fail(&self, source: rocksdb::Error) -> StorageError {
        StorageError::Mirror { path: self.path.clone(), source }
    }

    fn damaged(&self, what: impl Into<String>) -> StorageError {
        StorageError::MirrorDamaged { path: self.path.clone(), what: what.into() }
    }

    /// About how many keys a table has: RocksDB counts a key again for each file it is in, and
    /// looks at twenty files.
    fn estimate(&self, table: Table) -> usize {
        let name = rocksdb::properties::ESTIMATE_NUM_KEYS;
        let found = self.db.property_int_value_cf(self.cf(table), name).ok().flatten();
        found.and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    fn cf(&self, table: Table) -> &ColumnFamily {
        self.db.cf_handle(table.name()).expect("all column families are opened")
    }
}

impl Mirror {
    /// The mirror's directory in a version-2 directory.
    pub fn dir(version_dir: &Path) -> PathBuf {
        version_dir.join("mirror")
    }

    /// Opens the mirror of a version-2 directory, or makes an empty one. The
    /// directory is locked for as long as the mirror or a reader lives.
    pub fn open(version_dir: &Path, options: MirrorOptions) -> Result<Mirror> {
        Self::open_locked(version_dir, options, DirLock::take(version_dir)?)
    }

    pub(crate) fn open_locked(version_dir: &Path, options: MirrorOptions, lock: DirLock) -> Result<Mirror> {
        Self::open_or_return(version_dir, options, lock).map_err(|(e, _)| e)
    }

    /// Opens the mirror of a version-2 directory to read what of it is on the disk: the state of
    /// the last flush. It changes nothing and takes no lock, so a server may be at work on it.
    pub fn open_to_read(version_dir: &Path) -> Result<MirrorReader> {
        let path = Self::dir(version_dir);
        let options = MirrorOptions::default();
        let mut tries = 0;
        loop {
            let cache = Cache::new_lru_cache(options.block_cache);
            let families = Table::ALL.map(|t| {
                ColumnFamilyDescriptor::new(t.name(), family_options(t, &cache, options.flush_bytes))
            });
            let mut database = database_options(options.flush_bytes);
            database.create_if_missing(false);
            database.create_missing_column_families(false);
            // All files are opened now: a compaction may remove their names later.
            database.set_max_open_files(-1);
            match DB::open_cf_descriptors_read_only(&database, &path, families, false) {
                Ok(db) => return Ok(MirrorReader::new(Arc::new(Db::new(db, path, Vec::new())))),
                // A compaction took a file away between the list of files and their opening.
                Err(_) if tries < OPEN_TRIES && exists(version_dir) => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(source) => return Err(StorageError::Mirror { path, source }),
            }
        }
    }

    /// Gives the lock back when the mirror cannot be opened.
    pub(crate) fn open_or_return(
        version_dir: &Path,
        options: MirrorOptions,
        lock: DirLock,
    ) -> std::result::Result<Mirror, (StorageError, Option<DirLock>)> {
        let path = Self::dir(version_dir);
        if let Err(e) = fs::create_dir_all(&path) {
            return Err((StorageError::io("create", &path, e), Some(lock)));
        }
        let cache = Cache::new_lru_cache(options.block_cache);
        let families = Table::ALL
            .map(|t| ColumnFamilyDescriptor::new(t.name(), family_options(t, &cache, options.flush_bytes)));
        let db = match DB::open_cf_descriptors(&database_options(options.flush_bytes), &path, families) {
            Ok(db) => db,
            Err(source) => return Err((StorageError::Mirror { path, source }, Some(lock))),
        };
        let db = Db::new(db, path, vec![lock]);
        let applied = match view::applied(&db) {
            Ok(a) => a,
            Err(e) => return Err((e, db.into_lock())),
        };
        Ok(Mirror {
            db: Arc::new(db),
            options,
            applied,
            durable: applied.map(|a| a.zxid),
            dirty_bytes: 0,
            dirty_since: None,
            large: HashMap::new(),
            hasher: RandomState::new(),
            digests: true,
        })
    }

    /// Closes it and gives the directory's lock back, unless a reader lives.
    pub(crate) fn close(self) -> Option<DirLock> {
        Arc::try_unwrap(self.db).ok()?.into_lock()
    }

    /// Keeps another directory locked as long as this one.
    pub(crate) fn also_lock(&self, lock: Option<DirLock>) {
        self.db.locks.lock().expect("nobody panics with it").extend(lock);
    }

    /// What it stands at. `None`: it is empty, or a rebuild did not finish.
    pub fn applied(&self) -> Option<Applied> {
        self.applied
    }

    /// The transaction up to which it would survive a crash, at least.
    pub fn durable_zxid(&self) -> Option<Zxid> {
        self.durable
    }

    /// A handle for other threads, which streams states while this one writes.
    pub fn reader(&self) -> MirrorReader {
        MirrorReader::new(self.db.clone())
    }

    /// The state as of now.
    pub fn view(&self) -> Result<MirrorView<'_>> {
        MirrorView::new(&self.db)
    }

    /// The batch for [`write`](Self::write): what `touched` lists, as it is in
    /// the tree now. To be called at the end of a commit slice, under the lock.
    pub fn encode_batch(tree: &Tree, touched: &Touched) -> MirrorBatch {
        MirrorBatch::encode(tree, touched)
    }

    /// Writes batches, oldest first, as one. What several of them change is
    /// written once. Not durable before [`flush`](Self::flush).
    pub fn write(&mut self, batches: &[MirrorBatch]) -> Result<()> {
        let Some(last) = batches.last() else { return Ok(()) };
        let mut out = WriteBatch::default();
        self.put_changes(&mut out, batches);
        let applied = Applied { zxid: last.zxid, digest: self.digests.then_some(last.digest) };
        self.put_applied(&mut out, applied);
        self.commit(out)?;
        self.applied = Some(applied);
        Ok(())
    }

    fn put_changes(&mut self, out: &mut WriteBatch, batches: &[MirrorBatch]) {
        let (db, large, hasher) = (&self.db, &mut self.large, &self.hasher);
        let (nodes, data) = (db.cf(Table::Nodes), db.cf(Table::Data));
        merged(batches, |table, key, change| match (table, change) {
            (Table::Nodes, Change::Put(value)) => {
                out.put_cf(nodes, key, value);
                let external = matches!(encoding::decode(value), Some((_, _, encoding::Data::External)));
                if !external && large.remove(&hasher.hash_one(key)).is_some() {
                    out.delete_cf(data, key);
                }
            }
            (Table::Nodes, _) => {
                out.delete_cf(nodes, key);
                if large.remove(&hasher.hash_one(key)).is_some() {
                    out.delete_cf(data, key);
                }
            }
            (Table::Data, Change::Large(value, version)) => {
                let known = large.insert(hasher.hash_one(key), version);
                if version == -1 || known != Some(version) {
                    out.put_cf(data, key, value);
                }
            }
            (_, Change::Put(value)) => out.put_cf(db.cf(table), key, value),
            (_, Change::Delete | Change::Large(..)) => out.delete_cf(db.cf(table), key),
        });
    }

    fn put_applied(&self, out: &mut WriteBatch, applied: Applied) {
        let mut value = applied.zxid.0.to_be_bytes().to_vec();
        value.push(u8::from(applied.digest.is_some()));
        value.extend_from_slice(&applied.digest.unwrap_or(0).to_be_bytes());
        out.put_cf(self.db.cf(Table::Meta), APPLIED_KEY, value);
    }

    fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.dirty_bytes += batch.size_in_bytes();
        self.db.db.write_opt(batch, &options).map_err(|e| self.db.fail(e))?;
        self.dirty_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Makes everything written durable.
    pub fn flush(&mut self) -> Result<()> {
        if self.dirty_since.is_some() {
            let mut options = rocksdb::FlushOptions::default();
            options.set_wait(true);
            let families = Table::ALL.map(|t| self.db.cf(t));
            self.db.db.flush_cfs_opt(&families, &options).map_err(|e| self.db.fail(e))?;
            self.dirty_since = None;
            self.dirty_bytes = 0;
        }
        self.durable = self.applied.map(|a| a.zxid);
        Ok(())
    }

    /// Flushes if enough was written, or long enough ago; if nothing more comes half of that is enough. For the
    /// mirror's thread, after each write and about once a second.
    pub fn maybe_flush(&mut self, quiet: bool) -> Result<bool> {
        let Some(since) = self.dirty_since else { return Ok(false) };
        let enough = self.options.flush_bytes / if quiet { 2 } else { 1 };
        let due = self.dirty_bytes >= enough || since.elapsed() >= self.options.flush_age;
        if due {
            self.flush()?;
        }
        Ok(due)
    }

    /// Whether RocksDB works by itself: it puts files together after a flush.
    pub fn is_busy(&self) -> bool {
        ["rocksdb.num-running-compactions", "rocksdb.compaction-pending"]
            .iter()
            .any(|name| matches!(self.db.db.property_int_value(*name), Ok(Some(1..))))
    }

    /// Replaces everything by a tree, as after reading a Java snapshot. A crash
    /// in between leaves a mirror that says that it is empty.
    pub fn rebuild(&mut self, tree: &Tree, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        // A new database needs no flush before the one at the end.
        if self.db.db.latest_sequence_number() > 0 {
            self.clear()?;
        }
        let total = tree.node_count() as u64 - 1;
        let mut batch = MirrorBatch::default();
        for (id, list) in tree.acl_lists() {
            batch.put_acl(id, list);
        }
        for (id, timeout) in tree.sessions() {
            batch.put_session(id.0, timeout);
        }
        let mut open: Vec<Node<'_>> = vec![tree.root()];
        let mut nodes = 0;
        while let Some(node) = open.pop() {
            batch.put_node(&node.path(), node);
            open.extend(node.child_nodes());
            nodes += 1;
            if batch.bytes() >= REBUILD_BATCH {
                let mut out = WriteBatch::default();
                self.put_changes(&mut out, std::slice::from_ref(&batch));
                self.commit(out)?;
                batch = MirrorBatch::default();
            }
            if nodes % EVERY == 0 {
                progress(Progress::WritingMirror { nodes, total });
            }
        }
        progress(Progress::WritingMirror { nodes, total });
        self.digests = tree.options().digest;
        batch.zxid = tree.last_zxid();
        batch.digest = tree.digest();
        let mut out = WriteBatch::default();
        out.put_cf(self.db.cf(Table::Meta), FORMAT_KEY, FORMAT.to_be_bytes());
        self.commit(out)?;
        self.write(&[batch])?;
        self.flush()
    }

    /// Removes everything, the mark of what it stands at first and durably.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.applied = None;
        self.durable = None;
        self.large.clear();
        for table in [Table::Meta, Table::Nodes, Table::Data, Table::Acls, Table::Sessions] {
            let mut out = WriteBatch::default();
            // Every key of ours is smaller.
            out.delete_range_cf(self.db.cf(table), &[][..], &[0xff; 16][..]);
            self.commit(out)?;
            if table == Table::Meta {
                self.flush()?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("path", &self.db.path).field("applied", &self.applied).finish()
    }
}

/// Whether a version-2 directory has a mirror, usable or not.
pub(crate) fn exists(version_dir: &Path) -> bool {
    Mirror::dir(version_dir).join("CURRENT").exists()
}

/// Removes the files of a mirror that cannot be opened or trusted.
pub(crate) fn wipe(version_dir: &Path) -> Result<()> {
    let path = Mirror::dir(version_dir);
    match fs::remove_dir_all(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StorageError::io("remove", &path, e)),
        _ => Ok(()),
    }
}

fn database_options(write_buffer: usize) -> Options {
    let mut o = Options::default();
    o.create_if_missing(true);
    o.create_missing_column_families(true);
    o.set_atomic_flush(true);
    o.set_paranoid_checks(true);
    o.set_max_open_files(256);
    o.set_max_background_jobs(2);
    o.set_max_file_opening_threads(1);
    o.set_db_write_buffer_size(write_buffer);
    o.set_max_manifest_file_size(4 << 20);
    o.set_keep_log_file_num(2);
    o.set_max_log_file_size(1 << 20);
    o.set_log_level(LogLevel::Warn);
    o.set_stats_dump_period_sec(0);
    o.set_stats_persist_period_sec(0);
    // Flushes and compactions go to the disk as they are written, and not all at once at the end of a file:
    // the log's fdatasync would wait behind that.
    o.set_bytes_per_sync(1 << 20);
    o
}

fn family_options(table: Table, cache: &Cache, write_buffer: usize) -> Options {
    let mut block = BlockBasedOptions::default();
    block.set_block_cache(cache);
    // Blocks are read one after the other, at the start and when a state is streamed, and RocksDB
    // has the first key of each in memory.
    block.set_block_size(64 << 10);
    block.set_format_version(5);
    block.set_checksum_type(rocksdb::ChecksumType::XXH3);
    let mut o = Options::default();
    o.set_block_based_table_factory(&block);
    o.set_write_buffer_size(match table {
        Table::Nodes | Table::Data => write_buffer,
        Table::Acls | Table::Sessions | Table::Meta => write_buffer / 4,
    });
    o.set_max_write_buffer_number(2);
    // As many bytes as with RocksDB's four files of twice the size.
    o.set_level_zero_file_num_compaction_trigger(8);
    // Memory of a write buffer comes in pieces of this size; most stay empty.
    o.set_arena_block_size(64 << 10);
    o.set_compression_type(rocksdb::DBCompressionType::None);
    o
}
