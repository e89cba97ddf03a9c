//! A member's disk: what is there after a crash.

use std::rc::Rc;

use zab::history::Record;
use zab::sync::LogSpan;
use zk_proto::txn::LogEntry;
use zk_proto::{Epoch, Zxid};
use zk_tree::{Effects, Tree};

use crate::rng::Rng;
use crate::state::{Chain, Image};

/// What happens to records that were written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// They are gone.
    Lost,
    /// All of them are there: the process died and the machine did not.
    Kept,
    /// A part of them from the front is there; the next one is torn.
    Torn,
}

/// A disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// The state that the log goes on from.
    pub base: Rc<Image>,
    /// The base is a snapshot of a leader that may have had no quorum: it may be ahead of
    /// what a later leader has.
    pub unsettled: bool,
    /// Records behind the base, and some before it.
    pub log: Vec<Record>,
    /// How many of them survive a power loss.
    pub synced: usize,
    /// `acceptedEpoch`.
    pub accepted: Epoch,
    /// `currentEpoch`.
    pub current: Epoch,
    /// The log does not go further back: what was before has been purged.
    pub purged: Zxid,
}

impl Disk {
    /// The last durable zxid.
    pub fn durable(&self) -> Zxid {
        let of_log = self.synced.checked_sub(1).map_or(Zxid::ZERO, |n| self.log[n].zxid);
        of_log.max(self.base.zxid)
    }

    /// The last zxid, durable or not.
    pub fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |r| r.zxid).max(self.base.zxid)
    }

    fn position_after(&self, zxid: Zxid) -> usize {
        self.log.partition_point(|r| r.zxid <= zxid)
    }

    /// Records behind a zxid.
    pub fn after(&self, zxid: Zxid) -> &[Record] {
        &self.log[self.position_after(zxid)..]
    }

    /// The record of a zxid.
    pub fn record(&self, zxid: Zxid) -> Option<&Record> {
        let n = self.position_after(zxid).checked_sub(1)?;
        Some(&self.log[n]).filter(|r| r.zxid == zxid)
    }

    /// Whether a transaction would survive a power loss now.
    pub fn has_durable(&self, record: &Record) -> bool {
        match self.position_after(record.zxid).checked_sub(1) {
            Some(n) if self.log[n].zxid == record.zxid => {
                n < self.synced && self.log[n].bytes == record.bytes
            }
            _ => self.base.zxid >= record.zxid,
        }
    }

    /// Cuts the log behind `to`. What stays is durable.
    pub fn truncate(&mut self, to: Zxid) {
        self.log.truncate(self.position_after(to));
        self.synced = self.log.len();
    }

    /// A state takes the place of everything.
    pub fn install(&mut self, base: Rc<Image>) {
        self.purged = base.zxid;
        self.base = base;
        self.unsettled = true;
        self.log.clear();
        self.synced = 0;
    }

    /// The base follows the applied state; the log before it may go.
    pub fn rebase(&mut self, base: Rc<Image>, purge: bool) {
        self.base = base;
        if purge {
            let n = self.position_after(self.base.zxid).min(self.synced);
            if n > 0 {
                self.purged = self.log[n - 1].zxid;
                self.log.drain(..n);
                self.synced -= n;
            }
        }
    }

    /// The machine or the process is gone.
    pub fn crash(&mut self, unsynced: Unsynced, rng: &mut Rng) {
        let kept = match unsynced {
            Unsynced::Lost => self.synced,
            Unsynced::Kept => self.log.len(),
            Unsynced::Torn => self.synced + rng.index(self.log.len() - self.synced + 1),
        };
        self.log.truncate(kept);
        self.synced = self.log.len();
        if self.log.last().is_none_or(|r| r.zxid < self.base.zxid) {
            // The base was ahead: a log that goes on behind it has a hole.
            self.log.clear();
            self.synced = 0;
            self.purged = self.base.zxid;
        }
    }

    /// What a member reads at its start: all of the log, whether it is committed or not.
    pub fn recover(&self) -> (Tree, Chain) {
        let (mut tree, mut chain) = (self.base.load(), self.base.chain.clone());
        let mut effects = Effects::default();
        for record in self.after(self.base.zxid) {
            let entry = LogEntry::decode(&record.bytes).expect("what was logged decodes");
            tree.apply(&entry, &mut effects);
            effects.clear();
            chain.push(record.zxid, record.bytes.clone(), tree.digest());
        }
        (tree, chain)
    }

    /// Where the log has a learner's zxid.
    pub fn find(&self, zxid: Zxid) -> LogSpan {
        let durable = &self.log[..self.synced];
        let n = durable.partition_point(|r| r.zxid <= zxid);
        let at_or_before = n.checked_sub(1).map(|n| durable[n].zxid);
        LogSpan {
            at_or_before,
            next: durable.get(n).map(|r| r.zxid),
            usable: at_or_before.is_some() && zxid >= self.purged,
            durable: self.durable(),
        }
    }
}
