//! What both sides of a link of the quorum port do with its bytes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use zk_proto::quorum::QuorumError;
use zk_proto::quorum::packet::{PacketReader, QuorumPacket};

use super::events::{Events, Gone};
use super::{LinkId, PeerEvent, StreamSource};
use crate::inbox::Inbox;
use crate::meters::LearnerMeters;
use crate::{clock, limits};

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// What came over it is no message.
    Bad(String),
    /// It broke, or was closed by either side.
    Lost(String),
}

impl End {
    /// The text of it.
    pub fn why(&self) -> &str {
        let (Self::Bad(why) | Self::Lost(why)) = self;
        why
    }
}

impl From<io::Error> for End {
    fn from(e: io::Error) -> Self {
        Self::Lost(e.to_string())
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Lost("the member stops".to_owned())
    }
}

impl From<QuorumError> for End {
    fn from(e: QuorumError) -> Self {
        Self::Bad(e.to_string())
    }
}

/// Takes all complete packets from the front of `buf`, up to one that `take`
/// asks to stop behind. What is no packet comes last.
pub fn decode_all(
    reader: &mut PacketReader,
    buf: &mut BytesMut,
    max_len: usize,
    mut take: impl FnMut(&QuorumPacket) -> Result<bool, End>,
) -> Result<(), End> {
    while let Some(packet) = reader.next(buf, max_len)? {
        if take(&packet)? {
            break;
        }
    }
    Ok(())
}

/// What waits to be written.
enum Out {
    Bytes(Bytes),
    Stream(StreamSource),
}

/// The queue of a link, from the main loop to the link's task. It is bounded in
/// bytes, those of a write that is not complete included; what a small piece
/// costs beyond its bytes counts too.
pub struct OutQueue {
    inbox: Arc<Inbox<Out>>,
    waiting: AtomicUsize,
    limit: usize,
    /// `None`: this side is the learner.
    meters: Option<Arc<LearnerMeters>>,
    /// When the oldest of what waits was queued, monotonic microseconds; 0: nothing waits, or it
    /// came while the one before was taken, and is not measured.
    since: AtomicU64,
}

const PIECE: usize = size_of::<Out>();

impl OutQueue {
    /// An empty one.
    pub fn new(meters: Option<Arc<LearnerMeters>>) -> Self {
        Self {
            inbox: Inbox::new(),
            waiting: AtomicUsize::new(0),
            limit: limits::LINK_BYTES,
            meters,
            since: AtomicU64::new(0),
        }
    }

    /// Queues bytes. False: there is no room, and nothing was queued.
    pub fn push(&self, bytes: Bytes) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let cost = bytes.len() + PIECE;
        if self.waiting.load(Ordering::Relaxed).saturating_add(cost) > self.limit {
            return false;
        }
        self.waiting.fetch_add(cost, Ordering::Relaxed);
        if self.meters.is_some() && self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(clock::micros(), Ordering::Relaxed);
        }
        self.inbox.push_one(Out::Bytes(bytes));
        true
    }

    /// Queues a stream.
    pub fn push_stream(&self, source: StreamSource) {
        self.inbox.push_one(Out::Stream(source));
    }

    /// Writes what is queued, for ever. `tell` hears of each stream that is through.
    pub async fn write(&self, mut writer: impl AsyncWrite + Unpin, tell: Option<(&Events, LinkId)>) -> End {
        match self.try_write(&mut writer, tell).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_write(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        tell: Option<(&Events, LinkId)>,
    ) -> Result<std::convert::Infallible, End> {
        let mut taken = Vec::new();
        let mut batch = Batch::default();
        loop {
            while !self.inbox.take(&mut taken) {
                self.inbox.filled().await;
            }
            self.measure(taken.len());
            for out in taken.drain(..) {
                match out {
                    Out::Bytes(bytes) => batch.push(bytes),
                    Out::Stream(source) => {
                        self.flush(&mut batch, writer).await?;
                        write_stream(source, writer).await?;
                        if let Some((events, link)) = tell {
                            events.send(PeerEvent::Streamed { link }).await?;
                        }
                    }
                }
            }
            self.flush(&mut batch, writer).await?;
        }
    }

    /// `taken` pieces are taken up at once. ref: LearnerHandler.sendPackets.
    fn measure(&self, taken: usize) {
        let Some(meters) = &self.meters else { return };
        let queue = meters.queue.lock();
        queue.size.record(taken.saturating_sub(1) as u64);
        let since = self.since.swap(0, Ordering::Relaxed);
        if since > 0 {
            queue.time.record(clock::micros().saturating_sub(since));
        }
    }

    /// Everything gathered, in as few writes as the system allows.
    async fn flush(&self, batch: &mut Batch, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let pieces = batch.pieces.len();
        while batch.has_remaining() {
            let n = writer.write_buf(batch).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.waiting.fetch_sub(n, Ordering::Relaxed);
        }
        self.waiting.fetch_sub(pieces * PIECE, Ordering::Relaxed);
        writer.flush().await
    }
}

/// Lets the source run on a thread that may wait, and writes what it hands out.
async fn write_stream(source: StreamSource, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), End> {
    let (pieces, mut queue) = mpsc::channel::<Bytes>(limits::STREAM_CHUNKS);
    let done = tokio::task::spawn_blocking(move || source(&mut |piece| pieces.blocking_send(piece).is_ok()));
    while let Some(mut piece) = queue.recv().await {
        writer.write_all_buf(&mut piece).await?;
    }
    let result = done.await.unwrap_or_else(|e| Err(e.to_string()));
    result.map_err(|why| End::Lost(format!("the stream to it broke off: {why}")))?;
    Ok(writer.flush().await?)
}

/// Pieces that are written together, without being copied together.
#[derive(Debug, Default)]
struct Batch {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map(|p| &p[..]).unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let pairs = into.iter_mut().zip(&self.pieces);
        pairs.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes, "no more is written than there is");
        self.bytes -= n;
        let mut left = n;
        while left > 0 {
            let front = self.pieces.front_mut().expect("the bytes are those of the pieces");
            let step = left.min(front.len());
            front.advance(step);
            left -= step;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::Counted;

    #[test]
    fn a_batch_is_its_pieces_one_behind_the_other() {
        let mut batch = Batch::default();
        for piece in ["ab", "c", "def"] {
            batch.push(Bytes::from_static(piece.as_bytes()));
        }
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(batch.chunks_vectored(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"ab"[..], &b"c"[..]));
        batch.advance(4);
        assert_eq!((batch.remaining(), batch.chunk()), (2, &b"ef"[..]));
        batch.advance(2);
        assert!(!batch.has_remaining() && batch.chunk().is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_written_makes_room() {
        let meters = Arc::new(LearnerMeters::default());
        let queue = OutQueue { limit: 100 + PIECE, ..OutQueue::new(Some(Arc::clone(&meters))) };
        assert!(queue.push(Bytes::from(vec![1; 60])));
        assert!(!queue.push(Bytes::from(vec![1; 60])));
        let mut out = Vec::new();
        let write = queue.write(&mut out, None);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(20), write).await;
        assert_eq!(out, [1; 60]);
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
        assert!(queue.push(Bytes::from(vec![1; 100])));
        let measured = meters.queue.lock();
        let (size, time) = (Counted::of(&measured.size).seen(1), Counted::of(&measured.time).seen(1));
        assert_eq!((size.count, size.max, time.count), (1, 0, 1));
    }
}
