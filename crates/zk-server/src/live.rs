//! Settings that an operator changes while the server runs.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::RwLock;
use zk_admin::Whitelist;
use zk_config::Config;

/// The present values of [`zk_config::keys::LIVE`]. Each is read on its own: none has to fit another.
#[derive(Debug)]
pub struct Live {
    max_per_address: AtomicU32,
    max_total: AtomicU32,
    outstanding_limit: AtomicUsize,
    /// The largest number stands for "off".
    large_threshold: AtomicUsize,
    large_max: AtomicU64,
    /// The largest number stands for "never".
    slow_ms: AtomicU64,
    words: RwLock<Whitelist>,
}

impl Live {
    /// The values of a configuration.
    pub fn new(config: &Config) -> Self {
        let live = Self {
            max_per_address: AtomicU32::default(),
            max_total: AtomicU32::default(),
            outstanding_limit: AtomicUsize::default(),
            large_threshold: AtomicUsize::default(),
            large_max: AtomicU64::default(),
            slow_ms: AtomicU64::default(),
            words: RwLock::new(whitelist(config)),
        };
        live.take(config);
        live
    }

    /// Goes on with those of another.
    pub fn take(&self, config: &Config) {
        let limits = &config.limits;
        let outstanding = match limits.throttle.max_requests {
            0 => limits.global_outstanding,
            n => n.min(limits.global_outstanding),
        };
        let slow = config.log.slow_request.map_or(u64::MAX, crate::server::millis);
        self.max_per_address.store(config.connections.max_per_address, Relaxed);
        self.max_total.store(config.connections.max_total, Relaxed);
        self.outstanding_limit.store(outstanding as usize, Relaxed);
        self.large_threshold
            .store(limits.large_request_threshold.map_or(usize::MAX, |t| t as usize), Relaxed);
        self.large_max.store(limits.large_request_max_bytes, Relaxed);
        self.slow_ms.store(slow, Relaxed);
        *self.words.write() = whitelist(config);
    }

    /// `maxClientCnxns`; 0 is no limit.
    pub fn max_per_address(&self) -> u32 {
        self.max_per_address.load(Relaxed)
    }

    /// `maxCnxns`; 0 is no limit.
    pub fn max_total(&self) -> u32 {
        self.max_total.load(Relaxed)
    }

    /// `globalOutstandingLimit`, and `request_throttle_max_requests` if that is lower.
    pub fn outstanding_limit(&self) -> usize {
        self.outstanding_limit.load(Relaxed)
    }

    /// Whether a request of this size counts as a large one: `largeRequestThreshold`.
    pub fn is_large(&self, bytes: usize) -> bool {
        bytes > self.large_threshold.load(Relaxed)
    }

    /// `largeRequestMaxBytes`.
    pub fn large_max(&self) -> u64 {
        self.large_max.load(Relaxed)
    }

    /// Whether a request that took so long is worth a line: `zkd.log.slowRequestMs`.
    pub fn is_slow(&self, ms: u64) -> bool {
        ms >= self.slow_ms.load(Relaxed)
    }

    /// Who may use which word.
    pub fn words(&self) -> Whitelist {
        self.words.read().clone()
    }
}

fn whitelist(config: &Config) -> Whitelist {
    Whitelist::parse(config.admin.words.as_deref(), config.admin.read_only_mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_values_count_at_once() {
        let config = |lines: &str| {
            let text = format!("dataDir=/d\nclientPort=1\n{lines}");
            zk_config::parse_bytes(text.as_bytes()).expect("valid").config
        };
        let live = Live::new(&config("largeRequestThreshold=10\n4lw.commands.whitelist=ruok"));
        assert_eq!((live.max_per_address(), live.outstanding_limit(), live.is_large(11)), (60, 1000, true));
        assert!(live.words().allows(zk_admin::Word::Ruok) && live.is_slow(2000) && !live.is_slow(1999));
        live.take(&config("maxClientCnxns=5\nmaxCnxns=7\nrequestThrottleLimit=9\nzkd.log.slowRequestMs=0"));
        assert_eq!((live.max_per_address(), live.max_total(), live.outstanding_limit()), (5, 7, 9));
        assert!(!live.is_large(usize::MAX) && !live.is_slow(1 << 40));
        assert!(!live.words().allows(zk_admin::Word::Ruok) && live.words().allows(zk_admin::Word::Srvr));
    }
}
