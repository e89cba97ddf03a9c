use std::fmt::Write;

use bytes::Bytes;
use expect_test::{Expect, expect};
use zk_proto::Xid;
use zk_proto::quorum::packet::{Forwarded, FromLeader, LearnerInfo, PacketKind, Touch};

use super::*;
use crate::config::EnsembleConfig;
use crate::sync::LogSpan;

const E2: i64 = 0x2_0000_0000;

/// Members 1 to 3 vote, 4 to 6 observe; 2 follows 3 in epoch 2 and has (2, 3) to (2, 5).
struct Test {
    master: ObserverMaster,
    history: History,
    now: u64,
    out: String,
}

fn record(zxid: i64) -> Record {
    Record { zxid: Zxid(zxid), bytes: Bytes::from_static(b"x") }
}

fn members(version: i64) -> EnsembleConfig {
    let member = |id| format!("server.{id}=h{id}:1:2:{}\n", if id > 3 { "observer" } else { "participant" });
    let lines: String = (1..=6).map(member).collect();
    EnsembleConfig::parse(&format!("{lines}version={version:x}")).unwrap()
}

fn info(sid: i64, observer: bool, accepted: i64) -> FromLearner {
    let learner = LearnerInfo::new(PeerId(sid), Zxid(0));
    FromLearner::Info { observer, accepted_epoch: Epoch(accepted), learner }
}

fn ack(zxid: i64) -> FromLearner {
    FromLearner::Ack { zxid: Zxid(zxid) }
}

fn request(op: OpCode) -> FromLearner {
    let body = Bytes::new();
    FromLearner::Request(Forwarded { session: SessionId(7), cxid: Xid(1), op, body, ids: None })
}

fn revalidate(session: i64) -> FromLearner {
    FromLearner::Revalidate { session: SessionId(session), timeout: 1000 }
}

fn short(o: &LeaderOutput) -> String {
    match o {
        LeaderOutput::Send { links, message } => {
            let packet = message.to_packet();
            let kind = PacketKind::from_i32(packet.kind).unwrap().name();
            let links: Vec<_> = links.iter().map(|l| l.0.to_string()).collect();
            let more = match message {
                FromLeader::InformAndActivate { designated, .. } => format!(" designated {designated}"),
                FromLeader::NewLeader { config: Some(text), .. } => {
                    format!(" config {}", EnsembleConfig::from_bytes(text).unwrap().version)
                }
                FromLeader::Revalidate { session, valid } => format!(" {session} {valid}"),
                _ => String::new(),
            };
            format!("-> {}: {kind} {}{more}", links.join(","), packet.zxid)
        }
        LeaderOutput::Request { link, request } => format!("request of {}: {}", link.0, request.op.name()),
        other => format!("{other:?}"),
    }
}

impl Test {
    fn new() -> Self {
        Self::with(2)
    }

    fn with(epoch: i64) -> Self {
        let mut history = History::new();
        (3..=5).for_each(|n| history.push(record(E2 + n)));
        let config = LeaderConfig {
            join_bytes: crate::leader::JOIN_BYTES,
            me: PeerId(2),
            tick_ms: 100,
            init_limit: 10,
            sync_limit: 5,
            force_snap: false,
            max_snap_syncs: 1,
            max_diff_syncs: 5,
            reconfig_enabled: true,
        };
        let configs = Configs::new(members(0));
        let master = ObserverMaster::new(config, configs, (PeerId(3), Epoch(epoch)), Zxid(E2 + 5), 0);
        Self { master, history, now: 0, out: String::new() }
    }

    fn note(&mut self) {
        for o in self.master.take_outputs() {
            writeln!(self.out, "    {}", short(&o)).unwrap();
        }
    }

    fn input(&mut self, input: LeaderInput) -> &mut Self {
        self.master.handle(self.now, input, &mut self.history);
        self.note();
        self
    }

    fn packet(&mut self, link: u64, packet: FromLearner) -> &mut Self {
        let wire = packet.to_packet();
        let kind = PacketKind::from_i32(wire.kind).unwrap().name();
        writeln!(self.out, "{link}: {kind} {}", wire.zxid).unwrap();
        self.input(LeaderInput::Packet(LinkId(link), packet))
    }

    fn up(&mut self, link: u64) -> &mut Self {
        self.input(LeaderInput::LinkUp(LinkId(link)))
    }

    /// An observer up to its ACKEPOCH.
    fn comes(&mut self, link: u64, sid: i64, last: i64) -> &mut Self {
        let current_epoch = Some(Epoch(last >> 32));
        self.up(link).packet(link, info(sid, true, last >> 32));
        self.packet(link, FromLearner::AckEpoch { last_zxid: Zxid(last), current_epoch })
    }

    fn serves(&mut self, link: u64, sid: i64) -> &mut Self {
        self.comes(link, sid, E2 + 5).packet(link, ack(E2)).packet(link, ack(E2));
        self.out.clear();
        self
    }

