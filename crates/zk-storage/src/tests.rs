//! Whole directories: made, adopted, damaged, cleaned, moved.

mod member;
mod other_server;
mod stream;

use std::fs;
use std::path::{Path, PathBuf};

use zk_proto::txn::LogEntry;
use zk_proto::{SessionId, Zxid};
use zk_tree::{Effects, Tree, TreeOptions};

use crate::fault::{Kind, with_plan};
use crate::log::truncate;
use crate::mirror::{self, Mirror};
use crate::names::{self, LOG, SNAPSHOT};
use crate::testing::{Writes, contents, image, tree_after, vector};
use crate::*;

fn start(config: &StorageConfig) -> Result<Recovered> {
    recover(config, &mut |_| {})
}

/// A small configuration: little padding, so that copies are quick.
fn config(dir: &Path) -> StorageConfig {
    let mut c = StorageConfig::new(dir);
    c.log.preallocate = 4096;
    c
}

fn append(s: &mut Recovered, entries: &[LogEntry]) {
    for e in entries {
        let mut payload = Vec::new();
        e.encode(&mut payload);
        s.writer.append(e.header.zxid, &payload).unwrap();
    }
    s.writer.sync().unwrap();
}

/// Applies them and writes them to the mirror in pieces.
fn commit(s: &mut Recovered, entries: &[LogEntry]) {
    for piece in entries.chunks(17) {
        let mut effects = Effects::default();
        for e in piece {
            s.tree.apply(e, &mut effects);
        }
        s.mirror.write(&[Mirror::encode_batch(&s.tree, &effects.touched)]).unwrap();
    }
}

fn version(dir: &Path) -> PathBuf {
    dir.join("version-2")
}

fn names_of(dir: &Path, prefix: &str) -> Vec<String> {
    let files = names::list(&version(dir), prefix).unwrap();
    files.iter().map(|(_, p)| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// A directory as Java left it.
fn java_dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(version(dir.path())).unwrap();
    for (name, from) in files {
        fs::write(version(dir.path()).join(name), vector(from)).unwrap();
    }
    dir
}

fn first_start() -> tempfile::TempDir {
    java_dir(&[("snapshot.0", "snapshot.0.bin"), ("log.100000001", "log.100000001.bin")])
}

fn extended(dir: &Path) -> StorageConfig {
    let mut c = config(dir);
    c.tree.extended_types = true;
    c
}

#[test]
fn an_empty_directory_becomes_an_empty_database() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b");
    let s = start(&config(&inner)).unwrap();
    assert_eq!(s.report.base, Base::Created);
    assert_eq!(contents(&s.tree), contents(&Tree::new(TreeOptions::default())));
    assert_eq!(names_of(&inner, SNAPSHOT), ["snapshot.0"]);
    assert_eq!(names_of(&inner, LOG), [""; 0]);
    assert!(matches!(start(&config(&inner)), Err(StorageError::Locked { .. })));
    drop(s);
    assert_eq!(start(&config(&inner)).unwrap().report.base, Base::Mirror { zxid: Zxid(0) });
}

#[test]
fn creating_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = config(&dir.path().join("data"));
    c.datadir_autocreate = false;
    assert!(matches!(start(&c), Err(StorageError::NoDirectory { .. })));
    c.datadir_autocreate = true;
    c.db_autocreate = false;
    assert!(matches!(start(&c), Err(StorageError::Empty { .. })));
    fs::write(c.data_dir.join("initialize"), b"").unwrap();
    start(&c).unwrap();
    assert!(!c.data_dir.join("initialize").exists());
    start(&c).unwrap();
}

