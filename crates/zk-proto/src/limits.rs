//! Named limits, each with its reason.

/// Default `jute.maxbuffer`: the longest frame a server reads from a client,
/// in bytes. ref: BinaryInputArchive.maxBuffer.
pub const MAX_FRAME: usize = 0xf_ffff;

/// Longest record accepted in a transaction log or a snapshot, in bytes. A
/// multi of many requests at the frame limit cannot come near it; a length
/// beyond it is damage.
pub const MAX_RECORD: usize = 256 << 20;
