//! What a load saw.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Length of a [`Slot`].
pub const SLOT: Duration = Duration::from_millis(100);

/// The longest time that is told apart from longer ones.
const MAX_NANOS: u64 = 600_000_000_000;

/// Times in nanoseconds, three digits of them exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Times(Histogram::new_with_bounds(1, MAX_NANOS, 3).expect("bounds are in order and digits are few"))
    }
}

impl Times {
    /// Adds one.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Times) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this share (0 to 1) does not exceed; zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share) })
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(if self.0.is_empty() { 0 } else { self.0.max() })
    }

    /// Points of a curve: share of the times, and the time that it does not exceed.
    pub fn curve(&self) -> Vec<(f64, Duration)> {
        let steps = (0..40).map(|i| 1.0 - 0.5f64.powf(f64::from(i) / 2.0));
        let count = self.count() as f64;
        steps.take_while(|share| count * (1.0 - share) >= 1.0).map(|s| (s, self.quantile(s))).collect()
    }
}

/// A tenth of a second of a load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// Replies that came in it.
    pub replies: u64,
    /// The longest time of a request that was due in it, in nanoseconds.
    pub worst: u64,
}

/// What was seen between warm-up and end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// How long that was.
    pub time: Duration,
    /// Replies that came in that time; with a given rate, replies to requests that were due in it.
    pub replies: u64,
    /// Those among them that were errors.
    pub refused: u64,
    /// Requests that were due and had no reply when the load gave up waiting.
    pub lost: u64,
    /// Times of reads.
    pub reads: Times,
    /// Times of writes.
    pub writes: Times,
    /// What happened when.
    pub slots: Vec<Slot>,
    /// Processor time of the load itself.
    pub own_cpu: Duration,
}

impl Outcome {
    /// Replies a second.
    pub fn rate(&self) -> f64 {
        if self.time.is_zero() { 0.0 } else { self.replies as f64 / self.time.as_secs_f64() }
    }

    /// Times of all requests.
    pub fn all(&self) -> Times {
        let mut all = self.reads.clone();
        all.add(&self.writes);
        all
    }

    /// Adds what another thread saw in the same time.
    pub(crate) fn add(&mut self, other: &Outcome) {
        self.replies += other.replies;
        self.refused += other.refused;
        self.lost += other.lost;
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.slots.resize(self.slots.len().max(other.slots.len()), Slot::default());
        for (mine, theirs) in self.slots.iter_mut().zip(&other.slots) {
            mine.replies += theirs.replies;
            mine.worst = mine.worst.max(theirs.worst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_sums() {
        let mut a = Times::default();
        let mut b = Times::default();
        assert_eq!((a.quantile(0.5), a.max()), (Duration::ZERO, Duration::ZERO));
        (1..=900).for_each(|n| a.record(n * 1000));
        (901..=1000).for_each(|n| b.record(n * 1000));
        a.add(&b);
        assert_eq!(a.count(), 1000);
        let near = |time: Duration, micros: f64| (time.as_secs_f64() * 1e6 / micros - 1.0).abs() < 0.002;
        assert!(near(a.quantile(0.5), 500.0) && near(a.quantile(0.99), 990.0) && near(a.max(), 1000.0));
        let curve = a.curve();
        assert!(curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{curve:?}");
        assert!(curve.last().is_some_and(|(share, _)| *share > 0.99 && *share < 1.0));
    }
}
