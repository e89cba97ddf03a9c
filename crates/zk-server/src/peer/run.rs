//! The thread's main loop. It waits for commands and for news of the other
//! tasks, and for nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::BytesMut;
use crossbeam_channel::Sender;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use zk_proto::PeerId;

use super::election::{Common, Election, Greeting};
use super::events::Events;
use super::leader::{Leader, Learner};
use super::learner::{Following, Target};
use super::net::Port;
use super::{LinkId, PeerCommand, PeerConfig, PeerCounters, PeerEvent, SnapSinks};
use crate::limits;
use crate::tls::Stream;

/// What tasks tell the main loop.
#[derive(Debug)]
pub enum News {
    /// An address of a port is bound.
    Listening {
        /// Which port.
        port: Port,
        /// Of which opening.
        generation: u64,
        /// Which of the addresses.
        index: usize,
        /// Where.
        address: SocketAddr,
    },
    /// An address of a port will not be bound.
    NotListening {
        /// Which port.
        port: Port,
        /// Of which opening.
        generation: u64,
        /// The address and the error.
        why: String,
    },
    /// Somebody said hello on the election port.
    Greeting(Box<Greeting>),
    /// A dial of an election peer is over.
    Dialled {
        /// Whose.
        sid: PeerId,
        /// Which dial.
        serial: u64,
        /// The connection, its hello said, and what was read from it.
        result: Result<(Stream, BytesMut), String>,
    },
    /// An election connection ended.
    Disconnected {
        /// Whose.
        sid: PeerId,
        /// Which connection.
        serial: u64,
        /// Why, for the log.
        why: String,
    },
    /// A learner said who it is.
    Learner(Box<Learner>),
    /// A link's task is over.
    LinkEnded(LinkId),
}

/// Events of the main loop that wait for room. It cannot wait itself, so of each
/// kind only the newest is kept.
#[derive(Debug, Default)]
pub struct Outbox {
    /// See [`PeerEvent::ElectionPort`].
    pub election_port: Option<Result<Vec<SocketAddr>, String>>,
    /// See [`PeerEvent::QuorumPort`].
    pub quorum_port: Option<Result<Vec<SocketAddr>, String>>,
    reachable: BTreeMap<PeerId, bool>,
}

impl Outbox {
    /// See [`PeerEvent::Reachable`].
    pub fn reachable(&mut self, peer: PeerId, yes: bool) {
        self.reachable.insert(peer, yes);
    }

    /// Sends what there is room for. True: nothing is left.
    fn flush(&mut self, events: &Events) -> bool {
        if let Some(result) = self.election_port.take()
            && !events.offer(PeerEvent::ElectionPort(result.clone()))
        {
            self.election_port = Some(result);
            return false;
        }
        if let Some(result) = self.quorum_port.take()
            && !events.offer(PeerEvent::QuorumPort(result.clone()))
        {
            self.quorum_port = Some(result);
            return false;
        }
        self.reachable.retain(|peer, yes| !events.offer(PeerEvent::Reachable { peer: *peer, yes: *yes }));
        self.reachable.is_empty()
    }
}

/// Runs until [`PeerCommand::Stop`] or until the handle is gone.
pub fn run(
    config: PeerConfig,
    sinks: SnapSinks,
    commands: mpsc::Receiver<Vec<PeerCommand>>,
    events: Sender<PeerEvent>,
    counters: Arc<PeerCounters>,
) {
    // Each link may have a stream, which waits for a slow learner. Names must be
    // looked up all the same.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2 * limits::LINKS)
        .thread_name("peer-io")
        .build()
        .expect("a runtime can be made");
    let (news, queue) = mpsc::channel(limits::PEER_NEWS);
    let common = Common { events: Events(events), news, counters };
    let peers = Peers {
        election: Election::new(config.clone(), common.clone()),
        leader: Leader::new(config.clone(), common.clone()),
        following: None,
        outbox: Outbox::default(),
        sinks,
        common,
        config,
    };
    runtime.block_on(peers.run(commands, queue));
    runtime.shutdown_timeout(limits::STOP_WAIT);
}

