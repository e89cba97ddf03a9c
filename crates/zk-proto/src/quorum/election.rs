//! The election port: the first message of a connection, then notifications
//! behind their length. ref: QuorumCnxManager, FastLeaderElection.

use std::fmt;
use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use jute::{DecodeError, Reader, Writer};

use super::{QuorumError, cut, too_long};
use crate::{Epoch, PeerId, Zxid, limits};

/// Where a member listens for elections, as its server line has it: the host is
/// not resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// A name or a literal, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Parses `host:port`, an IPv6 literal in brackets. A colon more or less is
    /// refused as in Java. ref: ConfigUtils.getHostAndPort.
    pub fn parse(text: &str) -> Result<Self, QuorumError> {
        let parts = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => text.split_once(':'),
        };
        parts
            .and_then(|(host, port)| Some(Self { host: host.to_owned(), port: port.parse().ok()? }))
            .ok_or_else(|| QuorumError::Address(text.to_owned()))
    }

    /// Whether it says "any address", which nobody can connect to. The accepting
    /// side drops such addresses. ref: InitialMessage.isWildcardAddress.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') || self.host.starts_with('[') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Which form the first message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloVersion {
    /// Only the sender's id, without an address: a peer before 3.5.
    Bare,
    /// One address. ref: QuorumCnxManager.PROTOCOL_VERSION_V1.
    V1,
    /// Several addresses, when `multiAddress.enabled` is set.
    /// ref: QuorumCnxManager.PROTOCOL_VERSION_V2.
    V2,
}

/// What the initiator of an election connection says first. It is not answered.
///
/// It must leave in one write: Java reads the addresses with a single call and
/// closes the connection when that returns less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its form.
    pub version: HelloVersion,
    /// Who speaks; [`Hello::OBSERVER_ID`] from an observer without an id.
    pub sid: PeerId,
    /// Where the initiator listens; none in the bare form, and at least one in
    /// what is sent: a peer refuses an empty text.
    pub addresses: Vec<Address>,
}

impl Hello {
    const V1: i64 = -65536;
    const V2: i64 = -65535;

    /// Stands for an observer without an own id. ref: QuorumCnxManager, observerCounter.
    pub const OBSERVER_ID: PeerId = PeerId(i64::MAX);

    /// Takes the message from the front of a stream.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, QuorumError> {
        let Some(first) = buf.first_chunk::<8>() else { return Ok(None) };
        let version = match i64::from_be_bytes(*first) {
            sid @ 0.. => {
                let _ = buf.split_to(8);
                let sid = PeerId(sid);
                return Ok(Some(Self { version: HelloVersion::Bare, sid, addresses: Vec::new() }));
            }
            Self::V1 => HelloVersion::V1,
            Self::V2 => HelloVersion::V2,
            other => return Err(QuorumError::Version(other)),
        };
        let Some(message) = cut(buf, limits::MAX_HELLO_TEXT, |r| {
            r.take(16)?;
            match r.clone().int()? {
                n @ ..=0 => Err(DecodeError::Length(n)),
                _ => r.buffer().map(|_| ()),
            }
        })?
        else {
            return Ok(None);
        };
        let mut r = Reader::with_max_len(&message, limits::MAX_HELLO_TEXT);
        r.long()?;
        let sid = PeerId(r.long()?);
        let text = r.str()?;
        // Java's split drops empty strings at the end, and only there.
        let text = text.trim_end_matches('|');
        let addresses = match text {
            "" => Vec::new(),
            text => text.split('|').map(Address::parse).collect::<Result<_, _>>()?,
        };
        Ok(Some(Self { version, sid, addresses }))
    }

    /// Writes the message.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        match self.version {
            HelloVersion::Bare => return w.long(self.sid.0),
            HelloVersion::V1 => w.long(Self::V1),
            HelloVersion::V2 => w.long(Self::V2),
        }
        w.long(self.sid.0);
        let text: Vec<String> = self.addresses.iter().map(Address::to_string).collect();
        w.buffer(Some(text.join("|").as_bytes()));
    }
}

/// Takes a notification's body from the front of a stream.
/// ref: QuorumCnxManager.RecvWorker.
pub fn take_frame(buf: &mut BytesMut) -> Result<Option<Bytes>, QuorumError> {
    let frame = cut(buf, limits::MAX_NOTIFICATION, |r| match r.clone().int()? {
        n @ ..=0 => Err(DecodeError::Length(n)),
        _ => r.buffer().map(|_| ()),
    })?;
    Ok(frame.map(|f| f.slice(4..)))
}

/// What a member does. ref: QuorumPeer.ServerState.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It searches for a leader.
    Looking,
    /// It follows.
    Following,
    /// It leads.
    Leading,
    /// It observes.
    Observing,
    /// A number without a name. Java skips the message when its sender is a
    /// voter, and answers it otherwise.
    Unknown(i32),
}

