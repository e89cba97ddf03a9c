//! Streams of the admin port. (ref: JettyAdminServer, UnifiedConnectionFactory)

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zk_config::config::AdminTls;

use super::trust::Shown;
use super::{HANDSHAKE, Side, TlsError};

/// TLS of the admin port.
#[derive(Debug)]
pub struct AdminPort {
    side: Arc<Side>,
    forced: bool,
}

/// What a caller speaks.
#[derive(Debug)]
pub enum AdminStream {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AdminPort {
    /// Reads the files.
    pub fn load(tls: &AdminTls) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { side: Side::load(tls.side.clone())?, forced: tls.forced }))
    }

    /// Reads changed files again, for ever.
    pub async fn watch(self: Arc<Self>) {
        Arc::clone(&self.side).watch().await;
    }

    /// The handshake, or a glance at the first byte: who is not asked for TLS may do without, even where
    /// callers with it must show a certificate, as in Java.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<AdminStream> {
        if !self.forced {
            let mut first = [0];
            stream.peek(&mut first).await?;
            if first[0] != HANDSHAKE {
                return Ok(AdminStream::Plain(stream));
            }
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.side.context().server));
        let stream = acceptor.accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        self.side.judge(chain, Shown::ByClient, None).await.map_err(io::Error::other)?;
        Ok(AdminStream::Tls(Box::new(stream)))
    }
}
