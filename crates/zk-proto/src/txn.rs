//! Transactions: what is logged, what servers send to each other, and what the
//! tree applies. The same bytes everywhere.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use jute::{DecodeError, Reader, Writer};

use crate::{Acl, OpCode, SessionId, Xid, Zxid, limits};

/// Header of a transaction, 32 bytes. ref: TxnHeader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnHeader {
    /// The session that asked for it; owner of ephemerals it creates.
    pub session: SessionId,
    /// The client's number for the request.
    pub cxid: Xid,
    /// Its place in the order.
    pub zxid: Zxid,
    /// The leader's wall clock in ms when it was prepared.
    pub time: i64,
    /// What it is.
    pub op: OpCode,
}

/// Body of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txn {
    /// A session begins.
    CreateSession {
        /// Its time-out in ms.
        timeout: i32,
    },
    /// A session ends. `None`: an old server did not list the ephemerals.
    CloseSession {
        /// Its ephemerals.
        paths: Option<Vec<String>>,
    },
    /// A node is made: create, create2, createContainer, createTTL by the
    /// header's type.
    Create(CreateTxn),
    /// A node goes: delete or deleteContainer.
    Delete {
        /// Which one.
        path: Arc<str>,
    },
    /// Data is set: setData or reconfig.
    SetData {
        /// Of which node.
        path: Arc<str>,
        /// To what.
        data: Option<Bytes>,
        /// The version from now on.
        version: i32,
    },
    /// An access control list is set.
    SetAcl {
        /// Of which node.
        path: Arc<str>,
        /// To what.
        acl: Option<Vec<Acl>>,
        /// The aversion from now on.
        version: i32,
    },
    /// A version was compared; inside a multi. Applying it does nothing.
    Check {
        /// Of which node.
        path: Arc<str>,
        /// The found version plus one.
        version: i32,
    },
    /// A write failed. It takes a zxid and changes nothing.
    Error {
        /// Number of the error code.
        err: i32,
    },
    /// Several at once, or nothing if one of them is an error.
    Multi(Vec<SubTxn>),
}

/// What a create needs. ref: CreateTxn, CreateContainerTxn, CreateTTLTxn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTxn {
    /// The full path, counter included.
    pub path: Arc<str>,
    /// Its data.
    pub data: Option<Bytes>,
    /// Its access control list.
    pub acl: Option<Vec<Acl>>,
    /// Whether it belongs to the header's session. Only create and create2
    /// carry it.
    pub ephemeral: bool,
    /// The parent's cversion from now on; -1 in logs of 3.3.
    pub parent_cversion: i32,
    /// Time to live in ms. Only createTTL carries it.
    pub ttl: i64,
}

/// One part of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubTxn {
    /// What it is.
    pub op: OpCode,
    /// Its body.
    pub txn: Txn,
}

/// The tree's digest after a transaction. ref: TxnDigest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnDigest {
    /// How it is computed; 2 is the only version in use.
    pub version: i32,
    /// Sum of the nodes' digests.
    pub tree: u64,
}

impl TxnDigest {
    /// ref: DigestCalculator.DIGEST_VERSION.
    pub const VERSION: i32 = 2;
}

/// A transaction with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Who, when, which place.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn,
    /// What the tree must come to. Errors carry none.
    pub digest: Option<TxnDigest>,
}

impl TxnHeader {
    /// Bytes on the wire.
    pub const LEN: usize = 32;

    /// Reads the header.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = SessionId(r.long()?);
        let cxid = Xid(r.int()?);
        let zxid = Zxid(r.long()?);
        let time = r.long()?;
        let op = r.int()?;
        let op = OpCode::from_i32(op).ok_or(DecodeError::Variant(op))?;
        Ok(Self { session, cxid, zxid, time, op })
    }

    /// Writes the header.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        w.long(self.session.0);
        w.int(self.cxid.0);
        w.long(self.zxid.0);
        w.long(self.time);
        w.int(self.op.to_i32());
    }
}

