use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zk_proto::Zxid;

use super::hole::MAX_BATCH;
use super::tests::{payload, read, records, small, up_to, write};
use super::*;
use crate::fault::{Kind, with_plan};

/// One synced batch, 1 to `synced`, and one that was not, up to `end`.
fn two_batches(dir: &Path, synced: i64, end: i64, size: usize) -> Vec<LogRecord> {
    let mut w = LogWriter::new(dir, Zxid(0), small());
    for z in 1..=end {
        w.append(Zxid(z), &payload(z, size)).unwrap();
        if z == synced || z == end {
            w.sync().unwrap();
        }
    }
    remember_boot(dir, Some("a\n")).unwrap();
    records(dir)
}

fn zero(dir: &Path, file: &str, from: u64, to: u64) {
    let f = fs::OpenOptions::new().write(true).open(dir.join(file)).unwrap();
    f.write_all_at(&vec![0; (to - from) as usize], from).unwrap();
}

fn sector_after(offset: u64) -> u64 {
    offset.next_multiple_of(512)
}

#[test]
fn a_hole_of_a_power_cut_is_cut_away() {
    for size in [0, 700, 3000] {
        let dir = tempfile::tempdir().unwrap();
        let all = two_batches(dir.path(), 10, 100, size);
        let whole = fs::read(dir.path().join("log.1")).unwrap();
        let (first, end) = (all[10].offset, all[99].end);
        for sector in (sector_after(first)..end - 2048).step_by(512 * (1 + size / 60)) {
            fs::write(dir.path().join("log.1"), &whole).unwrap();
            zero(dir.path(), "log.1", sector, sector + 512);
            assert!(matches!(read(dir.path()), Err(StorageError::LogCorrupt { .. })), "{size} {sector}");
            let mended = mend(dir.path(), Some("b")).unwrap().unwrap();
            let kept = all.iter().take_while(|r| r.end <= sector).count() as i64;
            assert_eq!(mended.last, Some(Zxid(kept)));
            assert_eq!((mended.offset, mended.bytes), (all[kept as usize].offset, end - mended.offset));
            let behind = all.iter().filter(|r| r.offset >= sector + 512).count() as u64;
            assert_eq!(mended.records, behind, "{size} {sector}");
            assert_eq!(read(dir.path()).unwrap(), up_to(kept));
            assert_eq!(fs::metadata(dir.path().join("log.1")).unwrap().len(), mended.offset);
            assert_eq!(mend(dir.path(), Some("b")).unwrap(), None);
        }
    }
}

#[test]
fn a_longer_hole_and_several_holes() {
    let dir = tempfile::tempdir().unwrap();
    let all = two_batches(dir.path(), 10, 90, 300);
    let from = sector_after(all[10].offset);
    zero(dir.path(), "log.1", all[10].offset, from + 2048);
    zero(dir.path(), "log.1", from + 4096, from + 5120);
    let mended = mend(dir.path(), Some("b")).unwrap().unwrap();
    assert_eq!((mended.offset, mended.last), (all[10].offset, Some(Zxid(10))));
    assert_eq!(read(dir.path()).unwrap(), up_to(10));
    // The next run goes on.
    write(dir.path(), 11..=12, 0);
    assert_eq!(read(dir.path()).unwrap(), up_to(12));
}

#[test]
fn a_file_whose_first_sector_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=3, 0);
    write(dir.path(), 4..=40, 0);
    remember_boot(dir.path(), Some("a")).unwrap();
    zero(dir.path(), "log.4", 0, 512);
    assert!(matches!(read(dir.path()), Err(StorageError::LogHeader { .. })));
    let mended = mend(dir.path(), Some("b")).unwrap().unwrap();
    assert_eq!((mended.offset, mended.last), (0, None));
    assert_eq!(read(dir.path()).unwrap(), up_to(3));
    assert!(!dir.path().join("log.4").exists());
}

