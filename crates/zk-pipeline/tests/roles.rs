//! A leader and two learners in one process, with queues between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zk_pipeline::auth::Identities;
use zk_pipeline::{ConnId, Input, LinkRef, Now, Output, Pipeline, PipelineConfig, Role};
use zk_proto::client::{CreateRequest, ReplyHeader, RequestHeader, WriteRequest};
use zk_proto::quorum::packet::{Forwarded, Touch};
use zk_proto::txn::{LogEntry, Txn};
use zk_proto::{Acl, AuthId, Epoch, OpCode, Reader, SessionId, Writer, Xid, Zxid};
use zk_tree::{Effects, Tree, TreeOptions};

const OPTIONS: TreeOptions = TreeOptions { extended_types: true, digest: true, hash_seed: 7 };
const MEMBERS: usize = 3;

enum Up {
    Request(Forwarded),
    Revalidate(SessionId),
    Ping(Vec<Touch>),
}

enum Down {
    Commit(LogEntry),
    Revalidate(SessionId, bool),
    Sync,
}

struct Member {
    pipeline: Pipeline,
    tree: Tree,
    /// What clients have sent and the pipeline has not taken.
    inputs: VecDeque<Input>,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
}

/// What came out for a connection.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Session(SessionId),
    Refused,
    Reply { xid: i32, err: i32, body: Vec<u8>, close: bool },
    Close,
}

/// What a frame says.
fn told_of(frame: &[u8], close: bool) -> Told {
    let mut r = Reader::new(&frame[4..]);
    let h = ReplyHeader::read(&mut r).unwrap();
    Told::Reply { xid: h.xid.0, err: h.err, body: r.rest().to_vec(), close }
}

struct Cluster {
    members: Vec<Member>,
    leader: usize,
    epoch: i64,
    now: Now,
    /// All that was ever committed.
    history: Vec<LogEntry>,
    /// Proposed in this epoch and not committed.
    open: VecDeque<LogEntry>,
    /// Syncs of learners and what they wait for.
    syncs: VecDeque<(Zxid, usize)>,
    told: Vec<(ConnId, Told)>,
}

fn config(member: usize) -> PipelineConfig {
    PipelineConfig {
        tick_ms: 1000,
        extended_types: true,
        first_session: SessionId::first(u8::try_from(member).unwrap() + 1, 0),
        ..PipelineConfig::default()
    }
}

/// New sessions are local; an ephemeral node upgrades them, or not.
fn local(upgrading: bool) -> impl Fn(usize) -> PipelineConfig {
    move |member| PipelineConfig { local_sessions: true, local_upgrading: upgrading, ..config(member) }
}

impl Cluster {
    fn new() -> Self {
        Self::with(config)
    }

    fn with(config: impl Fn(usize) -> PipelineConfig) -> Self {
        let member = |i| {
            let tree = Tree::new(OPTIONS);
            let pipeline = Pipeline::idle(config(i), &tree);
            Member { pipeline, tree, inputs: [].into(), up: [].into(), down: [].into() }
        };
        let mut c = Cluster {
            members: (0..MEMBERS).map(member).collect(),
            leader: 0,
            epoch: 0,
            now: Now { mono: 10_000, wall: 1_000_000 },
            history: vec![],
            open: [].into(),
            syncs: [].into(),
            told: vec![],
        };
        c.serve(0);
        c
    }

    /// All that is committed reaches everybody, then a new epoch begins.
    fn serve(&mut self, leader: usize) {
        self.leader = leader;
        self.epoch += 1;
        let start = Zxid::new(Epoch(self.epoch), 0);
        for (i, m) in self.members.iter_mut().enumerate() {
            assert_eq!(m.pipeline.role(), Role::Idle);
            let mut effects = Effects::default();
            let applied = m.tree.last_zxid();
            for e in self.history.iter().filter(|e| e.header.zxid > applied) {
                m.tree.apply(e, &mut effects);
                m.pipeline.applied_elsewhere(&e.header);
            }
            m.tree.set_last_zxid(start);
            if i == leader {
                m.pipeline.lead(self.now, &m.tree, start);
            } else {
                m.pipeline.learn(self.now, &m.tree);
            }
        }
        self.take();
    }

    /// The leader is gone; of what it has proposed the first `survive` are kept.
    fn stop(&mut self, survive: usize, close_all: bool) {
        for m in &mut self.members {
            let mut effects = Effects::default();
            while m.pipeline.apply(self.now, &mut m.tree, &mut effects, 5) {}
            m.pipeline.stand_down(close_all);
            assert_eq!(m.pipeline.outstanding(), 0);
            m.up.clear();
            m.down.clear();
        }
        self.take();
        self.syncs.clear();
        self.history.extend(self.open.drain(..).take(survive));
    }

    fn take(&mut self) {
        for i in 0..MEMBERS {
            for o in self.members[i].pipeline.take_outputs() {
                let (conn, told) = match o {
                    Output::Append(r) => {
                        assert_eq!(i, self.leader);
                        self.open.push_back(LogEntry::decode(&r.bytes).unwrap());
                        continue;
                    }
                    Output::Forward(f) => {
                        self.members[i].up.push_back(Up::Request(f));
                        continue;
                    }
                    Output::Revalidate { session, .. } => {
                        self.members[i].up.push_back(Up::Revalidate(session));
                        continue;
                    }
                    Output::Event(_) => continue,
                    Output::Session { conn, session, .. } => (conn, Told::Session(session)),
                    Output::Refused { conn } => (conn, Told::Refused),
                    Output::Reply { conn, frames, close, .. } => (conn, told_of(&frames, close)),
                    Output::Applied(applied) => {
                        let mut frames = BytesMut::new();
                        applied.encode(&mut frames);
                        (applied.conn, told_of(&frames, false))
                    }
                    Output::Close { conn } => (conn, Told::Close),
                    Output::WatchQuery { .. } => unreachable!(),
                };
                self.told.push((conn, told));
            }
        }
    }

