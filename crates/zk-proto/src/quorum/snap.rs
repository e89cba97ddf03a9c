//! The tree behind a SNAP packet: a snapshot without the file's header, seals
//! and digest, and nothing that says how long it is. Only reading it finds its
//! end; the next packet follows at once. ref: ZKDatabase.serializeSnapshot,
//! LearnerHandler.run, Learner.syncWithLeader.

use bytes::{BufMut, Bytes, BytesMut};
use jute::{DecodeError, Reader, Writer};

use super::{QuorumError, cut, too_long};
use crate::{Acl, SessionId, StatPersisted, limits};

/// Stands behind the tree. ref: LearnerHandler.run, "BenWasHere".
pub const SIGNATURE: &str = "BenWasHere";

/// One piece of the stream; the pieces come in the order of the variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapItem {
    /// How many sessions follow.
    Sessions(usize),
    /// A session.
    Session {
        /// Its id.
        id: SessionId,
        /// Its time-out in ms.
        timeout: i32,
    },
    /// How many access control lists follow.
    Acls(usize),
    /// An access control list.
    Acl {
        /// Its number, which nodes refer to.
        id: i64,
        /// The list.
        list: Vec<Acl>,
    },
    /// A node; a parent comes before its children, the root first.
    Node {
        /// Its path; empty for the root.
        path: String,
        /// Its data.
        data: Option<Bytes>,
        /// Number of its access control list; -1: open to everybody.
        acl: i64,
        /// Its numbers.
        stat: StatPersisted,
    },
    /// The end mark and the signature.
    End,
}

impl SnapItem {
    /// Writes the piece.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        match self {
            Self::Sessions(n) | Self::Acls(n) => w.len(*n),
            Self::Session { id, timeout } => {
                w.long(id.0);
                w.int(*timeout);
            }
            Self::Acl { id, list } => {
                w.long(*id);
                Acl::write_list(Some(list), &mut w);
            }
            Self::Node { path, data, acl, stat } => encode_node(path, data.as_deref(), *acl, stat, out),
            Self::End => {
                w.str("/");
                w.str(SIGNATURE);
            }
        }
    }
}

/// Writes a [`SnapItem::Node`] of borrowed parts.
pub fn encode_node<B: BufMut>(path: &str, data: Option<&[u8]>, acl: i64, stat: &StatPersisted, out: &mut B) {
    let mut w = Writer::new(out);
    w.str(path);
    w.buffer(data);
    w.long(acl);
    stat.write(&mut w);
}

/// Which piece comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Sessions,
    Session { left: usize },
    Acl { left: usize },
    Node,
    Nothing,
}

/// Takes a snapshot from a stream, piece by piece.
#[derive(Debug, Clone)]
pub struct SnapReader {
    next: Next,
    max_len: usize,
}

impl SnapReader {
    /// Before the first byte. `max_len`: longest buffer or string, as for packets.
    pub fn new(max_len: usize) -> Self {
        Self { next: Next::Sessions, max_len }
    }

    /// Whether the end was taken: what follows in the stream are packets again.
    pub fn is_done(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Takes the next piece from the front of `buf`. `None`: it is not complete
    /// yet, or the end was taken before. After an error the stream is of no use.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<SnapItem>, QuorumError> {
        let next = self.next;
        if next == Next::Nothing {
            return Ok(None);
        }
        let have = buf.len();
        let Some(bytes) = cut(buf, self.max_len, |r| skip(next, r))? else {
            // An access control list is the only piece without a limit of its own.
            return if have > limits::MAX_RECORD { Err(too_long(have).into()) } else { Ok(None) };
        };
        let mut r = Reader::with_max_len(&bytes, self.max_len);
        let (item, next) = match next {
            Next::Sessions => {
                let left = count(&mut r)?;
                (SnapItem::Sessions(left), Next::Session { left })
            }
            Next::Session { left: 0 } => {
                let left = count(&mut r)?;
                (SnapItem::Acls(left), Next::Acl { left })
            }
            Next::Session { left } => {
                let item = SnapItem::Session { id: SessionId(r.long()?), timeout: r.int()? };
                (item, Next::Session { left: left - 1 })
            }
            Next::Acl { left: left @ 1.. } => {
                let item = SnapItem::Acl {
                    id: r.long()?,
                    list: Acl::read_list(&mut r)?.ok_or(DecodeError::NullList)?,
                };
                (item, Next::Acl { left: left - 1 })
            }
            Next::Acl { left: 0 } | Next::Node | Next::Nothing => match r.str()?.into_owned() {
                path if path == "/" => {
                    if r.buffer()? != Some(SIGNATURE.as_bytes()) {
                        return Err(QuorumError::Signature);
                    }
                    (SnapItem::End, Next::Nothing)
                }
                path => {
                    let data = r.buffer()?.map(|d| bytes.slice_ref(d));
                    let (acl, stat) = (r.long()?, StatPersisted::read(&mut r)?);
                    (SnapItem::Node { path, data, acl, stat }, Next::Node)
                }
            },
        };
        self.next = next;
        Ok(Some(item))
    }
}

