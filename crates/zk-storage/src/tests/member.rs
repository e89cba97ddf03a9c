//! Directories of an ensemble's member: the log's end may not count, a leader
//! has it cut, or sends a state in its place.

use std::collections::BTreeSet;

use super::*;

fn member(dir: &Path) -> StorageConfig {
    StorageConfig { hold_back: true, ..config(dir) }
}

fn in_mirror(s: &Recovered) -> Vec<String> {
    contents(&s.mirror.view().unwrap().load(TreeOptions::default(), &mut |_| {}).unwrap())
}

/// A member with `n` transactions in the log, of which `committed` are in the
/// mirror, durably.
fn with_log(dir: &Path, seed: u64, n: usize, committed: usize) -> Vec<LogEntry> {
    let mut s = start(&member(dir)).unwrap();
    let entries = Writes::new(seed).run(&mut Tree::new(TreeOptions::default()), n);
    for piece in entries.chunks(20) {
        append(&mut s, piece);
        s.writer.roll().unwrap();
    }
    commit(&mut s, &entries[..committed]);
    s.mirror.flush().unwrap();
    entries
}

#[test]
fn the_mirror_waits_until_the_log_counts() {
    let dir = tempfile::tempdir().unwrap();
    let entries = with_log(dir.path(), 31, 60, 30);
    for _ in 0..2 {
        let s = start(&member(dir.path())).unwrap();
        assert_eq!(contents(&s.tree), contents(&tree_after(&entries)));
        assert_eq!(in_mirror(&s), contents(&tree_after(&entries[..30])));
        assert_eq!(s.report.replayed, 30);
        // The history begins with the file that holds what follows the mirror.
        let zxids: Vec<i64> = s.recent.iter().map(|(z, _)| z.0).collect();
        assert_eq!(zxids, (21..=60).collect::<Vec<_>>());
        assert_eq!(LogEntry::decode(&s.recent[0].1).unwrap(), entries[20]);
    }
    let mut s = start(&member(dir.path())).unwrap();
    s.mirror.write(&[Mirror::encode_batch(&s.tree, &s.held_back)]).unwrap();
    assert_eq!(in_mirror(&s), contents(&tree_after(&entries)));
    s.mirror.flush().unwrap();
    drop(s);
    let s = start(&member(dir.path())).unwrap();
    assert_eq!((s.report.replayed, s.recent.len()), (0, 20));
    assert!(s.held_back.is_empty());
}

#[test]
fn the_mirror_is_made_of_what_the_replay_begins_from() {
    let dir = first_start();
    let c = StorageConfig { hold_back: true, ..extended(dir.path()) };
    let s = start(&c).unwrap();
    assert_eq!((s.last_zxid, s.report.replayed, s.recent.len()), (Zxid(0x1_0000_0032), 50, 50));
    assert_eq!(s.tree.digest(), 0x7_8f9c_f9eb);
    assert_eq!(s.mirror.applied().unwrap().zxid, Zxid(0));
    drop(s);
    let mut s = start(&c).unwrap();
    assert_eq!(s.report.base, Base::Mirror { zxid: Zxid(0) });
    assert_eq!((s.tree.digest(), s.report.digest_mismatches), (0x7_8f9c_f9eb, 0));
    s.mirror.write(&[Mirror::encode_batch(&s.tree, &s.held_back)]).unwrap();
    assert_eq!(in_mirror(&s), contents(&s.tree));
    // What such a member exports is all of its log, and its mirror stays.
    drop(s);
    let mirror = image(dir.path());
    let out = tempfile::tempdir().unwrap();
    export(&extended(mirror.path()), out.path(), Compression::None, &mut |_| {}).unwrap();
    assert_eq!(names_of(out.path(), SNAPSHOT), ["snapshot.100000032"]);
}

#[test]
fn the_history_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path(), 32, 900, 10);
    let s = start(&member(dir.path())).unwrap();
    assert_eq!(s.recent.len(), 500);
    assert_eq!((s.recent[0].0, s.recent[499].0), (Zxid(401), Zxid(900)));
}

