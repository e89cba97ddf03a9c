//! Rows 1 to 30 of the behaviour table: the wire, sessions, limits of a
//! connection. Every row runs against the reference as well.
//!
//! Not here: row 7's server id of an ensemble, rows 13 to 15 (ensemble), row 24
//! (a member without a quorum), row 27 (TLS), the SASL half of row 17 (`sasl.rs`), row 28's
//! switches that are off by default.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zk_proto::client::ConnectRequest;
use zk_proto::{ErrorCode, OpCode, SessionId, Zxid, limits};
use zk_testkit::process::{Config, Server};
use zk_testkit::raw::{Conn, Incoming, PATIENCE, four_letter, hello, hello_again, push_frame};
use zk_testkit::reply::Body;
use zk_testkit::request::{self, OPEN};

use crate::support::{Row, check_rows};

const MINUTE: i32 = 60_000;
/// The most that a server takes when it is told to.
const LONG: i32 = 10 * MINUTE;

#[test]
fn rows_1_to_30() {
    let rows: &[Row] = &[
        ("row 1: an error reply has no body", error_reply_is_16_bytes),
        ("row 2: with and without the readOnly byte", read_only_byte),
        ("row 3: connect response", connect_response),
        ("row 4: time-outs are clamped", timeouts_are_clamped),
        ("row 5: a client ahead of the server is closed", client_ahead),
        ("row 6: password, wrong password, unknown session", passwords),
        ("row 7: session ids", session_ids),
        ("row 9: expiry", expiry),
        ("row 10: closeSession", close_session),
        ("row 12: a session re-opened closes its old connection", reopened),
        ("row 16: auth packets", auth_packets),
        ("row 17: sasl without a configuration", sasl),
        ("row 18: whoAmI has the address", who_am_i),
        ("rows 20, 48: unknown opcodes", unknown_opcodes),
        ("row 21: malformed body of a read", malformed_read),
        ("row 22: the longest frame", longest_frame),
        ("row 25: four-letter words", words),
        ("row 28: many requests in flight", in_flight),
        ("row 29: half a frame and a gone client do no harm", half_a_frame),
    ];
    check_rows(&Config::default().line("tickTime", 1000), rows);
}

/// Rows that count transactions: no session of theirs expires meanwhile.
#[test]
fn rows_1_to_30_by_their_zxids() {
    let rows: &[Row] = &[
        ("row 8: ping", ping),
        ("row 14: a session takes a zxid", session_takes_a_zxid),
        ("row 19: a read sees the write before it", order),
    ];
    check_rows(&Config::default().line("maxSessionTimeout", LONG), rows);
}

/// Rows where the reference does what is not to be copied.
#[test]
fn rows_of_zkd_alone() {
    let rows: &[Row] = &[
        ("rows 20, 36, 56: internal opcodes", internal_opcodes),
        ("row 34: createTTL with plain flags and a negative ttl", create_ttl_negative),
        ("row 57: malformed body of a write", malformed_write),
    ];
    let config = Config::default().line("maxSessionTimeout", LONG);
    let server = Server::start(&zk_testkit::process::Zkd, config).unwrap();
    for (name, row) in rows {
        row(&server).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    }
}

fn open(server: &Server) -> anyhow::Result<Conn> {
    Conn::open(server.addr(), LONG)
}

fn frame(conn: &mut Conn) -> anyhow::Result<Vec<u8>> {
    match conn.incoming(PATIENCE)? {
        Incoming::Frame(f) => Ok(f),
        other => bail!("{other:?} instead of a frame"),
    }
}

fn expect_closed(conn: &mut Conn) -> anyhow::Result<()> {
    match conn.incoming(PATIENCE)? {
        Incoming::Closed => Ok(()),
        other => bail!("{other:?} instead of a close"),
    }
}

fn error_reply_is_16_bytes(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    c.send(OpCode::GetData, &request::path_bool(Some(b"/missing"), false))?;
    let f = frame(&mut c)?;
    ensure!(f.len() == 16 && f[12..] == (-101_i32).to_be_bytes(), "{f:?}");
    Ok(())
}

