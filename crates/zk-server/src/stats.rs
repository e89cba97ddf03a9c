//! Counters of connections and workers. Plain numbers: each has one thread that
//! owns it; who wants to know asks that thread.

/// Time of requests in ms. ref: ServerStats, AvgMinMaxCounter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// The shortest; 0 of nothing.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// Of how many requests.
    pub count: u64,
    /// All together.
    pub total: u64,
}

impl Latency {
    /// Counts `n` requests that took `ms` each.
    pub fn add(&mut self, ms: u64, n: u64) {
        self.merge(Latency { min: ms, max: ms, count: n, total: ms * n });
    }

    /// Takes in what another counted.
    pub fn merge(&mut self, other: Latency) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.total += other.total;
    }
}

/// Sizes of replies. ref: BufferStats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplySizes {
    /// The last one; `None` before the first.
    pub last: Option<u64>,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl ReplySizes {
    /// Counts a reply.
    pub fn add(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.min = if self.last.is_none() { bytes } else { self.min.min(bytes) };
        self.max = self.max.max(bytes);
        self.last = Some(bytes);
    }

    /// Takes in what another counted.
    pub fn merge(&mut self, other: ReplySizes) {
        if other.last.is_none() {
            return;
        }
        self.min = if self.last.is_none() { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.last = other.last;
    }
}

/// What a worker counts from the start; `srst` leaves it alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of requests.
    pub received: u64,
    /// Bytes of replies.
    pub replies: u64,
    /// Bytes of watch events.
    pub events: u64,
    /// Connections that came.
    pub connections: u64,
    /// Connections that left.
    pub dropped: u64,
    /// Connections closed because they had no session in time.
    pub sessionless: u64,
    /// Connections closed because of too many large requests.
    pub large_rejected: u64,
    /// Sessions that came back on a new connection.
    pub revalidated: u64,
    /// Connect requests while nobody was served.
    pub not_serving: u64,
    /// Replies to connections that had gone.
    pub stale_replies: u64,
    /// Clients that did not say what the ensemble is called, or could say anything.
    pub ensemble_skipped: u64,
    /// Those that said it rightly.
    pub ensemble_right: u64,
    /// Those that said another name.
    pub ensemble_wrong: u64,
}

impl Totals {
    /// Takes in what another worker counted.
    pub fn merge(&mut self, other: &Totals) {
        self.received += other.received;
        self.replies += other.replies;
        self.events += other.events;
        self.connections += other.connections;
        self.dropped += other.dropped;
        self.sessionless += other.sessionless;
        self.large_rejected += other.large_rejected;
        self.revalidated += other.revalidated;
        self.not_serving += other.not_serving;
        self.stale_replies += other.stale_replies;
        self.ensemble_skipped += other.ensemble_skipped;
        self.ensemble_right += other.ensemble_right;
        self.ensemble_wrong += other.ensemble_wrong;
    }
}

/// What a worker counts until `srst`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Time of requests.
    pub latency: Latency,
    /// Sizes of replies.
    pub replies: ReplySizes,
}

impl WorkerStats {
    /// Takes in what another worker counted.
    pub fn merge(&mut self, other: &WorkerStats) {
        self.received += other.received;
        self.sent += other.sent;
        self.latency.merge(other.latency);
        self.replies.merge(other.replies);
    }
}

/// What a connection counts, for `cons`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnStats {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Opcode of the last request; 0 after a write that failed.
    pub last_op: i32,
    /// Its number; `None` before it.
    pub last_xid: Option<i32>,
    /// Zxid of the last reply; -1 after `crst`.
    pub last_zxid: i64,
    /// Monotonic ms of the last reply.
    pub last_response: u64,
    /// Time that the last request took.
    pub last_latency: u64,
    /// Time of requests.
    pub latency: Latency,
}

impl Default for ConnStats {
    fn default() -> Self {
        Self {
            received: 0,
            sent: 0,
            last_op: 0,
            last_xid: None,
            last_zxid: -1,
            last_response: 0,
            last_latency: 0,
            latency: Latency::default(),
        }
    }
}

impl ConnStats {
    /// A reply went out.
    pub fn replied(&mut self, xid: i32, op: i32, zxid: i64, now: u64, took: u64) {
        self.sent += 1;
        if xid >= 0 {
            self.last_xid = Some(xid);
        }
        self.last_op = op;
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency = took;
        self.latency.add(took, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_add_up() {
        let mut a = Latency::default();
        a.add(5, 1);
        a.add(1, 2);
        assert_eq!(a, Latency { min: 1, max: 5, count: 3, total: 7 });
        let mut b = Latency::default();
        b.merge(a);
        b.merge(Latency::default());
        assert_eq!(a, b);
    }
}
