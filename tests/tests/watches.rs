//! Rows 70 to 77 of the behaviour table and the set-again rule of row 52, on
//! the reference and on zkd.

use anyhow::{Context, ensure};
use zk_proto::OpCode;
use zk_testkit::process::{Config, Server};
use zk_testkit::raw::{Conn, Event};
use zk_testkit::request::{self, OPEN, READ_ONLY};

use crate::support::{Row, check_rows};

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const CHANGED: i32 = 3;
const CHILDREN: i32 = 4;

#[test]
fn rows_70_to_77() {
    let rows: &[Row] = &[
        ("row 70: the event's packet", packet),
        ("row 71: two tables", tables),
        ("row 71: one event for a node watched twice", one_event_for_two_watches),
        ("row 71: setACL fires nothing", set_acl_fires_nothing),
        ("row 72: one shot", one_shot),
        ("row 37: exists on a missing node", exists_on_missing),
        ("row 38: getData on a missing node sets nothing", get_data_on_missing),
        ("row 73: persistent", persistent),
        ("row 74: persistent recursive", recursive),
        ("row 74: both kinds on one path", both_kinds),
        ("row 75: the event comes before the reply", before_the_reply),
        ("row 75: events of a multi", of_a_multi),
        ("row 76: filtered by READ, and used up", filtered),
        ("row 77: watches end with the connection", end_with_the_connection),
        ("row 51: checkWatches and removeWatches", check_and_remove),
        ("row 52: setWatches", set_watches),
        ("row 52: setWatches2 and a null list", set_watches2),
        ("row 47: multiRead sets no watch", multi_read_sets_none),
        ("rows 10, 65: a closed session's ephemerals", of_a_closed_session),
    ];
    check_rows(&Config::default(), rows);
}

fn open(server: &Server) -> anyhow::Result<Conn> {
    Conn::open(server.addr(), 10_000)
}

/// Kinds and paths of the events so far.
fn events(c: &mut Conn) -> anyhow::Result<Vec<(i32, String)>> {
    Ok(c.events_so_far()?.into_iter().map(|e| (e.kind, e.path)).collect())
}

fn due(list: &[(i32, &str)]) -> Vec<(i32, String)> {
    list.iter().map(|(k, p)| (*k, (*p).to_owned())).collect()
}

fn expect(c: &mut Conn, list: &[(i32, &str)]) -> anyhow::Result<()> {
    let got = events(c)?;
    ensure!(got == due(list), "{got:?} instead of {list:?}");
    Ok(())
}

fn watch_children(c: &mut Conn, path: &str) -> anyhow::Result<()> {
    c.children(path, true).map(|_| ())
}

fn packet(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    a.exists("/packet", true)?;
    let zxid = b.create2("/packet", b"", OPEN, 0, None)?.1.czxid;
    let got = a.events_so_far()?;
    let event = Event { zxid: zk_proto::Zxid(zxid), kind: CREATED, state: 3, path: "/packet".to_owned() };
    ensure!(got == [event], "{got:?}");
    Ok(())
}

fn tables(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/t", b"", OPEN, 0)?;
    a.get_data("/t", true)?;
    watch_children(&mut a, "/t")?;
    b.create("/t/x", b"", OPEN, 0)?;
    expect(&mut a, &[(CHILDREN, "/t")])?;
    b.set_data("/t", b"1", -1)?;
    expect(&mut a, &[(CHANGED, "/t")])?;
    watch_children(&mut a, "/t")?;
    a.get_data("/t/x", true)?;
    b.set_data("/t/x", b"1", -1)?;
    expect(&mut a, &[(CHANGED, "/t/x")])?;
    a.exists("/t/x", true)?;
    b.delete("/t/x", -1)?;
    expect(&mut a, &[(DELETED, "/t/x"), (CHILDREN, "/t")])
}

fn one_event_for_two_watches(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/twice", b"", OPEN, 0)?;
    a.get_data("/twice", true)?;
    watch_children(&mut a, "/twice")?;
    b.delete("/twice", -1)?;
    expect(&mut a, &[(DELETED, "/twice")])?;
    // Both are used up.
    b.create("/twice", b"", OPEN, 0)?;
    b.create("/twice/x", b"", OPEN, 0)?;
    expect(&mut a, &[])
}

