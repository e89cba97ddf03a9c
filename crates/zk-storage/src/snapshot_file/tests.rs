use std::fs;
use std::path::{Path, PathBuf};

use zk_proto::Perms;

use super::*;
use crate::fault::{Kind, with_plan};
use crate::testing::vector;

#[derive(Default, Debug, PartialEq)]
struct Content {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<Acl>)>,
    nodes: Vec<(String, Option<Bytes>, i64, StatPersisted)>,
}

impl SnapshotSink for Content {
    fn session(&mut self, id: SessionId, timeout: i32) {
        self.sessions.push((id, timeout));
    }
    fn acl(&mut self, id: i64, list: Vec<Acl>) {
        self.acls.push((id, list));
    }
    fn node(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        acl_id: i64,
        stat: StatPersisted,
    ) -> std::result::Result<(), String> {
        self.nodes.push((path.to_owned(), data, acl_id, stat));
        Ok(())
    }
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn read(path: &Path) -> Result<(Content, SnapshotEnd)> {
    let mut content = Content::default();
    let end = read_snapshot(path, &mut content, &mut |_| {})?;
    Ok((content, end))
}

fn write(dir: &Path, content: &Content, end: SnapshotEnd, compression: Compression) -> Result<PathBuf> {
    let mut w = SnapshotWriter::create(dir, end.zxid, compression)?;
    w.sessions(&content.sessions)?;
    w.acls(&content.acls)?;
    for (path, data, acl_id, stat) in &content.nodes {
        w.node(path, data.as_deref(), *acl_id, stat)?;
    }
    w.finish_with(end.digest.map(|d| (d.zxid, d.tree)), end.last_zxid)
}

const TREE: u64 = 0x7_4032_fbdd;

#[test]
fn captured_snapshots_come_back_to_the_byte() {
    for (name, vec) in [("snapshot.100000039", "snapshot.100000039.bin"), ("snapshot.0", "snapshot.0.bin")] {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (content, end) = read(&put(a.path(), name, &vector(vec))).unwrap();
        let back = write(b.path(), &content, end, Compression::None).unwrap();
        assert_eq!(back.file_name().unwrap(), name);
        assert!(fs::read(back).unwrap() == vector(vec), "{name}");
    }
}

#[test]
fn captured_snapshots_have_the_digest_that_java_computed() {
    let dir = tempfile::tempdir().unwrap();
    for extension in ["", ".gz", ".snappy"] {
        let name = format!("snapshot.100000039{extension}");
        let path = put(dir.path(), &name, &vector(&format!("{name}.bin")));
        let options = TreeOptions { extended_types: true, ..TreeOptions::default() };
        let tree = load(&path, options, &mut |_| {}).unwrap();
        assert_eq!(tree.digest(), TREE, "{name}");
        assert_eq!(tree.last_zxid(), Zxid(0x1_0000_0039));
        assert_eq!(tree.digest_mismatches(), 0);
        assert_eq!(tree.session_timeout(SessionId(0x300_0012_6683_0000)), Some(6000));
        assert_eq!(tree.get("/auth").unwrap().acl()[0].scheme, "digest");
    }
}

#[test]
fn a_tree_goes_through_each_compression() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "snapshot.100000039", &vector("snapshot.100000039.bin"));
    let tree = load(&path, TreeOptions::default(), &mut |_| {}).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let out = tempfile::tempdir().unwrap();
        let path = write_tree(&tree, out.path(), compression, &mut |_| {}).unwrap();
        assert_eq!(Compression::of(&path), compression);
        assert_eq!(find_snapshots(out.path()).unwrap(), [(tree.last_zxid(), path.clone())]);
        let (_, end) = read(&path).unwrap();
        let digest = SnapshotDigest { zxid: tree.last_zxid(), version: 2, tree: TREE };
        assert_eq!((end.digest, end.last_zxid), (Some(digest), Some(tree.last_zxid())));
        assert_eq!(load(&path, TreeOptions::default(), &mut |_| {}).unwrap().digest(), TREE);
    }
}

#[test]
fn large_content_goes_through_each_compression() {
    let mut content = Content::default();
    for i in 0..200 {
        content.sessions.push((SessionId(i), 1000));
        content.acls.push((i, vec![Acl::new(Perms(1), "ip", &format!("10.0.0.{i}"))]));
    }
    content.nodes.push((String::new(), None, -1, StatPersisted::default()));
    for i in 0..30usize {
        let data: Vec<u8> = (0..i * 10_000).map(|n| ((n * n) >> 3) as u8).collect();
        content.nodes.push((format!("/n{i}"), Some(data.into()), 3, StatPersisted::default()));
    }
    let end = SnapshotEnd { zxid: Zxid(5), digest: None, last_zxid: Some(Zxid(5)) };
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), &content, end, compression).unwrap();
        let (back, found) = read(&path).unwrap();
        assert!(back == content);
        assert_eq!(found, end);
    }
}

