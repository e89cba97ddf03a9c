//! Directories change hands: Java starts on what zkd wrote and zkd on what Java
//! wrote, with the same tree, sessions and digests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use zk_proto::{OpCode, SessionId};
use zk_testkit::process::{Config, Java, Launcher, SUPER, Server, Zkd, zkd_binary};
use zk_testkit::raw::Conn;
use zk_testkit::request::{self, OPEN};
use zk_testkit::{tree, vectors};

/// Sessions outlive every restart here.
const SESSION_MS: i32 = 600_000;

fn config() -> Config {
    Config::default()
        .line("maxSessionTimeout", SESSION_MS)
        .property("znode.container.checkIntervalMs", i32::MAX)
}

fn super_user(server: &Server) -> anyhow::Result<Conn> {
    let mut conn = Conn::open(server.addr(), SESSION_MS)?;
    ensure!(conn.auth("digest", SUPER.as_bytes())? == 0);
    Ok(conn)
}

/// Nodes of every kind below `top`, and a session that owns some of them.
fn populate(server: &Server, top: &str) -> anyhow::Result<SessionId> {
    let mut c = super_user(server)?;
    c.auth("digest", b"alice:pw")?;
    let at = |name: &str| format!("{top}/{name}");
    c.create(top, b"top", OPEN, 0)?;
    c.create(&at("plain"), b"data", OPEN, 0)?;
    c.create(&at("empty"), b"", OPEN, 0)?;
    c.call(OpCode::Create, &request::create(Some(at("null").as_bytes()), None, Some(OPEN), 0))?.ok()?;
    c.create(&at("\u{e4}\u{20ac}"), "\u{1f600}".as_bytes(), OPEN, 0)?;
    c.create(&at("big"), &vec![b'b'; 300_000], OPEN, 0)?;
    for _ in 0..3 {
        c.create(&at("plain/s-"), b"s", OPEN, 2)?;
    }
    c.delete(&at("plain/s-0000000001"), 0)?;
    for n in 0..4 {
        c.set_data(&at("plain"), format!("version {n}").as_bytes(), n)?;
    }
    c.create2(&at("box"), b"", OPEN, 4, None)?;
    c.create(&at("box/x"), b"", OPEN, 0)?;
    c.create2(&at("ttl"), b"", OPEN, 5, Some(3_600_000))?;
    c.create2(&at("ttl-s-"), b"", OPEN, 6, Some((1 << 40) - 1))?;
    c.create(&at("acl"), b"", &[(31, Some(b"auth"), Some(b"")), (1, Some(b"ip"), Some(b"127.0.0.0/8"))], 0)?;
    c.create(&at("acl2"), b"", OPEN, 0)?;
    c.set_acl(&at("acl2"), &[(3, Some(b"digest"), Some(b"u:h")), (0, Some(b"world"), Some(b"anyone"))], 0)?;
    let path = |name: &str| Some(at(name).into_bytes());
    c.multi(&[
        (1, request::create(path("m1").as_deref(), Some(b"1"), Some(OPEN), 0)),
        (13, request::path_int(path("plain").as_deref(), 4)),
        (5, request::set_data(path("m1").as_deref(), Some(b"2"), 0)),
        (15, request::create(path("m-").as_deref(), Some(b"3"), Some(OPEN), 2)),
        (19, request::create(path("m-box").as_deref(), None, Some(OPEN), 4)),
        (21, request::create_ttl(path("m-ttl").as_deref(), None, Some(OPEN), 5, 77_777)),
        (2, request::path_int(path("empty").as_deref(), 0)),
    ])?;
    let failed = c.multi(&[
        (1, request::create(path("never").as_deref(), None, Some(OPEN), 0)),
        (2, request::path_int(path("missing").as_deref(), -1)),
    ])?;
    ensure!(failed.iter().all(|p| p.op == -1));
    ensure!(c.delete(&at("missing"), -1).is_err() && c.create(&at("m1"), b"", OPEN, 0).is_err());
    // A quota, as zkCli sets one.
    let quota = format!("/zookeeper/quota{top}");
    c.create(&quota, b"", OPEN, 0)?;
    c.create(&format!("{quota}/zookeeper_limits"), b"count=1000,bytes=-1", OPEN, 0)?;
    c.create(&format!("{quota}/zookeeper_stats"), b"count=0,bytes=0", OPEN, 0)?;
    c.create(&at("counted"), b"12345", OPEN, 0)?;
    let mut owner = Conn::open(server.addr(), SESSION_MS)?;
    owner.create(&at("mine"), b"", OPEN, 1)?;
    owner.create(&at("mine-"), b"", OPEN, 3)?;
    let mut gone = Conn::open(server.addr(), SESSION_MS)?;
    gone.create(&at("gone"), b"", OPEN, 1)?;
    gone.close()?;
    Ok(owner.session)
}