fn set_acl_fires_nothing(server: &Server) -> anyhow::Result<()> {
    let mut a = open(server)?;
    a.create("/acl", b"", OPEN, 0)?;
    a.get_data("/acl", true)?;
    watch_children(&mut a, "/acl")?;
    a.set_acl("/acl", OPEN, -1)?;
    expect(&mut a, &[])
}

fn one_shot(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/shot", b"", OPEN, 0)?;
    a.get_data("/shot", true)?;
    a.get_data("/shot", true)?;
    a.exists("/shot", true)?;
    b.set_data("/shot", b"1", -1)?;
    b.set_data("/shot", b"2", -1)?;
    expect(&mut a, &[(CHANGED, "/shot")])
}

fn exists_on_missing(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    ensure!(a.exists("/later", true)?.is_none());
    b.create("/later", b"", OPEN, 0)?;
    expect(&mut a, &[(CREATED, "/later")])
}

fn get_data_on_missing(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    ensure!(a.get_data("/nothing", true).is_err() && a.children("/nothing", true).is_err());
    b.create("/nothing", b"", OPEN, 0)?;
    expect(&mut a, &[])
}

fn persistent(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    a.add_watch("/p", false)?;
    b.create("/p", b"", OPEN, 0)?;
    b.create("/p/x", b"", OPEN, 0)?;
    b.create("/p/x/y", b"", OPEN, 0)?;
    b.set_data("/p/x", b"", -1)?;
    b.set_data("/p", b"", -1)?;
    b.delete("/p/x/y", -1)?;
    b.delete("/p/x", -1)?;
    b.delete("/p", -1)?;
    b.create("/p", b"", OPEN, 0)?;
    let p = "/p";
    expect(&mut a, &[(CREATED, p), (CHILDREN, p), (CHANGED, p), (CHILDREN, p), (DELETED, p), (CREATED, p)])
}

fn recursive(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    a.add_watch("/r", true)?;
    b.create("/r", b"", OPEN, 0)?;
    b.create("/r/x", b"", OPEN, 0)?;
    b.create("/r/x/y", b"", OPEN, 0)?;
    b.create("/rr", b"", OPEN, 0)?;
    b.set_data("/r/x/y", b"", -1)?;
    b.delete("/r/x/y", -1)?;
    expect(
        &mut a,
        &[(CREATED, "/r"), (CREATED, "/r/x"), (CREATED, "/r/x/y"), (CHANGED, "/r/x/y"), (DELETED, "/r/x/y")],
    )
}

fn both_kinds(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/both", b"", OPEN, 0)?;
    a.add_watch("/both", true)?;
    a.get_data("/both", true)?;
    b.set_data("/both", b"", -1)?;
    expect(&mut a, &[(CHANGED, "/both")])?;
    b.set_data("/both", b"", -1)?;
    expect(&mut a, &[(CHANGED, "/both")])
}

fn before_the_reply(server: &Server) -> anyhow::Result<()> {
    let mut a = open(server)?;
    a.create("/before", b"", OPEN, 0)?;
    for n in 0..100 {
        a.get_data("/before", true)?;
        let xid = a.send(OpCode::SetData, &request::set_data(Some(b"/before"), Some(b"x"), n))?;
        // The event must have come when the reply is there.
        let reply = a.reply_to(xid, OpCode::SetData)?;
        let event = a.events.pop_front().context("the reply came before the event")?;
        ensure!(event.zxid == reply.header.zxid, "{event:?} {reply:?}");
    }
    Ok(())
}

