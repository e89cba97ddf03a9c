//! One member as one state machine: sessions and requests (`zk-pipeline`), election and
//! broadcast (`zab`), joined. Alone, it is a stand-alone server: a quorum of itself.
//!
//! What is not here: sockets, files, clocks, threads. Both the server and the simulator run it.
//!
//! Modules in reading order: [`input`] and [`output`] (what comes in and what is to be done),
//! [`node`] (the roles and their changes), [`reconfig`] (what becomes of a client's wish).
//!
//! # The host's duties
//! 1. [`Node::handle`] for each input, then [`Node::poll`] until it returns `None`. Inputs of
//!    clients may be handled in a row before polling.
//! 2. Perform each [`Output`] **before the next poll**, in order. What an output stores is
//!    durable before the next one is performed, except for [`Output::Append`], whose end is
//!    told by [`Input::Synced`].
//! 3. Outputs that are marked as a *barrier*: first apply everything committed
//!    ([`Node::apply`] until it returns false), then do what it says.
//! 4. After polling, [`Node::apply`] in slices under the tree's write lock, as
//!    [`zk_pipeline`] describes, and poll again: what was applied has outputs, too.
//! 5. At [`Node::deadline`]: tell when due sessions were last heard of, then [`Node::tick`].
//! 6. While [`Node::serving`] is false, leave clients' requests in their sockets: those that
//!    are handed in all the same are not done, and their connections close. A connection that
//!    the client has closed meanwhile is not read when it goes on: the client may have done
//!    newer things elsewhere.

pub mod input;
pub mod node;
pub mod output;
pub mod reconfig;

pub use input::Input;
pub use node::{Mode, Node, NodeConfig, Start, Status};
pub use output::Output;
