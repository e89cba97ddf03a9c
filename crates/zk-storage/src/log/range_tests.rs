use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI64, Ordering};

use zk_proto::Zxid;

use super::tests::{payload, small, write};
use super::*;

fn zxids(dir: &std::path::Path, after: i64, upto: i64) -> Result<Vec<i64>> {
    read_range(dir, Zxid(after), Zxid(upto))?.map(|r| r.map(|r| r.zxid.0)).collect()
}

fn find(dir: &std::path::Path, zxid: i64, upto: i64) -> (Option<i64>, Option<i64>, u64) {
    let p = find_in_log(dir, Zxid(zxid), Zxid(upto)).unwrap();
    (p.at_or_before.map(|z| z.0), p.next.map(|z| z.0), p.later_bytes)
}

#[test]
fn a_part_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=5, 0);
    write(dir.path(), 6..=9, 0);
    let epoch = 0x1_0000_0000;
    let mut w = LogWriter::new(dir.path(), Zxid(9), small());
    for z in [epoch + 1, epoch + 2, epoch + 3] {
        w.append(Zxid(z), &payload(z, 0)).unwrap();
    }
    w.sync().unwrap();
    assert_eq!(zxids(dir.path(), 0, 3).unwrap(), [1, 2, 3]);
    assert_eq!(zxids(dir.path(), 4, 8).unwrap(), [5, 6, 7, 8]);
    assert_eq!(zxids(dir.path(), 8, epoch + 2).unwrap(), [9, epoch + 1, epoch + 2]);
    assert_eq!(zxids(dir.path(), epoch, epoch + 1).unwrap(), [epoch + 1]);
    assert_eq!(zxids(dir.path(), 9, 9).unwrap(), [0; 0]);
    assert_eq!(zxids(dir.path(), epoch + 2, 9).unwrap(), [0; 0]);
    // What should be there and is not is an error, at the front and at the end.
    assert!(matches!(
        zxids(dir.path(), epoch + 3, epoch + 4),
        Err(StorageError::NotReached { reached: Zxid(r), .. }) if r == epoch + 3
    ));
    assert!(matches!(zxids(dir.path(), 11, epoch + 2), Err(StorageError::Gap { .. })));
    fs::remove_file(dir.path().join("log.1")).unwrap();
    assert!(matches!(zxids(dir.path(), 2, 8), Err(StorageError::Gap { .. })));
    fs::remove_file(dir.path().join("log.6")).unwrap();
    assert!(matches!(zxids(dir.path(), 2, 8), Err(StorageError::NotReached { .. })));
}

#[test]
fn where_a_zxid_stands() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(find(dir.path(), 5, 9), (None, None, 0));
    write(dir.path(), 3..=5, 0);
    write(dir.path(), 6..=9, 0);
    let len = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    assert_eq!(find(dir.path(), 2, 9), (None, Some(3), len("log.6")));
    assert_eq!(find(dir.path(), 3, 9), (Some(3), Some(4), len("log.6")));
    assert_eq!(find(dir.path(), 5, 9), (Some(5), Some(6), len("log.6")));
    assert_eq!(find(dir.path(), 6, 9), (Some(6), Some(7), 0));
    assert_eq!(find(dir.path(), 9, 9), (Some(9), None, 0));
    assert_eq!(find(dir.path(), 12, 9), (Some(9), None, 0));
    // What is not durable does not exist.
    assert_eq!(find(dir.path(), 7, 7), (Some(7), None, 0));
    assert_eq!(find(dir.path(), 8, 7), (Some(7), None, 0));
    // A file that was torn at its first record: the one before it counts.
    fs::write(dir.path().join("log.a"), &fs::read(dir.path().join("log.6")).unwrap()[..30]).unwrap();
    assert_eq!(find(dir.path(), 12, 9).0, Some(9));
    write(dir.path(), 10..=11, 0);
    assert_eq!(find(dir.path(), 10, 11), (Some(10), Some(11), 0));
}

#[test]
fn a_record_that_is_being_written_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=6, 0);
    let end = zxid_end(dir.path(), 4);
    let path = dir.path().join("log.1");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    // Half of the fifth has reached the file, the sixth stands behind it.
    file.write_all_at(&[0x77; 40], end).unwrap();
    assert_eq!(zxids(dir.path(), 1, 4).unwrap(), [2, 3, 4]);
    assert_eq!(find(dir.path(), 4, 4), (Some(4), None, 0));
    assert_eq!(find(dir.path(), 9, 4), (Some(4), None, 0));
    assert_eq!(find(dir.path(), 2, 4), (Some(2), Some(3), 0));
    // Below what is durable the same is damage.
    assert!(matches!(zxids(dir.path(), 1, 6), Err(StorageError::LogCorrupt { .. })));
}

fn zxid_end(dir: &std::path::Path, zxid: i64) -> u64 {
    let mut reader = LogReader::after(dir, Zxid(zxid - 1), None).unwrap();
    reader.next().unwrap().unwrap().end
}

#[test]
fn reading_beside_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (durable, looks) = (AtomicI64::new(0), AtomicI64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let options = LogOptions { roll_bytes: 40_000, force_sync: false, ..small() };
            let mut w = LogWriter::new(dir.path(), Zxid(0), options);
            for z in 1..=3000 {
                w.append(Zxid(z), &payload(z, (z % 7 * 150) as usize)).unwrap();
                if z % 3 == 0 {
                    durable.store(w.sync().unwrap().0, Ordering::Release);
                }
                // However slow the reader is, it has something to read beside.
                while z == 1500 && looks.load(Ordering::Relaxed) < 3 {
                    std::thread::yield_now();
                }
            }
        });
        let mut rounds = 0i64;
        loop {
            let upto = durable.load(Ordering::Acquire);
            let after = (upto - 200).max(rounds % 50).min(upto);
            assert_eq!(zxids(dir.path(), after, upto).unwrap(), (after + 1..=upto).collect::<Vec<_>>());
            let (at, next, _) = find(dir.path(), after, upto);
            assert_eq!(at, (after > 0).then_some(after));
            assert_eq!(next, (after < upto).then_some(after + 1));
            rounds += 1;
            looks.store(rounds, Ordering::Relaxed);
            if upto == 3000 {
                break;
            }
        }
    });
}
