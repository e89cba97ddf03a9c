//! Leader election and atomic broadcast, without IO.
//!
//! What is not here: sockets, files, clocks, threads, and what a transaction means.
//!
//! Modules in reading order: [`config`] (who is a member, what a quorum is), [`election`]
//! (who leads), [`history`] (the committed transactions that are kept in memory), [`sync`]
//! (how a learner is brought to the leader's state), [`leader`], [`learner`], [`observer_master`]
//! (a follower that serves observers).

pub mod config;
pub mod election;
pub mod history;
pub mod leader;
pub mod learner;
pub mod observer_master;
pub mod sync;