impl PeerState {
    /// The state with this number.
    pub fn from_i32(n: i32) -> Self {
        match n {
            0 => Self::Looking,
            1 => Self::Following,
            2 => Self::Leading,
            3 => Self::Observing,
            n => Self::Unknown(n),
        }
    }

    /// The number on the wire.
    pub fn to_i32(self) -> i32 {
        match self {
            Self::Looking => 0,
            Self::Following => 1,
            Self::Leading => 2,
            Self::Observing => 3,
            Self::Unknown(n) => n,
        }
    }
}

/// What stands behind the vote; it follows from the body's length first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// 28 bytes: the vote has no epoch of its own, the zxid's stands for it.
    NoEpoch,
    /// 40 bytes: the last word is there but is not looked at.
    NoVersion(i32),
    /// A version below 2, in a body of another length than 40.
    Plain(i32),
    /// Version 2 and above.
    Config {
        /// The version; 2 is what is sent.
        version: i32,
        /// The sender's active configuration as text; not parsed here, because
        /// the vote counts even if it is bad.
        config: Bytes,
    },
}

/// What proves that a notification is not old: an answer names what it answers. It stands behind
/// the configuration, where Java looks at nothing.
///
/// differs: Java has no such word, and its messages are taken as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The sender's present question.
    pub asks: i64,
    /// The receiver's last question that the sender has heard; 0 if none.
    pub heard: i64,
}

impl Mark {
    const LEN: usize = 16;
}

/// A vote, as it is sent to the other members. The sender's id is not in it; it
/// is that of the connection. ref: FastLeaderElection.buildMsg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What the sender does.
    pub state: PeerState,
    /// Whom it votes for, or follows.
    pub leader: PeerId,
    /// The zxid of the vote.
    pub zxid: Zxid,
    /// Round of the election, the sender's logical clock.
    pub round: i64,
    /// The epoch of the vote.
    pub peer_epoch: Epoch,
    /// What stands behind it.
    pub form: Form,
    /// Of a member that is not Java's. Only behind a configuration.
    pub mark: Option<Mark>,
}

impl Notification {
    /// The version that is sent. ref: FastLeaderElection.Notification.CURRENTVERSION.
    pub const VERSION: i32 = 2;

    /// The version as the election looks at it: 0 if the body has none.
    pub fn version(&self) -> i32 {
        match self.form {
            Form::NoEpoch | Form::NoVersion(_) => 0,
            Form::Plain(version) | Form::Config { version, .. } => version,
        }
    }

    /// Reads a body. An error concerns this notification and not the
    /// connection: Java skips it. ref: FastLeaderElection.Messenger.WorkerReceiver.
    pub fn decode(body: &Bytes) -> Result<Self, QuorumError> {
        let mut r = Reader::with_max_len(body, limits::MAX_NOTIFICATION);
        let state = PeerState::from_i32(r.int()?);
        let (leader, zxid, round) = (PeerId(r.long()?), Zxid(r.long()?), r.long()?);
        let mut mark = None;
        let (peer_epoch, form) = match body.len() {
            28 => (zxid.epoch(), Form::NoEpoch),
            len => {
                let peer_epoch = Epoch(r.long()?);
                let form = match r.int()? {
                    ignored if len == 40 => Form::NoVersion(ignored),
                    version @ ..=1 => Form::Plain(version),
                    version => {
                        let n = r.int()?;
                        let n = usize::try_from(n).map_err(|_| DecodeError::Length(n))?;
                        let config = body.slice_ref(r.take(n)?);
                        if r.remaining() == Mark::LEN {
                            mark = Some(Mark { asks: r.long()?, heard: r.long()? });
                        }
                        Form::Config { version, config }
                    }
                };
                (peer_epoch, form)
            }
        };
        Ok(Self { state, leader, zxid, round, peer_epoch, form, mark })
    }

