//! Scenarios in small, as a test: what zkd costs beside the server without work. Both run on the
//! same machine at the same time, and processor time says the same on a busy one; times are no test.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::compare::{self, Effort};
use crate::scenario::{self, Side};

/// Of two turns the better one counts: it was disturbed less.
const EFFORT: Effort =
    Effort { rounds: Some(2), time: Duration::from_millis(200), warm_up: Duration::from_millis(500) };

/// Runs all scenarios that have a limit.
pub fn run() -> Result<()> {
    let mut scenarios = scenario::load(&[])?;
    scenarios.retain(|s| s.small.is_some());
    for s in &mut scenarios {
        s.setup.sides = vec![Side::Zkd, Side::Canned];
    }
    let mut wrong = Vec::new();
    let all = compare::run(scenarios, EFFORT, |name, result| {
        wrong.extend(result.err().map(|e| format!("{name}: {e:#}")))
    });
    for m in &all {
        // A ratio above 1 is in the favour of the first.
        let ratio = m.ratio_in("server_cpu_us", Side::Canned, Side::Zkd).map_or(f64::INFINITY, |s| s.min);
        let limit = m.scenario.small.unwrap_or(f64::INFINITY);
        println!("{:<55} {ratio:>6.1}x the processor time of no work (limit {limit}x)", m.scenario.title);
        if ratio > limit {
            wrong.push(format!("{} takes {ratio:.1} times the processor time of no work", m.scenario.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}
