//! Ensembles of the reference and zkd in every composition: what clients see
//! through each member, and how members come back.
//!
//! `ZKD_ENSEMBLE_ONLY=java,java,zkd;zkd,java,java` chooses compositions by hand.
//! `ZKD_ENSEMBLE_MANY` (20000, with `SLOW=1` 100000) is how many transactions a member
//! misses where it must get a snapshot.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zk_proto::{ErrorCode, OpCode, SessionId, Zxid};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, Role, SyncKind, composition};
use zk_testkit::process::{Config, Launcher};
use zk_testkit::raw::Conn;
use zk_testkit::request::{self, OPEN, READ_ONLY};

use crate::support::{at_once, ensembles, env, eventually};

/// The expectations of this file, proven on the reference alone.
const REFERENCE: &str = "java,java,java";

/// zkd alone, and two or one of it in every place: the place decides who leads.
const MIXED: &[&str] = &[
    "zkd,zkd,zkd",
    "java,java,zkd",
    "zkd,zkd,java",
    "java,zkd,java",
    "zkd,java,zkd",
    "zkd,java,java",
    "java,zkd,zkd",
];

/// Observers beside five members with a vote.
const LARGE_REFERENCE: &str = "java,java,java,java,java,java:observer,java:observer";
const LARGE_MIXED: &[&str] = &["java,zkd,java,zkd,zkd,java:observer,zkd:observer"];

/// Sessions that outlive every step.
const LONG_MS: i32 = 100_000;
/// Of sessions that are left alone, with time for one to be moved to another member.
const LEFT_MS: i32 = 6000;
/// The member that wins an election among equals.
const LARGEST: usize = 2;
/// How long an event or a deletion may take.
const SOON: Duration = ELECTION;

/// The compositions to run.
fn chosen(reference: &str, mixed: &[&str]) -> Vec<String> {
    let size = reference.split(',').count();
    let all = ensembles("ZKD_ENSEMBLE_ONLY", reference, mixed);
    all.into_iter().filter(|c| c.split(',').count() == size).collect()
}

fn config() -> Config {
    // Files of a size that Java gives them by `snapCount`, and Java's memory: who misses
    // many transactions needs a snapshot from either program.
    ensemble::config()
        .line("snapCount", 6000)
        .line("extendedTypesEnabled", "true")
        .property("zookeeper.commitLogCount", 500)
        .zkd_property("zookeeper.txnLogSizeLimitInKb", 1024)
}

/// One named step on an ensemble whose members all serve.
pub type Step = (&'static str, fn(&mut Ensemble) -> anyhow::Result<()>);

/// Runs the steps one after another, with equal trees and digests after each.
fn run(list: &str, config: Config, steps: &[Step]) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut e = Ensemble::start(&composition(list)?, config).with_context(|| format!("start of {list}"))?;
    println!("{list}: started after {:.1?}", began.elapsed());
    for (name, step) in steps {
        let began = Instant::now();
        let outcome = step(&mut e).and_then(|()| alike(&e));
        if let Err(error) = outcome {
            bail!("{list}: {name}: {error:#}\n{}", e.log_tails());
        }
        println!("{list}: {name}: {:.1?}", began.elapsed());
    }
    for i in 0..e.len() {
        println!("{list}: member {}: got {:?}, gave {:?}", i + 1, e.sync_kinds(i), e.sent_kinds(i));
    }
    Ok(())
}