    /// Writes the body.
    pub fn encode_body<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        w.int(self.state.to_i32());
        w.long(self.leader.0);
        w.long(self.zxid.0);
        w.long(self.round);
        match &self.form {
            Form::NoEpoch => {}
            Form::NoVersion(word) | Form::Plain(word) => {
                w.long(self.peer_epoch.0);
                w.int(*word);
            }
            Form::Config { version, config } => {
                w.long(self.peer_epoch.0);
                w.int(*version);
                w.buffer(Some(config));
                if let Some(mark) = self.mark {
                    w.long(mark.asks);
                    w.long(mark.heard);
                }
            }
        }
    }

    /// Writes length and body.
    ///
    /// # Panics
    /// If the body is longer than a peer takes: a configuration's text comes
    /// from a znode and is checked there.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut body = BytesMut::new();
        self.encode_body(&mut body);
        assert!(body.len() <= limits::MAX_NOTIFICATION, "{}", too_long(body.len()));
        Writer::new(out).buffer(Some(&body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version: i64, text: &[u8]) -> Result<Option<Hello>, QuorumError> {
        let mut b = BytesMut::new();
        let mut w = Writer::new(&mut b);
        w.long(version);
        w.long(2);
        w.buffer(Some(text));
        Hello::decode(&mut b)
    }

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn hellos() {
        let v2 = hello(-65535, b"127.0.0.1:23382|[::1]:23382").unwrap().unwrap();
        assert_eq!(v2.version, HelloVersion::V2);
        assert_eq!(v2.addresses, [address("127.0.0.1", 23382), address("::1", 23382)]);
        let mut out = Vec::new();
        v2.encode(&mut out);
        assert_eq!(out[16..], *b"\0\0\0\x1b127.0.0.1:23382|[::1]:23382");

        let mut bare = BytesMut::from(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0][..]);
        let h = Hello::decode(&mut bare).unwrap().unwrap();
        assert_eq!((h.version, h.sid, h.addresses.len(), bare.len()), (HelloVersion::Bare, PeerId(7), 0, 2));
    }

    #[test]
    fn hellos_that_are_refused() {
        assert_eq!(hello(-1, b"a:1"), Err(QuorumError::Version(-1)));
        assert_eq!(hello(-65536, b""), Err(DecodeError::Length(0).into()));
        assert_eq!(hello(-65536, &[b'a'; 2049]), Err(DecodeError::Length(2049).into()));
        for bad in ["a", "a:", "a:b", "a:1:2", "::1:2", "[::1", "[::1]", "[::1]2", "a:65536", "a:1||b:2"] {
            assert!(matches!(hello(-65536, bad.as_bytes()), Err(QuorumError::Address(_))), "{bad}");
        }
        // Java's split forgives this one.
        assert_eq!(hello(-65535, b"a:1||").unwrap().unwrap().addresses, [address("a", 1)]);
    }

    #[test]
    fn printed_addresses_parse() {
        for text in ["a:1", "[::1]:2", "[[a]:3", ":4", "[a:b:5]:6"] {
            let a = Address::parse(text).unwrap();
            assert_eq!(Address::parse(&a.to_string()), Ok(a), "{text}");
        }
    }

    #[test]
    fn wildcards() {
        for (host, is) in
            [("0.0.0.0", true), ("::", true), ("0:0:0:0:0:0:0:0", true), ("10.0.0.1", false), ("a", false)]
        {
            assert_eq!(address(host, 1).is_wildcard(), is, "{host}");
        }
    }

    #[test]
    fn frames_have_limits() {
        let frame = |len: i32| take_frame(&mut BytesMut::from(&len.to_be_bytes()[..]));
        for bad in [0, -1, i32::MIN, 524_289, i32::MAX] {
            assert_eq!(frame(bad), Err(DecodeError::Length(bad).into()));
        }
        assert_eq!(frame(524_288), Ok(None));
        let mut two = BytesMut::from(&[0, 0, 0, 1, 9, 0, 0, 0, 2, 8][..]);
        assert_eq!(take_frame(&mut two), Ok(Some(Bytes::from_static(&[9]))));
        assert_eq!(take_frame(&mut two), Ok(None));
        assert_eq!(two.len(), 5);
    }

    /// A body of `len` bytes with this version and configuration length.
    fn body(len: usize, version: i32, config: i32) -> Bytes {
        let mut b = Vec::new();
        let mut w = Writer::new(&mut b);
        w.int(1);
        w.long(3);
        w.long(0x5_0000_0007);
        w.long(9);
        w.long(4);
        w.int(version);
        w.int(config);
        b.resize(len, b'x');
        b.into()
    }

    #[test]
    fn every_length_of_a_body() {
        for len in 0..80 {
            for version in [-1, 0, 1, 2, 3] {
                let body = body(len, version, 3);
                let n = Notification::decode(&body);
                let form = match (len, version) {
                    (28, _) => Some(Form::NoEpoch),
                    (40, _) => Some(Form::NoVersion(version)),
                    (..40, _) => None,
                    (_, ..=1) => Some(Form::Plain(version)),
                    (47.., _) => Some(Form::Config { version, config: body.slice(44..47) }),
                    _ => None,
                };
                assert_eq!(n.as_ref().ok().map(|n| &n.form), form.as_ref(), "{len} {version}");
                let Ok(n) = n else { continue };
                assert_eq!(n.peer_epoch, Epoch(if len == 28 { 5 } else { 4 }));
                assert_eq!(n.version(), if len <= 40 { 0 } else { version });
                let mut back = Vec::new();
                n.encode_body(&mut back);
                assert!(body.starts_with(&back), "{len} {version}");
                assert_eq!(n.mark.is_some(), len == 47 + 16 && version > 1, "{len} {version}");
                assert!(n.mark.is_none() || back == body);
            }
        }
        assert_eq!(Notification::decode(&body(44, 2, -1)), Err(DecodeError::Length(-1).into()));
        assert_eq!(
            Notification::decode(&body(44, 2, i32::MAX)),
            Err(DecodeError::Short { missing: i32::MAX as usize }.into())
        );
    }
}
