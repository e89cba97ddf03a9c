//! Committed transactions that are kept in memory.
//!
//! A learner that missed a little is brought up from here without reading the
//! log. A leader adds what it commits; for a learner the host adds what it
//! applies, cuts with [`History::truncate`] what is cut from the log, and
//! clears for a snapshot. ref: ZKDatabase.committedLog.

use std::collections::VecDeque;

use bytes::Bytes;
use zk_proto::Zxid;

/// A transaction as it is logged and sent: header, record, digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order; the same as in the header.
    pub zxid: Zxid,
    /// The bytes.
    pub bytes: Bytes,
}

/// Records that are kept even if they are large. ref: ZKDatabase.commitLogCount.
pub const MIN_RECORDS: usize = 500;

/// The records are together at most this many bytes, however few they are.
///
/// differs: Java keeps the number whatever it takes. A learner that lacks more is sent it from
/// the log, which needs no memory, and a DIFF from here always has room in a link's queue.
pub const MOST_BYTES: usize = 128 << 20;

/// More records than [`MIN_RECORDS`] are kept while all together are within
/// this many bytes: a learner that was away for a restart needs no log file.
pub const MAX_BYTES: usize = 64 << 20;

/// What a record takes besides its bytes: its place here and the count of the
/// shared buffer.
const OVERHEAD: usize = 64;

/// Whether `next` may stand right behind `last`: the next counter of the same
/// epoch, or the first of a later one. Errors take counters, too, so that there
/// are no holes.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    last.next() == Some(next) || next.epoch() > last.epoch() && next.counter() == 1
}

/// The newest committed records, without a hole: what [`crate::sync::plan`]
/// finds between the ends is all there ever was.
#[derive(Debug)]
pub struct History {
    records: VecDeque<Record>,
    bytes: usize,
    /// Kept whatever they take.
    needed: usize,
    min_records: usize,
    max_bytes: usize,
}

impl Default for History {
    fn default() -> Self {
        Self::with_limits(MIN_RECORDS, MAX_BYTES)
    }
}

impl History {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one that keeps `min_records` within [`MOST_BYTES`], and more while all are
    /// within `max_bytes`.
    pub fn with_limits(min_records: usize, max_bytes: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, needed: 0, min_records, max_bytes }
    }

    /// At least the newest `records` are kept, whatever they take, until this is called again:
    /// those that the tree does not show.
    pub fn make_room(&mut self, records: usize) {
        self.needed = records;
    }

    fn is_too_much(&self) -> bool {
        let most = if self.records.len() > self.min_records { self.max_bytes } else { MOST_BYTES };
        self.records.len() > self.needed && self.bytes > most
    }

    /// Adds a committed record. The oldest ones go when there are too many.
    ///
    /// A record that is there already is passed over. One behind a hole
    /// forgets what is before the hole: a DIFF across it would lose
    /// transactions without a word (ZOOKEEPER-4925).
    pub fn push(&mut self, record: Record) {
        if let Some(max) = self.max() {
            if record.zxid <= max {
                return;
            }
            if !follows(max, record.zxid) {
                tracing::warn!(%max, next = %record.zxid, "hole in the committed transactions");
                self.clear();
            }
        }
        self.bytes += size(&record);
        self.records.push_back(record);
        while self.is_too_much() {
            self.bytes -= self.records.pop_front().as_ref().map_or(0, size);
        }
    }

    /// The oldest zxid.
    pub fn min(&self) -> Option<Zxid> {
        self.records.front().map(|r| r.zxid)
    }

    /// The newest zxid.
    pub fn max(&self) -> Option<Zxid> {
        self.records.back().map(|r| r.zxid)
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records behind a zxid, in order. It need not be there itself.
    pub fn iter_after(&self, zxid: Zxid) -> impl Iterator<Item = &Record> + Clone {
        self.records.range(self.position_after(zxid)..)
    }

    /// The newest zxid that is not behind this one.
    pub(crate) fn at_or_before(&self, zxid: Zxid) -> Option<Zxid> {
        let n = self.position_after(zxid).checked_sub(1)?;
        self.records.get(n).map(|r| r.zxid)
    }

    /// Forgets what is behind a zxid: the log was cut there.
    pub fn truncate(&mut self, after: Zxid) {
        for gone in self.records.drain(self.position_after(after)..) {
            self.bytes -= size(&gone);
        }
    }

    /// Forgets everything: a snapshot took its place.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    fn position_after(&self, zxid: Zxid) -> usize {
        self.records.partition_point(|r| r.zxid <= zxid)
    }
}

