//! SASL between servers, bare on the stream before anything else of the quorum
//! port and right behind the first message of the election port.
//! ref: SaslQuorumAuthLearner, SaslQuorumAuthServer.

use bytes::{BufMut, Bytes, BytesMut};
use jute::{DecodeError, Reader, Writer};

use super::{QuorumError, cut};
use crate::limits;

/// First eight bytes of each packet; Java has it as -0xa0dbcafecafe1234. ref: QuorumAuth.QUORUM_AUTH_MAGIC_NUMBER.
pub const MAGIC: i64 = 0x5f24_3501_3501_edcc;

/// How far the exchange is. ref: QuorumAuth.Status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthStatus {
    /// A token for the other side.
    InProgress = 0,
    /// The accepting side is content.
    Success = 1,
    /// The accepting side is not.
    Error = -1,
}

/// One step of the exchange. ref: QuorumAuthPacket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumAuthPacket {
    /// How far it is.
    pub status: AuthStatus,
    /// What SASL says to the other side.
    pub token: Option<Bytes>,
}

impl QuorumAuthPacket {
    /// Whether a connection begins with authentication; `None`: too early to
    /// say. The accepting side looks before it takes anything, because a peer
    /// without SASL sends its first packet instead. ref: SaslQuorumAuthServer.authenticate.
    pub fn is_next(buf: &[u8]) -> Option<bool> {
        let magic = MAGIC.to_be_bytes();
        match buf.first_chunk::<8>() {
            Some(head) => Some(*head == magic),
            None if magic.starts_with(buf) => None,
            None => Some(false),
        }
    }

    /// Takes a packet from the front of a stream.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Self>, QuorumError> {
        if let Some(head) = buf.first_chunk::<8>()
            && *head != MAGIC.to_be_bytes()
        {
            return Err(QuorumError::Magic(i64::from_be_bytes(*head)));
        }
        let skip = |r: &mut Reader<'_>| {
            r.take(12)?;
            r.buffer().map(|_| ())
        };
        let Some(packet) = cut(buf, limits::MAX_AUTH_TOKEN, skip)? else { return Ok(None) };
        let mut r = Reader::with_max_len(&packet, limits::MAX_AUTH_TOKEN);
        r.long()?;
        let status = match r.int()? {
            0 => AuthStatus::InProgress,
            1 => AuthStatus::Success,
            -1 => AuthStatus::Error,
            n => return Err(DecodeError::Variant(n).into()),
        };
        let token = r.buffer()?.map(|t| packet.slice_ref(t));
        Ok(Some(Self { status, token }))
    }

    /// Writes the packet.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        let mut w = Writer::new(out);
        w.long(MAGIC);
        w.int(self.status as i32);
        w.buffer(self.token.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_is_seen_as_soon_as_it_can_be() {
        let magic = MAGIC.to_be_bytes();
        assert_eq!(magic, [0x5f, 0x24, 0x35, 0x01, 0x35, 0x01, 0xed, 0xcc]);
        assert_eq!(QuorumAuthPacket::is_next(&[]), None);
        assert_eq!(QuorumAuthPacket::is_next(&magic[..7]), None);
        assert_eq!(QuorumAuthPacket::is_next(&magic), Some(true));
        assert_eq!(QuorumAuthPacket::is_next(&[0, 0, 0, 11]), Some(false));
    }

    #[test]
    fn refused() {
        let decode = |magic: i64, status: i32, len: i32| {
            let mut b = BytesMut::new();
            let mut w = Writer::new(&mut b);
            w.long(magic);
            w.int(status);
            w.int(len);
            QuorumAuthPacket::decode(&mut b)
        };
        assert_eq!(decode(1, 0, 0), Err(QuorumError::Magic(1)));
        assert_eq!(decode(MAGIC, 2, 0), Err(DecodeError::Variant(2).into()));
        let n = limits::MAX_AUTH_TOKEN as i32;
        assert_eq!(decode(MAGIC, 0, n + 1), Err(DecodeError::Length(n + 1).into()));
        assert_eq!(decode(MAGIC, 0, n), Ok(None));
        let null = Ok(Some(QuorumAuthPacket { status: AuthStatus::Error, token: None }));
        assert_eq!(decode(MAGIC, -1, -1), null);
    }
}
