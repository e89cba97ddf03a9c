//! The byte encoding of ZooKeeper's records (jute), and nothing else.
//!
//! Numbers are big-endian, buffers and strings are length-prefixed with `-1`
//! for null, vectors are counted with `-1` for null. A record is its fields in
//! order. This crate does not know any record of ZooKeeper.
//!
//! - [`Reader`] is total: any input gives a value or a [`DecodeError`]; nothing
//!   is allocated by a length that the input merely claims.
//! - [`Writer`] appends to any [`bytes::BufMut`] and cannot fail.
//!
//! ```
//! use jute::{Reader, Writer};
//! let mut out = Vec::new();
//! let mut w = Writer::new(&mut out);
//! w.int(7);
//! w.buffer(Some(b"x"));
//! w.buffer(None);
//! let mut r = Reader::new(&out);
//! assert_eq!(r.int().unwrap(), 7);
//! assert_eq!(r.buffer().unwrap(), Some(&b"x"[..]));
//! assert_eq!(r.buffer().unwrap(), None);
//! assert!(r.is_empty());
//! ```

mod error;
mod reader;
mod writer;

pub use error::DecodeError;
pub use reader::Reader;
pub use writer::{Writer, text_len};

/// Longest buffer or string a [`Reader`] takes unless told otherwise: the
/// default `jute.maxbuffer` (0xfffff) plus `jute.maxbuffer.extrasize` of the
/// same size. ref: BinaryInputArchive.checkLength.
pub const DEFAULT_MAX_LEN: usize = 2 * 0xf_ffff;
