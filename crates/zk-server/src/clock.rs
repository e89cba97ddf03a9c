//! Both clocks of the server.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use zk_pipeline::Now;

/// A moment well before any other: sessions that were armed at the start are
/// compared with times before it, and 0 must not be one of them.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const BEFORE: u64 = 1_000_000;

/// [`mono`] when it was asked for the first time.
pub const START: u64 = BEFORE;

/// Monotonic ms since an origin of the process.
pub fn mono() -> u64 {
    micros() / 1000
}

/// The same in microseconds.
pub fn micros() -> u64 {
    let us = u64::try_from(ORIGIN.elapsed().as_micros()).expect("a process does not live 2^64 us");
    us + BEFORE * 1000
}

/// Wall-clock ms since 1970.
pub fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Both.
pub fn now() -> Now {
    Now { mono: mono(), wall: wall() }
}
