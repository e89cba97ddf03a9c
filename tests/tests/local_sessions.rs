//! Local sessions: one member's own until they make an ephemeral node, whatever server
//! leads and follows.
//!
//! `ZKD_LOCAL_ONLY=java,zkd,java;...` chooses compositions by hand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use zk_proto::{ErrorCode, OpCode, SessionId};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, composition};
use zk_testkit::process::Config;
use zk_testkit::raw::{Conn, hello, hello_again};
use zk_testkit::reply::Body;
use zk_testkit::request::{self, OPEN};

use crate::support::{ensembles, eventually};

/// The expectations of this file, proven on the reference alone.
const REFERENCE: &str = "java,java,java";
/// The last member leads.
const USUAL: &[&str] = &["zkd,zkd,zkd", "java,zkd,java", "zkd,java,zkd:observer,zkd"];

const EPHEMERAL: i32 = 1;
/// Nobody expires while the counts of sessions are looked at.
const LONG: i32 = 120_000;
/// Of sessions that are to expire, and of others that do not for they are heard of.
const SHORT: i32 = 1;
const HEARD: i32 = 4000;
/// How long a close, an event or a count may take.
const SOON: Duration = Duration::from_secs(60);

fn config() -> Config {
    ensemble::config().line("localSessionsEnabled", "true")
}

fn on_each(config: &Config, check: fn(&Ensemble) -> anyhow::Result<()>) {
    for list in ensembles("ZKD_LOCAL_ONLY", REFERENCE, USUAL) {
        let mut e = Ensemble::start(&composition(&list).unwrap(), config.clone()).unwrap();
        let done = e.wait_all_serving(ELECTION).and_then(|()| check(&e));
        if let Err(error) = done {
            panic!("{list}: {error:#}\n{}", e.log_tails());
        }
    }
}

#[test]
fn local_sessions_become_global_with_their_first_ephemeral_node() {
    on_each(&config().line("localSessionsUpgradingEnabled", "true"), |e| {
        for i in 0..e.len() {
            let at = |what: &str| format!("member {}: {what}", i + 1);
            all_know(e, 0.0).with_context(|| at("sessions that were closed"))?;
            one_member_knows_it(e, i).with_context(|| at("a local session"))?;
            upgrade(e, i).with_context(|| at("an upgrade"))?;
            upgrade_in_a_pipeline(e, i).with_context(|| at("an upgrade in a pipeline"))?;
            upgrade_by_multi(e, i).with_context(|| at("an upgrade by a multi"))?;
        }
        expiry(e).context("expiry")?;
        e.same_tree()?;
        e.equal_digests().map(drop)
    });
}

#[test]
fn local_sessions_get_no_ephemeral_node_without_upgrading() {
    on_each(&config(), |e| {
        for i in 0..e.len() {
            refused(e, i).with_context(|| format!("member {}", i + 1))?;
        }
        e.same_tree()?;
        e.equal_digests().map(drop)
    });
}

fn refuses(addr: SocketAddr, session: SessionId) -> anyhow::Result<()> {
    let answer = Conn::dial(addr)?.handshake(&hello_again(session, LONG))?.context("closed")?;
    ensure!(answer.timeout == 0, "session {session} lives");
    Ok(())
}

fn counts(e: &Ensemble, i: usize) -> anyhow::Result<(f64, f64)> {
    let of = |name| e.metric(i, name)?.context(name);
    Ok((of("local_sessions")?, of("global_sessions")?))
}

/// The counts of sessions at a member are these, as soon as what was acknowledged is counted.
fn becomes(e: &Ensemble, i: usize, before: (f64, f64), due: (f64, f64)) -> anyhow::Result<()> {
    eventually(|| {
        let now = counts(e, i)?;
        ensure!(now == due, "the sessions of member {} were {before:?} and became {now:?}", i + 1);
        Ok(())
    })
}

/// A member counts so many global sessions. It shows a transaction before it counts its session.
fn knows(e: &Ensemble, i: usize, global: f64) -> anyhow::Result<()> {
    eventually(|| {
        let now = counts(e, i)?.1;
        ensure!(now == global, "member {} counts {now} sessions, not {global}", i + 1);
        Ok(())
    })
}

fn all_know(e: &Ensemble, global: f64) -> anyhow::Result<()> {
    (0..e.len()).try_for_each(|m| knows(e, m, global))
}

/// The last committed transaction, asked of a follower: it has a sync's answer behind all commits. A leader
/// of the reference answers a sync of its own clients before it shows what others have heard of already.
fn zxid(e: &Ensemble) -> anyhow::Result<i64> {
    let mut c = Conn::open(e.addr(0), LONG)?;
    c.sync("/")?;
    c.close()?;
    e.zxid(0)
}