    fn input(&mut self, member: usize, input: Input) {
        let m = &mut self.members[member];
        m.pipeline.handle(self.now, input, &m.tree);
        self.take();
    }

    /// One client's input is taken.
    fn step_input(&mut self, member: usize) -> bool {
        let Some(input) = self.members[member].inputs.pop_front() else { return false };
        self.input(member, input);
        true
    }

    /// The leader takes one packet of a learner.
    fn step_up(&mut self, member: usize) -> bool {
        let Some(up) = self.members[member].up.pop_front() else { return false };
        let from = LinkRef(member as u64);
        let l = &mut self.members[self.leader];
        match up {
            Up::Request(f) if f.op == OpCode::Sync => match self.open.back() {
                Some(e) => self.syncs.push_back((e.header.zxid, member)),
                None => self.members[member].down.push_back(Down::Sync),
            },
            Up::Request(f) => l.pipeline.forwarded(self.now, from, f, &l.tree),
            Up::Revalidate(session) => {
                let valid = l.pipeline.revalidate(self.now, from, session);
                self.members[member].down.push_back(Down::Revalidate(session, valid));
            }
            Up::Ping(touched) => {
                for t in touched {
                    l.pipeline.touched(self.now, t.session, t.timeout);
                }
            }
        }
        self.take();
        true
    }

    /// A learner takes one packet of the leader.
    fn step_down(&mut self, member: usize) -> bool {
        let m = &mut self.members[member];
        match m.down.pop_front() {
            None => return false,
            Some(Down::Commit(e)) => m.pipeline.commit_learned(e),
            Some(Down::Revalidate(session, valid)) => m.pipeline.revalidated(session, valid),
            Some(Down::Sync) => m.pipeline.synced(),
        }
        self.take();
        true
    }

    /// The oldest proposal is committed.
    fn step_commit(&mut self) -> bool {
        let Some(e) = self.open.pop_front() else { return false };
        self.members[self.leader].pipeline.committed(e.header.zxid);
        for (i, m) in self.members.iter_mut().enumerate() {
            if i != self.leader {
                m.down.push_back(Down::Commit(e.clone()));
            }
        }
        while let Some((_, member)) = self.syncs.pop_front_if(|(zxid, _)| *zxid <= e.header.zxid) {
            self.members[member].down.push_back(Down::Sync);
        }
        self.history.push(e);
        true
    }

    fn step_apply(&mut self, member: usize, max: usize) -> bool {
        let m = &mut self.members[member];
        let before = m.tree.last_zxid();
        m.pipeline.apply(self.now, &mut m.tree, &mut Effects::default(), max);
        let moved = m.tree.last_zxid() > before;
        self.take();
        moved
    }

    fn settle(&mut self) {
        loop {
            let mut moved = self.step_commit();
            for i in 0..MEMBERS {
                moved |= self.step_input(i) | self.step_up(i) | self.step_down(i) | self.step_apply(i, 9);
            }
            if !moved {
                break;
            }
        }
        for m in &self.members {
            assert_eq!(m.pipeline.outstanding(), 0);
            assert_eq!(m.tree.digest_mismatches(), 0);
            assert_eq!(m.tree.digest(), self.members[0].tree.digest());
            assert_eq!(m.tree.node_count(), self.members[0].tree.node_count());
            assert_eq!(m.tree.last_zxid(), self.members[0].tree.last_zxid());
        }
    }

    fn told(&mut self, conn: u64) -> Vec<Told> {
        let (of, rest) = std::mem::take(&mut self.told).into_iter().partition(|(c, _)| c.0 == conn);
        self.told = rest;
        of.into_iter().map(|(_, t)| t).collect()
    }

    fn connect(&mut self, member: usize, conn: u64, session: SessionId) {
        self.input(member, Input::Connect { conn: ConnId(conn), session, timeout: 4000, read_only: false });
    }

    fn session(&mut self, member: usize, conn: u64) -> SessionId {
        self.connect(member, conn, SessionId::NONE);
        self.settle();
        match self.told(conn)[..] {
            [Told::Session(id)] => id,
            ref other => panic!("{other:?}"),
        }
    }
}

fn ids() -> Identities {
    Arc::new([AuthId::new("ip", "127.0.0.1")])
}

fn write(conn: u64, session: SessionId, xid: i32, request: WriteRequest) -> Input {
    Input::Write { conn: ConnId(conn), session, xid: Xid(xid), request: Ok(request), ids: ids() }
}

fn read(conn: u64, session: SessionId, xid: i32, op: OpCode, path: &str) -> Input {
    let mut body = BytesMut::new();
    let mut w = Writer::new(&mut body);
    w.str(path);
    w.bool(false);
    let header = RequestHeader { xid: Xid(xid), op: op.to_i32() };
    Input::Read { conn: ConnId(conn), session, header, body: body.freeze(), ids: ids() }
}

fn create(path: &str, flags: i32) -> WriteRequest {
    WriteRequest::Create(CreateRequest {
        op: OpCode::Create,
        path: Some(path.into()),
        data: Some(Bytes::from_static(b"0")),
        acl: Some(Acl::open()),
        flags,
        ttl: -1,
    })
}

fn set(path: &str, value: u64) -> WriteRequest {
    let data = Some(Bytes::from(value.to_string()));
    WriteRequest::SetData { path: Some(path.into()), data, version: -1 }
}

fn codes(told: &[Told]) -> Vec<(i32, i32)> {
    let code = |t: &Told| match t {
        Told::Reply { xid, err, .. } => (*xid, *err),
        Told::Close => (0, -999),
        other => panic!("{other:?}"),
    };
    told.iter().map(code).collect()
}

const CLOSED: (i32, i32) = (0, -999);

