//! The shell of a server: threads, sockets, clocks. It decides nothing of the
//! protocol: what a request means is `zk-pipeline`'s, what a word prints is
//! `zk-admin`'s, what is on the disk is `zk-storage`'s.
//!
//! | thread | module |
//! |---|---|
//! | main: signals, listener | [`server`], `accept` |
//! | W workers | `worker`, `conn` |
//! | tls: handshakes of clients | [`tls`] |
//! | core-0, core-1 | `crew`, `core_loop`; the log: `disk` |
//! | mirror | `disk` |
//! | peer | [`peer`] |
//! | admin: HTTP | `admin_http` |
//!
//! Modules in reading order: [`server`], `early`, `accept`, `worker`, `conn`, `frames`, `sasl`,
//! [`tls`], `crew`, `core_loop`, `disk`, `recovery`, `collect`, `words`, `admin_http`, `backup`, [`peer`], `member`, `ensemble`,
//! `dynamic`, then what they share: `shared`, `live`, [`audit`], [`logs`], `inbox`, `throttle`, `stats`, `meters`,
//! `clock`, [`limits`]; with the feature `otel` also `trace`.
//!
//! Who waits for whom: the core may wait for log, mirror and workers, the
//! workers wait for nobody, so there is no circle.

mod accept;
mod admin_http;
pub mod audit;
mod backup;
mod clock;
mod collect;
mod conn;
mod core_loop;
mod crew;
mod disk;
mod dynamic;
mod early;
mod ensemble;
mod frames;
mod guard;
mod inbox;
mod learners;
pub mod limits;
mod live;
pub mod logs;
mod member;
mod meters;
pub mod peer;
mod quiet;
mod recovery;
pub mod sasl;
pub mod server;
mod shared;
mod stats;
mod throttle;
pub mod tls;
#[cfg(feature = "otel")]
pub mod trace;
mod words;
mod worker;

pub use disk::EXIT_DISK;
pub use recovery::storage_config;
pub use server::{
    COMPATIBLE_RELEASE, Hangup, Options, Server, StartError, check, huge_pages, missing, version,
};
