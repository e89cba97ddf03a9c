use std::collections::BTreeSet;

use proptest::prelude::*;
use zk_proto::{Acl, Perms, SessionId};
use zk_tree::{Effects, TreeOptions};

use super::*;
use crate::testing::{Writes, contents, image};

fn apply(tree: &mut Tree, writes: &mut Writes, n: usize) -> MirrorBatch {
    let mut effects = Effects::default();
    for _ in 0..n {
        let entry = writes.next(tree);
        tree.apply(&entry, &mut effects);
    }
    Mirror::encode_batch(tree, &effects.touched)
}

fn open(dir: &Path) -> Mirror {
    Mirror::open(dir, MirrorOptions::default()).unwrap()
}

#[test]
fn a_tree_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    let mut writes = Writes::new(1);
    let mut m = open(dir.path());
    assert_eq!(m.applied(), None);
    assert!(m.view().is_err());
    m.rebuild(&tree, &mut |_| {}).unwrap();
    for step in 0..60 {
        let batches: Vec<_> = (0..step % 4).map(|_| apply(&mut tree, &mut writes, 25)).collect();
        m.write(&batches).unwrap();
        if step % 20 == 19 {
            drop(m);
            m = open(dir.path());
            let back = m.load(TreeOptions::default(), &mut |_| {}).unwrap();
            assert_eq!(contents(&back), contents(&tree));
            tree = back;
        }
    }
    assert!(tree.node_count() > 100);
    m.flush().unwrap();
    assert_eq!(m.durable_zxid(), Some(tree.last_zxid()));
    assert_eq!(m.applied().unwrap().digest, Some(tree.digest()));
}

#[test]
fn a_rebuild_forgets_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = open(dir.path());
    let mut old = Tree::new(TreeOptions::default());
    m.rebuild(&old, &mut |_| {}).unwrap();
    let batch = apply(&mut old, &mut Writes::new(2), 300);
    m.write(&[batch]).unwrap();
    let mut new = Tree::new(TreeOptions::default());
    apply(&mut new, &mut Writes::new(3), 200);
    m.rebuild(&new, &mut |_| {}).unwrap();
    drop(m);
    let mut m = open(dir.path());
    let back = m.load(TreeOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(contents(&back), contents(&new));
}

/// Every key of `data` has a node that points to it.
fn large_keys(m: &Mirror) -> BTreeSet<Vec<u8>> {
    let it = m.db.db.iterator_cf(m.db.cf(Table::Data), rocksdb::IteratorMode::Start);
    it.map(|r| r.unwrap().0.into_vec()).collect()
}

#[test]
fn large_data_goes_with_its_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    let mut m = open(dir.path());
    m.rebuild(&tree, &mut |_| {}).unwrap();
    let mut w = Writes::new(0);
    let step = |tree: &mut Tree, entries: Vec<zk_proto::txn::LogEntry>| {
        let mut effects = Effects::default();
        for e in &entries {
            tree.apply(e, &mut effects);
        }
        Mirror::encode_batch(tree, &effects.touched)
    };
    let create = vec![w.create("/big", 5000), w.create("/small", 10)];
    m.write(&[step(&mut tree, create)]).unwrap();
    assert_eq!(large_keys(&m), [b"/big".to_vec()].into());
    // Growing, shrinking, and going, in one write of two batches.
    let (a, b) = (vec![w.set("/small", 3000), w.set("/big", 7000)], vec![w.set("/big", 9)]);
    let batches = [step(&mut tree, a), step(&mut tree, b)];
    m.write(&batches).unwrap();
    assert_eq!(large_keys(&m), [b"/small".to_vec()].into());
    let (a, b) = (vec![w.set("/big", 8000)], vec![w.delete("/big"), w.delete("/small")]);
    let batches = [step(&mut tree, a), step(&mut tree, b)];
    m.write(&batches).unwrap();
    assert_eq!(large_keys(&m), BTreeSet::new());
    // A change of numbers alone does not write the data again.
    let e = vec![w.create("/big", 100_000)];
    m.write(&[step(&mut tree, e)]).unwrap();
    let before = m.dirty_bytes;
    let e = vec![w.create("/big/x", 1)];
    m.write(&[step(&mut tree, e)]).unwrap();
    assert!(m.dirty_bytes - before < 1000);
    drop(m);
    let mut m = open(dir.path());
    assert_eq!(contents(&m.load(TreeOptions::default(), &mut |_| {}).unwrap()), contents(&tree));
    let before = m.dirty_bytes;
    let e = vec![w.create("/big/y", 1)];
    m.write(&[step(&mut tree, e)]).unwrap();
    assert!(m.dirty_bytes - before < 1000, "after a restart too");
}

#[test]
fn a_view_stays_while_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    let mut writes = Writes::new(4);
    let mut m = open(dir.path());
    m.rebuild(&tree, &mut |_| {}).unwrap();
    let batch = apply(&mut tree, &mut writes, 500);
    m.write(&[batch]).unwrap();
    let reader = m.reader();
    let view = reader.view().unwrap();
    let want = contents(&tree);
    let batch = apply(&mut tree, &mut writes, 500);
    m.write(&[batch]).unwrap();
    m.flush().unwrap();
    assert_eq!(contents(&view.load(TreeOptions::default(), &mut |_| {}).unwrap()), want);
    let out = tempfile::tempdir().unwrap();
    let path = view.write_snapshot(out.path(), crate::Compression::None, &mut |_| {}).unwrap();
    let loaded = crate::load(&path, TreeOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(contents(&loaded), want);
    assert_eq!(loaded.digest_mismatches(), 0);
}

