//! The link to a leader. ref: Learner.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute::DecodeError;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use zk_proto::quorum::packet::{FromLeader, PacketReader, QuorumPacket};
use zk_proto::quorum::snap::SnapReader;
use zk_proto::txn::LogEntry;
use zk_proto::{PeerId, Zxid};
use zk_tree::Tree;

use super::election::Common;
use super::link::{End, OutQueue, decode_all};
use super::net;
use super::{LeaderMessage, PeerConfig, PeerEvent, SnapSinks, count};
use crate::limits;

/// Whom to follow, and how to reach it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Number of the attempt.
    pub attempt: u64,
    /// Whom.
    pub leader: PeerId,
    /// Where.
    pub addresses: Vec<(String, u16)>,
    /// Time for all tries.
    pub try_for: Duration,
    /// Pause between two tries.
    pub retry_delay: Duration,
}

/// An attempt to follow. Dropped, it closes the link.
pub struct Following {
    attempt: u64,
    out: Arc<OutQueue>,
    overflow: CancellationToken,
    task: AbortHandle,
    common: Common,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Following {
    /// Begins to dial.
    pub fn start(target: Target, config: &PeerConfig, sinks: &SnapSinks, common: &Common) -> Self {
        let attempt = target.attempt;
        let out = Arc::new(OutQueue::new(None));
        let overflow = CancellationToken::new();
        let task = LearnerTask {
            target,
            config: config.clone(),
            sinks: Arc::clone(sinks),
            common: common.clone(),
            out: Arc::clone(&out),
            overflow: overflow.clone(),
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Self { attempt, out, overflow, task, common: common.clone() }
    }

    /// Queues for the leader.
    pub fn send(&self, attempt: u64, packets: Bytes) {
        if attempt == self.attempt && !self.out.push(packets) && !self.overflow.is_cancelled() {
            count(&self.common.counters.slow_links);
            tracing::warn!(limit = limits::LINK_BYTES, "the leader does not take what it is sent");
            self.overflow.cancel();
        }
    }
}

struct LearnerTask {
    target: Target,
    config: PeerConfig,
    sinks: SnapSinks,
    common: Common,
    out: Arc<OutQueue>,
    overflow: CancellationToken,
}

impl LearnerTask {
    async fn run(self) {
        let (attempt, leader) = (self.target.attempt, self.target.leader);
        let end = tokio::select! {
            end = self.follow() => match end {
                Ok(never) => match never {},
                Err(end) => end,
            },
            () = self.overflow.cancelled() => End::Lost("it does not take what it is sent".to_owned()),
        };
        if let End::Bad(why) = &end {
            count(&self.common.counters.bad_packets);
            tracing::warn!(%leader, "link to the leader closed: {why}");
        }
        let why = end.why().to_owned();
        let _ = self.tell(PeerEvent::LeaderLost { attempt, why }).await;
    }

    async fn tell(&self, event: PeerEvent) -> Result<(), End> {
        Ok(self.common.events.send(event).await?)
    }

    async fn follow(&self) -> Result<Infallible, End> {
        let Target { attempt, addresses, try_for, retry_delay, .. } = &self.target;
        let stream = net::dial_leader(addresses, *try_for, *retry_delay).await.map_err(End::Lost)?;
        let mut buf = BytesMut::new();
        let handshake = async {
            let mut stream = self.config.tls.connect(stream, addresses).await?;
            let host = addresses.first().map_or("", |(host, _)| host);
            self.config.sasl.connect(host, &mut stream, &mut buf).await?;
            Ok::<_, End>(stream)
        };
        let late = |_| Err(End::Lost("the handshake takes too long".to_owned()));
        let stream = timeout(self.config.handshake_timeout, handshake).await.unwrap_or_else(late)?;
        self.tell(PeerEvent::Following { attempt: *attempt }).await?;
        let (mut reader, writer) = tokio::io::split(stream);
        tokio::select! {
            end = self.read(&mut reader, &mut buf) => end,
            end = self.out.write(writer, None) => Err(end),
        }
    }

    async fn read(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        buf: &mut BytesMut,
    ) -> Result<Infallible, End> {
        let mut packets = PacketReader::default();
        loop {
            let mut messages = Vec::new();
            let mut snap = None;
            let decoded = decode_all(&mut packets, buf, self.config.max_packet, |packet| {
                match decode(packet)? {
                    Some(FromLeader::Snap { zxid }) => snap = Some(zxid),
                    Some(message) => messages.push(LeaderMessage::Packet(message)),
                    None => {}
                }
                Ok(snap.is_some())
            });
            self.deliver(messages).await?;
            decoded?;
            match snap {
                Some(zxid) => {
                    let tree = Box::new(self.load(reader, buf, zxid).await?);
                    self.deliver(vec![LeaderMessage::Snapshot { zxid, tree }]).await?;
                }
                None => net::read_more(reader, buf, limits::READ_BUFFER).await?,
            }
        }
    }

    async fn deliver(&self, messages: Vec<LeaderMessage>) -> Result<(), End> {
        if messages.is_empty() {
            return Ok(());
        }
        self.tell(PeerEvent::FromLeader { attempt: self.target.attempt, messages }).await
    }

    /// Reads the stream behind SNAP, while another thread makes a tree of it.
    /// Only that thread finds the end: what was read beyond comes back into `buf`.
    async fn load(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        buf: &mut BytesMut,
        zxid: Zxid,
    ) -> Result<Tree, End> {
        let attempt = self.target.attempt;
        let (chunks, queue) = mpsc::channel(limits::STREAM_CHUNKS);
        let is_read = Arc::new(AtomicBool::new(false));
        let loader = Loader {
            buf: std::mem::take(buf),
            queue,
            reader: SnapReader::new(self.config.max_packet),
            is_read: Arc::clone(&is_read),
        };
        let sinks = Arc::clone(&self.sinks);
        let mut loading = tokio::task::spawn_blocking(move || loader.load(&sinks, zxid));
        let mut clock = interval(limits::LOADING_PAUSE);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved = true;
        let loaded = loop {
            let next = async {
                match chunks.reserve().await {
                    Ok(place) => {
                        let mut chunk = BytesMut::with_capacity(limits::SNAP_CHUNK);
                        reader.read_buf(&mut chunk).await.map(|n| (place, chunk, n))
                    }
                    // The loader is done; its result comes.
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                loaded = &mut loading => break loaded,
                read = next => match read? {
                    (_, _, 0) => return Err(End::Lost("closed within the snapshot".to_owned())),
                    (place, chunk, _) => {
                        place.send(chunk);
                        moved = true;
                    }
                },
                _ = clock.tick() => {
                    let busy = chunks.capacity() < chunks.max_capacity();
                    if moved || busy || is_read.load(Ordering::Relaxed) {
                        self.common.events.offer(PeerEvent::Loading { attempt });
                    }
                    moved = false;
                }
            }
        };
        let (tree, rest) = loaded.unwrap_or_else(|e| Err(e.to_string())).map_err(End::Bad)?;
        *buf = rest.buf;
        let mut queue = rest.queue;
        while let Ok(chunk) = queue.try_recv() {
            buf.extend_from_slice(&chunk);
        }
        Ok(tree)
    }
}

/// What a packet means; `None`: Java passes over it. ref: Follower.processPacket.
fn decode(packet: &QuorumPacket) -> Result<Option<FromLeader>, End> {
    match FromLeader::from_packet(packet) {
        Ok(message) => has_transaction(&message).map(|()| Some(message)),
        Err(DecodeError::Variant(kind)) if kind == packet.kind => {
            tracing::debug!(kind, "unexpected packet from the leader");
            Ok(None)
        }
        Err(e) => Err(End::Bad(e.to_string())),
    }
}

/// What will be logged is a transaction, with the packet's zxid: a log that nobody can read
/// would keep this member from ever starting again.
fn has_transaction(message: &FromLeader) -> Result<(), End> {
    let (FromLeader::Proposal { zxid, txn }
    | FromLeader::Inform { zxid, txn }
    | FromLeader::InformAndActivate { zxid, txn, .. }) = message
    else {
        return Ok(());
    };
    match LogEntry::decode(txn) {
        Ok(entry) if entry.header.zxid == *zxid => Ok(()),
        Ok(entry) => Err(End::Bad(format!("transaction {} in a packet of {zxid}", entry.header.zxid))),
        Err(e) => Err(End::Bad(format!("transaction {zxid} does not decode: {e}"))),
    }
}

/// Makes a tree of a stream, on a thread that may wait.
struct Loader {
    buf: BytesMut,
    queue: mpsc::Receiver<BytesMut>,
    reader: SnapReader,
    /// Whether the stream's end was found.
    is_read: Arc<AtomicBool>,
}

impl Loader {
    fn load(mut self, sinks: &SnapSinks, zxid: Zxid) -> Result<(Tree, Self), String> {
        let mut sink = sinks();
        loop {
            while let Some(item) = self.reader.next(&mut self.buf).map_err(|e| e.to_string())? {
                sink.item(item)?;
            }
            if self.reader.is_done() {
                break;
            }
            let chunk = self.queue.blocking_recv().ok_or("the link ended within the snapshot")?;
            match self.buf.is_empty() {
                true => self.buf = chunk,
                false => self.buf.extend_from_slice(&chunk),
            }
        }
        self.is_read.store(true, Ordering::Relaxed);
        Ok((sink.finish(zxid)?, self))
    }
}

#[cfg(test)]
mod tests {
    use zk_proto::quorum::packet::PacketKind;
    use zk_proto::txn::{Txn, TxnHeader};
    use zk_proto::{OpCode, SessionId, Xid};

    use super::*;

    #[test]
    fn what_cannot_be_logged_ends_the_link() {
        let header = TxnHeader {
            session: SessionId(1),
            cxid: Xid(0),
            zxid: Zxid(7),
            time: 0,
            op: OpCode::CreateSession,
        };
        let mut txn = Vec::new();
        LogEntry { header, txn: Txn::CreateSession { timeout: 1 }, digest: None }.encode(&mut txn);
        let cut = txn[..txn.len() - 1].to_vec();
        for kind in [PacketKind::Proposal, PacketKind::Inform] {
            let read = |zxid, txn: &[u8]| {
                decode(&QuorumPacket::with(kind, Zxid(zxid), Bytes::copy_from_slice(txn))).is_ok()
            };
            assert!(read(7, &txn));
            assert!(!read(8, &txn), "another zxid");
            assert!(!read(7, &cut), "cut off");
            assert!(!read(7, &[]), "nothing");
        }
    }
}
