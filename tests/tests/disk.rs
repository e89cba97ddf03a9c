//! The disk fails under a whole server, RocksDB included: strace makes the k-th
//! call of each thread fail. Whatever happens then, the server stops or refuses
//! with a message, and the next start has everything that was acknowledged.
//!
//! The calls of the log, of snapshots and of epochs are covered one by one and
//! in more ways by the fault points of `zk-storage`; this is for the rest.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use zk_testkit::process::{Config, Launcher, Server, Zkd};
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

/// zkd under strace.
#[derive(Debug)]
struct Faulty {
    call: &'static str,
    error: &'static str,
    nth: u32,
}

impl Launcher for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn command(&self, zoo_cfg: &Path, config: &Config) -> Result<Command> {
        let plain = Zkd.command(zoo_cfg, config)?;
        let mut command = Command::new("strace");
        // -D: zkd stays our own child, so that signals and its exit code are its own.
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={}", self.call));
        command.arg("-e").arg(format!("inject={}:error={}:when={}", self.call, self.error, self.nth));
        command.arg(plain.get_program()).args(plain.get_args());
        for (key, value) in plain.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        Ok(command)
    }
}

/// Sizes of the values; the last is above what the mirror keeps inline.
const SIZES: [usize; 3] = [10, 500, 3000];

/// Creates nodes until something fails. Names of those that were acknowledged.
fn load(server: &mut Server) -> Vec<(String, usize)> {
    let mut done = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut conn = loop {
        match Conn::open(server.addr(), 20_000) {
            Ok(conn) => break conn,
            Err(_) if Instant::now() > deadline || server.exited().is_ok_and(|e| e.is_some()) => return done,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    for i in 0..60 {
        let (path, size) = (format!("/n{i}"), SIZES[i % SIZES.len()]);
        match conn.create(&path, &vec![b'v'; size], OPEN, 0) {
            Ok(_) => done.push((path, size)),
            Err(_) => break,
        }
    }
    done
}

fn one(call: &'static str, error: &'static str, nth: u32) -> Result<String> {
    // A launcher lives as long as the test; a few bytes each.
    let launcher: &'static Faulty = Box::leak(Box::new(Faulty { call, error, nth }));
    let config = || Config::default().line("preAllocSize", 64).line("fsync.warningthresholdms", 60_000);
    let mut server = Server::prepare(launcher, config())?;
    server.spawn().context("strace is needed: apt-get install strace")?;
    let acknowledged = load(&mut server);
    let end = match server.exited()? {
        Some(_) => {
            let status = server.wait_exit(Duration::from_secs(60))?;
            let log = server.log();
            ensure!(!status.success(), "it ended as if all was well:\n{log}");
            ensure!(!log.contains("panicked"), "it panicked:\n{log}");
            ensure!(log.contains("data") || log.contains("version-2"), "it does not name a file:\n{log}");
            format!("stopped with {status}")
        }
        None => {
            // An orderly end flushes everything, and meets the fault if it waits there.
            let status = server.stop()?;
            format!("ended with {status}")
        }
    };
    let mut next = server.successor(&Zkd, config())?;
    next.restart().with_context(|| format!("{end}; the next start fails"))?;
    let mut conn = Conn::open(next.addr(), 20_000)?;
    for (path, size) in &acknowledged {
        match conn.get_data(path, false) {
            Ok((Some(data), _)) if data.len() == *size => {}
            other => bail!("{end}; {path} was acknowledged and is lost: {other:?}"),
        }
    }
    Ok(format!("{end}, {} acknowledged", acknowledged.len()))
}

#[test]
fn nothing_acknowledged_is_lost_when_a_call_fails() {
    let slow = std::env::var_os("SLOW").is_some();
    let mut failed = String::new();
    for (call, error, some) in [
        ("fdatasync", "EIO", &[1, 2, 5, 20][..]),
        ("fsync", "EIO", &[1, 2, 3, 6]),
        ("pwrite64", "ENOSPC", &[1, 3, 20]),
        ("ftruncate", "EIO", &[1, 2]),
        ("fallocate", "ENOSPC", &[1, 2]),
        ("rename", "EIO", &[1, 2]),
        ("unlink", "EIO", &[1]),
        ("mkdir", "ENOSPC", &[1, 2]),
    ] {
        let every: Vec<u32> = (1..=40).collect();
        for nth in if slow { &every[..] } else { some } {
            match one(call, error, *nth) {
                Ok(end) => println!("{call} {error} call {nth}: {end}"),
                Err(e) => {
                    let _ = writeln!(failed, "{call} {error} call {nth}: {e:#}");
                }
            }
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}