/// A number of pieces; Java takes a negative one for none.
fn count(r: &mut Reader<'_>) -> Result<usize, DecodeError> {
    Ok(usize::try_from(r.int()?).unwrap_or(0))
}

/// Passes over a piece without taking memory for it.
fn skip(next: Next, r: &mut Reader<'_>) -> Result<(), DecodeError> {
    match next {
        Next::Sessions | Next::Session { left: 0 } => r.take(4).map(|_| ()),
        Next::Session { .. } => r.take(12).map(|_| ()),
        Next::Acl { left: 1.. } => {
            r.take(8)?;
            for _ in 0..r.count()?.unwrap_or(0) {
                r.take(4)?;
                r.buffer()?;
                r.buffer()?;
            }
            Ok(())
        }
        Next::Acl { left: 0 } | Next::Node | Next::Nothing => match r.buffer()? {
            Some(b"/") => r.buffer().map(|_| ()),
            _ => {
                r.buffer()?;
                r.take(8 + 60).map(|_| ())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8]) -> Result<(Vec<SnapItem>, usize), QuorumError> {
        let mut buf = BytesMut::from(bytes);
        let mut reader = SnapReader::new(jute::DEFAULT_MAX_LEN);
        let mut out = Vec::new();
        while let Some(item) = reader.next(&mut buf)? {
            out.push(item);
        }
        assert_eq!(reader.is_done(), out.last() == Some(&SnapItem::End));
        Ok((out, buf.len()))
    }

    fn small() -> Vec<SnapItem> {
        let stat = StatPersisted { pzxid: 5, ..StatPersisted::default() };
        vec![
            SnapItem::Sessions(1),
            SnapItem::Session { id: SessionId(7), timeout: 6000 },
            SnapItem::Acls(1),
            SnapItem::Acl { id: 1, list: Acl::open() },
            SnapItem::Node { path: String::new(), data: None, acl: -1, stat },
            SnapItem::Node { path: "/a".to_owned(), data: Some(Bytes::from_static(b"x")), acl: 1, stat },
            SnapItem::End,
        ]
    }

    #[test]
    fn the_end_is_found() {
        let mut bytes = Vec::new();
        small().iter().for_each(|i| i.encode(&mut bytes));
        bytes.extend([0, 0, 0, 10, 0]);
        assert_eq!(items(&bytes), Ok((small(), 5)));
        for cut in 0..bytes.len() - 5 {
            let (found, _) = items(&bytes[..cut]).unwrap();
            assert!(found.len() < small().len() && small().starts_with(&found), "{cut}");
        }
    }

    #[test]
    fn an_empty_one() {
        let mut bytes = vec![255, 255, 255, 255, 0, 0, 0, 0];
        SnapItem::End.encode(&mut bytes);
        assert_eq!(items(&bytes), Ok((vec![SnapItem::Sessions(0), SnapItem::Acls(0), SnapItem::End], 0)));
    }

    #[test]
    fn a_wrong_end() {
        let mut bytes = vec![0; 8];
        Writer::new(&mut bytes).str("/");
        Writer::new(&mut bytes).str("BenWasThere");
        assert_eq!(items(&bytes), Err(QuorumError::Signature));
        let mut bytes = vec![0; 8];
        Writer::new(&mut bytes).int(-1);
        bytes.resize(100, 0);
        assert_eq!(items(&bytes), Err(DecodeError::Null.into()));
    }
}