/// All members show what is committed.
fn settle(e: &Ensemble) -> anyhow::Result<()> {
    let committed = zxid(e)?;
    for i in 0..e.len() {
        let reply = Conn::open(e.addr(i), LONG)?.sync("/")?;
        ensure!(reply.err == 0, "sync {}", reply.err);
        let deadline = Instant::now() + SOON;
        while e.zxid(i)? < committed {
            ensure!(Instant::now() < deadline, "member {} never shows {committed:x}", i + 1);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn one_member_knows_it(e: &Ensemble, i: usize) -> anyhow::Result<()> {
    let other = e.addr((i + 1) % e.len());
    let (before, (local, global)) = (zxid(e)?, counts(e, i)?);
    let mut c = Conn::open(e.addr(i), LONG)?;
    ensure!(zxid(e)? == before, "the session is a transaction");
    becomes(e, i, (local, global), (local + 1.0, global))?;
    let dump = e.member(i).word("dump")?;
    let local = dump.split("Global").next().unwrap_or_default();
    ensure!(local.contains("Local Session") && local.contains(&c.session.to_string()), "{dump}");
    // It writes like any other.
    let path = format!("/local-{i}");
    c.create(&path, b"1", OPEN, 0)?;
    ensure!(c.set_data(&path, b"2", 0)?.version == 1, "version");
    let mut o = Conn::open(other, LONG)?;
    settle(e)?;
    o.sync("/")?;
    ensure!(o.get_data(&path, false)?.0.as_deref() == Some(b"2"), "data elsewhere");
    // It goes on here, with its watches, and only here.
    refuses(other, c.session)?;
    let mut again = Conn::reopen(e.addr(i), c.session, LONG)?;
    ensure!(c.closes_within(SOON)?, "the old connection stays");
    let lists = [Some(vec![path.clone().into_bytes()]), Some(vec![]), Some(vec![])];
    again.call(OpCode::SetWatches, &request::set_watches(zxid(e)?, &lists))?.ok()?;
    o.set_data(&path, b"3", 1)?;
    let event = again.event(SOON)?.context("no event")?;
    ensure!(event.path == path, "{event:?}");
    // Its end is no transaction and comes behind its writes.
    let set = |v: i32| request::set_data(Some(path.as_bytes()), Some(b"4"), v);
    let before = zxid(e)?;
    let xids = [again.send(OpCode::SetData, &set(2))?, again.send(OpCode::CloseSession, &[])?];
    again.reply_to(xids[0], OpCode::SetData)?.ok()?;
    again.reply_to(xids[1], OpCode::CloseSession)?.ok()?;
    ensure!(again.closes_within(SOON)?, "the connection stays");
    let after = zxid(e)?;
    ensure!(after == before + 1, "{before:x}, then {after:x}: the end of the session is a transaction");
    refuses(e.addr(i), again.session)?;
    ensure!(counts(e, i)?.1 == global, "global sessions");
    Ok(())
}

fn upgrade(e: &Ensemble, i: usize) -> anyhow::Result<()> {
    let other = e.addr((i + 1) % e.len());
    let mut c = Conn::open(e.addr(i), LONG)?;
    let (before, (local, global)) = (zxid(e)?, counts(e, i)?);
    let path = format!("/e-{i}");
    c.create(&path, b"", OPEN, EPHEMERAL)?;
    let stat = c.exists(&path, false)?.context("no node")?;
    ensure!(stat.ephemeral_owner == c.session.0, "{stat:?}");
    ensure!(stat.czxid == before + 2, "{stat:?} after {before:x}: the session comes first");
    becomes(e, i, (local, global), (local - 1.0, global + 1.0))?;
    c.create(&format!("{path}-2"), b"", OPEN, EPHEMERAL)?;
    ensure!(zxid(e)? == before + 3, "upgraded twice");
    settle(e)?;
    all_know(e, global + 1.0).context("it is not known")?;
    // It moves like any other.
    let mut moved = Conn::reopen(other, c.session, LONG)?;
    ensure!(moved.exists(&path, false)?.is_some(), "the node is gone");
    moved.set_data(&path, b"x", 0)?;
    moved.close()?;
    settle(e)?;
    for m in 0..e.len() {
        ensure!(Conn::open(e.addr(m), LONG)?.exists(&path, false)?.is_none(), "member {}", m + 1);
    }
    all_know(e, global).context("it is still known")
}

fn upgrade_in_a_pipeline(e: &Ensemble, i: usize) -> anyhow::Result<()> {
    let mut c = Conn::open(e.addr(i), LONG)?;
    let path = format!("/p-{i}");
    let create = |flags: i32, name: &str| {
        request::create(Some(format!("{path}{name}").as_bytes()), Some(b"x"), Some(OPEN), flags)
    };
    let exists = |name: &str| request::path_bool(Some(format!("{path}{name}").as_bytes()), false);
    let sent = [
        (OpCode::Create, create(0, "")),
        (OpCode::Create, create(EPHEMERAL, "/e")),
        (OpCode::Exists, exists("/e")),
        (OpCode::Sync, request::path(Some(b"/"))),
        (OpCode::Create, create(EPHEMERAL, "/f")),
        (OpCode::Exists, exists("/f")),
        (OpCode::CloseSession, Vec::new()),
    ];
    let mut xids = Vec::new();
    for (op, body) in &sent {
        xids.push(c.send(*op, body)?);
    }
    let mut zxids = Vec::new();
    for (xid, (op, _)) in xids.into_iter().zip(&sent) {
        let reply = c.reply_to(xid, *op)?;
        reply.ok()?;
        zxids.push(reply.header.zxid.0);
    }
    ensure!(zxids.is_sorted() && zxids[1] == zxids[0] + 2, "{zxids:x?}");
    ensure!(c.closes_within(SOON)?, "the connection stays");
    settle(e)?;
    for m in 0..e.len() {
        let (names, _) = Conn::open(e.addr(m), LONG)?.children(&path, false)?;
        ensure!(names.is_empty(), "member {} has {names:?}", m + 1);
    }
    Ok(())
}

fn upgrade_by_multi(e: &Ensemble, i: usize) -> anyhow::Result<()> {
    let mut c = Conn::open(e.addr(i), LONG)?;
    let before = zxid(e)?;
    let create = |name: &str, flags: i32| {
        let path = format!("/m-{i}-{name}");
        (OpCode::Create.to_i32(), request::create(Some(path.as_bytes()), Some(b""), Some(OPEN), flags))
    };
    let plain = c.multi(&[create("a", 0), create("b", 0)])?;
    ensure!(plain.iter().all(|p| p.err == 0) && zxid(e)? == before + 1, "{plain:?}");
    let parts = c.multi(&[create("c", 0), create("e", EPHEMERAL)])?;
    ensure!(parts.iter().all(|p| p.err == 0) && zxid(e)? == before + 3, "{parts:?}");
    c.close()?;
    Ok(())
}

/// The clock of a local session is its member's, that of an upgraded one the leader's.
fn expiry(e: &Ensemble) -> anyhow::Result<()> {
    let mut silent = Vec::new();
    for i in 0..e.len() {
        silent.push((i, Conn::open(e.addr(i), SHORT)?, false));
        let mut upgraded = Conn::open(e.addr(i), SHORT)?;
        upgraded.create(&format!("/silent-{i}"), b"", OPEN, EPHEMERAL)?;
        silent.push((i, upgraded, true));
    }
    // One that is heard of.
    let mut loud = Vec::new();
    for i in 0..e.len() {
        loud.push(Conn::open(e.addr(i), HEARD)?);
    }
    let timeout = Duration::from_millis(u64::try_from(loud[0].timeout)?);
    let started = Instant::now();
    while started.elapsed() < timeout * 3 / 2 {
        for c in &mut loud {
            c.ping().context("a session that pings")?;
        }
        std::thread::sleep(timeout / 32);
    }
    for (i, mut c, upgraded) in silent {
        let what = if upgraded { "upgraded" } else { "local" };
        ensure!(c.closes_within(SOON)?, "{what} session of member {} lives", i + 1);
        refuses(e.addr(i), c.session)?;
    }
    settle(e)?;
    let (names, _) = Conn::open(e.addr(0), LONG)?.children("/", false)?;
    ensure!(!names.iter().any(|n| n.starts_with("silent")), "{names:?}");
    Ok(())
}

fn refused(e: &Ensemble, i: usize) -> anyhow::Result<()> {
    let mut c = Conn::open(e.addr(i), LONG)?;
    // A new epoch has a transaction.
    c.create(&format!("/first-{i}"), b"", OPEN, 0)?;
    let (before, global) = (zxid(e)?, counts(e, i)?.1);
    let create = |name: &str, flags: i32| {
        request::create(Some(format!("/r-{i}-{name}").as_bytes()), Some(b""), Some(OPEN), flags)
    };
    for op in [OpCode::Create, OpCode::Create2] {
        let reply = c.call(op, &create("e", EPHEMERAL))?;
        ensure!(reply.code() == ErrorCode::EphemeralOnLocalSession, "{:?}", reply.code());
    }
    let op = OpCode::Create.to_i32();
    let parts = c.multi(&[(op, create("a", 0)), (op, create("e", EPHEMERAL)), (op, create("b", 0))])?;
    let codes: Vec<_> =
        parts.iter().map(|p| matches!(p.body, Body::Int(n) if n == p.err).then_some(p.err)).collect();
    // A learner's multi gets what the leader finds, who has never heard of the session.
    let leads = i + 1 == e.len();
    let code = if leads { ErrorCode::EphemeralOnLocalSession } else { ErrorCode::SessionExpired };
    let expected = [ErrorCode::Ok, code, ErrorCode::RuntimeInconsistency].map(|c| Some(c.to_i32()));
    ensure!(codes == expected, "{codes:?} instead of {expected:?}");
    // Each is a transaction all the same, and the session goes on.
    let after = zxid(e)?;
    ensure!(after == before + 3, "{before:x}, then {after:x}");
    c.create(&format!("/r-{i}"), b"", OPEN, 0)?;
    ensure!(counts(e, i)?.1 == global, "upgraded");
    ensure!(c.children("/", false)?.0.iter().all(|n| !n.starts_with(&format!("r-{i}-"))), "nodes");
    c.close()?;
    // A session of more than this member can be made by nobody.
    let mut o = Conn::open_with(e.addr(i), &hello(LONG))?;
    o.close().map(drop)
}