/// Each condition alone is not enough.
#[test]
fn everything_else_is_refused() {
    let holed = || {
        let dir = tempfile::tempdir().unwrap();
        let all = two_batches(dir.path(), 10, 60, 300);
        let from = sector_after(all[10].offset);
        zero(dir.path(), "log.1", from, from + 512);
        (dir, all)
    };
    let refused = |dir: &Path, boot: Option<&str>, what: &str| {
        let before = fs::read(dir.join("log.1")).unwrap();
        assert_eq!(mend(dir, boot).unwrap(), None, "{what}");
        assert!(fs::read(dir.join("log.1")).unwrap() == before, "{what}");
        assert!(matches!(read(dir), Err(StorageError::LogCorrupt { .. })), "{what}");
    };
    let (dir, _) = holed();
    refused(dir.path(), Some("a"), "the machine was not restarted");
    refused(dir.path(), None, "nobody knows whether it was");
    refused(dir.path(), Some(" \n"), "nor here");
    fs::remove_file(dir.path().join("zkd.boot")).unwrap();
    refused(dir.path(), Some("b"), "nor what it was before");

    let (dir, _) = holed();
    write(dir.path(), 61..=62, 0);
    refused(dir.path(), Some("b"), "not the last file");

    // Less than a sector of zeros, or something else than zeros.
    for (n, fill) in [(500, 0), (512, 0xff), (512, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let all = two_batches(dir.path(), 10, 60, 1300);
        let from = sector_after(all[10].offset);
        let f = fs::OpenOptions::new().write(true).open(dir.path().join("log.1")).unwrap();
        f.write_all_at(&vec![fill; n], from).unwrap();
        refused(dir.path(), Some("b"), "no whole sector of zeros");
    }
    // A flipped bit in front of a hole.
    let (dir, all) = holed();
    let f = fs::OpenOptions::new().write(true).open(dir.path().join("log.1")).unwrap();
    f.write_all_at(&[0x55], all[4].offset + 20).unwrap();
    refused(dir.path(), Some("b"), "the first damage is another");
}

#[test]
fn more_than_a_batch_behind_the_hole_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = LogWriter::new(dir.path(), Zxid(0), small());
    for z in 1..=10 {
        w.append(Zxid(z), &payload(z, 1 << 20)).unwrap();
        w.sync().unwrap();
    }
    remember_boot(dir.path(), Some("a")).unwrap();
    let all = records(dir.path());
    let whole = fs::read(dir.path().join("log.1")).unwrap();
    for (record, fine) in [(0, false), (1, false), (2, false), (3, true), (8, true)] {
        fs::write(dir.path().join("log.1"), &whole).unwrap();
        let from = sector_after(all[record].offset);
        zero(dir.path(), "log.1", from, from + 512);
        assert_eq!(all[9].end - all[record].offset <= MAX_BATCH as u64, fine);
        assert_eq!(mend(dir.path(), Some("b")).unwrap().is_some(), fine, "{record}");
    }
}

#[test]
fn a_batch_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = LogWriter::new(dir.path(), Zxid(0), LogOptions { force_sync: false, ..small() });
    for z in 1..=20 {
        w.append(Zxid(z), &payload(z, 1 << 20)).unwrap();
        assert!(w.pending_bytes() <= MAX_BATCH);
    }
    assert_eq!(w.synced(), Zxid(14));
    // One that is longer is a batch of its own.
    w.append(Zxid(21), &payload(21, MAX_BATCH + 1)).unwrap();
    assert_eq!(w.synced(), Zxid(20));
    w.append(Zxid(22), &payload(22, 0)).unwrap();
    assert_eq!(w.synced(), Zxid(21));
    w.sync().unwrap();
    assert_eq!(read(dir.path()).unwrap(), up_to(22));
}

/// The power goes at each call, and of what was not synced a sector is lost.
#[test]
fn a_power_cut_at_any_call_is_mended() {
    let scenario = |dir: &Path| -> (Zxid, Result<()>) {
        let mut w = LogWriter::new(dir, Zxid(0), LogOptions { roll_bytes: 9000, ..small() });
        let mut run = || -> Result<()> {
            for z in 1..=120 {
                w.append(Zxid(z), &payload(z, if z % 3 == 0 { 400 } else { 0 }))?;
                if z % 12 == 0 {
                    w.sync()?;
                }
            }
            Ok(())
        };
        let out = run();
        (w.synced(), out)
    };
    let calls = with_plan(0, Kind::Eio, || scenario(tempfile::tempdir().unwrap().path())).1;
    let mut holes = 0;
    for k in 1..=calls {
        let dir = tempfile::tempdir().unwrap();
        remember_boot(dir.path(), Some("a")).unwrap();
        let ((acknowledged, out), _) = with_plan(k, Kind::PowerCutHole, || scenario(dir.path()));
        assert!(out.is_err());
        let refused = read(dir.path()).is_err();
        let mended = mend(dir.path(), Some("b")).unwrap();
        assert_eq!(refused, mended.is_some(), "at {k}");
        holes += u64::from(refused);
        let there = read(dir.path()).unwrap_or_else(|e| panic!("at {k}: {e}"));
        let last = there.last().copied().unwrap_or(0);
        assert_eq!(there, up_to(last), "at {k}");
        assert!(last >= acknowledged.0, "at {k}: {acknowledged} acknowledged, {last} there");
        write(dir.path(), last + 1..=last + 2, 0);
        assert_eq!(read(dir.path()).unwrap(), up_to(last + 2), "at {k}");
    }
    assert!(holes > 5, "{holes}");
}
