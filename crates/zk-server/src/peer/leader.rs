//! The quorum port of a leader, or a follower's port for observers: links to learners. ref: Leader.LearnerCnxAcceptor,
//! LearnerHandler.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute::DecodeError;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zk_proto::quorum::packet::{FromLearner, PacketReader, QuorumPacket};

use super::election::Common;
use super::link::{End, OutQueue, decode_all};
use super::net::{self, Listeners, Opening, Port};
use super::run::{News, Outbox};
use super::{LinkId, PeerConfig, PeerEvent, StreamSource, count};
use crate::limits;
use crate::sasl::members::MemberLogins;
use crate::tls::{Members, Stream};

/// A connection whose first packet is a learner's.
#[derive(Debug)]
pub struct Learner {
    generation: u64,
    stream: Stream,
    buf: BytesMut,
    first: FromLearner,
    remote: SocketAddr,
}

struct Link {
    out: Arc<OutQueue>,
    close: CancellationToken,
}

/// The links of this member.
pub struct Leader {
    config: PeerConfig,
    common: Common,
    listeners: Listeners,
    links: BTreeMap<LinkId, Link>,
    last: u64,
}

impl Leader {
    /// Closed.
    pub fn new(config: PeerConfig, common: Common) -> Self {
        Self { config, common, listeners: Listeners::default(), links: BTreeMap::new(), last: 0 }
    }

    /// Opens the port; for `tries` and `pause` see [`Opening`].
    pub fn open(&mut self, addresses: &[(String, u16)], tries: u32, pause: Duration) {
        let opening = Opening { port: Port::Quorum, on_all: self.config.listen_on_all, tries, pause };
        let admission = Admission {
            // That of the opening below.
            generation: self.listeners.generation + 1,
            within: self.config.handshake_timeout,
            tls: Arc::clone(&self.config.tls),
            sasl: Arc::clone(&self.config.sasl),
            common: self.common.clone(),
        };
        let handshake = move |stream, remote| admission.clone().admit(stream, remote);
        self.listeners.open(opening, addresses, &self.common.news, &self.common.counters, handshake);
    }

    /// Closes the port and every link.
    pub fn close(&mut self) {
        self.listeners.close();
        for (_, link) in std::mem::take(&mut self.links) {
            link.close.cancel();
        }
    }

    /// An address of the port is bound.
    pub fn listening(&mut self, generation: u64, address: SocketAddr, outbox: &mut Outbox) {
        if generation == self.listeners.generation {
            outbox.quorum_port = Some(Ok(self.listeners.listening(address)));
        }
    }

    /// An address of the port could not be bound.
    pub fn not_listening(&mut self, generation: u64, why: String, outbox: &mut Outbox) {
        if generation == self.listeners.generation
            && let Some(why) = self.listeners.failed(why)
        {
            outbox.quorum_port = Some(Err(why));
        }
    }

    /// A learner becomes a link.
    pub fn admitted(&mut self, learner: Learner) {
        if learner.generation != self.listeners.generation {
            return;
        }
        if self.links.len() >= limits::LINKS {
            count(&self.common.counters.refused);
            return tracing::warn!(remote = %learner.remote, "too many links to learners");
        }
        self.last += 1;
        let id = LinkId(self.last);
        let sid = match &learner.first {
            FromLearner::Info { learner, .. } => learner.sid,
            _ => None,
        };
        let meters = sid.and_then(|sid| self.config.meters.learners.of(sid));
        let link = Link { out: Arc::new(OutQueue::new(meters)), close: CancellationToken::new() };
        let (out, close) = (Arc::clone(&link.out), link.close.clone());
        self.links.insert(id, link);
        let task =
            LinkTask { id, out, close, max_packet: self.config.max_packet, common: self.common.clone() };
        tokio::spawn(task.run(learner));
    }

    /// A link's task is over.
    pub fn ended(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// Queues for some links.
    pub fn send(&mut self, links: &[LinkId], packets: &Bytes) {
        for id in links {
            let Some(link) = self.links.get(id) else { continue };
            if !link.out.push(packets.clone()) {
                count(&self.common.counters.slow_links);
                let limit = limits::LINK_BYTES;
                tracing::warn!(
                    link = id.0,
                    limit,
                    "a learner does not take what it is sent, its link is closed"
                );
                self.close_link(*id);
            }
        }
    }

    /// Queues a stream for a link; if it is gone the source is dropped.
    pub fn stream(&mut self, id: LinkId, source: StreamSource) {
        if let Some(link) = self.links.get(&id) {
            link.out.push_stream(source);
        }
    }

    /// Closes a link.
    pub fn close_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.remove(&id) {
            link.close.cancel();
        }
    }
}

