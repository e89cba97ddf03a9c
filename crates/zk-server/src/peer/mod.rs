//! The transport between the members of an ensemble: it moves bytes and decides
//! nothing of the protocol. ref: QuorumCnxManager, LearnerHandler, Learner.
//!
//! One thread, `peer`, with a runtime of its own. The core sends it
//! [`PeerCommand`]s in batches and gets [`PeerEvent`]s. Two ports are served:
//!
//! - the election port, always open: at most one connection for each other
//!   member, kept by the rule that the larger id is the initiator (`election`);
//! - the quorum port: links to learners while this member leads (`leader`), or
//!   the one link to the leader while it does not (`learner`). What both sides
//!   do with a link's bytes is in `link`. A follower that serves observers has
//!   their port open in its place.
//!
//! Who waits for whom: a socket's reader waits while the channel of events is
//! full, and so stops reading. The thread's main loop waits for nothing but
//! commands, so a command is taken at once whatever sockets and events do.
//!
//! | queue | bound |
//! |---|---|
//! | commands | [`limits::PEER_COMMANDS`] batches |
//! | events | [`limits::PEER_EVENTS`], each at most one read of a socket or one packet |
//! | to an election peer | one notification, the newest |
//! | to a link | [`limits::LINK_BYTES`], then the link is closed |
//! | a stream of a link | [`limits::STREAM_CHUNKS`], then its source waits |

mod election;
mod events;
mod leader;
mod learner;
mod link;
mod net;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use zk_proto::quorum::election::{HelloVersion, Notification};
use zk_proto::quorum::packet::{FromLeader, FromLearner};
use zk_proto::quorum::snap::SnapItem;
use zk_proto::{PeerId, Zxid};
use zk_tree::Tree;

pub use zab::leader::LinkId;

use crate::limits;
use crate::meters::Meters;
use crate::sasl::members::MemberLogins;
use crate::tls::Members;

/// How the transport works.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// This member.
    pub me: PeerId,
    /// Which first message is sent: V1, or V2 with `multiAddress.enabled`.
    pub hello: HelloVersion,
    /// Longest wait for one connection to be made. ref: zookeeper.cnxTimeout, 5 s.
    pub connect_timeout: Duration,
    /// Longest wait for what comes before the first message's end: on the
    /// election port the hello, on the quorum port the learner's first packet.
    /// ref: QuorumPeer.getSyncLimit, zookeeper.quorumCnxnTimeoutMs.
    pub handshake_timeout: Duration,
    /// Whether both ports listen on every address of the machine.
    /// ref: quorumListenOnAllIPs.
    pub listen_on_all: bool,
    /// Longest buffer in a packet: `jute.maxbuffer` and its extra size.
    pub max_packet: usize,
    /// How often the election port is bound, a second apart, before
    /// [`PeerEvent::ElectionPort`] says that it failed; 0: for ever.
    /// ref: zookeeper.electionPortBindRetry, 3.
    pub bind_retry: u32,
    /// TCP keep-alive on election connections. ref: zookeeper.tcpKeepAlive.
    pub keep_alive: bool,
    /// Whether and how TLS is used on both ports.
    pub tls: Arc<Members>,
    /// Whether and how members log in to each other, on both ports.
    pub sasl: Arc<MemberLogins>,
    /// Where the queues to learners are measured.
    pub meters: Arc<Meters>,
}

impl PeerConfig {
    /// Java's defaults for member `me`.
    pub fn new(me: PeerId) -> Self {
        Self {
            me,
            hello: HelloVersion::V1,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            listen_on_all: false,
            max_packet: jute::DEFAULT_MAX_LEN + 1024,
            bind_retry: 3,
            keep_alive: false,
            tls: Arc::default(),
            sasl: Arc::default(),
            meters: Arc::default(),
        }
    }
}

/// Where a member is reached: host, quorum port and election port of each of its
/// addresses. Names are resolved at every dial.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerAddresses {
    /// The addresses.
    pub addresses: Vec<(String, u16, u16)>,
}

/// Where a stream's bytes come from, see [`PeerCommand::Stream`]. An error
/// closes the link.
pub type StreamSource = Box<dyn FnOnce(&mut dyn FnMut(Bytes) -> bool) -> Result<(), String> + Send>;

