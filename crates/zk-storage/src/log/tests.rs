use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use zk_proto::txn::{LogEntry, Txn, TxnDigest, TxnHeader};
use zk_proto::{OpCode, SessionId, Xid};

use super::*;
use crate::fault::{Kind, with_plan};
use crate::names;
use crate::testing::vector;

/// A create-session transaction, or a setData with `size` bytes.
pub(super) fn payload(zxid: i64, size: usize) -> Vec<u8> {
    let (op, txn) = match size {
        0 => (OpCode::CreateSession, Txn::CreateSession { timeout: 6000 }),
        n => {
            let data = Some(vec![zxid as u8 | 1; n].into());
            (OpCode::SetData, Txn::SetData { path: "/a".into(), data, version: 1 })
        }
    };
    let header =
        TxnHeader { session: SessionId(5), cxid: Xid(1), zxid: Zxid(zxid), time: 1_795_231_137_448, op };
    let mut out = Vec::new();
    LogEntry { header, txn, digest: Some(TxnDigest { version: 2, tree: 7 }) }.encode(&mut out);
    out
}

pub(super) fn small() -> LogOptions {
    LogOptions { preallocate: 4096, ..LogOptions::default() }
}

pub(super) fn write(dir: &Path, zxids: std::ops::RangeInclusive<i64>, size: usize) {
    let mut w = LogWriter::new(dir, Zxid(zxids.start() - 1), small());
    for z in zxids {
        w.append(Zxid(z), &payload(z, size)).unwrap();
        w.sync().unwrap();
    }
}

pub(super) fn read(dir: &Path) -> Result<Vec<i64>> {
    read_after(dir, 0)
}

fn read_after(dir: &Path, after: i64) -> Result<Vec<i64>> {
    LogReader::after(dir, Zxid(after), Some(Zxid(after)))?.map(|r| r.map(|r| r.zxid.0)).collect()
}

pub(super) fn records(dir: &Path) -> Vec<LogRecord> {
    LogReader::after(dir, Zxid(0), None).unwrap().collect::<Result<_>>().unwrap()
}

pub(super) fn up_to(n: i64) -> Vec<i64> {
    (1..=n).collect()
}

fn flip(path: &Path, offset: u64, bit: u8) {
    let f = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut b = [0];
    f.read_exact_at(&mut b, offset).unwrap();
    f.write_all_at(&[b[0] ^ (1 << bit)], offset).unwrap();
}

/// A directory with one file of the captured log.
fn captured(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name.strip_suffix(".bin").unwrap());
    fs::write(&path, vector(name)).unwrap();
    (dir, path)
}

#[test]
fn a_captured_log_comes_back_to_the_byte() {
    for (name, entries) in [("log.100000001.bin", 50), ("log.100000022.bin", 4)] {
        let (dir, path) = captured(name);
        let records = records(dir.path());
        assert_eq!(records.len(), entries);
        let out = tempfile::tempdir().unwrap();
        let mut w = LogWriter::new(out.path(), Zxid(records[0].zxid.0 - 1), small());
        for r in &records {
            r.decode().unwrap();
            w.append(r.zxid, &r.payload).unwrap();
            w.sync().unwrap();
        }
        let ours = out.path().join(path.file_name().unwrap());
        assert!(fs::read(ours).unwrap() == vector(name), "{name}");
    }
}

#[test]
fn a_log_that_java_cut_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log.200000001"), vector("log.200000001.after-trunc.bin")).unwrap();
    let last = records(dir.path()).pop().unwrap();
    assert_eq!((last.zxid, last.end), (Zxid(0x2_0000_0005), 369));
    // And ours cuts at the same place.
    fs::write(dir.path().join("log.200000001"), vector("log.200000001.before-trunc.bin")).unwrap();
    truncate(dir.path(), Zxid(0x2_0000_0005), Zxid(0x2_0000_0000)).unwrap();
    let cut = fs::read(dir.path().join("log.200000001")).unwrap();
    assert!(cut == vector("log.200000001.after-trunc.bin"));
}

