//! A load generator for ZooKeeper servers: many requests from few threads, so that on a machine
//! which it shares with the server it is not what is measured.
//!
//! - [`Keys`] names the nodes and [`fill`] makes them, [`clear`] removes them;
//! - [`Plan`] and [`run`] drive requests in a closed or an open loop; [`Outcome`] is what was seen;
//! - [`churn`] opens and closes sessions, [`watchers`] measures how fast all are told of a change;
//! - [`Canned`] is a server that does nothing but answer: the limit of the generator and the kernel;
//! - [`Table`] and [`Chart`] show results.
//!
//! Not here: processes, and what they use of the machine; see the package `zkd-benches`.
//!
//! ```
//! use std::time::Duration;
//! use zk_load::{Canned, Keys, Mix, Pace, Plan};
//!
//! let server = Canned::start(0, 1)?;
//! let plan = Plan {
//!     servers: vec![server.addr()],
//!     connections: 2,
//!     threads: 1,
//!     pace: Pace::Closed { depth: 4 },
//!     mix: Mix::parse("get=7,set=3")?,
//!     keys: Keys::new("/bench/key-###", 1000)?,
//!     value: 100,
//!     parts: 1,
//!     warm_up: Duration::from_millis(10),
//!     time: Duration::from_millis(50),
//! };
//! let (outcome, _) = zk_load::run(&plan, || ())?;
//! assert!(outcome.rate() > 0.0 && outcome.refused == 0);
//! # Ok::<(), zk_load::Error>(())
//! ```

mod canned;
mod chart;
mod drive;
mod error;
mod fill;
mod frames;
mod keys;
mod line;
mod outcome;
mod requests;
mod sessions;
mod table;
mod watchers;

pub use canned::Canned;
pub use chart::{Chart, Scale, Series};
pub use drive::{Pace, Plan, SESSION_MS, own_cpu, run};
pub use error::{Error, Result};
pub use fill::{Nodes, clear, fill};
pub use keys::Keys;
pub use line::{Line, Reply};
pub use outcome::{Outcome, SLOT, Slot, Times};
pub use requests::{Mix, Verb};
pub use sessions::churn;
pub use table::{Table, figure};
pub use watchers::{Told, watchers};
