use std::io;
use std::net::SocketAddr;

/// Why a load could not be driven to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A socket or the kernel refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("no connection to {addr}: {source}")]
    Connect {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The server ended a connection that was in use.
    #[error("the server closed a connection")]
    Closed,
    /// The server refused a session.
    #[error("the server refused a session")]
    Refused,
    /// Bytes that are no reply, or the reply to another request.
    #[error("the server does not keep to the protocol: {0}")]
    Protocol(String),
    /// An error code where the request had to succeed.
    #[error("{what} answered error {code}")]
    Code {
        /// The request.
        what: String,
        /// The number in the reply.
        code: i32,
    },
    /// Something did not happen in time.
    #[error("not in time: {0}")]
    Late(String),
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what, source }
    }

    pub(crate) fn os(what: &'static str) -> impl FnOnce(nix::errno::Errno) -> Error {
        move |e| Error::Io { what, source: e.into() }
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
