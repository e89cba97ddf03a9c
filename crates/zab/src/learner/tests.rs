use std::fmt::Write;

use bytes::BytesMut;
use expect_test::{Expect, expect};
use zk_proto::OpCode;
use zk_proto::quorum::packet::QuorumPacket;
use zk_proto::txn::{LogEntry, Txn};

use super::*;

const E1: i64 = 0x1_0000_0000;
const E2: i64 = 0x2_0000_0000;

fn learner(observer: bool, accepted: i64, current: i64, last: i64, applied: i64) -> Learner {
    let config = LearnerConfig {
        me: PeerId(2),
        leader: PeerId(3),
        observer,
        tick_ms: 100,
        init_limit: 10,
        sync_limit: 5,
        reconfig_enabled: true,
    };
    let start = LearnerStart {
        accepted: Epoch(accepted),
        current: Epoch(current),
        last: Zxid(last),
        applied: Zxid(applied),
    };
    let active = text(0, observer);
    Learner::new(config, Configs::new(EnsembleConfig::parse(&active).unwrap()), start)
}

fn text(version: i64, observer: bool) -> String {
    let role = if observer { "observer" } else { "participant" };
    format!(
        "server.1=a:1:2:participant\nserver.2=b:1:2:{role}\nserver.3=c:1:2:participant\nversion={version:x}"
    )
}

fn proposal(zxid: i64) -> FromLeader {
    FromLeader::Proposal { zxid: Zxid(zxid), txn: Bytes::from_static(b"x") }
}

fn commit(zxid: i64) -> FromLeader {
    FromLeader::Commit { zxid: Zxid(zxid) }
}

fn leader_info(epoch: i64) -> FromLeader {
    FromLeader::LeaderInfo { epoch: Epoch(epoch), protocol_version: 0x1_0000 }
}

fn new_leader(epoch: i64) -> FromLeader {
    FromLeader::NewLeader { zxid: Zxid(epoch << 32), config: None }
}

fn hex(m: &FromLearner) -> String {
    let mut bytes = BytesMut::new();
    m.to_packet().encode(&mut bytes);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn short(o: &LearnerOutput) -> String {
    let list = |r: &[Record]| r.iter().map(|r| r.zxid.to_string()).collect::<Vec<_>>().join(" ");
    match o {
        LearnerOutput::Send(FromLearner::Ack { zxid }) => format!("ACK {zxid}"),
        LearnerOutput::Send(FromLearner::AckEpoch { last_zxid, current_epoch }) => {
            format!("ACKEPOCH {last_zxid} {}", current_epoch.map_or(-1, |e| e.0))
        }
        LearnerOutput::Send(FromLearner::Info { observer, accepted_epoch, .. }) => {
            format!("INFO observer={observer} {accepted_epoch}")
        }
        LearnerOutput::AppendSync(r) => format!("append and sync {}", list(r)),
        LearnerOutput::Append(r) => format!("append {}", list(r)),
        LearnerOutput::Inform(r) => format!("inform {}", r.zxid),
        LearnerOutput::SeenConfig(c) => format!("seen config {}", c.version),
        LearnerOutput::ActivateConfig { config, designated } => {
            format!("activate config {} {designated:?}", config.version)
        }
        other => format!("{other:?}"),
    }
}

fn check(l: &mut Learner, inputs: Vec<LearnerInput>, expected: Expect) {
    let mut out = String::new();
    for input in inputs {
        let name = match &input {
            LearnerInput::Packet(p) => {
                let packet = p.to_packet();
                let kind = zk_proto::quorum::packet::PacketKind::from_i32(packet.kind).unwrap();
                format!("{} {}", kind.name(), packet.zxid)
            }
            other => format!("{other:?}"),
        };
        writeln!(out, "{name}").unwrap();
        l.handle(0, input);
        for o in l.take_outputs() {
            writeln!(out, "    {}", short(&o)).unwrap();
        }
    }
    expected.assert_eq(&out);
}

fn packets(of: impl IntoIterator<Item = FromLeader>) -> Vec<LearnerInput> {
    of.into_iter().map(LearnerInput::Packet).collect()
}

/// A learner behind its ACKEPOCH.
fn registered(observer: bool, last: i64) -> Learner {
    let mut l = learner(observer, 1, 1, last, last);
    l.handle(0, LearnerInput::Connected);
    l.handle(0, LearnerInput::Packet(leader_info(2)));
    l.take_outputs();
    l
}

fn serving(observer: bool) -> Learner {
    let mut l = registered(observer, E1 + 5);
    for p in [FromLeader::Diff { zxid: Zxid(E1 + 5) }, new_leader(2), FromLeader::UpToDate] {
        l.handle(0, LearnerInput::Packet(p));
    }
    l.take_outputs();
    assert!(l.is_serving());
    l
}

fn leaves(mut l: Learner, p: FromLeader) -> bool {
    l.handle(0, LearnerInput::Packet(p));
    matches!(l.take_outputs().last(), Some(LearnerOutput::Leave { .. })) && l.deadline().is_none()
}

#[test]
fn the_first_start_is_byte_for_byte_that_of_java() {
    let mut l = learner(false, 0, 0, 0, 0);
    let mut lines = vec![];
    let down = |hex: &str| {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).unwrap()).collect();
        let packet = QuorumPacket::decode(&mut BytesMut::from(&bytes[..]), 1000).unwrap().unwrap();
        LearnerInput::Packet(FromLeader::from_packet(&packet).unwrap())
    };
    for input in [
        LearnerInput::Connected,
        down("00000011000000010000000000000004 00010000ffffffff".replace(' ', "").as_str()),
        down("0000000d0000000000000000ffffffffffffffff"),
        down("0000000a0000000100000000ffffffffffffffff"),
        down("0000000cffffffffffffffffffffffffffffffff"),
        down("00000002000000010000000100000001 78ffffffff".replace(' ', "").as_str()),
        LearnerInput::Synced { upto: Zxid(E1 + 1) },
        down("000000040000000100000001ffffffffffffffff"),
    ] {
        l.handle(0, input);
        lines.extend(l.take_outputs().iter().filter_map(|o| match o {
            LearnerOutput::Send(m) => Some(hex(m)),
            LearnerOutput::Leave { why } => panic!("{why}"),
            _ => None,
        }));
    }
    assert_eq!(
        lines,
        [
            "0000000b0000000000000000000000140000000000000002000100000000000000000000ffffffff",
            "0000001200000000000000000000000400000000ffffffff",
            "000000030000000100000000ffffffffffffffff",
            "000000030000000100000000ffffffffffffffff",
            "000000030000000100000001ffffffffffffffff",
        ]
    );
}

