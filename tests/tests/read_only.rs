//! A member without a quorum that answers reads of clients which take that.
//!
//! `ZKD_READ_ONLY_ONLY=java,zkd,zkd;...` chooses compositions by hand. The first member is
//! looked at, the others go and come.

use std::time::Duration;

use anyhow::{Context, ensure};
use zk_proto::client::{ConnectRequest, ConnectResponse};
use zk_proto::{ErrorCode, OpCode, SessionId, Zxid};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, Role, composition};
use zk_testkit::raw::{Conn, four_letter, hello, hello_again};
use zk_testkit::request::{self, OPEN};

use crate::support::ensembles;

/// The expectations of this file, proven on the reference alone.
const REFERENCE: &str = "java,java,java";
const USUAL: &[&str] = &["zkd,zkd,zkd", "zkd,java,java"];

const LONG: i32 = 30_000;
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_member_without_a_quorum_answers_reads() {
    for list in ensembles("ZKD_READ_ONLY_ONLY", REFERENCE, USUAL) {
        let config =
            ensemble::config().line("localSessionsEnabled", "true").property("readonlymode.enabled", "true");
        let mut e = Ensemble::start(&composition(&list).unwrap(), config).unwrap();
        if let Err(error) = check(&mut e) {
            panic!("{list}: {error:#}\n{}", e.log_tails());
        }
    }
}

fn takes(request: ConnectRequest) -> ConnectRequest {
    ConnectRequest { read_only: Some(true), ..request }
}

/// The answer to a connect request; `None`: closed without one.
fn answer(e: &Ensemble, request: &ConnectRequest) -> anyhow::Result<Option<ConnectResponse>> {
    Conn::dial(e.addr(0))?.handshake(request)
}

fn check(e: &mut Ensemble) -> anyhow::Result<()> {
    e.wait_all_serving(ELECTION)?;
    let mut before = Conn::open(e.addr(0), LONG)?;
    let seen = before.create2("/a", b"1", OPEN, 0, None)?.1.czxid;
    before.create("/e", b"", OPEN, 1).err().context("local sessions own no ephemeral nodes")?;
    ensure!(four_letter(e.addr(0), "isro")? == "rw", "isro before");
    let both = answer(e, &takes(hello(LONG)))?.context("closed")?;
    ensure!(both.read_only == Some(false), "{both:?}");
    e.kill(2)?;
    e.kill(1)?;
    e.wait("read-only mode", ELECTION, |e| e.member(0).mode().as_deref() == Some("read-only"))?;
    ensure!(before.closes_within(SOON)?, "the connection from before stays");
    let last = e.zxid(0)?;
    ensure!(last > seen, "the refused create is a transaction");

    who_is_served(e, before.session, last).context("connections")?;
    let mut c = Conn::open_with(e.addr(0), &takes(hello(LONG)))?;
    what_is_served(&mut c, last).context("requests")?;
    words(e).context("words")?;

    e.restart(1)?;
    e.wait_all_serving(ELECTION)?;
    ensure!(c.closes_within(SOON)?, "the connection that was only to read stays");
    let gone = answer(e, &hello_again(c.session, LONG))?.context("closed")?;
    ensure!((gone.timeout, gone.read_only) == (0, Some(false)), "{gone:?}");
    ensure!(four_letter(e.addr(0), "isro")? == "rw", "isro after");
    let mut c = Conn::open_with(e.addr(0), &takes(hello(LONG)))?;
    ensure!(c.set_data("/a", b"2", 0)?.version == 1, "a write");
    e.restart(2)?;
    e.wait_all_serving(ELECTION)?;
    ensure!(e.wait_serving(2, ELECTION)? != Role::Observer, "the third member");
    e.same_tree().map(drop)
}

