use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use expect_test::{Expect, expect};
use zk_proto::Xid;
use zk_proto::quorum::packet::{PacketKind, Touch};

use super::*;

const E1: i64 = 0x1_0000_0000;
const E2: i64 = 0x2_0000_0000;

/// Members 1 to 3 vote, 4 observes; 3 leads epoch 2 behind (1, 5).
struct Test {
    leader: Leader,
    history: History,
    now: u64,
    out: String,
}

fn text(members: &[(i64, bool)], version: i64) -> String {
    let mut out = String::new();
    for (id, observer) in members {
        let role = if *observer { "observer" } else { "participant" };
        writeln!(out, "server.{id}=h{id}:1:2:{role}").unwrap();
    }
    write!(out, "version={version:x}").unwrap();
    out
}

const MEMBERS: &[(i64, bool)] = &[(1, false), (2, false), (3, false), (4, true)];

fn config(members: &[(i64, bool)], version: i64) -> EnsembleConfig {
    EnsembleConfig::parse(&text(members, version)).unwrap()
}

fn leader_config() -> LeaderConfig {
    LeaderConfig {
        me: PeerId(3),
        tick_ms: 100,
        init_limit: 10,
        sync_limit: 5,
        force_snap: false,
        max_snap_syncs: 1,
        max_diff_syncs: 1,
        join_bytes: 2,
        reconfig_enabled: false,
    }
}

fn record(zxid: i64) -> Record {
    Record { zxid: Zxid(zxid), bytes: Bytes::from_static(b"x") }
}

fn info(sid: i64, observer: bool, accepted: i64) -> FromLearner {
    let learner = LearnerInfo::new(PeerId(sid), Zxid(0));
    FromLearner::Info { observer, accepted_epoch: Epoch(accepted), learner }
}

fn ack_epoch(last: i64, current: i64) -> FromLearner {
    let current_epoch = (current >= 0).then_some(Epoch(current));
    FromLearner::AckEpoch { last_zxid: Zxid(last), current_epoch }
}

fn ack(zxid: i64) -> FromLearner {
    FromLearner::Ack { zxid: Zxid(zxid) }
}

fn request(op: OpCode) -> FromLearner {
    let body = Bytes::new();
    FromLearner::Request(Forwarded { session: SessionId(7), cxid: Xid(1), op, body, ids: None })
}

fn short(o: &LeaderOutput) -> String {
    match o {
        LeaderOutput::Send { links, message } => {
            let packet = message.to_packet();
            let kind = PacketKind::from_i32(packet.kind).unwrap().name();
            let links: Vec<_> = links.iter().map(|l| l.0.to_string()).collect();
            let more = match message {
                FromLeader::CommitAndActivate { designated, .. }
                | FromLeader::InformAndActivate { designated, .. } => format!(" designated {designated}"),
                _ => String::new(),
            };
            format!("-> {}: {kind} {}{more}", links.join(","), packet.zxid)
        }
        LeaderOutput::SeenConfig(c) => format!("seen config {}", c.version),
        LeaderOutput::ActivateConfig { config: c, .. } => format!("activate config {}", c.version),
        LeaderOutput::Request { link, request } => format!("request of {}: {}", link.0, request.op.to_i32()),
        other => format!("{other:?}"),
    }
}

impl Test {
    fn with(config: LeaderConfig, configs: Configs, applied: i64) -> Self {
        let mut history = History::new();
        (1..=5).for_each(|n| history.push(record(E1 + n)));
        let start =
            Start { accepted: Epoch(1), current: Epoch(1), last: Zxid(E1 + 5), applied: Zxid(applied) };
        let leader = Leader::new(config, configs, start, 0);
        let mut test = Self { leader, history, now: 0, out: String::new() };
        test.note();
        test
    }

    fn new() -> Self {
        Self::with(leader_config(), Configs::new(config(MEMBERS, 0)), E1 + 5)
    }

    fn note(&mut self) {
        for o in self.leader.take_outputs() {
            writeln!(self.out, "    {}", short(&o)).unwrap();
        }
    }

    fn input(&mut self, input: LeaderInput) -> &mut Self {
        self.leader.handle(self.now, input, &mut self.history);
        self.note();
        self
    }

    fn up(&mut self, link: u64) -> &mut Self {
        self.input(LeaderInput::LinkUp(LinkId(link)))
    }

    fn packet(&mut self, link: u64, packet: FromLearner) -> &mut Self {
        let wire = packet.to_packet();
        let kind = PacketKind::from_i32(wire.kind).unwrap().name();
        writeln!(self.out, "{link}: {kind} {}", wire.zxid).unwrap();
        self.input(LeaderInput::Packet(LinkId(link), packet))
    }

    fn synced(&mut self, zxid: i64) -> &mut Self {
        writeln!(self.out, "synced {}", Zxid(zxid)).unwrap();
        self.input(LeaderInput::Synced { upto: Zxid(zxid) })
    }

    fn propose(&mut self, zxid: i64) -> &mut Self {
        writeln!(self.out, "propose {}", Zxid(zxid)).unwrap();
        self.leader.propose(self.now, record(zxid), None);
        self.note();
        self
    }

    fn reconfig(&mut self, zxid: i64, members: &[(i64, bool)]) -> &mut Self {
        writeln!(self.out, "reconfig {}", Zxid(zxid)).unwrap();
        self.leader.propose(self.now, record(zxid), Some(config(members, zxid)));
        self.note();
        self
    }

    fn tick(&mut self, now: u64) -> &mut Self {
        self.now = now;
        writeln!(self.out, "at {now}").unwrap();
        self.leader.tick(now);
        self.note();
        self
    }

    /// A learner that has all and comes to serve.
    fn join(&mut self, link: u64, sid: i64, observer: bool) -> &mut Self {
        self.up(link).packet(link, info(sid, observer, 1));
        self.packet(link, ack_epoch(E1 + 5, 1)).packet(link, ack(E2)).packet(link, ack(E2))
    }

    fn stand_aside(&mut self, limit_ms: u64) -> &mut Self {
        writeln!(self.out, "stand aside").unwrap();
        self.leader.stand_aside(self.now, limit_ms);
        self.note();
        self
    }