#[test]
fn an_unfinished_rebuild_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = open(dir.path());
    let mut tree = Tree::new(TreeOptions::default());
    apply(&mut tree, &mut Writes::new(5), 100);
    m.rebuild(&tree, &mut |_| {}).unwrap();
    m.clear().unwrap();
    drop(m);
    assert_eq!(open(dir.path()).applied(), None);
}

#[test]
fn damage_is_found_by_checksum_or_digest() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    let mut m = open(dir.path());
    apply(&mut tree, &mut Writes::new(6), 300);
    m.rebuild(&tree, &mut |_| {}).unwrap();
    // A value that is sound for RocksDB and wrong for us.
    let node = tree.get("/").unwrap().child_nodes().next().unwrap();
    let mut value = Vec::new();
    encoding::encode(&mut value, &node.persisted(), node.acl_id(), encoding::Data::Inline(b"changed"));
    let mut batch = WriteBatch::default();
    batch.put_cf(m.db.cf(Table::Nodes), node.path(), value);
    m.commit(batch).unwrap();
    let e = m.load(TreeOptions::default(), &mut |_| {}).unwrap_err();
    assert!(e.to_string().contains("digest"), "{e}");
    m.rebuild(&tree, &mut |_| {}).unwrap();
    drop(m);
    // Every table file in turn, with a bit flipped. Each on a copy: opening a
    // database may move its content to other files.
    let files = fs::read_dir(Mirror::dir(dir.path())).unwrap().map(|f| f.unwrap().path());
    for name in files.filter(|p| p.extension().is_some_and(|e| e == "sst")) {
        let whole = fs::read(&name).unwrap();
        for at in [10, whole.len() / 3, whole.len() / 2, whole.len() - 60, whole.len() - 5] {
            let copy = image(dir.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(Mirror::dir(copy.path()).join(name.file_name().unwrap()), bytes).unwrap();
            let back = Mirror::open(copy.path(), MirrorOptions::default())
                .and_then(|mut m| m.load(TreeOptions::default(), &mut |_| {}));
            if let Ok(back) = back {
                assert_eq!(contents(&back), contents(&tree), "{} at {at}", name.display());
            }
        }
    }
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = open(dir.path());
    m.rebuild(&Tree::new(TreeOptions::default()), &mut |_| {}).unwrap();
    let mut batch = WriteBatch::default();
    batch.put_cf(m.db.cf(Table::Meta), FORMAT_KEY, 2u32.to_be_bytes());
    m.commit(batch).unwrap();
    drop(m);
    let e = Mirror::open(dir.path(), MirrorOptions::default()).unwrap_err();
    assert!(matches!(e, StorageError::MirrorFormat { found: 2, .. }), "{e}");
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let m = open(dir.path());
    let e = Mirror::open(dir.path(), MirrorOptions::default()).unwrap_err();
    assert!(matches!(e, StorageError::Locked { .. }), "{e}");
    let reader = m.reader();
    drop(m);
    assert!(Mirror::open(dir.path(), MirrorOptions::default()).is_err(), "a reader holds it");
    drop(reader);
    open(dir.path());
}

#[test]
fn acl_lists_and_sessions_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    let mut m = open(dir.path());
    m.rebuild(&tree, &mut |_| {}).unwrap();
    let mut w = Writes::new(0);
    let list = vec![Acl::new(Perms(5), "ip", "10.0.0.1")];
    let entries = [w.session(9), w.create_with("/a", 1, list.clone()), w.session(10), w.close(9)];
    let mut effects = Effects::default();
    for e in &entries {
        tree.apply(e, &mut effects);
    }
    m.write(&[Mirror::encode_batch(&tree, &effects.touched)]).unwrap();
    let view = m.view().unwrap();
    assert_eq!(view.sessions().unwrap(), [(SessionId(10), 6000)]);
    assert!(view.acls().unwrap().iter().any(|(_, l)| *l == list));
    drop(view);
    effects.clear();
    tree.apply(&w.delete("/a"), &mut effects);
    m.write(&[Mirror::encode_batch(&tree, &effects.touched)]).unwrap();
    assert!(!m.view().unwrap().acls().unwrap().iter().any(|(_, l)| *l == list));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// However batches are cut and merged, the mirror is the tree.
    #[test]
    fn merging_changes_nothing(seed: u64, cuts in proptest::collection::vec((1usize..40, 1usize..5), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(TreeOptions::default());
        let mut writes = Writes::new(seed);
        let mut m = open(dir.path());
        m.rebuild(&tree, &mut |_| {}).unwrap();
        for (n, merge) in cuts {
            let batches: Vec<_> = (0..merge).map(|_| apply(&mut tree, &mut writes, n)).collect();
            m.write(&batches).unwrap();
        }
        let large = large_keys(&m);
        let back = m.load(TreeOptions::default(), &mut |_| {}).unwrap();
        prop_assert_eq!(contents(&back), contents(&tree));
        for key in large {
            let node = tree.get(std::str::from_utf8(&key).unwrap());
            prop_assert!(node.is_some_and(|n| n.data().unwrap().len() > batch::INLINE));
        }
    }
}
