//! What a member wants done.

use zab::config::EnsembleConfig;
use zab::history::Record;
use zab::leader::LinkId;
use zk_proto::quorum::election::Notification;
use zk_proto::quorum::packet::{FromLeader, FromLearner};
use zk_proto::{Epoch, PeerId, Zxid};

/// One thing to do. See "The host's duties" of the crate.
#[derive(Debug)]
pub enum Output {
    /// For a client's connection; never `Append`, `Forward` or `Revalidate`.
    Client(zk_pipeline::Output),
    /// To be logged; comes in zxid order.
    Append(Vec<Record>),
    /// To be logged and durable, and all that was appended before it.
    AppendSync(Vec<Record>),
    /// `acceptedEpoch`, durable.
    StoreAcceptedEpoch(Epoch),
    /// `currentEpoch`, durable.
    StoreCurrentEpoch(Epoch),
    /// Barrier: apply what is committed. `settled`: all of the log up to the applied
    /// state is committed by a quorum, so the mirror may follow.
    ApplyCommitted {
        /// Whether what was held back from the mirror may be written to it.
        settled: bool,
    },
    /// Barrier. Cut the log; with `reload`, the tree is ahead of the cut and is read anew.
    Truncate {
        /// The last transaction to stay.
        to: Zxid,
        /// Whether the state has to go back.
        reload: bool,
    },
    /// Barrier. The tree that came with the SNAP becomes the state; nothing of it is durable.
    InstallSnapshot {
        /// Its zxid.
        zxid: Zxid,
    },
    /// The installed snapshot was not persisted and is given up: read the state from the
    /// disk again, as at a start, then call [`crate::Node::reloaded`].
    Reload,
    /// Barrier. The state becomes the durable base, and the log goes on behind it.
    Persist,
    /// Send a message of the election.
    Notify {
        /// To whom.
        to: PeerId,
        /// What.
        notification: Notification,
    },
    /// Open the quorum port.
    Lead,
    /// Open the port for observers. It is tried until it opens, or until it is closed.
    ServeObservers,
    /// Close the quorum port or that for observers, and all learners' connections.
    StopLeading,
    /// Send one packet to some learners.
    ToLearners {
        /// To whom.
        links: Vec<LinkId>,
        /// What.
        message: FromLeader,
    },
    /// Close a learner's connection.
    CloseLink {
        /// Which.
        link: LinkId,
        /// Why, for the log.
        why: &'static str,
    },
    /// Where does the log have this? Answered with `Input::LogSpan`.
    FindInLog {
        /// For which learner.
        link: LinkId,
        /// What it has last.
        zxid: Zxid,
    },
    /// PROPOSAL and COMMIT of each record of the log in (after, upto], in order with what
    /// else goes to this learner.
    StreamLog {
        /// To whom.
        link: LinkId,
        /// Not this one, but those behind it.
        after: Zxid,
        /// To here.
        upto: Zxid,
        /// COMMIT of a configuration is COMMITANDACTIVATE with this leader.
        activate: Option<PeerId>,
    },
    /// Barrier. SNAP and the tree as it is then, in order with what else goes to this learner.
    StreamSnapshot {
        /// To whom.
        link: LinkId,
        /// What the tree has then.
        zxid: Zxid,
    },
    /// Connect to a leader's quorum port, or to a follower's port for observers.
    Follow {
        /// Number of this attempt; older ones are void.
        attempt: u64,
        /// Whose.
        leader: PeerId,
        /// Whether it is the port for observers.
        observer_port: bool,
    },
    /// Send a packet to the leader.
    ToLeader {
        /// Number of the attempt.
        attempt: u64,
        /// What.
        message: FromLearner,
    },
    /// Answer a PING with the sessions that were heard of: [`crate::Node::heard`] for each,
    /// then [`crate::Node::pong`].
    Ping {
        /// Its zxid.
        zxid: Zxid,
    },
    /// Close the connection to the leader.
    Unfollow,
    /// Clients are served from now on, or held back.
    Serving(bool),
    /// There is no leader. Clients that take a server which answers reads only are served,
    /// until the next [`Output::Serving`].
    ReadOnly,
    /// New members were proposed: to be kept beside the active ones, durable. They are
    /// reached from now on, too.
    Proposed {
        /// The proposed configuration.
        config: EnsembleConfig,
    },
    /// What was proposed never comes to be: its file is to go, and nobody is reached for it.
    Withdrawn,
    /// The members changed: to be kept, durable. What was proposed is gone unless it is
    /// newer, see [`crate::Node::configs`].
    Configuration {
        /// The new active configuration.
        config: EnsembleConfig,
    },
    /// The end of [`crate::Input::Leave`]: it takes no part in the ensemble any more. Close
    /// the election port too, then the clients, once their replies are written.
    Left,
}
