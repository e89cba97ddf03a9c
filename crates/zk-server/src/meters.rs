//! What the threads measure while they work, read when somebody asks.
//!
//! Each meter has one writer at a time, with a plain load and store and no allocation, and
//! anybody may read it at any time: a reader sees each number whole, and the numbers of one meter
//! at nearly the same moment. The names and forms are `zk-admin`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use zk_admin::status::{OwnValue, Seen};
use zk_proto::{OpCode, PeerId};

use crate::limits;

/// A number that its one writer adds to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it; for its writer alone.
    pub fn add(&self, n: u64) {
        self.0.store(self.get() + n, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Values below this are told apart exactly.
const EXACT: u64 = 16;
/// Each power of two above is divided into so many parts: an error of at most an eighth.
const PARTS: u64 = 8;
/// Powers of two above: in microseconds up to 200 days.
const POWERS: u64 = 40;
const BUCKETS: usize = (EXACT + PARTS * POWERS) as usize;

/// How often which values came.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: Counter,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: Counter::default(),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a value; for its writer alone.
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a time in microseconds.
    pub fn time(&self, took: Duration) {
        self.time_of_many(took, 1);
    }

    /// Counts a time in microseconds that `n` took.
    pub fn time_of_many(&self, took: Duration, n: u64) {
        self.record_many(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), n);
    }

    /// Counts a value that came `n` times.
    pub fn record_many(&self, value: u64, n: u64) {
        if n == 0 {
            return;
        }
        let bucket = &self.buckets[bucket_of(value)];
        bucket.store(bucket.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        self.sum.add(value.saturating_mul(n));
        if value < self.min.load(Ordering::Relaxed) {
            self.min.store(value, Ordering::Relaxed);
        }
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }
}

fn bucket_of(value: u64) -> usize {
    let index = if value < EXACT {
        value
    } else {
        let power = u64::from(value.ilog2());
        let first = u64::from(EXACT.ilog2());
        let part = (value >> (power - u64::from(PARTS.ilog2()))) - PARTS;
        EXACT + (power - first) * PARTS + part
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let index = bucket as u64;
    if index < EXACT {
        return index;
    }
    let (power, part) = ((index - EXACT) / PARTS, (index - EXACT) % PARTS);
    let width = (EXACT / PARTS) << power;
    (PARTS + part + 1) * width - 1
}

/// What histograms have counted, as plain numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    buckets: Vec<u64>,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Counted {
    /// What one has counted.
    pub fn of(histogram: &Histogram) -> Self {
        let mut counted = Self::default();
        counted.take(histogram);
        counted
    }

    /// Takes in what another has counted.
    pub fn take(&mut self, histogram: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *mine += theirs.load(Ordering::Relaxed);
        }
        self.sum += histogram.sum.get();
        self.min = self.min.min(histogram.min.load(Ordering::Relaxed));
        self.max = self.max.max(histogram.max.load(Ordering::Relaxed));
    }

    fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The value that this share of the values, in thousandths, does not exceed.
    fn quantile(&self, thousandths: u64) -> u64 {
        let rank = (self.count() * thousandths).div_ceil(1000).max(1);
        let mut below = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            below += n;
            if below >= rank {
                return top_of(i).clamp(self.min.min(self.max), self.max);
            }
        }
        0
    }

    /// For a summary of Java's, in units of `unit`: 1000 makes ms of microseconds.
    pub fn seen(&self, unit: u64) -> Seen {
        let count = self.count();
        if count == 0 {
            return Seen::default();
        }
        let whole = |n: u64| i64::try_from(n / unit).unwrap_or(i64::MAX);
        let quantile = |thousandths| whole(self.quantile(thousandths));
        Seen {
            min: whole(self.min),
            max: whole(self.max),
            count,
            sum: self.sum / unit,
            p50: quantile(500),
            p90: quantile(900),
            p95: quantile(950),
            p99: quantile(990),
            p999: quantile(999),
        }
    }

    /// For an own histogram of times in seconds.
    pub fn seconds(&self) -> OwnValue {
        // A time of 2^k microseconds is the first of its bucket.
        self.own(6..=23, |power| (1u64 << power) as f64 / 1e6, 1e6)
    }

    /// For an own histogram of numbers.
    pub fn numbers(&self) -> OwnValue {
        self.own(1..=13, |power| ((1u64 << power) - 1) as f64, 1.0)
    }

    fn own(
        &self,
        powers: std::ops::RangeInclusive<u32>,
        bound: impl Fn(u32) -> f64,
        per_unit: f64,
    ) -> OwnValue {
        let below = |power: u32| self.buckets[..bucket_of(1 << power)].iter().sum();
        OwnValue::Histogram {
            buckets: powers.map(|power| (bound(power), below(power))).collect(),
            sum: self.sum as f64 / per_unit,
            count: self.count(),
        }
    }
}