fn read_only_byte(server: &Server) -> anyhow::Result<()> {
    for (read_only, request_len, answer_len) in [(Some(false), 45, 37), (Some(true), 45, 37), (None, 44, 36)]
    {
        let mut c = Conn::dial(server.addr())?;
        let mut out = Vec::new();
        ConnectRequest { read_only, ..hello(10_000) }.encode(&mut out);
        ensure!(out.len() == request_len);
        c.send_frame(&out)?;
        let f = frame(&mut c)?;
        ensure!(f.len() == answer_len, "{} bytes", f.len());
    }
    Ok(())
}

fn connect_response(server: &Server) -> anyhow::Result<()> {
    for (version, password) in [(0, Some(vec![0; 16])), (1, None), (-7, Some(vec![])), (2, Some(vec![1; 99]))]
    {
        let mut c = Conn::dial(server.addr())?;
        let request = ConnectRequest { protocol_version: version, password, ..hello(10_000) };
        let r = c.handshake(&request)?.context("closed")?;
        ensure!(r.protocol_version == 0 && r.timeout == 10_000 && r.read_only == Some(false), "{r:?}");
        ensure!(r.session != SessionId::NONE && r.password == r.session.password(), "{r:?}");
    }
    Ok(())
}

fn timeouts_are_clamped(server: &Server) -> anyhow::Result<()> {
    for (asked, got) in
        [(1, 2000), (10_000_000, 20_000), (5000, 5000), (0, 2000), (-1, 2000), (i32::MAX, 20_000)]
    {
        let c = Conn::open(server.addr(), asked)?;
        ensure!(c.timeout == got, "{asked} became {}", c.timeout);
    }
    Ok(())
}

fn client_ahead(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::dial(server.addr())?;
    let answer = c.handshake(&ConnectRequest { last_zxid: Zxid(1 << 60), ..hello(10_000) })?;
    ensure!(answer.is_none(), "{answer:?}");
    // Not ahead: the newest zxid itself.
    let zxid = open(server)?.ping()?.zxid;
    let mut c = Conn::dial(server.addr())?;
    ensure!(c.handshake(&ConnectRequest { last_zxid: zxid, ..hello(10_000) })?.is_some());
    Ok(())
}

fn passwords(server: &Server) -> anyhow::Result<()> {
    let c = open(server)?;
    let session = c.session;
    drop(c);
    let refused = [
        ConnectRequest { password: Some(vec![1; 16]), ..hello_again(session, 10_000) },
        ConnectRequest { password: None, ..hello_again(session, 10_000) },
        ConnectRequest { password: Some(session.password()[..15].to_vec()), ..hello_again(session, 10_000) },
        hello_again(SessionId(session.0 ^ 0x7777_0000_0000), 10_000),
    ];
    for request in refused {
        let mut c = Conn::dial(server.addr())?;
        let mut out = Vec::new();
        request.encode(&mut out);
        c.send_frame(&out)?;
        let f = frame(&mut c)?;
        let mut zeros = vec![0; 37];
        zeros[19] = 16;
        ensure!(f == zeros, "{f:?}");
        expect_closed(&mut c)?;
    }
    let mut c = Conn::reopen(server.addr(), session, 10_000)?;
    ensure!(c.session == session);
    c.ping()?;
    Ok(())
}

fn session_ids(server: &Server) -> anyhow::Result<()> {
    let (a, b) = (open(server)?.session.0, open(server)?.session.0);
    ensure!(a >> 56 == 1 && b == a + 1, "{a:#x} and {b:#x}");
    Ok(())
}

fn ping(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let zxid = c.sync("/")?.zxid;
    c.send(OpCode::Ping, &[])?;
    let f = frame(&mut c)?;
    let mut due = (-2_i32).to_be_bytes().to_vec();
    due.extend_from_slice(&zxid.0.to_be_bytes());
    due.extend_from_slice(&[0; 4]);
    ensure!(f == due, "{f:?}");
    // Whatever xid the client gives it.
    c.send_frame(&request::frame(77, 11, &[]))?;
    ensure!(frame(&mut c)? == due);
    Ok(())
}

