//! A sound record passes, and each kind of error planted into it is found.

use super::*;
use crate::tree::Node;

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);

fn stat(czxid: i64, mzxid: i64, version: i32) -> Stat {
    Stat { czxid, mzxid, version, ..Stat::default() }
}

fn op(session: SessionId, times: (u64, u64), call: Call, outcome: Outcome) -> Op {
    Op { session, member: 0, invoked: times.0, completed: times.1, call, outcome }
}

fn done(zxid: i64, stat: Option<Stat>, value: Option<&str>) -> Outcome {
    Outcome::Done { zxid, stat, value: value.map(str::to_owned) }
}

fn set(value: &str, expected: i32) -> Call {
    Call::Set { key: "/r".into(), value: value.into(), expected }
}

fn get() -> Call {
    Call::Get { key: "/r".into() }
}

/// Two sessions on one register, an ephemeral, a deleted node, and a write of
/// unknown fate that took effect.
fn sound() -> (History, Vec<Tree>) {
    let create =
        |key: &str, value: &str, ephemeral| Call::Create { key: key.into(), value: value.into(), ephemeral };
    let ops = vec![
        op(A, (0, 10), create("/r", "a1", false), done(1, Some(stat(1, 1, 0)), None)),
        op(A, (20, 30), set("a2", -1), done(2, Some(stat(1, 2, 1)), None)),
        op(A, (31, 35), get(), done(2, Some(stat(1, 2, 1)), Some("a2"))),
        op(A, (40, u64::MAX), set("a3", 1), Outcome::Unknown),
        op(A, (100, 110), create("/d", "a4", false), done(5, Some(stat(5, 5, 0)), None)),
        op(A, (120, 130), Call::Delete { key: "/d".into() }, done(6, None, None)),
        op(A, (140, 150), create("/e", "a5", true), done(7, Some(stat(7, 7, 0)), None)),
        // Nothing of A's third write yet: this member is behind.
        op(B, (45, 50), get(), done(2, Some(stat(1, 2, 1)), Some("a2"))),
        op(B, (55, 60), get(), done(3, Some(stat(1, 3, 2)), Some("a3"))),
        op(B, (61, 70), set("b1", 2), done(4, Some(stat(1, 4, 3)), None)),
        op(B, (71, 75), set("b2", 0), Outcome::Failed { code: -103, zxid: 4 }),
        op(B, (76, 80), Call::Sync, done(4, None, None)),
        op(B, (81, 85), get(), done(4, Some(stat(1, 4, 3)), Some("b1"))),
    ];
    let node = |data: &str, stat| Node { data: Some(data.into()), stat, acl: None };
    let tree: Tree = [("/r".to_owned(), node("b1", stat(1, 4, 3)))].into();
    (History { ops, ended: [(A, 200)].into() }, vec![tree.clone(), tree])
}

/// Spoils the sound record and names what is found.
fn planted(spoil: impl FnOnce(&mut History, &mut Vec<Tree>)) -> BTreeSet<Broken> {
    let (mut history, mut ends) = sound();
    spoil(&mut history, &mut ends);
    let report = check(&history, &ends, Options { strict_sync: true });
    report.violations.iter().map(|v| v.broken).collect()
}

fn finds(due: Broken, spoil: impl FnOnce(&mut History, &mut Vec<Tree>)) {
    let found = planted(spoil);
    assert!(found.contains(&due), "{due:?} is not among {found:?}");
}

#[test]
fn a_sound_record_passes() {
    let (history, ends) = sound();
    let report = check(&history, &ends, Options { strict_sync: true });
    assert_eq!(report.text(), "");
    assert_eq!((report.placed, report.placed_unknown), (6, 1));
}

#[test]
fn two_writes_with_one_zxid() {
    finds(Broken::SharedZxid, |h, _| h.ops[9].outcome = done(5, Some(stat(1, 5, 3)), None));
}

#[test]
fn writes_against_real_time() {
    // The second write was sent after the third write's acknowledgement.
    finds(Broken::WriteOrder, |h, _| (h.ops[1].invoked, h.ops[1].completed) = (300, 310));
}

#[test]
fn a_lost_update_and_a_missing_version() {
    finds(Broken::Version, |h, _| h.ops[9].outcome = done(4, Some(stat(1, 4, 2)), None));
    finds(Broken::Version, |h, _| h.ops[9].call = set("b1", 7));
    finds(Broken::Gap, |h, ends| {
        h.ops[9].call = set("b1", -1);
        h.ops[9].outcome = done(4, Some(stat(1, 4, 4)), None);
        h.ops[12].outcome = done(4, Some(stat(1, 4, 4)), Some("b1"));
        ends.iter_mut().for_each(|t| t.get_mut("/r").unwrap().stat.version = 4);
    });
}

