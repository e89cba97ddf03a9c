//! The election port: who is connected to whom. ref: QuorumCnxManager.
//!
//! The larger id is the initiator of the one connection between two members. A
//! smaller one that has something to say dials too, sends its hello and closes:
//! that asks to be called back. Nothing is answered to a hello.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use zk_proto::PeerId;
use zk_proto::quorum::election::{self, Address, Hello, HelloVersion, Notification};

use super::events::Events;
use super::net::{self, Listeners, Opening, Port};
use super::run::{News, Outbox};
use super::{PeerAddresses, PeerConfig, PeerCounters, PeerEvent, count};
use crate::limits;
use crate::tls::Stream;

/// What the tasks of this port share.
#[derive(Debug, Clone)]
pub struct Common {
    /// The way to the core.
    pub events: Events,
    /// The way to the main loop.
    pub news: mpsc::Sender<News>,
    /// What went wrong.
    pub counters: Arc<PeerCounters>,
}

/// A connection that said who it is.
#[derive(Debug)]
pub struct Greeting {
    stream: Stream,
    buf: BytesMut,
    hello: Hello,
    remote: SocketAddr,
}

/// Another server, member or not.
#[derive(Debug, Default)]
struct Peer {
    /// The last notification for it, sent or not. It is the first on each new
    /// connection: with a queue of one, that is both what waits for a connection
    /// and, if nothing waits, the last one ever sent, which may have been lost.
    /// ref: QuorumCnxManager.lastMessageSent.
    newest: Option<Bytes>,
    connection: Option<Connection>,
    dial: Option<(u64, AbortHandle)>,
    /// Something was said since the last dial began.
    wanted: bool,
    failures: u32,
    not_before: Option<Instant>,
    /// The addresses of its last hello.
    heard_at: Vec<(String, u16)>,
}

#[derive(Debug)]
struct Connection {
    serial: u64,
    /// Dropped, it closes the connection.
    newest: watch::Sender<Option<Bytes>>,
}

impl Peer {
    fn is_idle(&self) -> bool {
        self.connection.is_none() && self.dial.is_none()
    }

    fn pause(&mut self, pause: Duration) {
        self.not_before = Some(Instant::now() + pause);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some((_, dial)) = self.dial.take() {
            dial.abort();
        }
    }
}

/// The election port of this member.
#[derive(Debug)]
pub struct Election {
    config: PeerConfig,
    common: Common,
    members: BTreeMap<PeerId, PeerAddresses>,
    peers: BTreeMap<PeerId, Peer>,
    listeners: Listeners,
    /// What the hello says.
    own: Vec<(String, u16)>,
    serial: u64,
    nameless: i64,
}

impl Election {
    /// Closed, without members.
    pub fn new(config: PeerConfig, common: Common) -> Self {
        Self {
            config,
            common,
            members: BTreeMap::new(),
            peers: BTreeMap::new(),
            listeners: Listeners::default(),
            own: Vec::new(),
            serial: 0,
            nameless: 0,
        }
    }

    /// Who is a member from now on.
    pub fn members(&mut self, members: BTreeMap<PeerId, PeerAddresses>) {
        let former = std::mem::replace(&mut self.members, members);
        self.peers.retain(|sid, _| self.members.contains_key(sid) || !former.contains_key(sid));
    }

    /// Opens the port, again perhaps.
    pub fn open(&mut self, addresses: Vec<(String, u16)>) {
        let opening = Opening {
            port: Port::Election,
            on_all: self.config.listen_on_all,
            tries: self.config.bind_retry,
            pause: limits::BIND_PAUSE,
        };
        let (common, config) = (self.common.clone(), self.config.clone());
        let handshake = move |stream, remote| greet(stream, remote, config.clone(), common.clone());
        self.listeners.open(opening, &addresses, &self.common.news, &self.common.counters, handshake);
        self.own = addresses;
    }

    /// An address of the port is bound.
    pub fn listening(&mut self, generation: u64, index: usize, address: SocketAddr, outbox: &mut Outbox) {
        if generation != self.listeners.generation {
            return;
        }
        if let Some((_, port)) = self.own.get_mut(index)
            && *port == 0
        {
            *port = address.port();
        }
        outbox.election_port = Some(Ok(self.listeners.listening(address)));
    }

