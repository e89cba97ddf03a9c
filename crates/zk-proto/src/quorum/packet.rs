//! The packets of the quorum port: records one behind the other, without a
//! length. [`QuorumPacket`] is the record; [`FromLearner`] and [`FromLeader`]
//! are what it means in either direction. The two are apart, so that a packet
//! whose type nobody knows can be taken from the stream and passed over.
//! ref: QuorumPacket, Leader, Learner, LearnerHandler.

use bytes::{BufMut, Bytes, BytesMut};
use jute::{DecodeError, Reader, Writer};

use super::{QuorumError, too_long};
use crate::{AuthId, Epoch, OpCode, PeerId, SessionId, Xid, Zxid, limits};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $n:literal $text:literal,)*) => {
        /// Types of packets. ref: the constants of Leader.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum PacketKind { $($(#[$doc])* $name = $n,)* }
        impl PacketKind {
            /// The type with this number.
            pub fn from_i32(n: i32) -> Option<Self> {
                match n { $($n => Some(Self::$name),)* _ => None }
            }
            /// The name in Java's sources and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}
kinds! {
    /// A client's write or sync, forwarded.
    Request = 1 "REQUEST",
    /// A transaction to be logged.
    Proposal = 2 "PROPOSAL",
    /// It is logged.
    Ack = 3 "ACK",
    /// It is to be applied.
    Commit = 4 "COMMIT",
    /// Sign of life.
    Ping = 5 "PING",
    /// Whether a session lives.
    Revalidate = 6 "REVALIDATE",
    /// A sync is through.
    Sync = 7 "SYNC",
    /// A transaction to be applied, for an observer.
    Inform = 8 "INFORM",
    /// As commit, and the configuration in it takes effect.
    CommitAndActivate = 9 "COMMITANDACTIVATE",
    /// The history of the new leader is complete.
    NewLeader = 10 "NEWLEADER",
    /// A follower's first packet.
    FollowerInfo = 11 "FOLLOWERINFO",
    /// The learner may serve.
    UpToDate = 12 "UPTODATE",
    /// Missing transactions follow.
    Diff = 13 "DIFF",
    /// Cut the log.
    Trunc = 14 "TRUNC",
    /// A snapshot follows.
    Snap = 15 "SNAP",
    /// An observer's first packet.
    ObserverInfo = 16 "OBSERVERINFO",
    /// The new epoch.
    LeaderInfo = 17 "LEADERINFO",
    /// The learner is in the new epoch.
    AckEpoch = 18 "ACKEPOCH",
    /// As inform, and the configuration in it takes effect.
    InformAndActivate = 19 "INFORMANDACTIVATE",
}

impl PacketKind {
    /// The number on the wire.
    pub fn to_i32(self) -> i32 {
        self as i32
    }
}

/// A packet as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumPacket {
    /// Number of its type; it may be unknown.
    pub kind: i32,
    /// A zxid, by type.
    pub zxid: Zxid,
    /// The content, by type; null and empty differ.
    pub data: Option<Bytes>,
    /// The identities of a client's connection; null in all but requests.
    pub authinfo: Option<Vec<AuthId>>,
}

impl QuorumPacket {
    /// A packet without content.
    pub fn bare(kind: PacketKind, zxid: Zxid) -> Self {
        Self { kind: kind.to_i32(), zxid, data: None, authinfo: None }
    }

    /// A packet with content.
    pub fn with(kind: PacketKind, zxid: Zxid, data: Bytes) -> Self {
        Self { data: Some(data), ..Self::bare(kind, zxid) }
    }

    /// Takes a packet from the front of a stream; its content is a slice of the
    /// stream's buffer. `max_len`: longest buffer or string,
    /// `jute.maxbuffer` plus its extra size.
    pub fn decode(buf: &mut BytesMut, max_len: usize) -> Result<Option<Self>, QuorumError> {
        PacketReader::default().next(buf, max_len)
    }

    fn of(packet: &Bytes, max_len: usize) -> Result<Self, DecodeError> {
        let mut r = Reader::with_max_len(packet, max_len);
        let kind = r.int()?;
        let zxid = Zxid(r.long()?);
        let data = r.buffer()?.map(|d| packet.slice_ref(d));
        let authinfo = r.vector(|r| {
            let scheme = r.string()?.unwrap_or_default().into_owned();
            Ok(AuthId { scheme, id: r.string()?.unwrap_or_default().into_owned() })
        })?;
        Ok(Self { kind, zxid, data, authinfo })
    }

    /// Writes the packet.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        w.int(self.kind);
        w.long(self.zxid.0);
        w.buffer(self.data.as_deref());
        w.vector(self.authinfo.as_deref(), |w, a| {
            w.str(&a.scheme);
            w.str(&a.id);
        });
    }

    fn known(&self) -> Result<PacketKind, DecodeError> {
        PacketKind::from_i32(self.kind).ok_or(DecodeError::Variant(self.kind))
    }

    fn content(&self) -> Result<&Bytes, DecodeError> {
        self.data.as_ref().ok_or(DecodeError::Null)
    }
}