#[test]
fn a_crash_at_any_moment_loses_nothing_that_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path());
    let mut s = start(&c).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let mut writes = Writes::new(11);
    for round in 0..12 {
        let entries = writes.run(&mut model, 40);
        append(&mut s, &entries);
        // The mirror lags, and is durable at other moments than the log.
        if round % 3 != 2 {
            commit(&mut s, &entries);
        } else {
            let crashed = image(dir.path());
            let back = start(&config(crashed.path())).unwrap();
            assert_eq!(contents(&back.tree), contents(&model), "round {round}");
            assert_eq!(back.report.digest_mismatches, 0);
            assert!(back.report.replayed >= 40);
            drop(s);
            s = start(&c).unwrap();
            assert_eq!(contents(&s.tree), contents(&model), "round {round}");
        }
        if round % 4 == 1 {
            s.mirror.flush().unwrap();
            let crashed = image(dir.path());
            let back = start(&config(crashed.path())).unwrap();
            assert_eq!(contents(&back.tree), contents(&model), "round {round}");
            // What is in the mirror equals the tree.
            let view = back.mirror.view().unwrap();
            assert_eq!(contents(&view.load(TreeOptions::default(), &mut |_| {}).unwrap()), contents(&model));
        }
    }
}

#[test]
fn a_java_directory_is_adopted_and_left_to_java() {
    let dir = first_start();
    fs::write(version(dir.path()).join("currentEpoch"), b"1").unwrap();
    let before = fs::read(version(dir.path()).join("log.100000001")).unwrap();
    let s = start(&extended(dir.path())).unwrap();
    assert_eq!((s.last_zxid, s.report.replayed), (Zxid(0x1_0000_0032), 50));
    assert_eq!(s.report.digest_mismatches, 0);
    assert_eq!(s.tree.digest(), 0x7_8f9c_f9eb);
    assert_eq!(s.tree.get("/a").unwrap().data(), Some(&b"mm"[..]));
    assert_eq!(s.tree.get("/a").unwrap().persisted().version, 2);
    drop(s);
    assert_eq!(fs::read(version(dir.path()).join("log.100000001")).unwrap(), before);
    assert_eq!(fs::read(version(dir.path()).join("currentEpoch")).unwrap(), b"1");
    assert_eq!(names_of(dir.path(), SNAPSHOT), ["snapshot.0"]);
    let s = start(&extended(dir.path())).unwrap();
    assert_eq!(s.report.base, Base::Mirror { zxid: Zxid(0x1_0000_0032) });
    assert_eq!(s.tree.digest(), 0x7_8f9c_f9eb);
}

#[test]
fn a_newer_snapshot_of_java_wins_over_the_mirror() {
    let dir = first_start();
    drop(start(&extended(dir.path())).unwrap());
    let v = version(dir.path());
    fs::write(v.join("snapshot.100000039.gz"), vector("snapshot.100000039.gz.bin")).unwrap();
    fs::write(v.join("log.200000001"), vector("log.200000001.before-trunc.bin")).unwrap();
    let s = start(&extended(dir.path())).unwrap();
    assert!(matches!(s.report.base, Base::Snapshot { zxid: Zxid(0x1_0000_0039), .. }), "{:?}", s.report);
    assert_eq!((s.last_zxid, s.report.replayed), (Zxid(0x2_0000_0006), 6));
    assert_eq!((s.tree.digest(), s.report.digest_mismatches), (0x8_d000_7737, 0));
}

#[test]
fn without_its_snapshot_a_log_needs_trust() {
    let dir = java_dir(&[("log.100000001", "log.100000001.bin")]);
    let mut c = extended(dir.path());
    assert!(matches!(start(&c), Err(StorageError::LogWithoutSnapshot { .. })));
    c.trust_empty = true;
    let s = start(&c).unwrap();
    assert_eq!((s.report.base, s.report.digest_mismatches), (Base::Trusted, 0));
    assert_eq!(s.tree.digest(), 0x7_8f9c_f9eb);
}

