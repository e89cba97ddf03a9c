//! Java had the directory for a while: the mirror may be of another history than
//! what it left.

use zk_proto::OpCode;
use zk_proto::txn::Txn;

use super::*;

/// How the directory is opened: as a member's and as a lone server's.
fn ways(dir: &Path) -> [StorageConfig; 2] {
    [StorageConfig { hold_back: true, ..config(dir) }, config(dir)]
}

/// 100 transactions, all in the mirror, durably; in log files of 40.
fn mirrored(dir: &Path, entries: &[LogEntry]) {
    let mut s = start(&config(dir)).unwrap();
    for piece in entries.chunks(40) {
        append(&mut s, piece);
        s.writer.roll().unwrap();
    }
    commit(&mut s, entries);
    s.mirror.flush().unwrap();
}

/// What another server does with the log: it cuts it after `keep` transactions
/// and goes on with others behind `last`. Its tree.
fn other_history(dir: &Path, entries: &[LogEntry], keep: i64, last: Zxid, n: usize) -> Tree {
    let v = version(dir);
    truncate(&v, Zxid(keep), Zxid(0)).unwrap();
    let mut tree = tree_after(&entries[..keep as usize]);
    let mut writer = LogWriter::new(&v, Zxid(keep), config(dir).log);
    for e in Writes::after(99, last).run(&mut tree, n) {
        let mut payload = Vec::new();
        e.encode(&mut payload);
        writer.append(e.header.zxid, &payload).unwrap();
    }
    writer.sync().unwrap();
    tree
}

fn entries(seed: u64) -> Vec<LogEntry> {
    Writes::new(seed).run(&mut Tree::new(TreeOptions::default()), 100)
}

fn starts_as(dir: &Path, want: &Tree) {
    for way in 0..2 {
        let copy = image(dir);
        for _ in 0..2 {
            let mut s = start(&ways(copy.path())[way]).unwrap();
            assert_eq!(contents(&s.tree), contents(want));
            assert_eq!(s.report.digest_mismatches, 0);
            s.mirror.write(&[Mirror::encode_batch(&s.tree, &s.held_back)]).unwrap();
            let view = s.mirror.view().unwrap();
            assert_eq!(contents(&view.load(TreeOptions::default(), &mut |_| {}).unwrap()), contents(want));
        }
        // The mirror is believed again.
        let s = start(&ways(copy.path())[way]).unwrap();
        assert!(matches!(s.report.base, Base::Mirror { .. }) && s.report.passed_over.is_empty());
    }
}

/// The first transaction of an epoch may follow any of an earlier one, so the
/// order of zxids shows nothing.
#[test]
fn a_log_cut_behind_the_mirror_and_a_later_epoch() {
    for keep in [90, 80, 79, 30] {
        let dir = tempfile::tempdir().unwrap();
        let entries = entries(51);
        mirrored(dir.path(), &entries);
        let tree = other_history(dir.path(), &entries, keep, Zxid(0x1_0000_0000), 60);
        starts_as(dir.path(), &tree);
    }
}

#[test]
fn other_transactions_with_the_same_zxids() {
    for keep in [90, 80] {
        let dir = tempfile::tempdir().unwrap();
        let entries = entries(52);
        mirrored(dir.path(), &entries);
        let tree = other_history(dir.path(), &entries, keep, Zxid(keep), 60);
        starts_as(dir.path(), &tree);
    }
}

/// Errors have no digest: the one of the last change counts.
#[test]
fn an_error_at_the_mirrors_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut entries = entries(53);
    let last = entries.len() - 1;
    entries[last].header.op = OpCode::Error;
    (entries[last].txn, entries[last].digest) = (Txn::Error { err: -101 }, None);
    mirrored(dir.path(), &entries);
    let own = image(dir.path());
    let s = start(&config(own.path())).unwrap();
    assert_eq!((s.report.base, s.report.passed_over.len()), (Base::Mirror { zxid: Zxid(100) }, 0));
    // Another history, with an error at the same zxid.
    let v = version(dir.path());
    truncate(&v, Zxid(90), Zxid(0)).unwrap();
    let mut tree = tree_after(&entries[..90]);
    let mut others = Writes::after(98, Zxid(90)).run(&mut tree, 9);
    others.push(entries[last].clone());
    tree.apply(&entries[last], &mut Effects::default());
    let mut writer = LogWriter::new(&v, Zxid(90), config(dir.path()).log);
    for e in &others {
        let mut payload = Vec::new();
        e.encode(&mut payload);
        writer.append(e.header.zxid, &payload).unwrap();
    }
    writer.sync().unwrap();
    starts_as(dir.path(), &tree);
}

/// Java writes a snapshot after a TRUNC, before it takes anything new.
#[test]
fn a_log_cut_behind_the_mirror_and_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries(54);
    mirrored(dir.path(), &entries);
    truncate(&version(dir.path()), Zxid(90), Zxid(0)).unwrap();
    // Without the snapshot it looks like the end of a log that a power cut took.
    let cut = image(dir.path());
    assert_eq!(contents(&start(&config(cut.path())).unwrap().tree), contents(&tree_after(&entries)));
    let tree = tree_after(&entries[..90]);
    write_tree(&tree, &version(dir.path()), Compression::None, &mut |_| {}).unwrap();
    for way in ways(dir.path()) {
        let s = start(&way).unwrap();
        assert_eq!(contents(&s.tree), contents(&tree));
    }
}

/// What a restored backup looks like beside a mirror that was left there.
#[test]
fn a_mirror_beside_older_files() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries(55);
    mirrored(dir.path(), &entries);
    let v = version(dir.path());
    write_tree(&tree_after(&entries[..95]), &v, Compression::None, &mut |_| {}).unwrap();
    truncate(&v, Zxid(93), Zxid(0)).unwrap();
    let s = start(&config(dir.path())).unwrap();
    assert_eq!(contents(&s.tree), contents(&tree_after(&entries[..95])));
}

/// Nothing speaks against the mirror of a directory that had no other owner.
#[test]
fn an_own_mirror_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = start(&config(dir.path())).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let mut epoch = 0;
    for round in 0..12 {
        let entries = if round % 3 == 2 {
            epoch += 1;
            Writes::after(60 + round, Zxid(epoch << 32)).run(&mut model, 9)
        } else {
            Writes::after(60 + round, model.last_zxid()).run(&mut model, 9)
        };
        append(&mut s, &entries);
        commit(&mut s, &entries);
        match round % 4 {
            0 => s.writer.roll().unwrap(),
            1 => drop(purge(&config(dir.path()), &s.mirror.reader(), 3, Compression::None, &mut |_| {})),
            _ => {}
        }
        s.mirror.flush().unwrap();
        let copy = image(dir.path());
        for way in ways(copy.path()) {
            let s = start(&way).unwrap();
            let base = Base::Mirror { zxid: model.last_zxid() };
            assert_eq!(s.report.base, base, "round {round}: {:?}", s.report.passed_over);
            assert_eq!(contents(&s.tree), contents(&model), "round {round}");
        }
        if round % 5 == 4 {
            drop(s);
            s = start(&config(dir.path())).unwrap();
        }
    }
}
