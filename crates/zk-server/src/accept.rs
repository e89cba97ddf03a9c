//! The listener, and who is let in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::watch;
use zk_config::Endpoint;

use crate::limits;
use crate::shared::Shared;
use crate::worker::ToWorker;

/// Opens the listener of a port.
pub fn listen(endpoint: &Endpoint, backlog: Option<u32>) -> io::Result<TcpListener> {
    let backlog = backlog.map_or(limits::BACKLOG, |b| i32::try_from(b).unwrap_or(i32::MAX));
    let Some(host) = &endpoint.host else {
        // Every address: IPv6 with IPv4 inside, or IPv4 alone where there is no IPv6.
        let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, endpoint.port));
        let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, endpoint.port));
        return bind(six, backlog).or_else(|e| match e.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(e),
            _ => bind(four, backlog),
        });
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host.as_str(), endpoint.port).to_socket_addrs()? {
        match bind(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts and hands over, for ever; somewhere else when the port changes.
pub async fn accept(
    listener: TcpListener,
    mut endpoint: watch::Receiver<Endpoint>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let mut listener = tokio::net::TcpListener::from_std(listener)?;
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Ok(()) = endpoint.changed() => {
                // The new one may be the same port at other addresses.
                drop(listener);
                listener = listen_again(&mut endpoint, &shared).await?;
                continue;
            }
        };
        // The socket leaves this thread's runtime for the worker's.
        let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        match accepted {
            Ok((stream, peer)) => {
                hand_over(&shared, next, stream, peer);
                next = (next + 1) % shared.workers.len();
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(e) => {
                tracing::warn!("cannot accept a connection: {e}");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Binds the new port as soon as that goes. Connections stay.
///
/// differs: Java tries once. ref: NIOServerCnxnFactory.reconfigure.
async fn listen_again(
    endpoint: &mut watch::Receiver<Endpoint>,
    shared: &Shared,
) -> io::Result<tokio::net::TcpListener> {
    loop {
        let wanted = endpoint.borrow_and_update().clone();
        match listen(&wanted, shared.settings.listen_backlog) {
            Ok(listener) => {
                tracing::info!("listening on {wanted} for clients");
                return tokio::net::TcpListener::from_std(listener);
            }
            Err(e) => tracing::error!("cannot listen on {wanted} for clients, trying again: {e}"),
        }
        tokio::time::sleep(limits::BIND_PAUSE).await;
    }
}

/// A client that is one too many is accepted and closed, as in Java (row 23).
fn hand_over(shared: &Shared, worker: usize, stream: TcpStream, peer: SocketAddr) {
    let settings = &shared.settings;
    let address = canonical(peer.ip());
    let peer = SocketAddr::new(address, peer.port());
    let limit = shared.live.max_per_address();
    let Some(admitted) = shared.connections.admit(address, limit, shared.live.max_total()) else {
        return tracing::warn!(%peer, limit, "too many connections, maxClientCnxns or maxCnxns");
    };
    let socket = SockRef::from(&stream);
    let set = socket.set_tcp_nodelay(true).and_then(|()| socket.set_keepalive(settings.keep_alive));
    match set {
        Ok(()) => shared.workers[worker].inbox.push_one(ToWorker::Accept { stream, peer, admitted }),
        Err(e) => tracing::debug!(%peer, "connection left before it was set up: {e}"),
    }
}

/// IPv4 stays IPv4, whatever the listener is.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
