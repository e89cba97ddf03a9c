//! A blocking client of a ZooKeeper ensemble, for tools: one session, kept alive by a thread
//! of its own, over a list of servers, with watches that survive a change of servers.
//!
//! Not here: files with certificates, the mechanisms of SASL (both are handed in, see [`Security`]), and
//! what a command prints (`zkd`). Requests of several threads may be outstanding at once; each
//! caller waits for its own reply.
//!
//! Modules in reading order: `servers` (connection strings), `link` (bytes, with or without TLS), `session`
//! (the thread, and what it shares with callers), `watches` (what to set again), `calls` (one method
//! an operation).
//!
//! ```no_run
//! use zk_client::{Client, Options, Security};
//!
//! let client = Client::start(Options::new("127.0.0.1:2181")?, Security::default(), |event| println!("{event}"));
//! let (data, stat) = client.get_data("/a", false)?;
//! println!("{data:?} has version {}", stat.version);
//! client.close();
//! # Ok::<(), zk_client::Error>(())
//! ```

mod calls;
mod link;
mod path;
mod servers;
mod session;
mod watches;

pub use link::Link;
pub use path::check_path;
pub use servers::Options;
pub use session::{Client, State};
pub use watches::{Event, EventKind, WatchKind};

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use zk_proto::ErrorCode;

/// Makes TLS of a connection to a host: the whole handshake, with every check.
pub type Shake = dyn Fn(&mut TcpStream, &str) -> io::Result<rustls::ClientConnection> + Send + Sync;

/// Begins a login by SASL. What comes of it is asked with each token of the server's, the first time with an
/// empty one, and says what to answer; `None` when nothing more is to be said, an error when the
/// server's token is not taken.
pub type Login =
    dyn Fn() -> Box<dyn FnMut(&[u8]) -> std::result::Result<Option<Vec<u8>>, String>> + Send + Sync;

/// How connections are protected, and who logs in on them. By default they are not, and nobody does.
#[derive(Clone, Default)]
pub struct Security {
    /// TLS.
    pub tls: Option<Arc<Shake>>,
    /// SASL.
    pub login: Option<Arc<Login>>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, login) = (self.tls.is_some(), self.login.is_some());
        f.debug_struct("Security").field("tls", &tls).field("login", &login).finish()
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server refused, or the connection broke: then the outcome of a write is unknown.
    #[error("{code:?} for {path}")]
    Refused {
        /// Which code; `ConnectionLoss` and `SessionExpired` are made here.
        code: ErrorCode,
        /// The path of the request.
        path: String,
    },
    /// A path that no server would take; the text is Java's.
    #[error("{0}")]
    Path(String),
    /// The list of servers cannot be understood.
    #[error("{0}")]
    Servers(String),
    /// A reply that is none.
    #[error("the server's reply cannot be read: {0}")]
    Reply(#[from] zk_proto::DecodeError),
}

impl Error {
    /// The code, if it is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            Error::Path(_) | Error::Servers(_) | Error::Reply(_) => None,
        }
    }
}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Error>;
