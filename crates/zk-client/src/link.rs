//! The bytes of one connection, with or without TLS. One thread reads while others write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConnection;

use crate::Shake;

/// What one read takes from the socket.
const CHUNK: usize = 16 << 10;

/// A connection whose handshake is over.
#[derive(Debug)]
pub struct Link {
    socket: TcpStream,
    secure: Option<Mutex<Secure>>,
}

#[derive(Debug)]
struct Secure {
    session: ClientConnection,
    /// Decrypted, and not yet read.
    ready: Vec<u8>,
}

impl Link {
    /// Takes a connection to `server`, which is `host:port`; with `tls` the handshake comes first, within
    /// `wait`.
    pub fn open(
        mut socket: TcpStream,
        server: &str,
        tls: Option<&Shake>,
        wait: Duration,
    ) -> io::Result<Self> {
        let wait = Some(wait.max(Duration::from_millis(1)));
        socket.set_nodelay(true)?;
        socket.set_write_timeout(wait)?;
        socket.set_read_timeout(wait)?;
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        let session = tls.map(|shake| shake(&mut socket, host)).transpose().map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                io::Error::other("the handshake of TLS has no answer: is it a port with TLS")
            }
            ErrorKind::UnexpectedEof => {
                io::Error::other("the server closed in the handshake of TLS: is it a port with TLS")
            }
            _ => e,
        })?;
        let secure = session.map(|session| Mutex::new(Secure { session, ready: Vec::new() }));
        Ok(Self { socket, secure })
    }

    /// How long a read waits at most.
    pub fn set_read_timeout(&self, wait: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))
    }

    /// Ends it in both directions; reads and writes that wait come back.
    pub fn shutdown(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn lock(secure: &Mutex<Secure>) -> MutexGuard<'_, Secure> {
    secure.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Read for &Link {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(secure) = &self.secure else { return (&self.socket).read(into) };
        loop {
            let taken = lock(secure).take(into);
            if taken > 0 {
                return Ok(taken);
            }
            // Whoever writes must not wait for this.
            let mut bytes = [0; CHUNK];
            let n = (&self.socket).read(&mut bytes)?;
            if n == 0 {
                return Ok(0);
            }
            lock(secure).decrypt(bytes.get(..n).unwrap_or_default(), &self.socket)?;
        }
    }
}

impl Write for &Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(secure) = &self.secure else { return (&self.socket).write(bytes) };
        let mut secure = lock(secure);
        let taken = secure.session.writer().write(bytes)?;
        secure.send(&self.socket)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Secure {
    fn take(&mut self, into: &mut [u8]) -> usize {
        let n = self.ready.len().min(into.len());
        for (to, from) in into.iter_mut().zip(self.ready.drain(..n)) {
            *to = from;
        }
        n
    }

    fn decrypt(&mut self, mut bytes: &[u8], socket: &TcpStream) -> io::Result<()> {
        while !bytes.is_empty() {
            self.session.read_tls(&mut bytes)?;
            let done = self.session.process_new_packets();
            // An alert for the other side, or its new keys.
            let sent = self.send(socket);
            done.map_err(io::Error::other)?;
            sent?;
            match self.session.reader().read_to_end(&mut self.ready) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut socket)?;
        }
        Ok(())
    }
}