/// What the core wants. None of them fails: trouble comes out as an event.
pub enum PeerCommand {
    /// Whom to dial on the election port; replaces the former. Connections of
    /// members that are not in it any more are closed. This member may be in it.
    Members(BTreeMap<PeerId, PeerAddresses>),
    /// Binds the election port, or binds it again somewhere else. Hosts are as
    /// this member's server line has them: they are said in the hello too.
    /// Answered by [`PeerEvent::ElectionPort`].
    ElectionPort(Vec<(String, u16)>),
    /// Sends a notification. Dials when there is no connection. One that is not
    /// sent yet is replaced by the next; the last one is sent again on each new
    /// connection.
    Notify {
        /// To whom; an id that is no member can be answered as long as it is known.
        to: PeerId,
        /// What.
        notification: Notification,
    },
    /// Binds the quorum port and accepts learners.
    /// Answered by [`PeerEvent::QuorumPort`].
    Lead(Vec<(String, u16)>),
    /// Binds the port for observers in place of the quorum port, as often as it takes.
    /// Answered by [`PeerEvent::QuorumPort`].
    ServeObservers(Vec<(String, u16)>),
    /// Closes that port and all links, each with its [`PeerEvent::LinkDown`].
    StopLeading,
    /// Queues bytes for some learners.
    ToLearners {
        /// To whom; a link that is gone is passed over.
        links: Vec<LinkId>,
        /// Encoded packets.
        packets: Bytes,
    },
    /// Queues a stream for a learner, in order with what was queued before and
    /// after it. The source runs on a thread of its own and hands out pieces,
    /// best of 64 KiB to 1 MiB; it waits in that while the learner is slow.
    /// `false` says that the link is gone: stop.
    Stream {
        /// To whom.
        link: LinkId,
        /// Where the bytes come from.
        source: StreamSource,
    },
    /// Closes a link, with what is queued for it.
    CloseLink(LinkId),
    /// Dials a leader's quorum port; ends a former attempt.
    Follow {
        /// Number of the attempt, for the events about it.
        attempt: u64,
        /// Whom.
        leader: PeerId,
        /// Where; all are tried at once, five times each.
        addresses: Vec<(String, u16)>,
        /// Time for all of it.
        try_for: Duration,
        /// Pause between two tries. ref: zookeeper.leaderConnectDelayDuringRetryMs, 100 ms.
        retry_delay: Duration,
    },
    /// Queues bytes for the leader. Those of another attempt are dropped.
    ToLeader {
        /// The attempt.
        attempt: u64,
        /// Encoded packets.
        packets: Bytes,
    },
    /// Closes the link to the leader, without an event.
    Unfollow,
    /// Ends the thread.
    Stop,
}

/// What happened.
#[derive(Debug)]
pub enum PeerEvent {
    /// The election port listens at these addresses, or it does not and will not.
    ElectionPort(Result<Vec<SocketAddr>, String>),
    /// A notification.
    Notification {
        /// From whom: as the connection's hello says.
        from: PeerId,
        /// What.
        notification: Notification,
    },
    /// The election connection of a peer was made; or it was broken by the other
    /// side, or could not be made. Only the newest state is told; no order holds
    /// between this and notifications.
    Reachable {
        /// Whose.
        peer: PeerId,
        /// Which.
        yes: bool,
    },
    /// The quorum port listens at these addresses, or it does not.
    QuorumPort(Result<Vec<SocketAddr>, String>),
    /// A learner connected and said who it is: its first packet comes with the
    /// first [`PeerEvent::FromLearner`].
    LinkUp {
        /// Its number from now on.
        link: LinkId,
        /// Where it is.
        remote: SocketAddr,
    },
    /// Packets of a learner, at least one.
    FromLearner {
        /// Of which.
        link: LinkId,
        /// The packets.
        messages: Vec<FromLearner>,
    },
    /// A stream was written to the socket in full.
    Streamed {
        /// Of which link.
        link: LinkId,
    },
    /// A link ended, whoever closed it. Comes once for each [`PeerEvent::LinkUp`].
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// The leader is connected.
    Following {
        /// Which attempt.
        attempt: u64,
    },
    /// A snapshot is being received and loaded; comes about twice a second as
    /// long as there is progress. It is a sign of life of the leader.
    Loading {
        /// Which attempt.
        attempt: u64,
    },
    /// Packets of the leader, at least one.
    FromLeader {
        /// Which attempt.
        attempt: u64,
        /// The packets.
        messages: Vec<LeaderMessage>,
    },
    /// The leader could not be connected, or its link ended. Nothing of this
    /// attempt follows.
    LeaderLost {
        /// Which attempt.
        attempt: u64,
        /// Why, for the log.
        why: String,
    },
}