#[test]
fn a_broken_mirror_stays_the_proof_of_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path(), 33, 60, 50);
    let mut s = start(&member(dir.path())).unwrap();
    let mut wrong = tree_after(&Writes::new(5).run(&mut Tree::new(TreeOptions::default()), 3));
    wrong.set_last_zxid(Zxid(50));
    // It opens, and its digest is not that of its content.
    let nodes = [wrong.root().id()].into_iter().collect();
    let touched = zk_tree::Touched { nodes, ..Default::default() };
    s.mirror.write(&[Mirror::encode_batch(&wrong, &touched)]).unwrap();
    s.mirror.flush().unwrap();
    drop(s);
    for name in ["log.15", "log.29"] {
        fs::remove_file(version(dir.path()).join(name)).unwrap();
    }
    for _ in 0..2 {
        let e = start(&member(dir.path())).unwrap_err();
        assert!(matches!(e, StorageError::StateLost { floor: Zxid(50), reached: Zxid(20), .. }), "{e}");
    }
}

#[test]
fn orphans_are_the_leaders_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Writes::new(15);
    let mut e = w.create("/e", 3);
    e.header.session = SessionId(77);
    let zk_proto::txn::Txn::Create(c) = &mut e.txn else { panic!() };
    c.ephemeral = true;
    let mut s = start(&member(dir.path())).unwrap();
    append(&mut s, &[e]);
    drop(s);
    let mut s = start(&member(dir.path())).unwrap();
    assert!(s.tree.get("/e").is_some() && s.report.orphans.is_empty());
    assert_eq!(orphans(&s.tree), [SessionId(77)]);
    let effects = drop_orphans(&mut s.tree);
    assert!(s.tree.get("/e").is_none() && effects.touched.gone.contains("/e"));
    assert_eq!(s.last_zxid, Zxid(1));
}

#[test]
fn an_empty_directory_may_not_vote() {
    let dir = tempfile::tempdir().unwrap();
    let c = StorageConfig { db_autocreate: false, ..member(dir.path()) };
    for _ in 0..2 {
        let s = start(&c).unwrap();
        assert!(s.empty_without_vote);
        assert_eq!((s.last_zxid, s.report.base), (Zxid(-1), Base::Nothing));
        assert_eq!(names_of(dir.path(), SNAPSHOT), [""; 0]);
    }
    let alone = StorageConfig { hold_back: false, ..c.clone() };
    assert!(matches!(start(&alone), Err(StorageError::Empty { .. })));
    let crashed = image(dir.path());
    fs::write(crashed.path().join("initialize"), b"").unwrap();
    let s = start(&StorageConfig { db_autocreate: false, ..member(crashed.path()) }).unwrap();
    assert!(!s.empty_without_vote && s.last_zxid == Zxid(0));
    // A state from the leader makes a full member of it.
    let s = start(&c).unwrap();
    let (writer, mirror) = install(&c, s.mirror, &Tree::new(TreeOptions::default()), &mut |_| {}).unwrap();
    drop((writer, mirror));
    let s = start(&c).unwrap();
    assert!(!s.empty_without_vote && s.last_zxid == Zxid(0));
}

