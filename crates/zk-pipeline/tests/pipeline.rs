//! The pipeline on its own: a host that logs in memory and commits when told.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use zk_pipeline::auth::Identities;
use zk_pipeline::{ConnId, Input, Now, Output, Pipeline, PipelineConfig};
use zk_proto::client::{CreateRequest, ReplyHeader, RequestHeader, WriteRequest};
use zk_proto::txn::{LogEntry, Txn};
use zk_proto::{Acl, AuthId, OpCode, Reader, SessionId, Writer, Xid, Zxid};
use zk_tree::watch::Interest;
use zk_tree::{Effects, Tree, TreeOptions};

const OPTIONS: TreeOptions = TreeOptions { extended_types: true, digest: true, hash_seed: 7 };

/// One member with a log that is durable when `commit` is called.
struct Host {
    pipeline: Pipeline,
    tree: Tree,
    now: Now,
    log: Vec<LogEntry>,
    /// What went to the connections, as text.
    told: Vec<String>,
    xid: i32,
    effects: Effects,
}

impl Host {
    fn new() -> Self {
        let tree = Tree::new(OPTIONS);
        let now = Now { mono: 10_000, wall: 1_000_000 };
        let config = PipelineConfig {
            tick_ms: 1000,
            extended_types: true,
            container_check_ms: 60_000,
            ..PipelineConfig::default()
        };
        let pipeline = Pipeline::new(config, &tree, now);
        Host { pipeline, tree, now, log: vec![], told: vec![], xid: 0, effects: Effects::default() }
    }