fn run_all(compositions: &[String], config: &Config, steps: &[Step]) {
    let one = |list: &String| run(list, config.clone(), steps).err().map(|e| format!("{e:#}"));
    let failed = at_once(2, compositions, one);
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// More than the leader has in memory, and more of its log than it would read for a tree of this size.
fn many() -> usize {
    env("ZKD_ENSEMBLE_MANY", 100_000)
}

pub fn alike(e: &Ensemble) -> anyhow::Result<()> {
    e.same_tree()?;
    e.same_digests().map(|_| ())
}

#[test]
fn clients_of_all_members_see_one_tree() {
    let steps: &[Step] = &[
        ("writes and reads through each member", writes_and_reads),
        ("watches across members", watches),
        ("ephemerals across members", ephemerals),
        ("sequential nodes", sequential),
        ("multi", multi),
        ("access control lists", acls),
        ("containers and TTL nodes", containers_and_ttl),
        ("errors use up zxids", errors_use_zxids),
        ("sync", sync_then_read),
        ("digests of many zxids", digests),
    ];
    run_all(&chosen(REFERENCE, MIXED), &config(), steps);
}

#[test]
fn members_come_back() {
    let steps: &[Step] = &[
        ("follower misses 10", |e| misses(e, 10, SyncKind::Diff)),
        ("follower misses 600", |e| misses(e, 600, SyncKind::Diff)),
        ("follower misses many", |e| misses(e, many(), SyncKind::Snap)),
        ("leader killed, sessions go on", leader_killed),
        ("leader with an uncommitted write: TRUNC", |e| lone_write(e, false)),
        ("leader with an uncommitted write and a new epoch with commits: SNAP", |e| lone_write(e, true)),
        ("the largest misses 10", |e| largest_misses(e, 10, SyncKind::Diff)),
        ("the largest misses 600", |e| largest_misses(e, 600, SyncKind::Diff)),
        ("the largest misses many", |e| largest_misses(e, many(), SyncKind::Snap)),
        ("all killed", all_killed),
    ];
    run_all(&chosen(REFERENCE, MIXED), &config(), steps);
}

#[test]
fn five_members_and_two_observers() {
    let steps: &[Step] = &[
        ("writes and reads through each member", writes_and_reads),
        ("watches across members", watches),
        ("ephemerals across members", ephemerals),
        ("multi", multi),
        ("errors use up zxids", errors_use_zxids),
        ("observers miss 10", observers_miss),
        ("leader killed, sessions go on", leader_killed),
    ];
    run_all(&chosen(LARGE_REFERENCE, LARGE_MIXED), &config(), steps);
}

fn clients(e: &Ensemble) -> anyhow::Result<Vec<Conn>> {
    e.running().into_iter().map(|i| Conn::open(e.addr(i), LONG_MS)).collect()
}

/// What any of the clients was told is there for this one.
fn catch_up(e: &Ensemble, cs: &mut [Conn], n: usize) -> anyhow::Result<()> {
    let told = cs.iter().map(|c| c.zxid).max().context("no clients")?;
    sync_behind(e, &mut cs[n], e.running()[n], told)
}

/// What was told with this zxid to anybody is there for a client of member `i` after a sync.
///
/// Java's leader answers a sync of its own client at once, though it may not have applied what a
/// follower's client was told already. (ref: Leader.commit, CommitProcessor.needCommit)
fn sync_behind(e: &Ensemble, c: &mut Conn, i: usize, told: Zxid) -> anyhow::Result<()> {
    let deadline = Instant::now() + SOON;
    while c.sync("/")?.zxid < told {
        let may_lag = e.member(i).name() == "java" && e.role(i).is_none_or(|role| role == Role::Leader);
        ensure!(may_lag, "member {}: a sync is answered before {told} is there", i + 1);
        ensure!(Instant::now() < deadline, "member {} never has {told}", i + 1);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn close(clients: Vec<Conn>) -> anyhow::Result<()> {
    clients.into_iter().try_for_each(|mut c| c.close().map(|_| ()))
}

/// A directory that no step before has made.
pub fn fresh(c: &mut Conn, name: &str) -> anyhow::Result<String> {
    let body = request::create(Some(format!("/{name}-").as_bytes()), Some(b""), Some(OPEN), 2);
    match c.call(OpCode::Create, &body)?.ok()? {
        zk_testkit::reply::Body::Path(Some(p)) => Ok(String::from_utf8(p)?),
        other => bail!("unexpected body {other:?}"),
    }
}

pub fn writes_and_reads(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "data")?;
    for n in 0..cs.len() {
        catch_up(e, &mut cs, n)?;
        let path = format!("{dir}/n{n}");
        cs[n].create(&path, format!("by {n}").as_bytes(), OPEN, 0)?;
        for m in 0..cs.len() {
            catch_up(e, &mut cs, m)?;
            let c = &mut cs[m];
            let version = c.get_data(&path, false)?.1.version;
            ensure!(version == m as i32, "version {version} at member {}", m + 1);
            let stat = c.set_data(&path, format!("by {n} and {m}").as_bytes(), version)?;
            ensure!(stat.version == version + 1);
            let (data, read) = c.get_data(&path, false)?;
            ensure!(
                read == stat && data == Some(format!("by {n} and {m}").into_bytes()),
                "not its own write"
            );
        }
    }
    for n in 0..cs.len() {
        catch_up(e, &mut cs, n)?;
        let names = cs[n].children(&dir, false)?.0;
        ensure!(names.len() == e.running().len(), "{names:?}");
    }
    let last = cs.len() - 1;
    cs[last].delete(&format!("{dir}/n0"), -1)?;
    catch_up(e, &mut cs, 0)?;
    ensure!(cs[0].exists(&format!("{dir}/n0"), false)?.is_none());
    close(cs)
}

pub fn watches(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "watch")?;
    for writer in 0..cs.len() {
        let path = format!("{dir}/n{writer}");
        for n in 0..cs.len() {
            catch_up(e, &mut cs, n)?;
            ensure!(cs[n].exists(&path, true)?.is_none());
            cs[n].children(&dir, true)?;
        }
        cs[writer].create(&path, b"1", OPEN, 0)?;
        expect_events(&mut cs, &[(1, &path), (4, &dir)])?;
        for n in 0..cs.len() {
            catch_up(e, &mut cs, n)?;
            cs[n].get_data(&path, true)?;
        }
        cs[writer].set_data(&path, b"2", -1)?;
        expect_events(&mut cs, &[(3, &path)])?;
        for n in 0..cs.len() {
            catch_up(e, &mut cs, n)?;
            cs[n].get_data(&path, true)?;
        }
        cs[writer].delete(&path, -1)?;
        expect_events(&mut cs, &[(2, &path)])?;
    }
    close(cs)
}

/// Every client gets these events, in this order.
fn expect_events(cs: &mut [Conn], due: &[(i32, &str)]) -> anyhow::Result<()> {
    for (n, c) in cs.iter_mut().enumerate() {
        for (kind, path) in due {
            let event =
                c.event(SOON)?.with_context(|| format!("no event {kind} {path} at member {}", n + 1))?;
            ensure!((event.kind, event.path.as_str()) == (*kind, *path), "{event:?} at member {}", n + 1);
        }
    }
    Ok(())
}

pub fn ephemerals(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "ephemeral")?;
    // Closed in order.
    for i in e.running() {
        let path = format!("{dir}/closed{i}");
        let mut owner = Conn::open(e.addr(i), LONG_MS)?;
        owner.sync("/")?;
        owner.create(&path, b"", OPEN, 1)?;
        for (n, c) in cs.iter_mut().enumerate() {
            sync_behind(e, c, e.running()[n], owner.zxid)?;
            let stat = c.exists(&path, true)?.context("the ephemeral is not there")?;
            ensure!(stat.ephemeral_owner == owner.session.0, "another owner");
        }
        owner.close()?;
        expect_events(&mut cs, &[(2, &path)])?;
    }
    // Left alone: they expire, though not the one that goes on elsewhere.
    let mut left: Vec<(usize, SessionId, String)> = Vec::new();
    for i in e.running() {
        let path = format!("{dir}/left{i}");
        let mut owner = Conn::open(e.addr(i), LEFT_MS)?;
        owner.sync("/")?;
        owner.create(&path, b"", OPEN, 1)?;
        left.push((i, owner.session, path));
    }
    let (_, kept, kept_path) = left.remove(0);
    let mut owner = Conn::reopen(e.addr(*e.running().last().context("none")?), kept, LEFT_MS)?;
    let deadline = Instant::now() + SOON;
    for (i, session, path) in &left {
        loop {
            owner.ping()?;
            cs[0].sync("/")?;
            if cs[0].exists(path, false)?.is_none() {
                break;
            }
            ensure!(Instant::now() < deadline, "{path} of {session} at member {} is left", i + 1);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    for (n, c) in cs.iter_mut().enumerate() {
        sync_behind(e, c, e.running()[n], owner.zxid)?;
        ensure!(c.exists(&kept_path, false)?.is_some(), "the moved session expired");
    }
    owner.close()?;
    close(cs)
}

fn sequential(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "sequential")?;
    for c in &mut cs {
        c.sync("/")?;
    }
    for n in 0..12 {
        let at = n % cs.len();
        let flags = if n % 5 == 4 { 3 } else { 2 };
        let path = cs[at].create(&format!("{dir}/s-"), b"", OPEN, flags)?;
        ensure!(path == format!("{dir}/s-{n:010}"), "{path} is number {n}");
    }
    close(cs)
}

pub fn multi(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "multi")?;
    for (n, c) in cs.iter_mut().enumerate() {
        c.sync("/")?;
        let path = format!("{dir}/m{n}");
        let p = Some(path.as_bytes());
        let made = c.multi(&[
            (1, request::create(p, Some(b"1"), Some(OPEN), 0)),
            (13, request::path_int(p, 0)),
            (5, request::set_data(p, Some(b"2"), 0)),
            (1, request::create(Some(format!("{path}/s-").as_bytes()), Some(b""), Some(OPEN), 2)),
        ])?;
        ensure!(made.len() == 4 && made.iter().all(|p| p.err == 0), "{made:?}");
        let failed =
            c.multi(&[(5, request::set_data(p, Some(b"3"), 1)), (2, request::path_int(Some(b"/none"), -1))])?;
        let codes: Vec<i32> = failed.iter().map(|p| p.err).collect();
        ensure!(codes == [0, ErrorCode::NoNode.to_i32()], "{codes:?}");
        ensure!(c.get_data(&path, false)?.0 == Some(b"2".to_vec()), "half a multi");
    }
    close(cs)
}