fn who_is_served(e: &Ensemble, before: SessionId, last: i64) -> anyhow::Result<()> {
    ensure!(answer(e, &hello(LONG))?.is_none(), "a client that wants to write is served");
    ensure!(answer(e, &ConnectRequest { read_only: None, ..hello(LONG) })?.is_none(), "an old client");
    let r = answer(e, &takes(hello(LONG)))?.context("closed")?;
    ensure!(r.read_only == Some(true) && r.timeout == LONG && r.session != SessionId::NONE, "{r:?}");
    let again = answer(e, &takes(hello_again(r.session, LONG)))?.context("closed")?;
    ensure!(again.session == r.session && again.read_only == Some(true), "{again:?}");
    // Its local sessions ended with the quorum.
    let r = answer(e, &takes(hello_again(before, LONG)))?.context("closed")?;
    ensure!((r.timeout, r.read_only) == (0, Some(true)), "{r:?}");
    let ahead = ConnectRequest { last_zxid: Zxid(last + 1), ..takes(hello(LONG)) };
    ensure!(answer(e, &ahead)?.is_none(), "a client that has seen more");
    Ok(())
}

fn what_is_served(c: &mut Conn, last: i64) -> anyhow::Result<()> {
    let (data, stat) = c.get_data("/a", true)?;
    ensure!(data.as_deref() == Some(b"1") && stat.version == 0, "{data:?}");
    ensure!(c.ping()?.zxid.0 == last, "ping");
    let create = request::create(Some(b"/b"), Some(b""), Some(OPEN), 0);
    let multi = request::multi(&[(OpCode::Create.to_i32(), create.clone())]);
    let refused = [
        (OpCode::Create, create.clone()),
        (OpCode::Create2, create),
        (OpCode::SetData, request::set_data(Some(b"/a"), Some(b"x"), -1)),
        (OpCode::Delete, request::path_int(Some(b"/a"), -1)),
        (OpCode::SetAcl, request::set_acl(Some(b"/a"), Some(OPEN), -1)),
        (OpCode::Multi, multi),
        (OpCode::Sync, request::path(Some(b"/"))),
    ];
    // All at once: each has its answer in its place, and reads between them theirs.
    let get = request::path_bool(Some(b"/a"), false);
    let mut xids = Vec::new();
    for (op, body) in &refused {
        xids.push((c.send(*op, body)?, *op, ErrorCode::NotReadOnly));
        xids.push((c.send(OpCode::GetData, &get)?, OpCode::GetData, ErrorCode::Ok));
    }
    // Java answers what it refuses at once and reads behind it in a thread of its own.
    xids.sort_by_key(|(_, _, code)| *code == ErrorCode::Ok);
    for _ in 0..xids.len() {
        let (header, _) = c.next_reply()?.context("closed")?;
        let at = xids.iter().position(|(xid, ..)| *xid == header.xid.0).context("not asked")?;
        let (_, op, code) = xids.remove(at);
        ensure!(header.err == code.to_i32() && header.zxid.0 == last, "{op:?}: {header:?}");
    }
    Ok(())
}

fn words(e: &Ensemble) -> anyhow::Result<()> {
    ensure!(four_letter(e.addr(0), "isro")? == "ro", "isro");
    let srvr = e.member(0).word("srvr")?;
    let second = srvr.lines().nth(1).unwrap_or_default();
    ensure!(second == "READ-ONLY mode; serving only read-only clients", "{srvr}");
    ensure!(srvr.contains("\nMode: read-only\n"), "{srvr}");
    let mntr = e.member(0).word("mntr")?;
    ensure!(mntr.contains("zk_server_state\tread-only\n"), "{mntr}");
    ensure!(!mntr.contains("zk_peer_state") && !mntr.contains("zk_quorum_size"), "{mntr}");
    ensure!(e.metric(0, "local_sessions")?.is_some_and(|n| n >= 1.0), "{mntr}");
    let conf = e.member(0).word("conf")?;
    ensure!(conf.contains("electionPort=") && !conf.contains("membership"), "{conf}");
    Ok(())
}
