use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use simd_adler32::Adler32;
use zk_proto::txn::TxnDigest;
use zk_proto::{Acl, SessionId, StatPersisted, Writer, Zxid};

use super::snappy::SnappyWriter;
use super::{Compression, HEADER};
use crate::disk::{self, DiskFile, Sequential};
use crate::error::{Result, StorageError};
use crate::names;

/// Fields gather here before they are summed and written.
const BUFFER: usize = 64 << 10;

/// Writes `snapshot.<zxid>` as a stream: sessions, lists, nodes, end. The file
/// appears under its name when it is complete and durable.
pub struct SnapshotWriter {
    tmp: PathBuf,
    path: PathBuf,
    zxid: Zxid,
    out: Encoder,
    buffer: Vec<u8>,
    adler: Adler32,
}

enum Encoder {
    Plain(BufWriter<Sequential>),
    Gzip(GzEncoder<BufWriter<Sequential>>),
    Snappy(SnappyWriter<BufWriter<Sequential>>),
}

impl SnapshotWriter {
    /// Begins a snapshot of the state after `zxid` in a version-2 directory.
    pub fn create(dir: &Path, zxid: Zxid, compression: Compression) -> Result<SnapshotWriter> {
        let name = format!("{}.{:x}{}", names::SNAPSHOT, zxid.0, compression.extension());
        let tmp = dir.join(format!("{}{name}", names::TMP_PREFIX));
        Self::create_as(dir.join(name), tmp, zxid, compression)
    }

    /// Begins one that gets the name `path` in the end, and has `tmp` before.
    pub(super) fn create_as(
        path: PathBuf,
        tmp: PathBuf,
        zxid: Zxid,
        compression: Compression,
    ) -> Result<SnapshotWriter> {
        if tmp.exists() {
            disk::remove(&tmp)?;
        }
        let file = DiskFile::create_new(&tmp)?
            .ok_or_else(|| StorageError::io("create", &tmp, io::ErrorKind::AlreadyExists.into()))?;
        let file = BufWriter::with_capacity(BUFFER, Sequential { file, offset: 0 });
        let out = match compression {
            Compression::None => Encoder::Plain(file),
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Snappy => Encoder::Snappy(SnappyWriter::new(file).map_err(|e| from_io(&tmp, e))?),
        };
        let buffer = HEADER.to_vec();
        Ok(SnapshotWriter { tmp, path, zxid, out, buffer, adler: Adler32::new() })
    }

    /// First: all open sessions and their time-outs in ms.
    pub fn sessions(&mut self, sessions: &[(SessionId, i32)]) -> Result<()> {
        Writer::new(&mut self.buffer).len(sessions.len());
        for (id, timeout) in sessions {
            let mut w = Writer::new(&mut self.buffer);
            w.long(id.0);
            w.int(*timeout);
            self.drain(BUFFER)?;
        }
        Ok(())
    }

    /// Second: all lists of access rights by id.
    pub fn acls(&mut self, lists: &[(i64, Vec<Acl>)]) -> Result<()> {
        Writer::new(&mut self.buffer).len(lists.len());
        for (id, list) in lists {
            let mut w = Writer::new(&mut self.buffer);
            w.long(*id);
            Acl::write_list(Some(list), &mut w);
            self.drain(BUFFER)?;
        }
        Ok(())
    }

    /// Third: the nodes, the root first and parents before children. The root
    /// is taken under either name.
    pub fn node(&mut self, path: &str, data: Option<&[u8]>, acl_id: i64, stat: &StatPersisted) -> Result<()> {
        let mut w = Writer::new(&mut self.buffer);
        w.str(zk_proto::path::java_name(path));
        w.buffer(data);
        w.long(acl_id);
        stat.write(&mut w);
        self.drain(BUFFER)
    }

    /// Last: seals, the tree's digest at the snapshot's zxid (`None`: no such
    /// section, for members that run with digests off) and the last zxid.
    /// Then the file is synced and gets its name. Returns its path.
    pub fn finish(self, digest: Option<u64>) -> Result<PathBuf> {
        // A tree to which nothing was applied has nothing to compare; Java
        // writes zeros then. (files.md 3)
        let zxid = self.zxid;
        let digest = digest.map(|d| (zxid, if zxid == Zxid::ZERO { 0 } else { d }));
        self.finish_with(digest, Some(zxid))
    }

    pub(super) fn finish_with(
        mut self,
        digest: Option<(Zxid, u64)>,
        last_zxid: Option<Zxid>,
    ) -> Result<PathBuf> {
        Writer::new(&mut self.buffer).str("/");
        self.seal()?;
        if let Some((zxid, digest)) = digest {
            let mut w = Writer::new(&mut self.buffer);
            w.long(zxid.0);
            w.int(TxnDigest::VERSION);
            w.raw(&digest.to_be_bytes());
            self.seal()?;
        }
        if let Some(zxid) = last_zxid {
            Writer::new(&mut self.buffer).long(zxid.0);
            self.seal()?;
        }
        self.drain(0)?;
        let SnapshotWriter { tmp, path, out, .. } = self;
        let done = out.finish().map_err(|e| from_io(&tmp, e))?;
        done.file.sync()?;
        disk::rename(&tmp, &path)?;
        Ok(path)
    }

    fn seal(&mut self) -> Result<()> {
        self.drain(0)?;
        let mut w = Writer::new(&mut self.buffer);
        w.long(i64::from(self.adler.finish()));
        w.str("/");
        self.drain(0)
    }

    fn drain(&mut self, keep: usize) -> Result<()> {
        if self.buffer.len() > keep {
            self.adler.write(&self.buffer);
            self.out.write_all(&self.buffer).map_err(|e| from_io(&self.tmp, e))?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Encoder {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(w) => w.write_all(bytes),
            Encoder::Gzip(w) => w.write_all(bytes),
            Encoder::Snappy(w) => w.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Sequential> {
        let buffered = match self {
            Encoder::Plain(w) => w,
            Encoder::Gzip(w) => w.finish()?,
            Encoder::Snappy(w) => w.finish()?,
        };
        buffered.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The error that [`Sequential`] wrapped, or another one.
fn from_io(path: &Path, e: io::Error) -> StorageError {
    match e.downcast::<StorageError>() {
        Ok(inner) => inner,
        Err(e) => StorageError::io("write to", path, e),
    }
}

/// Removes what an interrupted writer left.
pub(crate) fn remove_leftovers(dir: &Path) -> Result<()> {
    let prefix = format!("{}{}.", names::TMP_PREFIX, names::SNAPSHOT);
    for (name, path) in names::entries(dir)? {
        if name.starts_with(&prefix) && fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()) {
            disk::remove(&path)?;
        }
    }
    Ok(())
}