#[test]
fn truncation_removes_later_files_and_needs_the_zxid() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=3, 0);
    write(dir.path(), 4..=6, 0);
    write(dir.path(), 7..=8, 0);
    truncate(dir.path(), Zxid(3), Zxid(0)).unwrap();
    assert_eq!(read(dir.path()).unwrap(), up_to(3));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    truncate(dir.path(), Zxid(9), Zxid(0)).unwrap();
    assert_eq!(read(dir.path()).unwrap(), up_to(3));
}

#[test]
fn many_entries_of_one_sync_are_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let (_, calls) = with_plan(0, Kind::Eio, || {
        let mut w = LogWriter::new(dir.path(), Zxid(0), LogOptions::default());
        for z in 1..=1000 {
            w.append(Zxid(z), &payload(z, 200)).unwrap();
        }
        assert_eq!(w.synced(), Zxid(0));
        assert_eq!(w.sync().unwrap(), Zxid(1000));
    });
    // create, set_len, write, sync, sync of the directory
    assert_eq!(calls, 5);
    assert_eq!(read(dir.path()).unwrap(), up_to(1000));
    let len = fs::metadata(dir.path().join("log.1")).unwrap().len();
    assert_eq!(len, 16 + (64 << 20));
}

/// A small batch finds zeros that were written before it, a large one does not write twice what it brings.
#[test]
fn zeros_stand_before_small_batches_only() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let mut w = LogWriter::new(dir.path(), Zxid(0), LogOptions::default());
    let on_disk = || fs::metadata(dir.path().join("log.1")).unwrap().blocks() * 512;
    let (mut written, mut sizes) = (0, Vec::new());
    for (z, size) in (1..).zip([300_000, 100, 300_000, 100, 100, 2_000_000]) {
        w.append(Zxid(z), &payload(z, size)).unwrap();
        w.sync().unwrap();
        written += size as u64;
        sizes.push(on_disk());
        assert!(sizes.last() >= Some(&written));
    }
    // The file system may have a few blocks of its own.
    let near = |blocks: u64, bytes: u64| (bytes..bytes + (64 << 10)).contains(&blocks);
    let mib = 1 << 20;
    let due = [300_000, mib, mib, mib, mib, 2_600_300];
    assert!(sizes.iter().zip(due).all(|(is, due)| near(*is, due)), "{sizes:?} instead of {due:?}");
    assert_eq!(read(dir.path()).unwrap(), up_to(6));
}

#[test]
fn padding_is_that_of_java() {
    // ref: FilePadding.calculateFileSizeWithPadding
    for (position, size, prealloc, want) in [
        (16, 16, 4096, 4112),
        (77, 4112, 4096, 8208),
        (181, 8208, 4096, 8208),
        (9000, 8208, 4096, 12288),
        (16, 16, 0, 16),
    ] {
        assert_eq!(super::writer::padded(position, size, prealloc), want);
    }
}

#[test]
fn a_roll_begins_a_file_and_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = LogWriter::new(dir.path(), Zxid(0), LogOptions { roll_bytes: 500, ..small() });
    for z in 1..=20 {
        w.append(Zxid(z), &payload(z, 0)).unwrap();
        w.sync().unwrap();
    }
    w.roll().unwrap();
    drop(w);
    write(dir.path(), 21..=22, 0);
    assert_eq!(read(dir.path()).unwrap(), up_to(22));
    let files = names::list(dir.path(), names::LOG).unwrap();
    assert_eq!(files.iter().map(|(z, _)| z.0).collect::<Vec<_>>(), [1, 9, 17, 21]);
    assert_eq!(read_after(dir.path(), 18).unwrap(), [19, 20, 21, 22]);
}

