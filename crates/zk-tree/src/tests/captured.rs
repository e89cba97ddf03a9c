//! Logs and snapshots written by Java 3.9.4.

use zk_proto::txn::LogEntry;
use zk_proto::{Acl, Reader, SessionId, StatPersisted, Zxid};

use super::{check_sums, dump};
use crate::{Effects, Tree, TreeOptions};

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../zk-testkit/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn entries(log: &[u8]) -> Vec<LogEntry> {
    let mut r = Reader::new(&log[16..]);
    let mut out = Vec::new();
    while r.remaining() >= 12 {
        r.long().unwrap();
        let len = r.int().unwrap();
        if len == 0 {
            break;
        }
        out.push(LogEntry::decode(r.take(len as usize).unwrap()).unwrap());
        assert_eq!(r.byte().unwrap(), 0x42);
    }
    out
}

fn options() -> TreeOptions {
    TreeOptions { extended_types: true, digest: true, hash_seed: 5 }
}

fn load(name: &str, zxid: i64) -> (Tree, u64) {
    let bytes = vector(name);
    let mut r = Reader::new(&bytes[16..]);
    let mut loader = Tree::load_start(options());
    for _ in 0..r.int().unwrap() {
        loader.session(SessionId(r.long().unwrap()), r.int().unwrap());
    }
    for _ in 0..r.int().unwrap() {
        loader.define_acl(r.long().unwrap(), Acl::read_list(&mut r).unwrap().unwrap());
    }
    loop {
        let path = r.str().unwrap();
        if path == "/" {
            break;
        }
        let data = r.buffer().unwrap().map(bytes::Bytes::copy_from_slice);
        loader.node(&path, data, r.long().unwrap(), StatPersisted::read(&mut r).unwrap()).unwrap();
    }
    let mut tree = loader.finish(Zxid(zxid));
    r.long().unwrap();
    r.str().unwrap();
    let (at, _version, digest) = (r.long().unwrap(), r.int().unwrap(), r.long().unwrap() as u64);
    tree.set_pending_digest(Zxid(at), digest);
    (tree, digest)
}

fn replay(tree: &mut Tree, log: &str) -> (usize, usize) {
    let mut fx = Effects::default();
    let (mut with, mut without) = (0, 0);
    for entry in entries(&vector(log)) {
        tree.apply(&entry, &mut fx);
        assert_eq!(tree.last_zxid(), entry.header.zxid);
        match entry.digest {
            Some(d) => assert_eq!(tree.digest(), d.tree, "after {entry:?}"),
            None => without += 1,
        }
        with += usize::from(entry.digest.is_some());
    }
    assert_eq!(tree.digest_mismatches(), 0);
    check_sums(tree, &dump(tree));
    (with, without)
}

#[test]
fn all_digests_of_the_captured_log_come_out() {
    let mut tree = Tree::new(options());
    assert_eq!(replay(&mut tree, "log.100000001.bin"), (43, 7));
    // The same again over the state that is ahead by all of it.
    let state = dump(&tree);
    let mut fx = Effects::default();
    for entry in entries(&vector("log.100000001.bin")) {
        tree.apply(&LogEntry { digest: None, ..entry }, &mut fx);
    }
    assert_eq!(dump(&tree), state);
}

#[test]
fn captured_snapshots_load() {
    let (tree, digest) = load("snapshot.0.bin", 0);
    assert_eq!((tree.digest(), digest), (0x51C6_D660, 0));
    let (mut loaded, mut new) = (dump(&tree), dump(&Tree::new(options())));
    // Each server writes this one itself.
    assert_ne!(loaded.remove("/zookeeper/config"), new.remove("/zookeeper/config"));
    assert_eq!(loaded, new);
    let (mut tree, digest) = load("snapshot.100000039.bin", 0x1_0000_0039);
    assert_eq!((tree.digest(), tree.digest_mismatches()), (digest, 0));
    check_sums(&tree, &dump(&tree));
    assert_eq!(replay(&mut tree, "log.200000001.before-trunc.bin"), (6, 0));
}
