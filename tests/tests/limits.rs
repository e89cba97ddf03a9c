//! Named limits from outside: connections, frames, idle handshakes, memory that
//! a client can take, and refusals that say why.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use zk_proto::{OpCode, limits};
use zk_testkit::process::{Config, Server, Zkd};
use zk_testkit::raw::{Conn, PATIENCE, four_letter, push_frame};
use zk_testkit::request::{self, OPEN};

use crate::support::{Row, check_rows};

#[test]
fn row_23_connections_of_one_address() {
    let rows: &[Row] = &[("row 23: maxClientCnxns", connections)];
    check_rows(&Config::default().line("maxClientCnxns", 5), rows);
}

fn connections(server: &Server) -> anyhow::Result<()> {
    let mut open = Vec::new();
    for n in 0..5 {
        open.push(eventually(server).with_context(|| format!("connection {n}"))?);
    }
    let mut one_more = Conn::dial(server.addr())?;
    ensure!(one_more.closes_within(PATIENCE)?, "a sixth connection is kept");
    open.pop().context("five")?.close()?;
    eventually(server).context("the place of a closed connection stays taken").map(drop)
}

/// A place is free only a moment after its connection has closed; those that
/// asked whether the server serves count as well.
fn eventually(server: &Server) -> anyhow::Result<Conn> {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        match Conn::open(server.addr(), 10_000) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            done => return done,
        }
    }
}

#[test]
fn row_25_words_not_on_the_list() {
    let rows: &[Row] = &[("row 25: whitelist", whitelist)];
    check_rows(&Config::default().line("4lw.commands.whitelist", "srvr, ruok"), rows);
}

fn whitelist(server: &Server) -> anyhow::Result<()> {
    ensure!(four_letter(server.addr(), "ruok")? == "imok");
    for word in ["stat", "mntr", "wchc", "dump", "isro"] {
        let answer = four_letter(server.addr(), word)?;
        ensure!(
            answer == format!("{word} is not executed because it is not in the whitelist.\n"),
            "{answer}"
        );
    }
    Ok(())
}

#[test]
fn row_22_another_jute_maxbuffer() {
    let rows: &[Row] = &[("row 22: jute.maxbuffer", max_buffer)];
    check_rows(&Config::default().property("jute.maxbuffer", 5000), rows);
}

fn max_buffer(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 10_000)?;
    c.create("/m", b"", OPEN, 0)?;
    let overhead = 8 + request::set_data(Some(b"/m"), Some(b""), -1).len();
    c.set_data("/m", &vec![b'x'; 5000 - overhead], -1)?;
    c.send(OpCode::SetData, &request::set_data(Some(b"/m"), Some(&vec![b'x'; 5001 - overhead]), -1))?;
    ensure!(c.closes_within(PATIENCE)?, "a frame beyond the limit is read");
    Ok(())
}

#[test]
fn row_26_a_connection_without_a_handshake() {
    let rows: &[Row] = &[("row 26: nio.sessionlessCnxnTimeout", sessionless)];
    check_rows(&Config::default().property("zookeeper.nio.sessionlessCnxnTimeout", 4000), rows);
}

fn sessionless(server: &Server) -> anyhow::Result<()> {
    let mut session = Conn::open(server.addr(), 10_000)?;
    let mut idle = Conn::dial(server.addr())?;
    let mut half = Conn::dial(server.addr())?;
    half.send_bytes(&[0, 0, 0, 45, 0])?;
    ensure!(idle.closes_within(PATIENCE)?, "an idle connection is kept");
    ensure!(half.closes_within(PATIENCE)?, "half a handshake is kept");
    session.ping()?;
    Ok(())
}

#[test]
fn behaviour_of_full_replies() {
    let rows: &[Row] = &[("row 22: replies have no limit", long_reply), ("many children", many_children)];
    check_rows(&Config::default(), rows);
}

/// A list longer than any frame that a client may send.
fn long_reply(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 10_000)?;
    c.create("/long", b"", OPEN, 0)?;
    let name = "n".repeat(200_000);
    for n in 0..6 {
        c.create(&format!("/long/{name}{n}"), b"", OPEN, 0)?;
    }
    let (names, _) = c.children("/long", false)?;
    ensure!(names.len() == 6 && names.iter().map(String::len).sum::<usize>() > limits::MAX_FRAME);
    Ok(())
}