#[test]
fn what_was_there_must_be_reached() {
    // The newest snapshot is damaged and the log ends before it.
    let dir = first_start();
    let mut bad = vector("snapshot.100000039.bin");
    bad[700] ^= 1;
    fs::write(version(dir.path()).join("snapshot.100000039"), bad).unwrap();
    let e = start(&extended(dir.path())).unwrap_err();
    let text = e.to_string();
    assert!(matches!(e, StorageError::StateLost { .. }), "{text}");
    assert!(text.contains("up to 0x100000039") && text.contains("ends at 0x100000032"), "{text}");
}

#[test]
fn a_broken_mirror_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path());
    let mut s = start(&c).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let entries = Writes::new(12).run(&mut model, 300);
    append(&mut s, &entries);
    commit(&mut s, &entries);
    s.mirror.flush().unwrap();
    drop(s);
    for damage in ["CURRENT", "MANIFEST", "sst"] {
        let broken = image(dir.path());
        let files = fs::read_dir(Mirror::dir(&version(broken.path()))).unwrap();
        for path in files.map(|f| f.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with(damage) || name.ends_with(damage) {
                let mut bytes = fs::read(&path).unwrap();
                for b in &mut bytes {
                    *b ^= 0x55;
                }
                fs::write(&path, bytes).unwrap();
            }
        }
        let s = start(&config(broken.path())).unwrap();
        assert!(matches!(s.report.base, Base::Snapshot { .. }), "{damage}: {:?}", s.report);
        assert!(!s.report.passed_over.is_empty());
        assert_eq!(contents(&s.tree), contents(&model), "{damage}");
        drop(s);
        let s = start(&config(broken.path())).unwrap();
        assert!(matches!(s.report.base, Base::Mirror { .. }));
        assert_eq!(contents(&s.tree), contents(&model));
    }
    // With the log gone as well there is less than there was.
    let broken = image(dir.path());
    fs::remove_file(version(broken.path()).join("log.1")).unwrap();
    let s = start(&config(broken.path())).unwrap();
    assert_eq!(contents(&s.tree), contents(&model), "the mirror alone holds it all");
    assert_eq!(names_of(broken.path(), SNAPSHOT), ["snapshot.0", "snapshot.12c"], "for Java");
    drop(s);
    mirror::wipe(&version(broken.path())).unwrap();
    assert_eq!(contents(&start(&config(broken.path())).unwrap().tree), contents(&model));
}

#[test]
fn a_hole_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path());
    let mut s = start(&c).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let mut writes = Writes::new(13);
    for _ in 0..3 {
        append(&mut s, &writes.run(&mut model, 10));
        s.writer.roll().unwrap();
    }
    drop(s);
    assert_eq!(names_of(dir.path(), LOG), ["log.1", "log.b", "log.15"]);
    let holed = image(dir.path());
    fs::remove_file(version(holed.path()).join("log.b")).unwrap();
    let text = start(&config(holed.path())).unwrap_err().to_string();
    assert!(text.contains("missing between 0xa and 0x15"), "{text}");
    fs::remove_file(version(dir.path()).join("log.1")).unwrap();
    assert!(matches!(start(&c), Err(StorageError::Gap { last: Zxid(0), found: Zxid(0xb), .. })));
}

#[test]
fn a_torn_tail_and_a_blank_last_file() {
    // A power cut leaves zeros where a crash leaves nothing.
    for blank in [0, 9000] {
        let dir = tempfile::tempdir().unwrap();
        let c = config(dir.path());
        let mut s = start(&c).unwrap();
        let entries = Writes::new(14).run(&mut Tree::new(TreeOptions::default()), 20);
        append(&mut s, &entries);
        drop(s);
        let log = version(dir.path()).join("log.1");
        let mut behind = LogReader::after(&version(dir.path()), Zxid(18), None).unwrap();
        let end = behind.next().unwrap().unwrap().end;
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(end + 7).unwrap();
        fs::write(version(dir.path()).join("log.14"), vec![0; blank]).unwrap();
        let mut s = start(&c).unwrap();
        assert_eq!(s.last_zxid, Zxid(19));
        assert_eq!(s.report.tail.clone().unwrap().offset, end);
        assert_eq!(names_of(dir.path(), LOG), ["log.1"]);
        append(&mut s, &Writes::after(1, Zxid(19)).run(&mut tree_after(&entries[..19]), 5));
        drop(s);
        assert_eq!(start(&c).unwrap().last_zxid, Zxid(24));
    }
}