fn of_a_multi(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    a.add_watch("/multi", true)?;
    let p = |s: &str| Some(s.as_bytes().to_vec());
    b.multi(&[
        (1, request::create(p("/multi").as_deref(), None, Some(OPEN), 0)),
        (1, request::create(p("/multi/a").as_deref(), None, Some(OPEN), 0)),
        (5, request::set_data(p("/multi").as_deref(), None, 0)),
        (2, request::path_int(p("/multi/a").as_deref(), 0)),
        (13, request::path_int(p("/multi").as_deref(), 1)),
    ])?;
    let got = a.events_so_far()?;
    ensure!(got.iter().all(|e| e.zxid == got[0].zxid), "{got:?}");
    let got: Vec<_> = got.into_iter().map(|e| (e.kind, e.path)).collect();
    let list = [(CREATED, "/multi"), (CREATED, "/multi/a"), (CHANGED, "/multi"), (DELETED, "/multi/a")];
    ensure!(got == due(&list), "{got:?}");
    b.multi(&[
        (1, request::create(p("/multi/b").as_deref(), None, Some(OPEN), 0)),
        (2, request::path_int(p("/multi/none").as_deref(), 0)),
    ])?;
    expect(&mut a, &[])
}

fn filtered(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.auth("digest", b"alice:pw")?;
    let mine = [(31, Some(&b"auth"[..]), Some(&b""[..]))];
    b.create("/f", b"", OPEN, 0)?;
    a.get_data("/f", true)?;
    a.add_watch("/f", true)?;
    b.set_acl("/f", &mine, -1)?;
    b.set_data("/f", b"1", -1)?;
    b.create("/f/x", b"", &mine, 0)?;
    b.create("/f/open", b"", READ_ONLY, 0)?;
    b.delete("/f/x", -1)?;
    expect(&mut a, &[(CREATED, "/f/open")])?;
    b.set_acl("/f", OPEN, -1)?;
    b.set_data("/f", b"2", -1)?;
    // The persistent watch is still there; the one of getData was used up.
    expect(&mut a, &[(CHANGED, "/f")])?;
    let r = a.call(OpCode::CheckWatches, &request::path_int(Some(b"/f"), 2))?;
    ensure!(r.header.err == -121, "{r:?}");
    Ok(())
}

fn end_with_the_connection(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/ends", b"", OPEN, 0)?;
    a.get_data("/ends", true)?;
    a.add_watch("/ends", true)?;
    let mut again = Conn::reopen(server.addr(), a.session, 10_000)?;
    b.set_data("/ends", b"", -1)?;
    expect(&mut again, &[])
}

fn check_and_remove(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/c", b"", OPEN, 0)?;
    let ask = |a: &mut Conn, op: OpCode, kind: i32| -> anyhow::Result<i32> {
        Ok(a.call(op, &request::path_int(Some(b"/c"), kind))?.header.err)
    };
    for kind in 1..=5 {
        ensure!(ask(&mut a, OpCode::CheckWatches, kind)? == -121, "kind {kind}");
        ensure!(ask(&mut a, OpCode::RemoveWatches, kind)? == -121, "kind {kind}");
    }
    for kind in [0, 6, -1] {
        ensure!(ask(&mut a, OpCode::CheckWatches, kind)? == -5, "kind {kind}");
        ensure!(ask(&mut a, OpCode::RemoveWatches, kind)? == -5, "kind {kind}");
    }
    a.get_data("/c", true)?;
    ensure!(ask(&mut a, OpCode::CheckWatches, 2)? == 0 && ask(&mut a, OpCode::CheckWatches, 1)? == -121);
    watch_children(&mut a, "/c")?;
    ensure!(ask(&mut a, OpCode::CheckWatches, 1)? == 0 && ask(&mut a, OpCode::CheckWatches, 3)? == 0);
    ensure!(ask(&mut a, OpCode::RemoveWatches, 2)? == 0);
    b.set_data("/c", b"", -1)?;
    b.create("/c/x", b"", OPEN, 0)?;
    expect(&mut a, &[(CHILDREN, "/c")])?;
    a.add_watch("/c", false)?;
    ensure!(ask(&mut a, OpCode::CheckWatches, 4)? == 0 && ask(&mut a, OpCode::CheckWatches, 5)? == -121);
    ensure!(ask(&mut a, OpCode::RemoveWatches, 4)? == 0 && ask(&mut a, OpCode::CheckWatches, 3)? == -121);
    a.add_watch("/c", true)?;
    ensure!(ask(&mut a, OpCode::CheckWatches, 5)? == 0);
    ensure!(ask(&mut a, OpCode::RemoveWatches, 3)? == 0 && ask(&mut a, OpCode::CheckWatches, 3)? == -121);
    b.set_data("/c", b"", -1)?;
    expect(&mut a, &[])
}