#[test]
fn an_append_out_of_order_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = LogWriter::new(dir.path(), Zxid(5), small());
    for bad in [4, 5, 7, 0x1_0000_0002] {
        assert!(matches!(w.append(Zxid(bad), b""), Err(StorageError::AppendOrder { .. })), "{bad}");
    }
    w.append(Zxid(6), &payload(6, 0)).unwrap();
    w.append(Zxid(0x1_0000_0001), &payload(0x1_0000_0001, 0)).unwrap();
    w.sync().unwrap();
    assert_eq!(read_after(dir.path(), 5).unwrap(), [6, 0x1_0000_0001]);
}

/// R10: cut at every byte of the last two entries, by length and by zeros.
#[test]
fn a_torn_tail_at_every_byte_keeps_the_prefix() {
    for size in [0, 1500] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1..=4, size);
        let path = dir.path().join("log.1");
        let whole = fs::read(&path).unwrap();
        let all = records(dir.path());
        let (from, end) = (all[2].offset as usize, all[3].end as usize);
        for at in from..end {
            let kept = if at < all[3].offset as usize { 2 } else { 3 };
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(dir.path()).unwrap(), up_to(kept), "cut at {at}");
            let mut zeroed = whole.clone();
            zeroed[at..].fill(0);
            fs::write(&path, &zeroed).unwrap();
            assert_eq!(read(dir.path()).unwrap(), up_to(kept), "zeros from {at}");
            // The next run begins a new file, even one of the same name.
            if at % 97 == 0 || at + 1 == end {
                write(dir.path(), kept + 1..=kept + 2, 0);
                assert_eq!(read(dir.path()).unwrap(), up_to(kept + 2), "after the cut at {at}");
                fs::remove_file(dir.path().join(format!("log.{}", kept + 1))).unwrap();
            }
        }
    }
}

#[test]
fn a_sector_that_never_reached_the_disk_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=3, 2000);
    let path = dir.path().join("log.1");
    let whole = fs::read(&path).unwrap();
    let last = records(dir.path()).pop().unwrap();
    for sector in last.offset / 512 + 1..last.end / 512 {
        let mut torn = whole.clone();
        torn[sector as usize * 512..][..512].fill(0);
        fs::write(&path, &torn).unwrap();
        assert_eq!(read(dir.path()).unwrap(), up_to(2), "sector {sector}");
    }
    // The same in an entry that others follow is damage.
    let mut torn = whole;
    torn[2560..3072].fill(0);
    fs::write(&path, &torn).unwrap();
    assert!(matches!(read(dir.path()), Err(StorageError::LogCorrupt { .. })));
}

/// R9: every bit of header, entries and the padding behind them.
#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=3, 0);
    let path = dir.path().join("log.1");
    let end = records(dir.path())[2].end;
    for offset in 0..end + 40 {
        for bit in 0..8 {
            flip(&path, offset, bit);
            match read(dir.path()) {
                Ok(zxids) => assert_eq!(zxids, up_to(3), "byte {offset} bit {bit}"),
                Err(StorageError::LogHeader { .. }) => assert!(offset < 4),
                Err(StorageError::LogCorrupt { offset: at, .. }) => assert!(at <= offset && offset < end),
                Err(e) => panic!("byte {offset} bit {bit}: {e}"),
            }
            flip(&path, offset, bit);
        }
    }
}

#[test]
fn damage_in_the_middle_names_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=9, 0);
    let bad = records(dir.path())[4].offset;
    flip(&dir.path().join("log.1"), bad + 20, 3);
    let text = read(dir.path()).unwrap_err().to_string();
    assert!(text.contains("log.1 is damaged at offset 260"), "{text}");
    assert!(text.contains("sound transaction 0x6 follows"), "{text}");
    assert!(text.contains("up to 0x4 are sound"), "{text}");
}

