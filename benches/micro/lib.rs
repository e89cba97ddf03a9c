//! What the micro-benches do. `bench.rs` measures it (`cargo bench`); `ratios.rs` compares it
//! with itself, as a test.
//!
//! The data is the same in each run: nodes of the production shape, touched in an order without
//! a pattern that a multiplication makes. What is not here: servers, sockets, other threads;
//! they are measured by the scenarios of `zkd-benches`.
//!
//! In the order of a request's road: [`codec`], [`pipeline`], [`log`], [`tree`], [`watches`].

pub mod codec;
pub mod log;
pub mod pipeline;
pub mod tree;
pub mod watches;

use std::time::Duration;

use bytes::Bytes;
use nix::time::{ClockId, clock_gettime};

/// Wall-clock ms of everything.
pub(crate) const TIME: i64 = 1_760_000_000_000;

/// What is written: 100 bytes.
pub(crate) const DATA: Bytes = Bytes::from_static(&[b'd'; 100]);

/// What this thread has had of a processor: the same beside other work, but for caches that the
/// other work uses.
pub fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has this clock").into()
}

/// Path of the n-th leaf: 115 bytes, its name 24, five levels, a hundred children a node.
pub fn path(n: usize) -> String {
    let (group, shard) = (n / 10_000, n / 100 % 100);
    format!(
        "/production-cluster-01/service-registry-000001/group-{group:015}/shard-{shard:015}/instance-{:015}",
        n % 100
    )
}

/// The i-th of `count` numbers in an order without a pattern; each comes once in `count`.
pub fn scattered(i: usize, count: usize) -> usize {
    i.wrapping_mul(7_368_787) % count
}

/// As many paths of a tree of `nodes` leaves, in an order without a pattern.
pub fn scattered_paths(many: usize, nodes: usize) -> Vec<String> {
    (0..many).map(|i| path(scattered(i, nodes))).collect()
}
