//! Every word an operator reads: four-letter words, HTTP bodies, metric names.
//!
//! All of it is pure text made from plain data: the caller collects the values into a [`Status`]
//! and sends what comes back. Not here: sockets, counters, and decisions of any kind.
//!
//! Modules in reading order: `status` (the values), `names` (what metrics are called),
//! `four_letter` (the words on the client port), `monitor` (the list of metrics), `http` (the admin port),
//! `prometheus` (its page), `java` (how Java prints doubles, dates and addresses).
//!
//! ```
//! use zk_admin::{Answer, Status, Version, Whitelist, Word, answer};
//!
//! let status = Status::not_serving(Version::new("3.9.4", &"0".repeat(40), 1_700_000_000));
//! let whitelist = Whitelist::parse(Some("ruok"), false);
//! assert_eq!(answer(Word::Ruok, &whitelist, &status), Answer::Text("imok".into()));
//! assert_eq!(
//!     answer(Word::Mntr, &whitelist, &status),
//!     Answer::Text("mntr is not executed because it is not in the whitelist.\n".into())
//! );
//! ```

pub mod four_letter;
pub mod http;
pub mod java;
pub mod monitor;
pub mod names;
pub mod prometheus;
pub mod status;

pub use four_letter::{Answer, Needs, Whitelist, Word, answer, render};
pub use status::{Serving, Status, Version};