#[test]
fn a_learner_answers_in_order() {
    let mut c = Cluster::new();
    let s = c.session(1, 1);
    assert_eq!(s.0 >> 56, 2, "the id is the learner's");
    c.input(1, write(1, s, 1, create("/a", 0)));
    c.input(1, read(1, s, 2, OpCode::GetData, "/a"));
    c.input(1, write(1, s, 3, create("/a", 0)));
    let request = Err(zk_proto::DecodeError::Null);
    c.input(1, Input::Write { conn: ConnId(1), session: s, xid: Xid(4), request, ids: ids() });
    c.input(1, read(1, s, 5, OpCode::Sync, "/a"));
    c.input(1, read(1, s, 6, OpCode::SetData, "/a"));
    c.input(1, write(1, s, 7, WriteRequest::CloseSession));
    c.input(1, write(1, s, 8, create("/late", 0)));
    assert!(c.told(1).is_empty());
    c.settle();
    let told = c.told(1);
    assert_eq!(codes(&told), [(1, 0), (2, 0), (3, -110), (4, -5), (5, 0), (6, -5), (7, 0)]);
    assert!(matches!(told[6], Told::Reply { close: true, .. }));
    assert!(c.members.iter().all(|m| m.pipeline.sessions().is_empty()));
}

#[test]
fn a_learners_read_without_a_write_does_not_wait() {
    let mut c = Cluster::new();
    let (s, t) = (c.session(1, 1), c.session(1, 2));
    c.input(1, write(1, s, 1, create("/a", 0)));
    c.input(1, read(2, t, 1, OpCode::GetData, "/a"));
    assert_eq!(codes(&c.told(2)), [(1, -101)]);
}

#[test]
fn a_sync_sees_what_was_committed_before_it_reached_the_leader() {
    let mut c = Cluster::new();
    let (s, t) = (c.session(0, 1), c.session(1, 2));
    c.input(0, write(1, s, 1, create("/a", 0)));
    c.input(1, read(2, t, 1, OpCode::Sync, "/a"));
    c.input(1, read(2, t, 2, OpCode::GetData, "/a"));
    assert!(c.step_up(1) && c.step_commit());
    assert!(c.step_down(1) && c.step_down(1));
    assert!(c.told(2).is_empty(), "committed and answered, but not applied");
    c.step_apply(1, 1);
    assert_eq!(codes(&c.told(2)), [(1, 0), (2, 0)]);
    // Nothing to wait for.
    c.input(1, read(2, t, 3, OpCode::Sync, "/a"));
    assert!(c.step_up(1) && c.step_down(1) && !c.step_apply(1, 1));
    assert_eq!(codes(&c.told(2)), [(3, 0)]);
}

#[test]
fn a_leaders_sync_waits_for_all_that_is_proposed() {
    let mut c = Cluster::new();
    let (s, t) = (c.session(1, 1), c.session(0, 2));
    c.input(1, write(1, s, 1, create("/a", 0)));
    c.step_up(1);
    c.input(0, read(2, t, 1, OpCode::Sync, "/a"));
    c.input(0, read(2, t, 2, OpCode::GetData, "/a"));
    c.input(0, write(2, t, 3, create("/b", 0)));
    c.input(0, read(2, t, 4, OpCode::GetData, "/b"));
    assert!(c.told(2).is_empty());
    c.settle();
    assert_eq!(codes(&c.told(2)), [(1, 0), (2, 0), (3, 0), (4, 0)]);
    c.input(0, read(2, t, 5, OpCode::Sync, "/a"));
    assert_eq!(codes(&c.told(2)), [(5, 0)]);
}

#[test]
fn a_session_that_has_moved_does_not_write_on_its_old_server() {
    for (old, new) in [(1, 2), (1, 0), (0, 1)] {
        let mut c = Cluster::new();
        let s = c.session(old, 1);
        c.connect(new, 2, s);
        c.settle();
        assert_eq!(c.told(2), [Told::Session(s)]);
        c.input(old, write(1, s, 1, create("/old", 0)));
        c.input(old, read(1, s, 2, OpCode::Exists, "/old"));
        // Clients count on when they move: the number tells whose a transaction is.
        c.input(new, write(2, s, 3, create("/new", 0)));
        c.settle();
        assert_eq!(codes(&c.told(1)), [CLOSED], "{old} to {new}");
        assert_eq!(codes(&c.told(2)), [(3, 0)]);
        let moved = c.history.iter().any(|e| e.txn == Txn::Error { err: -118 });
        // The leader closes it on the spot.
        assert_eq!(moved, old != 0);
        assert!(c.members[2].tree.get("/old").is_none());
    }
}

#[test]
fn many_connections_may_wait_for_one_session() {
    let mut c = Cluster::new();
    let s = c.session(2, 1);
    c.connect(1, 2, s);
    c.connect(1, 3, s);
    c.connect(1, 4, SessionId(77));
    c.settle();
    assert_eq!(c.told(2), [Told::Session(s), Told::Close]);
    assert_eq!(c.told(3), [Told::Session(s)]);
    assert_eq!(c.told(4), [Told::Refused]);
}

#[test]
fn a_session_ends_everywhere_when_nobody_was_heard() {
    let mut c = Cluster::new();
    let (s, t) = (c.session(1, 1), c.session(1, 2));
    c.input(1, write(1, s, 0, create("/e", 1)));
    c.settle();
    c.told(1);
    c.now.mono += 4500;
    c.members[1].pipeline.heard(t);
    let m = &mut c.members[1];
    assert_eq!(m.pipeline.deadline(), None);
    let touched = m.pipeline.take_touched(&m.tree);
    assert!(touched.contains(&Touch { session: t, timeout: 4000 }));
    assert!(m.pipeline.take_touched(&m.tree).is_empty());
    m.up.push_back(Up::Ping(vec![Touch { session: t, timeout: 4000 }]));
    c.step_up(1);
    c.now.mono += 1000;
    let l = &mut c.members[0];
    assert!(l.pipeline.deadline().is_some());
    l.pipeline.tick(c.now, &l.tree);
    c.take();
    // Its number is that of the leader's closeSession, which is no answer to it.
    c.input(1, write(1, s, 0, create("/f", 1)));
    c.settle();
    assert_eq!(codes(&c.told(1)), [CLOSED]);
    assert!(c.told(2).is_empty());
    assert!(c.members[1].tree.get("/e").is_none());
    assert_eq!(c.history.last().unwrap().txn, Txn::Error { err: -112 });
}