fn expiry(server: &Server) -> anyhow::Result<()> {
    // With the time that a machine may stand still.
    let (mut watcher, mut busy) = (open(server)?, Conn::open(server.addr(), 4000)?);
    busy.create("/busy", b"", OPEN, 1)?;
    let mut quiet = Conn::open(server.addr(), 4000)?;
    quiet.create("/quiet", b"", OPEN, 1)?;
    let began = Instant::now();
    quiet.ping()?;
    ensure!(watcher.exists("/quiet", true)?.is_some());
    let event = loop {
        busy.ping()?;
        if let Some(e) = watcher.event(Duration::from_millis(300))? {
            break e;
        }
        ensure!(began.elapsed() < PATIENCE, "the session lives on");
    };
    let after = began.elapsed();
    ensure!(event.kind == 2 && event.path == "/quiet", "{event:?}");
    // Between the time-out and the next tick after it; some more for a busy machine.
    ensure!((4000..15_000).contains(&after.as_millis()), "after {after:?}");
    ensure!(watcher.exists("/busy", false)?.is_some(), "pings did not keep the session");
    expect_closed(&mut quiet)?;
    let mut again = Conn::dial(server.addr())?;
    let r = again.handshake(&hello_again(quiet.session, 4000))?.context("closed")?;
    ensure!(r.timeout == 0 && r.session == SessionId::NONE, "{r:?}");
    busy.close()?;
    Ok(())
}

fn close_session(server: &Server) -> anyhow::Result<()> {
    let mut watcher = open(server)?;
    let mut c = open(server)?;
    for n in 0..3 {
        c.create(&format!("/closing{n}"), b"", OPEN, 1)?;
        watcher.exists(&format!("/closing{n}"), true)?;
    }
    let zxid = c.close()?.zxid;
    let mut paths = Vec::new();
    for e in watcher.events_so_far()? {
        ensure!(e.zxid == zxid && e.kind == 2, "{e:?}");
        paths.push(e.path);
    }
    paths.sort();
    ensure!(paths == ["/closing0", "/closing1", "/closing2"], "{paths:?}");
    Ok(())
}

fn reopened(server: &Server) -> anyhow::Result<()> {
    let mut old = open(server)?;
    old.create("/reopened", b"", OPEN, 1)?;
    let mut new = Conn::reopen(server.addr(), old.session, 10_000)?;
    expect_closed(&mut old)?;
    ensure!(new.exists("/reopened", false)?.context("gone")?.ephemeral_owner == new.session.0);
    new.close()?;
    Ok(())
}

fn session_takes_a_zxid(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let before = c.ping()?.zxid.0;
    let mut other = open(server)?;
    ensure!(c.ping()?.zxid.0 == before + 1);
    other.close()?;
    ensure!(c.ping()?.zxid.0 == before + 2);
    Ok(())
}

fn auth_packets(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    for (scheme, data) in [("digest", "a:b"), ("digest", "c:d"), ("ip", "")] {
        let r = c.call(OpCode::Auth, &request::auth(Some(scheme.as_bytes()), Some(data.as_bytes())))?;
        ensure!(r.header.zxid.0 == 0 && r.header.err == 0 && r.body.is_empty(), "{r:?}");
    }
    for (scheme, data) in [("nosuch", Some("x")), ("digest", None), ("world", Some("anyone"))] {
        let mut c = open(server)?;
        let r = c.call(OpCode::Auth, &request::auth(Some(scheme.as_bytes()), data.map(str::as_bytes)))?;
        ensure!(r.header.zxid.0 == 0 && r.header.err == -115 && r.body.is_empty(), "{r:?}");
        expect_closed(&mut c)?;
        // The session survives.
        Conn::reopen(server.addr(), c.session, 10_000)?.close()?;
    }
    Ok(())
}

fn sasl(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let r = c.call(OpCode::Sasl, &request::path(Some(b"token")))?;
    ensure!(r.header.zxid.0 == 0 && r.ok()? == Body::Token(None), "{r:?}");
    c.ping()?;
    Ok(())
}

fn who_am_i(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let ip = (Some(b"ip".to_vec()), Some(b"127.0.0.1".to_vec()));
    ensure!(c.call(OpCode::WhoAmI, &[])?.ok()? == Body::Clients(Some(vec![ip.clone()])));
    c.auth("digest", b"user:password")?;
    let Body::Clients(Some(mut list)) = c.call(OpCode::WhoAmI, &[])?.ok()? else { bail!("no list") };
    list.sort();
    ensure!(list == [(Some(b"digest".to_vec()), Some(b"user".to_vec())), ip], "{list:?}");
    Ok(())
}