    /// An address of the port could not be bound.
    pub fn not_listening(&mut self, generation: u64, why: String, outbox: &mut Outbox) {
        if generation == self.listeners.generation
            && let Some(why) = self.listeners.failed(why)
        {
            outbox.election_port = Some(Err(why));
        }
    }

    /// Sends, now or as soon as there is a connection.
    pub fn notify(&mut self, to: PeerId, notification: &Notification, outbox: &mut Outbox) {
        if to == self.config.me {
            return;
        }
        if !self.members.contains_key(&to) && !self.peers.contains_key(&to) {
            return outbox.reachable(to, false);
        }
        let mut bytes = BytesMut::new();
        notification.encode(&mut bytes);
        let newest = Some(bytes.freeze());
        let peer = self.peers.entry(to).or_default();
        peer.newest.clone_from(&newest);
        match &peer.connection {
            Some(connection) => {
                connection.newest.send_replace(newest);
            }
            None => peer.wanted = true,
        }
    }

    /// When [`Election::dial_due`] has something to do.
    pub fn next_dial(&self) -> Option<Instant> {
        self.to_dial().map(|(_, p)| p.not_before.unwrap_or_else(Instant::now)).min()
    }

    /// Dials the peers that something was said to.
    pub fn dial_due(&mut self, outbox: &mut Outbox) {
        let now = Instant::now();
        let is_due = |p: &Peer| p.not_before.is_none_or(|t| t <= now);
        let due: Vec<PeerId> = self.to_dial().filter(|(_, p)| is_due(p)).map(|(sid, _)| sid).collect();
        for sid in due {
            self.dial(sid, false, outbox);
        }
    }

    /// Peers to be dialled, now or later. Nobody is asked to call back before
    /// the port is open: it would be refused, and there is nothing to say again.
    fn to_dial(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        let can = |sid: PeerId| sid < self.config.me || self.listeners.is_open();
        let wanted = self.peers.iter().filter(move |(sid, p)| p.wanted && p.is_idle() && can(**sid));
        wanted.map(|(sid, p)| (*sid, p))
    }

    /// Dials one peer; at most one dial of each is under way. `back`: it asked
    /// for it, with the addresses that it has.
    fn dial(&mut self, sid: PeerId, back: bool, outbox: &mut Outbox) {
        self.serial += 1;
        let serial = self.serial;
        let known = self.members.get(&sid).map(|m| m.addresses.as_slice()).unwrap_or_default();
        let mut addresses: Vec<(String, u16)> = known.iter().map(|(h, _, port)| (h.clone(), *port)).collect();
        // Whom it logs in to is what the configuration says, and not what a hello does.
        let host = known.first().map(|(host, _, _)| host.clone());
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        peer.wanted = false;
        let heard = peer.heard_at.iter().filter(|a| !addresses.contains(a)).cloned().collect::<Vec<_>>();
        match back {
            true => {
                addresses.retain(|a| !peer.heard_at.contains(a));
                addresses.splice(0..0, peer.heard_at.iter().cloned());
            }
            false => addresses.extend(heard),
        }
        let Some(hello) = hello(&self.config, &self.own).filter(|_| !addresses.is_empty()) else {
            tracing::debug!(peer = %sid, "no address to dial, or none of our own to say");
            return outbox.reachable(sid, false);
        };
        let (news, config) = (self.common.news.clone(), self.config.clone());
        let host = host.or_else(|| addresses.first().map(|(host, _)| host.clone())).unwrap_or_default();
        let task = tokio::spawn(async move {
            let result = call(&host, &addresses, &hello, &config).await;
            let _ = news.send(News::Dialled { sid, serial, result }).await;
        });
        peer.dial = Some((serial, task.abort_handle()));
    }