/// files.md 12, and what Java does not notice.
#[test]
fn odd_files() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=3, 0);
    let log = |n: &str| dir.path().join(n);
    // A zero-length or all-zero last file is what a crash leaves.
    fs::write(log("log.4"), b"").unwrap();
    assert_eq!(read(dir.path()).unwrap(), up_to(3));
    fs::write(log("log.4"), [0; 8208]).unwrap();
    assert_eq!(read(dir.path()).unwrap(), up_to(3));
    write(dir.path(), 4..=4, 0);
    assert_eq!(read(dir.path()).unwrap(), up_to(4));
    // Four bytes: Java exits.
    fs::write(log("log.5"), b"ZKLG").unwrap();
    assert!(matches!(read(dir.path()), Err(StorageError::LogHeader { .. })));
    fs::write(log("log.5"), b"garbage of some length").unwrap();
    assert!(matches!(read(dir.path()), Err(StorageError::LogHeader { .. })));
    fs::remove_file(log("log.5")).unwrap();
    // Empty in the middle: Java exits.
    let second = fs::read(log("log.4")).unwrap();
    fs::write(log("log.4"), b"").unwrap();
    write(dir.path(), 5..=5, 0);
    assert!(matches!(read(dir.path()), Err(StorageError::LogHeader { .. })));
    // Names that mean nothing.
    fs::write(log("log.4"), second).unwrap();
    for name in ["log", "log.", "log.zz", "log.tmp", "core", "snapshot.x"] {
        fs::write(log(name), b"x").unwrap();
    }
    fs::create_dir(log("log.7")).unwrap();
    assert_eq!(read(dir.path()).unwrap(), up_to(5));
    // A missing file: Java does not notice.
    fs::remove_file(log("log.4")).unwrap();
    let text = read(dir.path()).unwrap_err().to_string();
    assert!(text.contains("missing between 0x3 and 0x5"), "{text}");
}

#[test]
fn a_repeated_zxid_of_an_error_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=2, 0);
    let entry = |zxid| {
        let header =
            TxnHeader { session: SessionId(5), cxid: Xid(1), zxid: Zxid(zxid), time: 0, op: OpCode::Error };
        let mut p = Vec::new();
        LogEntry { header, txn: Txn::Error { err: -5 }, digest: None }.encode(&mut p);
        let mut e = i64::from(simd_adler32::adler32(&p.as_slice())).to_be_bytes().to_vec();
        e.extend((p.len() as i32).to_be_bytes());
        e.extend(p);
        e.push(END);
        e
    };
    let path = dir.path().join("log.1");
    let end = records(dir.path())[1].end;
    let f = fs::OpenOptions::new().write(true).open(&path).unwrap();
    f.write_all_at(&entry(2), end).unwrap();
    write(dir.path(), 3..=3, 0);
    assert_eq!(read(dir.path()).unwrap(), up_to(3));
    f.write_all_at(&entry(1), end).unwrap();
    assert!(matches!(read(dir.path()), Err(StorageError::Order { .. })));
}

#[test]
fn a_log_inside_of_data_is_not_taken_for_the_log() {
    let dir = tempfile::tempdir().unwrap();
    // Data that is itself an entry with a smaller zxid.
    let inner = tempfile::tempdir().unwrap();
    write(inner.path(), 1..=1, 0);
    let entry = fs::read(inner.path().join("log.1")).unwrap()[16..93].to_vec();
    let mut w = LogWriter::new(dir.path(), Zxid(0), small());
    w.append(Zxid(1), &payload(1, 0)).unwrap();
    let mut outer = payload(2, 0);
    outer.extend(entry);
    outer.extend([0; 600]);
    outer.extend([9; 600]);
    w.append(Zxid(2), &outer).unwrap();
    w.sync().unwrap();
    let path = dir.path().join("log.1");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..1300]).unwrap();
    assert_eq!(read(dir.path()).unwrap(), up_to(1));
}

