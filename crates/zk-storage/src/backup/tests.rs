use std::fs;
use std::path::Path;

use zk_proto::Zxid;
use zk_proto::txn::LogEntry;

use super::*;
use crate::config::StorageConfig;
use crate::mirror::Mirror;
use crate::recovery::{Recovered, recover};
use crate::testing::{Writes, contents, tree_after};

fn config(dir: &Path) -> StorageConfig {
    let mut c = StorageConfig::new(dir);
    c.log.preallocate = 4096;
    c.log.roll_bytes = 16 << 10;
    c
}

/// Transactions, each durable, applied and mirrored, as a server does it.
fn serve(server: &mut Recovered, entries: &[LogEntry]) {
    let mut effects = zk_tree::Effects::default();
    for e in entries {
        let mut payload = Vec::new();
        e.encode(&mut payload);
        server.writer.append(e.header.zxid, &payload).unwrap();
        server.writer.sync().unwrap();
        server.tree.apply(e, &mut effects);
        server.mirror.write(&[Mirror::encode_batch(&server.tree, &effects.touched)]).unwrap();
        effects.clear();
    }
}

fn take(source: &StorageConfig, dir: &Path, full: bool) -> Result<BackupDone> {
    backup(source, dir, full, &mut |_| {})
}

fn restored(dir: &Path, point: Point) -> Result<(Restored, Vec<String>)> {
    let target = tempfile::tempdir().unwrap();
    let config = StorageConfig::new(target.path());
    let done = restore(dir, &config, point, &mut |_| {})?;
    let started = recover(&config, &mut |_| {})?;
    assert_eq!(started.last_zxid, done.zxid);
    assert_eq!(started.report.digest_mismatches, 0);
    Ok((done, contents(&started.tree)))
}

#[test]
fn every_state_comes_back_from_a_running_server() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = config(data.path());
    let dir = out.path().join("backup");
    let mut server = recover(&source, &mut |_| {}).unwrap();
    let mut tree = tree_after(&[]);
    let mut writes = Writes::new(3);
    let mut all = Vec::new();
    for round in 0..4 {
        let entries = writes.run(&mut tree, 60);
        serve(&mut server, &entries);
        all.extend(entries);
        if round == 1 {
            server.mirror.flush().unwrap();
        }
        let done = take(&source, &dir, round == 2).unwrap();
        assert_eq!(done.newest.to, Zxid(60 * (round + 1)));
        assert_eq!(done.snapshot.is_some(), round == 0 || round == 2, "round {round}");
        verify_backup(&dir, &mut |_| {}).unwrap();
    }
    let ranges = read_backup(&dir).unwrap().ranges();
    assert_eq!(
        ranges.iter().map(|r| (r.base, r.to)).collect::<Vec<_>>(),
        [(Zxid(0), Zxid(240)), (Zxid(120), Zxid(240))]
    );
    for zxid in [1, 17, 60, 61, 119, 120, 121, 200, 240] {
        // Ephemerals of sessions that are not open go at the start.
        let mut expected = tree_after(&all[..zxid]);
        crate::recovery::drop_orphans(&mut expected);
        let (done, found) = restored(&dir, Point::Zxid(Zxid(zxid as i64))).unwrap();
        assert_eq!(found, contents(&expected), "zxid {zxid}");
        assert_eq!(done.replayed, zxid as u64 - if zxid < 120 { 0 } else { 120 });
    }
    let at = all[99].header.time;
    assert_eq!(restored(&dir, Point::Time(at)).unwrap().0.zxid, Zxid(100));
    assert_eq!(restored(&dir, Point::Latest).unwrap().0.zxid, Zxid(240));
    for (point, says) in [
        (Point::Zxid(Zxid(241)), "does not reach 0xf1; available: 0x0 to 0xf0, 0x78 to 0xf0"),
        (Point::Time(all[0].header.time - 1), "begins later; available: "),
    ] {
        let e = restored(&dir, point).unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    }
}

#[test]
fn only_what_is_new_is_copied() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = config(data.path());
    let mut server = recover(&source, &mut |_| {}).unwrap();
    let mut tree = tree_after(&[]);
    let mut writes = Writes::new(5);
    serve(&mut server, &writes.run(&mut tree, 300));
    let first = take(&source, out.path(), false).unwrap();
    assert!(first.logs > 1, "{first:?}");
    let nothing = take(&source, out.path(), false).unwrap();
    assert_eq!((nothing.logs, nothing.bytes, nothing.snapshot), (0, 0, None));
    serve(&mut server, &writes.run(&mut tree, 1));
    let one = take(&source, out.path(), false).unwrap();
    assert_eq!((one.logs, one.snapshot), (1, None));
    assert!(one.bytes < 10_000);
}