#[test]
fn whatever_a_learner_sends_there_is_a_transaction() {
    let mut c = Cluster::new();
    let s = c.session(1, 1);
    for (op, body) in [
        (OpCode::Create, &b"?"[..]),
        (OpCode::Multi, b""),
        (OpCode::Check, b"\0\0\0\x01/\0\0\0\0"),
        (OpCode::DeleteContainer, b"\0\0\0\x02/a"),
        (OpCode::CreateSession, b""),
        (OpCode::GetData, b""),
    ] {
        let body = Bytes::from_static(body);
        let f = Forwarded { session: s, cxid: Xid(9), op, body, ids: None };
        c.members[1].up.push_back(Up::Request(f));
        c.settle();
        let last = c.history.last().unwrap();
        assert_eq!((last.header.session, last.header.cxid), (s, Xid(9)));
        assert_eq!(last.txn, Txn::Error { err: -5 }, "{op:?}");
    }
}

#[test]
fn only_what_is_unsettled_is_closed_when_a_role_ends() {
    let mut c = Cluster::new();
    let sessions: Vec<SessionId> = (0..8).map(|i| c.session(i % 2, i as u64)).collect();
    // On the leader and on a learner: a write, a sync, nothing, a read.
    for (i, s) in sessions.iter().enumerate() {
        let (m, conn) = (i % 2, i as u64);
        match i / 2 {
            0 => c.input(m, write(conn, *s, 1, create(&format!("/{i}"), 0))),
            1 => c.input(m, read(conn, *s, 1, OpCode::Sync, "/")),
            2 => {}
            _ => c.input(m, read(conn, *s, 1, OpCode::GetData, "/")),
        }
    }
    c.connect(1, 20, SessionId::NONE);
    c.connect(0, 21, SessionId::NONE);
    c.connect(2, 22, sessions[4]);
    c.stop(0, false);
    c.serve(1);
    for conn in [0, 1, 2, 3, 20, 21, 22] {
        assert_eq!(codes(&c.told(conn)), [CLOSED], "{conn}");
    }
    assert!(c.told(4).is_empty() && c.told(5).is_empty());
    assert_eq!(codes(&c.told(6)), [(1, 0)]);
    assert_eq!(codes(&c.told(7)), [(1, 0)]);
    // What a closed one still brings is not taken, and the others go on.
    c.input(0, write(0, sessions[0], 2, create("/closed", 0)));
    c.input(0, write(4, sessions[4], 2, create("/kept0", 0)));
    c.input(1, write(5, sessions[5], 2, create("/kept1", 0)));
    c.settle();
    assert!(c.told(0).is_empty());
    assert_eq!(codes(&c.told(4)), [(2, 0)]);
    assert_eq!(codes(&c.told(5)), [(2, 0)]);
    // The closed one's session lives.
    c.connect(2, 30, sessions[0]);
    c.settle();
    assert_eq!(c.told(30), [Told::Session(sessions[0])]);
    c.stop(0, true);
    assert_eq!(codes(&c.told(30)), [CLOSED]);
    assert_eq!(codes(&c.told(4)), [CLOSED]);
}

/// Its end was proposed and is never committed: what came meanwhile must not be passed over.
#[test]
fn who_was_not_heard_because_its_session_would_end_is_closed_if_it_does_not() {
    let mut c = Cluster::new();
    let s = c.session(1, 1);
    c.input(1, write(1, s, 1, WriteRequest::CloseSession));
    c.connect(0, 2, s);
    assert_eq!(c.told(2), [Told::Session(s)]);
    assert!(c.step_up(1));
    c.input(0, write(2, s, 2, create("/a", 0)));
    c.input(0, read(2, s, 3, OpCode::Exists, "/a"));
    assert!(c.told(2).is_empty());
    c.stop(0, false);
    c.serve(1);
    assert_eq!(codes(&c.told(2)), [CLOSED]);
    // Its session lives.
    c.connect(0, 3, s);
    c.settle();
    assert_eq!(c.told(3), [Told::Session(s)]);
}

#[test]
fn what_was_left_behind_does_not_overtake() {
    // The client has gone from 1 to 2, whether 1 has heard of it or not.
    for applied in [true, false] {
        let mut c = Cluster::new();
        let s = c.session(1, 1);
        c.input(1, write(1, s, 1, create("/a", 0)));
        c.settle();
        c.told(1);
        c.connect(2, 2, s);
        while c.step_up(2) || c.step_down(2) {}
        c.input(2, write(2, s, 2, set("/a", 2)));
        assert!(c.step_up(2) && c.step_commit());
        if applied {
            assert!(c.step_down(1) && c.step_apply(1, 1));
        }
        c.stop(0, false);
        c.serve(0);
        // It was sent before, and comes now.
        c.input(1, write(1, s, 3, set("/a", 1)));
        c.settle();
        assert_eq!(codes(&c.told(1)), [CLOSED]);
        assert_eq!(c.members[0].tree.get("/a").unwrap().data(), Some(&b"2"[..]));
    }
}