struct Peers {
    election: Election,
    leader: Leader,
    following: Option<Following>,
    outbox: Outbox,
    sinks: SnapSinks,
    common: Common,
    config: PeerConfig,
}

impl Peers {
    async fn run(mut self, mut commands: mpsc::Receiver<Vec<PeerCommand>>, mut news: mpsc::Receiver<News>) {
        let mut is_flushed = true;
        tokio::spawn(Arc::clone(&self.config.tls).watch());
        loop {
            let retry = (!is_flushed).then(|| Instant::now() + limits::PEER_EVENTS_PAUSE);
            let wake = [retry, self.election.next_dial()].into_iter().flatten().min();
            let alarm = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                batch = commands.recv() => {
                    let Some(batch) = batch else { return };
                    for command in batch {
                        if self.command(command).is_break() {
                            return;
                        }
                    }
                }
                Some(news) = news.recv() => self.news(news),
                () = alarm => {}
            }
            self.election.dial_due(&mut self.outbox);
            is_flushed = self.outbox.flush(&self.common.events);
        }
    }

    fn command(&mut self, command: PeerCommand) -> ControlFlow<()> {
        match command {
            PeerCommand::Members(members) => {
                let addresses = members.values().flat_map(|m| &m.addresses);
                let hosts: Vec<_> = addresses.map(|(host, _, _)| host.clone()).collect();
                self.config.sasl.set_hosts(hosts.clone());
                self.config.tls.set_hosts(hosts);
                self.election.members(members);
            }
            PeerCommand::ElectionPort(addresses) => self.election.open(addresses),
            PeerCommand::Notify { to, notification } => {
                self.election.notify(to, &notification, &mut self.outbox);
            }
            PeerCommand::Lead(addresses) => {
                self.leader.open(&addresses, limits::LEAD_BIND_TRIES, limits::LEAD_BIND_PAUSE);
            }
            // differs: Java's follower leaves its leader when this port cannot be bound.
            PeerCommand::ServeObservers(addresses) => self.leader.open(&addresses, 0, limits::BIND_PAUSE),
            PeerCommand::StopLeading => self.leader.close(),
            PeerCommand::ToLearners { links, packets } => self.leader.send(&links, &packets),
            PeerCommand::Stream { link, source } => self.leader.stream(link, source),
            PeerCommand::CloseLink(link) => self.leader.close_link(link),
            PeerCommand::Follow { attempt, leader, addresses, try_for, retry_delay } => {
                let target = Target { attempt, leader, addresses, try_for, retry_delay };
                self.following = Some(Following::start(target, &self.config, &self.sinks, &self.common));
            }
            PeerCommand::ToLeader { attempt, packets } => {
                if let Some(following) = &self.following {
                    following.send(attempt, packets);
                }
            }
            PeerCommand::Unfollow => self.following = None,
            PeerCommand::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn news(&mut self, news: News) {
        let outbox = &mut self.outbox;
        match news {
            News::Listening { port: Port::Election, generation, index, address } => {
                self.election.listening(generation, index, address, outbox);
            }
            News::Listening { port: Port::Quorum, generation, address, .. } => {
                self.leader.listening(generation, address, outbox);
            }
            News::NotListening { port: Port::Election, generation, why } => {
                self.election.not_listening(generation, why, outbox);
            }
            News::NotListening { port: Port::Quorum, generation, why } => {
                self.leader.not_listening(generation, why, outbox);
            }
            News::Greeting(greeting) => self.election.greeted(*greeting, outbox),
            News::Dialled { sid, serial, result } => self.election.dialled(sid, serial, result, outbox),
            News::Disconnected { sid, serial, why } => {
                self.election.disconnected(sid, serial, &why, outbox);
            }
            News::Learner(learner) => self.leader.admitted(*learner),
            News::LinkEnded(link) => self.leader.ended(link),
        }
    }
}