/// Everything that must be the same after a change of hands.
#[derive(Debug)]
struct State {
    tree: tree::Tree,
    zxid: i64,
    sessions: Vec<SessionId>,
}

fn state(server: &Server, sessions: &[SessionId]) -> anyhow::Result<State> {
    let mut c = super_user(server)?;
    let tree = tree::read(&mut c)?;
    c.close()?;
    let text = server.word("srvr")?;
    let zxid = text.lines().find_map(|l| l.strip_prefix("Zxid: 0x")).context("no zxid")?;
    Ok(State { tree, zxid: i64::from_str_radix(zxid, 16)?, sessions: sessions.to_vec() })
}

fn check(server: &Server, due: &State) -> anyhow::Result<()> {
    let mut c = super_user(server)?;
    // Its own session is the first txn of the new life, or of a snapshot's.
    let zxid = c.ping()?.zxid.0;
    ensure!(zxid == due.zxid + 1, "zxid {zxid:#x} after {:#x}", due.zxid);
    let tree = tree::read(&mut c)?;
    let differences = tree::compare(&due.tree, &tree, stats_of_quota);
    ensure!(differences.is_empty(), "{} took over another tree:\n{differences}", server.name());
    for session in &due.sessions {
        let mut owner = Conn::reopen(server.addr(), *session, SESSION_MS)?;
        ensure!(owner.session == *session);
        let body = owner.call(OpCode::GetEphemerals, &request::path(None))?.ok()?;
        let zk_testkit::reply::Body::Names(Some(names)) = body else { bail!("no list") };
        let owned = due.tree.values().filter(|n| n.stat.ephemeral_owner == session.0).count();
        ensure!(names.len() == owned && owned > 0, "{} of {owned} ephemerals", names.len());
    }
    let text = server.word("mntr")?;
    if let Some(n) = text.lines().find_map(|l| l.strip_prefix("zk_digest_mismatches_count")) {
        ensure!(n.trim().parse::<f64>()? == 0.0, "{} counts digest mismatches: {n}", server.name());
    } else if server.name() == "java" {
        bail!("mntr has no zk_digest_mismatches_count");
    }
    c.close()?;
    Ok(())
}

/// `zookeeper_stats` is kept in memory only and counted anew at the start.
fn stats_of_quota(path: &str, a: &tree::Node, b: &tree::Node) -> bool {
    path.ends_with("/zookeeper_stats") && a.stat.mzxid == b.stat.mzxid && a.stat.version == b.stat.version
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Orderly,
    Killed,
}

/// `first` writes, `second` takes over and writes, `first` takes over again.
fn hand_over(first: &'static dyn Launcher, second: &'static dyn Launcher, end: End) -> anyhow::Result<()> {
    let finish = |s: &mut Server| -> anyhow::Result<()> {
        if end == End::Orderly { s.stop().map(|_| ()) } else { s.kill() }
    };
    let mut a = Server::start(first, config())?;
    let one = populate(&a, "/one")?;
    let before = state(&a, &[one])?;
    finish(&mut a)?;
    let mut b = a.successor(second, config())?;
    b.restart()?;
    check(&b, &before).context("first change of hands")?;
    let two = populate(&b, "/two")?;
    let before = state(&b, &[one, two])?;
    finish(&mut b)?;
    check_logs(&b)?;
    let mut c = b.successor(first, config())?;
    c.restart()?;
    check(&c, &before).context("second change of hands")?;
    let three = populate(&c, "/three")?;
    let before = state(&c, &[one, two, three])?;
    finish(&mut c)?;
    // And back once more on a directory with logs and snapshots of both.
    let mut d = c.successor(second, config())?;
    d.restart()?;
    check(&d, &before).context("third change of hands")?;
    finish(&mut d)?;
    check_logs(&d)
}

