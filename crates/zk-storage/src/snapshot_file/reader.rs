use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use flate2::read::GzDecoder;
use simd_adler32::Adler32;
use zk_proto::{Acl, DecodeError, Perms, Reader, SessionId, StatPersisted, Zxid, limits};

use super::snappy::{SnappyReader, is_magic};
use super::{Compression, HEADER, SEAL_END, SnapshotSink};
use crate::disk;
use crate::error::{Result, StorageError};
use crate::names;
use crate::progress::{EVERY, Progress};

/// A path or a name of a scheme is never longer; a length beyond is damage.
const MAX_TEXT: usize = jute::DEFAULT_MAX_LEN;
/// What follows the first seal is less than this.
const MAX_SECTIONS: u64 = 4096;

/// What follows the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// The zxid in the file's name: replay begins behind it.
    pub zxid: Zxid,
    /// The digest section.
    pub digest: Option<SnapshotDigest>,
    /// The last-zxid section.
    pub last_zxid: Option<Zxid>,
}

/// The digest section: a zero zxid means that there is nothing to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotDigest {
    /// After which transaction the tree has the digest.
    pub zxid: Zxid,
    /// How it is computed.
    pub version: i32,
    /// The digest.
    pub tree: u64,
}

/// Java's quick look at whether a snapshot was written to its end.
/// ref: SnapStream.isValidSnapshot.
pub(super) fn looks_complete(path: &Path) -> Result<bool> {
    let fail = |e| StorageError::io("read", path, e);
    let mut file = disk::open_to_read(path)?;
    let len = file.metadata().map_err(fail)?.len();
    if len < 10 {
        return Ok(false);
    }
    let mut head = [0; 8];
    match Compression::of(path) {
        Compression::Gzip => {
            file.read_exact(&mut head).map_err(fail)?;
            Ok(head.starts_with(&[0x1f, 0x8b]))
        }
        Compression::Snappy => {
            file.read_exact(&mut head).map_err(fail)?;
            Ok(is_magic(&head))
        }
        Compression::None => {
            let mut end = [0; 5];
            file.seek(SeekFrom::End(-5)).map_err(fail)?;
            file.read_exact(&mut end).map_err(fail)?;
            Ok(end == SEAL_END)
        }
    }
}

/// Reads a snapshot from its first byte to its last and checks every seal.
///
/// Sections behind the first seal may be missing, as in files of older
/// servers. differs: a file with the last-zxid section alone (written with
/// digests off) is understood; Java's sections are positional, so there it is
/// read only with digests off.
pub fn read_snapshot(
    path: &Path,
    sink: &mut impl SnapshotSink,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<SnapshotEnd> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(zxid) = names::zxid(name, names::SNAPSHOT) else {
        let what = "the name is not snapshot.<zxid>".to_owned();
        return Err(StorageError::Snapshot { path: path.to_owned(), offset: 0, what });
    };
    let file = disk::open_to_read(path)?;
    let mut input = Input::new(file, Compression::of(path));
    let mut nodes = 0;
    match read_parts(&mut input, sink, zxid, &mut |n| {
        nodes = n;
        progress(Progress::ReadingSnapshot { path, nodes: n });
    }) {
        Ok(end) => {
            progress(Progress::ReadingSnapshot { path, nodes });
            Ok(end)
        }
        Err(Trouble::Io(e)) if !is_damage(&e) => Err(StorageError::io("read", path, e)),
        Err(trouble) => {
            let what = match trouble {
                Trouble::Io(e) => e.to_string(),
                Trouble::Bad(what) => what,
            };
            Err(StorageError::Snapshot { path: path.to_owned(), offset: input.offset(), what })
        }
    }
}

/// Whether an error comes from the bytes and not from the disk.
fn is_damage(e: &io::Error) -> bool {
    e.raw_os_error().is_none()
}

enum Trouble {
    Io(io::Error),
    Bad(String),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Trouble::Io(e)
    }
}

impl From<DecodeError> for Trouble {
    fn from(e: DecodeError) -> Self {
        Trouble::Bad(e.to_string())
    }
}

fn bad<T>(what: &str) -> std::result::Result<T, Trouble> {
    Err(Trouble::Bad(what.to_owned()))
}