fn acls(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "acl")?;
    let no_auth = ErrorCode::NoAuth.to_i32();
    for n in 0..cs.len() {
        let path = format!("{dir}/a{n}");
        let mut owner = Conn::open(e.addr(e.running()[n]), LONG_MS)?;
        owner.sync("/")?;
        ensure!(owner.auth("digest", format!("u{n}:pw").as_bytes())? == 0);
        owner.create(&path, b"", &[(31, Some(b"auth"), Some(b""))], 0)?;
        for (n, c) in cs.iter_mut().enumerate() {
            sync_behind(e, c, e.running()[n], owner.zxid)?;
            let read = c.call(OpCode::GetData, &request::path_bool(Some(path.as_bytes()), false))?;
            ensure!(read.header.err == no_auth, "a stranger reads");
            let set = c.call(OpCode::SetData, &request::set_data(Some(path.as_bytes()), Some(b"x"), -1))?;
            ensure!(set.header.err == no_auth, "a stranger writes");
        }
        owner.set_acl(&path, READ_ONLY, 0)?;
        for (n, c) in cs.iter_mut().enumerate() {
            sync_behind(e, c, e.running()[n], owner.zxid)?;
            c.get_data(&path, false)?;
        }
        owner.close()?;
    }
    close(cs)
}

