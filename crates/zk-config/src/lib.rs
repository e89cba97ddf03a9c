//! `zoo.cfg`, the dynamic file, `myid` and the JVM flags of the environment, as one checked [`Config`].
//!
//! An existing file of Apache ZooKeeper is taken unchanged: unknown keys give a [`Note`] and never an
//! error, values mean what they mean in Java, and a value that stops the Java server stops this one
//! with a message that says file, line, key, value and what is allowed.
//!
//! Not here: sockets, name resolution, global state. The caller passes the environment in, and files
//! are read in [`Config::load`] alone.
//!
//! Modules in reading order: `properties` (Java's file syntax), `jvm_flags` (`-D` in the
//! environment), `keys` (every known key and what becomes of it), `meaning` (what it does, in words),
//! `zoo_cfg` (which setting counts), `members` (server lines), `jaas` (the file of logins), `config` (the result),
//! `load`, `tls` and `sasl` (its rules), `lines` (what became of each line), `dynamic` (the files that a member rewrites), `error`.
//!
//! ```
//! let loaded = zk_config::parse_bytes(b"dataDir=/var/lib/zookeeper\nclientPort=2181\ntickTime=2000\n")?;
//! assert_eq!(loaded.config.sessions.min_timeout.as_millis(), 4000);
//!
//! let error = zk_config::parse_bytes(b"dataDir=/var/lib/zookeeper\nclientPort=http\n").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "zoo.cfg:2: clientPort=http is not valid, allowed is a port, a number from 0 to 65535"
//! );
//! # Ok::<(), zk_config::ConfigError>(())
//! ```

mod client;
pub mod config;
pub mod dynamic;
pub mod error;
pub mod jaas;
pub mod jvm_flags;
pub mod keys;
pub mod lines;
pub mod load;
pub mod meaning;
pub mod members;
pub mod properties;
mod sasl;
mod tls;
pub mod zoo_cfg;

pub use config::{Config, Loaded};
pub use error::{ConfigError, Level, Note, Origin, Secret, without_secrets};
pub use jvm_flags::Env;
pub use lines::{Effect, Line};
pub use load::parse_bytes;
pub use members::{Endpoint, PeerType};
pub use zoo_cfg::Setting;

#[cfg(test)]
mod tests;
