//! Tells systemd how far the server is, if it asks to be told.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state such as `READY=1`. Nothing depends on its arrival.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(e) = send(&socket.to_string_lossy(), state) {
        tracing::debug!("systemd is not told {state}: {e}");
    }
}

/// A name that begins with `@` is in the abstract name space.
fn send(socket: &str, state: &str) -> std::io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names() {
        let mut buffer = [0; 16];
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let socket = UnixDatagram::bind(&path).expect("bound");
        send(&path.to_string_lossy(), "READY=1").expect("sent");
        assert_eq!(socket.recv(&mut buffer).ok(), Some(7));
        let name = format!("zkd-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
        send(&format!("@{name}"), "READY=1").expect("sent");
        assert_eq!(socket.recv(&mut buffer).ok(), Some(7));
        assert_eq!(&buffer[..7], b"READY=1");
    }
}