    /// A dial is over.
    pub fn dialled(
        &mut self,
        sid: PeerId,
        serial: u64,
        result: Result<(Stream, BytesMut), String>,
        outbox: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if peer.dial.as_ref().is_none_or(|(current, _)| *current != serial) {
            return;
        }
        peer.dial = None;
        match result {
            Ok((stream, buf)) if sid < self.config.me => self.connected(sid, stream, buf, outbox),
            // It was asked to call back; the connection is closed here.
            Ok(_) => {
                peer.failures = 0;
                peer.pause(limits::DIAL_PAUSE);
            }
            Err(why) => {
                tracing::debug!(peer = %sid, "cannot connect for the election: {why}");
                let doubled = limits::DIAL_PAUSE.saturating_mul(1 << peer.failures.min(16));
                peer.failures += 1;
                peer.pause(doubled.min(limits::DIAL_PAUSE_MAX));
                if peer.connection.is_none() {
                    outbox.reachable(sid, false);
                }
            }
        }
    }

    /// Somebody said who it is. ref: QuorumCnxManager.handleConnection.
    pub fn greeted(&mut self, greeting: Greeting, outbox: &mut Outbox) {
        let Greeting { stream, buf, hello, remote } = greeting;
        let me = self.config.me;
        let nameless = hello.sid == Hello::OBSERVER_ID;
        let sid = if nameless { self.next_nameless() } else { hello.sid };
        if sid == me || (hello.sid.0 < 0) {
            count(&self.common.counters.bad_hellos);
            return tracing::warn!(%remote, %sid, "a connection for the election with an id that it cannot have");
        }
        if !self.has_room_for(sid) {
            count(&self.common.counters.refused);
            return tracing::warn!(%remote, %sid, "too many election peers that are no members");
        }
        let peer = self.peers.entry(sid).or_default();
        let heard = hello.addresses.into_iter().filter(|a| !a.is_wildcard());
        let heard: Vec<(String, u16)> = heard.map(|a| (a.host, a.port)).collect();
        if !heard.is_empty() {
            peer.heard_at = heard;
        }
        // differs: Java compares the made-up id of a nameless observer, finds it
        // smaller and calls back, which that observer answers in the same way.
        if nameless || sid > me {
            return self.connected(sid, stream, buf, outbox);
        }
        // Whatever connection there is, it has none.
        peer.connection = None;
        match peer.dial {
            Some(_) => peer.wanted = true,
            None => self.dial(sid, true, outbox),
        }
    }

    /// ref: QuorumCnxManager.observerCounter.
    fn next_nameless(&mut self) -> PeerId {
        self.nameless -= 1;
        PeerId(self.nameless)
    }

    /// Whether one more peer may be known. One that is no member and not
    /// connected gives way.
    fn has_room_for(&mut self, sid: PeerId) -> bool {
        if self.members.contains_key(&sid) || self.peers.contains_key(&sid) {
            return true;
        }
        let strangers = || self.peers.iter().filter(|(sid, _)| !self.members.contains_key(sid));
        if strangers().count() < limits::STRANGERS {
            return true;
        }
        let idle = strangers().find(|(_, p)| p.is_idle()).map(|(sid, _)| *sid);
        idle.is_some_and(|sid| self.peers.remove(&sid).is_some())
    }

    /// A connection from the right side; it replaces the one before.
    fn connected(&mut self, sid: PeerId, stream: Stream, buf: BytesMut, outbox: &mut Outbox) {
        if self.config.keep_alive {
            net::keep_alive(stream.tcp());
        }
        net::end_unless_acknowledged(stream.tcp(), self.config.connect_timeout);
        self.serial += 1;
        let serial = self.serial;
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        (peer.wanted, peer.failures, peer.not_before) = (false, 0, None);
        let (newest, receiver) = watch::channel(peer.newest.clone());
        peer.connection = Some(Connection { serial, newest });
        tracing::debug!(peer = %sid, "connected for the election");
        outbox.reachable(sid, true);
        let common = self.common.clone();
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(stream);
            let why = tokio::select! {
                why = read(reader, buf, sid, &common) => why,
                why = write(writer, receiver) => why,
            };
            let _ = common.news.send(News::Disconnected { sid, serial, why }).await;
        });
    }

    /// A connection ended. Nothing is dialled before something is to be said.
    pub fn disconnected(&mut self, sid: PeerId, serial: u64, why: &str, outbox: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if peer.connection.as_ref().is_none_or(|c| c.serial != serial) {
            return;
        }
        tracing::debug!(peer = %sid, "election connection ended: {why}");
        peer.connection = None;
        if sid.0 < 0 {
            // Its next connection gets another id.
            self.peers.remove(&sid);
        }
        outbox.reachable(sid, false);
    }
}