#[test]
fn what_is_committed_when_a_role_ends_is_applied_after_it() {
    let mut c = Cluster::new();
    let (s, t) = (c.session(0, 1), c.session(1, 2));
    c.input(0, write(1, s, 1, create("/a", 0)));
    c.input(1, write(2, t, 1, create("/b", 0)));
    while c.step_up(1) || c.step_commit() || c.step_down(1) {}
    for i in 0..2 {
        c.members[i].pipeline.stand_down(false);
        c.take();
        assert_eq!(c.members[i].pipeline.role(), Role::Idle);
    }
    assert_eq!(codes(&c.told(2)), [CLOSED], "a learner does not look into what is to come");
    c.stop(0, false);
    assert_eq!(codes(&c.told(1)), [(1, 0)]);
    c.serve(2);
    c.settle();
    assert!(c.told(2).is_empty() && c.members[0].tree.get("/b").is_some());
}

#[test]
fn the_counter_of_an_epoch_ends() {
    let tree = Tree::new(OPTIONS);
    let now = Now { mono: 0, wall: 0 };
    let mut p = Pipeline::idle(config(0), &tree);
    p.lead(now, &tree, Zxid(0x1_ffff_fffd));
    for conn in 1..3 {
        assert_eq!(p.exhausted(), conn == 2);
        p.handle(
            now,
            Input::Connect { conn: ConnId(conn), session: SessionId::NONE, timeout: 1, read_only: false },
            &tree,
        );
    }
    let out = p.take_outputs();
    assert!(matches!(&out[..], [Output::Append(r), Output::Close { conn: ConnId(2) }]
        if r.zxid == Zxid(0x1_ffff_fffe)));
}

/// How many sessions each member knows, and how many of them are its own.
fn known(c: &Cluster) -> Vec<(usize, usize)> {
    c.members.iter().map(|m| m.pipeline.sessions()).map(|s| (s.len(), s.local_len())).collect()
}

#[test]
fn a_local_session_is_one_members_own() {
    for member in 0..MEMBERS {
        let other = (member + 1) % MEMBERS;
        let mut c = Cluster::with(local(true));
        let s = c.session(member, 1);
        assert_eq!((s.server() as usize, c.history.len()), (member + 1, 0));
        assert_eq!(known(&c).into_iter().map(|(_, own)| own).collect::<Vec<_>>(), {
            let mut own = vec![0; MEMBERS];
            own[member] = 1;
            own
        });
        c.input(member, write(1, s, 1, create("/a", 0)));
        c.input(member, read(1, s, 2, OpCode::GetData, "/a"));
        c.settle();
        assert_eq!(codes(&c.told(1)), [(1, 0), (2, 0)]);
        // Elsewhere it is unknown; here it goes on, and the old connection goes.
        c.connect(other, 2, s);
        c.connect(member, 3, s);
        c.settle();
        assert_eq!((c.told(2), c.told(3)), (vec![Told::Refused], vec![Told::Session(s)]));
        assert_eq!(codes(&c.told(1)), [CLOSED]);
        // Its end comes behind its writes and is no transaction.
        c.input(member, write(3, s, 3, set("/a", 1)));
        c.input(member, write(3, s, 4, WriteRequest::CloseSession));
        c.input(member, write(3, s, 5, set("/a", 2)));
        assert!(c.told(3).is_empty());
        c.settle();
        let told = c.told(3);
        assert_eq!(codes(&told), [(3, 0), (4, 0)]);
        assert!(matches!(told[1], Told::Reply { close: true, .. }));
        assert_eq!((c.history.len(), known(&c)), (2, vec![(0, 0); MEMBERS]));
    }
}

#[test]
fn the_first_ephemeral_node_makes_a_session_known_to_all() {
    for member in 0..MEMBERS {
        let mut c = Cluster::with(local(true));
        let s = c.session(member, 1);
        c.input(member, write(1, s, 1, create("/a", 0)));
        c.input(member, write(1, s, 2, WriteRequest::Multi(vec![create("/b", 0), create("/e", 1)])));
        c.input(member, write(1, s, 3, create("/f", 1)));
        c.input(member, read(1, s, 4, OpCode::Exists, "/f"));
        c.settle();
        assert_eq!(codes(&c.told(1)), [(1, 0), (2, 0), (3, 0), (4, 0)]);
        let ops: Vec<_> = c.history.iter().map(|e| (e.header.op, e.header.cxid.0)).collect();
        let upgrade = (OpCode::CreateSession, 0);
        assert_eq!(ops, [(OpCode::Create, 1), upgrade, (OpCode::Multi, 2), (OpCode::Create, 3)]);
        assert_eq!(known(&c), vec![(1, 0); MEMBERS]);
        // It moves, and its nodes end with it.
        c.connect((member + 1) % MEMBERS, 2, s);
        c.settle();
        assert_eq!(c.told(2), [Told::Session(s)]);
        c.input((member + 1) % MEMBERS, write(2, s, 5, WriteRequest::CloseSession));
        c.settle();
        assert!(c.members.iter().all(|m| m.tree.get("/e").is_none() && m.tree.ephemerals_count() == 0));
        assert_eq!(known(&c), vec![(0, 0); MEMBERS]);
    }
}

#[test]
fn a_session_that_has_ended_does_not_pass_for_a_learners_own() {
    let mut c = Cluster::with(local(true));
    let s = c.session(1, 1);
    c.input(1, write(1, s, 1, create("/e", 1)));
    c.input(1, write(1, s, 2, create("/a", 0)));
    c.settle();
    c.connect(2, 3, s);
    c.settle();
    c.input(2, write(3, s, 3, WriteRequest::CloseSession));
    assert!(c.step_up(2) && c.step_commit() && c.step_apply(0, 9));
    // Its first member has not heard of it.
    c.input(1, write(1, s, 4, set("/a", 1)));
    c.settle();
    assert_eq!(c.history.last().unwrap().txn, Txn::Error { err: -112 });
}

