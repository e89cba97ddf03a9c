//! Closed-loop load with pipelining, zkd and Java in turns.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jute::Writer;
use zk_proto::client::{ConnectRequest, RequestHeader};
use zk_proto::{Acl, OpCode, SessionId, Xid, Zxid};
use zk_testkit::process::{Config, Java, Server, Zkd};

/// One mix of requests.
struct Scenario {
    name: &'static str,
    connections: usize,
    depth: usize,
    /// Every how many requests one is a setData; 0: never, 1: always.
    writes: u32,
}

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "getData 16 x 16", connections: 16, depth: 16, writes: 0 },
    Scenario { name: "getData 16 x 1", connections: 16, depth: 1, writes: 0 },
    Scenario { name: "setData 16 x 16", connections: 16, depth: 16, writes: 1 },
    Scenario { name: "setData 1 x 1", connections: 1, depth: 1, writes: 1 },
    Scenario { name: "1 in 3 setData 32 x 16", connections: 32, depth: 16, writes: 3 },
];

/// Runs every scenario three times on each server, in turns, and prints medians.
pub fn compare(time: Duration) -> Result<()> {
    let config = || Config::default().line("snapCount", 1_000_000).line("preAllocSize", 65536);
    let zkd = Server::start(&Zkd, config())?;
    let java = Server::start(&Java, config())?;
    println!("{:<22} {:>12} {:>12} {:>8}", "scenario", "zkd/s", "java/s", "ratio");
    for s in SCENARIOS {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            a.push(run(&zkd, s, time)?);
            b.push(run(&java, s, time)?);
        }
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        println!("{:<22} {:>12.0} {:>12.0} {:>7.1}x", s.name, a[1], b[1], a[1] / b[1]);
    }
    println!("resident: zkd {} MB, java {} MB", zkd.resident()? >> 20, java.resident()? >> 20);
    Ok(())
}

fn run(server: &Server, s: &Scenario, time: Duration) -> Result<f64> {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    // Two threads drive all connections: each writes a batch on every one of
    // its connections, then reads the replies.
    for t in 0..2.min(s.connections) {
        let mine: Vec<Client> = (0..s.connections)
            .filter(|c| c % 2 == t || s.connections == 1)
            .map(|_| Client::open(server))
            .collect::<Result<_>>()?;
        let (stop, done) = (stop.clone(), done.clone());
        let (depth, writes) = (s.depth, s.writes);
        threads.push(thread::spawn(move || drive(mine, depth, writes, &stop, &done)));
        if s.connections == 1 {
            break;
        }
    }
    thread::sleep(time / 4);
    let (from, start) = (done.load(Ordering::Relaxed), Instant::now());
    thread::sleep(time);
    let rate = (done.load(Ordering::Relaxed) - from) as f64 / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for t in threads {
        t.join().expect("load thread panicked")?;
    }
    Ok(rate)
}

fn drive(
    mut clients: Vec<Client>,
    depth: usize,
    writes: u32,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        for c in &mut clients {
            c.send(depth, writes)?;
        }
        for c in &mut clients {
            c.receive(depth)?;
            done.fetch_add(depth as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A connection that knows only what the load needs.
struct Client {
    stream: TcpStream,
    xid: i32,
    out: Vec<u8>,
    inn: Vec<u8>,
    at: usize,
}

const PATH: &str = "/bench";

impl Client {
    fn open(server: &Server) -> Result<Client> {
        let stream = TcpStream::connect(server.addr())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut c = Client { stream, xid: 0, out: Vec::new(), inn: Vec::new(), at: 0 };
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid: Zxid::ZERO,
            timeout: 30_000,
            session: SessionId::NONE,
            password: Some(vec![0; 16]),
            read_only: Some(false),
        };
        c.frame(|w| hello.encode(w));
        c.flush()?;
        c.receive(1)?;
        c.request(OpCode::Create, |w| {
            w.str(PATH);
            w.buffer(Some(&[b'x'; 100]));
            Acl::write_list(Some(&Acl::open()), w);
            w.int(0);
        });
        c.flush()?;
        c.receive(1)?;
        Ok(c)
    }

    fn frame(&mut self, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend([0; 4]);
        body(&mut self.out);
        let len = u32::try_from(self.out.len() - start - 4).expect("frames here are small");
        self.out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }

    fn request(&mut self, op: OpCode, body: impl FnOnce(&mut Writer<'_, Vec<u8>>)) {
        self.xid = self.xid.wrapping_add(1).max(1);
        let xid = Xid(self.xid);
        self.frame(|out| {
            let mut w = Writer::new(out);
            RequestHeader { xid, op: op.to_i32() }.write(&mut w);
            body(&mut w);
        });
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn send(&mut self, depth: usize, writes: u32) -> Result<()> {
        for i in 0..depth as u32 {
            if writes > 0 && i % writes == 0 {
                self.request(OpCode::SetData, |w| {
                    w.str(PATH);
                    w.buffer(Some(&[b'y'; 100]));
                    w.int(-1);
                });
            } else {
                self.request(OpCode::GetData, |w| {
                    w.str(PATH);
                    w.bool(false);
                });
            }
        }
        self.flush()
    }

    fn receive(&mut self, mut frames: usize) -> Result<()> {
        let mut chunk = [0; 65536];
        loop {
            while frames > 0 {
                let rest = &self.inn[self.at..];
                let Some(head) = rest.first_chunk::<4>() else { break };
                let len = u32::from_be_bytes(*head) as usize;
                if rest.len() < 4 + len {
                    break;
                }
                self.at += 4 + len;
                frames -= 1;
            }
            self.inn.drain(..self.at);
            self.at = 0;
            if frames == 0 {
                return Ok(());
            }
            let n = self.stream.read(&mut chunk).context("read of replies")?;
            if n == 0 {
                bail!("the server closed the connection");
            }
            self.inn.extend_from_slice(&chunk[..n]);
        }
    }
}
