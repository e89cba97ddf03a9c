//! Sockets: bound, accepted, dialled.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_config::Endpoint;

use super::run::News;
use super::{PeerCounters, count};
use crate::{accept, limits};

/// Which of the two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Notifications.
    Election,
    /// Packets.
    Quorum,
}

/// Reads once, `room` bytes or more. The end of the stream is an error.
pub async fn read_more(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    room: usize,
) -> io::Result<()> {
    buf.reserve(room);
    match stream.read_buf(buf).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the other side")),
        _ => Ok(()),
    }
}

/// A port that is open or opening, on each of its addresses.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Of the last opening; what an older one says is not listened to.
    pub generation: u64,
    waiting: usize,
    bound: Vec<SocketAddr>,
    failed: Vec<String>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// How a port is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Which.
    pub port: Port,
    /// On every address of the machine.
    pub on_all: bool,
    /// How often; 0: for ever.
    pub tries: u32,
    /// Time between two tries.
    pub pause: Duration,
}

impl Listeners {
    /// Closes the port, with connections that have not said who they are.
    pub fn close(&mut self) {
        self.cancel.cancel();
        self.generation += 1;
        (self.waiting, self.bound, self.failed) = (0, Vec::new(), Vec::new());
    }

    /// Closes the port, and opens it at other addresses. Each connection goes to
    /// `handshake`, which has to end in time by itself.
    pub fn open<F>(
        &mut self,
        opening: Opening,
        addresses: &[(String, u16)],
        news: &mpsc::Sender<News>,
        counters: &Arc<PeerCounters>,
        handshake: impl Fn(TcpStream, SocketAddr) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.close();
        let former = std::mem::take(&mut self.tasks);
        former.close();
        self.cancel = CancellationToken::new();
        self.waiting = addresses.len();
        for (index, (host, number)) in addresses.iter().enumerate() {
            let host = (!opening.on_all).then(|| host.clone());
            let at = At { opening, generation: self.generation, index };
            let endpoint = Endpoint { host, port: *number };
            let (former, news, cancel) = (former.clone(), news.clone(), self.cancel.clone());
            let (counters, handshake) = (Arc::clone(counters), handshake.clone());
            self.tasks.spawn(async move {
                let serve = async {
                    // Its sockets hold the addresses.
                    former.wait().await;
                    serve(at, endpoint, &news, &counters, handshake).await;
                };
                cancel.run_until_cancelled(serve).await;
            });
        }
    }

    /// Whether some address is bound.
    pub fn is_open(&self) -> bool {
        !self.bound.is_empty()
    }

    /// An address is bound. What the core is told: all that are.
    pub fn listening(&mut self, address: SocketAddr) -> Vec<SocketAddr> {
        self.bound.push(address);
        self.bound.clone()
    }

    /// An address could not be bound. What the core is told, if it was the last.
    pub fn failed(&mut self, why: String) -> Option<String> {
        tracing::warn!("{why}");
        self.failed.push(why);
        (self.failed.len() == self.waiting).then(|| self.failed.join("; "))
    }
}

/// One address of a port that is being opened.
#[derive(Debug, Clone, Copy)]
struct At {
    opening: Opening,
    generation: u64,
    index: usize,
}

/// Binds one address and accepts on it, for ever.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    at: At,
    endpoint: Endpoint,
    news: &mpsc::Sender<News>,
    counters: &PeerCounters,
    handshake: impl Fn(TcpStream, SocketAddr) -> F,
) {
    let (port, generation, index) = (at.opening.port, at.generation, at.index);
    let bound = bind(at.opening, &endpoint).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((tokio::net::TcpListener::from_std(listener)?, address))
    });
    let (listener, address) = match bound {
        Ok(bound) => bound,
        Err(e) => {
            let host = endpoint.host.as_deref().unwrap_or("*");
            let why = format!("cannot listen on {host}:{}: {e}", endpoint.port);
            let _ = news.send(News::NotListening { port, generation, why }).await;
            return;
        }
    };
    tracing::debug!(?port, %address, "listening");
    if news.send(News::Listening { port, generation, index, address }).await.is_err() {
        return;
    }
    let mut handshakes = Handshakes::default();
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                match stream.set_nodelay(true) {
                    Ok(()) => handshakes.begin(handshake(stream, remote), counters),
                    Err(e) => tracing::debug!(%remote, "connection left before it was set up: {e}"),
                }
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(e) => {
                tracing::warn!(?port, "cannot accept a connection: {e}");
                sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn bind(opening: Opening, endpoint: &Endpoint) -> io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        let at = endpoint.clone();
        // A name may have to be looked up.
        let bound = tokio::task::spawn_blocking(move || accept::listen(&at, None)).await;
        let error = match bound.map_err(io::Error::other).flatten() {
            Ok(listener) => return Ok(listener),
            Err(e) => e,
        };
        tries += 1;
        if opening.tries != 0 && tries >= opening.tries {
            return Err(error);
        }
        // Who tries for ever has nobody else to tell.
        if opening.tries == 0 && tries == 1 {
            tracing::warn!(port = ?opening.port, ?endpoint, "cannot listen yet: {error}");
        } else {
            tracing::debug!(port = ?opening.port, ?endpoint, "cannot listen yet: {error}");
        }
        sleep(opening.pause).await;
    }
}