/// Takes packets from a stream as it comes. What it has passed over of an incomplete packet
/// it does not look at again, and it takes no memory for it: a list of identities may be
/// long and come in small pieces.
#[derive(Debug, Default)]
pub struct PacketReader {
    /// Bytes of the packet at the front that are known to be complete.
    passed: usize,
    /// Where its identities begin and how many are still to come, once that is known.
    identities: Option<(usize, usize)>,
}

impl PacketReader {
    /// As [`QuorumPacket::decode`]. Between two calls only the end of `buf` may change, as long
    /// as there was no packet.
    pub fn next(&mut self, buf: &mut BytesMut, max_len: usize) -> Result<Option<QuorumPacket>, QuorumError> {
        match self.pass(buf, max_len) {
            Ok(()) => {}
            Err(DecodeError::Short { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        let packet = buf.split_to(std::mem::take(self).passed).freeze();
        Ok(Some(QuorumPacket::of(&packet, max_len)?))
    }

    fn pass(&mut self, buf: &[u8], max_len: usize) -> Result<(), DecodeError> {
        let rest = buf.get(self.passed..).unwrap_or_default();
        let mut r = Reader::with_max_len(rest, max_len);
        let (begin, mut left) = match self.identities {
            Some(identities) => identities,
            None => {
                r.take(12)?;
                r.buffer()?;
                let begin = buf.len() - r.remaining();
                let count = r.count()?.unwrap_or(0);
                self.passed = buf.len() - r.remaining();
                self.identities = Some((begin, count));
                (begin, count)
            }
        };
        while left > 0 {
            r.buffer()?;
            r.buffer()?;
            left -= 1;
            self.passed = buf.len() - r.remaining();
            self.identities = Some((begin, left));
            let len = self.passed - begin;
            if len > limits::MAX_AUTHINFO {
                return Err(too_long(len));
            }
        }
        Ok(())
    }
}

/// Who a learner is. Each field may be missing from some point on: learners
/// before 3.4 send less, and those before 3.3 nothing at all. ref: LearnerInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LearnerInfo {
    /// Its id. `None`: the leader makes one up.
    pub sid: Option<PeerId>,
    /// Version of the protocol; [`LearnerInfo::PROTOCOL_VERSION`] since 3.4.
    pub protocol_version: Option<i32>,
    /// Version of its active configuration.
    pub config_version: Option<Zxid>,
}

impl LearnerInfo {
    /// The only version since 3.4.
    pub const PROTOCOL_VERSION: i32 = 0x1_0000;

    /// What a member of today says.
    pub fn new(sid: PeerId, config_version: Zxid) -> Self {
        Self {
            sid: Some(sid),
            protocol_version: Some(Self::PROTOCOL_VERSION),
            config_version: Some(config_version),
        }
    }

    /// Reads a packet's content, as much as is there.
    ///
    /// differs: content that is there and shorter than an id is refused; Java
    /// takes id 0 then, which two learners cannot share.
    fn decode(data: Option<&Bytes>) -> Result<Self, DecodeError> {
        let Some(data) = data else { return Ok(Self::default()) };
        let mut r = Reader::new(data);
        let sid = Some(PeerId(r.long()?));
        let protocol_version = r.int().ok();
        let config_version = if protocol_version.is_some() { r.long().ok().map(Zxid) } else { None };
        Ok(Self { sid, protocol_version, config_version })
    }

    fn encode(&self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        let mut w = Writer::new(&mut out);
        w.long(self.sid?.0);
        if let Some(v) = self.protocol_version {
            w.int(v);
            if let Some(c) = self.config_version {
                w.long(c.0);
            }
        }
        Some(out.freeze())
    }
}

/// A session that was heard of, in a learner's answer to a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Which one.
    pub session: SessionId,
    /// Its time-out in ms.
    pub timeout: i32,
}

/// A client's request on its way to the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's session.
    pub session: SessionId,
    /// The client's number for it; 0 for the server's own requests.
    pub cxid: Xid,
    /// What it asks for.
    pub op: OpCode,
    /// The request's record as the client sent it, without header.
    pub body: Bytes,
    /// The identities of the client's connection; `None` for the server's own
    /// requests.
    pub ids: Option<Vec<AuthId>>,
}

