//! The shell of a server: threads, sockets, clocks. It decides nothing of the
//! protocol: what a request means is `zk-pipeline`'s, what a word prints is
//! `zk-admin`'s, what is on the disk is `zk-storage`'s.
//!
//! | thread | module |
//! |---|---|
//! | main: signals, listener | [`server`], `accept` |
//! | W workers | `worker`, `conn` |
//! | core | `core_loop` |
//! | log, mirror | `disk` |
//! | peer | [`peer`] |
//!
//! Modules in reading order: [`server`], `early`, `accept`, `worker`, `conn`, `frames`, `sasl`,
//! `core_loop`, `disk`, `recovery`, `words`, [`peer`], `member`, `ensemble`, `dynamic`, then what they share: `shared`,
//! `inbox`, `throttle`, `stats`, `clock`, [`limits`].
//!
//! Who waits for whom: the core may wait for log, mirror and workers, the
//! workers wait for nobody, so there is no circle.

mod accept;
mod clock;
mod conn;
mod core_loop;
mod disk;
mod dynamic;
mod early;
mod ensemble;
mod frames;
mod inbox;
pub mod limits;
mod member;
pub mod peer;
mod recovery;
mod sasl;
pub mod server;
mod shared;
mod stats;
mod throttle;
mod words;
mod worker;

pub use disk::EXIT_DISK;
pub use recovery::storage_config;
pub use server::{COMPATIBLE_RELEASE, Options, Server, StartError, huge_pages, version};