/// What lets a connection become a link.
#[derive(Debug, Clone)]
struct Admission {
    generation: u64,
    within: Duration,
    tls: Arc<Members>,
    sasl: Arc<MemberLogins>,
    common: Common,
}

impl Admission {
    async fn admit(self, stream: TcpStream, remote: SocketAddr) {
        let late = |_| Err(End::Lost("no first packet in time".to_owned()));
        match timeout(self.within, self.first(stream, remote)).await.unwrap_or_else(late) {
            Ok(learner) => {
                let _ = self.common.news.send(News::Learner(Box::new(learner))).await;
            }
            Err(end) => {
                count(&self.common.counters.bad_hellos);
                tracing::debug!(%remote, "no learner: {}", end.why());
            }
        }
    }

    /// The first packet must say who the learner is. ref: LearnerHandler.run.
    async fn first(&self, stream: TcpStream, remote: SocketAddr) -> Result<Learner, End> {
        let mut stream = self.tls.accept(stream).await?;
        let mut buf = BytesMut::new();
        self.sasl.accept(&mut stream, &mut buf, remote).await?;
        let packet = loop {
            match QuorumPacket::decode(&mut buf, limits::KEEP)? {
                Some(packet) => break packet,
                // It has some forty bytes and no identities.
                None if buf.len() > limits::KEEP => {
                    return Err(End::Bad("its first packet is too long".to_owned()));
                }
                None => net::read_more(&mut stream, &mut buf, limits::KEEP).await?,
            }
        };
        match FromLearner::from_packet(&packet) {
            Ok(first @ FromLearner::Info { .. }) => {
                Ok(Learner { generation: self.generation, stream, buf, first, remote })
            }
            Ok(_) => Err(End::Bad("its first packet does not say who it is".to_owned())),
            Err(e) => Err(End::Bad(e.to_string())),
        }
    }
}

struct LinkTask {
    id: LinkId,
    out: Arc<OutQueue>,
    close: CancellationToken,
    max_packet: usize,
    common: Common,
}

impl LinkTask {
    async fn run(self, learner: Learner) {
        let (link, remote) = (self.id, learner.remote);
        if self.tell(PeerEvent::LinkUp { link, remote }).await.is_err() {
            return;
        }
        let (reader, writer) = tokio::io::split(learner.stream);
        let end = tokio::select! {
            end = self.read(reader, learner.buf, learner.first) => end,
            end = self.out.write(writer, Some((&self.common.events, link))) => end,
            () = self.close.cancelled() => End::Lost("closed by this member".to_owned()),
        };
        match &end {
            End::Bad(why) => {
                count(&self.common.counters.bad_packets);
                tracing::warn!(link = link.0, %remote, "link to a learner closed: {why}");
            }
            End::Lost(why) => tracing::debug!(link = link.0, %remote, "link to a learner ended: {why}"),
        }
        let _ = self.common.news.send(News::LinkEnded(link)).await;
        let _ = self.tell(PeerEvent::LinkDown { link }).await;
    }

    async fn tell(&self, event: PeerEvent) -> Result<(), End> {
        Ok(self.common.events.send(event).await?)
    }

    async fn read(&self, reader: impl AsyncRead + Unpin, buf: BytesMut, first: FromLearner) -> End {
        match self.try_read(reader, buf, first).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// All packets of one read are one event.
    async fn try_read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut buf: BytesMut,
        first: FromLearner,
    ) -> Result<std::convert::Infallible, End> {
        let link = self.id;
        let mut messages = vec![first];
        let mut packets = PacketReader::default();
        loop {
            let decoded = decode_all(&mut packets, &mut buf, self.max_packet, |packet| {
                match FromLearner::from_packet(packet) {
                    Ok(message) => messages.push(message),
                    // ref: LearnerHandler.run, the switch's default.
                    Err(DecodeError::Variant(kind)) if kind == packet.kind => {
                        tracing::debug!(link = link.0, kind, "unexpected packet from a learner");
                    }
                    Err(e) => return Err(End::Bad(e.to_string())),
                }
                Ok(false)
            });
            if !messages.is_empty() {
                let messages = std::mem::take(&mut messages);
                self.tell(PeerEvent::FromLearner { link, messages }).await?;
            }
            decoded?;
            net::read_more(&mut reader, &mut buf, limits::READ_BUFFER).await?;
        }
    }
}
