//! Both clocks of the server.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use zk_pipeline::Now;

/// A moment well before any other: sessions that were armed at the start are
/// compared with times before it, and 0 must not be one of them.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const BEFORE: u64 = 1_000_000;

/// Monotonic ms since an origin of the process.
pub fn mono() -> u64 {
    let ms = u64::try_from(ORIGIN.elapsed().as_millis()).expect("a process does not live 2^64 ms");
    ms + BEFORE
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