#[test]
fn a_log_is_cut_and_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let entries = with_log(dir.path(), 34, 60, 20);
    let c = member(dir.path());
    for to in [59, 45, 40, 35, 20] {
        let mut s = rewind(&c, Zxid(to), &mut |_| {}).unwrap();
        assert_eq!(s.last_zxid, Zxid(to));
        assert_eq!(contents(&s.tree), contents(&tree_after(&entries[..to as usize])));
        assert_eq!(in_mirror(&s), contents(&tree_after(&entries[..20])));
        let mut other = tree_after(&entries[..to as usize]);
        let more = Writes::after(77, Zxid(to)).run(&mut other, 3);
        append(&mut s, &more);
        drop(s);
        assert_eq!(contents(&start(&c).unwrap().tree), contents(&other));
    }
    let e = rewind(&c, Zxid(10), &mut |_| {}).unwrap_err();
    assert!(matches!(e, StorageError::BaseNewer { base: Zxid(20), zxid: Zxid(10), .. }), "{e}");
    let e = rewind(&c, Zxid(99), &mut |_| {}).unwrap_err();
    assert!(matches!(e, StorageError::NotReached { zxid: Zxid(99), reached: Zxid(23), .. }), "{e}");
    assert_eq!(start(&c).unwrap().last_zxid, Zxid(23));
    // Stopped or not: the directory must be free.
    let s = start(&c).unwrap();
    assert!(matches!(rewind(&c, Zxid(20), &mut |_| {}), Err(StorageError::Locked { .. })));
    drop(s);
}

#[test]
fn an_epochs_first_transaction_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let entries = with_log(dir.path(), 35, 10, 5);
    let mut s = start(&member(dir.path())).unwrap();
    let mut model = tree_after(&entries);
    append(&mut s, &Writes::after(3, Zxid(0x1_0000_0000)).run(&mut model, 4));
    drop(s);
    let s = rewind(&member(dir.path()), Zxid(0x1_0000_0000), &mut |_| {}).unwrap();
    assert_eq!(s.last_zxid, Zxid(10));
    drop(s);
    assert!(matches!(
        rewind(&member(dir.path()), Zxid(0x2_0000_0003), &mut |_| {}),
        Err(StorageError::NotReached { .. })
    ));
}

const KINDS: [Kind; 6] =
    [Kind::Eio, Kind::Enospc, Kind::Short, Kind::Kill, Kind::PowerCut, Kind::PowerCutTorn];

/// R8 for the cut: a log that ends at the zxid or later, and the same works again.
#[test]
fn every_call_of_a_cut_may_fail() {
    let dir = tempfile::tempdir().unwrap();
    let entries = with_log(dir.path(), 36, 60, 20);
    for kind in KINDS[2..].iter().copied() {
        for k in 1.. {
            let copy = image(dir.path());
            let c = member(copy.path());
            let (out, calls) = with_plan(k, kind, || rewind(&c, Zxid(30), &mut |_| {}).map(drop));
            assert!(out.is_err() || k > calls, "{kind:?} at {k}");
            let s = start(&c).unwrap_or_else(|e| panic!("{kind:?} at {k}: {e}"));
            let n = s.last_zxid.0 as usize;
            assert!((30..=60).contains(&n) && (out.is_err() || n == 30), "{kind:?} at {k}: {n}");
            assert_eq!(contents(&s.tree), contents(&tree_after(&entries[..n])), "{kind:?} at {k}");
            drop(s);
            let s = rewind(&c, Zxid(30), &mut |_| {}).unwrap_or_else(|e| panic!("{kind:?} at {k}: {e}"));
            assert_eq!(contents(&s.tree), contents(&tree_after(&entries[..30])), "{kind:?} at {k}");
            if k > calls {
                break;
            }
        }
    }
}