#[test]
fn values_from_nowhere() {
    finds(Broken::Foreign, |h, _| h.ops[2].outcome = done(2, Some(stat(1, 2, 1)), Some("zz")));
    finds(Broken::Foreign, |h, _| h.ops[2].outcome = done(2, Some(stat(1, 2, 0)), Some("a2")));
    finds(Broken::Foreign, |_, e| e[1].get_mut("/r").unwrap().data = Some(b"zz".to_vec()));
    finds(Broken::Foreign, |h, _| h.ops[2].outcome = done(2, Some(stat(5, 5, 0)), Some("a4")));
}

#[test]
fn a_refused_write_that_took_effect() {
    finds(Broken::RefusedWrite, |h, _| h.ops[12].outcome = done(4, Some(stat(1, 4, 3)), Some("b2")));
}

#[test]
fn a_read_of_what_was_not_yet_sent() {
    finds(Broken::Future, |h, _| h.ops[8].completed = 39);
}

#[test]
fn a_session_that_goes_back() {
    finds(Broken::SessionOrder, |h, _| h.ops[12].outcome = done(3, Some(stat(1, 3, 2)), Some("a3")));
}

#[test]
fn stale_reads() {
    // Its own write.
    finds(Broken::StaleRead, |h, _| h.ops[2].outcome = done(2, Some(stat(1, 1, 0)), Some("a1")));
    // What it had read before, under a new header.
    finds(Broken::StaleRead, |h, _| h.ops[12].outcome = done(4, Some(stat(1, 3, 2)), Some("a3")));
    // Not even there.
    finds(Broken::StaleRead, |h, _| h.ops[2].outcome = Outcome::Failed { code: -101, zxid: 2 });
    // Newer than its header.
    finds(Broken::StaleRead, |h, _| h.ops[7].outcome = done(2, Some(stat(1, 3, 2)), Some("a3")));
    // Deleted, and this session had seen it.
    finds(Broken::StaleRead, |h, _| {
        let call = Call::Get { key: "/d".into() };
        h.ops.push(op(A, (160, 170), call, done(7, Some(stat(5, 5, 0)), Some("a4"))));
    });
}

#[test]
fn a_stale_read_after_a_sync() {
    let spoil = |h: &mut History, _: &mut Vec<Tree>| {
        let c = SessionId(3);
        h.ops.push(op(c, (300, 310), Call::Sync, done(2, None, None)));
        h.ops.push(op(c, (320, 330), get(), done(2, Some(stat(1, 2, 1)), Some("a2"))));
    };
    assert_eq!(planted(spoil), [Broken::StaleSync].into());
    let (mut history, mut ends) = sound();
    spoil(&mut history, &mut ends);
    let report = check(&history, &ends, Options::default());
    assert_eq!((report.text().as_str(), report.stale_syncs), ("", 1));
}

#[test]
fn lost_at_the_end() {
    let older = Node { data: Some(b"a3".to_vec()), stat: stat(1, 3, 2), acl: None };
    finds(Broken::Lost, |_, e| {
        e.iter_mut().for_each(|t| {
            t.insert("/r".into(), older.clone());
        });
    });
    finds(Broken::Lost, |_, e| e.iter_mut().for_each(|t| t.clear()));
    // A deletion.
    finds(Broken::Lost, |_, e| {
        let node = Node { data: Some(b"a4".to_vec()), stat: stat(5, 5, 0), acl: None };
        e.iter_mut().for_each(|t| {
            t.insert("/d".into(), node.clone());
        });
    });
}

#[test]
fn members_that_differ() {
    finds(Broken::Diverged, |_, e| e[1].clear());
}

#[test]
fn ephemerals_and_their_sessions() {
    let node = Node { data: Some(b"a5".to_vec()), stat: stat(7, 7, 0), acl: None };
    finds(Broken::Ephemeral, |_, e| {
        e.iter_mut().for_each(|t| {
            t.insert("/e".into(), node.clone());
        });
    });
    finds(Broken::Ephemeral, |h, _| h.ended.clear());
    finds(Broken::DeadSession, |h, _| {
        h.ended.insert(A, 115);
    });
}
