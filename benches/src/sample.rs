//! What one turn of one server gave, and the sums over turns.

use std::collections::BTreeMap;
use std::time::Instant;

use zk_load::{Outcome, Times};

use crate::machine::Usage;

/// Figures whose larger values are better; of all others smaller ones are.
const MORE_IS_BETTER: [&str; 2] = ["per_second", "connections"];

/// One turn.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Figures by name; the unit is the end of the name.
    pub figures: BTreeMap<&'static str, f64>,
    /// When counting began, if it was a load.
    pub begun: Option<Instant>,
    /// Times of requests, for charts.
    pub times: Option<Times>,
    /// What happened when, and what happened beside it.
    pub timeline: Option<Timeline>,
}

/// A load's course.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// Replies a second in each tenth of a second.
    pub per_second: Vec<f64>,
    /// The longest time in each, in milliseconds.
    pub worst_ms: Vec<f64>,
    /// Whether the server wrote a snapshot or flushed in it.
    pub marks: Vec<bool>,
}

impl Sample {
    /// With one more figure.
    pub fn set(&mut self, name: &'static str, value: f64) {
        self.figures.insert(name, value);
    }

    /// What the servers used between two looks, for each of so many requests.
    pub fn used(&mut self, before: Usage, after: Usage, requests: u64) {
        let each = |amount: f64| amount / requests.max(1) as f64;
        self.begun = Some(before.when);
        self.set("server_cpu_us", each(after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6));
        self.set("written_bytes", each(after.written.saturating_sub(before.written) as f64));
        self.set("disk_bytes", each(after.disk.saturating_sub(before.disk) as f64));
        self.set("resident_mb", after.resident as f64 / f64::from(1 << 20));
    }

    /// What a load saw.
    pub fn of(outcome: &Outcome) -> Sample {
        let mut sample = Sample::default();
        let all = outcome.all();
        sample.set("per_second", outcome.rate());
        for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)] {
            sample.set(name, micros(&all, share));
        }
        if outcome.reads.count() > 0 && outcome.writes.count() > 0 {
            sample.set("reads_p99_us", micros(&outcome.reads, 0.99));
            sample.set("writes_p99_us", micros(&outcome.writes, 0.99));
        }
        sample.set("refused", outcome.refused as f64);
        sample.set("lost", outcome.lost as f64);
        sample.set("client_cpu_us", outcome.own_cpu.as_secs_f64() * 1e6 / outcome.replies.max(1) as f64);
        let seconds = zk_load::SLOT.as_secs_f64();
        sample.timeline = Some(Timeline {
            per_second: outcome.slots.iter().map(|s| s.replies as f64 / seconds).collect(),
            worst_ms: outcome.slots.iter().map(|s| s.worst as f64 / 1e6).collect(),
            marks: vec![false; outcome.slots.len()],
        });
        sample.times = Some(all);
        sample
    }
}

fn micros(times: &Times, share: f64) -> f64 {
    let time = if share >= 1.0 { times.max() } else { times.quantile(share) };
    time.as_secs_f64() * 1e6
}

/// Whether the larger value of a figure is the better one.
pub fn more_is_better(figure: &str) -> bool {
    MORE_IS_BETTER.contains(&figure)
}

/// The middle and both ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Spread { min, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([]), None);
    }
}
