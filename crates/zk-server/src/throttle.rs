//! The token bucket in front of new sessions. ref: BlueThrottle.

use zk_config::config::ConnectionThrottle;

/// Which kind of session a connect request wants; each has its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new session.
    New,
    /// A new session that only this member knows.
    Local,
    /// An old one.
    Renew,
}

/// The bucket. Off while its size is 0.
#[derive(Debug)]
pub struct Throttle {
    config: ConnectionThrottle,
    tokens: i64,
    filled: u64,
    drop_chance: f64,
    frozen_until: u64,
}

impl Throttle {
    /// A full bucket.
    pub fn new(config: &ConnectionThrottle, now: u64) -> Self {
        Self {
            tokens: i64::from(config.tokens),
            filled: now,
            drop_chance: 0.0,
            frozen_until: now,
            config: config.clone(),
        }
    }

    /// Goes on with other settings. A bucket that was off begins full.
    pub fn configure(&mut self, config: &ConnectionThrottle) {
        let size = i64::from(config.tokens);
        self.tokens = if self.is_off() { size } else { self.tokens.min(size) };
        self.config = config.clone();
    }

    /// Whether it ever refuses.
    pub fn is_off(&self) -> bool {
        self.config.tokens == 0
    }

    /// How likely a connection is dropped for the bucket's state.
    pub fn drop_chance(&self) -> f64 {
        self.drop_chance
    }

    /// How many tokens have been taken.
    pub fn deficit(&self) -> u64 {
        u64::try_from(i64::from(self.config.tokens) - self.tokens).unwrap_or(0)
    }

    /// Whether a connection may go on; `chance` is a random number in 0..1.
    pub fn pass(&mut self, kind: Kind, now: u64, chance: f64) -> bool {
        if self.is_off() {
            return true;
        }
        self.fill(now);
        self.adapt(now);
        let need = match (self.config.weighted, kind) {
            (false, _) => 1,
            (true, Kind::New) => i64::from(self.config.global_weight),
            (true, Kind::Local) => i64::from(self.config.local_weight),
            (true, Kind::Renew) => i64::from(self.config.renew_weight),
        };
        if self.tokens < need || (self.config.freeze_time.is_some() && chance < self.drop_chance) {
            return false;
        }
        self.tokens -= need;
        true
    }

    fn fill(&mut self, now: u64) {
        let every = u64::try_from(self.config.fill_time.as_millis()).unwrap_or(u64::MAX).max(1);
        let times = now.saturating_sub(self.filled) / every;
        if times > 0 {
            self.filled += times * every;
            let more = times.saturating_mul(u64::from(self.config.fill_count));
            let more = i64::try_from(more).unwrap_or(i64::MAX);
            self.tokens = self.tokens.saturating_add(more).min(i64::from(self.config.tokens));
        }
    }

    /// ref: BlueThrottle.checkBlue.
    fn adapt(&mut self, now: u64) {
        let Some(freeze) = self.config.freeze_time else { return };
        if now < self.frozen_until {
            return;
        }
        let size = f64::from(self.config.tokens);
        if self.tokens <= 0 && self.drop_chance < 1.0 {
            self.drop_chance = (self.drop_chance + self.config.drop_increase).min(1.0);
        } else if self.tokens as f64 > size * self.config.decrease_ratio && self.drop_chance > 0.0 {
            self.drop_chance = (self.drop_chance - self.config.drop_decrease).max(0.0);
        } else {
            return;
        }
        self.frozen_until = now + u64::try_from(freeze.as_millis()).unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tokens: u32) -> ConnectionThrottle {
        ConnectionThrottle {
            tokens,
            fill_time: std::time::Duration::from_millis(10),
            fill_count: 1,
            ..zk_config::Config::standalone_default().connections.throttle
        }
    }

    #[test]
    fn the_bucket_empties_and_fills() {
        let mut t = Throttle::new(&config(2), 0);
        assert!(t.pass(Kind::New, 0, 0.5));
        assert!(t.pass(Kind::New, 0, 0.5));
        assert!(!t.pass(Kind::New, 9, 0.5));
        assert!(t.pass(Kind::New, 10, 0.5));
        assert!(!t.pass(Kind::New, 10, 0.5));
    }

    #[test]
    fn another_size_counts_at_once() {
        let mut t = Throttle::new(&config(0), 0);
        t.configure(&config(1));
        assert!(t.pass(Kind::New, 0, 0.5) && !t.pass(Kind::New, 0, 0.5));
        t.configure(&config(0));
        assert!(t.pass(Kind::New, 0, 0.5));
    }

    #[test]
    fn off_is_off() {
        let mut t = Throttle::new(&config(0), 0);
        assert!((0..1000).all(|_| t.pass(Kind::New, 0, 0.0)));
    }
}
