//! The corpora and mutations of them, as plain tests. Mutations are made by a
//! generator with a fixed seed, so a failure repeats; it names the input, which
//! is written to `fuzz/corpus/<target>/` once it is mended.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use zkd_fuzz::TARGETS;

/// Longest time for one input: beyond it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// Mutations for each file; more with `SLOW=1`.
fn rounds() -> usize {
    if std::env::var_os("SLOW").is_some() { 20_000 } else { 150 }
}

/// splitmix64
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn mutate(input: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut b = input.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(b.len() + 1);
        match rng.below(7) {
            0 if at < b.len() => b[at] ^= 1 << rng.below(8),
            1 if at < b.len() => b[at] = [0, 1, 0x7f, 0x80, 0xff, b'/'][rng.below(6)],
            2 => b.truncate(at),
            3 => drop(b.splice(at..at, (0..rng.below(9)).map(|_| rng.next() as u8).collect::<Vec<_>>())),
            4 if at + 4 <= b.len() => {
                let v = [-1i32, 0, 1, i32::MAX, i32::MIN, 0xfffff, -2][rng.below(7)];
                b[at..at + 4].copy_from_slice(&v.to_be_bytes());
            }
            5 => {
                let end = (at + rng.below(40)).min(b.len());
                b.drain(at..end);
            }
            _ => {
                let from = rng.below(other.len() + 1);
                let end = (from + rng.below(60)).min(other.len());
                drop(b.splice(at..at, other[from..end].to_vec()));
            }
        }
    }
    b
}

fn run(name: &str, target: fn(&[u8]), input: &[u8], what: &str) {
    let start = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| target(input)));
    let hex = || input.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert!(done.is_ok(), "{name} panics on {what}: {}", hex());
    assert!(start.elapsed() < PATIENCE, "{name} hangs on {what}: {}", hex());
}

fn check(name: &str) {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == name).expect("target exists");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", dir.display());
    let inputs: Vec<Vec<u8>> = files.iter().map(|f| fs::read(f).unwrap()).collect();
    let mut rng = Rng(0x5eed);
    for (file, input) in files.iter().zip(&inputs) {
        run(name, *target, input, &file.display().to_string());
        for i in 0..rounds() {
            let other = &inputs[rng.below(inputs.len())];
            let b = mutate(input, other, &mut rng);
            run(name, *target, &b, &format!("mutation {i} of {}", file.display()));
        }
    }
}

#[test]
fn jute() {
    check("jute");
}

#[test]
fn request() {
    check("request");
}

#[test]
fn txn() {
    check("txn");
}

#[test]
fn log() {
    check("log");
}

#[test]
fn snapshot() {
    check("snapshot");
}

#[test]
fn zoo_cfg() {
    check("zoo_cfg");
}

#[test]
fn quorum() {
    check("quorum");
}