#[test]
fn a_purge_between_two_runs_makes_a_new_beginning() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = config(data.path());
    let mut server = recover(&source, &mut |_| {}).unwrap();
    let mut tree = tree_after(&[]);
    let mut writes = Writes::new(7);
    serve(&mut server, &writes.run(&mut tree, 100));
    take(&source, out.path(), false).unwrap();
    for _ in 0..4 {
        serve(&mut server, &writes.run(&mut tree, 200));
        crate::retention::purge(&source, &server.mirror.reader(), 3, Default::default(), &mut |_| {})
            .unwrap();
    }
    server.mirror.flush().unwrap();
    serve(&mut server, &writes.run(&mut tree, 10));
    let done = take(&source, out.path(), false).unwrap();
    assert_eq!((done.newest.base, done.newest.to), (Zxid(900), Zxid(910)));
    assert!(restored(out.path(), Point::Zxid(Zxid(90))).is_ok());
    assert!(restored(out.path(), Point::Zxid(Zxid(905))).is_ok());
    let between = restored(out.path(), Point::Zxid(Zxid(150))).unwrap_err().to_string();
    assert!(between.contains("available: 0x0 to"), "{between}");
}

#[test]
fn damage_and_another_history_are_refused() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = config(data.path());
    let dir = out.path().join("b");
    let mut server = recover(&source, &mut |_| {}).unwrap();
    let mut tree = tree_after(&[]);
    serve(&mut server, &Writes::new(9).run(&mut tree, 50));
    drop(server);
    take(&source, &dir, false).unwrap();

    // A server that cut its log.
    let log = crate::log::find_logs(&source.log_version_dir()).unwrap().pop().unwrap().1;
    let bytes = fs::read(&log).unwrap();
    crate::log::truncate(&source.log_version_dir(), Zxid(45), Zxid(0)).unwrap();
    let e = take(&source, &dir, false).unwrap_err().to_string();
    assert!(e.contains("begin a new backup in a new directory"), "{e}");

    // A flipped bit in the source, with sound records behind it.
    let mut flipped = bytes.clone();
    flipped[200] ^= 1;
    fs::write(&log, &flipped).unwrap();
    assert!(matches!(take(&source, &out.path().join("c"), false), Err(StorageError::LogCorrupt { .. })));

    // A flipped bit in the backup.
    let copy = version_dir(&dir).join(log.file_name().unwrap());
    let mut flipped = fs::read(&copy).unwrap();
    flipped[200] ^= 1;
    fs::write(&copy, flipped).unwrap();
    let e = verify_backup(&dir, &mut |_| {}).unwrap_err().to_string();
    assert!(e.contains("its checksum is"), "{e}");
    assert!(restored(&dir, Point::Latest).is_err());
    let manifest = fs::read_to_string(dir.join("MANIFEST")).unwrap();
    fs::write(dir.join("MANIFEST"), manifest.replace("0x32", "0x33")).unwrap();
    assert!(read_backup(&dir).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn directories_that_hold_something_are_refused() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = config(data.path());
    drop(recover(&source, &mut |_| {}).unwrap());
    fs::write(out.path().join("letter"), "x").unwrap();
    assert!(take(&source, out.path(), false).unwrap_err().to_string().contains("not empty"));
    let dir = out.path().join("b");
    take(&source, &dir, false).unwrap();
    assert!(matches!(restore(&dir, &source, Point::Latest, &mut |_| {}), Err(StorageError::NotEmpty { .. })));
}

/// Each disk call of a run fails in turn: what was a backup before still is one.
#[test]
fn a_run_that_fails_leaves_the_backup_as_it_was() {
    use crate::fault::{Kind, with_plan};
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = config(data.path());
    let mut server = recover(&source, &mut |_| {}).unwrap();
    let mut tree = tree_after(&[]);
    let mut writes = Writes::new(11);
    serve(&mut server, &writes.run(&mut tree, 20));
    let dir = out.path().join("b");
    take(&source, &dir, false).unwrap();
    let mut failed = 0;
    for k in 1.. {
        serve(&mut server, &writes.run(&mut tree, 3));
        let before = read_backup(&dir).unwrap();
        let done = with_plan(k, Kind::Eio, || take(&source, &dir, true));
        match done.0 {
            Ok(_) => break,
            Err(_) => {
                failed += 1;
                let after = verify_backup(&dir, &mut |_| {}).unwrap();
                assert!(after == before || after.last_logged() == Some(tree.last_zxid()), "call {k}");
            }
        }
    }
    assert!(failed > 5, "{failed}");
    assert_eq!(restored(&dir, Point::Latest).unwrap().0.zxid, tree.last_zxid());
}