fn containers_and_ttl(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "container")?;
    for (n, c) in cs.iter_mut().enumerate() {
        c.sync("/")?;
        let path = format!("{dir}/c{n}");
        c.create2(&path, b"", OPEN, 4, None)?;
        c.create(&format!("{path}/x"), b"", OPEN, 0)?;
        c.create2(&format!("{dir}/kept{n}"), b"", OPEN, 5, Some(3_600_000))?;
        c.create2(&format!("{dir}/short{n}"), b"", OPEN, 5, Some(300))?;
        c.delete(&format!("{path}/x"), -1)?;
    }
    let deadline = Instant::now() + SOON;
    loop {
        cs[0].sync("/")?;
        let names = cs[0].children(&dir, false)?.0;
        if names.iter().all(|n| n.starts_with("kept")) && names.len() == cs.len() {
            break;
        }
        ensure!(Instant::now() < deadline, "left: {names:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    close(cs)
}

/// A write that fails in preparation is a transaction of its own.
fn errors_use_zxids(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "errors")?;
    for c in &mut cs {
        c.sync("/")?;
    }
    for (n, c) in cs.iter_mut().enumerate() {
        let first = c.create2(&format!("{dir}/a{n}"), b"", OPEN, 0, None)?.1.czxid;
        let none = format!("{dir}/none");
        let failed = c.call(OpCode::Delete, &request::path_int(Some(none.as_bytes()), -1))?;
        ensure!(failed.header.err == ErrorCode::NoNode.to_i32());
        let exists =
            c.call(OpCode::Create, &request::create(Some(dir.as_bytes()), None, Some(OPEN), 0))?.header.err;
        ensure!(exists == ErrorCode::NodeExists.to_i32());
        let second = c.create2(&format!("{dir}/b{n}"), b"", OPEN, 0, None)?.1.czxid;
        ensure!(second == first + 3, "{first:#x}, two errors, {second:#x}");
    }
    close(cs)
}

