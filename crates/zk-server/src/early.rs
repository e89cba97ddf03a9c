//! The port while the data is being read: words are answered as by a server that
//! does not serve yet, everybody else is closed and tries again.
//!
//! Java opens its port before it reads its data as well, so that probes which
//! ask `ruok` see a process that lives. ref: ZooKeeperServerMain.runFromConfig;
//! behaviour rows 24 and 105.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use zk_admin::{Answer, Status, Version, Whitelist, Word};

/// How often the listener is looked at: what a probe waits at most.
const LOOK: Duration = Duration::from_millis(2);
/// How long a connection may take to send its word. One at a time is enough:
/// whoever is not served here tries again.
const PATIENCE: Duration = Duration::from_millis(100);

/// The thread that answers.
#[derive(Debug)]
pub struct Early {
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Early {
    /// Answers on `listener`, which must not block, until [`Early::stop`].
    pub fn start(listener: TcpListener, words: Whitelist, version: Version) -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let status = Status::not_serving(version);
        let thread = std::thread::Builder::new().name("early".to_owned()).spawn(move || {
            while !until.load(Ordering::Acquire) {
                match listener.accept() {
                    // A client that goes wrong is its own trouble.
                    Ok((stream, _)) => drop(answer(stream, &words, &status)),
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        })?;
        Ok(Self { done, thread })
    }

    /// Ends it; connections that come from now on wait in the listener's queue.
    pub fn stop(self) {
        self.done.store(true, Ordering::Release);
        self.thread.join().expect("a panic aborts the process");
    }
}

fn answer(mut stream: TcpStream, words: &Whitelist, status: &Status) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut first = [0; 4];
    stream.read_exact(&mut first)?;
    // `stmk` sends a mask behind the word, and gets its answer all the same.
    if let Some(word) = Word::parse(first)
        && let Answer::Text(text) = zk_admin::answer(word, words, status)
    {
        stream.write_all(text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: std::net::SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    }

    /// Asks again if this thread was halted for longer than a word is waited for.
    fn answer(address: std::net::SocketAddr, word: &[u8]) -> String {
        let until = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let text = ask(address, word);
            if !text.is_empty() || std::time::Instant::now() > until {
                return text;
            }
        }
    }

    #[test]
    fn words_are_answered_and_clients_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let words = Whitelist::parse(Some("ruok, srvr"), false);
        let early = Early::start(listener.try_clone().unwrap(), words, crate::version()).unwrap();
        assert_eq!(answer(address, b"ruok"), "imok");
        assert_eq!(answer(address, b"srvr"), "This ZooKeeper instance is not currently serving requests\n");
        assert_eq!(answer(address, b"mntr"), "mntr is not executed because it is not in the whitelist.\n");
        assert_eq!(ask(address, &[0, 0, 0, 45, 0, 0]), "");
        early.stop();
    }
}