impl LogEntry {
    /// Reads header, record and digest. Bytes behind them are ignored.
    /// ref: SerializeUtils.deserializeTxn.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::with_max_len(bytes, limits::MAX_RECORD);
        let header = TxnHeader::read(&mut r)?;
        let txn = Txn::read(header.op, &mut r)?;
        let digest = if r.remaining() >= 12 {
            Some(TxnDigest { version: r.int()?, tree: r.long()? as u64 })
        } else {
            None
        };
        Ok(Self { header, txn, digest })
    }

    /// How many bytes [`LogEntry::encode`] writes.
    pub fn encoded_len(&self) -> usize {
        TxnHeader::LEN + self.txn.encoded_len(self.header.op) + if self.digest.is_some() { 12 } else { 0 }
    }

    /// Writes header, record and digest. ref: Util.marshallTxnEntry.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        self.header.write(&mut w);
        self.txn.write(self.header.op, &mut w);
        if let Some(d) = &self.digest {
            w.int(d.version);
            w.long(d.tree as i64);
        }
    }
}

impl Txn {
    /// How many bytes [`Txn::write`] writes.
    fn encoded_len(&self, op: OpCode) -> usize {
        let buffer = |data: &Option<Bytes>| 4 + data.as_ref().map_or(0, Bytes::len);
        let text = |s: &str| 4 + jute::text_len(s);
        let acl = |list: &Option<Vec<Acl>>| {
            let each = |a: &Acl| 4 + text(&a.scheme) + text(&a.id);
            4 + list.iter().flatten().map(each).sum::<usize>()
        };
        match self {
            Self::CreateSession { .. } | Self::Error { .. } => 4,
            Self::CloseSession { paths: None } => 0,
            Self::CloseSession { paths: Some(paths) } => 4 + paths.iter().map(|p| text(p)).sum::<usize>(),
            Self::Create(c) => {
                let rest = match op {
                    OpCode::CreateContainer => 4,
                    OpCode::CreateTtl => 12,
                    _ => 5,
                };
                text(&c.path) + buffer(&c.data) + acl(&c.acl) + rest
            }
            Self::Delete { path } => text(path),
            Self::SetData { path, data, .. } => text(path) + buffer(data) + 4,
            Self::SetAcl { path, acl: list, .. } => text(path) + acl(list) + 4,
            Self::Check { path, .. } => text(path) + 4,
            Self::Multi(subs) => 4 + subs.iter().map(|s| 8 + s.txn.encoded_len(s.op)).sum::<usize>(),
        }
    }

    /// Reads the record of a transaction of type `op`.
    pub fn read(op: OpCode, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read_at(op, r, true)
    }

    fn read_at(op: OpCode, r: &mut Reader<'_>, top: bool) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::CreateSession => Self::CreateSession { timeout: r.int()? },
            // An old server wrote no record at all.
            OpCode::CloseSession if r.is_empty() => Self::CloseSession { paths: None },
            OpCode::CloseSession => {
                Self::CloseSession { paths: Some(r.vector(|r| text(r))?.unwrap_or_default()) }
            }
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Self::Create(CreateTxn::read(op, r)?)
            }
            OpCode::Delete | OpCode::DeleteContainer => Self::Delete { path: text(r)? },
            OpCode::SetData | OpCode::Reconfig => {
                Self::SetData { path: text(r)?, data: data(r)?, version: r.int()? }
            }
            OpCode::SetAcl => Self::SetAcl { path: text(r)?, acl: Acl::read_list(r)?, version: r.int()? },
            OpCode::Check => Self::Check { path: text(r)?, version: r.int()? },
            OpCode::Error => Self::Error { err: r.int()? },
            OpCode::Multi if top => {
                let subs = r.vector(|r| {
                    let n = r.int()?;
                    let op = OpCode::from_i32(n).ok_or(DecodeError::Variant(n))?;
                    let record = r.buffer()?.ok_or(DecodeError::Null)?;
                    let mut r = Reader::with_max_len(record, limits::MAX_RECORD);
                    Ok(SubTxn { op, txn: Self::read_at(op, &mut r, false)? })
                })?;
                Self::Multi(subs.unwrap_or_default())
            }
            other => return Err(DecodeError::Variant(other.to_i32())),
        })
    }

    /// Writes the record of a transaction of type `op`.
    ///
    /// # Panics
    /// If `op` is not a type of this body: the two are always made together.
    pub fn write<B: BufMut>(&self, op: OpCode, w: &mut Writer<'_, B>) {
        match self {
            Self::CreateSession { timeout } => w.int(*timeout),
            Self::CloseSession { paths: None } => {}
            Self::CloseSession { paths: Some(paths) } => w.vector(Some(paths), |w, p| w.str(p)),
            Self::Create(c) => c.write(op, w),
            Self::Delete { path } => w.str(path),
            Self::SetData { path, data, version } => {
                w.str(path);
                w.buffer(data.as_deref());
                w.int(*version);
            }
            Self::SetAcl { path, acl, version } => {
                w.str(path);
                Acl::write_list(acl.as_deref(), w);
                w.int(*version);
            }
            Self::Check { path, version } => {
                w.str(path);
                w.int(*version);
            }
            Self::Error { err } => w.int(*err),
            Self::Multi(subs) => w.vector(Some(subs), |w, s| {
                w.int(s.op.to_i32());
                w.len(s.txn.encoded_len(s.op));
                s.txn.write(s.op, w);
            }),
        }
    }
}