/// After a sync a client sees what was acknowledged before anywhere.
pub fn sync_then_read(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut cs = clients(e)?;
    let dir = fresh(&mut cs[0], "sync")?;
    // See `sync_behind`.
    let may_lag = |i: usize| e.member(i).name() == "java" && e.role(i) == Some(Role::Leader);
    let lags: Vec<bool> = (0..cs.len()).map(may_lag).collect();
    for n in 0..100 {
        let (writer, reader) = (n % cs.len(), (n / cs.len()) % cs.len());
        cs[writer].sync("/")?;
        let version = cs[writer].set_data(&dir, format!("{n}").as_bytes(), -1)?.version;
        cs[reader].sync(&dir)?;
        let read = cs[reader].get_data(&dir, false)?.1.version;
        let fine = read == version || lags[reader] && read < version;
        ensure!(fine, "member {}: version {read} after a sync, {version} was acknowledged", reader + 1);
    }
    close(cs)
}

/// Members remember a digest every 128 transactions.
fn digests(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut c = Conn::open(e.addr(0), LONG_MS)?;
    let dir = fresh(&mut c, "digest")?;
    transactions(&mut c, &dir, 600)?;
    c.close()?;
    e.same_tree()?;
    let shared = e.same_digests()?;
    ensure!(shared >= e.running().len() - 1, "members share {shared} digests");
    Ok(())
}

/// Writes this many transactions, many in flight.
pub fn transactions(c: &mut Conn, dir: &str, count: usize) -> anyhow::Result<()> {
    const WINDOW: usize = 500;
    let mut sent = std::collections::VecDeque::new();
    for n in 0..count {
        let path = format!("{dir}/n{}", n % 1000);
        let data = format!("{n:0100}");
        let (p, d) = (Some(path.as_bytes()), Some(data.as_bytes()));
        let op = if n < 1000 { OpCode::Create } else { OpCode::SetData };
        let body = if n < 1000 { request::create(p, d, Some(OPEN), 0) } else { request::set_data(p, d, -1) };
        sent.push_back((c.send(op, &body)?, op));
        if sent.len() == WINDOW {
            let (xid, op) = sent.pop_front().context("nothing sent")?;
            c.reply_to(xid, op)?.ok()?;
        }
    }
    sent.into_iter().try_for_each(|(xid, op)| c.reply_to(xid, op)?.ok().map(|_| ()))
}

