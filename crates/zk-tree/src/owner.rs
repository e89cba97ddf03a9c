//! What a node's `ephemeralOwner` means. ref: EphemeralType.

use zk_proto::SessionId;

/// Owner of a container.
pub const CONTAINER: i64 = i64::MIN;
/// Longest time to live in ms: 40 bits.
pub const MAX_TTL: i64 = 0xff_ffff_ffff;

const TTL_MASK: i64 = 0xff00_0000_0000_0000_u64 as i64;
const FEATURE_MASK: i64 = 0x00ff_ff00_0000_0000;

/// The kinds of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerKind {
    /// Stays until deleted.
    Persistent,
    /// Ends with this session.
    Session(SessionId),
    /// Goes when its last child has gone.
    Container,
    /// Goes when it is empty and was not set for this many ms.
    Ttl(i64),
}

/// What an owner means. `extended` is `zookeeper.extendedTypesEnabled`: without
/// it, a time to live counts as a session.
///
/// differs: Java throws on an extended feature that it does not know, which
/// stops the server; here it is a session's, and the node stays readable.
pub fn classify(ephemeral_owner: i64, extended: bool) -> OwnerKind {
    match ephemeral_owner {
        0 => OwnerKind::Persistent,
        CONTAINER => OwnerKind::Container,
        o if extended && o & TTL_MASK == TTL_MASK && o & FEATURE_MASK == 0 => OwnerKind::Ttl(o & MAX_TTL),
        o => OwnerKind::Session(SessionId(o)),
    }
}

/// The owner of a node with this time to live in ms.
pub fn ttl(ms: i64) -> i64 {
    TTL_MASK | (ms & MAX_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        assert_eq!(ttl(600_000), 0xff00_0000_0009_27c0_u64 as i64, "seen live");
        assert_eq!(classify(ttl(600_000), true), OwnerKind::Ttl(600_000));
        assert_eq!(classify(ttl(MAX_TTL), true), OwnerKind::Ttl(MAX_TTL));
        assert_eq!(classify(ttl(7), false), OwnerKind::Session(SessionId(ttl(7))));
        for extended in [false, true] {
            assert_eq!(classify(0, extended), OwnerKind::Persistent);
            assert_eq!(classify(CONTAINER, extended), OwnerKind::Container);
            assert_eq!(classify(0x7f, extended), OwnerKind::Session(SessionId(0x7f)));
            assert_eq!(classify(0xfe << 56, extended), OwnerKind::Session(SessionId(0xfe << 56)));
        }
    }
}
