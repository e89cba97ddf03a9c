//! What clients of an ensemble did and saw, and whether ZooKeeper's promises
//! allow it.
//!
//! Writes are linearizable and reads are consistent for each session. Every
//! reply carries a zxid and every write a value that no other write has, so
//! that checking is a walk over the record and no search.
//!
//! - [`load`]: clients that write and read at many members and record it.
//! - [`check`]: the checker.

use std::collections::BTreeMap;

use zk_proto::{SessionId, Stat};

pub mod check;
pub mod load;

/// What a client asked for. Values are unique among all writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// create2.
    Create {
        /// The node.
        key: String,
        /// Its data.
        value: String,
        /// Bound to the session.
        ephemeral: bool,
    },
    /// setData.
    Set {
        /// The node.
        key: String,
        /// Its data.
        value: String,
        /// The version that it must have, or -1.
        expected: i32,
    },
    /// delete, whatever the version.
    Delete {
        /// The node.
        key: String,
    },
    /// getData.
    Get {
        /// The node.
        key: String,
    },
    /// sync.
    Sync,
}

impl Call {
    /// The node that it is about.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Create { key, .. } | Self::Set { key, .. } | Self::Delete { key } | Self::Get { key } => {
                Some(key)
            }
            Self::Sync => None,
        }
    }

    /// What it writes.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Create { value, .. } | Self::Set { value, .. } => Some(value),
            _ => None,
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The connection ended before the reply.
    Unknown,
    /// Refused.
    Failed {
        /// The code.
        code: i32,
        /// Of the reply's header.
        zxid: i64,
    },
    /// Done.
    Done {
        /// Of the reply's header.
        zxid: i64,
        /// Of create2, setData and getData.
        stat: Option<Stat>,
        /// Of getData.
        value: Option<String>,
    },
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Whose session it belongs to. Requests of a session stand in the record in
    /// the order in which they were sent.
    pub session: SessionId,
    /// The member that was asked.
    pub member: usize,
    /// When it was sent, in ns from some start.
    pub invoked: u64,
    /// When the reply had come; `u64::MAX` if none came.
    pub completed: u64,
    /// The request.
    pub call: Call,
    /// The reply.
    pub outcome: Outcome,
}

impl Op {
    /// The zxid in the reply's header.
    pub fn zxid(&self) -> Option<i64> {
        match self.outcome {
            Outcome::Unknown => None,
            Outcome::Failed { zxid, .. } | Outcome::Done { zxid, .. } => Some(zxid),
        }
    }

    /// Whether it was acknowledged.
    pub fn done(&self) -> bool {
        matches!(self.outcome, Outcome::Done { .. })
    }

    /// The stat in the reply.
    pub fn stat(&self) -> Option<Stat> {
        match self.outcome {
            Outcome::Done { stat, .. } => stat,
            _ => None,
        }
    }
}

/// All that was recorded.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Requests of all sessions.
    pub ops: Vec<Op>,
    /// Sessions that were closed or found expired, and when that was known.
    pub ended: BTreeMap<SessionId, u64>,
}

impl History {
    /// Puts another record of the same clock behind this one. Their sessions differ.
    pub fn extend(&mut self, other: History) {
        self.ops.extend(other.ops);
        self.ended.extend(other.ended);
    }

    /// How many requests were acknowledged, were refused, and have an unknown fate.
    pub fn counts(&self) -> (usize, usize, usize) {
        let unknown = self.ops.iter().filter(|o| o.outcome == Outcome::Unknown).count();
        let done = self.ops.iter().filter(|o| o.done()).count();
        (done, self.ops.len() - done - unknown, unknown)
    }
}
