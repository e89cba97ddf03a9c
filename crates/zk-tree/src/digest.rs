//! Digests of nodes, version 2. ref: DigestCalculator.

use zk_proto::StatPersisted;
use zk_proto::path::java_name;

/// A node's part of the tree's digest: CRC-32 over path, data and numbers. The
/// numbers are in another order than in a snapshot.
pub fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(java_name(path).as_bytes());
    if let Some(data) = data {
        crc.update(data);
    }
    crc.update(&stat_bytes(stat));
    crc.finalize()
}

/// The same for data whose own CRC-32 is known: its length does not matter.
pub(crate) fn node_digest_by_crc(path: &str, data_crc: u32, data_len: usize, stat: &StatPersisted) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(java_name(path).as_bytes());
    crc.combine(&crc32fast::Hasher::new_with_initial_len(data_crc, data_len as u64));
    crc.update(&stat_bytes(stat));
    crc.finalize()
}

fn stat_bytes(s: &StatPersisted) -> [u8; 60] {
    let mut out = [0; 60];
    let (longs, rest) = out.split_at_mut(40);
    for (to, v) in longs.chunks_exact_mut(8).zip([s.czxid, s.mzxid, s.pzxid, s.ctime, s.mtime]) {
        to.copy_from_slice(&v.to_be_bytes());
    }
    let (ints, owner) = rest.split_at_mut(12);
    for (to, v) in ints.chunks_exact_mut(4).zip([s.version, s.cversion, s.aversion]) {
        to.copy_from_slice(&v.to_be_bytes());
    }
    owner.copy_from_slice(&s.ephemeral_owner.to_be_bytes());
    out
}

/// Whether a node is part of the tree's digest: what is below `/zookeeper/` is
/// changed by each server on its own. ref: NodeHashMapImpl.
pub fn counts_in_digest(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_digests() {
        let zero = StatPersisted::default();
        assert_eq!(node_digest("/", Some(b""), &zero), 0x0412_8908);
        assert_eq!(node_digest("", None, &zero), 0x0412_8908);
        assert_eq!(node_digest("/zookeeper", Some(b""), &zero), 0x4DB4_4D58);
    }

    #[test]
    fn a_known_crc_gives_the_same() {
        let stat = StatPersisted { czxid: 3, cversion: 5, ephemeral_owner: -9, ..Default::default() };
        for len in [0, 1, 100, 5000] {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let crc = crc32fast::hash(&data);
            assert_eq!(node_digest_by_crc("/a", crc, len, &stat), node_digest("/a", Some(&data), &stat));
        }
    }

    #[test]
    fn what_counts() {
        for (path, counts) in [
            ("", true),
            ("/", true),
            ("/zookeeper", true),
            ("/zookeeper/config", false),
            ("/zookeeperX", true),
        ] {
            assert_eq!(counts_in_digest(path), counts, "{path}");
        }
    }
}
