//! Whole ensembles in one thread and virtual time.
//!
//! A [`Sim`] runs [`zk_node::Node`]s as the server does: the same outputs in the same order,
//! on disks, networks and clocks that fail as a generator says. A seed gives the same run to
//! the byte. While it runs, [`checks`] look at every step.
//!
//! What is not here: real time, sockets, files, threads (the binary runs seeds side by side).
//!
//! Modules in reading order: [`rng`], [`state`] (trees that are sent and kept), [`disk`],
//! [`net`], [`world`] (time and what is under way), [`member`] (the host's duties),
//! [`clients`], [`checks`], [`faults`] (what goes wrong, when), [`operator`] (who changes the
//! members), [`plant`] (bugs on purpose), [`sim`] (one run), [`scenario`] (a run that a text file tells).
//!
//! ```
//! let report = zk_sim::run_seed(1, None, false);
//! assert_eq!(report.violation, None);
//! ```

pub mod checks;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod member;
pub mod net;
pub mod operator;
pub mod plant;
pub mod rng;
pub mod scenario;
pub mod sim;
pub mod state;
pub mod world;

pub use plant::Plant;
pub use sim::{Report, Sim, run_seed};