    fn inform(&mut self, zxid: i64, designated: Option<i64>) -> &mut Self {
        writeln!(self.out, "committed {}", Zxid(zxid)).unwrap();
        self.history.push(record(zxid));
        self.master.inform(self.now, &record(zxid), designated.map(PeerId), &self.history);
        self.note();
        self
    }

    /// The leader's SYNC; says whether an own client had asked.
    fn synced(&mut self) -> &mut Self {
        let for_observer = self.master.synced();
        writeln!(self.out, "SYNC, {}", if for_observer { "of an observer" } else { "own" }).unwrap();
        self.note();
        self
    }

    fn tick(&mut self, now: u64) -> &mut Self {
        self.now = now;
        writeln!(self.out, "at {now}").unwrap();
        self.master.tick(now);
        self.note();
        self
    }

    fn check(&mut self, expected: Expect) {
        expected.assert_eq(&self.out);
        self.out.clear();
    }
}

#[test]
fn an_observer_comes_and_hears_what_is_committed() {
    let mut t = Test::new();
    t.comes(1, 4, E2 + 4).inform(E2 + 6, None).packet(1, ack(E2)).packet(1, ack(E2)).inform(E2 + 7, None);
    t.check(expect![[r#"
        1: OBSERVERINFO 0x200000000
            -> 1: LEADERINFO 0x200000000
        1: ACKEPOCH 0x200000004
            -> 1: DIFF 0x200000005
            -> 1: PROPOSAL 0x200000005
            -> 1: COMMIT 0x200000005
            -> 1: NEWLEADER 0x200000000 config 0x0
        committed 0x200000006
        1: ACK 0x200000000
            -> 1: PROPOSAL 0x200000006
            -> 1: COMMIT 0x200000006
            -> 1: UPTODATE 0xffffffffffffffff
        1: ACK 0x200000000
        committed 0x200000007
            -> 1: INFORM 0x200000007
    "#]]);
}

#[test]
fn only_observers_are_served() {
    let mut t = Test::new();
    t.up(1).packet(1, info(1, false, 2)).up(2).packet(2, info(9, false, 2));
    t.check(expect![[r#"
        1: FOLLOWERINFO 0x200000000
            Close { link: LinkId(1), why: "only observers are served here" }
        2: FOLLOWERINFO 0x200000000
            Close { link: LinkId(2), why: "only observers are served here" }
    "#]]);
}

#[test]
fn who_is_ahead_in_the_epoch_waits() {
    let mut t = Test::new();
    t.comes(1, 4, E2 + 7).comes(2, 5, E2 + 6).inform(E2 + 6, None).inform(E2 + 7, None);
    t.check(expect![[r#"
        1: OBSERVERINFO 0x200000000
            -> 1: LEADERINFO 0x200000000
        1: ACKEPOCH 0x200000007
        2: OBSERVERINFO 0x200000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x200000006
        committed 0x200000006
            -> 2: DIFF 0x200000006
            -> 2: NEWLEADER 0x200000000 config 0x0
        committed 0x200000007
            -> 1: DIFF 0x200000007
            -> 1: NEWLEADER 0x200000000 config 0x0
    "#]]);
    // It does so for as long as the other steps may take.
    t.comes(3, 6, E2 + 9).tick(1000);
    t.check(expect![[r#"
        3: OBSERVERINFO 0x200000000
            -> 3: LEADERINFO 0x200000000
        3: ACKEPOCH 0x200000009
        at 1000
            Close { link: LinkId(1), why: "no packet in time" }
            Close { link: LinkId(2), why: "no packet in time" }
            Close { link: LinkId(3), why: "no packet in time" }
    "#]]);
}

#[test]
fn who_has_more_of_an_older_epoch_gets_a_snapshot() {
    let mut t = Test::new();
    t.comes(1, 4, E2 - 1);
    let span = LogSpan { at_or_before: None, next: None, usable: false, durable: Zxid(E2 + 5) };
    t.input(LeaderInput::LogSpan { link: LinkId(1), span });
    t.check(expect![[r#"
        1: OBSERVERINFO 0x100000000
            -> 1: LEADERINFO 0x200000000
        1: ACKEPOCH 0x1ffffffff
            FindInLog { link: LinkId(1), zxid: Zxid(8589934591) }
            StreamSnapshot { link: LinkId(1), zxid: Zxid(8589934597) }
            -> 1: NEWLEADER 0x200000000 config 0x0
    "#]]);
}

#[test]
fn the_begin_of_an_epoch_is_nothing_to_wait_for() {
    let mut t = Test::with(3);
    t.comes(1, 4, 0x3_0000_0000).comes(2, 5, E2 + 5);
    t.check(expect![[r#"
        1: OBSERVERINFO 0x300000000
            -> 1: LEADERINFO 0x300000000
        1: ACKEPOCH 0x300000000
            -> 1: DIFF 0x200000005
            -> 1: NEWLEADER 0x300000000 config 0x0
        2: OBSERVERINFO 0x200000000
            -> 2: LEADERINFO 0x300000000
        2: ACKEPOCH 0x200000005
            -> 2: DIFF 0x200000005
            -> 2: NEWLEADER 0x300000000 config 0x0
    "#]]);
}

#[test]
fn requests_go_up() {
    let mut t = Test::new();
    t.serves(1, 4)
        .packet(1, request(OpCode::Create))
        .packet(1, request(OpCode::Sync))
        .packet(1, revalidate(8));
    let touched = vec![Touch { session: SessionId(7), timeout: 1000 }];
    t.packet(1, FromLearner::Ping { zxid: Zxid(0), touched });
    t.check(expect![[r#"
        1: REQUEST 0xffffffffffffffff
            request of 1: create
        1: REQUEST 0xffffffffffffffff
            request of 1: sync
        1: REVALIDATE 0xffffffffffffffff
            Revalidate { link: LinkId(1), session: SessionId(8), timeout: 1000 }
        1: PING 0x0
            Touch { session: SessionId(7), timeout: 1000 }
    "#]]);
}

#[test]
fn answers_go_to_who_has_asked() {
    let mut t = Test::new();
    t.serves(1, 4).serves(2, 5);
    for asker in [Some(2), None, Some(1), Some(2)] {
        t.master.asks(asker.map(LinkId), &request(OpCode::Sync));
        t.master.asks(asker.map(LinkId), &request(OpCode::Create));
    }
    t.inform(E2 + 6, None).synced().synced().input(LeaderInput::LinkDown(LinkId(1)));
    // The third one's link has gone.
    t.synced().inform(E2 + 7, None).synced().synced();
    t.check(expect![[r#"
        committed 0x200000006
            -> 1,2: INFORM 0x200000006
        SYNC, of an observer
            -> 2: SYNC 0x0
        SYNC, own
        SYNC, of an observer
        committed 0x200000007
            -> 2: INFORM 0x200000007
        SYNC, of an observer
            -> 2: SYNC 0x0
        SYNC, own
    "#]]);
    for (asker, session) in [(Some(2), 7), (None, 8), (None, 7), (Some(2), 9)] {
        t.master.asks(asker.map(LinkId), &revalidate(session));
    }
    for (session, valid) in [(7, true), (7, true), (8, false), (9, false), (9, true)] {
        let for_observer = t.master.revalidated(SessionId(session), valid);
        writeln!(t.out, "session {session}: {for_observer}").unwrap();
        t.note();
    }
    t.check(expect![[r#"
        session 7: true
            -> 2: REVALIDATE 0xffffffffffffffff 0x7 true
        session 7: false
        session 8: false
        session 9: true
            -> 2: REVALIDATE 0xffffffffffffffff 0x9 false
        session 9: false
    "#]]);
}

#[test]
fn a_configuration_goes_with_its_transaction() {
    let mut t = Test::new();
    t.serves(1, 4).inform(E2 + 6, Some(3));
    // Who comes later is told of it.
    let configs = Configs::new(members(E2 + 6));
    t.master.set_configs(configs);
    t.comes(2, 5, E2 + 6);
    t.check(expect![[r#"
        committed 0x200000006
            -> 1: INFORMANDACTIVATE 0x200000006 designated 3
        2: OBSERVERINFO 0x200000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x200000006
            -> 2: DIFF 0x200000006
            -> 2: NEWLEADER 0x200000000 config 0x200000006
    "#]]);
}

#[test]
fn observers_are_pinged_and_have_limits() {
    let mut t = Test::new();
    t.serves(1, 4).tick(50).packet(1, FromLearner::Ping { zxid: Zxid(E2 + 5), touched: Vec::new() });
    // No follower's life is counted here.
    t.tick(100).tick(550);
    t.check(expect![[r#"
        at 50
            -> 1: PING 0x200000005
        1: PING 0x200000005
        at 100
            -> 1: PING 0x200000005
        at 550
            Close { link: LinkId(1), why: "no packet in time" }
    "#]]);
    assert_eq!(t.master.observers().count(), 0);
}

#[test]
fn what_is_left_of_an_older_connection_goes_no_further() {
    let mut t = Test::new();
    t.serves(1, 4).serves(2, 5).packet(1, request(OpCode::Create));
    // The session goes on at a client's connection of this member, then at the other observer.
    t.master.asks(None, &revalidate(7));
    t.packet(1, request(OpCode::SetData));
    t.master.asks(Some(LinkId(2)), &revalidate(7));
    t.packet(2, request(OpCode::Delete));
    t.check(expect![[r#"
        1: REQUEST 0xffffffffffffffff
            request of 1: create
        1: REQUEST 0xffffffffffffffff
            Close { link: LinkId(1), why: "a request of a session that has moved" }
        2: REQUEST 0xffffffffffffffff
            request of 2: delete
    "#]]);
}
