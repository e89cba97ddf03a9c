//! The bytes of a client's connection behind its handshake.

use std::io::{self, ErrorKind, Read, Write};
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use zk_proto::AuthId;

/// A connection whose handshake is over.
#[derive(Debug)]
pub struct Secured {
    /// Its keys, and what came behind the handshake already.
    pub session: Session,
    /// Who the client is by its certificate; empty if it showed none.
    pub identities: Vec<AuthId>,
}

/// En- and decrypts. The socket stays where it is; it does not block.
#[derive(Debug)]
pub struct Session(Box<ServerConnection>);

/// A socket as rustls wants it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session {
    /// Goes on behind a handshake.
    pub fn new(connection: ServerConnection) -> Self {
        Self(Box::new(connection))
    }

    /// Reads, as `AsyncRead::poll_read` does: nothing read is the end.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &TcpStream,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.0.reader().read(into.initialize_unfilled()) {
                Ok(n) => {
                    into.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                // It left without a farewell, as many do.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(e) => return Poll::Ready(Err(e)),
            }
            match self.0.read_tls(&mut Socket(stream)) {
                Ok(_) => {
                    let worked = self.0.process_new_packets();
                    // An alert, or the answer to a change of keys; more of it goes with the next write.
                    drop(self.send(stream));
                    worked.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => ready!(stream.poll_read_ready(cx))?,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Encrypts what the socket takes of this; how much it was. What was encrypted before goes
    /// first, and if it does not all go nothing more is taken.
    pub fn try_write(&mut self, stream: &TcpStream, plain: &[u8]) -> io::Result<usize> {
        self.send(stream)?;
        let taken = self.0.writer().write(plain)?;
        match self.send(stream) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    /// Whether there are encrypted bytes that the socket has not taken.
    pub fn has_waiting(&self) -> bool {
        self.0.wants_write()
    }

    /// Says farewell, if the socket takes it.
    pub fn close(&mut self, stream: &TcpStream) {
        self.0.send_close_notify();
        drop(self.send(stream));
    }

    fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(&mut Socket(stream))?;
        }
        Ok(())
    }
}
