//! What has to hold at any time, one file per guarantee.
//!
//! [`Committed`] is the yardstick: the first member that serves clients and applies a
//! transaction fixes it. Everybody else has to have the same, in the same order, with the
//! same digest, and every answer is compared with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use zab::config::EnsembleConfig;
use zab::history::Record;
use zk_proto::{Epoch, PeerId, SessionId, Stat, Xid, Zxid};

use crate::state::Chain;

pub mod agreement;
pub mod committed;
pub mod configs;
pub mod digests;
pub mod durable;
pub mod ephemerals;
pub mod fifo;
pub mod leaders;
pub mod liveness;
pub mod order;
pub mod prefix;
pub mod reads;
pub mod watches;
pub mod zxids;

pub use committed::Committed;
pub use configs::Configurations;

/// What a guarantee's check found.
pub type Verdict = Result<(), String>;

/// All checkers of one run.
#[derive(Debug, Default)]
pub struct Checks {
    /// The transactions that count.
    pub committed: Committed,
    /// Who led which epoch.
    pub leaders: BTreeMap<Epoch, usize>,
    /// Committed, and not yet seen on the disks of a quorum: indices.
    pub undurable: Vec<usize>,
    /// The configurations that were ever in force.
    pub configs: Configurations,
    /// New ones that are in force, not yet looked for in the files of quorums: before and new.
    pub unknown: Vec<(EnsembleConfig, EnsembleConfig)>,
    /// Whom a reconfiguration named as the next leader, not yet looked at.
    pub designated: Vec<(PeerId, Record)>,
    /// Leaders that were told to go and were not disturbed, and the last that they logged.
    pub handed_over: Vec<(PeerId, Record)>,
    /// Leaders that were told to go and did.
    pub handovers: u64,
    /// Disks that were lost.
    pub wipes: u64,
    /// The first violation.
    pub violation: Option<String>,
    /// How many answers, events and transactions were looked at.
    pub looked: u64,
}

impl Checks {
    /// Keeps the first violation.
    pub fn note(&mut self, now: u64, guarantee: &str, verdict: Verdict) {
        self.looked += 1;
        if let (Err(what), None) = (verdict, &self.violation) {
            let (s, us) = (now / 1_000_000, now % 1_000_000);
            self.violation = Some(format!("{guarantee}: {what} (at {s}.{us:06} s)"));
        }
    }

    /// The same for what is either so or not.
    pub fn require(&mut self, now: u64, guarantee: &str, holds: bool, what: impl FnOnce() -> String) {
        self.note(now, guarantee, if holds { Ok(()) } else { Err(what()) });
    }

    /// A member that serves clients has this state; `checked` of it was seen before.
    pub fn applied(&mut self, now: u64, who: usize, checked: &mut usize, chain: &Chain) {
        let new: Vec<_> = chain.newest_first().take_while(|l| l.len > *checked).collect();
        *checked = chain.len();
        for link in new.into_iter().rev() {
            let known = self.committed.get(link.len - 1).map(|entry| {
                prefix::same_place(who, entry, link)
                    .map_err(|e| ("prefix", e))
                    .and_then(|()| agreement::same_bytes(who, entry, link).map_err(|e| ("agreement", e)))
                    .and_then(|()| digests::same_digest(who, entry, link).map_err(|e| ("digests", e)))
            });
            match known {
                Some(Ok(())) => self.looked += 1,
                Some(Err((guarantee, what))) => return self.note(now, guarantee, Err(what)),
                None => {
                    let verdict = order::follows(who, self.committed.last(), link.zxid);
                    self.note(now, "total order", verdict);
                    let entry = self.committed.push(link);
                    let verdict = digests::same_digest(who, entry, link);
                    self.note(now, "digests", verdict);
                    let verdict = fifo::writes_in_order(&mut self.committed);
                    self.note(now, "session FIFO", verdict);
                    let verdict = ephemerals::ended_with_session(&self.committed);
                    self.note(now, "ephemerals", verdict);
                    self.undurable.push(self.committed.len() - 1);
                }
            }
        }
    }

    /// A member leads and serves.
    pub fn established(&mut self, now: u64, who: usize, epoch: Epoch, chain: &Chain) {
        let verdict = leaders::only_one(&mut self.leaders, who, epoch);
        self.note(now, "one leader an epoch", verdict);
        let verdict = prefix::leader_has_all(who, epoch, &self.committed, chain);
        self.note(now, "no acknowledged write lost", verdict);
    }

    /// A member's files say from now on that a configuration is in force; `epoch` is the member's.
    pub fn configured(
        &mut self,
        now: u64,
        who: usize,
        epoch: Epoch,
        before: &EnsembleConfig,
        config: &EnsembleConfig,
    ) {
        let verdict = configs::goes_on(who, before, config);
        self.note(now, "configurations", verdict);
        match self.configs.activated(epoch, config) {
            Ok(Some(before)) => self.unknown.push((before, config.clone())),
            Ok(None) => {}
            Err(why) => self.note(now, "configurations", Err(format!("member {who}: {why}"))),
        }
    }

    /// A leader serves under a configuration.
    pub fn leads_under(&mut self, now: u64, who: usize, epoch: Epoch, active: &EnsembleConfig) {
        let verdict = self.configs.not_lost(who, epoch, active);
        self.note(now, "configurations", verdict);
    }

    /// A leader of `epoch` tells that something is committed. What was proposed before that
    /// epoch is committed by those who acknowledge NEWLEADER.
    pub fn commits(&mut self, now: u64, who: PeerId, epoch: Epoch, zxid: Zxid) {
        if zxid > self.committed.last() && zxid.epoch() == epoch {
            let verdict = self.configs.may_commit(who, zxid);
            self.note(now, "configurations", verdict);
        }
    }

    /// A client's write was answered.
    pub fn acknowledged(&mut self, now: u64, session: SessionId, xid: Xid, zxid: Zxid) {
        let verdict = durable::is_committed(&self.committed, session, xid, zxid);
        self.note(now, "no acknowledged write lost", verdict);
    }

    /// A reply came; another one may have been expected.
    pub fn reply_in_order(&mut self, now: u64, client: usize, expected: Option<Xid>, xid: Xid) {
        self.note(now, "session FIFO", fifo::reply(client, expected, xid));
    }

    /// A session saw a zxid.
    pub fn zxid_goes_on(&mut self, now: u64, session: SessionId, seen: Zxid, zxid: Zxid) {
        self.note(now, "zxid never back", zxids::not_back(session, seen, zxid));
    }

    /// A reply shows the state of `zxid`: events of older changes had to come before.
    pub fn events_come_first(
        &mut self,
        now: u64,
        client: usize,
        watches: &BTreeMap<String, Zxid>,
        zxid: Zxid,
    ) {
        let verdict = watches::none_overdue(&self.committed, client, watches, zxid);
        self.note(now, "watch before the reply", verdict);
    }

    /// An event came; `set` is the state that its watch was set on.
    pub fn event(&mut self, now: u64, client: usize, path: &str, zxid: Zxid, set: Option<Zxid>) {
        let verdict = watches::first_change(&self.committed, client, path, zxid, set);
        self.note(now, "watch before the reply", verdict);
    }

    /// A read was answered with the state of `zxid`; no stat: there was no node.
    pub fn read(
        &mut self,
        now: u64,
        client: usize,
        path: &str,
        zxid: Zxid,
        data: Option<&Bytes>,
        stat: Option<&Stat>,
    ) {
        let verdict = reads::as_committed(&self.committed, client, path, zxid, data, stat);
        self.note(now, "reads", verdict);
    }
}