/// What comes from a leader.
#[derive(Debug)]
pub enum LeaderMessage {
    /// Any packet but SNAP.
    Packet(FromLeader),
    /// SNAP, with its whole stream as a tree.
    Snapshot {
        /// The packet's zxid.
        zxid: Zxid,
        /// The tree.
        tree: Box<Tree>,
    },
}

/// Makes a tree of a snapshot's pieces. Runs on a thread that may wait.
pub trait SnapSink: Send {
    /// Takes the next piece; the last one is [`SnapItem::End`].
    fn item(&mut self, item: SnapItem) -> Result<(), String>;
    /// The tree as of `zxid`.
    fn finish(self: Box<Self>, zxid: Zxid) -> Result<Tree, String>;
}

/// Makes a sink for each SNAP.
pub type SnapSinks = Arc<dyn Fn() -> Box<dyn SnapSink> + Send + Sync>;

/// What went wrong with connections so far.
#[derive(Debug, Default)]
pub struct PeerCounters {
    bad_hellos: AtomicU64,
    bad_notifications: AtomicU64,
    bad_packets: AtomicU64,
    refused: AtomicU64,
    slow_links: AtomicU64,
}

impl PeerCounters {
    /// Connections closed before they said who they are: junk, silence, or an
    /// id that may not connect.
    pub fn bad_hellos(&self) -> u64 {
        self.bad_hellos.load(Ordering::Relaxed)
    }

    /// Notifications that were skipped, and election connections closed for a
    /// frame that is none.
    pub fn bad_notifications(&self) -> u64 {
        self.bad_notifications.load(Ordering::Relaxed)
    }

    /// Links closed for what came over them.
    pub fn bad_packets(&self) -> u64 {
        self.bad_packets.load(Ordering::Relaxed)
    }

    /// Connections closed because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Links closed because they did not take what was queued.
    pub fn slow_links(&self) -> u64 {
        self.slow_links.load(Ordering::Relaxed)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The transport as the core sees it.
#[derive(Debug)]
pub struct PeerHandle {
    commands: mpsc::Sender<Vec<PeerCommand>>,
    counters: Arc<PeerCounters>,
    thread: Option<JoinHandle<()>>,
}

impl PeerHandle {
    /// Hands commands over, in order; after the stop they are dropped.
    ///
    /// It waits while [`limits::PEER_COMMANDS`] batches are not taken. The
    /// thread takes them without waiting for sockets, names, files or events, so
    /// that is the time of some turns of its loop, about a millisecond each.
    pub fn send(&self, commands: Vec<PeerCommand>) {
        match self.commands.try_send(commands) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(commands)) => {
                let _ = self.commands.blocking_send(commands);
            }
        }
    }

    /// What went wrong so far.
    pub fn counters(&self) -> &Arc<PeerCounters> {
        &self.counters
    }

    /// Whether it has not been stopped.
    pub fn runs(&self) -> bool {
        self.thread.is_some()
    }

    /// Closes every port and connection and ends the thread.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.send(vec![PeerCommand::Stop]);
            thread.join().expect("a panic aborts the process");
        }
    }
}

impl Drop for PeerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread. It listens nowhere before it is told to.
pub fn start(config: PeerConfig, sinks: SnapSinks) -> (PeerHandle, Receiver<PeerEvent>) {
    let (commands, queue) = mpsc::channel(limits::PEER_COMMANDS);
    let (events, receiver) = crossbeam_channel::bounded(limits::PEER_EVENTS);
    let counters = Arc::new(PeerCounters::default());
    let shared = Arc::clone(&counters);
    let thread = std::thread::Builder::new()
        .name("peer".to_owned())
        .spawn(move || run::run(config, sinks, queue, events, shared))
        .expect("a thread can be started");
    (PeerHandle { commands, counters, thread: Some(thread) }, receiver)
}