#[test]
fn a_diff_is_durable_before_the_epoch_and_the_epoch_before_the_ack() {
    // 4 and 5 are in the log and not applied; 6 was committed, 7 is under way.
    let mut l = learner(false, 1, 1, E1 + 5, E1 + 3);
    let mut inputs = vec![LearnerInput::Connected];
    inputs.extend(packets([
        leader_info(2),
        FromLeader::Diff { zxid: Zxid(E1 + 6) },
        proposal(E1 + 6),
        commit(E1 + 6),
        proposal(E2 + 1),
        proposal(E2 + 2),
        new_leader(2),
        // ZOOKEEPER-4394: the commit of what was proposed before NEWLEADER.
        commit(E2 + 1),
        FromLeader::UpToDate,
    ]));
    inputs.push(LearnerInput::Synced { upto: Zxid(E2 + 1) });
    inputs.extend(packets([commit(E2 + 2)]));
    inputs.push(LearnerInput::Synced { upto: Zxid(E2 + 2) });
    check(
        &mut l,
        inputs,
        expect![[r#"
            Connected
                INFO observer=false 0x1
            LEADERINFO 0x200000000
                StoreAcceptedEpoch(Epoch(2))
                ACKEPOCH 0x100000005 1
            DIFF 0x100000006
            PROPOSAL 0x100000006
            COMMIT 0x100000006
            PROPOSAL 0x200000001
            PROPOSAL 0x200000002
            NEWLEADER 0x200000000
                append and sync 0x100000006
                StoreCurrentEpoch(Epoch(2))
                ACK 0x200000000
            COMMIT 0x200000001
                Commit { upto: Zxid(4294967302) }
                append 0x200000001
                Commit { upto: Zxid(8589934593) }
            UPTODATE 0xffffffffffffffff
                ACK 0x200000000
                Serve { epoch: Epoch(2) }
                append 0x200000002
            Synced { upto: Zxid(8589934593) }
                ACK 0x200000001
            COMMIT 0x200000002
                Commit { upto: Zxid(8589934594) }
            Synced { upto: Zxid(8589934594) }
                ACK 0x200000002
        "#]],
    );
}

#[test]
fn the_same_epoch_is_not_confirmed_twice() {
    let mut l = learner(false, 2, 1, E1 + 5, E1 + 5);
    let mut inputs = vec![LearnerInput::Connected];
    inputs.extend(packets([leader_info(2)]));
    check(
        &mut l,
        inputs,
        expect![[r#"
        Connected
            INFO observer=false 0x2
        LEADERINFO 0x200000000
            ACKEPOCH 0x100000005 -1
    "#]],
    );
    let mut l = learner(true, 3, 1, E1 + 5, E1 + 5);
    let mut inputs = vec![LearnerInput::Connected];
    inputs.extend(packets([leader_info(2), leader_info(4)]));
    check(
        &mut l,
        inputs,
        expect![[r#"
        Connected
            INFO observer=true 0x3
        LEADERINFO 0x200000000
            Leave { why: "the leader's epoch is older than the promised one" }
        LEADERINFO 0x400000000
    "#]],
    );
}

#[test]
fn a_cut_log_and_a_snapshot() {
    let mut l = registered(false, E1 + 5);
    let inputs = packets([
        FromLeader::Trunc { zxid: Zxid(E1 + 4) },
        proposal(E2 + 1),
        commit(E2 + 1),
        new_leader(2),
        FromLeader::UpToDate,
    ]);
    check(
        &mut l,
        inputs,
        expect![[r#"
        TRUNC 0x100000004
            Truncate { to: Zxid(4294967300) }
        PROPOSAL 0x200000001
        COMMIT 0x200000001
        NEWLEADER 0x200000000
            append and sync 0x200000001
            StoreCurrentEpoch(Epoch(2))
            ACK 0x200000000
        UPTODATE 0xffffffffffffffff
            Commit { upto: Zxid(8589934593) }
            ACK 0x200000000
            Serve { epoch: Epoch(2) }
    "#]],
    );
    let mut l = registered(false, E1 + 5);
    let inputs = packets([
        FromLeader::Snap { zxid: Zxid(E1 + 2) },
        proposal(E1 + 3),
        commit(E1 + 3),
        proposal(E2 + 1),
        new_leader(2),
        FromLeader::UpToDate,
        commit(E2 + 1),
    ]);
    check(
        &mut l,
        inputs,
        expect![[r#"
        SNAP 0x100000002
            InstallSnapshot { zxid: Zxid(4294967298) }
        PROPOSAL 0x100000003
        COMMIT 0x100000003
        PROPOSAL 0x200000001
        NEWLEADER 0x200000000
            Persist
            append and sync 0x100000003
            StoreCurrentEpoch(Epoch(2))
            ACK 0x200000000
        UPTODATE 0xffffffffffffffff
            Commit { upto: Zxid(4294967299) }
            ACK 0x200000000
            Serve { epoch: Epoch(2) }
            append 0x200000001
        COMMIT 0x200000001
            Commit { upto: Zxid(8589934593) }
    "#]],
    );
}

#[test]
fn one_that_cannot_cut_its_log_gets_a_snapshot() {
    let of = |p| {
        let mut l = learner(false, 1, 1, E1 + 5, E1 + 5);
        l.ask_for_snapshot();
        l.handle(0, LearnerInput::Connected);
        l.handle(0, LearnerInput::Packet(leader_info(2)));
        let last = l.take_outputs().last().map(short);
        assert_eq!(last.as_deref(), Some("ACKEPOCH 0xffffffffffffffff 1"));
        leaves(l, p)
    };
    assert!(of(FromLeader::Diff { zxid: Zxid(E1) }));
    assert!(of(FromLeader::Trunc { zxid: Zxid(E1) }));
    assert!(!of(FromLeader::Snap { zxid: Zxid(E1) }));
}

#[test]
fn an_observer_is_informed() {
    let mut l = serving(true);
    let inform = |z| FromLeader::Inform { zxid: Zxid(z), txn: Bytes::from_static(b"x") };
    let mut inputs = packets([
        inform(E2 + 1),
        FromLeader::Sync,
        FromLeader::Ping { zxid: Zxid(E2 + 1) },
        FromLeader::Revalidate { session: SessionId(7), valid: true },
        proposal(E2 + 5),
        inform(E2 + 2),
    ]);
    inputs.push(LearnerInput::Synced { upto: Zxid(E2 + 2) });
    inputs.extend(packets([inform(E2 + 4)]));
    check(
        &mut l,
        inputs,
        expect![[r#"
        INFORM 0x200000001
            inform 0x200000001
        SYNC 0x0
            Synced
        PING 0x200000001
            Ping { zxid: Zxid(8589934593) }
        REVALIDATE 0xffffffffffffffff
            Revalidated { session: SessionId(7), valid: true }
        PROPOSAL 0x200000005
        INFORM 0x200000002
            inform 0x200000002
        Synced { upto: Zxid(8589934594) }
        INFORM 0x200000004
            Leave { why: "proposal out of order" }
    "#]],
    );
}

#[test]
fn acks_come_in_order_and_not_before_the_log_is_durable() {
    let mut l = serving(false);
    let mut inputs = packets([proposal(E2 + 1), proposal(E2 + 2), proposal(E2 + 3), commit(E2 + 1)]);
    inputs.extend([2, 2, 3].map(|n| LearnerInput::Synced { upto: Zxid(E2 + n) }));
    inputs.extend(packets([commit(E2 + 2), commit(E2 + 3)]));
    check(
        &mut l,
        inputs,
        expect![[r#"
        PROPOSAL 0x200000001
            append 0x200000001
        PROPOSAL 0x200000002
            append 0x200000002
        PROPOSAL 0x200000003
            append 0x200000003
        COMMIT 0x200000001
            Commit { upto: Zxid(8589934593) }
        Synced { upto: Zxid(8589934594) }
            ACK 0x200000001
            ACK 0x200000002
        Synced { upto: Zxid(8589934594) }
        Synced { upto: Zxid(8589934595) }
            ACK 0x200000003
        COMMIT 0x200000002
            Commit { upto: Zxid(8589934594) }
        COMMIT 0x200000003
            Commit { upto: Zxid(8589934595) }
    "#]],
    );
}

#[test]
fn what_comes_twice_while_it_is_synced_is_passed_over() {
    let mut l = registered(false, E1 + 5);
    let inputs = packets([
        FromLeader::Diff { zxid: Zxid(E1 + 6) },
        proposal(E1 + 5),
        commit(E1 + 5),
        proposal(E1 + 6),
        proposal(E1 + 6),
        commit(E1 + 6),
        commit(E1 + 6),
        new_leader(2),
        proposal(E1 + 6),
        commit(E1 + 6),
        FromLeader::Ping { zxid: Zxid(E2) },
        FromLeader::UpToDate,
    ]);
    check(
        &mut l,
        inputs,
        expect![[r#"
        DIFF 0x100000006
        PROPOSAL 0x100000005
        COMMIT 0x100000005
        PROPOSAL 0x100000006
        PROPOSAL 0x100000006
        COMMIT 0x100000006
        COMMIT 0x100000006
        NEWLEADER 0x200000000
            append and sync 0x100000006
            StoreCurrentEpoch(Epoch(2))
            ACK 0x200000000
        PROPOSAL 0x100000006
        COMMIT 0x100000006
        PING 0x200000000
        UPTODATE 0xffffffffffffffff
            Commit { upto: Zxid(4294967302) }
            ACK 0x200000000
            Serve { epoch: Epoch(2) }
    "#]],
    );
}

#[test]
fn what_does_not_fit_makes_it_leave() {
    let diff = FromLeader::Diff { zxid: Zxid(E1 + 5) };
    let synced = |p: &[FromLeader]| {
        let mut l = registered(false, E1 + 5);
        for p in p {
            l.handle(0, LearnerInput::Packet(p.clone()));
        }
        l
    };
    for (case, l, p) in [
        ("no LEADERINFO", learner(false, 1, 1, 0, 0), diff.clone()),
        ("neither DIFF nor TRUNC nor SNAP", registered(false, E1 + 5), proposal(E2 + 1)),
        ("TRUNC ahead", registered(false, E1 + 5), FromLeader::Trunc { zxid: Zxid(E1 + 6) }),
        ("gap in sync", synced(std::slice::from_ref(&diff)), proposal(E1 + 7)),
        ("of a later epoch", synced(std::slice::from_ref(&diff)), proposal(E2 + (1 << 32) + 1)),
        ("commit of nothing", synced(std::slice::from_ref(&diff)), commit(E1 + 6)),
        ("commit of the second", synced(&[diff.clone(), proposal(E1 + 6), proposal(E1 + 7)]), commit(E1 + 7)),
        ("UPTODATE first", synced(std::slice::from_ref(&diff)), FromLeader::UpToDate),
        ("another epoch", synced(std::slice::from_ref(&diff)), new_leader(3)),
        ("NEWLEADER twice", synced(&[diff.clone(), new_leader(2)]), new_leader(2)),
        ("SNAP in between", synced(&[diff]), FromLeader::Snap { zxid: Zxid(E2) }),
        ("gap", serving(false), proposal(E2 + 2)),
        ("commit of nothing", serving(false), commit(E2 + 1)),
        ("UPTODATE again", serving(false), FromLeader::UpToDate),
        (
            "INFORM for a follower",
            serving(false),
            FromLeader::Inform { zxid: Zxid(E2 + 1), txn: Bytes::new() },
        ),
    ] {
        assert!(leaves(l, p), "{case}");
    }
    let mut l = serving(false);
    l.handle(0, LearnerInput::Packet(proposal(E2 + 1)));
    assert!(leaves(l, proposal(E2 + 3)));
    let mut l = serving(false);
    l.handle(0, LearnerInput::Packet(proposal(E2 + 1)));
    assert!(leaves(l, proposal(E2 + 1)), "a repeat");
}

#[test]
fn it_waits_initlimit_and_then_synclimit() {
    let mut l = learner(false, 1, 1, 0, 0);
    assert_eq!(l.deadline(), None);
    l.handle(50, LearnerInput::Connected);
    assert_eq!(l.deadline(), Some(1050));
    l.handle(100, LearnerInput::Packet(leader_info(2)));
    l.handle(150, LearnerInput::Heard);
    assert_eq!(l.deadline(), Some(1150));
    l.handle(200, LearnerInput::Packet(FromLeader::Diff { zxid: Zxid(0) }));
    l.handle(300, LearnerInput::Packet(new_leader(2)));
    // To make a snapshot durable takes a while, and the leader waits for the ACK.
    assert_eq!(l.deadline(), Some(1800));
    l.handle(350, LearnerInput::Packet(FromLeader::Ping { zxid: Zxid(0) }));
    assert_eq!(l.deadline(), Some(850));
    l.handle(400, LearnerInput::Synced { upto: Zxid(0) });
    l.tick(849);
    l.take_outputs();
    l.tick(850);
    assert_eq!(l.take_outputs(), [LearnerOutput::Leave { why: "no packet in time" }]);
    l.handle(851, LearnerInput::Packet(FromLeader::UpToDate));
    assert_eq!(l.take_outputs(), []);
}

fn reconfig(zxid: i64, observer: bool) -> Bytes {
    let header = zk_proto::txn::TxnHeader {
        session: SessionId(1),
        cxid: zk_proto::Xid(1),
        zxid: Zxid(zxid),
        time: 1,
        op: OpCode::Reconfig,
    };
    let data = Some(text(zxid, observer).into());
    let txn = Txn::SetData { path: "/zookeeper/config".into(), data, version: -1 };
    let mut out = BytesMut::new();
    LogEntry { header, txn, digest: None }.encode(&mut out);
    out.freeze()
}

#[test]
fn a_configuration_takes_effect_with_its_commit() {
    let mut l = registered(false, E1 + 5);
    let config = Some(text(E2, false).into());
    let mut inputs = packets([
        FromLeader::Diff { zxid: Zxid(E1 + 5) },
        FromLeader::NewLeader { zxid: Zxid(E2), config },
        FromLeader::UpToDate,
    ]);
    for (n, observer) in [(1, false), (2, true)] {
        let zxid = Zxid(E2 + n);
        inputs.extend(packets([
            FromLeader::Proposal { zxid, txn: reconfig(zxid.0, observer) },
            FromLeader::CommitAndActivate { zxid, designated: PeerId(3) },
        ]));
    }
    check(
        &mut l,
        inputs,
        expect![[r#"
            DIFF 0x100000005
            NEWLEADER 0x200000000
                seen config 0x200000000
                StoreCurrentEpoch(Epoch(2))
                ACK 0x200000000
            UPTODATE 0xffffffffffffffff
                activate config 0x200000000 None
                ACK 0x200000000
                Serve { epoch: Epoch(2) }
            PROPOSAL 0x200000001
                seen config 0x200000001
                append 0x200000001
            COMMITANDACTIVATE 0x200000001
                CommitAndActivate { zxid: Zxid(8589934593), designated: PeerId(3) }
                activate config 0x200000001 Some(PeerId(3))
            PROPOSAL 0x200000002
                seen config 0x200000002
                append 0x200000002
            COMMITANDACTIVATE 0x200000002
                CommitAndActivate { zxid: Zxid(8589934594), designated: PeerId(3) }
                activate config 0x200000002 Some(PeerId(3))
                Leave { why: "the configuration changes a role" }
        "#]],
    );
}

/// What was proposed in epoch 1 is not in the history of the leader of epoch 2: it must not ask
/// its quorum when it leads, nor ever come into force.
#[test]
fn a_configuration_that_the_leader_does_not_have_is_forgotten() {
    let proposed = |at: i64| {
        let mut l = learner(false, 1, 1, E1 + 7, E1 + 5);
        let seen = EnsembleConfig::parse(&text(at, false)).unwrap();
        l.configs.last_seen = Some(Arc::new(seen));
        l.handle(0, LearnerInput::Connected);
        l.handle(0, LearnerInput::Packet(leader_info(2)));
        l.take_outputs();
        l
    };
    let told = |version| FromLeader::NewLeader { zxid: Zxid(E2), config: Some(text(version, false).into()) };
    let mut l = proposed(E1 + 7);
    check(
        &mut l,
        packets([
            FromLeader::Trunc { zxid: Zxid(E1 + 6) },
            FromLeader::Proposal { zxid: Zxid(E2 + 1), txn: Bytes::from_static(b"x") },
            commit(E2 + 1),
            told(0),
        ]),
        expect![[r#"
            TRUNC 0x100000006
                Truncate { to: Zxid(4294967302) }
            PROPOSAL 0x200000001
            COMMIT 0x200000001
            NEWLEADER 0x200000000
                append and sync 0x200000001
                WithdrawConfig
                StoreCurrentEpoch(Epoch(2))
                ACK 0x200000000
        "#]],
    );
    assert_eq!(l.configs().last_seen, None);
    let seen = |at, mode: FromLeader, version| {
        let mut l = proposed(at);
        packets([mode, told(version)]).into_iter().for_each(|p| l.handle(0, p));
        (l.configs().last_seen.as_ref().map(|c| c.version), l.take_outputs())
    };
    let trunc = FromLeader::Trunc { zxid: Zxid(E1 + 6) };
    let (diff, snap) = (FromLeader::Diff { zxid: Zxid(E1 + 7) }, FromLeader::Snap { zxid: Zxid(E1 + 9) });
    let withdraws = |of: &[LearnerOutput]| of.contains(&LearnerOutput::WithdrawConfig);
    let (left, outputs) = seen(E1 + 7, snap.clone(), 0);
    let place = |o: &LearnerOutput| outputs.iter().position(|p| p == o);
    assert_eq!(left, None);
    assert!(place(&LearnerOutput::Persist).unwrap() < place(&LearnerOutput::WithdrawConfig).unwrap());
    // The file tells of another one then.
    let (left, outputs) = seen(E1 + 7, trunc.clone(), E1 + 2);
    assert_eq!(left, Some(Zxid(E1 + 2)));
    assert!(!withdraws(&outputs));
    // It is in the history of both, the leader knows of it, or it is proposed just now.
    for (at, mode, version) in
        [(E1 + 7, diff.clone(), 0), (E1 + 6, trunc, 0), (E1 + 7, snap, E1 + 7), (E2 + 1, diff, 0)]
    {
        let (left, outputs) = seen(at, mode, version);
        assert_eq!(left, Some(Zxid(at)));
        assert!(!withdraws(&outputs));
    }
}

#[test]
fn a_configuration_that_is_only_proposed_waits_for_its_commit() {
    let mut l = registered(false, E1 + 5);
    let zxid = Zxid(E2 + 1);
    let inputs = packets([
        FromLeader::Diff { zxid: Zxid(E1 + 5) },
        FromLeader::Proposal { zxid, txn: reconfig(zxid.0, false) },
        FromLeader::NewLeader { zxid: Zxid(E2), config: Some(text(zxid.0, false).into()) },
        FromLeader::UpToDate,
        FromLeader::CommitAndActivate { zxid, designated: PeerId(1) },
    ]);
    check(
        &mut l,
        inputs,
        expect![[r#"
            DIFF 0x100000005
            PROPOSAL 0x200000001
                seen config 0x200000001
            NEWLEADER 0x200000000
                StoreCurrentEpoch(Epoch(2))
                ACK 0x200000000
            UPTODATE 0xffffffffffffffff
                ACK 0x200000000
                Serve { epoch: Epoch(2) }
                append 0x200000001
            COMMITANDACTIVATE 0x200000001
                CommitAndActivate { zxid: Zxid(8589934593), designated: PeerId(1) }
                activate config 0x200000001 Some(PeerId(1))
        "#]],
    );
}

#[test]
fn a_committed_configuration_does_not_wait_for_the_one_that_is_proposed_behind_it() {
    for activated in [true, false] {
        let mut l = registered(false, E1 + 5);
        let (first, second) = (Zxid(E2 + 1), Zxid(E2 + 2));
        let commit = match activated {
            true => FromLeader::CommitAndActivate { zxid: first, designated: PeerId(3) },
            false => commit(first.0),
        };
        for packet in [
            FromLeader::Diff { zxid: first },
            FromLeader::Proposal { zxid: first, txn: reconfig(first.0, false) },
            commit,
            FromLeader::Proposal { zxid: second, txn: reconfig(second.0, false) },
            FromLeader::NewLeader { zxid: Zxid(E2), config: Some(text(second.0, false).into()) },
            FromLeader::UpToDate,
        ] {
            l.handle(0, LearnerInput::Packet(packet));
        }
        assert!(l.is_serving());
        assert_eq!(l.configs().active.version, first);
        assert_eq!(l.configs().last_seen.as_ref().map(|c| c.version), Some(second));
        let commit = FromLeader::CommitAndActivate { zxid: second, designated: PeerId(3) };
        l.handle(0, LearnerInput::Packet(commit));
        assert_eq!(l.configs().active.version, second);
    }
}

#[test]
fn behind_newleader_nothing_committed_gathers() {
    for observer in [false, true] {
        let mut l = registered(observer, E1 + 5);
        let mut inputs = packets([
            FromLeader::Diff { zxid: Zxid(E1 + 6) },
            proposal(E1 + 6),
            commit(E1 + 6),
            new_leader(2),
            proposal(E2 + 1),
            commit(E2 + 1),
            proposal(E2 + 2),
            commit(E2 + 2),
            proposal(E2 + 3),
        ]);
        inputs.push(LearnerInput::Synced { upto: Zxid(E2 + 2) });
        inputs.extend(packets([FromLeader::UpToDate]));
        let expected = match observer {
            false => expect![[r#"
                DIFF 0x100000006
                PROPOSAL 0x100000006
                COMMIT 0x100000006
                NEWLEADER 0x200000000
                    append and sync 0x100000006
                    StoreCurrentEpoch(Epoch(2))
                    ACK 0x200000000
                PROPOSAL 0x200000001
                COMMIT 0x200000001
                    Commit { upto: Zxid(4294967302) }
                    append 0x200000001
                    Commit { upto: Zxid(8589934593) }
                PROPOSAL 0x200000002
                COMMIT 0x200000002
                    append 0x200000002
                    Commit { upto: Zxid(8589934594) }
                PROPOSAL 0x200000003
                Synced { upto: Zxid(8589934594) }
                    ACK 0x200000001
                    ACK 0x200000002
                UPTODATE 0xffffffffffffffff
                    ACK 0x200000000
                    Serve { epoch: Epoch(2) }
                    append 0x200000003
            "#]],
            true => expect![[r#"
                DIFF 0x100000006
                PROPOSAL 0x100000006
                COMMIT 0x100000006
                NEWLEADER 0x200000000
                    append and sync 0x100000006
                    StoreCurrentEpoch(Epoch(2))
                    ACK 0x200000000
                PROPOSAL 0x200000001
                COMMIT 0x200000001
                    Commit { upto: Zxid(4294967302) }
                    append 0x200000001
                    Commit { upto: Zxid(8589934593) }
                PROPOSAL 0x200000002
                COMMIT 0x200000002
                    append 0x200000002
                    Commit { upto: Zxid(8589934594) }
                PROPOSAL 0x200000003
                Synced { upto: Zxid(8589934594) }
                UPTODATE 0xffffffffffffffff
                    ACK 0x200000000
                    Serve { epoch: Epoch(2) }
                    append 0x200000003
            "#]],
        };
        check(&mut l, inputs, expected);
    }
}