fn order(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let mut sent = Vec::new();
    for n in 0..200 {
        let path = format!("/order{n}");
        let p = Some(path.as_bytes());
        sent.push((c.send(OpCode::Exists, &request::path_bool(p, false))?, OpCode::Exists, -101));
        sent.push((c.send(OpCode::Create, &request::create(p, None, Some(OPEN), 1))?, OpCode::Create, 0));
        sent.push((c.send(OpCode::Exists, &request::path_bool(p, false))?, OpCode::Exists, 0));
        sent.push((c.send(OpCode::Delete, &request::path_int(p, 0))?, OpCode::Delete, 0));
        sent.push((c.send(OpCode::Exists, &request::path_bool(p, false))?, OpCode::Exists, -101));
    }
    let mut zxid = 0;
    for (xid, op, err) in sent {
        let r = c.reply_to(xid, op)?;
        ensure!(r.header.err == err, "xid {xid}: {} instead of {err}", r.header.err);
        let write = matches!(op, OpCode::Create | OpCode::Delete);
        ensure!(
            zxid == 0 || r.header.zxid.0 == zxid + i64::from(write),
            "xid {xid}: {:?} after {zxid}",
            r.header
        );
        zxid = r.header.zxid.0;
    }
    Ok(())
}

fn unknown_opcodes(server: &Server) -> anyhow::Result<()> {
    for op in [0, -1, 10, 13, 23, 77, 200, i32::MIN, i32::MAX] {
        unknown_opcode(server, op).with_context(|| format!("opcode {op}"))?;
    }
    Ok(())
}

fn unknown_opcode(server: &Server, op: i32) -> anyhow::Result<()> {
    let mut c = open(server)?;
    c.send_frame(&request::frame(5, op, &request::path_int(Some(b"/"), 0)))?;
    let f = frame(&mut c)?;
    let due = [&5_i32.to_be_bytes()[..], &(-1_i64).to_be_bytes(), &(-6_i32).to_be_bytes()].concat();
    ensure!(f == due, "{f:?}");
    expect_closed(&mut c)?;
    Conn::reopen(server.addr(), c.session, 10_000)?.close()?;
    Ok(())
}

fn internal_opcodes(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    c.create2("/box", b"", OPEN, 4, None)?;
    for op in [-10, 20] {
        unknown_opcode(server, op).with_context(|| format!("opcode {op}"))?;
        let mut d = open(server)?;
        d.send_frame(&request::frame(5, op, &request::path(Some(b"/box"))))?;
        expect_frame_then_close(&mut d)?;
    }
    ensure!(c.exists("/box", false)?.is_some(), "a client removed a container with an internal opcode");
    Ok(())
}

fn expect_frame_then_close(c: &mut Conn) -> anyhow::Result<()> {
    frame(c)?;
    expect_closed(c)
}

fn create_ttl_negative(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    for flags in [0, 1, 2, 3, 4] {
        for ttl in [-1, -2, i64::MIN] {
            let body = request::create_ttl(Some(b"/ttl-negative"), None, Some(OPEN), flags, ttl);
            let r = c.call(OpCode::CreateTtl, &body)?;
            ensure!(r.code() == ErrorCode::BadArguments, "flags {flags} ttl {ttl}: {r:?}");
        }
    }
    ensure!(c.exists("/ttl-negative", false)?.is_none());
    Ok(())
}

fn malformed_write(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let before = c.ping()?.zxid;
    let (p, d) = (Some(&b"/mw"[..]), Some(&b"data"[..]));
    let whole = [
        (1, request::create(p, d, Some(OPEN), 0)),
        (15, request::create(p, d, Some(OPEN), 0)),
        (19, request::create(p, d, Some(OPEN), 4)),
        (21, request::create_ttl(p, d, Some(OPEN), 5, 1000)),
        (2, request::path_int(p, -1)),
        (5, request::set_data(p, d, -1)),
        (7, request::set_acl(p, Some(OPEN), -1)),
        (16, request::reconfig(p, p, p, -1)),
    ];
    for (op, body) in whole {
        for n in 0..body.len() {
            c.send_frame(&request::frame(n as i32 + 1, op, &body[..n]))?;
            let (header, rest) = c.next_reply()?.context("closed")?;
            ensure!(
                header.xid.0 == n as i32 + 1 && header.err == -5 && header.zxid == before && rest.is_empty(),
                "opcode {op}, {n} bytes: {header:?}"
            );
        }
    }
    c.create("/mw-after", b"", OPEN, 1)?;
    Ok(())
}