/// Operations that are measured each by itself, as clients ask for them.
pub const OPERATIONS: [OpCode; 23] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::SetData,
    OpCode::SetAcl,
    OpCode::Multi,
    OpCode::Reconfig,
    OpCode::CloseSession,
    OpCode::Exists,
    OpCode::GetData,
    OpCode::GetAcl,
    OpCode::GetChildren,
    OpCode::GetChildren2,
    OpCode::MultiRead,
    OpCode::GetEphemerals,
    OpCode::GetAllChildrenNumber,
    OpCode::Sync,
    OpCode::Ping,
    OpCode::SetWatches,
    OpCode::SetWatches2,
    OpCode::AddWatch,
];

/// The place of an operation in [`OPERATIONS`]; the last one behind it is for the rare others.
pub fn operation(op: OpCode) -> usize {
    match op {
        OpCode::Create => 0,
        OpCode::Create2 => 1,
        OpCode::CreateContainer => 2,
        OpCode::CreateTtl => 3,
        OpCode::Delete => 4,
        OpCode::SetData => 5,
        OpCode::SetAcl => 6,
        OpCode::Multi => 7,
        OpCode::Reconfig => 8,
        OpCode::CloseSession => 9,
        OpCode::Exists => 10,
        OpCode::GetData => 11,
        OpCode::GetAcl => 12,
        OpCode::GetChildren => 13,
        OpCode::GetChildren2 => 14,
        OpCode::MultiRead => 15,
        OpCode::GetEphemerals => 16,
        OpCode::GetAllChildrenNumber => 17,
        OpCode::Sync => 18,
        OpCode::Ping => 19,
        OpCode::SetWatches => 20,
        OpCode::SetWatches2 => 21,
        OpCode::AddWatch => 22,
        _ => OPERATIONS.len(),
    }
}

/// Of a worker.
#[derive(Debug, Default)]
pub struct WorkerMeters {
    /// Time of requests by [`operation`], microseconds.
    pub operations: [Histogram; OPERATIONS.len() + 1],
    /// Connections closed because they did not take their events.
    pub overflowed: Counter,
    /// Lists of children that have nearly outgrown what clients take.
    pub large_lists: Counter,
    /// Tokens that the throttle of connections lacks when one has passed it.
    pub token_deficit: Histogram,
    /// Connections told of a node that came, by event.
    pub created: Histogram,
    /// The same of one that went.
    pub deleted: Histogram,
    /// The same of changed data.
    pub changed: Histogram,
    /// The same of changed children.
    pub children: Histogram,
}

/// Of the log; whoever writes it writes them.
#[derive(Debug, Default)]
pub struct LogMeters {
    /// Time of writing a batch, microseconds.
    pub write: Histogram,
    /// Time of its sync.
    pub sync: Histogram,
    /// Both.
    pub flush: Histogram,
    /// Transactions in it.
    pub batch: Histogram,
    /// Time of each transaction in the queue to the thread.
    pub queued: Histogram,
    /// Time of each from there until it is durable.
    pub queued_and_flushed: Histogram,
    /// Batches that waited when the thread looked.
    pub queue: Histogram,
    /// Transactions.
    pub records: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Syncs that took longer than the limit for a warning.
    pub slow: Counter,
}

