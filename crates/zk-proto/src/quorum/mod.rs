//! What the members of an ensemble say to each other.
//!
//! Nothing here knows what a message means for an election or for a broadcast.
//! Every decoder takes what a connection has delivered so far: `Ok(None)` says
//! that more must come and leaves the buffer as it is, an error says that the
//! connection is of no use any more.
//!
//! In the order of a connection's life: [`auth`] (SASL between servers, on both
//! ports), [`election`] (the first message and the notifications of the
//! election port), [`packet`] (the packets of the quorum port), [`snap`] (the
//! tree inside that stream behind a SNAP packet).
//!
//! ```
//! use bytes::BytesMut;
//! use zk_proto::Zxid;
//! use zk_proto::quorum::packet::{FromLeader, QuorumPacket};
//!
//! let mut stream = BytesMut::new();
//! FromLeader::Commit { zxid: Zxid(0x1_0000_0001) }.to_packet().encode(&mut stream);
//! let packet = QuorumPacket::decode(&mut stream, jute::DEFAULT_MAX_LEN).unwrap().unwrap();
//! assert_eq!(FromLeader::from_packet(&packet), Ok(FromLeader::Commit { zxid: Zxid(0x1_0000_0001) }));
//! assert!(stream.is_empty());
//! ```

use bytes::{Bytes, BytesMut};
use jute::{DecodeError, Reader};

pub mod auth;
pub mod election;
pub mod packet;
pub mod snap;

/// Why bytes of another member are none of its messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// A record does not decode.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// The first message of an election connection has a version that nobody knows.
    #[error("unknown election protocol version {0}")]
    Version(i64),
    /// An address in the first message of an election connection.
    #[error("badly formed address {0:?}")]
    Address(String),
    /// Something else stands where SASL between servers must begin.
    #[error("not a packet of the quorum's authentication: {0:#x}")]
    Magic(i64),
    /// A snapshot does not end as it must.
    #[error("snapshot ends without its signature")]
    Signature,
}

/// Cuts the record that `skip` passes over off the front of `buf`, without
/// copying. `None`: it is not complete yet.
fn cut(
    buf: &mut BytesMut,
    max_len: usize,
    skip: impl FnOnce(&mut Reader<'_>) -> Result<(), DecodeError>,
) -> Result<Option<Bytes>, DecodeError> {
    let mut r = Reader::with_max_len(buf, max_len);
    match skip(&mut r) {
        Ok(()) => {
            let len = buf.len() - r.remaining();
            Ok(Some(buf.split_to(len).freeze()))
        }
        Err(DecodeError::Short { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A length as an error's value; whatever does not fit is too long anyway.
fn too_long(len: usize) -> DecodeError {
    DecodeError::Length(i32::try_from(len).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::auth::QuorumAuthPacket;
    use super::election::{Hello, Notification, take_frame};
    use super::packet::{FromLeader, FromLearner, PacketKind, QuorumPacket};
    use super::snap::SnapReader;
    use super::*;
    use crate::{AuthId, Zxid};

    const MAX: usize = 100;

    /// Each decoder over the whole input; what decodes goes out again.
    fn feed(bytes: &[u8]) {
        let mut out = Vec::new();
        let mut b = BytesMut::from(bytes);
        while let Ok(Some(p)) = QuorumPacket::decode(&mut b, MAX) {
            p.encode(&mut out);
            if let Ok(m) = FromLearner::from_packet(&p) {
                assert_eq!(FromLearner::from_packet(&m.to_packet()), Ok(m));
            }
            if let Ok(m) = FromLeader::from_packet(&p) {
                assert_eq!(FromLeader::from_packet(&m.to_packet()), Ok(m));
            }
        }
        let mut b = BytesMut::from(bytes);
        while let Ok(Some(p)) = QuorumAuthPacket::decode(&mut b) {
            p.encode(&mut out);
        }
        let mut b = BytesMut::from(bytes);
        if let Ok(Some(hello)) = Hello::decode(&mut b) {
            hello.encode(&mut out);
        }
        while let Ok(Some(body)) = take_frame(&mut b) {
            let _ = Notification::decode(&body);
        }
        if let Ok(n) = Notification::decode(&Bytes::copy_from_slice(bytes)) {
            out.clear();
            n.encode_body(&mut out);
            assert!(bytes.starts_with(&out));
        }
        let mut b = BytesMut::from(bytes);
        let mut snap = SnapReader::new(MAX);
        while let Ok(Some(item)) = snap.next(&mut b) {
            item.encode(&mut out);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            feed(&bytes);
        }

        #[test]
        fn small_numbers_are_read_without_panic(bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(255), 0..20u8], 0..120)) {
            feed(&bytes);
        }

        #[test]
        fn any_packet_comes_back(
            kind in 0..21i32,
            zxid: i64,
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            ids in proptest::option::of(proptest::collection::vec("[a-z]{0,8}", 0..4)),
        ) {
            let authinfo = ids.map(|v| v.iter().map(|s| AuthId::new(s, "id")).collect());
            let packet = QuorumPacket { kind, zxid: Zxid(zxid), data: data.map(Bytes::from), authinfo };
            let mut stream = BytesMut::new();
            packet.encode(&mut stream);
            feed(&stream);
            let back = QuorumPacket::decode(&mut stream, MAX);
            prop_assert_eq!(back, Ok(Some(packet)));
            prop_assert!(stream.is_empty());
            prop_assert_eq!(PacketKind::from_i32(kind).is_some(), (1..=19).contains(&kind));
        }
    }
}