/// Every log in the directory is well-formed, and its zxids go up by one.
fn check_logs(server: &Server) -> anyhow::Result<()> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(server.data_dir().join("version-2"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if let Some(zxid) = name.strip_prefix("log.") {
            logs.push((i64::from_str_radix(zxid, 16)?, path));
        }
    }
    logs.sort();
    let mut last = None;
    for (first, path) in logs {
        let records =
            vectors::log_records(&std::fs::read(&path)?).with_context(|| path.display().to_string())?;
        for (i, r) in records.iter().enumerate() {
            let entry = zk_proto::txn::LogEntry::decode(&r.payload)?;
            let zxid = entry.header.zxid.0;
            ensure!(i > 0 || zxid == first, "{} begins with {zxid:#x}", path.display());
            ensure!(last.is_none_or(|l| zxid == l + 1), "{}: {zxid:#x} after {last:x?}", path.display());
            last = Some(zxid);
        }
    }
    Ok(())
}

#[test]
fn zkd_takes_over_from_java_and_back() {
    hand_over(&Java, &Zkd, End::Orderly).unwrap();
}

#[test]
fn zkd_takes_over_from_a_killed_java_and_back() {
    hand_over(&Java, &Zkd, End::Killed).unwrap();
}

#[test]
fn java_takes_over_from_zkd_and_back() {
    hand_over(&Zkd, &Java, End::Orderly).unwrap();
}

#[test]
fn java_takes_over_from_a_killed_zkd_and_back() {
    hand_over(&Zkd, &Java, End::Killed).unwrap();
}

/// The expectation of this file, proven on the reference alone.
#[test]
fn java_takes_over_from_java() {
    hand_over(&Java, &Java, End::Killed).unwrap();
}

fn zkd(args: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let output = Command::new(zkd_binary()?).args(args).output()?;
    ensure!(
        output.status.success(),
        "zkd {args:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A snapshot that zkd exports is all that Java needs.
#[test]
fn java_starts_on_an_export() {
    let mut a = Server::start(&Zkd, config()).unwrap();
    let one = populate(&a, "/one").unwrap();
    let before = state(&a, &[one]).unwrap();
    a.stop().unwrap();
    let mut b = Server::prepare(&Java, config()).unwrap();
    let (from, to) = (a.data_dir(), b.data_dir());
    std::fs::remove_dir(&to).unwrap();
    zkd(&["export".as_ref(), "--data-dir".as_ref(), from.as_ref(), "--out".as_ref(), to.as_ref()]).unwrap();
    assert!(snapshots(&to) >= 1, "no snapshot in {}", to.display());
    b.restart().unwrap();
    check(&b, &before).unwrap();
}

/// zkd imports Java's directory into its own and leaves it as it was.
#[test]
fn zkd_starts_on_an_import() {
    let mut a = Server::start(&Java, config()).unwrap();
    let one = populate(&a, "/one").unwrap();
    let before = state(&a, &[one]).unwrap();
    a.stop().unwrap();
    let from = a.data_dir();
    let untouched = listing(&from);
    let mut b = Server::prepare(&Zkd, config()).unwrap();
    let to = b.data_dir();
    zkd(&["import".as_ref(), "--from".as_ref(), from.as_ref(), "--data-dir".as_ref(), to.as_ref()]).unwrap();
    assert_eq!(listing(&from), untouched, "the import changed its source");
    b.restart().unwrap();
    check(&b, &before).unwrap();
}

fn snapshots(dir: &Path) -> usize {
    listing(dir).iter().filter(|(name, _)| name.starts_with("snapshot.")).count()
}

fn listing(dir: &Path) -> Vec<(String, u64)> {
    let mut out: Vec<(String, u64)> = std::fs::read_dir(dir.join("version-2"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.metadata().map_or(0, |m| m.len())))
        .collect();
    out.sort();
    out
}