/// Of the core.
#[derive(Debug, Default)]
pub struct CoreMeters {
    /// Requests in one round.
    pub round: Histogram,
    /// Time of one of them in the round, microseconds.
    pub prepare: Histogram,
    /// Transactions applied under one hold of the lock.
    pub slice: Histogram,
    /// Time of one of them.
    pub apply: Histogram,
    /// Time from a leader's proposal to its application, which follows its commit.
    pub quorum: Histogram,
    /// Time from the preparation of transactions to their application, by the clocks of two machines.
    pub propagation: Histogram,
    /// The same to their arrival at a follower.
    pub proposal: Histogram,
    /// Time from a learner's hearing of transactions to their application, which follows the commit.
    pub commit_propagation: Histogram,
    /// Time of an election.
    pub election: Histogram,
    /// Time without service.
    pub unavailable: Histogram,
    /// The same before this member led.
    pub leader_unavailable: Histogram,
    /// Time from an election to service, of a follower.
    pub follower_sync: Histogram,
    /// The same of an observer.
    pub observer_sync: Histogram,
    /// Requests.
    pub requests: Counter,
    /// Elections.
    pub looking: Counter,
    /// Transactions proposed while it leads.
    pub proposals: Counter,
    /// Transactions committed while it leads.
    pub commits: Counter,
    /// Transactions committed while it is a member of an ensemble, in any role.
    pub member_commits: Counter,
    /// Transactions heard of while it learns.
    pub learned_proposals: Counter,
    /// Their commits.
    pub learned_commits: Counter,
    /// Snapshots for learners.
    pub snapshots: Counter,
    /// Diffs for learners, or what to cut off.
    pub diffs: Counter,
    /// Snapshots under way whenever one begins or ends.
    pub snapshots_under_way: Histogram,
    /// The same of diffs.
    pub diffs_under_way: Histogram,
    /// Sessions that learners had checked.
    pub revalidations: Counter,
    /// Time from the preparation of transactions to their being durable at a member that votes.
    pub acknowledged: Histogram,
    /// Time from a commit to its application if a client of this member waits, microseconds.
    pub own_commit: Histogram,
    /// The same if none does.
    pub others_commit: Histogram,
}

/// Of a learner, or of a leader as one of those who acknowledge.
#[derive(Debug, Default)]
pub struct LearnerMeters {
    /// Time from the preparation of transactions to its acknowledgement, microseconds; the core's.
    pub ack: Histogram,
    /// Of the queue to it. A former link may still be there: each has the lock while it writes.
    pub queue: Mutex<QueueMeters>,
}

/// Of the queue of a link.
#[derive(Debug, Default)]
pub struct QueueMeters {
    /// Packets that wait behind the one that is taken up.
    pub size: Histogram,
    /// How long the oldest of them waited, microseconds.
    pub time: Histogram,
}

/// Learners by their numbers.
#[derive(Debug, Default)]
pub struct LearnersMeters(Mutex<BTreeMap<PeerId, Arc<LearnerMeters>>>);

impl LearnersMeters {
    /// Those of one of them. `None`: others, who need not be members, have taken all places.
    pub fn of(&self, sid: PeerId) -> Option<Arc<LearnerMeters>> {
        let mut all = self.0.lock();
        if all.len() >= limits::LINKS && !all.contains_key(&sid) {
            return None;
        }
        Some(Arc::clone(all.entry(sid).or_default()))
    }

    /// What was seen of each of whom something was.
    pub fn seen(&self, of: impl Fn(&LearnerMeters) -> Seen) -> Vec<(String, Seen)> {
        let all = self.0.lock();
        let seen = all.iter().map(|(sid, meters)| (sid.0.to_string(), of(meters)));
        seen.filter(|(_, seen)| seen.count > 0).collect()
    }
}