#[test]
fn files_in_the_wrong_directory() {
    let (data, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut c = config(data.path());
    c.log_dir = Some(log.path().to_owned());
    let mut s = start(&c).unwrap();
    append(&mut s, &Writes::new(1).run(&mut Tree::new(TreeOptions::default()), 5));
    assert!(matches!(start(&c), Err(StorageError::Locked { .. })));
    let mut other = config(tempfile::tempdir().unwrap().path());
    other.log_dir.clone_from(&c.log_dir);
    assert!(matches!(start(&other), Err(StorageError::Locked { .. })), "the log is shared");
    drop(s);
    assert_eq!(start(&c).unwrap().last_zxid, Zxid(5));
    for (dir, name) in [(&data, "log.6"), (&log, "snapshot.5"), (&log, "snapshot.x")] {
        let path = version(dir.path()).join(name);
        fs::write(&path, b"").unwrap();
        assert!(matches!(start(&c), Err(StorageError::WrongDirectory { .. })), "{name}");
        fs::remove_file(path).unwrap();
    }
    // One directory under two names is one directory.
    let link = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(data.path(), link.path().join("l")).unwrap();
    let mut c = config(&link.path().join("new"));
    c.log_dir = Some(c.data_dir.clone());
    start(&c).unwrap();
    start(&c).unwrap();
}

#[test]
fn ephemerals_of_unknown_sessions_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Writes::new(15);
    let mut tree = Tree::new(TreeOptions::default());
    let mut effects = Effects::default();
    // Java's fuzzy snapshots can lack the session of an ephemeral.
    let mut e = w.create("/e", 3);
    e.header.session = SessionId(77);
    let zk_proto::txn::Txn::Create(c) = &mut e.txn else { panic!() };
    c.ephemeral = true;
    for e in [e, w.create("/p", 3)] {
        tree.apply(&e, &mut effects);
    }
    fs::create_dir(version(dir.path())).unwrap();
    write_tree(&tree, &version(dir.path()), Compression::None, &mut |_| {}).unwrap();
    let mut keep = config(dir.path());
    keep.drop_orphans = false;
    assert!(start(&keep).unwrap().tree.get("/e").is_some());
    for _ in 0..2 {
        let s = start(&config(dir.path())).unwrap();
        assert!(s.tree.get("/e").is_none());
        assert!(s.tree.get("/p").is_some());
        assert_eq!(s.last_zxid, Zxid(2));
    }
}

#[test]
fn a_wrong_digest_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = start(&config(dir.path())).unwrap();
    let mut entries = Writes::new(16).run(&mut Tree::new(TreeOptions::default()), 30);
    entries[20].digest.as_mut().unwrap().tree ^= 1;
    append(&mut s, &entries);
    drop(s);
    assert_eq!(start(&config(dir.path())).unwrap().report.digest_mismatches, 1);
}

#[test]
fn a_record_that_is_no_transaction_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = start(&config(dir.path())).unwrap();
    let mut payload = Vec::new();
    Writes::new(1).create("/a", 3).encode(&mut payload);
    s.writer.append(Zxid(1), &payload[..40]).unwrap();
    s.writer.sync().unwrap();
    drop(s);
    let e = start(&config(dir.path())).unwrap_err();
    assert!(matches!(e, StorageError::LogRecord { offset: 16, .. }), "{e}");
}

