//! Bugs that are put back on purpose: the checkers must find each of them.

/// A duty that the simulated host does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// Says that the log is durable when it is only written.
    AckBeforeSync,
    /// `AppendSync` does not wait: the ack of NEWLEADER leaves before the history is durable.
    /// (ZOOKEEPER-3023, 3911, 4646)
    LazyHistory,
    /// An epoch is written some time after the answer that promises it.
    EpochAfterAck,
    /// A snapshot is streamed without applying what is committed first.
    SkipBarrier,
    /// The cut is not made on disk: the tail is there again after a restart.
    KeepTail,
    /// The tree keeps what was cut from the log. (ZOOKEEPER-2845)
    KeepState,
    /// The snapshot that came is not made durable. (ZOOKEEPER-3642)
    VolatileSnapshot,
    /// The base holds what is not committed.
    MirrorAhead,
    /// Events go out behind the replies of the same round.
    LateEvents,
    /// A client that has seen more than this member is let in.
    LetPastClientsIn,
    /// A read does not wait for the session's writes.
    ReadsOvertake,
    /// The disk says that it has synced, and forgets.
    LyingDisk,
    /// Committed transactions are not applied before clients are served.
    ServeEarly,
    /// A reconfiguration does not wait for those who vote in the new configuration only.
    OldQuorumOnly,
    /// A configuration is in force as soon as it is proposed.
    ActivateEarly,
    /// The file of the proposed configuration is not written.
    ForgetProposed,
    /// A reconfiguration hands over to somebody, whatever that member has.
    DesignateAnybody,
    /// A member votes with a disk that has lost what it acknowledged.
    BlankVotes,
    /// A leader that is told to stop or to hand over does not care what the others have.
    LeaveAtOnce,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 19] = [
        Plant::AckBeforeSync,
        Plant::LazyHistory,
        Plant::EpochAfterAck,
        Plant::SkipBarrier,
        Plant::KeepTail,
        Plant::KeepState,
        Plant::VolatileSnapshot,
        Plant::MirrorAhead,
        Plant::LateEvents,
        Plant::LetPastClientsIn,
        Plant::ReadsOvertake,
        Plant::LyingDisk,
        Plant::ServeEarly,
        Plant::OldQuorumOnly,
        Plant::ActivateEarly,
        Plant::ForgetProposed,
        Plant::DesignateAnybody,
        Plant::BlankVotes,
        Plant::LeaveAtOnce,
    ];

    /// The plant with this name, as `Debug` prints it.
    pub fn by_name(name: &str) -> Option<Plant> {
        Self::ALL.into_iter().find(|p| format!("{p:?}") == name)
    }
}
