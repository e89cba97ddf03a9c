//! Handshakes of clients. (ref: NettyServerCnxnFactory)

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use zk_proto::AuthId;

use super::trust::Shown;
use super::{HANDSHAKE, Secured, Session, Side, names};
use crate::limits;
use crate::shared::{Admitted, Serving, Shared};
use crate::worker::ToWorker;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket, not blocking.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// Its place among the limits.
    pub admitted: Admitted,
    /// Whose it will be.
    pub worker: usize,
    /// It may be one without TLS.
    pub either: bool,
}

/// Counters for the words.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handshakes under way.
    pub outstanding: AtomicU64,
    /// Handshakes that failed. (ref: ServerMetrics.UNSUCCESSFUL_HANDSHAKE, ServerStats.authFailedCount)
    pub failed: AtomicU64,
    /// Connections closed because too many were under way. (ref: ServerMetrics.TLS_HANDSHAKE_EXCEEDED)
    pub exceeded: AtomicU64,
}

/// Where connections become those of a worker.
#[derive(Debug)]
pub struct ClientPort {
    side: Arc<Side>,
    /// `X509AuthenticationProvider.superUser`.
    super_user: Option<String>,
    limit: u64,
    early_drop: bool,
    arrivals: Vec<mpsc::Sender<Arrival>>,
    queues: Mutex<Vec<mpsc::Receiver<Arrival>>>,
    /// What went wrong so far.
    pub counts: Counts,
    stopped: CancellationToken,
}

impl ClientPort {
    /// Reads the files; `None`: no port has TLS.
    pub fn new(tls: &zk_config::config::Tls, workers: usize) -> Result<Option<Self>, super::TlsError> {
        let Some(settings) = &tls.client else { return Ok(None) };
        let threads = workers.min(limits::TLS_THREADS);
        let (arrivals, queues) = (0..threads).map(|_| mpsc::channel(limits::TLS_ARRIVALS)).unzip();
        Ok(Some(Self {
            side: Side::load(settings.clone())?,
            super_user: tls.super_user.clone(),
            limit: tls.handshakes.map_or(limits::TLS_HANDSHAKES, u64::from),
            early_drop: tls.early_drop,
            arrivals,
            queues: Mutex::new(queues),
            counts: Counts::default(),
            stopped: CancellationToken::new(),
        }))
    }

    /// The bodies of its threads, each of which ends after [`ClientPort::stop`].
    pub fn threads(&self, shared: &Arc<Shared>) -> Vec<impl FnOnce() + Send + 'static + use<>> {
        let (stopped, shared) = (&self.stopped, shared);
        let queues = std::mem::take(&mut *self.queues.lock());
        let first = Arc::clone(&self.side);
        let mut watch = Some(first);
        let bodies = queues.into_iter().map(|queue| {
            let (stopped, shared, watched) = (stopped.clone(), Arc::clone(shared), watch.take());
            move || run(queue, &stopped, &shared, watched)
        });
        bodies.collect()
    }

    /// Ends handshakes and threads.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// Takes a connection, or closes it.
    pub fn take(&self, arrival: Arrival, serving: Serving) {
        if self.early_drop && !arrival.either && serving != Serving::Yes {
            return;
        }
        let peer = arrival.peer;
        let queue = &self.arrivals[arrival.worker % self.arrivals.len()];
        let full = self.counts.outstanding.load(Ordering::Relaxed) >= self.limit;
        if full || queue.try_send(arrival).is_err() {
            self.counts.exceeded.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, "too many handshakes, connection closed");
            return;
        }
        self.counts.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// The handshake; `None`: there is none, the client speaks plainly.
    async fn shake(
        &self,
        stream: tokio::net::TcpStream,
        peer: SocketAddr,
        either: bool,
    ) -> io::Result<(TcpStream, Option<Secured>)> {
        // Nothing is kept for who does not speak.
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if either && first[0] != HANDSHAKE {
            return Ok((stream.into_std()?, None));
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.side.context().server));
        let (stream, session) = acceptor.accept(stream).await?.into_inner();
        let chain = session.peer_certificates();
        let hosts = self.side.settings().verify_accepted.then(|| vec![peer.ip().to_string()]);
        let judged = self.side.judge(chain, Shown::ByClient, hosts.as_deref()).await;
        judged.map_err(io::Error::other)?;
        let identities = chain.map(|c| self.identities(c)).unwrap_or_default();
        Ok((stream.into_std()?, Some(Secured { session: Session::new(session), identities })))
    }

    /// (ref: X509AuthenticationProvider.handleAuthentication)
    fn identities(&self, chain: &[CertificateDer<'_>]) -> Vec<AuthId> {
        let Some(name) = chain.first().and_then(|c| names::subject(c)) else { return Vec::new() };
        let mut ids = Vec::new();
        if self.super_user.as_deref() == Some(name.as_str()) {
            ids.push(AuthId::new("super", &name));
        }
        ids.push(AuthId::new("x509", &name));
        ids
    }
}

fn run(
    mut queue: mpsc::Receiver<Arrival>,
    stopped: &CancellationToken,
    shared: &Arc<Shared>,
    watched: Option<Arc<Side>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime needs nothing but descriptors, which were raised at the start");
    runtime.block_on(async {
        if let Some(side) = watched {
            tokio::spawn(side.watch());
        }
        let serve = async {
            while let Some(arrival) = queue.recv().await {
                tokio::spawn(arrived(Arc::clone(shared), arrival));
            }
        };
        stopped.run_until_cancelled(serve).await;
    });
}

async fn arrived(shared: Arc<Shared>, arrival: Arrival) {
    let Arrival { stream, peer, admitted, worker, either } = arrival;
    let port = shared.tls.as_ref().expect("it has threads only if it is there");
    let shake = async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        port.shake(stream, peer, either).await
    };
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    let done = tokio::time::timeout(limits::TLS_HANDSHAKE, shake).await.unwrap_or_else(late);
    port.counts.outstanding.fetch_sub(1, Ordering::Relaxed);
    match done {
        Ok((stream, secured)) => {
            let secured = secured.map(Box::new);
            shared.workers[worker].inbox.push_one(ToWorker::Accept { stream, peer, admitted, secured });
        }
        Err(e) => {
            port.counts.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, "no TLS with a client: {e}");
        }
    }
}