/// The hello, which must leave in one write. `None`: there is no address to say,
/// and a peer refuses a hello without.
fn hello(config: &PeerConfig, own: &[(String, u16)]) -> Option<Bytes> {
    let said = if config.hello == HelloVersion::V2 { own } else { own.get(..1)? };
    if said.is_empty() {
        return None;
    }
    let addresses = said.iter().map(|(host, port)| Address { host: host.clone(), port: *port }).collect();
    let mut out = BytesMut::new();
    Hello { version: config.hello, sid: config.me, addresses }.encode(&mut out);
    Some(out.freeze())
}

/// Dials and says the hello. ref: QuorumCnxManager.startConnection.
async fn call(
    host: &str,
    addresses: &[(String, u16)],
    hello: &[u8],
    config: &PeerConfig,
) -> Result<(Stream, BytesMut), String> {
    let stream = net::dial(addresses, config.connect_timeout).await?;
    let handshake = async {
        let mut buf = BytesMut::new();
        let mut stream = config.tls.connect(stream, addresses).await?;
        stream.write_all(hello).await?;
        stream.flush().await?;
        config.sasl.connect(host, &mut stream, &mut buf).await?;
        Ok::<_, std::io::Error>((stream, buf))
    };
    match timeout(config.handshake_timeout, handshake).await {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("the handshake takes too long".to_owned()),
    }
}

/// Takes the hello of an accepted connection.
async fn greet(stream: TcpStream, remote: SocketAddr, config: PeerConfig, common: Common) {
    let greeting = async {
        let mut stream = config.tls.accept(stream).await.map_err(|e| e.to_string())?;
        let mut buf = BytesMut::new();
        let hello = loop {
            match Hello::decode(&mut buf).map_err(|e| e.to_string())? {
                Some(hello) => break hello,
                None => {
                    net::read_more(&mut stream, &mut buf, limits::KEEP).await.map_err(|e| e.to_string())?;
                }
            }
        };
        config.sasl.accept(&mut stream, &mut buf, remote).await.map_err(|e| e.to_string())?;
        Ok(Greeting { stream, buf, hello, remote })
    };
    match timeout(config.handshake_timeout, greeting)
        .await
        .unwrap_or_else(|_| Err("no hello in time".to_owned()))
    {
        Ok(greeting) => {
            let _ = common.news.send(News::Greeting(Box::new(greeting))).await;
        }
        Err(why) => {
            count(&common.counters.bad_hellos);
            tracing::debug!(%remote, "no connection for the election: {why}");
        }
    }
}

/// Reads notifications until the connection ends. A silent one never does.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    mut buf: BytesMut,
    from: PeerId,
    common: &Common,
) -> String {
    loop {
        match election::take_frame(&mut buf) {
            Ok(Some(body)) => match Notification::decode(&body) {
                Ok(notification) => {
                    let event = PeerEvent::Notification { from, notification };
                    if common.events.send(event).await.is_err() {
                        return "the member stops".to_owned();
                    }
                }
                Err(e) => {
                    count(&common.counters.bad_notifications);
                    tracing::debug!(peer = %from, "notification skipped: {e}");
                }
            },
            Ok(None) => {
                if let Err(e) = net::read_more(&mut reader, &mut buf, limits::KEEP).await {
                    return e.to_string();
                }
            }
            Err(e) => {
                count(&common.counters.bad_notifications);
                tracing::warn!(peer = %from, "election connection closed: {e}");
                return e.to_string();
            }
        }
    }
}

/// Writes the newest notification, the first at once.
async fn write(mut writer: impl AsyncWrite + Unpin, mut newest: watch::Receiver<Option<Bytes>>) -> String {
    loop {
        let message = newest.borrow_and_update().clone();
        if let Some(message) = message {
            let written = async {
                writer.write_all(&message).await?;
                writer.flush().await
            };
            if let Err(e) = written.await {
                return e.to_string();
            }
        }
        if newest.changed().await.is_err() {
            return "replaced, or not wanted any more".to_owned();
        }
    }
}
