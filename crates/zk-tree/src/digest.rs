//! Digests of nodes, version 2. ref: DigestCalculator.

use arrayvec::ArrayVec;
use zk_proto::StatPersisted;
use zk_proto::path::java_name;

use crate::NodeId;

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
///
/// Short ones are gathered in one piece: CRC-32 by the processor's own instructions begins at 128 bytes.
pub(crate) struct Named {
    crc: crc32fast::Hasher,
    /// What is not in the sum yet.
    piece: ArrayVec<u8, PIECE>,
}

/// Room for names and data of usual length, and the numbers behind them.
const PIECE: usize = 320;
const NUMBERS: usize = 60;

impl Named {
    /// If the CRC-32 of the data is known, its length does not matter.
    #[inline]
    pub fn new(path: &str, data: Option<&[u8]>, data_crc: Option<u32>) -> Named {
        let path = java_name(path).as_bytes();
        let mut named = Named { crc: crc32fast::Hasher::new(), piece: ArrayVec::new() };
        let short = data.unwrap_or_default();
        if path.len() + short.len() + NUMBERS <= PIECE {
            named.gather(path);
            named.gather(short);
            return named;
        }
        named.crc.update(path);
        match (data, data_crc) {
            (Some(data), Some(known)) => {
                named.crc.combine(&crc32fast::Hasher::new_with_initial_len(known, data.len() as u64));
            }
            (Some(data), None) => named.crc.update(data),
            (None, _) => {}
        }
        named
    }

    #[inline]
    fn gather(&mut self, bytes: &[u8]) {
        self.piece.try_extend_from_slice(bytes).expect("lengths are looked at first");
    }

    /// The digest with these numbers.
    #[inline]
    pub fn with(&mut self, stat: &StatPersisted) -> u32 {
        let before = self.piece.len();
        self.gather(&stat_bytes(stat));
        let mut crc = self.crc.clone();
        crc.update(&self.piece);
        self.piece.truncate(before);
        crc.finalize()
    }
}

/// Digests of nodes that changed lately: the next change of such a node need not sum up what it was.
/// A node that is not here is in no way different. ref: DataNode.getDigest, which keeps it with each node.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// By the id's last bits: whose it is, and the digest. Empty until the first is noted.
    slots: Box<[(NodeId, u32)]>,
}

/// 128 KiB.
const SLOTS: usize = 1 << 14;
/// No node has this id.
const NOBODY: NodeId = NodeId(u32::MAX);

impl Recent {
    fn slot(id: NodeId) -> usize {
        id.0 as usize % SLOTS
    }

    /// What the node's digest is, if it is known.
    #[inline]
    pub fn get(&self, id: NodeId) -> Option<u32> {
        self.slots.get(Self::slot(id)).filter(|(whose, _)| *whose == id).map(|(_, digest)| *digest)
    }

    /// The node's digest is this from now on.
    #[inline]
    pub fn put(&mut self, id: NodeId, digest: u32) {
        if self.slots.is_empty() {
            self.slots = vec![(NOBODY, 0); SLOTS].into_boxed_slice();
        }
        self.slots[Self::slot(id)] = (id, digest);
    }

    /// The node goes, and its id may be another one's.
    pub fn forget(&mut self, id: NodeId) {
        if self.get(id).is_some() {
            self.slots[Self::slot(id)] = (NOBODY, 0);
        }
    }
}

fn stat_bytes(s: &StatPersisted) -> [u8; NUMBERS] {
    let mut out = [0; NUMBERS];
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
    fn of_any_length_it_is_the_sum_over_one_piece() {
        let stat = StatPersisted { czxid: 3, cversion: 5, ephemeral_owner: -9, ..Default::default() };
        for (path, len) in (0..2 * PIECE).flat_map(|n| [("/a", n), ("/some/longer/path", n)]) {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let all = [path.as_bytes(), &data, &stat_bytes(&stat)].concat();
            assert_eq!(node_digest(path, Some(&data), &stat), crc32fast::hash(&all), "{path} {len}");
        }
        let path = format!("/{}", "long".repeat(PIECE));
        assert_eq!(
            node_digest(&path, None, &stat),
            crc32fast::hash(&[path.as_bytes(), &stat_bytes(&stat)].concat())
        );
    }

    #[test]
    fn recent_digests_are_those_of_the_same_node() {
        let (one, other) = (NodeId(7), NodeId(7 + SLOTS as u32));
        let mut recent = Recent::default();
        recent.forget(one);
        assert_eq!(recent.get(one), None);
        recent.put(one, 5);
        recent.forget(other);
        assert_eq!((recent.get(one), recent.get(other)), (Some(5), None));
        recent.put(other, 6);
        assert_eq!((recent.get(one), recent.get(other)), (None, Some(6)));
        recent.forget(other);
        assert_eq!((recent.get(one), recent.get(other)), (None, None));
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