#[test]
fn an_upgrade_without_its_leader_is_of_unknown_fate() {
    for member in 0..MEMBERS {
        // What of createSession and create the next leader has.
        for survive in 0..3 {
            let mut c = Cluster::with(local(true));
            let (s, t) = (c.session(member, 1), c.session(member, 2));
            c.input(member, write(1, s, 1, create("/e", 1)));
            while c.step_up(member) {}
            c.stop(survive, false);
            assert_eq!(codes(&c.told(1)), [CLOSED]);
            c.serve(2);
            let lives = survive > 0;
            assert_eq!(c.members[2].pipeline.sessions().get(s).is_some(), lives);
            c.input(member, Input::Disconnected { conn: ConnId(1), session: s });
            c.connect(member, 3, s);
            c.settle();
            assert_eq!(c.told(3), [if lives { Told::Session(s) } else { Told::Refused }]);
            assert_eq!(c.members[0].tree.get("/e").is_some(), survive == 2);
            // Who had nothing under way has not noticed.
            c.input(member, write(2, t, 1, create("/t", 1)));
            c.settle();
            assert_eq!(codes(&c.told(2)), [(1, 0)], "{member} {survive}");
        }
    }
}

#[test]
fn without_upgrading_there_are_no_ephemeral_nodes() {
    for member in 0..MEMBERS {
        let mut c = Cluster::with(local(false));
        let s = c.session(member, 1);
        c.input(member, write(1, s, 1, create("/e", 1)));
        c.input(member, write(1, s, 2, WriteRequest::Multi(vec![create("/b", 0), create("/e", 3)])));
        c.input(member, write(1, s, 3, create("/a", 0)));
        c.settle();
        assert_eq!(codes(&c.told(1)), [(1, -120), (2, 0), (3, 0)]);
        assert_eq!((c.history.len(), c.members[0].tree.ephemerals_count()), (3, 0));
    }
    // A leader without local sessions knows of none: nothing of one is done.
    let mut c = Cluster::with(|i| if i == 0 { config(0) } else { local(true)(i) });
    let s = c.session(1, 1);
    c.input(1, write(1, s, 1, create("/a", 0)));
    c.input(1, write(1, s, 2, create("/e", 1)));
    c.settle();
    assert_eq!(codes(&c.told(1)), [(1, -112), (2, 0)]);
}

#[test]
fn a_local_session_ends_by_the_clock_of_its_member() {
    for member in 0..MEMBERS {
        let mut c = Cluster::with(local(true));
        let (s, t, u) = (c.session(member, 1), c.session(member, 2), c.session(member, 3));
        c.input(member, write(3, u, 1, create("/e", 1)));
        c.settle();
        c.told.clear();
        c.now.mono += 4000;
        let (now, m) = (c.now, &mut c.members[member]);
        assert!(m.pipeline.deadline().is_some_and(|at| at <= now.mono + 1000));
        m.pipeline.touch(t, now.mono);
        c.now.mono += 1000;
        for m in &mut c.members {
            m.pipeline.tick(c.now, &m.tree);
        }
        c.take();
        c.settle();
        assert_eq!(codes(&c.told(1)), [CLOSED], "{s}");
        assert!(c.told(2).is_empty());
        assert_eq!(codes(&c.told(3)), [CLOSED], "by the leader's clock");
        assert_eq!(c.members[0].tree.ephemerals_count(), 0);
        assert_eq!(known(&c)[member], (1, 1));
    }
}

#[test]
fn reads_are_served_without_a_leader_to_those_who_take_them() {
    let mut c = Cluster::with(local(true));
    let (s, t) = (c.session(1, 1), c.session(1, 2));
    c.input(1, write(1, s, 1, create("/a", 0)));
    c.input(1, write(2, t, 1, create("/e", 1)));
    c.settle();
    c.told.clear();
    c.stop(0, false);
    assert!(c.told.is_empty(), "they wait");
    let (now, m) = (c.now, &mut c.members[1]);
    m.pipeline.serve_read_only(now, &m.tree);
    c.take();
    assert_eq!((codes(&c.told(1)), codes(&c.told(2))), (vec![CLOSED], vec![CLOSED]));
    assert_eq!(c.members[1].pipeline.role(), Role::ReadOnly);
    let ask = |c: &mut Cluster, conn, session, read_only| {
        c.input(1, Input::Connect { conn: ConnId(conn), session, timeout: 4000, read_only });
        c.told(conn)
    };
    assert_eq!(ask(&mut c, 3, SessionId::NONE, false), [Told::Close]);
    // The local one has ended; the other may go on where there is a leader.
    assert_eq!(ask(&mut c, 4, s, true), [Told::Refused]);
    assert_eq!(ask(&mut c, 5, t, true), [Told::Close]);
    assert_eq!(ask(&mut c, 12, SessionId::first(3, 5), true), [Told::Close], "it may live elsewhere");
    let Told::Session(r) = ask(&mut c, 6, SessionId::NONE, true)[0] else { panic!() };
    c.input(1, read(6, r, 1, OpCode::GetData, "/a"));
    c.input(1, write(6, r, 2, set("/a", 1)));
    c.input(1, write(6, r, 3, WriteRequest::Multi(vec![])));
    c.input(1, read(6, r, 4, OpCode::Sync, "/a"));
    c.input(1, read(6, r, 5, OpCode::SetData, "/a"));
    c.input(1, write(1, s, 2, set("/a", 1)));
    assert_eq!(codes(&c.told(6)), [(1, 0), (2, -119), (3, -119), (4, -119), (5, -119)]);
    assert!(c.told.is_empty(), "who was there before has nothing to say");
    assert_eq!(ask(&mut c, 7, r, true), [Told::Session(r)]);
    assert_eq!(codes(&c.told(6)), [CLOSED]);
    let Told::Session(q) = ask(&mut c, 8, SessionId::NONE, true)[0] else { panic!() };
    c.input(1, write(8, q, 9, WriteRequest::CloseSession));
    assert!(matches!(c.told(8)[..], [Told::Reply { xid: 9, err: 0, close: true, .. }]));
    // One is silent for too long.
    let Told::Session(p) = ask(&mut c, 9, SessionId::NONE, true)[0] else { panic!() };
    c.now.mono += 5000;
    let (now, m) = (c.now, &mut c.members[1]);
    m.pipeline.touch(r, now.mono);
    m.pipeline.tick(now, &m.tree);
    c.take();
    assert_eq!((codes(&c.told(9)), m_known(&c, p)), (vec![CLOSED], false));
    // With a leader they all end.
    c.members[1].pipeline.stand_down(false);
    c.take();
    assert_eq!((codes(&c.told(7)), m_known(&c, r)), (vec![CLOSED], false));
    c.serve(0);
    c.input(1, write(7, r, 1, set("/a", 1)));
    c.connect(1, 10, r);
    c.connect(1, 11, t);
    c.settle();
    assert!(c.told(7).is_empty());
    assert_eq!((c.told(10), c.told(11)), (vec![Told::Refused], vec![Told::Session(t)]));
}