/// Member `i` is away for this many transactions and is brought back like this.
fn away(e: &mut Ensemble, i: usize, count: usize, due: SyncKind) -> anyhow::Result<()> {
    let leader = e.wait_leader(ELECTION)?;
    let before = e.sync_kinds(i).len();
    let mut c = Conn::open(e.addr(leader), LONG_MS)?;
    // A member without a transaction of the leader's oldest log gets a snapshot.
    let dir = fresh(&mut c, "away")?;
    let newest = e.zxid(leader)?;
    e.wait("the member has the newest zxid", SOON, |e| e.zxid(i).is_ok_and(|z| z >= newest))?;
    e.kill(i)?;
    transactions(&mut c, &dir, count)?;
    c.close()?;
    e.restart(i)?;
    eventually(|| expect_sync(e, i, leader, before, due))
}

/// Member `i` was synchronised since it had been `before` times, at last like this.
fn expect_sync(e: &Ensemble, i: usize, leader: usize, before: usize, due: SyncKind) -> anyhow::Result<()> {
    let got = e.sync_kinds(i);
    ensure!(got.len() > before, "member {} tells of no synchronisation", i + 1);
    ensure!(got.last() == Some(&due), "member {} got {:?}, not {due:?}", i + 1, &got[before..]);
    if due == SyncKind::Trunc && e.member(leader).name() == "java" {
        // Java's leader logs it at level DEBUG only. (ref: LearnerHandler.syncFollower)
        return Ok(());
    }
    let gave = e.sent_kinds(leader);
    ensure!(gave.last() == Some(&due), "the leader gave {gave:?}, not {due:?}");
    Ok(())
}

fn misses(e: &mut Ensemble, count: usize, due: SyncKind) -> anyhow::Result<()> {
    away(e, 0, count, due)
}

fn largest_misses(e: &mut Ensemble, count: usize, due: SyncKind) -> anyhow::Result<()> {
    let leader = e.wait_leader(ELECTION)?;
    ensure!(leader == 1, "member {} leads", leader + 1);
    away(e, 2, count, due)
}

fn observers_miss(e: &mut Ensemble) -> anyhow::Result<()> {
    for (i, role) in e.roles(ELECTION)? {
        if role == Role::Observer {
            away(e, i, 10, SyncKind::Diff)?;
        }
    }
    Ok(())
}

/// A session goes on at another member with its ephemeral, whoever leads.
pub fn leader_killed(e: &mut Ensemble) -> anyhow::Result<()> {
    let leader = e.wait_leader(ELECTION)?;
    let mut owner = Conn::open(e.addr(leader), 20_000)?;
    let dir = fresh(&mut owner, "killed")?;
    owner.create(&format!("{dir}/mine"), b"", OPEN, 1)?;
    let before = e.sync_kinds(leader).len();
    e.kill(leader)?;
    let began = Instant::now();
    let next = e.wait_leader(ELECTION)?;
    println!("  a new leader after {:.1?}", began.elapsed());
    e.wait_all_serving(ELECTION)?;
    let other = e.running().into_iter().find(|i| *i != next).context("nobody else")?;
    let mut owner = Conn::reopen(e.addr(other), owner.session, 20_000)?;
    owner.sync("/")?;
    let stat = owner.exists(&format!("{dir}/mine"), false)?.context("the ephemeral is lost")?;
    ensure!(stat.ephemeral_owner == owner.session.0);
    owner.create(&format!("{dir}/after"), b"", OPEN, 0)?;
    e.restart(leader)?;
    eventually(|| {
        ensure!(e.sync_kinds(leader).len() > before, "the old leader tells of no synchronisation");
        Ok(())
    })?;
    let mut owner = Conn::reopen(e.addr(leader), owner.session, 20_000)?;
    owner.sync("/")?;
    ensure!(owner.exists(&format!("{dir}/after"), false)?.is_some());
    owner.close().map(|_| ())
}