#[test]
fn a_state_from_the_leader_takes_the_place_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path(), 37, 60, 50);
    let c = member(dir.path());
    let s = start(&c).unwrap();
    write_tree(&s.tree, &version(dir.path()), Compression::Gzip, &mut |_| {}).unwrap();
    let reader = s.mirror.reader();
    let old = reader.view().unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    Writes::new(99).run(&mut tree, 40);
    let (mut writer, mirror) = install(&c, s.mirror, &tree, &mut |_| {}).unwrap();
    assert_eq!(names_of(dir.path(), LOG), [""; 0]);
    assert_eq!(names_of(dir.path(), SNAPSHOT), ["snapshot.0", "snapshot.28"]);
    assert_eq!(mirror.durable_zxid(), Some(Zxid(40)));
    // A view of the old state can be read, and cannot become a snapshot here.
    assert_eq!(old.zxid(), Zxid(50));
    let e = old.write_snapshot(&version(dir.path()), Compression::None, &mut |_| {}).unwrap_err();
    assert!(matches!(e, StorageError::Superseded { zxid: Zxid(50) }), "{e}");
    assert_eq!(reader.view().unwrap().zxid(), Zxid(40));
    drop(old);
    // The log goes on behind it.
    let more = Writes::after(98, Zxid(40)).run(&mut tree, 5);
    for e in &more {
        let mut payload = Vec::new();
        e.encode(&mut payload);
        writer.append(e.header.zxid, &payload).unwrap();
    }
    writer.sync().unwrap();
    let crashed = image(dir.path());
    drop((writer, mirror, reader));
    for dir in [dir.path(), crashed.path()] {
        let s = start(&member(dir)).unwrap();
        assert_eq!(contents(&s.tree), contents(&tree));
        assert_eq!(s.mirror.applied().unwrap().zxid, Zxid(40));
    }
}

/// R8 for the replacement: afterwards there is the old state, or the new one.
#[test]
fn every_call_of_an_installation_may_fail() {
    for (split, zxids, kinds) in
        [(false, 40, &KINDS[2..]), (true, 40, &KINDS[4..5]), (false, 90, &KINDS[4..5])]
    {
        let dir = tempfile::tempdir().unwrap();
        let with = |dir: &Path| {
            let mut c = member(&dir.join("data"));
            c.log_dir = split.then(|| dir.join("log"));
            c
        };
        let mut s = start(&with(dir.path())).unwrap();
        let entries = Writes::new(38).run(&mut Tree::new(TreeOptions::default()), 60);
        for piece in entries.chunks(25) {
            append(&mut s, piece);
            s.writer.roll().unwrap();
        }
        commit(&mut s, &entries[..50]);
        write_tree(&s.tree, &version(&dir.path().join("data")), Compression::None, &mut |_| {}).unwrap();
        drop(s);
        let old = contents(&tree_after(&entries));
        let mut tree = Tree::new(TreeOptions::default());
        Writes::new(39).run(&mut tree, zxids);
        let new = contents(&tree);
        for kind in kinds.iter().copied() {
            let mut seen = BTreeSet::new();
            for k in 1.. {
                let copy = image(dir.path());
                let c = with(copy.path());
                let s = start(&c).unwrap();
                let (out, calls) = with_plan(k, kind, || install(&c, s.mirror, &tree, &mut |_| {}).map(drop));
                assert!(out.is_err() || k > calls, "{kind:?} at {k}");
                let mut starts = vec![image(copy.path())];
                // A crash while a start puts it in place.
                if !names_of(&c.data_dir, "install").is_empty() && (zxids, kind) == (40, Kind::PowerCut) {
                    for n in (1..10).step_by(2) {
                        let again = image(copy.path());
                        let _ = with_plan(n, kind, || start(&with(again.path())).map(drop));
                        starts.push(again);
                    }
                }
                for again in starts {
                    let s = start(&with(again.path())).unwrap_or_else(|e| panic!("{kind:?} at {k}: {e}"));
                    let there = contents(&s.tree);
                    assert!(there == new || (there == old && out.is_err()), "{kind:?} at {k}");
                    assert_eq!(names_of(&again.path().join("data"), "install"), [""; 0]);
                    seen.insert(there == new);
                }
                if k > calls {
                    break;
                }
            }
            assert_eq!(seen.len(), 2, "{kind:?}: both were seen");
        }
    }
}

#[test]
fn a_state_that_is_not_in_place_is_not_exported() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path(), 40, 20, 20);
    let from = version(dir.path());
    fs::copy(from.join("snapshot.0"), from.join("install.7")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let e = export(&config(dir.path()), out.path(), Compression::None, &mut |_| {}).unwrap_err();
    assert!(matches!(e, StorageError::InstallPending { .. }), "{e}");
    assert_eq!(start(&member(dir.path())).unwrap().last_zxid, Zxid(7));
}