#[test]
fn purge_keeps_what_java_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path());
    let mut s = start(&c).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let mut writes = Writes::new(17);
    let mut gone = Vec::new();
    for _ in 0..6 {
        let entries = writes.run(&mut model, 10);
        append(&mut s, &entries);
        commit(&mut s, &entries);
        s.writer.roll().unwrap();
        s.mirror.flush().unwrap();
        gone = purge(&c, &s.mirror.reader(), 1, Compression::None, &mut |_| {}).unwrap();
    }
    // Snapshots at 40, 50, 60. The log that begins before 40 stays.
    assert_eq!(names_of(dir.path(), SNAPSHOT), ["snapshot.28", "snapshot.32", "snapshot.3c"]);
    assert_eq!(names_of(dir.path(), LOG), ["log.1f", "log.29", "log.33"]);
    assert_eq!(gone.len(), 2);
    assert_eq!(
        purge(&c, &s.mirror.reader(), 3, Compression::None, &mut |_| {}).unwrap(),
        [""; 0].map(PathBuf::from)
    );
    drop(s);
    // Each kept snapshot is enough, with what is kept of the log.
    for keep in ["snapshot.28", "snapshot.32", "snapshot.3c", "mirror"] {
        let left = image(dir.path());
        for name in names_of(left.path(), SNAPSHOT).iter().filter(|n| *n != keep) {
            fs::remove_file(version(left.path()).join(name)).unwrap();
        }
        if keep != "mirror" {
            mirror::wipe(&version(left.path())).unwrap();
        }
        assert_eq!(contents(&start(&config(left.path())).unwrap().tree), contents(&model), "{keep}");
    }
}

#[test]
fn purge_does_nothing_without_a_sound_snapshot() {
    let dir = java_dir(&[("log.100000001", "log.100000001.bin")]);
    fs::write(version(dir.path()).join("snapshot.5"), b"broken").unwrap();
    assert!(purge_files(&config(dir.path()), 3).unwrap().is_empty());
}

#[test]
fn export_and_import_keep_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = start(&config(dir.path())).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let entries = Writes::new(18).run(&mut model, 200);
    append(&mut s, &entries);
    commit(&mut s, &entries[..100]);
    let out = tempfile::tempdir().unwrap();
    let busy = export(&config(dir.path()), out.path(), Compression::None, &mut |_| {});
    assert!(matches!(busy, Err(StorageError::Locked { .. })));
    drop(s);
    fs::write(dir.path().join("myid"), b"3\n").unwrap();
    write_epoch(&version(dir.path()), EpochFile::Current, zk_proto::Epoch(4)).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let out = tempfile::tempdir().unwrap();
        let path = export(&config(dir.path()), out.path(), compression, &mut |_| {}).unwrap();
        assert!(path.starts_with(version(out.path())));
        assert_eq!(fs::read(out.path().join("myid")).unwrap(), b"3\n");
        assert_eq!(read_epoch(&version(out.path()), EpochFile::Current).unwrap(), Some(zk_proto::Epoch(4)));
        let again = export(&config(dir.path()), out.path(), compression, &mut |_| {});
        assert!(matches!(again, Err(StorageError::NotEmpty { .. })));
        let new = tempfile::tempdir().unwrap();
        let source: Vec<_> = fs::read_dir(version(out.path())).unwrap().map(|e| e.unwrap().path()).collect();
        import(&config(out.path()), &config(new.path()), &mut |_| {}).unwrap();
        assert_eq!(source.len(), fs::read_dir(version(out.path())).unwrap().count(), "only read");
        let c = config(new.path());
        let s = start(&c).unwrap();
        assert!(matches!(s.report.base, Base::Mirror { .. }));
        assert_eq!(contents(&s.tree), contents(&model));
        assert!(matches!(import(&config(out.path()), &c, &mut |_| {}), Err(StorageError::NotEmpty { .. })));
    }
}

