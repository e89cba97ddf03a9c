//! States on the way from one member to another.

use bytes::{Bytes, BytesMut};
use zk_proto::quorum::snap::{SnapItem, SnapReader};

use super::*;

fn load(mut stream: BytesMut, zxid: Zxid, options: TreeOptions) -> (Tree, Vec<SnapItem>) {
    let mut reader = SnapReader::new(1 << 20);
    let mut loader = SnapLoader::new(options);
    let mut items = Vec::new();
    while let Some(item) = reader.next(&mut stream).unwrap() {
        items.push(item.clone());
        loader.take(item).unwrap();
    }
    assert!(reader.is_done() && stream.is_empty());
    (loader.finish(zxid).unwrap(), items)
}

fn gather(stream: impl FnOnce(&mut dyn FnMut(Bytes) -> Result<()>) -> Result<()>) -> (BytesMut, usize) {
    let (mut bytes, mut chunks) = (BytesMut::new(), 0);
    stream(&mut |chunk| {
        bytes.extend_from_slice(&chunk);
        chunks += 1;
        Ok(())
    })
    .unwrap();
    (bytes, chunks)
}

fn ids(tree: &Tree) -> Vec<String> {
    let mut out: Vec<_> = tree.acl_lists().map(|(id, list)| format!("{id} {:?}", &list[..])).collect();
    out.sort();
    out
}

#[test]
fn a_state_arrives_as_it_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = start(&config(dir.path())).unwrap();
    let mut model = Tree::new(TreeOptions::default());
    let mut writes = Writes::new(51);
    let mut entries = writes.run(&mut model, 1500);
    entries.push(writes.create("/big", 300_000));
    entries.push(writes.create("/empty", 0));
    commit(&mut s, &entries);
    let model = &s.tree;
    for (stream, chunks) in
        [gather(|out| stream_tree(model, out)), gather(|out| stream_mirror(&s.mirror.view().unwrap(), out))]
    {
        assert!(chunks >= 2, "{chunks}");
        let (tree, _) = load(stream, model.last_zxid(), TreeOptions::default());
        assert_eq!(contents(&tree), contents(model));
        assert_eq!(ids(&tree), ids(model));
        assert_eq!(tree.node_count(), model.node_count());
    }
}

#[test]
fn who_takes_it_may_stop() {
    #[derive(Debug)]
    struct Gone;
    impl std::convert::From<StorageError> for Gone {
        fn from(e: StorageError) -> Self {
            panic!("{e}")
        }
    }
    let tree = Tree::new(TreeOptions::default());
    assert!(stream_tree::<Gone>(&tree, &mut |_| Err(Gone)).is_err());
}

#[test]
fn a_stream_that_is_no_tree() {
    let stat = zk_proto::StatPersisted::default();
    let node = |path: &str| SnapItem::Node { path: path.to_owned(), data: None, acl: -1, stat };
    let mut loader = SnapLoader::new(TreeOptions::default());
    assert!(matches!(loader.take(node("/a")), Err(StorageError::SnapStream { .. })));
    let mut loader = SnapLoader::new(TreeOptions::default());
    loader.take(node("")).unwrap();
    assert!(loader.take(node("/a/b")).unwrap_err().to_string().contains("no parent for /a/b"));
    assert!(loader.finish(Zxid(1)).unwrap_err().to_string().contains("cut off"));
    let mut loader = SnapLoader::new(TreeOptions::default());
    loader.take(SnapItem::End).unwrap();
    assert!(loader.finish(Zxid(1)).unwrap_err().to_string().contains("no nodes"));
}

/// Streams that Java sent, each with the zxid of its SNAP packet.
fn captured(name: &str) -> Vec<(Zxid, BytesMut)> {
    let text = String::from_utf8(vector(name)).unwrap();
    let mut out = Vec::new();
    let (mut zxid, mut is_stream) = (Zxid::ZERO, false);
    for line in text.lines() {
        if let Some(note) = line.strip_prefix('#') {
            is_stream = note.contains("SNAPSHOT-STREAM");
            if let Some((_, rest)) = note.split_once(" SNAP zxid 0x") {
                zxid = Zxid(i64::from_str_radix(rest.trim(), 16).unwrap());
            }
        } else if is_stream {
            let (_, hex) = line.split_once(' ').unwrap();
            let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
            out.push((zxid, (0..hex.len()).step_by(2).map(byte).collect()));
        }
    }
    out
}

#[test]
fn streams_of_java_are_taken() {
    let mut n = 0;
    for name in [
        "learner_follower_snap_cross_epoch.hex",
        "learner_observer_snap.hex",
        "learner_observermaster_sasl.hex",
        "learner_reconfig_follower.hex",
        "learner_reconfig_observer.hex",
        "learner_reconfig_removed.hex",
    ] {
        for (zxid, stream) in captured(name) {
            n += 1;
            let options = TreeOptions { extended_types: true, ..TreeOptions::default() };
            let (tree, items) = load(stream, zxid, options);
            assert_eq!(tree.last_zxid(), zxid, "{name}");
            // Ours says the same: nodes, numbers, lists with their ids, sessions.
            // Lists that no node has are left out.
            let (_, back) = load(gather(|out| stream_tree(&tree, out)).0, zxid, options);
            let kept = |items: &[SnapItem]| {
                let mut texts: Vec<String> = items
                    .iter()
                    .filter(|i| matches!(i, SnapItem::Node { .. } | SnapItem::Session { .. }))
                    .map(|i| format!("{i:?}"))
                    .collect();
                texts.sort();
                texts
            };
            assert_eq!(kept(&back), kept(&items), "{name}");
            assert!(back.iter().filter(|i| matches!(i, SnapItem::Acl { .. })).all(|a| items.contains(a)));
            if zxid == Zxid(0x2_0000_0001) {
                // The log of that server says the digest after this transaction.
                let dir = java_dir(&[("log.200000001", "log.200000001.before-trunc.bin")]);
                let first = LogReader::after(&version(dir.path()), Zxid(0), None).unwrap().next();
                let entry = first.unwrap().unwrap().decode().unwrap();
                assert_eq!(entry.header.zxid, zxid);
                let digest = entry.digest.unwrap().tree;
                assert_eq!((name, tree.digest()), (name, digest));
            }
        }
    }
    assert!(n > 1, "{n} streams");
}

#[test]
fn numbers_of_lists_that_cannot_be() {
    let list = |id| SnapItem::Acl { id, list: Vec::new() };
    for bad in [-2, i64::from(u32::MAX), i64::MAX] {
        assert!(SnapLoader::new(TreeOptions::default()).take(list(bad)).is_err(), "{bad}");
    }
    let mut loader = SnapLoader::new(TreeOptions::default());
    loader.take(list(1)).unwrap();
    assert!(loader.take(list(1)).is_err(), "twice");
}