fn size(record: &Record) -> usize {
    record.bytes.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use zk_proto::Epoch;

    use super::*;

    fn record(epoch: i64, counter: u32, len: usize) -> Record {
        Record { zxid: Zxid::new(Epoch(epoch), counter), bytes: vec![0; len].into() }
    }

    fn zxids(h: &History, after: i64) -> Vec<i64> {
        h.iter_after(Zxid(after)).map(|r| r.zxid.0).collect()
    }

    fn of(records: &[(i64, u32)]) -> History {
        let mut h = History::new();
        for (e, c) in records {
            h.push(record(*e, *c, 1));
        }
        h
    }

    #[test]
    fn a_new_epoch_follows_any_older_one() {
        let h = of(&[(1, 1), (1, 2), (3, 1)]);
        assert_eq!(zxids(&h, 0), [0x1_0000_0001, 0x1_0000_0002, 0x3_0000_0001]);
        assert_eq!((h.min(), h.max()), (Some(Zxid(0x1_0000_0001)), Some(Zxid(0x3_0000_0001))));
        assert_eq!(zxids(&h, 0x1_0000_0002), [0x3_0000_0001]);
        assert_eq!(zxids(&h, 0x2_0000_0007), [0x3_0000_0001]);
        assert_eq!(zxids(&h, 0x3_0000_0001), []);
        assert_eq!(h.at_or_before(Zxid(0x2_0000_0007)), Some(Zxid(0x1_0000_0002)));
        assert_eq!(h.at_or_before(Zxid(0x1_0000_0000)), None);
    }

    #[test]
    fn zookeeper_4925_there_is_no_hole() {
        let h = of(&[(1, 1), (1, 2), (1, 4), (1, 5)]);
        assert_eq!(zxids(&h, 0), [0x1_0000_0004, 0x1_0000_0005]);
        assert_eq!(zxids(&of(&[(1, 1), (1, 2), (1, 2), (1, 1), (1, 3)]), 0x1_0000_0001).len(), 2);
    }

    #[test]
    fn it_is_cut_where_the_log_is_cut() {
        let mut h = of(&[(1, 1), (1, 2), (3, 1)]);
        h.truncate(Zxid(0x2_0000_0000));
        assert_eq!(zxids(&h, 0), [0x1_0000_0001, 0x1_0000_0002]);
        h.truncate(Zxid(0));
        assert!(h.is_empty() && h.bytes == 0);
        h = of(&[(1, 1)]);
        h.clear();
        assert!(h.is_empty() && h.bytes == 0);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes() {
        let mut h = History::new();
        for n in 1..=600 {
            h.push(record(1, n, 200 << 10));
        }
        assert_eq!(h.len(), MIN_RECORDS);
        assert_eq!(h.min(), Some(Zxid(0x1_0000_0065)));
        for n in 601..=3000 {
            h.push(record(1, n, 10));
        }
        assert_eq!(h.max(), Some(Zxid(0x1_0000_0bb8)));
        assert!(h.len() > 2000 && h.bytes <= MAX_BYTES);
    }

    #[test]
    fn large_ones_are_fewer_unless_the_tree_lacks_them() {
        let mut h = History::new();
        for n in 1..=600 {
            h.push(record(1, n, 1 << 20));
        }
        assert_eq!(h.len(), 127);
        h.make_room(200);
        for n in 601..=900 {
            h.push(record(1, n, 1 << 20));
        }
        assert_eq!(h.len(), 200);
        h.make_room(0);
        h.push(record(1, 901, 1 << 20));
        assert_eq!(h.len(), 127);
    }
}