    fn take(&mut self) {
        for o in self.pipeline.take_outputs() {
            match o {
                Output::Append(r) => self.log.push(LogEntry::decode(&r.bytes).unwrap()),
                Output::Session { conn, session, timeout, .. } => {
                    self.told.push(format!("{} session {session:x} {timeout}", conn.0));
                }
                Output::Refused { conn } => self.told.push(format!("{} refused", conn.0)),
                Output::Event(f) => self.told.push(format!("event {:?} {} at {}", f.event, f.path, f.zxid)),
                Output::Reply { conn, frames, watches, close } => {
                    self.told.push(format!("{} {}", conn.0, show(&frames)));
                    for watch in watches {
                        let node = self.tree.get(&watch.path).map(|node| node.id());
                        assert_eq!(watch.node, node, "as the tree is when the read runs");
                        self.told.push(format!("{} watches {:?} {}", conn.0, watch.kind, watch.path));
                    }
                    if close {
                        self.told.push(format!("{} closed", conn.0));
                    }
                }
                Output::Applied(applied) => {
                    let mut frames = BytesMut::new();
                    applied.encode(&mut frames);
                    self.told.push(format!("{} {}", applied.conn.0, show(&frames)));
                }
                Output::WatchQuery { conn, xid, path, .. } => {
                    self.told.push(format!("{} query {xid} {path}", conn.0));
                }
                Output::Close { conn } => self.told.push(format!("{} closed", conn.0)),
                Output::Forward(_) | Output::Revalidate { .. } => panic!("nobody to send to"),
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.pipeline.handle(self.now, input, &self.tree);
        self.take();
    }

    fn session(&mut self, conn: u64) -> SessionId {
        self.input(Input::Connect {
            conn: ConnId(conn),
            session: SessionId::NONE,
            timeout: 4000,
            read_only: false,
        });
        let id = self.log.last().unwrap().header.session;
        self.commit();
        id
    }

    fn write(&mut self, conn: u64, session: SessionId, request: WriteRequest) -> i32 {
        self.xid += 1;
        let (conn, xid, ids) = (ConnId(conn), Xid(self.xid), ids());
        self.input(Input::Write { conn, session, xid, request: Ok(request), ids });
        self.xid
    }

    fn read(&mut self, conn: u64, session: SessionId, op: OpCode, path: &str) {
        self.xid += 1;
        let mut body = BytesMut::new();
        let mut w = Writer::new(&mut body);
        w.str(path);
        w.bool(true);
        let header = RequestHeader { xid: Xid(self.xid), op: op.to_i32() };
        self.input(Input::Read { conn: ConnId(conn), session, header, body: body.freeze(), ids: ids() });
    }

    /// Everything in the log is durable: apply it.
    fn commit(&mut self) {
        let Some(last) = self.log.last() else { return };
        self.pipeline.committed(last.header.zxid);
        while self.pipeline.apply(self.now, &mut self.tree, &mut self.effects, 3) {}
        self.take();
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn ids() -> Identities {
    Arc::new([AuthId::new("ip", "127.0.0.1")])
}

/// Replies as `xid zxid err length-of-body`.
fn show(mut frames: &[u8]) -> String {
    let mut out = Vec::new();
    while !frames.is_empty() {
        let len = u32::from_be_bytes(frames[..4].try_into().unwrap()) as usize;
        let mut r = Reader::new(&frames[4..4 + len]);
        let h = ReplyHeader::read(&mut r).unwrap();
        out.push(format!("xid {} zxid {} err {} +{}", h.xid, h.zxid, h.err, r.remaining()));
        frames = &frames[4 + len..];
    }
    out.join(", ")
}

fn create(path: &str, flags: i32) -> WriteRequest {
    let op = match flags {
        4 => OpCode::CreateContainer,
        5 | 6 => OpCode::CreateTtl,
        _ => OpCode::Create,
    };
    WriteRequest::Create(CreateRequest {
        op,
        path: Some(path.into()),
        data: Some(Bytes::from_static(b"d")),
        acl: Some(Acl::open()),
        flags,
        ttl: if flags >= 5 { 1000 } else { -1 },
    })
}

fn delete(path: &str) -> WriteRequest {
    WriteRequest::Delete { path: Some(path.into()), version: -1 }
}

fn set(path: &str, data: &'static [u8], version: i32) -> WriteRequest {
    WriteRequest::SetData { path: Some(path.into()), data: Some(Bytes::from_static(data)), version }
}

#[test]
fn a_read_between_two_writes_runs_between_them() {
    let mut h = Host::new();
    let s = h.session(1);
    h.told();
    h.write(1, s, create("/a", 0));
    h.read(1, s, OpCode::GetData, "/a");
    h.write(1, s, set("/a", b"longer", 0));
    h.read(1, s, OpCode::GetData, "/a");
    assert!(h.told().is_empty(), "nothing is told before it is durable");
    h.commit();
    assert_eq!(
        h.told(),
        [
            "event NodeCreated /a at 0x2",
            "event NodeChildrenChanged / at 0x2",
            "1 xid 1 zxid 0x2 err 0 +6",
            "1 xid 2 zxid 0x2 err 0 +73",
            "1 watches Data /a",
            "event NodeDataChanged /a at 0x3",
            "1 xid 3 zxid 0x3 err 0 +68",
            "1 xid 4 zxid 0x3 err 0 +78",
            "1 watches Data /a",
        ]
    );
}

/// The read sets its watch in the same batch, so whoever counts watches has not heard of it.
#[test]
fn a_change_that_nobody_waits_for_is_no_event_and_a_new_watch_is_not_overlooked() {
    let mut h = Host::new();
    let (a, b) = (h.session(1), h.session(2));
    h.write(1, a, create("/a", 0));
    h.commit();
    h.effects.listeners = Some(vec![Arc::new(Interest::new())]);
    h.told();
    h.write(1, a, set("/a", b"1", -1));
    h.read(1, a, OpCode::GetData, "/a");
    h.write(2, b, set("/a", b"2", -1));
    h.commit();
    let told = h.told();
    let events: Vec<&String> = told.iter().filter(|t| t.starts_with("event")).collect();
    assert_eq!(events, ["event NodeDataChanged /a at 0x5"], "{told:?}");
    h.write(2, b, set("/a", b"3", -1));
    h.commit();
    assert!(!h.told().iter().any(|t| t.starts_with("event")), "the watch is with its counter by now");
}

#[test]
fn a_read_of_another_session_does_not_wait() {
    let mut h = Host::new();
    let (s, t) = (h.session(1), h.session(2));
    h.told();
    h.write(1, s, create("/a", 0));
    h.read(2, t, OpCode::Exists, "/a");
    assert_eq!(h.told(), ["2 xid 2 zxid 0x2 err -101 +0", "2 watches Data /a"]);
}

#[test]
fn a_failed_write_takes_a_zxid_and_sees_what_is_in_flight() {
    let mut h = Host::new();
    let s = h.session(1);
    h.told();
    h.write(1, s, create("/a", 0));
    h.write(1, s, create("/a", 0));
    h.write(1, s, set("/a", b"x", 5));
    h.write(1, s, delete("/a"));
    h.write(1, s, delete("/a"));
    h.commit();
    let replies: Vec<String> = h.told().into_iter().filter(|t| t.starts_with("1 xid")).collect();
    assert_eq!(
        replies,
        [
            "1 xid 1 zxid 0x2 err 0 +6",
            "1 xid 2 zxid 0x3 err -110 +0",
            "1 xid 3 zxid 0x4 err -103 +0",
            "1 xid 4 zxid 0x5 err 0 +0",
            "1 xid 5 zxid 0x6 err -101 +0",
        ]
    );
    assert!(h.log[2..4].iter().all(|e| e.header.op == OpCode::Error && e.digest.is_none()));
}

#[test]
fn a_failed_multi_leaves_nothing_in_flight() {
    let mut h = Host::new();
    let s = h.session(1);
    h.write(
        1,
        s,
        WriteRequest::Multi(vec![create("/m", 0), create("/m/x", 2), delete("/none"), create("/n", 0)]),
    );
    h.write(1, s, create("/m", 0));
    h.commit();
    let Txn::Multi(subs) = &h.log[1].txn else { panic!() };
    let ops: Vec<OpCode> = subs.iter().map(|s| s.op).collect();
    assert_eq!(ops, [OpCode::Create, OpCode::Create, OpCode::Error, OpCode::Error]);
    assert_eq!(subs[3].txn, Txn::Error { err: -2 });
    assert_eq!(h.log[2].header.op, OpCode::Create, "/m was never made");
    assert!(h.tree.get("/m").is_some() && h.tree.get("/n").is_none());
    assert_eq!(h.tree.digest_mismatches(), 0);
}

#[test]
fn sequence_numbers_count_what_is_in_flight() {
    let mut h = Host::new();
    let s = h.session(1);
    for _ in 0..3 {
        h.write(1, s, create("/q-", 2));
    }
    h.write(1, s, create("/plain", 0));
    h.write(1, s, create("/", 2));
    h.commit();
    for name in ["/q-0000000000", "/q-0000000001", "/q-0000000002", "/plain", "/0000000004"] {
        assert!(h.tree.get(name).is_some(), "{name}");
    }
}

#[test]
fn a_closing_session_takes_its_ephemerals_along_in_flight_ones_too() {
    let mut h = Host::new();
    let s = h.session(1);
    h.write(1, s, create("/e1", 1));
    h.write(1, s, create("/e2", 1));
    h.commit();
    h.told();
    h.write(1, s, create("/e3", 1));
    h.write(1, s, delete("/e1"));
    h.write(1, s, WriteRequest::CloseSession);
    h.write(1, s, create("/late", 1));
    h.commit();
    let Txn::CloseSession { paths: Some(paths) } = &h.log.last().unwrap().txn else { panic!() };
    let paths: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    assert_eq!(paths, BTreeSet::from(["/e2", "/e3"]));
    assert!(h.told().ends_with(&["1 xid 5 zxid 0x6 err 0 +0".to_owned(), "1 closed".to_owned()]));
    assert_eq!(h.tree.ephemerals_count(), 0);
    assert_eq!(h.pipeline.stats().dropped, 1);
    assert_eq!(h.tree.digest_mismatches(), 0);
}

#[test]
fn what_is_logged_can_be_read_when_sessions_end_without_a_list() {
    let mut h = Host::new();
    let config = PipelineConfig { close_session_txn: false, ..PipelineConfig::default() };
    h.pipeline = Pipeline::new(config, &h.tree, h.now);
    let s = h.session(1);
    h.write(1, s, create("/e", 1));
    h.write(1, s, WriteRequest::CloseSession);
    h.commit();
    assert_eq!(h.log.last().unwrap().txn, Txn::CloseSession { paths: None });
    assert!(h.tree.get("/e").is_none());
    assert_eq!(h.tree.digest_mismatches(), 0);
}

#[test]
fn a_session_that_is_silent_ends_and_one_that_was_heard_stays() {
    let mut h = Host::new();
    let (s, t) = (h.session(1), h.session(2));
    h.write(1, s, create("/e", 1));
    h.commit();
    h.told();
    h.now.mono += 5000;
    assert_eq!(h.pipeline.due_sessions(h.now.mono), [s, t]);
    h.pipeline.touch(t, h.now.mono - 100);
    h.pipeline.tick(h.now, &h.tree);
    h.take();
    h.commit();
    assert_eq!(h.log.last().unwrap().header.session, s);
    assert!(h.told().contains(&"1 closed".to_owned()));
    assert!(h.tree.get("/e").is_none());
    // It does not come back.
    h.input(Input::Connect { conn: ConnId(3), session: s, timeout: 4000, read_only: false });
    h.input(Input::Connect { conn: ConnId(4), session: t, timeout: 4000, read_only: false });
    assert_eq!(
        h.told(),
        vec!["3 refused".to_owned(), "2 closed".to_owned(), format!("4 session {t:x} 4000")]
    );
}

#[test]
fn the_reaper_takes_empty_containers_and_aged_nodes() {
    let mut h = Host::new();
    let s = h.session(1);
    for r in [create("/c", 4), create("/c/x", 0), create("/never", 4), create("/t", 5), delete("/c/x")] {
        h.write(1, s, r);
    }
    h.commit();
    h.now.mono += 60_000;
    h.now.wall += 60_000;
    h.pipeline.touch(s, h.now.mono);
    for _ in 0..4 {
        h.now.mono += 10;
        h.pipeline.tick(h.now, &h.tree);
        h.take();
        h.commit();
    }
    assert!(h.tree.get("/c").is_none() && h.tree.get("/t").is_none());
    assert!(h.tree.get("/never").is_some());
}

#[test]
fn requests_that_do_not_decode_keep_their_place() {
    let mut h = Host::new();
    let s = h.session(1);
    h.told();
    h.write(1, s, create("/a", 0));
    let header = RequestHeader { xid: Xid(77), op: OpCode::SetData.to_i32() };
    h.input(Input::Read { conn: ConnId(1), session: s, header, body: Bytes::from_static(b"?"), ids: ids() });
    let request = Err(zk_proto::DecodeError::Null);
    h.input(Input::Write { conn: ConnId(1), session: s, xid: Xid(78), request, ids: ids() });
    h.commit();
    assert_eq!(
        h.told()[2..],
        ["1 xid 1 zxid 0x2 err 0 +6", "1 xid 77 zxid 0x2 err -5 +0", "1 xid 78 zxid 0x3 err -5 +0"]
    );
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, WriteRequest),
    Commit,
    Close(usize),
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|v| format!("/{}", v.join("/")))
}

fn any_write(depth: u32) -> BoxedStrategy<WriteRequest> {
    let one = prop_oneof![
        4 => (any_path(), 0..7i32).prop_map(|(p, f)| create(&p, f)),
        2 => (any_path(), -1..2i32).prop_map(|(p, v)| WriteRequest::Delete { path: Some(p.into()), version: v }),
        2 => (any_path(), -1..3i32).prop_map(|(p, v)| set(&p, b"some data", v)),
    ]
    .boxed();
    if depth == 0 {
        return one;
    }
    prop_oneof![
        6 => one,
        1 => (any_path(), -1..2i32).prop_map(|(p, v)| WriteRequest::SetAcl {
            path: Some(p.into()), acl: Some(Acl::open()), version: v }),
        2 => prop::collection::vec(any_write(0), 0..4).prop_map(WriteRequest::Multi),
    ]
    .boxed()
}

proptest! {
    /// Whatever is asked for and whenever it commits: the digest that was
    /// computed ahead is the one the tree comes to.
    #[test]
    fn digests_computed_ahead_are_right(steps in prop::collection::vec(prop_oneof![
        10 => (0..2usize, any_write(1)).prop_map(|(s, w)| Step::Write(s, w)),
        3 => Just(Step::Commit),
        1 => (0..2usize).prop_map(Step::Close),
    ], 1..60)) {
        let mut h = Host::new();
        let mut sessions = [h.session(1), h.session(2)];
        for step in steps {
            match step {
                Step::Write(s, w) => { h.write(s as u64 + 1, sessions[s], w); }
                Step::Commit => h.commit(),
                Step::Close(s) => {
                    h.write(s as u64 + 1, sessions[s], WriteRequest::CloseSession);
                    h.commit();
                    sessions[s] = h.session(s as u64 + 1);
                }
            }
        }
        h.commit();
        prop_assert_eq!(h.tree.digest_mismatches(), 0);
        prop_assert_eq!(h.pipeline.outstanding(), 0);
        // The log alone gives the same tree.
        let mut again = Tree::new(OPTIONS);
        let mut effects = Effects::default();
        for e in &h.log { again.apply(e, &mut effects); }
        prop_assert_eq!(again.digest(), h.tree.digest());
        prop_assert_eq!(again.node_count(), h.tree.node_count());
        prop_assert_eq!(again.last_zxid(), h.tree.last_zxid());
        let zxids: Vec<Zxid> = h.log.iter().map(|e| e.header.zxid).collect();
        prop_assert!(zxids.windows(2).all(|w| w[1].0 == w[0].0 + 1));
    }
}
