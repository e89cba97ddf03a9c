//! Digests of nodes, version 2. ref: DigestCalculator.

use zk_proto::StatPersisted;
use zk_proto::path::java_name;

/// A node's part of the tree's digest: CRC-32 over path, data and numbers. The
/// numbers are in another order than in a snapshot.
pub fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    Named::new(path, data, None).with(stat)
}

/// What a node adds to the tree's digest: its own, or nothing.
pub fn digest_part(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    if counts_in_digest(path) { node_digest(path, data, stat) } else { 0 }
}

/// The first half of a node's digest: path and data. Numbers change most.
pub(crate) struct Named(crc32fast::Hasher);

impl Named {
    /// If the CRC-32 of the data is known, its length does not matter.
    pub fn new(path: &str, data: Option<&[u8]>, data_crc: Option<u32>) -> Named {
        let mut crc = crc32fast::Hasher::new();
        crc.update(java_name(path).as_bytes());
        match (data, data_crc) {
            (Some(data), Some(known)) => {
                crc.combine(&crc32fast::Hasher::new_with_initial_len(known, data.len() as u64));
            }
            (Some(data), None) => crc.update(data),
            (None, _) => {}
        }
        Named(crc)
    }

    /// The digest with these numbers.
    pub fn with(&self, stat: &StatPersisted) -> u32 {
        let mut crc = self.0.clone();
        crc.update(&stat_bytes(stat));
        crc.finalize()
    }
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
            assert_eq!(
                Named::new("/a", Some(&data), Some(crc)).with(&stat),
                node_digest("/a", Some(&data), &stat)
            );
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