#[test]
fn a_log_cut_back_is_followed_by_the_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path());
    let mut s = start(&c).unwrap();
    let entries = Writes::new(19).run(&mut Tree::new(TreeOptions::default()), 30);
    append(&mut s, &entries);
    commit(&mut s, &entries[..10]);
    s.mirror.flush().unwrap();
    let crashed = image(dir.path());
    truncate(&version(crashed.path()), Zxid(20), Zxid(10)).unwrap();
    let back = start(&config(crashed.path())).unwrap();
    assert_eq!(contents(&back.tree), contents(&tree_after(&entries[..20])));
}

/// R8 for the whole start: each of our disk calls fails in turn. The next
/// start has everything.
#[test]
fn every_call_of_a_start_may_fail() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = start(&config(dir.path())).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let entries = Writes::new(20).run(&mut model, 60);
    append(&mut s, &entries);
    commit(&mut s, &entries[..30]);
    drop(s);
    // Behind the log: the start writes a snapshot. And a file left half done.
    let no_log = image(dir.path());
    fs::remove_file(version(no_log.path()).join("log.1")).unwrap();
    fs::write(version(no_log.path()).join("tmp.snapshot.5"), b"x").unwrap();
    let mirror_only = tree_after(&entries[..60]);
    drop(start(&config(dir.path())).unwrap());
    let cases = [
        (tempfile::tempdir().unwrap(), Tree::new(TreeOptions::default())),
        (image(dir.path()), model),
        (no_log, mirror_only),
    ];
    for (n, (case, _)) in cases.iter().enumerate() {
        let want = {
            let copy = image(case.path());
            contents(&start(&config(copy.path())).unwrap().tree)
        };
        for kind in [Kind::Eio, Kind::Short, Kind::Kill, Kind::PowerCut, Kind::PowerCutTorn] {
            for k in 1.. {
                let copy = image(case.path());
                let (out, calls) = with_plan(k, kind, || start(&config(copy.path())).map(drop));
                assert!(out.is_err() || k > calls, "case {n} {kind:?} at {k}");
                let back =
                    start(&config(copy.path())).unwrap_or_else(|e| panic!("case {n} {kind:?} at {k}: {e}"));
                assert_eq!(contents(&back.tree), want, "case {n} {kind:?} at {k}");
                if k > calls {
                    break;
                }
            }
        }
    }
}

#[test]
fn after_a_power_cut_a_hole_in_the_last_batch_is_cut_away() {
    let dir = tempfile::tempdir().unwrap();
    let boot = |boot: &str| StorageConfig { boot_id: Some(boot.to_owned()), ..config(dir.path()) };
    let mut s = start(&boot("one")).unwrap();
    let entries = Writes::new(21).run(&mut Tree::new(TreeOptions::default()), 200);
    append(&mut s, &entries[..20]);
    append(&mut s, &entries[20..]);
    drop(s);
    let log = version(dir.path()).join("log.1");
    let first = LogReader::after(&version(dir.path()), Zxid(20), None).unwrap().next().unwrap().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let sector = usize::try_from(first.offset).unwrap().next_multiple_of(512);
    bytes[sector..sector + 1024].fill(0);
    fs::write(&log, bytes).unwrap();
    for unknown in [boot("one"), config(dir.path())] {
        assert!(matches!(start(&unknown), Err(StorageError::LogCorrupt { .. })));
    }
    let s = start(&boot("two")).unwrap();
    let mended = s.report.mended.clone().unwrap();
    let kept = s.last_zxid.0;
    assert!((20..60).contains(&kept) && mended.records > 100, "{kept} {mended:?}");
    assert_eq!((mended.last, mended.path), (Some(Zxid(kept)), log));
    assert_eq!(contents(&s.tree), contents(&tree_after(&entries[..kept as usize])));
    drop(s);
    assert_eq!(fs::read(version(dir.path()).join("zkd.boot")).unwrap(), b"two");
    assert_eq!(start(&boot("two")).unwrap().report.mended, None);
}
