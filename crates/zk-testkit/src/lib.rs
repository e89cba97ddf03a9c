//! For tests: speaks the protocol byte by byte, starts servers as processes,
//! and compares zkd with the reference.
//!
//! Nothing here is part of the server. The encoders of requests and decoders of
//! replies are written apart from `zk-proto` where the server has no use for
//! that direction, so that a mistake there is not made twice.
//!
//! - [`vectors`]: bytes captured from the reference.
//! - [`request`], [`reply`]: bodies of requests and of replies.
//! - [`raw`]: a blocking client that sends and receives frames.
//! - [`http`]: requests to admin ports.
//! - [`process`]: a Java server or zkd as a child process.
//! - [`ensemble`]: several of them that form one ensemble.
//! - [`tree`]: everything a client can read of a server, for comparison.
//! - [`diff`]: the same random requests to two servers.
//! - [`history`]: what clients of an ensemble saw, and whether it may be so.
//! - [`net`]: network namespaces with partitions, delay and loss.
//! - [`crash`]: `kill -9` under load, and what has to be there afterwards.

pub mod crash;
pub mod diff;
pub mod ensemble;
pub mod history;
pub mod http;
pub mod net;
pub mod process;
pub mod raw;
pub mod reply;
pub mod request;
pub mod tree;
pub mod vectors;