/// Connections that have not said who they are. One too many closes the oldest.
#[derive(Debug, Default)]
struct Handshakes {
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Handshakes {
    fn begin(&mut self, handshake: impl Future<Output = ()> + Send + 'static, counters: &PeerCounters) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= limits::HANDSHAKES
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            tracing::debug!("too many connections have not said who they are, the oldest is closed");
            count(&counters.refused);
            oldest.abort();
        }
        self.oldest_first.push_back(self.tasks.spawn(handshake));
    }
}

/// Connects to one of a peer's addresses: one after the other, each with a short
/// head start over the next.
pub async fn dial(addresses: &[(String, u16)], within: Duration) -> Result<TcpStream, String> {
    let mut rest = addresses.iter();
    let mut tries = JoinSet::new();
    let mut errors = Vec::new();
    loop {
        if let Some((host, port)) = rest.next() {
            tries.spawn(connect(host.clone(), *port, within));
        }
        let head_start = async {
            match rest.len() {
                0 => pending().await,
                _ => sleep(limits::DIAL_STAGGER).await,
            }
        };
        tokio::select! {
            done = tries.join_next() => match done {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(e))) => errors.push(e),
                Some(Err(e)) => errors.push(e.to_string()),
                None => return Err(errors.join("; ")),
            },
            () = head_start => {}
        }
    }
}

/// Connects to a leader: all addresses at once, each several times.
/// ref: Learner.connectToLeader, Learner.LeaderConnector.
pub async fn dial_leader(
    addresses: &[(String, u16)],
    within: Duration,
    pause: Duration,
) -> Result<TcpStream, String> {
    let mut tries = JoinSet::new();
    for (host, port) in addresses.iter().cloned() {
        tries.spawn(async move {
            let mut last = String::new();
            for n in 0..limits::LEADER_TRIES {
                if n > 0 {
                    // The first ones quickly: the leader is about to open its port.
                    let soon = limits::LEADER_FIRST_RETRY.saturating_mul(1 << n.min(16));
                    sleep(soon.min(pause)).await;
                }
                match connect(host.clone(), port, within).await {
                    Ok(stream) => return Ok(stream),
                    Err(e) => last = e,
                }
            }
            Err(last)
        });
    }
    let first = async {
        let mut errors = Vec::new();
        while let Some(done) = tries.join_next().await {
            match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => errors.push(e),
                Err(e) => errors.push(e.to_string()),
            }
        }
        Err(errors.join("; "))
    };
    timeout(within, first).await.unwrap_or_else(|_| Err(format!("not connected within {within:?}")))
}

/// Connects to the first of a name's addresses that answers.
async fn connect(host: String, port: u16, within: Duration) -> Result<TcpStream, String> {
    let attempt = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in tokio::net::lookup_host((host.as_str(), port)).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    };
    let done = timeout(within, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    done.map_err(|e| format!("{host}:{port}: {e}"))
}

/// Has the system end the connection when what was sent is not acknowledged within this
/// time. Otherwise one that a broken network swallows is tried again ever more slowly, up
/// to two minutes apart, and would hold up the members long after the network is well.
pub fn end_unless_acknowledged(stream: &TcpStream, within: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(e) = SockRef::from(stream).set_tcp_user_timeout(Some(within)) {
        tracing::debug!("no time-out of what is not acknowledged: {e}");
    }
}

/// Sets TCP keep-alive, which nobody relies on.
pub fn keep_alive(stream: &TcpStream) {
    if let Err(e) = SockRef::from(stream).set_keepalive(true) {
        tracing::debug!("no keep-alive: {e}");
    }
}
