//! Random runs: the checkers find nothing, and a seed is the same run twice.

use zk_sim::{Plant, run_seed};

/// Runs seeds on two threads and gives the violations.
fn violations(seeds: std::ops::Range<u64>, plant: Option<Plant>) -> Vec<String> {
    std::thread::scope(|scope| {
        let half = |odd: u64| {
            let seeds = seeds.clone();
            move || {
                let mine = seeds.filter(|s| s % 2 == odd).map(|s| run_seed(s, plant, false));
                mine.filter_map(|r| r.violation.map(|v| format!("seed {}: {v}", r.seed))).collect::<Vec<_>>()
            }
        };
        let (a, b) = (scope.spawn(half(0)), scope.spawn(half(1)));
        [a.join().unwrap(), b.join().unwrap()].concat()
    })
}

#[test]
fn five_hundred_seeds() {
    let found = violations(0..500, None);
    let how = "replay: cargo run -p zk-sim --release -- --seed N --trace";
    assert!(found.is_empty(), "{}\n{how}", found.join("\n"));
}

/// Each of them found something once.
#[test]
fn seeds_that_failed() {
    let failed = [2108, 2208, 2768, 3137, 4774, 4820, 5583, 7373, 8350, 14734, 24051, 27901, 49294];
    let found: Vec<_> =
        failed.map(|s| run_seed(s, None, false)).into_iter().filter_map(|r| r.violation).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_seed_is_the_same_run_to_the_byte() {
    for seed in 0..4 {
        let (a, b) = (run_seed(seed, None, true), run_seed(seed, None, true));
        assert!(a.trace.len() > 10_000);
        assert!(a == b, "seed {seed}");
    }
}

/// What is looked at only where nothing else is amiss, and what needs a client in the right place
/// at the right time: a scenario finds it.
const TOLD: [Plant; 2] = [Plant::LeaveAtOnce, Plant::LetPastClientsIn];

/// A checker that finds nothing must be able to find something.
#[test]
fn bugs_put_back_are_found() {
    let found = |plant| (0..600).any(|seed| run_seed(seed, Some(plant), false).violation.is_some());
    let half = |odd: usize| {
        let plants = Plant::ALL.into_iter().enumerate().filter(move |(n, _)| n % 2 == odd);
        let plants = plants.map(|(_, plant)| plant).filter(|p| !TOLD.contains(p));
        move || plants.filter(|p| !found(*p)).collect::<Vec<_>>()
    };
    let missed = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(half(0)), scope.spawn(half(1)));
        [a.join().unwrap(), b.join().unwrap()].concat()
    });
    assert!(missed.is_empty(), "not found: {missed:?}");
}