/// What a follower or an observer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromLearner {
    /// First packet: FOLLOWERINFO or OBSERVERINFO.
    Info {
        /// Whether the configuration has it as an observer.
        observer: bool,
        /// The newest epoch that it has promised.
        accepted_epoch: Epoch,
        /// Who it is.
        learner: LearnerInfo,
    },
    /// ACKEPOCH: it is in the new epoch.
    AckEpoch {
        /// The newest zxid of its history.
        last_zxid: Zxid,
        /// Epoch of that history. `None`: it has promised the new epoch before
        /// and must not be counted.
        current_epoch: Option<Epoch>,
    },
    /// ACK of a logged proposal or, with counter 0, of NEWLEADER.
    Ack {
        /// Of which one.
        zxid: Zxid,
    },
    /// PING: the answer to one.
    Ping {
        /// That of the leader's ping.
        zxid: Zxid,
        /// Sessions that were heard of since the last answer.
        touched: Vec<Touch>,
    },
    /// REVALIDATE: a client came back with this session.
    Revalidate {
        /// The session.
        session: SessionId,
        /// The time-out that was agreed with the client, in ms.
        timeout: i32,
    },
    /// REQUEST: a client's request.
    Request(Forwarded),
}

/// What the zxid of packets without a position is.
const NO_ZXID: Zxid = Zxid(-1);