/// Older servers end after the first or the second seal.
#[test]
fn sections_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let whole = vector("snapshot.100000039.bin");
    let n = whole.len();
    let cut = |len: usize| put(dir.path(), "snapshot.100000039", &whole[..len]);
    let zxid = Zxid(0x1_0000_0039);
    let digest = Some(SnapshotDigest { zxid, version: 2, tree: TREE });
    let first = SnapshotEnd { zxid, digest: None, last_zxid: None };
    assert_eq!(read(&cut(n - 21 - 33)).unwrap().1, first);
    assert_eq!(read(&cut(n - 21)).unwrap().1, SnapshotEnd { digest, ..first });
    // With digests off Java writes the last section alone.
    let (content, _) = read(&cut(n)).unwrap();
    let end = SnapshotEnd { last_zxid: Some(zxid), ..first };
    let path = write(dir.path(), &content, end, Compression::None).unwrap();
    assert_eq!(read(&path).unwrap().1, end);
}

/// R9 and cut files: every bit, every length.
#[test]
fn damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let whole = vector("snapshot.100000039.bin");
    let n = whole.len();
    let (want, _) = read(&put(dir.path(), "snapshot.100000039", &whole)).unwrap();
    for at in 0..n {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            match read(&put(dir.path(), "snapshot.100000039", &bytes)) {
                Ok(_) => panic!("byte {at} bit {bit} was not noticed"),
                Err(StorageError::Snapshot { .. }) => {}
                Err(e) => panic!("byte {at} bit {bit}: {e}"),
            }
        }
    }
    for len in 0..n {
        match read(&put(dir.path(), "snapshot.100000039", &whole[..len])) {
            Ok((content, _)) => {
                assert!(len == n - 21 || len == n - 54, "cut at {len}");
                assert_eq!(content, want);
            }
            Err(StorageError::Snapshot { .. }) => {}
            Err(e) => panic!("cut at {len}: {e}"),
        }
    }
}

#[test]
fn damaged_compressed_files_give_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for extension in ["gz", "snappy"] {
        let name = format!("snapshot.100000039.{extension}");
        let whole = vector(&format!("{name}.bin"));
        let want = read(&put(dir.path(), &name, &whole)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            // Some bits of gzip's header and padding mean nothing.
            if let Ok(got) = read(&put(dir.path(), &name, &bytes)) {
                assert_eq!(got, want, "{name} byte {at}");
            }
            assert!(read(&put(dir.path(), &name, &whole[..at])).is_err(), "{name} cut at {at}");
        }
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = HEADER.to_vec();
    bytes.extend(i32::MAX.to_be_bytes()); // sessions
    bytes.extend(SEAL_END);
    assert!(read(&put(dir.path(), "snapshot.1", &bytes)).is_err());
    let mut bytes = HEADER.to_vec();
    bytes.extend([0; 8]);
    bytes.extend([0, 0, 0, 0, 0x0f, 255, 255, 255]); // root with 256 MiB
    bytes.extend(SEAL_END);
    assert!(read(&put(dir.path(), "snapshot.1", &bytes)).is_err());
}

#[test]
fn an_older_snapshot_is_taken_when_the_newest_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "snapshot.0", &vector("snapshot.0.bin"));
    let mut bad = vector("snapshot.100000039.bin");
    bad[700] ^= 1;
    let newest = put(dir.path(), "snapshot.100000039", &bad);
    put(dir.path(), "snapshot.100000050", b"short");
    put(dir.path(), "snapshot.100000051.gz", b"not gzip at all");
    put(dir.path(), "snapshot.zz", b"x");
    fs::create_dir(dir.path().join("snapshot.7")).unwrap();
    let loaded = load_newest(dir.path(), TreeOptions::default(), &mut |_| {}).unwrap().unwrap();
    assert_eq!(loaded.tree.last_zxid(), Zxid(0));
    assert_eq!(loaded.floor, Zxid(0x1_0000_0039));
    assert_eq!(loaded.skipped.len(), 1);
    assert_eq!(loaded.skipped[0].0, newest);
    fs::remove_file(dir.path().join("snapshot.0")).unwrap();
    let e = load_newest(dir.path(), TreeOptions::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(e, StorageError::NoUsableSnapshot { tried: 1, .. }), "{e}");
}

/// R8: a snapshot is there completely, or not at all.
#[test]
fn every_call_may_fail() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "snapshot.100000039", &vector("snapshot.100000039.bin"));
    let (content, end) = read(&path).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        for kind in [Kind::Eio, Kind::Enospc, Kind::Short, Kind::Kill, Kind::PowerCut, Kind::PowerCutTorn] {
            for k in 1.. {
                let dir = tempfile::tempdir().unwrap();
                let (out, calls) = with_plan(k, kind, || write(dir.path(), &content, end, compression));
                let there = find_snapshots(dir.path()).unwrap();
                for (_, path) in &there {
                    assert_eq!(read(path).unwrap().0, content);
                }
                if k > calls {
                    assert_eq!(there.len(), 1);
                    assert!(out.is_ok());
                    break;
                }
                assert!(out.is_err(), "{kind:?} at {k}");
                super::writer::remove_leftovers(dir.path()).unwrap();
                write(dir.path(), &content, end, compression).unwrap();
            }
        }
    }
}
