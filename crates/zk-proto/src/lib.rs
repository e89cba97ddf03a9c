//! The words of the protocol: ids, records, opcodes, error codes, packets.
//!
//! Nothing here decides anything. Bytes become types at the edge and types
//! become bytes again; both directions are checked against bytes captured from
//! Java servers.
//!
//! Modules in reading order: [`ids`], [`code`], [`op`], [`path`], [`acl`],
//! [`stat`], [`client`] (what goes over a client's connection), [`txn`] (what
//! goes into the log and between servers), [`quorum`] (what members of an ensemble
//! say to each other), [`limits`].

pub mod acl;
pub mod client;
pub mod code;
pub mod ids;
pub mod limits;
pub mod op;
pub mod path;
pub mod quorum;
pub mod stat;
pub mod txn;

pub use acl::{Acl, AuthId, Perms};
pub use code::ErrorCode;
pub use ids::{Epoch, PeerId, SessionId, Xid, Zxid};
pub use jute::{DecodeError, Reader, Writer};
pub use op::OpCode;
pub use stat::{Stat, StatPersisted};