fn set_watches(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/sw", b"", OPEN, 0)?;
    b.create("/sw/kept", b"", OPEN, 0)?;
    let zxid = a.ping()?.zxid.0;
    b.set_data("/sw", b"", -1)?;
    b.create("/sw/new", b"", OPEN, 0)?;
    let list = |l: &[&str]| Some(l.iter().map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>());
    let body = request::set_watches(
        zxid,
        &[
            list(&["/sw", "/sw/gone", "/sw/kept"]),
            list(&["/sw/new", "/sw/later"]),
            list(&["/sw", "/sw/gone2", "/sw/kept"]),
        ],
    );
    let r = a.call(OpCode::SetWatches, &body)?;
    ensure!(r.header.err == 0 && r.body.is_empty() && r.header.xid.0 == -8, "{r:?}");
    let got: Vec<Event> = a.events.drain(..).collect();
    ensure!(got.iter().all(|e| e.zxid.0 == -1), "{got:?}");
    let got: Vec<_> = got.into_iter().map(|e| (e.kind, e.path)).collect();
    let list = [
        (CHANGED, "/sw"),
        (DELETED, "/sw/gone"),
        (CREATED, "/sw/new"),
        (CHILDREN, "/sw"),
        (DELETED, "/sw/gone2"),
    ];
    ensure!(got == due(&list), "{got:?}");
    b.create("/sw/later", b"", OPEN, 0)?;
    b.set_data("/sw/kept", b"", -1)?;
    b.create("/sw/kept/x", b"", OPEN, 0)?;
    expect(&mut a, &[(CREATED, "/sw/later"), (CHANGED, "/sw/kept"), (CHILDREN, "/sw/kept")])
}

fn set_watches2(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    let list = |l: &[&str]| Some(l.iter().map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>());
    let none = || list(&[]);
    let body = request::set_watches(i64::MAX, &[none(), none(), none(), list(&["/sw2"]), list(&["/sw3"])]);
    ensure!(a.call(OpCode::SetWatches2, &body)?.header.err == 0);
    b.create("/sw2", b"", OPEN, 0)?;
    b.create("/sw2/x", b"", OPEN, 0)?;
    b.create("/sw3", b"", OPEN, 0)?;
    b.create("/sw3/x", b"", OPEN, 0)?;
    expect(&mut a, &[(CREATED, "/sw2"), (CHILDREN, "/sw2"), (CREATED, "/sw3"), (CREATED, "/sw3/x")])?;
    // The events of the lists before the null one go out, then -5.
    let body = request::set_watches(0, &[list(&["/none"]), None, list(&["/none2"])]);
    let r = a.call(OpCode::SetWatches, &body)?;
    ensure!(r.header.err == -5, "{r:?}");
    expect(&mut a, &[(DELETED, "/none")])
}

fn multi_read_sets_none(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    b.create("/mr", b"", OPEN, 0)?;
    let part = request::path_bool(Some(b"/mr"), true);
    a.call(OpCode::MultiRead, &request::multi(&[(4, part.clone()), (8, part)]))?.ok()?;
    b.set_data("/mr", b"", -1)?;
    b.create("/mr/x", b"", OPEN, 0)?;
    expect(&mut a, &[])
}

fn of_a_closed_session(server: &Server) -> anyhow::Result<()> {
    let (mut a, mut b) = (open(server)?, open(server)?);
    a.create("/closed", b"", OPEN, 0)?;
    for n in 0..5 {
        b.create(&format!("/closed/{n}"), b"", OPEN, 1)?;
    }
    a.add_watch("/closed", false)?;
    a.add_watch("/closed/3", true)?;
    let zxid = b.close()?.zxid;
    let mut got = a.events_so_far()?;
    ensure!(got.iter().all(|e| e.zxid == zxid), "{got:?}");
    got.sort_by(|x, y| (x.kind, &x.path).cmp(&(y.kind, &y.path)));
    let got: Vec<_> = got.into_iter().map(|e| (e.kind, e.path)).collect();
    let mut list = vec![(DELETED, "/closed/3")];
    list.extend([(CHILDREN, "/closed"); 5]);
    ensure!(got == due(&list), "{got:?}");
    Ok(())
}