/// Of the mirror's thread.
#[derive(Debug, Default)]
pub struct MirrorMeters {
    /// Time of a write, microseconds.
    pub write: Histogram,
}

/// Of the thread of the admin port.
#[derive(Debug, Default)]
pub struct AdminMeters {
    /// Requests.
    pub requests: Counter,
    /// Connections without TLS on a port that takes both kinds.
    pub insecure: Counter,
    /// Time of snapshots, microseconds.
    pub snapshot: Histogram,
    /// Those that failed.
    pub snapshot_errors: Counter,
    /// Those that came too soon.
    pub snapshot_limited: Counter,
    /// Time of restores.
    pub restore: Histogram,
    /// Those that failed.
    pub restore_errors: Counter,
    /// Those that came too soon.
    pub restore_limited: Counter,
}

/// Of the start.
#[derive(Debug, Default)]
pub struct StartMeters {
    /// Time until the tree was there, microseconds.
    pub database: Histogram,
    /// Time of the replay of the log.
    pub replay: Histogram,
    /// Time of what came before it.
    pub base: Histogram,
    /// Transactions replayed.
    pub replayed: Histogram,
}

/// Of all threads but the workers, who have their own.
#[derive(Debug, Default)]
pub struct Meters {
    /// The log's.
    pub log: LogMeters,
    /// The core's.
    pub core: CoreMeters,
    /// The mirror's.
    pub mirror: MirrorMeters,
    /// The admin port's.
    pub admin: AdminMeters,
    /// The start's.
    pub start: StartMeters,
    /// Of the learners, by number.
    pub learners: LearnersMeters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_the_bucket_that_ends_at_or_above_it() {
        for value in (0..5000).chain((12..50).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 1])) {
            let bucket = bucket_of(value);
            if bucket == BUCKETS - 1 {
                continue;
            }
            assert!(value <= top_of(bucket), "{value}");
            assert!(bucket == 0 || value > top_of(bucket - 1), "{value}");
            assert!(top_of(bucket) - value <= value / 8, "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles() {
        let h = Histogram::default();
        assert_eq!(Counted::of(&h).seen(1), Seen::default());
        (1..=10).for_each(|n| h.record(n));
        let seen = Counted::of(&h).seen(1);
        assert_eq!((seen.min, seen.max, seen.count, seen.sum), (1, 10, 10, 55));
        assert_eq!((seen.p50, seen.p90, seen.p99, seen.p999), (5, 9, 10, 10));
        h.record_many(1_000_000, 1000);
        let seen = Counted::of(&h).seen(1000);
        assert_eq!((seen.min, seen.max, seen.p50, seen.count), (0, 1000, 1000, 1010));
    }

    #[test]
    fn bounds_are_exact() {
        let h = Histogram::default();
        for us in [63, 64, 999, 1023, 1024, 20_000_000] {
            h.record(us);
        }
        let OwnValue::Histogram { buckets, count, .. } = Counted::of(&h).seconds() else { panic!() };
        assert_eq!(count, 6);
        let at = |bound: f64| buckets.iter().find(|(b, _)| *b == bound).map(|(_, n)| *n);
        assert_eq!(
            (at(0.000064), at(0.001024), at(0.002048), at(8.388608)),
            (Some(1), Some(4), Some(5), Some(5))
        );
        let OwnValue::Histogram { buckets, .. } = Counted::of(&h).numbers() else { panic!() };
        assert_eq!(buckets.iter().find(|(b, _)| *b == 63.0), Some(&(63.0, 1)));
    }

    #[test]
    fn operations_are_at_their_places() {
        for (i, op) in OPERATIONS.iter().enumerate() {
            assert_eq!(operation(*op), i);
        }
        assert_eq!(operation(OpCode::WhoAmI), OPERATIONS.len());
    }
}