/// Writes a packet's content.
fn content(fill: impl FnOnce(&mut Writer<'_, BytesMut>)) -> Bytes {
    let mut out = BytesMut::new();
    fill(&mut Writer::new(&mut out));
    out.freeze()
}

impl FromLearner {
    /// What a learner's packet means. An unknown type, and one that only a
    /// leader sends, is [`DecodeError::Variant`].
    pub fn from_packet(p: &QuorumPacket) -> Result<Self, DecodeError> {
        Ok(match p.known()? {
            kind @ (PacketKind::FollowerInfo | PacketKind::ObserverInfo) => Self::Info {
                observer: kind == PacketKind::ObserverInfo,
                accepted_epoch: p.zxid.epoch(),
                learner: LearnerInfo::decode(p.data.as_ref())?,
            },
            PacketKind::AckEpoch => {
                let epoch = Reader::new(p.content()?).int()?;
                let current_epoch = (epoch != -1).then_some(Epoch(epoch.into()));
                Self::AckEpoch { last_zxid: p.zxid, current_epoch }
            }
            PacketKind::Ack => Self::Ack { zxid: p.zxid },
            PacketKind::Ping => {
                let mut r = Reader::new(p.content()?);
                let mut touched = Vec::with_capacity(r.remaining() / 12);
                while !r.is_empty() {
                    touched.push(Touch { session: SessionId(r.long()?), timeout: r.int()? });
                }
                Self::Ping { zxid: p.zxid, touched }
            }
            PacketKind::Revalidate => {
                let mut r = Reader::new(p.content()?);
                Self::Revalidate { session: SessionId(r.long()?), timeout: r.int()? }
            }
            PacketKind::Request => {
                let data = p.content()?;
                let mut r = Reader::new(data);
                let (session, cxid, op) = (SessionId(r.long()?), Xid(r.int()?), r.int()?);
                let op = OpCode::from_i32(op).ok_or(DecodeError::Variant(op))?;
                let body = data.slice_ref(r.rest());
                Self::Request(Forwarded { session, cxid, op, body, ids: p.authinfo.clone() })
            }
            other => return Err(DecodeError::Variant(other.to_i32())),
        })
    }

    /// The packet for it.
    pub fn to_packet(&self) -> QuorumPacket {
        match self {
            Self::Info { observer, accepted_epoch, learner } => {
                let kind = if *observer { PacketKind::ObserverInfo } else { PacketKind::FollowerInfo };
                let bare = QuorumPacket::bare(kind, Zxid::new(*accepted_epoch, 0));
                QuorumPacket { data: learner.encode(), ..bare }
            }
            Self::AckEpoch { last_zxid, current_epoch } => {
                // Epochs are the high half of a zxid: they fit. ref: Learner.registerWithLeader.
                let epoch = current_epoch.map_or(-1, |e| e.0 as i32);
                QuorumPacket::with(PacketKind::AckEpoch, *last_zxid, content(|w| w.int(epoch)))
            }
            Self::Ack { zxid } => QuorumPacket::bare(PacketKind::Ack, *zxid),
            Self::Ping { zxid, touched } => {
                let data = content(|w| {
                    for t in touched {
                        w.long(t.session.0);
                        w.int(t.timeout);
                    }
                });
                QuorumPacket::with(PacketKind::Ping, *zxid, data)
            }
            Self::Revalidate { session, timeout } => {
                let data = content(|w| {
                    w.long(session.0);
                    w.int(*timeout);
                });
                QuorumPacket::with(PacketKind::Revalidate, NO_ZXID, data)
            }
            Self::Request(f) => {
                let data = content(|w| {
                    w.long(f.session.0);
                    w.int(f.cxid.0);
                    w.int(f.op.to_i32());
                    w.raw(&f.body);
                });
                let packet = QuorumPacket::with(PacketKind::Request, NO_ZXID, data);
                QuorumPacket { authinfo: f.ids.clone(), ..packet }
            }
        }
    }
}

/// What a leader, or the master of observers, sends.
///
/// A transaction is left as the bytes that go into the log; see
/// [`crate::txn::LogEntry::decode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromLeader {
    /// LEADERINFO: the new epoch.
    LeaderInfo {
        /// The epoch.
        epoch: Epoch,
        /// Version of the protocol; [`LearnerInfo::PROTOCOL_VERSION`].
        protocol_version: i32,
    },
    /// DIFF: keep what is there; missing proposals and commits follow.
    Diff {
        /// The leader's newest committed zxid; for information only.
        zxid: Zxid,
    },
    /// TRUNC: forget what comes after.
    Trunc {
        /// The newest zxid to keep.
        zxid: Zxid,
    },
    /// SNAP: forget everything; a snapshot follows, see [`super::snap`].
    Snap {
        /// The zxid of the snapshot.
        zxid: Zxid,
    },
    /// NEWLEADER: all that the learner missed has been sent.
    NewLeader {
        /// First zxid of the epoch.
        zxid: Zxid,
        /// The leader's configuration as text.
        config: Option<Bytes>,
    },
    /// UPTODATE: a quorum has the leader's history, serve.
    UpToDate,
    /// PROPOSAL: log it and acknowledge.
    Proposal {
        /// Its zxid.
        zxid: Zxid,
        /// Header, record and digest.
        txn: Bytes,
    },
    /// COMMIT: apply it.
    Commit {
        /// Which one.
        zxid: Zxid,
    },
    /// COMMITANDACTIVATE: apply it, its configuration takes effect.
    CommitAndActivate {
        /// Which one.
        zxid: Zxid,
        /// Who shall lead from now on.
        designated: PeerId,
    },
    /// INFORM: apply it (observers).
    Inform {
        /// Its zxid.
        zxid: Zxid,
        /// Header, record and digest.
        txn: Bytes,
    },
    /// INFORMANDACTIVATE: apply it, its configuration takes effect (observers).
    InformAndActivate {
        /// Its zxid.
        zxid: Zxid,
        /// Who shall lead from now on.
        designated: PeerId,
        /// Header, record and digest.
        txn: Bytes,
    },
    /// PING: answer.
    Ping {
        /// The zxid proposed last.
        zxid: Zxid,
    },
    /// REVALIDATE: the answer to one.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Whether it lives; it belongs to this learner from now on.
        valid: bool,
    },
    /// SYNC: the oldest sync of this learner is through.
    Sync,
}