fn malformed_read(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    for op in [3, 4, 6, 8, 9, 12, 17, 18, 22, 101, 103, 104, 105, 106] {
        for body in [
            &[][..],
            &[0, 0],
            &[0, 0, 3, 0xe8, b'a', b'b'],
            &[0x7f, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfe],
        ] {
            c.send_frame(&request::frame(9, op, body))?;
            let (header, rest) = c.next_reply()?.with_context(|| format!("opcode {op} {body:?}: closed"))?;
            ensure!(
                header.xid.0 == 9 && header.err == -5 && rest.is_empty(),
                "opcode {op} {body:?}: {header:?}"
            );
        }
    }
    ensure!(c.exists("/", false)?.is_some());
    Ok(())
}

fn longest_frame(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    c.create("/longest", b"", OPEN, 0)?;
    let overhead = 8 + request::set_data(Some(b"/longest"), Some(b""), -1).len();
    let data = vec![b'x'; limits::MAX_FRAME - overhead];
    ensure!(c.set_data("/longest", &data, -1)?.data_length as usize == data.len());
    ensure!(c.get_data("/longest", false)?.0.as_ref() == Some(&data));
    for bytes in
        [0x10_0000_i32.to_be_bytes(), (-1_i32).to_be_bytes(), i32::MIN.to_be_bytes(), i32::MAX.to_be_bytes()]
    {
        let mut c = open(server)?;
        c.send_bytes(&bytes)?;
        expect_closed(&mut c)?;
    }
    // Shorter than a header.
    for n in 0..8_u8 {
        let mut c = open(server)?;
        c.send_bytes(&[0, 0, 0, n])?;
        c.send_bytes(&vec![0; usize::from(n)])?;
        expect_closed(&mut c).with_context(|| format!("a frame of {n} bytes"))?;
    }
    c.delete("/longest", -1)?;
    Ok(())
}

fn words(server: &Server) -> anyhow::Result<()> {
    ensure!(four_letter(server.addr(), "ruok")? == "imok");
    ensure!(four_letter(server.addr(), "isro")? == "rw");
    ensure!(four_letter(server.addr(), "ruok\n")? == "imok");
    for (word, text) in [
        ("srvr", "Zookeeper version: "),
        ("stat", "Zookeeper version: "),
        ("conf", "clientPort="),
        ("envi", "Environment:"),
        ("mntr", "zk_version"),
        ("wchs", " connections watching "),
        ("dump", "SessionTracker dump:"),
        ("dirs", "datadir_size: "),
        ("gtmk", ""),
    ] {
        let answer = four_letter(server.addr(), word)?;
        ensure!(answer.contains(text) && !answer.is_empty(), "{word}: {answer}");
    }
    // Only before the connect request.
    let mut c = open(server)?;
    c.send_bytes(b"ruok")?;
    expect_closed(&mut c)
}

fn in_flight(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 20_000)?;
    let mut out = Vec::new();
    const N: i32 = 5000;
    for xid in 1..=N {
        let body = request::path_bool(Some(b"/zookeeper"), false);
        push_frame(&mut out, &request::frame(xid, if xid % 2 == 0 { 4 } else { 12 }, &body));
    }
    c.send_bytes(&out)?;
    for xid in 1..=N {
        let (header, _) = c.next_reply()?.context("closed")?;
        ensure!(header.xid.0 == xid && header.err == 0, "{header:?} instead of xid {xid}");
    }
    c.close()?;
    Ok(())
}

fn half_a_frame(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), MINUTE)?;
    let whole = request::frame(1, 3, &request::path_bool(Some(b"/"), false));
    let mut out = Vec::new();
    push_frame(&mut out, &whole);
    // Byte by byte is a frame as well.
    for b in &out {
        c.send_bytes(&[*b])?;
        std::thread::sleep(Duration::from_millis(2));
    }
    ensure!(c.next_reply()?.context("closed")?.0.err == 0);
    c.send_bytes(&out[..7])?;
    drop(c);
    open(server)?.ping()?;
    Ok(())
}
