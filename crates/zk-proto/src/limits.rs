//! Named limits, each with its reason.

/// Default `jute.maxbuffer`: the longest frame a server reads from a client,
/// in bytes. ref: BinaryInputArchive.maxBuffer.
pub const MAX_FRAME: usize = 0xf_ffff;

/// Longest record accepted in a transaction log or a snapshot, in bytes. A
/// multi of many requests at the frame limit cannot come near it; a length
/// beyond it is damage.
pub const MAX_RECORD: usize = 256 << 20;

/// Longest list of identities in a quorum packet, in bytes. Java has no limit.
/// A client adds to the list with each auth packet, so a limit near a usual
/// list's size would let one client cut a learner from its leader.
pub const MAX_AUTHINFO: usize = 16 << 20;

/// Longest notification on an election connection, in bytes.
/// ref: QuorumCnxManager.PACKETMAXSIZE.
pub const MAX_NOTIFICATION: usize = 512 << 10;

/// Longest address text in the first message of an election connection, in
/// bytes. ref: QuorumCnxManager.maxBuffer.
pub const MAX_HELLO_TEXT: usize = 2048;

/// Longest SASL token between servers, in bytes: twice what the largest
/// Kerberos ticket takes. It comes before its sender is known, so the limit is
/// not that of a request's data as in Java.
pub const MAX_AUTH_TOKEN: usize = 128 << 10;