fn read_parts(
    input: &mut Input,
    sink: &mut impl SnapshotSink,
    zxid: Zxid,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<SnapshotEnd, Trouble> {
    let head: [u8; 16] = input.array()?;
    // As Java: version and dbid are not looked at.
    if head.get(..4) != HEADER.get(..4) {
        return bad("the file does not begin with ZKSN");
    }
    for _ in 0..input.count()? {
        let id = SessionId(input.long()?);
        sink.session(id, input.int()?);
    }
    for _ in 0..input.count()? {
        let id = input.long()?;
        let mut list = Vec::new();
        for _ in 0..input.count()? {
            let perms = Perms(input.int()?);
            let scheme = input.text()?.unwrap_or_default();
            list.push(Acl { perms, scheme, id: input.text()?.unwrap_or_default() });
        }
        sink.acl(id, list);
    }
    let mut nodes = 0;
    loop {
        let Some(path) = input.text()? else { return bad("a node has no path") };
        if path == "/" {
            break;
        }
        let data = input.buffer(limits::MAX_RECORD)?.map(Bytes::from);
        let acl_id = input.long()?;
        let stat: [u8; 60] = input.array()?;
        let stat = StatPersisted::read(&mut Reader::new(&stat))?;
        sink.node(&path, data, acl_id, stat).map_err(Trouble::Bad)?;
        nodes += 1;
        if nodes % EVERY == 0 {
            progress(nodes);
        }
    }
    progress(nodes);
    let sum = input.sum();
    let seal: [u8; 13] = input.array()?;
    check_seal(&seal, sum)?;
    let sum = input.sum();
    let rest = input.rest(MAX_SECTIONS)?;
    let (digest, last_zxid) = sections(&rest, sum)?;
    Ok(SnapshotEnd { zxid, digest, last_zxid })
}

fn check_seal(seal: &[u8], sum: u32) -> std::result::Result<(), Trouble> {
    let mut r = Reader::new(seal);
    let found = r.long()?;
    if found != i64::from(sum) {
        return bad("the checksum does not match");
    }
    if r.rest() != SEAL_END { bad("the seal has no end mark") } else { Ok(()) }
}

type Sections = (Option<SnapshotDigest>, Option<Zxid>);

/// The two sections behind the first seal, each of which may be missing.
fn sections(rest: &[u8], sum: u32) -> std::result::Result<Sections, Trouble> {
    if rest.is_empty() {
        return Ok((None, None));
    }
    let mut r = Reader::new(rest);
    let with_digest = digest_section(&mut r, rest, sum);
    let (digest, mut r) = match with_digest {
        Ok(d) => (Some(d), r),
        // Without digests Java writes the other section alone.
        Err(_) if rest.len() == 21 => (None, Reader::new(rest)),
        Err(e) => return Err(e),
    };
    if r.is_empty() {
        return Ok((digest, None));
    }
    let last = Zxid(r.long()?);
    check_seal(r.rest(), sum_up_to(rest, &r, sum))?;
    Ok((digest, Some(last)))
}

fn digest_section(r: &mut Reader<'_>, rest: &[u8], sum: u32) -> std::result::Result<SnapshotDigest, Trouble> {
    let zxid = Zxid(r.long()?);
    let version = r.int()?;
    // ref: ZxidDigest.deserialize.
    let tree = if version < 2 {
        let hex = r.string()?.unwrap_or_default();
        u64::from_str_radix(&hex, 16).map_err(|_| Trouble::Bad("the digest is no number".to_owned()))?
    } else {
        u64::from_be_bytes(r.long()?.to_be_bytes())
    };
    let sum = sum_up_to(rest, r, sum);
    check_seal(r.take(13)?, sum)?;
    Ok(SnapshotDigest { zxid, version, tree })
}

/// The checksum of the file up to where `r` stands in `rest`.
fn sum_up_to(rest: &[u8], r: &Reader<'_>, sum: u32) -> u32 {
    let mut adler = Adler32::from_checksum(sum);
    adler.write(rest.get(..rest.len() - r.remaining()).unwrap_or_default());
    adler.finish()
}

/// The uncompressed stream, with the checksum of what was taken from it.
struct Input {
    source: Box<dyn Read>,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// Up to here the buffer is in `adler`.
    summed: usize,
    adler: Adler32,
    /// Offset of the buffer in the stream.
    base: u64,
}

impl Input {
    fn new(file: File, compression: Compression) -> Input {
        let file = BufReader::with_capacity(64 << 10, file);
        let source: Box<dyn Read> = match compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(GzDecoder::new(file)),
            Compression::Snappy => Box::new(SnappyReader::new(file)),
        };
        let buffer = vec![0; 256 << 10];
        Input { source, buffer, at: 0, end: 0, summed: 0, adler: Adler32::new(), base: 0 }
    }

    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    fn sum(&mut self) -> u32 {
        self.adler.write(self.buffer.get(self.summed..self.at).unwrap_or_default());
        self.summed = self.at;
        self.adler.finish()
    }

    /// At least one byte in the buffer, or `false` at the end.
    fn refill(&mut self) -> io::Result<bool> {
        if self.at < self.end {
            return Ok(true);
        }
        self.sum();
        self.base += self.at as u64;
        (self.at, self.end, self.summed) = (0, 0, 0);
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(n) => {
                    self.end = n;
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn chunk(&self) -> &[u8] {
        self.buffer.get(self.at..self.end).unwrap_or_default()
    }

    /// The next `n` bytes. Memory grows with what is there.
    fn take(&mut self, mut n: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(n.min(64 << 10));
        while n > 0 {
            if !self.refill()? {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file ends too early"));
            }
            let chunk = self.chunk();
            let part = n.min(chunk.len());
            out.extend_from_slice(chunk.get(..part).unwrap_or_default());
            self.at += part;
            n -= part;
        }
        Ok(out)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        if let Some((head, _)) = self.chunk().split_first_chunk::<N>() {
            let head = *head;
            self.at += N;
            return Ok(head);
        }
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take gives what was asked for"))
    }

    fn int(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> io::Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A count; negative ones are none, as in Java's loops.
    fn count(&mut self) -> io::Result<u32> {
        Ok(u32::try_from(self.int()?).unwrap_or(0))
    }

    fn buffer(&mut self, max: usize) -> std::result::Result<Option<Vec<u8>>, Trouble> {
        let len = self.int()?;
        if len == -1 {
            return Ok(None);
        }
        match usize::try_from(len) {
            Ok(n) if n <= max => Ok(Some(self.take(n)?)),
            _ => Err(DecodeError::Length(len).into()),
        }
    }

    fn text(&mut self) -> std::result::Result<Option<String>, Trouble> {
        let bytes = self.buffer(MAX_TEXT)?;
        Ok(bytes.map(|b| match String::from_utf8(b) {
            Ok(s) => s,
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        }))
    }

    /// All that is left, which must be little.
    fn rest(&mut self, max: u64) -> std::result::Result<Vec<u8>, Trouble> {
        let mut out = Vec::new();
        while self.refill()? {
            out.extend_from_slice(self.chunk());
            self.at = self.end;
            if out.len() as u64 > max {
                return bad("too much follows the first seal");
            }
        }
        Ok(out)
    }
}