fn many_children(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 10_000)?;
    c.create("/many", b"", OPEN, 0)?;
    let mut out = Vec::new();
    const N: i32 = 10_000;
    for n in 1..=N {
        let path = format!("/many/child-{n}");
        let body = request::create(Some(path.as_bytes()), None, Some(OPEN), 0);
        push_frame(&mut out, &request::frame(n, 1, &body));
    }
    c.send_bytes(&out)?;
    for n in 1..=N {
        let (header, _) = c.next_reply()?.context("closed")?;
        ensure!(header.xid.0 == n && header.err == 0, "{header:?}");
    }
    let mut c = Conn::open(server.addr(), 10_000)?;
    let (names, stat) = c.children("/many", false)?;
    ensure!(names.len() == N as usize && stat.num_children == N && stat.cversion == N);
    Ok(())
}

/// A client that asks and never reads must not fill the server's memory.
#[test]
fn a_client_that_does_not_read() {
    // Who is not read from is not heard of either.
    let server = Server::start(&Zkd, Config::default().line("maxSessionTimeout", 600_000)).unwrap();
    let mut c = Conn::open(server.addr(), 600_000).unwrap();
    let body = vec![b'x'; 500_000];
    c.create("/big", &body, OPEN, 0).unwrap();
    let before = server.resident().unwrap();
    let mut out = Vec::new();
    for xid in 1..=2000 {
        push_frame(&mut out, &request::frame(xid, 4, &request::path_bool(Some(b"/big"), false)));
    }
    // 1 GB of replies for each of these.
    let mut greedy: Vec<Conn> = (0..4).map(|_| Conn::open(server.addr(), 600_000).unwrap()).collect();
    for g in &mut greedy {
        let _ = g.send_bytes(&out);
    }
    std::thread::sleep(Duration::from_secs(3));
    let after = server.resident().unwrap();
    assert!(after < before + (256 << 20), "from {before} to {after} bytes");
    // Others do not notice.
    let mut other = Conn::open(server.addr(), 10_000).unwrap();
    let began = Instant::now();
    other.set_data("/big", b"small", -1).unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // And one who reads after all gets everything that was asked.
    let mut g = greedy.remove(0);
    for xid in 1..=2000 {
        let (header, _) = g.next_reply().unwrap().expect("closed");
        assert_eq!((header.xid.0, header.err), (xid, 0));
    }
}

/// Memory that a burst of requests took goes back to the system when nothing more comes.
#[test]
fn a_burst_leaves_no_memory_behind() {
    let server = Server::start(&Zkd, Config::default()).unwrap();
    let mut open: Vec<Conn> = (0..8).map(|_| Conn::open(server.addr(), 30_000).unwrap()).collect();
    open[0].create("/burst", b"", OPEN, 0).unwrap();
    let before = server.resident().unwrap();
    for part in 0..20 {
        let mut out = Vec::new();
        for xid in 0..100 {
            let body = request::set_data(Some(b"/burst"), Some(&vec![b'x'; 10_000]), -1);
            push_frame(&mut out, &request::frame(100 * part + xid, OpCode::SetData.to_i32(), &body));
        }
        open.iter_mut().for_each(|c| c.send_bytes(&out).unwrap());
        for c in &mut open {
            (0..100).for_each(|_| assert_eq!(c.next_reply().unwrap().unwrap().0.err, 0));
        }
    }
    let begun = Instant::now();
    let left = loop {
        let left = server.resident().unwrap().saturating_sub(before);
        if left < 8 << 20 || begun.elapsed() > Duration::from_secs(20) {
            break left;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(left < 8 << 20, "{left} bytes of a burst are left");
}

/// Claimed lengths must not be allocated.
#[test]
fn claimed_lengths_take_no_memory() {
    let server = Server::start(&Zkd, Config::default()).unwrap();
    let before = server.resident().unwrap();
    let mut open = Vec::new();
    for n in 0..300 {
        // The longest frame allowed, and nothing of it.
        let mut s = TcpStream::connect(server.addr()).unwrap();
        s.write_all(&(limits::MAX_FRAME as i32).to_be_bytes()).unwrap();
        open.push(s);
        if n < 50 {
            let mut c = Conn::open(server.addr(), 10_000).unwrap();
            // A list that claims 2^31 - 1 entries.
            let body = [&[0; 8][..], &i32::MAX.to_be_bytes()].concat();
            let r = c.call(OpCode::SetWatches, &body).unwrap();
            assert_eq!(r.header.err, -5);
        }
    }
    let after = server.resident().unwrap();
    assert!(after < before + (64 << 20), "from {before} to {after} bytes");
}

/// A server that cannot start says which file, key and value.
#[test]
fn a_bad_configuration_is_refused_by_name() {
    let mut server = Server::prepare(&Zkd, Config::default().line("tickTime", "soon")).unwrap();
    server.spawn().unwrap();
    let status = server.wait_exit(Duration::from_secs(60)).unwrap();
    let log = server.log();
    assert!(!status.success(), "{log}");
    assert!(log.contains("zoo.cfg") && log.contains("tickTime") && log.contains("soon"), "{log}");
}