fn m_known(c: &Cluster, session: SessionId) -> bool {
    c.members[1].pipeline.sessions().get(session).is_some()
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[derive(Debug)]
enum Asked {
    Connect,
    Set(u64),
    Get,
    /// What was acknowledged when it was sent.
    Sync(u64),
    Other,
    End,
}

#[derive(Debug, Default)]
struct Client {
    path: String,
    session: Option<SessionId>,
    conn: Option<(usize, u64)>,
    xid: i32,
    asked: VecDeque<(i32, Option<Asked>)>,
    /// The newest value that it has sent.
    sent: u64,
    /// The newest value that was acknowledged.
    acked: u64,
    /// The value that was acknowledged last on this connection.
    here: Option<u64>,
    /// At least this is there, on this connection.
    least: u64,
}

struct Run {
    c: Cluster,
    rng: Rng,
    clients: Vec<Client>,
    owner: BTreeMap<u64, usize>,
    next_conn: u64,
    next_path: usize,
    moves: usize,
    replies: usize,
}

/// Enough for a new one with each session that was refused.
const PATHS: usize = 300;

impl Run {
    fn new(seed: u64) -> Self {
        let mut c = if seed.is_multiple_of(2) { Cluster::new() } else { Cluster::with(local(true)) };
        let s = c.session(0, 0);
        let clients: Vec<Client> =
            (0..6).map(|i| Client { path: format!("/n{i}"), ..Client::default() }).collect();
        for i in 0..PATHS {
            c.input(0, write(0, s, i as i32, create(&format!("/n{i}"), 0)));
        }
        c.input(0, write(0, s, PATHS as i32, WriteRequest::CloseSession));
        c.settle();
        c.told.clear();
        let rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Run { c, rng, clients, owner: BTreeMap::new(), next_conn: 1, next_path: 6, moves: 0, replies: 0 }
    }

    fn ask(&mut self, i: usize, asked: Asked, input: impl FnOnce(u64, SessionId, i32, &str) -> Input) {
        let cl = &mut self.clients[i];
        let (Some((member, conn)), Some(session)) = (cl.conn, cl.session) else { return };
        cl.xid += 1;
        cl.asked.push_back((cl.xid, Some(asked)));
        let input = input(conn, session, cl.xid, &cl.path);
        self.c.members[member].inputs.push_back(input);
    }

    fn client_step(&mut self, i: usize) {
        let cl = &mut self.clients[i];
        let waits = matches!(cl.asked.back(), Some((_, Some(Asked::Connect | Asked::End))));
        if cl.conn.is_none() || self.rng.below(40) == 0 {
            return self.reconnect(i);
        }
        if waits {
            return;
        }
        match self.rng.below(12) {
            0..4 => {
                cl.sent += 1;
                let value = cl.sent;
                self.ask(i, Asked::Set(value), |conn, s, xid, path| write(conn, s, xid, set(path, value)));
            }
            4..8 => {
                self.ask(i, Asked::Get, |conn, s, xid, path| read(conn, s, xid, OpCode::GetData, path));
            }
            8 | 9 => {
                let acked = cl.acked;
                self.ask(i, Asked::Sync(acked), |conn, s, xid, path| read(conn, s, xid, OpCode::Sync, path));
            }
            10 => self.ask(i, Asked::Other, |conn, s, xid, _| {
                let ops = vec![create("/q-", 3), create("/q-", 2)];
                write(conn, s, xid, WriteRequest::Multi(ops))
            }),
            _ if self.rng.below(8) == 0 => {
                self.ask(i, Asked::End, |conn, s, xid, _| write(conn, s, xid, WriteRequest::CloseSession));
            }
            _ => {}
        }
    }

    /// Another connection, here or elsewhere. The old one is noticed some time,
    /// and what it has brought is on its way all the same.
    fn reconnect(&mut self, i: usize) {
        self.leave(i);
        let cl = &mut self.clients[i];
        let member = self.rng.below(MEMBERS);
        let conn = self.next_conn;
        self.next_conn += 1;
        self.moves += 1;
        cl.conn = Some((member, conn));
        cl.asked.push_back((0, Some(Asked::Connect)));
        self.owner.insert(conn, i);
        let session = cl.session.unwrap_or(SessionId::NONE);
        let input = Input::Connect { conn: ConnId(conn), session, timeout: 4000, read_only: false };
        self.c.members[member].inputs.push_back(input);
    }

    fn leave(&mut self, i: usize) {
        let cl = &mut self.clients[i];
        let connecting = matches!(cl.asked.front(), Some((_, Some(Asked::Connect))));
        if let (Some((member, conn)), Some(session), false) = (cl.conn.take(), cl.session, connecting) {
            self.c.members[member].inputs.push_back(Input::Disconnected { conn: ConnId(conn), session });
        }
        // No xid is used twice in a session.
        (cl.here, cl.least) = (None, 0);
        cl.asked.clear();
    }

    fn listen(&mut self) {
        for (conn, told) in std::mem::take(&mut self.c.told) {
            let Some(&i) = self.owner.get(&conn.0) else { continue };
            let cl = &mut self.clients[i];
            if cl.conn.is_none_or(|(_, c)| c != conn.0) {
                if let Told::Session(session) = told {
                    self.left_before_its_session(conn, session);
                }
                continue;
            }
            self.replies += 1;
            match told {
                Told::Close => self.leave(i),
                Told::Refused => {
                    assert!(matches!(cl.asked.pop_front(), Some((_, Some(Asked::Connect)))));
                    // What a local session has asked for may be done after its client has
                    // gone elsewhere: another session is not behind it.
                    *cl =
                        Client { path: format!("/n{}", self.next_path), conn: cl.conn, ..Client::default() };
                    self.next_path += 1;
                    assert!(self.next_path <= PATHS);
                    self.leave(i);
                }
                Told::Session(s) => {
                    assert!(matches!(cl.asked.pop_front(), Some((_, Some(Asked::Connect)))));
                    assert!(cl.session.is_none_or(|old| old == s));
                    cl.session = Some(s);
                }
                Told::Reply { xid, err, body, .. } => {
                    let (expected, asked) = cl.asked.pop_front().expect("a reply to nothing");
                    assert_eq!(xid, expected, "replies in order");
                    if err == -112 {
                        continue;
                    }
                    assert_eq!(err, 0, "{asked:?}");
                    match asked.unwrap() {
                        Asked::Set(v) => {
                            (cl.acked, cl.here) = (v, Some(v));
                            cl.least = cl.least.max(v);
                        }
                        Asked::Get => {
                            let data = Reader::new(&body).buffer().unwrap().unwrap().to_vec();
                            let found: u64 = String::from_utf8(data).unwrap().parse().unwrap();
                            assert!(found >= cl.least, "{found} after {}", cl.least);
                            assert!(cl.here.is_none_or(|v| v == found), "{found}, not {:?}", cl.here);
                            cl.least = found;
                        }
                        Asked::Sync(acked) => cl.least = cl.least.max(acked),
                        Asked::Other => {}
                        Asked::End => {
                            cl.session = None;
                            self.leave(i);
                        }
                        Asked::Connect => panic!("a reply to a connect request"),
                    }
                }
            }
        }
    }

    /// As the shell tells it.
    fn left_before_its_session(&mut self, conn: ConnId, session: SessionId) {
        for m in &mut self.c.members {
            if m.pipeline.sessions().get(session).and_then(|s| s.conn) == Some(conn) {
                m.inputs.push_back(Input::Disconnected { conn, session });
            }
        }
    }

    fn step(&mut self) {
        let m = self.rng.below(MEMBERS);
        match self.rng.below(64) {
            0..16 => {
                let i = self.rng.below(self.clients.len());
                self.client_step(i);
            }
            16..28 => drop(self.c.step_input(m)),
            28..38 => drop(self.c.step_up(m)),
            38..48 => drop(self.c.step_down(m)),
            48..55 => drop(self.c.step_commit()),
            55..62 => {
                let max = 1 + self.rng.below(4);
                self.c.step_apply(m, max);
            }
            62 => self.time(),
            _ if self.rng.below(4) == 0 => self.change(m),
            _ => {}
        }
        self.listen();
    }

    fn time(&mut self) {
        self.c.now.mono += self.rng.below(1000) as u64;
        let (leader, now) = (self.c.leader, self.c.now);
        for cl in &self.clients {
            let (Some((member, _)), Some(session)) = (cl.conn, cl.session) else { continue };
            // Some are not heard in time.
            self.c.members[member].pipeline.touch(session, now.mono);
            if member != leader {
                self.c.members[member].pipeline.heard(session);
            }
        }
        for m in &mut self.c.members {
            let touched = m.pipeline.take_touched(&m.tree);
            m.up.push_back(Up::Ping(touched));
        }
        self.c.members[leader].up.clear();
        for m in &mut self.c.members {
            m.pipeline.tick(now, &m.tree);
        }
        self.c.take();
    }

    fn change(&mut self, leader: usize) {
        let survive = self.rng.below(self.c.open.len() + 1);
        let close_all = self.rng.below(6) == 0;
        self.c.stop(survive, close_all);
        self.listen();
        self.c.serve(leader);
    }

    /// Everything comes to an end, and what was asked was answered or closed.
    fn finish(mut self) -> (usize, usize) {
        self.c.settle();
        self.listen();
        self.c.settle();
        self.listen();
        for cl in &self.clients {
            assert!(cl.asked.is_empty(), "waits for ever: {cl:?}");
        }
        self.nothing_was_overtaken();
        for m in &self.c.members {
            let ownerless = m.tree.sessions_with_ephemerals().find(|s| m.tree.session_timeout(*s).is_none());
            assert_eq!(ownerless, None, "ephemeral nodes that nobody removes");
        }
        (self.replies, self.moves)
    }

    /// Clients write growing values.
    fn nothing_was_overtaken(&self) {
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for e in &self.c.history {
            if let Txn::SetData { path, data: Some(data), .. } = &e.txn {
                let value: u64 = std::str::from_utf8(data).unwrap().parse().unwrap();
                let old = newest.insert(path, value);
                assert!(old.is_none_or(|old| old < value), "{path}: {value} after {old:?}");
            }
        }
        for cl in &self.clients {
            assert!(newest.get(cl.path.as_str()).copied().unwrap_or(0) >= cl.acked, "{cl:?}");
        }
    }
}

#[test]
fn random_clients_of_a_changing_ensemble() {
    let (mut replies, mut moves) = (0, 0);
    for seed in 1..400 {
        let mut run = Run::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            for _ in 0..3000 {
                run.step();
            }
            run.finish()
        }));
        let (r, m) = result.unwrap_or_else(|e| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(e)
        });
        replies += r;
        moves += m;
    }
    assert!(replies > 50_000 && moves > 1000, "{replies} replies, {moves} moves");
}