impl FromLeader {
    /// What a leader's packet means. An unknown type, and one that only a
    /// learner sends, is [`DecodeError::Variant`].
    pub fn from_packet(p: &QuorumPacket) -> Result<Self, DecodeError> {
        let zxid = p.zxid;
        let txn = || p.content().cloned();
        Ok(match p.known()? {
            PacketKind::LeaderInfo => {
                let protocol_version = Reader::new(p.content()?).int()?;
                Self::LeaderInfo { epoch: zxid.epoch(), protocol_version }
            }
            PacketKind::Diff => Self::Diff { zxid },
            PacketKind::Trunc => Self::Trunc { zxid },
            PacketKind::Snap => Self::Snap { zxid },
            PacketKind::NewLeader => Self::NewLeader { zxid, config: p.data.clone() },
            PacketKind::UpToDate => Self::UpToDate,
            PacketKind::Proposal => Self::Proposal { zxid, txn: txn()? },
            PacketKind::Commit => Self::Commit { zxid },
            PacketKind::CommitAndActivate => {
                let designated = PeerId(Reader::new(p.content()?).long()?);
                Self::CommitAndActivate { zxid, designated }
            }
            PacketKind::Inform => Self::Inform { zxid, txn: txn()? },
            PacketKind::InformAndActivate => {
                let data = p.content()?;
                let mut r = Reader::new(data);
                let designated = PeerId(r.long()?);
                Self::InformAndActivate { zxid, designated, txn: data.slice_ref(r.rest()) }
            }
            PacketKind::Ping => Self::Ping { zxid },
            PacketKind::Revalidate => {
                let mut r = Reader::new(p.content()?);
                Self::Revalidate { session: SessionId(r.long()?), valid: r.bool()? }
            }
            PacketKind::Sync => Self::Sync,
            other => return Err(DecodeError::Variant(other.to_i32())),
        })
    }

