//! Slows down who fails to log in again and again.
//!
//! An address has a few failures for nothing. The answer to each further one leaves later, twice
//! as late each time, so that a client with a wrong password stops itself and nobody else. Whoever
//! does not wait for answers and tries on other connections is bounded by how many failures of one
//! address may wait: what comes beyond is closed and not looked at, whoever it is. Right logins of the
//! same address never wait, but while so many do they are closed too and have to try again.
//!
//! An answer never waits so long that the client gives up (see `conn`), while what counts here is the
//! whole wait.
//!
//! differs: Java answers any number of wrong logins at once.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::limits;

/// Failed logins of all addresses.
#[derive(Debug)]
pub struct Guard {
    /// The longest wait, ms; 0: nobody waits.
    longest: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<IpAddr, Failures>,
    failed: u64,
    closed: u64,
}

/// What an address has done.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last: u64,
    /// When the answers leave that wait, monotonic ms.
    waiting: VecDeque<u64>,
}

impl Guard {
    /// Nobody has failed. `longest` is `zkd.login.longestWaitMs`.
    pub fn new(longest: Duration) -> Self {
        Self { longest: crate::server::millis(longest), table: Mutex::default() }
    }

    /// Whether an attempt of this address is looked at.
    pub fn admits(&self, address: IpAddr, now: u64) -> bool {
        let mut table = self.table.lock();
        let Some(of) = table.addresses.get_mut(&place(address)) else { return true };
        while of.waiting.front().is_some_and(|end| *end <= now) {
            of.waiting.pop_front();
        }
        let admitted = of.waiting.len() < limits::LOGIN_WAITING;
        table.closed += u64::from(!admitted);
        admitted
    }

    /// An attempt of this address has failed: how long its answer waits, ms.
    pub fn failed(&self, address: IpAddr, now: u64) -> u64 {
        let mut table = self.table.lock();
        table.failed += 1;
        if self.longest == 0 {
            return 0;
        }
        let place = place(address);
        if table.addresses.len() >= limits::LOGIN_ADDRESSES && !table.addresses.contains_key(&place) {
            table.make_room(now);
        }
        let of = table.addresses.entry(place).or_default();
        if now.saturating_sub(of.last) > limits::LOGIN_FORGET_MS {
            of.count = 0;
        }
        of.count = of.count.saturating_add(1);
        of.last = now;
        let Some(beyond) = of.count.checked_sub(limits::LOGIN_FREE + 1) else { return 0 };
        let doubled = limits::LOGIN_FIRST_WAIT_MS.saturating_mul(1 << beyond.min(32));
        let wait = doubled.min(self.longest);
        // Waits grow, so ends stand in order but for those of a count that was forgotten.
        of.waiting.push_back(now + wait);
        if beyond == 0 {
            tracing::warn!(%address, "logins of this address fail again and again: answers to them wait from now on");
        }
        wait
    }

    /// How many attempts have failed.
    pub fn failures(&self) -> u64 {
        self.table.lock().failed
    }

    /// How many were closed without a look at them.
    pub fn closed(&self) -> u64 {
        self.table.lock().closed
    }
}

impl Table {
    /// Forgets who has been quiet, or else who has been for the longest time.
    fn make_room(&mut self, now: u64) {
        self.addresses.retain(|_, of| now.saturating_sub(of.last) <= limits::LOGIN_FORGET_MS);
        if self.addresses.len() >= limits::LOGIN_ADDRESSES
            && let Some(oldest) = self.addresses.iter().min_by_key(|(_, of)| of.last).map(|(at, _)| *at)
        {
            self.addresses.remove(&oldest);
        }
    }
}

/// What counts as one address: a machine has as many of IPv6 as it wants in its /64.
fn place(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(a) => {
            let [a, b, c, d, ..] = a.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn guard() -> Guard {
        Guard::new(Duration::from_secs(10))
    }

    #[test]
    fn answers_wait_twice_as_long_each_time() {
        let g = guard();
        let waits: Vec<u64> = (0..14).map(|n| g.failed(A, n)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!((g.failed(B, 20), g.failures(), g.closed()), (0, 15, 0));
    }

    #[test]
    fn who_is_quiet_begins_anew() {
        let g = guard();
        for n in 0..9 {
            g.failed(A, n);
        }
        assert_eq!(g.failed(A, 8 + limits::LOGIN_FORGET_MS), 1600);
        assert_eq!(g.failed(A, 9 + 2 * limits::LOGIN_FORGET_MS), 0);
    }

    #[test]
    fn unanswered_failures_of_an_address_are_bounded() {
        let g = guard();
        let mut tried = 0;
        while g.admits(A, 0) {
            g.failed(A, 0);
            tried += 1;
        }
        assert_eq!(tried, limits::LOGIN_FREE as usize + limits::LOGIN_WAITING);
        assert_eq!(g.closed(), 1);
        assert!(!g.admits(A, 99) && g.admits(B, 99));
        assert!(g.admits(A, 100), "the first of them was answered");
        assert_eq!(g.closed(), 2);
    }

    #[test]
    fn the_table_is_bounded_and_a_network_is_one_address() {
        let g = guard();
        let v6 = |n: u64, host: u16| {
            let [a, b, c, d] = [48, 32, 16, 0].map(|by| (n >> by & 0xffff) as u16);
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, host))
        };
        for n in 0..2 * limits::LOGIN_ADDRESSES as u64 {
            g.failed(v6(n, 1), n);
        }
        assert_eq!(g.table.lock().addresses.len(), limits::LOGIN_ADDRESSES);
        let last = (0..6).map(|host| g.failed(v6(7, host), 0)).last();
        assert_eq!(last, Some(100));
    }

    #[test]
    fn it_can_be_off() {
        let g = Guard::new(Duration::ZERO);
        assert!((0..1000).all(|_| g.admits(A, 0) && g.failed(A, 0) == 0));
        assert_eq!(g.failures(), 1000);
    }
}