/// R8: each call of a fixed scenario fails in turn. The writer says so and
/// takes nothing more; what it had acknowledged is there, nothing is half
/// there, and the next run goes on.
#[test]
fn every_call_may_fail() {
    let scenario = |dir: &Path| -> (Zxid, Result<()>) {
        let options = LogOptions { roll_bytes: 4000, ..small() };
        let mut w = LogWriter::new(dir, Zxid(0), options);
        let mut run = || -> Result<()> {
            for z in 1..=40 {
                w.append(Zxid(z), &payload(z, if z % 3 == 0 { 1500 } else { 0 }))?;
                if z % 2 == 0 {
                    w.sync()?;
                }
            }
            w.sync().map(|_| ())
        };
        let out = run();
        let acknowledged = w.synced();
        if out.is_err() {
            assert!(matches!(w.append(Zxid(99), b""), Err(StorageError::Poisoned { .. })));
            assert!(matches!(w.sync(), Err(StorageError::Poisoned { .. })));
            assert!(matches!(w.roll(), Err(StorageError::Poisoned { .. })));
            assert_eq!(w.synced(), acknowledged);
        }
        (acknowledged, out)
    };
    let calls = with_plan(0, Kind::Eio, || scenario(tempfile::tempdir().unwrap().path())).1;
    assert!(calls > 50, "{calls}");
    for kind in [Kind::Eio, Kind::Enospc, Kind::Short, Kind::Kill, Kind::PowerCut, Kind::PowerCutTorn] {
        for k in 1..=calls {
            let dir = tempfile::tempdir().unwrap();
            let ((acknowledged, out), _) = with_plan(k, kind, || scenario(dir.path()));
            assert!(out.is_err(), "{kind:?} at {k}");
            let there = read(dir.path()).unwrap_or_else(|e| panic!("{kind:?} at {k}: {e}"));
            let last = there.last().copied().unwrap_or(0);
            assert!(last >= acknowledged.0, "{kind:?} at {k}: {acknowledged} acknowledged, {last} there");
            assert_eq!(there, up_to(last));
            let mut w = LogWriter::new(dir.path(), Zxid(last), small());
            w.append(Zxid(last + 1), &payload(last + 1, 10)).unwrap();
            assert_eq!(w.sync().unwrap(), Zxid(last + 1));
            assert_eq!(read(dir.path()).unwrap(), up_to(last + 1), "{kind:?} at {k}");
        }
    }
}

#[test]
fn without_force_sync_nothing_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (_, calls) = with_plan(0, Kind::Eio, || {
        let mut w = LogWriter::new(dir.path(), Zxid(0), LogOptions { force_sync: false, ..small() });
        w.append(Zxid(1), &payload(1, 0)).unwrap();
        w.sync().unwrap();
    });
    assert_eq!(calls, 3); // create, set_len, write
    assert_eq!(read(dir.path()).unwrap(), [1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any damage gives an error or a prefix, never something else.
    #[test]
    fn any_file_is_read_without_panic(
        edits in proptest::collection::vec((0usize..900, any::<u8>()), 1..8),
        cut in 0usize..1200,
    ) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1..=10, 0);
        let path = dir.path().join("log.1");
        let mut bytes = fs::read(&path).unwrap();
        for (at, b) in edits {
            bytes[at] = b;
        }
        bytes.truncate(cut.max(1));
        fs::write(&path, bytes).unwrap();
        if let Ok(zxids) = read(dir.path()) {
            prop_assert_eq!(&zxids, &up_to(zxids.len() as i64));
        }
    }

    #[test]
    fn garbage_is_no_log(bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("log.1"), &bytes).unwrap();
        prop_assert!(read(dir.path()).is_err() || bytes.iter().all(|b| *b == 0));
        let mut with_head = HEADER.to_vec();
        with_head.extend(bytes);
        fs::write(dir.path().join("log.1"), &with_head).unwrap();
        prop_assert_eq!(read(dir.path()).unwrap_or_default(), Vec::<i64>::new());
    }
}