    /// The packet for it.
    pub fn to_packet(&self) -> QuorumPacket {
        let bare = QuorumPacket::bare;
        let with = QuorumPacket::with;
        match self {
            Self::LeaderInfo { epoch, protocol_version } => {
                let data = content(|w| w.int(*protocol_version));
                with(PacketKind::LeaderInfo, Zxid::new(*epoch, 0), data)
            }
            Self::Diff { zxid } => bare(PacketKind::Diff, *zxid),
            Self::Trunc { zxid } => bare(PacketKind::Trunc, *zxid),
            Self::Snap { zxid } => bare(PacketKind::Snap, *zxid),
            Self::NewLeader { zxid, config } => {
                QuorumPacket { data: config.clone(), ..bare(PacketKind::NewLeader, *zxid) }
            }
            Self::UpToDate => bare(PacketKind::UpToDate, NO_ZXID),
            Self::Proposal { zxid, txn } => with(PacketKind::Proposal, *zxid, txn.clone()),
            Self::Commit { zxid } => bare(PacketKind::Commit, *zxid),
            Self::CommitAndActivate { zxid, designated } => {
                with(PacketKind::CommitAndActivate, *zxid, content(|w| w.long(designated.0)))
            }
            Self::Inform { zxid, txn } => with(PacketKind::Inform, *zxid, txn.clone()),
            Self::InformAndActivate { zxid, designated, txn } => {
                let data = content(|w| {
                    w.long(designated.0);
                    w.raw(txn);
                });
                with(PacketKind::InformAndActivate, *zxid, data)
            }
            Self::Ping { zxid } => bare(PacketKind::Ping, *zxid),
            Self::Revalidate { session, valid } => {
                let data = content(|w| {
                    w.long(session.0);
                    w.bool(*valid);
                });
                with(PacketKind::Revalidate, NO_ZXID, data)
            }
            // Not -1 as elsewhere. ref: Leader.sendSync.
            Self::Sync => bare(PacketKind::Sync, Zxid::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn packet(kind: PacketKind, data: &[u8]) -> QuorumPacket {
        QuorumPacket::with(kind, Zxid(5), Bytes::copy_from_slice(data))
    }

    #[test]
    fn an_incomplete_packet_stays_in_the_buffer() {
        let ids = Some(vec![AuthId::new("ip", "127.0.0.1"), AuthId::new("", "")]);
        let p = QuorumPacket { authinfo: ids, ..packet(PacketKind::Request, b"abc") };
        let mut bytes = BytesMut::new();
        p.encode(&mut bytes);
        for cut in 0..bytes.len() {
            let mut part = BytesMut::from(&bytes[..cut]);
            assert_eq!(QuorumPacket::decode(&mut part, MAX), Ok(None));
            assert_eq!(part, bytes[..cut]);
        }
        bytes.put_u8(7);
        assert_eq!(QuorumPacket::decode(&mut bytes, MAX), Ok(Some(p)));
        assert_eq!(bytes[..], [7]);
    }

    #[test]
    fn identities_that_come_piece_by_piece_are_passed_once() {
        const LONGEST: usize = 4 + 2 + 4 + 10;
        let ids: Vec<_> = (0..1000).map(|n| AuthId::new("ip", &format!("10.0.0.{n}"))).collect();
        let p = QuorumPacket { authinfo: Some(ids), ..packet(PacketKind::Request, b"abc") };
        let mut bytes = BytesMut::new();
        p.encode(&mut bytes);
        p.encode(&mut bytes);
        let (mut reader, mut buf, mut came) = (PacketReader::default(), BytesMut::new(), 0);
        for byte in bytes {
            buf.put_u8(byte);
            let packet = reader.next(&mut buf, MAX).unwrap();
            if let Some(packet) = packet {
                assert!(packet == p && buf.is_empty() && reader.passed == 0);
                came += 1;
            } else if buf.len() > 4 + 8 + 7 + 4 {
                assert!(buf.len() - reader.passed < LONGEST);
            }
        }
        assert_eq!(came, 2);
    }

    #[test]
    fn lengths_are_refused_before_the_bytes_come() {
        let mut b = BytesMut::from(&[0; 16][..]);
        b[14] = 0x10;
        assert_eq!(QuorumPacket::decode(&mut b, MAX), Err(DecodeError::Length(0x1000).into()));
        let mut b = BytesMut::from(&[0; 16][..]);
        b.extend_from_slice(&[0x7f, 255, 255, 255]);
        assert_eq!(QuorumPacket::decode(&mut b, MAX), Ok(None), "a count is a claim only");
        b.resize(20 + limits::MAX_AUTHINFO, 0);
        assert!(matches!(
            QuorumPacket::decode(&mut b, MAX),
            Err(QuorumError::Record(DecodeError::Length(_)))
        ));
    }

    #[test]
    fn null_and_empty_differ() {
        let none = QuorumPacket::bare(PacketKind::Ping, Zxid(5));
        let touched = vec![];
        assert_eq!(FromLearner::from_packet(&none), Err(DecodeError::Null));
        let empty = FromLearner::Ping { zxid: Zxid(5), touched };
        assert_eq!(FromLearner::from_packet(&empty.to_packet()), Ok(empty.clone()));
        assert_eq!(empty.to_packet().data, Some(Bytes::new()));
        assert_eq!(
            FromLearner::from_packet(&packet(PacketKind::Ping, &[0; 13])),
            Err(DecodeError::Short { missing: 7 })
        );
    }

    #[test]
    fn learners_of_every_age() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
        for (len, version, config) in
            [(8, None, None), (12, Some(0x1_0000), None), (20, Some(0x1_0000), Some(Zxid(3)))]
        {
            let mut p = packet(PacketKind::FollowerInfo, &bytes[..len]);
            p.zxid = Zxid(0x7_0000_0000);
            let learner =
                LearnerInfo { sid: Some(PeerId(9)), protocol_version: version, config_version: config };
            let info = FromLearner::Info { observer: false, accepted_epoch: Epoch(7), learner };
            assert_eq!(FromLearner::from_packet(&p), Ok(info.clone()));
            assert_eq!(info.to_packet(), p);
        }
        let old = QuorumPacket::bare(PacketKind::ObserverInfo, Zxid(0));
        let info = FromLearner::from_packet(&old).unwrap();
        let learner = LearnerInfo::default();
        assert_eq!(info, FromLearner::Info { observer: true, accepted_epoch: Epoch(0), learner });
        assert_eq!(info.to_packet(), old);
        assert_eq!(
            FromLearner::from_packet(&packet(PacketKind::FollowerInfo, &bytes[..7])),
            Err(DecodeError::Short { missing: 1 })
        );
    }

    #[test]
    fn each_type_has_its_directions() {
        for n in -1..25 {
            let p = QuorumPacket { kind: n, ..packet(PacketKind::Ack, &[0; 16]) };
            let up = FromLearner::from_packet(&p).map(|m| m.to_packet().kind);
            let down = FromLeader::from_packet(&p).map(|m| m.to_packet().kind);
            let ups = [1, 3, 5, 6, 11, 16, 18].contains(&n);
            let downs = [2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17, 19].contains(&n);
            // A request of type 0 is none.
            let up_error = Err(DecodeError::Variant(if n == 1 { 0 } else { n }));
            assert_eq!(
                up,
                if ups && n != 1 && n != 5 {
                    Ok(n)
                } else if n == 5 {
                    Err(DecodeError::Short { missing: 4 })
                } else {
                    up_error
                }
            );
            assert_eq!(down, if downs { Ok(n) } else { Err(DecodeError::Variant(n)) });
            assert_eq!(PacketKind::from_i32(n).map(PacketKind::to_i32), (1..=19).contains(&n).then_some(n));
        }
    }
}
