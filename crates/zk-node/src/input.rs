//! What a member is told.

use zab::leader::LinkId;
use zab::sync::LogSpan;
use zk_proto::quorum::election::Notification;
use zk_proto::quorum::packet::{FromLeader, FromLearner};
use zk_proto::{PeerId, Zxid};

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// Of a client's connection.
    Client(zk_pipeline::Input),
    /// A message of the election port.
    Notification {
        /// Who sent it.
        from: PeerId,
        /// What.
        notification: Notification,
    },
    /// Whether a member's election port answers.
    Reachable {
        /// Which member.
        peer: PeerId,
        /// Whether it does.
        yes: bool,
    },
    /// A learner has connected.
    LinkUp(LinkId),
    /// A learner's packet.
    FromLearner(LinkId, FromLearner),
    /// What was streamed to a learner has left.
    Streamed(LinkId),
    /// A learner's connection has ended.
    LinkDown(LinkId),
    /// The connection to the leader stands.
    Following {
        /// The number of `Output::Follow`.
        attempt: u64,
    },
    /// The leader's packet. A SNAP comes after the host has read the whole tree that
    /// follows it; the host keeps that until `Output::InstallSnapshot`.
    FromLeader {
        /// The number of `Output::Follow`.
        attempt: u64,
        /// What.
        message: FromLeader,
    },
    /// The connection to the leader could not be made, or has ended.
    LeaderLost {
        /// The number of `Output::Follow`.
        attempt: u64,
    },
    /// The leader's tree is being received: it lives.
    Loading {
        /// The number of `Output::Follow`.
        attempt: u64,
    },
    /// The quorum port cannot be opened.
    CannotLead,
    /// The log is durable up to here.
    Synced {
        /// The last durable transaction.
        upto: Zxid,
    },
    /// The answer to `Output::FindInLog`.
    LogSpan {
        /// For which learner.
        link: LinkId,
        /// What the log has.
        span: LogSpan,
    },
    /// The member is to let another one lead, if it leads and a voter has all that it has. It
    /// follows then.
    HandOver,
    /// The member is to stop. It hands over what it does for others, bounded in time; at
    /// the end comes [`crate::Output::Left`].
    Leave,
}