fn text<T: for<'a> From<Cow<'a, str>>>(r: &mut Reader<'_>) -> Result<T, DecodeError> {
    Ok(r.str()?.into())
}

fn data(r: &mut Reader<'_>) -> Result<Option<Bytes>, DecodeError> {
    Ok(r.buffer()?.map(Bytes::copy_from_slice))
}

impl CreateTxn {
    fn read(op: OpCode, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (path, data, acl) = (text(r)?, data(r)?, Acl::read_list(r)?);
        let plain = matches!(op, OpCode::Create | OpCode::Create2);
        let ephemeral = plain && r.bool()?;
        // CreateTxnV0 of 3.3 ends here. ref: SerializeUtils.deserializeTxn.
        let parent_cversion = if op == OpCode::Create && r.is_empty() { -1 } else { r.int()? };
        let ttl = if op == OpCode::CreateTtl { r.long()? } else { 0 };
        Ok(Self { path, data, acl, ephemeral, parent_cversion, ttl })
    }

    fn write<B: BufMut>(&self, op: OpCode, w: &mut Writer<'_, B>) {
        w.str(&self.path);
        w.buffer(self.data.as_deref());
        Acl::write_list(self.acl.as_deref(), w);
        match op {
            OpCode::Create | OpCode::Create2 => {
                w.bool(self.ephemeral);
                w.int(self.parent_cversion);
            }
            OpCode::CreateContainer => w.int(self.parent_cversion),
            OpCode::CreateTtl => {
                w.int(self.parent_cversion);
                w.long(self.ttl);
            }
            other => panic!("{other:?} is no create"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Perms;

    fn hex(s: &str) -> Vec<u8> {
        let s: String = s.chars().filter(|c| !c.is_whitespace() && *c != '|').collect();
        (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
    }

    /// Transactions captured from Java 3.9.4 (datatree.md 12).
    #[test]
    fn captured_transactions_come_back_to_the_byte() {
        let open = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65";
        for (bytes, op) in [
            (
                "0400001280d20000 00000000 0000000100000022 000001a1fc1d5624 fffffff6 | 00001770 | 00000002 000000055d589ece".to_owned(),
                OpCode::CreateSession,
            ),
            (
                format!("0400001280d20000 00000001 0000000100000023 000001a1fc1d5650 00000001 | 00000005 2f6f627331 00000001 76 {open} 00 0000000b | 00000002 00000005f2106bc6"),
                OpCode::Create,
            ),
            (
                format!("0400001280d20000 00000001 0000000100000023 000001a1fc1d5650 00000015 | 00000002 2f74 00000003 74746c {open} 00000006 00000000000927c0 | 00000002 00000005f2106bc6"),
                OpCode::CreateTtl,
            ),
            (
                "0400001280d20000 00000001 0000000100000023 000001a1fc1d5650 ffffffff ffffff99".to_owned(),
                OpCode::Error,
            ),
            (
                "0400001280d20000 00000001 0000000100000023 000001a1fc1d5650 fffffff5 | 00000002 00000005 2f712f6532 00000005 2f712f6531 | 00000002 00000005f2106bc6".to_owned(),
                OpCode::CloseSession,
            ),
            (
                "0400001280d20000 00000001 0000000100000023 000001a1fc1d5650 fffffff5".to_owned(),
                OpCode::CloseSession,
            ),
        ] {
            let bytes = hex(&bytes);
            let entry = LogEntry::decode(&bytes).unwrap();
            assert_eq!(entry.header.op, op);
            let mut back = Vec::new();
            entry.encode(&mut back);
            assert_eq!((entry.encoded_len(), back), (bytes.len(), bytes));
        }
    }

    #[test]
    fn every_record_is_as_long_as_it_says() {
        let acl =
            || Some(vec![Acl::new(Perms::ALL, "digest", "\u{e4}\u{1f600}:x"), Acl::new(Perms::READ, "", "")]);
        let create = |acl, data| {
            let path = "/\u{1f600}/a".into();
            Txn::Create(CreateTxn { path, data, acl, ephemeral: true, parent_cversion: 4, ttl: 5 })
        };
        let records = [
            (OpCode::Create, create(None, None)),
            (OpCode::Create2, create(acl(), Some(Bytes::from_static(b"data")))),
            (OpCode::CreateContainer, create(acl(), None)),
            (OpCode::CreateTtl, create(acl(), Some(Bytes::new()))),
            (OpCode::Delete, Txn::Delete { path: "/\u{e4}".into() }),
            (
                OpCode::SetData,
                Txn::SetData { path: "/a".into(), data: Some(Bytes::from_static(b"1")), version: 7 },
            ),
            (OpCode::SetData, Txn::SetData { path: "".into(), data: None, version: -1 }),
            (OpCode::Check, Txn::Check { path: "/a".into(), version: 1 }),
            (OpCode::Error, Txn::Error { err: -101 }),
        ];
        let part = |(op, txn): &(OpCode, Txn)| SubTxn { op: *op, txn: txn.clone() };
        let multi = Txn::Multi(records.iter().map(part).collect());
        let others = [
            (OpCode::Multi, multi),
            (OpCode::Multi, Txn::Multi(Vec::new())),
            (OpCode::SetAcl, Txn::SetAcl { path: "/a".into(), acl: acl(), version: 2 }),
            (OpCode::CreateSession, Txn::CreateSession { timeout: 5 }),
            (
                OpCode::CloseSession,
                Txn::CloseSession { paths: Some(vec!["/a".to_owned(), "/\u{1f600}".to_owned()]) },
            ),
            (OpCode::CloseSession, Txn::CloseSession { paths: None }),
        ];
        for (op, txn) in records.into_iter().chain(others) {
            let mut bytes = Vec::new();
            txn.write(op, &mut Writer::new(&mut bytes));
            assert_eq!(bytes.len(), txn.encoded_len(op), "{txn:?}");
            let mut again = Vec::new();
            let mut r = Reader::new(&bytes);
            Txn::read(op, &mut r).unwrap().write(op, &mut Writer::new(&mut again));
            // What comes back of the surrogates of a far character is as long as they were.
            assert_eq!((r.remaining(), again.len()), (0, bytes.len()), "{txn:?}");
        }
    }

    #[test]
    fn a_create_of_3_3_has_no_cversion() {
        let bytes = hex(
            "0400001280d20000 00000001 0000000100000023 000001a1fc1d5650 00000001 00000002 2f61 ffffffff 00000000 01",
        );
        let Txn::Create(c) = LogEntry::decode(&bytes).unwrap().txn else { panic!() };
        assert_eq!((c.parent_cversion, c.ephemeral), (-1, true));
    }
}