/// The largest member leads, logs a write that nobody else has, and comes back
/// when another leads: without a commit of the new epoch the write is taken
/// back, with one the whole state is sent.
fn lone_write(e: &mut Ensemble, commits: bool) -> anyhow::Result<()> {
    let same = e.launcher(LARGEST);
    lone_write_and_then(e, commits, same)
}

/// The same; what comes back on the directory is this program.
pub fn lone_write_and_then(
    e: &mut Ensemble,
    commits: bool,
    program: &'static dyn Launcher,
) -> anyhow::Result<()> {
    // All sessions are closed here; one that expires later would be a commit.
    for i in e.running() {
        e.stop(i)?;
    }
    e.start_all()?;
    let leader = e.wait_leader(ELECTION)?;
    ensure!(leader == LARGEST, "member {} leads", leader + 1);
    let mut c = Conn::open(e.addr(leader), LONG_MS)?;
    let dir = fresh(&mut c, "lone")?;
    c.close()?;
    let mut c = Conn::open(e.addr(leader), LONG_MS)?;
    // Equal logs: the larger of the two followers leads next.
    let newest = e.zxid(leader)?;
    e.wait("all have the newest zxid", SOON, |e| (0..e.len()).all(|i| e.zxid(i).ok() == Some(newest)))?;
    e.sigstop(0)?;
    e.sigstop(1)?;
    let secret = format!("never committed {commits}");
    let path = format!("{dir}/lone");
    let body = request::create(Some(path.as_bytes()), Some(secret.as_bytes()), Some(OPEN), 0);
    c.send(OpCode::Create, &body)?;
    let deadline = Instant::now() + SOON;
    while !e.logged(leader, secret.as_bytes())? {
        ensure!(Instant::now() < deadline, "the leader does not log");
        std::thread::sleep(Duration::from_millis(20));
    }
    // All at once: a follower that goes on would find the proposal in its socket.
    for i in [LARGEST, 0, 1] {
        e.kill(i)?;
    }
    e.replace(LARGEST, program);
    let before = e.sync_kinds(LARGEST).len();
    e.spawn(1)?;
    e.spawn(0)?;
    e.wait_all_serving(ELECTION)?;
    let next = e.wait_leader(ELECTION)?;
    if commits {
        let mut c = Conn::open(e.addr(0), LONG_MS)?;
        c.create(&format!("{dir}/committed"), b"", OPEN, 0)?;
        c.close()?;
    }
    e.restart(LARGEST)?;
    let due = if commits { SyncKind::Snap } else { SyncKind::Trunc };
    eventually(|| expect_sync(e, LARGEST, next, before, due))?;
    let tree = e.same_tree()?;
    ensure!(!tree.contains_key(&path), "a write that was never committed came back");
    ensure!(tree.contains_key(&format!("{dir}/committed")) == commits);
    Ok(())
}

/// Everything acknowledged is there after all were killed at once.
fn all_killed(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut c = Conn::open(e.addr(0), LONG_MS)?;
    let dir = fresh(&mut c, "all-killed")?;
    transactions(&mut c, &dir, 500)?;
    for i in e.running() {
        e.kill(i)?;
    }
    e.start_all()?;
    let tree = e.same_tree()?;
    let found = tree.keys().filter(|p| p.starts_with(&format!("{dir}/"))).count();
    ensure!(found == 500, "{found} of 500 nodes");
    let mut c = Conn::reopen(e.addr(1), c.session, LONG_MS).context("the session")?;
    c.close().map(|_| ())
}