    fn quiet(&mut self) -> &mut Self {
        self.out.clear();
        self
    }

    fn check(&mut self, expected: Expect) {
        expected.assert_eq(&self.out);
        self.out.clear();
    }
}

#[test]
fn a_quorum_is_established() {
    let mut t = Test::new();
    t.up(1).up(2).packet(1, info(2, false, 6)).packet(1, ack_epoch(E1 + 5, 1));
    t.check(expect![[r#"
        1: FOLLOWERINFO 0x600000000
            StoreAcceptedEpoch(Epoch(7))
            -> 1: LEADERINFO 0x700000000
        1: ACKEPOCH 0x100000005
            StoreCurrentEpoch(Epoch(7))
            -> 1: DIFF 0x100000005
            -> 1: NEWLEADER 0x700000000
    "#]]);
    t = Test::new();
    t.join(1, 2, false).join(2, 1, false).join(3, 4, true);
    t.check(expect![[r#"
        1: FOLLOWERINFO 0x100000000
            StoreAcceptedEpoch(Epoch(2))
            -> 1: LEADERINFO 0x200000000
        1: ACKEPOCH 0x100000005
            StoreCurrentEpoch(Epoch(2))
            -> 1: DIFF 0x100000005
            -> 1: NEWLEADER 0x200000000
        1: ACK 0x200000000
            Established { epoch: Epoch(2) }
            -> 1: UPTODATE 0xffffffffffffffff
        1: ACK 0x200000000
        2: FOLLOWERINFO 0x100000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x100000005
            -> 2: DIFF 0x100000005
            -> 2: NEWLEADER 0x200000000
        2: ACK 0x200000000
            -> 2: UPTODATE 0xffffffffffffffff
        2: ACK 0x200000000
        3: OBSERVERINFO 0x100000000
            -> 3: LEADERINFO 0x200000000
        3: ACKEPOCH 0x100000005
            -> 3: DIFF 0x100000005
            -> 3: NEWLEADER 0x200000000
        3: ACK 0x200000000
            -> 3: UPTODATE 0xffffffffffffffff
        3: ACK 0x200000000
    "#]]);
}

#[test]
fn the_first_packets_are_byte_for_byte_those_of_java() {
    let start = Start { accepted: Epoch(0), current: Epoch(0), last: Zxid(0), applied: Zxid(0) };
    let mut leader = Leader::new(leader_config(), Configs::new(config(&MEMBERS[..3], 0)), start, 0);
    let mut history = History::new();
    let mut lines = vec![];
    let id = LinkId(1);
    for input in [
        LeaderInput::LinkUp(id),
        LeaderInput::Packet(id, info(2, false, 0)),
        LeaderInput::Packet(id, ack_epoch(0, 0)),
        LeaderInput::Packet(id, ack(E1)),
        LeaderInput::Packet(id, ack(E1)),
    ] {
        leader.handle(0, input, &mut history);
        for o in leader.take_outputs() {
            if let LeaderOutput::Send { message, .. } = o {
                let mut bytes = BytesMut::new();
                message.to_packet().encode(&mut bytes);
                lines.push(bytes.iter().take(24).map(|b| format!("{b:02x}")).collect::<String>());
            }
        }
    }
    assert_eq!(
        lines,
        [
            "000000110000000100000000000000040001 0000ffffffff".replace(' ', ""),
            "0000000d0000000000000000ffffffffffffffff".into(),
            format!("0000000a0000000100000000{:08x}{}", text(&MEMBERS[..3], 0).len(), "7365727665722e31"),
            "0000000cffffffffffffffffffffffffffffffff".into(),
        ]
    );
}

#[test]
fn a_quorum_of_one_needs_no_link() {
    let alone = Configs::new(config(&[(3, false), (4, true)], 0));
    let mut t = Test::with(leader_config(), alone, E1 + 3);
    t.propose(E2 + 1).synced(E2 + 1);
    t.tick(50).tick(100).tick(150);
    assert!(t.leader.is_established() && t.leader.committed() == Zxid(E2 + 1));
    t.check(expect![[r#"
            StoreAcceptedEpoch(Epoch(2))
            StoreCurrentEpoch(Epoch(2))
            Established { epoch: Epoch(2) }
        propose 0x200000001
        synced 0x200000001
            Committed { upto: Zxid(8589934593) }
        at 50
        at 100
        at 150
    "#]]);
}

#[test]
fn one_that_has_promised_this_epoch_is_not_counted() {
    let mut t = Test::new();
    t.up(1).packet(1, info(2, false, 1)).quiet().packet(1, ack_epoch(E1 + 5, -1));
    t.up(2).packet(2, info(1, false, 1)).packet(2, ack_epoch(-1, 1));
    t.up(3).packet(3, info(4, true, 1)).packet(3, ack_epoch(E1 + 5, 1));
    assert_eq!(t.leader.phase, Phase::EpochAcks);
    t.check(expect![[r#"
        1: ACKEPOCH 0x100000005
        2: FOLLOWERINFO 0x100000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0xffffffffffffffff
        3: OBSERVERINFO 0x100000000
            -> 3: LEADERINFO 0x200000000
        3: ACKEPOCH 0x100000005
    "#]]);
}

#[test]
fn refused_learners() {
    let of = |packet| {
        let mut t = Test::new();
        t.up(1).packet(1, packet);
        assert_eq!(t.leader.links.len(), usize::from(!t.out.contains("Close")));
        !t.out.contains("Close")
    };
    let learner = |sid, version, config: i64| FromLearner::Info {
        observer: false,
        accepted_epoch: Epoch(1),
        learner: LearnerInfo { sid, protocol_version: version, config_version: Some(Zxid(config)) },
    };
    assert!(of(learner(None, Some(0x1_0000), 0)));
    assert!(!of(learner(Some(PeerId(2)), Some(1), 0)));
    assert!(!of(learner(Some(PeerId(2)), None, 0)));
    assert!(!of(learner(Some(PeerId(2)), Some(0x1_0000), 1)), "its configuration is ahead");
    assert!(!of(learner(Some(PeerId(3)), Some(0x1_0000), 0)), "the leader's id");
    assert!(of(info(2, false, -1)));
    assert!(!of(info(2, false, -2)));
    assert!(!of(info(2, false, i64::from(i32::MAX))));
    assert!(!of(ack(E2)));
    for (ahead, last, current) in [(true, E1 + 6, 1), (true, E1, 2), (false, E1 + 6, 0), (false, E1, 1)] {
        let mut t = Test::new();
        t.up(1).packet(1, info(2, false, 1)).packet(1, ack_epoch(last, current));
        assert_eq!(t.out.contains("history is ahead"), ahead);
    }
}

#[test]
fn before_it_leads_no_snapshot_is_forced() {
    let configs = Configs::new(config(MEMBERS, 0));
    let mut t = Test::with(LeaderConfig { force_snap: true, ..leader_config() }, configs, E1 + 3);
    t.up(1).packet(1, info(2, false, 1)).quiet().packet(1, ack_epoch(E1 + 5, 1));
    // The learner's time begins when the snapshot is sent.
    t.now = 900;
    t.input(LeaderInput::Streamed(LinkId(1)));
    t.packet(1, ack(E2));
    t.join(2, 1, false);
    t.check(expect![[r#"
        1: ACKEPOCH 0x100000005
            StoreCurrentEpoch(Epoch(2))
            -> 1: DIFF 0x100000005
            -> 1: NEWLEADER 0x200000000
        1: ACK 0x200000000
            Established { epoch: Epoch(2) }
            -> 1: UPTODATE 0xffffffffffffffff
        2: FOLLOWERINFO 0x100000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x100000005
            StreamSnapshot { link: LinkId(2), zxid: Zxid(4294967301) }
            -> 2: NEWLEADER 0x200000000
        2: ACK 0x200000000
        2: ACK 0x200000000
    "#]]);
}

#[test]
fn a_joining_learner_hears_what_is_under_way() {
    let mut t = Test::new();
    t.join(1, 2, false).propose(E2 + 1).synced(E2 + 1).packet(1, ack(E2 + 1)).propose(E2 + 2).quiet();
    t.up(2).packet(2, info(1, false, 2)).packet(2, ack_epoch(E1 + 5, -1));
    t.up(3).packet(3, info(4, true, 2)).packet(3, ack_epoch(E1 + 4, -1));
    t.propose(E2 + 3).synced(E2 + 3).packet(1, ack(E2 + 2));
    t.check(expect![[r#"
        2: FOLLOWERINFO 0x200000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x100000005
            -> 2: DIFF 0x200000001
            -> 2: PROPOSAL 0x200000001
            -> 2: COMMIT 0x200000001
            -> 2: NEWLEADER 0x200000000
        3: OBSERVERINFO 0x200000000
            -> 3: LEADERINFO 0x200000000
        3: ACKEPOCH 0x100000004
            Close { link: LinkId(3), why: "too many learners are being synced" }
        propose 0x200000003
            -> 1: PROPOSAL 0x200000003
        synced 0x200000003
        1: ACK 0x200000002
            -> 1: COMMIT 0x200000002
            Committed { upto: Zxid(8589934594) }
    "#]]);
    // ZOOKEEPER-4685: an ack of the history may come before that of NEWLEADER.
    t.input(LeaderInput::LinkDown(LinkId(1)));
    t.packet(2, ack(E2 + 1)).packet(2, ack(E2)).packet(2, ack(E2)).packet(2, ack(E2 + 3));
    t.check(expect![[r#"
        2: ACK 0x200000001
        2: ACK 0x200000000
            -> 2: PROPOSAL 0x200000002
            -> 2: COMMIT 0x200000002
            -> 2: PROPOSAL 0x200000003
            -> 2: UPTODATE 0xffffffffffffffff
        2: ACK 0x200000000
        2: ACK 0x200000003
            -> 2: COMMIT 0x200000003
            Committed { upto: Zxid(8589934595) }
    "#]]);
}

#[test]
fn the_log_is_asked() {
    let mut t = Test::new();
    t.history.clear();
    (4..=5).for_each(|n| t.history.push(record(E1 + n)));
    t.join(1, 2, false).quiet();
    t.up(2).packet(2, info(1, false, 1)).packet(2, ack_epoch(E1 + 2, 1));
    assert_eq!(t.leader.links[&LinkId(2)].deadline, None);
    let (at_or_before, next) = (Some(Zxid(E1 + 2)), Some(Zxid(E1 + 3)));
    let span = LogSpan { at_or_before, next, usable: true, durable: Zxid(E1 + 5) };
    t.input(LeaderInput::LogSpan { link: LinkId(2), span });
    t.input(LeaderInput::LogSpan { link: LinkId(2), span });
    t.check(expect![[r#"
        2: FOLLOWERINFO 0x100000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x100000002
            FindInLog { link: LinkId(2), zxid: Zxid(4294967298) }
            -> 2: DIFF 0x100000005
            StreamLog { link: LinkId(2), after: Zxid(4294967298), upto: Zxid(4294967300), activate: None }
            -> 2: PROPOSAL 0x100000005
            -> 2: COMMIT 0x100000005
            -> 2: NEWLEADER 0x200000000
    "#]]);
}

#[test]
fn acks_of_a_learner_that_comes_again_are_forgotten() {
    let mut t = Test::new();
    t.join(1, 2, false).propose(E2 + 1).packet(1, ack(E2 + 1)).quiet();
    t.up(2).packet(2, info(2, false, 2)).packet(2, ack_epoch(E2 + 1, -1)).synced(E2 + 1);
    t.packet(1, ack(E2 + 1)).packet(2, ack(E2)).packet(2, ack(E2 + 1));
    t.check(expect![[r#"
        2: FOLLOWERINFO 0x200000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x200000001
            Close { link: LinkId(1), why: "the learner has come again" }
            -> 2: TRUNC 0x100000005
            -> 2: NEWLEADER 0x200000000
        synced 0x200000001
        1: ACK 0x200000001
        2: ACK 0x200000000
            -> 2: PROPOSAL 0x200000001
            -> 2: UPTODATE 0xffffffffffffffff
        2: ACK 0x200000001
            -> 2: COMMIT 0x200000001
            Committed { upto: Zxid(8589934593) }
    "#]]);
}

#[test]
fn commits_are_in_order_and_syncs_behind_them() {
    let mut t = Test::new();
    t.join(1, 2, false).join(2, 1, false).join(3, 4, true).quiet();
    t.packet(1, request(OpCode::Sync));
    t.propose(E2 + 1).propose(E2 + 2);
    assert_eq!(t.leader.sync_local(), Zxid(E2 + 2));
    t.packet(3, request(OpCode::Sync)).packet(1, request(OpCode::Create)).propose(E2 + 3);
    // The second has its quorum before the first.
    t.packet(1, ack(E2 + 2)).packet(2, ack(E2 + 2)).packet(2, ack(E2 + 1)).synced(E2 + 3);
    t.packet(1, ack(E2 + 1)).packet(1, ack(E2 + 2)).packet(3, ack(E2 + 3));
    t.packet(1, ack(E2 + 9)).packet(1, ack(E2 + 3));
    t.check(expect![[r#"
        1: REQUEST 0xffffffffffffffff
            -> 1: SYNC 0x0
        propose 0x200000001
            -> 1,2: PROPOSAL 0x200000001
        propose 0x200000002
            -> 1,2: PROPOSAL 0x200000002
        3: REQUEST 0xffffffffffffffff
        1: REQUEST 0xffffffffffffffff
            request of 1: 1
        propose 0x200000003
            -> 1,2: PROPOSAL 0x200000003
        1: ACK 0x200000002
        2: ACK 0x200000002
        2: ACK 0x200000001
        synced 0x200000003
            -> 1,2: COMMIT 0x200000001
            -> 3: INFORM 0x200000001
            Committed { upto: Zxid(8589934593) }
            -> 1,2: COMMIT 0x200000002
            -> 3: INFORM 0x200000002
            Committed { upto: Zxid(8589934594) }
            -> 3: SYNC 0x0
        1: ACK 0x200000001
        1: ACK 0x200000002
        3: ACK 0x200000003
        1: ACK 0x200000009
            Close { link: LinkId(1), why: "ack of what was never proposed" }
        1: ACK 0x200000003
    "#]]);
}

#[test]
fn a_packet_out_of_place_closes_its_link_and_nothing_else() {
    let mut t = Test::new();
    t.join(1, 2, false).join(2, 1, false).quiet();
    t.packet(2, ack_epoch(E1, 1));
    t.up(3).packet(3, info(1, false, 1)).packet(3, ack_epoch(E1 + 5, 1));
    t.packet(3, FromLearner::Ping { zxid: Zxid(0), touched: vec![] });
    t.packet(3, ack(E2));
    t.check(expect![[r#"
        2: ACKEPOCH 0x100000000
            Close { link: LinkId(2), why: "packet out of place" }
        3: FOLLOWERINFO 0x100000000
            -> 3: LEADERINFO 0x200000000
        3: ACKEPOCH 0x100000005
            -> 3: DIFF 0x100000005
            -> 3: NEWLEADER 0x200000000
        3: PING 0x0
            Close { link: LinkId(3), why: "packet out of place" }
        3: ACK 0x200000000
    "#]]);
    assert_eq!(t.leader.followers().count(), 1);
}

#[test]
fn sessions_are_touched_and_revalidated() {
    let mut t = Test::new();
    t.join(1, 2, false).quiet();
    let touched = vec![Touch { session: SessionId(7), timeout: 100 }];
    t.packet(1, FromLearner::Ping { zxid: Zxid(0), touched });
    t.packet(1, FromLearner::Revalidate { session: SessionId(7), timeout: 100 });
    t.leader.revalidated(LinkId(1), SessionId(7), true);
    t.leader.revalidated(LinkId(9), SessionId(7), true);
    t.note();
    t.check(expect![[r#"
        1: PING 0x0
            Touch { session: SessionId(7), timeout: 100 }
        1: REVALIDATE 0xffffffffffffffff
            Revalidate { link: LinkId(1), session: SessionId(7), timeout: 100 }
            -> 1: REVALIDATE 0xffffffffffffffff
    "#]]);
}

#[test]
fn who_is_silent_is_closed_and_without_a_quorum_it_resigns() {
    let mut t = Test::new();
    t.join(1, 2, false).join(2, 1, false).quiet();
    assert_eq!(t.leader.deadline(), Some(50));
    t.tick(50).tick(100);
    t.check(expect![[r#"
        at 50
            -> 1,2: PING 0x200000000
        at 100
            -> 1,2: PING 0x200000000
    "#]]);
    for n in 3..10 {
        t.packet(1, FromLearner::Ping { zxid: Zxid(0), touched: vec![] }).tick(n * 50);
    }
    t.quiet().tick(500);
    t.check(expect![[r#"
        at 500
            Close { link: LinkId(2), why: "no packet in time" }
            -> 1: PING 0x200000000
    "#]]);
    t.input(LeaderInput::LinkDown(LinkId(1))).tick(550).tick(600);
    t.check(expect![[r#"
        at 550
        at 600
            Resign { why: "not enough followers are alive", successor: None }
    "#]]);
    assert_eq!(t.leader.deadline(), None);
    t.up(9).propose(E2 + 1);
    assert_eq!(t.out, "propose 0x200000001\n");
}

#[test]
fn without_a_quorum_it_waits_initlimit_in_each_step() {
    let mut t = Test::new();
    t.tick(900).up(1).packet(1, info(2, false, 1)).tick(1000).tick(1899).tick(1900);
    t.check(expect![[r#"
        at 900
        1: FOLLOWERINFO 0x100000000
            StoreAcceptedEpoch(Epoch(2))
            -> 1: LEADERINFO 0x200000000
        at 1000
        at 1899
        at 1900
            Resign { why: "no quorum within initLimit", successor: None }
    "#]]);
}

#[test]
fn a_learner_that_does_not_acknowledge_is_dropped() {
    let mut t = Test::new();
    t.join(1, 2, false).join(2, 1, false).propose(E2 + 1).propose(E2 + 2).packet(2, ack(E2 + 1));
    t.packet(2, ack(E2 + 2));
    for n in 1..=11 {
        for link in [1, 2] {
            t.packet(link, FromLearner::Ping { zxid: Zxid(0), touched: vec![] });
        }
        t.quiet().tick(n * 50);
    }
    t.check(expect![[r#"
        at 550
            Close { link: LinkId(1), why: "a proposal is not acknowledged in time" }
            -> 2: PING 0x200000002
    "#]]);
}

#[test]
fn the_last_counter_is_never_proposed() {
    let mut t = Test::new();
    t.join(1, 2, false).quiet();
    t.leader.last_proposed = Zxid(E2 + 0xffff_fffd);
    t.leader.committed = t.leader.last_proposed;
    assert_eq!(t.leader.next_zxid(), Some(Zxid(E2 + 0xffff_fffe)));
    t.propose(E2 + 0xffff_fffe);
    assert_eq!(t.leader.next_zxid(), None);
    t.propose(E2 + 0xffff_ffff);
    t.check(expect![[r#"
        propose 0x2fffffffe
            -> 1: PROPOSAL 0x2fffffffe
        propose 0x2ffffffff
            Resign { why: "the epoch's zxids are used up", successor: None }
    "#]]);
}

#[test]
fn observers_beyond_the_limit_must_come_again() {
    let mut t = Test::new();
    t.join(1, 2, false).quiet();
    for (link, sid) in [(2, 4), (3, 5), (4, 1)] {
        t.up(link).packet(link, info(sid, sid > 3, 1)).packet(link, ack_epoch(E1 + 5, 1));
    }
    t.check(expect![[r#"
        2: OBSERVERINFO 0x100000000
            -> 2: LEADERINFO 0x200000000
        2: ACKEPOCH 0x100000005
            -> 2: DIFF 0x100000005
            -> 2: NEWLEADER 0x200000000
        3: OBSERVERINFO 0x100000000
            -> 3: LEADERINFO 0x200000000
        3: ACKEPOCH 0x100000005
            Close { link: LinkId(3), why: "too many learners are being synced" }
        4: FOLLOWERINFO 0x100000000
            -> 4: LEADERINFO 0x200000000
        4: ACKEPOCH 0x100000005
            -> 4: DIFF 0x100000005
            -> 4: NEWLEADER 0x200000000
    "#]]);
}

#[test]
fn the_first_configuration_gets_a_version_and_a_new_one_needs_both_quorums() {
    let config = LeaderConfig { reconfig_enabled: true, ..leader_config() };
    let mut t = Test::with(config, Configs::new(self::config(MEMBERS, 0)), E1 + 5);
    t.join(1, 2, false).join(3, 4, true);
    t.check(expect![[r#"
        1: FOLLOWERINFO 0x100000000
            StoreAcceptedEpoch(Epoch(2))
            -> 1: LEADERINFO 0x200000000
        1: ACKEPOCH 0x100000005
            StoreCurrentEpoch(Epoch(2))
            seen config 0x200000000
            -> 1: DIFF 0x100000005
            -> 1: NEWLEADER 0x200000000
        1: ACK 0x200000000
            activate config 0x200000000
            Established { epoch: Epoch(2) }
            -> 1: UPTODATE 0xffffffffffffffff
        1: ACK 0x200000000
        3: OBSERVERINFO 0x100000000
            -> 3: LEADERINFO 0x200000000
        3: ACKEPOCH 0x100000005
            -> 3: DIFF 0x100000005
            -> 3: NEWLEADER 0x200000000
        3: ACK 0x200000000
            -> 3: UPTODATE 0xffffffffffffffff
        3: ACK 0x200000000
    "#]]);
    // 4 and 5 get votes: three of five are needed.
    let five = &[(1, false), (2, false), (3, false), (4, false), (5, false)];
    t.reconfig(E2 + 1, five).propose(E2 + 2).synced(E2 + 2).packet(1, ack(E2 + 1)).packet(1, ack(E2 + 2));
    t.join(5, 5, false).packet(5, ack(E2 + 1)).packet(5, ack(E2 + 2));
    t.check(expect![[r#"
        reconfig 0x200000001
            -> 1: PROPOSAL 0x200000001
        propose 0x200000002
            -> 1: PROPOSAL 0x200000002
        synced 0x200000002
        1: ACK 0x200000001
        1: ACK 0x200000002
        5: FOLLOWERINFO 0x100000000
            -> 5: LEADERINFO 0x200000000
        5: ACKEPOCH 0x100000005
            -> 5: DIFF 0x100000005
            -> 5: NEWLEADER 0x200000000
        5: ACK 0x200000000
            -> 5: PROPOSAL 0x200000001
            -> 5: PROPOSAL 0x200000002
            -> 5: UPTODATE 0xffffffffffffffff
        5: ACK 0x200000000
        5: ACK 0x200000001
            activate config 0x200000001
            -> 1,5: COMMITANDACTIVATE 0x200000001 designated 3
            -> 3: INFORMANDACTIVATE 0x200000001 designated 3
            Committed { upto: Zxid(8589934593) }
        5: ACK 0x200000002
            -> 1,5: COMMIT 0x200000002
            -> 3: INFORM 0x200000002
            Committed { upto: Zxid(8589934594) }
    "#]]);
    // The leader loses its vote: who is left and has acknowledged most shall lead.
    t.reconfig(E2 + 3, &five[..2]).propose(E2 + 4);
    t.join(6, 1, false).synced(E2 + 4).packet(1, ack(E2 + 3)).packet(5, ack(E2 + 3));
    t.packet(6, ack(E2 + 3)).packet(6, ack(E2 + 4)).packet(1, ack(E2 + 4));
    t.check(expect![[r#"
        reconfig 0x200000003
            -> 1,5: PROPOSAL 0x200000003
        propose 0x200000004
            -> 1,5: PROPOSAL 0x200000004
        6: FOLLOWERINFO 0x100000000
            -> 6: LEADERINFO 0x200000000
        6: ACKEPOCH 0x100000005
            -> 6: DIFF 0x200000002
            -> 6: PROPOSAL 0x200000001
            -> 6: COMMIT 0x200000001
            -> 6: PROPOSAL 0x200000002
            -> 6: COMMIT 0x200000002
            -> 6: NEWLEADER 0x200000000
        6: ACK 0x200000000
            -> 6: PROPOSAL 0x200000003
            -> 6: PROPOSAL 0x200000004
            -> 6: UPTODATE 0xffffffffffffffff
        6: ACK 0x200000000
        synced 0x200000004
        1: ACK 0x200000003
        5: ACK 0x200000003
        6: ACK 0x200000003
            activate config 0x200000003
            -> 1,5,6: COMMITANDACTIVATE 0x200000003 designated 1
            -> 3: INFORMANDACTIVATE 0x200000003 designated 1
            Committed { upto: Zxid(8589934595) }
        6: ACK 0x200000004
        1: ACK 0x200000004
    "#]]);
}

/// 2 observes from now on and acknowledges nothing more.
#[test]
fn behind_a_committed_configuration_the_one_before_is_not_asked() {
    let config = LeaderConfig { reconfig_enabled: true, ..leader_config() };
    let mut t = Test::with(config, Configs::new(self::config(MEMBERS, E1)), E1 + 5);
    t.join(1, 2, false).join(2, 5, false).reconfig(E2 + 1, &[(2, true), (3, false), (5, false)]);
    t.propose(E2 + 2).synced(E2 + 2).packet(2, ack(E2 + 1)).packet(2, ack(E2 + 2)).quiet();
    t.packet(1, ack(E2 + 1)).input(LeaderInput::LinkDown(LinkId(1)));
    t.check(expect![[r#"
        1: ACK 0x200000001
            activate config 0x200000001
            -> 1,2: COMMITANDACTIVATE 0x200000001 designated 3
            Committed { upto: Zxid(8589934593) }
            -> 1,2: COMMIT 0x200000002
            Committed { upto: Zxid(8589934594) }
    "#]]);
}

/// ref: Leader.waitForNewLeaderAck, SyncedLearnerTracker.addAck: the configurations say who counts,
/// not what the learner said of itself.
#[test]
fn a_proposed_configuration_is_asked_from_the_epoch_on() {
    let config = LeaderConfig { reconfig_enabled: true, max_diff_syncs: 2, ..leader_config() };
    let active = self::config(MEMBERS, E1 + 1);
    let proposed = self::config(&[(3, false), (4, false), (5, false)], E1 + 5);
    let configs = Configs { last_seen: Some(Arc::new(proposed)), ..Configs::new(active) };
    let mut t = Test::with(config, configs, E1 + 5);
    // Two of three, and one of the three that are proposed; then both, one of which observes still.
    t.up(1).packet(1, info(2, false, 1)).up(2).packet(2, info(4, true, 1));
    t.packet(1, ack_epoch(E1 + 5, 1)).packet(2, ack_epoch(E1 + 5, 1));
    t.packet(1, ack(E2));
    assert!(!t.leader.is_established());
    t.packet(2, ack(E2));
    t.check(expect![[r#"
        1: FOLLOWERINFO 0x100000000
        2: OBSERVERINFO 0x100000000
            StoreAcceptedEpoch(Epoch(2))
            -> 1,2: LEADERINFO 0x200000000
        1: ACKEPOCH 0x100000005
        2: ACKEPOCH 0x100000005
            StoreCurrentEpoch(Epoch(2))
            -> 1: DIFF 0x100000005
            -> 1: NEWLEADER 0x200000000
            -> 2: DIFF 0x100000005
            -> 2: NEWLEADER 0x200000000
        1: ACK 0x200000000
        2: ACK 0x200000000
            activate config 0x100000005
            Established { epoch: Epoch(2) }
            -> 1,2: UPTODATE 0xffffffffffffffff
    "#]]);
}

/// 2 has lost its disk and has no vote. What it and others had counts from NEWLEADER on.
#[test]
fn voters_of_a_proposed_configuration_may_be_too_few_to_have_committed_anything() {
    let config = LeaderConfig { reconfig_enabled: true, ..leader_config() };
    let two: &[_] = &[(1, false), (2, false)];
    let four: &[_] = &[(1, false), (3, false), (5, false), (6, false)];
    let five: &[_] = &[(1, false), (3, false), (5, false), (6, false), (7, false)];
    for (proposed, last, current, enters) in [
        (two, E1 + 5, 1, true),
        (two, E1 + 4, 1, true),
        // What a blank disk has lost may have been committed.
        (two, 0, 0, false),
        // 5 and 6 are ahead.
        (four, E1 + 5, 1, true),
        (four, 0, 0, false),
        (five, E1 + 5, 1, false),
    ] {
        let active = self::config(MEMBERS, E1 + 1);
        let proposed = self::config(proposed, E1 + 5);
        let configs = Configs { last_seen: Some(Arc::new(proposed)), ..Configs::new(active) };
        let mut t = Test::with(config.clone(), configs, E1 + 5);
        for (link, sid) in [(1, 1), (2, 2), (3, 5), (4, 6)] {
            t.up(link).packet(link, info(sid, false, 1));
        }
        t.packet(2, ack_epoch(-1, 0)).packet(3, ack_epoch(E1 + 6, 1)).packet(4, ack_epoch(E1 + 6, 1));
        assert!(!t.out.contains("StoreCurrentEpoch"), "no quorum of the active configuration");
        t.packet(1, ack_epoch(last, current));
        assert_eq!(t.out.contains("StoreCurrentEpoch"), enters, "{last:x} {current}");
        t.packet(1, ack(E2));
        assert!(!t.leader.is_established(), "the proposal comes into force with the history");
        if proposed_is(&t, 2) {
            t.packet(2, ack(E2));
            assert_eq!(t.leader.is_established(), enters);
        }
    }
}

/// 3 was alone, has committed 5's vote with it, and has lost its disk.
#[test]
fn a_blank_leader_does_not_count_for_the_one_who_has_it_all() {
    let config = LeaderConfig { reconfig_enabled: true, ..leader_config() };
    let proposed = self::config(&[(3, false), (5, false)], E1 + 5);
    let active = self::config(&[(3, false)], E1 + 1);
    let configs = Configs { last_seen: Some(Arc::new(proposed)), ..Configs::new(active) };
    let start = Start { accepted: Epoch(0), current: Epoch(0), last: Zxid::ZERO, applied: Zxid::ZERO };
    let leader = Leader::new(config, configs, start, 0);
    let mut t = Test { leader, history: History::new(), now: 0, out: String::new() };
    t.up(1).packet(1, info(5, false, 1)).packet(1, ack_epoch(E1 + 6, 1));
    assert!(t.out.contains("StoreAcceptedEpoch"));
    assert!(!t.out.contains("StoreCurrentEpoch"), "{}", t.out);
}

fn proposed_is(t: &Test, voter: i64) -> bool {
    t.leader.configs().last_seen.as_ref().is_some_and(|c| c.is_voter(PeerId(voter)))
}

/// Those that hear of it leave. Who was catching up does not, and may be a quorum with the leader.
#[test]
fn a_leader_that_has_passed_the_office_on_does_not_stay() {
    let config = LeaderConfig { reconfig_enabled: true, ..leader_config() };
    let mut t = Test::with(config, Configs::new(self::config(MEMBERS, E1)), E1 + 5);
    t.join(1, 2, false).reconfig(E2 + 1, &[(2, false)]).synced(E2 + 1).packet(1, ack(E2 + 1));
    assert!(t.out.contains("COMMITANDACTIVATE 0x200000001 designated 2"), "{}", t.out);
    t.input(LeaderInput::LinkDown(LinkId(1))).join(2, 2, false);
    let mut gone = None;
    for now in (50..=1000).step_by(50) {
        t.tick(now).packet(2, ping());
        if !t.leader.is_established() {
            gone.get_or_insert(now);
        }
    }
    // One tick at least, for the word to arrive.
    assert!(matches!(gone, Some(100..=200)), "{gone:?}");
}

fn ping() -> FromLearner {
    FromLearner::Ping { zxid: Zxid(E2), touched: Vec::new() }
}

#[test]
fn a_leader_that_stands_aside_goes_when_voters_have_the_commits() {
    let mut t = Test::new();
    t.join(1, 2, false).join(2, 1, false).join(3, 4, true).propose(E2 + 1).quiet();
    t.stand_aside(1000);
    // What learners ask for is not proposed any more.
    t.packet(1, request(OpCode::SetData)).synced(E2 + 1).packet(1, ack(E2 + 1)).packet(3, ping());
    t.packet(1, ping()).packet(2, ping());
    t.check(expect![[r#"
        stand aside
        1: REQUEST 0xffffffffffffffff
        synced 0x200000001
        1: ACK 0x200000001
            -> 1,2: COMMIT 0x200000001
            -> 3: INFORM 0x200000001
            Committed { upto: Zxid(8589934593) }
            -> 1,2,3: PING 0x200000001
        3: PING 0x200000000
        1: PING 0x200000000
        2: PING 0x200000000
            Resign { why: "it was told to stand aside", successor: Some(PeerId(2)) }
    "#]]);
    assert_eq!(t.leader.deadline(), None);
}

/// A client of its own had asked just before.
#[test]
fn a_proposal_meanwhile_is_waited_for() {
    let mut t = Test::new();
    t.join(1, 2, false).quiet();
    t.stand_aside(1000);
    t.propose(E2 + 1).packet(1, ping()).synced(E2 + 1).packet(1, ack(E2 + 1)).packet(1, ping());
    t.check(expect![[r#"
        stand aside
            -> 1: PING 0x200000000
        propose 0x200000001
            -> 1: PROPOSAL 0x200000001
        1: PING 0x200000000
        synced 0x200000001
        1: ACK 0x200000001
            -> 1: COMMIT 0x200000001
            Committed { upto: Zxid(8589934593) }
            -> 1: PING 0x200000001
        1: PING 0x200000000
            Resign { why: "it was told to stand aside", successor: Some(PeerId(2)) }
    "#]]);
}

#[test]
fn a_leader_does_not_wait_for_ever_nor_without_voters() {
    let mut t = Test::new();
    t.join(1, 2, false).propose(E2 + 1).quiet();
    t.stand_aside(40);
    assert_eq!(t.leader.deadline(), Some(40));
    t.tick(39).tick(40);
    t.check(expect![[r#"
        stand aside
        at 39
        at 40
            Resign { why: "it was told to stand aside", successor: None }
    "#]]);
    let mut t = Test::new();
    t.join(1, 2, false).input(LeaderInput::LinkDown(LinkId(1))).quiet();
    t.stand_aside(1000);
    t.check(expect![[r#"
        stand aside
            Resign { why: "it was told to stand aside", successor: None }
    "#]]);
    let mut t = Test::new();
    t.stand_aside(1000);
    t.check(expect![[r#"
        stand aside
            Resign { why: "it was told to stand aside", successor: None }
    "#]]);
}

/// A leader with one follower; link 2 comes with nothing and is sent a snapshot.
fn with_a_snapshot_under_way(observer: bool) -> Test {
    let mut t = Test::new();
    t.history = History::with_limits(4, 0);
    (4..=5).for_each(|n| t.history.push(record(E1 + n)));
    t.join(1, 2, false);
    t.commit(1, 1);
    t.up(2).packet(2, info(if observer { 4 } else { 1 }, observer, 2)).packet(2, ack_epoch(-1, -1));
    t.quiet();
    t
}

impl Test {
    /// Link 1 and the leader have each of these.
    fn commit(&mut self, from: i64, to: i64) -> &mut Self {
        for n in from..=to {
            self.propose(E2 + n).synced(E2 + n).packet(1, ack(E2 + n));
        }
        self
    }
}

#[test]
fn nothing_gathers_behind_a_snapshot() {
    let mut t = with_a_snapshot_under_way(false);
    t.commit(2, 20).propose(E2 + 21);
    assert!(!t.out.contains("2:") && !t.out.contains(",2"), "{}", t.out);
    t.quiet().input(LeaderInput::Streamed(LinkId(2))).packet(2, ack(E2)).commit(22, 22);
    // The log is sent in steps that grow smaller, the last one from memory.
    t.synced(E2 + 22).packet(1, ack(E2 + 21)).packet(1, ack(E2 + 22));
    t.input(LeaderInput::Streamed(LinkId(2))).propose(E2 + 23);
    t.check(expect![[r#"
        2: ACK 0x200000000
            StreamLog { link: LinkId(2), after: Zxid(8589934593), upto: Zxid(8589934612), activate: None }
        propose 0x200000016
            -> 1: PROPOSAL 0x200000016
        synced 0x200000016
        1: ACK 0x200000016
        synced 0x200000016
        1: ACK 0x200000015
            -> 1: COMMIT 0x200000015
            Committed { upto: Zxid(8589934613) }
            -> 1: COMMIT 0x200000016
            Committed { upto: Zxid(8589934614) }
        1: ACK 0x200000016
            -> 2: PROPOSAL 0x200000015
            -> 2: COMMIT 0x200000015
            -> 2: PROPOSAL 0x200000016
            -> 2: COMMIT 0x200000016
            -> 2: UPTODATE 0xffffffffffffffff
        propose 0x200000017
            -> 1,2: PROPOSAL 0x200000017
    "#]]);
    assert_eq!(t.leader.links[&LinkId(2)].stage, Stage::Active);
    // A proposal that is sent on joining has its time as any other.
    assert_eq!(t.leader.links[&LinkId(2)].waits_since(), Some(0));
}

#[test]
fn an_observer_joins_behind_what_is_committed() {
    let mut t = with_a_snapshot_under_way(true);
    t.commit(2, 3).propose(E2 + 4).quiet();
    t.input(LeaderInput::Streamed(LinkId(2))).packet(2, ack(E2)).synced(E2 + 4).packet(1, ack(E2 + 4));
    t.check(expect![[r#"
        2: ACK 0x200000000
            -> 2: PROPOSAL 0x200000002
            -> 2: COMMIT 0x200000002
            -> 2: PROPOSAL 0x200000003
            -> 2: COMMIT 0x200000003
            -> 2: UPTODATE 0xffffffffffffffff
        synced 0x200000004
        1: ACK 0x200000004
            -> 1: COMMIT 0x200000004
            -> 2: INFORM 0x200000004
            Committed { upto: Zxid(8589934596) }
    "#]]);
}

#[test]
fn what_the_memory_has_lost_comes_from_the_log() {
    let mut t = with_a_snapshot_under_way(false);
    t.leader.config.join_bytes = 1000;
    t.commit(2, 6).quiet().input(LeaderInput::Streamed(LinkId(2))).packet(2, ack(E2));
    t.check(expect![[r#"
        2: ACK 0x200000000
            StreamLog { link: LinkId(2), after: Zxid(8589934593), upto: Zxid(8589934598), activate: None }
    "#]]);
}

#[test]
fn a_stream_is_a_sign_of_life_and_ends_with_its_link() {
    let mut t = with_a_snapshot_under_way(false);
    t.commit(2, 20).input(LeaderInput::Streamed(LinkId(2))).packet(2, ack(E2)).quiet();
    t.input(LeaderInput::LinkDown(LinkId(1)));
    for now in (50..=550).step_by(50) {
        t.tick(now);
        if now % 200 == 0 {
            t.leader.links.get_mut(&LinkId(2)).unwrap().streaming = true;
            t.input(LeaderInput::Streamed(LinkId(2)));
        }
    }
    assert!(t.leader.is_established());
    t.input(LeaderInput::LinkDown(LinkId(2))).input(LeaderInput::Streamed(LinkId(2)));
    for now in (600..=1100).step_by(50) {
        t.tick(now);
    }
    assert!(!t.leader.is_established());
}

#[test]
fn a_configuration_that_is_committed_behind_newleader_is_put_in_force() {
    for join_bytes in [0, 1 << 20] {
        let config = LeaderConfig { reconfig_enabled: true, join_bytes, ..leader_config() };
        let mut t = Test::with(config, Configs::new(self::config(MEMBERS, 0)), E1 + 5);
        t.join(1, 2, false);
        t.up(2).packet(2, info(1, false, 2)).packet(2, ack_epoch(-1, -1));
        let zxid = Zxid(E2 + 1);
        let new = self::config(MEMBERS, zxid.0);
        let bytes = reconfig_txn(&new);
        t.leader.propose(0, Record { zxid, bytes }, Some(new));
        t.synced(zxid.0).packet(1, ack(zxid.0)).input(LeaderInput::Streamed(LinkId(2))).quiet();
        t.packet(2, ack(E2));
        let (from_log, activates) = match join_bytes {
            0 => (
                "StreamLog { link: LinkId(2), after: Zxid(4294967301), upto: Zxid(8589934593), activate: Some(PeerId(3)) }",
                false,
            ),
            _ => ("UPTODATE", true),
        };
        assert!(t.out.contains(from_log), "{}", t.out);
        assert_eq!(
            t.out.contains("-> 2: COMMITANDACTIVATE 0x200000001 designated 3"),
            activates,
            "{}",
            t.out
        );
    }
}

fn reconfig_txn(config: &EnsembleConfig) -> Bytes {
    use zk_proto::txn::{LogEntry, Txn, TxnHeader};
    let (session, cxid, op) = (SessionId(1), Xid(1), OpCode::Reconfig);
    let header = TxnHeader { session, cxid, zxid: config.version, time: 1, op };
    let data = Some(config.to_text().into());
    let txn = Txn::SetData { path: "/zookeeper/config".into(), data, version: -1 };
    let mut out = BytesMut::new();
    LogEntry { header, txn, digest: None }.encode(&mut out);
    out.freeze()
}
