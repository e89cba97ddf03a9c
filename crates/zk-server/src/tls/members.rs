//! Streams between members. (ref: UnifiedServerSocket, QuorumX509Util, QuorumCnxManager, Learner)

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::RwLock;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zk_config::config::Tls;

use super::trust::Shown;
use super::{HANDSHAKE, Side, TlsError};
use crate::logs::Warnings;

/// A connection between members.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// How members speak to each other.
#[derive(Debug, Default)]
pub struct Members {
    side: Option<Arc<Side>>,
    /// Others are dialled with TLS.
    dial: bool,
    /// The ports take both kinds.
    either: bool,
    /// The hosts of all members, which certificates of those that connect may be for.
    hosts: RwLock<Vec<String>>,
    warnings: Warnings,
}

impl Members {
    /// Reads the files, if TLS is used.
    pub fn new(tls: &Tls) -> Result<Self, TlsError> {
        let side = tls.quorum.clone().map(Side::load).transpose()?;
        Ok(Self { side, dial: tls.dial, either: tls.quorum_unified, ..Self::default() })
    }

    /// Reads changed files again, for ever.
    pub async fn watch(self: Arc<Self>) {
        if let Some(side) = &self.side {
            Arc::clone(side).watch().await;
        }
    }

    /// Where all members are.
    pub fn set_hosts(&self, hosts: Vec<String>) {
        *self.hosts.write() = hosts;
    }

    /// The connecting side's handshake. The certificate must be for one of the member's hosts or
    /// for the address that was reached, if names are checked.
    pub async fn connect(&self, stream: TcpStream, hosts: &[(String, u16)]) -> io::Result<Stream> {
        let Some(side) = self.side.as_ref().filter(|_| self.dial) else { return Ok(Stream::Plain(stream)) };
        let reached = stream.peer_addr()?.ip().to_canonical();
        let done = self.shake_as_client(side, stream, reached, hosts).await;
        done.inspect_err(|e| self.warnings.say(&format!("no TLS with the member at {reached}: {e}")))
    }

    async fn shake_as_client(
        &self,
        side: &Side,
        stream: TcpStream,
        reached: IpAddr,
        hosts: &[(String, u16)],
    ) -> io::Result<Stream> {
        let context = side.context();
        let config = context.client.clone().ok_or_else(|| io::Error::other("there is no trust store"))?;
        let stream = TlsConnector::from(config).connect(ServerName::from(reached), stream).await?;
        let names = side.settings().verify_dialled.then(|| {
            let named = hosts.iter().map(|(host, _)| host.clone());
            named.chain([reached.to_string()]).collect::<Vec<_>>()
        });
        let chain = stream.get_ref().1.peer_certificates();
        side.judge(chain, Shown::ByServer, names.as_deref()).await.map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    /// The accepting side's handshake, or a glance at the first byte.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let Some(side) = &self.side else { return Ok(Stream::Plain(stream)) };
        let from = stream.peer_addr().map(|a: SocketAddr| a.ip().to_canonical())?;
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] != HANDSHAKE {
            if self.either {
                return Ok(Stream::Plain(stream));
            }
            self.warnings.say(&format!(
                "{from} speaks to a port of members without TLS, and portUnification is not set"
            ));
            return Err(io::Error::other("it speaks without TLS"));
        }
        let done = self.shake_as_server(side, stream, from).await;
        done.inspect_err(|e| {
            self.warnings.say(&format!("no TLS with {from}, which connected as a member: {e}"))
        })
    }

    async fn shake_as_server(&self, side: &Side, stream: TcpStream, from: IpAddr) -> io::Result<Stream> {
        let acceptor = TlsAcceptor::from(Arc::clone(&side.context().server));
        let stream = acceptor.accept(stream).await?;
        let names = side.settings().verify_accepted.then(|| self.names(from));
        let chain = stream.get_ref().1.peer_certificates();
        side.judge(chain, Shown::ByClient, names.as_deref()).await.map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    fn names(&self, from: IpAddr) -> Vec<String> {
        self.hosts.read().iter().cloned().chain([from.to_string()]).collect()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
